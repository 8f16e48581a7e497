/* The timers of 1.4.2, for simulated clients. Everything is judged at ticks, and every stamp is the
 * time of the tick before the event. Source: spec/wireguard.md section 8. */
#include "wg/wg_session.h"
#include "wg/wg_timers.h"

static bool elapsed(struct instant now, struct instant since, uint32_t count_s)
{
    return instant_reached(now, instant_add(since, DURATION_S(count_s)));
}

static void sweep(struct wg_peer *peer, struct instant now)
{
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        struct wg_session *session = &peer->sessions[i];
        if (session->used &&
            instant_before(instant_add(session->established_at, DURATION_S(WG_SEND_MAX_S)), now)) {
            wg_session_remove(peer, session);
        }
    }
    if (peer->has_cookie && instant_reached(now, peer->cookie_until)) {
        peer->has_cookie = false;
    }
}

static bool is_over(const struct wg_peer *peer, struct instant now)
{
    return elapsed(now, peer->established_at, WG_EXPIRY_S) ||
           (peer->attempting && elapsed(now, peer->attempt_started_at, peer->rekey_attempt_s));
}

/* Rules 7a to 7c. */
static bool wants_handshake(struct wg_peer *peer, struct instant now)
{
    struct wg_base_stamps *base = &peer->base;
    struct instant since = peer->established_at;
    if (base->was_initiator && wg_session_current(peer) != NULL) {
        if (instant_before(since, base->data_sent_at) && elapsed(now, since, WG_RENEW_SENT_S)) {
            return true;
        }
        if (instant_before(since, base->data_received_at) &&
            elapsed(now, since, WG_RENEW_RECEIVED_S)) {
            return true;
        }
    }
    if (base->want_handshake && instant_before(base->received_at, base->data_sent_at) &&
        elapsed(now, base->received_at, WG_NO_REPLY_S)) {
        base->want_handshake = false;
        return true;
    }
    return false;
}

/* Rules 7d and 7e. */
static bool wants_keepalive(struct wg_peer *peer, struct instant now)
{
    struct wg_base_stamps *base = &peer->base;
    bool passive = base->want_keepalive && instant_before(base->sent_at, base->data_received_at) &&
                   elapsed(now, base->sent_at, WG_PASSIVE_KEEPALIVE_S);
    bool persistent = instant_reached(now, peer->persistent_at);
    if (persistent) {
        peer->persistent_at = instant_add(now, DURATION_S(peer->persistent_keepalive_s));
    }
    return passive || persistent;
}

void wg_timers_base_tick(struct wg_peer *peer, struct instant now)
{
    peer->base.tick_at = now;
    sweep(peer, now);
    if (is_over(peer, now)) {
        wg_timers_expire(peer);
        return;
    }
    if (peer->attempting) {
        peer->initiation_due |= elapsed(now, peer->base.initiation_made_at, WG_RETRY_S);
        return;
    }
    if (wants_handshake(peer, now)) {
        wg_peer_initiate(peer, now);
    } else if (wants_keepalive(peer, now)) {
        /* Without a session a keepalive asks for one (spec/wireguard.md section 8, rule 8). */
        if (wg_peer_has_session(peer, now)) {
            peer->keepalive_due = true;
        } else {
            wg_peer_initiate(peer, now);
        }
    }
}
