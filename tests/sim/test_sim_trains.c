#include "sim/sim_trains.h"

#include <string.h>

#include "tests/support/support.h"

static struct gateway_train head(uint8_t last, uint8_t ecn)
{
    return (struct gateway_train){.local = sock_addr_of(ip_v4(10, 0, 0, 1), 1),
                                  .remote = sock_addr_of(ip_v4(10, 0, 0, last), 2),
                                  .ecn = ecn};
}

static void add(struct sim_trains *trains, uint8_t last, size_t size, int fill)
{
    struct gateway_train to = head(last, 0);
    assert_true(sim_trains_fits(trains, size));
    memset(sim_trains_room(trains), fill, size);
    sim_trains_add(trains, &to, size);
}

static void test_a_shorter_datagram_is_the_last_of_its_train(void **state)
{
    (void)state;
    struct sim_trains trains;
    assert_true(sim_trains_init(&trains));
    add(&trains, 2, 100, 1);
    add(&trains, 2, 100, 2);
    add(&trains, 2, 40, 3);
    add(&trains, 2, 40, 4); /* as long as the short one, but that has closed the train */
    add(&trains, 2, 41, 5); /* longer than the first of its train */
    add(&trains, 3, 41, 6); /* to somebody else */
    add(&trains, 2, 41, 7); /* trains are not reopened */
    static const struct {
        size_t len;
        uint16_t segment;
        uint8_t fill;
    } expected[] = {{240, 100, 1}, {40, 40, 4}, {41, 41, 5}, {41, 41, 6}, {41, 41, 7}};
    assert_int_equal(trains.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(trains.trains[i].bytes.len, expected[i].len);
        assert_int_equal(trains.trains[i].segment_size, expected[i].segment);
        assert_int_equal(trains.trains[i].bytes.at[0], expected[i].fill);
    }
    assert_int_equal(trains.trains[0].bytes.at[99], 1);
    assert_int_equal(trains.trains[0].bytes.at[100], 2);
    assert_int_equal(trains.trains[0].bytes.at[200], 3);
    sim_trains_clear(&trains);
    assert_int_equal(trains.count, 0);
    add(&trains, 2, 100, 1);
    assert_int_equal(trains.trains[0].bytes.len, 100);
    sim_trains_free(&trains);
}

static void test_trains_end_at_their_limits(void **state)
{
    (void)state;
    struct sim_trains trains;
    assert_true(sim_trains_init(&trains));
    for (unsigned i = 0; i < SIM_TRAINS_SEGMENTS + 1U; i++) {
        add(&trains, 2, 10, 0);
    }
    assert_int_equal(trains.count, 2);
    assert_int_equal(trains.segments[0], SIM_TRAINS_SEGMENTS);
    for (unsigned i = 0; i < 45; i++) {
        add(&trains, 3, 1460, 0);
    }
    assert_int_equal(trains.count, 4);
    assert_true(trains.trains[2].bytes.len <= SIM_TRAINS_LEN_MAX);
    assert_int_equal(trains.trains[2].bytes.len + trains.trains[3].bytes.len, 45 * 1460);
    struct gateway_train marked = head(3, 1);
    sim_trains_add(&trains, &marked, 1460);
    assert_int_equal(trains.count, 5);
    while (sim_trains_fits(&trains, 1000)) {
        add(&trains, (uint8_t)(trains.count % 2U), 1000, 0);
    }
    assert_true(trains.count == SIM_TRAINS_MAX || SIM_TRAINS_BYTES - trains.used < 1000);
    sim_trains_free(&trains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_shorter_datagram_is_the_last_of_its_train),
        cmocka_unit_test(test_trains_end_at_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
