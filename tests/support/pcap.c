#include "tests/support/pcap.h"

#include <stdlib.h>

#include "tests/support/support.h"

#define FILE_HEADER_SIZE   24U
#define RECORD_HEADER_SIZE 16U
#define LINK_ETHERNET      1U
#define LINK_RAW           101U
#define LINK_SLL           113U
#define ETHERTYPE_IPV4     0x0800U
#define ETHERTYPE_IPV6     0x86DDU
#define PROTOCOL_UDP       17U

static uint32_t word(const struct pcap *pcap, size_t offset)
{
    const uint8_t *at = (const uint8_t *)pcap->bytes + offset;
    return pcap->swapped ? load_be32(at) : load_le32(at);
}

bool pcap_open(struct pcap *pcap, const char *path)
{
    *pcap = (struct pcap){0};
    pcap->bytes = support_read_file(path, &pcap->len);
    if (pcap->bytes == NULL || pcap->len < FILE_HEADER_SIZE) {
        pcap_close(pcap);
        return false;
    }
    uint32_t magic = load_be32((const uint8_t *)pcap->bytes);
    pcap->swapped = magic == UINT32_C(0xA1B2C3D4);
    pcap->link_type = word(pcap, 20);
    pcap->next = FILE_HEADER_SIZE;
    bool known = pcap->link_type == LINK_ETHERNET || pcap->link_type == LINK_RAW ||
                 pcap->link_type == LINK_SLL;
    if (!known || (!pcap->swapped && magic != UINT32_C(0xD4C3B2A1))) {
        pcap_close(pcap);
        return false;
    }
    return true;
}

void pcap_close(struct pcap *pcap)
{
    free(pcap->bytes);
    *pcap = (struct pcap){0};
}

/* Cuts off the link layer; false for frames without IP. */
static bool strip_link(const struct pcap *pcap, struct reader *r)
{
    uint16_t type = ETHERTYPE_IPV4;
    if (pcap->link_type == LINK_ETHERNET) {
        (void)reader_take(r, 12);
        type = reader_be16(r);
    } else if (pcap->link_type == LINK_SLL) {
        (void)reader_take(r, 14);
        type = reader_be16(r);
    }
    return type == ETHERTYPE_IPV4 || type == ETHERTYPE_IPV6;
}

static bool read_ipv4(struct reader *r, struct pcap_datagram *out)
{
    struct view head = reader_take(r, 20);
    if (!reader_ok(r) || head.at[9] != PROTOCOL_UDP || (load_be16(head.at + 6) & 0x3FFFU) != 0) {
        return false;
    }
    (void)reader_take(r, (head.at[0] & 0x0FU) * 4U - 20U);
    out->from.ip = ip_from_bytes(IP_V4, head.at + 12);
    out->to.ip = ip_from_bytes(IP_V4, head.at + 16);
    return true;
}

static bool read_ipv6(struct reader *r, struct pcap_datagram *out)
{
    struct view head = reader_take(r, 40);
    if (!reader_ok(r) || head.at[6] != PROTOCOL_UDP) {
        return false;
    }
    out->from.ip = ip_from_bytes(IP_V6, head.at + 8);
    out->to.ip = ip_from_bytes(IP_V6, head.at + 24);
    return true;
}

static bool read_udp(const struct pcap *pcap, struct view frame, struct pcap_datagram *out)
{
    struct reader r = reader_of(frame);
    if (!strip_link(pcap, &r) || r.rest.len == 0) {
        return false;
    }
    unsigned version = r.rest.at[0] >> 4;
    bool udp = version == 4 ? read_ipv4(&r, out) : version == 6 && read_ipv6(&r, out);
    out->from.port = reader_be16(&r);
    out->to.port = reader_be16(&r);
    size_t len = reader_be16(&r);
    (void)reader_be16(&r);
    if (!udp || len < 8) {
        return false;
    }
    out->payload = reader_take(&r, len - 8);
    return reader_ok(&r);
}

bool pcap_next(struct pcap *pcap, struct pcap_datagram *out)
{
    while (pcap->len - pcap->next >= RECORD_HEADER_SIZE) {
        size_t len = word(pcap, pcap->next + 8);
        size_t at = pcap->next + RECORD_HEADER_SIZE;
        if (len > pcap->len - at) {
            return false;
        }
        out->at_us = (uint64_t)word(pcap, pcap->next) * 1000000U + word(pcap, pcap->next + 4);
        pcap->next = at + len;
        struct view frame = {(const uint8_t *)pcap->bytes + at, len};
        if (read_udp(pcap, frame, out)) {
            return true;
        }
    }
    return false;
}
