/* Port choice: the client's own port if it is free, else the next free one. A few single probes
 * serve nearly every flow; a crowded address gets a map of its ports, so that a client that fills
 * the space costs one scan of words a flow and not 65 535 look-ups. */
#include <string.h>

#include "base/assert.h"
#include "policy/policy_nat_state.h"

static bool same_space(const struct policy_nat_tuple *a, const struct policy_nat_tuple *b)
{
    return a->client == b->client && a->kind == b->kind && ip_equal(&a->ip, &b->ip);
}

static struct policy_nat_ports *ports_find(struct policy_nat *nat,
                                           const struct policy_nat_tuple *space)
{
    for (uint32_t i = 0; i < POLICY_NAT_PORT_MAPS; i++) {
        if (nat->ports[i].used && same_space(&nat->ports[i].of, space)) {
            return &nat->ports[i];
        }
    }
    return NULL;
}

static void ports_mark(struct policy_nat_ports *ports, uint16_t port, bool taken)
{
    uint64_t bit = UINT64_C(1) << (port % 64);
    if (taken) {
        ports->taken[port / 64] |= bit;
    } else {
        ports->taken[port / 64] &= ~bit;
    }
}

static void ports_drop(struct policy_nat *nat, struct policy_nat_ports *ports)
{
    ASSERT(ports->used);
    nat->clients[ports->of.client].port_maps--;
    ports->used = false;
}

static struct policy_nat_ports *ports_build(struct policy_nat *nat,
                                            const struct policy_nat_tuple *space)
{
    struct policy_nat_ports *own = &nat->ports[0];
    for (uint32_t i = 1; i < POLICY_NAT_PORT_MAPS && own->used; i++) {
        if (!nat->ports[i].used || nat->ports[i].stamp < own->stamp) {
            own = &nat->ports[i];
        }
    }
    if (own->used) {
        ports_drop(nat, own);
    }
    memset(own, 0, sizeof *own);
    own->used = true;
    own->of = *space;
    nat->clients[space->client].port_maps++;
    for (uint32_t at = nat->clients[space->client].live.head; at != 0;
         at = nat->sessions[at - 1].next) {
        struct policy_nat_tuple outside = policy_nat_outside_of(&nat->sessions[at - 1]);
        if (same_space(&outside, space)) {
            ports_mark(own, outside.port, true);
        }
    }
    return own;
}

/* Finds the first free port in [from, to]. */
static bool ports_scan(const struct policy_nat_ports *ports, uint32_t from, uint32_t to,
                       uint16_t *port)
{
    uint32_t at = from;
    while (at <= to) {
        uint64_t free_bits = ~ports->taken[at / 64] >> (at % 64);
        if (free_bits == 0) {
            at = (at / 64 + 1) * 64;
            continue;
        }
        while ((free_bits & 1) == 0) {
            free_bits >>= 1;
            at++;
        }
        *port = (uint16_t)at;
        return at <= to;
    }
    return false;
}

static uint32_t port_after(uint32_t port, uint32_t first)
{
    /* first ... 65 535, then 1 ... first - 1; POLICY_NAT_PORTS ends the walk */
    uint32_t next = port + 1;
    if (next == POLICY_NAT_PORTS) {
        next = 1;
        if (first <= 1) {
            return POLICY_NAT_PORTS;
        }
    }
    return next == first ? POLICY_NAT_PORTS : next;
}

static bool port_is_free(struct policy_nat *nat, const struct policy_nat_tuple *outside,
                         struct instant now)
{
    bool expired = false;
    return policy_nat_find_outside(nat, outside, now, &expired) == POLICY_NONE;
}

/* A map costs a look at each of the client's sessions: who has many gets few in a second. */
static bool may_build(struct policy_nat *nat, uint32_t client, struct instant now)
{
    uint32_t cost = nat->clients[client].live.count;
    cost = cost > POLICY_NAT_MAP_COST ? cost : POLICY_NAT_MAP_COST;
    cost = cost < POLICY_NAT_MAP_COST_PER_S ? cost : POLICY_NAT_MAP_COST_PER_S;
    return policy_rate_take(&nat->maps_rate, now, POLICY_NAT_MAP_COST_PER_S, cost);
}

bool policy_nat_choose_port(struct policy_nat *nat, const struct policy_nat_tuple *wanted,
                            struct instant now, uint16_t *port)
{
    struct policy_nat_tuple probe = *wanted;
    uint32_t first = FAULT(nat->fault, FAULT_PORT_WRAP) ? POLICY_NAT_PORTS - 2 : wanted->port;
    uint32_t at = first;
    uint32_t probes = FAULT(nat->fault, FAULT_PORT_MAP) ? 0 : POLICY_NAT_PROBES_MAX;
    for (uint32_t i = 0; i < probes && at < POLICY_NAT_PORTS; i++) {
        probe.port = (uint16_t)at;
        if (port_is_free(nat, &probe, now)) {
            *port = probe.port;
            return true;
        }
        at = port_after(at, first);
    }
    struct policy_nat_ports *ports = ports_find(nat, wanted);
    if (ports == NULL) {
        if (!may_build(nat, wanted->client, now)) {
            return false;
        }
        ports = ports_build(nat, wanted);
    }
    nat->stamp++;
    ports->stamp = nat->stamp;
    return ports_scan(ports, first, POLICY_NAT_PORTS - 1, port) ||
           (first > 1 && ports_scan(ports, 1, first - 1, port));
}

void policy_nat_ports_set(struct policy_nat *nat, const struct policy_nat_tuple *outside,
                          bool taken)
{
    if (nat->clients[outside->client].port_maps == 0) {
        return;
    }
    struct policy_nat_ports *ports = ports_find(nat, outside);
    if (ports != NULL) {
        ports_mark(ports, outside->port, taken);
    }
}

void policy_nat_ports_forget(struct policy_nat *nat, uint32_t client)
{
    for (uint32_t i = 0; i < POLICY_NAT_PORT_MAPS && nat->clients[client].port_maps > 0; i++) {
        if (nat->ports[i].used && nat->ports[i].of.client == client) {
            ports_drop(nat, &nat->ports[i]);
        }
    }
    ASSERT(nat->clients[client].port_maps == 0);
}

static uint32_t bits_count(const struct policy_nat_ports *ports)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < POLICY_NAT_PORTS / 64; i++) {
        for (uint64_t word = ports->taken[i]; word != 0; word &= word - 1) {
            count++;
        }
    }
    return count;
}

/* Checks that the sessions of one crowded address are marked, and nothing else is. */
static void check_map(const struct policy_nat *nat, const struct policy_nat_ports *ports)
{
    uint32_t count = 0;
    for (uint32_t at = nat->clients[ports->of.client].live.head; at != 0;
         at = nat->sessions[at - 1].next) {
        struct policy_nat_tuple outside = policy_nat_outside_of(&nat->sessions[at - 1]);
        if (same_space(&outside, &ports->of)) {
            ASSERT((ports->taken[outside.port / 64] >> (outside.port % 64) & 1) == 1);
            count++;
        }
    }
    ASSERT(count == bits_count(ports));
}

void policy_nat_ports_check(const struct policy_nat *nat)
{
    for (uint32_t i = 0; i < POLICY_NAT_PORT_MAPS; i++) {
        if (nat->ports[i].used) {
            check_map(nat, &nat->ports[i]);
        }
    }
}
