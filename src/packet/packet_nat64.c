#include "packet/packet_nat64.h"

#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"
#include "packet/packet_icmp.h"
#include "packet/packet_rewrite.h"

/* The first 8 bytes of an ICMP message, without the checksum. */
struct icmp_head {
    uint8_t type;
    uint8_t code;
    uint32_t rest;
};

/* An IP header about to be written in the place of another. */
struct new_header {
    const struct ip_addr *source;
    const struct ip_addr *destination;
    size_t payload_len; /* as the length field claims it; a quote may hold less */
    uint8_t protocol;   /* already mapped */
    uint8_t traffic_class;
    uint8_t ttl;
};

/* The quoted packet of an error, before translation. */
struct quote {
    size_t payload_len; /* as claimed */
    size_t l4_held;     /* bytes of the L4 part that the quote holds */
    uint8_t traffic_class;
    uint8_t ttl;
};

static size_t header_size_of(enum ip_family family)
{
    return family == IP_V4 ? PACKET_IPV4_HEADER_SIZE : PACKET_IPV6_HEADER_SIZE;
}

static uint8_t map_protocol(uint8_t protocol)
{
    if (protocol == PACKET_PROTOCOL_ICMP) {
        return PACKET_PROTOCOL_ICMPV6;
    }
    return protocol == PACKET_PROTOCOL_ICMPV6 ? PACKET_PROTOCOL_ICMP : protocol;
}

/* RFC 7915 sections 4.1 and 5.1. */
static void write_header(uint8_t *at, const struct new_header *header)
{
    if (header->source->family == IP_V6) {
        store_be32(at, UINT32_C(0x60000000) | (uint32_t)header->traffic_class << 20U);
        store_be16(at + 4, (uint16_t)header->payload_len);
        at[6] = header->protocol;
        at[7] = header->ttl;
        memcpy(at + 8, header->source->bytes, 16);
        memcpy(at + 24, header->destination->bytes, 16);
        return;
    }
    at[0] = 0x45;
    at[1] = header->traffic_class;
    store_be16(at + 2, (uint16_t)(PACKET_IPV4_HEADER_SIZE + header->payload_len));
    store_be16(at + 4, 0);
    store_be16(at + 6, 0x4000U);
    at[8] = header->ttl;
    at[9] = header->protocol;
    store_be16(at + 10, 0);
    memcpy(at + 12, header->source->bytes, 4);
    memcpy(at + 16, header->destination->bytes, 4);
    struct view written = {at, PACKET_IPV4_HEADER_SIZE};
    store_be16(at + 10, checksum_finish(checksum_sum(written)));
}

/* RFC 1191 section 7.1: the plateau strictly below the size that did not fit; 0 if none. */
static uint32_t plateau_below(size_t size)
{
    static const uint16_t plateaus[] = {65535, 32000, 8166, 4352, 2002, 1492, 1006, 508, 296, 68};
    for (size_t i = 0; i < ARRAY_COUNT(plateaus); i++) {
        if (plateaus[i] < size) {
            return plateaus[i];
        }
    }
    return 0;
}

/* spec/dataplane.md section 6.3, IPv4 type 3 except code 4. */
static bool map_unreachable_v4(uint8_t code, struct icmp_head *out)
{
    switch (code) {
    case 0:
    case 1:
    case 5:
    case 6:
    case 7:
    case 8:
    case 11:
    case 12:
        *out = (struct icmp_head){.type = PACKET_ICMPV6_UNREACHABLE, .code = 0};
        return true;
    case 2: /* the pointer names the next header field */
        *out = (struct icmp_head){.type = PACKET_ICMPV6_PARAMETER, .code = 1, .rest = 6};
        return true;
    case 3:
        *out = (struct icmp_head){.type = PACKET_ICMPV6_UNREACHABLE, .code = 4};
        return true;
    case 9:
    case 10:
    case 13:
    case 15:
        *out = (struct icmp_head){.type = PACKET_ICMPV6_UNREACHABLE, .code = 1};
        return true;
    default:
        return false;
    }
}

static bool map_error_v4(const struct packet_info *info, const struct packet_icmp_error *error,
                         size_t quoted_size, struct icmp_head *out)
{
    switch (error->kind) {
    case PACKET_ICMP_TIME_EXCEEDED:
        *out = (struct icmp_head){.type = PACKET_ICMPV6_TIME_EXCEEDED, .code = info->icmp_code};
        return true;
    case PACKET_ICMP_TOO_BIG:
        *out = (struct icmp_head){.type = PACKET_ICMPV6_TOO_BIG};
        out->rest = error->mtu != 0 ? error->mtu + PACKET_GROWTH_MAX : plateau_below(quoted_size);
        return out->rest != 0;
    case PACKET_ICMP_UNREACHABLE:
        return map_unreachable_v4(info->icmp_code, out);
    }
    return false;
}

/* spec/dataplane.md section 6.3, IPv6 type 1. */
static bool map_unreachable_v6(uint8_t code, struct icmp_head *out)
{
    *out = (struct icmp_head){.type = PACKET_ICMPV4_UNREACHABLE};
    switch (code) {
    case 0:
    case 2:
    case 3:
        out->code = 1;
        return true;
    case 1:
        out->code = 10;
        return true;
    case 4:
        out->code = 3;
        return true;
    default:
        return false;
    }
}

static bool map_error_v6(const struct packet_info *info, const struct packet_icmp_error *error,
                         struct icmp_head *out)
{
    switch (error->kind) {
    case PACKET_ICMP_TIME_EXCEEDED:
        *out = (struct icmp_head){.type = PACKET_ICMPV4_TIME_EXCEEDED, .code = info->icmp_code};
        return true;
    case PACKET_ICMP_TOO_BIG: {
        /* Less than the smallest IPv4 MTU would stop the sender for good: RFC 791 section 3.2. */
        uint32_t mtu = error->mtu < PACKET_SIZE_MAX ? error->mtu : PACKET_SIZE_MAX;
        mtu = mtu > 68 + PACKET_GROWTH_MAX ? mtu - PACKET_GROWTH_MAX : 68;
        *out = (struct icmp_head){.type = PACKET_ICMPV4_UNREACHABLE, .code = 4, .rest = mtu};
        return true;
    }
    case PACKET_ICMP_UNREACHABLE:
        return map_unreachable_v6(info->icmp_code, out);
    }
    return false;
}

/* Echo messages keep identifier and sequence number. */
static struct icmp_head map_echo(bool is_reply, bool to_v6, const uint8_t *l4)
{
    struct icmp_head head = {.rest = load_be32(l4 + 4)};
    if (to_v6) {
        head.type = is_reply ? PACKET_ICMPV6_ECHO_REPLY : PACKET_ICMPV6_ECHO_REQUEST;
    } else {
        head.type = is_reply ? PACKET_ICMPV4_ECHO_REPLY : PACKET_ICMPV4_ECHO_REQUEST;
    }
    return head;
}

/* Adjusts the checksum at `field` from the old pseudo header to the new one. ICMP has none in IPv4,
 * so the sums may be of something or of nothing. */
static uint16_t adjusted(uint16_t stored, bool is_partial, uint64_t removed, uint64_t added)
{
    if (is_partial) {
        return (uint16_t)~checksum_adjust((uint16_t)~stored, removed, added);
    }
    return checksum_adjust(stored, removed, added);
}

/* Checks everything that could refuse a plain packet. */
static enum drop_reason check_room(const struct packet *packet, size_t old_header,
                                   enum ip_family family, size_t l4_len)
{
    size_t new_header = header_size_of(family);
    bool has_headroom = packet->offset + old_header >= new_header;
    bool fits = new_header + l4_len <= PACKET_SIZE_MAX;
    return has_headroom && fits ? DROP_NONE : DROP_NAT_UNSUPPORTED;
}

/* Replaces the IP header in front of the L4 part, which does not move. */
static void replace_header(struct packet *packet, struct packet_info *info,
                           const struct packet_nat64 *to)
{
    enum ip_family family = to->source.family == IP_V4 ? IP_V4 : IP_V6;
    size_t size = header_size_of(family);
    size_t payload_size = info->payload_offset - info->l4_offset;
    size_t l4_at = packet->offset + info->l4_offset;
    size_t l4_len = packet->len - info->l4_offset;
    packet->offset = l4_at - size;
    packet->len = size + l4_len;
    info->protocol = map_protocol(info->protocol);
    struct new_header header = {
        .source = &to->source,
        .destination = &to->destination,
        .payload_len = l4_len,
        .protocol = info->protocol,
        .traffic_class = info->traffic_class,
        .ttl = info->ttl,
    };
    write_header(packet_bytes(packet), &header);
    info->version = family == IP_V4 ? 4 : 6;
    info->source = to->source;
    info->destination = to->destination;
    info->l4_offset = size;
    info->payload_offset = size + payload_size;
    info->has_options = false;
    info->dont_fragment = true;
}

static enum drop_reason translate_transport(struct packet *packet, struct packet_info *info,
                                            const struct packet_nat64 *to)
{
    uint64_t removed =
        checksum_sum_address(&info->source) + checksum_sum_address(&info->destination);
    uint64_t added = checksum_sum_address(&to->source) + checksum_sum_address(&to->destination);
    replace_header(packet, info, to);
    size_t offset = packet_checksum_offset(info);
    if (offset == 0) {
        return DROP_NONE;
    }
    uint8_t *field = packet_bytes(packet) + offset;
    uint16_t stored = load_be16(field);
    bool is_udp = info->kind == PACKET_UDP;
    if (is_udp && stored == 0 && !packet->checksum_partial) {
        /* "Not computed" does not exist in IPv6 (RFC 7915 section 4.5). */
        packet_recompute_checksums(packet, info);
        return DROP_NONE;
    }
    uint16_t checksum = adjusted(stored, packet->checksum_partial, removed, added);
    bool is_computed_zero = is_udp && checksum == 0 && !packet->checksum_partial;
    store_be16(field, is_computed_zero ? 0xffffU : checksum);
    return DROP_NONE;
}

static void write_icmp_head(uint8_t *l4, const struct icmp_head *head)
{
    l4[0] = head->type;
    l4[1] = head->code;
    store_be32(l4 + 4, head->rest);
}

static enum drop_reason translate_echo(struct packet *packet, struct packet_info *info,
                                       const struct packet_nat64 *to)
{
    packet_complete_checksum(packet, info);
    uint32_t l4_len = (uint32_t)(packet->len - info->l4_offset);
    uint8_t *l4 = packet_bytes(packet) + info->l4_offset;
    bool to_v6 = to->source.family == IP_V6;
    struct icmp_head head = map_echo(info->kind == PACKET_ICMP_ECHO_REPLY, to_v6, l4);
    uint64_t removed = load_be16(l4);
    if (!to_v6) {
        removed += checksum_sum_pseudo(&info->source, &info->destination, info->protocol, l4_len);
    }
    write_icmp_head(l4, &head);
    uint64_t added = load_be16(l4);
    if (to_v6) {
        added += checksum_sum_pseudo(&to->source, &to->destination, PACKET_PROTOCOL_ICMPV6, l4_len);
    }
    store_be16(l4 + 2, checksum_adjust(load_be16(l4 + 2), removed, added));
    replace_header(packet, info, to);
    info->icmp_type = head.type;
    return DROP_NONE;
}

/* Reads the length that an RFC 4884 error gives for its quote, 0 if it gives none. The unit is 32
 * bits in IPv4 and 64 bits in IPv6; packet too big has no such field. */
static size_t quote_length_attribute(const struct packet *packet, const struct packet_info *info,
                                     const struct packet_icmp_error *error)
{
    const uint8_t *l4 = packet_bytes(packet) + info->l4_offset;
    if (info->version == 4) {
        return (size_t)l4[5] * 4;
    }
    return error->kind == PACKET_ICMP_TOO_BIG ? 0 : (size_t)l4[4] * 8;
}

static struct quote read_quote(const struct packet *packet, const struct packet_info *info,
                               const struct packet_icmp_error *error)
{
    const uint8_t *at = packet_bytes(packet) + error->quote_offset;
    size_t headers = error->quote_l4_offset - error->quote_offset;
    size_t claimed = packet_claimed_size((struct view){at, error->quote_end - error->quote_offset});
    size_t end = error->quote_end;
    size_t attribute = quote_length_attribute(packet, info, error);
    if (attribute != 0 && error->quote_offset + attribute < end) {
        end = error->quote_offset + attribute;
    }
    bool is_v4 = info->version == 4;
    return (struct quote){
        /* A claim below the headers is nonsense; the quote is then what it holds. */
        .payload_len =
            claimed > headers ? claimed - headers : error->quote_end - error->quote_l4_offset,
        .l4_held = end > error->quote_l4_offset ? end - error->quote_l4_offset : 0,
        .traffic_class = is_v4 ? at[1] : (uint8_t)(load_be16(at) >> 4U),
        .ttl = is_v4 ? at[8] : at[7],
    };
}

/* Fixes the L4 header inside the quote, as far as it is there. The quoted checksum stays wrong if
 * it was wrong. */
static void translate_quoted_l4(uint8_t *l4, const struct quote *quote,
                                const struct packet_icmp_error *error,
                                const struct packet_nat64 *to)
{
    bool to_v6 = to->quote_source.family == IP_V6;
    uint64_t removed = checksum_sum_address(&error->quote_source) +
                       checksum_sum_address(&error->quote_destination);
    uint64_t added =
        checksum_sum_address(&to->quote_source) + checksum_sum_address(&to->quote_destination);
    uint32_t l4_len = (uint32_t)quote->payload_len;
    size_t field = 0;
    if (error->quote == PACKET_TCP || error->quote == PACKET_UDP) {
        field = error->quote == PACKET_TCP ? 16 : 6;
    } else {
        struct icmp_head head = map_echo(error->quote == PACKET_ICMP_ECHO_REPLY, to_v6, l4);
        /* Only ICMPv6 has a pseudo header. */
        uint64_t pseudo = (l4_len >> 16U) + (l4_len & 0xffffU) + PACKET_PROTOCOL_ICMPV6;
        removed = load_be16(l4) + (to_v6 ? 0 : removed + pseudo);
        write_icmp_head(l4, &head);
        added = load_be16(l4) + (to_v6 ? added + pseudo : 0);
        field = 2;
    }
    bool is_udp = error->quote == PACKET_UDP;
    if (quote->l4_held < field + 2 || (is_udp && load_be16(l4 + field) == 0)) {
        return;
    }
    uint16_t checksum = checksum_adjust(load_be16(l4 + field), removed, added);
    store_be16(l4 + field, is_udp && checksum == 0 ? 0xffffU : checksum);
}

/* The quoted L4 part stays where it is; the three headers in front of it are written anew. */
static void write_error(struct packet *packet, struct packet_info *info,
                        const struct packet_nat64 *to, const struct packet_icmp_error *error,
                        const struct quote *quote)
{
    size_t header_size = header_size_of(to->source.family == IP_V4 ? IP_V4 : IP_V6);
    uint8_t *l4 = packet_bytes(packet) + error->quote_l4_offset;
    translate_quoted_l4(l4, quote, error, to);
    struct new_header header = {
        .source = &to->quote_source,
        .destination = &to->quote_destination,
        .payload_len = quote->payload_len,
        .protocol = map_protocol(error->quote_protocol),
        .traffic_class = quote->traffic_class,
        .ttl = quote->ttl,
    };
    write_header(l4 - header_size, &header);
    /* The outer header is written in front of the ICMP message, which is the L4 part from here on.
     */
    size_t size = PACKET_ICMP_HEADER_SIZE + header_size + quote->l4_held;
    packet->offset += error->quote_l4_offset - header_size - PACKET_ICMP_HEADER_SIZE;
    packet->len = size;
    info->l4_offset = 0;
    info->payload_offset = PACKET_ICMP_HEADER_SIZE;
    replace_header(packet, info, to);
}

static enum drop_reason check_error(const struct packet *packet,
                                    const struct packet_icmp_error *error,
                                    const struct quote *quote, enum ip_family family)
{
    size_t header_size = header_size_of(family);
    size_t needed = error->quote == PACKET_TCP || error->quote == PACKET_UDP ? 4 : 8;
    if (quote->l4_held < needed || quote->payload_len > PACKET_SIZE_MAX - header_size) {
        return DROP_ICMP_UNTRANSLATABLE;
    }
    size_t front = 2 * header_size + PACKET_ICMP_HEADER_SIZE;
    bool has_headroom = packet->offset + error->quote_l4_offset >= front;
    bool fits = front + quote->l4_held <= PACKET_SIZE_MAX;
    return has_headroom && fits ? DROP_NONE : DROP_NAT_UNSUPPORTED;
}

static enum drop_reason translate_error(struct packet *packet, struct packet_info *info,
                                        const struct packet_nat64 *to)
{
    enum ip_family family = info->version == 4 ? IP_V6 : IP_V4;
    ASSERT(to->quote_source.family == family);
    ASSERT(to->quote_destination.family == family);
    struct packet_icmp_error error;
    enum drop_reason reason = packet_icmp_error_parse(packet, info, &error);
    if (reason != DROP_NONE) {
        return reason;
    }
    struct quote quote = read_quote(packet, info, &error);
    struct icmp_head head = {.type = 0};
    size_t quoted_size = error.quote_l4_offset - error.quote_offset + quote.payload_len;
    bool is_mapped = info->version == 4 ? map_error_v4(info, &error, quoted_size, &head)
                                        : map_error_v6(info, &error, &head);
    if (!is_mapped) {
        return DROP_ICMP_UNTRANSLATABLE;
    }
    reason = check_error(packet, &error, &quote, family);
    if (reason != DROP_NONE) {
        return reason;
    }
    bool was_right = packet_checksums_ok(packet, info);
    write_error(packet, info, to, &error, &quote);
    write_icmp_head(packet_bytes(packet) + info->l4_offset, &head);
    info->icmp_type = head.type;
    info->icmp_code = head.code;
    packet_recompute_checksums(packet, info);
    if (!was_right) {
        /* Cut data cannot be subtracted from a checksum; a wrong one must still stay wrong. */
        uint8_t *field = packet_bytes(packet) + info->l4_offset + 2;
        store_be16(field, (uint16_t)~load_be16(field));
    }
    return DROP_NONE;
}

enum drop_reason packet_nat64(struct packet *packet, struct packet_info *info,
                              const struct packet_nat64 *to)
{
    enum ip_family family = info->version == 4 ? IP_V6 : IP_V4;
    ASSERT(to->source.family == family);
    ASSERT(to->destination.family == family);
    if (info->kind == PACKET_ICMP_ERROR) {
        return translate_error(packet, info, to);
    }
    if (info->kind == PACKET_ICMP_OTHER) {
        return DROP_ICMP_UNTRANSLATABLE;
    }
    bool is_extension_v4 =
        info->version == 4 && info->kind == PACKET_OTHER && packet_is_extension(info->protocol);
    if (info->protocol == PACKET_PROTOCOL_AH || is_extension_v4) {
        return DROP_NAT_UNSUPPORTED;
    }
    enum drop_reason reason =
        check_room(packet, info->l4_offset, family, packet->len - info->l4_offset);
    if (reason != DROP_NONE) {
        return reason;
    }
    if (info->kind == PACKET_ICMP_ECHO_REQUEST || info->kind == PACKET_ICMP_ECHO_REPLY) {
        return translate_echo(packet, info, to);
    }
    return translate_transport(packet, info, to);
}
