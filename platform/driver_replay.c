#include "platform/driver_replay.h"

#include <string.h>

static const char *const names[] = {
    [DRIVER_INPUT_UDP] = "udp",
    [DRIVER_INPUT_TUN] = "tun",
    [DRIVER_INPUT_STREAM] = "stream",
    [DRIVER_INPUT_SENT] = "sent",
    [DRIVER_INPUT_LISTENER] = "listener",
    [DRIVER_INPUT_LOOKUP] = "lookup",
    [DRIVER_INPUT_TIMEOUT] = "timeout",
    [DRIVER_INPUT_SHUTDOWN] = "shutdown",
    [DRIVER_INPUT_RESEED] = "reseed",
    [DRIVER_INPUT_OFFLOAD] = "offload",
    [DRIVER_INPUT_COUNTERS] = "counters",
    [DRIVER_INPUT_TUN_UP] = "tun-up",
    [DRIVER_INPUT_UNREACHABLE] = "unreachable",
    [DRIVER_INPUT_ADDRESSES] = "addresses",
    [DRIVER_INPUT_DIGEST] = "digest",
};

struct replay {
    struct gateway *gateway;
    struct driver_replay_watch watch;
    struct driver_replay_result *result;
    struct driver_digest digest;
    struct span room;   /* the caller's, DRIVER_REPLAY_ROOM bytes */
    bool awaiting_sent; /* the last output was a STREAM_SEND; its answer is due */
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
    if (!reader_ok(r) || kind > GATEWAY_STREAM_ENDED || reason >= ERR_COUNT) {
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
    uint64_t *fields[DRIVER_RECORD_IO_FIELDS];
    driver_record_io_fields(&io, fields);
    for (size_t i = 0; i < DRIVER_RECORD_IO_FIELDS; i++) {
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

/* Recordings of before told signals only, without a cause. */
static bool replay_shutdown(struct replay *replay, struct clock_pair now, struct reader *r)
{
    uint8_t why = r->rest.len == 0 ? (uint8_t)GATEWAY_END_ASKED : reader_u8(r);
    if (!reader_finish(r) || why >= GATEWAY_END_COUNT) {
        return false;
    }
    gateway_handle_shutdown(replay->gateway, now, (enum gateway_end)why);
    return true;
}

/* No input: what the recorded run had put out up to here. */
static bool replay_digest(struct replay *replay, struct reader *r)
{
    struct driver_replay_result *result = replay->result;
    uint64_t outputs = reader_le64(r);
    struct view recorded = reader_take(r, DRIVER_DIGEST_SIZE);
    uint8_t digest[DRIVER_DIGEST_SIZE];
    if (!reader_finish(r)) {
        return false;
    }
    driver_digest_get(&replay->digest, digest);
    bool same = outputs == replay->digest.outputs && view_equal(recorded, VIEW_OF(digest));
    result->checks++;
    if (!same && !result->differs) {
        result->differs = true;
        result->differs_at = outputs;
    }
    return true;
}

static bool replay_one(struct replay *replay, uint8_t kind, struct clock_pair now, struct reader *r)
{
    switch (kind) {
    case DRIVER_INPUT_DIGEST:
        return replay_digest(replay, r);
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
        return replay_shutdown(replay, now, r);
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

/* A SENT record answers the STREAM_SEND output before it: polling stops there until it is fed.
 * After EXIT the driver polls no more. */
static void replay_drain(struct replay *replay)
{
    struct gateway_output output;
    while (!replay->awaiting_sent && !replay->result->exited &&
           gateway_poll(replay->gateway, &output)) {
        driver_digest_add(&replay->digest, &output);
        if (replay->watch.output != NULL) {
            replay->watch.output(replay->watch.self, &output);
        }
        if (output.kind == GATEWAY_OUT_STREAM_SEND) {
            replay->awaiting_sent = true;
            replay->sent_stream = output.u.send.stream;
            replay->sent_max = output.u.send.bytes.len;
        } else if (output.kind == GATEWAY_OUT_EXIT) {
            replay->result->exited = true;
            replay->result->exit_code = output.u.exit.code;
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
    if (!reader_ok(r) || !in_turn || !instant_is_reading(now.boot) ||
        instant_before(now.boot, replay->result->last.boot) || kind < DRIVER_INPUT_UDP ||
        kind > DRIVER_INPUT_DIGEST) {
        return false;
    }
    replay->result->last = now;
    replay->awaiting_sent = replay->awaiting_sent && kind != DRIVER_INPUT_SENT;
    replay->result->inputs += kind == DRIVER_INPUT_DIGEST ? 0 : 1;
    if (replay->watch.input != NULL) {
        replay->watch.input(replay->watch.self, now, (enum driver_input)kind, body.rest);
    }
    return replay_one(replay, kind, now, &body);
}

static enum err replay_all(struct replay *replay, struct view recording)
{
    struct reader r = reader_of(recording);
    if (!view_equal_text(reader_take(&r, sizeof(DRIVER_RECORD_HEADER) - 1), DRIVER_RECORD_HEADER)) {
        return ERR_SYNTAX;
    }
    replay_drain(replay);
    while (r.rest.len > 0) {
        if (!replay_next(replay, &r)) {
            return ERR_SYNTAX;
        }
        replay_drain(replay);
    }
    return ERR_NONE;
}

enum err driver_replay(struct gateway *gateway, struct view recording, struct span room,
                       const struct driver_replay_watch *watch, struct driver_replay_result *result)
{
    struct replay replay = {.gateway = gateway, .watch = *watch, .result = result, .room = room};
    ASSERT(room.len >= DRIVER_REPLAY_ROOM);
    memset(result, 0, sizeof(*result));
    driver_digest_init(&replay.digest);
    enum err err = replay_all(&replay, recording);
    result->outputs = replay.digest.outputs;
    driver_digest_get(&replay.digest, result->digest);
    return err;
}

const char *driver_input_name(enum driver_input kind)
{
    ASSERT(kind >= DRIVER_INPUT_UDP && kind <= DRIVER_INPUT_DIGEST);
    return names[kind];
}
