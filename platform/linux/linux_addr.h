/* linux_addr: socket addresses between our form and the system's. */
#ifndef LINUX_ADDR_H
#define LINUX_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/err.h"

/* Fills `out`; returns its size. Asserts: the family is IPv4 or IPv6. */
socklen_t linux_addr_to(const struct sock_addr *addr, struct sockaddr_storage *out);
/* IP_NONE for other families. IPv4-mapped IPv6 stays IPv6. */
struct sock_addr linux_addr_from(const struct sockaddr_storage *addr);
/* Writes the addresses of this host's interfaces that are up, at most `max`; returns how many. */
size_t linux_addr_own(struct ip_addr *out, size_t max);
/* Our code for an errno of a socket call. */
enum err linux_err(int error);

#endif /* LINUX_ADDR_H */
