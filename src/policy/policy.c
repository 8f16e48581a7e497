#include "policy/policy.h"

#include <string.h>

#include "base/assert.h"
#include "policy/policy_hash.h"
#include "policy/policy_state.h"

struct policy_limits policy_limits_default(void)
{
    return (struct policy_limits){
        .clients = 16384,
        .resources_per_client = 64,
        .nat_sessions = 1048576,
        .nat_sessions_per_client = 65536,
        .nat_expired_per_client = 4096,
        .proxies = 1048576,
        .proxies_per_client = 16384,
        .domains = 131072,
    };
}

static struct siphash_key key_draw(struct rng *rng)
{
    struct siphash_key key;
    key.k0 = rng_u64(rng);
    key.k1 = rng_u64(rng);
    return key;
}

static void index_init(struct map *map, struct arena *arena, uint32_t capacity)
{
    map_init(map, arena_take(arena, map_slots_for(capacity), sizeof(struct map_slot)), capacity);
}

/* Lays everything out behind `own`; with a measuring arena only counts. */
static void lay_out(struct policy *own, struct arena *arena)
{
    const struct policy_limits *limits = &own->limits;
    uint32_t grants = limits->clients * limits->resources_per_client;
    own->clients = arena_take(arena, limits->clients, sizeof *own->clients);
    policy_pool_init(&own->clients_pool, arena, limits->clients);
    index_init(&own->clients_by_id, arena, limits->clients);
    index_init(&own->clients_by_ip, arena, limits->clients * 2);

    own->address_bits = 1; /* twice as many as clients, for each family */
    while (UINT32_C(1) << own->address_bits < 2 * limits->clients) {
        own->address_bits++;
    }
    own->address_guesses =
        arena_take(arena, UINT32_C(2) << own->address_bits, sizeof *own->address_guesses);

    own->grants = arena_take(arena, grants, sizeof *own->grants);
    own->rules = arena_take(arena, grants, sizeof *own->rules);
    uint32_t *order = arena_take(arena, grants, sizeof *order);
    uint32_t *position = arena_take(arena, grants, sizeof *position);
    struct instant *at = arena_take(arena, grants, sizeof *at);
    heap_init(&own->expiry, order, position, at, grants);
    own->resources = arena_take(arena, grants, sizeof *own->resources);
    policy_pool_init(&own->resources_pool, arena, grants);
    index_init(&own->resources_by_id, arena, grants);

    own->proxies = arena_take(arena, limits->proxies, sizeof *own->proxies);
    policy_pool_init(&own->proxies_pool, arena, limits->proxies);
    index_init(&own->proxies_by_ip, arena, limits->proxies);
    own->domains = arena_take(arena, limits->domains, sizeof *own->domains);
    policy_pool_init(&own->domains_pool, arena, limits->domains);
    index_init(&own->domains_by_name, arena, limits->domains);
    own->flows = arena_take(arena, POLICY_FLOWS, sizeof *own->flows);
}

/* `nat_key` counts only when not measuring. */
static void lay_out_all(struct policy *own, struct arena *arena, struct siphash_key nat_key)
{
    lay_out(own, arena);
    struct policy_nat_limits nat = {own->limits.clients, own->limits.nat_sessions,
                                    own->limits.nat_sessions_per_client,
                                    own->limits.nat_expired_per_client};
    policy_nat_init(&own->nat, arena, &nat, nat_key);
}

struct policy *policy_init(struct arena *arena, const struct policy_limits *limits,
                           const struct policy_options *options, struct rng *rng)
{
    ASSERT(limits->clients <= POLICY_CLIENTS_MAX);
    ASSERT(limits->resources_per_client <= POLICY_GRANTS_PER_CLIENT_MAX);
    struct policy *own = arena_take(arena, 1, sizeof *own);
    if (own == NULL) {
        struct policy measured = {.limits = *limits};
        lay_out_all(&measured, arena, (struct siphash_key){0, 0});
        return NULL;
    }
    ASSERT(rng != NULL);
    memset(own, 0, sizeof *own);
    own->limits = *limits;
    own->options = *options;
    own->key = key_draw(rng);
    lay_out_all(own, arena, key_draw(rng));
    own->nat.fault = rng->fault;
    return own;
}

/* ---- hashing ---- */

uint64_t policy_hash_id(const struct policy *policy, const struct uuid *id)
{
    return siphash13(&policy->key, VIEW_OF(id->bytes));
}

uint64_t policy_hash_ip(const struct policy *policy, uint32_t client, const struct ip_addr *ip)
{
    return policy_hash_of(&policy->key, client, ip);
}

/* ---- handles ---- */

uint32_t policy_client_index(uint32_t client)
{
    return client & 0xffffU;
}

uint32_t policy_client_handle(const struct policy *policy, uint32_t index)
{
    return (uint32_t)policy->clients[index].generation << 16 | index;
}

struct policy_client *policy_client_at(const struct policy *policy, uint32_t client)
{
    uint32_t index = policy_client_index(client);
    if (index >= policy->limits.clients || index >= policy->clients_pool.fresh) {
        return NULL;
    }
    struct policy_client *own = &policy->clients[index];
    return own->used && own->generation == client >> 16 ? own : NULL;
}

static uint16_t generation_after(uint16_t generation)
{
    return generation >= UINT16_MAX - 1 ? 1 : (uint16_t)(generation + 1);
}

void policy_epoch_bump(struct policy_client *client)
{
    client->epoch++;
    if (client->epoch == 0) {
        client->epoch = 1; /* 0 is what an unjudged session carries */
    }
    client->open.slot_plus_one = 0;
}

/* ---- clients ---- */

static uint32_t index_by_id(const struct policy *policy, const struct uuid *id)
{
    uint64_t hash = policy_hash_id(policy, id);
    uint32_t cursor = 0;
    uint32_t at = map_next(&policy->clients_by_id, hash, &cursor);
    while (at != MAP_NONE && !uuid_equal(&policy->clients[at].id, id)) {
        at = map_next(&policy->clients_by_id, hash, &cursor);
    }
    return at;
}

uint32_t policy_client_by_ip(const struct policy *policy, const struct ip_addr *ip)
{
    uint32_t guess = policy->address_guesses[policy_address_place(policy, ip->family, ip->bytes)];
    if (guess != 0 && policy_client_has(policy, guess - 1, ip)) {
        return guess - 1;
    }
    uint64_t hash = policy_hash_ip(policy, POLICY_NONE, ip);
    uint32_t cursor = 0;
    uint32_t at = map_next(&policy->clients_by_ip, hash, &cursor);
    while (at != MAP_NONE && !policy_client_has(policy, at, ip)) {
        at = map_next(&policy->clients_by_ip, hash, &cursor);
    }
    return at;
}

uint32_t policy_client_find(const struct policy *policy, const struct uuid *id)
{
    uint32_t at = index_by_id(policy, id);
    return at == MAP_NONE ? POLICY_CLIENT_NONE : policy_client_handle(policy, at);
}

uint32_t policy_client_find_address(const struct policy *policy,
                                    const struct ip_addr *tunnel_address)
{
    if (ip_size(tunnel_address) == 0) {
        return POLICY_CLIENT_NONE;
    }
    uint32_t at = policy_client_by_ip(policy, tunnel_address);
    return at == POLICY_NONE ? POLICY_CLIENT_NONE : policy_client_handle(policy, at);
}

/* Writes one address of the client's record; no address: clears it. */
static void address_put(struct policy_client *client, enum ip_family family,
                        const struct ip_addr *ip)
{
    if (family == IP_V4) {
        client->has_ipv4 = ip_size(ip) != 0;
        memcpy(client->ipv4, ip->bytes, sizeof client->ipv4);
    } else {
        client->has_ipv6 = ip_size(ip) != 0;
        memcpy(client->ipv6, ip->bytes, sizeof client->ipv6);
    }
}

static void address_clear(struct policy *policy, uint32_t index, enum ip_family family)
{
    static const struct ip_addr none;
    struct ip_addr ip = policy_client_ip(&policy->clients[index], (uint8_t)family);
    if (ip_size(&ip) != 0) {
        bool removed =
            map_remove(&policy->clients_by_ip, policy_hash_ip(policy, POLICY_NONE, &ip), index);
        ASSERT(removed);
        address_put(&policy->clients[index], family, &none);
    }
}

/* Gives `ip` to the client, taking it from whoever has it. */
static void address_set(struct policy *policy, uint32_t index, enum ip_family family,
                        const struct ip_addr *ip)
{
    struct ip_addr old = policy_client_ip(&policy->clients[index], (uint8_t)family);
    if (ip_equal(&old, ip)) {
        return;
    }
    uint32_t other = ip_size(ip) == 0 ? POLICY_NONE : policy_client_by_ip(policy, ip);
    if (other != POLICY_NONE) {
        address_clear(policy, other, family);
    }
    address_clear(policy, index, family);
    if (ip_size(ip) != 0) {
        bool inserted =
            map_insert(&policy->clients_by_ip, policy_hash_ip(policy, POLICY_NONE, ip), index);
        ASSERT(inserted);
        address_put(&policy->clients[index], family, ip);
        policy->address_guesses[policy_address_place(policy, ip->family, ip->bytes)] =
            (uint16_t)(index + 1);
    }
}

static bool address_is_usable(const struct ip_addr *ip, enum ip_family family)
{
    return ip->family == IP_NONE ||
           (ip->family == family && !ip_is_unspecified(ip) && !ip_is_multicast(ip));
}

enum err policy_client_upsert(struct policy *policy, const struct uuid *id, struct ip_addr ipv4,
                              struct ip_addr ipv6, uint32_t *client)
{
    if (!address_is_usable(&ipv4, IP_V4) || !address_is_usable(&ipv6, IP_V6)) {
        return ERR_ARGUMENT;
    }
    uint32_t index = index_by_id(policy, id);
    if (index == MAP_NONE) {
        index = policy_pool_take(&policy->clients_pool);
        if (index == POLICY_NONE) {
            return ERR_FULL;
        }
        struct policy_client *fresh = &policy->clients[index];
        uint16_t generation = generation_after(fresh->generation);
        memset(fresh, 0, sizeof *fresh);
        fresh->id = *id;
        fresh->used = true;
        fresh->generation = generation;
        fresh->epoch = 1;
        fresh->expires_min_ns = UINT64_MAX;
        bool inserted = map_insert(&policy->clients_by_id, policy_hash_id(policy, id), index);
        ASSERT(inserted);
    }
    address_set(policy, index, IP_V4, &ipv4);
    address_set(policy, index, IP_V6, &ipv6);
    *client = policy_client_handle(policy, index);
    return ERR_NONE;
}

void policy_client_remove(struct policy *policy, uint32_t client)
{
    struct policy_client *own = policy_client_at(policy, client);
    if (own == NULL) {
        return;
    }
    uint32_t index = policy_client_index(client);
    policy_proxies_clear(policy, index); /* first: no grant stays dormant for them */
    policy_grants_clear(policy, index);
    policy_nat_reset_client(&policy->nat, index);
    address_clear(policy, index, IP_V4);
    address_clear(policy, index, IP_V6);
    bool removed = map_remove(&policy->clients_by_id, policy_hash_id(policy, &own->id), index);
    ASSERT(removed);
    own->used = false;
    policy_pool_give(&policy->clients_pool, index);
}

const struct uuid *policy_client_id(const struct policy *policy, uint32_t client)
{
    const struct policy_client *own = policy_client_at(policy, client);
    return own == NULL ? NULL : &own->id;
}

bool policy_client_is_empty(const struct policy *policy, uint32_t client)
{
    const struct policy_client *own = policy_client_at(policy, client);
    return own != NULL && own->live == 0;
}

uint32_t policy_client_next(const struct policy *policy, uint32_t *cursor)
{
    while (*cursor < policy->clients_pool.fresh) {
        uint32_t index = (*cursor)++;
        if (policy->clients[index].used) {
            return policy_client_handle(policy, index);
        }
    }
    return POLICY_CLIENT_NONE;
}

/* ---- addresses of this gateway ---- */

void policy_set_gateway_addresses(struct policy *policy, struct ip_addr ipv4, struct ip_addr ipv6)
{
    policy->gateway_ipv4 = ipv4;
    policy->gateway_ipv6 = ipv6;
}

void policy_set_own_addresses(struct policy *policy, const struct ip_addr *addresses, size_t count)
{
    policy->own_count = 0;
    for (size_t i = 0; i < count && policy->own_count < POLICY_OWN_ADDRESSES_MAX; i++) {
        policy->own[policy->own_count] = addresses[i];
        policy->own_count++;
    }
}

/* ---- time ---- */

void policy_set_now(struct policy *policy, struct clock_pair now)
{
    policy->clock = now;
}

struct wake policy_poll_timeout(const struct policy *policy)
{
    struct wake wake = WAKE_NEVER;
    if (policy_nat_live_count(&policy->nat) > 0) {
        wake = (struct wake){policy->sweep_at, "policy: reclaim NAT sessions"};
    }
    if (!policy_nat_is_drained(&policy->nat)) {
        wake = (struct wake){policy->clock.boot, "policy: forget NAT sessions"};
    }
    struct instant expiry = heap_next(&policy->expiry);
    if (!instant_is_never(expiry)) {
        /* The wall clock may jump ahead unseen: look again at least this often. */
        struct duration gap = DURATION_S(60);
        uint64_t wait_ns =
            expiry.ns > policy->clock.unix_ns ? expiry.ns - policy->clock.unix_ns : 0;
        gap = duration_min(gap, (struct duration){wait_ns});
        wake =
            wake_min(wake, (struct wake){instant_add(policy->clock.boot, gap), "policy: expiry"});
    }
    return wake;
}

void policy_handle_timeout(struct policy *policy, struct clock_pair now)
{
    policy->clock = now;
    if (instant_reached(now.boot, policy->sweep_at)) {
        policy_nat_sweep(&policy->nat, now.boot);
        policy->sweep_at = instant_add(now.boot, policy_nat_sweep_pause(&policy->nat));
    }
    policy_nat_drain(&policy->nat, POLICY_NAT_SLICE);
}

struct policy_stats policy_stats(const struct policy *policy)
{
    return (struct policy_stats){
        .clients = policy->clients_pool.used,
        .grants = policy->grants_live,
        .nat_sessions = policy_nat_live_count(&policy->nat),
        .nat_expired = policy->nat.aged.count,
        .proxies = policy->proxies_pool.used,
        .domains = policy->domains_pool.used,
    };
}
