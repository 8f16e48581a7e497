#include "sim/sim_net.h"

#include <string.h>

#include "tests/support/support.h"

#define SEEN_MAX 512U

struct seen {
    uint32_t node;
    uint64_t at_ns;
    struct sock_addr local;
    struct sock_addr remote;
    uint8_t bytes[64];
    size_t len;
};

struct bench {
    struct sim_sched sched;
    struct sim_rng rng;
    struct sim_trace *trace;
    struct sim_net *net;
    struct seen seen[SEEN_MAX];
    size_t count;
};

static void deliver(void *self, uint32_t node, const struct sim_datagram *datagram)
{
    struct bench *b = self;
    struct seen *seen = &b->seen[b->count++];
    seen->node = node;
    seen->at_ns = b->sched.now_ns;
    seen->local = datagram->local;
    seen->remote = datagram->remote;
    seen->len = datagram->bytes.len;
    if (seen->len > 0) {
        memcpy(seen->bytes, datagram->bytes.at, seen->len);
    }
}

static void bench_start(struct bench *b, uint64_t seed)
{
    memset(b, 0, sizeof(*b));
    sim_sched_init(&b->sched);
    b->rng = sim_rng_of(seed);
    b->trace = sim_trace_new();
    sim_trace_set_clock(b->trace, &b->sched.now_ns);
    b->net = sim_net_new(&b->sched, b->trace, &b->rng, deliver, b);
}

static void bench_end(struct bench *b)
{
    sim_net_free(b->net);
    sim_trace_free(b->trace);
    sim_sched_free(&b->sched);
}

static void run(struct bench *b, uint64_t until_ns)
{
    while (sim_sched_step(&b->sched, until_ns)) {
    }
}

static struct ip_addr ip(const char *text)
{
    struct ip_addr out;
    assert_true(ip_parse(view_text(text), &out));
    return out;
}

static uint32_t add(struct bench *b, uint32_t edge, const char *v4, const char *v6)
{
    uint32_t node = sim_net_add_node(b->net, edge, "node");
    struct sim_host_addresses addresses = {ip(v4), ip(v6)};
    sim_net_set_addresses(b->net, node, &addresses);
    struct sim_link link = {.latency_ns = 10 * NS_PER_MS};
    sim_net_set_link(b->net, node, SIM_UP, &link);
    sim_net_set_link(b->net, node, SIM_DOWN, &link);
    return node;
}

static void send_byte(struct bench *b, uint32_t node, const char *to, uint8_t byte)
{
    struct sock_addr remote;
    assert_true(sock_addr_parse(view_text(to), &remote));
    struct sim_datagram datagram = {.local = {.port = 5000}, .remote = remote, .bytes = {&byte, 1}};
    assert_int_equal(sim_net_send(b->net, node, &datagram), ERR_NONE);
}

static uint32_t add_nat(struct bench *b, uint8_t last, bool hairpin)
{
    struct sim_nat_config config = {
        .translate_v4 = true,
        .firewall_v6 = true,
        .filtering = SIM_NAT_ADDRESS_AND_PORT,
        .hairpin = hairpin,
        .timeout_s = 60,
        .outer = ip_v4(198, 51, 100, last),
    };
    return sim_net_add_edge(b->net, &config, SIM_EDGE_NONE);
}

static void test_a_clean_link_delays_by_both_latencies(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 1);
    uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
    uint32_t c = add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    send_byte(&b, a, "203.0.113.2:2000", 7);
    run(&b, NS_PER_S);
    assert_int_equal(b.count, 1);
    assert_int_equal(b.seen[0].node, c);
    assert_true(b.seen[0].at_ns == 20 * NS_PER_MS);
    assert_int_equal(b.seen[0].remote.port, 5000);
    assert_int_equal(b.seen[0].bytes[0], 7);
    bench_end(&b);
}

static void test_order_is_kept_under_jitter(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 2);
    uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
    (void)add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    struct sim_link link = {.latency_ns = NS_PER_MS, .jitter_ns = 50 * NS_PER_MS};
    sim_net_set_link(b.net, a, SIM_UP, &link);
    for (unsigned i = 0; i < 200; i++) {
        run(&b, b.sched.now_ns + NS_PER_MS);
        send_byte(&b, a, "203.0.113.2:2000", (uint8_t)i);
    }
    run(&b, 10 * NS_PER_S);
    assert_int_equal(b.count, 200);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(b.seen[i].bytes[0], (uint8_t)i);
    }
    bench_end(&b);
}

/* Goal: every fault of a link happens, about as often as asked. */
static void test_faults_happen_as_often_as_configured(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 3);
    uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
    (void)add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    struct sim_link link = {.loss_ppm = 200000,
                            .duplicate_ppm = 100000,
                            .duplicate_delay_ns = NS_PER_MS,
                            .reorder_ppm = 100000,
                            .reorder_delay_ns = 50 * NS_PER_MS,
                            .flip_ppm = 100000,
                            .truncate_ppm = 50000};
    sim_net_set_link(b.net, a, SIM_UP, &link);
    for (unsigned i = 0; i < 400; i++) {
        send_byte(&b, a, "203.0.113.2:2000", 0);
        run(&b, b.sched.now_ns + NS_PER_MS);
    }
    run(&b, 10 * NS_PER_S);
    const struct sim_net_counts *counts = sim_net_counts(b.net);
    assert_int_equal(counts->sent, 400);
    assert_in_range(counts->dropped, 50, 115);
    assert_in_range(counts->duplicated, 12, 60);
    assert_in_range(counts->reordered, 12, 60);
    assert_in_range(counts->corrupted, 20, 90);
    assert_int_equal(counts->delivered + counts->dropped, counts->sent + counts->duplicated);
    assert_int_equal(b.count, counts->delivered);
    bench_end(&b);
}

/* Goal: the fate of packet n of a link does not depend on other links. */
static void test_fates_are_keyed_by_link_and_ordinal(void **state)
{
    (void)state;
    static struct bench b;
    uint8_t survivors[2][100];
    size_t counts[2];
    for (unsigned turn = 0; turn < 2; turn++) {
        bench_start(&b, 4);
        uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
        uint32_t c = add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
        uint32_t d = add(&b, SIM_EDGE_NONE, "203.0.113.3", "2001:db8::3");
        struct sim_link link = {.loss_ppm = 500000};
        sim_net_set_link(b.net, a, SIM_UP, &link);
        for (unsigned i = 0; i < 100; i++) {
            if (turn == 1) {
                send_byte(&b, d, "203.0.113.1:1", 0);
            }
            send_byte(&b, a, "203.0.113.2:2000", (uint8_t)i);
        }
        run(&b, NS_PER_S);
        counts[turn] = 0;
        for (size_t i = 0; i < b.count; i++) {
            if (b.seen[i].node == c) {
                survivors[turn][counts[turn]++] = b.seen[i].bytes[0];
            }
        }
        bench_end(&b);
    }
    assert_int_equal(counts[0], counts[1]);
    assert_memory_equal(survivors[0], survivors[1], counts[0]);
}

static void test_burst_loss_comes_in_bursts(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 5);
    uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
    (void)add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    struct sim_link link = {
        .burst_enter_ppm = 20000, .burst_leave_ppm = 100000, .burst_loss_ppm = 1000000};
    sim_net_set_link(b.net, a, SIM_UP, &link);
    for (unsigned i = 0; i < 250; i++) {
        send_byte(&b, a, "203.0.113.2:2000", (uint8_t)i);
    }
    run(&b, NS_PER_S);
    unsigned gaps = 0;
    for (size_t i = 1; i < b.count; i++) {
        gaps += b.seen[i].bytes[0] != (uint8_t)(b.seen[i - 1].bytes[0] + 1) ? 1 : 0;
    }
    size_t lost = 250 - b.count;
    assert_true(lost > 10);
    assert_true(lost >= (size_t)gaps * 2);
    bench_end(&b);
}

static void test_a_rate_limit_spaces_packets_and_drops_the_tail(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 6);
    uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
    (void)add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    struct sim_link link = {.bytes_per_s = 100, .queue_bytes = 10};
    sim_net_set_link(b.net, a, SIM_UP, &link);
    for (unsigned i = 0; i < 50; i++) {
        send_byte(&b, a, "203.0.113.2:2000", (uint8_t)i);
    }
    run(&b, NS_PER_S);
    assert_in_range(b.count, 10, 13);
    assert_true(b.seen[1].at_ns - b.seen[0].at_ns == 10 * NS_PER_MS);
    bench_end(&b);
}

static void test_blocks_are_one_way_and_per_family(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 7);
    uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
    uint32_t c = add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    sim_net_block(b.net, a, c, SIM_FAMILIES_V4, true);
    send_byte(&b, a, "203.0.113.2:1", 1);
    send_byte(&b, a, "[2001:db8::2]:1", 2);
    send_byte(&b, c, "203.0.113.1:1", 3);
    run(&b, NS_PER_S);
    assert_int_equal(b.count, 2);
    assert_int_equal(b.seen[0].bytes[0] + b.seen[1].bytes[0], 5);
    sim_net_heal(b.net);
    send_byte(&b, a, "203.0.113.2:1", 4);
    run(&b, 2 * NS_PER_S);
    assert_int_equal(b.count, 3);
    bench_end(&b);
}

static void test_a_site_is_reached_only_through_its_mapping(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 8);
    uint32_t inside = add(&b, add_nat(&b, 1, false), "192.168.0.2", "2001:db8:1::2");
    uint32_t server = add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    send_byte(&b, server, "198.51.100.1:5000", 1); /* unasked */
    send_byte(&b, server, "192.168.0.2:5000", 2);  /* not routed */
    send_byte(&b, server, "[2001:db8:1::2]:5000", 3);
    run(&b, NS_PER_S);
    assert_int_equal(b.count, 0);
    send_byte(&b, inside, "203.0.113.2:5000", 4);
    run(&b, 2 * NS_PER_S);
    assert_int_equal(b.count, 1);
    assert_true(ip_equal(&b.seen[0].remote.ip, &(struct ip_addr){IP_V4, {198, 51, 100, 1}}));
    send_byte(&b, server, "198.51.100.1:5000", 5);
    run(&b, 3 * NS_PER_S);
    assert_int_equal(b.count, 2);
    assert_int_equal(b.seen[1].node, inside);
    assert_true(ip_equal(&b.seen[1].local.ip, &(struct ip_addr){IP_V4, {192, 168, 0, 2}}));
    bench_end(&b);
}

static void test_neighbours_meet_directly_and_by_hairpin_only_if_there(void **state)
{
    (void)state;
    for (int hairpin = 0; hairpin < 2; hairpin++) {
        static struct bench b;
        bench_start(&b, 9);
        uint32_t edge = add_nat(&b, 1, hairpin != 0);
        uint32_t a = add(&b, edge, "192.168.0.2", "2001:db8:1::2");
        uint32_t c = add(&b, edge, "192.168.0.3", "2001:db8:1::3");
        send_byte(&b, a, "192.168.0.3:5000", 1);
        run(&b, NS_PER_S);
        assert_int_equal(b.count, 1);
        /* Both open a mapping to the other's outer address: ports are preserved. */
        send_byte(&b, c, "198.51.100.1:5000", 2);
        run(&b, 2 * NS_PER_S);
        send_byte(&b, a, "198.51.100.1:5001", 3);
        run(&b, 3 * NS_PER_S);
        assert_int_equal(b.count >= 2, hairpin);
        bench_end(&b);
    }
}

/* A host behind two layers of NAT reaches a server and is answered. */
static void test_two_layers_of_edges_translate_twice(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 10);
    uint32_t carrier = add_nat(&b, 1, false);
    struct sim_nat_config home = {.translate_v4 = true,
                                  .filtering = SIM_NAT_ADDRESS_AND_PORT,
                                  .timeout_s = 60,
                                  .outer = ip_v4(100, 64, 0, 9)};
    uint32_t inner = sim_net_add_edge(b.net, &home, carrier);
    uint32_t host = add(&b, inner, "192.168.0.2", "2001:db8:1::2");
    uint32_t server = add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    send_byte(&b, host, "203.0.113.2:2000", 1);
    run(&b, NS_PER_S);
    assert_int_equal(b.count, 1);
    assert_true(ip_equal(&b.seen[0].remote.ip, &(struct ip_addr){IP_V4, {198, 51, 100, 1}}));
    send_byte(&b, server, "198.51.100.1:5000", 2);
    b.count = 0;
    run(&b, 2 * NS_PER_S);
    /* The server's source port is 5000, not the 2000 that was asked. */
    assert_int_equal(b.count, 0);
    struct sim_datagram answer = {.local = b.seen[0].local, .remote = b.seen[0].remote};
    assert_int_equal(sim_net_send(b.net, server, &answer), ERR_NONE);
    run(&b, 3 * NS_PER_S);
    assert_int_equal(b.count, 1);
    assert_int_equal(b.seen[0].node, host);
    bench_end(&b);
}

static void test_moved_and_missing_hosts_swallow_datagrams(void **state)
{
    (void)state;
    static struct bench b;
    bench_start(&b, 11);
    uint32_t a = add(&b, SIM_EDGE_NONE, "203.0.113.1", "2001:db8::1");
    uint32_t c = add(&b, SIM_EDGE_NONE, "203.0.113.2", "2001:db8::2");
    send_byte(&b, a, "203.0.113.2:1", 1);
    run(&b, 15 * NS_PER_MS); /* in flight behind the core */
    struct sim_host_addresses moved = {ip("203.0.113.9"), {0}};
    sim_net_set_addresses(b.net, c, &moved);
    send_byte(&b, a, "203.0.113.2:1", 2);
    send_byte(&b, a, "203.0.113.77:1", 3);
    run(&b, NS_PER_S);
    assert_int_equal(b.count, 0);
    struct sim_datagram v6 = {.local = {.port = 1}, .remote = {ip("2001:db8::1"), 1}};
    assert_int_equal(sim_net_send(b.net, c, &v6), ERR_UNREACHABLE);
    sim_net_set_up(b.net, c, false);
    send_byte(&b, a, "203.0.113.9:1", 4);
    run(&b, 2 * NS_PER_S);
    assert_int_equal(b.count, 0);
    assert_int_equal(sim_net_counts(b.net)->dropped, 4);
    bench_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_clean_link_delays_by_both_latencies),
        cmocka_unit_test(test_order_is_kept_under_jitter),
        cmocka_unit_test(test_faults_happen_as_often_as_configured),
        cmocka_unit_test(test_fates_are_keyed_by_link_and_ordinal),
        cmocka_unit_test(test_burst_loss_comes_in_bursts),
        cmocka_unit_test(test_a_rate_limit_spaces_packets_and_drops_the_tail),
        cmocka_unit_test(test_blocks_are_one_way_and_per_family),
        cmocka_unit_test(test_a_site_is_reached_only_through_its_mapping),
        cmocka_unit_test(test_neighbours_meet_directly_and_by_hairpin_only_if_there),
        cmocka_unit_test(test_two_layers_of_edges_translate_twice),
        cmocka_unit_test(test_moved_and_missing_hosts_swallow_datagrams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
