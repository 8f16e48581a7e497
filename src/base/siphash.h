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

/* ---- the parts ----
 *
 * For short keys of fixed size: start, the little-endian words, a last word with the bytes that are
 * left and the length in its upper byte, end. */

struct siphash_state {
    uint64_t v0;
    uint64_t v1;
    uint64_t v2;
    uint64_t v3;
};

static inline uint64_t siphash_rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64U - n);
}

static inline void siphash_round(struct siphash_state *s)
{
    s->v0 += s->v1;
    s->v1 = siphash_rotate(s->v1, 13) ^ s->v0;
    s->v0 = siphash_rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = siphash_rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = siphash_rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = siphash_rotate(s->v1, 17) ^ s->v2;
    s->v2 = siphash_rotate(s->v2, 32);
}

static inline struct siphash_state siphash_start(const struct siphash_key *key)
{
    return (struct siphash_state){
        key->k0 ^ UINT64_C(0x736f6d6570736575), key->k1 ^ UINT64_C(0x646f72616e646f6d),
        key->k0 ^ UINT64_C(0x6c7967656e657261), key->k1 ^ UINT64_C(0x7465646279746573)};
}

static inline void siphash_word(struct siphash_state *s, uint64_t word)
{
    s->v3 ^= word;
    siphash_round(s);
    s->v0 ^= word;
}

static inline uint64_t siphash_end(struct siphash_state *s)
{
    s->v2 ^= 0xff;
    siphash_round(s);
    siphash_round(s);
    siphash_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

#endif /* BASE_SIPHASH_H */
