/* sim_platform: `struct platform` of one gateway over the simulated network.
 *
 * The counterpart of platform/linux: the same driver runs on top. UDP sockets of both families on
 * one port, a TUN device whose far side is a function of the world, byte streams, lookups answered
 * by a resolver after its latency, both clocks with offset, drift and jumps, and faults of the
 * environment. Whenever something becomes ready the world is poked.
 * The TUN side checks what a kernel would: super-packets are cut here, partial checksums completed.
 * Memory: malloc; receive buffers live until the next receive, as platform.h says.
 * Source: design section 8.1; spec/simulation.md S-01, S-02, S-04 and section 7 ("gateway
 * environment", "host").
 */
#ifndef SIM_PLATFORM_H
#define SIM_PLATFORM_H

#include "platform/platform.h"
#include "sim/sim_resolver.h"
#include "sim/sim_stream.h"

#define SIM_GATEWAY_UDP_PORT 52625U

/* Both clocks of one node as functions of world time. Integer arithmetic; boot never goes back. */
struct sim_clock {
    uint64_t boot_offset_ns;
    uint64_t unix_start_ns; /* wall clock at the start of the world */
    int64_t unix_shift_ns;  /* jumps so far */
    int32_t drift_ppm;      /* -900..900 */
};

struct clock_pair sim_clock_at(const struct sim_clock *clock, uint64_t world_ns);
/* The first world time at which the node's boot clock shows `boot` or more. */
MUST_USE uint64_t sim_clock_world(const struct sim_clock *clock, struct instant boot);

/* What goes wrong below the gateway. All zero: nothing. Set in place. */
struct sim_platform_faults {
    uint32_t udp_block_ppm; /* of sends: EAGAIN, writable again after udp_block */
    struct duration udp_block;
    uint32_t udp_error_ppm; /* of sends: the train is lost with udp_error */
    enum err udp_error;     /* ERR_UNREACHABLE, ERR_PERMISSION, ERR_TOO_BIG, ERR_IO */
    uint32_t icmp_ppm;      /* of sends: the network calls the destination unreachable, wrongly */
    uint32_t tun_block_ppm; /* of writes: EAGAIN */
    struct duration tun_block;
    uint32_t tun_error_ppm; /* of writes: lost with ERR_IO */
    uint32_t batch_max;     /* datagrams or packets of one receive; 0: as many as fit */
    uint32_t train_max;     /* equal datagrams joined into one received train; 0 or 1: none */
    bool group_data_only;   /* batch_max and train_max leave alone what is received together with
                               anything but transport data of tunnels */
    uint32_t tun_train_max; /* segments of one TCP flow read as one super-packet; 0 or 1: none */
    uint32_t tun_offload;   /* what tun_write takes, plus one; 0: drawn at each boot */
    bool tun_gone;          /* reads say ERR_CLOSED, and to that process for ever */
    bool udp_gone;          /* the same of the sockets of this process; the next one has new ones */
    uint32_t sabotage;      /* enum sim_sabotage */
};

/* The world, as the platform sees it. */
struct sim_platform_world {
    void *self;
    /* Something became ready, or a block ended: step the gateway soon. */
    void (*poke)(void *poke_self);
    void *poke_self;
    /* The gateway wrote one IP packet into its TUN device. */
    void (*tun_packet)(void *self, uint32_t gateway, struct view packet);
    /* The gateway configured its TUN device. */
    void (*tun_configured)(void *self, uint32_t gateway, const struct gateway_tun_config *config);
    /* The gateway asks its resolver, and gets the answer. May be NULL. */
    void (*asked)(void *self, uint32_t gateway, const struct gateway_lookup *lookup);
    void (*answered)(void *self, uint32_t gateway, const struct gateway_lookup_answer *answer);
    /* The gateway wrote something no kernel accepts: `text` says what. */
    void (*bad_output)(void *self, uint32_t gateway, const char *text);
};

struct sim_platform_config {
    uint32_t gateway; /* index, given back to the world */
    uint32_t node;    /* in the network */
    struct sim_clock clock;
    struct sim_sched *sched;
    struct sim_trace *trace;
    const struct sim_rng *rng;
    struct sim_net *net;
    struct sim_streams *streams;
    struct sim_resolver resolver;
    bool own_addresses; /* the gateway wants to know its host's addresses */
    struct sim_platform_world world;
};

/* What was carried since the last boot, in datagrams and IP packets as the gateway counts them. */
struct sim_platform_counts {
    uint64_t udp_in;
    uint64_t udp_out; /* taken from the gateway, lost ones included */
    uint64_t tun_in;
    uint64_t tun_out;
    /* How things were grouped: what was joined to the item before it. */
    uint64_t udp_in_joined;
    uint64_t udp_out_joined;
    uint64_t tun_joined;
    uint64_t tun_out_cut;
    /* The gateway knows that it has lost them: what it has for them is carried no more. */
    bool udp_lost;
    bool tun_lost;
};

struct sim_platform;

MUST_USE struct sim_platform *sim_platform_new(const struct sim_platform_config *config);
void sim_platform_free(struct sim_platform *platform);
/* The table for the driver; valid as long as the platform. */
const struct platform *sim_platform_table(const struct sim_platform *platform);
struct sim_platform_faults *sim_platform_faults(struct sim_platform *platform);
struct sim_clock *sim_platform_clock(struct sim_platform *platform);
const struct sim_platform_counts *sim_platform_counts(const struct sim_platform *platform);
struct clock_pair sim_platform_now(const struct sim_platform *platform);

/* The process died and starts again: everything queued is gone, entropy comes from a new stream. */
void sim_platform_reboot(struct sim_platform *platform);

/* Things from the world. */
void sim_platform_datagram(struct sim_platform *platform, const struct sim_datagram *datagram);
void sim_platform_tun(struct sim_platform *platform, struct view packet);
void sim_platform_stream(struct sim_platform *platform, const struct gateway_stream_event *event);
/* Something changed that the process finds out about when it looks. */
void sim_platform_poke(struct sim_platform *platform);
void sim_platform_shutdown(struct sim_platform *platform);

/* A set of enum platform_ready. */
MUST_USE uint32_t sim_platform_ready(const struct sim_platform *platform);
/* When blocked sends may be tried again (world time); UINT64_MAX when none is blocked. */
MUST_USE uint64_t sim_platform_unblock_at(const struct sim_platform *platform);
/* True when every queued event has been taken. */
MUST_USE bool sim_platform_is_drained(const struct sim_platform *platform);
/* Boots so far, counting from 0. */
MUST_USE uint32_t sim_platform_boot(const struct sim_platform *platform);

#endif /* SIM_PLATFORM_H */
