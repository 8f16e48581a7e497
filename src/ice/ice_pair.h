/* ice_pair: one local and one remote candidate, the checks sent between them and their schedule.
 *
 * Source: spec/connectivity.md sections 5.14 and 5.15 (head's timing), RFC 8445 section 6.1.2.6.
 * Differs: instead of the last R attempts a pair remembers counters and the last ICE_TXNS_MAX
 * transaction ids (design 8.4); an answer later than that many checks is not recognised.
 * Memory: plain values in a list of ice_agent. Time: `now` never goes backwards.
 */
#ifndef ICE_PAIR_H
#define ICE_PAIR_H

#include "base/time.h"

struct ice_timing;

#define ICE_TXNS_MAX 8U /* checks whose answers are recognised */

/* While the peer sends requests on a pair it lives, though our own checks find no answer. */
#define ICE_PEER_ALIVE DURATION_S(15)

/* A pair is silent when the peer was heard on some other pair this often and for this long since it
 * was last heard on this one. Relative to one other pair, because an active client is heard every
 * 1.5 s on each pair, an idle one every 25 s or 60 s. */
#define ICE_SILENT_COUNT 3U
#define ICE_SILENT_AFTER DURATION_S(4)

enum ice_pair_state {
    ICE_PAIR_WAITING,
    ICE_PAIR_IN_PROGRESS,
    ICE_PAIR_SUCCEEDED,
};

enum ice_nomination {
    ICE_NOT_NOMINATED,
    ICE_NOMINATED,    /* its check has not been sent yet: sent before all others */
    ICE_ATTEMPT_SENT, /* the check that carries or answers the nomination is under way */
    ICE_NOMINATION_DONE,
};

struct ice_pair {
    uint64_t priority;
    uint64_t txns[ICE_TXNS_MAX];        /* last eight bytes of the id; newest at `txns_head` */
    uint32_t txn_gaps_us[ICE_TXNS_MAX]; /* time since the check before it, saturated */
    struct instant sent_at;             /* last check */
    struct instant unanswered_since;    /* first of the unanswered checks at the end */
    struct instant next_at;             /* cached; recomputed on check, answer, profile change */
    struct instant requested_at;        /* last request of the peer */
    struct instant heard[ICE_SILENT_COUNT]; /* last requests or answers of the peer, newest first */
    uint32_t id;                            /* not 0 */
    uint8_t local;                          /* index into the agent's locals */
    uint8_t remote;                         /* index into the agent's remotes */
    uint8_t state;                          /* enum ice_pair_state */
    uint8_t nomination;                     /* enum ice_nomination */
    uint8_t attempts_count;                 /* checks sent, saturated */
    uint8_t unanswered_count;               /* of them unanswered, at the end; saturated */
    uint8_t txns_count;                     /* <= ICE_TXNS_MAX */
    uint8_t txns_head;                      /* index of the newest */
    uint8_t txns_answered;                  /* bit per index */
    uint8_t txns_nominated;                 /* bit per index: sent while nominated */
    bool was_requested;                     /* requested_at is set */
    uint8_t heard_count;                    /* entries of `heard` that are set */
};

/* Starts a pair that is due at once. */
void ice_pair_init(struct ice_pair *pair, uint8_t local, uint8_t remote, uint64_t priority,
                   struct instant now);

/* Gap after `attempts` checks: 0 for none, else min(I * 2^min(attempts - 1, R), M). */
MUST_USE struct duration ice_timing_delay(const struct ice_timing *timing, uint32_t attempts);

/* Recomputes next_at from the counters. */
void ice_pair_schedule(struct ice_pair *pair, const struct ice_timing *timing, struct instant now);
/* When the next check is due; the time 0 when a nomination waits to be sent. */
MUST_USE struct instant ice_pair_due_at(const struct ice_pair *pair);
/* True when R checks remained without answer for their last gap and the peer asks no more. */
MUST_USE bool ice_pair_is_dead(const struct ice_pair *pair, const struct ice_timing *timing,
                               struct instant now);

/* Records a check sent with this id and schedules the next one. */
void ice_pair_sent(struct ice_pair *pair, uint64_t txn, const struct ice_timing *timing,
                   struct instant now);
/* Finds an unanswered check. False when the id is unknown, forgotten or answered. */
MUST_USE bool ice_pair_find_txn(const struct ice_pair *pair, uint64_t txn, uint8_t *slot);
/* Records the answer to the check in `slot`: the pair has succeeded. */
void ice_pair_answered(struct ice_pair *pair, uint8_t slot, const struct ice_timing *timing,
                       struct instant now);

/* Records a message of the peer on this pair; `is_request` keeps the pair alive. */
void ice_pair_heard(struct ice_pair *pair, bool is_request, struct instant now);
/* True when `pair` is silent in comparison with `other`. */
MUST_USE bool ice_pair_is_silent(const struct ice_pair *pair, const struct ice_pair *other);

#endif /* ICE_PAIR_H */
