/* stun_integrity: the values of MESSAGE-INTEGRITY and FINGERPRINT, shared by both directions.
 *
 * Source: RFC 8489 sections 14.5 and 14.7. Both are computed over the message in front of the
 * attribute, with the header's length field as if the attribute were the last one.
 */
#ifndef STUN_STUN_INTEGRITY_H
#define STUN_STUN_INTEGRITY_H

#include "stun/stun_msg.h"

/* HMAC-SHA1 for an attribute that starts at offset `end` of `message`. */
void stun_integrity_tag(struct view message, size_t end, struct view key,
                        uint8_t tag[STUN_INTEGRITY_SIZE]);

/* CRC for an attribute that starts at offset `end` of `message`. */
MUST_USE uint32_t stun_fingerprint_value(struct view message, size_t end);

#endif /* STUN_STUN_INTEGRITY_H */
