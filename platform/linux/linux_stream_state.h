/* linux_stream_state: what linux_stream.c and linux_listener.c share. Nobody else includes it. */
#ifndef LINUX_STREAM_STATE_H
#define LINUX_STREAM_STATE_H

#include "platform/linux/linux_stream.h"

enum linux_stream_phase {
    LINUX_STREAM_FREE, /* zeroed memory is a free slot */
    LINUX_STREAM_CONNECTING,
    LINUX_STREAM_SECURING, /* in the TLS handshake */
    LINUX_STREAM_OPEN,
    LINUX_STREAM_FAILED,    /* a CLOSED event is due */
    LINUX_STREAM_LINGERING, /* closed by the caller, still emptying its buffer */
};

struct linux_stream {
    enum linux_stream_phase phase;
    uint32_t id;
    uint32_t listener; /* of an accepted stream */
    bool accepted;
    bool ended;    /* the peer of an accepted stream sends no more */
    bool announce; /* OPENED or ACCEPTED is due */
    bool readable; /* hints: true until a call would block */
    bool writable;
    bool starved; /* a send was cut short: WRITABLE is owed */
    enum err reason;
    int fd;
    struct linux_tls *tls; /* NULL: plain */
    struct sock_addr remote;
    uint8_t *send; /* LINUX_STREAM_SEND_MAX bytes */
    size_t send_used;
    size_t tls_offered; /* bytes that the TLS library must be offered again */
    struct instant linger_until;
};

struct linux_listener {
    int fd; /* -1: not bound */
    bool datagram;
    bool readable;
    bool starved; /* no descriptor or memory for whoever waits: looked at again at `retry_at` */
    bool starved_told; /* since the last that was accepted */
    bool has_news;     /* that nobody has taken yet */
    enum err news;     /* why it cannot bind or accept; ERR_NONE: it is bound at last */
    struct sock_addr local;
    unsigned tries_left;   /* of the first ones */
    struct duration pause; /* after the next failure, once those are over; 0: no such try is due */
    struct instant retry_at;
};

struct linux_streams {
    struct linux_streams_options options;
    struct linux_stream streams[LINUX_STREAMS_MAX];
    struct linux_listener listeners[LINUX_LISTENERS_MAX];
    uint32_t next_accepted; /* id */
    uint32_t cursor;        /* where the next scan starts, for fairness */
    bool pending;           /* something may have happened */
    bool waiting;           /* something may wait for time to pass: linux_streams_tick() */
    uint8_t bytes[LINUX_STREAM_READ_MAX];
};

#define LINUX_STREAM_LISTENER_DATA 0x10000U /* epoll data of listeners start here */

/* A free slot, or NULL. */
struct linux_stream *linux_stream_take(struct linux_streams *streams);
/* Starts to watch a slot whose fd is set; ERR_IO, ERR_MEMORY. */
MUST_USE enum err linux_stream_watch(struct linux_streams *streams, struct linux_stream *stream);
/* Closes and frees a slot. */
void linux_stream_release(struct linux_stream *stream);

/* Takes what a listener has; false: nothing. */
MUST_USE bool linux_listener_event(struct linux_streams *streams, uint32_t index,
                                   struct platform_event *out);
void linux_listener_tick(struct linux_streams *streams, uint32_t index, struct instant now);
void linux_listener_close(struct linux_listener *listener);

#endif /* LINUX_STREAM_STATE_H */
