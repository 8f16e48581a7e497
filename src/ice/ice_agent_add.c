/* The candidate lists of an agent (spec/connectivity.md sections 5.6, 5.7, 5.9 and 9.4). Pairs
 * refer to candidates by index: an entry keeps its place, and is reused only without pairs. */
#include <string.h>

#include "ice/ice_agent.h"
#include "ice/ice_checklist.h"
#include "ice/ice_list.h"

static void begin(struct ice_agent *agent, struct instant now)
{
    ASSERT(!instant_before(now, agent->now));
    agent->now = now;
}

static void finish(struct ice_agent *agent)
{
    ice_checklist_settle(agent, agent->now);
    agent->checks_due = true;
}

/* Number of candidates of this kind and family in the list, discarded ones included. */
static uint32_t count_alike(const struct ice_agent *agent, const struct ice_candidate *candidate)
{
    uint32_t count = 0;
    for (size_t i = 0; i < agent->locals_count; i++) {
        const struct ice_candidate *other = &agent->locals[i];
        if (other->kind == candidate->kind && other->addr.ip.family == candidate->addr.ip.family) {
            count++;
        }
    }
    return count;
}

static struct ice_candidate *find_local(struct ice_agent *agent,
                                        const struct ice_candidate *candidate)
{
    for (size_t i = 0; i < agent->locals_count; i++) {
        struct ice_candidate *local = &agent->locals[i];
        if (sock_addr_equal(&local->addr, &candidate->addr) &&
            sock_addr_equal(&local->base, &candidate->base)) {
            return local;
        }
    }
    return NULL;
}

static void form_local(struct ice_agent *agent, uint8_t slot)
{
    for (uint8_t i = 0; i < agent->remotes_count; i++) {
        ice_checklist_form(agent, slot, i, agent->now);
    }
    finish(agent);
}

enum err ice_agent_add_local(struct ice_agent *agent, struct ice_candidate *candidate,
                             struct instant now)
{
    ASSERT(ice_address_is_valid(&candidate->addr.ip));
    ASSERT(candidate->kind != ICE_PRFLX);
    begin(agent, now);
    struct ice_candidate added = *candidate;
    added.discarded = false;
    added.temporary = false;
    added.local_preference =
        ice_local_preference((enum ice_kind)added.kind, (enum ip_family)added.addr.ip.family,
                             added.cross_family, count_alike(agent, &added));
    added.priority = ice_priority((enum ice_kind)added.kind, added.local_preference);
    ice_candidate_set_ufrag(&added, (struct view){agent->local_ufrag, agent->local_ufrag_size});

    struct ice_candidate *known = find_local(agent, &added);
    uint8_t slot;
    if (known != NULL && known->discarded && ice_candidate_matches(known, &added)) {
        known->discarded = false;
        slot = (uint8_t)(known - agent->locals);
        *candidate = *known;
        form_local(agent, slot);
        return ERR_NONE;
    }
    if (known != NULL && !known->discarded && known->kind != ICE_PRFLX &&
        added.priority <= known->priority) {
        return ERR_EXISTS;
    }
    if (known != NULL) {
        /* Superseded, or a place of no further use: the new one takes it over. */
        slot = (uint8_t)(known - agent->locals);
        ice_checklist_remove_local(agent, slot);
    } else if (!ice_list_local_slot(agent, &slot)) {
        return ERR_FULL;
    }
    ice_list_put_local(agent, slot, &added);
    *candidate = added;
    form_local(agent, slot);
    return ERR_NONE;
}

/* A candidate that replaces a discovered one at its address keeps the index and thus the pairs. */
static bool find_temporary(const struct ice_agent *agent, const struct ice_candidate *candidate,
                           uint8_t *slot)
{
    for (uint8_t i = 0; i < agent->remotes_count; i++) {
        const struct ice_candidate *remote = &agent->remotes[i];
        if (remote->temporary && !remote->discarded &&
            sock_addr_equal(&remote->addr, &candidate->addr)) {
            *slot = i;
            return true;
        }
    }
    return false;
}

static bool find_remote(const struct ice_agent *agent, const struct ice_candidate *candidate,
                        uint8_t *slot)
{
    for (uint8_t i = 0; i < agent->remotes_count; i++) {
        if (!agent->remotes[i].temporary && ice_candidate_matches(&agent->remotes[i], candidate)) {
            *slot = i;
            return true;
        }
    }
    return false;
}

/* Takes over what was signalled but keeps what is known about the address. */
static void replace_remote(struct ice_agent *agent, uint8_t slot,
                           const struct ice_candidate *candidate)
{
    uint32_t discovered = agent->discovered;
    uint32_t unreported = agent->discovered_unreported;
    ice_list_put_remote(agent, slot, candidate);
    agent->discovered = discovered;
    agent->discovered_unreported = unreported;
}

enum drop_reason ice_agent_add_remote(struct ice_agent *agent,
                                      const struct ice_candidate *candidate, struct instant now)
{
    begin(agent, now);
    struct view ufrag = {agent->remote_ufrag, agent->remote_ufrag_size};
    if (candidate->ufrag_size > 0 && !view_equal(ice_candidate_ufrag(candidate), ufrag)) {
        return DROP_ICE_CANDIDATE;
    }
    if (candidate->addr.port == 0 || !ice_address_is_valid(&candidate->addr.ip)) {
        return DROP_ICE_CANDIDATE;
    }
    uint8_t slot;
    bool is_known = find_remote(agent, candidate, &slot);
    if (is_known && ice_checklist_uses_remote(agent, slot)) {
        return DROP_NONE;
    }
    struct ice_candidate added = *candidate;
    added.temporary = false;
    uint8_t temporary;
    if (find_temporary(agent, candidate, &temporary)) {
        if (is_known) {
            ice_list_forget_remote(agent, slot); /* no two entries for one candidate */
        }
        slot = temporary;
        replace_remote(agent, slot, &added);
    } else if (is_known) {
        replace_remote(agent, slot, &added);
    } else if (ice_list_remote_slot(agent, &slot)) {
        ice_list_put_remote(agent, slot, &added);
    } else {
        return DROP_ICE_FULL;
    }
    for (uint8_t i = 0; i < agent->locals_count; i++) {
        if (agent->locals[i].kind != ICE_PRFLX) {
            ice_checklist_form(agent, i, slot, now);
        }
    }
    finish(agent);
    return DROP_NONE;
}

static bool is_remote_address(const struct ice_agent *agent, const struct sock_addr *addr)
{
    for (size_t i = 0; i < agent->remotes_count; i++) {
        if (sock_addr_equal(&agent->remotes[i].addr, addr)) {
            return true;
        }
    }
    return false;
}

static bool is_signalled_v4(const struct ice_candidate *candidate, enum ice_kind kind)
{
    return candidate->kind == kind && !candidate->discarded && candidate->addr.ip.family == IP_V4;
}

/* The next guess that is not known, for the srflx candidate at `index`. */
static bool next_guess(const struct ice_agent *agent, size_t index, struct ice_candidate *out)
{
    for (size_t i = 0; i < agent->remotes_count; i++) {
        const struct ice_candidate *host = &agent->remotes[i];
        struct sock_addr addr =
            sock_addr_of(agent->remotes[index].addr.ip, agent->remotes[i].addr.port);
        if (is_signalled_v4(host, ICE_HOST) && !is_remote_address(agent, &addr)) {
            memset(out, 0, sizeof(*out));
            out->kind = ICE_SRFLX;
            out->addr = addr;
            out->base = addr;
            out->priority = ice_priority_default(ICE_SRFLX, IP_V4);
            out->local_preference = (uint16_t)(out->priority >> 8);
            return true;
        }
    }
    return false;
}

/* The next guess for any srflx candidate. */
static bool find_guess(const struct ice_agent *agent, struct ice_candidate *out)
{
    for (size_t i = 0; i < agent->remotes_count; i++) {
        if (is_signalled_v4(&agent->remotes[i], ICE_SRFLX) && next_guess(agent, i, out)) {
            return true;
        }
    }
    return false;
}

size_t ice_agent_add_optimistic(struct ice_agent *agent,
                                struct ice_candidate out[ICE_OPTIMISTIC_MAX], struct instant now)
{
    size_t count = 0;
    while (count < ICE_OPTIMISTIC_MAX && find_guess(agent, &out[count])) {
        if (ice_agent_add_remote(agent, &out[count], now) != DROP_NONE) {
            break;
        }
        count++;
    }
    return count;
}

bool ice_agent_invalidate_local(struct ice_agent *agent, const struct ice_candidate *candidate,
                                struct instant now)
{
    begin(agent, now);
    for (uint8_t i = 0; i < agent->locals_count; i++) {
        struct ice_candidate *local = &agent->locals[i];
        if (ice_candidate_matches(local, candidate) && !local->discarded) {
            local->discarded = true;
            ice_checklist_remove_local(agent, i);
            finish(agent);
            return true;
        }
    }
    return false;
}

bool ice_agent_invalidate_remote(struct ice_agent *agent, const struct ice_candidate *candidate,
                                 struct instant now)
{
    begin(agent, now);
    for (uint8_t i = 0; i < agent->remotes_count; i++) {
        struct ice_candidate *remote = &agent->remotes[i];
        if (ice_candidate_matches(remote, candidate) && !remote->discarded) {
            remote->discarded = true;
            ice_checklist_remove_remote(agent, i);
            finish(agent);
            return true;
        }
    }
    return false;
}

const struct ice_candidate *ice_agent_next_local(const struct ice_agent *agent, size_t *cursor)
{
    while (*cursor < agent->locals_count) {
        const struct ice_candidate *local = &agent->locals[*cursor];
        *cursor += 1;
        if (!local->discarded && local->kind != ICE_PRFLX) {
            return local;
        }
    }
    return NULL;
}
