#include <string.h>

#include "sim/sim_portal_internal.h"

#define ANSWER_LIMIT DURATION_S(15) /* HEAD, spec/portal.md section 10.3 */

/* ---- notes ---- */

struct sim_note flow_note_of(const struct portal_call *call, enum sim_note_kind kind,
                             const struct portal_flow *flow, const char *text)
{
    const struct sim_policy *policy = call->portal->policy;
    return (struct sim_note){
        .kind = kind,
        .grant = {.client = policy->clients[flow->client].id,
                  .resource = policy->resources[flow->resource].id,
                  .gateway = flow->gateway,
                  .expires_unix_s = flow->expires_s},
        .text = view_text(text),
        .resource = policy->resources[flow->resource],
    };
}

void flow_note(struct portal_call *call, enum sim_note_kind kind, const struct portal_flow *flow)
{
    struct sim_note note = flow_note_of(call, kind, flow, "");
    session_note(call, flow->gateway, &note);
}

/* ---- the table ---- */

struct portal_flow *flow_find(struct sim_portal *portal, uint32_t client, uint32_t gateway,
                              uint32_t resource)
{
    struct portal_flow *newest = NULL;
    for (uint32_t i = 0; i < portal->flows_high; i++) {
        struct portal_flow *flow = &portal->flows[i];
        if (flow->used && flow->state != FLOW_OVER && flow->client == client &&
            flow->gateway == gateway && flow->resource == resource &&
            (newest == NULL || flow->sequence > newest->sequence)) {
            newest = flow;
        }
    }
    return newest;
}

static struct portal_flow *flow_slot(struct sim_portal *portal)
{
    struct portal_flow *oldest = NULL;
    for (uint32_t i = 0; i < SIM_PORTAL_FLOWS_MAX; i++) {
        struct portal_flow *flow = &portal->flows[i];
        if (!flow->used) {
            portal->flows_high = i >= portal->flows_high ? i + 1 : portal->flows_high;
            return flow;
        }
        if (flow->state == FLOW_OVER && (oldest == NULL || flow->sequence < oldest->sequence)) {
            oldest = flow;
        }
    }
    return oldest;
}

static uint64_t flow_expiry(const struct portal_call *call, uint32_t client, uint32_t resource)
{
    const struct sim_portal *portal = call->portal;
    uint64_t granted = portal->clients[client].expires_s[resource];
    if (granted == 0 && portal->policy->default_expiry_s > 0) {
        granted = portal_unix_s(call) + portal->policy->default_expiry_s;
    }
    if (granted == 0 && portal_is_head(portal)) {
        uint64_t session = portal->config.client_session_s;
        granted = portal_unix_s(call) + (session > 0 ? session : PORTAL_SESSION_S);
    }
    return granted;
}

static void pair_of(const struct sim_portal *portal, const struct portal_flow *flow,
                    struct portal_pair *out)
{
    *out = (struct portal_pair){
        .client = portal->policy->clients[flow->client].id,
        .gateway = portal->policy->gateways[flow->gateway].id,
        .client_key = portal->clients[flow->client].public_key,
        .gateway_key = flow->gateway_key,
    };
}

/* NULL when the table is full of live flows. */
struct portal_flow *flow_new(struct portal_call *call, const struct portal_session *session,
                             uint32_t resource, enum flow_kind kind)
{
    struct sim_portal *portal = call->portal;
    struct portal_flow *flow = flow_slot(portal);
    if (flow == NULL) {
        return NULL;
    }
    *flow = (struct portal_flow){
        .used = true,
        .subscribed = true,
        .kind = kind,
        .state = kind == FLOW_REUSE ? FLOW_AUTHORIZED : FLOW_PENDING,
        .client = session->peer,
        .gateway = portal->policy->resources[resource].gateway,
        .resource = resource,
        .client_serial = session->serial,
        .expires_s = flow_expiry(call, session->peer, resource),
        .sequence = portal->sequence_next++,
        .deadline = TIME_NEVER,
    };
    if (portal_is_head(portal) && kind == FLOW_CREATE) {
        flow->deadline = instant_add(call->now.boot, ANSWER_LIMIT);
    }
    uint8_t bytes[24];
    rng_bytes(&portal->rng, bytes, sizeof bytes);
    struct writer w = writer_of((struct span){(uint8_t *)flow->ref, PORTAL_REF_SIZE});
    text_put_base64url(&w, VIEW_OF(bytes));
    ASSERT(writer_finish(&w));
    rng_bytes(&portal->rng, bytes, UUID_SIZE);
    flow->id = shape_uuid(view_text("flow"), (struct view){bytes, UUID_SIZE});
    memcpy(flow->gateway_key, portal->gateways[flow->gateway].public_key, 32);
    rng_bytes(&portal->rng, flow->psk, sizeof flow->psk);
    if (portal_is_head(portal)) {
        struct portal_pair pair;
        pair_of(portal, flow, &pair);
        portal_credentials_psk(&pair, portal->clients[flow->client].secret,
                               portal->gateways[flow->gateway].secret, flow->psk);
    }
    return flow;
}

/* ---- choosing a gateway ---- */

/* V142: below 1.4.0 is not served to clients from 1.4.0 on, the same for 1.1.0. HEAD: a client X.Y
 * gets X.(Y-1) to X.(Y+1). spec/portal.md sections 7.5 and 10.3. */
static bool version_fits(const struct sim_portal *portal, const struct portal_session *client,
                         const struct portal_session *gateway)
{
    if (!client->has_version) {
        return true;
    }
    if (!gateway->has_version) {
        return false;
    }
    if (portal_is_head(portal)) {
        return client->version[0] == gateway->version[0] &&
               gateway->version[1] + 1 >= client->version[1] &&
               gateway->version[1] < client->version[1] + 2;
    }
    static const uint32_t steps[] = {4, 1};
    for (uint32_t i = 0; i < ARRAY_COUNT(steps); i++) {
        bool client_has = client->version[0] > 1 || client->version[1] >= steps[i];
        bool gateway_has = gateway->version[0] > 1 || gateway->version[1] >= steps[i];
        if (client_has && !gateway_has) {
            return false;
        }
    }
    return true;
}

/* Finds what the client asks for. Returns NULL and the index, or the reason of the refusal. */
const char *flow_authorize(struct portal_call *call, const struct portal_session *session,
                           const struct uuid *resource_id, uint32_t *resource)
{
    struct sim_portal *portal = call->portal;
    *resource = sim_policy_resource(portal->policy, resource_id);
    if (*resource == UINT32_MAX || !portal_resource_exists(portal, *resource)) {
        return "not_found";
    }
    if (!sim_portal_permitted(portal, session->peer, *resource, portal_unix_s(call))) {
        return portal->clients[session->peer].rights[*resource] == RIGHT_GRANTED ? "forbidden"
                                                                                 : "not_found";
    }
    const struct portal_session *gateway =
        session_next(portal, NULL, SESSION_GATEWAY, portal->policy->resources[*resource].gateway);
    if (gateway == NULL) {
        return "offline";
    }
    if (!version_fits(portal, session, gateway)) {
        return portal_is_head(portal) ? "version_mismatch" : "offline";
    }
    return NULL;
}

static void send_failure(struct portal_call *call, struct portal_session *session,
                         const struct uuid *resource_id, const char *reason)
{
    struct portal_push push = push_start(call->portal, "client", "flow_creation_failed");
    json_field_uuid(&push.w, "resource_id", resource_id);
    json_field_string(&push.w, "reason", reason);
    session_send(call, session, push_end(call->portal, &push), true);
}

/* Sends one text to every connection of the gateway; false when there is none. */
bool flow_send(struct portal_call *call, uint32_t gateway, struct view text)
{
    struct portal_session *session = NULL;
    bool any = false;
    while ((session = session_next(call->portal, session, SESSION_GATEWAY, gateway)) != NULL) {
        session_send(call, session, text, true);
        any = true;
    }
    call->portal->counters.undeliverable += !any;
    return any;
}

/* ---- create_flow ---- */

static void shape_client_extras(struct json_writer *w)
{
    static const char *const absent[] = {
        "device_serial", "device_os_name",           "device_os_version",
        "device_uuid",   "firebase_installation_id", "identifier_for_vendor"};
    json_field_string(w, "version", "1.5.2");
    for (uint32_t i = 0; i < ARRAY_COUNT(absent); i++) {
        if (i == 1) {
            json_field_string(w, absent[i], "Linux");
        } else {
            json_field_null(w, absent[i]);
        }
    }
}

static void shape_client(const struct sim_portal *portal, const struct portal_flow *flow,
                         struct json_writer *w)
{
    const struct sim_client_identity *identity = &portal->policy->clients[flow->client];
    json_put_key(w, "client");
    json_open_object(w);
    json_field_uuid(w, "id", &identity->id);
    json_put_key(w, "public_key");
    json_put_base64(w, VIEW_OF(portal->clients[flow->client].public_key));
    json_put_key(w, "preshared_key");
    json_put_base64(w, VIEW_OF(flow->psk));
    shape_interface(w, identity->tunnel_v4, identity->tunnel_v6);
    if (portal_is_head(portal)) {
        shape_client_extras(w);
    }
    json_close_object(w);
}

void flow_shape_expiry(struct json_writer *w, uint64_t expires_s)
{
    if (expires_s == 0) {
        json_field_null(w, "expires_at");
    } else {
        json_field_u64(w, "expires_at", expires_s);
    }
}

static void shape_subject(const struct sim_portal *portal, const struct portal_flow *flow,
                          struct json_writer *w)
{
    json_put_key(w, "subject");
    json_open_object(w);
    json_field_uuid(w, "actor_id", &portal->policy->clients[flow->client].id);
    json_field_string(w, "actor_name", "x");
    json_field_null(w, "actor_email");
    if (portal->config.head_extras) {
        json_field_string(w, "actor_type", "service_account");
    }
    json_field_null(w, "auth_provider_id");
    if (portal->config.head_extras) {
        static const char *const places[] = {"ip_region", "ip_city", "ip_lat", "ip_lon",
                                             "user_agent"};
        json_field_string(w, "ip", "192.0.2.1");
        for (uint32_t i = 0; i < ARRAY_COUNT(places); i++) {
            json_field_null(w, places[i]);
        }
    }
    json_close_object(w);
}

static void send_authorize_flow(struct portal_call *call, const struct portal_flow *flow)
{
    struct sim_portal *portal = call->portal;
    struct portal_pair pair;
    struct portal_ice_pair ice;
    pair_of(portal, flow, &pair);
    portal_credentials_ice(&pair, &ice);
    const struct portal_session *gateway =
        session_next(portal, NULL, SESSION_GATEWAY, flow->gateway);
    bool v2 = gateway != NULL && gateway->v2;
    struct portal_push push =
        push_start(portal, "gateway", v2 ? "create_authorization" : "authorize_flow");
    json_field_text(&push.w, "ref", (struct view){(const uint8_t *)flow->ref, PORTAL_REF_SIZE});
    if (!portal_is_head(portal)) {
        json_field_uuid(&push.w, "flow_id", &flow->id);
        json_put_key(&push.w, "actor");
        json_open_object(&push.w);
        json_field_uuid(&push.w, "id", &portal->policy->clients[flow->client].id);
        json_close_object(&push.w);
    }
    json_put_key(&push.w, "resource");
    json_open_object(&push.w);
    shape_resource_for_gateway(&push.w, &portal->policy->resources[flow->resource]);
    json_close_object(&push.w);
    shape_ice(&push.w, "gateway_ice_credentials", ice.gateway_ufrag, ice.gateway_password);
    shape_client(portal, flow, &push.w);
    shape_ice(&push.w, "client_ice_credentials", ice.client_ufrag, ice.client_password);
    flow_shape_expiry(&push.w, flow->expires_s);
    if (portal_is_head(portal)) {
        shape_subject(portal, flow, &push.w);
        json_field_bool(&push.w, "use_iceless", false);
    }
    if (portal_is_head(portal) && portal->config.head_extras) {
        json_field_string(&push.w, "flow_logs_ingest_token",
                          "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.AAAA");
    }
    if (flow_send(call, flow->gateway, push_end(portal, &push))) {
        portal->counters.flows_sent++;
        flow_note(call, SIM_NOTE_GRANT, flow);
    }
}

bool flow_create(struct portal_call *call, struct portal_session *session,
                 const struct json_value *payload)
{
    struct uuid resource_id;
    const struct json_value *connected;
    if (!json_get_uuid(payload, "resource_id", &resource_id) ||
        !json_get_array(payload, "connected_gateway_ids", &connected)) {
        return false;
    }
    call->portal->counters.flows_requested++;
    uint32_t resource;
    const char *refusal = flow_authorize(call, session, &resource_id, &resource);
    struct portal_flow *flow =
        refusal == NULL ? flow_new(call, session, resource, FLOW_CREATE) : NULL;
    if (flow == NULL) {
        send_failure(call, session, &resource_id, refusal == NULL ? "offline" : refusal);
        return true;
    }
    send_authorize_flow(call, flow);
    return true;
}

/* `key`: of the process that answered. */
static void send_flow_created(struct portal_call *call, struct portal_session *session,
                              const struct portal_flow *flow, const uint8_t key[32])
{
    struct sim_portal *portal = call->portal;
    const struct sim_gateway_identity *gateway = &portal->policy->gateways[flow->gateway];
    struct portal_pair pair;
    struct portal_ice_pair ice;
    struct uuid site;
    pair_of(portal, flow, &pair);
    portal_credentials_ice(&pair, &ice);
    shape_site_id(portal, flow->gateway, &site);
    struct portal_push push = push_start(portal, "client", "flow_created");
    json_field_uuid(&push.w, "resource_id", &portal->policy->resources[flow->resource].id);
    json_put_key(&push.w, "preshared_key");
    json_put_base64(&push.w, VIEW_OF(flow->psk));
    shape_ice(&push.w, "client_ice_credentials", ice.client_ufrag, ice.client_password);
    shape_ice(&push.w, "gateway_ice_credentials", ice.gateway_ufrag, ice.gateway_password);
    json_field_uuid(&push.w, portal_is_head(portal) ? "site_id" : "gateway_group_id", &site);
    json_field_uuid(&push.w, "gateway_id", &gateway->id);
    json_put_key(&push.w, "gateway_public_key");
    json_put_base64(&push.w, (struct view){key, 32});
    json_field_ip(&push.w, "gateway_ipv4", &gateway->tunnel_v4);
    json_field_ip(&push.w, "gateway_ipv6", &gateway->tunnel_v6);
    session_send(call, session, push_end(portal, &push), true);
}

/* ---- the gateway's answer ---- */

static struct portal_session *client_of(struct sim_portal *portal, const struct portal_flow *flow)
{
    struct portal_session *session = NULL;
    while ((session = session_next(portal, session, SESSION_CLIENT, flow->client)) != NULL) {
        if (session->serial == flow->client_serial) {
            return session;
        }
    }
    return NULL;
}

static struct portal_flow *flow_by_ref(struct sim_portal *portal, uint32_t gateway, struct view ref)
{
    for (uint32_t i = 0; i < portal->flows_high; i++) {
        struct portal_flow *flow = &portal->flows[i];
        if (flow->used && flow->gateway == gateway &&
            view_equal(ref, (struct view){(const uint8_t *)flow->ref, PORTAL_REF_SIZE})) {
            return flow;
        }
    }
    return NULL;
}

bool flow_answered(struct portal_call *call, struct portal_session *session,
                   const struct json_value *message, enum flow_kind kind)
{
    struct sim_portal *portal = call->portal;
    const struct json_value *payload = json_get(message, "payload");
    struct view ref;
    if (!json_get_text(payload, "ref", &ref)) {
        return false;
    }
    struct portal_flow *flow = flow_by_ref(portal, session->peer, ref);
    if (flow == NULL || flow->kind != kind) {
        portal->counters.invalid_refs++;
        channel_reply(call, session, message, "invalid_ref");
        return true;
    }
    channel_reply(call, session, message, NULL);
    if (flow->state == FLOW_OVER || flow->late) {
        portal->counters.late_answers++;
        return true;
    }
    flow->state = FLOW_AUTHORIZED;
    flow->deadline = TIME_NEVER;
    portal->counters.flows_authorized++;
    struct portal_session *client = client_of(portal, flow);
    if (client == NULL || portal->faults.drop_flow_answers) {
        return true; /* nobody listens any more */
    }
    if (kind == FLOW_CREATE) {
        send_flow_created(call, client, flow, session->public_key);
    } else if (flow->has_ref) {
        legacy_reply(call, client, flow,
                     json_get(json_get(payload, "gateway_payload"), "ConnectionAccepted"));
    }
    return true;
}

/* ---- ends ---- */

void flow_reject(struct portal_call *call, uint32_t gateway, const struct portal_flow *flow)
{
    struct portal_push push = push_start(call->portal, "gateway", "reject_access");
    if (!portal_is_head(call->portal)) {
        json_field_uuid(&push.w, "flow_id", &flow->id);
    }
    json_field_uuid(&push.w, "client_id", &call->portal->policy->clients[flow->client].id);
    json_field_uuid(&push.w, "resource_id", &call->portal->policy->resources[flow->resource].id);
    if (flow_send(call, gateway, push_end(call->portal, &push))) {
        call->portal->counters.rejects++;
        flow_note(call, SIM_NOTE_REVOKE, flow);
    }
}

static bool flow_is_for(const struct portal_flow *flow, uint32_t client, uint32_t resource)
{
    return flow->used && flow->state != FLOW_OVER &&
           (client == PORTAL_NOBODY || flow->client == client) &&
           (resource == PORTAL_NOBODY || flow->resource == resource);
}

/* Ends every flow of the same three ends; true when the gateway's channel knows one of them. */
static bool end_same(struct portal_call *call, const struct portal_flow *like)
{
    bool known = false;
    for (uint32_t i = 0; i < call->portal->flows_high; i++) {
        struct portal_flow *flow = &call->portal->flows[i];
        if (flow_is_for(flow, like->client, like->resource) && flow->gateway == like->gateway) {
            bool expired = flow->expires_s != 0 && flow->expires_s <= portal_unix_s(call);
            known = known || (flow->subscribed && !(portal_is_head(call->portal) && expired));
            flow->state = FLOW_OVER;
            flow->deadline = TIME_NEVER;
        }
    }
    return known;
}

void flow_revoke(struct portal_call *call, uint32_t client, uint32_t resource)
{
    for (uint32_t i = 0; i < call->portal->flows_high; i++) {
        struct portal_flow *flow = &call->portal->flows[i];
        if (flow_is_for(flow, client, resource)) {
            struct portal_flow like = *flow;
            if (end_same(call, &like)) {
                flow_reject(call, like.gateway, &like);
            }
        }
    }
}

/* Whether a connection of another process with the same identity goes on. */
static bool has_twin(struct sim_portal *portal, const struct portal_session *session)
{
    const struct portal_session *other = NULL;
    while ((other = session_next(portal, other, SESSION_GATEWAY, session->peer)) != NULL) {
        if (memcmp(other->public_key, session->public_key, 32) != 0) {
            return true;
        }
    }
    return false;
}

void flow_gateway_joined(struct portal_call *call, const struct portal_session *session)
{
    if (portal_is_head(call->portal) || has_twin(call->portal, session)) {
        return;
    }
    for (uint32_t i = 0; i < call->portal->flows_high; i++) {
        struct portal_flow *flow = &call->portal->flows[i];
        /* V142 keeps what a gateway may do in the channel that died. */
        if (flow->used && flow->gateway == session->peer) {
            flow->subscribed = false;
        }
    }
}

void flow_client_left(struct portal_call *call, const struct portal_session *session)
{
    for (uint32_t i = 0; i < call->portal->flows_high; i++) {
        struct portal_flow *flow = &call->portal->flows[i];
        if (flow->used && flow->client_serial == session->serial) {
            flow->deadline = TIME_NEVER; /* nobody to tell */
        }
    }
}

void flow_advance(struct portal_call *call)
{
    struct sim_portal *portal = call->portal;
    for (uint32_t i = 0; i < portal->flows_high; i++) {
        struct portal_flow *flow = &portal->flows[i];
        if (!flow->used || flow->state != FLOW_PENDING ||
            !instant_reached(call->now.boot, flow->deadline)) {
            continue;
        }
        flow->state = FLOW_AUTHORIZED; /* the gateway may well have it */
        flow->late = true;
        flow->deadline = TIME_NEVER;
        portal->counters.flows_offline++;
        struct portal_session *client = client_of(portal, flow);
        if (client != NULL) {
            send_failure(call, client, &portal->policy->resources[flow->resource].id, "offline");
        }
    }
}

struct instant flow_next(const struct sim_portal *portal)
{
    struct instant next = TIME_NEVER;
    for (uint32_t i = 0; i < portal->flows_high; i++) {
        const struct portal_flow *flow = &portal->flows[i];
        if (flow->used && flow->state == FLOW_PENDING) {
            next = instant_min(next, flow->deadline);
        }
    }
    return next;
}
