#include "crypto/keys.h"

#include <sodium.h>

void secret_wipe(void *at, size_t len)
{
    if (len > 0) {
        sodium_memzero(at, len);
    }
}

void key32_wipe(struct key32 *key)
{
    sodium_memzero(key->bytes, sizeof(key->bytes));
}

void wg_psk_wipe(struct wg_psk *psk)
{
    sodium_memzero(psk->bytes, sizeof(psk->bytes));
}

void x25519_private_wipe(struct x25519_private *key)
{
    sodium_memzero(key->bytes, sizeof(key->bytes));
}

bool secret_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}

bool x25519_public_equal(const struct x25519_public *a, const struct x25519_public *b)
{
    return secret_equal(a->bytes, b->bytes, KEY_SIZE);
}

bool wg_psk_equal(const struct wg_psk *a, const struct wg_psk *b)
{
    return secret_equal(a->bytes, b->bytes, KEY_SIZE);
}
