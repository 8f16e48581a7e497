/* packet_rewrite: address and port translation in place, with incremental checksums.
 *
 * A right checksum stays right and a wrong one stays wrong. A UDP checksum of 0 over IPv4 stays 0;
 * a computed 0 is written as 0xffff. On a packet with a partial checksum only the pseudo-header
 * part counts: addresses change the field, ports do not. `info` is kept in step with the packet.
 * Source: RFC 1624, RFC 3022 section 4.1, RFC 6040 section 4.2 (ECN), spec/dataplane.md sections
 * 5.6 and 10.2.
 */
#ifndef PACKET_REWRITE_H
#define PACKET_REWRITE_H

#include "packet/packet.h"

/* Replaces an address. Protocols other than TCP, UDP and ICMP get only the IP header fixed.
 * Asserts: the family equals the packet's. */
void packet_set_source(struct packet *packet, struct packet_info *info, const struct ip_addr *to);
void packet_set_destination(struct packet *packet, struct packet_info *info,
                            const struct ip_addr *to);

/* Replaces a port, or the identifier of an ICMP echo (then both functions do the same).
 * Asserts: the kind is TCP, UDP or ICMP echo. */
void packet_set_source_port(struct packet *packet, struct packet_info *info, uint16_t to);
void packet_set_destination_port(struct packet *packet, struct packet_info *info, uint16_t to);

/* Applies the ECN field of the outer datagram: outer CE marks an inner ECT packet CE; anything else
 * leaves the packet alone. */
void packet_apply_outer_ecn(struct packet *packet, struct packet_info *info, uint8_t outer_ecn);

/* Turns a partial checksum into a full one; nothing to do on a full one. Asserts nothing: a kind
 * without a checksum only loses the mark. */
void packet_complete_checksum(struct packet *packet, const struct packet_info *info);

/* Recomputes the IPv4 header checksum and the L4 checksum from scratch (full form). */
void packet_recompute_checksums(struct packet *packet, const struct packet_info *info);

#endif /* PACKET_REWRITE_H */
