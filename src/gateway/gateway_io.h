/* gateway_io: what crosses the seam between the gateway's core and its driver.
 *
 * Everything the core consumes and produces is one of these structs; they hold no system types, so
 * that the Linux platform, the simulator and a recording carry the same things. Views and spans are
 * borrowed; each struct says for how long.
 * Source: design sections 4 and 8.1.
 */
#ifndef GATEWAY_IO_H
#define GATEWAY_IO_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/text.h"
#include "base/time.h"

#define GATEWAY_TUN_HEADROOM 64U   /* bytes in front of a TUN packet that the core may use */
#define GATEWAY_UDP_HEADROOM 32U   /* bytes in front of a datagram that the core may use */
#define GATEWAY_INNER_MTU    1280U /* largest inner IP packet, spec/dataplane.md section 1.2 */
#define GATEWAY_DATAGRAM_MAX                                                                       \
    1336U /* largest accepted UDP payload, spec/dataplane.md section 1.2                           \
           */
#define GATEWAY_SUPERPACKET_MAX 65535U

/* ---- UDP ---- */

/* One received datagram, or a train of equal ones (UDP_GRO). The core decrypts in place: the bytes,
 * and GATEWAY_UDP_HEADROOM bytes before them, belong to the core until the driver's next receive.
 */
struct gateway_datagram {
    struct span bytes;
    uint16_t segment_size;   /* 0: one datagram; else every segment but the last has this size */
    struct sock_addr local;  /* destination address and port of the datagram */
    struct sock_addr remote; /* who sent it */
    uint8_t ecn;             /* the two ECN bits of the outer header */
};

/* One datagram to send, or a train of equal ones (UDP_SEGMENT). Valid until the next gateway call,
 * gateway_poll() included: control messages are written into one place. */
struct gateway_train {
    struct sock_addr local; /* ip.family == IP_NONE: the kernel chooses; else the source address */
    struct sock_addr remote;
    struct view bytes;
    uint16_t segment_size; /* 0: one datagram; else every segment but the last has this size */
    uint8_t ecn;
};

/* ---- TUN ---- */

enum gateway_gso {
    GATEWAY_GSO_NONE,
    GATEWAY_GSO_TCPV4,
    GATEWAY_GSO_TCPV6,
    GATEWAY_GSO_UDP,
};

/* Offload metadata of one IP packet, the meaning of struct virtio_net_hdr without its encoding. */
struct gateway_offload {
    enum gateway_gso gso;
    uint16_t gso_size;    /* payload bytes of each segment; 0 without gso */
    bool checksum_needed; /* the L4 checksum field holds only the pseudo-header sum */
};

/* One packet read from the TUN device. At least GATEWAY_TUN_HEADROOM bytes in front of `bytes`
 * belong to the core too, until the driver's next read. */
struct gateway_tun_packet {
    struct span bytes;
    struct gateway_offload offload;
};

#define GATEWAY_TUN_SLICES_MAX 64U

/* One packet, or one coalesced super-packet, to write to the TUN device: the slices in order are
 * the IP packet. Valid until the next gateway call, gateway_poll() included. */
struct gateway_tun_group {
    struct view slices[GATEWAY_TUN_SLICES_MAX];
    uint32_t slices_count;
    struct gateway_offload offload;
};

/* Addresses of the TUN device; routes and rules follow from them (spec/portal.md section 9.5). */
struct gateway_tun_config {
    struct ip_addr ipv4;
    struct ip_addr ipv6;
};

#define GATEWAY_OWN_ADDRESSES_MAX 32U /* of the host, that the gateway takes note of */

/* ---- byte streams: the portal (client side) and accepted connections (server side) ---- */

enum gateway_stream_kind {
    GATEWAY_STREAM_OPENED,   /* the connection, TLS included, is up */
    GATEWAY_STREAM_BYTES,    /* plaintext arrived, any segmentation */
    GATEWAY_STREAM_WRITABLE, /* a send that was cut short may continue */
    GATEWAY_STREAM_CLOSED,   /* over; `reason` says why, ERR_CLOSED for an orderly end */
    GATEWAY_STREAM_ACCEPTED, /* a listener accepted `stream`; `listener` says which */
    GATEWAY_STREAM_ENDED,    /* accepted streams: the peer sends no more, but may still read; the
                                core closes the stream when it has answered */
};

struct gateway_stream_event {
    enum gateway_stream_kind kind;
    uint32_t stream;
    uint32_t listener;
    struct sock_addr remote; /* of an accepted stream */
    struct view bytes;       /* valid during the call */
    enum err reason;
};

struct gateway_stream_open {
    uint32_t stream; /* chosen by the core, below GATEWAY_STREAM_ACCEPTED_BASE, never reused */
    struct sock_addr remote;
    struct view tls_name; /* empty: plain TCP; a name or IP literal to verify otherwise */
};

/* Streams that a platform accepts get ids from here on, never reused. */
#define GATEWAY_STREAM_ACCEPTED_BASE UINT32_C(0x80000000)

struct gateway_stream_send {
    uint32_t stream;
    struct view bytes;
};

/* ---- listeners: health and metrics (TCP), DNS on the tunnel addresses (UDP and TCP) ---- */

enum gateway_listener {
    GATEWAY_LISTENER_HEALTH,
    GATEWAY_LISTENER_DNS_UDP4,
    GATEWAY_LISTENER_DNS_UDP6,
    GATEWAY_LISTENER_DNS_TCP4,
    GATEWAY_LISTENER_DNS_TCP6,
    GATEWAY_LISTENER_COUNT,
};

struct gateway_listen {
    enum gateway_listener listener;
    bool datagram;          /* UDP instead of TCP */
    struct sock_addr local; /* replaces an earlier address of the same listener */
};

/* A datagram that a UDP listener received or is to send. Received: valid during the call. */
struct gateway_listener_datagram {
    enum gateway_listener listener;
    struct sock_addr remote;
    struct view bytes;
};

/* ---- name lookups ---- */

enum gateway_lookup_type {
    GATEWAY_LOOKUP_A,
    GATEWAY_LOOKUP_AAAA,
    GATEWAY_LOOKUP_SRV,
    GATEWAY_LOOKUP_TXT,
};

struct gateway_lookup {
    uint32_t lookup; /* chosen by the core, never reused */
    enum gateway_lookup_type type;
    struct view name; /* presentation form without trailing dot; valid until the next mutation */
};

#define GATEWAY_LOOKUP_ADDRESSES_MAX 64U

/* The answer to one lookup. ERR_NONE with no address means that the name exists without such
 * records; ERR_NAME that it does not exist; ERR_TIMEOUT, ERR_IO and others that nobody knows. */
struct gateway_lookup_answer {
    uint32_t lookup;
    enum err result;
    struct ip_addr addresses[GATEWAY_LOOKUP_ADDRESSES_MAX];
    uint32_t addresses_count;
    uint32_t ttl_s;      /* smallest of the answer, seconds */
    struct view records; /* SRV, TXT: the raw DNS answer message; valid during the call */
};

/* ---- flow records ---- */

#define GATEWAY_FLOW_OUTERS_MAX 4U /* paths of one flow; one more begins a new record */

/* A path that a flow's outer datagrams took: the client's end and ours. */
struct gateway_flow_outer {
    struct sock_addr source;
    struct sock_addr destination; /* ip.family == IP_NONE: not known */
    uint64_t since_unix_ns;       /* when the flow was first seen on it */
};

/* One TCP or UDP flow of a client, told when it begins and again when it has ended. tx is what the
 * client sent; bytes are payload. Source: spec/dataplane.md section 15.1. */
struct gateway_flow {
    bool ended;
    uint8_t protocol; /* 6 or 17 */
    struct uuid client;
    struct uuid resource;
    struct sock_addr source; /* inner, with the port behind the NAT */
    struct sock_addr destination;
    struct view domain; /* of a DNS resource, else empty */
    uint32_t outers_count;
    struct gateway_flow_outer outers[GATEWAY_FLOW_OUTERS_MAX];
    uint64_t start_unix_ns;
    uint64_t last_packet_unix_ns;
    uint64_t end_unix_ns;
    uint64_t rx_packets;
    uint64_t tx_packets;
    uint64_t rx_bytes;
    uint64_t tx_bytes;
};

/* ---- outputs ---- */

enum gateway_output_kind {
    GATEWAY_OUT_TRAIN,
    GATEWAY_OUT_TUN,
    GATEWAY_OUT_TUN_CONFIGURE,
    GATEWAY_OUT_STREAM_OPEN,
    GATEWAY_OUT_STREAM_SEND,
    GATEWAY_OUT_STREAM_CLOSE,
    GATEWAY_OUT_LISTEN,
    GATEWAY_OUT_LISTENER_SEND,
    GATEWAY_OUT_LOOKUP,
    GATEWAY_OUT_FLOW,
    GATEWAY_OUT_EXIT,
};

/* One thing for the driver to carry out. After STREAM_SEND the driver reports how much was taken
 * with gateway_stream_sent(); everything else needs no answer. Views live until the next mutation.
 */
struct gateway_output {
    enum gateway_output_kind kind;
    union {
        struct gateway_train train;
        const struct gateway_tun_group *tun;
        struct gateway_tun_config tun_config;
        struct gateway_stream_open open;
        struct gateway_stream_send send;
        uint32_t close;
        struct gateway_listen listen;
        struct gateway_listener_datagram datagram;
        struct gateway_lookup lookup;
        const struct gateway_flow *flow;
        struct {
            int code;           /* process exit code */
            struct view reason; /* one line for the operator; static text */
        } exit;
    } u;
};

#endif /* GATEWAY_IO_H */
