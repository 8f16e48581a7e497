/* Each test confines a child process and looks at what it still can do. */
#include "platform/linux/linux_sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/linux/linux_platform.h"
#include "tests/support/support.h"

#define OK          0
#define UNSUPPORTED 77

static bool is_instrumented(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return true;
#elif defined(__has_feature)
    return __has_feature(address_sanitizer) || __has_feature(memory_sanitizer);
#else
    return false;
#endif
}

/* Runs `body` in a confined child; its result is the line of what failed, or OK. */
static void run_confined(int (*body)(void))
{
    if (is_instrumented()) {
        print_message("skipped: a sanitizer needs more than the filter permits\n");
        skip();
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct linux_sandbox_options options = {.bind_low_port = false};
        enum err err = linux_sandbox_enter(&options);
        _exit(err == ERR_UNSUPPORTED ? UNSUPPORTED : err != ERR_NONE ? __LINE__ % 200 : body());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == UNSUPPORTED) {
        print_message("skipped: no seccomp filters here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), OK);
}

/* Ends the child with a number that finds the line. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return __LINE__ % 200 + 1;                                                             \
        }                                                                                          \
    } while (0)

static int try_forbidden(void)
{
    char *const arguments[] = {NULL};
    errno = 0;
    CHECK(execve("/bin/true", arguments, arguments) == -1 && errno == EPERM);
    CHECK(open("/tmp/fz-sandbox-forbidden", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) == -1);
    CHECK(errno == EPERM);
    CHECK(open("/dev/null", O_RDWR | O_CLOEXEC) == -1 && errno == EPERM);
    CHECK(unlink("/tmp/fz-sandbox-forbidden") == -1 && errno == EPERM);
    CHECK(socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == EPERM);
    CHECK(socket(AF_UNIX, SOCK_STREAM, 0) == -1 && errno == EPERM);
    CHECK(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) == -1 && errno == EPERM);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
          MAP_FAILED);
    CHECK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == -1 && errno == EPERM);
    CHECK(setuid(0) == -1 && errno == EPERM);
    CHECK(kill(getppid(), 0) == -1 && errno == EPERM);
    CHECK(fork() == -1 && errno == EPERM);
    return OK;
}

static int try_needed(void)
{
    uint8_t seed[32];
    linux_entropy(seed);
    CHECK(linux_clock_now().boot.ns > 0);
    int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 || errno == ENOENT);
    static const int families[] = {AF_INET, AF_INET6, AF_NETLINK};
    for (size_t i = 0; i < ARRAY_COUNT(families); i++) {
        int s = socket(families[i], families[i] == AF_NETLINK ? SOCK_RAW : SOCK_DGRAM, 0);
        CHECK(s >= 0 || errno == EAFNOSUPPORT);
        CHECK(s < 0 || close(s) == 0);
    }
    void *much = malloc(64U << 20);
    CHECK(much != NULL);
    memset(much, 1, 64U << 20);
    free(much);
    CHECK(getpid() > 0);
    CHECK(if_nametoindex("lo") > 0); /* it would like a local socket */
    return OK;
}

/* A table's memory moves into huge pages long after the start. */
static int try_huge_pages(void)
{
    static struct linux_pages pages;
    size_t size = (size_t)2 * LINUX_PAGES_HUGE;
    struct clock_pair now = {{NS_PER_S}, NS_PER_S};
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    linux_pages_stay_small(memory, size);
    memset(memory, 1, size);
    if (linux_pages_open(&pages, memory, size, NULL) != ERR_NONE) {
        return OK; /* no huge pages here */
    }
    for (uint32_t i = 0; i < 4; i++) {
        now.boot = instant_add(now.boot, DURATION_S(LINUX_PAGES_REST_S));
        linux_pages_tick(&pages, now, true);
    }
    CHECK(pages.huge > 0 || pages.lack_told);
    CHECK(pages.huge == 0 || *pages.ranges == 1);
    linux_pages_close(&pages);
    return OK;
}

static int try_capabilities(void)
{
    static const char *const sets[] = {"CapPrm:\t", "CapEff:\t", "CapAmb:\t"};
    char status[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t got = read(fd, status, sizeof(status) - 1);
    CHECK(got > 0);
    status[got] = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(sets); i++) {
        const char *at = strstr(status, sets[i]);
        CHECK(at != NULL);
        unsigned long long left = strtoull(at + strlen(sets[i]), NULL, 16);
        CHECK((left & ~(1ULL << CAP_NET_ADMIN)) == 0);
    }
    return OK;
}

/* What opened before stays open: the supervisor is told that all is well. */
static int local_pair[2];

static int try_local_pair(void)
{
    char byte = 0;
    CHECK(send(local_pair[0], "x", 1, MSG_NOSIGNAL) == 1);
    CHECK(recv(local_pair[1], &byte, 1, 0) == 1 && byte == 'x');
    return OK;
}

static void test_an_open_local_socket_goes_on(void **state)
{
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, local_pair), 0);
    run_confined(try_local_pair);
    assert_int_equal(close(local_pair[0]) | close(local_pair[1]), 0);
}

static void test_a_crash_leaves_no_dump(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit;
        struct rlimit after;
        bool ok = getrlimit(RLIMIT_CORE, &limit) == 0;
        limit.rlim_cur = limit.rlim_max;
        ok = ok && setrlimit(RLIMIT_CORE, &limit) == 0 && chdir("/tmp") == 0;
        ok = ok && linux_sandbox_forbid_dumps() == ERR_NONE &&
             prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && getrlimit(RLIMIT_CORE, &after) == 0 &&
             after.rlim_cur == 0 && after.rlim_max == 0;
        /* It dumps, no sanitizer takes it for itself, and who started us may have it ignored. */
        (void)signal(SIGQUIT, SIG_DFL);
        _exit(ok ? raise(SIGQUIT) : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_false(WCOREDUMP(status));
}

static void test_what_is_not_needed_is_refused(void **state)
{
    (void)state;
    run_confined(try_forbidden);
}

static void test_what_is_needed_goes_on(void **state)
{
    (void)state;
    run_confined(try_needed);
    run_confined(try_huge_pages);
}

static void test_capabilities_are_gone(void **state)
{
    (void)state;
    run_confined(try_capabilities);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_needed_is_refused),
        cmocka_unit_test(test_what_is_needed_goes_on),
        cmocka_unit_test(test_an_open_local_socket_goes_on),
        cmocka_unit_test(test_a_crash_leaves_no_dump),
        cmocka_unit_test(test_capabilities_are_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
