/* policy_nat: the table of DNS-resource flows, one to one between inside and outside.
 *
 * inside  = (client, protocol, client's port or echo id, proxy address)
 * outside = (client, protocol, chosen port or echo id, real address)
 * The far port is not part of the key (spec/dataplane.md section 5), so what a policy decision was
 * cached for is kept in the session as well.
 *
 * Lives (design section 6): TCP 7 440 s, UDP and ICMP 120 s after the last packet of either
 * direction; 60 s while nothing came back; 5 s once FIN was seen in both directions; none after
 * RST. A new connection on a port takes over the session. They are judged at look-up; sweeping only
 * gives memory back. The outside tuple of a dead session is remembered, so that late packets are
 * dropped and not mistaken for other traffic; the memory is bounded per client and never costs a
 * live session. Memory: pools in an arena, touched as used. Records are 64 bytes.
 */
#ifndef POLICY_NAT_H
#define POLICY_NAT_H

#include "base/addr.h"
#include "base/fault.h"
#include "base/map.h"
#include "base/siphash.h"
#include "base/time.h"
#include "policy/policy_pool.h"
#include "policy/policy_rate.h"

#define POLICY_NAT_TCP_S          7440U /* seconds idle */
#define POLICY_NAT_DATAGRAM_S     120U  /* UDP and ICMP echo */
#define POLICY_NAT_UNCONFIRMED_S  60U
#define POLICY_NAT_CLOSED_S       5U
#define POLICY_NAT_PROBES_MAX     8U    /* ports tried one by one before a port map is made */
#define POLICY_NAT_PORT_MAPS      32U   /* crowded (client, protocol, address) at a time */
#define POLICY_NAT_MAP_COST       4096U /* sessions; a port map costs at least so many */
#define POLICY_NAT_MAP_COST_PER_S (64U * POLICY_NAT_MAP_COST) /* for the maps of all clients */
#define POLICY_NAT_SHARE          256U  /* who has less than this part of a full table gets more */
#define POLICY_NAT_SCANS_PER_S    1000U /* looks at all clients, 0.1 ms each, for who has most */
#define POLICY_NAT_RECLAIM_MAX    16U   /* old sessions looked at on the way of something else */
#define POLICY_NAT_SLICE          256U  /* records swept or forgotten per call, well under 1 ms */
#define POLICY_NAT_SWEEP_S        64U   /* a whole round of the sweep, seconds */
#define POLICY_NAT_SWEEP_EVERY_MS 1000U /* between two calls, while the table is small */
#define POLICY_NAT_PORTS          65536U
#define POLICY_NAT_ABSENT         64U /* tuples of no session that are remembered; a power of two */

enum policy_nat_kind {
    POLICY_NAT_TCP,
    POLICY_NAT_UDP,
    POLICY_NAT_ICMP, /* both families */
};

/* One side of a session. `client` is the dense index. */
struct policy_nat_tuple {
    uint32_t client;
    enum policy_nat_kind kind;
    uint16_t port; /* or echo identifier */
    struct ip_addr ip;
};

enum policy_nat_flag {
    POLICY_NAT_KIND_MASK = 0x03,
    POLICY_NAT_INSIDE_V6 = 0x04,
    POLICY_NAT_OUTSIDE_V6 = 0x08,
    POLICY_NAT_CONFIRMED = 0x10, /* something came back */
    POLICY_NAT_FIN_OUT = 0x20,
    POLICY_NAT_FIN_IN = 0x40,
    POLICY_NAT_EXPIRED = 0x80, /* only the outside tuple is remembered */
};

struct policy_nat_session {
    union {
        uint8_t inside_ip[16];
        struct { /* expired: the list of all expired tuples, oldest first; index + 1 */
            uint32_t older;
            uint32_t newer;
        } age;
    } u;
    uint8_t outside_ip[16];
    uint64_t last_ns;  /* boot time of the last packet */
    uint32_t client;   /* owner + 1; 0: the record is free */
    uint32_t next;     /* in the client's list, live or expired; index + 1 */
    uint32_t prev;     /* index + 1 */
    uint32_t epoch;    /* policy epoch of the client for which the decision below holds */
    uint16_t far_port; /* the port at the resource that was permitted */
    uint16_t inside_port;
    uint16_t outside_port;
    uint8_t grant; /* slot that permitted it */
    uint8_t flags; /* enum policy_nat_flag */
};

static_assert(sizeof(struct policy_nat_session) == 64, "one cache line");

struct policy_nat_list {
    uint32_t head; /* oldest; index + 1 */
    uint32_t tail;
    uint32_t count;
};

struct policy_nat_client {
    struct policy_nat_list live;
    struct policy_nat_list expired;
    uint32_t port_maps;  /* how many of the port maps are this client's */
    uint32_t generation; /* 15 bits; owner = generation << 16 | index */
};

/* Which ports of one (client, protocol, outside address) are taken; made when probing fails. */
struct policy_nat_ports {
    bool used;
    struct policy_nat_tuple of; /* port unused */
    uint64_t stamp;             /* for reusing the one that rested longest */
    uint64_t taken[POLICY_NAT_PORTS / 64];
};

struct policy_nat_limits {
    uint32_t clients;
    uint32_t sessions;
    uint32_t sessions_per_client;
    uint32_t expired_per_client;
};

struct policy_nat {
    struct policy_nat_limits limits;
    struct siphash_key key;
    struct policy_nat_session *sessions;
    struct policy_pool pool;
    struct map inside;
    struct map outside;
    struct policy_nat_client *clients;
    uint64_t *owners; /* a bit a client: it has records, live or remembered */
    struct policy_nat_ports *ports;
    struct policy_nat_list aged;        /* all expired tuples, oldest first */
    struct policy_nat_list doomed_live; /* of earlier generations: nobody finds them any more */
    struct policy_nat_list doomed_expired;
    struct policy_rate maps_rate;
    struct policy_rate scans_rate;
    uint32_t heaviest;              /* who had most sessions at the last look */
    const struct fault_hook *fault; /* NULL: none */
    uint64_t stamp;
    uint32_t sweep_at; /* next record to look at */
    uint32_t guess;    /* record + 1 that the next look-up will probably find; 0: none */
    /* Outside tuples that no record has: flows of clients with names that are not translated ask
     * with every packet. ip.family == IP_NONE: empty. */
    struct policy_nat_tuple absent[POLICY_NAT_ABSENT];
};

void policy_nat_init(struct policy_nat *nat, struct arena *arena,
                     const struct policy_nat_limits *limits, struct siphash_key key);

/* Returns the live session whose life has not ended at `now`, POLICY_NONE otherwise. */
MUST_USE uint32_t policy_nat_find_inside(struct policy_nat *nat,
                                         const struct policy_nat_tuple *inside, struct instant now);
/* The same by outside tuple. *expired: the tuple belonged to a session that has ended. */
MUST_USE uint32_t policy_nat_find_outside(struct policy_nat *nat,
                                          const struct policy_nat_tuple *outside,
                                          struct instant now, bool *expired);

/* Opens a session from `inside` to the address `real`: the port is the inside one if free, else the
 * next one upwards to 65535, then from 1. In a full table a client with less than its share takes
 * the oldest session of who has most. POLICY_NONE: no port or no record is free. Asserts: no
 * live session has this inside tuple (policy_nat_find_inside() was asked at `now`). */
MUST_USE uint32_t policy_nat_open(struct policy_nat *nat, const struct policy_nat_tuple *inside,
                                  const struct ip_addr *real, struct instant now);

enum policy_nat_direction {
    POLICY_NAT_OUT,
    POLICY_NAT_IN,
};

/* Notes a forwarded packet. `tcp_flags` are PACKET_TCP_*, 0 for other protocols. After RST the
 * session has ended. SYN of the client begins a new connection on the same port: FINs seen before
 * it do not count. */
void policy_nat_touch(struct policy_nat *nat, uint32_t session, enum policy_nat_direction direction,
                      uint8_t tcp_flags, struct instant now);

/* Notes that the session serves another far port now: FINs of the connection before do not count.
 */
void policy_nat_set_far_port(struct policy_nat *nat, uint32_t session, uint16_t far_port);

/* A flow that is not translated begins on this outside tuple, and cannot take another: answers to
 * it must not be taken for those to a session. One that stands there moves to another port, where
 * none is free it ends; what is remembered of a dead one is forgotten. False: a TCP connection
 * lives there, which would not survive the move, so that the new flow must not begin. */
MUST_USE bool policy_nat_yield(struct policy_nat *nat, const struct policy_nat_tuple *outside,
                               struct instant now);

/* Forgets everything of one client, remembered tuples included. Nothing of it is found any more;
 * the records come back slice by slice, the first few now, the others by policy_nat_drain(). */
void policy_nat_reset_client(struct policy_nat *nat, uint32_t client);
/* Frees up to `budget` forgotten records. */
void policy_nat_drain(struct policy_nat *nat, uint32_t budget);
MUST_USE bool policy_nat_is_drained(const struct policy_nat *nat);

MUST_USE struct ip_addr policy_nat_inside_ip(const struct policy_nat_session *session);
MUST_USE struct ip_addr policy_nat_outside_ip(const struct policy_nat_session *session);
MUST_USE enum policy_nat_kind policy_nat_kind_of(const struct policy_nat_session *session);
/* Returns when the session ends unless more packets come. */
MUST_USE struct instant policy_nat_ends_at(const struct policy_nat_session *session);

/* Live records, dead ones not yet swept and forgotten ones not yet freed included. */
MUST_USE uint32_t policy_nat_live_count(const struct policy_nat *nat);

/* Ends the sessions among the next POLICY_NAT_SLICE records that are dead at `now`. */
void policy_nat_sweep(struct policy_nat *nat, struct instant now);
/* How long to wait between two sweeps, so that a round takes POLICY_NAT_SWEEP_S at most. */
MUST_USE struct duration policy_nat_sweep_pause(const struct policy_nat *nat);

/* Asserts every invariant: indices, lists, counts, port maps, one-to-one. */
void policy_nat_check(const struct policy_nat *nat);

#endif /* POLICY_NAT_H */
