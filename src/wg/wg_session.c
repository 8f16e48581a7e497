#include "wg/wg_session.h"

#include "base/assert.h"

/* Returns a free slot, else the oldest that does not send. */
static struct wg_session *pick_slot(struct wg_peer *peer)
{
    struct wg_session *oldest = NULL;
    for (uint8_t i = 0; i < WG_SESSIONS_MAX; i++) {
        struct wg_session *session = &peer->sessions[i];
        if (!session->used) {
            return session;
        }
        if (i != peer->current && (oldest == NULL || session->generation < oldest->generation)) {
            oldest = session;
        }
    }
    return oldest;
}

struct wg_psk *wg_session_psk(struct wg_peer *peer, const struct wg_session *session)
{
    return &peer->session_psks[session - peer->sessions];
}

static void wipe(struct wg_peer *peer, struct wg_session *session)
{
    wg_psk_wipe(wg_session_psk(peer, session));
    secret_wipe(session, sizeof(*session));
}

struct wg_session *wg_session_new(struct wg_peer *peer, struct instant established_at)
{
    struct wg_session *session = pick_slot(peer);
    ASSERT(session != NULL);
    wipe(peer, session);
    wg_replay_init(&session->replay, peer->windows.of[session - peer->sessions]);
    session->used = true;
    session->generation = ++peer->generation_last;
    session->established_at = established_at;
    return session;
}

const struct wg_session *wg_session_current_const(const struct wg_peer *peer)
{
    return peer->current < WG_SESSIONS_MAX ? &peer->sessions[peer->current] : NULL;
}

const struct wg_session *wg_session_find_const(const struct wg_peer *peer, uint32_t local_index)
{
    const struct wg_session *current = wg_session_current_const(peer);
    if (current != NULL && current->local_index == local_index) {
        return current; /* nearly always */
    }
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        const struct wg_session *session = &peer->sessions[i];
        if (session->used && session->local_index == local_index) {
            return session;
        }
    }
    return NULL;
}

struct wg_session *wg_session_find(struct wg_peer *peer, uint32_t local_index)
{
    const struct wg_session *session = wg_session_find_const(peer, local_index);
    return session == NULL ? NULL : &peer->sessions[session - peer->sessions];
}

struct wg_session *wg_session_current(struct wg_peer *peer)
{
    return peer->current < WG_SESSIONS_MAX ? &peer->sessions[peer->current] : NULL;
}

void wg_session_set_keys(struct wg_session *session, struct wg_noise_keys *keys)
{
    session->send_key = keys->send;
    session->receive_key = keys->receive;
    wg_noise_keys_wipe(keys);
}

bool wg_session_promote(struct wg_peer *peer, const struct wg_session *session)
{
    ASSERT(session->used);
    const struct wg_session *current = wg_session_current_const(peer);
    if (current == session) {
        return true;
    }
    if (current == NULL || current->generation < session->generation) {
        peer->current = (uint8_t)(session - peer->sessions);
        return true;
    }
    return false;
}

void wg_session_remove(struct wg_peer *peer, struct wg_session *session)
{
    if (wg_session_current(peer) == session) {
        peer->current = WG_SESSIONS_MAX;
    }
    wipe(peer, session);
}

static bool index_used(const struct wg_peer *peer, uint32_t local_index)
{
    if (wg_session_find_const(peer, local_index) != NULL) {
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        const struct wg_handshake *handshake = &peer->handshakes[i];
        if (handshake->used && handshake->local_index == local_index) {
            return true;
        }
    }
    return false;
}

uint32_t wg_session_next_index(struct wg_peer *peer)
{
    uint32_t local_index = 0;
    do { /* at most five of 256 are in use */
        peer->slot_last++;
        local_index = peer->id << WG_SLOT_BITS | peer->slot_last;
    } while (index_used(peer, local_index));
    return local_index;
}
