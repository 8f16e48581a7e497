/* sim_packet: IP packets as the simulated hosts build and read them.
 *
 * Written apart from src/packet on purpose and plainly: it is the strict checker of everything that
 * the gateway emits (oracles O-05 and O-13), so a mistake there must not cancel out here. Reading
 * verifies every length and checksum.
 * Source: RFC 791, 768, 792, 793, 8200, 4443.
 */
#ifndef SIM_PACKET_H
#define SIM_PACKET_H

#include "base/addr.h"
#include "base/bytes.h"

#define SIM_PACKET_MAX 2048U

enum sim_proto {
    SIM_PROTO_ICMP = 1,
    SIM_PROTO_TCP = 6,
    SIM_PROTO_UDP = 17,
    SIM_PROTO_ICMPV6 = 58,
};

enum sim_tcp_flags {
    SIM_TCP_FIN = 1,
    SIM_TCP_SYN = 2,
    SIM_TCP_RST = 4,
    SIM_TCP_PSH = 8,
    SIM_TCP_ACK = 16,
};

/* One packet, taken apart or to be put together. For ICMP, `icmp_*` and the payload after the
 * 8-byte header; echo: `icmp_rest` = id << 16 | sequence. */
struct sim_packet {
    struct ip_addr source;
    struct ip_addr destination;
    uint8_t protocol;
    uint8_t ttl; /* 0 when building: 64 */
    uint8_t ecn;
    uint16_t ip_id; /* building IPv4 only */
    uint16_t source_port;
    uint16_t destination_port;
    uint8_t icmp_type;
    uint8_t icmp_code;
    uint32_t icmp_rest;
    uint32_t tcp_seq;
    uint32_t tcp_ack;
    uint8_t tcp_flags;
    uint16_t tcp_window;
    struct view payload; /* borrowed */
};

/* Reads a packet. Returns NULL, or what is wrong as static text. Views `bytes`. */
MUST_USE const char *sim_packet_read(struct view bytes, struct sim_packet *out);
/* As sim_packet_read() for a packet quoted in an ICMP error: it may be cut after 8 bytes of its
 * transport header, so neither its length nor its transport checksum is judged. */
MUST_USE const char *sim_packet_read_quoted(struct view bytes, struct sim_packet *out);
/* Builds a packet with right checksums; the writer fails when it does not fit. */
void sim_packet_put(struct writer *w, const struct sim_packet *packet);

MUST_USE bool sim_packet_is_echo_request(const struct sim_packet *packet);
MUST_USE bool sim_packet_is_echo_reply(const struct sim_packet *packet);
MUST_USE bool sim_packet_is_icmp_error(const struct sim_packet *packet);

/* The Internet checksum of a whole buffer plus a starting sum; 0 for a correct covered range. */
MUST_USE uint16_t sim_checksum(struct view bytes, uint32_t sum);

#endif /* SIM_PACKET_H */
