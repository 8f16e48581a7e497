/* The listening half of linux_stream.h: accepted connections and UDP listeners. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "platform/linux/linux_addr.h"
#include "platform/linux/linux_stream_state.h"

#define BACKLOG        64
#define ACCEPTS_MAX    16U /* newcomers looked at for one event, refused ones included */
#define ACCEPTED_ID(n) ((n) | GATEWAY_STREAM_ACCEPTED_BASE)

void linux_listener_close(struct linux_listener *listener)
{
    if (listener->fd >= 0) {
        (void)close(listener->fd);
    }
    memset(listener, 0, sizeof(*listener));
    listener->fd = -1;
}

/* ---- binding ---- */

/* Switches an option on that may be missing; binding says what matters. */
static void try_option(int fd, int level, int name)
{
    int on = 1;
    int ignored = setsockopt(fd, level, name, &on, sizeof(on));
    (void)ignored;
}

/* [::] takes IPv4 too, where the system's default is to. */
static void set_options(int fd, bool v6)
{
    try_option(fd, SOL_SOCKET, SO_REUSEADDR);
    if (v6) {
        try_option(fd, IPPROTO_IPV6, IPV6_FREEBIND);
    } else {
        try_option(fd, IPPROTO_IP, IP_FREEBIND);
    }
}

static enum err try_bind(const struct linux_streams *streams, struct linux_listener *l,
                         uint32_t index)
{
    struct sockaddr_storage storage;
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLET,
        .data.u64 = streams->options.tag << 32 | (LINUX_STREAM_LISTENER_DATA + index),
    };
    bool v6 = l->local.ip.family == IP_V6;
    int type = (l->datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(v6 ? AF_INET6 : AF_INET, type, 0);
    if (fd < 0) {
        return linux_err(errno);
    }
    set_options(fd, v6);
    socklen_t size = linux_addr_to(&l->local, &storage);
    if (bind(fd, (struct sockaddr *)&storage, size) != 0 ||
        (!l->datagram && listen(fd, BACKLOG) != 0) ||
        epoll_ctl(streams->options.epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        enum err err = errno == EADDRINUSE ? ERR_EXISTS : linux_err(errno);
        (void)close(fd);
        return err;
    }
    l->fd = fd;
    return ERR_NONE;
}

/* The quick tries are over: said once, then each pause is twice the last one. */
static void back_off(struct linux_listener *l, enum err err, struct instant now)
{
    const struct duration max = DURATION_S(LINUX_LISTEN_BACKOFF_MAX_S);
    if (l->pause.ns == 0) {
        l->has_news = true;
        l->news = err;
        l->pause = DURATION_S(LINUX_LISTEN_BACKOFF_S);
    }
    l->retry_at = instant_add(now, l->pause);
    l->pause.ns = l->pause.ns < max.ns / 2 ? l->pause.ns * 2 : max.ns;
}

static void bind_or_wait(struct linux_streams *streams, uint32_t index, struct instant now)
{
    struct linux_listener *l = &streams->listeners[index];
    enum err err = try_bind(streams, l, index);
    bool was_told = l->pause.ns > 0;
    if (err == ERR_NONE) {
        l->has_news = was_told;
        l->news = ERR_NONE;
        l->tries_left = 0;
        l->pause = DURATION_ZERO;
    } else if (!was_told && --l->tries_left > 0) {
        l->retry_at = instant_add(now, DURATION_MS(LINUX_LISTEN_PAUSE_MS));
    } else {
        back_off(l, err, now);
    }
}

enum err linux_streams_listen(struct linux_streams *streams, const struct gateway_listen *listen,
                              struct instant now)
{
    uint32_t index = (uint32_t)listen->listener;
    ASSERT(index < LINUX_LISTENERS_MAX);
    struct linux_listener *l = &streams->listeners[index];
    if (listen->local.ip.family == IP_NONE) {
        return ERR_ARGUMENT;
    }
    if (l->fd >= 0 && l->datagram == listen->datagram &&
        sock_addr_equal(&l->local, &listen->local)) {
        return ERR_NONE;
    }
    linux_listener_close(l);
    l->datagram = listen->datagram;
    l->local = listen->local;
    l->tries_left = LINUX_LISTEN_TRIES;
    streams->waiting = true;
    bind_or_wait(streams, index, now);
    return ERR_NONE;
}

void linux_listener_tick(struct linux_streams *streams, uint32_t index, struct instant now)
{
    struct linux_listener *l = &streams->listeners[index];
    bool is_due = l->tries_left > 0 || l->pause.ns > 0;
    if (is_due && instant_reached(now, l->retry_at)) {
        bind_or_wait(streams, index, now);
    }
    if (l->starved && instant_reached(now, l->retry_at)) {
        l->retry_at = instant_add(now, DURATION_MS(LINUX_LISTEN_PAUSE_MS));
        l->readable = true;
        streams->pending = true;
    }
}

bool linux_streams_listen_news(struct linux_streams *streams, enum gateway_listener *listener,
                               enum err *err)
{
    for (size_t i = 0; i < LINUX_LISTENERS_MAX; i++) {
        struct linux_listener *l = &streams->listeners[i];
        if (l->has_news) {
            l->has_news = false;
            *listener = (enum gateway_listener)i;
            *err = l->news;
            return true;
        }
    }
    return false;
}

uint16_t linux_streams_port(const struct linux_streams *streams, enum gateway_listener listener)
{
    struct sockaddr_storage storage;
    socklen_t size = sizeof(storage);
    int fd = streams->listeners[listener].fd;
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&storage, &size) != 0) {
        return 0;
    }
    return linux_addr_from(&storage).port;
}

/* ---- connections ---- */

static size_t count_accepted(const struct linux_streams *streams, uint32_t listener)
{
    size_t count = 0;
    for (size_t i = 0; i < LINUX_STREAMS_MAX; i++) {
        const struct linux_stream *s = &streams->streams[i];
        count += s->phase != LINUX_STREAM_FREE && s->accepted && s->listener == listener ? 1 : 0;
    }
    return count;
}

/* Ends the stream of a listener that has lingered longest; false: none lingers. */
static bool end_lingering(struct linux_streams *streams, uint32_t listener)
{
    struct linux_stream *first = NULL;
    for (size_t i = 0; i < LINUX_STREAMS_MAX; i++) {
        struct linux_stream *s = &streams->streams[i];
        if (s->phase == LINUX_STREAM_LINGERING && s->accepted && s->listener == listener &&
            (first == NULL || instant_before(s->linger_until, first->linger_until))) {
            first = s;
        }
    }
    if (first != NULL) {
        linux_stream_release(first);
    }
    return first != NULL;
}

/* Makes a stream of an accepted socket; false: there is no room and it was closed. */
static bool adopt(struct linux_streams *streams, uint32_t index, int fd,
                  const struct sockaddr_storage *remote)
{
    bool has_room = count_accepted(streams, index) < LINUX_STREAMS_ACCEPTED_MAX ||
                    end_lingering(streams, index);
    struct linux_stream *s = has_room ? linux_stream_take(streams) : NULL;
    if (s == NULL) {
        (void)close(fd);
        return false;
    }
    try_option(fd, IPPROTO_TCP, TCP_NODELAY);
    s->fd = fd;
    s->phase = LINUX_STREAM_OPEN;
    s->id = ACCEPTED_ID(streams->next_accepted);
    streams->next_accepted++;
    s->listener = index;
    s->accepted = true;
    s->readable = true;
    s->writable = true;
    s->remote = linux_addr_from(remote);
    if (linux_stream_watch(streams, s) != ERR_NONE) {
        linux_stream_release(s);
        return false;
    }
    return true;
}

/* Without a free descriptor or memory whoever waits stays in the queue, and no edge tells of it
 * again: it is looked at after a pause. */
static void judge_accept(struct linux_listener *l, int error)
{
    l->readable = error == ECONNABORTED || error == EINTR;
    l->starved = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
    if (l->starved && !l->starved_told) {
        l->starved_told = true;
        l->has_news = true;
        l->news = linux_err(error);
    }
}

static bool accept_event(struct linux_streams *streams, uint32_t index, struct platform_event *out)
{
    struct linux_listener *l = &streams->listeners[index];
    for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage remote;
        socklen_t size = sizeof(remote);
        int fd = accept4(l->fd, (struct sockaddr *)&remote, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            judge_accept(l, errno);
            streams->waiting = streams->waiting || l->starved;
            return false;
        }
        l->starved = false;
        l->starved_told = false;
        uint32_t id = ACCEPTED_ID(streams->next_accepted);
        if (adopt(streams, index, fd, &remote)) {
            memset(out, 0, sizeof(*out));
            out->kind = PLATFORM_STREAM;
            out->stream.kind = GATEWAY_STREAM_ACCEPTED;
            out->stream.stream = id;
            out->stream.listener = index;
            out->stream.remote = linux_addr_from(&remote);
            return true;
        }
    }
    return false;
}

/* ---- datagrams ---- */

static bool datagram_event(struct linux_streams *streams, uint32_t index,
                           struct platform_event *out)
{
    struct linux_listener *l = &streams->listeners[index];
    struct sockaddr_storage remote;
    socklen_t size = sizeof(remote);
    ssize_t got = recvfrom(l->fd, streams->bytes, LINUX_LISTENER_DATAGRAM, MSG_TRUNC,
                           (struct sockaddr *)&remote, &size);
    if (got < 0) {
        l->readable = errno != EAGAIN && errno != EBADF;
        return false;
    }
    if (got == 0 || got > (ssize_t)LINUX_LISTENER_DATAGRAM) {
        return false; /* nothing of use; `readable` stays set */
    }
    memset(out, 0, sizeof(*out));
    out->kind = PLATFORM_LISTENER;
    out->listener.listener = (enum gateway_listener)index;
    out->listener.remote = linux_addr_from(&remote);
    out->listener.bytes = (struct view){streams->bytes, (size_t)got};
    return true;
}

bool linux_listener_event(struct linux_streams *streams, uint32_t index, struct platform_event *out)
{
    const struct linux_listener *l = &streams->listeners[index];
    for (unsigned i = 0; i < ACCEPTS_MAX && l->fd >= 0 && l->readable; i++) {
        if (l->datagram ? datagram_event(streams, index, out) : accept_event(streams, index, out)) {
            return true;
        }
    }
    return false;
}

enum err linux_streams_listener_send(struct linux_streams *streams,
                                     const struct gateway_listener_datagram *datagram)
{
    struct sockaddr_storage storage;
    ASSERT((uint32_t)datagram->listener < LINUX_LISTENERS_MAX);
    const struct linux_listener *l = &streams->listeners[datagram->listener];
    if (l->fd < 0 || !l->datagram) {
        return ERR_STATE;
    }
    socklen_t size = linux_addr_to(&datagram->remote, &storage);
    ssize_t sent = sendto(l->fd, datagram->bytes.at, datagram->bytes.len, MSG_NOSIGNAL,
                          (struct sockaddr *)&storage, size);
    return sent >= 0 ? ERR_NONE : linux_err(errno);
}
