/* http_upgrade: the HTTP/1.1 exchange that turns a byte stream into a WebSocket, both sides.
 *
 * Source: RFC 9112 (messages), RFC 6455 sections 1.3, 4.1 and 4.2, RFC 9110 section 10.2.3
 * (Retry-After) and 5.6.7 (dates); spec/portal.md sections 1.4 and 10.1. Differs: the Connection
 * header may be a list of tokens. The parsers are incremental over one buffer in the struct.
 */
#ifndef PORTAL_HTTP_UPGRADE_H
#define PORTAL_HTTP_UPGRADE_H

#include "base/bytes.h"
#include "portal/http_head.h"

#define HTTP_WS_NONCE_SIZE    16U /* bytes, RFC 6455 section 4.1 */
#define HTTP_WS_KEY_SIZE      24U /* characters: base64 of the nonce */
#define HTTP_WS_ACCEPT_SIZE   28U /* characters: base64 of SHA-1 */
#define HTTP_RETRY_AFTER_NONE UINT64_MAX

/* ---- client ---- */

/* Fields of the request. `host` and `target` must be free of control characters; bytes of
 * `user_agent` and `token` that are not printable ASCII are left out. */
struct http_request_fields {
    struct view target; /* path and query */
    struct view host;   /* without port, IPv6 in brackets */
    struct view user_agent;
    struct view token; /* sent as X-Authorization; empty: no such header */
    uint8_t nonce[HTTP_WS_NONCE_SIZE];
};

struct http_response {
    uint16_t status;
    bool upgraded; /* 101 and every check of RFC 6455 section 4.1 holds */
    /* Seconds of Retry-After relative to `unix_s`; HTTP_RETRY_AFTER_NONE without a valid one. */
    uint64_t retry_after_s;
    const char *refusal; /* why a 101 was not accepted; static text, NULL otherwise */
};

/* Writes the upgrade request in the reference's header order. */
void http_put_upgrade_request(struct writer *w, const struct http_request_fields *fields);

/* Feeds received bytes; *consumed says how many belong to the head (the rest is WebSocket or body).
 * `unix_s` is the wall clock for dates. On HTTP_DONE *out is filled. */
MUST_USE enum http_verdict http_handle_response(struct http_head *head, struct view bytes,
                                                const uint8_t nonce[HTTP_WS_NONCE_SIZE],
                                                uint64_t unix_s, size_t *consumed,
                                                struct http_response *out);

/* ---- server: the simulated portal, health end points ---- */

struct http_request {
    struct view method;
    struct view target; /* as sent, path and query; views live as long as the head */
    struct view host;
    struct view user_agent;
    struct view authorization; /* of X-Authorization, empty when absent */
    struct view ws_key;        /* of Sec-WebSocket-Key */
    bool upgrade;              /* a complete WebSocket upgrade of version 13 */
    bool keep_alive;           /* the connection may carry another request */
};

MUST_USE enum http_verdict http_handle_request(struct http_head *head, struct view bytes,
                                               size_t *consumed, struct http_request *out);

/* Writes the 101 response to `ws_key`. */
void http_put_upgrade_response(struct writer *w, struct view ws_key);

/* A complete response that is not an upgrade. */
struct http_answer {
    uint16_t status;
    const char *reason;       /* e.g. "Service Unavailable" */
    const char *content_type; /* NULL: no body headers but Content-Length */
    uint64_t retry_after_s;   /* HTTP_RETRY_AFTER_NONE: no such header */
    struct view body;
    bool head_only; /* write the length of the body but not the body (HEAD) */
    bool close;     /* Connection: close */
};

void http_put_answer(struct writer *w, const struct http_answer *answer);

/* ---- parts ---- */

/* base64(SHA-1(key + GUID)), RFC 6455 section 4.2.2. */
void http_ws_accept(struct view ws_key, uint8_t out[HTTP_WS_ACCEPT_SIZE]);

#endif /* PORTAL_HTTP_UPGRADE_H */
