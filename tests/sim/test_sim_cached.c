#include "sim/sim_cached.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_seen.h"
#include "tests/support/support.h"

/* The oracle, the time, and what it said. */
struct bench {
    struct sim_cached *cached;
    struct seen_verdict verdict;
    uint32_t lookups;
};

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    struct sim_judge_config config = {&bench->verdict, seen_failed, NULL};
    bench->cached = sim_cached_new(&config);
    bench->verdict.now_ns = 100 * NS_PER_S;
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    sim_cached_free(bench->cached);
    free(bench);
    return 0;
}

static void want(struct bench *bench, const char *name)
{
    sim_cached_wanted(bench->cached, 0, view_text(name), bench->verdict.now_ns);
}

static void serve(struct bench *bench, const char *name)
{
    sim_cached_served(bench->cached, 0, view_text(name), bench->verdict.now_ns);
}

static void wait_s(struct bench *bench, uint32_t seconds)
{
    bench->verdict.now_ns += seconds * NS_PER_S;
}

/* A request for which the resolver is asked: IPv4 addresses of `ttl_s`, IPv6 of 300 s. */
static void look_up(struct bench *bench, const char *name, bool failed, uint32_t ttl_s)
{
    want(bench, name);
    sim_cached_asked(bench->cached, 0, view_text(name), ++bench->lookups);
    sim_cached_asked(bench->cached, 0, view_text(name), ++bench->lookups);
    wait_s(bench, 1);
    sim_cached_answered(bench->cached, 0, bench->lookups, failed, failed ? UINT32_MAX : 300);
    sim_cached_answered(bench->cached, 0, bench->lookups - 1, false, ttl_s);
    serve(bench, name);
}

/* A request that is served at once. */
static void remember(struct bench *bench, const char *name)
{
    want(bench, name);
    serve(bench, name);
}

static void expect(const struct bench *bench, const char *oracle)
{
    assert_string_equal(bench->verdict.oracle, oracle);
}

static void what_is_fresh_is_remembered(void **state)
{
    struct bench *bench = *state;
    look_up(bench, "a.example", false, 60);
    wait_s(bench, 59);
    remember(bench, "A.example");
    expect(bench, "");
}

static void what_is_old_is_noticed(void **state)
{
    struct bench *bench = *state;
    look_up(bench, "a.example", false, 60);
    wait_s(bench, 61);
    remember(bench, "a.example");
    expect(bench, "O-19");
}

static void what_failed_is_noticed(void **state)
{
    struct bench *bench = *state;
    look_up(bench, "a.example", true, 60);
    remember(bench, "a.example");
    expect(bench, "O-19");
}

static void a_failure_takes_nothing_back(void **state)
{
    struct bench *bench = *state;
    look_up(bench, "a.example", false, 60);
    look_up(bench, "a.example", true, 60);
    remember(bench, "a.example");
    expect(bench, "");
}

static void another_name_is_noticed(void **state)
{
    struct bench *bench = *state;
    look_up(bench, "a.example", false, 60);
    remember(bench, "b.example");
    expect(bench, "O-19");
}

static void a_new_process_remembers_nothing(void **state)
{
    struct bench *bench = *state;
    look_up(bench, "a.example", false, 60);
    sim_cached_boot(bench->cached, 0);
    remember(bench, "a.example");
    expect(bench, "O-19");
}

#define CACHED_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CACHED_TEST(what_is_fresh_is_remembered), CACHED_TEST(what_is_old_is_noticed),
        CACHED_TEST(what_failed_is_noticed),      CACHED_TEST(a_failure_takes_nothing_back),
        CACHED_TEST(another_name_is_noticed),     CACHED_TEST(a_new_process_remembers_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
