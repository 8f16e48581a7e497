#include "sim/sim_fault.h"

#include <string.h>

#include "tests/support/support.h"

#define VISITS 1000U

static uint32_t count(const struct fault_hook *hook, enum fault_id id)
{
    uint32_t fired = 0;
    for (uint32_t i = 0; i < VISITS; i++) {
        fired += hook->fires(hook->self, id) ? 1 : 0;
    }
    return fired;
}

static void what_is_not_armed_never_fires(void **state)
{
    struct sim_rng rng = sim_rng_of(1);
    struct sim_fault fault;
    (void)state;
    sim_fault_init(&fault, &rng, 0, 0);
    assert_null(sim_fault_boot(&fault, 0));
    sim_fault_init(&fault, &rng, 0, 1U << FAULT_WAKE_EARLY);
    const struct fault_hook *hook = sim_fault_boot(&fault, 0);
    assert_int_equal(count(hook, FAULT_TRAIN_ALONE), 0);
    assert_in_range(count(hook, FAULT_WAKE_EARLY), 60, 140); /* ten percent */
    assert_int_equal(fault.fired[FAULT_TRAIN_ALONE], 0);
    assert_in_range(fault.fired[FAULT_WAKE_EARLY], 60, 140);
}

static void a_healed_world_has_only_what_costs_nothing(void **state)
{
    struct sim_rng rng = sim_rng_of(1);
    struct sim_fault fault;
    (void)state;
    sim_fault_init(&fault, &rng, 0, UINT32_MAX);
    const struct fault_hook *hook = sim_fault_boot(&fault, 0);
    assert_int_equal(count(hook, FAULT_HASH_SAME), VISITS);
    assert_in_range(count(hook, FAULT_LOOKUPS_FULL), 200, 300);
    fault.calm = true;
    assert_int_equal(count(hook, FAULT_HASH_SAME), VISITS);
    assert_in_range(count(hook, FAULT_TRAIN_ALONE), 400, 600);
    assert_int_equal(count(hook, FAULT_LOOKUPS_FULL), 0);
}

static void a_point_draws_from_its_own_stream(void **state)
{
    struct sim_rng rng = sim_rng_of(1);
    struct sim_fault alone;
    struct sim_fault both;
    (void)state;
    sim_fault_init(&alone, &rng, 1, 1U << FAULT_TRAIN_ALONE);
    sim_fault_init(&both, &rng, 1, 1U << FAULT_TRAIN_ALONE | 1U << FAULT_PORT_MAP);
    const struct fault_hook *a = sim_fault_boot(&alone, 3);
    const struct fault_hook *b = sim_fault_boot(&both, 3);
    for (uint32_t i = 0; i < VISITS; i++) {
        (void)b->fires(b->self, FAULT_PORT_MAP);
        assert_int_equal(a->fires(a->self, FAULT_TRAIN_ALONE),
                         b->fires(b->self, FAULT_TRAIN_ALONE));
    }
    /* Another boot draws anew. */
    uint32_t differs = 0;
    (void)sim_fault_boot(&alone, 3);
    (void)sim_fault_boot(&both, 4);
    for (uint32_t i = 0; i < VISITS; i++) {
        bool same = a->fires(a->self, FAULT_TRAIN_ALONE) == b->fires(b->self, FAULT_TRAIN_ALONE);
        differs += same ? 0 : 1;
    }
    assert_in_range(differs, 400, 600);
}

static void names_are_unique(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FAULT_COUNT; i++) {
        for (uint32_t k = 0; k < i; k++) {
            assert_string_not_equal(sim_fault_name(i), sim_fault_name(k));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_armed_never_fires),
        cmocka_unit_test(a_healed_world_has_only_what_costs_nothing),
        cmocka_unit_test(a_point_draws_from_its_own_stream),
        cmocka_unit_test(names_are_unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
