/* What the portal's messages ask for, in slices: each step in one piece, a bounded number of steps
 * a call. A message was checked whole before its first step. */
#include "gateway/gateway_internal.h"

#include <string.h>

#define REALM    "firezone" /* spec/connectivity.md section 2.3 */
#define SOFTWARE "snownet"  /* section 2.4, head */

/* ---- relays ---- */

/* Of a slice's GATEWAY_LOOK_SLICE: an authorization that is kept, a candidate, and a relay, which
 * may concern every connection. */
#define LOOKS_KEEP          2U
#define LOOKS_CANDIDATE     8U
#define LOOKS_RELAY         64U
#define CONNECTIONS_AT_ONCE 16U

static bool take_looks(uint32_t *looks, uint32_t cost)
{
    if (*looks < cost) {
        *looks = 0;
        return false;
    }
    *looks -= cost;
    return true;
}

/* True while another relay may follow in this slice: what the last one means to many connections
 * is worked off first. */
static bool relay_may_follow(const struct gateway *gw, uint32_t *looks)
{
    if (gw->jobs_count > 0 && gw->connections_count > CONNECTIONS_AT_ONCE) {
        *looks = 0;
    }
    return take_looks(looks, LOOKS_RELAY);
}

/* The entries of one relay are complete. */
static void relay_done(struct gateway *gw)
{
    struct gateway_control *control = &gw->control;
    gateway_relay_update(gw, &control->relay, &control->relay_config);
    uint32_t relay = gateway_relay_find(gw, &control->relay);
    if (relay != GATEWAY_NONE) {
        control->relays_kept[relay] = true;
    }
    control->has_relay = false;
}

static void collect_relay(struct gateway_control *control, const struct portal_relay *entry)
{
    struct turn_client_config *config = &control->relay_config;
    if (!control->has_relay) {
        memset(config, 0, sizeof(*config));
        control->has_relay = true;
        control->relay = entry->id;
    }
    struct sock_addr *slot =
        entry->addr.ip.family == IP_V4 ? &config->server_v4 : &config->server_v6;
    if (slot->ip.family == IP_NONE) {
        *slot = entry->addr;
    }
    config->username = entry->username;
    config->password = entry->password;
    config->realm = view_text(REALM);
    config->software = view_text(SOFTWARE);
}

/* Adjacent entries with one id are one relay; the credentials of the last entry count
 * (spec/portal.md section 5.1). True when all are taken. */
static bool sweep_relays(struct gateway *gw, uint32_t *looks)
{
    struct gateway_control *control = &gw->control;
    struct portal_relay entry;
    while (*looks > 0) {
        struct portal_list rest = control->list;
        bool more = portal_relays_next(&rest, &entry);
        if (control->has_relay && !(more && uuid_equal(&entry.id, &control->relay))) {
            if (!relay_may_follow(gw, looks)) {
                return false;
            }
            relay_done(gw);
        }
        if (!more) {
            gateway_relay_refresh_others(gw, control->relays_kept);
            return true;
        }
        control->list = rest;
        (void)take_looks(looks, 1);
        if (entry.type == PORTAL_RELAY_TURN) {
            collect_relay(control, &entry);
        }
    }
    return false;
}

static bool sweep_gone(struct gateway *gw, uint32_t *looks)
{
    struct gateway_control *control = &gw->control;
    struct uuid id;
    while (control->list.next != NULL) {
        struct portal_list rest = control->list;
        if (!portal_ids_next(&rest, &id) || !take_looks(looks, 1)) {
            return false;
        }
        if (gateway_relay_find(gw, &id) != GATEWAY_NONE) {
            if (!relay_may_follow(gw, looks)) {
                return false;
            }
            control->relay_lost = gateway_relay_remove(gw, &id) || control->relay_lost;
        }
        control->list = rest;
    }
    return true;
}

/* ---- authorizations, resources, candidates ---- */

/* Notes what `init` lists, at its new time. True when all is noted. */
static bool sweep_keep(struct gateway *gw, uint32_t *looks)
{
    struct portal_authorization entry;
    while (take_looks(looks, LOOKS_KEEP)) {
        if (!portal_authorizations_next(&gw->control.list, &entry)) {
            return true;
        }
        (void)policy_retain_keep(gw->policy, &entry.client, &entry.resource, entry.expires_at_s);
    }
    return false;
}

/* Its client is to ask for everything anew, and older ones only do when they lose the connection.
 */
static void close_unsure(struct gateway *gw, uint32_t client)
{
    struct gateway_connection *c = gateway_connection_of(gw, client);
    if (c != NULL) {
        gateway_connection_close(gw, c, EV_CONNECTION_CLOSED, "its rights are not sure");
    }
}

static bool sweep_retain(struct gateway *gw, uint32_t *looks)
{
    bool follows_loss = gw->control.msg->u.init.follows_loss;
    struct policy_ended ended;
    for (uint32_t ends = GATEWAY_JOB_SLICE; ends > 0; ends--) {
        if (!policy_retain_end(gw->policy, looks, &ended)) {
            return *looks > 0;
        }
        gateway_control_ended(gw, &ended, EV_REVOKED);
        if (ended.emptied && follows_loss) {
            close_unsure(gw, ended.client);
        }
    }
    return false;
}

static bool sweep_remove(struct gateway *gw)
{
    struct policy_ended ended;
    for (uint32_t budget = GATEWAY_JOB_SLICE; budget > 0; budget--) {
        if (!policy_remove_resource(gw->policy, &gw->control.resource, &ended)) {
            return true;
        }
        gateway_control_ended(gw, &ended, EV_REVOKED);
    }
    return false;
}

static bool sweep_update(struct gateway *gw)
{
    uint32_t updated = 0;
    if (policy_update_next(gw->policy, GATEWAY_LOOK_SLICE, &updated) != ERR_NONE) {
        gateway_control_refuse(gw, DROP_PORTAL_FIELD, view_text("resource_updated"));
    }
    return policy_update_is_done(gw->policy);
}

static bool sweep_candidates(struct gateway *gw, uint32_t *looks)
{
    const struct portal_candidates *msg = &gw->control.msg->u.candidates;
    bool invalid = gw->control.msg->kind == PORTAL_MSG_INVALIDATE_ICE_CANDIDATES;
    uint32_t handle = policy_client_find(gw->policy, &msg->client);
    struct view text;
    while (take_looks(looks, LOOKS_CANDIDATE)) {
        if (!portal_candidates_next(&gw->control.list, &text)) {
            return true;
        }
        struct gateway_connection *c = gateway_connection_of(gw, handle);
        if (c == NULL) {
            gateway_drop(gw, DROP_ICE_CANDIDATE, NULL);
        } else if (invalid) {
            gateway_connection_remove_remote(gw, c, text);
        } else {
            gateway_connection_add_remote(gw, c, text);
        }
    }
    return false;
}

/* ---- in slices ---- */

static void begin(struct gateway *gw, enum gateway_sweep sweep, const struct portal_list *list)
{
    gw->control.sweep = sweep;
    if (list != NULL) {
        gw->control.list = *list;
    }
}

/* What comes behind the relays of a message. */
static void relays_taken(struct gateway *gw)
{
    const struct portal_msg *msg = gw->control.msg;
    gw->control.sweep = GATEWAY_SWEEP_NONE;
    if (msg->kind == PORTAL_MSG_INIT && msg->u.init.has_authorizations) {
        policy_retain_begin(gw->policy);
        begin(gw, GATEWAY_SWEEP_KEEP, &msg->u.init.authorizations);
    }
    if (gw->control.relay_lost) {
        gateway_relay_none_left(gw);
    }
}

/* Works on what is under way; false: the slice is over. */
static bool run_step(struct gateway *gw, uint32_t *looks)
{
    struct gateway_control *control = &gw->control;
    bool done = false;
    switch (control->sweep) {
    case GATEWAY_SWEEP_NONE:
        return false;
    case GATEWAY_SWEEP_GONE:
        done = sweep_gone(gw, looks);
        if (done) {
            begin(gw, GATEWAY_SWEEP_RELAYS, &control->msg->u.relays_presence.connected);
        }
        return done;
    case GATEWAY_SWEEP_RELAYS:
        done = sweep_relays(gw, looks);
        if (done) {
            relays_taken(gw);
        }
        return done;
    case GATEWAY_SWEEP_KEEP:
        done = sweep_keep(gw, looks);
        if (done) {
            begin(gw, GATEWAY_SWEEP_RETAIN, NULL);
        }
        return done;
    case GATEWAY_SWEEP_RETAIN:
        done = sweep_retain(gw, looks);
        break;
    case GATEWAY_SWEEP_REMOVE:
        done = sweep_remove(gw);
        break;
    case GATEWAY_SWEEP_UPDATE:
        done = sweep_update(gw);
        break;
    case GATEWAY_SWEEP_CANDIDATES:
        done = sweep_candidates(gw, looks);
        break;
    }
    control->sweep = done ? GATEWAY_SWEEP_NONE : control->sweep;
    return false;
}

void gateway_sweep_run(struct gateway *gw)
{
    uint32_t looks = GATEWAY_LOOK_SLICE;
    while (run_step(gw, &looks)) {
    }
    if (gw->control.sweep == GATEWAY_SWEEP_NONE) {
        portal_client_unhold(&gw->portal);
    }
}

void gateway_sweep_start(struct gateway *gw, enum gateway_sweep sweep,
                         const struct portal_list *list)
{
    ASSERT(gw->control.sweep == GATEWAY_SWEEP_NONE);
    begin(gw, sweep, list);
    portal_client_hold(&gw->portal);
    gateway_sweep_run(gw);
}
