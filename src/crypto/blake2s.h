/* blake2s: the hash of WireGuard's handshake: plain, keyed, HMAC and key derivation; by libb2.
 *
 * Source: RFC 7693 (BLAKE2s), RFC 2104 (HMAC, block size 64), spec/wireguard.md section 2.1.
 */
#ifndef CRYPTO_BLAKE2S_H
#define CRYPTO_BLAKE2S_H

#include "crypto/keys.h"

#define BLAKE2S_SIZE     32U /* bytes of the longest digest */
#define BLAKE2S_MAC_SIZE 16U /* bytes of WireGuard's MAC() */

/* HASH(a || b), 32 bytes; `out` may be one of the inputs. */
void blake2s_hash(struct view a, struct view b, uint8_t out[BLAKE2S_SIZE]);
/* BLAKE2s of `message` with a digest of out.len bytes, keyed unless `key` is empty. The length is
 * part of the parameter block: a shorter digest is no prefix of a longer one.
 * Asserts: key.len <= 32, 1 <= out.len <= 32. */
void blake2s_digest(struct view key, struct view message, struct span out);
/* HMAC-BLAKE2s of a || b; keys longer than 64 bytes are hashed first. */
void blake2s_hmac(struct view key, struct view a, struct view b, uint8_t out[BLAKE2S_SIZE]);
/* KDFn: fills out[0..count-1]. `key` may be the bytes of one of the outputs.
 * Asserts: 1 <= count <= 3. */
void blake2s_kdf(struct view key, struct view input, struct key32 *const out[], size_t count);

#endif /* CRYPTO_BLAKE2S_H */
