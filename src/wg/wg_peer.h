/* wg_peer: one WireGuard tunnel: sessions, handshakes in flight, timers; either role.
 *
 * Source: spec/wireguard.md sections 5 to 11, design section 8.2 (three sessions) and 8.4 (pending
 * PSK). Differs from the reference where section 11 says so: passive keepalive from the first data
 * packet received, sessions are chosen by age and never overwritten while in use, counters are
 * limited, nothing is queued here.
 *
 * Use: `handle_*` changes state, then call wg_peer_poll_transmit() until it returns 0, and take the
 * next wake-up from wg_peer_poll_timeout(). Data goes in two phases, begin and finish, with the
 * AEAD of a whole batch between them. Memory: embedded, about 1 KiB, nothing allocated; `node` and
 * the replay windows of the sessions are borrowed and must outlive it. Time: `now` never goes
 * backwards between calls on one peer.
 */
#ifndef WG_WG_PEER_H
#define WG_WG_PEER_H

#include <stddef.h>

#include "base/err.h"
#include "wg/wg_node.h"
#include "wg/wg_replay.h"

#define WG_SESSIONS_MAX        3U /* previous, current, next */
#define WG_PASSIVE_KEEPALIVE_S 10U
#define WG_RETRY_S             5U
#define WG_RETRY_JITTER_MS     333U /* inclusive; on every initiation that a timer causes */
#define WG_NO_REPLY_S          15U
#define WG_RENEW_SENT_S        120U
#define WG_RENEW_RECEIVED_S    165U
#define WG_SEND_MAX_S          180U /* age at which a session stops sending */
#define WG_RECEIVE_MAX_S       240U /* age at which receive keys are wiped */
#define WG_BURST_APART_S       1U   /* requests of one moment are not told further apart */
#define WG_BURST_S             5U   /* less than any client needs to give a new tunnel up */
#define WG_EXPIRY_S            540U /* without a new session the tunnel is over */
#define WG_ATTEMPT_S_HEAD      20U
#define WG_ATTEMPT_S_BASE      90U
#define WG_PERSISTENT_S_BASE   25U

enum wg_role {
    WG_ROLE_GATEWAY, /* never initiates before the first session was confirmed */
    WG_ROLE_CLIENT,
};

/* Whose timer rules apply. The gateway uses OURS; the others make simulated clients. */
enum wg_era {
    WG_ERA_OURS,
    WG_ERA_BASE, /* 1.4.2: no jitter, unanswered data counted from the last packet received, a
                    session sends as long as it exists. The owner calls handle_timeout() in steps of
                    1 s (30 s when idle) and ignores poll_timeout(). */
    WG_ERA_HEAD, /* 1.6: passive keepalive from the last data packet, the initiator stops sending at
                    170 s and renews when its session expires */
};

/* One replay window a session. The first is used most: a peer without renewals uses no other. */
struct wg_windows {
    struct wg_window *of[WG_SESSIONS_MAX];
};

struct wg_peer_config {
    struct x25519_public remote;
    struct wg_psk psk;
    uint32_t
        id; /* 24 bits, unique among the node's live peers: receiver indices are id << 8 | slot */
    enum wg_role role;
    enum wg_era era;
    uint16_t persistent_keepalive_s; /* 0: none */
    uint16_t rekey_attempt_s;        /* unanswered initiations for so long end the tunnel */
    struct wg_windows windows;       /* of this peer alone */
};

/* The windows of a peer that keeps them in one array. */
MUST_USE static inline struct wg_windows wg_windows_of(struct wg_window array[WG_SESSIONS_MAX])
{
    return (struct wg_windows){{&array[0], &array[1], &array[2]}};
}

static_assert(WG_SESSIONS_MAX == 3, "wg_windows_of() names each");

/* Two lines of the cache: what a packet that is sent touches, and what one received needs besides.
 */
struct wg_session {
    uint32_t local_index;
    uint32_t remote_index;
    uint64_t send_counter;
    struct instant established_at;
    bool used;
    bool is_initiator;  /* we sent the initiation */
    bool received_any;  /* at least one packet was opened: the other side has the keys */
    bool data_sent;     /* since it was established; drives the renewal at 120 s */
    bool data_received; /* drives the renewal at 165 s */
    struct key32 send_key;

    _Alignas(uint64_t) struct wg_replay replay;
    uint64_t generation; /* order of establishment within the peer */
    struct key32 receive_key;
};

static_assert(offsetof(struct wg_session, replay) == 64 && sizeof(struct wg_session) == 128,
              "two lines of the cache");

/* An initiation of ours that may still be answered. */
struct wg_handshake {
    bool used;
    uint32_t local_index;
    struct x25519_private ephemeral;
    struct wg_noise_state noise;
};

/* What 1.4.2's timers remember: every stamp is the time of the last tick, not of the event. */
struct wg_base_stamps {
    struct instant tick_at;
    struct instant sent_at;
    struct instant received_at;
    struct instant data_sent_at;
    struct instant data_received_at;
    struct instant initiation_made_at; /* true time */
    bool was_initiator;                /* of the newest session */
    bool want_handshake;
    bool want_keepalive;
};

/* Which of the PSKs that wait is tried first. */
enum wg_psk_favourite {
    WG_PSK_BY_ORDER,
    WG_PSK_PENDING,
    WG_PSK_LATEST,
};

/* What every data packet touches comes first: 56 bytes, so that an owner may put 8 more before them
 * into one line of the cache. */
struct wg_peer {
    uint8_t current; /* session that sends; WG_SESSIONS_MAX: none */
    bool expired;
    bool confirmed;  /* some session was confirmed once */
    bool attempting; /* initiations are being repeated */
    bool has_psk_pending;
    bool has_psk_latest;
    bool pending_is_stale; /* the client used its tunnel since the pending PSK was told */
    bool keepalive_due;    /* poll_transmit() sends one */
    bool initiation_due;   /* poll_transmit() sends one */
    uint8_t trials;        /* turns that `trial_id` has had */
    uint8_t slot_last;     /* low byte of the last local index */
    enum wg_era era;
    uint32_t remote_id; /* upper 24 bits of the other side's index, of the last confirmed session */
    uint32_t id;
    struct instant initiation_at; /* when to send the next one; NEVER: none planned */
    struct instant keepalive_at;  /* passive keepalive; NEVER: not needed */
    struct instant no_reply_at;   /* NEVER: nothing unanswered */
    struct instant received_at;   /* last authenticated packet; NEVER: none */
    struct wg_session sessions[WG_SESSIONS_MAX];
    uint64_t generation_last;
    struct instant established_at;               /* of the newest session, or creation */
    struct wg_psk session_psks[WG_SESSIONS_MAX]; /* what each was made with; wiped when confirmed */
    struct wg_base_stamps base;                  /* WG_ERA_BASE only */

    enum wg_role role;
    struct wg_node *node;
    struct wg_windows windows;
    struct x25519_public remote;
    struct wg_mac_keys remote_macs;
    struct key32 static_static; /* DH of both static keys */
    struct wg_psk psk;
    struct wg_psk psk_pending; /* first of a burst of authorizations */
    struct wg_psk psk_latest;  /* last of it, if there are several */
    struct instant pending_at;
    struct instant latest_at;
    struct instant created_at;
    uint8_t favourite; /* enum wg_psk_favourite, for `trial_id` */
    uint32_t trial_id; /* upper 24 bits of the last unconfirmed sender */
    uint16_t persistent_keepalive_s;
    uint16_t rekey_attempt_s;
    uint8_t timestamp_last[WG_TIMESTAMP_SIZE]; /* of the last accepted initiation */

    struct wg_handshake handshakes[2]; /* newest first */
    struct instant attempt_started_at;
    struct instant persistent_at;

    bool has_sent_mac1;
    bool has_cookie;
    uint32_t sent_index; /* sender index of the last handshake message sent */
    uint8_t sent_mac1[WG_MAC_SIZE];
    uint8_t cookie[WG_COOKIE_SIZE];
    struct instant cookie_until;
};

static_assert(offsetof(struct wg_peer, sessions) == 56, "what every packet touches");
static_assert(sizeof(struct wg_peer) <= 1280, "a tunnel stays within its memory budget");

/* Prepares a tunnel; sends nothing. Returns ERR_CRYPTO when the remote key is of low order (the
 * peer is then expired). One X25519. Asserts: config->id fits 24 bits. */
MUST_USE enum err wg_peer_init(struct wg_peer *peer, struct wg_node *node,
                               const struct wg_peer_config *config, struct instant now);
/* Wipes all keys; the peer is expired afterwards. */
void wg_peer_wipe(struct wg_peer *peer);

/* Remembers a PSK that the portal told for a live tunnel. It is tried to answer initiations of a
 * sender whose index has other upper 24 bits than that of the last confirmed session; the first
 * data packet on such a session commits it. A client that starts anew asks for several resources at
 * once, each time with another PSK of a 1.4 portal, and makes its tunnel with the first (1.4) or
 * the last: the first and the last one told within WG_BURST_S since the client last used its tunnel
 * are remembered, and tried in turn with the old one until the sender confirms: the first one
 * first, but to a sender that appears when the last one was told more than WG_BURST_APART_S after
 * it, the last one (a host that was suspended reads old requests and the new one at once). Equal to
 * the PSK in use: forgets them. */
void wg_peer_set_pending_psk(struct wg_peer *peer, const struct wg_psk *psk, struct instant now);

/* Accepts an initiation that wg_node_receive_initiation() accepted, and writes the response to
 * send. `initiation` is wiped. The new session sends only after the first packet received on it.
 * Reasons: DROP_WG_UNKNOWN_KEY (of another peer), DROP_WG_HANDSHAKE, DROP_WG_TIMESTAMP,
 * DROP_WG_EXPIRED (the tunnel is over). */
MUST_USE enum drop_reason wg_peer_handle_initiation(struct wg_peer *peer,
                                                    struct wg_initiation *initiation,
                                                    struct instant now, struct rng *rng,
                                                    uint8_t response[WG_RESPONSE_SIZE]);
/* Accepts the response to one of our two newest initiations; the session sends at once, and a
 * keepalive is due unless data goes first. Reasons: DROP_WG_MALFORMED, DROP_WG_UNEXPECTED,
 * DROP_WG_HANDSHAKE, DROP_WG_EXPIRED. */
MUST_USE enum drop_reason wg_peer_handle_response(struct wg_peer *peer, struct view message,
                                                  struct instant now);
/* Takes the cookie; the next handshake message carries mac2. Nothing is sent because of it.
 * Reasons: DROP_WG_MALFORMED, DROP_WG_UNEXPECTED, DROP_WG_COOKIE, DROP_WG_EXPIRED. */
MUST_USE enum drop_reason wg_peer_handle_cookie_reply(struct wg_peer *peer, struct view message,
                                                      struct instant now);

/* ---- receiving data ---- */

struct wg_open {
    struct aead_item item;   /* for the AEAD batch; valid until the next handle_* of this peer */
    uint32_t receiver_index; /* local index of the session */
    /* after wg_peer_open_finish(): */
    struct span plaintext; /* the IP packet inside the message, without padding; empty: keepalive */
    bool is_keepalive;
    bool is_first; /* first packet of its session: the tunnel is confirmed, flush what waited */
};

/* First phase: finds the session, checks age and counter, fills `open->item`. Changes nothing.
 * Reasons: DROP_WG_MALFORMED, DROP_WG_UNKNOWN_INDEX, DROP_WG_EXPIRED, DROP_WG_COUNTER,
 * DROP_WG_REPLAYED. */
MUST_USE enum drop_reason wg_peer_open_begin(const struct wg_peer *peer, struct span message,
                                             struct instant now, struct wg_open *open);
/* Second phase, in the order of arrival: marks the counter, chooses the sending session, drives the
 * timers. Reasons: DROP_WG_TAG, DROP_WG_COUNTER and DROP_WG_REPLAYED (twice in one batch),
 * DROP_WG_UNKNOWN_INDEX (the session went away since), and, with everything else done,
 * DROP_IP_MALFORMED or DROP_IP_LENGTH for a plaintext that is no IP packet; is_first holds then
 * too.
 */
MUST_USE enum drop_reason wg_peer_open_finish(struct wg_peer *peer, struct wg_open *open,
                                              bool tag_ok, struct instant now);
/* Both phases for one message, with libsodium. */
MUST_USE enum drop_reason wg_peer_open(struct wg_peer *peer, struct span message,
                                       struct instant now, struct wg_open *open);

/* ---- sending data ---- */

/* Counters reserved on the sending session. Use them before the next handle_* of this peer. */
struct wg_seal {
    const uint8_t *key;
    uint64_t counter_next;
    uint64_t counter_end;
    uint32_t remote_index;
};

/* Fetch what opening a packet will touch, or sealing one (base/fetch.h). */
void wg_peer_fetch(const struct wg_peer *peer);
void wg_peer_fetch_later(const struct wg_peer *peer);
/* Leaves the session that sends no more than `left` messages. For tests and fault points. */
void wg_peer_use_up(struct wg_peer *peer, uint64_t left);
/* Reserves `count` counters. DROP_WG_NO_SESSION when there is no session that may send at `now`; a
 * gateway drops or queues then, a client calls wg_peer_initiate(). Asserts: count > 0. */
MUST_USE enum drop_reason wg_peer_seal_begin(struct wg_peer *peer, uint32_t count,
                                             struct instant now, struct wg_seal *seal);
/* Writes the 16-byte header at `message` and fills `item` for the `plaintext_len` bytes behind it,
 * for which the caller has left 16 more bytes of room. Asserts: a counter is left. */
void wg_seal_next(struct wg_seal *seal, uint8_t *message, size_t plaintext_len,
                  struct aead_item *item);
/* Tells the timers what was sent: the sum of all plaintext bytes; 0 means keepalives only. */
void wg_peer_seal_finish(struct wg_peer *peer, struct instant now, size_t data_bytes);
/* All three for one message, with libsodium. `message` is 16 bytes of room, the plaintext, 16 bytes
 * of room. Asserts: message.len >= WG_DATA_OVERHEAD. */
MUST_USE enum drop_reason wg_peer_seal(struct wg_peer *peer, struct span message,
                                       struct instant now);

/* ---- time and handshakes ---- */

/* Asks for a handshake now, unless one is being attempted; poll_transmit() gives the initiation.
 * Ignored on an expired tunnel and on a gateway before the first confirmed session. */
void wg_peer_initiate(struct wg_peer *peer, struct instant now);
/* Runs the timers that are due at `now`. */
void wg_peer_handle_timeout(struct wg_peer *peer, struct instant now, struct rng *rng);
/* Returns when to call handle_timeout() next. Pure. */
MUST_USE struct wake wg_peer_poll_timeout(const struct wg_peer *peer);
/* Returns the earliest timer that data packets may have armed: the owner need not ask for more
 * after each packet, as long as it calls handle_timeout() by then; the others only moved later.
 * Pure. */
MUST_USE struct instant wg_peer_data_timeout(const struct wg_peer *peer);
/* Writes the next message that the tunnel itself wants to send: an initiation or a keepalive.
 * Returns its size, 0 when there is none. Asserts: out.len >= WG_INITIATION_SIZE. */
MUST_USE size_t wg_peer_poll_transmit(struct wg_peer *peer, struct instant now, struct rng *rng,
                                      struct span out);

/* True when the tunnel is over: no session for 540 s, or an unanswered attempt. It stays over. */
MUST_USE bool wg_peer_is_expired(const struct wg_peer *peer);
/* True when data can be sealed at `now`. */
MUST_USE bool wg_peer_has_session(const struct wg_peer *peer, struct instant now);

/* Panics when an invariant does not hold; for tests, simulator and fuzzers. */
void wg_peer_check(const struct wg_peer *peer);

#endif /* WG_WG_PEER_H */
