#include "portal/http_upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portal/http_date.h"
#include "tests/support/support.h"

static const uint8_t nonce[HTTP_WS_NONCE_SIZE] = "the sample nonce"; /* of RFC 6455 section 1.3 */

#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define GOOD                                                                                       \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, "           \
    "Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n"

static void test_the_accept_value_of_the_rfc(void **state)
{
    uint8_t accept[HTTP_WS_ACCEPT_SIZE];
    (void)state;
    http_ws_accept(view_text("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_memory_equal(accept, ACCEPT, HTTP_WS_ACCEPT_SIZE);
}

static void test_the_request_has_the_recorded_lines_in_order(void **state)
{
    uint8_t text[1024];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    struct http_request_fields fields = {view_text("/gateway/websocket?token=t"),
                                         view_text("203.0.113.20"),
                                         view_text("Debian/12.0.0 connlib/1.5.2\r\n\x80"),
                                         VIEW_EMPTY,
                                         {0}};
    (void)state;
    memcpy(fields.nonce, nonce, sizeof(nonce));
    http_put_upgrade_request(&w, &fields);
    assert_true(view_equal_text(
        writer_view(&w),
        "GET /gateway/websocket?token=t HTTP/1.1\r\nHost: 203.0.113.20\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "user-agent: Debian/12.0.0 connlib/1.5.2\r\n\r\n"));
}

static enum http_verdict respond(const char *text, struct http_response *out)
{
    struct http_head *head = calloc(1, sizeof(*head));
    size_t consumed = 0;
    enum http_verdict verdict =
        http_handle_response(head, view_text(text), nonce, 784111700, &consumed, out);
    free(head);
    return verdict;
}

struct row {
    const char *text;
    enum http_verdict verdict;
    uint16_t status;
    bool upgraded;
    uint64_t retry_after_s;
};

#define NONE HTTP_RETRY_AFTER_NONE

static const struct row rows[] = {
    {GOOD, HTTP_DONE, 101, true, NONE},
    {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", HTTP_DONE, 101, false,
     NONE},
    {"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT
     "\r\n\r\n",
     HTTP_DONE, 101, false, NONE},
    {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Accept: " ACCEPT
     "\r\n\r\n",
     HTTP_DONE, 101, false, NONE},
    {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: "
     "x\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n",
     HTTP_DONE, 101, false, NONE},
    {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: "
     "permessage-deflate\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n",
     HTTP_DONE, 101, false, NONE},
    {"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n", HTTP_DONE, 503, false, 7},
    {"HTTP/1.1 503\r\nretry-after:  120 \r\n\r\n", HTTP_DONE, 503, false, 120},
    {"HTTP/1.0 429 X\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", HTTP_DONE, 429, false,
     77},
    {"HTTP/1.1 409 X\r\nRetry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n\r\n", HTTP_DONE, 409, false,
     0},
    {"HTTP/1.1 409 X\r\nRetry-After: soon\r\n\r\n", HTTP_DONE, 409, false, NONE},
    {"HTTP/1.1 503 X\r\nEmpty:\r\nRetry-After: 7 \t\r\n\r\n", HTTP_DONE, 503, false, 7},
    {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: \t \r\nSec-WebSocket-Accept: " ACCEPT
     "\r\n\r\n",
     HTTP_DONE, 101, false, NONE},
    {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", HTTP_DONE, 401, false, NONE},
    {"HTTP/2 200 X\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"SSH-2.0-x\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 99 X\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 1010 X\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 200 X\r\nno colon\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 200 X\r\n folded: x\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 200 X\r\nA: b\nC: d\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 200 X\r\nA: b\x01\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 200 X\r\nA: b\x7f\r\n\r\n", HTTP_MALFORMED, 0, false, 0},
    {"HTTP/1.1 200 X\r\nA: b\r\n", HTTP_MORE, 0, false, 0},
};

static void test_the_table_of_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct http_response response = {0};
        enum http_verdict verdict = respond(rows[i].text, &response);
        if (verdict != rows[i].verdict) {
            fail_msg("row %zu: %s", i, rows[i].text);
        }
        if (verdict == HTTP_DONE) {
            assert_int_equal(response.status, rows[i].status);
            assert_int_equal(response.upgraded, rows[i].upgraded);
            assert_true(response.retry_after_s == rows[i].retry_after_s);
            assert_int_equal(response.refusal != NULL,
                             response.status == 101 && !response.upgraded);
        }
    }
}

static void test_a_name_of_a_header_is_a_token(void **state)
{
    (void)state;
    static const char separators[] = "\"(),/;<=>?@[\\]{} \t\x80";
    struct http_response response = {0};
    char text[64];
    assert_int_equal(respond("HTTP/1.1 200 X\r\nA!#$%&'*+-.^_`|~9z: b\r\n\r\n", &response),
                     HTTP_DONE);
    assert_int_equal(respond("HTTP/1.1 200 X\r\n: b\r\n\r\n", &response), HTTP_MALFORMED);
    for (size_t i = 0; i + 1 < sizeof(separators); i++) {
        (void)snprintf(text, sizeof(text), "HTTP/1.1 200 X\r\nA%cz: b\r\n\r\n", separators[i]);
        assert_int_equal(respond(text, &response), HTTP_MALFORMED);
    }
}

static void test_bytes_behind_the_head_are_left(void **state)
{
    struct http_head *head = calloc(1, sizeof(*head));
    struct view text = view_text(GOOD "frames");
    struct http_response response;
    size_t consumed = 0;
    (void)state;
    for (size_t i = 0; i + 1 < text.len - 6; i++) {
        assert_int_equal(
            http_handle_response(head, view_sub(text, i, 1), nonce, 0, &consumed, &response),
            HTTP_MORE);
        assert_int_equal(consumed, 1);
    }
    assert_int_equal(
        http_handle_response(head, view_sub(text, text.len - 7, 7), nonce, 0, &consumed, &response),
        HTTP_DONE);
    assert_int_equal(consumed, 1);
    assert_true(response.upgraded);
    free(head);
}

static void test_a_head_without_end_is_refused_at_the_limit(void **state)
{
    struct http_head *head = calloc(1, sizeof(*head));
    struct view chunk = view_text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    struct http_response response;
    size_t consumed = 0;
    (void)state;
    for (size_t i = 0; i < HTTP_HEAD_SIZE_MAX / 32; i++) {
        assert_int_equal(http_handle_response(head, chunk, nonce, 0, &consumed, &response),
                         HTTP_MORE);
    }
    assert_int_equal(http_handle_response(head, chunk, nonce, 0, &consumed, &response),
                     HTTP_MALFORMED);
    free(head);
}

static void test_a_request_is_answered_by_the_other_side(void **state)
{
    struct http_head *head = calloc(1, sizeof(*head));
    uint8_t request_text[1024];
    uint8_t answer_text[256];
    struct writer w = writer_of((struct span){request_text, sizeof(request_text)});
    struct writer v = writer_of((struct span){answer_text, sizeof(answer_text)});
    struct http_request_fields fields = {
        .target = view_text("/t"), .host = view_text("h"), .user_agent = view_text("ua")};
    struct http_request request;
    struct http_response response;
    size_t consumed = 0;
    (void)state;
    memcpy(fields.nonce, nonce, sizeof(nonce));
    http_put_upgrade_request(&w, &fields);
    assert_int_equal(http_handle_request(head, writer_view(&w), &consumed, &request), HTTP_DONE);
    assert_true(request.upgrade);
    assert_true(view_equal_text(request.target, "/t"));
    assert_true(view_equal_text(request.host, "h"));
    assert_true(view_equal_text(request.user_agent, "ua"));
    http_put_upgrade_response(&v, request.ws_key);
    head->used = 0;
    assert_int_equal(http_handle_response(head, writer_view(&v), nonce, 0, &consumed, &response),
                     HTTP_DONE);
    assert_true(response.upgraded);
    free(head);
}

static void test_plain_requests_are_no_upgrades(void **state)
{
    struct http_head *head = calloc(1, sizeof(*head));
    struct http_request request;
    size_t consumed = 0;
    uint8_t text[256];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    struct http_answer answer = {.status = 503,
                                 .reason = "Service Unavailable",
                                 .retry_after_s = 1,
                                 .body = view_text("no"),
                                 .close = true};
    (void)state;
    assert_int_equal(
        http_handle_request(head, view_text("GET /healthz HTTP/1.1\r\n\r\n"), &consumed, &request),
        HTTP_DONE);
    assert_false(request.upgrade);
    assert_true(request.keep_alive);
    head->used = 0;
    assert_int_equal(
        http_handle_request(head, view_text("GET / HTTP/3\r\n\r\n"), &consumed, &request),
        HTTP_MALFORMED);
    http_put_answer(&w, &answer);
    assert_true(view_equal_text(writer_view(&w),
                                "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                                "Connection: close\r\nContent-Length: 2\r\n\r\nno"));
    free(head);
}

static void test_the_three_date_formats(void **state)
{
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const bad[] = {"",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 31 Feb 2024 00:00:00 GMT",
                                      "Sun, 00 Jan 2024 00:00:00 GMT",
                                      "Sun, 01 Jan 1969 00:00:00 GMT",
                                      "Sun, 01 Jan 2024 24:00:00 GMT",
                                      "Sun, 01 Foo 2024 00:00:00 GMT",
                                      "Sun Nov  6 08:49:37"};
    uint64_t at = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(same); i++) {
        assert_true(http_parse_date(view_text(same[i]), &at));
        assert_true(at == 784111777);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_false(http_parse_date(view_text(bad[i]), &at));
    }
    assert_true(http_parse_date(view_text("Thu, 29 Feb 2024 23:59:60 GMT"), &at));
    assert_true(at == 1709251200);
    assert_true(http_parse_date(view_text("Thu, 01 Jan 1970 00:00:00 GMT"), &at));
    assert_true(at == 0);
    assert_true(http_parse_date(view_text("Fri, 01 Jan 2038 00:00:00 GMT"), &at));
    assert_true(at == 2145916800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_accept_value_of_the_rfc),
        cmocka_unit_test(test_the_request_has_the_recorded_lines_in_order),
        cmocka_unit_test(test_the_table_of_responses),
        cmocka_unit_test(test_a_name_of_a_header_is_a_token),
        cmocka_unit_test(test_bytes_behind_the_head_are_left),
        cmocka_unit_test(test_a_head_without_end_is_refused_at_the_limit),
        cmocka_unit_test(test_a_request_is_answered_by_the_other_side),
        cmocka_unit_test(test_plain_requests_are_no_upgrades),
        cmocka_unit_test(test_the_three_date_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
