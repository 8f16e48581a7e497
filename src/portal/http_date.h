/* http_date: the three date formats of HTTP, read without a locale or a time zone.
 *
 * Source: RFC 9110 section 5.6.7.
 */
#ifndef PORTAL_HTTP_DATE_H
#define PORTAL_HTTP_DATE_H

#include "base/bytes.h"

/* Parses an IMF-fixdate ("Sun, 06 Nov 1994 08:49:37 GMT"), an RFC 850 date ("Sunday, 06-Nov-94
 * 08:49:37 GMT") or an asctime date ("Sun Nov  6 08:49:37 1994") into Unix seconds. Two-digit years
 * from 70 on are 1970 to 1999, the others 2000 to 2069. The day of the week is not checked. False
 * for anything else and for dates before 1970. */
MUST_USE bool http_parse_date(struct view text, uint64_t *unix_s);

#endif /* PORTAL_HTTP_DATE_H */
