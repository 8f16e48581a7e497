/* The reader: bytes become tokens, tokens become the tree. */
#include <string.h>

#include "base/assert.h"
#include "json/json_value.h"

#define MEMORY_FIRST 4096U /* bytes of the first chunk: a common message */
#define WORK_VALUE   8U    /* of a value, beside its bytes */
#define WORK_BYTE    2U    /* of a byte of a string that is not copied in a run */

static_assert(JSON_STRING_SIZE_MAX <= CHUNK_SIZE_MAX, "a string fits into a chunk");
static_assert(JSON_KEY_SIZE_MAX <= UINT16_MAX, "so do the lengths of keys");

static void fail(struct json_reader *r, enum drop_reason reason)
{
    if (r->result == DROP_NONE) {
        r->result = reason;
    }
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* ---- memory: strings from the front of the last chunk, values from its end ---- */

/* Returns a chunk with `size` free bytes; NULL: no memory, the text is refused. */
static struct chunk *room_for(struct json_reader *r, uint32_t size)
{
    struct chunk *last = r->doc->memory.last;
    uint32_t next = MEMORY_FIRST;
    if (last != NULL) {
        if (last->back - last->front >= size) {
            return last;
        }
        next = last->size < CHUNK_SIZE_MAX / 2 ? 2 * last->size : CHUNK_SIZE_MAX;
    }
    next = next < size ? size : next;
    struct chunk *chunk = chunk_add(&r->doc->memory, next);
    if (chunk == NULL) {
        fail(r, DROP_JSON_LIMIT);
    }
    return chunk;
}

static struct json_value *new_value(struct json_reader *r)
{
    const uint32_t size = sizeof(struct json_value);
    struct chunk *chunk = room_for(r, size + _Alignof(struct json_value));
    if (chunk == NULL) {
        return NULL;
    }
    chunk->back = (chunk->back - size) & ~(uint32_t)(_Alignof(struct json_value) - 1U);
    return (struct json_value *)(void *)(chunk->bytes + chunk->back);
}

/* ---- the tree ---- */

static void value_done(struct json_reader *r)
{
    r->want = r->depth == 0 ? JSON_WANT_NOTHING : JSON_WANT_COMMA_OR_END;
}

/* Hangs a new value into the tree. NULL: the text is refused. */
static struct json_value *add_value(struct json_reader *r, enum json_kind kind)
{
    struct json_value *value = new_value(r);
    if (value == NULL) {
        return NULL;
    }
    *value =
        (struct json_value){.kind = (uint8_t)kind, .key = r->key, .key_len = (uint16_t)r->key_len};
    r->key = NULL;
    r->key_len = 0;
    r->work += WORK_VALUE;
    if (r->depth == 0) {
        r->doc->root = value;
        return value;
    }
    struct json_value *around = r->open[r->depth - 1];
    if (around->len == 0) {
        around->u.first = value;
    } else {
        r->last[r->depth - 1]->next = value;
    }
    r->last[r->depth - 1] = value;
    around->len++;
    return value;
}

static void open_value(struct json_reader *r, bool is_object)
{
    if (r->depth == JSON_DEPTH_MAX) {
        fail(r, DROP_JSON_LIMIT);
        return;
    }
    struct json_value *value = add_value(r, is_object ? JSON_OBJECT : JSON_ARRAY);
    r->open[r->depth++] = value;
    r->want = is_object ? JSON_WANT_KEY_OR_END : JSON_WANT_VALUE_OR_END;
}

static void close_value(struct json_reader *r)
{
    r->depth--;
    value_done(r);
}

static void look_for_duplicates(struct json_reader *r)
{
    const struct json_value *around = r->open[r->depth - 1];
    r->work += around->len;
    for (const struct json_value *item = around->u.first; item != NULL; item = item->next) {
        if (item->key_len == r->key_len && memcmp(item->key, r->key, r->key_len) == 0) {
            r->has_duplicate = true;
        }
    }
}

/* ---- strings ---- */

static void start_string(struct json_reader *r, bool is_key)
{
    r->lex = JSON_LEX_STRING;
    r->is_key = is_key;
    r->is_cut = false;
    r->string_len = 0;
    r->high = 0;
}

/* A string that is cut ends with a whole character. */
static void cut_string(struct json_reader *r)
{
    r->is_cut = true;
    while (r->string_len > 0 && (r->string[r->string_len - 1] & 0xc0U) == 0x80) {
        r->string_len--;
    }
    if (r->string_len > 0 && r->string[r->string_len - 1] >= 0xc0) {
        r->string_len--;
    }
}

static void append(struct json_reader *r, const uint8_t *bytes, uint32_t count)
{
    if (r->is_key && r->string_len + count > JSON_KEY_SIZE_MAX) {
        fail(r, DROP_JSON_LIMIT);
        return;
    }
    uint32_t keep = JSON_STRING_SIZE_MAX - r->string_len;
    keep = count < keep ? count : keep;
    if (r->is_cut || count == 0) {
        return;
    }
    struct chunk *chunk = room_for(r, r->string_len + keep);
    if (chunk == NULL) {
        return;
    }
    uint8_t *string = chunk->bytes + chunk->front;
    if (r->string_len > 0 && string != r->string) {
        memcpy(string, r->string, r->string_len);
    }
    r->string = string;
    memcpy(string + r->string_len, bytes, keep);
    r->string_len += keep;
    if (keep < count) {
        cut_string(r);
    }
}

static void string_done(struct json_reader *r)
{
    static const uint8_t empty[1] = {0};
    const uint8_t *string = empty;
    r->lex = JSON_LEX_BETWEEN;
    if (r->string_len > 0) {
        string = r->string;
        r->doc->memory.last->front += r->string_len;
    }
    if (r->is_key) {
        r->key = string;
        r->key_len = r->string_len;
        look_for_duplicates(r);
        r->want = JSON_WANT_COLON;
        return;
    }
    struct json_value *value = add_value(r, JSON_STRING);
    if (value != NULL) {
        value->u.string = string;
        value->len = r->string_len;
        value_done(r);
    }
}

/* The first byte of a character of several bytes; RFC 3629 section 4. */
static void utf8_lead(struct json_reader *r, uint8_t c)
{
    if (c < 0xc2 || c > 0xf4) {
        fail(r, DROP_JSON_SYNTAX);
        return;
    }
    r->utf8_left = c >= 0xf0 ? 3 : (c >= 0xe0 ? 2 : 1);
    r->utf8_least = c == 0xe0 ? 0xa0 : (c == 0xf0 ? 0x90 : 0x80);
    r->utf8_most = c == 0xed ? 0x9f : (c == 0xf4 ? 0x8f : 0xbf);
    append(r, &c, 1);
}

static void string_byte(struct json_reader *r, uint8_t c)
{
    r->work += WORK_BYTE;
    if (r->utf8_left > 0) {
        if (c < r->utf8_least || c > r->utf8_most) {
            fail(r, DROP_JSON_SYNTAX);
            return;
        }
        r->utf8_left--;
        r->utf8_least = 0x80;
        r->utf8_most = 0xbf;
        append(r, &c, 1);
    } else if (c >= 0x80) {
        utf8_lead(r, c);
    } else if (c == '"') {
        string_done(r);
    } else if (c == '\\') {
        r->lex = JSON_LEX_ESCAPE;
    } else {
        fail(r, DROP_JSON_SYNTAX); /* a control character */
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
    append(r, text->at, size);
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

static void put_unit(struct json_reader *r, uint32_t code)
{
    uint8_t bytes[4];
    uint32_t count = code < 0x80 ? 1 : (code < 0x800 ? 2 : (code < 0x10000 ? 3 : 4));
    for (uint32_t i = count - 1; i > 0; i--) {
        bytes[i] = (uint8_t)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    static const uint8_t leads[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    bytes[0] = (uint8_t)(leads[count] | code);
    append(r, bytes, count);
}

static void unit_done(struct json_reader *r)
{
    uint32_t unit = r->unit;
    r->lex = JSON_LEX_STRING;
    bool is_low = unit >= 0xdc00 && unit <= 0xdfff;
    if (unit == 0 || is_low != (r->high != 0)) {
        fail(r, DROP_JSON_SYNTAX); /* U+0000, or half of a pair alone */
    } else if (is_low) {
        put_unit(r, 0x10000 + ((r->high - 0xd800) << 10) + (unit - 0xdc00));
        r->high = 0;
    } else if (unit >= 0xd800 && unit <= 0xdbff) {
        r->high = unit;
        r->lex = JSON_LEX_LOW_ESCAPE;
    } else {
        put_unit(r, unit);
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
    if (is_digit(c)) {
        r->unit = r->unit << 4 | (uint32_t)(c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
        r->unit = r->unit << 4 | (uint32_t)(lower - 'a' + 10);
    } else {
        fail(r, DROP_JSON_SYNTAX);
        return;
    }
    if (++r->hex_count == 4) {
        unit_done(r);
    }
}

static void take_escape(struct json_reader *r, uint8_t c)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char *found = c == 0 ? NULL : strchr(from, c);
    if (c == 'u') {
        start_hex(r);
    } else if (found == NULL) {
        fail(r, DROP_JSON_SYNTAX);
    } else {
        r->lex = JSON_LEX_STRING;
        append(r, (const uint8_t *)&to[found - from], 1);
    }
}

/* ---- numbers: RFC 8259 section 6, [ minus ] int [ frac ] [ exp ], no leading zeros ---- */

static void start_number(struct json_reader *r, uint8_t c)
{
    r->lex = JSON_LEX_NUMBER;
    r->is_negative = c == '-';
    r->is_beyond = false;
    r->number_len = 1;
    r->amount = c == '-' ? 0 : (uint64_t)(c - '0');
    r->number = c == '-' ? JSON_NUMBER_MINUS : c == '0' ? JSON_NUMBER_ZERO : JSON_NUMBER_INTEGER;
}

static void number_done(struct json_reader *r)
{
    bool integer = r->number == JSON_NUMBER_ZERO || r->number == JSON_NUMBER_INTEGER;
    enum json_kind kind = !integer || r->is_beyond           ? JSON_NO_INTEGER
                          : r->is_negative && r->amount != 0 ? JSON_NEGATIVE
                                                             : JSON_NOT_NEGATIVE;
    r->lex = JSON_LEX_BETWEEN;
    if (r->number_len > JSON_NUMBER_SIZE_MAX) {
        fail(r, DROP_JSON_LIMIT);
        return;
    }
    struct json_value *value = add_value(r, kind);
    if (value != NULL) {
        value->u.amount = r->amount;
        value_done(r);
    }
}

static void take_digit(struct json_reader *r, uint8_t c)
{
    uint64_t digit = (uint64_t)(c - '0');
    r->is_beyond = r->is_beyond || r->amount > (UINT64_MAX - digit) / 10;
    r->amount = r->amount * 10 + digit;
}

/* Where the number stands behind `c`; false: `c` does not belong to it. */
static bool number_next(struct json_reader *r, uint8_t c)
{
    bool is_e = c == 'e' || c == 'E';
    switch (r->number) {
    case JSON_NUMBER_MINUS:
        r->number = c == '0' ? JSON_NUMBER_ZERO : JSON_NUMBER_INTEGER;
        return is_digit(c);
    case JSON_NUMBER_ZERO:
    case JSON_NUMBER_INTEGER:
        if (is_digit(c)) {
            return r->number == JSON_NUMBER_INTEGER;
        }
        r->number = c == '.' ? JSON_NUMBER_POINT : (is_e ? JSON_NUMBER_E : r->number);
        return c == '.' || is_e;
    case JSON_NUMBER_POINT:
        r->number = JSON_NUMBER_FRACTION;
        return is_digit(c);
    case JSON_NUMBER_FRACTION:
        r->number = is_e ? JSON_NUMBER_E : r->number;
        return is_e || is_digit(c);
    case JSON_NUMBER_E:
        r->number = is_digit(c) ? JSON_NUMBER_EXPONENT : JSON_NUMBER_SIGN;
        return is_digit(c) || c == '+' || c == '-';
    case JSON_NUMBER_SIGN:
        r->number = JSON_NUMBER_EXPONENT;
        return is_digit(c);
    case JSON_NUMBER_EXPONENT:
        return is_digit(c);
    }
    UNREACHABLE();
}

static bool number_may_end(enum json_number_state state)
{
    return state == JSON_NUMBER_ZERO || state == JSON_NUMBER_INTEGER ||
           state == JSON_NUMBER_FRACTION || state == JSON_NUMBER_EXPONENT;
}

/* False: the number is over, `c` still to be taken. */
static bool take_number(struct json_reader *r, uint8_t c)
{
    enum json_number_state before = r->number;
    if (number_next(r, c)) {
        r->number_len++;
        if (r->number == JSON_NUMBER_INTEGER) {
            take_digit(r, c);
        }
        return true;
    }
    r->number = before;
    if (!number_may_end(before) || (before == JSON_NUMBER_ZERO && is_digit(c))) {
        fail(r, DROP_JSON_SYNTAX);
        return true;
    }
    number_done(r);
    return false;
}

/* ---- between tokens ---- */

static void start_word(struct json_reader *r, const char *rest, enum json_kind kind)
{
    r->lex = JSON_LEX_WORD;
    r->word = rest;
    r->word_kind = (uint8_t)kind;
}

static void take_word(struct json_reader *r, uint8_t c)
{
    if (c != (uint8_t)*r->word) {
        fail(r, DROP_JSON_SYNTAX);
        return;
    }
    r->word++;
    if (*r->word == 0) {
        r->lex = JSON_LEX_BETWEEN;
        if (add_value(r, (enum json_kind)r->word_kind) != NULL) {
            value_done(r);
        }
    }
}

static void start_value(struct json_reader *r, uint8_t c)
{
    if (++r->nodes > JSON_NODES_MAX) {
        fail(r, DROP_JSON_LIMIT);
    } else if (c == '{' || c == '[') {
        open_value(r, c == '{');
    } else if (c == '"') {
        start_string(r, false);
    } else if (c == '-' || is_digit(c)) {
        start_number(r, c);
    } else if (c == 't') {
        start_word(r, "rue", JSON_TRUE);
    } else if (c == 'f') {
        start_word(r, "alse", JSON_FALSE);
    } else if (c == 'n') {
        start_word(r, "ull", JSON_NULL);
    } else {
        fail(r, DROP_JSON_SYNTAX);
    }
}

static void start_key(struct json_reader *r, uint8_t c)
{
    if (c != '"') {
        fail(r, DROP_JSON_SYNTAX);
    } else if (r->open[r->depth - 1]->len == JSON_KEYS_MAX) {
        fail(r, DROP_JSON_LIMIT);
    } else {
        start_string(r, true);
    }
}

static void take_comma_or_end(struct json_reader *r, uint8_t c)
{
    bool is_object = r->open[r->depth - 1]->kind == JSON_OBJECT;
    if (c == ',') {
        r->want = is_object ? JSON_WANT_KEY : JSON_WANT_VALUE;
    } else if (c == (is_object ? '}' : ']')) {
        close_value(r);
    } else {
        fail(r, DROP_JSON_SYNTAX);
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
            fail(r, DROP_JSON_SYNTAX);
        }
        r->want = JSON_WANT_VALUE;
        break;
    case JSON_WANT_COMMA_OR_END:
        take_comma_or_end(r, c);
        break;
    case JSON_WANT_NOTHING:
        fail(r, DROP_JSON_SYNTAX);
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
        return take_number(r, c);
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
        if (c != (r->lex == JSON_LEX_LOW_U ? 'u' : '\\')) {
            fail(r, DROP_JSON_SYNTAX);
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
    ASSERT(doc->root == NULL && doc->memory.first == NULL);
    *r = (struct json_reader){.doc = doc, .want = JSON_WANT_VALUE, .lex = JSON_LEX_BETWEEN};
}

void json_read(struct json_reader *r, struct view *text, uint32_t *work)
{
    while (text->len > 0 && *work > 0 && r->result == DROP_NONE) {
        if (r->size == JSON_TEXT_SIZE_MAX) {
            fail(r, DROP_JSON_LIMIT);
        } else if (r->lex == JSON_LEX_STRING && r->utf8_left == 0) {
            take_run(r, text, work);
        } else if (take_byte(r, text->at[0])) {
            *text = view_sub(*text, 1, text->len - 1);
            *work -= 1;
            r->size++;
        }
        *work -= r->work < *work ? r->work : *work;
        r->work = 0;
    }
    if (r->result != DROP_NONE) {
        *text = view_sub(*text, text->len, 0);
    }
}

enum drop_reason json_read_end(struct json_reader *r)
{
    if (r->result == DROP_NONE && r->lex == JSON_LEX_NUMBER && number_may_end(r->number)) {
        number_done(r);
    }
    if (r->lex == JSON_LEX_STRING && r->utf8_left > 0) {
        fail(r, DROP_JSON_SYNTAX);
    }
    if (r->lex != JSON_LEX_BETWEEN || r->want != JSON_WANT_NOTHING) {
        fail(r, DROP_JSON_TRUNCATED);
    }
    if (r->has_duplicate) {
        fail(r, DROP_JSON_SYNTAX);
    }
    if (r->result != DROP_NONE) {
        r->doc->root = NULL;
    }
    return r->result;
}
