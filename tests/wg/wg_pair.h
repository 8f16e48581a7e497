/* wg_pair: two tunnels that talk to each other, and a scripted random source. */
#ifndef TESTS_WG_PAIR_H
#define TESTS_WG_PAIR_H

#include "tests/support/support.h"

#include <string.h>

#include "wg/wg_peer.h"

#define PAIR_UNIX_NS UINT64_C(1733270400123456789)
#define PAIR_START_S 1000U

struct pair_side {
    struct wg_node node;
    struct wg_peer peer;
    struct wg_window windows[WG_SESSIONS_MAX];
};

struct pair {
    struct pair_side client;
    struct pair_side gateway;
    struct rng rng;
    struct instant now;
};

static inline struct instant pair_at(uint64_t ms)
{
    return instant_add((struct instant){PAIR_START_S * NS_PER_S}, DURATION_MS(ms));
}

static inline struct rng pair_rng(uint8_t seed)
{
    struct rng rng;
    uint8_t bytes[RNG_SEED_SIZE] = {seed};
    rng_init(&rng, bytes);
    return rng;
}

/* A random source whose first bytes are `bytes`. */
static inline struct rng pair_rng_scripted(const uint8_t *bytes, size_t len)
{
    struct rng rng = pair_rng(99);
    rng.used = sizeof(rng.pool) - len;
    memcpy(rng.pool + rng.used, bytes, len);
    return rng;
}

static inline void pair_node(struct wg_node *node, uint8_t key)
{
    struct x25519_private own = {{key, 1, 2, 3}};
    struct clock_pair start = {pair_at(0), PAIR_UNIX_NS};
    wg_node_init(node, &own, &start, WG_HANDSHAKES_PER_S_DEFAULT);
}

static inline struct wg_peer_config pair_config(const struct wg_node *remote, uint32_t id,
                                                enum wg_role role)
{
    return (struct wg_peer_config){.remote = remote->own.public_key,
                                   .psk = {{0x55}},
                                   .id = id,
                                   .role = role,
                                   .era = WG_ERA_OURS,
                                   .rekey_attempt_s = WG_ATTEMPT_S_HEAD};
}

static inline void pair_init_eras(struct pair *pair, enum wg_era client, enum wg_era gateway)
{
    memset(pair, 0, sizeof(*pair));
    pair->rng = pair_rng(1);
    pair->now = pair_at(0);
    pair_node(&pair->client.node, 10);
    pair_node(&pair->gateway.node, 20);
    struct wg_peer_config config = pair_config(&pair->gateway.node, 0x00abcd, WG_ROLE_CLIENT);
    config.era = client;
    config.windows = wg_windows_of(pair->client.windows);
    assert_int_equal(wg_peer_init(&pair->client.peer, &pair->client.node, &config, pair->now),
                     ERR_NONE);
    config = pair_config(&pair->client.node, 0x123456, WG_ROLE_GATEWAY);
    config.era = gateway;
    config.windows = wg_windows_of(pair->gateway.windows);
    assert_int_equal(wg_peer_init(&pair->gateway.peer, &pair->gateway.node, &config, pair->now),
                     ERR_NONE);
}

static inline void pair_init(struct pair *pair)
{
    pair_init_eras(pair, WG_ERA_OURS, WG_ERA_OURS);
}

static inline struct wg_arrival pair_arrival(const struct pair *pair, const uint8_t *bytes,
                                             size_t len)
{
    return (struct wg_arrival){
        .message = {bytes, len}, .from = sock_addr_of(ip_v4(192, 0, 2, 1), 4000), .now = pair->now};
}

/* Hands an initiation to `side`; returns the reason, and the response when there is one. */
static inline enum drop_reason pair_give_initiation(struct pair *pair, struct pair_side *side,
                                                    const uint8_t *message,
                                                    uint8_t response[WG_RESPONSE_SIZE])
{
    struct wg_arrival arrival = pair_arrival(pair, message, WG_INITIATION_SIZE);
    struct wg_initiation initiation;
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    struct wg_verdict verdict =
        wg_node_receive_initiation(&side->node, &arrival, &pair->rng, &initiation, reply);
    if (verdict.kind != WG_VERDICT_ACCEPTED) {
        return verdict.reason;
    }
    return wg_peer_handle_initiation(&side->peer, &initiation, pair->now, &pair->rng, response);
}

static inline enum drop_reason pair_give_response(struct pair *pair, struct pair_side *side,
                                                  const uint8_t *message)
{
    return wg_peer_handle_response(&side->peer, (struct view){message, WG_RESPONSE_SIZE},
                                   pair->now);
}

static inline size_t pair_poll(struct pair *pair, struct pair_side *side,
                               uint8_t out[WG_INITIATION_SIZE])
{
    return wg_peer_poll_transmit(&side->peer, pair->now, &pair->rng,
                                 (struct span){out, WG_INITIATION_SIZE});
}

/* Makes `side` initiate and returns the initiation. */
static inline void pair_initiation(struct pair *pair, struct pair_side *side,
                                   uint8_t out[WG_INITIATION_SIZE])
{
    wg_peer_initiate(&side->peer, pair->now);
    assert_int_equal(pair_poll(pair, side, out), WG_INITIATION_SIZE);
    assert_int_equal(out[0], WG_TYPE_INITIATION);
}

/* Initiation, response and keepalive from `from` to `to`. */
static inline void pair_handshake(struct pair *pair, struct pair_side *from, struct pair_side *to)
{
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    uint8_t keepalive[WG_INITIATION_SIZE];
    struct wg_open open;
    pair_initiation(pair, from, initiation);
    assert_int_equal(pair_give_initiation(pair, to, initiation, response), DROP_NONE);
    assert_int_equal(pair_give_response(pair, from, response), DROP_NONE);
    assert_int_equal(pair_poll(pair, from, keepalive), WG_KEEPALIVE_SIZE);
    assert_int_equal(
        wg_peer_open(&to->peer, (struct span){keepalive, WG_KEEPALIVE_SIZE}, pair->now, &open),
        DROP_NONE);
    assert_true(open.is_keepalive);
    assert_true(open.is_first);
}

#define PAIR_DATA_SIZE (WG_DATA_OVERHEAD + 20U)

/* Seals a minimal IPv4 packet. */
static inline enum drop_reason pair_seal(struct pair *pair, struct pair_side *side,
                                         uint8_t out[PAIR_DATA_SIZE])
{
    memset(out, 0, PAIR_DATA_SIZE);
    out[WG_DATA_HEADER_SIZE] = 0x45;
    out[WG_DATA_HEADER_SIZE + 3] = 20;
    return wg_peer_seal(&side->peer, (struct span){out, PAIR_DATA_SIZE}, pair->now);
}

static inline enum drop_reason pair_open(struct pair *pair, struct pair_side *side,
                                         uint8_t message[PAIR_DATA_SIZE])
{
    struct wg_open open;
    return wg_peer_open(&side->peer, (struct span){message, PAIR_DATA_SIZE}, pair->now, &open);
}

/* One data packet from `from` must arrive at `to`. */
static inline void pair_exchange(struct pair *pair, struct pair_side *from, struct pair_side *to)
{
    uint8_t message[PAIR_DATA_SIZE];
    assert_int_equal(pair_seal(pair, from, message), DROP_NONE);
    assert_int_equal(pair_open(pair, to, message), DROP_NONE);
}

#endif /* TESTS_WG_PAIR_H */
