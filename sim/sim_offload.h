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

#endif /* SIM_OFFLOAD_H */
