#include "json/json_scan.h"

#include "base/assert.h"
#include "base/text.h"

/* What may come next. */
enum scan_want {
    WANT_VALUE,
    WANT_VALUE_OR_END, /* just behind `[` */
    WANT_KEY,
    WANT_KEY_OR_END, /* just behind `{` */
    WANT_COLON,
    WANT_COMMA_OR_END,
    WANT_NOTHING, /* the value is complete */
};

struct scan {
    struct view text;
    size_t at;
    enum drop_reason result; /* DROP_NONE while all is well */
    enum scan_want want;
    uint32_t depth;
    uint32_t depth_max;
    uint32_t nodes;
    bool is_object[JSON_DEPTH_MAX];
    uint8_t keys[JSON_DEPTH_MAX]; /* members seen so far */
};

static_assert(JSON_KEYS_MAX < UINT8_MAX, "member counts fit their counter");

static void scan_fail(struct scan *s, enum drop_reason reason)
{
    if (s->result == DROP_NONE) {
        s->result = reason;
    }
}

/* Looks at the next byte; 0, which JSON never contains, at the end. */
static uint8_t scan_peek(const struct scan *s)
{
    return s->at < s->text.len ? s->text.at[s->at] : 0;
}

/* Refuses the text: too short when nothing is left, wrong otherwise. */
static void scan_refuse(struct scan *s)
{
    scan_fail(s, s->at >= s->text.len ? DROP_JSON_TRUNCATED : DROP_JSON_SYNTAX);
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static void scan_space(struct scan *s)
{
    while (s->at < s->text.len) {
        uint8_t c = s->text.at[s->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            return;
        }
        s->at++;
    }
}

static void scan_literal(struct scan *s, const char *word)
{
    for (size_t i = 0; word[i] != 0; i++) {
        if (scan_peek(s) != (uint8_t)word[i]) {
            scan_refuse(s);
            return;
        }
        s->at++;
    }
}

static void scan_digits(struct scan *s)
{
    if (!is_digit(scan_peek(s))) {
        scan_refuse(s);
        return;
    }
    while (is_digit(scan_peek(s))) {
        s->at++;
    }
}

/* RFC 8259 section 6: [ minus ] int [ frac ] [ exp ]; no leading zeros. */
static void scan_number(struct scan *s)
{
    size_t start = s->at;
    if (scan_peek(s) == '-') {
        s->at++;
    }
    if (scan_peek(s) == '0') {
        s->at++;
        if (is_digit(scan_peek(s))) {
            scan_fail(s, DROP_JSON_SYNTAX);
            return;
        }
    } else {
        scan_digits(s);
    }
    if (scan_peek(s) == '.') {
        s->at++;
        scan_digits(s);
    }
    if (scan_peek(s) == 'e' || scan_peek(s) == 'E') {
        s->at++;
        if (scan_peek(s) == '+' || scan_peek(s) == '-') {
            s->at++;
        }
        scan_digits(s);
    }
    if (s->at - start > JSON_NUMBER_SIZE_MAX) {
        scan_fail(s, DROP_JSON_LIMIT);
    }
}

/* Reads the four digits behind `\u`. */
static uint32_t scan_hex4(struct scan *s)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = scan_peek(s);
        uint8_t lower = (uint8_t)(c | 0x20U);
        if (is_digit(c)) {
            value = value << 4 | (uint32_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        } else {
            scan_refuse(s);
            return 0;
        }
        s->at++;
    }
    return value;
}

static void scan_unicode_escape(struct scan *s)
{
    uint32_t unit = scan_hex4(s);
    if (s->result != DROP_NONE) {
        return;
    }
    if (unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
        scan_fail(s, DROP_JSON_SYNTAX); /* U+0000, or the second half of a pair alone */
        return;
    }
    if (unit < 0xd800 || unit > 0xdbff) {
        return;
    }
    scan_literal(s, "\\u");
    if (s->result != DROP_NONE) {
        return;
    }
    unit = scan_hex4(s);
    if (s->result == DROP_NONE && (unit < 0xdc00 || unit > 0xdfff)) {
        scan_fail(s, DROP_JSON_SYNTAX);
    }
}

static void scan_escape(struct scan *s)
{
    uint8_t c = scan_peek(s);
    switch (c) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        s->at++;
        break;
    case 'u':
        s->at++;
        scan_unicode_escape(s);
        break;
    default:
        scan_refuse(s);
        break;
    }
}

/* Checks one string, from its opening to behind its closing quote. UTF-8 was checked before. */
static void scan_string(struct scan *s)
{
    s->at++;
    while (s->result == DROP_NONE) {
        if (s->at >= s->text.len) {
            scan_fail(s, DROP_JSON_TRUNCATED);
            return;
        }
        uint8_t c = s->text.at[s->at];
        if (c < 0x20) {
            scan_fail(s, DROP_JSON_SYNTAX);
            return;
        }
        s->at++;
        if (c == '"') {
            return;
        }
        if (c == '\\') {
            scan_escape(s);
        }
    }
}

static void scan_value_done(struct scan *s)
{
    s->want = s->depth == 0 ? WANT_NOTHING : WANT_COMMA_OR_END;
}

static void scan_open(struct scan *s, bool is_object)
{
    s->at++;
    if (s->depth == JSON_DEPTH_MAX) {
        scan_fail(s, DROP_JSON_LIMIT);
        return;
    }
    s->is_object[s->depth] = is_object;
    s->keys[s->depth] = 0;
    s->depth++;
    s->depth_max = s->depth > s->depth_max ? s->depth : s->depth_max;
    s->want = is_object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
}

static void scan_close(struct scan *s)
{
    s->at++;
    s->depth--;
    scan_value_done(s);
}

static void scan_value(struct scan *s)
{
    if (++s->nodes > JSON_NODES_MAX) {
        scan_fail(s, DROP_JSON_LIMIT);
        return;
    }
    uint8_t c = scan_peek(s);
    if (c == '{' || c == '[') {
        scan_open(s, c == '{');
        return;
    }
    if (c == '"') {
        scan_string(s);
    } else if (c == '-' || is_digit(c)) {
        scan_number(s);
    } else if (c == 't') {
        scan_literal(s, "true");
    } else if (c == 'f') {
        scan_literal(s, "false");
    } else if (c == 'n') {
        scan_literal(s, "null");
    } else {
        scan_refuse(s);
    }
    scan_value_done(s);
}

static void scan_key(struct scan *s)
{
    if (scan_peek(s) != '"') {
        scan_refuse(s);
        return;
    }
    if (++s->keys[s->depth - 1] > JSON_KEYS_MAX) {
        scan_fail(s, DROP_JSON_LIMIT);
        return;
    }
    scan_string(s);
    s->want = WANT_COLON;
}

static void scan_comma_or_end(struct scan *s)
{
    bool is_object = s->is_object[s->depth - 1];
    uint8_t c = scan_peek(s);
    if (c == ',') {
        s->at++;
        s->want = is_object ? WANT_KEY : WANT_VALUE;
    } else if (c == (is_object ? '}' : ']')) {
        scan_close(s);
    } else {
        scan_refuse(s);
    }
}

static void scan_step(struct scan *s)
{
    switch (s->want) {
    case WANT_VALUE_OR_END:
        if (scan_peek(s) == ']') {
            scan_close(s);
            break;
        }
        scan_value(s);
        break;
    case WANT_VALUE:
        scan_value(s);
        break;
    case WANT_KEY_OR_END:
        if (scan_peek(s) == '}') {
            scan_close(s);
            break;
        }
        scan_key(s);
        break;
    case WANT_KEY:
        scan_key(s);
        break;
    case WANT_COLON:
        if (scan_peek(s) != ':') {
            scan_refuse(s);
            break;
        }
        s->at++;
        s->want = WANT_VALUE;
        break;
    case WANT_COMMA_OR_END:
        scan_comma_or_end(s);
        break;
    case WANT_NOTHING:
        scan_fail(s, DROP_JSON_SYNTAX);
        break;
    }
}

enum drop_reason json_scan(struct view text, struct json_scan_info *info)
{
    struct scan s = {.text = text, .want = WANT_VALUE};
    if (text.len > JSON_TEXT_SIZE_MAX) {
        return DROP_JSON_LIMIT;
    }
    if (!text_is_utf8(text)) {
        return DROP_JSON_SYNTAX;
    }
    for (;;) {
        scan_space(&s);
        if (s.want == WANT_NOTHING && s.at == text.len) {
            break;
        }
        scan_step(&s);
        if (s.result != DROP_NONE) {
            return s.result;
        }
    }
    if (info != NULL) {
        *info = (struct json_scan_info){.nodes = s.nodes, .depth = s.depth_max};
    }
    return DROP_NONE;
}

bool json_scan_next_number(struct view text, size_t *at, struct view *token)
{
    bool in_string = false;
    for (size_t i = *at; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (in_string) {
            if (c == '\\') {
                i++; /* whatever it is, it does not end the string */
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '-' || is_digit(c)) {
            struct scan s = {.text = text, .at = i};
            scan_number(&s);
            *token = view_sub(text, i, s.at - i);
            *at = s.at;
            return true;
        }
    }
    *at = text.len;
    return false;
}
