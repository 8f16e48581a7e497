/* map: fixed-capacity hash index from a hash to the caller's record index.
 *
 * The map stores pairs of half a hash and a record index only; the caller compares keys. Linear
 * probing with backward-shift deletion, so there are no tombstones. Hashes must come from a keyed
 * function (base/siphash.h) whenever a peer can choose the key. Memory: the caller gives an array
 * of map_slots_for(capacity) slots, zeroed; nothing is allocated.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/bytes.h"
#include "base/fetch.h"

#define MAP_NONE UINT32_MAX

struct map_slot {
    uint32_t hash;           /* its lower half */
    uint32_t value_plus_one; /* 0 = empty, so that zeroed memory is an empty map */
};

struct map {
    struct map_slot *slots;
    uint32_t mask;
    uint32_t count;
    uint32_t capacity;
};

/* Returns how many slots a map of `capacity` records needs (a power of two, load <= 0.7). */
uint32_t map_slots_for(uint32_t capacity);

/* Uses `slots` (map_slots_for(capacity) zeroed entries) until the owner drops the map. */
void map_init(struct map *map, struct map_slot *slots, uint32_t capacity);

/* Adds a pair. False when `capacity` pairs are stored. Does not look for duplicates. */
MUST_USE bool map_insert(struct map *map, uint64_t hash, uint32_t value);

/* Walks the candidates for `hash`: start with *cursor = 0; returns record indices whose hash has
 * the same lower half, then MAP_NONE. The map must not change between calls. */
MUST_USE uint32_t map_next(const struct map *map, uint64_t hash, uint32_t *cursor);

/* Prefetches where `hash` begins: for several look-ups in a row. */
static inline void map_fetch(const struct map *map, uint64_t hash)
{
    fetch_later(&map->slots[(uint32_t)hash & map->mask]);
}

/* Removes the pair; false when it is not there. */
bool map_remove(struct map *map, uint64_t hash, uint32_t value);

#endif /* BASE_MAP_H */
