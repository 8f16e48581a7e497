#include "packet/packet_icmp.h"

#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"
#include "packet/packet_build.h"

#define ICMPV4_CODE_FRAGMENTATION_NEEDED 4U
#define ICMPV4_UNREACHABLE_CODE_MAX      15U
#define ICMPV6_UNREACHABLE_CODE_MAX      6U
#define TIME_EXCEEDED_CODE_MAX           1U
#define QUOTE_PORTS_SIZE                 4U /* bytes of TCP or UDP that identify the flow */

static enum drop_reason classify_v4(const struct packet_info *info, const uint8_t *icmp,
                                    struct packet_icmp_error *out)
{
    if (info->icmp_type == PACKET_ICMPV4_TIME_EXCEEDED &&
        info->icmp_code <= TIME_EXCEEDED_CODE_MAX) {
        out->kind = PACKET_ICMP_TIME_EXCEEDED;
        return DROP_NONE;
    }
    if (info->icmp_type != PACKET_ICMPV4_UNREACHABLE ||
        info->icmp_code > ICMPV4_UNREACHABLE_CODE_MAX) {
        return DROP_ICMP_UNTRANSLATABLE;
    }
    out->kind = PACKET_ICMP_UNREACHABLE;
    if (info->icmp_code == ICMPV4_CODE_FRAGMENTATION_NEEDED) {
        out->kind = PACKET_ICMP_TOO_BIG;
        out->mtu = load_be16(icmp + 6); /* RFC 1191 section 4 */
    }
    return DROP_NONE;
}

static enum drop_reason classify_v6(const struct packet_info *info, const uint8_t *icmp,
                                    struct packet_icmp_error *out)
{
    switch (info->icmp_type) {
    case PACKET_ICMPV6_UNREACHABLE:
        out->kind = PACKET_ICMP_UNREACHABLE;
        return info->icmp_code <= ICMPV6_UNREACHABLE_CODE_MAX ? DROP_NONE
                                                              : DROP_ICMP_UNTRANSLATABLE;
    case PACKET_ICMPV6_TIME_EXCEEDED:
        out->kind = PACKET_ICMP_TIME_EXCEEDED;
        return info->icmp_code <= TIME_EXCEEDED_CODE_MAX ? DROP_NONE : DROP_ICMP_UNTRANSLATABLE;
    case PACKET_ICMPV6_TOO_BIG: /* receivers ignore the code, RFC 4443 section 3.2 */
        out->kind = PACKET_ICMP_TOO_BIG;
        out->mtu = load_be32(icmp + 4);
        return DROP_NONE;
    default:
        return DROP_ICMP_UNTRANSLATABLE;
    }
}

/* Reads the quoted IPv4 header; offsets are relative to the quote here. */
static bool quote_ipv4(struct view quote, struct packet_icmp_error *out)
{
    if (quote.len < PACKET_IPV4_HEADER_SIZE || quote.at[0] >> 4U != 4) {
        return false;
    }
    size_t header_size = (size_t)(quote.at[0] & 0x0fU) * 4;
    bool is_later_fragment = (load_be16(quote.at + 6) & 0x1fffU) != 0;
    if (header_size < PACKET_IPV4_HEADER_SIZE || header_size > quote.len || is_later_fragment) {
        return false;
    }
    out->quote_protocol = quote.at[9];
    out->quote_source = ip_from_bytes(IP_V4, quote.at + 12);
    out->quote_destination = ip_from_bytes(IP_V4, quote.at + 16);
    out->quote_l4_offset = header_size;
    return true;
}

static bool quote_ipv6(struct view quote, struct packet_icmp_error *out)
{
    if (quote.len < PACKET_IPV6_HEADER_SIZE || quote.at[0] >> 4U != 6) {
        return false;
    }
    size_t at = PACKET_IPV6_HEADER_SIZE;
    uint8_t next = quote.at[6];
    for (uint32_t count = 0; packet_is_extension(next); count++) {
        if (count == PACKET_EXTENSIONS_MAX || quote.len - at < 8) {
            return false;
        }
        bool is_fragment = next == PACKET_PROTOCOL_FRAGMENT;
        bool is_later_fragment = is_fragment && (load_be16(quote.at + at + 2) & 0xfff8U) != 0;
        size_t size = is_fragment ? 8 : (1 + (size_t)quote.at[at + 1]) * 8;
        if (is_later_fragment || size > quote.len - at) {
            return false;
        }
        next = quote.at[at];
        at += size;
    }
    out->quote_protocol = next;
    out->quote_source = ip_from_bytes(IP_V6, quote.at + 8);
    out->quote_destination = ip_from_bytes(IP_V6, quote.at + 24);
    out->quote_l4_offset = at;
    return true;
}

static bool quote_echo(struct view l4, bool is_v4, struct packet_icmp_error *out)
{
    if (l4.len < PACKET_ICMP_HEADER_SIZE || l4.at[1] != 0) {
        return false;
    }
    uint8_t request = is_v4 ? PACKET_ICMPV4_ECHO_REQUEST : PACKET_ICMPV6_ECHO_REQUEST;
    uint8_t reply = is_v4 ? PACKET_ICMPV4_ECHO_REPLY : PACKET_ICMPV6_ECHO_REPLY;
    if (l4.at[0] != request && l4.at[0] != reply) {
        return false;
    }
    out->quote = l4.at[0] == request ? PACKET_ICMP_ECHO_REQUEST : PACKET_ICMP_ECHO_REPLY;
    out->quote_source_port = load_be16(l4.at + 4);
    out->quote_destination_port = out->quote_source_port;
    return true;
}

static bool quote_l4(struct view l4, bool is_v4, struct packet_icmp_error *out)
{
    uint8_t icmp = is_v4 ? PACKET_PROTOCOL_ICMP : PACKET_PROTOCOL_ICMPV6;
    if (out->quote_protocol == icmp) {
        return quote_echo(l4, is_v4, out);
    }
    bool is_tcp = out->quote_protocol == PACKET_PROTOCOL_TCP;
    if ((!is_tcp && out->quote_protocol != PACKET_PROTOCOL_UDP) || l4.len < QUOTE_PORTS_SIZE) {
        return false;
    }
    out->quote = is_tcp ? PACKET_TCP : PACKET_UDP;
    out->quote_source_port = load_be16(l4.at);
    out->quote_destination_port = load_be16(l4.at + 2);
    return true;
}

enum drop_reason packet_icmp_error_parse(const struct packet *packet,
                                         const struct packet_info *info,
                                         struct packet_icmp_error *out)
{
    ASSERT(info->kind == PACKET_ICMP_ERROR);
    *out = (struct packet_icmp_error){.mtu = 0};
    const uint8_t *icmp = packet_bytes(packet) + info->l4_offset;
    bool is_v4 = info->version == 4;
    enum drop_reason reason = is_v4 ? classify_v4(info, icmp, out) : classify_v6(info, icmp, out);
    if (reason != DROP_NONE) {
        return reason;
    }
    struct view quote = packet_payload(packet, info);
    if (!(is_v4 ? quote_ipv4(quote, out) : quote_ipv6(quote, out))) {
        return DROP_ICMP_UNTRANSLATABLE;
    }
    struct view l4 = view_sub(quote, out->quote_l4_offset, quote.len - out->quote_l4_offset);
    if (!quote_l4(l4, is_v4, out)) {
        return DROP_ICMP_UNTRANSLATABLE;
    }
    out->quote_offset = info->payload_offset;
    out->quote_l4_offset += info->payload_offset;
    out->quote_end = packet->len;
    return DROP_NONE;
}

/* The error's own checksum is adjusted by the sums of its whole quote before and after a change:
 * quoted fields may stand at odd offsets and several of them change at once. */
static uint64_t message_sum(const struct packet *packet, const struct packet_info *info)
{
    struct view bytes = packet_view(packet);
    return checksum_sum(view_sub(bytes, info->payload_offset, bytes.len - info->payload_offset));
}

static void adjust_error(struct packet *packet, const struct packet_info *info, uint64_t before)
{
    if (packet->checksum_partial) {
        return;
    }
    uint8_t *field = packet_bytes(packet) + info->l4_offset + 2;
    store_be16(field, checksum_adjust(load_be16(field), before, message_sum(packet, info)));
}

/* Adjusts the quoted L4 checksum, if the quote reaches that far. */
static void adjust_quote(struct packet *packet, const struct packet_icmp_error *error,
                         uint64_t removed, uint64_t added)
{
    size_t at = error->quote_l4_offset;
    bool is_udp = error->quote == PACKET_UDP;
    if (error->quote == PACKET_TCP) {
        at += 16;
    } else {
        at += is_udp ? 6 : 2;
    }
    if (error->quote_end < at + 2) {
        return;
    }
    uint8_t *field = packet_bytes(packet) + at;
    uint16_t stored = load_be16(field);
    if (is_udp && stored == 0) {
        return;
    }
    uint16_t adjusted = checksum_adjust(stored, removed, added);
    store_be16(field, is_udp && adjusted == 0 ? 0xffffU : adjusted);
}

/* `before` points at the address in `error` that changes. */
static void set_quote_address(struct packet *packet, const struct packet_info *info,
                              struct packet_icmp_error *error, struct ip_addr *before,
                              const struct ip_addr *to)
{
    ASSERT(to->family == info->version);
    bool is_source = before == &error->quote_source;
    uint64_t message = message_sum(packet, info);
    uint64_t removed = checksum_sum_address(before);
    uint64_t added = checksum_sum_address(to);
    uint8_t *quote = packet_bytes(packet) + error->quote_offset;
    if (info->version == 4) {
        memcpy(quote + (is_source ? 12 : 16), to->bytes, 4);
        store_be16(quote + 10, checksum_adjust(load_be16(quote + 10), removed, added));
    } else {
        memcpy(quote + (is_source ? 8 : 24), to->bytes, 16);
    }
    if (error->quote_protocol != PACKET_PROTOCOL_ICMP) {
        adjust_quote(packet, error, removed, added);
    }
    *before = *to;
    adjust_error(packet, info, message);
}

void packet_icmp_set_quote_source(struct packet *packet, const struct packet_info *info,
                                  struct packet_icmp_error *error, const struct ip_addr *to)
{
    set_quote_address(packet, info, error, &error->quote_source, to);
}

void packet_icmp_set_quote_destination(struct packet *packet, const struct packet_info *info,
                                       struct packet_icmp_error *error, const struct ip_addr *to)
{
    set_quote_address(packet, info, error, &error->quote_destination, to);
}

void packet_icmp_set_quote_source_port(struct packet *packet, const struct packet_info *info,
                                       struct packet_icmp_error *error, uint16_t to)
{
    bool is_port = error->quote == PACKET_TCP || error->quote == PACKET_UDP;
    uint64_t message = message_sum(packet, info);
    uint8_t *at = packet_bytes(packet) + error->quote_l4_offset + (is_port ? 0 : 4);
    uint16_t before = load_be16(at);
    store_be16(at, to);
    adjust_quote(packet, error, before, to);
    error->quote_source_port = to;
    if (!is_port) {
        error->quote_destination_port = to;
    }
    adjust_error(packet, info, message);
}

static struct packet_build_icmp answer_header(bool is_v4, struct packet_icmp_answer answer)
{
    switch (answer.kind) {
    case PACKET_ANSWER_PROHIBITED:
        return is_v4 ? (struct packet_build_icmp){.type = PACKET_ICMPV4_UNREACHABLE, .code = 13}
                     : (struct packet_build_icmp){.type = PACKET_ICMPV6_UNREACHABLE, .code = 1};
    case PACKET_ANSWER_NETWORK:
        return is_v4 ? (struct packet_build_icmp){.type = PACKET_ICMPV4_UNREACHABLE, .code = 0}
                     : (struct packet_build_icmp){.type = PACKET_ICMPV6_UNREACHABLE, .code = 3};
    case PACKET_ANSWER_TOO_BIG:
        return is_v4
                   ? (struct packet_build_icmp){.type = PACKET_ICMPV4_UNREACHABLE,
                                                .code = ICMPV4_CODE_FRAGMENTATION_NEEDED,
                                                .rest = answer.mtu & 0xffffU}
                   : (struct packet_build_icmp){.type = PACKET_ICMPV6_TOO_BIG, .rest = answer.mtu};
    }
    UNREACHABLE();
}

/* RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e). */
static bool may_answer(const struct packet_info *info)
{
    return info->kind != PACKET_ICMP_ERROR && !ip_is_multicast(&info->source) &&
           !ip_is_unspecified(&info->source) && !ip_is_multicast(&info->destination) &&
           !ip_is_unspecified(&info->destination);
}

size_t packet_icmp_answer(struct span out, const struct packet *offender,
                          const struct packet_info *info, struct packet_icmp_answer answer)
{
    if (!may_answer(info)) {
        return 0;
    }
    bool is_v4 = info->version == 4;
    size_t quote_max = PACKET_INNER_MTU - PACKET_IPV6_HEADER_SIZE - PACKET_ICMP_HEADER_SIZE;
    if (is_v4) {
        quote_max = info->l4_offset + 8;
    }
    size_t quote_len = offender->len < quote_max ? offender->len : quote_max;
    struct packet_build_ip ip = {
        .source = info->destination,
        .destination = info->source,
        .ttl = PACKET_ICMP_ANSWER_TTL,
    };
    struct packet_build_icmp icmp = answer_header(is_v4, answer);
    struct writer w = writer_of(out);
    packet_build_icmp(&w, &ip, &icmp, view_sub(packet_view(offender), 0, quote_len));
    return writer_finish(&w) ? w.used : 0;
}
