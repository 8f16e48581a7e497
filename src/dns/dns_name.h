/* dns_name: domain names, between text and wire form.
 *
 * Text: labels joined by dots, no trailing dot, the root is "."; inside a label space, dot and
 * backslash are written with a preceding backslash and bytes outside 0x20..0x7e as \DDD. The parser
 * reads the same (any character may be escaped) and takes a trailing dot or none. Case is kept;
 * comparison ignores ASCII case.
 * Source: spec/dataplane.md section 2.3, RFC 1035 section 3.1 and 5.1, RFC 4343, RFC 4034 section
 * 6.1 (order).
 * Memory: a name is a value, nothing is allocated.
 */
#ifndef DNS_NAME_H
#define DNS_NAME_H

#include "base/bytes.h"

#define DNS_LABEL_SIZE_MAX  63U  /* bytes, RFC 1035 section 2.3.4 */
#define DNS_NAME_SIZE_MAX   255U /* bytes on the wire, length bytes and root included, same place */
#define DNS_NAME_LABELS_MAX 127U /* (255 - 1) / 2, without the root */
#define DNS_NAME_TEXT_SIZE_MAX                                                                     \
    1004U /* characters: 250 bytes in the 4 labels that 255 bytes need at least, each as \DDD, and \
             3 dots, rounded up */

/* Uncompressed wire form. Bytes after `size` are zero. A zeroed struct is no name; use the
 * functions. */
struct dns_name {
    uint8_t size; /* bytes, 1..255, with the root's zero byte */
    uint8_t wire[DNS_NAME_SIZE_MAX];
};

/* Reads the text form. False: empty text, empty label, a label that starts with "\[", a label over
 * 63 or a name over 255 bytes, a bad escape (\DDD above 255, or nothing after the backslash), a
 * byte outside printable ASCII. *out is untouched then. */
MUST_USE bool dns_name_parse(struct view text, struct dns_name *out);

/* Writes the text form, at most DNS_NAME_TEXT_SIZE_MAX characters. */
void dns_name_put(struct writer *w, const struct dns_name *name);

/* Reads an uncompressed name that fills `wire` exactly. False if it is malformed. */
MUST_USE bool dns_name_from_wire(struct view wire, struct dns_name *out);
struct view dns_name_wire(const struct dns_name *name);

MUST_USE bool dns_name_is_root(const struct dns_name *name);
/* False when a label contains a dot or a slash: such names could be mistaken for others in patterns
 * and are refused in patterns and requests (design section 8.4). */
MUST_USE bool dns_name_is_safe(const struct dns_name *name);
/* ASCII case-insensitive. */
MUST_USE bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);
/* Canonical DNS order (labels from the right): negative, 0 or positive. */
MUST_USE int dns_name_compare(const struct dns_name *a, const struct dns_name *b);
/* Returns the name in lower case: equal names have equal bytes then, ready for hashing. */
struct dns_name dns_name_lower(const struct dns_name *name);
/* True when `name` equals `zone` or lies below it. */
MUST_USE bool dns_name_is_within(const struct dns_name *name, const struct dns_name *zone);
/* Returns the name for a reverse lookup of 4 or 16 address bytes (in-addr.arpa, ip6.arpa).
 * Asserts the length. */
struct dns_name dns_name_reverse(struct view address);

#endif /* DNS_NAME_H */
