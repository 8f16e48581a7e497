#include "gateway/gateway_http.h"

#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "gateway/gateway_place.h"

static struct gateway_http_stream *find(struct gateway_http *http, uint32_t stream)
{
    for (size_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
        if (http->streams[i].stream == stream) {
            return &http->streams[i];
        }
    }
    return NULL;
}

static void release(struct gateway_http_stream *s)
{
    s->stream = 0;
    s->request_used = 0;
    s->answering = false;
    s->blocked = false;
    s->answer_len = 0;
    s->answer_sent = 0;
}

/* A place in the full table: a connection of who has most has to end; NULL: none for this one. */
static struct gateway_http_stream *displace(struct gateway_http *http,
                                            const struct ip_addr *newcomer)
{
    struct gateway_place places[GATEWAY_HTTP_STREAMS_MAX];
    for (size_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
        const struct gateway_http_stream *s = &http->streams[i];
        places[i] = (struct gateway_place){s->remote, s->opened_at, false};
    }
    size_t at = gateway_place_find(places, GATEWAY_HTTP_STREAMS_MAX, newcomer);
    return at < GATEWAY_HTTP_STREAMS_MAX ? &http->streams[at] : NULL;
}

static void accept_stream(struct gateway_http *http, const struct gateway_stream_event *event,
                          struct instant now)
{
    struct gateway_http_stream *s = find(http, 0);
    bool is_full = s == NULL;
    s = is_full ? displace(http, &event->remote.ip) : s;
    if (is_full && http->refused_count < GATEWAY_HTTP_STREAMS_MAX) {
        http->refused[http->refused_count++] = s != NULL ? s->stream : event->stream;
    }
    if (s != NULL) {
        release(s);
        s->stream = event->stream;
        s->remote = event->remote.ip;
        s->opened_at = now;
    }
}

static void put_metric(struct writer *w, const char *name, uint64_t value)
{
    writer_text(w, "firezone_gateway_");
    writer_text(w, name);
    text_put_char(w, ' ');
    text_put_u64(w, value);
    text_put_char(w, '\n');
}

static void put_io(struct writer *w, const struct gateway_io_counters *io)
{
    put_metric(w, "wakeups_total", io->wakeups);
    put_metric(w, "udp_receive_calls_total", io->udp_receive_calls);
    put_metric(w, "udp_receive_messages_total", io->udp_receive_messages);
    put_metric(w, "udp_send_calls_total", io->udp_send_calls);
    put_metric(w, "udp_send_errors_total", io->udp_send_errors);
    put_metric(w, "tun_read_calls_total", io->tun_read_calls);
    put_metric(w, "tun_write_calls_total", io->tun_write_calls);
    put_metric(w, "tun_write_errors_total", io->tun_write_errors);
    put_metric(w, "longest_step_ns", io->longest_step_ns);
    put_metric(w, "udp_receive_lost_total", io->udp_receive_lost);
}

/* A histogram of Prometheus: cumulative buckets, sum and count. */
static void put_lookups(struct writer *w, const struct gateway_counters *c)
{
    static const uint64_t bounds_ms[] = GATEWAY_LOOKUP_BOUNDS_MS;
    for (size_t i = 0; i < GATEWAY_LOOKUP_BOUNDS; i++) {
        writer_text(w, "firezone_gateway_lookup_milliseconds_bucket{le=\"");
        text_put_u64(w, bounds_ms[i]);
        writer_text(w, "\"} ");
        text_put_u64(w, c->lookups_within[i]);
        text_put_char(w, '\n');
    }
    put_metric(w, "lookup_milliseconds_bucket{le=\"+Inf\"}", c->lookups_done);
    put_metric(w, "lookup_milliseconds_sum", c->lookups_ms);
    put_metric(w, "lookup_milliseconds_count", c->lookups_done);
    put_metric(w, "lookups_failed_total", c->lookups_failed);
}

static void put_metrics(struct writer *w, const struct gateway_http_facts *facts)
{
    const struct gateway_counters *c = facts->counters;
    put_metric(w, "build_info{version=\"" GATEWAY_VERSION "\"}", 1);
    put_metric(w, "udp_in_datagrams_total", c->udp_in_datagrams);
    put_metric(w, "udp_in_bytes_total", c->udp_in_bytes);
    put_metric(w, "udp_out_datagrams_total", c->udp_out_datagrams);
    put_metric(w, "udp_out_bytes_total", c->udp_out_bytes);
    put_metric(w, "tun_in_packets_total", c->tun_in_packets);
    put_metric(w, "tun_in_segments_total", c->tun_in_segments);
    put_metric(w, "tun_in_bytes_total", c->tun_in_bytes);
    put_metric(w, "tun_out_packets_total", c->tun_out_packets);
    put_metric(w, "tun_out_bytes_total", c->tun_out_bytes);
    put_metric(w, "icmp_generated_total", c->icmp_generated);
    put_metric(w, "aead_sealed_total", c->aead_sealed);
    put_metric(w, "aead_seal_batches_total", c->aead_seal_batches);
    put_metric(w, "aead_opened_total", c->aead_opened);
    put_metric(w, "aead_open_batches_total", c->aead_open_batches);
    put_io(w, &c->io);
    put_metric(w, "handshakes_total", c->handshakes);
    put_metric(w, "clients", c->clients);
    put_metric(w, "clients_limit", facts->limits->clients);
    put_metric(w, "connections", c->connections);
    put_metric(w, "connections_by_path{path=\"direct\"}", c->connections_direct);
    put_metric(w, "connections_by_path{path=\"relayed\"}", c->connections_relayed);
    put_metric(w, "connections_failed_total", c->connections_failed);
    put_metric(w, "relays", c->relays);
    put_metric(w, "relays_allocated", facts->allocations);
    put_metric(w, "relays_limit", facts->limits->relays);
    put_metric(w, "nat_sessions", c->nat_sessions);
    put_metric(w, "nat_sessions_limit", facts->limits->nat_sessions);
    put_metric(w, "nat_sessions_per_client_limit", facts->limits->nat_sessions_per_client);
    put_metric(w, "lookups", c->lookups);
    put_metric(w, "lookups_limit", facts->limits->lookups);
    put_metric(w, "flows_limit", facts->limits->flows);
    put_metric(w, "flows_missed_total", c->flows_missed);
    put_lookups(w, c);
    put_metric(w, "portal_joined", facts->portal_joined ? 1 : 0);
    put_metric(w, "portal_connects_total", c->portal_connects);
    put_metric(w, "portal_joins_total", c->portal_joins);
    put_metric(w, "portal_losses_total", c->portal_losses);
    for (int reason = DROP_NONE + 1; reason < DROP_COUNT; reason++) {
        writer_text(w, "firezone_gateway_dropped_total{reason=\"");
        writer_text(w, drop_label((enum drop_reason)reason));
        writer_text(w, "\"} ");
        text_put_u64(w, c->drops[reason]);
        text_put_char(w, '\n');
    }
}

static void answer_with(struct gateway_http_stream *s, const char *status, const char *type,
                        struct view body, bool head)
{
    struct writer w = writer_of((struct span){s->answer, sizeof(s->answer)});
    writer_text(&w, "HTTP/1.1 ");
    writer_text(&w, status);
    writer_text(&w, "\r\ncontent-type: ");
    writer_text(&w, type);
    writer_text(&w, "\r\nconnection: close\r\ncontent-length: ");
    text_put_u64(&w, body.len);
    writer_text(&w, "\r\n\r\n");
    if (!head) {
        writer_bytes(&w, body);
    }
    ASSERT(writer_finish(&w));
    s->answer_len = (uint32_t)w.used;
    s->answering = true;
}

static void answer(struct gateway_http_stream *s, const char *status, struct view body, bool head)
{
    answer_with(s, status, "text/plain; charset=utf-8", body, head);
}

static void put_flag(struct writer *w, const char *name, bool value)
{
    writer_text(w, name);
    writer_text(w, value ? "true" : "false");
}

static void answer_ready(struct gateway_http_stream *s, const struct gateway_http_facts *facts,
                         bool head)
{
    uint8_t body[256];
    struct writer w = writer_of((struct span){body, sizeof(body)});
    bool relayed = facts->counters->relays == 0 || facts->allocations > 0;
    bool ready = facts->portal_joined && facts->initialised && facts->tun_up && relayed;
    put_flag(&w, "{\"ready\":", ready);
    put_flag(&w, ",\"portal_joined\":", facts->portal_joined);
    put_flag(&w, ",\"initialised\":", facts->initialised);
    put_flag(&w, ",\"tun_up\":", facts->tun_up);
    writer_text(&w, ",\"relays\":");
    text_put_u64(&w, facts->counters->relays);
    writer_text(&w, ",\"allocations\":");
    text_put_u64(&w, facts->allocations);
    writer_text(&w, "}\n");
    ASSERT(writer_finish(&w));
    answer_with(s, ready ? "200 OK" : "503 Service Unavailable", "application/json",
                writer_view(&w), head);
}

/* Cuts the next word of the request line. */
static struct view take_word(struct view *line)
{
    size_t len = 0;
    while (len < line->len && line->at[len] != ' ') {
        len++;
    }
    struct view word = view_sub(*line, 0, len);
    size_t skip = len < line->len ? len + 1 : len;
    *line = view_sub(*line, skip, line->len - skip);
    return word;
}

static void answer_request(struct gateway_http_stream *s, struct view line,
                           const struct gateway_http_facts *facts)
{
    struct view method = take_word(&line);
    struct view path = take_word(&line);
    bool head = view_equal_text(method, "HEAD");
    if (line.len != 8 || !view_equal_text(view_sub(line, 0, 7), "HTTP/1.")) {
        answer(s, "400 Bad Request", VIEW_EMPTY, false);
    } else if (!head && !view_equal_text(method, "GET")) {
        answer(s, "405 Method Not Allowed", VIEW_EMPTY, false);
    } else if (view_equal_text(path, "/healthz")) {
        answer(s, "200 OK", VIEW_EMPTY, head);
    } else if (view_equal_text(path, "/readyz")) {
        answer_ready(s, facts, head);
    } else if (view_equal_text(path, "/metrics")) {
        /* The text is written behind where the head will stand, then moved in front by answer(). */
        struct writer w = writer_of((struct span){s->answer + 512, sizeof(s->answer) - 512});
        put_metrics(&w, facts);
        ASSERT(writer_finish(&w));
        struct view body = writer_view(&w);
        struct writer h = writer_of((struct span){s->answer, 512});
        writer_text(&h, "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n"
                        "connection: close\r\ncontent-length: ");
        text_put_u64(&h, body.len);
        writer_text(&h, "\r\n\r\n");
        ASSERT(writer_finish(&h));
        if (!head) {
            memmove(s->answer + h.used, body.at, body.len);
        }
        s->answer_len = (uint32_t)(h.used + (head ? 0 : body.len));
        s->answering = true;
    } else {
        answer(s, "404 Not Found", VIEW_EMPTY, head);
    }
}

/* Returns the length of the request line once the empty line has arrived, else 0. */
static size_t complete_request_line(struct view request)
{
    size_t line = 0;
    for (size_t i = 0; i + 1 < request.len; i++) {
        if (request.at[i] != '\r' || request.at[i + 1] != '\n') {
            continue;
        }
        line = line == 0 ? i : line;
        if (i + 3 < request.len && request.at[i + 2] == '\r' && request.at[i + 3] == '\n') {
            return line;
        }
    }
    return 0;
}

static void take_bytes(struct gateway_http_stream *s, struct view bytes,
                       const struct gateway_http_facts *facts)
{
    if (s->answering) {
        return;
    }
    size_t room = sizeof(s->request) - s->request_used;
    size_t take = bytes.len < room ? bytes.len : room;
    memcpy(s->request + s->request_used, bytes.at, take);
    s->request_used = (uint16_t)(s->request_used + take);
    struct view request = {s->request, s->request_used};
    size_t line = complete_request_line(request);
    if (line > 0) {
        answer_request(s, view_sub(request, 0, line), facts);
    } else if (take < bytes.len || s->request_used == sizeof(s->request)) {
        answer(s, "431 Request Header Fields Too Large", VIEW_EMPTY, false);
    }
}

void gateway_http_handle(struct gateway_http *http, const struct gateway_stream_event *event,
                         const struct gateway_http_facts *facts, struct instant now)
{
    struct gateway_http_stream *s = find(http, event->stream);
    http->is_drained = false;
    switch (event->kind) {
    case GATEWAY_STREAM_ACCEPTED:
        accept_stream(http, event, now);
        break;
    case GATEWAY_STREAM_BYTES:
        if (s != NULL && event->bytes.len > 0) {
            take_bytes(s, event->bytes, facts);
        }
        break;
    case GATEWAY_STREAM_WRITABLE:
        if (s != NULL) {
            s->blocked = false;
        }
        break;
    case GATEWAY_STREAM_CLOSED:
        if (s != NULL) {
            release(s);
        }
        break;
    case GATEWAY_STREAM_ENDED:
        if (s != NULL) {
            s->answering = true; /* without a whole request the answer is empty */
        }
        break;
    case GATEWAY_STREAM_OPENED:
        break;
    }
}

void gateway_http_sent(struct gateway_http *http, uint32_t stream, size_t taken)
{
    struct gateway_http_stream *s = find(http, stream);
    if (s != NULL) {
        size_t left = s->answer_len - s->answer_sent;
        s->blocked = taken < left;
        s->answer_sent += (uint32_t)(taken < left ? taken : left);
    }
}

static bool poll_any(struct gateway_http *http, struct gateway_output *out)
{
    if (http->refused_count > 0) {
        out->kind = GATEWAY_OUT_STREAM_CLOSE;
        out->u.close = http->refused[--http->refused_count];
        return true;
    }
    for (size_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
        struct gateway_http_stream *s = &http->streams[i];
        if (s->stream == 0 || !s->answering || s->blocked) {
            continue;
        }
        if (s->answer_sent == s->answer_len) {
            out->kind = GATEWAY_OUT_STREAM_CLOSE;
            out->u.close = s->stream;
            release(s);
        } else {
            out->kind = GATEWAY_OUT_STREAM_SEND;
            out->u.send.stream = s->stream;
            out->u.send.bytes =
                (struct view){s->answer + s->answer_sent, s->answer_len - s->answer_sent};
        }
        return true;
    }
    return false;
}

static struct wake find_wake(const struct gateway_http *http)
{
    struct wake wake = WAKE_NEVER;
    for (size_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
        const struct gateway_http_stream *s = &http->streams[i];
        bool closing = s->answering && s->answer_sent == s->answer_len;
        if (s->stream != 0 && !closing) {
            struct instant at = instant_add(s->opened_at, DURATION_S(GATEWAY_HTTP_IDLE_S));
            wake = wake_min(wake, (struct wake){at, "health request"});
        }
    }
    return wake;
}

bool gateway_http_poll(struct gateway_http *http, struct gateway_output *out)
{
    if (http->is_drained) {
        return false;
    }
    if (poll_any(http, out)) {
        return true;
    }
    http->is_drained = true;
    http->wake = find_wake(http);
    return false;
}

void gateway_http_handle_timeout(struct gateway_http *http, struct instant now)
{
    http->is_drained = false;
    for (size_t i = 0; i < GATEWAY_HTTP_STREAMS_MAX; i++) {
        struct gateway_http_stream *s = &http->streams[i];
        if (s->stream != 0 &&
            instant_reached(now, instant_add(s->opened_at, DURATION_S(GATEWAY_HTTP_IDLE_S)))) {
            s->answering = true; /* nothing more to send: poll closes it */
            s->blocked = false;
            s->answer_sent = s->answer_len;
        }
    }
}

struct wake gateway_http_poll_timeout(const struct gateway_http *http)
{
    return http->is_drained ? http->wake : find_wake(http);
}

void gateway_http_check(const struct gateway_http *http)
{
    ASSERT(!http->is_drained || http->wake.at.ns == find_wake(http).at.ns);
}
