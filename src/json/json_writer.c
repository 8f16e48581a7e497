#include "json/json_writer.h"

struct json_writer json_writer_of(struct span out)
{
    return (struct json_writer){.out = writer_of(out)};
}

bool json_writer_finish(const struct json_writer *w, struct view *out)
{
    *out = writer_view(&w->out);
    return writer_finish(&w->out);
}

/* Opens a value: the comma that separates it from the one before. */
static struct writer *begin_value(struct json_writer *w)
{
    if (w->comma) {
        text_put_char(&w->out, ',');
    }
    w->comma = true;
    return &w->out;
}

static void open_level(struct json_writer *w, char bracket)
{
    text_put_char(begin_value(w), bracket);
    w->comma = false;
}

static void close_level(struct json_writer *w, char bracket)
{
    text_put_char(&w->out, bracket);
    w->comma = true;
}

void json_open_object(struct json_writer *w)
{
    open_level(w, '{');
}

void json_close_object(struct json_writer *w)
{
    close_level(w, '}');
}

void json_open_array(struct json_writer *w)
{
    open_level(w, '[');
}

void json_close_array(struct json_writer *w)
{
    close_level(w, ']');
}

void json_put_key(struct json_writer *w, const char *key)
{
    json_put_string(w, key);
    text_put_char(&w->out, ':');
    w->comma = false;
}

void json_put_null(struct json_writer *w)
{
    writer_text(begin_value(w), "null");
}

void json_put_bool(struct json_writer *w, bool value)
{
    writer_text(begin_value(w), value ? "true" : "false");
}

void json_put_u64(struct json_writer *w, uint64_t value)
{
    text_put_u64(begin_value(w), value);
}

void json_put_i64(struct json_writer *w, int64_t value)
{
    begin_value(w);
    if (value < 0) {
        text_put_char(&w->out, '-');
        text_put_u64(&w->out, (uint64_t) - (value + 1) + 1);
    } else {
        text_put_u64(&w->out, (uint64_t)value);
    }
}

/* The letter of a short escape; 0 when there is none. */
static char short_escape(uint8_t c)
{
    switch (c) {
    case '"':
        return '"';
    case '\\':
        return '\\';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static void put_escaped(struct writer *out, uint8_t c)
{
    char letter = short_escape(c);
    if (letter != 0) {
        text_put_char(out, '\\');
        text_put_char(out, letter);
    } else if (c < 0x20) {
        writer_text(out, "\\u00");
        text_put_hex(out, (struct view){&c, 1});
    } else {
        writer_u8(out, c);
    }
}

void json_put_text(struct json_writer *w, struct view text)
{
    begin_value(w);
    if (!text_is_utf8(text)) {
        w->out.failed = true;
    }
    text_put_char(&w->out, '"');
    for (size_t i = 0; i < text.len && !w->out.failed; i++) {
        put_escaped(&w->out, text.at[i]);
    }
    text_put_char(&w->out, '"');
}

void json_put_string(struct json_writer *w, const char *text)
{
    json_put_text(w, view_text(text));
}

/* Quotes around what a put function of base/ writes. */
static struct writer *begin_quoted(struct json_writer *w)
{
    text_put_char(begin_value(w), '"');
    return &w->out;
}

void json_put_uuid(struct json_writer *w, const struct uuid *uuid)
{
    uuid_put(begin_quoted(w), uuid);
    text_put_char(&w->out, '"');
}

void json_put_ip(struct json_writer *w, const struct ip_addr *ip)
{
    ip_put(begin_quoted(w), ip);
    text_put_char(&w->out, '"');
}

void json_put_sockaddr(struct json_writer *w, const struct sock_addr *addr)
{
    sock_addr_put(begin_quoted(w), addr);
    text_put_char(&w->out, '"');
}

void json_put_prefix(struct json_writer *w, const struct ip_prefix *prefix)
{
    ip_prefix_put(begin_quoted(w), prefix);
    text_put_char(&w->out, '"');
}

void json_put_base64(struct json_writer *w, struct view bytes)
{
    text_put_base64(begin_quoted(w), bytes, true);
    text_put_char(&w->out, '"');
}

void json_put_raw(struct json_writer *w, struct view json)
{
    writer_bytes(begin_value(w), json);
}

void json_field_null(struct json_writer *w, const char *key)
{
    json_put_key(w, key);
    json_put_null(w);
}

void json_field_bool(struct json_writer *w, const char *key, bool value)
{
    json_put_key(w, key);
    json_put_bool(w, value);
}

void json_field_u64(struct json_writer *w, const char *key, uint64_t value)
{
    json_put_key(w, key);
    json_put_u64(w, value);
}

void json_field_text(struct json_writer *w, const char *key, struct view text)
{
    json_put_key(w, key);
    json_put_text(w, text);
}

void json_field_string(struct json_writer *w, const char *key, const char *text)
{
    json_put_key(w, key);
    json_put_string(w, text);
}

void json_field_uuid(struct json_writer *w, const char *key, const struct uuid *uuid)
{
    json_put_key(w, key);
    json_put_uuid(w, uuid);
}

void json_field_ip(struct json_writer *w, const char *key, const struct ip_addr *ip)
{
    json_put_key(w, key);
    json_put_ip(w, ip);
}
