/* dns_pattern: the glob language of DNS resources' addresses.
 *
 * `?` is one character of a label; `*` any number of characters of a label; `**` as a complete
 * label any number of whole labels (at the end of a pattern at least one); [abc], [a-z], [!a]
 * character classes, never a dot; the rest is literal, ASCII case-insensitive. `*.rest` also
 * matches exactly `rest` (this comparison alone is case-sensitive). The pattern is compared with
 * the text form of the name, escapes included. Source: spec/dataplane.md section 4.1; design
 * section 8.4 (slashes and escaped dots). Time: at most |pattern| * |name| steps; nothing recurses.
 * Memory: nothing is allocated.
 */
#ifndef DNS_PATTERN_H
#define DNS_PATTERN_H

#include "dns/dns_name.h"

#define DNS_PATTERN_SIZE_MAX 1024U /* bytes; longer than any name that it could match literally */

/* False: empty, too long, not UTF-8, a slash or an escaped dot, three `*` in a row, `**` that is
 * not a whole label, a class without end. */
MUST_USE bool dns_pattern_is_valid(struct view pattern);

/* True when the pattern is valid, the name is safe and they match. */
MUST_USE bool dns_pattern_matches(struct view pattern, const struct dns_name *name);

/* Orders two valid patterns by precedence, the one to try first being less: compared from the last
 * character; shorter first, literals (the greater byte first) before `?` before `*` before `**`. */
MUST_USE int dns_pattern_compare(struct view a, struct view b);

#endif /* DNS_PATTERN_H */
