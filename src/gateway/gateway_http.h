/* gateway_http: the health and metrics endpoint, one request a connection.
 *
 * GET or HEAD /healthz answers 200 with an empty body, always; /readyz 200 or 503 and why, as JSON:
 * ready means joined to the portal, init applied, TUN device up, and an allocation at one relay at
 * least if the portal named any (spec/features.md section 3.1); /metrics the counters as text.
 * Other methods 405, other paths 404, anything that is not HTTP/1.x 400. Source: spec/portal.md
 * sections 9.6 and 10.6. Memory: a fixed table inside the gateway, of which every host has its
 * share (gateway_place.h); whoever is beyond it is closed.
 */
#ifndef GATEWAY_HTTP_H
#define GATEWAY_HTTP_H

#include "gateway/gateway.h"

#define GATEWAY_HTTP_STREAMS_MAX 8U /* health checks are short; more at once is no health check */
#define GATEWAY_HTTP_REQUEST_MAX 2048U  /* bytes of request line and headers */
#define GATEWAY_HTTP_ANSWER_MAX  20480U /* bytes; the metrics text is the largest */
#define GATEWAY_HTTP_IDLE_S      10U    /* from opening to end */

struct gateway_http_stream {
    uint32_t stream; /* 0: free */
    struct ip_addr remote;
    struct instant opened_at;
    uint16_t request_used;
    bool answering;
    bool blocked; /* waits for a WRITABLE event */
    uint32_t answer_len;
    uint32_t answer_sent;
    uint8_t request[GATEWAY_HTTP_REQUEST_MAX];
    uint8_t answer[GATEWAY_HTTP_ANSWER_MAX];
};

struct gateway_http {
    struct gateway_http_stream streams[GATEWAY_HTTP_STREAMS_MAX];
    uint32_t refused[GATEWAY_HTTP_STREAMS_MAX]; /* to close: newcomers, or those that gave way */
    uint32_t refused_count;
    bool is_drained;  /* nothing has happened since gateway_http_poll() found nothing, */
    struct wake wake; /* and this is when something is due */
};

/* What the endpoint reports; filled by the gateway when a request is answered. */
struct gateway_http_facts {
    const struct gateway_counters *counters;
    const struct gateway_limits *limits;
    bool portal_joined;
    bool initialised; /* init has come since the join */
    bool tun_up;
    uint32_t allocations; /* relays at which there is one now */
};

/* Takes one event of an accepted stream. Answers are built from `facts` at once. */
void gateway_http_handle(struct gateway_http *http, const struct gateway_stream_event *event,
                         const struct gateway_http_facts *facts, struct instant now);
void gateway_http_sent(struct gateway_http *http, uint32_t stream, size_t taken);
/* Next STREAM_SEND or STREAM_CLOSE; false when there is none. */
MUST_USE bool gateway_http_poll(struct gateway_http *http, struct gateway_output *out);
void gateway_http_handle_timeout(struct gateway_http *http, struct instant now);
MUST_USE struct wake gateway_http_poll_timeout(const struct gateway_http *http);
/* Asserts that what is remembered about the next timeout is so. */
void gateway_http_check(const struct gateway_http *http);

#endif /* GATEWAY_HTTP_H */
