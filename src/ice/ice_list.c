#include "ice/ice_list.h"

#include <string.h>

#include "ice/ice_checklist.h"

static void *resize(struct ice_agent *agent, void *list, size_t from, size_t to)
{
    return blocks_resize(&agent->memory->blocks, list, from, to);
}

void ice_list_resize_replies(struct ice_agent *agent, uint8_t count)
{
    ASSERT(count <= ICE_REPLIES_MAX);
    size_t size = sizeof(agent->replies[0]);
    agent->replies = resize(agent, agent->replies, agent->replies_count * size, count * size);
    agent->replies_count = count;
}

void ice_list_resize_locals(struct ice_agent *agent, uint8_t count)
{
    ASSERT(count <= ICE_LOCAL_MAX);
    size_t size = sizeof(agent->locals[0]);
    agent->locals = resize(agent, agent->locals, agent->locals_count * size, count * size);
    agent->locals_count = count;
}

void ice_list_resize_remotes(struct ice_agent *agent, uint8_t count)
{
    ASSERT(count <= ICE_REMOTE_MAX);
    size_t size = sizeof(agent->remotes[0]);
    agent->remotes = resize(agent, agent->remotes, agent->remotes_count * size, count * size);
    agent->remotes_count = count;
}

void ice_list_resize_pairs(struct ice_agent *agent, uint8_t count)
{
    ASSERT(count <= ICE_PAIRS_MAX);
    size_t size = sizeof(agent->pairs[0]);
    agent->pairs = resize(agent, agent->pairs, agent->pairs_count * size, count * size);
    agent->pairs_count = count;
}

static bool find_local_prflx(const struct ice_agent *agent, uint8_t *slot)
{
    for (uint8_t i = 0; i < agent->locals_count; i++) {
        if (agent->locals[i].kind == ICE_PRFLX) {
            *slot = i;
            return true;
        }
    }
    return false;
}

static bool find_local_unused(const struct ice_agent *agent, uint8_t *slot)
{
    for (uint8_t i = 0; i < ICE_LOCAL_MAX; i++) {
        uint8_t at = (uint8_t)((agent->locals_oldest + i) % ICE_LOCAL_MAX);
        if (!ice_checklist_uses_local(agent, at)) {
            *slot = at;
            return true;
        }
    }
    return false;
}

bool ice_list_local_slot(const struct ice_agent *agent, uint8_t *slot)
{
    if (agent->locals_count < ICE_LOCAL_MAX) {
        *slot = agent->locals_count;
        return true;
    }
    for (uint8_t i = 0; i < agent->locals_count; i++) {
        if (agent->locals[i].discarded) {
            *slot = i;
            return true;
        }
    }
    return find_local_prflx(agent, slot) || find_local_unused(agent, slot);
}

/* 0: reused first. */
static unsigned reuse_rank(const struct ice_candidate *remote)
{
    if (remote->discarded) {
        return 0;
    }
    return remote->kind == ICE_PRFLX ? 1 : 2;
}

bool ice_list_remote_slot(const struct ice_agent *agent, uint8_t *slot)
{
    if (agent->remotes_count < ICE_REMOTE_MAX) {
        *slot = agent->remotes_count;
        return true;
    }
    unsigned best = 3;
    for (uint8_t i = 0; i < agent->remotes_count; i++) {
        unsigned rank = reuse_rank(&agent->remotes[i]);
        if (rank < best && !ice_checklist_uses_remote(agent, i)) {
            *slot = i;
            best = rank;
        }
    }
    return best < 3;
}

void ice_list_put_local(struct ice_agent *agent, uint8_t slot,
                        const struct ice_candidate *candidate)
{
    ASSERT(slot <= agent->locals_count);
    if (slot == agent->locals_count) {
        ice_list_resize_locals(agent, (uint8_t)(slot + 1));
    } else {
        agent->locals_oldest = (uint8_t)((slot + 1) % ICE_LOCAL_MAX);
    }
    agent->locals[slot] = *candidate;
}

void ice_list_put_remote(struct ice_agent *agent, uint8_t slot,
                         const struct ice_candidate *candidate)
{
    ASSERT(slot <= agent->remotes_count);
    if (slot == agent->remotes_count) {
        ice_list_resize_remotes(agent, (uint8_t)(slot + 1));
    }
    agent->remotes[slot] = *candidate;
    agent->remotes[slot].ufrag_size = 0; /* checked; head's invalidations carry none */
    agent->remotes[slot].discarded = false;
    agent->discovered &= ~(UINT32_C(1) << slot);
    agent->discovered_unreported &= ~(UINT32_C(1) << slot);
}

void ice_list_forget_remote(struct ice_agent *agent, uint8_t slot)
{
    ASSERT(slot < agent->remotes_count);
    ASSERT(!ice_checklist_uses_remote(agent, slot));
    struct ice_candidate nothing;
    memset(&nothing, 0, sizeof(nothing));
    ice_list_put_remote(agent, slot, &nothing);
    agent->remotes[slot].discarded = true;
}
