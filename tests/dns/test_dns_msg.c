#include "dns/dns_msg.h"

#include <string.h>

#include "tests/support/support.h"

static struct dns_question question_of(const char *text, uint16_t type)
{
    struct dns_question question = {.type = type, .class = DNS_CLASS_IN};
    assert_true(dns_name_parse(view_text(text), &question.name));
    return question;
}

/* Builds a query into `room` and parses it. */
static struct dns_msg query_in(struct span room, const char *text, uint16_t type)
{
    struct dns_question question = question_of(text, type);
    struct writer w = writer_of(room);
    dns_msg_put_query(&w, 0x1234, &question);
    assert_true(writer_finish(&w));
    struct dns_msg msg;
    assert_int_equal(dns_msg_parse(writer_view(&w), &msg), DROP_NONE);
    return msg;
}

static void test_query_has_the_bytes_of_rfc_1035(void **state)
{
    (void)state;
    uint8_t room[64];
    uint8_t expected[64];
    size_t len = support_unhex("1234"
                               "0100"
                               "0001"
                               "0000"
                               "0000"
                               "0000"
                               "0377656204636f72700474657374"
                               "00"
                               "001c"
                               "0001",
                               expected, sizeof(expected));
    struct dns_msg msg = query_in((struct span){room, sizeof(room)}, "web.corp.test", 28);
    assert_int_equal(msg.bytes.len, len);
    assert_memory_equal(room, expected, len);
    assert_int_equal(msg.question.type, DNS_TYPE_AAAA);
    assert_false(dns_msg_is_response(&msg));
}

static void test_response_round_trip_of_every_record(void **state)
{
    (void)state;
    uint8_t query_room[64];
    uint8_t room[512];
    struct dns_msg query =
        query_in((struct span){query_room, sizeof(query_room)}, "web.corp.test", DNS_TYPE_A);
    struct writer w = writer_of((struct span){room, sizeof(room)});
    struct dns_build build = dns_build_response(&w, &query, DNS_NOERROR);
    struct dns_srv srv = {.priority = 1, .weight = 2, .port = 443};
    assert_true(dns_name_parse(view_text("host.corp.test"), &srv.target));
    static const uint8_t v6[16] = {0xfd, 1};
    struct ip_addr addresses[2] = {ip_v4(10, 0, 0, 5), ip_from_bytes(IP_V6, v6)};
    dns_build_address(&build, &addresses[0], 1);
    dns_build_address(&build, &addresses[1], 1);
    dns_build_ptr(&build, &srv.target, 60);
    dns_build_cname(&build, &srv.target, 60);
    dns_build_srv(&build, &srv, 60);
    dns_build_text(&build, view_text("v=1"), 60);
    dns_build_text(&build, VIEW_EMPTY, 60); /* the bytes of the root */
    assert_true(dns_build_finish(&build));

    struct dns_msg msg;
    assert_int_equal(dns_msg_parse(writer_view(&w), &msg), DROP_NONE);
    assert_true(dns_msg_is_answer(&msg, &query));
    assert_int_equal(msg.flags, 0x8180);
    assert_int_equal(msg.answers_count, 7);
    struct ip_addr found[4];
    bool ok = false;
    assert_int_equal(dns_msg_addresses(&msg, found, 4, &ok), 2);
    assert_true(ok);
    assert_true(ip_equal(&found[0], &addresses[0]));
    assert_true(ip_equal(&found[1], &addresses[1]));
    assert_int_equal(dns_msg_addresses(&msg, found, 1, &ok), 1);

    struct dns_walk walk = dns_msg_walk_answers(&msg);
    struct dns_record record;
    struct dns_name target;
    struct dns_srv got;
    struct view text;
    assert_true(dns_msg_next(&msg, &walk, &record));
    assert_true(dns_name_equal(&record.name, &query.question.name));
    assert_int_equal(record.ttl_s, 1);
    assert_true(dns_msg_next(&msg, &walk, &record));
    for (int i = 0; i < 2; i++) {
        assert_true(dns_msg_next(&msg, &walk, &record));
        assert_true(dns_record_name(&msg, &record, &target));
        assert_true(dns_name_equal(&target, &srv.target));
    }
    assert_true(dns_msg_next(&msg, &walk, &record));
    assert_true(dns_record_srv(&msg, &record, &got));
    assert_int_equal(got.port, 443);
    assert_true(dns_name_equal(&got.target, &srv.target));
    assert_true(dns_msg_next(&msg, &walk, &record));
    assert_true(dns_record_text(&record, &text));
    assert_true(view_equal_text(text, "v=1"));
    assert_true(dns_msg_next(&msg, &walk, &record));
    assert_false(dns_record_name(&msg, &record, &target));
    assert_false(dns_msg_next(&msg, &walk, &record));
    assert_false(walk.failed);
}

static void test_empty_responses_carry_their_code(void **state)
{
    (void)state;
    static const enum dns_rcode codes[] = {DNS_NOERROR, DNS_SERVFAIL, DNS_NXDOMAIN};
    uint8_t query_room[64];
    struct dns_msg query =
        query_in((struct span){query_room, sizeof(query_room)}, "x.y", DNS_TYPE_TXT);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        uint8_t room[64];
        struct writer w = writer_of((struct span){room, sizeof(room)});
        dns_msg_put_empty(&w, &query, codes[i]);
        struct dns_msg msg;
        assert_int_equal(dns_msg_parse(writer_view(&w), &msg), DROP_NONE);
        assert_int_equal(dns_msg_rcode(&msg), codes[i]);
        assert_true(dns_msg_is_answer(&msg, &query));
        assert_int_equal(msg.answers_count, 0);
    }
}

static void test_long_answers_are_cut_for_udp(void **state)
{
    (void)state;
    uint8_t query_room[64];
    uint8_t room[2048];
    struct dns_msg query =
        query_in((struct span){query_room, sizeof(query_room)}, "x.y", DNS_TYPE_A);
    struct writer w = writer_of((struct span){room, sizeof(room)});
    struct dns_build build = dns_build_response(&w, &query, DNS_NOERROR);
    struct ip_addr address = ip_v4(10, 0, 0, 1);
    for (int i = 0; i < 100; i++) {
        dns_build_address(&build, &address, 1);
    }
    assert_true(dns_build_finish(&build));
    assert_int_equal(dns_msg_truncate((struct span){room, w.used}, w.used), w.used);
    size_t len = dns_msg_truncate((struct span){room, w.used}, DNS_UDP_SIZE_MAX);
    assert_int_equal(len, query.bytes.len);
    struct dns_msg msg;
    assert_int_equal(dns_msg_parse((struct view){room, len}, &msg), DROP_NONE);
    assert_int_not_equal(msg.flags & DNS_FLAG_TRUNCATED, 0);
    assert_int_equal(msg.answers_count, 0);
    assert_int_equal(dns_msg_truncate((struct span){room, len}, len - 1), 0);
    assert_int_equal(dns_msg_truncate((struct span){room, 5}, 5), 0);
}

#define LABEL_63 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-012345678"

static void test_the_longest_labels_and_name_are_read(void **state)
{
    (void)state;
    static const char text[] =
        LABEL_63 "." LABEL_63 "." LABEL_63 "."
                 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-0123456";
    uint8_t room[300];
    struct dns_msg msg = query_in((struct span){room, sizeof(room)}, text, DNS_TYPE_A);
    struct dns_question asked = question_of(text, DNS_TYPE_A);
    assert_int_equal(asked.name.size, 255);
    assert_true(dns_name_equal(&msg.question.name, &asked.name));
}

static void test_compression_loops_and_forward_pointers_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "123401000001000000000000c00c00010001",       /* to itself */
        "123401000001000000000000c01200010001000000", /* forward */
        "1234010000010000000000000161c00c00010001",   /* to its own label: a loop */
        "123401000001000000000000c00e",               /* beyond the end */
        "123401000001000000000000c00400010001",       /* into the header */
        "123401000001000000000000c0",                 /* half a pointer */
        "123401000001000000000000416100",             /* a length of 65 */
        "123401000001000000000000806100",             /* reserved label type */
        "1234010000020000000000000000010001",         /* two questions */
        "12340100000000000000000000",                 /* none */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t bytes[64];
        size_t len = support_unhex(rows[i], bytes, sizeof(bytes));
        struct dns_msg msg;
        assert_int_equal(dns_msg_parse((struct view){bytes, len}, &msg), DROP_DNS_MALFORMED);
    }
}

/* Pointers that aim at pointers: as many as a name may have labels, or reading each of thousands of
 * names that end there would take as many steps again. */
static void test_a_chain_of_pointers_is_bounded(void **state)
{
    (void)state;
    static const struct {
        size_t pointers; /* before the one of the second record */
        bool ok;
    } rows[] = {{1, true}, {126, true}, {127, false}, {4000, false}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        static uint8_t bytes[9000];
        struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
        size_t chain = 12 + 5 + 11; /* in the data of the first record */
        writer_be32(&w, 0x12348000);
        writer_be32(&w, 0x00010002);
        writer_be32(&w, 0);
        writer_u8(&w, 0); /* the root asks for A */
        writer_be32(&w, 0x00010001);
        writer_u8(&w, 0);
        writer_be32(&w, 0x00100001); /* TXT */
        writer_be32(&w, 0);
        writer_be16(&w, (uint16_t)(2 * rows[i].pointers));
        writer_be16(&w, 0xc00c);
        for (size_t k = 1; k < rows[i].pointers; k++) {
            writer_be16(&w, (uint16_t)(0xc000 + chain + 2 * (k - 1)));
        }
        writer_be16(&w, (uint16_t)(0xc000 + chain + 2 * (rows[i].pointers - 1)));
        writer_be32(&w, 0x00010001);
        writer_be32(&w, 0);
        writer_be16(&w, 4);
        writer_be32(&w, 0x01020304);
        assert_true(writer_finish(&w));
        struct dns_msg msg;
        struct dns_record record;
        assert_int_equal(dns_msg_parse(writer_view(&w), &msg), DROP_NONE);
        struct dns_walk walk = dns_msg_walk_answers(&msg);
        assert_true(dns_msg_next(&msg, &walk, &record));
        assert_int_equal(dns_msg_next(&msg, &walk, &record), rows[i].ok);
        assert_int_equal(walk.failed, !rows[i].ok);
    }
}

static void test_every_truncation_is_refused_or_fails_the_walk(void **state)
{
    (void)state;
    uint8_t query_room[64];
    uint8_t room[256];
    struct dns_msg query =
        query_in((struct span){query_room, sizeof(query_room)}, "web.corp.test", DNS_TYPE_A);
    struct writer w = writer_of((struct span){room, sizeof(room)});
    struct dns_build build = dns_build_response(&w, &query, DNS_NOERROR);
    struct ip_addr address = ip_v4(10, 0, 0, 1);
    dns_build_address(&build, &address, 1);
    dns_build_ptr(&build, &query.question.name, 1);
    assert_true(dns_build_finish(&build));
    for (size_t len = 0; len < w.used; len++) {
        struct dns_msg msg;
        enum drop_reason reason = dns_msg_parse((struct view){room, len}, &msg);
        assert_int_equal(reason, len < query.bytes.len ? DROP_DNS_MALFORMED : DROP_NONE);
        if (reason == DROP_NONE) {
            struct ip_addr found[2];
            bool ok = true;
            (void)dns_msg_addresses(&msg, found, 2, &ok);
            assert_false(ok);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query_has_the_bytes_of_rfc_1035),
        cmocka_unit_test(test_response_round_trip_of_every_record),
        cmocka_unit_test(test_empty_responses_carry_their_code),
        cmocka_unit_test(test_long_answers_are_cut_for_udp),
        cmocka_unit_test(test_the_longest_labels_and_name_are_read),
        cmocka_unit_test(test_compression_loops_and_forward_pointers_are_refused),
        cmocka_unit_test(test_a_chain_of_pointers_is_bounded),
        cmocka_unit_test(test_every_truncation_is_refused_or_fails_the_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
