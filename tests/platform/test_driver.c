/* The driver over a scripted platform, with the real gateway above it. */
#include "platform/driver_replay.h"

#include <mbedtls/sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/driver_record.h"
#include "tests/support/support.h"

#define LOG_SIZE   (1U << 20)
#define EVENTS_MAX 64U

struct log {
    uint8_t *bytes;
    size_t used;
};

/* A queued stream event with its bytes. */
struct scripted {
    struct platform_event event;
    uint8_t bytes[1024];
};

/* A platform that does what the test says. */
struct world {
    struct platform table;
    struct clock_pair now;
    struct scripted events[EVENTS_MAX];
    size_t events_first;
    size_t events_count;
    struct log outputs;   /* what the gateway gave out, in order */
    struct log recording; /* what the driver recorded */
    bool udp_blocked;
    bool tun_gone;
    bool tun_refuses; /* to be configured */
    bool tun_blocked;
    struct gateway_tun_group group; /* an output that waits */
    unsigned udp_reads;
    unsigned tun_reads;
    unsigned event_reads;
    unsigned trains;
    size_t datagrams_waiting;
    uint8_t datagram[GATEWAY_UDP_HEADROOM + 64];
    size_t packets_waiting;
    uint8_t packet[GATEWAY_TUN_HEADROOM + 64];
    uint32_t entropy_draws;
    bool udp_gone;
    bool udp_fails;  /* every train is lost */
    unsigned losses; /* reported */
    size_t own_count;
    unsigned own_reads;
    uint32_t stream;
    size_t take_at_most; /* of one stream send; 0: none until the test says so */
    uint8_t last_sent;   /* first byte of the last one */
    char request[2048];  /* what the gateway sent first on the stream */
    size_t request_used;
    void *memory;
    struct gateway *gateway;
    struct driver driver;
};

/* ---- one form for outputs, live and replayed ---- */

static void put(struct log *log, const void *bytes, size_t len)
{
    assert_true(LOG_SIZE - log->used >= len);
    if (len > 0) {
        memcpy(log->bytes + log->used, bytes, len);
        log->used += len;
    }
}

static void put_number(struct log *log, uint64_t number)
{
    uint8_t room[8];
    store_le64(room, number);
    put(log, room, sizeof(room));
}

static void put_view(struct log *log, struct view view)
{
    put_number(log, view.len);
    put(log, view.at, view.len);
}

static void put_addr(struct log *log, const struct sock_addr *addr)
{
    put(log, addr->ip.bytes, 16);
    put_number(log, addr->port);
}

static void put_output(struct log *log, const struct gateway_output *out)
{
    put_number(log, (uint64_t)out->kind);
    switch (out->kind) {
    case GATEWAY_OUT_TRAIN:
        put_addr(log, &out->u.train.remote);
        put_number(log, out->u.train.segment_size);
        put_view(log, out->u.train.bytes);
        break;
    case GATEWAY_OUT_TUN:
        for (uint32_t i = 0; i < out->u.tun->slices_count; i++) {
            put_view(log, out->u.tun->slices[i]);
        }
        break;
    case GATEWAY_OUT_TUN_CONFIGURE:
        put(log, out->u.tun_config.ipv4.bytes, 4);
        put(log, out->u.tun_config.ipv6.bytes, 16);
        break;
    case GATEWAY_OUT_STREAM_OPEN:
        put_number(log, out->u.open.stream);
        put_addr(log, &out->u.open.remote);
        put_view(log, out->u.open.tls_name);
        break;
    case GATEWAY_OUT_STREAM_SEND:
        put_number(log, out->u.send.stream);
        put_view(log, out->u.send.bytes);
        break;
    case GATEWAY_OUT_STREAM_CLOSE:
        put_number(log, out->u.close);
        break;
    case GATEWAY_OUT_LISTEN:
        put_number(log, (uint64_t)out->u.listen.listener);
        put_addr(log, &out->u.listen.local);
        break;
    case GATEWAY_OUT_LISTENER_SEND:
        put_addr(log, &out->u.datagram.remote);
        put_view(log, out->u.datagram.bytes);
        break;
    case GATEWAY_OUT_LOOKUP:
        put_number(log, out->u.lookup.lookup);
        put_view(log, out->u.lookup.name);
        break;
    case GATEWAY_OUT_FLOW:
        put(log, out->u.flow->client.bytes, 16);
        break;
    case GATEWAY_OUT_EXIT:
        put_number(log, (uint64_t)out->u.exit.code);
        break;
    }
}

/* ---- the platform ---- */

static struct clock_pair w_now(void *self)
{
    const struct world *w = self;
    return w->now;
}

static void w_entropy(void *self, uint8_t out[32])
{
    struct world *w = self;
    memset(out, (int)++w->entropy_draws, 32);
}

static enum err w_udp_receive(void *self, struct gateway_datagram *out, size_t max, size_t *count)
{
    struct world *w = self;
    w->udp_reads++;
    *count = 0;
    if (w->udp_gone) {
        return ERR_CLOSED;
    }
    while (*count < max && w->datagrams_waiting > 0) {
        w->datagrams_waiting--;
        struct gateway_datagram *d = &out[(*count)++];
        memset(d, 0, sizeof(*d));
        d->bytes = (struct span){w->datagram + GATEWAY_UDP_HEADROOM, 64};
        d->local = sock_addr_of(ip_v4(127, 0, 0, 1), 52625);
        d->remote = sock_addr_of(ip_v4(127, 0, 0, 1), 3478);
    }
    return *count == 0 ? ERR_WOULD_BLOCK : ERR_NONE;
}

static enum err w_udp_send(void *self, const struct gateway_train *train)
{
    struct world *w = self;
    if (w->udp_blocked) {
        return ERR_WOULD_BLOCK;
    }
    struct gateway_output out = {.kind = GATEWAY_OUT_TRAIN, .u.train = *train};
    put_output(&w->outputs, &out);
    w->trains++;
    return w->udp_fails ? ERR_UNREACHABLE : ERR_NONE;
}

static size_t w_own_addresses(void *self, struct ip_addr *out, size_t max)
{
    struct world *w = self;
    assert_true(w->own_count <= max);
    for (size_t i = 0; i < w->own_count; i++) {
        out[i] = ip_v4(10, 0, 0, (uint8_t)(1 + i));
    }
    w->own_reads++;
    return w->own_count;
}

static enum err w_tun_configure(void *self, const struct gateway_tun_config *config)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_TUN_CONFIGURE, .u.tun_config = *config};
    put_output(&w->outputs, &out);
    return w->tun_refuses ? ERR_IO : ERR_NONE;
}

static enum err w_tun_read(void *self, struct gateway_tun_packet *out, size_t max, size_t *count)
{
    struct world *w = self;
    w->tun_reads++;
    *count = 0;
    if (w->tun_gone) {
        return ERR_CLOSED;
    }
    if (max > 0 && w->packets_waiting > 0) {
        w->packets_waiting--;
        memset(out, 0, sizeof(*out));
        out->bytes = (struct span){w->packet + GATEWAY_TUN_HEADROOM, 64};
        *count = 1;
    }
    return *count == 0 ? ERR_WOULD_BLOCK : ERR_NONE;
}

static enum err w_tun_write(void *self, const struct gateway_tun_group *group)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_TUN, .u.tun = group};
    if (w->tun_blocked) {
        return ERR_WOULD_BLOCK;
    }
    put_output(&w->outputs, &out);
    return ERR_NONE;
}

static void w_stream_open(void *self, const struct gateway_stream_open *open)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_STREAM_OPEN, .u.open = *open};
    put_output(&w->outputs, &out);
    w->stream = open->stream;
    w->request_used = 0;
}

static void queue(struct world *w, enum gateway_stream_kind kind, struct view bytes,
                  enum err reason)
{
    size_t at = (w->events_first + w->events_count++) % EVENTS_MAX;
    struct scripted *s = &w->events[at];
    assert_true(w->events_count <= EVENTS_MAX && bytes.len <= sizeof(s->bytes));
    memset(s, 0, sizeof(*s));
    s->event.kind = PLATFORM_STREAM;
    s->event.stream.kind = kind;
    s->event.stream.stream = w->stream;
    s->event.stream.reason = reason;
    if (bytes.len > 0) {
        memcpy(s->bytes, bytes.at, bytes.len);
    }
    s->event.stream.bytes = (struct view){s->bytes, bytes.len};
}

static enum err w_stream_send(void *self, uint32_t stream, struct view bytes, size_t *taken)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_STREAM_SEND, .u.send = {stream, bytes}};
    put_output(&w->outputs, &out);
    w->last_sent = bytes.at[0];
    *taken = bytes.len < w->take_at_most ? bytes.len : w->take_at_most;
    size_t room = sizeof(w->request) - 1 - w->request_used;
    size_t kept = *taken < room ? *taken : room;
    memcpy(w->request + w->request_used, bytes.at, kept);
    w->request_used += kept;
    w->request[w->request_used] = '\0';
    if (*taken < bytes.len && w->take_at_most > 0) {
        queue(w, GATEWAY_STREAM_WRITABLE, VIEW_EMPTY, ERR_NONE);
    }
    return ERR_NONE;
}

static void w_stream_close(void *self, uint32_t stream)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_STREAM_CLOSE, .u.close = stream};
    put_output(&w->outputs, &out);
}

static enum err w_listen(void *self, const struct gateway_listen *listen)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_LISTEN, .u.listen = *listen};
    put_output(&w->outputs, &out);
    return ERR_NONE;
}

static enum err w_listener_send(void *self, const struct gateway_listener_datagram *datagram)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_LISTENER_SEND, .u.datagram = *datagram};
    put_output(&w->outputs, &out);
    return ERR_NONE;
}

static void w_lookup(void *self, const struct gateway_lookup *lookup)
{
    struct world *w = self;
    struct gateway_output out = {.kind = GATEWAY_OUT_LOOKUP, .u.lookup = *lookup};
    put_output(&w->outputs, &out);
}

static bool w_event(void *self, struct platform_event *out)
{
    struct world *w = self;
    w->event_reads++;
    if (w->events_count == 0) {
        return false;
    }
    *out = w->events[w->events_first].event;
    out->stream.bytes.at = w->events[w->events_first].bytes;
    w->events_first = (w->events_first + 1) % EVENTS_MAX;
    w->events_count--;
    return true;
}

static void count_losses(void *self, const struct trace_event *event)
{
    struct world *w = self;
    w->losses += event->event == EV_ENVIRONMENT && event->value == ERR_CLOSED ? 1 : 0;
}

static void record(void *self, struct view bytes)
{
    put(self, bytes.at, bytes.len);
}

/* ---- building ---- */

static struct gateway_limits small_limits(void)
{
    return (struct gateway_limits){.clients = 4,
                                   .relays = 4,
                                   .resources_per_client = 4,
                                   .nat_sessions = 64,
                                   .nat_sessions_per_client = 16,
                                   .nat_expired_per_client = 16,
                                   .lookups = 8,
                                   .dns_cache = 8};
}

static struct gateway *build(void **memory)
{
    struct gateway_limits limits = small_limits();
    struct gateway_config config = {.api_url = view_text("ws://127.0.0.1:4000"),
                                    .token = view_text("token"),
                                    .firezone_id = view_text("id"),
                                    .name = view_text("name"),
                                    .user_agent = view_text("Test/1.0.0 connlib/1.5.2"),
                                    .partition_max_s = 86400};
    static const uint8_t seed[32] = {1, 2, 3};
    struct gateway *gateway = NULL;
    size_t size = (gateway_size(&limits) + 63) / 64 * 64;
    struct clock_pair start = {{NS_PER_S}, UINT64_C(1700000000) * NS_PER_S};
    *memory = aligned_alloc(64, size);
    assert_non_null(*memory);
    memset(*memory, 0, size);
    assert_int_equal(
        gateway_init(*memory, &limits, &config, start, seed, (struct trace){0}, &gateway),
        ERR_NONE);
    return gateway;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->table = (struct platform){
        .self = w,
        .now = w_now,
        .entropy = w_entropy,
        .udp_receive = w_udp_receive,
        .udp_send = w_udp_send,
        .tun_configure = w_tun_configure,
        .tun_read = w_tun_read,
        .tun_write = w_tun_write,
        .stream_open = w_stream_open,
        .stream_send = w_stream_send,
        .stream_close = w_stream_close,
        .listen = w_listen,
        .listener_send = w_listener_send,
        .lookup = w_lookup,
        .event = w_event,
    };
    w->outputs.bytes = malloc(LOG_SIZE);
    w->recording.bytes = malloc(LOG_SIZE);
    w->take_at_most = SIZE_MAX;
    w->now = (struct clock_pair){{NS_PER_S}, UINT64_C(1700000000) * NS_PER_S};
    w->gateway = build(&w->memory);
    struct driver_recorder recorder = {record, &w->recording};
    driver_init(&w->driver, w->gateway, &w->table, recorder, (struct trace){count_losses, w});
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    gateway_deinit(w->gateway);
    free(w->memory);
    free(w->outputs.bytes);
    free(w->recording.bytes);
    free(w);
    return 0;
}

static struct driver_result step(struct world *w)
{
    struct driver_result result;
    do {
        result = driver_step(&w->driver, w->now, PLATFORM_READY_ALL);
    } while (result.again);
    return result;
}

static void pass_time(struct world *w, struct duration d)
{
    w->now.boot = instant_add(w->now.boot, d);
    w->now.unix_ns += d.ns;
}

/* ---- the portal's side of the script ---- */

static void say(struct world *w, const char *text)
{
    uint8_t frame[1024];
    struct writer out = writer_of((struct span){frame, sizeof(frame)});
    writer_u8(&out, 0x81);
    if (strlen(text) < 126) {
        writer_u8(&out, (uint8_t)strlen(text));
    } else {
        writer_u8(&out, 126);
        writer_be16(&out, (uint16_t)strlen(text));
    }
    writer_text(&out, text);
    assert_true(writer_finish(&out));
    queue(w, GATEWAY_STREAM_BYTES, writer_view(&out), ERR_NONE);
}

static void answer_upgrade(struct world *w)
{
    char text[256];
    uint8_t digest[20];
    uint8_t accept[32] = {0};
    const char *key = strstr(w->request, "Sec-WebSocket-Key: ");
    assert_non_null(key);
    key += strlen("Sec-WebSocket-Key: ");
    int len = snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    assert_int_equal(mbedtls_sha1_ret((const uint8_t *)text, (size_t)len, digest), 0);
    struct writer out = writer_of((struct span){accept, sizeof(accept) - 1});
    text_put_base64(&out, VIEW_OF(digest), true);
    (void)snprintf(text, sizeof(text),
                   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                   (const char *)accept);
    queue(w, GATEWAY_STREAM_BYTES, view_text(text), ERR_NONE);
}

static void connect_portal(struct world *w)
{
    (void)step(w);
    assert_int_not_equal(w->stream, 0);
    queue(w, GATEWAY_STREAM_OPENED, VIEW_EMPTY, ERR_NONE);
    (void)step(w);
    assert_non_null(strstr(w->request, "\r\n\r\n"));
    answer_upgrade(w);
    (void)step(w);
    say(w, "{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\","
           "\"response\":{}},\"ref\":0}");
    (void)step(w);
}

static void give_relay(struct world *w)
{
    say(w, "{\"topic\":\"gateway\",\"event\":\"init\",\"ref\":null,\"payload\":{"
           "\"interface\":{\"ipv4\":\"100.70.1.2\",\"ipv6\":\"fd00:2021:1111::7:102\"},"
           "\"config\":{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true},"
           "\"relays\":[{\"id\":\"5c0e8f5e-91e1-4c65-a6d0-1b2f2f9f3a01\",\"type\":\"turn\","
           "\"addr\":\"127.0.0.1:3478\",\"username\":\"1:a\",\"password\":\"b\","
           "\"expires_at\":1735689600}]}}");
}

static void test_an_output_that_would_block_is_kept_and_nothing_is_fed(void **state)
{
    struct world *w = *state;
    connect_portal(w);
    give_relay(w);
    w->udp_blocked = true;
    struct driver_result result = step(w);
    assert_true(result.udp_blocked);
    assert_false(result.tun_blocked);
    assert_false(result.again);
    assert_int_equal(w->trains, 0);
    assert_int_equal(w->driver.held.kind, GATEWAY_OUT_TRAIN);

    /* inputs wait, time passes: nothing is read, nothing changes */
    uint64_t seen = gateway_counters(w->gateway)->udp_in_datagrams;
    size_t outputs = w->outputs.used;
    size_t recorded = w->recording.used;
    w->udp_reads = 0;
    w->tun_reads = 0;
    w->event_reads = 0;
    w->datagrams_waiting = 3;
    w->packets_waiting = 2;
    queue(w, GATEWAY_STREAM_CLOSED, VIEW_EMPTY, ERR_CLOSED);
    pass_time(w, DURATION_S(90));
    for (int i = 0; i < 5; i++) {
        assert_true(driver_step(&w->driver, w->now, PLATFORM_READY_ALL).udp_blocked);
    }
    assert_int_equal(w->udp_reads + w->tun_reads + w->event_reads, 0);
    assert_true(gateway_counters(w->gateway)->udp_in_datagrams == seen);
    assert_int_equal(w->outputs.used, outputs);
    assert_int_equal(w->recording.used, recorded);

    /* writable again: the held output goes first, then everything is fed */
    w->udp_blocked = false;
    result = step(w);
    assert_false(result.udp_blocked);
    assert_true(w->trains > 0);
    assert_true(load_le64(w->outputs.bytes + outputs) == GATEWAY_OUT_TRAIN);
    assert_int_equal(w->datagrams_waiting, 0);
    assert_int_equal(w->packets_waiting, 0);
    assert_int_equal(w->events_count, 0);
    assert_true(gateway_counters(w->gateway)->udp_in_datagrams == seen + 3);
}

static const uint8_t ping[] = {0x89, 0};
static const uint8_t pong[] = {0x8a, 0};

/* Sockets and device that never run dry: what the portal says is still heard in every step. */
static void test_full_sockets_do_not_keep_the_portal_waiting(void **state)
{
    struct world *w = *state;
    connect_portal(w);
    for (unsigned i = 0; i < 10; i++) {
        w->datagrams_waiting = 100000;
        w->packets_waiting = 100000;
        queue(w, GATEWAY_STREAM_BYTES, VIEW_OF(ping), ERR_NONE);
        size_t outputs = w->outputs.used;
        assert_true(driver_step(&w->driver, w->now, PLATFORM_READY_ALL).again);
        assert_int_equal(w->events_count, 0);
        assert_true(w->outputs.used > outputs); /* the Pong */
        assert_true(w->datagrams_waiting < 100000 && w->packets_waiting < 100000);
    }
}

/* A portal that never stops talking: sockets and device are still read in every step. */
static void test_a_chattering_portal_does_not_keep_packets_waiting(void **state)
{
    struct world *w = *state;
    connect_portal(w);
    for (unsigned i = 0; i < 10; i++) {
        while (w->events_count < EVENTS_MAX) {
            queue(w, GATEWAY_STREAM_BYTES, VIEW_OF(pong), ERR_NONE);
        }
        w->datagrams_waiting = 1;
        w->packets_waiting = 1;
        assert_false(driver_step(&w->driver, w->now, PLATFORM_READY_ALL).exit);
        assert_int_equal(w->datagrams_waiting + w->packets_waiting, 0);
    }
}

/* Readiness is told once; the backlog is drained by steps that follow at once. */
static void test_a_whole_backlog_is_drained_after_one_wake_up(void **state)
{
    struct world *w = *state;
    connect_portal(w);
    w->datagrams_waiting = 1000;
    w->packets_waiting = 1000;
    unsigned steps = 0;
    struct driver_result result = {.again = true};
    while (result.again && steps < 10000) {
        result = driver_step(&w->driver, w->now, PLATFORM_READY_ALL);
        steps++;
    }
    assert_int_equal(w->datagrams_waiting + w->packets_waiting, 0);
    assert_true(steps > 1); /* budgets were spent: it took `again` to come back */
    w->datagrams_waiting = 16;
    w->packets_waiting = 0;
    assert_true(driver_step(&w->driver, w->now, PLATFORM_READY_UDP).udp_blocked == false);
    assert_int_equal(w->datagrams_waiting, 0);
}

/* A host on the other side of the device may have answered before the write to it returned. */
static void test_the_device_is_read_in_the_step_that_received_datagrams(void **state)
{
    struct world *w = *state;
    connect_portal(w);
    w->datagrams_waiting = 1;
    w->packets_waiting = 1;
    assert_false(driver_step(&w->driver, w->now, PLATFORM_READY_UDP).exit);
    assert_int_equal(w->datagrams_waiting + w->packets_waiting, 0);
    w->packets_waiting = 1;
    assert_false(driver_step(&w->driver, w->now, PLATFORM_READY_EVENT).exit);
    assert_int_equal(w->packets_waiting, 1);
}

static void test_a_device_that_would_block_stops_nothing_but_input(void **state)
{
    struct world *w = *state;
    connect_portal(w);
    w->driver.held = (struct gateway_output){.kind = GATEWAY_OUT_TUN, .u.tun = &w->group};
    w->driver.holding = true;
    w->tun_blocked = true;
    for (unsigned i = 0; i < 3; i++) {
        struct driver_result result = driver_step(&w->driver, w->now, PLATFORM_READY_ALL);
        assert_true(result.tun_blocked); /* it returned: the loop waits for the device */
        assert_false(result.again);
    }
    w->tun_blocked = false;
    size_t outputs = w->outputs.used;
    assert_false(step(w).tun_blocked);
    assert_true(load_le64(w->outputs.bytes + outputs) == GATEWAY_OUT_TUN);
}

static void check_end(struct driver_result result, int code, const char *reason)
{
    assert_true(result.exit);
    assert_int_equal(result.exit_code, code);
    assert_true(view_equal_text(result.exit_reason, reason));
}

/* The Close frame, whole or cut, is the last thing that was said to the portal. */
static bool has_said_close(const struct world *w)
{
    return w->last_sent == 0x88;
}

/* The end waits for a portal that takes nothing, a second at most. */
static void portal_is_stuck(struct world *w)
{
    connect_portal(w);
    w->take_at_most = 0;
}

static void portal_goes_on(struct world *w)
{
    w->take_at_most = SIZE_MAX;
    queue(w, GATEWAY_STREAM_WRITABLE, VIEW_EMPTY, ERR_NONE);
}

static void test_a_device_that_is_gone_ends_the_run(void **state)
{
    struct world *w = *state;
    portal_is_stuck(w);
    w->tun_gone = true;
    unsigned reads = w->tun_reads;
    struct driver_result result = step(w);
    assert_false(result.exit); /* it takes leave */
    assert_true(has_said_close(w));
    pass_time(w, DURATION_MS(900));
    assert_false(step(w).exit);
    portal_goes_on(w);
    check_end(step(w), 1, "the TUN device is gone");
    assert_int_equal(w->tun_reads, reads + 1);
    assert_int_equal(w->losses, 1);
}

/* Sockets are read on; what the gateway has for the device is lost and held by nobody. */
static void test_a_device_that_is_gone_is_not_asked_again(void **state)
{
    struct world *w = *state;
    portal_is_stuck(w);
    w->tun_gone = true;
    assert_false(step(w).exit);
    unsigned reads = w->tun_reads;
    w->driver.held = (struct gateway_output){.kind = GATEWAY_OUT_TUN, .u.tun = &w->group};
    w->driver.holding = true;
    w->tun_blocked = true;
    w->datagrams_waiting = 1;
    for (unsigned i = 0; i < 3; i++) {
        struct driver_result result = driver_step(&w->driver, w->now, PLATFORM_READY_ALL);
        assert_false(result.again || result.tun_blocked || result.exit);
    }
    assert_int_equal(w->driver.tun_write_errors, 1);
    assert_int_equal(w->datagrams_waiting, 0);
    assert_int_equal(w->tun_reads, reads);
    assert_int_equal(w->losses, 1);
}

static void test_the_loss_of_all_sockets_ends_the_run(void **state)
{
    struct world *w = *state;
    connect_portal(w);
    give_relay(w);
    (void)step(w);
    w->take_at_most = 0;
    w->udp_gone = true;
    w->udp_blocked = true; /* nothing waits for them to be writable */
    unsigned reads = w->udp_reads;
    unsigned trains = w->trains;
    struct driver_result result = step(w);
    assert_false(result.exit || result.udp_blocked);
    assert_true(has_said_close(w));
    w->driver.held = (struct gateway_output){.kind = GATEWAY_OUT_TRAIN};
    w->driver.holding = true;
    pass_time(w, DURATION_MS(900));
    result = step(w);
    assert_false(result.exit || result.udp_blocked);
    assert_int_equal(w->driver.send_errors, 1);
    portal_goes_on(w);
    check_end(step(w), 1, "all UDP sockets are gone");
    assert_int_equal(w->udp_reads, reads + 1);
    assert_int_equal(w->trains, trains);
    assert_int_equal(w->losses, 1);
}

/* Nothing is left but the portal; each loss is told once, the first one is why it ends. */
static void test_both_may_be_lost(void **state)
{
    struct world *w = *state;
    portal_is_stuck(w);
    w->tun_gone = true;
    assert_false(step(w).exit);
    w->udp_gone = true;
    assert_false(step(w).exit);
    assert_false(step(w).exit);
    assert_int_equal(w->losses, 2);
    portal_goes_on(w);
    check_end(step(w), 1, "the TUN device is gone");
}

static struct platform_event *queue_event(struct world *w, enum platform_event_kind kind);

static void test_a_signal_does_not_make_a_loss_a_success(void **state)
{
    struct world *w = *state;
    portal_is_stuck(w);
    w->udp_gone = true;
    assert_false(step(w).exit);
    (void)queue_event(w, PLATFORM_SHUTDOWN);
    assert_false(step(w).exit);
    pass_time(w, DURATION_S(1));
    check_end(step(w), 1, "all UDP sockets are gone");
}

static void test_a_loss_after_a_signal_is_told_and_changes_no_exit_code(void **state)
{
    struct world *w = *state;
    portal_is_stuck(w);
    (void)queue_event(w, PLATFORM_SHUTDOWN);
    assert_false(step(w).exit);
    w->tun_gone = true;
    assert_false(step(w).exit);
    assert_int_equal(w->losses, 1);
    pass_time(w, DURATION_S(1));
    check_end(step(w), 0, "shut down");
}

/* Told at the start and when they change, looked at once a minute. */
static void test_the_hosts_addresses_are_told_when_they_change(void **state)
{
    struct world *w = *state;
    w->table.own_addresses = w_own_addresses;
    w->own_count = 2;
    (void)step(w);
    assert_int_equal(w->driver.addresses_count, 2);
    size_t recorded = w->recording.used;
    assert_int_equal(w->own_reads, 1);
    pass_time(w, DURATION_MS(59999));
    w->own_count = 1;
    (void)step(w);
    assert_int_equal(w->own_reads, 1);
    pass_time(w, DURATION_MS(1));
    (void)step(w);
    assert_int_equal(w->own_reads, 2);
    assert_int_equal(w->driver.addresses_count, 1);
    assert_true(w->recording.used > recorded);
}

static void test_entropy_is_drawn_every_minute_and_after_a_gap(void **state)
{
    struct world *w = *state;
    (void)step(w);
    uint32_t start = w->entropy_draws;
    pass_time(w, DURATION_S(20));
    (void)step(w);
    assert_int_equal(w->entropy_draws, start);
    for (int i = 0; i < 3; i++) {
        pass_time(w, DURATION_S(20));
        (void)step(w);
    }
    assert_int_equal(w->entropy_draws, start + 1);
    pass_time(w, DURATION_S(31));
    (void)step(w);
    assert_int_equal(w->entropy_draws, start + 2);
}

/* ---- recordings ---- */

static void to_log(void *self, const struct gateway_output *output)
{
    put_output(self, output);
}

static enum err replay(struct view recording, struct log *outputs,
                       struct driver_replay_result *result)
{
    void *memory = NULL;
    struct gateway *gateway = build(&memory);
    struct span room = {malloc(DRIVER_REPLAY_ROOM), DRIVER_REPLAY_ROOM};
    outputs->used = 0;
    struct driver_replay_watch watch = {.self = outputs, .output = to_log};
    enum err err = driver_replay(gateway, recording, room, &watch, result);
    gateway_deinit(gateway);
    free(memory);
    free(room.at);
    return err;
}

static struct platform_event *queue_event(struct world *w, enum platform_event_kind kind)
{
    size_t at = (w->events_first + w->events_count++) % EVENTS_MAX;
    memset(&w->events[at], 0, sizeof(w->events[at]));
    w->events[at].event.kind = kind;
    return &w->events[at].event;
}

static void queue_unreachable(struct world *w)
{
    queue_event(w, PLATFORM_UNREACHABLE)->unreachable = sock_addr_of(ip_v4(127, 0, 0, 1), 3478);
}

/* A run with everything in it: cut sends, junk, a lost portal, minutes of timers, an orderly end.
 */
/* What was recorded of the device's configuration. */
struct tun_marks {
    uint8_t up[4];
    size_t count;
};

static void note_tun_mark(void *self, struct clock_pair now, enum driver_input kind,
                          struct view body)
{
    struct tun_marks *marks = self;
    (void)now;
    if (kind == DRIVER_INPUT_TUN_UP) {
        assert_true(marks->count < ARRAY_COUNT(marks->up));
        marks->up[marks->count++] = body.at[0];
    }
}

static void test_a_device_that_is_configured_late_is_told_and_recorded(void **state)
{
    struct world *w = *state;
    struct tun_marks marks = {.count = 0};
    struct driver_replay_watch watch = {.self = &marks, .input = note_tun_mark};
    struct driver_replay_result result;
    w->tun_refuses = true;
    connect_portal(w);
    give_relay(w);
    (void)queue_event(w, PLATFORM_TUN_UP);
    (void)step(w);
    void *memory = NULL;
    struct gateway *gateway = build(&memory);
    struct span room = {malloc(DRIVER_REPLAY_ROOM), DRIVER_REPLAY_ROOM};
    assert_int_equal(driver_replay(gateway, (struct view){w->recording.bytes, w->recording.used},
                                   room, &watch, &result),
                     ERR_NONE);
    assert_int_equal(marks.count, 2);
    assert_int_equal(marks.up[0], 0);
    assert_int_equal(marks.up[1], 1);
    gateway_deinit(gateway);
    free(memory);
    free(room.at);
}

static void live_until(struct world *w, enum gateway_end end)
{
    w->take_at_most = 100;
    w->table.own_addresses = w_own_addresses;
    connect_portal(w);
    give_relay(w);
    w->packet[GATEWAY_TUN_HEADROOM] = 0x45;
    for (int i = 0; i < 100; i++) {
        w->datagram[GATEWAY_UDP_HEADROOM] = (uint8_t)i;
        w->datagrams_waiting = i % 3 == 0 ? 20 : 0;
        w->packets_waiting = i % 5 == 0 ? 1 : 0;
        w->udp_blocked = i % 7 == 0;
        (void)step(w);
        w->udp_blocked = false;
        (void)step(w);
        w->udp_fails = i >= 20 && i < 60;
        w->own_count = (size_t)i / 40;
        if (i % 20 == 0) {
            queue_unreachable(w);
        }
        if (i == 40) {
            queue(w, GATEWAY_STREAM_CLOSED, VIEW_EMPTY, ERR_TIMEOUT);
        }
        pass_time(w, DURATION_MS(1700));
    }
    if (end == GATEWAY_END_ASKED) {
        (void)queue_event(w, PLATFORM_SHUTDOWN);
    }
    w->tun_gone = end == GATEWAY_END_TUN_LOST;
    w->udp_gone = end == GATEWAY_END_UDP_LOST;
    for (int i = 0; i < 100; i++) {
        struct driver_result result = step(w);
        if (result.exit) {
            assert_true(view_equal_text(result.exit_reason, gateway_end_reason(end)));
            struct gateway_output out = {.kind = GATEWAY_OUT_EXIT};
            out.u.exit.code = result.exit_code;
            put_output(&w->outputs, &out);
            return;
        }
        pass_time(w, DURATION_MS(100));
    }
    fail_msg("the gateway did not end");
}

static void live_a_little(struct world *w)
{
    live_until(w, GATEWAY_END_ASKED);
}

static void check_recording(struct world *w, enum gateway_end end)
{
    struct log again = {malloc(LOG_SIZE), 0};
    live_until(w, end);
    assert_true(w->trains > 3);
    assert_true(w->driver.send_errors > 0);
    struct driver_replay_result result;
    assert_int_equal(replay((struct view){w->recording.bytes, w->recording.used}, &again, &result),
                     ERR_NONE);
    assert_true(result.checks >= 1);
    assert_false(result.differs);
    assert_true(result.exited);
    assert_int_equal(result.exit_code, end == GATEWAY_END_ASKED ? 0 : 1);
    assert_int_equal(again.used, w->outputs.used);
    assert_memory_equal(again.bytes, w->outputs.bytes, again.used);
    free(again.bytes);
}

static void test_a_recording_replays_to_the_same_outputs(void **state)
{
    check_recording(*state, GATEWAY_END_ASKED);
}

static void test_a_recording_of_a_lost_device_replays_to_the_same_outputs(void **state)
{
    check_recording(*state, GATEWAY_END_TUN_LOST);
}

static void test_a_recording_of_lost_sockets_replays_to_the_same_outputs(void **state)
{
    check_recording(*state, GATEWAY_END_UDP_LOST);
}

/* Recordings of before hold nothing there. */
static void test_the_cause_of_an_end_is_read_or_refused(void **state)
{
    static const struct {
        uint8_t body[2];
        uint32_t len;
        bool is_good;
        int code;
    } rows[] = {
        {{0}, 0, true, 0},  {{0}, 1, true, 0},    {{1}, 1, true, 1},     {{2}, 1, true, 1},
        {{3}, 1, false, 0}, {{255}, 1, false, 0}, {{0, 0}, 2, false, 0}, {{1, 0}, 2, false, 0},
    };
    struct log again = {malloc(LOG_SIZE), 0};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint8_t bytes[64];
        struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
        struct driver_replay_result result;
        writer_text(&w, DRIVER_RECORD_HEADER);
        writer_u8(&w, DRIVER_INPUT_SHUTDOWN);
        writer_le64(&w, 2 * NS_PER_S);
        writer_le64(&w, UINT64_C(1700000000) * NS_PER_S);
        writer_le32(&w, rows[i].len);
        writer_bytes(&w, (struct view){rows[i].body, rows[i].len});
        assert_int_equal(replay(writer_view(&w), &again, &result),
                         rows[i].is_good ? ERR_NONE : ERR_SYNTAX);
        assert_int_equal(result.exited, rows[i].is_good);
        assert_int_equal(result.exit_code, rows[i].code);
    }
    free(again.bytes);
}

static void test_a_cut_recording_is_a_prefix_or_refused(void **state)
{
    struct world *w = *state;
    struct log again = {malloc(LOG_SIZE), 0};
    unsigned refused = 0;
    live_a_little(w);
    for (size_t len = 0; len < w->recording.used; len += len < 64 ? 1 : 2503) {
        struct driver_replay_result result;
        enum err err = replay((struct view){w->recording.bytes, len}, &again, &result);
        assert_false(result.differs);
        assert_true(err == ERR_NONE || err == ERR_SYNTAX);
        refused += err == ERR_SYNTAX ? 1 : 0;
        assert_true(again.used <= w->outputs.used);
        assert_memory_equal(again.bytes, w->outputs.bytes, again.used);
    }
    assert_true(refused > 10);
    free(again.bytes);
}

static void test_a_damaged_recording_never_breaks_anything(void **state)
{
    struct world *w = *state;
    struct log again = {malloc(LOG_SIZE), 0};
    uint8_t *copy = malloc(LOG_SIZE);
    live_a_little(w);
    size_t len = w->recording.used;
    for (size_t bit = 0; bit < len * 8; bit += bit < 1500 ? 13 : 40009) {
        memcpy(copy, w->recording.bytes, len);
        copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
        struct driver_replay_result result;
        enum err err = replay((struct view){copy, len}, &again, &result);
        assert_true(err == ERR_NONE || err == ERR_SYNTAX);
    }
    free(copy);
    free(again.bytes);
}

/* TIME_NEVER would have reached every deadline that is not set, such as the end of a leave that
 * nobody asked for. */
static void test_a_time_that_no_clock_reads_is_refused(void **state)
{
    (void)state;
    struct log again = {malloc(LOG_SIZE), 0};
    uint8_t bytes[64];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    writer_text(&w, DRIVER_RECORD_HEADER);
    writer_u8(&w, DRIVER_INPUT_TIMEOUT);
    writer_le64(&w, UINT64_MAX);
    writer_le64(&w, UINT64_C(1700000000) * NS_PER_S);
    writer_le32(&w, 0);
    struct driver_replay_result result;
    assert_int_equal(replay(writer_view(&w), &again, &result), ERR_SYNTAX);
    assert_int_equal(result.inputs, 0);
    assert_false(result.exited);
    free(again.bytes);
}

static void test_a_replay_that_puts_out_something_else_is_noticed(void **state)
{
    struct world *w = *state;
    struct log again = {malloc(LOG_SIZE), 0};
    struct driver_replay_result result;
    live_a_little(w);
    /* The body of the last record: u64 outputs, digest. */
    w->recording.bytes[w->recording.used - 1] ^= 1;
    assert_int_equal(replay((struct view){w->recording.bytes, w->recording.used}, &again, &result),
                     ERR_NONE);
    assert_true(result.differs);
    assert_int_equal(result.differs_at, result.outputs);
    free(again.bytes);
}

#define DRIVER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DRIVER_TEST(test_an_output_that_would_block_is_kept_and_nothing_is_fed),
        DRIVER_TEST(test_full_sockets_do_not_keep_the_portal_waiting),
        DRIVER_TEST(test_a_chattering_portal_does_not_keep_packets_waiting),
        DRIVER_TEST(test_a_whole_backlog_is_drained_after_one_wake_up),
        DRIVER_TEST(test_the_device_is_read_in_the_step_that_received_datagrams),
        DRIVER_TEST(test_a_device_that_would_block_stops_nothing_but_input),
        DRIVER_TEST(test_a_device_that_is_gone_ends_the_run),
        DRIVER_TEST(test_a_device_that_is_gone_is_not_asked_again),
        DRIVER_TEST(test_the_loss_of_all_sockets_ends_the_run),
        DRIVER_TEST(test_both_may_be_lost),
        DRIVER_TEST(test_a_signal_does_not_make_a_loss_a_success),
        DRIVER_TEST(test_a_loss_after_a_signal_is_told_and_changes_no_exit_code),
        DRIVER_TEST(test_the_hosts_addresses_are_told_when_they_change),
        DRIVER_TEST(test_entropy_is_drawn_every_minute_and_after_a_gap),
        DRIVER_TEST(test_a_device_that_is_configured_late_is_told_and_recorded),
        DRIVER_TEST(test_a_recording_replays_to_the_same_outputs),
        DRIVER_TEST(test_a_recording_of_a_lost_device_replays_to_the_same_outputs),
        DRIVER_TEST(test_a_recording_of_lost_sockets_replays_to_the_same_outputs),
        DRIVER_TEST(test_the_cause_of_an_end_is_read_or_refused),
        DRIVER_TEST(test_a_cut_recording_is_a_prefix_or_refused),
        DRIVER_TEST(test_a_damaged_recording_never_breaks_anything),
        DRIVER_TEST(test_a_time_that_no_clock_reads_is_refused),
        DRIVER_TEST(test_a_replay_that_puts_out_something_else_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
