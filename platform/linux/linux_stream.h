/* linux_stream: byte streams (TCP, with TLS where asked) and listeners on one epoll instance.
 *
 * A table of streams and one of listeners. The owner passes readiness on with
 * linux_streams_handle() and takes what happened with linux_streams_event(); bytes are read only
 * when an event is taken, so a caller that stops taking events stops the reading.
 * Every send is copied into a bounded buffer; what does not fit is left to the caller, and a
 * WRITABLE event follows. Plaintext is on the caller's side, TLS below (linux_tls.h).
 * Source: spec/portal.md sections 1.2, 1.3 and 9.5; spec/dataplane.md section 8.4.
 * Memory: one buffer per live stream, allocated when it starts; full tables refuse newcomers. At a
 * full listener a closed stream that lingers makes room at once.
 */
#ifndef LINUX_STREAM_H
#define LINUX_STREAM_H

#include "platform/linux/linux_tls.h"
#include "platform/platform.h"

#define LINUX_STREAMS_MAX          128U   /* live streams, those that only drain included */
#define LINUX_STREAMS_ACCEPTED_MAX 32U    /* live accepted streams of one listener */
#define LINUX_STREAM_SEND_MAX      65536U /* bytes waiting in one stream */
#define LINUX_STREAM_READ_MAX      16384U /* bytes of one BYTES event: one TLS record */
#define LINUX_STREAM_LINGER_S      5U /* a closed stream may take that long to empty its buffer */
#define LINUX_LISTENERS_MAX        8U
#define LINUX_LISTEN_TRIES         3U /* spec/dataplane.md section 8.4 */
#define LINUX_LISTEN_PAUSE_MS      100U
#define LINUX_LISTEN_BACKOFF_S     1U /* after these tries; doubles with each that fails */
#define LINUX_LISTEN_BACKOFF_MAX_S 60U
#define LINUX_LISTENER_DATAGRAM    4096U /* largest datagram that a UDP listener takes */

struct linux_streams;

struct linux_streams_options {
    int epoll;     /* borrowed; readiness of our sockets is asked for there */
    uint64_t tag;  /* upper 32 bits of epoll_data.u64; the lower are ours */
    uint32_t mark; /* SO_MARK of connecting sockets; 0: none. Accepted ones carry none. */
    struct linux_tls_roots *roots; /* borrowed; NULL: every TLS stream fails with ERR_TLS */
};

/* NULL when memory is short. */
struct linux_streams *linux_streams_create(const struct linux_streams_options *options);
/* Replaces the roots that later opens trust; borrowed like the first ones. */
void linux_streams_trust(struct linux_streams *streams, struct linux_tls_roots *roots);
/* Closes everything at once; what was taken and not yet sent is offered to the sockets first. */
void linux_streams_destroy(struct linux_streams *streams);

/* As the functions of struct platform. An open that fails at once still reports a CLOSED event. */
void linux_streams_open(struct linux_streams *streams, const struct gateway_stream_open *open,
                        struct instant now);
MUST_USE enum err linux_streams_send(struct linux_streams *streams, uint32_t stream,
                                     struct view bytes, size_t *taken);
void linux_streams_close(struct linux_streams *streams, uint32_t stream, struct instant now);
/* Binds at once (tunnel addresses need not exist yet); when that fails it is tried again at
 * linux_streams_tick(), LINUX_LISTEN_TRIES times in quick succession and then ever less often,
 * until it succeeds. linux_streams_listen_news() tells the failure of the quick ones, and the
 * success after that. ERR_ARGUMENT: no address. The same address again changes nothing once it is
 * bound. */
MUST_USE enum err linux_streams_listen(struct linux_streams *streams,
                                       const struct gateway_listen *listen, struct instant now);
MUST_USE enum err linux_streams_listener_send(struct linux_streams *streams,
                                              const struct gateway_listener_datagram *datagram);

/* Passes readiness on: the lower 32 bits of epoll_data.u64 and the events. */
void linux_streams_handle(struct linux_streams *streams, uint32_t data, uint32_t events);
/* Takes what happened next; false: nothing until the next handle, tick or call of above. Views
 * live until the next call. */
MUST_USE bool linux_streams_event(struct linux_streams *streams, struct platform_event *out);
/* False promises that linux_streams_event() has nothing. */
MUST_USE bool linux_streams_has_events(const struct linux_streams *streams);
/* Ends what lingers too long, tries again to bind and to accept what failed. Wants to be called
 * about every 100 ms while linux_streams_wants_tick(), and every second or so otherwise. */
void linux_streams_tick(struct linux_streams *streams, struct instant now);
MUST_USE bool linux_streams_wants_tick(const struct linux_streams *streams);
/* Takes a listener that could not be bound for LINUX_LISTEN_TRIES times, or that cannot accept for
 * want of a descriptor or memory (told once until it can; it goes on trying); with ERR_NONE one
 * that is bound after all. False: none. */
MUST_USE bool linux_streams_listen_news(struct linux_streams *streams,
                                        enum gateway_listener *listener, enum err *err);
/* True while a closed stream still has bytes to send. */
MUST_USE bool linux_streams_draining(const struct linux_streams *streams);
/* Port of a listener, for tests that bind port 0; 0: not bound. */
MUST_USE uint16_t linux_streams_port(const struct linux_streams *streams,
                                     enum gateway_listener listener);

#endif /* LINUX_STREAM_H */
