/* linux_record: the recording of a run on disk, sealed to the operator's key.
 *
 * Inside is one driver_run record (platform/driver_run.h) and the driver's recording behind it; it
 * holds every secret of the run. Plain, the file is just that; the sealed form stands in
 * platform/driver_seal.h, which also opens it.
 * A write error ends the recording, never the gateway; it is told once, as EV_ENVIRONMENT.
 */
#ifndef LINUX_RECORD_H
#define LINUX_RECORD_H

#include "base/trace.h"
#include "platform/driver.h"
#include "platform/driver_run.h"
#include "platform/driver_seal.h"

#define LINUX_RECORD_FLUSH_S 1U        /* at most that much is lost in a crash */
#define LINUX_RECORD_PIPE    (1 << 20) /* bytes that a pipe may hold, best effort */

struct linux_record;

/* Creates the file (mode 0600; an existing one is replaced, a device or pipe keeps its mode).
 * `public_key` NULL writes it plain. Nothing waits for a reader: a FIFO without one is refused, one
 * whose reader falls LINUX_RECORD_PIPE behind ends the recording. NULL: *why is a sentence. */
struct linux_record *linux_record_create(const char *file, const uint8_t public_key[32],
                                         const char **why);
/* Where a write error is told. */
void linux_record_tell(struct linux_record *record, struct trace trace);
/* Writes the last chunk and closes. */
void linux_record_finish(struct linux_record *record);
/* Writes what the run starts with; before the driver is initialised. */
void linux_record_start(struct linux_record *record, const struct driver_run *run);
/* The recorder for the driver. */
struct driver_recorder linux_record_recorder(struct linux_record *record);
/* Writes out what waits longer than LINUX_RECORD_FLUSH_S; tells an error since the last call. */
void linux_record_tick(struct linux_record *record, struct instant now);
/* Not ERR_NONE once a write failed. */
MUST_USE enum err linux_record_state(const struct linux_record *record);

#endif /* LINUX_RECORD_H */
