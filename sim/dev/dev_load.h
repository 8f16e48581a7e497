/* dev_load: datagrams at a given rate, and how many of them arrive.
 *
 * A TCP connection between the two ends says what is sent (a plan of LOAD_PLAN_SIZE bytes) and what
 * has arrived; it goes the same way as the datagrams. The sender has a socket for each flow, the
 * receiver one socket for all. A datagram begins with its flow and its number in it.
 *
 *   client                              server (a process for each connection)
 *   plan                        -->
 *                               <--     ports: of the receiver (up), of each flow (down)
 *   up: datagrams, then the count -->   what has arrived
 *   down: a datagram to each port -->   datagrams, then the count
 */
#ifndef DEV_LOAD_H
#define DEV_LOAD_H

#include "base/addr.h"
#include "base/bytes.h"

#define LOAD_FLOWS_MAX   64U
#define LOAD_BURST_MAX   64U   /* UDP_MAX_SEGMENTS of kernels before 6.9 */
#define LOAD_SIZE_MAX    1452U /* payload of a datagram */
#define LOAD_HEADER_SIZE 8U
#define LOAD_PLAN_SIZE   24U
#define LOAD_RATE_MAX    4000000U

struct load_plan {
    bool down;          /* the server sends */
    bool gso;           /* a burst leaves as one super-packet (UDP_SEGMENT) */
    uint16_t size;      /* payload of a datagram, LOAD_HEADER_SIZE to LOAD_SIZE_MAX */
    uint16_t flows;     /* 1 to LOAD_FLOWS_MAX, burst by burst in turn */
    uint16_t burst_min; /* datagrams that leave at once; how many is drawn between these */
    uint16_t burst_max; /* at most LOAD_BURST_MAX; 1: whatever is due leaves, one by one */
    uint32_t rate;      /* datagrams a second, at most LOAD_RATE_MAX */
    uint32_t ms;        /* how long */
};

void load_plan_put(const struct load_plan *plan, uint8_t out[LOAD_PLAN_SIZE]);
/* False: a value out of range. */
MUST_USE bool load_plan_get(const uint8_t bytes[LOAD_PLAN_SIZE], struct load_plan *out);

/* What the receiver saw. Zeroed: nothing yet. */
struct load_tally {
    uint64_t received;
    uint64_t disorder; /* of them behind one with a higher number of its flow */
    uint32_t next[LOAD_FLOWS_MAX];
};

void load_header_put(uint8_t out[LOAD_HEADER_SIZE], uint16_t flow, uint32_t number);
/* Counts a datagram; one without a header, or of another tool, does not count. */
void load_count(struct load_tally *tally, struct view datagram);

struct load_sent {
    uint64_t count;
    uint64_t ns; /* that it took */
};

/* One measurement of a plan. */
struct load_result {
    struct load_sent sent;
    uint64_t received;
    uint64_t disorder;
};

enum load_verdict {
    LOAD_PASSED,
    LOAD_LOST,   /* more than one datagram in a thousand was lost */
    LOAD_LAGGED, /* none too many, but the sender left more than a tenth of the rate undone */
};

MUST_USE enum load_verdict load_judge(const struct load_plan *plan,
                                      const struct load_result *result);

/* The highest rate that passes: doubled until one fails twice, then halved in between three times.
 * Ends where the sender lags twice: higher rates would measure nothing else. */
struct load_search {
    uint32_t good; /* highest that passed; 0: none */
    uint32_t bad;  /* lowest that lost; 0: none */
    uint32_t next; /* to try */
    uint32_t halvings;
    bool failed_once;
    bool lagged; /* the sender was the limit */
};

void load_search_start(struct load_search *search, uint32_t first);
/* Takes the verdict about `next`; false: the search is over. */
MUST_USE bool load_search_next(struct load_search *search, enum load_verdict verdict);

/* ---- on sockets (dev_load_udp.c); each says on stderr what went wrong ---- */

/* A socket with large buffers at `local`; -1. */
int load_socket(const struct sock_addr *local);
/* The port that it got. */
uint16_t load_port(int fd);
/* Sends as planned over the plan's connected sockets. */
struct load_sent load_send(const int *flows, const struct load_plan *plan);
/* Receives until something is to be read on `control`, and then until 100 ms are quiet. */
void load_receive(int fd, int control, struct load_tally *tally);

#endif /* DEV_LOAD_H */
