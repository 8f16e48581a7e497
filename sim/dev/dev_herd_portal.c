/* The portal of a herd: one gateway, plain WebSocket, no policy but what the herd says. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "ice/ice_candidate.h"
#include "portal/portal_credentials.h"
#include "sim/dev/dev_herd.h"
#include "json/json.h"

#define TEXT_MAX      1536U
#define TARGET_KEY    "public_key="
#define KEY_TEXT      44U /* base64 of 32 bytes */
#define DRAIN_SIZE    2048U
#define RELAY_UNTIL_S 4102444800ULL /* 2100 */
#define RESOURCE_ID   "22000000-0000-4000-8000-000000000001"

const char herd_gateway_password[] = "gateway-password-000000";
const char herd_client_password[] = "client-password-0000000";

struct uuid herd_client_id(uint32_t number)
{
    struct uuid id = {{0xcc, 0, 0, 0, 0, 0, 0x40, 0, 0x80}};
    store_be32(id.bytes + 12, number);
    return id;
}

void herd_ufrag(char out[HERD_UFRAG_SIZE], char kind, uint32_t number)
{
    (void)snprintf(out, HERD_UFRAG_SIZE, "%c%05x", kind, number & 0xfffffU);
}

struct ip_addr herd_tunnel_ipv4(uint32_t number)
{
    return ip_v4(100, 65, (uint8_t)(number >> 8U), (uint8_t)number);
}

/* ---- sending ---- */

static void flush(struct herd_portal *p)
{
    uint8_t bytes[DRAIN_SIZE];
    size_t len;
    while (p->stream != NULL && ws_wants_drain(&p->ws) &&
           (len = ws_drain(&p->ws, (struct span){bytes, sizeof bytes})) > 0) {
        dev_stream_send(p->stream, (struct view){bytes, len});
    }
}

static void say(struct herd *herd, const char *text)
{
    if (ws_is_live(&herd->portal.ws) &&
        ws_send_text(&herd->portal.ws, view_text(text)) != ERR_NONE) {
        fprintf(stderr, "fzdev herd: the portal cannot send\n");
    }
    flush(&herd->portal);
}

static void push(struct herd *herd, const char *event, const char *payload)
{
    static char text[TEXT_MAX];
    int len = snprintf(text, sizeof text,
                       "{\"topic\":\"gateway\",\"event\":\"%s\",\"ref\":null,\"payload\":%s}",
                       event, payload);
    ASSERT(len > 0 && (size_t)len < sizeof text);
    say(herd, text);
}

static void put_uuid(char *out, const struct uuid *id)
{
    struct writer w = writer_of((struct span){(uint8_t *)out, UUID_TEXT_SIZE + 1U});
    uuid_put(&w, id);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
}

static void put_key(char out[KEY_TEXT + 1U], const uint8_t key[32])
{
    struct writer w = writer_of((struct span){(uint8_t *)out, KEY_TEXT + 1U});
    text_put_base64(&w, (struct view){key, 32}, true);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
}

static void push_candidate(struct herd *herd, const struct herd_client *client, const char *id)
{
    char payload[TEXT_MAX - 256U];
    char text[ICE_CANDIDATE_TEXT_SIZE_MAX + 1U];
    char ufrag[HERD_UFRAG_SIZE];
    struct sock_addr own = {herd->own, client->port};
    struct ice_candidate candidate = ice_candidate_host(&own);
    struct writer w = writer_of((struct span){(uint8_t *)text, sizeof text});
    herd_ufrag(ufrag, 'c', client->number);
    ice_candidate_set_ufrag(&candidate, view_text(ufrag));
    ice_candidate_put(&w, &candidate);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
    (void)snprintf(payload, sizeof payload, "{\"client_id\":\"%s\",\"candidates\":[\"%s\"]}", id,
                   text);
    push(herd, "ice_candidates", payload);
}

void herd_portal_authorize(struct herd *herd, const struct herd_client *client)
{
    static const uint8_t psk[32] = {1};
    char payload[TEXT_MAX - 256U];
    char id[UUID_TEXT_SIZE + 1U];
    char key[KEY_TEXT + 1U];
    char psk_text[KEY_TEXT + 1U];
    char own[HERD_UFRAG_SIZE];
    char other[HERD_UFRAG_SIZE];
    uint32_t n = client->number;
    struct uuid uuid = herd_client_id(n);
    put_uuid(id, &uuid);
    put_key(key, client->node.own.public_key.bytes);
    put_key(psk_text, psk);
    herd_ufrag(own, 'c', n);
    herd_ufrag(other, 'g', n);
    int len = snprintf(payload, sizeof payload,
                       "{\"ref\":\"%u\",\"resource\":{\"id\":\"" RESOURCE_ID "\",\"type\":\"cidr\","
                       "\"address\":\"10.3.0.0/16\",\"name\":\"n\",\"filters\":[]},"
                       "\"client\":{\"id\":\"%s\",\"public_key\":\"%s\",\"preshared_key\":\"%s\","
                       "\"ipv4\":\"100.65.%u.%u\",\"ipv6\":\"fd00:2021:1111::%x\"},"
                       "\"client_ice_credentials\":{\"username\":\"%s\",\"password\":\"%s\"},"
                       "\"gateway_ice_credentials\":{\"username\":\"%s\",\"password\":\"%s\"},"
                       "\"expires_at\":null}",
                       n, id, key, psk_text, n >> 8U & 0xffU, n & 0xffU, n + 16U, own,
                       herd_client_password, other, herd_gateway_password);
    ASSERT(len > 0 && (size_t)len < sizeof payload);
    push(herd, "authorize_flow", payload);
    push_candidate(herd, client, id);
}

void herd_portal_reject(struct herd *herd, const struct herd_client *client)
{
    char payload[256];
    char id[UUID_TEXT_SIZE + 1U];
    struct uuid uuid = herd_client_id(client->number);
    put_uuid(id, &uuid);
    (void)snprintf(payload, sizeof payload,
                   "{\"client_id\":\"%s\",\"resource_id\":\"" RESOURCE_ID "\"}", id);
    push(herd, "reject_access", payload);
}

/* ---- receiving ---- */

static void answer(struct herd *herd, const char *topic, uint64_t ref)
{
    char text[256];
    (void)snprintf(text, sizeof text,
                   "{\"ref\":%llu,\"topic\":\"%s\",\"event\":\"phx_reply\",\"payload\":"
                   "{\"status\":\"ok\",\"response\":{}}}",
                   (unsigned long long)ref, topic);
    say(herd, text);
}

/* A gateway without a relay answers nobody; none of the clients needs it. */
static void joined(struct herd *herd, uint64_t ref)
{
    const struct herd_relay *relay = &herd->relay;
    char payload[TEXT_MAX - 256U];
    char address[SOCK_ADDR_TEXT_SIZE_MAX + 1U];
    char password[PORTAL_TURN_PASSWORD_SIZE];
    struct writer w = writer_of((struct span){(uint8_t *)address, sizeof address});
    sock_addr_put(&w, &relay->address);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
    portal_credentials_turn_password(RELAY_UNTIL_S, view_text(relay->secret), view_text("herd"),
                                     password);
    (void)snprintf(payload, sizeof payload,
                   "{\"interface\":{\"ipv4\":\"100.64.0.2\",\"ipv6\":\"fd00:2021:1111::2\"},"
                   "\"config\":{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true},"
                   "\"relays\":[{\"id\":\"aaaaaaaa-0000-4000-8000-000000000001\",\"type\":\"turn\","
                   "\"addr\":\"%s\",\"username\":\"%llu:herd\",\"password\":\"%.*s\","
                   "\"expires_at\":%llu}]}",
                   address, RELAY_UNTIL_S, (int)sizeof password, password, RELAY_UNTIL_S);
    answer(herd, "gateway", ref);
    push(herd, "init", payload);
    herd->portal.is_joined = true;
}

static void authorized(struct herd *herd, const struct json_value *payload)
{
    struct view ref;
    uint64_t number;
    if (json_get_text(payload, "ref", &ref) && text_parse_u64(ref, &number) &&
        number < herd->used) {
        herd_client_authorized(&herd->clients[number]);
    }
}

static void take_text(struct herd *herd, struct view text)
{
    struct json_doc doc = {0};
    struct view event;
    uint64_t ref;
    if (json_parse(&doc, text) != DROP_NONE) {
        fprintf(stderr, "fzdev herd: the gateway says no JSON\n");
        return;
    }
    if (json_get_text(doc.root, "event", &event) && json_get_u64(doc.root, "ref", &ref)) {
        if (view_equal_text(event, "phx_join")) {
            joined(herd, ref);
        } else if (view_equal_text(event, "heartbeat")) {
            answer(herd, "phoenix", ref);
        } else {
            answer(herd, "gateway", ref);
        }
        if (view_equal_text(event, "flow_authorized")) {
            authorized(herd, json_get(doc.root, "payload"));
        }
    }
    json_free(&doc);
}

/* The key stands in the query of the request, where "+", "/" and "=" may be escaped. */
static bool take_key(struct view target, struct x25519_public *out)
{
    uint8_t text[KEY_TEXT];
    size_t used = 0;
    size_t name = sizeof TARGET_KEY - 1U;
    size_t at = 0;
    while (at + name < target.len && memcmp(target.at + at, TARGET_KEY, name) != 0) {
        at++;
    }
    for (at += name; at < target.len && target.at[at] != '&' && used < sizeof text; at++) {
        uint8_t byte = target.at[at];
        if (byte == '%' && target.len - at > 2U &&
            text_parse_hex(view_sub(target, at + 1U, 2), &byte, 1)) {
            at += 2U;
        }
        text[used++] = byte;
    }
    return text_parse_base64((struct view){text, used}, out->bytes, sizeof out->bytes);
}

static size_t take_request(struct herd *herd, struct view bytes)
{
    struct herd_portal *p = &herd->portal;
    struct http_request request;
    uint8_t response[512];
    size_t consumed = 0;
    enum http_verdict verdict = http_handle_request(&p->head, bytes, &consumed, &request);
    if (verdict == HTTP_DONE && request.upgrade &&
        ws_init(&p->ws, WS_SERVER, &herd->rng) == ERR_NONE) {
        struct writer w = writer_of((struct span){response, sizeof response});
        p->has_key = take_key(request.target, &p->gateway_key);
        if (!p->has_key) {
            fprintf(stderr, "fzdev herd: the gateway does not tell its key\n");
        }
        http_put_upgrade_response(&w, request.ws_key);
        p->is_upgraded = true;
        dev_stream_send(p->stream, writer_view(&w));
    }
    return consumed;
}

static void take_bytes(struct herd *herd, struct view bytes)
{
    struct herd_portal *p = &herd->portal;
    struct ws_event event;
    size_t consumed = p->is_upgraded ? 0 : take_request(herd, bytes);
    if (!p->is_upgraded) {
        return;
    }
    ws_feed(&p->ws, view_sub(bytes, consumed, bytes.len - consumed));
    while (ws_poll(&p->ws, &event)) {
        if (event.kind == WS_TEXT) {
            take_text(herd, event.text);
        }
    }
    flush(p);
}

static void stream_event(void *self, struct dev_stream *stream, enum gateway_stream_kind kind,
                         struct view bytes, enum err reason)
{
    struct herd *herd = self;
    (void)reason;
    if (kind == GATEWAY_STREAM_BYTES && stream == herd->portal.stream) {
        take_bytes(herd, bytes);
    } else if (kind == GATEWAY_STREAM_CLOSED) {
        if (stream == herd->portal.stream) {
            fprintf(stderr, "fzdev herd: the gateway has gone\n");
            herd->portal.stream = NULL;
            dev_loop_end(&herd->loop, 1);
        }
        dev_stream_free(stream);
    }
}

static void accepted(void *self, int fd, struct sock_addr remote)
{
    struct herd *herd = self;
    struct herd_portal *p = &herd->portal;
    (void)remote;
    struct dev_stream *stream =
        dev_stream_accept((struct dev_stream_owner){&herd->loop, stream_event, herd}, fd, NULL);
    if (p->stream != NULL && stream != NULL) {
        dev_stream_reset(stream); /* one gateway, once */
    } else {
        p->stream = stream;
    }
}

enum err herd_portal_open(struct herd *herd, struct sock_addr local)
{
    herd->portal.listener = (struct dev_listener){.accepted = accepted, .self = herd};
    return dev_listen(&herd->loop, &herd->portal.listener, local);
}
