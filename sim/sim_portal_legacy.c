#include "sim/sim_portal_internal.h"

#define KEEPALIVE_S 25U /* spec/portal.md section 7.4 */
#define PROXY_MAX   64U /* proxy addresses of a request */

static bool read_ice(const struct json_value *object, struct view *username, struct view *password)
{
    const struct json_value *parameters = json_get(object, "ice_parameters");
    return json_get_text(parameters, "username", username) &&
           json_get_text(parameters, "password", password);
}

static void put_ice_parameters(struct json_writer *w, struct view username, struct view password)
{
    json_put_key(w, "ice_parameters");
    json_open_object(w);
    json_field_text(w, "username", username);
    json_field_text(w, "password", password);
    json_close_object(w);
}

/* The reply to the old client's request_connection. */
void legacy_reply(struct portal_call *call, struct portal_session *session,
                  const struct portal_flow *flow, const struct json_value *accepted)
{
    struct sim_portal *portal = call->portal;
    struct view username;
    struct view password;
    if (!read_ice(accepted, &username, &password)) {
        return;
    }
    struct json_writer w = json_writer_of((struct span){portal->scratch, PORTAL_SCRATCH_SIZE});
    json_open_object(&w);
    json_field_u64(&w, "ref", flow->client_ref);
    json_field_string(&w, "topic", "client");
    json_field_string(&w, "event", "phx_reply");
    json_put_key(&w, "payload");
    json_open_object(&w);
    json_field_string(&w, "status", "ok");
    json_put_key(&w, "response");
    json_open_object(&w);
    json_field_uuid(&w, "resource_id", &portal->policy->resources[flow->resource].id);
    json_field_u64(&w, "persistent_keepalive", KEEPALIVE_S);
    json_put_key(&w, "gateway_public_key");
    json_put_base64(&w, VIEW_OF(portal->gateways[flow->gateway].public_key));
    json_put_key(&w, "gateway_payload");
    json_open_object(&w);
    json_put_key(&w, "ConnectionAccepted");
    json_open_object(&w);
    put_ice_parameters(&w, username, password);
    json_close_object(&w);
    json_close_object(&w);
    json_close_object(&w);
    json_close_object(&w);
    json_close_object(&w);
    struct view text;
    bool fitted = json_writer_finish(&w, &text);
    ASSERT(fitted);
    session_send(call, session, text, false);
}

/* ---- clients before 1.4 ---- */

bool flow_prepare(struct portal_call *call, struct portal_session *session,
                  const struct json_value *message)
{
    struct sim_portal *portal = call->portal;
    struct uuid resource_id;
    uint64_t ref;
    if (!json_get_uuid(json_get(message, "payload"), "resource_id", &resource_id) ||
        !json_get_u64(message, "ref", &ref)) {
        return false;
    }
    uint32_t resource;
    const char *refusal = flow_authorize(call, session, &resource_id, &resource);
    if (refusal != NULL) {
        channel_reply(call, session, message, refusal);
        return true;
    }
    uint32_t gateway = portal->policy->resources[resource].gateway;
    struct uuid site;
    shape_site_id(portal, gateway, &site);
    const struct portal_session *peer = session_next(portal, NULL, SESSION_GATEWAY, gateway);
    struct json_writer w = json_writer_of((struct span){portal->scratch, PORTAL_SCRATCH_SIZE});
    json_open_object(&w);
    json_field_u64(&w, "ref", ref);
    json_field_string(&w, "topic", "client");
    json_field_string(&w, "event", "phx_reply");
    json_put_key(&w, "payload");
    json_open_object(&w);
    json_field_string(&w, "status", "ok");
    json_put_key(&w, "response");
    json_open_object(&w);
    json_put_key(&w, "relays");
    shape_relays(call, session, &w);
    json_field_uuid(&w, "resource_id", &resource_id);
    json_field_uuid(&w, "gateway_id", &portal->policy->gateways[gateway].id);
    json_field_ip(&w, "gateway_remote_ip", &peer->remote.ip);
    json_field_uuid(&w, "gateway_group_id", &site);
    json_close_object(&w);
    json_close_object(&w);
    json_close_object(&w);
    struct view text;
    bool fitted = json_writer_finish(&w, &text);
    ASSERT(fitted);
    session_send(call, session, text, false);
    return true;
}

/* {"name", "proxy_ips"} as the old client sent it, under `key`; nothing when absent. */
static bool copy_domain(struct json_writer *w, const char *key, const struct json_value *domain)
{
    struct view name;
    const struct json_value *ips;
    if (domain == NULL || json_is_null(domain)) {
        return true;
    }
    if (!json_get_text(domain, "name", &name) || !json_get_array(domain, "proxy_ips", &ips)) {
        return false;
    }
    json_put_key(w, key);
    json_open_object(w);
    json_field_text(w, "name", name);
    json_put_key(w, "proxy_ips");
    json_open_array(w);
    uint32_t count = 0;
    for (const struct json_value *ip = json_first(ips); ip != NULL && count < PROXY_MAX;
         ip = json_next(ip)) {
        struct ip_addr address;
        if (!json_ip(ip, &address)) {
            return false;
        }
        json_put_ip(w, &address);
        count++;
    }
    json_close_array(w);
    json_close_object(w);
    return true;
}

static bool shape_legacy_client(struct portal_call *call, const struct portal_flow *flow,
                                const struct json_value *payload, struct json_writer *w)
{
    const struct sim_client_identity *identity = &call->portal->policy->clients[flow->client];
    const struct json_value *client_payload = json_get(payload, "client_payload");
    struct view username;
    struct view password;
    struct view psk;
    if (!read_ice(client_payload, &username, &password) ||
        !json_get_text(payload, "client_preshared_key", &psk)) {
        return false;
    }
    json_put_key(w, "client");
    json_open_object(w);
    json_field_uuid(w, "id", &identity->id);
    json_put_key(w, "payload");
    json_open_object(w);
    put_ice_parameters(w, username, password);
    if (!copy_domain(w, "domain", json_get(client_payload, "domain"))) {
        return false;
    }
    json_close_object(w);
    json_put_key(w, "peer");
    json_open_object(w);
    shape_interface(w, identity->tunnel_v4, identity->tunnel_v6);
    json_field_u64(w, "persistent_keepalive", KEEPALIVE_S);
    json_put_key(w, "public_key");
    json_put_base64(w, VIEW_OF(call->portal->clients[flow->client].public_key));
    json_field_text(w, "preshared_key", psk);
    json_close_object(w);
    json_close_object(w);
    return true;
}

static bool shape_legacy(struct portal_call *call, const struct portal_flow *flow,
                         const struct json_value *payload, struct portal_push *push)
{
    struct json_writer *w = &push->w;
    const struct sim_client_identity *identity = &call->portal->policy->clients[flow->client];
    json_field_text(w, "ref", (struct view){(const uint8_t *)flow->ref, PORTAL_REF_SIZE});
    json_field_uuid(w, "flow_id", &flow->id);
    json_put_key(w, "resource");
    json_open_object(w);
    shape_resource_for_gateway(w, &call->portal->policy->resources[flow->resource]);
    json_close_object(w);
    flow_shape_expiry(w, flow->expires_s);
    if (flow->kind == FLOW_REQUEST) {
        return shape_legacy_client(call, flow, payload, w);
    }
    json_field_uuid(w, "client_id", &identity->id);
    json_field_ip(w, "client_ipv4", &identity->tunnel_v4);
    json_field_ip(w, "client_ipv6", &identity->tunnel_v6);
    return copy_domain(w, "payload", json_get(payload, "payload"));
}

bool flow_request(struct portal_call *call, struct portal_session *session,
                  const struct json_value *message, enum flow_kind kind)
{
    const struct json_value *payload = json_get(message, "payload");
    struct uuid resource_id;
    struct uuid gateway_id;
    if (!json_get_uuid(payload, "resource_id", &resource_id) ||
        !json_get_uuid(payload, "gateway_id", &gateway_id)) {
        return false;
    }
    call->portal->counters.flows_requested++;
    uint32_t resource;
    const char *refusal = flow_authorize(call, session, &resource_id, &resource);
    struct portal_flow *flow = refusal == NULL ? flow_new(call, session, resource, kind) : NULL;
    if (flow == NULL) {
        channel_reply(call, session, message, refusal == NULL ? "offline" : refusal);
        return true;
    }
    flow->has_ref = json_get_u64(message, "ref", &flow->client_ref);
    struct portal_push push = push_start(
        call->portal, "gateway", kind == FLOW_REQUEST ? "request_connection" : "allow_access");
    if (!shape_legacy(call, flow, payload, &push)) {
        flow->used = false;
        return false;
    }
    if (flow_send(call, flow->gateway, push_end(call->portal, &push))) {
        call->portal->counters.flows_sent++;
        flow_note(call, SIM_NOTE_GRANT, flow);
    }
    return true;
}
