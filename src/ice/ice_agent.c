#include "ice/ice_agent.h"

#include <string.h>

#include "ice/ice_checklist.h"
#include "ice/ice_list.h"
#include "ice/ice_message.h"

static uint8_t copy_credential(uint8_t *out, size_t size_max, struct view credential)
{
    ASSERT(credential.len > 0);
    ASSERT(credential.len <= size_max);
    memcpy(out, credential.at, credential.len);
    return (uint8_t)credential.len;
}

static void check_timing(const struct ice_timing *timing)
{
    ASSERT(timing->retransmits > 0);
    ASSERT(timing->retransmits <= UINT8_MAX);
    ASSERT(timing->rto_initial.ns > 0);
    ASSERT(timing->rto_max.ns > 0);
}

void ice_agent_init(struct ice_agent *agent, const struct ice_agent_config *config,
                    struct ice_memory *memory, struct rng *rng, struct instant now)
{
    check_timing(&config->timing);
    check_timing(&config->timing_idle);
    memset(agent, 0, sizeof(*agent));
    agent->rng = rng;
    agent->memory = memory;
    agent->pair_id_next = FAULT(rng->fault, FAULT_PAIR_ID_WRAP) ? UINT32_MAX - 3 : 0;
    agent->controlling = config->controlling;
    agent->local_ufrag_size =
        copy_credential(agent->local_ufrag, sizeof(agent->local_ufrag), config->local_ufrag);
    agent->remote_ufrag_size =
        copy_credential(agent->remote_ufrag, sizeof(agent->remote_ufrag), config->remote_ufrag);
    agent->local_password_size = copy_credential(
        agent->local_password, sizeof(agent->local_password), config->local_password);
    agent->remote_password_size = copy_credential(
        agent->remote_password, sizeof(agent->remote_password), config->remote_password);
    agent->tie_breaker = config->tie_breaker;
    agent->txn_tag = config->txn_tag;
    agent->timing = config->timing;
    agent->timing_idle = config->timing_idle;
    agent->now = now;
    agent->state = ICE_NEW;
    agent->state_reported = ICE_NEW;
}

void ice_agent_release(struct ice_agent *agent)
{
    ice_list_resize_replies(agent, 0);
    ice_list_resize_locals(agent, 0);
    ice_list_resize_remotes(agent, 0);
    ice_list_resize_pairs(agent, 0);
    agent->selected_id = 0;
}

void ice_agent_handle_timeout(struct ice_agent *agent, struct instant now)
{
    ASSERT(!instant_before(now, agent->now));
    agent->now = now;
    if (agent->state == ICE_NEW) {
        agent->state = ICE_CHECKING;
    }
    ice_checklist_settle(agent, now);
    agent->checks_due = true;
}

struct wake ice_agent_poll_timeout(const struct ice_agent *agent)
{
    if (agent->state == ICE_NEW || agent->replies_count > 0) {
        return (struct wake){agent->now, "ice start"};
    }
    struct wake wake = WAKE_NEVER;
    for (size_t i = 0; i < agent->pairs_count; i++) {
        struct instant at = instant_max(ice_pair_due_at(&agent->pairs[i]), agent->now);
        wake = wake_min(wake, (struct wake){at, "ice check"});
    }
    return wake;
}

static bool transmit_reply(struct ice_agent *agent, struct ice_transmit *out)
{
    struct ice_reply reply = agent->replies[0];
    memmove(agent->replies, agent->replies + 1, (agent->replies_count - 1U) * sizeof(reply));
    ice_list_resize_replies(agent, (uint8_t)(agent->replies_count - 1));
    struct span room = {agent->memory->out, sizeof(agent->memory->out)};
    struct view password = {agent->local_password, agent->local_password_size};
    struct view bytes = reply.role_conflict
                            ? ice_message_role_conflict(room, &reply.txn, password)
                            : ice_message_success(room, &reply.txn, &reply.remote, password);
    ASSERT(bytes.len > 0);
    *out = (struct ice_transmit){reply.local, reply.remote, reply.relayed, bytes};
    return true;
}

/* The earliest deadline, among equals the highest priority; NULL when none is due. */
static struct ice_pair *due_pair(struct ice_agent *agent)
{
    struct ice_pair *due = NULL;
    for (size_t i = 0; i < agent->pairs_count; i++) {
        struct ice_pair *pair = &agent->pairs[i];
        struct instant at = ice_pair_due_at(pair);
        if (instant_reached(agent->now, at) &&
            (due == NULL || instant_before(at, ice_pair_due_at(due)))) {
            due = pair;
        }
    }
    return due;
}

static bool transmit_check(struct ice_agent *agent, struct ice_pair *pair, struct ice_transmit *out)
{
    const struct ice_candidate *local = &agent->locals[pair->local];
    struct ice_request request = {
        .remote_ufrag = {agent->remote_ufrag, agent->remote_ufrag_size},
        .local_ufrag = {agent->local_ufrag, agent->local_ufrag_size},
        .remote_password = {agent->remote_password, agent->remote_password_size},
        .controlling = agent->controlling,
        .use_candidate = agent->controlling && pair->nomination != ICE_NOT_NOMINATED,
        .tie_breaker = agent->tie_breaker,
        .priority = ice_priority(ICE_PRFLX, local->local_preference),
    };
    uint64_t id = rng_u64(agent->rng);
    store_be32(request.txn.bytes, agent->txn_tag);
    store_be64(request.txn.bytes + 4, id);
    struct span room = {agent->memory->out, sizeof(agent->memory->out)};
    struct view bytes = ice_message_request(room, &request);
    ASSERT(bytes.len > 0);
    *out = (struct ice_transmit){
        .local = local->base,
        .remote = agent->remotes[pair->remote].addr,
        .relayed = local->kind == ICE_RELAY,
        .bytes = bytes,
    };
    ice_pair_sent(pair, id, ice_checklist_timing(agent), agent->now);
    return true;
}

bool ice_agent_poll_transmit(struct ice_agent *agent, struct ice_transmit *out)
{
    if (agent->replies_count > 0) {
        return transmit_reply(agent, out);
    }
    /* Each check moves its pair's deadline beyond `now`, so this ends. */
    struct ice_pair *pair = agent->checks_due ? due_pair(agent) : NULL;
    if (pair == NULL) {
        agent->checks_due = false;
        return false;
    }
    return transmit_check(agent, pair, out);
}

static bool poll_discovered(struct ice_agent *agent, struct ice_event *out)
{
    for (uint32_t i = 0; i < agent->remotes_count; i++) {
        uint32_t bit = UINT32_C(1) << i;
        if ((agent->discovered_unreported & bit) != 0) {
            agent->discovered_unreported &= ~bit;
            *out = (struct ice_event){
                .kind = ICE_EVENT_DISCOVERED,
                .state = agent->state,
                .source = agent->remotes[i].addr,
            };
            return true;
        }
    }
    return false;
}

bool ice_agent_poll_event(struct ice_agent *agent, struct ice_event *out)
{
    if (poll_discovered(agent, out)) {
        return true;
    }
    if (agent->path_unreported) {
        agent->path_unreported = false;
        *out = (struct ice_event){
            .kind = ICE_EVENT_SELECTED, .state = agent->state, .path = agent->path};
        return true;
    }
    if (agent->state_reported != agent->state) {
        agent->state_reported = agent->state;
        *out = (struct ice_event){.kind = ICE_EVENT_STATE, .state = agent->state};
        return true;
    }
    return false;
}

void ice_agent_set_idle(struct ice_agent *agent, bool idle, struct instant now)
{
    ASSERT(!instant_before(now, agent->now));
    agent->now = now;
    if (agent->idle == idle) {
        return;
    }
    agent->idle = idle;
    for (size_t i = 0; i < agent->pairs_count; i++) {
        ice_pair_schedule(&agent->pairs[i], ice_checklist_timing(agent), now);
    }
    ice_checklist_settle(agent, now);
    agent->checks_due = true;
}

enum ice_state ice_agent_state(const struct ice_agent *agent)
{
    return agent->state;
}

bool ice_agent_selected(const struct ice_agent *agent, struct ice_path *out)
{
    if (agent->has_path) {
        *out = agent->path;
    }
    return agent->has_path;
}

bool ice_agent_remote_is_empty(const struct ice_agent *agent)
{
    return agent->remotes_count == 0;
}

bool ice_agent_remote_is_private(const struct ice_agent *agent, const struct sock_addr *addr)
{
    bool is_host = false;
    for (uint32_t i = 0; i < agent->remotes_count; i++) {
        const struct ice_candidate *remote = &agent->remotes[i];
        if (!remote->discarded && sock_addr_equal(&remote->addr, addr)) {
            if (remote->kind != ICE_HOST) {
                return false;
            }
            is_host = true;
        }
    }
    return is_host;
}

static bool refers_to_candidates(const struct ice_agent *agent, const struct ice_pair *pair)
{
    if (pair->local >= agent->locals_count || pair->remote >= agent->remotes_count) {
        return false;
    }
    const struct ice_candidate *local = &agent->locals[pair->local];
    const struct ice_candidate *remote = &agent->remotes[pair->remote];
    return !local->discarded && !remote->discarded && local->kind != ICE_PRFLX &&
           local->base.ip.family == remote->addr.ip.family;
}

static bool is_same_path(const struct ice_agent *agent, const struct ice_pair *a,
                         const struct ice_pair *b)
{
    return sock_addr_equal(&agent->locals[a->local].base, &agent->locals[b->local].base) &&
           sock_addr_equal(&agent->remotes[a->remote].addr, &agent->remotes[b->remote].addr);
}

static void check_pair(const struct ice_agent *agent, size_t index)
{
    const struct ice_pair *pair = &agent->pairs[index];
    ASSERT(pair->id != 0);
    ASSERT(refers_to_candidates(agent, pair));
    ASSERT(pair->unanswered_count <= pair->attempts_count);
    ASSERT(pair->txns_count <= ICE_TXNS_MAX);
    bool is_unique = true;
    for (size_t i = 0; i < index; i++) {
        const struct ice_pair *other = &agent->pairs[i];
        is_unique = is_unique && other->id != pair->id && !is_same_path(agent, other, pair) &&
                    other->priority >= pair->priority;
    }
    ASSERT(is_unique);
}

void ice_agent_count_blocks(const struct ice_agent *agent, struct blocks_counts *used)
{
    const struct blocks *blocks = &agent->memory->blocks;
    blocks_count(blocks, agent->replies, agent->replies_count * sizeof(agent->replies[0]), used);
    blocks_count(blocks, agent->locals, agent->locals_count * sizeof(agent->locals[0]), used);
    blocks_count(blocks, agent->remotes, agent->remotes_count * sizeof(agent->remotes[0]), used);
    blocks_count(blocks, agent->pairs, agent->pairs_count * sizeof(agent->pairs[0]), used);
}

void ice_agent_check(const struct ice_agent *agent)
{
    struct blocks_counts used = {{0}};
    ice_agent_count_blocks(agent, &used);
    ASSERT(agent->locals_count <= ICE_LOCAL_MAX && agent->remotes_count <= ICE_REMOTE_MAX);
    ASSERT(agent->pairs_count <= ICE_PAIRS_MAX);
    ASSERT(agent->replies_count <= ICE_REPLIES_MAX);
    bool selected_found = agent->selected_id == 0;
    for (size_t i = 0; i < agent->pairs_count; i++) {
        check_pair(agent, i);
        selected_found = selected_found || agent->pairs[i].id == agent->selected_id;
    }
    ASSERT(selected_found);
    bool is_settled = agent->has_path && agent->pairs_count <= ICE_PAIRS_NOMINATED_MAX;
    ASSERT(agent->selected_id == 0 || is_settled);
}
