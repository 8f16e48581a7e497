/* json_scan: the strict, allocation-free check that every JSON text from outside passes first.
 *
 * Source: RFC 8259 (grammar), RFC 3629 (UTF-8); spec/dependencies.md section 6 lists what the tree
 * builder would wrongly accept. Runs in one pass over the bytes with one byte of state per level.
 */
#ifndef JSON_JSON_SCAN_H
#define JSON_JSON_SCAN_H

#include "base/bytes.h"
#include "base/drop.h"

#define JSON_TEXT_SIZE_MAX   (16U * 1024U * 1024U) /* bytes; one portal message, design section 3 */
#define JSON_DEPTH_MAX       32U                   /* levels; the portal's messages use 6 */
#define JSON_NODES_MAX       524288U               /* values: 65 536 authorizations have 4 each */
#define JSON_KEYS_MAX        64U                   /* members of one object; the portal's have 14 */
#define JSON_NUMBER_SIZE_MAX 40U                   /* characters; the tree builder handles 63 */

/* What json_scan() saw. */
struct json_scan_info {
    uint32_t nodes; /* values, keys not counted */
    uint32_t depth; /* deepest nesting of arrays and objects; 0 for a scalar */
};

/* Checks that `text` is exactly one strict JSON value with optional RFC 8259 whitespace around it.
 * Results as json_parse(), except that duplicate keys are not looked for. `info` may be NULL; it
 * is filled on DROP_NONE only. */
MUST_USE enum drop_reason json_scan(struct view text, struct json_scan_info *info);

/* Finds the next number token of a checked text from *at on. False when there is none; else *at is
 * behind the token. */
MUST_USE bool json_scan_next_number(struct view text, size_t *at, struct view *token);

#endif /* JSON_JSON_SCAN_H */
