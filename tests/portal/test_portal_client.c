#include "portal/portal_client.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

/* A client and a scripted portal: requests are answered through ws as server, over a stream that
 * hands bytes on in pieces of `step`. */
struct world {
    struct portal_client c;
    struct rng rng;
    struct rng server_rng;
    struct clock_pair now;
    uint32_t next_id;
    size_t step;

    uint32_t stream; /* the one the portal talks on, 0 without */
    uint32_t opens_count;
    uint32_t opens[PORTAL_STREAMS_MAX];
    struct sock_addr remotes[PORTAL_STREAMS_MAX];
    uint32_t lookups_count;
    uint32_t lookups[2];
    uint32_t closes_count;
    bool upgraded;
    struct http_head head;
    struct ws server;

    char texts[64][512]; /* what the portal received */
    uint32_t texts_count;
    uint32_t joined;
    uint32_t lost;
    uint32_t fatal;
    uint32_t messages;
    uint32_t refused;
    enum portal_msg_kind last_kind;
    const char *reason;
    struct instant next_at;
    uint16_t close_code; /* the server saw a Close */
};

static const uint8_t public_key[32] = {1};

struct login {
    bool v2;
    bool v2_only;
};

static struct world *start_as(const char *url, struct login login)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {3};
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->next_id = 1;
    w->step = 4096;
    w->now.boot = (struct instant){1000 * NS_PER_S};
    w->now.unix_ns = 784111700 * NS_PER_S;
    rng_init(&w->rng, seed);
    rng_init(&w->server_rng, seed);
    struct portal_client_config config = {
        .api_url = view_text(url),
        .token = view_text("token"),
        .firezone_id = view_text("my-gateway"),
        .name = view_text("gw"),
        .public_key = public_key,
        .user_agent = view_text("Debian/12.0.0 connlib/1.5.2 (x86_64; 6.1.0)"),
        .v2 = login.v2,
        .v2_only = login.v2_only,
        .next_id = &w->next_id,
        .rng = &w->rng,
    };
    assert_int_equal(portal_client_init(&w->c, &config, w->now), ERR_NONE);
    return w;
}

static struct world *start(const char *url)
{
    return start_as(url, (struct login){false, false});
}

static void stop(struct world *w)
{
    portal_client_deinit(&w->c);
    ws_free(&w->server);
    free(w);
}

static void event(struct world *w, enum portal_stream_kind kind, struct view bytes)
{
    struct portal_stream_event e = {kind, w->stream, bytes, ERR_CLOSED};
    assert_true(portal_client_handle_stream(&w->c, &e, w->now));
}

static void take_server_events(struct world *w)
{
    struct ws_event e;
    while (ws_is_live(&w->server) && ws_poll(&w->server, &e)) {
        if (e.kind == WS_CLOSED) {
            w->close_code = e.code;
            continue;
        }
        assert_true(w->texts_count < 64 && e.text.len < 512);
        memcpy(w->texts[w->texts_count], e.text.at, e.text.len);
        w->texts[w->texts_count++][e.text.len] = 0;
    }
}

static void take_output(struct world *w, const struct portal_output *out)
{
    switch (out->kind) {
    case PORTAL_OUT_LOOKUP:
        assert_true(view_equal_text(out->u.lookup.name, "portal.example"));
        w->lookups[w->lookups_count++ % 2] = out->u.lookup.lookup;
        break;
    case PORTAL_OUT_OPEN:
        w->remotes[w->opens_count] = out->u.open.remote;
        w->opens[w->opens_count++] = out->u.open.stream;
        break;
    case PORTAL_OUT_SEND:
        assert_int_equal(out->u.send.stream, w->stream);
        size_t taken = out->u.send.bytes.len < w->step ? out->u.send.bytes.len : w->step;
        if (w->upgraded) {
            ws_feed(&w->server, view_sub(out->u.send.bytes, 0, taken));
            take_server_events(w);
        } else {
            size_t consumed = 0;
            struct http_request request;
            (void)!http_handle_request(&w->head, view_sub(out->u.send.bytes, 0, taken), &consumed,
                                       &request);
        }
        assert_true(portal_client_stream_sent(&w->c, w->stream, taken));
        if (taken < out->u.send.bytes.len) {
            event(w, PORTAL_STREAM_WRITABLE, VIEW_EMPTY);
        }
        break;
    case PORTAL_OUT_CLOSE:
        w->closes_count++;
        w->stream = out->u.close == w->stream ? 0 : w->stream;
        break;
    case PORTAL_OUT_MESSAGE:
        w->messages++;
        w->last_kind = out->u.message->kind;
        break;
    case PORTAL_OUT_REFUSED:
        w->refused++;
        break;
    case PORTAL_OUT_JOINED:
        w->joined++;
        break;
    case PORTAL_OUT_LOST:
        w->lost++;
        w->reason = out->u.lost.reason;
        w->next_at = out->u.lost.next_at;
        break;
    case PORTAL_OUT_FATAL:
        w->fatal++;
        w->reason = out->u.fatal.reason;
        assert_int_equal(out->u.fatal.exit_code, 1);
        break;
    }
}

static void drain(struct world *w)
{
    struct portal_output out;
    portal_client_check(&w->c);
    while (portal_client_poll(&w->c, &out)) {
        take_output(w, &out);
        portal_client_check(&w->c);
    }
}

static void advance(struct world *w, uint64_t ms)
{
    w->now.boot = instant_add(w->now.boot, DURATION_MS(ms));
    w->now.unix_ns += ms * NS_PER_MS;
    portal_client_handle_timeout(&w->c, w->now);
    drain(w);
}

/* Until the next attempt begins. */
static void wait_for_next(struct world *w)
{
    uint64_t ns = instant_since(w->next_at, w->now.boot).ns;
    advance(w, ns / NS_PER_MS + (ns % NS_PER_MS != 0 ? 1 : 0));
}

/* Hands bytes of the portal to the client in pieces. */
static void deliver(struct world *w, struct view bytes)
{
    for (size_t at = 0; at < bytes.len && w->stream != 0;) {
        size_t len = bytes.len - at < w->step ? bytes.len - at : w->step;
        event(w, PORTAL_STREAM_BYTES, view_sub(bytes, at, len));
        drain(w);
        at += len;
    }
}

static void flush_server(struct world *w)
{
    uint8_t bytes[2048];
    size_t len = 0;
    while ((len = ws_drain(&w->server, (struct span){bytes, sizeof(bytes)})) > 0) {
        deliver(w, (struct view){bytes, len});
    }
}

static void say(struct world *w, const char *text)
{
    assert_int_equal(ws_send_text(&w->server, view_text(text)), ERR_NONE);
    flush_server(w);
}

/* Up to the request of the upgrade. */
static void open_stream(struct world *w)
{
    w->upgraded = false;
    w->head.used = 0;
    w->opens_count = 0;
    ws_free(&w->server);
    drain(w);
    if (w->opens_count == 0) {
        struct ip_addr ip = ip_v4(192, 0, 2, 1);
        struct portal_lookup_answer answer = {w->lookups[0], &ip, 1};
        assert_true(portal_client_handle_lookup(&w->c, &answer, w->now));
        drain(w);
    }
    assert_true(w->opens_count > 0);
    w->stream = w->opens[0];
    event(w, PORTAL_STREAM_OPENED, VIEW_EMPTY);
    drain(w);
}

static void upgrade(struct world *w)
{
    uint8_t text[256];
    struct writer out = writer_of((struct span){text, sizeof(text)});
    struct http_request request;
    size_t consumed = 0;
    open_stream(w);
    assert_int_equal(http_handle_request(&w->head, VIEW_EMPTY, &consumed, &request), HTTP_DONE);
    assert_true(request.upgrade);
    http_put_upgrade_response(&out, request.ws_key);
    assert_int_equal(ws_init(&w->server, WS_SERVER, &w->server_rng), ERR_NONE);
    w->upgraded = true;
    w->texts_count = 0;
    deliver(w, writer_view(&out));
}

#define JOIN_OK                                                                                    \
    "{\"ref\":0,\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\","     \
    "\"response\":{}}}"
#define INIT_PAYLOAD                                                                               \
    "\"interface\":{\"ipv4\":\"100.70.1.2\",\"ipv6\":\"fd00:2021:1111::7:102\"},\"config\":"       \
    "{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true}"
#define INIT(extra)                                                                                \
    "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"init\",\"payload\":{" INIT_PAYLOAD extra "}}"

static void join(struct world *w)
{
    uint32_t joined = w->joined;
    upgrade(w);
    assert_string_equal(
        w->texts[0], "{\"topic\":\"gateway\",\"event\":\"phx_join\",\"payload\":null,\"ref\":0}");
    say(w, JOIN_OK);
    assert_int_equal(w->joined, joined + 1);
    assert_true(portal_client_is_joined(&w->c));
}

#define URL "ws://portal.example:8081"

static void test_a_session_in_every_segmentation(void **state)
{
    static const size_t steps[] = {1, 2, 13, 4096};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        struct world *w = start(URL);
        w->step = steps[i];
        assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("r1")), ERR_NONE);
        upgrade(w);
        assert_int_equal(w->texts_count, 1); /* held until the join is answered */
        say(w, JOIN_OK);
        say(w, INIT(""));
        assert_int_equal(w->joined, 1);
        assert_int_equal(w->messages, 1);
        assert_int_equal(w->last_kind, PORTAL_MSG_INIT);
        assert_int_equal(w->texts_count, 2);
        assert_string_equal(w->texts[1], "{\"topic\":\"gateway\",\"event\":\"flow_authorized\","
                                         "\"payload\":{\"ref\":\"r1\"},\"ref\":1}");
        assert_int_equal(w->remotes[0].port, 8081);
        assert_false(portal_client_is_head(&w->c));
        stop(w);
    }
}

static void test_all_addresses_race_and_the_first_wins(void **state)
{
    struct world *w = start("wss://portal.example");
    struct ip_addr ips[3] = {ip_v4(192, 0, 2, 1), ip_v4(192, 0, 2, 2), ip_v4(192, 0, 2, 1)};
    struct ip_addr six;
    (void)state;
    drain(w);
    assert_int_equal(w->lookups_count, 2);
    assert_true(ip_parse(view_text("2001:db8::1"), &six));
    struct portal_lookup_answer a = {w->lookups[0], ips, 3};
    struct portal_lookup_answer b = {w->lookups[1], &six, 1};
    assert_true(portal_client_handle_lookup(&w->c, &a, w->now));
    drain(w);
    assert_int_equal(w->opens_count, 2); /* the duplicate is opened once */
    assert_true(portal_client_handle_lookup(&w->c, &b, w->now));
    drain(w);
    assert_int_equal(w->opens_count, 3);
    assert_int_equal(w->remotes[2].port, 443);
    w->stream = w->opens[0];
    event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
    w->stream = w->opens[2];
    event(w, PORTAL_STREAM_OPENED, VIEW_EMPTY);
    drain(w);
    assert_int_equal(w->closes_count, 1);
    assert_int_equal(w->stream, w->opens[2]);
    assert_int_equal(w->lost, 0);
    stop(w);
}

static void test_addresses_that_wait_are_not_tried_once_one_has_answered(void **state)
{
    struct world *w = start("wss://portal.example");
    struct ip_addr ips[2] = {ip_v4(192, 0, 2, 1), ip_v4(192, 0, 2, 2)};
    struct portal_output out;
    (void)state;
    drain(w);
    struct portal_lookup_answer answer = {w->lookups[0], ips, 2};
    assert_true(portal_client_handle_lookup(&w->c, &answer, w->now));
    assert_true(portal_client_poll(&w->c, &out)); /* and then the platform is busy */
    take_output(w, &out);
    assert_int_equal(w->opens_count, 1);
    w->stream = w->opens[0];
    event(w, PORTAL_STREAM_OPENED, VIEW_EMPTY);
    drain(w);
    assert_int_equal(w->opens_count, 1);
    assert_int_equal(w->closes_count, 0);
    stop(w);
}

/* The other family's empty answer does not hide what an address said. */
static void test_a_name_without_addresses_is_told_from_addresses_that_fail(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world *w = start("wss://portal.example");
        struct ip_addr ip = ip_v4(192, 0, 2, 1);
        drain(w);
        struct portal_lookup_answer a = {w->lookups[0], &ip, i == 0 ? 0 : 1};
        struct portal_lookup_answer b = {w->lookups[1], NULL, 0};
        assert_true(portal_client_handle_lookup(&w->c, &a, w->now));
        drain(w);
        if (i == 1) {
            struct portal_stream_event closed = {PORTAL_STREAM_CLOSED, w->opens[0], VIEW_EMPTY,
                                                 ERR_REFUSED};
            assert_true(portal_client_handle_stream(&w->c, &closed, w->now));
        }
        assert_true(portal_client_handle_lookup(&w->c, &b, w->now));
        drain(w);
        assert_string_equal(w->reason, i == 0 ? "the portal's name could not be resolved"
                                              : "the connection was refused");
        stop(w);
    }
}

/* What an operator can do something about is what is said, whatever else failed. */
static void test_a_certificate_that_is_not_accepted_is_the_reason(void **state)
{
    static const struct {
        enum err why;
        const char *said;
    } second[] = {
        {ERR_TLS_CERTIFICATE, "the portal's certificate is not accepted"},
        {ERR_TLS_DATE, "the portal's certificate is not valid at the time of this clock"},
        {ERR_TLS_NAME, "the portal's certificate is for another name"},
        {ERR_TLS, "the TLS handshake failed"},
        {ERR_UNREACHABLE, "the network or host is unreachable"},
        {ERR_REFUSED, "the connection was refused"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(second); i++) {
        struct world *w = start("ws://[2001:db8::5]:81");
        drain(w);
        struct portal_stream_event closed = {PORTAL_STREAM_CLOSED, w->opens[0], VIEW_EMPTY,
                                             ERR_TLS_CERTIFICATE};
        assert_true(portal_client_handle_stream(&w->c, &closed, w->now));
        drain(w);
        assert_string_equal(w->reason, "the portal's certificate is not accepted");
        advance(w, 1000); /* the next attempt is judged afresh */
        drain(w);
        closed.stream = w->opens[1];
        closed.reason = second[i].why;
        assert_true(portal_client_handle_stream(&w->c, &closed, w->now));
        drain(w);
        assert_string_equal(w->reason, second[i].said);
        stop(w);
    }
}

static void test_a_client_that_is_over_holds_no_token(void **state)
{
    struct world *w = start(URL);
    static const uint8_t zeros[sizeof(w->c.scratch)];
    (void)state;
    open_stream(w);
    assert_memory_equal(w->c.token, "token", 5);
    portal_client_deinit(&w->c);
    assert_memory_equal(w->c.token, zeros, sizeof(w->c.token));
    assert_memory_equal(w->c.out, zeros, sizeof(w->c.out)); /* the request had it, too */
    assert_memory_equal(w->c.scratch, zeros, sizeof(w->c.scratch));
    ws_free(&w->server);
    free(w);
}

static void test_an_ip_literal_needs_no_lookup(void **state)
{
    struct world *w = start("ws://[2001:db8::5]:81");
    (void)state;
    drain(w);
    assert_int_equal(w->lookups_count, 0);
    assert_int_equal(w->opens_count, 1);
    assert_int_equal(w->remotes[0].ip.family, IP_V6);
    struct portal_lookup_answer of_another = {0, NULL, 0};
    assert_false(portal_client_handle_lookup(&w->c, &of_another, w->now));
    stop(w);
}

static void test_without_any_address_the_attempt_fails_and_gives_up_after_15_seconds(void **state)
{
    struct world *w = start(URL);
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        drain(w);
        for (unsigned k = 0; k < 2; k++) {
            struct portal_lookup_answer none = {w->lookups[k], NULL, 0};
            assert_true(portal_client_handle_lookup(&w->c, &none, w->now));
        }
        drain(w);
        if (i < 15) {
            assert_int_equal(w->lost, i + 1);
            assert_true(instant_since(w->next_at, w->now.boot).ns == NS_PER_S);
            advance(w, 999);
            assert_int_equal(w->lookups_count, 2 * (i + 1));
            advance(w, 1);
            assert_int_equal(w->lookups_count, 2 * (i + 2)); /* a fresh lookup each time */
        }
    }
    assert_int_equal(w->fatal, 1);
    assert_true(portal_client_is_closed(&w->c));
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("r")), ERR_CLOSED);
    stop(w);
}

static void test_an_attempt_ends_after_15_seconds(void **state)
{
    struct world *w = start(URL);
    (void)state;
    drain(w);
    advance(w, 14999);
    assert_int_equal(w->lost, 0);
    advance(w, 1);
    assert_int_equal(w->lost, 1);
    stop(w);
    w = start(URL);
    open_stream(w);
    advance(w, 15000);
    assert_int_equal(w->lost, 1);
    assert_int_equal(w->closes_count, 1);
    stop(w);
}

struct answer_row {
    const char *text;
    bool fatal;
    uint64_t delay_ms;
};

static const struct answer_row answer_rows[] = {
    {"HTTP/1.1 401 X\r\n\r\n", true, 0},
    {"HTTP/1.1 401 X\r\nContent-Type: application/problem+json\r\n\r\n{\"code\":\"invalid_token\"}",
     true, 0},
    {"HTTP/1.1 401 X\r\nContent-Type: application/problem+json\r\n\r\n{\"code\":\"something_new\"}",
     true, 0},
    {"HTTP/1.1 400 X\r\n\r\n", false, 1000},
    {"HTTP/1.1 403 X\r\n\r\n", false, 1000},
    {"HTTP/1.1 404 X\r\n\r\n", false, 1000},
    {"HTTP/1.1 422 X\r\n\r\n", false, 1000},
    {"HTTP/1.1 429 X\r\nRetry-After: 20\r\n\r\n", false, 20000},
    {"HTTP/1.1 503 X\r\nRetry-After: 0\r\n\r\n", false, 0},
    {"HTTP/1.1 503 X\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", false, 77000},
    {"HTTP/1.1 503 X\r\nRetry-After: 999999\r\n\r\n", false, 3600000},
    {"HTTP/1.1 302 X\r\nLocation: /x\r\n\r\n", false, 1000},
    {"HTTP/1.1 200 X\r\n\r\nbody", false, 1000},
    {"HTTP/1.1 101 X\r\nRetry-After: 9\r\n\r\n", false, 1000},
    {"garbage\r\n\r\n", false, 1000},
};

static void test_the_table_of_answers_to_the_upgrade(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(answer_rows); i++) {
        struct world *w = start(URL);
        open_stream(w);
        deliver(w, view_text(answer_rows[i].text));
        if (w->fatal != (answer_rows[i].fatal ? 1U : 0U) || w->closes_count != 1) {
            fail_msg("row %zu", i);
        }
        if (!answer_rows[i].fatal) {
            assert_int_equal(w->lost, 1);
            assert_true(instant_since(w->next_at, w->now.boot).ns ==
                        answer_rows[i].delay_ms * NS_PER_MS);
        }
        stop(w);
    }
}

/* ---- the newer login ---- */

#define TARGET_V2 "/gateway/v2/websocket?external_id="
#define TARGET_V1 "/gateway/websocket?token=token&external_id="

/* Checks the request that waits at the portal; a token stands in one place alone. */
static void assert_login(struct world *w, bool v2)
{
    struct http_request request;
    size_t consumed = 0;
    const char *target = v2 ? TARGET_V2 : TARGET_V1;
    assert_int_equal(http_handle_request(&w->head, VIEW_EMPTY, &consumed, &request), HTTP_DONE);
    assert_true(request.upgrade);
    assert_true(view_equal_text(view_sub(request.target, 0, strlen(target)), target));
    assert_true(view_equal_text(request.authorization, v2 ? "Bearer token" : ""));
}

static void test_the_newer_login_sends_the_token_in_a_header_and_answers_by_its_names(void **state)
{
    (void)state;
    struct world *w = start_as(URL, (struct login){.v2 = true});
    upgrade(w);
    assert_login(w, true);
    say(w, JOIN_OK);
    assert_int_equal(w->joined, 1);
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("r1")), ERR_NONE);
    drain(w);
    assert_string_equal(w->texts[1], "{\"topic\":\"gateway\",\"event\":\"authorization_created\","
                                     "\"payload\":{\"ref\":\"r1\"},\"ref\":1}");
    stop(w);
}

static void test_a_portal_without_the_newer_login_is_asked_the_older_way_at_once(void **state)
{
    (void)state;
    struct world *w = start_as(URL, (struct login){.v2 = true});
    open_stream(w);
    assert_login(w, true);
    deliver(w, view_text("HTTP/1.1 404 Not Found\r\n\r\n"));
    assert_int_equal(w->closes_count, 1);
    assert_int_equal(w->lost, 0);
    upgrade(w); /* at the same moment */
    assert_login(w, false);
    say(w, JOIN_OK);
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("r1")), ERR_NONE);
    drain(w);
    assert_non_null(strstr(w->texts[1], "\"flow_authorized\""));
    event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY); /* and so it is from then on */
    drain(w);
    advance(w, 2000);
    open_stream(w);
    assert_login(w, false);
    deliver(w, view_text("HTTP/1.1 404 Not Found\r\n\r\n")); /* now it is what it always was */
    assert_int_equal(w->lost, 2);
    stop(w);
}

static void test_only_a_404_leads_back_to_the_older_login(void **state)
{
    (void)state;
    static const char *const answers[] = {"HTTP/1.1 403 X\r\n\r\n", "HTTP/1.1 503 X\r\n\r\n",
                                          "HTTP/1.1 409 X\r\n\r\n"};
    struct world *w = start_as(URL, (struct login){.v2 = true});
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        open_stream(w);
        assert_login(w, true);
        deliver(w, view_text(answers[i]));
        assert_int_equal(w->lost, i + 1);
        wait_for_next(w);
    }
    open_stream(w);
    deliver(w, view_text("HTTP/1.1 401 X\r\n\r\n")); /* the token is not tried elsewhere */
    assert_int_equal(w->fatal, 1);
    stop(w);
    w = start_as(URL, (struct login){.v2 = true, .v2_only = true});
    open_stream(w);
    deliver(w, view_text("HTTP/1.1 404 X\r\n\r\n"));
    assert_int_equal(w->lost, 1);
    advance(w, 1000);
    open_stream(w);
    assert_login(w, true);
    stop(w);
}

/* A gateway that was restarted meets its own stale connection for up to 37 s, one that was started
 * twice that of the other process for as long as it lives. */
static void test_a_conflict_is_waited_out(void **state)
{
    (void)state;
    struct world *w = start(URL);
    uint64_t last_ns = 0;
    for (uint32_t i = 0; i < 400; i++) {
        open_stream(w);
        deliver(w, view_text("HTTP/1.1 409 X\r\n\r\n"));
        assert_int_equal(w->lost, i + 1);
        uint64_t wait_ns = instant_since(w->next_at, w->now.boot).ns;
        assert_true(wait_ns >= NS_PER_S && wait_ns <= 16 * NS_PER_S);
        assert_true(i >= 22 || wait_ns < 2 * NS_PER_S); /* 45 s at least */
        assert_true(i < 60 || wait_ns >= 8 * NS_PER_S);
        assert_true(wait_ns != last_ns); /* two of them do not ask in step */
        last_ns = wait_ns;
        wait_for_next(w);
    }
    assert_int_equal(w->fatal, 0);
    upgrade(w);
    say(w, JOIN_OK);
    assert_int_equal(w->joined, 1);
    event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
    drain(w);
    wait_for_next(w);
    open_stream(w);
    deliver(w, view_text("HTTP/1.1 409 X\r\n\r\n"));
    assert_true(instant_since(w->next_at, w->now.boot).ns < 2 * NS_PER_S);
    stop(w);
}

static void test_the_join_times_out_and_its_refusal_backs_off(void **state)
{
    struct world *w = start(URL);
    (void)state;
    upgrade(w);
    advance(w, 4999);
    assert_int_equal(w->lost, 0);
    advance(w, 1);
    assert_int_equal(w->lost, 1);
    advance(w, 1000);
    upgrade(w);
    say(w, "{\"ref\":0,\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":{\"status\":"
           "\"error\",\"response\":{\"reason\":\"join crashed\"}}}");
    assert_int_equal(w->lost, 2);
    assert_int_equal(w->fatal, 0);
    stop(w);
}

static void test_heartbeats_every_ten_seconds_and_the_fourth_unanswered_fails(void **state)
{
    struct world *w = start(URL);
    (void)state;
    join(w);
    advance(w, 10000);
    assert_string_equal(w->texts[1],
                        "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":1}");
    say(w, "{\"ref\":1,\"topic\":\"phoenix\",\"event\":\"phx_reply\",\"payload\":{\"status\":"
           "\"ok\",\"response\":{}}}");
    for (unsigned i = 0; i < 3; i++) {
        advance(w, 10000);
        assert_int_equal(w->texts_count, 3 + i);
    }
    assert_int_equal(w->lost, 0);
    advance(w, 10000);
    assert_int_equal(w->lost, 1);
    /* after a join the delay is 500 ms and a jitter below that */
    uint64_t delay = instant_since(w->next_at, w->now.boot).ns;
    assert_true(delay >= 500 * NS_PER_MS && delay < 1000 * NS_PER_MS);
    stop(w);
}

#define REPLY_OK(topic, ref)                                                                       \
    "{\"ref\":" ref ",\"topic\":\"" topic                                                          \
    "\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}}}"

static void test_one_answer_covers_all_older_heartbeats(void **state)
{
    struct world *w = start(URL);
    (void)state;
    join(w);
    for (unsigned i = 0; i < 3; i++) {
        advance(w, 10000);
    }
    assert_int_equal(w->texts_count, 4);
    say(w, REPLY_OK("phoenix", "3")); /* the newest; the answers to 1 and 2 are lost */
    for (unsigned i = 0; i < 3; i++) {
        advance(w, 10000);
    }
    assert_int_equal(w->lost, 0);
    say(w, REPLY_OK("phoenix", "5"));
    advance(w, 10000);
    advance(w, 10000);
    assert_int_equal(w->lost, 0);
    advance(w, 10000);
    assert_int_equal(w->lost, 1); /* 6, 7 and 8 */
    stop(w);
}

static void test_only_the_reply_to_the_join_joins(void **state)
{
    struct world *w = start(URL);
    (void)state;
    upgrade(w);
    say(w, REPLY_OK("gateway", "7"));
    say(w, REPLY_OK("phoenix", "0"));
    assert_int_equal(w->joined, 0);
    assert_false(portal_client_is_joined(&w->c));
    say(w, REPLY_OK("gateway", "0"));
    assert_int_equal(w->joined, 1);
    stop(w);
}

struct said_row {
    const char *text;
    bool lost;
    bool fatal;
};

#define EVENT(topic, event, payload)                                                               \
    "{\"ref\":null,\"topic\":\"" topic "\",\"event\":\"" event "\",\"payload\":" payload "}"

static const struct said_row said_rows[] = {
    {EVENT("gateway", "disconnect", "{\"reason\":\"token_expired\"}"), false, true},
    {EVENT("gateway", "disconnect", "{\"reason\":\"other\"}"), false, false},
    {EVENT("gateway", "phx_error", "{}"), true, false},
    {EVENT("gateway", "phx_close", "{}"), true, false},
    {EVENT("other", "phx_error", "{}"), false, false},
    {EVENT("gateway", "unheard_of", "{}"), false, false},
    {"{\"topic\":\"gateway\",", true, false},
    {"", true, false},
    {"{]", false, false},
    {"[]", false, false},
    {EVENT("gateway", "init", "{}"), false, false},
};

static void test_the_table_of_what_a_portal_may_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(said_rows); i++) {
        struct world *w = start(URL);
        join(w);
        say(w, said_rows[i].text);
        if (w->lost != (said_rows[i].lost ? 1U : 0U) ||
            w->fatal != (said_rows[i].fatal ? 1U : 0U)) {
            fail_msg("row %zu: %s", i, said_rows[i].text);
        }
        assert_int_equal(portal_client_is_joined(&w->c), !said_rows[i].lost && !said_rows[i].fatal);
        stop(w);
    }
}

static void test_a_close_is_echoed_and_the_client_comes_back(void **state)
{
    struct world *w = start(URL);
    (void)state;
    join(w);
    ws_close(&w->server, 1011, VIEW_EMPTY);
    flush_server(w);
    assert_int_equal(w->close_code, 1011);
    assert_int_equal(w->lost, 1);
    assert_int_equal(w->closes_count, 1);
    advance(w, 1000);
    join(w);
    assert_int_equal(w->joined, 2);
    stop(w);
}

static void test_a_broken_stream_loses_nothing_that_waits(void **state)
{
    struct world *w = start(URL);
    (void)state;
    join(w);
    event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
    w->stream = 0;
    drain(w);
    assert_int_equal(w->lost, 1);
    assert_int_equal(w->closes_count, 0);
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("a")), ERR_NONE);
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("a")), ERR_NONE);
    advance(w, 1000);
    join(w);
    assert_int_equal(w->texts_count, 2); /* the join and one message: duplicates are one */
    assert_non_null(strstr(w->texts[1], "\"ref\":\"a\"},\"ref\":1}"));
    stop(w);
}

static void test_what_is_said_while_a_send_is_under_way_follows_it(void **state)
{
    struct portal_output out;
    struct world *w = start(URL);
    (void)state;
    join(w);
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("a")), ERR_NONE);
    assert_true(portal_client_poll(&w->c, &out));
    assert_int_equal(out.kind, PORTAL_OUT_SEND);
    size_t taken = out.u.send.bytes.len;
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("b")), ERR_NONE);
    assert_false(portal_client_poll(&w->c, &out));
    assert_true(portal_client_stream_sent(&w->c, w->stream, taken));
    assert_true(portal_client_poll(&w->c, &out));
    assert_int_equal(out.kind, PORTAL_OUT_SEND);
    stop(w);
}

static void test_an_unmatched_topic_joins_again_on_the_same_socket(void **state)
{
    struct world *w = start(URL);
    char text[256];
    (void)state;
    join(w);
    for (unsigned i = 0; i <= PORTAL_REJOINS_MAX; i++) {
        say(w, "{\"ref\":77,\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":{\"status\":"
               "\"error\",\"response\":{\"reason\":\"unmatched topic\"}}}");
        if (i == PORTAL_REJOINS_MAX) {
            break;
        }
        assert_false(portal_client_is_joined(&w->c));
        assert_non_null(strstr(w->texts[w->texts_count - 1], "phx_join"));
        (void)strcpy(text, JOIN_OK);
        text[7] = (char)('1' + i);
        say(w, text);
        assert_true(portal_client_is_joined(&w->c));
    }
    assert_int_equal(w->lost, 1);
    stop(w);
}

static void test_no_relays_only_reaches_a_head_portal(void **state)
{
    struct world *w = start(URL);
    (void)state;
    join(w);
    say(w, INIT(""));
    assert_int_equal(portal_client_send_no_relays(&w->c), ERR_STATE);
    say(w, INIT(",\"flow_logs\":{\"api_url\":\"x\"}"));
    assert_true(portal_client_is_head(&w->c));
    assert_int_equal(portal_client_send_no_relays(&w->c), ERR_NONE);
    drain(w);
    assert_string_equal(w->texts[w->texts_count - 1],
                        "{\"topic\":\"gateway\",\"event\":\"no_relays\",\"payload\":{},\"ref\":1}");
    assert_int_equal(portal_client_send_no_relays(&w->c), ERR_NONE);
    ws_close(&w->server, 1000, VIEW_EMPTY);
    flush_server(w);
    assert_false(portal_client_is_head(&w->c) && portal_client_is_joined(&w->c));
    advance(w, 1000);
    join(w);
    assert_int_equal(w->texts_count, 1); /* not to a portal that has not proved itself */
    stop(w);
}

static void test_reconnect_says_close_and_is_rate_limited(void **state)
{
    struct world *w = start(URL);
    (void)state;
    assert_false(portal_client_reconnect(&w->c, w->now));
    join(w);
    assert_true(portal_client_reconnect(&w->c, w->now));
    drain(w);
    assert_int_equal(w->close_code, 1000);
    assert_int_equal(w->closes_count, 1);
    assert_int_equal(w->lost, 0);
    join(w);
    assert_false(portal_client_reconnect(&w->c, w->now));
    advance(w, 9000);
    advance(w, 21000);
    assert_true(portal_client_reconnect(&w->c, w->now));
    stop(w);
}

static void test_close_ends_with_code_1000(void **state)
{
    struct world *w = start(URL);
    (void)state;
    join(w);
    portal_client_close(&w->c, w->now);
    assert_false(portal_client_is_closed(&w->c));
    drain(w);
    assert_int_equal(w->close_code, 1000);
    assert_int_equal(w->closes_count, 1);
    assert_true(portal_client_is_closed(&w->c));
    assert_true(instant_is_never(portal_client_poll_timeout(&w->c).at));
    stop(w);
    w = start(URL);
    portal_client_close(&w->c, w->now);
    drain(w);
    assert_true(portal_client_is_closed(&w->c));
    stop(w);
}

static void test_the_partition_limit_ends_the_process(void **state)
{
    struct world *w = start(URL);
    uint64_t waited_s = 0;
    (void)state;
    join(w);
    event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
    w->stream = 0;
    drain(w);
    while (w->fatal == 0) {
        uint64_t delay = instant_since(portal_client_poll_timeout(&w->c).at, w->now.boot).ns;
        waited_s += w->c.state == PORTAL_WAIT ? delay / NS_PER_S : 0;
        assert_true(waited_s <= PORTAL_PARTITION_DEFAULT_S);
        advance(w, delay / NS_PER_MS + 1);
    }
    assert_true(waited_s > PORTAL_PARTITION_DEFAULT_S - 3000);
    stop(w);
}

static void test_a_flood_of_pings_or_garbage_only_costs_the_connection(void **state)
{
    static uint8_t pings[2 * 20000];
    struct world *w = start(URL);
    (void)state;
    join(w);
    for (size_t i = 0; i < sizeof(pings); i += 2) {
        pings[i] = 0x89;
    }
    w->step = sizeof(pings);
    deliver(w, VIEW_OF(pings));
    assert_int_equal(w->lost, 1);
    assert_string_equal(w->reason, "the portal broke the WebSocket protocol");
    stop(w);
}

static void test_the_queue_is_bounded_and_heartbeats_go_first(void **state)
{
    struct world *w = start(URL);
    struct view texts[2] = {view_text("candidate:a"), view_text("candidate:b")};
    struct uuid client = {{0}};
    unsigned count = 0;
    (void)state;
    join(w);
    for (;;) {
        store_be32(client.bytes, count);
        if (portal_client_send_candidates(&w->c, &client, texts, 2) == ERR_FULL) {
            break;
        }
        count++;
    }
    assert_int_equal(count, PORTAL_QUEUE_MESSAGES_MAX);
    struct portal_output out;
    w->now.boot = instant_add(w->now.boot, DURATION_S(10));
    portal_client_handle_timeout(&w->c, w->now);
    assert_true(portal_client_poll(&w->c, &out));
    assert_int_equal(out.kind, PORTAL_OUT_SEND);
    ws_feed(&w->server, out.u.send.bytes);
    struct ws_event first;
    assert_true(ws_poll(&w->server, &first));
    assert_true(view_equal_text(
        first.text, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":1}"));
    stop(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_session_in_every_segmentation),
        cmocka_unit_test(test_all_addresses_race_and_the_first_wins),
        cmocka_unit_test(test_addresses_that_wait_are_not_tried_once_one_has_answered),
        cmocka_unit_test(test_a_name_without_addresses_is_told_from_addresses_that_fail),
        cmocka_unit_test(test_a_certificate_that_is_not_accepted_is_the_reason),
        cmocka_unit_test(test_a_client_that_is_over_holds_no_token),
        cmocka_unit_test(test_an_ip_literal_needs_no_lookup),
        cmocka_unit_test(test_without_any_address_the_attempt_fails_and_gives_up_after_15_seconds),
        cmocka_unit_test(test_an_attempt_ends_after_15_seconds),
        cmocka_unit_test(test_the_table_of_answers_to_the_upgrade),
        cmocka_unit_test(test_the_newer_login_sends_the_token_in_a_header_and_answers_by_its_names),
        cmocka_unit_test(test_a_portal_without_the_newer_login_is_asked_the_older_way_at_once),
        cmocka_unit_test(test_only_a_404_leads_back_to_the_older_login),
        cmocka_unit_test(test_a_conflict_is_waited_out),
        cmocka_unit_test(test_the_join_times_out_and_its_refusal_backs_off),
        cmocka_unit_test(test_heartbeats_every_ten_seconds_and_the_fourth_unanswered_fails),
        cmocka_unit_test(test_one_answer_covers_all_older_heartbeats),
        cmocka_unit_test(test_only_the_reply_to_the_join_joins),
        cmocka_unit_test(test_the_table_of_what_a_portal_may_say),
        cmocka_unit_test(test_a_close_is_echoed_and_the_client_comes_back),
        cmocka_unit_test(test_a_broken_stream_loses_nothing_that_waits),
        cmocka_unit_test(test_what_is_said_while_a_send_is_under_way_follows_it),
        cmocka_unit_test(test_an_unmatched_topic_joins_again_on_the_same_socket),
        cmocka_unit_test(test_no_relays_only_reaches_a_head_portal),
        cmocka_unit_test(test_reconnect_says_close_and_is_rate_limited),
        cmocka_unit_test(test_close_ends_with_code_1000),
        cmocka_unit_test(test_the_partition_limit_ends_the_process),
        cmocka_unit_test(test_a_flood_of_pings_or_garbage_only_costs_the_connection),
        cmocka_unit_test(test_the_queue_is_bounded_and_heartbeats_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
