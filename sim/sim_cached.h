/* sim_cached: the oracle about what gateways remember of names (O-19).
 *
 * A request of a client that causes no lookup is answered from what the gateway remembers: that is
 * what its resolver has said of both families, without a failure, no longer ago than the smaller of
 * the two TTLs.
 * Memory: fixed. Source: spec/dataplane.md section 2.5, design section 8.4.
 */
#ifndef SIM_CACHED_H
#define SIM_CACHED_H

#include "sim/sim_judge.h"

struct sim_cached;

MUST_USE struct sim_cached *sim_cached_new(const struct sim_judge_config *config);
void sim_cached_free(struct sim_cached *cached);
/* The gateway's process is new: it remembers nothing. */
void sim_cached_boot(struct sim_cached *cached, uint32_t gateway);

/* A client has asked for the name, and, at `now_ns` of the world, it is served. */
void sim_cached_wanted(struct sim_cached *cached, uint32_t gateway, struct view name,
                       uint64_t now_ns);
void sim_cached_served(struct sim_cached *cached, uint32_t gateway, struct view name,
                       uint64_t now_ns);
/* The gateway asks its resolver for one family, and has the answer: `failed` does not mean that the
 * name or its addresses do not exist. `ttl_s`: of the addresses, UINT32_MAX without any. */
void sim_cached_asked(struct sim_cached *cached, uint32_t gateway, struct view name,
                      uint32_t lookup);
void sim_cached_answered(struct sim_cached *cached, uint32_t gateway, uint32_t lookup, bool failed,
                         uint32_t ttl_s);

#endif /* SIM_CACHED_H */
