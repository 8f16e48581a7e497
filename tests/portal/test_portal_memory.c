/* Each allocation of the libraries fails once, or for a while: the WebSocket and the client of the
 * portal lose no message in silence, and are whole again as soon as there is memory. */
#include <string.h>

#include "portal/portal_client.h"
#include "tests/support/failing_malloc.h"
#include "tests/support/support.h"

/* The library forgets what it holds already when the next allocation for it fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libwslay";
}

/* ---- the WebSocket alone ---- */

static size_t carry(struct ws *from, struct ws *to)
{
    uint8_t bytes[512];
    size_t total = 0;
    size_t len = 0;
    while ((len = ws_drain(from, (struct span){bytes, sizeof(bytes)})) > 0) {
        ws_feed(to, (struct view){bytes, len});
        total += len;
    }
    return total;
}

/* What arrived at one end. */
struct arrived {
    unsigned texts;
    bool ended;
    bool failed;
};

static struct arrived read_all(struct ws *ws)
{
    struct arrived arrived = {0};
    struct ws_event event;
    while (ws_poll(ws, &event)) {
        if (event.kind == WS_TEXT) {
            assert_true(view_equal_text(event.text, "one") || view_equal_text(event.text, "two"));
            arrived.texts++;
        } else {
            arrived.ended = true;
            arrived.failed = event.failed;
        }
    }
    return arrived;
}

static bool websocket_with_failing(unsigned number, bool on)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    struct rng rng;
    struct ws client;
    struct ws server;
    unsigned queued = 0;
    rng_init(&rng, seed);
    assert_int_equal(ws_init(&server, WS_SERVER, &rng), ERR_NONE);
    arm(number, on);
    enum err err = ws_init(&client, WS_CLIENT, &rng);
    if (err != ERR_NONE) {
        assert_int_equal(err, ERR_MEMORY);
        assert_false(ws_is_live(&client));
        ws_free(&client);
        ws_free(&server);
        return disarm();
    }
    static const char *const texts[] = {"one", "two"};
    for (size_t i = 0; i < 2; i++) {
        err = ws_send_text(&client, view_text(texts[i]));
        assert_true(err == ERR_NONE || err == ERR_MEMORY);
        queued += err == ERR_NONE ? 1 : 0;
    }
    err = ws_send_ping(&client, view_text("?"));
    assert_true(err == ERR_NONE || err == ERR_MEMORY);
    (void)carry(&client, &server);
    (void)carry(&server, &client);
    struct arrived at_server = read_all(&server);
    struct arrived at_client = read_all(&client);
    assert_true(at_server.texts == queued || at_server.failed);
    bool broken = at_client.ended || at_server.ended;
    if (!broken) {
        ws_close(&client, 1000, VIEW_EMPTY);
        (void)carry(&client, &server);
        (void)carry(&server, &client);
    }
    bool reached = disarm();
    ws_free(&client);
    ws_free(&server);
    return reached;
}

static void test_a_websocket_without_memory_ends_and_loses_nothing_in_silence(void **state)
{
    (void)state;
    for (unsigned on = 0; on < 2; on++) {
        unsigned number = 1;
        while (websocket_with_failing(number, on == 1)) {
            number++;
        }
        assert_true(number > 10); /* the library allocates for itself and for each message */
    }
}

/* ---- a session ---- */

struct session {
    struct portal_client c;
    struct rng rng;
    struct clock_pair now;
    uint32_t next_id;
    uint32_t stream; /* the one that is open, 0 without */
    bool to_open;
    bool starves; /* no memory for what follows the reply to the join */
    unsigned joined;
    unsigned inits;
    unsigned flows;
    unsigned refused;
    unsigned told; /* of them, those that are for the log */
    unsigned lost;
    unsigned fatal;
    enum portal_msg_kind shown[8]; /* all messages, in order */
    size_t shown_count;
    bool takes_all; /* the last init: no authorization is listed */
};

#define CHANNEL(event, payload)                                                                    \
    "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"" event "\",\"payload\":" payload "}"
static const char join_ok[] = "{\"ref\":0,\"topic\":\"gateway\",\"event\":\"phx_reply\","
                              "\"payload\":{\"status\":\"ok\",\"response\":{}}}";
static const char init[] =
    CHANNEL("init", "{\"interface\":{\"ipv4\":\"100.70.1.2\",\"ipv6\":\"fd00:2021:1111::7:102\"},"
                    "\"config\":{\"ipv4_masquerade_enabled\":true,"
                    "\"ipv6_masquerade_enabled\":true}}");
static const char updated[] =
    CHANNEL("resource_updated", "{\"id\":\"11111111-1111-4111-8111-111111111111\",\"type\":"
                                "\"cidr\",\"address\":\"10.0.0.0/8\",\"name\":\"n\",\"filters\":"
                                "[{\"protocol\":\"tcp\",\"port_range_start\":1,"
                                "\"port_range_end\":2}]}");

static void take(struct session *s, const struct portal_output *out)
{
    switch (out->kind) {
    case PORTAL_OUT_LOOKUP:
        fail(); /* the URL has an address */
        break;
    case PORTAL_OUT_OPEN:
        s->stream = out->u.open.stream;
        s->to_open = true;
        break;
    case PORTAL_OUT_SEND:
        assert_true(portal_client_stream_sent(&s->c, out->u.send.stream, out->u.send.bytes.len));
        break;
    case PORTAL_OUT_CLOSE:
        s->stream = s->stream == out->u.close ? 0 : s->stream;
        break;
    case PORTAL_OUT_MESSAGE:
        assert_true(s->shown_count < ARRAY_COUNT(s->shown));
        s->shown[s->shown_count++] = out->u.message->kind;
        if (out->u.message->kind == PORTAL_MSG_INIT) {
            s->takes_all = out->u.message->u.init.has_authorizations &&
                           out->u.message->u.init.authorizations.count == 0;
        }
        s->inits += out->u.message->kind == PORTAL_MSG_INIT ? 1 : 0;
        s->flows += out->u.message->kind == PORTAL_MSG_RESOURCE_UPDATED ? 1 : 0;
        break;
    case PORTAL_OUT_REFUSED:
        assert_int_equal(out->u.refused.reason, DROP_JSON_MEMORY);
        s->told += out->u.refused.is_again ? 0 : 1;
        s->refused++;
        break;
    case PORTAL_OUT_JOINED:
        s->joined++;
        break;
    case PORTAL_OUT_LOST:
        s->lost++;
        break;
    case PORTAL_OUT_FATAL:
        s->fatal++;
        break;
    }
}

static void drain(struct session *s)
{
    struct portal_output out;
    while (portal_client_poll(&s->c, &out)) {
        take(s, &out);
        portal_client_check(&s->c);
    }
}

static void give(struct session *s, enum portal_stream_kind kind, struct view bytes)
{
    if (s->stream == 0) {
        return;
    }
    struct portal_stream_event event = {kind, s->stream, bytes, ERR_NONE};
    (void)portal_client_handle_stream(&s->c, &event, s->now);
    drain(s);
}

static void say(struct session *s, const char *text)
{
    uint8_t frame[1024];
    struct writer w = writer_of((struct span){frame, sizeof(frame)});
    writer_u8(&w, 0x81);
    if (strlen(text) < 126) {
        writer_u8(&w, (uint8_t)strlen(text));
    } else {
        writer_u8(&w, 126);
        writer_be16(&w, (uint16_t)strlen(text));
    }
    writer_text(&w, text);
    assert_true(writer_finish(&w));
    give(s, PORTAL_STREAM_BYTES, writer_view(&w));
}

static void talk(struct session *s)
{
    uint8_t key_text[HTTP_WS_KEY_SIZE];
    uint8_t text[256];
    drain(s);
    if (!s->to_open || s->stream == 0) {
        return;
    }
    s->to_open = false;
    give(s, PORTAL_STREAM_OPENED, VIEW_EMPTY);
    struct writer key = writer_of((struct span){key_text, sizeof(key_text)});
    struct writer w = writer_of((struct span){text, sizeof(text)});
    text_put_base64(&key, VIEW_OF(s->c.nonce), true);
    http_put_upgrade_response(&w, writer_view(&key));
    give(s, PORTAL_STREAM_BYTES, writer_view(&w));
    say(s, join_ok);
    if (s->starves) {
        arm(1, true);
        say(s, init);
        (void)disarm();
        return;
    }
    say(s, init);
    say(s, updated);
    (void)!portal_client_send_flow_authorized(&s->c, view_text("ref"));
    drain(s);
}

static void pass(struct session *s, struct instant to)
{
    uint64_t ns = instant_before(s->now.boot, to) ? to.ns - s->now.boot.ns : 0;
    s->now.boot.ns += ns;
    s->now.unix_ns += ns;
    portal_client_handle_timeout(&s->c, s->now);
    talk(s);
}

/* Passes time from wake-up to wake-up. */
static void wait_for(struct session *s, uint64_t ms)
{
    struct instant end = instant_add(s->now.boot, DURATION_MS(ms));
    unsigned steps = 0;
    struct instant at = portal_client_poll_timeout(&s->c).at;
    for (; !instant_before(end, at); at = portal_client_poll_timeout(&s->c).at) {
        assert_true(steps++ < 1000);
        pass(s, at);
    }
    pass(s, end);
}

static struct session s; /* too large for the stack */

static void start_session(void)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {3};
    memset(&s, 0, sizeof(s));
    s.next_id = 1;
    s.now = (struct clock_pair){{1000 * NS_PER_S}, 784111700 * NS_PER_S};
    rng_init(&s.rng, seed);
    struct portal_client_config config = {
        .api_url = view_text("ws://192.0.2.1"),
        .token = view_text("token"),
        .firezone_id = view_text("id"),
        .name = view_text("gw"),
        .public_key = seed,
        .user_agent = view_text("connlib/1.5.2"),
        .next_id = &s.next_id,
        .rng = &s.rng,
    };
    assert_int_equal(portal_client_init(&s.c, &config, s.now), ERR_NONE);
}

static bool session_with_failing(unsigned number, bool on)
{
    start_session();
    arm(number, on);
    talk(&s);
    bool reached = disarm();
    /* What was told arrives, or the connection has ended. */
    if (s.lost == 0) {
        wait_for(&s, PORTAL_MEMORY_RETRY_MS);
        assert_true(s.joined == 0 || (s.inits == 1 && s.flows == 1) || s.lost > 0);
    }
    s.inits = 0;
    s.flows = 0;
    if (!reached) {
        assert_int_equal(s.lost + s.refused, 0);
    } else if (portal_client_is_joined(&s.c)) {
        say(&s, init);
        say(&s, updated);
    }
    for (unsigned i = 0; reached && i < 60 && s.inits == 0; i++) {
        wait_for(&s, 1000);
    }
    assert_int_equal(s.fatal, 0);
    assert_true(!reached || (portal_client_is_joined(&s.c) && s.inits > 0 && s.flows > 0));
    assert_false(portal_client_has_lost(&s.c));
    portal_client_deinit(&s.c);
    return reached;
}

static void test_a_session_without_memory_comes_back_when_there_is_some(void **state)
{
    (void)state;
    for (unsigned on = 0; on < 2; on++) {
        unsigned number = 1;
        while (session_with_failing(number, on == 1)) {
            number++;
        }
        assert_true(number > 10); /* the WebSocket; text and tree of three messages */
    }
}

/* ---- messages ---- */

#define ID       "11111111-1111-4111-8111-111111111111"
#define RESOURCE "{\"id\":\"" ID "\",\"type\":\"internet\"}"
#define KEY      "\"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\""
#define ICE      "{\"username\":\"uuuu\",\"password\":\"pppppppppppppppppppppp\"}"
#define ADDRESS  "\"ipv4\":\"100.66.0.9\",\"ipv6\":\"fd00::1\""
#define KEYS     "\"public_key\":" KEY ",\"preshared_key\":" KEY
#define FLOW                                                                                       \
    "{\"ref\":\"r\",\"resource\":" RESOURCE ",\"gateway_ice_credentials\":" ICE                    \
    ",\"client_ice_credentials\":" ICE ",\"client\":{\"id\":\"" ID "\"," KEYS "," ADDRESS          \
    "},\"expires_at\":null}"
#define RIGHT "{\"client_id\":\"" ID "\",\"resource_id\":\"" ID "\""

struct message {
    enum portal_msg_kind kind;
    const char *text;
};

static const struct message messages[] = {
    {PORTAL_MSG_INIT, init},
    {PORTAL_MSG_INIT, CHANNEL("init", "{\"interface\":{" ADDRESS "},\"relays\":[],"
                                      "\"config\":{\"ipv4_masquerade_enabled\":true,"
                                      "\"ipv6_masquerade_enabled\":true},\"flow_logs\":{},"
                                      "\"authorizations\":[" RIGHT ",\"expires_at\":9}]}")},
    {PORTAL_MSG_REJECT_ACCESS, CHANNEL("reject_access", RIGHT "}")},
    {PORTAL_MSG_AUTHORIZE_FLOW, CHANNEL("authorize_flow", FLOW)},
    {PORTAL_MSG_AUTHORIZE_FLOW, CHANNEL("create_authorization", FLOW)},
    {PORTAL_MSG_RESOURCE_UPDATED, updated},
    {PORTAL_MSG_RESOURCE_REMOVED, CHANNEL("resource_updated", "{\"id\":\"" ID "\"}")},
    {PORTAL_MSG_EXPIRY_UPDATED,
     CHANNEL("access_authorization_expiry_updated", RIGHT ",\"expires_at\":1}")},
    {PORTAL_MSG_RELAYS_PRESENCE,
     CHANNEL("relays_presence", "{\"disconnected_ids\":[\"" ID "\"],\"connected\":[]}")},
    {PORTAL_MSG_ICE_CANDIDATES,
     CHANNEL("ice_candidates", "{\"client_id\":\"" ID "\",\"candidates\":[\"c\"]}")},
    {PORTAL_MSG_INVALIDATE_ICE_CANDIDATES,
     CHANNEL("invalidate_ice_candidates", "{\"client_id\":\"" ID "\",\"candidates\":[\"c\"]}")},
    {PORTAL_MSG_REQUEST_CONNECTION,
     CHANNEL("request_connection",
             "{\"ref\":\"r\",\"resource\":" RESOURCE ",\"expires_at\":null,\"client\":{\"id\":\"" ID
             "\",\"payload\":{\"ice_parameters\":" ICE "},\"peer\":{" KEYS "," ADDRESS "}}}")},
    {PORTAL_MSG_ALLOW_ACCESS,
     CHANNEL("allow_access", "{\"ref\":\"r\",\"resource\":" RESOURCE ",\"expires_at\":7,"
                             "\"client_id\":\"" ID "\",\"client_ipv4\":\"100.66.0.9\","
                             "\"client_ipv6\":\"fd00::1\"}")},
};
static const char behind[] = CHANNEL("reject_access", RIGHT "}");

/* A joined session, in which nothing has been shown yet. */
static void join(void)
{
    start_session();
    talk(&s);
    assert_true(portal_client_is_joined(&s.c) && s.inits == 1);
    s.shown_count = 0;
    s.inits = 0;
    s.flows = 0;
}

static bool message_with_failing(const struct message *message, unsigned number, bool on)
{
    join();
    arm(number, on);
    say(&s, message->text);
    bool reached = disarm();
    bool waits = s.refused > 0;
    say(&s, behind);
    if (waits) {
        assert_int_equal(s.shown_count, 0); /* nothing overtakes it */
        assert_int_equal(s.lost, 0);
        assert_true(portal_client_poll_timeout(&s.c).at.ns <=
                    s.now.boot.ns + PORTAL_MEMORY_RETRY_MS * NS_PER_MS);
    }
    wait_for(&s, PORTAL_MEMORY_RETRY_MS);
    if (s.lost == 0) {
        assert_int_equal(s.shown_count, 2);
        assert_int_equal(s.shown[0], message->kind);
        assert_int_equal(s.shown[1], PORTAL_MSG_REJECT_ACCESS);
    } else {
        wait_for(&s, 2 * PORTAL_BACKOFF_BASE_MS);
        assert_int_equal(s.joined, 2);
        assert_true(s.inits > 0 && s.takes_all); /* no right goes on that it does not know of */
        say(&s, init);
        assert_false(s.takes_all);
    }
    assert_int_equal(s.refused, waits ? 1 : 0);
    portal_client_deinit(&s.c);
    return reached;
}

static void test_a_message_without_memory_is_read_again_or_the_connection_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_COUNT(messages); i++) {
        unsigned number = 1;
        while (message_with_failing(&messages[i / 2], number, i % 2 == 1)) {
            number++;
        }
        assert_true(number > 7); /* frame and text, and a block for each value */
    }
}

static void test_a_reply_without_memory_still_counts_for_its_heartbeat(void **state)
{
    static const char reply[] = "{\"ref\":2,\"topic\":\"phoenix\",\"event\":\"phx_reply\","
                                "\"payload\":{\"status\":\"ok\",\"response\":{}}}";
    (void)state;
    join();
    wait_for(&s, PORTAL_HEARTBEAT_S * 1000);
    assert_int_equal(s.c.heartbeats_open, 1);
    assert_int_equal(s.c.heartbeat_refs[0], 2); /* the join and an answer went before */
    arm(5, true);
    say(&s, reply);
    wait_for(&s, 1000);
    assert_true(disarm());
    assert_int_equal(s.c.heartbeats_open, 1);
    wait_for(&s, PORTAL_MEMORY_RETRY_MS);
    assert_int_equal(s.c.heartbeats_open, 0);
    assert_int_equal(s.lost, 0);
    portal_client_deinit(&s.c);
}

static void test_without_memory_for_long_the_connection_is_given_up(void **state)
{
    (void)state;
    unsigned number = 1;
    do {
        join();
        arm(number++, true);
        say(&s, behind); /* at the first numbers, its frame finds no memory */
        if (s.refused == 0) {
            (void)disarm();
            portal_client_deinit(&s.c);
        }
    } while (s.refused == 0);
    wait_for(&s, PORTAL_MEMORY_TIMEOUT_S * 1000 - 1);
    unsigned lost = s.lost;
    wait_for(&s, 1);
    assert_true(disarm());
    assert_int_equal(lost, 0);
    assert_int_equal(s.told, 1); /* one line, */
    assert_int_equal(s.refused, 1 + PORTAL_MEMORY_TIMEOUT_S * 1000 / PORTAL_MEMORY_RETRY_MS);
    assert_int_equal(s.lost, 1);
    assert_int_equal(s.shown_count, 0);
    wait_for(&s, 2 * PORTAL_BACKOFF_BASE_MS);
    assert_int_equal(s.joined, 2);
    assert_int_equal(s.inits, 1);
    portal_client_deinit(&s.c);
}

/* The rights of the last `init` that was read would stay for ever. */
static void test_a_join_whose_init_finds_no_memory_does_not_start_the_budget_again(void **state)
{
    (void)state;
    join();
    s.starves = true;
    arm(1, true);
    say(&s, behind);
    (void)disarm();
    assert_int_equal(s.lost, 1);
    uint64_t budget = s.c.backoff.total_ms;
    assert_true(budget > 0);
    for (unsigned i = 0; i < 5; i++) {
        unsigned joined = s.joined;
        while (s.joined == joined) {
            wait_for(&s, 1000);
        }
        assert_true(s.c.backoff.total_ms > budget);
        budget = s.c.backoff.total_ms;
    }
    s.starves = false;
    while (s.inits == 0) {
        wait_for(&s, 1000);
    }
    assert_int_equal(s.c.backoff.total_ms, 0);
    portal_client_deinit(&s.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_websocket_without_memory_ends_and_loses_nothing_in_silence),
        cmocka_unit_test(test_a_session_without_memory_comes_back_when_there_is_some),
        cmocka_unit_test(test_a_message_without_memory_is_read_again_or_the_connection_ends),
        cmocka_unit_test(test_a_reply_without_memory_still_counts_for_its_heartbeat),
        cmocka_unit_test(test_without_memory_for_long_the_connection_is_given_up),
        cmocka_unit_test(test_a_join_whose_init_finds_no_memory_does_not_start_the_budget_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
