#include "packet/packet_icmp.h"

#include "tests/packet/packet_support.h"

static struct packet make_error(struct stream *s, struct span room, struct view quote,
                                struct packet_build_icmp icmp)
{
    struct writer w = writer_of((struct span){room.at + HEADROOM, room.len - HEADROOM});
    enum ip_family family = quote.at[0] >> 4U == 4 ? IP_V4 : IP_V6;
    struct packet_build_ip ip = {.source = stream_address(s, family),
                                 .destination = stream_address(s, family)};
    packet_build_icmp(&w, &ip, &icmp, quote);
    assert_true(writer_finish(&w));
    return packet_of(room, HEADROOM, w.used);
}

static void test_quotes_need_four_bytes_of_ports_or_eight_of_echo(void **state)
{
    (void)state;
    struct stream s = {31};
    struct span room = room_new();
    struct span inner_room = room_new();
    for (int round = 0; round < 40; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        struct packet quoted = packet_random(&s, inner_room, family, 12);
        struct packet_info quoted_info = parse_good(&quoted);
        bool is_port = quoted_info.kind == PACKET_TCP || quoted_info.kind == PACKET_UDP;
        size_t needed = quoted_info.l4_offset + (is_port ? 4U : 8U);
        for (size_t len = 1; len <= quoted.len; len++) {
            struct packet_build_icmp icmp = {.type = family == IP_V4 ? 3 : 1, .code = 3};
            struct packet packet =
                make_error(&s, room, view_sub(packet_view(&quoted), 0, len), icmp);
            struct packet_info info = parse_good(&packet);
            assert_int_equal(info.kind, PACKET_ICMP_ERROR);
            struct packet_icmp_error error;
            assert_int_equal(packet_icmp_error_parse(&packet, &info, &error),
                             len >= needed ? DROP_NONE : DROP_ICMP_UNTRANSLATABLE);
        }
    }
    free(room.at);
    free(inner_room.at);
}

/* Quoted IPv6 headers: what follows the fixed header, beginning with the kind of the first. */
static void test_extension_headers_in_a_quote_are_walked(void **state)
{
    (void)state;
    static const struct {
        const char *headers; /* next header of the fixed one, then bytes behind it */
        enum drop_reason reason;
        size_t l4_at; /* behind the fixed header */
    } rows[] = {
        {"11 1234 0035", DROP_NONE, 0},
        {"00 1100000000000000 1234 0035", DROP_NONE, 8},
        {"00 1101000000000000 0000000000000000 1234 0035", DROP_NONE, 16},
        {"2b 3c00000000000000 1100000000000000 1234 0035", DROP_NONE, 16},
        {"2c 1100000100000007 1234 0035", DROP_NONE, 8},                /* the first fragment */
        {"2c 11ff000100000007 1234 0035", DROP_NONE, 8},                /* its size is fixed */
        {"2c 1100000800000007 1234 0035", DROP_ICMP_UNTRANSLATABLE, 0}, /* a later one */
        {"00 1101000000000000 1234 0035", DROP_ICMP_UNTRANSLATABLE, 0}, /* longer than the rest */
        {"00 110000000000 00", DROP_ICMP_UNTRANSLATABLE, 0},            /* seven bytes */
        {"00 3b00000000000000 1234 0035", DROP_ICMP_UNTRANSLATABLE, 0}, /* no next header */
    };
    struct stream s = {35};
    struct span room = room_new();
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint8_t quote[80] = {0x60};
        uint8_t bytes[40];
        char hex[81];
        size_t used = 0;
        for (const char *c = rows[i].headers; *c != 0; c++) {
            hex[used] = *c;
            used += *c == ' ' ? 0 : 1;
        }
        hex[used] = 0;
        size_t len = support_unhex(hex, bytes, sizeof(bytes));
        quote[6] = bytes[0];
        memcpy(quote + 40, bytes + 1, len - 1);
        struct packet_build_icmp icmp = {.type = 1};
        struct packet packet = make_error(&s, room, (struct view){quote, 40 + len - 1}, icmp);
        struct packet_info info = parse_good(&packet);
        struct packet_icmp_error error;
        assert_int_equal(packet_icmp_error_parse(&packet, &info, &error), rows[i].reason);
        if (rows[i].reason == DROP_NONE) {
            assert_int_equal(error.quote, PACKET_UDP);
            assert_int_equal(error.quote_l4_offset, info.payload_offset + 40 + rows[i].l4_at);
            assert_int_equal(error.quote_source_port, 0x1234);
            assert_int_equal(error.quote_destination_port, 0x35);
        }
    }
    free(room.at);
}

static void test_kinds_and_mtu(void **state)
{
    (void)state;
    static const struct {
        enum ip_family family;
        struct packet_build_icmp icmp;
        enum drop_reason reason;
        enum packet_icmp_error_kind kind;
        uint32_t mtu;
    } rows[] = {
        {IP_V4, {3, 3, 0}, DROP_NONE, PACKET_ICMP_UNREACHABLE, 0},
        {IP_V4, {3, 15, 0}, DROP_NONE, PACKET_ICMP_UNREACHABLE, 0},
        {IP_V4, {3, 16, 0}, DROP_ICMP_UNTRANSLATABLE, PACKET_ICMP_UNREACHABLE, 0},
        {IP_V4, {3, 4, 1200}, DROP_NONE, PACKET_ICMP_TOO_BIG, 1200},
        {IP_V4, {11, 0, 0}, DROP_NONE, PACKET_ICMP_TIME_EXCEEDED, 0},
        {IP_V4, {12, 0, 0}, DROP_ICMP_UNTRANSLATABLE, PACKET_ICMP_UNREACHABLE, 0},
        {IP_V6, {1, 6, 0}, DROP_NONE, PACKET_ICMP_UNREACHABLE, 0},
        {IP_V6, {1, 7, 0}, DROP_ICMP_UNTRANSLATABLE, PACKET_ICMP_UNREACHABLE, 0},
        {IP_V6, {2, 0, 1300}, DROP_NONE, PACKET_ICMP_TOO_BIG, 1300},
        {IP_V6, {3, 1, 0}, DROP_NONE, PACKET_ICMP_TIME_EXCEEDED, 0},
        {IP_V6, {4, 1, 0}, DROP_ICMP_UNTRANSLATABLE, PACKET_ICMP_UNREACHABLE, 0},
    };
    struct stream s = {32};
    struct span room = room_new();
    struct span inner_room = room_new();
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct packet quoted = packet_random(&s, inner_room, rows[i].family, 12);
        struct packet packet = make_error(&s, room, packet_view(&quoted), rows[i].icmp);
        struct packet_info info = parse_good(&packet);
        struct packet_icmp_error error;
        assert_int_equal(packet_icmp_error_parse(&packet, &info, &error), rows[i].reason);
        if (rows[i].reason == DROP_NONE) {
            assert_int_equal(error.kind, rows[i].kind);
            assert_int_equal(error.mtu, rows[i].mtu);
        }
    }
    free(room.at);
    free(inner_room.at);
}

static void test_rewritten_quote_is_a_right_packet(void **state)
{
    (void)state;
    struct stream s = {33};
    struct span room = room_new();
    struct span inner_room = room_new();
    for (int round = 0; round < 1000; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        struct packet quoted = packet_random(&s, inner_room, family, stream_below(&s, 64));
        struct packet_build_icmp icmp = {.type = family == IP_V4 ? 3 : 1};
        struct packet packet = make_error(&s, room, packet_view(&quoted), icmp);
        struct packet_info info = parse_good(&packet);
        struct packet_icmp_error error;
        assert_int_equal(packet_icmp_error_parse(&packet, &info, &error), DROP_NONE);
        struct ip_addr source = stream_address(&s, family);
        struct ip_addr destination = stream_address(&s, family);
        uint16_t port = (uint16_t)stream_u32(&s);
        packet_icmp_set_quote_source(&packet, &info, &error, &source);
        packet_icmp_set_quote_destination(&packet, &info, &error, &destination);
        packet_icmp_set_quote_source_port(&packet, &info, &error, port);
        (void)parse_good(&packet);
        struct packet inner = packet_of(room, packet.offset + error.quote_offset, quoted.len);
        struct packet_info inner_info = parse_good(&inner);
        assert_int_equal(inner_info.source_port, port);
        assert_int_equal(error.quote_source_port, port);
        assert_int_equal(error.quote_destination_port, inner_info.destination_port);
        assert_true(ip_equal(&inner_info.source, &source));
        assert_true(ip_equal(&inner_info.destination, &destination));
    }
    free(room.at);
    free(inner_room.at);
}

static void test_rewritten_short_quote_keeps_the_right_outer_checksum(void **state)
{
    (void)state;
    struct stream s = {34};
    struct span room = room_new();
    struct span inner_room = room_new();
    for (int round = 0; round < 600; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        struct packet quoted = packet_random(&s, inner_room, family, 21);
        struct packet_info quoted_info = parse_good(&quoted);
        size_t len = quoted_info.l4_offset + 8 + stream_below(&s, 12);
        struct packet_build_icmp icmp = {.type = family == IP_V4 ? 11 : 3};
        struct packet packet = make_error(&s, room, view_sub(packet_view(&quoted), 0, len), icmp);
        struct packet_info info = parse_good(&packet);
        struct packet_icmp_error error;
        assert_int_equal(packet_icmp_error_parse(&packet, &info, &error), DROP_NONE);
        struct ip_addr destination = stream_address(&s, family);
        packet_icmp_set_quote_destination(&packet, &info, &error, &destination);
        packet_icmp_set_quote_source_port(&packet, &info, &error, (uint16_t)stream_u32(&s));
        (void)parse_good(&packet);
    }
    free(room.at);
    free(inner_room.at);
}

/* spec/dataplane.md section 3.6 */
static void test_answers_of_our_own(void **state)
{
    (void)state;
    static const struct {
        enum packet_icmp_answer_kind kind;
        uint8_t v4[2];
        uint8_t v6[2];
    } rows[] = {
        {PACKET_ANSWER_PROHIBITED, {3, 13}, {1, 1}},
        {PACKET_ANSWER_NETWORK, {3, 0}, {1, 3}},
        {PACKET_ANSWER_TOO_BIG, {3, 4}, {2, 0}},
    };
    struct stream s = {35};
    struct span room = room_new();
    for (size_t i = 0; i < 2 * ARRAY_COUNT(rows); i++) {
        bool is_v4 = i % 2 == 0;
        struct packet offender = packet_random(&s, room, is_v4 ? IP_V4 : IP_V6, i < 3 ? 10 : 1240);
        struct packet_info asked = parse_good(&offender);
        uint8_t bytes[PACKET_INNER_MTU];
        struct packet_icmp_answer answer = {rows[i / 2].kind, 1260};
        size_t len =
            packet_icmp_answer((struct span){bytes, sizeof(bytes)}, &offender, &asked, answer);
        struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, len);
        struct packet_info info = parse_good(&packet);
        const uint8_t *expected = is_v4 ? rows[i / 2].v4 : rows[i / 2].v6;
        assert_int_equal(info.icmp_type, expected[0]);
        assert_int_equal(info.icmp_code, expected[1]);
        assert_int_equal(info.ttl, 20);
        assert_true(ip_equal(&info.source, &asked.destination));
        assert_true(ip_equal(&info.destination, &asked.source));
        struct packet_icmp_error error;
        assert_int_equal(packet_icmp_error_parse(&packet, &info, &error), DROP_NONE);
        assert_int_equal(error.mtu, answer.kind == PACKET_ANSWER_TOO_BIG ? 1260 : 0);
        assert_int_equal(error.quote_source_port, asked.source_port);
        size_t whole = 48 + offender.len < 1280 ? 48 + offender.len : 1280;
        assert_int_equal(len, is_v4 ? 20 + 8 + 20 + 8 : whole);
        /* An error is never answered. */
        uint8_t again[PACKET_INNER_MTU];
        assert_int_equal(
            packet_icmp_answer((struct span){again, sizeof(again)}, &packet, &info, answer), 0);
    }
    free(room.at);
}

static void test_multicast_is_never_answered(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    struct packet_build_ip ip = {.source = ip_v4(10, 0, 0, 1), .destination = ip_v4(224, 0, 0, 1)};
    packet_build_udp(&w, &ip, (struct packet_build_ports){1, 2}, VIEW_EMPTY);
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, w.used);
    struct packet_info info = parse_good(&packet);
    uint8_t out[PACKET_INNER_MTU];
    struct packet_icmp_answer answer = {.kind = PACKET_ANSWER_PROHIBITED};
    assert_int_equal(packet_icmp_answer((struct span){out, sizeof(out)}, &packet, &info, answer),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quotes_need_four_bytes_of_ports_or_eight_of_echo),
        cmocka_unit_test(test_extension_headers_in_a_quote_are_walked),
        cmocka_unit_test(test_kinds_and_mtu),
        cmocka_unit_test(test_rewritten_quote_is_a_right_packet),
        cmocka_unit_test(test_rewritten_short_quote_keeps_the_right_outer_checksum),
        cmocka_unit_test(test_answers_of_our_own),
        cmocka_unit_test(test_multicast_is_never_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
