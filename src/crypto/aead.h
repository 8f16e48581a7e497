/* aead: ChaCha20-Poly1305, one message at a time for handshakes and in batches for the data path.
 *
 * Source: RFC 8439 section 2.8; nonce of spec/wireguard.md section 1.4: four zero bytes, then the
 * counter as 64 bits little-endian. The data path has no associated data. A backend is a table of
 * two functions; every backend gives the same bytes (aead_backend_equal), compares tags in constant
 * time and leaves zeros instead of plaintext behind when a tag is wrong.
 * Memory: nothing is allocated; a backend's context belongs to whoever made it, one per thread.
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include "crypto/keys.h"

#define AEAD_TAG_SIZE 16U

/* One message of a batch, worked on in place. `data` holds `len` bytes of plaintext (seal) or
 * ciphertext (open) and, behind them at data + len, room for or the AEAD_TAG_SIZE bytes of tag:
 * `len` never includes the tag. `key` is borrowed during the call. */
struct aead_item {
    const uint8_t *key; /* KEY_SIZE bytes */
    uint64_t counter;
    uint8_t *data;
    size_t len; /* bytes without the tag; 0 is fine */
    bool ok;    /* out, open only: the tag was right; else the `len` bytes are zeroed */
};

/* Functions take any number of items, finish all of them before they return, and never let one item
 * affect another. */
struct aead_backend {
    const char *name; /* static text */
    void (*seal)(void *ctx, struct aead_item *items, size_t count);
    void (*open)(void *ctx, struct aead_item *items, size_t count);
    void *ctx;
};

/* The backend that exists everywhere. */
struct aead_backend aead_backend_libsodium(void);

void aead_seal_batch(const struct aead_backend *backend, struct aead_item *items, size_t count);
void aead_open_batch(const struct aead_backend *backend, struct aead_item *items, size_t count);

/* Compares two backends on messages of many lengths in batches: sealed bytes, opened bytes, refusal
 * and zeroing of damaged ones. About 1 ms. */
MUST_USE bool aead_backend_equal(const struct aead_backend *a, const struct aead_backend *b);
/* True when `backend` equals libsodium and seals a packet of the WireGuard transcript as recorded.
 * Run it once before a backend carries traffic. */
MUST_USE bool aead_selftest(const struct aead_backend *backend);

/* ---- one message with associated data, for handshakes; always libsodium ---- */

/* Writes plain.len + AEAD_TAG_SIZE bytes to `out`, which may be where `plain` stands. */
void aead_seal(const struct key32 *key, uint64_t counter, struct view ad, struct view plain,
               uint8_t *out);
/* Opens `sealed` (tag last) into `out`, sealed.len - AEAD_TAG_SIZE bytes; `out` may be NULL when
 * that is 0. Returns false, with `out` zeroed, when it is shorter than a tag or the tag is wrong.
 */
MUST_USE bool aead_open(const struct key32 *key, uint64_t counter, struct view ad,
                        struct view sealed, uint8_t *out);

#endif /* CRYPTO_AEAD_H */
