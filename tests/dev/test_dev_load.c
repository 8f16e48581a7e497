#include "sim/dev/dev_load.h"

#include "base/time.h"
#include "tests/support/support.h"

static const struct load_plan example = {.down = true,
                                         .gso = true,
                                         .size = 64,
                                         .flows = 3,
                                         .burst_min = 10,
                                         .burst_max = 40,
                                         .rate = 100000,
                                         .ms = 1000};

static void test_a_plan_arrives_as_it_was_made_and_a_wrong_one_does_not(void **state)
{
    (void)state;
    uint8_t bytes[LOAD_PLAN_SIZE];
    uint8_t again[LOAD_PLAN_SIZE];
    struct load_plan got;
    load_plan_put(&example, bytes);
    assert_true(load_plan_get(bytes, &got));
    load_plan_put(&got, again);
    assert_memory_equal(again, bytes, sizeof bytes);
    assert_true(got.down && got.gso && got.size == 64 && got.flows == 3 && got.burst_min == 10 &&
                got.burst_max == 40 && got.rate == 100000 && got.ms == 1000);
    const struct load_plan wrong[] = {
        {.size = 7, .flows = 1, .burst_min = 1, .burst_max = 1, .rate = 1, .ms = 1},
        {.size = 1453, .flows = 1, .burst_min = 1, .burst_max = 1, .rate = 1, .ms = 1},
        {.size = 64, .flows = 0, .burst_min = 1, .burst_max = 1, .rate = 1, .ms = 1},
        {.size = 64, .flows = 65, .burst_min = 1, .burst_max = 1, .rate = 1, .ms = 1},
        {.size = 64, .flows = 1, .burst_min = 2, .burst_max = 1, .rate = 1, .ms = 1},
        {.size = 64, .flows = 1, .burst_min = 1, .burst_max = 65, .rate = 1, .ms = 1},
        {.size = 64, .flows = 1, .burst_min = 1, .burst_max = 1, .rate = 0, .ms = 1},
        {.size = 64, .flows = 1, .burst_min = 1, .burst_max = 1, .rate = 1, .ms = 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        load_plan_put(&wrong[i], bytes);
        assert_false(load_plan_get(bytes, &got));
    }
    load_plan_put(&example, bytes);
    bytes[0] ^= 1U;
    assert_false(load_plan_get(bytes, &got));
}

static void arrive(struct load_tally *tally, uint16_t flow, uint32_t number)
{
    uint8_t bytes[LOAD_HEADER_SIZE];
    load_header_put(bytes, flow, number);
    load_count(tally, VIEW_OF(bytes));
}

static void test_disorder_is_counted_flow_by_flow(void **state)
{
    (void)state;
    struct load_tally tally = {0};
    arrive(&tally, 0, 0);
    arrive(&tally, 1, 5);
    arrive(&tally, 0, 1);
    assert_int_equal(tally.disorder, 0);
    arrive(&tally, 0, 4); /* a gap is loss, not disorder */
    assert_int_equal(tally.disorder, 0);
    arrive(&tally, 0, 2);
    arrive(&tally, 0, 4); /* twice the same */
    arrive(&tally, 1, 6);
    assert_int_equal(tally.disorder, 2);
    assert_int_equal(tally.received, 7);
}

static void test_what_is_not_ours_does_not_count(void **state)
{
    (void)state;
    struct load_tally tally = {0};
    uint8_t bytes[LOAD_HEADER_SIZE];
    load_count(&tally, view_text("h"));
    load_count(&tally, view_text("something else"));
    load_header_put(bytes, LOAD_FLOWS_MAX, 0);
    load_count(&tally, VIEW_OF(bytes));
    assert_int_equal(tally.received, 0);
}

static enum load_verdict judged(uint64_t sent, uint64_t received, uint64_t ms)
{
    struct load_result result = {{sent, ms * NS_PER_MS}, received, 0};
    return load_judge(&example, &result);
}

static void test_a_thousandth_may_be_lost(void **state)
{
    (void)state;
    assert_int_equal(judged(100000, 100000, 1000), LOAD_PASSED);
    assert_int_equal(judged(100000, 99900, 1000), LOAD_PASSED);
    assert_int_equal(judged(100000, 99899, 1000), LOAD_LOST);
    assert_int_equal(judged(90000, 90000, 1000), LOAD_PASSED);
    assert_int_equal(judged(89999, 89999, 1000), LOAD_LAGGED);
    assert_int_equal(judged(89999, 80000, 1000), LOAD_LOST);
    assert_int_equal(judged(0, 0, 1000), LOAD_LOST);
    assert_int_equal(judged(1000, 1001, 10), LOAD_LOST); /* more than was sent: not believed */
}

/* What a search finds on a path that carries `limit`, and how many runs it takes. */
static uint32_t found(uint32_t limit, uint32_t *runs)
{
    struct load_search search;
    load_search_start(&search, 10000);
    *runs = 0;
    bool more = true;
    while (more) {
        (*runs)++;
        more = load_search_next(&search, search.next <= limit ? LOAD_PASSED : LOAD_LOST);
    }
    return search.good;
}

static void test_a_search_comes_within_an_eighth_of_the_limit(void **state)
{
    (void)state;
    uint32_t runs;
    for (uint32_t limit = 10000; limit < 2000000; limit += limit / 3U) {
        uint32_t good = found(limit, &runs);
        assert_true(good <= limit);
        assert_true(good + good / 8U + 1U >= limit);
        assert_true(runs <= 20);
    }
    assert_true(found(2000, &runs) <= 2000); /* below where it begins */
}

static void test_one_accident_does_not_end_a_search(void **state)
{
    (void)state;
    struct load_search search;
    load_search_start(&search, 10000);
    assert_true(load_search_next(&search, LOAD_LOST));
    assert_int_equal(search.next, 10000);
    assert_true(load_search_next(&search, LOAD_PASSED));
    assert_int_equal(search.next, 20000);
    assert_true(load_search_next(&search, LOAD_LAGGED));
    assert_int_equal(search.next, 20000);
    assert_false(load_search_next(&search, LOAD_LAGGED));
    assert_true(search.lagged);
    assert_int_equal(search.good, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plan_arrives_as_it_was_made_and_a_wrong_one_does_not),
        cmocka_unit_test(test_disorder_is_counted_flow_by_flow),
        cmocka_unit_test(test_what_is_not_ours_does_not_count),
        cmocka_unit_test(test_a_thousandth_may_be_lost),
        cmocka_unit_test(test_a_search_comes_within_an_eighth_of_the_limit),
        cmocka_unit_test(test_one_accident_does_not_end_a_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
