/* What the UDP sockets ask of the kernel, and what happens when it says no. The system calls are
 * stood in for by functions of this program that note, refuse or pass on. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/linux/linux_udp.h"
#include "tests/support/support.h"

#define CALLS_MAX 64U

struct option_call {
    int family;
    int level;
    int name;
    int value;
};

/* The kernel's behaviour and what it was asked; one test at a time. */
static struct {
    struct option_call calls[CALLS_MAX];
    size_t calls_count;
    int refused_level; /* options with this level and name fail */
    int refused_name;
    int unbindable_family;
    int segment_errno; /* 0: trains pass */
    unsigned trains;   /* sendmsg() with UDP_SEGMENT */
    unsigned singles;
} kernel;

static int family_of(int fd)
{
    int family = 0;
    socklen_t size = sizeof(family);
    assert_int_equal(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &family, &size), 0);
    return family;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    struct option_call call = {family_of(fd), level, name, 0};
    assert_true(size == sizeof(call.value));
    memcpy(&call.value, value, sizeof(call.value));
    assert_true(kernel.calls_count < CALLS_MAX);
    kernel.calls[kernel.calls_count++] = call;
    if (level == kernel.refused_level && name == kernel.refused_name) {
        errno = name == SO_MARK && level == SOL_SOCKET ? EPERM : ENOPROTOOPT;
        return -1;
    }
    if (level == SOL_SOCKET &&
        (name == SO_MARK || name == SO_RCVBUFFORCE || name == SO_SNDBUFFORCE)) {
        return 0; /* granted without a capability */
    }
    return (int)syscall(SYS_setsockopt, fd, level, name, value, size);
}

int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t size)
{
    if (family_of(fd) == kernel.unbindable_family) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    return (int)syscall(SYS_bind, fd, address.__sockaddr__, size);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    bool segments = false;
    for (const uint8_t *at = message->msg_control;
         at < (const uint8_t *)message->msg_control + message->msg_controllen;) {
        struct cmsghdr header;
        memcpy(&header, at, sizeof(header));
        segments = segments || (header.cmsg_level == SOL_UDP && header.cmsg_type == UDP_SEGMENT);
        at += CMSG_ALIGN(header.cmsg_len);
    }
    kernel.trains += segments ? 1 : 0;
    kernel.singles += segments ? 0 : 1;
    if (segments && kernel.segment_errno != 0) {
        errno = kernel.segment_errno;
        return -1;
    }
    return syscall(SYS_sendmsg, fd, message, flags);
}

static void obliging_kernel(void)
{
    memset(&kernel, 0, sizeof(kernel));
    kernel.refused_level = -1;
}

static const struct linux_udp_options options = {.receive_buffer = 1U << 24,
                                                 .send_buffer = 1U << 22};

static bool was_asked(int family, int level, int name, int value)
{
    for (size_t i = 0; i < kernel.calls_count; i++) {
        const struct option_call *call = &kernel.calls[i];
        if (call->family == family && call->level == level && call->name == name &&
            call->value == value) {
            return true;
        }
    }
    return false;
}

static void test_both_sockets_ask_for_everything_that_the_gateway_needs(void **state)
{
    (void)state;
    struct linux_udp udp;
    obliging_kernel();
    assert_int_equal(linux_udp_open(&udp, &options), ERR_NONE);
    for (int i = 0; i < 2; i++) {
        int family = i == 0 ? AF_INET : AF_INET6;
        assert_true(was_asked(family, SOL_SOCKET, SO_MARK, (int)0xfd002021));
        assert_true(was_asked(family, SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24));
        assert_true(was_asked(family, SOL_SOCKET, SO_SNDBUFFORCE, 1 << 22));
        assert_true(was_asked(family, SOL_UDP, UDP_GRO, 1));
    }
    assert_true(was_asked(AF_INET, IPPROTO_IP, IP_PKTINFO, 1));
    assert_true(was_asked(AF_INET, IPPROTO_IP, IP_RECVTOS, 1));
    assert_true(was_asked(AF_INET, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE));
    assert_true(was_asked(AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    assert_true(was_asked(AF_INET6, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
    assert_true(was_asked(AF_INET6, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
    assert_true(was_asked(AF_INET6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE));
    assert_true(was_asked(AF_INET6, IPPROTO_IPV6, IPV6_DONTFRAG, 1));
    linux_udp_close(&udp);
}

static void test_buffers_that_cannot_be_forced_are_asked_for_plainly(void **state)
{
    (void)state;
    struct linux_udp udp;
    obliging_kernel();
    kernel.refused_level = SOL_SOCKET;
    kernel.refused_name = SO_RCVBUFFORCE;
    assert_int_equal(linux_udp_open(&udp, &options), ERR_NONE);
    assert_true(was_asked(AF_INET, SOL_SOCKET, SO_RCVBUF, 1 << 24));
    assert_false(was_asked(AF_INET, SOL_SOCKET, SO_SNDBUF, 1 << 22));
    linux_udp_close(&udp);
}

static void test_any_option_but_the_mark_may_be_missing(void **state)
{
    (void)state;
    static const struct {
        int level;
        int name;
    } rows[] = {
        {IPPROTO_IP, IP_RECVTOS},
        {IPPROTO_IP, IP_MTU_DISCOVER},
        {IPPROTO_IPV6, IPV6_V6ONLY},
        {IPPROTO_IPV6, IPV6_RECVTCLASS},
        {IPPROTO_IPV6, IPV6_DONTFRAG},
        {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
        {SOL_SOCKET, SO_RCVBUFFORCE},
        {SOL_SOCKET, SO_SNDBUFFORCE},
        {SOL_UDP, UDP_GRO},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct linux_udp udp;
        obliging_kernel();
        kernel.refused_level = rows[i].level;
        kernel.refused_name = rows[i].name;
        assert_int_equal(linux_udp_open(&udp, &options), ERR_NONE);
        assert_true(udp.fd[0] >= 0);
        linux_udp_close(&udp);
    }
    struct linux_udp udp;
    obliging_kernel();
    kernel.refused_level = SOL_SOCKET;
    kernel.refused_name = SO_MARK;
    assert_int_equal(linux_udp_open(&udp, &options), ERR_PERMISSION);
}

/* Sends a train of `count` segments over loopback from `udp` to itself; true when all arrived. */
static bool train_arrives(struct linux_udp *udp, size_t count, struct instant now)
{
    static uint8_t bytes[2000];
    struct gateway_datagram out[LINUX_UDP_BATCH];
    size_t got = 0;
    struct gateway_train train = {.remote = sock_addr_of(ip_v4(127, 0, 0, 1), udp->port[0]),
                                  .bytes = {bytes, count * 10},
                                  .segment_size = 10};
    assert_true(count * 10 <= sizeof(bytes));
    if (linux_udp_send(udp, &train, now) != ERR_NONE) {
        return false;
    }
    for (int round = 0; round < 50 && got < count * 10; round++) {
        struct pollfd fd = {.fd = udp->fd[0], .events = POLLIN};
        size_t received = 0;
        (void)poll(&fd, 1, 20);
        enum err err = linux_udp_receive(udp, out, LINUX_UDP_BATCH, &received);
        for (size_t i = 0; err == ERR_NONE && i < received; i++) {
            got += out[i].bytes.len;
        }
    }
    return got == count * 10;
}

static void test_a_family_that_cannot_be_bound_is_left_out(void **state)
{
    (void)state;
    struct linux_udp udp;
    struct ip_addr v6 = {IP_V6, {[15] = 1}};
    obliging_kernel();
    kernel.unbindable_family = AF_INET6;
    assert_int_equal(linux_udp_open(&udp, &options), ERR_NONE);
    assert_true(udp.fd[0] >= 0);
    assert_int_equal(udp.fd[1], -1);
    assert_true(train_arrives(&udp, 1, (struct instant){NS_PER_S}));
    struct gateway_train train = {.remote = sock_addr_of(v6, 3478), .bytes = view_text("x")};
    assert_int_equal(linux_udp_send(&udp, &train, (struct instant){NS_PER_S}), ERR_UNREACHABLE);
    linux_udp_close(&udp);
    obliging_kernel();
    kernel.unbindable_family = AF_INET;
    assert_int_equal(linux_udp_open(&udp, &options), ERR_NONE);
    assert_int_equal(udp.fd[0], -1);
    linux_udp_close(&udp);
}

static void test_a_refused_train_goes_out_singly_at_once_and_is_tried_again_later(void **state)
{
    (void)state;
    static const int refusals[] = {EIO, EINVAL};
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct linux_udp udp;
        struct instant at = {NS_PER_S};
        obliging_kernel();
        assert_int_equal(linux_udp_open(&udp, &options), ERR_NONE);
        if (!udp.gso) {
            print_message("skipped: no UDP_SEGMENT here\n");
            linux_udp_close(&udp);
            skip();
        }
        kernel.segment_errno = refusals[i];
        assert_true(train_arrives(&udp, 5, at));
        assert_int_equal(kernel.trains, 1);
        assert_int_equal(kernel.singles, 5);
        at = instant_add(at, DURATION_S(LINUX_UDP_GSO_RETRY_S - 1));
        assert_true(train_arrives(&udp, 5, at));
        assert_int_equal(kernel.trains, 1); /* not asked again */
        assert_int_equal(kernel.singles, 10);
        kernel.segment_errno = 0;
        at = instant_add(at, DURATION_S(1));
        assert_true(train_arrives(&udp, 5, at));
        assert_int_equal(kernel.trains, 2);
        assert_int_equal(kernel.singles, 10);
        linux_udp_close(&udp);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sockets_ask_for_everything_that_the_gateway_needs),
        cmocka_unit_test(test_buffers_that_cannot_be_forced_are_asked_for_plainly),
        cmocka_unit_test(test_any_option_but_the_mark_may_be_missing),
        cmocka_unit_test(test_a_family_that_cannot_be_bound_is_left_out),
        cmocka_unit_test(test_a_refused_train_goes_out_singly_at_once_and_is_tried_again_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
