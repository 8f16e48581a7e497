#include "base/blocks.h"

#include <string.h>

#include "base/assert.h"

static const size_t class_sizes[BLOCKS_CLASSES] = {BLOCKS_SIZE_0, BLOCKS_SIZE_1, BLOCKS_SIZE_2,
                                                   BLOCKS_SIZE_3, BLOCKS_SIZE_MAX};

static uint32_t class_of(size_t size)
{
    ASSERT(size > 0);
    ASSERT(size <= BLOCKS_SIZE_MAX);
    uint32_t class = 0;
    while (class_sizes[class] < size) {
        class ++;
    }
    return class;
}

void blocks_init(struct blocks *blocks, struct arena *arena, const struct blocks_counts *counts)
{
    memset(blocks, 0, sizeof(*blocks));
    for (uint32_t i = 0; i < BLOCKS_CLASSES; i++) {
        blocks->classes[i].count = counts->of[i];
        blocks->classes[i].memory = arena_take(arena, counts->of[i], class_sizes[i]);
    }
}

static uint8_t *block_at(const struct blocks *blocks, uint32_t class, uint32_t index)
{
    return blocks->classes[class].memory + index * class_sizes[class];
}

static uint32_t index_of(const struct blocks *blocks, uint32_t class, const void *block)
{
    size_t offset = (size_t)((const uint8_t *)block - blocks->classes[class].memory);
    ASSERT(offset % class_sizes[class] == 0);
    ASSERT(offset / class_sizes[class] < blocks->classes[class].fresh);
    return (uint32_t)(offset / class_sizes[class]);
}

static void *take(struct blocks *blocks, size_t size)
{
    uint32_t class = class_of(size);
    struct blocks_class *c = &blocks->classes[class];
    uint32_t index = c->free;
    if (index != 0) {
        index--;
        memcpy(&c->free, block_at(blocks, class, index), sizeof(c->free));
    } else {
        ASSERT(c->fresh < c->count);
        index = c->fresh++;
    }
    c->used++;
    return block_at(blocks, class, index);
}

static void give(struct blocks *blocks, void *block, size_t size)
{
    uint32_t class = class_of(size);
    struct blocks_class *c = &blocks->classes[class];
    uint32_t index = index_of(blocks, class, block);
    ASSERT(c->used > 0);
    memcpy(block, &c->free, sizeof(c->free));
    c->free = index + 1;
    c->used--;
}

void *blocks_resize(struct blocks *blocks, void *list, size_t from, size_t to)
{
    ASSERT((list == NULL) == (from == 0));
    if (from > 0 && to > 0 && class_of(from) == class_of(to)) {
        return list;
    }
    void *moved = to > 0 ? take(blocks, to) : NULL;
    if (from > 0 && to > 0) {
        memcpy(moved, list, from < to ? from : to);
    }
    if (from > 0) {
        give(blocks, list, from);
    }
    return moved;
}

void blocks_count(const struct blocks *blocks, const void *list, size_t size,
                  struct blocks_counts *counts)
{
    ASSERT((list == NULL) == (size == 0));
    if (size > 0) {
        uint32_t class = class_of(size);
        (void)index_of(blocks, class, list);
        counts->of[class]++;
    }
}

void blocks_check(const struct blocks *blocks, const struct blocks_counts *used)
{
    for (uint32_t i = 0; i < BLOCKS_CLASSES; i++) {
        const struct blocks_class *c = &blocks->classes[i];
        uint32_t free = 0;
        uint32_t next = c->free;
        while (next != 0) {
            ASSERT(next <= c->fresh);
            ASSERT(free < c->fresh);
            free++;
            memcpy(&next, block_at(blocks, i, next - 1), sizeof(next));
        }
        ASSERT(c->used == used->of[i]);
        ASSERT(c->used + free == c->fresh);
        ASSERT(c->fresh <= c->count);
    }
}
