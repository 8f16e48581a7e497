#include "portal/portal_msg.h"

#include "base/assert.h"
#include "portal/portal_part.h"

/* ---- payloads ---- */

static bool decode_init(const struct json_value *payload, struct portal_msg *msg,
                        struct portal_checks *checks)
{
    struct portal_init *init = &msg->u.init;
    const struct json_value *interface = json_get(payload, "interface");
    const struct json_value *config = json_get(payload, "config");
    const struct json_value *authorizations = json_get_some(payload, "authorizations");
    struct ip_addr addresses[2];
    if (!portal_part_addresses(interface, "ipv4", "ipv6", addresses) ||
        !json_get_bool(config, "ipv4_masquerade_enabled", &init->ipv4_masquerade) ||
        !json_get_bool(config, "ipv6_masquerade_enabled", &init->ipv6_masquerade)) {
        return false;
    }
    if (json_has(payload, "relays") &&
        !portal_part_relays(json_get(payload, "relays"), &init->relays, checks)) {
        return false;
    }
    if (authorizations != NULL &&
        !portal_part_authorizations(authorizations, &init->authorizations, checks)) {
        return false;
    }
    init->ipv4 = addresses[0];
    init->ipv6 = addresses[1];
    init->has_authorizations = authorizations != NULL;
    init->has_flow_logs = json_is_object(json_get(payload, "flow_logs"));
    return true;
}

static bool decode_relays_presence(const struct json_value *payload, struct portal_msg *msg,
                                   struct portal_checks *checks)
{
    struct portal_relays_presence *presence = &msg->u.relays_presence;
    return portal_part_ids(json_get(payload, "disconnected_ids"), &presence->disconnected_ids,
                           checks) &&
           portal_part_relays(json_get(payload, "connected"), &presence->connected, checks);
}

static bool decode_authorize_flow(const struct json_value *payload, struct portal_msg *msg,
                                  struct portal_checks *checks)
{
    struct portal_authorize_flow *flow = &msg->u.authorize_flow;
    const struct json_value *client = json_get(payload, "client");
    struct ip_addr addresses[2];
    if (!portal_part_ref(payload, &flow->ref) ||
        !portal_part_resource(json_get(payload, "resource"), &flow->resource, checks) ||
        !portal_part_ice(json_get(payload, "gateway_ice_credentials"), &flow->gateway_ice) ||
        !portal_part_ice(json_get(payload, "client_ice_credentials"), &flow->client_ice) ||
        !json_get_uuid(client, "id", &flow->client.id) ||
        !portal_part_keys(client, &flow->client) ||
        !portal_part_addresses(client, "ipv4", "ipv6", addresses)) {
        return false;
    }
    flow->client.ipv4 = addresses[0];
    flow->client.ipv6 = addresses[1];
    return portal_part_expiry(payload, &flow->expires);
}

static bool decode_reject_access(const struct json_value *payload, struct portal_msg *msg,
                                 struct portal_checks *checks)
{
    (void)checks;
    return json_get_uuid(payload, "client_id", &msg->u.reject_access.client) &&
           json_get_uuid(payload, "resource_id", &msg->u.reject_access.resource);
}

static bool decode_candidates(const struct json_value *payload, struct portal_msg *msg,
                              struct portal_checks *checks)
{
    return json_get_uuid(payload, "client_id", &msg->u.candidates.client) &&
           portal_part_candidates(json_get(payload, "candidates"), &msg->u.candidates.candidates,
                                  checks);
}

/* Fails closed: what cannot be read takes the resource away, as far as its id is known. */
static bool decode_resource_updated(const struct json_value *payload, struct portal_msg *msg,
                                    struct portal_checks *checks)
{
    struct uuid id;
    if (portal_part_resource(payload, &msg->u.resource, checks)) {
        return true;
    }
    if (!json_get_uuid(payload, "id", &id)) {
        return false;
    }
    msg->kind = PORTAL_MSG_RESOURCE_REMOVED;
    msg->u.removed = id;
    return true;
}

static bool decode_request_connection(const struct json_value *payload, struct portal_msg *msg,
                                      struct portal_checks *checks)
{
    struct portal_request_connection *request = &msg->u.request_connection;
    const struct json_value *client = json_get(payload, "client");
    const struct json_value *peer = json_get(client, "peer");
    const struct json_value *details = json_get(client, "payload");
    uint16_t keepalive = 0;
    struct ip_addr addresses[2];
    if (!portal_part_ref(payload, &request->ref) ||
        !portal_part_resource(json_get(payload, "resource"), &request->resource, checks) ||
        !json_get_uuid(client, "id", &request->client.id) ||
        !portal_part_keys(peer, &request->client) ||
        !portal_part_addresses(peer, "ipv4", "ipv6", addresses) ||
        !portal_part_ice(json_get(details, "ice_parameters"), &request->client_ice) ||
        !portal_part_domain(json_get_some(details, "domain"), "name", &request->domain)) {
        return false;
    }
    const struct json_value *interval = json_get_some(peer, "persistent_keepalive");
    if (interval != NULL && !json_u16(interval, &keepalive)) {
        return false;
    }
    request->client.ipv4 = addresses[0];
    request->client.ipv6 = addresses[1];
    return portal_part_expiry(payload, &request->expires);
}

static bool decode_allow_access(const struct json_value *payload, struct portal_msg *msg,
                                struct portal_checks *checks)
{
    struct portal_allow_access *access = &msg->u.allow_access;
    struct ip_addr addresses[2];
    if (!portal_part_ref(payload, &access->ref) ||
        !json_get_uuid(payload, "client_id", &access->client) ||
        !portal_part_addresses(payload, "client_ipv4", "client_ipv6", addresses) ||
        !portal_part_resource(json_get(payload, "resource"), &access->resource, checks) ||
        !portal_part_domain(json_get_some(payload, "payload"), "name", &access->domain)) {
        return false;
    }
    access->client_ipv4 = addresses[0];
    access->client_ipv6 = addresses[1];
    return portal_part_expiry(payload, &access->expires);
}

static bool decode_expiry_updated(const struct json_value *payload, struct portal_msg *msg,
                                  struct portal_checks *checks)
{
    (void)checks;
    struct portal_expiry_updated *updated = &msg->u.expiry_updated;
    return json_get_uuid(payload, "client_id", &updated->client) &&
           json_get_uuid(payload, "resource_id", &updated->resource) &&
           portal_part_expiry(payload, &updated->expires);
}

/* Any reason but this one is ignored (spec/portal.md section 2.5). */
static bool decode_disconnect(const struct json_value *payload, struct portal_msg *msg,
                              struct portal_checks *checks)
{
    (void)checks;
    struct view reason;
    (void)msg;
    return json_get_text(payload, "reason", &reason) && view_equal_text(reason, "token_expired");
}

static bool decode_nothing(const struct json_value *payload, struct portal_msg *msg,
                           struct portal_checks *checks)
{
    (void)payload;
    (void)msg;
    (void)checks;
    return true;
}

/* ---- authorizations that cannot be read ---- */

static bool access_removed(struct portal_msg *msg, const struct uuid *client,
                           const struct uuid *resource)
{
    struct portal_reject_access ids = {*client, *resource};
    msg->kind = PORTAL_MSG_ACCESS_REMOVED;
    msg->u.reject_access = ids;
    return true;
}

/* Fails closed: where it is the resource that cannot be read, what the client may reach of it now
 * is not known, so that it loses what it held. False: something else is wrong, or an id. */
static bool decode_ids_of_access(const struct json_value *payload, struct portal_msg *msg)
{
    const struct json_value *value = json_get(payload, "resource");
    struct portal_checks unused = {0};
    struct portal_resource resource;
    struct uuid client;
    bool has_client = false;
    if (msg->kind == PORTAL_MSG_AUTHORIZE_FLOW || msg->kind == PORTAL_MSG_REQUEST_CONNECTION) {
        has_client = json_get_uuid(json_get(payload, "client"), "id", &client);
    } else if (msg->kind == PORTAL_MSG_ALLOW_ACCESS) {
        has_client = json_get_uuid(payload, "client_id", &client);
    }
    return has_client && !portal_part_resource(value, &resource, &unused) &&
           json_get_uuid(value, "id", &resource.id) && access_removed(msg, &client, &resource.id);
}

/* ---- the table of events ---- */

struct event_row {
    const char *name;
    enum portal_msg_kind kind;
    bool (*decode)(const struct json_value *payload, struct portal_msg *msg,
                   struct portal_checks *checks);
};

static const struct event_row event_rows[] = {
    {"init", PORTAL_MSG_INIT, decode_init},
    {"relays_presence", PORTAL_MSG_RELAYS_PRESENCE, decode_relays_presence},
    {"authorize_flow", PORTAL_MSG_AUTHORIZE_FLOW, decode_authorize_flow},
    {"create_authorization", PORTAL_MSG_AUTHORIZE_FLOW, decode_authorize_flow}, /* of /gateway/v2 */
    {"reject_access", PORTAL_MSG_REJECT_ACCESS, decode_reject_access},
    {"ice_candidates", PORTAL_MSG_ICE_CANDIDATES, decode_candidates},
    {"invalidate_ice_candidates", PORTAL_MSG_INVALIDATE_ICE_CANDIDATES, decode_candidates},
    {"resource_updated", PORTAL_MSG_RESOURCE_UPDATED, decode_resource_updated},
    {"request_connection", PORTAL_MSG_REQUEST_CONNECTION, decode_request_connection},
    {"allow_access", PORTAL_MSG_ALLOW_ACCESS, decode_allow_access},
    {"access_authorization_expiry_updated", PORTAL_MSG_EXPIRY_UPDATED, decode_expiry_updated},
    {"disconnect", PORTAL_MSG_TOKEN_EXPIRED, decode_disconnect},
    {"phx_error", PORTAL_MSG_PHX_ERROR, decode_nothing},
    {"phx_close", PORTAL_MSG_PHX_CLOSE, decode_nothing},
};

static const struct event_row *find_row(struct view event)
{
    for (size_t i = 0; i < ARRAY_COUNT(event_rows); i++) {
        if (view_equal_text(event, event_rows[i].name)) {
            return &event_rows[i];
        }
    }
    return NULL;
}

const char *portal_msg_kind_name(enum portal_msg_kind kind)
{
    if (kind == PORTAL_MSG_REPLY_OK || kind == PORTAL_MSG_REPLY_ERROR) {
        return "phx_reply";
    }
    if (kind == PORTAL_MSG_RESOURCE_REMOVED) {
        return "resource_updated";
    }
    if (kind == PORTAL_MSG_ACCESS_REMOVED) {
        return "authorize_flow";
    }
    for (size_t i = 0; i < ARRAY_COUNT(event_rows); i++) {
        if (event_rows[i].kind == kind) {
            return event_rows[i].name;
        }
    }
    UNREACHABLE();
}

/* ---- the envelope ---- */

/* The response of an ok reply may be anything: only that it is one counts. */
static enum drop_reason decode_reply(const struct json_value *root, struct portal_msg *msg)
{
    const struct json_value *payload = json_get(root, "payload");
    struct portal_reply *reply = &msg->u.reply;
    struct view status;
    if (!json_get_u64(root, "ref", &reply->ref)) {
        return DROP_PORTAL_REF;
    }
    if (!json_get_text(payload, "status", &status)) {
        return DROP_PORTAL_FIELD;
    }
    if (view_equal_text(status, "ok")) {
        msg->kind = PORTAL_MSG_REPLY_OK;
        return DROP_NONE;
    }
    msg->kind = PORTAL_MSG_REPLY_ERROR;
    return view_equal_text(status, "error") &&
                   json_get_text(json_get(payload, "response"), "reason", &reply->reason)
               ? DROP_NONE
               : DROP_PORTAL_FIELD;
}

static enum drop_reason decode_envelope(struct portal_msg *msg, struct portal_checks *checks)
{
    const struct json_value *root = msg->doc.root;
    struct view topic;
    if (!json_get_text(root, "topic", &topic) || !json_get_text(root, "event", &msg->event)) {
        return DROP_PHX_ENVELOPE;
    }
    if (view_equal_text(msg->event, "phx_reply")) {
        msg->u.reply.on_gateway_topic = view_equal_text(topic, "gateway");
        return decode_reply(root, msg);
    }
    const struct event_row *row = find_row(msg->event);
    if (row == NULL) {
        return DROP_PORTAL_UNKNOWN;
    }
    if (row->decode == decode_nothing) {
        msg->u.reply.on_gateway_topic = view_equal_text(topic, "gateway");
    }
    const struct json_value *payload = json_get(root, "payload");
    msg->kind = row->kind;
    bool is_read = row->decode(payload, msg, checks);
    if (!is_read) {
        *checks = (struct portal_checks){0};
        is_read = decode_ids_of_access(payload, msg);
    }
    return is_read ? DROP_NONE : DROP_PORTAL_FIELD;
}

/* ---- the face ---- */

void portal_decode_begin(struct portal_decoder *d, struct portal_msg *msg)
{
    *msg = (struct portal_msg){.kind = PORTAL_MSG_INIT};
    *d = (struct portal_decoder){.msg = msg};
    json_read_begin(&d->json, &msg->doc);
}

void portal_decode_text(struct portal_decoder *d, struct view *text, uint32_t *work)
{
    json_read(&d->json, text, work);
}

static bool resource_removed(struct portal_msg *msg, struct uuid id)
{
    msg->kind = PORTAL_MSG_RESOURCE_REMOVED;
    msg->u.removed = id;
    return true;
}

/* One entry of a list is wrong; in what grants something it is a filter. */
static enum drop_reason refuse_entry(struct portal_msg *msg)
{
    const struct portal_authorize_flow *flow = &msg->u.authorize_flow;
    const struct portal_request_connection *request = &msg->u.request_connection;
    const struct portal_allow_access *access = &msg->u.allow_access;
    bool is_closed = false;
    if (msg->kind == PORTAL_MSG_RESOURCE_UPDATED) {
        is_closed = resource_removed(msg, msg->u.resource.id);
    } else if (msg->kind == PORTAL_MSG_AUTHORIZE_FLOW) {
        is_closed = access_removed(msg, &flow->client.id, &flow->resource.id);
    } else if (msg->kind == PORTAL_MSG_REQUEST_CONNECTION) {
        is_closed = access_removed(msg, &request->client.id, &request->resource.id);
    } else if (msg->kind == PORTAL_MSG_ALLOW_ACCESS) {
        is_closed = access_removed(msg, &access->client, &access->resource.id);
    }
    return is_closed ? DROP_NONE : DROP_PORTAL_FIELD;
}

bool portal_decode_end(struct portal_decoder *d, uint32_t *work, enum drop_reason *reason)
{
    *reason = DROP_NONE;
    if (!d->is_decoded) {
        d->is_decoded = true;
        *reason = json_read_end(&d->json);
        if (*reason == DROP_NONE) {
            *reason = decode_envelope(d->msg, &d->checks);
        }
        if (*reason != DROP_NONE) {
            return true;
        }
    }
    if (!portal_part_check(&d->checks, work)) {
        *reason = refuse_entry(d->msg);
        return true;
    }
    return portal_part_is_checked(&d->checks);
}

enum drop_reason portal_msg_decode(struct portal_msg *msg, struct view text)
{
    struct portal_decoder decoder;
    enum drop_reason reason = DROP_NONE;
    uint32_t work = UINT32_MAX;
    portal_decode_begin(&decoder, msg);
    while (text.len > 0) {
        portal_decode_text(&decoder, &text, &work);
        work = UINT32_MAX;
    }
    while (!portal_decode_end(&decoder, &work, &reason)) {
        work = UINT32_MAX;
    }
    return reason;
}

void portal_msg_release(struct portal_msg *msg, struct json_trash *trash)
{
    json_release(&msg->doc, trash);
    *msg = (struct portal_msg){.kind = PORTAL_MSG_INIT};
}

void portal_msg_free(struct portal_msg *msg)
{
    json_free(&msg->doc);
    *msg = (struct portal_msg){.kind = PORTAL_MSG_INIT};
}
