#include "base/heap.h"

void heap_init(struct heap *heap, uint32_t *order, uint32_t *position, struct instant *at,
               uint32_t capacity)
{
    *heap = (struct heap){order, position, at, 0, capacity};
}

static bool sooner(const struct heap *heap, uint32_t a, uint32_t b)
{
    return heap->at[a].ns != heap->at[b].ns ? heap->at[a].ns < heap->at[b].ns : a < b;
}

static void place(struct heap *heap, uint32_t slot, uint32_t record)
{
    heap->order[slot] = record;
    heap->position[record] = slot + 1;
}

static void sift_up(struct heap *heap, uint32_t slot)
{
    uint32_t record = heap->order[slot];
    while (slot > 0) {
        uint32_t parent = (slot - 1) / 2;
        if (!sooner(heap, record, heap->order[parent])) {
            break;
        }
        place(heap, slot, heap->order[parent]);
        slot = parent;
    }
    place(heap, slot, record);
}

static void sift_down(struct heap *heap, uint32_t slot)
{
    uint32_t record = heap->order[slot];
    for (;;) {
        uint32_t child = 2 * slot + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && sooner(heap, heap->order[child + 1], heap->order[child])) {
            child++;
        }
        if (!sooner(heap, heap->order[child], record)) {
            break;
        }
        place(heap, slot, heap->order[child]);
        slot = child;
    }
    place(heap, slot, record);
}

static void remove_record(struct heap *heap, uint32_t record)
{
    uint32_t slot = heap->position[record] - 1;
    heap->position[record] = 0;
    heap->count--;
    if (slot != heap->count) {
        uint32_t moved = heap->order[heap->count];
        place(heap, slot, moved);
        sift_up(heap, slot);
        sift_down(heap, heap->position[moved] - 1);
    }
}

void heap_set(struct heap *heap, uint32_t record, struct instant at)
{
    ASSERT(record < heap->capacity);
    bool present = heap->position[record] != 0;
    if (present && heap->at[record].ns == at.ns) {
        return;
    }
    if (present) {
        remove_record(heap, record);
    }
    if (!instant_is_never(at)) {
        heap->at[record] = at;
        heap->count++;
        place(heap, heap->count - 1, record);
        sift_up(heap, heap->count - 1);
    }
}

struct instant heap_at(const struct heap *heap, uint32_t record)
{
    ASSERT(record < heap->capacity);
    return heap->position[record] == 0 ? TIME_NEVER : heap->at[record];
}

struct instant heap_next(const struct heap *heap)
{
    return heap->count == 0 ? TIME_NEVER : heap->at[heap->order[0]];
}

uint32_t heap_pop_due(struct heap *heap, struct instant now)
{
    if (heap->count == 0 || !instant_reached(now, heap->at[heap->order[0]])) {
        return HEAP_NONE;
    }
    uint32_t record = heap->order[0];
    remove_record(heap, record);
    return record;
}
