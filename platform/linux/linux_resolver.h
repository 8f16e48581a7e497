/* linux_resolver: name lookups without blocking, c-ares on the epoll loop.
 *
 * A and AAAA look into the hosts file first, then ask the name servers of resolv.conf, with a TTL
 * per address; SRV and TXT yield the raw answer message. Each lookup ends within
 * LINUX_RESOLVER_LIMIT_S. A changed resolv.conf is noticed by the next lookup; those in flight
 * begin again with the new servers (spec/dependencies.md section 7).
 * Source: spec/portal.md section 8.4, spec/dataplane.md section 8.3, spec/dependencies.md section
 * 7. Memory: one allocation per lookup, at most the core's bound of lookups in flight.
 */
#ifndef LINUX_RESOLVER_H
#define LINUX_RESOLVER_H

#include "gateway/gateway_io.h"

#define LINUX_RESOLVER_LIMIT_S  10U   /* spec/portal.md section 8.4 */
#define LINUX_RESOLVER_TRY_MS   1500U /* first wait for a server; doubles */
#define LINUX_RESOLVER_TRIES    3U    /* per server */
#define LINUX_RESOLVER_NAME_MAX 255U  /* characters */

struct linux_resolver;

struct linux_resolver_options {
    int epoll;           /* borrowed */
    uint64_t tag;        /* upper 32 bits of epoll_data.u64; the lower are the socket */
    const char *servers; /* "a.b.c.d:port,..." instead of resolv.conf's; NULL normally. Borrowed. */
};

/* NULL when memory is short or the library refuses. */
struct linux_resolver *linux_resolver_create(const struct linux_resolver_options *options);
void linux_resolver_destroy(struct linux_resolver *resolver);

/* Starts a lookup; its answer comes from linux_resolver_answer(), possibly at once. ERR_SYNTAX for
 * a name that is too long, holds a zero or a byte that only \DDD can write. */
void linux_resolver_lookup(struct linux_resolver *resolver, const struct gateway_lookup *lookup,
                           struct instant now);
/* Passes readiness on: the lower 32 bits of epoll_data.u64 and the events. */
void linux_resolver_handle(struct linux_resolver *resolver, uint32_t data, uint32_t events);
/* Does what is due; call it when linux_resolver_timeout_ms() has passed. */
void linux_resolver_tick(struct linux_resolver *resolver, struct instant now);
/* Milliseconds until a tick is due, at most `max`. */
MUST_USE int linux_resolver_timeout_ms(const struct linux_resolver *resolver, int max);
/* Takes the next finished lookup; NULL: none. Valid until the next call. */
const struct gateway_lookup_answer *linux_resolver_answer(struct linux_resolver *resolver);
MUST_USE bool linux_resolver_has_answers(const struct linux_resolver *resolver);

#endif /* LINUX_RESOLVER_H */
