/* A gateway that loses its TUN device or its sockets in a world: who hears of it, and that its
 * supervisor starts one that serves again. */
#include "tests/support/support.h"

#include "sim/sim_world_internal.h"

#define LOSS_NS (20 * NS_PER_S)
#define LEFT_NS (2 * NS_PER_S) /* the leave is over */

/* A client of today with a tunnel to gateway 0, direct or by a relay. */
static struct sim_list list_of(struct sim_action *actions, size_t count, bool relayed)
{
    struct sim_list list = {.seed = 7, .options = sim_options_default()};
    list.options.head_portal = 1;
    list.options.head_clients = 1;
    list.options.relay_only = relayed ? 1 : 0;
    list.actions = actions;
    list.count = count;
    return list;
}

static bool has_link(struct sim_world *world)
{
    struct clock_pair now = world_now(world, &world->client_nodes[0]);
    return sim_client_status(world->clients[0], now, &world->policy.gateways[0].id).exists;
}

/* Loses it with a tunnel up, then lets the whole run go on to its end. */
static void lose(enum sim_action_kind what, bool relayed, unsigned goodbyes)
{
    struct sim_action actions[] = {
        {10 * NS_PER_S, SIM_ACTION_probe, 0, 0, 0, 32},
        {LOSS_NS, what, 0, 0, 0, 1000},
    };
    struct sim_list list = list_of(actions, ARRAY_COUNT(actions), relayed);
    struct sim_world_config config = {.list = &list};
    struct sim_world *world = sim_world_new(&config);
    world_run_until(world, actions[0].at_ns);
    world_act(world, &actions[0]);
    world_run_until(world, LOSS_NS);
    assert_true(has_link(world));
    world_act(world, &actions[1]);
    world_run_until(world, LOSS_NS + LEFT_NS);
    assert_null(world->failure.oracle);
    assert_false(sim_gateway_is_running(world->gateways[0].gateway));
    assert_int_equal(sim_gateway_exit_code(world->gateways[0].gateway), 1);
    assert_int_equal(sim_client_counters(world->clients[0])->goodbyes, goodbyes);
    assert_int_equal(has_link(world), goodbyes == 0);
    world_run_until(world, LOSS_NS + 20 * NS_PER_S);
    assert_true(sim_gateway_is_running(world->gateways[0].gateway));
    assert_true(world->gateways[0].joined);
    assert_null(world->failure.oracle);
    sim_world_free(world);
}

static void test_without_its_device_a_gateway_takes_leave_of_its_clients(void **state)
{
    (void)state;
    lose(SIM_ACTION_tun_gone, false, 1);
    lose(SIM_ACTION_tun_gone, true, 1);
}

static void test_without_sockets_a_gateway_ends_and_clients_find_out(void **state)
{
    (void)state;
    lose(SIM_ACTION_udp_gone, false, 0);
    lose(SIM_ACTION_udp_gone, true, 0);
}

/* Losses whenever they come, also before the portal is joined, and all that is promised after. */
static void test_what_is_lost_comes_back_with_the_next_process(void **state)
{
    static struct sim_action actions[] = {
        {0, SIM_ACTION_tun_gone, 0, 0, 0, 3000},
        {10 * NS_PER_S, SIM_ACTION_probe, 0, 0, 0, 32},
        {LOSS_NS, SIM_ACTION_udp_gone, 0, 0, 0, 0},
        {LOSS_NS, SIM_ACTION_gateway_shutdown, 0, 0, 0, 0},
        {40 * NS_PER_S, SIM_ACTION_tun_gone, 0, 0, 0, 12000},
        {40 * NS_PER_S, SIM_ACTION_udp_gone, 0, 0, 0, 0},
    };
    (void)state;
    for (uint32_t farewell = 0; farewell < 3; farewell++) {
        struct sim_list list = list_of(actions, ARRAY_COUNT(actions), farewell == 1);
        list.options.farewell = farewell;
        struct sim_world_config config = {.list = &list};
        struct sim_world *world = sim_world_new(&config);
        const struct sim_failure *failure = sim_world_run(world);
        struct sim_report report;
        sim_world_report(world, &report);
        assert_null(failure->oracle);
        assert_int_equal(report.actions[SIM_ACTION_udp_gone], 2);
        assert_true(report.required > 0);
        sim_world_free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_its_device_a_gateway_takes_leave_of_its_clients),
        cmocka_unit_test(test_without_sockets_a_gateway_ends_and_clients_find_out),
        cmocka_unit_test(test_what_is_lost_comes_back_with_the_next_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
