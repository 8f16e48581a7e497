/* sim_quiet: O-14, what a gateway may say when nobody asks it for anything.
 *
 * No flat number: each datagram that leaves needs its own reason, worked out from the records of
 * the run and the constants of the protocols, so the bound follows from what is alive.
 *
 *   checks        per pair (peer, or channel of a relay, and both ufrags): every 25 s while the
 *                 connection is idle, every 15 s while it has traffic, no path, or none but
 *                 nominated pairs; without an answer after 250 ms, doubling; at most 16 pairs a
 *                 connection that has a path, else 100, and those that new ones displaced
 *                 (spec/connectivity.md sections 5.14, 5.15, 6.7; design 8.4)
 *   answers       one for each request that arrived
 *   initiations   5 s apart, four tries; 120 s after one that was answered, 15 s with traffic
 *   responses     one for each initiation that arrived
 *   keepalives    one for each packet that arrived within 10 s, one to confirm a handshake
 *                 (spec/wireguard.md sections 8 and 11)
 *   packets       only while the TUN device or a client brings some, or names are looked up
 *   relays        per server: BINDING every 25 s, REFRESH and CHANNEL-BIND every 300 s, again at
 *                 once after an error, after 250 ms without an answer, 2 s after a new allocation;
 *                 ALLOCATE once for each allocation that was lost
 *                 (sections 3.4, 3.6, 3.7)
 *
 * Whoever has just got a path or candidates may do all of this sooner: sim_quiet_woken().
 * Used as a tap of the trace, from the beginning of the run; judges once told to. Memory: malloc.
 * Source: spec/simulation.md section 8.1.
 */
#ifndef SIM_QUIET_H
#define SIM_QUIET_H

#include "sim/sim_policy.h"
#include "sim/sim_trace.h"

struct sim_quiet;

/* `failed` gets what was said without a reason. */
MUST_USE struct sim_quiet *sim_quiet_new(void *self, void (*failed)(void *self, const char *oracle,
                                                                    const char *text));
void sim_quiet_free(struct sim_quiet *quiet);
/* Records of this node are those of gateway `gateway`. */
void sim_quiet_gateway(struct sim_quiet *quiet, uint32_t gateway, uint16_t node);
/* The tap: `self` is a struct sim_quiet. */
void sim_quiet_see(void *self, const struct sim_record *record);
/* Something of a connection of this gateway has changed: a path, a candidate, a right (the client
 * is told goodbye with its last one), or it is new. */
void sim_quiet_woken(struct sim_quiet *quiet, uint32_t gateway, uint64_t now_ns);
/* An allocation was lost: it is made again, sooner or later. */
void sim_quiet_relay_lost(struct sim_quiet *quiet, uint32_t gateway, uint64_t now_ns);
/* A relay has failed: it will be tried again after 30 s, or 300 s if it refused. */
void sim_quiet_relay_failed(struct sim_quiet *quiet, uint32_t gateway, uint64_t now_ns);
/* There are no faults any more: from now on a path that carries packets is checked. */
void sim_quiet_healed(struct sim_quiet *quiet, uint64_t now_ns);
/* From now on nobody asks for anything. */
void sim_quiet_judge(struct sim_quiet *quiet, bool on);

#endif /* SIM_QUIET_H */
