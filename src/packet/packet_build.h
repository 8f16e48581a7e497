/* packet_build: whole IP packets with right checksums, from their parts.
 *
 * Each builder appends one packet to a writer (which fails when it does not fit) and picks IPv4 or
 * IPv6 by the family of the addresses. A packet longer than PACKET_SIZE_MAX fails the writer.
 * Source: RFC 791, RFC 8200, RFC 768, RFC 9293, RFC 792, RFC 4443.
 * Memory: nothing is allocated.
 */
#ifndef PACKET_BUILD_H
#define PACKET_BUILD_H

#include "packet/packet.h"

#define PACKET_TTL_DEFAULT 64U

/* Fields of the IP header. Zero is a fine default for everything but the addresses. */
struct packet_build_ip {
    struct ip_addr source;
    struct ip_addr destination; /* same family */
    uint8_t traffic_class;      /* DSCP and ECN */
    uint8_t ttl;                /* 0 means PACKET_TTL_DEFAULT */
    uint16_t id;                /* IPv4 only */
    bool may_fragment;          /* IPv4 only: clears DF, which is set otherwise */
};

struct packet_build_ports {
    uint16_t source;
    uint16_t destination;
};

struct packet_build_tcp {
    struct packet_build_ports ports;
    uint32_t seq;
    uint32_t ack;
    uint8_t flags; /* PACKET_TCP_* */
    uint16_t window;
    struct view options; /* a multiple of 4 bytes, at most 40 (asserted) */
};

struct packet_build_echo {
    bool is_reply;
    uint16_t id;
    uint16_t seq;
};

struct packet_build_icmp {
    uint8_t type; /* of ICMPv4 or ICMPv6, by the family of the addresses */
    uint8_t code;
    uint32_t rest; /* bytes 4..7 of the header */
};

/* Appends the IP header alone, for `payload_len` bytes to follow. Asserts: equal families. */
void packet_build_ip_header(struct writer *w, const struct packet_build_ip *ip, uint8_t protocol,
                            size_t payload_len);
/* Any protocol: the IP header and the payload as given. */
void packet_build_raw(struct writer *w, const struct packet_build_ip *ip, uint8_t protocol,
                      struct view payload);
void packet_build_udp(struct writer *w, const struct packet_build_ip *ip,
                      struct packet_build_ports ports, struct view payload);
void packet_build_tcp(struct writer *w, const struct packet_build_ip *ip,
                      const struct packet_build_tcp *tcp, struct view payload);
void packet_build_icmp(struct writer *w, const struct packet_build_ip *ip,
                       const struct packet_build_icmp *icmp, struct view payload);
void packet_build_echo(struct writer *w, const struct packet_build_ip *ip,
                       const struct packet_build_echo *echo, struct view payload);

/* Appends an in-tunnel control packet: IPv6 header with next header 255 and everything else zero,
 * 8 bytes of event header, payload (spec/dataplane.md section 2.1). */
void packet_build_p2p(struct writer *w, uint8_t event, struct view payload);

#endif /* PACKET_BUILD_H */
