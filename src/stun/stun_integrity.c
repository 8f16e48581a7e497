#include "stun/stun_integrity.h"

#include <sodium.h>

#include "base/assert.h"
#include "crypto/crc32.h"
#include "crypto/hmac_sha1.h"

#define ATTRIBUTE_HEADER_SIZE 4U
#define LENGTH_FIELD_AT       2U
#define FINGERPRINT_XOR       UINT32_C(0x5354554E)

static_assert(STUN_INTEGRITY_SIZE == HMAC_SHA1_SIZE, "MESSAGE-INTEGRITY is an HMAC-SHA1");

void stun_integrity_tag(struct view message, size_t end, struct view key,
                        uint8_t tag[STUN_INTEGRITY_SIZE])
{
    uint8_t length[2];
    store_be16(length,
               (uint16_t)(end - STUN_HEADER_SIZE + ATTRIBUTE_HEADER_SIZE + STUN_INTEGRITY_SIZE));
    struct hmac_sha1_key prepared;
    struct hmac_sha1 mac;
    hmac_sha1_key_init(&prepared, key);
    hmac_sha1_start(&mac, &prepared);
    hmac_sha1_update(&mac, view_sub(message, 0, LENGTH_FIELD_AT));
    hmac_sha1_update(&mac, VIEW_OF(length));
    hmac_sha1_update(&mac, view_sub(message, 4, end - 4));
    hmac_sha1_finish(&mac, tag);
    sodium_memzero(&prepared, sizeof(prepared));
}

bool stun_msg_check_integrity(struct view datagram, const struct stun_msg *msg, struct view key)
{
    if (msg->integrity_at == 0) {
        return false;
    }
    size_t at = msg->integrity_at;
    ASSERT(datagram.len >= at + ATTRIBUTE_HEADER_SIZE + STUN_INTEGRITY_SIZE);
    uint8_t tag[HMAC_SHA1_SIZE];
    stun_integrity_tag(datagram, at, key, tag);
    return sodium_memcmp(tag, datagram.at + at + ATTRIBUTE_HEADER_SIZE, sizeof(tag)) == 0;
}

uint32_t stun_fingerprint_value(struct view message, size_t end)
{
    uint8_t length[2];
    store_be16(length,
               (uint16_t)(end - STUN_HEADER_SIZE + ATTRIBUTE_HEADER_SIZE + STUN_FINGERPRINT_SIZE));
    uint32_t crc = crc32(view_sub(message, 0, LENGTH_FIELD_AT));
    crc = crc32_more(crc, VIEW_OF(length));
    crc = crc32_more(crc, view_sub(message, 4, end - 4));
    return crc ^ FINGERPRINT_XOR;
}

bool stun_msg_check_fingerprint(struct view datagram, const struct stun_msg *msg)
{
    if (msg->fingerprint_at == 0) {
        return false;
    }
    size_t at = msg->fingerprint_at;
    ASSERT(datagram.len >= at + ATTRIBUTE_HEADER_SIZE + STUN_FINGERPRINT_SIZE);
    return stun_fingerprint_value(datagram, at) ==
           load_be32(datagram.at + at + ATTRIBUTE_HEADER_SIZE);
}
