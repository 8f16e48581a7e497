/* ice_alone: the memory of one ICE agent that shares it with no other. */
#ifndef TESTS_SUPPORT_ICE_ALONE_H
#define TESTS_SUPPORT_ICE_ALONE_H

#include <stdalign.h>

#include "ice/ice_agent.h"

struct ice_alone {
    alignas(ARENA_ALIGN) uint8_t bytes[ICE_MEMORY_SIZE(1)];
    struct ice_memory memory;
};

/* Makes the memory empty, whatever was in it. */
static inline struct ice_memory *ice_alone_start(struct ice_alone *alone)
{
    struct arena arena = {alone->bytes, 0};
    struct blocks_counts counts = ICE_BLOCKS(1);
    blocks_init(&alone->memory.blocks, &arena, &counts);
    ASSERT(arena.used == sizeof(alone->bytes));
    return &alone->memory;
}

#endif /* TESTS_SUPPORT_ICE_ALONE_H */
