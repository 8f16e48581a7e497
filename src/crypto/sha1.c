#include "crypto/sha1.h"

#include <mbedtls/sha1.h>

#include "base/assert.h"

void sha1_digest2(struct view a, struct view b, uint8_t out[SHA1_SIZE])
{
    mbedtls_sha1_context sha;
    mbedtls_sha1_init(&sha);
    int failed = mbedtls_sha1_starts_ret(&sha);
    failed |= mbedtls_sha1_update_ret(&sha, a.at, a.len);
    failed |= mbedtls_sha1_update_ret(&sha, b.at, b.len);
    failed |= mbedtls_sha1_finish_ret(&sha, out);
    ASSERT(failed == 0);
    mbedtls_sha1_free(&sha);
}
