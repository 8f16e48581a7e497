/* dev_tls: TLS server and certificate authority of fzdev, from the library alone.
 *
 * The directory holds ca.pem (for SSL_CERT_FILE of gateways and clients), leaf.pem and leaf.key.
 * They are made once and used again, so that a portal that restarts is still trusted.
 * Source: RFC 5280 sections 4.2.1.6 (subject alternative names) and 4.2.1.9; spec/dependencies.md
 * section 4. Not for anything but tests: the authority's key is thrown away after use.
 */
#ifndef DEV_TLS_H
#define DEV_TLS_H

#include "base/addr.h"
#include "base/err.h"

#define DEV_TLS_SUBJECTS_MAX 8U

struct dev_tls_subjects {
    const char *names[DEV_TLS_SUBJECTS_MAX]; /* DNS names */
    uint32_t names_count;
    struct ip_addr ips[DEV_TLS_SUBJECTS_MAX];
    uint32_t ips_count;
};

struct dev_tls_server;
struct dev_tls;

/* Loads the directory's certificates, or makes them. NULL: something failed, said on stderr. */
struct dev_tls_server *dev_tls_server_new(const char *directory,
                                          const struct dev_tls_subjects *subjects);
void dev_tls_server_free(struct dev_tls_server *server);

/* The server's side of one connection over `fd`, which stays the caller's. NULL: no memory. The
 * functions below behave as those of platform/linux/linux_tls.h. */
struct dev_tls *dev_tls_create(struct dev_tls_server *server, int fd);
void dev_tls_destroy(struct dev_tls *tls);
MUST_USE enum err dev_tls_handshake(struct dev_tls *tls);
MUST_USE bool dev_tls_wants_write(const struct dev_tls *tls);
MUST_USE enum err dev_tls_read(struct dev_tls *tls, struct span out, size_t *got);
MUST_USE enum err dev_tls_write(struct dev_tls *tls, struct view bytes, size_t *taken);
void dev_tls_close(struct dev_tls *tls);

/* mbedTLS's f_rng over the system's generator. */
int dev_tls_draw(void *unused, unsigned char *out, size_t len);
/* Makes ca.pem, leaf.pem and leaf.key in `directory` (dev_tls_ca.c). False: said on stderr. */
MUST_USE bool dev_tls_make(const char *directory, const struct dev_tls_subjects *subjects);

#endif /* DEV_TLS_H */
