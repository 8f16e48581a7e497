#include "platform/driver_record.h"

#include <string.h>

static const char header[] = "FZREC1\n";

#define RECORD_FIXED_MAX 128U

static void put(const struct driver_recorder *recorder, struct view bytes)
{
    if (bytes.len > 0) {
        recorder->write(recorder->self, bytes);
    }
}

static void put_addr(struct writer *w, const struct sock_addr *addr)
{
    writer_u8(w, addr->ip.family);
    writer_bytes(w, (struct view){addr->ip.bytes, sizeof(addr->ip.bytes)});
    writer_le16(w, addr->port);
}

static void start_record(const struct driver_recorder *recorder, struct clock_pair now,
                         enum driver_input kind, size_t len)
{
    uint8_t head[21];
    struct writer w = writer_of((struct span){head, sizeof(head)});
    writer_u8(&w, (uint8_t)kind);
    writer_le64(&w, now.boot.ns);
    writer_le64(&w, now.unix_ns);
    writer_le32(&w, (uint32_t)len);
    put(recorder, writer_view(&w));
}

void driver_record_start(const struct driver_recorder *recorder)
{
    if (recorder->write != NULL) {
        put(recorder, view_text(header));
    }
}

void driver_record_mark(const struct driver_recorder *recorder, struct clock_pair now,
                        enum driver_input kind, struct view bytes)
{
    if (recorder->write != NULL) {
        start_record(recorder, now, kind, bytes.len);
        put(recorder, bytes);
    }
}

/* Writes one item of a batch: its fixed part, its length, its bytes. */
static void put_item(const struct driver_recorder *recorder, struct writer *fixed,
                     struct view bytes)
{
    writer_le32(fixed, (uint32_t)bytes.len);
    put(recorder, writer_view(fixed));
    put(recorder, bytes);
}

#define UDP_ITEM_FIXED (19U + 19U + 2U + 1U + 4U)
#define TUN_ITEM_FIXED (1U + 2U + 1U + 4U)

void driver_record_udp(const struct driver_recorder *recorder, struct clock_pair now,
                       const struct gateway_datagram *datagrams, size_t count)
{
    size_t total = count * UDP_ITEM_FIXED;
    if (recorder->write == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        total += datagrams[i].bytes.len;
    }
    start_record(recorder, now, DRIVER_INPUT_UDP, total);
    for (size_t i = 0; i < count; i++) {
        uint8_t fixed[RECORD_FIXED_MAX];
        struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
        put_addr(&w, &datagrams[i].local);
        put_addr(&w, &datagrams[i].remote);
        writer_le16(&w, datagrams[i].segment_size);
        writer_u8(&w, datagrams[i].ecn);
        put_item(recorder, &w, view_of_span(datagrams[i].bytes));
    }
}

void driver_record_tun(const struct driver_recorder *recorder, struct clock_pair now,
                       const struct gateway_tun_packet *packets, size_t count)
{
    size_t total = count * TUN_ITEM_FIXED;
    if (recorder->write == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        total += packets[i].bytes.len;
    }
    start_record(recorder, now, DRIVER_INPUT_TUN, total);
    for (size_t i = 0; i < count; i++) {
        uint8_t fixed[RECORD_FIXED_MAX];
        struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
        writer_u8(&w, (uint8_t)packets[i].offload.gso);
        writer_le16(&w, packets[i].offload.gso_size);
        writer_u8(&w, packets[i].offload.checksum_needed ? 1 : 0);
        put_item(recorder, &w, view_of_span(packets[i].bytes));
    }
}

#define IO_FIELDS 9U

/* The counters in the order of the recording. */
static void io_fields(struct gateway_io_counters *io, uint64_t *fields[IO_FIELDS])
{
    fields[0] = &io->wakeups;
    fields[1] = &io->udp_receive_calls;
    fields[2] = &io->udp_receive_messages;
    fields[3] = &io->udp_send_calls;
    fields[4] = &io->udp_send_errors;
    fields[5] = &io->tun_read_calls;
    fields[6] = &io->tun_write_calls;
    fields[7] = &io->tun_write_errors;
    fields[8] = &io->longest_step_ns;
}

void driver_record_counters(const struct driver_recorder *recorder, struct clock_pair now,
                            struct gateway_io_counters *io)
{
    uint8_t bytes[IO_FIELDS * 8U];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    uint64_t *fields[IO_FIELDS];
    io_fields(io, fields);
    for (size_t i = 0; i < IO_FIELDS; i++) {
        writer_le64(&w, *fields[i]);
    }
    driver_record_mark(recorder, now, DRIVER_INPUT_COUNTERS, writer_view(&w));
}

void driver_record_stream(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct gateway_stream_event *event)
{
    if (recorder->write == NULL) {
        return;
    }
    uint8_t fixed[RECORD_FIXED_MAX];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_u8(&w, (uint8_t)event->kind);
    writer_le32(&w, event->stream);
    writer_le32(&w, event->listener);
    put_addr(&w, &event->remote);
    writer_u8(&w, (uint8_t)event->reason);
    start_record(recorder, now, DRIVER_INPUT_STREAM, w.used + event->bytes.len);
    put(recorder, writer_view(&w));
    put(recorder, event->bytes);
}

void driver_record_sent(const struct driver_recorder *recorder, struct clock_pair now,
                        uint32_t stream, size_t taken)
{
    uint8_t fixed[12];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_le32(&w, stream);
    writer_le64(&w, taken);
    driver_record_mark(recorder, now, DRIVER_INPUT_SENT, writer_view(&w));
}

void driver_record_listener(const struct driver_recorder *recorder, struct clock_pair now,
                            const struct gateway_listener_datagram *datagram)
{
    if (recorder->write == NULL) {
        return;
    }
    uint8_t fixed[RECORD_FIXED_MAX];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_u8(&w, (uint8_t)datagram->listener);
    put_addr(&w, &datagram->remote);
    start_record(recorder, now, DRIVER_INPUT_LISTENER, w.used + datagram->bytes.len);
    put(recorder, writer_view(&w));
    put(recorder, datagram->bytes);
}

void driver_record_lookup(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct gateway_lookup_answer *answer)
{
    if (recorder->write == NULL) {
        return;
    }
    uint8_t fixed[16 + GATEWAY_LOOKUP_ADDRESSES_MAX * 17];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_le32(&w, answer->lookup);
    writer_u8(&w, (uint8_t)answer->result);
    writer_le32(&w, answer->ttl_s);
    writer_u8(&w, (uint8_t)answer->addresses_count);
    for (uint32_t i = 0; i < answer->addresses_count; i++) {
        writer_u8(&w, answer->addresses[i].family);
        writer_bytes(&w, (struct view){answer->addresses[i].bytes, 16});
    }
    start_record(recorder, now, DRIVER_INPUT_LOOKUP, w.used + answer->records.len);
    put(recorder, writer_view(&w));
    put(recorder, answer->records);
}

void driver_record_unreachable(const struct driver_recorder *recorder, struct clock_pair now,
                               const struct sock_addr *remote)
{
    uint8_t body[19];
    struct writer w = writer_of((struct span){body, sizeof(body)});
    put_addr(&w, remote);
    driver_record_mark(recorder, now, DRIVER_INPUT_UNREACHABLE, writer_view(&w));
}

void driver_record_addresses(const struct driver_recorder *recorder, struct clock_pair now,
                             const struct ip_addr *addresses, size_t count)
{
    uint8_t body[17 * GATEWAY_OWN_ADDRESSES_MAX];
    struct writer w = writer_of((struct span){body, sizeof(body)});
    for (size_t i = 0; i < count; i++) {
        writer_u8(&w, addresses[i].family);
        writer_bytes(&w, VIEW_OF(addresses[i].bytes));
    }
    driver_record_mark(recorder, now, DRIVER_INPUT_ADDRESSES, writer_view(&w));
}

/* ---- feeding a recording back ---- */

struct replay {
    struct gateway *gateway;
    void (*sink)(void *self, const struct gateway_output *output);
    void *self;
    struct span room;    /* the caller's, DRIVER_REPLAY_ROOM bytes */
    struct instant last; /* time of the record before */
    bool awaiting_sent;  /* the last output was a STREAM_SEND; its answer is due */
    uint32_t sent_stream;
    size_t sent_max;
};

/* A family that we never write marks the reader as failed. */
static struct ip_addr get_ip(struct reader *r)
{
    struct ip_addr ip;
    memset(&ip, 0, sizeof(ip));
    ip.family = reader_u8(r);
    reader_copy(r, ip.bytes, sizeof(ip.bytes));
    r->failed = r->failed || (ip.family != IP_NONE && ip.family != IP_V4 && ip.family != IP_V6);
    return ip;
}

static struct sock_addr get_addr(struct reader *r)
{
    struct ip_addr ip = get_ip(r);
    uint16_t port = reader_le16(r);
    return sock_addr_of(ip, port);
}

/* Copies one item behind a headroom of its own, because the core works in place. */
static bool get_room(struct replay *replay, size_t *used, struct reader *r, struct span *out)
{
    uint32_t len = reader_le32(r);
    struct view bytes = reader_take(r, len);
    if (!reader_ok(r) || len > GATEWAY_SUPERPACKET_MAX ||
        replay->room.len - *used < GATEWAY_TUN_HEADROOM + len) {
        return false;
    }
    *out = (struct span){replay->room.at + *used + GATEWAY_TUN_HEADROOM, len};
    if (len > 0) {
        memcpy(out->at, bytes.at, len);
    }
    *used += GATEWAY_TUN_HEADROOM + len;
    return true;
}

static bool replay_udp(struct replay *replay, struct clock_pair now, struct reader *r)
{
    struct gateway_datagram batch[DRIVER_UDP_BATCH];
    size_t count = 0;
    size_t used = 0;
    while (r->rest.len > 0) {
        if (count == DRIVER_UDP_BATCH) {
            return false;
        }
        struct gateway_datagram *d = &batch[count++];
        d->local = get_addr(r);
        d->remote = get_addr(r);
        d->segment_size = reader_le16(r);
        d->ecn = reader_u8(r);
        if (!reader_ok(r) || !get_room(replay, &used, r, &d->bytes)) {
            return false;
        }
    }
    gateway_handle_udp(replay->gateway, now, batch, count);
    return true;
}

static bool replay_tun(struct replay *replay, struct clock_pair now, struct reader *r)
{
    struct gateway_tun_packet batch[DRIVER_TUN_BATCH];
    size_t count = 0;
    size_t used = 0;
    while (r->rest.len > 0) {
        if (count == DRIVER_TUN_BATCH) {
            return false;
        }
        struct gateway_tun_packet *p = &batch[count++];
        uint8_t gso = reader_u8(r);
        p->offload.gso_size = reader_le16(r);
        p->offload.checksum_needed = reader_u8(r) != 0;
        if (gso > GATEWAY_GSO_UDP || !get_room(replay, &used, r, &p->bytes)) {
            return false;
        }
        p->offload.gso = (enum gateway_gso)gso;
    }
    gateway_handle_tun(replay->gateway, now, batch, count);
    return true;
}

static bool replay_stream(struct replay *replay, struct clock_pair now, struct reader *r)
{
    struct gateway_stream_event event;
    uint8_t kind = reader_u8(r);
    event.stream = reader_le32(r);
    event.listener = reader_le32(r);
    event.remote = get_addr(r);
    uint8_t reason = reader_u8(r);
    if (!reader_ok(r) || kind > GATEWAY_STREAM_ACCEPTED || reason >= ERR_COUNT) {
        return false;
    }
    event.kind = (enum gateway_stream_kind)kind;
    event.reason = (enum err)reason;
    event.bytes = r->rest;
    gateway_handle_stream(replay->gateway, now, &event);
    return true;
}

static bool replay_listener(struct replay *replay, struct clock_pair now, struct reader *r)
{
    struct gateway_listener_datagram d;
    uint8_t listener = reader_u8(r);
    d.remote = get_addr(r);
    if (!reader_ok(r) || listener >= GATEWAY_LISTENER_COUNT) {
        return false;
    }
    d.listener = (enum gateway_listener)listener;
    d.bytes = r->rest;
    gateway_handle_listener(replay->gateway, now, &d);
    return true;
}

static bool replay_lookup(struct replay *replay, struct clock_pair now, struct reader *r)
{
    struct gateway_lookup_answer answer;
    memset(&answer, 0, sizeof(answer));
    answer.lookup = reader_le32(r);
    uint8_t result = reader_u8(r);
    answer.ttl_s = reader_le32(r);
    answer.addresses_count = reader_u8(r);
    if (!reader_ok(r) || result >= ERR_COUNT ||
        answer.addresses_count > GATEWAY_LOOKUP_ADDRESSES_MAX) {
        return false;
    }
    answer.result = (enum err)result;
    for (uint32_t i = 0; i < answer.addresses_count; i++) {
        answer.addresses[i] = get_ip(r);
    }
    if (!reader_ok(r)) {
        return false;
    }
    answer.records = r->rest;
    gateway_handle_lookup(replay->gateway, now, &answer);
    return true;
}

static bool replay_sent(struct replay *replay, struct reader *r)
{
    uint32_t stream = reader_le32(r);
    uint64_t taken = reader_le64(r);
    if (!reader_finish(r) || stream != replay->sent_stream || taken > replay->sent_max) {
        return false;
    }
    gateway_stream_sent(replay->gateway, stream, (size_t)taken);
    return true;
}

static bool replay_counters(struct replay *replay, struct reader *r)
{
    struct gateway_io_counters io;
    uint64_t *fields[IO_FIELDS];
    io_fields(&io, fields);
    for (size_t i = 0; i < IO_FIELDS; i++) {
        *fields[i] = reader_le64(r);
    }
    if (!reader_finish(r)) {
        return false;
    }
    gateway_set_io_counters(replay->gateway, &io);
    return true;
}

static bool replay_unreachable(struct replay *replay, struct clock_pair now, struct reader *r)
{
    struct sock_addr remote = get_addr(r);
    if (!reader_finish(r)) {
        return false;
    }
    gateway_handle_unreachable(replay->gateway, now, &remote);
    return true;
}

static bool replay_addresses(struct replay *replay, struct reader *r)
{
    struct ip_addr addresses[GATEWAY_OWN_ADDRESSES_MAX];
    size_t count = 0;
    while (r->rest.len > 0 && count < GATEWAY_OWN_ADDRESSES_MAX) {
        addresses[count++] = get_ip(r);
    }
    if (!reader_finish(r)) {
        return false;
    }
    gateway_set_own_addresses(replay->gateway, addresses, count);
    return true;
}

static bool replay_one(struct replay *replay, uint8_t kind, struct clock_pair now, struct reader *r)
{
    switch (kind) {
    case DRIVER_INPUT_UDP:
        return replay_udp(replay, now, r);
    case DRIVER_INPUT_TUN:
        return replay_tun(replay, now, r);
    case DRIVER_INPUT_STREAM:
        return replay_stream(replay, now, r);
    case DRIVER_INPUT_SENT:
        return replay_sent(replay, r);
    case DRIVER_INPUT_LISTENER:
        return replay_listener(replay, now, r);
    case DRIVER_INPUT_LOOKUP:
        return replay_lookup(replay, now, r);
    case DRIVER_INPUT_TUN_UP:
        if (r->rest.len != 1) {
            return false;
        }
        gateway_set_tun_up(replay->gateway, r->rest.at[0] != 0);
        return true;
    case DRIVER_INPUT_UNREACHABLE:
        return replay_unreachable(replay, now, r);
    case DRIVER_INPUT_ADDRESSES:
        return replay_addresses(replay, r);
    case DRIVER_INPUT_TIMEOUT:
        gateway_handle_timeout(replay->gateway, now);
        return true;
    case DRIVER_INPUT_SHUTDOWN:
        gateway_handle_shutdown(replay->gateway, now);
        return true;
    case DRIVER_INPUT_RESEED:
        if (r->rest.len != 32) {
            return false;
        }
        gateway_handle_reseed(replay->gateway, r->rest.at);
        return true;
    case DRIVER_INPUT_OFFLOAD:
        if (r->rest.len != 1) {
            return false;
        }
        gateway_set_tun_offload(replay->gateway, (r->rest.at[0] & PLATFORM_TUN_TCP) != 0,
                                (r->rest.at[0] & PLATFORM_TUN_UDP) != 0);
        return true;
    case DRIVER_INPUT_COUNTERS:
        return replay_counters(replay, r);
    default:
        return false;
    }
}

/* A SENT record answers the STREAM_SEND output before it: polling stops there until it is fed. */
static void replay_drain(struct replay *replay)
{
    struct gateway_output output;
    while (!replay->awaiting_sent && gateway_poll(replay->gateway, &output)) {
        replay->sink(replay->self, &output);
        if (output.kind == GATEWAY_OUT_STREAM_SEND) {
            replay->awaiting_sent = true;
            replay->sent_stream = output.u.send.stream;
            replay->sent_max = output.u.send.bytes.len;
        }
    }
}

/* Feeds the next record; false: it is cut, or nothing that a driver wrote. */
static bool replay_next(struct replay *replay, struct reader *r)
{
    struct clock_pair now;
    uint8_t kind = reader_u8(r);
    now.boot.ns = reader_le64(r);
    now.unix_ns = reader_le64(r);
    uint32_t len = reader_le32(r);
    struct reader body = reader_of(reader_take(r, len));
    bool in_turn =
        kind == DRIVER_INPUT_TUN_UP || replay->awaiting_sent == (kind == DRIVER_INPUT_SENT);
    if (!reader_ok(r) || !in_turn || instant_before(now.boot, replay->last)) {
        return false;
    }
    replay->last = now.boot;
    replay->awaiting_sent = replay->awaiting_sent && kind != DRIVER_INPUT_SENT;
    return replay_one(replay, kind, now, &body);
}

enum err driver_replay(struct gateway *gateway, struct view recording, struct span room,
                       void (*sink)(void *self, const struct gateway_output *output), void *self)
{
    struct replay replay = {.gateway = gateway, .sink = sink, .self = self, .room = room};
    ASSERT(room.len >= DRIVER_REPLAY_ROOM);
    struct reader r = reader_of(recording);
    if (!view_equal_text(reader_take(&r, sizeof(header) - 1), header)) {
        return ERR_SYNTAX;
    }
    replay_drain(&replay);
    while (r.rest.len > 0) {
        if (!replay_next(&replay, &r)) {
            return ERR_SYNTAX;
        }
        replay_drain(&replay);
    }
    return ERR_NONE;
}
