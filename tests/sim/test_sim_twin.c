/* Two processes with one id and token in a world: the portal of 2024 serves both and says
 * everything to both, today's serves the first until its connection ends. */
#include "tests/support/support.h"

#include "sim/sim_world_internal.h"

#define BOTH_NS  (20 * NS_PER_S) /* the second one has been there for a while */
#define QUICK_S  90U /* while it takes the first for its own connection of before, and a bit */
#define ASKING_S UINT64_C(240) /* it goes on asking */

static struct sim_list list_of(struct sim_action *actions, size_t count, bool head)
{
    struct sim_list list = {.seed = 7, .options = sim_options_default()};
    list.options.head_portal = head ? 1 : 0;
    list.options.head_clients = head ? 1 : 0;
    list.actions = actions;
    list.count = count;
    return list;
}

/* A world that has done what the list says up to BOTH_NS. */
static struct sim_world *world_at_both(const struct sim_list *list)
{
    struct sim_world_config config = {.list = list};
    struct sim_world *world = sim_world_new(&config);
    for (size_t i = 0; i < list->count && list->actions[i].at_ns < BOTH_NS; i++) {
        world_run_until(world, list->actions[i].at_ns);
        world_act(world, &list->actions[i]);
    }
    world_run_until(world, BOTH_NS);
    assert_null(world->failure.oracle);
    return world;
}

static bool knows_the_client(struct sim_world *world, uint32_t index)
{
    return gateway_counters(sim_gateway_core(world->gateways[index].gateway))->clients > 0;
}

static struct sim_action start_and_probe[] = {
    {5 * NS_PER_S, SIM_ACTION_twin_start, 0, 0, 0, 0},
    {10 * NS_PER_S, SIM_ACTION_probe, 0, 0, 0, 32},
};

static void test_the_portal_of_2024_serves_both(void **state)
{
    (void)state;
    struct sim_list list = list_of(start_and_probe, ARRAY_COUNT(start_and_probe), false);
    struct sim_world *world = world_at_both(&list);
    assert_true(world->gateways[0].joined);
    assert_true(world->gateways[SIM_TWIN].joined);
    assert_true(knows_the_client(world, 0));
    assert_true(knows_the_client(world, SIM_TWIN));
    /* Each is entitled by what it was told itself. */
    struct sim_grant grant = {world->policy.clients[0].id,
                              world->policy.resources[world->targets[0].resource].id, 0, 0};
    const struct sim_resource *form;
    assert_int_equal(sim_model_standing(world->model, &grant, 0, &form), SIM_STANDING_GOOD);
    grant.gateway = SIM_TWIN;
    assert_int_equal(sim_model_standing(world->model, &grant, 0, &form), SIM_STANDING_GOOD);
    sim_world_free(world);
}

static void test_the_portal_of_today_serves_the_first(void **state)
{
    (void)state;
    struct sim_list list = list_of(start_and_probe, ARRAY_COUNT(start_and_probe), true);
    struct sim_world *world = world_at_both(&list);
    assert_true(world->gateways[0].joined);
    assert_false(world->gateways[SIM_TWIN].joined);
    assert_true(knows_the_client(world, 0));
    struct sim_grant grant = {world->policy.clients[0].id,
                              world->policy.resources[world->targets[0].resource].id, SIM_TWIN, 0};
    const struct sim_resource *form;
    assert_int_equal(sim_model_standing(world->model, &grant, 0, &form), SIM_STANDING_STALE);
    /* The second one asks less and less often, but does not stop. */
    struct gateway *twin = sim_gateway_core(world->gateways[SIM_TWIN].gateway);
    world_run_until(world, BOTH_NS + QUICK_S * NS_PER_S);
    uint64_t asked = gateway_counters(twin)->portal_losses;
    world_run_until(world, BOTH_NS + (QUICK_S + ASKING_S) * NS_PER_S);
    asked = gateway_counters(twin)->portal_losses - asked;
    assert_in_range(asked, ASKING_S / 16, ASKING_S / 8 + 1);
    assert_true(world->gateways[0].joined);
    /* The first one goes: the other takes its place within its waiting time, and loses it to
     * nobody. */
    uint64_t gone_ns = BOTH_NS + (QUICK_S + ASKING_S) * NS_PER_S;
    sim_gateway_crash(world->gateways[0].gateway);
    world_run_until(world, gone_ns + (37 + 16 + 5) * NS_PER_S);
    assert_true(world->gateways[SIM_TWIN].joined);
    sim_gateway_start(world->gateways[0].gateway);
    world_run_until(world, gone_ns + 70 * NS_PER_S);
    assert_false(world->gateways[0].joined);
    assert_true(world->gateways[SIM_TWIN].joined);
    assert_null(world->failure.oracle);
    sim_world_free(world);
}

/* Whatever happened, the one that stays serves everybody once the other has stopped. */
static void test_the_one_that_stays_serves_everybody(void **state)
{
    static struct sim_action actions[] = {
        {5 * NS_PER_S, SIM_ACTION_twin_start, 0, 3, 0, 0},
        {10 * NS_PER_S, SIM_ACTION_probe, 0, 0, 0, 32},
        {12 * NS_PER_S, SIM_ACTION_portal_end, 0, SIM_PORTAL_FIN, 0, 0},
        {30 * NS_PER_S, SIM_ACTION_probe, 0, 1, 1, 32},
        {35 * NS_PER_S, SIM_ACTION_twin_stop, 0, 1, 0, 0},
        {45 * NS_PER_S, SIM_ACTION_twin_start, 0, 0, 0, 0},
    };
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct sim_list list = list_of(actions, ARRAY_COUNT(actions), i == 1);
        struct sim_world_config config = {.list = &list};
        struct sim_world *world = sim_world_new(&config);
        const struct sim_failure *failure = sim_world_run(world);
        struct sim_report report;
        sim_world_report(world, &report);
        assert_null(failure->oracle);
        assert_int_equal(report.actions[SIM_ACTION_twin_start], 2);
        assert_int_equal(report.actions[SIM_ACTION_twin_stop], 1);
        assert_true(report.required > 0);
        assert_false(sim_gateway_is_running(world->gateways[SIM_TWIN].gateway));
        sim_world_free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_portal_of_2024_serves_both),
        cmocka_unit_test(test_the_portal_of_today_serves_the_first),
        cmocka_unit_test(test_the_one_that_stays_serves_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
