/* SRV and TXT queries of clients, over UDP and TCP, through the whole core. */
#include <stdio.h>
#include <string.h>

#include "dns/dns_msg.h"
#include "gateway/gateway_dns.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

static struct sock_addr asker(uint16_t port)
{
    return sock_addr_of(ip_v4(100, 64, 1, 1), port);
}

static size_t put_query(uint8_t *out, size_t size, uint16_t id, const char *name, uint16_t type)
{
    struct dns_question question = {.type = type, .class = DNS_CLASS_IN};
    struct writer w = writer_of((struct span){out, size});
    assert_true(dns_name_parse(view_text(name), &question.name));
    dns_msg_put_query(&w, id, &question);
    assert_true(writer_finish(&w));
    return w.used;
}

/* A resolver's answer with `count` TXT records of 100 bytes, under an id of its own. */
static size_t put_answer(uint8_t *out, size_t size, const char *name, uint16_t type, unsigned count)
{
    uint8_t query[512];
    uint8_t text[100];
    struct dns_msg msg;
    size_t len = put_query(query, sizeof(query), 0x7777, name, type);
    assert_int_equal(dns_msg_parse((struct view){query, len}, &msg), DROP_NONE);
    struct writer w = writer_of((struct span){out, size});
    struct dns_build build = dns_build_response(&w, &msg, DNS_NOERROR);
    memset(text, 't', sizeof(text));
    for (unsigned i = 0; i < count; i++) {
        dns_build_text(&build, VIEW_OF(text), 60);
    }
    assert_true(dns_build_finish(&build));
    return w.used;
}

static void ask_udp(struct rig *rig, uint16_t id, const char *name, uint16_t type)
{
    uint8_t query[512];
    size_t len = put_query(query, sizeof(query), id, name, type);
    rig_listener(rig, GATEWAY_LISTENER_DNS_UDP4, asker(id), (struct view){query, len});
}

static struct dns_msg last_datagram(const struct rig *rig, size_t count)
{
    struct dns_msg msg;
    assert_int_equal(rig->datagrams.count, count);
    const struct rig_item *item = &rig->datagrams.items[count - 1];
    assert_int_equal(item->ecn, GATEWAY_LISTENER_DNS_UDP4);
    assert_int_equal(dns_msg_parse((struct view){item->at, item->len}, &msg), DROP_NONE);
    assert_true(dns_msg_is_response(&msg));
    assert_int_equal(item->remote.port, msg.id);
    return msg;
}

static struct rig *joined(void)
{
    struct rig *rig = rig_new();
    rig_join(rig);
    return rig;
}

static void a_query_is_looked_up_and_answered_under_its_own_id(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t answer[4096];
    ask_udp(rig, 1, "_sip._udp.corp.test", DNS_TYPE_SRV);
    ask_udp(rig, 2, "corp.test", DNS_TYPE_TXT);
    size_t srv = rig_lookup(rig, GATEWAY_LOOKUP_SRV, "_sip._udp.corp.test");
    size_t txt = rig_lookup(rig, GATEWAY_LOOKUP_TXT, "corp.test");
    assert_true(srv < RIG_LOOKUPS_MAX && txt < RIG_LOOKUPS_MAX);
    size_t len = put_answer(answer, sizeof(answer), "corp.test", DNS_TYPE_TXT, 3);
    rig_answer_records(rig, txt, ERR_NONE, (struct view){answer, len});
    struct dns_msg msg = last_datagram(rig, 1);
    assert_int_equal(msg.id, 2);
    assert_int_equal(msg.answers_count, 3);
    assert_int_equal(dns_msg_rcode(&msg), DNS_NOERROR);
    rig_answer_records(rig, srv, ERR_NAME, VIEW_EMPTY);
    msg = last_datagram(rig, 2);
    assert_int_equal(msg.id, 1);
    assert_int_equal(dns_msg_rcode(&msg), DNS_NXDOMAIN);
    rig_free(rig);
}

static void results_without_records_become_rcodes(void **state)
{
    (void)state;
    static const struct {
        enum err result;
        enum dns_rcode rcode;
    } cases[] = {{ERR_NONE, DNS_NOERROR},
                 {ERR_NAME, DNS_NXDOMAIN},
                 {ERR_TIMEOUT, DNS_SERVFAIL},
                 {ERR_IO, DNS_SERVFAIL}};
    struct rig *rig = joined();
    for (uint16_t i = 0; i < 4; i++) {
        ask_udp(rig, (uint16_t)(i + 1), "corp.test", DNS_TYPE_TXT);
        size_t lookup = rig_lookup(rig, GATEWAY_LOOKUP_TXT, "corp.test");
        rig_answer_records(rig, lookup, cases[i].result, VIEW_EMPTY);
        struct dns_msg msg = last_datagram(rig, (size_t)i + 1);
        assert_int_equal(dns_msg_rcode(&msg), cases[i].rcode);
    }
    ask_udp(rig, 9, "corp.test", DNS_TYPE_TXT);
    rig_answer_records(rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "corp.test"), ERR_NONE,
                       view_text("no DNS message"));
    struct dns_msg msg = last_datagram(rig, 5);
    assert_int_equal(dns_msg_rcode(&msg), DNS_SERVFAIL);
    rig_free(rig);
}

static void other_types_are_refused_without_a_lookup(void **state)
{
    (void)state;
    static const uint16_t types[] = {DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, 255};
    struct rig *rig = joined();
    for (uint16_t i = 0; i < 4; i++) {
        ask_udp(rig, (uint16_t)(i + 1), "corp.test", types[i]);
        struct dns_msg msg = last_datagram(rig, (size_t)i + 1);
        assert_int_equal(dns_msg_rcode(&msg), DNS_REFUSED);
    }
    assert_int_equal(rig->lookups_count, 0);
    rig_free(rig);
}

static void a_long_answer_is_cut_for_udp(void **state)
{
    (void)state;
    struct rig *rig = joined();
    static uint8_t answer[16384];
    for (unsigned count = 12; count < 130; count += 60) {
        ask_udp(rig, (uint16_t)count, "corp.test", DNS_TYPE_TXT);
        size_t len = put_answer(answer, sizeof(answer), "corp.test", DNS_TYPE_TXT, count);
        assert_true(len > DNS_UDP_SIZE_MAX);
        rig_answer_records(rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "corp.test"), ERR_NONE,
                           (struct view){answer, len});
        struct dns_msg msg = last_datagram(rig, rig->datagrams.count);
        assert_int_equal(msg.id, count);
        assert_int_equal(msg.answers_count, 0);
        assert_true((msg.flags & DNS_FLAG_TRUNCATED) != 0);
    }
    rig_free(rig);
}

static void a_query_without_answer_is_servfail_after_five_seconds(void **state)
{
    (void)state;
    struct rig *rig = joined();
    ask_udp(rig, 1, "slow.test", DNS_TYPE_TXT);
    ask_udp(rig, 2, "slow.test", DNS_TYPE_TXT);
    rig_pass(rig, DURATION_MS(4900));
    assert_int_equal(rig->datagrams.count, 0);
    rig_pass(rig, DURATION_MS(200));
    struct dns_msg msg = last_datagram(rig, 2);
    assert_int_equal(dns_msg_rcode(&msg), DNS_SERVFAIL);
    rig_answer_records(rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "slow.test"), ERR_NONE, VIEW_EMPTY);
    assert_int_equal(rig->datagrams.count, 2);
    assert_int_equal(rig_drops(rig, DROP_DNS_LATE), 1);
    rig_free(rig);
}

/* One answer waits at a time; none takes the place of another. */
static void queries_that_run_out_together_are_all_answered(void **state)
{
    (void)state;
    struct rig *rig = joined();
    for (uint16_t i = 1; i <= GATEWAY_DNS_QUERIES_MAX; i++) {
        ask_udp(rig, i, "slow.test", DNS_TYPE_TXT);
    }
    rig_pass(rig, DURATION_MS(5100));
    assert_int_equal(rig->datagrams.count, GATEWAY_DNS_QUERIES_MAX);
    for (size_t i = 0; i < GATEWAY_DNS_QUERIES_MAX; i++) {
        assert_int_equal(load_be16(rig->datagrams.items[i].at), i + 1);
    }
    rig_free(rig);
}

static void a_full_table_answers_servfail(void **state)
{
    (void)state;
    struct rig *rig = joined();
    for (uint16_t i = 1; i <= GATEWAY_DNS_QUERIES_MAX; i++) {
        ask_udp(rig, i, "corp.test", DNS_TYPE_TXT);
    }
    assert_int_equal(rig->datagrams.count, 0);
    ask_udp(rig, 1000, "corp.test", DNS_TYPE_TXT);
    struct dns_msg msg = last_datagram(rig, 1);
    assert_int_equal(msg.id, 1000);
    assert_int_equal(dns_msg_rcode(&msg), DNS_SERVFAIL);
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 1);
    rig_free(rig);
}

static void garbage_is_counted_and_not_answered(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t query[600];
    size_t len = put_query(query, sizeof(query), 1, "corp.test", DNS_TYPE_TXT);
    for (size_t cut = 0; cut < len; cut++) {
        rig_listener(rig, GATEWAY_LISTENER_DNS_UDP4, asker(1), (struct view){query, cut});
    }
    assert_int_equal(rig_drops(rig, DROP_DNS_MALFORMED), len);
    query[2] |= 0x80; /* a response */
    rig_listener(rig, GATEWAY_LISTENER_DNS_UDP4, asker(1), (struct view){query, len});
    memset(query + len, 0, sizeof(query) - len);
    query[2] &= 0x7f;
    rig_listener(rig, GATEWAY_LISTENER_DNS_UDP4, asker(1), VIEW_OF(query)); /* too long */
    assert_int_equal(rig_drops(rig, DROP_DNS_MALFORMED), len + 2);
    assert_int_equal(rig->datagrams.count, 0);
    assert_int_equal(rig->lookups_count, 0);
    rig_free(rig);
}

/* ---- TCP ---- */

static size_t put_framed(uint8_t *out, size_t size, uint16_t id, const char *name)
{
    size_t len = put_query(out + 2, size - 2, id, name, DNS_TYPE_TXT);
    store_be16(out, (uint16_t)len);
    return len + 2;
}

/* All bytes sent to a stream so far. */
static size_t collect(const struct rig *rig, uint16_t stream, uint8_t *out, size_t size,
                      bool *closed)
{
    size_t used = 0;
    *closed = false;
    for (size_t i = 0; i < rig->sent.count; i++) {
        const struct rig_item *item = &rig->sent.items[i];
        if (item->local.port == stream) {
            assert_true(used + item->len <= size);
            memcpy(out + used, item->at, item->len);
            used += item->len;
            *closed = *closed || item->ecn == 1;
        }
    }
    return used;
}

#define FIRST 0 /* the first connection that a platform accepts */

static void a_tcp_query_may_come_byte_by_byte_and_its_answer_leave_in_pieces(void **state)
{
    (void)state;
    struct rig *rig = joined();
    static uint8_t answer[GATEWAY_DNS_ANSWER_MAX];
    static uint8_t got[GATEWAY_DNS_ANSWER_MAX + 2];
    uint8_t query[600];
    bool closed;
    size_t len = put_framed(query, sizeof(query), 5, "big.test");
    rig_accept(rig, FIRST, GATEWAY_LISTENER_DNS_TCP4);
    for (size_t i = 0; i < len; i++) {
        rig_stream_bytes(rig, FIRST, (struct view){query + i, 1});
    }
    size_t lookup = rig_lookup(rig, GATEWAY_LOOKUP_TXT, "big.test");
    assert_true(lookup < RIG_LOOKUPS_MAX);
    size_t size = put_answer(answer, sizeof(answer), "big.test", DNS_TYPE_TXT, 140);
    assert_true(size > 10000);
    rig->stream_room = 700;
    rig_answer_records(rig, lookup, ERR_NONE, (struct view){answer, size});
    assert_int_equal(collect(rig, FIRST, got, sizeof(got), &closed), 700); /* then it is blocked */
    for (size_t i = 0; i < 30; i++) {
        rig_stream_writable(rig, FIRST);
    }
    assert_int_equal(collect(rig, FIRST, got, sizeof(got), &closed), size + 2);
    assert_false(closed);
    assert_int_equal(load_be16(got), size);
    struct dns_msg msg;
    assert_int_equal(dns_msg_parse((struct view){got + 2, size}, &msg), DROP_NONE);
    assert_int_equal(msg.id, 5);
    assert_int_equal(msg.answers_count, 140);
    assert_memory_equal(got + 4, answer + 2, size - 2);
    rig_free(rig);
}

/* A connection that asks for a.test, id 1, and b.test, id 2, in one go; the bytes go to `out`. */
static void ask_twice(struct rig *rig, enum gateway_listener listener, uint8_t out[1000])
{
    size_t len = put_framed(out, 1000, 1, "a.test");
    len += put_framed(out + len, 1000 - len, 2, "b.test");
    rig_accept(rig, 1, listener);
    rig_stream_bytes(rig, 1, (struct view){out, len});
}

/* There is no such name. */
static void deny(struct rig *rig, const char *name)
{
    size_t lookup = rig_lookup(rig, GATEWAY_LOOKUP_TXT, name);
    assert_true(lookup < RIG_LOOKUPS_MAX);
    rig_answer_records(rig, lookup, ERR_NAME, VIEW_EMPTY);
}

/* The connection has the answers 1 to `count` and no more; true when it was closed behind them. */
static bool has_answers(struct rig *rig, uint16_t count)
{
    uint8_t got[2000];
    bool closed;
    size_t size = collect(rig, 1, got, sizeof(got), &closed);
    size_t at = 0;
    for (uint16_t id = 1; id <= count; id++) {
        assert_true(size >= at + 4);
        assert_int_equal(load_be16(got + at + 2), id);
        at += 2 + (size_t)load_be16(got + at);
    }
    assert_int_equal(size, at);
    return closed;
}

static void queries_of_one_connection_are_answered_one_after_the_other(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t bytes[1000];
    ask_twice(rig, GATEWAY_LISTENER_DNS_TCP6, bytes);
    assert_int_equal(rig_lookup(rig, GATEWAY_LOOKUP_TXT, "b.test"), RIG_LOOKUPS_MAX);
    deny(rig, "a.test");
    deny(rig, "b.test");
    assert_false(has_answers(rig, 2));
    rig_free(rig);
}

/* RFC 7766 section 6.2.3: what was asked before the client ended its side is answered. */
static void a_client_that_ended_its_side_gets_every_answer_and_the_end(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t bytes[1000];
    uint8_t got[2000];
    bool closed;
    ask_twice(rig, GATEWAY_LISTENER_DNS_TCP4, bytes);
    rig_stream_ended(rig, 1);
    deny(rig, "a.test");
    assert_false(has_answers(rig, 1));
    deny(rig, "b.test");
    assert_true(has_answers(rig, 2));
    rig_accept(rig, 2, GATEWAY_LISTENER_DNS_TCP4); /* nothing asked, or half a query: closed */
    rig_stream_bytes(rig, 2, (struct view){bytes, 9});
    rig_stream_ended(rig, 2);
    assert_int_equal(collect(rig, 2, got, sizeof(got), &closed), 0);
    assert_true(closed);
    rig_free(rig);
}

static void an_idle_connection_is_closed_after_ten_seconds(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t got[64];
    bool closed;
    rig_accept(rig, 1, GATEWAY_LISTENER_DNS_TCP4);
    rig_pass(rig, DURATION_MS(9900));
    assert_int_equal(collect(rig, 1, got, sizeof(got), &closed), 0);
    assert_false(closed);
    rig_pass(rig, DURATION_MS(200));
    (void)collect(rig, 1, got, sizeof(got), &closed);
    assert_true(closed);
    rig_free(rig);
}

static void oversized_and_broken_tcp_queries_close_the_connection(void **state)
{
    (void)state;
    static const uint8_t texts[][8] = {{0xff, 0xff, 1}, {0, 5, 1, 2, 3, 4, 5}};
    struct rig *rig = joined();
    uint8_t got[64];
    bool closed;
    for (uint32_t i = 0; i < 2; i++) {
        rig_accept(rig, i + 1, GATEWAY_LISTENER_DNS_TCP4);
        rig_stream_bytes(rig, i + 1, VIEW_OF(texts[i]));
        (void)collect(rig, (uint16_t)(i + 1), got, sizeof(got), &closed);
        assert_true(closed);
        assert_int_equal(rig_drops(rig, DROP_DNS_MALFORMED), i + 1);
    }
    rig_free(rig);
}

static void more_connections_than_the_table_holds_are_closed(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t got[64];
    bool closed;
    for (uint32_t i = 1; i <= GATEWAY_DNS_STREAMS_MAX + 1; i++) {
        rig_accept(rig, i, GATEWAY_LISTENER_DNS_TCP4);
        (void)collect(rig, (uint16_t)i, got, sizeof(got), &closed);
        assert_int_equal(closed, i > GATEWAY_DNS_STREAMS_MAX);
    }
    rig_stream_closed(rig, 1);
    rig_accept(rig, 100, GATEWAY_LISTENER_DNS_TCP4);
    (void)collect(rig, 100, got, sizeof(got), &closed);
    assert_false(closed);
    rig_free(rig);
}

static void an_answer_for_a_connection_that_is_gone_is_forgotten(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t bytes[600];
    size_t len = put_framed(bytes, sizeof(bytes), 1, "a.test");
    rig_accept(rig, 1, GATEWAY_LISTENER_DNS_TCP4);
    rig_stream_bytes(rig, 1, (struct view){bytes, len});
    rig_stream_closed(rig, 1);
    rig_answer_records(rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "a.test"), ERR_NAME, VIEW_EMPTY);
    assert_int_equal(rig->sent.count, 0);
    rig_pass(rig, DURATION_S(20));
    assert_int_equal(rig->sent.count, 0);
    rig_free(rig);
}

/* ---- clients that keep a place ---- */

static bool is_closed(const struct rig *rig, uint16_t stream)
{
    static uint8_t got[262144];
    bool closed;
    (void)collect(rig, stream, got, sizeof(got), &closed);
    return closed;
}

static void accept_from(struct rig *rig, uint32_t stream, uint8_t client)
{
    rig->stream_remote = sock_addr_of(ip_v4(100, 64, 1, client), 4000);
    rig_accept(rig, stream, GATEWAY_LISTENER_DNS_TCP4);
}

static void a_reader_that_stalls_within_an_answer_is_closed_after_ten_seconds(void **state)
{
    (void)state;
    static uint8_t answer[GATEWAY_DNS_ANSWER_MAX];
    struct rig *rig = joined();
    uint8_t query[600];
    size_t len = put_framed(query, sizeof(query), 5, "big.test");
    rig_accept(rig, 1, GATEWAY_LISTENER_DNS_TCP4);
    rig_stream_bytes(rig, 1, (struct view){query, len});
    size_t size = put_answer(answer, sizeof(answer), "big.test", DNS_TYPE_TXT, 140);
    rig->stream_room = 700;
    rig_answer_records(rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "big.test"), ERR_NONE,
                       (struct view){answer, size});
    rig_pass(rig, DURATION_MS(9900));
    assert_false(is_closed(rig, 1));
    rig_pass(rig, DURATION_MS(200));
    assert_true(is_closed(rig, 1));
    rig_free(rig);
}

/* A little now and then does not count: the whole answer has to leave. */
static void a_reader_that_takes_a_few_bytes_a_second_is_closed_too(void **state)
{
    (void)state;
    static uint8_t answer[GATEWAY_DNS_ANSWER_MAX];
    struct rig *rig = joined();
    uint8_t query[600];
    size_t len = put_framed(query, sizeof(query), 5, "big.test");
    rig_accept(rig, 1, GATEWAY_LISTENER_DNS_TCP4);
    rig_stream_bytes(rig, 1, (struct view){query, len});
    rig->stream_room = 10;
    rig_answer_records(
        rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "big.test"), ERR_NONE,
        (struct view){answer, put_answer(answer, sizeof(answer), "big.test", DNS_TYPE_TXT, 140)});
    for (unsigned i = 0; i < 12; i++) {
        rig_pass(rig, DURATION_S(1));
        rig_stream_bytes(rig, 1, (struct view){query + i, 1});
        rig_stream_writable(rig, 1);
    }
    assert_true(is_closed(rig, 1));
    rig_free(rig);
}

static void a_query_that_comes_too_slowly_is_closed(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t query[600];
    size_t len = put_framed(query, sizeof(query), 5, "slow.test");
    rig_accept(rig, 1, GATEWAY_LISTENER_DNS_TCP4);
    rig_stream_bytes(rig, 1,
                     (struct view){query, 2}); /* its length, and then a byte now and then */
    for (size_t i = 2; i < 8; i++) {
        rig_pass(rig, DURATION_S(2));
        rig_stream_bytes(rig, 1, (struct view){query + i, 1});
    }
    assert_true(is_closed(rig, 1));
    rig_accept(rig, 2, GATEWAY_LISTENER_DNS_TCP4); /* who asks now and then may stay */
    for (uint32_t i = 0; i < 5; i++) {
        rig_pass(rig, DURATION_S(8));
        rig_stream_bytes(rig, 2, (struct view){query, len});
        rig_answer_records(rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "slow.test"), ERR_NAME,
                           VIEW_EMPTY);
    }
    assert_false(is_closed(rig, 2));
    rig_free(rig);
}

static void a_client_that_takes_every_connection_leaves_one_for_another(void **state)
{
    (void)state;
    struct rig *rig = joined();
    for (uint32_t i = 1; i <= GATEWAY_DNS_STREAMS_MAX; i++) {
        accept_from(rig, i, 7);
        rig_pass(rig, DURATION_MS(1));
    }
    accept_from(rig, 100, 8);
    assert_true(is_closed(rig, 1)); /* the oldest of the greedy one */
    assert_false(is_closed(rig, 100));
    assert_false(is_closed(rig, 2));
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 1);
    accept_from(rig, 101, 7); /* who has more than a share gets no more */
    assert_true(is_closed(rig, 101));
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 2);
    for (uint32_t i = 2; i <= GATEWAY_DNS_STREAMS_MAX / 2; i++) {
        accept_from(rig, 100 + i, 8);
        assert_false(is_closed(rig, (uint16_t)(100 + i)));
    }
    accept_from(rig, 200, 8); /* half for each */
    assert_true(is_closed(rig, 200));
    rig_free(rig);
}

static void an_idle_connection_makes_room_for_a_client_without_one(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t query[600];
    size_t len = put_framed(query, sizeof(query), 5, "a.test");
    for (uint32_t i = 1; i <= GATEWAY_DNS_STREAMS_MAX; i++) {
        accept_from(rig, i, (uint8_t)i);
        if (i != 3) {
            rig_stream_bytes(rig, i, (struct view){query, len});
        }
        rig_pass(rig, DURATION_MS(1));
    }
    accept_from(rig, 100, 100);
    assert_true(is_closed(rig, 3));
    assert_false(is_closed(rig, 100));
    rig_stream_bytes(rig, 100, (struct view){query, len});
    accept_from(rig, 101, 101); /* nobody has more than one, and nobody is idle */
    assert_true(is_closed(rig, 101));
    rig_free(rig);
}

static void a_client_that_asks_much_does_not_keep_another_waiting(void **state)
{
    (void)state;
    struct rig *rig = joined();
    for (uint16_t i = 1; i <= GATEWAY_DNS_QUERIES_MAX; i++) {
        ask_udp(rig, i, "slow.test", DNS_TYPE_TXT);
    }
    uint8_t query[512];
    size_t len = put_query(query, sizeof(query), 77, "other.test", DNS_TYPE_TXT);
    rig_listener(rig, GATEWAY_LISTENER_DNS_UDP4, sock_addr_of(ip_v4(100, 64, 1, 2), 77),
                 (struct view){query, len});
    struct dns_msg msg = last_datagram(rig, 1); /* the oldest of the greedy one gives way */
    assert_int_equal(msg.id, 1);
    assert_int_equal(dns_msg_rcode(&msg), DNS_SERVFAIL);
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 1);
    rig_answer_records(rig, rig_lookup(rig, GATEWAY_LOOKUP_TXT, "other.test"), ERR_NAME,
                       VIEW_EMPTY);
    msg = last_datagram(rig, 2);
    assert_int_equal(msg.id, 77);
    rig_free(rig);
}

static void a_burst_of_queries_on_one_connection_is_answered_in_turn(void **state)
{
    (void)state;
    struct rig *rig = joined();
    uint8_t bytes[2000];
    size_t len = 0;
    uint16_t count = 0;
    while (len < 1500) {
        len += put_framed(bytes + len, sizeof(bytes) - len, count++, "a.test");
    }
    rig_accept(rig, 1, GATEWAY_LISTENER_DNS_TCP4);
    rig_stream_bytes(rig, 1, (struct view){bytes, len});
    for (uint16_t i = 0; i < count; i++) {
        deny(rig, "a.test");
    }
    assert_false(is_closed(rig, 1));
    assert_int_equal(rig_drops(rig, DROP_DNS_MALFORMED), 0);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_is_looked_up_and_answered_under_its_own_id),
        cmocka_unit_test(results_without_records_become_rcodes),
        cmocka_unit_test(other_types_are_refused_without_a_lookup),
        cmocka_unit_test(a_long_answer_is_cut_for_udp),
        cmocka_unit_test(a_query_without_answer_is_servfail_after_five_seconds),
        cmocka_unit_test(queries_that_run_out_together_are_all_answered),
        cmocka_unit_test(a_full_table_answers_servfail),
        cmocka_unit_test(garbage_is_counted_and_not_answered),
        cmocka_unit_test(a_tcp_query_may_come_byte_by_byte_and_its_answer_leave_in_pieces),
        cmocka_unit_test(queries_of_one_connection_are_answered_one_after_the_other),
        cmocka_unit_test(a_client_that_ended_its_side_gets_every_answer_and_the_end),
        cmocka_unit_test(an_idle_connection_is_closed_after_ten_seconds),
        cmocka_unit_test(oversized_and_broken_tcp_queries_close_the_connection),
        cmocka_unit_test(more_connections_than_the_table_holds_are_closed),
        cmocka_unit_test(an_answer_for_a_connection_that_is_gone_is_forgotten),
        cmocka_unit_test(a_reader_that_stalls_within_an_answer_is_closed_after_ten_seconds),
        cmocka_unit_test(a_reader_that_takes_a_few_bytes_a_second_is_closed_too),
        cmocka_unit_test(a_query_that_comes_too_slowly_is_closed),
        cmocka_unit_test(a_client_that_takes_every_connection_leaves_one_for_another),
        cmocka_unit_test(an_idle_connection_makes_room_for_a_client_without_one),
        cmocka_unit_test(a_client_that_asks_much_does_not_keep_another_waiting),
        cmocka_unit_test(a_burst_of_queries_on_one_connection_is_answered_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
