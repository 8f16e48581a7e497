/* sim_relay: a TURN relay that its peers cannot tell from the real one.
 *
 * Source: spec/relay.md, all of it; spec/connectivity.md section 4. A pure function of what it
 * receives, the secret, its random stream and the wall clock (credential expiry only).
 * Modes differ as the real servers do: the relay of 2024 (V142), today's (HEAD), today's with the
 * kernel fast path that demands exact ChannelData lengths (HEAD_EBPF), and coturn 4.6.1 (COTURN,
 * spec/relay.md section 10.4; it accepts the same user names and passwords as the others, as coturn
 * does with a user table).
 * Differences: nonces are remembered up to SIM_RELAY_NONCES_MAX, the oldest is forgotten first;
 * the decoder quirk of section 2 is not copied. Loss, delay, duplication and reordering of answers
 * are the network's business.
 * Memory: sim_relay_new() allocates, sim_relay_free() releases; nothing else is allocated.
 * Inside the simulator and as a process (`fzdev relay`) the relay is driven through
 * sim_relay_node(); allocation ports are announced with SIM_OUT_BIND and SIM_OUT_UNBIND.
 */
#ifndef SIM_RELAY_H
#define SIM_RELAY_H

#include "sim/sim_node.h"

#define SIM_RELAY_PORT            3478U
#define SIM_RELAY_PORT_LOWEST     49152U
#define SIM_RELAY_PORT_HIGHEST    65535U
#define SIM_RELAY_SECRET_SIZE     65U   /* 64 characters and terminator */
#define SIM_RELAY_ALLOCATIONS_MAX 256U  /* more are answered 508 */
#define SIM_RELAY_CHANNELS_MAX    2048U /* over all allocations; more are answered 508 */
#define SIM_RELAY_NONCES_MAX      1024U
#define SIM_RELAY_PERMISSIONS_MAX 1024U /* coturn mode only; more are answered 508 */

enum sim_relay_mode {
    SIM_RELAY_V142,
    SIM_RELAY_HEAD,
    SIM_RELAY_HEAD_EBPF,
    SIM_RELAY_COTURN,
};

struct sim_relay_config {
    enum sim_relay_mode mode;
    uint8_t seed[32];
    uint16_t port;         /* 0: SIM_RELAY_PORT */
    uint16_t port_lowest;  /* 0: SIM_RELAY_PORT_LOWEST */
    uint16_t port_highest; /* 0: SIM_RELAY_PORT_HIGHEST */
    /* The stamp secret that the portal derives passwords from; empty: 64 hex digits from `seed`.
     * A given secret is replaced by one from the new seed when the node restarts. */
    char secret[SIM_RELAY_SECRET_SIZE];
};

/* Switches that the world or a test may set at any time through sim_relay_faults(). All zero: a
 * healthy relay. */
struct sim_relay_faults {
    bool silent;                /* receives everything, answers and forwards nothing */
    bool full;                  /* every ALLOCATE is answered 508 */
    bool reject_credentials;    /* as if every password were wrong or expired: 401 with nonce */
    bool unsigned_errors;       /* errors carry no MESSAGE-INTEGRITY, as coturn's 401 */
    bool drop_requests;         /* TURN requests are lost, Binding and data work */
    bool drop_data;             /* data is lost, requests work */
    enum ip_family family_only; /* IP_V4 or IP_V6: allocates nothing else; IP_NONE: as configured */
    uint32_t nonce_uses;        /* a nonce is used up after so many requests; 0: the mode's own */
    uint32_t lifetime_max_s;    /* allocation lifetimes are clamped to this; 0: the mode's own */
    uint32_t binding_lifetime_s; /* channels end after this instead of 600 s; 0: 600 s */
    struct duration deaf_max;    /* each allocation is deaf for a random time below this */
};

#define SIM_RELAY_ERRORS_COUNT 13U /* different error codes that any mode sends */

/* What happened so far; for tests, oracles and "sometimes" lists. */
struct sim_relay_counters {
    uint64_t bindings;                       /* Binding requests answered */
    uint64_t allocations;                    /* ALLOCATE successes */
    uint64_t refreshes;                      /* REFRESH successes, deletions included */
    uint64_t deletions;                      /* REFRESH with lifetime 0 */
    uint64_t channel_binds;                  /* CHANNEL-BIND successes, re-binds included */
    uint64_t errors[SIM_RELAY_ERRORS_COUNT]; /* answers by code, see sim_relay_errors() */
    uint64_t to_peer;                        /* datagrams relayed client -> peer */
    uint64_t to_client;                      /* datagrams relayed peer -> client */
    uint64_t dropped;                        /* datagrams dropped silently */
    uint64_t deaf_dropped;                   /* of these: lost in the deaf window after ALLOCATE */
    uint64_t allocations_ended;              /* expired or deleted or evicted */
    uint64_t channels_expired;
};

struct sim_relay;

struct sim_relay *sim_relay_new(const struct sim_relay_config *config);
void sim_relay_free(struct sim_relay *relay);
/* The relay as a node; valid as long as the relay. */
struct sim_node sim_relay_node(struct sim_relay *relay);

/* The switches, to be set in place. */
struct sim_relay_faults *sim_relay_faults(struct sim_relay *relay);
const struct sim_relay_counters *sim_relay_counters(const struct sim_relay *relay);
/* The stamp secret in use, null-terminated; changes with restart. */
const char *sim_relay_secret(const struct sim_relay *relay);
/* How many error answers with this code were sent. Asserts: one of 400 401 403 420 437 438 440 441
 * 442 443 486 500 508. */
MUST_USE uint64_t sim_relay_errors(const struct sim_relay *relay, uint16_t code);
MUST_USE uint32_t sim_relay_allocations(const struct sim_relay *relay);

/* Loses every allocation, channel and nonce but keeps the secret ("state loss"). */
void sim_relay_forget(struct sim_relay *relay, struct sim_outbox *out);
/* Loses every nonce only: the next authenticated request of everybody is answered 438. */
void sim_relay_forget_nonces(struct sim_relay *relay);
/* Replaces the secret and loses everything: a crash and restart at the same address. */
void sim_relay_restart(struct sim_relay *relay, const uint8_t seed[32], struct sim_outbox *out);
/* Ends every channel at once, silently: the client believes them bound. */
void sim_relay_expire_channels(struct sim_relay *relay);

/* Data on its way through a bound channel, in either direction. */
struct sim_relay_passage {
    struct sock_addr local; /* of the relay: from where it goes on */
    struct sock_addr remote;
    uint16_t channel;    /* its header goes in front; 0: none */
    struct view payload; /* inside the datagram that came */
};

/* The fast path of a relay with real sockets: true when the datagram is to be passed on as `out`
 * says; it is counted. False: give it to the node. */
MUST_USE bool sim_relay_pass(struct sim_relay *relay, struct clock_pair now,
                             const struct sim_datagram *datagram, struct sim_relay_passage *out);

/* The node's functions, for callers that do not go through the node table. */
void sim_relay_handle_addresses(struct sim_relay *relay, struct clock_pair now,
                                const struct sim_host_addresses *addresses, struct sim_outbox *out);
void sim_relay_handle_datagram(struct sim_relay *relay, struct clock_pair now,
                               const struct sim_datagram *datagram, struct sim_outbox *out);
void sim_relay_handle_timeout(struct sim_relay *relay, struct clock_pair now,
                              struct sim_outbox *out);
MUST_USE struct wake sim_relay_poll_timeout(const struct sim_relay *relay);

#endif /* SIM_RELAY_H */
