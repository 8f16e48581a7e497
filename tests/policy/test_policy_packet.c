#include "tests/policy/policy_world.h"

#define P4 "100.96.0.1 100.96.0.2 100.96.0.3 100.96.0.4"
#define P6                                                                                         \
    "fd00:2021:1111:8000:: fd00:2021:1111:8000::1 fd00:2021:1111:8000::2 fd00:2021:1111:8000::3"
#define P8 P4 " " P6

static void test_dns_and_cidr_filters_do_not_mix(void **state)
{
    (void)state;
    struct world w;
    struct policy_rule to80 = udp(80, 80);
    struct policy_rule to443 = udp(443, 443);
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), &to80);
    grant(&w, w.alice, cidr(2, "10.0.0.0/24"), &to443);
    assert_int_equal(assign(&w, 1, "foo.com", "100.96.0.1", "10.0.0.1"), POLICY_ACTIVE);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 443)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_FILTER);
    assert_int_equal(answer_kind(&w), PROHIBITED_V4);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 1, 443)), POLICY_REPLY);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 1, 80)), POLICY_FORWARD);
    assert_ip(w.result.info.destination, "10.0.0.1");
    assert_int_equal(w.result.info.source_port, 1);
    world_deinit(&w);
}

static void test_a_session_permits_only_the_ports_of_the_filter(void **state)
{
    /* The far port is no part of the NAT key: the remembered decision must not leak to others. */
    (void)state;
    struct world w;
    struct policy_rule to80 = tcp(80, 80);
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), &to80);
    (void)assign(&w, 1, "foo.com", "100.96.0.1", "10.0.0.1");
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 5, 80)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 5, 22)), POLICY_REPLY);
    assert_int_equal(in(&w, flow('t', "10.0.0.1", ALICE_V4, 22, 5)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_FILTER);
    assert_int_equal(in(&w, flow('t', "10.0.0.1", ALICE_V4, 80, 5)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 5, 80)), POLICY_FORWARD);
    world_deinit(&w);
}

static void test_internet_resource_leaves_proxy_addresses_to_dns(void **state)
{
    (void)state;
    struct world w;
    struct policy_rule to80 = udp(80, 80);
    world_init(&w);
    grant(&w, w.alice, internet(1), NULL);
    grant(&w, w.alice, dns(2, "foo.com"), &to80);
    (void)assign(&w, 2, "foo.com", "100.96.0.1", "10.0.0.1");
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 1, 80)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 1, 600)), POLICY_REPLY);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "1.1.1.1", 1, 600)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('x', ALICE_V4, "1.1.1.1", 1, 600)), POLICY_FORWARD);
    assert_int_equal(in(&w, flow('u', "1.1.1.1", ALICE_V4, 600, 1)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "100.97.0.1", 1, 80)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NO_RESOURCE);
    world_deinit(&w);
}

static void test_internet_resource_reaches_no_private_range(void **state)
{
    (void)state;
    static const char *const V4[] = {"10.1.2.3",  "172.16.0.1",  "172.31.255.255", "192.168.0.1",
                                     "127.0.0.1", "169.254.1.1", "240.0.0.1",      "0.1.2.3"};
    static const char *const V6[] = {
        "::1",     "::ffff:8.8.8.8",   "fc00::1",         "fdff::1",
        "fe80::1", "64:ff9b::a01:203", "64:ff9b::7f00:1", "64:ff9b:1::a01:203"};
    struct world w;
    world_init(&w);
    grant(&w, w.alice, internet(1), NULL);
    for (size_t i = 0; i < sizeof V4 / sizeof V4[0]; i++) {
        assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, V4[i], 1, 2)), POLICY_REPLY);
        assert_int_equal(w.result.reason, DROP_INTERNET_PRIVATE);
        assert_int_equal(answer_kind(&w), NETWORK_V4);
        assert_int_equal(in(&w, flow('u', V4[i], ALICE_V4, 2, 1)), POLICY_DROP);
    }
    for (size_t i = 0; i < sizeof V6 / sizeof V6[0]; i++) {
        assert_int_equal(out(&w, w.alice, flow('u', ALICE_V6, V6[i], 1, 2)), POLICY_REPLY);
        assert_int_equal(w.result.reason, DROP_INTERNET_PRIVATE);
        assert_int_equal(answer_kind(&w), NETWORK_V6);
    }
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "172.32.0.1", 1, 2)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V6, "2606::1", 1, 2)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V6, "64:ff9b::808:808", 1, 2)),
                     POLICY_FORWARD);
    grant(&w, w.alice, cidr(2, "10.0.0.0/8"), NULL); /* a CIDR resource may be private */
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.1.2.3", 1, 2)), POLICY_FORWARD);
    world_deinit(&w);
}

static void test_source_must_be_the_tunnel_address(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.alice, cidr(2, "2001:db8::/32"), NULL);
    assert_int_equal(out(&w, w.alice, flow('u', BOB_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_SOURCE);
    assert_int_equal(answer_kind(&w), PROHIBITED_V4);
    assert_int_equal(out(&w, w.alice, flow('u', BOB_V6, "2001:db8::1", 1, 2)), POLICY_REPLY);
    assert_int_equal(answer_kind(&w), PROHIBITED_V6);
    assert_int_equal(out(&w, w.alice, flow('u', "0.0.0.0", "10.0.0.1", 1, 2)), POLICY_DROP);
    assert_int_equal(out(&w, w.bob, flow('u', BOB_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NO_PEER);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "224.0.0.22", 1, 2)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_IP_MULTICAST);
    world_deinit(&w);
}

static void test_gateway_address_is_allowed_both_ways(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, GW_V4, 1, 53535)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V6, GW_V6, 1, 53535)), POLICY_FORWARD);
    assert_int_equal(in(&w, flow('u', GW_V4, ALICE_V4, 53535, 1)), POLICY_FORWARD);
    assert_int_equal(in(&w, flow('t', GW_V6, ALICE_V6, 53535, 1)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('u', BOB_V4, GW_V4, 1, 53535)), POLICY_REPLY);
    world_deinit(&w);
}

/* The tunnel of a client may outlive its last right. */
static void test_without_a_right_not_even_the_gateway_is_reached(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    assert_int_equal(out(&w, w.bob, flow('u', BOB_V4, GW_V4, 1, 53535)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NO_PEER);
    assert_int_equal(answer_kind(&w), PROHIBITED_V4);
    assert_int_equal(out(&w, w.bob, flow('t', BOB_V6, GW_V6, 1, 22)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NO_PEER);
    assert_int_equal(in(&w, flow('u', GW_V4, BOB_V4, 53535, 1)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NO_PEER);
    revoke(&w, w.alice, 1);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, GW_V4, 1, 53535)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NO_PEER);
    assert_int_equal(in(&w, flow('t', GW_V6, ALICE_V6, 22, 1)), POLICY_DROP);
    world_deinit(&w);
}

/* A host that unpacks tunnels would forward what is inside past the policy. */
static void test_no_packet_inside_a_packet_reaches_the_gateway(void **state)
{
    static const uint8_t PROTOCOLS[] = {4, 41, 47, 50, 51, 59, 94, 108, 115, 132, 136, 137, 255};
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    for (size_t i = 0; i < ARRAY_COUNT(PROTOCOLS); i++) {
        put_raw(&w, ALICE_V4, GW_V4, PROTOCOLS[i]);
        assert_int_not_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result),
                             POLICY_FORWARD);
        assert_true(w.result.reason == DROP_GATEWAY_PROTOCOL ||
                    w.result.reason == DROP_IP_EXTENSION);
        put_raw(&w, ALICE_V6, GW_V6, PROTOCOLS[i]);
        assert_int_not_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result),
                             POLICY_FORWARD);
        /* To a resource that admits everything they go as ever. */
        put_raw(&w, ALICE_V4, "10.0.0.1", PROTOCOLS[i]);
        assert_int_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result),
                         PROTOCOLS[i] == 51 ? POLICY_DROP : POLICY_FORWARD);
    }
    assert_int_equal(out(&w, w.alice, flow('x', ALICE_V4, BOB_V4, 0, 0)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_HAIRPIN);
    assert_int_equal(out(&w, w.alice, flow('x', ALICE_V4, "100.96.0.1", 0, 0)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NO_RESOURCE);
    world_deinit(&w);
}

/* Beside a client that has used up its grants: what stands there belongs to nobody else. */
static void test_packets_to_the_gateway_belong_to_no_resource(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    for (uint8_t n = 1; n <= small_limits().resources_per_client; n++) {
        grant(&w, w.alice, cidr(n, "10.0.0.0/8"), NULL);
    }
    grant(&w, w.bob, cidr(1, "10.0.0.0/8"), NULL);
    assert_int_equal(out(&w, w.bob, flow('u', BOB_V4, GW_V4, 1, 53535)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.bob), 0);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 2)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.alice), 1);
    policy_client_remove(w.policy, w.alice);
    assert_int_equal(permitted_by(&w, w.alice), 0);
    world_deinit(&w);
}

static void test_hairpin_is_refused_in_both_directions(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, internet(1), NULL);
    grant(&w, w.alice, cidr(2, "0.0.0.0/0"), NULL);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, BOB_V4, 1, 2)), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_HAIRPIN);
    assert_int_equal(answer_kind(&w), PROHIBITED_V4);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V6, BOB_V6, 1, 2)), POLICY_REPLY);
    assert_int_equal(in(&w, flow('u', BOB_V4, ALICE_V4, 1, 2)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_HAIRPIN);
    assert_int_equal(in(&w, flow('u', "100.96.0.9", ALICE_V4, 1, 2)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NO_FLOW);
    world_deinit(&w);
}

static void test_inbound_needs_a_client_and_a_permitted_flow(void **state)
{
    (void)state;
    struct world w;
    struct policy_rule to80 = tcp(80, 80);
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/24"), &to80);
    assert_int_equal(in(&w, flow('t', "10.0.0.1", "100.64.9.9", 80, 1)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_TUN_NOT_CLIENT);
    assert_int_equal(in(&w, flow('u', "fe80::1", "ff02::16", 80, 1)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_TUN_NOT_CLIENT);
    assert_int_equal(in(&w, flow('t', "10.0.0.1", ALICE_V4, 80, 1)), POLICY_FORWARD);
    assert_int_equal(in(&w, flow('t', "10.0.0.1", ALICE_V4, 81, 1)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_FILTER);
    assert_int_equal(in(&w, flow('t', "10.0.1.1", ALICE_V4, 80, 1)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NO_FLOW);
    assert_int_equal(in(&w, flow('r', "10.0.0.1", ALICE_V4, 1, 1)), POLICY_DROP);
    assert_int_equal(in(&w, flow('t', "10.0.0.1", BOB_V4, 80, 1)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NO_PEER);
    grant(&w, w.alice, cidr(1, "10.0.0.0/24"), NULL);
    assert_int_equal(in(&w, flow('x', "10.0.0.1", ALICE_V4, 0, 0)), POLICY_FORWARD);
    uint32_t client = w.alice; /* nobody's packet names nobody */
    put(&w, flow('t', "10.0.0.1", "100.64.9.9", 80, 1));
    assert_int_equal(policy_inbound(w.policy, &w.packet, w.now, &client, &w.result), POLICY_DROP);
    assert_int_equal(client, POLICY_CLIENT_NONE);
    world_deinit(&w);
}

static void test_answers_map_back_until_the_session_dies(void **state)
{
    /* spec/dataplane.md 14.1: after d seconds the answer maps back iff d is below the life. */
    (void)state;
    static const struct {
        char protocol;
        uint64_t life_s;
    } LIVES[] = {{'t', 7440}, {'u', 120}, {'i', 120}};
    for (size_t i = 0; i < 3; i++) {
        struct world w;
        world_init(&w);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        (void)assign(&w, 1, "foo.com", P8, "10.0.0.5 2001:db8::5");
        char back = LIVES[i].protocol == 'i' ? 'r' : LIVES[i].protocol;
        assert_int_equal(
            out(&w, w.alice, flow(LIVES[i].protocol, ALICE_V4, "100.96.0.1", 4000, 80)),
            POLICY_FORWARD);
        world_sleep(&w, 60 * NS_PER_S - 1);
        uint16_t far = back == 'r' ? 4000 : 80;
        assert_int_equal(in(&w, flow(back, "10.0.0.5", ALICE_V4, far, 4000)), POLICY_FORWARD);
        assert_ip(w.result.info.source, "100.96.0.1");
        assert_int_equal(w.result.info.destination_port, 4000);
        world_sleep(&w, LIVES[i].life_s * NS_PER_S - 1); /* inbound kept it alive */
        assert_int_equal(in(&w, flow(back, "10.0.0.5", ALICE_V4, far, 4000)), POLICY_FORWARD);
        world_sleep(&w, LIVES[i].life_s * NS_PER_S);
        assert_int_equal(in(&w, flow(back, "10.0.0.5", ALICE_V4, far, 4000)), POLICY_DROP);
        assert_int_equal(w.result.reason, DROP_NAT_EXPIRED);
        world_deinit(&w);
    }
}

static void test_unconfirmed_session_dies_after_60_seconds(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.5");
    (void)out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 4000, 80));
    world_sleep(&w, 60 * NS_PER_S);
    assert_int_equal(in(&w, flow('t', "10.0.0.5", ALICE_V4, 80, 4000)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NAT_EXPIRED);
    (void)out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 4000, 80)); /* lives again */
    assert_int_equal(in(&w, flow('t', "10.0.0.5", ALICE_V4, 80, 4000)), POLICY_FORWARD);
    world_sleep(&w, UINT64_MAX / 4); /* absurdly late */
    assert_int_equal(in(&w, flow('t', "10.0.0.5", ALICE_V4, 80, 4000)), POLICY_DROP);
    world_deinit(&w);
}

static void test_fin_and_rst_shorten_the_life(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.5");
    struct flow request = flow('t', ALICE_V4, "100.96.0.1", 4000, 80);
    struct flow response = flow('t', "10.0.0.5", ALICE_V4, 80, 4000);
    (void)out(&w, w.alice, request);
    response.flags = PACKET_TCP_FIN | PACKET_TCP_ACK;
    assert_int_equal(in(&w, response), POLICY_FORWARD);
    world_sleep(&w, 100 * NS_PER_S); /* half-closed lives on */
    request.flags = PACKET_TCP_FIN | PACKET_TCP_ACK;
    assert_int_equal(out(&w, w.alice, request), POLICY_FORWARD);
    world_sleep(&w, 5 * NS_PER_S - 1);
    response.flags = PACKET_TCP_ACK;
    assert_int_equal(in(&w, response), POLICY_FORWARD);
    world_sleep(&w, 5 * NS_PER_S);
    assert_int_equal(in(&w, response), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NAT_EXPIRED);
    request.flags = PACKET_TCP_SYN;
    assert_int_equal(out(&w, w.alice, request), POLICY_FORWARD);
    request.flags = PACKET_TCP_RST;
    assert_int_equal(out(&w, w.alice, request), POLICY_FORWARD);
    assert_int_equal(in(&w, response), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NAT_EXPIRED);
    world_deinit(&w);
}

/* The far port is no part of the key: two connections may share a session. */
static void test_a_port_in_use_again_outlives_the_connection_before(void **state)
{
    (void)state;
    const uint8_t fin = PACKET_TCP_FIN | PACKET_TCP_ACK;
    for (int shared = 0; shared < 2; shared++) {
        struct world w;
        world_init(&w);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        (void)assign(&w, 1, "foo.com", "100.96.0.1", "10.0.0.5");
        struct flow there = flow('t', ALICE_V4, "100.96.0.1", 70, 80);
        struct flow back = flow('t', "10.0.0.5", ALICE_V4, 80, 70);
        struct flow again = flow('t', ALICE_V4, "100.96.0.1", 70, shared == 0 ? 80 : 443);
        struct flow answer = flow('t', "10.0.0.5", ALICE_V4, shared == 0 ? 80 : 443, 70);
        assert_int_equal(out(&w, w.alice, there), POLICY_FORWARD);
        there.flags = back.flags = fin;
        assert_int_equal(out(&w, w.alice, there), POLICY_FORWARD);
        assert_int_equal(in(&w, back), POLICY_FORWARD);
        again.flags = shared == 0 ? PACKET_TCP_SYN : PACKET_TCP_ACK;
        assert_int_equal(out(&w, w.alice, again), POLICY_FORWARD);
        world_sleep(&w, 100 * NS_PER_S);
        assert_int_equal(in(&w, answer), POLICY_FORWARD);
        assert_ip(w.result.info.source, "100.96.0.1");
        world_deinit(&w);
    }
}

static void test_direct_flows_take_over_the_tuple_of_a_dead_session(void **state)
{
    (void)state;
    for (const char *p = "tui"; *p != '\0'; p++) {
        struct world w;
        world_init(&w);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        grant(&w, w.alice, cidr(2, "10.0.0.0/24"), NULL);
        (void)assign(&w, 1, "foo.com", "100.96.0.1", "10.0.0.5");
        struct flow back = flow(*p == 'i' ? 'r' : *p, "10.0.0.5", ALICE_V4, 80, 70);
        back.source_port = *p == 'i' ? 70 : 80;
        assert_int_equal(out(&w, w.alice, flow(*p, ALICE_V4, "100.96.0.1", 70, 80)),
                         POLICY_FORWARD);
        world_sleep(&w, 61 * NS_PER_S);
        assert_int_equal(in(&w, back), POLICY_DROP); /* late for the name's flow */
        assert_int_equal(w.result.reason, DROP_NAT_EXPIRED);
        struct flow direct = flow(*p, ALICE_V4, "10.0.0.5", 70, 80);
        direct.flags = PACKET_TCP_SYN;
        assert_int_equal(out(&w, w.alice, direct), POLICY_FORWARD);
        assert_int_equal(in(&w, back), POLICY_FORWARD);
        assert_ip(w.result.info.source, "10.0.0.5");
        world_deinit(&w);
    }
}

/* One host, by its name and by its address, from one port of the client: what the name's flow gets
 * outside can change, what the other one has cannot. */
static void test_a_translated_flow_makes_way_for_a_direct_one(void **state)
{
    (void)state;
    for (const char *p = "ui"; *p != '\0'; p++) {
        struct world w;
        world_init(&w);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        grant(&w, w.alice, cidr(2, "10.0.0.0/24"), NULL);
        grant(&w, w.bob, cidr(2, "10.0.0.0/24"), NULL);
        (void)assign(&w, 1, "foo.com", "100.96.0.1", "10.0.0.5");
        bool is_echo = *p == 'i';
        char back = is_echo ? 'r' : *p;
        for (uint16_t port = 65535; port >= 65534; port--) {
            uint16_t next = port == 65535 ? 1 : 65535;
            (void)out(&w, w.alice, flow(*p, ALICE_V4, "100.96.0.1", port, 80));
            assert_int_equal(w.result.info.source_port, port);
            assert_int_equal(out(&w, w.bob, flow(*p, BOB_V4, "10.0.0.5", port, 80)),
                             POLICY_FORWARD);
            assert_int_equal(in(&w, flow(back, "10.0.0.5", ALICE_V4, is_echo ? port : 80, port)),
                             POLICY_FORWARD);
            assert_ip(w.result.info.source, "100.96.0.1"); /* another client changes nothing */
            assert_int_equal(out(&w, w.alice, flow(*p, ALICE_V4, "10.0.0.5", port, 80)),
                             POLICY_FORWARD);
            assert_int_equal(in(&w, flow(back, "10.0.0.5", ALICE_V4, is_echo ? port : 80, port)),
                             POLICY_FORWARD);
            assert_ip(w.result.info.source, "10.0.0.5");
            (void)out(&w, w.alice, flow(*p, ALICE_V4, "100.96.0.1", port, 80));
            assert_int_equal(w.result.info.source_port, next);
            assert_int_equal(in(&w, flow(back, "10.0.0.5", ALICE_V4, is_echo ? next : 80, next)),
                             POLICY_FORWARD);
            assert_ip(w.result.info.source, "100.96.0.1");
            assert_int_equal(w.result.info.destination_port, port);
            policy_check(w.policy);
            world_sleep(&w, 121 * NS_PER_S);
        }
        world_deinit(&w);
    }
}

static void test_no_direct_connection_on_the_ports_of_a_translated_one(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    grant(&w, w.alice, cidr(2, "10.0.0.0/24"), NULL);
    (void)assign(&w, 1, "foo.com", "100.96.0.1", "10.0.0.5");
    struct flow named = flow('t', ALICE_V4, "100.96.0.1", 70, 80);
    struct flow direct = flow('t', ALICE_V4, "10.0.0.5", 70, 80);
    struct flow answer = flow('t', "10.0.0.5", ALICE_V4, 80, 70);
    named.flags = PACKET_TCP_SYN;
    direct.flags = PACKET_TCP_SYN;
    (void)out(&w, w.alice, named);
    assert_int_equal(in(&w, answer), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, direct), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NAT_CONFLICT);
    assert_int_equal(answer_kind(&w), PROHIBITED_V4);
    assert_int_equal(in(&w, answer), POLICY_FORWARD);
    assert_ip(w.result.info.source, "100.96.0.1");
    named.flags = PACKET_TCP_FIN;
    answer.flags = PACKET_TCP_FIN;
    (void)out(&w, w.alice, named);
    (void)in(&w, answer);
    assert_int_equal(out(&w, w.alice, direct), POLICY_FORWARD); /* it is over */
    answer.flags = PACKET_TCP_ACK;
    assert_int_equal(in(&w, answer), POLICY_FORWARD);
    assert_ip(w.result.info.source, "10.0.0.5");
    world_deinit(&w);
}

static void test_new_answer_spares_open_sessions(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.5");
    (void)out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80));
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.6");
    (void)out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80));
    assert_ip(w.result.info.destination, "10.0.0.5");
    (void)out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 2, 80));
    assert_ip(w.result.info.destination, "10.0.0.6");
    assert_int_equal(in(&w, flow('t', "10.0.0.5", ALICE_V4, 80, 1)), POLICY_FORWARD);
    assert_ip(w.result.info.source, "100.96.0.1");
    (void)assign(&w, 1, "foo.com", P4, ""); /* the name lost its addresses */
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 2, 80)), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 3, 80)), POLICY_REPLY);
    assert_int_equal(answer_kind(&w), NETWORK_V4);
    world_deinit(&w);
}

static void test_v4_only_name_answers_unreachable_on_v6(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    assert_int_equal(assign(&w, 1, "foo.com", P8, "10.0.0.5"), POLICY_ACTIVE);
    assert_int_equal(policy_stats(w.policy).proxies, 8);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V6, "fd00:2021:1111:8000::1", 1, 80)),
                     POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_NAT_UNMAPPED);
    assert_int_equal(answer_kind(&w), NETWORK_V6);
    world_deinit(&w);
}

static void test_two_resources_share_a_proxy_with_their_own_filters(void **state)
{
    (void)state;
    struct world w;
    struct policy_rule to80 = tcp(80, 80);
    struct policy_rule to22 = tcp(22, 22);
    world_init(&w);
    grant(&w, w.alice, dns(1, "*.foo.com"), &to80);
    grant(&w, w.alice, dns(2, "a.foo.com"), &to22);
    (void)assign(&w, 1, "a.foo.com", P4, "10.0.0.5");
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 22)), POLICY_REPLY);
    (void)assign(&w, 2, "A.foo.COM", P4, "10.0.0.5");
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 22)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.alice), 2);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80)), POLICY_FORWARD);
    assert_int_equal(permitted_by(&w, w.alice), 1);
    assert_false(revoke(&w, w.alice, 2));
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 22)), POLICY_REPLY);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80)), POLICY_FORWARD);
    world_deinit(&w);
}

static void test_regranted_resource_finds_its_translations_again(void **state)
{
    /* A client whose mapping is confirmed does not send it again (spec/dataplane.md 13.4). */
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(9, "10.9.0.0/16"), NULL);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.5");
    (void)out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80));
    (void)revoke(&w, w.alice, 1);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80)), POLICY_REPLY);
    assert_int_equal(in(&w, flow('t', "10.0.0.5", ALICE_V4, 80, 1)), POLICY_DROP);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80)), POLICY_FORWARD);
    assert_int_equal(in(&w, flow('t', "10.0.0.5", ALICE_V4, 80, 1)), POLICY_FORWARD);
    (void)revoke(&w, w.alice, 1);
    grant(&w, w.alice, dns(1, "bar.com"), NULL); /* another pattern takes nothing over */
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.1", 1, 80)), POLICY_REPLY);
    world_deinit(&w);
}

static void test_ports_are_kept_unless_two_proxies_meet(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.5");
    (void)out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 65535, 80));
    assert_int_equal(w.result.info.source_port, 65535);
    (void)out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.2", 65535, 80));
    assert_int_equal(w.result.info.source_port, 1); /* 65535, then 1, never 0 */
    (void)out(&w, w.alice, flow('t', ALICE_V4, "100.96.0.2", 65535, 80));
    assert_int_equal(w.result.info.source_port, 65535); /* another protocol */
    assert_int_equal(in(&w, flow('u', "10.0.0.5", ALICE_V4, 80, 1)), POLICY_FORWARD);
    assert_ip(w.result.info.source, "100.96.0.2");
    assert_int_equal(w.result.info.destination_port, 65535);
    (void)out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 0, 80));
    assert_int_equal(w.result.info.source_port, 0);
    world_deinit(&w);
}

static void test_clients_do_not_share_sessions(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    grant(&w, w.bob, cidr(2, "192.0.2.0/24"), NULL);
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.5");
    (void)out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 7, 80));
    assert_int_equal(in(&w, flow('u', "10.0.0.5", BOB_V4, 80, 7)), POLICY_DROP);
    assert_int_equal(out(&w, w.bob, flow('u', BOB_V4, "100.96.0.1", 7, 80)), POLICY_REPLY);
    world_deinit(&w);
}

static void test_unsupported_protocol_to_a_proxy_is_dropped(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", P4, "10.0.0.5");
    assert_int_equal(out(&w, w.alice, flow('x', ALICE_V4, "100.96.0.1", 0, 0)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NAT_UNSUPPORTED);
    world_deinit(&w);
}

static void test_families_are_translated_when_asked(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, small_limits(), (struct policy_options){.nat64_translate = true});
    world_people(&w);
    grant(&w, w.alice, dns(1, "*.com"), NULL);
    (void)assign(&w, 1, "four.com", P8, "10.0.0.5");
    (void)assign(&w, 1, "six.com", "100.96.0.9 fd00:2021:1111:8000::9", "2001:db8::5");
    for (const char *p = "tui"; *p != '\0'; p++) {
        char back = *p == 'i' ? 'r' : *p;
        uint16_t far = *p == 'i' ? 40 : 80;
        assert_int_equal(out(&w, w.alice, flow(*p, ALICE_V6, "fd00:2021:1111:8000::2", 40, 80)),
                         POLICY_FORWARD);
        assert_ip(w.result.info.source, ALICE_V4);
        assert_ip(w.result.info.destination, "10.0.0.5");
        assert_int_equal(in(&w, flow(back, "10.0.0.5", ALICE_V4, far, 40)), POLICY_FORWARD);
        assert_ip(w.result.info.source, "fd00:2021:1111:8000::2");
        assert_ip(w.result.info.destination, ALICE_V6);
        assert_int_equal(out(&w, w.alice, flow(*p, ALICE_V4, "100.96.0.9", 40, 80)),
                         POLICY_FORWARD);
        assert_ip(w.result.info.source, ALICE_V6);
        assert_ip(w.result.info.destination, "2001:db8::5");
        assert_int_equal(in(&w, flow(back, "2001:db8::5", ALICE_V6, far, 40)), POLICY_FORWARD);
        assert_ip(w.result.info.source, "100.96.0.9");
    }
    world_deinit(&w);
}

static void test_growth_beyond_the_mtu_is_answered(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, small_limits(), (struct policy_options){.nat64_translate = true});
    world_people(&w);
    grant(&w, w.alice, dns(1, "*.com"), NULL);
    (void)assign(&w, 1, "six.com", "100.96.0.9", "2001:db8::5");
    (void)assign(&w, 1, "four.com", "fd00:2021:1111:8000::9", "10.0.0.5");
    struct flow request = flow('u', ALICE_V4, "100.96.0.9", 40, 80);
    request.payload = 1260 - 28;
    assert_int_equal(out(&w, w.alice, request), POLICY_FORWARD);
    assert_int_equal(w.packet.len, 1280);
    request.payload++;
    assert_int_equal(out(&w, w.alice, request), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_IP_TOO_BIG);
    assert_int_equal(answer_kind(&w), TOO_BIG_V4);
    assert_int_equal(load_be16(w.result.reply.at + 26), 1260);
    request.may_fragment = true;
    assert_int_equal(out(&w, w.alice, request), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_IP_TOO_BIG);

    (void)out(&w, w.alice, flow('u', ALICE_V6, "fd00:2021:1111:8000::9", 41, 80));
    struct flow response = flow('u', "10.0.0.5", ALICE_V4, 80, 41);
    response.payload = 1261 - 28;
    assert_int_equal(in(&w, response), POLICY_REPLY);
    assert_int_equal(answer_kind(&w), TOO_BIG_V4);
    assert_int_equal(load_be16(w.result.reply.at + 26), 1260);
    response.payload--;
    assert_int_equal(in(&w, response), POLICY_FORWARD);
    response.payload = 20000; /* a super-packet of small segments fits */
    w.result.gso_size = 1232;
    assert_int_equal(in(&w, response), POLICY_FORWARD);
    w.result.gso_size = 1233;
    assert_int_equal(in(&w, response), POLICY_REPLY);
    w.result.gso_size = 0;
    world_deinit(&w);
}

static void test_oversized_packets_are_refused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/8"), NULL);
    grant(&w, w.alice, cidr(2, "2001:db8::/32"), NULL);
    struct flow big = flow('u', ALICE_V4, "10.0.0.1", 1, 2);
    big.payload = 1281 - 28;
    assert_int_equal(out(&w, w.alice, big), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_IP_TOO_BIG);
    big.payload--;
    assert_int_equal(out(&w, w.alice, big), POLICY_FORWARD);
    struct flow back = flow('u', "2001:db8::1", ALICE_V6, 2, 1);
    back.payload = 1281 - 48;
    assert_int_equal(in(&w, back), POLICY_REPLY);
    assert_int_equal(answer_kind(&w), TOO_BIG_V6);
    back.payload--;
    assert_int_equal(in(&w, back), POLICY_FORWARD);
    world_deinit(&w);
}

static void test_icmp_answers_are_limited_per_second(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    for (uint32_t i = 0; i < POLICY_ICMP_PER_CLIENT_PER_S; i++) {
        assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    }
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 2)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_ICMP_RATE);
    assert_int_equal(w.result.reply.len, 0);
    assert_int_equal(out(&w, w.bob, flow('u', BOB_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    world_sleep(&w, NS_PER_S);
    assert_int_equal(out(&w, w.alice, flow('u', ALICE_V4, "10.0.0.1", 1, 2)), POLICY_REPLY);
    world_deinit(&w);
}

static void test_damaged_packets_never_pass_or_crash(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    grant(&w, w.alice, cidr(2, "10.0.0.0/8"), NULL);
    (void)assign(&w, 1, "foo.com", P8, "10.0.0.5 2001:db8::5");
    struct flow good = flow('t', ALICE_V4, "100.96.0.1", 1, 80);
    put(&w, good);
    size_t len = w.packet.len;
    for (size_t cut = 0; cut < len; cut++) {
        put(&w, good);
        w.packet.len = cut;
        assert_int_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result),
                         POLICY_DROP);
    }
    for (size_t bit = 0; bit < len * 8; bit++) {
        put(&w, good);
        packet_bytes(&w.packet)[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        enum policy_action sent = policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result);
        assert_true(sent == POLICY_FORWARD || w.result.reason != DROP_NONE);
        put(&w, flow('t', "10.0.0.5", ALICE_V4, 80, 1));
        packet_bytes(&w.packet)[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        uint32_t client = 0;
        enum policy_action received =
            policy_inbound(w.policy, &w.packet, w.now, &client, &w.result);
        assert_true(received == POLICY_FORWARD || w.result.reason != DROP_NONE);
    }
    world_deinit(&w);
}

static void test_expiry_is_judged_at_every_packet(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct policy_resource resource = cidr(1, "10.0.0.0/8");
    struct policy_resource named = dns(2, "foo.com");
    uint64_t end_s = w.now.unix_ns / NS_PER_S + 10;
    assert_int_equal(policy_authorize(w.policy, w.alice, &resource, end_s), ERR_NONE);
    assert_int_equal(policy_authorize(w.policy, w.alice, &named, end_s + 5), ERR_NONE);
    (void)assign(&w, 2, "foo.com", P4, "192.0.2.1");
    struct flow direct = flow('t', ALICE_V4, "10.0.0.1", 1, 80);
    struct flow proxied = flow('t', ALICE_V4, "100.96.0.1", 1, 80);
    assert_int_equal(out(&w, w.alice, direct), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, proxied), POLICY_FORWARD);
    w.now.unix_ns = end_s * NS_PER_S - 1;
    assert_int_equal(out(&w, w.alice, direct), POLICY_FORWARD);
    w.now.unix_ns++; /* at the second itself it is gone already */
    assert_int_equal(out(&w, w.alice, direct), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_EXPIRED);
    assert_int_equal(in(&w, flow('t', "10.0.0.1", ALICE_V4, 80, 1)), POLICY_DROP);
    assert_int_equal(out(&w, w.alice, proxied), POLICY_FORWARD);
    w.now.unix_ns = (end_s + 5) * NS_PER_S;
    assert_int_equal(out(&w, w.alice, proxied), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_EXPIRED);
    assert_int_equal(in(&w, flow('t', "192.0.2.1", ALICE_V4, 80, 1)), POLICY_DROP);
    assert_int_equal(assign(&w, 2, "foo.com", P4, "192.0.2.1"), POLICY_INACTIVE);
    w.now.unix_ns = 0; /* the wall clock went back: valid again */
    assert_int_equal(out(&w, w.alice, direct), POLICY_FORWARD);
    assert_int_equal(out(&w, w.alice, proxied), POLICY_FORWARD);
    world_deinit(&w);
}

static void test_stale_handle_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    policy_client_remove(w.policy, w.alice);
    assert_int_equal(out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NO_PEER);
    assert_int_equal(out(&w, POLICY_CLIENT_NONE, flow('t', ALICE_V4, "10.0.0.1", 1, 80)),
                     POLICY_DROP);
    assert_int_equal(out(&w, 0, flow('t', ALICE_V4, "10.0.0.1", 1, 80)), POLICY_DROP);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dns_and_cidr_filters_do_not_mix),
        cmocka_unit_test(test_a_session_permits_only_the_ports_of_the_filter),
        cmocka_unit_test(test_internet_resource_leaves_proxy_addresses_to_dns),
        cmocka_unit_test(test_internet_resource_reaches_no_private_range),
        cmocka_unit_test(test_source_must_be_the_tunnel_address),
        cmocka_unit_test(test_gateway_address_is_allowed_both_ways),
        cmocka_unit_test(test_without_a_right_not_even_the_gateway_is_reached),
        cmocka_unit_test(test_no_packet_inside_a_packet_reaches_the_gateway),
        cmocka_unit_test(test_packets_to_the_gateway_belong_to_no_resource),
        cmocka_unit_test(test_hairpin_is_refused_in_both_directions),
        cmocka_unit_test(test_inbound_needs_a_client_and_a_permitted_flow),
        cmocka_unit_test(test_answers_map_back_until_the_session_dies),
        cmocka_unit_test(test_unconfirmed_session_dies_after_60_seconds),
        cmocka_unit_test(test_fin_and_rst_shorten_the_life),
        cmocka_unit_test(test_a_port_in_use_again_outlives_the_connection_before),
        cmocka_unit_test(test_direct_flows_take_over_the_tuple_of_a_dead_session),
        cmocka_unit_test(test_a_translated_flow_makes_way_for_a_direct_one),
        cmocka_unit_test(test_no_direct_connection_on_the_ports_of_a_translated_one),
        cmocka_unit_test(test_new_answer_spares_open_sessions),
        cmocka_unit_test(test_v4_only_name_answers_unreachable_on_v6),
        cmocka_unit_test(test_two_resources_share_a_proxy_with_their_own_filters),
        cmocka_unit_test(test_regranted_resource_finds_its_translations_again),
        cmocka_unit_test(test_ports_are_kept_unless_two_proxies_meet),
        cmocka_unit_test(test_clients_do_not_share_sessions),
        cmocka_unit_test(test_unsupported_protocol_to_a_proxy_is_dropped),
        cmocka_unit_test(test_families_are_translated_when_asked),
        cmocka_unit_test(test_growth_beyond_the_mtu_is_answered),
        cmocka_unit_test(test_oversized_packets_are_refused),
        cmocka_unit_test(test_icmp_answers_are_limited_per_second),
        cmocka_unit_test(test_damaged_packets_never_pass_or_crash),
        cmocka_unit_test(test_expiry_is_judged_at_every_packet),
        cmocka_unit_test(test_stale_handle_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
