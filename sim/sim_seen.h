/* sim_seen: a growing table from short byte strings to numbers, for oracles that must remember.
 *
 * Nothing decides by the order of its slots. Memory: malloc.
 */
#ifndef SIM_SEEN_H
#define SIM_SEEN_H

#include "base/bytes.h"

#define SIM_SEEN_KEY_MAX 40U

struct sim_seen;

MUST_USE struct sim_seen *sim_seen_new(void);
void sim_seen_free(struct sim_seen *seen);
/* The number of a key; *fresh says that it was not there: it is now, with 0. Valid until the next
 * call. Asserts key.len <= SIM_SEEN_KEY_MAX. */
uint64_t *sim_seen_at(struct sim_seen *seen, struct view key, bool *fresh);
/* Forgets everything. */
void sim_seen_clear(struct sim_seen *seen);
MUST_USE size_t sim_seen_count(const struct sim_seen *seen);

#endif /* SIM_SEEN_H */
