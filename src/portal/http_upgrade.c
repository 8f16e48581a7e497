#include "portal/http_upgrade.h"

#include "base/assert.h"
#include "base/text.h"
#include "crypto/sha1.h"
#include "portal/http_date.h"

#define WS_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 section 1.3 */

/* ---- parts ---- */

void http_ws_accept(struct view ws_key, uint8_t out[HTTP_WS_ACCEPT_SIZE])
{
    uint8_t digest[SHA1_SIZE];
    struct writer w = writer_of((struct span){out, HTTP_WS_ACCEPT_SIZE});
    sha1_digest2(ws_key, view_text(WS_GUID), digest);
    text_put_base64(&w, VIEW_OF(digest), true);
    ASSERT(writer_finish(&w) && w.used == HTTP_WS_ACCEPT_SIZE);
}

static void put_key(struct writer *w, const uint8_t nonce[HTTP_WS_NONCE_SIZE])
{
    text_put_base64(w, (struct view){nonce, HTTP_WS_NONCE_SIZE}, true);
}

/* Writes printable ASCII and leaves everything else out. */
static void put_printable(struct writer *w, struct view text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] >= 0x20 && text.at[i] < 0x7f) {
            writer_u8(w, text.at[i]);
        }
    }
}

/* ---- client ---- */

void http_put_upgrade_request(struct writer *w, const struct http_request_fields *fields)
{
    writer_text(w, "GET ");
    writer_bytes(w, fields->target);
    writer_text(w, " HTTP/1.1\r\nHost: ");
    writer_bytes(w, fields->host);
    writer_text(w, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    put_key(w, fields->nonce);
    writer_text(w, "\r\nuser-agent: ");
    put_printable(w, fields->user_agent);
    if (fields->token.len > 0) {
        writer_text(w, "\r\nX-Authorization: Bearer ");
        put_printable(w, fields->token);
    }
    writer_text(w, "\r\n\r\n");
}

/* HTTP/1.x SP 3 digits, then SP and any reason, or nothing. */
static bool parse_status_line(struct view line, uint16_t *status)
{
    struct view rest;
    struct view version = http_split(line, ' ', &rest);
    struct view digits = http_split(rest, ' ', &rest);
    return version.len == 8 && view_equal_text(view_sub(version, 0, 7), "HTTP/1.") &&
           (version.at[7] == '0' || version.at[7] == '1') && digits.len == 3 &&
           text_parse_u16(digits, status) && *status >= 100;
}

static uint64_t read_retry_after(const struct http_head *head, uint64_t unix_s)
{
    struct view value;
    uint64_t number = 0;
    if (!http_header(head, "Retry-After", &value)) {
        return HTTP_RETRY_AFTER_NONE;
    }
    if (text_parse_u64(value, &number) && number != HTTP_RETRY_AFTER_NONE) {
        return number;
    }
    if (http_parse_date(value, &number)) {
        return number > unix_s ? number - unix_s : 0;
    }
    return HTTP_RETRY_AFTER_NONE;
}

/* Checks a 101 (RFC 6455 section 4.1); NULL when all is well. */
static const char *refuse_upgrade(const struct http_head *head,
                                  const uint8_t nonce[HTTP_WS_NONCE_SIZE])
{
    uint8_t key[HTTP_WS_KEY_SIZE];
    uint8_t accept[HTTP_WS_ACCEPT_SIZE];
    struct view value;
    struct writer w = writer_of((struct span){key, sizeof(key)});
    put_key(&w, nonce);
    ASSERT(writer_finish(&w));
    http_ws_accept(VIEW_OF(key), accept);
    if (!http_header(head, "Upgrade", &value) ||
        !view_equal_nocase(value, view_text("websocket"))) {
        return "the answer does not upgrade to a WebSocket";
    }
    if (!http_header_has_token(head, "Connection", "upgrade")) {
        return "the answer has no Connection: Upgrade";
    }
    if (!http_header(head, "Sec-WebSocket-Accept", &value) || !view_equal(value, VIEW_OF(accept))) {
        return "the answer does not prove the WebSocket handshake";
    }
    if (http_header(head, "Sec-WebSocket-Protocol", &value)) {
        return "the answer chose a subprotocol that was not offered";
    }
    if (http_header(head, "Sec-WebSocket-Extensions", &value) && value.len > 0) {
        return "the answer chose an extension that was not offered";
    }
    return NULL;
}

enum http_verdict http_handle_response(struct http_head *head, struct view bytes,
                                       const uint8_t nonce[HTTP_WS_NONCE_SIZE], uint64_t unix_s,
                                       size_t *consumed, struct http_response *out)
{
    enum http_verdict verdict = http_head_feed(head, bytes, consumed);
    if (verdict != HTTP_DONE) {
        return verdict;
    }
    struct http_response response = {.retry_after_s = read_retry_after(head, unix_s)};
    if (!parse_status_line(http_head_start_line(head), &response.status)) {
        return HTTP_MALFORMED;
    }
    if (response.status == 101) {
        response.refusal = refuse_upgrade(head, nonce);
        response.upgraded = response.refusal == NULL;
    }
    *out = response;
    return HTTP_DONE;
}

/* ---- server ---- */

static bool parse_request_line(struct view line, struct http_request *out)
{
    struct view rest;
    out->method = http_split(line, ' ', &rest);
    out->target = http_split(rest, ' ', &rest);
    out->keep_alive = view_equal_text(rest, "HTTP/1.1");
    return out->method.len > 0 && out->target.len > 0 &&
           (out->keep_alive || view_equal_text(rest, "HTTP/1.0"));
}

static void find_header(const struct http_head *head, const char *name, struct view *out)
{
    if (!http_header(head, name, out)) {
        *out = VIEW_EMPTY;
    }
}

static bool is_upgrade(const struct http_head *head, const struct http_request *request)
{
    uint8_t nonce[HTTP_WS_NONCE_SIZE];
    struct view version;
    struct view upgrade;
    find_header(head, "Sec-WebSocket-Version", &version);
    find_header(head, "Upgrade", &upgrade);
    return view_equal_text(request->method, "GET") && view_equal_text(version, "13") &&
           view_equal_nocase(upgrade, view_text("websocket")) &&
           http_header_has_token(head, "Connection", "upgrade") &&
           text_parse_base64(request->ws_key, nonce, sizeof(nonce));
}

enum http_verdict http_handle_request(struct http_head *head, struct view bytes, size_t *consumed,
                                      struct http_request *out)
{
    enum http_verdict verdict = http_head_feed(head, bytes, consumed);
    if (verdict != HTTP_DONE) {
        return verdict;
    }
    struct http_request request = {.upgrade = false};
    if (!parse_request_line(http_head_start_line(head), &request)) {
        return HTTP_MALFORMED;
    }
    if (http_header_has_token(head, "Connection", "close")) {
        request.keep_alive = false;
    }
    find_header(head, "Host", &request.host);
    find_header(head, "User-Agent", &request.user_agent);
    find_header(head, "X-Authorization", &request.authorization);
    find_header(head, "Sec-WebSocket-Key", &request.ws_key);
    request.upgrade = is_upgrade(head, &request);
    *out = request;
    return HTTP_DONE;
}

void http_put_upgrade_response(struct writer *w, struct view ws_key)
{
    uint8_t accept[HTTP_WS_ACCEPT_SIZE];
    http_ws_accept(ws_key, accept);
    writer_text(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                   "Upgrade: websocket\r\nSec-WebSocket-Accept: ");
    writer_bytes(w, VIEW_OF(accept));
    writer_text(w, "\r\n\r\n");
}

void http_put_answer(struct writer *w, const struct http_answer *answer)
{
    writer_text(w, "HTTP/1.1 ");
    text_put_u64(w, answer->status);
    writer_text(w, " ");
    writer_text(w, answer->reason);
    if (answer->content_type != NULL) {
        writer_text(w, "\r\nContent-Type: ");
        writer_text(w, answer->content_type);
    }
    if (answer->retry_after_s != HTTP_RETRY_AFTER_NONE) {
        writer_text(w, "\r\nRetry-After: ");
        text_put_u64(w, answer->retry_after_s);
    }
    writer_text(w, answer->close ? "\r\nConnection: close" : "");
    writer_text(w, "\r\nContent-Length: ");
    text_put_u64(w, answer->body.len);
    writer_text(w, "\r\n\r\n");
    if (!answer->head_only) {
        writer_bytes(w, answer->body);
    }
}
