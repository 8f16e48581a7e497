#include "platform/linux/linux_addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

#include "base/assert.h"

socklen_t linux_addr_to(const struct sock_addr *addr, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (addr->ip.family == IP_V4) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
        memcpy(&v4.sin_addr, addr->ip.bytes, 4);
        memcpy(out, &v4, sizeof(v4));
        return sizeof(v4);
    }
    ASSERT(addr->ip.family == IP_V6);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};
    memcpy(&v6.sin6_addr, addr->ip.bytes, 16);
    memcpy(out, &v6, sizeof(v6));
    return sizeof(v6);
}

struct sock_addr linux_addr_from(const struct sockaddr_storage *addr)
{
    if (addr->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, addr, sizeof(v4));
        return sock_addr_of(ip_from_bytes(IP_V4, (const uint8_t *)&v4.sin_addr),
                            ntohs(v4.sin_port));
    }
    if (addr->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, addr, sizeof(v6));
        return sock_addr_of(ip_from_bytes(IP_V6, (const uint8_t *)&v6.sin6_addr),
                            ntohs(v6.sin6_port));
    }
    return (struct sock_addr){0};
}

enum err linux_err(int error)
{
    switch (error) {
    case 0:
        return ERR_NONE;
    case EAGAIN:
        return ERR_WOULD_BLOCK;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return ERR_UNREACHABLE;
    case EMSGSIZE:
        return ERR_TOO_BIG;
    case EPERM:
    case EACCES:
    case EROFS:
        return ERR_PERMISSION;
    case ECONNREFUSED:
        return ERR_REFUSED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECONNRESET:
    case EPIPE:
        return ERR_CLOSED;
    case ENOMEM:
        return ERR_MEMORY;
    case EMFILE:
    case ENFILE:
        return ERR_DESCRIPTORS;
    case ENOSPC:
    case EDQUOT:
        return ERR_DISK;
    default:
        return ERR_IO;
    }
}

size_t linux_addr_own(struct ip_addr *out, size_t max)
{
    struct ifaddrs *list = NULL;
    size_t count = 0;
    if (getifaddrs(&list) != 0) {
        return 0;
    }
    for (const struct ifaddrs *a = list; a != NULL && count < max; a = a->ifa_next) {
        int family = a->ifa_addr == NULL ? AF_UNSPEC : a->ifa_addr->sa_family;
        struct sockaddr_storage storage = {0};
        if ((a->ifa_flags & IFF_UP) == 0 || (family != AF_INET && family != AF_INET6)) {
            continue;
        }
        memcpy(&storage, a->ifa_addr,
               family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        out[count++] = linux_addr_from(&storage).ip;
    }
    freeifaddrs(list);
    return count;
}
