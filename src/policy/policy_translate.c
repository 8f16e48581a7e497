/* DNS resources: which real address stands behind each proxy address of a client. */
#include <string.h>

#include "base/assert.h"
#include "dns/dns_pattern.h"
#include "policy/policy_state.h"

/* ---- look-up ---- */

uint32_t policy_proxy_find(const struct policy *policy, uint32_t client_index,
                           const struct ip_addr *ip)
{
    uint64_t hash = policy_hash_ip(policy, client_index, ip);
    uint32_t cursor = 0;
    uint32_t at = map_next(&policy->proxies_by_ip, hash, &cursor);
    while (at != MAP_NONE &&
           (policy->proxies[at].client != client_index || !ip_equal(&policy->proxies[at].ip, ip))) {
        at = map_next(&policy->proxies_by_ip, hash, &cursor);
    }
    return at;
}

static uint64_t domain_hash(const struct policy *policy, uint32_t client_index,
                            const struct dns_name *lower)
{
    uint8_t key[4 + DNS_NAME_SIZE_MAX];
    store_le32(key, client_index);
    memcpy(key + 4, lower->wire, lower->size);
    return siphash13(&policy->key, (struct view){key, 4U + lower->size});
}

static uint32_t domain_find(const struct policy *policy, uint32_t client_index,
                            const struct dns_name *lower)
{
    uint64_t hash = domain_hash(policy, client_index, lower);
    uint32_t cursor = 0;
    uint32_t at = map_next(&policy->domains_by_name, hash, &cursor);
    while (at != MAP_NONE && (policy->domains[at].client != client_index ||
                              !dns_name_equal(&policy->domains[at].name, lower))) {
        at = map_next(&policy->domains_by_name, hash, &cursor);
    }
    return at;
}

/* ---- the client's list, least recently assigned first ---- */

static void list_append(struct policy *policy, struct policy_client *client, uint32_t at)
{
    struct policy_proxy *proxy = &policy->proxies[at];
    proxy->next = 0;
    proxy->prev = client->proxies_tail;
    if (client->proxies_tail != 0) {
        policy->proxies[client->proxies_tail - 1].next = at + 1;
    } else {
        client->proxies_head = at + 1;
    }
    client->proxies_tail = at + 1;
}

static void list_unlink(struct policy *policy, struct policy_client *client, uint32_t at)
{
    const struct policy_proxy *proxy = &policy->proxies[at];
    if (proxy->prev != 0) {
        policy->proxies[proxy->prev - 1].next = proxy->next;
    } else {
        client->proxies_head = proxy->next;
    }
    if (proxy->next != 0) {
        policy->proxies[proxy->next - 1].prev = proxy->prev;
    } else {
        client->proxies_tail = proxy->prev;
    }
}

static void proxy_free(struct policy *policy, uint32_t at)
{
    struct policy_proxy *proxy = &policy->proxies[at];
    struct policy_client *client = &policy->clients[proxy->client];
    struct policy_domain *domain = &policy->domains[proxy->domain];
    bool removed =
        map_remove(&policy->proxies_by_ip, policy_hash_ip(policy, proxy->client, &proxy->ip), at);
    ASSERT(removed);
    list_unlink(policy, client, at);
    client->proxies_count--;
    domain->proxies_count--;
    if (domain->proxies_count == 0) {
        removed = map_remove(&policy->domains_by_name,
                             domain_hash(policy, proxy->client, &domain->name), proxy->domain);
        ASSERT(removed);
        policy_pool_give(&policy->domains_pool, proxy->domain);
        client->domains_count--;
    }
    policy_pool_give(&policy->proxies_pool, at);
}

void policy_proxies_clear(struct policy *policy, uint32_t client_index)
{
    struct policy_client *client = &policy->clients[client_index];
    while (client->proxies_head != 0) {
        proxy_free(policy, client->proxies_head - 1);
    }
    ASSERT(client->proxies_count == 0);
}

/* ---- slots of grants ---- */

bool policy_proxies_use_slot(const struct policy *policy, uint32_t client_index, uint32_t slot)
{
    for (uint32_t at = policy->clients[client_index].proxies_head; at != 0;
         at = policy->proxies[at - 1].next) {
        if (policy_slots_has(&policy->proxies[at - 1].grants, slot)) {
            return true;
        }
    }
    return false;
}

static void proxy_leave_slot(struct policy *policy, uint32_t at, uint32_t slot)
{
    policy_slots_remove(&policy->proxies[at].grants, slot);
    if (policy_slots_is_empty(&policy->proxies[at].grants)) {
        proxy_free(policy, at);
    }
}

void policy_proxies_forget_slot(struct policy *policy, uint32_t client_index, uint32_t slot)
{
    uint32_t next = 0;
    for (uint32_t at = policy->clients[client_index].proxies_head; at != 0; at = next) {
        next = policy->proxies[at - 1].next;
        if (policy_slots_has(&policy->proxies[at - 1].grants, slot)) {
            proxy_leave_slot(policy, at - 1, slot);
        }
    }
}

static struct view pattern_of(const struct policy *policy, const struct policy_grant *grant)
{
    const struct policy_rules *rules = policy_rules_of(policy, grant);
    return (struct view){rules->pattern, rules->pattern_size};
}

void policy_proxies_recheck_slot(struct policy *policy, uint32_t client_index, uint32_t slot)
{
    const struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
    uint32_t next = 0;
    for (uint32_t at = policy->clients[client_index].proxies_head; at != 0; at = next) {
        const struct policy_proxy *proxy = &policy->proxies[at - 1];
        next = proxy->next;
        bool keeps =
            grant->kind == (uint8_t)POLICY_KIND_DNS &&
            dns_pattern_matches(pattern_of(policy, grant), &policy->domains[proxy->domain].name);
        if (policy_slots_has(&proxy->grants, slot) && !keeps) {
            proxy_leave_slot(policy, at - 1, slot);
        }
    }
}

/* ---- assignment ---- */

/* A sorted set of addresses. */
struct addresses {
    struct ip_addr ip[POLICY_ASSIGN_ADDRESSES_MAX];
    uint32_t count;
};

static_assert(POLICY_ASSIGN_PROXIES_MAX <= POLICY_ASSIGN_ADDRESSES_MAX, "one set serves both");

/* Adds once; a full set keeps its smallest. Nothing is lost by that: the i-th of at most as many
 * proxy addresses never needs a later answer. */
static void addresses_add(struct addresses *set, const struct ip_addr *ip)
{
    uint32_t at = 0;
    while (at < set->count && ip_compare(&set->ip[at], ip) < 0) {
        at++;
    }
    if (at == POLICY_ASSIGN_ADDRESSES_MAX || (at < set->count && ip_equal(&set->ip[at], ip))) {
        return;
    }
    if (set->count < POLICY_ASSIGN_ADDRESSES_MAX) {
        set->count++;
    }
    memmove(&set->ip[at + 1], &set->ip[at], (set->count - 1 - at) * sizeof set->ip[0]);
    set->ip[at] = *ip;
}

enum policy_status policy_check_assign(const struct policy *policy, uint32_t client,
                                       const struct policy_assign *request, struct clock_pair now)
{
    if (policy_client_at(policy, client) == NULL ||
        request->proxies_count > POLICY_ASSIGN_PROXIES_MAX) {
        return POLICY_INACTIVE;
    }
    uint32_t index = policy_client_index(client);
    uint32_t slot = policy_grant_find(policy, index, &request->resource);
    if (slot == POLICY_NONE) {
        return POLICY_INACTIVE;
    }
    const struct policy_grant *grant = policy_grant_at(policy, index, slot);
    if (!policy_grant_is_valid(grant, now) || grant->kind != (uint8_t)POLICY_KIND_DNS ||
        !dns_pattern_matches(pattern_of(policy, grant), request->domain)) {
        return POLICY_INACTIVE;
    }
    for (size_t i = 0; i < request->proxies_count; i++) {
        if (!policy_is_proxy(&request->proxies[i])) {
            return POLICY_INACTIVE; /* one is enough: design section 8.4 */
        }
    }
    return POLICY_ACTIVE;
}

/* What a request means for the names that its proxy addresses serve now. */
enum claim {
    CLAIM_FITS,
    CLAIM_RESTARTS, /* one served another name */
    CLAIM_OVERTAKEN /* one serves another name, for a newer request */
};

static enum claim claim_of(const struct policy *policy, uint32_t client_index,
                           const struct addresses *proxies, const struct dns_name *lower,
                           uint64_t order)
{
    enum claim claim = CLAIM_FITS;
    for (uint32_t i = 0; i < proxies->count; i++) {
        uint32_t at = policy_proxy_find(policy, client_index, &proxies->ip[i]);
        if (at == POLICY_NONE ||
            dns_name_equal(&policy->domains[policy->proxies[at].domain].name, lower)) {
            continue;
        }
        if (policy->proxies[at].order > order) {
            return CLAIM_OVERTAKEN;
        }
        claim = CLAIM_RESTARTS;
    }
    return claim;
}

static bool has_its_share(const struct policy *policy, uint32_t client_index)
{
    uint32_t share = policy->limits.domains / POLICY_DOMAIN_SHARE;
    share = share > POLICY_DOMAIN_SHARE_MIN ? share : POLICY_DOMAIN_SHARE_MIN;
    return policy->clients[client_index].domains_count >= share;
}

/* True when every new proxy address and the name will find a record. `restart`: the client's
 * present ones are about to go. The client's own limits are kept by giving up its oldest. */
static bool has_room(const struct policy *policy, uint32_t client_index,
                     const struct addresses *proxies, const struct dns_name *lower, bool restart)
{
    uint32_t held = restart ? policy->clients[client_index].proxies_count : 0;
    uint32_t needed = 0;
    for (uint32_t i = 0; i < proxies->count; i++) {
        if (restart || policy_proxy_find(policy, client_index, &proxies->ip[i]) == POLICY_NONE) {
            needed++;
        }
    }
    uint32_t proxies_free = policy->proxies_pool.capacity - policy->proxies_pool.used + held;
    bool domain_fits = held > 0 || policy->domains_pool.used < policy->domains_pool.capacity ||
                       has_its_share(policy, client_index) ||
                       domain_find(policy, client_index, lower) != POLICY_NONE;
    return proxies->count <= policy->limits.proxies_per_client && needed <= proxies_free &&
           (domain_fits || needed == 0);
}

static uint32_t domain_obtain(struct policy *policy, uint32_t client_index,
                              const struct dns_name *lower)
{
    uint32_t at = domain_find(policy, client_index, lower);
    if (at == POLICY_NONE) {
        while (has_its_share(policy, client_index)) {
            proxy_free(policy, policy->clients[client_index].proxies_head - 1);
        }
        at = policy_pool_take(&policy->domains_pool);
        ASSERT(at != POLICY_NONE); /* has_room() */
        policy->clients[client_index].domains_count++;
        policy->domains[at] = (struct policy_domain){client_index, 0, *lower};
        bool inserted =
            map_insert(&policy->domains_by_name, domain_hash(policy, client_index, lower), at);
        ASSERT(inserted);
    }
    return at;
}

static void proxy_obtain(struct policy *policy, uint32_t client_index, const struct ip_addr *ip,
                         const struct dns_name *lower)
{
    struct policy_client *client = &policy->clients[client_index];
    uint32_t at = policy_proxy_find(policy, client_index, ip);
    if (at != POLICY_NONE) {
        list_unlink(policy, client, at);
        list_append(policy, client, at); /* freshly assigned */
        return;
    }
    uint32_t domain = domain_obtain(policy, client_index, lower);
    at = policy_pool_take(&policy->proxies_pool);
    ASSERT(at != POLICY_NONE); /* has_room() */
    policy->proxies[at] =
        (struct policy_proxy){.ip = *ip, .client = client_index, .domain = domain};
    policy->domains[domain].proxies_count++;
    bool inserted =
        map_insert(&policy->proxies_by_ip, policy_hash_ip(policy, client_index, ip), at);
    ASSERT(inserted);
    list_append(policy, client, at);
    client->proxies_count++;
    if (client->proxies_count > policy->limits.proxies_per_client) {
        proxy_free(policy, client->proxies_head - 1);
    }
}

/* The usable answers by family. */
struct answers {
    struct addresses v4;
    struct addresses v6;
};

/* Sorts the usable answers by family; returns how many were refused. */
static uint32_t sort_answers(const struct policy *policy, const struct policy_assign *request,
                             struct answers *out)
{
    uint32_t refused = 0;
    out->v4.count = 0;
    out->v6.count = 0;
    for (size_t i = 0; i < request->resolved_count; i++) {
        const struct ip_addr *ip = &request->resolved[i];
        if (policy_is_forbidden_answer(policy, ip)) {
            refused++;
        } else {
            addresses_add(ip->family == IP_V4 ? &out->v4 : &out->v6, ip);
        }
    }
    return refused;
}

/* Maps the i-th proxy address of `family` to the i-th answer, over and over; where the family's own
 * answers are missing, to those of the other one if that may be. */
static void map_family(struct policy *policy, uint32_t client_index,
                       const struct addresses *proxies, const struct answers *answers,
                       const struct policy_assign *request, enum ip_family family)
{
    const struct addresses *from = family == IP_V4 ? &answers->v4 : &answers->v6;
    bool unknown =
        from->count == 0 && (family == IP_V4 ? request->failed_ipv4 : request->failed_ipv6);
    if (from->count == 0 && policy->options.nat64_translate) {
        from = family == IP_V4 ? &answers->v6 : &answers->v4;
    }
    uint32_t i = 0;
    for (uint32_t n = 0; n < proxies->count; n++) {
        if (proxies->ip[n].family != family) {
            continue;
        }
        uint32_t at = policy_proxy_find(policy, client_index, &proxies->ip[n]);
        ASSERT(at != POLICY_NONE);
        struct policy_proxy *proxy = &policy->proxies[at];
        bool overtaken = proxy->order > request->order;
        bool keeps = unknown && ip_size(&proxy->real) != 0;
        if (!overtaken && !keeps) {
            proxy->real =
                from->count > 0 ? from->ip[i % from->count] : (struct ip_addr){.family = IP_NONE};
        }
        proxy->order = overtaken ? proxy->order : request->order;
        i++;
    }
}

enum policy_status policy_assign(struct policy *policy, uint32_t client,
                                 const struct policy_assign *request, struct clock_pair now,
                                 uint32_t *refused)
{
    *refused = 0;
    if (policy_check_assign(policy, client, request, now) != POLICY_ACTIVE) {
        return POLICY_INACTIVE;
    }
    uint32_t index = policy_client_index(client);
    uint32_t slot = policy_grant_find(policy, index, &request->resource);
    struct dns_name lower = dns_name_lower(request->domain);
    struct addresses proxies = {.count = 0};
    for (size_t i = 0; i < request->proxies_count; i++) {
        addresses_add(&proxies, &request->proxies[i]);
    }
    enum claim claim = claim_of(policy, index, &proxies, &lower, request->order);
    bool restart = claim == CLAIM_RESTARTS;
    if (claim == CLAIM_OVERTAKEN || !has_room(policy, index, &proxies, &lower, restart)) {
        return POLICY_INACTIVE;
    }
    if (restart) {
        /* The client numbers its names anew: nothing that it mapped before is valid. */
        policy_proxies_clear(policy, index);
        policy_nat_reset_client(&policy->nat, index);
    }
    for (uint32_t i = 0; i < proxies.count; i++) {
        proxy_obtain(policy, index, &proxies.ip[i], &lower);
    }
    for (uint32_t i = 0; i < proxies.count; i++) {
        uint32_t at = policy_proxy_find(policy, index, &proxies.ip[i]);
        policy_slots_add(&policy->proxies[at].grants, slot);
    }
    struct answers answers;
    *refused = sort_answers(policy, request, &answers);
    map_family(policy, index, &proxies, &answers, request, IP_V4);
    map_family(policy, index, &proxies, &answers, request, IP_V6);
    policy_epoch_bump(&policy->clients[index]);
    return POLICY_ACTIVE;
}

const struct dns_name *policy_proxy_name(const struct policy *policy, uint32_t client,
                                         const struct ip_addr *proxy)
{
    uint32_t index = policy_is_proxy(proxy)
                         ? policy_proxy_find(policy, policy_client_index(client), proxy)
                         : POLICY_NONE;
    return index == POLICY_NONE ? NULL : &policy->domains[policy->proxies[index].domain].name;
}
