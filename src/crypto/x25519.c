#include "crypto/x25519.h"

#include <sodium.h>

#include "base/assert.h"

static_assert(crypto_scalarmult_BYTES == KEY_SIZE, "the library's points are 32 bytes");

void x25519_generate(struct x25519_pair *pair, struct rng *rng)
{
    struct x25519_private private_key;
    rng_bytes(rng, private_key.bytes, sizeof(private_key.bytes));
    x25519_pair_of(pair, &private_key);
    x25519_private_wipe(&private_key);
}

void x25519_pair_of(struct x25519_pair *pair, const struct x25519_private *private_key)
{
    pair->private_key = *private_key;
    int failed = crypto_scalarmult_base(pair->public_key.bytes, private_key->bytes);
    ASSERT(failed == 0);
}

bool x25519_shared(const struct x25519_private *private_key, const struct x25519_public *public_key,
                   struct key32 *out)
{
    if (crypto_scalarmult(out->bytes, private_key->bytes, public_key->bytes) != 0) {
        key32_wipe(out);
        return false;
    }
    return true;
}
