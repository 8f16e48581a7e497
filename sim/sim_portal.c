#include "sim/sim_portal.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/sha256.h"
#include "sim/sim_portal_internal.h"

#define IDLE_PEER  DURATION_S(37) /* spec/portal.md section 1.6 */
#define IDLE_RELAY DURATION_S(41) /* spec/relay.md section 9.1 */

/* ---- life ---- */

/* Secrets of rows depend on the seed and the id only, not on who came first. */
static void row_secret(const struct sim_portal *portal, const struct uuid *id, uint8_t out[32])
{
    struct sha256 sha;
    sha256_start(&sha);
    sha256_update(&sha, VIEW_OF(portal->config.seed));
    sha256_update(&sha, VIEW_OF(id->bytes));
    sha256_finish(&sha, out);
}

static void sync_relay(struct sim_portal *portal, uint32_t i)
{
    struct portal_relay *relay = &portal->relays[i];
    if (relay->secret[0] == '\0' && !relay->removed &&
        portal->policy->relays[i].secret[0] != '\0') {
        size_t len = strnlen(portal->policy->relays[i].secret, PORTAL_SECRET_SIZE - 1);
        memcpy(relay->secret, portal->policy->relays[i].secret, len);
        relay->session = PORTAL_NOBODY;
        relay->online = true;
    }
}

void portal_sync_rows(struct sim_portal *portal)
{
    static const uint8_t no_key[32] = {0};
    const struct sim_policy *policy = portal->policy;
    for (uint32_t i = 0; i < policy->gateways_count; i++) {
        row_secret(portal, &policy->gateways[i].id, portal->gateways[i].secret);
    }
    for (uint32_t i = 0; i < policy->clients_count; i++) {
        row_secret(portal, &policy->clients[i].id, portal->clients[i].secret);
        if (memcmp(portal->clients[i].public_key, no_key, 32) == 0) {
            memcpy(portal->clients[i].public_key, policy->clients[i].public_key, 32);
        }
    }
    for (uint32_t i = 0; i < policy->relays_count; i++) {
        sync_relay(portal, i);
    }
}

struct sim_portal *sim_portal_new(const struct sim_portal_config *config)
{
    struct sim_portal *portal = calloc(1, sizeof *portal);
    if (portal == NULL) {
        return NULL;
    }
    portal->scratch = malloc(PORTAL_SCRATCH_SIZE);
    if (portal->scratch == NULL) {
        free(portal);
        return NULL;
    }
    portal->config = *config;
    portal->policy = config->policy;
    portal->serial_next = 1;
    memcpy(portal->account_slug, "acme", sizeof "acme");
    rng_init(&portal->rng, config->seed);
    portal->key = (struct siphash_key){rng_u64(&portal->rng), rng_u64(&portal->rng)};
    portal_sync_rows(portal);
    return portal;
}

static void free_sessions(struct sim_portal *portal)
{
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        if (portal->sessions[i].used) {
            session_free(&portal->sessions[i]);
        }
    }
}

void sim_portal_free(struct sim_portal *portal)
{
    if (portal != NULL) {
        free_sessions(portal);
        free(portal->scratch);
        free(portal);
    }
}

void sim_portal_observe(struct sim_portal *portal,
                        void (*observe)(void *self, const struct sim_portal_message *message),
                        void *self)
{
    portal->observe = observe;
    portal->observe_self = self;
}

struct sim_portal_faults *sim_portal_faults(struct sim_portal *portal)
{
    return &portal->faults;
}

const struct sim_portal_counters *sim_portal_counters(const struct sim_portal *portal)
{
    return &portal->counters;
}

static bool is_online(const struct sim_portal *portal, enum session_kind kind, uint32_t peer)
{
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        const struct portal_session *session = &portal->sessions[i];
        if (session->used && session->joined && session->kind == kind && session->peer == peer) {
            return true;
        }
    }
    return false;
}

bool sim_portal_gateway_online(const struct sim_portal *portal, uint32_t gateway)
{
    return is_online(portal, SESSION_GATEWAY, gateway);
}

bool sim_portal_client_online(const struct sim_portal *portal, uint32_t client)
{
    return is_online(portal, SESSION_CLIENT, client);
}

bool portal_resource_exists(const struct sim_portal *portal, uint32_t resource)
{
    return resource < portal->policy->resources_count && !portal->resource_removed[resource];
}

bool sim_portal_permitted(const struct sim_portal *portal, uint32_t client, uint32_t resource,
                          uint64_t unix_s)
{
    if (client >= portal->policy->clients_count || !portal_resource_exists(portal, resource) ||
        portal->clients[client].removed) {
        return false;
    }
    switch (portal->clients[client].rights[resource]) {
    case RIGHT_DEFAULT:
        return portal->config.permit_all;
    case RIGHT_GRANTED:
        return portal->clients[client].expires_s[resource] == 0 ||
               portal->clients[client].expires_s[resource] > unix_s;
    case RIGHT_REVOKED:
        return false;
    }
    UNREACHABLE();
}

/* ---- streams ---- */

static struct portal_session *session_of(struct sim_portal *portal, uint32_t stream)
{
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        if (portal->sessions[i].used && portal->sessions[i].stream == stream) {
            return &portal->sessions[i];
        }
    }
    return NULL;
}

static void accept_stream(struct portal_call *call, const struct gateway_stream_event *event)
{
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        struct portal_session *session = &call->portal->sessions[i];
        if (!session->used) {
            portal_sync_rows(call->portal); /* whoever fills the policy may do so after us */
            session->used = true;
            session->stream = event->stream;
            session->remote = event->remote;
            session->heard_at = call->now.boot;
            session->presence_at = TIME_NEVER;
            return;
        }
    }
    sim_put_stream_reset(call->out, event->stream);
}

static void append_to_line(struct portal_call *call, struct portal_session *session, uint8_t byte)
{
    if (session->line == NULL) {
        session->line = malloc(SIM_PORTAL_INPUT_MAX);
    }
    ASSERT(session->line != NULL);
    if (session->line_len == SIM_PORTAL_INPUT_MAX) {
        session_end(call, session, SIM_PORTAL_RESET);
        return;
    }
    session->line[session->line_len++] = byte;
}

static void take_line(struct portal_call *call, struct portal_session *session)
{
    size_t len = session->line_len;
    session->line_len = 0;
    if (len > 0) {
        channel_handle_text(call, session, (struct view){session->line, len});
    }
}

static void handle_lines(struct portal_call *call, uint32_t stream, struct view bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        struct portal_session *session = session_of(call->portal, stream);
        if (session == NULL || session->mute) {
            return;
        }
        if (bytes.at[i] == '\n') {
            take_line(call, session);
        } else {
            append_to_line(call, session, bytes.at[i]);
        }
    }
}

static void handle_websocket(struct portal_call *call, uint32_t stream, struct view bytes)
{
    struct portal_session *session = session_of(call->portal, stream);
    ws_feed(&session->ws, bytes);
    struct ws_event event;
    /* A message may end the session, and with it the WebSocket. */
    while ((session = session_of(call->portal, stream)) != NULL && !session->mute &&
           ws_poll(&session->ws, &event)) {
        if (event.kind == WS_TEXT) {
            channel_handle_text(call, session, event.text);
            continue;
        }
        call->portal->counters.protocol_errors += event.failed;
        session_drain(call, session);
        session_end(call, session, SIM_PORTAL_FIN);
    }
    if (session != NULL && !session->mute) {
        session_drain(call, session); /* Pongs */
    }
}

static void handle_bytes(struct portal_call *call, struct portal_session *session,
                         struct view bytes)
{
    uint32_t stream = session->stream;
    if (session->mute || call->portal->faults.deaf) {
        return;
    }
    session->heard_at = call->now.boot;
    if (session->kind == SESSION_NEW) {
        size_t used = portal_http_feed(call, session, bytes);
        bytes = view_sub(bytes, used, bytes.len - used);
        session = session_of(call->portal, stream);
        if (session == NULL || session->kind == SESSION_NEW || session->mute || bytes.len == 0) {
            return;
        }
    }
    if (session->lines) {
        handle_lines(call, stream, bytes);
    } else {
        handle_websocket(call, stream, bytes);
    }
}

void sim_portal_handle_stream(struct sim_portal *portal, struct clock_pair now,
                              const struct gateway_stream_event *event, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    if (event->kind == GATEWAY_STREAM_ACCEPTED) {
        accept_stream(&call, event);
        return;
    }
    struct portal_session *session = session_of(portal, event->stream);
    if (session == NULL) {
        return; /* ended by us; the rest of what was under way */
    }
    if (event->kind == GATEWAY_STREAM_BYTES) {
        handle_bytes(&call, session, event->bytes);
    } else if (event->kind == GATEWAY_STREAM_CLOSED) {
        session_leave(&call, session);
        session_free(session);
    }
}

/* ---- time ---- */

static struct instant idle_at(const struct sim_portal *portal, const struct portal_session *session)
{
    if (session->mute || portal->faults.deaf) {
        return TIME_NEVER;
    }
    return instant_add(session->heard_at, session->kind == SESSION_RELAY ? IDLE_RELAY : IDLE_PEER);
}

static void advance_session(struct portal_call *call, struct portal_session *session)
{
    session_flush_delayed(call, session);
    presence_advance(call, session);
    if (instant_reached(call->now.boot, idle_at(call->portal, session))) {
        call->portal->counters.idle_closes++;
        session_end(call, session, SIM_PORTAL_CLOSE_1000);
    }
}

void sim_portal_handle_timeout(struct sim_portal *portal, struct clock_pair now,
                               struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    flow_advance(&call);
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        if (portal->sessions[i].used) {
            advance_session(&call, &portal->sessions[i]);
        }
    }
}

struct wake sim_portal_poll_timeout(const struct sim_portal *portal)
{
    struct instant next = flow_next(portal);
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        const struct portal_session *session = &portal->sessions[i];
        if (!session->used) {
            continue;
        }
        next = instant_min(next, instant_min(session->presence_at, idle_at(portal, session)));
        if (session->delayed_first != NULL) {
            next = instant_min(next, session->delayed_first->at);
        }
    }
    return (struct wake){next, "portal"};
}

/* ---- the node ---- */

static void node_stream(void *node, struct clock_pair now, const struct gateway_stream_event *event,
                        struct sim_outbox *out)
{
    sim_portal_handle_stream(node, now, event, out);
}

static void node_timeout(void *node, struct clock_pair now, struct sim_outbox *out)
{
    sim_portal_handle_timeout(node, now, out);
}

static struct wake node_wake(const void *node)
{
    return sim_portal_poll_timeout(node);
}

static void node_restart(void *node, struct clock_pair now, const uint8_t seed[32])
{
    struct sim_portal *portal = node;
    (void)now;
    free_sessions(portal);
    memset(portal->flows, 0, sizeof portal->flows);
    portal->flows_high = 0;
    for (uint32_t i = 0; i < SIM_RELAYS_MAX; i++) {
        struct portal_relay *relay = &portal->relays[i];
        relay->online = relay->online && relay->session == PORTAL_NOBODY;
        relay->session = PORTAL_NOBODY;
    }
    rng_init(&portal->rng, seed);
}

static void node_check(const void *node)
{
    const struct sim_portal *portal = node;
    for (uint32_t i = 0; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        const struct portal_session *session = &portal->sessions[i];
        ASSERT(!session->joined || (session->used && session->kind != SESSION_NEW));
        ASSERT(session->relays_sent_count <= SIM_PORTAL_RELAYS_SENT);
    }
    for (uint32_t i = 0; i < SIM_PORTAL_FLOWS_MAX; i++) {
        const struct portal_flow *flow = &portal->flows[i];
        ASSERT(!flow->used || i < portal->flows_high);
        ASSERT(!flow->used || flow->client < portal->policy->clients_count);
        ASSERT(!flow->used || flow->resource < portal->policy->resources_count);
    }
}

struct sim_node sim_portal_node(struct sim_portal *portal)
{
    static const struct sim_node_ops ops = {
        .kind = "portal",
        .handle_stream = node_stream,
        .handle_timeout = node_timeout,
        .poll_timeout = node_wake,
        .restart = node_restart,
        .check = node_check,
    };
    return (struct sim_node){&ops, portal};
}
