#include "gateway/gateway_internal.h"

#include <string.h>

static uint64_t id_hash(const struct gateway *gw, uint32_t id)
{
    uint8_t bytes[4];
    store_le32(bytes, id);
    return gateway_hash(gw, VIEW_OF(bytes));
}

/* ---- the cache: successful answers for as long as their TTL says ---- */

static struct gateway_cached *cache_find(struct gateway *gw, const struct dns_name *lower)
{
    uint64_t hash = gateway_hash(gw, dns_name_wire(lower));
    uint32_t cursor = 0;
    for (uint32_t i = map_next(&gw->cache_by_name, hash, &cursor); i != MAP_NONE;
         i = map_next(&gw->cache_by_name, hash, &cursor)) {
        struct gateway_cached *entry = &gw->cache[i];
        if (dns_name_equal(&entry->name, lower)) {
            entry->used_at = gw->now.boot;
            return instant_reached(gw->now.boot, entry->expires_at) ? NULL : entry;
        }
    }
    return NULL;
}

/* The place for a name: its own, a free one, or that of the entry used longest ago. */
static uint32_t cache_place(struct gateway *gw, const struct dns_name *lower, uint64_t hash)
{
    uint32_t cursor = 0;
    for (uint32_t i = map_next(&gw->cache_by_name, hash, &cursor); i != MAP_NONE;
         i = map_next(&gw->cache_by_name, hash, &cursor)) {
        if (dns_name_equal(&gw->cache[i].name, lower)) {
            return i;
        }
    }
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < gw->limits.dns_cache; i++) {
        if (!gw->cache[i].used) {
            return i;
        }
        if (gw->cache[i].used_at.ns < gw->cache[oldest].used_at.ns) {
            oldest = i;
        }
    }
    return oldest;
}

static void cache_store(struct gateway *gw, const struct gateway_resolve *r)
{
    if (gw->limits.dns_cache == 0 || r->addresses_count == 0 || r->ttl_s == 0) {
        return;
    }
    struct dns_name lower = dns_name_lower(&r->name);
    uint64_t hash = gateway_hash(gw, dns_name_wire(&lower));
    uint32_t place = cache_place(gw, &lower, hash);
    struct gateway_cached *entry = &gw->cache[place];
    if (entry->used && dns_name_equal(&entry->name, &lower) && entry->order > r->order) {
        return; /* asked before and answered after what is known */
    }
    if (entry->used) {
        (void)map_remove(&gw->cache_by_name, entry->hash, place);
    }
    uint32_t ttl = r->ttl_s < GATEWAY_CACHE_TTL_MAX_S ? r->ttl_s : GATEWAY_CACHE_TTL_MAX_S;
    entry->used = true;
    entry->hash = hash;
    entry->order = r->order;
    entry->name = lower;
    entry->used_at = gw->now.boot;
    entry->expires_at = instant_add(gw->now.boot, DURATION_S(ttl));
    entry->addresses_count = r->addresses_count;
    memcpy(entry->addresses, r->addresses, r->addresses_count * sizeof(r->addresses[0]));
    bool stored = map_insert(&gw->cache_by_name, hash, place);
    ASSERT(stored);
}

/* ---- the end of a request ---- */

static void trace_name_event(struct gateway *gw, enum trace_id id, const struct gateway_resolve *r)
{
    uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    const struct uuid *client = policy_client_id(gw->policy, r->policy_client);
    struct trace_event event = {.event = id, .at = gw->now, .value = r->addresses_count};
    if (client != NULL) {
        event.id = *client;
    }
    dns_name_put(&w, &r->name);
    event.text = writer_view(&w);
    trace_emit(&gw->trace, &event);
}

static void send_status(struct gateway *gw, uint32_t policy_client, const struct uuid *resource,
                        const struct dns_name *domain, bool active)
{
    struct gateway_connection *c = gateway_connection_of(gw, policy_client);
    struct p2p_domain_status status = {*resource, *domain, active};
    uint8_t packet[P2P_PACKET_SIZE_MAX];
    size_t len = p2p_encode_domain_status((struct span){packet, sizeof(packet)}, &status);
    if (c != NULL && len > 0) {
        gateway_seal_packet(gw, c, (struct view){packet, len});
        gateway_seal_flush(gw);
    }
}

/* How many lookups are in flight for the client, or for who was in its place before it. */
static uint32_t *lookups_of(struct gateway *gw, uint32_t policy_client)
{
    return &gw->connections[policy_client_index(policy_client)].lookups_count;
}

static struct instant due_at(const struct gateway_resolve *r)
{
    return instant_min(r->deadline, r->serve_at);
}

/* Finds the earliest deadline again; packets only ever look at the result. */
static void find_deadline(struct gateway *gw)
{
    uint32_t left = gw->resolves_count;
    gw->resolve_deadline = TIME_NEVER;
    for (uint32_t i = 0; i < gw->limits.lookups && left > 0; i++) {
        if (gw->resolves[i].used) {
            gw->resolve_deadline = instant_min(gw->resolve_deadline, due_at(&gw->resolves[i]));
            left--;
        }
    }
}

/* True when the client has connected anew since: it may number its names otherwise now, and asks
 * again for what it still wants. */
static bool is_orphaned(struct gateway *gw, const struct gateway_resolve *r)
{
    const struct gateway_connection *c = gateway_connection_of(gw, r->policy_client);
    return !r->silent && (c == NULL || c->generation != r->generation);
}

/* Maps what was found and tells the client, once. `timed_out` is the one failure; names without
 * addresses are active (spec/dataplane.md section 2.5). */
static enum policy_status serve(struct gateway *gw, struct gateway_resolve *r, bool timed_out)
{
    struct policy_assign request = {
        .resource = r->resource,
        .domain = &r->name,
        .proxies = r->proxies,
        .proxies_count = r->proxies_count,
        .resolved = r->addresses,
        .resolved_count = r->addresses_count,
        .order = r->order,
        .failed_ipv4 = r->failed[0] || r->open[0] || r->due[0],
        .failed_ipv6 = r->failed[1] || r->open[1] || r->due[1],
    };
    uint32_t refused = 0;
    enum policy_status status = POLICY_INACTIVE;
    bool orphaned = is_orphaned(gw, r);
    if (orphaned) {
        gateway_drop(gw, DROP_DNS_LATE, NULL);
    } else if (!timed_out) {
        status = policy_assign(gw->policy, r->policy_client, &request, gw->now, &refused);
    }
    gw->counters.drops[DROP_DNS_FORBIDDEN] += refused > r->refused ? refused - r->refused : 0;
    r->refused = refused;
    trace_name_event(gw, EV_DNS_DONE, r);
    if (!r->silent && !orphaned && !r->served) {
        send_status(gw, r->policy_client, &r->resource, &r->name, status == POLICY_ACTIVE);
    }
    return status;
}

/* Gives the record back. */
static void release(struct gateway *gw, struct gateway_resolve *r)
{
    for (int t = 0; t < 2; t++) {
        if (r->open[t] || r->due[t]) {
            (void)map_remove(&gw->resolve_by_id, id_hash(gw, r->id[t]),
                             (uint32_t)(r - gw->resolves));
        }
        gw->resolve_due -= r->due[t] ? 1 : 0;
        r->open[t] = false;
        r->due[t] = false;
    }
    r->used = false;
    gw->resolves_count--;
    uint32_t *held = lookups_of(gw, r->policy_client);
    ASSERT(*held > 0);
    (*held)--;
    if (!instant_before(gw->resolve_deadline, due_at(r))) {
        find_deadline(gw);
    }
}

static void finish(struct gateway *gw, struct gateway_resolve *r, bool timed_out)
{
    (void)serve(gw, r, timed_out);
    release(gw, r);
}

/* A resolver that does not answer for one family, or not soon, must not keep the client from the
 * other: what is there is served, and what comes later is added. */
static void serve_half(struct gateway *gw, struct gateway_resolve *r)
{
    gateway_count_lookup(gw, r->started_at, true);
    if (serve(gw, r, false) != POLICY_ACTIVE) {
        release(gw, r);
        return;
    }
    r->served = true;
    r->serve_at = TIME_NEVER;
    find_deadline(gw);
}

/* Ends a request for which no more is waited for. */
static void give_up(struct gateway *gw, struct gateway_resolve *r)
{
    if (!r->served) {
        gateway_count_lookup(gw, r->started_at, false);
        (void)serve(gw, r, r->addresses_count == 0);
    }
    release(gw, r);
}

/* ---- the beginning of a request ---- */

/* True when the client holds its share of the table: names that nobody answers are its own trouble
 * and not that of the others. */
static bool has_its_share(struct gateway *gw, uint32_t policy_client)
{
    uint32_t share = gw->limits.lookups / GATEWAY_RESOLVE_SHARE;
    share = share > GATEWAY_RESOLVE_SHARE_MIN ? share : GATEWAY_RESOLVE_SHARE_MIN;
    return *lookups_of(gw, policy_client) >= share;
}

/* True when `a` is to end before `b`: who is served loses little, then it is the turn of who has
 * most; its oldest. */
static bool ends_before(struct gateway *gw, const struct gateway_resolve *a,
                        const struct gateway_resolve *b)
{
    uint32_t has_a = *lookups_of(gw, a->policy_client);
    uint32_t has_b = *lookups_of(gw, b->policy_client);
    if (a->served != b->served) {
        return a->served;
    }
    return has_a != has_b ? has_a > has_b : a->order < b->order;
}

/* Ends a request in the full table for a client that has fewer; NULL: all have as few. */
static struct gateway_resolve *displace(struct gateway *gw, uint32_t policy_client)
{
    struct gateway_resolve *victim = &gw->resolves[0];
    for (uint32_t i = 1; i < gw->limits.lookups; i++) {
        if (ends_before(gw, &gw->resolves[i], victim)) {
            victim = &gw->resolves[i];
        }
    }
    uint32_t has = *lookups_of(gw, policy_client);
    if (!victim->served && *lookups_of(gw, victim->policy_client) <= has + 1) {
        return NULL;
    }
    if (!victim->served) {
        gateway_drop(gw, DROP_P2P_BUSY, NULL);
    }
    give_up(gw, victim);
    return victim;
}

/* A record for a request of the client, NULL if there is none for it. */
static struct gateway_resolve *take_record(struct gateway *gw, uint32_t policy_client)
{
    if (has_its_share(gw, policy_client) || FAULT(gw->rng.fault, FAULT_LOOKUPS_FULL)) {
        return NULL;
    }
    if (gw->limits.lookups > 0 && gw->resolves_count == gw->limits.lookups) {
        return displace(gw, policy_client);
    }
    for (uint32_t i = 0; i < gw->limits.lookups; i++) {
        if (!gw->resolves[i].used) {
            return &gw->resolves[i];
        }
    }
    return NULL;
}

static void start(struct gateway *gw, struct gateway_resolve *r)
{
    struct dns_name lower = dns_name_lower(&r->name);
    const struct gateway_cached *cached = cache_find(gw, &lower);
    trace_name_event(gw, EV_DNS_QUERY, r);
    r->used = true;
    gw->resolves_count++;
    (*lookups_of(gw, r->policy_client))++;
    if (cached != NULL) {
        r->addresses_count = cached->addresses_count;
        memcpy(r->addresses, cached->addresses,
               cached->addresses_count * sizeof(cached->addresses[0]));
        finish(gw, r, false);
        return;
    }
    r->started_at = gw->now.boot;
    r->deadline = instant_add(gw->now.boot, DURATION_S(GATEWAY_RESOLVE_TIMEOUT_S));
    gw->resolve_deadline = instant_min(gw->resolve_deadline, r->deadline);
    for (int t = 0; t < 2; t++) {
        r->id[t] = gw->next_id++;
        r->due[t] = true;
        gw->resolve_due++;
        bool stored =
            map_insert(&gw->resolve_by_id, id_hash(gw, r->id[t]), (uint32_t)(r - gw->resolves));
        ASSERT(stored);
    }
}

static void reset(struct gateway *gw, struct gateway_resolve *r, uint32_t policy_client,
                  const struct uuid *resource, const struct dns_name *name)
{
    r->order = ++gw->resolve_order;
    memset(r->due, 0, sizeof(r->due));
    memset(r->open, 0, sizeof(r->open));
    memset(r->failed, 0, sizeof(r->failed));
    r->silent = false;
    r->served = false;
    r->refused = 0;
    r->policy_client = policy_client;
    r->resource = *resource;
    r->name = *name;
    r->proxies_count = 0;
    r->addresses_count = 0;
    r->ttl_s = UINT32_MAX;
    r->deadline = TIME_NEVER;
    r->serve_at = TIME_NEVER;
}

static void handle_assigned_ips(struct gateway *gw, struct gateway_connection *c,
                                const struct p2p_assigned_ips *msg)
{
    struct policy_assign request = {
        .resource = msg->resource,
        .domain = &msg->domain,
        .proxies = msg->proxy_ips,
        .proxies_count = msg->proxy_ips_count,
    };
    if (policy_check_assign(gw->policy, c->policy_client, &request, gw->now) == POLICY_INACTIVE) {
        send_status(gw, c->policy_client, &msg->resource, &msg->domain, false);
        return;
    }
    struct gateway_resolve *r = take_record(gw, c->policy_client);
    if (r == NULL) { /* an answer beats silence: the client would go on buffering */
        gateway_drop(gw, DROP_P2P_BUSY, NULL);
        send_status(gw, c->policy_client, &msg->resource, &msg->domain, false);
        return;
    }
    reset(gw, r, c->policy_client, &msg->resource, &msg->domain);
    r->generation = c->generation;
    r->proxies_count = msg->proxy_ips_count;
    memcpy(r->proxies, msg->proxy_ips, msg->proxy_ips_count * sizeof(msg->proxy_ips[0]));
    start(gw, r);
}

void gateway_resolve_legacy(struct gateway *gw, uint32_t policy_client, const struct uuid *resource,
                            const struct portal_domain *domain)
{
    struct dns_name name;
    if (!dns_name_parse(domain->name, &name)) {
        gateway_drop(gw, DROP_PORTAL_FIELD, NULL);
        return;
    }
    struct gateway_resolve *r = take_record(gw, policy_client);
    if (r == NULL) {
        gateway_drop(gw, DROP_P2P_BUSY, NULL);
        return;
    }
    reset(gw, r, policy_client, resource, &name);
    r->silent = true;
    static_assert(PORTAL_PROXY_IPS_MAX <= P2P_PROXY_IPS_MAX, "a request fits a record");
    r->proxies_count = domain->proxy_ips_count;
    memcpy(r->proxies, domain->proxy_ips, domain->proxy_ips_count * sizeof(domain->proxy_ips[0]));
    start(gw, r);
}

void gateway_resolve_control(struct gateway *gw, struct gateway_connection *c, struct view packet)
{
    struct p2p_msg msg;
    enum drop_reason reason = p2p_decode(packet, &msg);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, NULL);
        return;
    }
    switch (msg.event) {
    case P2P_ASSIGNED_IPS:
        handle_assigned_ips(gw, c, &msg.u.assigned_ips);
        break;
    case P2P_DOMAIN_STATUS:
        gateway_drop(gw, DROP_P2P_UNKNOWN, NULL); /* only clients receive it */
        break;
    case P2P_GOODBYE: {
        uint32_t client = c->policy_client;
        gateway_connection_close(gw, c, EV_CONNECTION_CLOSED, "the client said goodbye");
        policy_client_remove(gw->policy, client);
        break;
    }
    }
}

/* ---- answers and time ---- */

static void add_addresses(struct gateway_resolve *r, const struct gateway_lookup_answer *answer)
{
    for (uint32_t i = 0; i < answer->addresses_count; i++) {
        if (r->addresses_count < GATEWAY_RESOLVED_MAX) {
            r->addresses[r->addresses_count++] = answer->addresses[i];
        }
    }
    if (answer->addresses_count > 0 && answer->ttl_s < r->ttl_s) {
        r->ttl_s = answer->ttl_s;
    }
}

static struct gateway_resolve *find_request(struct gateway *gw, uint32_t id, int *type)
{
    uint32_t cursor = 0;
    uint64_t hash = id_hash(gw, id);
    for (uint32_t i = map_next(&gw->resolve_by_id, hash, &cursor); i != MAP_NONE;
         i = map_next(&gw->resolve_by_id, hash, &cursor)) {
        struct gateway_resolve *r = &gw->resolves[i];
        for (int t = 0; t < 2; t++) {
            if (r->used && r->open[t] && r->id[t] == id) {
                *type = t;
                return r;
            }
        }
    }
    return NULL;
}

void gateway_resolve_answer(struct gateway *gw, const struct gateway_lookup_answer *answer)
{
    int type = 0;
    struct gateway_resolve *r = find_request(gw, answer->lookup, &type);
    if (r == NULL) {
        gateway_drop(gw, DROP_DNS_LATE, NULL);
        return;
    }
    (void)map_remove(&gw->resolve_by_id, id_hash(gw, answer->lookup), (uint32_t)(r - gw->resolves));
    r->open[type] = false;
    r->failed[type] = answer->result != ERR_NONE && answer->result != ERR_NAME;
    add_addresses(r, answer);
    if (r->open[0] || r->open[1] || r->due[0] || r->due[1]) {
        if (r->addresses_count > 0) {
            r->serve_at = instant_add(gw->now.boot, DURATION_MS(GATEWAY_RESOLVE_GRACE_MS));
            gw->resolve_deadline = instant_min(gw->resolve_deadline, r->serve_at);
        }
        return;
    }
    if (!r->failed[0] && !r->failed[1]) {
        cache_store(gw, r);
    }
    if (!r->served) {
        gateway_count_lookup(gw, r->started_at, !r->failed[0] || !r->failed[1]);
    }
    finish(gw, r, false);
}

void gateway_resolve_timeout(struct gateway *gw)
{
    for (uint32_t i = 0; i < gw->limits.lookups && gw->resolves_count > 0; i++) {
        struct gateway_resolve *r = &gw->resolves[i];
        if (!r->used) {
            continue;
        }
        if (instant_reached(gw->now.boot, r->deadline)) {
            give_up(gw, r);
        } else if (instant_reached(gw->now.boot, r->serve_at)) {
            serve_half(gw, r);
        }
    }
}

struct wake gateway_resolve_poll_timeout(const struct gateway *gw)
{
    return (struct wake){gw->resolve_deadline, "lookup"};
}

/* Hands out one lookup; the name's text stands in the scratch memory. */
bool gateway_resolve_poll(struct gateway *gw, struct gateway_output *out)
{
    for (uint32_t i = 0; gw->resolve_due > 0 && i < gw->limits.lookups; i++) {
        struct gateway_resolve *r = &gw->resolves[i];
        for (int t = 0; r->used && t < 2; t++) {
            if (!r->due[t]) {
                continue;
            }
            r->due[t] = false;
            r->open[t] = true;
            gw->resolve_due--;
            out->kind = GATEWAY_OUT_LOOKUP;
            out->u.lookup.lookup = r->id[t];
            out->u.lookup.type = t == 0 ? GATEWAY_LOOKUP_A : GATEWAY_LOOKUP_AAAA;
            struct writer w = writer_of((struct span){gw->scratch, sizeof(gw->scratch)});
            dns_name_put(&w, &r->name);
            out->u.lookup.name = writer_view(&w);
            return true;
        }
    }
    return false;
}
