/* Overlapping grants: the rules, and a naive twin that judges by the definition. */
#include "tests/policy/policy_world.h"

static void test_wider_grant_permits_what_a_narrower_one_forbids(void **state)
{
    (void)state;
    struct world w;
    struct policy_rule to22 = tcp(22, 22);
    struct policy_rule to80 = tcp(80, 80);
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), &to80);
    grant(&w, w.alice, cidr(2, "10.0.0.0/24"), &to22);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.alice), 1);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 22)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.alice), 2);
    (void)revoke(&w, w.alice, 2);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 22)), POLICY_REPLY);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_FORWARD);
    world_deinit(&w);
}

/* A client with few grants is answered from the range that its last packet went to: only where no
 * other grant has a say, and only as long as none has expired or changed. */
static void test_an_open_range_is_that_of_one_grant_alone(void **state)
{
    (void)state;
    struct world w;
    struct policy_resource wide = cidr(1, "10.0.0.0/8");
    world_init(&w);
    uint64_t now_s = w.now.unix_ns / NS_PER_S;
    assert_int_equal(policy_authorize(w.policy, w.alice, &wide, now_s + 20), ERR_NONE);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "11.0.0.1", 1, 80)), POLICY_REPLY);
    world_sleep(&w, 20 * NS_PER_S);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_EXPIRED);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.alice, cidr(2, "10.0.0.0/24"), NULL);
    for (uint8_t round = 0; round < 2; round++) {
        assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.1.0.1", 1, 80)), POLICY_FORWARD);
        assert_int_equal(permitted_by(&w, w.alice), 1);
        assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_FORWARD);
        assert_int_equal(permitted_by(&w, w.alice), 2);
    }
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_FORWARD);
    (void)revoke(&w, w.alice, 1);
    (void)revoke(&w, w.alice, 2);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_REPLY);
    world_deinit(&w);
}

static void test_equal_networks_expire_independently_and_lower_id_wins(void **state)
{
    (void)state;
    struct world w;
    struct policy_resource first = cidr(1, "10.0.0.0/24");
    struct policy_resource second = cidr(2, "10.0.0.0/24");
    world_init(&w);
    uint64_t now_s = w.now.unix_ns / NS_PER_S;
    assert_int_equal(policy_authorize(w.policy, w.alice, &second, now_s + 20), ERR_NONE);
    assert_int_equal(policy_authorize(w.policy, w.alice, &first, now_s + 10), ERR_NONE);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.alice), 1);
    world_sleep(&w, 10 * NS_PER_S);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.alice), 2);
    world_sleep(&w, 10 * NS_PER_S);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_EXPIRED);
    world_deinit(&w);
}

static void test_everything_is_permitted_at_zero_slash_32(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "0.0.0.0/32"), NULL);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "0.0.0.1", 1, 80)), POLICY_REPLY);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "0.0.0.0", 1, 80)), POLICY_FORWARD);
    world_deinit(&w);
}

/* ---- the naive twin ---- */

struct twin_grant {
    bool held;
    uint32_t net; /* 10.x.y.z as a number, host bits zero */
    uint8_t len;
    bool any;
    bool icmp;
    uint16_t first;
    uint16_t last;
    uint64_t expires_s;
};

static bool twin_permits(const struct twin_grant *g, uint32_t to, char protocol, uint16_t port,
                         uint64_t now_s)
{
    bool covered = g->len == 0 || (to ^ g->net) >> (32 - g->len) == 0;
    if (!g->held || !covered || g->expires_s <= now_s) {
        return false;
    }
    return g->any || (protocol == 'i' && g->icmp) ||
           (protocol == 't' && g->first <= port && port <= g->last);
}

static int twin_choice(const struct twin_grant *grants, uint32_t to, char protocol, uint16_t port,
                       uint64_t now_s)
{
    int best = -1;
    for (int i = 0; i < 8; i++) {
        if (twin_permits(&grants[i], to, protocol, port, now_s) &&
            (best < 0 || grants[i].len > grants[best].len)) {
            best = i;
        }
    }
    return best;
}

static void change(struct world *w, struct twin_grant *grants, uint64_t now_s)
{
    uint8_t n = (uint8_t)rng_below(&w->rng, 8);
    struct policy_ended ended;
    struct uuid which = id(n);
    if (grants[n].held) {
        assert_int_equal(policy_revoke(w->policy, w->alice, &which, &ended), ERR_NONE);
        grants[n].held = false;
        return;
    }
    struct twin_grant *g = &grants[n];
    g->held = true;
    g->len = (uint8_t)(24 + rng_below(&w->rng, 9));
    g->net = (UINT32_C(0x0a000000) + rng_below(&w->rng, 16)) & (UINT32_MAX << (32 - g->len));
    g->any = rng_below(&w->rng, 4) == 0;
    g->icmp = rng_below(&w->rng, 2) == 0;
    g->first = (uint16_t)rng_below(&w->rng, 6);
    g->last = (uint16_t)(g->first + rng_below(&w->rng, 3));
    g->expires_s = now_s + rng_below(&w->rng, 30);
    struct policy_rule rules[2] = {tcp(g->first, g->last),
                                   g->icmp ? icmp() : tcp(g->first, g->last)};
    struct policy_resource resource = {.id = which, .kind = POLICY_KIND_CIDR};
    resource.prefix.ip = ip_v4(10, 0, 0, (uint8_t)g->net);
    resource.prefix.len = g->len;
    resource.rules = rules;
    resource.rules_count = g->any ? 0 : 2;
    assert_int_equal(policy_authorize(w->policy, w->alice, &resource, g->expires_s), ERR_NONE);
}

static void reclaim(struct world *w, struct twin_grant *grants)
{
    struct policy_ended ended;
    while (policy_expire(w->policy, w->now, &ended)) {
        grants[ended.resource_id.bytes[15]].held = false;
    }
}

static void judge(struct world *w, const struct twin_grant *grants, uint64_t now_s)
{
    static const char PROTOCOLS[] = "tix";
    char to[] = "10.0.0.00";
    uint32_t host = rng_below(&w->rng, 16);
    char protocol = PROTOCOLS[rng_below(&w->rng, 3)];
    uint16_t port = (uint16_t)rng_below(&w->rng, 9);
    if (host < 10) {
        to[7] = (char)('0' + host);
        to[8] = '\0';
    } else {
        to[7] = '1';
        to[8] = (char)('0' + host - 10);
    }
    int expected = twin_choice(grants, UINT32_C(0x0a000000) + host, protocol, port, now_s);
    enum policy_action action = out(w, w->alice, flow(protocol, ALICE_V4, to, 9, port));
    assert_int_equal(action == POLICY_FORWARD, expected >= 0);
    if (expected >= 0) {
        assert_int_equal(permitted_by(w, w->alice), expected);
    }
    char back = protocol == 'i' ? 'r' : protocol;
    assert_int_equal(in(w, flow(back, to, ALICE_V4, port, 9)) == POLICY_FORWARD, expected >= 0);
}

static void test_choice_agrees_with_a_naive_twin(void **state)
{
    (void)state;
    struct world w;
    struct twin_grant grants[8];
    memset(grants, 0, sizeof grants);
    world_init(&w);
    for (uint32_t i = 0; i < 60000; i++) {
        uint32_t dice = rng_below(&w.rng, 40);
        uint64_t now_s = w.now.unix_ns / NS_PER_S;
        if (dice < 2) {
            change(&w, grants, now_s);
            policy_check(w.policy);
        } else if (dice == 2) {
            world_sleep(&w, rng_below(&w.rng, 5) * NS_PER_S);
        } else if (dice == 3) {
            reclaim(&w, grants);
        } else {
            judge(&w, grants, now_s);
        }
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wider_grant_permits_what_a_narrower_one_forbids),
        cmocka_unit_test(test_an_open_range_is_that_of_one_grant_alone),
        cmocka_unit_test(test_equal_networks_expire_independently_and_lower_id_wins),
        cmocka_unit_test(test_everything_is_permitted_at_zero_slash_32),
        cmocka_unit_test(test_choice_agrees_with_a_naive_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
