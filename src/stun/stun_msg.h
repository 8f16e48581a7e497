/* stun_msg: STUN messages of relays (TURN) and peers (ICE), decoded and encoded.
 *
 * Source: RFC 8489 section 5, 6 and 14 (header, attributes, MESSAGE-INTEGRITY, FINGERPRINT),
 * RFC 8656 section 18 (TURN attributes), RFC 8445 section 16 (ICE attributes),
 * spec/connectivity.md sections 2 and 5.10, spec/relay.md section 2.
 *
 * Decoding is one pass over the attributes without side effects; it authenticates nothing. Whoever
 * relies on a message calls stun_msg_check_integrity() before changing any state.
 * Memory: nothing is allocated; views of a decoded message point into the datagram.
 */
#ifndef STUN_STUN_MSG_H
#define STUN_STUN_MSG_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/drop.h"

#define STUN_COOKIE           UINT32_C(0x2112A442)
#define STUN_HEADER_SIZE      20U
#define STUN_TXN_SIZE         12U
#define STUN_INTEGRITY_SIZE   20U /* bytes of the HMAC-SHA1 value */
#define STUN_FINGERPRINT_SIZE 4U
#define STUN_USERNAME_MAX     512U /* bytes, RFC 8489 section 14.3: "less than 513" */
#define STUN_TEXT_MAX         763U /* bytes of REALM, NONCE, SOFTWARE, reason: 127 characters */

enum stun_method {
    STUN_BINDING = 0x001,
    STUN_ALLOCATE = 0x003,
    STUN_REFRESH = 0x004,
    STUN_SEND = 0x006,
    STUN_DATA = 0x007,
    STUN_CREATE_PERMISSION = 0x008,
    STUN_CHANNEL_BIND = 0x009,
};

enum stun_class {
    STUN_REQUEST = 0,
    STUN_INDICATION = 1,
    STUN_SUCCESS = 2,
    STUN_ERROR = 3,
};

enum stun_attribute {
    STUN_ATTR_USERNAME = 0x0006,
    STUN_ATTR_MESSAGE_INTEGRITY = 0x0008,
    STUN_ATTR_ERROR_CODE = 0x0009,
    STUN_ATTR_UNKNOWN_ATTRIBUTES = 0x000A,
    STUN_ATTR_CHANNEL_NUMBER = 0x000C,
    STUN_ATTR_LIFETIME = 0x000D,
    STUN_ATTR_XOR_PEER_ADDRESS = 0x0012,
    STUN_ATTR_DATA = 0x0013,
    STUN_ATTR_REALM = 0x0014,
    STUN_ATTR_NONCE = 0x0015,
    STUN_ATTR_XOR_RELAYED_ADDRESS = 0x0016,
    STUN_ATTR_REQUESTED_ADDRESS_FAMILY = 0x0017,
    STUN_ATTR_REQUESTED_TRANSPORT = 0x0019,
    STUN_ATTR_XOR_MAPPED_ADDRESS = 0x0020,
    STUN_ATTR_PRIORITY = 0x0024,
    STUN_ATTR_USE_CANDIDATE = 0x0025,
    STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY = 0x8000,
    STUN_ATTR_SOFTWARE = 0x8022,
    STUN_ATTR_FINGERPRINT = 0x8028,
    STUN_ATTR_ICE_CONTROLLED = 0x8029,
    STUN_ATTR_ICE_CONTROLLING = 0x802A,
    /* ADDITIONAL-ADDRESS-FAMILY under the number of the draft, the only one coturn 4.6 knows. */
    STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT = 0x8032,
};

#define STUN_TRANSPORT_UDP 17U

struct stun_txn {
    uint8_t bytes[STUN_TXN_SIZE];
};

/* A decoded message. Of several attributes of one type the first counts; attributes behind
 * MESSAGE-INTEGRITY are ignored except FINGERPRINT; unknown attributes are ignored, whatever their
 * number. Absent: a view with `at` NULL, an address with family IP_NONE, a `has_` that is false, an
 * offset or code of 0. A present but empty view has `at` set. */
struct stun_msg {
    uint16_t method; /* enum stun_method or any other 12-bit number */
    enum stun_class class;
    struct stun_txn txn;

    struct view username; /* UTF-8, at most STUN_USERNAME_MAX bytes */
    struct view realm;    /* UTF-8, at most STUN_TEXT_MAX bytes */
    struct view nonce;    /* UTF-8, at most STUN_TEXT_MAX bytes */
    struct view software; /* any bytes: informational, not checked */

    uint16_t error_code;       /* 300..699 */
    struct view error_reason;  /* any bytes, present with error_code */
    struct view unknown_types; /* UNKNOWN-ATTRIBUTES: big-endian 16-bit numbers */

    struct sock_addr mapped;     /* XOR-MAPPED-ADDRESS */
    struct sock_addr relayed_v4; /* first XOR-RELAYED-ADDRESS of the family */
    struct sock_addr relayed_v6;
    struct sock_addr peer; /* XOR-PEER-ADDRESS */

    bool has_lifetime;
    uint32_t lifetime_s;
    bool has_channel;
    uint16_t channel;                     /* any 16-bit number: the range is the owner's to check */
    uint8_t transport;                    /* REQUESTED-TRANSPORT protocol number; 0 = absent */
    enum ip_family requested_family;      /* IP_NONE = absent */
    enum ip_family additional_family;     /* attribute 0x8000 */
    enum ip_family additional_family_old; /* attribute 0x8032, the draft's number */
    struct view data;                     /* DATA of a Data or Send indication */

    bool has_priority;
    uint32_t priority;
    bool use_candidate;
    bool has_controlled;
    uint64_t controlled; /* tie breaker */
    bool has_controlling;
    uint64_t controlling; /* tie breaker */

    uint32_t integrity_at;   /* offset of the MESSAGE-INTEGRITY attribute in the datagram */
    uint32_t fingerprint_at; /* offset of the FINGERPRINT attribute in the datagram */
};

/* Quick test for demultiplexing: at least 20 bytes, top two bits zero, the cookie, and a length
 * field that is a multiple of four and exactly the rest of the datagram. */
MUST_USE bool stun_is_message(struct view datagram);

/* Decodes only the header: method, class and transaction id; everything else becomes absent.
 * DROP_NONE or DROP_STUN_MALFORMED (see stun_is_message). A server uses it to answer messages whose
 * attributes are broken. */
MUST_USE enum drop_reason stun_msg_decode_header(struct view datagram, struct stun_msg *out);

/* Decodes a whole datagram. `out` points into `datagram` and is valid as long as its bytes are.
 * DROP_NONE, or DROP_STUN_MALFORMED when the header does not fit or a known attribute in front of
 * MESSAGE-INTEGRITY is broken (an attribute beyond the end, a wrong fixed size, an address family
 * other than 1 or 2, an ERROR-CODE outside 300..699, USERNAME, REALM or NONCE too long or not
 * UTF-8); `out` then holds what stun_msg_decode_header() gives if the header is valid. */
MUST_USE enum drop_reason stun_msg_decode(struct view datagram, struct stun_msg *out);

/* True when `msg`, decoded from `datagram`, has a MESSAGE-INTEGRITY made with `key` (the long-term
 * key for relays, the password bytes for ICE). Compares in constant time. */
MUST_USE bool stun_msg_check_integrity(struct view datagram, const struct stun_msg *msg,
                                       struct view key);

/* True when `msg`, decoded from `datagram`, has a FINGERPRINT and it is right. */
MUST_USE bool stun_msg_check_fingerprint(struct view datagram, const struct stun_msg *msg);

MUST_USE bool stun_txn_equal(const struct stun_txn *a, const struct stun_txn *b);

/* Builds one message into the caller's span: stun_start(), attributes in the wished order, then
 * MESSAGE-INTEGRITY and FINGERPRINT if wanted, then stun_finish(). What does not fit makes the
 * whole message fail at stun_finish(), never earlier and never partially. */
struct stun_writer {
    struct writer w;
    struct stun_txn txn;
};

/* Asserts: `method` has 12 bits. */
void stun_start(struct stun_writer *s, struct span out, uint16_t method, enum stun_class class,
                const struct stun_txn *txn);
/* Any attribute by number; pads with zeros. */
void stun_put(struct stun_writer *s, uint16_t type, struct view value);
void stun_put_u32(struct stun_writer *s, uint16_t type, uint32_t value);
void stun_put_u64(struct stun_writer *s, uint16_t type, uint64_t value);
/* An address, XORed with cookie and transaction id. Asserts: the family is IPv4 or IPv6. */
void stun_put_xor_address(struct stun_writer *s, uint16_t type, const struct sock_addr *addr);

void stun_put_username(struct stun_writer *s, struct view username);
void stun_put_realm(struct stun_writer *s, struct view realm);
void stun_put_nonce(struct stun_writer *s, struct view nonce);
void stun_put_software(struct stun_writer *s, struct view software);
void stun_put_lifetime(struct stun_writer *s, uint32_t seconds);
void stun_put_channel_number(struct stun_writer *s, uint16_t number);
void stun_put_requested_transport(struct stun_writer *s, uint8_t protocol);
/* `type` is one of the three address family attributes. Asserts: IPv4 or IPv6. */
void stun_put_family(struct stun_writer *s, uint16_t type, enum ip_family family);
/* ICE user name `<remote ufrag>:<local ufrag>`, from the sender's point of view. */
void stun_put_ice_username(struct stun_writer *s, struct view remote_ufrag,
                           struct view local_ufrag);
void stun_put_priority(struct stun_writer *s, uint32_t priority);
void stun_put_use_candidate(struct stun_writer *s);
void stun_put_controlled(struct stun_writer *s, uint64_t tie_breaker);
void stun_put_controlling(struct stun_writer *s, uint64_t tie_breaker);
/* Asserts: 300 <= code <= 699. */
void stun_put_error(struct stun_writer *s, uint16_t code, struct view reason);

/* Signs everything written so far. */
void stun_put_integrity(struct stun_writer *s, struct view key);
/* Must be last. */
void stun_put_fingerprint(struct stun_writer *s);

/* Returns the message, a part of the span given to stun_start(); empty when it did not fit. */
MUST_USE struct view stun_finish(struct stun_writer *s);

#endif /* STUN_STUN_MSG_H */
