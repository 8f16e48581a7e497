#include "sim/sim_relay_decode.h"

#include <string.h>

#include "base/text.h"

#define USERNAME_MAX     512U /* bytes */
#define TEXT_MAX         128U /* characters of NONCE, REALM and SOFTWARE: fewer than that */
#define CHANNEL_RFC_LAST 0x7FFFU

static size_t characters(struct view text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        count += (text.at[i] & 0xC0U) != 0x80U;
    }
    return count;
}

static enum sim_relay_decoded decode_text(struct view value, size_t characters_max,
                                          struct view *out)
{
    if (!text_is_utf8(value) || characters(value) > characters_max) {
        return SIM_RELAY_BAD_VALUE;
    }
    if (out->at == NULL) {
        *out = value;
    }
    return SIM_RELAY_DECODED;
}

/* RFC 8489 section 14.2: the port and the address are XORed with the cookie and the id. */
static enum sim_relay_decoded decode_peer(struct view value, const struct stun_msg *header,
                                          struct sock_addr *out)
{
    if (value.len < 4) {
        return SIM_RELAY_BAD_LENGTH;
    }
    uint8_t family = value.at[1];
    if (family != 1 && family != 2) {
        return SIM_RELAY_BAD_VALUE;
    }
    size_t size = family == 1 ? 4 : 16;
    if (value.len != 4 + size) {
        return SIM_RELAY_BAD_LENGTH;
    }
    uint8_t mask[16];
    store_be32(mask, STUN_COOKIE);
    memcpy(mask + 4, header->txn.bytes, STUN_TXN_SIZE);
    uint8_t ip[16];
    for (size_t i = 0; i < size; i++) {
        ip[i] = value.at[4 + i] ^ mask[i];
    }
    uint16_t port = (uint16_t)(load_be16(value.at + 2) ^ (STUN_COOKIE >> 16));
    if (out->ip.family == IP_NONE) {
        *out = sock_addr_of(ip_from_bytes(family == 1 ? IP_V4 : IP_V6, ip), port);
    }
    return SIM_RELAY_DECODED;
}

static enum sim_relay_decoded decode_family(struct view value, enum ip_family *out)
{
    if (value.len != 4) {
        return SIM_RELAY_BAD_LENGTH;
    }
    if (value.at[0] != 1 && value.at[0] != 2) {
        return SIM_RELAY_BAD_VALUE;
    }
    if (*out == IP_NONE) {
        *out = value.at[0] == 1 ? IP_V4 : IP_V6;
    }
    return SIM_RELAY_DECODED;
}

static enum sim_relay_decoded decode_word(uint16_t type, struct view value,
                                          struct sim_relay_request *out)
{
    if (value.len != 4) {
        return SIM_RELAY_BAD_LENGTH;
    }
    if (type == STUN_ATTR_REQUESTED_TRANSPORT && !out->has_transport) {
        out->has_transport = true;
        out->transport = value.at[0];
    }
    if (type == STUN_ATTR_LIFETIME && !out->has_lifetime) {
        out->has_lifetime = true;
        out->lifetime_s = load_be32(value.at);
    }
    if (type == STUN_ATTR_CHANNEL_NUMBER && !out->has_channel) {
        out->has_channel = true;
        out->channel = load_be16(value.at);
    }
    return SIM_RELAY_DECODED;
}

static void note_unknown(uint16_t type, struct sim_relay_request *out)
{
    if (type < 0x8000U && out->unknown_count < SIM_RELAY_UNKNOWN_MAX) {
        out->unknown[out->unknown_count++] = type;
    }
}

/* `at` is the offset of the attribute in the datagram. */
static enum sim_relay_decoded decode_attribute(uint16_t type, struct view value, size_t at,
                                               struct sim_relay_request *out)
{
    struct view ignored = VIEW_EMPTY;
    switch (type) {
    case STUN_ATTR_USERNAME:
        if (value.len > USERNAME_MAX) {
            return SIM_RELAY_BAD_VALUE;
        }
        return decode_text(value, USERNAME_MAX, &out->username);
    case STUN_ATTR_REALM:
        return decode_text(value, TEXT_MAX - 1, &out->realm);
    case STUN_ATTR_NONCE:
        return decode_text(value, TEXT_MAX - 1, &out->nonce);
    case STUN_ATTR_SOFTWARE:
        return decode_text(value, TEXT_MAX - 1, &ignored);
    case STUN_ATTR_MESSAGE_INTEGRITY:
        if (value.len != STUN_INTEGRITY_SIZE) {
            return SIM_RELAY_BAD_LENGTH;
        }
        if (out->header.integrity_at == 0) {
            out->header.integrity_at = (uint16_t)at;
        }
        return SIM_RELAY_DECODED;
    case STUN_ATTR_XOR_PEER_ADDRESS:
        return decode_peer(value, &out->header, &out->peer);
    case STUN_ATTR_REQUESTED_ADDRESS_FAMILY:
        return decode_family(value, &out->requested_family);
    case STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY:
        return decode_family(value, &out->additional_family);
    case STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT:
        /* Nobody but coturn knows this number; broken ones are ignored. */
        (void)decode_family(value, &out->additional_family_old);
        return SIM_RELAY_DECODED;
    case STUN_ATTR_REQUESTED_TRANSPORT:
    case STUN_ATTR_LIFETIME:
    case STUN_ATTR_CHANNEL_NUMBER:
        return decode_word(type, value, out);
    case STUN_ATTR_DATA:
        out->data = out->data.at == NULL ? value : out->data;
        return SIM_RELAY_DECODED;
    default:
        note_unknown(type, out);
        return SIM_RELAY_DECODED;
    }
}

enum sim_relay_decoded sim_relay_decode(struct view datagram, struct sim_relay_request *out)
{
    memset(out, 0, sizeof *out);
    struct reader r = reader_of(datagram);
    uint16_t type = reader_be16(&r);
    uint16_t length = reader_be16(&r);
    uint32_t cookie = reader_be32(&r);
    reader_copy(&r, out->header.txn.bytes, STUN_TXN_SIZE);
    if (!reader_ok(&r) || type > 0x3FFFU || cookie != STUN_COOKIE || length != r.rest.len) {
        return SIM_RELAY_GARBAGE;
    }
    /* RFC 8489 section 5: the two class bits stand between the method's bits. */
    out->header.class = (enum stun_class)(((type >> 4) & 1U) | ((type >> 7) & 2U));
    out->header.method =
        (uint16_t)((type & 0x000FU) | ((type >> 1) & 0x0070U) | ((type >> 2) & 0x0F80U));
    enum sim_relay_decoded verdict = SIM_RELAY_DECODED;
    while (reader_ok(&r) && r.rest.len > 0) {
        size_t at = datagram.len - r.rest.len;
        uint16_t attribute = reader_be16(&r);
        uint16_t size = reader_be16(&r);
        struct view value = reader_take(&r, size);
        (void)reader_take(&r, (4U - size % 4U) % 4U);
        if (reader_ok(&r) && verdict == SIM_RELAY_DECODED) {
            verdict = decode_attribute(attribute, value, at, out);
        }
    }
    return reader_ok(&r) ? verdict : SIM_RELAY_GARBAGE;
}
