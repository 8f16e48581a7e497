#include "ice/ice_checklist.h"

#include "tests/ice/ice_world.h"

static struct sock_addr peer(uint16_t port)
{
    return sock_addr_of(ip_v4(192, 0, 2, 1), port);
}

static struct ice_agent *gateway_of(struct world *w)
{
    world_init(w, 1);
    struct ice_agent *agent = &w->nodes[1].agent;
    struct ice_candidate host = ice_candidate_host(&w->nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &host, w->now), ERR_NONE);
    ice_agent_handle_timeout(agent, w->now);
    return agent;
}

/* Signals a candidate at port with this priority. */
static void signal_remote(struct world *w, uint16_t port, uint32_t priority)
{
    struct sock_addr addr = peer(port);
    struct ice_candidate c = ice_candidate_host(&addr);
    c.priority = priority;
    assert_int_equal(ice_agent_add_remote(&w->nodes[1].agent, &c, w->now), DROP_NONE);
}

static void request(struct world *w, uint16_t port, bool use_candidate)
{
    struct sock_addr from = peer(port);
    assert_int_equal(world_request(w, 1, &w->nodes[1].host, &from, use_candidate), DROP_NONE);
    world_drain(w, 1);
}

static void pass(struct world *w, uint64_t ms)
{
    w->now = instant_add(w->now, DURATION_MS(ms));
}

static void test_a_higher_or_equal_nomination_is_followed_a_lower_one_is_not(void **state)
{
    (void)state;
    static struct world w;
    (void)gateway_of(&w);
    signal_remote(&w, 1, 100);
    signal_remote(&w, 2, 200);
    signal_remote(&w, 3, 200);
    signal_remote(&w, 4, 50);
    request(&w, 1, true);
    assert_int_equal(w.nodes[1].path.remote.port, 1);
    request(&w, 2, true);
    assert_int_equal(w.nodes[1].path.remote.port, 2);
    /* The peer came back from another network: an equal pair, nominated for the first time. */
    request(&w, 3, true);
    assert_int_equal(w.nodes[1].path.remote.port, 3);
    /* A nomination that was overtaken by a better one. */
    request(&w, 4, true);
    /* Nominations that are merely repeated, as in every check, change nothing. */
    request(&w, 2, true);
    request(&w, 1, true);
    assert_int_equal(w.nodes[1].path.remote.port, 3);
    assert_int_equal(w.nodes[1].selections, 3);
}

/* RFC 8445 section 6.1.2.3: G is the priority of the controlling side's candidate. */
static void test_the_priority_of_a_pair_names_the_controlling_side_first(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *gateway = gateway_of(&w);
    uint32_t local = gateway->locals[0].priority;
    signal_remote(&w, 1, local + 1);
    signal_remote(&w, 2, local - 1);
    assert_int_equal(gateway->pairs_count, 2);
    uint64_t low = local;
    assert_true(gateway->pairs[0].priority == (low << 32) + 2 * (low + 1) + 1);
    assert_true(gateway->pairs[1].priority == ((low - 1) << 32) + 2 * low);
    struct ice_agent *client = &w.nodes[WORLD_CLIENT].agent;
    assert_true(ice_checklist_priority(client, local + 1, local) ==
                ice_checklist_priority(gateway, local, local + 1));
}

static void test_a_pair_that_the_peer_proves_to_use_is_preferred(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    signal_remote(&w, 1, 200);
    signal_remote(&w, 2, 100);
    signal_remote(&w, 3, 50);
    request(&w, 1, true);
    struct sock_addr from = peer(2);
    /* Never heard there: anybody could claim it. */
    ice_agent_prefer(agent, &w.nodes[1].host, &from, w.now);
    world_drain(&w, 1);
    assert_int_equal(w.nodes[1].path.remote.port, 1);
    request(&w, 2, false);
    assert_int_equal(w.nodes[1].path.remote.port, 1);
    ice_agent_prefer(agent, &w.nodes[1].host, &from, w.now);
    world_drain(&w, 1);
    assert_int_equal(w.nodes[1].path.remote.port, 2);
    /* It stays against what is only repeated, and gives way to a better nomination. */
    request(&w, 1, true);
    request(&w, 3, true);
    assert_int_equal(w.nodes[1].path.remote.port, 2);
    signal_remote(&w, 4, 150);
    request(&w, 4, true);
    assert_int_equal(w.nodes[1].path.remote.port, 4);
    /* Unknown places are ignored. */
    struct sock_addr nobody = peer(99);
    ice_agent_prefer(agent, &w.nodes[1].host, &nobody, w.now);
    ice_agent_prefer(agent, &nobody, &from, w.now);
    world_drain(&w, 1);
    assert_int_equal(w.nodes[1].path.remote.port, 4);
    ice_agent_check(agent);
}

static void test_a_silent_selected_pair_gives_way_to_one_that_is_heard(void **state)
{
    (void)state;
    static struct world w;
    (void)gateway_of(&w);
    signal_remote(&w, 1, 200);
    signal_remote(&w, 2, 100);
    request(&w, 1, true);
    pass(&w, 1000);
    request(&w, 2, true);
    pass(&w, 1500);
    request(&w, 2, true);
    assert_int_equal(w.nodes[1].path.remote.port, 1);
    pass(&w, 1500);
    request(&w, 2, true);
    assert_int_equal(w.nodes[1].path.remote.port, 2); /* 4 s of silence, three requests */
    /* It comes back as soon as it is heard again. */
    request(&w, 1, true);
    assert_int_equal(w.nodes[1].path.remote.port, 1);
}

static void test_idle_peers_with_two_nominated_pairs_do_not_flap(void **state)
{
    (void)state;
    static struct world w;
    (void)gateway_of(&w);
    signal_remote(&w, 1, 200);
    signal_remote(&w, 2, 100);
    request(&w, 1, true);
    for (int i = 0; i < 20; i++) {
        pass(&w, 12000);
        request(&w, 2, true);
        pass(&w, 48000);
        request(&w, 1, true);
    }
    assert_int_equal(w.nodes[1].selections, 1);
}

static void test_the_only_nominated_pair_stays_though_silent(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    signal_remote(&w, 1, 200);
    signal_remote(&w, 2, 100);
    request(&w, 1, true);
    for (int i = 0; i < 20; i++) {
        pass(&w, 1500);
        request(&w, 2, false);
    }
    assert_int_equal(w.nodes[1].path.remote.port, 1);
    /* When its candidate goes and nothing else is nominated, the path stays, the state tells. */
    struct sock_addr addr = peer(1);
    struct ice_candidate c = ice_candidate_host(&addr);
    assert_true(ice_agent_invalidate_remote(agent, &c, w.now));
    world_drain(&w, 1);
    struct ice_path path;
    assert_true(ice_agent_selected(agent, &path));
    assert_int_equal(path.remote.port, 1);
    assert_int_equal(w.nodes[1].selections, 1);
    assert_int_equal(w.nodes[1].state, ICE_CHECKING);
}

static void test_loss_of_the_selected_pair_falls_back_to_the_next_nominated(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    signal_remote(&w, 1, 200);
    signal_remote(&w, 2, 100);
    signal_remote(&w, 3, 150);
    request(&w, 1, true);
    request(&w, 2, true);
    request(&w, 3, true);
    struct sock_addr addr = peer(1);
    struct ice_candidate c = ice_candidate_host(&addr);
    assert_true(ice_agent_invalidate_remote(agent, &c, w.now));
    world_drain(&w, 1);
    assert_int_equal(w.nodes[1].path.remote.port, 3);
}

static void test_a_hundred_pairs_are_kept_the_highest_ones(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    for (uint16_t i = 0; i < 3; i++) {
        struct sock_addr addr = sock_addr_of(ip_v4(203, 0, 113, 10), (uint16_t)(1 + i));
        struct ice_candidate relay = ice_candidate_relay(&addr, IP_V4);
        assert_int_equal(ice_agent_add_local(agent, &relay, w.now), ERR_NONE);
    }
    for (uint16_t i = 0; i < ICE_REMOTE_MAX; i++) {
        signal_remote(&w, (uint16_t)(1 + i), 1000000U + i);
    }
    assert_int_equal(agent->pairs_count, ICE_PAIRS_MAX); /* of 128 */
    ice_agent_check(agent);
    /* All pairs of the highest remote candidates are there, one of the lowest is not. */
    size_t highest = 0;
    for (size_t i = 0; i < agent->pairs_count; i++) {
        highest += agent->remotes[agent->pairs[i].remote].addr.port == ICE_REMOTE_MAX ? 1 : 0;
        assert_int_not_equal(agent->remotes[agent->pairs[i].remote].addr.port, 1);
    }
    assert_int_equal(highest, 4);
    world_drain(&w, 1);
    assert_int_equal(w.nodes[1].checks, ICE_PAIRS_MAX);
    /* Nomination leaves sixteen, the nominated one among them. */
    request(&w, 10, true);
    assert_int_equal(agent->pairs_count, ICE_PAIRS_NOMINATED_MAX);
    assert_int_equal(w.nodes[1].path.remote.port, 10);
    assert_int_equal(agent->remotes[agent->pairs[0].remote].addr.port, ICE_REMOTE_MAX);
}

static void test_a_peer_that_nominates_from_ever_new_addresses_stays_bounded(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    for (uint16_t i = 1; i <= 2000; i++) {
        pass(&w, 100);
        request(&w, i, true);
        assert_true(agent->pairs_count <= ICE_PAIRS_NOMINATED_MAX);
        assert_true(agent->remotes_count <= ICE_REMOTE_MAX);
    }
    /* Staying at the last address for some seconds makes it the path. */
    for (int i = 0; i < 5; i++) {
        pass(&w, 1500);
        request(&w, 2000, true);
    }
    assert_int_equal(w.nodes[1].path.remote.port, 2000);
}

static void test_the_twin_of_order_is_a_stable_sort(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    uint32_t priorities[ICE_REMOTE_MAX];
    for (uint16_t i = 0; i < ICE_REMOTE_MAX; i++) {
        priorities[i] = rng_below(&w.rng, 5);
        signal_remote(&w, (uint16_t)(1 + i), priorities[i]);
    }
    size_t at = 0;
    for (uint32_t p = 5; p > 0; p--) {
        for (uint16_t i = 0; i < ICE_REMOTE_MAX; i++) {
            if (priorities[i] == p - 1) {
                assert_int_equal(agent->remotes[agent->pairs[at].remote].addr.port, 1 + i);
                at++;
            }
        }
    }
    assert_int_equal(at, agent->pairs_count);
}

/* The agent's lists take what they need, and an agent that ends leaves nothing taken. */
static void test_blocks_are_given_back_when_a_path_is_selected_and_at_the_end(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    const struct blocks_class *classes = agent->memory->blocks.classes;
    for (uint8_t i = 1; i < ICE_LOCAL_MAX; i++) {
        struct sock_addr addr = sock_addr_of(ip_v4(10, 2, 0, 3), i);
        struct ice_candidate host = ice_candidate_host(&addr);
        assert_int_equal(ice_agent_add_local(agent, &host, w.now), ERR_NONE);
    }
    for (uint16_t i = 1; i <= ICE_REMOTE_MAX; i++) {
        signal_remote(&w, i, 100U + i);
    }
    assert_int_equal(agent->pairs_count, ICE_PAIRS_MAX);
    assert_int_equal(classes[BLOCKS_CLASSES - 1].used, 1);
    struct blocks_counts used = {{0}};
    ice_agent_count_blocks(agent, &used);
    blocks_check(&agent->memory->blocks, &used);
    struct sock_addr from = peer(ICE_REMOTE_MAX);
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, true), DROP_NONE);
    assert_int_equal(classes[0].used, 1); /* the answer waits */
    assert_int_equal(agent->pairs_count, ICE_PAIRS_NOMINATED_MAX);
    assert_int_equal(classes[BLOCKS_CLASSES - 1].used, 0);
    assert_int_equal(classes[3].used, 2); /* pairs and remote candidates */
    struct ice_transmit t;
    assert_true(ice_agent_poll_transmit(agent, &t));
    assert_int_equal(classes[0].used, 0);
    used = (struct blocks_counts){{0}};
    ice_agent_count_blocks(agent, &used);
    blocks_check(&agent->memory->blocks, &used);
    ice_agent_release(agent);
    ice_agent_check(agent);
    blocks_check(&agent->memory->blocks, &(struct blocks_counts){{0}});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_higher_or_equal_nomination_is_followed_a_lower_one_is_not),
        cmocka_unit_test(test_the_priority_of_a_pair_names_the_controlling_side_first),
        cmocka_unit_test(test_a_pair_that_the_peer_proves_to_use_is_preferred),
        cmocka_unit_test(test_a_silent_selected_pair_gives_way_to_one_that_is_heard),
        cmocka_unit_test(test_idle_peers_with_two_nominated_pairs_do_not_flap),
        cmocka_unit_test(test_the_only_nominated_pair_stays_though_silent),
        cmocka_unit_test(test_loss_of_the_selected_pair_falls_back_to_the_next_nominated),
        cmocka_unit_test(test_a_hundred_pairs_are_kept_the_highest_ones),
        cmocka_unit_test(test_a_peer_that_nominates_from_ever_new_addresses_stays_bounded),
        cmocka_unit_test(test_the_twin_of_order_is_a_stable_sort),
        cmocka_unit_test(test_blocks_are_given_back_when_a_path_is_selected_and_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
