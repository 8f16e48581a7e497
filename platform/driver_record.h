/* driver_record: the recording of a gateway's inputs.
 *
 * A recording is the header "FZREC1\n" and then one record an input: kind u8, boot ns u64, Unix ns
 * u64, length u32 (all little-endian) and the encoded input. Inputs are everything that changes a
 * gateway, so that the same configuration and seed with the same recording give the same outputs. A
 * record of kind DIGEST is no input: it says what the run had put out by then.
 * A recording holds secrets (the portal's texts, entropy): who writes it to disk seals it first.
 * Source: design section 2 rule 3 and section 8.2; spec/simulation.md S-30.
 */
#ifndef DRIVER_RECORD_H
#define DRIVER_RECORD_H

#include "platform/driver.h"

#define DRIVER_RECORD_HEADER      "FZREC1\n"

#define DRIVER_RECORD_DIGEST_SIZE (8U + DRIVER_DIGEST_SIZE) /* u64 outputs, digest over them */

enum driver_input {
    DRIVER_INPUT_UDP = 1,
    DRIVER_INPUT_TUN,
    DRIVER_INPUT_STREAM,
    DRIVER_INPUT_SENT,
    DRIVER_INPUT_LISTENER,
    DRIVER_INPUT_LOOKUP,
    DRIVER_INPUT_TIMEOUT,
    DRIVER_INPUT_SHUTDOWN, /* u8 enum gateway_end; older recordings: nothing, somebody asked */
    DRIVER_INPUT_RESEED,
    DRIVER_INPUT_OFFLOAD,
    DRIVER_INPUT_COUNTERS,
    DRIVER_INPUT_TUN_UP, /* may stand between a STREAM_SEND and its SENT */
    DRIVER_INPUT_UNREACHABLE,
    DRIVER_INPUT_ADDRESSES,
    DRIVER_INPUT_DIGEST,
};

/* Writes the header of a recording. */
void driver_record_start(const struct driver_recorder *recorder);

/* Each writes one record; nothing happens when the recorder has no `write`. */
void driver_record_udp(const struct driver_recorder *recorder, struct clock_pair now,
                       const struct gateway_datagram *datagrams, size_t count);
void driver_record_tun(const struct driver_recorder *recorder, struct clock_pair now,
                       const struct gateway_tun_packet *packets, size_t count);
void driver_record_stream(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct gateway_stream_event *event);
void driver_record_sent(const struct driver_recorder *recorder, struct clock_pair now,
                        uint32_t stream, size_t taken);
void driver_record_listener(const struct driver_recorder *recorder, struct clock_pair now,
                            const struct gateway_listener_datagram *datagram);
void driver_record_lookup(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct gateway_lookup_answer *answer);
void driver_record_counters(const struct driver_recorder *recorder, struct clock_pair now,
                            struct gateway_io_counters *io);
void driver_record_unreachable(const struct driver_recorder *recorder, struct clock_pair now,
                               const struct sock_addr *remote);
void driver_record_addresses(const struct driver_recorder *recorder, struct clock_pair now,
                             const struct ip_addr *addresses, size_t count);
void driver_record_mark(const struct driver_recorder *recorder, struct clock_pair now,
                        enum driver_input kind, struct view bytes);
/* Writes the digest over the outputs so far. */
void driver_record_digest(const struct driver_recorder *recorder, struct clock_pair now,
                          const struct driver_digest *digest);

#define DRIVER_RECORD_IO_FIELDS 10U

/* The counters in the order of the recording. */
void driver_record_io_fields(struct gateway_io_counters *io,
                             uint64_t *fields[DRIVER_RECORD_IO_FIELDS]);

#endif /* DRIVER_RECORD_H */
