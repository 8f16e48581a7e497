#include "packet/checksum_backend.h"

#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"
#include "packet/checksum_wide.h"

#define TEST_SIZE  1500U
#define TEST_SHIFT 8U /* further starts only move across a cache line */

const struct checksum_backend checksum_portable = {"portable", checksum_sum, checksum_copy};

const struct checksum_backend *checksum_backend_of(enum checksum_kind kind)
{
    switch (kind) {
    case CHECKSUM_PORTABLE:
        return &checksum_portable;
    case CHECKSUM_AVX2:
        return checksum_wide_avx2();
    case CHECKSUM_AVX512:
        return checksum_wide_avx512();
    case CHECKSUM_KIND_COUNT:
        break;
    }
    UNREACHABLE();
}

/* ---- the comparison ---- */

enum pattern { PATTERN_MIXED, PATTERN_ONES, PATTERN_ZEROS, PATTERN_COUNT };

struct rig {
    uint8_t bytes[TEST_SIZE + TEST_SHIFT];
    uint8_t copy[TEST_SIZE + 2 * TEST_SHIFT];
};

static void fill(struct rig *rig, enum pattern pattern)
{
    for (size_t i = 0; i < sizeof(rig->bytes); i++) {
        rig->bytes[i] = pattern == PATTERN_MIXED  ? (uint8_t)(i * 167U + (i >> 8U))
                        : pattern == PATTERN_ONES ? 0xffU
                                                  : 0;
    }
}

/* Copies `from` to copy + shift; the bytes around must stay. */
static bool copies(const struct checksum_backend *backend, struct rig *rig, struct view from,
                   size_t shift)
{
    static const uint8_t around[TEST_SHIFT] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t *end = rig->copy + shift + from.len;
    memcpy(rig->copy, around, shift);
    memset(rig->copy + shift, 0, from.len);
    memcpy(end, around, TEST_SHIFT);
    return backend->copy(rig->copy + shift, from) == checksum_sum(from) &&
           memcmp(rig->copy + shift, from.at, from.len) == 0 &&
           memcmp(rig->copy, around, shift) == 0 && memcmp(end, around, TEST_SHIFT) == 0;
}

static bool is_right(const struct checksum_backend *backend, struct rig *rig, size_t len)
{
    for (size_t shift = 0; shift < TEST_SHIFT; shift++) {
        struct view view = {rig->bytes + shift, len};
        if (backend->sum(view) != checksum_sum(view) ||
            !copies(backend, rig, view, TEST_SHIFT - shift)) {
            return false;
        }
    }
    return true;
}

bool checksum_selftest(const struct checksum_backend *backend)
{
    struct rig rig;
    for (unsigned pattern = 0; pattern < PATTERN_COUNT; pattern++) {
        fill(&rig, (enum pattern)pattern);
        for (size_t len = 0; len <= TEST_SIZE;) {
            if (!is_right(backend, &rig, len)) {
                return false;
            }
            bool is_dense = len < 140 || (len >= 1240 && len < 1280); /* 20 divides 1240 - 140 */
            len += is_dense ? 1 : 20;
        }
    }
    return true;
}
