/* sim_rekey: the oracle about handshakes that gateways begin (O-18).
 *
 *   - two initiations of one tunnel are at least 5 s apart, and one that nobody answers is followed
 *     by the next while the tunnel is used;
 *   - a session that a gateway began is renewed by it: whoever begins the next handshake, the
 *     gateway has tried when it goes on sending data at the age of 120 s;
 *   - a gateway whose data nothing answers for 15 s begins a handshake.
 *
 * What is sent is judged by when the gateway decided to send it. What it hears is taken for
 * authentic, which can only forgive. Used as a tap of the trace. Memory: malloc.
 * Source: spec/wireguard.md sections 7 and 8, with the times of section 11.
 */
#ifndef SIM_REKEY_H
#define SIM_REKEY_H

#include "sim/sim_judge.h"

struct sim_rekey;

MUST_USE struct sim_rekey *sim_rekey_new(const struct sim_judge_config *config);
void sim_rekey_free(struct sim_rekey *rekey);
/* Records of this node are those of gateway `gateway`. */
void sim_rekey_gateway(struct sim_rekey *rekey, uint32_t gateway, uint16_t node);
/* The gateway's process is new. */
void sim_rekey_boot(struct sim_rekey *rekey, uint32_t gateway);
/* The gateway stands still from now on: what is due meanwhile comes when it goes on. */
void sim_rekey_paused(struct sim_rekey *rekey, uint32_t gateway);

/* The tap: `self` is the oracle. */
void sim_rekey_see(void *self, const struct sim_record *record);

#endif /* SIM_REKEY_H */
