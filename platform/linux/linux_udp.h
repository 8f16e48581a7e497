/* linux_udp: the two UDP sockets of the gateway, IPv4 and IPv6, in batches with offloads.
 *
 * Each family first tries the preferred port and falls back to one that the kernel chooses; a
 * family that cannot be bound is left out. Datagrams are received with their destination address
 * and ECN (recvmmsg, UDP_GRO) and sent from a chosen source address (UDP_SEGMENT). Every offload is
 * probed and may be missing; a path that refuses UDP_SEGMENT is served with single datagrams.
 * ICMP errors come out of the sockets' error queues and neither cost a datagram nor a read.
 * Source: spec/connectivity.md section 1, spec/performance.md section 4.4.
 */
#ifndef LINUX_UDP_H
#define LINUX_UDP_H

#include "gateway/gateway_io.h"

#define LINUX_UDP_BATCH           16U
#define LINUX_UDP_BOTH            3U     /* set of families: IPv4 and IPv6 */
#define LINUX_UDP_PORT            52625U /* head peers guess it, spec/connectivity.md section 1.1 */
#define LINUX_MARK                0xfd002021U /* spec/portal.md section 9.5: keeps our own traffic out */
#define LINUX_UDP_GSO_RETRY_S     600U
#define LINUX_UDP_RECEIVE_BUFFER  (16U * 1024U * 1024U)
#define LINUX_UDP_SEND_BUFFER     (4U * 1024U * 1024U)
#define LINUX_UDP_UNREACHABLE_MAX 16U /* destinations that wait to be told */

struct linux_udp_options {
    uint16_t port;           /* preferred; 0: the kernel chooses */
    uint32_t receive_buffer; /* bytes asked for */
    uint32_t send_buffer;
    bool no_gso; /* never UDP_SEGMENT */
    bool no_gro; /* never UDP_GRO */
};

struct linux_udp_work;

struct linux_udp {
    int fd[2]; /* IPv4, IPv6; -1: not available */
    uint16_t port[2];
    bool gso;
    struct instant gso_retry_at;
    uint8_t *buffers; /* LINUX_UDP_BATCH receive buffers */
    struct linux_udp_work *work;
    bool room_is_shared;    /* both belong to another one */
    unsigned next;          /* which family is read first */
    uint64_t receive_calls; /* that brought anything */
    uint64_t receive_messages;
    uint64_t send_calls;
    size_t sent_bytes; /* of a train that goes out in single datagrams and would block */
    uint32_t unreachable_count;
    struct sock_addr unreachable[LINUX_UDP_UNREACHABLE_MAX];
};

/* Opens the sockets. ERR_UNREACHABLE: no family could be bound; ERR_PERMISSION: the mark was
 * refused; ERR_MEMORY. */
MUST_USE enum err linux_udp_open(struct linux_udp *udp, const struct linux_udp_options *options);
/* For processes with many sockets: opens no socket, only the room to receive into. ERR_MEMORY. */
MUST_USE enum err linux_udp_open_room(struct linux_udp *udp);
/* Opens one socket, bound to `local` exactly, that receives into the room of `room`, which must
 * outlive it: what was received is gone with the next receive of any of them. `mark`: SO_MARK; 0:
 * none. The options' port is not used. ERR_PERMISSION: the mark was refused; errors of bind(). */
MUST_USE enum err linux_udp_open_at(struct linux_udp *udp, const struct linux_udp_options *options,
                                    const struct sock_addr *local, uint32_t mark,
                                    const struct linux_udp *room);
void linux_udp_close(struct linux_udp *udp);
/* As struct platform's udp_receive and udp_send. A socket whose descriptor has become useless is
 * closed; ERR_CLOSED: none is left. */
MUST_USE enum err linux_udp_receive(struct linux_udp *udp, struct gateway_datagram *out, size_t max,
                                    size_t *count);
/* The same for who watches the sockets by edges: reads from the families in `ready` only (bits 0:
 * IPv4, 1: IPv6) and takes out of it those whose queue is empty now. */
MUST_USE enum err linux_udp_receive_from(struct linux_udp *udp, unsigned *ready,
                                         struct gateway_datagram *out, size_t max, size_t *count);
MUST_USE enum err linux_udp_send(struct linux_udp *udp, const struct gateway_train *train,
                                 struct instant now);
/* Datagrams and trains that the kernel threw away since the start because a receive buffer was
 * full; 0 where it does not tell. */
MUST_USE uint64_t linux_udp_receive_lost(const struct linux_udp *udp);
/* Reads the error queue of one socket (0: IPv4, 1: IPv6); how many entries there were. Called when
 * epoll reports an error, and by the functions above. */
unsigned linux_udp_take_errors(struct linux_udp *udp, unsigned index);
/* Takes the next destination that an ICMP error called unreachable; false: none waits. */
MUST_USE bool linux_udp_next_unreachable(struct linux_udp *udp, struct sock_addr *out);

#endif /* LINUX_UDP_H */
