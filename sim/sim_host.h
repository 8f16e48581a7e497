/* sim_host: the hosts of a gateway's resource network.
 *
 * Each address has a behaviour. Everything received is read strictly (oracle O-05): a packet with a
 * wrong length or checksum is reported, never answered. Echo hosts answer ICMP echo, UDP on every
 * port and TCP on every port (bytes come back, FIN is answered with FIN). A stream lives while its
 * host behaves so; of too many the oldest ends.
 * Sans-IO: answers go out through a callback with the delay after which they leave the host.
 * Memory: malloc for TCP connections, at most SIM_HOST_TCP_MAX; the oldest ended one goes first.
 * Source: spec/simulation.md sections 7 ("resource network") and 10.
 */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include "sim/sim_rng.h"
#include "sim/sim_tcp.h"

#define SIM_HOSTS_MAX           64U
#define SIM_HOST_TCP_MAX        64U
#define SIM_HOST_CHATTY_ANSWERS 3U
#define SIM_HOST_STREAMS_MAX    32U

enum sim_host_behaviour {
    SIM_HOST_ECHO,
    SIM_HOST_SILENT,
    SIM_HOST_SLOW,         /* echo after `delay` */
    SIM_HOST_RST,          /* TCP is refused with RST, UDP with port unreachable */
    SIM_HOST_NET,          /* ICMP: network unreachable */
    SIM_HOST_UNREACHABLE,  /* ICMP: host unreachable (IPv6: address unreachable) */
    SIM_HOST_PORT,         /* ICMP: port unreachable */
    SIM_HOST_PROHIBITED,   /* ICMP: administratively prohibited */
    SIM_HOST_TOO_BIG,      /* ICMP: fragmentation needed, packet too big (MTU 1 280) */
    SIM_HOST_TIME,         /* ICMP: time exceeded */
    SIM_HOST_WRONG_SOURCE, /* echo, but UDP answers come from another port */
    SIM_HOST_CHATTY,       /* SIM_HOST_CHATTY_ANSWERS to each datagram */
    SIM_HOST_STREAM,       /* echo; a datagram is answered again every few seconds for minutes */
    SIM_HOST_BEHAVIOURS,
};

struct sim_hosts;

/* An IP packet leaves a host after `delay`. */
typedef void sim_host_emit(void *self, struct duration delay, struct view packet);

MUST_USE struct sim_hosts *sim_hosts_new(const struct sim_rng *rng, uint32_t network);
void sim_hosts_free(struct sim_hosts *hosts);
/* Adds or changes a host. Asserts room. */
void sim_hosts_set(struct sim_hosts *hosts, struct ip_addr ip, enum sim_host_behaviour behaviour,
                   struct duration delay);
/* The behaviour of an address; false: nobody lives there. */
MUST_USE bool sim_hosts_find(const struct sim_hosts *hosts, const struct ip_addr *ip,
                             enum sim_host_behaviour *behaviour);
MUST_USE uint32_t sim_hosts_count(const struct sim_hosts *hosts);
struct ip_addr sim_hosts_at(const struct sim_hosts *hosts, uint32_t index);

/* A packet enters the network from the gateway's TUN device. Returns NULL, or what is wrong with it
 * (static text; it is not answered then). */
MUST_USE const char *sim_hosts_packet(struct sim_hosts *hosts, struct instant now,
                                      struct view packet, sim_host_emit *emit, void *self);
void sim_hosts_timeout(struct sim_hosts *hosts, struct instant now, sim_host_emit *emit,
                       void *self);
MUST_USE struct instant sim_hosts_next(const struct sim_hosts *hosts);
/* Whether hosts of SIM_HOST_STREAM answer more than once; off ends what goes on. */
void sim_hosts_streams(struct sim_hosts *hosts, bool on);

#endif /* SIM_HOST_H */
