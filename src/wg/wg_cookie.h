/* wg_cookie: mac1 and mac2 of handshake messages, cookie replies and the limiter behind them.
 *
 * Source: spec/wireguard.md sections 2.4 and 3; design section 8.2. Differs from the reference: the
 * cookie is bound to address and port, as the WireGuard paper has it; the secret is replaced every
 * 120 s, and cookies of the secret before are still good; the window is advanced on use, no tick.
 */
#ifndef WG_WG_COOKIE_H
#define WG_WG_COOKIE_H

#include "base/addr.h"
#include "base/time.h"
#include "crypto/rng.h"
#include "wg/wg_msg.h"

#define WG_HANDSHAKES_PER_S_DEFAULT 2000U /* before cookies are asked for, design section 8.2 */
#define WG_COOKIE_SECRET_S          120U  /* life of a secret, seconds */
#define WG_COOKIE_HELD_S            120U  /* how long a received cookie is used, seconds */

/* Keys that follow from a recipient's static public key. Public knowledge, not secret. */
struct wg_mac_keys {
    struct key32 mac1;   /* HASH("mac1----" || public key) */
    struct key32 cookie; /* HASH("cookie--" || public key) */
};

void wg_mac_keys_of(struct wg_mac_keys *keys, const struct x25519_public *recipient);

/* Writes mac1, and mac2 when `cookie` is not NULL (else zeros), into the last 32 bytes of
 * `message`. Asserts: message.len > 32. */
void wg_cookie_stamp(struct span message, const struct wg_mac_keys *recipient,
                     const uint8_t *cookie);
/* True when mac1 of a message of type 1 or 2 is right for the owner of `own`. Constant time.
 * Asserts: message.len > 32. */
MUST_USE bool wg_cookie_mac1_ok(struct view message, const struct wg_mac_keys *own);
/* True when mac2 was made with `cookie`. Constant time. Asserts: message.len > 32. */
MUST_USE bool wg_cookie_mac2_ok(struct view message, const uint8_t cookie[WG_COOKIE_SIZE]);

/* The cookie of an address under a secret: MAC(secret, 16 address bytes || port big-endian). */
void wg_cookie_of(const uint8_t secret[KEY_SIZE], const struct sock_addr *from,
                  uint8_t out[WG_COOKIE_SIZE]);

/* Writes the answer to `offending` (type 1 or 2), encrypted for whoever knows our public key and
 * bound to its mac1. */
void wg_cookie_make_reply(const struct wg_mac_keys *own, struct view offending,
                          const uint8_t cookie[WG_COOKIE_SIZE], const uint8_t nonce[WG_NONCE_SIZE],
                          uint8_t out[WG_COOKIE_REPLY_SIZE]);
/* Opens the reply to a message of ours whose mac1 was `mac1`. Returns false when it does not
 * decrypt.
 */
MUST_USE bool wg_cookie_open_reply(const struct wg_mac_keys *remote,
                                   const struct wg_msg_cookie_reply *reply,
                                   const uint8_t mac1[WG_MAC_SIZE], uint8_t cookie[WG_COOKIE_SIZE]);

#define WG_PROVEN_PER_S   20U  /* handshake messages of one proven address under load, as Linux */
#define WG_PROVEN_BUCKETS 256U /* addresses share them, by a hash that changes with the secret */

/* Counts handshake messages that passed mac1; one per node. */
struct wg_limiter {
    uint32_t limit; /* per second */
    uint32_t count; /* in the running window */
    struct instant window_at;
    struct instant secret_at;
    bool has_secret;
    bool has_previous;
    uint8_t secret[KEY_SIZE];
    uint8_t secret_previous[KEY_SIZE];
    uint8_t proven[WG_PROVEN_BUCKETS]; /* in the running window */
};

enum wg_limiter_verdict {
    WG_LIMITER_PASS,   /* below the limit, or mac2 proves the address */
    WG_LIMITER_COOKIE, /* `cookie` is what to send back */
    WG_LIMITER_DROP,   /* mac2 proves the address, but it has had its share of this second */
};

void wg_limiter_init(struct wg_limiter *limiter, uint32_t limit, struct instant now);
/* Counts one message and judges it: the first `limit` of a second pass, later ones need a mac2 made
 * with the cookie of `from`, and of those each address (of IPv6: each /64) has WG_PROVEN_PER_S.
 * Source: the WireGuard paper, section 5.3, which limits addresses behind the cookie, too. Counting
 * goes on under load, so that load is seen at once. */
MUST_USE enum wg_limiter_verdict wg_limiter_judge(struct wg_limiter *limiter, struct view message,
                                                  const struct sock_addr *from, struct instant now,
                                                  struct rng *rng, uint8_t cookie[WG_COOKIE_SIZE]);
void wg_limiter_wipe(struct wg_limiter *limiter);

#endif /* WG_WG_COOKIE_H */
