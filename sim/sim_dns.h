/* sim_dns: a recursive DNS server as an answer table with records that change over time.
 *
 * Two faces of one table: `struct sim_resolver` for the lookups of a simulated platform, and a node
 * that answers DNS messages on port 53 (`fzdev dns`, hosts that ask over the simulated network).
 * Source: spec/simulation.md sections 7 ("DNS at the gateway") and 10; RFC 1035, RFC 2308 (negative
 * answers), RFC 2782 (SRV).
 * An answer is drawn from the table as it is when it is due, so that a change during a slow lookup
 * shows. Draws are keyed by (seed, name, type, ordinal of the lookup of that name): other names do
 * not disturb them.
 * Memory: sim_dns_new() allocates, sim_dns_free() releases. Names are compared without case,
 * without trailing dot.
 */
#ifndef SIM_DNS_H
#define SIM_DNS_H

#include "base/err.h"
#include "sim/sim_node.h"
#include "sim/sim_resolver.h"

#define SIM_DNS_NAMES_MAX   512U
#define SIM_DNS_RECORDS_MAX 4096U
#define SIM_DNS_NAME_SIZE   256U /* presentation form and terminator */
#define SIM_DNS_TEXT_MAX    255U /* bytes of one TXT string */
#define SIM_DNS_CNAMES_MAX  8U   /* longer chains are answered SERVFAIL */
#define SIM_DNS_TTL_S       60U  /* of records without an own TTL */

/* What is wrong with a name. */
enum sim_dns_failure {
    SIM_DNS_OK,
    SIM_DNS_NXDOMAIN,
    SIM_DNS_SERVFAIL,
    SIM_DNS_REFUSED,
    SIM_DNS_EMPTY,     /* NOERROR without records of the type */
    SIM_DNS_TIMEOUT,   /* never answered */
    SIM_DNS_LATE,      /* answered after `late`, beyond everybody's patience */
    SIM_DNS_REBIND,    /* answers with one of the forbidden addresses, see sim_dns_forbidden() */
    SIM_DNS_MANY,      /* 64 addresses */
    SIM_DNS_MALFORMED, /* over sockets: cut message; through the resolver: ERR_IO */
};

enum sim_dns_type {
    SIM_DNS_A,
    SIM_DNS_AAAA,
    SIM_DNS_CNAME,
    SIM_DNS_TXT,
    SIM_DNS_SRV,
};

/* One record; valid from `from` (inclusive) to `until` (exclusive, TIME_NEVER: for ever). */
struct sim_dns_record {
    enum sim_dns_type type;
    struct ip_addr address; /* A, AAAA */
    const char *text;       /* CNAME, SRV: target; TXT: the string. Copied */
    uint16_t priority;      /* SRV */
    uint16_t weight;        /* SRV */
    uint16_t port;          /* SRV */
    uint32_t ttl_s;         /* 0: SIM_DNS_TTL_S */
    struct instant from;
    struct instant until;
};

/* How a name behaves. All zero: answered well after the server's latency. */
struct sim_dns_behaviour {
    enum sim_dns_failure failure;
    uint32_t failure_percent; /* of lookups that fail so; 0 with a failure means all */
    uint32_t spared;          /* types that never fail so; bit per enum sim_dns_type */
    struct duration latency;  /* added to the server's */
    struct duration jitter;   /* uniform below this, added too */
    struct duration late;     /* SIM_DNS_LATE: latency instead; 0: 11 s */
};

struct sim_dns_config {
    uint8_t seed[32];
    struct sim_dns_behaviour all; /* for every name, besides its own */
};

struct sim_dns_counters {
    uint64_t lookups;
    uint64_t answers;
    uint64_t failures[SIM_DNS_MALFORMED +
                      1]; /* by enum sim_dns_failure; unknown names count as NXDOMAIN */
    uint64_t malformed;   /* received messages that are no queries */
};

struct sim_dns;

struct sim_dns *sim_dns_new(const struct sim_dns_config *config);
void sim_dns_free(struct sim_dns *dns);
struct sim_resolver sim_dns_resolver(struct sim_dns *dns);
/* The server as a node: UDP port 53 of its addresses (TIMEOUT: no answer; others after latency). */
struct sim_node sim_dns_node(struct sim_dns *dns);

/* Adds a record to `name`. ERR_FULL, ERR_ARGUMENT (name or text too long). */
enum err sim_dns_add(struct sim_dns *dns, const char *name, const struct sim_dns_record *record);
/* A or AAAA by the address's family, for ever. */
enum err sim_dns_add_address(struct sim_dns *dns, const char *name, struct ip_addr address);
/* Ends all records of `name` of `type` at `now` (later lookups do not see them). */
void sim_dns_end(struct sim_dns *dns, const char *name, enum sim_dns_type type, struct instant now);
/* Sets how `name` behaves from now on; "" means every name. ERR_FULL. */
enum err sim_dns_behave(struct sim_dns *dns, const char *name,
                        const struct sim_dns_behaviour *behaviour);
const struct sim_dns_counters *sim_dns_counters(const struct sim_dns *dns);

/* Adds an address that SIM_DNS_REBIND may answer (the gateway's own, its tunnel's); loopback,
 * unspecified, link-local, multicast, tunnel and proxy ranges are there from the start. */
enum err sim_dns_forbidden(struct sim_dns *dns, struct ip_addr address);

#endif /* SIM_DNS_H */
