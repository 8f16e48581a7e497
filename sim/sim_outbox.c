#include "sim/sim_node.h"

#include <stdlib.h>
#include <string.h>

/* Where the bytes of one output stand inside the store; views are made when an output is read, so
 * that the store may move while it grows. */
struct entry {
    struct sim_out out;
    size_t bytes_at;
    size_t bytes_len;
    size_t text_at;
    size_t text_len;
};

struct sim_outbox {
    struct entry *entries;
    size_t count;
    size_t capacity;
    uint8_t *store;
    size_t store_used;
    size_t store_size;
};

struct sim_outbox *sim_outbox_new(void)
{
    struct sim_outbox *outbox = calloc(1, sizeof(*outbox));
    ASSERT(outbox != NULL);
    return outbox;
}

void sim_outbox_free(struct sim_outbox *outbox)
{
    if (outbox != NULL) {
        free(outbox->entries);
        free(outbox->store);
        free(outbox);
    }
}

void sim_outbox_clear(struct sim_outbox *outbox)
{
    outbox->count = 0;
    outbox->store_used = 0;
}

size_t sim_outbox_count(const struct sim_outbox *outbox)
{
    return outbox->count;
}

const struct sim_out *sim_outbox_at(struct sim_outbox *outbox, size_t index)
{
    ASSERT(index < outbox->count);
    struct entry *entry = &outbox->entries[index];
    struct view bytes = VIEW_EMPTY;
    if (entry->bytes_len > 0) {
        bytes = (struct view){outbox->store + entry->bytes_at, entry->bytes_len};
    }
    entry->out.bytes = bytes;
    entry->out.datagram.bytes = bytes;
    entry->out.note.text = entry->text_len == 0
                               ? VIEW_EMPTY
                               : (struct view){outbox->store + entry->text_at, entry->text_len};
    return &entry->out;
}

static size_t keep(struct sim_outbox *outbox, struct view bytes)
{
    size_t at = outbox->store_used;
    if (bytes.len == 0) {
        return at;
    }
    while (outbox->store_size - at < bytes.len) {
        outbox->store_size = outbox->store_size == 0 ? 4096 : outbox->store_size * 2;
        outbox->store = realloc(outbox->store, outbox->store_size);
        ASSERT(outbox->store != NULL);
    }
    memcpy(outbox->store + at, bytes.at, bytes.len);
    outbox->store_used += bytes.len;
    return at;
}

static struct entry *put(struct sim_outbox *outbox, enum sim_out_kind kind, struct view bytes)
{
    if (outbox->count == outbox->capacity) {
        outbox->capacity = outbox->capacity == 0 ? 16 : outbox->capacity * 2;
        outbox->entries = realloc(outbox->entries, outbox->capacity * sizeof(outbox->entries[0]));
        ASSERT(outbox->entries != NULL);
    }
    struct entry *entry = &outbox->entries[outbox->count++];
    memset(entry, 0, sizeof(*entry));
    entry->out.kind = kind;
    entry->bytes_at = keep(outbox, bytes);
    entry->bytes_len = bytes.len;
    return entry;
}

void sim_put_datagram(struct sim_outbox *outbox, struct sock_addr local, struct sock_addr remote,
                      struct view bytes)
{
    struct entry *entry = put(outbox, SIM_OUT_DATAGRAM, bytes);
    entry->out.datagram.local = local;
    entry->out.datagram.remote = remote;
}

void sim_put_bind(struct sim_outbox *outbox, struct sock_addr local)
{
    put(outbox, SIM_OUT_BIND, VIEW_EMPTY)->out.address = local;
}

void sim_put_unbind(struct sim_outbox *outbox, struct sock_addr local)
{
    put(outbox, SIM_OUT_UNBIND, VIEW_EMPTY)->out.address = local;
}

void sim_put_stream_open(struct sim_outbox *outbox, uint32_t stream, struct sock_addr remote)
{
    ASSERT(stream < GATEWAY_STREAM_ACCEPTED_BASE);
    struct entry *entry = put(outbox, SIM_OUT_STREAM_OPEN, VIEW_EMPTY);
    entry->out.stream = stream;
    entry->out.address = remote;
}

void sim_put_stream_send(struct sim_outbox *outbox, uint32_t stream, struct view bytes)
{
    put(outbox, SIM_OUT_STREAM_SEND, bytes)->out.stream = stream;
}

void sim_put_stream_close(struct sim_outbox *outbox, uint32_t stream)
{
    put(outbox, SIM_OUT_STREAM_CLOSE, VIEW_EMPTY)->out.stream = stream;
}

void sim_put_stream_reset(struct sim_outbox *outbox, uint32_t stream)
{
    put(outbox, SIM_OUT_STREAM_RESET, VIEW_EMPTY)->out.stream = stream;
}

void sim_put_tun(struct sim_outbox *outbox, struct view packet)
{
    put(outbox, SIM_OUT_TUN, packet);
}

void sim_put_note(struct sim_outbox *outbox, const struct sim_note *note)
{
    struct entry *entry = put(outbox, SIM_OUT_NOTE, VIEW_EMPTY);
    entry->out.note = *note;
    entry->text_at = keep(outbox, note->text);
    entry->text_len = note->text.len;
}

void sim_put_text(struct sim_outbox *outbox, const char *text)
{
    struct sim_note note = {.kind = SIM_NOTE_TEXT, .text = view_text(text)};
    sim_put_note(outbox, &note);
}
