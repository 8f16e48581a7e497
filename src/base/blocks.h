/* blocks: memory for many lists of which most are short.
 *
 * A list lives in one block of the smallest class that holds it and moves to another class as it
 * grows and shrinks, so that it stays contiguous and what many owners use lies densely. Which class
 * follows from the list's size alone; an empty list has no block. Whoever sets the blocks up counts
 * how many lists can be in each class at once, so taking a block never fails.
 * Memory: laid out in an arena, handed out in the order last given back, first taken, else the next
 * untouched one, so that pages are mapped only as they are used.
 */
#ifndef BASE_BLOCKS_H
#define BASE_BLOCKS_H

#include "base/arena.h"
#include "base/attr.h"

#define BLOCKS_CLASSES  5U
#define BLOCKS_SIZE_0   448U
#define BLOCKS_SIZE_1   896U
#define BLOCKS_SIZE_2   1792U
#define BLOCKS_SIZE_3   3584U
#define BLOCKS_SIZE_MAX 17600U /* bytes; the largest list */

/* Blocks of one size. */
struct blocks_class {
    uint8_t *memory;
    uint32_t count;
    uint32_t fresh; /* blocks from here on were never used */
    uint32_t free;  /* first free block + 1; each begins with the number of the next one */
    uint32_t used;
};

struct blocks {
    struct blocks_class classes[BLOCKS_CLASSES];
};

/* How many blocks of each class there are or are in use. */
struct blocks_counts {
    uint32_t of[BLOCKS_CLASSES];
};

/* Lays the memory out; with a measuring arena only counts it. */
void blocks_init(struct blocks *blocks, struct arena *arena, const struct blocks_counts *counts);
/* Changes the size in bytes of a list from `from` to `to`, either may be 0, and returns where it is
 * now: NULL when it is empty. What both sizes have in common is kept. Asserts: `list` is what the
 * last call for this list returned; to <= BLOCKS_SIZE_MAX; a block is left. */
MUST_USE void *blocks_resize(struct blocks *blocks, void *list, size_t from, size_t to);
/* Adds the block of a list of this size to `counts`. Asserts that it is one that was taken. */
void blocks_count(const struct blocks *blocks, const void *list, size_t size,
                  struct blocks_counts *counts);
/* Asserts that exactly these blocks are in use and all others are free. For tests. */
void blocks_check(const struct blocks *blocks, const struct blocks_counts *used);

#endif /* BASE_BLOCKS_H */
