/* hmac_sha1: HMAC-SHA1 (RFC 2104) for MESSAGE-INTEGRITY of STUN, over mbedTLS.
 *
 * Uses caller-owned contexts only: nothing is allocated. Keep a struct hmac_sha1_key where many
 * messages use the same key: it saves two of the four compressions of a short message.
 */
#ifndef CRYPTO_HMAC_SHA1_H
#define CRYPTO_HMAC_SHA1_H

#include <mbedtls/sha1.h>

#include "base/bytes.h"

#define HMAC_SHA1_SIZE 20U

/* The two pad states of one key. A secret. */
struct hmac_sha1_key {
    mbedtls_sha1_context inner;
    mbedtls_sha1_context outer;
};

struct hmac_sha1 {
    mbedtls_sha1_context inner;
    mbedtls_sha1_context outer;
};

/* Prepares a key of any length. */
void hmac_sha1_key_init(struct hmac_sha1_key *key, struct view secret);
void hmac_sha1_start(struct hmac_sha1 *mac, const struct hmac_sha1_key *key);
void hmac_sha1_update(struct hmac_sha1 *mac, struct view bytes);
/* Writes the tag and wipes `mac`. */
void hmac_sha1_finish(struct hmac_sha1 *mac, uint8_t tag[HMAC_SHA1_SIZE]);

#endif /* CRYPTO_HMAC_SHA1_H */
