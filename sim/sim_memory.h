/* sim_memory: the memory of a simulated gateway runs short.
 *
 * Allocations that the core and its libraries make inside sim_memory_enter() and sim_memory_leave()
 * are asked about here, by the allocator of the program (sim_malloc.h); all others, so those of the
 * world, never fail. Without that allocator nothing ever fails.
 * A shortage lasts until it is ended. Which allocations it refuses follows from their sizes and
 * their order in the gateway alone, so a run is the same in every build with the same libraries.
 * With libraries that allocate otherwise some kinds may refuse others; what is promised stays.
 * Memory: one struct a gateway, the owner's. One thread. Source: spec/simulation.md section 7.
 */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stddef.h>

#include "base/bytes.h"

enum sim_memory_kind {
    SIM_MEMORY_ALL,    /* every allocation is refused */
    SIM_MEMORY_BEHIND, /* those behind the first `number` */
    SIM_MEMORY_EACH,   /* each `number`-th */
    SIM_MEMORY_LARGE,  /* those of `number` bytes and more */
};

struct sim_memory {
    bool is_short;
    enum sim_memory_kind kind;
    uint32_t number; /* at least 1 */
    uint64_t asked;  /* since the shortage began */
    uint64_t refused;
};

void sim_memory_begin(struct sim_memory *memory, enum sim_memory_kind kind, uint32_t number);
void sim_memory_end(struct sim_memory *memory);

/* From here on allocations are this gateway's. Asserts that they are nobody's. */
void sim_memory_enter(struct sim_memory *memory);
/* From here on they are the world's. Returns whose they were, for sim_memory_return(); NULL: its.
 */
struct sim_memory *sim_memory_leave(void);
void sim_memory_return(struct sim_memory *memory);

/* For the allocator: true when this allocation finds no memory. */
MUST_USE bool sim_memory_refuses(size_t size);

#endif /* SIM_MEMORY_H */
