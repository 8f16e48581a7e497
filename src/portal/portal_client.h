/* portal_client: the gateway's end of the control connection, as one pure state machine.
 *
 * Looks the portal up (A and AAAA, afresh for every attempt), opens all addresses at once and keeps
 * the first that is up, upgrades to a WebSocket, joins the room "gateway", keeps the heartbeat, and
 * does it all again after a failure. Application messages wait until the join is answered.
 *
 *   WAIT -> CONNECT -> UPGRADE -> JOIN -> JOINED -> CLOSING -> WAIT | CONNECT | DEAD
 *
 * Use: feed portal_client_handle_*(), then call portal_client_poll() until it returns false, before
 * the next handle call. After PORTAL_OUT_SEND call portal_client_stream_sent() once.
 * Large messages: what is received is read with at most PORTAL_WORK of work between two inputs; the
 * rest is due at once (portal_client_poll_timeout()). Messages keep their order, so those behind a
 * large one wait, in a bounded queue; heartbeats and deadlines do not. A message is shown whole or
 * not at all: one that is wrong at its very end has done nothing. What was received whole is still
 * shown when the stream ends behind it, and only then the end; what was not is forgotten.
 * No memory: a message that finds none while it is read is kept, those behind it wait, and it is
 * read again after PORTAL_MEMORY_RETRY_MS. After PORTAL_MEMORY_TIMEOUT_S the connection is given
 * up. What is lost so may have taken a right away or made it narrower, and no portal says that
 * again: the next `init` is shown as one that lists no authorization (follows_loss). If no `init`
 * was read, the join counts as none: the budget of the partition goes on.
 * Source: spec/portal.md sections 1 to 3 and 10.1, features.md section 5, design sections 6 and 8.
 * Which of the two logins is used is the operator's choice, the older one without.
 * Differs from the reference: a refused join backs off; the 5 s for TCP are part of the 15 s for
 * the whole attempt, because TLS lives below the seam; Retry-After is cut to one hour.
 * Memory: the owner embeds the struct and must not move it; portal_client_deinit() frees what JSON
 * and WebSocket hold. Time: `now.boot` never goes backwards; `now.unix_ns` is read for HTTP dates.
 */
#ifndef PORTAL_PORTAL_CLIENT_H
#define PORTAL_PORTAL_CLIENT_H

#include "base/addr.h"
#include "base/err.h"
#include "base/time.h"
#include "crypto/rng.h"
#include "portal/http_upgrade.h"
#include "portal/portal_backoff.h"
#include "portal/portal_msg.h"
#include "portal/portal_queue.h"
#include "portal/portal_url.h"
#include "portal/ws.h"

#define PORTAL_TOKEN_SIZE_MAX      4096U
#define PORTAL_ID_SIZE_MAX         512U
#define PORTAL_NAME_SIZE_MAX       255U
#define PORTAL_USER_AGENT_SIZE_MAX 255U
#define PORTAL_STREAMS_MAX         16U    /* addresses raced in one attempt */
#define PORTAL_SEND_SIZE           16384U /* bytes offered at once */
#define PORTAL_HEARTBEAT_S         10U    /* portals drop a silent gateway after 37 s */
#define PORTAL_HEARTBEATS_OPEN_MAX 3U     /* a fourth unanswered one fails the connection */
#define PORTAL_JOIN_TIMEOUT_S      5U
#define PORTAL_ATTEMPT_TIMEOUT_S   15U  /* lookup, TCP, TLS and upgrade together */
#define PORTAL_CLOSING_TIMEOUT_S   1U   /* to get a Close out */
#define PORTAL_RECONNECT_GAP_S     30U  /* between two portal_client_reconnect() that act */
#define PORTAL_REJOINS_MAX         3U   /* joins again on one connection before it is given up */
#define PORTAL_MEMORY_RETRY_MS     100U /* to the next try at what found no memory */
#define PORTAL_MEMORY_TIMEOUT_S    10U  /* before heartbeats would fail the connection */
/* Reading between two inputs, in units of a byte of JSON (2 to 5 ns); ordinary messages fit. */
#define PORTAL_WORK         24576U
#define PORTAL_WORK_MESSAGE 4096U /* of each message: what it does may take 40 us */
#define PORTAL_WORK_PART    128U  /* of each piece of one */
#define PORTAL_FREE_CHUNKS  4U    /* of text, given back between two inputs */
#define PORTAL_FREE_VALUES  256U  /* and of what was read from it */

struct portal_client_config {
    struct view api_url;
    struct view token;
    struct view firezone_id;
    struct view name;
    const uint8_t *public_key; /* 32 bytes */
    struct view user_agent;
    uint64_t partition_max_s; /* 0: PORTAL_PARTITION_DEFAULT_S */
    /* Log in as today's gateways do: at /gateway/v2, with the token in a header and the names of
     * messages that belong to it. A portal that does not know it (404) is asked the older way. */
    bool v2;
    bool v2_only;      /* it is not */
    uint32_t *next_id; /* counter for stream and lookup ids; borrowed for life */
    struct rng *rng;   /* borrowed for life */
};

/* ---- inputs and outputs ---- */

enum portal_lookup_type {
    PORTAL_LOOKUP_A,
    PORTAL_LOOKUP_AAAA,
};

enum portal_stream_kind {
    PORTAL_STREAM_OPENED,   /* the connection, TLS included, is up */
    PORTAL_STREAM_BYTES,    /* any segmentation */
    PORTAL_STREAM_WRITABLE, /* a short send may go on */
    PORTAL_STREAM_CLOSED,   /* over */
};

struct portal_stream_event {
    enum portal_stream_kind kind;
    uint32_t stream;
    struct view bytes; /* valid during the call */
    enum err reason;   /* CLOSED */
};

struct portal_lookup_answer {
    uint32_t lookup;
    const struct ip_addr *addresses; /* none after a failure */
    uint32_t addresses_count;
};

enum portal_output_kind {
    PORTAL_OUT_LOOKUP,
    PORTAL_OUT_OPEN,
    PORTAL_OUT_SEND,
    PORTAL_OUT_CLOSE,
    PORTAL_OUT_MESSAGE, /* for the gateway, kinds up to PORTAL_MSG_EXPIRY_UPDATED */
    PORTAL_OUT_REFUSED, /* a message was refused; for counters and the trace */
    PORTAL_OUT_JOINED,
    PORTAL_OUT_LOST,
    PORTAL_OUT_FATAL, /* nothing follows but PORTAL_OUT_CLOSE */
};

/* Views live until the next call that takes the client without const. */
struct portal_output {
    enum portal_output_kind kind;
    union {
        struct {
            uint32_t lookup;
            enum portal_lookup_type type;
            struct view name;
        } lookup;
        struct {
            uint32_t stream;
            struct sock_addr remote;
            struct view tls_name; /* empty: plain TCP */
        } open;
        struct {
            uint32_t stream;
            struct view bytes;
        } send;
        uint32_t close;
        const struct portal_msg *message;
        struct {
            enum drop_reason reason;
            struct view event; /* the event's name if known; the reason of DROP_PORTAL_REPLY */
            bool is_again;     /* DROP_JSON_MEMORY: was told of this message already */
        } refused;
        struct {
            const char *reason; /* static text */
            uint16_t status;    /* HTTP status or Close code, 0 without */
            struct instant next_at;
        } lost;
        struct {
            const char *reason; /* static text */
            int exit_code;
        } fatal;
    } u;
};

/* ---- the machine ---- */

enum portal_state {
    PORTAL_WAIT,    /* until `deadline`, then CONNECT */
    PORTAL_CONNECT, /* lookups and streams are under way */
    PORTAL_UPGRADE, /* the request was sent */
    PORTAL_JOIN,    /* the join was sent */
    PORTAL_JOINED,
    PORTAL_CLOSING, /* what is left, a Close at its end, goes out */
    PORTAL_DEAD,    /* closed or fatal */
};

enum portal_slot_state {
    PORTAL_SLOT_FREE,
    PORTAL_SLOT_OPEN_DUE,  /* PORTAL_OUT_OPEN is due */
    PORTAL_SLOT_OPENING,   /* waits for OPENED */
    PORTAL_SLOT_LIVE,      /* carries the WebSocket */
    PORTAL_SLOT_CLOSE_DUE, /* PORTAL_OUT_CLOSE is due */
};

struct portal_slot {
    enum portal_slot_state state;
    uint32_t stream;
    struct sock_addr remote;
};

struct portal_lookup {
    uint32_t lookup;
    bool known; /* `lookup` was drawn */
    bool due;   /* PORTAL_OUT_LOOKUP is due */
    bool open;  /* the answer is awaited */
};

/* A notice for the owner that poll() has not shown yet. */
struct portal_notice {
    bool due;
    const char *reason; /* static text */
    uint16_t status;
    struct instant next_at;
};

struct portal_client {
    struct portal_url url;
    struct rng *rng;
    uint32_t *next_id;
    uint8_t public_key[32];
    uint16_t token_len;
    uint16_t id_len;
    uint16_t name_len;
    uint16_t user_agent_len;
    uint8_t token[PORTAL_TOKEN_SIZE_MAX];
    uint8_t id[PORTAL_ID_SIZE_MAX];
    uint8_t name[PORTAL_NAME_SIZE_MAX];
    uint8_t user_agent[PORTAL_USER_AGENT_SIZE_MAX];

    enum portal_state state;
    enum portal_state after_closing; /* WAIT, CONNECT or DEAD */
    struct clock_pair now;           /* of the last input */
    struct instant deadline;         /* of the state; TIME_NEVER when joined */
    struct instant heartbeat_at;
    struct instant retry_at;     /* of the next attempt, while a Close goes out */
    struct instant reconnect_at; /* portal_client_reconnect() acts again from here on */
    struct portal_backoff backoff;
    struct portal_backoff before_join; /* as it was */
    bool has_init;                     /* an init was read on this connection */
    bool head;                         /* this connection's portal is of the newer generation */
    bool v2;                           /* how to log in, this time and from now on */
    bool v2_only;
    enum err unreached; /* why an address of this attempt was of no use; ERR_NONE: none was tried */

    struct portal_lookup lookups[2]; /* by enum portal_lookup_type */
    struct portal_slot slots[PORTAL_STREAMS_MAX];
    uint32_t live; /* slot of the live stream, PORTAL_STREAMS_MAX without */
    uint8_t nonce[HTTP_WS_NONCE_SIZE];
    struct http_head http;
    struct ws ws;

    uint64_t next_ref; /* restarts at 0 on every connection */
    uint64_t join_ref;
    uint64_t heartbeat_refs[PORTAL_HEARTBEATS_OPEN_MAX + 1U];
    uint32_t heartbeats_sent; /* entries of heartbeat_refs */
    uint32_t heartbeats_open; /* sent or due, and not answered */
    uint32_t rejoins;
    bool join_due;
    bool heartbeat_due;

    struct portal_queue queue;
    struct portal_msg msg; /* being read, or shown by the last poll */
    struct portal_decoder decoder;
    struct view part;        /* what is left of the piece being read */
    bool part_is_last;       /* of its message */
    bool reading;            /* `msg` is being read */
    bool held;               /* `msg` stays shown: portal_client_hold() */
    bool ended;              /* the stream is over; what was received is still being read */
    bool has_lost;           /* a message for want of memory, and no init was read since */
    bool starved;            /* the oldest message found no memory: */
    struct instant read_at;  /* it is read again, */
    struct instant read_end; /* and the connection given up if that fails from here on */
    struct instant send_at; /* what is to be sent found none, and is tried again; else TIME_NEVER */
    uint32_t work;          /* left until the next input */
    struct chunk_list trash; /* to be freed, a few at a time */
    struct json_trash trees; /* the same */
    struct portal_notice lost;
    struct portal_notice died;
    uint32_t out_used; /* bytes of `out` that wait */
    uint32_t out_sent; /* of which the stream has taken */
    bool send_offered; /* PORTAL_OUT_SEND was shown, stream_sent() is awaited */
    bool is_drained;   /* nothing has happened since portal_client_poll() found nothing */
    bool blocked;      /* until WRITABLE */
    uint8_t out[PORTAL_SEND_SIZE];
    uint8_t scratch[PORTAL_PAYLOAD_SIZE_MAX + 256U]; /* one message being written */
};

/* Builds a client in zeroed memory that connects at once; copies what it keeps.
 * ERR_ARGUMENT: see portal_url_parse(); ERR_SPACE: a text of the configuration is too long. */
MUST_USE enum err portal_client_init(struct portal_client *c,
                                     const struct portal_client_config *config,
                                     struct clock_pair now);
/* Frees and wipes; zeroed or deinitialised memory is fine. */
void portal_client_deinit(struct portal_client *c);

/* Inputs. Ids that are not known (any more) are ignored; the result says whether the id was ours,
 * so that the owner can ask the next user of the same counter. */
bool portal_client_handle_lookup(struct portal_client *c, const struct portal_lookup_answer *answer,
                                 struct clock_pair now);
bool portal_client_handle_stream(struct portal_client *c, const struct portal_stream_event *event,
                                 struct clock_pair now);
/* Reports how much of the last PORTAL_OUT_SEND was taken. Asserts: no more than was offered. */
bool portal_client_stream_sent(struct portal_client *c, uint32_t stream, size_t taken);
/* Does what is due at `now`; early and late calls are harmless. */
void portal_client_handle_timeout(struct portal_client *c, struct clock_pair now);
/* Returns when portal_client_handle_timeout() wants to be called next. Pure. */
MUST_USE struct wake portal_client_poll_timeout(const struct portal_client *c);
/* Takes the next output; false when there is none, or none before portal_client_handle_timeout().
 */
MUST_USE bool portal_client_poll(struct portal_client *c, struct portal_output *out);

/* Keeps the message that PORTAL_OUT_MESSAGE showed last valid until portal_client_unhold(): its
 * owner works it off in slices. No further message is shown meanwhile, everything else goes on. */
void portal_client_hold(struct portal_client *c);
void portal_client_unhold(struct portal_client *c); /* harmless when none is held */

/* Application messages. They wait until the join is answered and survive reconnects; what went into
 * a connection that broke is lost. An equal message that waits already is success.
 * ERR_FULL: the queue is full, try again after some PORTAL_OUT_SEND; ERR_TOO_BIG: the message is
 * longer than PORTAL_PAYLOAD_SIZE_MAX or not UTF-8; ERR_CLOSED: closed or fatal. */
MUST_USE enum err portal_client_send_flow_authorized(struct portal_client *c, struct view ref);
MUST_USE enum err portal_client_send_candidates(struct portal_client *c, const struct uuid *client,
                                                const struct view *candidates, size_t count);
MUST_USE enum err portal_client_send_invalidated(struct portal_client *c, const struct uuid *client,
                                                 const struct view *candidates, size_t count);
MUST_USE enum err portal_client_send_connection_ready(struct portal_client *c, struct view ref,
                                                      struct view ufrag, struct view password);
/* ERR_STATE: the portal is not known to understand it (portal_client_is_head()), or not joined. */
MUST_USE enum err portal_client_send_no_relays(struct portal_client *c);

MUST_USE bool portal_client_is_joined(const struct portal_client *c);
/* True while the oldest message waits for memory. */
MUST_USE bool portal_client_is_starved(const struct portal_client *c);
/* True from the loss of a message for want of memory until the next init is shown. */
MUST_USE bool portal_client_has_lost(const struct portal_client *c);
/* True when this connection's init carried flow_logs. */
MUST_USE bool portal_client_is_head(const struct portal_client *c);

/* Replaces the connection in order to get a fresh init, at once and without backoff: what a v142
 * portal needs when no relay is left. Acts at most once in PORTAL_RECONNECT_GAP_S and only when
 * joined; false when it did nothing. */
bool portal_client_reconnect(struct portal_client *c, struct clock_pair now);

/* Ends the connection for good: Close 1000, then PORTAL_OUT_CLOSE. */
void portal_client_close(struct portal_client *c, struct clock_pair now);
/* True when nothing of the connection is left (after close or a fatal end, once drained). */
MUST_USE bool portal_client_is_closed(const struct portal_client *c);

/* Asserts all invariants. */
void portal_client_check(const struct portal_client *c);

#endif /* PORTAL_PORTAL_CLIENT_H */
