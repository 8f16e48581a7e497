/* rng: a deterministic random stream with fast key erasure.
 *
 * Each refill runs ChaCha20 over the key, replaces the key by the first 32 bytes of the output and
 * hands out the rest, so that past output cannot be recovered from the state. Fed by the platform
 * with entropy in production and by the seed in the simulator; nothing else in src/ is random.
 * Source: Bernstein, "Fast-key-erasure random-number generators"; design section 8.2.
 */
#ifndef CRYPTO_RNG_H
#define CRYPTO_RNG_H

#include "base/bytes.h"
#include "base/fault.h"

#define RNG_SEED_SIZE 32U

struct rng {
    uint8_t key[RNG_SEED_SIZE];
    uint8_t pool[480];
    size_t used;                    /* bytes of `pool` already handed out */
    const struct fault_hook *fault; /* of whoever draws here; NULL: none */
};

/* Without fault points. */
void rng_init(struct rng *rng, const uint8_t seed[RNG_SEED_SIZE]);
/* Mixes fresh entropy into the key and drops the pool. */
void rng_reseed(struct rng *rng, const uint8_t seed[RNG_SEED_SIZE]);
void rng_bytes(struct rng *rng, uint8_t *out, size_t len);
MUST_USE uint32_t rng_u32(struct rng *rng);
MUST_USE uint64_t rng_u64(struct rng *rng);
/* Uniform in [0, bound), without modulo bias. Asserts bound > 0. */
MUST_USE uint32_t rng_below(struct rng *rng, uint32_t bound);

#endif /* CRYPTO_RNG_H */
