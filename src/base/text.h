/* text: number parsing and printing, hex, base64, base32, UTF-8, UUIDs. Bounded, locale-free.
 *
 * Source: RFC 4648 (base64, base32), RFC 3629 (UTF-8), spec/portal.md section 4 (UUID spellings).
 * Memory: nothing is allocated; output goes to the caller's writer.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/bytes.h"

#define UUID_SIZE      16U
#define UUID_TEXT_SIZE 36U /* characters, hyphenated, no terminator */

struct uuid {
    uint8_t bytes[UUID_SIZE];
};

void text_put_u64(struct writer *w, uint64_t value);
void text_put_hex64(struct writer *w, uint64_t value);  /* %x: no padding, lower case */
void text_put_hex(struct writer *w, struct view bytes); /* lower case, two digits a byte */
void text_put_char(struct writer *w, char c);

/* Parses decimal digits only (no sign, no space, at least one digit); leading zeros are accepted.
 * False on any other byte or overflow; *out untouched then. */
MUST_USE bool text_parse_u64(struct view text, uint64_t *out);
MUST_USE bool text_parse_u16(struct view text, uint16_t *out);

/* Decodes hex digits of either case; false unless exactly `out_len` bytes result. */
MUST_USE bool text_parse_hex(struct view text, uint8_t *out, size_t out_len);

/* RFC 4648 base64, standard or URL-safe alphabet, with or without padding. */
void text_put_base64(struct writer *w, struct view bytes, bool padding);
void text_put_base64url(struct writer *w, struct view bytes);
/* Strict standard alphabet with padding; false unless exactly `out_len` bytes result. */
MUST_USE bool text_parse_base64(struct view text, uint8_t *out, size_t out_len);
/* RFC 4648 base32, lower case, no padding. */
void text_put_base32(struct writer *w, struct view bytes);

/* True when the bytes are valid UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). */
MUST_USE bool text_is_utf8(struct view text);

/* The character that `text` begins with: its bytes, and its code point in `code`. 0: there is none,
 * or no valid one. */
MUST_USE size_t text_first_char(struct view text, uint32_t *code);
/* False for what must not reach a terminal or a reader of lines as it is: control characters, line
 * and paragraph separators, marks that turn the direction of text, and the byte order mark. */
MUST_USE bool text_is_printable(uint32_t code);

/* Accepts 36-character hyphenated, 32 hex digits, {braced} and urn:uuid: forms, any case. */
MUST_USE bool uuid_parse(struct view text, struct uuid *out);
void uuid_put(struct writer *w, const struct uuid *uuid); /* hyphenated, lower case */
MUST_USE bool uuid_equal(const struct uuid *a, const struct uuid *b);
MUST_USE int uuid_compare(const struct uuid *a, const struct uuid *b);

#endif /* BASE_TEXT_H */
