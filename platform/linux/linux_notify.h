/* linux_notify: tells the supervisor that the process has started and that it is alive.
 *
 * The protocol of systemd's sd_notify(3) on the datagram socket named by NOTIFY_SOCKET: "READY=1"
 * when the loop runs, "WATCHDOG=1" twice per WATCHDOG_USEC, "STOPPING=1" at the end, and "STATUS="
 * with what is between us and the portal or what the process lost, for `systemctl status`. Without
 * the variables nothing is said. The socket is opened before the process is confined. READY says
 * that the process serves, not that the portal is there: a supervisor that waited for the portal
 * would end the gateway in an outage. See /readyz for the other question.
 */
#ifndef LINUX_NOTIFY_H
#define LINUX_NOTIFY_H

#include "base/attr.h"
#include "base/time.h"
#include "base/trace.h"

struct linux_notify {
    int fd; /* -1: nobody wants to know */
    bool ready_told;
    struct duration watchdog; /* between two signs of life; 0: none wanted */
    struct instant watchdog_at;
};

/* What the supervisor put into the environment; each may be NULL. */
struct linux_notify_options {
    const char *socket;        /* NOTIFY_SOCKET: a path, or a name that begins with '@' */
    const char *watchdog_usec; /* WATCHDOG_USEC */
    const char *watchdog_pid;  /* WATCHDOG_PID: whom the watchdog is meant for */
};

/* Never fails: what cannot be used is as if it were not there. */
void linux_notify_open(struct linux_notify *notify, const struct linux_notify_options *options);
/* Says what is due at `now`: first READY, then signs of life. */
void linux_notify_tick(struct linux_notify *notify, struct instant now);
/* Says how it stands with the portal or what was lost, when the event is about that. */
void linux_notify_event(const struct linux_notify *notify, const struct trace_event *event);
/* Milliseconds until a tick is due, at most `max`. */
MUST_USE int linux_notify_timeout_ms(const struct linux_notify *notify, struct instant now,
                                     int max);
/* Says that the process ends, and closes. */
void linux_notify_close(struct linux_notify *notify);

#endif /* LINUX_NOTIFY_H */
