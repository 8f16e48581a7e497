/* portal_step: the steps that the parts of portal_client share. Internal to portal_client.
 *
 * portal_client.c holds the face and the states, portal_attempt.c the way to an open WebSocket,
 * portal_channel.c what is said over it.
 */
#ifndef PORTAL_PORTAL_STEP_H
#define PORTAL_PORTAL_STEP_H

#include "portal/portal_client.h"

#define PORTAL_CODE_NORMAL   1000U /* RFC 6455 section 7.4.1 */
#define PORTAL_REASON_BROKE  "the connection to the portal broke"
#define PORTAL_REASON_MEMORY "no memory for what the portal says"

/* Why and how a connection or an attempt ended. */
struct portal_failure {
    const char *reason;     /* static text */
    uint16_t status;        /* HTTP status or Close code, 0 without */
    bool has_retry_after;   /* the portal said when to come back */
    uint64_t retry_after_s; /* valid with has_retry_after */
    bool polite;            /* a Close frame is queued: let it out first */
};

/* ---- portal_client.c ---- */

/* Begins an input: outputs may follow it. */
void portal_step_begin(struct portal_client *c, struct clock_pair now);
/* Gives the connection up and plans the next attempt, or dies when the budget is exhausted. */
void portal_step_fail(struct portal_client *c, const struct portal_failure *failure);
/* Gives everything up for good; the owner gets PORTAL_OUT_FATAL. */
void portal_step_die(struct portal_client *c, const char *reason, uint16_t status);
/* Lets the queued Close out, then goes to `after`. */
void portal_step_closing(struct portal_client *c, enum portal_state after);

/* ---- portal_attempt.c ---- */

void portal_step_attempt(struct portal_client *c);
/* Forgets lookups and streams; those that the owner knows are closed. */
void portal_step_drop(struct portal_client *c);
void portal_step_stream(struct portal_client *c, uint32_t slot,
                        const struct portal_stream_event *event);
MUST_USE bool portal_step_poll_attempt(struct portal_client *c, struct portal_output *out);

/* ---- portal_channel.c ---- */

/* The WebSocket is up. */
void portal_step_join(struct portal_client *c);
/* A heartbeat is due. */
void portal_step_heartbeat(struct portal_client *c);
/* Handles received messages until one is for the owner or the work is spent. */
MUST_USE bool portal_step_poll_messages(struct portal_client *c, struct portal_output *out);
/* True while something received has not been read to its end, the WebSocket's own end included. */
MUST_USE bool portal_step_has_unread(const struct portal_client *c);
/* When the next of it is to be read; TIME_NEVER: there is none, or it has to wait. */
MUST_USE struct instant portal_step_read_at(const struct portal_client *c);
/* Frees a part of what is not needed any more. */
void portal_step_free(struct portal_client *c);
/* Gives up the message that was shown or is being read. */
void portal_step_forget(struct portal_client *c);
/* Fills the send buffer as far as there is something to say. */
void portal_step_fill(struct portal_client *c);

#endif /* PORTAL_PORTAL_STEP_H */
