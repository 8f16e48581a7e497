#include <string.h>

#include "sim/sim_portal_internal.h"

#define SECRET_CHARACTERS 64U /* of a stamp secret, spec/relay.md section 3.1 */

/* ---- replies ---- */

static void put_ref(struct json_writer *w, const struct json_value *ref)
{
    uint64_t number;
    struct view text;
    json_put_key(w, "ref");
    if (json_u64(ref, &number)) {
        json_put_u64(w, number);
    } else if (json_text(ref, &text)) {
        json_put_text(w, text);
    } else {
        json_put_null(w);
    }
}

/* `error` NULL: ok with an empty response. */
void channel_reply(struct portal_call *call, struct portal_session *session,
                   const struct json_value *message, const char *error)
{
    uint8_t room[1024];
    struct json_writer w = json_writer_of((struct span){room, sizeof room});
    struct view topic;
    if (!json_get_text(message, "topic", &topic)) {
        topic = view_text(session_topic(session));
    }
    json_open_object(&w);
    put_ref(&w, json_get(message, "ref"));
    json_field_text(&w, "topic", topic);
    json_field_string(&w, "event", "phx_reply");
    json_put_key(&w, "payload");
    json_open_object(&w);
    json_field_string(&w, "status", error == NULL ? "ok" : "error");
    json_put_key(&w, "response");
    json_open_object(&w);
    if (error != NULL) {
        json_field_string(&w, "reason", error);
    }
    json_close_object(&w);
    json_close_object(&w);
    json_close_object(&w);
    struct view text;
    if (json_writer_finish(&w, &text)) { /* a peer's topic or ref may be longer than any real one */
        session_send(call, session, text, false);
    }
}

void channel_send_simple(struct portal_call *call, struct portal_session *session,
                         const char *event)
{
    struct portal_push push = push_start(call->portal, session_topic(session), event);
    session_send(call, session, push_end(call->portal, &push), true);
}

/* ---- init ---- */

static void shape_authorization(struct json_writer *w, const struct uuid *client,
                                const struct uuid *resource, uint64_t expires_s)
{
    json_open_object(w);
    json_field_uuid(w, "client_id", client);
    json_field_uuid(w, "resource_id", resource);
    json_field_u64(w, "expires_at", expires_s);
    json_close_object(w);
}

/* Half of the authorizations of clients that the gateway does not know, as there are after it was
 * started anew among many. */
static void shape_strangers(const struct portal_call *call, const struct portal_session *session,
                            struct json_writer *w)
{
    struct uuid stranger = {{0xee}};
    uint32_t count = session->serial % 2 == 1 ? call->portal->config.strangers / 2 : 0;
    for (uint32_t i = 0; i < count; i++) {
        store_be32(stranger.bytes + 12, i);
        shape_authorization(w, &stranger, &stranger, UINT32_MAX);
    }
}

/* One per (client, resource): what the gateway may still do. */
static void shape_authorizations(struct portal_call *call, const struct portal_session *session,
                                 struct json_writer *w)
{
    const struct sim_portal *portal = call->portal;
    json_put_key(w, "authorizations");
    json_open_array(w);
    shape_strangers(call, session, w);
    for (uint32_t c = 0; c < portal->policy->clients_count; c++) {
        for (uint32_t r = 0; r < portal->policy->resources_count; r++) {
            const struct portal_flow *flow = flow_find(call->portal, c, session->peer, r);
            if (flow != NULL && flow->expires_s > portal_unix_s(call)) {
                shape_authorization(w, &portal->policy->clients[c].id,
                                    &portal->policy->resources[r].id, flow->expires_s);
            }
        }
    }
    shape_strangers(call, session, w);
    json_close_array(w);
}

static void note_init(struct portal_call *call, const struct portal_session *session)
{
    uint32_t gateway = session->peer;
    bool head = portal_is_head(call->portal);
    struct sim_note note = {.kind = SIM_NOTE_INIT,
                            .grant = {.gateway = gateway},
                            .text = view_text(head ? "" : "keep")};
    session_note_to(call, session, &note);
    for (uint32_t c = 0; head && c < call->portal->policy->clients_count; c++) {
        for (uint32_t r = 0; r < call->portal->policy->resources_count; r++) {
            const struct portal_flow *flow = flow_find(call->portal, c, gateway, r);
            if (flow != NULL && flow->expires_s > portal_unix_s(call)) {
                note = flow_note_of(call, SIM_NOTE_GRANT, flow, "init");
                session_note_to(call, session, &note);
            }
        }
    }
}

static void send_gateway_init(struct portal_call *call, struct portal_session *session)
{
    struct sim_portal *portal = call->portal;
    const struct sim_gateway_identity *identity = &portal->policy->gateways[session->peer];
    struct portal_push push = push_start(portal, "gateway", "init");
    struct json_writer *w = &push.w;
    json_put_key(w, "interface");
    json_open_object(w);
    shape_interface(w, identity->tunnel_v4, identity->tunnel_v6);
    json_close_object(w);
    json_put_key(w, "config");
    json_open_object(w);
    json_field_bool(w, "ipv4_masquerade_enabled", portal->policy->masquerade_v4);
    json_field_bool(w, "ipv6_masquerade_enabled", portal->policy->masquerade_v6);
    json_close_object(w);
    json_put_key(w, "relays");
    shape_relays(call, session, w);
    if (portal_is_head(portal)) {
        json_field_string(w, "account_slug", portal->account_slug);
        shape_authorizations(call, session, w);
        json_put_key(w, "flow_logs");
        json_open_object(w);
        json_field_string(w, "api_url", "http://127.0.0.1:1");
        json_field_u64(w, "upload_interval_secs", 0);
        json_field_u64(w, "upload_batch_size", 1);
        json_close_object(w);
    }
    session_send(call, session, push_end(portal, &push), true);
    note_init(call, session);
}

static void send_client_init(struct portal_call *call, struct portal_session *session)
{
    struct sim_portal *portal = call->portal;
    const struct sim_client_identity *identity = &portal->policy->clients[session->peer];
    struct portal_push push = push_start(portal, "client", "init");
    struct json_writer *w = &push.w;
    json_put_key(w, "interface");
    json_open_object(w);
    shape_interface(w, identity->tunnel_v4, identity->tunnel_v6);
    json_put_key(w, "upstream_dns");
    json_open_array(w);
    json_open_object(w);
    json_field_string(w, "protocol", "ip_port");
    json_field_string(w, "address", "1.1.1.1:53");
    json_close_object(w);
    json_close_array(w);
    if (portal_is_head(portal)) {
        json_put_key(w, "upstream_do53");
        json_open_array(w);
        json_open_object(w);
        json_field_string(w, "ip", "1.1.1.1");
        json_close_object(w);
        json_close_array(w);
        json_put_key(w, "upstream_doh");
        json_open_array(w);
        json_close_array(w);
        json_field_null(w, "search_domain");
    }
    json_close_object(w);
    json_put_key(w, "resources");
    json_open_array(w);
    for (uint32_t i = 0; i < portal->policy->resources_count; i++) {
        if (sim_portal_permitted(portal, session->peer, i, portal_unix_s(call))) {
            json_open_object(w);
            shape_resource_for_client(portal, w, &portal->policy->resources[i]);
            json_close_object(w);
        }
    }
    json_close_array(w);
    json_put_key(w, "relays");
    shape_relays(call, session, w);
    json_field_string(w, "account_slug", portal->account_slug);
    session_send(call, session, push_end(portal, &push), true);
}

void channel_send_init(struct portal_call *call, struct portal_session *session)
{
    switch (session->kind) {
    case SESSION_GATEWAY:
        send_gateway_init(call, session);
        break;
    case SESSION_CLIENT:
        send_client_init(call, session);
        break;
    case SESSION_RELAY:
        channel_send_simple(call, session, "init");
        break;
    case SESSION_NEW:
        UNREACHABLE();
    }
}

/* ---- join ---- */

/* A relay's join brings its secret; V142 keeps the id, HEAD derives it (spec/relay.md 9.1). */
static bool join_relay(struct portal_call *call, struct portal_session *session,
                       const struct json_value *message)
{
    struct sim_portal *portal = call->portal;
    struct portal_relay *relay = &portal->relays[session->peer];
    struct view secret;
    if (!json_get_text(json_get(message, "payload"), "stamp_secret", &secret) || secret.len == 0 ||
        secret.len > SECRET_CHARACTERS) {
        return false;
    }
    bool was_online = relay->online;
    relay->session = (uint32_t)(session - portal->sessions);
    if (was_online && portal_is_head(portal)) {
        relay->online = false;
        presence_relay_left(call, session->peer);
    }
    memset(relay->secret, 0, sizeof relay->secret);
    memcpy(relay->secret, secret.at, secret.len);
    if (portal_is_head(portal)) {
        portal->policy->relays[session->peer].id = shape_uuid(VIEW_EMPTY, secret);
    }
    relay->online = true;
    return true;
}

/* HEAD serves one connection of a gateway: of two that got past the upgrade at once, the earlier.
 */
static bool is_second(struct portal_call *call, const struct portal_session *session)
{
    return portal_is_head(call->portal) && session->kind == SESSION_GATEWAY &&
           session_next(call->portal, NULL, SESSION_GATEWAY, session->peer) != NULL;
}

static void send_away(struct portal_call *call, struct portal_session *session,
                      const struct json_value *message)
{
    channel_reply(call, session, message, NULL);
    session_end(call, session, SIM_PORTAL_TOKEN_EXPIRED);
}

static void join(struct portal_call *call, struct portal_session *session,
                 const struct json_value *message)
{
    struct sim_portal *portal = call->portal;
    if (portal->faults.ignore_joins) {
        return;
    }
    if (portal->faults.refuse_joins != NULL) {
        channel_reply(call, session, message, portal->faults.refuse_joins);
        return;
    }
    if (session->joined) {
        /* The old instance of the channel is closed first, spec/portal.md section 2.4. */
        channel_send_simple(call, session, "phx_close");
        session_leave(call, session);
    }
    if (session->kind == SESSION_RELAY && !join_relay(call, session, message)) {
        channel_reply(call, session, message, "join crashed");
        return;
    }
    if (is_second(call, session)) {
        send_away(call, session, message);
        return;
    }
    session->joined = true;
    session->serial = portal->serial_next++; /* a new channel */
    session->join_unix_s = portal_unix_s(call);
    session->relays_sent_count = 0;
    portal->counters.joins++;
    channel_reply(call, session, message, NULL);
    if (session->kind == SESSION_GATEWAY) {
        flow_gateway_joined(call, session);
        struct sim_note note = {.kind = SIM_NOTE_GATEWAY_JOINED,
                                .grant = {.gateway = session->peer}};
        sim_put_note(call->out, &note);
    }
    channel_send_init(call, session);
    if (session->kind == SESSION_RELAY) {
        presence_relay_joined(call, session->peer);
    }
}

/* ---- application messages ---- */

enum handled {
    HANDLED,
    UNKNOWN_EVENT,
    BAD_PAYLOAD,
};

static enum handled handled_if(bool fits)
{
    return fits ? HANDLED : BAD_PAYLOAD;
}

static enum handled handle_gateway(struct portal_call *call, struct portal_session *session,
                                   const struct json_value *message, struct view event)
{
    const struct json_value *payload = json_get(message, "payload");
    if (view_equal_text(event, session->v2 ? "authorization_created" : "flow_authorized")) {
        return handled_if(flow_answered(call, session, message, FLOW_CREATE));
    }
    if (view_equal_text(event, "connection_ready")) {
        return handled_if(flow_answered(call, session, message, FLOW_REQUEST));
    }
    if (view_equal_text(event, "broadcast_ice_candidates")) {
        return handled_if(flow_candidates(call, session, payload, "ice_candidates"));
    }
    if (view_equal_text(event, "broadcast_invalidated_ice_candidates")) {
        return handled_if(flow_candidates(call, session, payload, "invalidate_ice_candidates"));
    }
    if (!portal_is_head(call->portal)) {
        return view_equal_text(event, "metrics") ? HANDLED : UNKNOWN_EVENT;
    }
    if (view_equal_text(event, "no_relays")) {
        presence_send(call, session, NULL, 0);
        return HANDLED;
    }
    return view_equal_text(event, "set_snownet_capabilities") ? HANDLED : UNKNOWN_EVENT;
}

static enum handled handle_client(struct portal_call *call, struct portal_session *session,
                                  const struct json_value *message, struct view event)
{
    const struct json_value *payload = json_get(message, "payload");
    if (view_equal_text(event, "create_flow")) {
        return handled_if(flow_create(call, session, payload));
    }
    if (view_equal_text(event, "broadcast_ice_candidates") ||
        view_equal_text(event, "new_gateway_ice_candidates")) {
        return handled_if(flow_candidates(call, session, payload, "ice_candidates"));
    }
    if (view_equal_text(event, "broadcast_invalidated_ice_candidates") ||
        view_equal_text(event, "invalidate_gateway_ice_candidates")) {
        return handled_if(flow_candidates(call, session, payload, "invalidate_ice_candidates"));
    }
    if (view_equal_text(event, "prepare_connection")) {
        return handled_if(flow_prepare(call, session, message));
    }
    if (view_equal_text(event, "request_connection")) {
        return handled_if(flow_request(call, session, message, FLOW_REQUEST));
    }
    if (view_equal_text(event, "reuse_connection")) {
        return handled_if(flow_request(call, session, message, FLOW_REUSE));
    }
    return UNKNOWN_EVENT;
}

/* What the gateway does wrong is a violation; other peers are ours. */
static void note_violation(struct portal_call *call, const struct portal_session *session,
                           const char *text)
{
    if (session->kind != SESSION_GATEWAY) {
        return;
    }
    struct sim_note note = {
        .kind = SIM_NOTE_VIOLATION, .grant = {.gateway = session->peer}, .text = view_text(text)};
    sim_put_note(call->out, &note);
}

static void dispatch(struct portal_call *call, struct portal_session *session,
                     const struct json_value *message, struct view event)
{
    enum handled handled = UNKNOWN_EVENT;
    if (session->kind == SESSION_GATEWAY) {
        handled = handle_gateway(call, session, message, event);
    } else if (session->kind == SESSION_CLIENT) {
        handled = handle_client(call, session, message, event);
    }
    if (handled == HANDLED) {
        return;
    }
    call->portal->counters.unknown_events++;
    note_violation(call, session,
                   handled == BAD_PAYLOAD ? "a payload that the portal cannot read"
                                          : "an event that the portal does not know");
    if (portal_is_head(call->portal)) {
        channel_reply(call, session, message, "unknown_message");
        return;
    }
    session_end(call, session, SIM_PORTAL_PHX_ERROR);
}

static void handle_message(struct portal_call *call, struct portal_session *session,
                           const struct json_value *message)
{
    struct view topic;
    struct view event;
    if (!json_get_text(message, "topic", &topic) || !json_get_text(message, "event", &event) ||
        !json_has(message, "payload") || !json_has(message, "ref")) {
        note_violation(call, session, "an envelope without one of its four keys");
        call->portal->counters.protocol_errors++;
        session_end(call, session, SIM_PORTAL_CLOSE_1011);
        return;
    }
    if (view_equal_text(topic, "phoenix") && view_equal_text(event, "heartbeat")) {
        if (!call->portal->faults.ignore_heartbeats) {
            call->portal->counters.heartbeats++;
            channel_reply(call, session, message, NULL);
        }
        return;
    }
    bool own_topic = view_equal_text(topic, session_topic(session));
    if (own_topic && view_equal_text(event, "phx_join")) {
        join(call, session, message);
        return;
    }
    if (!own_topic || !session->joined) {
        channel_reply(call, session, message, "unmatched topic");
        return;
    }
    if (view_equal_text(event, "phx_leave")) {
        channel_reply(call, session, message, NULL);
        session_end(call, session, SIM_PORTAL_PHX_CLOSE);
        return;
    }
    dispatch(call, session, message, event);
}

void channel_handle_text(struct portal_call *call, struct portal_session *session, struct view text)
{
    struct json_doc doc = {0};
    session_observe(call, session, false, text);
    if (json_parse(&doc, text) != DROP_NONE) {
        note_violation(call, session, "text that is no JSON");
        call->portal->counters.protocol_errors++;
        session_end(call, session, SIM_PORTAL_CLOSE_1011);
        return;
    }
    handle_message(call, session, doc.root);
    json_free(&doc);
}
