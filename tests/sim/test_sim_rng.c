#include "sim/sim_rng.h"

#include <string.h>

#include "tests/support/support.h"

static void test_a_draw_depends_on_seed_stream_and_index_only(void **state)
{
    (void)state;
    struct sim_rng a = sim_rng_of(7);
    struct sim_rng b = sim_rng_of(7);
    struct sim_rng c = sim_rng_of(8);
    uint64_t link = sim_stream_of(SIM_FAMILY_LINK, 3, 1);
    uint64_t nat = sim_stream_of(SIM_FAMILY_NAT, 3, 1);
    assert_true(sim_draw(&a, link, 5) == sim_draw(&b, link, 5));
    assert_true(sim_draw(&a, link, 5) != sim_draw(&c, link, 5));
    assert_true(sim_draw(&a, link, 5) != sim_draw(&a, link, 6));
    assert_true(sim_draw(&a, link, 5) != sim_draw(&a, nat, 5));
}

static void test_draws_of_an_item_do_not_depend_on_other_items(void **state)
{
    (void)state;
    struct sim_rng rng = sim_rng_of(1);
    struct sim_dice all = sim_dice_of(&rng, 9);
    for (unsigned i = 0; i < 32; i++) {
        (void)!sim_dice_u64(&all);
    }
    struct sim_dice third = sim_dice_at(&rng, 9, 2);
    assert_true(sim_dice_u64(&third) == sim_draw(&rng, 9, 32));
    assert_true(sim_dice_u64(&all) == sim_draw(&rng, 9, 32));
}

static void test_distributions_stay_in_their_bounds(void **state)
{
    (void)state;
    struct sim_rng rng = sim_rng_of(2);
    struct sim_dice dice = sim_dice_of(&rng, 1);
    uint32_t seen = 0;
    for (unsigned i = 0; i < 1000; i++) {
        seen |= 1U << sim_dice_below(&dice, 7);
        uint64_t between = sim_dice_between(&dice, 10, 12);
        assert_in_range(between, 10, 12);
        assert_in_range(sim_dice_exponential(&dice, 1000), 8, 4852);
        assert_false(sim_dice_chance(&dice, 0));
        assert_true(sim_dice_chance(&dice, 1000000));
    }
    assert_int_equal(seen, 0x7f);
    assert_true(sim_dice_between(&dice, 5, 5) == 5);
}

static void test_means_are_as_announced(void **state)
{
    (void)state;
    struct sim_rng rng = sim_rng_of(3);
    struct sim_dice dice = sim_dice_of(&rng, 1);
    uint64_t exponential = 0;
    uint64_t hits = 0;
    for (unsigned i = 0; i < 20000; i++) {
        exponential += sim_dice_exponential(&dice, 100000);
        hits += sim_dice_chance(&dice, 250000) ? 1 : 0;
    }
    assert_in_range(exponential / 20000, 96000, 104000);
    assert_in_range(hits, 4800, 5200);
}

static void test_bytes_of_any_length_are_written_exactly(void **state)
{
    (void)state;
    struct sim_rng rng = sim_rng_of(4);
    for (size_t len = 0; len <= 40; len++) {
        uint8_t out[48];
        memset(out, 0xee, sizeof(out));
        struct sim_dice dice = sim_dice_of(&rng, 1);
        sim_dice_bytes(&dice, out, len);
        for (size_t i = len; i < sizeof(out); i++) {
            assert_int_equal(out[i], 0xee);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_draw_depends_on_seed_stream_and_index_only),
        cmocka_unit_test(test_draws_of_an_item_do_not_depend_on_other_items),
        cmocka_unit_test(test_distributions_stay_in_their_bounds),
        cmocka_unit_test(test_means_are_as_announced),
        cmocka_unit_test(test_bytes_of_any_length_are_written_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
