/* policy_rate: at most so many events in each second of boot time. Zeroed memory is unused. */
#ifndef POLICY_RATE_H
#define POLICY_RATE_H

#include "base/time.h"

struct policy_rate {
    uint64_t second; /* whole seconds of boot time */
    uint32_t count;
};

/* Counts one event at `now`; false when `limit` events of this second have passed already. */
static inline bool policy_rate_allow(struct policy_rate *rate, struct instant now, uint32_t limit)
{
    uint64_t second = now.ns / NS_PER_S;
    if (rate->second != second) {
        *rate = (struct policy_rate){second, 0};
    }
    if (rate->count >= limit) {
        return false;
    }
    rate->count++;
    return true;
}

#endif /* POLICY_RATE_H */
