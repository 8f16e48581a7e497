/* packet_icmp: ICMP errors: what they quote, rewriting the quote, and answers of our own.
 *
 * Source: RFC 792, RFC 4443, RFC 1191, RFC 5508 section 4.2 (NAT of ICMP errors), RFC 1812 section
 * 4.3.2.7 (never answer an error); spec/dataplane.md sections 3.6 and 7.4.
 * Memory: nothing is allocated; a quote is described by offsets into its packet.
 */
#ifndef PACKET_ICMP_H
#define PACKET_ICMP_H

#include "packet/packet.h"

#define PACKET_ICMP_ANSWER_TTL 20U /* spec/dataplane.md section 3.6 */

enum packet_icmp_type {
    PACKET_ICMPV4_ECHO_REPLY = 0,
    PACKET_ICMPV4_UNREACHABLE = 3,
    PACKET_ICMPV4_REDIRECT = 5,
    PACKET_ICMPV4_ECHO_REQUEST = 8,
    PACKET_ICMPV4_TIME_EXCEEDED = 11,
    PACKET_ICMPV6_UNREACHABLE = 1,
    PACKET_ICMPV6_TOO_BIG = 2,
    PACKET_ICMPV6_TIME_EXCEEDED = 3,
    PACKET_ICMPV6_PARAMETER = 4,
    PACKET_ICMPV6_ECHO_REQUEST = 128,
    PACKET_ICMPV6_ECHO_REPLY = 129,
};

enum packet_icmp_error_kind {
    PACKET_ICMP_UNREACHABLE,
    PACKET_ICMP_TIME_EXCEEDED,
    PACKET_ICMP_TOO_BIG, /* also ICMPv4 type 3 code 4 */
};

/* The packet inside an error. Ports and addresses are as quoted: `source` sent the failed packet.
 */
struct packet_icmp_error {
    enum packet_icmp_error_kind kind;
    uint32_t mtu;           /* PACKET_ICMP_TOO_BIG: as received, may be 0; else 0 */
    enum packet_kind quote; /* PACKET_TCP, PACKET_UDP, PACKET_ICMP_ECHO_REQUEST or _REPLY */
    uint8_t quote_protocol;
    struct ip_addr quote_source;
    struct ip_addr quote_destination;
    uint16_t quote_source_port; /* or echo identifier */
    uint16_t quote_destination_port;
    size_t quote_offset;    /* quoted IP header, bytes from the packet's first */
    size_t quote_l4_offset; /* quoted L4 header, bytes from the packet's first */
    size_t quote_end;       /* bytes from the packet's first */
};

/* Reads the quote of a packet whose kind is PACKET_ICMP_ERROR (asserted). The quote must start with
 * a complete IP header of the packet's own version (IPv6 extension headers are walked) and hold 4
 * bytes of TCP or UDP or 8 of ICMP echo. Refuses with DROP_ICMP_UNTRANSLATABLE: other types,
 * unknown codes, other protocols, fragments after the first, shorter quotes. */
MUST_USE enum drop_reason packet_icmp_error_parse(const struct packet *packet,
                                                  const struct packet_info *info,
                                                  struct packet_icmp_error *out);

/* Rewrite the quote. The quoted IPv4 header checksum, the quoted L4 checksum as far as it lies
 * inside the quote, and the error's own checksum are updated. `error` is kept in step.
 * Asserts: the address has the packet's family. */
void packet_icmp_set_quote_source(struct packet *packet, const struct packet_info *info,
                                  struct packet_icmp_error *error, const struct ip_addr *to);
void packet_icmp_set_quote_destination(struct packet *packet, const struct packet_info *info,
                                       struct packet_icmp_error *error, const struct ip_addr *to);
void packet_icmp_set_quote_source_port(struct packet *packet, const struct packet_info *info,
                                       struct packet_icmp_error *error, uint16_t to);

enum packet_icmp_answer_kind {
    PACKET_ANSWER_PROHIBITED, /* ICMPv4 3/13, ICMPv6 1/1 */
    PACKET_ANSWER_NETWORK,    /* ICMPv4 3/0, ICMPv6 1/3 */
    PACKET_ANSWER_TOO_BIG,    /* ICMPv4 3/4, ICMPv6 2/0, with `mtu` */
};

struct packet_icmp_answer {
    enum packet_icmp_answer_kind kind;
    uint32_t mtu; /* PACKET_ANSWER_TOO_BIG only */
};

/* Writes the ICMP error that answers `offender` into `out`: from its destination to its source, TTL
 * 20, quoting the IPv4 header and 8 bytes, or as much IPv6 as fits into PACKET_INNER_MTU. Returns
 * the bytes written; 0 when nothing may be sent (the offender is itself an ICMP error, or comes
 * from or goes to a multicast or unspecified address) or `out` is too small: PACKET_INNER_MTU
 * always suffices. */
MUST_USE size_t packet_icmp_answer(struct span out, const struct packet *offender,
                                   const struct packet_info *info,
                                   struct packet_icmp_answer answer);

#endif /* PACKET_ICMP_H */
