#include "platform/linux/linux_sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* ---- capabilities ---- */

static int keep(unsigned capability)
{
    return capng_update(CAPNG_ADD, CAPNG_EFFECTIVE, capability) |
           capng_update(CAPNG_ADD, CAPNG_PERMITTED, capability);
}

static enum err drop_capabilities(const struct linux_sandbox_options *options)
{
    if (capng_get_caps_process() != 0) {
        return ERR_PERMISSION;
    }
    bool admin = capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN) != 0;
    bool low =
        options->bind_low_port && capng_have_capability(CAPNG_PERMITTED, CAP_NET_BIND_SERVICE) != 0;
    bool bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
    capng_clear(CAPNG_SELECT_ALL);
    int failed = 0;
    if (admin) {
        failed |= keep(CAP_NET_ADMIN);
    }
    if (low) {
        failed |= keep(CAP_NET_BIND_SERVICE);
    }
    if (failed != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return ERR_PERMISSION;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL) {
        return ERR_PERMISSION;
    }
    return capng_apply(bounds ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) == 0 ? ERR_NONE
                                                                            : ERR_PERMISSION;
}

/* ---- system calls ---- */

/* Permitted whatever their arguments are. */
static const int plain_calls[] = {
    /* reading and writing what is open */
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(stat),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(close),
    SCMP_SYS(fcntl),
    /* sockets */
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),
    /* waiting */
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(futex),
    /* time, entropy, memory */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mincore),
    SCMP_SYS(getrusage),
    SCMP_SYS(madvise),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    /* the process itself */
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(tgkill),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* No local sockets: the one to the supervisor is connected before, and if_nametoindex() is content
 * with another family. */
static const int socket_families[] = {AF_INET, AF_INET6, AF_NETLINK};

/* SIOCGIFINDEX is what if_nametoindex() asks; the others are what C libraries ask of a file. */
static const unsigned long ioctls[] = {0x8933, FIONBIO, FIONREAD, TCGETS};

static int allow_plain(scmp_filter_ctx filter)
{
    int failed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(plain_calls); i++) {
        failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, plain_calls[i], 0);
    }
    return failed;
}

/* Permits a call when its argument, less the bits outside `mask`, equals `value`. */
static int allow_when(scmp_filter_ctx filter, int call, unsigned argument, uint64_t mask,
                      uint64_t value)
{
    const struct scmp_arg_cmp condition = {argument, SCMP_CMP_MASKED_EQ, mask, value};
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &condition);
}

static int allow_with_arguments(scmp_filter_ctx filter)
{
    const uint64_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
    int failed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(socket_families); i++) {
        failed |= allow_when(filter, SCMP_SYS(socket), 0, UINT32_MAX, (uint64_t)socket_families[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(ioctls); i++) {
        failed |= allow_when(filter, SCMP_SYS(ioctl), 1, UINT32_MAX, ioctls[i]);
    }
    failed |= allow_when(filter, SCMP_SYS(openat), 2, writing, 0);
    failed |= allow_when(filter, SCMP_SYS(open), 1, writing, 0);
    failed |= allow_when(filter, SCMP_SYS(mmap), 2, PROT_EXEC, 0);
    failed |= allow_when(filter, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
    return failed;
}

static enum err load_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return ERR_MEMORY;
    }
    enum err err = ERR_NONE;
    if (allow_plain(filter) != 0 || allow_with_arguments(filter) != 0) {
        err = ERR_MEMORY;
    } else {
        int failed = seccomp_load(filter);
        err = failed == 0 ? ERR_NONE : failed == -EINVAL ? ERR_UNSUPPORTED : ERR_PERMISSION;
    }
    seccomp_release(filter);
    return err;
}

enum err linux_sandbox_forbid_dumps(void)
{
    static const struct rlimit none = {0, 0};
    /* The limit alone does not bind a program that the kernel pipes dumps to. */
    bool done = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
    done = setrlimit(RLIMIT_CORE, &none) == 0 && done;
    return done ? ERR_NONE : ERR_PERMISSION;
}

enum err linux_sandbox_enter(const struct linux_sandbox_options *options)
{
    enum err err = drop_capabilities(options);
    return err == ERR_NONE ? load_filter() : err;
}
