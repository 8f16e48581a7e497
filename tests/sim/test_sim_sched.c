#include "sim/sim_sched.h"

#include <string.h>

#include "sim/sim_rng.h"
#include "tests/support/support.h"

struct log {
    struct sim_sched *sched;
    uint64_t values[4096];
    uint64_t times[4096];
    size_t count;
};

static void record(void *context, uint64_t value)
{
    struct log *log = context;
    log->values[log->count] = value;
    log->times[log->count++] = log->sched->now_ns;
}

static void again(void *context, uint64_t value)
{
    struct log *log = context;
    record(log, value);
    if (value > 0) {
        sim_sched_in(log->sched, (struct duration){0}, again, log, value - 1);
    }
}

static void drain(struct sim_sched *sched)
{
    while (sim_sched_step(sched, UINT64_MAX - 1)) {
    }
}

static void test_equal_times_run_in_order_of_insertion(void **state)
{
    (void)state;
    struct sim_sched sched;
    sim_sched_init(&sched);
    static struct log log;
    memset(&log, 0, sizeof(log));
    log.sched = &sched;
    for (uint64_t i = 0; i < 100; i++) {
        sim_sched_at(&sched, 50, record, &log, i);
    }
    drain(&sched);
    assert_int_equal(log.count, 100);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(log.values[i] == i);
        assert_true(log.times[i] == 50);
    }
    sim_sched_free(&sched);
}

static void test_random_times_leave_sorted_and_stable(void **state)
{
    (void)state;
    struct sim_rng rng = sim_rng_of(11);
    struct sim_dice dice = sim_dice_of(&rng, 1);
    struct sim_sched sched;
    sim_sched_init(&sched);
    static struct log log;
    memset(&log, 0, sizeof(log));
    log.sched = &sched;
    uint64_t at[2000];
    for (uint64_t i = 0; i < 2000; i++) {
        at[i] = sim_dice_below(&dice, 100);
        sim_sched_at(&sched, at[i], record, &log, i);
    }
    drain(&sched);
    assert_int_equal(log.count, 2000);
    for (size_t i = 1; i < 2000; i++) {
        assert_true(log.times[i - 1] <= log.times[i]);
        bool same = log.times[i - 1] == log.times[i];
        assert_true(!same || log.values[i - 1] < log.values[i]);
        assert_true(log.times[i] == at[log.values[i]]);
    }
    sim_sched_free(&sched);
}

static void test_time_stops_at_the_limit_and_never_goes_back(void **state)
{
    (void)state;
    struct sim_sched sched;
    sim_sched_init(&sched);
    static struct log log;
    memset(&log, 0, sizeof(log));
    log.sched = &sched;
    sim_sched_at(&sched, 100, record, &log, 1);
    assert_false(sim_sched_step(&sched, 99));
    assert_true(sched.now_ns == 99);
    assert_true(sim_sched_step(&sched, 100));
    assert_true(sched.now_ns == 100);
    sim_sched_at(&sched, 5, record, &log, 2); /* the past is now */
    assert_true(sim_sched_step(&sched, 100));
    assert_true(log.times[1] == 100);
    sim_sched_at(&sched, UINT64_MAX, record, &log, 3);
    assert_true(sim_sched_next(&sched) == UINT64_MAX);
    sim_sched_free(&sched);
}

static void test_events_without_time_moving_are_counted(void **state)
{
    (void)state;
    struct sim_sched sched;
    sim_sched_init(&sched);
    static struct log log;
    memset(&log, 0, sizeof(log));
    log.sched = &sched;
    sim_sched_at(&sched, 7, again, &log, 20);
    while (sim_sched_step(&sched, 7)) {
    }
    assert_true(sched.ran_at_once == 20);
    sim_sched_at(&sched, 8, record, &log, 0);
    assert_true(sim_sched_step(&sched, 8));
    assert_true(sched.ran_at_once == 0);
    sim_sched_free(&sched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_times_run_in_order_of_insertion),
        cmocka_unit_test(test_random_times_leave_sorted_and_stable),
        cmocka_unit_test(test_time_stops_at_the_limit_and_never_goes_back),
        cmocka_unit_test(test_events_without_time_moving_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
