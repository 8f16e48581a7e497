/* fetch: bring memory near before it is needed, for many packets at once.
 *
 * Two ways, for two kinds of loops. A processor drops prefetches while some 20 misses are under way
 * (Zen 4: half of 64 in a row), so that a loop that does nothing else loads instead: loads wait for
 * their turn, and overlap while none depends on another. A loop that also computes would have few
 * loads under way at a time, each holding up what comes after it; there a prefetch is right, and
 * what is computed keeps them far enough apart.
 */
#ifndef BASE_FETCH_H
#define BASE_FETCH_H

#include <stdint.h>

/* Loads from the cache line of `at`, which must be readable: for loops that do only that. */
static inline void fetch_line(const void *at)
{
    (void)*(const volatile uint8_t *)at;
}

/* Prefetches the line of `at`, whatever that is: for loops that compute where. */
static inline void fetch_later(const void *at)
{
    __builtin_prefetch(at);
}

#endif /* BASE_FETCH_H */
