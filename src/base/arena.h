/* arena: hands out parts of one memory area at start-up; nothing is ever given back.
 *
 * With `base` NULL it only measures, so that one function both computes a size and lays memory out.
 * The area must be zeroed (fresh anonymous pages are) and aligned to ARENA_ALIGN.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/bytes.h"

#define ARENA_ALIGN 64U

struct arena {
    uint8_t *base; /* NULL: measure only */
    size_t used;
};

/* Returns room for `count` objects of `size` bytes, aligned to ARENA_ALIGN; NULL when measuring. */
void *arena_take(struct arena *arena, size_t count, size_t size);

#endif /* BASE_ARENA_H */
