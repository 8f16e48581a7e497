#include "sim/dev/dev_stream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "platform/linux/linux_addr.h"

#define READ_SIZE 16384U /* one TLS record */
#define BACKLOG   64

enum stream_state {
    STREAM_CONNECTING,
    STREAM_HANDSHAKING,
    STREAM_OPEN,
    STREAM_CLOSING, /* our end: flushes, then frees itself */
    STREAM_DEAD,    /* CLOSED was reported */
};

struct dev_stream {
    struct dev_stream_owner owner;
    struct dev_watch watch;
    enum stream_state state;
    uint32_t events; /* that epoll reports */
    struct linux_tls *client;
    struct dev_tls *server;
    uint8_t *queue;
    size_t queue_len;
    size_t queue_size;
    bool failed_early; /* could not even start; told at the first event */
};

/* ---- the transport: plain, TLS client or TLS server ---- */

static enum err transport_handshake(struct dev_stream *stream)
{
    if (stream->client != NULL) {
        return linux_tls_handshake(stream->client);
    }
    return stream->server != NULL ? dev_tls_handshake(stream->server) : ERR_NONE;
}

static bool transport_wants_write(const struct dev_stream *stream)
{
    return (stream->client != NULL && linux_tls_wants_write(stream->client)) ||
           (stream->server != NULL && dev_tls_wants_write(stream->server));
}

static enum err transport_read(struct dev_stream *stream, struct span out, size_t *got)
{
    if (stream->client != NULL) {
        return linux_tls_read(stream->client, out, got);
    }
    if (stream->server != NULL) {
        return dev_tls_read(stream->server, out, got);
    }
    ssize_t result = recv(stream->watch.fd, out.at, out.len, 0);
    *got = result > 0 ? (size_t)result : 0;
    return result > 0 ? ERR_NONE : result == 0 ? ERR_CLOSED : linux_err(errno);
}

static enum err transport_write(struct dev_stream *stream, struct view bytes, size_t *taken)
{
    if (stream->client != NULL) {
        return linux_tls_write(stream->client, bytes, taken);
    }
    if (stream->server != NULL) {
        return dev_tls_write(stream->server, bytes, taken);
    }
    ssize_t result = send(stream->watch.fd, bytes.at, bytes.len, MSG_NOSIGNAL);
    *taken = result > 0 ? (size_t)result : 0;
    return result >= 0 ? ERR_NONE : linux_err(errno);
}

static void transport_close(struct dev_stream *stream)
{
    if (stream->client != NULL) {
        linux_tls_close(stream->client);
    }
    if (stream->server != NULL) {
        dev_tls_close(stream->server);
    }
}

/* ---- life ---- */

void dev_stream_free(struct dev_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    if (stream->watch.fd >= 0) {
        dev_loop_forget(stream->owner.loop, &stream->watch);
        (void)close(stream->watch.fd);
    }
    linux_tls_destroy(stream->client);
    dev_tls_destroy(stream->server);
    free(stream->queue);
    free(stream);
}

static void die(struct dev_stream *stream, enum err reason)
{
    if (stream->state == STREAM_CLOSING) {
        dev_stream_free(stream);
        return;
    }
    stream->state = STREAM_DEAD;
    dev_loop_change(stream->owner.loop, &stream->watch, 0);
    stream->owner.event(stream->owner.self, stream, GATEWAY_STREAM_CLOSED, VIEW_EMPTY, reason);
}

/* What epoll shall report now. */
static void update_events(struct dev_stream *stream)
{
    bool write = stream->state == STREAM_CONNECTING || transport_wants_write(stream) ||
                 (stream->state >= STREAM_OPEN && stream->queue_len > 0);
    uint32_t events = EPOLLIN | (write ? EPOLLOUT : 0U);
    if (events != stream->events) {
        stream->events = events;
        dev_loop_change(stream->owner.loop, &stream->watch, events);
    }
}

/* Sends what is queued. False: the stream died. */
static bool flush(struct dev_stream *stream)
{
    while (stream->queue_len > 0) {
        size_t taken = 0;
        struct view bytes = {stream->queue, stream->queue_len};
        enum err err = transport_write(stream, bytes, &taken);
        if (err == ERR_WOULD_BLOCK) {
            break;
        }
        if (err != ERR_NONE) {
            die(stream, err);
            return false;
        }
        stream->queue_len -= taken;
        memmove(stream->queue, stream->queue + taken, stream->queue_len);
    }
    if (stream->state == STREAM_CLOSING && stream->queue_len == 0) {
        transport_close(stream);
        dev_stream_free(stream);
        return false;
    }
    return true;
}

/* ---- what the loop reports ---- */

static bool step_connect(struct dev_stream *stream)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (stream->failed_early ||
        getsockopt(stream->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        die(stream, error == 0 ? ERR_IO : linux_err(error));
        return false;
    }
    stream->state = STREAM_HANDSHAKING;
    return true;
}

static bool step_handshake(struct dev_stream *stream)
{
    enum err err = transport_handshake(stream);
    if (err == ERR_WOULD_BLOCK) {
        update_events(stream);
        return false;
    }
    if (err != ERR_NONE) {
        die(stream, err);
        return false;
    }
    stream->state = STREAM_OPEN;
    stream->owner.event(stream->owner.self, stream, GATEWAY_STREAM_OPENED, VIEW_EMPTY, ERR_NONE);
    return false; /* the owner may have closed it; reading goes on with the next report */
}

/* One read per report: level-triggered epoll brings us back, TLS records in the library excepted.
 */
static void step_read(struct dev_stream *stream)
{
    static const size_t size = READ_SIZE;
    uint8_t *room = malloc(size);
    ASSERT(room != NULL);
    size_t got = 0;
    enum err err = transport_read(stream, (struct span){room, size}, &got);
    if (err == ERR_WOULD_BLOCK) {
        update_events(stream);
    } else if (err != ERR_NONE) {
        die(stream, err);
    } else if (stream->state == STREAM_OPEN) {
        stream->owner.event(stream->owner.self, stream, GATEWAY_STREAM_BYTES,
                            (struct view){room, got}, ERR_NONE);
    }
    free(room);
}

static void ready(void *self, uint32_t events)
{
    struct dev_stream *stream = self;
    if (stream->state == STREAM_DEAD) {
        return;
    }
    if (stream->state == STREAM_CONNECTING) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0 || !step_connect(stream)) {
            return;
        }
    }
    if (stream->state == STREAM_HANDSHAKING) {
        (void)step_handshake(stream);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        if (!flush(stream)) {
            return;
        }
        update_events(stream);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        step_read(stream);
    }
}

/* ---- making them ---- */

static struct dev_stream *create(struct dev_stream_owner owner, int fd)
{
    struct dev_stream *stream = calloc(1, sizeof *stream);
    int one = 1;
    if (stream == NULL) {
        (void)close(fd);
        return NULL;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    stream->owner = owner;
    stream->watch = (struct dev_watch){fd, ready, stream};
    stream->events = EPOLLIN | EPOLLOUT;
    if (!dev_loop_watch(owner.loop, &stream->watch, stream->events)) {
        (void)close(fd);
        free(stream);
        return NULL;
    }
    return stream;
}

struct dev_stream *dev_stream_open(struct dev_stream_owner owner, const struct dev_dial *dial)
{
    struct sockaddr_storage remote;
    socklen_t size = linux_addr_to(&dial->remote, &remote);
    int fd = socket(remote.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return NULL;
    }
    if (dial->mark != 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_MARK, &dial->mark, sizeof dial->mark);
    }
    bool failed = connect(fd, (struct sockaddr *)&remote, size) != 0 && errno != EINPROGRESS;
    struct dev_stream *stream = create(owner, fd);
    if (stream == NULL) {
        return NULL;
    }
    stream->failed_early = failed;
    if (dial->roots != NULL) {
        stream->client = linux_tls_create(dial->roots, fd, view_text(dial->tls_name));
        stream->failed_early = failed || stream->client == NULL;
    }
    return stream;
}

struct dev_stream *dev_stream_accept(struct dev_stream_owner owner, int fd,
                                     struct dev_tls_server *tls)
{
    struct dev_stream *stream = create(owner, fd);
    if (stream == NULL) {
        return NULL;
    }
    stream->state = STREAM_HANDSHAKING;
    if (tls != NULL) {
        stream->server = dev_tls_create(tls, fd);
        if (stream->server == NULL) {
            dev_stream_free(stream);
            return NULL;
        }
    }
    return stream;
}

void dev_stream_send(struct dev_stream *stream, struct view bytes)
{
    if (stream->state >= STREAM_CLOSING || bytes.len == 0) {
        return;
    }
    if (stream->queue_len + bytes.len > stream->queue_size) {
        stream->queue_size = 2 * (stream->queue_len + bytes.len);
        stream->queue = realloc(stream->queue, stream->queue_size);
        ASSERT(stream->queue != NULL);
    }
    memcpy(stream->queue + stream->queue_len, bytes.at, bytes.len);
    stream->queue_len += bytes.len;
    if (stream->state == STREAM_OPEN) {
        update_events(stream); /* sent from the loop: errors are reported there */
    }
}

void dev_stream_close(struct dev_stream *stream)
{
    if (stream->state != STREAM_OPEN) {
        dev_stream_free(stream);
        return;
    }
    stream->state = STREAM_CLOSING;
    (void)flush(stream);
}

void dev_stream_reset(struct dev_stream *stream)
{
    struct linger abort = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(stream->watch.fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    dev_stream_free(stream);
}

/* ---- listening ---- */

static void listener_ready(void *self, uint32_t events)
{
    struct dev_listener *listener = self;
    struct sockaddr_storage remote;
    socklen_t size = sizeof remote;
    (void)events;
    int fd = accept4(listener->watch.fd, (struct sockaddr *)&remote, &size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        listener->accepted(listener->self, fd, linux_addr_from(&remote));
    }
}

enum err dev_listen(struct dev_loop *loop, struct dev_listener *listener, struct sock_addr local)
{
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(&local, &address);
    int one = 1;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return linux_err(errno);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (local.ip.family == IP_V6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    listener->watch = (struct dev_watch){fd, listener_ready, listener};
    if (bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, BACKLOG) != 0) {
        enum err err = errno == EADDRINUSE ? ERR_EXISTS : linux_err(errno);
        (void)close(fd);
        return err;
    }
    return dev_loop_watch(loop, &listener->watch, EPOLLIN) ? ERR_NONE : ERR_IO;
}
