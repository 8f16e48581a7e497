#include "packet/checksum_wide.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"

/* Words of 16 bits are turned into signed ones by their highest bit (-32 768 each), multiplied by
 * one and added in pairs to 32-bit lanes, in the machine's order. No lane can overflow: all lanes
 * together hold at most 32 768 words of less than 2^15 in magnitude. */
#define BIAS 0x8000

static_assert(CHECKSUM_LEN_MAX / 2 <= INT32_MAX / BIAS, "all words fit into one lane");

/* `lanes`: of `words` words; `tail`: of what was added without bias, in the machine's order. */
static inline uint64_t value_of(int32_t lanes, size_t words, uint64_t tail)
{
    uint64_t sum = (uint64_t)((int64_t)lanes + (int64_t)words * BIAS);
    uint16_t folded = checksum_fold(sum + tail);
    return (uint16_t)(folded << 8U | folded >> 8U);
}

__attribute__((target("avx2"))) static inline int32_t add_up(__m256i lanes)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtsi128_si32(half);
}

/* ---- AVX2 ---- */

__attribute__((target("avx2"))) static inline __m256i load256(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

__attribute__((target("avx2"))) static inline __m256i pairs256(__m256i words)
{
    __m256i biased = _mm256_xor_si256(words, _mm256_set1_epi16(INT16_MIN));
    return _mm256_madd_epi16(biased, _mm256_set1_epi16(1));
}

/* Sums the last 0..31 bytes, padded with zeros: no bias, and at most 5 terms below 2^32. */
static inline uint64_t sum_rest(const uint8_t *at, size_t len)
{
    uint64_t sum = 0;
    uint32_t word = 0;
    for (; len >= 4; at += 4, len -= 4) {
        memcpy(&word, at, sizeof(word));
        sum += word;
    }
    word = 0;
    if ((len & 2U) != 0) {
        word = (uint32_t)at[1] << 8U | at[0];
        at += 2;
    }
    return sum + word + ((len & 1U) != 0 ? *at : 0U);
}

__attribute__((target("avx2"))) static uint64_t avx2_sum(struct view bytes)
{
    __m256i a = _mm256_setzero_si256();
    __m256i b = a;
    size_t i = 0;
    ASSERT(bytes.len <= CHECKSUM_LEN_MAX);
    for (; i + 64 <= bytes.len; i += 64) {
        a = _mm256_add_epi32(a, pairs256(load256(bytes.at + i)));
        b = _mm256_add_epi32(b, pairs256(load256(bytes.at + i + 32)));
    }
    if (i + 32 <= bytes.len) {
        a = _mm256_add_epi32(a, pairs256(load256(bytes.at + i)));
        i += 32;
    }
    uint64_t rest = sum_rest(bytes.at + i, bytes.len - i);
    return value_of(add_up(_mm256_add_epi32(a, b)), i / 2, rest);
}

__attribute__((target("avx2"))) static inline __m256i move256(uint8_t *to, const uint8_t *from)
{
    __m256i words = load256(from);
    _mm256_storeu_si256((__m256i *)(void *)to, words);
    return pairs256(words);
}

__attribute__((target("avx2"))) static uint64_t avx2_copy(uint8_t *to, struct view from)
{
    __m256i a = _mm256_setzero_si256();
    __m256i b = a;
    size_t i = 0;
    ASSERT(from.len <= CHECKSUM_LEN_MAX);
    for (; i + 64 <= from.len; i += 64) {
        a = _mm256_add_epi32(a, move256(to + i, from.at + i));
        b = _mm256_add_epi32(b, move256(to + i + 32, from.at + i + 32));
    }
    if (i + 32 <= from.len) {
        a = _mm256_add_epi32(a, move256(to + i, from.at + i));
        i += 32;
    }
    uint64_t rest = 0;
    if (i < from.len) {
        memcpy(to + i, from.at + i, from.len - i);
        rest = sum_rest(from.at + i, from.len - i);
    }
    return value_of(add_up(_mm256_add_epi32(a, b)), i / 2, rest);
}

const struct checksum_backend *checksum_wide_avx2(void)
{
    static const struct checksum_backend backend = {"AVX2", avx2_sum, avx2_copy};
    return &backend;
}

/* ---- AVX-512 ---- */

#define WITH_AVX512 __attribute__((target("avx512f,avx512bw")))

WITH_AVX512 static inline __m512i pairs512(__m512i words)
{
    __m512i biased = _mm512_xor_si512(words, _mm512_set1_epi16(INT16_MIN));
    return _mm512_madd_epi16(biased, _mm512_set1_epi16(1));
}

WITH_AVX512 static inline int32_t add_up_both(__m512i a, __m512i b)
{
    __m512i lanes = _mm512_add_epi32(a, b);
    return add_up(
        _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1)));
}

/* The first 0..63 of 64 bytes. */
static inline __mmask64 first_bytes(size_t count)
{
    return ((uint64_t)1 << count) - 1;
}

WITH_AVX512 static uint64_t avx512_sum(struct view bytes)
{
    __m512i a = _mm512_setzero_si512();
    __m512i b = a;
    size_t i = 0;
    ASSERT(bytes.len <= CHECKSUM_LEN_MAX);
    for (; i + 128 <= bytes.len; i += 128) {
        a = _mm512_add_epi32(a, pairs512(_mm512_loadu_si512(bytes.at + i)));
        b = _mm512_add_epi32(b, pairs512(_mm512_loadu_si512(bytes.at + i + 64)));
    }
    if (i + 64 <= bytes.len) {
        a = _mm512_add_epi32(a, pairs512(_mm512_loadu_si512(bytes.at + i)));
        i += 64;
    }
    /* What is masked out reads as zeros and is touched by nobody, but has its bias. */
    __m512i rest = _mm512_maskz_loadu_epi8(first_bytes(bytes.len - i), bytes.at + i);
    b = _mm512_add_epi32(b, pairs512(rest));
    return value_of(add_up_both(a, b), (i + 64) / 2, 0);
}

/* Copies the first `count` of 64 bytes. */
WITH_AVX512 static inline __m512i move_first(uint8_t *to, const uint8_t *from, size_t count)
{
    __m512i words = _mm512_maskz_loadu_epi8(first_bytes(count), from);
    _mm512_mask_storeu_epi8(to, first_bytes(count), words);
    return pairs512(words);
}

WITH_AVX512 static inline __m512i move512(uint8_t *to, const uint8_t *from)
{
    __m512i words = _mm512_loadu_si512(from);
    _mm512_storeu_si512(to, words);
    return pairs512(words);
}

WITH_AVX512 static uint64_t avx512_copy(uint8_t *to, struct view from)
{
    ASSERT(from.len <= CHECKSUM_LEN_MAX);
    /* Stores that cross no cache line; an even number, so that words stay words. */
    size_t i = (0 - (uintptr_t)to) & 62U;
    i = i < from.len ? i : from.len & ~(size_t)1;
    __m512i a = move_first(to, from.at, i);
    __m512i b = _mm512_setzero_si512();
    size_t words = 32;
    for (; i + 128 <= from.len; i += 128, words += 64) {
        a = _mm512_add_epi32(a, move512(to + i, from.at + i));
        b = _mm512_add_epi32(b, move512(to + i + 64, from.at + i + 64));
    }
    if (i + 64 <= from.len) {
        a = _mm512_add_epi32(a, move512(to + i, from.at + i));
        i += 64;
        words += 32;
    }
    b = _mm512_add_epi32(b, move_first(to + i, from.at + i, from.len - i));
    return value_of(add_up_both(a, b), words + 32, 0);
}

const struct checksum_backend *checksum_wide_avx512(void)
{
    static const struct checksum_backend backend = {"AVX-512", avx512_sum, avx512_copy};
    return &backend;
}

#else

const struct checksum_backend *checksum_wide_avx2(void)
{
    return NULL;
}

const struct checksum_backend *checksum_wide_avx512(void)
{
    return NULL;
}

#endif
