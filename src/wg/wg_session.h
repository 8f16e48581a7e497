/* wg_session: the three session slots of a tunnel. Internal to src/wg.
 *
 * Source: design section 8.2; spec/wireguard.md section 6, without its overwriting of slots in use.
 * A slot is free, or holds a session that receives; one of them, `current`, also sends. A new
 * session takes a free slot, else the place of the oldest one that does not send.
 */
#ifndef WG_WG_SESSION_H
#define WG_WG_SESSION_H

#include "wg/wg_peer.h"

/* Makes room for a new session and gives it its order and age; the caller fills in the rest. */
struct wg_session *wg_session_new(struct wg_peer *peer, struct instant established_at);
/* Returns the session with this local index, or NULL. */
struct wg_session *wg_session_find(struct wg_peer *peer, uint32_t local_index);
const struct wg_session *wg_session_find_const(const struct wg_peer *peer, uint32_t local_index);
/* Returns the session that sends, or NULL. Its age is not looked at. */
struct wg_session *wg_session_current(struct wg_peer *peer);
const struct wg_session *wg_session_current_const(const struct wg_peer *peer);
/* The PSK that a session of the peer was made with. */
struct wg_psk *wg_session_psk(struct wg_peer *peer, const struct wg_session *session);
/* Gives the session its keys, and wipes `keys`. */
void wg_session_set_keys(struct wg_session *session, struct wg_noise_keys *keys);
/* Lets `session` send unless a newer one does already. Returns whether it sends now. */
bool wg_session_promote(struct wg_peer *peer, const struct wg_session *session);
/* Wipes one session; when it was the current one, none is current any more. */
void wg_session_remove(struct wg_peer *peer, struct wg_session *session);
/* Returns a local index that no session and no handshake of the peer uses. */
uint32_t wg_session_next_index(struct wg_peer *peer);

#endif /* WG_WG_SESSION_H */
