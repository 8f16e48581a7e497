#include "sim/sim_stream.h"

#include <string.h>

#include "tests/support/support.h"

#define CLIENT 0U
#define SERVER 1U
#define PORT   443U

struct side {
    unsigned opened;
    unsigned accepted;
    unsigned closed;
    unsigned writable;
    enum err reason;
    uint32_t stream;
    uint8_t bytes[70000];
    size_t len;
    unsigned deliveries;
};

struct bench {
    struct sim_sched sched;
    struct sim_rng rng;
    struct sim_trace *trace;
    struct sim_net *net;
    struct sim_streams *streams;
    struct side sides[2];
    unsigned marks;
    unsigned lost;
    size_t mark_len;
};

static void on_event(void *self, uint32_t node, const struct gateway_stream_event *event)
{
    struct bench *b = self;
    struct side *side = &b->sides[node];
    side->stream = event->stream;
    switch (event->kind) {
    case GATEWAY_STREAM_OPENED:
        side->opened++;
        break;
    case GATEWAY_STREAM_ACCEPTED:
        side->accepted++;
        break;
    case GATEWAY_STREAM_CLOSED:
        side->closed++;
        side->reason = event->reason;
        break;
    case GATEWAY_STREAM_WRITABLE:
        side->writable++;
        break;
    case GATEWAY_STREAM_BYTES:
        memcpy(side->bytes + side->len, event->bytes.at, event->bytes.len);
        side->len += event->bytes.len;
        side->deliveries++;
        break;
    case GATEWAY_STREAM_ENDED: /* streams end as a whole here */
    default:
        fail();
    }
}

static void on_mark(void *self, uint64_t token, bool lost)
{
    struct bench *b = self;
    (void)token;
    b->marks++;
    b->lost += lost ? 1 : 0;
    b->mark_len = b->sides[SERVER].len;
}

static void ignore(void *self, uint32_t node, const struct sim_datagram *datagram)
{
    (void)self;
    (void)node;
    (void)datagram;
}

static struct ip_addr server_ip(void)
{
    return ip_v4(203, 0, 113, 2);
}

static void bench_start(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    sim_sched_init(&b->sched);
    b->rng = sim_rng_of(5);
    b->trace = sim_trace_new();
    sim_trace_set_clock(b->trace, &b->sched.now_ns);
    b->net = sim_net_new(&b->sched, b->trace, &b->rng, ignore, NULL);
    struct sim_link link = {.latency_ns = 10 * NS_PER_MS};
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t node = sim_net_add_node(b->net, SIM_EDGE_NONE, "node");
        struct sim_host_addresses addresses = {ip_v4(203, 0, 113, (uint8_t)(i + 1)), {0}};
        sim_net_set_addresses(b->net, node, &addresses);
        sim_net_set_link(b->net, node, SIM_UP, &link);
        sim_net_set_link(b->net, node, SIM_DOWN, &link);
    }
    struct sim_stream_sink sink = {b, on_event, on_mark};
    b->streams = sim_streams_new(&b->sched, b->trace, &b->rng, b->net, sink);
    sim_stream_listen(b->streams, SERVER, PORT);
}

static void bench_end(struct bench *b)
{
    sim_streams_free(b->streams);
    sim_net_free(b->net);
    sim_trace_free(b->trace);
    sim_sched_free(&b->sched);
}

static void run(struct bench *b, uint64_t seconds)
{
    uint64_t until = b->sched.now_ns + seconds * NS_PER_S;
    while (sim_sched_step(&b->sched, until)) {
    }
}

static void dial(struct bench *b)
{
    struct sock_addr remote = {server_ip(), PORT};
    sim_stream_connect(b->streams, CLIENT, 1, &remote);
}

static void send_pattern(struct bench *b, uint32_t node, uint32_t id, size_t len)
{
    static uint8_t bytes[60000];
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(i * 7 + (i >> 8U));
    }
    size_t taken = 0;
    assert_int_equal(sim_stream_send(b->streams, node, id, (struct view){bytes, len}, &taken),
                     ERR_NONE);
    assert_int_equal(taken, len);
}

static struct bench bench;

static void test_bytes_arrive_whole_and_in_order_in_many_pieces(void **state)
{
    (void)state;
    bench_start(&bench);
    sim_stream_faults(bench.streams, SERVER)->segment_max = 100;
    dial(&bench);
    run(&bench, 1);
    assert_int_equal(bench.sides[CLIENT].opened, 1);
    assert_int_equal(bench.sides[SERVER].accepted, 1);
    assert_true(bench.sides[SERVER].stream >= GATEWAY_STREAM_ACCEPTED_BASE);
    send_pattern(&bench, CLIENT, 1, 50000);
    run(&bench, 5);
    struct side *server = &bench.sides[SERVER];
    assert_int_equal(server->len, 50000);
    assert_true(server->deliveries >= 500);
    for (size_t i = 0; i < server->len; i++) {
        assert_int_equal(server->bytes[i], (uint8_t)(i * 7 + (i >> 8U)));
    }
    send_pattern(&bench, SERVER, server->stream, 10);
    run(&bench, 1);
    assert_int_equal(bench.sides[CLIENT].len, 10);
    bench_end(&bench);
}

static void test_close_follows_the_bytes_and_is_heard_once(void **state)
{
    (void)state;
    bench_start(&bench);
    dial(&bench);
    run(&bench, 1);
    send_pattern(&bench, CLIENT, 1, 1000);
    sim_stream_close(bench.streams, CLIENT, 1);
    run(&bench, 1);
    assert_int_equal(bench.sides[SERVER].len, 1000);
    assert_int_equal(bench.sides[SERVER].closed, 1);
    assert_int_equal(bench.sides[SERVER].reason, ERR_CLOSED);
    assert_int_equal(bench.sides[CLIENT].closed, 0);
    size_t taken = 0;
    assert_int_equal(sim_stream_send(bench.streams, CLIENT, 1, view_text("x"), &taken), ERR_CLOSED);
    bench_end(&bench);
}

static void test_reset_reaches_the_other_side_as_an_error(void **state)
{
    (void)state;
    bench_start(&bench);
    dial(&bench);
    run(&bench, 1);
    sim_stream_reset(bench.streams, SERVER, bench.sides[SERVER].stream);
    run(&bench, 1);
    assert_int_equal(bench.sides[CLIENT].closed, 1);
    assert_int_equal(bench.sides[CLIENT].reason, ERR_IO);
    assert_int_equal(bench.sides[SERVER].closed, 0);
    bench_end(&bench);
}

static void test_connecting_fails_with_the_reason_of_the_fault(void **state)
{
    (void)state;
    const enum err reasons[] = {ERR_REFUSED, ERR_TLS_CERTIFICATE, ERR_TIMEOUT};
    for (unsigned i = 0; i < 3; i++) {
        bench_start(&bench);
        struct sim_stream_faults *faults = sim_stream_faults(bench.streams, SERVER);
        faults->refuse = i == 0;
        faults->tls_failure = i == 1 ? ERR_TLS_CERTIFICATE : ERR_NONE;
        faults->silent = i == 2;
        dial(&bench);
        run(&bench, 100);
        assert_int_equal(bench.sides[CLIENT].closed, 1);
        assert_int_equal(bench.sides[CLIENT].reason, reasons[i]);
        assert_int_equal(bench.sides[CLIENT].opened, 0);
        bench_end(&bench);
    }
    bench_start(&bench);
    struct sock_addr v6;
    assert_true(sock_addr_parse(view_text("[2001:db8::1]:443"), &v6));
    sim_stream_connect(bench.streams, CLIENT, 1, &v6);
    run(&bench, 1);
    assert_int_equal(bench.sides[CLIENT].reason, ERR_UNREACHABLE);
    bench_end(&bench);
}

static void test_a_partition_holds_bytes_up_and_loses_none(void **state)
{
    (void)state;
    bench_start(&bench);
    dial(&bench);
    run(&bench, 1);
    sim_net_block(bench.net, CLIENT, SERVER, SIM_FAMILIES_V4, true);
    send_pattern(&bench, CLIENT, 1, 3000);
    run(&bench, 20);
    assert_int_equal(bench.sides[SERVER].len, 0);
    sim_net_heal(bench.net);
    run(&bench, 2);
    assert_int_equal(bench.sides[SERVER].len, 3000);
    bench_end(&bench);
}

static void test_a_half_open_stream_swallows_silently(void **state)
{
    (void)state;
    bench_start(&bench);
    dial(&bench);
    run(&bench, 1);
    sim_stream_faults(bench.streams, SERVER)->half_open = true;
    send_pattern(&bench, CLIENT, 1, 10);
    run(&bench, 60);
    assert_int_equal(bench.sides[SERVER].len, 0);
    assert_int_equal(bench.sides[CLIENT].closed + bench.sides[SERVER].closed, 0);
    bench_end(&bench);
}

static void test_a_stream_that_lost_bytes_delivers_none_after_them(void **state)
{
    (void)state;
    bench_start(&bench);
    dial(&bench);
    run(&bench, 1);
    sim_stream_faults(bench.streams, SERVER)->half_open = true;
    send_pattern(&bench, CLIENT, 1, 10);
    run(&bench, 5);
    sim_stream_faults(bench.streams, SERVER)->half_open = false;
    send_pattern(&bench, CLIENT, 1, 10);
    run(&bench, 60);
    assert_int_equal(bench.sides[SERVER].len, 0);
    bench_end(&bench);
}

static void test_a_cut_ends_both_sides_after_so_many_bytes(void **state)
{
    (void)state;
    bench_start(&bench);
    sim_stream_faults(bench.streams, SERVER)->cut_after = 100;
    sim_stream_faults(bench.streams, SERVER)->segment_max = 10;
    dial(&bench);
    run(&bench, 1);
    send_pattern(&bench, CLIENT, 1, 1000);
    run(&bench, 5);
    assert_in_range(bench.sides[SERVER].len, 100, 110);
    assert_int_equal(bench.sides[CLIENT].reason, ERR_IO);
    assert_int_equal(bench.sides[SERVER].reason, ERR_IO);
    bench_end(&bench);
}

static void test_a_cut_right_behind_a_mark_has_not_lost_it(void **state)
{
    (void)state;
    bench_start(&bench);
    sim_stream_faults(bench.streams, SERVER)->cut_after = 100;
    dial(&bench);
    run(&bench, 1);
    send_pattern(&bench, CLIENT, 1, 100);
    sim_stream_mark(bench.streams, CLIENT, 1, 42);
    run(&bench, 5);
    assert_int_equal(bench.sides[SERVER].reason, ERR_IO);
    assert_int_equal(bench.marks, 1);
    assert_int_equal(bench.lost, 0);
    bench_end(&bench);
}

static void test_a_window_makes_takes_short_and_writable_follow(void **state)
{
    (void)state;
    bench_start(&bench);
    sim_stream_set_window(bench.streams, CLIENT, 50);
    dial(&bench);
    run(&bench, 1);
    uint8_t bytes[80] = {0};
    size_t taken = 0;
    assert_int_equal(sim_stream_send(bench.streams, CLIENT, 1, VIEW_OF(bytes), &taken), ERR_NONE);
    assert_int_equal(taken, 50);
    run(&bench, 1);
    assert_int_equal(bench.sides[CLIENT].writable, 1);
    assert_int_equal(
        sim_stream_send(bench.streams, CLIENT, 1, view_sub(VIEW_OF(bytes), 50, 30), &taken),
        ERR_NONE);
    assert_int_equal(taken, 30);
    run(&bench, 1);
    assert_int_equal(bench.sides[SERVER].len, 80);
    bench_end(&bench);
}

static void test_a_mark_fires_after_the_bytes_before_it(void **state)
{
    (void)state;
    bench_start(&bench);
    dial(&bench);
    run(&bench, 1);
    send_pattern(&bench, CLIENT, 1, 500);
    sim_stream_mark(bench.streams, CLIENT, 1, 42);
    send_pattern(&bench, CLIENT, 1, 500);
    run(&bench, 1);
    assert_int_equal(bench.marks, 1);
    assert_int_equal(bench.lost, 0);
    assert_in_range(bench.mark_len, 500, 500);
    sim_net_block(bench.net, CLIENT, SERVER, SIM_FAMILIES_V4, true);
    send_pattern(&bench, CLIENT, 1, 500);
    sim_stream_mark(bench.streams, CLIENT, 1, 43);
    sim_stream_reset(bench.streams, CLIENT, 1);
    assert_int_equal(bench.marks, 2);
    assert_int_equal(bench.lost, 1);
    bench_end(&bench);
}

static void test_a_roamed_node_hears_the_end_and_its_peer_does_not(void **state)
{
    (void)state;
    bench_start(&bench);
    dial(&bench);
    run(&bench, 1);
    sim_stream_orphan_node(bench.streams, CLIENT);
    run(&bench, 5);
    assert_int_equal(bench.sides[CLIENT].closed, 1);
    assert_int_equal(bench.sides[SERVER].closed, 0);
    bench_end(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_arrive_whole_and_in_order_in_many_pieces),
        cmocka_unit_test(test_close_follows_the_bytes_and_is_heard_once),
        cmocka_unit_test(test_reset_reaches_the_other_side_as_an_error),
        cmocka_unit_test(test_connecting_fails_with_the_reason_of_the_fault),
        cmocka_unit_test(test_a_partition_holds_bytes_up_and_loses_none),
        cmocka_unit_test(test_a_half_open_stream_swallows_silently),
        cmocka_unit_test(test_a_stream_that_lost_bytes_delivers_none_after_them),
        cmocka_unit_test(test_a_cut_ends_both_sides_after_so_many_bytes),
        cmocka_unit_test(test_a_window_makes_takes_short_and_writable_follow),
        cmocka_unit_test(test_a_cut_right_behind_a_mark_has_not_lost_it),
        cmocka_unit_test(test_a_mark_fires_after_the_bytes_before_it),
        cmocka_unit_test(test_a_roamed_node_hears_the_end_and_its_peer_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
