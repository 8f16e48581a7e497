/* turn_host: a TURN client of ours on real sockets.
 *
 * The owner of the sockets polls them; turn_host_step() does it for tests without other traffic.
 */
#ifndef TESTS_INTEROP_TURN_HOST_H
#define TESTS_INTEROP_TURN_HOST_H

#include "tests/interop/coturn.h"
#include "turn/turn_client.h"

#define TURN_HOST_INBOX 64U

struct turn_host_data {
    struct sock_addr peer;
    struct sock_addr relayed;
    size_t len;
    uint8_t bytes[INTEROP_DATAGRAM_MAX];
};

struct turn_host {
    struct turn_client *client; /* on the heap: it is large */
    struct rng rng;
    int fd[2]; /* IPv4, IPv6; -1: none */
    struct sock_addr local[2];
    unsigned events[TURN_EVENT_FAILED + 1]; /* by kind */
    unsigned successes[16];                 /* answers seen on the wire, by method */
    unsigned errors[700];                   /* answers seen on the wire, by code */
    unsigned dropped[DROP_COUNT];
    unsigned inbox_count;
    struct turn_host_data inbox[TURN_HOST_INBOX];
};

/* Starts a client towards `coturn` on sockets at the given local addresses (NULL: none). */
struct turn_host *turn_host_new(const struct interop *interop, const char *local_v4,
                                const char *local_v6, const struct coturn *coturn,
                                const struct coturn_user *user);
void turn_host_free(struct turn_host *host);
struct turn_client_config turn_host_config(const struct coturn *coturn,
                                           const struct coturn_user *user);

/* One datagram of socket `index`. Data stays where it is; see turn_client_handle_input(). */
enum turn_input turn_host_input(struct turn_host *host, size_t index, const struct sock_addr *from,
                                struct view datagram, struct turn_data *data);
/* Timers, then everything that waits to be sent or told. */
void turn_host_drain(struct turn_host *host);
/* Receives what there is (data goes to the inbox), waits for at most 20 ms when there is nothing.
 */
void turn_host_step(struct turn_host *host);
/* Steps until `done(host)` or `ms` have passed; returns whether it was done. */
MUST_USE bool turn_host_until(struct turn_host *host, bool (*done)(const struct turn_host *),
                              uint64_t ms);
/* Steps for so long. */
void turn_host_pass(struct turn_host *host, uint64_t ms);
/* Sends data to `peer` through the relay; false when there is no channel yet. */
MUST_USE bool turn_host_send(struct turn_host *host, const struct sock_addr *peer,
                             struct view bytes);

#endif /* TESTS_INTEROP_TURN_HOST_H */
