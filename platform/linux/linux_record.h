/* linux_record: the recording of a run on disk, sealed to the operator's key.
 *
 * Inside is one driver_run record (platform/driver_run.h) and the driver's recording behind it; it
 * holds every secret of the run. Plain, the file is just that. Sealed, it is
 *
 *   "FZSEAL1\n" | 80 bytes: crypto_box_seal(32-byte stream key, public key) |
 *   24 bytes: header of crypto_secretstream_xchacha20poly1305 |
 *   chunks: u32 little-endian length of what follows | ciphertext (plaintext + 17)
 *
 * A chunk carries at most LINUX_RECORD_CHUNK bytes of plaintext; the last one of an orderly end is
 * tagged FINAL. A file without it (power loss) can be read up to its last whole chunk.
 * A write error ends the recording, never the gateway.
 */
#ifndef LINUX_RECORD_H
#define LINUX_RECORD_H

#include "platform/driver.h"
#include "platform/driver_run.h"

#define LINUX_RECORD_CHUNK   65536U
#define LINUX_RECORD_FLUSH_S 1U /* at most that much is lost in a crash */

struct linux_record;

/* Creates the file (mode 0600; an existing one is replaced). `public_key` NULL writes it plain.
 * NULL: *err says why. */
struct linux_record *linux_record_create(const char *file, const uint8_t public_key[32],
                                         enum err *err);
/* Writes the last chunk and closes. */
void linux_record_finish(struct linux_record *record);
/* Writes what the run starts with; before the driver is initialised. */
void linux_record_start(struct linux_record *record, const struct driver_run *run);
/* The recorder for the driver. */
struct driver_recorder linux_record_recorder(struct linux_record *record);
/* Writes out what waits longer than LINUX_RECORD_FLUSH_S. */
void linux_record_tick(struct linux_record *record, struct instant now);
/* Not ERR_NONE once a write failed. */
MUST_USE enum err linux_record_state(const struct linux_record *record);

/* Reads an X25519 public key, 64 hex digits or 44 base64 characters. */
MUST_USE bool linux_record_parse_key(const char *text, uint8_t key[32]);

/* Opens a sealed file in memory into `out` (at least as long as `file`); *len says how much.
 * ERR_SYNTAX: not a sealed recording; ERR_CRYPTO: another key, or damaged. ERR_CLOSED: cut short;
 * what came before is in `out`. */
MUST_USE enum err linux_record_unseal(struct view file, const uint8_t public_key[32],
                                      const uint8_t secret_key[32], struct span out, size_t *len);

#endif /* LINUX_RECORD_H */
