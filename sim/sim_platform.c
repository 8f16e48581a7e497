#include "sim/sim_platform.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim_offload.h"
#include "sim/sim_options.h"
#include "sim/sim_packet.h"
#include "sim/sim_wire.h"

#define OFFLOAD_DRAW    0x40000000U /* apart from the boots of the same stream */
#define CHATTER         300U        /* copies of SIM_SABOTAGE_CHATTER */
#define KEEPALIVE_SIZE  32U         /* data of the tunnel without a packet, spec/wireguard.md */
#define CHANNEL_HEADER  4U
#define UDP_QUEUE_MAX   4096U /* datagrams waiting; more are lost as in a full socket buffer */
#define TUN_QUEUE_MAX   1000U /* txqueuelen */
#define UDP_SLOTS       64U
#define TUN_SLOTS       64U
#define UDP_SLOT_SIZE   (GATEWAY_UDP_HEADROOM + 16384U)
#define TUN_SUPER_MAX   (16U * SIM_PACKET_MAX)
#define TUN_SLOT_SIZE   (GATEWAY_TUN_HEADROOM + TUN_SUPER_MAX)
#define TRAIN_BYTES_MAX 16384U
#define NAME_SIZE_MAX   256U

struct queued {
    struct sock_addr local;
    struct sock_addr remote;
    uint8_t ecn;
    uint8_t *bytes;
    size_t len;
};

/* A first-in, first-out array. */
struct queue {
    struct queued *items;
    size_t head;
    size_t count;
    size_t capacity;
};

struct event {
    struct platform_event event;
    uint8_t *bytes; /* owned */
    struct gateway_lookup_answer *answer;
};

/* A lookup that the resolver works on. */
struct pending {
    bool used;
    uint32_t boot;
    struct gateway_lookup lookup;
    char name[NAME_SIZE_MAX];
};

struct sim_platform {
    struct sim_platform_config config;
    struct platform table;
    struct sim_platform_faults faults;
    struct sim_platform_counts counts;
    uint32_t boot;
    struct sim_dice entropy;
    struct sim_dice chance;
    struct queue udp;
    struct queue tun;
    struct event *events;
    size_t events_head;
    size_t events_count;
    size_t events_capacity;
    struct event taken; /* lives until the next event */
    struct pending *pending;
    size_t pending_count;
    uint64_t udp_blocked_until_ns;
    uint64_t tun_blocked_until_ns;
    uint64_t flows_open; /* told to begin and not yet to end */
    struct gateway_tun_config tun_config;
    struct gateway_listen listeners[GATEWAY_LISTENER_COUNT];
    bool listening[GATEWAY_LISTENER_COUNT];
    uint8_t *udp_slots;
    uint8_t *tun_slots;
    uint8_t *super;
};

/* ---- queues ---- */

static bool queue_push(struct queue *queue, const struct queued *like, struct view bytes,
                       size_t max)
{
    if (queue->count - queue->head >= max) {
        return false;
    }
    if (queue->count == queue->capacity) {
        size_t live = queue->count - queue->head;
        if (live > 0) {
            memmove(queue->items, queue->items + queue->head, live * sizeof(queue->items[0]));
        }
        queue->head = 0;
        queue->count = live;
        if (live * 2 >= queue->capacity) {
            queue->capacity = queue->capacity == 0 ? 64 : queue->capacity * 2;
            queue->items = realloc(queue->items, queue->capacity * sizeof(queue->items[0]));
            ASSERT(queue->items != NULL);
        }
    }
    struct queued *item = &queue->items[queue->count++];
    *item = *like;
    item->bytes = malloc(bytes.len == 0 ? 1 : bytes.len);
    ASSERT(item->bytes != NULL);
    item->len = bytes.len;
    if (bytes.len > 0) {
        memcpy(item->bytes, bytes.at, bytes.len);
    }
    return true;
}

static struct queued *queue_first(const struct queue *queue)
{
    return queue->head == queue->count ? NULL : &queue->items[queue->head];
}

static void queue_drop_first(struct queue *queue)
{
    free(queue->items[queue->head].bytes);
    queue->head++;
}

static void queue_clear(struct queue *queue)
{
    while (queue_first(queue) != NULL) {
        queue_drop_first(queue);
    }
    queue->head = 0;
    queue->count = 0;
}

static void event_free(struct event *event)
{
    free(event->bytes);
    free(event->answer);
    *event = (struct event){0};
}

static void events_clear(struct sim_platform *p)
{
    for (size_t i = p->events_head; i < p->events_count; i++) {
        event_free(&p->events[i]);
    }
    event_free(&p->taken);
    p->events_head = 0;
    p->events_count = 0;
}

static struct event *events_push(struct sim_platform *p)
{
    if (p->events_head == p->events_count) {
        p->events_head = 0;
        p->events_count = 0;
    }
    if (p->events_count == p->events_capacity) {
        p->events_capacity = p->events_capacity == 0 ? 32 : p->events_capacity * 2;
        p->events = realloc(p->events, p->events_capacity * sizeof(p->events[0]));
        ASSERT(p->events != NULL);
    }
    struct event *event = &p->events[p->events_count++];
    *event = (struct event){0};
    return event;
}

static struct view keep_bytes(struct event *event, struct view bytes)
{
    if (bytes.len == 0) {
        return VIEW_EMPTY;
    }
    event->bytes = malloc(bytes.len);
    ASSERT(event->bytes != NULL);
    memcpy(event->bytes, bytes.at, bytes.len);
    return (struct view){event->bytes, bytes.len};
}

static void poke(struct sim_platform *p)
{
    p->config.world.poke(p->config.world.poke_self);
}

static uint16_t node_of(const struct sim_platform *p)
{
    return (uint16_t)p->config.node;
}

/* ---- the table: clocks and entropy ---- */

struct clock_pair sim_platform_now(const struct sim_platform *platform)
{
    return sim_clock_at(&platform->config.clock, platform->config.sched->now_ns);
}

static struct clock_pair table_now(void *self)
{
    return sim_platform_now(self);
}

static void table_entropy(void *self, uint8_t out[32])
{
    struct sim_platform *p = self;
    sim_dice_bytes(&p->entropy, out, 32);
}

/* ---- the table: UDP ---- */

/* Transport data of a tunnel, direct or over a relay's channel. */
static bool is_data(const struct queued *item)
{
    bool channel = item->len > 4 && item->bytes[0] >= 0x40 && item->bytes[0] <= 0x4f;
    return item->len > 4 && item->bytes[channel ? 4 : 0] == 4;
}

static bool may_group(const struct sim_platform *p)
{
    for (size_t i = p->udp.head; p->faults.group_data_only && i < p->udp.count; i++) {
        if (!is_data(&p->udp.items[i])) {
            return false;
        }
    }
    return true;
}

static bool joins_train(const struct gateway_datagram *train, const struct queued *next,
                        size_t segments, const struct sim_platform *p)
{
    size_t first = train->segment_size == 0 ? train->bytes.len : train->segment_size;
    return segments < p->faults.train_max && next->len > 0 && next->len <= first &&
           train->bytes.len % first == 0 && train->ecn == next->ecn &&
           train->bytes.len + next->len <= TRAIN_BYTES_MAX &&
           sock_addr_equal(&train->local, &next->local) &&
           sock_addr_equal(&train->remote, &next->remote);
}

static void take_train(struct sim_platform *p, uint8_t *slot, bool may_join,
                       struct gateway_datagram *out)
{
    const struct queued *first = queue_first(&p->udp);
    *out = (struct gateway_datagram){
        .bytes = {slot + GATEWAY_UDP_HEADROOM, first->len},
        .local = first->local,
        .remote = first->remote,
        .ecn = first->ecn,
    };
    memcpy(out->bytes.at, first->bytes, first->len);
    queue_drop_first(&p->udp);
    p->counts.udp_in++;
    size_t segments = 1;
    for (;;) {
        const struct queued *next = queue_first(&p->udp);
        if (!may_join || next == NULL || out->bytes.len == 0 ||
            !joins_train(out, next, segments, p)) {
            return;
        }
        if (segments == 1) {
            out->segment_size = (uint16_t)out->bytes.len;
        }
        memcpy(out->bytes.at + out->bytes.len, next->bytes, next->len);
        out->bytes.len += next->len;
        queue_drop_first(&p->udp);
        p->counts.udp_in++;
        p->counts.udp_in_joined++;
        segments++;
    }
}

static size_t batch_of(const struct sim_platform *p, size_t max, size_t slots)
{
    size_t most = max < slots ? max : slots;
    return p->faults.batch_max != 0 && p->faults.batch_max < most ? p->faults.batch_max : most;
}

/* What is gone for good is told once; whoever asks again would do so for ever. */
static enum err tell_lost(struct sim_platform *p, bool *lost)
{
    if (*lost) {
        p->config.world.bad_output(p->config.world.self, p->config.gateway,
                                   "what is gone is asked again");
    }
    *lost = true;
    return ERR_CLOSED;
}

static enum err table_udp_receive(void *self, struct gateway_datagram *out, size_t max,
                                  size_t *count)
{
    struct sim_platform *p = self;
    bool may = may_group(p);
    size_t most = may ? batch_of(p, max, UDP_SLOTS) : max;
    ASSERT(most <= UDP_SLOTS);
    *count = 0;
    if (p->faults.udp_gone || p->counts.udp_lost) {
        return tell_lost(p, &p->counts.udp_lost);
    }
    while (*count < most && queue_first(&p->udp) != NULL) {
        take_train(p, p->udp_slots + *count * UDP_SLOT_SIZE, may, &out[*count]);
        (*count)++;
    }
    return *count == 0 ? ERR_WOULD_BLOCK : ERR_NONE;
}

/* A message of a tunnel, itself or through a channel of a relay. */
static bool is_message(struct view bytes, uint8_t type, size_t size)
{
    size_t at = bytes.len == size + CHANNEL_HEADER ? CHANNEL_HEADER : 0;
    return bytes.len == size + at && bytes.at[at] == type;
}

static bool is_keepalive(struct view bytes)
{
    return is_message(bytes, WIRE_DATA, KEEPALIVE_SIZE);
}

static bool is_initiation(struct view bytes)
{
    return is_message(bytes, WIRE_INITIATION, WIRE_INITIATION_SIZE);
}

static void note_refused(struct sim_platform *p, const struct gateway_train *train,
                         struct view bytes)
{
    struct sock_addr ends[2] = {{train->local.ip, SIM_GATEWAY_UDP_PORT}, train->remote};
    if (ends[0].ip.family == IP_NONE) { /* the host would have chosen */
        ends[0].ip = (struct ip_addr){.family = train->remote.ip.family};
    }
    sim_trace_datagram(p->config.trace, node_of(p), SIM_KIND_DROPPED, ends, bytes,
                       SIM_CAUSE_REFUSED);
}

static enum err table_udp_send(void *self, const struct gateway_train *train)
{
    struct sim_platform *p = self;
    uint64_t now = p->config.sched->now_ns;
    if (p->counts.udp_lost) {
        return tell_lost(p, &p->counts.udp_lost);
    }
    if (!p->faults.udp_gone && now < p->udp_blocked_until_ns) {
        return ERR_WOULD_BLOCK;
    }
    if (!p->faults.udp_gone && sim_dice_chance(&p->chance, p->faults.udp_block_ppm)) {
        p->udp_blocked_until_ns = now + p->faults.udp_block.ns;
        return ERR_WOULD_BLOCK;
    }
    if (train->bytes.len == 0 || train->remote.port == 0) {
        p->config.world.bad_output(p->config.world.self, p->config.gateway,
                                   "empty datagram or port 0");
        return ERR_ARGUMENT;
    }
    size_t size = train->segment_size == 0 ? train->bytes.len : train->segment_size;
    p->counts.udp_out += (train->bytes.len + size - 1) / size;
    p->counts.udp_out_joined += (train->bytes.len + size - 1) / size - 1;
    if (p->faults.udp_gone || sim_dice_chance(&p->chance, p->faults.udp_error_ppm)) {
        note_refused(p, train, view_sub(train->bytes, 0, size));
        return p->faults.udp_gone ? ERR_UNREACHABLE : p->faults.udp_error;
    }
    struct sim_datagram datagram = {
        .local = {train->local.ip, SIM_GATEWAY_UDP_PORT},
        .remote = train->remote,
        .ecn = train->ecn,
    };
    if (p->faults.icmp_ppm != 0 && sim_dice_chance(&p->chance, p->faults.icmp_ppm)) {
        struct event *event = events_push(p);
        event->event.kind = PLATFORM_UNREACHABLE;
        event->event.unreachable = train->remote;
        poke(p);
    }
    if ((p->faults.sabotage == SIM_SABOTAGE_MUTE && is_keepalive(train->bytes)) ||
        (p->faults.sabotage == SIM_SABOTAGE_SHY && is_initiation(train->bytes))) {
        return ERR_NONE;
    }
    bool chatter = p->faults.sabotage == SIM_SABOTAGE_CHATTER && train->bytes.at[0] == 0;
    for (unsigned i = 1; chatter && i < CHATTER; i++) {
        datagram.bytes = train->bytes;
        (void)sim_net_send(p->config.net, p->config.node, &datagram);
    }
    for (size_t at = 0; at < train->bytes.len; at += size) {
        size_t len = train->bytes.len - at < size ? train->bytes.len - at : size;
        datagram.bytes = view_sub(train->bytes, at, len);
        enum err err = sim_net_send(p->config.net, p->config.node, &datagram);
        if (err != ERR_NONE) {
            note_refused(p, train, datagram.bytes);
            return err;
        }
    }
    return ERR_NONE;
}

/* ---- the table: TUN ---- */

static enum err table_tun_configure(void *self, const struct gateway_tun_config *config)
{
    struct sim_platform *p = self;
    p->tun_config = *config;
    p->config.world.tun_configured(p->config.world.self, p->config.gateway, config);
    return ERR_NONE;
}

/* One packet, or the segments of a TCP flow that follow each other. */
static void take_super(struct sim_platform *p, uint8_t *slot, struct gateway_tun_packet *out)
{
    const struct queued *next = queue_first(&p->tun);
    *out = (struct gateway_tun_packet){.bytes = {slot, next->len}};
    memcpy(slot, next->bytes, next->len);
    queue_drop_first(&p->tun);
    p->counts.tun_in++;
    for (uint32_t segments = 1; segments < p->faults.tun_train_max; segments++) {
        next = queue_first(&p->tun);
        if (next == NULL || !sim_offload_join(slot, TUN_SUPER_MAX, &out->bytes.len, &out->offload,
                                              (struct view){next->bytes, next->len})) {
            return;
        }
        queue_drop_first(&p->tun);
        p->counts.tun_joined++;
    }
}

static enum err table_tun_read(void *self, struct gateway_tun_packet *out, size_t max,
                               size_t *count)
{
    struct sim_platform *p = self;
    size_t most = batch_of(p, max, TUN_SLOTS);
    *count = 0;
    if (p->faults.tun_gone || p->counts.tun_lost) {
        return tell_lost(p, &p->counts.tun_lost);
    }
    while (*count < most && queue_first(&p->tun) != NULL) {
        take_super(p, p->tun_slots + *count * TUN_SLOT_SIZE + GATEWAY_TUN_HEADROOM, &out[*count]);
        (*count)++;
    }
    return *count == 0 ? ERR_WOULD_BLOCK : ERR_NONE;
}

/* A packet for an address of the gateway itself goes to the kernel's own sockets. */
static bool is_for_listener(struct sim_platform *p, struct view packet)
{
    struct sim_packet read;
    if (sim_packet_read(packet, &read) != NULL || read.protocol != SIM_PROTO_UDP) {
        return false;
    }
    for (unsigned i = 0; i < GATEWAY_LISTENER_COUNT; i++) {
        const struct gateway_listen *listen = &p->listeners[i];
        if (!p->listening[i] || !listen->datagram ||
            !ip_equal(&listen->local.ip, &read.destination) ||
            listen->local.port != read.destination_port) {
            continue;
        }
        struct event *event = events_push(p);
        event->event.kind = PLATFORM_LISTENER;
        event->event.listener.listener = (enum gateway_listener)i;
        event->event.listener.remote = sock_addr_of(read.source, read.source_port);
        event->event.listener.bytes = keep_bytes(event, read.payload);
        poke(p);
        return true;
    }
    return false;
}

static void emit_tun(void *self, struct view packet)
{
    struct sim_platform *p = self;
    p->counts.tun_out++;
    sim_trace_bytes(p->config.trace, node_of(p), SIM_KIND_TUN_OUT, 0, packet);
    if (!is_for_listener(p, packet)) {
        p->config.world.tun_packet(p->config.world.self, p->config.gateway, packet);
    }
}

static enum err table_tun_write(void *self, const struct gateway_tun_group *group)
{
    struct sim_platform *p = self;
    uint64_t now = p->config.sched->now_ns;
    if (p->counts.tun_lost) {
        return tell_lost(p, &p->counts.tun_lost);
    }
    if (p->faults.tun_gone) { /* it finds out when it reads */
        p->counts.tun_out += group->slices_count;
        return ERR_IO;
    }
    if (now < p->tun_blocked_until_ns) {
        return ERR_WOULD_BLOCK;
    }
    if (sim_dice_chance(&p->chance, p->faults.tun_block_ppm)) {
        p->tun_blocked_until_ns = now + p->faults.tun_block.ns;
        return ERR_WOULD_BLOCK;
    }
    if (sim_dice_chance(&p->chance, p->faults.tun_error_ppm)) {
        return ERR_IO;
    }
    size_t len = 0;
    for (uint32_t i = 0; i < group->slices_count; i++) {
        ASSERT(len + group->slices[i].len <= GATEWAY_SUPERPACKET_MAX);
        memcpy(p->super + len, group->slices[i].at, group->slices[i].len);
        len += group->slices[i].len;
    }
    uint64_t before = p->counts.tun_out;
    const char *wrong = sim_offload_cut((struct span){p->super, len}, &group->offload, emit_tun, p);
    p->counts.tun_out_cut += p->counts.tun_out > before ? p->counts.tun_out - before - 1 : 0;
    if (wrong != NULL) {
        p->config.world.bad_output(p->config.world.self, p->config.gateway, wrong);
        return ERR_IO;
    }
    return ERR_NONE;
}

/* Every process finds a TUN device of its own abilities: both kinds, one, or none. */
static uint32_t table_tun_offload(void *self)
{
    const struct sim_platform *p = self;
    if (p->faults.tun_offload != 0) {
        return (p->faults.tun_offload - 1) & (PLATFORM_TUN_TCP | PLATFORM_TUN_UDP);
    }
    uint64_t stream = sim_stream_of(SIM_FAMILY_PLATFORM, p->config.gateway, OFFLOAD_DRAW + p->boot);
    return (uint32_t)sim_draw(p->config.rng, stream, 0) & (PLATFORM_TUN_TCP | PLATFORM_TUN_UDP);
}

static size_t table_own_addresses(void *self, struct ip_addr *out, size_t max)
{
    const struct sim_platform *p = self;
    const struct sim_host_addresses *host = sim_net_addresses(p->config.net, p->config.node);
    const struct ip_addr found[] = {host->ipv4, host->ipv6, p->tun_config.ipv4, p->tun_config.ipv6};
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(found) && count < max; i++) {
        if (found[i].family != IP_NONE) {
            out[count++] = found[i];
        }
    }
    return count;
}

/* What is wrong with a flow record; NULL: nothing. */
static const char *judge_flow(const struct sim_platform *p, const struct gateway_flow *flow)
{
    if (flow->protocol != SIM_PROTO_TCP && flow->protocol != SIM_PROTO_UDP) {
        return "a flow record of another protocol";
    }
    if (flow->source.ip.family == IP_NONE || flow->destination.ip.family == IP_NONE ||
        flow->source.port == 0) {
        return "a flow record without its ends";
    }
    if (!flow->ended) {
        return NULL;
    }
    if (p->flows_open == 0) {
        return "a flow ended that never began";
    }
    if (flow->tx_packets == 0 || flow->end_unix_ns == 0 || flow->start_unix_ns == 0) {
        return "a flow record that counts nothing";
    }
    return NULL;
}

static void table_flow(void *self, const struct gateway_flow *flow)
{
    struct sim_platform *p = self;
    const char *wrong = judge_flow(p, flow);
    if (wrong != NULL) {
        p->config.world.bad_output(p->config.world.self, p->config.gateway, wrong);
    }
    p->flows_open += flow->ended ? 0 : 1;
    p->flows_open -= flow->ended && p->flows_open > 0 ? 1 : 0;
    sim_trace_text(p->config.trace, node_of(p), SIM_KIND_FLOW, "%s %u: %llu and %llu packets",
                   flow->ended ? "end" : "start", flow->protocol,
                   (unsigned long long)flow->tx_packets, (unsigned long long)flow->rx_packets);
}

/* ---- the table: streams, listeners, lookups ---- */

static void table_stream_open(void *self, const struct gateway_stream_open *open)
{
    struct sim_platform *p = self;
    sim_trace_text(p->config.trace, node_of(p), SIM_KIND_STREAM_SENT, "open %u", open->stream);
    sim_stream_connect(p->config.streams, p->config.node, open->stream, &open->remote);
}

static enum err table_stream_send(void *self, uint32_t stream, struct view bytes, size_t *taken)
{
    struct sim_platform *p = self;
    return sim_stream_send(p->config.streams, p->config.node, stream, bytes, taken);
}

static void table_stream_close(void *self, uint32_t stream)
{
    struct sim_platform *p = self;
    sim_stream_close(p->config.streams, p->config.node, stream);
}

static enum err table_listen(void *self, const struct gateway_listen *listen)
{
    struct sim_platform *p = self;
    ASSERT(listen->listener < GATEWAY_LISTENER_COUNT);
    p->listeners[listen->listener] = *listen;
    p->listening[listen->listener] = true;
    return ERR_NONE;
}

static enum err table_listener_send(void *self, const struct gateway_listener_datagram *datagram)
{
    struct sim_platform *p = self;
    ASSERT(datagram->listener < GATEWAY_LISTENER_COUNT && p->listening[datagram->listener]);
    const struct sock_addr *local = &p->listeners[datagram->listener].local;
    struct sim_packet packet = {
        .source = local->ip,
        .destination = datagram->remote.ip,
        .protocol = SIM_PROTO_UDP,
        .source_port = local->port,
        .destination_port = datagram->remote.port,
        .payload = datagram->bytes,
    };
    uint8_t bytes[SIM_PACKET_MAX];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    sim_packet_put(&w, &packet);
    if (!writer_finish(&w)) {
        return ERR_TOO_BIG;
    }
    sim_platform_tun(p, writer_view(&w));
    return ERR_NONE;
}

static void answer_lookup(void *context, uint64_t value)
{
    struct sim_platform *p = context;
    struct pending *pending = &p->pending[value];
    pending->used = false;
    if (pending->boot != p->boot) {
        return;
    }
    struct gateway_lookup lookup = pending->lookup;
    lookup.name = view_text(pending->name);
    struct event *event = events_push(p);
    event->answer = calloc(1, sizeof(*event->answer));
    ASSERT(event->answer != NULL);
    p->config.resolver.answer(p->config.resolver.self, sim_platform_now(p), p->config.gateway,
                              &lookup, event->answer);
    event->answer->lookup = lookup.lookup;
    event->answer->records = keep_bytes(event, event->answer->records);
    event->event.kind = PLATFORM_LOOKUP;
    event->event.lookup = event->answer;
    sim_trace_text(p->config.trace, node_of(p), SIM_KIND_LOOKUP_ANSWER, "%u %s: %s, %u addresses",
                   lookup.lookup, pending->name, err_name(event->answer->result),
                   event->answer->addresses_count);
    if (p->config.world.answered != NULL) {
        p->config.world.answered(p->config.world.self, p->config.gateway, event->answer);
    }
    poke(p);
}

static void table_lookup(void *self, const struct gateway_lookup *lookup)
{
    struct sim_platform *p = self;
    size_t slot = 0;
    while (slot < p->pending_count && p->pending[slot].used) {
        slot++;
    }
    if (slot == p->pending_count) {
        p->pending = realloc(p->pending, (slot + 1) * sizeof(p->pending[0]));
        ASSERT(p->pending != NULL);
        p->pending_count++;
    }
    struct pending *pending = &p->pending[slot];
    ASSERT(lookup->name.len < NAME_SIZE_MAX);
    *pending = (struct pending){.used = true, .boot = p->boot, .lookup = *lookup};
    memcpy(pending->name, lookup->name.at, lookup->name.len);
    sim_trace_text(p->config.trace, node_of(p), SIM_KIND_LOOKUP, "%u type %u %s", lookup->lookup,
                   (unsigned)lookup->type, pending->name);
    if (p->config.world.asked != NULL) {
        p->config.world.asked(p->config.world.self, p->config.gateway, lookup);
    }
    struct duration latency = p->config.resolver.start(p->config.resolver.self, sim_platform_now(p),
                                                       p->config.gateway, lookup);
    if (instant_is_never((struct instant){latency.ns})) {
        pending->used = false;
        return;
    }
    sim_sched_in(p->config.sched, latency, answer_lookup, p, slot);
}

static bool table_event(void *self, struct platform_event *out)
{
    struct sim_platform *p = self;
    event_free(&p->taken);
    if (p->events_head == p->events_count) {
        return false;
    }
    p->taken = p->events[p->events_head++];
    *out = p->taken.event;
    return true;
}

/* ---- life ---- */

static void seed(struct sim_platform *p)
{
    uint32_t boot = p->faults.sabotage == SIM_SABOTAGE_ENTROPY ? 0 : p->boot;
    p->entropy =
        sim_dice_of(p->config.rng, sim_stream_of(SIM_FAMILY_PLATFORM, p->config.gateway, boot));
    p->chance = sim_dice_of(
        p->config.rng, sim_stream_of(SIM_FAMILY_PLATFORM, 0x8000U | p->config.gateway, p->boot));
}

struct sim_platform *sim_platform_new(const struct sim_platform_config *config)
{
    struct sim_platform *p = calloc(1, sizeof(*p));
    ASSERT(p != NULL);
    p->config = *config;
    p->udp_slots = calloc(UDP_SLOTS, UDP_SLOT_SIZE);
    p->tun_slots = calloc(TUN_SLOTS, TUN_SLOT_SIZE);
    p->super = calloc(1, GATEWAY_SUPERPACKET_MAX);
    ASSERT(p->udp_slots != NULL && p->tun_slots != NULL && p->super != NULL);
    p->table = (struct platform){
        .self = p,
        .now = table_now,
        .entropy = table_entropy,
        .udp_receive = table_udp_receive,
        .udp_send = table_udp_send,
        .tun_configure = table_tun_configure,
        .tun_read = table_tun_read,
        .tun_write = table_tun_write,
        .tun_offload = table_tun_offload,
        .flow = table_flow,
        .own_addresses = config->own_addresses ? table_own_addresses : NULL,
        .stream_open = table_stream_open,
        .stream_send = table_stream_send,
        .stream_close = table_stream_close,
        .listen = table_listen,
        .listener_send = table_listener_send,
        .lookup = table_lookup,
        .event = table_event,
    };
    seed(p);
    return p;
}

void sim_platform_free(struct sim_platform *platform)
{
    if (platform == NULL) {
        return;
    }
    queue_clear(&platform->udp);
    queue_clear(&platform->tun);
    events_clear(platform);
    free(platform->udp.items);
    free(platform->tun.items);
    free(platform->events);
    free(platform->pending);
    free(platform->udp_slots);
    free(platform->tun_slots);
    free(platform->super);
    free(platform);
}

const struct platform *sim_platform_table(const struct sim_platform *platform)
{
    return &platform->table;
}

struct sim_platform_faults *sim_platform_faults(struct sim_platform *platform)
{
    return &platform->faults;
}

const struct sim_platform_counts *sim_platform_counts(const struct sim_platform *platform)
{
    return &platform->counts;
}

struct sim_clock *sim_platform_clock(struct sim_platform *platform)
{
    return &platform->config.clock;
}

void sim_platform_reboot(struct sim_platform *platform)
{
    platform->boot++;
    platform->counts = (struct sim_platform_counts){0};
    platform->faults.udp_gone = false;
    queue_clear(&platform->udp);
    queue_clear(&platform->tun);
    events_clear(platform);
    memset(platform->listening, 0, sizeof(platform->listening));
    platform->tun_config = (struct gateway_tun_config){0};
    platform->udp_blocked_until_ns = 0;
    platform->flows_open = 0;
    platform->tun_blocked_until_ns = 0;
    seed(platform);
}

void sim_platform_datagram(struct sim_platform *platform, const struct sim_datagram *datagram)
{
    struct queued like = {
        .local = datagram->local, .remote = datagram->remote, .ecn = datagram->ecn};
    bool ours = datagram->local.port == SIM_GATEWAY_UDP_PORT;
    if (ours && queue_push(&platform->udp, &like, datagram->bytes, UDP_QUEUE_MAX)) {
        poke(platform);
        return;
    }
    struct sock_addr ends[2] = {datagram->remote, datagram->local};
    sim_trace_datagram(platform->config.trace, node_of(platform), SIM_KIND_DROPPED, ends,
                       datagram->bytes, ours ? "socket-full" : "no-socket");
}

void sim_platform_tun(struct sim_platform *platform, struct view packet)
{
    ASSERT(packet.len <= SIM_PACKET_MAX);
    sim_trace_bytes(platform->config.trace, node_of(platform), SIM_KIND_TUN_IN, 0, packet);
    struct queued like = {0};
    if (queue_push(&platform->tun, &like, packet, TUN_QUEUE_MAX)) {
        poke(platform);
    }
}

void sim_platform_stream(struct sim_platform *platform, const struct gateway_stream_event *event)
{
    struct event *queued = events_push(platform);
    queued->event.kind = PLATFORM_STREAM;
    queued->event.stream = *event;
    queued->event.stream.bytes = keep_bytes(queued, event->bytes);
    poke(platform);
}

void sim_platform_poke(struct sim_platform *platform)
{
    poke(platform);
}

void sim_platform_shutdown(struct sim_platform *platform)
{
    events_push(platform)->event.kind = PLATFORM_SHUTDOWN;
    poke(platform);
}

uint32_t sim_platform_ready(const struct sim_platform *platform)
{
    uint32_t ready = 0;
    const struct sim_platform_counts *counts = &platform->counts;
    bool udp = queue_first(&platform->udp) != NULL || platform->faults.udp_gone;
    bool tun = queue_first(&platform->tun) != NULL || platform->faults.tun_gone;
    if (udp && !counts->udp_lost) {
        ready |= PLATFORM_READY_UDP;
    }
    if (tun && !counts->tun_lost) {
        ready |= PLATFORM_READY_TUN;
    }
    if (platform->events_head < platform->events_count) {
        ready |= PLATFORM_READY_EVENT;
    }
    return ready;
}

uint64_t sim_platform_unblock_at(const struct sim_platform *platform)
{
    uint64_t now = platform->config.sched->now_ns;
    uint64_t udp = platform->udp_blocked_until_ns > now ? platform->udp_blocked_until_ns : now;
    uint64_t tun = platform->tun_blocked_until_ns > now ? platform->tun_blocked_until_ns : now;
    uint64_t at = udp > tun ? udp : tun;
    return at > now ? at : UINT64_MAX;
}

bool sim_platform_is_drained(const struct sim_platform *platform)
{
    return platform->events_head == platform->events_count;
}

uint32_t sim_platform_boot(const struct sim_platform *platform)
{
    return platform->boot;
}
