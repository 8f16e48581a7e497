/* Which of a client's resources admits a packet. */
#include "base/assert.h"
#include "base/fetch.h"
#include "policy/policy_hash.h"
#include "policy/policy_state.h"

static bool covers(const struct policy_grant *grant, const struct ip_addr *ip)
{
    switch ((enum policy_kind)grant->kind) {
    case POLICY_KIND_CIDR:
        return ip_prefix_contains(&grant->prefix, ip);
    case POLICY_KIND_INTERNET:
        return true;
    case POLICY_KIND_DNS:
        return false;
    }
    UNREACHABLE();
}

static bool admits(const struct policy *policy, const struct policy_grant *grant,
                   struct policy_subject subject)
{
    return grant->admits_any ||
           policy_filter_permits(&policy_rules_of(policy, grant)->filter, subject);
}

/* True when the grant admits a packet of which it covers the far address. */
static bool permits(const struct policy *policy, const struct policy_grant *grant,
                    const struct ip_addr *ip, struct policy_subject subject)
{
    if (grant->kind == (uint8_t)POLICY_KIND_INTERNET && policy_is_private(ip)) {
        return false;
    }
    return admits(policy, grant, subject);
}

/* True when `a` wins over `b`; both permit or both do not (design section 8.4). */
static bool wins(const struct policy_grant *a, const struct policy_grant *b)
{
    if (a->prefix.len != b->prefix.len) {
        return a->prefix.len > b->prefix.len;
    }
    return uuid_compare(&a->id, &b->id) < 0;
}

/* What the walk over a client's grants has found so far. */
struct choice {
    uint32_t permitting; /* slots */
    uint32_t refusing;
    bool lapsed; /* an expired one would have permitted */
};

static void choice_see(const struct policy *policy, uint32_t client_index, uint32_t *best,
                       uint32_t slot)
{
    if (*best == POLICY_NONE || wins(policy_grant_at(policy, client_index, slot),
                                     policy_grant_at(policy, client_index, *best))) {
        *best = slot;
    }
}

static struct policy_route verdict_of(const struct policy *policy, uint32_t client_index,
                                      const struct choice *choice)
{
    if (choice->permitting != POLICY_NONE) {
        return (struct policy_route){DROP_NONE, choice->permitting, false};
    }
    if (choice->refusing != POLICY_NONE) {
        bool internet = policy_grant_at(policy, client_index, choice->refusing)->kind ==
                        (uint8_t)POLICY_KIND_INTERNET;
        return (struct policy_route){internet ? DROP_INTERNET_PRIVATE : DROP_FILTER,
                                     choice->refusing, internet};
    }
    return (struct policy_route){choice->lapsed ? DROP_EXPIRED : DROP_NO_RESOURCE, POLICY_NONE,
                                 false};
}

static struct policy_route choose_ip(const struct policy *policy, uint32_t client_index,
                                     const struct ip_addr *ip, struct policy_subject subject,
                                     struct clock_pair now)
{
    struct choice choice = {POLICY_NONE, POLICY_NONE, false};
    for (uint32_t slot = 0; slot < policy->clients[client_index].slots_used; slot++) {
        const struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
        if (grant->state != POLICY_GRANT_LIVE || !covers(grant, ip)) {
            continue;
        }
        bool admitted = permits(policy, grant, ip, subject);
        if (!policy_grant_is_valid(grant, now)) {
            choice.lapsed = choice.lapsed || admitted;
        } else {
            choice_see(policy, client_index, admitted ? &choice.permitting : &choice.refusing,
                       slot);
        }
    }
    return verdict_of(policy, client_index, &choice);
}

/* The verdict cache: one flow's packets judge the same destination again and again. An entry holds
 * as long as the client's epoch and the winner's expiry; it only ever says yes. */
static struct policy_flow *flow_entry(struct policy *policy, const struct policy_flow *key)
{
    uint64_t facts = key->client | (uint64_t)key->port << 32U | (uint64_t)key->protocol << 48U;
    return &policy->flows[policy_hash_of(&policy->key, facts, &key->ip) % POLICY_FLOWS];
}

/* Few grants are asked themselves: each is one line of memory, as the remembered verdict is. */
static bool has_few(const struct policy *policy, uint32_t client_index)
{
    return policy->clients[client_index].slots_used <= POLICY_GRANTS_FEW;
}

/* True when the client's open range answers, so that no grant need be asked. */
static bool is_open(const struct policy_client *client, const struct ip_addr *ip, uint64_t unix_ns)
{
    return client->open.slot_plus_one != 0 && unix_ns < client->expires_min_ns &&
           ip_prefix_contains(&client->open.prefix, ip);
}

/* Remembers what the grant in `slot` covers, unless another has a say about a part of it. */
static void open_range(struct policy *policy, uint32_t client_index, uint32_t slot)
{
    struct policy_client *client = &policy->clients[client_index];
    const struct policy_grant *winner = policy_grant_at(policy, client_index, slot);
    if (winner->kind != (uint8_t)POLICY_KIND_CIDR || !winner->admits_any ||
        winner->prefix.len == 0) {
        return;
    }
    for (uint32_t i = 0; i < client->slots_used; i++) {
        const struct policy_grant *other = policy_grant_at(policy, client_index, i);
        if (i != slot && other->state == POLICY_GRANT_LIVE &&
            other->prefix.len >= winner->prefix.len &&
            ip_prefix_contains(&winner->prefix, &other->prefix.ip)) {
            return;
        }
    }
    client->open = (struct policy_range){winner->prefix, (uint8_t)(slot + 1)};
}

bool policy_route_fetch_grant(const struct policy *policy, uint32_t client_index)
{
    if (!has_few(policy, client_index)) {
        return false;
    }
    if (policy->clients[client_index].open.slot_plus_one == 0) { /* else it probably answers */
        fetch_later(policy_grant_at(policy, client_index, 0));
    }
    return true;
}

void policy_route_fetch_verdict(struct policy *policy, uint32_t client_index,
                                const struct ip_addr *ip, struct policy_subject subject)
{
    struct policy_flow key = {.ip = *ip,
                              .protocol = (uint8_t)subject.protocol,
                              .port = subject.port,
                              .client = policy_client_handle(policy, client_index)};
    fetch_later(flow_entry(policy, &key));
}

struct policy_route policy_route_ip(struct policy *policy, uint32_t client_index,
                                    const struct ip_addr *ip, struct policy_subject subject,
                                    struct clock_pair now)
{
    if (has_few(policy, client_index)) {
        const struct policy_range *open = &policy->clients[client_index].open;
        if (is_open(&policy->clients[client_index], ip, now.unix_ns)) {
            return (struct policy_route){DROP_NONE, open->slot_plus_one - 1U, false};
        }
        struct policy_route found = choose_ip(policy, client_index, ip, subject, now);
        if (found.verdict == DROP_NONE) {
            open_range(policy, client_index, found.slot);
        }
        return found;
    }
    struct policy_flow key = {.ip = *ip,
                              .protocol = (uint8_t)subject.protocol,
                              .port = subject.port,
                              .client = policy_client_handle(policy, client_index),
                              .epoch = policy->clients[client_index].epoch};
    struct policy_flow *entry = flow_entry(policy, &key);
    if (entry->client == key.client && entry->epoch == key.epoch && entry->port == key.port &&
        entry->protocol == key.protocol && ip_equal(&entry->ip, ip) &&
        policy_grant_is_valid(policy_grant_at(policy, client_index, entry->slot), now)) {
        return (struct policy_route){DROP_NONE, entry->slot, false};
    }
    struct policy_route route = choose_ip(policy, client_index, ip, subject, now);
    if (route.verdict == DROP_NONE) {
        *entry = key;
        entry->slot = (uint8_t)route.slot;
    }
    return route;
}

struct policy_route policy_route_proxy(const struct policy *policy, uint32_t client_index,
                                       uint32_t proxy, struct policy_subject subject,
                                       struct clock_pair now)
{
    struct choice choice = {POLICY_NONE, POLICY_NONE, false};
    for (uint32_t slot = 0; slot < policy->clients[client_index].slots_used; slot++) {
        if (!policy_slots_has(&policy->proxies[proxy].grants, slot)) {
            continue;
        }
        const struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
        bool admitted = grant->state == POLICY_GRANT_LIVE && admits(policy, grant, subject);
        if (policy_grant_is_valid(grant, now)) {
            choice_see(policy, client_index, admitted ? &choice.permitting : &choice.refusing,
                       slot);
        } else {
            choice.lapsed = choice.lapsed || admitted;
        }
    }
    return verdict_of(policy, client_index, &choice);
}

struct uuid policy_resource_of(const struct policy *policy, uint32_t client,
                               const struct policy_result *result)
{
    if (result->permitted_by == 0 || policy_client_at(policy, client) == NULL) {
        return (struct uuid){{0}};
    }
    return policy_grant_at(policy, policy_client_index(client), result->permitted_by - 1)->id;
}

bool policy_route_covers(const struct policy *policy, uint32_t client_index,
                         const struct ip_addr *ip, struct clock_pair now)
{
    for (uint32_t slot = 0; slot < policy->clients[client_index].slots_used; slot++) {
        const struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
        bool internet = grant->kind == (uint8_t)POLICY_KIND_INTERNET;
        if (policy_grant_is_valid(grant, now) && covers(grant, ip) &&
            !(internet && policy_is_private(ip))) {
            return true;
        }
    }
    return false;
}
