#include "platform/linux/linux_stream.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "platform/linux/linux_addr.h"
#include "tests/platform/tls_peer.h"

#define TAG      UINT64_C(7)
#define WAIT_MAX 300 /* rounds of 10 ms */

/* Streams that talk to each other over loopback: one table both connects and accepts. */
struct world {
    int epoll;
    struct linux_streams *streams;
    struct linux_tls_roots *roots;
    struct authority authority;
};

static struct instant now(void)
{
    struct timespec at;
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &at), 0);
    return (struct instant){(uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec};
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[64];
    authority_init(&w->authority);
    authority_save(&w->authority, path);
    enum err why = ERR_NONE;
    w->roots = linux_tls_roots_load(path, &why);
    (void)unlink(path);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct linux_streams_options options = {w->epoll, TAG, 0, w->roots};
    w->streams = linux_streams_create(&options);
    *state = w;
    return w->roots != NULL && w->epoll >= 0 && w->streams != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    linux_streams_destroy(w->streams);
    linux_tls_roots_free(w->roots);
    mbedtls_pk_free(&w->authority.key);
    (void)close(w->epoll);
    free(w);
    return 0;
}

static void wait_once(struct world *w, int ms)
{
    struct epoll_event events[16];
    int count = epoll_wait(w->epoll, events, 16, ms);
    for (int i = 0; i < count; i++) {
        assert_true(events[i].data.u64 >> 32 == TAG);
        linux_streams_handle(w->streams, (uint32_t)events[i].data.u64, events[i].events);
    }
    linux_streams_tick(w->streams, now());
}

/* The next event; fails the test when none comes. */
static struct platform_event next(struct world *w)
{
    struct platform_event event = {0};
    for (int i = 0; i < WAIT_MAX; i++) {
        if (linux_streams_event(w->streams, &event)) {
            return event;
        }
        wait_once(w, 10);
    }
    fail_msg("no event came");
    return event;
}

static void assert_quiet(struct world *w)
{
    struct platform_event event = {0};
    for (int i = 0; i < 5; i++) {
        wait_once(w, 2);
        assert_false(linux_streams_event(w->streams, &event));
    }
    assert_false(linux_streams_has_events(w->streams));
}

static uint16_t listen_tcp(struct world *w)
{
    struct gateway_listen listen = {GATEWAY_LISTENER_HEALTH, false,
                                    sock_addr_of(ip_v4(127, 0, 0, 1), 0)};
    assert_int_equal(linux_streams_listen(w->streams, &listen, now()), ERR_NONE);
    uint16_t port = linux_streams_port(w->streams, GATEWAY_LISTENER_HEALTH);
    assert_int_not_equal(port, 0);
    return port;
}

static void open_to(struct world *w, uint32_t stream, uint16_t port, const char *tls_name)
{
    struct gateway_stream_open open = {stream, sock_addr_of(ip_v4(127, 0, 0, 1), port),
                                       view_text(tls_name)};
    linux_streams_open(w->streams, &open, now());
}

/* Connects stream 1; returns the id of its accepted end. */
static uint32_t connect_pair(struct world *w)
{
    uint32_t accepted = 0;
    bool opened = false;
    open_to(w, 1, listen_tcp(w), "");
    while (accepted == 0 || !opened) {
        struct platform_event event = next(w);
        assert_int_equal(event.kind, PLATFORM_STREAM);
        if (event.stream.kind == GATEWAY_STREAM_OPENED) {
            assert_int_equal(event.stream.stream, 1);
            opened = true;
        } else {
            assert_int_equal(event.stream.kind, GATEWAY_STREAM_ACCEPTED);
            assert_int_equal(event.stream.listener, GATEWAY_LISTENER_HEALTH);
            assert_true(ip_is_loopback(&event.stream.remote.ip));
            accepted = event.stream.stream;
        }
    }
    assert_true(accepted >= GATEWAY_STREAM_ACCEPTED_BASE);
    return accepted;
}

static void send_all(struct world *w, uint32_t stream, const char *text)
{
    size_t taken = 0;
    assert_int_equal(linux_streams_send(w->streams, stream, view_text(text), &taken), ERR_NONE);
    assert_int_equal(taken, strlen(text));
}

static void assert_bytes(const struct platform_event *event, uint32_t stream, const char *text)
{
    assert_int_equal(event->stream.kind, GATEWAY_STREAM_BYTES);
    assert_int_equal(event->stream.stream, stream);
    assert_true(view_equal_text(event->stream.bytes, text));
}

static void test_bytes_pass_both_ways(void **state)
{
    struct world *w = *state;
    uint32_t accepted = connect_pair(w);
    send_all(w, 1, "ping");
    struct platform_event event = next(w);
    assert_bytes(&event, accepted, "ping");
    send_all(w, accepted, "pong");
    event = next(w);
    assert_bytes(&event, 1, "pong");
    assert_quiet(w);
}

static void test_a_close_reaches_the_other_side_after_the_bytes(void **state)
{
    struct world *w = *state;
    uint32_t accepted = connect_pair(w);
    send_all(w, accepted, "last words");
    linux_streams_close(w->streams, accepted, now());
    struct platform_event event = next(w);
    assert_bytes(&event, 1, "last words");
    event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_CLOSED);
    assert_int_equal(event.stream.stream, 1);
    assert_int_equal(event.stream.reason, ERR_CLOSED);
    assert_quiet(w); /* the closing side hears nothing */
    size_t taken = 9;
    assert_int_equal(linux_streams_send(w->streams, 1, view_text("x"), &taken), ERR_CLOSED);
    assert_int_equal(taken, 0);
    linux_streams_close(w->streams, 1, now()); /* unknown by now: ignored */
}

/* The socket of this process whose peer has `port` and which is no listener; -1 without. */
static int find_connected(uint16_t port)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_storage storage = {0};
        socklen_t size = sizeof(storage);
        if (getpeername(fd, (struct sockaddr *)&storage, &size) == 0 &&
            storage.ss_family == AF_INET && linux_addr_from(&storage).port == port) {
            return fd;
        }
    }
    return -1;
}

/* As a client that sends its question and shuts its side down: the answer still reaches it. */
static void test_a_peer_that_ended_its_side_can_still_be_answered(void **state)
{
    struct world *w = *state;
    uint32_t accepted = connect_pair(w);
    int fd = find_connected(linux_streams_port(w->streams, GATEWAY_LISTENER_HEALTH));
    send_all(w, 1, "question");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    struct platform_event event = next(w);
    assert_bytes(&event, accepted, "question");
    event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_ENDED);
    assert_int_equal(event.stream.stream, accepted);
    assert_quiet(w); /* it is said once */
    send_all(w, accepted, "answer");
    event = next(w);
    assert_bytes(&event, 1, "answer");
    assert_quiet(w);
    linux_streams_close(w->streams, accepted, now());
    event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_CLOSED);
    assert_int_equal(event.stream.reason, ERR_CLOSED);
}

static void test_a_peer_that_ended_its_side_and_is_gone_is_closed(void **state)
{
    struct world *w = *state;
    uint32_t accepted = connect_pair(w);
    linux_streams_close(w->streams, 1, now());
    assert_int_equal(next(w).stream.kind, GATEWAY_STREAM_ENDED);
    send_all(w, accepted, "answer"); /* is answered with a reset */
    struct platform_event event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_CLOSED);
    assert_int_equal(event.stream.stream, accepted);
    assert_quiet(w);
}

/* As the reference's health address does: [::] is every address of the host. */
static void test_the_wildcard_of_ipv6_takes_ipv4_too(void **state)
{
    struct world *w = *state;
    struct gateway_listen every = {GATEWAY_LISTENER_HEALTH, false,
                                   sock_addr_of((struct ip_addr){.family = IP_V6}, 0)};
    if (linux_streams_listen(w->streams, &every, now()) != ERR_NONE ||
        linux_streams_port(w->streams, GATEWAY_LISTENER_HEALTH) == 0) {
        print_message("skipped: no IPv6 here\n");
        skip();
    }
    open_to(w, 5, linux_streams_port(w->streams, GATEWAY_LISTENER_HEALTH), "");
    assert_int_not_equal(next(w).stream.kind, GATEWAY_STREAM_CLOSED);
}

static void test_a_refused_connection_is_closed_with_that_reason(void **state)
{
    struct world *w = *state;
    uint16_t port = listen_tcp(w);
    struct gateway_listen elsewhere = {GATEWAY_LISTENER_HEALTH, false,
                                       sock_addr_of(ip_v4(127, 0, 0, 2), 0)};
    assert_int_equal(linux_streams_listen(w->streams, &elsewhere, now()), ERR_NONE);
    open_to(w, 5, port, "");
    struct platform_event event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_CLOSED);
    assert_int_equal(event.stream.stream, 5);
    assert_int_equal(event.stream.reason, ERR_REFUSED);
}

static void test_an_open_that_fails_at_once_still_reports(void **state)
{
    struct world *w = *state;
    struct gateway_stream_open open = {6, sock_addr_of(ip_v4(255, 255, 255, 255), 1), VIEW_EMPTY};
    linux_streams_open(w->streams, &open, now());
    struct platform_event event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_CLOSED);
    assert_int_equal(event.stream.stream, 6);
    assert_int_not_equal(event.stream.reason, ERR_NONE);
    open.remote.ip.family = IP_NONE;
    open.stream = 7;
    linux_streams_open(w->streams, &open, now());
    assert_int_equal(next(w).stream.reason, ERR_ARGUMENT);
}

static void test_a_send_beyond_the_buffer_is_cut_and_continues(void **state)
{
    struct world *w = *state;
    enum { SIZE = 16 << 20 };
    uint8_t *bytes = malloc(SIZE);
    size_t sent = 0;
    size_t got = 0;
    unsigned writable = 0;
    uint32_t accepted = connect_pair(w);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t)(i * 2654435761U >> 11);
    }
    bool may_send = true;
    while (got < SIZE) {
        if (may_send && sent < SIZE) {
            size_t taken = 0;
            struct view rest = {bytes + sent, SIZE - sent};
            assert_int_equal(linux_streams_send(w->streams, 1, rest, &taken), ERR_NONE);
            sent += taken;
            may_send = sent == SIZE || taken == rest.len;
        }
        struct platform_event event = next(w);
        if (event.stream.kind == GATEWAY_STREAM_WRITABLE) {
            assert_int_equal(event.stream.stream, 1);
            may_send = true;
            writable++;
        } else {
            assert_int_equal(event.stream.stream, accepted);
            assert_memory_equal(event.stream.bytes.at, bytes + got, event.stream.bytes.len);
            got += event.stream.bytes.len;
        }
    }
    assert_true(writable > 0);
    free(bytes);
}

static void test_what_was_taken_is_sent_after_a_close(void **state)
{
    struct world *w = *state;
    enum { SIZE = 16 << 20 };
    uint8_t *bytes = calloc(1, SIZE);
    size_t taken = 0;
    size_t got = 0;
    uint32_t accepted = connect_pair(w);
    assert_int_equal(linux_streams_send(w->streams, accepted, (struct view){bytes, SIZE}, &taken),
                     ERR_NONE);
    assert_true(taken > 0 && taken < SIZE);
    linux_streams_close(w->streams, accepted, now());
    assert_true(linux_streams_draining(w->streams));
    for (;;) {
        struct platform_event event = next(w);
        assert_int_equal(event.stream.stream, 1);
        if (event.stream.kind == GATEWAY_STREAM_CLOSED) {
            break;
        }
        got += event.stream.bytes.len;
    }
    assert_int_equal(got, taken);
    assert_false(linux_streams_draining(w->streams));
    free(bytes);
}

static void test_a_closed_stream_does_not_linger_for_ever(void **state)
{
    struct world *w = *state;
    enum { SIZE = 16 << 20 };
    uint8_t *bytes = calloc(1, SIZE);
    size_t taken = 0;
    uint32_t accepted = connect_pair(w);
    assert_int_equal(linux_streams_send(w->streams, accepted, (struct view){bytes, SIZE}, &taken),
                     ERR_NONE);
    linux_streams_close(w->streams, accepted, now());
    assert_true(linux_streams_wants_tick(w->streams));
    linux_streams_tick(w->streams, instant_add(now(), DURATION_S(LINUX_STREAM_LINGER_S)));
    assert_false(linux_streams_draining(w->streams));
    free(bytes);
}

static void test_a_listener_at_capacity_closes_newcomers(void **state)
{
    struct world *w = *state;
    uint16_t port = listen_tcp(w);
    struct sockaddr_storage storage;
    struct sock_addr local = sock_addr_of(ip_v4(127, 0, 0, 1), port);
    socklen_t size = linux_addr_to(&local, &storage);
    int fds[LINUX_STREAMS_ACCEPTED_MAX + 1];
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&storage, size), 0);
    }
    for (size_t i = 0; i < LINUX_STREAMS_ACCEPTED_MAX; i++) {
        assert_int_equal(next(w).stream.kind, GATEWAY_STREAM_ACCEPTED);
    }
    assert_quiet(w);
    char byte = 0;
    assert_true(recv(fds[LINUX_STREAMS_ACCEPTED_MAX], &byte, 1, 0) <= 0);
    (void)close(fds[0]);
    struct platform_event event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_ENDED);
    linux_streams_close(w->streams, event.stream.stream, now());
    int again = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(again, (struct sockaddr *)&storage, size), 0);
    assert_int_equal(next(w).stream.kind, GATEWAY_STREAM_ACCEPTED);
    (void)close(again);
    for (size_t i = 1; i < ARRAY_COUNT(fds); i++) {
        (void)close(fds[i]);
    }
}

/* Who closed connections that nobody reads from keeps no newcomer out. */
static void test_what_lingers_makes_room_for_a_newcomer(void **state)
{
    struct world *w = *state;
    enum { SIZE = 16 << 20 };
    uint8_t *bytes = calloc(1, SIZE);
    struct sockaddr_storage storage;
    struct sock_addr local = sock_addr_of(ip_v4(127, 0, 0, 1), listen_tcp(w));
    socklen_t size = linux_addr_to(&local, &storage);
    int fds[LINUX_STREAMS_ACCEPTED_MAX + 1];
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
    }
    for (size_t i = 0; i < LINUX_STREAMS_ACCEPTED_MAX; i++) {
        assert_int_equal(connect(fds[i], (struct sockaddr *)&storage, size), 0);
        struct platform_event event = next(w);
        size_t taken = 0;
        assert_int_equal(event.stream.kind, GATEWAY_STREAM_ACCEPTED);
        if (i < 2) {
            assert_int_equal(linux_streams_send(w->streams, event.stream.stream,
                                                (struct view){bytes, SIZE}, &taken),
                             ERR_NONE);
            linux_streams_close(w->streams, event.stream.stream, now());
        }
    }
    assert_int_equal(connect(fds[LINUX_STREAMS_ACCEPTED_MAX], (struct sockaddr *)&storage, size),
                     0);
    assert_int_equal(next(w).stream.kind, GATEWAY_STREAM_ACCEPTED);
    assert_true(linux_streams_draining(w->streams)); /* one was enough */
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++) {
        (void)close(fds[i]);
    }
    free(bytes);
}

/* Leaves this process no descriptor to open; returns the limit as it was. */
static struct rlimit take_descriptors(void)
{
    struct rlimit before;
    int fd = dup(0);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)fd, before.rlim_max}), 0);
    return before;
}

static void test_who_waits_for_a_free_descriptor_is_accepted_later(void **state)
{
    struct world *w = *state;
    struct platform_event event = {0};
    struct sockaddr_storage storage;
    enum gateway_listener which = GATEWAY_LISTENER_DNS_TCP4;
    enum err err = ERR_NONE;
    struct sock_addr to = sock_addr_of(ip_v4(127, 0, 0, 1), listen_tcp(w));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct rlimit before = take_descriptors();
    socklen_t size = linux_addr_to(&to, &storage);
    assert_int_equal(connect(fd, (struct sockaddr *)&storage, size), 0);
    struct instant at = now();
    for (int i = 0; i < 5; i++) {
        wait_once(w, 10);
        assert_false(linux_streams_event(w->streams, &event));
        assert_true(linux_streams_wants_tick(w->streams));
        assert_false(linux_streams_has_events(w->streams)); /* no spinning */
        at = instant_add(at, DURATION_MS(LINUX_LISTEN_PAUSE_MS));
        linux_streams_tick(w->streams, at);
        assert_true(linux_streams_has_events(w->streams));
        assert_int_equal(linux_streams_listen_news(w->streams, &which, &err), i == 0);
        assert_int_equal(which, GATEWAY_LISTENER_HEALTH);
        assert_int_equal(err, ERR_DESCRIPTORS);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(linux_streams_event(w->streams, &event));
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_ACCEPTED);
    assert_false(linux_streams_event(w->streams, &event));
    assert_false(linux_streams_wants_tick(w->streams));
    (void)close(fd);
}

static void test_a_udp_listener_receives_and_answers(void **state)
{
    struct world *w = *state;
    char room[16];
    struct sockaddr_storage storage;
    struct gateway_listen listen = {GATEWAY_LISTENER_DNS_UDP4, true,
                                    sock_addr_of(ip_v4(127, 0, 0, 1), 0)};
    assert_int_equal(linux_streams_listen(w->streams, &listen, now()), ERR_NONE);
    struct sock_addr local = sock_addr_of(
        ip_v4(127, 0, 0, 1), linux_streams_port(w->streams, GATEWAY_LISTENER_DNS_UDP4));
    socklen_t size = linux_addr_to(&local, &storage);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&storage, size), 0);
    assert_int_equal(send(fd, "", 0, 0), 0); /* empty: skipped */
    assert_int_equal(send(fd, "query", 5, 0), 5);
    struct platform_event event = next(w);
    assert_int_equal(event.kind, PLATFORM_LISTENER);
    assert_int_equal(event.listener.listener, GATEWAY_LISTENER_DNS_UDP4);
    assert_true(view_equal_text(event.listener.bytes, "query"));
    struct gateway_listener_datagram answer = {GATEWAY_LISTENER_DNS_UDP4, event.listener.remote,
                                               view_text("answer")};
    assert_int_equal(linux_streams_listener_send(w->streams, &answer), ERR_NONE);
    assert_int_equal(recv(fd, room, sizeof(room), 0), 6);
    assert_memory_equal(room, "answer", 6);
    assert_quiet(w);
    (void)close(fd);
    answer.listener = GATEWAY_LISTENER_DNS_UDP6;
    assert_int_equal(linux_streams_listener_send(w->streams, &answer), ERR_STATE);
}

static void test_an_address_that_is_not_there_yet_can_be_bound(void **state)
{
    struct world *w = *state;
    struct gateway_listen listen = {GATEWAY_LISTENER_DNS_UDP4, true,
                                    sock_addr_of(ip_v4(100, 70, 1, 2), 0)};
    enum gateway_listener which;
    enum err err = ERR_NONE;
    assert_int_equal(linux_streams_listen(w->streams, &listen, now()), ERR_NONE);
    assert_int_not_equal(linux_streams_port(w->streams, GATEWAY_LISTENER_DNS_UDP4), 0);
    assert_false(linux_streams_listen_news(w->streams, &which, &err));
    assert_false(linux_streams_wants_tick(w->streams));
}

static void test_a_bind_is_tried_three_times(void **state)
{
    struct world *w = *state;
    uint16_t port = listen_tcp(w);
    struct gateway_listen same = {GATEWAY_LISTENER_DNS_TCP4, false,
                                  sock_addr_of(ip_v4(127, 0, 0, 1), port)};
    enum gateway_listener which;
    enum err err = ERR_NONE;
    struct instant at = now();
    assert_int_equal(linux_streams_listen(w->streams, &same, at), ERR_NONE);
    assert_true(linux_streams_wants_tick(w->streams));
    assert_false(linux_streams_listen_news(w->streams, &which, &err));
    linux_streams_tick(w->streams, instant_add(at, DURATION_MS(100)));
    assert_false(linux_streams_listen_news(w->streams, &which, &err));
    linux_streams_tick(w->streams, instant_add(at, DURATION_MS(200)));
    assert_true(linux_streams_listen_news(w->streams, &which, &err));
    assert_int_equal(which, GATEWAY_LISTENER_DNS_TCP4);
    assert_int_equal(err, ERR_EXISTS);
    assert_false(linux_streams_listen_news(w->streams, &which, &err));
    assert_false(linux_streams_wants_tick(w->streams));
}

/* Frees the port of listen_tcp(). */
static void free_port(struct world *w)
{
    struct gateway_listen elsewhere = {GATEWAY_LISTENER_HEALTH, false,
                                       sock_addr_of(ip_v4(127, 0, 0, 2), 0)};
    assert_int_equal(linux_streams_listen(w->streams, &elsewhere, now()), ERR_NONE);
}

/* Pauses of 1, 2, 4 s and so on, none above a minute, and nothing to spin for meanwhile. */
static void test_an_address_that_is_taken_is_tried_less_and_less_until_it_is_free(void **state)
{
    static const unsigned pauses_s[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    struct world *w = *state;
    struct gateway_listen taken = {GATEWAY_LISTENER_DNS_TCP4, false,
                                   sock_addr_of(ip_v4(127, 0, 0, 1), listen_tcp(w))};
    enum gateway_listener which = GATEWAY_LISTENER_HEALTH;
    enum err err = ERR_NONE;
    struct instant at = now();
    assert_int_equal(linux_streams_listen(w->streams, &taken, at), ERR_NONE);
    for (unsigned i = 1; i < LINUX_LISTEN_TRIES; i++) {
        at = instant_add(at, DURATION_MS(LINUX_LISTEN_PAUSE_MS));
        linux_streams_tick(w->streams, at);
    }
    assert_true(linux_streams_listen_news(w->streams, &which, &err));
    assert_int_equal(err, ERR_EXISTS);
    for (size_t i = 0; i < ARRAY_COUNT(pauses_s); i++) {
        struct instant due = instant_add(at, DURATION_S(pauses_s[i]));
        assert_false(linux_streams_listen_news(w->streams, &which, &err));
        assert_false(linux_streams_wants_tick(w->streams));
        if (i + 1 == ARRAY_COUNT(pauses_s)) {
            free_port(w);
        }
        linux_streams_tick(w->streams, (struct instant){due.ns - 1});
        assert_int_equal(linux_streams_port(w->streams, GATEWAY_LISTENER_DNS_TCP4), 0);
        at = due;
        linux_streams_tick(w->streams, at);
    }
    assert_true(linux_streams_listen_news(w->streams, &which, &err));
    assert_int_equal(which, GATEWAY_LISTENER_DNS_TCP4);
    assert_int_equal(err, ERR_NONE);
    assert_false(linux_streams_listen_news(w->streams, &which, &err));
    assert_int_equal(linux_streams_port(w->streams, GATEWAY_LISTENER_DNS_TCP4), taken.local.port);
}

static void test_the_same_address_again_keeps_the_listener(void **state)
{
    struct world *w = *state;
    struct gateway_listen listen = {GATEWAY_LISTENER_HEALTH, false,
                                    sock_addr_of(ip_v4(127, 0, 0, 1), 0)};
    uint16_t port = listen_tcp(w);
    assert_int_equal(linux_streams_listen(w->streams, &listen, now()), ERR_NONE);
    assert_int_equal(linux_streams_port(w->streams, GATEWAY_LISTENER_HEALTH), port);
}

/* Runs TLS between stream 1 and a server of the test's own. */
static struct platform_event run_tls(struct world *w, const struct leaf *leaf, const char *name,
                                     struct server *server)
{
    struct platform_event event = {0};
    struct sockaddr_storage storage;
    struct sock_addr local = sock_addr_of(ip_v4(127, 0, 0, 1), 0);
    socklen_t size = linux_addr_to(&local, &storage);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&storage, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    size = sizeof(storage);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&storage, &size), 0);
    open_to(w, 1, linux_addr_from(&storage).port, name);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(fd >= 0);
    (void)close(listener);
    server_init(server, &w->authority, leaf, fd);
    for (int i = 0; i < WAIT_MAX; i++) {
        (void)server_step(server);
        if (linux_streams_event(w->streams, &event)) {
            return event;
        }
        wait_once(w, 5);
    }
    fail_msg("no event came");
    return event;
}

static void test_a_tls_stream_opens_and_carries_bytes(void **state)
{
    struct world *w = *state;
    struct server server;
    char room[16];
    const struct leaf leaf = {.dns = "portal.test", .until = "20991231235959"};
    struct platform_event event = run_tls(w, &leaf, "portal.test", &server);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_OPENED);
    assert_true(server_step(&server) || server_step(&server));
    send_all(w, 1, "GET");
    while (mbedtls_ssl_read(&server.ssl, (uint8_t *)room, 3) != 3) {
        wait_once(w, 1);
    }
    assert_memory_equal(room, "GET", 3);
    assert_int_equal(mbedtls_ssl_write(&server.ssl, (const uint8_t *)"OK", 2), 2);
    event = next(w);
    assert_bytes(&event, 1, "OK");
    assert_int_equal(mbedtls_ssl_close_notify(&server.ssl), 0);
    event = next(w);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_CLOSED);
    assert_int_equal(event.stream.reason, ERR_CLOSED);
    (void)close(server.fd);
    server_deinit(&server);
}

static void test_a_wrong_certificate_closes_with_that_reason(void **state)
{
    struct world *w = *state;
    struct server server;
    const struct leaf leaf = {.dns = "other.test", .until = "20991231235959"};
    struct platform_event event = run_tls(w, &leaf, "portal.test", &server);
    assert_int_equal(event.stream.kind, GATEWAY_STREAM_CLOSED);
    assert_int_equal(event.stream.reason, ERR_TLS_NAME);
    (void)close(server.fd);
    server_deinit(&server);
}

static void test_the_portals_socket_is_marked_and_does_not_wait(void **state)
{
    struct world *w = *state;
    uint32_t mark = 0;
    int nodelay = 0;
    socklen_t size = sizeof(mark);
    struct linux_streams_options options = {w->epoll, TAG, 0xfd002021, w->roots};
    linux_streams_destroy(w->streams);
    w->streams = linux_streams_create(&options);
    assert_non_null(w->streams);
    uint16_t port = listen_tcp(w);
    open_to(w, 1, port, "");
    struct platform_event event = next(w);
    if (event.stream.kind == GATEWAY_STREAM_CLOSED && event.stream.reason == ERR_PERMISSION) {
        print_message("skipped: the capability NET_ADMIN is missing\n");
        skip();
    }
    int fd = find_connected(port);
    assert_true(fd >= 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &size), 0);
    assert_int_equal(mark, 0xfd002021);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size), 0);
    assert_int_equal(nodelay, 1);
}

#define STREAM_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(test_bytes_pass_both_ways),
        STREAM_TEST(test_a_close_reaches_the_other_side_after_the_bytes),
        STREAM_TEST(test_a_peer_that_ended_its_side_can_still_be_answered),
        STREAM_TEST(test_a_peer_that_ended_its_side_and_is_gone_is_closed),
        STREAM_TEST(test_the_wildcard_of_ipv6_takes_ipv4_too),
        STREAM_TEST(test_a_refused_connection_is_closed_with_that_reason),
        STREAM_TEST(test_an_open_that_fails_at_once_still_reports),
        STREAM_TEST(test_a_send_beyond_the_buffer_is_cut_and_continues),
        STREAM_TEST(test_what_was_taken_is_sent_after_a_close),
        STREAM_TEST(test_a_closed_stream_does_not_linger_for_ever),
        STREAM_TEST(test_what_lingers_makes_room_for_a_newcomer),
        STREAM_TEST(test_a_listener_at_capacity_closes_newcomers),
        STREAM_TEST(test_who_waits_for_a_free_descriptor_is_accepted_later),
        STREAM_TEST(test_a_udp_listener_receives_and_answers),
        STREAM_TEST(test_an_address_that_is_not_there_yet_can_be_bound),
        STREAM_TEST(test_a_bind_is_tried_three_times),
        STREAM_TEST(test_an_address_that_is_taken_is_tried_less_and_less_until_it_is_free),
        STREAM_TEST(test_the_same_address_again_keeps_the_listener),
        STREAM_TEST(test_a_tls_stream_opens_and_carries_bytes),
        STREAM_TEST(test_a_wrong_certificate_closes_with_that_reason),
        STREAM_TEST(test_the_portals_socket_is_marked_and_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
