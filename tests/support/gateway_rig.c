#include "tests/support/gateway_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gateway/gateway_internal.h"

#define ROUNDS_MAX   20000U
#define TIMEOUTS_MAX 4096U
#define EXCHANGE     DURATION_MS(1)
#define PAGE_SIZE    4096U

/* ---- lists ---- */

struct rig_item *rig_list_add(struct rig_list *list, struct view bytes)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->items = realloc(list->items, list->capacity * sizeof(list->items[0]));
        ASSERT(list->items != NULL);
    }
    struct rig_item *item = &list->items[list->count++];
    memset(item, 0, sizeof(*item));
    /* Room in front, as a driver leaves it. */
    uint8_t *at = malloc(GATEWAY_TUN_HEADROOM + bytes.len + 1);
    ASSERT(at != NULL);
    item->at = at + GATEWAY_TUN_HEADROOM;
    item->len = bytes.len;
    if (bytes.len > 0) {
        memcpy(item->at, bytes.at, bytes.len);
    }
    item->at[bytes.len] = 0;
    return item;
}

void rig_list_clear(struct rig_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].at - GATEWAY_TUN_HEADROOM);
    }
    free(list->items);
    memset(list, 0, sizeof(*list));
}

/* ---- life ---- */

struct gateway_limits rig_limits(void)
{
    return (struct gateway_limits){
        .clients = 8,
        .relays = 4,
        .resources_per_client = 8,
        .nat_sessions = 256,
        .nat_sessions_per_client = 64,
        .nat_expired_per_client = 16,
        .lookups = 4,
        .dns_cache = 4,
        .flows = 4,
    };
}

static void take_event(void *sink, const struct trace_event *event)
{
    struct rig *rig = sink;
    ASSERT(event->event < EV_COUNT);
    rig->events_seen[event->event]++;
    rig->events_of[event->event][0] = event->id;
    rig->events_of[event->event][1] = event->id2;
}

/* As a platform maps it, lazily, and with pages behind it that nobody may touch. */
static void map_memory(struct rig *rig, size_t size)
{
    size_t used = (size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    rig->memory_size = used + PAGE_SIZE;
    rig->memory = mmap(NULL, rig->memory_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(rig->memory != MAP_FAILED);
    int failed = mprotect((uint8_t *)rig->memory + used, PAGE_SIZE, PROT_NONE);
    ASSERT(failed == 0);
    rig->area = (uint8_t *)rig->memory + (used - size) / 64 * 64;
}

struct rig *rig_new_with(const struct gateway_limits *limits, bool nat64_translate)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {7};
    struct rig *rig = calloc(1, sizeof(*rig));
    ASSERT(rig != NULL);
    rig->limits = *limits;
    map_memory(rig, gateway_size(limits));
    rig->now = (struct clock_pair){{1000 * NS_PER_S}, RIG_UNIX_S * NS_PER_S};
    rig->host = sock_addr_of(ip_v4(10, 2, 0, 2), 52625);
    rig->batch = 16;
    rig->stream_room = SIZE_MAX;
    rig->stream_remote = sock_addr_of(ip_v4(100, 64, 1, 1), 4000);
    rng_init(&rig->rng, seed);
    rng_init(&rig->portal.rng, seed);
    rig->portal.relays = 1;
    rig->portal.ipv4 = "100.70.1.2";
    rig->portal.ipv6 = "fd00:2021:1111::7:102";
    struct gateway_config config = {
        .api_url = view_text("ws://portal.example"),
        .token = view_text(".token"),
        .firezone_id = view_text("my-gateway"),
        .name = view_text("gw"),
        .user_agent = view_text("Debian/12.0.0 connlib/1.5.2 (x86_64; 6.1.0)"),
        .health = sock_addr_of(ip_v4(0, 0, 0, 0), 8080),
        .nat64_translate = nat64_translate,
        .refuse_own_addresses = true, /* none are told unless a test does */
    };
    struct trace trace = {take_event, rig};
    enum err err = gateway_init(rig->area, limits, &config, rig->now, seed, trace, &rig->gw);
    ASSERT(err == ERR_NONE);
    for (size_t i = 0; i < RIG_RELAYS; i++) {
        rig_relay_init(rig, i);
    }
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        rig_client_init(rig, i);
    }
    return rig;
}

struct rig *rig_new(void)
{
    struct gateway_limits limits = rig_limits();
    return rig_new_with(&limits, true);
}

void rig_free(struct rig *rig)
{
    while (rig->events != NULL) {
        struct rig_event *event = rig->events;
        rig->events = event->next;
        free((void *)(uintptr_t)event->stream.bytes.at);
        free(event);
    }
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        rig_list_clear(&rig->clients[i].packets);
        rig_list_clear(&rig->clients[i].datagrams);
    }
    ws_free(&rig->portal.ws);
    rig_list_clear(&rig->portal.texts);
    rig_list_clear(&rig->to_gateway);
    rig_list_clear(&rig->tun);
    rig_list_clear(&rig->strays);
    rig_list_clear(&rig->wire);
    rig_list_clear(&rig->datagrams);
    rig_list_clear(&rig->sent);
    gateway_deinit(rig->gw);
    (void)munmap(rig->memory, rig->memory_size);
    free(rig);
}

uint64_t rig_drops(const struct rig *rig, enum drop_reason reason)
{
    return gateway_counters(rig->gw)->drops[reason];
}

uint64_t rig_drops_all(const struct rig *rig)
{
    const struct gateway_counters *counters = gateway_counters(rig->gw);
    uint64_t sum = 0;
    for (int reason = DROP_NONE + 1; reason < DROP_COUNT; reason++) {
        sum += counters->drops[reason];
    }
    return sum - rig->drops_before;
}

/* ---- events under way ---- */

static struct rig_event *add_event(struct rig *rig)
{
    struct rig_event *event = calloc(1, sizeof(*event));
    struct rig_event **at = &rig->events;
    ASSERT(event != NULL);
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = event;
    return event;
}

static void add_stream_event(struct rig *rig, enum gateway_stream_kind kind, uint32_t stream,
                             struct view bytes)
{
    struct rig_event *event = add_event(rig);
    uint8_t *copy = malloc(bytes.len + 1);
    ASSERT(copy != NULL);
    if (bytes.len > 0) {
        memcpy(copy, bytes.at, bytes.len);
    }
    event->stream.kind = kind;
    event->stream.stream = stream;
    event->stream.bytes = (struct view){copy, bytes.len};
    event->stream.reason = kind == GATEWAY_STREAM_CLOSED ? ERR_CLOSED : ERR_NONE;
}

void rig_portal_answer(struct rig *rig, struct view bytes)
{
    add_stream_event(rig, GATEWAY_STREAM_BYTES, rig->portal.stream, bytes);
}

/* ---- outputs ---- */

static void route(struct rig *rig, const struct sock_addr *remote, struct view bytes, uint8_t ecn)
{
    struct sock_addr gateway = sock_addr_of(ip_v4(203, 0, 113, 40), 52625);
    for (size_t i = 0; i < RIG_RELAYS; i++) {
        if (sock_addr_equal(remote, &rig->relays[i].server)) {
            rig_relay_handle(rig, i, bytes);
            return;
        }
    }
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        struct rig_client *client = &rig->clients[i];
        if (sock_addr_equal(remote, &client->mapped) && client->is_direct) {
            rig_client_handle(rig, i, gateway, bytes);
            return;
        }
    }
    struct rig_item *item = rig_list_add(&rig->strays, bytes);
    item->remote = *remote;
    item->ecn = ecn;
}

static void take_train(struct rig *rig, const struct gateway_train *train)
{
    struct view bytes = train->bytes;
    size_t step = train->segment_size == 0 ? bytes.len : train->segment_size;
    size_t count = 0;
    ASSERT(bytes.len > 0 && bytes.len <= GATEWAY_TRAIN_BYTES);
    ASSERT(train->remote.ip.family != IP_NONE && train->remote.port != 0);
    if (rig->keeps_wire) {
        struct rig_item *item = rig_list_add(&rig->wire, bytes);
        item->local = train->local;
        item->remote = train->remote;
        item->segment_size = train->segment_size;
        item->ecn = train->ecn;
    }
    for (size_t at = 0; at < bytes.len; at += step) {
        size_t len = bytes.len - at < step ? bytes.len - at : step;
        route(rig, &train->remote, view_sub(bytes, at, len), train->ecn);
        count++;
    }
    ASSERT(count <= GATEWAY_TRAIN_SEGMENTS);
}

static void take_group(struct rig *rig, const struct gateway_tun_group *group)
{
    uint8_t bytes[GATEWAY_SUPERPACKET_MAX];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    ASSERT(group->slices_count > 0 && group->slices_count <= GATEWAY_TUN_SLICES_MAX);
    for (uint32_t i = 0; i < group->slices_count; i++) {
        writer_bytes(&w, group->slices[i]);
    }
    ASSERT(writer_finish(&w));
    rig_list_add(&rig->tun, writer_view(&w))->offload = group->offload;
}

static void take_lookup(struct rig *rig, const struct gateway_lookup *lookup)
{
    static const struct ip_addr portal = {IP_V4, {192, 0, 2, 10}};
    if (view_equal_text(lookup->name, "portal.example")) {
        struct rig_event *event = add_event(rig);
        bool is_v4 = lookup->type == GATEWAY_LOOKUP_A;
        event->is_lookup = true;
        event->answer.lookup = lookup->lookup;
        event->answer.addresses[0] = portal;
        event->answer.addresses_count = is_v4 ? 1 : 0;
        event->answer.ttl_s = 60;
        return;
    }
    struct rig_lookup *slot = &rig->lookups[rig->lookups_count++ % RIG_LOOKUPS_MAX];
    ASSERT(lookup->name.len < sizeof(slot->name));
    memset(slot, 0, sizeof(*slot));
    slot->is_open = true;
    slot->id = lookup->lookup;
    slot->type = lookup->type;
    memcpy(slot->name, lookup->name.at, lookup->name.len);
}

static void take_send(struct rig *rig, const struct gateway_stream_send *send)
{
    if (send->stream < GATEWAY_STREAM_ACCEPTED_BASE) {
        if (send->stream == rig->portal.stream) {
            rig_portal_bytes(rig, send->bytes);
        }
        gateway_stream_sent(rig->gw, send->stream, send->bytes.len);
        return;
    }
    size_t len = send->bytes.len < rig->stream_room ? send->bytes.len : rig->stream_room;
    rig_list_add(&rig->sent, view_sub(send->bytes, 0, len))->local.port =
        (uint16_t)(send->stream & 0xffffU);
    gateway_stream_sent(rig->gw, send->stream, len);
}

static void take_open(struct rig *rig, const struct gateway_stream_open *open)
{
    rig->portal.opens++;
    add_stream_event(rig, rig->portal.is_absent ? GATEWAY_STREAM_CLOSED : GATEWAY_STREAM_OPENED,
                     open->stream, VIEW_EMPTY);
    if (!rig->portal.is_absent) {
        rig_portal_opened(rig, open->stream);
    }
}

static void take_close(struct rig *rig, uint32_t stream)
{
    if (stream == rig->portal.stream) {
        rig->portal.stream = 0;
    } else if (stream >= GATEWAY_STREAM_ACCEPTED_BASE) {
        struct rig_item *item = rig_list_add(&rig->sent, VIEW_EMPTY);
        item->local.port = (uint16_t)(stream & 0xffffU);
        item->ecn = 1;
    }
}

static void take_flow(struct rig *rig, const struct gateway_flow *flow)
{
    if (rig->flows_count == RIG_FLOWS_MAX) {
        rig->flows_count--;
        memmove(rig->flows, rig->flows + 1, rig->flows_count * sizeof(rig->flows[0]));
        memmove(rig->flow_domains, rig->flow_domains + 1,
                rig->flows_count * sizeof(rig->flow_domains[0]));
    }
    char *domain = rig->flow_domains[rig->flows_count];
    size_t len = flow->domain.len < sizeof(rig->flow_domains[0]) - 1
                     ? flow->domain.len
                     : sizeof(rig->flow_domains[0]) - 1;
    memset(domain, 0, sizeof(rig->flow_domains[0]));
    if (len > 0) {
        memcpy(domain, flow->domain.at, len);
    }
    rig->flows[rig->flows_count] = *flow;
    rig->flows[rig->flows_count++].domain = VIEW_EMPTY;
}

static void carry_out(struct rig *rig, const struct gateway_output *out)
{
    switch (out->kind) {
    case GATEWAY_OUT_TRAIN:
        take_train(rig, &out->u.train);
        break;
    case GATEWAY_OUT_TUN:
        take_group(rig, out->u.tun);
        break;
    case GATEWAY_OUT_TUN_CONFIGURE:
        rig->tun_config = out->u.tun_config;
        rig->tun_configs++;
        gateway_set_tun_up(rig->gw, !rig->tun_fails);
        break;
    case GATEWAY_OUT_STREAM_OPEN:
        take_open(rig, &out->u.open);
        break;
    case GATEWAY_OUT_STREAM_SEND:
        take_send(rig, &out->u.send);
        break;
    case GATEWAY_OUT_STREAM_CLOSE:
        take_close(rig, out->u.close);
        break;
    case GATEWAY_OUT_LISTEN:
        ASSERT(out->u.listen.listener < GATEWAY_LISTENER_COUNT);
        ASSERT(out->u.listen.datagram == (out->u.listen.listener == GATEWAY_LISTENER_DNS_UDP4 ||
                                          out->u.listen.listener == GATEWAY_LISTENER_DNS_UDP6));
        rig->listeners[out->u.listen.listener] = out->u.listen.local;
        rig->listens++;
        break;
    case GATEWAY_OUT_LISTENER_SEND: {
        struct rig_item *item = rig_list_add(&rig->datagrams, out->u.datagram.bytes);
        item->remote = out->u.datagram.remote;
        item->ecn = (uint8_t)out->u.datagram.listener;
        break;
    }
    case GATEWAY_OUT_LOOKUP:
        take_lookup(rig, &out->u.lookup);
        break;
    case GATEWAY_OUT_FLOW:
        take_flow(rig, out->u.flow);
        break;
    case GATEWAY_OUT_EXIT:
        ASSERT(!rig->exited);
        rig->exited = true;
        rig->exit_code = out->u.exit.code;
        break;
    }
}

static void check(const struct rig *rig)
{
    if (!rig->skips_check) {
        gateway_check(rig->gw);
    }
}

/* True when there was anything. */
static bool carry_out_all(struct rig *rig)
{
    struct gateway_output out;
    size_t rounds = 0;
    while (gateway_poll(rig->gw, &out)) {
        carry_out(rig, &out);
        ASSERT(++rounds < ROUNDS_MAX); /* outputs come to an end */
    }
    return rounds > 0;
}

/* Behind an input. */
static void drain(struct rig *rig)
{
    (void)carry_out_all(rig);
    check(rig);
}

/* ---- exchange ---- */

static void feed_udp(struct rig *rig)
{
    struct gateway_datagram batch[64];
    size_t count = rig->to_gateway.count;
    count = count < rig->batch ? count : rig->batch;
    ASSERT(rig->batch <= 64);
    for (size_t i = 0; i < count; i++) {
        struct rig_item *item = &rig->to_gateway.items[i];
        batch[i] = (struct gateway_datagram){.bytes = {item->at, item->len},
                                             .segment_size = item->segment_size,
                                             .local = item->local,
                                             .remote = item->remote,
                                             .ecn = item->ecn};
    }
    if (!rig->stops_time) {
        rig->now.boot = instant_add(rig->now.boot, EXCHANGE);
        rig->now.unix_ns += EXCHANGE.ns;
    }
    /* The bytes belong to the gateway until the next receive: outputs point into them. */
    struct rig_item taken[64];
    struct rig_list *all = &rig->to_gateway;
    memcpy(taken, all->items, count * sizeof(taken[0]));
    all->count -= count;
    memmove(all->items, all->items + count, all->count * sizeof(all->items[0]));
    gateway_handle_udp(rig->gw, rig->now, batch, count);
    drain(rig);
    for (size_t i = 0; i < count; i++) {
        free(taken[i].at - GATEWAY_TUN_HEADROOM);
    }
}

static void feed_event(struct rig *rig)
{
    struct rig_event *event = rig->events;
    rig->events = event->next;
    if (event->is_lookup) {
        gateway_handle_lookup(rig->gw, rig->now, &event->answer);
    } else {
        gateway_handle_stream(rig->gw, rig->now, &event->stream);
        free((void *)(uintptr_t)event->stream.bytes.at);
    }
    free(event);
    drain(rig);
}

/* Hands what the portal's end wants to send to the gateway. */
static bool feed_portal(struct rig *rig)
{
    uint8_t bytes[8192];
    struct rig_portal *p = &rig->portal;
    if (p->stream == 0 || !ws_is_live(&p->ws) || !ws_wants_drain(&p->ws)) {
        return false;
    }
    size_t len = ws_drain(&p->ws, (struct span){bytes, sizeof(bytes)});
    add_stream_event(rig, GATEWAY_STREAM_BYTES, p->stream, (struct view){bytes, len});
    return len > 0;
}

void rig_settle(struct rig *rig)
{
    if (carry_out_all(rig)) {
        check(rig); /* every input has been followed by one */
    }
    for (size_t rounds = 0;; rounds++) {
        ASSERT(rounds < ROUNDS_MAX);
        for (size_t i = 0; i < RIG_CLIENTS; i++) {
            rig_client_poll(rig, i);
        }
        if (rig->events != NULL) {
            feed_event(rig);
        } else if (rig->to_gateway.count > 0) {
            feed_udp(rig);
        } else if (!feed_portal(rig)) {
            return;
        }
    }
}

static struct instant next_wake(const struct rig *rig)
{
    struct instant at = gateway_poll_timeout(rig->gw).at;
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        at = instant_min(at, rig_client_wake(rig, i));
    }
    return at;
}

static void run_due(struct rig *rig)
{
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        if (instant_reached(rig->now.boot, rig_client_wake(rig, i))) {
            rig_client_timeout(rig, i);
        }
    }
    for (size_t rounds = 0;
         instant_reached(rig->now.boot, gateway_poll_timeout(rig->gw).at) && !rig->exited;
         rounds++) {
        ASSERT(rounds < TIMEOUTS_MAX); /* timers make progress */
        gateway_handle_timeout(rig->gw, rig->now);
        drain(rig);
    }
    rig_settle(rig);
}

void rig_pass(struct rig *rig, struct duration d)
{
    struct instant end = instant_add(rig->now.boot, d);
    rig_settle(rig);
    run_due(rig);
    while (instant_before(rig->now.boot, end) && !rig->exited) {
        struct instant at = instant_min(instant_max(next_wake(rig), rig->now.boot), end);
        rig->now.unix_ns += at.ns - rig->now.boot.ns;
        rig->now.boot = at;
        run_due(rig);
    }
}

void rig_join(struct rig *rig)
{
    rig_settle(rig);
    ASSERT(rig->portal.joins > 0);
    ASSERT(rig->tun_configs > 0);
}

/* ---- inputs ---- */

void rig_udp(struct rig *rig, struct sock_addr local, struct sock_addr remote, struct view bytes)
{
    struct rig_item *item = rig_list_add(&rig->to_gateway, bytes);
    item->local = local;
    item->remote = remote;
}

void rig_stranger(struct rig *rig, struct view bytes)
{
    rig_udp(rig, sock_addr_of(ip_v4(10, 2, 0, 2), 52625), sock_addr_of(ip_v4(192, 0, 2, 66), 4242),
            bytes);
    rig_settle(rig);
}

void rig_tun_offload(struct rig *rig, struct view packet, struct gateway_offload offload)
{
    struct rig_list room = {0};
    struct rig_item *item = rig_list_add(&room, packet);
    struct gateway_tun_packet in = {{item->at, item->len}, offload};
    gateway_handle_tun(rig->gw, rig->now, &in, 1);
    drain(rig);
    rig_list_clear(&room);
    rig_settle(rig);
}

void rig_tun(struct rig *rig, struct view packet)
{
    rig_tun_offload(rig, packet, (struct gateway_offload){GATEWAY_GSO_NONE, 0, false});
}

void rig_end(struct rig *rig, enum gateway_end why)
{
    gateway_handle_shutdown(rig->gw, rig->now, why);
    rig_settle(rig);
}

void rig_shutdown(struct rig *rig)
{
    rig_end(rig, GATEWAY_END_ASKED);
}

size_t rig_lookup(const struct rig *rig, enum gateway_lookup_type type, const char *name)
{
    size_t count = rig->lookups_count < RIG_LOOKUPS_MAX ? rig->lookups_count : RIG_LOOKUPS_MAX;
    for (size_t i = count; i > 0; i--) {
        const struct rig_lookup *lookup = &rig->lookups[i - 1];
        if (lookup->is_open && lookup->type == type && strcmp(lookup->name, name) == 0) {
            return i - 1;
        }
    }
    return RIG_LOOKUPS_MAX;
}

static void answer(struct rig *rig, size_t lookup, struct gateway_lookup_answer *in)
{
    ASSERT(lookup < RIG_LOOKUPS_MAX);
    rig->lookups[lookup].is_open = false;
    in->lookup = rig->lookups[lookup].id;
    gateway_handle_lookup(rig->gw, rig->now, in);
    drain(rig);
    rig_settle(rig);
}

void rig_answer(struct rig *rig, size_t lookup, enum err result, const struct ip_addr *addresses,
                size_t count, uint32_t ttl_s)
{
    struct gateway_lookup_answer in = {.result = result, .ttl_s = ttl_s};
    ASSERT(count <= GATEWAY_LOOKUP_ADDRESSES_MAX);
    for (size_t i = 0; i < count; i++) {
        in.addresses[i] = addresses[i];
    }
    in.addresses_count = (uint32_t)count;
    answer(rig, lookup, &in);
}

void rig_answer_records(struct rig *rig, size_t lookup, enum err result, struct view records)
{
    struct gateway_lookup_answer in = {.result = result, .records = records};
    answer(rig, lookup, &in);
}

static void stream_event(struct rig *rig, struct gateway_stream_event event)
{
    event.remote = rig->stream_remote;
    gateway_handle_stream(rig->gw, rig->now, &event);
    drain(rig);
    rig_settle(rig);
}

void rig_accept(struct rig *rig, uint32_t stream, enum gateway_listener listener)
{
    stream_event(rig, (struct gateway_stream_event){.kind = GATEWAY_STREAM_ACCEPTED,
                                                    .stream = GATEWAY_STREAM_ACCEPTED_BASE + stream,
                                                    .listener = listener});
}

void rig_stream_bytes(struct rig *rig, uint32_t stream, struct view bytes)
{
    stream_event(rig, (struct gateway_stream_event){.kind = GATEWAY_STREAM_BYTES,
                                                    .stream = GATEWAY_STREAM_ACCEPTED_BASE + stream,
                                                    .bytes = bytes});
}

void rig_stream_closed(struct rig *rig, uint32_t stream)
{
    stream_event(rig, (struct gateway_stream_event){.kind = GATEWAY_STREAM_CLOSED,
                                                    .stream = GATEWAY_STREAM_ACCEPTED_BASE + stream,
                                                    .reason = ERR_CLOSED});
}

void rig_stream_ended(struct rig *rig, uint32_t stream)
{
    stream_event(rig,
                 (struct gateway_stream_event){.kind = GATEWAY_STREAM_ENDED,
                                               .stream = GATEWAY_STREAM_ACCEPTED_BASE + stream});
}

void rig_stream_writable(struct rig *rig, uint32_t stream)
{
    stream_event(rig,
                 (struct gateway_stream_event){.kind = GATEWAY_STREAM_WRITABLE,
                                               .stream = GATEWAY_STREAM_ACCEPTED_BASE + stream});
}

void rig_listener(struct rig *rig, enum gateway_listener listener, struct sock_addr remote,
                  struct view bytes)
{
    struct gateway_listener_datagram in = {listener, remote, bytes};
    gateway_handle_listener(rig->gw, rig->now, &in);
    drain(rig);
    rig_settle(rig);
}
