/* Clients: handles, addresses, limits. */
#include "policy/policy_state.h"
#include "tests/policy/policy_world.h"

static void test_handles_die_with_their_client(void **state)
{
    (void)state;
    struct world w;
    struct uuid carol = id(203);
    uint32_t handle = 0;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    policy_client_remove(w.policy, w.alice);
    policy_client_remove(w.policy, w.alice);
    assert_int_equal(policy_client_upsert(w.policy, &carol, ip(ALICE_V4), ip(ALICE_V6), &handle),
                     ERR_NONE);
    assert_int_equal(policy_client_index(handle), policy_client_index(w.alice));
    assert_int_not_equal(handle, w.alice);
    assert_null(policy_client_id(w.policy, w.alice));
    assert_true(uuid_equal(policy_client_id(w.policy, handle), &carol));
    assert_true(policy_client_is_empty(w.policy, handle)); /* nothing was inherited */
    assert_false(policy_client_is_empty(w.policy, w.alice));
    assert_int_equal(out(&w, handle, flow('u', ALICE_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    world_deinit(&w);
}

static void test_clients_are_found_by_id_and_address(void **state)
{
    (void)state;
    struct world w;
    struct uuid alice = id(201);
    struct uuid nobody = id(9);
    struct ip_addr v4 = ip(ALICE_V4);
    struct ip_addr v6 = ip(BOB_V6);
    struct ip_addr none = {0};
    uint32_t cursor = 0;
    world_init(&w);
    assert_int_equal(policy_client_find(w.policy, &alice), w.alice);
    assert_int_equal(policy_client_find(w.policy, &nobody), POLICY_CLIENT_NONE);
    assert_int_equal(policy_client_find_address(w.policy, &v4), w.alice);
    assert_int_equal(policy_client_find_address(w.policy, &v6), w.bob);
    assert_int_equal(policy_client_find_address(w.policy, &none), POLICY_CLIENT_NONE);
    assert_int_equal(policy_client_next(w.policy, &cursor), w.alice);
    assert_int_equal(policy_client_next(w.policy, &cursor), w.bob);
    assert_int_equal(policy_client_next(w.policy, &cursor), POLICY_CLIENT_NONE);
    world_deinit(&w);
}

static void test_changed_addresses_replace_the_old_ones(void **state)
{
    (void)state;
    struct world w;
    struct uuid alice = id(201);
    struct ip_addr old = ip(ALICE_V4);
    struct ip_addr fresh = ip("100.64.0.77");
    uint32_t handle = 0;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    assert_int_equal(policy_client_upsert(w.policy, &alice, fresh, ip(ALICE_V6), &handle),
                     ERR_NONE);
    assert_int_equal(handle, w.alice);
    assert_int_equal(policy_client_find_address(w.policy, &old), POLICY_CLIENT_NONE);
    assert_int_equal(policy_client_find_address(w.policy, &fresh), w.alice);
    assert_int_equal(out(&w, w.alice, flow('u', "100.64.0.77", "10.0.0.1", 1, 2)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    world_deinit(&w);
}

static void test_newer_owner_takes_an_address(void **state)
{
    (void)state;
    struct world w;
    struct uuid bob = id(202);
    struct ip_addr contested = ip(ALICE_V4);
    uint32_t handle = 0;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    assert_int_equal(policy_client_upsert(w.policy, &bob, contested, ip(BOB_V6), &handle),
                     ERR_NONE);
    assert_int_equal(policy_client_find_address(w.policy, &contested), w.bob);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_SOURCE);
    policy_client_remove(w.policy, w.alice);
    assert_int_equal(policy_client_find_address(w.policy, &contested), w.bob);
    world_deinit(&w);
}

static void test_client_table_is_bounded(void **state)
{
    (void)state;
    for (uint32_t max = 0; max < 4; max++) {
        struct world w;
        struct policy_limits limits = small_limits();
        uint32_t handle = 0;
        limits.clients = max;
        world_open(&w, limits, (struct policy_options){.nat64_translate = false});
        for (uint8_t i = 0; i <= max; i++) {
            struct uuid who = id(i);
            enum err err = policy_client_upsert(w.policy, &who, ip_v4(100, 64, 1, i),
                                                (struct ip_addr){0}, &handle);
            assert_int_equal(err, i < max ? ERR_NONE : ERR_FULL);
        }
        assert_int_equal(policy_stats(w.policy).clients, max);
        world_deinit(&w);
    }
}

static void test_unusable_addresses_are_refused(void **state)
{
    (void)state;
    struct world w;
    struct uuid who = id(1);
    uint32_t handle = 0;
    world_init(&w);
    assert_int_equal(policy_client_upsert(w.policy, &who, ip("::1"), ip(BOB_V6), &handle),
                     ERR_ARGUMENT);
    assert_int_equal(policy_client_upsert(w.policy, &who, ip("0.0.0.0"), ip("::"), &handle),
                     ERR_ARGUMENT);
    assert_int_equal(policy_client_upsert(w.policy, &who, ip("224.0.0.1"), ip(BOB_V6), &handle),
                     ERR_ARGUMENT);
    assert_int_equal(policy_stats(w.policy).clients, 2);
    world_deinit(&w);
}

static void test_places_in_tables_follow_the_seed(void **state)
{
    (void)state;
    struct world w;
    struct uuid alice = id(201);
    struct ip_addr at = ip(ALICE_V4);
    world_init(&w);
    struct arena measure = {NULL, 0};
    assert_null(policy_init(&measure, &w.policy->limits, &w.policy->options, NULL));
    struct arena arena = {aligned_alloc(ARENA_ALIGN, measure.used), 0};
    assert_non_null(arena.base);
    memset(arena.base, 0, measure.used);
    struct policy *other =
        policy_init(&arena, &w.policy->limits, &w.policy->options, &w.rng); /* drawn from before */
    assert_true(policy_hash_id(w.policy, &alice) != policy_hash_id(other, &alice));
    assert_true(policy_hash_ip(w.policy, 0, &at) != policy_hash_ip(other, 0, &at));
    assert_memory_not_equal(&w.policy->nat.key, &other->nat.key, sizeof other->nat.key);
    free(arena.base);
    world_deinit(&w);
}

static void test_default_limits_can_be_measured(void **state)
{
    (void)state;
    struct policy_limits limits = policy_limits_default();
    struct policy_options options = {.nat64_translate = true};
    struct arena measure = {NULL, 0};
    assert_null(policy_init(&measure, &limits, &options, NULL));
    assert_true(measure.used > limits.nat_sessions * 64U);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handles_die_with_their_client),
        cmocka_unit_test(test_clients_are_found_by_id_and_address),
        cmocka_unit_test(test_changed_addresses_replace_the_old_ones),
        cmocka_unit_test(test_newer_owner_takes_an_address),
        cmocka_unit_test(test_client_table_is_bounded),
        cmocka_unit_test(test_unusable_addresses_are_refused),
        cmocka_unit_test(test_places_in_tables_follow_the_seed),
        cmocka_unit_test(test_default_limits_can_be_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
