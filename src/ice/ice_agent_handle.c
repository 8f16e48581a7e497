/* Messages of the peer (spec/connectivity.md sections 5.11 to 5.13). */
#include <string.h>

#include "ice/ice_agent.h"
#include "ice/ice_checklist.h"
#include "ice/ice_list.h"

bool ice_agent_accepts_request(const struct ice_agent *agent, const struct stun_msg *msg)
{
    struct view local = {agent->local_ufrag, agent->local_ufrag_size};
    struct view remote = {agent->remote_ufrag, agent->remote_ufrag_size};
    struct view name = msg->username;
    return name.len == local.len + 1 + remote.len &&
           view_equal(view_sub(name, 0, local.len), local) && name.at[local.len] == ':' &&
           view_equal(view_sub(name, local.len + 1, remote.len), remote);
}

/* The candidate that stands for an address of ours, discarded ones included. */
static bool find_destination(const struct ice_agent *agent, const struct sock_addr *addr,
                             uint8_t *slot)
{
    for (uint8_t i = 0; i < agent->locals_count; i++) {
        const struct ice_candidate *local = &agent->locals[i];
        if ((local->kind == ICE_HOST || local->kind == ICE_RELAY) &&
            sock_addr_equal(&local->addr, addr)) {
            *slot = i;
            return true;
        }
    }
    return false;
}

/* The candidate of highest priority with this address, the last of equals. `discarded_out` tells
 * whether only discarded ones have it. */
static bool find_source(const struct ice_agent *agent, const struct sock_addr *addr, uint8_t *slot,
                        bool *discarded_out)
{
    bool found = false;
    *discarded_out = false;
    for (uint8_t i = 0; i < agent->remotes_count; i++) {
        const struct ice_candidate *remote = &agent->remotes[i];
        if (!sock_addr_equal(&remote->addr, addr)) {
            continue;
        }
        if (remote->discarded) {
            *discarded_out = true;
        } else if (!found || remote->priority >= agent->remotes[*slot].priority) {
            *slot = i;
            found = true;
        }
    }
    *discarded_out = *discarded_out && !found;
    return found;
}

static void discover(struct ice_agent *agent, const struct sock_addr *from)
{
    uint8_t slot;
    bool discarded;
    if (!find_source(agent, from, &slot, &discarded)) {
        return;
    }
    for (uint32_t i = 0; i < agent->remotes_count; i++) {
        if ((agent->discovered >> i & 1U) != 0 && sock_addr_equal(&agent->remotes[i].addr, from)) {
            return;
        }
    }
    agent->discovered |= UINT32_C(1) << slot;
    agent->discovered_unreported |= UINT32_C(1) << slot;
}

static void queue_reply(struct ice_agent *agent, const struct ice_candidate *local,
                        const struct sock_addr *remote, const struct stun_msg *msg, bool conflict)
{
    ASSERT(agent->replies_count < ICE_REPLIES_MAX);
    ice_list_resize_replies(agent, (uint8_t)(agent->replies_count + 1));
    agent->replies[agent->replies_count - 1] = (struct ice_reply){
        .local = local->base,
        .remote = *remote,
        .txn = msg->txn,
        .relayed = local->kind == ICE_RELAY,
        .role_conflict = conflict,
    };
}

/* Makes the pair of a check that came from, or to, an address not paired yet. The source becomes a
 * peer-reflexive candidate unless it is known; it is paired with this local candidate only. */
static enum drop_reason make_pair(struct ice_agent *agent, uint8_t local,
                                  const struct sock_addr *from, const struct stun_msg *msg)
{
    struct ice_candidate source;
    memset(&source, 0, sizeof(source));
    source.kind = ICE_PRFLX;
    source.addr = *from;
    source.base = *from;
    source.priority = msg->priority;
    source.local_preference = (uint16_t)(msg->priority >> 8);
    source.temporary = true;

    uint8_t slot;
    bool discarded;
    bool is_known = find_source(agent, from, &slot, &discarded);
    if (discarded || agent->locals[local].discarded) {
        return DROP_ICE_DISCARDED;
    }
    if (!is_known && !ice_list_remote_slot(agent, &slot)) {
        return DROP_ICE_FULL;
    }
    uint32_t priority = is_known ? agent->remotes[slot].priority : msg->priority;
    bool nominates = !agent->controlling && msg->use_candidate;
    if (!ice_checklist_make_room(
            agent, nominates ? ICE_WORTH_NOMINATED : ICE_WORTH_HEARD,
            ice_checklist_priority(agent, agent->locals[local].priority, priority))) {
        return DROP_ICE_FULL;
    }
    if (!is_known) {
        ice_list_put_remote(agent, slot, &source);
    }
    (void)ice_checklist_insert(agent, local, slot, agent->now);
    return DROP_NONE;
}

static enum drop_reason check_request(const struct ice_agent *agent, const struct sock_addr *local,
                                      const struct sock_addr *from, struct view datagram,
                                      const struct stun_msg *msg)
{
    if (!ice_agent_accepts_request(agent, msg)) {
        return DROP_STUN_UNKNOWN_UFRAG;
    }
    struct view password = {agent->local_password, agent->local_password_size};
    if (!stun_msg_check_integrity(datagram, msg, password)) {
        return DROP_STUN_INTEGRITY;
    }
    if (!msg->has_priority) {
        return DROP_STUN_MALFORMED;
    }
    if (from->ip.family != local->ip.family || from->port == 0 ||
        !ice_address_is_valid(&from->ip)) {
        return DROP_ICE_LOCAL;
    }
    bool full =
        agent->replies_count == ICE_REPLIES_MAX || FAULT(agent->rng->fault, FAULT_REPLIES_FULL);
    return full ? DROP_ICE_FULL : DROP_NONE;
}

static enum drop_reason handle_request(struct ice_agent *agent, const struct sock_addr *local,
                                       const struct sock_addr *from, struct view datagram,
                                       const struct stun_msg *msg)
{
    enum drop_reason refused = check_request(agent, local, from, datagram, msg);
    uint8_t slot;
    if (refused != DROP_NONE) {
        return refused;
    }
    if (!find_destination(agent, local, &slot)) {
        return DROP_ICE_LOCAL;
    }
    if (agent->controlling && msg->use_candidate) {
        return DROP_ICE_ROLE;
    }
    const struct ice_candidate *base = &agent->locals[slot];
    if (agent->controlling ? msg->has_controlling : msg->has_controlled) {
        /* Our role is fixed, so the peer is told to change its own. */
        queue_reply(agent, base, from, msg, true);
        return DROP_NONE;
    }
    if (ice_checklist_find(agent, &base->base, from) == NULL) {
        refused = make_pair(agent, slot, from, msg);
        if (refused != DROP_NONE) {
            return refused;
        }
    }
    struct ice_pair *pair = ice_checklist_find(agent, &base->base, from);
    ASSERT(pair != NULL);
    if (!agent->controlling && msg->use_candidate && pair->nomination == ICE_NOT_NOMINATED) {
        pair->nomination = ICE_NOMINATED; /* selected before our own check is answered */
        ice_checklist_chosen(agent, pair);
    }
    ice_pair_heard(pair, true, agent->now);
    queue_reply(agent, base, from, msg, false);
    discover(agent, from);
    return DROP_NONE;
}

/* Remembers our address as the peer sees it, unless it is known. It is not paired, not signalled,
 * and takes no place from a candidate that may be. */
static void learn_mapped(struct ice_agent *agent, const struct sock_addr *mapped,
                         const struct ice_candidate *sender)
{
    for (size_t i = 0; i < agent->locals_count; i++) {
        if (sock_addr_equal(&agent->locals[i].addr, mapped)) {
            return;
        }
    }
    uint8_t slot;
    if (!ice_list_local_slot(agent, &slot) ||
        (slot < agent->locals_count && !agent->locals[slot].discarded &&
         agent->locals[slot].kind != ICE_PRFLX)) {
        return;
    }
    struct ice_candidate learned;
    memset(&learned, 0, sizeof(learned));
    learned.kind = ICE_PRFLX;
    learned.addr = *mapped;
    learned.base = sender->base;
    learned.local_preference = sender->local_preference;
    learned.priority = ice_priority(ICE_PRFLX, sender->local_preference);
    ice_list_put_local(agent, slot, &learned);
}

static enum drop_reason handle_success(struct ice_agent *agent, const struct sock_addr *from,
                                       struct view datagram, const struct stun_msg *msg)
{
    uint8_t slot = 0;
    struct ice_pair *pair = ice_checklist_find_txn(agent, &msg->txn, &slot);
    if (pair == NULL) {
        return DROP_STUN_UNKNOWN_TXN;
    }
    struct view password = {agent->remote_password, agent->remote_password_size};
    if (!stun_msg_check_integrity(datagram, msg, password)) {
        return DROP_STUN_INTEGRITY;
    }
    if (msg->mapped.ip.family == IP_NONE) {
        return DROP_STUN_MALFORMED;
    }
    ice_pair_answered(pair, slot, ice_checklist_timing(agent), agent->now);
    ice_pair_heard(pair, false, agent->now);
    learn_mapped(agent, &msg->mapped, &agent->locals[pair->local]);
    discover(agent, from);
    return DROP_NONE;
}

enum drop_reason ice_agent_handle_message(struct ice_agent *agent, const struct sock_addr *local,
                                          const struct sock_addr *from, struct view datagram,
                                          const struct stun_msg *msg, struct instant now)
{
    ASSERT(!instant_before(now, agent->now));
    agent->now = now;
    enum drop_reason refused = DROP_STUN_UNEXPECTED;
    if (msg->method == STUN_BINDING && msg->class == STUN_REQUEST) {
        refused = handle_request(agent, local, from, datagram, msg);
    } else if (msg->method == STUN_BINDING && msg->class == STUN_SUCCESS) {
        refused = handle_success(agent, from, datagram, msg);
    }
    if (refused == DROP_NONE) {
        ice_checklist_settle(agent, now);
        agent->checks_due = true;
    }
    return refused;
}

/* The pair with these addresses on which the peer was heard, NULL when there is none. */
static struct ice_pair *find_heard(struct ice_agent *agent, const struct sock_addr *local,
                                   const struct sock_addr *from)
{
    uint8_t slot;
    if (!find_destination(agent, local, &slot)) {
        return NULL;
    }
    struct ice_pair *pair = ice_checklist_find(agent, &agent->locals[slot].base, from);
    return pair != NULL && pair->heard_count > 0 ? pair : NULL;
}

enum ice_familiarity ice_agent_knows(struct ice_agent *agent, const struct sock_addr *local,
                                     const struct sock_addr *from)
{
    const struct ice_pair *pair = find_heard(agent, local, from);
    if (pair == NULL) {
        return ICE_STRANGE;
    }
    return pair->state == (uint8_t)ICE_PAIR_SUCCEEDED ? ICE_ANSWERED : ICE_HEARD;
}

void ice_agent_prefer(struct ice_agent *agent, const struct sock_addr *local,
                      const struct sock_addr *from, struct instant now)
{
    ASSERT(!instant_before(now, agent->now));
    struct ice_pair *pair = agent->controlling ? NULL : find_heard(agent, local, from);
    if (pair == NULL) {
        return;
    }
    agent->now = now;
    if (pair->nomination == ICE_NOT_NOMINATED) {
        pair->nomination = ICE_NOMINATED;
    }
    ice_pair_heard(pair, false, now);
    agent->preferred_id = pair->id;
    ice_checklist_settle(agent, now);
    agent->checks_due = true;
}
