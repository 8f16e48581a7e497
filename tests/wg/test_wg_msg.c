#include "tests/wg/wg_pair.h"

static void put_type(uint8_t *at, uint32_t type)
{
    store_le32(at, type);
}

static void test_sizes_are_exact_but_for_data(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        size_t size;
        bool is_minimum;
    } rows[] = {{1, 148, false}, {2, 92, false}, {3, 64, false}, {4, 32, true}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint8_t bytes[200] = {0};
        put_type(bytes, rows[i].type);
        for (size_t len = 0; len <= sizeof(bytes); len++) {
            bool fits = rows[i].is_minimum ? len >= rows[i].size : len == rows[i].size;
            assert_int_equal(wg_msg_type((struct view){bytes, len}), fits ? rows[i].type : 0);
        }
    }
}

static void test_reserved_bytes_must_be_zero(void **state)
{
    (void)state;
    for (uint32_t type = 1; type <= 4; type++) {
        static const size_t sizes[] = {0, 148, 92, 64, 32};
        for (unsigned bit = 8; bit < 32; bit++) {
            uint8_t bytes[148] = {0};
            put_type(bytes, type | UINT32_C(1) << bit);
            assert_int_equal(wg_msg_type((struct view){bytes, sizes[type]}), WG_TYPE_NONE);
        }
    }
}

static void test_stun_and_channel_data_are_not_wireguard(void **state)
{
    (void)state;
    uint8_t stun[148] = {0x00, 0x01, 0x00, 0x80, 0x21, 0x12, 0xa4, 0x42};
    uint8_t answer[148] = {0x01, 0x01, 0x00, 0x80, 0x21, 0x12, 0xa4, 0x42};
    uint8_t channel[148] = {0x40, 0x00, 0x00, 0x90};
    assert_int_equal(wg_msg_type(VIEW_OF(stun)), WG_TYPE_NONE);
    assert_int_equal(wg_msg_type(VIEW_OF(answer)), WG_TYPE_NONE);
    assert_int_equal(wg_msg_type(VIEW_OF(channel)), WG_TYPE_NONE);
}

static void test_codecs_round_trip(void **state)
{
    (void)state;
    struct rng rng = pair_rng(5);
    for (int i = 0; i < 100; i++) {
        struct wg_msg_initiation initiation;
        struct wg_msg_initiation initiation_back;
        struct wg_msg_response response;
        struct wg_msg_response response_back;
        struct wg_msg_cookie_reply cookie;
        struct wg_msg_cookie_reply cookie_back;
        uint8_t bytes[WG_INITIATION_SIZE];
        rng_bytes(&rng, (uint8_t *)&initiation, sizeof(initiation));
        rng_bytes(&rng, (uint8_t *)&response, sizeof(response));
        rng_bytes(&rng, (uint8_t *)&cookie, sizeof(cookie));
        wg_msg_encode_initiation(&initiation, bytes);
        assert_true(wg_msg_decode_initiation((struct view){bytes, 148}, &initiation_back));
        assert_memory_equal(&initiation, &initiation_back, sizeof(initiation));
        assert_int_equal(wg_msg_sender_index((struct view){bytes, 148}), initiation.sender_index);
        wg_msg_encode_response(&response, bytes);
        assert_true(wg_msg_decode_response((struct view){bytes, 92}, &response_back));
        assert_memory_equal(&response, &response_back, sizeof(response));
        assert_int_equal(wg_msg_receiver_index((struct view){bytes, 92}), response.receiver_index);
        wg_msg_encode_cookie_reply(&cookie, bytes);
        assert_true(wg_msg_decode_cookie_reply((struct view){bytes, 64}, &cookie_back));
        assert_memory_equal(&cookie, &cookie_back, sizeof(cookie));
        assert_false(wg_msg_decode_initiation((struct view){bytes, 64}, &initiation_back));
        assert_false(wg_msg_decode_response((struct view){bytes, 64}, &response_back));
    }
}

static enum drop_reason cut(uint8_t *bytes, size_t len, size_t *left)
{
    struct span packet = {bytes, len};
    enum drop_reason reason = wg_msg_cut_padding(&packet);
    *left = packet.len;
    return reason;
}

static void test_padding_is_cut_to_the_ipv4_total_length(void **state)
{
    (void)state;
    static const struct {
        uint8_t first;
        uint16_t total;
        size_t len;
        enum drop_reason reason;
    } rows[] = {
        {0x45, 20, 20, DROP_NONE},         {0x45, 20, 32, DROP_NONE},
        {0x45, 32, 32, DROP_NONE},         {0x45, 33, 32, DROP_IP_LENGTH},
        {0x45, 0, 32, DROP_IP_LENGTH},     {0x45, 19, 32, DROP_IP_LENGTH},
        {0x46, 20, 32, DROP_IP_LENGTH},    {0x46, 24, 32, DROP_NONE},
        {0x44, 20, 32, DROP_IP_MALFORMED}, {0x45, 20, 19, DROP_IP_MALFORMED},
        {0x05, 20, 32, DROP_IP_MALFORMED}, {0xf5, 20, 32, DROP_IP_MALFORMED},
        {0x45, 65535, 32, DROP_IP_LENGTH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint8_t bytes[32] = {rows[i].first};
        size_t left = 0;
        store_be16(bytes + 2, rows[i].total);
        assert_int_equal(cut(bytes, rows[i].len, &left), rows[i].reason);
        if (rows[i].reason == DROP_NONE) {
            assert_int_equal(left, rows[i].total);
        }
    }
}

static void test_padding_is_cut_to_the_ipv6_payload_length(void **state)
{
    (void)state;
    uint8_t bytes[64] = {0x60};
    size_t left = 0;
    store_be16(bytes + 4, 8);
    assert_int_equal(cut(bytes, 64, &left), DROP_NONE);
    assert_int_equal(left, 48);
    store_be16(bytes + 4, 25);
    assert_int_equal(cut(bytes, 64, &left), DROP_IP_LENGTH);
    assert_int_equal(cut(bytes, 39, &left), DROP_IP_MALFORMED);
}

static void test_short_plaintexts_are_no_packets(void **state)
{
    (void)state;
    for (size_t len = 0; len < 20; len++) {
        uint8_t v4[20] = {0x45, 0, 0, (uint8_t)len};
        uint8_t v6[20] = {0x60};
        size_t left = 0;
        assert_int_equal(cut(v4, len, &left), DROP_IP_MALFORMED);
        assert_int_equal(cut(v6, len, &left), DROP_IP_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_are_exact_but_for_data),
        cmocka_unit_test(test_reserved_bytes_must_be_zero),
        cmocka_unit_test(test_stun_and_channel_data_are_not_wireguard),
        cmocka_unit_test(test_codecs_round_trip),
        cmocka_unit_test(test_padding_is_cut_to_the_ipv4_total_length),
        cmocka_unit_test(test_padding_is_cut_to_the_ipv6_payload_length),
        cmocka_unit_test(test_short_plaintexts_are_no_packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
