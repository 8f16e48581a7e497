#include "policy/policy_pool.h"

#include "base/assert.h"

void policy_pool_init(struct policy_pool *pool, struct arena *arena, uint32_t capacity)
{
    *pool = (struct policy_pool){.capacity = capacity};
    pool->next = arena_take(arena, capacity, sizeof(uint32_t));
}

uint32_t policy_pool_take(struct policy_pool *pool)
{
    uint32_t index = pool->fresh;
    if (pool->free != 0) {
        index = pool->free - 1;
        pool->free = pool->next[index];
    } else if (pool->fresh < pool->capacity) {
        pool->fresh++;
    } else {
        return POLICY_NONE;
    }
    pool->used++;
    return index;
}

void policy_pool_give(struct policy_pool *pool, uint32_t index)
{
    ASSERT(pool->used > 0);
    ASSERT(index < pool->fresh);
    pool->next[index] = pool->free;
    pool->free = index + 1;
    pool->used--;
}
