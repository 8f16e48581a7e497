/* Names in a world: what a client waits for when a resolver answers for one family only. */
#include "tests/support/support.h"

#include "sim/sim_world_internal.h"

#define ASKED_NS (5 * NS_PER_S)

/* Runs a world whose resolver answers `spared` alone, with one probe to a name; returns how many of
 * it were replied to `wait_ns` after it was sent. */
static uint64_t replies_within(uint32_t spared, uint64_t wait_ns)
{
    struct sim_action probe = {ASKED_NS, SIM_ACTION_probe, 0, 0, 0, 32};
    struct sim_list list = {.seed = 5, .options = sim_options_default()};
    struct sim_dns_behaviour behaviour = {.failure = SIM_DNS_TIMEOUT, .spared = spared};
    struct sim_report report;
    list.options.cidr_v4 = 0;
    list.options.cidr_v6 = 0;
    list.options.dns_resources = 1;
    list.actions = &probe;
    list.count = 1;
    struct sim_world_config config = {.list = &list};
    struct sim_world *world = sim_world_new(&config);
    assert_int_equal(sim_dns_behave(world->dns, "", &behaviour), ERR_NONE);
    assert_true(world->names[0].has_v4 && world->names[0].has_v6);
    world_run_until(world, ASKED_NS);
    world_act(world, &probe); /* the first one asks for the name */
    world_run_until(world, ASKED_NS + NS_PER_S / 10);
    world_act(world, &probe);
    world_run_until(world, ASKED_NS + wait_ns);
    sim_world_report(world, &report);
    assert_null(world->failure.oracle);
    assert_int_equal(report.probes, 1);
    sim_world_free(world);
    return report.probes_replied;
}

static void test_one_family_without_answers_costs_a_moment(void **state)
{
    (void)state;
    uint32_t both = 1U << SIM_DNS_A | 1U << SIM_DNS_AAAA;
    assert_int_equal(replies_within(both, 3 * NS_PER_S), 1);
    assert_int_equal(replies_within(1U << SIM_DNS_A, 3 * NS_PER_S), 1);
    assert_int_equal(replies_within(1U << SIM_DNS_AAAA, 3 * NS_PER_S), 1);
    assert_int_equal(replies_within(0, 3 * NS_PER_S), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_family_without_answers_costs_a_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
