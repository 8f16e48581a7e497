/* Look-ahead: what it guesses, and that no guess changes an outcome. */
#include "policy/policy_state.h"
#include "tests/policy/policy_world.h"

static void init(struct world *w)
{
    world_init(w);
    grant(w, w->alice, dns(1, "foo.com"), NULL);
    grant(w, w->bob, cidr(2, "10.0.0.0/8"), NULL);
    (void)assign(w, 1, "foo.com", "100.96.0.1 fd00:2021:1111:8000::1", "192.0.2.1 2001:db8::1");
    assert_int_equal(out(w, w->alice, flow('u', ALICE_V4, "100.96.0.1", 5, 53)), POLICY_FORWARD);
    assert_int_equal(out(w, w->alice, flow('t', ALICE_V6, "fd00:2021:1111:8000::1", 6, 80)),
                     POLICY_FORWARD);
}

static struct policy_hint ahead(struct world *w, struct flow f, bool outbound, uint32_t client)
{
    struct policy_hint hint = {client == POLICY_CLIENT_NONE ? 0 : policy_client_index(client) + 1,
                               0};
    put(w, f);
    struct view bytes = packet_view(&w->packet);
    policy_look_ahead(w->policy, &bytes, 1, outbound, &hint);
    return hint;
}

static void test_guesses_are_right(void **state)
{
    (void)state;
    struct world w;
    init(&w);
    uint32_t alice = policy_client_index(w.alice) + 1;
    struct policy_hint v4 = ahead(&w, flow('u', ALICE_V4, "100.96.0.1", 5, 53), true, w.alice);
    struct policy_hint v6 =
        ahead(&w, flow('t', ALICE_V6, "fd00:2021:1111:8000::1", 6, 80), true, w.alice);
    assert_int_equal(v4.client, alice);
    assert_true(v4.session != 0 && v6.session != 0 && v4.session != v6.session);
    struct policy_hint back =
        ahead(&w, flow('u', "192.0.2.1", ALICE_V4, 53, 5), false, POLICY_CLIENT_NONE);
    assert_int_equal(back.client, alice);
    assert_int_equal(back.session, v4.session);
    back = ahead(&w, flow('t', "2001:db8::1", ALICE_V6, 80, 6), false, POLICY_CLIENT_NONE);
    assert_int_equal(back.client, alice);
    assert_int_equal(back.session, v6.session);
    back = ahead(&w, flow('u', "192.0.2.1", BOB_V4, 53, 5), false, POLICY_CLIENT_NONE);
    assert_int_equal(back.client, policy_client_index(w.bob) + 1);
    assert_int_equal(back.session, 0);
    back = ahead(&w, flow('i', "192.0.2.1", "10.9.9.9", 1, 1), false, POLICY_CLIENT_NONE);
    assert_int_equal(back.client, 0);
    world_deinit(&w);
}

/* Another address whose guess stands in the same place. */
static struct ip_addr neighbour_of(const struct world *w, const struct ip_addr *ip)
{
    struct ip_addr other = ip_v4(100, 64, 0, 0);
    uint32_t place = policy_address_place(w->policy, ip->family, ip->bytes);
    for (uint32_t i = 0; ip_equal(&other, ip) ||
                         policy_address_place(w->policy, other.family, other.bytes) != place;
         i++) {
        assert_true(i < 65536);
        store_be16(other.bytes + 2, (uint16_t)i);
    }
    return other;
}

/* Two clients whose addresses share the place of a guess are both found, whoever came last. */
static void test_addresses_that_meet_are_both_found(void **state)
{
    (void)state;
    struct world w;
    init(&w);
    struct ip_addr alice = ip(ALICE_V4);
    struct ip_addr other = neighbour_of(&w, &alice);
    struct uuid id = {{0x77}};
    uint32_t client = POLICY_CLIENT_NONE;
    assert_int_equal(policy_client_upsert(w.policy, &id, other, (struct ip_addr){0}, &client),
                     ERR_NONE);
    assert_int_equal(policy_client_find_address(w.policy, &other), client);
    assert_int_equal(policy_client_find_address(w.policy, &alice), w.alice);
    struct policy_hint hint =
        ahead(&w, flow('u', "192.0.2.1", ALICE_V4, 53, 5), false, POLICY_CLIENT_NONE);
    assert_int_equal(hint.client, policy_client_index(w.alice) + 1);
    assert_true(hint.session != 0);
    policy_client_remove(w.policy, client);
    assert_int_equal(policy_client_find_address(w.policy, &other), POLICY_CLIENT_NONE);
    assert_int_equal(policy_client_find_address(w.policy, &alice), w.alice);
    world_deinit(&w);
}

static void test_packets_for_nobody_beside_a_client_are_guessed_to_be_nobodys(void **state)
{
    (void)state;
    struct world w;
    init(&w);
    struct ip_addr alice = ip(ALICE_V4);
    struct ip_addr nobody = neighbour_of(&w, &alice);
    put(&w, flow('u', "192.0.2.1", ALICE_V4, 53, 5));
    struct packet_info info;
    assert_int_equal(packet_parse(&w.packet, &info), DROP_NONE);
    packet_set_destination(&w.packet, &info, &nobody);
    struct view bytes = packet_view(&w.packet);
    struct policy_hint hint = {0, 0};
    policy_look_ahead(w.policy, &bytes, 1, false, &hint);
    assert_int_equal(hint.client, 0);
    assert_int_equal(in_again(&w), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_TUN_NOT_CLIENT);
    world_deinit(&w);
}

static void test_packets_of_one_flow_share_a_guess(void **state)
{
    (void)state;
    struct world w;
    uint8_t copy[256];
    struct policy_hint hints[3] = {{0, 0}, {0, 0}, {0, 0}};
    init(&w);
    put(&w, flow('u', "192.0.2.1", ALICE_V4, 53, 5));
    size_t len = packet_view(&w.packet).len;
    memcpy(copy, packet_view(&w.packet).at, len);
    put(&w, flow('u', "192.0.2.1", BOB_V4, 53, 5));
    struct view same = {copy, len};
    struct view views[3] = {same, same, packet_view(&w.packet)};
    policy_look_ahead(w.policy, views, 3, false, hints);
    assert_int_equal(hints[0].client, policy_client_index(w.alice) + 1);
    assert_memory_equal(&hints[0], &hints[1], sizeof(hints[0]));
    assert_int_equal(hints[2].client, policy_client_index(w.bob) + 1);
    world_deinit(&w);
}

/* Whatever is guessed: the same action, reason and translation. */
static void test_wrong_guesses_change_nothing(void **state)
{
    (void)state;
    struct world w;
    init(&w);
    struct flow flows[] = {
        flow('u', "192.0.2.1", ALICE_V4, 53, 5), flow('t', "2001:db8::1", ALICE_V6, 80, 6),
        flow('u', "10.0.0.1", BOB_V4, 53, 5),    flow('u', "192.0.2.1", ALICE_V4, 53, 7),
        flow('u', "10.0.0.1", "10.2.2.2", 1, 1),
    };
    for (size_t i = 0; i < ARRAY_COUNT(flows); i++) {
        w.result.hint = (struct policy_hint){0, 0};
        enum policy_action action = in(&w, flows[i]);
        enum drop_reason reason = w.result.reason;
        struct ip_addr source = w.result.info.source;
        for (uint32_t guess = 0; guess < 9; guess++) {
            w.result.hint = (struct policy_hint){guess % 3, guess / 3};
            assert_int_equal(in(&w, flows[i]), action);
            assert_int_equal(w.result.reason, reason);
            assert_true(ip_equal(&w.result.info.source, &source));
        }
    }
    policy_check(w.policy);
    world_deinit(&w);
}

static void test_short_and_odd_packets_are_no_flows(void **state)
{
    (void)state;
    struct world w;
    init(&w);
    put(&w, flow('u', "192.0.2.1", ALICE_V4, 53, 5));
    struct view whole = packet_view(&w.packet);
    for (size_t len = 0; len < whole.len; len++) {
        struct policy_hint hint = {0, 0};
        uint8_t *exact = malloc(len + 1);
        assert_non_null(exact);
        memcpy(exact, whole.at, len);
        struct view cut = {exact, len};
        policy_look_ahead(w.policy, &cut, 1, false, &hint);
        assert_int_equal(hint.client != 0, len >= PACKET_IPV4_HEADER_SIZE);
        assert_int_equal(hint.session != 0, len >= PACKET_IPV4_HEADER_SIZE + 4);
        free(exact);
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses_are_right),
        cmocka_unit_test(test_addresses_that_meet_are_both_found),
        cmocka_unit_test(test_packets_for_nobody_beside_a_client_are_guessed_to_be_nobodys),
        cmocka_unit_test(test_packets_of_one_flow_share_a_guess),
        cmocka_unit_test(test_wrong_guesses_change_nothing),
        cmocka_unit_test(test_short_and_odd_packets_are_no_flows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
