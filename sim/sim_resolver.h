/* sim_resolver: how the simulated platform answers the gateway's lookups.
 *
 * Implemented by sim/sim_dns.h. start() is called with a lookup; the resolver says when the answer
 * is due and fills it in when it is asked at that time. Pure apart from its own state.
 * Source: spec/simulation.md section 10 ("DNS").
 */
#ifndef SIM_RESOLVER_H
#define SIM_RESOLVER_H

#include "gateway/gateway_io.h"

struct sim_resolver {
    void *self;
    /* A gateway (index `gateway`) asks. Returns the latency of the answer; TIME_NEVER.ns when there
     * will never be one (the core's own time-out is what is tested). */
    struct duration (*start)(void *self, struct clock_pair now, uint32_t gateway,
                             const struct gateway_lookup *lookup);
    /* The answer is due: fills `out` (records live until the next call). `lookup` has the same
     * content as at start(), the answer is drawn from the table as it is now. */
    void (*answer)(void *self, struct clock_pair now, uint32_t gateway,
                   const struct gateway_lookup *lookup, struct gateway_lookup_answer *out);
};

#endif /* SIM_RESOLVER_H */
