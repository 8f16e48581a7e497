/* The reader: checks the bytes and copies what it accepts into pieces, of which cJSON makes the
 * tree. */
#include <string.h>

#include "base/assert.h"
#include "json/json_number.h"
#include "json/json_piece.h"

#define WORK_BYTE 2U /* of a byte of a string that is not copied in a run */

static_assert(JSON_KEYS_MAX < UINT8_MAX, "member counts fit their counter");

/* ---- values ---- */

/* An item of what is open begins. */
static void start_item(struct json_reader *r)
{
    if (r->has_item[r->depth - 1]) {
        json_piece_put(r, ",", 1);
    }
    r->has_item[r->depth - 1] = true;
}

static void open_value(struct json_reader *r, bool is_object)
{
    if (r->depth == JSON_DEPTH_MAX) {
        json_refuse(r, DROP_JSON_LIMIT);
        return;
    }
    json_piece_put(r, is_object ? "{" : "[", 1);
    r->is_object[r->depth] = is_object;
    r->has_item[r->depth] = false;
    r->members[r->depth] = 0;
    r->depth++;
    r->want = is_object ? JSON_WANT_KEY_OR_END : JSON_WANT_VALUE_OR_END;
}

static void close_value(struct json_reader *r)
{
    json_piece_put_end(r, --r->depth);
    json_value_done(r);
}

/* ---- strings ---- */

static void start_string(struct json_reader *r, bool is_key)
{
    json_piece_put(r, "\"", 1);
    r->lex = JSON_LEX_STRING;
    r->is_key = is_key;
    r->is_cut = false;
    r->key_len = 0;
    r->string_len = 0;
    r->string_whole = 0;
    r->high = 0;
}

/* Takes bytes of a string as they are spelled. `is_whole`: no character or escape goes on behind
 * them. */
static void put_string(struct json_reader *r, const uint8_t *bytes, uint32_t count, bool is_whole)
{
    uint32_t keep = JSON_STRING_SIZE_MAX - r->string_len;
    keep = count < keep ? count : keep;
    if (r->is_cut) {
        return;
    }
    json_piece_put(r, bytes, keep);
    r->string_len += keep;
    if (is_whole && keep > 0) {
        r->string_whole = r->string_len;
    }
    if (keep < count && r->result == DROP_NONE) {
        r->is_cut = true;
        r->doc->piece.last->front -= r->string_len - r->string_whole;
    }
}

/* Counts the bytes of a key, unescaped. */
static void count_key(struct json_reader *r, uint32_t count)
{
    r->key_len += count;
    if (r->is_key && r->key_len > JSON_KEY_SIZE_MAX) {
        json_refuse(r, DROP_JSON_LIMIT);
    }
}

static void string_done(struct json_reader *r)
{
    json_piece_put(r, "\"", 1);
    r->lex = JSON_LEX_BETWEEN;
    if (!r->is_key) {
        json_value_done(r);
        return;
    }
    r->work += r->members[r->depth - 1]++; /* it is compared with those before */
    r->want = JSON_WANT_COLON;
}

/* The first byte of a character of several bytes; RFC 3629 section 4. */
static void utf8_lead(struct json_reader *r, uint8_t c)
{
    if (c < 0xc2 || c > 0xf4) {
        json_refuse(r, DROP_JSON_SYNTAX);
        return;
    }
    r->utf8_left = c >= 0xf0 ? 3 : (c >= 0xe0 ? 2 : 1);
    r->utf8_least = c == 0xe0 ? 0xa0 : (c == 0xf0 ? 0x90 : 0x80);
    r->utf8_most = c == 0xed ? 0x9f : (c == 0xf4 ? 0x8f : 0xbf);
    count_key(r, 1);
    put_string(r, &c, 1, false);
}

static void string_byte(struct json_reader *r, uint8_t c)
{
    r->work += WORK_BYTE;
    if (r->utf8_left > 0) {
        if (c < r->utf8_least || c > r->utf8_most) {
            json_refuse(r, DROP_JSON_SYNTAX);
            return;
        }
        r->utf8_left--;
        r->utf8_least = 0x80;
        r->utf8_most = 0xbf;
        count_key(r, 1);
        put_string(r, &c, 1, r->utf8_left == 0);
    } else if (c >= 0x80) {
        utf8_lead(r, c);
    } else if (c == '"') {
        string_done(r);
    } else if (c == '\\') {
        r->lex = JSON_LEX_ESCAPE;
        put_string(r, &c, 1, false);
    } else {
        json_refuse(r, DROP_JSON_SYNTAX); /* a control character */
    }
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* True when the eight bytes at `at` are printable ASCII without quote and backslash. */
static bool are_plain(const uint8_t *at)
{
    uint64_t x = load_le64(at);
    uint64_t quote = x ^ EACH('"');
    uint64_t slash = x ^ EACH('\\');
    /* the upper bit of a byte: below 0x20; zero; zero; not ASCII */
    uint64_t special = (x - EACH(0x20)) | (quote - EACH(1)) | (slash - EACH(1)) | x;
    return (special & EACH(0x80)) == 0;
}

/* Takes what needs no look at each byte; at least one byte. */
static void take_run(struct json_reader *r, struct view *text, uint32_t *work)
{
    uint32_t most = text->len < *work ? (uint32_t)text->len : *work;
    uint32_t size = 0;
    most = most < JSON_TEXT_SIZE_MAX - r->size ? most : JSON_TEXT_SIZE_MAX - r->size;
    while (size + 8 <= most && are_plain(text->at + size)) {
        size += 8;
    }
    while (size < most && text->at[size] >= 0x20 && text->at[size] < 0x80 &&
           text->at[size] != '"' && text->at[size] != '\\') {
        size++;
    }
    count_key(r, size);
    put_string(r, text->at, size, true);
    bool stopped = size < most;
    if (stopped && r->result == DROP_NONE) {
        string_byte(r, text->at[size]);
    }
    size += stopped ? 1U : 0U;
    *text = view_sub(*text, size, text->len - size);
    *work -= size;
    r->size += size;
}

/* ---- escapes ---- */

static void unit_done(struct json_reader *r)
{
    uint32_t unit = r->unit;
    r->lex = JSON_LEX_STRING;
    bool is_low = unit >= 0xdc00 && unit <= 0xdfff;
    if (unit == 0 || is_low != (r->high != 0)) {
        json_refuse(r, DROP_JSON_SYNTAX); /* U+0000, or half of a pair alone */
    } else if (is_low) {
        r->high = 0;
        count_key(r, 4);
    } else if (unit >= 0xd800 && unit <= 0xdbff) {
        r->high = unit;
        r->lex = JSON_LEX_LOW_ESCAPE;
    } else {
        count_key(r, unit < 0x80 ? 1 : (unit < 0x800 ? 2 : 3));
    }
}

static void start_hex(struct json_reader *r)
{
    r->lex = JSON_LEX_HEX;
    r->hex_count = 0;
    r->unit = 0;
}

static void take_hex(struct json_reader *r, uint8_t c)
{
    uint8_t lower = (uint8_t)(c | 0x20U);
    if (json_is_digit(c)) {
        r->unit = r->unit << 4 | (uint32_t)(c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
        r->unit = r->unit << 4 | (uint32_t)(lower - 'a' + 10);
    } else {
        json_refuse(r, DROP_JSON_SYNTAX);
        return;
    }
    if (++r->hex_count == 4) {
        unit_done(r);
    }
    put_string(r, &c, 1, r->lex == JSON_LEX_STRING);
}

static void take_escape(struct json_reader *r, uint8_t c)
{
    if (c == 'u') {
        start_hex(r);
    } else if (c == 0 || strchr("\"\\/bfnrt", c) == NULL) {
        json_refuse(r, DROP_JSON_SYNTAX);
    } else {
        r->lex = JSON_LEX_STRING;
        count_key(r, 1);
    }
    put_string(r, &c, 1, r->lex == JSON_LEX_STRING);
}

/* ---- between tokens ---- */

static void start_word(struct json_reader *r, const char *word)
{
    r->lex = JSON_LEX_WORD;
    r->word = word + 1;
    json_piece_put(r, word, (uint32_t)strlen(word));
}

static void take_word(struct json_reader *r, uint8_t c)
{
    if (c != (uint8_t)*r->word) {
        json_refuse(r, DROP_JSON_SYNTAX);
        return;
    }
    r->word++;
    if (*r->word == 0) {
        r->lex = JSON_LEX_BETWEEN;
        json_value_done(r);
    }
}

static void start_value(struct json_reader *r, uint8_t c)
{
    if (++r->nodes > JSON_NODES_MAX) {
        json_refuse(r, DROP_JSON_LIMIT);
        return;
    }
    r->work += JSON_WORK_VALUE;
    if (r->depth > 0 && !r->is_object[r->depth - 1]) {
        start_item(r);
    }
    if (c == '{' || c == '[') {
        open_value(r, c == '{');
    } else if (c == '"') {
        start_string(r, false);
    } else if (c == '-' || json_is_digit(c)) {
        json_number_start(r, c);
    } else if (c == 't') {
        start_word(r, "true");
    } else if (c == 'f') {
        start_word(r, "false");
    } else if (c == 'n') {
        start_word(r, "null");
    } else {
        json_refuse(r, DROP_JSON_SYNTAX);
    }
}

static void start_key(struct json_reader *r, uint8_t c)
{
    if (c != '"') {
        json_refuse(r, DROP_JSON_SYNTAX);
    } else if (r->members[r->depth - 1] == JSON_KEYS_MAX) {
        json_refuse(r, DROP_JSON_LIMIT);
    } else {
        start_item(r);
        start_string(r, true);
    }
}

static void take_comma_or_end(struct json_reader *r, uint8_t c)
{
    bool is_object = r->is_object[r->depth - 1];
    if (c == ',') {
        r->want = is_object ? JSON_WANT_KEY : JSON_WANT_VALUE;
    } else if (c == (is_object ? '}' : ']')) {
        close_value(r);
    } else {
        json_refuse(r, DROP_JSON_SYNTAX);
    }
}

static void take_between(struct json_reader *r, uint8_t c)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        return;
    }
    switch (r->want) {
    case JSON_WANT_VALUE_OR_END:
        if (c == ']') {
            close_value(r);
            return;
        }
        start_value(r, c);
        break;
    case JSON_WANT_VALUE:
        start_value(r, c);
        break;
    case JSON_WANT_KEY_OR_END:
        if (c == '}') {
            close_value(r);
            return;
        }
        start_key(r, c);
        break;
    case JSON_WANT_KEY:
        start_key(r, c);
        break;
    case JSON_WANT_COLON:
        if (c != ':') {
            json_refuse(r, DROP_JSON_SYNTAX);
        }
        json_piece_put(r, ":", 1);
        r->want = JSON_WANT_VALUE;
        break;
    case JSON_WANT_COMMA_OR_END:
        take_comma_or_end(r, c);
        break;
    case JSON_WANT_NOTHING:
        json_refuse(r, DROP_JSON_SYNTAX);
        break;
    }
}

/* ---- the face ---- */

/* False: the byte is still to be taken. */
static bool take_byte(struct json_reader *r, uint8_t c)
{
    switch (r->lex) {
    case JSON_LEX_BETWEEN:
        take_between(r, c);
        return true;
    case JSON_LEX_WORD:
        take_word(r, c);
        return true;
    case JSON_LEX_NUMBER:
        return json_number_take(r, c);
    case JSON_LEX_STRING:
        string_byte(r, c);
        return true;
    case JSON_LEX_ESCAPE:
        take_escape(r, c);
        return true;
    case JSON_LEX_HEX:
        take_hex(r, c);
        return true;
    case JSON_LEX_LOW_ESCAPE:
    case JSON_LEX_LOW_U:
        put_string(r, &c, 1, false);
        if (c != (r->lex == JSON_LEX_LOW_U ? 'u' : '\\')) {
            json_refuse(r, DROP_JSON_SYNTAX);
        } else if (r->lex == JSON_LEX_LOW_U) {
            start_hex(r);
        } else {
            r->lex = JSON_LEX_LOW_U;
        }
        return true;
    }
    UNREACHABLE();
}

void json_read_begin(struct json_reader *r, struct json_doc *doc)
{
    ASSERT(doc->tree == NULL && doc->piece.first == NULL);
    *r = (struct json_reader){.doc = doc,
                              .want = JSON_WANT_VALUE,
                              .lex = JSON_LEX_BETWEEN,
                              .piece_most = JSON_PIECE_WORK};
}

/* A piece may end before and behind each item of what is open. */
static bool is_piece_full(const struct json_reader *r)
{
    return r->piece_work >= r->piece_most && r->result == DROP_NONE && r->lex == JSON_LEX_BETWEEN &&
           (r->want == JSON_WANT_COMMA_OR_END || r->want == JSON_WANT_VALUE_OR_END ||
            r->want == JSON_WANT_KEY_OR_END);
}

void json_read(struct json_reader *r, struct view *text, uint32_t *work)
{
    while (text->len > 0 && *work > 0 && r->result == DROP_NONE) {
        uint32_t before = r->size;
        if (r->size == JSON_TEXT_SIZE_MAX) {
            json_refuse(r, DROP_JSON_LIMIT);
        } else if (r->lex == JSON_LEX_STRING && r->utf8_left == 0) {
            take_run(r, text, work);
        } else if (take_byte(r, text->at[0])) {
            *text = view_sub(*text, 1, text->len - 1);
            *work -= 1;
            r->size++;
        }
        *work -= r->work < *work ? r->work : *work;
        r->piece_work += r->size - before + r->work;
        r->work = 0;
        if (is_piece_full(r)) {
            json_piece_end(r);
            json_piece_begin(r);
        }
    }
    if (r->result != DROP_NONE) {
        *text = view_sub(*text, text->len, 0);
    }
}

enum drop_reason json_read_end(struct json_reader *r)
{
    if (r->result == DROP_NONE && r->lex == JSON_LEX_NUMBER && json_number_may_end(r)) {
        json_number_done(r);
    }
    if (r->lex == JSON_LEX_STRING && r->utf8_left > 0) {
        json_refuse(r, DROP_JSON_SYNTAX);
    }
    if (r->lex != JSON_LEX_BETWEEN || r->want != JSON_WANT_NOTHING) {
        json_refuse(r, DROP_JSON_TRUNCATED);
    }
    if (r->result == DROP_NONE) {
        json_piece_end(r);
    }
    if (r->has_duplicate) {
        json_refuse(r, DROP_JSON_SYNTAX);
    }
    chunk_free_all(&r->doc->piece);
    r->doc->root = r->result == DROP_NONE ? r->doc->tree : NULL;
    return r->result;
}
