#include "wg/wg_cookie.h"

#include <string.h>

#include "base/assert.h"
#include "base/siphash.h"
#include "crypto/blake2s.h"
#include "crypto/xaead.h"

static_assert(BLAKE2S_MAC_SIZE == WG_MAC_SIZE, "MAC() has the size of mac1 and mac2");
static_assert(WG_NONCE_SIZE == XAEAD_NONCE_SIZE, "cookie replies use XChaCha20");

void wg_mac_keys_of(struct wg_mac_keys *keys, const struct x25519_public *recipient)
{
    blake2s_hash(view_text("mac1----"), VIEW_OF(recipient->bytes), keys->mac1.bytes);
    blake2s_hash(view_text("cookie--"), VIEW_OF(recipient->bytes), keys->cookie.bytes);
}

static void mac1_of(struct view message, const struct wg_mac_keys *recipient,
                    uint8_t out[WG_MAC_SIZE])
{
    ASSERT(message.len > WG_MACS_SIZE);
    blake2s_digest(VIEW_OF(recipient->mac1.bytes), view_sub(message, 0, message.len - WG_MACS_SIZE),
                   (struct span){out, WG_MAC_SIZE});
}

static void mac2_of(struct view message, const uint8_t cookie[WG_COOKIE_SIZE],
                    uint8_t out[WG_MAC_SIZE])
{
    ASSERT(message.len > WG_MACS_SIZE);
    blake2s_digest((struct view){cookie, WG_COOKIE_SIZE},
                   view_sub(message, 0, message.len - WG_MAC_SIZE),
                   (struct span){out, WG_MAC_SIZE});
}

void wg_cookie_stamp(struct span message, const struct wg_mac_keys *recipient,
                     const uint8_t *cookie)
{
    ASSERT(message.len > WG_MACS_SIZE);
    uint8_t *macs = message.at + message.len - WG_MACS_SIZE;
    mac1_of(view_of_span(message), recipient, macs);
    if (cookie == NULL) {
        memset(macs + WG_MAC_SIZE, 0, WG_MAC_SIZE);
    } else {
        mac2_of(view_of_span(message), cookie, macs + WG_MAC_SIZE);
    }
}

bool wg_cookie_mac1_ok(struct view message, const struct wg_mac_keys *own)
{
    uint8_t want[WG_MAC_SIZE];
    mac1_of(message, own, want);
    return secret_equal(want, message.at + message.len - WG_MACS_SIZE, WG_MAC_SIZE);
}

bool wg_cookie_mac2_ok(struct view message, const uint8_t cookie[WG_COOKIE_SIZE])
{
    uint8_t want[WG_MAC_SIZE];
    mac2_of(message, cookie, want);
    return secret_equal(want, message.at + message.len - WG_MAC_SIZE, WG_MAC_SIZE);
}

void wg_cookie_of(const uint8_t secret[KEY_SIZE], const struct sock_addr *from,
                  uint8_t out[WG_COOKIE_SIZE])
{
    uint8_t source[sizeof(from->ip.bytes) + 2];
    memcpy(source, from->ip.bytes, sizeof(from->ip.bytes));
    store_be16(source + sizeof(from->ip.bytes), from->port);
    blake2s_digest((struct view){secret, KEY_SIZE}, VIEW_OF(source),
                   (struct span){out, WG_COOKIE_SIZE});
}

void wg_cookie_make_reply(const struct wg_mac_keys *own, struct view offending,
                          const uint8_t cookie[WG_COOKIE_SIZE], const uint8_t nonce[WG_NONCE_SIZE],
                          uint8_t out[WG_COOKIE_REPLY_SIZE])
{
    struct wg_msg_cookie_reply reply = {.receiver_index = wg_msg_sender_index(offending)};
    memcpy(reply.nonce, nonce, sizeof(reply.nonce));
    struct view mac1 = view_sub(offending, offending.len - WG_MACS_SIZE, WG_MAC_SIZE);
    xaead_seal(&own->cookie, nonce, mac1, (struct view){cookie, WG_COOKIE_SIZE},
               reply.encrypted_cookie);
    wg_msg_encode_cookie_reply(&reply, out);
}

bool wg_cookie_open_reply(const struct wg_mac_keys *remote, const struct wg_msg_cookie_reply *reply,
                          const uint8_t mac1[WG_MAC_SIZE], uint8_t cookie[WG_COOKIE_SIZE])
{
    return xaead_open(&remote->cookie, reply->nonce, (struct view){mac1, WG_MAC_SIZE},
                      VIEW_OF(reply->encrypted_cookie), cookie);
}

void wg_limiter_init(struct wg_limiter *limiter, uint32_t limit, struct instant now)
{
    *limiter = (struct wg_limiter){.limit = limit, .window_at = now, .secret_at = now};
}

/* The secret is drawn when it is first needed and replaced when it is too old at a use. After a
 * pause of two lives the one before is too old as well. */
static void refresh_secret(struct wg_limiter *limiter, struct instant now, struct rng *rng)
{
    struct instant replace_at = instant_add(limiter->secret_at, DURATION_S(WG_COOKIE_SECRET_S));
    if (limiter->has_secret && !instant_reached(now, replace_at)) {
        return;
    }
    struct instant stale_at = instant_add(replace_at, DURATION_S(WG_COOKIE_SECRET_S));
    limiter->has_previous = limiter->has_secret && !instant_reached(now, stale_at);
    memcpy(limiter->secret_previous, limiter->secret, sizeof(limiter->secret_previous));
    rng_bytes(rng, limiter->secret, sizeof(limiter->secret));
    limiter->has_secret = true;
    limiter->secret_at = now;
}

static bool address_proven(const struct wg_limiter *limiter, struct view message,
                           const struct sock_addr *from, const uint8_t current[WG_COOKIE_SIZE])
{
    if (wg_cookie_mac2_ok(message, current)) {
        return true;
    }
    if (!limiter->has_previous) {
        return false;
    }
    uint8_t previous[WG_COOKIE_SIZE];
    wg_cookie_of(limiter->secret_previous, from, previous);
    return wg_cookie_mac2_ok(message, previous);
}

/* Counts a message of a proven address; false when it has had its share. */
static bool take_share(struct wg_limiter *limiter, const struct ip_addr *ip)
{
    struct siphash_key key = {load_be64(limiter->secret), load_be64(limiter->secret + 8)};
    struct view network = {ip->bytes, ip->family == IP_V4 ? 4 : 8};
    uint8_t *count = &limiter->proven[siphash13(&key, network) % WG_PROVEN_BUCKETS];
    if (*count == WG_PROVEN_PER_S) {
        return false;
    }
    (*count)++;
    return true;
}

enum wg_limiter_verdict wg_limiter_judge(struct wg_limiter *limiter, struct view message,
                                         const struct sock_addr *from, struct instant now,
                                         struct rng *rng, uint8_t cookie[WG_COOKIE_SIZE])
{
    if (instant_reached(now, instant_add(limiter->window_at, DURATION_S(1)))) {
        limiter->window_at = now;
        limiter->count = 0;
        memset(limiter->proven, 0, sizeof(limiter->proven));
    }
    uint32_t before = limiter->count;
    limiter->count += before < UINT32_MAX ? 1 : 0;
    if (before < limiter->limit) {
        return WG_LIMITER_PASS;
    }
    refresh_secret(limiter, now, rng);
    wg_cookie_of(limiter->secret, from, cookie);
    if (!address_proven(limiter, message, from, cookie)) {
        return WG_LIMITER_COOKIE;
    }
    return take_share(limiter, &from->ip) ? WG_LIMITER_PASS : WG_LIMITER_DROP;
}

void wg_limiter_wipe(struct wg_limiter *limiter)
{
    secret_wipe(limiter->secret, sizeof(limiter->secret));
    secret_wipe(limiter->secret_previous, sizeof(limiter->secret_previous));
    limiter->has_secret = false;
    limiter->has_previous = false;
}
