/* sim_sched: virtual time and the heap of events to come.
 *
 * Events leave in order of (time, sequence number of insertion); content and addresses never
 * decide. Time only moves when an event is taken. An event is a function, a context and one number.
 * Memory: the heap grows with malloc; sim_sched_free() gives it back.
 * Source: spec/simulation.md S-03.
 */
#ifndef SIM_SCHED_H
#define SIM_SCHED_H

#include <stddef.h>

#include "base/time.h"

typedef void sim_event_fn(void *context, uint64_t value);

struct sim_event {
    uint64_t at_ns;
    uint64_t sequence;
    sim_event_fn *run;
    void *context;
    uint64_t value;
};

struct sim_sched {
    struct sim_event *heap;
    size_t count;
    size_t capacity;
    uint64_t now_ns; /* since the start of the world */
    uint64_t sequence;
    uint64_t ran;         /* events so far */
    uint64_t ran_at_once; /* events since time moved last: the busy-loop detector */
};

void sim_sched_init(struct sim_sched *sched);
void sim_sched_free(struct sim_sched *sched);

/* Plans an event. One in the past happens now. TIME_NEVER plans nothing. */
void sim_sched_at(struct sim_sched *sched, uint64_t at_ns, sim_event_fn *run, void *context,
                  uint64_t value);
/* The same, `delay` from now. */
void sim_sched_in(struct sim_sched *sched, struct duration delay, sim_event_fn *run, void *context,
                  uint64_t value);
/* Time of the next event, UINT64_MAX when there is none. */
MUST_USE uint64_t sim_sched_next(const struct sim_sched *sched);
/* Moves time to the next event and runs it; false when none is due up to and including `until_ns`
 * (time then moves to `until_ns`). */
MUST_USE bool sim_sched_step(struct sim_sched *sched, uint64_t until_ns);

#endif /* SIM_SCHED_H */
