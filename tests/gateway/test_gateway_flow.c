/* Flow records through the whole core: what opens one, what counts, what ends it. */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "p2p/p2p.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define CLIENT_PORT 4000U
#define SERVER_PORT 80U

static const struct ip_addr server = {IP_V4, {10, 3, 0, 2}};

static struct rig *connected(void)
{
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_pass(rig, DURATION_S(200)); /* what the set-up sent is over */
    rig->flows_count = 0;
    return rig;
}

static const struct gateway_flow *last_flow(const struct rig *rig, bool ended)
{
    assert_true(rig->flows_count > 0);
    const struct gateway_flow *flow = &rig->flows[rig->flows_count - 1];
    assert_int_equal(flow->ended, ended);
    return flow;
}

struct segment {
    uint8_t flags;
    size_t payload;
};

static size_t put_tcp(uint8_t *out, const struct ip_addr *from, const struct ip_addr *to,
                      struct packet_build_ports ports, struct segment segment)
{
    static const uint8_t zeros[600];
    struct packet_build_ip ip = {.source = *from, .destination = *to};
    struct packet_build_tcp tcp = {.ports = ports, .flags = segment.flags};
    struct writer w = writer_of((struct span){out, 1200});
    packet_build_tcp(&w, &ip, &tcp, (struct view){zeros, segment.payload});
    assert_true(writer_finish(&w));
    return w.used;
}

static void client_sends(struct rig *rig, uint8_t flags, size_t payload)
{
    uint8_t packet[1200];
    size_t len = put_tcp(packet, &rig->clients[0].ipv4, &server,
                         (struct packet_build_ports){CLIENT_PORT, SERVER_PORT},
                         (struct segment){flags, payload});
    assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
}

static void server_sends(struct rig *rig, uint8_t flags, size_t payload)
{
    uint8_t packet[1200];
    size_t len = put_tcp(packet, &server, &rig->clients[0].ipv4,
                         (struct packet_build_ports){SERVER_PORT, CLIENT_PORT},
                         (struct segment){flags, payload});
    rig_tun(rig, (struct view){packet, len});
}

static void a_connection_is_told_when_it_begins_and_when_it_has_ended(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint64_t begun = rig->now.unix_ns;
    client_sends(rig, PACKET_TCP_SYN, 0);
    const struct gateway_flow *flow = last_flow(rig, false);
    assert_int_equal(rig->flows_count, 1);
    assert_int_equal(flow->protocol, 6);
    assert_true(uuid_equal(&flow->client, &rig->clients[0].id));
    assert_true(ip_equal(&flow->source.ip, &rig->clients[0].ipv4));
    assert_int_equal(flow->source.port, CLIENT_PORT);
    assert_true(ip_equal(&flow->destination.ip, &server));
    assert_int_equal(flow->destination.port, SERVER_PORT);
    assert_int_equal(flow->outers_count, 1);
    assert_true(sock_addr_equal(&flow->outers[0].source, &rig->clients[0].mapped));
    assert_true(flow->start_unix_ns >= begun);
    server_sends(rig, PACKET_TCP_SYN | PACKET_TCP_ACK, 0);
    client_sends(rig, PACKET_TCP_ACK, 0);
    client_sends(rig, PACKET_TCP_ACK | PACKET_TCP_PSH, 100);
    server_sends(rig, PACKET_TCP_ACK, 500);
    server_sends(rig, PACKET_TCP_ACK | PACKET_TCP_FIN, 7);
    assert_int_equal(rig->flows_count, 1); /* one side may still speak */
    rig_pass(rig, DURATION_S(1));
    client_sends(rig, PACKET_TCP_ACK | PACKET_TCP_FIN, 0);
    flow = last_flow(rig, true);
    assert_int_equal(rig->flows_count, 2);
    assert_int_equal(flow->tx_packets, 4);
    assert_int_equal(flow->tx_bytes, 100);
    assert_int_equal(flow->rx_packets, 3);
    assert_int_equal(flow->rx_bytes, 507);
    assert_true(flow->end_unix_ns >= flow->start_unix_ns + NS_PER_S);
    assert_true(flow->last_packet_unix_ns == flow->end_unix_ns);
    server_sends(rig, PACKET_TCP_ACK, 0); /* the last word opens nothing */
    client_sends(rig, PACKET_TCP_ACK, 0);
    assert_int_equal(rig->flows_count, 2);
    rig_free(rig);
}

/* A tunnel may lose its path and still hear the client. */
static void a_flow_that_runs_over_no_path_names_none(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint32_t handle = policy_client_find(rig->gw->policy, &rig->clients[0].id);
    gateway_count_path(rig->gw, gateway_connection_of(rig->gw, handle), false);
    client_sends(rig, PACKET_TCP_SYN, 0);
    assert_int_equal(last_flow(rig, false)->outers_count, 0);
    rig_free(rig);
}

static void only_what_can_begin_a_flow_opens_a_record(void **state)
{
    (void)state;
    struct rig *rig = connected();
    client_sends(rig, PACKET_TCP_ACK, 0);
    client_sends(rig, PACKET_TCP_ACK | PACKET_TCP_FIN, 20);
    client_sends(rig, PACKET_TCP_RST, 0);
    server_sends(rig, PACKET_TCP_ACK, 100); /* from the resource: nothing of the client's */
    rig_tun(rig, view_text("garbage"));
    assert_int_equal(rig->flows_count, 0);
    assert_false(rig_reaches_tun(rig, 0, ip_v4(10, 9, 9, 9), 80)); /* refused */
    assert_int_equal(rig->flows_count, 0);
    client_sends(rig, PACKET_TCP_ACK, 20); /* data of a flow that began before we did */
    assert_int_equal(rig->flows_count, 1);
    rig_free(rig);
}

static void a_reset_and_a_port_that_is_used_again_end_a_flow(void **state)
{
    (void)state;
    struct rig *rig = connected();
    client_sends(rig, PACKET_TCP_SYN, 0);
    client_sends(rig, PACKET_TCP_SYN, 0); /* again: the same flow */
    assert_int_equal(rig->flows_count, 1);
    client_sends(rig, PACKET_TCP_ACK, 10);
    client_sends(rig, PACKET_TCP_SYN, 0); /* a new connection from the same port */
    assert_int_equal(rig->flows_count, 3);
    assert_true(rig->flows[1].ended);
    assert_int_equal(rig->flows[1].tx_packets, 3);
    assert_false(rig->flows[2].ended);
    server_sends(rig, PACKET_TCP_RST, 0);
    assert_int_equal(rig->flows_count, 4);
    assert_int_equal(last_flow(rig, true)->rx_packets, 1);
    rig_free(rig);
}

static void datagrams_are_one_flow_until_two_minutes_of_silence(void **state)
{
    (void)state;
    struct rig *rig = connected();
    assert_true(rig_reaches_tun(rig, 0, server, 53));
    assert_int_equal(last_flow(rig, false)->protocol, 17);
    for (unsigned i = 0; i < 5; i++) {
        rig_pass(rig, DURATION_S(100));
        assert_true(rig_reaches_tun(rig, 0, server, 53));
        assert_true(rig_reaches_client(rig, 0, server, 53));
    }
    assert_int_equal(rig->flows_count, 1);
    rig_pass(rig, DURATION_MS(119000));
    assert_int_equal(rig->flows_count, 1);
    rig_pass(rig, DURATION_MS(1100));
    const struct gateway_flow *flow = last_flow(rig, true);
    assert_int_equal(flow->tx_packets, 6);
    assert_int_equal(flow->rx_packets, 5);
    assert_true(flow->end_unix_ns >= flow->last_packet_unix_ns + 120 * NS_PER_S);
    rig_free(rig);
}

static void a_full_table_ends_the_flow_that_rested_longest(void **state)
{
    (void)state;
    struct rig *rig = connected();
    for (uint16_t port = 1; port <= 4; port++) {
        assert_true(rig_reaches_tun(rig, 0, server, port));
    }
    assert_true(rig_reaches_tun(rig, 0, server, 1)); /* not the oldest any more */
    assert_int_equal(rig->flows_count, 4);
    assert_true(rig_reaches_tun(rig, 0, server, 5));
    assert_int_equal(last_flow(rig, true)->destination.port, 2);
    assert_int_equal(gateway_counters(rig->gw)->flows_missed, 1);
    assert_true(rig_reaches_tun(rig, 0, server, 5)); /* its next packet finds room */
    assert_int_equal(last_flow(rig, false)->destination.port, 5);
    for (uint16_t port = 100; port < 200; port++) {
        assert_true(rig_reaches_tun(rig, 0, server, port)); /* gateway_check() after each */
    }
    rig_free(rig);
}

static void shutting_down_ends_all_flows(void **state)
{
    (void)state;
    struct rig *rig = connected();
    assert_true(rig_reaches_tun(rig, 0, server, 1));
    assert_true(rig_reaches_tun(rig, 0, server, 2));
    rig_shutdown(rig);
    rig_pass(rig, DURATION_S(3));
    assert_true(rig->exited);
    assert_int_equal(rig->flows_count, 4);
    assert_true(rig->flows[2].ended && rig->flows[3].ended);
    rig_free(rig);
}

static void a_super_packet_counts_as_what_it_was(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint8_t *room = malloc(GATEWAY_TUN_HEADROOM + 4096);
    assert_non_null(room);
    uint8_t *packet = room + GATEWAY_TUN_HEADROOM;
    assert_true(rig_reaches_tun(rig, 0, server, 4000));
    size_t len = rig_put_udp(packet, &server, &rig->clients[0].ipv4, 4000, 2500, 1);
    rig_tun_offload(rig, (struct view){packet, len},
                    (struct gateway_offload){GATEWAY_GSO_UDP, 1000, false});
    rig_pass(rig, DURATION_S(121));
    const struct gateway_flow *flow = last_flow(rig, true);
    assert_int_equal(flow->rx_packets, 3);
    assert_int_equal(flow->rx_bytes, 2500);
    free(room);
    rig_free(rig);
}

/* Through the NAT: the record tells the real address, the port behind the NAT, and the name. */
static void flows_to_a_name_carry_the_name_and_the_real_address(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_authorize(rig, 0, RIG_DNS, "null");
    struct ip_addr proxy = ip_v4(100, 96, 0, 1);
    uint8_t packet[600];
    struct writer w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_p2p(&w, P2P_ASSIGNED_IPS,
                     view_text("{\"resource\":\"" RIG_DNS_ID "\",\"domain\":\"web.corp.test\","
                               "\"proxy_ips\":[\"100.96.0.1\"]}"));
    assert_true(writer_finish(&w));
    assert_true(rig_client_send(rig, 0, writer_view(&w)));
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "web.corp.test"), ERR_NONE, &server, 1, 60);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "web.corp.test"), ERR_NONE, NULL, 0, 60);
    rig_pass(rig, DURATION_S(200));
    rig->flows_count = 0;
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &proxy, 53, 20, 1);
    assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
    const struct gateway_flow *flow = last_flow(rig, false);
    assert_true(ip_equal(&flow->destination.ip, &server));
    assert_string_equal(rig->flow_domains[rig->flows_count - 1], "web.corp.test");
    struct packet_build_ip back = {.source = server, .destination = rig->clients[0].ipv4};
    w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_udp(&w, &back, (struct packet_build_ports){53, flow->source.port},
                     view_text("an answer of thirty-odd bytes"));
    assert_true(writer_finish(&w));
    rig_tun(rig, writer_view(&w));
    rig_pass(rig, DURATION_S(121));
    flow = last_flow(rig, true);
    assert_int_equal(flow->tx_bytes, 20);
    assert_int_equal(flow->rx_bytes, 29);
    rig_free(rig);
}

static void without_the_limit_nothing_is_recorded(void **state)
{
    (void)state;
    struct gateway_limits limits = rig_limits();
    limits.flows = 0;
    struct rig *rig = rig_new_with(&limits, true);
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    client_sends(rig, PACKET_TCP_SYN, 0);
    assert_true(rig_reaches_tun(rig, 0, server, 1));
    assert_true(rig_reaches_client(rig, 0, server, 1));
    rig_pass(rig, DURATION_S(300));
    assert_int_equal(rig->flows_count, 0);
    assert_int_equal(gateway_counters(rig->gw)->flows_missed, 0);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_told_when_it_begins_and_when_it_has_ended),
        cmocka_unit_test(a_flow_that_runs_over_no_path_names_none),
        cmocka_unit_test(only_what_can_begin_a_flow_opens_a_record),
        cmocka_unit_test(a_reset_and_a_port_that_is_used_again_end_a_flow),
        cmocka_unit_test(datagrams_are_one_flow_until_two_minutes_of_silence),
        cmocka_unit_test(a_full_table_ends_the_flow_that_rested_longest),
        cmocka_unit_test(shutting_down_ends_all_flows),
        cmocka_unit_test(a_super_packet_counts_as_what_it_was),
        cmocka_unit_test(flows_to_a_name_carry_the_name_and_the_real_address),
        cmocka_unit_test(without_the_limit_nothing_is_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
