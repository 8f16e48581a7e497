/* sim_world: one simulated world: gateways under test, the nodes around them, and the judge.
 *
 * A world is a function of an action list (options, seed, actions). The safety phase executes the
 * list with all its faults; the liveness phase repairs everything, waits a computed bound and then
 * requires what the model promises. The first failure ends the run.
 * Source: spec/simulation.md sections 6.6 and 8; style-anchors section 2.13.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdio.h>

#include "base/fault.h"
#include "base/trace.h"
#include "sim/sim_action.h"
#include "sim/sim_states.h"
#include "sim/sim_trace.h"

struct sim_failure {
    const char *oracle; /* "O-01", ...; NULL: none. Static text */
    uint64_t at_ns;
    char text[320];
};

struct sim_world_config {
    const struct sim_list *list; /* borrowed */
    FILE *verbose;               /* every record as text; NULL: none */
    uint64_t verbose_from_ns;
    const struct sim_trace_tap *taps; /* of the trace; borrowed while the world is made */
    size_t taps_count;
    /* Recordings of the gateways are written to files named RECORD-GATEWAY-BOOT; NULL: none. */
    const char *record;
    uint64_t until_ns; /* stop here without the liveness phase; 0: run to the end */
};

/* What a run did; for reports and for tests that nothing is idle. */
struct sim_report {
    uint64_t events;
    uint64_t records;
    uint64_t simulated_ns;
    uint64_t probes;
    uint64_t probes_inside; /* that left a gateway's TUN device */
    uint64_t probes_replied;
    uint64_t probes_refused; /* answered by an ICMP error */
    uint64_t required;       /* probes that had to be answered */
    uint64_t tcp_finished;
    uint64_t tcp_failed;
    uint64_t direct_paths;
    uint64_t relay_paths;
    uint64_t boots;
    uint64_t datagrams;
    uint64_t drops;
    uint64_t joined[4]; /* datagrams in and out, packets in and out that stood in a group behind
                           another, in the present boots */
    uint64_t actions[SIM_ACTION_COUNT]; /* that had an effect */
    uint64_t seen[EV_COUNT];            /* events of the gateways */
    uint64_t faults[FAULT_COUNT];       /* of the cores, by point: how often it fired */
    uint64_t refused[DROP_COUNT];       /* drops and refusals of the gateways, by reason */
};

struct sim_world;

MUST_USE struct sim_world *sim_world_new(const struct sim_world_config *config);
void sim_world_free(struct sim_world *world);
/* Runs to the end or to the first failure. Returns the failure (oracle NULL: none), valid as long
 * as the world. */
const struct sim_failure *sim_world_run(struct sim_world *world);
const struct sim_trace *sim_world_trace(const struct sim_world *world);
/* The static key of client `index` in this world; false: no such client. */
MUST_USE bool sim_world_client_key(const struct sim_world *world, uint32_t index, uint8_t key[32]);
/* States of connections so far. */
const struct sim_state_sets *sim_world_states(const struct sim_world *world);
uint64_t sim_world_now(const struct sim_world *world);
void sim_world_report(struct sim_world *world, struct sim_report *out);

#endif /* SIM_WORLD_H */
