#include "sim/dev/dev_runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

#define DATAGRAM_MAX 2048U /* larger ones are dropped */

struct runner_socket {
    struct runner_socket *next;
    struct dev_runner *runner;
    struct dev_watch watch;
    struct sock_addr local;
    struct linux_udp udp;
};

struct runner_stream {
    struct runner_stream *next;
    uint32_t id;
    struct dev_stream *stream;
    struct dev_runner *runner;
};

struct runner_listener {
    struct dev_listener listener;
    struct dev_runner *runner;
    uint32_t port;
};

struct dev_runner {
    struct dev_loop *loop;
    struct dev_runner_options options;
    struct sim_outbox *outbox;
    struct sim_host_addresses addresses;
    struct runner_socket *sockets;
    struct runner_stream *streams;
    struct runner_listener listeners[DEV_RUNNER_LISTENERS_MAX];
    uint32_t listeners_count;
    uint32_t accepted_next;
    struct linux_udp room; /* where all sockets receive */
};

/* ---- datagrams ---- */

static void flush_bulk(struct dev_runner *runner)
{
    if (runner->options.bulk.flush != NULL) {
        runner->options.bulk.flush(runner->options.self, dev_now(), runner->outbox);
    }
}

/* Offers one datagram to the fast path, then to the node. */
static void receive_one(struct dev_runner *runner, struct clock_pair now,
                        const struct gateway_datagram *one)
{
    const struct sim_node *node = &runner->options.node;
    const struct dev_runner_bulk *bulk = &runner->options.bulk;
    if (bulk->datagram != NULL && bulk->datagram(runner->options.self, now, one, runner->outbox)) {
        return;
    }
    flush_bulk(runner);
    if (one->bytes.len > DATAGRAM_MAX) {
        return;
    }
    struct sim_datagram datagram = {
        .local = one->local, .remote = one->remote, .bytes = view_of_span(one->bytes)};
    node->ops->handle_datagram(node->self, dev_now(), &datagram, runner->outbox);
}

static void receive_train(struct dev_runner *runner, struct clock_pair now,
                          const struct gateway_datagram *train)
{
    size_t step = train->segment_size == 0 ? train->bytes.len : train->segment_size;
    for (size_t at = 0; at < train->bytes.len; at += step) {
        size_t left = train->bytes.len - at;
        struct gateway_datagram one = *train;
        one.bytes = (struct span){train->bytes.at + at, left < step ? left : step};
        one.segment_size = 0;
        receive_one(runner, now, &one);
    }
}

static void socket_ready(void *self, uint32_t events)
{
    struct runner_socket *socket = self;
    struct dev_runner *runner = socket->runner;
    struct gateway_datagram datagrams[LINUX_UDP_BATCH];
    size_t count = 0;
    if ((events & EPOLLERR) != 0) { /* a port that is closed, or the like: a node does not care */
        (void)linux_udp_take_errors(&socket->udp, socket->local.ip.family == IP_V6);
    }
    if (linux_udp_receive(&socket->udp, datagrams, LINUX_UDP_BATCH, &count) != ERR_NONE) {
        return;
    }
    struct clock_pair now = dev_now();
    for (size_t i = 0; i < count; i++) {
        receive_train(runner, now, &datagrams[i]);
    }
    flush_bulk(runner);
    dev_runner_carry(runner); /* may free the socket */
}

static struct runner_socket **find_socket(struct dev_runner *runner, const struct sock_addr *local)
{
    struct runner_socket **at = &runner->sockets;
    while (*at != NULL && !sock_addr_equal(&(*at)->local, local)) {
        at = &(*at)->next;
    }
    return at;
}

static void bind_socket(struct dev_runner *runner, const struct sock_addr *local)
{
    if (*find_socket(runner, local) != NULL) {
        return;
    }
    struct runner_socket *socket = calloc(1, sizeof *socket);
    ASSERT(socket != NULL);
    *socket = (struct runner_socket){.next = runner->sockets, .runner = runner, .local = *local};
    enum err err = linux_udp_open_at(&socket->udp, &runner->options.udp, local,
                                     runner->options.mark, &runner->room);
    if (err == ERR_NONE) {
        socket->watch =
            (struct dev_watch){socket->udp.fd[local->ip.family == IP_V6], socket_ready, socket};
        err = dev_loop_watch(runner->loop, &socket->watch, EPOLLIN) ? ERR_NONE : ERR_FULL;
    }
    if (err != ERR_NONE) {
        fprintf(stderr, "fzdev: cannot bind UDP port %u: %s\n", local->port, err_text(err));
        linux_udp_close(&socket->udp);
        free(socket);
        return;
    }
    runner->sockets = socket;
}

static void unbind_socket(struct dev_runner *runner, const struct sock_addr *local)
{
    struct runner_socket **at = find_socket(runner, local);
    struct runner_socket *socket = *at;
    if (socket != NULL) {
        *at = socket->next;
        dev_loop_forget(runner->loop, &socket->watch);
        linux_udp_close(&socket->udp);
        free(socket);
    }
}

/* After what may have changed more than where packets go. */
static void settle(struct dev_runner *runner)
{
    dev_runner_carry(runner);
    if (runner->options.after != NULL) {
        runner->options.after(runner->options.self);
    }
}

/* What cannot be sent is lost, as on any network. */
void dev_runner_send(struct dev_runner *runner, const struct gateway_train *train)
{
    struct runner_socket *socket = *find_socket(runner, &train->local);
    if (socket == NULL) {
        return;
    }
    struct instant now = dev_now().boot;
    for (unsigned i = 0; i < 2; i++) { /* the first may only report an earlier ICMP error */
        if (linux_udp_send(&socket->udp, train, now) != ERR_REFUSED) {
            break;
        }
    }
    socket->udp.sent_bytes = 0;
}

static void send_datagram(struct dev_runner *runner, const struct sim_datagram *datagram)
{
    dev_runner_send(runner, &(struct gateway_train){.local = datagram->local,
                                                    .remote = datagram->remote,
                                                    .bytes = datagram->bytes});
}

/* ---- streams ---- */

static struct runner_stream **find_stream(struct dev_runner *runner, uint32_t id)
{
    struct runner_stream **at = &runner->streams;
    while (*at != NULL && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

/* Takes the entry out; its stream is the caller's. NULL: there is none. */
static struct dev_stream *take_stream(struct dev_runner *runner, uint32_t id)
{
    struct runner_stream **at = find_stream(runner, id);
    struct runner_stream *entry = *at;
    struct dev_stream *stream = entry == NULL ? NULL : entry->stream;
    if (entry != NULL) {
        *at = entry->next;
        free(entry);
    }
    return stream;
}

static void tell_stream(struct dev_runner *runner, const struct gateway_stream_event *event)
{
    const struct sim_node *node = &runner->options.node;
    node->ops->handle_stream(node->self, dev_now(), event, runner->outbox);
    settle(runner);
}

static void stream_event(void *self, struct dev_stream *stream, enum gateway_stream_kind kind,
                         struct view bytes, enum err reason)
{
    struct runner_stream *entry = self;
    struct dev_runner *runner = entry->runner;
    struct gateway_stream_event event = {
        .kind = kind, .stream = entry->id, .bytes = bytes, .reason = reason};
    if (kind == GATEWAY_STREAM_OPENED && entry->id >= GATEWAY_STREAM_ACCEPTED_BASE) {
        return; /* the node heard of it when TCP accepted it */
    }
    if (kind == GATEWAY_STREAM_CLOSED) {
        struct dev_stream *own = take_stream(runner, entry->id);
        ASSERT(own == stream);
        dev_stream_free(stream);
    }
    tell_stream(runner, &event);
}

static struct runner_stream *add_stream(struct dev_runner *runner, uint32_t id)
{
    struct runner_stream *entry = calloc(1, sizeof *entry);
    ASSERT(entry != NULL);
    *entry = (struct runner_stream){runner->streams, id, NULL, runner};
    runner->streams = entry;
    return entry;
}

static void accepted(void *self, int fd, struct sock_addr remote)
{
    const struct runner_listener *listener = self;
    struct dev_runner *runner = listener->runner;
    struct runner_stream *entry = add_stream(runner, runner->accepted_next++);
    struct dev_stream_owner owner = {runner->loop, stream_event, entry};
    struct gateway_stream_event event = {.kind = GATEWAY_STREAM_ACCEPTED,
                                         .stream = entry->id,
                                         .listener = listener->port,
                                         .remote = remote};
    entry->stream = dev_stream_accept(owner, fd, runner->options.tls_server);
    if (entry->stream == NULL) {
        (void)take_stream(runner, entry->id);
        return;
    }
    tell_stream(runner, &event);
}

/* The outcome is an event of the loop, so that no call comes back into the node. */
static void open_stream(struct dev_runner *runner, uint32_t id, const struct sock_addr *remote)
{
    struct runner_stream *entry = add_stream(runner, id);
    struct dev_stream_owner owner = {runner->loop, stream_event, entry};
    struct dev_dial dial = {*remote, runner->options.mark, runner->options.roots,
                            runner->options.tls_name};
    entry->stream = dev_stream_open(owner, &dial);
    ASSERT(entry->stream != NULL);
}

/* ---- outputs ---- */

static void carry_one(struct dev_runner *runner, const struct sim_out *out)
{
    const struct dev_runner_options *options = &runner->options;
    struct runner_stream *entry;
    switch (out->kind) {
    case SIM_OUT_DATAGRAM:
        send_datagram(runner, &out->datagram);
        break;
    case SIM_OUT_BIND:
        bind_socket(runner, &out->address);
        break;
    case SIM_OUT_UNBIND:
        unbind_socket(runner, &out->address);
        break;
    case SIM_OUT_STREAM_OPEN:
        open_stream(runner, out->stream, &out->address);
        break;
    case SIM_OUT_STREAM_SEND:
        entry = *find_stream(runner, out->stream);
        if (entry != NULL) {
            dev_stream_send(entry->stream, out->bytes);
        }
        break;
    case SIM_OUT_STREAM_CLOSE:
    case SIM_OUT_STREAM_RESET:
        entry = *find_stream(runner, out->stream);
        if (entry != NULL) {
            struct dev_stream *stream = take_stream(runner, out->stream);
            (out->kind == SIM_OUT_STREAM_CLOSE ? dev_stream_close : dev_stream_reset)(stream);
        }
        break;
    case SIM_OUT_TUN:
        if (options->tun != NULL) {
            options->tun(options->self, out->bytes);
        }
        break;
    case SIM_OUT_NOTE:
        if (options->note != NULL) {
            options->note(options->self, &out->note);
        }
        break;
    }
}

struct sim_outbox *dev_runner_outbox(struct dev_runner *runner)
{
    return runner->outbox;
}

void dev_runner_carry(struct dev_runner *runner)
{
    for (size_t i = 0; i < sim_outbox_count(runner->outbox); i++) {
        carry_one(runner, sim_outbox_at(runner->outbox, i));
    }
    sim_outbox_clear(runner->outbox);
}

/* ---- life ---- */

static struct instant next_timeout(void *self)
{
    const struct dev_runner *runner = self;
    return runner->options.node.ops->poll_timeout(runner->options.node.self).at;
}

static void fire_timeout(void *self)
{
    struct dev_runner *runner = self;
    runner->options.node.ops->handle_timeout(runner->options.node.self, dev_now(), runner->outbox);
    settle(runner);
}

struct dev_runner *dev_runner_new(struct dev_loop *loop, const struct dev_runner_options *options)
{
    struct dev_runner *runner = calloc(1, sizeof *runner);
    if (runner == NULL || linux_udp_open_room(&runner->room) != ERR_NONE) {
        free(runner);
        return NULL;
    }
    runner->loop = loop;
    runner->options = *options;
    runner->options.udp.receive_buffer = LINUX_UDP_RECEIVE_BUFFER;
    runner->options.udp.send_buffer = LINUX_UDP_SEND_BUFFER;
    runner->outbox = sim_outbox_new();
    runner->accepted_next = GATEWAY_STREAM_ACCEPTED_BASE;
    dev_loop_timer(loop, (struct dev_timer){next_timeout, fire_timeout, runner});
    return runner;
}

void dev_runner_free(struct dev_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    while (runner->sockets != NULL) {
        struct sock_addr local = runner->sockets->local;
        unbind_socket(runner, &local);
    }
    while (runner->streams != NULL) {
        dev_stream_close(take_stream(runner, runner->streams->id));
    }
    for (uint32_t i = 0; i < runner->listeners_count; i++) {
        dev_loop_forget(runner->loop, &runner->listeners[i].listener.watch);
        (void)close(runner->listeners[i].listener.watch.fd);
    }
    sim_outbox_free(runner->outbox);
    linux_udp_close(&runner->room);
    free(runner);
}

enum err dev_runner_listen(struct dev_runner *runner, struct sock_addr local)
{
    if (runner->listeners_count == DEV_RUNNER_LISTENERS_MAX) {
        return ERR_FULL;
    }
    struct runner_listener *row = &runner->listeners[runner->listeners_count];
    *row = (struct runner_listener){{.accepted = accepted, .self = row}, runner, local.port};
    enum err err = dev_listen(runner->loop, &row->listener, local);
    if (err == ERR_NONE) {
        runner->listeners_count++;
    }
    return err;
}

void dev_runner_addresses(struct dev_runner *runner, const struct sim_host_addresses *addresses)
{
    const struct sim_node *node = &runner->options.node;
    runner->addresses = *addresses;
    if (node->ops->handle_addresses != NULL) {
        node->ops->handle_addresses(node->self, dev_now(), addresses, runner->outbox);
    }
    settle(runner);
}

void dev_runner_tun(struct dev_runner *runner, struct view packet)
{
    const struct sim_node *node = &runner->options.node;
    flush_bulk(runner);
    node->ops->handle_tun(node->self, dev_now(), packet, runner->outbox);
    dev_runner_carry(runner);
}

void dev_runner_restart(struct dev_runner *runner)
{
    const struct sim_node *node = &runner->options.node;
    struct sim_host_addresses addresses = runner->addresses;
    uint8_t seed[32];
    dev_entropy(seed);
    while (runner->streams != NULL) {
        dev_stream_close(take_stream(runner, runner->streams->id));
    }
    node->ops->restart(node->self, dev_now(), seed);
    dev_runner_addresses(runner, &addresses);
}
