#include "portal/portal_step.h"

#include "base/assert.h"

static void fail(struct portal_client *c, const char *reason)
{
    portal_step_fail(c, &(struct portal_failure){.reason = reason});
}

/* ---- join and heartbeat ---- */

static void start_join(struct portal_client *c)
{
    c->state = PORTAL_JOIN;
    c->join_due = true;
    c->has_init = false;
    c->deadline = instant_add(c->now.boot, DURATION_S(PORTAL_JOIN_TIMEOUT_S));
}

void portal_step_join(struct portal_client *c)
{
    c->next_ref = 0;
    c->rejoins = 0;
    c->heartbeats_sent = 0;
    c->heartbeats_open = 0;
    c->heartbeat_at = instant_add(c->now.boot, DURATION_S(PORTAL_HEARTBEAT_S));
    start_join(c);
}

void portal_step_heartbeat(struct portal_client *c)
{
    if (c->heartbeats_open == PORTAL_HEARTBEATS_OPEN_MAX) {
        fail(c, "the portal does not answer heartbeats");
        return;
    }
    c->heartbeats_open++;
    c->heartbeat_due = true;
    c->heartbeat_at = instant_add(c->now.boot, DURATION_S(PORTAL_HEARTBEAT_S));
}

/* Replies come in order: one answers all older heartbeats too. */
static bool take_heartbeat_reply(struct portal_client *c, uint64_t ref)
{
    for (uint32_t i = 0; i < c->heartbeats_sent; i++) {
        if (c->heartbeat_refs[i] == ref) {
            c->heartbeats_sent -= i + 1;
            for (uint32_t k = 0; k < c->heartbeats_sent; k++) {
                c->heartbeat_refs[k] = c->heartbeat_refs[k + i + 1];
            }
            c->heartbeats_open = c->heartbeats_sent + (c->heartbeat_due ? 1U : 0U);
            return true;
        }
    }
    return false;
}

/* ---- received messages ---- */

static bool is_join_reply(const struct portal_client *c)
{
    return c->state == PORTAL_JOIN && !c->join_due && c->msg.u.reply.on_gateway_topic &&
           c->msg.u.reply.ref == c->join_ref;
}

static bool handle_reply_ok(struct portal_client *c, struct portal_output *out)
{
    if (take_heartbeat_reply(c, c->msg.u.reply.ref) || !is_join_reply(c)) {
        return false;
    }
    c->state = PORTAL_JOINED;
    c->deadline = TIME_NEVER;
    c->before_join = c->backoff;
    portal_backoff_joined(&c->backoff);
    out->kind = PORTAL_OUT_JOINED;
    return true;
}

static bool handle_reply_error(struct portal_client *c, struct portal_output *out)
{
    const struct portal_reply *reply = &c->msg.u.reply;
    if (is_join_reply(c)) {
        fail(c, "the portal refused the join");
        return false;
    }
    if (c->state == PORTAL_JOINED && reply->on_gateway_topic &&
        view_equal_text(reply->reason, "unmatched topic")) {
        if (c->rejoins == PORTAL_REJOINS_MAX) {
            fail(c, "the portal forgets the join again and again");
            return false;
        }
        c->rejoins++;
        start_join(c);
    }
    out->kind = PORTAL_OUT_REFUSED;
    out->u.refused.reason = DROP_PORTAL_REPLY;
    out->u.refused.event = reply->reason;
    out->u.refused.is_again = false;
    return true;
}

/* After a loss nothing that was granted is sure; what may go on is granted again. */
static void handle_init(struct portal_client *c)
{
    struct portal_init *msg = &c->msg.u.init;
    if (c->has_lost) {
        msg->follows_loss = true;
        msg->has_authorizations = true;
        msg->authorizations = (struct portal_list){.next = NULL};
    }
    c->has_lost = false;
    c->has_init = true;
    c->head = c->head || msg->has_flow_logs;
}

/* Handles c->msg; true when `out` tells the owner something. */
static bool handle_message(struct portal_client *c, struct portal_output *out)
{
    switch (c->msg.kind) {
    case PORTAL_MSG_INIT:
        handle_init(c);
        break;
    case PORTAL_MSG_REPLY_OK:
        return handle_reply_ok(c, out);
    case PORTAL_MSG_REPLY_ERROR:
        return handle_reply_error(c, out);
    case PORTAL_MSG_TOKEN_EXPIRED:
        portal_step_die(c, "the portal says that the token has expired", 0);
        return false;
    case PORTAL_MSG_PHX_ERROR:
    case PORTAL_MSG_PHX_CLOSE:
        if (c->msg.u.reply.on_gateway_topic) {
            fail(c, "the portal ended the channel");
        }
        return false;
    case PORTAL_MSG_RELAYS_PRESENCE:
    case PORTAL_MSG_AUTHORIZE_FLOW:
    case PORTAL_MSG_REJECT_ACCESS:
    case PORTAL_MSG_ICE_CANDIDATES:
    case PORTAL_MSG_INVALIDATE_ICE_CANDIDATES:
    case PORTAL_MSG_RESOURCE_UPDATED:
    case PORTAL_MSG_RESOURCE_REMOVED:
    case PORTAL_MSG_ACCESS_REMOVED:
    case PORTAL_MSG_REQUEST_CONNECTION:
    case PORTAL_MSG_ALLOW_ACCESS:
    case PORTAL_MSG_EXPIRY_UPDATED:
        break;
    }
    out->kind = PORTAL_OUT_MESSAGE;
    out->u.message = &c->msg;
    return true;
}

/* No memory: what the portal said is lost with the connection, and comes with the next `init`. */
static void fail_starved(struct portal_client *c, const struct portal_failure *failure)
{
    if (c->state == PORTAL_JOINED && !c->has_init) {
        c->backoff = c->before_join;
    }
    portal_step_fail(c, failure);
}

/* Keeps the message that found no memory, for a while. */
static void wait_for_memory(struct portal_client *c, struct portal_output *out)
{
    out->kind = PORTAL_OUT_REFUSED;
    out->u.refused.reason = DROP_JSON_MEMORY;
    out->u.refused.event = VIEW_EMPTY;
    out->u.refused.is_again = c->starved;
    if (!c->starved) {
        c->starved = true;
        c->read_end = instant_add(c->now.boot, DURATION_S(PORTAL_MEMORY_TIMEOUT_S));
    } else if (instant_reached(c->now.boot, c->read_end)) {
        fail_starved(c, &(struct portal_failure){.reason = PORTAL_REASON_MEMORY});
        return;
    }
    portal_step_forget(c);
    ws_unread(&c->ws);
    c->read_at = instant_add(c->now.boot, DURATION_MS(PORTAL_MEMORY_RETRY_MS));
}

/* Handles the message that was read to its end. */
static bool handle_text(struct portal_client *c, enum drop_reason reason, struct portal_output *out)
{
    if (reason == DROP_JSON_MEMORY) {
        wait_for_memory(c, out);
        return true;
    }
    c->starved = false;
    ws_read(&c->ws, &c->trash);
    if (reason == DROP_NONE) {
        return handle_message(c, out);
    }
    if (reason == DROP_JSON_TRUNCATED) {
        fail(c, "the portal sent a message that ends too early");
    }
    out->kind = PORTAL_OUT_REFUSED;
    out->u.refused.reason = reason;
    out->u.refused.event = c->msg.event;
    out->u.refused.is_again = false;
    return true;
}

static bool listens(const struct portal_client *c)
{
    return c->state == PORTAL_JOIN || c->state == PORTAL_JOINED;
}

bool portal_step_has_unread(const struct portal_client *c)
{
    return listens(c) && (c->reading || c->ended || ws_has_event(&c->ws));
}

static bool may_read(const struct portal_client *c)
{
    return listens(c) && !c->held && !(c->starved && instant_before(c->now.boot, c->read_at));
}

struct instant portal_step_read_at(const struct portal_client *c)
{
    if (c->held || !portal_step_has_unread(c)) {
        return TIME_NEVER;
    }
    return may_read(c) ? c->now.boot : c->read_at;
}

void portal_step_free(struct portal_client *c)
{
    (void)chunk_free_some(&c->trash, PORTAL_FREE_CHUNKS);
    (void)json_free_some(&c->trees, PORTAL_FREE_VALUES);
}

void portal_step_forget(struct portal_client *c)
{
    portal_msg_release(&c->msg, &c->trees);
    portal_step_free(c);
    c->reading = false;
    c->part = VIEW_EMPTY;
}

static void spend(struct portal_client *c, uint32_t work)
{
    c->work -= work < c->work ? work : c->work;
}

static void handle_websocket_end(struct portal_client *c, const struct ws_event *event)
{
    struct portal_failure failure = {
        .reason = "the portal closed the WebSocket", .status = event->code, .polite = !c->ended};
    if (event->starved) {
        failure.reason = PORTAL_REASON_MEMORY;
        fail_starved(c, &failure);
        return;
    }
    if (event->failed) {
        failure.reason = "the portal broke the WebSocket protocol";
    }
    portal_step_fail(c, &failure);
}

/* Takes the next piece of what was received; false: there is none, or it is the end. */
static bool take_part(struct portal_client *c)
{
    struct ws_event event;
    if (!ws_poll_part(&c->ws, &event)) {
        if (c->ended) {
            fail(c, PORTAL_REASON_BROKE);
        }
        return false;
    }
    if (event.kind == WS_CLOSED) {
        handle_websocket_end(c, &event);
        return false;
    }
    if (!c->reading) {
        portal_step_forget(c);
        portal_decode_begin(&c->decoder, &c->msg);
        c->reading = true;
        spend(c, PORTAL_WORK_MESSAGE);
    }
    c->part = event.text;
    c->part_is_last = event.is_last;
    spend(c, PORTAL_WORK_PART);
    return true;
}

/* Goes on with what was received; true once a message is read to its end. */
static bool read_on(struct portal_client *c, enum drop_reason *reason)
{
    while (c->work > 0 && (c->reading || take_part(c))) {
        portal_decode_text(&c->decoder, &c->part, &c->work);
        if (c->part.len > 0) {
            return false;
        }
        if (c->part_is_last) {
            c->reading = !portal_decode_end(&c->decoder, &c->work, reason);
            return !c->reading;
        }
        bool more = take_part(c);
        ASSERT(more); /* only whole messages are handed out */
    }
    return false;
}

bool portal_step_poll_messages(struct portal_client *c, struct portal_output *out)
{
    enum drop_reason reason = DROP_NONE;
    while (may_read(c) && read_on(c, &reason)) {
        if (handle_text(c, reason, out)) {
            return true;
        }
    }
    return false;
}

/* ---- sent messages ---- */

static bool send_event(struct portal_client *c, enum portal_event event, struct view payload)
{
    struct json_writer w = json_writer_of((struct span){c->scratch, sizeof(c->scratch)});
    struct view text;
    portal_encode_envelope(&w, event, payload, c->next_ref);
    bool written = json_writer_finish(&w, &text);
    ASSERT(written);
    enum err err = ws_send_text(&c->ws, text);
    if (err == ERR_MEMORY) {
        c->send_at = instant_add(c->now.boot, DURATION_MS(PORTAL_MEMORY_RETRY_MS));
    }
    if (err != ERR_NONE) {
        return false;
    }
    c->next_ref++;
    return true;
}

static bool send_heartbeat(struct portal_client *c)
{
    ASSERT(c->heartbeats_sent < ARRAY_COUNT(c->heartbeat_refs));
    c->heartbeat_refs[c->heartbeats_sent] = c->next_ref;
    if (!send_event(c, PORTAL_EVENT_HEARTBEAT, view_text("{}"))) {
        return false;
    }
    c->heartbeats_sent++;
    c->heartbeat_due = false;
    return true;
}

/* Hands the next message to the WebSocket; false when there is none or it is not taken. */
static bool send_next(struct portal_client *c)
{
    enum portal_event event = PORTAL_EVENT_JOIN;
    struct view payload;
    if (!instant_is_never(c->send_at)) {
        return false; /* each try may cost what wslay forgets when it finds no memory */
    }
    if (c->join_due) {
        c->join_ref = c->next_ref;
        c->join_due = !send_event(c, PORTAL_EVENT_JOIN, view_text("null"));
        return !c->join_due;
    }
    if (c->heartbeat_due) {
        return send_heartbeat(c);
    }
    if (c->state != PORTAL_JOINED || !portal_queue_peek(&c->queue, &event, &payload)) {
        return false;
    }
    /* What only newer portals understand may have waited through a reconnect. */
    bool skip = event == PORTAL_EVENT_NO_RELAYS && !c->head;
    /* The name belongs to the path that this connection took. */
    if (event == PORTAL_EVENT_FLOW_AUTHORIZED && c->v2) {
        event = PORTAL_EVENT_AUTHORIZATION_CREATED;
    }
    if (!skip && !send_event(c, event, payload)) {
        return false;
    }
    portal_queue_pop(&c->queue);
    return true;
}

void portal_step_fill(struct portal_client *c)
{
    if (!ws_is_live(&c->ws) || c->out_used > 0) {
        return;
    }
    bool closing = c->state == PORTAL_CLOSING;
    while (c->out_used < sizeof(c->out)) {
        if (!ws_wants_drain(&c->ws) && (closing || !send_next(c))) {
            break;
        }
        struct span room = {c->out + c->out_used, sizeof(c->out) - c->out_used};
        size_t drained = ws_drain(&c->ws, room);
        if (drained == 0 && ws_wants_drain(&c->ws)) {
            break;
        }
        c->out_used += (uint32_t)drained;
    }
}
