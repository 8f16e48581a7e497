/* interop: network namespaces, child processes and sockets for tests against independent peers.
 *
 * Nothing a test makes outlives it, however it ends: namespaces have no names and live as long as
 * their processes, children die with the test (PR_SET_PDEATHSIG), and files and control sockets
 * stand in a private tmpfs over /run and /var/log. An alarm bounds the whole program.
 * Needs root (CAP_SYS_ADMIN). Failures of the environment end the program with a sentence and exit
 * status 1: a missing peer is a failed test, never a skipped one.
 */
#ifndef TESTS_INTEROP_H
#define TESTS_INTEROP_H

#include <sys/types.h>

#include "base/addr.h"
#include "base/time.h"
#include "crypto/rng.h"

#define INTEROP_DIR          "/run/interop" /* private to the test */
#define INTEROP_DATAGRAM_MAX 2048U

struct interop {
    int home; /* namespace of the test itself */
};

struct interop_child {
    pid_t pid; /* 0: none */
};

/* Enters fresh network and mount namespaces; the program is killed after `seconds_max`. */
void interop_begin(struct interop *interop, unsigned seconds_max);
/* A further network namespace with loopback up; the descriptor is its handle. */
int interop_namespace(const struct interop *interop);
/* Ends with a sentence unless `program` is in PATH. */
void interop_require(const char *program);
/* Runs a shell script in namespace `ns` and waits; ends unless it succeeds. */
void interop_shell(int ns, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As interop_shell(), for commands that may fail; returns whether it succeeded. */
MUST_USE bool interop_try(int ns, const char *script);
/* Connects two namespaces by a veth pair. `addresses_*` is a list of prefixes, separated by spaces.
 */
void interop_link(int ns_a, const char *addresses_a, int ns_b, const char *addresses_b);

/* Starts a program in `ns`; its output goes to INTEROP_DIR/<log>. `argv` ends with NULL. */
struct interop_child interop_spawn(int ns, const char *log, const char *const argv[]);
/* Forks; the child enters `ns`, and runs `body(ctx)`, then exits. */
struct interop_child interop_fork(int ns, const char *log, void (*body)(void *ctx), void *ctx);
MUST_USE bool interop_alive(const struct interop_child *child);
/* SIGTERM, after two seconds SIGKILL; waits. Nothing when there is no child. */
void interop_stop(struct interop_child *child);
/* SIGKILL and waits. */
void interop_kill(struct interop_child *child);
/* Prints the end of every log; for failed tests. */
void interop_print_logs(void);
/* True when the log contains `text`. */
MUST_USE bool interop_log_has(const char *log, const char *text);

struct instant interop_now(void);
struct clock_pair interop_clock(void);
void interop_rng(struct rng *rng);
/* Sleeps. */
void interop_wait(uint64_t ms);

/* A non-blocking UDP socket in `ns`, bound to `local`; a port 0 is replaced by the one given. */
int interop_udp(const struct interop *interop, int ns, struct sock_addr *local);
/* A raw ICMP or ICMPv6 socket in `ns`, non-blocking. */
int interop_icmp(const struct interop *interop, int ns, enum ip_family family);
void interop_send(int fd, const struct sock_addr *to, struct view bytes);
/* False when nothing waits. */
MUST_USE bool interop_receive(int fd, struct span room, struct sock_addr *from, size_t *len);
/* True when nothing listens at the UDP address `to`, seen from `ns`: the answer is an ICMP error.
 */
MUST_USE bool interop_is_refused(const struct interop *interop, int ns, const struct sock_addr *to);
/* Waits until one of `fds` is readable or `until` (at most 20 ms at a time). */
void interop_poll(const int *fds, size_t count, struct instant until);

/* Parses or ends. */
struct sock_addr interop_address(const char *text);

#endif /* TESTS_INTEROP_H */
