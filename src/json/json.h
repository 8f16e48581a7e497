/* json: strict reading of JSON from outside, and ordered writing.
 *
 * Reading: one pass over the bytes, in parts of any size, refuses everything that is not strict
 * RFC 8259 UTF-8; of what it accepts cJSON builds the tree, a small piece at a time. Each call does
 * a bounded amount of work, which is counted in bytes and values, never in time. Running out of
 * memory refuses a text like anything else, for a reason of its own: it may be read again.
 * Differs from RFC 8259: U+0000 is refused (raw and escaped), duplicate keys are refused (compared
 * after unescaping), a byte order mark is refused, numbers have at most JSON_NUMBER_SIZE_MAX
 * characters and keys at most JSON_KEY_SIZE_MAX bytes.
 * Source: RFC 8259 (grammar), RFC 3629 (UTF-8); spec/portal.md section 4, spec/dependencies.md
 * section 6, design section 8.3.
 * Values: a `const struct json_value *` and every view taken from it live until json_free(); they
 * do not need the text any more.
 */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/chunk.h"
#include "base/drop.h"
#include "base/text.h"

#define JSON_TEXT_SIZE_MAX   (16U * 1024U * 1024U) /* bytes; one portal message, design section 3 */
#define JSON_DEPTH_MAX       32U                   /* levels; the portal's messages use 6 */
#define JSON_NODES_MAX       524288U               /* values: 65 536 authorizations have 4 each */
#define JSON_KEYS_MAX        64U                   /* members of one object; the portal's have 14 */
#define JSON_KEY_SIZE_MAX    1024U                 /* bytes, unescaped */
#define JSON_NUMBER_SIZE_MAX 40U                   /* characters */
#define JSON_STRING_SIZE_MAX                                                                       \
    32768U /* bytes, as spelled, kept of a string; what is behind them is checked only */
#define JSON_PIECE_WORK 12288U /* a piece is full: a common message is one piece */
#define JSON_KEY32_SIZE 32U

/* A value inside a parsed document; opaque. */
struct json_value;

/* One parsed text. Zeroed memory is an empty document; json_free() makes it empty again. */
struct json_doc {
    const struct json_value *root;
    struct json_value *tree; /* internal: as far as it is built, */
    struct chunk_list piece; /* and a buffer for the next piece */
};

/* Trees to be freed. Zeroed memory has none. */
struct json_trash {
    struct json_value *last; /* the newest; NULL: there is none */
};

/* Parses `text` as one value. On anything but DROP_NONE `doc` is empty and nothing is to be freed.
 * DROP_JSON_TRUNCATED: the text ends too early (empty text included);
 * DROP_JSON_SYNTAX: not strict JSON, or a duplicate key;
 * DROP_JSON_LIMIT: longer, deeper, with more values or keys than permitted above;
 * DROP_JSON_MEMORY: no memory; whether the text is good is not known.
 */
MUST_USE enum drop_reason json_parse(struct json_doc *doc, struct view text);

/* Frees the tree; an empty document is fine. */
void json_free(struct json_doc *doc);
/* Empties the document; its tree goes to `trash`, to be freed there. O(1). */
void json_release(struct json_doc *doc, struct json_trash *trash);
/* Frees up to `count` values, the newest first; true when none is left. */
bool json_free_some(struct json_trash *trash, uint32_t count);

/* ---- piece by piece ---- */

/* What may come next; internal. */
enum json_want {
    JSON_WANT_VALUE,
    JSON_WANT_VALUE_OR_END, /* just behind `[` */
    JSON_WANT_KEY,
    JSON_WANT_KEY_OR_END, /* just behind `{` */
    JSON_WANT_COLON,
    JSON_WANT_COMMA_OR_END,
    JSON_WANT_NOTHING, /* the value is complete */
};

/* Inside which token the text stands; internal. */
enum json_lex {
    JSON_LEX_BETWEEN, /* none */
    JSON_LEX_WORD,
    JSON_LEX_NUMBER,
    JSON_LEX_STRING,
    JSON_LEX_ESCAPE,     /* behind a backslash */
    JSON_LEX_HEX,        /* behind \u */
    JSON_LEX_LOW_ESCAPE, /* the second half of a pair is due: its backslash, */
    JSON_LEX_LOW_U,      /* its u */
};

enum json_number_state {
    JSON_NUMBER_MINUS,
    JSON_NUMBER_ZERO,
    JSON_NUMBER_INTEGER,
    JSON_NUMBER_POINT,
    JSON_NUMBER_FRACTION,
    JSON_NUMBER_E,
    JSON_NUMBER_SIGN,
    JSON_NUMBER_EXPONENT,
};

/* A text being read; internal but for its size. */
struct json_reader {
    struct json_doc *doc;
    enum drop_reason result; /* DROP_NONE while all is well */
    bool has_duplicate;      /* told only if nothing else is wrong, because it is found last */
    enum json_want want;
    enum json_lex lex;
    uint32_t size;  /* bytes taken */
    uint32_t nodes; /* values */
    uint32_t depth;
    uint32_t work; /* done in this step beside its bytes */
    /* of the arrays and objects around */
    bool is_object[JSON_DEPTH_MAX];
    bool has_item[JSON_DEPTH_MAX]; /* in this piece */
    uint8_t members[JSON_DEPTH_MAX];
    uint32_t piece_most; /* work; JSON_PIECE_WORK, less in tests */
    uint32_t piece_work; /* done since the piece began */
    uint32_t piece_depth;
    uint32_t numbers; /* of the piece */
    const char *word; /* what is left of a literal */
    enum json_number_state number;
    uint32_t number_len;
    uint64_t amount;
    bool is_negative;
    bool is_beyond;    /* more than 64 bits */
    uint8_t utf8_left; /* bytes of a character that are still to come, */
    uint8_t utf8_least;
    uint8_t utf8_most; /* and the bounds of the next one */
    bool is_key;
    bool is_cut; /* the string is longer than what is kept */
    uint8_t hex_count;
    uint32_t unit;         /* of an escape */
    uint32_t high;         /* first half of a pair; 0: none */
    uint32_t key_len;      /* bytes, unescaped */
    uint32_t string_len;   /* bytes kept, as spelled; */
    uint32_t string_whole; /* without the character that is not complete */
};

/* Starts a text; `doc` must be empty and stay where it is. */
void json_read_begin(struct json_reader *r, struct json_doc *doc);
/* Takes bytes from the front of `text` until none are left or *work is spent, of which each byte
 * costs 1 and values a little more; *work is 0 at least. Of a text that is refused already, all is
 * taken for nothing. */
void json_read(struct json_reader *r, struct view *text, uint32_t *work);
/* Ends the text, with the work of one piece at most. Results as json_parse(), but that memory stays
 * in `doc` even when it has no root: for json_free() or json_release(). */
MUST_USE enum drop_reason json_read_end(struct json_reader *r);

/* ---- values ---- */

/* Member `key` of `object`, case-sensitive; NULL when absent or when `object` is no object (NULL
 * included, so that look-ups chain). */
const struct json_value *json_get(const struct json_value *object, const char *key);
/* As json_get(), but NULL too when the member is null: "absent or null". */
const struct json_value *json_get_some(const struct json_value *object, const char *key);
MUST_USE bool json_has(const struct json_value *object, const char *key);
MUST_USE bool json_is_null(const struct json_value *value); /* false for NULL */
MUST_USE bool json_is_object(const struct json_value *value);
MUST_USE bool json_is_array(const struct json_value *value);

/* Items of an array or members of an object, in order; 0 for everything else. O(1). */
uint32_t json_count(const struct json_value *value);
/* Walks them: NULL at the end, and for values that are neither array nor object. O(1). */
const struct json_value *json_first(const struct json_value *value);
const struct json_value *json_next(const struct json_value *item);

/* Conversions. Each is false for NULL and for values of another type or out of range, and leaves
 * *out untouched then. Spellings: spec/portal.md section 4. */
MUST_USE bool json_text(const struct json_value *value, struct view *out);
MUST_USE bool json_bool(const struct json_value *value, bool *out);
/* Integers are exact over the whole range; `1.0` and `1e2` are not integers. */
MUST_USE bool json_u64(const struct json_value *value, uint64_t *out);
MUST_USE bool json_i64(const struct json_value *value, int64_t *out);
MUST_USE bool json_u16(const struct json_value *value, uint16_t *out);
MUST_USE bool json_uuid(const struct json_value *value, struct uuid *out);
MUST_USE bool json_ip(const struct json_value *value, struct ip_addr *out);

/* ---- typed members: required unless the name says _opt ---- */

MUST_USE bool json_get_array(const struct json_value *object, const char *key,
                             const struct json_value **out);
MUST_USE bool json_get_text(const struct json_value *object, const char *key, struct view *out);
MUST_USE bool json_get_bool(const struct json_value *object, const char *key, bool *out);
MUST_USE bool json_get_u64(const struct json_value *object, const char *key, uint64_t *out);
MUST_USE bool json_get_i64(const struct json_value *object, const char *key, int64_t *out);
MUST_USE bool json_get_uuid(const struct json_value *object, const char *key, struct uuid *out);
MUST_USE bool json_get_ip(const struct json_value *object, const char *key, struct ip_addr *out);
MUST_USE bool json_get_ipv4(const struct json_value *object, const char *key, struct ip_addr *out);
MUST_USE bool json_get_ipv6(const struct json_value *object, const char *key, struct ip_addr *out);
MUST_USE bool json_get_sockaddr(const struct json_value *object, const char *key,
                                struct sock_addr *out);
MUST_USE bool json_get_prefix(const struct json_value *object, const char *key,
                              struct ip_prefix *out);
/* Standard base64 with padding of exactly 32 bytes. */
MUST_USE bool json_get_key32(const struct json_value *object, const char *key,
                             uint8_t out[JSON_KEY32_SIZE]);
/* Absent: true and *out untouched (the caller puts the default there). null is wrong. */
MUST_USE bool json_get_u16_opt(const struct json_value *object, const char *key, uint16_t *out);
/* Absent: true and *out untouched. null is wrong. */
MUST_USE bool json_get_bool_opt(const struct json_value *object, const char *key, bool *out);
/* The key is required, its value is an integer or null: *is_some says which. Negative values
 * become 0. */
MUST_USE bool json_get_unix_or_null(const struct json_value *object, const char *key, bool *is_some,
                                    uint64_t *out);

#endif /* JSON_JSON_H */
