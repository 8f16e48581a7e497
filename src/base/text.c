#include "base/text.h"

#include <string.h>

#include "base/assert.h"

void text_put_char(struct writer *w, char c)
{
    writer_u8(w, (uint8_t)c);
}

void text_put_u64(struct writer *w, uint64_t value)
{
    uint8_t digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    writer_bytes(w, (struct view){digits + at, sizeof(digits) - at});
}

static uint8_t hex_digit(unsigned nibble)
{
    return (uint8_t) "0123456789abcdef"[nibble & 15U];
}

void text_put_hex64(struct writer *w, uint64_t value)
{
    uint8_t digits[16];
    size_t at = sizeof(digits);
    do {
        digits[--at] = hex_digit((unsigned)(value & 15U));
        value >>= 4;
    } while (value != 0);
    writer_bytes(w, (struct view){digits + at, sizeof(digits) - at});
}

void text_put_hex(struct writer *w, struct view bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        writer_u8(w, hex_digit(bytes.at[i] >> 4));
        writer_u8(w, hex_digit(bytes.at[i]));
    }
}

bool text_parse_u64(struct view text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(text.at[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool text_parse_u16(struct view text, uint16_t *out)
{
    uint64_t value = 0;
    if (!text_parse_u64(text, &value) || value > UINT16_MAX) {
        return false;
    }
    *out = (uint16_t)value;
    return true;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool text_parse_hex(struct view text, uint8_t *out, size_t out_len)
{
    if (text.len != out_len * 2) {
        return false;
    }
    for (size_t i = 0; i < out_len; i++) {
        int high = hex_value(text.at[2 * i]);
        int low = hex_value(text.at[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    return true;
}

#define BASE64_STANDARD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#define BASE64_URL      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

static void put_base64(struct writer *w, struct view bytes, bool padding, const char *alphabet)
{
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t group = (uint32_t)bytes.at[i] << 16;
        group |= have > 1 ? (uint32_t)bytes.at[i + 1] << 8 : 0;
        group |= have > 2 ? (uint32_t)bytes.at[i + 2] : 0;
        for (size_t k = 0; k < 4; k++) {
            if (k <= have) {
                text_put_char(w, alphabet[group >> (18 - 6 * k) & 63U]);
            } else if (padding) {
                text_put_char(w, '=');
            }
        }
    }
}

void text_put_base64(struct writer *w, struct view bytes, bool padding)
{
    put_base64(w, bytes, padding, BASE64_STANDARD);
}

void text_put_base64url(struct writer *w, struct view bytes)
{
    put_base64(w, bytes, false, BASE64_URL);
}

static int base64_value(uint8_t c)
{
    const char *at = c == 0 ? NULL : strchr(BASE64_STANDARD, c);
    return at == NULL ? -1 : (int)(at - BASE64_STANDARD);
}

bool text_parse_base64(struct view text, uint8_t *out, size_t out_len)
{
    size_t groups = (out_len + 2) / 3;
    if (text.len != groups * 4) {
        return false;
    }
    for (size_t g = 0; g < groups; g++) {
        size_t have = out_len - g * 3 < 3 ? out_len - g * 3 : 3;
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            uint8_t c = text.at[g * 4 + k];
            int value = k <= have ? base64_value(c) : (c == '=' ? 0 : -1);
            if (value < 0) {
                return false;
            }
            group = group << 6 | (uint32_t)value;
        }
        if ((have == 1 && (group & 0xffffU) != 0) || (have == 2 && (group & 0xffU) != 0)) {
            return false; /* non-zero trailing bits: another spelling of the same bytes */
        }
        for (size_t k = 0; k < have; k++) {
            out[g * 3 + k] = (uint8_t)(group >> (16 - 8 * k));
        }
    }
    return true;
}

void text_put_base32(struct writer *w, struct view bytes)
{
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | bytes.at[i];
        held += 8;
        while (held >= 5) {
            held -= 5;
            text_put_char(w, "abcdefghijklmnopqrstuvwxyz234567"[bits >> held & 31U]);
        }
        bits &= (1U << held) - 1U;
    }
    if (held > 0) {
        text_put_char(w, "abcdefghijklmnopqrstuvwxyz234567"[bits << (5 - held) & 31U]);
    }
}

/* Returns the length of the sequence at `at`, 0 when it is not valid UTF-8 (RFC 3629 section 4). */
static size_t utf8_sequence(const uint8_t *at, size_t len)
{
    uint8_t first = at[0];
    if (first < 0x80) {
        return 1;
    }
    size_t need = first >= 0xc2 && first <= 0xdf   ? 2
                  : first >= 0xe0 && first <= 0xef ? 3
                  : first >= 0xf0 && first <= 0xf4 ? 4
                                                   : 0;
    if (need == 0 || len < need) {
        return 0;
    }
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf) {
            return 0;
        }
    }
    return need;
}

bool text_is_utf8(struct view text)
{
    for (size_t i = 0; i < text.len;) {
        size_t step = utf8_sequence(text.at + i, text.len - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}

size_t text_first_char(struct view text, uint32_t *code)
{
    static const uint8_t payload[] = {0, 0x7f, 0x1f, 0x0f, 0x07}; /* of the first byte */
    size_t size = text.len == 0 ? 0 : utf8_sequence(text.at, text.len);
    if (size == 0) {
        return 0;
    }
    *code = text.at[0] & payload[size];
    for (size_t i = 1; i < size; i++) {
        *code = *code << 6 | (text.at[i] & 0x3fU);
    }
    return size;
}

bool text_is_printable(uint32_t code)
{
    bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    bool separator = code == 0x2028 || code == 0x2029;
    bool direction = code == 0x061c || code == 0x200e || code == 0x200f ||
                     (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return !control && !separator && !direction && code != 0xfeff;
}

static bool uuid_parse_hyphenated(struct view text, struct uuid *out)
{
    uint8_t digits[2 * UUID_SIZE];
    size_t used = 0;
    for (size_t i = 0; i < UUID_TEXT_SIZE; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text.at[i] != '-') {
                return false;
            }
        } else {
            digits[used++] = text.at[i];
        }
    }
    return text_parse_hex((struct view){digits, sizeof(digits)}, out->bytes, UUID_SIZE);
}

bool uuid_parse(struct view text, struct uuid *out)
{
    struct uuid parsed = {{0}};
    bool good = false;
    if (text.len == UUID_TEXT_SIZE) {
        good = uuid_parse_hyphenated(text, &parsed);
    } else if (text.len == 2 * UUID_SIZE) {
        good = text_parse_hex(text, parsed.bytes, UUID_SIZE);
    } else if (text.len == UUID_TEXT_SIZE + 2 && text.at[0] == '{' &&
               text.at[text.len - 1] == '}') {
        good = uuid_parse_hyphenated(view_sub(text, 1, UUID_TEXT_SIZE), &parsed);
    } else if (text.len == UUID_TEXT_SIZE + 9 &&
               view_equal_nocase(view_sub(text, 0, 9), view_text("urn:uuid:"))) {
        good = uuid_parse_hyphenated(view_sub(text, 9, UUID_TEXT_SIZE), &parsed);
    }
    if (good) {
        *out = parsed;
    }
    return good;
}

void uuid_put(struct writer *w, const struct uuid *uuid)
{
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    size_t at = 0;
    for (size_t g = 0; g < sizeof(groups); g++) {
        if (g > 0) {
            text_put_char(w, '-');
        }
        text_put_hex(w, (struct view){uuid->bytes + at, groups[g]});
        at += groups[g];
    }
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, UUID_SIZE) == 0;
}

int uuid_compare(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, UUID_SIZE);
}
