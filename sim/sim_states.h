/* sim_states: which states connections were in, and which followed which.
 *
 * A state is a tuple of small classes: path, tunnel, age of the latest handshake, relays, portal,
 * rights of the client, the two edges, and the latest change or fault. It is taken after every
 * event of a gateway that concerns it. Bitmaps say which states and which pairs of consecutive
 * states of one connection were seen; states have a bit each, pairs share theirs by hash, so their
 * number is a lower bound. Nothing in a run depends on them. Memory: malloc. Source:
 * spec/simulation.md S-22.
 */
#ifndef SIM_STATES_H
#define SIM_STATES_H

#include "base/trace.h"
#include "sim/sim_policy.h"

#define SIM_STATES_BITS 23U /* of a state's number, and of a pair's hash */

struct sim_states;

/* Bit sets of SIM_STATES_BITS each. */
struct sim_state_sets {
    uint8_t states[(1U << SIM_STATES_BITS) / 8];
    uint8_t pairs[(1U << SIM_STATES_BITS) / 8];
};

MUST_USE struct sim_states *sim_states_new(void);
void sim_states_free(struct sim_states *states);
/* Their edges, enum sim_edge_kind. */
void sim_states_client_edge(struct sim_states *states, uint32_t client, uint32_t kind);
void sim_states_gateway_edge(struct sim_states *states, uint32_t gateway, uint32_t kind);
/* A change or fault of this kind has had an effect. */
void sim_states_fault(struct sim_states *states, uint32_t kind);
/* A gateway's process is new. */
void sim_states_boot(struct sim_states *states, uint32_t gateway);
/* An event of a gateway; `client` is whom it names, >= SIM_CLIENTS_MAX: none. */
void sim_states_event(struct sim_states *states, uint32_t gateway, uint32_t client,
                      enum trace_id event, uint64_t value, uint64_t now_ns);
MUST_USE const struct sim_state_sets *sim_states_sets(const struct sim_states *states);
/* Bits that are set. */
MUST_USE uint64_t sim_states_count(const uint8_t set[(1U << SIM_STATES_BITS) / 8]);

#endif /* SIM_STATES_H */
