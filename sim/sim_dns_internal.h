/* sim_dns_internal: what the two files of the DNS server share; nobody else includes it. */
#ifndef SIM_DNS_INTERNAL_H
#define SIM_DNS_INTERNAL_H

#include "base/siphash.h"
#include "dns/dns_msg.h"
#include "sim/sim_dns.h"

#define DNS_FORBIDDEN_MAX 64U
#define DNS_PENDING_MAX   2048U /* lookups or queries that wait for their answer */
#define DNS_QUERY_MAX     512U  /* bytes of a query that is kept */
#define DNS_ANSWERS_MAX   64U   /* records of one answer */
#define DNS_NOBODY        UINT32_MAX

struct dns_entry {
    char name[SIM_DNS_NAME_SIZE]; /* lower case, no trailing dot */
    struct sim_dns_behaviour behaviour;
    uint64_t lookups; /* ordinal of the next draw */
};

struct dns_row {
    uint32_t entry;
    char *text; /* CNAME, SRV, TXT: owned */
    struct sim_dns_record record;
};

/* A lookup of a platform, or a query from the network. */
struct dns_pending {
    bool used;
    bool query;
    uint32_t gateway; /* lookup */
    uint32_t lookup;
    uint64_t draw;
    struct instant at; /* query */
    struct sock_addr local;
    struct sock_addr remote;
    uint16_t query_len;
    uint8_t query_bytes[DNS_QUERY_MAX];
};

struct sim_dns {
    struct sim_dns_config config;
    struct sim_dns_counters counters;
    struct siphash_key key;
    struct instant seen; /* the latest time of any call */
    struct dns_entry entries[SIM_DNS_NAMES_MAX];
    uint32_t entries_count;
    struct dns_row rows[SIM_DNS_RECORDS_MAX];
    uint32_t rows_count;
    struct ip_addr forbidden[DNS_FORBIDDEN_MAX];
    uint32_t forbidden_count;
    struct dns_pending pending[DNS_PENDING_MAX];
    uint32_t pending_high; /* slots from here on are free */
    uint8_t message[DNS_MSG_SIZE_MAX];
};

/* One answer, drawn from the table at one moment. */
struct dns_drawn {
    enum sim_dns_failure failure;
    const char *cnames[SIM_DNS_CNAMES_MAX]; /* targets in order */
    uint32_t cnames_count;
    const struct sim_dns_record *records[DNS_ANSWERS_MAX]; /* SRV, TXT */
    uint32_t records_count;
    struct ip_addr addresses[GATEWAY_LOOKUP_ADDRESSES_MAX]; /* A, AAAA */
    uint32_t addresses_count;
    uint32_t ttl_s;
};

/* The draw of the next lookup of `name`, and how long its answer takes (TIME_NEVER.ns: for ever).
 */
uint64_t dns_table_draw(struct sim_dns *dns, struct view name, enum sim_dns_type type);
struct duration dns_table_latency(const struct sim_dns *dns, struct view name,
                                  enum sim_dns_type type, uint64_t draw);
void dns_table_answer(struct sim_dns *dns, struct view name, enum sim_dns_type type,
                      struct instant now, uint64_t draw, struct dns_drawn *out);
/* Builds the message that answers `query` into dns->message; returns it. */
struct view dns_message(struct sim_dns *dns, const struct dns_msg *query,
                        const struct dns_drawn *drawn);

#endif /* SIM_DNS_INTERNAL_H */
