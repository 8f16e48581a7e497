#include "gateway/gateway_internal.h"

#include <string.h>

#include "stun/channel_data.h"

#define ID_HALF_BITS 12U
#define ID_HALF_MASK 0xfffU
#define ID_ROUNDS    4U

#define HOT_LINES    5U /* of a connection: up to the timers of its tunnel */

/* ---- ids: a Feistel permutation of 24 bits ---- */

static uint32_t round_value(const struct gateway *gw, uint32_t half, uint32_t round)
{
    uint8_t bytes[8];
    store_le32(bytes, half);
    store_le32(bytes + 4, round);
    return (uint32_t)gateway_hash(gw, VIEW_OF(bytes)) & ID_HALF_MASK;
}

static uint32_t permute(const struct gateway *gw, uint32_t value)
{
    uint32_t left = value >> ID_HALF_BITS;
    uint32_t right = value & ID_HALF_MASK;
    for (uint32_t round = 0; round < ID_ROUNDS; round++) {
        uint32_t next = left ^ round_value(gw, right, round);
        left = right;
        right = next;
    }
    return left << ID_HALF_BITS | right;
}

static uint32_t unpermute(const struct gateway *gw, uint32_t value)
{
    uint32_t left = value >> ID_HALF_BITS;
    uint32_t right = value & ID_HALF_MASK;
    for (uint32_t round = ID_ROUNDS; round > 0; round--) {
        uint32_t previous = right ^ round_value(gw, left, round - 1);
        right = left;
        left = previous;
    }
    return left << ID_HALF_BITS | right;
}

static uint32_t index_bits(const struct gateway *gw)
{
    uint32_t bits = 1;
    while ((UINT32_C(1) << bits) < gw->limits.clients) {
        bits++;
    }
    return bits;
}

static uint32_t make_id(const struct gateway *gw, uint32_t index, uint32_t generation)
{
    return permute(gw, (generation << index_bits(gw) | index) & WG_PEER_ID_MAX);
}

/* ---- finding ---- */

struct gateway_connection *gateway_connection_of(struct gateway *gw, uint32_t policy_client)
{
    if (policy_client == POLICY_CLIENT_NONE) {
        return NULL;
    }
    struct gateway_connection *c = &gw->connections[policy_client_index(policy_client)];
    return c->used && c->policy_client == policy_client ? c : NULL;
}

uint32_t gateway_connection_index(struct gateway *gw, uint32_t id24)
{
    struct gateway_place *place = &gw->recent_places[id24 % GATEWAY_PLACES_MAX];
    if (place->id_plus_one != id24 + 1) {
        uint32_t value = unpermute(gw, id24 & WG_PEER_ID_MAX);
        place->id_plus_one = id24 + 1;
        place->index = value & ((UINT32_C(1) << index_bits(gw)) - 1);
    }
    return place->index < gw->limits.clients ? place->index : GATEWAY_NONE;
}

struct gateway_connection *gateway_connection_by_id(struct gateway *gw, uint32_t id24)
{
    uint32_t index = gateway_connection_index(gw, id24);
    if (index == GATEWAY_NONE) {
        return NULL;
    }
    struct gateway_connection *c = &gw->connections[index];
    return c->used && c->id24 == id24 ? c : NULL;
}

struct gateway_connection *gateway_connection_by_key(struct gateway *gw,
                                                     const struct x25519_public *key)
{
    uint64_t hash = gateway_hash(gw, VIEW_OF(key->bytes));
    uint32_t cursor = 0;
    for (uint32_t i = map_next(&gw->connection_by_key, hash, &cursor); i != MAP_NONE;
         i = map_next(&gw->connection_by_key, hash, &cursor)) {
        if (x25519_public_equal(&gw->connections[i].wg.remote, key)) {
            return &gw->connections[i];
        }
    }
    return NULL;
}

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

void gateway_connection_prefetch(const struct gateway *gw, uint32_t index)
{
    const uint8_t *at = (const uint8_t *)&gw->connections[index];
    for (size_t line = 0; line < HOT_LINES; line++) {
        __builtin_prefetch(at + line * 64);
    }
    __builtin_prefetch(&gw->timers.position[index]);
    __builtin_prefetch(&gw->timers.at[index]);
}

void gateway_connection_prefetch_session(const struct gateway *gw, uint32_t index)
{
    wg_peer_prefetch(&gw->connections[index].wg);
}

void gateway_connection_prefetch_all(const struct gateway *gw, const struct policy_hint *hints,
                                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (hints[i].client != 0 && (i == 0 || hints[i].client != hints[i - 1].client)) {
            gateway_connection_prefetch(gw, hints[i].client - 1);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (hints[i].client != 0 && (i == 0 || hints[i].client != hints[i - 1].client)) {
            gateway_connection_prefetch_session(gw, hints[i].client - 1);
        }
    }
}

void gateway_connection_carried(struct gateway *gw, struct gateway_connection *c)
{
    gateway_connection_active(gw, c);
    struct instant set = heap_at(&gw->timers, (uint32_t)(c - gw->connections));
    if (instant_before(wg_peer_data_timeout(&c->wg), set)) {
        gateway_connection_touch(gw, c);
    }
}

/* ---- candidates ---- */

static void trace_candidate(const struct gateway *gw, enum trace_id id,
                            const struct gateway_connection *c, struct view text)
{
    struct trace_event event = {.event = id, .at = gw->now, .id = c->client, .text = text};
    trace_emit(&gw->trace, &event);
}

void gateway_connection_offer(struct gateway *gw, struct gateway_connection *c,
                              const struct ice_candidate *candidate)
{
    struct ice_candidate local = *candidate;
    uint8_t text[ICE_CANDIDATE_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    enum err err = ice_agent_add_local(&c->ice, &local, gw->now.boot);
    if (err == ERR_NONE) {
        gateway_signal_add(gw, c, &local);
        ice_candidate_put(&w, &local);
        trace_candidate(gw, EV_CANDIDATE_LOCAL, c, writer_view(&w));
    } else if (err == ERR_FULL) {
        gateway_drop(gw, DROP_ICE_FULL, NULL);
    }
    gateway_connection_touch(gw, c);
}

void gateway_connection_withdraw(struct gateway *gw, struct gateway_connection *c,
                                 const struct ice_candidate *candidate)
{
    if (ice_agent_invalidate_local(&c->ice, candidate, gw->now.boot)) {
        gateway_signal_remove(gw, c, candidate);
    }
    gateway_connection_events(gw, c);
}

/* Offers what one relay has: relayed candidates only, or the others only. */
static void offer_from(struct gateway *gw, struct gateway_connection *c, uint32_t relay,
                       bool relayed)
{
    struct turn_candidate candidate;
    uint32_t cursor = 0;
    while (turn_client_candidate(&gw->relays[relay].turn, &cursor, &candidate)) {
        bool is_relayed = candidate.kind == TURN_CANDIDATE_RELAYED;
        if (is_relayed != relayed || !ice_address_is_valid(&candidate.addr.ip)) {
            continue;
        }
        struct ice_candidate ice =
            is_relayed ? ice_candidate_relay(&candidate.addr, candidate.server_family)
            : candidate.kind == TURN_CANDIDATE_HOST
                ? ice_candidate_host(&candidate.addr)
                : ice_candidate_srflx(&candidate.addr, &candidate.base);
        gateway_connection_offer(gw, c, &ice);
    }
}

void gateway_connection_offer_relay(struct gateway *gw, struct gateway_connection *c)
{
    if (gateway_relay_is_used(gw, c->relay)) {
        offer_from(gw, c, c->relay, true);
    }
}

static void offer_all(struct gateway *gw, struct gateway_connection *c)
{
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used && !gw->relays[r].closing) {
            offer_from(gw, c, r, false);
        }
    }
    gateway_connection_offer_relay(gw, c);
}

/* Tells the peer all our candidates again: it may have lost its half of the connection. */
static void offer_again(struct gateway *gw, struct gateway_connection *c)
{
    const struct ice_candidate *candidate;
    size_t cursor = 0;
    while ((candidate = ice_agent_next_local(&c->ice, &cursor)) != NULL) {
        gateway_signal_add(gw, c, candidate);
    }
}

bool gateway_connection_migrate(struct gateway *gw, struct gateway_connection *c)
{
    c->relay = gateway_relay_choose(gw);
    if (c->relay == GATEWAY_NONE) {
        return false;
    }
    gateway_connection_offer_relay(gw, c);
    gateway_connection_active(gw, c);
    return true;
}

void gateway_connection_add_remote(struct gateway *gw, struct gateway_connection *c,
                                   struct view text)
{
    struct ice_candidate candidate;
    enum drop_reason reason = ice_candidate_parse(text, &candidate);
    if (reason == DROP_NONE) {
        reason = ice_agent_add_remote(&c->ice, &candidate, gw->now.boot);
    }
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, NULL);
        return;
    }
    trace_candidate(gw, EV_CANDIDATE_REMOTE, c, text);
    c->signalled = true;
    if (candidate.kind != ICE_HOST) {
        if (gateway_relay_is_used(gw, c->relay)) {
            turn_client_bind_channel(&gw->relays[c->relay].turn, &candidate.addr, gw->now.boot);
            gateway_relay_touch(gw, c->relay);
        }
        gateway_signal_release(gw, c);
    }
    struct ice_candidate guesses[ICE_OPTIMISTIC_MAX];
    (void)ice_agent_add_optimistic(&c->ice, guesses, gw->now.boot);
    gateway_connection_active(gw, c);
    ice_agent_handle_timeout(&c->ice, gw->now.boot);
    gateway_connection_events(gw, c);
}

void gateway_connection_remove_remote(struct gateway *gw, struct gateway_connection *c,
                                      struct view text)
{
    struct ice_candidate candidate;
    enum drop_reason reason = ice_candidate_parse(text, &candidate);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, NULL);
        return;
    }
    (void)ice_agent_invalidate_remote(&c->ice, &candidate, gw->now.boot);
    gateway_connection_active(gw, c);
    ice_agent_handle_timeout(&c->ice, gw->now.boot);
    gateway_connection_events(gw, c);
}

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

static void resize_held(struct gateway *gw, struct gateway_connection *c, uint32_t count)
{
    ASSERT(count <= GATEWAY_HELD_MAX);
    size_t size = sizeof(c->held[0]);
    c->held = blocks_resize(&gw->ice_memory.blocks, c->held, c->held_count * size, count * size);
    c->held_count = count;
}

static void drop_oldest_held(struct gateway *gw, struct gateway_connection *c)
{
    memmove(c->held, c->held + 1, (c->held_count - 1) * sizeof(c->held[0]));
    resize_held(gw, c, c->held_count - 1);
}

static void release(struct gateway *gw, struct gateway_connection *c)
{
    uint32_t index = (uint32_t)(c - gw->connections);
    leave_unused(gw, c);
    (void)map_remove(&gw->connection_by_ufrag, c->ufrag_hash, index);
    (void)map_remove(&gw->connection_by_key, c->key_hash, index);
    heap_set(&gw->timers, index, TIME_NEVER);
    gateway_seal_flush(gw); /* what waits to be sealed borrows the keys */
    gateway_count_path(gw, c, false);
    wg_peer_wipe(&c->wg);
    ice_agent_release(&c->ice);
    gateway_signal_resize(gw, c, 0);
    resize_held(gw, c, 0);
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
    c->generation++;
    c->id24 = make_id(gw, index, c->generation);
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
    offer_all(gw, c);
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
    offer_again(gw, c);
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

void gateway_connection_active(struct gateway *gw, struct gateway_connection *c)
{
    c->active_at = gw->now.boot;
    if (c->idle) {
        c->idle = false;
        ice_agent_set_idle(&c->ice, false, gw->now.boot);
        gateway_connection_touch(gw, c);
    }
}

void gateway_connection_hold(struct gateway *gw, struct gateway_connection *c, struct view message)
{
    ASSERT(message.len <= WG_INITIATION_SIZE);
    if (c->held_count == GATEWAY_HELD_MAX) {
        drop_oldest_held(gw, c);
        gateway_drop(gw, DROP_WG_QUEUE, NULL);
    }
    resize_held(gw, c, c->held_count + 1);
    struct gateway_held *held = &c->held[c->held_count - 1];
    held->len = (uint16_t)message.len;
    memcpy(held->bytes, message.at, message.len);
    gateway_connection_touch(gw, c);
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

static void set_timer(struct gateway *gw, struct gateway_connection *c)
{
    struct instant at = ice_agent_poll_timeout(&c->ice).at;
    at = instant_min(at, wg_peer_poll_timeout(&c->wg).at);
    at = instant_min(at, candidate_deadline(c));
    at = instant_min(at, c->offer_at);
    at = instant_min(at, disconnect_deadline(c));
    at = instant_min(at, idle_deadline(c));
    heap_set(&gw->timers, (uint32_t)(c - gw->connections), at);
}

/* ---- output ---- */

/* Wraps a control message for the relay into the scratch memory. False without a channel. */
static bool through_relay(struct gateway *gw, struct gateway_connection *c,
                          const struct sock_addr *peer, struct view bytes,
                          struct gateway_output *out)
{
    uint16_t number;
    if (!gateway_relay_is_used(gw, c->relay) || ice_agent_remote_is_private(&c->ice, peer)) {
        return false;
    }
    struct turn_client *turn = &gw->relays[c->relay].turn;
    bool bound = turn_client_channel(turn, peer, gw->now.boot, &number);
    gateway_relay_touch(gw, c->relay);
    if (!bound) {
        return false;
    }
    ASSERT(bytes.len + CHANNEL_DATA_HEADER_SIZE <= sizeof(gw->scratch));
    channel_data_put_header(gw->scratch, number, bytes.len);
    memcpy(gw->scratch + CHANNEL_DATA_HEADER_SIZE, bytes.at, bytes.len);
    turn_client_note_sent(turn, gw->now.boot);
    out->u.train.remote = turn_client_active_server(turn);
    out->u.train.bytes = (struct view){gw->scratch, bytes.len + CHANNEL_DATA_HEADER_SIZE};
    return out->u.train.remote.ip.family != IP_NONE;
}

static bool send_control(struct gateway *gw, struct gateway_connection *c,
                         const struct ice_path *path, struct view bytes, struct gateway_output *out)
{
    *out = (struct gateway_output){.kind = GATEWAY_OUT_TRAIN};
    if (path->relayed) {
        if (!through_relay(gw, c, &path->remote, bytes, out)) {
            gateway_drop(gw, DROP_NO_CHANNEL, &path->remote);
            return false;
        }
        return true;
    }
    out->u.train.local = path->local;
    out->u.train.remote = path->remote;
    out->u.train.bytes = bytes;
    return true;
}

static bool poll_ice(struct gateway *gw, struct gateway_connection *c, struct gateway_output *out)
{
    struct ice_transmit transmit;
    while (ice_agent_poll_transmit(&c->ice, &transmit)) {
        struct ice_path path = {transmit.local, transmit.remote, transmit.relayed};
        if (send_control(gw, c, &path, transmit.bytes, out)) {
            return true;
        }
    }
    return false;
}

/* Sends a message of the tunnel along its path; `message` need not outlive the call. */
static bool send_tunnel(struct gateway *gw, struct gateway_connection *c, struct view message,
                        struct gateway_output *out)
{
    if (!send_control(gw, c, &c->path, message, out)) {
        return false;
    }
    if (!c->path.relayed) {
        memcpy(gw->scratch, message.at, message.len);
        out->u.train.bytes = (struct view){gw->scratch, message.len};
    }
    return true;
}

static bool poll_wg(struct gateway *gw, struct gateway_connection *c, struct gateway_output *out)
{
    while (c->has_path && c->held_count > 0) {
        struct gateway_held held = c->held[0];
        drop_oldest_held(gw, c);
        if (send_tunnel(gw, c, (struct view){held.bytes, held.len}, out)) {
            return true;
        }
    }
    uint8_t message[WG_INITIATION_SIZE];
    size_t len;
    while ((len = wg_peer_poll_transmit(&c->wg, gw->now.boot, &gw->rng,
                                        (struct span){message, sizeof(message)})) > 0) {
        if (c->has_path && send_tunnel(gw, c, (struct view){message, len}, out)) {
            return true;
        }
    }
    return false;
}

bool gateway_connection_poll(struct gateway *gw, struct gateway_output *out)
{
    while (gw->dirty_connections.first != GATEWAY_NONE) {
        struct gateway_connection *c = &gw->connections[gw->dirty_connections.first];
        if (c->used && (poll_ice(gw, c, out) || poll_wg(gw, c, out))) {
            return true;
        }
        gw->dirty_connections.first = c->dirty_next;
        c->dirty = false;
        if (c->used) {
            set_timer(gw, c);
        }
    }
    return false;
}

void gateway_connection_check(const struct gateway *gw, const struct gateway_connection *c,
                              struct blocks_counts *used)
{
    ice_agent_check(&c->ice);
    wg_peer_check(&c->wg);
    ASSERT(policy_client_id(gw->policy, c->policy_client) != NULL);
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

void gateway_connection_goodbye(struct gateway *gw, struct gateway_connection *c)
{
    uint8_t packet[P2P_HEADER_SIZE];
    size_t len = p2p_encode_goodbye((struct span){packet, sizeof(packet)});
    if (len > 0 && c->has_path && wg_peer_has_session(&c->wg, gw->now.boot)) {
        gateway_seal_packet(gw, c, (struct view){packet, len});
        gateway_seal_flush(gw);
    }
}
