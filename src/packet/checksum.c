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

/* A sum of native words, folded, has the bytes of the result in memory order (RFC 1071 section
 * 2(B)): reading them big-endian gives the value whatever the machine's order. */
static uint64_t native_to_value(uint64_t sum)
{
    uint16_t folded = fold_native(sum);
    uint8_t bytes[2];
    memcpy(bytes, &folded, sizeof(bytes));
    return load_be16(bytes);
}

/* Four sums of 32-bit halves in 64-bit lanes: no carry can be lost, as 2^32 of them fit. The
 * compiler's vectors are SSE2, NEON or plain words. */
typedef uint64_t lanes __attribute__((vector_size(16)));

struct sums {
    lanes low;
    lanes high;
};

static inline lanes load_lanes(const uint8_t *at)
{
    lanes value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline void add_lanes(struct sums *sums, lanes value)
{
    sums->low += value & UINT32_MAX;
    sums->high += value >> 32U;
}

/* Sums the last 0..15 bytes, padded with zeros. */
static inline uint64_t sum_tail(const uint8_t *at, size_t len)
{
    uint64_t sum = 0;
    for (; len >= 4; at += 4, len -= 4) {
        uint32_t word = 0;
        memcpy(&word, at, sizeof(word));
        sum += word;
    }
    uint8_t rest[4] = {0};
    for (size_t i = 0; i < len; i++) {
        rest[i] = at[i];
    }
    uint32_t word = 0;
    memcpy(&word, rest, sizeof(word));
    return sum + word;
}

static inline uint64_t finish_sums(const struct sums *a, const struct sums *b, uint64_t tail)
{
    lanes all = a->low + a->high + b->low + b->high;
    return native_to_value(add_carry(add_carry(all[0], all[1]), tail));
}

uint64_t checksum_sum(struct view bytes)
{
    struct sums a = {{0}, {0}};
    struct sums b = {{0}, {0}};
    size_t i = 0;
    for (; i + 32 <= bytes.len; i += 32) {
        add_lanes(&a, load_lanes(bytes.at + i));
        add_lanes(&b, load_lanes(bytes.at + i + 16));
    }
    if (i + 16 <= bytes.len) {
        add_lanes(&a, load_lanes(bytes.at + i));
        i += 16;
    }
    return finish_sums(&a, &b, sum_tail(bytes.at + i, bytes.len - i));
}

uint64_t checksum_copy(uint8_t *to, struct view from)
{
    struct sums a = {{0}, {0}};
    struct sums b = {{0}, {0}};
    size_t i = 0;
    for (; i + 32 <= from.len; i += 32) {
        lanes first = load_lanes(from.at + i);
        lanes second = load_lanes(from.at + i + 16);
        memcpy(to + i, &first, sizeof(first));
        memcpy(to + i + 16, &second, sizeof(second));
        add_lanes(&a, first);
        add_lanes(&b, second);
    }
    uint64_t tail = 0;
    for (; i + 16 <= from.len; i += 16) {
        lanes value = load_lanes(from.at + i);
        memcpy(to + i, &value, sizeof(value));
        add_lanes(&a, value);
    }
    if (i < from.len) {
        memcpy(to + i, from.at + i, from.len - i);
        tail = sum_tail(from.at + i, from.len - i);
    }
    return finish_sums(&a, &b, tail);
}

uint64_t checksum_sum_address(const struct ip_addr *ip)
{
    struct view bytes = ip_view(ip);
    return checksum_sum_header(bytes.at, bytes.len);
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
