/* sim_malloc: an allocator that asks sim_memory first. To be included once, by a program: it stands
 * in for the C library's, also for the shared libraries. */
#ifndef SIM_MALLOC_H
#define SIM_MALLOC_H

#include <stdlib.h>

#include "sim/sim_memory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_REAL(name) __interceptor_##name
#endif
#endif
#ifndef SIM_REAL
#define SIM_REAL(name) __libc_##name
#endif

void *SIM_REAL(malloc)(size_t size);
void *SIM_REAL(calloc)(size_t count, size_t size);
void *SIM_REAL(realloc)(void *old, size_t size);

void *malloc(size_t size)
{
    return sim_memory_refuses(size) ? NULL : SIM_REAL(malloc)(size);
}

void *calloc(size_t nmemb, size_t size)
{
    return sim_memory_refuses(nmemb * size) ? NULL : SIM_REAL(calloc)(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
    return sim_memory_refuses(size) ? NULL : SIM_REAL(realloc)(ptr, size);
}

#endif /* SIM_MALLOC_H */
