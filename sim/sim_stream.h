/* sim_stream: TCP-like byte streams between nodes of the simulated network.
 *
 * In order and without loss while they live, delivered after the latency of the links in arbitrary
 * segments (drawn per stream and direction), held up by partitions, cut by faults. Addresses are
 * looked up at connect time; every edge lets connections from inside pass.
 * Streams are named by (node, id); ids of the connecting side are its own, accepted ones come from
 * here and are at least GATEWAY_STREAM_ACCEPTED_BASE.
 * Marks tell the world when everything that was sent before them has been delivered.
 * Source: spec/simulation.md S-02 and section 7 ("portal").
 */
#ifndef SIM_STREAM_H
#define SIM_STREAM_H

#include "sim/sim_net.h"

/* What is wrong with connections towards one node. All zero: nothing. */
struct sim_stream_faults {
    bool refuse;          /* connections are refused */
    bool silent;          /* connections are never answered (ERR_TIMEOUT after a while) */
    enum err tls_failure; /* ERR_TLS, ERR_TLS_CERTIFICATE: reported instead of OPENED */
    bool half_open;       /* established streams swallow both directions silently; one that lost
                             bytes so stays mute when the fault ends */
    uint64_t cut_after;   /* a stream is reset once so many bytes were delivered to one side;
                             0: never */
    uint32_t segment_max; /* bytes of one delivery at most; 0: 16 384 */
};

/* Where events go. `event` views live during the call. */
struct sim_stream_sink {
    void *self;
    void (*event)(void *self, uint32_t node, const struct gateway_stream_event *event);
    /* Everything sent before the mark has been delivered, or (lost) never will be. */
    void (*mark)(void *self, uint64_t token, bool lost);
};

struct sim_streams;

MUST_USE struct sim_streams *sim_streams_new(struct sim_sched *sched, struct sim_trace *trace,
                                             const struct sim_rng *rng, struct sim_net *net,
                                             struct sim_stream_sink sink);
void sim_streams_free(struct sim_streams *streams);

/* Lets `node` accept streams on `port`. */
void sim_stream_listen(struct sim_streams *streams, uint32_t node, uint16_t port);
/* The faults of connections towards `node`, to be set in place. */
struct sim_stream_faults *sim_stream_faults(struct sim_streams *streams, uint32_t node);
/* Bytes that one end may have sent but not delivered; 0: no limit. A short take is followed by
 * WRITABLE. */
void sim_stream_set_window(struct sim_streams *streams, uint32_t node, size_t bytes);

/* Starts connecting; OPENED or CLOSED follows. */
void sim_stream_connect(struct sim_streams *streams, uint32_t node, uint32_t id,
                        const struct sock_addr *remote);
/* Takes a prefix of `bytes`. ERR_CLOSED: no such stream. */
enum err sim_stream_send(struct sim_streams *streams, uint32_t node, uint32_t id, struct view bytes,
                         size_t *taken);
/* Orderly end after what was sent; no event for this side. Unknown streams are ignored. */
void sim_stream_close(struct sim_streams *streams, uint32_t node, uint32_t id);
/* Abort: the other side sees CLOSED with ERR_IO. */
void sim_stream_reset(struct sim_streams *streams, uint32_t node, uint32_t id);
/* Aborts every stream of a node (its process died). */
void sim_stream_reset_node(struct sim_streams *streams, uint32_t node);
/* The node lost its address: its own ends see CLOSED with ERR_IO, the others hear nothing. */
void sim_stream_orphan_node(struct sim_streams *streams, uint32_t node);
/* Nothing that the node sends on it will arrive: it is gone, closed by the other side, or
 * half-open. */
MUST_USE bool sim_stream_is_mute(struct sim_streams *streams, uint32_t node, uint32_t id);
/* The node at the other end; UINT32_MAX: there is no such stream, or nobody accepted it. */
MUST_USE uint32_t sim_stream_peer(const struct sim_streams *streams, uint32_t node, uint32_t id);
/* Calls the sink's mark once everything sent so far by (node, id) is delivered; at once with `lost`
 * when the stream is mute. */
void sim_stream_mark(struct sim_streams *streams, uint32_t node, uint32_t id, uint64_t token);

#endif /* SIM_STREAM_H */
