#include "wg/wg_node.h"

#include <string.h>

#include "base/assert.h"

#define TAI64_BASE ((UINT64_C(1) << 62) + 37) /* offset of Unix seconds, spec/wireguard.md 4 */

static const struct wg_verdict accepted = {WG_VERDICT_ACCEPTED, DROP_NONE};

static struct wg_verdict dropped(enum drop_reason reason)
{
    return (struct wg_verdict){WG_VERDICT_DROPPED, reason};
}

void wg_node_init(struct wg_node *node, const struct x25519_private *own_private,
                  const struct clock_pair *start, uint32_t handshakes_per_s)
{
    memset(node, 0, sizeof(*node));
    x25519_pair_of(&node->own, own_private);
    wg_mac_keys_of(&node->own_macs, &node->own.public_key);
    wg_limiter_init(&node->limiter, handshakes_per_s, start->boot);
    node->reference = *start;
}

void wg_node_wipe(struct wg_node *node)
{
    x25519_private_wipe(&node->own.private_key);
    wg_limiter_wipe(&node->limiter);
}

/* mac1, then the limiter: nothing here costs more than a few hashes. */
static struct wg_verdict cheap_checks(struct wg_node *node, const struct wg_arrival *arrival,
                                      struct rng *rng, uint8_t cookie_reply[WG_COOKIE_REPLY_SIZE])
{
    if (!wg_cookie_mac1_ok(arrival->message, &node->own_macs)) {
        return dropped(DROP_WG_MAC1);
    }
    uint8_t cookie[WG_COOKIE_SIZE];
    switch (wg_limiter_judge(&node->limiter, arrival->message, &arrival->from, arrival->now, rng,
                             cookie)) {
    case WG_LIMITER_PASS:
        return accepted;
    case WG_LIMITER_DROP:
        return dropped(DROP_WG_LOAD);
    case WG_LIMITER_COOKIE:
        break;
    }
    uint8_t nonce[WG_NONCE_SIZE];
    rng_bytes(rng, nonce, sizeof(nonce));
    wg_cookie_make_reply(&node->own_macs, arrival->message, cookie, nonce, cookie_reply);
    return (struct wg_verdict){WG_VERDICT_COOKIE_REPLY, DROP_WG_LOAD};
}

struct wg_verdict wg_node_receive_initiation(struct wg_node *node, const struct wg_arrival *arrival,
                                             struct rng *rng, struct wg_initiation *out,
                                             uint8_t cookie_reply[WG_COOKIE_REPLY_SIZE])
{
    struct wg_msg_initiation msg;
    if (!wg_msg_decode_initiation(arrival->message, &msg)) {
        return dropped(DROP_WG_MALFORMED);
    }
    struct wg_verdict verdict = cheap_checks(node, arrival, rng, cookie_reply);
    if (verdict.kind != WG_VERDICT_ACCEPTED) {
        return verdict;
    }
    wg_noise_start(&out->noise, view_text(WG_NOISE_PROLOGUE), &node->own.public_key);
    if (!wg_noise_read_static(&out->noise, &node->own, &msg.ephemeral, msg.encrypted_static,
                              &out->remote)) {
        wg_initiation_wipe(out);
        return dropped(DROP_WG_HANDSHAKE);
    }
    out->ephemeral = msg.ephemeral;
    out->sender_index = msg.sender_index;
    memcpy(out->encrypted_timestamp, msg.encrypted_timestamp, sizeof(out->encrypted_timestamp));
    return accepted;
}

struct wg_verdict wg_node_check_response(struct wg_node *node, const struct wg_arrival *arrival,
                                         struct rng *rng,
                                         uint8_t cookie_reply[WG_COOKIE_REPLY_SIZE])
{
    if (wg_msg_type(arrival->message) != WG_TYPE_RESPONSE) {
        return dropped(DROP_WG_MALFORMED);
    }
    return cheap_checks(node, arrival, rng, cookie_reply);
}

void wg_initiation_wipe(struct wg_initiation *initiation)
{
    secret_wipe(initiation, sizeof(*initiation));
}

void wg_node_timestamp(struct wg_node *node, struct instant now, uint8_t out[WG_TIMESTAMP_SIZE])
{
    uint64_t ns = node->reference.unix_ns + instant_since(now, node->reference.boot).ns;
    if (ns <= node->stamp_ns_last) {
        ns = node->stamp_ns_last + 1;
    }
    node->stamp_ns_last = ns;
    store_be64(out, TAI64_BASE + ns / NS_PER_S);
    store_be32(out + 8, (uint32_t)(ns % NS_PER_S));
}
