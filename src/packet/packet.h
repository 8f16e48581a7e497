/* packet: one inner IP packet inside a buffer, and what its headers say.
 *
 * Acceptance is strict (spec/dataplane.md section 10.2): the packet's length equals the header's
 * length field exactly, fragments are refused (an IPv6 fragment header of a whole packet, RFC 6946,
 * is not), the L4 header is complete and, for UDP, its length equals the IP payload. Extension
 * headers are walked, at most PACKET_EXTENSIONS_MAX of them. Stricter than the reference: a
 * routing header with segments left and an IPv4 source route are refused, as they would carry a
 * packet past the policy, and so are IPv4 options that cannot be read.
 * Checksums are not verified here; packet_checksums_ok() does.
 * Source: RFC 791, RFC 8200 section 4, RFC 4302 (AH), RFC 9293, RFC 768, RFC 792, RFC 4443.
 * Memory: nothing is allocated; a packet borrows its buffer.
 */
#ifndef PACKET_PACKET_H
#define PACKET_PACKET_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/drop.h"
#include "packet/checksum_backend.h"

#define PACKET_IPV4_HEADER_SIZE 20U /* bytes, without options */
#define PACKET_IPV6_HEADER_SIZE 40U
#define PACKET_TCP_HEADER_SIZE  20U /* bytes, without options */
#define PACKET_UDP_HEADER_SIZE  8U
#define PACKET_ICMP_HEADER_SIZE 8U
#define PACKET_INNER_MTU        1280U /* bytes, largest inner packet: spec/dataplane.md section 1.2 */
#define PACKET_SIZE_MAX         65535U /* bytes, largest super-packet */
#define PACKET_GROWTH_MAX       20U    /* bytes of headroom that a translation to IPv6 needs */
#define PACKET_EXTENSIONS_MAX   8U     /* headers; RFC 8200 section 4.1 names at most 7 in order */

enum packet_protocol {
    PACKET_PROTOCOL_HOP_BY_HOP = 0,
    PACKET_PROTOCOL_ICMP = 1,
    PACKET_PROTOCOL_TCP = 6,
    PACKET_PROTOCOL_UDP = 17,
    PACKET_PROTOCOL_ROUTING = 43,
    PACKET_PROTOCOL_FRAGMENT = 44,
    PACKET_PROTOCOL_AH = 51,
    PACKET_PROTOCOL_ICMPV6 = 58,
    PACKET_PROTOCOL_NONE = 59,
    PACKET_PROTOCOL_DESTINATION = 60,
    PACKET_PROTOCOL_P2P = 255, /* in-tunnel control, spec/dataplane.md section 2.1 */
};

enum packet_ecn {
    PACKET_ECN_NOT_ECT = 0,
    PACKET_ECN_ECT1 = 1,
    PACKET_ECN_ECT0 = 2,
    PACKET_ECN_CE = 3,
};

#define PACKET_TCP_FIN 0x01U
#define PACKET_TCP_SYN 0x02U
#define PACKET_TCP_RST 0x04U
#define PACKET_TCP_PSH 0x08U
#define PACKET_TCP_ACK 0x10U
#define PACKET_TCP_URG 0x20U
#define PACKET_TCP_ECE 0x40U
#define PACKET_TCP_CWR 0x80U

/* The packet is room.at[offset .. offset + len). Bytes of `room` before it are headroom. */
struct packet {
    struct span room;
    size_t offset;
    size_t len;            /* bytes */
    bool checksum_partial; /* the L4 checksum field holds only the folded pseudo-header sum */
};

enum packet_kind {
    PACKET_TCP,
    PACKET_UDP,
    PACKET_ICMP_ECHO_REQUEST, /* ICMPv4 type 8 or ICMPv6 type 128, code 0 */
    PACKET_ICMP_ECHO_REPLY,   /* ICMPv4 type 0 or ICMPv6 type 129, code 0 */
    PACKET_ICMP_ERROR,        /* ICMPv4 types 3, 4, 5, 11, 12; ICMPv6 types below 128 */
    PACKET_ICMP_OTHER,
    PACKET_OTHER, /* any other protocol; also AH, which hides nothing but is not translated */
};

struct packet_info {
    enum packet_kind kind;
    uint8_t version;  /* 4 or 6 */
    uint8_t protocol; /* upper layer, after the extension headers */
    struct ip_addr source;
    struct ip_addr destination;
    size_t l4_offset;          /* bytes from the packet's first */
    size_t payload_offset;     /* bytes from the packet's first; after the TCP, UDP, ICMP header */
    uint16_t source_port;      /* TCP, UDP; the identifier for ICMP echo; else 0 */
    uint16_t destination_port; /* TCP, UDP; the identifier for ICMP echo; else 0 */
    uint8_t icmp_type;         /* ICMP kinds only, else 0 */
    uint8_t icmp_code;         /* ICMP kinds only, else 0 */
    uint8_t tcp_flags;         /* PACKET_TCP_*, 0 for other kinds */
    uint8_t traffic_class;     /* the whole octet: DSCP and ECN */
    uint8_t ecn;               /* enum packet_ecn */
    uint8_t ttl;               /* or hop limit */
    bool has_options;          /* IPv4 options or IPv6 extension headers are present */
    bool dont_fragment;        /* IPv4 DF; true for IPv6 */
};

/* True for the extension headers of IPv6 that are walked. */
static inline bool packet_is_extension(uint8_t protocol)
{
    return protocol == PACKET_PROTOCOL_HOP_BY_HOP || protocol == PACKET_PROTOCOL_ROUTING ||
           protocol == PACKET_PROTOCOL_FRAGMENT || protocol == PACKET_PROTOCOL_DESTINATION;
}

/* Returns the packet at room[offset, offset + len), with a full checksum.
 * Asserts that the range lies inside `room`. */
struct packet packet_of(struct span room, size_t offset, size_t len);
struct view packet_view(const struct packet *packet);
/* Returns the packet's first byte. */
uint8_t *packet_bytes(const struct packet *packet);
/* Returns what follows the TCP, UDP or ICMP header (or the IP headers, for other protocols). */
struct view packet_payload(const struct packet *packet, const struct packet_info *info);

/* Reads and checks the headers. Any length is accepted up to PACKET_SIZE_MAX, so that super-packets
 * pass; limits of the tunnel are the caller's. `out` is zeroed on refusal. Refuses with
 * DROP_IP_MALFORMED, DROP_IP_LENGTH, DROP_IP_FRAGMENT, DROP_IP_EXTENSION or DROP_IP_L4.
 * Reads nothing outside the packet. */
MUST_USE enum drop_reason packet_parse(const struct packet *packet, struct packet_info *out);

/* The same for a decrypted packet, which may be padded (WireGuard pads to 16 bytes): cuts the
 * packet to the length in its IP header first. */
MUST_USE enum drop_reason packet_parse_padded(struct packet *packet, struct packet_info *out);

/* Returns the length that the IP header claims, 0 if there is no complete fixed header of version 4
 * or 6. The claim may exceed the bytes. */
MUST_USE size_t packet_claimed_size(struct view bytes);

/* Verifies the IPv4 header checksum and the TCP, UDP or ICMP checksum (over IPv4 a UDP checksum of
 * 0 passes; a partial checksum must equal the pseudo-header sum). Other protocols pass. */
MUST_USE bool packet_checksums_ok(const struct packet *packet, const struct packet_info *info);
/* The same, summed by `sums`. */
MUST_USE bool packet_checksums_ok_by(const struct packet *packet, const struct packet_info *info,
                                     const struct checksum_backend *sums);

/* Returns the byte offset of the L4 checksum field from the packet's first byte, 0 for kinds that
 * have none. */
MUST_USE size_t packet_checksum_offset(const struct packet_info *info);

/* True for TCP, UDP and ICMPv6: the L4 checksum covers the addresses. */
MUST_USE bool packet_has_pseudo_header(const struct packet_info *info);

#endif /* PACKET_PACKET_H */
