#include "crypto/hmac_sha1.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"

#define BLOCK_SIZE 64U

static void sha1_update(mbedtls_sha1_context *state, const uint8_t *at, size_t len)
{
    int failed = mbedtls_sha1_update_ret(state, at, len);
    ASSERT(failed == 0);
}

static void sha1_start(mbedtls_sha1_context *state)
{
    mbedtls_sha1_init(state);
    int failed = mbedtls_sha1_starts_ret(state);
    ASSERT(failed == 0);
}

static void sha1_finish(mbedtls_sha1_context *state, uint8_t digest[HMAC_SHA1_SIZE])
{
    int failed = mbedtls_sha1_finish_ret(state, digest);
    ASSERT(failed == 0);
    mbedtls_sha1_free(state);
}

static void start_padded(mbedtls_sha1_context *state, const uint8_t block[BLOCK_SIZE], uint8_t pad)
{
    uint8_t padded[BLOCK_SIZE];
    for (size_t i = 0; i < BLOCK_SIZE; i++) {
        padded[i] = block[i] ^ pad;
    }
    sha1_start(state);
    sha1_update(state, padded, BLOCK_SIZE);
    sodium_memzero(padded, sizeof(padded));
}

void hmac_sha1_key_init(struct hmac_sha1_key *key, struct view secret)
{
    uint8_t block[BLOCK_SIZE] = {0};
    if (secret.len > BLOCK_SIZE) {
        mbedtls_sha1_context state;
        sha1_start(&state);
        sha1_update(&state, secret.at, secret.len);
        sha1_finish(&state, block);
    } else if (secret.len > 0) {
        memcpy(block, secret.at, secret.len);
    }
    start_padded(&key->inner, block, 0x36);
    start_padded(&key->outer, block, 0x5C);
    sodium_memzero(block, sizeof(block));
}

void hmac_sha1_start(struct hmac_sha1 *mac, const struct hmac_sha1_key *key)
{
    mbedtls_sha1_init(&mac->inner);
    mbedtls_sha1_init(&mac->outer);
    mbedtls_sha1_clone(&mac->inner, &key->inner);
    mbedtls_sha1_clone(&mac->outer, &key->outer);
}

void hmac_sha1_update(struct hmac_sha1 *mac, struct view bytes)
{
    if (bytes.len > 0) {
        sha1_update(&mac->inner, bytes.at, bytes.len);
    }
}

void hmac_sha1_finish(struct hmac_sha1 *mac, uint8_t tag[HMAC_SHA1_SIZE])
{
    uint8_t digest[HMAC_SHA1_SIZE];
    sha1_finish(&mac->inner, digest);
    sha1_update(&mac->outer, digest, sizeof(digest));
    sha1_finish(&mac->outer, tag);
    sodium_memzero(digest, sizeof(digest));
}
