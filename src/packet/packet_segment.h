/* packet_segment: super-packets of the TUN device: cutting them into packets, and the reverse.
 *
 * A super-packet (TSO, USO) is one IP packet whose TCP or UDP payload stands for several packets
 * with the same headers. Cutting (TUN read): headers copied per segment, IPv4 identification +
 * index (0 with DF stays 0: a translated packet has none), lengths, TCP sequence + index *
 * gso_size, FIN and PSH on the last segment only, CWR on the first only, full checksums. The
 * checksum field of the super-packet itself is ignored. Coalescing (TUN write) is the reverse;
 * packet_segment_write() of a coalesced group gives the packets back (identifications of IPv4
 * packets with DF excepted, RFC 6864). Source: spec/dataplane.md section 11.5, spec/performance.md
 * sections 4.2 and 4.3; virtio 1.2 section 5.1.6. Memory: nothing is allocated; both structs borrow
 * the packets.
 */
#ifndef PACKET_SEGMENT_H
#define PACKET_SEGMENT_H

#include "packet/packet.h"

/* Segments of one super-packet: Linux fills 64 KiB whatever the segment size, and the smallest one
 * of its TCP is 48 bytes, of which options may take 40. */
#define PACKET_SEGMENTS_MAX 8192U
#define PACKET_SEGMENTS_UDP_MAX                                                                    \
    128U /* of a coalesced UDP write, spec/dataplane.md section 11.5                               \
          */

enum packet_gso {
    PACKET_GSO_NONE,
    PACKET_GSO_TCPV4,
    PACKET_GSO_TCPV6,
    PACKET_GSO_UDP,
};

/* Offload metadata of one packet, as struct gateway_offload. */
struct packet_offload {
    enum packet_gso gso;
    uint16_t gso_size;    /* payload bytes of each segment but the last; 0 without gso */
    bool checksum_needed; /* the L4 checksum field holds only the pseudo-header sum */
};

/* ---- cutting ---- */

/* A super-packet ready to be cut. Borrows the packet's bytes. */
struct packet_segments {
    struct packet packet;
    struct packet_info info;
    uint32_t count; /* 1..PACKET_SEGMENTS_MAX */
    uint16_t
        segment_size;   /* payload bytes of every segment but the last; count 1: of the only one */
    size_t header_size; /* bytes: IP and L4 headers */
    bool is_cut;        /* false: a plain packet, copied with its checksum completed */
    /* How payloads are summed: portable C, unless the owner puts another backend here. */
    const struct checksum_backend *sums;
    uint64_t ip_sum; /* of the IPv4 header without length, identification and checksum */
    uint64_t l4_sum; /* of L4 and pseudo header without lengths, sequence, flags and checksum */
};

/* Validates the offload metadata against the parsed packet. Refuses with DROP_TUN_OFFLOAD: the kind
 * does not fit protocol and version, gso_size 0, no payload, more than PACKET_SEGMENTS_MAX
 * segments, or a checksum to complete on a protocol without one. Sets packet->checksum_partial of
 * the copy. */
MUST_USE enum drop_reason packet_segments_init(struct packet_segments *out,
                                               const struct packet *packet,
                                               const struct packet_info *info,
                                               const struct packet_offload *offload);

/* Returns the size of segment `index` as an IP packet. Asserts: index < count. */
MUST_USE size_t packet_segment_size(const struct packet_segments *segments, uint32_t index);

/* Writes segment `index` to `out`, copying and summing in one pass. Returns packet_segment_size().
 * Asserts: index < count, `out` is long enough. `out` must not overlap the super-packet. */
size_t packet_segment_write(const struct packet_segments *segments, uint32_t index,
                            struct span out);

/* Returns the offload kind of a super-packet with these headers (changes when a packet has been
 * translated between IPv4 and IPv6); PACKET_GSO_NONE unless TCP or UDP. */
MUST_USE enum packet_gso packet_gso_of(const struct packet_info *info);

/* ---- coalescing ---- */

/* Consecutive packets of one flow that will be written as one. Borrows the first packet, whose
 * headers become the group's. */
struct packet_group {
    struct packet first;
    struct packet_info info;
    uint32_t segments_count;
    uint32_t segments_max; /* as given */
    uint16_t segment_size; /* payload bytes of the first packet */
    size_t total_size;     /* bytes of the super-packet so far */
    uint32_t seq_next;     /* TCP */
    bool is_closed;        /* nothing more may join */
    bool has_push;         /* TCP: the last segment carries PSH */
    /* How payloads are summed: portable C, unless the owner puts another backend here. */
    const struct checksum_backend *sums;
    uint64_t pseudo; /* sum of the pseudo header of packets as long as the first; once it is > 1 */
};

/* Opens a group with one packet. A packet that nothing can join (not TCP or UDP, options or
 * extension headers, no payload, TCP flags other than ACK and PSH, a partial or missing checksum)
 * gives a closed group of one. `segments_max` bounds the group (1 disables coalescing). */
void packet_group_start(struct packet_group *group, const struct packet *packet,
                        const struct packet_info *info, uint32_t segments_max);

/* True when both are of one flow: protocol, addresses and ports. A packet may join only the newest
 * group of its flow. */
MUST_USE bool packet_group_is_flow(const struct packet_group *group,
                                   const struct packet_info *info);

/* Appends the packet if the rules permit: true means that its payload (packet_payload()) is the
 * next slice of the group. Checksums are verified before anything is merged. A refusal leaves the
 * group as it was, except that it closes a group of the same flow: order is kept. */
MUST_USE bool packet_group_append(struct packet_group *group, const struct packet *packet,
                                  const struct packet_info *info);

/* The short way for the packets of a train, unparsed: true when the packet is exactly as long as
 * the group's first, its headers are those of the next packet in row and its checksums are right;
 * it is appended then, as packet_group_append() would have done. After false nothing has changed:
 * parse it and ask there. */
MUST_USE bool packet_group_follow(struct packet_group *group, const struct packet *packet);

/* Replaces the group's headers by those of `packet`: its first packet, which was translated since.
 * Nothing may join any more. Asserts: the payload's length is the same. */
void packet_group_rewrite(struct packet_group *group, const struct packet *packet,
                          const struct packet_info *info);

/* Completes the group: a group of more than one gets its lengths, flags and partial checksum
 * written into the first packet's headers. The super-packet is the whole first packet followed by
 * the payloads of the others. Returns the metadata to write it with. Call once. */
MUST_USE struct packet_offload packet_group_finish(struct packet_group *group);

#endif /* PACKET_SEGMENT_H */
