#include "tests/support/wg_vectors.h"

#include "crypto/rng.h"
#include "wg/wg_replay.h"

static void test_the_sequence_of_window_8192_is_judged_as_recorded(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    const cJSON *windows = vectors_member(vectors_member(root, "replay"), "windows");
    const cJSON *window = cJSON_GetArrayItem(windows, 1);
    assert_int_equal(vectors_number(window, "window"), WG_REPLAY_BITS);
    struct wg_replay replay;
    static struct wg_window bits;
    wg_replay_init(&replay, &bits);
    size_t count = 0;
    const cJSON *step = NULL;
    cJSON_ArrayForEach(step, vectors_member(window, "sequence"))
    {
        uint64_t counter = strtoull(cJSON_GetStringValue(cJSON_GetArrayItem(step, 0)), NULL, 10);
        const char *verdict = cJSON_GetStringValue(cJSON_GetArrayItem(step, 1));
        enum drop_reason want = strcmp(verdict, "ok") == 0    ? DROP_NONE
                                : strcmp(verdict, "old") == 0 ? DROP_WG_COUNTER
                                                              : DROP_WG_REPLAYED;
        assert_int_equal(wg_replay_check(&replay, counter), want);
        assert_int_equal(wg_replay_mark(&replay, counter), want);
        count++;
    }
    assert_int_equal(count, 238);
    cJSON_Delete(root);
}

/* The naive twin remembers every counter that it accepted. */
struct twin {
    uint64_t seen[20000];
    size_t count;
    uint64_t next;
};

static enum drop_reason twin_mark(struct twin *twin, uint64_t counter)
{
    if (counter >= WG_COUNTER_LIMIT) {
        return DROP_WG_COUNTER;
    }
    if (twin->next > WG_REPLAY_BITS && counter < twin->next - WG_REPLAY_BITS) {
        return DROP_WG_COUNTER;
    }
    for (size_t i = 0; i < twin->count; i++) {
        if (twin->seen[i] == counter) {
            return DROP_WG_REPLAYED;
        }
    }
    twin->seen[twin->count++] = counter;
    if (counter >= twin->next) {
        twin->next = counter + 1;
    }
    return DROP_NONE;
}

static uint64_t pick(struct rng *rng, uint64_t next)
{
    uint64_t near = next < 9000 ? rng_below(rng, 9000) : next - 9000 + rng_below(rng, 9020);
    switch (rng_below(rng, 40)) {
    case 0:
        return next + rng_below(rng, 20000); /* a jump, sometimes beyond the whole window */
    case 1:
        return next + 8191 + rng_below(rng, 3);
    case 2:
        return next < 8194 ? 0 : next - 8194 + rng_below(rng, 4);
    default:
        return near;
    }
}

static void run_twins(uint64_t start, uint8_t seed_byte)
{
    static struct twin twin;
    uint8_t seed[RNG_SEED_SIZE] = {seed_byte};
    struct rng rng;
    struct wg_replay replay;
    static struct wg_window bits;
    rng_init(&rng, seed);
    wg_replay_init(&replay, &bits);
    twin.count = 0;
    twin.next = 0;
    if (start > 0) {
        assert_int_equal(wg_replay_mark(&replay, start), twin_mark(&twin, start));
    }
    for (size_t i = 0; i < 8000; i++) {
        uint64_t counter = pick(&rng, twin.next);
        enum drop_reason checked = wg_replay_check(&replay, counter);
        enum drop_reason want = twin_mark(&twin, counter);
        assert_int_equal(checked, want);
        assert_int_equal(wg_replay_mark(&replay, counter), want);
        assert_int_equal(replay.next, twin.next);
    }
}

static void test_the_window_agrees_with_its_naive_twin(void **state)
{
    (void)state;
    run_twins(0, 1);
    run_twins(UINT64_C(1) << 40, 2);
    run_twins(WG_COUNTER_LIMIT - 5000, 3);
}

static void test_counters_from_the_limit_on_are_refused(void **state)
{
    (void)state;
    struct wg_replay replay;
    static struct wg_window bits;
    wg_replay_init(&replay, &bits);
    assert_true(WG_COUNTER_LIMIT == UINT64_C(18446744073709543423));
    assert_int_equal(wg_replay_mark(&replay, WG_COUNTER_LIMIT - 1), DROP_NONE);
    assert_int_equal(wg_replay_mark(&replay, WG_COUNTER_LIMIT), DROP_WG_COUNTER);
    assert_int_equal(wg_replay_mark(&replay, UINT64_MAX), DROP_WG_COUNTER);
    assert_int_equal(wg_replay_mark(&replay, 0), DROP_WG_COUNTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_sequence_of_window_8192_is_judged_as_recorded),
        cmocka_unit_test(test_the_window_agrees_with_its_naive_twin),
        cmocka_unit_test(test_counters_from_the_limit_on_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
