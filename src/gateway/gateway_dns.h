/* gateway_dns: the DNS server on the gateway's tunnel addresses, port 53535, for SRV and TXT.
 *
 * Newer clients send such queries inside the tunnel to the gateway they use for a DNS resource;
 * each is handed to the platform's resolver and the answer goes back with the client's id. Other
 * types are refused. UDP answers are cut to 1 200 bytes; a query without answer after 5 s gets
 * SERVFAIL. Source: spec/dataplane.md section 8.4; RFC 7766 section 6.2.3 (whoever ends its side of
 * a connection still gets what it asked for) and 6.2.1.1 (queries may follow one another before the
 * first is answered). Differs: every nameserver of the resolver is tried, so a resolver that knows
 * only private names serves too. Memory: fixed tables inside the gateway. In a full one, each
 * client has its share (gateway_place.h): who has most loses the oldest, by SERVFAIL or by the end
 * of a connection; a newcomer beyond its share is refused in the same way.
 */
#ifndef GATEWAY_DNS_H
#define GATEWAY_DNS_H

#include "dns/dns_msg.h"
#include "gateway/gateway.h"

#define GATEWAY_DNS_PORT        53535U
#define GATEWAY_DNS_QUERIES_MAX 64U    /* in flight */
#define GATEWAY_DNS_STREAMS_MAX 16U    /* TCP connections; fewer than a platform accepts */
#define GATEWAY_DNS_QUERY_MAX   512U   /* bytes of one query */
#define GATEWAY_DNS_BURST_MAX   4096U  /* bytes of queries waiting on one TCP connection */
#define GATEWAY_DNS_ANSWER_MAX  16384U /* bytes of one TCP answer; a longer one is SERVFAIL */
#define GATEWAY_DNS_TIMEOUT_S   5U
#define GATEWAY_DNS_IDLE_S      10U /* of a TCP connection: to the next whole query or answer */

struct gateway_dns_query {
    bool used;
    bool due; /* the lookup has not been handed out */
    uint32_t lookup;
    enum gateway_listener listener;
    uint32_t stream;         /* TCP; 0 for UDP */
    struct sock_addr remote; /* the port only for UDP */
    struct instant deadline;
    uint16_t type;
    uint16_t len;
    uint8_t bytes[GATEWAY_DNS_QUERY_MAX];
};

struct gateway_dns_stream {
    uint32_t stream; /* 0: free */
    struct ip_addr remote;
    struct instant moved_at; /* accepted, the last whole query came, the last whole answer left */
    uint16_t used;
    bool asking; /* its query is being looked up */
    bool ended;  /* the client asks nothing more: closed after the last answer */
    bool closing;
    bool blocked;
    uint32_t answer_len;
    uint32_t answer_sent;
    uint8_t bytes[GATEWAY_DNS_BURST_MAX];
    uint8_t answer[2 + GATEWAY_DNS_ANSWER_MAX];
};

struct gateway_dns {
    struct gateway_dns_query queries[GATEWAY_DNS_QUERIES_MAX];
    struct gateway_dns_stream streams[GATEWAY_DNS_STREAMS_MAX];
    uint32_t refused[GATEWAY_DNS_STREAMS_MAX]; /* to close: newcomers, or those that gave way */
    uint32_t refused_count;
    bool is_drained;  /* nothing has happened since gateway_dns_poll() found nothing, */
    struct wake wake; /* and this is when something is due */
    bool answer_due;  /* `answer` waits to be sent over UDP; it leaves before the next input */
    enum gateway_listener answer_listener;
    struct sock_addr answer_remote;
    size_t answer_len;
    uint8_t answer[DNS_UDP_SIZE_MAX];
    uint8_t name[DNS_NAME_TEXT_SIZE_MAX]; /* of the lookup handed out last */
};

/* Takes a datagram that a UDP listener received. `next_id` is the counter of lookup ids.
 * DROP_DNS_MALFORMED: not a query with one question. DROP_P2P_BUSY: somebody got SERVFAIL. */
MUST_USE enum drop_reason
gateway_dns_handle_datagram(struct gateway_dns *dns,
                            const struct gateway_listener_datagram *datagram, uint32_t *next_id,
                            struct instant now);
/* Takes an event of a TCP connection to a DNS listener. DROP_P2P_BUSY also: a connection had to
 * end because there are too many. */
MUST_USE enum drop_reason gateway_dns_handle_stream(struct gateway_dns *dns,
                                                    const struct gateway_stream_event *event,
                                                    uint32_t *next_id, struct instant now);
MUST_USE bool gateway_dns_owns(const struct gateway_dns *dns, uint32_t stream);
/* Reports how much of the last answer was taken; a further query that has come may start now. */
MUST_USE enum drop_reason gateway_dns_sent(struct gateway_dns *dns, uint32_t stream, size_t taken,
                                           uint32_t *next_id, struct instant now);
/* Takes the answer to a lookup; false when it is none of ours. */
bool gateway_dns_handle_answer(struct gateway_dns *dns, const struct gateway_lookup_answer *answer);
void gateway_dns_handle_timeout(struct gateway_dns *dns, struct instant now);
MUST_USE struct wake gateway_dns_poll_timeout(const struct gateway_dns *dns);
MUST_USE bool gateway_dns_poll(struct gateway_dns *dns, struct gateway_output *out);
/* Asserts that what is remembered about the next timeout is so. */
void gateway_dns_check(const struct gateway_dns *dns);

#endif /* GATEWAY_DNS_H */
