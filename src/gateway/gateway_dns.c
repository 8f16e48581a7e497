#include "gateway/gateway_dns.h"

#include <string.h>

#include "base/assert.h"
#include "gateway/gateway_place.h"

static struct gateway_dns_stream *find_stream(struct gateway_dns *dns, uint32_t stream)
{
    for (size_t i = 0; i < GATEWAY_DNS_STREAMS_MAX; i++) {
        if (dns->streams[i].stream == stream) {
            return &dns->streams[i];
        }
    }
    return NULL;
}

bool gateway_dns_owns(const struct gateway_dns *dns, uint32_t stream)
{
    for (size_t i = 0; i < GATEWAY_DNS_STREAMS_MAX; i++) {
        if (dns->streams[i].stream == stream) {
            return true;
        }
    }
    return false;
}

/* ---- answers ---- */

/* Puts an answer on its way, under the client's id: into the connection's buffer, or into the one
 * for UDP. Asserts: it fits where it goes to, and the one for UDP is free: an input makes one
 * answer over UDP at most, and the outputs of an input leave before the next. */
static void deliver(struct gateway_dns *dns, struct gateway_dns_query *q, struct view message)
{
    q->used = false;
    if (q->stream != 0) {
        struct gateway_dns_stream *s = find_stream(dns, q->stream);
        if (s != NULL) {
            ASSERT(message.len <= GATEWAY_DNS_ANSWER_MAX);
            store_be16(s->answer, (uint16_t)message.len);
            memcpy(s->answer + 2, message.at, message.len);
            memcpy(s->answer + 2, q->bytes, 2);
            s->answer_len = (uint32_t)message.len + 2;
            s->answer_sent = 0;
            s->asking = false;
        }
        return;
    }
    ASSERT(!dns->answer_due);
    uint8_t room[DNS_UDP_SIZE_MAX + 1]; /* of a longer message only header and question are left */
    size_t len = message.len < sizeof(room) ? message.len : sizeof(room);
    memcpy(room, message.at, len);
    memcpy(room, q->bytes, 2);
    len = dns_msg_truncate((struct span){room, len}, sizeof(dns->answer));
    memcpy(dns->answer, room, len);
    dns->answer_len = len;
    dns->answer_listener = q->listener;
    dns->answer_remote = q->remote;
    dns->answer_due = len > 0;
}

static void deliver_empty(struct gateway_dns *dns, struct gateway_dns_query *q,
                          enum dns_rcode rcode)
{
    uint8_t room[DNS_HEADER_SIZE + DNS_NAME_SIZE_MAX + 4];
    struct writer w = writer_of((struct span){room, sizeof(room)});
    struct dns_msg query;
    if (dns_msg_parse((struct view){q->bytes, q->len}, &query) != DROP_NONE) {
        q->used = false;
        return;
    }
    dns_msg_put_empty(&w, &query, rcode);
    ASSERT(writer_finish(&w));
    deliver(dns, q, writer_view(&w));
}

/* ---- queries ---- */

static struct gateway_dns_query *free_query(struct gateway_dns *dns)
{
    for (size_t i = 0; i < GATEWAY_DNS_QUERIES_MAX; i++) {
        if (!dns->queries[i].used) {
            return &dns->queries[i];
        }
    }
    return NULL;
}

struct asked {
    struct view bytes;
    enum gateway_listener listener;
    uint32_t stream;
    struct sock_addr remote;
};

static void fill_query(struct gateway_dns_query *q, const struct asked *asked, uint16_t type,
                       struct instant now)
{
    q->used = true;
    q->due = true;
    q->listener = asked->listener;
    q->stream = asked->stream;
    q->remote = asked->remote;
    q->deadline = instant_add(now, DURATION_S(GATEWAY_DNS_TIMEOUT_S));
    q->type = type;
    q->len = (uint16_t)asked->bytes.len;
    memcpy(q->bytes, asked->bytes.at, asked->bytes.len);
}

/* A place in the full table: the oldest query of who has most gets SERVFAIL; NULL: none for this
 * one. */
static struct gateway_dns_query *displace_query(struct gateway_dns *dns,
                                                const struct ip_addr *newcomer)
{
    struct gateway_place places[GATEWAY_DNS_QUERIES_MAX];
    for (size_t i = 0; i < GATEWAY_DNS_QUERIES_MAX; i++) {
        const struct gateway_dns_query *q = &dns->queries[i];
        places[i] = (struct gateway_place){q->remote.ip, q->deadline, false};
    }
    size_t at = gateway_place_find(places, GATEWAY_DNS_QUERIES_MAX, newcomer);
    if (at == GATEWAY_DNS_QUERIES_MAX || dns->answer_due) {
        return NULL;
    }
    deliver_empty(dns, &dns->queries[at], DNS_SERVFAIL);
    return &dns->queries[at];
}

static enum drop_reason ask(struct gateway_dns *dns, const struct asked *asked, uint32_t *next_id,
                            struct instant now)
{
    struct dns_msg query;
    struct gateway_dns_query refused;
    if (asked->bytes.len > GATEWAY_DNS_QUERY_MAX ||
        dns_msg_parse(asked->bytes, &query) != DROP_NONE || dns_msg_is_response(&query)) {
        return DROP_DNS_MALFORMED;
    }
    uint16_t type = query.question.type;
    bool is_served =
        (type == DNS_TYPE_SRV || type == DNS_TYPE_TXT) && query.question.class == DNS_CLASS_IN;
    struct gateway_dns_query *q = is_served ? free_query(dns) : &refused;
    bool is_full = q == NULL;
    q = is_full ? displace_query(dns, &asked->remote.ip) : q;
    q = q == NULL ? &refused : q;
    fill_query(q, asked, type, now);
    if (q == &refused) {
        deliver_empty(dns, q, is_served ? DNS_SERVFAIL : DNS_REFUSED);
    } else {
        q->lookup = (*next_id)++;
    }
    return is_full ? DROP_P2P_BUSY : DROP_NONE;
}

enum drop_reason gateway_dns_handle_datagram(struct gateway_dns *dns,
                                             const struct gateway_listener_datagram *datagram,
                                             uint32_t *next_id, struct instant now)
{
    struct asked asked = {datagram->bytes, datagram->listener, 0, datagram->remote};
    dns->is_drained = false;
    return ask(dns, &asked, next_id, now);
}

/* Starts the query of a connection once its two length bytes and its body are there. */
static enum drop_reason try_ask(struct gateway_dns *dns, struct gateway_dns_stream *s,
                                uint32_t *next_id, struct instant now)
{
    bool busy = s->asking || s->answer_sent < s->answer_len;
    if (busy || s->used < 2 || s->used < 2 + load_be16(s->bytes)) {
        return DROP_NONE;
    }
    uint16_t len = load_be16(s->bytes);
    struct asked asked = {
        {s->bytes + 2, len}, GATEWAY_LISTENER_DNS_TCP4, s->stream, {s->remote, 0}};
    s->asking = true;
    s->moved_at = now;
    enum drop_reason reason = ask(dns, &asked, next_id, now);
    s->used = (uint16_t)(s->used - 2 - len);
    memmove(s->bytes, s->bytes + 2 + len, s->used);
    s->closing = s->closing || reason == DROP_DNS_MALFORMED;
    return reason;
}

static enum drop_reason take_bytes(struct gateway_dns *dns, struct gateway_dns_stream *s,
                                   struct view bytes, uint32_t *next_id, struct instant now)
{
    if (s->closing || bytes.len > sizeof(s->bytes) - s->used) {
        s->closing = true;
        return DROP_DNS_MALFORMED;
    }
    memcpy(s->bytes + s->used, bytes.at, bytes.len);
    s->used = (uint16_t)(s->used + bytes.len);
    if (s->used >= 2 && load_be16(s->bytes) > GATEWAY_DNS_QUERY_MAX) {
        s->closing = true;
        return DROP_DNS_MALFORMED;
    }
    return try_ask(dns, s, next_id, now);
}

/* A place in the full table: a connection of who has most, or one where nothing goes on, has to
 * end; NULL: none for this one. */
static struct gateway_dns_stream *displace_stream(struct gateway_dns *dns,
                                                  const struct ip_addr *newcomer)
{
    struct gateway_place places[GATEWAY_DNS_STREAMS_MAX];
    for (size_t i = 0; i < GATEWAY_DNS_STREAMS_MAX; i++) {
        const struct gateway_dns_stream *s = &dns->streams[i];
        bool is_idle = !s->asking && s->used == 0 && s->answer_sent == s->answer_len;
        places[i] = (struct gateway_place){s->remote, s->moved_at, is_idle};
    }
    size_t at = gateway_place_find(places, GATEWAY_DNS_STREAMS_MAX, newcomer);
    return at < GATEWAY_DNS_STREAMS_MAX ? &dns->streams[at] : NULL;
}

static enum drop_reason accept_stream(struct gateway_dns *dns,
                                      const struct gateway_stream_event *event, struct instant now)
{
    struct gateway_dns_stream *s = find_stream(dns, 0);
    bool is_full = s == NULL;
    s = is_full ? displace_stream(dns, &event->remote.ip) : s;
    if (is_full && dns->refused_count < GATEWAY_DNS_STREAMS_MAX) {
        dns->refused[dns->refused_count++] = s != NULL ? s->stream : event->stream;
    }
    if (s != NULL) {
        s->stream = event->stream;
        s->remote = event->remote.ip;
        s->moved_at = now;
        s->used = 0;
        s->asking = false;
        s->ended = false;
        s->closing = false;
        s->blocked = false;
        s->answer_len = 0;
        s->answer_sent = 0;
    }
    return is_full ? DROP_P2P_BUSY : DROP_NONE;
}

/* Closes a connection whose client ended its side, once nothing is left to answer. */
static void close_ended(struct gateway_dns_stream *s)
{
    s->closing = s->closing || (s->ended && !s->asking && s->answer_sent == s->answer_len);
}

enum drop_reason gateway_dns_handle_stream(struct gateway_dns *dns,
                                           const struct gateway_stream_event *event,
                                           uint32_t *next_id, struct instant now)
{
    struct gateway_dns_stream *s = find_stream(dns, event->stream);
    dns->is_drained = false;
    if (event->kind == GATEWAY_STREAM_ACCEPTED) {
        return accept_stream(dns, event, now);
    }
    if (s == NULL) {
        return DROP_NONE;
    }
    if (event->kind == GATEWAY_STREAM_BYTES && event->bytes.len > 0) {
        return take_bytes(dns, s, event->bytes, next_id, now);
    }
    if (event->kind == GATEWAY_STREAM_WRITABLE) {
        s->blocked = false;
    } else if (event->kind == GATEWAY_STREAM_ENDED) {
        s->ended = true;
        close_ended(s);
    } else if (event->kind == GATEWAY_STREAM_CLOSED) {
        s->stream = 0;
    }
    return DROP_NONE;
}

enum drop_reason gateway_dns_sent(struct gateway_dns *dns, uint32_t stream, size_t taken,
                                  uint32_t *next_id, struct instant now)
{
    struct gateway_dns_stream *s = find_stream(dns, stream);
    dns->is_drained = false;
    if (s == NULL) {
        return DROP_NONE;
    }
    size_t left = s->answer_len - s->answer_sent;
    s->blocked = taken < left;
    s->answer_sent += (uint32_t)(taken < left ? taken : left);
    s->moved_at = s->blocked ? s->moved_at : now;
    enum drop_reason reason = DROP_NONE;
    if (!s->closing) {
        reason = try_ask(dns, s, next_id, now); /* the next one may be here */
    }
    close_ended(s);
    return reason;
}

bool gateway_dns_handle_answer(struct gateway_dns *dns, const struct gateway_lookup_answer *answer)
{
    dns->is_drained = false;
    for (size_t i = 0; i < GATEWAY_DNS_QUERIES_MAX; i++) {
        struct gateway_dns_query *q = &dns->queries[i];
        if (!q->used || q->due || q->lookup != answer->lookup) {
            continue;
        }
        struct dns_msg response;
        bool fits = q->stream == 0 || answer->records.len <= GATEWAY_DNS_ANSWER_MAX;
        if (fits && answer->records.len > 0 &&
            dns_msg_parse(answer->records, &response) == DROP_NONE) {
            deliver(dns, q, answer->records);
        } else {
            bool empty = answer->result == ERR_NONE && answer->records.len == 0;
            enum dns_rcode rcode = answer->result == ERR_NAME ? DNS_NXDOMAIN
                                   : empty                    ? DNS_NOERROR
                                                              : DNS_SERVFAIL;
            deliver_empty(dns, q, rcode);
        }
        return true;
    }
    return false;
}

static struct instant stream_deadline(const struct gateway_dns_stream *s)
{
    return instant_add(s->moved_at, DURATION_S(GATEWAY_DNS_IDLE_S));
}

void gateway_dns_handle_timeout(struct gateway_dns *dns, struct instant now)
{
    dns->is_drained = false;
    for (size_t i = 0; i < GATEWAY_DNS_QUERIES_MAX && !dns->answer_due; i++) {
        struct gateway_dns_query *q = &dns->queries[i];
        if (q->used && instant_reached(now, q->deadline)) {
            deliver_empty(dns, q, DNS_SERVFAIL);
        }
    }
    for (size_t i = 0; i < GATEWAY_DNS_STREAMS_MAX; i++) {
        struct gateway_dns_stream *s = &dns->streams[i];
        if (s->stream != 0 && instant_reached(now, stream_deadline(s))) {
            s->closing = true; /* at once, whoever stalled */
            s->blocked = false;
            s->answer_sent = s->answer_len;
        }
    }
}

static struct wake find_wake(const struct gateway_dns *dns)
{
    struct wake wake = WAKE_NEVER;
    for (size_t i = 0; i < GATEWAY_DNS_QUERIES_MAX; i++) {
        if (dns->queries[i].used) {
            wake = wake_min(wake, (struct wake){dns->queries[i].deadline, "DNS query"});
        }
    }
    for (size_t i = 0; i < GATEWAY_DNS_STREAMS_MAX; i++) {
        const struct gateway_dns_stream *s = &dns->streams[i];
        bool is_going = s->closing && s->answer_sent == s->answer_len; /* with the next poll */
        if (s->stream != 0 && !is_going) {
            wake = wake_min(wake, (struct wake){stream_deadline(s), "DNS connection"});
        }
    }
    return wake;
}

struct wake gateway_dns_poll_timeout(const struct gateway_dns *dns)
{
    return dns->is_drained ? dns->wake : find_wake(dns);
}

void gateway_dns_check(const struct gateway_dns *dns)
{
    ASSERT(!dns->is_drained || dns->wake.at.ns == find_wake(dns).at.ns);
}

static bool poll_streams(struct gateway_dns *dns, struct gateway_output *out)
{
    for (size_t i = 0; i < GATEWAY_DNS_STREAMS_MAX; i++) {
        struct gateway_dns_stream *s = &dns->streams[i];
        if (s->stream == 0 || s->blocked) {
            continue;
        }
        if (s->answer_sent < s->answer_len) {
            out->kind = GATEWAY_OUT_STREAM_SEND;
            out->u.send.stream = s->stream;
            out->u.send.bytes =
                (struct view){s->answer + s->answer_sent, s->answer_len - s->answer_sent};
            return true;
        }
        if (s->closing) {
            out->kind = GATEWAY_OUT_STREAM_CLOSE;
            out->u.close = s->stream;
            s->stream = 0;
            return true;
        }
    }
    return false;
}

static bool poll_any(struct gateway_dns *dns, struct gateway_output *out)
{
    if (dns->refused_count > 0) {
        out->kind = GATEWAY_OUT_STREAM_CLOSE;
        out->u.close = dns->refused[--dns->refused_count];
        return true;
    }
    if (dns->answer_due) {
        dns->answer_due = false;
        out->kind = GATEWAY_OUT_LISTENER_SEND;
        out->u.datagram.listener = dns->answer_listener;
        out->u.datagram.remote = dns->answer_remote;
        out->u.datagram.bytes = (struct view){dns->answer, dns->answer_len};
        return true;
    }
    for (size_t i = 0; i < GATEWAY_DNS_QUERIES_MAX; i++) {
        struct gateway_dns_query *q = &dns->queries[i];
        struct dns_msg query;
        if (!q->used || !q->due) {
            continue;
        }
        q->due = false;
        if (dns_msg_parse((struct view){q->bytes, q->len}, &query) != DROP_NONE) {
            q->used = false;
            continue;
        }
        struct writer w = writer_of((struct span){dns->name, sizeof(dns->name)});
        dns_name_put(&w, &query.question.name);
        out->kind = GATEWAY_OUT_LOOKUP;
        out->u.lookup.lookup = q->lookup;
        out->u.lookup.type = q->type == DNS_TYPE_SRV ? GATEWAY_LOOKUP_SRV : GATEWAY_LOOKUP_TXT;
        out->u.lookup.name = writer_view(&w);
        return true;
    }
    return poll_streams(dns, out);
}

bool gateway_dns_poll(struct gateway_dns *dns, struct gateway_output *out)
{
    if (dns->is_drained) {
        return false; /* asked after every packet: the tables are not walked each time */
    }
    if (poll_any(dns, out)) {
        return true;
    }
    dns->is_drained = true;
    dns->wake = find_wake(dns);
    return false;
}
