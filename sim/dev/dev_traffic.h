/* dev_traffic: traffic whose every byte is a function of (seed, stream, place), sent and verified
 * on both ends, so that what a path changes, loses in the middle or mixes up is found.
 *
 * TCP: the client names a stream and how many bytes each way; both ends send and verify at the same
 * time, in writes of all sizes. UDP: a datagram of 8 bytes or more carries its number, a shorter
 * one is a function of its length. Echo port: what is right comes back in the other direction's
 * pattern. Burst port (the next one): answers a request with a super-packet (UDP_SEGMENT).
 */
#ifndef DEV_TRAFFIC_H
#define DEV_TRAFFIC_H

#include "base/addr.h"
#include "base/bytes.h"

#define TRAFFIC_DATAGRAM_MAX 1252U /* payload of an IPv4 packet of 1280 bytes; 1232 for IPv6 */
#define TRAFFIC_SEGMENTS_MAX 64U   /* UDP_MAX_SEGMENTS of kernels before 6.9 */
#define TRAFFIC_SUPER_MAX    65000U

/* Different bytes for each way, so that an echo proves more than a mirror. */
enum traffic_way {
    TRAFFIC_UP,
    TRAFFIC_DOWN,
    TRAFFIC_ECHO,
};

/* The `len` bytes at `offset` of a stream. */
void traffic_pattern(uint64_t seed, enum traffic_way way, uint64_t stream, uint64_t offset,
                     struct span out);
MUST_USE bool traffic_matches(uint64_t seed, enum traffic_way way, uint64_t stream, uint64_t offset,
                              struct view bytes);
/* Fills `out` as datagram `number`. */
void traffic_datagram(uint64_t seed, enum traffic_way way, uint32_t number, struct span out);
/* The number that a datagram carries; its length if it is too short for one. */
MUST_USE uint32_t traffic_number(struct view datagram);
MUST_USE bool traffic_datagram_matches(uint64_t seed, enum traffic_way way, struct view datagram);

/* A burst: `count` datagrams of `size` bytes and, unless `tail` is 0, one of `tail` bytes, numbered
 * from `first`. */
struct traffic_burst {
    uint32_t first;
    uint16_t size;
    uint16_t count;
    uint16_t tail;
};

/* Sends it as one super-packet on a connected socket, or to `to`. False: errno says why. */
MUST_USE bool traffic_send_burst(int fd, uint64_t seed, enum traffic_way way,
                                 const struct traffic_burst *burst, const struct sock_addr *to);

/* ---- the two ends; each returns false after saying on stderr what went wrong ---- */

struct traffic_plan {
    struct sock_addr server; /* echo port; burst requests go to the next one */
    uint64_t seed;
    uint64_t bytes;    /* of each TCP stream and way */
    uint16_t stride;   /* super-packets: every stride-th size, */
    uint16_t phase;    /* beginning here, modulo stride */
    uint16_t size_max; /* of datagrams */
};

MUST_USE bool traffic_client_tcp(const struct traffic_plan *plan);
MUST_USE bool traffic_client_udp(const struct traffic_plan *plan);
/* An accepted connection, served to its end. */
MUST_USE bool traffic_serve_tcp(int fd, uint64_t seed);
/* What waits on an echo or burst socket. Wrong bytes get no answer. */
MUST_USE bool traffic_serve_echo(int fd, uint64_t seed);
MUST_USE bool traffic_serve_burst(int fd, uint64_t seed);

#endif /* DEV_TRAFFIC_H */
