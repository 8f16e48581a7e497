/* wg_host: one WireGuard tunnel of ours on a real socket, which answers pings inside the tunnel. */
#ifndef TESTS_INTEROP_WG_HOST_H
#define TESTS_INTEROP_WG_HOST_H

#include "packet/packet.h"
#include "tests/interop/interop.h"
#include "wg/wg_peer.h"

#define WG_HOST_BATCH     32U
#define WG_HOST_ECHOES    512U
#define WG_HOST_ECHO_ID   0x4657U
#define WG_HOST_ROOM      1500U
#define WG_HOST_SIZE_MAX  1280U /* bytes of an IP packet in the tunnel */
#define WG_HOST_OUTER_MAX (WG_HOST_BATCH * 4U)

struct wg_host_config {
    struct sock_addr local;
    struct sock_addr remote; /* family IP_NONE: learned from what it sends */
    struct x25519_private own;
    struct x25519_public remote_key;
    struct wg_psk psk;
    enum wg_role role;
    uint32_t handshakes_per_s; /* before our cookies */
    struct aead_backend backend;
};

struct wg_host_slot {
    size_t len; /* bytes of the IP packet, or of the datagram */
    uint8_t bytes[WG_HOST_ROOM];
};

struct wg_host {
    struct wg_node node;
    struct wg_peer peer;
    struct wg_window windows[WG_SESSIONS_MAX];
    struct rng rng;
    struct aead_backend backend;
    int fd;
    struct sock_addr remote;
    bool mute; /* handshake answers are made but not sent */

    unsigned received[WG_TYPE_DATA + 1]; /* datagrams by type */
    unsigned sent[WG_TYPE_DATA + 1];
    unsigned refused[DROP_COUNT];
    unsigned keepalives;    /* received */
    unsigned confirmations; /* sessions that were confirmed by their first packet */
    bool sent_mac2;         /* the last initiation sent carries mac2 */
    bool received_mac2;     /* the last initiation received carries mac2 */
    unsigned answered;      /* pings of the other side */
    unsigned replies;       /* right answers to our pings, each counted once */
    unsigned wrong_replies;
    bool replied[WG_HOST_ECHOES];

    size_t in_count;
    struct wg_host_slot in[WG_HOST_BATCH]; /* data messages of one batch */
    size_t out_count;
    struct wg_host_slot out[WG_HOST_BATCH]; /* IP packets, 16 bytes behind the start */
};

struct wg_host *wg_host_new(const struct interop *interop, const struct wg_host_config *config);
void wg_host_free(struct wg_host *host);

/* Receives, answers, runs timers; waits at most 20 ms when there is nothing. */
void wg_host_step(struct wg_host *host);
/* Steps until `done(host)`; false when `ms` passed before. */
MUST_USE bool wg_host_until(struct wg_host *host, bool (*done)(const struct wg_host *),
                            uint64_t ms);
void wg_host_pass(struct wg_host *host, uint64_t ms);

/* Length of the IP packet of ping `seq`: all sizes up to WG_HOST_SIZE_MAX are met. */
size_t wg_host_echo_size(enum ip_family family, unsigned seq);
/* Writes the echo request `seq` as an IP packet; returns its length. */
size_t wg_host_echo(enum ip_family family, const struct ip_addr *source,
                    const struct ip_addr *destination, unsigned seq, struct span out);
/* True when `payload` is that of ping `seq`. */
MUST_USE bool wg_host_echo_is(enum ip_family family, unsigned seq, struct view payload);
/* Queues ping `seq`; sent with the next step, or when a batch is full. */
void wg_host_ping(struct wg_host *host, const struct ip_addr *source,
                  const struct ip_addr *destination, unsigned seq);

#endif /* TESTS_INTEROP_WG_HOST_H */
