/* driver_run: what a run was started with, written in front of its recording.
 *
 * A recording replays only into a gateway that was built with the same limits, configuration,
 * clocks and seed; this record holds them. Layout, little-endian:
 *
 *   "FZRUN2\n" | u32 length of the rest of this record | 9 x u32 limits in the order of struct
 *   gateway_limits | u64 boot ns | u64 Unix ns | 32 bytes seed | 19 bytes health address |
 *   u64 partition_max_s | u8 nat64_translate | u8 refuse_own_addresses |
 *   5 x (u16 length, bytes): api_url, token, firezone_id, name, user_agent
 *
 * The driver's recording ("FZREC1\n", platform/driver_record.h) follows. It holds secrets.
 */
#ifndef DRIVER_RUN_H
#define DRIVER_RUN_H

#include "gateway/gateway.h"

#define DRIVER_RUN_MAX 16384U /* bytes of an encoded record */

struct driver_run {
    struct gateway_limits limits;
    struct gateway_config config;
    struct clock_pair started;
    uint8_t seed[32];
};

/* False: it does not fit. */
MUST_USE bool driver_run_encode(const struct driver_run *run, struct writer *w);
/* Reads a record and leaves the recording in *rest. Texts point into `bytes`. False: not one. */
MUST_USE bool driver_run_decode(struct view bytes, struct driver_run *run, struct view *rest);

#endif /* DRIVER_RUN_H */
