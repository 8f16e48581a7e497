/* sim_relay_internal: what the files of the relay share; nobody else includes it. */
#ifndef SIM_RELAY_INTERNAL_H
#define SIM_RELAY_INTERNAL_H

#include "base/map.h"
#include "base/siphash.h"
#include "crypto/rng.h"
#include "sim/sim_relay.h"
#include "sim/sim_relay_decode.h"
#include "stun/stun_auth.h"

#define RELAY_REALM         "firezone"
#define RELAY_SALT_MAX      512U
#define RELAY_PASSWORD_SIZE 43U   /* base64 of SHA-256 without padding */
#define RELAY_NONCE_MAX     36U   /* characters */
#define RELAY_ANSWER_MAX    1500U /* bytes of one answer */
#define RELAY_NOBODY        UINT16_MAX

/* A challenge given out. */
struct relay_nonce {
    bool used;
    uint8_t id[16];
    struct sock_addr client; /* HEAD and COTURN: nobody else may use it */
    uint32_t uses_left;
    struct instant expires_at; /* COTURN; else TIME_NEVER */
};

struct relay_allocation {
    bool used;
    bool lingering;          /* COTURN: deleted, but the session is still there until expires_at */
    struct sock_addr client; /* who owns it */
    struct sock_addr local;  /* the relay's address that the client talks to */
    struct sock_addr v4;     /* relayed addresses; family IP_NONE: none */
    struct sock_addr v6;
    struct instant expires_at;
    struct instant ready_at; /* deaf until then */
    struct stun_txn txn;     /* of the ALLOCATE; COTURN answers its repetition */
    uint32_t lifetime_s;     /* as answered to the ALLOCATE */
    char username[STUN_USERNAME_MAX + 1U];
};

struct relay_channel {
    bool used;
    bool bound; /* false: cooling down, relays nothing */
    uint16_t number;
    uint16_t allocation;
    struct sock_addr peer;
    struct instant expires_at; /* of the binding; of the cool-down once unbound */
};

/* COTURN only: the address may send through the allocation. */
struct relay_permission {
    bool used;
    uint16_t allocation;
    struct ip_addr peer;
    struct instant expires_at;
};

struct sim_relay {
    struct sim_relay_config config;
    struct sim_relay_faults faults;
    struct sim_relay_counters counters;
    struct sim_host_addresses addresses;
    struct rng rng;
    char secret[SIM_RELAY_SECRET_SIZE];
    struct siphash_key key; /* of the maps */
    struct instant next_at; /* earliest deadline in the tables */

    struct relay_nonce nonces[SIM_RELAY_NONCES_MAX];
    uint32_t nonces_next; /* slot that is overwritten next */
    struct relay_allocation allocations[SIM_RELAY_ALLOCATIONS_MAX];
    uint32_t allocations_count;
    struct relay_channel channels[SIM_RELAY_CHANNELS_MAX];
    uint32_t channels_high; /* slots from here on were never used */
    struct relay_permission permissions[SIM_RELAY_PERMISSIONS_MAX];
    uint32_t permissions_high;

    struct map by_client; /* client address -> allocation */
    struct map by_number; /* allocation, number -> channel */
    struct map by_peer;   /* allocation, peer -> channel */
    struct map_slot *slots;
    uint16_t by_port[2][65536]; /* family v4, v6; port -> allocation or RELAY_NOBODY */
};

/* One request on its way to its answer. */
struct relay_call {
    struct sim_relay *relay;
    struct clock_pair now;
    const struct sim_datagram *datagram;
    struct sim_relay_request request;
    struct sim_outbox *out;
};

/* ---- sim_relay_table.c ---- */

/* Forgets allocations, channels, permissions and nonces; `out` (or NULL) gets the unbinds. */
void relay_table_clear(struct sim_relay *relay, struct sim_outbox *out);
struct relay_allocation *relay_allocation_of(struct sim_relay *relay,
                                             const struct sock_addr *client);
/* Takes a slot and puts the client in the index; NULL when full. */
struct relay_allocation *relay_allocation_add(struct sim_relay *relay,
                                              const struct sock_addr *client);
/* Draws a free port for the family and gives it to the allocation; `wish` nonzero: that one. Zero
 * when no port is free. */
uint16_t relay_allocation_open(struct sim_relay *relay, struct relay_allocation *allocation,
                               enum ip_family family, struct sim_outbox *out);
void relay_allocation_end(struct sim_relay *relay, struct relay_allocation *allocation,
                          struct sim_outbox *out);
MUST_USE bool relay_allocation_has(const struct relay_allocation *allocation,
                                   enum ip_family family);
struct relay_allocation *relay_allocation_at_port(struct sim_relay *relay,
                                                  const struct sock_addr *local);
struct relay_channel *relay_channel_by_number(struct sim_relay *relay,
                                              const struct relay_allocation *allocation,
                                              uint16_t number);
struct relay_channel *relay_channel_by_peer(struct sim_relay *relay,
                                            const struct relay_allocation *allocation,
                                            const struct sock_addr *peer);
/* NULL when full. */
struct relay_channel *relay_channel_add(struct sim_relay *relay,
                                        const struct relay_allocation *allocation, uint16_t number,
                                        const struct sock_addr *peer);
void relay_channel_end(struct sim_relay *relay, struct relay_channel *channel);
/* False when full. */
MUST_USE bool relay_permission_set(struct sim_relay *relay,
                                   const struct relay_allocation *allocation,
                                   const struct ip_addr *peer, struct instant until);
MUST_USE bool relay_permission_has(const struct sim_relay *relay,
                                   const struct relay_allocation *allocation,
                                   const struct ip_addr *peer, struct instant now);
/* Moves every table to `now` and computes next_at. */
void relay_table_advance(struct sim_relay *relay, struct instant now, struct sim_outbox *out);

/* ---- sim_relay_auth.c ---- */

/* Draws the secret from the random stream. */
void relay_auth_renew_secret(struct sim_relay *relay);
/* The key of the user name's one right password; false when the user name is not `u64:salt`. */
MUST_USE bool relay_auth_key(const struct sim_relay *relay, struct view username,
                             uint8_t key[STUN_LONG_TERM_KEY_SIZE], uint64_t *expiry_s);
/* Returns 0 when the request may proceed, else the code to answer. `*is_signed`: whether that
 * answer carries MESSAGE-INTEGRITY if the user name permits. */
MUST_USE uint16_t relay_auth_check(struct relay_call *call, bool *is_signed);
/* Writes a nonce for the client: new, or in HEAD and COTURN the one it has. */
void relay_auth_put_nonce(struct sim_relay *relay, struct instant now,
                          const struct sock_addr *client, struct writer *w);
void relay_auth_forget_client(struct sim_relay *relay, const struct sock_addr *client);

/* ---- sim_relay_turn.c ---- */

/* Answers one decoded request. */
void relay_turn_request(struct relay_call *call);
/* Sends an error; `is_signed` false leaves MESSAGE-INTEGRITY out. */
void relay_turn_error(struct relay_call *call, uint16_t code, bool is_signed);

/* ---- sim_relay.c ---- */

MUST_USE static inline bool relay_is_head(const struct sim_relay *relay)
{
    return relay->config.mode == SIM_RELAY_HEAD || relay->config.mode == SIM_RELAY_HEAD_EBPF;
}

MUST_USE static inline bool relay_is_coturn(const struct sim_relay *relay)
{
    return relay->config.mode == SIM_RELAY_COTURN;
}

void relay_send(struct sim_relay *relay, struct sim_outbox *out, const struct sim_datagram *d);

#endif /* SIM_RELAY_INTERNAL_H */
