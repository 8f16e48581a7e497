#include <string.h>

#include "crypto/sha256.h"
#include "sim/sim_portal_internal.h"

#define ANSWER_SIZE   2048U
#define VALUE_SIZE    512U /* of one query parameter, decoded */
#define BEARER        "Bearer "
#define VERSION_WORDS 7U

/* ---- query strings, application/x-www-form-urlencoded ---- */

static bool decode_value(struct view text, struct writer *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.at[i];
        if (byte == '%') {
            if (i + 2 >= text.len || !text_parse_hex(view_sub(text, i + 1, 2), &byte, 1)) {
                return false;
            }
            i += 2;
        } else if (byte == '+') {
            byte = ' ';
        }
        writer_u8(out, byte);
    }
    return writer_finish(out);
}

static struct view until(struct view text, char stop)
{
    const uint8_t *at = text.len == 0 ? NULL : memchr(text.at, stop, text.len);
    return at == NULL ? text : view_sub(text, 0, (size_t)(at - text.at));
}

/* Finds a parameter and decodes it; false when absent, broken or too long. */
static bool query_get(struct view target, const char *key, struct span room, struct view *out)
{
    struct view rest = target;
    size_t path = until(rest, '?').len;
    rest = path < rest.len ? view_sub(rest, path + 1, rest.len - path - 1) : VIEW_EMPTY;
    while (rest.len > 0) {
        struct view pair = until(rest, '&');
        struct view name = until(pair, '=');
        if (view_equal_text(name, key)) {
            struct writer w = writer_of(room);
            struct view value = name.len < pair.len
                                    ? view_sub(pair, name.len + 1, pair.len - name.len - 1)
                                    : VIEW_EMPTY;
            bool good = decode_value(value, &w);
            *out = writer_view(&w);
            return good;
        }
        rest = pair.len < rest.len ? view_sub(rest, pair.len + 1, rest.len - pair.len - 1)
                                   : VIEW_EMPTY;
    }
    return false;
}

static bool equal_text(struct view value, const char *text)
{
    return text[0] != '\0' && view_equal_text(value, text);
}

/* ---- answers ---- */

struct refusal {
    uint16_t status;
    const char *code; /* HEAD */
};

static const char *reason_of(uint16_t status)
{
    switch (status) {
    case 301:
        return "Moved Permanently";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 409:
        return "Conflict";
    case 422:
        return "Unprocessable Entity";
    case 429:
        return "Too Many Requests";
    case 503:
        return "Service Unavailable";
    default:
        return "Error";
    }
}

static void put_problem(struct writer *w, const struct refusal *refusal)
{
    struct json_writer json = {.out = *w};
    json_open_object(&json);
    json_field_string(&json, "type", "about:blank");
    json_field_string(&json, "title", reason_of(refusal->status));
    json_field_u64(&json, "status", refusal->status);
    json_field_string(&json, "detail", reason_of(refusal->status));
    json_field_string(&json, "code", refusal->code);
    json_close_object(&json);
    *w = json.out;
}

static void refuse(struct portal_call *call, struct portal_session *session,
                   const struct refusal *refusal, uint32_t retry_after_s)
{
    uint8_t body_bytes[512];
    struct writer body = writer_of((struct span){body_bytes, sizeof body_bytes});
    bool head = portal_is_head(call->portal);
    if (head) {
        put_problem(&body, refusal);
    } else {
        writer_text(&body, reason_of(refusal->status));
    }
    uint8_t bytes[ANSWER_SIZE];
    struct writer w = writer_of((struct span){bytes, sizeof bytes});
    struct http_answer answer = {
        .status = refusal->status,
        .reason = reason_of(refusal->status),
        .content_type = head ? "application/problem+json" : "text/plain",
        .retry_after_s = retry_after_s > 0 ? retry_after_s : HTTP_RETRY_AFTER_NONE,
        .body = writer_view(&body),
        .close = true,
    };
    http_put_answer(&w, &answer);
    ASSERT(writer_finish(&w));
    call->portal->counters.refusals++;
    sim_put_stream_send(call->out, session->stream, writer_view(&w));
    sim_put_stream_close(call->out, session->stream);
    session_free(session);
}

/* ---- who is it ---- */

struct visitor {
    struct portal_call *call;
    struct portal_session *session;
    const struct http_request *request;
    struct view token;
    uint8_t token_room[VALUE_SIZE];
    struct view external_id;
    uint8_t external_room[VALUE_SIZE];
    uint8_t public_key[32];
    bool has_key;
};

static void find_token(struct visitor *visitor)
{
    struct view header = visitor->request->authorization;
    size_t prefix = strlen(BEARER);
    if (header.len > prefix && view_equal_text(view_sub(header, 0, prefix), BEARER)) {
        visitor->token = view_sub(header, prefix, header.len - prefix);
        return;
    }
    struct span room = {visitor->token_room, VALUE_SIZE};
    if (!query_get(visitor->request->target, "token", room, &visitor->token)) {
        visitor->token = VIEW_EMPTY;
    }
}

static void find_identity(struct visitor *visitor)
{
    struct span room = {visitor->external_room, VALUE_SIZE};
    if (!query_get(visitor->request->target, "external_id", room, &visitor->external_id)) {
        visitor->external_id = VIEW_EMPTY;
    }
    uint8_t key_room[VALUE_SIZE];
    struct view key;
    visitor->has_key = query_get(visitor->request->target, "public_key",
                                 (struct span){key_room, VALUE_SIZE}, &key) &&
                       text_parse_base64(key, visitor->public_key, 32);
}

/* spec/portal.md section 10.2: the first word with one of these prefixes. */
static bool parse_version(struct view word, uint32_t version[3])
{
    struct view rest = word;
    for (uint32_t i = 0; i < 3; i++) {
        struct view part = until(rest, '.');
        uint64_t number;
        if (i == 2) {
            part = until(part, '-');
        }
        if (!text_parse_u64(part, &number) || number > 9999) {
            return false;
        }
        version[i] = (uint32_t)number;
        size_t used = part.len + 1 < rest.len ? part.len + 1 : rest.len;
        rest = view_sub(rest, used, rest.len - used);
    }
    return true;
}

static void find_version(struct portal_call *call, struct portal_session *session,
                         struct view user_agent)
{
    static const char *const prefixes[VERSION_WORDS] = {
        "relay/",        "connlib/",        "headless-client/", "gui-client/",
        "apple-client/", "android-client/", "gateway/",
    };
    uint32_t known = portal_is_head(call->portal) ? VERSION_WORDS : 2;
    struct view rest = user_agent;
    while (rest.len > 0) {
        struct view word = until(rest, ' ');
        for (uint32_t i = 0; i < known; i++) {
            size_t len = strlen(prefixes[i]);
            if (word.len > len && view_equal_text(view_sub(word, 0, len), prefixes[i])) {
                session->has_version =
                    parse_version(view_sub(word, len, word.len - len), session->version);
                return;
            }
        }
        rest = word.len < rest.len ? view_sub(rest, word.len + 1, rest.len - word.len - 1)
                                   : VIEW_EMPTY;
    }
}

static bool id_fits(const char *firezone_id, struct view external_id)
{
    if (firezone_id[0] == '\0' || external_id.len == 0) {
        return false;
    }
    uint8_t digest[SHA256_SIZE];
    uint8_t hex[2 * SHA256_SIZE];
    sha256(view_text(firezone_id), digest);
    struct writer w = writer_of((struct span){hex, sizeof hex});
    text_put_hex(&w, VIEW_OF(digest));
    return view_equal(external_id, writer_view(&w)) || view_equal_text(external_id, firezone_id);
}

/* Prefers the row with the right id, then one that this id claimed, then an unclaimed one. */
static uint32_t match_gateway(struct visitor *visitor, bool *token_known)
{
    struct sim_portal *portal = visitor->call->portal;
    uint32_t claimed = PORTAL_NOBODY;
    uint32_t unclaimed = PORTAL_NOBODY;
    *token_known = false;
    for (uint32_t i = 0; i < portal->policy->gateways_count; i++) {
        const struct sim_gateway_identity *identity = &portal->policy->gateways[i];
        const struct portal_gateway *gateway = &portal->gateways[i];
        if (gateway->token_invalid || gateway->removed ||
            !equal_text(visitor->token, identity->token)) {
            continue;
        }
        *token_known = true;
        if (id_fits(identity->firezone_id, visitor->external_id)) {
            return i;
        }
        if (equal_text(visitor->external_id, gateway->external_id)) {
            claimed = i;
        }
        if (identity->firezone_id[0] == '\0' && gateway->external_id[0] == '\0' &&
            unclaimed == PORTAL_NOBODY) {
            unclaimed = i;
        }
    }
    return claimed != PORTAL_NOBODY ? claimed : unclaimed;
}

static struct refusal invalid(const struct portal_call *call)
{
    return portal_is_head(call->portal) ? (struct refusal){400, "invalid_connect_params"}
                                        : (struct refusal){422, ""};
}

static struct refusal admit_gateway(struct visitor *visitor)
{
    struct portal_call *call = visitor->call;
    bool token_known;
    uint32_t row = match_gateway(visitor, &token_known);
    if (!token_known) {
        return (struct refusal){401, visitor->token.len > 0 ? "invalid_token" : "missing_token"};
    }
    if (row == PORTAL_NOBODY || !visitor->has_key || visitor->external_id.len == 0 ||
        visitor->external_id.len >= PORTAL_EXTERNAL_SIZE) {
        return invalid(call);
    }
    if (!portal_is_head(call->portal) && !visitor->session->has_version) {
        return invalid(call);
    }
    if (portal_is_head(call->portal) &&
        session_next(call->portal, NULL, SESSION_GATEWAY, row) != NULL) {
        return (struct refusal){409, "gateway_already_connected"};
    }
    struct portal_gateway *gateway = &call->portal->gateways[row];
    memset(gateway->external_id, 0, sizeof gateway->external_id);
    memcpy(gateway->external_id, visitor->external_id.at, visitor->external_id.len);
    memcpy(gateway->public_key, visitor->public_key, 32);
    gateway->has_key = true;
    memcpy(visitor->session->public_key, visitor->public_key, 32);
    visitor->session->kind = SESSION_GATEWAY;
    visitor->session->peer = row;
    return (struct refusal){0, NULL};
}

static bool client_token_fits(const struct sim_portal *portal, uint32_t client, struct view token)
{
    if (portal->clients[client].removed) {
        return false;
    }
    if (portal->clients[client].token[0] != '\0') {
        return view_equal_text(token, portal->clients[client].token);
    }
    struct uuid id;
    return uuid_parse(token, &id) && uuid_equal(&id, &portal->policy->clients[client].id);
}

static struct refusal admit_client(struct visitor *visitor)
{
    struct sim_portal *portal = visitor->call->portal;
    for (uint32_t i = 0; i < portal->policy->clients_count; i++) {
        if (!client_token_fits(portal, i, visitor->token)) {
            continue;
        }
        if (!visitor->has_key) {
            return invalid(visitor->call);
        }
        memcpy(portal->clients[i].public_key, visitor->public_key, 32);
        visitor->session->kind = SESSION_CLIENT;
        visitor->session->peer = i;
        return (struct refusal){0, NULL};
    }
    return (struct refusal){401, visitor->token.len > 0 ? "invalid_token" : "missing_token"};
}

static bool same_relay(const struct sim_relay_identity *row, const struct ip_addr *v4,
                       const struct ip_addr *v6, uint16_t port)
{
    bool same_v4 = v4->family != IP_NONE && ip_equal(&row->ipv4, v4);
    bool same_v6 = v6->family != IP_NONE && ip_equal(&row->ipv6, v6);
    return row->port == port && (same_v4 || same_v6);
}

/* V142's upsert key: address and port, so that a restarted relay keeps its id. */
static uint32_t relay_row(struct sim_portal *portal, struct ip_addr v4, struct ip_addr v6,
                          uint16_t port)
{
    struct sim_policy *policy = portal->policy;
    uint32_t row = 0;
    while (row < policy->relays_count &&
           (portal->relays[row].removed || !same_relay(&policy->relays[row], &v4, &v6, port))) {
        row++;
    }
    if (row >= SIM_RELAYS_MAX) {
        return PORTAL_NOBODY;
    }
    struct sim_relay_identity *identity = &policy->relays[row];
    if (row == policy->relays_count) {
        memset(identity, 0, sizeof *identity);
        struct sock_addr named = sock_addr_of(v4.family != IP_NONE ? v4 : v6, port);
        uint8_t bytes[19];
        memcpy(bytes, named.ip.bytes, 16);
        bytes[16] = named.ip.family;
        store_be16(bytes + 17, port);
        identity->id = shape_uuid(view_text("relay"), VIEW_OF(bytes));
        portal->relays[row] = (struct portal_relay){.session = PORTAL_NOBODY};
        policy->relays_count++;
    }
    identity->ipv4 = v4;
    identity->ipv6 = v6;
    identity->port = port;
    return row;
}

static struct refusal admit_relay(struct visitor *visitor)
{
    struct sim_portal *portal = visitor->call->portal;
    struct view target = visitor->request->target;
    uint8_t room[VALUE_SIZE];
    struct span span = {room, sizeof room};
    struct view value;
    struct ip_addr v4 = {0};
    struct ip_addr v6 = {0};
    uint16_t port = 0;
    if (portal->relay_token[0] != '\0' && !view_equal_text(visitor->token, portal->relay_token)) {
        return (struct refusal){401, "invalid_token"};
    }
    bool good = !query_get(target, "ipv4", span, &value) || value.len == 0 ||
                (ip_parse(value, &v4) && v4.family == IP_V4);
    good = good && (!query_get(target, "ipv6", span, &value) || value.len == 0 ||
                    (ip_parse(value, &v6) && v6.family == IP_V6));
    good = good && query_get(target, "port", span, &value) && text_parse_u16(value, &port);
    if (!good || (v4.family == IP_NONE && v6.family == IP_NONE)) {
        return invalid(visitor->call);
    }
    uint32_t row = relay_row(portal, v4, v6, port);
    if (row == PORTAL_NOBODY) {
        return (struct refusal){503, "limits_exceeded"};
    }
    visitor->session->kind = SESSION_RELAY;
    visitor->session->peer = row;
    return (struct refusal){0, NULL};
}

/* "/sim-client?id=UUID": lines instead of WebSocket, no answer header. */
static struct refusal admit_lines(struct visitor *visitor)
{
    struct sim_portal *portal = visitor->call->portal;
    uint8_t room[VALUE_SIZE];
    struct view value;
    struct uuid id;
    if (!query_get(visitor->request->target, "id", (struct span){room, sizeof room}, &value) ||
        !uuid_parse(value, &id)) {
        return invalid(visitor->call);
    }
    uint32_t client = sim_policy_client(portal->policy, &id);
    if (client == UINT32_MAX || portal->clients[client].removed) {
        return (struct refusal){401, "invalid_token"};
    }
    if (visitor->has_key) {
        memcpy(portal->clients[client].public_key, visitor->public_key, 32);
    }
    visitor->session->kind = SESSION_CLIENT;
    visitor->session->peer = client;
    visitor->session->lines = true;
    return (struct refusal){0, NULL};
}

static struct refusal admit(struct visitor *visitor)
{
    struct view path = until(visitor->request->target, '?');
    if (view_equal_text(path, "/sim-client")) {
        return admit_lines(visitor);
    }
    if (!visitor->request->upgrade) {
        return (struct refusal){400, "invalid_connect_params"};
    }
    if (view_equal_text(path, "/gateway/websocket")) {
        return admit_gateway(visitor);
    }
    if (view_equal_text(path, "/gateway/v2/websocket") && portal_is_head(visitor->call->portal)) {
        visitor->session->v2 = true;
        return admit_gateway(visitor);
    }
    if (view_equal_text(path, "/client/websocket")) {
        return admit_client(visitor);
    }
    if (view_equal_text(path, "/relay/websocket")) {
        return admit_relay(visitor);
    }
    return (struct refusal){404, "not_found"};
}

/* ---- the upgrade ---- */

/* True when a standing fault took care of the request. */
static bool misbehaves(struct portal_call *call, struct portal_session *session)
{
    struct sim_portal_faults *faults = &call->portal->faults;
    if (faults->ignore_upgrades) {
        session->mute = true;
        return true;
    }
    if (faults->http_garbage) {
        sim_put_stream_send(call->out, session->stream, view_text("SSH-2.0-portal\r\n\r\n"));
        sim_put_stream_close(call->out, session->stream);
        call->portal->counters.refusals++;
        session_free(session);
        return true;
    }
    if (faults->http_status == 0) {
        return false;
    }
    struct refusal refusal = {faults->http_status, "rate_limit"};
    if (faults->http_count > 0 && --faults->http_count == 0) {
        faults->http_status = 0;
    }
    refuse(call, session, &refusal, faults->http_retry_after_s);
    return true;
}

static void upgrade(struct portal_call *call, struct portal_session *session,
                    const struct http_request *request)
{
    session_observe(call, session, false, request->target);
    bool lines = view_equal_text(until(request->target, '?'), "/sim-client");
    if (!lines && misbehaves(call, session)) {
        return;
    }
    struct visitor visitor = {.call = call, .session = session, .request = request};
    find_token(&visitor);
    find_identity(&visitor);
    find_version(call, session, request->user_agent);
    struct refusal refusal = admit(&visitor);
    if (refusal.status != 0) {
        session->kind = SESSION_NEW;
        refuse(call, session, &refusal, 0);
        return;
    }
    call->portal->counters.upgrades++;
    if (session->lines) {
        return;
    }
    uint8_t bytes[ANSWER_SIZE];
    struct writer w = writer_of((struct span){bytes, sizeof bytes});
    http_put_upgrade_response(&w, request->ws_key);
    ASSERT(writer_finish(&w));
    sim_put_stream_send(call->out, session->stream, writer_view(&w));
    enum err err = ws_init(&session->ws, WS_SERVER, &call->portal->rng);
    ASSERT(err == ERR_NONE);
}

size_t portal_http_feed(struct portal_call *call, struct portal_session *session, struct view bytes)
{
    struct http_request request;
    size_t consumed = 0;
    switch (http_handle_request(&session->head, bytes, &consumed, &request)) {
    case HTTP_MORE:
        return bytes.len;
    case HTTP_DONE:
        upgrade(call, session, &request);
        return consumed;
    case HTTP_MALFORMED:
        refuse(call, session, &(struct refusal){400, "invalid_connect_params"}, 0);
        return bytes.len;
    }
    UNREACHABLE();
}
