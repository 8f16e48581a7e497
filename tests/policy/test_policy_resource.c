#include "tests/policy/policy_world.h"

static bool reaches(struct world *w, uint32_t client, const char *destination)
{
    const char *source = client == w->alice ? ALICE_V4 : BOB_V4;
    return out(w, client, flow('t', source, destination, 1, 80)) == POLICY_FORWARD;
}

/* The whole update, two holders at a time. */
static enum err update(struct world *w, const struct policy_resource *resource, uint32_t *updated)
{
    enum err err = policy_update_begin(w->policy, resource);
    *updated = 0;
    while (err == ERR_NONE && !policy_update_is_done(w->policy)) {
        err = policy_update_next(w->policy, 2, updated);
    }
    return err;
}

static void test_again_authorizing_replaces_filters_and_expiry(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct policy_rule to22 = tcp(22, 22);
    struct policy_resource resource = cidr(1, "10.0.0.0/8");
    uint64_t now_s = w.now.unix_ns / NS_PER_S;
    assert_int_equal(policy_authorize(w.policy, w.alice, &resource, now_s + 1), ERR_NONE);
    assert_true(reaches(&w, w.alice, "10.0.0.1"));
    resource.rules = &to22;
    resource.rules_count = 1;
    assert_int_equal(policy_authorize(w.policy, w.alice, &resource, now_s + 100), ERR_NONE);
    assert_false(reaches(&w, w.alice, "10.0.0.1"));
    resource.rules_count = 0;
    resource.prefix = prefix("192.0.2.0/24"); /* the address stays what it was */
    assert_int_equal(policy_authorize(w.policy, w.alice, &resource, now_s + 100), ERR_NONE);
    world_sleep(&w, 50 * NS_PER_S);
    assert_true(reaches(&w, w.alice, "10.0.0.1"));
    assert_false(reaches(&w, w.alice, "192.0.2.1"));
    assert_int_equal(policy_authorize(w.policy, w.alice, &resource, now_s), ERR_NONE);
    assert_false(reaches(&w, w.alice, "10.0.0.1")); /* a past expiry counts at once */
    world_deinit(&w);
}

static void test_change_of_kind_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    struct policy_resource other = internet(1);
    assert_int_equal(policy_authorize(w.policy, w.alice, &other, POLICY_NEVER), ERR_STATE);
    assert_true(reaches(&w, w.alice, "10.0.0.1"));
    uint32_t updated = 0;
    other = dns(1, "foo.com");
    assert_int_equal(update(&w, &other, &updated), ERR_STATE);
    assert_false(reaches(&w, w.alice, "10.0.0.1")); /* it is no longer what the portal wants */
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    assert_true(reaches(&w, w.alice, "10.0.0.1"));
    world_deinit(&w);
}

static void test_bad_resources_are_refused(void **state)
{
    (void)state;
    struct world w;
    uint8_t long_pattern[POLICY_PATTERN_SIZE_MAX + 1];
    struct policy_rule rules[POLICY_FILTER_RANGES_MAX + 1];
    memset(long_pattern, 'a', sizeof long_pattern);
    world_init(&w);
    struct policy_resource bad = dns(1, "");
    assert_int_equal(policy_authorize(w.policy, w.alice, &bad, POLICY_NEVER), ERR_ARGUMENT);
    bad.pattern = VIEW_OF(long_pattern);
    assert_int_equal(policy_authorize(w.policy, w.alice, &bad, POLICY_NEVER), ERR_ARGUMENT);
    bad = cidr(1, "10.0.0.0/8");
    bad.prefix.len = 33;
    assert_int_equal(policy_authorize(w.policy, w.alice, &bad, POLICY_NEVER), ERR_ARGUMENT);
    bad = cidr(1, "10.0.0.0/8");
    for (uint16_t i = 0; i <= POLICY_FILTER_RANGES_MAX; i++) {
        rules[i] = tcp((uint16_t)(i * 2), (uint16_t)(i * 2));
    }
    bad.rules = rules;
    bad.rules_count = POLICY_FILTER_RANGES_MAX + 1;
    assert_int_equal(policy_authorize(w.policy, w.alice, &bad, POLICY_NEVER), ERR_FULL);
    assert_int_equal(policy_stats(w.policy).grants, 0);
    assert_int_equal(policy_authorize(w.policy, 12345, &bad, POLICY_NEVER), ERR_NOT_FOUND);
    world_deinit(&w);
}

static void test_revoking_tells_who_became_empty(void **state)
{
    (void)state;
    struct world w;
    struct policy_ended ended;
    struct uuid unknown = id(77);
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.alice, cidr(2, "192.0.2.0/24"), NULL);
    assert_false(policy_client_is_empty(w.policy, w.alice));
    assert_false(revoke(&w, w.alice, 1));
    assert_true(reaches(&w, w.alice, "192.0.2.1"));
    assert_false(reaches(&w, w.alice, "10.0.0.1"));
    assert_true(revoke(&w, w.alice, 2));
    assert_true(policy_client_is_empty(w.policy, w.alice));
    assert_int_equal(policy_revoke(w.policy, w.alice, &unknown, &ended), ERR_NOT_FOUND);
    assert_int_equal(policy_revoke(w.policy, 999, &unknown, &ended), ERR_NOT_FOUND);
    world_deinit(&w);
}

static void test_slots_are_bounded_and_reused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    for (uint8_t i = 0; i < 8; i++) {
        grant(&w, w.alice, cidr(i, "10.0.0.0/8"), NULL);
    }
    struct policy_resource ninth = cidr(8, "192.0.2.0/24");
    assert_int_equal(policy_authorize(w.policy, w.alice, &ninth, POLICY_NEVER), ERR_FULL);
    grant(&w, w.bob, ninth, NULL); /* the limit is per client */
    (void)revoke(&w, w.alice, 3);
    grant(&w, w.alice, ninth, NULL);
    assert_true(reaches(&w, w.alice, "192.0.2.1"));
    policy_check(w.policy);
    world_deinit(&w);
}

static void test_dormant_slots_yield_to_new_grants(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(0, "foo.com"), NULL);
    (void)assign(&w, 0, "foo.com", "100.96.0.1", "192.0.2.1");
    (void)revoke(&w, w.alice, 0);
    assert_int_equal(policy_stats(w.policy).proxies, 1);
    for (uint8_t i = 1; i < 9; i++) {
        grant(&w, w.alice, cidr(i, "10.0.0.0/8"), NULL);
        policy_check(w.policy);
    }
    assert_int_equal(policy_stats(w.policy).proxies, 0);
    assert_int_equal(policy_stats(w.policy).domains, 0);
    world_deinit(&w);
}

static void test_update_reaches_every_holder(void **state)
{
    (void)state;
    struct world w;
    uint32_t updated = 0;
    struct policy_rule to22 = tcp(22, 22);
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.bob, cidr(1, "10.0.0.0/8"), NULL);
    struct policy_resource change = cidr(1, "10.0.0.0/8");
    change.rules = &to22;
    change.rules_count = 1;
    assert_true(reaches(&w, w.alice, "10.0.0.1"));
    assert_int_equal(update(&w, &change, &updated), ERR_NONE);
    assert_int_equal(updated, 2);
    assert_false(reaches(&w, w.alice, "10.0.0.1"));
    assert_false(reaches(&w, w.bob, "10.0.0.1"));
    change.id = id(2);
    assert_int_equal(update(&w, &change, &updated), ERR_NONE);
    assert_int_equal(updated, 0);
    world_deinit(&w);
}

static void test_a_holder_that_goes_in_the_middle_of_an_update(void **state)
{
    (void)state;
    struct world w;
    struct policy_ended ended;
    struct policy_rule to22 = tcp(22, 22);
    uint32_t updated = 0;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.bob, cidr(1, "10.0.0.0/8"), NULL);
    struct policy_resource change = cidr(1, "10.0.0.0/8");
    change.rules = &to22;
    change.rules_count = 1;
    assert_int_equal(policy_update_begin(w.policy, &change),
                     ERR_NONE); /* bob came last, is first */
    assert_int_equal(policy_revoke(w.policy, w.bob, &change.id, &ended), ERR_NONE);
    assert_int_equal(policy_update_next(w.policy, 1, &updated), ERR_NONE);
    assert_true(policy_update_is_done(w.policy));
    assert_int_equal(updated, 1);
    assert_false(reaches(&w, w.alice, "10.0.0.1"));
    world_deinit(&w);
}

static void test_update_applies_to_open_sessions(void **state)
{
    (void)state;
    struct world w;
    uint32_t updated = 0;
    struct policy_rule to22 = tcp(22, 22);
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", "100.96.0.1", "192.0.2.1");
    assert_true(reaches(&w, w.alice, "100.96.0.1"));
    struct policy_resource change = dns(1, "foo.com");
    change.rules = &to22;
    change.rules_count = 1;
    assert_int_equal(update(&w, &change, &updated), ERR_NONE);
    assert_false(reaches(&w, w.alice, "100.96.0.1"));
    assert_int_equal(in(&w, flow('t', "192.0.2.1", ALICE_V4, 80, 1)), POLICY_DROP);
    world_deinit(&w);
}

static void test_removed_resource_leaves_every_holder(void **state)
{
    (void)state;
    struct world w;
    struct policy_ended ended;
    struct uuid gone = id(1);
    uint32_t emptied = 0;
    uint32_t count = 0;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.alice, cidr(2, "192.0.2.0/24"), NULL);
    grant(&w, w.bob, cidr(1, "10.0.0.0/8"), NULL);
    while (policy_remove_resource(w.policy, &gone, &ended)) {
        assert_true(uuid_equal(&ended.resource_id, &gone));
        emptied += ended.emptied ? 1 : 0;
        count++;
    }
    assert_int_equal(count, 2);
    assert_int_equal(emptied, 1);
    assert_false(reaches(&w, w.alice, "10.0.0.1"));
    assert_true(reaches(&w, w.alice, "192.0.2.1"));
    world_deinit(&w);
}

static void test_retain_revokes_what_is_not_listed(void **state)
{
    (void)state;
    struct world w;
    struct policy_ended ended;
    struct uuid alice = id(201);
    struct uuid bob = id(202);
    struct uuid kept = id(1);
    struct uuid unknown = id(55);
    uint32_t budget = 1;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.alice, cidr(2, "192.0.2.0/24"), NULL);
    grant(&w, w.bob, cidr(1, "10.0.0.0/8"), NULL);
    policy_retain_begin(w.policy);
    uint64_t soon_s = w.now.unix_ns / NS_PER_S + 5;
    assert_true(policy_retain_keep(w.policy, &alice, &kept, soon_s));
    assert_false(policy_retain_keep(w.policy, &bob, &unknown, POLICY_NEVER));
    assert_false(policy_retain_keep(w.policy, &unknown, &kept, POLICY_NEVER));
    grant(&w, w.alice, cidr(3, "198.51.100.0/24"), NULL);       /* made in between */
    assert_false(policy_retain_end(w.policy, &budget, &ended)); /* only looked at what is kept */
    assert_int_equal(budget, 0);
    budget = 100;
    assert_true(policy_retain_end(w.policy, &budget, &ended));
    assert_int_equal(ended.resource_id.bytes[15], 2);
    assert_false(ended.emptied);
    assert_true(policy_retain_end(w.policy, &budget, &ended));
    assert_true(uuid_equal(&ended.client_id, &bob));
    assert_true(ended.emptied);
    policy_client_remove(w.policy, ended.client); /* as the gateway does, in the middle */
    assert_false(policy_retain_end(w.policy, &budget, &ended));
    assert_true(budget > 0);
    assert_true(reaches(&w, w.alice, "10.0.0.1"));
    assert_true(reaches(&w, w.alice, "198.51.100.1"));
    world_sleep(&w, 5 * NS_PER_S); /* the listed expiry was taken over */
    assert_false(reaches(&w, w.alice, "10.0.0.1"));
    world_deinit(&w);
}

static void test_expire_ends_in_order_and_names_the_emptied(void **state)
{
    (void)state;
    struct world w;
    struct policy_ended ended;
    struct policy_resource first = cidr(1, "10.0.0.0/8");
    struct policy_resource second = cidr(2, "10.0.0.0/8");
    world_init(&w);
    uint64_t now_s = w.now.unix_ns / NS_PER_S;
    assert_true(instant_is_never(policy_poll_timeout(w.policy).at));
    assert_int_equal(policy_authorize(w.policy, w.alice, &second, now_s + 20), ERR_NONE);
    assert_int_equal(policy_authorize(w.policy, w.alice, &first, now_s + 10), ERR_NONE);
    assert_false(policy_expire(w.policy, w.now, &ended));
    struct wake wake = policy_poll_timeout(w.policy);
    assert_int_equal(wake.at.ns, w.now.boot.ns + 10 * NS_PER_S);
    world_sleep(&w, 10 * NS_PER_S - 1);
    assert_false(policy_expire(w.policy, w.now, &ended));
    world_sleep(&w, 1);
    assert_true(policy_expire(w.policy, w.now, &ended));
    assert_int_equal(ended.resource_id.bytes[15], 1);
    assert_false(ended.emptied);
    assert_false(policy_expire(w.policy, w.now, &ended));
    assert_true(reaches(&w, w.alice, "10.0.0.1")); /* the other one still covers it */
    world_sleep(&w, UINT64_MAX / 100);             /* a jump far ahead */
    assert_true(policy_expire(w.policy, w.now, &ended));
    assert_true(ended.emptied);
    assert_int_equal(ended.client, w.alice);
    assert_false(policy_expire(w.policy, w.now, &ended));
    world_deinit(&w);
}

static void test_extended_expiry_moves_the_wake(void **state)
{
    (void)state;
    struct world w;
    struct policy_ended ended;
    struct uuid which = id(1);
    struct policy_resource resource = cidr(1, "10.0.0.0/8");
    world_init(&w);
    uint64_t now_s = w.now.unix_ns / NS_PER_S;
    assert_int_equal(policy_authorize(w.policy, w.alice, &resource, now_s + 10), ERR_NONE);
    assert_int_equal(policy_set_expiry(w.policy, w.alice, &which, now_s + 30), ERR_NONE);
    world_sleep(&w, 15 * NS_PER_S);
    assert_false(policy_expire(w.policy, w.now, &ended));
    assert_true(reaches(&w, w.alice, "10.0.0.1"));
    assert_int_equal(policy_set_expiry(w.policy, w.alice, &which, UINT64_MAX / 2), ERR_NONE);
    assert_true(instant_is_never(policy_poll_timeout(w.policy).at));
    which = id(2);
    assert_int_equal(policy_set_expiry(w.policy, w.alice, &which, 1), ERR_NOT_FOUND);
    world_deinit(&w);
}

static void test_sweep_is_due_under_load_too(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", "100.96.0.1", "192.0.2.1");
    assert_true(reaches(&w, w.alice, "100.96.0.1"));
    policy_handle_timeout(w.policy, w.now);
    struct wake wake = policy_poll_timeout(w.policy);
    assert_int_equal(wake.at.ns, w.now.boot.ns + NS_PER_S);
    world_sleep(&w, NS_PER_S / 2);
    assert_true(reaches(&w, w.alice, "100.96.0.1")); /* packets do not put it off */
    assert_int_equal(policy_poll_timeout(w.policy).at.ns, wake.at.ns);
    world_sleep(&w, 60 * NS_PER_S);
    policy_handle_timeout(w.policy, w.now);
    assert_int_equal(policy_stats(w.policy).nat_sessions, 0);
    assert_int_equal(policy_stats(w.policy).nat_expired, 1);
    assert_true(instant_is_never(policy_poll_timeout(w.policy).at));
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again_authorizing_replaces_filters_and_expiry),
        cmocka_unit_test(test_change_of_kind_is_refused),
        cmocka_unit_test(test_bad_resources_are_refused),
        cmocka_unit_test(test_revoking_tells_who_became_empty),
        cmocka_unit_test(test_slots_are_bounded_and_reused),
        cmocka_unit_test(test_dormant_slots_yield_to_new_grants),
        cmocka_unit_test(test_update_reaches_every_holder),
        cmocka_unit_test(test_a_holder_that_goes_in_the_middle_of_an_update),
        cmocka_unit_test(test_update_applies_to_open_sessions),
        cmocka_unit_test(test_removed_resource_leaves_every_holder),
        cmocka_unit_test(test_retain_revokes_what_is_not_listed),
        cmocka_unit_test(test_expire_ends_in_order_and_names_the_emptied),
        cmocka_unit_test(test_extended_expiry_moves_the_wake),
        cmocka_unit_test(test_sweep_is_due_under_load_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
