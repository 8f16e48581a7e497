/* dns_msg: DNS messages: reading, walking the records, building queries and responses.
 *
 * Compression pointers are followed strictly backwards and at most DNS_NAME_LABELS_MAX of them.
 * Names are never compressed when building, except that an answer's owner may point at the
 * question. Source: RFC 1035 section 4, RFC 2782 (SRV), RFC 6891 (OPT is tolerated), RFC 3597.
 * Memory: nothing is allocated; a message and its records borrow the bytes that were parsed.
 */
#ifndef DNS_MSG_H
#define DNS_MSG_H

#include "base/addr.h"
#include "base/drop.h"
#include "dns/dns_name.h"

#define DNS_HEADER_SIZE 12U
#define DNS_UDP_SIZE_MAX                                                                           \
    1200U /* bytes of an answer inside the tunnel, spec/dataplane.md section 8.4 */
#define DNS_MSG_SIZE_MAX   65535U /* bytes, RFC 1035 section 4.2.2 */
#define DNS_TXT_STRING_MAX 255U   /* bytes of one character string */

enum dns_type {
    DNS_TYPE_A = 1,
    DNS_TYPE_NS = 2,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_PTR = 12,
    DNS_TYPE_MX = 15,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_SRV = 33,
    DNS_TYPE_OPT = 41,
    DNS_TYPE_HTTPS = 65,
};

#define DNS_CLASS_IN 1U

enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5,
};

#define DNS_FLAG_RESPONSE            0x8000U
#define DNS_FLAG_AUTHORITATIVE       0x0400U
#define DNS_FLAG_TRUNCATED           0x0200U
#define DNS_FLAG_RECURSION_DESIRED   0x0100U
#define DNS_FLAG_RECURSION_AVAILABLE 0x0080U
#define DNS_RCODE_MASK               0x000fU
#define DNS_OPCODE_MASK              0x7800U

struct dns_question {
    struct dns_name name;
    uint16_t type;  /* enum dns_type or any other */
    uint16_t class; /* DNS_CLASS_IN or any other */
};

/* A parsed message: exactly one question. `bytes` is the whole message, borrowed. */
struct dns_msg {
    struct view bytes;
    uint16_t id;
    uint16_t flags; /* the header's second word */
    struct dns_question question;
    uint16_t answers_count;
    size_t records_offset; /* of the first answer in `bytes` */
};

struct dns_record {
    struct dns_name name;
    uint16_t type;
    uint16_t class;
    uint32_t ttl_s;
    struct view data;   /* inside the message; names in it may be compressed */
    size_t data_offset; /* of `data` in the message */
};

/* Walks the records of all sections in order. */
struct dns_walk {
    size_t offset;
    uint32_t left; /* records */
    bool failed;
};

/* Reads header and question. Refuses with DROP_DNS_MALFORMED: short, not exactly one question, or a
 * bad name. The records are checked by walking. */
MUST_USE enum drop_reason dns_msg_parse(struct view bytes, struct dns_msg *out);
MUST_USE uint8_t dns_msg_rcode(const struct dns_msg *msg);
MUST_USE bool dns_msg_is_response(const struct dns_msg *msg);
/* True when `response` answers `query`: id, question (any case), the response bit. */
MUST_USE bool dns_msg_is_answer(const struct dns_msg *response, const struct dns_msg *query);

/* Starts a walk over the answers; nobody asks for the other sections. */
struct dns_walk dns_msg_walk_answers(const struct dns_msg *msg);
/* Gives the next record; false at the end or at a malformed one (then `failed` is set). */
MUST_USE bool dns_msg_next(const struct dns_msg *msg, struct dns_walk *walk,
                           struct dns_record *out);

/* Typed views of a record's data; false if type, class or length are wrong. */
MUST_USE bool dns_record_address(const struct dns_record *record, struct ip_addr *out);
/* PTR and CNAME. */
MUST_USE bool dns_record_name(const struct dns_msg *msg, const struct dns_record *record,
                              struct dns_name *out);

struct dns_srv {
    uint16_t priority;
    uint16_t weight;
    uint16_t port;
    struct dns_name target;
};
MUST_USE bool dns_record_srv(const struct dns_msg *msg, const struct dns_record *record,
                             struct dns_srv *out);
/* The first character string of a TXT record. */
MUST_USE bool dns_record_text(const struct dns_record *record, struct view *out);

/* Collects the A and AAAA records of the answer section (whatever their owner: CNAME chains are the
 * resolver's business). Returns how many were stored, at most `max`; *ok is false when a record is
 * malformed. */
size_t dns_msg_addresses(const struct dns_msg *msg, struct ip_addr *out, size_t max, bool *ok);

/* ---- building ---- */

/* Appends a query with recursion desired. */
void dns_msg_put_query(struct writer *w, uint16_t id, const struct dns_question *question);

/* A response under construction; records are appended, dns_build_finish() ends it. */
struct dns_build {
    struct writer *w;
    size_t start; /* of the message in the writer */
    uint16_t answers_count;
};

/* Appends the header (response, recursion available, RD and opcode copied from the query) and the
 * query's question. */
struct dns_build dns_build_response(struct writer *w, const struct dns_msg *query,
                                    enum dns_rcode rcode);
void dns_build_address(struct dns_build *build, const struct ip_addr *address, uint32_t ttl_s);
void dns_build_ptr(struct dns_build *build, const struct dns_name *target, uint32_t ttl_s);
void dns_build_cname(struct dns_build *build, const struct dns_name *target, uint32_t ttl_s);
void dns_build_srv(struct dns_build *build, const struct dns_srv *srv, uint32_t ttl_s);
/* One string of at most DNS_TXT_STRING_MAX bytes (asserted). */
void dns_build_text(struct dns_build *build, struct view text, uint32_t ttl_s);
/* Writes the counts. False when something did not fit. */
MUST_USE bool dns_build_finish(struct dns_build *build);

/* Appends a response without records: NXDOMAIN, SERVFAIL, or an empty NOERROR. */
void dns_msg_put_empty(struct writer *w, const struct dns_msg *query, enum dns_rcode rcode);

/* Cuts a response to at most `max` bytes for UDP: if it is longer, drops every record and sets TC
 * (RFC 2181 section 9). Returns the new size; 0 if the bytes are no message with one question or
 * even header and question do not fit. */
MUST_USE size_t dns_msg_truncate(struct span message, size_t max);

#endif /* DNS_MSG_H */
