/* dev_dns: a DNS stub on UDP port 53 for the applications of a client's host.
 *
 * Answers A and AAAA with what the owner's `resolve` gives; names that it does not know are
 * NXDOMAIN, other types are empty or NXDOMAIN.
 */
#ifndef DEV_DNS_H
#define DEV_DNS_H

#include "dns/dns_msg.h"
#include "sim/dev/dev_loop.h"

#define DEV_DNS_ADDRESSES_MAX 8U

struct dev_dns_answer {
    struct ip_addr addresses[DEV_DNS_ADDRESSES_MAX];
    uint32_t count; /* 0: nobody knows the name */
};

struct dev_dns {
    struct dev_watch watch;
    /* `name` is text without trailing dot; `type` DNS_TYPE_A or DNS_TYPE_AAAA. */
    void (*resolve)(void *self, const char *name, uint16_t type, struct dev_dns_answer *out);
    void *self;
};

/* Binds `local`, port 53. False: said on stderr. */
MUST_USE bool dev_dns_open(struct dev_loop *loop, struct dev_dns *dns, struct ip_addr local);

#endif /* DEV_DNS_H */
