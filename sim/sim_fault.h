/* sim_fault: decides when the fault points of a gateway's core fire.
 *
 * Each point has a stream of its own for each boot, so that arming one more changes nothing about
 * the others. Those that cost a packet, an answer or time stop when the world heals; all others go
 * on: with them everything is promised. Source: spec/simulation.md S-07, S-19.
 */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include "base/fault.h"
#include "sim/sim_rng.h"

struct sim_fault {
    struct sim_rng rng;
    uint32_t gateway;
    uint32_t boot;
    uint32_t armed; /* bit set of enum fault_id */
    bool calm;      /* nothing fires any more that costs something */
    struct fault_hook hook;
    uint64_t visits[FAULT_COUNT]; /* of this boot */
    uint64_t fired[FAULT_COUNT];  /* of all boots */
};

static_assert(FAULT_COUNT <= 32, "they are bits of an option");

void sim_fault_init(struct sim_fault *fault, const struct sim_rng *rng, uint32_t gateway,
                    uint32_t armed);
/* A new process: what to hand to its gateway_config. NULL: nothing is armed. */
const struct fault_hook *sim_fault_boot(struct sim_fault *fault, uint32_t boot);
const char *sim_fault_name(enum fault_id id);

#endif /* SIM_FAULT_H */
