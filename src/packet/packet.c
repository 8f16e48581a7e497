#include "packet/packet.h"

#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"

/* IPv4 options, RFC 791 section 3.1. */
#define OPTION_END          0U
#define OPTION_NONE         1U
#define OPTION_LOOSE_ROUTE  131U
#define OPTION_STRICT_ROUTE 137U

struct packet packet_of(struct span room, size_t offset, size_t len)
{
    ASSERT(offset <= room.len);
    ASSERT(len <= room.len - offset);
    return (struct packet){.room = room, .offset = offset, .len = len};
}

uint8_t *packet_bytes(const struct packet *packet)
{
    ASSERT(packet->offset <= packet->room.len);
    return packet->room.at + packet->offset;
}

struct view packet_view(const struct packet *packet)
{
    return (struct view){packet_bytes(packet), packet->len};
}

struct view packet_payload(const struct packet *packet, const struct packet_info *info)
{
    return view_sub(packet_view(packet), info->payload_offset, packet->len - info->payload_offset);
}

size_t packet_claimed_size(struct view bytes)
{
    if (bytes.len >= PACKET_IPV4_HEADER_SIZE && bytes.at[0] >> 4U == 4) {
        return load_be16(bytes.at + 2);
    }
    if (bytes.len >= PACKET_IPV6_HEADER_SIZE && bytes.at[0] >> 4U == 6) {
        return PACKET_IPV6_HEADER_SIZE + (size_t)load_be16(bytes.at + 4);
    }
    return 0;
}

/* Reads the IPv4 options. False for the two source routes with a stop to come, and for what cannot
 * be read: somebody behind us might find one there. RFC 791 section 3.1, RFC 7126 section 4. */
static bool options_ok(struct view options)
{
    while (options.len > 0 && options.at[0] != OPTION_END) {
        uint8_t kind = options.at[0];
        size_t size = 1;
        if (kind != OPTION_NONE) {
            size = options.len >= 2 ? options.at[1] : 0;
            if (size < 2 || size > options.len) {
                return false;
            }
        }
        bool is_route = kind == OPTION_LOOSE_ROUTE || kind == OPTION_STRICT_ROUTE;
        if (is_route && (size < 3 || options.at[2] <= size)) {
            return false;
        }
        options = view_sub(options, size, options.len - size);
    }
    return true;
}

static enum drop_reason parse_ipv4(struct view bytes, struct packet_info *out)
{
    size_t header_size = (size_t)(bytes.at[0] & 0x0fU) * 4;
    if (header_size < PACKET_IPV4_HEADER_SIZE) {
        return DROP_IP_MALFORMED;
    }
    if (header_size > bytes.len) {
        return DROP_IP_LENGTH;
    }
    uint16_t fragment = load_be16(bytes.at + 6);
    if ((fragment & 0x3fffU) != 0) {
        return DROP_IP_FRAGMENT;
    }
    out->version = 4;
    out->traffic_class = bytes.at[1];
    out->dont_fragment = (fragment & 0x4000U) != 0;
    out->ttl = bytes.at[8];
    out->protocol = bytes.at[9];
    out->source = ip_from_bytes(IP_V4, bytes.at + 12);
    out->destination = ip_from_bytes(IP_V4, bytes.at + 16);
    out->has_options = header_size > PACKET_IPV4_HEADER_SIZE;
    out->l4_offset = header_size;
    if (out->has_options && !options_ok(view_sub(bytes, PACKET_IPV4_HEADER_SIZE,
                                                 header_size - PACKET_IPV4_HEADER_SIZE))) {
        return DROP_IP_EXTENSION;
    }
    return DROP_NONE;
}

/* Checks the extension header `kind` at `at`, of which 8 bytes exist; gives its size. */
static enum drop_reason check_extension(uint8_t kind, const uint8_t *at, size_t *size)
{
    *size = (1 + (size_t)at[1]) * 8;
    if (kind == PACKET_PROTOCOL_FRAGMENT) {
        *size = 8;
        /* Offset and M both zero: an atomic fragment, RFC 6946. */
        return (load_be16(at + 2) & 0xfff9U) == 0 ? DROP_NONE : DROP_IP_FRAGMENT;
    }
    if (kind == PACKET_PROTOCOL_ROUTING && at[3] != 0) {
        return DROP_IP_EXTENSION;
    }
    return DROP_NONE;
}

/* Walks from the fixed header to the first header that is no extension. RFC 8200 section 4.1. */
static enum drop_reason walk_extensions(struct view bytes, struct packet_info *out)
{
    size_t at = PACKET_IPV6_HEADER_SIZE;
    uint8_t next = bytes.at[6];
    for (uint32_t count = 0; packet_is_extension(next); count++) {
        bool is_misplaced = next == PACKET_PROTOCOL_HOP_BY_HOP && count > 0;
        if (is_misplaced || count == PACKET_EXTENSIONS_MAX || bytes.len - at < 8) {
            return DROP_IP_EXTENSION;
        }
        size_t size = 0;
        enum drop_reason reason = check_extension(next, bytes.at + at, &size);
        if (reason != DROP_NONE) {
            return reason;
        }
        if (size > bytes.len - at) {
            return DROP_IP_EXTENSION;
        }
        next = bytes.at[at];
        at += size;
        out->has_options = true;
    }
    out->protocol = next;
    out->l4_offset = at;
    return DROP_NONE;
}

static enum drop_reason parse_ipv6(struct view bytes, struct packet_info *out)
{
    out->version = 6;
    out->traffic_class = (uint8_t)(load_be16(bytes.at) >> 4U);
    out->dont_fragment = true;
    out->ttl = bytes.at[7];
    out->source = ip_from_bytes(IP_V6, bytes.at + 8);
    out->destination = ip_from_bytes(IP_V6, bytes.at + 24);
    return walk_extensions(bytes, out);
}

static enum drop_reason parse_tcp(struct view l4, struct packet_info *out)
{
    if (l4.len < PACKET_TCP_HEADER_SIZE) {
        return DROP_IP_L4;
    }
    size_t header_size = (size_t)(l4.at[12] >> 4U) * 4;
    if (header_size < PACKET_TCP_HEADER_SIZE || header_size > l4.len) {
        return DROP_IP_L4;
    }
    out->kind = PACKET_TCP;
    out->source_port = load_be16(l4.at);
    out->destination_port = load_be16(l4.at + 2);
    out->tcp_flags = l4.at[13];
    out->payload_offset = out->l4_offset + header_size;
    return DROP_NONE;
}

static enum drop_reason parse_udp(struct view l4, struct packet_info *out)
{
    if (l4.len < PACKET_UDP_HEADER_SIZE || load_be16(l4.at + 4) != l4.len) {
        return DROP_IP_L4;
    }
    out->kind = PACKET_UDP;
    out->source_port = load_be16(l4.at);
    out->destination_port = load_be16(l4.at + 2);
    out->payload_offset = out->l4_offset + PACKET_UDP_HEADER_SIZE;
    return DROP_NONE;
}

static enum packet_kind kind_of_icmpv4(uint8_t type, uint8_t code)
{
    switch (type) {
    case 0:
        return code == 0 ? PACKET_ICMP_ECHO_REPLY : PACKET_ICMP_OTHER;
    case 8:
        return code == 0 ? PACKET_ICMP_ECHO_REQUEST : PACKET_ICMP_OTHER;
    case 3:
    case 4:
    case 5:
    case 11:
    case 12:
        return PACKET_ICMP_ERROR;
    default:
        return PACKET_ICMP_OTHER;
    }
}

static enum packet_kind kind_of_icmpv6(uint8_t type, uint8_t code)
{
    if (type < 128) { /* RFC 4443 section 2.1 */
        return PACKET_ICMP_ERROR;
    }
    if (type == 128 && code == 0) {
        return PACKET_ICMP_ECHO_REQUEST;
    }
    if (type == 129 && code == 0) {
        return PACKET_ICMP_ECHO_REPLY;
    }
    return PACKET_ICMP_OTHER;
}

static enum drop_reason parse_icmp(struct view l4, struct packet_info *out)
{
    bool is_v4 = out->protocol == PACKET_PROTOCOL_ICMP;
    if (is_v4 != (out->version == 4) || l4.len < PACKET_ICMP_HEADER_SIZE) {
        return DROP_IP_L4;
    }
    out->icmp_type = l4.at[0];
    out->icmp_code = l4.at[1];
    out->kind = is_v4 ? kind_of_icmpv4(l4.at[0], l4.at[1]) : kind_of_icmpv6(l4.at[0], l4.at[1]);
    if (out->kind == PACKET_ICMP_ECHO_REQUEST || out->kind == PACKET_ICMP_ECHO_REPLY) {
        out->source_port = load_be16(l4.at + 4);
        out->destination_port = out->source_port;
    }
    out->payload_offset = out->l4_offset + PACKET_ICMP_HEADER_SIZE;
    return DROP_NONE;
}

/* RFC 4302 section 2: the length field counts 32-bit words, minus 2. */
static enum drop_reason parse_ah(struct view l4)
{
    bool is_whole = l4.len >= 12 && l4.at[1] >= 1 && ((size_t)l4.at[1] + 2) * 4 <= l4.len;
    return is_whole ? DROP_NONE : DROP_IP_EXTENSION;
}

static enum drop_reason parse_l4(struct view bytes, struct packet_info *out)
{
    struct view l4 = view_sub(bytes, out->l4_offset, bytes.len - out->l4_offset);
    switch (out->protocol) {
    case PACKET_PROTOCOL_TCP:
        return parse_tcp(l4, out);
    case PACKET_PROTOCOL_UDP:
        return parse_udp(l4, out);
    case PACKET_PROTOCOL_ICMP:
    case PACKET_PROTOCOL_ICMPV6:
        return parse_icmp(l4, out);
    case PACKET_PROTOCOL_AH:
        out->kind = PACKET_OTHER;
        out->payload_offset = out->l4_offset;
        return parse_ah(l4);
    default:
        out->kind = PACKET_OTHER;
        out->payload_offset = out->l4_offset;
        return DROP_NONE;
    }
}

static enum drop_reason parse(struct view bytes, struct packet_info *out)
{
    if (bytes.len == 0 || bytes.len > PACKET_SIZE_MAX) {
        return DROP_IP_LENGTH;
    }
    size_t claimed = packet_claimed_size(bytes);
    if (claimed == 0) {
        return DROP_IP_MALFORMED;
    }
    if (claimed != bytes.len) {
        return DROP_IP_LENGTH;
    }
    enum drop_reason reason =
        bytes.at[0] >> 4U == 4 ? parse_ipv4(bytes, out) : parse_ipv6(bytes, out);
    if (reason != DROP_NONE) {
        return reason;
    }
    out->ecn = out->traffic_class & 3U;
    return parse_l4(bytes, out);
}

enum drop_reason packet_parse(const struct packet *packet, struct packet_info *out)
{
    *out = (struct packet_info){.version = 0};
    enum drop_reason reason = parse(packet_view(packet), out);
    if (reason != DROP_NONE) {
        *out = (struct packet_info){.version = 0};
    }
    return reason;
}

enum drop_reason packet_parse_padded(struct packet *packet, struct packet_info *out)
{
    size_t claimed = packet_claimed_size(packet_view(packet));
    if (claimed < packet->len && claimed > 0) {
        packet->len = claimed;
    }
    return packet_parse(packet, out);
}

size_t packet_checksum_offset(const struct packet_info *info)
{
    switch (info->kind) {
    case PACKET_TCP:
        return info->l4_offset + 16;
    case PACKET_UDP:
        return info->l4_offset + 6;
    case PACKET_ICMP_ECHO_REQUEST:
    case PACKET_ICMP_ECHO_REPLY:
    case PACKET_ICMP_ERROR:
    case PACKET_ICMP_OTHER:
        return info->l4_offset + 2;
    case PACKET_OTHER:
        return 0;
    }
    return 0;
}

bool packet_has_pseudo_header(const struct packet_info *info)
{
    return info->kind != PACKET_OTHER && info->protocol != PACKET_PROTOCOL_ICMP;
}

bool packet_checksums_ok(const struct packet *packet, const struct packet_info *info)
{
    return packet_checksums_ok_by(packet, info, &checksum_portable);
}

bool packet_checksums_ok_by(const struct packet *packet, const struct packet_info *info,
                            const struct checksum_backend *sums)
{
    struct view bytes = packet_view(packet);
    if (info->version == 4 &&
        checksum_finish(checksum_sum_header(bytes.at, info->l4_offset)) != 0) {
        return false;
    }
    size_t field = packet_checksum_offset(info);
    if (field == 0) {
        return true;
    }
    struct view l4 = view_sub(bytes, info->l4_offset, bytes.len - info->l4_offset);
    uint64_t pseudo = 0;
    if (packet_has_pseudo_header(info)) {
        pseudo = checksum_sum_pseudo(&info->source, &info->destination, info->protocol,
                                     (uint32_t)l4.len);
    }
    uint16_t stored = load_be16(bytes.at + field);
    if (packet->checksum_partial) {
        /* Both zeros of ones' complement stand for the same sum. */
        return (uint16_t)(stored % 0xffffU) == checksum_fold(pseudo) % 0xffffU;
    }
    if (info->kind == PACKET_UDP && stored == 0) {
        return info->version == 4;
    }
    return checksum_finish(pseudo + sums->sum(l4)) == 0;
}
