#include "sim/dev/dev_uplink.h"

#include <stdlib.h>
#include <string.h>

#include "portal/http_upgrade.h"
#include "portal/ws.h"
#include "json/json_writer.h"

#define HEARTBEAT   DURATION_S(10) /* well within the portal's 41 s */
#define RETRY       DURATION_MS(500)
#define ATTEMPT     DURATION_S(5) /* to connect and upgrade */
#define USER_AGENT  "Linux/6.1 relay/1.4.2"
#define TARGET_SIZE 1024U
#define SEND_SIZE   1024U

enum uplink_state {
    UPLINK_WAITING,
    UPLINK_OPENING,
    UPLINK_UPGRADING,
    UPLINK_UP,
};

struct dev_uplink {
    struct dev_uplink_config config;
    struct rng rng;
    enum uplink_state state;
    struct instant due; /* retry, end of an attempt, or heartbeat */
    uint32_t stream;
    uint64_t ref;
    struct ws ws;
    struct http_head *head;
    uint8_t nonce[HTTP_WS_NONCE_SIZE];
};

static void drain(struct dev_uplink *uplink, struct sim_outbox *out)
{
    uint8_t room[SEND_SIZE];
    size_t len;
    while ((len = ws_drain(&uplink->ws, (struct span){room, sizeof room})) > 0) {
        sim_put_stream_send(out, uplink->stream, (struct view){room, len});
    }
}

static void say(struct dev_uplink *uplink, const char *topic, const char *event,
                struct sim_outbox *out)
{
    uint8_t room[SEND_SIZE];
    struct view text;
    struct json_writer w = json_writer_of((struct span){room, sizeof room});
    json_open_object(&w);
    json_field_string(&w, "topic", topic);
    json_field_string(&w, "event", event);
    json_put_key(&w, "payload");
    json_open_object(&w);
    if (strcmp(event, "phx_join") == 0) {
        json_field_string(&w, "stamp_secret", uplink->config.secret);
    }
    json_close_object(&w);
    json_field_u64(&w, "ref", uplink->ref++);
    json_close_object(&w);
    if (json_writer_finish(&w, &text) && ws_send_text(&uplink->ws, text) == ERR_NONE) {
        drain(uplink, out);
    }
}

static void put_query(struct writer *w, const struct dev_uplink_config *config)
{
    writer_bytes(w, (struct view){(const uint8_t *)config->url->path, config->url->path_len});
    writer_text(w, "/relay/websocket?token=");
    portal_url_put_form(w, view_text(config->token));
    if (config->ipv4.family != IP_NONE) {
        writer_text(w, "&ipv4=");
        ip_put(w, &config->ipv4);
    }
    if (config->ipv6.family != IP_NONE) {
        writer_text(w, "&ipv6=");
        ip_put(w, &config->ipv6);
    }
    writer_text(w, "&port=");
    text_put_u64(w, config->port);
}

static void upgrade(struct dev_uplink *uplink, struct sim_outbox *out)
{
    uint8_t target[TARGET_SIZE];
    uint8_t host[PORTAL_HOST_SIZE_MAX + 2U];
    uint8_t room[2U * TARGET_SIZE];
    struct writer t = writer_of((struct span){target, sizeof target});
    struct writer h = writer_of((struct span){host, sizeof host});
    struct writer w = writer_of((struct span){room, sizeof room});
    struct http_request_fields fields = {.user_agent = view_text(USER_AGENT)};
    put_query(&t, &uplink->config);
    portal_url_put_host(&h, uplink->config.url);
    rng_bytes(&uplink->rng, uplink->nonce, sizeof uplink->nonce);
    memcpy(fields.nonce, uplink->nonce, sizeof fields.nonce);
    fields.target = writer_view(&t);
    fields.host = writer_view(&h);
    http_put_upgrade_request(&w, &fields);
    memset(uplink->head, 0, sizeof *uplink->head);
    uplink->state = UPLINK_UPGRADING;
    sim_put_stream_send(out, uplink->stream, writer_view(&w));
}

static void give_up(struct dev_uplink *uplink, struct clock_pair now)
{
    ws_free(&uplink->ws);
    uplink->state = UPLINK_WAITING;
    uplink->due = instant_add(now.boot, RETRY);
}

/* ---- events ---- */

static void upgraded(struct dev_uplink *uplink, struct clock_pair now, struct sim_outbox *out)
{
    uplink->state = UPLINK_UP;
    uplink->due = instant_add(now.boot, HEARTBEAT);
    enum err err = ws_init(&uplink->ws, WS_CLIENT, &uplink->rng);
    ASSERT(err == ERR_NONE);
    say(uplink, "relay", "phx_join", out);
}

static void take_bytes(struct dev_uplink *uplink, struct clock_pair now, struct view bytes,
                       struct sim_outbox *out)
{
    struct ws_event event;
    if (uplink->state == UPLINK_UPGRADING) {
        struct http_response response;
        size_t used = 0;
        enum http_verdict verdict = http_handle_response(uplink->head, bytes, uplink->nonce,
                                                         now.unix_ns / NS_PER_S, &used, &response);
        if (verdict == HTTP_MORE) {
            return;
        }
        if (verdict != HTTP_DONE || !response.upgraded) {
            sim_put_text(out, "the portal refused the relay");
            sim_put_stream_close(out, uplink->stream);
            give_up(uplink, now);
            return;
        }
        bytes = view_sub(bytes, used, bytes.len - used);
        upgraded(uplink, now, out);
    }
    ws_feed(&uplink->ws, bytes);
    while (ws_poll(&uplink->ws, &event)) {
        if (event.kind == WS_CLOSED) {
            drain(uplink, out);
            sim_put_stream_close(out, uplink->stream);
            give_up(uplink, now);
            return;
        }
    }
    drain(uplink, out);
}

static void handle_stream(void *node, struct clock_pair now,
                          const struct gateway_stream_event *event, struct sim_outbox *out)
{
    struct dev_uplink *uplink = node;
    if (event->stream != uplink->stream || uplink->state == UPLINK_WAITING) {
        return;
    }
    if (event->kind == GATEWAY_STREAM_OPENED) {
        upgrade(uplink, out);
    } else if (event->kind == GATEWAY_STREAM_BYTES) {
        take_bytes(uplink, now, event->bytes, out);
    } else if (event->kind == GATEWAY_STREAM_CLOSED) {
        give_up(uplink, now);
    }
}

static void handle_timeout(void *node, struct clock_pair now, struct sim_outbox *out)
{
    struct dev_uplink *uplink = node;
    if (!instant_reached(now.boot, uplink->due)) {
        return;
    }
    if (uplink->state == UPLINK_UP) {
        uplink->due = instant_add(now.boot, HEARTBEAT);
        say(uplink, "phoenix", "heartbeat", out);
        return;
    }
    if (uplink->state != UPLINK_WAITING) {
        sim_put_stream_reset(out, uplink->stream);
        give_up(uplink, now);
        return;
    }
    uplink->stream++;
    uplink->state = UPLINK_OPENING;
    uplink->due = instant_add(now.boot, ATTEMPT);
    sim_put_stream_open(out, uplink->stream, uplink->config.portal);
}

static struct wake poll_timeout(const void *node)
{
    const struct dev_uplink *uplink = node;
    return (struct wake){uplink->due, "uplink"};
}

/* ---- life ---- */

struct dev_uplink *dev_uplink_new(const struct dev_uplink_config *config)
{
    struct dev_uplink *uplink = calloc(1, sizeof *uplink);
    ASSERT(uplink != NULL);
    uplink->head = calloc(1, sizeof *uplink->head);
    ASSERT(uplink->head != NULL);
    uplink->config = *config;
    uplink->ref = 1;
    rng_init(&uplink->rng, config->seed);
    return uplink;
}

void dev_uplink_free(struct dev_uplink *uplink)
{
    if (uplink != NULL) {
        ws_free(&uplink->ws);
        free(uplink->head);
        free(uplink);
    }
}

struct sim_node dev_uplink_node(struct dev_uplink *uplink)
{
    static const struct sim_node_ops ops = {.kind = "uplink",
                                            .handle_stream = handle_stream,
                                            .handle_timeout = handle_timeout,
                                            .poll_timeout = poll_timeout};
    return (struct sim_node){&ops, uplink};
}
