/* ice_list: the lists of an agent and places in those of candidates.
 *
 * Pairs refer to candidates by index, so an entry keeps its place; a full list reuses entries that
 * no pair refers to (spec/connectivity.md section 10). Used by ice_agent only.
 */
#ifndef ICE_LIST_H
#define ICE_LIST_H

#include "ice/ice_agent.h"

/* Change the number of entries; what is added is not set, entries move to other addresses. */
void ice_list_resize_replies(struct ice_agent *agent, uint8_t count);
void ice_list_resize_locals(struct ice_agent *agent, uint8_t count);
void ice_list_resize_remotes(struct ice_agent *agent, uint8_t count);
void ice_list_resize_pairs(struct ice_agent *agent, uint8_t count);

/* Finds a place: a new one, else a discarded or discovered (prflx) candidate, else the oldest
 * without pairs: of an address that the host has no longer, as a host that moves often gets more
 * candidates than there are places. False when every entry has a live pair. */
MUST_USE bool ice_list_local_slot(const struct ice_agent *agent, uint8_t *slot);
/* Finds a place: a new one, else one without pairs: discarded ones first, then prflx, then the
 * oldest. False when every entry has a live pair. */
MUST_USE bool ice_list_remote_slot(const struct ice_agent *agent, uint8_t *slot);

/* Stores a candidate in a place found before. */
void ice_list_put_local(struct ice_agent *agent, uint8_t slot,
                        const struct ice_candidate *candidate);
void ice_list_put_remote(struct ice_agent *agent, uint8_t slot,
                         const struct ice_candidate *candidate);
/* Makes an entry without pairs a discarded one of no address. */
void ice_list_forget_remote(struct ice_agent *agent, uint8_t slot);

#endif /* ICE_LIST_H */
