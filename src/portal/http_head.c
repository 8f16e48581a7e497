#include "portal/http_head.h"

#include <string.h>

#include "base/assert.h"

static bool ends_with_empty_line(const struct http_head *head)
{
    return head->used >= 4 && memcmp(head->bytes + head->used - 4, "\r\n\r\n", 4) == 0;
}

struct view http_split(struct view text, uint8_t separator, struct view *rest)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == separator) {
            *rest = view_sub(text, i + 1, text.len - i - 1);
            return view_sub(text, 0, i);
        }
    }
    *rest = VIEW_EMPTY;
    return text;
}

struct view http_trim(struct view text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t')) {
        text = view_sub(text, 1, text.len - 1);
    }
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/* Takes the next line off *rest; false at the end. The caller has checked that lines end. */
static bool next_line(struct view *rest, struct view *line)
{
    if (rest->len == 0) {
        return false;
    }
    *line = http_split(*rest, '\n', rest);
    ASSERT(line->len > 0);
    line->len--; /* the CR */
    return line->len > 0;
}

/* Every LF follows a CR, every CR is followed by a LF, no other control character but TAB. */
static bool has_clean_bytes(const struct http_head *head)
{
    for (uint32_t i = 0; i < head->used; i++) {
        uint8_t c = head->bytes[i];
        if (c == '\n' && (i == 0 || head->bytes[i - 1] != '\r')) {
            return false;
        }
        if (c == '\r' && (i + 1 == head->used || head->bytes[i + 1] != '\n')) {
            return false;
        }
        if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_token(struct view text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL) {
            return false;
        }
    }
    return text.len > 0;
}

static bool is_well_formed(const struct http_head *head)
{
    struct view rest = {head->bytes, head->used};
    struct view line;
    uint32_t count = 0;
    if (!has_clean_bytes(head) || !next_line(&rest, &line)) {
        return false;
    }
    while (next_line(&rest, &line)) {
        struct view value;
        struct view name = http_split(line, ':', &value);
        if (name.len == line.len || !is_token(name) || ++count > HTTP_HEADERS_MAX) {
            return false;
        }
    }
    return true;
}

enum http_verdict http_head_feed(struct http_head *head, struct view bytes, size_t *consumed)
{
    *consumed = 0;
    while (!ends_with_empty_line(head)) {
        if (*consumed == bytes.len) {
            return HTTP_MORE;
        }
        if (head->used == HTTP_HEAD_SIZE_MAX) {
            return HTTP_MALFORMED;
        }
        head->bytes[head->used++] = bytes.at[(*consumed)++];
    }
    return is_well_formed(head) ? HTTP_DONE : HTTP_MALFORMED;
}

struct view http_head_start_line(const struct http_head *head)
{
    struct view rest = {head->bytes, head->used};
    struct view line = VIEW_EMPTY;
    (void)next_line(&rest, &line);
    return line;
}

/* Takes the next header called `name` off *rest. */
static bool next_header(struct view *rest, const char *name, struct view *value)
{
    struct view line;
    while (next_line(rest, &line)) {
        struct view behind;
        struct view found = http_split(line, ':', &behind);
        if (view_equal_nocase(found, view_text(name))) {
            *value = http_trim(behind);
            return true;
        }
    }
    return false;
}

static struct view header_lines(const struct http_head *head)
{
    struct view rest = {head->bytes, head->used};
    struct view line;
    (void)next_line(&rest, &line);
    return rest;
}

bool http_header(const struct http_head *head, const char *name, struct view *out)
{
    struct view rest = header_lines(head);
    return next_header(&rest, name, out);
}

bool http_header_has_token(const struct http_head *head, const char *name, const char *token)
{
    struct view rest = header_lines(head);
    struct view list;
    while (next_header(&rest, name, &list)) {
        while (list.len > 0) {
            struct view item = http_trim(http_split(list, ',', &list));
            if (view_equal_nocase(item, view_text(token))) {
                return true;
            }
        }
    }
    return false;
}
