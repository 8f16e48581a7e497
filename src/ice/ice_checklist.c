#include "ice/ice_checklist.h"

#include <string.h>

#include "ice/ice_list.h"

const struct ice_timing *ice_checklist_timing(const struct ice_agent *agent)
{
    return agent->idle ? &agent->timing_idle : &agent->timing;
}

struct ice_pair *ice_checklist_find(struct ice_agent *agent, const struct sock_addr *base,
                                    const struct sock_addr *remote)
{
    for (size_t i = 0; i < agent->pairs_count; i++) {
        struct ice_pair *pair = &agent->pairs[i];
        if (sock_addr_equal(&agent->locals[pair->local].base, base) &&
            sock_addr_equal(&agent->remotes[pair->remote].addr, remote)) {
            return pair;
        }
    }
    return NULL;
}

struct ice_pair *ice_checklist_find_txn(struct ice_agent *agent, const struct stun_txn *txn,
                                        uint8_t *slot)
{
    if (load_be32(txn->bytes) != agent->txn_tag) {
        return NULL;
    }
    uint64_t id = load_be64(txn->bytes + 4);
    for (size_t i = 0; i < agent->pairs_count; i++) {
        if (ice_pair_find_txn(&agent->pairs[i], id, slot)) {
            return &agent->pairs[i];
        }
    }
    return NULL;
}

bool ice_checklist_uses_local(const struct ice_agent *agent, uint8_t local)
{
    for (size_t i = 0; i < agent->pairs_count; i++) {
        if (agent->pairs[i].local == local) {
            return true;
        }
    }
    return false;
}

bool ice_checklist_uses_remote(const struct ice_agent *agent, uint8_t remote)
{
    for (size_t i = 0; i < agent->pairs_count; i++) {
        if (agent->pairs[i].remote == remote) {
            return true;
        }
    }
    return false;
}

uint64_t ice_checklist_priority(const struct ice_agent *agent, uint32_t local, uint32_t remote)
{
    return agent->controlling ? ice_pair_priority(local, remote) : ice_pair_priority(remote, local);
}

static bool is_silent(const struct ice_agent *agent, const struct ice_pair *pair,
                      bool nominated_only)
{
    for (size_t i = 0; i < agent->pairs_count; i++) {
        const struct ice_pair *other = &agent->pairs[i];
        bool counts = !nominated_only || other->nomination != ICE_NOT_NOMINATED;
        if (other != pair && counts && ice_pair_is_silent(pair, other)) {
            return true;
        }
    }
    return false;
}

static enum ice_worth worth_of(const struct ice_agent *agent, const struct ice_pair *pair)
{
    if (pair->id == agent->selected_id) {
        return ICE_WORTH_SELECTED;
    }
    if (pair->nomination != ICE_NOT_NOMINATED) {
        return is_silent(agent, pair, true) ? ICE_WORTH_SILENT : ICE_WORTH_NOMINATED;
    }
    if (pair->heard_count == 0 || is_silent(agent, pair, false)) {
        return ICE_WORTH_IDLE;
    }
    return ICE_WORTH_HEARD;
}

static void remove_at(struct ice_agent *agent, size_t index)
{
    ASSERT(index < agent->pairs_count);
    if (agent->pairs[index].id == agent->selected_id) {
        agent->selected_id = 0;
    }
    if (agent->pairs[index].id == agent->preferred_id) {
        agent->preferred_id = 0;
    }
    memmove(&agent->pairs[index], &agent->pairs[index + 1],
            (agent->pairs_count - 1U - index) * sizeof(agent->pairs[0]));
    ice_list_resize_pairs(agent, (uint8_t)(agent->pairs_count - 1));
}

/* The least worth, then the lowest priority, then heard longest ago, then the last in the list. */
static size_t lowest_pair(const struct ice_agent *agent, enum ice_worth *worth_out)
{
    ASSERT(agent->pairs_count > 0);
    size_t lowest = 0;
    enum ice_worth lowest_worth = worth_of(agent, &agent->pairs[0]);
    for (size_t i = 1; i < agent->pairs_count; i++) {
        const struct ice_pair *pair = &agent->pairs[i];
        const struct ice_pair *than = &agent->pairs[lowest];
        enum ice_worth worth = worth_of(agent, pair);
        bool is_lower = worth < lowest_worth;
        if (worth == lowest_worth) {
            is_lower = pair->priority < than->priority ||
                       (pair->priority == than->priority && pair->heard[0].ns <= than->heard[0].ns);
        }
        if (is_lower) {
            lowest = i;
            lowest_worth = worth;
        }
    }
    *worth_out = lowest_worth;
    return lowest;
}

static size_t pairs_limit(const struct ice_agent *agent)
{
    return agent->selected_id != 0 ? ICE_PAIRS_NOMINATED_MAX : ICE_PAIRS_MAX;
}

bool ice_checklist_make_room(struct ice_agent *agent, enum ice_worth worth, uint64_t priority)
{
    if (agent->pairs_count < pairs_limit(agent)) {
        return true;
    }
    enum ice_worth lowest_worth;
    size_t lowest = lowest_pair(agent, &lowest_worth);
    bool is_higher =
        worth > lowest_worth || (worth == lowest_worth && priority > agent->pairs[lowest].priority);
    /* Among equals, somebody who is heard now replaces somebody who was heard before. */
    bool is_newer = worth == lowest_worth && worth != ICE_WORTH_IDLE &&
                    priority == agent->pairs[lowest].priority;
    if (!is_higher && !is_newer) {
        return false;
    }
    remove_at(agent, lowest);
    return true;
}

/* Moves the pair at `index` up to the place behind its equals; the others are in order. */
static struct ice_pair *move_up(struct ice_agent *agent, size_t index)
{
    struct ice_pair moving = agent->pairs[index];
    while (index > 0 && agent->pairs[index - 1].priority < moving.priority) {
        agent->pairs[index] = agent->pairs[index - 1];
        index--;
    }
    agent->pairs[index] = moving;
    return &agent->pairs[index];
}

static uint32_t next_pair_id(struct ice_agent *agent)
{
    agent->pair_id_next++;
    if (agent->pair_id_next == 0) {
        agent->pair_id_next = 1;
    }
    return agent->pair_id_next;
}

struct ice_pair *ice_checklist_insert(struct ice_agent *agent, uint8_t local, uint8_t remote,
                                      struct instant now)
{
    ASSERT(agent->pairs_count < ICE_PAIRS_MAX);
    ASSERT(local < agent->locals_count);
    ASSERT(remote < agent->remotes_count);
    size_t index = agent->pairs_count;
    ice_list_resize_pairs(agent, (uint8_t)(index + 1));
    struct ice_pair *pair = &agent->pairs[index];
    uint64_t priority = ice_checklist_priority(agent, agent->locals[local].priority,
                                               agent->remotes[remote].priority);
    ice_pair_init(pair, local, remote, priority, now);
    pair->id = next_pair_id(agent);
    return move_up(agent, index);
}

/* Starts `old` anew with better candidates; what the peer did on the path stays known. */
static void replace_pair(struct ice_agent *agent, struct ice_pair *old, uint8_t local,
                         uint8_t remote, struct instant now)
{
    struct ice_pair fresh;
    uint64_t priority = ice_checklist_priority(agent, agent->locals[local].priority,
                                               agent->remotes[remote].priority);
    ASSERT(priority > old->priority);
    ice_pair_init(&fresh, local, remote, priority, now);
    fresh.id = next_pair_id(agent);
    fresh.nomination = old->nomination == ICE_ATTEMPT_SENT ? ICE_NOMINATED : old->nomination;
    fresh.was_requested = old->was_requested;
    fresh.requested_at = old->requested_at;
    fresh.heard_count = old->heard_count;
    memcpy(fresh.heard, old->heard, sizeof(fresh.heard));
    if (agent->selected_id == old->id) {
        agent->selected_id = fresh.id;
    }
    if (agent->preferred_id == old->id) {
        agent->preferred_id = fresh.id;
    }
    *old = fresh;
    (void)move_up(agent, (size_t)(old - agent->pairs));
}

void ice_checklist_form(struct ice_agent *agent, uint8_t local, uint8_t remote, struct instant now)
{
    const struct ice_candidate *l = &agent->locals[local];
    const struct ice_candidate *r = &agent->remotes[remote];
    if (l->discarded || r->discarded || l->base.ip.family != r->addr.ip.family) {
        return;
    }
    uint64_t priority = ice_checklist_priority(agent, l->priority, r->priority);
    struct ice_pair *redundant = ice_checklist_find(agent, &l->base, &r->addr);
    if (redundant != NULL && redundant->priority >= priority) {
        return;
    }
    if (redundant != NULL) {
        replace_pair(agent, redundant, local, remote, now);
    } else if (ice_checklist_make_room(agent, ICE_WORTH_IDLE, priority)) {
        (void)ice_checklist_insert(agent, local, remote, now);
    }
}

void ice_checklist_remove_local(struct ice_agent *agent, uint8_t local)
{
    for (size_t i = agent->pairs_count; i > 0; i--) {
        if (agent->pairs[i - 1].local == local) {
            remove_at(agent, i - 1);
        }
    }
}

void ice_checklist_remove_remote(struct ice_agent *agent, uint8_t remote)
{
    for (size_t i = agent->pairs_count; i > 0; i--) {
        if (agent->pairs[i - 1].remote == remote) {
            remove_at(agent, i - 1);
        }
    }
}

static void remove_dead(struct ice_agent *agent, struct instant now)
{
    const struct ice_timing *timing = ice_checklist_timing(agent);
    for (size_t i = agent->pairs_count; i > 0; i--) {
        if (ice_pair_is_dead(&agent->pairs[i - 1], timing, now)) {
            remove_at(agent, i - 1);
        }
    }
}

static struct ice_pair *selected_pair(struct ice_agent *agent)
{
    for (size_t i = 0; i < agent->pairs_count; i++) {
        if (agent->pairs[i].id == agent->selected_id) {
            return &agent->pairs[i];
        }
    }
    return NULL;
}

/* Makes `pair` the path; the list shrinks to what a connected peer may keep. */
static void select_pair(struct ice_agent *agent, const struct ice_pair *pair)
{
    const struct ice_candidate *local = &agent->locals[pair->local];
    struct ice_path path = {
        .local = local->base,
        .remote = agent->remotes[pair->remote].addr,
        .relayed = local->kind == ICE_RELAY,
    };
    bool is_same = agent->has_path && agent->path.relayed == path.relayed &&
                   sock_addr_equal(&agent->path.local, &path.local) &&
                   sock_addr_equal(&agent->path.remote, &path.remote);
    uint32_t pair_id = pair->id; /* `pair` moves when others are removed */
    agent->selected_id = pair_id;
    agent->path = path;
    agent->has_path = true;
    agent->path_unreported = agent->path_unreported || !is_same;
    while (agent->pairs_count > ICE_PAIRS_NOMINATED_MAX) {
        enum ice_worth worth;
        remove_at(agent, lowest_pair(agent, &worth));
    }
    ASSERT(agent->selected_id == pair_id);
}

/* Controlling: the best pair that has succeeded is nominated; another one only when its priority
 * differs from that of the selected pair. */
static void nominate_best(struct ice_agent *agent)
{
    struct ice_pair *best = NULL;
    for (size_t i = 0; i < agent->pairs_count; i++) {
        struct ice_pair *pair = &agent->pairs[i];
        if (pair->state == ICE_PAIR_SUCCEEDED &&
            (best == NULL || pair->priority >= best->priority)) {
            best = pair;
        }
    }
    const struct ice_pair *selected = selected_pair(agent);
    if (best != NULL && (selected == NULL || selected->priority != best->priority)) {
        best->nomination = ICE_NOMINATED;
        select_pair(agent, best);
    }
}

void ice_checklist_chosen(struct ice_agent *agent, const struct ice_pair *pair)
{
    const struct ice_pair *selected = selected_pair(agent);
    if (selected == NULL || pair->priority >= selected->priority) {
        agent->preferred_id = pair->id;
    }
}

/* How a nominated pair stands among the others: heard before silent, then the one that the peer
 * chose last, then the priority. */
struct rank {
    bool heard;
    bool preferred;
    uint64_t priority;
};

static struct rank rank_of(const struct ice_agent *agent, const struct ice_pair *pair)
{
    return (struct rank){.heard = !is_silent(agent, pair, true),
                         .preferred = pair->id == agent->preferred_id,
                         .priority = pair->priority};
}

/* Negative, 0 or positive. */
static int rank_compare(struct rank a, struct rank b)
{
    if (a.heard != b.heard) {
        return a.heard ? 1 : -1;
    }
    if (a.preferred != b.preferred) {
        return a.preferred ? 1 : -1;
    }
    return a.priority == b.priority ? 0 : (a.priority > b.priority ? 1 : -1);
}

/* Controlled: the nominated pair of the highest rank; the last of equals, but never instead of an
 * equal one that is selected. The only nominated pair stays, silent or not. */
static void select_nominated(struct ice_agent *agent)
{
    const struct ice_pair *best = NULL;
    struct rank best_rank = {0};
    for (size_t i = 0; i < agent->pairs_count; i++) {
        const struct ice_pair *pair = &agent->pairs[i];
        if (pair->nomination == ICE_NOT_NOMINATED) {
            continue;
        }
        struct rank rank = rank_of(agent, pair);
        if (best == NULL || rank_compare(rank, best_rank) >= 0) {
            best = pair;
            best_rank = rank;
        }
    }
    const struct ice_pair *selected = selected_pair(agent);
    if (best != NULL &&
        (selected == NULL || rank_compare(best_rank, rank_of(agent, selected)) > 0)) {
        select_pair(agent, best);
    }
}

/* Dead pairs are gone already: every pair in the list still may succeed. */
static void evaluate_state(struct ice_agent *agent)
{
    bool nominated = false;
    bool possible = agent->remotes_count == 0 || agent->locals_count == 0;
    for (size_t i = 0; i < agent->pairs_count; i++) {
        const struct ice_pair *pair = &agent->pairs[i];
        if (pair->nomination != ICE_NOT_NOMINATED) {
            nominated = true;
        } else {
            possible = true;
        }
    }
    if (agent->state == ICE_NEW) {
        return; /* left by the first housekeeping only */
    }
    if (nominated) {
        agent->state = possible ? ICE_CONNECTED : ICE_COMPLETED;
    } else {
        agent->state = possible ? ICE_CHECKING : ICE_DISCONNECTED;
    }
}

void ice_checklist_settle(struct ice_agent *agent, struct instant now)
{
    remove_dead(agent, now);
    if (agent->controlling) {
        nominate_best(agent);
    } else {
        select_nominated(agent);
    }
    evaluate_state(agent);
}
