/* nice_peer: an ICE agent of libnice in a process of its own, driven by texts.
 *
 * Both directions are one text per message of a SOCK_SEQPACKET pair.
 * To it:   "credentials <ufrag> <password>" (gathers candidates), "candidate:..." (the text
 *          itself), "end" (no more candidates), "send <n>" (sends "nice 0" to "nice <n - 1>" as
 * data). From it: "credentials <ufrag> <password>", "candidate <text>", "gathered", "state
 * <number>", "selected <local address> <remote address>", "heard <data>". Data that it receives is
 * also sent back.
 */
#ifndef TESTS_INTEROP_NICE_PEER_H
#define TESTS_INTEROP_NICE_PEER_H

#include <stdbool.h>

#define NICE_PEER_TEXT_MAX 512U
#define NICE_PEER_FAILED   5 /* component states of libnice */
#define NICE_PEER_READY    4

struct nice_peer_options {
    int fd;
    bool controlling;
    bool regular_nomination; /* else aggressive */
    bool force_relay;
    const char *addresses[2]; /* NULL: none */
    const char *relay_ip;     /* NULL: no relay */
    unsigned relay_port;
    const char *relay_user;
    const char *relay_password;
};

/* Runs until the other end of `fd` closes. `options` is a struct nice_peer_options. */
void nice_peer_run(void *options);

#endif /* TESTS_INTEROP_NICE_PEER_H */
