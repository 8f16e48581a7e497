#include "packet/packet_build.h"

#include "tests/packet/packet_support.h"

static void test_built_packets_parse_with_right_checksums(void **state)
{
    (void)state;
    struct stream s = {11};
    struct span room = room_new();
    for (int round = 0; round < 500; round++) {
        enum ip_family family = round % 2 == 0 ? IP_V4 : IP_V6;
        size_t payload_len = stream_below(&s, 1400);
        struct packet packet = packet_random(&s, room, family, payload_len);
        struct packet_info info = parse_good(&packet);
        assert_int_equal(packet_payload(&packet, &info).len, payload_len);
    }
    free(room.at);
}

/* spec/dataplane.md section 2.1 */
static void test_control_packet_of_the_specification(void **state)
{
    (void)state;
    static const char json[] = "{\"resource\":\"7d1f2a30-0c44-4c1e-9a55-2f6f6f0b1c2d\","
                               "\"domain\":\"db.corp.example\",\"status\":\"Active\"}";
    uint8_t expected[48];
    assert_int_equal(support_unhex("60000000"
                                   "0068"
                                   "ff00"
                                   "00000000000000000000000000000000"
                                   "00000000000000000000000000000000"
                                   "0100000000000000",
                                   expected, sizeof(expected)),
                     48);
    uint8_t bytes[160];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    packet_build_p2p(&w, 1, view_text(json));
    assert_true(writer_finish(&w));
    assert_int_equal(w.used, 144);
    assert_memory_equal(bytes, expected, 48);
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, w.used);
    struct packet_info info = parse_good(&packet);
    assert_int_equal(info.protocol, PACKET_PROTOCOL_P2P);
    assert_int_equal(info.kind, PACKET_OTHER);
}

static void test_writer_without_room_fails(void **state)
{
    (void)state;
    struct packet_build_ip ip = {.source = ip_v4(10, 0, 0, 1), .destination = ip_v4(10, 0, 0, 2)};
    for (size_t size = 0; size < 33; size++) {
        uint8_t bytes[40];
        struct writer w = writer_of((struct span){bytes, size});
        packet_build_udp(&w, &ip, (struct packet_build_ports){1, 2}, view_text("abcde"));
        assert_false(writer_finish(&w));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_packets_parse_with_right_checksums),
        cmocka_unit_test(test_control_packet_of_the_specification),
        cmocka_unit_test(test_writer_without_room_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
