/* failing_malloc: an allocator that fails on request. To be included once, by a test of its own: it
 * replaces the program's, and libraries find it before that of the system. */
#ifndef TESTS_FAILING_MALLOC_H
#define TESTS_FAILING_MALLOC_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REAL(name) __interceptor_##name
#endif
#endif
#ifndef REAL
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *old, size_t size);

static bool armed;     /* cmocka runs one test after the other, in one thread */
static bool fails_on;  /* all allocations behind the first failing one fail, too */
static unsigned first; /* the number of the first that fails; from 1 */
static unsigned count; /* allocations while armed */

static bool fails(void)
{
    if (!armed) {
        return false;
    }
    count++;
    return fails_on ? count >= first : count == first;
}

void *malloc(size_t size)
{
    return fails() ? NULL : REAL(malloc)(size);
}

void *calloc(size_t nmemb, size_t size)
{
    return fails() ? NULL : REAL(calloc)(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
    return fails() ? NULL : REAL(realloc)(ptr, size);
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
