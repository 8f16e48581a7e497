/* sim_watch: whose record it is, and how far its times may be off, for oracles about gateways. */
#ifndef SIM_WATCH_H
#define SIM_WATCH_H

#include "base/assert.h"
#include "sim/sim_policy.h"

/* Times of a clock that runs 900 ppm fast or slow, and rounding. */
#define SIM_LEAST(ns) ((ns) - (ns) / 1000U - 5 * NS_PER_MS)
#define SIM_MOST(ns)  ((ns) + (ns) / 1000U + 5 * NS_PER_MS)

/* Nodes of gateways; zeroed: none. */
struct sim_watch {
    bool used[SIM_GATEWAYS_MAX];
    uint16_t node[SIM_GATEWAYS_MAX];
};

/* Records of this node are those of gateway `gateway`. */
static inline void sim_watch_add(struct sim_watch *watch, uint32_t gateway, uint16_t node)
{
    ASSERT(gateway < SIM_GATEWAYS_MAX);
    watch->used[gateway] = true;
    watch->node[gateway] = node;
}

/* The gateway whose node this is; SIM_GATEWAYS_MAX: none's. */
MUST_USE static inline uint32_t sim_watch_find(const struct sim_watch *watch, uint16_t node)
{
    uint32_t gateway = 0;
    while (gateway < SIM_GATEWAYS_MAX && !(watch->used[gateway] && watch->node[gateway] == node)) {
        gateway++;
    }
    return gateway;
}

#endif /* SIM_WATCH_H */
