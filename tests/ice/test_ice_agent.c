#include "ice/ice_agent.h"

#include "tests/ice/ice_world.h"

static void assert_direct(const struct world *w)
{
    struct sock_addr client = world_mapped(&w->nodes[0]);
    struct sock_addr gateway = world_mapped(&w->nodes[1]);
    assert_false(w->nodes[0].path.relayed);
    assert_false(w->nodes[1].path.relayed);
    assert_true(sock_addr_equal(&w->nodes[0].path.local, &w->nodes[0].host));
    assert_true(sock_addr_equal(&w->nodes[1].path.local, &w->nodes[1].host));
    assert_true(sock_addr_equal(&w->nodes[0].path.remote, &gateway));
    assert_true(sock_addr_equal(&w->nodes[1].path.remote, &client));
}

static void test_two_agents_meet_directly_through_both_nats(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 1);
    ice_agent_handle_timeout(&w.nodes[0].agent, w.now);
    ice_agent_handle_timeout(&w.nodes[1].agent, w.now);
    world_add_all(&w);
    world_run(&w, 60);
    /* Both have a path within three round trips, whatever its quality. */
    assert_int_not_equal(w.nodes[0].selections, 0);
    assert_int_not_equal(w.nodes[1].selections, 0);
    world_run(&w, 2000);
    assert_direct(&w);
    assert_int_equal(w.nodes[1].disconnects, 0);
    assert_int_equal(w.nodes[0].disconnects, 0);
    assert_true(ice_agent_state(&w.nodes[1].agent) == ICE_CONNECTED ||
                ice_agent_state(&w.nodes[1].agent) == ICE_COMPLETED);
    struct ice_path path;
    assert_true(ice_agent_selected(&w.nodes[1].agent, &path));
    assert_true(sock_addr_equal(&path.remote, &w.nodes[1].path.remote));
    assert_int_not_equal(w.nodes[1].discovered, 0);
    /* Ten minutes later nothing has changed. */
    size_t selections = w.nodes[1].selections;
    world_run(&w, 600000);
    assert_direct(&w);
    assert_int_equal(w.nodes[1].selections, selections);
}

static void test_without_a_direct_way_the_relay_serves(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 2);
    w.nodes[0].is_cut = true;
    world_add_all(&w);
    world_run(&w, 3000);
    assert_true(w.nodes[0].path.relayed ||
                sock_addr_equal(&w.nodes[0].path.remote, &w.nodes[1].relay));
    /* Later the direct way opens, and candidates signalled again restart its checks. */
    w.nodes[0].is_cut = false;
    world_run(&w, 30000);
    assert_int_equal(w.nodes[1].disconnects, 0);
}

static void test_a_third_of_all_datagrams_may_be_lost(void **state)
{
    (void)state;
    for (uint8_t seed = 0; seed < 20; seed++) {
        static struct world w;
        world_init(&w, seed);
        w.loss_percent = 33;
        world_add_all(&w);
        world_run(&w, 15000);
        assert_int_equal(w.nodes[1].disconnects, 0);
        w.loss_percent = 0;
        world_run(&w, 10000);
        assert_direct(&w);
    }
}

static void test_the_path_dies_by_the_clients_clock_and_ours(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 3);
    world_add_all(&w);
    world_run(&w, 120000);
    w.loss_percent = 100;
    world_run(&w, 14000);
    assert_int_not_equal(ice_agent_state(&w.nodes[0].agent), ICE_DISCONNECTED);
    world_run(&w, 4100); /* 16.5 s after the first unanswered check, at most 1.5 s later */
    assert_int_equal(ice_agent_state(&w.nodes[0].agent), ICE_DISCONNECTED);
    world_run(&w, 581000);
    assert_int_not_equal(ice_agent_state(&w.nodes[1].agent), ICE_DISCONNECTED);
    world_run(&w, 32000);
    assert_int_equal(ice_agent_state(&w.nodes[1].agent), ICE_DISCONNECTED);
    assert_int_equal(w.nodes[1].disconnects, 1);
    assert_true(instant_is_never(ice_agent_poll_timeout(&w.nodes[1].agent).at));
}

static void test_a_rebound_nat_is_followed_though_the_priority_is_equal(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 4);
    world_add_host(&w, 0);
    world_add_host(&w, 1);
    world_add_srflx(&w, 1);
    /* The client is known as peer-reflexive only, so that each new port has the same priority. */
    w.nodes[1].opened_count = 0;
    for (uint16_t port = 0; port < 3; port++) {
        struct sock_addr outside = sock_addr_of(w.nodes[0].nat, (uint16_t)(52625 + port));
        w.nodes[1].opened[w.nodes[1].opened_count++] = outside;
    }
    world_run(&w, 5000);
    assert_direct(&w);
    w.nodes[0].port_offset = 1;
    w.nodes[0].opened_count = 0;
    world_run(&w, 10000);
    assert_direct(&w); /* 615 s by priority alone */
    w.nodes[0].port_offset = 2;
    w.nodes[0].opened_count = 0;
    world_run(&w, 10000);
    assert_direct(&w);
    assert_int_equal(w.nodes[1].selections, 3);
}

static void test_idle_agents_check_every_25_seconds_and_wake_up_at_once(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 5);
    world_add_host(&w, 0);
    world_add_srflx(&w, 0);
    world_add_host(&w, 1);
    world_add_srflx(&w, 1);
    world_run(&w, 700000); /* pairs of private addresses are dead by now */
    assert_int_equal(ice_agent_state(&w.nodes[1].agent), ICE_COMPLETED);
    ice_agent_set_idle(&w.nodes[1].agent, true, w.now);
    ice_agent_set_idle(&w.nodes[0].agent, true, w.now);
    world_drain(&w, 0);
    world_drain(&w, 1);
    world_run(&w, 25000);
    size_t checks = w.nodes[1].checks;
    world_run(&w, 250000);
    assert_int_equal(w.nodes[1].checks - checks, 10);
    /* Cached deadlines are computed anew: the next check comes at the active interval. */
    world_run(&w, 20000);
    checks = w.nodes[1].checks;
    ice_agent_set_idle(&w.nodes[1].agent, false, w.now);
    world_drain(&w, 1);
    assert_true(instant_reached(instant_add(w.now, DURATION_S(15)),
                                ice_agent_poll_timeout(&w.nodes[1].agent).at));
    world_run(&w, 15000);
    assert_true(w.nodes[1].checks > checks);
    assert_int_equal(w.nodes[1].disconnects, 0);
}

static void test_no_local_candidates_and_no_pairs_are_told_apart(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 6);
    struct ice_agent *gateway = &w.nodes[1].agent;
    assert_int_equal(ice_agent_state(gateway), ICE_NEW);
    assert_int_equal(ice_agent_poll_timeout(gateway).at.ns, w.now.ns);
    ice_agent_handle_timeout(gateway, w.now);
    assert_int_equal(ice_agent_state(gateway), ICE_CHECKING);
    assert_true(instant_is_never(ice_agent_poll_timeout(gateway).at));
    /* A remote candidate while we have none ourselves: a path is still possible. */
    struct sock_addr v6 = world_addr("[2001:db8::1]:5");
    struct ice_candidate remote = ice_candidate_host(&v6);
    assert_int_equal(ice_agent_add_remote(gateway, &remote, w.now), DROP_NONE);
    assert_int_equal(ice_agent_state(gateway), ICE_CHECKING);
    /* Only families that do not fit: disconnected, until a candidate that fits arrives. */
    struct ice_candidate local = ice_candidate_host(&w.nodes[1].host);
    assert_int_equal(ice_agent_add_local(gateway, &local, w.now), ERR_NONE);
    assert_int_equal(ice_agent_state(gateway), ICE_DISCONNECTED);
    struct ice_candidate fitting = ice_candidate_host(&w.nodes[0].host);
    assert_int_equal(ice_agent_add_remote(gateway, &fitting, w.now), DROP_NONE);
    assert_int_equal(ice_agent_state(gateway), ICE_CHECKING);
    /* Nobody who polls now has to know about the moment in between. */
    struct ice_event event;
    assert_true(ice_agent_poll_event(gateway, &event));
    assert_int_equal(event.kind, ICE_EVENT_STATE);
    assert_int_equal(event.state, ICE_CHECKING);
    assert_false(ice_agent_poll_event(gateway, &event));
}

static void test_due_checks_leave_in_order_of_deadline_then_priority(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 7);
    struct ice_agent *gateway = &w.nodes[1].agent;
    ice_agent_handle_timeout(gateway, w.now);
    struct ice_candidate local = ice_candidate_host(&w.nodes[1].host);
    assert_int_equal(ice_agent_add_local(gateway, &local, w.now), ERR_NONE);
    static const uint32_t priorities[] = {5, 9, 7};
    for (uint16_t i = 0; i < 3; i++) {
        struct sock_addr addr = sock_addr_of(ip_v4(192, 0, 2, 1), (uint16_t)(100 + i));
        struct ice_candidate remote = ice_candidate_host(&addr);
        remote.priority = priorities[i];
        assert_int_equal(ice_agent_add_remote(gateway, &remote, w.now), DROP_NONE);
    }
    static const uint16_t ports[] = {101, 102, 100};
    struct ice_transmit t;
    for (size_t i = 0; i < 3; i++) {
        assert_true(ice_agent_poll_transmit(gateway, &t));
        assert_int_equal(t.remote.port, ports[i]);
        assert_int_equal(load_be32(t.bytes.at + 8), 0x60000002U);
    }
    assert_false(ice_agent_poll_transmit(gateway, &t));
    ice_agent_handle_timeout(gateway, w.now);
    assert_false(ice_agent_poll_transmit(gateway, &t));
    /* USE-CANDIDATE for the last one: our answer, then its check before all others. */
    w.now = instant_add(w.now, DURATION_MS(250));
    struct sock_addr from = sock_addr_of(ip_v4(192, 0, 2, 1), 100);
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, true), DROP_NONE);
    assert_true(ice_agent_poll_transmit(gateway, &t));
    assert_int_equal(t.bytes.at[0], 1);
    assert_true(ice_agent_poll_transmit(gateway, &t));
    assert_int_equal(t.bytes.at[0], 0);
    assert_int_equal(t.remote.port, 100);
    assert_true(ice_agent_poll_transmit(gateway, &t));
    assert_int_equal(t.remote.port, 101);
    struct ice_path path;
    assert_true(ice_agent_selected(gateway, &path));
    assert_int_equal(path.remote.port, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_agents_meet_directly_through_both_nats),
        cmocka_unit_test(test_without_a_direct_way_the_relay_serves),
        cmocka_unit_test(test_a_third_of_all_datagrams_may_be_lost),
        cmocka_unit_test(test_the_path_dies_by_the_clients_clock_and_ours),
        cmocka_unit_test(test_a_rebound_nat_is_followed_though_the_priority_is_equal),
        cmocka_unit_test(test_idle_agents_check_every_25_seconds_and_wake_up_at_once),
        cmocka_unit_test(test_no_local_candidates_and_no_pairs_are_told_apart),
        cmocka_unit_test(test_due_checks_leave_in_order_of_deadline_then_priority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
