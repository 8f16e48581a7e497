#include "portal/ws.h"

#include <string.h>
#include <wslay/wslay.h>

#include "base/assert.h"

#define FEED_STEP_SIZE   1024U /* bytes given to the library before its queue is looked at */
#define CODE_NONE        1005U /* RFC 6455 section 7.4.1: no code was sent */
#define CODE_PROTOCOL    1002U
#define CODE_RESTART     1012U /* registered by IANA: service restart */
#define CODE_GATEWAY     1014U /* registered by IANA: bad gateway */
#define CODE_POLICY      1008U
#define CODE_TOO_BIG     1009U
#define PART_SIZE_MIN    256U /* bytes of a chunk, whatever the frame says */
#define CONTROL_SIZE_MAX 125U /* bytes, RFC 6455 section 5.5 */

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

static void end_starved(struct ws *ws)
{
    ws->starved = !ws->closed;
    end_reading(ws, CODE_POLICY, true);
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

/* A frame begins: counts what its message has grown to. */
static void start_frame(wslay_event_context_ptr context,
                        const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
    struct ws *ws = user;
    (void)context;
    ws->in_close = arg->opcode == WSLAY_CONNECTION_CLOSE;
    ws->in_control = wslay_is_ctrl_frame(arg->opcode);
    if (ws->in_control || ws->closed) {
        return;
    }
    bool first = arg->opcode != WSLAY_CONTINUATION_FRAME;
    ws->in_text = first ? arg->opcode == WSLAY_TEXT_FRAME : ws->in_text;
    ws->fragments_count = first ? 1 : ws->fragments_count + 1;
    ws->partial_size = (first ? 0 : ws->partial_size) + arg->payload_length;
    ws->frame_left = arg->payload_length;
    if (ws->fragments_count > WS_FRAGMENTS_MAX) {
        end_reading(ws, CODE_POLICY, true);
    } else if (ws->partial_size > WS_MESSAGE_SIZE_MAX) {
        end_reading(ws, CODE_TOO_BIG, true);
    }
}

/* Reads the code of a Close, because the library takes those of RFC 6455 only. */
static void read_close_code(struct ws *ws, struct view bytes)
{
    for (size_t i = 0; i < bytes.len && ws->peer_bytes < 2; i++) {
        ws->peer_code = (uint16_t)((unsigned)ws->peer_code << 8 | bytes.at[i]);
        ws->peer_bytes++;
    }
}

/* Where more of the message being received goes; NULL: no memory. */
static struct chunk *part_for(struct ws *ws)
{
    struct chunk *last = ws->partial.last;
    if (last != NULL && last->front < last->size) {
        return last;
    }
    uint64_t size = ws->frame_left < PART_SIZE_MIN ? PART_SIZE_MIN : ws->frame_left;
    return chunk_add(&ws->partial, size < CHUNK_SIZE_MAX ? (uint32_t)size : CHUNK_SIZE_MAX);
}

static void keep_bytes(struct ws *ws, struct view bytes)
{
    while (bytes.len > 0) {
        struct chunk *part = part_for(ws);
        if (part == NULL) {
            end_starved(ws);
            return;
        }
        uint32_t room = part->size - part->front;
        uint32_t size = bytes.len < room ? (uint32_t)bytes.len : room;
        memcpy(part->bytes + part->front, bytes.at, size);
        part->front += size;
        ws->frame_left -= size;
        bytes = view_sub(bytes, size, bytes.len - size);
    }
}

static void take_bytes(wslay_event_context_ptr context,
                       const struct wslay_event_on_frame_recv_chunk_arg *arg, void *user)
{
    struct ws *ws = user;
    (void)context;
    if (ws->in_close) {
        read_close_code(ws, (struct view){arg->data, arg->data_length});
    } else if (!ws->in_control && ws->in_text && !ws->closed) {
        keep_bytes(ws, (struct view){arg->data, arg->data_length});
    }
}

static void text_done(struct ws *ws)
{
    if (ws->partial.last == NULL && chunk_add(&ws->partial, 0) == NULL) {
        end_starved(ws);
        return;
    }
    if (ws->events_count == WS_EVENTS_MAX ||
        ws->events_size + ws->partial_size > WS_EVENT_BYTES_MAX) {
        end_reading(ws, CODE_POLICY, true);
        return;
    }
    ws->partial.last->is_end = true;
    chunk_move(&ws->received, &ws->partial);
    ws->events_count++;
    ws->events_size += ws->partial_size;
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
        text_done(ws);
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
        .on_frame_recv_start_callback = start_frame,
        .on_frame_recv_chunk_callback = take_bytes,
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
    wslay_event_config_set_no_buffering(context, 1);
    ws->context = context;
    return ERR_NONE;
}

void ws_release(struct ws *ws, struct chunk_list *trash)
{
    if (ws->context != NULL) {
        wslay_event_context_free(ws->context);
    }
    chunk_move(trash, &ws->shown);
    chunk_move(trash, &ws->received);
    chunk_move(trash, &ws->partial);
    *ws = (struct ws){0};
}

void ws_free(struct ws *ws)
{
    struct chunk_list trash = {NULL, NULL};
    ws_release(ws, &trash);
    chunk_free_all(&trash);
}

bool ws_is_live(const struct ws *ws)
{
    return ws->context != NULL;
}

bool ws_is_starved(const struct ws *ws)
{
    return ws->starved;
}

/* ---- in ---- */

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
        ws->starved = result == WSLAY_ERR_NOMEM;
        fail(ws, CODE_PROTOCOL); /* the library has queued a Close of its own */
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

static bool poll_closed(struct ws *ws, struct ws_event *out)
{
    if (!ws->closed || ws->closed_shown) {
        return false;
    }
    ws->closed_shown = true;
    *out = (struct ws_event){
        .kind = WS_CLOSED, .code = ws->close_code, .failed = ws->failed, .starved = ws->starved};
    return true;
}

bool ws_has_event(const struct ws *ws)
{
    return ws->received.first != NULL || (ws->closed && !ws->closed_shown);
}

/* Takes the next part behind what is shown; true when it ends its message. */
static bool show_next(struct ws *ws)
{
    chunk_move_first(&ws->shown, &ws->received);
    const struct chunk *part = ws->shown.last;
    ws->events_size -= part->front;
    ws->events_count -= part->is_end ? 1U : 0U;
    return part->is_end;
}

bool ws_poll_part(struct ws *ws, struct ws_event *out)
{
    if (ws->received.first == NULL) {
        return poll_closed(ws, out);
    }
    bool is_last = show_next(ws);
    const struct chunk *part = ws->shown.last;
    *out =
        (struct ws_event){.kind = WS_TEXT, .text = {part->bytes, part->front}, .is_last = is_last};
    return true;
}

void ws_read(struct ws *ws, struct chunk_list *trash)
{
    chunk_move(trash, &ws->shown);
}

void ws_unread(struct ws *ws)
{
    for (const struct chunk *part = ws->shown.first; part != NULL; part = part->next) {
        ws->events_size += part->front;
        ws->events_count += part->is_end ? 1U : 0U;
    }
    chunk_move(&ws->shown, &ws->received);
    ws->received = ws->shown;
    ws->shown = (struct chunk_list){NULL, NULL};
}

bool ws_poll(struct ws *ws, struct ws_event *out)
{
    chunk_free_all(&ws->shown);
    if (ws->received.first == NULL) {
        return poll_closed(ws, out);
    }
    while (!show_next(ws)) {
    }
    if (ws->shown.first->next != NULL && !chunk_join(&ws->shown)) {
        end_starved(ws);
        chunk_free_all(&ws->received);
        return poll_closed(ws, out);
    }
    const struct chunk *whole = ws->shown.first;
    *out =
        (struct ws_event){.kind = WS_TEXT, .text = {whole->bytes, whole->front}, .is_last = true};
    return true;
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
