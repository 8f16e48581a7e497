#include "portal/portal_client.h"

#include <sodium/utils.h>
#include <string.h>

#include "base/assert.h"
#include "portal/portal_step.h"

#define EXIT_CODE_FATAL 1 /* supervisors restart the process, spec/portal.md section 9.8 */

/* ---- life ---- */

/* Copies a text of the configuration; false when it is too long. */
static bool keep_text(struct view text, struct span out, uint16_t *len)
{
    if (text.len > out.len) {
        return false;
    }
    if (text.len > 0) {
        memcpy(out.at, text.at, text.len);
    }
    *len = (uint16_t)text.len;
    return true;
}

#define SPAN_OF(array) ((struct span){(array), sizeof(array)})

enum err portal_client_init(struct portal_client *c, const struct portal_client_config *config,
                            struct clock_pair now)
{
    enum err err = portal_url_parse(config->api_url, &c->url);
    if (err != ERR_NONE) {
        return err;
    }
    if (!keep_text(config->token, SPAN_OF(c->token), &c->token_len) ||
        !keep_text(config->firezone_id, SPAN_OF(c->id), &c->id_len) ||
        !keep_text(config->name, SPAN_OF(c->name), &c->name_len) ||
        !keep_text(config->user_agent, SPAN_OF(c->user_agent), &c->user_agent_len)) {
        return ERR_SPACE;
    }
    ASSERT(config->next_id != NULL);
    ASSERT(config->rng != NULL);
    memcpy(c->public_key, config->public_key, sizeof(c->public_key));
    c->rng = config->rng;
    c->next_id = config->next_id;
    portal_step_begin(c, now);
    c->work = PORTAL_WORK;
    c->v2 = config->v2;
    c->v2_only = config->v2_only;
    c->heartbeat_at = TIME_NEVER;
    c->send_at = TIME_NEVER;
    portal_backoff_init(&c->backoff, config->partition_max_s);
    portal_step_attempt(c);
    return ERR_NONE;
}

void portal_client_deinit(struct portal_client *c)
{
    ws_free(&c->ws);
    portal_msg_free(&c->msg);
    chunk_free_all(&c->trash);
    (void)json_free_some(&c->trees, UINT32_MAX);
    portal_queue_clear(&c->queue);
    sodium_memzero(c->token, sizeof(c->token));
    sodium_memzero(c->out, sizeof(c->out));
    sodium_memzero(c->scratch, sizeof(c->scratch));
    c->state = PORTAL_DEAD;
}

/* ---- ends ---- */

#define HTTP_CONFLICT 409U

void portal_step_die(struct portal_client *c, const char *reason, uint16_t status)
{
    portal_step_drop(c);
    c->state = PORTAL_DEAD;
    c->deadline = TIME_NEVER;
    c->died = (struct portal_notice){.due = true, .reason = reason, .status = status};
}

void portal_step_fail(struct portal_client *c, const struct portal_failure *failure)
{
    struct duration delay = DURATION_ZERO;
    if (failure->has_retry_after) {
        delay = portal_backoff_retry_after(failure->retry_after_s);
    } else if (failure->status == HTTP_CONFLICT) {
        delay = portal_backoff_conflict(&c->backoff, c->rng);
    } else if (!portal_backoff_next(&c->backoff, c->rng, &delay)) {
        portal_step_die(c, failure->reason, failure->status);
        return;
    }
    c->retry_at = instant_add(c->now.boot, delay);
    c->lost = (struct portal_notice){
        .due = true, .reason = failure->reason, .status = failure->status, .next_at = c->retry_at};
    if (failure->polite) {
        portal_step_closing(c, PORTAL_WAIT);
        return;
    }
    portal_step_drop(c);
    c->state = PORTAL_WAIT;
    c->deadline = c->retry_at;
}

void portal_step_closing(struct portal_client *c, enum portal_state after)
{
    c->state = PORTAL_CLOSING;
    c->after_closing = after;
    c->deadline =
        c->ended ? c->now.boot : instant_add(c->now.boot, DURATION_S(PORTAL_CLOSING_TIMEOUT_S));
}

static void finish_closing(struct portal_client *c)
{
    ASSERT(c->state == PORTAL_CLOSING);
    if (c->after_closing == PORTAL_CONNECT) {
        portal_step_attempt(c);
        return;
    }
    portal_step_drop(c);
    c->state = c->after_closing;
    c->deadline = c->state == PORTAL_WAIT ? c->retry_at : TIME_NEVER;
}

bool portal_client_reconnect(struct portal_client *c, struct clock_pair now)
{
    portal_step_begin(c, now);
    if (c->state != PORTAL_JOINED || instant_before(now.boot, c->reconnect_at)) {
        return false;
    }
    c->reconnect_at = instant_add(now.boot, DURATION_S(PORTAL_RECONNECT_GAP_S));
    ws_close(&c->ws, PORTAL_CODE_NORMAL, VIEW_EMPTY);
    portal_step_closing(c, PORTAL_CONNECT);
    return true;
}

void portal_client_close(struct portal_client *c, struct clock_pair now)
{
    portal_step_begin(c, now);
    if (c->state == PORTAL_JOIN || c->state == PORTAL_JOINED) {
        ws_close(&c->ws, PORTAL_CODE_NORMAL, VIEW_EMPTY);
        portal_step_closing(c, PORTAL_DEAD);
    } else if (c->state == PORTAL_CLOSING) {
        c->after_closing = PORTAL_DEAD;
    } else {
        portal_step_drop(c);
        c->state = PORTAL_DEAD;
        c->deadline = TIME_NEVER;
    }
}

bool portal_client_is_closed(const struct portal_client *c)
{
    bool closed = c->state == PORTAL_DEAD && !c->died.due && !c->lost.due;
    for (uint32_t i = 0; i < PORTAL_STREAMS_MAX; i++) {
        closed = closed && c->slots[i].state == PORTAL_SLOT_FREE;
    }
    return closed;
}

/* ---- inputs ---- */

void portal_step_begin(struct portal_client *c, struct clock_pair now)
{
    c->now = now;
    c->is_drained = false;
}

bool portal_client_handle_stream(struct portal_client *c, const struct portal_stream_event *event,
                                 struct clock_pair now)
{
    portal_step_begin(c, now);
    c->work = PORTAL_WORK;
    for (uint32_t i = 0; i < PORTAL_STREAMS_MAX; i++) {
        if (c->slots[i].state != PORTAL_SLOT_FREE && c->slots[i].stream == event->stream) {
            portal_step_stream(c, i, event);
            return true;
        }
    }
    return false;
}

bool portal_client_stream_sent(struct portal_client *c, uint32_t stream, size_t taken)
{
    if (c->live == PORTAL_STREAMS_MAX || c->slots[c->live].stream != stream || !c->send_offered) {
        return false;
    }
    ASSERT(taken <= c->out_used - c->out_sent);
    c->is_drained = false;
    c->send_offered = false;
    c->out_sent += (uint32_t)taken;
    if (c->out_sent == c->out_used) {
        c->out_used = 0;
        c->out_sent = 0;
    } else {
        c->blocked = true;
    }
    return true;
}

static bool has_heartbeat(const struct portal_client *c)
{
    return c->state == PORTAL_JOIN || c->state == PORTAL_JOINED;
}

static void handle_deadline(struct portal_client *c)
{
    switch (c->state) {
    case PORTAL_WAIT:
        portal_step_attempt(c);
        break;
    case PORTAL_CONNECT:
        portal_step_fail(c,
                         &(struct portal_failure){.reason = "no connection to the portal in time"});
        break;
    case PORTAL_UPGRADE:
        portal_step_fail(c, &(struct portal_failure){.reason = "no answer to the upgrade in time"});
        break;
    case PORTAL_JOIN:
        portal_step_fail(c, &(struct portal_failure){.reason = "no answer to the join in time"});
        break;
    case PORTAL_CLOSING:
        finish_closing(c);
        break;
    case PORTAL_JOINED:
    case PORTAL_DEAD:
        break;
    }
}

void portal_client_handle_timeout(struct portal_client *c, struct clock_pair now)
{
    portal_step_begin(c, now);
    c->work = PORTAL_WORK;
    portal_step_free(c);
    if (instant_reached(now.boot, c->send_at)) {
        c->send_at = TIME_NEVER;
    }
    if (instant_reached(now.boot, c->deadline)) {
        handle_deadline(c);
    }
    if (has_heartbeat(c) && instant_reached(now.boot, c->heartbeat_at)) {
        portal_step_heartbeat(c);
    }
}

static const char *const wait_reasons[] = {
    [PORTAL_WAIT] = "next attempt at the portal",
    [PORTAL_CONNECT] = "limit of the portal attempt",
    [PORTAL_UPGRADE] = "limit of the portal upgrade",
    [PORTAL_JOIN] = "limit of the portal join",
    [PORTAL_JOINED] = "never",
    [PORTAL_CLOSING] = "limit of the portal close",
    [PORTAL_DEAD] = "never",
};

struct wake portal_client_poll_timeout(const struct portal_client *c)
{
    struct wake wake = {c->deadline, wait_reasons[c->state]};
    if (has_heartbeat(c)) {
        wake = wake_min(wake, (struct wake){c->heartbeat_at, "portal heartbeat"});
    }
    wake = wake_min(wake, (struct wake){portal_step_read_at(c), "portal messages"});
    wake = wake_min(wake, (struct wake){c->send_at, "memory for the portal"});
    if (c->trash.first != NULL || c->trees.last != NULL) {
        wake = wake_min(wake, (struct wake){c->now.boot, "portal messages"});
    }
    return wake;
}

/* ---- outputs ---- */

static bool poll_notices(struct portal_client *c, struct portal_output *out)
{
    if (c->lost.due) {
        c->lost.due = false;
        out->kind = PORTAL_OUT_LOST;
        out->u.lost.reason = c->lost.reason;
        out->u.lost.status = c->lost.status;
        out->u.lost.next_at = c->lost.next_at;
        return true;
    }
    if (c->died.due) {
        c->died.due = false;
        out->kind = PORTAL_OUT_FATAL;
        out->u.fatal.reason = c->died.reason;
        out->u.fatal.exit_code = EXIT_CODE_FATAL;
        return true;
    }
    return false;
}

static bool poll_send(struct portal_client *c, struct portal_output *out)
{
    if (c->live == PORTAL_STREAMS_MAX || c->blocked || c->send_offered) {
        return false;
    }
    portal_step_fill(c);
    if (c->out_used == 0) {
        return false;
    }
    c->send_offered = true;
    out->kind = PORTAL_OUT_SEND;
    out->u.send.stream = c->slots[c->live].stream;
    out->u.send.bytes = (struct view){c->out + c->out_sent, c->out_used - c->out_sent};
    return true;
}

static bool poll_any(struct portal_client *c, struct portal_output *out)
{
    if (!c->held && !c->reading) {
        portal_step_forget(c);
    }
    if (portal_step_poll_attempt(c, out) || poll_notices(c, out) ||
        portal_step_poll_messages(c, out)) {
        return true;
    }
    /* handling messages may have ended the connection */
    if (portal_step_poll_attempt(c, out) || poll_notices(c, out) || poll_send(c, out)) {
        return true;
    }
    if (c->state == PORTAL_CLOSING && c->out_used == 0 && !ws_wants_drain(&c->ws)) {
        finish_closing(c);
        return portal_step_poll_attempt(c, out);
    }
    return false;
}

bool portal_client_poll(struct portal_client *c, struct portal_output *out)
{
    if (c->is_drained) {
        return false; /* asked after every packet */
    }
    c->is_drained = !poll_any(c, out);
    return !c->is_drained;
}

void portal_client_hold(struct portal_client *c)
{
    ASSERT(!c->reading);
    c->held = true;
}

void portal_client_unhold(struct portal_client *c)
{
    c->held = false;
    c->is_drained = false;
}

/* ---- application messages ---- */

static enum err push(struct portal_client *c, enum portal_event event, struct json_writer *w)
{
    struct view payload;
    if (c->state == PORTAL_DEAD) {
        return ERR_CLOSED;
    }
    if (!json_writer_finish(w, &payload)) {
        return ERR_TOO_BIG;
    }
    if (FAULT(c->rng->fault, FAULT_PORTAL_FULL)) {
        return ERR_FULL;
    }
    c->is_drained = false;
    enum err err = portal_queue_push(&c->queue, event, payload);
    return err == ERR_EXISTS ? ERR_NONE : err;
}

static struct json_writer start_payload(struct portal_client *c)
{
    return json_writer_of((struct span){c->scratch, PORTAL_PAYLOAD_SIZE_MAX});
}

enum err portal_client_send_flow_authorized(struct portal_client *c, struct view ref)
{
    struct json_writer w = start_payload(c);
    portal_encode_flow_authorized(&w, ref);
    return push(c, PORTAL_EVENT_FLOW_AUTHORIZED, &w);
}

enum err portal_client_send_candidates(struct portal_client *c, const struct uuid *client,
                                       const struct view *candidates, size_t count)
{
    struct json_writer w = start_payload(c);
    portal_encode_candidates(&w, client, candidates, count);
    return push(c, PORTAL_EVENT_CANDIDATES, &w);
}

enum err portal_client_send_invalidated(struct portal_client *c, const struct uuid *client,
                                        const struct view *candidates, size_t count)
{
    struct json_writer w = start_payload(c);
    portal_encode_candidates(&w, client, candidates, count);
    return push(c, PORTAL_EVENT_INVALIDATED_CANDIDATES, &w);
}

enum err portal_client_send_connection_ready(struct portal_client *c, struct view ref,
                                             struct view ufrag, struct view password)
{
    struct json_writer w = start_payload(c);
    portal_encode_connection_ready(&w, ref, ufrag, password);
    return push(c, PORTAL_EVENT_CONNECTION_READY, &w);
}

enum err portal_client_send_no_relays(struct portal_client *c)
{
    if (c->state != PORTAL_JOINED || !c->head) {
        return ERR_STATE;
    }
    struct json_writer w = start_payload(c);
    json_open_object(&w);
    json_close_object(&w);
    return push(c, PORTAL_EVENT_NO_RELAYS, &w);
}

/* ---- questions ---- */

bool portal_client_is_joined(const struct portal_client *c)
{
    return c->state == PORTAL_JOINED;
}

bool portal_client_is_starved(const struct portal_client *c)
{
    return c->starved;
}

bool portal_client_has_lost(const struct portal_client *c)
{
    return c->has_lost;
}

bool portal_client_is_head(const struct portal_client *c)
{
    return c->head;
}

void portal_client_check(const struct portal_client *c)
{
    uint32_t live_count = 0;
    for (uint32_t i = 0; i < PORTAL_STREAMS_MAX; i++) {
        live_count += c->slots[i].state == PORTAL_SLOT_LIVE ? 1U : 0U;
    }
    ASSERT(live_count == (c->live < PORTAL_STREAMS_MAX ? 1U : 0U));
    ASSERT(live_count == 0 || c->slots[c->live].state == PORTAL_SLOT_LIVE);
    ASSERT(c->out_sent <= c->out_used);
    ASSERT(c->out_used <= sizeof(c->out));
    ASSERT(c->heartbeats_sent <= c->heartbeats_open);
    ASSERT(c->heartbeats_open <= PORTAL_HEARTBEATS_OPEN_MAX);
    ASSERT(!has_heartbeat(c) || ((live_count == 1 || c->ended) && ws_is_live(&c->ws)));
    ASSERT(!c->ended || (live_count == 0 && ws_is_live(&c->ws)));
    ASSERT(!c->reading || (ws_is_live(&c->ws) && !c->held));
    ASSERT(!c->starved || ws_is_live(&c->ws));
    ASSERT(c->state != PORTAL_DEAD || instant_is_never(c->deadline));
    ASSERT(c->state != PORTAL_WAIT || live_count == 0);
    ASSERT(c->queue.count <= PORTAL_QUEUE_MESSAGES_MAX);
}
