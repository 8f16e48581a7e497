#include "platform/linux/linux_resolver.h"

#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "platform/linux/linux_addr.h"
#include "tests/support/support.h"

#define TAG      UINT64_C(9)
#define WAIT_MAX 300 /* rounds of 10 ms */

enum type {
    TYPE_A = 1,
    TYPE_TXT = 16,
    TYPE_AAAA = 28,
    TYPE_SRV = 33,
};

/* A resolver and the only name server it knows, on loopback. */
struct world {
    int epoll;
    int server;
    int listener; /* the same over TCP, for answers that do not fit a datagram */
    int connection;
    unsigned queries;
    char servers[64];
    struct linux_resolver *resolver;
    unsigned lost; /* of the first queries */
};

static struct instant now(void)
{
    struct timespec at;
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &at), 0);
    return (struct instant){(uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec};
}

/* Takes a free port for UDP; false when that of TCP is somebody else's. */
static bool open_server(struct world *w)
{
    struct sockaddr_storage storage;
    struct sock_addr local = sock_addr_of(ip_v4(127, 0, 0, 1), 0);
    socklen_t size = linux_addr_to(&local, &storage);
    w->server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(w->server, (struct sockaddr *)&storage, size), 0);
    size = sizeof(storage);
    assert_int_equal(getsockname(w->server, (struct sockaddr *)&storage, &size), 0);
    (void)snprintf(w->servers, sizeof(w->servers), "127.0.0.1:%u",
                   (unsigned)linux_addr_from(&storage).port);
    if (bind(w->listener, (struct sockaddr *)&storage, size) != 0) {
        (void)close(w->server);
        (void)close(w->listener);
        return false;
    }
    assert_int_equal(listen(w->listener, 1), 0);
    return true;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    unsigned tries = 0;
    while (!open_server(w)) {
        assert_true(tries++ < 10);
    }
    w->connection = -1;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct linux_resolver_options options = {w->epoll, TAG, w->servers};
    w->resolver = linux_resolver_create(&options);
    *state = w;
    return w->resolver == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    linux_resolver_destroy(w->resolver);
    (void)close(w->server);
    (void)close(w->listener);
    (void)close(w->connection);
    (void)close(w->epoll);
    free(w);
    return 0;
}

/* ---- the name server ---- */

static void put_record(struct writer *w, enum type type, uint32_t ttl, struct view data)
{
    writer_be16(w, 0xc00c); /* the name of the question */
    writer_be16(w, (uint16_t)type);
    writer_be16(w, 1);
    writer_be32(w, ttl);
    writer_be16(w, (uint16_t)data.len);
    writer_bytes(w, data);
}

struct reply {
    unsigned rcode;
    unsigned records;
};

/* What is said about a name; the records go to `w`. False: nothing is answered at all. */
static bool decide(const char *name, unsigned type, struct writer *w, struct reply *reply)
{
    static const uint8_t v4a[] = {192, 0, 2, 1};
    static const uint8_t v4b[] = {192, 0, 2, 2};
    static const uint8_t v6[] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    static const uint8_t srv[] = {0, 1, 0, 2, 0x13, 0xc4, 1, 'h', 0};
    static const uint8_t txt[] = {5, 'h', 'e', 'l', 'l', 'o'};
    reply->rcode = 3;
    reply->records = 0;
    if (strcmp(name, "silent.test") == 0) {
        return false;
    }
    if (strcmp(name, "broken.test") == 0) {
        reply->rcode = 2;
    } else if (strcmp(name, "both.test") == 0 && type == TYPE_A) {
        put_record(w, TYPE_A, 300, VIEW_OF(v4a));
        put_record(w, TYPE_A, 60, VIEW_OF(v4b));
        *reply = (struct reply){0, 2};
    } else if (strcmp(name, "both.test") == 0 && type == TYPE_AAAA) {
        put_record(w, TYPE_AAAA, 17, VIEW_OF(v6));
        *reply = (struct reply){0, 1};
    } else if (strcmp(name, "_sip._udp.test") == 0 && type == TYPE_SRV) {
        put_record(w, TYPE_SRV, 5, VIEW_OF(srv));
        *reply = (struct reply){0, 1};
    } else if (strcmp(name, "text.test") == 0 && type == TYPE_TXT) {
        put_record(w, TYPE_TXT, 5, VIEW_OF(txt));
        *reply = (struct reply){0, 1};
    } else if (strcmp(name, "many.test") == 0 && type == TYPE_A) {
        for (uint8_t i = 0; i < 100; i++) {
            const uint8_t ip[] = {198, 51, 100, i};
            put_record(w, TYPE_A, 30, VIEW_OF(ip));
        }
        *reply = (struct reply){0, 100};
    } else if (strcmp(name, "empty.test") == 0) {
        reply->rcode = 0;
    }
    return true;
}

/* Writes the answer to a query; its length, or 0 for silence. */
static size_t build_answer(const uint8_t *query, uint8_t room[4096])
{
    char name[300] = {0};
    struct reply reply = {0, 0};
    size_t at = 12;
    size_t used = 0;
    while (query[at] != 0) {
        if (used > 0) {
            name[used++] = '.';
        }
        memcpy(name + used, query + at + 1, query[at]);
        used += query[at];
        at += query[at] + 1U;
    }
    struct writer out = writer_of((struct span){room, 4096});
    writer_bytes(&out, (struct view){query, at + 5});
    if (!decide(name, load_be16(query + at + 1), &out, &reply)) {
        return 0;
    }
    store_be16(room + 2, (uint16_t)(0x8180 | reply.rcode));
    store_be16(room + 6, (uint16_t)reply.records);
    store_be16(room + 8, 0);
    store_be16(room + 10, 0);
    return out.used;
}

static void answer_udp(struct world *w)
{
    uint8_t query[512];
    uint8_t room[4096];
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    ssize_t got = recvfrom(w->server, query, sizeof(query), 0, (struct sockaddr *)&from, &size);
    if (got < 17) {
        return;
    }
    if (w->queries++ < w->lost) {
        return;
    }
    size_t len = build_answer(query, room);
    if (len > 512) {
        store_be16(room + 2, load_be16(room + 2) | 0x0200); /* TC: ask again over TCP */
        store_be16(room + 6, 0);
        len = (size_t)got;
    }
    if (len > 0) {
        assert_true(sendto(w->server, room, len, 0, (struct sockaddr *)&from, size) > 0);
    }
}

static void answer_tcp(struct world *w)
{
    uint8_t query[512];
    uint8_t room[2 + 4096];
    if (w->connection < 0) {
        w->connection = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK);
    }
    ssize_t got = w->connection < 0 ? -1 : recv(w->connection, query, sizeof(query), 0);
    if (got < 19) {
        return;
    }
    size_t len = build_answer(query + 2, room + 2);
    store_be16(room, (uint16_t)len);
    assert_true(send(w->connection, room, len + 2, MSG_NOSIGNAL) > 0);
}

/* ---- asking ---- */

static void ask(struct world *w, uint32_t id, enum gateway_lookup_type type, const char *name)
{
    struct gateway_lookup lookup = {id, type, view_text(name)};
    linux_resolver_lookup(w->resolver, &lookup, now());
}

static const struct gateway_lookup_answer *wait_answer(struct world *w)
{
    for (int i = 0; i < WAIT_MAX; i++) {
        struct epoll_event events[8];
        const struct gateway_lookup_answer *answer = linux_resolver_answer(w->resolver);
        if (answer != NULL) {
            return answer;
        }
        int timeout = linux_resolver_timeout_ms(w->resolver, 10);
        assert_true(timeout >= 0 && timeout <= 10);
        int count = epoll_wait(w->epoll, events, 8, timeout);
        for (int k = 0; k < count; k++) {
            assert_true(events[k].data.u64 >> 32 == TAG);
            linux_resolver_handle(w->resolver, (uint32_t)events[k].data.u64, events[k].events);
        }
        linux_resolver_tick(w->resolver, now());
        answer_udp(w);
        answer_tcp(w);
    }
    fail_msg("no answer came");
    return NULL;
}

static void test_addresses_come_with_the_smallest_ttl(void **state)
{
    struct world *w = *state;
    ask(w, 1, GATEWAY_LOOKUP_A, "both.test");
    const struct gateway_lookup_answer *answer = wait_answer(w);
    assert_int_equal(answer->lookup, 1);
    assert_int_equal(answer->result, ERR_NONE);
    assert_int_equal(answer->addresses_count, 2);
    assert_int_equal(answer->ttl_s, 60);
    assert_int_equal(answer->addresses[0].family, IP_V4);
    assert_int_equal(answer->addresses[0].bytes[3] + answer->addresses[1].bytes[3], 3);
    ask(w, 2, GATEWAY_LOOKUP_AAAA, "both.test");
    answer = wait_answer(w);
    assert_int_equal(answer->lookup, 2);
    assert_int_equal(answer->addresses_count, 1);
    assert_int_equal(answer->addresses[0].family, IP_V6);
    assert_int_equal(answer->ttl_s, 17);
}

static void test_no_data_no_name_and_failure_differ(void **state)
{
    static const struct {
        const char *name;
        enum err expected;
    } rows[] = {
        {"empty.test", ERR_NONE},  {"missing.test", ERR_NAME}, {"broken.test", ERR_REFUSED},
        {"two..dots", ERR_SYNTAX}, {"", ERR_SYNTAX},
    };
    struct world *w = *state;
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++) {
        ask(w, i + 10, GATEWAY_LOOKUP_A, rows[i].name);
        const struct gateway_lookup_answer *answer = wait_answer(w);
        assert_int_equal(answer->lookup, i + 10);
        if (answer->result != rows[i].expected) {
            print_error("%s: %s\n", rows[i].name, err_name(answer->result));
        }
        assert_int_equal(answer->result, rows[i].expected);
        assert_int_equal(answer->addresses_count, 0);
    }
}

static void test_a_refusing_server_is_a_failure_not_a_missing_name(void **state)
{
    struct world *w = *state;
    (void)close(w->server);
    w->server = -1;
    ask(w, 1, GATEWAY_LOOKUP_A, "both.test");
    enum err result = wait_answer(w)->result;
    assert_true(result != ERR_NONE && result != ERR_NAME);
}

static void test_records_come_as_the_raw_message(void **state)
{
    struct world *w = *state;
    ask(w, 1, GATEWAY_LOOKUP_SRV, "_sip._udp.test");
    const struct gateway_lookup_answer *answer = wait_answer(w);
    assert_int_equal(answer->result, ERR_NONE);
    assert_true(answer->records.len > 12);
    assert_int_equal(load_be16(answer->records.at + 6), 1);
    ask(w, 2, GATEWAY_LOOKUP_TXT, "text.test");
    answer = wait_answer(w);
    assert_int_equal(answer->result, ERR_NONE);
    assert_memory_equal(answer->records.at + answer->records.len - 5, "hello", 5);
    ask(w, 3, GATEWAY_LOOKUP_TXT, "missing.test");
    assert_int_equal(wait_answer(w)->result, ERR_NAME);
}

static void test_a_long_answer_comes_over_tcp_and_is_bounded(void **state)
{
    struct world *w = *state;
    ask(w, 1, GATEWAY_LOOKUP_A, "many.test");
    const struct gateway_lookup_answer *answer = wait_answer(w);
    assert_int_equal(answer->result, ERR_NONE);
    assert_int_equal(answer->addresses_count, GATEWAY_LOOKUP_ADDRESSES_MAX);
}

static void test_a_literal_needs_no_server(void **state)
{
    struct world *w = *state;
    ask(w, 1, GATEWAY_LOOKUP_A, "192.0.2.77");
    assert_true(linux_resolver_has_answers(w->resolver)); /* before any wait */
    const struct gateway_lookup_answer *answer = linux_resolver_answer(w->resolver);
    assert_int_equal(answer->addresses_count, 1);
    assert_int_equal(answer->addresses[0].bytes[3], 77);
    assert_int_equal(w->queries, 0);
    assert_null(linux_resolver_answer(w->resolver));
}

/* Another name than the one that the policy has judged must not be asked. */
static void test_a_name_with_unprintable_bytes_is_not_asked_as_another(void **state)
{
    struct world *w = *state;
    ask(w, 1, GATEWAY_LOOKUP_A, "\\098oth.test");
    ask(w, 2, GATEWAY_LOOKUP_TXT, "x\\001.test");
    assert_int_equal(wait_answer(w)->result, ERR_SYNTAX);
    assert_int_equal(wait_answer(w)->result, ERR_SYNTAX);
    assert_int_equal(w->queries, 0);
    ask(w, 3, GATEWAY_LOOKUP_A, "\\both.test"); /* an escaped letter is that letter */
    assert_int_equal(wait_answer(w)->result, ERR_NONE);
}

static void test_localhost_is_loopback_and_nobody_is_asked(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {"localhost", "LocalHost", "a.localhost"};
    for (uint32_t i = 0; i < ARRAY_COUNT(names); i++) {
        ask(w, i, GATEWAY_LOOKUP_A, names[i]);
        const struct gateway_lookup_answer *answer = linux_resolver_answer(w->resolver);
        assert_non_null(answer);
        assert_int_equal(answer->addresses_count, 1);
        assert_true(ip_is_loopback(&answer->addresses[0]));
        assert_int_equal(answer->ttl_s, 0);
        ask(w, i, GATEWAY_LOOKUP_AAAA, names[i]);
        answer = linux_resolver_answer(w->resolver);
        assert_non_null(answer);
        assert_true(ip_is_loopback(&answer->addresses[0]));
        assert_int_equal(answer->addresses[0].family, IP_V6);
    }
    ask(w, 9, GATEWAY_LOOKUP_TXT, "localhost");
    assert_int_equal(linux_resolver_answer(w->resolver)->result, ERR_NAME);
    assert_int_equal(w->queries, 0);
    ask(w, 10, GATEWAY_LOOKUP_A, "notlocalhost");
    assert_int_equal(wait_answer(w)->result, ERR_NAME);
    assert_true(w->queries > 0);
}

static void test_silence_ends_after_ten_seconds(void **state)
{
    struct world *w = *state;
    struct instant start = now();
    ask(w, 4, GATEWAY_LOOKUP_A, "silent.test");
    ask(w, 5, GATEWAY_LOOKUP_A, "silent.test");
    linux_resolver_tick(w->resolver, instant_add(start, DURATION_S(9)));
    assert_false(linux_resolver_has_answers(w->resolver));
    linux_resolver_tick(w->resolver, instant_add(start, DURATION_S(11)));
    for (int i = 0; i < 2; i++) {
        const struct gateway_lookup_answer *answer = linux_resolver_answer(w->resolver);
        assert_non_null(answer);
        assert_true(answer->lookup == 4 || answer->lookup == 5);
        assert_int_equal(answer->result, ERR_TIMEOUT);
    }
    linux_resolver_tick(w->resolver, instant_add(start, DURATION_S(20)));
    assert_null(linux_resolver_answer(w->resolver)); /* each is answered once */
    ask(w, 6, GATEWAY_LOOKUP_A, "both.test");
    assert_int_equal(wait_answer(w)->lookup, 6);
}

/* Waits for the answer to lookup 1 that began at `start`; it must not take as long as `limit_s`. */
static void check_answered_within(struct world *w, struct instant start, uint64_t limit_s)
{
    const struct gateway_lookup_answer *answer = wait_answer(w);
    assert_int_equal(answer->lookup, 1);
    assert_int_equal(answer->result, ERR_NONE);
    assert_true(instant_before(now(), instant_add(start, DURATION_S(limit_s))));
}

/* An application waits ten seconds, and the lookup is not all that happens in them. */
static void test_a_lost_datagram_is_asked_again_in_time(void **state)
{
    struct world *w = *state;
    struct instant start = now();
    w->lost = 1;
    ask(w, 1, GATEWAY_LOOKUP_A, "both.test");
    check_answered_within(w, start, 3);
    assert_int_equal(w->queries, 2);
}

static void test_many_lookups_in_flight_each_get_their_answer(void **state)
{
    enum { COUNT = 200 };
    struct world *w = *state;
    bool seen[COUNT] = {false};
    for (uint32_t i = 0; i < COUNT; i++) {
        ask(w, i, GATEWAY_LOOKUP_A, i % 2 == 0 ? "both.test" : "missing.test");
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct gateway_lookup_answer *answer = wait_answer(w);
        assert_true(answer->lookup < COUNT && !seen[answer->lookup]);
        seen[answer->lookup] = true;
        assert_int_equal(answer->result, answer->lookup % 2 == 0 ? ERR_NONE : ERR_NAME);
    }
}

static void test_ending_with_lookups_in_flight_frees_them(void **state)
{
    struct world *w = *state;
    ask(w, 1, GATEWAY_LOOKUP_A, "silent.test");
    ask(w, 2, GATEWAY_LOOKUP_SRV, "silent.test");
    ask(w, 3, GATEWAY_LOOKUP_A, "192.0.2.1");
    linux_resolver_tick(w->resolver, instant_add(now(), DURATION_S(11)));
    /* tear_down destroys it; the leak check of the sanitizer run is the judge */
    assert_true(linux_resolver_has_answers(w->resolver));
}

/* Name servers are asked in their order: nobody is at the first, the second takes queries and says
 * nothing, the third answers. */
static void test_name_servers_that_are_dead_or_mute_are_passed_over(void **state)
{
    struct world *w = *state;
    char servers[128];
    struct sockaddr_storage storage;
    struct sock_addr local = sock_addr_of(ip_v4(127, 0, 0, 1), 0);
    socklen_t size = linux_addr_to(&local, &storage);
    int mute = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(mute, (struct sockaddr *)&storage, size), 0);
    size = sizeof(storage);
    assert_int_equal(getsockname(mute, (struct sockaddr *)&storage, &size), 0);
    (void)snprintf(servers, sizeof(servers), "127.0.0.1:1,127.0.0.1:%u,%s",
                   (unsigned)linux_addr_from(&storage).port, w->servers);
    linux_resolver_destroy(w->resolver);
    struct linux_resolver_options options = {w->epoll, TAG, servers};
    w->resolver = linux_resolver_create(&options);
    assert_non_null(w->resolver);
    struct instant start = now();
    ask(w, 1, GATEWAY_LOOKUP_A, "both.test");
    check_answered_within(w, start, 3);
    ask(w, 2, GATEWAY_LOOKUP_TXT, "text.test");
    assert_int_equal(wait_answer(w)->result, ERR_NONE);
    uint8_t query[64];
    assert_true(recv(mute, query, sizeof(query), MSG_DONTWAIT) > 0); /* it was asked before */
    linux_resolver_destroy(w->resolver);                             /* borrows `servers` */
    w->resolver = NULL;
    (void)close(mute);
}

/* ---- resolv.conf, in namespaces of its own ---- */

enum outcome {
    FOLLOWED,
    NOT_PERMITTED,
    OLD_NOT_ASKED,
    NEW_NOT_ASKED,
};

static int name_server_at(uint8_t last)
{
    struct sockaddr_storage storage;
    struct sock_addr local = sock_addr_of(ip_v4(127, 0, 0, last), 53);
    socklen_t size = linux_addr_to(&local, &storage);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    return bind(fd, (struct sockaddr *)&storage, size) == 0 ? fd : -1;
}

static bool loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    bool done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    (void)close(fd);
    return done;
}

static bool write_conf(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    (void)close(fd);
    return done;
}

static void look_up(struct linux_resolver *resolver, uint32_t id, struct instant at)
{
    struct gateway_lookup lookup = {id, GATEWAY_LOOKUP_A, view_text("some.test")};
    linux_resolver_lookup(resolver, &lookup, at);
}

/* True when a query arrives at the name server within a second; it is answered if `answers`. */
static bool is_asked(int server, bool answers)
{
    uint8_t query[512];
    uint8_t room[4096];
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    for (int i = 0; i < 100; i++) {
        struct pollfd fd = {.fd = server, .events = POLLIN};
        (void)poll(&fd, 1, 10);
        ssize_t got = recvfrom(server, query, sizeof(query), 0, (struct sockaddr *)&from, &size);
        if (got >= 17) {
            size_t len = build_answer(query, room);
            if (answers) {
                (void)sendto(server, room, len, 0, (struct sockaddr *)&from, size);
            }
            return true;
        }
    }
    return false;
}

/* Waits up to a second for so many answers; how many came. */
static unsigned take_answers(struct linux_resolver *resolver, int epoll, unsigned count)
{
    unsigned taken = 0;
    for (int i = 0; i < 100 && taken < count; i++) {
        struct epoll_event events[8];
        int ready = epoll_wait(epoll, events, 8, 10);
        for (int k = 0; k < ready; k++) {
            linux_resolver_handle(resolver, (uint32_t)events[k].data.u64, events[k].events);
        }
        const struct gateway_lookup_answer *answer = linux_resolver_answer(resolver);
        taken += answer != NULL && answer->result == ERR_NAME ? 1 : 0;
    }
    return taken;
}

/* Another /etc/resolv.conf by one of the ways that keep some of what tells files apart. False: not
 * permitted here. */
typedef bool change(const char *directory);

static bool path_in(const char *directory, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/%s", directory, name) < PATH_MAX;
}

static bool write_in(const char *directory, const char *name, const char *text)
{
    char path[PATH_MAX];
    return path_in(directory, name, path) && write_conf(path, text);
}

static bool set_time(const char *path)
{
    static const struct timespec times[2] = {{1700000000, 0}, {1700000000, 0}};
    return utimensat(AT_FDCWD, path, times, 0) == 0;
}

static bool write_anew(const char *directory)
{
    (void)usleep(20000); /* a time of change that differs, whatever the clock of the file system */
    return write_in(directory, "resolv.conf", "nameserver 127.0.0.3\n");
}

/* As cp -p and tar do. */
static bool write_with_its_old_time(const char *directory)
{
    return write_anew(directory) && set_time("/etc/resolv.conf");
}

static bool put_another_in_its_place(const char *directory)
{
    char from[PATH_MAX];
    char to[PATH_MAX];
    return path_in(directory, "other", from) && path_in(directory, "resolv.conf", to) &&
           write_in(directory, "other", "nameserver 127.0.0.3\n") && set_time(from) &&
           rename(from, to) == 0;
}

static bool point_the_link_elsewhere(const char *directory)
{
    char other[PATH_MAX];
    char link[PATH_MAX];
    char to[PATH_MAX];
    return path_in(directory, "other", other) && path_in(directory, "link", link) &&
           path_in(directory, "resolv.conf", to) &&
           write_in(directory, "other", "nameserver 127.0.0.3\n") && set_time(other) &&
           symlink("other", link) == 0 && rename(link, to) == 0;
}

static enum outcome follow(const char *directory, change *make_change, bool old_answers)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        !write_in(directory, "resolv.conf", "nameserver 127.0.0.2\n") ||
        mount(directory, "/etc", NULL, MS_BIND, NULL) != 0 || !set_time("/etc/resolv.conf") ||
        !loopback_up()) {
        return NOT_PERMITTED;
    }
    int before = name_server_at(2);
    int after = name_server_at(3);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct linux_resolver_options options = {epoll, TAG, NULL};
    struct linux_resolver *resolver = linux_resolver_create(&options);
    if (before < 0 || after < 0 || resolver == NULL) {
        return NOT_PERMITTED;
    }
    look_up(resolver, 1, now());
    if (!is_asked(before, old_answers) || (old_answers && take_answers(resolver, epoll, 1) != 1)) {
        return OLD_NOT_ASKED;
    }
    if (!make_change(directory)) {
        return NOT_PERMITTED;
    }
    look_up(resolver, 2, instant_add(now(), DURATION_S(2)));
    unsigned left = old_answers ? 1 : 2; /* one that still waits is asked again */
    bool asked = true;
    for (unsigned i = 0; i < left; i++) {
        asked = asked && is_asked(after, true);
    }
    asked = asked && take_answers(resolver, epoll, left) == left;
    linux_resolver_destroy(resolver);
    return asked ? FOLLOWED : NEW_NOT_ASKED;
}

static enum outcome follow_when_idle(const char *directory)
{
    return follow(directory, write_anew, true);
}

static enum outcome follow_when_busy(const char *directory)
{
    return follow(directory, write_anew, false);
}

static enum outcome follow_an_old_time(const char *directory)
{
    return follow(directory, write_with_its_old_time, true);
}

static enum outcome follow_another_file(const char *directory)
{
    return follow(directory, put_another_in_its_place, true);
}

static enum outcome follow_the_link(const char *directory)
{
    return follow(directory, point_the_link_elsewhere, true);
}

static void remove_directory(const char *directory)
{
    static const char *const names[] = {"resolv.conf", "other", "hosts"};
    char path[PATH_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (path_in(directory, names[i], path)) {
            (void)unlink(path);
        }
    }
    assert_int_equal(rmdir(directory), 0);
}

/* Runs in a process of its own, which may take namespaces for itself; with an empty directory. */
static void run_apart(enum outcome (*run)(const char *directory))
{
    char directory[] = "/tmp/fz-resolv-XXXXXX";
    int status = 0;
    assert_non_null(mkdtemp(directory));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit((int)run(directory));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    remove_directory(directory);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_PERMITTED) {
        print_message("skipped: no namespaces of our own\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), FOLLOWED);
}

static void test_a_changed_resolv_conf_is_followed(void **state)
{
    (void)state;
    run_apart(follow_when_idle);
}

static void test_a_resolv_conf_that_keeps_its_time_is_followed(void **state)
{
    (void)state;
    run_apart(follow_an_old_time);
    run_apart(follow_another_file);
    run_apart(follow_the_link);
}

/* A busy gateway always has lookups in flight; to name servers that are gone, above all. */
static void test_a_changed_resolv_conf_is_followed_by_lookups_in_flight(void **state)
{
    (void)state;
    run_apart(follow_when_busy);
}

/* A name of the hosts file needs no server; names are absolute, a search domain changes nothing. */
static enum outcome use_hosts(const char *directory)
{
    void *state = NULL;
    struct ip_addr expected = ip_v4(192, 0, 2, 55);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        !write_in(directory, "hosts", "192.0.2.55 named.in.hosts\n") ||
        !write_in(directory, "resolv.conf", "search test\n") ||
        mount(directory, "/etc", NULL, MS_BIND, NULL) != 0 || set_up(&state) != 0) {
        return NOT_PERMITTED;
    }
    struct world *w = state;
    ask(w, 1, GATEWAY_LOOKUP_A, "named.in.hosts");
    const struct gateway_lookup_answer *answer = wait_answer(w);
    if (answer->addresses_count != 1 || !ip_equal(&answer->addresses[0], &expected) ||
        w->queries != 0) {
        return OLD_NOT_ASKED;
    }
    ask(w, 2, GATEWAY_LOOKUP_A, "both"); /* both.test exists */
    answer = wait_answer(w);
    return answer->result == ERR_NAME && w->queries == 1 ? FOLLOWED : NEW_NOT_ASKED;
}

static void test_the_hosts_file_counts_and_search_domains_do_not(void **state)
{
    (void)state;
    run_apart(use_hosts);
}

#define RESOLVER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RESOLVER_TEST(test_addresses_come_with_the_smallest_ttl),
        RESOLVER_TEST(test_no_data_no_name_and_failure_differ),
        RESOLVER_TEST(test_a_refusing_server_is_a_failure_not_a_missing_name),
        RESOLVER_TEST(test_records_come_as_the_raw_message),
        RESOLVER_TEST(test_a_long_answer_comes_over_tcp_and_is_bounded),
        RESOLVER_TEST(test_a_literal_needs_no_server),
        RESOLVER_TEST(test_a_name_with_unprintable_bytes_is_not_asked_as_another),
        RESOLVER_TEST(test_localhost_is_loopback_and_nobody_is_asked),
        RESOLVER_TEST(test_name_servers_that_are_dead_or_mute_are_passed_over),
        RESOLVER_TEST(test_silence_ends_after_ten_seconds),
        RESOLVER_TEST(test_a_lost_datagram_is_asked_again_in_time),
        RESOLVER_TEST(test_many_lookups_in_flight_each_get_their_answer),
        RESOLVER_TEST(test_ending_with_lookups_in_flight_frees_them),
        cmocka_unit_test(test_a_changed_resolv_conf_is_followed),
        cmocka_unit_test(test_a_resolv_conf_that_keeps_its_time_is_followed),
        cmocka_unit_test(test_a_changed_resolv_conf_is_followed_by_lookups_in_flight),
        cmocka_unit_test(test_the_hosts_file_counts_and_search_domains_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
