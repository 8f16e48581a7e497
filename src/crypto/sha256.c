#include "crypto/sha256.h"

#include "base/assert.h"

void sha256_start(struct sha256 *sha)
{
    mbedtls_sha256_init(&sha->state);
    int failed = mbedtls_sha256_starts_ret(&sha->state, 0);
    ASSERT(failed == 0);
}

void sha256_update(struct sha256 *sha, struct view bytes)
{
    if (bytes.len > 0) {
        int failed = mbedtls_sha256_update_ret(&sha->state, bytes.at, bytes.len);
        ASSERT(failed == 0);
    }
}

void sha256_finish(struct sha256 *sha, uint8_t digest[SHA256_SIZE])
{
    int failed = mbedtls_sha256_finish_ret(&sha->state, digest);
    ASSERT(failed == 0);
    mbedtls_sha256_free(&sha->state);
}

void sha256(struct view bytes, uint8_t digest[SHA256_SIZE])
{
    struct sha256 sha;
    sha256_start(&sha);
    sha256_update(&sha, bytes);
    sha256_finish(&sha, digest);
}
