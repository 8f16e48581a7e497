#include "base/arena.h"

#include "base/assert.h"

void *arena_take(struct arena *arena, size_t count, size_t size)
{
    ASSERT(size == 0 || count <= (SIZE_MAX / 2 - ARENA_ALIGN) / size);
    size_t at = arena->used;
    size_t bytes = (count * size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    ASSERT(bytes <= SIZE_MAX / 2 - at);
    arena->used = at + bytes;
    return arena->base == NULL ? NULL : arena->base + at;
}
