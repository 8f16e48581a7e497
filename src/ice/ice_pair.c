#include "ice/ice_pair.h"

#include <string.h>

#include "ice/ice_agent.h"

void ice_pair_init(struct ice_pair *pair, uint8_t local, uint8_t remote, uint64_t priority,
                   struct instant now)
{
    memset(pair, 0, sizeof(*pair));
    pair->local = local;
    pair->remote = remote;
    pair->priority = priority;
    pair->next_at = now;
}

struct duration ice_timing_delay(const struct ice_timing *timing, uint32_t attempts)
{
    if (attempts == 0) {
        return DURATION_ZERO;
    }
    uint32_t shift = attempts - 1 < timing->retransmits ? attempts - 1 : timing->retransmits;
    /* Compared before the shift, which would overflow for 45 attempts. */
    if (shift > 63 || timing->rto_initial.ns > timing->rto_max.ns >> shift) {
        return timing->rto_max;
    }
    return (struct duration){timing->rto_initial.ns << shift};
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
    return value < limit ? value : limit;
}

void ice_pair_schedule(struct ice_pair *pair, const struct ice_timing *timing, struct instant now)
{
    if (pair->attempts_count == 0) {
        pair->next_at = now;
        return;
    }
    uint32_t attempts = at_most(pair->attempts_count, timing->retransmits);
    uint32_t unanswered = at_most(pair->unanswered_count, timing->retransmits);
    bool is_failing =
        unanswered > 0 && instant_since(now, pair->unanswered_since).ns > timing->rto_max.ns / 2;
    struct duration delay = ice_timing_delay(timing, is_failing ? unanswered : attempts);
    pair->next_at =
        instant_min(instant_add(pair->sent_at, delay), instant_add(now, timing->rto_max));
}

struct instant ice_pair_due_at(const struct ice_pair *pair)
{
    return pair->nomination == ICE_NOMINATED ? (struct instant){0} : pair->next_at;
}

bool ice_pair_is_dead(const struct ice_pair *pair, const struct ice_timing *timing,
                      struct instant now)
{
    if (pair->unanswered_count < timing->retransmits) {
        return false;
    }
    struct duration last_gap = ice_timing_delay(timing, timing->retransmits);
    if (!instant_reached(now, instant_add(pair->sent_at, last_gap))) {
        return false;
    }
    return !pair->was_requested ||
           instant_reached(now, instant_add(pair->requested_at, ICE_PEER_ALIVE));
}

static uint8_t saturated_next(uint8_t count)
{
    return count == UINT8_MAX ? count : (uint8_t)(count + 1);
}

void ice_pair_sent(struct ice_pair *pair, uint64_t txn, const struct ice_timing *timing,
                   struct instant now)
{
    uint64_t gap_us =
        pair->attempts_count == 0 ? 0 : instant_since(now, pair->sent_at).ns / NS_PER_US;
    uint8_t slot = (uint8_t)((pair->txns_head + 1U) % ICE_TXNS_MAX);
    uint8_t bit = (uint8_t)(1U << slot);
    pair->txns_head = slot;
    pair->txns[slot] = txn;
    pair->txn_gaps_us[slot] = gap_us < UINT32_MAX ? (uint32_t)gap_us : UINT32_MAX;
    pair->txns_answered &= (uint8_t)~bit;
    pair->txns_nominated &= (uint8_t)~bit;
    if (pair->nomination != ICE_NOT_NOMINATED) {
        pair->txns_nominated |= bit;
    }
    if (pair->txns_count < ICE_TXNS_MAX) {
        pair->txns_count++;
    }
    if (pair->unanswered_count == 0) {
        pair->unanswered_since = now;
    }
    pair->attempts_count = saturated_next(pair->attempts_count);
    pair->unanswered_count = saturated_next(pair->unanswered_count);
    pair->sent_at = now;
    if (pair->state == ICE_PAIR_WAITING) {
        pair->state = ICE_PAIR_IN_PROGRESS;
    }
    if (pair->nomination == ICE_NOMINATED) {
        pair->nomination = ICE_ATTEMPT_SENT;
    }
    ice_pair_schedule(pair, timing, now);
    ASSERT(instant_before(now, pair->next_at));
}

/* Number of checks that were sent after the one in `slot`. */
static uint8_t slot_age(const struct ice_pair *pair, uint8_t slot)
{
    return (uint8_t)((pair->txns_head + ICE_TXNS_MAX - slot) % ICE_TXNS_MAX);
}

bool ice_pair_find_txn(const struct ice_pair *pair, uint64_t txn, uint8_t *slot)
{
    for (uint8_t i = 0; i < ICE_TXNS_MAX; i++) {
        bool is_open = slot_age(pair, i) < pair->txns_count && (pair->txns_answered >> i & 1U) == 0;
        if (is_open && pair->txns[i] == txn) {
            *slot = i;
            return true;
        }
    }
    return false;
}

void ice_pair_answered(struct ice_pair *pair, uint8_t slot, const struct ice_timing *timing,
                       struct instant now)
{
    ASSERT(slot < ICE_TXNS_MAX);
    uint8_t later = slot_age(pair, slot);
    ASSERT(later < pair->txns_count);
    pair->txns_answered |= (uint8_t)(1U << slot);
    if (later < pair->unanswered_count) {
        /* The unanswered checks now begin with the one after `slot`. */
        struct instant at = pair->sent_at;
        for (uint8_t age = 0; age + 1 < later; age++) {
            uint8_t i = (uint8_t)((pair->txns_head + ICE_TXNS_MAX - age) % ICE_TXNS_MAX);
            at = instant_sub(at, (struct duration){pair->txn_gaps_us[i] * NS_PER_US});
        }
        pair->unanswered_count = later;
        pair->unanswered_since = at;
    }
    if (pair->state == ICE_PAIR_IN_PROGRESS) {
        pair->state = ICE_PAIR_SUCCEEDED;
    }
    if (pair->nomination == ICE_ATTEMPT_SENT && (pair->txns_nominated >> slot & 1U) != 0) {
        pair->nomination = ICE_NOMINATION_DONE;
    }
    ice_pair_schedule(pair, timing, now);
}

void ice_pair_heard(struct ice_pair *pair, bool is_request, struct instant now)
{
    for (size_t i = ICE_SILENT_COUNT - 1; i > 0; i--) {
        pair->heard[i] = pair->heard[i - 1];
    }
    pair->heard[0] = now;
    if (pair->heard_count < ICE_SILENT_COUNT) {
        pair->heard_count++;
    }
    if (is_request) {
        pair->was_requested = true;
        pair->requested_at = now;
    }
}

bool ice_pair_is_silent(const struct ice_pair *pair, const struct ice_pair *other)
{
    if (other->heard_count < ICE_SILENT_COUNT) {
        return false;
    }
    if (pair->heard_count == 0) {
        return true;
    }
    struct instant last = pair->heard[0];
    return instant_before(last, other->heard[ICE_SILENT_COUNT - 1]) &&
           instant_reached(other->heard[0], instant_add(last, ICE_SILENT_AFTER));
}
