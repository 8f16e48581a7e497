/* turn_world: a scripted relay and a clock around one TURN client, for its tests.
 *
 * The relay keeps the rules of spec/relay.md that matter to a client (challenges, one allocation,
 * channels) and can be told to misbehave. Time is virtual; every exchange takes 5 ms each way.
 */
#ifndef TESTS_TURN_WORLD_H
#define TESTS_TURN_WORLD_H

#include "tests/support/odometer.h"
#include "turn/turn_client.h"

#define WORLD_EVENTS_MAX 64U
#define WORLD_CHANNELS   4096U
#define WORLD_HISTORY    32U

struct relay {
    struct sock_addr addr[2];
    struct sock_addr mapped[2]; /* how the relay sees the client; family IP_NONE: silent there */
    bool silent;
    unsigned lose_every; /* every n-th request is lost; 0: none */
    bool coturn;         /* unsigned challenges, no early integrity, 437 lingers after a deletion */
    bool v4_only;
    bool has_secret; /* false: a restarted relay that no longer knows the credentials */
    const char *user;
    const char *pass;
    unsigned nonce_number;
    unsigned nonce_uses; /* left */
    unsigned nonce_uses_max;
    unsigned damaged_nonces; /* challenges from now on whose nonce the path changes */
    uint32_t lifetime_s;

    bool allocated;
    unsigned allocations; /* made so far; each has a port of its own, from 50000 on */
    struct sock_addr allocated_for;
    struct instant expires_at;
    struct instant lingers_until;
    bool channel_bound[WORLD_CHANNELS];
    struct sock_addr channel_peer[WORLD_CHANNELS];
    struct instant channel_at[WORLD_CHANNELS];

    uint16_t fail_method; /* answer requests of this method ... */
    uint16_t fail_code;   /* ... with this code ... */
    unsigned fail_count;  /* ... this often ... */
    bool fail_unsigned;   /* ... without MESSAGE-INTEGRITY */
    bool fail_forgets;    /* ... and the allocation is gone indeed */
    bool forge_success;   /* sign successes with a wrong key */

    unsigned seen[16]; /* requests by method, deliveries only */
    unsigned deletes;
    struct stun_msg last; /* fields without views only */
    bool last_signed;
};

/* A request that was sent, for the network to deliver once more. */
struct world_request {
    uint8_t bytes[TURN_DATAGRAM_MAX];
    size_t len;
    unsigned family;
};

/* What becomes of a request when an odometer chooses. */
enum world_fate {
    WORLD_DELIVERED,
    WORLD_LOST,
    WORLD_ANSWER_LOST, /* the relay has done what was asked */
    WORLD_TWICE,       /* so is the answer */
    WORLD_LATE,        /* after the next request that has a fate */
    WORLD_FATES,
};

struct world {
    struct turn_client *client;
    struct rng rng;
    struct relay relay;
    struct sock_addr local[2];
    struct instant now;
    struct odometer *odometer; /* NULL: every request is delivered */
    unsigned fated;            /* requests that still have a fate ... */
    uint16_t fated_method;     /* ... of this method; 0: of any */
    struct world_request late; /* len 0: none */
    unsigned requests;
    struct world_request history[WORLD_HISTORY]; /* the last ones, number n at n % WORLD_HISTORY */
    struct turn_event events[WORLD_EVENTS_MAX];
    unsigned events_count;
};

/* Allocates and starts a client with the relay's two addresses; `families` 4, 6 or 46. */
struct world *world_new(unsigned families);
void world_free(struct world *w);
struct turn_client_config world_config(const struct world *w);

/* Exchanges until nothing moves. */
void world_settle(struct world *w);
/* Lets time pass with all timers; settles before and after each. */
void world_pass(struct world *w, struct duration d);
/* The network delivers request number `number` (from 0) once more; what the relay answers arrives
 * unless `is_lost`. */
enum turn_input world_repeat(struct world *w, unsigned number, bool is_lost);
/* Data of `peer` through the relay; returns what the client makes of it. */
enum turn_input world_peer_sends(struct world *w, uint16_t number, struct turn_data *data);
unsigned world_count(const struct world *w, enum turn_event_kind kind);
void world_forget_events(struct world *w);
/* The relay loses its memory: allocation, channels, nonces. */
void relay_forget(struct relay *r);

#endif /* TESTS_TURN_WORLD_H */
