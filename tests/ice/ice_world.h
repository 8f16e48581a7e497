/* ice_world: a client and a gateway, each behind a NAT, with a relay, in virtual time.
 *
 * NATs keep ports (plus an offset that a test may change: rebinding) and filter by endpoint. The
 * relay forwards everything to and from relayed addresses. Latency 10 ms; a test may add loss.
 */
#ifndef TESTS_ICE_WORLD_H
#define TESTS_ICE_WORLD_H

#include <string.h>

#include "ice/ice_agent.h"
#include "tests/support/ice_alone.h"
#include "tests/support/support.h"

#define WORLD_FLIGHT_MAX 512U
#define WORLD_CLIENT     0
#define WORLD_GATEWAY    1

struct world_node {
    struct ice_agent agent;
    struct ice_alone memory;
    struct sock_addr host;
    struct ip_addr nat;
    uint16_t port_offset; /* of the NAT's outside port */
    struct sock_addr relay;
    struct sock_addr opened[16]; /* endpoints that the NAT lets in */
    size_t opened_count;
    bool is_cut; /* direct datagrams of this node are lost, both ways */
    struct ice_path path;
    size_t selections;
    size_t disconnects;
    size_t discovered;
    enum ice_state state;
    size_t checks;
};

struct world_flight {
    struct instant at;
    int to;
    struct sock_addr local;
    struct sock_addr from;
    uint8_t bytes[ICE_TRANSMIT_SIZE_MAX];
    size_t len;
};

struct world {
    struct instant now;
    struct rng rng;
    uint32_t loss_percent;
    struct world_node nodes[2];
    struct world_flight flights[WORLD_FLIGHT_MAX];
    size_t flights_count;
};

static inline struct sock_addr world_addr(const char *text)
{
    struct sock_addr addr;
    assert_true(sock_addr_parse(view_text(text), &addr));
    return addr;
}

static inline struct sock_addr world_mapped(const struct world_node *node)
{
    return sock_addr_of(node->nat, (uint16_t)(node->host.port + node->port_offset));
}

static inline struct ice_agent_config world_config(int node)
{
    bool client = node == WORLD_CLIENT;
    return (struct ice_agent_config){
        .controlling = client,
        .local_ufrag = view_text(client ? "k5fd" : "7ddg"),
        .local_password = view_text(client ? "sfl3nrmziix5dcaydtq4xd" : "swa5thzjjwfmbfcrzbylca"),
        .remote_ufrag = view_text(client ? "7ddg" : "k5fd"),
        .remote_password = view_text(client ? "swa5thzjjwfmbfcrzbylca" : "sfl3nrmziix5dcaydtq4xd"),
        .tie_breaker = client ? 1 : 2,
        .timing = client ? ICE_TIMING_CLIENT : ICE_TIMING_GATEWAY,
        .timing_idle = client ? ICE_TIMING_CLIENT_IDLE : ICE_TIMING_GATEWAY_IDLE,
        .txn_tag = client ? 0xc0000001U : 0x60000002U,
    };
}

static inline void world_init(struct world *w, uint8_t seed)
{
    memset(w, 0, sizeof(*w));
    uint8_t bytes[RNG_SEED_SIZE] = {seed};
    rng_init(&w->rng, bytes);
    w->now = (struct instant){1000 * NS_PER_S};
    for (int i = 0; i < 2; i++) {
        struct world_node *node = &w->nodes[i];
        bool client = i == WORLD_CLIENT;
        node->host = world_addr(client ? "10.1.0.2:52625" : "10.2.0.2:52625");
        node->nat = client ? ip_v4(203, 0, 113, 30) : ip_v4(203, 0, 113, 40);
        node->relay = world_addr(client ? "203.0.113.10:60001" : "203.0.113.10:60002");
        struct ice_agent_config config = world_config(i);
        ice_agent_init(&node->agent, &config, ice_alone_start(&node->memory), &w->rng, w->now);
    }
}

/* Puts a datagram into the network, unless NAT, private address or loss swallow it. */
static inline void world_send(struct world *w, int sender, const struct ice_transmit *t)
{
    struct world_node *src = &w->nodes[sender];
    struct world_node *dst = &w->nodes[1 - sender];
    struct sock_addr from = t->relayed ? t->local : world_mapped(src);
    assert_true(t->relayed || sock_addr_equal(&t->local, &src->host));
    if (!t->relayed && src->opened_count < ARRAY_COUNT(src->opened)) {
        src->opened[src->opened_count++] = t->remote;
    }
    struct sock_addr mapped = world_mapped(dst);
    bool to_relay = sock_addr_equal(&t->remote, &dst->relay);
    bool arrives = to_relay;
    if (sock_addr_equal(&t->remote, &mapped)) {
        for (size_t i = 0; i < dst->opened_count; i++) {
            arrives = arrives || sock_addr_equal(&dst->opened[i], &from);
        }
        arrives = arrives && !dst->is_cut;
    }
    arrives = arrives && !(src->is_cut && !t->relayed);
    if (!arrives || rng_below(&w->rng, 100) < w->loss_percent) {
        return;
    }
    assert_true(w->flights_count < WORLD_FLIGHT_MAX);
    struct world_flight *flight = &w->flights[w->flights_count++];
    flight->at = instant_add(w->now, DURATION_MS(10));
    flight->to = 1 - sender;
    flight->local = to_relay ? dst->relay : dst->host;
    flight->from = from;
    flight->len = t->bytes.len;
    memcpy(flight->bytes, t->bytes.at, t->bytes.len);
}

static inline void world_drain(struct world *w, int index)
{
    struct world_node *node = &w->nodes[index];
    struct ice_transmit t;
    size_t sent = 0;
    while (ice_agent_poll_transmit(&node->agent, &t)) {
        node->checks += (t.bytes.at[0] & 1U) == 0 ? 1 : 0;
        world_send(w, index, &t);
        sent++;
        assert_true(sent <= ICE_PAIRS_MAX + ICE_REPLIES_MAX);
    }
    struct ice_event event;
    while (ice_agent_poll_event(&node->agent, &event)) {
        switch (event.kind) {
        case ICE_EVENT_SELECTED:
            node->path = event.path;
            node->selections++;
            break;
        case ICE_EVENT_STATE:
            node->state = event.state;
            node->disconnects += event.state == ICE_DISCONNECTED ? 1 : 0;
            break;
        case ICE_EVENT_DISCOVERED:
            node->discovered++;
            break;
        }
    }
    ice_agent_check(&node->agent);
    struct wake wake = ice_agent_poll_timeout(&node->agent);
    assert_true(node->agent.state == ICE_NEW || instant_before(w->now, wake.at));
}

static inline void world_deliver(struct world *w, size_t index)
{
    struct world_flight flight = w->flights[index];
    w->flights_count--;
    memmove(&w->flights[index], &w->flights[index + 1],
            (w->flights_count - index) * sizeof(flight));
    struct view datagram = {flight.bytes, flight.len};
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(datagram, &msg), DROP_NONE);
    enum drop_reason refused = ice_agent_handle_message(&w->nodes[flight.to].agent, &flight.local,
                                                        &flight.from, datagram, &msg, w->now);
    assert_int_not_equal(refused, DROP_STUN_INTEGRITY);
    assert_int_not_equal(refused, DROP_STUN_UNKNOWN_UFRAG);
    world_drain(w, flight.to);
}

/* Runs for `ms` of virtual time. */
static inline void world_run(struct world *w, uint64_t ms)
{
    struct instant end = instant_add(w->now, DURATION_MS(ms));
    for (;;) {
        struct instant next = TIME_NEVER;
        size_t flight = SIZE_MAX;
        for (size_t i = 0; i < w->flights_count; i++) {
            if (instant_before(w->flights[i].at, next)) {
                next = w->flights[i].at;
                flight = i;
            }
        }
        int node = -1;
        for (int i = 0; i < 2; i++) {
            struct instant at = ice_agent_poll_timeout(&w->nodes[i].agent).at;
            if (instant_before(at, next)) {
                next = at;
                node = i;
            }
        }
        if (instant_before(end, next)) {
            w->now = end;
            return;
        }
        w->now = instant_max(w->now, next);
        if (node >= 0) {
            ice_agent_handle_timeout(&w->nodes[node].agent, w->now);
            world_drain(w, node);
        } else {
            world_deliver(w, flight);
        }
    }
}

/* Adds a local candidate and signals it to the other side as text. */
static inline void world_add(struct world *w, int index, struct ice_candidate candidate)
{
    struct world_node *other = &w->nodes[1 - index];
    assert_int_equal(ice_agent_add_local(&w->nodes[index].agent, &candidate, w->now), ERR_NONE);
    uint8_t text[ICE_CANDIDATE_TEXT_SIZE_MAX];
    struct writer writer = writer_of((struct span){text, sizeof(text)});
    ice_candidate_put(&writer, &candidate);
    struct ice_candidate parsed;
    assert_int_equal(ice_candidate_parse(writer_view(&writer), &parsed), DROP_NONE);
    assert_int_equal(ice_agent_add_remote(&other->agent, &parsed, w->now), DROP_NONE);
    world_drain(w, 0);
    world_drain(w, 1);
}

static inline void world_add_host(struct world *w, int index)
{
    world_add(w, index, ice_candidate_host(&w->nodes[index].host));
}

static inline void world_add_srflx(struct world *w, int index)
{
    struct sock_addr mapped = world_mapped(&w->nodes[index]);
    world_add(w, index, ice_candidate_srflx(&mapped, &w->nodes[index].host));
}

static inline void world_add_relay(struct world *w, int index)
{
    world_add(w, index, ice_candidate_relay(&w->nodes[index].relay, IP_V4));
}

static inline void world_add_all(struct world *w)
{
    for (int i = 0; i < 2; i++) {
        world_add_host(w, i);
        world_add_srflx(w, i);
        world_add_relay(w, i);
    }
}

/* Hands `to` a signed request as the other side would send it. */
static inline enum drop_reason world_request(struct world *w, int to, const struct sock_addr *local,
                                             const struct sock_addr *from, bool use_candidate)
{
    struct ice_agent_config config = world_config(to);
    static const uint8_t txn[STUN_TXN_SIZE] = {9};
    uint8_t out[256];
    struct stun_writer s;
    struct stun_txn id;
    memcpy(id.bytes, txn, sizeof(txn));
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_BINDING, STUN_REQUEST, &id);
    stun_put_ice_username(&s, config.local_ufrag, config.remote_ufrag);
    if (config.controlling) {
        stun_put_controlled(&s, 1);
    } else {
        stun_put_controlling(&s, 1);
    }
    stun_put_priority(&s, 1862270719);
    if (use_candidate) {
        stun_put_use_candidate(&s);
    }
    stun_put_integrity(&s, config.local_password);
    stun_put_fingerprint(&s);
    struct view datagram = stun_finish(&s);
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(datagram, &msg), DROP_NONE);
    return ice_agent_handle_message(&w->nodes[to].agent, local, from, datagram, &msg, w->now);
}

#endif /* TESTS_ICE_WORLD_H */
