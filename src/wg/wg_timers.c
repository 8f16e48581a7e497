#include "wg/wg_timers.h"

#include "base/assert.h"
#include "wg/wg_session.h"

#define HEAD_SEND_INITIATOR_S 170U /* spec/wireguard.md section 12 */
#define HEAD_RECEIVE_S        180U

static struct duration seconds(uint32_t count)
{
    return DURATION_S(count);
}

struct instant wg_timers_stamp(const struct wg_peer *peer, struct instant now)
{
    return peer->era == WG_ERA_BASE ? peer->base.tick_at : now;
}

/* ---- facts ---- */

void wg_timers_created(struct wg_peer *peer, struct instant now)
{
    peer->established_at = now;
    peer->keepalive_at = TIME_NEVER;
    peer->no_reply_at = TIME_NEVER;
    peer->initiation_at = TIME_NEVER;
    peer->received_at = TIME_NEVER;
    peer->persistent_at = peer->persistent_keepalive_s == 0
                              ? TIME_NEVER
                              : instant_add(now, seconds(peer->persistent_keepalive_s));
    peer->base = (struct wg_base_stamps){.tick_at = now,
                                         .sent_at = now,
                                         .received_at = now,
                                         .data_sent_at = now,
                                         .data_received_at = now,
                                         .initiation_made_at = now};
}

static bool initiation_planned(const struct wg_peer *peer)
{
    return peer->attempting || peer->initiation_due || !instant_is_never(peer->initiation_at);
}

static void base_sent(struct wg_peer *peer)
{
    if (peer->era == WG_ERA_BASE) {
        peer->base.sent_at = peer->base.tick_at;
        peer->base.want_handshake = true;
        peer->base.want_keepalive = false;
    }
}

static void base_received(struct wg_peer *peer)
{
    if (peer->era == WG_ERA_BASE) {
        peer->base.received_at = peer->base.tick_at;
        peer->base.want_handshake = false;
        peer->base.want_keepalive = true;
    }
}

void wg_timers_data_sent(struct wg_peer *peer, struct instant now, size_t data_bytes)
{
    peer->keepalive_at = TIME_NEVER;
    peer->keepalive_due = false;
    base_sent(peer);
    if (data_bytes == 0) {
        return;
    }
    if (peer->era == WG_ERA_BASE) {
        peer->base.data_sent_at = peer->base.tick_at;
    }
    if (instant_is_never(peer->no_reply_at) && !initiation_planned(peer)) {
        peer->no_reply_at = instant_add(now, seconds(WG_NO_REPLY_S));
    }
}

void wg_timers_response_sent(struct wg_peer *peer, struct instant now)
{
    (void)now;
    peer->keepalive_at = TIME_NEVER;
    base_sent(peer);
}

static struct duration jitter(struct rng *rng)
{
    return DURATION_MS(rng_below(rng, WG_RETRY_JITTER_MS + 1));
}

void wg_timers_initiation_sent(struct wg_peer *peer, struct instant now, struct rng *rng)
{
    base_sent(peer);
    peer->base.initiation_made_at = now;
    if (!peer->attempting) {
        peer->attempting = true;
        peer->attempt_started_at = wg_timers_stamp(peer, now);
    }
    peer->no_reply_at = TIME_NEVER;
    peer->initiation_at = instant_add(instant_add(now, seconds(WG_RETRY_S)), jitter(rng));
}

void wg_timers_received(struct wg_peer *peer, struct instant now)
{
    peer->received_at = now;
    peer->no_reply_at = TIME_NEVER;
    base_received(peer);
}

void wg_timers_data_received(struct wg_peer *peer, struct instant now)
{
    if (peer->era == WG_ERA_BASE) {
        peer->base.data_received_at = peer->base.tick_at;
    }
    if (peer->era == WG_ERA_HEAD || instant_is_never(peer->keepalive_at)) {
        peer->keepalive_at = instant_add(now, seconds(WG_PASSIVE_KEEPALIVE_S));
    }
}

void wg_timers_session_made(struct wg_peer *peer, struct instant now, bool is_initiator)
{
    peer->established_at = wg_timers_stamp(peer, now);
    peer->base.was_initiator = is_initiator;
}

void wg_timers_session_confirmed(struct wg_peer *peer)
{
    peer->attempting = false;
    peer->initiation_due = false;
    peer->initiation_at = TIME_NEVER;
}

void wg_timers_expire(struct wg_peer *peer)
{
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        wg_session_remove(peer, &peer->sessions[i]);
    }
    secret_wipe(peer->handshakes, sizeof(peer->handshakes));
    wg_timers_session_confirmed(peer); /* nothing is planned any more */
    peer->keepalive_due = false;
    peer->keepalive_at = TIME_NEVER;
    peer->no_reply_at = TIME_NEVER;
    peer->persistent_at = TIME_NEVER;
    peer->has_cookie = false;
    peer->expired = true;
}

/* ---- ages ---- */

static struct instant age_reached_at(const struct wg_session *session, uint32_t age_s)
{
    return instant_add(session->established_at, seconds(age_s));
}

bool wg_timers_may_send(const struct wg_peer *peer, const struct wg_session *session,
                        struct instant now)
{
    switch (peer->era) {
    case WG_ERA_OURS:
        return instant_before(now, age_reached_at(session, WG_SEND_MAX_S));
    case WG_ERA_HEAD:
        return !instant_before(
            age_reached_at(session, session->is_initiator ? HEAD_SEND_INITIATOR_S : HEAD_RECEIVE_S),
            now);
    case WG_ERA_BASE:
        return true;
    }
    UNREACHABLE();
}

/* Last instant at which the keys of `session` open packets. */
static struct instant receives_until(const struct wg_peer *peer, const struct wg_session *session)
{
    return age_reached_at(session, peer->era == WG_ERA_OURS ? WG_RECEIVE_MAX_S : HEAD_RECEIVE_S);
}

bool wg_timers_may_receive(const struct wg_peer *peer, const struct wg_session *session,
                           struct instant now)
{
    return peer->era == WG_ERA_BASE || !instant_before(receives_until(peer, session), now);
}

/* ---- clockwork ---- */

static void plan_initiation(struct wg_peer *peer, struct instant now, struct rng *rng)
{
    if (peer->role == WG_ROLE_GATEWAY && !peer->confirmed) {
        return;
    }
    peer->no_reply_at = TIME_NEVER;
    peer->initiation_at = instant_add(now, jitter(rng));
}

void wg_peer_initiate(struct wg_peer *peer, struct instant now)
{
    (void)now;
    bool may_start = peer->role == WG_ROLE_CLIENT || peer->confirmed;
    if (peer->expired || peer->attempting || !may_start) {
        return;
    }
    peer->initiation_at = TIME_NEVER;
    peer->initiation_due = true;
}

/* Wipes what is too old. Returns whether the session that sends was among it and was ours to renew.
 */
static bool sweep(struct wg_peer *peer, struct instant now)
{
    bool lost_ours = false;
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        struct wg_session *session = &peer->sessions[i];
        if (session->used && instant_before(receives_until(peer, session), now)) {
            lost_ours |= i == peer->current && session->is_initiator;
            wg_session_remove(peer, session);
        }
    }
    if (peer->has_cookie && instant_reached(now, peer->cookie_until)) {
        secret_wipe(peer->cookie, sizeof(peer->cookie));
        peer->has_cookie = false;
    }
    return lost_ours;
}

/* Returns when the session that sends is to be renewed by us: never unless we initiated it. */
static struct instant renew_at(const struct wg_peer *peer)
{
    const struct wg_session *session = wg_session_current_const(peer);
    if (session == NULL || !session->is_initiator) {
        return TIME_NEVER;
    }
    if (session->data_sent) {
        return age_reached_at(session, WG_RENEW_SENT_S);
    }
    return session->data_received ? age_reached_at(session, WG_RENEW_RECEIVED_S) : TIME_NEVER;
}

static bool is_over(const struct wg_peer *peer, struct instant now)
{
    if (instant_reached(now, instant_add(peer->established_at, seconds(WG_EXPIRY_S)))) {
        return true;
    }
    return peer->attempting && instant_reached(now, instant_add(peer->attempt_started_at,
                                                                seconds(peer->rekey_attempt_s)));
}

static void run_initiation(struct wg_peer *peer, struct instant now, struct rng *rng,
                           bool renew_lost)
{
    if (!initiation_planned(peer)) {
        bool unanswered = instant_reached(now, peer->no_reply_at);
        if (unanswered || renew_lost || instant_reached(now, renew_at(peer))) {
            plan_initiation(peer, now, rng);
        }
    }
    if (instant_reached(now, peer->no_reply_at)) {
        peer->no_reply_at = TIME_NEVER; /* an attempt is on its way already */
    }
    if (instant_reached(now, peer->initiation_at)) {
        peer->initiation_at = TIME_NEVER;
        peer->initiation_due = true;
    }
}

static void run_keepalives(struct wg_peer *peer, struct instant now)
{
    bool due = instant_reached(now, peer->keepalive_at);
    if (due) {
        peer->keepalive_at = TIME_NEVER;
    }
    bool persistent = instant_reached(now, peer->persistent_at);
    if (persistent) {
        peer->persistent_at = instant_add(now, seconds(peer->persistent_keepalive_s));
    }
    if (wg_peer_has_session(peer, now)) {
        peer->keepalive_due |= due || persistent;
    } else if (persistent && peer->role == WG_ROLE_CLIENT) {
        wg_peer_initiate(peer, now);
    }
}

void wg_peer_handle_timeout(struct wg_peer *peer, struct instant now, struct rng *rng)
{
    if (peer->expired) {
        return;
    }
    if (peer->era == WG_ERA_BASE) {
        wg_timers_base_tick(peer, now);
        return;
    }
    bool lost_ours = sweep(peer, now);
    if (is_over(peer, now)) {
        wg_timers_expire(peer);
        return;
    }
    run_initiation(peer, now, rng, lost_ours && peer->era == WG_ERA_HEAD);
    run_keepalives(peer, now);
}

static struct wake wake_of_sessions(const struct wg_peer *peer)
{
    struct wake wake = WAKE_NEVER;
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        const struct wg_session *session = &peer->sessions[i];
        if (session->used) {
            struct instant after = instant_add(receives_until(peer, session), (struct duration){1});
            wake = wake_min(wake, (struct wake){after, "wg session too old"});
        }
    }
    return wake;
}

struct instant wg_peer_data_timeout(const struct wg_peer *peer)
{
    if (peer->era == WG_ERA_BASE) {
        return wg_peer_poll_timeout(peer).at;
    }
    struct instant at = instant_min(peer->no_reply_at, peer->keepalive_at);
    return initiation_planned(peer) ? at : instant_min(at, renew_at(peer));
}

struct wake wg_peer_poll_timeout(const struct wg_peer *peer)
{
    if (peer->expired) {
        return WAKE_NEVER;
    }
    struct wake wake = wake_of_sessions(peer);
    struct instant over_at = instant_add(peer->established_at, seconds(WG_EXPIRY_S));
    wake = wake_min(wake, (struct wake){over_at, "wg tunnel expiry"});
    if (peer->attempting) {
        struct instant until =
            instant_add(peer->attempt_started_at, seconds(peer->rekey_attempt_s));
        wake = wake_min(wake, (struct wake){until, "wg attempt over"});
    }
    if (peer->has_cookie) {
        wake = wake_min(wake, (struct wake){peer->cookie_until, "wg cookie too old"});
    }
    wake = wake_min(wake, (struct wake){peer->initiation_at, "wg initiation"});
    if (!initiation_planned(peer)) {
        wake = wake_min(wake, (struct wake){renew_at(peer), "wg renewal"});
    }
    wake = wake_min(wake, (struct wake){peer->no_reply_at, "wg no reply"});
    wake = wake_min(wake, (struct wake){peer->keepalive_at, "wg passive keepalive"});
    return wake_min(wake, (struct wake){peer->persistent_at, "wg persistent keepalive"});
}
