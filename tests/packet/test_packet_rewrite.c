#include "packet/packet_rewrite.h"

#include "packet/checksum.h"
#include "tests/packet/packet_support.h"

static void rewrite_everything(struct stream *s, struct packet *packet, struct packet_info *info)
{
    enum ip_family family = info->version == 4 ? IP_V4 : IP_V6;
    struct ip_addr source = stream_address(s, family);
    struct ip_addr destination = stream_address(s, family);
    packet_set_source(packet, info, &source);
    packet_set_destination(packet, info, &destination);
    packet_set_source_port(packet, info, (uint16_t)stream_u32(s));
    packet_set_destination_port(packet, info, (uint16_t)stream_u32(s));
    packet_apply_outer_ecn(packet, info, (uint8_t)stream_below(s, 4));
}

static void assert_info_equal(const struct packet_info *a, const struct packet_info *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->source_port, b->source_port);
    assert_int_equal(a->destination_port, b->destination_port);
    assert_int_equal(a->traffic_class, b->traffic_class);
    assert_int_equal(a->ecn, b->ecn);
    assert_true(ip_equal(&a->source, &b->source));
    assert_true(ip_equal(&a->destination, &b->destination));
}

static void test_rewritten_packets_keep_right_checksums(void **state)
{
    (void)state;
    struct stream s = {3};
    struct span room = room_new();
    for (int round = 0; round < 3000; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        struct packet packet = packet_random(&s, room, family, stream_below(&s, 60));
        struct packet_info info = parse_good(&packet);
        rewrite_everything(&s, &packet, &info);
        struct packet_info again = parse_good(&packet);
        assert_info_equal(&info, &again);
    }
    free(room.at);
}

static void test_partial_checksums_complete_to_the_same_packet(void **state)
{
    (void)state;
    struct stream s = {4};
    struct span room = room_new();
    for (int round = 0; round < 3000; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        struct packet packet = packet_random(&s, room, family, stream_below(&s, 60));
        struct packet_info info = parse_good(&packet);
        uint64_t pseudo = 0;
        if (packet_has_pseudo_header(&info)) {
            pseudo = checksum_sum_pseudo(&info.source, &info.destination, info.protocol,
                                         (uint32_t)(packet.len - info.l4_offset));
        }
        store_be16(packet_bytes(&packet) + packet_checksum_offset(&info), checksum_fold(pseudo));
        packet.checksum_partial = true;
        rewrite_everything(&s, &packet, &info);
        assert_true(packet_checksums_ok(&packet, &info));
        packet_complete_checksum(&packet, &info);
        assert_false(packet.checksum_partial);
        (void)parse_good(&packet);
    }
    free(room.at);
}

static void test_absent_udp_checksum_stays_absent(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    struct packet_build_ip ip = {.source = ip_v4(10, 0, 0, 1), .destination = ip_v4(10, 0, 0, 2)};
    packet_build_udp(&w, &ip, (struct packet_build_ports){1, 2}, VIEW_EMPTY);
    store_be16(bytes + 26, 0);
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, w.used);
    struct packet_info info = parse_good(&packet);
    struct stream s = {5};
    rewrite_everything(&s, &packet, &info);
    assert_int_equal(load_be16(bytes + 26), 0);
    (void)parse_good(&packet);
}

static void test_wrong_checksums_stay_wrong(void **state)
{
    (void)state;
    struct stream s = {6};
    struct span room = room_new();
    for (int round = 0; round < 500; round++) {
        struct packet packet = packet_random(&s, room, IP_V4, 20);
        struct packet_info info = parse_good(&packet);
        packet_bytes(&packet)[packet.len - 1] ^= 1U;
        rewrite_everything(&s, &packet, &info);
        assert_false(packet_checksums_ok(&packet, &info));
    }
    free(room.at);
}

/* RFC 6040 section 4.2, as spec/dataplane.md section 10.2 restricts it. */
static void test_outer_congestion_marks_only_capable_packets(void **state)
{
    (void)state;
    for (unsigned inner = 0; inner < 4; inner++) {
        for (uint8_t outer = 0; outer < 4; outer++) {
            uint8_t bytes[64];
            struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
            struct packet_build_ip ip = {.source = ip_v4(10, 0, 0, 1),
                                         .destination = ip_v4(10, 0, 0, 2),
                                         .traffic_class = (uint8_t)(0xb8U | inner)};
            packet_build_udp(&w, &ip, (struct packet_build_ports){1, 2}, VIEW_EMPTY);
            struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, w.used);
            struct packet_info info = parse_good(&packet);
            packet_apply_outer_ecn(&packet, &info, outer);
            info = parse_good(&packet);
            assert_int_equal(info.ecn, outer == PACKET_ECN_CE && inner != 0 ? 3 : inner);
            assert_int_equal(info.traffic_class >> 2U, 0xb8 >> 2U);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewritten_packets_keep_right_checksums),
        cmocka_unit_test(test_partial_checksums_complete_to_the_same_packet),
        cmocka_unit_test(test_absent_udp_checksum_stays_absent),
        cmocka_unit_test(test_wrong_checksums_stay_wrong),
        cmocka_unit_test(test_outer_congestion_marks_only_capable_packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
