/* time: instants, durations and wake-ups. The only place that does arithmetic on time.
 *
 * Time enters the core as a parameter; nothing in src/ reads a clock. An instant counts nanoseconds
 * of boot time (CLOCK_BOOTTIME: it goes on through a suspend). A clock_pair adds the wall clock,
 * which may jump in both directions.
 */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/attr.h"

struct instant {
    uint64_t ns;
};

struct duration {
    uint64_t ns;
};

/* Both times of one input. `unix_ns` counts from 1970-01-01T00:00:00Z. */
struct clock_pair {
    struct instant boot;
    uint64_t unix_ns;
};

/* When to call again, and why; the reason is static text and is traced. */
struct wake {
    struct instant at;
    const char *why;
};

#define TIME_NEVER     ((struct instant){UINT64_MAX})
#define WAKE_NEVER     ((struct wake){TIME_NEVER, "never"})
#define DURATION_ZERO  ((struct duration){0})
#define NS_PER_US      UINT64_C(1000)
#define NS_PER_MS      UINT64_C(1000000)
#define NS_PER_S       UINT64_C(1000000000)
#define DURATION_MS(n) ((struct duration){(uint64_t)(n)*NS_PER_MS})
#define DURATION_S(n)  ((struct duration){(uint64_t)(n)*NS_PER_S})

/* Returns `at` + `d`, saturating at TIME_NEVER. */
static inline struct instant instant_add(struct instant at, struct duration d)
{
    return (struct instant){at.ns > UINT64_MAX - d.ns ? UINT64_MAX : at.ns + d.ns};
}

/* Returns `at` - `d`, saturating at zero. */
static inline struct instant instant_sub(struct instant at, struct duration d)
{
    return (struct instant){at.ns < d.ns ? 0 : at.ns - d.ns};
}

/* Returns the time from `earlier` to `later`. Asserts the order. */
static inline struct duration instant_since(struct instant later, struct instant earlier)
{
    ASSERT(later.ns >= earlier.ns);
    return (struct duration){later.ns - earlier.ns};
}

static inline bool instant_before(struct instant a, struct instant b)
{
    return a.ns < b.ns;
}

/* True when the deadline `at` has been reached at `now` (now >= at). */
static inline bool instant_reached(struct instant now, struct instant at)
{
    return now.ns >= at.ns;
}

/* True for what a clock can read: the kernel counts nanoseconds in a signed word, which lasts for
 * 292 years. A reading plus any wait of this program stays below TIME_NEVER. */
static inline bool instant_is_reading(struct instant at)
{
    return at.ns <= INT64_MAX;
}

static inline bool instant_is_never(struct instant at)
{
    return at.ns == UINT64_MAX;
}

static inline struct instant instant_min(struct instant a, struct instant b)
{
    return a.ns <= b.ns ? a : b;
}

static inline struct instant instant_max(struct instant a, struct instant b)
{
    return a.ns >= b.ns ? a : b;
}

static inline struct duration duration_min(struct duration a, struct duration b)
{
    return a.ns <= b.ns ? a : b;
}

/* Returns the earlier wake-up; the first of equals. */
static inline struct wake wake_min(struct wake a, struct wake b)
{
    return b.at.ns < a.at.ns ? b : a;
}

#endif /* BASE_TIME_H */
