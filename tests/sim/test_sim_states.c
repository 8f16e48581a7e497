#include "sim/sim_states.h"

#include "tests/support/support.h"

static uint64_t states_of(const struct sim_states *states)
{
    return sim_states_count(sim_states_sets(states)->states);
}

static uint64_t pairs_of(const struct sim_states *states)
{
    return sim_states_count(sim_states_sets(states)->pairs);
}

static void each_state_and_each_pair_counts_once(void **state)
{
    struct sim_states *states = sim_states_new();
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        sim_states_event(states, 0, 1, EV_CONNECTION_NEW, 0, NS_PER_S);
        sim_states_event(states, 0, 1, EV_CONNECTION_PATH, 1, NS_PER_S); /* relayed */
        sim_states_event(states, 0, 1, EV_CONNECTION_PATH, 0, NS_PER_S); /* direct */
        sim_states_event(states, 0, 1, EV_CONNECTION_PATH, 0, NS_PER_S); /* nothing new */
    }
    /* none, relayed, direct, lost; and from lost to relayed, from direct to lost */
    assert_int_equal(states_of(states), 4);
    assert_int_equal(pairs_of(states), 4);
    sim_states_free(states);
}

static void everything_that_counts_makes_another_state(void **state)
{
    static const enum trace_id events[] = {EV_PORTAL_JOINED, EV_RELAY_READY,  EV_RELAY_READY,
                                           EV_AUTHORIZED,    EV_AUTHORIZED,   EV_CONNECTION_PATH,
                                           EV_HANDSHAKE,     EV_CONNECTION_UP};
    struct sim_states *states = sim_states_new();
    (void)state;
    sim_states_event(states, 0, 0, EV_CONNECTION_NEW, 0, NS_PER_S);
    for (uint32_t i = 0; i < ARRAY_COUNT(events); i++) {
        sim_states_event(states, 0, 0, events[i], 0, NS_PER_S);
        assert_int_equal(states_of(states), i + 2);
    }
    uint64_t before = states_of(states);
    sim_states_event(states, 0, 0, EV_DNS_QUERY, 0, 130 * NS_PER_S); /* older keys */
    assert_int_equal(states_of(states), before + 1);
    sim_states_fault(states, 3);
    sim_states_event(states, 0, 0, EV_DNS_QUERY, 0, 130 * NS_PER_S);
    assert_int_equal(states_of(states), before + 2);
    sim_states_client_edge(states, 0, 4);
    sim_states_gateway_edge(states, 0, 5);
    sim_states_event(states, 0, 0, EV_DNS_QUERY, 0, 130 * NS_PER_S);
    assert_int_equal(states_of(states), before + 3);
    sim_states_boot(states, 0);
    sim_states_event(states, 0, 0, EV_DNS_QUERY, 0, 130 * NS_PER_S);
    assert_int_equal(states_of(states), before + 4);
    assert_int_equal(pairs_of(states), states_of(states) - 1);
    sim_states_free(states);
}

static void an_event_of_the_gateway_moves_all_its_connections(void **state)
{
    struct sim_states *states = sim_states_new();
    (void)state;
    sim_states_client_edge(states, 2, 1);
    sim_states_event(states, 0, 0, EV_CONNECTION_NEW, 0, NS_PER_S);
    sim_states_event(states, 0, 2, EV_CONNECTION_NEW, 0, NS_PER_S);
    assert_int_equal(states_of(states), 2);
    sim_states_event(states, 0, SIM_CLIENTS_MAX, EV_PORTAL_JOINED, 0, NS_PER_S);
    assert_int_equal(states_of(states), 4);
    assert_int_equal(pairs_of(states), 2);
    sim_states_free(states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_state_and_each_pair_counts_once),
        cmocka_unit_test(everything_that_counts_makes_another_state),
        cmocka_unit_test(an_event_of_the_gateway_moves_all_its_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
