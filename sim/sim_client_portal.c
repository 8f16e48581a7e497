/* The control stream: dialling, upgrade, join, heartbeats, backoff. Source: spec/portal.md 2, 3. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_client_internal.h"

#define OPEN_TIMEOUT_S       5U
#define JOIN_TIMEOUT_S       5U
#define HEARTBEAT_BASE_S     30U
#define HEARTBEAT_HEAD_S     10U
#define HEARTBEAT_DEADLINE_S 5U
#define BACKOFF_FIRST_MS     500U
#define BACKOFF_MAX_S        60U

static struct instant later(const struct sim_client *client, struct duration d)
{
    return instant_add(client->now.boot, d);
}

/* ---- texts ---- */

static void send_text(struct sim_client *client, struct view text)
{
    struct client_portal *portal = &client->portal;
    if (client->config.transport == SIM_CLIENT_LINES) {
        uint8_t *line = malloc(text.len + 1);
        ASSERT(line != NULL);
        memcpy(line, text.at, text.len);
        line[text.len] = '\n';
        sim_put_stream_send(client->out, portal->stream, (struct view){line, text.len + 1});
        free(line);
        return;
    }
    if (ws_send_text(&portal->ws, text) != ERR_NONE) {
        sim_put_text(client->out, "message lost: the connection is closing");
    }
}

static void drain(struct sim_client *client)
{
    struct client_portal *portal = &client->portal;
    uint8_t bytes[2048];
    size_t len = 0;
    while (ws_is_live(&portal->ws) &&
           (len = ws_drain(&portal->ws, (struct span){bytes, sizeof bytes})) > 0) {
        sim_put_stream_send(client->out, portal->stream, (struct view){bytes, len});
    }
}

static struct view write_message(struct sim_client *client, struct span room, const char *topic,
                                 const char *event, struct view payload)
{
    struct json_writer w = json_writer_of(room);
    struct view text = VIEW_EMPTY;
    json_open_object(&w);
    json_field_string(&w, "topic", topic);
    json_field_string(&w, "event", event);
    json_put_key(&w, "payload");
    json_put_raw(&w, payload);
    json_field_u64(&w, "ref", client->portal.ref_next++);
    json_close_object(&w);
    bool good = json_writer_finish(&w, &text);
    ASSERT(good);
    return text;
}

static void clear_queue(struct client_portal *portal)
{
    while (portal->first != NULL) {
        struct client_text *text = portal->first;
        portal->first = text->next;
        free(text);
    }
    portal->last = NULL;
    portal->queued = 0;
}

static void enqueue(struct client_portal *portal, struct view text)
{
    if (portal->queued == CLIENT_QUEUE_MAX) {
        clear_queue(portal);
    }
    struct client_text *entry = malloc(sizeof(*entry) + text.len);
    ASSERT(entry != NULL);
    entry->next = NULL;
    entry->len = text.len;
    memcpy(entry->bytes, text.at, text.len);
    if (portal->last == NULL) {
        portal->first = entry;
    } else {
        portal->last->next = entry;
    }
    portal->last = entry;
    portal->queued++;
}

void client_portal_say(struct sim_client *client, const char *event, struct view payload)
{
    struct view text = write_message(client, (struct span){client->message, sizeof client->message},
                                     "client", event, payload);
    if (client->portal.state != CLIENT_PORTAL_JOINED) {
        enqueue(&client->portal, text);
        return;
    }
    send_text(client, text);
    drain(client);
}

static void say_join(struct sim_client *client)
{
    uint8_t room[256];
    client->portal.ref_join = client->portal.ref_next;
    struct view text = write_message(client, (struct span){room, sizeof room}, "client", "phx_join",
                                     view_text("null"));
    client->portal.state = CLIENT_PORTAL_JOINING;
    client->portal.deadline_at = later(client, DURATION_S(JOIN_TIMEOUT_S));
    send_text(client, text);
    drain(client);
}

static void say_heartbeat(struct sim_client *client)
{
    uint8_t room[256];
    client->portal.ref_heartbeat = client->portal.ref_next;
    struct view text = write_message(client, (struct span){room, sizeof room}, "phoenix",
                                     "heartbeat", view_text("{}"));
    client->portal.heartbeat_open = true;
    client->portal.heartbeat_at = later(client, DURATION_S(HEARTBEAT_DEADLINE_S));
    send_text(client, text);
    drain(client);
}

void client_portal_joined(struct sim_client *client)
{
    struct client_portal *portal = &client->portal;
    portal->state = CLIENT_PORTAL_JOINED;
    portal->backoff = DURATION_MS(BACKOFF_FIRST_MS);
    client->counters.joins++;
    while (portal->first != NULL) {
        struct client_text *text = portal->first;
        portal->first = text->next;
        send_text(client, (struct view){text->bytes, text->len});
        free(text);
    }
    portal->last = NULL;
    portal->queued = 0;
    drain(client);
}

/* ---- life of the stream ---- */

static void close_stream(struct sim_client *client)
{
    struct client_portal *portal = &client->portal;
    ws_free(&portal->ws);
    free(portal->head);
    portal->head = NULL;
    free(portal->line);
    portal->line = NULL;
    portal->line_len = 0;
    portal->stream = 0;
    portal->heartbeat_open = false;
    portal->heartbeat_at = TIME_NEVER;
    portal->deadline_at = TIME_NEVER;
    portal->state = CLIENT_PORTAL_WAITING;
    if (client->online) {
        client->online = false;
        client_event(client, SIM_CLIENT_OFFLINE, NULL, NULL, "");
    }
}

/* Uniform between half and one and a half of the interval. */
static void back_off(struct sim_client *client)
{
    struct client_portal *portal = &client->portal;
    uint64_t ms = portal->backoff.ns / NS_PER_MS;
    uint64_t wait = ms / 2 + rng_below(&client->rng, (uint32_t)ms + 1);
    portal->retry_at = later(client, DURATION_MS(wait));
    portal->backoff =
        duration_min((struct duration){portal->backoff.ns / 2 * 3}, DURATION_S(BACKOFF_MAX_S));
}

static void lost(struct sim_client *client)
{
    close_stream(client);
    back_off(client);
}

void client_portal_drop(struct sim_client *client)
{
    if (client->portal.stream != 0) {
        sim_put_stream_reset(client->out, client->portal.stream);
    }
    close_stream(client);
    client->portal.retry_at = client->now.boot;
}

void client_portal_end(struct sim_client *client)
{
    if (client->portal.stream != 0) {
        if (ws_is_live(&client->portal.ws)) {
            ws_close(&client->portal.ws, 1000, VIEW_EMPTY);
            drain(client);
        }
        sim_put_stream_close(client->out, client->portal.stream);
    }
    close_stream(client);
    client->portal.state = CLIENT_PORTAL_ENDED;
}

void client_portal_free(struct sim_client *client)
{
    ws_free(&client->portal.ws);
    free(client->portal.head);
    free(client->portal.line);
    client->portal.head = NULL;
    client->portal.line = NULL;
    clear_queue(&client->portal);
}

void client_portal_open(struct sim_client *client)
{
    struct client_portal *portal = &client->portal;
    const struct sock_addr *choices[2] = {&client->config.portal_v4, &client->config.portal_v6};
    const struct sock_addr *usable[2];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 2; i++) {
        bool has_own = client_local(client, i == 0 ? IP_V4 : IP_V6).ip.family != IP_NONE;
        if (choices[i]->ip.family != IP_NONE && has_own) {
            usable[count] = choices[i];
            count++;
        }
    }
    if (count == 0) {
        back_off(client);
        return;
    }
    portal->stream_last++;
    portal->stream = portal->stream_last;
    portal->state = CLIENT_PORTAL_OPENING;
    portal->deadline_at = later(client, DURATION_S(OPEN_TIMEOUT_S));
    portal->heartbeat_at = TIME_NEVER;
    sim_put_stream_open(client->out, portal->stream, *usable[portal->attempts % count]);
    portal->attempts++;
}

/* ---- the request ---- */

static void put_encoded(struct writer *w, struct view text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (plain) {
            writer_u8(w, c);
        } else {
            static const char digits[] = "0123456789ABCDEF";
            writer_u8(w, '%');
            writer_u8(w, (uint8_t)digits[c >> 4]);
            writer_u8(w, (uint8_t)digits[c & 15]);
        }
    }
}

static void put_public_key(struct sim_client *client, struct writer *w)
{
    uint8_t room[64];
    struct writer key = writer_of((struct span){room, sizeof room});
    text_put_base64(&key, VIEW_OF(client->node.own.public_key.bytes), true);
    writer_text(w, "&public_key=");
    put_encoded(w, writer_view(&key));
}

static void send_lines_request(struct sim_client *client)
{
    uint8_t room[512];
    struct writer w = writer_of((struct span){room, sizeof room});
    writer_text(&w, "GET /sim-client?id=");
    uuid_put(&w, &client->config.id);
    put_public_key(client, &w);
    writer_text(&w, " HTTP/1.1\r\n\r\n");
    ASSERT(writer_finish(&w));
    sim_put_stream_send(client->out, client->portal.stream, writer_view(&w));
}

static void send_upgrade(struct sim_client *client)
{
    struct client_portal *portal = &client->portal;
    const struct sim_client_config *config = &client->config;
    struct writer target = writer_of((struct span){client->payload, sizeof client->payload});
    writer_text(&target, "/client/websocket?token=");
    put_encoded(&target, view_text(config->token));
    writer_text(&target, "&external_id=");
    if (config->external_id[0] != '\0') {
        put_encoded(&target, view_text(config->external_id));
    } else {
        text_put_hex(&target, VIEW_OF(config->id.bytes));
    }
    writer_text(&target, "&name=client");
    put_public_key(client, &target);
    struct http_request_fields fields = {.target = writer_view(&target),
                                         .host = view_text(config->host),
                                         .user_agent = view_text(config->user_agent)};
    if (config->user_agent[0] == '\0') {
        fields.user_agent =
            view_text(client_is_head(client) ? "Debian/12.0.0 headless-client/1.5.8 (x86_64; 6.1.0)"
                                             : "Debian/12.0.0 connlib/1.4.0 (x86_64; 6.1.0)");
    }
    rng_bytes(&client->rng, portal->nonce, sizeof portal->nonce);
    memcpy(fields.nonce, portal->nonce, sizeof fields.nonce);
    struct writer w = writer_of((struct span){client->message, sizeof client->message});
    http_put_upgrade_request(&w, &fields);
    ASSERT(writer_finish(&w));
    sim_put_stream_send(client->out, portal->stream, writer_view(&w));
    portal->head = calloc(1, sizeof(*portal->head));
    ASSERT(portal->head != NULL);
    portal->state = CLIENT_PORTAL_UPGRADING;
    portal->deadline_at = later(client, DURATION_S(OPEN_TIMEOUT_S));
}

static void start_heartbeats(struct sim_client *client)
{
    uint64_t seconds = client_is_head(client) ? HEARTBEAT_HEAD_S : HEARTBEAT_BASE_S;
    client->portal.heartbeat_open = false;
    client->portal.heartbeat_at = later(client, DURATION_S(seconds));
}

static void opened(struct sim_client *client)
{
    if (client->config.transport == SIM_CLIENT_WEBSOCKET) {
        send_upgrade(client);
        return;
    }
    send_lines_request(client);
    start_heartbeats(client);
    say_join(client);
}

/* ---- bytes ---- */

/* Replies are for the session, everything else for the client. */
static void take_text(struct sim_client *client, struct view text)
{
    struct client_portal *portal = &client->portal;
    struct json_doc doc = {0};
    uint64_t ref = 0;
    struct view event = VIEW_EMPTY;
    struct view status = VIEW_EMPTY;
    if (json_parse(&doc, text) != DROP_NONE) {
        return;
    }
    bool is_reply = json_get_text(doc.root, "event", &event) && view_equal_text(event, "phx_reply");
    if (!is_reply) {
        json_free(&doc);
        client_message(client, text);
        return;
    }
    bool ok = json_get_text(json_get(doc.root, "payload"), "status", &status) &&
              view_equal_text(status, "ok");
    bool has_ref = json_get_u64(doc.root, "ref", &ref);
    json_free(&doc);
    if (has_ref && portal->state == CLIENT_PORTAL_JOINING && ref == portal->ref_join) {
        if (ok) {
            portal->deadline_at = TIME_NEVER;
            client_portal_joined(client);
        } else {
            sim_put_stream_close(client->out, portal->stream);
            lost(client);
        }
    } else if (has_ref && portal->heartbeat_open && ref == portal->ref_heartbeat) {
        start_heartbeats(client);
    }
}

static void take_lines(struct sim_client *client, struct view bytes)
{
    struct client_portal *portal = &client->portal;
    uint8_t *grown = realloc(portal->line, portal->line_len + bytes.len + 1);
    ASSERT(grown != NULL);
    portal->line = grown;
    memcpy(portal->line + portal->line_len, bytes.at, bytes.len);
    portal->line_len += bytes.len;
    uint8_t *end = NULL;
    while (portal->line != NULL && (end = memchr(portal->line, '\n', portal->line_len)) != NULL) {
        size_t len = (size_t)(end - portal->line);
        uint8_t *copy = malloc(len + 1);
        ASSERT(copy != NULL);
        memcpy(copy, portal->line, len);
        portal->line_len -= len + 1;
        memmove(portal->line, portal->line + len + 1, portal->line_len);
        take_text(client, (struct view){copy, len});
        free(copy);
    }
    if (portal->line_len > CLIENT_LINE_MAX) {
        sim_put_stream_reset(client->out, portal->stream);
        lost(client);
    }
}

static void take_frames(struct sim_client *client, struct view bytes)
{
    struct client_portal *portal = &client->portal;
    struct ws_event event;
    uint32_t stream = portal->stream;
    ws_feed(&portal->ws, bytes);
    while (portal->stream == stream && ws_is_live(&portal->ws) && ws_poll(&portal->ws, &event)) {
        if (event.kind == WS_TEXT) {
            take_text(client, event.text);
            continue;
        }
        drain(client);
        sim_put_stream_close(client->out, portal->stream);
        lost(client);
        return;
    }
    if (portal->stream == stream) {
        drain(client);
    }
}

static void take_response(struct sim_client *client, struct view bytes)
{
    struct client_portal *portal = &client->portal;
    struct http_response response;
    size_t consumed = 0;
    enum http_verdict verdict = http_handle_response(
        portal->head, bytes, portal->nonce, client->now.unix_ns / NS_PER_S, &consumed, &response);
    if (verdict == HTTP_MORE) {
        return;
    }
    if (verdict == HTTP_MALFORMED || !response.upgraded) {
        sim_put_stream_close(client->out, portal->stream);
        lost(client);
        if (verdict == HTTP_DONE && response.retry_after_s != HTTP_RETRY_AFTER_NONE) {
            portal->retry_at = later(client, DURATION_S(response.retry_after_s));
        }
        return;
    }
    enum err err = ws_init(&portal->ws, WS_CLIENT, &client->rng);
    ASSERT(err == ERR_NONE);
    free(portal->head);
    portal->head = NULL;
    start_heartbeats(client);
    say_join(client);
    if (consumed < bytes.len) {
        take_frames(client, view_sub(bytes, consumed, bytes.len - consumed));
    }
}

static void take_bytes(struct sim_client *client, struct view bytes)
{
    if (client->config.transport == SIM_CLIENT_LINES) {
        take_lines(client, bytes);
    } else if (client->portal.state == CLIENT_PORTAL_UPGRADING) {
        take_response(client, bytes);
    } else if (ws_is_live(&client->portal.ws)) {
        take_frames(client, bytes);
    }
}

void client_portal_handle(struct sim_client *client, const struct gateway_stream_event *event)
{
    struct client_portal *portal = &client->portal;
    if (portal->stream == 0 || event->stream != portal->stream) {
        return;
    }
    switch (event->kind) {
    case GATEWAY_STREAM_OPENED:
        if (portal->state == CLIENT_PORTAL_OPENING) {
            opened(client);
        }
        break;
    case GATEWAY_STREAM_BYTES:
        take_bytes(client, event->bytes);
        break;
    case GATEWAY_STREAM_CLOSED:
        lost(client);
        break;
    case GATEWAY_STREAM_WRITABLE:
    case GATEWAY_STREAM_ACCEPTED:
    case GATEWAY_STREAM_ENDED:
    default:
        break;
    }
}

void client_portal_timeout(struct sim_client *client)
{
    struct client_portal *portal = &client->portal;
    struct instant now = client->now.boot;
    if (portal->state == CLIENT_PORTAL_ENDED) {
        return;
    }
    if (portal->state == CLIENT_PORTAL_WAITING) {
        if (instant_reached(now, portal->retry_at)) {
            client_portal_open(client);
        }
        return;
    }
    bool silent = portal->heartbeat_open && instant_reached(now, portal->heartbeat_at);
    if (instant_reached(now, portal->deadline_at) || silent) {
        sim_put_stream_reset(client->out, portal->stream);
        lost(client);
        return;
    }
    if (instant_reached(now, portal->heartbeat_at)) {
        say_heartbeat(client);
    }
}

struct wake client_portal_wake(const struct sim_client *client)
{
    const struct client_portal *portal = &client->portal;
    if (portal->state == CLIENT_PORTAL_ENDED) {
        return WAKE_NEVER;
    }
    if (portal->state == CLIENT_PORTAL_WAITING) {
        return (struct wake){portal->retry_at, "portal retry"};
    }
    return (struct wake){instant_min(portal->deadline_at, portal->heartbeat_at), "portal"};
}
