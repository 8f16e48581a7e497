#include "sim/sim_portal_internal.h"

#define DEBOUNCE DURATION_MS(1000) /* HEAD, spec/portal.md section 10.3 */

/* Each peer prefers relays in its own order, which other relays do not change. */
static uint64_t preference(const struct sim_portal *portal, const struct portal_session *session,
                           uint32_t relay)
{
    uint8_t bytes[1 + 4 + UUID_SIZE];
    bytes[0] = (uint8_t)session->kind;
    store_be32(bytes + 1, session->peer);
    for (uint32_t i = 0; i < UUID_SIZE; i++) {
        bytes[5 + i] = portal->policy->relays[relay].id.bytes[i];
    }
    return siphash13(&portal->key, VIEW_OF(bytes));
}

uint32_t presence_select(const struct sim_portal *portal, const struct portal_session *session,
                         uint32_t out[SIM_PORTAL_RELAYS_SENT])
{
    uint32_t count = 0;
    bool taken[SIM_RELAYS_MAX] = {false};
    while (!portal->faults.no_relays && count < SIM_PORTAL_RELAYS_SENT) {
        uint32_t best = PORTAL_NOBODY;
        for (uint32_t i = 0; i < portal->policy->relays_count; i++) {
            if (portal->relays[i].online && !taken[i] &&
                (best == PORTAL_NOBODY ||
                 preference(portal, session, i) < preference(portal, session, best))) {
                best = i;
            }
        }
        if (best == PORTAL_NOBODY) {
            break;
        }
        taken[best] = true;
        out[count++] = best;
    }
    return count;
}

void presence_send(struct portal_call *call, struct portal_session *session,
                   const struct uuid *gone, uint32_t gone_count)
{
    struct portal_push push = push_start(call->portal, session_topic(session), "relays_presence");
    json_put_key(&push.w, "disconnected_ids");
    json_open_array(&push.w);
    for (uint32_t i = 0; i < gone_count; i++) {
        json_put_uuid(&push.w, &gone[i]);
    }
    json_close_array(&push.w);
    json_put_key(&push.w, "connected");
    shape_relays(call, session, &push.w);
    session_send(call, session, push_end(call->portal, &push), true);
}

static bool was_sent(const struct portal_session *session, const struct uuid *id)
{
    for (uint32_t i = 0; i < session->relays_sent_count; i++) {
        if (uuid_equal(&session->relays_sent[i], id)) {
            return true;
        }
    }
    return false;
}

static bool wants_relays(const struct portal_session *session)
{
    return session->used && session->joined &&
           (session->kind == SESSION_GATEWAY || session->kind == SESSION_CLIENT);
}

void presence_relay_joined(struct portal_call *call, uint32_t relay)
{
    call->portal->relays[relay].online = true;
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        struct portal_session *session = &call->portal->sessions[i];
        if (!wants_relays(session)) {
            continue;
        }
        if (portal_is_head(call->portal)) {
            session->presence_at = instant_add(call->now.boot, DEBOUNCE);
        } else if (session->relays_sent_count == 0) {
            presence_send(call, session, NULL, 0);
        }
    }
}

void presence_relay_left(struct portal_call *call, uint32_t relay)
{
    const struct uuid id = call->portal->policy->relays[relay].id;
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        struct portal_session *session = &call->portal->sessions[i];
        if (!wants_relays(session)) {
            continue;
        }
        if (portal_is_head(call->portal)) {
            session->presence_at = instant_add(call->now.boot, DEBOUNCE);
        } else if (was_sent(session, &id)) {
            /* V142 leaves it out of the new selection even when it is online after all. */
            bool online = call->portal->relays[relay].online;
            call->portal->relays[relay].online = false;
            presence_send(call, session, &id, 1);
            call->portal->relays[relay].online = online;
        }
    }
}

static bool is_online(const struct sim_portal *portal, const struct uuid *id)
{
    for (uint32_t i = 0; i < portal->policy->relays_count; i++) {
        if (portal->relays[i].online && uuid_equal(&portal->policy->relays[i].id, id)) {
            return true;
        }
    }
    return false;
}

/* HEAD: one second after the last change. */
void presence_advance(struct portal_call *call, struct portal_session *session)
{
    if (!wants_relays(session) || !instant_reached(call->now.boot, session->presence_at)) {
        return;
    }
    session->presence_at = TIME_NEVER;
    struct uuid gone[SIM_PORTAL_RELAYS_SENT];
    uint32_t gone_count = 0;
    for (uint32_t i = 0; i < session->relays_sent_count; i++) {
        if (!is_online(call->portal, &session->relays_sent[i])) {
            gone[gone_count++] = session->relays_sent[i];
        }
    }
    uint32_t chosen[SIM_PORTAL_RELAYS_SENT];
    bool any = presence_select(call->portal, session, chosen) > 0;
    if (gone_count > 0 || (session->relays_sent_count < SIM_PORTAL_RELAYS_SENT && any)) {
        presence_send(call, session, gone, gone_count);
    }
}
