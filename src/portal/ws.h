/* ws: one WebSocket without I/O, client or server side.
 *
 * Source: RFC 6455; wslay does the framing and is called in ws.c only (spec/dependencies.md
 * section 5 lists its traps). Text messages are reassembled and checked for UTF-8; Ping is
 * answered; Pong and binary messages are ignored; Close is answered with the same code. Memory:
 * wslay and the queue of received messages allocate, bounded by the limits below; ws_free()
 * releases everything. Order: bytes in with ws_feed(), events out with ws_poll(), bytes out with
 * ws_drain(). Time: a call takes as long as its bytes need; what was received is kept in chunks, so
 * that no call depends on how long a message is (but for ws_poll() and ws_free()).
 */
#ifndef PORTAL_WS_H
#define PORTAL_WS_H

#include "base/bytes.h"
#include "base/chunk.h"
#include "base/err.h"
#include "crypto/rng.h"

#define WS_MESSAGE_SIZE_MAX (16U * 1024U * 1024U) /* bytes of one message, design section 3 */
#define WS_FRAGMENTS_MAX    4096U  /* frames of one message: an empty fragment costs 2 bytes */
#define WS_EVENTS_MAX       16384U /* messages received but not polled */
#define WS_EVENT_BYTES_MAX  (2U * WS_MESSAGE_SIZE_MAX) /* bytes received but not polled */
#define WS_SEND_MAX         4096U /* frames queued and not drained, Pongs included */
#define WS_REASON_SIZE_MAX  123U  /* bytes of text in a Close, RFC 6455 section 5.5 */
#define WS_SEND_BYTES_MAX   (2U * WS_MESSAGE_SIZE_MAX) /* bytes queued and not drained */

enum ws_role {
    WS_CLIENT, /* masks what it sends, refuses masked frames */
    WS_SERVER,
};

enum ws_event_kind {
    WS_TEXT,   /* a complete text message */
    WS_CLOSED, /* the peer sent Close, or broke the protocol; nothing follows */
};

struct ws_event {
    enum ws_event_kind kind;
    struct view text; /* WS_TEXT: see ws_poll() and ws_poll_part() */
    bool is_last;     /* WS_TEXT: the message ends here */
    uint16_t code;    /* WS_CLOSED: the peer's code, 1005 without one; ours on a failure */
    bool failed;      /* WS_CLOSED: the peer broke the protocol or a limit, or memory ran out: */
    bool starved;     /* WS_CLOSED: ws_is_starved() */
};

/* Zeroed memory is a closed, empty ws. */
struct ws {
    void *context;   /* wslay's */
    struct rng *rng; /* masks; borrowed */
    enum ws_role role;
    struct chunk_list received; /* messages, each up to a chunk that is its end */
    struct chunk_list partial;  /* of the message being received */
    struct chunk_list shown;    /* handed out and not given back */
    uint32_t events_count;
    uint64_t events_size;     /* bytes */
    uint64_t partial_size;    /* bytes of the message being received, those to come in this frame */
    uint64_t frame_left;      /* included, and how many those are */
    uint32_t fragments_count; /* of it */
    bool in_text;             /* the data frame being received belongs to a text */
    bool in_control;          /* no data frame is being received */
    struct view feed;         /* bytes that the library has not taken yet */
    struct span drain;        /* room that the library may fill */
    size_t drained;
    uint16_t peer_code;  /* of the Close frame being received */
    uint8_t peer_bytes;  /* of it that are there, up to 2 */
    bool in_close;       /* the frame being received is a Close */
    uint16_t close_code; /* of the WS_CLOSED event */
    bool closed;         /* nothing is read any more */
    bool failed;
    bool starved;
    bool closed_shown; /* ws_poll() has reported the end */
    bool close_sent;   /* ws_close() was called or Close was answered */
    bool close_waits;  /* our Close goes out once everything before it has */
    uint8_t reason_len;
    uint16_t own_code;
    uint8_t reason[WS_REASON_SIZE_MAX];
};

/* Starts a WebSocket after the HTTP upgrade. `rng` must outlive it. The ws must not move in memory
 * while it is live. ERR_MEMORY. */
MUST_USE enum err ws_init(struct ws *ws, enum ws_role role, struct rng *rng);
void ws_free(struct ws *ws);
/* As ws_free(), but what was received goes to `trash`, to be freed there. */
void ws_release(struct ws *ws, struct chunk_list *trash);
MUST_USE bool ws_is_live(const struct ws *ws); /* between ws_init() and ws_free() */

/* Reading has ended because memory ran out. */
MUST_USE bool ws_is_starved(const struct ws *ws);

/* Takes all of `bytes`. What is wrong with them shows as WS_CLOSED with `failed`; bytes after the
 * end are ignored. */
void ws_feed(struct ws *ws, struct view bytes);

/* Takes the next event, oldest first; false when there is none. A text comes whole and is valid
 * until the next call of ws_poll() or ws_free(). */
MUST_USE bool ws_poll(struct ws *ws, struct ws_event *out);
/* The same, but a text comes in parts of at most CHUNK_SIZE_MAX bytes, the last of which is_last.
 * They are kept until ws_read() or ws_unread(). */
MUST_USE bool ws_poll_part(struct ws *ws, struct ws_event *out);
/* The parts handed out are not needed any more; they go to `trash`. O(1). */
void ws_read(struct ws *ws, struct chunk_list *trash);
/* Takes them back: ws_poll_part() begins with the oldest of them again. O(parts). */
void ws_unread(struct ws *ws);

/* True while ws_poll() has something. */
MUST_USE bool ws_has_event(const struct ws *ws);

/* Queues one unfragmented text frame, copying `text`. ERR_CLOSED: Close was sent or the connection
 * failed; ERR_FULL: more than WS_SEND_MAX frames or WS_SEND_BYTES_MAX bytes wait; ERR_MEMORY. */
MUST_USE enum err ws_send_text(struct ws *ws, struct view text);
/* Queues a Ping with `payload` (at most 125 bytes); for the simulated portal. Errors as above. */
MUST_USE enum err ws_send_ping(struct ws *ws, struct view payload);
/* Queues Close behind everything that waits; further sends are refused. Harmless when closed.
 * Asserts: the reason has at most WS_REASON_SIZE_MAX bytes. */
void ws_close(struct ws *ws, uint16_t code, struct view reason);

/* Writes what waits into `out` and returns how many bytes; 0 when nothing waits. */
MUST_USE size_t ws_drain(struct ws *ws, struct span out);
/* True while ws_drain() has something. */
MUST_USE bool ws_wants_drain(const struct ws *ws);

#endif /* PORTAL_WS_H */
