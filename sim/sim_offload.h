/* sim_offload: what a kernel does with the offload metadata of a TUN write: it cuts super-packets
 * and completes checksums.
 *
 * Written apart from src/packet, so that both must agree.
 * Source: virtio 1.2 section 5.1.6; spec/dataplane.md section 11.5.
 */
#ifndef SIM_OFFLOAD_H
#define SIM_OFFLOAD_H

#include "gateway/gateway_io.h"

/* Calls `emit` for each packet that the write stands for. Returns NULL, or what is wrong with the
 * write as static text (nothing may have been emitted then). */
MUST_USE const char *sim_offload_cut(struct span packet, const struct gateway_offload *offload,
                                     void (*emit)(void *self, struct view packet), void *self);

/* Appends a TCP segment to the super-packet (or first segment) in `super` as a kernel with TSO
 * hands it to a TUN device: the same flow, the next bytes, the next identification, nothing but ACK
 * so far. `room` is what `super` holds at most; *len and *offload grow. False: it does not follow.
 */
MUST_USE bool sim_offload_join(uint8_t *super, size_t room, size_t *len,
                               struct gateway_offload *offload, struct view next);

#endif /* SIM_OFFLOAD_H */
