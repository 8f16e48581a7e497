#include "wg/wg_peer.h"

#include <string.h>

#include "base/assert.h"
#include "base/fetch.h"
#include "wg/wg_session.h"
#include "wg/wg_timers.h"

enum err wg_peer_init(struct wg_peer *peer, struct wg_node *node,
                      const struct wg_peer_config *config, struct instant now)
{
    ASSERT(config->id <= WG_PEER_ID_MAX);
    memset(peer, 0, sizeof(*peer));
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        ASSERT(config->windows.of[i] != NULL);
    }
    peer->node = node;
    peer->windows = config->windows;
    peer->remote = config->remote;
    peer->psk = config->psk;
    peer->id = config->id;
    peer->role = config->role;
    peer->era = config->era;
    peer->persistent_keepalive_s = config->persistent_keepalive_s;
    peer->rekey_attempt_s = config->rekey_attempt_s;
    peer->current = WG_SESSIONS_MAX;
    peer->created_at = now;
    wg_mac_keys_of(&peer->remote_macs, &config->remote);
    wg_timers_created(peer, now);
    if (!x25519_shared(&node->own.private_key, &config->remote, &peer->static_static)) {
        wg_timers_expire(peer);
        return ERR_CRYPTO;
    }
    return ERR_NONE;
}

void wg_peer_wipe(struct wg_peer *peer)
{
    wg_timers_expire(peer);
    key32_wipe(&peer->static_static);
    wg_psk_wipe(&peer->psk);
    wg_psk_wipe(&peer->psk_pending);
    wg_psk_wipe(&peer->psk_latest);
    secret_wipe(peer->cookie, sizeof(peer->cookie));
}

static void forget_pending(struct wg_peer *peer)
{
    peer->has_psk_pending = false;
    peer->has_psk_latest = false;
    peer->pending_is_stale = false;
    wg_psk_wipe(&peer->psk_pending);
    wg_psk_wipe(&peer->psk_latest);
}

/* The PSK in use was one of the pending ones: only what was told after it still waits. */
static void commit_pending(struct wg_peer *peer)
{
    bool is_first = peer->has_psk_pending && wg_psk_equal(&peer->psk, &peer->psk_pending);
    bool is_last = peer->has_psk_latest && wg_psk_equal(&peer->psk, &peer->psk_latest);
    if (is_last || (is_first && !peer->has_psk_latest)) {
        forget_pending(peer);
    } else if (is_first) {
        struct wg_psk latest = peer->psk_latest;
        forget_pending(peer);
        peer->psk_pending = latest;
        peer->has_psk_pending = true;
        wg_psk_wipe(&latest);
    }
}

void wg_peer_set_pending_psk(struct wg_peer *peer, const struct wg_psk *psk, struct instant now)
{
    bool is_burst = peer->has_psk_pending && !peer->pending_is_stale &&
                    instant_before(now, instant_add(peer->pending_at, DURATION_S(WG_BURST_S)));
    peer->trials = 0;
    if (wg_psk_equal(psk, &peer->psk)) {
        forget_pending(peer);
    } else if (!is_burst) {
        forget_pending(peer);
        peer->psk_pending = *psk;
        peer->has_psk_pending = true;
        peer->pending_at = now;
    } else if (!wg_psk_equal(psk, &peer->psk_pending)) {
        peer->psk_latest = *psk;
        peer->has_psk_latest = true;
        peer->latest_at = now;
    }
}

/* ---- receiving data ---- */

enum drop_reason wg_peer_open_begin(const struct wg_peer *peer, struct span message,
                                    struct instant now, struct wg_open *open)
{
    struct wg_msg_data msg;
    memset(open, 0, sizeof(*open));
    if (!wg_msg_decode_data(message, &msg)) {
        return DROP_WG_MALFORMED;
    }
    const struct wg_session *session = wg_session_find_const(peer, msg.receiver_index);
    if (session == NULL) {
        return DROP_WG_UNKNOWN_INDEX;
    }
    if (!wg_timers_may_receive(peer, session, now)) {
        return DROP_WG_EXPIRED;
    }
    enum drop_reason reason = wg_replay_check(&session->replay, msg.counter);
    if (reason != DROP_NONE) {
        return reason;
    }
    wg_replay_prefetch(&session->replay, msg.counter);
    open->receiver_index = msg.receiver_index;
    open->item = (struct aead_item){.key = session->receive_key.bytes,
                                    .counter = msg.counter,
                                    .data = msg.sealed.at,
                                    .len = msg.sealed.len - WG_TAG_SIZE};
    return DROP_NONE;
}

/* The first packet on a session that the other side asked for: it has the keys, and so its PSK is
 * the one that the session was made with. */
static void confirm(struct wg_peer *peer, struct wg_session *session)
{
    session->received_any = true;
    if (wg_session_promote(peer, session)) {
        peer->confirmed = true;
        peer->remote_id = session->remote_index >> WG_SLOT_BITS;
        peer->psk = *wg_session_psk(peer, session);
        commit_pending(peer);
        peer->trials = 0;
        wg_timers_session_confirmed(peer);
    }
    wg_psk_wipe(wg_session_psk(peer, session));
}

enum drop_reason wg_peer_open_finish(struct wg_peer *peer, struct wg_open *open, bool tag_ok,
                                     struct instant now)
{
    if (!tag_ok) {
        return DROP_WG_TAG;
    }
    struct wg_session *session = wg_session_find(peer, open->receiver_index);
    if (session == NULL) {
        return DROP_WG_UNKNOWN_INDEX;
    }
    enum drop_reason reason = wg_replay_mark(&session->replay, open->item.counter);
    if (reason != DROP_NONE) {
        return reason;
    }
    open->is_first = !session->received_any;
    if (open->is_first) {
        confirm(peer, session);
    } else {
        (void)wg_session_promote(peer, session);
    }
    peer->pending_is_stale =
        peer->has_psk_pending &&
        (peer->pending_is_stale || session->remote_index >> WG_SLOT_BITS == peer->remote_id);
    wg_timers_received(peer, now);
    open->plaintext = (struct span){open->item.data, open->item.len};
    open->is_keepalive = open->item.len == 0;
    if (open->is_keepalive) {
        return DROP_NONE;
    }
    reason = wg_msg_cut_padding(&open->plaintext);
    if (reason != DROP_NONE) {
        open->plaintext = SPAN_EMPTY;
        return reason;
    }
    session->data_received = true;
    wg_timers_data_received(peer, now);
    return DROP_NONE;
}

enum drop_reason wg_peer_open(struct wg_peer *peer, struct span message, struct instant now,
                              struct wg_open *open)
{
    enum drop_reason reason = wg_peer_open_begin(peer, message, now, open);
    if (reason != DROP_NONE) {
        return reason;
    }
    struct aead_backend backend = aead_backend_libsodium();
    aead_open_batch(&backend, &open->item, 1);
    return wg_peer_open_finish(peer, open, open->item.ok, now);
}

/* ---- sending data ---- */

bool wg_peer_has_session(const struct wg_peer *peer, struct instant now)
{
    const struct wg_session *session = wg_session_current_const(peer);
    return session != NULL && wg_timers_may_send(peer, session, now);
}

void wg_peer_fetch(const struct wg_peer *peer)
{
    const struct wg_session *session = wg_session_current_const(peer);
    if (session != NULL) {
        fetch_line(session);
        fetch_line(&session->receive_key);
    }
}

void wg_peer_fetch_later(const struct wg_peer *peer)
{
    const struct wg_session *session = wg_session_current_const(peer);
    if (session != NULL) {
        fetch_later(session);
    }
}

void wg_peer_use_up(struct wg_peer *peer, uint64_t left)
{
    struct wg_session *session = wg_session_current(peer);
    if (session != NULL && session->send_counter < WG_COUNTER_LIMIT - left) {
        session->send_counter = WG_COUNTER_LIMIT - left;
    }
}

enum drop_reason wg_peer_seal_begin(struct wg_peer *peer, uint32_t count, struct instant now,
                                    struct wg_seal *seal)
{
    ASSERT(count > 0);
    struct wg_session *session = wg_session_current(peer);
    if (session == NULL || !wg_timers_may_send(peer, session, now) ||
        session->send_counter > WG_COUNTER_LIMIT - count) {
        return DROP_WG_NO_SESSION;
    }
    *seal = (struct wg_seal){.key = session->send_key.bytes,
                             .counter_next = session->send_counter,
                             .counter_end = session->send_counter + count,
                             .remote_index = session->remote_index};
    session->send_counter += count;
    return DROP_NONE;
}

void wg_seal_next(struct wg_seal *seal, uint8_t *message, size_t plaintext_len,
                  struct aead_item *item)
{
    ASSERT(seal->counter_next < seal->counter_end);
    wg_msg_encode_data_header(seal->remote_index, seal->counter_next, message);
    *item = (struct aead_item){.key = seal->key,
                               .counter = seal->counter_next,
                               .data = message + WG_DATA_HEADER_SIZE,
                               .len = plaintext_len};
    seal->counter_next++;
}

void wg_peer_seal_finish(struct wg_peer *peer, struct instant now, size_t data_bytes)
{
    struct wg_session *session = wg_session_current(peer);
    if (session != NULL && data_bytes > 0) {
        session->data_sent = true;
    }
    wg_timers_data_sent(peer, now, data_bytes);
}

enum drop_reason wg_peer_seal(struct wg_peer *peer, struct span message, struct instant now)
{
    ASSERT(message.len >= WG_DATA_OVERHEAD);
    struct wg_seal seal;
    struct aead_item item;
    enum drop_reason reason = wg_peer_seal_begin(peer, 1, now, &seal);
    if (reason != DROP_NONE) {
        return reason;
    }
    wg_seal_next(&seal, message.at, message.len - WG_DATA_OVERHEAD, &item);
    struct aead_backend backend = aead_backend_libsodium();
    aead_seal_batch(&backend, &item, 1);
    wg_peer_seal_finish(peer, now, item.len);
    return DROP_NONE;
}

bool wg_peer_is_expired(const struct wg_peer *peer)
{
    return peer->expired;
}

void wg_peer_check(const struct wg_peer *peer)
{
    ASSERT(peer->current <= WG_SESSIONS_MAX);
    ASSERT(peer->id <= WG_PEER_ID_MAX);
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        const struct wg_session *session = &peer->sessions[i];
        ASSERT(session->used || i != peer->current);
        if (!session->used) {
            continue;
        }
        ASSERT(!peer->expired);
        ASSERT(session->local_index >> WG_SLOT_BITS == peer->id);
        ASSERT(session->generation <= peer->generation_last);
        ASSERT(session->send_counter <= WG_COUNTER_LIMIT);
        ASSERT(wg_session_find_const(peer, session->local_index) == session);
        /* Nothing is sent on a session before the other side has shown its keys. */
        ASSERT(session->received_any || i != peer->current);
        ASSERT(session->received_any || session->send_counter == 0);
    }
    if (peer->current < WG_SESSIONS_MAX) {
        ASSERT(peer->confirmed);
    }
    if (peer->role == WG_ROLE_GATEWAY && !peer->confirmed) {
        ASSERT(!peer->handshakes[0].used);
        ASSERT(!peer->initiation_due);
    }
}
