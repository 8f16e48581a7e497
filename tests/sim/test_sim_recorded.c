/* The recorded sessions once more, in a simulated network: gateway behind a NAT, relay and portal,
 * with latency. A scripted portal says what the recorded one said, at the recorded times; what our
 * gateway says must be what the real one said: the same events in the same order, of the same
 * shape and, but for `ref`, the same values. What differs, on purpose:
 * - candidates against the older gateway: another order, other ports, extensions;
 * - candidates that are told again after further authorizations: ours at once after each, the newer
 *   one once for several, the older one never;
 * - heartbeats: the older one sends them every 30 s, ours every 10 s. */
#include <stdio.h>
#include <string.h>

#include "portal/http_upgrade.h"
#include "portal/ws.h"
#include "sim/sim_gateway.h"
#include "sim/sim_relay.h"
#include "tests/support/recording.h"
#include "tests/support/support.h"

#define PORTAL_PORT 8081U
#define UNIX_START  UINT64_C(1795380000) /* credentials and grants of both sessions are valid */

enum who { GATEWAY, PORTAL, RELAY, WHO_COUNT };

struct world {
    struct sim_sched sched;
    struct sim_clock clock; /* of everybody */
    struct sim_rng rng;
    struct sim_trace *trace;
    struct sim_net *net;
    struct sim_streams *streams;
    struct sim_gateway *gateway;
    struct sim_relay *relay;
    struct sim_outbox *relay_out;
    struct rng masks;
    struct http_head head;
    struct ws ws;
    uint32_t stream;
    struct recording recording;
    size_t said; /* lines of the recording */
    bool beats;  /* the recorded gateway sent heartbeats */
    /* What the real gateway said and what ours says; candidates told again are only counted. */
    const cJSON *expected[RECORDING_LINES_MAX];
    size_t expected_count;
    size_t expected_again;
    cJSON *heard[RECORDING_LINES_MAX];
    size_t heard_count;
    size_t heard_again;
};

/* The same candidates as in an earlier message. */
static bool tells_again(const cJSON *msg, const cJSON *const *before, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (recording_is_event(msg, "broadcast_ice_candidates") &&
            cJSON_Compare(cJSON_GetObjectItem(msg, "payload"),
                          cJSON_GetObjectItem(before[i], "payload"), true)) {
            return true;
        }
    }
    return false;
}

/* ---- the portal ---- */

static void send_bytes(struct world *w, struct view bytes)
{
    size_t taken = 0;
    assert_int_equal(sim_stream_send(w->streams, PORTAL, w->stream, bytes, &taken), ERR_NONE);
    assert_int_equal(taken, bytes.len);
}

static void send_text(struct world *w, const char *text)
{
    uint8_t room[4096];
    assert_int_equal(ws_send_text(&w->ws, view_text(text)), ERR_NONE);
    while (ws_wants_drain(&w->ws)) {
        send_bytes(w, (struct view){room, ws_drain(&w->ws, (struct span){room, sizeof(room)})});
    }
}

/* Which message a reply answers, counted without what was told again. */
static size_t answered_by(const struct world *w, const cJSON *reply)
{
    size_t at = 0;
    while (at < w->expected_count &&
           !cJSON_Compare(cJSON_GetObjectItem(reply, "ref"),
                          cJSON_GetObjectItem(w->expected[at], "ref"), true)) {
        at++;
    }
    assert_true(at < w->expected_count);
    return at;
}

/* Sends a line; false: a reply to what our gateway has not said yet. A reply gets its `ref`. */
static bool send_line(struct world *w, const cJSON *line)
{
    cJSON *msg = cJSON_Duplicate(line, true);
    bool is_reply = recording_is_event(msg, "phx_reply");
    size_t at = is_reply ? answered_by(w, msg) : 0;
    bool is_due = !is_reply || at < w->heard_count;
    if (is_due) {
        if (is_reply) {
            cJSON_SetNumberValue(cJSON_GetObjectItem(msg, "ref"),
                                 cJSON_GetNumberValue(cJSON_GetObjectItem(w->heard[at], "ref")));
        }
        char *text = cJSON_PrintUnformatted(msg);
        send_text(w, text);
        cJSON_free(text);
    }
    cJSON_Delete(msg);
    return is_due;
}

/* Says what is due. */
static void say(void *context, uint64_t value)
{
    struct world *w = context;
    (void)value;
    for (; w->said < w->recording.count; w->said++) {
        const cJSON *msg = recording_message(&w->recording, w->said, "to");
        if (msg == NULL) {
            continue;
        }
        if (recording_time_ns(&w->recording, w->said) > w->sched.now_ns || !send_line(w, msg)) {
            return;
        }
    }
}

static void hear(struct world *w, struct view text)
{
    char reply[160];
    cJSON *msg = cJSON_ParseWithLength((const char *)text.at, text.len);
    assert_non_null(msg);
    if (recording_is_event(msg, "heartbeat") && !w->beats) {
        (void)snprintf(reply, sizeof(reply),
                       "{\"ref\":%d,\"topic\":\"phoenix\",\"event\":\"phx_reply\","
                       "\"payload\":{\"status\":\"ok\",\"response\":{}}}",
                       (int)cJSON_GetNumberValue(cJSON_GetObjectItem(msg, "ref")));
        send_text(w, reply);
        cJSON_Delete(msg);
        return;
    }
    if (tells_again(msg, (const cJSON *const *)w->heard, w->heard_count)) {
        assert_true(recording_is_event(w->heard[w->heard_count - 1], "flow_authorized"));
        w->heard_again++;
        cJSON_Delete(msg);
        return;
    }
    assert_true(w->heard_count < RECORDING_LINES_MAX);
    w->heard[w->heard_count++] = msg;
    say(w, 0);
}

static void take_bytes(struct world *w, struct view bytes)
{
    struct ws_event event;
    if (!ws_is_live(&w->ws)) {
        struct http_request request;
        uint8_t room[512];
        size_t used = 0;
        enum http_verdict verdict = http_handle_request(&w->head, bytes, &used, &request);
        if (verdict == HTTP_MORE) {
            return;
        }
        assert_int_equal(verdict, HTTP_DONE);
        assert_true(request.upgrade);
        struct writer out = writer_of((struct span){room, sizeof(room)});
        http_put_upgrade_response(&out, request.ws_key);
        assert_true(writer_finish(&out));
        send_bytes(w, writer_view(&out));
        assert_int_equal(ws_init(&w->ws, WS_SERVER, &w->masks), ERR_NONE);
        bytes = view_sub(bytes, used, bytes.len - used);
    }
    ws_feed(&w->ws, bytes);
    while (ws_poll(&w->ws, &event)) {
        assert_int_equal(event.kind, WS_TEXT);
        hear(w, event.text);
    }
}

static void on_stream(void *self, uint32_t node, const struct gateway_stream_event *event)
{
    struct world *w = self;
    if (node == GATEWAY) {
        sim_platform_stream(sim_gateway_platform(w->gateway), event);
    } else if (event->kind == GATEWAY_STREAM_ACCEPTED) {
        assert_int_equal(w->stream, 0); /* one connection carries all */
        w->stream = event->stream;
    } else {
        assert_int_equal(event->kind, GATEWAY_STREAM_BYTES);
        take_bytes(w, event->bytes);
    }
}

/* ---- the relay ---- */

static void carry_relay(struct world *w)
{
    for (size_t i = 0; i < sim_outbox_count(w->relay_out); i++) {
        const struct sim_out *out = sim_outbox_at(w->relay_out, i);
        if (out->kind == SIM_OUT_DATAGRAM) {
            (void)sim_net_send(w->net, RELAY, &out->datagram);
        }
    }
    sim_outbox_clear(w->relay_out);
}

static void on_datagram(void *self, uint32_t node, const struct sim_datagram *datagram)
{
    struct world *w = self;
    if (node == GATEWAY) {
        sim_platform_datagram(sim_gateway_platform(w->gateway), datagram);
    } else if (node == RELAY) {
        struct clock_pair now = sim_clock_at(&w->clock, w->sched.now_ns);
        sim_relay_handle_datagram(w->relay, now, datagram, w->relay_out);
        carry_relay(w);
    }
}

/* ---- the world ---- */

static void on_mark(void *self, uint64_t token, bool lost)
{
    (void)self;
    (void)token;
    (void)lost;
}

static struct duration never(void *self, struct clock_pair now, uint32_t gateway,
                             const struct gateway_lookup *lookup)
{
    (void)self;
    (void)now;
    (void)gateway;
    (void)lookup;
    fail_msg("nothing is looked up in these sessions");
    return DURATION_S(0);
}

static void on_tun(void *self, uint32_t gateway, struct view packet)
{
    (void)self;
    (void)gateway;
    (void)packet;
    fail_msg("nobody sends packets");
}

static void on_tun_configured(void *self, uint32_t gateway, const struct gateway_tun_config *config)
{
    (void)self;
    (void)gateway;
    (void)config;
}

static void on_bad_output(void *self, uint32_t gateway, const char *text)
{
    (void)self;
    (void)gateway;
    fail_msg("%s", text);
}

static void on_failed(void *self, const char *oracle, const char *text)
{
    (void)self;
    fail_msg("%s: %s", oracle, text);
}

static void on_event(void *self, uint32_t gateway, const struct trace_event *event)
{
    (void)self;
    (void)gateway;
    (void)event;
}

static void on_stepped(void *self, uint32_t gateway)
{
    (void)self;
    (void)gateway;
}

static void on_ended(void *self, uint32_t gateway, int exit_code)
{
    (void)self;
    (void)gateway;
    fail_msg("the gateway ended with %d", exit_code);
}

static void start(void *context, uint64_t value)
{
    struct world *w = context;
    (void)value;
    sim_gateway_start(w->gateway);
}

static void build_net(struct world *w)
{
    static const char *const names[WHO_COUNT] = {"gateway", "portal", "relay"};
    const struct sim_host_addresses addresses[WHO_COUNT] = {
        {ip_v4(10, 2, 0, 2), {0}}, {ip_v4(203, 0, 113, 20), {0}}, {ip_v4(203, 0, 113, 10), {0}}};
    const struct sim_nat_config nat = {.translate_v4 = true,
                                       .filtering = SIM_NAT_ADDRESS_AND_PORT,
                                       .timeout_s = 120,
                                       .outer = ip_v4(203, 0, 113, 40)};
    const struct sim_link link = {.latency_ns = 50 * NS_PER_US};
    w->net = sim_net_new(&w->sched, w->trace, &w->rng, on_datagram, w);
    uint32_t edge = sim_net_add_edge(w->net, &nat, SIM_EDGE_NONE);
    for (uint32_t i = 0; i < WHO_COUNT; i++) {
        struct sim_host_addresses own = addresses[i];
        uint32_t node = sim_net_add_node(w->net, i == GATEWAY ? edge : SIM_EDGE_NONE, names[i]);
        assert_int_equal(node, i);
        if (i == RELAY) {
            assert_true(ip_parse(view_text("2001:db8:113::10"), &own.ipv6));
            sim_relay_handle_addresses(w->relay, sim_clock_at(&w->clock, 0), &own, w->relay_out);
            carry_relay(w);
        }
        sim_net_set_addresses(w->net, node, &own);
        sim_net_set_link(w->net, node, SIM_UP, &link);
        sim_net_set_link(w->net, node, SIM_DOWN, &link);
    }
    w->streams = sim_streams_new(&w->sched, w->trace, &w->rng, w->net,
                                 (struct sim_stream_sink){w, on_stream, on_mark});
    sim_stream_listen(w->streams, PORTAL, PORTAL_PORT);
}

static void build_gateway(struct world *w)
{
    struct sim_gateway_config config = {
        .platform = {.node = GATEWAY,
                     .clock = w->clock,
                     .sched = &w->sched,
                     .trace = w->trace,
                     .rng = &w->rng,
                     .net = w->net,
                     .streams = w->streams,
                     .resolver = {.start = never},
                     .world = {.tun_packet = on_tun,
                               .tun_configured = on_tun_configured,
                               .bad_output = on_bad_output}},
        .limits = gateway_limits_default(),
        .api_url = "ws://203.0.113.20:8081",
        .token = "gatewaytoken",
        .firezone_id = "gateway-1",
        .name = "gw",
        .partition_max_s = 86400,
        .aead = GATEWAY_AEAD_LIBSODIUM,
        .failed = on_failed,
        .event = on_event,
        .stepped = on_stepped,
        .ended = on_ended,
    };
    config.limits.clients = 4;
    config.limits.nat_sessions = 1024;
    w->gateway = sim_gateway_new(&config);
}

/* A world in which the relay gives the recorded port. */
static void build(struct world *w, const char *folder, enum sim_relay_mode mode, uint16_t port)
{
    static const uint8_t seed[32] = {7};
    *w = (struct world){.clock = {.unix_start_ns = UNIX_START * NS_PER_S}, .rng = sim_rng_of(3)};
    struct sim_relay_config relay = {.mode = mode, .port_lowest = port, .port_highest = port};
    w->recording = recording_load(folder);
    memcpy(relay.secret, w->recording.relay_secret, sizeof(relay.secret));
    sim_sched_init(&w->sched);
    rng_init(&w->masks, seed);
    w->trace = sim_trace_new();
    sim_trace_set_clock(w->trace, &w->sched.now_ns);
    w->relay = sim_relay_new(&relay);
    w->relay_out = sim_outbox_new();
    build_net(w);
    build_gateway(w);
    sim_sched_at(&w->sched, recording_time_ns(&w->recording, 0) - NS_PER_MS, start, w, 0);
    for (size_t i = 0; i < w->recording.count; i++) {
        const cJSON *msg = recording_message(&w->recording, i, "from");
        sim_sched_at(&w->sched, recording_time_ns(&w->recording, i), say, w, 0);
        if (msg != NULL && tells_again(msg, w->expected, w->expected_count)) {
            w->expected_again++;
        } else if (msg != NULL) {
            w->expected[w->expected_count++] = msg;
            w->beats = w->beats || recording_is_event(msg, "heartbeat");
        }
    }
}

static void tear_down(struct world *w)
{
    for (size_t i = 0; i < w->heard_count; i++) {
        cJSON_Delete(w->heard[i]);
    }
    recording_free(&w->recording);
    sim_gateway_free(w->gateway);
    ws_free(&w->ws);
    sim_streams_free(w->streams);
    sim_net_free(w->net);
    sim_outbox_free(w->relay_out);
    sim_relay_free(w->relay);
    sim_trace_free(w->trace);
    sim_sched_free(&w->sched);
}

/* Until a second after the last message. */
static void run(struct world *w)
{
    uint64_t until = recording_time_ns(&w->recording, w->recording.count - 1) + NS_PER_S;
    while (sim_sched_step(&w->sched, until)) {
    }
    assert_int_equal(w->said, w->recording.count);
    recording_check_refusals(gateway_counters(sim_gateway_core(w->gateway)));
}

static void check_older_candidates(const cJSON *theirs, const cJSON *own)
{
    const cJSON *a = cJSON_GetObjectItem(theirs, "payload");
    const cJSON *b = cJSON_GetObjectItem(own, "payload");
    assert_true(cJSON_Compare(cJSON_GetObjectItem(a, "client_ids"),
                              cJSON_GetObjectItem(b, "client_ids"), true));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(a, "candidates")),
                     cJSON_GetArraySize(cJSON_GetObjectItem(b, "candidates")));
}

static void compare(const struct world *w, bool older)
{
    assert_int_equal(w->heard_count, w->expected_count);
    for (size_t i = 0; i < w->heard_count; i++) {
        const cJSON *theirs = w->expected[i];
        const cJSON *own = w->heard[i];
        recording_check_shape(theirs, own);
        assert_true(
            recording_is_event(own, cJSON_GetStringValue(cJSON_GetObjectItem(theirs, "event"))));
        assert_true(cJSON_Compare(cJSON_GetObjectItem(theirs, "topic"),
                                  cJSON_GetObjectItem(own, "topic"), true));
        if (older && recording_is_event(theirs, "broadcast_ice_candidates")) {
            check_older_candidates(theirs, own);
        } else {
            assert_true(cJSON_Compare(cJSON_GetObjectItem(theirs, "payload"),
                                      cJSON_GetObjectItem(own, "payload"), true));
        }
    }
    assert_int_equal(w->expected_again, older ? 0 : 1);
    assert_int_equal(w->heard_again, 2); /* three authorizations, equal credentials */
}

static void
the_older_session_in_the_simulator_gives_the_same_messages_in_the_same_order(void **state)
{
    static struct world w;
    (void)state;
    build(&w, "base", SIM_RELAY_V142, 49324);
    run(&w);
    compare(&w, true);
    tear_down(&w);
}

static void
the_newer_session_in_the_simulator_gives_the_same_messages_in_the_same_order(void **state)
{
    static struct world w;
    (void)state;
    build(&w, "head", SIM_RELAY_HEAD, 55730);
    run(&w);
    compare(&w, false);
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            the_older_session_in_the_simulator_gives_the_same_messages_in_the_same_order),
        cmocka_unit_test(
            the_newer_session_in_the_simulator_gives_the_same_messages_in_the_same_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
