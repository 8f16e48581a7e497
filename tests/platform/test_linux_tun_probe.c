/* How the TUN device is opened, against kernels that know more or less. ioctl() is stood in for by
 * a function of this program; only /dev/net/tun itself is real. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/linux/linux_tun.h"
#include "tests/support/support.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define NAME "tun-probe"

/* What this kernel knows, and what it was asked. */
static struct {
    unsigned long offloads; /* flags that TUNSETOFFLOAD takes */
    bool refuses_offloads;  /* even an empty set */
    bool refuses_header;    /* TUNSETVNETHDRSZ */
    int interface_errno;    /* of TUNSETIFF */
    short flags;            /* of TUNSETIFF */
    char name[IFNAMSIZ];
    unsigned offloads_asked;
} kernel;

static int refuse(int error)
{
    errno = error;
    return -1;
}

static int set_interface(const struct ifreq *request)
{
    if (kernel.interface_errno != 0) {
        return refuse(kernel.interface_errno);
    }
    kernel.flags = request->ifr_flags;
    memcpy(kernel.name, request->ifr_name, IFNAMSIZ);
    return 0;
}

static int set_offload(unsigned long flags)
{
    kernel.offloads_asked++;
    return kernel.refuses_offloads || (flags & ~kernel.offloads) != 0 ? refuse(EINVAL) : 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *pointer = request == TUNSETOFFLOAD ? NULL : va_arg(list, void *);
    unsigned long flags = request == TUNSETOFFLOAD ? va_arg(list, unsigned long) : 0;
    va_end(list);
    (void)fd;
    switch (request) {
    case TUNSETIFF:
        return set_interface(pointer);
    case TUNSETVNETHDRSZ:
        return kernel.refuses_header ? refuse(EINVAL) : 0;
    case TUNSETOFFLOAD:
        return set_offload(flags);
    default:
        return refuse(ENOTTY);
    }
}

#define TSO (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
#define USO (TSO | TUN_F_USO4 | TUN_F_USO6)

static void kernel_with(unsigned long offloads)
{
    memset(&kernel, 0, sizeof(kernel));
    kernel.offloads = offloads;
}

static enum err open_tun(struct linux_tun *tun, enum linux_tun_offload best)
{
    enum err err = linux_tun_open(tun, NAME, best);
    if (err == ERR_NOT_FOUND || err == ERR_PERMISSION) {
        print_message("skipped: no /dev/net/tun here\n");
        skip();
    }
    return err;
}

static void test_the_best_offload_that_the_kernel_knows_is_used(void **state)
{
    (void)state;
    static const struct {
        unsigned long known;
        enum linux_tun_offload best;
        enum linux_tun_offload expected;
        unsigned asked;
    } rows[] = {
        {USO, LINUX_TUN_OFFLOAD_USO, LINUX_TUN_OFFLOAD_USO, 1},
        {TSO, LINUX_TUN_OFFLOAD_USO, LINUX_TUN_OFFLOAD_TSO, 2},
        {0, LINUX_TUN_OFFLOAD_USO, LINUX_TUN_OFFLOAD_NONE, 3},
        {TUN_F_CSUM, LINUX_TUN_OFFLOAD_USO, LINUX_TUN_OFFLOAD_NONE, 3},
        {USO, LINUX_TUN_OFFLOAD_TSO, LINUX_TUN_OFFLOAD_TSO, 1},
        {USO, LINUX_TUN_OFFLOAD_NONE, LINUX_TUN_OFFLOAD_NONE, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct linux_tun tun;
        kernel_with(rows[i].known);
        assert_int_equal(open_tun(&tun, rows[i].best), ERR_NONE);
        assert_int_equal(tun.offload, rows[i].expected);
        assert_int_equal(kernel.offloads_asked, rows[i].asked);
        linux_tun_close(&tun);
    }
}

static void test_the_device_has_one_queue_and_no_packet_information(void **state)
{
    (void)state;
    struct linux_tun tun;
    kernel_with(USO);
    assert_int_equal(open_tun(&tun, LINUX_TUN_OFFLOAD_USO), ERR_NONE);
    assert_int_equal(kernel.flags, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
    assert_int_equal(kernel.flags & IFF_MULTI_QUEUE, 0);
    assert_string_equal(kernel.name, NAME);
    assert_int_equal(fcntl(tun.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    linux_tun_close(&tun);
}

static void test_a_kernel_that_cannot_serve_is_an_error(void **state)
{
    (void)state;
    struct linux_tun tun;
    kernel_with(USO);
    kernel.refuses_header = true;
    assert_int_equal(open_tun(&tun, LINUX_TUN_OFFLOAD_USO), ERR_UNSUPPORTED);
    assert_int_equal(tun.fd, -1);
    kernel_with(USO);
    kernel.refuses_offloads = true;
    assert_int_equal(open_tun(&tun, LINUX_TUN_OFFLOAD_USO), ERR_UNSUPPORTED);
    kernel_with(USO);
    kernel.interface_errno = EBUSY;
    assert_int_equal(open_tun(&tun, LINUX_TUN_OFFLOAD_USO), ERR_EXISTS);
    assert_int_equal(tun.fd, -1);
}

/* In a mount namespace of its own, with an empty /dev: exit code of the child. */
enum outcome {
    MADE,
    NOT_PERMITTED,
    NOT_MADE,
    WRONG,
};

static enum outcome open_without_node(void)
{
    struct linux_tun tun;
    struct stat facts;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/dev", "tmpfs", 0, NULL) != 0) {
        return NOT_PERMITTED;
    }
    if (mknod("/dev/probe", S_IFCHR | 0600, makedev(1, 3)) != 0) {
        return NOT_PERMITTED;
    }
    enum err err = linux_tun_open(&tun, NAME, LINUX_TUN_OFFLOAD_USO);
    if (stat("/dev/net/tun", &facts) != 0) {
        return NOT_MADE;
    }
    bool right = S_ISCHR(facts.st_mode) && facts.st_rdev == makedev(10, 200) &&
                 (facts.st_mode & 07777) == 0600;
    return right && (err == ERR_NONE || err == ERR_PERMISSION || err == ERR_NOT_FOUND) ? MADE
                                                                                       : WRONG;
}

static void test_the_device_node_is_made_when_it_is_missing(void **state)
{
    (void)state;
    int status = 0;
    kernel_with(USO);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)umask(0);
        _exit((int)open_without_node());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_PERMITTED) {
        print_message("skipped: no mount namespace or no device nodes here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), MADE);
}

/* A datagram socket stands in for the device: one write is one packet. */
static int stand_in(struct linux_tun *tun)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fd), 0);
    memset(tun, 0, sizeof(*tun));
    tun->fd = fd[0];
    tun->buffers = malloc((size_t)LINUX_TUN_BATCH * (GATEWAY_TUN_HEADROOM + 65536U));
    assert_non_null(tun->buffers);
    return fd[1];
}

static void send_packet(int to, size_t size)
{
    uint8_t whole[sizeof(struct virtio_net_hdr) + 40] = {0};
    whole[sizeof(struct virtio_net_hdr)] = 0x45;
    assert_int_equal(write(to, whole, size), size);
}

static void test_a_packet_that_is_none_does_not_discard_its_batch(void **state)
{
    (void)state;
    const size_t whole = sizeof(struct virtio_net_hdr) + 40;
    struct linux_tun tun;
    struct gateway_tun_packet packets[LINUX_TUN_BATCH];
    size_t count = 0;
    int to = stand_in(&tun);
    send_packet(to, whole);
    send_packet(to, 3); /* not even a header */
    send_packet(to, sizeof(struct virtio_net_hdr));
    send_packet(to, whole - 1);
    assert_int_equal(linux_tun_read(&tun, packets, LINUX_TUN_BATCH, &count), ERR_NONE);
    assert_int_equal(count, 2);
    assert_int_equal(packets[0].bytes.len, 40);
    assert_int_equal(packets[1].bytes.len, 39);
    assert_int_equal(linux_tun_read(&tun, packets, LINUX_TUN_BATCH, &count), ERR_WOULD_BLOCK);
    linux_tun_close(&tun);
    (void)close(to);
}

/* Reads once; `left`: whether the queue may hold more. */
static void check_read(struct linux_tun *tun, size_t expected, bool left)
{
    struct gateway_tun_packet packets[LINUX_TUN_BATCH];
    size_t count = 0;
    enum err err = linux_tun_read(tun, packets, LINUX_TUN_BATCH, &count);
    assert_int_equal(err, expected == 0 ? ERR_WOULD_BLOCK : ERR_NONE);
    assert_int_equal(count, expected);
    assert_int_equal(tun->is_empty, !left);
}

/* Where packets come one at a time, each goes on its way before the queue is asked for more. */
static void test_a_packet_alone_is_handed_out_at_once(void **state)
{
    (void)state;
    const size_t whole = sizeof(struct virtio_net_hdr) + 40;
    struct linux_tun tun;
    int to = stand_in(&tun);
    send_packet(to, whole);
    check_read(&tun, 1, false);
    send_packet(to, whole);
    check_read(&tun, 1, true);
    check_read(&tun, 0, false);
    check_read(&tun, 0, false); /* says nothing about how packets come */
    for (unsigned i = 0; i < 3; i++) {
        send_packet(to, whole);
    }
    check_read(&tun, 1, true);
    check_read(&tun, 2, false);
    for (unsigned i = 0; i < 3; i++) {
        send_packet(to, whole);
    }
    check_read(&tun, 3, false);
    linux_tun_close(&tun);
    (void)close(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_offload_that_the_kernel_knows_is_used),
        cmocka_unit_test(test_the_device_has_one_queue_and_no_packet_information),
        cmocka_unit_test(test_a_kernel_that_cannot_serve_is_an_error),
        cmocka_unit_test(test_the_device_node_is_made_when_it_is_missing),
        cmocka_unit_test(test_a_packet_that_is_none_does_not_discard_its_batch),
        cmocka_unit_test(test_a_packet_alone_is_handed_out_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
