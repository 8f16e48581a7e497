/* keys: typed key material, so that no key can stand in for another.
 *
 * A secret is a struct without a text form: no writer, formatter or trace field accepts one.
 * Memory: owned by whoever embeds the struct; the owner wipes it when it dies.
 */
#ifndef CRYPTO_KEYS_H
#define CRYPTO_KEYS_H

#include "base/bytes.h"

#define KEY_SIZE 32U /* bytes, of every key here */

/* X25519 scalar as drawn, clamped at use (RFC 7748 section 5). Secret. */
struct x25519_private {
    uint8_t bytes[KEY_SIZE];
};

/* X25519 point. Public: it may be sent and logged. */
struct x25519_public {
    uint8_t bytes[KEY_SIZE];
};

struct x25519_pair {
    struct x25519_private private_key;
    struct x25519_public public_key;
};

/* A symmetric key, a chaining value or a Diffie-Hellman result. Secret. */
struct key32 {
    uint8_t bytes[KEY_SIZE];
};

/* WireGuard's pre-shared key; all zero means none. Secret. */
struct wg_psk {
    uint8_t bytes[KEY_SIZE];
};

/* Overwrites `len` bytes in a way that the compiler keeps. `at` may be NULL when `len` is 0. */
void secret_wipe(void *at, size_t len);
void key32_wipe(struct key32 *key);
void wg_psk_wipe(struct wg_psk *psk);
void x25519_private_wipe(struct x25519_private *key);

/* Comparisons in constant time. */
MUST_USE bool secret_equal(const uint8_t *a, const uint8_t *b, size_t len);
MUST_USE bool x25519_public_equal(const struct x25519_public *a, const struct x25519_public *b);
MUST_USE bool wg_psk_equal(const struct wg_psk *a, const struct wg_psk *b);

#endif /* CRYPTO_KEYS_H */
