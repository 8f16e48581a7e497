/* json: strict reading of JSON from outside, and ordered writing.
 *
 * Reading: an allocation-free scanner (json_scan.h) refuses everything that is not strict RFC 8259
 * UTF-8, then cJSON builds the tree, then duplicate keys are refused and integers are stored
 * exactly. cJSON is called in json.c only; it alone allocates, on the control path, and running out
 * of memory is one more way to refuse a text.
 * Differs from RFC 8259: U+0000 is refused (raw and escaped), duplicate keys are refused (compared
 * after unescaping), a byte order mark is refused, numbers have at most JSON_NUMBER_SIZE_MAX
 * characters.
 * Source: spec/portal.md section 4, spec/dependencies.md section 6, design section 8.3.
 * Values: a `const struct json_value *` and every view taken from it live until json_free().
 */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/drop.h"
#include "base/text.h"
#include "json/json_scan.h"

#define JSON_KEY32_SIZE 32U

/* A value inside a parsed document; opaque. */
struct json_value;

/* One parsed text. Zeroed memory is an empty document; json_free() makes it empty again. */
struct json_doc {
    const struct json_value *root;
};

/* Parses `text` as one value. On anything but DROP_NONE `doc` is empty and nothing is to be freed.
 * DROP_JSON_TRUNCATED: the text ends too early (empty text included);
 * DROP_JSON_SYNTAX: not strict JSON, or a duplicate key;
 * DROP_JSON_LIMIT: longer, deeper, with more values or keys than json_scan.h permits, or no memory.
 */
MUST_USE enum drop_reason json_parse(struct json_doc *doc, struct view text);

/* Frees the tree; an empty document is fine. */
void json_free(struct json_doc *doc);

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

/* Items of an array or members of an object, in order; 0 for everything else. O(n). */
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
