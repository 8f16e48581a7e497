/* sha256: SHA-256 (FIPS 180-4), over mbedTLS. For identifiers and derived credentials. */
#ifndef CRYPTO_SHA256_H
#define CRYPTO_SHA256_H

#include <mbedtls/sha256.h>

#include "base/bytes.h"

#define SHA256_SIZE 32U

struct sha256 {
    mbedtls_sha256_context state;
};

void sha256_start(struct sha256 *sha);
void sha256_update(struct sha256 *sha, struct view bytes);
/* Writes the digest and wipes `sha`. */
void sha256_finish(struct sha256 *sha, uint8_t digest[SHA256_SIZE]);
/* The digest of `bytes` in one call. */
void sha256(struct view bytes, uint8_t digest[SHA256_SIZE]);

#endif /* CRYPTO_SHA256_H */
