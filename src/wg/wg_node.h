/* wg_node: what all tunnels of one gateway (or client) share: static key, limiter, time stamps.
 *
 * Source: spec/wireguard.md sections 3, 4 and 11 (order of checks). Cheap checks come first: size,
 * mac1, limiter; only then one X25519 to learn who is calling. The caller finds the peer by the
 * static key and goes on with wg_peer_handle_initiation().
 * Memory: embedded by the owner; must not move while a wg_peer points to it. Holds the private key.
 */
#ifndef WG_WG_NODE_H
#define WG_WG_NODE_H

#include "wg/wg_cookie.h"
#include "wg/wg_noise.h"

struct wg_node {
    struct x25519_pair own;
    struct wg_mac_keys own_macs;
    struct wg_limiter limiter;
    struct clock_pair reference; /* boot and wall clock at start, read once */
    uint64_t stamp_ns_last;      /* last time stamp handed out, Unix ns */
};

/* One received message and where it came from. For a relayed message `from` is the peer's address,
 * not the relay's. */
struct wg_arrival {
    struct view message;
    struct sock_addr from;
    struct instant now;
};

/* An initiation whose sender is known but not yet checked for freshness. Holds secrets: hand it to
 * wg_peer_handle_initiation() or wipe it. */
struct wg_initiation {
    struct x25519_public remote; /* static key of the sender: find the peer by it */
    struct x25519_public ephemeral;
    uint32_t sender_index;
    uint8_t encrypted_timestamp[WG_TIMESTAMP_SIZE + WG_TAG_SIZE];
    struct wg_noise_state noise;
};

enum wg_verdict_kind {
    WG_VERDICT_ACCEPTED,
    WG_VERDICT_COOKIE_REPLY, /* send the 64 bytes back to where the message came from */
    WG_VERDICT_DROPPED,
};

struct wg_verdict {
    enum wg_verdict_kind kind;
    enum drop_reason reason; /* DROP_NONE when accepted; with a cookie reply DROP_WG_LOAD */
};

/* `own_private` is copied. `start` is the pair of clocks that time stamps are derived from;
 * `handshakes_per_s` the limit before cookies. */
void wg_node_init(struct wg_node *node, const struct x25519_private *own_private,
                  const struct clock_pair *start, uint32_t handshakes_per_s);
void wg_node_wipe(struct wg_node *node);

/* Judges a message of type 1. Reasons: DROP_WG_MALFORMED, DROP_WG_MAC1, DROP_WG_LOAD (with a cookie
 * reply, or without one for an address that has had its share), DROP_WG_HANDSHAKE. `out` is filled
 * only when accepted. One X25519 when past the limiter.
 */
MUST_USE struct wg_verdict wg_node_receive_initiation(struct wg_node *node,
                                                      const struct wg_arrival *arrival,
                                                      struct rng *rng, struct wg_initiation *out,
                                                      uint8_t cookie_reply[WG_COOKIE_REPLY_SIZE]);
/* The same cheap checks for a message of type 2; when accepted, hand it to
 * wg_peer_handle_response().
 */
MUST_USE struct wg_verdict wg_node_check_response(struct wg_node *node,
                                                  const struct wg_arrival *arrival, struct rng *rng,
                                                  uint8_t cookie_reply[WG_COOKIE_REPLY_SIZE]);

void wg_initiation_wipe(struct wg_initiation *initiation);

/* Writes the TAI64N time stamp of `now`: seconds + 2^62 + 37, nanoseconds, both big-endian.
 * Strictly increasing over all calls of a node: a second call at one instant gives the next
 * nanosecond. Asserts: now is not before the start. */
void wg_node_timestamp(struct wg_node *node, struct instant now, uint8_t out[WG_TIMESTAMP_SIZE]);

#endif /* WG_WG_NODE_H */
