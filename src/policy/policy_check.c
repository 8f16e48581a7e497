/* The invariants of the whole policy, as one walk. Slow; for tests, fuzzers and the simulator. */
#include "base/assert.h"
#include "dns/dns_pattern.h"
#include "policy/policy_state.h"

static void check_grant(const struct policy *policy, uint32_t at)
{
    const struct policy_grant *grant = &policy->grants[at];
    bool finite = grant->expires_ns != UINT64_MAX;
    const struct policy_rules *rules = policy_rules_of(policy, grant);
    policy_filter_check(&rules->filter);
    ASSERT(rules->pattern_size <= POLICY_PATTERN_SIZE_MAX);
    if (grant->state != POLICY_GRANT_LIVE) {
        ASSERT(policy->expiry.position[at] == 0);
        return;
    }
    ASSERT((policy->expiry.position[at] != 0) == finite);
    ASSERT(uuid_equal(&policy->resources[grant->resource].id, &grant->id));
    uint32_t found = policy->resources[grant->resource].holders;
    while (found != 0 && found != at + 1) {
        found = policy->grants[found - 1].next;
    }
    ASSERT(found == at + 1);
}

static void check_client_grants(const struct policy *policy, uint32_t index)
{
    const struct policy_client *client = &policy->clients[index];
    uint32_t live = 0;
    uint64_t earliest = UINT64_MAX;
    ASSERT(client->slots_used <= policy->limits.resources_per_client);
    for (uint32_t slot = 0; slot < client->slots_used; slot++) {
        const struct policy_grant *grant = policy_grant_at(policy, index, slot);
        check_grant(policy, policy_grant_index(policy, index, slot));
        if (grant->state == POLICY_GRANT_LIVE) {
            live++;
            ASSERT(policy_grant_find(policy, index, &grant->id) == slot); /* no id twice */
            earliest = grant->expires_ns < earliest ? grant->expires_ns : earliest;
        }
    }
    ASSERT(live == client->live);
    ASSERT(earliest == client->expires_min_ns);
    if (client->open.slot_plus_one != 0) {
        uint32_t slot = client->open.slot_plus_one - 1U;
        ASSERT(slot < client->slots_used);
        const struct policy_grant *grant = policy_grant_at(policy, index, slot);
        ASSERT(grant->state == POLICY_GRANT_LIVE && grant->admits_any);
        ASSERT(grant->kind == (uint8_t)POLICY_KIND_CIDR);
        ASSERT(ip_equal(&grant->prefix.ip, &client->open.prefix.ip));
        ASSERT(grant->prefix.len == client->open.prefix.len);
    }
}

static void check_proxy_slots(const struct policy *policy, const struct policy_proxy *proxy)
{
    const struct policy_client *client = &policy->clients[proxy->client];
    ASSERT(!policy_slots_is_empty(&proxy->grants));
    for (uint32_t slot = 0; slot < POLICY_GRANTS_PER_CLIENT_MAX; slot++) {
        if (!policy_slots_has(&proxy->grants, slot)) {
            continue;
        }
        ASSERT(slot < client->slots_used);
        const struct policy_grant *grant = policy_grant_at(policy, proxy->client, slot);
        const struct policy_rules *rules = policy_rules_of(policy, grant);
        struct view pattern = {rules->pattern, rules->pattern_size};
        ASSERT(grant->state != POLICY_GRANT_FREE);
        ASSERT(grant->kind == (uint8_t)POLICY_KIND_DNS);
        ASSERT(dns_pattern_matches(pattern, &policy->domains[proxy->domain].name));
    }
}

static void check_client_proxies(const struct policy *policy, uint32_t index)
{
    const struct policy_client *client = &policy->clients[index];
    uint32_t count = 0;
    uint32_t prev = 0;
    for (uint32_t at = client->proxies_head; at != 0; at = policy->proxies[at - 1].next) {
        const struct policy_proxy *proxy = &policy->proxies[at - 1];
        ASSERT(proxy->client == index);
        ASSERT(proxy->prev == prev);
        ASSERT(policy_is_proxy(&proxy->ip));
        ASSERT(ip_size(&proxy->real) == 0 || !policy_is_tunnel(&proxy->real));
        ASSERT(ip_size(&proxy->real) == 0 || !policy_is_proxy(&proxy->real));
        ASSERT(ip_size(&proxy->real) == 0 || policy->options.nat64_translate ||
               proxy->real.family == proxy->ip.family);
        ASSERT(policy_proxy_find(policy, index, &proxy->ip) == at - 1);
        ASSERT(policy->domains[proxy->domain].client == index);
        ASSERT(policy->domains[proxy->domain].proxies_count > 0);
        check_proxy_slots(policy, proxy);
        prev = at;
        count++;
        ASSERT(count <= client->proxies_count);
    }
    ASSERT(count == client->proxies_count);
    ASSERT(client->proxies_tail == prev);
    ASSERT(count <= policy->limits.proxies_per_client);
}

static void check_client(const struct policy *policy, uint32_t index)
{
    const struct policy_client *client = &policy->clients[index];
    ASSERT(policy_client_find(policy, &client->id) == policy_client_handle(policy, index));
    ASSERT(client->epoch != 0);
    struct ip_addr ipv4 = policy_client_ip(client, IP_V4);
    struct ip_addr ipv6 = policy_client_ip(client, IP_V6);
    ASSERT(ip_size(&ipv4) == 0 || policy_client_by_ip(policy, &ipv4) == index);
    ASSERT(ip_size(&ipv6) == 0 || policy_client_by_ip(policy, &ipv6) == index);
    check_client_grants(policy, index);
    check_client_proxies(policy, index);
}

void policy_check(const struct policy *policy)
{
    uint32_t clients = 0;
    uint32_t grants = 0;
    uint32_t proxies = 0;
    uint32_t domains = 0;
    for (uint32_t i = 0; i < policy->clients_pool.fresh; i++) {
        if (policy->clients[i].used) {
            check_client(policy, i);
            clients++;
            grants += policy->clients[i].live;
            proxies += policy->clients[i].proxies_count;
            domains += policy->clients[i].domains_count;
        } else {
            ASSERT(policy->nat.clients[i].live.count == 0);
            ASSERT(policy->nat.clients[i].expired.count == 0);
        }
    }
    ASSERT(clients == policy->clients_pool.used);
    ASSERT(clients == policy->clients_by_id.count);
    ASSERT(grants == policy->grants_live);
    ASSERT(proxies == policy->proxies_pool.used);
    ASSERT(proxies == policy->proxies_by_ip.count);
    ASSERT(policy->domains_pool.used == policy->domains_by_name.count);
    ASSERT(policy->domains_pool.used == domains);
    ASSERT(policy->resources_pool.used == policy->resources_by_id.count);
    policy_nat_check(&policy->nat);
}
