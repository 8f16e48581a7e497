/* bytes: borrowed byte ranges, bounds-checked reading and writing, endianness.
 *
 * A view is read-only and never null-terminated; a span is its writable twin. Both are borrowed:
 * the function that hands one out says how long it lives. Readers and writers never overrun: once a
 * read or write did not fit they stay failed, and nothing counts until
 * reader_finish()/writer_finish(). Memory: nothing is allocated.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct view {
    const uint8_t *at;
    size_t len; /* bytes */
};

struct span {
    uint8_t *at;
    size_t len; /* bytes */
};

#define VIEW_EMPTY     ((struct view){NULL, 0})
#define SPAN_EMPTY     ((struct span){NULL, 0})
#define VIEW_OF(array) ((struct view){(const uint8_t *)(array), sizeof(array)})

/* Views the characters of a null-terminated string, without the terminator. */
struct view view_text(const char *text);
struct view view_of_span(struct span span);
/* Returns `len` bytes from `offset`. Asserts that they exist. */
struct view view_sub(struct view view, size_t offset, size_t len);
MUST_USE bool view_equal(struct view a, struct view b);
MUST_USE bool view_equal_text(struct view a, const char *text);
/* ASCII case-insensitive comparison. */
MUST_USE bool view_equal_nocase(struct view a, struct view b);
/* Orders bytewise, then by length: negative, 0 or positive. */
MUST_USE int view_compare(struct view a, struct view b);

/* Unaligned loads and stores. The caller guarantees the bytes exist. In the header, because they
 * are single instructions on every path of a packet. */
static inline uint16_t load_be16(const uint8_t *at)
{
    return (uint16_t)((unsigned)at[0] << 8 | at[1]);
}

static inline uint32_t load_be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t load_be64(const uint8_t *at)
{
    return (uint64_t)load_be32(at) << 32 | load_be32(at + 4);
}

static inline uint16_t load_le16(const uint8_t *at)
{
    return (uint16_t)((unsigned)at[1] << 8 | at[0]);
}

static inline uint32_t load_le32(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static inline uint64_t load_le64(const uint8_t *at)
{
    return (uint64_t)load_le32(at + 4) << 32 | load_le32(at);
}

static inline void store_be16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void store_be32(uint8_t *at, uint32_t value)
{
    store_be16(at, (uint16_t)(value >> 16));
    store_be16(at + 2, (uint16_t)value);
}

static inline void store_be64(uint8_t *at, uint64_t value)
{
    store_be32(at, (uint32_t)(value >> 32));
    store_be32(at + 4, (uint32_t)value);
}

static inline void store_le16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void store_le32(uint8_t *at, uint32_t value)
{
    store_le16(at, (uint16_t)value);
    store_le16(at + 2, (uint16_t)(value >> 16));
}

static inline void store_le64(uint8_t *at, uint64_t value)
{
    store_le32(at, (uint32_t)value);
    store_le32(at + 4, (uint32_t)(value >> 32));
}

struct reader {
    struct view rest;
    bool failed;
};

struct reader reader_of(struct view view);
/* Each returns 0 (or an empty view) once the reader has failed. */
uint8_t reader_u8(struct reader *r);
uint16_t reader_be16(struct reader *r);
uint32_t reader_be32(struct reader *r);
uint64_t reader_be64(struct reader *r);
uint16_t reader_le16(struct reader *r);
uint32_t reader_le32(struct reader *r);
uint64_t reader_le64(struct reader *r);
struct view reader_take(struct reader *r, size_t len);
/* Copies `len` bytes; zeroes `out` once failed. */
void reader_copy(struct reader *r, uint8_t *out, size_t len);
/* True when every read succeeded so far, whether or not bytes remain. */
MUST_USE bool reader_ok(const struct reader *r);
/* True when every read succeeded and no byte remains. */
MUST_USE bool reader_finish(const struct reader *r);

struct writer {
    struct span out;
    size_t used;
    bool failed;
};

struct writer writer_of(struct span out);
void writer_u8(struct writer *w, uint8_t value);
void writer_be16(struct writer *w, uint16_t value);
void writer_be32(struct writer *w, uint32_t value);
void writer_be64(struct writer *w, uint64_t value);
void writer_le16(struct writer *w, uint16_t value);
void writer_le32(struct writer *w, uint32_t value);
void writer_le64(struct writer *w, uint64_t value);
void writer_bytes(struct writer *w, struct view bytes);
void writer_text(struct writer *w, const char *text);
void writer_zeros(struct writer *w, size_t len);
/* Gives room for `len` bytes to be filled by the caller; NULL once failed. */
uint8_t *writer_reserve(struct writer *w, size_t len);
/* What has been written so far; empty once failed. */
struct view writer_view(const struct writer *w);
/* True when everything fitted. */
MUST_USE bool writer_finish(const struct writer *w);

#endif /* BASE_BYTES_H */
