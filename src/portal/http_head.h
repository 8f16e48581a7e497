/* http_head: one HTTP/1.1 message head: collecting it, checking it, finding headers in it.
 *
 * Source: RFC 9112 sections 2 to 5. Differs: lines end with CR LF only; folded lines are refused.
 */
#ifndef PORTAL_HTTP_HEAD_H
#define PORTAL_HTTP_HEAD_H

#include "base/bytes.h"

#define HTTP_HEAD_SIZE_MAX 16384U /* bytes of start line and headers, as common servers */
#define HTTP_HEADERS_MAX   64U    /* header lines */

/* Collects one message head up to and including the empty line. Zeroed memory is a fresh one. */
struct http_head {
    uint32_t used; /* bytes */
    uint8_t bytes[HTTP_HEAD_SIZE_MAX];
};

enum http_verdict {
    HTTP_MORE,      /* feed more bytes */
    HTTP_DONE,      /* the head is complete and understood */
    HTTP_MALFORMED, /* not HTTP/1.x, a broken header line, or a head beyond the limits */
};

/* Takes bytes up to the end of the head; *consumed says how many. HTTP_DONE: the head is complete
 * and every header line is well formed; the start line is the caller's to judge. */
MUST_USE enum http_verdict http_head_feed(struct http_head *head, struct view bytes,
                                          size_t *consumed);
/* The start line of a complete head, without CR LF. */
struct view http_head_start_line(const struct http_head *head);
/* Finds a header of a complete head by name, case-insensitive; the first one, value trimmed. */
MUST_USE bool http_header(const struct http_head *head, const char *name, struct view *out);
/* True when one of the headers `name` has `token` in its comma-separated list. */
MUST_USE bool http_header_has_token(const struct http_head *head, const char *name,
                                    const char *token);
/* Splits at the first `separator`: *rest is what stands behind it, empty without one. */
struct view http_split(struct view text, uint8_t separator, struct view *rest);
/* Without spaces and tabs at both ends. */
struct view http_trim(struct view text);

#endif /* PORTAL_HTTP_HEAD_H */
