/* policy: what every client may reach, and how its packets are translated on the way.
 *
 * One object holds the authorization state of all clients: grants with filters and expiry, the
 * addresses of DNS resources (proxy address -> real address), and the NAT sessions of DNS-resource
 * traffic. It judges and rewrites plaintext packets between the tunnel and the TUN device.
 *
 * Source: spec/dataplane.md sections 3 to 7, 9, 12 and 14; design sections 4, 6, 8.2 and 8.4.
 * Differs from the reference: expiry is judged at every packet; inbound traffic must belong to a
 * permitted flow; proxy addresses outside the two proxy ranges are refused; ICMP answers are
 * limited per second.
 * Memory: laid out in an arena at start, bounded by struct policy_limits, touched only as used:
 * zeroed memory is the empty state. Nothing is allocated later.
 * Time:   `now.boot` never goes backwards between calls; `now.unix_ns` may jump.
 * Handles: a client handle is an index with a generation; a handle of a removed client is refused
 * like an unknown client, never an assertion.
 */
#ifndef POLICY_H
#define POLICY_H

#include "base/arena.h"
#include "base/text.h"
#include "base/time.h"
#include "crypto/rng.h"
#include "dns/dns_name.h"
#include "packet/packet.h"
#include "policy/policy_filter.h"

struct policy;

#define POLICY_NEVER                 UINT64_MAX /* an authorization without expiry */
#define POLICY_CLIENT_NONE           UINT32_MAX /* no client has this handle */

#define POLICY_CLIENTS_MAX           65536U /* bits of the index inside a client handle */
#define POLICY_GRANTS_PER_CLIENT_MAX 256U   /* bits of a grant set */
#define POLICY_PATTERN_SIZE_MAX      256U   /* bytes of a DNS resource's pattern */
#define POLICY_DOMAIN_SIZE_MAX       1024U  /* bytes of a name in text form, escapes included */
#define POLICY_ASSIGN_PROXIES_MAX    32U  /* proxy addresses in one request; clients send 4 or 8 */
#define POLICY_ASSIGN_ADDRESSES_MAX  32U  /* answers kept per family, the smallest */
#define POLICY_OWN_ADDRESSES_MAX     32U  /* addresses of this host that answers may not name */
#define POLICY_ICMP_PER_CLIENT_PER_S 100U /* generated ICMP errors, one client */
#define POLICY_ICMP_PER_S            10000U /* generated ICMP errors, all clients */
#define POLICY_REPLY_SIZE_MAX        1280U  /* bytes of a generated ICMP error */

/* A client has at most this part of all names, but never fewer than these, however few proxy
 * addresses it asks for with each: clients that ask for very many leave some to the others. */
#define POLICY_DOMAIN_SHARE     32U
#define POLICY_DOMAIN_SHARE_MIN 64U

/* Every bound; all but the last two are visible limits of the product. */
struct policy_limits {
    uint32_t clients;                 /* at most POLICY_CLIENTS_MAX */
    uint32_t resources_per_client;    /* at most POLICY_GRANTS_PER_CLIENT_MAX */
    uint32_t nat_sessions;            /* in all */
    uint32_t nat_sessions_per_client; /* at most 65 536 pays off: the port space of one address */
    uint32_t nat_expired_per_client;  /* remembered outside tuples, oldest reused */
    uint32_t proxies;                 /* mapped proxy addresses in all */
    uint32_t proxies_per_client;
    uint32_t domains; /* mapped names in all */
};

struct policy_options {
    bool nat64_translate;      /* translate across families; false: answer ICMP unreachable */
    bool refuse_own_addresses; /* DNS answers may not name this host's own addresses */
};

enum policy_kind {
    POLICY_KIND_CIDR,
    POLICY_KIND_DNS,
    POLICY_KIND_INTERNET,
};

/* A resource as the portal describes it. Views live during the call. */
struct policy_resource {
    struct uuid id;
    enum policy_kind kind;
    struct ip_prefix prefix; /* CIDR only */
    struct view pattern;     /* DNS only: the pattern's text, at most POLICY_PATTERN_SIZE_MAX */
    const struct policy_rule *rules;
    size_t rules_count;
};

/* The defaults of the product: 16 384 clients, 64 resources each, and so on. */
struct policy_limits policy_limits_default(void);

/* Lays a policy out in `arena`; measures only and returns NULL when arena->base is NULL. Draws the
 * keys of its tables from `rng` (unused when measuring). Touches only the head of the memory.
 * Asserts: the limits respect the maxima above; `rng` is given when not measuring. */
struct policy *policy_init(struct arena *arena, const struct policy_limits *limits,
                           const struct policy_options *options, struct rng *rng);

/* ---- clients ---- */

/* Makes the client known or replaces its tunnel addresses; *client receives the handle. The portal
 * is the authority: another client that held one of the addresses loses it. ERR_FULL: the client
 * table is full. ERR_ARGUMENT: an address has the wrong family or is not unicast (IP_NONE stands
 * for no address). */
MUST_USE enum err policy_client_upsert(struct policy *policy, const struct uuid *id,
                                       struct ip_addr ipv4, struct ip_addr ipv6, uint32_t *client);

/* Returns the handle, POLICY_CLIENT_NONE when unknown. O(1). */
MUST_USE uint32_t policy_client_find(const struct policy *policy, const struct uuid *id);
MUST_USE uint32_t policy_client_find_address(const struct policy *policy,
                                             const struct ip_addr *tunnel_address);

/* Forgets grants, translations and NAT sessions of the client. A stale handle does nothing. */
void policy_client_remove(struct policy *policy, uint32_t client);

/* Returns the dense index inside a handle, for arrays beside this table (< limits.clients). */
MUST_USE uint32_t policy_client_index(uint32_t client);
/* Returns the client's id, NULL for a stale handle. Valid until the client is removed. */
const struct uuid *policy_client_id(const struct policy *policy, uint32_t client);
/* True when the client is known and holds no authorization (expired ones not yet reclaimed by
 * policy_expire() still count). */
MUST_USE bool policy_client_is_empty(const struct policy *policy, uint32_t client);
/* Starts with *cursor = 0; returns each client once in order of index, then POLICY_CLIENT_NONE. */
MUST_USE uint32_t policy_client_next(const struct policy *policy, uint32_t *cursor);

/* This gateway's own tunnel addresses: always reachable for every client, both ways. */
void policy_set_gateway_addresses(struct policy *policy, struct ip_addr ipv4, struct ip_addr ipv6);
/* This host's own addresses, for options.refuse_own_addresses. More than the maximum are ignored.
 */
void policy_set_own_addresses(struct policy *policy, const struct ip_addr *addresses, size_t count);

/* ---- authorizations ---- */

/* Grants `resource` until the wall clock reaches `expires_unix_s` (seconds since 1970, or
 * POLICY_NEVER; a past time is accepted and permits nothing). Again for a resource that the client
 * holds: filters and expiry are replaced, its address or pattern stays.
 * ERR_NOT_FOUND: stale handle. ERR_STATE: held with another kind. ERR_FULL: no slot, or too many
 * port ranges. ERR_ARGUMENT: pattern too long or empty. Nothing changes on an error. */
MUST_USE enum err policy_authorize(struct policy *policy, uint32_t client,
                                   const struct policy_resource *resource, uint64_t expires_unix_s);

/* True when the client holds the resource, expired or not. */
MUST_USE bool policy_has_resource(const struct policy *policy, uint32_t client,
                                  const struct uuid *resource);

/* One authorization that ended; `emptied` says that it was the client's last one. */
struct policy_ended {
    uint32_t client;
    struct uuid client_id;
    struct uuid resource_id;
    bool emptied;
};

/* Ends one authorization. ERR_NOT_FOUND: the client does not hold it. */
MUST_USE enum err policy_revoke(struct policy *policy, uint32_t client, const struct uuid *resource,
                                struct policy_ended *ended);

/* Sets a new expiry. ERR_NOT_FOUND: the client does not hold the resource. */
MUST_USE enum err policy_set_expiry(struct policy *policy, uint32_t client,
                                    const struct uuid *resource, uint64_t expires_unix_s);

/* Replaces the filters of `resource` for every client that holds it: begin, then
 * policy_update_next() until policy_update_is_done(). Nothing happens for the Internet resource.
 * ERR_FULL: too many port ranges; the filters of all holders then admit nothing, because the old
 * ones are no longer what the portal wants. */
MUST_USE enum err policy_update_begin(struct policy *policy,
                                      const struct policy_resource *resource);
/* Updates up to `budget` holders and adds their number to *updated. ERR_STATE: some holder has the
 * resource with another kind; it admits nothing from now on. */
MUST_USE enum err policy_update_next(struct policy *policy, uint32_t budget, uint32_t *updated);
MUST_USE bool policy_update_is_done(const struct policy *policy);

/* Takes the resource away from its next holder; call until false. For an update that could not be
 * read but whose id could, and for deleted resources. */
MUST_USE bool policy_remove_resource(struct policy *policy, const struct uuid *resource,
                                     struct policy_ended *ended);

/* The list of authorizations in `init` is the truth: begin, keep each listed one (its expiry is
 * refreshed), then call end until it returns false with *budget > 0: each call revokes one that was
 * not listed. *budget bounds the grants looked at and is counted down; when it is used up, the walk
 * goes on with the next call. Grants made by policy_authorize() in between count as listed.
 * policy_retain_keep() returns false when the client does not hold the resource. */
void policy_retain_begin(struct policy *policy);
bool policy_retain_keep(struct policy *policy, const struct uuid *client,
                        const struct uuid *resource, uint64_t expires_unix_s);
MUST_USE bool policy_retain_end(struct policy *policy, uint32_t *budget,
                                struct policy_ended *ended);

/* ---- DNS resources ---- */

enum policy_status {
    POLICY_INACTIVE,
    POLICY_ACTIVE,
};

/* What a client asks for: names behind proxy addresses (AssignedIps). Views live during the call.
 */
struct policy_assign {
    struct uuid resource;
    const struct dns_name *domain; /* any case; compared without case */
    const struct ip_addr *proxies;
    size_t proxies_count;
    const struct ip_addr *resolved; /* A and AAAA answers, any order; may be empty */
    size_t resolved_count;
    uint64_t order;   /* of arrival; a greater one is newer. Lookups end in any order */
    bool failed_ipv4; /* nobody could say what the name's IPv4 addresses are */
    bool failed_ipv6;
};

/* Judges a request before a lookup is started: INACTIVE when the client does not hold the resource
 * at `now`, it is no DNS resource, the name does not match its pattern, or a proxy address is
 * outside the proxy ranges. `resolved` is not looked at. */
MUST_USE enum policy_status policy_check_assign(const struct policy *policy, uint32_t client,
                                                const struct policy_assign *request,
                                                struct clock_pair now);

/* Maps the sorted proxy addresses to the sorted usable addresses of their family, i-th to i mod n
 * (across families only when nat64_translate is set and the own family is empty); each proxy
 * address gets an entry, possibly without address. Open NAT sessions keep their addresses. A proxy
 * address that served another name first clears all translations and NAT sessions of the client.
 * A family of which nothing could be learnt changes nothing where an address is known. A request
 * that a newer one overtook changes nothing of what the newer one mapped; if that was for another
 * name, it is INACTIVE.
 * INACTIVE as policy_check_assign(), or when a table is full (nothing changes then).
 * *refused receives how many resolved addresses were left out as forbidden (DROP_DNS_FORBIDDEN). */
MUST_USE enum policy_status policy_assign(struct policy *policy, uint32_t client,
                                          const struct policy_assign *request,
                                          struct clock_pair now, uint32_t *refused);

/* The name behind a proxy address of the client, lower case; NULL: it is none. Valid until the next
 * change of the policy. */
const struct dns_name *policy_proxy_name(const struct policy *policy, uint32_t client,
                                         const struct ip_addr *proxy);

/* ---- packets ---- */

enum policy_action {
    POLICY_FORWARD, /* the packet, rewritten in place where needed, goes on */
    POLICY_REPLY,   /* the packet is refused; the answer in `reply` goes back where it came from */
    POLICY_DROP,    /* the packet is refused silently */
};

/* What policy_look_ahead() guesses about a packet; zero: nothing. */
struct policy_hint {
    uint32_t client;  /* index + 1 */
    uint32_t session; /* NAT record + 1 */
};

struct policy_result {
    struct policy_hint hint; /* in: zero, or a guess that saves look-ups */
    struct span buffer;      /* in: room for an answer, >= POLICY_REPLY_SIZE_MAX bytes */
    struct view reply;       /* out: the answer, inside `buffer`; empty unless POLICY_REPLY */
    uint16_t gso_size;       /* in: payload bytes of each segment of a super-packet; 0 otherwise */
    enum drop_reason reason; /* out: DROP_NONE for POLICY_FORWARD; otherwise why */
    struct packet_info info; /* out: the headers as they are now; zero if they do not parse */
    uint32_t permitted_by;   /* out: slot + 1 of the client's grant that did, for
                                policy_resource_of(); 0: none needed to */
};

/* Returns the resource that permitted a packet of or to `client`, zero when none did. To be asked
 * before the client's grants change. */
MUST_USE struct uuid policy_resource_of(const struct policy *policy, uint32_t client,
                                        const struct policy_result *result);

/* Judges and rewrites a packet that `client` sent through its tunnel: source, destination, filter,
 * NAT, in this order. A REPLY is an IP packet for the same client. The packet may grow by 20 bytes
 * at its front when it changes from IPv4 to IPv6. On REPLY and DROP the packet's bytes are
 * undefined. Asserts: the buffer has its size. A packet above PACKET_INNER_MTU (after translation,
 * and for a super-packet: each of its segments) is refused; where the sender asked for it (DF), a
 * "too big" answer names the MTU that fits. */
MUST_USE enum policy_action policy_outbound(struct policy *policy, uint32_t client,
                                            struct packet *packet, struct clock_pair now,
                                            struct policy_result *result);

/* Judges and rewrites a packet read from the TUN device; *client receives whom it is for,
 * POLICY_CLIENT_NONE when for nobody. A REPLY is an IP packet to write to the TUN device. */
MUST_USE enum policy_action policy_inbound(struct policy *policy, struct packet *packet,
                                           struct clock_pair now, uint32_t *client,
                                           struct policy_result *result);

#define POLICY_AHEAD_MAX 32U

/* Fetches what the judgement of these packets will read from large tables, and guesses whom they
 * belong to. Worth it for several packets of different flows; changes no outcome. With `outbound`
 * hints[i].client is given: the index of the sender + 1. Asserts: count <= POLICY_AHEAD_MAX. */
void policy_look_ahead(struct policy *policy, const struct view *packets, size_t count,
                       bool outbound, struct policy_hint *hints);

/* ---- time ---- */

/* Tells the time without doing anything: grants made before the next packet or timeout are then
 * judged, and waited for, from here on. */
void policy_set_now(struct policy *policy, struct clock_pair now);

/* Returns when to call policy_expire() and policy_handle_timeout() next. Pure. Correctness never
 * depends on the call: it only gives memory back and tells who became empty. */
MUST_USE struct wake policy_poll_timeout(const struct policy *policy);

/* Ends the next authorization that has expired at `now`; call until false. */
MUST_USE bool policy_expire(struct policy *policy, struct clock_pair now,
                            struct policy_ended *ended);

/* Reclaims a bounded number of dead NAT sessions. */
void policy_handle_timeout(struct policy *policy, struct clock_pair now);

/* ---- numbers and checks ---- */

struct policy_stats {
    uint32_t clients;
    uint32_t grants;
    uint32_t nat_sessions; /* live records, also those dead by time and not yet reclaimed */
    uint32_t nat_expired;  /* remembered outside tuples */
    uint32_t proxies;
    uint32_t domains;
};

struct policy_stats policy_stats(const struct policy *policy);

/* Walks all invariants and asserts them; for tests, fuzzers and the simulator. */
void policy_check(const struct policy *policy);

#endif /* POLICY_H */
