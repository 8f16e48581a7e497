#include "crypto/md5.h"

#include "base/assert.h"

void md5_start(struct md5 *md5)
{
    mbedtls_md5_init(&md5->state);
    int failed = mbedtls_md5_starts_ret(&md5->state);
    ASSERT(failed == 0);
}

void md5_update(struct md5 *md5, struct view bytes)
{
    if (bytes.len > 0) {
        int failed = mbedtls_md5_update_ret(&md5->state, bytes.at, bytes.len);
        ASSERT(failed == 0);
    }
}

void md5_finish(struct md5 *md5, uint8_t digest[MD5_SIZE])
{
    int failed = mbedtls_md5_finish_ret(&md5->state, digest);
    ASSERT(failed == 0);
    mbedtls_md5_free(&md5->state);
}
