/* interop: see interop.h. */
#include "tests/interop/interop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INTEROP_SCRIPT_MAX 4096U
#define INTEROP_POLL_MS    20U

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "interop: " __VA_ARGS__);                                                  \
        fputc('\n', stderr);                                                                       \
        interop_print_logs();                                                                      \
        exit(1);                                                                                   \
    } while (0)

static void loopback_up(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo"};
    request.ifr_flags = IFF_UP;
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) {
        FAIL("loopback: %s", strerror(errno));
    }
    close(fd);
}

static int namespace_here(void)
{
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        FAIL("/proc/self/ns/net: %s", strerror(errno));
    }
    return fd;
}

static void enter(int ns)
{
    if (setns(ns, CLONE_NEWNET) != 0) {
        FAIL("setns: %s", strerror(errno));
    }
}

void interop_begin(struct interop *interop, unsigned seconds_max)
{
    alarm(seconds_max);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) {
        FAIL("namespaces cannot be made (%s); run as root", strerror(errno));
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, NULL) != 0 ||
        mount("tmpfs", "/var/log", "tmpfs", 0, NULL) != 0 || mkdir(INTEROP_DIR, 0700) != 0 ||
        mkdir("/run/wireguard", 0700) != 0) {
        FAIL("private file systems: %s", strerror(errno));
    }
    loopback_up();
    interop->home = namespace_here();
}

int interop_namespace(const struct interop *interop)
{
    if (unshare(CLONE_NEWNET) != 0) {
        FAIL("unshare: %s", strerror(errno));
    }
    loopback_up();
    int ns = namespace_here();
    enter(interop->home);
    return ns;
}

void interop_require(const char *program)
{
    char path[INTEROP_SCRIPT_MAX];
    snprintf(path, sizeof(path), "%s", getenv("PATH") == NULL ? "" : getenv("PATH"));
    for (char *rest = path, *folder = NULL; (folder = strsep(&rest, ":")) != NULL;) {
        char file[512];
        snprintf(file, sizeof(file), "%s/%s", folder, program);
        if (access(file, X_OK) == 0) {
            return;
        }
    }
    FAIL("%s is missing; tests/tools/install.sh test installs it", program);
}

/* ---- children ---- */

static void become_child(int ns, const char *log, pid_t parent)
{
    enter(ns);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    alarm(0);
    if (log != NULL) {
        char path[128];
        snprintf(path, sizeof(path), INTEROP_DIR "/%s", log);
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0) {
            _exit(1);
        }
        close(fd);
    }
}

static pid_t fork_or_end(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        FAIL("fork: %s", strerror(errno));
    }
    return pid;
}

struct interop_child interop_fork(int ns, const char *log, void (*body)(void *ctx), void *ctx)
{
    pid_t parent = getpid();
    pid_t pid = fork_or_end();
    if (pid == 0) {
        become_child(ns, log, parent);
        body(ctx);
        fflush(NULL);
        _exit(0);
    }
    return (struct interop_child){pid};
}

struct interop_child interop_spawn(int ns, const char *log, const char *const argv[])
{
    interop_require(argv[0]);
    char *copies[40] = {NULL};
    for (size_t i = 0; argv[i] != NULL; i++) {
        if (i + 1U >= sizeof(copies) / sizeof(copies[0])) {
            FAIL("too many arguments for %s", argv[0]);
        }
        copies[i] = strdup(argv[i]);
    }
    pid_t parent = getpid();
    pid_t pid = fork_or_end();
    if (pid == 0) {
        become_child(ns, log, parent);
        execvp(copies[0], copies);
        fprintf(stderr, "%s: %s\n", copies[0], strerror(errno));
        _exit(127);
    }
    for (size_t i = 0; copies[i] != NULL; i++) {
        free(copies[i]);
    }
    return (struct interop_child){pid};
}

bool interop_alive(const struct interop_child *child)
{
    siginfo_t info = {.si_pid = 0};
    return child->pid > 0 &&
           waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

void interop_kill(struct interop_child *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, NULL, 0);
        child->pid = 0;
    }
}

void interop_stop(struct interop_child *child)
{
    if (child->pid <= 0) {
        return;
    }
    kill(child->pid, SIGTERM);
    struct instant end = instant_add(interop_now(), DURATION_S(2));
    while (interop_alive(child) && instant_before(interop_now(), end)) {
        interop_wait(5);
    }
    interop_kill(child);
}

bool interop_try(int ns, const char *script)
{
    const char *argv[] = {"sh", "-ec", script, NULL};
    struct interop_child child = interop_spawn(ns, "shell.log", argv);
    int status = 0;
    return waitpid(child.pid, &status, 0) == child.pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

void interop_shell(int ns, const char *format, ...)
{
    char script[INTEROP_SCRIPT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(script, sizeof(script), format, arguments);
    va_end(arguments);
    if (len < 0 || (size_t)len >= sizeof(script)) {
        FAIL("a script is too long");
    }
    if (!interop_try(ns, script)) {
        FAIL("this failed: %s", script);
    }
}

static void address(int ns, const char *name, const char *addresses)
{
    interop_shell(ns,
                  "echo 0 >/proc/sys/net/ipv6/conf/%s/accept_dad; for a in %s; do "
                  "ip addr add $a dev %s; done; ip link set %s up",
                  name, addresses, name, name);
}

void interop_link(int ns_a, const char *addresses_a, int ns_b, const char *addresses_b)
{
    /* Names are unique within each namespace because the descriptors are. */
    char name_a[IFNAMSIZ];
    char name_b[IFNAMSIZ];
    snprintf(name_a, sizeof(name_a), "to%d", ns_b % 1000);
    snprintf(name_b, sizeof(name_b), "to%d", ns_a % 1000);
    interop_shell(ns_a, "ip link add %s type veth peer name %s netns /proc/%d/fd/%d", name_a,
                  name_b, (int)getpid(), ns_b);
    address(ns_a, name_a, addresses_a);
    address(ns_b, name_b, addresses_b);
}

void interop_print_logs(void)
{
    if (access(INTEROP_DIR, X_OK) == 0 &&
        system("cd " INTEROP_DIR " && tail -n 25 *.log 1>&2") != 0) { /* NOLINT(cert-env33-c) */
        fputs("interop: no logs\n", stderr);
    }
}

bool interop_log_has(const char *log, const char *text)
{
    char path[128];
    char line[1024];
    snprintf(path, sizeof(path), INTEROP_DIR "/%s", log);
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        found = strstr(line, text) != NULL;
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

/* ---- time and randomness ---- */

struct clock_pair interop_clock(void)
{
    struct timespec boot;
    struct timespec real;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_REALTIME, &real);
    return (struct clock_pair){
        {(uint64_t)boot.tv_sec * NS_PER_S + (uint64_t)boot.tv_nsec},
        (uint64_t)real.tv_sec * NS_PER_S + (uint64_t)real.tv_nsec,
    };
}

struct instant interop_now(void)
{
    return interop_clock().boot;
}

void interop_rng(struct rng *rng)
{
    uint8_t seed[RNG_SEED_SIZE];
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        FAIL("getrandom: %s", strerror(errno));
    }
    rng_init(rng, seed);
}

void interop_wait(uint64_t ms)
{
    struct timespec rest = {(time_t)(ms / 1000U), (long)(ms % 1000U) * 1000000L};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
}

/* ---- sockets ---- */

static socklen_t to_system(const struct sock_addr *addr, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (addr->ip.family == IP_V4) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
        memcpy(&v4.sin_addr, addr->ip.bytes, 4);
        memcpy(out, &v4, sizeof(v4));
        return sizeof(v4);
    }
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};
    memcpy(&v6.sin6_addr, addr->ip.bytes, 16);
    memcpy(out, &v6, sizeof(v6));
    return sizeof(v6);
}

static struct sock_addr from_system(const struct sockaddr_storage *in)
{
    if (in->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, in, sizeof(v4));
        uint8_t bytes[4];
        memcpy(bytes, &v4.sin_addr, 4);
        return sock_addr_of(ip_from_bytes(IP_V4, bytes), ntohs(v4.sin_port));
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, in, sizeof(v6));
    return sock_addr_of(ip_from_bytes(IP_V6, v6.sin6_addr.s6_addr), ntohs(v6.sin6_port));
}

static int socket_in(const struct interop *interop, int ns, int family, int type, int protocol)
{
    enter(ns);
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    enter(interop->home);
    if (fd < 0) {
        FAIL("socket: %s", strerror(errno));
    }
    int size = 4 << 20;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0) {
        FAIL("SO_RCVBUFFORCE: %s", strerror(errno));
    }
    return fd;
}

int interop_udp(const struct interop *interop, int ns, struct sock_addr *local)
{
    int family = local->ip.family == IP_V4 ? AF_INET : AF_INET6;
    int fd = socket_in(interop, ns, family, SOCK_DGRAM, 0);
    struct sockaddr_storage storage;
    socklen_t len = to_system(local, &storage);
    if (bind(fd, (const struct sockaddr *)&storage, len) != 0) {
        FAIL("bind: %s", strerror(errno));
    }
    len = sizeof(storage);
    if (getsockname(fd, (struct sockaddr *)&storage, &len) != 0) {
        FAIL("getsockname: %s", strerror(errno));
    }
    *local = from_system(&storage);
    return fd;
}

int interop_icmp(const struct interop *interop, int ns, enum ip_family family)
{
    return family == IP_V4 ? socket_in(interop, ns, AF_INET, SOCK_RAW, IPPROTO_ICMP)
                           : socket_in(interop, ns, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
}

void interop_send(int fd, const struct sock_addr *to, struct view bytes)
{
    struct sockaddr_storage storage;
    socklen_t len = to_system(to, &storage);
    /* A refused or full path is a lost datagram: what waits for an answer notices. */
    if (sendto(fd, bytes.at, bytes.len, 0, (const struct sockaddr *)&storage, len) < 0 &&
        errno != ECONNREFUSED && errno != EAGAIN && errno != EHOSTUNREACH && errno != ENETUNREACH) {
        FAIL("sendto: %s", strerror(errno));
    }
}

bool interop_receive(int fd, struct span room, struct sock_addr *from, size_t *len)
{
    struct sockaddr_storage storage;
    socklen_t storage_len = sizeof(storage);
    ssize_t got = recvfrom(fd, room.at, room.len, 0, (struct sockaddr *)&storage, &storage_len);
    if (got < 0) {
        return false;
    }
    *from = from_system(&storage);
    *len = (size_t)got;
    return true;
}

bool interop_is_refused(const struct interop *interop, int ns, const struct sock_addr *to)
{
    struct sockaddr_storage storage;
    socklen_t len = to_system(to, &storage);
    int fd = socket_in(interop, ns, storage.ss_family, SOCK_DGRAM, 0);
    bool refused = false;
    if (connect(fd, (const struct sockaddr *)&storage, len) == 0 && send(fd, "?", 1, 0) == 1) {
        interop_wait(INTEROP_POLL_MS);
        refused = send(fd, "?", 1, 0) < 0 && errno == ECONNREFUSED;
    }
    close(fd);
    return refused;
}

void interop_poll(const int *fds, size_t count, struct instant until)
{
    struct pollfd polled[8] = {{0}};
    for (size_t i = 0; i < count && i < 8U; i++) {
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    }
    struct instant now = interop_now();
    uint64_t ms = INTEROP_POLL_MS;
    if (instant_before(until, instant_add(now, DURATION_MS(INTEROP_POLL_MS)))) {
        ms = instant_before(now, until) ? (until.ns - now.ns + NS_PER_MS - 1U) / NS_PER_MS : 0;
    }
    (void)poll(polled, count, (int)ms);
}

struct sock_addr interop_address(const char *text)
{
    struct sock_addr addr;
    if (!sock_addr_parse(view_text(text), &addr)) {
        FAIL("not an address: %s", text);
    }
    return addr;
}
