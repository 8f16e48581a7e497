#include "gateway/gateway_internal.h"

#include <string.h>

/* Characters of generated ICE credentials for clients before 1.4: no w and no W, as the reference.
 */
#define LEGACY_UFRAG_SIZE    4U
#define LEGACY_PASSWORD_SIZE 22U

void gateway_control_refuse(struct gateway *gw, enum drop_reason reason, struct view what)
{
    struct trace_event event = {
        .event = EV_PORTAL_REFUSED, .reason = reason, .at = gw->now, .text = what};
    gw->counters.drops[reason]++;
    trace_emit(&gw->trace, &event);
}

static void trace_grant(struct gateway *gw, enum trace_id id, const struct uuid *client,
                        const struct uuid *resource)
{
    struct trace_event event = {.event = id, .at = gw->now, .id = *client, .id2 = *resource};
    trace_emit(&gw->trace, &event);
}

/* ---- authorizations ---- */

void gateway_control_ended(struct gateway *gw, const struct policy_ended *ended,
                           enum trace_id event)
{
    trace_grant(gw, event, &ended->client_id, &ended->resource_id);
    if (!ended->emptied) {
        return;
    }
    struct gateway_connection *c = gateway_connection_of(gw, ended->client);
    if (c != NULL) {
        gateway_connection_goodbye(gw, c);
    }
    gateway_connection_unused(gw, ended->client);
}

static void start_relays(struct gateway *gw, enum gateway_sweep sweep,
                         const struct portal_list *list)
{
    struct gateway_control *control = &gw->control;
    ASSERT(gw->limits.relays <= ARRAY_COUNT(control->relays_kept));
    memset(control->relays_kept, 0, sizeof(control->relays_kept));
    control->has_relay = false;
    control->relay_lost = false;
    gateway_sweep_start(gw, sweep, list);
}

static void start_remove(struct gateway *gw, const struct uuid *resource)
{
    gw->control.resource = *resource;
    gateway_sweep_start(gw, GATEWAY_SWEEP_REMOVE, NULL);
}

static void handle_init(struct gateway *gw, const struct portal_init *msg)
{
    struct trace_event event = {.event = EV_INIT, .at = gw->now, .value = msg->relays.count};
    trace_emit(&gw->trace, &event);
    gw->tun_config = (struct gateway_tun_config){msg->ipv4, msg->ipv6};
    gw->tun_config_due = true;
    gw->initialised = true;
    gw->listens_due |= 1U << GATEWAY_LISTENER_DNS_UDP4 | 1U << GATEWAY_LISTENER_DNS_UDP6 |
                       1U << GATEWAY_LISTENER_DNS_TCP4 | 1U << GATEWAY_LISTENER_DNS_TCP6;
    policy_set_gateway_addresses(gw->policy, msg->ipv4, msg->ipv6);
    start_relays(gw, GATEWAY_SWEEP_RELAYS, &msg->relays);
}

/* ---- resources ---- */

static enum policy_protocol to_protocol(enum portal_filter_protocol protocol)
{
    switch (protocol) {
    case PORTAL_FILTER_TCP:
        return POLICY_PROTOCOL_TCP;
    case PORTAL_FILTER_UDP:
        return POLICY_PROTOCOL_UDP;
    case PORTAL_FILTER_ICMP:
        return POLICY_PROTOCOL_ICMP;
    case PORTAL_FILTER_NONE:
        break;
    }
    return POLICY_PROTOCOL_UNKNOWN;
}

#define RULES_MAX 256U /* filter entries of one resource */

/* Translates a portal's resource; `rules` holds its filters. False: more filters than fit. */
static bool to_policy(const struct portal_resource *in, struct policy_rule *rules,
                      struct policy_resource *out)
{
    struct portal_list filters = in->filters;
    struct portal_filter filter;
    memset(out, 0, sizeof(*out));
    out->id = in->id;
    out->kind = in->type == PORTAL_RESOURCE_DNS    ? POLICY_KIND_DNS
                : in->type == PORTAL_RESOURCE_CIDR ? POLICY_KIND_CIDR
                                                   : POLICY_KIND_INTERNET;
    out->prefix = in->prefix;
    out->pattern = in->pattern;
    out->rules = rules;
    while (in->type != PORTAL_RESOURCE_INTERNET && portal_filters_next(&filters, &filter)) {
        if (out->rules_count == RULES_MAX) {
            return false;
        }
        rules[out->rules_count++] =
            (struct policy_rule){to_protocol(filter.protocol), filter.port_start, filter.port_end};
    }
    return true;
}

static uint64_t to_expiry(const struct portal_expiry *expires)
{
    return expires->is_some ? expires->at_s : POLICY_NEVER;
}

static void revoke(struct gateway *gw, const struct uuid *client, const struct uuid *resource)
{
    struct policy_ended ended;
    uint32_t handle = policy_client_find(gw->policy, client);
    if (handle != POLICY_CLIENT_NONE &&
        policy_revoke(gw->policy, handle, resource, &ended) == ERR_NONE) {
        gateway_control_ended(gw, &ended, EV_REVOKED);
    }
}

/* Fails closed: what the client held of the resource is no longer what the portal wants. */
static uint32_t refuse_grant(struct gateway *gw, const struct portal_client_info *client,
                             const struct portal_resource *resource, enum err err, const char *what)
{
    enum drop_reason reason = err == ERR_FULL ? DROP_PORTAL_LIMIT : DROP_PORTAL_FIELD;
    gateway_control_refuse(gw, reason, view_text(what));
    revoke(gw, &client->id, &resource->id);
    return POLICY_CLIENT_NONE;
}

/* Grants the resource; makes the client known first. POLICY_CLIENT_NONE: refused and counted. */
static uint32_t grant(struct gateway *gw, const struct portal_client_info *client,
                      const struct portal_resource *resource, const struct portal_expiry *expires)
{
    struct policy_rule rules[RULES_MAX];
    struct policy_resource wanted;
    uint32_t handle = policy_client_find(gw->policy, &client->id);
    bool known = handle != POLICY_CLIENT_NONE;
    if (!to_policy(resource, rules, &wanted)) {
        return refuse_grant(gw, client, resource, ERR_FULL, "filters");
    }
    enum err err =
        policy_client_upsert(gw->policy, &client->id, client->ipv4, client->ipv6, &handle);
    if (err == ERR_FULL && gateway_connection_evict(gw)) {
        err = policy_client_upsert(gw->policy, &client->id, client->ipv4, client->ipv6, &handle);
    }
    if (err != ERR_NONE) {
        return refuse_grant(gw, client, resource, err, "client");
    }
    err = policy_authorize(gw->policy, handle, &wanted, to_expiry(expires));
    if (err != ERR_NONE) {
        if (!known) {
            policy_client_remove(gw->policy, handle);
        }
        return refuse_grant(gw, client, resource, err, "resource");
    }
    gateway_connection_wanted(gw, handle);
    trace_grant(gw, EV_AUTHORIZED, &client->id, &resource->id);
    return handle;
}

/* Takes a grant back that could not be served. */
static void take_back(struct gateway *gw, uint32_t handle, const struct uuid *resource)
{
    struct policy_ended ended;
    if (policy_revoke(gw->policy, handle, resource, &ended) == ERR_NONE && ended.emptied) {
        gateway_connection_unused(gw, handle);
    }
}

static void fill_offer(struct gateway_offer *offer, uint32_t handle,
                       const struct portal_client_info *client)
{
    memset(offer, 0, sizeof(*offer));
    offer->policy_client = handle;
    offer->client = client->id;
    memcpy(offer->key.bytes, client->public_key, KEY_SIZE);
    memcpy(offer->psk.bytes, client->preshared_key, KEY_SIZE);
}

/* Serves an authorization; true when it may be answered. */
static bool connect_client(struct gateway *gw, const struct gateway_offer *offer, bool had_resource,
                           const struct uuid *resource)
{
    enum err err = gateway_connection_upsert(gw, offer);
    if (err == ERR_NONE) {
        return true;
    }
    if (err == ERR_NO_RELAY) {
        gateway_relay_hurry(gw);
        gateway_relay_none_left(gw);
    } else {
        gateway_control_refuse(gw, DROP_PORTAL_FIELD, view_text("credentials"));
    }
    if (!had_resource) {
        take_back(gw, offer->policy_client, resource);
    }
    return false;
}

static bool has_resource(struct gateway *gw, const struct uuid *client, const struct uuid *resource)
{
    uint32_t handle = policy_client_find(gw->policy, client);
    return handle != POLICY_CLIENT_NONE && policy_has_resource(gw->policy, handle, resource);
}

static void handle_authorize_flow(struct gateway *gw, const struct portal_authorize_flow *msg)
{
    bool had = has_resource(gw, &msg->client.id, &msg->resource.id);
    uint32_t handle = grant(gw, &msg->client, &msg->resource, &msg->expires);
    if (handle == POLICY_CLIENT_NONE) {
        return; /* no answer: the portal tells the client "offline" */
    }
    struct gateway_offer offer;
    fill_offer(&offer, handle, &msg->client);
    offer.ice = (struct gateway_credentials){msg->gateway_ice.username, msg->gateway_ice.password,
                                             msg->client_ice.username, msg->client_ice.password};
    if (connect_client(gw, &offer, had, &msg->resource.id)) {
        enum err err = portal_client_send_flow_authorized(&gw->portal, msg->ref);
        if (gateway_trace_sent(gw, err, "flow_authorized") != ERR_NONE) {
            gateway_control_refuse(gw, DROP_PORTAL_LIMIT, view_text("flow_authorized"));
        }
    }
    wg_psk_wipe(&offer.psk);
}

static void legacy_text(struct gateway *gw, uint8_t *out, size_t len)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvxyzABCDEFGHIJKLMNOPQRSTUVXYZ0123456789";
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)alphabet[rng_below(&gw->rng, sizeof(alphabet) - 1)];
    }
}

static void handle_request_connection(struct gateway *gw,
                                      const struct portal_request_connection *msg)
{
    uint8_t ufrag[LEGACY_UFRAG_SIZE];
    uint8_t password[LEGACY_PASSWORD_SIZE];
    bool had = has_resource(gw, &msg->client.id, &msg->resource.id);
    uint32_t handle = grant(gw, &msg->client, &msg->resource, &msg->expires);
    if (handle == POLICY_CLIENT_NONE) {
        return;
    }
    legacy_text(gw, ufrag, sizeof(ufrag));
    legacy_text(gw, password, sizeof(password));
    struct gateway_offer offer;
    fill_offer(&offer, handle, &msg->client);
    offer.replace = true;
    offer.ice = (struct gateway_credentials){VIEW_OF(ufrag), VIEW_OF(password),
                                             msg->client_ice.username, msg->client_ice.password};
    if (connect_client(gw, &offer, had, &msg->resource.id)) {
        if (msg->domain.is_some) {
            gateway_resolve_legacy(gw, handle, &msg->resource.id, &msg->domain);
        }
        enum err err = portal_client_send_connection_ready(&gw->portal, msg->ref, VIEW_OF(ufrag),
                                                           VIEW_OF(password));
        if (gateway_trace_sent(gw, err, "connection_ready") != ERR_NONE) {
            gateway_control_refuse(gw, DROP_PORTAL_LIMIT, view_text("connection_ready"));
        }
    }
    wg_psk_wipe(&offer.psk);
}

static void handle_allow_access(struct gateway *gw, const struct portal_allow_access *msg)
{
    struct portal_client_info client;
    memset(&client, 0, sizeof(client));
    client.id = msg->client;
    client.ipv4 = msg->client_ipv4;
    client.ipv6 = msg->client_ipv6;
    uint32_t handle = grant(gw, &client, &msg->resource, &msg->expires);
    if (handle != POLICY_CLIENT_NONE && msg->domain.is_some) {
        gateway_resolve_legacy(gw, handle, &msg->resource.id, &msg->domain);
    }
}

static void handle_resource_updated(struct gateway *gw, const struct portal_resource *msg)
{
    struct policy_rule rules[RULES_MAX];
    struct policy_resource wanted;
    if (!to_policy(msg, rules, &wanted)) {
        gateway_control_refuse(gw, DROP_PORTAL_LIMIT, view_text("resource_updated"));
        start_remove(gw, &msg->id); /* what it permits now is not known */
        return;
    }
    enum err err = policy_update_begin(gw->policy, &wanted);
    if (err != ERR_NONE) {
        gateway_control_refuse(gw, err == ERR_FULL ? DROP_PORTAL_LIMIT : DROP_PORTAL_FIELD,
                               view_text("resource_updated"));
    }
    gateway_sweep_start(gw, GATEWAY_SWEEP_UPDATE, NULL);
}

static void handle_expiry(struct gateway *gw, const struct portal_expiry_updated *msg)
{
    uint32_t handle = policy_client_find(gw->policy, &msg->client);
    if (handle == POLICY_CLIENT_NONE || policy_set_expiry(gw->policy, handle, &msg->resource,
                                                          to_expiry(&msg->expires)) != ERR_NONE) {
        gateway_control_refuse(gw, DROP_PORTAL_FIELD,
                               view_text("expiry of an unknown authorization"));
    }
}

void gateway_control_message(struct gateway *gw, const struct portal_msg *msg)
{
    struct trace_event event = {.event = EV_PORTAL_MESSAGE,
                                .at = gw->now,
                                .text = view_text(portal_msg_kind_name(msg->kind))};
    trace_emit(&gw->trace, &event);
    if (gw->shutting_down) {
        return; /* nobody is let in any more */
    }
    gw->control.msg = msg;
    switch (msg->kind) {
    case PORTAL_MSG_INIT:
        handle_init(gw, &msg->u.init);
        break;
    case PORTAL_MSG_RELAYS_PRESENCE:
        start_relays(gw, GATEWAY_SWEEP_GONE, &msg->u.relays_presence.disconnected_ids);
        break;
    case PORTAL_MSG_AUTHORIZE_FLOW:
        handle_authorize_flow(gw, &msg->u.authorize_flow);
        break;
    case PORTAL_MSG_REJECT_ACCESS:
        revoke(gw, &msg->u.reject_access.client, &msg->u.reject_access.resource);
        break;
    case PORTAL_MSG_ACCESS_REMOVED:
        gateway_control_refuse(gw, DROP_PORTAL_FIELD, view_text("resource"));
        revoke(gw, &msg->u.reject_access.client, &msg->u.reject_access.resource);
        break;
    case PORTAL_MSG_ICE_CANDIDATES:
    case PORTAL_MSG_INVALIDATE_ICE_CANDIDATES:
        gateway_sweep_start(gw, GATEWAY_SWEEP_CANDIDATES, &msg->u.candidates.candidates);
        break;
    case PORTAL_MSG_RESOURCE_UPDATED:
        handle_resource_updated(gw, &msg->u.resource);
        break;
    case PORTAL_MSG_RESOURCE_REMOVED:
        gateway_control_refuse(gw, DROP_PORTAL_FIELD, view_text("resource_updated"));
        start_remove(gw, &msg->u.removed);
        break;
    case PORTAL_MSG_REQUEST_CONNECTION:
        handle_request_connection(gw, &msg->u.request_connection);
        break;
    case PORTAL_MSG_ALLOW_ACCESS:
        handle_allow_access(gw, &msg->u.allow_access);
        break;
    case PORTAL_MSG_EXPIRY_UPDATED:
        handle_expiry(gw, &msg->u.expiry_updated);
        break;
    case PORTAL_MSG_TOKEN_EXPIRED: /* the channel's own; never handed out */
    case PORTAL_MSG_REPLY_OK:
    case PORTAL_MSG_REPLY_ERROR:
    case PORTAL_MSG_PHX_ERROR:
    case PORTAL_MSG_PHX_CLOSE:
        UNREACHABLE();
    }
}
