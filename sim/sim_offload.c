#include "sim/sim_offload.h"

#include <string.h>

#include "sim/sim_packet.h"

#define SEGMENT_SIZE_MAX 2048U
#define HEADERS_MAX      128U

/* Where the headers of a packet end. */
struct layout {
    bool v4;
    uint8_t protocol;
    size_t ip_size;
    size_t headers;  /* IP and transport */
    size_t checksum; /* offset of the transport checksum */
};

static const char *find_layout(struct view packet, struct layout *out)
{
    if (packet.len < 20) {
        return "offload: packet too short";
    }
    out->v4 = packet.at[0] >> 4U == 4;
    out->ip_size = out->v4 ? (size_t)(packet.at[0] & 15U) * 4 : 40;
    out->protocol = packet.at[out->v4 ? 9 : 6];
    size_t transport = 0;
    if (out->protocol == SIM_PROTO_TCP && packet.len >= out->ip_size + 20) {
        transport = (size_t)(packet.at[out->ip_size + 12] >> 4U) * 4;
        out->checksum = out->ip_size + 16;
    } else if (out->protocol == SIM_PROTO_UDP && packet.len >= out->ip_size + 8) {
        transport = 8;
        out->checksum = out->ip_size + 6;
    }
    out->headers = out->ip_size + transport;
    return transport == 0 || out->headers > packet.len ? "offload: neither TCP nor UDP" : NULL;
}

static uint32_t pseudo_sum(const uint8_t *packet, const struct layout *layout, size_t len)
{
    uint32_t sum = layout->protocol + (uint32_t)len;
    size_t from = layout->v4 ? 12 : 8;
    size_t to = layout->v4 ? 20 : 40;
    for (size_t i = from; i < to; i += 2) {
        sum += load_be16(packet + i);
    }
    return sum;
}

static void complete(uint8_t *packet, size_t len, const struct layout *layout)
{
    store_be16(packet + layout->checksum, 0);
    struct view covered = {packet + layout->ip_size, len - layout->ip_size};
    uint16_t sum = sim_checksum(covered, pseudo_sum(packet, layout, covered.len));
    if (layout->protocol == SIM_PROTO_UDP && sum == 0) {
        sum = 0xffff;
    }
    store_be16(packet + layout->checksum, sum);
}

static const char *check_partial(struct view packet, const struct layout *layout)
{
    uint16_t want = (uint16_t)~sim_checksum(
        VIEW_EMPTY, pseudo_sum(packet.at, layout, packet.len - layout->ip_size));
    uint16_t have = load_be16(packet.at + layout->checksum);
    return have == want ? NULL : "offload: the partial checksum is not the pseudo-header sum";
}

static void set_lengths(uint8_t *packet, size_t len, const struct layout *layout, uint16_t index)
{
    if (layout->v4) {
        store_be16(packet + 2, (uint16_t)len);
        store_be16(packet + 4, (uint16_t)(load_be16(packet + 4) + index));
        store_be16(packet + 10, 0);
        store_be16(packet + 10, sim_checksum((struct view){packet, layout->ip_size}, 0));
    } else {
        store_be16(packet + 4, (uint16_t)(len - 40));
    }
    if (layout->protocol == SIM_PROTO_UDP) {
        store_be16(packet + layout->ip_size + 4, (uint16_t)(len - layout->ip_size));
    }
}

static const char *gso_fits(const struct layout *layout, enum gateway_gso gso)
{
    bool tcp = layout->protocol == SIM_PROTO_TCP;
    bool fits = (gso == GATEWAY_GSO_TCPV4 && tcp && layout->v4) ||
                (gso == GATEWAY_GSO_TCPV6 && tcp && !layout->v4) ||
                (gso == GATEWAY_GSO_UDP && !tcp);
    return fits ? NULL : "offload: the kind does not fit the packet";
}

const char *sim_offload_cut(struct span packet, const struct gateway_offload *offload,
                            void (*emit)(void *self, struct view packet), void *self)
{
    if (offload->gso == GATEWAY_GSO_NONE && !offload->checksum_needed) {
        emit(self, view_of_span(packet));
        return NULL;
    }
    struct layout layout = {0};
    const char *wrong = find_layout(view_of_span(packet), &layout);
    if (wrong == NULL && offload->checksum_needed) {
        wrong = check_partial(view_of_span(packet), &layout);
    }
    if (wrong == NULL && offload->gso != GATEWAY_GSO_NONE) {
        wrong = gso_fits(&layout, offload->gso);
    }
    if (wrong != NULL) {
        return wrong;
    }
    if (offload->gso == GATEWAY_GSO_NONE) {
        complete(packet.at, packet.len, &layout);
        emit(self, view_of_span(packet));
        return NULL;
    }
    size_t size = offload->gso_size;
    if (size == 0 || layout.headers + size > SEGMENT_SIZE_MAX || !offload->checksum_needed) {
        return "offload: segment size or missing partial checksum";
    }
    size_t payload = packet.len - layout.headers;
    uint16_t index = 0;
    for (size_t at = 0; at < payload; at += size, index++) {
        uint8_t segment[SEGMENT_SIZE_MAX];
        size_t len = payload - at < size ? payload - at : size;
        memcpy(segment, packet.at, layout.headers);
        memcpy(segment + layout.headers, packet.at + layout.headers + at, len);
        if (layout.protocol == SIM_PROTO_TCP) {
            uint8_t *seq = segment + layout.ip_size + 4;
            store_be32(seq, load_be32(seq) + (uint32_t)at);
            bool last = at + len == payload;
            segment[layout.ip_size + 13] &= (uint8_t)(last ? 0xff : 0xf6); /* FIN, PSH */
        }
        set_lengths(segment, layout.headers + len, &layout, index);
        complete(segment, layout.headers + len, &layout);
        emit(self, (struct view){segment, layout.headers + len});
    }
    return NULL;
}

/* ---- joining ---- */

/* What differs between segments of one flow: lengths, identification, checksums, sequence, PSH. */
static bool same_flow(const uint8_t *a, const uint8_t *b, const struct layout *layout)
{
    uint8_t x[HEADERS_MAX];
    uint8_t y[HEADERS_MAX];
    uint8_t *const both[2] = {x, y};
    memcpy(x, a, layout->headers);
    memcpy(y, b, layout->headers);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *tcp = both[i] + layout->ip_size;
        memset(both[i] + (layout->v4 ? 2 : 4), 0, layout->v4 ? 4 : 2);
        memset(both[i] + 10, 0, layout->v4 ? 2 : 0);
        memset(tcp + 4, 0, 4);
        tcp[13] &= (uint8_t)~SIM_TCP_PSH;
        memset(tcp + 16, 0, 2);
    }
    return memcmp(x, y, layout->headers) == 0;
}

bool sim_offload_join(uint8_t *super, size_t room, size_t *len, struct gateway_offload *offload,
                      struct view next)
{
    struct layout a = {0};
    struct layout b = {0};
    if (find_layout((struct view){super, *len}, &a) != NULL || find_layout(next, &b) != NULL ||
        a.protocol != SIM_PROTO_TCP || b.protocol != SIM_PROTO_TCP || a.v4 != b.v4 ||
        a.headers != b.headers || a.headers > HEADERS_MAX || room - *len < next.len) {
        return false;
    }
    size_t done = *len - a.headers;
    size_t more = next.len - b.headers;
    size_t size = offload->gso == GATEWAY_GSO_NONE ? done : offload->gso_size;
    uint8_t *tcp = super + a.ip_size;
    const uint8_t *tcp_next = next.at + b.ip_size;
    bool follows = load_be32(tcp_next + 4) == load_be32(tcp + 4) + (uint32_t)done;
    size_t segments = size == 0 ? 0 : done / size;
    bool counts = !a.v4 || load_be16(next.at + 4) == (uint16_t)(load_be16(super + 4) + segments);
    if (size == 0 || more == 0 || more > size || done % size != 0 || tcp[13] != SIM_TCP_ACK ||
        !follows || !counts || !same_flow(super, next.at, &a)) {
        return false;
    }
    memcpy(super + *len, next.at + b.headers, more);
    *len += more;
    tcp[13] |= tcp_next[13];
    offload->gso = a.v4 ? GATEWAY_GSO_TCPV4 : GATEWAY_GSO_TCPV6;
    offload->gso_size = (uint16_t)size;
    offload->checksum_needed = true;
    set_lengths(super, *len, &a, 0);
    store_be16(tcp + 16,
               (uint16_t)~sim_checksum(VIEW_EMPTY, pseudo_sum(super, &a, *len - a.ip_size)));
    return true;
}
