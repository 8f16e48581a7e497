/* Goal: map and heap agree with naive twins over long random sequences. */
#include "tests/support/support.h"

#include <string.h>

#include "base/heap.h"
#include "base/map.h"
#include "base/siphash.h"

#define RECORDS 64U

/* A small generator for tests of base, which may not use crypto/rng. */
static uint64_t next_random(uint64_t *state)
{
    static const struct siphash_key key = {1, 2};
    uint8_t bytes[8];
    (*state)++;
    store_le64(bytes, *state);
    return siphash13(&key, VIEW_OF(bytes));
}

static uint32_t count_hits(const struct map *map, uint64_t hash, uint32_t value)
{
    uint32_t cursor = 0;
    uint32_t hits = 0;
    for (uint32_t got = map_next(map, hash, &cursor); got != MAP_NONE;
         got = map_next(map, hash, &cursor)) {
        hits += got == value ? 1 : 0;
    }
    return hits;
}

static void test_map_agrees_with_a_list(void **state)
{
    (void)state;
    struct map_slot slots[128];
    struct map map;
    bool present[RECORDS] = {false};
    uint64_t seed = 7;
    memset(slots, 0, sizeof(slots));
    assert_true(map_slots_for(RECORDS) <= ARRAY_COUNT(slots));
    map_init(&map, slots, RECORDS);
    for (int step = 0; step < 100000; step++) {
        uint32_t record = (uint32_t)(next_random(&seed) % RECORDS);
        uint64_t hash = record % 5; /* few hashes: long runs of collisions */
        if (present[record]) {
            assert_true(map_remove(&map, hash, record));
        } else {
            assert_true(map_insert(&map, hash, record));
        }
        present[record] = !present[record];
        uint32_t probe = (uint32_t)(next_random(&seed) % RECORDS);
        assert_int_equal(count_hits(&map, probe % 5, probe), present[probe] ? 1 : 0);
        assert_int_equal(map_remove(&map, 77, record), false);
    }
}

static void test_map_refuses_beyond_capacity(void **state)
{
    (void)state;
    struct map_slot slots[8];
    struct map map;
    memset(slots, 0, sizeof(slots));
    map_init(&map, slots, 1);
    assert_true(map_insert(&map, 1, 1));
    assert_false(map_insert(&map, 2, 2));
    assert_true(map_remove(&map, 1, 1));
    assert_true(map_insert(&map, 2, 2));
}

static void test_heap_pops_in_order_of_time_then_record(void **state)
{
    (void)state;
    uint32_t order[RECORDS];
    uint32_t position[RECORDS] = {0};
    struct instant at[RECORDS];
    uint64_t twin[RECORDS];
    struct heap heap;
    uint64_t seed = 11;
    heap_init(&heap, order, position, at, RECORDS);
    for (size_t i = 0; i < RECORDS; i++) {
        twin[i] = UINT64_MAX;
    }
    for (int step = 0; step < 50000; step++) {
        uint32_t record = (uint32_t)(next_random(&seed) % RECORDS);
        uint64_t when = next_random(&seed) % 8 == 0 ? UINT64_MAX : next_random(&seed) % 50;
        twin[record] = when;
        heap_set(&heap, record, (struct instant){when});
        if (next_random(&seed) % 3 == 0) {
            uint32_t best = HEAP_NONE;
            for (uint32_t i = 0; i < RECORDS; i++) {
                if (twin[i] <= 25 && (best == HEAP_NONE || twin[i] < twin[best])) {
                    best = i;
                }
            }
            assert_int_equal(heap_pop_due(&heap, (struct instant){25}), best);
            if (best != HEAP_NONE) {
                twin[best] = UINT64_MAX;
            }
        }
    }
}

/* The value itself is pinned by the candidate foundations of recorded sessions (tests/ice). */
static void test_siphash_depends_on_key_and_every_byte(void **state)
{
    (void)state;
    uint8_t bytes[32];
    struct siphash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    uint64_t whole = siphash13(&key, (struct view){bytes, 15});
    for (size_t i = 0; i < 15; i++) {
        bytes[i] ^= 1;
        assert_true(siphash13(&key, (struct view){bytes, 15}) != whole);
        bytes[i] ^= 1;
    }
    assert_true(siphash13(&key, (struct view){bytes, 14}) != whole);
    struct siphash_state parts = siphash_start(&key);
    siphash_word(&parts, load_le64(bytes));
    siphash_word(&parts, load_le64(bytes + 8));
    siphash_word(&parts, UINT64_C(16) << 56U);
    assert_true(siphash_end(&parts) == siphash13(&key, (struct view){bytes, 16}));
    key.k0 ^= 1;
    assert_true(siphash13(&key, (struct view){bytes, 15}) != whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_agrees_with_a_list),
        cmocka_unit_test(test_map_refuses_beyond_capacity),
        cmocka_unit_test(test_heap_pops_in_order_of_time_then_record),
        cmocka_unit_test(test_siphash_depends_on_key_and_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
