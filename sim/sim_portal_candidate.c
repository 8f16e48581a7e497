#include "sim/sim_portal_internal.h"

#define IDS_MAX 64U /* addressees of one broadcast */

static uint32_t find_peer(const struct sim_portal *portal, enum session_kind kind,
                          const struct uuid *id)
{
    const struct sim_policy *policy = portal->policy;
    uint32_t count = kind == SESSION_GATEWAY ? policy->gateways_count : policy->clients_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct uuid *other =
            kind == SESSION_GATEWAY ? &policy->gateways[i].id : &policy->clients[i].id;
        if (uuid_equal(other, id)) {
            return i;
        }
    }
    return PORTAL_NOBODY;
}

static bool shape_candidates(struct json_writer *w, const struct json_value *candidates)
{
    json_put_key(w, "candidates");
    json_open_array(w);
    for (const struct json_value *item = json_first(candidates); item != NULL;
         item = json_next(item)) {
        struct view text;
        if (!json_text(item, &text)) {
            return false;
        }
        json_put_text(w, text);
    }
    json_close_array(w);
    return true;
}

static bool send_candidates(struct portal_call *call, struct portal_session *from,
                            const struct uuid *to, const char *event,
                            const struct json_value *candidates)
{
    struct sim_portal *portal = call->portal;
    bool to_gateway = from->kind == SESSION_CLIENT;
    enum session_kind kind = to_gateway ? SESSION_GATEWAY : SESSION_CLIENT;
    struct uuid own = session_id(portal, from);
    struct portal_push push = push_start(portal, to_gateway ? "gateway" : "client", event);
    json_field_uuid(&push.w, to_gateway ? "client_id" : "gateway_id", &own);
    if (!shape_candidates(&push.w, candidates)) {
        return false;
    }
    struct view text = push_end(portal, &push);
    uint32_t peer = find_peer(portal, kind, to);
    struct portal_session *session = NULL;
    bool any = false;
    while (peer != PORTAL_NOBODY && (session = session_next(portal, session, kind, peer)) != NULL) {
        session_send(call, session, text, true);
        portal->counters.candidates++;
        any = true;
    }
    portal->counters.undeliverable += !any;
    return true;
}

bool flow_candidates(struct portal_call *call, struct portal_session *session,
                     const struct json_value *payload, const char *event)
{
    const struct json_value *candidates;
    const struct json_value *ids;
    struct uuid id;
    if (!json_get_array(payload, "candidates", &candidates)) {
        return false;
    }
    const char *key = session->kind == SESSION_CLIENT ? "gateway_ids" : "client_ids";
    if (!json_get_array(payload, key, &ids)) {
        /* Today's clients name one gateway. */
        return session->kind == SESSION_CLIENT && json_get_uuid(payload, "gateway_id", &id) &&
               send_candidates(call, session, &id, event, candidates);
    }
    uint32_t count = 0;
    for (const struct json_value *item = json_first(ids); item != NULL && count < IDS_MAX;
         item = json_next(item)) {
        if (!json_uuid(item, &id) || !send_candidates(call, session, &id, event, candidates)) {
            return false;
        }
        count++;
    }
    return true;
}
