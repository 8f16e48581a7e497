#include <string.h>

#include "base/assert.h"
#include "stun/stun_integrity.h"
#include "stun/stun_msg.h"

#define LENGTH_FIELD_AT 2U
#define FAMILY_V4       1U
#define FAMILY_V6       2U

static size_t padded(size_t len)
{
    return (len + 3U) & ~(size_t)3U;
}

void stun_start(struct stun_writer *s, struct span out, uint16_t method, enum stun_class class,
                const struct stun_txn *txn)
{
    ASSERT(method <= 0x0FFFU);
    unsigned kind = (unsigned)class;
    ASSERT(kind <= 3);
    unsigned type = (method & 0x000FU) | (method & 0x0070U) << 1 | (method & 0x0F80U) << 2 |
                    (kind & 1U) << 4 | (kind & 2U) << 7;
    *s = (struct stun_writer){.w = writer_of(out), .txn = *txn};
    writer_be16(&s->w, (uint16_t)type);
    writer_be16(&s->w, 0);
    writer_be32(&s->w, STUN_COOKIE);
    writer_bytes(&s->w, VIEW_OF(txn->bytes));
}

static void put_header(struct stun_writer *s, uint16_t type, size_t len)
{
    if (len > UINT16_MAX) {
        s->w.failed = true;
    }
    writer_be16(&s->w, type);
    writer_be16(&s->w, (uint16_t)len);
}

static void put_padding(struct stun_writer *s, size_t len)
{
    writer_zeros(&s->w, padded(len) - len);
}

void stun_put(struct stun_writer *s, uint16_t type, struct view value)
{
    put_header(s, type, value.len);
    writer_bytes(&s->w, value);
    put_padding(s, value.len);
}

void stun_put_u32(struct stun_writer *s, uint16_t type, uint32_t value)
{
    put_header(s, type, 4);
    writer_be32(&s->w, value);
}

void stun_put_u64(struct stun_writer *s, uint16_t type, uint64_t value)
{
    put_header(s, type, 8);
    writer_be64(&s->w, value);
}

void stun_put_xor_address(struct stun_writer *s, uint16_t type, const struct sock_addr *addr)
{
    size_t size = ip_size(&addr->ip);
    ASSERT(size == 4 || size == 16);
    uint8_t mask[16];
    store_be32(mask, STUN_COOKIE);
    memcpy(mask + 4, s->txn.bytes, STUN_TXN_SIZE);
    put_header(s, type, 4 + size);
    writer_u8(&s->w, 0);
    writer_u8(&s->w, size == 4 ? FAMILY_V4 : FAMILY_V6);
    writer_be16(&s->w, (uint16_t)(addr->port ^ (STUN_COOKIE >> 16)));
    for (size_t i = 0; i < size; i++) {
        writer_u8(&s->w, addr->ip.bytes[i] ^ mask[i]);
    }
}

void stun_put_username(struct stun_writer *s, struct view username)
{
    stun_put(s, STUN_ATTR_USERNAME, username);
}

void stun_put_realm(struct stun_writer *s, struct view realm)
{
    stun_put(s, STUN_ATTR_REALM, realm);
}

void stun_put_nonce(struct stun_writer *s, struct view nonce)
{
    stun_put(s, STUN_ATTR_NONCE, nonce);
}

void stun_put_software(struct stun_writer *s, struct view software)
{
    stun_put(s, STUN_ATTR_SOFTWARE, software);
}

void stun_put_lifetime(struct stun_writer *s, uint32_t seconds)
{
    stun_put_u32(s, STUN_ATTR_LIFETIME, seconds);
}

void stun_put_channel_number(struct stun_writer *s, uint16_t number)
{
    stun_put_u32(s, STUN_ATTR_CHANNEL_NUMBER, (uint32_t)number << 16);
}

void stun_put_requested_transport(struct stun_writer *s, uint8_t protocol)
{
    stun_put_u32(s, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)protocol << 24);
}

void stun_put_family(struct stun_writer *s, uint16_t type, enum ip_family family)
{
    ASSERT(family == IP_V4 || family == IP_V6);
    uint32_t number = family == IP_V4 ? FAMILY_V4 : FAMILY_V6;
    stun_put_u32(s, type, number << 24);
}

void stun_put_ice_username(struct stun_writer *s, struct view remote_ufrag, struct view local_ufrag)
{
    size_t len = remote_ufrag.len + 1 + local_ufrag.len;
    put_header(s, STUN_ATTR_USERNAME, len);
    writer_bytes(&s->w, remote_ufrag);
    writer_u8(&s->w, (uint8_t)':');
    writer_bytes(&s->w, local_ufrag);
    put_padding(s, len);
}

void stun_put_priority(struct stun_writer *s, uint32_t priority)
{
    stun_put_u32(s, STUN_ATTR_PRIORITY, priority);
}

void stun_put_use_candidate(struct stun_writer *s)
{
    stun_put(s, STUN_ATTR_USE_CANDIDATE, VIEW_EMPTY);
}

void stun_put_controlled(struct stun_writer *s, uint64_t tie_breaker)
{
    stun_put_u64(s, STUN_ATTR_ICE_CONTROLLED, tie_breaker);
}

void stun_put_controlling(struct stun_writer *s, uint64_t tie_breaker)
{
    stun_put_u64(s, STUN_ATTR_ICE_CONTROLLING, tie_breaker);
}

void stun_put_error(struct stun_writer *s, uint16_t code, struct view reason)
{
    ASSERT(code >= 300 && code <= 699);
    size_t len = 4 + reason.len;
    put_header(s, STUN_ATTR_ERROR_CODE, len);
    writer_be16(&s->w, 0);
    writer_u8(&s->w, (uint8_t)(code / 100));
    writer_u8(&s->w, (uint8_t)(code % 100));
    writer_bytes(&s->w, reason);
    put_padding(s, len);
}

void stun_put_integrity(struct stun_writer *s, struct view key)
{
    struct view message = writer_view(&s->w);
    uint8_t tag[STUN_INTEGRITY_SIZE] = {0};
    if (message.len >= STUN_HEADER_SIZE) {
        stun_integrity_tag(message, message.len, key, tag);
    }
    stun_put(s, STUN_ATTR_MESSAGE_INTEGRITY, VIEW_OF(tag));
}

void stun_put_fingerprint(struct stun_writer *s)
{
    struct view message = writer_view(&s->w);
    uint32_t value = 0;
    if (message.len >= STUN_HEADER_SIZE) {
        value = stun_fingerprint_value(message, message.len);
    }
    stun_put_u32(s, STUN_ATTR_FINGERPRINT, value);
}

struct view stun_finish(struct stun_writer *s)
{
    if (!writer_finish(&s->w) || s->w.used - STUN_HEADER_SIZE > UINT16_MAX) {
        return VIEW_EMPTY;
    }
    ASSERT(s->w.used >= STUN_HEADER_SIZE && s->w.used % 4 == 0);
    store_be16(s->w.out.at + LENGTH_FIELD_AT, (uint16_t)(s->w.used - STUN_HEADER_SIZE));
    return writer_view(&s->w);
}
