/* dev_connect: from a portal URL to addresses, host and trusted roots. */
#ifndef DEV_CONNECT_H
#define DEV_CONNECT_H

#include "platform/linux/linux_tls.h"
#include "portal/portal_url.h"

struct dev_connect {
    struct portal_url url;
    struct sock_addr v4; /* family IP_NONE: none */
    struct sock_addr v6;
    struct linux_tls_roots *roots; /* NULL: plain */
    char host[PORTAL_HOST_SIZE_MAX + 1U];
};

/* Parses `url`, resolves its host (blocking) and loads the roots of SSL_CERT_FILE or the system.
 * False: said on stderr. */
MUST_USE bool dev_connect_prepare(struct dev_connect *connect, const char *command,
                                  const char *url);
void dev_connect_free(struct dev_connect *connect);

#endif /* DEV_CONNECT_H */
