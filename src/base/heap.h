/* heap: an indexed binary min-heap of deadlines, one per record, for O(log n) timers.
 *
 * Record i has at most one deadline. Equal deadlines leave in order of record index, so the order
 * never depends on history. Memory: two arrays of `capacity` u32 and one of instants, by the
 * caller.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/time.h"

#define HEAP_NONE UINT32_MAX

struct heap {
    uint32_t *order;    /* heap position -> record */
    uint32_t *position; /* record -> heap position + 1, 0 = absent: zeroed memory is empty */
    struct instant *at; /* record -> deadline, valid while present */
    uint32_t count;
    uint32_t capacity;
};

/* Uses the three arrays of `capacity` entries; `position` must be zeroed. */
void heap_init(struct heap *heap, uint32_t *order, uint32_t *position, struct instant *at,
               uint32_t capacity);
/* Sets or moves the deadline of `record`; TIME_NEVER removes it. */
void heap_set(struct heap *heap, uint32_t record, struct instant at);
/* Returns when `record` is due; TIME_NEVER when it is not in the heap. */
MUST_USE struct instant heap_at(const struct heap *heap, uint32_t record);
/* Returns the earliest deadline, TIME_NEVER when empty. */
MUST_USE struct instant heap_next(const struct heap *heap);
/* Removes and returns the record with the earliest deadline if it is due at `now`, else HEAP_NONE.
 */
MUST_USE uint32_t heap_pop_due(struct heap *heap, struct instant now);

#endif /* BASE_HEAP_H */
