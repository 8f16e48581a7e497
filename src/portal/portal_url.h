/* portal_url: the portal's base URL and the request target that logs a gateway in.
 *
 * Source: spec/portal.md section 1.1; WHATWG URL "application/x-www-form-urlencoded serializing".
 * Differs: a base URL with user information is refused.
 */
#ifndef PORTAL_PORTAL_URL_H
#define PORTAL_PORTAL_URL_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/err.h"

#define PORTAL_HOST_SIZE_MAX    253U  /* characters, RFC 1035 */
#define PORTAL_PATH_SIZE_MAX    512U  /* characters of the base path */
#define PORTAL_TARGET_SIZE_MAX  8192U /* characters of path and query */
#define PORTAL_EXTERNAL_ID_SIZE 64U   /* characters */

struct portal_url {
    bool tls;
    uint16_t port;     /* the explicit port unless it is the scheme's default, else 443 */
    struct ip_addr ip; /* of an IP literal as host; family IP_NONE for a name */
    uint16_t host_len;
    uint16_t path_len;
    char host[PORTAL_HOST_SIZE_MAX + 2U]; /* lower case; IPv6 literals without brackets */
    char path[PORTAL_PATH_SIZE_MAX];      /* base path without trailing slash, may be empty */
};

/* Who logs in. */
struct portal_login {
    struct view token;         /* sent raw; empty: it goes in a header, to /gateway/v2 */
    struct view firezone_id;   /* hashed before it is sent */
    struct view name;          /* may be empty: sent as `name=` */
    const uint8_t *public_key; /* 32 bytes */
};

/* Parses a base URL; query and fragment are discarded. ERR_ARGUMENT: the scheme is none of http,
 * https, ws, wss, the host is missing or has characters a host cannot have, the port is no port;
 * ERR_SPACE: host or path too long. */
MUST_USE enum err portal_url_parse(struct view text, struct portal_url *out);

struct view portal_url_host(const struct portal_url *url); /* without brackets */
/* Writes the value of the Host header: without port, IPv6 literals in brackets. */
void portal_url_put_host(struct writer *w, const struct portal_url *url);
/* Writes `<path>/gateway/websocket?token=..&external_id=..&name=..&public_key=..`, or, without a
 * token, `<path>/gateway/v2/websocket?external_id=..` and so on. */
void portal_url_put_target(struct writer *w, const struct portal_url *url,
                           const struct portal_login *login);
/* Writes one form-encoded component: A-Z a-z 0-9 * - . _ as they are, space as +, else %XX. */
void portal_url_put_form(struct writer *w, struct view text);
/* Decodes one component; false on a bad escape or lack of room. For the simulated portal. */
MUST_USE bool portal_url_parse_form(struct view text, struct writer *out);
/* Finds `key` in the query of a request target and gives its encoded value. */
MUST_USE bool portal_url_query(struct view target, const char *key, struct view *out);
/* Lower-case hex of SHA-256 over the id's bytes. */
void portal_url_put_external_id(struct writer *w, struct view firezone_id);

#endif /* PORTAL_PORTAL_URL_H */
