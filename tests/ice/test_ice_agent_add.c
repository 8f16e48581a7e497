#include "ice/ice_agent.h"

#include "tests/ice/ice_world.h"

static struct ice_candidate remote_of(enum ice_kind kind, uint16_t port)
{
    struct sock_addr addr = sock_addr_of(ip_v4(192, 0, 2, 1), port);
    struct ice_candidate c = ice_candidate_host(&addr);
    c.kind = (uint8_t)kind;
    c.priority = ice_priority(kind, 65534);
    return c;
}

/* A gateway's agent with one host candidate. */
static struct ice_agent *gateway_of(struct world *w)
{
    world_init(w, 1);
    struct ice_agent *agent = &w->nodes[1].agent;
    struct ice_candidate host = ice_candidate_host(&w->nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &host, w->now), ERR_NONE);
    return agent;
}

static void test_local_candidates_get_the_priorities_of_the_head_gateway(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct sock_addr mapped = world_mapped(&w.nodes[1]);
    struct ice_candidate srflx = ice_candidate_srflx(&mapped, &w.nodes[1].host);
    struct sock_addr relay4 = world_addr("203.0.113.10:55730");
    struct sock_addr relay6 = world_addr("[2001:db8:113::10]:55730");
    struct ice_candidate r4 = ice_candidate_relay(&relay4, IP_V4);
    struct ice_candidate r6 = ice_candidate_relay(&relay6, IP_V4);
    assert_int_equal(ice_agent_add_local(agent, &srflx, w.now), ERR_NONE);
    assert_int_equal(ice_agent_add_local(agent, &r4, w.now), ERR_NONE);
    assert_int_equal(ice_agent_add_local(agent, &r6, w.now), ERR_NONE);
    assert_int_equal(srflx.priority, 1686109951);
    assert_int_equal(r4.priority, 37748479);
    assert_int_equal(r6.priority, 37492735);
    assert_true(view_equal_text(ice_candidate_ufrag(&r4), "7ddg"));
    /* The second relayed one of a family loses two, also after the first has gone. */
    struct sock_addr other = world_addr("203.0.113.11:1");
    struct ice_candidate second = ice_candidate_relay(&other, IP_V4);
    assert_true(ice_agent_invalidate_local(agent, &r4, w.now));
    assert_int_equal(ice_agent_add_local(agent, &second, w.now), ERR_NONE);
    assert_int_equal(second.priority, 37748479 - 2 * 256);

    size_t cursor = 0;
    assert_int_equal(ice_agent_next_local(agent, &cursor)->kind, ICE_HOST);
    assert_int_equal(ice_agent_next_local(agent, &cursor)->kind, ICE_SRFLX);
    assert_int_equal(ice_agent_next_local(agent, &cursor)->priority, 37492735);
    assert_int_equal(ice_agent_next_local(agent, &cursor)->priority, second.priority);
    assert_null(ice_agent_next_local(agent, &cursor));
}

static void test_a_local_candidate_is_new_once_and_again_after_its_loss(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct ice_candidate host = ice_candidate_host(&w.nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &host, w.now), ERR_EXISTS);
    /* A gateway without NAT sees its own address: nothing new to tell. */
    struct ice_candidate srflx = ice_candidate_srflx(&w.nodes[1].host, &w.nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &srflx, w.now), ERR_EXISTS);
    struct ice_candidate remote = remote_of(ICE_HOST, 7);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    assert_int_equal(agent->pairs_count, 1);
    assert_true(ice_agent_invalidate_local(agent, &host, w.now));
    assert_false(ice_agent_invalidate_local(agent, &host, w.now));
    assert_int_equal(agent->pairs_count, 0);
    host = ice_candidate_host(&w.nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &host, w.now), ERR_NONE);
    assert_int_equal(host.priority, 2130706175);
    assert_int_equal(agent->pairs_count, 1);
    assert_int_equal(agent->locals_count, 1);
}

static void test_srflx_candidates_form_no_pairs_beside_their_base(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct ice_candidate remote = remote_of(ICE_HOST, 7);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    struct sock_addr mapped = world_mapped(&w.nodes[1]);
    struct ice_candidate srflx = ice_candidate_srflx(&mapped, &w.nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &srflx, w.now), ERR_NONE);
    assert_int_equal(agent->pairs_count, 1);
    assert_int_equal(agent->locals[agent->pairs[0].local].kind, ICE_HOST);
}

static void test_a_better_candidate_replaces_its_pair_and_inherits_the_nomination(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 1);
    struct ice_agent *agent = &w.nodes[1].agent;
    struct ice_candidate host = ice_candidate_host(&w.nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &host, w.now), ERR_NONE);
    struct ice_candidate srflx = remote_of(ICE_SRFLX, 7);
    assert_int_equal(ice_agent_add_remote(agent, &srflx, w.now), DROP_NONE);
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &srflx.addr, true), DROP_NONE);
    world_drain(&w, 1);
    assert_int_equal(w.nodes[1].selections, 1);
    assert_int_equal(agent->pairs[0].nomination, ICE_ATTEMPT_SENT);
    uint32_t id = agent->pairs[0].id;
    struct ice_candidate better = remote_of(ICE_HOST, 7);
    assert_int_equal(ice_agent_add_remote(agent, &better, w.now), DROP_NONE);
    assert_int_equal(agent->pairs_count, 1);
    assert_int_not_equal(agent->pairs[0].id, id);
    assert_int_equal(agent->pairs[0].nomination, ICE_NOMINATED);
    assert_int_equal(agent->pairs[0].attempts_count, 0);
    world_drain(&w, 1);
    assert_int_equal(w.nodes[1].selections, 1); /* the same path is not reported again */
    /* A worse one at the same address changes nothing. */
    id = agent->pairs[0].id;
    struct ice_candidate worse = remote_of(ICE_RELAY, 7);
    assert_int_equal(ice_agent_add_remote(agent, &worse, w.now), DROP_NONE);
    assert_int_equal(agent->pairs[0].id, id);
}

static void test_remote_candidates_are_judged_by_ufrag_and_forget_it(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct ice_candidate remote = remote_of(ICE_HOST, 7);
    ice_candidate_set_ufrag(&remote, view_text("zzzz"));
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_ICE_CANDIDATE);
    assert_true(ice_agent_remote_is_empty(agent));
    ice_candidate_set_ufrag(&remote, view_text("k5fd"));
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    assert_false(ice_agent_remote_is_empty(agent));
    assert_int_equal(agent->remotes[0].ufrag_size, 0);
    remote.addr.ip = ip_v4(224, 0, 0, 1);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_ICE_CANDIDATE);
}

static void test_signalled_candidate_takes_the_place_of_the_discovered_one(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct sock_addr from = sock_addr_of(ip_v4(192, 0, 2, 1), 7);
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, false), DROP_NONE);
    world_drain(&w, 1);
    assert_int_equal(agent->remotes[0].kind, ICE_PRFLX);
    assert_true(agent->remotes[0].temporary);
    uint32_t id = agent->pairs[0].id;
    struct ice_candidate srflx = remote_of(ICE_SRFLX, 7);
    assert_int_equal(ice_agent_add_remote(agent, &srflx, w.now), DROP_NONE);
    assert_int_equal(agent->remotes_count, 1);
    assert_int_equal(agent->remotes[0].kind, ICE_SRFLX);
    assert_false(agent->remotes[0].temporary);
    assert_int_equal(agent->pairs_count, 1);
    assert_int_equal(agent->pairs[0].id, id); /* its checks go on */
    assert_int_equal(agent->pairs[0].attempts_count, 1);
}

static void test_a_candidate_whose_pairs_have_died_is_checked_again(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    ice_agent_handle_timeout(agent, w.now);
    struct ice_candidate remote = remote_of(ICE_HOST, 7);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    world_drain(&w, 1);
    world_run(&w, 601000);
    assert_int_equal(agent->pairs_count, 0);
    assert_int_equal(w.nodes[1].state, ICE_DISCONNECTED);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    world_drain(&w, 1);
    assert_int_equal(agent->pairs_count, 1);
    assert_int_equal(agent->remotes_count, 1);
    assert_int_equal(w.nodes[1].state, ICE_CHECKING);
    /* The same after an invalidation. */
    assert_true(ice_agent_invalidate_remote(agent, &remote, w.now));
    assert_false(ice_agent_invalidate_remote(agent, &remote, w.now));
    assert_int_equal(agent->pairs_count, 0);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    assert_int_equal(agent->pairs_count, 1);
    assert_int_equal(agent->remotes_count, 1);
}

static void test_optimistic_candidates_join_srflx_addresses_with_host_ports(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct ice_candidate out[ICE_OPTIMISTIC_MAX];
    struct sock_addr srflx_addr = world_addr("203.0.113.30:1024");
    struct ice_candidate srflx = ice_candidate_srflx(&srflx_addr, &srflx_addr);
    assert_int_equal(ice_agent_add_remote(agent, &srflx, w.now), DROP_NONE);
    assert_int_equal(ice_agent_add_optimistic(agent, out, w.now), 0);
    for (uint16_t i = 0; i < 3; i++) {
        struct ice_candidate host = remote_of(ICE_HOST, (uint16_t)(52625 + i));
        assert_int_equal(ice_agent_add_remote(agent, &host, w.now), DROP_NONE);
    }
    struct sock_addr v6 = world_addr("[2001:db8::1]:9");
    struct ice_candidate host6 = ice_candidate_host(&v6);
    assert_int_equal(ice_agent_add_remote(agent, &host6, w.now), DROP_NONE);
    assert_int_equal(ice_agent_add_optimistic(agent, out, w.now), 2);
    struct sock_addr guess = world_addr("203.0.113.30:52625");
    assert_true(sock_addr_equal(&out[0].addr, &guess));
    assert_int_equal(out[0].kind, ICE_SRFLX);
    assert_int_equal(out[1].addr.port, 52626);
    assert_int_equal(ice_agent_add_optimistic(agent, out, w.now), 1);
    assert_int_equal(out[0].addr.port, 52627);
    assert_int_equal(ice_agent_add_optimistic(agent, out, w.now), 0);
}

static void test_a_full_local_list_reuses_what_is_discarded(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct ice_candidate relay;
    for (uint16_t i = 1; i < ICE_LOCAL_MAX; i++) {
        struct sock_addr addr = sock_addr_of(ip_v4(203, 0, 113, 10), i);
        relay = ice_candidate_relay(&addr, IP_V4);
        assert_int_equal(ice_agent_add_local(agent, &relay, w.now), ERR_NONE);
    }
    struct sock_addr addr = sock_addr_of(ip_v4(203, 0, 113, 10), 1000);
    struct ice_candidate more = ice_candidate_relay(&addr, IP_V4);
    struct ice_candidate remote = remote_of(ICE_HOST, 1);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    assert_int_equal(ice_agent_add_local(agent, &more, w.now), ERR_FULL);
    assert_true(ice_agent_invalidate_local(agent, &relay, w.now));
    assert_int_equal(ice_agent_add_local(agent, &more, w.now), ERR_NONE);
    ice_agent_check(agent);
}

/* A host that moves often leaves the candidates of its old addresses behind. */
static void test_a_full_local_list_makes_room_for_a_new_address(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    for (uint16_t i = 1; i <= 3 * ICE_LOCAL_MAX; i++) {
        struct sock_addr addr = sock_addr_of(ip_v4(203, 0, 113, 10), i);
        struct ice_candidate host = ice_candidate_host(&addr);
        assert_int_equal(ice_agent_add_local(agent, &host, w.now), ERR_NONE);
        assert_int_equal(ice_agent_add_local(agent, &host, w.now), ERR_EXISTS);
    }
    struct ice_candidate remote = remote_of(ICE_HOST, 1);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    ice_agent_check(agent);
}

static void test_a_full_remote_list_reuses_entries_without_pairs(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    for (uint16_t i = 0; i < ICE_REMOTE_MAX; i++) {
        struct ice_candidate remote = remote_of(ICE_HOST, (uint16_t)(1 + i));
        assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    }
    struct ice_candidate more = remote_of(ICE_HOST, 1000);
    assert_int_equal(ice_agent_add_remote(agent, &more, w.now), DROP_ICE_FULL);
    struct sock_addr from = sock_addr_of(ip_v4(192, 0, 2, 9), 7);
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, true), DROP_ICE_FULL);
    struct ice_candidate old = remote_of(ICE_HOST, 5);
    assert_true(ice_agent_invalidate_remote(agent, &old, w.now));
    assert_int_equal(ice_agent_add_remote(agent, &more, w.now), DROP_NONE);
    assert_int_equal(agent->remotes[4].addr.port, 1000);
    ice_agent_check(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local_candidates_get_the_priorities_of_the_head_gateway),
        cmocka_unit_test(test_a_local_candidate_is_new_once_and_again_after_its_loss),
        cmocka_unit_test(test_srflx_candidates_form_no_pairs_beside_their_base),
        cmocka_unit_test(test_a_better_candidate_replaces_its_pair_and_inherits_the_nomination),
        cmocka_unit_test(test_remote_candidates_are_judged_by_ufrag_and_forget_it),
        cmocka_unit_test(test_signalled_candidate_takes_the_place_of_the_discovered_one),
        cmocka_unit_test(test_a_candidate_whose_pairs_have_died_is_checked_again),
        cmocka_unit_test(test_optimistic_candidates_join_srflx_addresses_with_host_ports),
        cmocka_unit_test(test_a_full_local_list_reuses_what_is_discarded),
        cmocka_unit_test(test_a_full_local_list_makes_room_for_a_new_address),
        cmocka_unit_test(test_a_full_remote_list_reuses_entries_without_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
