#include "ice/ice_list.h"

#include "ice/ice_checklist.h"
#include "tests/ice/ice_world.h"

static struct ice_agent *filled_agent(struct world *w)
{
    world_init(w, 1);
    struct ice_agent *agent = &w->nodes[1].agent;
    uint8_t slot;
    for (uint16_t i = 0; i < ICE_LOCAL_MAX; i++) {
        struct sock_addr addr = sock_addr_of(ip_v4(10, 0, 0, 1), (uint16_t)(1 + i));
        struct ice_candidate host = ice_candidate_host(&addr);
        assert_true(ice_list_local_slot(agent, &slot));
        assert_int_equal(slot, i);
        ice_list_put_local(agent, slot, &host);
    }
    for (uint16_t i = 0; i < ICE_REMOTE_MAX; i++) {
        struct sock_addr addr = sock_addr_of(ip_v4(192, 0, 2, 1), (uint16_t)(1 + i));
        struct ice_candidate host = ice_candidate_host(&addr);
        assert_true(ice_list_remote_slot(agent, &slot));
        assert_int_equal(slot, i);
        ice_list_put_remote(agent, slot, &host);
    }
    return agent;
}

static void test_a_full_local_list_gives_discarded_then_prflx_then_old_places(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = filled_agent(&w);
    uint8_t slot;
    for (uint8_t i = 0; i < 8; i += 2) {
        ice_checklist_form(agent, i, 0, w.now);
    }
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(ice_list_local_slot(agent, &slot));
        assert_int_equal(slot, 1 + 2 * i); /* the oldest without a pair */
        struct sock_addr addr = sock_addr_of(ip_v4(10, 0, 0, 2), (uint16_t)(1 + i));
        struct ice_candidate host = ice_candidate_host(&addr);
        ice_list_put_local(agent, slot, &host);
    }
    for (uint8_t i = 0; i < ICE_LOCAL_MAX; i++) {
        ice_checklist_form(agent, i, 0, w.now);
    }
    assert_false(ice_list_local_slot(agent, &slot));
    agent->locals[3].kind = ICE_PRFLX;
    assert_true(ice_list_local_slot(agent, &slot));
    assert_int_equal(slot, 3);
    agent->locals[9].discarded = true;
    assert_true(ice_list_local_slot(agent, &slot));
    assert_int_equal(slot, 9);
}

static void test_a_full_remote_list_gives_discarded_then_prflx_then_old_places(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = filled_agent(&w);
    uint8_t slot;
    ice_checklist_form(agent, 0, 0, w.now);
    assert_true(ice_list_remote_slot(agent, &slot));
    assert_int_equal(slot, 1); /* the oldest without a pair */
    agent->remotes[7].kind = ICE_PRFLX;
    assert_true(ice_list_remote_slot(agent, &slot));
    assert_int_equal(slot, 7);
    agent->remotes[20].discarded = true;
    assert_true(ice_list_remote_slot(agent, &slot));
    assert_int_equal(slot, 20);
    for (uint8_t i = 0; i < ICE_REMOTE_MAX; i++) {
        agent->remotes[i].discarded = false;
        ice_checklist_form(agent, 0, i, w.now);
    }
    assert_false(ice_list_remote_slot(agent, &slot));
}

static void test_a_reused_place_knows_nothing_of_its_predecessor(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = filled_agent(&w);
    agent->discovered = UINT32_MAX;
    agent->discovered_unreported = UINT32_MAX;
    struct ice_candidate c = agent->remotes[31];
    ice_candidate_set_ufrag(&c, view_text("k5fd"));
    ice_list_put_remote(agent, 31, &c);
    assert_int_equal(agent->discovered, INT32_MAX);
    assert_int_equal(agent->discovered_unreported, INT32_MAX);
    assert_int_equal(agent->remotes[31].ufrag_size, 0);
    ice_list_forget_remote(agent, 5);
    assert_true(agent->remotes[5].discarded);
    assert_int_equal(agent->remotes[5].addr.port, 0);
    assert_int_equal(agent->remotes_count, ICE_REMOTE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_local_list_gives_discarded_then_prflx_then_old_places),
        cmocka_unit_test(test_a_full_remote_list_gives_discarded_then_prflx_then_old_places),
        cmocka_unit_test(test_a_reused_place_knows_nothing_of_its_predecessor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
