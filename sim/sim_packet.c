#include "sim/sim_packet.h"

#include <string.h>

#define IPV4_HEADER 20U
#define IPV6_HEADER 40U
#define TTL_DEFAULT 64U

uint16_t sim_checksum(struct view bytes, uint32_t sum)
{
    uint64_t total = sum;
    for (size_t i = 0; i + 1 < bytes.len; i += 2) {
        total += load_be16(bytes.at + i);
    }
    if (bytes.len % 2 == 1) {
        total += (uint32_t)bytes.at[bytes.len - 1] << 8U;
    }
    while (total > 0xffffU) {
        total = (total & 0xffffU) + (total >> 16U);
    }
    return (uint16_t)~total;
}

/* Sum over the pseudo header of either family. */
static uint32_t pseudo(const struct sim_packet *packet, size_t len)
{
    uint32_t sum = packet->protocol + (uint32_t)len;
    for (size_t i = 0; i < ip_size(&packet->source); i += 2) {
        sum += load_be16(packet->source.bytes + i);
        sum += load_be16(packet->destination.bytes + i);
    }
    return sum;
}

/* ---- reading ---- */

static const char *read_v4(struct view bytes, struct sim_packet *out, struct view *rest,
                           bool quoted)
{
    if (bytes.len < IPV4_HEADER) {
        return "IPv4 header cut";
    }
    size_t header = (size_t)(bytes.at[0] & 15U) * 4;
    size_t total = load_be16(bytes.at + 2);
    if (header < IPV4_HEADER || header > bytes.len) {
        return "IPv4 header length";
    }
    if (quoted ? total < header : total != bytes.len) {
        return "IPv4 total length";
    }
    if (sim_checksum(view_sub(bytes, 0, header), 0) != 0) {
        return "IPv4 checksum";
    }
    if ((load_be16(bytes.at + 6) & 0x3fffU) != 0) {
        return "IPv4 fragment";
    }
    out->source = ip_from_bytes(IP_V4, bytes.at + 12);
    out->destination = ip_from_bytes(IP_V4, bytes.at + 16);
    out->protocol = bytes.at[9];
    out->ttl = bytes.at[8];
    out->ecn = bytes.at[1] & 3U;
    *rest = view_sub(bytes, header, bytes.len - header);
    return NULL;
}

static const char *read_v6(struct view bytes, struct sim_packet *out, struct view *rest,
                           bool quoted)
{
    if (bytes.len < IPV6_HEADER) {
        return "IPv6 header cut";
    }
    if (!quoted && load_be16(bytes.at + 4) != bytes.len - IPV6_HEADER) {
        return "IPv6 payload length";
    }
    out->source = ip_from_bytes(IP_V6, bytes.at + 8);
    out->destination = ip_from_bytes(IP_V6, bytes.at + 24);
    out->protocol = bytes.at[6];
    out->ttl = bytes.at[7];
    out->ecn = (uint8_t)(bytes.at[1] >> 4U & 3U);
    *rest = view_sub(bytes, IPV6_HEADER, bytes.len - IPV6_HEADER);
    return NULL;
}

static const char *read_udp(struct view rest, struct sim_packet *out, bool quoted)
{
    if (rest.len < 8) {
        return "UDP header cut";
    }
    out->source_port = load_be16(rest.at);
    out->destination_port = load_be16(rest.at + 2);
    out->payload = view_sub(rest, 8, rest.len - 8);
    if (quoted) {
        return NULL;
    }
    if (load_be16(rest.at + 4) != rest.len) {
        return "UDP length";
    }
    if (load_be16(rest.at + 6) == 0) {
        return out->source.family == IP_V6 ? "UDP without checksum over IPv6" : NULL;
    }
    return sim_checksum(rest, pseudo(out, rest.len)) != 0 ? "UDP checksum" : NULL;
}

static const char *read_tcp(struct view rest, struct sim_packet *out, bool quoted)
{
    if (rest.len < (quoted ? 8 : 20)) {
        return "TCP header cut";
    }
    out->source_port = load_be16(rest.at);
    out->destination_port = load_be16(rest.at + 2);
    out->tcp_seq = load_be32(rest.at + 4);
    if (quoted) {
        return NULL;
    }
    size_t header = (size_t)(rest.at[12] >> 4U) * 4;
    if (header < 20 || header > rest.len) {
        return "TCP data offset";
    }
    out->tcp_ack = load_be32(rest.at + 8);
    out->tcp_flags = rest.at[13] & 0x1fU;
    out->tcp_window = load_be16(rest.at + 14);
    out->payload = view_sub(rest, header, rest.len - header);
    return sim_checksum(rest, pseudo(out, rest.len)) != 0 ? "TCP checksum" : NULL;
}

static const char *read_icmp(struct view rest, struct sim_packet *out, bool quoted)
{
    if (rest.len < 8) {
        return "ICMP header cut";
    }
    out->icmp_type = rest.at[0];
    out->icmp_code = rest.at[1];
    out->icmp_rest = load_be32(rest.at + 4);
    out->payload = view_sub(rest, 8, rest.len - 8);
    if (quoted) {
        return NULL;
    }
    uint32_t sum = out->protocol == SIM_PROTO_ICMPV6 ? pseudo(out, rest.len) : 0;
    return sim_checksum(rest, sum) != 0 ? "ICMP checksum" : NULL;
}

static const char *read_any(struct view bytes, struct sim_packet *out, bool quoted)
{
    memset(out, 0, sizeof(*out));
    if (bytes.len == 0) {
        return "empty packet";
    }
    unsigned version = bytes.at[0] >> 4U;
    struct view rest = VIEW_EMPTY;
    const char *wrong = "IP version";
    if (version == 4) {
        wrong = read_v4(bytes, out, &rest, quoted);
    } else if (version == 6) {
        wrong = read_v6(bytes, out, &rest, quoted);
    }
    if (wrong != NULL) {
        return wrong;
    }
    switch (out->protocol) {
    case SIM_PROTO_UDP:
        return read_udp(rest, out, quoted);
    case SIM_PROTO_TCP:
        return read_tcp(rest, out, quoted);
    case SIM_PROTO_ICMP:
        return version == 4 ? read_icmp(rest, out, quoted) : "ICMPv4 over IPv6";
    case SIM_PROTO_ICMPV6:
        return version == 6 ? read_icmp(rest, out, quoted) : "ICMPv6 over IPv4";
    default:
        out->payload = rest;
        return NULL;
    }
}

const char *sim_packet_read(struct view bytes, struct sim_packet *out)
{
    return read_any(bytes, out, false);
}

const char *sim_packet_read_quoted(struct view bytes, struct sim_packet *out)
{
    return read_any(bytes, out, true);
}

/* ---- building ---- */

static size_t header_size(const struct sim_packet *packet)
{
    switch (packet->protocol) {
    case SIM_PROTO_TCP:
        return 20;
    case SIM_PROTO_UDP:
    case SIM_PROTO_ICMP:
    case SIM_PROTO_ICMPV6:
        return 8;
    default:
        return 0;
    }
}

static void put_ip(struct writer *w, const struct sim_packet *packet, size_t len)
{
    uint8_t ttl = packet->ttl == 0 ? TTL_DEFAULT : packet->ttl;
    if (packet->source.family == IP_V4) {
        uint8_t header[IPV4_HEADER] = {0x45, packet->ecn};
        store_be16(header + 2, (uint16_t)(IPV4_HEADER + len));
        store_be16(header + 4, packet->ip_id);
        store_be16(header + 6, 0x4000); /* don't fragment */
        header[8] = ttl;
        header[9] = packet->protocol;
        memcpy(header + 12, packet->source.bytes, 4);
        memcpy(header + 16, packet->destination.bytes, 4);
        store_be16(header + 10, sim_checksum(VIEW_OF(header), 0));
        writer_bytes(w, VIEW_OF(header));
        return;
    }
    writer_be32(w, UINT32_C(0x60000000) | (uint32_t)packet->ecn << 20U);
    writer_be16(w, (uint16_t)len);
    writer_u8(w, packet->protocol);
    writer_u8(w, ttl);
    writer_bytes(w, VIEW_OF(packet->source.bytes));
    writer_bytes(w, VIEW_OF(packet->destination.bytes));
}

static void put_transport(const struct sim_packet *packet, uint8_t *at)
{
    switch (packet->protocol) {
    case SIM_PROTO_UDP:
        store_be16(at, packet->source_port);
        store_be16(at + 2, packet->destination_port);
        store_be16(at + 4, (uint16_t)(8 + packet->payload.len));
        break;
    case SIM_PROTO_TCP:
        store_be16(at, packet->source_port);
        store_be16(at + 2, packet->destination_port);
        store_be32(at + 4, packet->tcp_seq);
        store_be32(at + 8, packet->tcp_ack);
        at[12] = 5U << 4U;
        at[13] = packet->tcp_flags;
        store_be16(at + 14, packet->tcp_window);
        break;
    case SIM_PROTO_ICMP:
    case SIM_PROTO_ICMPV6:
        at[0] = packet->icmp_type;
        at[1] = packet->icmp_code;
        store_be32(at + 4, packet->icmp_rest);
        break;
    default:
        break;
    }
}

void sim_packet_put(struct writer *w, const struct sim_packet *packet)
{
    size_t header = header_size(packet);
    size_t len = header + packet->payload.len;
    put_ip(w, packet, len);
    uint8_t *at = writer_reserve(w, len);
    if (at == NULL) {
        return;
    }
    memset(at, 0, header);
    put_transport(packet, at);
    if (packet->payload.len > 0) {
        memcpy(at + header, packet->payload.at, packet->payload.len);
    }
    uint32_t sum = packet->protocol == SIM_PROTO_ICMP ? 0 : pseudo(packet, len);
    uint16_t checksum = sim_checksum((struct view){at, len}, sum);
    if (packet->protocol == SIM_PROTO_UDP) {
        store_be16(at + 6, checksum == 0 ? 0xffff : checksum);
    } else if (packet->protocol == SIM_PROTO_TCP) {
        store_be16(at + 16, checksum);
    } else if (header == 8) {
        store_be16(at + 2, checksum);
    }
}

bool sim_packet_is_echo_request(const struct sim_packet *packet)
{
    return (packet->protocol == SIM_PROTO_ICMP && packet->icmp_type == 8) ||
           (packet->protocol == SIM_PROTO_ICMPV6 && packet->icmp_type == 128);
}

bool sim_packet_is_echo_reply(const struct sim_packet *packet)
{
    return (packet->protocol == SIM_PROTO_ICMP && packet->icmp_type == 0) ||
           (packet->protocol == SIM_PROTO_ICMPV6 && packet->icmp_type == 129);
}

bool sim_packet_is_icmp_error(const struct sim_packet *packet)
{
    if (packet->protocol == SIM_PROTO_ICMP) {
        return packet->icmp_type == 3 || packet->icmp_type == 11 || packet->icmp_type == 12;
    }
    return packet->protocol == SIM_PROTO_ICMPV6 && packet->icmp_type < 128;
}
