/* The behaviours of RFC 4787, as a table of mapping and filtering. */
#include "sim/sim_nat.h"

#include "tests/support/support.h"

#define SECOND NS_PER_S

static struct sock_addr at(const char *text)
{
    struct sock_addr addr;
    assert_true(sock_addr_parse(view_text(text), &addr));
    return addr;
}

static struct sim_nat_config config_of(enum sim_nat_dependence mapping,
                                       enum sim_nat_dependence filtering)
{
    return (struct sim_nat_config){
        .translate_v4 = true,
        .firewall_v6 = true,
        .mapping = mapping,
        .filtering = filtering,
        .timeout_s = 30,
        .refresh_inbound = true,
        .outer = ip_v4(198, 51, 100, 1),
    };
}

static struct sim_nat *nat_of(const struct sim_nat_config *config)
{
    static const struct sim_rng rng = {{1, 2}};
    return sim_nat_new(config, &rng, 0);
}

static bool enters(struct sim_nat *nat, uint64_t now, struct sock_addr from, struct sock_addr to)
{
    struct sock_addr inner;
    return sim_nat_inbound(nat, now, &from, &to, &inner) == NULL;
}

/* RFC 4787 section 4.1: which destinations share a mapping. */
static void test_mapping_depends_on_what_it_says(void **state)
{
    (void)state;
    const struct {
        enum sim_nat_dependence mapping;
        bool other_port_shares;
        bool other_address_shares;
    } rows[] = {
        {SIM_NAT_INDEPENDENT, true, true},
        {SIM_NAT_ADDRESS, true, false},
        {SIM_NAT_ADDRESS_AND_PORT, false, false},
    };
    for (size_t i = 0; i < 3; i++) {
        struct sim_nat_config config = config_of(rows[i].mapping, SIM_NAT_ADDRESS_AND_PORT);
        struct sim_nat *nat = nat_of(&config);
        struct sock_addr inner = at("192.168.0.2:5000");
        struct sock_addr to[3] = {at("203.0.113.1:1000"), at("203.0.113.1:2000"),
                                  at("203.0.113.2:1000")};
        struct sock_addr a = sim_nat_outbound(nat, 0, &inner, &to[0]);
        struct sock_addr b = sim_nat_outbound(nat, 0, &inner, &to[1]);
        struct sock_addr c = sim_nat_outbound(nat, 0, &inner, &to[2]);
        struct sock_addr same = sim_nat_outbound(nat, 0, &inner, &to[0]);
        assert_true(sock_addr_equal(&a, &same));
        assert_int_equal(sock_addr_equal(&a, &b), rows[i].other_port_shares);
        assert_int_equal(sock_addr_equal(&a, &c), rows[i].other_address_shares);
        sim_nat_free(nat);
    }
}

/* RFC 4787 section 5: who may answer over a mapping. */
static void test_filtering_depends_on_what_it_says(void **state)
{
    (void)state;
    const struct {
        enum sim_nat_dependence filtering;
        bool other_port;
        bool other_address;
    } rows[] = {
        {SIM_NAT_INDEPENDENT, true, true},
        {SIM_NAT_ADDRESS, true, false},
        {SIM_NAT_ADDRESS_AND_PORT, false, false},
    };
    for (size_t i = 0; i < 3; i++) {
        struct sim_nat_config config = config_of(SIM_NAT_INDEPENDENT, rows[i].filtering);
        struct sim_nat *nat = nat_of(&config);
        struct sock_addr inner = at("192.168.0.2:5000");
        struct sock_addr remote = at("203.0.113.1:1000");
        struct sock_addr outer = sim_nat_outbound(nat, 0, &inner, &remote);
        struct sock_addr back;
        assert_null(sim_nat_inbound(nat, 0, &remote, &outer, &back));
        assert_true(sock_addr_equal(&back, &inner));
        assert_int_equal(enters(nat, 0, at("203.0.113.1:1001"), outer), rows[i].other_port);
        assert_int_equal(enters(nat, 0, at("203.0.113.2:1000"), outer), rows[i].other_address);
        assert_false(enters(nat, 0, remote, at("198.51.100.1:1")));
        sim_nat_free(nat);
    }
}

static void test_ports_are_chosen_as_configured(void **state)
{
    (void)state;
    struct sock_addr remote = at("203.0.113.1:1000");
    struct sock_addr a = at("192.168.0.2:5000");
    struct sock_addr b = at("192.168.0.3:5000");
    struct sim_nat_config config = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_INDEPENDENT);
    struct sim_nat *nat = nat_of(&config);
    assert_int_equal(sim_nat_outbound(nat, 0, &a, &remote).port, 5000);
    assert_int_equal(sim_nat_outbound(nat, 0, &b, &remote).port, 5001); /* collision */
    sim_nat_free(nat);
    config.ports = SIM_NAT_SEQUENTIAL;
    nat = nat_of(&config);
    assert_int_equal(sim_nat_outbound(nat, 0, &a, &remote).port, SIM_NAT_FIRST_PORT);
    assert_int_equal(sim_nat_outbound(nat, 0, &b, &remote).port, SIM_NAT_FIRST_PORT + 1);
    sim_nat_free(nat);
    config.ports = SIM_NAT_RANDOM;
    nat = nat_of(&config);
    uint16_t first = sim_nat_outbound(nat, 0, &a, &remote).port;
    assert_in_range(first, 1024, 65535);
    assert_int_not_equal(sim_nat_outbound(nat, 0, &b, &remote).port, first);
    sim_nat_free(nat);
}

static void test_idle_mappings_end_and_inbound_refreshes_if_configured(void **state)
{
    (void)state;
    for (int refresh = 0; refresh < 2; refresh++) {
        struct sim_nat_config config = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_ADDRESS_AND_PORT);
        config.refresh_inbound = refresh != 0;
        struct sim_nat *nat = nat_of(&config);
        struct sock_addr inner = at("192.168.0.2:5000");
        struct sock_addr remote = at("203.0.113.1:1000");
        struct sock_addr outer = sim_nat_outbound(nat, 0, &inner, &remote);
        assert_true(enters(nat, 20 * SECOND, remote, outer));
        assert_int_equal(enters(nat, 40 * SECOND, remote, outer), refresh);
        sim_nat_free(nat);
    }
}

static void test_a_mapping_lives_exactly_its_time(void **state)
{
    (void)state;
    struct sim_nat_config config = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_INDEPENDENT);
    config.refresh_inbound = false;
    struct sim_nat *nat = nat_of(&config);
    struct sock_addr inner = at("192.168.0.2:5000");
    struct sock_addr remote = at("203.0.113.1:1000");
    struct sock_addr outer = sim_nat_outbound(nat, 0, &inner, &remote);
    assert_true(enters(nat, 30 * SECOND - 1, remote, outer));
    assert_false(enters(nat, 30 * SECOND, remote, outer));
    sim_nat_free(nat);
}

static void test_a_reboot_forgets_everything(void **state)
{
    (void)state;
    struct sim_nat_config config = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_INDEPENDENT);
    config.ports = SIM_NAT_SEQUENTIAL;
    struct sim_nat *nat = nat_of(&config);
    struct sock_addr inner = at("192.168.0.2:5000");
    struct sock_addr remote = at("203.0.113.1:1000");
    struct sock_addr outer = sim_nat_outbound(nat, 0, &inner, &remote);
    assert_int_equal(sim_nat_mappings(nat, 0), 1);
    sim_nat_reboot(nat);
    assert_int_equal(sim_nat_mappings(nat, 0), 0);
    assert_false(enters(nat, 0, remote, outer));
    struct sock_addr fresh = sim_nat_outbound(nat, 0, &inner, &remote);
    assert_int_not_equal(fresh.port, outer.port);
    sim_nat_free(nat);
}

static void test_a_full_table_loses_its_idlest_mapping(void **state)
{
    (void)state;
    struct sim_nat_config config = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_INDEPENDENT);
    config.table_max = 2;
    struct sim_nat *nat = nat_of(&config);
    struct sock_addr remote = at("203.0.113.1:1000");
    struct sock_addr inner[3] = {at("192.168.0.2:1111"), at("192.168.0.2:2222"),
                                 at("192.168.0.2:3333")};
    struct sock_addr first = sim_nat_outbound(nat, 1, &inner[0], &remote);
    struct sock_addr second = sim_nat_outbound(nat, 2, &inner[1], &remote);
    struct sock_addr third = sim_nat_outbound(nat, 3, &inner[2], &remote);
    assert_false(enters(nat, 4, remote, first));
    assert_true(enters(nat, 4, remote, second));
    assert_true(enters(nat, 4, remote, third));
    sim_nat_free(nat);
}

static void test_ipv6_is_filtered_but_never_rewritten(void **state)
{
    (void)state;
    struct sim_nat_config config = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_INDEPENDENT);
    struct sim_nat *nat = nat_of(&config);
    struct sock_addr inner = at("[2001:db8::2]:5000");
    struct sock_addr remote = at("[2001:db8:1::1]:1000");
    assert_false(enters(nat, 0, remote, inner));
    struct sock_addr outer = sim_nat_outbound(nat, 0, &inner, &remote);
    assert_true(sock_addr_equal(&outer, &inner));
    assert_true(enters(nat, 0, remote, inner));
    assert_false(enters(nat, 0, at("[2001:db8:1::1]:1001"), inner));
    sim_nat_free(nat);
}

/* Both directions of every pair of edges, IPv4 only. */
static void test_direct_paths_follow_from_configuration(void **state)
{
    (void)state;
    const struct sim_nat_config cone = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_INDEPENDENT);
    const struct sim_nat_config restricted = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_ADDRESS);
    const struct sim_nat_config port = config_of(SIM_NAT_INDEPENDENT, SIM_NAT_ADDRESS_AND_PORT);
    const struct sim_nat_config symmetric =
        config_of(SIM_NAT_ADDRESS_AND_PORT, SIM_NAT_ADDRESS_AND_PORT);
    const struct {
        const struct sim_nat_config *a;
        const struct sim_nat_config *b;
        enum sim_direct expected;
    } rows[] = {
        {NULL, NULL, SIM_DIRECT_YES},        {NULL, &symmetric, SIM_DIRECT_YES},
        {&cone, &port, SIM_DIRECT_YES},      {&port, &port, SIM_DIRECT_YES},
        {&cone, &symmetric, SIM_DIRECT_YES}, {&restricted, &symmetric, SIM_DIRECT_YES},
        {&port, &symmetric, SIM_DIRECT_NO},  {&symmetric, &symmetric, SIM_DIRECT_NO},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sim_place a = {rows[i].a, 1, true, false};
        struct sim_place b = {rows[i].b, 2, true, false};
        assert_int_equal(sim_direct_path_possible(&a, &b), rows[i].expected);
        assert_int_equal(sim_direct_path_possible(&b, &a), rows[i].expected);
        a.has_v6 = true;
        b.has_v6 = true;
        assert_int_equal(sim_direct_path_possible(&a, &b), SIM_DIRECT_YES);
        a.has_v4 = false;
        b.has_v6 = false;
        assert_int_equal(sim_direct_path_possible(&a, &b), SIM_DIRECT_NO);
    }
    struct sim_place same = {&symmetric, 1, true, false};
    assert_int_equal(sim_direct_path_possible(&same, &same), SIM_DIRECT_YES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapping_depends_on_what_it_says),
        cmocka_unit_test(test_filtering_depends_on_what_it_says),
        cmocka_unit_test(test_ports_are_chosen_as_configured),
        cmocka_unit_test(test_idle_mappings_end_and_inbound_refreshes_if_configured),
        cmocka_unit_test(test_a_mapping_lives_exactly_its_time),
        cmocka_unit_test(test_a_reboot_forgets_everything),
        cmocka_unit_test(test_a_full_table_loses_its_idlest_mapping),
        cmocka_unit_test(test_ipv6_is_filtered_but_never_rewritten),
        cmocka_unit_test(test_direct_paths_follow_from_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
