/* linux_platform: struct platform over Linux: clocks, entropy, UDP, TUN, streams, lookups.
 *
 * One epoll instance. Sockets are watched edge-triggered, for room to send only while an output
 * waits, and their readiness is kept until a read finds the queue empty, so that a driver that
 * stops feeding costs no wake-ups. Source: design section 8.1.
 */
#ifndef LINUX_PLATFORM_H
#define LINUX_PLATFORM_H

#include <signal.h>

#include "base/trace.h"
#include "platform/linux/linux_log.h"
#include "platform/linux/linux_notify.h"
#include "platform/linux/linux_pages.h"
#include "platform/linux/linux_resolver.h"
#include "platform/linux/linux_stream.h"
#include "platform/linux/linux_tun.h"
#include "platform/linux/linux_udp.h"
#include "platform/platform.h"

struct linux_platform {
    struct platform table; /* what the driver gets; `self` is this struct */
    int epoll;
    int signals; /* signalfd, or -1 */
    unsigned signals_seen;
    bool shutdown_pending;
    bool is_leaving;    /* the gateway ends without a signal; whoever hears its trace sets it */
    unsigned udp_ready; /* set of families: 1 IPv4, 2 IPv6 */
    bool tun_ready;
    bool tun_is_gone; /* told by tun_read: nobody looks after it any more */
    struct linux_udp udp;
    struct linux_tun tun;
    bool tun_up_pending; /* PLATFORM_TUN_UP is due */
    struct linux_streams *streams;
    struct linux_resolver *resolver;
    struct linux_tls_roots *roots; /* NULL: none could be read yet */
    const char *roots_file;
    bool roots_told; /* that they cannot be read */
    struct linux_log *flows;
    struct linux_notify notify;
    struct linux_pages pages; /* of the gateway's memory; its owner opens and closes them */
    struct trace trace;       /* failures of the environment */
    struct platform_event event;
    struct instant tick_at; /* when streams, lookups and the supervisor are looked at again */
    uint64_t wakeups;
    uint64_t longest_step_ns; /* the loop's to write */
};

struct linux_platform_options {
    struct linux_udp_options udp;
    const char *tun_name;
    enum linux_tun_offload tun_offload;
    const char *roots_file;             /* NULL: the system's. Borrowed */
    const char *dns_servers;            /* NULL: resolv.conf's */
    bool own_addresses;                 /* the gateway wants to know the host's addresses */
    struct linux_log *flows;            /* where flow records go; NULL: nowhere. Borrowed */
    struct linux_notify_options notify; /* all NULL: no supervisor */
    bool signals; /* those of linux_platform_signal_set() become PLATFORM_SHUTDOWN */
    struct trace trace;
};

/* The signals that ask for an orderly end. Whoever opens with `signals` blocks them before. */
void linux_platform_signal_set(sigset_t *set);

/* Opens everything. On failure `what` names the part that failed, static text. */
MUST_USE enum err linux_platform_open(struct linux_platform *platform,
                                      const struct linux_platform_options *options,
                                      const char **what);
void linux_platform_close(struct linux_platform *platform);

/* Waits at most `timeout_ms` from `now` on and notes readiness; also does the time-driven work
 * below the seam. */
void linux_platform_wait(struct linux_platform *platform, struct instant now, int timeout_ms);
/* A set of enum platform_ready. */
MUST_USE uint32_t linux_platform_ready(const struct linux_platform *platform);
/* Milliseconds from `now` until linux_platform_wait() has time-driven work, at most `max`. */
MUST_USE int linux_platform_timeout_ms(const struct linux_platform *platform, struct instant now,
                                       int max);
/* How many shutdown signals have arrived. */
MUST_USE unsigned linux_platform_signals(const struct linux_platform *platform);

/* Both clocks: CLOCK_BOOTTIME and CLOCK_REALTIME. */
struct clock_pair linux_clock_now(void);
/* CLOCK_BOOTTIME alone. */
struct instant linux_clock_boot(void);
/* Fills `out` from the system's generator; ends the process when there is none. */
void linux_entropy(uint8_t out[32]);

#endif /* LINUX_PLATFORM_H */
