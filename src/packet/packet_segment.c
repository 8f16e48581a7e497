#include "packet/packet_segment.h"

#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"
#include "packet/packet_rewrite.h"

#define TCP_SEQ      4U /* offsets in the TCP header */
#define TCP_ACK      8U
#define TCP_FLAGS    13U
#define TCP_WINDOW   14U
#define TCP_CHECKSUM 16U
#define TCP_URGENT   18U
#define UDP_LENGTH   4U
#define UDP_CHECKSUM 6U

enum packet_gso packet_gso_of(const struct packet_info *info)
{
    if (info->kind == PACKET_UDP) {
        return PACKET_GSO_UDP;
    }
    if (info->kind != PACKET_TCP) {
        return PACKET_GSO_NONE;
    }
    return info->version == 4 ? PACKET_GSO_TCPV4 : PACKET_GSO_TCPV6;
}

/* Sums what is the same in every segment, so that each adds only what differs. Words of 32 bits are
 * as good as two of 16. */
static void prepare_sums(struct packet_segments *segments)
{
    const struct packet_info *info = &segments->info;
    const uint8_t *at = packet_bytes(&segments->packet);
    const uint8_t *l4 = at + info->l4_offset;
    if (info->version == 4) {
        segments->ip_sum = checksum_sum_header(at, info->l4_offset) - load_be16(at + 2) -
                           ((uint64_t)load_be16(at + 4) << 16U) - load_be16(at + 10);
    }
    segments->l4_sum = checksum_sum_header(l4, info->payload_offset - info->l4_offset) +
                       checksum_sum_pseudo(&info->source, &info->destination, info->protocol, 0);
    if (info->kind == PACKET_UDP) {
        segments->l4_sum -= load_be32(l4 + UDP_LENGTH); /* and checksum */
        return;
    }
    segments->l4_sum -= (uint64_t)load_be32(l4 + TCP_SEQ) + ((uint64_t)l4[TCP_FLAGS] << 16U) +
                        ((uint64_t)load_be16(l4 + TCP_CHECKSUM) << 16U);
}

enum drop_reason packet_segments_init(struct packet_segments *out, const struct packet *packet,
                                      const struct packet_info *info,
                                      const struct packet_offload *offload)
{
    *out = (struct packet_segments){
        .packet = *packet, .info = *info, .count = 1, .sums = &checksum_portable};
    out->header_size = info->payload_offset;
    size_t payload_len = packet->len - info->payload_offset;
    if (offload->gso == PACKET_GSO_NONE) {
        if (offload->checksum_needed && packet_checksum_offset(info) == 0) {
            return DROP_TUN_OFFLOAD;
        }
        out->packet.checksum_partial = offload->checksum_needed;
        out->segment_size = (uint16_t)payload_len;
        return DROP_NONE;
    }
    if (offload->gso != packet_gso_of(info) || offload->gso_size == 0 || payload_len == 0) {
        return DROP_TUN_OFFLOAD;
    }
    size_t count = (payload_len + offload->gso_size - 1) / offload->gso_size;
    if (count > PACKET_SEGMENTS_MAX) {
        return DROP_TUN_OFFLOAD;
    }
    out->packet.checksum_partial = true;
    out->count = (uint32_t)count;
    out->segment_size = count == 1 ? (uint16_t)payload_len : offload->gso_size;
    out->is_cut = true;
    prepare_sums(out);
    return DROP_NONE;
}

static size_t payload_size(const struct packet_segments *segments, uint32_t index)
{
    ASSERT(index < segments->count);
    if (index + 1 < segments->count) {
        return segments->segment_size;
    }
    size_t before = (size_t)index * segments->segment_size;
    return segments->packet.len - segments->header_size - before;
}

size_t packet_segment_size(const struct packet_segments *segments, uint32_t index)
{
    return segments->header_size + payload_size(segments, index);
}

/* Writes the fields of the IP header that differ between segments. */
static void put_ip(uint8_t *at, const struct packet_segments *segments, uint32_t index, size_t size)
{
    const struct packet_info *info = &segments->info;
    if (info->version == 6) {
        store_be16(at + 4, (uint16_t)(size - PACKET_IPV6_HEADER_SIZE));
        return;
    }
    uint16_t id = load_be16(at + 4);
    bool means_nothing = id == 0 && info->dont_fragment;
    id = (uint16_t)(id + (means_nothing ? 0 : index));
    store_be16(at + 2, (uint16_t)size);
    store_be16(at + 4, id);
    store_be16(at + 10, checksum_finish(segments->ip_sum + size + id));
}

/* Writes the fields of the L4 header that differ between segments. `len`: of header and payload,
 * which sums to `payload_sum`. The header's length is even: the payload starts on a word. */
static void put_l4(uint8_t *l4, const struct packet_segments *segments, uint32_t index, size_t len,
                   uint64_t payload_sum)
{
    uint64_t sum = segments->l4_sum + payload_sum + len;
    if (segments->info.kind == PACKET_UDP) {
        store_be16(l4 + UDP_LENGTH, (uint16_t)len);
        store_be16(l4 + UDP_CHECKSUM, checksum_finish_udp(sum + len));
        return;
    }
    uint32_t seq = load_be32(l4 + TCP_SEQ) + index * segments->segment_size;
    uint8_t flags = l4[TCP_FLAGS];
    if (index + 1 < segments->count) {
        flags &= (uint8_t) ~(PACKET_TCP_FIN | PACKET_TCP_PSH);
    }
    if (index > 0) {
        flags &= (uint8_t)~PACKET_TCP_CWR;
    }
    store_be32(l4 + TCP_SEQ, seq);
    l4[TCP_FLAGS] = flags;
    store_be16(l4 + TCP_CHECKSUM, checksum_finish(sum + seq + flags));
}

/* Copies a packet that is not cut, in one pass with the sum where the checksum is to be completed.
 */
static void write_plain(const struct packet_segments *segments, struct span out)
{
    const struct packet_info *info = &segments->info;
    struct view bytes = packet_view(&segments->packet);
    if (!segments->packet.checksum_partial || !packet_has_pseudo_header(info)) {
        memcpy(out.at, bytes.at, bytes.len);
        struct packet copy = packet_of(out, 0, bytes.len);
        copy.checksum_partial = segments->packet.checksum_partial;
        packet_complete_checksum(&copy, info);
        return;
    }
    uint8_t *field = out.at + packet_checksum_offset(info);
    struct view l4 = view_sub(bytes, info->l4_offset, bytes.len - info->l4_offset);
    memcpy(out.at, bytes.at, info->l4_offset);
    uint64_t sum =
        segments->sums->copy(out.at + info->l4_offset, l4) +
        checksum_sum_pseudo(&info->source, &info->destination, info->protocol, (uint32_t)l4.len);
    sum += (uint16_t)~load_be16(field); /* what stands there is not summed */
    store_be16(field, info->kind == PACKET_UDP ? checksum_finish_udp(sum) : checksum_finish(sum));
}

size_t packet_segment_write(const struct packet_segments *segments, uint32_t index, struct span out)
{
    size_t payload_len = payload_size(segments, index);
    size_t header_size = segments->header_size;
    size_t size = header_size + payload_len;
    ASSERT(size <= out.len);
    if (!segments->is_cut) {
        write_plain(segments, out);
        return size;
    }
    size_t l4_offset = segments->info.l4_offset;
    size_t before = (size_t)index * segments->segment_size;
    struct view all = packet_view(&segments->packet);
    memcpy(out.at, all.at, header_size);
    struct view payload = view_sub(all, header_size + before, payload_len);
    uint64_t payload_sum = segments->sums->copy(out.at + header_size, payload);
    put_ip(out.at, segments, index, size);
    put_l4(out.at + l4_offset, segments, index, size - l4_offset, payload_sum);
    return size;
}

static bool is_joinable(const struct packet *packet, const struct packet_info *info)
{
    if (info->has_options || packet->checksum_partial || packet->len == info->payload_offset) {
        return false;
    }
    if (info->kind == PACKET_UDP) {
        return load_be16(packet_bytes(packet) + info->l4_offset + UDP_CHECKSUM) != 0;
    }
    uint8_t others = info->tcp_flags & (uint8_t)~PACKET_TCP_PSH;
    /* The four bits beside the data offset are zero or accurate ECN's; both ends would differ. */
    uint8_t reserved = packet_bytes(packet)[info->l4_offset + 12] & 0x0fU;
    return info->kind == PACKET_TCP && others == PACKET_TCP_ACK && reserved == 0;
}

void packet_group_start(struct packet_group *group, const struct packet *packet,
                        const struct packet_info *info, uint32_t segments_max)
{
    *group = (struct packet_group){
        .first = *packet,
        .info = *info,
        .segments_count = 1,
        .segments_max = segments_max,
        .total_size = packet->len,
        .sums = &checksum_portable,
    };
    size_t payload_len = packet->len - info->payload_offset;
    group->segment_size = (uint16_t)payload_len;
    if (!is_joinable(packet, info)) {
        group->is_closed = true;
        return;
    }
    if (info->kind == PACKET_UDP && group->segments_max > PACKET_SEGMENTS_UDP_MAX) {
        group->segments_max = PACKET_SEGMENTS_UDP_MAX;
    }
    if (info->kind == PACKET_TCP) {
        const uint8_t *l4 = packet_bytes(packet) + info->l4_offset;
        group->seq_next = load_be32(l4 + TCP_SEQ) + (uint32_t)payload_len;
        group->has_push = (info->tcp_flags & PACKET_TCP_PSH) != 0;
        group->is_closed = group->has_push;
    }
    if (group->segments_max <= 1) {
        group->is_closed = true;
    }
}

bool packet_group_is_flow(const struct packet_group *group, const struct packet_info *info)
{
    const struct packet_info *own = &group->info;
    return own->protocol == info->protocol && own->source_port == info->source_port &&
           own->destination_port == info->destination_port &&
           ip_equal(&own->source, &info->source) && ip_equal(&own->destination, &info->destination);
}

/* The IP headers must agree in everything that cutting does not derive. */
static bool is_same_ip(const struct packet_group *group, const struct packet *packet,
                       const struct packet_info *info)
{
    const struct packet_info *own = &group->info;
    if (own->version != info->version || own->traffic_class != info->traffic_class ||
        own->ttl != info->ttl || own->dont_fragment != info->dont_fragment) {
        return false;
    }
    const uint8_t *first = packet_bytes(&group->first);
    const uint8_t *next = packet_bytes(packet);
    if (info->version == 6) {
        return load_be32(first) == load_be32(next); /* the flow label */
    }
    /* The reserved bit, and the identification where it means something (RFC 6864). */
    bool is_in_row =
        load_be16(next + 4) == (uint16_t)(load_be16(first + 4) + group->segments_count);
    return load_be16(first + 6) == load_be16(next + 6) && (info->dont_fragment || is_in_row);
}

static bool is_same_tcp(const struct packet_group *group, const struct packet *packet,
                        const struct packet_info *info)
{
    if (info->payload_offset != group->info.payload_offset) {
        return false;
    }
    const uint8_t *first = packet_bytes(&group->first) + group->info.l4_offset;
    const uint8_t *next = packet_bytes(packet) + info->l4_offset;
    size_t options_len = info->payload_offset - info->l4_offset - PACKET_TCP_HEADER_SIZE;
    bool is_same_window = load_be16(first + 14) == load_be16(next + 14);
    bool is_same_urgent = load_be16(first + 18) == load_be16(next + 18);
    return load_be32(next + TCP_SEQ) == group->seq_next &&
           load_be32(next + TCP_ACK) == load_be32(first + TCP_ACK) && is_same_window &&
           is_same_urgent &&
           memcmp(first + PACKET_TCP_HEADER_SIZE, next + PACKET_TCP_HEADER_SIZE, options_len) == 0;
}

/* Before the first is joined by others: true when its checksums are right. */
static bool check_first(struct packet_group *group)
{
    const struct packet_info *own = &group->info;
    if (group->segments_count > 1) {
        return true;
    }
    group->pseudo = checksum_sum_pseudo(&own->source, &own->destination, own->protocol,
                                        (uint32_t)(group->first.len - own->l4_offset));
    return packet_checksums_ok_by(&group->first, own, group->sums);
}

static bool may_append(struct packet_group *group, const struct packet *packet,
                       const struct packet_info *info)
{
    size_t payload_len = packet->len - info->payload_offset;
    if (!is_joinable(packet, info) || payload_len > group->segment_size ||
        group->total_size + payload_len > PACKET_SIZE_MAX || !is_same_ip(group, packet, info)) {
        return false;
    }
    if (info->kind == PACKET_TCP && !is_same_tcp(group, packet, info)) {
        return false;
    }
    return check_first(group) && packet_checksums_ok_by(packet, info, group->sums);
}

static void append(struct packet_group *group, size_t payload_len, uint8_t tcp_flags)
{
    group->segments_count++;
    group->total_size += payload_len;
    group->seq_next += (uint32_t)payload_len;
    group->has_push = (tcp_flags & PACKET_TCP_PSH) != 0;
    group->is_closed = group->has_push || payload_len < group->segment_size ||
                       group->segments_count == group->segments_max;
}

bool packet_group_append(struct packet_group *group, const struct packet *packet,
                         const struct packet_info *info)
{
    if (!packet_group_is_flow(group, info)) {
        return false;
    }
    if (group->is_closed || !may_append(group, packet, info)) {
        group->is_closed = true;
        return false;
    }
    append(group, packet->len - info->payload_offset, info->tcp_flags);
    return true;
}

/* The IP header of a packet as long as the first: the next in row? Neither has options. */
static bool follows_ip(const struct packet_group *group, const uint8_t *first, const uint8_t *next)
{
    if (group->info.version == 6) {
        return memcmp(first, next, 8) == 0 && memcmp(first + 8, next + 8, 16) == 0 &&
               memcmp(first + 24, next + 24, 16) == 0;
    }
    bool is_in_row =
        load_be16(next + 4) == (uint16_t)(load_be16(first + 4) + group->segments_count);
    return memcmp(first, next, 4) == 0 && memcmp(first + 6, next + 6, 4) == 0 &&
           memcmp(first + 12, next + 12, 8) == 0 && (group->info.dont_fragment || is_in_row);
}

/* The same for its L4 header. */
static bool follows_l4(const struct packet_group *group, const uint8_t *first, const uint8_t *next)
{
    if (group->info.kind == PACKET_UDP) {
        return memcmp(first, next, UDP_CHECKSUM) == 0 && load_be16(next + UDP_CHECKSUM) != 0;
    }
    size_t options_len =
        group->info.payload_offset - group->info.l4_offset - PACKET_TCP_HEADER_SIZE;
    return memcmp(first, next, TCP_SEQ) == 0 && load_be32(next + TCP_SEQ) == group->seq_next &&
           memcmp(first + TCP_ACK, next + TCP_ACK, TCP_FLAGS - TCP_ACK) == 0 &&
           (next[TCP_FLAGS] & (uint8_t)~PACKET_TCP_PSH) == PACKET_TCP_ACK &&
           memcmp(first + TCP_WINDOW, next + TCP_WINDOW, 2) == 0 &&
           memcmp(first + TCP_URGENT, next + TCP_URGENT, 2) == 0 &&
           (options_len == 0 || memcmp(first + PACKET_TCP_HEADER_SIZE,
                                       next + PACKET_TCP_HEADER_SIZE, options_len) == 0);
}

bool packet_group_follow(struct packet_group *group, const struct packet *packet)
{
    const struct packet_info *own = &group->info;
    if (group->is_closed || packet->len != group->first.len || packet->checksum_partial ||
        group->total_size + group->segment_size > PACKET_SIZE_MAX) {
        return false;
    }
    const uint8_t *first = packet_bytes(&group->first);
    const uint8_t *next = packet_bytes(packet);
    struct view l4 = {next + own->l4_offset, packet->len - own->l4_offset};
    if (!follows_ip(group, first, next) || !follows_l4(group, first + own->l4_offset, l4.at) ||
        !check_first(group)) {
        return false;
    }
    bool is_right = own->version == 6 ||
                    checksum_finish(checksum_sum_header(next, PACKET_IPV4_HEADER_SIZE)) == 0;
    if (!is_right || checksum_finish(group->pseudo + group->sums->sum(l4)) != 0) {
        return false;
    }
    append(group, group->segment_size, own->kind == PACKET_TCP ? l4.at[TCP_FLAGS] : 0);
    return true;
}

void packet_group_rewrite(struct packet_group *group, const struct packet *packet,
                          const struct packet_info *info)
{
    size_t before = group->first.len - group->info.payload_offset;
    ASSERT(packet->len - info->payload_offset == before);
    group->total_size = group->total_size - group->first.len + packet->len;
    ASSERT(group->total_size <= PACKET_SIZE_MAX);
    group->first = *packet;
    group->info = *info;
    group->is_closed = true;
}

/* Writes the length of the super-packet into its IP header. */
static void patch_ip(uint8_t *at, const struct packet_info *info, size_t size)
{
    if (info->version == 6) {
        store_be16(at + 4, (uint16_t)(size - PACKET_IPV6_HEADER_SIZE));
        return;
    }
    store_be16(at + 2, (uint16_t)size);
    store_be16(at + 10, 0);
    store_be16(at + 10, checksum_finish(checksum_sum_header(at, info->l4_offset)));
}

/* Writes the lengths and the pseudo-header sum of the super-packet. */
static void patch_super(const struct packet_group *group)
{
    const struct packet_info *info = &group->info;
    uint8_t *at = packet_bytes(&group->first);
    uint8_t *l4 = at + info->l4_offset;
    patch_ip(at, info, group->total_size);
    size_t l4_len = group->total_size - info->l4_offset;
    if (info->kind == PACKET_UDP) {
        store_be16(l4 + UDP_LENGTH, (uint16_t)l4_len);
    } else if (group->has_push) {
        l4[TCP_FLAGS] |= PACKET_TCP_PSH;
    }
    uint64_t pseudo =
        checksum_sum_pseudo(&info->source, &info->destination, info->protocol, (uint32_t)l4_len);
    store_be16(at + packet_checksum_offset(info), checksum_fold(pseudo));
}

struct packet_offload packet_group_finish(struct packet_group *group)
{
    group->is_closed = true;
    if (group->segments_count == 1) {
        return (struct packet_offload){.checksum_needed = group->first.checksum_partial};
    }
    patch_super(group);
    group->first.checksum_partial = true;
    return (struct packet_offload){
        .gso = packet_gso_of(&group->info),
        .gso_size = group->segment_size,
        .checksum_needed = true,
    };
}
