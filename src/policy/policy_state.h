/* policy_state: the records behind struct policy, shared by the files of this folder only. */
#ifndef POLICY_STATE_H
#define POLICY_STATE_H

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "base/map.h"
#include "policy/policy.h"
#include "policy/policy_nat.h"

#define POLICY_GRANT_WORDS (POLICY_GRANTS_PER_CLIENT_MAX / 64U)

/* Slots of one client's grants. */
struct policy_slots {
    uint64_t words[POLICY_GRANT_WORDS];
};

enum policy_grant_state {
    POLICY_GRANT_FREE,
    POLICY_GRANT_LIVE,
    /* Revoked or expired, but translations refer to it: a client that still counts on its mapping
     * does not send it again when the portal grants the resource again (spec/dataplane.md 13.4). */
    POLICY_GRANT_DORMANT,
};

/* Record index = slot * clients + client index: what clients with few grants use lies densely. */
struct policy_grant {
    uint64_t expires_ns; /* wall clock; UINT64_MAX: never */
    struct ip_prefix prefix;
    uint8_t state; /* enum policy_grant_state */
    uint8_t kind;  /* enum policy_kind */
    uint32_t resource;
    uint32_t next; /* holders of the resource; grant index + 1; LIVE only */
    uint32_t prev;
    uint32_t mark; /* of the last retain round that listed it */
    struct uuid id;
    bool admits_any; /* no filter; that of the rules does not count then */
};

static_assert(sizeof(struct policy_grant) == 64, "one cache line");

/* What most packets need not look at; the same index. Written for filters and names only. */
struct policy_rules {
    struct policy_filter filter;
    uint32_t pattern_size; /* DNS only */
    uint8_t pattern[POLICY_PATTERN_SIZE_MAX];
};

/* One id that somebody holds. */
struct policy_resource_record {
    struct uuid id;
    uint32_t holders; /* first grant index + 1 */
};

/* A range of destinations that one grant alone decides about, and to which it admits everything
 * until the first of the client's grants expires. Void with the epoch. */
struct policy_range {
    struct ip_prefix prefix;
    uint8_t slot_plus_one; /* 0: none is known */
};

/* What every packet asks fills the first cache line. */
struct policy_client {
    uint64_t expires_min_ns; /* earliest expiry of the live grants */
    uint32_t epoch;          /* changes with every change of the grants or translations */
    uint32_t slots_used;     /* slots from here on were never used by this client */
    uint32_t live;           /* grants in state LIVE */
    uint16_t generation;     /* of the handle; never 0 or UINT16_MAX while used */
    bool used;
    bool has_ipv4;
    bool has_ipv6;
    uint8_t ipv4[4]; /* tunnel addresses */
    uint8_t ipv6[16];
    struct policy_range open;
    struct uuid id;
    uint32_t proxies_head; /* least recently assigned first; index + 1 */
    uint32_t proxies_tail;
    uint32_t proxies_count;
    struct policy_rate icmp_rate;
    uint32_t domains_count;
    uint8_t unused[12];
};

static_assert(offsetof(struct policy_client, id) == 64, "one cache line");
static_assert(sizeof(struct policy_client) == 128, "records begin where lines do");

/* One proxy address of one client. */
struct policy_proxy {
    struct ip_addr ip;
    struct ip_addr real; /* IP_NONE: the name has no address for it */
    uint32_t client;
    uint32_t domain;
    uint32_t next; /* in the client's list; index + 1 */
    uint32_t prev;
    uint64_t order;             /* of the request that `real` comes from */
    struct policy_slots grants; /* LIVE or DORMANT DNS resources behind it */
};

struct policy_domain {
    uint32_t client;
    uint32_t proxies_count;
    struct dns_name name; /* lower case */
};

/* A remembered verdict about one destination of CIDR and Internet resources. */
struct policy_flow {
    struct ip_addr ip;
    uint8_t protocol; /* enum policy_protocol */
    uint8_t slot;
    uint16_t port;
    uint32_t client; /* handle; never 0 when used */
    uint32_t epoch;
};

#define POLICY_GRANTS_FEW 2U     /* of one client, for which no verdict is remembered */
#define POLICY_FLOWS      16384U /* direct-mapped entries of the verdict cache, 0.5 MiB */

struct policy {
    struct policy_limits limits;
    struct policy_options options;
    struct siphash_key key;
    struct clock_pair clock; /* the latest `now` seen */

    struct policy_client *clients;
    struct policy_pool clients_pool;
    struct map clients_by_id;
    struct map clients_by_ip;
    uint16_t *address_guesses; /* by address: the client that has it, index + 1; may be wrong */
    uint32_t address_bits;     /* of the place in one family's half of them */

    struct policy_grant *grants;
    struct policy_rules *rules;
    struct heap expiry; /* grant index -> wall clock in ns */
    uint32_t grants_live;
    struct policy_resource_record *resources;
    struct policy_pool resources_pool;
    struct map resources_by_id;
    uint32_t retain_mark;
    uint32_t retain_at;  /* next to look at: client index * resources_per_client + slot */
    uint32_t update_at;  /* next holder of the resource being updated, grant index + 1; 0: done */
    uint8_t update_kind; /* enum policy_kind */
    struct policy_filter update_filter;

    struct policy_proxy *proxies;
    struct policy_pool proxies_pool;
    struct map proxies_by_ip;
    struct policy_domain *domains;
    struct policy_pool domains_pool;
    struct map domains_by_name;

    struct policy_nat nat;
    struct instant sweep_at; /* the next sweep of the NAT table */
    struct policy_flow *flows;
    struct policy_rate icmp_rate;

    struct ip_addr gateway_ipv4;
    struct ip_addr gateway_ipv6;
    struct ip_addr own[POLICY_OWN_ADDRESSES_MAX];
    uint32_t own_count;
};

/* ---- policy ---- */

/* Returns a tunnel address of the client, or none. */
MUST_USE static inline struct ip_addr policy_client_ip(const struct policy_client *client,
                                                       uint8_t family)
{
    if (family == IP_V4) {
        return client->has_ipv4 ? ip_from_bytes(IP_V4, client->ipv4) : (struct ip_addr){0};
    }
    return client->has_ipv6 ? ip_from_bytes(IP_V6, client->ipv6) : (struct ip_addr){0};
}

/* Returns the client behind a handle, NULL when stale. */
MUST_USE struct policy_client *policy_client_at(const struct policy *policy, uint32_t client);
/* Where the guess for a tunnel address stands: each family has its half, in which neighbours do not
 * meet. Addresses are the portal's choice, and a wrong guess costs a look-up, so that the mixing
 * need not be keyed. */
MUST_USE static inline uint32_t policy_address_place(const struct policy *policy, uint8_t family,
                                                     const uint8_t *address)
{
    bool is_v6 = family == IP_V6;
    uint32_t mixed = load_be32(address + (is_v6 ? 12 : 0)) * UINT32_C(0x9e3779b1);
    uint32_t place = mixed >> (32U - policy->address_bits);
    return is_v6 ? place | UINT32_C(1) << policy->address_bits : place;
}

MUST_USE static inline bool policy_client_has_at(const struct policy *policy, uint32_t index,
                                                 uint8_t family, const uint8_t *address)
{
    const struct policy_client *client = &policy->clients[index];
    return family == IP_V4
               ? client->has_ipv4 && memcmp(client->ipv4, address, sizeof client->ipv4) == 0
               : family == IP_V6 && client->has_ipv6 &&
                     memcmp(client->ipv6, address, sizeof client->ipv6) == 0;
}

MUST_USE static inline bool policy_client_has(const struct policy *policy, uint32_t index,
                                              const struct ip_addr *ip)
{
    return policy_client_has_at(policy, index, ip->family, ip->bytes);
}

/* Returns the index that clients_by_ip knows for a tunnel address, POLICY_NONE when unknown. */
MUST_USE uint32_t policy_client_by_ip(const struct policy *policy, const struct ip_addr *ip);
MUST_USE uint32_t policy_client_handle(const struct policy *policy, uint32_t index);
MUST_USE uint64_t policy_hash_id(const struct policy *policy, const struct uuid *id);
MUST_USE uint64_t policy_hash_ip(const struct policy *policy, uint32_t client,
                                 const struct ip_addr *ip);
/* Makes every cached decision about the client void. */
void policy_epoch_bump(struct policy_client *client);

/* ---- policy_resource ---- */

MUST_USE static inline uint32_t policy_grant_index(const struct policy *policy,
                                                   uint32_t client_index, uint32_t slot)
{
    return slot * policy->limits.clients + client_index;
}

MUST_USE static inline struct policy_grant *policy_grant_at(const struct policy *policy,
                                                            uint32_t client_index, uint32_t slot)
{
    ASSERT(slot < policy->limits.resources_per_client);
    return &policy->grants[policy_grant_index(policy, client_index, slot)];
}

MUST_USE static inline struct policy_rules *policy_rules_of(const struct policy *policy,
                                                            const struct policy_grant *grant)
{
    return &policy->rules[grant - policy->grants];
}

/* Returns the slot in state LIVE with this id, POLICY_NONE when there is none. */
MUST_USE uint32_t policy_grant_find(const struct policy *policy, uint32_t client_index,
                                    const struct uuid *id);
MUST_USE bool policy_grant_is_valid(const struct policy_grant *grant, struct clock_pair now);
/* Frees every slot without telling anybody; the client is about to be forgotten. */
void policy_grants_clear(struct policy *policy, uint32_t client_index);

/* ---- policy_translate ---- */

/* Returns the translation of a proxy address, POLICY_NONE when there is none. */
MUST_USE uint32_t policy_proxy_find(const struct policy *policy, uint32_t client_index,
                                    const struct ip_addr *ip);
/* Takes `slot` off all translations of the client; those without resource go. */
void policy_proxies_forget_slot(struct policy *policy, uint32_t client_index, uint32_t slot);
/* The same for those whose name no longer matches the grant's pattern. */
void policy_proxies_recheck_slot(struct policy *policy, uint32_t client_index, uint32_t slot);
/* True when a translation refers to `slot`. */
MUST_USE bool policy_proxies_use_slot(const struct policy *policy, uint32_t client_index,
                                      uint32_t slot);
void policy_proxies_clear(struct policy *policy, uint32_t client_index);

MUST_USE static inline bool policy_slots_has(const struct policy_slots *slots, uint32_t slot)
{
    return (slots->words[slot / 64] >> (slot % 64) & 1) != 0;
}

static inline void policy_slots_add(struct policy_slots *slots, uint32_t slot)
{
    slots->words[slot / 64] |= UINT64_C(1) << (slot % 64);
}

static inline void policy_slots_remove(struct policy_slots *slots, uint32_t slot)
{
    slots->words[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

MUST_USE static inline bool policy_slots_is_empty(const struct policy_slots *slots)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < POLICY_GRANT_WORDS; i++) {
        all |= slots->words[i];
    }
    return all == 0;
}

/* ---- policy_range ---- */

MUST_USE bool policy_is_tunnel(const struct ip_addr *ip);
MUST_USE bool policy_is_proxy(const struct ip_addr *ip);
/* Destinations that the Internet resource does not reach. */
MUST_USE bool policy_is_private(const struct ip_addr *ip);
/* Addresses that a DNS answer may not name. */
MUST_USE bool policy_is_forbidden_answer(const struct policy *policy, const struct ip_addr *answer);
MUST_USE bool policy_is_gateway(const struct policy *policy, const struct ip_addr *ip);

/* ---- policy_route ---- */

struct policy_route {
    enum drop_reason verdict; /* DROP_NONE: permitted by `slot` */
    uint32_t slot;
    bool unreachable; /* refused as unreachable and not as prohibited */
};

/* Chooses among CIDR and Internet resources that cover `ip`: permitting first, then the longer
 * prefix, then the lower id. */
MUST_USE struct policy_route policy_route_ip(struct policy *policy, uint32_t client_index,
                                             const struct ip_addr *ip,
                                             struct policy_subject subject, struct clock_pair now);
/* Fetch what policy_route_ip() will look at, the client being here already: a grant, or where that
 * returns false the remembered verdict. */
MUST_USE bool policy_route_fetch_grant(const struct policy *policy, uint32_t client_index);
void policy_route_fetch_verdict(struct policy *policy, uint32_t client_index,
                                const struct ip_addr *ip, struct policy_subject subject);
/* Chooses among the DNS resources behind a proxy address. */
MUST_USE struct policy_route policy_route_proxy(const struct policy *policy, uint32_t client_index,
                                                uint32_t proxy, struct policy_subject subject,
                                                struct clock_pair now);
/* True when a valid CIDR or Internet resource covers `ip`, whatever its filters. */
MUST_USE bool policy_route_covers(const struct policy *policy, uint32_t client_index,
                                  const struct ip_addr *ip, struct clock_pair now);

#endif /* POLICY_STATE_H */
