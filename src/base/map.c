#include "base/map.h"

#include "base/assert.h"

uint32_t map_slots_for(uint32_t capacity)
{
    uint32_t slots = 8;
    ASSERT(capacity <= UINT32_C(1) << 30);
    while ((uint64_t)slots * 7 < (uint64_t)capacity * 10) {
        slots *= 2;
    }
    return slots;
}

void map_init(struct map *map, struct map_slot *slots, uint32_t capacity)
{
    map->slots = slots;
    map->mask = map_slots_for(capacity) - 1;
    map->count = 0;
    map->capacity = capacity;
}

bool map_insert(struct map *map, uint64_t hash, uint32_t value)
{
    ASSERT(value < MAP_NONE);
    if (map->count == map->capacity) {
        return false;
    }
    uint32_t at = (uint32_t)hash & map->mask;
    while (map->slots[at].value_plus_one != 0) {
        at = (at + 1) & map->mask;
    }
    map->slots[at] = (struct map_slot){(uint32_t)hash, value + 1};
    map->count++;
    return true;
}

uint32_t map_next(const struct map *map, uint64_t hash, uint32_t *cursor)
{
    while (*cursor <= map->mask) {
        const struct map_slot *slot = &map->slots[((uint32_t)hash + *cursor) & map->mask];
        (*cursor)++;
        if (slot->value_plus_one == 0) {
            *cursor = map->mask + 1;
            return MAP_NONE;
        }
        if (slot->hash == (uint32_t)hash) {
            return slot->value_plus_one - 1;
        }
    }
    return MAP_NONE;
}

bool map_remove(struct map *map, uint64_t hash, uint32_t value)
{
    uint32_t at = (uint32_t)hash & map->mask;
    while (map->slots[at].hash != (uint32_t)hash || map->slots[at].value_plus_one != value + 1) {
        if (map->slots[at].value_plus_one == 0) {
            return false;
        }
        at = (at + 1) & map->mask;
    }
    /* Backward shift: pull later entries of the run into the hole while that keeps them reachable.
     */
    uint32_t hole = at;
    for (uint32_t next = (hole + 1) & map->mask; map->slots[next].value_plus_one != 0;
         next = (next + 1) & map->mask) {
        uint32_t home = map->slots[next].hash & map->mask;
        if (((next - home) & map->mask) >= ((next - hole) & map->mask)) {
            map->slots[hole] = map->slots[next];
            hole = next;
        }
    }
    map->slots[hole] = (struct map_slot){0, 0};
    map->count--;
    return true;
}
