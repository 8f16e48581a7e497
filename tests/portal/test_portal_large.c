/* Messages of the portal that are larger than what is read between two inputs: they are shown whole
 * or not at all, in order, and nothing else waits for them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portal/portal_client.h"
#include "tests/support/support.h"

#define AUTHORIZATIONS 3000U
#define RECORD         16384U /* bytes of one stream event, as TLS records are */
#define LOG_MAX        32U

struct world {
    struct portal_client c;
    struct rng rng;
    struct clock_pair now;
    uint32_t next_id;
    uint32_t stream; /* 0 without */
    bool is_open;
    bool holds;        /* messages are held when shown */
    bool has_message;  /* and one is */
    char log[LOG_MAX]; /* what happened: a letter each */
    size_t log_len;
    enum drop_reason refused;
    uint32_t authorizations; /* of the last init, walked */
    uint32_t sends;
    uint32_t work_max; /* spent between two inputs */
    unsigned slices;   /* timeouts that reading asked for */
};

static void note(struct world *w, char what)
{
    assert_true(w->log_len + 1 < LOG_MAX);
    w->log[w->log_len++] = what;
    w->log[w->log_len] = 0;
}

static void take_message(struct world *w, const struct portal_msg *msg)
{
    note(w, msg->kind == PORTAL_MSG_INIT               ? 'i'
            : msg->kind == PORTAL_MSG_REJECT_ACCESS    ? 'r'
            : msg->kind == PORTAL_MSG_RESOURCE_REMOVED ? 'x'
                                                       : 'm');
    if (w->holds) {
        portal_client_hold(&w->c);
        w->has_message = true;
    }
    if (msg->kind == PORTAL_MSG_INIT) {
        struct portal_list list = msg->u.init.authorizations;
        struct portal_authorization entry;
        w->authorizations = 0;
        while (portal_authorizations_next(&list, &entry)) {
            assert_true(entry.expires_at_s == 1000000U + w->authorizations);
            w->authorizations++;
        }
    }
}

static void take_output(struct world *w, const struct portal_output *out)
{
    switch (out->kind) {
    case PORTAL_OUT_OPEN:
        w->stream = out->u.open.stream;
        w->is_open = false;
        break;
    case PORTAL_OUT_SEND:
        w->sends++;
        assert_true(portal_client_stream_sent(&w->c, out->u.send.stream, out->u.send.bytes.len));
        break;
    case PORTAL_OUT_CLOSE:
        w->stream = 0;
        break;
    case PORTAL_OUT_MESSAGE:
        take_message(w, out->u.message);
        break;
    case PORTAL_OUT_REFUSED:
        note(w, 'f');
        w->refused = out->u.refused.reason;
        break;
    case PORTAL_OUT_JOINED:
        note(w, 'j');
        break;
    case PORTAL_OUT_LOST:
        note(w, 'l');
        break;
    case PORTAL_OUT_LOOKUP:
    case PORTAL_OUT_FATAL:
        fail();
        break;
    }
}

static void drain(struct world *w)
{
    struct portal_output out;
    uint32_t before = w->c.work;
    while (portal_client_poll(&w->c, &out)) {
        take_output(w, &out);
        portal_client_check(&w->c);
    }
    w->work_max = before - w->c.work > w->work_max ? before - w->c.work : w->work_max;
}

static void event(struct world *w, enum portal_stream_kind kind, struct view bytes)
{
    struct portal_stream_event e = {kind, w->stream, bytes, ERR_CLOSED};
    assert_true(portal_client_handle_stream(&w->c, &e, w->now));
    drain(w);
}

static bool is_due(const struct world *w)
{
    return instant_reached(w->now.boot, portal_client_poll_timeout(&w->c).at);
}

/* One slice; false when nothing is due. */
static bool slice(struct world *w)
{
    if (!is_due(w)) {
        return false;
    }
    w->slices++;
    portal_client_handle_timeout(&w->c, w->now);
    drain(w);
    return true;
}

static void finish(struct world *w)
{
    while (slice(w)) {
        assert_true(w->slices < 100000);
    }
}

/* ---- what the portal says ---- */

struct text {
    char *at;
    size_t len;
    size_t size;
};

static void put(struct text *t, const char *what)
{
    size_t len = strlen(what);
    if (t->len + len + 1 > t->size) {
        t->size = 2 * (t->len + len + 1);
        t->at = realloc(t->at, t->size);
        assert_non_null(t->at);
    }
    memcpy(t->at + t->len, what, len + 1);
    t->len += len;
}

static void put_message(struct text *t, const char *event_name, const char *payload)
{
    put(t, "{\"topic\":\"gateway\",\"event\":\"");
    put(t, event_name);
    put(t, "\",\"ref\":null,\"payload\":");
    put(t, payload);
    put(t, "}");
}

/* `last` is the last entry of the list. */
static struct text init_of(uint32_t count, const char *last)
{
    struct text t = {0};
    struct text payload = {0};
    put(&payload, "{\"interface\":{\"ipv4\":\"100.70.1.2\",\"ipv6\":\"fd00:2021:1111::7:102\"},"
                  "\"config\":{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true},"
                  "\"authorizations\":[");
    for (uint32_t i = 0; i < count; i++) {
        char entry[256];
        (void)snprintf(entry, sizeof(entry),
                       "{\"client_id\":\"0b7e2c1a-5d34-4f6e-9a10-6c2f%08x\",\"resource_id\":"
                       "\"1f0c7d9e-6f0a-4f4e-8a73-0d8a%08x\",\"expires_at\":%u},",
                       i / 4, i, 1000000U + i);
        put(&payload, entry);
    }
    put(&payload, last);
    put(&payload, "]}");
    put_message(&t, "init", payload.at);
    free(payload.at);
    return t;
}

#define GOOD                                                                                       \
    "{\"client_id\":\"0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001\",\"resource_id\":"                     \
    "\"1f0c7d9e-6f0a-4f4e-8a73-0d8a5b2c9e11\",\"expires_at\":1003000}"
#define BAD                                                                                        \
    "{\"client_id\":\"0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001\",\"resource_id\":"                     \
    "\"1f0c7d9e-6f0a-4f4e-8a73-0d8a5b2c9e11\",\"expires_at\":null}"
#define REJECT                                                                                     \
    "{\"client_id\":\"0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001\",\"resource_id\":"                     \
    "\"1f0c7d9e-6f0a-4f4e-8a73-0d8a5b2c9e11\"}"

/* The frames of a text: one, or `pieces` fragments. Appends to `out`. */
static void put_frames(struct text *out, const struct text *t, size_t pieces)
{
    size_t step = (t->len + pieces - 1) / pieces;
    for (size_t at = 0; at < t->len; at += step) {
        size_t len = t->len - at < step ? t->len - at : step;
        uint8_t head[10];
        struct writer h = writer_of((struct span){head, sizeof(head)});
        writer_u8(&h, (uint8_t)((at == 0 ? 1 : 0) | (at + len == t->len ? 0x80 : 0)));
        writer_u8(&h, len < 126 ? (uint8_t)len : (len < 65536 ? 126 : 127));
        if (len >= 65536) {
            writer_be32(&h, 0);
            writer_be32(&h, (uint32_t)len);
        } else if (len >= 126) {
            writer_be16(&h, (uint16_t)len);
        }
        out->size = out->len + h.used + len;
        out->at = realloc(out->at, out->size);
        assert_non_null(out->at);
        memcpy(out->at + out->len, head, h.used);
        memcpy(out->at + out->len + h.used, t->at + at, len);
        out->len = out->size;
    }
}

static void say_bytes(struct world *w, struct view bytes)
{
    for (size_t at = 0; at < bytes.len; at += RECORD) {
        event(w, PORTAL_STREAM_BYTES,
              view_sub(bytes, at, bytes.len - at < RECORD ? bytes.len - at : RECORD));
    }
}

static void say(struct world *w, const struct text *t)
{
    struct text frames = {0};
    put_frames(&frames, t, 1);
    say_bytes(w, (struct view){(const uint8_t *)frames.at, frames.len});
    free(frames.at);
}

static void say_text(struct world *w, const char *what)
{
    struct text t = {0};
    put(&t, what);
    say(w, &t);
    free(t.at);
}

/* ---- the world ---- */

static void join(struct world *w)
{
    uint8_t key_text[HTTP_WS_KEY_SIZE];
    uint8_t text[256];
    struct writer key = writer_of((struct span){key_text, sizeof(key_text)});
    struct writer out = writer_of((struct span){text, sizeof(text)});
    drain(w);
    event(w, PORTAL_STREAM_OPENED, VIEW_EMPTY);
    text_put_base64(&key, VIEW_OF(w->c.nonce), true);
    http_put_upgrade_response(&out, writer_view(&key));
    event(w, PORTAL_STREAM_BYTES, writer_view(&out));
    say_text(w, "{\"ref\":0,\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":"
                "{\"status\":\"ok\",\"response\":{}}}");
    assert_true(portal_client_is_joined(&w->c));
}

static struct world *start(void)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {3};
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->next_id = 1;
    w->now = (struct clock_pair){{1000 * NS_PER_S}, 784111700 * NS_PER_S};
    rng_init(&w->rng, seed);
    struct portal_client_config config = {
        .api_url = view_text("ws://192.0.2.1"),
        .token = view_text("token"),
        .firezone_id = view_text("id"),
        .name = view_text("gw"),
        .public_key = seed,
        .user_agent = view_text("connlib/1.5.2"),
        .next_id = &w->next_id,
        .rng = &w->rng,
    };
    assert_int_equal(portal_client_init(&w->c, &config, w->now), ERR_NONE);
    join(w);
    assert_string_equal(w->log, "j");
    w->log_len = 0;
    w->log[0] = 0;
    w->slices = 0;
    return w;
}

/* Nothing is left to do and nothing is kept. */
static void stop(struct world *w)
{
    finish(w);
    assert_null(w->c.trash.first);
    assert_false(w->c.reading);
    portal_client_deinit(&w->c);
    free(w);
}

/* ---- what is promised ---- */

static void test_a_large_message_is_read_in_bounded_slices_and_shown_whole(void **state)
{
    struct text t = init_of(AUTHORIZATIONS, GOOD);
    struct world *w = start();
    (void)state;
    say(w, &t);
    finish(w);
    assert_string_equal(w->log, "i");
    assert_int_equal(w->authorizations, AUTHORIZATIONS + 1);
    assert_true(w->slices > 10); /* 450 KB */
    assert_true(w->work_max <= PORTAL_WORK);
    stop(w);
    free(t.at);
}

static void test_fragments_make_no_difference(void **state)
{
    static const size_t pieces[] = {2, 7, 1000};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
        struct text t = init_of(AUTHORIZATIONS, GOOD);
        struct text frames = {0};
        struct world *w = start();
        put_frames(&frames, &t, pieces[i]);
        say_bytes(w, (struct view){(const uint8_t *)frames.at, frames.len});
        finish(w);
        assert_string_equal(w->log, "i");
        assert_int_equal(w->authorizations, AUTHORIZATIONS + 1);
        stop(w);
        free(frames.at);
        free(t.at);
    }
}

static void test_messages_behind_a_large_one_wait_and_keep_their_order(void **state)
{
    struct text t = init_of(AUTHORIZATIONS, GOOD);
    struct text behind = {0};
    struct world *w = start();
    (void)state;
    put_message(&behind, "reject_access", REJECT);
    say(w, &t);
    say(w, &behind);
    say(w, &t);
    say(w, &behind);
    assert_string_equal(w->log, "");
    finish(w);
    assert_string_equal(w->log, "irir");
    stop(w);
    free(behind.at);
    free(t.at);
}

/* What small messages do takes longer than reading them: only a few are shown between two inputs.
 */
static void test_a_burst_of_small_messages_is_sliced_too(void **state)
{
    struct text t = {0};
    struct text frames = {0};
    struct world *w = start();
    size_t before = 0;
    (void)state;
    put_message(&t, "reject_access", REJECT);
    for (unsigned i = 0; i < 30; i++) {
        struct text frame = {0};
        put_frames(&frame, &t, 1);
        frames.at = realloc(frames.at, frames.len + frame.len);
        assert_non_null(frames.at);
        memcpy(frames.at + frames.len, frame.at, frame.len);
        frames.len += frame.len;
        free(frame.at);
    }
    event(w, PORTAL_STREAM_BYTES, (struct view){(const uint8_t *)frames.at, frames.len});
    do {
        assert_true(w->log_len > before && w->log_len <= before + 6);
        before = w->log_len;
    } while (slice(w));
    assert_int_equal(w->log_len, 30);
    stop(w);
    free(frames.at);
    free(t.at);
}

static void test_heartbeats_and_messages_leave_while_one_is_read(void **state)
{
    struct text t = init_of(AUTHORIZATIONS, GOOD);
    struct world *w = start();
    (void)state;
    say(w, &t);
    uint32_t sends = w->sends;
    assert_true(w->c.reading);
    w->now.boot = instant_add(w->now.boot, DURATION_S(PORTAL_HEARTBEAT_S));
    assert_true(slice(w));
    assert_true(w->c.reading);
    assert_int_equal(w->sends, sends + 1);
    assert_int_equal(portal_client_send_flow_authorized(&w->c, view_text("r")), ERR_NONE);
    drain(w);
    assert_int_equal(w->sends, sends + 2);
    finish(w);
    assert_string_equal(w->log, "i");
    stop(w);
    free(t.at);
}

/* Not even its beginning counts, wherever the connection breaks. */
static void test_a_message_that_is_cut_off_has_not_been(void **state)
{
    struct text t = init_of(400, GOOD);
    struct text frames = {0};
    (void)state;
    put_frames(&frames, &t, 3);
    for (size_t len = 0; len < frames.len; len += len < 40 || len + 40 > frames.len ? 1 : 997) {
        struct world *w = start();
        say_bytes(w, (struct view){(const uint8_t *)frames.at, len});
        event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
        finish(w);
        assert_string_equal(w->log, "l");
        stop(w);
    }
    free(frames.at);
    free(t.at);
}

/* At each slice, the connection breaks or the portal closes it: what came whole is shown, then the
 * end. */
static void test_what_came_whole_is_shown_before_the_end(void **state)
{
    struct text t = init_of(AUTHORIZATIONS, GOOD);
    struct text behind = {0};
    (void)state;
    put_message(&behind, "reject_access", REJECT);
    for (unsigned slices = 0, done = 0; done == 0; slices++) {
        struct world *w = start();
        say(w, &t);
        say(w, &behind);
        for (unsigned i = 0; i < slices; i++) {
            (void)slice(w);
        }
        done = w->log_len == 2;
        event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
        finish(w);
        assert_string_equal(w->log, "irl");
        assert_int_equal(w->authorizations, AUTHORIZATIONS + 1);
        w->now.boot = instant_add(w->now.boot, DURATION_S(2)); /* and it comes back */
        w->log_len = 0;
        finish(w);
        join(w);
        say(w, &behind);
        assert_string_equal(w->log, "jr");
        stop(w);
    }
    free(behind.at);
    free(t.at);
}

static void test_the_end_of_all_in_the_middle_of_a_message(void **state)
{
    struct text t = init_of(AUTHORIZATIONS, GOOD);
    (void)state;
    for (unsigned way = 0; way < 3; way++) {
        struct world *w = start();
        say(w, &t);
        assert_true(slice(w));
        if (way > 0) {
            event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
        }
        if (way < 2) {
            portal_client_close(&w->c, w->now);
        } else {
            assert_true(portal_client_reconnect(&w->c, w->now));
        }
        drain(w);
        finish(w);
        assert_string_equal(w->log, "");
        assert_true(portal_client_is_closed(&w->c) == (way < 2));
        stop(w);
    }
    free(t.at);
}

static void test_a_wrong_end_refuses_all_of_a_message(void **state)
{
    static const struct {
        const char *last;
        enum drop_reason reason;
        const char *log;
    } rows[] = {
        {BAD, DROP_PORTAL_FIELD, "f"},
        {GOOD "," BAD "," GOOD, DROP_PORTAL_FIELD, "f"},
        {GOOD ",", DROP_JSON_SYNTAX, "f"},
        {"{\"client_id\":1,\"client_id\":1}", DROP_JSON_SYNTAX, "f"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", DROP_JSON_LIMIT, "f"},
        {"{\"client_id\":\"", DROP_JSON_TRUNCATED, "fl"},
        {GOOD "],\"more\":[", DROP_NONE, "i"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct text t = init_of(AUTHORIZATIONS, rows[i].last);
        struct world *w = start();
        say(w, &t);
        finish(w);
        assert_string_equal(w->log, rows[i].log);
        assert_int_equal(w->refused, rows[i].reason);
        stop(w);
        free(t.at);
    }
}

static void test_text_that_ends_too_early_ends_the_connection(void **state)
{
    struct text t = init_of(AUTHORIZATIONS, GOOD);
    struct world *w = start();
    (void)state;
    t.len -= 2;
    say(w, &t);
    finish(w);
    assert_string_equal(w->log, "fl");
    assert_int_equal(w->refused, DROP_JSON_TRUNCATED);
    stop(w);
    free(t.at);
}

static void test_a_held_message_stops_messages_and_nothing_else(void **state)
{
    struct text t = {0};
    struct world *w = start();
    (void)state;
    put_message(&t, "reject_access", REJECT);
    w->holds = true;
    say(w, &t);
    say(w, &t);
    finish(w);
    assert_string_equal(w->log, "r");
    uint32_t sends = w->sends;
    w->now.boot = instant_add(w->now.boot, DURATION_S(PORTAL_HEARTBEAT_S));
    finish(w);
    assert_string_equal(w->log, "r");
    assert_int_equal(w->sends, sends + 1);
    event(w, PORTAL_STREAM_CLOSED, VIEW_EMPTY); /* behind the second */
    finish(w);
    assert_string_equal(w->log, "r");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(w->c.msg.kind, PORTAL_MSG_REJECT_ACCESS); /* still there */
        portal_client_unhold(&w->c);
        drain(w);
        assert_string_equal(w->log, i == 0 ? "rr" : "rrl"); /* at once */
        finish(w);
    }
    assert_string_equal(w->log, "rrl");
    stop(w);
    free(t.at);
}

/* A megabyte of anything is read in slices, too. */
static void test_large_messages_of_every_kind(void **state)
{
    static const struct {
        const char *head;
        const char *piece; /* 1 MB of it */
        const char *tail;
        enum drop_reason reason;
        const char *log;
    } rows[] = {
        {"{\"topic\":\"gateway\",\"event\":\"news\",\"ref\":null,\"payload\":[", "{\"a\":[1,2]},",
         "0]}", DROP_PORTAL_UNKNOWN, "f"},
        {"{\"topic\":\"gateway\",\"event\":\"news\",\"ref\":null,\"payload\":\"", "\\u20ac text ",
         "\"}", DROP_PORTAL_UNKNOWN, "f"},
        {"{\"topic\":\"gateway\",\"ref\":null,\"payload\":{},\"event\":\"", "news", "\"}",
         DROP_PORTAL_UNKNOWN, "f"},
        {"{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"ref\":7,\"payload\":{\"status\":\"ok\","
         "\"response\":{\"a\":[",
         "null,", "1]}}}", DROP_NONE, ""},
        {"{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"ref\":7,\"payload\":{\"status\":"
         "\"error\","
         "\"response\":{\"reason\":\"",
         "no ", "\"}}}", DROP_PORTAL_REPLY, "f"},
        {"", "garbage ", "", DROP_JSON_SYNTAX, "f"},
        {"", "          ", "1", DROP_PHX_ENVELOPE, "f"},
        {"[", "[],", "[]]", DROP_PHX_ENVELOPE, "f"},
        {"{\"topic\":\"gateway\",\"event\":\"ice_candidates\",\"ref\":null,\"payload\":{\"client_"
         "id\":"
         "\"0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001\",\"candidates\":[",
         "\"candidate\",", "\"\"]}}", DROP_PORTAL_FIELD, "f"},
        {"{\"topic\":\"gateway\",\"event\":\"resource_updated\",\"ref\":null,\"payload\":{\"id\":"
         "\"1f0c7d9e-6f0a-4f4e-8a73-0d8a5b2c9e11\",\"type\":\"cidr\",\"address\":\"10.0.0.0/8\","
         "\"name\":\"n\",\"filters\":[",
         "{\"protocol\":\"tcp\"},", "{}]}}", DROP_NONE, "x"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct text t = {0};
        struct world *w = start();
        put(&t, rows[i].head);
        while (t.len < 1000000) {
            put(&t, rows[i].piece);
        }
        put(&t, rows[i].tail);
        say(w, &t);
        finish(w);
        assert_string_equal(w->log, rows[i].log);
        assert_int_equal(w->refused, rows[i].reason);
        assert_true(w->work_max <= PORTAL_WORK);
        stop(w);
        free(t.at);
    }
}

/* A resource whose last filter cannot be read is taken away. */
static void test_a_wrong_filter_at_the_end_removes_the_resource(void **state)
{
    struct text t = {0};
    struct world *w = start();
    (void)state;
    put(&t,
        "{\"topic\":\"gateway\",\"event\":\"resource_updated\",\"ref\":null,\"payload\":{\"id\":"
        "\"1f0c7d9e-6f0a-4f4e-8a73-0d8a5b2c9e11\",\"type\":\"cidr\",\"address\":\"10.0.0.0/8\","
        "\"name\":\"n\",\"filters\":[");
    for (unsigned i = 0; i < 1000; i++) {
        put(&t, "{\"protocol\":\"udp\",\"port_range_start\":5},");
    }
    put(&t, "{\"protocol\":\"udp\",\"port_range_start\":-5}]}}");
    say(w, &t);
    finish(w);
    assert_string_equal(w->log, "x");
    stop(w);
    free(t.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_message_is_read_in_bounded_slices_and_shown_whole),
        cmocka_unit_test(test_fragments_make_no_difference),
        cmocka_unit_test(test_messages_behind_a_large_one_wait_and_keep_their_order),
        cmocka_unit_test(test_a_burst_of_small_messages_is_sliced_too),
        cmocka_unit_test(test_heartbeats_and_messages_leave_while_one_is_read),
        cmocka_unit_test(test_a_message_that_is_cut_off_has_not_been),
        cmocka_unit_test(test_what_came_whole_is_shown_before_the_end),
        cmocka_unit_test(test_the_end_of_all_in_the_middle_of_a_message),
        cmocka_unit_test(test_a_wrong_end_refuses_all_of_a_message),
        cmocka_unit_test(test_text_that_ends_too_early_ends_the_connection),
        cmocka_unit_test(test_a_held_message_stops_messages_and_nothing_else),
        cmocka_unit_test(test_large_messages_of_every_kind),
        cmocka_unit_test(test_a_wrong_filter_at_the_end_removes_the_resource),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
