#include <string.h>

#include "sim/sim_portal_file.h"

uint32_t portal_apply_gateway(const struct sim_policy *policy, const struct uuid *id)
{
    for (uint32_t i = 0; i < policy->gateways_count; i++) {
        if (uuid_equal(&policy->gateways[i].id, id)) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* ---- applying: slots of the policy are stable, so rows are matched by id ---- */

static uint32_t relay_index(const struct sim_policy *policy, const struct uuid *id)
{
    for (uint32_t i = 0; i < policy->relays_count; i++) {
        if (uuid_equal(&policy->relays[i].id, id)) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* How many rows the policy would have: present ones and new ones. */
bool portal_apply_fits(const struct sim_portal *portal, const struct portal_wanted *wanted)
{
    const struct sim_policy *have = portal->policy;
    const struct sim_policy *want = &wanted->policy;
    uint32_t gateways = have->gateways_count;
    uint32_t clients = have->clients_count;
    uint32_t relays = have->relays_count;
    uint32_t resources = have->resources_count;
    for (uint32_t i = 0; i < want->gateways_count; i++) {
        gateways += portal_apply_gateway(have, &want->gateways[i].id) == UINT32_MAX;
    }
    for (uint32_t i = 0; i < want->clients_count; i++) {
        clients += sim_policy_client(have, &want->clients[i].id) == UINT32_MAX;
    }
    for (uint32_t i = 0; i < want->relays_count; i++) {
        relays += relay_index(have, &want->relays[i].id) == UINT32_MAX;
    }
    for (uint32_t i = 0; i < want->resources_count; i++) {
        resources += sim_policy_resource(have, &want->resources[i].id) == UINT32_MAX;
    }
    return gateways <= SIM_GATEWAYS_MAX && clients <= SIM_CLIENTS_MAX && relays <= SIM_RELAYS_MAX &&
           resources <= SIM_RESOURCES_MAX;
}

static void end_peer(struct portal_call *call, enum session_kind kind, uint32_t peer)
{
    struct sim_portal *portal = call->portal;
    enum err err = kind == SESSION_GATEWAY
                       ? sim_portal_disconnect_gateway(portal, call->now, peer,
                                                       SIM_PORTAL_TOKEN_EXPIRED, call->out)
                       : sim_portal_disconnect_client(portal, call->now, peer,
                                                      SIM_PORTAL_TOKEN_EXPIRED, call->out);
    ASSERT(err == ERR_NONE);
}

static void apply_gateways(struct portal_call *call, const struct portal_wanted *wanted)
{
    struct sim_portal *portal = call->portal;
    struct sim_policy *have = portal->policy;
    for (uint32_t i = 0; i < have->gateways_count; i++) {
        if (!portal->gateways[i].removed &&
            portal_apply_gateway(&wanted->policy, &have->gateways[i].id) == UINT32_MAX) {
            end_peer(call, SESSION_GATEWAY, i);
            portal->gateways[i].removed = true;
        }
    }
    for (uint32_t i = 0; i < wanted->policy.gateways_count; i++) {
        const struct sim_gateway_identity *row = &wanted->policy.gateways[i];
        uint32_t index = portal_apply_gateway(have, &row->id);
        if (index == UINT32_MAX) {
            index = have->gateways_count++;
        } else if (strcmp(have->gateways[index].token, row->token) != 0) {
            end_peer(call, SESSION_GATEWAY, index);
        }
        have->gateways[index] = *row;
        portal->gateways[index].removed = false;
    }
}

static void apply_clients(struct portal_call *call, const struct portal_wanted *wanted)
{
    struct sim_portal *portal = call->portal;
    struct sim_policy *have = portal->policy;
    for (uint32_t i = 0; i < have->clients_count; i++) {
        if (!portal->clients[i].removed &&
            sim_policy_client(&wanted->policy, &have->clients[i].id) == UINT32_MAX) {
            flow_revoke(call, i, PORTAL_NOBODY);
            end_peer(call, SESSION_CLIENT, i);
            portal->clients[i].removed = true;
        }
    }
    for (uint32_t i = 0; i < wanted->policy.clients_count; i++) {
        const struct sim_client_identity *row = &wanted->policy.clients[i];
        uint32_t index = sim_policy_client(have, &row->id);
        if (index == UINT32_MAX) {
            index = have->clients_count++;
            have->clients[index] = *row;
        }
        have->clients[index].tunnel_v4 = row->tunnel_v4;
        have->clients[index].tunnel_v6 = row->tunnel_v6;
        have->clients[index].head = row->head;
        portal->clients[index].removed = false;
        memcpy(portal->clients[index].token, wanted->tokens[i], SIM_PORTAL_TOKEN_SIZE);
    }
}

static void add_relay(struct portal_call *call, const struct sim_relay_identity *row,
                      const char *secret)
{
    struct sim_portal *portal = call->portal;
    uint32_t index = portal->policy->relays_count++;
    portal->policy->relays[index] = *row;
    portal->relays[index] = (struct portal_relay){.session = PORTAL_NOBODY};
    memcpy(portal->relays[index].secret, secret, PORTAL_SECRET_SIZE);
    presence_relay_joined(call, index);
}

static void apply_relays(struct portal_call *call, const struct portal_wanted *wanted)
{
    struct sim_portal *portal = call->portal;
    struct sim_policy *have = portal->policy;
    for (uint32_t i = 0; i < have->relays_count; i++) {
        /* Relays that joined by themselves are none of the file's business. */
        if (!portal->relays[i].removed && portal->relays[i].session == PORTAL_NOBODY &&
            portal->relays[i].online &&
            relay_index(&wanted->policy, &have->relays[i].id) == UINT32_MAX) {
            portal->relays[i].online = false;
            portal->relays[i].removed = true;
            presence_relay_left(call, i);
        }
    }
    for (uint32_t i = 0; i < wanted->policy.relays_count; i++) {
        const struct sim_relay_identity *row = &wanted->policy.relays[i];
        uint32_t index = relay_index(have, &row->id);
        if (index == UINT32_MAX) {
            add_relay(call, row, wanted->secrets[i]);
            continue;
        }
        bool same = strcmp(portal->relays[index].secret, wanted->secrets[i]) == 0 &&
                    ip_equal(&have->relays[index].ipv4, &row->ipv4) &&
                    ip_equal(&have->relays[index].ipv6, &row->ipv6) &&
                    have->relays[index].port == row->port;
        if (same && portal->relays[index].online) {
            continue;
        }
        if (portal->relays[index].online) {
            portal->relays[index].online = false;
            presence_relay_left(call, index);
        }
        have->relays[index] = *row;
        memcpy(portal->relays[index].secret, wanted->secrets[i], PORTAL_SECRET_SIZE);
        portal->relays[index].removed = false;
        presence_relay_joined(call, index);
    }
}

static bool same_resource(const struct sim_resource *a, const struct sim_resource *b)
{
    bool same = a->kind == b->kind && a->gateway == b->gateway &&
                strcmp(a->pattern, b->pattern) == 0 && strcmp(a->name, b->name) == 0 &&
                a->prefix.len == b->prefix.len && ip_equal(&a->prefix.ip, &b->prefix.ip) &&
                a->filters_count == b->filters_count;
    for (uint32_t i = 0; same && i < a->filters_count; i++) {
        same = a->filters[i].protocol == b->filters[i].protocol &&
               a->filters[i].port_first == b->filters[i].port_first &&
               a->filters[i].port_last == b->filters[i].port_last;
    }
    return same;
}

static void apply_resources(struct portal_call *call, const struct portal_wanted *wanted)
{
    struct sim_portal *portal = call->portal;
    struct sim_policy *have = portal->policy;
    enum err err = ERR_NONE;
    for (uint32_t i = 0; i < have->resources_count; i++) {
        if (portal_resource_exists(portal, i) &&
            sim_policy_resource(&wanted->policy, &have->resources[i].id) == UINT32_MAX) {
            err = sim_portal_remove_resource(portal, call->now, i, call->out);
        }
    }
    ASSERT(err == ERR_NONE);
    for (uint32_t i = 0; i < wanted->policy.resources_count; i++) {
        struct sim_resource row = wanted->policy.resources[i];
        row.gateway = portal_apply_gateway(have, &wanted->policy.gateways[row.gateway].id);
        uint32_t index = sim_policy_resource(have, &row.id);
        if (index == UINT32_MAX || !portal_resource_exists(portal, index)) {
            err = sim_portal_add_resource(portal, call->now, &row, call->out);
        } else if (!same_resource(&have->resources[index], &row)) {
            err = sim_portal_update_resource(portal, call->now, &row, call->out);
        }
        ASSERT(err == ERR_NONE); /* fits() and the reader have looked */
    }
}

static void apply_right(struct portal_call *call, const struct portal_wanted *wanted,
                        uint32_t client, uint32_t resource)
{
    struct sim_portal *portal = call->portal;
    const struct sim_policy *want = &wanted->policy;
    uint32_t c = sim_policy_client(portal->policy, &want->clients[client].id);
    uint32_t r = sim_policy_resource(portal->policy, &want->resources[resource].id);
    const struct portal_client *row = &portal->clients[c];
    uint64_t expires_s = wanted->expires_s[client][resource];
    bool same_time = row->rights[r] == RIGHT_GRANTED && row->expires_s[r] == expires_s;
    enum err err = ERR_NONE;
    if (wanted->granted[client][resource] && !same_time) {
        struct sim_grant grant = {.client = want->clients[client].id,
                                  .resource = want->resources[resource].id,
                                  .expires_unix_s = expires_s};
        err = sim_portal_grant(portal, call->now, &grant, call->out);
    } else if (!wanted->granted[client][resource] && row->rights[r] == RIGHT_GRANTED) {
        err = sim_portal_revoke(portal, call->now, c, r, call->out);
    }
    ASSERT(err == ERR_NONE);
}

void portal_apply(struct portal_call *call, const struct portal_wanted *wanted)
{
    struct sim_portal *portal = call->portal;
    portal->config.permit_all = false;
    portal->policy->default_expiry_s = wanted->policy.default_expiry_s;
    portal->policy->masquerade_v4 = wanted->policy.masquerade_v4;
    portal->policy->masquerade_v6 = wanted->policy.masquerade_v6;
    memcpy(portal->relay_token, wanted->relay_token, sizeof portal->relay_token);
    if (wanted->account_slug[0] != '\0') {
        memcpy(portal->account_slug, wanted->account_slug, sizeof portal->account_slug);
    }
    apply_gateways(call, wanted);
    apply_clients(call, wanted);
    portal_sync_rows(portal);
    apply_relays(call, wanted);
    apply_resources(call, wanted);
    for (uint32_t c = 0; c < wanted->policy.clients_count; c++) {
        for (uint32_t r = 0; r < wanted->policy.resources_count; r++) {
            apply_right(call, wanted, c, r);
        }
    }
}
