/* Counts allocations: malloc() and its kin of the whole process, libraries included. */
#include <malloc.h>
#include <stdlib.h>

#include "tests/bench/bench.h"

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *at, size_t size);

static uint64_t allocations;

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *at, size_t size)
{
    allocations++;
    return __libc_realloc(at, size);
}

uint64_t bench_allocations(void)
{
    return allocations;
}
