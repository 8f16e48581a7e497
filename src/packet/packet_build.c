#include "packet/packet_build.h"

#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"

static void build_ipv4_header(struct writer *w, const struct packet_build_ip *ip, uint8_t protocol,
                              size_t payload_len)
{
    size_t total = PACKET_IPV4_HEADER_SIZE + payload_len;
    uint8_t *at = writer_reserve(w, PACKET_IPV4_HEADER_SIZE);
    if (at == NULL || total > PACKET_SIZE_MAX) {
        w->failed = true;
        return;
    }
    at[0] = 0x45;
    at[1] = ip->traffic_class;
    store_be16(at + 2, (uint16_t)total);
    store_be16(at + 4, ip->id);
    store_be16(at + 6, ip->may_fragment ? 0 : 0x4000U);
    at[8] = ip->ttl == 0 ? PACKET_TTL_DEFAULT : ip->ttl;
    at[9] = protocol;
    store_be16(at + 10, 0);
    memcpy(at + 12, ip->source.bytes, 4);
    memcpy(at + 16, ip->destination.bytes, 4);
    struct view header = {at, PACKET_IPV4_HEADER_SIZE};
    store_be16(at + 10, checksum_finish(checksum_sum(header)));
}

static void build_ipv6_header(struct writer *w, const struct packet_build_ip *ip, uint8_t protocol,
                              size_t payload_len)
{
    uint8_t *at = writer_reserve(w, PACKET_IPV6_HEADER_SIZE);
    if (at == NULL || PACKET_IPV6_HEADER_SIZE + payload_len > PACKET_SIZE_MAX) {
        w->failed = true;
        return;
    }
    store_be32(at, UINT32_C(0x60000000) | (uint32_t)ip->traffic_class << 20U);
    store_be16(at + 4, (uint16_t)payload_len);
    at[6] = protocol;
    at[7] = ip->ttl == 0 ? PACKET_TTL_DEFAULT : ip->ttl;
    memcpy(at + 8, ip->source.bytes, 16);
    memcpy(at + 24, ip->destination.bytes, 16);
}

void packet_build_ip_header(struct writer *w, const struct packet_build_ip *ip, uint8_t protocol,
                            size_t payload_len)
{
    ASSERT(ip->source.family == ip->destination.family);
    ASSERT(ip->source.family == IP_V4 || ip->source.family == IP_V6);
    if (ip->source.family == IP_V4) {
        build_ipv4_header(w, ip, protocol, payload_len);
    } else {
        build_ipv6_header(w, ip, protocol, payload_len);
    }
}

void packet_build_raw(struct writer *w, const struct packet_build_ip *ip, uint8_t protocol,
                      struct view payload)
{
    packet_build_ip_header(w, ip, protocol, payload.len);
    writer_bytes(w, payload);
}

/* Returns the L4 checksum over everything from `l4_start` on, the field itself being zero. */
static uint64_t sum_l4(const struct writer *w, const struct packet_build_ip *ip, uint8_t protocol,
                       size_t l4_start)
{
    struct view written = writer_view(w);
    struct view l4 = view_sub(written, l4_start, written.len - l4_start);
    if (protocol == PACKET_PROTOCOL_ICMP) {
        return checksum_sum(l4);
    }
    return checksum_sum(l4) +
           checksum_sum_pseudo(&ip->source, &ip->destination, protocol, (uint32_t)l4.len);
}

void packet_build_udp(struct writer *w, const struct packet_build_ip *ip,
                      struct packet_build_ports ports, struct view payload)
{
    size_t len = PACKET_UDP_HEADER_SIZE + payload.len;
    packet_build_ip_header(w, ip, PACKET_PROTOCOL_UDP, len);
    size_t l4_start = w->used;
    uint8_t *at = writer_reserve(w, PACKET_UDP_HEADER_SIZE);
    writer_bytes(w, payload);
    if (at == NULL || w->failed) {
        return;
    }
    store_be16(at, ports.source);
    store_be16(at + 2, ports.destination);
    store_be16(at + 4, (uint16_t)len);
    store_be16(at + 6, 0);
    store_be16(at + 6, checksum_finish_udp(sum_l4(w, ip, PACKET_PROTOCOL_UDP, l4_start)));
}

void packet_build_tcp(struct writer *w, const struct packet_build_ip *ip,
                      const struct packet_build_tcp *tcp, struct view payload)
{
    ASSERT(tcp->options.len % 4 == 0);
    ASSERT(tcp->options.len <= 40);
    size_t header_size = PACKET_TCP_HEADER_SIZE + tcp->options.len;
    packet_build_ip_header(w, ip, PACKET_PROTOCOL_TCP, header_size + payload.len);
    size_t l4_start = w->used;
    uint8_t *at = writer_reserve(w, PACKET_TCP_HEADER_SIZE);
    writer_bytes(w, tcp->options);
    writer_bytes(w, payload);
    if (at == NULL || w->failed) {
        return;
    }
    store_be16(at, tcp->ports.source);
    store_be16(at + 2, tcp->ports.destination);
    store_be32(at + 4, tcp->seq);
    store_be32(at + 8, tcp->ack);
    at[12] = (uint8_t)(header_size / 4 << 4U);
    at[13] = tcp->flags;
    store_be16(at + 14, tcp->window);
    store_be32(at + 16, 0);
    store_be16(at + 16, checksum_finish(sum_l4(w, ip, PACKET_PROTOCOL_TCP, l4_start)));
}

void packet_build_icmp(struct writer *w, const struct packet_build_ip *ip,
                       const struct packet_build_icmp *icmp, struct view payload)
{
    uint8_t protocol = ip->source.family == IP_V4 ? PACKET_PROTOCOL_ICMP : PACKET_PROTOCOL_ICMPV6;
    packet_build_ip_header(w, ip, protocol, PACKET_ICMP_HEADER_SIZE + payload.len);
    size_t l4_start = w->used;
    uint8_t *at = writer_reserve(w, PACKET_ICMP_HEADER_SIZE);
    writer_bytes(w, payload);
    if (at == NULL || w->failed) {
        return;
    }
    at[0] = icmp->type;
    at[1] = icmp->code;
    store_be16(at + 2, 0);
    store_be32(at + 4, icmp->rest);
    store_be16(at + 2, checksum_finish(sum_l4(w, ip, protocol, l4_start)));
}

void packet_build_echo(struct writer *w, const struct packet_build_ip *ip,
                       const struct packet_build_echo *echo, struct view payload)
{
    bool is_v4 = ip->source.family == IP_V4;
    uint8_t request = is_v4 ? 8 : 128;
    uint8_t reply = is_v4 ? 0 : 129;
    struct packet_build_icmp icmp = {
        .type = echo->is_reply ? reply : request,
        .rest = (uint32_t)echo->id << 16U | echo->seq,
    };
    packet_build_icmp(w, ip, &icmp, payload);
}

void packet_build_p2p(struct writer *w, uint8_t event, struct view payload)
{
    size_t len = 8 + payload.len;
    uint8_t *at = writer_reserve(w, PACKET_IPV6_HEADER_SIZE + 8);
    writer_bytes(w, payload);
    if (at == NULL || w->failed || PACKET_IPV6_HEADER_SIZE + len > PACKET_SIZE_MAX) {
        w->failed = true;
        return;
    }
    memset(at, 0, PACKET_IPV6_HEADER_SIZE + 8);
    at[0] = 0x60;
    store_be16(at + 4, (uint16_t)len);
    at[6] = PACKET_PROTOCOL_P2P;
    at[PACKET_IPV6_HEADER_SIZE] = event;
}
