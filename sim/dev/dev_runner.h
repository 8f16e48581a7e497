/* dev_runner: runs one simulated node (sim/sim_node.h) over real sockets.
 *
 * What the simulated world is to the node inside `fzsim`, this is inside `fzdev`: datagrams become
 * UDP sockets bound to one address each, streams become TCP connections, time becomes the system's.
 */
#ifndef DEV_RUNNER_H
#define DEV_RUNNER_H

#include "platform/linux/linux_udp.h"
#include "sim/dev/dev_stream.h"
#include "sim/sim_node.h"

#define DEV_RUNNER_LISTENERS_MAX 4U

/* A fast path beside the node (sim/sim_client_bulk.h). It is offered every datagram first, one at a
 * time, and what it takes stays in place until it is flushed: at the end of a batch, and before the
 * node handles anything. Its trains leave by dev_runner_send(). All NULL: none. */
struct dev_runner_bulk {
    bool (*datagram)(void *self, struct clock_pair now, const struct gateway_datagram *datagram,
                     struct sim_outbox *out);
    void (*flush)(void *self, struct clock_pair now, struct sim_outbox *out);
};

struct dev_runner_options {
    struct sim_node node;
    uint32_t mark;                     /* SO_MARK of every socket; 0: none */
    struct linux_udp_options udp;      /* no_gso, no_gro; buffers are the runner's choice */
    struct dev_runner_bulk bulk;       /* called with `self` */
    struct linux_tls_roots *roots;     /* streams that the node opens use TLS; NULL: plain */
    const char *tls_name;              /* and verify this name */
    struct dev_tls_server *tls_server; /* accepted streams use TLS; NULL: plain */
    /* Both may be NULL. */
    void (*tun)(void *self, struct view packet);
    void (*note)(void *self, const struct sim_note *note);
    void (*after)(void *self); /* after events of streams, timers and addresses */
    void *self;
};

struct dev_runner;

/* NULL: no memory. Registers its timer with the loop. */
struct dev_runner *dev_runner_new(struct dev_loop *loop, const struct dev_runner_options *options);
/* Closes every socket. */
void dev_runner_free(struct dev_runner *runner);
/* Accepts streams at `local` for the node. Errors as dev_listen(). ERR_FULL. */
MUST_USE enum err dev_runner_listen(struct dev_runner *runner, struct sock_addr local);
/* Tells the node the addresses of its host: the first call of all. */
void dev_runner_addresses(struct dev_runner *runner, const struct sim_host_addresses *addresses);
/* Sends a train from the socket that is bound to its local address. What cannot be sent is lost. */
void dev_runner_send(struct dev_runner *runner, const struct gateway_train *train);
/* The host sends an inner packet that the node must handle. */
void dev_runner_tun(struct dev_runner *runner, struct view packet);
/* The node crashes and comes back with a new seed and the addresses it had. */
void dev_runner_restart(struct dev_runner *runner);
/* For calls that go to the node directly: put outputs here, then carry them out. */
struct sim_outbox *dev_runner_outbox(struct dev_runner *runner);
void dev_runner_carry(struct dev_runner *runner);

#endif /* DEV_RUNNER_H */
