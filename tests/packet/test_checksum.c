#include "packet/checksum.h"

#include "tests/packet/packet_support.h"

/* The naive twin: RFC 1071 word by word. */
static uint16_t twin(struct view bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        sum += i % 2 == 0 ? (uint32_t)bytes.at[i] << 8U : bytes.at[i];
        sum = (sum & 0xffffU) + (sum >> 16U);
    }
    return (uint16_t)~sum;
}

static void test_rfc_1071_example(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    assert_int_equal(checksum_fold(checksum_sum(VIEW_OF(bytes))), 0xddf2);
}

static void test_fast_sum_equals_the_naive_one_at_every_length_and_alignment(void **state)
{
    (void)state;
    struct stream s = {1};
    uint8_t bytes[1400];
    uint8_t copy[1400];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = stream_below(&s, 3) == 0 ? 0xff : (uint8_t)stream_u32(&s);
    }
    for (size_t len = 0; len <= 130; len++) {
        for (size_t at = 0; at < 9; at++) {
            struct view view = {bytes + at, len * (1 + at)};
            assert_int_equal(checksum_finish(checksum_sum(view)), twin(view));
            assert_int_equal(checksum_finish(checksum_copy(copy, view)), twin(view));
            assert_memory_equal(copy, view.at, view.len);
        }
    }
}

static void test_incremental_update_equals_recomputation(void **state)
{
    (void)state;
    struct stream s = {2};
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[12];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            uint32_t kind = stream_below(&s, 4);
            bytes[i] = kind == 0 ? 0 : (uint8_t)stream_u32(&s);
            bytes[i] = kind == 1 ? 0xff : bytes[i];
        }
        bytes[0] |= 1U; /* an all-zero sum has two forms */
        uint16_t checksum = twin(VIEW_OF(bytes));
        uint16_t before16 = load_be16(bytes + 2);
        uint16_t after16 = (uint16_t)stream_u32(&s);
        store_be16(bytes + 2, after16);
        checksum = checksum_update16(checksum, before16, after16);
        assert_int_equal(checksum, twin(VIEW_OF(bytes)));
        uint32_t before32 = load_be32(bytes + 8);
        uint32_t after32 = stream_u32(&s);
        store_be32(bytes + 8, after32);
        checksum = checksum_update32(checksum, before32, after32);
        assert_int_equal(checksum, twin(VIEW_OF(bytes)));
    }
}

static void test_udp_checksum_is_never_zero(void **state)
{
    (void)state;
    assert_int_equal(checksum_finish(0xffff), 0);
    assert_int_equal(checksum_finish_udp(0xffff), 0xffff);
    assert_int_equal(checksum_finish_udp(1), 0xfffe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_1071_example),
        cmocka_unit_test(test_fast_sum_equals_the_naive_one_at_every_length_and_alignment),
        cmocka_unit_test(test_incremental_update_equals_recomputation),
        cmocka_unit_test(test_udp_checksum_is_never_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
