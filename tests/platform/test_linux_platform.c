/* The wiring of the Linux platform: what arrives at its descriptors becomes events of the table. In
 * a network namespace of its own; says so and skips where that is not permitted. */
#include "platform/linux/linux_platform.h"

#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/linux/linux_addr.h"
#include "tests/support/support.h"

#define ROUNDS_MAX 100 /* of 20 ms */

struct world {
    bool permitted;
    struct linux_platform platform;
    unsigned health_failures;
    unsigned health_binds; /* after a failure */
    unsigned complaints;   /* of the environment, whatever about */
};

static void take_event(void *sink, const struct trace_event *event)
{
    struct world *w = sink;
    bool failed = view_equal_text(event->text, "cannot listen for health checks");
    bool bound = view_equal_text(event->text, "listens for health checks now");
    w->complaints += event->event == EV_ENVIRONMENT ? 1 : 0;
    w->health_failures += event->event == EV_ENVIRONMENT && failed ? 1 : 0;
    w->health_binds += event->event == EV_ENVIRONMENT && bound && event->value == ERR_NONE ? 1 : 0;
}

static bool loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    bool done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    (void)close(fd);
    return done;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const char *what = NULL;
    sigset_t set;
    linux_platform_signal_set(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    struct linux_platform_options options = {
        .udp = {.receive_buffer = 1U << 18, .send_buffer = 1U << 18},
        .tun_name = "tun-platform",
        .own_addresses = true,
        .signals = true,
        .trace = {take_event, w},
    };
    w->permitted = unshare(CLONE_NEWNET) == 0 && loopback_up() &&
                   linux_platform_open(&w->platform, &options, &what) == ERR_NONE;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    if (w->permitted) {
        linux_platform_close(&w->platform);
    }
    free(w);
    return 0;
}

static struct world *permitted(void **state)
{
    struct world *w = *state;
    if (!w->permitted) {
        print_message("skipped: no network namespace or no TUN device of our own\n");
        skip();
    }
    return w;
}

/* Waits for an event of this kind. */
static bool comes(struct world *w, enum platform_event_kind kind, struct platform_event *out)
{
    const struct platform *table = &w->platform.table;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct gateway_datagram datagrams[LINUX_UDP_BATCH];
        size_t count = 0;
        linux_platform_wait(&w->platform, linux_clock_boot(), 20);
        uint32_t ready = linux_platform_ready(&w->platform);
        if ((ready & PLATFORM_READY_UDP) != 0) {
            enum err err = table->udp_receive(table->self, datagrams, LINUX_UDP_BATCH, &count);
            assert_true(err == ERR_NONE || err == ERR_WOULD_BLOCK);
        }
        while ((ready & PLATFORM_READY_EVENT) != 0 && table->event(table->self, out)) {
            if (out->kind == kind) {
                return true;
            }
        }
    }
    return false;
}

static void test_an_icmp_error_becomes_an_event(void **state)
{
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct platform_event event;
    struct gateway_train train = {.remote = sock_addr_of(ip_v4(127, 0, 0, 1), 9),
                                  .bytes = view_text("nobody listens")};
    assert_int_equal(table->udp_send(table->self, &train), ERR_NONE);
    assert_true(comes(w, PLATFORM_UNREACHABLE, &event));
    assert_true(sock_addr_equal(&event.unreachable, &train.remote));
}

/* Datagrams that come while the sockets are said to be ready. */
static unsigned received(struct world *w, const struct platform *table)
{
    struct gateway_datagram datagrams[LINUX_UDP_BATCH];
    unsigned all = 0;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        size_t count = 0;
        if ((linux_platform_ready(&w->platform) & PLATFORM_READY_UDP) == 0) {
            linux_platform_wait(&w->platform, linux_clock_boot(), 0);
        }
        if ((linux_platform_ready(&w->platform) & PLATFORM_READY_UDP) == 0) {
            break;
        }
        enum err err = table->udp_receive(table->self, datagrams, LINUX_UDP_BATCH, &count);
        assert_true(err == ERR_NONE || err == ERR_WOULD_BLOCK);
        all += (unsigned)count;
    }
    return all;
}

/* A socket is read once for each edge: an error between datagrams must not hide those behind it. */
static void test_an_error_between_datagrams_hides_none(void **state)
{
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct linux_udp peer;
    struct linux_udp_options options = {.receive_buffer = 1U << 20, .send_buffer = 1U << 18};
    assert_int_equal(linux_udp_open(&peer, &options), ERR_NONE);
    struct gateway_train bad = {.remote = sock_addr_of(ip_v4(127, 0, 0, 1), 9),
                                .bytes = view_text("nobody listens")};
    struct gateway_train good = {.remote =
                                     sock_addr_of(ip_v4(127, 0, 0, 1), w->platform.udp.port[0]),
                                 .bytes = view_text("good")};
    for (unsigned errors = 0; errors < 3; errors++) {
        for (unsigned i = 0; i < 8; i++) {
            if (i == 2 * errors || (i == 6 && errors == 2)) {
                linux_platform_wait(&w->platform, linux_clock_boot(),
                                    0); /* the error comes after this edge */
                assert_int_equal(table->udp_send(table->self, &bad), ERR_NONE);
            }
            assert_int_equal(linux_udp_send(&peer, &good, (struct instant){NS_PER_S}), ERR_NONE);
        }
        assert_int_equal(received(w, table), 8);
    }
    linux_udp_close(&peer);
}

/* An empty device costs one look for each packet written to it, and none otherwise. */
static void test_an_empty_device_is_not_read_again(void **state)
{
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct gateway_tun_packet packets[LINUX_TUN_BATCH];
    size_t count = 1;
    w->platform.tun_ready = true;
    assert_int_equal(table->tun_read(table->self, packets, LINUX_TUN_BATCH, &count),
                     ERR_WOULD_BLOCK);
    assert_int_equal(count, 0);
    assert_int_equal(linux_platform_ready(&w->platform) & PLATFORM_READY_TUN, 0);
    w->platform.tun.is_empty = false;
    assert_int_equal(table->tun_read(table->self, packets, LINUX_TUN_BATCH, &count),
                     ERR_WOULD_BLOCK);
    assert_false(w->platform.tun.is_empty); /* nobody looked */
}

/* What leaves makes room: that wakes nobody who does not wait for it. */
static void test_what_was_sent_does_not_wake_the_loop(void **state)
{
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct linux_udp peer;
    struct linux_udp_options options = {.receive_buffer = 1U << 20, .send_buffer = 1U << 18};
    static uint8_t bytes[1000];
    assert_int_equal(linux_udp_open(&peer, &options), ERR_NONE);
    struct gateway_train train = {.remote = sock_addr_of(ip_v4(127, 0, 0, 1), peer.port[0]),
                                  .bytes = VIEW_OF(bytes)};
    struct epoll_event events[8];
    while (epoll_wait(w->platform.epoll, events, 8, 0) > 0) {
    }
    struct gateway_datagram datagrams[LINUX_UDP_BATCH];
    size_t count = 0;
    assert_int_equal(table->udp_send(table->self, &train), ERR_NONE);
    assert_int_equal(linux_udp_receive(&peer, datagrams, LINUX_UDP_BATCH, &count), ERR_NONE);
    assert_int_equal(count, 1);
    assert_int_equal(epoll_wait(w->platform.epoll, events, 8, 0), 0);
    linux_udp_close(&peer);
}

static void test_a_device_that_is_configured_late_becomes_an_event(void **state)
{
    static const struct gateway_tun_config config = {{IP_V4, {100, 70, 1, 2}},
                                                     {IP_V6, {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11}}};
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct platform_event event;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, before.rlim_max}), 0);
    assert_int_not_equal(table->tun_configure(table->self, &config), ERR_NONE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(comes(w, PLATFORM_TUN_UP, &event));
    assert_int_equal(linux_platform_ready(&w->platform) & PLATFORM_READY_EVENT, 0);
}

/* What is lost for good is told once; after that the loop has nothing to do for it, and sleeps. */
static void test_a_device_that_is_deleted_is_told_once_and_wakes_nobody(void **state)
{
    static const struct gateway_tun_config config = {{IP_V4, {100, 70, 1, 2}},
                                                     {IP_V6, {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11}}};
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct gateway_tun_packet packets[LINUX_TUN_BATCH];
    size_t count = 0;
    enum err err = ERR_NONE;
    assert_int_equal(table->tun_configure(table->self, &config), ERR_NONE);
    unsigned complaints = w->complaints;
    assert_int_equal(system("ip link del tun-platform"), 0); /* NOLINT(cert-env33-c) */
    for (int round = 0; round < ROUNDS_MAX && err != ERR_CLOSED; round++) {
        linux_platform_wait(&w->platform, linux_clock_boot(), 20);
        if ((linux_platform_ready(&w->platform) & PLATFORM_READY_TUN) != 0) {
            err = table->tun_read(table->self, packets, LINUX_TUN_BATCH, &count);
        }
    }
    assert_int_equal(err, ERR_CLOSED);
    struct instant until = instant_add(linux_clock_boot(), DURATION_S(LINUX_TUN_CHECK_S + 1));
    while (instant_before(linux_clock_boot(), until)) {
        linux_platform_wait(&w->platform, linux_clock_boot(), 50);
        assert_int_equal(linux_platform_ready(&w->platform) & PLATFORM_READY_TUN, 0);
    }
    assert_int_equal(w->complaints, complaints); /* nobody tries to set it up again */
}

static void test_sockets_that_are_gone_wake_nobody(void **state)
{
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct gateway_datagram datagrams[LINUX_UDP_BATCH];
    size_t count = 0;
    enum err err = ERR_NONE;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(close(w->platform.udp.fd[i]), 0);
    }
    w->platform.udp_ready = 3;
    for (unsigned i = 0; i < 4 && err != ERR_CLOSED; i++) {
        err = table->udp_receive(table->self, datagrams, LINUX_UDP_BATCH, &count);
    }
    assert_int_equal(err, ERR_CLOSED);
    assert_int_equal(linux_platform_ready(&w->platform) & PLATFORM_READY_UDP, 0);
}

static void test_the_first_signal_becomes_an_event(void **state)
{
    struct world *w = permitted(state);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct platform_event event;
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
        w->platform.signals_seen = 0;
        assert_int_equal(kill(getpid(), signals[i]), 0);
        assert_true(comes(w, PLATFORM_SHUTDOWN, &event));
        assert_int_equal(linux_platform_signals(&w->platform), 1);
    }
}

static void test_the_hosts_own_addresses_are_found(void **state)
{
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct ip_addr found[GATEWAY_OWN_ADDRESSES_MAX];
    struct ip_addr loopback = ip_v4(127, 0, 0, 1);
    bool has_loopback = false;
    size_t count = table->own_addresses(table->self, found, GATEWAY_OWN_ADDRESSES_MAX);
    for (size_t i = 0; i < count; i++) {
        has_loopback = has_loopback || ip_equal(&found[i], &loopback);
    }
    assert_true(has_loopback);
    assert_int_equal(table->own_addresses(table->self, found, 1), 1);
}

static void test_a_health_address_that_cannot_be_bound_is_reported_and_tried_on(void **state)
{
    struct world *w = permitted(state);
    const struct platform *table = &w->platform.table;
    struct gateway_listen listen = {GATEWAY_LISTENER_HEALTH, false,
                                    sock_addr_of(ip_v4(127, 0, 0, 1), 8080)};
    struct sockaddr_storage storage;
    socklen_t size = linux_addr_to(&listen.local, &storage);
    int other = socket(AF_INET, SOCK_STREAM, 0); /* has the address already */
    assert_int_equal(bind(other, (struct sockaddr *)&storage, size), 0);
    (void)table->listen(table->self, &listen);
    for (int round = 0; round < ROUNDS_MAX && w->health_failures == 0; round++) {
        linux_platform_wait(&w->platform, linux_clock_boot(), 20);
    }
    assert_int_equal(w->health_failures, 1);
    assert_int_equal(w->health_binds, 0);
    (void)close(other);
    for (int round = 0; round < ROUNDS_MAX && w->health_binds == 0; round++) {
        linux_platform_wait(&w->platform, linux_clock_boot(), 20);
    }
    assert_int_equal(w->health_failures, 1);
    assert_int_equal(w->health_binds, 1);
    assert_int_equal(linux_streams_port(w->platform.streams, GATEWAY_LISTENER_HEALTH), 8080);
}

#define PLATFORM_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLATFORM_TEST(test_an_icmp_error_becomes_an_event),
        PLATFORM_TEST(test_an_error_between_datagrams_hides_none),
        PLATFORM_TEST(test_an_empty_device_is_not_read_again),
        PLATFORM_TEST(test_what_was_sent_does_not_wake_the_loop),
        PLATFORM_TEST(test_a_device_that_is_configured_late_becomes_an_event),
        PLATFORM_TEST(test_a_device_that_is_deleted_is_told_once_and_wakes_nobody),
        PLATFORM_TEST(test_sockets_that_are_gone_wake_nobody),
        PLATFORM_TEST(test_the_first_signal_becomes_an_event),
        PLATFORM_TEST(test_the_hosts_own_addresses_are_found),
        PLATFORM_TEST(test_a_health_address_that_cannot_be_bound_is_reported_and_tried_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
