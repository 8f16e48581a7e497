/* What the environment tells beside packets, and what the gateway tells about itself. */
#include "gateway/gateway_internal.h"

void gateway_set_tun_up(struct gateway *gw, bool up)
{
    gw->tun_up = up;
}

void gateway_set_io_counters(struct gateway *gw, const struct gateway_io_counters *io)
{
    gw->counters.io = *io;
}

void gateway_set_own_addresses(struct gateway *gw, const struct ip_addr *addresses, size_t count)
{
    static_assert(GATEWAY_OWN_ADDRESSES_MAX == POLICY_OWN_ADDRESSES_MAX, "all are taken");
    policy_set_own_addresses(gw->policy, addresses, count);
}

void gateway_handle_unreachable(struct gateway *gw, struct clock_pair now,
                                const struct sock_addr *remote)
{
    uint32_t cursor = 0;
    uint32_t relay;
    gateway_begin(gw, now);
    while ((relay = gateway_relay_next(gw, remote, &cursor)) != GATEWAY_NONE) {
        turn_client_handle_unreachable(&gw->relays[relay].turn, remote, gw->now.boot);
        gateway_relay_touch(gw, relay);
    }
}

void gateway_count_path(struct gateway *gw, struct gateway_connection *c, bool has_path)
{
    if (c->has_path) {
        gw->counters.connections_relayed -= c->path.relayed ? 1U : 0U;
        gw->counters.connections_direct -= c->path.relayed ? 0U : 1U;
    }
    c->has_path = has_path;
    if (has_path) {
        gw->counters.connections_relayed += c->path.relayed ? 1U : 0U;
        gw->counters.connections_direct += c->path.relayed ? 0U : 1U;
    }
}

void gateway_count_lookup(struct gateway *gw, struct instant started_at, bool answered)
{
    static const uint64_t bounds_ms[] = GATEWAY_LOOKUP_BOUNDS_MS;
    uint64_t ms = instant_since(gw->now.boot, started_at).ns / NS_PER_MS;
    for (size_t i = 0; i < sizeof(bounds_ms) / sizeof(bounds_ms[0]); i++) {
        gw->counters.lookups_within[i] += ms <= bounds_ms[i] ? 1 : 0;
    }
    gw->counters.lookups_done++;
    gw->counters.lookups_ms += ms;
    gw->counters.lookups_failed += answered ? 0 : 1;
}

static uint32_t allocations(const struct gateway *gw)
{
    uint32_t count = 0;
    for (uint32_t r = 0; r < gw->limits.relays && count < gw->relays_count; r++) {
        const struct gateway_relay *relay = &gw->relays[r];
        count += relay->used && !relay->closing && turn_client_is_ready(&relay->turn) ? 1 : 0;
    }
    return count;
}

struct gateway_http_facts gateway_status(struct gateway *gw)
{
    return (struct gateway_http_facts){
        .counters = gateway_counters(gw),
        .limits = &gw->limits,
        .portal_joined = gw->portal_joined,
        .initialised = gw->portal_joined && gw->initialised,
        .tun_up = gw->tun_up,
        .allocations = allocations(gw),
    };
}

const struct gateway_counters *gateway_counters(struct gateway *gw)
{
    struct policy_stats stats = policy_stats(gw->policy);
    gw->counters.clients = stats.clients;
    gw->counters.nat_sessions = stats.nat_sessions;
    gw->counters.connections = gw->connections_count;
    gw->counters.relays = gw->relays_count;
    gw->counters.lookups = gw->resolves_count;
    return &gw->counters;
}
