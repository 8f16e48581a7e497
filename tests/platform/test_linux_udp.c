/* Needs CAP_NET_ADMIN for the mark on the sockets; says so and skips otherwise. */
#include "platform/linux/linux_udp.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/support.h"

#define SEGMENT 1000U

struct pair {
    struct linux_udp a;
    struct linux_udp b;
};

static const struct instant now = {NS_PER_S};

static void open_pair(struct pair *p, bool no_gso, bool no_gro)
{
    struct linux_udp_options options = {.port = 0,
                                        .receive_buffer = 1U << 20,
                                        .send_buffer = 1U << 20,
                                        .no_gso = no_gso,
                                        .no_gro = no_gro};
    enum err err = linux_udp_open(&p->a, &options);
    if (err == ERR_PERMISSION) {
        print_message("skipped: the capability NET_ADMIN is missing\n");
        skip();
    }
    assert_int_equal(err, ERR_NONE);
    assert_int_equal(linux_udp_open(&p->b, &options), ERR_NONE);
}

static void close_pair(struct pair *p)
{
    linux_udp_close(&p->a);
    linux_udp_close(&p->b);
}

static struct gateway_train train_to(const struct linux_udp *to, enum ip_family family,
                                     struct view bytes, uint16_t segment)
{
    struct ip_addr v6 = {IP_V6, {[15] = 1}};
    struct ip_addr ip = family == IP_V4 ? ip_v4(127, 0, 0, 1) : v6;
    return (struct gateway_train){.remote = sock_addr_of(ip, to->port[family == IP_V4 ? 0 : 1]),
                                  .bytes = bytes,
                                  .segment_size = segment};
}

/* Receives until `len` bytes are there; checks that every segment has its place. */
static size_t receive_all(struct linux_udp *udp, struct view expected, uint16_t segment,
                          struct gateway_datagram *last)
{
    size_t got = 0;
    size_t datagrams = 0;
    for (int round = 0; round < 100 && got < expected.len; round++) {
        struct gateway_datagram out[LINUX_UDP_BATCH];
        struct pollfd fds[] = {{.fd = udp->fd[0], .events = POLLIN},
                               {.fd = udp->fd[1], .events = POLLIN}};
        size_t count = 0;
        (void)poll(fds, 2, 100);
        if (linux_udp_receive(udp, out, LINUX_UDP_BATCH, &count) != ERR_NONE) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            struct view bytes = view_of_span(out[i].bytes);
            assert_true(got + bytes.len <= expected.len);
            assert_true(out[i].segment_size == 0 ? bytes.len <= segment
                                                 : out[i].segment_size == segment);
            assert_true(view_equal(bytes, view_sub(expected, got, bytes.len)));
            got += bytes.len;
            *last = out[i];
            datagrams++;
        }
    }
    assert_int_equal(got, expected.len);
    return datagrams;
}

static void fill(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(i * 2654435761U >> 9);
    }
}

static void check_train(enum ip_family family, bool no_gso, bool no_gro)
{
    struct pair p;
    uint8_t bytes[20 * SEGMENT + 123];
    struct gateway_datagram last;
    fill(bytes, sizeof(bytes));
    open_pair(&p, no_gso, no_gro);
    if (p.a.fd[family == IP_V4 ? 0 : 1] < 0) {
        print_message("skipped: no IPv%d here\n", (int)family);
        close_pair(&p);
        skip();
    }
    struct gateway_train train = train_to(&p.b, family, VIEW_OF(bytes), SEGMENT);
    train.ecn = 2;
    assert_int_equal(linux_udp_send(&p.a, &train, now), ERR_NONE);
    size_t datagrams = receive_all(&p.b, VIEW_OF(bytes), SEGMENT, &last);
    if (no_gro) {
        assert_int_equal(datagrams, 21);
        assert_int_equal(p.b.receive_messages, 21);
    }
    if (no_gso) {
        assert_int_equal(p.a.send_calls, 21);
    }
    assert_int_equal(last.ecn, 2);
    assert_int_equal(last.remote.port, p.a.port[family == IP_V4 ? 0 : 1]);
    assert_int_equal(last.local.port, p.b.port[family == IP_V4 ? 0 : 1]);
    assert_true(ip_is_loopback(&last.local.ip));
    assert_int_equal(last.local.ip.family, family);
    close_pair(&p);
}

static void test_a_train_arrives_whole_over_ipv4(void **state)
{
    (void)state;
    check_train(IP_V4, false, false);
}

static void test_a_train_arrives_whole_over_ipv6(void **state)
{
    (void)state;
    check_train(IP_V6, false, false);
}

static void test_a_train_arrives_whole_without_offloads(void **state)
{
    (void)state;
    check_train(IP_V4, true, true);
    check_train(IP_V6, true, true);
}

static void test_segmentation_alone_yields_single_datagrams(void **state)
{
    (void)state;
    check_train(IP_V4, false, true);
}

static void test_receiving_merges_what_was_sent_as_one_train(void **state)
{
    (void)state;
    struct pair p;
    uint8_t bytes[4 * SEGMENT];
    struct gateway_datagram last;
    fill(bytes, sizeof(bytes));
    open_pair(&p, false, false);
    if (!p.a.gso) {
        print_message("skipped: no UDP_SEGMENT here\n");
        close_pair(&p);
        skip();
    }
    struct gateway_train train = train_to(&p.b, IP_V4, VIEW_OF(bytes), SEGMENT);
    assert_int_equal(linux_udp_send(&p.a, &train, now), ERR_NONE);
    assert_true(p.a.gso);
    assert_int_equal(receive_all(&p.b, VIEW_OF(bytes), SEGMENT, &last), 1);
    assert_int_equal(p.a.send_calls, 1);
    assert_int_equal(p.b.receive_calls, 1);
    assert_int_equal(p.b.receive_messages, 1);
    assert_int_equal(last.segment_size, SEGMENT);
    close_pair(&p);
}

static void test_the_source_address_can_be_chosen(void **state)
{
    (void)state;
    struct pair p;
    struct gateway_datagram last;
    open_pair(&p, false, false);
    struct gateway_train train = train_to(&p.b, IP_V4, view_text("hello"), 0);
    train.local = sock_addr_of(ip_v4(127, 0, 0, 9), 0);
    assert_int_equal(linux_udp_send(&p.a, &train, now), ERR_NONE);
    assert_int_equal(receive_all(&p.b, view_text("hello"), 5, &last), 1);
    struct ip_addr expected = ip_v4(127, 0, 0, 9);
    assert_true(ip_equal(&last.remote.ip, &expected));
    close_pair(&p);
}

static void test_headroom_in_front_of_a_datagram_may_be_written(void **state)
{
    (void)state;
    struct pair p;
    struct gateway_datagram out[LINUX_UDP_BATCH];
    size_t count = 0;
    open_pair(&p, false, true);
    for (int i = 0; i < 3; i++) {
        struct gateway_train train = train_to(&p.b, IP_V4, view_text("abc"), 0);
        assert_int_equal(linux_udp_send(&p.a, &train, now), ERR_NONE);
    }
    struct pollfd fd = {.fd = p.b.fd[0], .events = POLLIN};
    (void)poll(&fd, 1, 1000);
    assert_int_equal(linux_udp_receive(&p.b, out, LINUX_UDP_BATCH, &count), ERR_NONE);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        memset(out[i].bytes.at - GATEWAY_UDP_HEADROOM, 0xff, GATEWAY_UDP_HEADROOM);
    }
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(out[i].bytes.at, "abc", 3);
    }
    assert_int_equal(linux_udp_receive(&p.b, out, LINUX_UDP_BATCH, &count), ERR_WOULD_BLOCK);
    close_pair(&p);
}

/* What leaves is seen by a raw socket on loopback, IP header included. */
static void test_datagrams_leave_unfragmentable_with_their_mark_of_congestion(void **state)
{
    (void)state;
    struct pair p;
    uint8_t packet[128];
    open_pair(&p, false, false);
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
    if (raw < 0) {
        print_message("skipped: no raw socket here\n");
        close_pair(&p);
        skip();
    }
    for (uint8_t ecn = 0; ecn < 4; ecn++) {
        struct gateway_train train = train_to(&p.b, IP_V4, view_text("seen"), 0);
        train.ecn = ecn;
        assert_int_equal(linux_udp_send(&p.a, &train, now), ERR_NONE);
        ssize_t got = 0;
        do {
            got = recv(raw, packet, sizeof(packet), 0);
            assert_true(got > 0);
        } while (got < 32 || load_be16(packet + 22) != p.b.port[0]);
        assert_int_equal(load_be16(packet + 20), p.a.port[0]);
        assert_int_equal(packet[1], ecn);
        assert_int_equal(load_be16(packet + 6), 0x4000); /* DF, no fragment */
    }
    (void)close(raw);
    close_pair(&p);
}

/* A port that nobody has: the error comes back by the queue, and costs the next datagram nothing.
 */
static void check_icmp_error(enum ip_family family)
{
    struct pair p;
    struct linux_udp nobody;
    struct sock_addr gone;
    struct gateway_datagram last;
    unsigned index = family == IP_V4 ? 0 : 1;
    open_pair(&p, false, false);
    if (p.a.fd[index] < 0) {
        print_message("skipped: no IPv%d here\n", (int)family);
        close_pair(&p);
        skip();
    }
    struct linux_udp_options options = {.receive_buffer = 1U << 16, .send_buffer = 1U << 16};
    assert_int_equal(linux_udp_open(&nobody, &options), ERR_NONE);
    struct gateway_train lost = train_to(&nobody, family, view_text("lost"), 0);
    linux_udp_close(&nobody);
    struct gateway_train kept = train_to(&p.b, family, view_text("kept"), 0);
    assert_false(linux_udp_next_unreachable(&p.a, &gone));
    assert_int_equal(linux_udp_send(&p.a, &lost, now), ERR_NONE);
    assert_int_equal(linux_udp_send(&p.a, &kept, now), ERR_NONE); /* not its error */
    assert_int_equal(receive_all(&p.b, view_text("kept"), 4, &last), 1);
    assert_true(linux_udp_next_unreachable(&p.a, &gone));
    assert_true(sock_addr_equal(&gone, &lost.remote));
    assert_false(linux_udp_next_unreachable(&p.a, &gone));
    /* Without a send in between, a read finds it; and reads on. */
    assert_int_equal(linux_udp_send(&p.a, &lost, now), ERR_NONE);
    struct gateway_train back = train_to(&p.a, family, view_text("back"), 0);
    assert_int_equal(linux_udp_send(&p.b, &back, now), ERR_NONE);
    assert_int_equal(receive_all(&p.a, view_text("back"), 4, &last), 1);
    assert_true(linux_udp_next_unreachable(&p.a, &gone) || linux_udp_take_errors(&p.a, index) > 0);
    close_pair(&p);
}

static void test_icmp_errors_are_told_and_cost_no_datagram(void **state)
{
    (void)state;
    check_icmp_error(IP_V4);
    check_icmp_error(IP_V6);
}

static void test_a_flood_of_icmp_errors_is_bounded(void **state)
{
    (void)state;
    struct pair p;
    struct sock_addr gone;
    unsigned told = 0;
    open_pair(&p, false, false);
    for (uint16_t i = 0; i < 100; i++) {
        struct gateway_train train = train_to(&p.b, IP_V4, view_text("lost"), 0);
        train.remote.port = (uint16_t)(1 + i); /* nobody listens on most of these */
        enum err err = linux_udp_send(&p.a, &train, now);
        assert_true(err != ERR_WOULD_BLOCK);
    }
    (void)linux_udp_take_errors(&p.a, 0);
    assert_true(p.a.unreachable_count <= LINUX_UDP_UNREACHABLE_MAX);
    while (linux_udp_next_unreachable(&p.a, &gone)) {
        told++;
    }
    assert_int_equal(told, LINUX_UDP_UNREACHABLE_MAX);
    close_pair(&p);
}

/* Sends `count` datagrams to one family of the other end. */
static void send_some(struct pair *p, enum ip_family family, unsigned count)
{
    struct gateway_train train = train_to(&p->b, family, view_text("some"), 0);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(linux_udp_send(&p->a, &train, now), ERR_NONE);
    }
}

/* A family is read while its readiness is not used up: by a batch that ends early, not by a full
 * one. What was not told to be ready is left alone. */
static void test_a_family_is_read_until_its_queue_is_empty(void **state)
{
    (void)state;
    struct pair p;
    struct gateway_datagram out[LINUX_UDP_BATCH];
    size_t count = 0;
    unsigned ready = 0;
    open_pair(&p, false, true);
    if (p.a.fd[0] < 0 || p.a.fd[1] < 0) {
        close_pair(&p);
        print_message("skipped: not both families\n");
        skip();
    }
    send_some(&p, IP_V4, LINUX_UDP_BATCH + 1);
    send_some(&p, IP_V6, 1);
    assert_int_equal(linux_udp_receive_from(&p.b, &ready, out, LINUX_UDP_BATCH, &count),
                     ERR_WOULD_BLOCK);
    assert_int_equal(count, 0);
    ready = 1;
    assert_int_equal(linux_udp_receive_from(&p.b, &ready, out, LINUX_UDP_BATCH, &count), ERR_NONE);
    assert_int_equal(count, LINUX_UDP_BATCH);
    assert_int_equal(ready, 1);
    assert_int_equal(linux_udp_receive_from(&p.b, &ready, out, LINUX_UDP_BATCH, &count), ERR_NONE);
    assert_int_equal(count, 1);
    assert_int_equal(ready, 0);
    ready = LINUX_UDP_BOTH;
    assert_int_equal(linux_udp_receive_from(&p.b, &ready, out, LINUX_UDP_BATCH, &count), ERR_NONE);
    assert_int_equal(count, 1);
    assert_int_equal(out[0].remote.ip.family, IP_V6);
    close_pair(&p);
}

static void test_a_socket_that_is_gone_is_closed_and_the_last_one_reported(void **state)
{
    (void)state;
    struct pair p;
    struct gateway_datagram out[LINUX_UDP_BATCH];
    size_t count = 0;
    open_pair(&p, false, false);
    for (unsigned i = 0; i < 2; i++) {
        int file = open("/dev/null", O_RDONLY); /* no socket any more */
        if (p.a.fd[i] >= 0) {
            assert_int_equal(dup2(file, p.a.fd[i]), p.a.fd[i]);
        }
        (void)close(file);
        for (int round = 0; round < 2; round++) {
            enum err err = linux_udp_receive(&p.a, out, LINUX_UDP_BATCH, &count);
            assert_int_equal(count, 0);
            assert_true((err == ERR_CLOSED) == (p.a.fd[0] < 0 && p.a.fd[1] < 0));
        }
        assert_int_equal(p.a.fd[i], -1);
    }
    close_pair(&p);
}

/* Receives one train and checks it. */
static void expect_train(struct linux_udp *udp, struct view expected, struct gateway_datagram *out)
{
    size_t count = 0;
    struct pollfd fd = {.fd = udp->fd[0], .events = POLLIN};
    (void)poll(&fd, 1, 1000);
    assert_int_equal(linux_udp_receive(udp, out, LINUX_UDP_BATCH, &count), ERR_NONE);
    assert_int_equal(count, 1);
    assert_true(view_equal(view_of_span(out->bytes), expected));
}

static void test_sockets_at_one_address_receive_into_one_room(void **state)
{
    (void)state;
    struct pair p;
    struct linux_udp room;
    struct linux_udp at[2];
    struct linux_udp third;
    struct sock_addr local[2];
    uint8_t bytes[3000] = {0};
    struct gateway_datagram got[2][LINUX_UDP_BATCH];
    struct linux_udp_options options = {.receive_buffer = 1U << 20, .send_buffer = 1U << 20};
    open_pair(&p, false, false);
    for (size_t i = 0; i < 2; i++) { /* ports that are free, once the pair is closed */
        local[i] = sock_addr_of(ip_v4(127, 0, 0, 1), i == 0 ? p.a.port[0] : p.b.port[0]);
    }
    close_pair(&p);
    assert_int_equal(linux_udp_open_room(&room), ERR_NONE);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(linux_udp_open_at(&at[i], &options, &local[i], 0, &room), ERR_NONE);
        assert_int_equal(at[i].port[0], local[i].port);
    }
    assert_int_not_equal(linux_udp_open_at(&third, &options, &local[0], 0, &room), ERR_NONE);
    for (size_t i = 0; i < 2; i++) {
        memset(bytes, (int)i + 1, sizeof bytes);
        struct gateway_train train = {local[i], local[1 - i], {bytes, sizeof bytes}, SEGMENT, 0};
        assert_int_equal(linux_udp_send(&at[i], &train, now), ERR_NONE);
        expect_train(&at[1 - i], train.bytes, got[i]);
        assert_int_equal(got[i]->segment_size, SEGMENT);
        assert_true(sock_addr_equal(&got[i]->remote, &local[i]));
        assert_true(sock_addr_equal(&got[i]->local, &local[1 - i]));
    }
    assert_ptr_equal(got[0]->bytes.at, got[1]->bytes.at);
    linux_udp_close(&at[0]);
    linux_udp_close(&at[1]);
    linux_udp_close(&room);
}

static void test_a_preferred_port_that_is_taken_is_replaced(void **state)
{
    (void)state;
    struct pair p;
    struct linux_udp c;
    open_pair(&p, false, false);
    struct linux_udp_options options = {
        .port = p.a.port[0], .receive_buffer = 1U << 16, .send_buffer = 1U << 16};
    assert_int_equal(linux_udp_open(&c, &options), ERR_NONE);
    assert_int_not_equal(c.port[0], p.a.port[0]);
    assert_int_not_equal(c.port[0], 0);
    linux_udp_close(&c);
    close_pair(&p);
}

static void test_an_unreachable_destination_loses_that_train_only(void **state)
{
    (void)state;
    struct pair p;
    struct gateway_datagram last;
    open_pair(&p, false, false);
    struct gateway_train train = train_to(&p.b, IP_V4, view_text("lost"), 0);
    train.local = sock_addr_of(ip_v4(192, 0, 2, 1), 0); /* no address of ours */
    enum err err = linux_udp_send(&p.a, &train, now);
    assert_true(err != ERR_NONE && err != ERR_WOULD_BLOCK);
    train = train_to(&p.b, IP_V4, view_text("kept"), 0);
    assert_int_equal(linux_udp_send(&p.a, &train, now), ERR_NONE);
    assert_int_equal(receive_all(&p.b, view_text("kept"), 4, &last), 1);
    close_pair(&p);
}

/* An address that the host has no longer is refused with the same error as a train that the way out
 * cannot segment. */
static void test_a_source_address_that_is_gone_says_nothing_about_segmentation(void **state)
{
    (void)state;
    static const uint8_t gone6[16] = {0x20, 0x01, 0x0d, 0xb8, 7};
    const struct ip_addr gone[] = {ip_v4(192, 0, 2, 1), ip_from_bytes(IP_V6, gone6)};
    struct pair p;
    open_pair(&p, false, false);
    bool had_gso = p.a.gso;
    for (size_t i = 0; i < ARRAY_COUNT(gone); i++) {
        struct gateway_train train =
            train_to(&p.b, (enum ip_family)gone[i].family, view_text("two segments"), 6);
        train.local = sock_addr_of(gone[i], 0);
        enum err err = linux_udp_send(&p.a, &train, now);
        assert_true(err != ERR_NONE && err != ERR_WOULD_BLOCK);
        assert_int_equal(p.a.gso, had_gso);
    }
    close_pair(&p);
}

static void test_what_finds_a_full_buffer_is_counted(void **state)
{
    enum { COUNT = 50 };
    struct pair p;
    struct linux_udp narrow;
    struct linux_udp_options options = {.receive_buffer = 0}; /* as little as there can be */
    uint8_t bytes[SEGMENT] = {0};
    size_t got = 0;
    size_t count = 0;
    (void)state;
    open_pair(&p, false, false);
    assert_int_equal(linux_udp_open(&narrow, &options), ERR_NONE);
    assert_int_equal(linux_udp_receive_lost(&narrow), 0);
    struct gateway_train train = train_to(&narrow, IP_V4, VIEW_OF(bytes), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(linux_udp_send(&p.a, &train, now), ERR_NONE);
    }
    struct gateway_datagram out[LINUX_UDP_BATCH];
    while (linux_udp_receive(&narrow, out, LINUX_UDP_BATCH, &count) == ERR_NONE) {
        got += count;
    }
    assert_in_range(got, 1, COUNT - 1);
    assert_int_equal(linux_udp_receive_lost(&narrow), COUNT - got);
    linux_udp_close(&narrow);
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_train_arrives_whole_over_ipv4),
        cmocka_unit_test(test_a_train_arrives_whole_over_ipv6),
        cmocka_unit_test(test_a_train_arrives_whole_without_offloads),
        cmocka_unit_test(test_segmentation_alone_yields_single_datagrams),
        cmocka_unit_test(test_receiving_merges_what_was_sent_as_one_train),
        cmocka_unit_test(test_the_source_address_can_be_chosen),
        cmocka_unit_test(test_headroom_in_front_of_a_datagram_may_be_written),
        cmocka_unit_test(test_datagrams_leave_unfragmentable_with_their_mark_of_congestion),
        cmocka_unit_test(test_icmp_errors_are_told_and_cost_no_datagram),
        cmocka_unit_test(test_a_flood_of_icmp_errors_is_bounded),
        cmocka_unit_test(test_a_family_is_read_until_its_queue_is_empty),
        cmocka_unit_test(test_a_socket_that_is_gone_is_closed_and_the_last_one_reported),
        cmocka_unit_test(test_a_preferred_port_that_is_taken_is_replaced),
        cmocka_unit_test(test_sockets_at_one_address_receive_into_one_room),
        cmocka_unit_test(test_an_unreachable_destination_loses_that_train_only),
        cmocka_unit_test(test_a_source_address_that_is_gone_says_nothing_about_segmentation),
        cmocka_unit_test(test_what_finds_a_full_buffer_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
