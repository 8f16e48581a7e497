#include "sim/sim_trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define NAMES_MAX   128U
#define NAME_SIZE   16U
#define HEADER_SIZE 20U
#define ENDS_SIZE   (2U * 19U) /* family, 16 bytes, port; twice */
#define TEXT_MAX    512U
#define HEAD_MAX    240U /* bytes of a kept record's payload */

/* One digest per (node, remote address as seen from it, direction). */
struct stream {
    uint16_t node;
    uint8_t direction; /* 0: sent, 1: delivered */
    struct ip_addr remote;
    uint64_t datagrams;
    blake2s_state hash;
};

/* What a failure report needs of a record; made readable only when somebody reads it. */
struct kept {
    uint64_t at_ns;
    uint16_t node;
    enum sim_kind kind;
    bool is_text;
    struct sock_addr local;
    struct sock_addr remote;
    const char *cause;
    uint8_t head[HEAD_MAX];
    size_t head_len;
    size_t payload_len;
};

struct sim_trace {
    const uint64_t *now_ns;
    FILE *text;
    uint64_t text_from_ns;
    struct sim_trace_tap taps[SIM_TAPS_MAX];
    size_t taps_count;
    blake2s_state hash;
    uint64_t count;
    uint8_t (*checkpoints)[SIM_DIGEST_SIZE];
    size_t checkpoints_count;
    struct stream *streams; /* sorted by (node, remote, direction) */
    size_t streams_count;
    char names[NAMES_MAX][NAME_SIZE];
    struct kept kept[SIM_RECORDS_KEPT];
    uint8_t *scratch;
    size_t scratch_size;
};

const char *sim_kind_name(enum sim_kind kind)
{
    static const char *const texts[] = {
#define SIM_KIND_TEXT(name, text) text,
        SIM_KIND_TABLE(SIM_KIND_TEXT)
#undef SIM_KIND_TEXT
    };
    ASSERT(kind < SIM_KIND_COUNT);
    return texts[kind];
}

struct sim_trace *sim_trace_new(void)
{
    struct sim_trace *trace = calloc(1, sizeof(*trace));
    ASSERT(trace != NULL);
    ASSERT(blake2s_init(&trace->hash, SIM_DIGEST_SIZE) == 0);
    return trace;
}

void sim_trace_free(struct sim_trace *trace)
{
    if (trace != NULL) {
        free(trace->checkpoints);
        free(trace->streams);
        free(trace->scratch);
        free(trace);
    }
}

void sim_trace_set_clock(struct sim_trace *trace, const uint64_t *now_ns)
{
    trace->now_ns = now_ns;
}

void sim_trace_set_name(struct sim_trace *trace, uint16_t node, const char *name)
{
    ASSERT(node < NAMES_MAX);
    (void)snprintf(trace->names[node], NAME_SIZE, "%s", name);
}

void sim_trace_set_text(struct sim_trace *trace, FILE *sink, uint64_t from_ns)
{
    trace->text = sink;
    trace->text_from_ns = from_ns;
}

void sim_trace_add_tap(struct sim_trace *trace, struct sim_trace_tap tap)
{
    ASSERT(trace->taps_count < SIM_TAPS_MAX);
    trace->taps[trace->taps_count++] = tap;
}

const char *sim_trace_name(const struct sim_trace *trace, uint16_t node)
{
    return node < NAMES_MAX ? trace->names[node] : "world";
}

/* ---- readable form ---- */

#define DATAGRAM_HEAD 48U /* bytes of a datagram that say enough for a reader */

static void put_text(struct writer *w, struct view text)
{
    for (size_t i = 0; i < text.len && w->used < w->out.len; i++) {
        uint8_t c = text.at[i];
        writer_u8(w, c >= 0x20 && c < 0x7f ? c : (uint8_t)'.');
    }
}

static void describe(const struct sim_trace *trace, const struct kept *kept, FILE *to)
{
    const char *name = sim_trace_name(trace, kept->node);
    uint8_t details[SIM_RECORD_TEXT_MAX * 2];
    struct writer w = writer_of((struct span){details, sizeof(details)});
    if (kept->local.ip.family != IP_NONE || kept->remote.ip.family != IP_NONE) {
        sock_addr_put(&w, &kept->local);
        writer_text(&w, " -> ");
        sock_addr_put(&w, &kept->remote);
        writer_text(&w, " ");
    }
    if (kept->cause != NULL) {
        writer_text(&w, "(");
        writer_text(&w, kept->cause);
        writer_text(&w, ") ");
    }
    struct view head = {kept->head, kept->head_len};
    if (kept->is_text) {
        put_text(&w, head);
    } else {
        writer_text(&w, "len=");
        text_put_u64(&w, kept->payload_len);
        writer_text(&w, " ");
        text_put_hex(&w, view_sub(head, 0, head.len < DATAGRAM_HEAD ? head.len : DATAGRAM_HEAD));
    }
    (void)fprintf(to, "%6" PRIu64 ".%06" PRIu64 " %-9s %-13s %.*s\n", kept->at_ns / NS_PER_S,
                  kept->at_ns % NS_PER_S / NS_PER_US, name, sim_kind_name(kept->kind), (int)w.used,
                  (const char *)details);
}

static struct kept *keep(struct sim_trace *trace, const struct sim_record *record, bool is_text)
{
    struct kept *kept = &trace->kept[trace->count % SIM_RECORDS_KEPT];
    kept->at_ns = record->at_ns;
    kept->node = record->node;
    kept->kind = record->kind;
    kept->is_text = is_text;
    kept->local = record->local;
    kept->remote = record->remote;
    kept->cause = record->cause;
    kept->payload_len = record->payload.len;
    kept->head_len = record->payload.len < HEAD_MAX ? record->payload.len : HEAD_MAX;
    if (kept->head_len > 0) {
        memcpy(kept->head, record->payload.at, kept->head_len);
    }
    return kept;
}

/* ---- hashing ---- */

static void checkpoint(struct sim_trace *trace)
{
    size_t index = trace->checkpoints_count++;
    trace->checkpoints = realloc(trace->checkpoints, (index + 1) * sizeof(trace->checkpoints[0]));
    ASSERT(trace->checkpoints != NULL);
    sim_trace_digest(trace, trace->checkpoints[index]);
}

static void record_put(struct sim_trace *trace, struct sim_record *record, bool is_text)
{
    record->at_ns = trace->now_ns == NULL ? 0 : *trace->now_ns;
    record->sequence = (uint32_t)trace->count;
    record->name = sim_trace_name(trace, record->node);
    uint8_t header[HEADER_SIZE];
    store_le64(header, record->at_ns);
    store_le32(header + 8, record->sequence);
    store_le16(header + 12, record->node);
    store_le16(header + 14, (uint16_t)record->kind);
    store_le32(header + 16, (uint32_t)record->bytes.len);
    ASSERT(blake2s_update(&trace->hash, header, sizeof(header)) == 0);
    if (record->bytes.len > 0) {
        ASSERT(blake2s_update(&trace->hash, record->bytes.at, record->bytes.len) == 0);
    }
    const struct kept *kept = keep(trace, record, is_text);
    trace->count++;
    if (trace->text != NULL && record->at_ns >= trace->text_from_ns) {
        describe(trace, kept, trace->text);
    }
    for (size_t i = 0; i < trace->taps_count; i++) {
        trace->taps[i].see(trace->taps[i].self, record);
    }
    if (trace->count % SIM_CHECKPOINT_EVERY == 0) {
        checkpoint(trace);
    }
}

static uint8_t *scratch_of(struct sim_trace *trace, size_t size)
{
    if (trace->scratch_size < size) {
        trace->scratch = realloc(trace->scratch, size);
        ASSERT(trace->scratch != NULL);
        trace->scratch_size = size;
    }
    return trace->scratch;
}

static int stream_order(const struct stream *s, uint16_t node, const struct ip_addr *remote,
                        uint8_t direction)
{
    if (s->node != node) {
        return s->node < node ? -1 : 1;
    }
    int order = ip_compare(&s->remote, remote);
    return order != 0 ? order : (int)s->direction - (int)direction;
}

static struct stream *stream_of(struct sim_trace *trace, uint16_t node,
                                const struct ip_addr *remote, uint8_t direction)
{
    size_t i = 0;
    while (i < trace->streams_count &&
           stream_order(&trace->streams[i], node, remote, direction) < 0) {
        i++;
    }
    if (i < trace->streams_count &&
        stream_order(&trace->streams[i], node, remote, direction) == 0) {
        return &trace->streams[i];
    }
    trace->streams =
        realloc(trace->streams, (trace->streams_count + 1) * sizeof(trace->streams[0]));
    ASSERT(trace->streams != NULL);
    memmove(&trace->streams[i + 1], &trace->streams[i],
            (trace->streams_count - i) * sizeof(trace->streams[0]));
    trace->streams_count++;
    struct stream *s = &trace->streams[i];
    memset(s, 0, sizeof(*s));
    s->node = node;
    s->direction = direction;
    s->remote = *remote;
    ASSERT(blake2s_init(&s->hash, SIM_DIGEST_SIZE) == 0);
    return s;
}

static void put_end(struct writer *w, const struct sock_addr *end)
{
    writer_u8(w, end->ip.family);
    writer_bytes(w, VIEW_OF(end->ip.bytes));
    writer_le16(w, end->port);
}

/* The other side of a datagram, as its node sees it. */
static const struct ip_addr *stream_peer(const struct sim_record *record)
{
    return record->kind == SIM_KIND_SENT ? &record->remote.ip : &record->local.ip;
}

bool sim_trace_stream_has(const struct sim_trace_stream *stream, const struct sim_record *record)
{
    enum sim_kind kind = stream->delivered ? SIM_KIND_DELIVERED : SIM_KIND_SENT;
    return record->kind == kind && record->node == stream->node &&
           ip_equal(stream_peer(record), &stream->peer);
}

void sim_trace_datagram(struct sim_trace *trace, uint16_t node, enum sim_kind kind,
                        const struct sock_addr ends[2], struct view payload, const char *cause)
{
    size_t cause_len = cause == NULL ? 0 : strlen(cause);
    size_t size = ENDS_SIZE + payload.len + cause_len;
    struct writer w = writer_of((struct span){scratch_of(trace, size), size});
    put_end(&w, &ends[0]);
    put_end(&w, &ends[1]);
    writer_bytes(&w, payload);
    if (cause != NULL) {
        writer_text(&w, cause);
    }
    ASSERT(writer_finish(&w));
    struct sim_record record = {
        .node = node,
        .kind = kind,
        .bytes = writer_view(&w),
        .payload = payload,
        .local = ends[0],
        .remote = ends[1],
        .cause = cause,
    };
    record_put(trace, &record, false);
    if (kind == SIM_KIND_SENT || kind == SIM_KIND_DELIVERED) {
        struct stream *s =
            stream_of(trace, node, stream_peer(&record), kind == SIM_KIND_SENT ? 0 : 1);
        s->datagrams++;
        uint8_t len[4];
        store_le32(len, (uint32_t)payload.len);
        ASSERT(blake2s_update(&s->hash, len, sizeof(len)) == 0);
        if (payload.len > 0) {
            ASSERT(blake2s_update(&s->hash, payload.at, payload.len) == 0);
        }
    }
}

void sim_trace_bytes(struct sim_trace *trace, uint16_t node, enum sim_kind kind, uint32_t number,
                     struct view bytes)
{
    size_t size = 4 + bytes.len;
    struct writer w = writer_of((struct span){scratch_of(trace, size), size});
    writer_le32(&w, number);
    writer_bytes(&w, bytes);
    ASSERT(writer_finish(&w));
    struct sim_record record = {
        .node = node, .kind = kind, .bytes = writer_view(&w), .payload = bytes};
    record_put(trace, &record, kind == SIM_KIND_STREAM_SENT || kind == SIM_KIND_STREAM_EVENT);
}

void sim_trace_text(struct sim_trace *trace, uint16_t node, enum sim_kind kind, const char *format,
                    ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(len >= 0);
    struct view bytes = view_text(text);
    struct sim_record record = {.node = node, .kind = kind, .bytes = bytes, .payload = bytes};
    record_put(trace, &record, true);
}

void sim_trace_digest(const struct sim_trace *trace, uint8_t out[SIM_DIGEST_SIZE])
{
    blake2s_state copy = trace->hash;
    ASSERT(blake2s_final(&copy, out, SIM_DIGEST_SIZE) == 0);
}

const uint8_t *sim_trace_checkpoint(const struct sim_trace *trace, size_t index)
{
    return index < trace->checkpoints_count ? trace->checkpoints[index] : NULL;
}

uint64_t sim_trace_count(const struct sim_trace *trace)
{
    return trace->count;
}

size_t sim_trace_streams_count(const struct sim_trace *trace)
{
    return trace->streams_count;
}

void sim_trace_stream_at(const struct sim_trace *trace, size_t index, struct sim_trace_stream *out)
{
    ASSERT(index < trace->streams_count);
    const struct stream *s = &trace->streams[index];
    memset(out, 0, sizeof(*out));
    out->node = s->node;
    out->delivered = s->direction != 0;
    out->peer = s->remote;
    out->datagrams = s->datagrams;
    blake2s_state copy = s->hash;
    ASSERT(blake2s_final(&copy, out->digest, SIM_DIGEST_SIZE) == 0);
}

void sim_trace_streams_digest(const struct sim_trace *trace, uint8_t out[SIM_DIGEST_SIZE])
{
    blake2s_state all;
    ASSERT(blake2s_init(&all, SIM_DIGEST_SIZE) == 0);
    for (size_t i = 0; i < trace->streams_count; i++) {
        uint8_t digest[SIM_DIGEST_SIZE];
        blake2s_state copy = trace->streams[i].hash;
        ASSERT(blake2s_final(&copy, digest, SIM_DIGEST_SIZE) == 0);
        ASSERT(blake2s_update(&all, digest, sizeof(digest)) == 0);
    }
    ASSERT(blake2s_final(&all, out, SIM_DIGEST_SIZE) == 0);
}

void sim_trace_dump(const struct sim_trace *trace, FILE *to)
{
    uint64_t first = trace->count < SIM_RECORDS_KEPT ? 0 : trace->count - SIM_RECORDS_KEPT;
    for (uint64_t i = first; i < trace->count; i++) {
        describe(trace, &trace->kept[i % SIM_RECORDS_KEPT], to);
    }
}
