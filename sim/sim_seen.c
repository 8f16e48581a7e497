#include "sim/sim_seen.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/siphash.h"

#define SLOTS_FIRST 256U

struct entry {
    uint8_t key[SIM_SEEN_KEY_MAX];
    size_t len; /* 0: free; keys are stored with their length plus one */
    uint64_t number;
};

struct sim_seen {
    struct entry *entries;
    size_t slots; /* a power of two, at most half full */
    size_t count;
};

struct sim_seen *sim_seen_new(void)
{
    struct sim_seen *seen = calloc(1, sizeof(*seen));
    ASSERT(seen != NULL);
    seen->slots = SLOTS_FIRST;
    seen->entries = calloc(seen->slots, sizeof(seen->entries[0]));
    ASSERT(seen->entries != NULL);
    return seen;
}

void sim_seen_free(struct sim_seen *seen)
{
    if (seen != NULL) {
        free(seen->entries);
        free(seen);
    }
}

void sim_seen_clear(struct sim_seen *seen)
{
    memset(seen->entries, 0, seen->slots * sizeof(seen->entries[0]));
    seen->count = 0;
}

size_t sim_seen_count(const struct sim_seen *seen)
{
    return seen->count;
}

static struct entry *find(struct entry *entries, size_t slots, struct view key)
{
    const struct siphash_key secret = {0, 0};
    size_t at = (size_t)siphash13(&secret, key) & (slots - 1);
    while (entries[at].len != 0 &&
           !view_equal((struct view){entries[at].key, entries[at].len - 1}, key)) {
        at = (at + 1) & (slots - 1);
    }
    return &entries[at];
}

static void grow(struct sim_seen *seen)
{
    size_t slots = seen->slots * 2;
    struct entry *entries = calloc(slots, sizeof(entries[0]));
    ASSERT(entries != NULL);
    for (size_t i = 0; i < seen->slots; i++) {
        const struct entry *old = &seen->entries[i];
        if (old->len != 0) {
            *find(entries, slots, (struct view){old->key, old->len - 1}) = *old;
        }
    }
    free(seen->entries);
    seen->entries = entries;
    seen->slots = slots;
}

uint64_t *sim_seen_at(struct sim_seen *seen, struct view key, bool *fresh)
{
    ASSERT(key.len <= SIM_SEEN_KEY_MAX);
    if (seen->count * 2 >= seen->slots) {
        grow(seen);
    }
    struct entry *entry = find(seen->entries, seen->slots, key);
    *fresh = entry->len == 0;
    if (*fresh) {
        entry->len = key.len + 1;
        if (key.len > 0) {
            memcpy(entry->key, key.at, key.len);
        }
        seen->count++;
    }
    return &entry->number;
}
