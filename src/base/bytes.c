#include "base/bytes.h"

#include <string.h>

#include "base/assert.h"

struct view view_text(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

struct view view_of_span(struct span span)
{
    return (struct view){span.at, span.len};
}

struct view view_sub(struct view view, size_t offset, size_t len)
{
    ASSERT(offset <= view.len);
    ASSERT(len <= view.len - offset);
    return len == 0 ? VIEW_EMPTY : (struct view){view.at + offset, len};
}

bool view_equal(struct view a, struct view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool view_equal_text(struct view a, const char *text)
{
    return view_equal(a, view_text(text));
}

static uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool view_equal_nocase(struct view a, struct view b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.at[i]) != ascii_lower(b.at[i])) {
            return false;
        }
    }
    return true;
}

int view_compare(struct view a, struct view b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.at, b.at, common);
    if (order != 0) {
        return order;
    }
    return a.len == b.len ? 0 : (a.len < b.len ? -1 : 1);
}

struct reader reader_of(struct view view)
{
    return (struct reader){view, false};
}

struct view reader_take(struct reader *r, size_t len)
{
    if (r->failed || len > r->rest.len) {
        r->failed = true;
        return VIEW_EMPTY;
    }
    struct view taken = view_sub(r->rest, 0, len);
    r->rest = view_sub(r->rest, len, r->rest.len - len);
    return taken;
}

uint8_t reader_u8(struct reader *r)
{
    struct view v = reader_take(r, 1);
    return v.len == 1 ? v.at[0] : 0;
}

uint16_t reader_be16(struct reader *r)
{
    struct view v = reader_take(r, 2);
    return v.len == 2 ? load_be16(v.at) : 0;
}

uint32_t reader_be32(struct reader *r)
{
    struct view v = reader_take(r, 4);
    return v.len == 4 ? load_be32(v.at) : 0;
}

uint64_t reader_be64(struct reader *r)
{
    struct view v = reader_take(r, 8);
    return v.len == 8 ? load_be64(v.at) : 0;
}

uint16_t reader_le16(struct reader *r)
{
    struct view v = reader_take(r, 2);
    return v.len == 2 ? load_le16(v.at) : 0;
}

uint32_t reader_le32(struct reader *r)
{
    struct view v = reader_take(r, 4);
    return v.len == 4 ? load_le32(v.at) : 0;
}

uint64_t reader_le64(struct reader *r)
{
    struct view v = reader_take(r, 8);
    return v.len == 8 ? load_le64(v.at) : 0;
}

void reader_copy(struct reader *r, uint8_t *out, size_t len)
{
    struct view v = reader_take(r, len);
    if (len == 0) {
        return;
    }
    if (v.len == len) {
        memcpy(out, v.at, len);
    } else {
        memset(out, 0, len);
    }
}

bool reader_ok(const struct reader *r)
{
    return !r->failed;
}

bool reader_finish(const struct reader *r)
{
    return !r->failed && r->rest.len == 0;
}

struct writer writer_of(struct span out)
{
    return (struct writer){out, 0, false};
}

uint8_t *writer_reserve(struct writer *w, size_t len)
{
    if (w->failed || len > w->out.len - w->used) {
        w->failed = true;
        return NULL;
    }
    uint8_t *at = w->out.at + w->used;
    w->used += len;
    return at;
}

void writer_u8(struct writer *w, uint8_t value)
{
    uint8_t *at = writer_reserve(w, 1);
    if (at != NULL) {
        at[0] = value;
    }
}

void writer_be16(struct writer *w, uint16_t value)
{
    uint8_t *at = writer_reserve(w, 2);
    if (at != NULL) {
        store_be16(at, value);
    }
}

void writer_be32(struct writer *w, uint32_t value)
{
    uint8_t *at = writer_reserve(w, 4);
    if (at != NULL) {
        store_be32(at, value);
    }
}

void writer_be64(struct writer *w, uint64_t value)
{
    uint8_t *at = writer_reserve(w, 8);
    if (at != NULL) {
        store_be64(at, value);
    }
}

void writer_le16(struct writer *w, uint16_t value)
{
    uint8_t *at = writer_reserve(w, 2);
    if (at != NULL) {
        store_le16(at, value);
    }
}

void writer_le32(struct writer *w, uint32_t value)
{
    uint8_t *at = writer_reserve(w, 4);
    if (at != NULL) {
        store_le32(at, value);
    }
}

void writer_le64(struct writer *w, uint64_t value)
{
    uint8_t *at = writer_reserve(w, 8);
    if (at != NULL) {
        store_le64(at, value);
    }
}

void writer_bytes(struct writer *w, struct view bytes)
{
    uint8_t *at = writer_reserve(w, bytes.len);
    if (at != NULL && bytes.len > 0) {
        memcpy(at, bytes.at, bytes.len);
    }
}

void writer_text(struct writer *w, const char *text)
{
    writer_bytes(w, view_text(text));
}

void writer_zeros(struct writer *w, size_t len)
{
    uint8_t *at = writer_reserve(w, len);
    if (at != NULL && len > 0) {
        memset(at, 0, len);
    }
}

struct view writer_view(const struct writer *w)
{
    return w->failed ? VIEW_EMPTY : (struct view){w->out.at, w->used};
}

bool writer_finish(const struct writer *w)
{
    return !w->failed;
}
