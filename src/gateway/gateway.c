#include "gateway/gateway_internal.h"

#include <sodium.h>
#include <string.h>

#include "crypto/aead_ipsec.h"
#include "crypto/x25519.h"

#define HANDSHAKES_PER_S 2000U /* before cookies, design section 8.2 */

struct gateway_limits gateway_limits_default(void)
{
    struct policy_limits policy = policy_limits_default();
    return (struct gateway_limits){
        .clients = policy.clients,
        .relays = 16,
        .resources_per_client = policy.resources_per_client,
        .nat_sessions = policy.nat_sessions,
        .nat_sessions_per_client = policy.nat_sessions_per_client,
        .nat_expired_per_client = policy.nat_expired_per_client,
        .lookups = 1024,
        .dns_cache = 512,
    };
}

static struct policy_limits to_policy_limits(const struct gateway_limits *limits)
{
    struct policy_limits policy = policy_limits_default();
    policy.clients = limits->clients;
    policy.resources_per_client = limits->resources_per_client;
    policy.nat_sessions = limits->nat_sessions;
    policy.nat_sessions_per_client = limits->nat_sessions_per_client;
    policy.nat_expired_per_client = limits->nat_expired_per_client;
    uint64_t proxies = (uint64_t)limits->clients * policy.proxies_per_client;
    uint64_t domains = (uint64_t)limits->clients * 16U;
    policy.proxies = policy.proxies < proxies ? policy.proxies : (uint32_t)proxies;
    policy.domains = policy.domains < domains ? policy.domains : (uint32_t)domains;
    return policy;
}

/* Where the tables stand in the gateway's memory; NULL everywhere while measuring. */
struct layout {
    struct gateway_relay *relays;
    struct gateway_connection *connections;
    struct wg_window *windows;
    struct blocks blocks;
    struct gateway_resolve *resolves;
    struct gateway_cached *cache;
    struct map_slot *relay_by_server;
    struct map_slot *connection_by_ufrag;
    struct map_slot *connection_by_key;
    struct map_slot *resolve_by_id;
    struct map_slot *cache_by_name;
    uint32_t *heap_order;
    uint32_t *heap_position;
    struct instant *heap_at;
    uint8_t *tx;
    struct gateway_train_record *trains;
    struct gateway_tun_record *tun_out;
    struct gateway_open_slot *open_slots;
    uint8_t *aead_memory;
    struct gateway_waiting *waiting;
    struct gateway_group *groups;
    struct gateway_inbound *inbound;
    uint8_t *inbound_last;
    struct gateway_flow_record *flows;
    struct map_slot *flow_by_key;
};

static struct map_slot *take_slots(struct arena *arena, uint32_t capacity)
{
    return arena_take(arena, map_slots_for(capacity), sizeof(struct map_slot));
}

static struct layout lay_out(struct arena *arena, const struct gateway_limits *limits)
{
    struct layout l;
    uint32_t records = limits->clients + limits->relays;
    l.relays = arena_take(arena, limits->relays, sizeof(*l.relays));
    l.connections = arena_take(arena, limits->clients, sizeof(*l.connections));
    l.windows = arena_take(arena, (size_t)limits->clients * WG_SESSIONS_MAX, sizeof(*l.windows));
    struct blocks_counts counts = ICE_BLOCKS(limits->clients);
    for (uint32_t i = 0; i < BLOCKS_CLASSES; i++) {
        /* of signals and of held messages */
        counts.of[i] += limits->clients * (i <= 2 ? 2U : (i == 3 ? 1U : 0U));
    }
    blocks_init(&l.blocks, arena, &counts);
    l.resolves = arena_take(arena, limits->lookups, sizeof(*l.resolves));
    l.cache = arena_take(arena, limits->dns_cache, sizeof(*l.cache));
    l.relay_by_server = take_slots(arena, 2 * limits->relays);
    l.connection_by_ufrag = take_slots(arena, limits->clients);
    l.connection_by_key = take_slots(arena, limits->clients);
    l.resolve_by_id = take_slots(arena, 2 * limits->lookups);
    l.cache_by_name = take_slots(arena, limits->dns_cache);
    l.heap_order = arena_take(arena, records, sizeof(*l.heap_order));
    l.heap_position = arena_take(arena, records, sizeof(*l.heap_position));
    l.heap_at = arena_take(arena, records, sizeof(*l.heap_at));
    l.tx = arena_take(arena, GATEWAY_TX_SIZE, 1);
    l.trains = arena_take(arena, GATEWAY_TRAINS_MAX, sizeof(*l.trains));
    l.tun_out = arena_take(arena, GATEWAY_TUN_OUT_MAX, sizeof(*l.tun_out));
    l.open_slots = arena_take(arena, GATEWAY_AEAD_BATCH, sizeof(*l.open_slots));
    l.aead_memory = arena_take(arena, aead_ipsec_size(), 1);
    l.waiting = arena_take(arena, GATEWAY_AEAD_BATCH, sizeof(*l.waiting));
    l.groups = arena_take(arena, GATEWAY_GROUPS_MAX, sizeof(*l.groups));
    l.inbound = arena_take(arena, GATEWAY_TUN_BATCH_MAX, sizeof(*l.inbound));
    l.inbound_last = arena_take(arena, limits->clients, sizeof(*l.inbound_last));
    l.flows = arena_take(arena, limits->flows, sizeof(*l.flows));
    l.flow_by_key = limits->flows == 0 ? NULL : take_slots(arena, limits->flows);
    return l;
}

static void use_layout(struct gateway *gw, const struct layout *l)
{
    const struct gateway_limits *limits = &gw->limits;
    gw->relays = l->relays;
    gw->connections = l->connections;
    gw->windows = l->windows;
    gw->ice_memory.blocks = l->blocks;
    gw->resolves = l->resolves;
    gw->cache = l->cache;
    map_init(&gw->relay_by_server, l->relay_by_server, 2 * limits->relays);
    map_init(&gw->connection_by_ufrag, l->connection_by_ufrag, limits->clients);
    map_init(&gw->connection_by_key, l->connection_by_key, limits->clients);
    map_init(&gw->resolve_by_id, l->resolve_by_id, 2 * limits->lookups);
    map_init(&gw->cache_by_name, l->cache_by_name, limits->dns_cache);
    heap_init(&gw->timers, l->heap_order, l->heap_position, l->heap_at,
              limits->clients + limits->relays);
    gw->tx = l->tx;
    gw->trains = l->trains;
    gw->tun_out = l->tun_out;
    gw->open_slots = l->open_slots;
    gw->aead_memory = (struct span){l->aead_memory, aead_ipsec_size()};
    gw->waiting = l->waiting;
    gw->groups = l->groups;
    gw->inbound = l->inbound;
    gw->inbound_last = l->inbound_last;
    gateway_flow_init(gw, l->flows, l->flow_by_key);
}

size_t gateway_size(const struct gateway_limits *limits)
{
    struct arena arena = {NULL, 0};
    struct policy_limits policy = to_policy_limits(limits);
    struct policy_options options = {true, false};
    (void)arena_take(&arena, 1, sizeof(struct gateway));
    (void)lay_out(&arena, limits);
    struct policy *measured = policy_init(&arena, &policy, &options, NULL);
    ASSERT(measured == NULL);
    return arena.used;
}

static enum err start_portal(struct gateway *gw, const struct gateway_config *config)
{
    struct portal_client_config portal = {
        .api_url = config->api_url,
        .token = config->token,
        .firezone_id = config->firezone_id,
        .name = config->name,
        .public_key = gw->wg.own.public_key.bytes,
        .user_agent = config->user_agent,
        .v2 = config->portal_v2,
        .v2_only = config->portal_v2_only,
        .partition_max_s = config->partition_max_s,
        .next_id = &gw->next_id,
        .rng = &gw->rng,
    };
    return portal_client_init(&gw->portal, &portal, gw->now);
}

static void start_keys(struct gateway *gw)
{
    struct x25519_private key;
    uint8_t hash_key[16];
    rng_bytes(&gw->rng, key.bytes, sizeof(key.bytes));
    rng_bytes(&gw->rng, hash_key, sizeof(hash_key));
    gw->hash_key = (struct siphash_key){load_le64(hash_key), load_le64(hash_key + 8)};
    gw->id24_mask = rng_u32(&gw->rng) & WG_PEER_ID_MAX;
    wg_node_init(&gw->wg, &key, &gw->now, HANDSHAKES_PER_S);
    x25519_private_wipe(&key);
    sodium_memzero(hash_key, sizeof(hash_key));
}

enum err gateway_init(void *memory, const struct gateway_limits *limits,
                      const struct gateway_config *config, struct clock_pair now,
                      const uint8_t seed[32], struct trace trace, struct gateway **out)
{
    struct arena arena = {memory, 0};
    struct policy_limits policy = to_policy_limits(limits);
    struct policy_options options = {config->nat64_translate, config->refuse_own_addresses};
    struct gateway *gw = arena_take(&arena, 1, sizeof(*gw));
    ASSERT((uintptr_t)memory % ARENA_ALIGN == 0);
    ASSERT(limits->clients > 0 && limits->clients <= POLICY_CLIENTS_MAX);
    gw->limits = *limits;
    gw->trace = trace;
    gw->now = now;
    gw->nat64_translate = config->nat64_translate;
    gw->health = config->health;
    gw->dirty_relays.first = GATEWAY_NONE;
    gw->dirty_connections.first = GATEWAY_NONE;
    gw->signal_connections.first = GATEWAY_NONE;
    gw->unused_connections = (struct gateway_list){GATEWAY_NONE, GATEWAY_NONE};
    gw->shutdown_at = TIME_NEVER;
    gw->rejoin_at = TIME_NEVER;
    gw->resolve_deadline = TIME_NEVER;
    gw->aead = aead_backend_libsodium();
    gw->sums = &checksum_portable;
    rng_init(&gw->rng, seed);
    gw->rng.fault = config->fault;
    gw->next_id = FAULT(config->fault, FAULT_ID_WRAP) ? UINT32_MAX - 3 : 1;
    start_keys(gw);
    struct layout layout = lay_out(&arena, limits);
    use_layout(gw, &layout);
    if (FAULT(config->fault, FAULT_GENERATION_WRAP)) {
        gw->connections[0].generation = UINT32_MAX - 2; /* before the first comes */
    }
    gw->policy = policy_init(&arena, &policy, &options, &gw->rng);
    if (gw->health.ip.family != IP_NONE) {
        gw->listens_due = 1U << GATEWAY_LISTENER_HEALTH;
    }
    enum err err = start_portal(gw, config);
    if (err == ERR_NONE) {
        *out = gw;
    }
    return err;
}

void gateway_deinit(struct gateway *gw)
{
    portal_client_deinit(&gw->portal);
    for (uint32_t i = 0; i < gw->limits.clients; i++) {
        if (gw->connections_count > 0 && gw->connections[i].used) {
            wg_peer_wipe(&gw->connections[i].wg);
        }
    }
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used) {
            turn_client_wipe(&gw->relays[r].turn);
        }
    }
    wg_node_wipe(&gw->wg);
    sodium_memzero(&gw->rng, sizeof(gw->rng));
}

/* ---- small services ---- */

uint64_t gateway_hash(const struct gateway *gw, struct view bytes)
{
    return FAULT(gw->rng.fault, FAULT_HASH_SAME) ? 0 : siphash13(&gw->hash_key, bytes);
}

void gateway_drop(struct gateway *gw, enum drop_reason reason, const struct sock_addr *remote)
{
    struct trace_event event = {.event = EV_DROP, .reason = reason, .at = gw->now};
    gw->counters.drops[reason]++;
    if (remote != NULL) {
        event.remote = *remote;
    }
    trace_emit(&gw->trace, &event);
}

void gateway_trace_client(struct gateway *gw, enum trace_id id, const struct gateway_connection *c,
                          const char *text)
{
    struct trace_event event = {
        .event = id, .at = gw->now, .id = c->client, .text = view_text(text)};
    trace_emit(&gw->trace, &event);
}

enum err gateway_trace_sent(const struct gateway *gw, enum err err, const char *what)
{
    if (err == ERR_NONE) {
        struct trace_event event = {
            .event = EV_PORTAL_SENT, .at = gw->now, .text = view_text(what)};
        trace_emit(&gw->trace, &event);
    }
    return err;
}

void gateway_begin(struct gateway *gw, struct clock_pair now)
{
    ASSERT(gw->trains_next == gw->trains_count); /* the driver drains before it feeds */
    ASSERT(gw->tun_next == gw->tun_count);
    ASSERT(gw->seal_count == 0);
    ASSERT(gw->groups_count == 0);
    gw->is_drained = false;
    gw->now.unix_ns = now.unix_ns;
    gw->now.boot = instant_max(gw->now.boot, now.boot);
    policy_set_now(gw->policy, gw->now);
    gw->tx_used = 0;
    gw->trains_count = 0;
    gw->trains_next = 0;
    gw->tun_count = 0;
    gw->tun_next = 0;
}

/* ---- inputs that belong to no other file ---- */

void gateway_handle_lookup(struct gateway *gw, struct clock_pair now,
                           const struct gateway_lookup_answer *answer)
{
    struct portal_lookup_answer portal = {answer->lookup, answer->addresses,
                                          answer->result == ERR_NONE ? answer->addresses_count : 0};
    gateway_begin(gw, now);
    ASSERT(answer->addresses_count <= GATEWAY_LOOKUP_ADDRESSES_MAX);
    if (!portal_client_handle_lookup(&gw->portal, &portal, gw->now) &&
        !gateway_dns_handle_answer(&gw->dns, answer)) {
        gateway_resolve_answer(gw, answer);
    }
}

static void handle_accepted(struct gateway *gw, const struct gateway_stream_event *event)
{
    bool is_dns = event->kind == GATEWAY_STREAM_ACCEPTED
                      ? event->listener != GATEWAY_LISTENER_HEALTH
                      : gateway_dns_owns(&gw->dns, event->stream);
    if (is_dns) {
        enum drop_reason reason =
            gateway_dns_handle_stream(&gw->dns, event, &gw->next_id, gw->now.boot);
        if (reason != DROP_NONE) {
            gateway_drop(gw, reason, &event->remote);
        }
        return;
    }
    struct gateway_http_facts facts = gateway_status(gw);
    gateway_http_handle(&gw->http, event, &facts, gw->now.boot);
}

void gateway_handle_stream(struct gateway *gw, struct clock_pair now,
                           const struct gateway_stream_event *event)
{
    static const enum portal_stream_kind kinds[] = {
        [GATEWAY_STREAM_OPENED] = PORTAL_STREAM_OPENED,
        [GATEWAY_STREAM_BYTES] = PORTAL_STREAM_BYTES,
        [GATEWAY_STREAM_WRITABLE] = PORTAL_STREAM_WRITABLE,
        [GATEWAY_STREAM_CLOSED] = PORTAL_STREAM_CLOSED,
    };
    gateway_begin(gw, now);
    if (event->stream >= GATEWAY_STREAM_ACCEPTED_BASE) {
        handle_accepted(gw, event);
        return;
    }
    if (event->kind == GATEWAY_STREAM_ACCEPTED || event->kind == GATEWAY_STREAM_ENDED) {
        return;
    }
    struct portal_stream_event portal = {kinds[event->kind], event->stream, event->bytes,
                                         event->reason};
    (void)portal_client_handle_stream(&gw->portal, &portal, gw->now);
}

void gateway_handle_listener(struct gateway *gw, struct clock_pair now,
                             const struct gateway_listener_datagram *datagram)
{
    gateway_begin(gw, now);
    enum drop_reason reason =
        gateway_dns_handle_datagram(&gw->dns, datagram, &gw->next_id, gw->now.boot);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &datagram->remote);
    }
}

void gateway_stream_sent(struct gateway *gw, uint32_t stream, size_t taken)
{
    gw->is_drained = false;
    if (stream >= GATEWAY_STREAM_ACCEPTED_BASE) {
        if (gateway_dns_owns(&gw->dns, stream)) {
            enum drop_reason reason =
                gateway_dns_sent(&gw->dns, stream, taken, &gw->next_id, gw->now.boot);
            if (reason != DROP_NONE) {
                gateway_drop(gw, reason, NULL);
            }
        } else {
            gateway_http_sent(&gw->http, stream, taken);
        }
    } else {
        (void)portal_client_stream_sent(&gw->portal, stream, taken);
    }
}

void gateway_handle_reseed(struct gateway *gw, const uint8_t seed[32])
{
    rng_reseed(&gw->rng, seed);
}

/* Closes a slice of the connections; after the last one, relays and portal. */
static void take_leave(struct gateway *gw)
{
    uint32_t looks = GATEWAY_LOOK_SLICE;
    uint32_t budget = GATEWAY_JOB_SLICE;
    for (; budget > 0 && looks > 0 && gw->connections_count > 0; looks--) {
        struct gateway_connection *c = &gw->connections[gw->shutdown_cursor++];
        if (c->used) {
            budget--;
            gateway_connection_goodbye(gw, c);
            gateway_connection_close(gw, c, EV_CONNECTION_CLOSED, "shutting down");
        }
    }
    if (gw->connections_count == 0 && !gw->has_left) {
        gw->has_left = true;
        gateway_flow_end_all(gw);
        gateway_relay_close_all(gw);
        portal_client_close(&gw->portal, gw->now);
    }
}

void gateway_handle_shutdown(struct gateway *gw, struct clock_pair now)
{
    struct trace_event event = {.event = EV_SHUTDOWN, .at = now};
    gateway_begin(gw, now);
    if (gw->shutting_down) {
        return;
    }
    trace_emit(&gw->trace, &event);
    gw->shutting_down = true;
    gw->shutdown_at = instant_add(gw->now.boot, DURATION_S(GATEWAY_SHUTDOWN_S));
    take_leave(gw);
}

/* ---- time ---- */

static void run_timers(struct gateway *gw)
{
    uint32_t slice = FAULT(gw->rng.fault, FAULT_TIMERS_ONE) ? 1 : GATEWAY_TIMER_BUDGET;
    for (uint32_t budget = slice; budget > 0; budget--) {
        uint32_t record = heap_pop_due(&gw->timers, gw->now.boot);
        if (record == HEAP_NONE) {
            return;
        }
        if (record >= gw->limits.clients) {
            gateway_relay_timeout(gw, record - gw->limits.clients);
        } else {
            gateway_connection_timeout(gw, &gw->connections[record]);
        }
    }
}

static void request_exit(struct gateway *gw, int code, const char *reason)
{
    if (!gw->exit_due) {
        gw->exit_due = true;
        gw->exit_code = code;
        gw->exit_reason = reason;
    }
}

void gateway_handle_timeout(struct gateway *gw, struct clock_pair now)
{
    gateway_begin(gw, now);
    portal_client_handle_timeout(&gw->portal, gw->now);
    run_timers(gw);
    gateway_relay_rejoin(gw);
    gateway_relay_run_jobs(gw);
    gateway_sweep_run(gw);
    if (gw->shutting_down) {
        take_leave(gw);
    }
    if (instant_reached(gw->now.boot, policy_poll_timeout(gw->policy).at)) {
        struct policy_ended ended;
        /* What `init` is about to extend does not end meanwhile; its packets are judged by time. */
        for (uint32_t budget = gw->control.sweep == GATEWAY_SWEEP_KEEP ? 0 : GATEWAY_JOB_SLICE;
             budget > 0 && policy_expire(gw->policy, gw->now, &ended); budget--) {
            gateway_control_ended(gw, &ended, EV_EXPIRED);
        }
        policy_handle_timeout(gw->policy, gw->now);
    }
    gateway_resolve_timeout(gw);
    gateway_flow_timeout(gw);
    gateway_dns_handle_timeout(&gw->dns, gw->now.boot);
    gateway_http_handle_timeout(&gw->http, gw->now.boot);
    if (instant_reached(gw->now.boot, gw->shutdown_at)) {
        request_exit(gw, 0, "shut down");
    }
}

struct wake gateway_poll_timeout(const struct gateway *gw)
{
    struct wake wake = portal_client_poll_timeout(&gw->portal);
    wake = wake_min(wake, (struct wake){heap_next(&gw->timers), "connections and relays"});
    wake = wake_min(wake, (struct wake){gw->rejoin_at, "no relay"});
    wake = wake_min(wake, policy_poll_timeout(gw->policy));
    wake = wake_min(wake, gateway_resolve_poll_timeout(gw));
    wake = wake_min(wake, gateway_flow_poll_timeout(gw));
    wake = wake_min(wake, gateway_dns_poll_timeout(&gw->dns));
    wake = wake_min(wake, gateway_http_poll_timeout(&gw->http));
    if (!gw->exit_due) {
        wake = wake_min(wake, (struct wake){gw->shutdown_at, "shutdown"});
    }
    if (gw->jobs_count > 0 || gw->control.sweep != GATEWAY_SWEEP_NONE ||
        (gw->shutting_down && !gw->has_left)) {
        wake = wake_min(wake, (struct wake){gw->now.boot, "changes for all connections"});
    }
    struct instant soon = instant_add(gw->now.boot, DURATION_MS(1));
    if (instant_before(soon, wake.at) && FAULT(gw->rng.fault, FAULT_WAKE_EARLY)) {
        wake.at = soon;
    }
    return wake;
}

/* ---- output ---- */

static void trace_portal(struct gateway *gw, enum trace_id id, const char *text, uint64_t value)
{
    struct trace_event event = {
        .event = id, .at = gw->now, .text = view_text(text), .value = value};
    trace_emit(&gw->trace, &event);
}

static void handle_portal_lost(struct gateway *gw, const struct portal_output *in)
{
    uint64_t next = in->u.lost.next_at.ns > gw->now.boot.ns
                        ? (in->u.lost.next_at.ns - gw->now.boot.ns) / NS_PER_MS
                        : 0;
    gw->portal_joined = false;
    gw->initialised = false;
    gw->counters.portal_losses++;
    trace_portal(gw, EV_PORTAL_LOST, in->u.lost.reason, next);
}

/* Works one output of the portal client off; true when it becomes an output of the gateway. */
static bool handle_portal_output(struct gateway *gw, const struct portal_output *in,
                                 struct gateway_output *out)
{
    switch (in->kind) {
    case PORTAL_OUT_LOOKUP:
        out->kind = GATEWAY_OUT_LOOKUP;
        out->u.lookup.lookup = in->u.lookup.lookup;
        out->u.lookup.name = in->u.lookup.name;
        out->u.lookup.type =
            in->u.lookup.type == PORTAL_LOOKUP_A ? GATEWAY_LOOKUP_A : GATEWAY_LOOKUP_AAAA;
        return true;
    case PORTAL_OUT_OPEN: {
        struct trace_event event = {
            .event = EV_PORTAL_CONNECTING, .at = gw->now, .remote = in->u.open.remote};
        trace_emit(&gw->trace, &event);
        gw->counters.portal_connects++;
        out->kind = GATEWAY_OUT_STREAM_OPEN;
        out->u.open.stream = in->u.open.stream;
        out->u.open.remote = in->u.open.remote;
        out->u.open.tls_name = in->u.open.tls_name;
        return true;
    }
    case PORTAL_OUT_SEND:
        out->kind = GATEWAY_OUT_STREAM_SEND;
        out->u.send.stream = in->u.send.stream;
        out->u.send.bytes = in->u.send.bytes;
        return true;
    case PORTAL_OUT_CLOSE:
        out->kind = GATEWAY_OUT_STREAM_CLOSE;
        out->u.close = in->u.close;
        return true;
    case PORTAL_OUT_MESSAGE:
        gateway_control_message(gw, in->u.message);
        return false;
    case PORTAL_OUT_REFUSED: {
        struct trace_event event = {.event = EV_PORTAL_REFUSED,
                                    .reason = in->u.refused.reason,
                                    .at = gw->now,
                                    .text = in->u.refused.event};
        gw->counters.drops[in->u.refused.reason]++;
        trace_emit(&gw->trace, &event);
        return false;
    }
    case PORTAL_OUT_JOINED:
        gw->portal_joined = true;
        gw->counters.portal_joins++;
        trace_portal(gw, EV_PORTAL_JOINED, "", 0);
        return false;
    case PORTAL_OUT_LOST:
        handle_portal_lost(gw, in);
        return false;
    case PORTAL_OUT_FATAL:
        gw->portal_joined = false;
        trace_portal(gw, EV_PORTAL_FATAL, in->u.fatal.reason, 0);
        request_exit(gw, in->u.fatal.exit_code, in->u.fatal.reason);
        return false;
    }
    UNREACHABLE();
}

static bool poll_portal(struct gateway *gw, struct gateway_output *out)
{
    struct portal_output in;
    while (portal_client_poll(&gw->portal, &in)) {
        if (handle_portal_output(gw, &in, out)) {
            return true;
        }
    }
    return false;
}

static bool poll_train(struct gateway *gw, struct gateway_output *out)
{
    if (gw->trains_next == gw->trains_count) {
        return false;
    }
    const struct gateway_train_record *record = &gw->trains[gw->trains_next++];
    out->kind = GATEWAY_OUT_TRAIN;
    out->u.train = record->train;
    if (record->segments == 1) {
        out->u.train.segment_size = 0;
    }
    return true;
}

static bool poll_tun(struct gateway *gw, struct gateway_output *out)
{
    if (gw->tun_next == gw->tun_count) {
        return false;
    }
    const struct gateway_tun_record *record = &gw->tun_out[gw->tun_next];
    for (uint32_t i = 0; i < record->slices; i++) {
        gw->tun_group.slices[i] = record[i].bytes;
    }
    gw->tun_next += record->slices;
    gw->tun_group.slices_count = record->slices;
    gw->tun_group.offload = record->offload;
    gw->counters.tun_out_packets += record->slices;
    gw->counters.tun_out_bytes += record->inner_bytes;
    out->kind = GATEWAY_OUT_TUN;
    out->u.tun = &gw->tun_group;
    return true;
}

static struct sock_addr listener_address(const struct gateway *gw, enum gateway_listener listener)
{
    switch (listener) {
    case GATEWAY_LISTENER_HEALTH:
        return gw->health;
    case GATEWAY_LISTENER_DNS_UDP4:
    case GATEWAY_LISTENER_DNS_TCP4:
        return sock_addr_of(gw->tun_config.ipv4, GATEWAY_DNS_PORT);
    case GATEWAY_LISTENER_DNS_UDP6:
    case GATEWAY_LISTENER_DNS_TCP6:
        return sock_addr_of(gw->tun_config.ipv6, GATEWAY_DNS_PORT);
    case GATEWAY_LISTENER_COUNT:
        break;
    }
    UNREACHABLE();
}

static bool poll_environment(struct gateway *gw, struct gateway_output *out)
{
    if (gw->tun_config_due) {
        gw->tun_config_due = false;
        struct trace_event event = {.event = EV_TUN_CONFIGURED,
                                    .at = gw->now,
                                    .remote = sock_addr_of(gw->tun_config.ipv4, 0)};
        trace_emit(&gw->trace, &event);
        out->kind = GATEWAY_OUT_TUN_CONFIGURE;
        out->u.tun_config = gw->tun_config;
        return true;
    }
    for (uint32_t i = 0; i < GATEWAY_LISTENER_COUNT; i++) {
        if ((gw->listens_due & 1U << i) != 0) {
            gw->listens_due &= ~(1U << i);
            out->kind = GATEWAY_OUT_LISTEN;
            out->u.listen.listener = (enum gateway_listener)i;
            out->u.listen.datagram =
                i == GATEWAY_LISTENER_DNS_UDP4 || i == GATEWAY_LISTENER_DNS_UDP6;
            out->u.listen.local = listener_address(gw, (enum gateway_listener)i);
            return true;
        }
    }
    return false;
}

static bool poll_exit(struct gateway *gw, struct gateway_output *out)
{
    if (!gw->exit_due && gw->has_left && portal_client_is_closed(&gw->portal) &&
        gw->relays_count == 0) {
        request_exit(gw, 0, "shut down");
    }
    if (!gw->exit_due || gw->exit_told) {
        return false;
    }
    gw->exit_told = true;
    out->kind = GATEWAY_OUT_EXIT;
    out->u.exit.code = gw->exit_code;
    out->u.exit.reason = view_text(gw->exit_reason);
    return true;
}

static bool poll_any(struct gateway *gw, struct gateway_output *out)
{
    /* Control traffic and keep-alives first, then data, then what may wait. */
    if (gateway_relay_poll(gw, out) || gateway_connection_poll(gw, out) || poll_train(gw, out) ||
        poll_tun(gw, out)) {
        return true;
    }
    if (poll_portal(gw, out)) {
        return true;
    }
    gateway_signal_flush(gw);
    /* The portal's messages and held candidates may have led to more of the above. */
    return poll_portal(gw, out) || gateway_relay_poll(gw, out) ||
           gateway_connection_poll(gw, out) || poll_train(gw, out) || poll_environment(gw, out) ||
           gateway_resolve_poll(gw, out) || gateway_dns_poll(&gw->dns, out) ||
           gateway_http_poll(&gw->http, out) || gateway_flow_poll(gw, out) || poll_exit(gw, out);
}

bool gateway_poll(struct gateway *gw, struct gateway_output *out)
{
    if (gw->is_drained || !poll_any(gw, out)) {
        gw->is_drained = true; /* until the next input: only those make outputs */
        return false;
    }
    if (out->kind == GATEWAY_OUT_TRAIN) {
        const struct gateway_train *train = &out->u.train;
        size_t step = train->segment_size == 0 ? train->bytes.len : train->segment_size;
        gw->counters.udp_out_datagrams += (train->bytes.len + step - 1) / step;
        gw->counters.udp_out_bytes += train->bytes.len;
    }
    return true;
}

const uint8_t *gateway_public_key(const struct gateway *gw)
{
    return gw->wg.own.public_key.bytes;
}

void gateway_check(const struct gateway *gw)
{
    uint32_t used = 0;
    uint32_t relays = 0;
    struct blocks_counts blocks = {{0}};
    policy_check(gw->policy);
    portal_client_check(&gw->portal);
    for (uint32_t i = 0; i < gw->limits.clients && used < gw->connections_count; i++) {
        const struct gateway_connection *c = &gw->connections[i];
        if (!c->used) {
            continue;
        }
        used++;
        gateway_connection_check(gw, c, &blocks);
    }
    blocks_check(&gw->ice_memory.blocks, &blocks);
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        relays += gw->relays[r].used ? 1 : 0;
    }
    ASSERT(used == gw->connections_count);
    ASSERT(relays == gw->relays_count);
    ASSERT(gw->connection_by_ufrag.count == gw->connections_count);
    ASSERT(gw->connection_by_key.count == gw->connections_count);
    ASSERT(gw->jobs_count <= GATEWAY_JOBS_MAX);
    ASSERT(gw->portal.held == (gw->control.sweep != GATEWAY_SWEEP_NONE));
    gateway_flow_check(gw);
}
