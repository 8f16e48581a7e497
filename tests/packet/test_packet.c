#include "packet/packet.h"

#include "tests/packet/packet_support.h"

static enum drop_reason parse_hex(const char *hex, struct packet_info *info)
{
    uint8_t bytes[256];
    size_t len = support_unhex(hex, bytes, sizeof(bytes));
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, len);
    return packet_parse(&packet, info);
}

#define V4_UDP                                                                                     \
    "4500001c00004000401100000a0000010a000002"                                                     \
    "0001000200080000"
#define V4_TCP                                                                                     \
    "4500002800004000400600000a0000010a000002"                                                     \
    "000100020000000000000000"
#define V6_ADDRS                                                                                   \
    "fd000000000000000000000000000001"                                                             \
    "fd000000000000000000000000000002"

static void test_acceptance_table(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        enum drop_reason expected;
    } rows[] = {
        {V4_UDP, DROP_NONE},
        {"", DROP_IP_LENGTH},
        {"45", DROP_IP_MALFORMED},
        {"5500001c00004000401100000a0000010a0000020001000200080000", DROP_IP_MALFORMED},
        {"4400001c00004000401100000a0000010a0000020001000200080000", DROP_IP_MALFORMED},
        {"4600001400004000401100000a0000010a000002", DROP_IP_LENGTH},
        {V4_UDP "00", DROP_IP_LENGTH},                                                /* padded */
        {"4500001d00004000401100000a0000010a0000020001000200080000", DROP_IP_LENGTH}, /* cut */
        {"4500001c00002000401100000a0000010a0000020001000200080000", DROP_IP_FRAGMENT},
        {"4500001c00000001401100000a0000010a0000020001000200080000", DROP_IP_FRAGMENT},
        {"4500001c00004000401100000a0000010a0000020001000200070000", DROP_IP_L4},
        {"4500001c00004000401100000a0000010a0000020001000200090000", DROP_IP_L4},
        {"4500001c00004000400600000a0000010a0000020001000200080000", DROP_IP_L4}, /* short TCP */
        {V4_TCP "5002000000000000", DROP_NONE},
        {V4_TCP "4002000000000000", DROP_IP_L4}, /* a header of 16 bytes */
        {V4_TCP "6002000000000000", DROP_IP_L4}, /* of 24, longer than the packet */
        {"4500001c000040004001"
         "00000a0000010a0000020800000000010002",
         DROP_NONE},
        {"4500001c00004000403a00000a0000010a0000028000000000010002", DROP_IP_L4},
        {"4500001c00004000403300000a0000010a0000020001000200080000", DROP_IP_EXTENSION},
        {"600000000008"
         "1140" V6_ADDRS "0001000200080000",
         DROP_NONE},
        {"600000000008"
         "1140" V6_ADDRS "00010002000800",
         DROP_IP_LENGTH},
        {"600000000008"
         "0140" V6_ADDRS "0800000000010002",
         DROP_IP_L4}, /* ICMPv4 in IPv6 */
        {"600000000010"
         "2c40" V6_ADDRS "1100000000000001"
         "0001000200080000",
         DROP_NONE},
        {"600000000010"
         "2c40" V6_ADDRS "1100000100000001"
         "0001000200080000",
         DROP_IP_FRAGMENT},
        {"600000000010"
         "0040" V6_ADDRS "1100000000000000"
         "0001000200080000",
         DROP_NONE},
        {"600000000010"
         "2b40" V6_ADDRS "1100000100000000"
         "0001000200080000",
         DROP_IP_EXTENSION},
        {"600000000010"
         "2b40" V6_ADDRS "1100000000000000"
         "0001000200080000",
         DROP_NONE},
        {"600000000010"
         "3c40" V6_ADDRS "1102000000000000"
         "0001000200080000",
         DROP_IP_EXTENSION},
        {"600000000010"
         "3c40" V6_ADDRS "0000000000000000"
         "1100000200080000",
         DROP_IP_EXTENSION},
        {"600000000000"
         "3b40" V6_ADDRS,
         DROP_NONE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct packet_info info;
        enum drop_reason reason = parse_hex(rows[i].hex, &info);
        if (reason != rows[i].expected) {
            print_error("row %zu: %s\n", i, drop_label(reason));
        }
        assert_int_equal(reason, rows[i].expected);
    }
}

/* A UDP packet with `options` of a multiple of four bytes. */
static enum drop_reason parse_with_options(const char *options)
{
    uint8_t bytes[128] = {0};
    size_t size = support_unhex(options, bytes + 20, 40);
    size_t len = 20 + size + 8;
    bytes[0] = (uint8_t)(0x45 + size / 4);
    store_be16(bytes + 2, (uint16_t)len);
    bytes[9] = PACKET_PROTOCOL_UDP;
    store_be16(bytes + 20 + size + 4, 8);
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, len);
    struct packet_info info;
    return packet_parse(&packet, &info);
}

static void test_ipv4_options_carry_no_packet_past_the_policy(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        enum drop_reason expected;
    } rows[] = {
        {"94040000", DROP_NONE},                 /* router alert */
        {"01010101", DROP_NONE},                 /* no operation */
        {"01018802", DROP_NONE},                 /* two bytes, the last ones */
        {"0183070400000000", DROP_IP_EXTENSION}, /* loose source route, a stop to come */
        {"0189070400000000", DROP_IP_EXTENSION}, /* strict */
        {"0183070800000000", DROP_NONE},         /* all stops made */
        {"940400008307040a00000100", DROP_IP_EXTENSION},
        {"0083070400000000", DROP_NONE}, /* behind the end nothing counts */
        {"01010183", DROP_IP_EXTENSION}, /* no length */
        {"94000000", DROP_IP_EXTENSION}, /* a length that does not advance */
        {"94050000", DROP_IP_EXTENSION}, /* beyond the header */
        {"83020101", DROP_IP_EXTENSION}, /* no pointer */
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        enum drop_reason reason = parse_with_options(rows[i].options);
        if (reason != rows[i].expected) {
            print_error("row %zu: %s\n", i, drop_label(reason));
        }
        assert_int_equal(reason, rows[i].expected);
    }
}

static void test_extension_chain_is_bounded(void **state)
{
    (void)state;
    for (uint32_t count = 0; count < PACKET_EXTENSIONS_MAX + 2; count++) {
        uint8_t bytes[256] = {0x60};
        bytes[6] = count == 0 ? PACKET_PROTOCOL_NONE : PACKET_PROTOCOL_DESTINATION;
        store_be16(bytes + 4, (uint16_t)(8 * count));
        for (uint32_t i = 0; i < count; i++) {
            bytes[40 + 8 * i] = i + 1 == count ? PACKET_PROTOCOL_NONE : PACKET_PROTOCOL_DESTINATION;
        }
        struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, 40 + 8 * count);
        struct packet_info info;
        assert_int_equal(packet_parse(&packet, &info),
                         count <= PACKET_EXTENSIONS_MAX ? DROP_NONE : DROP_IP_EXTENSION);
    }
}

static void test_extension_headers_of_every_length_are_skipped(void **state)
{
    (void)state;
    for (size_t units = 0; units < 256; units++) {
        uint8_t bytes[40 + 2048 + 8] = {0x60};
        size_t size = (1 + units) * 8;
        bytes[6] = PACKET_PROTOCOL_HOP_BY_HOP;
        store_be16(bytes + 4, (uint16_t)(size + 8));
        bytes[40] = PACKET_PROTOCOL_UDP;
        bytes[41] = (uint8_t)units;
        store_be16(bytes + 40 + size, 53);
        store_be16(bytes + 40 + size + 4, 8);
        struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, 40 + size + 8);
        struct packet_info info;
        assert_int_equal(packet_parse(&packet, &info), DROP_NONE);
        assert_int_equal(info.l4_offset, 40 + size);
        assert_int_equal(info.source_port, 53);
        store_be16(bytes + 4, (uint16_t)(size - 1)); /* the header is longer than the packet */
        packet.len = 40 + size - 1;
        assert_int_equal(packet_parse(&packet, &info), DROP_IP_EXTENSION);
    }
}

/* What stands behind a header that is not understood is nobody's port. */
static void test_ports_behind_unknown_headers_are_not_read(void **state)
{
    (void)state;
    for (unsigned protocol = 0; protocol < 256; protocol++) {
        switch (protocol) {
        case PACKET_PROTOCOL_HOP_BY_HOP:
        case PACKET_PROTOCOL_ICMP:
        case PACKET_PROTOCOL_TCP:
        case PACKET_PROTOCOL_UDP:
        case PACKET_PROTOCOL_ROUTING:
        case PACKET_PROTOCOL_FRAGMENT:
        case PACKET_PROTOCOL_AH:
        case PACKET_PROTOCOL_ICMPV6:
        case PACKET_PROTOCOL_DESTINATION:
            continue;
        default:
            break;
        }
        for (int is_v4 = 0; is_v4 < 2; is_v4++) {
            size_t l4 = is_v4 == 1 ? 20 : 40;
            uint8_t bytes[40 + 24] = {is_v4 == 1 ? 0x45 : 0x60};
            bytes[is_v4 == 1 ? 9 : 6] = (uint8_t)protocol;
            store_be16(bytes + (is_v4 == 1 ? 2 : 4), is_v4 == 1 ? 44 : 24);
            bytes[l4] = PACKET_PROTOCOL_TCP; /* read as an extension: 8 bytes, then TCP */
            store_be16(bytes + l4 + 2, 443); /* read as TCP */
            bytes[l4 + 12] = 0x50;
            struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, l4 + 24);
            struct packet_info info;
            assert_int_equal(packet_parse(&packet, &info), DROP_NONE);
            assert_int_equal(info.kind, PACKET_OTHER);
            assert_int_equal(info.protocol, protocol);
            assert_int_equal(info.destination_port, 0);
            assert_int_equal(info.l4_offset, l4);
        }
    }
}

static void test_fields_of_an_udp_packet(void **state)
{
    (void)state;
    struct packet_info info;
    assert_int_equal(parse_hex(V4_UDP, &info), DROP_NONE);
    assert_int_equal(info.kind, PACKET_UDP);
    assert_int_equal(info.version, 4);
    assert_int_equal(info.protocol, 17);
    assert_int_equal(info.l4_offset, 20);
    assert_int_equal(info.payload_offset, 28);
    assert_int_equal(info.source_port, 1);
    assert_int_equal(info.destination_port, 2);
    assert_int_equal(info.ttl, 64);
    assert_true(info.dont_fragment);
    struct ip_addr source = ip_v4(10, 0, 0, 1);
    assert_true(ip_equal(&info.source, &source));
}

static void test_padding_is_cut_only_when_asked(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t len = support_unhex(V4_UDP "00000000", bytes, sizeof(bytes));
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, len);
    struct packet_info info;
    assert_int_equal(packet_parse(&packet, &info), DROP_IP_LENGTH);
    assert_int_equal(packet_parse_padded(&packet, &info), DROP_NONE);
    assert_int_equal(packet.len, 28);
    packet.len = 27; /* shorter than its header says: still refused */
    assert_int_equal(packet_parse_padded(&packet, &info), DROP_IP_LENGTH);
}

static void check_recording(const char *path, uint32_t expected)
{
    char *file = NULL;
    struct reader r = pcap_open(path, &file);
    struct span room = room_new();
    struct view bytes;
    uint32_t count = 0;
    while (pcap_next(&r, &bytes)) {
        struct packet packet = packet_from(room, bytes);
        struct packet_info info;
        assert_int_equal(packet_parse(&packet, &info), DROP_NONE);
        /* The kernel leaves some checksums to the device: partial or full, one must hold. */
        packet.checksum_partial = !packet_checksums_ok(&packet, &info);
        assert_true(packet_checksums_ok(&packet, &info));
        for (size_t len = 0; len < bytes.len; len++) {
            struct packet cut = packet_of(room, HEADROOM, len);
            assert_int_not_equal(packet_parse(&cut, &info), DROP_NONE);
        }
        count++;
    }
    assert_int_equal(count, expected);
    free(room.at);
    free(file);
}

static void test_recorded_packets_are_accepted_and_their_truncations_are_not(void **state)
{
    (void)state;
    check_recording("tests/vectors/tun_base.pcap", 54);
    check_recording("tests/vectors/tun_head.pcap", 56);
}

static void test_flipped_bit_breaks_the_checksum_or_is_refused(void **state)
{
    (void)state;
    struct stream s = {7};
    struct span room = room_new();
    for (int round = 0; round < 30; round++) {
        struct packet packet = packet_random(&s, room, IP_V4, stream_below(&s, 40));
        (void)parse_good(&packet);
        for (size_t bit = 0; bit < packet.len * 8; bit++) {
            packet_bytes(&packet)[bit / 8] ^= (uint8_t)(1U << bit % 8);
            struct packet_info info;
            if (packet_parse(&packet, &info) == DROP_NONE && info.kind != PACKET_OTHER) {
                assert_false(packet_checksums_ok(&packet, &info));
            }
            packet_bytes(&packet)[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
    free(room.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acceptance_table),
        cmocka_unit_test(test_ipv4_options_carry_no_packet_past_the_policy),
        cmocka_unit_test(test_extension_chain_is_bounded),
        cmocka_unit_test(test_extension_headers_of_every_length_are_skipped),
        cmocka_unit_test(test_ports_behind_unknown_headers_are_not_read),
        cmocka_unit_test(test_fields_of_an_udp_packet),
        cmocka_unit_test(test_padding_is_cut_only_when_asked),
        cmocka_unit_test(test_recorded_packets_are_accepted_and_their_truncations_are_not),
        cmocka_unit_test(test_flipped_bit_breaks_the_checksum_or_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
