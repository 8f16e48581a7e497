#include "sim/sim_nat.h"

#include <stdlib.h>
#include <string.h>

/* A remote that the inside has sent to over this mapping. */
struct permission {
    struct sock_addr remote;
    uint64_t used_ns;
};

struct mapping {
    struct sock_addr inner;
    struct sock_addr remote; /* what the mapping depends on; unset parts are zero */
    struct sock_addr outer;
    uint64_t used_ns;
    struct permission permissions[SIM_NAT_PERMISSIONS_MAX];
    uint32_t permissions_count;
};

struct sim_nat {
    struct sim_nat_config config;
    struct sim_dice dice;
    struct mapping *mappings;
    size_t count;
    uint32_t next_port;
};

struct sim_nat *sim_nat_new(const struct sim_nat_config *config, const struct sim_rng *rng,
                            uint32_t edge)
{
    struct sim_nat *nat = calloc(1, sizeof(*nat));
    ASSERT(nat != NULL);
    nat->config = *config;
    if (nat->config.table_max == 0 || nat->config.table_max > SIM_NAT_MAPPINGS_MAX) {
        nat->config.table_max = SIM_NAT_MAPPINGS_MAX;
    }
    nat->dice = sim_dice_of(rng, sim_stream_of(SIM_FAMILY_NAT, edge, 0));
    nat->next_port = SIM_NAT_FIRST_PORT;
    return nat;
}

void sim_nat_free(struct sim_nat *nat)
{
    if (nat != NULL) {
        free(nat->mappings);
        free(nat);
    }
}

const struct sim_nat_config *sim_nat_config(const struct sim_nat *nat)
{
    return &nat->config;
}

/* Reduces an endpoint to the part that `dependence` looks at. */
static struct sock_addr reduce(enum sim_nat_dependence dependence, const struct sock_addr *remote)
{
    struct sock_addr key = {0};
    if (dependence != SIM_NAT_INDEPENDENT) {
        key.ip = remote->ip;
    }
    if (dependence == SIM_NAT_ADDRESS_AND_PORT) {
        key.port = remote->port;
    }
    return key;
}

static bool alive(const struct sim_nat *nat, uint64_t used_ns, uint64_t now_ns)
{
    return now_ns - used_ns < (uint64_t)nat->config.timeout_s * NS_PER_S;
}

static void drop_mapping(struct sim_nat *nat, size_t index)
{
    ASSERT(nat->mappings != NULL);
    ASSERT(index < nat->count);
    memmove(&nat->mappings[index], &nat->mappings[index + 1],
            (nat->count - index - 1) * sizeof(nat->mappings[0]));
    nat->count--;
}

static void expire(struct sim_nat *nat, uint64_t now_ns)
{
    for (size_t i = nat->count; i-- > 0;) {
        if (!alive(nat, nat->mappings[i].used_ns, now_ns)) {
            drop_mapping(nat, i);
        }
    }
}

static bool port_used(const struct sim_nat *nat, uint16_t port)
{
    for (size_t i = 0; nat->mappings != NULL && i < nat->count; i++) {
        const struct mapping *m = &nat->mappings[i];
        if (m->outer.ip.family == IP_V4 && m->outer.port == port) {
            return true;
        }
    }
    return false;
}

static uint16_t choose_port(struct sim_nat *nat, uint16_t inner)
{
    uint32_t port = inner;
    switch (nat->config.ports) {
    case SIM_NAT_PRESERVE:
        break;
    case SIM_NAT_SEQUENTIAL:
        port = nat->next_port++;
        break;
    case SIM_NAT_RANDOM:
        port = 1024 + sim_dice_below(&nat->dice, 65536 - 1024);
        break;
    default:
        UNREACHABLE();
    }
    /* At most SIM_NAT_MAPPINGS_MAX ports are taken, so this ends. */
    for (;;) {
        if (port < 1024 || port > UINT16_MAX) {
            port = 1024;
            nat->next_port = 1024;
        }
        if (!port_used(nat, (uint16_t)port)) {
            return (uint16_t)port;
        }
        port++;
    }
}

static struct mapping *find_outbound(struct sim_nat *nat, const struct sock_addr *source,
                                     const struct sock_addr *key)
{
    for (size_t i = 0; i < nat->count; i++) {
        struct mapping *m = &nat->mappings[i];
        if (sock_addr_equal(&m->inner, source) && sock_addr_equal(&m->remote, key)) {
            return m;
        }
    }
    return NULL;
}

static void evict_idlest(struct sim_nat *nat)
{
    size_t idlest = 0;
    ASSERT(nat->mappings != NULL);
    for (size_t i = 1; i < nat->count; i++) {
        idlest = nat->mappings[i].used_ns < nat->mappings[idlest].used_ns ? i : idlest;
    }
    drop_mapping(nat, idlest);
}

static struct mapping *add_mapping(struct sim_nat *nat, const struct sock_addr *source,
                                   const struct sock_addr *key)
{
    if (nat->count == nat->config.table_max) {
        evict_idlest(nat);
    }
    struct sock_addr outer = *source;
    if (source->ip.family == IP_V4) {
        outer = sock_addr_of(nat->config.outer, choose_port(nat, source->port));
    }
    ASSERT(nat->count < nat->config.table_max);
    nat->mappings = realloc(nat->mappings, (nat->count + 1) * sizeof(nat->mappings[0]));
    ASSERT(nat->mappings != NULL);
    struct mapping *m = &nat->mappings[nat->count++];
    memset(m, 0, sizeof(*m));
    m->inner = *source;
    m->remote = *key;
    m->outer = outer;
    return m;
}

static void permit(struct mapping *m, const struct sock_addr *remote, uint64_t now_ns)
{
    uint32_t slot = 0;
    for (uint32_t i = 0; i < m->permissions_count; i++) {
        if (sock_addr_equal(&m->permissions[i].remote, remote)) {
            m->permissions[i].used_ns = now_ns;
            return;
        }
        slot = m->permissions[i].used_ns < m->permissions[slot].used_ns ? i : slot;
    }
    if (m->permissions_count < SIM_NAT_PERMISSIONS_MAX) {
        slot = m->permissions_count++;
    }
    m->permissions[slot] = (struct permission){*remote, now_ns};
}

struct sock_addr sim_nat_outbound(struct sim_nat *nat, uint64_t now_ns,
                                  const struct sock_addr *source,
                                  const struct sock_addr *destination)
{
    bool v4 = source->ip.family == IP_V4;
    if (v4 ? !nat->config.translate_v4 : !nat->config.firewall_v6) {
        return *source;
    }
    expire(nat, now_ns);
    struct sock_addr key = reduce(v4 ? nat->config.mapping : SIM_NAT_INDEPENDENT, destination);
    struct mapping *m = find_outbound(nat, source, &key);
    if (m == NULL) {
        m = add_mapping(nat, source, &key);
    }
    m->used_ns = now_ns;
    permit(m, destination, now_ns);
    return m->outer;
}

static struct permission *find_permission(struct sim_nat *nat, struct mapping *m,
                                          const struct sock_addr *source, uint64_t now_ns)
{
    enum sim_nat_dependence filtering =
        m->outer.ip.family == IP_V4 ? nat->config.filtering : SIM_NAT_ADDRESS_AND_PORT;
    struct sock_addr wanted = reduce(filtering, source);
    for (uint32_t i = 0; i < m->permissions_count; i++) {
        struct permission *p = &m->permissions[i];
        struct sock_addr have = reduce(filtering, &p->remote);
        /* Endpoint-independent filtering needs nothing but the mapping itself. */
        bool fresh = filtering == SIM_NAT_INDEPENDENT || alive(nat, p->used_ns, now_ns);
        if (fresh && sock_addr_equal(&have, &wanted)) {
            return p;
        }
    }
    return NULL;
}

const char *sim_nat_inbound(struct sim_nat *nat, uint64_t now_ns, const struct sock_addr *source,
                            const struct sock_addr *destination, struct sock_addr *inner)
{
    bool v4 = destination->ip.family == IP_V4;
    if (v4 ? !nat->config.translate_v4 : !nat->config.firewall_v6) {
        *inner = *destination;
        return NULL;
    }
    expire(nat, now_ns);
    for (size_t i = 0; i < nat->count; i++) {
        struct mapping *m = &nat->mappings[i];
        if (!sock_addr_equal(&m->outer, destination)) {
            continue;
        }
        struct permission *p = find_permission(nat, m, source, now_ns);
        if (p == NULL) {
            return "nat-filtered";
        }
        if (nat->config.refresh_inbound) {
            m->used_ns = now_ns;
            p->used_ns = now_ns;
        }
        *inner = m->inner;
        return NULL;
    }
    return v4 ? "nat-unmapped" : "firewall";
}

void sim_nat_reboot(struct sim_nat *nat)
{
    nat->count = 0;
    nat->next_port += 1000;
}

void sim_nat_change(struct sim_nat *nat, enum sim_nat_dependence mapping,
                    enum sim_nat_dependence filtering)
{
    sim_nat_reboot(nat);
    nat->config.mapping = mapping;
    nat->config.filtering = filtering;
}

size_t sim_nat_mappings(const struct sim_nat *nat, uint64_t now_ns)
{
    size_t live = 0;
    for (size_t i = 0; i < nat->count; i++) {
        live += alive(nat, nat->mappings[i].used_ns, now_ns) ? 1 : 0;
    }
    return live;
}

static bool is_open_v4(const struct sim_place *place)
{
    return place->edge == NULL || !place->edge->translate_v4;
}

/* Sends from one mapping whatever the destination, so its reflexive address can be told ahead. */
static bool predictable(const struct sim_place *place)
{
    return is_open_v4(place) || place->edge->mapping == SIM_NAT_INDEPENDENT;
}

/* `a` is predictable, `b` is not: what `b` sends to `a` comes from a port nobody knows ahead. */
static enum sim_direct one_symmetric(const struct sim_place *a)
{
    if (is_open_v4(a) || a->edge->filtering != SIM_NAT_ADDRESS_AND_PORT) {
        return SIM_DIRECT_YES;
    }
    return SIM_DIRECT_NO;
}

enum sim_direct sim_direct_path_possible(const struct sim_place *a, const struct sim_place *b)
{
    bool common = (a->has_v4 && b->has_v4) || (a->has_v6 && b->has_v6);
    if (!common) {
        return SIM_DIRECT_NO;
    }
    if (a->site == b->site && a->edge != NULL) {
        return SIM_DIRECT_YES;
    }
    if (a->has_v6 && b->has_v6) {
        return SIM_DIRECT_YES; /* both firewalls open from inside */
    }
    if (predictable(a) && predictable(b)) {
        return SIM_DIRECT_YES;
    }
    if (predictable(a)) {
        return one_symmetric(a);
    }
    if (predictable(b)) {
        return one_symmetric(b);
    }
    /* Two unpredictable sides meet only if filters are looser than mappings and timing helps. */
    bool strict = a->edge->filtering == SIM_NAT_ADDRESS_AND_PORT &&
                  b->edge->filtering == SIM_NAT_ADDRESS_AND_PORT;
    return strict ? SIM_DIRECT_NO : SIM_DIRECT_UNKNOWN;
}
