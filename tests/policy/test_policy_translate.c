#include <stdio.h>

#include "tests/policy/policy_world.h"

#define P8                                                                                         \
    "100.96.0.4 100.96.0.1 100.96.0.3 100.96.0.2 fd00:2021:1111:8000::3 fd00:2021:1111:8000:: "    \
    "fd00:2021:1111:8000::2 fd00:2021:1111:8000::1"

/* Where a new flow through the proxy address goes; "" when nowhere. */
static void check_real(struct world *w, uint16_t port, const char *proxy, const char *real)
{
    struct ip_addr to = ip(proxy);
    const char *source = to.family == IP_V4 ? ALICE_V4 : ALICE_V6;
    enum policy_action action = out(w, w->alice, flow('u', source, proxy, port, 53));
    if (*real == '\0') {
        assert_int_equal(action, POLICY_REPLY);
        return;
    }
    assert_int_equal(action, POLICY_FORWARD);
    assert_ip(w->result.info.destination, real);
}

static void test_proxies_map_in_order_whatever_the_order_sent(void **state)
{
    /* The example of spec/dataplane.md 4.3. */
    (void)state;
    static const char *const EXPECTED[][2] = {
        {"100.96.0.1", "10.0.0.5"},
        {"100.96.0.2", "10.0.0.9"},
        {"100.96.0.3", "10.0.0.5"},
        {"100.96.0.4", "10.0.0.9"},
        {"fd00:2021:1111:8000::", "10.0.0.5"},
        {"fd00:2021:1111:8000::1", "10.0.0.9"},
        {"fd00:2021:1111:8000::2", "10.0.0.5"},
        {"fd00:2021:1111:8000::3", "10.0.0.9"},
    };
    for (int translate = 0; translate < 2; translate++) {
        struct world w;
        world_open(&w, small_limits(), (struct policy_options){.nat64_translate = translate == 1});
        world_people(&w);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        assert_int_equal(assign(&w, 1, "foo.com", P8, "10.0.0.9 10.0.0.5 10.0.0.9"), POLICY_ACTIVE);
        for (uint16_t i = 0; i < 8; i++) {
            check_real(&w, (uint16_t)(100 + i), EXPECTED[i][0],
                       i >= 4 && translate == 0 ? "" : EXPECTED[i][1]);
        }
        world_deinit(&w);
    }
}

static void test_many_answers_keep_the_smallest(void **state)
{
    (void)state;
    struct world w;
    struct ip_addr answers[60];
    struct ip_addr proxies[2] = {ip("100.96.0.1"), ip("100.96.0.2")};
    struct dns_name wanted = name("foo.com");
    uint32_t refused = 0;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    for (uint8_t i = 0; i < 60; i++) {
        answers[i] = ip_v4(192, 0, 2, (uint8_t)(100 - i));
    }
    struct policy_assign request = {id(1), &wanted, proxies, 2, answers, 60, 0, false, false};
    assert_int_equal(policy_assign(w.policy, w.alice, &request, w.now, &refused), POLICY_ACTIVE);
    check_real(&w, 1, "100.96.0.1", "192.0.2.41");
    check_real(&w, 1, "100.96.0.2", "192.0.2.42");
    world_deinit(&w);
}

static void test_requests_that_are_inactive(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "*.foo.com"), NULL);
    grant(&w, w.alice, cidr(2, "10.0.0.0/8"), NULL);
    assert_int_equal(assign(&w, 3, "a.foo.com", "100.96.0.1", "10.0.0.1"), POLICY_INACTIVE);
    assert_int_equal(assign(&w, 2, "a.foo.com", "100.96.0.1", "10.0.0.1"), POLICY_INACTIVE);
    assert_int_equal(assign(&w, 1, "a.b.foo.com", "100.96.0.1", "10.0.0.1"), POLICY_INACTIVE);
    assert_int_equal(assign(&w, 1, "a.foo.com", "100.96.0.1 10.1.1.1", "10.0.0.1"),
                     POLICY_INACTIVE); /* one proxy address out of range refuses all */
    assert_int_equal(assign(&w, 1, "a.foo.com", "100.64.0.10", "10.0.0.1"), POLICY_INACTIVE);
    assert_int_equal(assign(&w, 1, "a.foo.com", "fd00:2021:1111::9", "10.0.0.1"), POLICY_INACTIVE);
    assert_int_equal(policy_stats(w.policy).proxies, 0);
    assert_int_equal(assign(&w, 1, "a.foo.com", "", "10.0.0.1"), POLICY_ACTIVE);
    assert_int_equal(assign(&w, 1, "a.foo.com", "100.127.255.255", ""), POLICY_ACTIVE);
    assert_int_equal(policy_stats(w.policy).proxies, 1);
    world_deinit(&w);
}

static void test_check_before_the_lookup_says_the_same(void **state)
{
    (void)state;
    struct world w;
    struct dns_name good = name("a.foo.com");
    struct dns_name bad = name("a.bar.com");
    struct ip_addr proxies[40];
    world_init(&w);
    grant(&w, w.alice, dns(1, "*.foo.com"), NULL);
    for (uint8_t i = 0; i < 40; i++) {
        proxies[i] = ip_v4(100, 96, 0, i);
    }
    struct policy_assign request = {id(1), &good, proxies, 8, NULL, 0, 0, false, false};
    assert_int_equal(policy_check_assign(w.policy, w.alice, &request, w.now), POLICY_ACTIVE);
    assert_int_equal(policy_check_assign(w.policy, w.bob, &request, w.now), POLICY_INACTIVE);
    assert_int_equal(policy_check_assign(w.policy, 4711, &request, w.now), POLICY_INACTIVE);
    request.proxies_count = POLICY_ASSIGN_PROXIES_MAX + 1;
    assert_int_equal(policy_check_assign(w.policy, w.alice, &request, w.now), POLICY_INACTIVE);
    request.proxies_count = 1;
    request.domain = &bad;
    assert_int_equal(policy_check_assign(w.policy, w.alice, &request, w.now), POLICY_INACTIVE);
    world_deinit(&w);
}

static void test_forbidden_answers_are_left_out(void **state)
{
    (void)state;
    static const char *const BAD[] = {"127.0.0.1",
                                      "0.0.0.0",
                                      "224.0.0.1",
                                      "169.254.1.1",
                                      "100.64.0.1",
                                      "100.96.0.1",
                                      "255.255.255.255",
                                      "::1",
                                      "::",
                                      "ff02::1",
                                      "fe80::1",
                                      "fd00:2021:1111::1",
                                      "fd00:2021:1111:8000::1",
                                      "::ffff:10.0.0.1",
                                      "64:ff9b::7f00:1", /* through a NAT64 beside us */
                                      "64:ff9b::a9fe:a9fe",
                                      "64:ff9b::6440:1",
                                      "64:ff9b::"};
    struct dns_name wanted = name("foo.com");
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct world w;
        struct ip_addr proxies[2] = {ip("100.96.0.1"), ip("fd00:2021:1111:8000::1")};
        struct ip_addr answers[3] = {ip(BAD[i]), ip("192.168.1.1"), ip("64:ff9b::a00:1")};
        uint32_t refused = 0;
        world_init(&w);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        struct policy_assign request = {id(1), &wanted, proxies, 2, answers, 3, 0, false, false};
        assert_int_equal(policy_assign(w.policy, w.alice, &request, w.now, &refused),
                         POLICY_ACTIVE);
        assert_int_equal(refused, 1);
        check_real(&w, 1, "100.96.0.1", "192.168.1.1"); /* RFC 1918 is normal */
        check_real(&w, 1, "fd00:2021:1111:8000::1", "64:ff9b::a00:1");
        world_deinit(&w);
    }
}

static void test_own_addresses_are_refused_by_option(void **state)
{
    (void)state;
    for (int refuse = 0; refuse < 2; refuse++) {
        struct world w;
        struct ip_addr own[2] = {ip("192.0.2.1"), ip("2001:db8::1")};
        world_open(&w, small_limits(),
                   (struct policy_options){.refuse_own_addresses = refuse == 1});
        world_people(&w);
        policy_set_own_addresses(w.policy, own, 2);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        assert_int_equal(assign(&w, 1, "foo.com", "100.96.0.1", "192.0.2.1"), POLICY_ACTIVE);
        check_real(&w, 1, "100.96.0.1", refuse == 1 ? "" : "192.0.2.1");
        world_deinit(&w);
    }
}

static void test_proxy_of_another_name_resets_the_client(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "*.com"), NULL);
    (void)assign(&w, 1, "foo.com", "100.96.0.1 100.96.0.2", "192.0.2.1");
    (void)assign(&w, 1, "bar.com", "100.96.0.3", "192.0.2.2");
    check_real(&w, 1, "100.96.0.1", "192.0.2.1");
    check_real(&w, 1, "100.96.0.3", "192.0.2.2");
    assert_int_equal(policy_stats(w.policy).domains, 2);
    (void)assign(&w, 1, "new.com", "100.96.0.2", "192.0.2.3");
    assert_int_equal(policy_stats(w.policy).nat_sessions, 0);
    assert_int_equal(policy_stats(w.policy).nat_expired, 0);
    assert_int_equal(policy_stats(w.policy).proxies, 1);
    assert_int_equal(policy_stats(w.policy).domains, 1);
    check_real(&w, 1, "100.96.0.1", "");
    check_real(&w, 1, "100.96.0.2", "192.0.2.3");
    world_deinit(&w);
}

static void test_same_request_again_changes_nothing(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(assign(&w, 1, i == 1 ? "FOO.com" : "foo.com", P8, "192.0.2.1"),
                         POLICY_ACTIVE);
        check_real(&w, 1, "100.96.0.1", "192.0.2.1");
        assert_int_equal(policy_stats(w.policy).nat_sessions, 1);
        assert_int_equal(policy_stats(w.policy).proxies, 8);
        assert_int_equal(policy_stats(w.policy).domains, 1);
    }
    world_deinit(&w);
}

static void test_full_tables_answer_inactive_and_change_nothing(void **state)
{
    (void)state;
    struct world w;
    char domain[] = "a.com";
    world_init(&w); /* 16 names, 64 proxy addresses, 40 of one client */
    grant(&w, w.alice, dns(1, "*.com"), NULL);
    for (uint8_t i = 0; i < 16; i++) {
        char proxy[] = "100.96.0.10";
        domain[0] = (char)('a' + i);
        proxy[9] = (char)('1' + i / 10);
        proxy[10] = (char)('0' + i % 10);
        assert_int_equal(assign(&w, 1, domain, proxy, "192.0.2.1"), POLICY_ACTIVE);
    }
    assert_int_equal(assign(&w, 1, "z.com", "100.96.1.1", "192.0.2.1"), POLICY_INACTIVE);
    assert_int_equal(policy_stats(w.policy).domains, 16);
    policy_check(w.policy);
    assert_int_equal(assign(&w, 1, "a.com", "100.96.0.10 100.96.1.1", "192.0.2.1"),
                     POLICY_ACTIVE); /* a known name still grows */
    world_deinit(&w);
}

static void test_oldest_translations_yield_at_the_clients_limit(void **state)
{
    (void)state;
    struct world w;
    struct policy_limits limits = small_limits();
    limits.proxies_per_client = 4;
    world_open(&w, limits, (struct policy_options){.nat64_translate = false});
    world_people(&w);
    grant(&w, w.alice, dns(1, "*.com"), NULL);
    (void)assign(&w, 1, "a.com", "100.96.0.1 100.96.0.2", "192.0.2.1");
    (void)assign(&w, 1, "b.com", "100.96.0.3 100.96.0.4", "192.0.2.2");
    (void)assign(&w, 1, "a.com", "100.96.0.1 100.96.0.2", "192.0.2.1"); /* the fresher one */
    assert_int_equal(assign(&w, 1, "c.com", "100.96.0.5 100.96.0.6", "192.0.2.3"), POLICY_ACTIVE);
    check_real(&w, 1, "100.96.0.1", "192.0.2.1");
    check_real(&w, 1, "100.96.0.3", "");
    check_real(&w, 1, "100.96.0.6", "192.0.2.3");
    assert_int_equal(assign(&w, 1, "d.com",
                            "100.96.1.1 100.96.1.2 100.96.1.3 100.96.1.4 100.96.1.5", "192.0.2.3"),
                     POLICY_INACTIVE);
    world_deinit(&w);
}

/* A client that asks for one proxy address a name has very many of them. */
static void test_a_client_has_its_share_of_the_names(void **state)
{
    (void)state;
    struct world w;
    struct policy_limits limits = small_limits();
    limits.proxies = 512;
    limits.proxies_per_client = 256;
    limits.domains = POLICY_DOMAIN_SHARE_MIN + 1;
    world_open(&w, limits, (struct policy_options){.nat64_translate = false});
    world_people(&w);
    grant(&w, w.alice, dns(1, "*.com"), NULL);
    for (uint32_t i = 0; i < 200; i++) {
        char domain[16];
        char proxy[16];
        (void)snprintf(domain, sizeof domain, "n%u.com", i);
        (void)snprintf(proxy, sizeof proxy, "100.96.0.%u", i + 1);
        assert_int_equal(assign(&w, 1, domain, proxy, "192.0.2.1"), POLICY_ACTIVE);
        policy_check(w.policy);
    }
    assert_int_equal(policy_stats(w.policy).domains, POLICY_DOMAIN_SHARE_MIN);
    check_real(&w, 1, "100.96.0.1", ""); /* the oldest went */
    check_real(&w, 1, "100.96.0.200", "192.0.2.1");
    uint32_t alice = w.alice;
    w.alice = w.bob; /* the next one who assigns */
    grant(&w, w.bob, dns(2, "*.com"), NULL);
    assert_int_equal(assign(&w, 2, "b.com", "100.96.0.1", "192.0.2.1"), POLICY_ACTIVE);
    w.alice = alice;
    policy_client_remove(w.policy, w.alice);
    assert_int_equal(policy_stats(w.policy).domains, 1);
    world_deinit(&w);
}

static void test_random_assignments_keep_the_invariants(void **state)
{
    (void)state;
    static const char *const DOMAINS[] = {"a.com", "b.com", "c.org", "d.net"};
    struct world w;
    struct policy_limits limits = small_limits();
    limits.proxies = 12;
    limits.proxies_per_client = 7;
    limits.domains = 3;
    limits.resources_per_client = 3;
    world_open(&w, limits, (struct policy_options){.nat64_translate = true});
    world_people(&w);
    for (uint32_t i = 0; i < 20000; i++) {
        uint8_t n = (uint8_t)rng_below(&w.rng, 5);
        uint32_t client = rng_below(&w.rng, 2) == 0 ? w.alice : w.bob;
        struct policy_resource resource = dns(n, n % 2 == 0 ? "*.com" : "*.*");
        struct policy_ended ended;
        struct ip_addr proxies[6];
        struct ip_addr real = ip_v4(192, 0, 2, n);
        struct dns_name wanted = name(DOMAINS[rng_below(&w.rng, 4)]);
        uint32_t refused = 0;
        uint32_t dice = rng_below(&w.rng, 10);
        struct policy_assign request = {id(n),
                                        &wanted,
                                        proxies,
                                        rng_below(&w.rng, 7),
                                        &real,
                                        rng_below(&w.rng, 2),
                                        rng_below(&w.rng, 3),
                                        rng_below(&w.rng, 4) == 0,
                                        false};
        for (uint32_t j = 0; j < 6; j++) {
            proxies[j] = ip_v4(100, 96, 0, (uint8_t)rng_below(&w.rng, 9));
        }
        if (dice == 0) {
            enum err err = policy_revoke(w.policy, client, &resource.id, &ended);
            assert_true(err == ERR_NONE || err == ERR_NOT_FOUND);
        } else if (dice < 3) {
            enum err err = policy_authorize(w.policy, client, &resource, POLICY_NEVER);
            assert_true(err == ERR_NONE || err == ERR_FULL);
        } else {
            enum policy_status first = policy_check_assign(w.policy, client, &request, w.now);
            enum policy_status second = policy_assign(w.policy, client, &request, w.now, &refused);
            assert_true(first == POLICY_ACTIVE || second == POLICY_INACTIVE);
        }
        policy_check(w.policy);
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxies_map_in_order_whatever_the_order_sent),
        cmocka_unit_test(test_many_answers_keep_the_smallest),
        cmocka_unit_test(test_requests_that_are_inactive),
        cmocka_unit_test(test_check_before_the_lookup_says_the_same),
        cmocka_unit_test(test_forbidden_answers_are_left_out),
        cmocka_unit_test(test_own_addresses_are_refused_by_option),
        cmocka_unit_test(test_proxy_of_another_name_resets_the_client),
        cmocka_unit_test(test_same_request_again_changes_nothing),
        cmocka_unit_test(test_full_tables_answer_inactive_and_change_nothing),
        cmocka_unit_test(test_oldest_translations_yield_at_the_clients_limit),
        cmocka_unit_test(test_a_client_has_its_share_of_the_names),
        cmocka_unit_test(test_random_assignments_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
