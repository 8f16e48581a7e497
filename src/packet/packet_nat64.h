/* packet_nat64: stateless translation of a packet between IPv4 and IPv6, in place.
 *
 * Source: RFC 7915 and spec/dataplane.md section 6, with the defects of section 12 corrected: the
 * whole traffic class octet is copied, a UDP checksum of 0 is computed for IPv6, IPv6 extension
 * headers are dropped like IPv4 options, and errors with a truncated quote are translated.
 *
 * To IPv6: flow label 0, IPv4 options dropped; the packet grows by up to PACKET_GROWTH_MAX bytes to
 * the front, so that the caller checks the tunnel's MTU afterwards.
 * To IPv4: no options, identification 0, DF set. TTL and hop limit are copied, not decremented.
 * ICMP: echo; unreachable, time exceeded and packet too big with the code tables of section 6.3
 * ("protocol unreachable" becomes a parameter problem). Other ICMP is refused. Quotes are
 * translated too, whole or truncated; a checksum inside the quote is adjusted for the new headers.
 * RFC 4884 extensions are cut.
 * Partial checksums stay partial (ICMP changes its pseudo header and is completed).
 */
#ifndef PACKET_NAT64_H
#define PACKET_NAT64_H

#include "packet/packet.h"

/* New addresses, all of the target family. The quote's are used for ICMP errors only. */
struct packet_nat64 {
    struct ip_addr source;
    struct ip_addr destination;
    struct ip_addr quote_source;
    struct ip_addr quote_destination;
};

/* Translates the packet to the other IP version; `info` describes the result. Refuses with
 * DROP_ICMP_UNTRANSLATABLE, DROP_NAT_UNSUPPORTED (AH, no headroom, or a result above
 * PACKET_SIZE_MAX); the packet is unchanged then. Asserts: the addresses in use have the other
 * family than the packet. */
MUST_USE enum drop_reason packet_nat64(struct packet *packet, struct packet_info *info,
                                       const struct packet_nat64 *to);

#endif /* PACKET_NAT64_H */
