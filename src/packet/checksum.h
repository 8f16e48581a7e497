/* checksum: the Internet checksum, whole and incremental.
 *
 * A sum is an unfolded ones' complement sum of big-endian 16-bit words; a checksum is what stands
 * in a header field (folded and complemented, host order). Sums of adjacent pieces add up as long
 * as every piece but the last has an even length.
 * Source: RFC 1071, RFC 1624 equation 3 (HC' = ~(~HC + ~m + m')), RFC 8200 section 8.1.
 */
#ifndef PACKET_CHECKSUM_H
#define PACKET_CHECKSUM_H

#include "base/addr.h"
#include "base/bytes.h"

/* Returns the sum of `bytes`, at most 0xffff: any number of sums can be added in 64 bits. An odd
 * last byte is the high half of a word. */
MUST_USE uint64_t checksum_sum(struct view bytes);
/* The same for a header of TCP or IPv4, whose length is a multiple of 4: shorter code for few
 * bytes. At most 2^32 a word. */
static inline uint64_t checksum_sum_header(const uint8_t *at, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i += 4) {
        sum += load_be32(at + i);
    }
    return sum;
}
/* Returns the sum of the address's bytes. */
MUST_USE uint64_t checksum_sum_address(const struct ip_addr *ip);
/* Returns the sum of the pseudo header, IPv4 (RFC 793) or IPv6 (RFC 8200) by the addresses'
 * family; `len` counts the L4 header and payload. Asserts: both families are equal. */
MUST_USE uint64_t checksum_sum_pseudo(const struct ip_addr *source,
                                      const struct ip_addr *destination, uint8_t protocol,
                                      uint32_t len);
/* Folds a sum to 16 bits, without complement: the form of a partial checksum. */
MUST_USE uint16_t checksum_fold(uint64_t sum);
/* Folds and complements: the value for the header field. */
MUST_USE uint16_t checksum_finish(uint64_t sum);
/* Like checksum_finish(), for UDP: a computed 0 becomes 0xffff (RFC 768). */
MUST_USE uint16_t checksum_finish_udp(uint64_t sum);

/* Copies `from` to `to` (no overlap) and returns the sum of the bytes: one pass. */
MUST_USE uint64_t checksum_copy(uint8_t *to, struct view from);

/* Returns `checksum` after data summing to `removed` was replaced by data summing to `added`. */
MUST_USE uint16_t checksum_adjust(uint16_t checksum, uint64_t removed, uint64_t added);
MUST_USE uint16_t checksum_update16(uint16_t checksum, uint16_t before, uint16_t after);
MUST_USE uint16_t checksum_update32(uint16_t checksum, uint32_t before, uint32_t after);

#endif /* PACKET_CHECKSUM_H */
