/* linux_sandbox: gives up what the running gateway does not need.
 *
 * After the start only these are left: the capability NET_ADMIN (and NET_BIND_SERVICE where the
 * health endpoint has a low port), files for reading, sockets of IPv4, IPv6 and netlink (a local
 * socket that is open already stays usable), and the system calls of the loop and its libraries.
 * Everything else answers EPERM: a call that a newer C library makes then fails in its place
 * instead of ending the process. Source: design section 5; spec/dependencies.md section 9.
 */
#ifndef LINUX_SANDBOX_H
#define LINUX_SANDBOX_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"

struct linux_sandbox_options {
    bool bind_low_port; /* keeps NET_BIND_SERVICE */
};

/* From here on a crash leaves no core dump, neither in a file nor in a pipe, and only root may
 * trace the process or read its memory, which is full of keys. ERR_PERMISSION. */
MUST_USE enum err linux_sandbox_forbid_dumps(void);

/* Drops capabilities and installs the filter; cannot be undone. ERR_UNSUPPORTED: the kernel has no
 * seccomp filters; ERR_PERMISSION, ERR_MEMORY. What was done before a failure stays done. */
MUST_USE enum err linux_sandbox_enter(const struct linux_sandbox_options *options);

#endif /* LINUX_SANDBOX_H */
