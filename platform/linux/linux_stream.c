#include "platform/linux/linux_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "platform/linux/linux_addr.h"
#include "platform/linux/linux_stream_state.h"

#define TLS_RECORD_MAX 16384U

/* Three TCP listeners at capacity leave room for the streams that the core opens. */
static_assert(3 * LINUX_STREAMS_ACCEPTED_MAX < LINUX_STREAMS_MAX, "no room for the portal");

/* ---- slots ---- */

static struct linux_stream *find(struct linux_streams *streams, uint32_t id)
{
    for (size_t i = 0; i < LINUX_STREAMS_MAX; i++) {
        struct linux_stream *s = &streams->streams[i];
        if (s->phase != LINUX_STREAM_FREE && s->phase != LINUX_STREAM_LINGERING && s->id == id) {
            return s;
        }
    }
    return NULL;
}

struct linux_stream *linux_stream_take(struct linux_streams *streams)
{
    for (size_t i = 0; i < LINUX_STREAMS_MAX; i++) {
        struct linux_stream *s = &streams->streams[i];
        if (s->phase == LINUX_STREAM_FREE) {
            memset(s, 0, sizeof(*s));
            s->fd = -1;
            return s;
        }
    }
    return NULL;
}

enum err linux_stream_watch(struct linux_streams *streams, struct linux_stream *stream)
{
    uint32_t index = (uint32_t)(stream - streams->streams);
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = streams->options.tag << 32 | index,
    };
    stream->send = malloc(LINUX_STREAM_SEND_MAX);
    if (stream->send == NULL) {
        return ERR_MEMORY;
    }
    return epoll_ctl(streams->options.epoll, EPOLL_CTL_ADD, stream->fd, &event) == 0 ? ERR_NONE
                                                                                     : ERR_IO;
}

void linux_stream_release(struct linux_stream *stream)
{
    if (stream->tls != NULL) {
        if (stream->phase == LINUX_STREAM_OPEN || stream->phase == LINUX_STREAM_LINGERING) {
            linux_tls_close(stream->tls);
        }
        linux_tls_destroy(stream->tls);
    }
    if (stream->fd >= 0) {
        (void)close(stream->fd); /* leaves the epoll set with its last descriptor */
    }
    free(stream->send);
    memset(stream, 0, sizeof(*stream));
}

struct linux_streams *linux_streams_create(const struct linux_streams_options *options)
{
    struct linux_streams *streams = calloc(1, sizeof(*streams));
    if (streams == NULL) {
        return NULL;
    }
    streams->options = *options;
    streams->next_accepted = GATEWAY_STREAM_ACCEPTED_BASE;
    for (size_t i = 0; i < LINUX_LISTENERS_MAX; i++) {
        streams->listeners[i].fd = -1;
    }
    return streams;
}

void linux_streams_trust(struct linux_streams *streams, struct linux_tls_roots *roots)
{
    streams->options.roots = roots;
}

/* ---- sending ---- */

static enum err write_once(struct linux_stream *s, size_t *sent)
{
    if (s->tls == NULL) {
        ssize_t done = send(s->fd, s->send, s->send_used, MSG_NOSIGNAL);
        *sent = done > 0 ? (size_t)done : 0;
        return done >= 0 ? ERR_NONE : linux_err(errno);
    }
    size_t offer = s->send_used < TLS_RECORD_MAX ? s->send_used : TLS_RECORD_MAX;
    if (s->tls_offered > 0) {
        offer = s->tls_offered;
    }
    enum err err = linux_tls_write(s->tls, (struct view){s->send, offer}, sent);
    s->tls_offered = err == ERR_WOULD_BLOCK ? offer : 0;
    return err;
}

/* Sends what waits, as far as the socket takes it. ERR_WOULD_BLOCK: not all. */
static enum err flush(struct linux_stream *s)
{
    while (s->send_used > 0) {
        size_t sent = 0;
        if (!s->writable) {
            return ERR_WOULD_BLOCK;
        }
        enum err err = write_once(s, &sent);
        if (err != ERR_NONE) {
            s->writable = s->writable && err != ERR_WOULD_BLOCK;
            return err;
        }
        ASSERT(sent <= s->send_used);
        s->send_used -= sent;
        memmove(s->send, s->send + sent, s->send_used);
    }
    return ERR_NONE;
}

enum err linux_streams_send(struct linux_streams *streams, uint32_t stream, struct view bytes,
                            size_t *taken)
{
    struct linux_stream *s = find(streams, stream);
    *taken = 0;
    if (s == NULL || s->phase != LINUX_STREAM_OPEN) {
        return ERR_CLOSED;
    }
    while (bytes.len > 0) {
        size_t room = LINUX_STREAM_SEND_MAX - s->send_used;
        size_t part = bytes.len < room ? bytes.len : room;
        if (part == 0) {
            s->starved = true;
            break;
        }
        memcpy(s->send + s->send_used, bytes.at, part);
        s->send_used += part;
        *taken += part;
        bytes = view_sub(bytes, part, bytes.len - part);
        enum err err = flush(s);
        if (err != ERR_NONE && err != ERR_WOULD_BLOCK) {
            s->phase = LINUX_STREAM_FAILED;
            s->reason = err;
            streams->pending = true;
            break;
        }
    }
    return ERR_NONE;
}

void linux_streams_close(struct linux_streams *streams, uint32_t stream, struct instant now)
{
    struct linux_stream *s = find(streams, stream);
    if (s == NULL) {
        return;
    }
    if (s->phase == LINUX_STREAM_OPEN && flush(s) == ERR_WOULD_BLOCK) {
        s->phase = LINUX_STREAM_LINGERING;
        s->linger_until = instant_add(now, DURATION_S(LINUX_STREAM_LINGER_S));
        streams->pending = true;
        streams->waiting = true;
        return;
    }
    linux_stream_release(s);
}

/* ---- opening ---- */

/* Creates the socket and starts to connect. */
static enum err start_connect(struct linux_streams *streams, struct linux_stream *s,
                              const struct gateway_stream_open *open)
{
    struct sockaddr_storage storage;
    int on = 1;
    uint32_t mark = streams->options.mark;
    int family = open->remote.ip.family == IP_V6 ? AF_INET6 : AF_INET;
    if (open->remote.ip.family == IP_NONE) {
        return ERR_ARGUMENT;
    }
    s->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) {
        return linux_err(errno);
    }
    if ((mark != 0 && setsockopt(s->fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0) ||
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
        return linux_err(errno);
    }
    if (open->tls_name.len > 0) {
        if (streams->options.roots == NULL) {
            return ERR_TLS;
        }
        s->tls = linux_tls_create(streams->options.roots, s->fd, open->tls_name);
        if (s->tls == NULL) {
            return ERR_MEMORY;
        }
    }
    socklen_t size = linux_addr_to(&open->remote, &storage);
    if (connect(s->fd, (struct sockaddr *)&storage, size) != 0 && errno != EINPROGRESS) {
        return linux_err(errno);
    }
    return linux_stream_watch(streams, s);
}

void linux_streams_open(struct linux_streams *streams, const struct gateway_stream_open *open,
                        struct instant now)
{
    struct linux_stream *s = linux_stream_take(streams);
    if (s == NULL) {
        /* Somebody who only drains makes room; the accepted ones cannot fill the table. */
        for (size_t i = 0; i < LINUX_STREAMS_MAX && s == NULL; i++) {
            if (streams->streams[i].phase == LINUX_STREAM_LINGERING) {
                linux_stream_release(&streams->streams[i]);
                s = linux_stream_take(streams);
            }
        }
    }
    (void)now;
    ASSERT(s != NULL);
    s->id = open->stream;
    s->remote = open->remote;
    s->phase = LINUX_STREAM_CONNECTING;
    enum err err = start_connect(streams, s, open);
    if (err != ERR_NONE) {
        s->phase = LINUX_STREAM_FAILED;
        s->reason = err;
    }
    streams->pending = true;
}

/* ---- progress ---- */

static void fail(struct linux_stream *s, enum err reason)
{
    s->phase = LINUX_STREAM_FAILED;
    s->reason = reason;
}

static void set_open(struct linux_stream *s)
{
    s->phase = LINUX_STREAM_OPEN;
    s->announce = true;
    s->readable = true;
    s->writable = true;
}

static void advance_connect(struct linux_stream *s)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (!s->writable) {
        return;
    }
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        fail(s, linux_err(error == 0 ? errno : error));
    } else if (s->tls == NULL) {
        set_open(s);
    } else {
        s->phase = LINUX_STREAM_SECURING;
    }
}

static void advance_tls(struct linux_stream *s)
{
    if (!s->readable && !s->writable) {
        return;
    }
    enum err err = linux_tls_handshake(s->tls);
    if (err == ERR_NONE) {
        set_open(s);
    } else if (err == ERR_WOULD_BLOCK) {
        s->readable = false; /* any edge brings us here again */
        s->writable = false;
    } else {
        fail(s, err);
    }
}

static enum err read_once(struct linux_streams *streams, struct linux_stream *s, size_t *got)
{
    if (s->tls != NULL) {
        struct span room = {streams->bytes, sizeof(streams->bytes)};
        return linux_tls_read(s->tls, room, got);
    }
    ssize_t done = recv(s->fd, streams->bytes, sizeof(streams->bytes), 0);
    *got = done > 0 ? (size_t)done : 0;
    if (done == 0) {
        return ERR_CLOSED;
    }
    return done > 0 ? ERR_NONE : linux_err(errno);
}

static void fill(struct platform_event *out, const struct linux_stream *s,
                 enum gateway_stream_kind kind)
{
    memset(out, 0, sizeof(*out));
    out->kind = PLATFORM_STREAM;
    out->stream.kind = kind;
    out->stream.stream = s->id;
    out->stream.listener = s->listener;
    out->stream.remote = s->remote;
}

/* What an open stream has to say; false: nothing now. */
static bool open_event(struct linux_streams *streams, struct linux_stream *s,
                       struct platform_event *out)
{
    size_t got = 0;
    if (s->announce) {
        s->announce = false;
        fill(out, s, s->accepted ? GATEWAY_STREAM_ACCEPTED : GATEWAY_STREAM_OPENED);
        return true;
    }
    enum err sent = flush(s);
    if (sent != ERR_NONE && sent != ERR_WOULD_BLOCK) {
        fail(s, sent);
        return false;
    }
    if (s->starved && s->send_used <= LINUX_STREAM_SEND_MAX / 2) {
        s->starved = false;
        fill(out, s, GATEWAY_STREAM_WRITABLE);
        return true;
    }
    if (!s->readable) {
        return false;
    }
    enum err err = read_once(streams, s, &got);
    if (err == ERR_NONE) {
        fill(out, s, GATEWAY_STREAM_BYTES);
        out->stream.bytes = (struct view){streams->bytes, got};
        return true;
    }
    s->readable = false;
    if (err == ERR_CLOSED && s->accepted) {
        bool first = !s->ended;
        s->ended = true;
        fill(out, s, GATEWAY_STREAM_ENDED);
        return first;
    }
    if (err != ERR_WOULD_BLOCK) {
        fail(s, err);
    }
    return false;
}

/* Moves a stream on and takes what it has to say. */
static bool stream_event(struct linux_streams *streams, struct linux_stream *s,
                         struct platform_event *out)
{
    if (s->phase == LINUX_STREAM_CONNECTING) {
        advance_connect(s);
    }
    if (s->phase == LINUX_STREAM_SECURING) {
        advance_tls(s);
    }
    if (s->phase == LINUX_STREAM_OPEN && open_event(streams, s, out)) {
        return true;
    }
    if (s->phase == LINUX_STREAM_LINGERING && flush(s) != ERR_WOULD_BLOCK) {
        linux_stream_release(s);
    }
    if (s->phase == LINUX_STREAM_FAILED) {
        fill(out, s, GATEWAY_STREAM_CLOSED);
        out->stream.reason = s->reason;
        linux_stream_release(s);
        return true;
    }
    return false;
}

bool linux_streams_event(struct linux_streams *streams, struct platform_event *out)
{
    const uint32_t all = LINUX_STREAMS_MAX + LINUX_LISTENERS_MAX;
    if (!streams->pending) {
        return false;
    }
    for (uint32_t i = 0; i < all; i++) {
        uint32_t at = (streams->cursor + i) % all;
        bool found = at < LINUX_STREAMS_MAX
                         ? stream_event(streams, &streams->streams[at], out)
                         : linux_listener_event(streams, at - LINUX_STREAMS_MAX, out);
        if (found) {
            streams->cursor = (at + 1) % all;
            return true;
        }
    }
    streams->pending = false;
    for (size_t i = 0; i < LINUX_LISTENERS_MAX; i++) {
        streams->pending = streams->pending || streams->listeners[i].readable;
    }
    return false;
}

bool linux_streams_has_events(const struct linux_streams *streams)
{
    return streams->pending;
}

void linux_streams_handle(struct linux_streams *streams, uint32_t data, uint32_t events)
{
    streams->pending = true;
    if (data >= LINUX_STREAM_LISTENER_DATA) {
        uint32_t index = data - LINUX_STREAM_LISTENER_DATA;
        ASSERT(index < LINUX_LISTENERS_MAX);
        streams->listeners[index].readable = true;
        return;
    }
    ASSERT(data < LINUX_STREAMS_MAX);
    struct linux_stream *s = &streams->streams[data];
    bool both = (events & (EPOLLERR | EPOLLHUP)) != 0;
    s->readable = s->readable || both || (events & (EPOLLIN | EPOLLRDHUP)) != 0;
    s->writable = s->writable || both || (events & EPOLLOUT) != 0;
    if (both && s->ended && s->phase == LINUX_STREAM_OPEN) {
        fail(s, ERR_IO); /* reads say end of stream for ever, even after a reset */
    }
}

/* ---- time and end ---- */

/* True while something is due within the next tenths of a second. */
static bool is_impatient(const struct linux_streams *streams)
{
    for (size_t i = 0; i < LINUX_LISTENERS_MAX; i++) {
        if (streams->listeners[i].tries_left > 0 || streams->listeners[i].starved) {
            return true;
        }
    }
    return linux_streams_draining(streams);
}

static bool is_waiting(const struct linux_streams *streams)
{
    for (size_t i = 0; i < LINUX_LISTENERS_MAX; i++) {
        if (streams->listeners[i].pause.ns > 0) {
            return true;
        }
    }
    return is_impatient(streams);
}

void linux_streams_tick(struct linux_streams *streams, struct instant now)
{
    if (!streams->waiting) {
        return;
    }
    for (size_t i = 0; i < LINUX_STREAMS_MAX; i++) {
        struct linux_stream *s = &streams->streams[i];
        if (s->phase == LINUX_STREAM_LINGERING && instant_reached(now, s->linger_until)) {
            linux_stream_release(s);
        }
    }
    for (uint32_t i = 0; i < LINUX_LISTENERS_MAX; i++) {
        linux_listener_tick(streams, i, now);
    }
    streams->waiting = is_waiting(streams);
}

bool linux_streams_draining(const struct linux_streams *streams)
{
    for (size_t i = 0; i < LINUX_STREAMS_MAX; i++) {
        if (streams->streams[i].phase == LINUX_STREAM_LINGERING) {
            return true;
        }
    }
    return false;
}

bool linux_streams_wants_tick(const struct linux_streams *streams)
{
    return streams->waiting && is_impatient(streams);
}

void linux_streams_destroy(struct linux_streams *streams)
{
    if (streams == NULL) {
        return;
    }
    for (size_t i = 0; i < LINUX_STREAMS_MAX; i++) {
        struct linux_stream *s = &streams->streams[i];
        if (s->phase == LINUX_STREAM_OPEN || s->phase == LINUX_STREAM_LINGERING) {
            enum err best_effort = flush(s);
            (void)best_effort;
        }
        if (s->phase != LINUX_STREAM_FREE) {
            linux_stream_release(s);
        }
    }
    for (size_t i = 0; i < LINUX_LISTENERS_MAX; i++) {
        linux_listener_close(&streams->listeners[i]);
    }
    free(streams);
}
