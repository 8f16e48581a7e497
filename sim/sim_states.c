#include "sim/sim_states.h"

#include <stdlib.h>

#include "base/assert.h"

#define AGE_RENEW_NS (120 * NS_PER_S) /* ages of a tunnel's keys, spec/wireguard.md section 8 */
#define AGE_OVER_NS  (180 * NS_PER_S)
#define PAIR_FACTOR  UINT64_C(0x9e3779b97f4a7c15)

enum path { PATH_NONE, PATH_DIRECT, PATH_RELAYED, PATH_LOST };
enum many { MANY_NONE, MANY_ONE, MANY_MORE };

struct connection {
    uint32_t path; /* enum path */
    bool up;
    uint64_t shaken_ns; /* 0: never */
    uint32_t rights;
    bool seen;
    uint32_t last; /* state, once seen */
};

struct states_gateway {
    bool joined;
    uint32_t edge;
    uint32_t relays;
    bool relay_failed; /* after the latest that was ready */
    struct connection connections[SIM_CLIENTS_MAX];
};

struct sim_states {
    uint32_t fault; /* plus one; 0: none yet */
    uint32_t client_edges[SIM_CLIENTS_MAX];
    struct states_gateway gateways[SIM_GATEWAYS_MAX];
    struct sim_state_sets sets;
};

struct sim_states *sim_states_new(void)
{
    struct sim_states *states = calloc(1, sizeof(*states));
    ASSERT(states != NULL);
    return states;
}

void sim_states_free(struct sim_states *states)
{
    free(states);
}

void sim_states_client_edge(struct sim_states *states, uint32_t client, uint32_t kind)
{
    ASSERT(client < SIM_CLIENTS_MAX);
    states->client_edges[client] = kind;
}

void sim_states_gateway_edge(struct sim_states *states, uint32_t gateway, uint32_t kind)
{
    ASSERT(gateway < SIM_GATEWAYS_MAX);
    states->gateways[gateway].edge = kind;
}

void sim_states_fault(struct sim_states *states, uint32_t kind)
{
    states->fault = kind + 1;
}

static void gone(struct connection *c)
{
    c->path = c->path == PATH_NONE ? PATH_NONE : PATH_LOST;
    c->up = false;
    c->shaken_ns = 0;
}

void sim_states_boot(struct sim_states *states, uint32_t gateway)
{
    struct states_gateway *g = &states->gateways[gateway];
    g->joined = false;
    g->relays = 0;
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        gone(&g->connections[i]);
        g->connections[i].rights = 0;
    }
}

static uint32_t many(uint32_t count)
{
    return count == 0 ? MANY_NONE : count == 1 ? MANY_ONE : MANY_MORE;
}

static uint32_t age_of(const struct connection *c, uint64_t now_ns)
{
    uint64_t age = now_ns - c->shaken_ns;
    return c->shaken_ns == 0 ? 0 : age < AGE_RENEW_NS ? 1 : age < AGE_OVER_NS ? 2 : 3;
}

/* Appends a class of so many bits. */
static void add(uint32_t *state, uint32_t bits, uint32_t value)
{
    uint32_t most = (1U << bits) - 1;
    *state = *state << bits | (value < most ? value : most);
}

static uint32_t state_of(const struct sim_states *states, const struct states_gateway *g,
                         const struct connection *c, uint64_t now_ns)
{
    uint32_t state = 0;
    add(&state, 2, c->path);
    add(&state, 1, c->up ? 1 : 0);
    add(&state, 2, age_of(c, now_ns));
    add(&state, 2, g->relays == 0 && g->relay_failed ? 3 : many(g->relays));
    add(&state, 1, g->joined ? 1 : 0);
    add(&state, 2, many(c->rights));
    add(&state, 3, states->client_edges[c - g->connections]);
    add(&state, 3, g->edge);
    add(&state, 7, states->fault);
    ASSERT(state < 1U << SIM_STATES_BITS);
    return state;
}

static void mark(uint8_t *set, uint32_t bit)
{
    set[bit / 8] |= (uint8_t)(1U << bit % 8);
}

static void visit(struct sim_states *states, const struct states_gateway *g, struct connection *c,
                  uint64_t now_ns)
{
    uint32_t state = state_of(states, g, c, now_ns);
    if (c->seen && c->last == state) {
        return;
    }
    mark(states->sets.states, state);
    if (c->seen) {
        uint64_t both = ((uint64_t)c->last << 32U | state) * PAIR_FACTOR;
        mark(states->sets.pairs, (uint32_t)(both >> (64U - SIM_STATES_BITS)));
    }
    c->seen = true;
    c->last = state;
}

static void down(uint32_t *count)
{
    *count -= *count > 0 ? 1 : 0;
}

static void of_connection(struct connection *c, enum trace_id event, uint64_t value,
                          uint64_t now_ns)
{
    if (event == EV_CONNECTION_NEW || event == EV_CONNECTION_FAILED ||
        event == EV_CONNECTION_CLOSED) {
        gone(c);
    } else if (event == EV_CONNECTION_PATH) {
        c->path = value == 1 ? PATH_RELAYED : PATH_DIRECT;
    } else if (event == EV_CONNECTION_UP) {
        c->up = true;
    } else if (event == EV_HANDSHAKE) {
        c->shaken_ns = now_ns;
    } else if (event == EV_AUTHORIZED) {
        c->rights++;
    } else if (event == EV_REVOKED || event == EV_EXPIRED) {
        down(&c->rights);
    }
}

static void of_gateway(struct states_gateway *g, enum trace_id event)
{
    if (event == EV_PORTAL_JOINED || event == EV_PORTAL_LOST) {
        g->joined = event == EV_PORTAL_JOINED;
    } else if (event == EV_RELAY_READY) {
        g->relays++;
        g->relay_failed = false;
    } else if (event == EV_RELAY_LOST) {
        down(&g->relays);
    } else if (event == EV_RELAY_FAILED) {
        g->relay_failed = true;
    }
}

void sim_states_event(struct sim_states *states, uint32_t gateway, uint32_t client,
                      enum trace_id event, uint64_t value, uint64_t now_ns)
{
    ASSERT(gateway < SIM_GATEWAYS_MAX);
    struct states_gateway *g = &states->gateways[gateway];
    of_gateway(g, event);
    if (client < SIM_CLIENTS_MAX) {
        of_connection(&g->connections[client], event, value, now_ns);
    }
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct connection *c = &g->connections[i];
        if (i == client || c->seen) {
            visit(states, g, c, now_ns);
        }
    }
}

const struct sim_state_sets *sim_states_sets(const struct sim_states *states)
{
    return &states->sets;
}

uint64_t sim_states_count(const uint8_t set[(1U << SIM_STATES_BITS) / 8])
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < (1U << SIM_STATES_BITS) / 8; i++) {
        count += (uint64_t)__builtin_popcount(set[i]);
    }
    return count;
}
