/* fzsim: runs the deterministic simulator.
 *
 *   fzsim --seed N              one run; the last line is "seed N ok digest HEX"
 *   fzsim --seeds A..B [-jN]    many runs in worker processes; one line per failure, a summary
 *   fzsim --actions FILE        runs a saved action list
 *   --save-actions FILE         writes the list of the run (also of a failing one)
 *   --set NAME=VALUE            overrides an option (sim/sim_options.h)
 *   --verbose [--from S]        every record as text
 *   --until S                   stops at this time, without the liveness phase
 *   --twice                     runs twice in one process and compares the digests
 *   --options                   prints the options of the run
 *   --report                    prints what the run did
 *   --digest                    prints the digests of all checkpoints
 *   --records A..B              prints the records from A to B - 1 in full
 *   --timeline                  prints the run as a table, a column for each node
 *   --pcap FILE                 writes the run for Wireshark
 *   --record NAME               records every gateway into NAME-GATEWAY-BOOT
 *   fzsim replay FILE [--key FILE] [--verbose]
 *                               feeds a recording into a gateway and compares what comes out
 *   --shrink                    makes a failing run smaller, into --save-actions FILE
 *   --streams --seeds A..B      compares stream digests over ciphers, batches and offloads
 *
 * Exit codes: 0 good, 1 usage, 2 safety oracle, 3 liveness, 4 not deterministic, 5 assertion or
 * crash, 6 error of the simulator's environment. The first line of a failure is the oracle's id,
 * the simulated time and the command that reproduces it.
 * Source: spec/simulation.md S-09, S-11, S-16, S-26.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/sim_command.h"
#include "sim/sim_malloc.h"
#include "sim/sim_memory.h"

bool malloc_refuses(size_t size)
{
    return sim_memory_refuses(size);
}

/* For AddressSanitizer: wslay forgets what it holds already when it finds no more memory. */
/* NOLINTBEGIN(readability-identifier-naming) */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libwslay";
}

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}
/* NOLINTEND(readability-identifier-naming) */

_Noreturn void panic_at(const char *file, int line, const char *what)
{
    sim_print_panic(file, line, what);
    _Exit(SIM_EXIT_CRASH);
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: fzsim --seed N | --seeds A..B [-jN] | --actions FILE\n"
                  "  [--save-actions FILE] [--set NAME=VALUE]... [--verbose [--from S]] [--until "
                  "S]\n  [--twice] [--options] [--report] [--digest]\n  [--records A..B] "
                  "[--streams] [--shrink] [--timeline] [--pcap FILE] [--record NAME]\n"
                  "       fzsim replay FILE [--key FILE] [--verbose]\n");
    return SIM_EXIT_USAGE;
}

static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
    char *end = NULL;
    *first = strtoull(text, &end, 10);
    if (end == text || strncmp(end, "..", 2) != 0) {
        return false;
    }
    *last = strtoull(end + 2, NULL, 10);
    return *first <= *last;
}

static bool parse_flag(const char *option, struct sim_arguments *arguments)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"--verbose", &arguments->verbose}, {"--twice", &arguments->twice},
        {"--options", &arguments->options}, {"--report", &arguments->report},
        {"--digest", &arguments->digest},   {"--streams", &arguments->streams},
        {"--shrink", &arguments->shrink},   {"--timeline", &arguments->timeline},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(option, flags[i].name) == 0) {
            *flags[i].flag = true;
            return true;
        }
    }
    if (strncmp(option, "-j", 2) == 0) {
        unsigned long workers = strtoul(option + 2, NULL, 10);
        arguments->workers = workers >= 1 && workers <= SIM_WORKERS_MAX ? (unsigned)workers : 1;
        return true;
    }
    return false;
}

static bool parse_value(const char *option, const char *value, struct sim_arguments *arguments)
{
    if (strcmp(option, "--seed") == 0) {
        arguments->first = strtoull(value, NULL, 10);
        arguments->last = arguments->first;
    } else if (strcmp(option, "--seeds") == 0) {
        arguments->many = true;
        return parse_range(value, &arguments->first, &arguments->last);
    } else if (strcmp(option, "--records") == 0) {
        return parse_range(value, &arguments->records_first, &arguments->records_end);
    } else if (strcmp(option, "--actions") == 0) {
        arguments->actions = value;
    } else if (strcmp(option, "--save-actions") == 0) {
        arguments->save = value;
    } else if (strcmp(option, "--pcap") == 0) {
        arguments->pcap = value;
    } else if (strcmp(option, "--record") == 0) {
        arguments->record = value;
    } else if (strcmp(option, "--from") == 0) {
        arguments->from_s = strtoull(value, NULL, 10);
    } else if (strcmp(option, "--until") == 0) {
        arguments->until_s = strtoull(value, NULL, 10);
    } else if (strcmp(option, "--set") == 0 && arguments->overrides_count < SIM_OVERRIDES_MAX) {
        arguments->overrides[arguments->overrides_count++] = value;
    } else {
        return false;
    }
    return true;
}

/* fzsim replay FILE [--key FILE] [--verbose] */
static int replay(int argc, char **argv)
{
    const char *path = NULL;
    const char *key = NULL;
    bool verbose = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--key") == 0 && i + 1 < argc) {
            key = argv[++i];
        } else if (path == NULL && argv[i][0] != '-') {
            path = argv[i];
        } else {
            return usage();
        }
    }
    return path == NULL ? usage() : (int)sim_replay(path, key, verbose);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "replay") == 0) {
        return replay(argc, argv);
    }
    struct sim_arguments arguments = {.workers = 1};
    for (int i = 1; i < argc; i++) {
        if (parse_flag(argv[i], &arguments)) {
            continue;
        }
        if (i + 1 >= argc || !parse_value(argv[i], argv[i + 1], &arguments)) {
            return usage();
        }
        i++;
    }
    if (argc < 2) {
        return usage();
    }
    if (arguments.shrink) {
        return (int)sim_shrink(&arguments);
    }
    if (arguments.streams) {
        return (int)sim_run_variants(&arguments);
    }
    return arguments.many ? (int)sim_run_many(&arguments)
                          : (int)sim_run_seed(&arguments, arguments.first);
}
