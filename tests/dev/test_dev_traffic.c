#include "sim/dev/dev_traffic.h"

#include <string.h>

#include "tests/support/support.h"

static void test_the_pattern_does_not_depend_on_where_it_is_cut(void **state)
{
    (void)state;
    uint8_t whole[5000];
    traffic_pattern(7, TRAFFIC_UP, 3, 0, (struct span){whole, sizeof whole});
    for (size_t at = 0; at < sizeof whole; at += 37) {
        uint8_t part[100];
        size_t len = sizeof whole - at < sizeof part ? sizeof whole - at : sizeof part;
        traffic_pattern(7, TRAFFIC_UP, 3, at, (struct span){part, len});
        assert_memory_equal(part, whole + at, len);
        assert_true(traffic_matches(7, TRAFFIC_UP, 3, at, (struct view){whole + at, len}));
    }
    assert_true(traffic_matches(7, TRAFFIC_UP, 3, 0, VIEW_OF(whole)));
    assert_false(traffic_matches(8, TRAFFIC_UP, 3, 0, VIEW_OF(whole)));
    assert_false(traffic_matches(7, TRAFFIC_DOWN, 3, 0, VIEW_OF(whole)));
    assert_false(traffic_matches(7, TRAFFIC_UP, 4, 0, VIEW_OF(whole)));
    assert_false(traffic_matches(7, TRAFFIC_UP, 3, 8, VIEW_OF(whole)));
    for (size_t i = 0; i < sizeof whole; i += 499) {
        whole[i] ^= 1U;
        assert_false(traffic_matches(7, TRAFFIC_UP, 3, 0, VIEW_OF(whole)));
        whole[i] ^= 1U;
    }
}

static void test_every_datagram_knows_itself(void **state)
{
    (void)state;
    uint8_t room[TRAFFIC_DATAGRAM_MAX];
    for (size_t len = 0; len <= sizeof room; len++) {
        struct span out = {room, len};
        traffic_datagram(7, TRAFFIC_UP, 70000, out);
        assert_int_equal(traffic_number(view_of_span(out)), len >= 8 ? 70000 : len);
        assert_true(traffic_datagram_matches(7, TRAFFIC_UP, view_of_span(out)));
        if (len == 0) {
            continue; /* nothing in it can be wrong */
        }
        assert_false(traffic_datagram_matches(7, TRAFFIC_ECHO, view_of_span(out)));
        room[len - 1] ^= 0x80U;
        assert_false(traffic_datagram_matches(7, TRAFFIC_UP, view_of_span(out)));
        room[len - 1] ^= 0x80U;
        room[0] ^= 1U; /* the number, where there is one */
        assert_false(traffic_datagram_matches(7, TRAFFIC_UP, view_of_span(out)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_pattern_does_not_depend_on_where_it_is_cut),
        cmocka_unit_test(test_every_datagram_knows_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
