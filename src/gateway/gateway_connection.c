#include "gateway/gateway_internal.h"

/* ---- beginning and end ---- */

static bool bytes_equal(const uint8_t *at, size_t len, struct view view)
{
    return view_equal((struct view){at, len}, view);
}

/* Equal credentials and key: the same connection (spec/connectivity.md section 6.3). */
static bool is_same(const struct gateway_connection *c, const struct gateway_offer *offer)
{
    const struct ice_agent *ice = &c->ice;
    return x25519_public_equal(&c->wg.remote, &offer->key) &&
           bytes_equal(ice->local_ufrag, ice->local_ufrag_size, offer->ice.local_ufrag) &&
           bytes_equal(ice->local_password, ice->local_password_size, offer->ice.local_password) &&
           bytes_equal(ice->remote_ufrag, ice->remote_ufrag_size, offer->ice.remote_ufrag) &&
           bytes_equal(ice->remote_password, ice->remote_password_size, offer->ice.remote_password);
}

static bool credentials_fit(const struct gateway_credentials *ice)
{
    return ice->local_ufrag.len >= 1 && ice->local_ufrag.len <= ICE_UFRAG_SIZE_MAX &&
           ice->remote_ufrag.len >= 1 && ice->remote_ufrag.len <= ICE_UFRAG_SIZE_MAX &&
           ice->local_password.len >= 1 && ice->local_password.len <= ICE_PASSWORD_SIZE_MAX &&
           ice->remote_password.len >= 1 && ice->remote_password.len <= ICE_PASSWORD_SIZE_MAX;
}

/* Leaves the list of connections without authorization. */
static void leave_unused(struct gateway *gw, struct gateway_connection *c)
{
    struct gateway_list *list = &gw->unused_connections;
    if (instant_is_never(c->unused_since)) {
        return;
    }
    if (c->unused_prev != GATEWAY_NONE) {
        gw->connections[c->unused_prev].unused_next = c->unused_next;
    } else {
        list->first = c->unused_next;
    }
    if (c->unused_next != GATEWAY_NONE) {
        gw->connections[c->unused_next].unused_prev = c->unused_prev;
    } else {
        list->last = c->unused_prev;
    }
    c->unused_since = TIME_NEVER;
}

static void join_unused(struct gateway *gw, struct gateway_connection *c)
{
    struct gateway_list *list = &gw->unused_connections;
    uint32_t index = (uint32_t)(c - gw->connections);
    leave_unused(gw, c);
    c->unused_since = gw->now.boot;
    c->unused_next = GATEWAY_NONE;
    c->unused_prev = list->last;
    if (list->first == GATEWAY_NONE) {
        list->first = index;
    } else {
        gw->connections[list->last].unused_next = index;
    }
    list->last = index;
}

static void release(struct gateway *gw, struct gateway_connection *c)
{
    uint32_t index = (uint32_t)(c - gw->connections);
    leave_unused(gw, c);
    (void)map_remove(&gw->connection_by_ufrag, c->ufrag_hash, index);
    (void)map_remove(&gw->connection_by_key, c->key_hash, index);
    heap_set(&gw->timers, index, TIME_NEVER);
    c->timer_at = TIME_NEVER;
    gateway_seal_flush(gw); /* what waits to be sealed borrows the keys */
    gateway_count_path(gw, c, false);
    wg_peer_wipe(&c->wg);
    ice_agent_release(&c->ice);
    gateway_signal_resize(gw, c, 0);
    gateway_connection_drop_held(gw, c);
    c->used = false;
    gw->connections_count--;
}

void gateway_connection_close(struct gateway *gw, struct gateway_connection *c, enum trace_id event,
                              const char *why)
{
    ASSERT(c->used);
    gw->counters.connections_failed += event == EV_CONNECTION_FAILED ? 1 : 0;
    gateway_trace_client(gw, event, c, why);
    release(gw, c);
    if (policy_client_is_empty(gw->policy, c->policy_client)) {
        policy_client_remove(gw->policy, c->policy_client); /* it only lived for the connection */
    }
}

void gateway_connection_unused(struct gateway *gw, uint32_t policy_client)
{
    struct gateway_connection *c = gateway_connection_of(gw, policy_client);
    if (c == NULL) {
        policy_client_remove(gw->policy, policy_client);
    } else if (!c->confirmed) {
        gateway_connection_close(gw, c, EV_CONNECTION_CLOSED, "no authorization left");
    } else {
        join_unused(gw, c);
    }
}

void gateway_connection_wanted(struct gateway *gw, uint32_t policy_client)
{
    struct gateway_connection *c = gateway_connection_of(gw, policy_client);
    if (c != NULL) {
        leave_unused(gw, c);
    }
}

bool gateway_connection_evict(struct gateway *gw)
{
    uint32_t oldest = gw->unused_connections.first;
    if (oldest != GATEWAY_NONE) {
        gateway_connection_close(gw, &gw->connections[oldest], EV_CONNECTION_CLOSED,
                                 "no authorization left");
    }
    return oldest != GATEWAY_NONE;
}

static void start_ice(struct gateway *gw, struct gateway_connection *c,
                      const struct gateway_credentials *ice)
{
    struct ice_agent_config config = {
        .controlling = false,
        .local_ufrag = ice->local_ufrag,
        .local_password = ice->local_password,
        .remote_ufrag = ice->remote_ufrag,
        .remote_password = ice->remote_password,
        .tie_breaker = rng_u64(&gw->rng),
        .timing = ICE_TIMING_GATEWAY,
        .timing_idle = ICE_TIMING_GATEWAY_IDLE,
        .txn_tag = (c->id24 ^ gw->id24_mask) << 8 | (rng_u32(&gw->rng) & 0xffU),
    };
    ice_agent_init(&c->ice, &config, &gw->ice_memory, &gw->rng, gw->now.boot);
}

/* Session by session: most connections use the first two. */
static struct wg_windows windows_of(const struct gateway *gw, const struct gateway_connection *c)
{
    struct wg_windows windows = {0};
    size_t index = (size_t)(c - gw->connections);
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        windows.of[i] = &gw->windows[i * gw->limits.clients + index];
    }
    return windows;
}

static enum err start_wg(struct gateway *gw, struct gateway_connection *c,
                         const struct gateway_offer *offer)
{
    struct wg_peer_config config = {
        .remote = offer->key,
        .psk = offer->psk,
        .id = c->id24,
        .role = WG_ROLE_GATEWAY,
        .era = WG_ERA_OURS,
        .persistent_keepalive_s = 0,
        .rekey_attempt_s = WG_ATTEMPT_S_HEAD,
        .windows = windows_of(gw, c),
    };
    enum err err = wg_peer_init(&c->wg, &gw->wg, &config, gw->now.boot);
    wg_psk_wipe(&config.psk);
    return err;
}

static void clear_fields(struct gateway *gw, struct gateway_connection *c)
{
    c->idle = false;
    c->confirmed = false;
    c->signalled = false;
    c->has_path = false;
    c->timer_at = TIME_NEVER;
    c->created_at = gw->now.boot;
    c->offer_at = instant_add(gw->now.boot, DURATION_MS(GATEWAY_OFFER_HOLD_MS));
    c->active_at = gw->now.boot;
    c->disconnected_at = TIME_NEVER;
    c->unused_since = TIME_NEVER;
}

static enum err create(struct gateway *gw, const struct gateway_offer *offer, uint32_t relay)
{
    uint32_t index = policy_client_index(offer->policy_client);
    struct gateway_connection *c = &gw->connections[index];
    if (c->used) {
        gateway_connection_close(gw, c, EV_CONNECTION_CLOSED, "replaced");
    }
    if (!uuid_equal(&c->client, &offer->client)) {
        c->channels_at = gw->now.boot; /* a new connection of the same client is not a new client */
    }
    c->generation++;
    c->id24 = gateway_connection_make_id(gw, index, c->generation);
    c->policy_client = offer->policy_client;
    c->client = offer->client;
    c->relay = relay;
    clear_fields(gw, c);
    if (start_wg(gw, c, offer) != ERR_NONE) {
        return ERR_CRYPTO;
    }
    start_ice(gw, c, &offer->ice);
    c->ufrag_hash = gateway_hash(gw, offer->ice.local_ufrag);
    c->key_hash = gateway_hash(gw, VIEW_OF(offer->key.bytes));
    bool stored = map_insert(&gw->connection_by_ufrag, c->ufrag_hash, index) &&
                  map_insert(&gw->connection_by_key, c->key_hash, index);
    ASSERT(stored);
    c->used = true;
    gw->connections_count++;
    gateway_trace_client(gw, EV_CONNECTION_NEW, c, "");
    gateway_connection_offer_all(gw, c);
    turn_client_refresh_quiet(&gw->relays[relay].turn, gw->now.boot);
    gateway_relay_touch(gw, relay);
    ice_agent_handle_timeout(&c->ice, gw->now.boot);
    gateway_connection_events(gw, c);
    return ERR_NONE;
}

/* The client asks for a connection that we believe alive: it may have lost its half, or our path
 * may be gone without our noticing. Tell everything again and look whether the relay knows us. */
static void refresh(struct gateway *gw, struct gateway_connection *c, const struct wg_psk *psk)
{
    wg_peer_set_pending_psk(&c->wg, psk, gw->now.boot);
    gateway_connection_active(gw, c);
    if (!gateway_relay_is_used(gw, c->relay)) {
        if (!gateway_connection_migrate(gw, c)) {
            gateway_relay_hurry(gw);
        }
    } else {
        turn_client_refresh(&gw->relays[c->relay].turn, gw->now.boot);
        gateway_relay_events(gw, c->relay);
    }
    gateway_connection_offer_again(gw, c);
    gateway_connection_touch(gw, c);
}

enum err gateway_connection_upsert(struct gateway *gw, const struct gateway_offer *offer)
{
    struct gateway_connection *c = gateway_connection_of(gw, offer->policy_client);
    if (!credentials_fit(&offer->ice)) {
        return ERR_ARGUMENT;
    }
    if (c != NULL && !offer->replace && is_same(c, offer)) {
        refresh(gw, c, &offer->psk);
        return ERR_NONE;
    }
    uint32_t relay = gateway_relay_choose(gw);
    if (relay == GATEWAY_NONE) {
        return ERR_NO_RELAY;
    }
    return create(gw, offer, relay);
}

/* ---- life ---- */

void gateway_connection_touch(struct gateway *gw, struct gateway_connection *c)
{
    uint32_t index = (uint32_t)(c - gw->connections);
    if (c->dirty) {
        return;
    }
    c->dirty = true;
    c->dirty_next = GATEWAY_NONE;
    if (gw->dirty_connections.first == GATEWAY_NONE) {
        gw->dirty_connections.first = index;
    } else {
        gw->connections[gw->dirty_connections.last].dirty_next = index;
    }
    gw->dirty_connections.last = index;
}

void gateway_connection_carried(struct gateway *gw, struct gateway_connection *c)
{
    gateway_connection_active(gw, c);
    if (instant_before(wg_peer_data_timeout(&c->wg), c->timer_at)) {
        gateway_connection_touch(gw, c);
    }
}

void gateway_connection_active(struct gateway *gw, struct gateway_connection *c)
{
    c->active_at = gw->now.boot;
    if (c->idle) {
        c->idle = false;
        ice_agent_set_idle(&c->ice, false, gw->now.boot);
        gateway_connection_touch(gw, c);
    }
}

static void select_path(struct gateway *gw, struct gateway_connection *c,
                        const struct ice_path *path)
{
    gateway_count_path(gw, c, false);
    c->path = *path;
    gateway_count_path(gw, c, true);
    gateway_connection_active(gw, c);
    struct trace_event event = {.event = EV_CONNECTION_PATH,
                                .at = gw->now,
                                .id = c->client,
                                .remote = path->remote,
                                .value = path->relayed ? 1 : 0};
    trace_emit(&gw->trace, &event);
}

void gateway_connection_events(struct gateway *gw, struct gateway_connection *c)
{
    struct ice_event event;
    while (ice_agent_poll_event(&c->ice, &event)) {
        switch (event.kind) {
        case ICE_EVENT_SELECTED:
            select_path(gw, c, &event.path);
            break;
        case ICE_EVENT_STATE:
            if (event.state != ICE_DISCONNECTED) {
                c->disconnected_at = TIME_NEVER;
            } else if (instant_is_never(c->disconnected_at)) {
                c->disconnected_at = gw->now.boot;
            }
            break;
        case ICE_EVENT_DISCOVERED:
            break;
        }
    }
    gateway_connection_touch(gw, c);
}

static struct instant candidate_deadline(const struct gateway_connection *c)
{
    bool waiting = !c->signalled && !c->has_path && ice_agent_remote_is_empty(&c->ice);
    return waiting ? instant_add(c->created_at, DURATION_S(GATEWAY_CANDIDATE_TIMEOUT_S))
                   : TIME_NEVER;
}

static struct instant disconnect_deadline(const struct gateway_connection *c)
{
    return instant_add(c->disconnected_at, DURATION_S(GATEWAY_DISCONNECT_GRACE_S));
}

static struct instant idle_deadline(const struct gateway_connection *c)
{
    bool may_idle = !c->idle && ice_agent_state(&c->ice) == ICE_CONNECTED;
    return may_idle ? instant_add(c->active_at, DURATION_S(GATEWAY_IDLE_S)) : TIME_NEVER;
}

void gateway_connection_timeout(struct gateway *gw, struct gateway_connection *c)
{
    struct instant now = gw->now.boot;
    c->timer_at = TIME_NEVER;
    if (!c->used) {
        return;
    }
    if (instant_reached(now, c->offer_at)) {
        gateway_signal_release(gw, c);
    }
    ice_agent_handle_timeout(&c->ice, now);
    gateway_connection_events(gw, c);
    wg_peer_handle_timeout(&c->wg, now, &gw->rng);
    if (wg_peer_is_expired(&c->wg)) {
        gateway_connection_close(gw, c, EV_CONNECTION_FAILED, "WireGuard session expired");
    } else if (instant_reached(now, disconnect_deadline(c))) {
        gateway_connection_close(gw, c, EV_CONNECTION_FAILED, "no path left");
    } else if (instant_reached(now, candidate_deadline(c))) {
        gateway_connection_close(gw, c, EV_CONNECTION_FAILED, "no candidates from the client");
    } else if (instant_reached(now, idle_deadline(c))) {
        c->idle = true;
        ice_agent_set_idle(&c->ice, true, now);
    }
}

void gateway_connection_set_timer(struct gateway *gw, struct gateway_connection *c)
{
    struct instant at = ice_agent_poll_timeout(&c->ice).at;
    at = instant_min(at, wg_peer_poll_timeout(&c->wg).at);
    at = instant_min(at, candidate_deadline(c));
    at = instant_min(at, c->offer_at);
    at = instant_min(at, disconnect_deadline(c));
    at = instant_min(at, idle_deadline(c));
    heap_set(&gw->timers, (uint32_t)(c - gw->connections), at);
    c->timer_at = at;
}

void gateway_connection_check(const struct gateway *gw, const struct gateway_connection *c,
                              struct blocks_counts *used)
{
    ice_agent_check(&c->ice);
    wg_peer_check(&c->wg);
    ASSERT(policy_client_id(gw->policy, c->policy_client) != NULL);
    ASSERT(c->timer_at.ns == heap_at(&gw->timers, (uint32_t)(c - gw->connections)).ns);
    ASSERT(c->signals_count <= GATEWAY_SIGNALS_MAX);
    ASSERT(c->held_count <= GATEWAY_HELD_MAX);
    struct wg_windows windows = windows_of(gw, c);
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        ASSERT(c->wg.windows.of[i] == windows.of[i]);
        ASSERT(!c->wg.sessions[i].used || c->wg.sessions[i].replay.window == windows.of[i]);
    }
    const struct blocks *blocks = &gw->ice_memory.blocks;
    ice_agent_count_blocks(&c->ice, used);
    blocks_count(blocks, c->signals, c->signals_count * sizeof(c->signals[0]), used);
    blocks_count(blocks, c->held, c->held_count * sizeof(c->held[0]), used);
}
