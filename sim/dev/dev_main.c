/* fzdev: the simulator's portal, relay and client as real processes, and a link with bad manners.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/dev/dev_command.h"

_Noreturn void panic_at(const char *file, int line, const char *what)
{
    fprintf(stderr, "fzdev: broken invariant at %s:%d: %s\n", file, line, what);
    abort();
}

struct command {
    const char *name;
    int (*run)(const char *const *argv);
    const char *help;
};

static const struct command commands[] = {
    {"portal", dev_portal, "a portal on a TCP port, ruled by a policy file"},
    {"relay", dev_relay, "a TURN relay on real UDP ports"},
    {"client", dev_client, "a client with a TUN device and a DNS stub"},
    {"link", dev_link, "delay, loss and a rate between two interfaces"},
    {"noise", dev_noise, "hostile UDP packets from any source address"},
    {"traffic", dev_traffic, "TCP and UDP whose every byte is verified, and its server"},
    {"load", dev_load, "UDP at a given rate, and what of it arrives"},
    {"herd", dev_herd, "thousands of clients and their portal, for one gateway"},
};

static int usage(FILE *out, int exit_code)
{
    fprintf(out, "usage: fzdev COMMAND [options]; fzdev COMMAND --help shows them\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    }
    return exit_code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return usage(stderr, 2);
    }
    if (strcmp(argv[1], "--help") == 0) {
        return usage(stdout, 0);
    }
    if (sodium_init() < 0) {
        return 1;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run((const char *const *)argv + 2);
        }
    }
    return usage(stderr, 2);
}
