#include "portal/ws.h"

#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "base/assert.h"

#define FEED_STEP_SIZE   1024U /* bytes given to the library before its queue is looked at */
#define CODE_NONE        1005U /* RFC 6455 section 7.4.1: no code was sent */
#define CODE_PROTOCOL    1002U
#define CODE_RESTART     1012U /* registered by IANA: service restart */
#define CODE_GATEWAY     1014U /* registered by IANA: bad gateway */
#define CODE_POLICY      1008U
#define CONTROL_SIZE_MAX 125U /* bytes, RFC 6455 section 5.5 */

struct ws_message {
    struct ws_message *next;
    size_t size;
    uint8_t bytes[];
};

/* Ends reading; the first reason stays. */
static void end_reading(struct ws *ws, uint16_t code, bool failed)
{
    if (!ws->closed) {
        ws->closed = true;
        ws->close_waits = false;
        ws->failed = failed;
        ws->close_code = code;
    }
}

static void fail(struct ws *ws, uint16_t code)
{
    end_reading(ws, code, true);
    (void)wslay_event_queue_close(ws->context, code, NULL, 0);
    ws->close_sent = true;
}

/* ---- what the library calls ---- */

static ssize_t take_input(wslay_event_context_ptr context, uint8_t *buf, size_t len, int flags,
                          void *user)
{
    struct ws *ws = user;
    size_t size = ws->feed.len < len ? ws->feed.len : len;
    (void)flags;
    if (size == 0) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, ws->feed.at, size);
    ws->feed = view_sub(ws->feed, size, ws->feed.len - size);
    return (ssize_t)size;
}

static ssize_t give_output(wslay_event_context_ptr context, const uint8_t *data, size_t len,
                           int flags, void *user)
{
    struct ws *ws = user;
    size_t room = ws->drain.len - ws->drained;
    size_t size = room < len ? room : len;
    (void)flags;
    if (size == 0) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(ws->drain.at + ws->drained, data, size);
    ws->drained += size;
    return (ssize_t)size;
}

static int draw_mask(wslay_event_context_ptr context, uint8_t *buf, size_t len, void *user)
{
    const struct ws *ws = user;
    (void)context;
    rng_bytes(ws->rng, buf, len);
    return 0;
}

static void count_fragment(wslay_event_context_ptr context,
                           const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
    struct ws *ws = user;
    (void)context;
    ws->in_close = arg->opcode == WSLAY_CONNECTION_CLOSE;
    if (wslay_is_ctrl_frame(arg->opcode)) {
        return;
    }
    ws->fragments_count = arg->opcode == WSLAY_CONTINUATION_FRAME ? ws->fragments_count + 1 : 1;
    if (ws->fragments_count > WS_FRAGMENTS_MAX) {
        end_reading(ws, CODE_POLICY, true);
    }
}

/* Reads the code of a Close, because the library takes those of RFC 6455 only. */
static void read_close_code(wslay_event_context_ptr context,
                            const struct wslay_event_on_frame_recv_chunk_arg *arg, void *user)
{
    struct ws *ws = user;
    (void)context;
    for (size_t i = 0; ws->in_close && i < arg->data_length && ws->peer_bytes < 2; i++) {
        ws->peer_code = (uint16_t)((unsigned)ws->peer_code << 8 | arg->data[i]);
        ws->peer_bytes++;
    }
}

static void keep_text(struct ws *ws, const uint8_t *bytes, size_t size)
{
    struct ws_message *message = NULL;
    if (ws->events_count < WS_EVENTS_MAX && ws->events_size + size <= WS_EVENT_BYTES_MAX) {
        message = malloc(sizeof(*message) + size);
    }
    if (message == NULL) {
        end_reading(ws, CODE_POLICY, true);
        return;
    }
    message->next = NULL;
    message->size = size;
    if (size > 0) {
        memcpy(message->bytes, bytes, size);
    }
    if (ws->last == NULL) {
        ws->first = message;
    } else {
        ws->last->next = message;
    }
    ws->last = message;
    ws->events_count++;
    ws->events_size += size;
}

static void take_message(wslay_event_context_ptr context,
                         const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
    struct ws *ws = user;
    (void)context;
    if (ws->closed) {
        return;
    }
    if (arg->opcode == WSLAY_TEXT_FRAME) {
        keep_text(ws, arg->msg, arg->msg_length);
    } else if (arg->opcode == WSLAY_CONNECTION_CLOSE) {
        /* the library answers with the same code */
        end_reading(ws, arg->status_code == 0 ? CODE_NONE : arg->status_code, false);
        ws->close_sent = true;
    }
}

/* ---- life ---- */

enum err ws_init(struct ws *ws, enum ws_role role, struct rng *rng)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = take_input,
        .send_callback = give_output,
        .genmask_callback = draw_mask,
        .on_frame_recv_start_callback = count_fragment,
        .on_frame_recv_chunk_callback = read_close_code,
        .on_msg_recv_callback = take_message,
    };
    wslay_event_context_ptr context = NULL;
    *ws = (struct ws){.rng = rng, .role = role};
    int failed = role == WS_CLIENT ? wslay_event_context_client_init(&context, &callbacks, ws)
                                   : wslay_event_context_server_init(&context, &callbacks, ws);
    if (failed != 0) {
        return ERR_MEMORY;
    }
    wslay_event_config_set_max_recv_msg_length(context, WS_MESSAGE_SIZE_MAX);
    ws->context = context;
    return ERR_NONE;
}

void ws_free(struct ws *ws)
{
    if (ws->context != NULL) {
        wslay_event_context_free(ws->context);
    }
    while (ws->first != NULL) {
        struct ws_message *message = ws->first;
        ws->first = message->next;
        free(message);
    }
    free(ws->shown);
    *ws = (struct ws){0};
}

bool ws_is_live(const struct ws *ws)
{
    return ws->context != NULL;
}

/* ---- in ---- */

/* Why the library stopped reading; it has queued a Close of its own. */
static uint16_t code_of_failure(struct ws *ws)
{
    uint16_t code = wslay_event_get_status_code_sent(ws->context);
    return code == 0 || code == WSLAY_CODE_ABNORMAL_CLOSURE ? CODE_PROTOCOL : code;
}

static void feed_step(struct ws *ws)
{
    int result = wslay_event_recv(ws->context);
    if (ws->closed) {
        if (ws->failed) {
            fail(ws, ws->close_code);
        }
        return;
    }
    if (result != 0 || !wslay_event_get_read_enabled(ws->context)) {
        if (ws->peer_bytes == 2 && ws->peer_code >= CODE_RESTART && ws->peer_code <= CODE_GATEWAY) {
            end_reading(ws, ws->peer_code, false);
            ws->close_sent = true; /* by the library */
            return;
        }
        fail(ws, code_of_failure(ws));
    } else if (wslay_event_get_queued_msg_count(ws->context) > WS_SEND_MAX) {
        fail(ws, CODE_POLICY); /* Pings without end, and nobody reads our answers */
    }
}

void ws_feed(struct ws *ws, struct view bytes)
{
    ASSERT(ws_is_live(ws));
    while (bytes.len > 0 && !ws->closed) {
        size_t size = bytes.len < FEED_STEP_SIZE ? bytes.len : FEED_STEP_SIZE;
        ws->feed = view_sub(bytes, 0, size);
        bytes = view_sub(bytes, size, bytes.len - size);
        feed_step(ws);
    }
    ws->feed = VIEW_EMPTY;
}

bool ws_poll(struct ws *ws, struct ws_event *out)
{
    free(ws->shown);
    ws->shown = NULL;
    if (ws->first != NULL) {
        ws->shown = ws->first;
        ws->first = ws->shown->next;
        ws->last = ws->first == NULL ? NULL : ws->last;
        ws->events_count--;
        ws->events_size -= ws->shown->size;
        *out = (struct ws_event){.kind = WS_TEXT, .text = {ws->shown->bytes, ws->shown->size}};
        return true;
    }
    if (ws->closed && !ws->closed_shown) {
        ws->closed_shown = true;
        *out = (struct ws_event){.kind = WS_CLOSED, .code = ws->close_code, .failed = ws->failed};
        return true;
    }
    return false;
}

/* ---- out ---- */

static enum err queue(struct ws *ws, uint8_t opcode, struct view bytes)
{
    ASSERT(ws_is_live(ws));
    struct wslay_event_msg msg = {opcode, bytes.at, bytes.len};
    if (ws->closed || ws->close_sent) {
        return ERR_CLOSED;
    }
    if (wslay_event_get_queued_msg_count(ws->context) >= WS_SEND_MAX ||
        wslay_event_get_queued_msg_length(ws->context) + bytes.len > WS_SEND_BYTES_MAX) {
        return ERR_FULL;
    }
    int result = wslay_event_queue_msg(ws->context, &msg);
    return result == 0 ? ERR_NONE : (result == WSLAY_ERR_NOMEM ? ERR_MEMORY : ERR_CLOSED);
}

enum err ws_send_text(struct ws *ws, struct view text)
{
    return queue(ws, WSLAY_TEXT_FRAME, text);
}

enum err ws_send_ping(struct ws *ws, struct view payload)
{
    ASSERT(payload.len <= CONTROL_SIZE_MAX);
    return queue(ws, WSLAY_PING, payload);
}

void ws_close(struct ws *ws, uint16_t code, struct view reason)
{
    ASSERT(reason.len <= WS_REASON_SIZE_MAX);
    if (ws->close_sent || !ws_is_live(ws)) {
        return;
    }
    ws->close_sent = true;
    ws->close_waits = true;
    ws->own_code = code;
    ws->reason_len = (uint8_t)reason.len;
    if (reason.len > 0) {
        memcpy(ws->reason, reason.at, reason.len);
    }
}

/* The library sends control frames before messages, so our Close is kept back until its turn. */
static void release_close(struct ws *ws)
{
    if (ws->close_waits && wslay_event_get_queued_msg_count(ws->context) == 0) {
        ws->close_waits = false;
        (void)wslay_event_queue_close(ws->context, ws->own_code, ws->reason, ws->reason_len);
    }
}

size_t ws_drain(struct ws *ws, struct span out)
{
    ws->drain = out;
    ws->drained = 0;
    /* The library returns after each short write: go on while it makes progress. */
    while (ws_wants_drain(ws) && ws->drained < out.len) {
        size_t before = ws->drained;
        release_close(ws);
        if (wslay_event_send(ws->context) != 0 || ws->drained == before) {
            break;
        }
    }
    ws->drain = SPAN_EMPTY;
    return ws->drained;
}

bool ws_wants_drain(const struct ws *ws)
{
    return ws_is_live(ws) && (ws->close_waits || wslay_event_want_write(ws->context) != 0);
}
