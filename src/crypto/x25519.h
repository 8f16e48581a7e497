/* x25519: Diffie-Hellman on Curve25519, by libsodium.
 *
 * Source: RFC 7748 sections 5 and 6.1. Low-order points are refused: the all-zero result is an
 * error, not a key. Costs about 50 us each; never call it for input that passed no cheap check.
 */
#ifndef CRYPTO_X25519_H
#define CRYPTO_X25519_H

#include "crypto/keys.h"
#include "crypto/rng.h"

/* Draws a private key from `rng` and derives its public key. */
void x25519_generate(struct x25519_pair *pair, struct rng *rng);
/* Derives the pair of a given private key. */
void x25519_pair_of(struct x25519_pair *pair, const struct x25519_private *private_key);
/* Computes the shared secret. Returns false, with `out` zeroed, when `public_key` is of low order.
 */
MUST_USE bool x25519_shared(const struct x25519_private *private_key,
                            const struct x25519_public *public_key, struct key32 *out);

#endif /* CRYPTO_X25519_H */
