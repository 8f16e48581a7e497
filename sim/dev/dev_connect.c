#include "sim/dev/dev_connect.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_args.h"

static bool resolve(struct dev_connect *connect, const char *command)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(connect->host, NULL, &hints, &list);
    if (failed != 0) {
        return dev_args_bad(command, gai_strerror(failed), connect->host);
    }
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        struct sockaddr_storage storage;
        memset(&storage, 0, sizeof storage);
        memcpy(&storage, a->ai_addr, a->ai_addrlen);
        struct sock_addr addr = linux_addr_from(&storage);
        addr.port = connect->url.port;
        struct sock_addr *slot = addr.ip.family == IP_V4 ? &connect->v4 : &connect->v6;
        if (slot->ip.family == IP_NONE) {
            *slot = addr;
        }
    }
    freeaddrinfo(list);
    return true;
}

bool dev_connect_prepare(struct dev_connect *connect, const char *command, const char *url)
{
    memset(connect, 0, sizeof *connect);
    enum err err = portal_url_parse(view_text(url), &connect->url);
    if (err != ERR_NONE) {
        return dev_args_bad(command, err_text(err), url);
    }
    struct view host = portal_url_host(&connect->url);
    memcpy(connect->host, host.at, host.len);
    if (connect->url.tls) {
        connect->roots = linux_tls_roots_load(getenv("SSL_CERT_FILE"), &err);
        if (connect->roots == NULL) {
            return dev_args_bad(command, err_text(err),
                                linux_tls_roots_file(getenv("SSL_CERT_FILE")));
        }
    }
    return resolve(connect, command);
}

void dev_connect_free(struct dev_connect *connect)
{
    linux_tls_roots_free(connect->roots);
}
