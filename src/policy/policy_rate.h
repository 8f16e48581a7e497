/* policy_rate: at most so many events in each second of boot time. Zeroed memory is unused. */
#ifndef POLICY_RATE_H
#define POLICY_RATE_H

#include "base/time.h"

struct policy_rate {
    uint64_t second; /* whole seconds of boot time */
    uint32_t count;
};

/* Counts what costs `cost` at `now`; false when this second's `limit` does not have it any more. */
static inline bool policy_rate_take(struct policy_rate *rate, struct instant now, uint32_t limit,
                                    uint32_t cost)
{
    uint64_t second = now.ns / NS_PER_S;
    if (rate->second != second) {
        *rate = (struct policy_rate){second, 0};
    }
    if (rate->count > limit || cost > limit - rate->count) {
        return false;
    }
    rate->count += cost;
    return true;
}

/* Counts one event at `now`; false when `limit` events of this second have passed already. */
static inline bool policy_rate_allow(struct policy_rate *rate, struct instant now, uint32_t limit)
{
    return policy_rate_take(rate, now, limit, 1);
}

#endif /* POLICY_RATE_H */
