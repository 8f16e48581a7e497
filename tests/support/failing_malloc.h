/* failing_malloc: an allocator that fails on request. To be included once, by a test of its own: it
 * replaces the program's, and libraries find it before that of the system. */
#ifndef TESTS_FAILING_MALLOC_H
#define TESTS_FAILING_MALLOC_H

#include "sim/sim_malloc.h"

static bool armed;     /* cmocka runs one test after the other, in one thread */
static bool fails_on;  /* all allocations behind the first failing one fail, too */
static unsigned first; /* the number of the first that fails; from 1 */
static unsigned count; /* allocations while armed */

bool malloc_refuses(size_t size)
{
    (void)size;
    if (!armed) {
        return false;
    }
    count++;
    return fails_on ? count >= first : count == first;
}

static void arm(unsigned number, bool on)
{
    first = number;
    fails_on = on;
    count = 0;
    armed = true;
}

/* Ends the shortage; false when the run never came to the allocation that was to fail. */
static bool disarm(void)
{
    armed = false;
    return count >= first;
}

#endif /* TESTS_FAILING_MALLOC_H */
