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
    unsigned joined;
    unsigned inits;
    unsigned flows;
    unsigned refused;
    unsigned lost;
    unsigned fatal;
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
        s->inits += out->u.message->kind == PORTAL_MSG_INIT ? 1 : 0;
        s->flows += out->u.message->kind == PORTAL_MSG_RESOURCE_UPDATED ? 1 : 0;
        break;
    case PORTAL_OUT_REFUSED:
        assert_int_equal(out->u.refused.reason, DROP_JSON_LIMIT);
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
    uint8_t frame[512];
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
    say(s, init);
    say(s, updated);
    (void)!portal_client_send_flow_authorized(&s->c, view_text("ref"));
    drain(s);
}

static void pass(struct session *s, uint64_t ms)
{
    s->now.boot = instant_add(s->now.boot, DURATION_MS(ms));
    s->now.unix_ns += ms * NS_PER_MS;
    portal_client_handle_timeout(&s->c, s->now);
    talk(s);
}

static bool session_with_failing(unsigned number, bool on)
{
    static struct session s; /* too large for the stack */
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
    arm(number, on);
    talk(&s);
    bool reached = disarm();
    /* What was told arrived, was counted as refused, or the connection ended. */
    assert_true(s.inits + s.flows + s.refused >= 2 || s.lost > 0 || s.joined == 0);
    s.inits = 0;
    s.flows = 0;
    if (!reached) {
        assert_int_equal(s.lost + s.refused, 0);
    } else if (portal_client_is_joined(&s.c)) {
        say(&s, init);
        say(&s, updated);
    }
    for (unsigned i = 0; reached && i < 60 && s.inits == 0; i++) {
        pass(&s, 1000);
    }
    assert_int_equal(s.fatal, 0);
    assert_true(!reached || (portal_client_is_joined(&s.c) && s.inits > 0 && s.flows > 0));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_websocket_without_memory_ends_and_loses_nothing_in_silence),
        cmocka_unit_test(test_a_session_without_memory_comes_back_when_there_is_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
