#include "platform/driver_record.h"

#include <string.h>

#define RECORD_FIXED_MAX 128U

static void put(const struct driver_recorder *recorder, struct view bytes)
{
    if (bytes.len > 0) {
        recorder->write(recorder->self, bytes);
    }
}

static void put_addr(struct writer *w, const struct sock_addr *addr)
{
    writer_u8(w, addr->ip.family);
    writer_bytes(w, (struct view){addr->ip.bytes, sizeof(addr->ip.bytes)});
    writer_le16(w, addr->port);
}

static void start_record(const struct driver_recorder *recorder, struct clock_pair now,
                         enum driver_input kind, size_t len)
{
    uint8_t head[21];
    struct writer w = writer_of((struct span){head, sizeof(head)});
    writer_u8(&w, (uint8_t)kind);
    writer_le64(&w, now.boot.ns);
    writer_le64(&w, now.unix_ns);
    writer_le32(&w, (uint32_t)len);
    put(recorder, writer_view(&w));
}

void driver_record_start(const struct driver_recorder *recorder)
{
    if (recorder->write != NULL) {
        put(recorder, view_text(DRIVER_RECORD_HEADER));
    }
}

void driver_record_mark(const struct driver_recorder *recorder, struct clock_pair now,
                        enum driver_input kind, struct view bytes)
{
    if (recorder->write != NULL) {
        start_record(recorder, now, kind, bytes.len);
        put(recorder, bytes);
    }
}

/* Writes one item of a batch: its fixed part, its length, its bytes. */
static void put_item(const struct driver_recorder *recorder, struct writer *fixed,
                     struct view bytes)
{
    writer_le32(fixed, (uint32_t)bytes.len);
    put(recorder, writer_view(fixed));
    put(recorder, bytes);
}

#define UDP_ITEM_FIXED (19U + 19U + 2U + 1U + 4U)
#define TUN_ITEM_FIXED (1U + 2U + 1U + 4U)

void driver_record_udp(const struct driver_recorder *recorder, struct clock_pair now,
                       const struct gateway_datagram *datagrams, size_t count)
{
    size_t total = count * UDP_ITEM_FIXED;
    if (recorder->write == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        total += datagrams[i].bytes.len;
    }
    start_record(recorder, now, DRIVER_INPUT_UDP, total);
    for (size_t i = 0; i < count; i++) {
        uint8_t fixed[RECORD_FIXED_MAX];
        struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
        put_addr(&w, &datagrams[i].local);
        put_addr(&w, &datagrams[i].remote);
        writer_le16(&w, datagrams[i].segment_size);
        writer_u8(&w, datagrams[i].ecn);
        put_item(recorder, &w, view_of_span(datagrams[i].bytes));
    }
}

void driver_record_tun(const struct driver_recorder *recorder, struct clock_pair now,
                       const struct gateway_tun_packet *packets, size_t count)
{
    size_t total = count * TUN_ITEM_FIXED;
    if (recorder->write == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        total += packets[i].bytes.len;
    }
    start_record(recorder, now, DRIVER_INPUT_TUN, total);
    for (size_t i = 0; i < count; i++) {
        uint8_t fixed[RECORD_FIXED_MAX];
        struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
        writer_u8(&w, (uint8_t)packets[i].offload.gso);
        writer_le16(&w, packets[i].offload.gso_size);
        writer_u8(&w, packets[i].offload.checksum_needed ? 1 : 0);
        put_item(recorder, &w, view_of_span(packets[i].bytes));
    }
}

void driver_record_io_fields(struct gateway_io_counters *io,
                             uint64_t *fields[DRIVER_RECORD_IO_FIELDS])
{
    fields[0] = &io->wakeups;
    fields[1] = &io->udp_receive_calls;
    fields[2] = &io->udp_receive_messages;
    fields[3] = &io->udp_send_calls;
    fields[4] = &io->udp_send_errors;
    fields[5] = &io->tun_read_calls;
    fields[6] = &io->tun_write_calls;
    fields[7] = &io->tun_write_errors;
    fields[8] = &io->longest_step_ns;
    fields[9] = &io->udp_receive_lost;
}

void driver_record_counters(const struct driver_recorder *recorder, struct clock_pair now,
                            struct gateway_io_counters *io)
{
    uint8_t bytes[DRIVER_RECORD_IO_FIELDS * 8U];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    uint64_t *fields[DRIVER_RECORD_IO_FIELDS];
    driver_record_io_fields(io, fields);
    for (size_t i = 0; i < DRIVER_RECORD_IO_FIELDS; i++) {
        writer_le64(&w, *fields[i]);
    }
    driver_record_mark(recorder, now, DRIVER_INPUT_COUNTERS, writer_view(&w));
}

void driver_record_stream(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct gateway_stream_event *event)
{
    if (recorder->write == NULL) {
        return;
    }
    uint8_t fixed[RECORD_FIXED_MAX];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_u8(&w, (uint8_t)event->kind);
    writer_le32(&w, event->stream);
    writer_le32(&w, event->listener);
    put_addr(&w, &event->remote);
    writer_u8(&w, (uint8_t)event->reason);
    start_record(recorder, now, DRIVER_INPUT_STREAM, w.used + event->bytes.len);
    put(recorder, writer_view(&w));
    put(recorder, event->bytes);
}

void driver_record_sent(const struct driver_recorder *recorder, struct clock_pair now,
                        uint32_t stream, size_t taken)
{
    uint8_t fixed[12];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_le32(&w, stream);
    writer_le64(&w, taken);
    driver_record_mark(recorder, now, DRIVER_INPUT_SENT, writer_view(&w));
}

void driver_record_listener(const struct driver_recorder *recorder, struct clock_pair now,
                            const struct gateway_listener_datagram *datagram)
{
    if (recorder->write == NULL) {
        return;
    }
    uint8_t fixed[RECORD_FIXED_MAX];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_u8(&w, (uint8_t)datagram->listener);
    put_addr(&w, &datagram->remote);
    start_record(recorder, now, DRIVER_INPUT_LISTENER, w.used + datagram->bytes.len);
    put(recorder, writer_view(&w));
    put(recorder, datagram->bytes);
}

void driver_record_lookup(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct gateway_lookup_answer *answer)
{
    if (recorder->write == NULL) {
        return;
    }
    uint8_t fixed[16 + GATEWAY_LOOKUP_ADDRESSES_MAX * 17];
    struct writer w = writer_of((struct span){fixed, sizeof(fixed)});
    writer_le32(&w, answer->lookup);
    writer_u8(&w, (uint8_t)answer->result);
    writer_le32(&w, answer->ttl_s);
    writer_u8(&w, (uint8_t)answer->addresses_count);
    for (uint32_t i = 0; i < answer->addresses_count; i++) {
        writer_u8(&w, answer->addresses[i].family);
        writer_bytes(&w, (struct view){answer->addresses[i].bytes, 16});
    }
    start_record(recorder, now, DRIVER_INPUT_LOOKUP, w.used + answer->records.len);
    put(recorder, writer_view(&w));
    put(recorder, answer->records);
}

void driver_record_unreachable(const struct driver_recorder *recorder, struct clock_pair now,
                               const struct sock_addr *remote)
{
    uint8_t body[19];
    struct writer w = writer_of((struct span){body, sizeof(body)});
    put_addr(&w, remote);
    driver_record_mark(recorder, now, DRIVER_INPUT_UNREACHABLE, writer_view(&w));
}

void driver_record_addresses(const struct driver_recorder *recorder, struct clock_pair now,
                             const struct ip_addr *addresses, size_t count)
{
    uint8_t body[17 * GATEWAY_OWN_ADDRESSES_MAX];
    struct writer w = writer_of((struct span){body, sizeof(body)});
    for (size_t i = 0; i < count; i++) {
        writer_u8(&w, addresses[i].family);
        writer_bytes(&w, VIEW_OF(addresses[i].bytes));
    }
    driver_record_mark(recorder, now, DRIVER_INPUT_ADDRESSES, writer_view(&w));
}

void driver_record_digest(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct driver_digest *digest)
{
    if (recorder->write == NULL) {
        return;
    }
    uint8_t body[DRIVER_RECORD_DIGEST_SIZE];
    store_le64(body, digest->outputs);
    driver_digest_get(digest, body + 8);
    driver_record_mark(recorder, now, DRIVER_INPUT_DIGEST, VIEW_OF(body));
}
