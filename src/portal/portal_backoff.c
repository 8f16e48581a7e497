#include "portal/portal_backoff.h"

#define US_PER_MS UINT64_C(1000)

void portal_backoff_init(struct portal_backoff *backoff, uint64_t partition_max_s)
{
    uint64_t limit_s = partition_max_s == 0 ? PORTAL_PARTITION_DEFAULT_S : partition_max_s;
    *backoff = (struct portal_backoff){
        .partition_max_ms = limit_s > UINT64_MAX / 1000 ? UINT64_MAX : limit_s * 1000,
        .base_us = PORTAL_BACKOFF_BASE_MS * US_PER_MS,
        .conflict_base_us = PORTAL_CONFLICT_BASE_MS * US_PER_MS,
    };
}

void portal_backoff_joined(struct portal_backoff *backoff)
{
    backoff->joined_once = true;
    backoff->total_ms = 0;
    backoff->base_us = PORTAL_BACKOFF_BASE_MS * US_PER_MS;
    backoff->conflict_base_us = PORTAL_CONFLICT_BASE_MS * US_PER_MS;
    backoff->conflict_ms = 0;
}

static uint64_t jittered(uint64_t base_us, struct rng *rng)
{
    return base_us + rng_below(rng, (uint32_t)base_us);
}

static uint64_t longer(uint64_t base_us, uint64_t cap_ms)
{
    uint64_t cap_us = cap_ms * US_PER_MS;
    return base_us * 3 / 2 < cap_us ? base_us * 3 / 2 : cap_us;
}

bool portal_backoff_next(struct portal_backoff *backoff, struct rng *rng, struct duration *out)
{
    uint64_t delay_us = PORTAL_FIRST_DELAY_MS * US_PER_MS;
    uint64_t limit_ms = PORTAL_FIRST_TOTAL_MS;
    if (backoff->joined_once) {
        limit_ms = backoff->partition_max_ms;
        delay_us = jittered(backoff->base_us, rng);
        backoff->base_us = longer(backoff->base_us, PORTAL_BACKOFF_CAP_MS);
    }
    backoff->total_ms += delay_us / US_PER_MS;
    *out = (struct duration){delay_us * NS_PER_US};
    return backoff->total_ms <= limit_ms;
}

struct duration portal_backoff_conflict(struct portal_backoff *backoff, struct rng *rng)
{
    if (backoff->conflict_ms >= PORTAL_CONFLICT_OWN_MS) {
        backoff->conflict_base_us = longer(backoff->conflict_base_us, PORTAL_CONFLICT_CAP_MS);
    }
    uint64_t delay_us = jittered(backoff->conflict_base_us, rng);
    backoff->conflict_ms += delay_us / US_PER_MS;
    return (struct duration){delay_us * NS_PER_US};
}

struct duration portal_backoff_retry_after(uint64_t seconds)
{
    return DURATION_S(seconds < PORTAL_RETRY_AFTER_MAX_S ? seconds : PORTAL_RETRY_AFTER_MAX_S);
}
