/* xaead: XChaCha20-Poly1305 for WireGuard's cookie replies, by libsodium.
 *
 * Source: draft-irtf-cfrg-xchacha-03; spec/wireguard.md section 3.2.
 */
#ifndef CRYPTO_XAEAD_H
#define CRYPTO_XAEAD_H

#include "crypto/keys.h"

#define XAEAD_NONCE_SIZE 24U
#define XAEAD_TAG_SIZE   16U

/* Writes plain.len + XAEAD_TAG_SIZE bytes to `out`. */
void xaead_seal(const struct key32 *key, const uint8_t nonce[XAEAD_NONCE_SIZE], struct view ad,
                struct view plain, uint8_t *out);
/* Opens `sealed` (tag last) into `out`, sealed.len - XAEAD_TAG_SIZE bytes. Returns false, with
 * `out` zeroed, when it is shorter than a tag or the tag is wrong. */
MUST_USE bool xaead_open(const struct key32 *key, const uint8_t nonce[XAEAD_NONCE_SIZE],
                         struct view ad, struct view sealed, uint8_t *out);

#endif /* CRYPTO_XAEAD_H */
