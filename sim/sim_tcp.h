/* sim_tcp: a small TCP endpoint for applications and resource hosts of the simulation.
 *
 * Handshake, data both ways with go-back-N retransmission, FIN, RST. No options, no congestion
 * control, no window scaling, no urgent data. Enough to notice when something in between breaks
 * order, loses the flow's translation, or answers in its place.
 * Sans-IO: packets go out through a callback, time is a parameter.
 * Source: RFC 793.
 */
#ifndef SIM_TCP_H
#define SIM_TCP_H

#include "base/time.h"
#include "sim/sim_packet.h"

#define SIM_TCP_BUFFER  16384U /* bytes that one side may send or receive in all */
#define SIM_TCP_SEGMENT 1000U  /* payload bytes; fits the tunnel after any translation */
#define SIM_TCP_RTO_MS  1000U  /* first retransmission; doubles up to 8 s */
#define SIM_TCP_TRIES   8U     /* then the connection fails */

enum sim_tcp_state {
    SIM_TCP_CLOSED,
    SIM_TCP_SYN_SENT,
    SIM_TCP_SYN_RECEIVED,
    SIM_TCP_ESTABLISHED,
    SIM_TCP_FINISHED, /* both sides have sent FIN and everything is acknowledged */
    SIM_TCP_RESET,    /* by RST */
    SIM_TCP_FAILED,   /* no answer, or an ICMP error while connecting */
};

typedef void sim_tcp_emit(void *self, const struct sim_packet *packet);

struct sim_tcp {
    enum sim_tcp_state state;
    struct sock_addr local;
    struct sock_addr remote;
    uint32_t first_seq; /* of our SYN */
    uint32_t peer_seq;  /* of the peer's SYN */
    size_t acked;       /* our bytes acknowledged */
    size_t sent;        /* our bytes sent at least once since the last timeout */
    size_t queued;      /* our bytes in all */
    size_t received;    /* the peer's bytes in order */
    bool fin_queued;    /* ours follows the queued bytes */
    bool fin_acked;
    bool fin_received;
    bool syn_acked;
    uint32_t tries;
    uint16_t next_id; /* of IPv4 packets: counted, as kernels do */
    struct instant retry_at;
    uint8_t out[SIM_TCP_BUFFER];
    uint8_t in[SIM_TCP_BUFFER];
};

/* Starts connecting: emits SYN. */
void sim_tcp_connect(struct sim_tcp *tcp, struct instant now, const struct sock_addr ends[2],
                     uint32_t first_seq, sim_tcp_emit *emit, void *self);
/* Answers a SYN that a listener got. Asserts that `syn` is one. */
void sim_tcp_accept(struct sim_tcp *tcp, struct instant now, const struct sim_packet *syn,
                    uint32_t first_seq, sim_tcp_emit *emit, void *self);
/* Queues bytes; what does not fit is refused (false, nothing queued). */
MUST_USE bool sim_tcp_send(struct sim_tcp *tcp, struct instant now, struct view bytes,
                           sim_tcp_emit *emit, void *self);
/* FIN after everything that was queued. */
void sim_tcp_close(struct sim_tcp *tcp, struct instant now, sim_tcp_emit *emit, void *self);
/* A packet of this connection, checked by sim_packet_read(). */
void sim_tcp_handle(struct sim_tcp *tcp, struct instant now, const struct sim_packet *packet,
                    sim_tcp_emit *emit, void *self);
/* An ICMP error quoted one of our packets. */
void sim_tcp_unreachable(struct sim_tcp *tcp);
void sim_tcp_timeout(struct sim_tcp *tcp, struct instant now, sim_tcp_emit *emit, void *self);
MUST_USE struct instant sim_tcp_next(const struct sim_tcp *tcp);
MUST_USE bool sim_tcp_is_over(const struct sim_tcp *tcp);

#endif /* SIM_TCP_H */
