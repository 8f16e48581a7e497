/* client_world: one client, one relay, one portal and the real gateway core in one process.
 *
 * Datagrams and stream bytes are delivered in the order they were sent, without latency; time jumps
 * to the next timer when nothing is under way. Direct traffic can be blocked, each kind of traffic
 * can be cut. The gateway's TUN device ends in hosts that answer every ping and echo every UDP
 * payload.
 */
#ifndef TESTS_CLIENT_WORLD_H
#define TESTS_CLIENT_WORLD_H

#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/x25519.h"
#include "gateway/gateway.h"
#include "sim/sim_client.h"
#include "sim/sim_client_bulk.h"
#include "sim/sim_packet.h"
#include "sim/sim_portal.h"
#include "sim/sim_relay.h"

#define CW_QUEUE_MAX  4096U
#define CW_PIPES_MAX  32U
#define CW_INBOX_MAX  64U
#define CW_EVENTS_MAX 256U
#define CW_PACKET_MAX 1400U
#define CW_UNIX_START UINT64_C(1735689600)
#define CW_ENDLESS    200000U /* deliveries without time moving: something answers itself */

enum cw_who { CW_CLIENT, CW_GATEWAY, CW_RELAY, CW_PORTAL, CW_COUNT };

enum cw_kind { CW_DATAGRAM, CW_STREAM_OPEN, CW_STREAM_BYTES, CW_STREAM_CLOSE, CW_LOOKUP };

struct cw_item {
    enum cw_kind kind;
    enum cw_who to;
    struct sock_addr local; /* of the receiver */
    struct sock_addr remote;
    uint32_t pipe;
    uint32_t lookup;
    enum gateway_lookup_type type;
    enum err reason;
    size_t len;
    uint8_t *bytes;
};

/* A byte stream from `from`'s stream `id` to the portal's stream `accepted`. */
struct cw_pipe {
    bool open;
    enum cw_who from;
    uint32_t id;
    uint32_t accepted;
};

struct cw_seen {
    enum sim_client_event_kind kind;
    uint64_t at_ms;
    struct uuid resource;
};

struct cw {
    struct clock_pair now;
    struct sim_policy policy;
    struct sim_client *client;
    struct sim_client_bulk *bulk; /* NULL: no fast path */
    struct aead_backend aead;
    uint32_t bulk_taken;  /* datagrams and packets that went the fast path */
    uint32_t bulk_trains; /* what came out of it */
    uint32_t bulk_groups;
    bool bulk_waits; /* datagrams for the fast path are kept until cw_bulk_flush() */
    uint8_t *bulk_kept[CW_INBOX_MAX];
    uint32_t bulk_kept_count;
    struct sim_relay *relay;
    struct sim_portal *portal;
    struct gateway *gateway;
    void *memory;
    struct sim_node nodes[CW_COUNT]; /* without the gateway */
    struct sim_outbox *out;
    struct sim_host_addresses host[CW_COUNT];
    struct cw_item queue[CW_QUEUE_MAX];
    size_t head;
    size_t tail;
    struct cw_pipe pipes[CW_PIPES_MAX];
    uint32_t pipes_count;
    bool block_direct; /* between client and gateway */
    bool asks_again;   /* the client, when it is refused */
    bool cut_gateway;  /* the gateway's network is unplugged */
    bool cut_relay;
    uint32_t loss_percent;
    struct rng dice;
    uint64_t datagrams;
    bool verbose;
    bool silent_hosts;
    bool may_exit;
    bool exited;
    uint8_t inbox[CW_INBOX_MAX][CW_PACKET_MAX]; /* packets for the client's applications */
    size_t inbox_len[CW_INBOX_MAX];
    uint32_t inbox_count;
    uint32_t inside_count;    /* packets that left the gateway's TUN */
    struct sim_packet inside; /* the last of them, without payload */
    struct cw_seen seen[CW_EVENTS_MAX];
    uint32_t seen_count;
    struct ip_addr resolved[SIM_NOTE_ADDRESSES_MAX];
    uint32_t resolved_count;
    uint32_t lookups;
    struct ip_addr real_v4; /* of every name */
    struct ip_addr real_v6;
    uint64_t direct_datagrams;
    uint64_t relayed_datagrams;
};

struct cw_options {
    bool head_client;
    bool head_portal;
    enum sim_relay_mode relay;
    bool websocket;
    bool block_direct;
    bool relay_only;
    bool v6_only_client;
    bool v4_only_client;
    bool lawless;
};

/* Every client made from now on has the fast path in front of it. */
static bool cw_with_bulk;

static inline struct ip_addr cw_ip(const char *text)
{
    struct ip_addr ip;
    assert_true(ip_parse(view_text(text), &ip));
    return ip;
}

static inline struct uuid cw_uuid(uint8_t first)
{
    struct uuid id = {{first, first, 1, 2, 3, 4, 0x40, 5, 0x80}};
    return id;
}

static inline void cw_push(struct cw *w, struct cw_item item, struct view bytes)
{
    assert_true(w->tail - w->head < CW_QUEUE_MAX);
    item.len = bytes.len;
    item.bytes = malloc(bytes.len + 64);
    assert_non_null(item.bytes);
    if (bytes.len > 0) {
        memcpy(item.bytes + 64, bytes.at, bytes.len);
    }
    w->queue[w->tail % CW_QUEUE_MAX] = item;
    w->tail++;
}

static inline enum cw_who cw_owner(const struct cw *w, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < CW_COUNT; i++) {
        if (ip_equal(ip, &w->host[i].ipv4) || ip_equal(ip, &w->host[i].ipv6)) {
            return (enum cw_who)i;
        }
    }
    return CW_COUNT;
}

static inline void cw_send(struct cw *w, enum cw_who from, const struct sim_datagram *datagram)
{
    enum cw_who to = cw_owner(w, &datagram->remote.ip);
    struct sock_addr source = datagram->local;
    if (source.ip.family == IP_NONE) {
        source.ip = datagram->remote.ip.family == IP_V4 ? w->host[from].ipv4 : w->host[from].ipv6;
    }
    bool direct =
        (from == CW_CLIENT && to == CW_GATEWAY) || (from == CW_GATEWAY && to == CW_CLIENT);
    bool cut = (w->cut_gateway && (from == CW_GATEWAY || to == CW_GATEWAY)) ||
               (w->cut_relay && (from == CW_RELAY || to == CW_RELAY)) ||
               (w->loss_percent > 0 && rng_below(&w->dice, 100) < w->loss_percent);
    if (to == CW_COUNT || to == CW_PORTAL || (direct && w->block_direct) || cut ||
        source.ip.family == IP_NONE) {
        return;
    }
    w->datagrams++;
    w->direct_datagrams += direct ? 1 : 0;
    w->relayed_datagrams += from == CW_RELAY && datagram->bytes.at[0] >= 0x40 ? 1 : 0;
    cw_push(w,
            (struct cw_item){
                .kind = CW_DATAGRAM, .to = to, .local = datagram->remote, .remote = source},
            datagram->bytes);
}

static inline struct cw_pipe *cw_pipe_of(struct cw *w, enum cw_who who, uint32_t stream)
{
    for (uint32_t i = 0; i < w->pipes_count; i++) {
        struct cw_pipe *pipe = &w->pipes[i];
        bool mine =
            who == CW_PORTAL ? pipe->accepted == stream : pipe->from == who && pipe->id == stream;
        if (mine) {
            return pipe;
        }
    }
    return NULL;
}

static inline void cw_stream_open(struct cw *w, enum cw_who who, uint32_t stream)
{
    assert_true(w->pipes_count < CW_PIPES_MAX);
    uint32_t index = w->pipes_count;
    w->pipes_count++;
    w->pipes[index] = (struct cw_pipe){
        .open = true, .from = who, .id = stream, .accepted = GATEWAY_STREAM_ACCEPTED_BASE + index};
    cw_push(w, (struct cw_item){.kind = CW_STREAM_OPEN, .to = CW_PORTAL, .pipe = index},
            VIEW_EMPTY);
}

static inline void cw_stream(struct cw *w, enum cw_who who, uint32_t stream, enum cw_kind kind,
                             struct view bytes)
{
    struct cw_pipe *pipe = cw_pipe_of(w, who, stream);
    if (pipe == NULL || !pipe->open) {
        return;
    }
    enum cw_who to = who == CW_PORTAL ? pipe->from : CW_PORTAL;
    if (kind == CW_STREAM_CLOSE) {
        pipe->open = false;
    }
    cw_push(w,
            (struct cw_item){
                .kind = kind, .to = to, .pipe = (uint32_t)(pipe - w->pipes), .reason = ERR_CLOSED},
            bytes);
}

static inline void cw_note(struct cw *w, enum cw_who who, const struct sim_note *note)
{
    if (w->verbose) {
        printf("%8.3f %d note %d %.*s\n", (double)w->now.boot.ns / 1e9, (int)who, (int)note->kind,
               (int)note->text.len, (const char *)note->text.at);
    }
    if (note->kind == SIM_NOTE_RESOLVED) {
        memcpy(w->resolved, note->addresses, sizeof w->resolved);
        w->resolved_count = note->addresses_count;
    }
    assert_int_not_equal(note->kind, SIM_NOTE_VIOLATION);
}

static inline void cw_take_tun(struct cw *w, struct view packet)
{
    assert_true(w->inbox_count < CW_INBOX_MAX && packet.len <= CW_PACKET_MAX);
    memcpy(w->inbox[w->inbox_count], packet.at, packet.len);
    w->inbox_len[w->inbox_count] = packet.len;
    w->inbox_count++;
}

static inline void cw_carry(struct cw *w, enum cw_who who)
{
    for (size_t i = 0; i < sim_outbox_count(w->out); i++) {
        const struct sim_out *out = sim_outbox_at(w->out, i);
        switch (out->kind) {
        case SIM_OUT_DATAGRAM:
            cw_send(w, who, &out->datagram);
            break;
        case SIM_OUT_STREAM_OPEN:
            cw_stream_open(w, who, out->stream);
            break;
        case SIM_OUT_STREAM_SEND:
            cw_stream(w, who, out->stream, CW_STREAM_BYTES, out->bytes);
            break;
        case SIM_OUT_STREAM_CLOSE:
        case SIM_OUT_STREAM_RESET:
            cw_stream(w, who, out->stream, CW_STREAM_CLOSE, VIEW_EMPTY);
            break;
        case SIM_OUT_TUN:
            cw_take_tun(w, out->bytes);
            break;
        case SIM_OUT_NOTE:
            cw_note(w, who, &out->note);
            break;
        case SIM_OUT_BIND:
        case SIM_OUT_UNBIND:
        default:
            break;
        }
    }
    sim_outbox_clear(w->out);
    if (w->nodes[who].ops->check != NULL) {
        w->nodes[who].ops->check(w->nodes[who].self);
    }
}

/* ---- the gateway ---- */

static inline void cw_gateway_drain(struct cw *w);

/* The host behind the gateway answers pings and echoes UDP. */
static inline void cw_host(struct cw *w, struct view bytes)
{
    struct sim_packet packet;
    uint8_t room[64 + 1500];
    const char *wrong = sim_packet_read(bytes, &packet);
    assert_null(wrong);
    w->inside_count++;
    w->inside = packet;
    w->inside.payload = VIEW_EMPTY;
    if (w->silent_hosts) {
        return;
    }
    if (packet.protocol == SIM_PROTO_UDP && packet.destination_port == 53535) {
        bool v4 = packet.source.family == IP_V4;
        struct gateway_listener_datagram datagram = {
            .listener = v4 ? GATEWAY_LISTENER_DNS_UDP4 : GATEWAY_LISTENER_DNS_UDP6,
            .remote = sock_addr_of(packet.source, packet.source_port),
            .bytes = packet.payload};
        gateway_handle_listener(w->gateway, w->now, &datagram);
        cw_gateway_drain(w);
        return;
    }
    struct sim_packet reply = packet;
    reply.source = packet.destination;
    reply.destination = packet.source;
    reply.ttl = 0;
    if (sim_packet_is_echo_request(&packet)) {
        reply.icmp_type = packet.source.family == IP_V4 ? 0 : 129;
    } else if (packet.protocol == SIM_PROTO_UDP) {
        reply.source_port = packet.destination_port;
        reply.destination_port = packet.source_port;
    } else {
        return;
    }
    struct writer out = writer_of((struct span){room + 64, sizeof room - 64});
    sim_packet_put(&out, &reply);
    assert_true(writer_finish(&out));
    struct gateway_tun_packet tun = {.bytes = {room + 64, out.used}};
    gateway_handle_tun(w->gateway, w->now, &tun, 1);
    cw_gateway_drain(w);
}

static inline void cw_train(struct cw *w, enum cw_who from, const struct gateway_train *train)
{
    size_t size = train->segment_size == 0 ? train->bytes.len : train->segment_size;
    for (size_t at = 0; at < train->bytes.len; at += size) {
        size_t len = train->bytes.len - at < size ? train->bytes.len - at : size;
        struct sim_datagram datagram = {.local = train->local,
                                        .remote = train->remote,
                                        .bytes = view_sub(train->bytes, at, len)};
        if (datagram.local.port == 0) {
            datagram.local.port = 52625;
        }
        cw_send(w, from, &datagram);
    }
}

/* An answer of the gateway's own DNS server goes back into the TUN. */
static inline void cw_listener_send(struct cw *w, const struct gateway_listener_datagram *datagram,
                                    uint8_t *room, size_t *len)
{
    bool v4 = datagram->listener == GATEWAY_LISTENER_DNS_UDP4;
    struct sim_packet packet = {.source = v4 ? w->policy.gateways[0].tunnel_v4
                                             : w->policy.gateways[0].tunnel_v6,
                                .destination = datagram->remote.ip,
                                .protocol = SIM_PROTO_UDP,
                                .source_port = 53535,
                                .destination_port = datagram->remote.port,
                                .payload = datagram->bytes};
    struct writer out = writer_of((struct span){room, 1500});
    sim_packet_put(&out, &packet);
    assert_true(writer_finish(&out));
    *len = out.used;
}

static inline void cw_gateway_drain(struct cw *w)
{
    uint8_t answer_room[64 + 1500];
    size_t answer_len = 0;
    struct gateway_output out;
    uint8_t *inside[64];
    size_t inside_len[64];
    uint32_t inside_count = 0;
    while (gateway_poll(w->gateway, &out)) {
        switch (out.kind) {
        case GATEWAY_OUT_TRAIN:
            cw_train(w, CW_GATEWAY, &out.u.train);
            break;
        case GATEWAY_OUT_TUN: {
            assert_true(inside_count < 64);
            assert_int_equal(out.u.tun->offload.gso, GATEWAY_GSO_NONE);
            uint8_t *copy = malloc(65536);
            size_t len = 0;
            for (uint32_t i = 0; i < out.u.tun->slices_count; i++) {
                memcpy(copy + len, out.u.tun->slices[i].at, out.u.tun->slices[i].len);
                len += out.u.tun->slices[i].len;
            }
            inside[inside_count] = copy;
            inside_len[inside_count] = len;
            inside_count++;
            break;
        }
        case GATEWAY_OUT_STREAM_OPEN:
            cw_stream_open(w, CW_GATEWAY, out.u.open.stream);
            break;
        case GATEWAY_OUT_STREAM_SEND: {
            uint32_t stream = out.u.send.stream;
            size_t len = out.u.send.bytes.len;
            cw_stream(w, CW_GATEWAY, stream, CW_STREAM_BYTES, out.u.send.bytes);
            gateway_stream_sent(w->gateway, stream, len);
            break;
        }
        case GATEWAY_OUT_STREAM_CLOSE:
            cw_stream(w, CW_GATEWAY, out.u.close, CW_STREAM_CLOSE, VIEW_EMPTY);
            break;
        case GATEWAY_OUT_LOOKUP:
            w->lookups++;
            cw_push(w,
                    (struct cw_item){.kind = CW_LOOKUP,
                                     .to = CW_GATEWAY,
                                     .lookup = out.u.lookup.lookup,
                                     .type = out.u.lookup.type},
                    VIEW_EMPTY);
            break;
        case GATEWAY_OUT_FLOW:
            break;
        case GATEWAY_OUT_EXIT:
            if (w->may_exit) {
                w->exited = true;
                break;
            }
            fail_msg("the gateway exits: %.*s", (int)out.u.exit.reason.len,
                     (const char *)out.u.exit.reason.at);
            break;
        case GATEWAY_OUT_LISTENER_SEND:
            cw_listener_send(w, &out.u.datagram, answer_room + 64, &answer_len);
            break;
        case GATEWAY_OUT_TUN_CONFIGURE:
        case GATEWAY_OUT_LISTEN:
        default:
            break;
        }
    }
    gateway_check(w->gateway);
    if (answer_len > 0) {
        struct gateway_tun_packet tun = {.bytes = {answer_room + 64, answer_len}};
        gateway_handle_tun(w->gateway, w->now, &tun, 1);
        cw_gateway_drain(w);
    }
    for (uint32_t i = 0; i < inside_count; i++) {
        cw_host(w, (struct view){inside[i], inside_len[i]});
        free(inside[i]);
    }
}

static inline void cw_gateway_deliver(struct cw *w, const struct cw_item *item)
{
    struct gateway_stream_event event = {.stream = w->pipes[item->pipe].id};
    struct gateway_lookup_answer answer = {.lookup = item->lookup, .ttl_s = 60};
    struct gateway_datagram datagram = {
        .bytes = {item->bytes + 64, item->len}, .local = item->local, .remote = item->remote};
    switch (item->kind) {
    case CW_DATAGRAM:
        gateway_handle_udp(w->gateway, w->now, &datagram, 1);
        break;
    case CW_STREAM_OPEN:
        event.kind = GATEWAY_STREAM_OPENED;
        gateway_handle_stream(w->gateway, w->now, &event);
        break;
    case CW_STREAM_BYTES:
        event.kind = GATEWAY_STREAM_BYTES;
        event.bytes = (struct view){item->bytes + 64, item->len};
        gateway_handle_stream(w->gateway, w->now, &event);
        break;
    case CW_STREAM_CLOSE:
        event.kind = GATEWAY_STREAM_CLOSED;
        event.reason = item->reason;
        gateway_handle_stream(w->gateway, w->now, &event);
        break;
    case CW_LOOKUP:
        answer.addresses[0] = item->type == GATEWAY_LOOKUP_A ? w->real_v4 : w->real_v6;
        answer.addresses_count = answer.addresses[0].family == IP_NONE ? 0 : 1;
        gateway_handle_lookup(w->gateway, w->now, &answer);
        break;
    default:
        break;
    }
    cw_gateway_drain(w);
}

/* ---- the client's fast path ---- */

static inline void cw_bulk_send(void *self, const struct gateway_train *train)
{
    struct cw *w = self;
    w->bulk_trains++;
    cw_train(w, CW_CLIENT, train);
}

static inline void cw_bulk_packet(void *self, struct view packet)
{
    cw_take_tun(self, packet);
}

static inline void cw_bulk_tun(void *self, const struct gateway_tun_group *group)
{
    struct cw *w = self;
    uint8_t *room = malloc(GATEWAY_TUN_CUT_ROOM);
    assert_non_null(room);
    w->bulk_groups++;
    gateway_tun_cut(group, (struct span){room, GATEWAY_TUN_CUT_ROOM}, cw_bulk_packet, w);
    free(room);
}

static inline void cw_bulk_flush(struct cw *w)
{
    sim_client_bulk_flush(w->bulk, w->now, w->out);
    cw_carry(w, CW_CLIENT);
    while (w->bulk_kept_count > 0) {
        free(w->bulk_kept[--w->bulk_kept_count]);
    }
}

/* True when the fast path took it. */
static inline bool cw_bulk_datagram(struct cw *w, const struct cw_item *item)
{
    if (w->bulk == NULL || item->to != CW_CLIENT || item->kind != CW_DATAGRAM) {
        return false;
    }
    uint8_t *copy = malloc(item->len + 1); /* exactly as long, for the sanitizers */
    assert_non_null(copy);
    memcpy(copy, item->bytes + 64, item->len);
    assert_true(w->bulk_kept_count < CW_INBOX_MAX);
    w->bulk_kept[w->bulk_kept_count++] = copy;
    struct gateway_datagram datagram = {
        .bytes = {copy, item->len}, .local = item->local, .remote = item->remote};
    bool taken = sim_client_bulk_datagram(w->bulk, w->now, &datagram, w->out);
    w->bulk_taken += taken ? 1 : 0;
    if (!taken || !w->bulk_waits) {
        cw_bulk_flush(w);
    }
    return taken;
}

/* ---- delivery ---- */

static inline void cw_node_deliver(struct cw *w, const struct cw_item *item)
{
    const struct cw_pipe *pipe = &w->pipes[item->pipe];
    struct sim_node *node = &w->nodes[item->to];
    struct gateway_stream_event event = {.stream =
                                             item->to == CW_PORTAL ? pipe->accepted : pipe->id,
                                         .listener = 443,
                                         .remote = sock_addr_of(w->host[pipe->from].ipv4, 4000)};
    struct sim_datagram datagram = {
        .local = item->local, .remote = item->remote, .bytes = {item->bytes + 64, item->len}};
    switch (cw_bulk_datagram(w, item) ? CW_LOOKUP : item->kind) {
    case CW_DATAGRAM:
        node->ops->handle_datagram(node->self, w->now, &datagram, w->out);
        break;
    case CW_STREAM_OPEN:
        event.kind = item->to == CW_PORTAL ? GATEWAY_STREAM_ACCEPTED : GATEWAY_STREAM_OPENED;
        node->ops->handle_stream(node->self, w->now, &event, w->out);
        break;
    case CW_STREAM_BYTES:
        event.kind = GATEWAY_STREAM_BYTES;
        event.bytes = (struct view){item->bytes + 64, item->len};
        node->ops->handle_stream(node->self, w->now, &event, w->out);
        break;
    case CW_STREAM_CLOSE:
        event.kind = GATEWAY_STREAM_CLOSED;
        event.reason = item->reason;
        node->ops->handle_stream(node->self, w->now, &event, w->out);
        break;
    case CW_LOOKUP:
    default:
        break;
    }
    cw_carry(w, item->to);
}

/* Delivers everything that is under way. */
static inline void cw_settle(struct cw *w)
{
    uint32_t count = 0;
    while (w->head < w->tail) {
        struct cw_item item = w->queue[w->head % CW_QUEUE_MAX];
        w->head++;
        count++;
        assert_true(count < CW_ENDLESS);
        if (item.to == CW_GATEWAY) {
            cw_gateway_deliver(w, &item);
        } else {
            cw_node_deliver(w, &item);
        }
        if (item.kind == CW_STREAM_OPEN && item.to == CW_PORTAL) {
            item.to = w->pipes[item.pipe].from;
            cw_push(w, item, VIEW_EMPTY);
        }
        free(item.bytes);
    }
}

static inline uint64_t cw_next(const struct cw *w)
{
    uint64_t next = gateway_poll_timeout(w->gateway).at.ns;
    for (uint32_t i = 0; i < CW_COUNT; i++) {
        if (w->nodes[i].ops != NULL && w->nodes[i].ops->poll_timeout != NULL) {
            uint64_t at = w->nodes[i].ops->poll_timeout(w->nodes[i].self).at.ns;
            next = at < next ? at : next;
        }
    }
    return next;
}

static inline void cw_fire(struct cw *w)
{
    for (uint32_t i = 0; i < CW_COUNT; i++) {
        struct sim_node *node = &w->nodes[i];
        if (node->ops == NULL || node->ops->handle_timeout == NULL) {
            continue;
        }
        if (node->ops->poll_timeout(node->self).at.ns <= w->now.boot.ns) {
            node->ops->handle_timeout(node->self, w->now, w->out);
            cw_carry(w, (enum cw_who)i);
        }
    }
    if (gateway_poll_timeout(w->gateway).at.ns <= w->now.boot.ns) {
        gateway_handle_timeout(w->gateway, w->now);
        cw_gateway_drain(w);
    }
}

/* Lets `ms` pass. A timer that is due again at the same instant too often is a busy loop. */
static inline void cw_run(struct cw *w, uint64_t ms)
{
    uint64_t end = w->now.boot.ns + ms * NS_PER_MS;
    uint32_t same = 0;
    cw_settle(w);
    while (cw_next(w) <= end) {
        uint64_t next = cw_next(w);
        if (next > w->now.boot.ns) {
            w->now.unix_ns += next - w->now.boot.ns;
            w->now.boot.ns = next;
            same = 0;
        }
        same++;
        assert_true(same < 300);
        cw_fire(w);
        cw_settle(w);
    }
    w->now.unix_ns += end - w->now.boot.ns;
    w->now.boot.ns = end;
}

/* ---- set-up ---- */

static inline void cw_observe(void *self, const struct sim_client_event *event)
{
    struct cw *w = self;
    uint64_t ms = event->at.boot.ns / NS_PER_MS;
    if (w->verbose) {
        printf("%8.3f event %d %.*s\n", (double)ms / 1000.0, (int)event->kind, (int)event->text.len,
               (const char *)event->text.at);
    }
    if (w->seen_count < CW_EVENTS_MAX) {
        w->seen[w->seen_count] =
            (struct cw_seen){.kind = event->kind, .at_ms = ms, .resource = event->resource};
        w->seen_count++;
    }
}

static inline uint32_t cw_saw(const struct cw *w, enum sim_client_event_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->seen_count; i++) {
        count += w->seen[i].kind == kind ? 1 : 0;
    }
    return count;
}

static inline void cw_trace(void *sink, const struct trace_event *event)
{
    struct cw *w = sink;
    if (w->verbose) {
        uint8_t line[512];
        struct writer out = writer_of((struct span){line, sizeof line});
        trace_put(&out, event);
        printf("%8.3f   gw %.*s\n", (double)event->at.boot.ns / 1e9, (int)out.used, (char *)line);
    }
    assert_int_not_equal(trace_level_of(event->event), TRACE_ERROR);
}

static inline void cw_policy(struct sim_policy *policy, const struct cw_options *options)
{
    memset(policy, 0, sizeof *policy);
    policy->clients_count = 1;
    policy->clients[0].id = cw_uuid(0xc1);
    policy->clients[0].tunnel_v4 = cw_ip("100.70.0.1");
    policy->clients[0].tunnel_v6 = cw_ip("fd00:2021:1111::7:1");
    policy->clients[0].head = options->head_client;
    struct x25519_private key = {{1, 2, 3, 4}};
    struct x25519_pair pair;
    x25519_pair_of(&pair, &key);
    memcpy(policy->clients[0].private_key, key.bytes, 32);
    memcpy(policy->clients[0].public_key, pair.public_key.bytes, 32);
    policy->gateways_count = 1;
    policy->gateways[0].id = cw_uuid(0x91);
    policy->gateways[0].tunnel_v4 = cw_ip("100.80.0.1");
    policy->gateways[0].tunnel_v6 = cw_ip("fd00:2021:1111::8:1");
    strcpy(policy->gateways[0].firezone_id, "gateway-1");
    strcpy(policy->gateways[0].token, "token-1");
    strcpy(policy->gateways[0].name, "gw");
    policy->relays_count = 1;
    policy->relays[0].id = cw_uuid(0x71);
    policy->relays[0].ipv4 = cw_ip("203.0.113.10");
    policy->relays[0].ipv6 = cw_ip("2001:db8:113::10");
    policy->relays[0].port = 3478;
    strcpy(policy->relays[0].secret,
           "56eaede90b6ec921c48544fa44741dc8263463e2389bf3588ead2b2a9a57c4");
    static const char *const PREFIXES[2] = {"10.3.0.0/24", "fd33::/64"};
    policy->resources_count = 3;
    for (uint32_t i = 0; i < 2; i++) {
        policy->resources[i].id = cw_uuid((uint8_t)(0x21 + i));
        policy->resources[i].kind = SIM_RESOURCE_CIDR;
        assert_true(ip_prefix_parse(view_text(PREFIXES[i]), &policy->resources[i].prefix));
        strcpy(policy->resources[i].name, "net");
    }
    policy->resources[2].id = cw_uuid(0x11);
    policy->resources[2].kind = SIM_RESOURCE_DNS;
    strcpy(policy->resources[2].pattern, "*.corp.test");
    strcpy(policy->resources[2].name, "corp");
    strcpy(policy->portal_host, "203.0.113.20");
    policy->portal_v4 = cw_ip("203.0.113.20");
    policy->portal_v6 = cw_ip("2001:db8:113::20");
    policy->masquerade_v4 = true;
    policy->masquerade_v6 = true;
}

static inline void cw_addresses(struct cw *w, enum cw_who who)
{
    struct sim_node *node = &w->nodes[who];
    if (node->ops->handle_addresses != NULL) {
        node->ops->handle_addresses(node->self, w->now, &w->host[who], w->out);
        cw_carry(w, who);
    }
}

static inline void cw_start_gateway(struct cw *w)
{
    struct gateway_limits limits = gateway_limits_default();
    limits.clients = 8;
    limits.nat_sessions = 4096;
    limits.nat_sessions_per_client = 1024;
    limits.nat_expired_per_client = 64;
    size_t size = (gateway_size(&limits) + 63U) & ~(size_t)63U;
    w->memory = aligned_alloc(64, size);
    assert_non_null(w->memory);
    memset(w->memory, 0, size);
    struct gateway_config config = {.api_url = view_text("ws://203.0.113.20"),
                                    .token = view_text("token-1"),
                                    .firezone_id = view_text("gateway-1"),
                                    .name = view_text("gw"),
                                    .user_agent =
                                        view_text("Debian/12.0.0 connlib/1.5.2 (x86_64; 6.1.0)"),
                                    .partition_max_s = 86400,
                                    .nat64_translate = true};
    uint8_t seed[32] = {7};
    struct trace trace = {.emit = cw_trace, .sink = w};
    assert_int_equal(gateway_init(w->memory, &limits, &config, w->now, seed, trace, &w->gateway),
                     ERR_NONE);
    cw_gateway_drain(w);
}

static inline struct cw *cw_new(const struct cw_options *options)
{
    struct cw *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->now = (struct clock_pair){{1000 * NS_PER_S}, CW_UNIX_START * NS_PER_S};
    w->out = sim_outbox_new();
    static const uint8_t DICE[32] = {9};
    rng_init(&w->dice, DICE);
    w->verbose = getenv("CW_VERBOSE") != NULL;
    w->block_direct = options->block_direct;
    w->asks_again = options->head_client && options->head_portal;
    w->real_v4 = cw_ip("10.9.0.7");
    w->real_v6 = cw_ip("fd99::7");
    cw_policy(&w->policy, options);
    w->host[CW_CLIENT] = (struct sim_host_addresses){cw_ip("198.51.100.30"), cw_ip("2001:db8::30")};
    if (options->v6_only_client) {
        memset(&w->host[CW_CLIENT].ipv4, 0, sizeof w->host[CW_CLIENT].ipv4);
    }
    if (options->v4_only_client) {
        memset(&w->host[CW_CLIENT].ipv6, 0, sizeof w->host[CW_CLIENT].ipv6);
    }
    w->host[CW_GATEWAY] =
        (struct sim_host_addresses){cw_ip("198.51.100.40"), cw_ip("2001:db8::40")};
    w->host[CW_RELAY] =
        (struct sim_host_addresses){w->policy.relays[0].ipv4, w->policy.relays[0].ipv6};
    w->host[CW_PORTAL] = (struct sim_host_addresses){w->policy.portal_v4, w->policy.portal_v6};
    struct sim_relay_config relay = {.mode = options->relay, .seed = {1}};
    memcpy(relay.secret, w->policy.relays[0].secret, strlen(w->policy.relays[0].secret));
    w->relay = sim_relay_new(&relay);
    struct sim_portal_config portal = {.generation =
                                           options->head_portal ? SIM_PORTAL_HEAD : SIM_PORTAL_V142,
                                       .seed = {2},
                                       .policy = &w->policy,
                                       .permit_all = true};
    w->portal = sim_portal_new(&portal);
    struct sim_client_config client = {
        .personality = options->head_client ? SIM_CLIENT_HEAD : SIM_CLIENT_BASE,
        .transport = options->websocket ? SIM_CLIENT_WEBSOCKET : SIM_CLIENT_LINES,
        .seed = {3},
        .id = w->policy.clients[0].id,
        .portal_v4 = sock_addr_of(w->policy.portal_v4, 443),
        .portal_v6 = sock_addr_of(w->policy.portal_v6, 443),
        .relay_only = options->relay_only,
        .asks_again = w->asks_again,
        .lawless = options->lawless,
        .policy = &w->policy};
    memcpy(client.private_key, w->policy.clients[0].private_key, 32);
    strcpy(client.host, "203.0.113.20");
    strcpy(client.token, "client-token");
    assert_int_equal(sim_portal_client_token(w->portal, 0, "client-token"), ERR_NONE);
    w->client = sim_client_new(&client);
    w->aead = aead_backend_libsodium();
    if (cw_with_bulk) {
        struct sim_client_sink sink = {cw_bulk_send, cw_bulk_tun, w};
        w->bulk = sim_client_bulk_new(w->client, &w->aead, &sink);
        assert_non_null(w->bulk);
        sim_client_bulk_offload(w->bulk, true, true);
    }
    sim_client_observe(w->client, cw_observe, w);
    w->nodes[CW_RELAY] = sim_relay_node(w->relay);
    w->nodes[CW_PORTAL] = sim_portal_node(w->portal);
    w->nodes[CW_CLIENT] = sim_client_node(w->client);
    cw_addresses(w, CW_RELAY);
    cw_addresses(w, CW_PORTAL);
    cw_start_gateway(w);
    cw_run(w, 2000);
    cw_addresses(w, CW_CLIENT);
    cw_run(w, 2000);
    return w;
}

static inline void cw_free(struct cw *w)
{
    cw_settle(w);
    gateway_deinit(w->gateway);
    free(w->memory);
    sim_client_bulk_free(w->bulk);
    sim_client_free(w->client);
    sim_portal_free(w->portal);
    sim_relay_free(w->relay);
    sim_outbox_free(w->out);
    free(w);
}

/* ---- applications ---- */

static inline void cw_app(struct cw *w, const struct sim_packet *packet)
{
    uint8_t room[1500];
    struct writer out = writer_of((struct span){room, sizeof room});
    sim_packet_put(&out, packet);
    assert_true(writer_finish(&out));
    struct gateway_tun_packet tun = {.bytes = {room, out.used}};
    if (w->bulk != NULL && sim_client_bulk_tun(w->bulk, w->now, &tun, w->out)) {
        w->bulk_taken++;
        sim_client_bulk_flush(w->bulk, w->now, w->out);
    } else {
        sim_client_send_ip(w->client, w->now, writer_view(&out), w->out);
    }
    cw_carry(w, CW_CLIENT);
}

static inline struct sim_packet cw_echo(const struct cw *w, struct ip_addr to, uint16_t id)
{
    bool v4 = to.family == IP_V4;
    return (struct sim_packet){.source = v4 ? w->policy.clients[0].tunnel_v4
                                            : w->policy.clients[0].tunnel_v6,
                               .destination = to,
                               .protocol = v4 ? SIM_PROTO_ICMP : SIM_PROTO_ICMPV6,
                               .icmp_type = v4 ? 8 : 128,
                               .icmp_rest = (uint32_t)id << 16 | 1U,
                               .payload = view_text("unique payload of a ping")};
}

static inline void cw_ping(struct cw *w, struct ip_addr to, uint16_t id)
{
    struct sim_packet packet = cw_echo(w, to, id);
    cw_app(w, &packet);
}

/* True when the answer to this ping is in the inbox. */
static inline bool cw_ponged(const struct cw *w, struct ip_addr from, uint16_t id)
{
    for (uint32_t i = 0; i < w->inbox_count; i++) {
        struct sim_packet packet;
        assert_null(sim_packet_read((struct view){w->inbox[i], w->inbox_len[i]}, &packet));
        if (sim_packet_is_echo_reply(&packet) && ip_equal(&packet.source, &from) &&
            packet.icmp_rest >> 16 == id) {
            return true;
        }
    }
    return false;
}

static inline void cw_resolve(struct cw *w, const char *name)
{
    sim_client_resolve(w->client, w->now, name, SIM_CLIENT_ANY, w->out);
    cw_carry(w, CW_CLIENT);
}

static inline struct sim_client_status cw_status(const struct cw *w)
{
    return sim_client_status(w->client, w->now, &w->policy.gateways[0].id);
}

#endif /* TESTS_CLIENT_WORLD_H */
