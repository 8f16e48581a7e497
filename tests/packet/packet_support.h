/* packet_support: what the packet tests share: a seeded stream, random packets, recordings. */
#ifndef TESTS_PACKET_SUPPORT_H
#define TESTS_PACKET_SUPPORT_H

#include <stdlib.h>
#include <string.h>

#include "packet/packet_build.h"
#include "tests/support/support.h"

#define ROOM_SIZE 70000U
#define HEADROOM  128U

struct stream {
    uint64_t state;
};

static inline uint32_t stream_u32(struct stream *s)
{
    /* xorshift64*: the packet folder does not depend on crypto. */
    s->state ^= s->state >> 12U;
    s->state ^= s->state << 25U;
    s->state ^= s->state >> 27U;
    return (uint32_t)(s->state * UINT64_C(2685821657736338717) >> 32U);
}

static inline uint32_t stream_below(struct stream *s, uint32_t bound)
{
    return stream_u32(s) % bound;
}

static inline struct ip_addr stream_address(struct stream *s, enum ip_family family)
{
    uint8_t bytes[16];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)stream_u32(s);
    }
    bytes[0] = family == IP_V4 ? 10 : 0xfd; /* never multicast or unspecified */
    return ip_from_bytes(family, bytes);
}

/* A room of ROOM_SIZE bytes; the caller frees room.at. */
static inline struct span room_new(void)
{
    struct span room = {malloc(ROOM_SIZE), ROOM_SIZE};
    assert_non_null(room.at);
    memset(room.at, 0, room.len);
    return room;
}

static inline struct packet packet_from(struct span room, struct view bytes)
{
    memcpy(room.at + HEADROOM, bytes.at, bytes.len);
    return packet_of(room, HEADROOM, bytes.len);
}

/* Builds a random TCP, UDP or echo packet of the family with `payload_len` bytes. */
static inline struct packet packet_random(struct stream *s, struct span room, enum ip_family family,
                                          size_t payload_len)
{
    struct writer w = writer_of((struct span){room.at + HEADROOM, room.len - HEADROOM});
    struct packet_build_ip ip = {
        .source = stream_address(s, family),
        .destination = stream_address(s, family),
        .traffic_class = (uint8_t)stream_u32(s),
        .ttl = (uint8_t)(1 + stream_below(s, 255)),
    };
    uint8_t *payload = malloc(payload_len + 1);
    assert_non_null(payload);
    for (size_t i = 0; i < payload_len; i++) {
        payload[i] = (uint8_t)stream_u32(s);
    }
    struct view view = {payload, payload_len};
    struct packet_build_ports ports = {(uint16_t)stream_u32(s), (uint16_t)stream_u32(s)};
    uint32_t kind = stream_below(s, 3);
    if (kind == 0) {
        packet_build_udp(&w, &ip, ports, view);
    } else if (kind == 1) {
        struct packet_build_tcp tcp = {
            .ports = ports, .seq = stream_u32(s), .ack = stream_u32(s), .flags = PACKET_TCP_ACK};
        packet_build_tcp(&w, &ip, &tcp, view);
    } else {
        struct packet_build_echo echo = {stream_below(s, 2) == 1, ports.source, ports.destination};
        packet_build_echo(&w, &ip, &echo, view);
    }
    free(payload);
    assert_true(writer_finish(&w));
    return packet_of(room, HEADROOM, w.used);
}

/* Parses and demands acceptance and right checksums. */
static inline struct packet_info parse_good(const struct packet *packet)
{
    struct packet_info info;
    assert_int_equal(packet_parse(packet, &info), DROP_NONE);
    assert_true(packet_checksums_ok(packet, &info));
    return info;
}

/* Gives the next packet of a capture (pcap, little endian, raw IP); false at its end. */
static inline bool pcap_next(struct reader *r, struct view *out)
{
    if (r->rest.len == 0) {
        return false;
    }
    (void)reader_take(r, 8);
    uint32_t len = reader_le32(r);
    (void)reader_le32(r);
    *out = reader_take(r, len);
    assert_true(reader_ok(r));
    return true;
}

static inline struct reader pcap_open(const char *path, char **file)
{
    size_t len = 0;
    *file = support_read_file(path, &len);
    assert_non_null(*file);
    struct reader r = reader_of((struct view){(const uint8_t *)*file, len});
    assert_int_equal(reader_le32(&r), 0xa1b2c3d4U);
    (void)reader_take(&r, 16);
    assert_int_equal(reader_le32(&r), 101); /* LINKTYPE_RAW */
    return r;
}

#endif /* TESTS_PACKET_SUPPORT_H */
