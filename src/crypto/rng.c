#include "crypto/rng.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"

static void refill(struct rng *rng)
{
    static const uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES];
    uint8_t block[RNG_SEED_SIZE + sizeof(rng->pool)];
    int failed = crypto_stream_chacha20_ietf(block, sizeof(block), nonce, rng->key);
    ASSERT(failed == 0);
    memcpy(rng->key, block, RNG_SEED_SIZE);
    memcpy(rng->pool, block + RNG_SEED_SIZE, sizeof(rng->pool));
    rng->used = 0;
    sodium_memzero(block, sizeof(block));
}

void rng_init(struct rng *rng, const uint8_t seed[RNG_SEED_SIZE])
{
    memcpy(rng->key, seed, RNG_SEED_SIZE);
    memset(rng->pool, 0, sizeof(rng->pool));
    rng->used = sizeof(rng->pool);
    rng->fault = NULL;
}

void rng_reseed(struct rng *rng, const uint8_t seed[RNG_SEED_SIZE])
{
    for (size_t i = 0; i < RNG_SEED_SIZE; i++) {
        rng->key[i] ^= seed[i];
    }
    refill(rng);
}

void rng_bytes(struct rng *rng, uint8_t *out, size_t len)
{
    while (len > 0) {
        if (rng->used == sizeof(rng->pool)) {
            refill(rng);
        }
        size_t left = sizeof(rng->pool) - rng->used;
        size_t take = len < left ? len : left;
        memcpy(out, rng->pool + rng->used, take);
        sodium_memzero(rng->pool + rng->used, take);
        rng->used += take;
        out += take;
        len -= take;
    }
}

uint32_t rng_u32(struct rng *rng)
{
    uint8_t bytes[4];
    rng_bytes(rng, bytes, sizeof(bytes));
    return load_le32(bytes);
}

uint64_t rng_u64(struct rng *rng)
{
    uint8_t bytes[8];
    rng_bytes(rng, bytes, sizeof(bytes));
    return load_le64(bytes);
}

uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    ASSERT(bound > 0);
    uint32_t limit = UINT32_MAX - UINT32_MAX % bound; /* a multiple of bound */
    uint32_t value = rng_u32(rng);
    while (value >= limit) {
        value = rng_u32(rng);
    }
    return value % bound;
}
