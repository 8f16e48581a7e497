/* linux_loop: waits in epoll, steps the driver, until it is over. */
#ifndef LINUX_LOOP_H
#define LINUX_LOOP_H

#include "platform/driver.h"
#include "platform/linux/linux_platform.h"
#include "platform/linux/linux_record.h"

#define LINUX_LOOP_WAIT_MAX_MS 1000 /* epoll does not count suspended time; boot time does */
#define LINUX_LOOP_BLOCKED_MS  5    /* try again after that even if nothing became writable */
#define LINUX_LOOP_SHUTDOWN_S  10U  /* an orderly end that takes longer is cut short */

/* How it ended. */
struct linux_loop_end {
    int exit_code;
    struct view reason; /* one line for the operator; static text */
};

/* Runs until the gateway asks to end. A second signal, or an orderly end that takes longer than
 * LINUX_LOOP_SHUTDOWN_S, ends it with 1. `record` may be NULL. */
MUST_USE struct linux_loop_end
linux_loop_run(struct driver *driver, struct linux_platform *platform, struct linux_record *record);

#endif /* LINUX_LOOP_H */
