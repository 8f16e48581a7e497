/* sha1: SHA-1, only for the WebSocket handshake.
 *
 * Source: RFC 3174; mbedTLS computes it. Never used where collisions matter.
 */
#ifndef CRYPTO_SHA1_H
#define CRYPTO_SHA1_H

#include "base/bytes.h"

#define SHA1_SIZE 20U

/* Hashes the concatenation of two views. */
void sha1_digest2(struct view a, struct view b, uint8_t out[SHA1_SIZE]);

#endif /* CRYPTO_SHA1_H */
