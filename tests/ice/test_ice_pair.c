#include "ice/ice_pair.h"

#include "crypto/rng.h"
#include "ice/ice_agent.h"
#include "tests/support/support.h"

#define START_MS 1000000U

static struct instant at_ms(uint64_t ms)
{
    return (struct instant){(START_MS + ms) * NS_PER_MS};
}

static const struct ice_timing timing_142 = {8, {1500 * NS_PER_MS}, {250 * NS_PER_MS}};
static const struct ice_timing timing_142_idle = {4, {60 * NS_PER_S}, {60 * NS_PER_S}};

struct schedule {
    struct ice_timing timing;
    uint64_t sends_ms[9]; /* the first checks; 0 ends the list after the first */
    uint64_t period_ms;   /* after those */
    uint64_t dead_ms;
};

/* Runs an unanswered pair until it is dead and compares each check with the table. */
static void run_until_dead(struct ice_pair *pair, const struct schedule *row, uint64_t start_ms)
{
    uint64_t expected = 0;
    for (size_t n = 0;; n++) {
        if (n > 0) {
            bool listed = n < ARRAY_COUNT(row->sends_ms) && row->sends_ms[n] != 0;
            expected = listed ? row->sends_ms[n] : expected + row->period_ms;
        }
        uint64_t due_ms = ice_pair_due_at(pair).ns / NS_PER_MS - START_MS - start_ms;
        struct instant due = ice_pair_due_at(pair);
        if (ice_pair_is_dead(pair, &row->timing, due)) {
            assert_int_equal(due_ms, row->dead_ms);
            assert_false(ice_pair_is_dead(pair, &row->timing, (struct instant){due.ns - 1}));
            return;
        }
        assert_int_equal(due_ms, expected);
        ice_pair_sent(pair, n + 1000, &row->timing, due);
        assert_true(n < 100);
    }
}

static void test_new_pairs_follow_the_table_of_section_5_15(void **state)
{
    (void)state;
    const struct schedule rows[] = {
        {timing_142, {0, 250, 750, 1750, 3250, 4750, 6250, 7750}, 1500, 9250},
        {timing_142_idle, {0, 60000, 120000, 180000}, 60000, 240000},
        {ICE_TIMING_GATEWAY, {0, 250, 750, 1750, 3750, 7750, 15750}, 15000, 600750},
        {ICE_TIMING_GATEWAY_IDLE, {0, 25000}, 25000, 1000000},
        {ICE_TIMING_CLIENT, {0, 250, 750, 1750, 3250, 4750, 6250, 7750, 9250}, 1500, 15250},
        {ICE_TIMING_CLIENT_IDLE, {0, 25000}, 25000, 100000},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct ice_pair pair;
        ice_pair_init(&pair, 0, 0, 1, at_ms(0));
        run_until_dead(&pair, &rows[i], 0);
    }
}

/* Answers every check after 20 ms until the pair is in its steady state. */
static uint64_t run_healthy(struct ice_pair *pair, const struct ice_timing *timing, size_t checks)
{
    struct instant due = ice_pair_due_at(pair);
    for (size_t n = 0; n < checks; n++) {
        ice_pair_sent(pair, n, timing, due);
        uint8_t slot;
        assert_true(ice_pair_find_txn(pair, n, &slot));
        ice_pair_answered(pair, slot, timing, instant_add(due, DURATION_MS(20)));
        due = ice_pair_due_at(pair);
    }
    return due.ns / NS_PER_MS - START_MS;
}

static void test_healthy_pairs_follow_the_table_of_section_5_15(void **state)
{
    (void)state;
    const struct schedule rows[] = {
        {timing_142, {0, 1500, 2000, 3000, 4500, 6000, 7500, 9000}, 1500, 10500},
        {timing_142_idle, {0, 60000}, 60000, 240000},
        {ICE_TIMING_GATEWAY, {0, 15000, 15500, 16500, 18500, 22500, 30500}, 15000, 615500},
        {ICE_TIMING_GATEWAY_IDLE, {0, 25000}, 25000, 1000000},
        {ICE_TIMING_CLIENT, {0, 1500, 2000, 3000, 4500, 6000}, 1500, 16500},
        {ICE_TIMING_CLIENT_IDLE, {0, 25000}, 25000, 100000},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct ice_pair pair;
        ice_pair_init(&pair, 0, 0, 1, at_ms(0));
        uint64_t start_ms = run_healthy(&pair, &rows[i].timing, 60);
        run_until_dead(&pair, &rows[i], start_ms);
    }
}

static void test_answered_pairs_slow_down_to_the_steady_interval(void **state)
{
    (void)state;
    static const uint64_t expected[] = {250, 750, 1750, 3750, 7750, 15750, 30750, 45750};
    struct ice_timing timing = ICE_TIMING_GATEWAY;
    struct ice_pair pair;
    for (size_t n = 0; n < ARRAY_COUNT(expected); n++) {
        ice_pair_init(&pair, 0, 0, 1, at_ms(0));
        assert_int_equal(run_healthy(&pair, &timing, n + 1), expected[n]);
        assert_int_equal(pair.state, ICE_PAIR_SUCCEEDED);
    }
}

static void test_the_delay_of_45_attempts_does_not_overflow(void **state)
{
    (void)state;
    struct ice_timing timing = ICE_TIMING_GATEWAY;
    assert_int_equal(ice_timing_delay(&timing, 0).ns, 0);
    assert_int_equal(ice_timing_delay(&timing, 1).ns, 250 * NS_PER_MS);
    assert_int_equal(ice_timing_delay(&timing, 6).ns, 8000 * NS_PER_MS);
    assert_int_equal(ice_timing_delay(&timing, 7).ns, 15000 * NS_PER_MS);
    for (uint32_t n = 7; n < 300; n++) {
        assert_int_equal(ice_timing_delay(&timing, n).ns, 15000 * NS_PER_MS);
    }
    timing.retransmits = 255;
    assert_int_equal(ice_timing_delay(&timing, UINT32_MAX).ns, 15000 * NS_PER_MS);
}

static void test_a_pair_lives_while_the_peer_asks(void **state)
{
    (void)state;
    struct ice_pair pair;
    ice_pair_init(&pair, 0, 0, 1, at_ms(0));
    while (!ice_pair_is_dead(&pair, &timing_142, ice_pair_due_at(&pair))) {
        ice_pair_sent(&pair, 1, &timing_142, ice_pair_due_at(&pair));
    }
    ice_pair_heard(&pair, false, at_ms(9000));
    assert_true(ice_pair_is_dead(&pair, &timing_142, at_ms(9250)));
    ice_pair_heard(&pair, true, at_ms(9000));
    assert_false(ice_pair_is_dead(&pair, &timing_142, at_ms(9250)));
    assert_false(ice_pair_is_dead(&pair, &timing_142, at_ms(23999)));
    assert_true(ice_pair_is_dead(&pair, &timing_142, at_ms(24000)));
}

static void test_an_answer_counts_once_and_only_for_the_last_eight_checks(void **state)
{
    (void)state;
    struct ice_timing timing = ICE_TIMING_GATEWAY;
    struct ice_pair pair;
    ice_pair_init(&pair, 0, 0, 1, at_ms(0));
    uint8_t slot;
    assert_false(ice_pair_find_txn(&pair, 0, &slot));
    for (uint64_t n = 0; n < 20; n++) {
        ice_pair_sent(&pair, n, &timing, at_ms(n * 1000));
    }
    for (uint64_t n = 0; n < 12; n++) {
        assert_false(ice_pair_find_txn(&pair, n, &slot));
    }
    for (uint64_t n = 12; n < 20; n++) {
        assert_true(ice_pair_find_txn(&pair, n, &slot));
    }
    assert_true(ice_pair_find_txn(&pair, 15, &slot));
    ice_pair_answered(&pair, slot, &timing, at_ms(19001));
    assert_false(ice_pair_find_txn(&pair, 15, &slot));
    /* 16 to 19 are unanswered now, the first of them sent at 16 s. */
    assert_int_equal(pair.unanswered_count, 4);
    assert_int_equal(pair.unanswered_since.ns, at_ms(16000).ns);
    /* An older answer changes nothing about them. */
    assert_true(ice_pair_find_txn(&pair, 13, &slot));
    ice_pair_answered(&pair, slot, &timing, at_ms(19002));
    assert_int_equal(pair.unanswered_count, 4);
    assert_true(ice_pair_find_txn(&pair, 19, &slot));
    ice_pair_answered(&pair, slot, &timing, at_ms(19003));
    assert_int_equal(pair.unanswered_count, 0);
}

/* The original remembers up to R attempts with their times; this twin does, for R <= 8. */
struct twin {
    struct instant sent[8];
    bool answered[8];
    uint64_t txn[8];
    size_t count;
};

static void twin_sent(struct twin *twin, uint64_t txn, const struct ice_timing *timing,
                      struct instant now)
{
    if (twin->count == timing->retransmits) {
        for (size_t i = 1; i < twin->count; i++) {
            twin->sent[i - 1] = twin->sent[i];
            twin->answered[i - 1] = twin->answered[i];
            twin->txn[i - 1] = twin->txn[i];
        }
        twin->count--;
    }
    twin->sent[twin->count] = now;
    twin->answered[twin->count] = false;
    twin->txn[twin->count] = txn;
    twin->count++;
}

static struct instant twin_next(const struct twin *twin, const struct ice_timing *timing,
                                struct instant now)
{
    size_t trailing = 0;
    while (trailing < twin->count && !twin->answered[twin->count - 1 - trailing]) {
        trailing++;
    }
    uint64_t k = twin->count;
    if (trailing > 0 && now.ns - twin->sent[twin->count - trailing].ns > timing->rto_max.ns / 2) {
        k = trailing;
    }
    struct instant next =
        instant_add(twin->sent[twin->count - 1], ice_timing_delay(timing, (uint32_t)k));
    return instant_min(next, instant_add(now, timing->rto_max));
}

static void test_counters_schedule_as_a_list_of_attempts_does(void **state)
{
    (void)state;
    static const uint8_t seed[RNG_SEED_SIZE] = {7};
    struct rng rng;
    rng_init(&rng, seed);
    for (int run = 0; run < 200; run++) {
        struct ice_timing timing = {1 + rng_below(&rng, 8),
                                    {(1 + rng_below(&rng, 2000)) * NS_PER_MS},
                                    {(1 + rng_below(&rng, 500)) * NS_PER_MS}};
        struct ice_pair pair;
        struct twin twin = {.count = 0};
        struct instant now = at_ms(0);
        ice_pair_init(&pair, 0, 0, 1, now);
        for (uint64_t txn = 0; txn < 60; txn++) {
            now = instant_max(now, ice_pair_due_at(&pair));
            ice_pair_sent(&pair, txn, &timing, now);
            twin_sent(&twin, txn, &timing, now);
            assert_int_equal(pair.next_at.ns, twin_next(&twin, &timing, now).ns);
            if (rng_below(&rng, 3) != 0) {
                continue;
            }
            size_t which = rng_below(&rng, (uint32_t)twin.count);
            uint8_t slot;
            now = instant_add(now, DURATION_MS(rng_below(&rng, 100)));
            if (!twin.answered[which] && ice_pair_find_txn(&pair, twin.txn[which], &slot)) {
                twin.answered[which] = true;
                ice_pair_answered(&pair, slot, &timing, now);
                assert_int_equal(pair.next_at.ns, twin_next(&twin, &timing, now).ns);
            }
        }
    }
}

static void test_silence_is_relative_to_another_pair(void **state)
{
    (void)state;
    struct ice_pair a;
    struct ice_pair b;
    ice_pair_init(&a, 0, 0, 1, at_ms(0));
    ice_pair_init(&b, 0, 1, 1, at_ms(0));
    ice_pair_heard(&a, true, at_ms(0));
    assert_false(ice_pair_is_silent(&a, &b));
    ice_pair_heard(&b, true, at_ms(1000));
    ice_pair_heard(&b, true, at_ms(1250));
    ice_pair_heard(&b, false, at_ms(1750));
    assert_false(ice_pair_is_silent(&a, &b)); /* often enough, not long enough */
    ice_pair_heard(&b, true, at_ms(3999));
    assert_false(ice_pair_is_silent(&a, &b));
    ice_pair_heard(&b, true, at_ms(4000));
    assert_true(ice_pair_is_silent(&a, &b));
    assert_false(ice_pair_is_silent(&b, &a));
    ice_pair_heard(&a, true, at_ms(4001));
    assert_false(ice_pair_is_silent(&a, &b));
    /* Two idle pairs heard in turn are both alive. */
    for (uint64_t t = 5000; t < 300000; t += 25000) {
        ice_pair_heard(&a, true, at_ms(t));
        assert_false(ice_pair_is_silent(&b, &a));
        ice_pair_heard(&b, true, at_ms(t + 12000));
        assert_false(ice_pair_is_silent(&a, &b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_pairs_follow_the_table_of_section_5_15),
        cmocka_unit_test(test_healthy_pairs_follow_the_table_of_section_5_15),
        cmocka_unit_test(test_answered_pairs_slow_down_to_the_steady_interval),
        cmocka_unit_test(test_the_delay_of_45_attempts_does_not_overflow),
        cmocka_unit_test(test_a_pair_lives_while_the_peer_asks),
        cmocka_unit_test(test_an_answer_counts_once_and_only_for_the_last_eight_checks),
        cmocka_unit_test(test_counters_schedule_as_a_list_of_attempts_does),
        cmocka_unit_test(test_silence_is_relative_to_another_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
