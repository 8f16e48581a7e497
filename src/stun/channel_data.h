/* channel_data: the four-byte header in front of data that travels through a TURN channel.
 *
 * Source: RFC 8656 section 12.4, spec/connectivity.md section 2.5, spec/relay.md sections 6 and 11.
 * Over UDP there is never padding: relays that forward in the kernel drop a datagram whose length
 * field is not exactly the rest. Received datagrams may carry bytes behind the announced length
 * (a relay that pads); they are ignored.
 */
#ifndef STUN_CHANNEL_DATA_H
#define STUN_CHANNEL_DATA_H

#include "base/bytes.h"
#include "base/drop.h"

#define CHANNEL_DATA_HEADER_SIZE 4U      /* bytes */
#define CHANNEL_NUMBER_MIN       0x4000U /* first number of RFC 8656 and of Firezone */
#define CHANNEL_NUMBER_MAX       0x4FFFU /* last number that Firezone relays accept */
#define CHANNEL_NUMBER_COUNT     0x1000U
#define CHANNEL_NUMBER_RFC_MAX   0x7FFFU /* last number that RFC 5766 knows, accepted on receipt */

struct channel_data {
    uint16_t number; /* 0x4000..0x7FFF */
    uint16_t length; /* bytes of payload, behind the header */
};

/* True when the first byte says ChannelData (0x40..0x7F). */
MUST_USE bool channel_data_is(struct view datagram);

/* DROP_NONE; DROP_UDP_UNKNOWN when the first byte is not ChannelData's; DROP_TURN_LENGTH when there
 * are fewer than four bytes or less payload than announced. The payload is the `length` bytes
 * behind the header. */
MUST_USE enum drop_reason channel_data_decode(struct view datagram, struct channel_data *out);

/* Writes the header for a payload of `length` bytes that follows directly. Asserts: the number is
 * in 0x4000..0x7FFF, the length fits 16 bits. */
void channel_data_put_header(uint8_t out[CHANNEL_DATA_HEADER_SIZE], uint16_t number, size_t length);

#endif /* STUN_CHANNEL_DATA_H */
