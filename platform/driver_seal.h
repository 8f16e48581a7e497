/* driver_seal: the form of a sealed recording, and opening one.
 *
 *   "FZSEAL1\n" | 80 bytes: crypto_box_seal(32-byte stream key, public key) |
 *   24 bytes: header of crypto_secretstream_xchacha20poly1305 |
 *   chunks: u32 little-endian length of what follows | ciphertext (plaintext + 17)
 *
 * A chunk carries at most DRIVER_SEAL_CHUNK bytes of plaintext; the last one of an orderly end is
 * tagged FINAL. A file without it (power loss) can be read up to its last whole chunk.
 * Source: design section 8.2.
 */
#ifndef DRIVER_SEAL_H
#define DRIVER_SEAL_H

#include "base/bytes.h"
#include "base/err.h"

#define DRIVER_SEAL_HEADER "FZSEAL1\n"
#define DRIVER_SEAL_CHUNK  65536U

/* Reads an X25519 key, 64 hex digits or 44 base64 characters. */
MUST_USE bool driver_seal_parse_key(const char *text, uint8_t key[32]);

/* Opens a sealed file in memory into `out` (at least as long as `file`); *len says how much.
 * ERR_SYNTAX: not a sealed recording; ERR_CRYPTO: another key, or damaged. ERR_CLOSED: cut short;
 * what came before is in `out`. */
MUST_USE enum err driver_seal_open(struct view file, const uint8_t public_key[32],
                                   const uint8_t secret_key[32], struct span out, size_t *len);

#endif /* DRIVER_SEAL_H */
