/* sim_malloc: an allocator that asks first. To be included once, by a program that defines
 * malloc_refuses(): it stands in for the C library's, also for the shared libraries. */
#ifndef SIM_MALLOC_H
#define SIM_MALLOC_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_REAL(name) __interceptor_##name
#endif
#endif
#ifndef SIM_REAL
#define SIM_REAL(name) __libc_##name
#endif

/* True: this allocation finds no memory. */
bool malloc_refuses(size_t size);

void *SIM_REAL(malloc)(size_t size);
void *SIM_REAL(calloc)(size_t count, size_t size);
void *SIM_REAL(realloc)(void *old, size_t size);

void *malloc(size_t size)
{
    return malloc_refuses(size) ? NULL : SIM_REAL(malloc)(size);
}

void *calloc(size_t nmemb, size_t size)
{
    return malloc_refuses(nmemb * size) ? NULL : SIM_REAL(calloc)(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
    return malloc_refuses(size) ? NULL : SIM_REAL(realloc)(ptr, size);
}

#endif /* SIM_MALLOC_H */
