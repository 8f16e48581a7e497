/* portal_backoff: when to try the portal again.
 *
 * Before the first successful join: a constant second, and the end when the delays would sum up to
 * more than 15 s, so that a supervisor sees a gateway that cannot start. Afterwards: base 500 ms,
 * times 1.5, at most 60 s, plus a jitter uniform in [0, base), and the end when the delays of one
 * partition would sum up to more than the configured time. A delay that the portal asks for
 * (Retry-After) replaces the computed one and counts towards no sum: the portal is alive.
 * A portal that has another connection of this gateway (409) is asked again for ever: it may be our
 * own earlier one, which is forgotten after 37 s, so base 1 s for the first 45 s; or that of a
 * second process, whose place is taken when it goes: then times 1.5, at most 8 s. Jitter as above.
 * Source: spec/portal.md section 10.1. Time: durations only; integers.
 */
#ifndef PORTAL_PORTAL_BACKOFF_H
#define PORTAL_PORTAL_BACKOFF_H

#include "base/time.h"
#include "crypto/rng.h"

#define PORTAL_FIRST_DELAY_MS      1000U  /* before the first join */
#define PORTAL_FIRST_TOTAL_MS      15000U /* sum of delays before the first join */
#define PORTAL_BACKOFF_BASE_MS     500U
#define PORTAL_BACKOFF_CAP_MS      60000U
#define PORTAL_CONFLICT_BASE_MS    1000U  /* the newer portal's limit is one login a second */
#define PORTAL_CONFLICT_OWN_MS     45000U /* delays before it must be another process */
#define PORTAL_CONFLICT_CAP_MS     8000U  /* so that a place is found free within 16 s */
#define PORTAL_RETRY_AFTER_MAX_S   3600U  /* a longer Retry-After is cut to this */
#define PORTAL_PARTITION_DEFAULT_S 86400U /* 24 h */

struct portal_backoff {
    uint64_t partition_max_ms;
    uint64_t total_ms;         /* delays since the last join */
    uint64_t base_us;          /* of the next delay */
    uint64_t conflict_base_us; /* of the next delay after a 409 */
    uint64_t conflict_ms;      /* delays after a 409 since the last join */
    bool joined_once;
};

void portal_backoff_init(struct portal_backoff *backoff, uint64_t partition_max_s);
/* A join succeeded: start over. */
void portal_backoff_joined(struct portal_backoff *backoff);
/* Draws the next delay. False: the budget is exhausted, give up. */
MUST_USE bool portal_backoff_next(struct portal_backoff *backoff, struct rng *rng,
                                  struct duration *out);
/* Draws the next delay after a 409. */
struct duration portal_backoff_conflict(struct portal_backoff *backoff, struct rng *rng);
/* The delay for a Retry-After of `seconds`. */
struct duration portal_backoff_retry_after(uint64_t seconds);

#endif /* PORTAL_PORTAL_BACKOFF_H */
