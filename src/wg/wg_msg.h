/* wg_msg: wire formats of WireGuard's four messages, and telling them from other datagrams.
 *
 * Source: spec/wireguard.md section 1. Sizes of types 1 to 3 are exact; the three reserved bytes
 * are zero. No side effects, nothing is copied but fixed fields; views point into the message.
 */
#ifndef WG_WG_MSG_H
#define WG_WG_MSG_H

#include "base/assert.h"
#include "base/drop.h"
#include "crypto/keys.h"

#define WG_INITIATION_SIZE   148U
#define WG_RESPONSE_SIZE     92U
#define WG_COOKIE_REPLY_SIZE 64U
#define WG_DATA_HEADER_SIZE  16U
#define WG_TAG_SIZE          16U
#define WG_DATA_OVERHEAD     (WG_DATA_HEADER_SIZE + WG_TAG_SIZE)
#define WG_KEEPALIVE_SIZE    WG_DATA_OVERHEAD
#define WG_TIMESTAMP_SIZE    12U
#define WG_MAC_SIZE          16U
#define WG_COOKIE_SIZE       16U
#define WG_NONCE_SIZE        24U /* of a cookie reply */
#define WG_MACS_SIZE         32U /* mac1 and mac2 */
#define WG_SLOT_BITS         8U  /* of a receiver index; the rest is the peer's id */
#define WG_PEER_ID_MAX       UINT32_C(0x00ffffff)

static_assert(WG_MACS_SIZE == 2U * WG_MAC_SIZE, "mac1 and mac2 end a handshake message");

enum wg_type {
    WG_TYPE_NONE = 0, /* not WireGuard */
    WG_TYPE_INITIATION = 1,
    WG_TYPE_RESPONSE = 2,
    WG_TYPE_COOKIE_REPLY = 3,
    WG_TYPE_DATA = 4,
};

/* Encrypted parts as they stand in the message. */
struct wg_msg_initiation {
    uint32_t sender_index;
    struct x25519_public ephemeral;
    uint8_t encrypted_static[KEY_SIZE + WG_TAG_SIZE];
    uint8_t encrypted_timestamp[WG_TIMESTAMP_SIZE + WG_TAG_SIZE];
};

struct wg_msg_response {
    uint32_t sender_index;
    uint32_t receiver_index;
    struct x25519_public ephemeral;
    uint8_t encrypted_nothing[WG_TAG_SIZE];
};

struct wg_msg_cookie_reply {
    uint32_t receiver_index;
    uint8_t nonce[WG_NONCE_SIZE];
    uint8_t encrypted_cookie[WG_COOKIE_SIZE + WG_TAG_SIZE];
};

struct wg_msg_data {
    uint32_t receiver_index;
    uint64_t counter;
    struct span sealed; /* ciphertext and tag, at least WG_TAG_SIZE bytes */
};

/* Tells the type from the first four bytes and the size. Everything that is not exactly one of the
 * four messages is WG_TYPE_NONE: STUN and ChannelData never pass for WireGuard. */
enum wg_type wg_msg_type(struct view datagram);

/* Returns the receiver index of a message of type 2, 3 or 4; its upper 24 bits are the peer's id.
 * Asserts the type. */
uint32_t wg_msg_receiver_index(struct view message);
/* Returns the sender index of a message of type 1 or 2. Asserts the type. */
uint32_t wg_msg_sender_index(struct view message);

/* Each returns false when the message is not exactly of this type and size. */
MUST_USE bool wg_msg_decode_initiation(struct view message, struct wg_msg_initiation *out);
MUST_USE bool wg_msg_decode_response(struct view message, struct wg_msg_response *out);
MUST_USE bool wg_msg_decode_cookie_reply(struct view message, struct wg_msg_cookie_reply *out);
MUST_USE bool wg_msg_decode_data(struct span message, struct wg_msg_data *out);

/* Each writes the whole message; mac1 and mac2 are left zero (wg_cookie_stamp fills them). */
void wg_msg_encode_initiation(const struct wg_msg_initiation *msg, uint8_t out[WG_INITIATION_SIZE]);
void wg_msg_encode_response(const struct wg_msg_response *msg, uint8_t out[WG_RESPONSE_SIZE]);
void wg_msg_encode_cookie_reply(const struct wg_msg_cookie_reply *msg,
                                uint8_t out[WG_COOKIE_REPLY_SIZE]);
void wg_msg_encode_data_header(uint32_t receiver_index, uint64_t counter,
                               uint8_t out[WG_DATA_HEADER_SIZE]);

/* Cuts a decrypted plaintext to its IP packet: padding behind the length that the IP header tells
 * is removed. Returns DROP_IP_MALFORMED for a version other than 4 and 6 or a header that does not
 * fit, DROP_IP_LENGTH when the length fields exceed the plaintext or contradict the header. An
 * empty plaintext is a keepalive and no packet: DROP_IP_MALFORMED. */
MUST_USE enum drop_reason wg_msg_cut_padding(struct span *plaintext);

#endif /* WG_WG_MSG_H */
