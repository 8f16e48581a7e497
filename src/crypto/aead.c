#include "crypto/aead.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"

#define NONCE_SIZE 12U

static_assert(crypto_aead_chacha20poly1305_ietf_NPUBBYTES == NONCE_SIZE, "nonce size");
static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == AEAD_TAG_SIZE, "tag size");

static void nonce_of(uint64_t counter, uint8_t nonce[NONCE_SIZE])
{
    memset(nonce, 0, 4);
    store_le64(nonce + 4, counter);
}

static void sodium_seal(void *ctx, struct aead_item *items, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        struct aead_item *item = &items[i];
        uint8_t nonce[NONCE_SIZE];
        nonce_of(item->counter, nonce);
        int failed = crypto_aead_chacha20poly1305_ietf_encrypt_detached(
            item->data, item->data + item->len, NULL, item->data, item->len, NULL, 0, NULL, nonce,
            item->key);
        ASSERT(failed == 0);
    }
}

static void sodium_open(void *ctx, struct aead_item *items, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        struct aead_item *item = &items[i];
        uint8_t nonce[NONCE_SIZE];
        nonce_of(item->counter, nonce);
        item->ok = crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                       item->data, NULL, item->data, item->len, item->data + item->len, NULL, 0,
                       nonce, item->key) == 0;
        if (!item->ok) {
            memset(item->data, 0, item->len);
        }
    }
}

struct aead_backend aead_backend_libsodium(void)
{
    return (struct aead_backend){
        .name = "libsodium", .seal = sodium_seal, .open = sodium_open, .ctx = NULL};
}

void aead_seal_batch(const struct aead_backend *backend, struct aead_item *items, size_t count)
{
    backend->seal(backend->ctx, items, count);
}

void aead_open_batch(const struct aead_backend *backend, struct aead_item *items, size_t count)
{
    backend->open(backend->ctx, items, count);
}

void aead_seal(const struct key32 *key, uint64_t counter, struct view ad, struct view plain,
               uint8_t *out)
{
    uint8_t nonce[NONCE_SIZE];
    nonce_of(counter, nonce);
    int failed = crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain.at, plain.len, ad.at,
                                                           ad.len, NULL, nonce, key->bytes);
    ASSERT(failed == 0);
}

bool aead_open(const struct key32 *key, uint64_t counter, struct view ad, struct view sealed,
               uint8_t *out)
{
    if (sealed.len < AEAD_TAG_SIZE) {
        return false;
    }
    uint8_t nonce[NONCE_SIZE];
    nonce_of(counter, nonce);
    size_t plain_len = sealed.len - AEAD_TAG_SIZE;
    ASSERT(out != NULL || plain_len == 0);
    bool ok = crypto_aead_chacha20poly1305_ietf_decrypt_detached(out, NULL, sealed.at, plain_len,
                                                                 sealed.at + plain_len, ad.at,
                                                                 ad.len, nonce, key->bytes) == 0;
    if (!ok && plain_len > 0) {
        memset(out, 0, plain_len);
    }
    return ok;
}
