/* platform: the abstract layer between the driver and a world, real or simulated.
 *
 * One table of functions, none of which blocks. platform/linux/ and sim/ each implement it; the
 * driver (platform/driver.h) is its only user. TLS lives below this seam: plaintext crosses it.
 * Received buffers belong to the caller until the next call of the same receive function.
 * Source: design section 8.1; spec/simulation.md S-01.
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include "gateway/gateway.h"

enum platform_event_kind {
    PLATFORM_STREAM,      /* something happened to a byte stream */
    PLATFORM_LISTENER,    /* a UDP listener received a datagram */
    PLATFORM_LOOKUP,      /* a lookup ended */
    PLATFORM_UNREACHABLE, /* the network says that a destination of ours cannot be reached */
    PLATFORM_SHUTDOWN,    /* SIGINT or SIGTERM */
    PLATFORM_TUN_UP,      /* the last tun_configure, which had failed, has succeeded since */
};

/* Views inside live until the next call of `event`. */
struct platform_event {
    enum platform_event_kind kind;
    struct gateway_stream_event stream;
    struct gateway_listener_datagram listener;
    const struct gateway_lookup_answer *lookup;
    struct sock_addr unreachable;
};

/* Which sources may have something; a set bit is a hint, an unset one is a promise. */
enum platform_ready {
    PLATFORM_READY_UDP = 1,
    PLATFORM_READY_TUN = 2,
    PLATFORM_READY_EVENT = 4,
    PLATFORM_READY_ALL = 7,
};

/* Kinds of super-packets of a TUN device. */
enum platform_tun_offload {
    PLATFORM_TUN_TCP = 1,
    PLATFORM_TUN_UDP = 2,
};

struct platform {
    void *self;

    /* Both clocks at this moment. Boot time never goes backwards. */
    struct clock_pair (*now)(void *self);
    /* 32 bytes from the system's generator. */
    void (*entropy)(void *self, uint8_t out[32]);

    /* Receives up to `max` datagrams or trains of either family. ERR_WOULD_BLOCK: none.
     * ERR_CLOSED: every socket is gone for good; neither this nor udp_send is called again. */
    enum err (*udp_receive)(void *self, struct gateway_datagram *out, size_t max, size_t *count);
    /* Sends one train completely or not at all. ERR_WOULD_BLOCK: again when writable. Other errors
     * (ERR_UNREACHABLE, ERR_TOO_BIG, ERR_PERMISSION, ERR_IO) lose that train only. */
    enum err (*udp_send)(void *self, const struct gateway_train *train);

    /* Applies addresses, MTU, rules and routes. An error is reported, never fatal; the platform
     * tries on, and PLATFORM_TUN_UP tells when it succeeds. */
    enum err (*tun_configure)(void *self, const struct gateway_tun_config *config);
    /* Reads up to `max` packets. ERR_WOULD_BLOCK: none. ERR_CLOSED: the device is gone for good; no
     * function of it is called again. */
    enum err (*tun_read)(void *self, struct gateway_tun_packet *out, size_t max, size_t *count);
    /* Writes one packet or super-packet. ERR_WOULD_BLOCK: again when writable. */
    enum err (*tun_write)(void *self, const struct gateway_tun_group *group);
    /* Which super-packets tun_write takes now, a set of enum platform_tun_offload; may change at
     * any time. NULL: none. */
    uint32_t (*tun_offload)(void *self);

    /* What was counted so far; the errors are the driver's. NULL: nothing is counted. */
    void (*io_counters)(void *self, struct gateway_io_counters *out);
    /* Writes up to `max` addresses of this host's interfaces. NULL: nobody wants them. */
    size_t (*own_addresses)(void *self, struct ip_addr *out, size_t max);

    /* Shows a flow record to the operator. NULL: nobody wants them. */
    void (*flow)(void *self, const struct gateway_flow *flow);

    /* Starts connecting; the outcome is a stream event. Copies what it keeps. */
    void (*stream_open)(void *self, const struct gateway_stream_open *open);
    /* Takes some prefix of `bytes`; *taken may be 0. A WRITABLE event follows a short take. */
    enum err (*stream_send)(void *self, uint32_t stream, struct view bytes, size_t *taken);
    /* Ends a stream after what was taken has been sent; no event follows. Unknown ids are ignored.
     */
    void (*stream_close)(void *self, uint32_t stream);

    /* Binds a listener; an address that cannot be bound is an error. */
    enum err (*listen)(void *self, const struct gateway_listen *listen);
    enum err (*listener_send)(void *self, const struct gateway_listener_datagram *datagram);

    /* Starts a lookup; the outcome is a lookup event, possibly at once. Copies the name. */
    void (*lookup)(void *self, const struct gateway_lookup *lookup);

    /* Takes the next queued event; false when there is none. */
    bool (*event)(void *self, struct platform_event *out);
};

#endif /* PLATFORM_H */
