/* ice_checklist: the pairs of an agent: formed, kept in order, bounded, selected.
 *
 * Source: spec/connectivity.md sections 5.8 (forming), 5.16 (selection), 5.17 (state).
 * The parts of ice_agent that work on its pairs; nobody else calls them.
 */
#ifndef ICE_CHECKLIST_H
#define ICE_CHECKLIST_H

#include "ice/ice_agent.h"

/* How much a pair is worth when the list is full; the lowest goes first. */
enum ice_worth {
    ICE_WORTH_IDLE,   /* not nominated, the peer is not heard on it */
    ICE_WORTH_HEARD,  /* not nominated, but heard */
    ICE_WORTH_SILENT, /* nominated, but silent */
    ICE_WORTH_NOMINATED,
    ICE_WORTH_SELECTED, /* never goes */
};

/* The timing profile in use. */
const struct ice_timing *ice_checklist_timing(const struct ice_agent *agent);

/* Returns the pair that sends from `base` to `remote`, or NULL. */
struct ice_pair *ice_checklist_find(struct ice_agent *agent, const struct sock_addr *base,
                                    const struct sock_addr *remote);
/* Returns the pair and slot of an open check with this transaction id, or NULL. */
struct ice_pair *ice_checklist_find_txn(struct ice_agent *agent, const struct stun_txn *txn,
                                        uint8_t *slot);
MUST_USE bool ice_checklist_uses_local(const struct ice_agent *agent, uint8_t local);
MUST_USE bool ice_checklist_uses_remote(const struct ice_agent *agent, uint8_t remote);

/* Priority that a pair of these candidates has. */
MUST_USE uint64_t ice_checklist_priority(const struct ice_agent *agent, uint32_t local,
                                         uint32_t remote);
/* Makes a place for a pair of this worth and priority, if need be by dropping the lowest pair.
 * False when all pairs are worth at least as much. */
MUST_USE bool ice_checklist_make_room(struct ice_agent *agent, enum ice_worth worth,
                                      uint64_t priority);
/* Appends a pair behind its equals; the room was made before. */
struct ice_pair *ice_checklist_insert(struct ice_agent *agent, uint8_t local, uint8_t remote,
                                      struct instant now);
/* Pairs candidates unless their families differ or a pair of the same base and remote address and
 * at least the same priority exists; one of lower priority is replaced and hands on its nomination.
 * A full list drops its lowest pair, maybe this one. */
void ice_checklist_form(struct ice_agent *agent, uint8_t local, uint8_t remote, struct instant now);
void ice_checklist_remove_local(struct ice_agent *agent, uint8_t local);
void ice_checklist_remove_remote(struct ice_agent *agent, uint8_t remote);

/* Removes dead pairs, selects the best nominated pair, evaluates the state. */
void ice_checklist_settle(struct ice_agent *agent, struct instant now);

/* The peer has nominated `pair` just now: its last choice, unless a message that was overtaken says
 * so about a pair that is worse than the selected one. */
void ice_checklist_chosen(struct ice_agent *agent, const struct ice_pair *pair);

#endif /* ICE_CHECKLIST_H */
