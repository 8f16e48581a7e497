#include "packet/packet_nat64.h"

#include "packet/packet_icmp.h"
#include "packet/packet_rewrite.h"
#include "tests/packet/packet_support.h"

static struct packet_nat64 random_target(struct stream *s, enum ip_family family)
{
    return (struct packet_nat64){
        .source = stream_address(s, family),
        .destination = stream_address(s, family),
        .quote_source = stream_address(s, family),
        .quote_destination = stream_address(s, family),
    };
}

/* spec/dataplane.md section 6.4 */
static void test_translation_there_and_back_restores_the_packet(void **state)
{
    (void)state;
    struct stream s = {21};
    struct span room = room_new();
    for (int round = 0; round < 3000; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        enum ip_family other = round % 2 == 0 ? IP_V6 : IP_V4;
        struct packet packet = packet_random(&s, room, family, stream_below(&s, 100));
        struct packet_info info = parse_good(&packet);
        struct packet_info first = info;
        uint8_t before[256];
        memcpy(before, packet_bytes(&packet), packet.len);
        size_t len = packet.len;
        struct packet_nat64 to = random_target(&s, other);
        assert_int_equal(packet_nat64(&packet, &info, &to), DROP_NONE);
        struct packet_info middle = parse_good(&packet);
        assert_int_equal(middle.kind, first.kind);
        assert_int_equal(middle.traffic_class, first.traffic_class);
        assert_int_equal(middle.ttl, first.ttl);
        assert_int_equal(middle.icmp_type, info.icmp_type);
        assert_int_equal(middle.payload_offset, info.payload_offset);
        struct packet_nat64 back = {.source = first.source, .destination = first.destination};
        assert_int_equal(packet_nat64(&packet, &info, &back), DROP_NONE);
        (void)parse_good(&packet);
        assert_int_equal(packet.len, len);
        assert_memory_equal(packet_bytes(&packet), before, len);
    }
    free(room.at);
}

static void test_options_are_dropped_and_zero_udp_checksum_is_computed(void **state)
{
    (void)state;
    uint8_t bytes[128] = {0};
    size_t len = support_unhex("4603002200004000401100000a0000010a000002"
                               "01010101"
                               "00010002000a0000"
                               "abcd",
                               bytes + 64, 64);
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 64, len);
    struct packet_info info;
    assert_int_equal(packet_parse(&packet, &info), DROP_NONE);
    struct stream s = {22};
    struct packet_nat64 to = random_target(&s, IP_V6);
    assert_int_equal(packet_nat64(&packet, &info, &to), DROP_NONE);
    info = parse_good(&packet);
    assert_int_equal(packet.len, 40 + 10);
    assert_int_equal(info.traffic_class, 3); /* ECN is kept */
    assert_int_not_equal(load_be16(packet_bytes(&packet) + 46), 0);
}

static void test_missing_headroom_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct writer w = writer_of((struct span){bytes + 19, sizeof(bytes) - 19});
    struct packet_build_ip ip = {.source = ip_v4(10, 0, 0, 1), .destination = ip_v4(10, 0, 0, 2)};
    packet_build_udp(&w, &ip, (struct packet_build_ports){1, 2}, VIEW_EMPTY);
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 19, w.used);
    struct packet_info info = parse_good(&packet);
    struct stream s = {23};
    struct packet_nat64 to = random_target(&s, IP_V6);
    assert_int_equal(packet_nat64(&packet, &info, &to), DROP_NAT_UNSUPPORTED);
    (void)parse_good(&packet);
}

/* Builds an error that quotes `quote_len` bytes of `quoted`; returns it parsed in `room`. */
static struct packet make_error(struct stream *s, struct span room, const struct packet *quoted,
                                size_t quote_len, struct packet_build_icmp icmp)
{
    struct writer w = writer_of((struct span){room.at + HEADROOM, room.len - HEADROOM});
    enum ip_family family = packet_bytes(quoted)[0] >> 4U == 4 ? IP_V4 : IP_V6;
    struct packet_build_ip ip = {.source = stream_address(s, family),
                                 .destination = stream_address(s, family)};
    packet_build_icmp(&w, &ip, &icmp, view_sub(packet_view(quoted), 0, quote_len));
    assert_true(writer_finish(&w));
    return packet_of(room, HEADROOM, w.used);
}

struct code_row {
    struct packet_build_icmp in;
    bool is_refused;
    struct packet_build_icmp out;
};

static void check_code_row(struct stream *s, enum ip_family family, const struct code_row *row)
{
    struct span room = room_new();
    struct span inner_room = room_new();
    struct packet quoted = packet_random(s, inner_room, family, 400);
    struct packet_info quoted_info = parse_good(&quoted);
    struct packet packet = make_error(s, room, &quoted, quoted.len, row->in);
    struct packet_info info = parse_good(&packet);
    struct packet_nat64 to = random_target(s, family == IP_V4 ? IP_V6 : IP_V4);
    enum drop_reason reason = packet_nat64(&packet, &info, &to);
    assert_int_equal(reason, row->is_refused ? DROP_ICMP_UNTRANSLATABLE : DROP_NONE);
    info = parse_good(&packet);
    if (!row->is_refused) {
        const uint8_t *l4 = packet_bytes(&packet) + info.l4_offset;
        assert_int_equal(l4[0], row->out.type);
        assert_int_equal(l4[1], row->out.code);
        assert_int_equal(load_be32(l4 + 4), row->out.rest);
        /* The whole quote is a right packet of the other version. */
        struct packet inner =
            packet_of((struct span){room.at, room.len}, packet.offset + info.payload_offset,
                      packet.len - info.payload_offset);
        struct packet_info inner_info = parse_good(&inner);
        assert_int_equal(inner_info.kind, quoted_info.kind);
        assert_int_equal(inner_info.source_port, quoted_info.source_port);
        assert_true(ip_equal(&inner_info.source, &to.quote_source));
        assert_true(ip_equal(&inner_info.destination, &to.quote_destination));
    }
    free(room.at);
    free(inner_room.at);
}

/* spec/dataplane.md section 6.3 */
static void test_error_codes_from_ipv4(void **state)
{
    (void)state;
    struct stream s = {24};
    static const uint8_t to_no_route[] = {0, 1, 5, 6, 7, 8, 11, 12};
    static const uint8_t to_prohibited[] = {9, 10, 13, 15};
    for (size_t i = 0; i < ARRAY_COUNT(to_no_route); i++) {
        struct code_row row = {.in = {3, to_no_route[i], 0}, .out = {1, 0, 0}};
        check_code_row(&s, IP_V4, &row);
    }
    for (size_t i = 0; i < ARRAY_COUNT(to_prohibited); i++) {
        struct code_row row = {.in = {3, to_prohibited[i], 0}, .out = {1, 1, 0}};
        check_code_row(&s, IP_V4, &row);
    }
    static const struct code_row rows[] = {
        {.in = {3, 2, 0}, .out = {4, 1, 6}},
        {.in = {3, 3, 0}, .out = {1, 4, 0}},
        {.in = {3, 14, 0}, .is_refused = true},
        {.in = {3, 16, 0}, .is_refused = true},
        {.in = {3, 4, 1400}, .out = {2, 0, 1420}},
        {.in = {3, 4, 0}, .out = {2, 0, 296}}, /* the quote has 428 to 440 bytes */
        {.in = {11, 0, 0}, .out = {3, 0, 0}},
        {.in = {11, 1, 0}, .out = {3, 1, 0}},
        {.in = {5, 1, 0}, .is_refused = true},
        {.in = {12, 0, 0}, .is_refused = true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        check_code_row(&s, IP_V4, &rows[i]);
    }
}

static void test_error_codes_from_ipv6(void **state)
{
    (void)state;
    struct stream s = {25};
    static const struct code_row rows[] = {
        {.in = {1, 0, 0}, .out = {3, 1, 0}},       {.in = {1, 1, 0}, .out = {3, 10, 0}},
        {.in = {1, 2, 0}, .out = {3, 1, 0}},       {.in = {1, 3, 0}, .out = {3, 1, 0}},
        {.in = {1, 4, 0}, .out = {3, 3, 0}},       {.in = {1, 5, 0}, .is_refused = true},
        {.in = {1, 6, 0}, .is_refused = true},     {.in = {1, 7, 0}, .is_refused = true},
        {.in = {2, 0, 1280}, .out = {3, 4, 1260}}, {.in = {2, 0, 100000}, .out = {3, 4, 65515}},
        {.in = {2, 0, 3}, .out = {3, 4, 68}},      {.in = {3, 0, 0}, .out = {11, 0, 0}},
        {.in = {3, 1, 0}, .out = {11, 1, 0}},      {.in = {4, 0, 0}, .is_refused = true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        check_code_row(&s, IP_V6, &rows[i]);
    }
}

static void test_truncated_quotes_are_translated(void **state)
{
    (void)state;
    struct stream s = {26};
    struct span room = room_new();
    struct span inner_room = room_new();
    for (int round = 0; round < 600; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        struct packet quoted = packet_random(&s, inner_room, family, 30);
        struct packet_info quoted_info = parse_good(&quoted);
        size_t quote_len = stream_below(&s, (uint32_t)quoted.len + 1);
        struct packet_build_icmp icmp = {.type = family == IP_V4 ? 3 : 1, .code = 1};
        struct packet packet = make_error(&s, room, &quoted, quote_len, icmp);
        struct packet_info info = parse_good(&packet);
        bool is_port = quoted_info.kind == PACKET_TCP || quoted_info.kind == PACKET_UDP;
        bool is_enough = quote_len >= quoted_info.l4_offset + (is_port ? 4U : 8U);
        struct packet_nat64 to = random_target(&s, family == IP_V4 ? IP_V6 : IP_V4);
        enum drop_reason reason = packet_nat64(&packet, &info, &to);
        assert_int_equal(reason, is_enough ? DROP_NONE : DROP_ICMP_UNTRANSLATABLE);
        info = parse_good(&packet);
        if (is_enough) {
            struct packet_icmp_error error;
            assert_int_equal(packet_icmp_error_parse(&packet, &info, &error), DROP_NONE);
            assert_int_equal(error.quote, quoted_info.kind);
            assert_int_equal(error.quote_source_port, quoted_info.source_port);
            assert_int_equal(error.quote_end - error.quote_l4_offset,
                             quote_len - quoted_info.l4_offset);
        }
    }
    free(room.at);
    free(inner_room.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translation_there_and_back_restores_the_packet),
        cmocka_unit_test(test_options_are_dropped_and_zero_udp_checksum_is_computed),
        cmocka_unit_test(test_missing_headroom_is_refused_and_changes_nothing),
        cmocka_unit_test(test_error_codes_from_ipv4),
        cmocka_unit_test(test_error_codes_from_ipv6),
        cmocka_unit_test(test_truncated_quotes_are_translated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
