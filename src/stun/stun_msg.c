/*  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +-+-+---------------------------+-------------------------------+
 * |0 0| method and class, mixed   | length of attributes          |
 * +-+-+---------------------------+-------------------------------+
 * | cookie 0x2112A442                                             |
 * +---------------------------------------------------------------+
 * | transaction id, 12 bytes                                      |
 * +===============================+===============================+
 * | attribute type                | length of the value           |
 * +-------------------------------+-------------------------------+
 * | value, padded to a multiple of four                           |
 * +---------------------------------------------------------------+ */
#include "stun/stun_msg.h"

#include <string.h>

#include "base/assert.h"
#include "base/text.h"

#define ATTRIBUTE_HEADER_SIZE 4U
#define LENGTH_FIELD_AT       2U
#define TXN_AT                8U
#define FAMILY_V4             1U
#define FAMILY_V6             2U

bool stun_is_message(struct view datagram)
{
    if (datagram.len < STUN_HEADER_SIZE || (datagram.at[0] & 0xC0U) != 0) {
        return false;
    }
    size_t length = load_be16(datagram.at + LENGTH_FIELD_AT);
    return load_be32(datagram.at + 4) == STUN_COOKIE && length % 4 == 0 &&
           length == datagram.len - STUN_HEADER_SIZE;
}

bool stun_txn_equal(const struct stun_txn *a, const struct stun_txn *b)
{
    return memcmp(a->bytes, b->bytes, STUN_TXN_SIZE) == 0;
}

/* ---- decoding ---- */

static size_t padded(size_t len)
{
    return (len + 3U) & ~(size_t)3U;
}

enum drop_reason stun_msg_decode_header(struct view datagram, struct stun_msg *out)
{
    *out = (struct stun_msg){0};
    if (!stun_is_message(datagram)) {
        return DROP_STUN_MALFORMED;
    }
    uint16_t type = load_be16(datagram.at);
    out->method = (uint16_t)((type & 0x000FU) | (type & 0x00E0U) >> 1 | (type & 0x3E00U) >> 2);
    out->class = (enum stun_class)((type & 0x0010U) >> 4 | (type & 0x0100U) >> 7);
    memcpy(out->txn.bytes, datagram.at + TXN_AT, STUN_TXN_SIZE);
    return DROP_NONE;
}

/* RFC 8489 s14.2: the port is XORed with the cookie's first half, the address with cookie and
 * transaction id. */
static bool decode_xor_address(struct view value, const struct stun_txn *txn, struct sock_addr *out)
{
    if (value.len < 8) {
        return false;
    }
    size_t size = value.len - 4;
    uint8_t family = value.at[1];
    if (!(family == FAMILY_V4 && size == 4) && !(family == FAMILY_V6 && size == 16)) {
        return false;
    }
    uint8_t mask[16];
    store_be32(mask, STUN_COOKIE);
    memcpy(mask + 4, txn->bytes, STUN_TXN_SIZE);
    for (size_t i = 0; i < size; i++) {
        mask[i] ^= value.at[4 + i];
    }
    uint16_t port = (uint16_t)(load_be16(value.at + 2) ^ (STUN_COOKIE >> 16));
    *out = sock_addr_of(ip_from_bytes(family == FAMILY_V4 ? IP_V4 : IP_V6, mask), port);
    return true;
}

static bool decode_first_address(struct view value, const struct stun_txn *txn,
                                 struct sock_addr *out)
{
    struct sock_addr addr;
    if (!decode_xor_address(value, txn, &addr)) {
        return false;
    }
    if (out->ip.family == IP_NONE) {
        *out = addr;
    }
    return true;
}

static bool decode_relayed(struct view value, struct stun_msg *out)
{
    struct sock_addr addr;
    if (!decode_xor_address(value, &out->txn, &addr)) {
        return false;
    }
    struct sock_addr *slot = addr.ip.family == IP_V4 ? &out->relayed_v4 : &out->relayed_v6;
    if (slot->ip.family == IP_NONE) {
        *slot = addr;
    }
    return true;
}

static bool decode_text(struct view value, size_t len_max, struct view *out)
{
    if (value.len > len_max || !text_is_utf8(value)) {
        return false;
    }
    if (out->at == NULL) {
        *out = value;
    }
    return true;
}

static bool decode_bytes(struct view value, struct view *out)
{
    if (out->at == NULL) {
        *out = value;
    }
    return true;
}

static bool decode_u32(struct view value, bool *has, uint32_t *out)
{
    if (value.len != 4) {
        return false;
    }
    if (!*has) {
        *has = true;
        *out = load_be32(value.at);
    }
    return true;
}

static bool decode_u64(struct view value, bool *has, uint64_t *out)
{
    if (value.len != 8) {
        return false;
    }
    if (!*has) {
        *has = true;
        *out = load_be64(value.at);
    }
    return true;
}

static bool decode_channel(struct view value, struct stun_msg *out)
{
    if (value.len != 4) {
        return false;
    }
    if (!out->has_channel) {
        out->has_channel = true;
        out->channel = load_be16(value.at);
    }
    return true;
}

static bool decode_transport(struct view value, uint8_t *out)
{
    if (value.len != 4) {
        return false;
    }
    if (*out == 0) {
        *out = value.at[0];
    }
    return true;
}

static bool decode_family(struct view value, enum ip_family *out)
{
    if (value.len != 4 || (value.at[0] != FAMILY_V4 && value.at[0] != FAMILY_V6)) {
        return false;
    }
    if (*out == IP_NONE) {
        *out = value.at[0] == FAMILY_V4 ? IP_V4 : IP_V6;
    }
    return true;
}

static bool decode_error(struct view value, struct stun_msg *out)
{
    if (value.len < 4 || value.len > 4 + STUN_TEXT_MAX) {
        return false;
    }
    unsigned hundreds = value.at[2] & 0x07U;
    unsigned number = value.at[3];
    if (hundreds < 3 || hundreds > 6 || number > 99) {
        return false;
    }
    if (out->error_code == 0) {
        out->error_code = (uint16_t)(hundreds * 100 + number);
        out->error_reason = view_sub(value, 4, value.len - 4);
    }
    return true;
}

/* Attributes of TURN. */
static bool decode_turn_attribute(uint16_t type, struct view value, struct stun_msg *out)
{
    switch (type) {
    case STUN_ATTR_CHANNEL_NUMBER:
        return decode_channel(value, out);
    case STUN_ATTR_LIFETIME:
        return decode_u32(value, &out->has_lifetime, &out->lifetime_s);
    case STUN_ATTR_XOR_PEER_ADDRESS:
        return decode_first_address(value, &out->txn, &out->peer);
    case STUN_ATTR_DATA:
        return decode_bytes(value, &out->data);
    case STUN_ATTR_XOR_RELAYED_ADDRESS:
        return decode_relayed(value, out);
    case STUN_ATTR_REQUESTED_ADDRESS_FAMILY:
        return decode_family(value, &out->requested_family);
    case STUN_ATTR_REQUESTED_TRANSPORT:
        return decode_transport(value, &out->transport);
    case STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY:
        return decode_family(value, &out->additional_family);
    case STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT:
        return decode_family(value, &out->additional_family_old);
    default:
        return true;
    }
}

/* Attributes of ICE. */
static bool decode_ice_attribute(uint16_t type, struct view value, struct stun_msg *out)
{
    switch (type) {
    case STUN_ATTR_PRIORITY:
        return decode_u32(value, &out->has_priority, &out->priority);
    case STUN_ATTR_USE_CANDIDATE:
        out->use_candidate = true;
        return value.len == 0;
    case STUN_ATTR_ICE_CONTROLLED:
        return decode_u64(value, &out->has_controlled, &out->controlled);
    case STUN_ATTR_ICE_CONTROLLING:
        return decode_u64(value, &out->has_controlling, &out->controlling);
    default:
        return decode_turn_attribute(type, value, out);
    }
}

static bool decode_attribute(uint16_t type, struct view value, struct stun_msg *out)
{
    switch (type) {
    case STUN_ATTR_USERNAME:
        return decode_text(value, STUN_USERNAME_MAX, &out->username);
    case STUN_ATTR_REALM:
        return decode_text(value, STUN_TEXT_MAX, &out->realm);
    case STUN_ATTR_NONCE:
        return decode_text(value, STUN_TEXT_MAX, &out->nonce);
    case STUN_ATTR_SOFTWARE:
        return decode_bytes(value, &out->software);
    case STUN_ATTR_UNKNOWN_ATTRIBUTES:
        return decode_bytes(value, &out->unknown_types);
    case STUN_ATTR_ERROR_CODE:
        return decode_error(value, out);
    case STUN_ATTR_XOR_MAPPED_ADDRESS:
        return decode_first_address(value, &out->txn, &out->mapped);
    default:
        return decode_ice_attribute(type, value, out);
    }
}

/* One attribute at `offset`. What stands behind MESSAGE-INTEGRITY is not protected by it and does
 * not count, except FINGERPRINT; behind FINGERPRINT nothing counts (RFC 8489 s14.5, s14.7). */
static bool decode_at(size_t offset, uint16_t type, struct view value, struct stun_msg *out)
{
    if (out->fingerprint_at != 0) {
        return true;
    }
    if (type == STUN_ATTR_FINGERPRINT) {
        out->fingerprint_at = (uint32_t)offset;
        return value.len == STUN_FINGERPRINT_SIZE;
    }
    if (out->integrity_at != 0) {
        return true;
    }
    if (type == STUN_ATTR_MESSAGE_INTEGRITY) {
        out->integrity_at = (uint32_t)offset;
        return value.len == STUN_INTEGRITY_SIZE;
    }
    return decode_attribute(type, value, out);
}

static bool decode_attributes(struct view datagram, struct stun_msg *out)
{
    size_t offset = STUN_HEADER_SIZE;
    while (offset < datagram.len) {
        if (datagram.len - offset < ATTRIBUTE_HEADER_SIZE) {
            return false;
        }
        uint16_t type = load_be16(datagram.at + offset);
        size_t len = load_be16(datagram.at + offset + 2);
        if (padded(len) > datagram.len - offset - ATTRIBUTE_HEADER_SIZE) {
            return false;
        }
        struct view value = view_sub(datagram, offset + ATTRIBUTE_HEADER_SIZE, len);
        if (!decode_at(offset, type, value, out)) {
            return false;
        }
        offset += ATTRIBUTE_HEADER_SIZE + padded(len);
    }
    return true;
}

enum drop_reason stun_msg_decode(struct view datagram, struct stun_msg *out)
{
    enum drop_reason reason = stun_msg_decode_header(datagram, out);
    if (reason != DROP_NONE || decode_attributes(datagram, out)) {
        return reason;
    }
    reason = stun_msg_decode_header(datagram, out);
    ASSERT(reason == DROP_NONE);
    return DROP_STUN_MALFORMED;
}
