/* sim_timeline: a run as a table of text: one line for each moment at which something happened, one
 * column for each node.
 *
 * What a gateway says about itself (events of level INFO and above, by name), what the world does
 * (actions, faults, oracles) and what other nodes note stand in lines of their own; datagrams are
 * counted and shown as ">sent <received xlost" once in SIM_TIMELINE_EVERY_S seconds. Used as a tap
 * of the trace. Memory: malloc. Source: spec/simulation.md S-29.
 */
#ifndef SIM_TIMELINE_H
#define SIM_TIMELINE_H

#include <stdio.h>

#include "sim/sim_trace.h"

#define SIM_TIMELINE_EVERY_S 10U

struct sim_timeline;

/* `to` stays the caller's. */
MUST_USE struct sim_timeline *sim_timeline_new(FILE *to);
/* Writes what has been counted since the last line. */
void sim_timeline_free(struct sim_timeline *timeline);
/* The tap: `self` is the sim_timeline. */
void sim_timeline_see(void *self, const struct sim_record *record);

#endif /* SIM_TIMELINE_H */
