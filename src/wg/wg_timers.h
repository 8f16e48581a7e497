/* wg_timers: the clockwork of one tunnel. Others report facts; what follows from them is decided
 * here. Internal to src/wg.
 *
 * Source: spec/wireguard.md sections 8, 11 and 12.
 */
#ifndef WG_WG_TIMERS_H
#define WG_WG_TIMERS_H

#include "wg/wg_peer.h"

/* Returns the instant to stamp sessions with: `now`, or in WG_ERA_BASE the last tick. */
struct instant wg_timers_stamp(const struct wg_peer *peer, struct instant now);

/* Facts. */
void wg_timers_created(struct wg_peer *peer, struct instant now);
void wg_timers_data_sent(struct wg_peer *peer, struct instant now, size_t data_bytes);
void wg_timers_response_sent(struct wg_peer *peer, struct instant now);
void wg_timers_initiation_sent(struct wg_peer *peer, struct instant now, struct rng *rng);
void wg_timers_received(struct wg_peer *peer, struct instant now);
void wg_timers_data_received(struct wg_peer *peer, struct instant now);
void wg_timers_session_made(struct wg_peer *peer, struct instant now, bool is_initiator);
/* The other side proved that it has the keys of a new session: repeating initiations is pointless.
 */
void wg_timers_session_confirmed(struct wg_peer *peer);

/* Ends the tunnel: all sessions and handshakes are wiped. */
void wg_timers_expire(struct wg_peer *peer);

/* True when `session` may send, or open, at `now`. */
MUST_USE bool wg_timers_may_send(const struct wg_peer *peer, const struct wg_session *session,
                                 struct instant now);
MUST_USE bool wg_timers_may_receive(const struct wg_peer *peer, const struct wg_session *session,
                                    struct instant now);

/* One tick of the rules of 1.4.2, called by wg_peer_handle_timeout() in WG_ERA_BASE. */
void wg_timers_base_tick(struct wg_peer *peer, struct instant now);

#endif /* WG_WG_TIMERS_H */
