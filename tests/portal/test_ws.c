#include "portal/ws.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

struct pair {
    struct rng rng;
    struct ws client;
    struct ws server;
};

static void start(struct pair *p)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    memset(p, 0, sizeof(*p));
    rng_init(&p->rng, seed);
    assert_int_equal(ws_init(&p->client, WS_CLIENT, &p->rng), ERR_NONE);
    assert_int_equal(ws_init(&p->server, WS_SERVER, &p->rng), ERR_NONE);
}

static void stop(struct pair *p)
{
    ws_free(&p->client);
    ws_free(&p->server);
}

/* Moves everything from one side to the other in pieces of `step` bytes. */
static size_t carry(struct ws *from, struct ws *to, size_t step)
{
    uint8_t bytes[1024];
    size_t total = 0;
    for (;;) {
        size_t len = ws_drain(from, (struct span){bytes, step});
        if (len == 0) {
            return total;
        }
        ws_feed(to, (struct view){bytes, len});
        total += len;
    }
}

static void test_text_crosses_in_both_directions_at_every_segmentation(void **state)
{
    static const size_t steps[] = {1, 2, 3, 7, 1024};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        struct pair p;
        struct ws_event event;
        start(&p);
        assert_int_equal(ws_send_text(&p.client, view_text("hello")), ERR_NONE);
        assert_int_equal(ws_send_text(&p.client, view_text("")), ERR_NONE);
        assert_int_equal(ws_send_text(&p.server, view_text("w\xc3\xb6rld")), ERR_NONE);
        carry(&p.client, &p.server, steps[i]);
        carry(&p.server, &p.client, steps[i]);
        assert_true(ws_poll(&p.server, &event));
        assert_true(event.kind == WS_TEXT && view_equal_text(event.text, "hello"));
        assert_true(ws_poll(&p.server, &event));
        assert_true(event.kind == WS_TEXT && event.text.len == 0);
        assert_false(ws_poll(&p.server, &event));
        assert_true(ws_poll(&p.client, &event));
        assert_true(view_equal_text(event.text, "w\xc3\xb6rld"));
        stop(&p);
    }
}

static void test_the_client_masks_from_its_own_stream(void **state)
{
    struct pair p;
    uint8_t bytes[64];
    uint8_t mask[4];
    (void)state;
    start(&p);
    struct rng copy = p.rng;
    rng_bytes(&copy, mask, sizeof(mask));
    assert_int_equal(ws_send_text(&p.client, view_text("abc")), ERR_NONE);
    assert_int_equal(ws_drain(&p.client, (struct span){bytes, sizeof(bytes)}), 9);
    assert_int_equal(bytes[0], 0x81);
    assert_int_equal(bytes[1], 0x83);
    assert_memory_equal(bytes + 2, mask, 4);
    assert_int_equal(bytes[6], 'a' ^ mask[0]);
    stop(&p);
}

static void test_a_ping_is_answered_and_shows_nothing(void **state)
{
    struct pair p;
    struct ws_event event;
    (void)state;
    start(&p);
    assert_int_equal(ws_send_ping(&p.server, view_text("x")), ERR_NONE);
    carry(&p.server, &p.client, 64);
    assert_false(ws_poll(&p.client, &event));
    assert_int_equal(carry(&p.client, &p.server, 64), 7);
    assert_false(ws_poll(&p.server, &event));
    stop(&p);
}

static void check_close(uint16_t code, uint16_t answer)
{
    struct pair p;
    struct ws_event event;
    start(&p);
    assert_int_equal(ws_send_text(&p.server, view_text("last")), ERR_NONE);
    ws_close(&p.server, code, view_text("restart"));
    assert_int_equal(ws_send_text(&p.server, view_text("x")), ERR_CLOSED);
    carry(&p.server, &p.client, 64);
    assert_true(ws_poll(&p.client, &event));
    assert_int_equal(event.kind, WS_TEXT);
    assert_true(ws_poll(&p.client, &event));
    assert_true(event.kind == WS_CLOSED && event.code == code && !event.failed);
    assert_false(ws_poll(&p.client, &event));
    assert_int_equal(ws_send_text(&p.client, view_text("x")), ERR_CLOSED);
    carry(&p.client, &p.server, 64);
    assert_true(ws_poll(&p.server, &event));
    assert_true(event.kind == WS_CLOSED && event.code == answer && !event.failed);
    stop(&p);
}

static void test_close_is_echoed_behind_what_came_before(void **state)
{
    (void)state;
    check_close(1000, 1000);
    check_close(1011, 1011);
    check_close(1012, 1002); /* a restart of the portal */
}

struct row {
    const char *hex; /* what the client receives */
    uint16_t code;   /* of the Close that it sends; 1005: without one; 0: it goes on */
    const char *text;
};

static const struct row rows[] = {
    {"8180000000", 1002, NULL},           /* masked towards a client */
    {"c100", 1002, NULL},                 /* RSV1 */
    {"8000", 1002, NULL},                 /* continuation of nothing */
    {"01016101", 1002, NULL},             /* text inside a fragmented text */
    {"0900", 1005, NULL},                 /* fragmented ping */
    {"897e0080", 1005, NULL},             /* ping of more than 125 bytes */
    {"8101ff", 1007, NULL},               /* not UTF-8 */
    {"8300", 1002, NULL},                 /* unknown opcode */
    {"817e0001", 1005, NULL},             /* length not minimal */
    {"880203e7", 1002, NULL},             /* close code 999 */
    {"817f0000000001000001", 1009, NULL}, /* a message of 16 MiB and one byte */
    {"017f0000000000ffffff", 0, NULL},    /* almost 16 MiB in one fragment is announced */
    {"0101c3890080"
     "01a9",
     0, "\xc3\xa9"},     /* UTF-8 and a ping across fragments */
    {"820161", 0, NULL}, /* binary is ignored */
    {"8a0161", 0, NULL}, /* an unasked pong */
};

/* The client has ended the connection, and tells the other side. */
static void check_ended(struct pair *p, uint16_t code)
{
    struct ws_event event;
    assert_true(ws_poll(&p->client, &event));
    assert_true(event.kind == WS_CLOSED && event.failed);
    carry(&p->client, &p->server, 64);
    assert_true(ws_poll(&p->server, &event));
    assert_true(event.kind == WS_CLOSED && event.code == code);
}

static void test_the_table_of_protocol_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct pair p;
        struct ws_event event = {.kind = WS_TEXT};
        uint8_t bytes[32];
        start(&p);
        size_t len = support_unhex(rows[i].hex, bytes, sizeof(bytes));
        ws_feed(&p.client, (struct view){bytes, len});
        /* the size is refused when the first byte of the payload arrives */
        ws_feed(&p.client, view_text("aa"));
        if (rows[i].code != 0) {
            check_ended(&p, rows[i].code);
        } else {
            assert_int_equal(ws_poll(&p.client, &event), rows[i].text != NULL);
            assert_true(rows[i].text == NULL || view_equal_text(event.text, rows[i].text));
        }
        stop(&p);
    }
}

static void test_floods_of_pings_and_fragments_end_the_connection(void **state)
{
    static uint8_t pings[3 * 2 * WS_SEND_MAX];
    static uint8_t fragments[2 * (WS_FRAGMENTS_MAX + 2)];
    struct pair p;
    (void)state;
    for (size_t i = 0; i < sizeof(pings); i += 2) {
        pings[i] = 0x89;
    }
    start(&p);
    ws_feed(&p.client, VIEW_OF(pings));
    check_ended(&p, 1008);
    stop(&p);
    fragments[0] = 0x01;
    start(&p);
    ws_feed(&p.client, VIEW_OF(fragments));
    check_ended(&p, 1008);
    stop(&p);
}

static void test_messages_nobody_polls_are_bounded(void **state)
{
    static uint8_t texts[2 * (WS_EVENTS_MAX + 1)];
    struct pair p;
    struct ws_event event;
    unsigned count = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(texts); i += 2) {
        texts[i] = 0x81;
    }
    start(&p);
    ws_feed(&p.client, VIEW_OF(texts));
    while (ws_poll(&p.client, &event) && event.kind == WS_TEXT) {
        count++;
    }
    assert_int_equal(count, WS_EVENTS_MAX);
    assert_true(event.kind == WS_CLOSED && event.failed);
    stop(&p);
}

static void test_the_send_queue_is_bounded(void **state)
{
    struct pair p;
    unsigned count = 0;
    (void)state;
    start(&p);
    while (ws_send_text(&p.client, view_text("x")) == ERR_NONE) {
        count++;
    }
    assert_int_equal(count, WS_SEND_MAX);
    assert_int_equal(ws_send_text(&p.client, view_text("x")), ERR_FULL);
    stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_crosses_in_both_directions_at_every_segmentation),
        cmocka_unit_test(test_the_client_masks_from_its_own_stream),
        cmocka_unit_test(test_a_ping_is_answered_and_shows_nothing),
        cmocka_unit_test(test_close_is_echoed_behind_what_came_before),
        cmocka_unit_test(test_the_table_of_protocol_errors),
        cmocka_unit_test(test_floods_of_pings_and_fragments_end_the_connection),
        cmocka_unit_test(test_messages_nobody_polls_are_bounded),
        cmocka_unit_test(test_the_send_queue_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
