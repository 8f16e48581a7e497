/* sim_campaign: what many runs did together, and what none of them did.
 *
 * Counters live in memory that the worker processes share. Only the program uses it.
 * Source: spec/simulation.md S-31 and section 9.
 */
#ifndef SIM_CAMPAIGN_H
#define SIM_CAMPAIGN_H

#include "sim/sim_states.h"
#include "sim/sim_world.h"

struct sim_campaign;

/* NULL: no shared memory to be had. */
struct sim_campaign *sim_campaign_new(void);
void sim_campaign_free(struct sim_campaign *campaign);
/* Adds one run; workers may do so at the same time. */
void sim_campaign_add(struct sim_campaign *campaign, uint64_t seed, const struct sim_report *report,
                      const struct sim_state_sets *states);
/* Counts and first seeds of everything that happened, then the list of what never did. `cpu_ms`:
 * what the runs cost. */
void sim_campaign_print(const struct sim_campaign *campaign, uint64_t cpu_ms);

#endif /* SIM_CAMPAIGN_H */
