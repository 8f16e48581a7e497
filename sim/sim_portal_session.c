#include <stdlib.h>
#include <string.h>

#include "sim/sim_portal_internal.h"

#define FRAME_FIN      0x80U
#define FRAME_TEXT     0x01U
#define FRAME_CONTINUE 0x00U
#define FRAME_PING     0x09U
#define DRAIN_SIZE     2048U /* bytes per piece handed to the stream */

const char *session_topic(const struct portal_session *session)
{
    switch (session->kind) {
    case SESSION_GATEWAY:
        return "gateway";
    case SESSION_CLIENT:
        return "client";
    case SESSION_RELAY:
        return "relay";
    case SESSION_NEW:
        break;
    }
    return "phoenix";
}

struct uuid session_id(const struct sim_portal *portal, const struct portal_session *session)
{
    switch (session->kind) {
    case SESSION_GATEWAY:
        return portal->policy->gateways[session->peer].id;
    case SESSION_CLIENT:
        return portal->policy->clients[session->peer].id;
    case SESSION_RELAY:
        return portal->policy->relays[session->peer].id;
    case SESSION_NEW:
        break;
    }
    return (struct uuid){{0}};
}

void session_observe(struct portal_call *call, const struct portal_session *session, bool outgoing,
                     struct view text)
{
    if (call->portal->observe == NULL) {
        return;
    }
    struct sim_portal_message message = {
        .at = call->now,
        .kind = session_topic(session),
        .id = session_id(call->portal, session),
        .outgoing = outgoing,
        .text = text,
    };
    call->portal->observe(call->portal->observe_self, &message);
}

struct portal_session *session_next(struct sim_portal *portal, const struct portal_session *after,
                                    enum session_kind kind, uint32_t peer)
{
    uint32_t i = after == NULL ? 0 : (uint32_t)(after - portal->sessions) + 1;
    for (; i < SIM_PORTAL_SESSIONS_MAX; i++) {
        struct portal_session *session = &portal->sessions[i];
        if (session->used && session->joined && session->kind == kind && session->peer == peer) {
            return session;
        }
    }
    return NULL;
}

/* ---- bytes out ---- */

void session_drain(struct portal_call *call, struct portal_session *session)
{
    uint8_t room[DRAIN_SIZE];
    while (ws_is_live(&session->ws) && ws_wants_drain(&session->ws)) {
        size_t len = ws_drain(&session->ws, (struct span){room, sizeof room});
        if (len == 0) {
            return;
        }
        sim_put_stream_send(call->out, session->stream, (struct view){room, len});
    }
}

void session_send_raw(struct portal_call *call, struct portal_session *session, struct view bytes)
{
    session_drain(call, session);
    sim_put_stream_send(call->out, session->stream, bytes);
}

/* RFC 6455 section 5.2: servers do not mask. */
void session_send_frame(struct portal_call *call, struct portal_session *session, uint8_t head,
                        struct view payload)
{
    uint8_t header[10];
    struct writer w = writer_of((struct span){header, sizeof header});
    writer_u8(&w, head);
    if (payload.len < 126) {
        writer_u8(&w, (uint8_t)payload.len);
    } else if (payload.len <= UINT16_MAX) {
        writer_u8(&w, 126);
        writer_be16(&w, (uint16_t)payload.len);
    } else {
        writer_u8(&w, 127);
        writer_be64(&w, payload.len);
    }
    session_send_raw(call, session, writer_view(&w));
    if (payload.len > 0) {
        sim_put_stream_send(call->out, session->stream, payload);
    }
}

static void send_fragments(struct portal_call *call, struct portal_session *session,
                           struct view text)
{
    size_t size = call->portal->faults.fragment_size;
    for (size_t at = 0; at == 0 || at < text.len; at += size) {
        size_t len = text.len - at < size ? text.len - at : size;
        uint8_t head = at == 0 ? FRAME_TEXT : FRAME_CONTINUE;
        if (at + len == text.len) {
            head |= FRAME_FIN;
        }
        session_send_frame(call, session, head, view_sub(text, at, len));
        if (call->portal->faults.fragment_pings && at + len < text.len) {
            session_send_frame(call, session, FRAME_FIN | FRAME_PING, view_text("between"));
        }
    }
}

static void transmit(struct portal_call *call, struct portal_session *session, struct view text)
{
    session_observe(call, session, true, text);
    if (session->lines) {
        sim_put_stream_send(call->out, session->stream, text);
        sim_put_stream_send(call->out, session->stream, view_text("\n"));
        return;
    }
    if (call->portal->faults.fragment_size > 0) {
        send_fragments(call, session, text);
        return;
    }
    if (ws_is_live(&session->ws) && ws_send_text(&session->ws, text) == ERR_NONE) {
        session_drain(call, session);
    }
}

/* Puts a text, or a note when `text` is empty, behind everything that waits. */
static void delay(struct portal_call *call, struct portal_session *session, struct view text,
                  const struct sim_note *note)
{
    struct portal_delayed *delayed = calloc(1, sizeof *delayed + text.len);
    ASSERT(delayed != NULL);
    delayed->at = instant_add(call->now.boot, call->portal->faults.delay);
    delayed->len = text.len;
    if (text.len > 0) {
        memcpy(delayed->text, text.at, text.len);
    } else {
        delayed->note = *note;
    }
    if (session->delayed_last == NULL) {
        session->delayed_first = delayed;
    } else {
        /* The order stays even when the fault's delay shrinks. */
        delayed->at = instant_max(delayed->at, session->delayed_last->at);
        session->delayed_last->next = delayed;
    }
    session->delayed_last = delayed;
}

/* The connection of the same process that was heard last: an older one may be dead already. */
static struct portal_session *latest_of(struct sim_portal *portal,
                                        const struct portal_session *like)
{
    struct portal_session *latest = NULL;
    struct portal_session *session = NULL;
    while ((session = session_next(portal, session, SESSION_GATEWAY, like->peer)) != NULL) {
        if (memcmp(session->public_key, like->public_key, 32) == 0 &&
            (latest == NULL || instant_before(latest->heard_at, session->heard_at))) {
            latest = session;
        }
    }
    return latest;
}

void session_note_to(struct portal_call *call, const struct portal_session *session,
                     const struct sim_note *note)
{
    struct portal_session *latest = latest_of(call->portal, session);
    struct sim_note said = *note;
    said.stream = latest == NULL ? 0 : latest->stream;
    if (latest != NULL && latest->delayed_first != NULL) {
        delay(call, latest, VIEW_EMPTY, &said);
    } else {
        sim_put_note(call->out, &said);
    }
}

void session_note(struct portal_call *call, uint32_t gateway, const struct sim_note *note)
{
    const struct portal_session *session = NULL;
    while ((session = session_next(call->portal, session, SESSION_GATEWAY, gateway)) != NULL) {
        if (latest_of(call->portal, session) == session) {
            session_note_to(call, session, note);
        }
    }
}

static void remember(struct portal_session *session, struct view text)
{
    uint8_t *copy = realloc(session->last, text.len + 1);
    ASSERT(copy != NULL);
    memcpy(copy, text.at, text.len);
    session->last = copy;
    session->last_len = text.len;
}

void session_send(struct portal_call *call, struct portal_session *session, struct view text,
                  bool push)
{
    ASSERT(text.len > 0);
    if (session->mute) {
        return;
    }
    bool delayed = session->kind == SESSION_GATEWAY &&
                   (call->portal->faults.delay.ns > 0 || session->delayed_first != NULL);
    uint32_t copies = push && call->portal->faults.duplicate_pushes ? 2 : 1;
    for (uint32_t i = 0; i < copies; i++) {
        if (delayed && push) {
            delay(call, session, text, NULL);
        } else {
            transmit(call, session, text);
        }
    }
    if (push && !delayed) {
        remember(session, text);
    }
}

void session_flush_delayed(struct portal_call *call, struct portal_session *session)
{
    while (session->delayed_first != NULL &&
           instant_reached(call->now.boot, session->delayed_first->at)) {
        struct portal_delayed *delayed = session->delayed_first;
        session->delayed_first = delayed->next;
        if (session->delayed_first == NULL) {
            session->delayed_last = NULL;
        }
        if (!session->mute && delayed->len > 0) {
            struct view text = {delayed->text, delayed->len};
            transmit(call, session, text);
            remember(session, text);
        } else if (!session->mute) {
            sim_put_note(call->out, &delayed->note);
        }
        free(delayed);
    }
}

/* ---- ends ---- */

void session_free(struct portal_session *session)
{
    if (ws_is_live(&session->ws)) {
        ws_free(&session->ws);
    }
    while (session->delayed_first != NULL) {
        struct portal_delayed *next = session->delayed_first->next;
        free(session->delayed_first);
        session->delayed_first = next;
    }
    free(session->line);
    free(session->last);
    memset(session, 0, sizeof *session);
}

static void leave_relay(struct portal_call *call, const struct portal_session *session)
{
    struct sim_portal *portal = call->portal;
    struct portal_relay *relay = &portal->relays[session->peer];
    bool current = relay->session == (uint32_t)(session - portal->sessions);
    if (current) {
        relay->online = false;
        relay->session = PORTAL_NOBODY;
    }
    /* V142 reports a relay as gone when its older connection ends, spec/relay.md section 9.2. */
    if (current || !portal_is_head(portal)) {
        presence_relay_left(call, session->peer);
    }
}

void session_leave(struct portal_call *call, struct portal_session *session)
{
    bool was_joined = session->joined;
    session->joined = false;
    session->presence_at = TIME_NEVER;
    if (!was_joined) {
        return;
    }
    switch (session->kind) {
    case SESSION_GATEWAY:
        if (session_next(call->portal, NULL, SESSION_GATEWAY, session->peer) == NULL) {
            struct sim_note note = {.kind = SIM_NOTE_GATEWAY_LOST,
                                    .grant = {.gateway = session->peer}};
            sim_put_note(call->out, &note);
        }
        break;
    case SESSION_CLIENT:
        flow_client_left(call, session);
        break;
    case SESSION_RELAY:
        leave_relay(call, session);
        break;
    case SESSION_NEW:
        break;
    }
}

static void close_with(struct portal_call *call, struct portal_session *session, uint16_t code)
{
    if (ws_is_live(&session->ws)) {
        ws_close(&session->ws, code, VIEW_EMPTY);
        session_drain(call, session);
    }
    sim_put_stream_close(call->out, session->stream);
    session_leave(call, session);
    session_free(session);
}

static void send_disconnect(struct portal_call *call, struct portal_session *session)
{
    if (session->kind == SESSION_GATEWAY) {
        struct sim_note note = {.kind = SIM_NOTE_SENT_AWAY,
                                .grant = {.gateway = session->peer},
                                .stream = session->stream};
        sim_put_note(call->out, &note);
    }
    struct portal_push push = push_start(call->portal, session_topic(session), "disconnect");
    json_field_string(&push.w, "reason", "token_expired");
    session_send(call, session, push_end(call->portal, &push), true);
}

void session_end(struct portal_call *call, struct portal_session *session, enum sim_portal_end end)
{
    switch (end) {
    case SIM_PORTAL_CLOSE_1000:
        close_with(call, session, 1000);
        return;
    case SIM_PORTAL_CLOSE_1002:
        close_with(call, session, 1002);
        return;
    case SIM_PORTAL_CLOSE_1011:
        close_with(call, session, 1011);
        return;
    case SIM_PORTAL_CLOSE_1012:
        close_with(call, session, 1012);
        return;
    case SIM_PORTAL_TOKEN_EXPIRED:
        send_disconnect(call, session);
        close_with(call, session, 1000);
        return;
    case SIM_PORTAL_SILENT:
        session_leave(call, session);
        session->mute = true;
        return;
    case SIM_PORTAL_RESET:
    case SIM_PORTAL_FIN:
        session_leave(call, session);
        if (end == SIM_PORTAL_RESET) {
            sim_put_stream_reset(call->out, session->stream);
        } else {
            sim_put_stream_close(call->out, session->stream);
        }
        session_free(session);
        return;
    case SIM_PORTAL_PHX_ERROR:
        channel_send_simple(call, session, "phx_error");
        session_leave(call, session);
        if (portal_is_head(call->portal)) {
            close_with(call, session, 1012);
        }
        return;
    case SIM_PORTAL_PHX_CLOSE:
        channel_send_simple(call, session, "phx_close");
        session_leave(call, session);
        return;
    case SIM_PORTAL_END_COUNT:
        break;
    }
    UNREACHABLE();
}
