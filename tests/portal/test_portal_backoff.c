#include "portal/portal_backoff.h"

#include "tests/support/support.h"

static void test_before_the_first_join_fifteen_single_seconds(void **state)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    struct portal_backoff backoff;
    struct duration delay;
    struct rng rng;
    (void)state;
    rng_init(&rng, seed);
    portal_backoff_init(&backoff, 0);
    for (unsigned i = 0; i < 15; i++) {
        assert_true(portal_backoff_next(&backoff, &rng, &delay));
        assert_true(delay.ns == NS_PER_S);
    }
    assert_false(portal_backoff_next(&backoff, &rng, &delay));
}

static void test_afterwards_delays_grow_to_a_cap_and_carry_jitter(void **state)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    struct portal_backoff backoff;
    struct duration delay;
    struct rng rng;
    uint64_t base_us = 500000;
    uint64_t total_ms = 0;
    unsigned jittered = 0;
    (void)state;
    rng_init(&rng, seed);
    portal_backoff_init(&backoff, 3600);
    portal_backoff_joined(&backoff);
    while (portal_backoff_next(&backoff, &rng, &delay)) {
        assert_true(delay.ns >= base_us * NS_PER_US && delay.ns < 2 * base_us * NS_PER_US);
        jittered += delay.ns != base_us * NS_PER_US;
        base_us = base_us * 3 / 2 < 60000000 ? base_us * 3 / 2 : 60000000;
        total_ms += delay.ns / NS_PER_MS;
    }
    assert_true(base_us == 60000000);
    assert_true(jittered > 10);
    assert_true(total_ms <= 3600000 && total_ms > 3600000 - 120000);
    portal_backoff_joined(&backoff);
    assert_true(portal_backoff_next(&backoff, &rng, &delay));
    assert_true(delay.ns < NS_PER_S);
}

static void test_conflicts_are_waited_out_with_jitter_up_to_a_cap(void **state)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    struct portal_backoff backoff;
    struct rng rng;
    uint64_t base_us = 1000000;
    uint64_t total_ms = 0;
    unsigned jittered = 0;
    (void)state;
    rng_init(&rng, seed);
    portal_backoff_init(&backoff, 0);
    for (unsigned i = 0; i < 1000; i++) {
        if (total_ms >= 45000) { /* our own connection of before would be forgotten */
            base_us = base_us * 3 / 2 < 8000000 ? base_us * 3 / 2 : 8000000;
        }
        uint64_t ns = portal_backoff_conflict(&backoff, &rng).ns;
        assert_true(ns >= base_us * NS_PER_US && ns < 2 * base_us * NS_PER_US);
        jittered += ns != base_us * NS_PER_US;
        total_ms += ns / NS_PER_MS;
    }
    assert_true(base_us == 8000000);
    assert_true(jittered > 900);
    struct duration delay; /* the other kind of trouble has lost none of its time */
    assert_true(portal_backoff_next(&backoff, &rng, &delay));
    assert_true(delay.ns == NS_PER_S);
    portal_backoff_joined(&backoff);
    assert_true(portal_backoff_conflict(&backoff, &rng).ns < 2 * NS_PER_S);
}

static void test_what_the_portal_asks_for_is_cut_to_an_hour(void **state)
{
    (void)state;
    assert_true(portal_backoff_retry_after(0).ns == 0);
    assert_true(portal_backoff_retry_after(7).ns == 7 * NS_PER_S);
    assert_true(portal_backoff_retry_after(UINT64_MAX).ns == 3600 * NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_the_first_join_fifteen_single_seconds),
        cmocka_unit_test(test_afterwards_delays_grow_to_a_cap_and_carry_jitter),
        cmocka_unit_test(test_conflicts_are_waited_out_with_jitter_up_to_a_cap),
        cmocka_unit_test(test_what_the_portal_asks_for_is_cut_to_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
