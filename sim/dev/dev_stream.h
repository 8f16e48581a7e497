/* dev_stream: TCP connections of fzdev, plain or TLS, that queue what is sent without bound.
 *
 * A stream reports OPENED, BYTES and CLOSED through its callback, never from inside a call of this
 * module. After CLOSED it is dead and its owner frees it with dev_stream_free().
 */
#ifndef DEV_STREAM_H
#define DEV_STREAM_H

#include "base/addr.h"
#include "base/err.h"
#include "gateway/gateway_io.h"
#include "platform/linux/linux_tls.h"
#include "sim/dev/dev_loop.h"
#include "sim/dev/dev_tls.h"

struct dev_stream;

/* `bytes` of BYTES live during the call; `reason` belongs to CLOSED. */
typedef void dev_stream_event(void *self, struct dev_stream *stream, enum gateway_stream_kind kind,
                              struct view bytes, enum err reason);

struct dev_stream_owner {
    struct dev_loop *loop;
    dev_stream_event *event;
    void *self;
};

/* How a stream that we open is made. */
struct dev_dial {
    struct sock_addr remote;
    uint32_t mark;                 /* SO_MARK; 0: none */
    struct linux_tls_roots *roots; /* NULL: plain TCP; borrowed */
    const char *tls_name;          /* name or IP literal to verify */
};

/* Starts connecting; a failure shows as CLOSED. NULL: no memory. */
struct dev_stream *dev_stream_open(struct dev_stream_owner owner, const struct dev_dial *dial);
/* Takes over the accepted descriptor. `tls` may be NULL (plain). OPENED follows. NULL: no memory,
 * the descriptor is closed. */
struct dev_stream *dev_stream_accept(struct dev_stream_owner owner, int fd,
                                     struct dev_tls_server *tls);
void dev_stream_send(struct dev_stream *stream, struct view bytes);
/* An orderly end after what is queued; no event follows, the stream frees itself. */
void dev_stream_close(struct dev_stream *stream);
/* Aborts with a TCP reset and frees the stream; no event follows. */
void dev_stream_reset(struct dev_stream *stream);
void dev_stream_free(struct dev_stream *stream);

/* A listening socket that accepts without blocking. */
struct dev_listener {
    struct dev_watch watch;
    void (*accepted)(void *self, int fd, struct sock_addr remote);
    void *self;
};

/* ERR_EXISTS: the address is in use; other errors as the system says. */
MUST_USE enum err dev_listen(struct dev_loop *loop, struct dev_listener *listener,
                             struct sock_addr local);

#endif /* DEV_STREAM_H */
