#include "packet/checksum.h"

#include <string.h>

#include "base/assert.h"

/* Adds with end-around carry. */
static uint64_t add_carry(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word ? 1U : 0U);
}

static uint16_t fold_native(uint64_t sum)
{
    sum = (sum & UINT32_MAX) + (sum >> 32U);
    sum = (sum & UINT32_MAX) + (sum >> 32U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    return (uint16_t)sum;
}

static uint64_t load_native64(const uint8_t *at)
{
    uint64_t word = 0;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* A sum of native words, folded, has the bytes of the result in memory order (RFC 1071 section
 * 2(B)): reading them big-endian gives the value whatever the machine's order. */
static uint64_t native_to_value(uint64_t sum)
{
    uint16_t folded = fold_native(sum);
    uint8_t bytes[2];
    memcpy(bytes, &folded, sizeof(bytes));
    return load_be16(bytes);
}

/* Sums the last 0..7 bytes, padded with zeros. */
static uint64_t add_tail(uint64_t sum, const uint8_t *at, size_t len)
{
    uint64_t word = 0;
    if (len > 0) {
        memcpy(&word, at, len);
    }
    return add_carry(sum, word);
}

uint64_t checksum_sum(struct view bytes)
{
    /* Two lanes: the carries of one do not wait for those of the other. */
    uint64_t even = 0;
    uint64_t odd = 0;
    size_t i = 0;
    for (; i + 16 <= bytes.len; i += 16) {
        even = add_carry(even, load_native64(bytes.at + i));
        odd = add_carry(odd, load_native64(bytes.at + i + 8));
    }
    if (i + 8 <= bytes.len) {
        even = add_carry(even, load_native64(bytes.at + i));
        i += 8;
    }
    odd = add_tail(odd, bytes.at + i, bytes.len - i);
    return native_to_value(add_carry(even, odd));
}

uint64_t checksum_copy(uint8_t *to, struct view from)
{
    uint64_t even = 0;
    uint64_t odd = 0;
    size_t i = 0;
    for (; i + 16 <= from.len; i += 16) {
        uint64_t first = load_native64(from.at + i);
        uint64_t second = load_native64(from.at + i + 8);
        memcpy(to + i, &first, sizeof(first));
        memcpy(to + i + 8, &second, sizeof(second));
        even = add_carry(even, first);
        odd = add_carry(odd, second);
    }
    for (; i + 8 <= from.len; i += 8) {
        uint64_t word = load_native64(from.at + i);
        memcpy(to + i, &word, sizeof(word));
        even = add_carry(even, word);
    }
    if (i < from.len) {
        memcpy(to + i, from.at + i, from.len - i);
        odd = add_tail(odd, from.at + i, from.len - i);
    }
    return native_to_value(add_carry(even, odd));
}

uint64_t checksum_sum_address(const struct ip_addr *ip)
{
    return checksum_sum(ip_view(ip));
}

uint64_t checksum_sum_pseudo(const struct ip_addr *source, const struct ip_addr *destination,
                             uint8_t protocol, uint32_t len)
{
    ASSERT(source->family == destination->family);
    return checksum_sum_address(source) + checksum_sum_address(destination) + protocol +
           (len >> 16U) + (len & 0xffffU);
}

uint16_t checksum_fold(uint64_t sum)
{
    return fold_native(sum);
}

uint16_t checksum_finish(uint64_t sum)
{
    return (uint16_t)~fold_native(sum);
}

uint16_t checksum_finish_udp(uint64_t sum)
{
    uint16_t checksum = checksum_finish(sum);
    return checksum == 0 ? 0xffffU : checksum;
}

/* RFC 1624 equation 3, with sums in the place of single words. */
uint16_t checksum_adjust(uint16_t checksum, uint64_t removed, uint64_t added)
{
    uint64_t sum = (uint16_t)~checksum;
    sum += (uint16_t)~fold_native(removed);
    sum += fold_native(added);
    return checksum_finish(sum);
}

uint16_t checksum_update16(uint16_t checksum, uint16_t before, uint16_t after)
{
    return checksum_adjust(checksum, before, after);
}

uint16_t checksum_update32(uint16_t checksum, uint32_t before, uint32_t after)
{
    return checksum_adjust(checksum, before, after);
}

uint16_t checksum_update_address(uint16_t checksum, const struct ip_addr *before,
                                 const struct ip_addr *after)
{
    return checksum_adjust(checksum, checksum_sum_address(before), checksum_sum_address(after));
}
