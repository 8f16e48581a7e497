/* linux_config_value: values of options that have a grammar of their own. Pure.
 *
 * Source: spec/portal.md sections 9.1 and 10.6.
 */
#ifndef LINUX_CONFIG_VALUE_H
#define LINUX_CONFIG_VALUE_H

#include "base/bytes.h"

/* Parses a human duration such as "24h", "1day 2h 30m" or "90s" to seconds, rounded up.
 * False: no unit, an unknown one, or overflow. */
MUST_USE bool linux_config_duration(struct view text, uint64_t *seconds);

/* The most verbose level that a RUST_LOG text names for any target, -1 for "off". A text that names
 * no level gives TRACE_INFO. */
MUST_USE int linux_config_log_level(const char *text);

/* True for three numbers with dots in between; what portals accept as a version. */
MUST_USE bool linux_config_is_version(struct view text);

#endif /* LINUX_CONFIG_VALUE_H */
