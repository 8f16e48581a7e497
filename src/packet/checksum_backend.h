/* checksum_backend: how the payloads of the data path are summed, by the instructions that the
 * processor has.
 *
 * A backend is a table of two functions; every backend gives the same bits (checksum_selftest()).
 * Portable C exists everywhere and is what everything uses that is not told otherwise. Which
 * instructions a processor has is not asked here: a backend that it lacks ends the process at the
 * first call. Memory: nothing is allocated; a backend has no state and is static.
 */
#ifndef PACKET_CHECKSUM_BACKEND_H
#define PACKET_CHECKSUM_BACKEND_H

#include "base/bytes.h"

#define CHECKSUM_LEN_MAX 65535U /* bytes of one call, PACKET_SIZE_MAX */

struct checksum_backend {
    const char *name; /* static text */
    /* As checksum_sum(). Asserts: bytes.len <= CHECKSUM_LEN_MAX. */
    uint64_t (*sum)(struct view bytes);
    /* As checksum_copy(). Asserts: from.len <= CHECKSUM_LEN_MAX. */
    uint64_t (*copy)(uint8_t *to, struct view from);
};

enum checksum_kind {
    CHECKSUM_PORTABLE,
    CHECKSUM_AVX2,
    CHECKSUM_AVX512, /* F and BW */
    CHECKSUM_KIND_COUNT,
};

extern const struct checksum_backend checksum_portable;

/* Returns NULL when this architecture has no such backend. */
MUST_USE const struct checksum_backend *checksum_backend_of(enum checksum_kind kind);

/* True when `backend` gives the bits of the portable one for lengths around all block sizes, the
 * longest packet of the tunnel, shifted starts and bytes that carry most. About 0.5 ms; run it
 * once before a backend carries traffic. */
MUST_USE bool checksum_selftest(const struct checksum_backend *backend);

#endif /* PACKET_CHECKSUM_BACKEND_H */
