/* driver: carries events from a platform into the gateway and its outputs back. The only such code.
 *
 * driver_step() never blocks. It owns drain order, budgets and back-pressure: an output that would
 * block is kept, nothing is fed into the gateway until it is gone. The Linux loop calls it from
 * epoll, the simulator from its event heap; nothing else differs.
 * A TUN device that is gone, or all UDP sockets, are reported once and make the gateway take its
 * leave; what it still has for them is dropped and counted.
 * Inputs are recorded before the gateway sees them, because datagrams are decrypted in place.
 * Memory: the caller owns struct driver; nothing is allocated.
 * Source: design section 8.1.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include "gateway/gateway.h"
#include "platform/driver_digest.h"
#include "platform/platform.h"

#define DRIVER_UDP_BATCH 16U
#define DRIVER_TUN_BATCH 64U

/* Where inputs are recorded; `write` NULL records nothing. */
struct driver_recorder {
    void (*write)(void *self, struct view bytes);
    void *self;
};

/* What one step left behind. */
struct driver_result {
    struct wake next; /* when to step again without any readiness */
    bool again;       /* a budget ran out: step again at once */
    bool udp_blocked; /* wait until the UDP sockets are writable */
    bool tun_blocked; /* wait until the TUN device is writable */
    bool exit;        /* the gateway asked to end */
    int exit_code;
    struct view exit_reason; /* one line for the operator; static text */
};

struct driver {
    struct gateway *gateway;
    const struct platform *platform;
    struct driver_recorder recorder;
    struct driver_digest digest; /* of the outputs, while something is recorded */
    uint64_t digest_told;        /* outputs when the digest was last recorded */
    struct trace trace;
    struct gateway_output held; /* the output that would have blocked */
    bool holding;
    bool tun_lost; /* never asked again */
    bool udp_lost;
    uint32_t tun_offload; /* what the gateway was told, a set of enum platform_tun_offload */
    bool exiting;
    int exit_code;
    struct view exit_reason;
    struct instant reseed_at;
    struct instant addresses_at; /* when to look at the host's addresses again */
    struct instant last_step;
    struct instant counters_at; /* when the platform's counters may be told again */
    uint64_t send_errors;       /* trains lost to errors of the environment */
    uint64_t tun_write_errors;  /* groups lost to errors of the environment */
    size_t addresses_count;
    struct ip_addr addresses[GATEWAY_OWN_ADDRESSES_MAX]; /* as the gateway was told */
};

/* Starts to drive `gateway` over `platform`; borrows all pointers. */
void driver_init(struct driver *driver, struct gateway *gateway, const struct platform *platform,
                 struct driver_recorder recorder, struct trace trace);

/* Feeds what is ready (a set of enum platform_ready), runs due timers, carries outputs out. */
MUST_USE struct driver_result driver_step(struct driver *driver, struct clock_pair now,
                                          uint32_t ready);

#endif /* DRIVER_H */
