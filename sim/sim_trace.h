/* sim_trace: the record of everything observable in a run, and its digests.
 *
 * Every record is hashed in the canonical form {time u64, sequence u32, node u16, kind u16,
 * length u32, bytes}, little-endian and unpadded. The trace digest (BLAKE2s-256 over all records)
 * names a run; a checkpoint is kept every SIM_CHECKPOINT_EVERY records so that two unequal runs can
 * be bisected. Stream digests cover only the datagrams of one (node, peer, direction), which are
 * the same whatever batching or worker stages do.
 * The last records are kept for failure reports. A tap may see every record (text, pcapng).
 * Memory: malloc at init; growing arrays for checkpoints.
 * Source: spec/simulation.md S-10, S-11; design section 8.5.
 */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <blake2.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/time.h"

/* Append only: the numbers are part of the digest. name, text */
#define SIM_KIND_TABLE(X)                                                                          \
    X(SIM_KIND_SENT, "sent")                                                                       \
    X(SIM_KIND_DELIVERED, "delivered")                                                             \
    X(SIM_KIND_DROPPED, "dropped")                                                                 \
    X(SIM_KIND_TUN_IN, "tun-in")                                                                   \
    X(SIM_KIND_TUN_OUT, "tun-out")                                                                 \
    X(SIM_KIND_STREAM_SENT, "stream-sent")                                                         \
    X(SIM_KIND_STREAM_EVENT, "stream-event")                                                       \
    X(SIM_KIND_LOOKUP, "lookup")                                                                   \
    X(SIM_KIND_LOOKUP_ANSWER, "lookup-answer")                                                     \
    X(SIM_KIND_TIMER, "timer")                                                                     \
    X(SIM_KIND_FAULT, "fault")                                                                     \
    X(SIM_KIND_ACTION, "action")                                                                   \
    X(SIM_KIND_STATE, "state")                                                                     \
    X(SIM_KIND_NOTE, "note")                                                                       \
    X(SIM_KIND_ORACLE, "oracle")                                                                   \
    X(SIM_KIND_PROBE, "probe")                                                                     \
    X(SIM_KIND_HOST_PACKET, "host-packet")                                                         \
    X(SIM_KIND_LISTENER, "listener")                                                               \
    X(SIM_KIND_FLOW, "flow")

#define SIM_KIND_ENUM(name, text) name,
enum sim_kind { SIM_KIND_TABLE(SIM_KIND_ENUM) SIM_KIND_COUNT };
#undef SIM_KIND_ENUM

#define SIM_NODE_WORLD       UINT16_MAX /* records that belong to no node */
#define SIM_CHECKPOINT_EVERY 1024U
#define SIM_RECORDS_KEPT     64U
#define SIM_RECORD_TEXT_MAX  320U
#define SIM_DIGEST_SIZE      32U
#define SIM_TAPS_MAX         6U
#define SIM_CAUSE_REFUSED    "refused" /* by the sender's own host: it never left */

/* One record as a tap sees it. Views live during the call. `remote`, `local` and `cause` are for
 * readers; they are inside `bytes` where they matter for the digest. */
struct sim_record {
    uint64_t at_ns;
    uint32_t sequence;
    uint16_t node;
    const char *name; /* of the node */
    enum sim_kind kind;
    struct view bytes;      /* what is hashed */
    struct view payload;    /* datagram, packet or stream bytes; may be empty */
    struct sock_addr local; /* family IP_NONE where it does not apply */
    struct sock_addr remote;
    const char *cause; /* static text or NULL */
};

struct sim_trace_tap {
    void (*see)(void *self, const struct sim_record *record);
    void *self;
};

struct sim_trace;

MUST_USE struct sim_trace *sim_trace_new(void);
void sim_trace_free(struct sim_trace *trace);

/* `clock` is read for each record's time; names give the readable form of node numbers. */
void sim_trace_set_clock(struct sim_trace *trace, const uint64_t *now_ns);
void sim_trace_set_name(struct sim_trace *trace, uint16_t node, const char *name);
/* Every record is written as one line to `sink` once virtual time is `from_ns`; NULL stops it. */
void sim_trace_set_text(struct sim_trace *trace, FILE *sink, uint64_t from_ns);
/* At most SIM_TAPS_MAX; asserts room. */
void sim_trace_add_tap(struct sim_trace *trace, struct sim_trace_tap tap);

/* A datagram: addresses and payload are hashed; `cause` only for drops (hashed as text). */
void sim_trace_datagram(struct sim_trace *trace, uint16_t node, enum sim_kind kind,
                        const struct sock_addr ends[2], struct view payload, const char *cause);
/* Any other bytes, with one number that says what they are (stream id, event kind, ...). */
void sim_trace_bytes(struct sim_trace *trace, uint16_t node, enum sim_kind kind, uint32_t number,
                     struct view bytes);
/* Readable text; hashed too. */
void sim_trace_text(struct sim_trace *trace, uint16_t node, enum sim_kind kind, const char *format,
                    ...) PRINTF_LIKE(4, 5);

/* The digest over all records so far; the trace goes on. */
void sim_trace_digest(const struct sim_trace *trace, uint8_t out[SIM_DIGEST_SIZE]);
/* Checkpoint `index` (digest after (index + 1) * SIM_CHECKPOINT_EVERY records); NULL beyond. */
const uint8_t *sim_trace_checkpoint(const struct sim_trace *trace, size_t index);
MUST_USE uint64_t sim_trace_count(const struct sim_trace *trace);
/* One stream: the datagrams that one node sent to, or got from, one address. */
struct sim_trace_stream {
    uint16_t node;
    bool delivered; /* else sent */
    struct ip_addr peer;
    uint64_t datagrams;
    uint8_t digest[SIM_DIGEST_SIZE];
};

MUST_USE size_t sim_trace_streams_count(const struct sim_trace *trace);
/* Stream `index` in order of (node, peer, direction). Asserts index < count. */
void sim_trace_stream_at(const struct sim_trace *trace, size_t index, struct sim_trace_stream *out);
/* Digest over all stream digests in that order. */
void sim_trace_streams_digest(const struct sim_trace *trace, uint8_t out[SIM_DIGEST_SIZE]);
/* True: the record is of this stream. */
MUST_USE bool sim_trace_stream_has(const struct sim_trace_stream *stream,
                                   const struct sim_record *record);
/* The name of a node, "world" for those without. */
const char *sim_trace_name(const struct sim_trace *trace, uint16_t node);
const char *sim_kind_name(enum sim_kind kind);
/* Writes the last records as text, oldest first. */
void sim_trace_dump(const struct sim_trace *trace, FILE *to);

#endif /* SIM_TRACE_H */
