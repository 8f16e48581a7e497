/* sim_net: the simulated network: a public core, private sites behind edges, faulty links.
 *
 * Every node has one uplink and one downlink to the core with their own qualities; what happens to
 * the n-th packet of a link is drawn from (link, n). Between them the datagram passes the edges of
 * its source and destination (sim/sim_nat.h). Nodes of one site reach each other's private
 * addresses directly. Unknown destinations swallow datagrams, with a recorded cause.
 * Byte streams (sim/sim_stream.h) use latencies and cuts of the same links.
 * Everything sent, delivered and dropped goes to the trace.
 * Memory: datagrams in flight are copied; tables grow with malloc.
 * Source: spec/simulation.md sections 6.2, 7 and 10.
 */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "base/err.h"
#include "sim/sim_nat.h"
#include "sim/sim_node.h"
#include "sim/sim_rng.h"
#include "sim/sim_sched.h"
#include "sim/sim_trace.h"

#define SIM_NODES_MAX 48U
#define SIM_EDGES_MAX 48U
#define SIM_EDGE_NONE UINT32_MAX

/* One direction of a node's access. Zero everywhere is a perfect link without delay. */
struct sim_link {
    uint64_t latency_ns;
    uint64_t jitter_ns; /* uniform on top of the latency; order is kept */
    uint32_t loss_ppm;
    uint32_t burst_enter_ppm; /* per packet: good state to bad state */
    uint32_t burst_leave_ppm; /* per packet: bad state to good state */
    uint32_t burst_loss_ppm;  /* loss in the bad state */
    uint32_t duplicate_ppm;
    uint64_t duplicate_delay_ns; /* the copy comes up to this much later */
    uint32_t reorder_ppm;        /* held back by up to reorder_delay, overtaken meanwhile */
    uint64_t reorder_delay_ns;
    uint32_t flip_ppm;     /* one bit is flipped */
    uint32_t truncate_ppm; /* some bytes at the end are missing */
    uint32_t bytes_per_s;  /* 0: no limit */
    uint32_t queue_bytes;  /* tail drop beyond this; only with a rate limit */
    uint32_t mtu;          /* UDP payload; longer datagrams vanish; 0: no limit */
};

enum sim_direction {
    SIM_UP,   /* node to core */
    SIM_DOWN, /* core to node */
};

enum sim_families {
    SIM_FAMILIES_V4 = 1,
    SIM_FAMILIES_V6 = 2,
    SIM_FAMILIES_BOTH = 3,
};

/* Counters of what happened to datagrams. */
struct sim_net_counts {
    uint64_t sent;
    uint64_t delivered;
    uint64_t dropped;
    uint64_t duplicated;
    uint64_t corrupted;
    uint64_t reordered;
};

struct sim_net;

/* Called for each datagram that reaches a node; views live during the call. */
typedef void sim_deliver_fn(void *self, uint32_t node, const struct sim_datagram *datagram);

MUST_USE struct sim_net *sim_net_new(struct sim_sched *sched, struct sim_trace *trace,
                                     const struct sim_rng *rng, sim_deliver_fn *deliver,
                                     void *self);
void sim_net_free(struct sim_net *net);

/* Adds a site with an edge; returns its number. `parent`: the edge outside of it (CGNAT) or
 * SIM_EDGE_NONE. Asserts room. */
MUST_USE uint32_t sim_net_add_edge(struct sim_net *net, const struct sim_nat_config *config,
                                   uint32_t parent);
/* Adds a node at a site (or SIM_EDGE_NONE: on the public network); returns its number. */
MUST_USE uint32_t sim_net_add_node(struct sim_net *net, uint32_t edge, const char *name);

void sim_net_set_addresses(struct sim_net *net, uint32_t node,
                           const struct sim_host_addresses *addresses);
const struct sim_host_addresses *sim_net_addresses(const struct sim_net *net, uint32_t node);
/* Moves a node to another site (roaming); set its addresses afterwards. */
void sim_net_move(struct sim_net *net, uint32_t node, uint32_t edge);
MUST_USE uint32_t sim_net_edge(const struct sim_net *net, uint32_t node);
void sim_net_set_link(struct sim_net *net, uint32_t node, enum sim_direction direction,
                      const struct sim_link *link);
const struct sim_link *sim_net_link(const struct sim_net *net, uint32_t node,
                                    enum sim_direction direction);
/* A node that is down receives nothing; what it had in flight still arrives. */
void sim_net_set_up(struct sim_net *net, uint32_t node, bool up);

/* Blocks (or frees) everything from one node to another, of the given families; one way. */
void sim_net_block(struct sim_net *net, uint32_t from, uint32_t to, enum sim_families families,
                   bool blocked);
MUST_USE bool sim_net_blocked(const struct sim_net *net, uint32_t from, uint32_t to,
                              enum ip_family family);
/* Frees every block. */
void sim_net_heal(struct sim_net *net);
void sim_net_reboot_edge(struct sim_net *net, uint32_t edge);
/* Reboots an edge into another behaviour. */
void sim_net_change_edge(struct sim_net *net, uint32_t edge, enum sim_nat_dependence mapping,
                         enum sim_nat_dependence filtering);

/* Sends a datagram. `local.ip.family` IP_NONE: the node's address of that family. The local port
 * must be set. ERR_UNREACHABLE: the node has no such address; nothing was sent. */
enum err sim_net_send(struct sim_net *net, uint32_t node, const struct sim_datagram *datagram);

/* The node that owns a public address at the moment, or UINT32_MAX. */
MUST_USE uint32_t sim_net_find_public(const struct sim_net *net, const struct ip_addr *ip);
/* Latency of one segment between two nodes, without faults; for byte streams. */
MUST_USE uint64_t sim_net_latency(const struct sim_net *net, uint32_t from, uint32_t to);
/* One side for sim_direct_path_possible(). */
MUST_USE struct sim_place sim_net_place(const struct sim_net *net, uint32_t node);
const struct sim_net_counts *sim_net_counts(const struct sim_net *net);

#endif /* SIM_NET_H */
