/* siphash: SipHash-1-3, the keyed hash of our tables and of candidate foundations.
 *
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", with 1 compression and 3
 * finalisation rounds. (libsodium has only 2-4.) Tables are keyed because peers choose the keys.
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include "base/bytes.h"

struct siphash_key {
    uint64_t k0;
    uint64_t k1;
};

/* Hashes `bytes` under `key`. Pure. */
MUST_USE uint64_t siphash13(const struct siphash_key *key, struct view bytes);

#endif /* BASE_SIPHASH_H */
