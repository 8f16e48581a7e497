/* The comparison of backends. Split from aead.c: it runs once at start, not on the data path. */
#include <string.h>

#include "base/assert.h"
#include "crypto/aead.h"

#define ITEM_SIZE_MAX 256U
#define BATCH_MAX     3U
#define LONG_SIZE_MAX 1424U
#define SLOT_SIZE     (ITEM_SIZE_MAX + AEAD_TAG_SIZE)

/* Two copies of one batch, one for each backend. */
struct rig {
    uint8_t keys[BATCH_MAX][KEY_SIZE];
    uint8_t data[2][BATCH_MAX * SLOT_SIZE];
    struct aead_item items[2][BATCH_MAX];
    size_t count;
};

/* A fixed byte pattern; its only duty is that neighbours differ. */
static uint8_t pattern(size_t i, size_t seed)
{
    return (uint8_t)(i * 167U + seed * 59U + (i >> 8));
}

static void rig_fill(struct rig *rig, const size_t *lens, size_t count, size_t seed)
{
    memset(rig, 0, sizeof(*rig));
    rig->count = count;
    for (size_t i = 0; i < count; i++) {
        ASSERT(lens[i] <= ITEM_SIZE_MAX);
        for (size_t j = 0; j < KEY_SIZE; j++) {
            rig->keys[i][j] = pattern(j, seed + i);
        }
        for (size_t side = 0; side < 2; side++) {
            uint8_t *data = rig->data[side] + i * SLOT_SIZE;
            for (size_t j = 0; j < lens[i]; j++) {
                data[j] = pattern(j, seed + 7U * i);
            }
            rig->items[side][i] = (struct aead_item){.key = rig->keys[i],
                                                     .counter = (uint64_t)seed << 33 | i,
                                                     .data = data,
                                                     .len = lens[i]};
        }
    }
}

static bool rig_same(const struct rig *rig)
{
    for (size_t i = 0; i < rig->count; i++) {
        if (rig->items[0][i].ok != rig->items[1][i].ok) {
            return false;
        }
    }
    return memcmp(rig->data[0], rig->data[1], sizeof(rig->data[0])) == 0;
}

/* Damages one bit of item `at` on both sides: in the text when there is one, else in the tag. */
static void rig_damage(struct rig *rig, size_t at, size_t offset)
{
    for (size_t side = 0; side < 2; side++) {
        rig->items[side][at].data[offset] ^= 0x80;
    }
}

static bool rig_opened(const struct rig *rig, size_t damaged, size_t seed)
{
    for (size_t i = 0; i < rig->count; i++) {
        const struct aead_item *item = &rig->items[1][i];
        if (item->ok == (i == damaged)) {
            return false;
        }
        for (size_t j = 0; j < item->len; j++) {
            uint8_t want = i == damaged ? 0 : pattern(j, seed + 7U * i);
            if (item->data[j] != want) {
                return false;
            }
        }
    }
    return true;
}

static bool compare_batch(const struct aead_backend *a, const struct aead_backend *b,
                          struct rig *rig, size_t first_len)
{
    const size_t lens[BATCH_MAX] = {first_len, 0, ITEM_SIZE_MAX - first_len};
    size_t seed = first_len + 1;
    rig_fill(rig, lens, BATCH_MAX, seed);
    aead_seal_batch(a, rig->items[0], BATCH_MAX);
    aead_seal_batch(b, rig->items[1], BATCH_MAX);
    if (!rig_same(rig)) {
        return false;
    }
    size_t damaged = first_len % BATCH_MAX;
    rig_damage(rig, damaged, first_len % (lens[damaged] + AEAD_TAG_SIZE));
    aead_open_batch(a, rig->items[0], BATCH_MAX);
    aead_open_batch(b, rig->items[1], BATCH_MAX);
    return rig_same(rig) && rig_opened(rig, damaged, seed);
}

/* One message as long as the data path has them: what `from` sealed, `to` must open. */
static bool long_passes(const struct aead_backend *from, const struct aead_backend *to, size_t len)
{
    uint8_t key[KEY_SIZE];
    uint8_t data[LONG_SIZE_MAX + AEAD_TAG_SIZE];
    ASSERT(len <= LONG_SIZE_MAX);
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = pattern(i, len);
    }
    for (size_t i = 0; i < len; i++) {
        data[i] = pattern(i, len + 1);
    }
    struct aead_item item = {.key = key, .counter = UINT64_MAX - len, .data = data, .len = len};
    aead_seal_batch(from, &item, 1);
    aead_open_batch(to, &item, 1);
    for (size_t i = 0; i < len; i++) {
        if (data[i] != pattern(i, len + 1)) {
            return false;
        }
    }
    return item.ok;
}

bool aead_backend_equal(const struct aead_backend *a, const struct aead_backend *b)
{
    struct rig rig;
    /* Every length around the block sizes of all instruction sets, then in coarser steps. */
    for (size_t len = 0; len <= ITEM_SIZE_MAX; len += len < 130 ? 1 : 31) {
        if (!compare_batch(a, b, &rig, len)) {
            return false;
        }
    }
    for (size_t len = 1270; len <= LONG_SIZE_MAX; len += 7) {
        if (!long_passes(a, b, len) || !long_passes(b, a, len)) {
            return false;
        }
    }
    return true;
}

bool aead_selftest(const struct aead_backend *backend)
{
    /* The keepalive with counter 0 of the "psk" transcript in tests/vectors. */
    static const uint8_t key[KEY_SIZE] = {0x16, 0xf1, 0x92, 0x22, 0x20, 0x43, 0x46, 0x10,
                                          0x42, 0xf1, 0x3f, 0x1a, 0x07, 0x9f, 0xd2, 0xcd,
                                          0xe0, 0x96, 0x45, 0xfd, 0x84, 0x4d, 0xaf, 0xc0,
                                          0xdb, 0x7a, 0x88, 0x10, 0xfd, 0x29, 0xc1, 0x48};
    static const uint8_t want[AEAD_TAG_SIZE] = {0x48, 0xd1, 0x2c, 0xf5, 0x17, 0x84, 0x6b, 0x22,
                                                0x78, 0x24, 0xa4, 0x22, 0xec, 0x44, 0x1b, 0x6e};
    uint8_t tag[AEAD_TAG_SIZE] = {0};
    struct aead_item item = {.key = key, .counter = 0, .data = tag, .len = 0};
    aead_seal_batch(backend, &item, 1);
    if (memcmp(tag, want, sizeof(want)) != 0) {
        return false;
    }
    struct aead_backend reference = aead_backend_libsodium();
    return aead_backend_equal(&reference, backend);
}
