/* sim_judge: oracles that need nothing but the records of a run: what a gateway says to the world.
 *
 *   O-07  the packets of one TCP connection to a name keep going to one real address
 *   O-08  no ephemeral key, no (session, counter) and no transaction id is used twice; the index of
 *         a session is not given again while the session may live
 *   O-09  data belongs to a session that a handshake made, and is not sent after its life
 *   O-10  a stranger gets at most three times the bytes that it sent
 *   O-15  tokens, passwords and keys are in no event of a gateway and in no STUN message
 *
 * It reads datagrams with code of its own. Used as a tap of the trace. Memory: malloc.
 * Source: spec/simulation.md section 8.1; spec/wireguard.md section 5 (life of a session: 180 s).
 */
#ifndef SIM_JUDGE_H
#define SIM_JUDGE_H

#include "sim/sim_packet.h"
#include "sim/sim_policy.h"
#include "sim/sim_trace.h"

#define SIM_AMPLIFICATION_MAX 3U

struct sim_judge_config {
    void *self;
    /* An oracle failed. */
    void (*failed)(void *self, const char *oracle, const char *text);
    /* When the gateway decided to send what it sends now (world time): it may have been held. */
    uint64_t (*decided_ns)(void *self, uint32_t gateway);
};

struct sim_judge;

MUST_USE struct sim_judge *sim_judge_new(const struct sim_judge_config *config);
void sim_judge_free(struct sim_judge *judge);
/* Records of this node are those of gateway `gateway`. */
void sim_judge_gateway(struct sim_judge *judge, uint32_t gateway, uint16_t node);
/* Datagrams to and from this address are those of a stranger. */
void sim_judge_stranger(struct sim_judge *judge, struct ip_addr ip);
/* This text must stay hidden. Short ones are ignored. */
void sim_judge_secret(struct sim_judge *judge, struct view secret);
/* The gateway's process is new: sessions of the old one are over. */
void sim_judge_boot(struct sim_judge *judge, uint32_t gateway);

/* The tap: `self` is the judge. */
void sim_judge_see(void *self, const struct sim_record *record);

/* A TCP packet of a client left the TUN device towards a name's address. A connection whose FIN
 * went by counts until it was silent for 5 s: then its session may be over, and a late
 * acknowledgement begins another (spec/dataplane.md section 5.6). */
void sim_judge_flow(struct sim_judge *judge, uint32_t gateway, uint32_t client, uint64_t now_ns,
                    const struct sim_packet *packet);
/* Policy or names of the gateway changed: flows may begin anew. */
void sim_judge_flows_forget(struct sim_judge *judge, uint32_t gateway);

#endif /* SIM_JUDGE_H */
