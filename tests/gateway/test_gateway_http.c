/* Health and metrics through the whole core. */
#include <stdio.h>
#include <string.h>

#include "gateway/gateway_http.h"
#include "gateway/gateway_internal.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

/* What a stream got, as text; *closed says whether it was closed behind it. */
static const char *answer_of(const struct rig *rig, uint16_t stream, bool *closed)
{
    static char text[32768];
    size_t used = 0;
    *closed = false;
    for (size_t i = 0; i < rig->sent.count; i++) {
        const struct rig_item *item = &rig->sent.items[i];
        if (item->local.port == stream) {
            assert_true(used + item->len < sizeof(text));
            memcpy(text + used, item->at, item->len);
            used += item->len;
            assert_false(*closed);
            *closed = item->ecn == 1;
        }
    }
    text[used] = 0;
    return text;
}

/* Asks on a fresh connection; returns the answer, which must end with a close. */
static const char *ask(struct rig *rig, const char *request)
{
    static uint32_t stream = 0; /* tests run one after the other */
    bool closed;
    stream++;
    rig_accept(rig, stream, GATEWAY_LISTENER_HEALTH);
    rig_stream_bytes(rig, stream, view_text(request));
    const char *text = answer_of(rig, (uint16_t)stream, &closed);
    assert_true(closed);
    return text;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The body has the announced length. */
static const char *body_of(const char *text)
{
    const char *body = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "content-length: ");
    assert_non_null(body);
    assert_non_null(length);
    unsigned long announced = 0;
    assert_int_equal(sscanf(length, "content-length: %lu", &announced), 1);
    assert_int_equal(strlen(body + 4), announced);
    return body + 4;
}

static void expect_ready(struct rig *rig, bool ready, const char *why)
{
    char body[256];
    const char *text = ask(rig, "GET /readyz HTTP/1.1\r\n\r\n");
    assert_true(starts_with(text, ready ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 503 "));
    assert_non_null(strstr(text, "content-type: application/json\r\n"));
    (void)snprintf(body, sizeof(body), "{\"ready\":%s,%s}\n", ready ? "true" : "false", why);
    assert_string_equal(body_of(text), body);
}

/* Each condition alone keeps the gateway from being ready, and is named. */
static void readiness_tells_the_truth_and_the_reason(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.skips_init = true;
    rig->relays[0].is_silent = true;
    rig_settle(rig);
    expect_ready(rig, false,
                 "\"portal_joined\":true,\"initialised\":false,\"tun_up\":false,\"relays\":0,"
                 "\"allocations\":0");
    rig->tun_fails = true;
    rig_push_init(rig);
    expect_ready(rig, false,
                 "\"portal_joined\":true,\"initialised\":true,\"tun_up\":false,\"relays\":1,"
                 "\"allocations\":0");
    rig->tun_fails = false;
    rig_push_init(rig);
    expect_ready(rig, false,
                 "\"portal_joined\":true,\"initialised\":true,\"tun_up\":true,\"relays\":1,"
                 "\"allocations\":0");
    rig->relays[0].is_silent = false;
    rig_pass(rig, DURATION_S(120));
    expect_ready(rig, true,
                 "\"portal_joined\":true,\"initialised\":true,\"tun_up\":true,\"relays\":1,"
                 "\"allocations\":1");
    rig->portal.is_absent = true;
    rig_portal_drop(rig);
    expect_ready(rig, false,
                 "\"portal_joined\":false,\"initialised\":false,\"tun_up\":true,\"relays\":1,"
                 "\"allocations\":1");
    rig_free(rig);
    rig = rig_new(); /* a portal that names no relay asks for none */
    rig->portal.relays = 0;
    rig_settle(rig);
    expect_ready(rig, true,
                 "\"portal_joined\":true,\"initialised\":true,\"tun_up\":true,\"relays\":0,"
                 "\"allocations\":0");
    rig_free(rig);
}

static void health_is_fine_from_the_start_and_readiness_follows_the_portal(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_silent = true;
    rig_settle(rig);
    assert_true(
        starts_with(ask(rig, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    assert_true(starts_with(ask(rig, "GET /readyz HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 "));
    rig_free(rig);
    rig = rig_new();
    rig_join(rig);
    assert_true(starts_with(ask(rig, "GET /readyz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    rig->portal.is_absent = true;
    rig_portal_drop(rig);
    assert_true(starts_with(ask(rig, "GET /readyz HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 "));
    assert_true(starts_with(ask(rig, "GET /healthz HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    rig_free(rig);
}

static void answers_announce_their_length_and_head_has_no_body(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    assert_string_equal(body_of(ask(rig, "GET /healthz HTTP/1.1\r\n\r\n")), "");
    const char *text = ask(rig, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert_true(starts_with(text, "HTTP/1.1 200 OK\r\n"));
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    assert_null(strstr(text, "content-length: 0\r\n"));
    rig_free(rig);
}

static void metrics_tell_the_counters_and_every_drop_reason(void **state)
{
    (void)state;
    char line[128];
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_stranger(rig, VIEW_EMPTY);
    const char *body = body_of(ask(rig, "GET /metrics HTTP/1.1\r\n\r\n"));
    assert_non_null(strstr(body, "firezone_gateway_connections 1\n"));
    assert_non_null(strstr(body, "firezone_gateway_clients 1\n"));
    assert_non_null(strstr(body, "firezone_gateway_relays 1\n"));
    assert_non_null(strstr(body, "firezone_gateway_portal_joined 1\n"));
    for (int reason = DROP_NONE + 1; reason < DROP_COUNT; reason++) {
        (void)snprintf(line, sizeof(line), "firezone_gateway_dropped_total{reason=\"%s\"} %llu\n",
                       drop_label((enum drop_reason)reason),
                       (unsigned long long)rig_drops(rig, (enum drop_reason)reason));
        assert_non_null(strstr(body, line));
    }
    assert_int_equal(rig_drops(rig, DROP_UDP_EMPTY), 1);
    rig_free(rig);
}

static void metrics_tell_how_well_calls_are_filled(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    struct gateway_io_counters io = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    gateway_set_io_counters(rig->gw, &io);
    const char *body = body_of(ask(rig, "GET /metrics HTTP/1.1\r\n\r\n"));
    static const char *const lines[] = {
        "wakeups_total 1",           "udp_receive_calls_total 2", "udp_receive_messages_total 3",
        "udp_send_calls_total 4",    "udp_send_errors_total 5",   "tun_read_calls_total 6",
        "tun_write_calls_total 7",   "tun_write_errors_total 8",  "longest_step_ns 9",
        "udp_receive_lost_total 10",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char line[96];
        (void)snprintf(line, sizeof(line), "firezone_gateway_%s\n", lines[i]);
        assert_non_null(strstr(body, line));
    }
    /* The longest text that there can be fits. */
    memset(&rig->gw->counters, 0xff, sizeof(rig->gw->counters));
    body = body_of(ask(rig, "GET /metrics HTTP/1.1\r\n\r\n"));
    assert_non_null(strstr(body, "aead_opened_total 18446744073709551615\n"));
    memset(&rig->gw->counters, 0, sizeof(rig->gw->counters));
    rig_free(rig);
}

static bool metric_is(struct rig *rig, const char *name, unsigned value)
{
    char line[160];
    (void)snprintf(line, sizeof(line), "\nfirezone_gateway_%s %u\n", name, value);
    return strstr(body_of(ask(rig, "GET /metrics HTTP/1.1\r\n\r\n")), line) != NULL;
}

static void metrics_tell_the_portals_hiccups_and_the_paths(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[1].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    rig_connect(rig, 1, RIG_CIDR4);
    rig_pass(rig, DURATION_S(5));
    assert_true(metric_is(rig, "connections_by_path{path=\"direct\"}", 1));
    assert_true(metric_is(rig, "connections_by_path{path=\"relayed\"}", 1));
    assert_true(metric_is(rig, "handshakes_total", 2));
    assert_true(metric_is(rig, "relays_allocated", 1));
    rig_portal_drop(rig);
    rig_pass(rig, DURATION_S(5));
    assert_true(metric_is(rig, "portal_joins_total", 2));
    assert_true(metric_is(rig, "portal_losses_total", 1));
    assert_true(metric_is(rig, "portal_connects_total", 2));
    rig->clients[0].is_mute = true;
    rig->clients[1].is_mute = true;
    rig_pass(rig, DURATION_S(1300));
    assert_true(metric_is(rig, "connections_by_path{path=\"direct\"}", 0));
    assert_true(metric_is(rig, "connections_by_path{path=\"relayed\"}", 0));
    assert_true(metric_is(rig, "connections_failed_total", 2));
    assert_true(metric_is(rig, "build_info{version=\"" GATEWAY_VERSION "\"}", 1) ||
                strncmp(body_of(ask(rig, "GET /metrics HTTP/1.1\r\n\r\n")),
                        "firezone_gateway_build_info{version=\"" GATEWAY_VERSION "\"} 1\n",
                        40) == 0);
    rig_free(rig);
}

static void other_requests_get_the_status_that_fits(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        const char *status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /healthz/ HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "},
        {"POST /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 405 "},
        {"get /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 405 "},
        {"GET /healthz HTTP/2.0\r\n\r\n", "HTTP/1.1 400 "},
        {"GET /healthz\r\n\r\n", "HTTP/1.1 400 "},
        {"nonsense\r\n\r\n", "HTTP/1.1 400 "},
        {"GET  /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
    };
    struct rig *rig = rig_new();
    rig_join(rig);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(starts_with(ask(rig, cases[i].request), cases[i].status));
    }
    rig_free(rig);
}

static void a_request_may_come_byte_by_byte_and_the_answer_leave_in_pieces(void **state)
{
    (void)state;
    static const char request[] = "GET /metrics HTTP/1.1\r\nA: b\r\n\r\n";
    struct rig *rig = rig_new();
    bool closed;
    rig_join(rig);
    rig->stream_room = 1000;
    rig_accept(rig, 500, GATEWAY_LISTENER_HEALTH);
    for (size_t i = 0; request[i] != 0; i++) {
        assert_string_equal(answer_of(rig, 500, &closed), "");
        rig_stream_bytes(rig, 500, (struct view){(const uint8_t *)request + i, 1});
    }
    assert_int_equal(strlen(answer_of(rig, 500, &closed)), 1000);
    assert_false(closed);
    for (int i = 0; i < 30 && !closed; i++) {
        rig_stream_writable(rig, 500);
        (void)answer_of(rig, 500, &closed);
    }
    assert_true(closed);
    assert_non_null(strstr(body_of(answer_of(rig, 500, &closed)), "portal_ref"));
    rig_free(rig);
}

static void a_request_that_never_ends_is_refused_and_a_silent_one_closed(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    char chunk[GATEWAY_HTTP_REQUEST_MAX + 1];
    bool closed;
    rig_join(rig);
    memset(chunk, 'x', sizeof(chunk));
    rig_accept(rig, 501, GATEWAY_LISTENER_HEALTH);
    rig_stream_bytes(rig, 501, (struct view){(const uint8_t *)chunk, sizeof(chunk)});
    assert_true(starts_with(answer_of(rig, 501, &closed), "HTTP/1.1 431 "));
    assert_true(closed);
    rig_accept(rig, 502, GATEWAY_LISTENER_HEALTH);
    rig_stream_bytes(rig, 502, view_text("GET /heal"));
    rig_pass(rig, DURATION_MS(9900));
    (void)answer_of(rig, 502, &closed);
    assert_false(closed);
    rig_pass(rig, DURATION_MS(200));
    assert_string_equal(answer_of(rig, 502, &closed), "");
    assert_true(closed);
    rig_accept(rig, 503, GATEWAY_LISTENER_HEALTH);
    rig_stream_bytes(rig, 503, view_text("GET /heal"));
    rig_stream_ended(rig, 503);
    assert_string_equal(answer_of(rig, 503, &closed), "");
    assert_true(closed);
    rig_free(rig);
}

static void a_silent_connection_is_closed_in_time_wherever_it_stands(void **state)
{
    (void)state;
    bool closed;
    for (uint32_t kept = 0; kept < GATEWAY_HTTP_STREAMS_MAX; kept++) {
        struct rig *rig = rig_new();
        rig_join(rig);
        for (uint32_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
            rig_accept(rig, 600 + i, GATEWAY_LISTENER_HEALTH);
        }
        for (uint32_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
            if (i != kept) {
                rig_stream_closed(rig, 600 + i);
            }
        }
        rig_pass(rig, DURATION_MS(10100));
        (void)answer_of(rig, (uint16_t)(600 + kept), &closed);
        assert_true(closed);
        rig_free(rig);
    }
}

static void a_client_that_ended_its_side_gets_the_whole_answer(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    bool closed;
    rig_join(rig);
    rig->stream_room = 1000;
    rig_accept(rig, 504, GATEWAY_LISTENER_HEALTH);
    rig_stream_bytes(rig, 504, view_text("GET /metrics HTTP/1.1\r\n\r\n"));
    rig_stream_ended(rig, 504);
    for (int i = 0; i < 30; i++) {
        rig_stream_writable(rig, 504);
    }
    assert_non_null(strstr(body_of(answer_of(rig, 504, &closed)), "portal_ref"));
    assert_true(closed);
    rig_free(rig);
}

static void more_connections_than_the_table_holds_are_closed(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    bool closed;
    rig_join(rig);
    for (uint32_t i = 0; i <= GATEWAY_HTTP_STREAMS_MAX; i++) {
        rig_accept(rig, 600 + i, GATEWAY_LISTENER_HEALTH);
        (void)answer_of(rig, (uint16_t)(600 + i), &closed);
        assert_int_equal(closed, i == GATEWAY_HTTP_STREAMS_MAX);
    }
    rig_stream_closed(rig, 600);
    assert_true(starts_with(ask(rig, "GET /healthz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    rig_free(rig);
}

static void a_host_that_takes_every_connection_leaves_one_for_another(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    bool closed;
    rig_join(rig);
    for (uint32_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
        rig_accept(rig, 600 + i, GATEWAY_LISTENER_HEALTH);
    }
    rig->stream_remote.ip = ip_v4(192, 0, 2, 1);
    assert_true(starts_with(ask(rig, "GET /healthz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    (void)answer_of(rig, 600, &closed);
    assert_true(closed);
    (void)answer_of(rig, 601, &closed);
    assert_false(closed);
    rig_free(rig);
}

static void events_of_unknown_streams_are_harmless(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_stream_bytes(rig, 700, view_text("GET /healthz HTTP/1.1\r\n\r\n"));
    rig_stream_writable(rig, 701);
    rig_stream_closed(rig, 702);
    assert_int_equal(rig->sent.count, 0);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readiness_tells_the_truth_and_the_reason),
        cmocka_unit_test(metrics_tell_the_portals_hiccups_and_the_paths),
        cmocka_unit_test(health_is_fine_from_the_start_and_readiness_follows_the_portal),
        cmocka_unit_test(answers_announce_their_length_and_head_has_no_body),
        cmocka_unit_test(metrics_tell_the_counters_and_every_drop_reason),
        cmocka_unit_test(metrics_tell_how_well_calls_are_filled),
        cmocka_unit_test(other_requests_get_the_status_that_fits),
        cmocka_unit_test(a_request_may_come_byte_by_byte_and_the_answer_leave_in_pieces),
        cmocka_unit_test(a_request_that_never_ends_is_refused_and_a_silent_one_closed),
        cmocka_unit_test(a_silent_connection_is_closed_in_time_wherever_it_stands),
        cmocka_unit_test(a_client_that_ended_its_side_gets_the_whole_answer),
        cmocka_unit_test(more_connections_than_the_table_holds_are_closed),
        cmocka_unit_test(a_host_that_takes_every_connection_leaves_one_for_another),
        cmocka_unit_test(events_of_unknown_streams_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
