#include "crypto/xaead.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"

static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == XAEAD_NONCE_SIZE, "nonce size");
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == XAEAD_TAG_SIZE, "tag size");

void xaead_seal(const struct key32 *key, const uint8_t nonce[XAEAD_NONCE_SIZE], struct view ad,
                struct view plain, uint8_t *out)
{
    int failed = crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, plain.at, plain.len, ad.at,
                                                            ad.len, NULL, nonce, key->bytes);
    ASSERT(failed == 0);
}

bool xaead_open(const struct key32 *key, const uint8_t nonce[XAEAD_NONCE_SIZE], struct view ad,
                struct view sealed, uint8_t *out)
{
    if (sealed.len < XAEAD_TAG_SIZE) {
        return false;
    }
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed.at, sealed.len, ad.at,
                                                   ad.len, nonce, key->bytes) != 0) {
        memset(out, 0, sealed.len - XAEAD_TAG_SIZE);
        return false;
    }
    return true;
}
