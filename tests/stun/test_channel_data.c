#include "tests/support/support.h"

#include "stun/channel_data.h"

static void a_header_survives_a_round_trip_at_every_length(void **state)
{
    (void)state;
    uint8_t bytes[2048] = {0};
    for (size_t len = 0; len <= sizeof(bytes) - CHANNEL_DATA_HEADER_SIZE; len++) {
        uint16_t number = (uint16_t)(CHANNEL_NUMBER_MIN + len);
        channel_data_put_header(bytes, number, len);
        struct channel_data out;
        struct view datagram = {bytes, CHANNEL_DATA_HEADER_SIZE + len};
        assert_int_equal(channel_data_decode(datagram, &out), DROP_NONE);
        assert_int_equal(out.number, number);
        assert_int_equal(out.length, len);
        datagram.len--;
        assert_int_equal(channel_data_decode(datagram, &out), DROP_TURN_LENGTH);
    }
}

static void bytes_behind_the_payload_are_ignored(void **state)
{
    (void)state;
    static const uint8_t padded[] = {0x4F, 0xFF, 0, 1, 'x', 0, 0, 0};
    struct channel_data out;
    assert_int_equal(channel_data_decode(VIEW_OF(padded), &out), DROP_NONE);
    assert_int_equal(out.number, 0x4FFF);
    assert_int_equal(out.length, 1);
}

static void only_first_bytes_from_40_to_7f_are_channel_data(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[4] = {(uint8_t)first, 0, 0, 0};
        bool ours = first >= 0x40 && first <= 0x7F;
        struct channel_data out;
        assert_true(channel_data_is(VIEW_OF(bytes)) == ours);
        assert_int_equal(channel_data_decode(VIEW_OF(bytes), &out),
                         ours ? DROP_NONE : DROP_UDP_UNKNOWN);
    }
    assert_false(channel_data_is(VIEW_EMPTY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_survives_a_round_trip_at_every_length),
        cmocka_unit_test(bytes_behind_the_payload_are_ignored),
        cmocka_unit_test(only_first_bytes_from_40_to_7f_are_channel_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
