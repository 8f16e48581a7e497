#include <string.h>

#include "sim/sim_portal_internal.h"

/* ---- telling ---- */

void change_tell_client(struct portal_call *call, uint32_t client, uint32_t resource,
                        bool permitted)
{
    struct sim_portal *portal = call->portal;
    const struct sim_resource *row = &portal->policy->resources[resource];
    struct portal_session *session = NULL;
    while ((session = session_next(portal, session, SESSION_CLIENT, client)) != NULL) {
        struct view text;
        if (permitted) {
            struct portal_push push = push_start(portal, "client", "resource_created_or_updated");
            shape_resource_for_client(portal, &push.w, row);
            text = push_end(portal, &push);
        } else {
            struct portal_push push = push_start_value(portal, "client", "resource_deleted");
            json_put_uuid(&push.w, &row->id);
            text = push_end_value(&push);
        }
        session_send(call, session, text, true);
    }
}

/* To every client that may use it now, or to all of them that it is gone. */
static void tell_clients(struct portal_call *call, uint32_t resource)
{
    for (uint32_t i = 0; i < call->portal->policy->clients_count; i++) {
        if (sim_portal_permitted(call->portal, i, resource, portal_unix_s(call))) {
            change_tell_client(call, i, resource, true);
        }
    }
}

/* ---- grants ---- */

static bool find_pair(const struct sim_portal *portal, const struct sim_grant *grant,
                      uint32_t *client, uint32_t *resource)
{
    *client = sim_policy_client(portal->policy, &grant->client);
    *resource = sim_policy_resource(portal->policy, &grant->resource);
    return *client != UINT32_MAX && *resource != UINT32_MAX && !portal->clients[*client].removed &&
           portal_resource_exists(portal, *resource);
}

enum err sim_portal_grant(struct sim_portal *portal, struct clock_pair now,
                          const struct sim_grant *grant, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    uint32_t client;
    uint32_t resource;
    if (!find_pair(portal, grant, &client, &resource)) {
        return ERR_NOT_FOUND;
    }
    bool before = sim_portal_permitted(portal, client, resource, portal_unix_s(&call));
    portal->clients[client].rights[resource] = RIGHT_GRANTED;
    portal->clients[client].expires_s[resource] = grant->expires_unix_s;
    bool after = sim_portal_permitted(portal, client, resource, portal_unix_s(&call));
    if (before != after) {
        change_tell_client(&call, client, resource, after);
    }
    return ERR_NONE;
}

enum err sim_portal_revoke(struct sim_portal *portal, struct clock_pair now, uint32_t client,
                           uint32_t resource, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (client >= portal->policy->clients_count || !portal_resource_exists(portal, resource)) {
        return ERR_NOT_FOUND;
    }
    portal->clients[client].rights[resource] = RIGHT_REVOKED;
    flow_revoke(&call, client, resource);
    change_tell_client(&call, client, resource, false);
    return ERR_NONE;
}

void sim_portal_purge(struct sim_portal *portal, struct clock_pair now, uint32_t first,
                      struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    const struct sim_policy *policy = portal->policy;
    for (uint32_t client = first; client < policy->clients_count; client++) {
        for (uint32_t resource = 0; resource < policy->resources_count; resource++) {
            if (sim_portal_revoke(portal, now, client, resource, out) != ERR_NONE) {
                continue;
            }
            for (uint32_t gateway = 0; gateway < policy->gateways_count; gateway++) {
                struct portal_flow like = {
                    .client = client, .gateway = gateway, .resource = resource};
                flow_reject(&call, gateway, &like);
            }
        }
    }
}

enum err sim_portal_reject(struct sim_portal *portal, struct clock_pair now, uint32_t client,
                           uint32_t resource, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (client >= portal->policy->clients_count || !portal_resource_exists(portal, resource)) {
        return ERR_NOT_FOUND;
    }
    flow_revoke(&call, client, resource);
    return ERR_NONE;
}

enum err sim_portal_extend(struct sim_portal *portal, struct clock_pair now,
                           const struct sim_grant *grant, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    uint32_t client;
    uint32_t resource;
    if (!find_pair(portal, grant, &client, &resource) || grant->expires_unix_s == 0) {
        return ERR_NOT_FOUND;
    }
    uint32_t gateway = portal->policy->resources[resource].gateway;
    struct portal_flow *flow = flow_find(portal, client, gateway, resource);
    portal->clients[client].rights[resource] = RIGHT_GRANTED; /* from now on a right that ends */
    portal->clients[client].expires_s[resource] = grant->expires_unix_s;
    if (flow == NULL) {
        return ERR_NONE;
    }
    flow->expires_s = grant->expires_unix_s;
    struct portal_push push = push_start(portal, "gateway", "access_authorization_expiry_updated");
    json_field_uuid(&push.w, "client_id", &grant->client);
    json_field_uuid(&push.w, "resource_id", &grant->resource);
    json_field_u64(&push.w, "expires_at", grant->expires_unix_s);
    struct view text = push_end(portal, &push);
    struct portal_session *session = NULL;
    bool any = false;
    while ((session = session_next(portal, session, SESSION_GATEWAY, gateway)) != NULL) {
        session_send(&call, session, text, true);
        any = true;
    }
    if (any) {
        flow_note(&call, SIM_NOTE_GRANT_EXPIRY, flow);
    }
    return ERR_NONE;
}

/* ---- resources ---- */

static bool same_reach(const struct sim_resource *a, const struct sim_resource *b)
{
    return a->kind == b->kind && a->gateway == b->gateway && strcmp(a->pattern, b->pattern) == 0 &&
           a->prefix.len == b->prefix.len && ip_equal(&a->prefix.ip, &b->prefix.ip);
}

static bool any_subscribed(const struct sim_portal *portal, uint32_t resource)
{
    for (uint32_t i = 0; i < portal->flows_high; i++) {
        const struct portal_flow *flow = &portal->flows[i];
        if (flow->used && flow->state != FLOW_OVER && flow->subscribed &&
            flow->resource == resource) {
            return true;
        }
    }
    return false;
}

/* Only a channel with a flow for the resource hears of its change. */
static void send_resource_updated(struct portal_call *call, uint32_t resource)
{
    struct sim_portal *portal = call->portal;
    if (!any_subscribed(portal, resource)) {
        return;
    }
    const struct sim_resource *row = &portal->policy->resources[resource];
    struct portal_push push = push_start(portal, "gateway", "resource_updated");
    shape_resource_for_gateway(&push.w, row);
    struct view text = push_end(portal, &push);
    struct portal_session *session = NULL;
    bool any = false;
    while ((session = session_next(portal, session, SESSION_GATEWAY, row->gateway)) != NULL) {
        session_send(call, session, text, true);
        any = true;
    }
    if (any) {
        struct sim_note note = {.kind = SIM_NOTE_RESOURCE,
                                .grant = {.resource = row->id, .gateway = row->gateway},
                                .resource = *row};
        session_note(call, row->gateway, &note);
    }
}

enum err sim_portal_update_resource(struct sim_portal *portal, struct clock_pair now,
                                    const struct sim_resource *resource, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    uint32_t index = sim_policy_resource(portal->policy, &resource->id);
    if (index == UINT32_MAX || !portal_resource_exists(portal, index) ||
        resource->gateway >= portal->policy->gateways_count) {
        return ERR_NOT_FOUND;
    }
    struct sim_resource *row = &portal->policy->resources[index];
    bool same = same_reach(row, resource);
    if (!same) {
        flow_revoke(&call, PORTAL_NOBODY, index); /* with the old address still in the policy */
    }
    *row = *resource;
    if (same) {
        send_resource_updated(&call, index);
    }
    tell_clients(&call, index);
    return ERR_NONE;
}

enum err sim_portal_add_resource(struct sim_portal *portal, struct clock_pair now,
                                 const struct sim_resource *resource, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    struct sim_policy *policy = portal->policy;
    uint32_t index = sim_policy_resource(policy, &resource->id);
    if (index != UINT32_MAX && !portal->resource_removed[index]) {
        return ERR_EXISTS;
    }
    if (resource->gateway >= policy->gateways_count) {
        return ERR_NOT_FOUND;
    }
    if (index == UINT32_MAX) {
        if (policy->resources_count == SIM_RESOURCES_MAX) {
            return ERR_FULL;
        }
        index = policy->resources_count++;
        for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
            portal->clients[i].rights[index] = RIGHT_DEFAULT;
            portal->clients[i].expires_s[index] = 0;
        }
    }
    policy->resources[index] = *resource;
    portal->resource_removed[index] = false;
    tell_clients(&call, index);
    return ERR_NONE;
}

enum err sim_portal_remove_resource(struct sim_portal *portal, struct clock_pair now,
                                    uint32_t resource, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (!portal_resource_exists(portal, resource)) {
        return ERR_NOT_FOUND;
    }
    flow_revoke(&call, PORTAL_NOBODY, resource);
    for (uint32_t i = 0; i < portal->policy->clients_count; i++) {
        if (sim_portal_permitted(portal, i, resource, portal_unix_s(&call))) {
            change_tell_client(&call, i, resource, false);
        }
    }
    portal->resource_removed[resource] = true;
    return ERR_NONE;
}

/* ---- relays ---- */

static bool relay_exists(const struct sim_portal *portal, uint32_t relay)
{
    return relay < portal->policy->relays_count && !portal->relays[relay].removed;
}

enum err sim_portal_remove_relay(struct sim_portal *portal, struct clock_pair now, uint32_t relay,
                                 struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (!relay_exists(portal, relay)) {
        return ERR_NOT_FOUND;
    }
    if (portal->relays[relay].online) {
        portal->relays[relay].online = false;
        presence_relay_left(&call, relay);
    }
    return ERR_NONE;
}

enum err sim_portal_restore_relay(struct sim_portal *portal, struct clock_pair now, uint32_t relay,
                                  struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (!relay_exists(portal, relay)) {
        return ERR_NOT_FOUND;
    }
    if (!portal->relays[relay].online) {
        presence_relay_joined(&call, relay);
    }
    return ERR_NONE;
}

enum err sim_portal_replace_relay(struct sim_portal *portal, struct clock_pair now, uint32_t relay,
                                  const char *secret, struct sim_outbox *out)
{
    size_t len = strlen(secret);
    if (!relay_exists(portal, relay)) {
        return ERR_NOT_FOUND;
    }
    if (len == 0 || len >= PORTAL_SECRET_SIZE) {
        return ERR_ARGUMENT;
    }
    enum err err = sim_portal_remove_relay(portal, now, relay, out);
    memset(portal->relays[relay].secret, 0, PORTAL_SECRET_SIZE);
    memcpy(portal->relays[relay].secret, secret, len);
    if (portal_is_head(portal)) {
        portal->policy->relays[relay].id = shape_uuid(VIEW_EMPTY, view_text(secret));
    }
    return err == ERR_NONE ? sim_portal_restore_relay(portal, now, relay, out) : err;
}

enum err sim_portal_announce_relays(struct sim_portal *portal, struct clock_pair now,
                                    uint32_t gateway, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    struct portal_session *session = NULL;
    while ((session = session_next(portal, session, SESSION_GATEWAY, gateway)) != NULL) {
        presence_send(&call, session, NULL, 0);
    }
    return gateway < portal->policy->gateways_count ? ERR_NONE : ERR_NOT_FOUND;
}

/* ---- gateways and clients ---- */

enum err sim_portal_readdress_gateway(struct sim_portal *portal, struct clock_pair now,
                                      uint32_t gateway, const struct sim_host_addresses *tunnel,
                                      struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (gateway >= portal->policy->gateways_count) {
        return ERR_NOT_FOUND;
    }
    portal->policy->gateways[gateway].tunnel_v4 = tunnel->ipv4;
    portal->policy->gateways[gateway].tunnel_v6 = tunnel->ipv6;
    struct portal_session *session = NULL;
    while (portal_is_head(portal) &&
           (session = session_next(portal, session, SESSION_GATEWAY, gateway)) != NULL) {
        channel_send_init(&call, session);
    }
    return ERR_NONE;
}

/* Every connection of the peer, joined or not. */
static void end_all(struct portal_call *call, enum session_kind kind, uint32_t peer,
                    enum sim_portal_end end)
{
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        struct portal_session *session = &call->portal->sessions[i];
        if (session->used && !session->mute && session->kind == kind && session->peer == peer) {
            session_end(call, session, end);
        }
    }
}

enum err sim_portal_disconnect_gateway(struct sim_portal *portal, struct clock_pair now,
                                       uint32_t gateway, enum sim_portal_end end,
                                       struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (gateway >= portal->policy->gateways_count) {
        return ERR_NOT_FOUND;
    }
    end_all(&call, SESSION_GATEWAY, gateway, end);
    return ERR_NONE;
}

enum err sim_portal_disconnect_client(struct sim_portal *portal, struct clock_pair now,
                                      uint32_t client, enum sim_portal_end end,
                                      struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (client >= portal->policy->clients_count) {
        return ERR_NOT_FOUND;
    }
    end_all(&call, SESSION_CLIENT, client, end);
    return ERR_NONE;
}

enum err sim_portal_token_valid(struct sim_portal *portal, uint32_t gateway, bool valid)
{
    if (gateway >= portal->policy->gateways_count) {
        return ERR_NOT_FOUND;
    }
    portal->gateways[gateway].token_invalid = !valid;
    return ERR_NONE;
}

enum err sim_portal_client_token(struct sim_portal *portal, uint32_t client, const char *token)
{
    size_t len = strlen(token);
    if (client >= portal->policy->clients_count) {
        return ERR_NOT_FOUND;
    }
    if (len >= SIM_PORTAL_TOKEN_SIZE) {
        return ERR_SPACE;
    }
    memset(portal->clients[client].token, 0, SIM_PORTAL_TOKEN_SIZE);
    memcpy(portal->clients[client].token, token, len);
    return ERR_NONE;
}
