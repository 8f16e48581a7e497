/* linux_tls: TLS client over a non-blocking socket; plaintext on one side, the socket on the other.
 *
 * TLS 1.2 (1.3 where the library has it), certificates verified against the system's roots or
 * SSL_CERT_FILE, the name against the certificate. An IP literal is compared with the certificate's
 * IP addresses here, because the library never matches those (spec/dependencies.md section 4).
 */
#ifndef LINUX_TLS_H
#define LINUX_TLS_H

#include "base/bytes.h"
#include "base/err.h"

struct linux_tls_roots;
struct linux_tls;

/* The file that roots are read from: `file`, or the system's when NULL. */
const char *linux_tls_roots_file(const char *file);
/* Loads the roots of that file. NULL: nothing could be read, and *why is ERR_NOT_FOUND,
 * ERR_PERMISSION, ERR_SYNTAX (no certificate is in it), ERR_MEMORY or another of the system's. */
struct linux_tls_roots *linux_tls_roots_load(const char *file, enum err *why);
/* False once another file stands there, or it has changed. One system call. */
MUST_USE bool linux_tls_roots_are_current(const struct linux_tls_roots *roots);
/* Gives them up; clients that were created with them go on with them. */
void linux_tls_roots_free(struct linux_tls_roots *roots);

/* A client over `fd`, which stays the caller's. `name` is a host name or an IP literal, copied.
 * NULL when memory is short. */
struct linux_tls *linux_tls_create(struct linux_tls_roots *roots, int fd, struct view name);
void linux_tls_destroy(struct linux_tls *tls);

/* Goes on with the handshake. ERR_WOULD_BLOCK: call again when the socket is ready
 * (linux_tls_wants_write() says for what); ERR_TLS, ERR_TLS_CERTIFICATE (no authority that is
 * trusted vouches for it), ERR_TLS_DATE, ERR_TLS_NAME, ERR_CLOSED. */
MUST_USE enum err linux_tls_handshake(struct linux_tls *tls);
MUST_USE bool linux_tls_wants_write(const struct linux_tls *tls);
/* Reads plaintext. ERR_CLOSED: an orderly end; ERR_TLS: anything else. */
MUST_USE enum err linux_tls_read(struct linux_tls *tls, struct span out, size_t *got);
/* Takes a prefix of `bytes`. After ERR_WOULD_BLOCK the same bytes must be offered again. */
MUST_USE enum err linux_tls_write(struct linux_tls *tls, struct view bytes, size_t *taken);
/* Sends close_notify, best effort. */
void linux_tls_close(struct linux_tls *tls);

#endif /* LINUX_TLS_H */
