/* policy_pool: which records of a fixed array are in use.
 *
 * Hands out record indices: one that was given back, else the next untouched one, so that memory is
 * mapped only as it is used. Zeroed memory is the empty pool.
 */
#ifndef POLICY_POOL_H
#define POLICY_POOL_H

#include "base/arena.h"

#define POLICY_NONE UINT32_MAX

struct policy_pool {
    uint32_t *next; /* free record -> next free record + 1; 0 ends the list */
    uint32_t free;  /* first free record + 1 */
    uint32_t fresh; /* records from here on were never used */
    uint32_t used;
    uint32_t capacity;
};

void policy_pool_init(struct policy_pool *pool, struct arena *arena, uint32_t capacity);
/* Returns an index, POLICY_NONE when all are in use. */
MUST_USE uint32_t policy_pool_take(struct policy_pool *pool);
/* Asserts: at least one record is in use. */
void policy_pool_give(struct policy_pool *pool, uint32_t index);

#endif /* POLICY_POOL_H */
