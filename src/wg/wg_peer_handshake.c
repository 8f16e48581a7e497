/* Handshakes of one tunnel: initiations, responses and cookie replies, in both roles. */
#include <string.h>

#include "base/assert.h"
#include "wg/wg_peer.h"
#include "wg/wg_session.h"
#include "wg/wg_timers.h"

/* Writes the MACs and remembers mac1, by which a cookie reply is recognised. */
static void stamp(struct wg_peer *peer, struct span message, uint32_t sender_index,
                  struct instant now)
{
    bool has_cookie = peer->has_cookie && instant_before(now, peer->cookie_until);
    wg_cookie_stamp(message, &peer->remote_macs, has_cookie ? peer->cookie : NULL);
    peer->has_sent_mac1 = true;
    peer->sent_index = sender_index;
    memcpy(peer->sent_mac1, message.at + message.len - WG_MACS_SIZE, WG_MAC_SIZE);
}

/* The PSK to try first with a sender that appears now: the newest one, if it was told apart from
 * the one before it. */
static enum wg_psk_favourite favourite_of(const struct wg_peer *peer)
{
    struct duration apart = DURATION_S(WG_BURST_APART_S);
    if (peer->has_psk_latest) {
        bool is_apart = instant_reached(peer->latest_at, instant_add(peer->pending_at, apart));
        return is_apart ? WG_PSK_LATEST : WG_PSK_BY_ORDER;
    }
    bool is_apart = instant_reached(peer->pending_at, instant_add(peer->created_at, apart));
    return peer->has_psk_pending && is_apart ? WG_PSK_PENDING : WG_PSK_BY_ORDER;
}

/* The PSKs that an unconfirmed sender may have, in the order of their turns. Before the first
 * session the old one comes first, unless there is a favourite. */
static uint32_t order_of(const struct wg_peer *peer, const struct wg_psk *order[3])
{
    bool is_latest_first = peer->favourite == WG_PSK_LATEST && peer->has_psk_latest;
    bool is_old_first = !peer->confirmed && peer->favourite == WG_PSK_BY_ORDER;
    uint32_t count = 0;
    if (is_old_first) {
        order[count++] = &peer->psk;
    }
    if (is_latest_first) {
        order[count++] = &peer->psk_latest;
    }
    order[count++] = &peer->psk_pending;
    if (peer->has_psk_latest && !is_latest_first) {
        order[count++] = &peer->psk_latest;
    }
    if (!is_old_first) {
        order[count++] = &peer->psk;
    }
    return count;
}

/* Chooses the PSK to answer an initiation with (design section 8.4). A sender that is known uses
 * what its last session used; a new one is answered with the pending PSKs and the old one in turn,
 * because only its first data packet tells which one it has. */
static struct wg_psk choose_psk(struct wg_peer *peer, uint32_t sender_index)
{
    uint32_t sender_id = sender_index >> WG_SLOT_BITS;
    if (peer->confirmed && sender_id == peer->remote_id) {
        return peer->psk;
    }
    if (sender_id != peer->trial_id) {
        peer->trial_id = sender_id;
        peer->trials = 0;
        peer->favourite = (uint8_t)favourite_of(peer);
    }
    if (!peer->has_psk_pending) {
        return peer->psk;
    }
    const struct wg_psk *order[3];
    uint32_t count = order_of(peer, order);
    uint32_t turn = peer->trials % count;
    peer->trials = (uint8_t)((turn + 1U) % count);
    return *order[turn];
}

static bool write_response(struct wg_peer *peer, struct wg_initiation *initiation,
                           struct wg_session *session, struct rng *rng,
                           uint8_t response[WG_RESPONSE_SIZE])
{
    struct x25519_pair ephemeral;
    x25519_generate(&ephemeral, rng);
    struct wg_msg_response msg = {.sender_index = session->local_index,
                                  .receiver_index = session->remote_index,
                                  .ephemeral = ephemeral.public_key};
    struct wg_noise_responder responder = {.initiator = &initiation->remote,
                                           .initiator_ephemeral = &initiation->ephemeral,
                                           .ephemeral = &ephemeral,
                                           .psk = wg_session_psk(peer, session)};
    bool ok =
        wg_noise_write_second(&initiation->noise, &responder, VIEW_EMPTY, msg.encrypted_nothing);
    if (ok) {
        struct wg_noise_keys keys;
        wg_noise_split(&initiation->noise, false, &keys);
        wg_session_set_keys(session, &keys);
        wg_msg_encode_response(&msg, response);
    }
    x25519_private_wipe(&ephemeral.private_key);
    return ok;
}

static enum drop_reason check_initiation(struct wg_peer *peer, struct wg_initiation *initiation)
{
    if (peer->expired) {
        return DROP_WG_EXPIRED;
    }
    if (!x25519_public_equal(&initiation->remote, &peer->remote)) {
        return DROP_WG_UNKNOWN_KEY;
    }
    uint8_t timestamp[WG_TIMESTAMP_SIZE];
    if (!wg_noise_read_payload(&initiation->noise, &peer->static_static,
                               VIEW_OF(initiation->encrypted_timestamp), timestamp)) {
        return DROP_WG_HANDSHAKE;
    }
    /* Big-endian, so that byte order is numerical order. Equal is a replay. */
    if (memcmp(timestamp, peer->timestamp_last, sizeof(timestamp)) <= 0) {
        return DROP_WG_TIMESTAMP;
    }
    memcpy(peer->timestamp_last, timestamp, sizeof(timestamp));
    return DROP_NONE;
}

enum drop_reason wg_peer_handle_initiation(struct wg_peer *peer, struct wg_initiation *initiation,
                                           struct instant now, struct rng *rng,
                                           uint8_t response[WG_RESPONSE_SIZE])
{
    enum drop_reason reason = check_initiation(peer, initiation);
    if (reason == DROP_NONE) {
        uint32_t local_index = wg_session_next_index(peer);
        struct wg_session *session = wg_session_new(peer, wg_timers_stamp(peer, now));
        session->local_index = local_index;
        session->remote_index = initiation->sender_index;
        *wg_session_psk(peer, session) = choose_psk(peer, initiation->sender_index);
        if (write_response(peer, initiation, session, rng, response)) {
            stamp(peer, (struct span){response, WG_RESPONSE_SIZE}, local_index, now);
            wg_timers_received(peer, now);
            wg_timers_session_made(peer, now, false);
            wg_timers_response_sent(peer, now);
        } else {
            wg_session_remove(peer, session);
            reason = DROP_WG_HANDSHAKE;
        }
    }
    wg_initiation_wipe(initiation);
    return reason;
}

static size_t write_initiation(struct wg_peer *peer, struct instant now, struct rng *rng,
                               struct span out)
{
    struct wg_handshake fresh = {.used = true, .local_index = wg_session_next_index(peer)};
    struct x25519_pair ephemeral;
    x25519_generate(&ephemeral, rng);
    fresh.ephemeral = ephemeral.private_key;
    struct wg_msg_initiation msg = {.sender_index = fresh.local_index,
                                    .ephemeral = ephemeral.public_key};
    struct wg_noise_initiator initiator = {.own = &peer->node->own,
                                           .responder = &peer->remote,
                                           .static_static = &peer->static_static,
                                           .ephemeral = &ephemeral};
    uint8_t timestamp[WG_TIMESTAMP_SIZE];
    wg_node_timestamp(peer->node, now, timestamp);
    wg_noise_start(&fresh.noise, view_text(WG_NOISE_PROLOGUE), &peer->remote);
    bool ok = wg_noise_write_first(&fresh.noise, &initiator, VIEW_OF(timestamp),
                                   msg.encrypted_static, msg.encrypted_timestamp);
    ASSERT(ok); /* a remote key of low order was refused by wg_peer_init() */
    wg_msg_encode_initiation(&msg, out.at);
    stamp(peer, (struct span){out.at, WG_INITIATION_SIZE}, fresh.local_index, now);

    peer->handshakes[1] = peer->handshakes[0]; /* the two newest may be answered */
    peer->handshakes[0] = fresh;
    secret_wipe(&fresh, sizeof(fresh));
    x25519_private_wipe(&ephemeral.private_key);
    wg_timers_initiation_sent(peer, now, rng);
    return WG_INITIATION_SIZE;
}

/* Opens the response with a copy of the state: a forged one must not spoil the wait for the real.
 */
static bool read_response(const struct wg_peer *peer, const struct wg_handshake *handshake,
                          const struct wg_msg_response *msg, struct wg_noise_keys *keys)
{
    struct wg_noise_state noise = handshake->noise;
    struct wg_noise_answer answer = {.own = &peer->node->own.private_key,
                                     .ephemeral = &handshake->ephemeral,
                                     .responder_ephemeral = &msg->ephemeral,
                                     .psk = &peer->psk};
    bool ok = wg_noise_read_second(&noise, &answer, VIEW_OF(msg->encrypted_nothing), NULL);
    if (ok) {
        wg_noise_split(&noise, true, keys);
    }
    wg_noise_state_wipe(&noise);
    return ok;
}

static struct wg_handshake *find_handshake(struct wg_peer *peer, uint32_t local_index)
{
    for (size_t i = 0; i < 2; i++) {
        struct wg_handshake *handshake = &peer->handshakes[i];
        if (handshake->used && handshake->local_index == local_index) {
            return handshake;
        }
    }
    return NULL;
}

enum drop_reason wg_peer_handle_response(struct wg_peer *peer, struct view message,
                                         struct instant now)
{
    struct wg_msg_response msg;
    if (!wg_msg_decode_response(message, &msg)) {
        return DROP_WG_MALFORMED;
    }
    if (peer->expired) {
        return DROP_WG_EXPIRED;
    }
    struct wg_handshake *handshake = find_handshake(peer, msg.receiver_index);
    if (handshake == NULL) {
        return DROP_WG_UNEXPECTED;
    }
    struct wg_noise_keys keys;
    if (!read_response(peer, handshake, &msg, &keys)) {
        return DROP_WG_HANDSHAKE;
    }
    secret_wipe(handshake, sizeof(*handshake));

    struct wg_session *session = wg_session_new(peer, wg_timers_stamp(peer, now));
    session->is_initiator = true;
    session->received_any = true; /* the response shows that the other side has the keys */
    session->local_index = msg.receiver_index;
    session->remote_index = msg.sender_index;
    wg_session_set_keys(session, &keys);
    bool sends = wg_session_promote(peer, session);
    ASSERT(sends); /* it is the newest */
    peer->confirmed = true;
    peer->remote_id = session->remote_index >> WG_SLOT_BITS;
    peer->keepalive_due = true; /* shows the responder that we have the keys */

    wg_timers_received(peer, now);
    wg_timers_session_made(peer, now, true);
    wg_timers_session_confirmed(peer);
    return DROP_NONE;
}

enum drop_reason wg_peer_handle_cookie_reply(struct wg_peer *peer, struct view message,
                                             struct instant now)
{
    struct wg_msg_cookie_reply msg;
    if (!wg_msg_decode_cookie_reply(message, &msg)) {
        return DROP_WG_MALFORMED;
    }
    if (peer->expired) {
        return DROP_WG_EXPIRED;
    }
    if (!peer->has_sent_mac1 || msg.receiver_index != peer->sent_index) {
        return DROP_WG_UNEXPECTED;
    }
    uint8_t cookie[WG_COOKIE_SIZE];
    if (!wg_cookie_open_reply(&peer->remote_macs, &msg, peer->sent_mac1, cookie)) {
        return DROP_WG_COOKIE;
    }
    memcpy(peer->cookie, cookie, sizeof(peer->cookie));
    peer->has_cookie = true;
    peer->cookie_until = instant_add(now, DURATION_S(WG_COOKIE_HELD_S));
    return DROP_NONE;
}

static size_t write_keepalive(struct wg_peer *peer, struct instant now, struct span out)
{
    struct span message = {out.at, WG_KEEPALIVE_SIZE};
    return wg_peer_seal(peer, message, now) == DROP_NONE ? WG_KEEPALIVE_SIZE : 0;
}

size_t wg_peer_poll_transmit(struct wg_peer *peer, struct instant now, struct rng *rng,
                             struct span out)
{
    ASSERT(out.len >= WG_INITIATION_SIZE);
    if (peer->initiation_due) {
        peer->initiation_due = false;
        return write_initiation(peer, now, rng, out);
    }
    if (peer->keepalive_due) {
        peer->keepalive_due = false;
        return write_keepalive(peer, now, out);
    }
    return 0;
}
