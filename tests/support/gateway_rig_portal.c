#include "tests/support/gateway_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "json/json.h"

#define TEXT_MAX 16384

void rig_portal_opened(struct rig *rig, uint32_t stream)
{
    struct rig_portal *p = &rig->portal;
    ws_free(&p->ws);
    memset(&p->head, 0, sizeof(p->head));
    p->is_upgraded = false;
    p->stream = stream;
}

static void send_text(struct rig *rig, const char *text)
{
    if (!ws_is_live(&rig->portal.ws)) {
        return;
    }
    enum err err = ws_send_text(&rig->portal.ws, view_text(text));
    ASSERT(err == ERR_NONE || err == ERR_CLOSED);
}

void rig_push_raw(struct rig *rig, const char *text)
{
    send_text(rig, text);
    rig_settle(rig);
}

static void send_message(struct rig *rig, const char *event, const char *payload)
{
    char text[TEXT_MAX];
    int len = snprintf(text, sizeof(text),
                       "{\"topic\":\"gateway\",\"event\":\"%s\",\"ref\":null,\"payload\":%s}",
                       event, payload);
    ASSERT(len > 0 && (size_t)len < sizeof(text));
    send_text(rig, text);
}

void rig_push(struct rig *rig, const char *event, const char *payload)
{
    send_message(rig, event, payload);
    rig_settle(rig);
}

/* ---- messages ---- */

static void put_relays(const struct rig *rig, uint32_t bits, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t r = 0; r < RIG_RELAYS; r++) {
        if ((bits & 1U << r) == 0) {
            continue;
        }
        int len = snprintf(
            out + used, size - used,
            "%s{\"id\":\"aaaaaaaa-0000-4000-8000-00000000000%zu\",\"type\":\"turn\","
            "\"addr\":\"203.0.113.%zu:3478\",\"username\":\"%s\",\"password\":\"%s\","
            "\"expires_at\":2145916800}",
            used == 0 ? "" : ",", r, 10 + r, rig->relays[r].username, rig->relays[r].password);
        ASSERT(len > 0 && (size_t)len < size - used);
        used += (size_t)len;
    }
}

void rig_put_init(struct rig *rig, char *out, size_t size)
{
    char relays[2048];
    const struct rig_portal *p = &rig->portal;
    put_relays(rig, p->relays, relays, sizeof(relays));
    int len =
        snprintf(out, size,
                 "{\"interface\":{\"ipv4\":\"%s\",\"ipv6\":\"%s\"},"
                 "\"config\":{\"ipv4_masquerade_enabled\":true,"
                 "\"ipv6_masquerade_enabled\":true},\"relays\":[%s]%s%s%s}",
                 p->ipv4, p->ipv6, relays, p->authorizations != NULL ? ",\"authorizations\":" : "",
                 p->authorizations != NULL ? p->authorizations : "",
                 p->is_head ? ",\"flow_logs\":{\"api_url\":\"http://127.0.0.1:1\","
                              "\"upload_interval_secs\":0,\"upload_batch_size\":1}"
                            : "");
    ASSERT(len > 0 && (size_t)len < size);
}

static void send_init(struct rig *rig)
{
    char payload[8192];
    rig_put_init(rig, payload, sizeof(payload));
    send_message(rig, "init", payload);
}

void rig_push_init(struct rig *rig)
{
    send_init(rig);
    rig_settle(rig);
}

void rig_push_presence(struct rig *rig, uint32_t connected, uint32_t disconnected)
{
    char relays[2048];
    char ids[256];
    char payload[4096];
    size_t used = 0;
    put_relays(rig, connected, relays, sizeof(relays));
    ids[0] = 0;
    for (size_t r = 0; r < RIG_RELAYS; r++) {
        if ((disconnected & 1U << r) != 0) {
            used += (size_t)snprintf(ids + used, sizeof(ids) - used,
                                     "%s\"aaaaaaaa-0000-4000-8000-00000000000%zu\"",
                                     used == 0 ? "" : ",", r);
        }
    }
    (void)snprintf(payload, sizeof(payload), "{\"disconnected_ids\":[%s],\"connected\":[%s]}", ids,
                   relays);
    rig_push(rig, "relays_presence", payload);
}

static void put_base64(char *out, size_t size, const uint8_t bytes[32])
{
    struct writer w = writer_of((struct span){(uint8_t *)out, size});
    text_put_base64(&w, (struct view){bytes, 32}, true);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
}

static void put_ip(char *out, size_t size, const struct ip_addr *ip)
{
    struct writer w = writer_of((struct span){(uint8_t *)out, size});
    ip_put(&w, ip);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
}

void rig_push_authorize(struct rig *rig, size_t client, const char *resource, const char *expires)
{
    const struct rig_client *c = &rig->clients[client];
    char payload[8192];
    char key[64];
    char psk[64];
    char ipv4[48];
    char ipv6[48];
    put_base64(key, sizeof(key), c->node.own.public_key.bytes);
    put_base64(psk, sizeof(psk), c->psk.bytes);
    put_ip(ipv4, sizeof(ipv4), &c->ipv4);
    put_ip(ipv6, sizeof(ipv6), &c->ipv6);
    int len = snprintf(payload, sizeof(payload),
                       "{\"ref\":\"ref-%zu\",\"resource\":%s,\"client\":{\"id\":\"%s\","
                       "\"public_key\":\"%s\",\"preshared_key\":\"%s\",\"ipv4\":\"%s\","
                       "\"ipv6\":\"%s\"},\"client_ice_credentials\":{\"username\":\"%s\","
                       "\"password\":\"%s\"},\"gateway_ice_credentials\":{\"username\":\"%s\","
                       "\"password\":\"%s\"},\"expires_at\":%s}",
                       client, resource, c->id_text, key, psk, ipv4, ipv6, c->ufrag, c->password,
                       c->gateway_ufrag, c->gateway_password, expires);
    ASSERT(len > 0 && (size_t)len < sizeof(payload));
    rig_push(rig, "authorize_flow", payload);
}

void rig_push_reject(struct rig *rig, size_t client, const char *resource_id)
{
    char payload[256];
    (void)snprintf(payload, sizeof(payload), "{\"client_id\":\"%s\",\"resource_id\":\"%s\"}",
                   rig->clients[client].id_text, resource_id);
    rig_push(rig, "reject_access", payload);
}

void rig_push_candidate(struct rig *rig, size_t client, const char *event, const char *candidate)
{
    char payload[1024];
    (void)snprintf(payload, sizeof(payload), "{\"client_id\":\"%s\",\"candidates\":[\"%s\"]}",
                   rig->clients[client].id_text, candidate);
    rig_push(rig, event, payload);
}

void rig_portal_drop(struct rig *rig)
{
    struct gateway_stream_event event = {
        .kind = GATEWAY_STREAM_CLOSED, .stream = rig->portal.stream, .reason = ERR_CLOSED};
    ASSERT(rig->portal.stream != 0);
    rig->portal.stream = 0;
    gateway_handle_stream(rig->gw, rig->now, &event);
    rig_settle(rig);
}

/* ---- what the gateway says ---- */

static void reply_ok(struct rig *rig, const char *topic, uint64_t ref)
{
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "{\"ref\":%llu,\"topic\":\"%s\",\"event\":\"phx_reply\",\"payload\":"
                   "{\"status\":\"ok\",\"response\":{}}}",
                   (unsigned long long)ref, topic);
    send_text(rig, text);
}

static void for_clients(struct rig *rig, const struct json_value *payload, bool invalidated)
{
    const struct json_value *ids = json_get(payload, "client_ids");
    for (const struct json_value *id = json_first(ids); id != NULL; id = json_next(id)) {
        struct uuid uuid;
        bool is_id = json_uuid(id, &uuid);
        ASSERT(is_id);
        for (size_t i = 0; i < RIG_CLIENTS; i++) {
            if (!uuid_equal(&uuid, &rig->clients[i].id) || rig->clients[i].is_deaf) {
                continue;
            }
            const struct json_value *list = json_get(payload, "candidates");
            for (const struct json_value *e = json_first(list); e != NULL; e = json_next(e)) {
                struct view text;
                char copy[512];
                bool is_text = json_text(e, &text);
                ASSERT(is_text && text.len < sizeof(copy));
                memcpy(copy, text.at, text.len);
                copy[text.len] = 0;
                rig_client_take(rig, i, copy, invalidated);
            }
        }
    }
}

static void take_text(struct rig *rig, struct view text)
{
    struct rig_portal *p = &rig->portal;
    struct json_doc doc = {0};
    struct view event = VIEW_EMPTY;
    uint64_t ref = 0;
    bool is_json = json_parse(&doc, text) == DROP_NONE;
    ASSERT(is_json);
    bool is_envelope =
        json_get_text(doc.root, "event", &event) && json_get_u64(doc.root, "ref", &ref);
    ASSERT(is_envelope);
    if (view_equal_text(event, "phx_join")) {
        p->joins++;
        p->join_ref = ref;
        if (!p->skips_reply) {
            reply_ok(rig, "gateway", ref);
        }
        if (!p->skips_reply && !p->skips_init) {
            send_init(rig);
        }
    } else if (view_equal_text(event, "heartbeat")) {
        p->heartbeats++;
        reply_ok(rig, "phoenix", ref);
    } else {
        (void)rig_list_add(&p->texts, text);
        const struct json_value *payload = json_get(doc.root, "payload");
        if (view_equal_text(event, "broadcast_ice_candidates")) {
            for_clients(rig, payload, false);
        } else if (view_equal_text(event, "broadcast_invalidated_ice_candidates")) {
            for_clients(rig, payload, true);
        } else {
            reply_ok(rig, "gateway", ref);
        }
    }
    json_free(&doc);
}

static size_t take_request(struct rig *rig, struct view bytes)
{
    struct rig_portal *p = &rig->portal;
    struct http_request request;
    size_t consumed = 0;
    enum http_verdict verdict = http_handle_request(&p->head, bytes, &consumed, &request);
    ASSERT(verdict != HTTP_MALFORMED);
    if (verdict == HTTP_DONE) {
        uint8_t text[512];
        struct writer w = writer_of((struct span){text, sizeof(text)});
        ASSERT(request.upgrade);
        http_put_upgrade_response(&w, request.ws_key);
        enum err err = ws_init(&p->ws, WS_SERVER, &p->rng);
        ASSERT(err == ERR_NONE);
        p->is_upgraded = true;
        rig_portal_answer(rig, writer_view(&w));
    }
    return consumed;
}

void rig_portal_bytes(struct rig *rig, struct view bytes)
{
    struct rig_portal *p = &rig->portal;
    struct ws_event event;
    size_t consumed = 0;
    if (p->is_silent) {
        return;
    }
    if (!p->is_upgraded) {
        consumed = take_request(rig, bytes);
    }
    if (!p->is_upgraded) {
        return;
    }
    ws_feed(&p->ws, view_sub(bytes, consumed, bytes.len - consumed));
    while (ws_poll(&p->ws, &event)) {
        if (event.kind == WS_TEXT) {
            take_text(rig, event.text);
        } else {
            p->close_code = event.code;
            ASSERT(!event.failed);
        }
    }
}

size_t rig_said(const struct rig *rig, const char *event, const char **last)
{
    char needle[64];
    size_t count = 0;
    (void)snprintf(needle, sizeof(needle), "\"event\":\"%s\"", event);
    for (size_t i = 0; i < rig->portal.texts.count; i++) {
        const char *text = (const char *)rig->portal.texts.items[i].at;
        if (strstr(text, needle) != NULL) {
            count++;
            if (last != NULL) {
                *last = text;
            }
        }
    }
    return count;
}

void rig_forget(struct rig *rig)
{
    rig_list_clear(&rig->portal.texts);
    rig_list_clear(&rig->tun);
    rig_list_clear(&rig->strays);
    rig_list_clear(&rig->wire);
    rig->drops_before += rig_drops_all(rig);
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        rig_list_clear(&rig->clients[i].packets);
        rig_list_clear(&rig->clients[i].datagrams);
    }
}
