/* gateway: the whole gateway as one pure state machine; the only face of the core.
 *
 * The driver feeds events with gateway_handle_*() and then drains gateway_poll() until it returns
 * false, before the next handle call. Nothing here blocks, reads a clock, draws entropy or
 * allocates on the packet path (the portal's JSON is the one exception, bounded).
 *
 * Time:   every input carries both clocks; `boot` never goes backwards, `unix_ns` may jump.
 * Memory: one area of gateway_size() zeroed bytes, given by the caller, may be mapped without
 *         reservation; idle parts are never touched. gateway_deinit() frees what the portal's JSON
 *         holds and wipes keys.
 * Source: design sections 2 to 4 and 8; spec/portal.md, connectivity.md, wireguard.md,
 * dataplane.md.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include "base/drop.h"
#include "base/trace.h"
#include "gateway/gateway_io.h"

#define GATEWAY_VERSION "0.1.0" /* of this program; portals are told config.user_agent */

struct gateway;

/* Every bound that grows with peers, flows or requests. Visible in --help and /metrics. */
struct gateway_limits {
    uint32_t clients;                 /* 16 384 */
    uint32_t relays;                  /* 16 */
    uint32_t resources_per_client;    /* 64 */
    uint32_t nat_sessions;            /* 1 048 576 in all */
    uint32_t nat_sessions_per_client; /* 65 536 */
    uint32_t nat_expired_per_client;  /* 4 096 remembered outside tuples */
    uint32_t lookups;                 /* 1 024 in flight */
    uint32_t dns_cache;               /* 512 names */
    uint32_t flows;                   /* recorded at a time; 0, the default: no flow records */
};

struct gateway_config {
    struct view api_url;       /* e.g. "wss://api.firezone.dev"; checked by gateway_init() */
    struct view token;         /* secret */
    struct view firezone_id;   /* hashed before it is sent */
    struct view name;          /* display name */
    struct view user_agent;    /* e.g. "Debian/12.0.0 connlib/1.5.2 (x86_64; 6.1.0)" */
    struct sock_addr health;   /* ip.family == IP_NONE: no health endpoint */
    uint64_t partition_max_s;  /* give up after this long without the portal; 86 400 by default */
    bool nat64_translate;      /* translate across families; false: answer ICMP unreachable */
    bool refuse_own_addresses; /* refuse DNS answers that point at the gateway's own addresses */
    const struct fault_hook *fault; /* borrowed for life; NULL but in a simulated run */
    bool portal_v2;                 /* log in at /gateway/v2 first, the token in a header */
    bool portal_v2_only;            /* and nowhere else */
};

struct gateway_limits gateway_limits_default(void);

/* Returns the bytes that gateway_init() needs for `limits`. */
MUST_USE size_t gateway_size(const struct gateway_limits *limits);

/* Builds a gateway in `memory` (zeroed, aligned to 64 bytes). Copies what it keeps of `config`.
 * ERR_ARGUMENT: the URL's scheme is not ws, wss, http or https, or it has no host;
 * ERR_SPACE: a text of the configuration is too long. */
MUST_USE enum err gateway_init(void *memory, const struct gateway_limits *limits,
                               const struct gateway_config *config, struct clock_pair now,
                               const uint8_t seed[32], struct trace trace, struct gateway **out);

/* Wipes keys and frees what control messages hold. The memory itself stays the caller's. */
void gateway_deinit(struct gateway *gw);

/* ---- how packets are sealed ---- */

/* Implementations of ChaCha20-Poly1305; all give the same bytes. */
enum gateway_aead {
    GATEWAY_AEAD_LIBSODIUM, /* everywhere; in use after gateway_init() */
    GATEWAY_AEAD_IPSEC_SSE, /* ipsec-mb, by the instructions that the processor must have */
    GATEWAY_AEAD_IPSEC_AVX2,
    GATEWAY_AEAD_IPSEC_AVX512,
    GATEWAY_AEAD_COUNT,
};

/* Uses another implementation from now on, after comparing its bytes with libsodium's (about 1 ms).
 * ERR_UNSUPPORTED: this machine lacks it; ERR_CRYPTO: it gives wrong bytes. After an error
 * libsodium is in use. Only between inputs. */
MUST_USE enum err gateway_use_aead(struct gateway *gw, enum gateway_aead aead);
/* What is in use, for the log: static text. */
const char *gateway_aead_name(const struct gateway *gw);
/* Seals and opens `batches` batches of 64 messages of `bytes` bytes each with what is in use, for
 * the platform to time. False: a message did not open. Only between inputs, all outputs polled.
 * Asserts: bytes <= GATEWAY_DATAGRAM_MAX. */
MUST_USE bool gateway_aead_trial(struct gateway *gw, uint32_t batches, size_t bytes);

/* Implementations of the Internet checksum over payloads; all give the same bits. */
enum gateway_checksum {
    GATEWAY_CHECKSUM_PORTABLE, /* everywhere; in use after gateway_init() */
    GATEWAY_CHECKSUM_AVX2,     /* by the instructions that the processor must have */
    GATEWAY_CHECKSUM_AVX512,   /* F and BW */
    GATEWAY_CHECKSUM_COUNT,
};

/* Uses another implementation from now on, after comparing its bits with the portable one's (under
 * 1 ms). The caller knows that the processor has the instructions; without them the process ends.
 * ERR_UNSUPPORTED: this architecture has none of that kind, or it gives wrong bits; the portable
 * one is in use then. Only between inputs. */
MUST_USE enum err gateway_use_checksum(struct gateway *gw, enum gateway_checksum checksum);
/* What is in use, for the log: static text. */
const char *gateway_checksum_name(const struct gateway *gw);

/* Says which super-packets the TUN device takes: packets of one flow leave as one then. Neither
 * after gateway_init(). Packets, order within a flow and counters are the same either way; a
 * recorded input all the same, because outputs are grouped differently. */
void gateway_set_tun_offload(struct gateway *gw, bool tcp, bool udp);

#define GATEWAY_TUN_CUT_ROOM (GATEWAY_SUPERPACKET_MAX + GATEWAY_DATAGRAM_MAX)

/* Cuts a super-packet of GATEWAY_OUT_TUN back into packets, for a device that refused it. `emit`
 * gets them in order, each valid during its call. Touches no gateway. `room` is scratch memory.
 * Asserts: room.len >= GATEWAY_TUN_CUT_ROOM. */
void gateway_tun_cut(const struct gateway_tun_group *group, struct span room,
                     void (*emit)(void *self, struct view packet), void *self);

/* Completes a checksum that the kernel left to the device, over all from `start` on, where it
 * stands `offset` further: for one that is not the packet's own but that of a packet inside.
 * Touches no gateway. False, and nothing has changed, when it would lie outside the packet. */
MUST_USE bool gateway_tun_complete(struct span packet, size_t start, size_t offset);

/* What the platform counted since start: how well its calls were filled. */
struct gateway_io_counters {
    uint64_t wakeups;              /* returns from waiting */
    uint64_t udp_receive_calls;    /* that brought anything */
    uint64_t udp_receive_messages; /* datagrams and trains of these calls */
    uint64_t udp_send_calls;
    uint64_t udp_send_errors; /* trains lost to errors of the environment */
    uint64_t tun_read_calls;  /* that brought anything: packets and super-packets */
    uint64_t tun_write_calls;
    uint64_t tun_write_errors; /* packets and super-packets lost to errors of the environment */
    uint64_t longest_step_ns;  /* the longest time without a look at the sockets */
    uint64_t udp_receive_lost; /* datagrams and trains for which a socket's buffer had no room */
};

/* Replaces the counters that /metrics shows beside the gateway's own. A recorded input, because
 * they appear in an output; nothing else depends on them. */
void gateway_set_io_counters(struct gateway *gw, const struct gateway_io_counters *io);

/* Inputs. Each may leave outputs for gateway_poll(). Refused input is counted, traced and dropped;
 * one bad item of a batch never affects another. */
void gateway_handle_udp(struct gateway *gw, struct clock_pair now,
                        const struct gateway_datagram *datagrams, size_t count);
void gateway_handle_tun(struct gateway *gw, struct clock_pair now,
                        const struct gateway_tun_packet *packets, size_t count);
void gateway_handle_stream(struct gateway *gw, struct clock_pair now,
                           const struct gateway_stream_event *event);
void gateway_handle_listener(struct gateway *gw, struct clock_pair now,
                             const struct gateway_listener_datagram *datagram);
void gateway_handle_lookup(struct gateway *gw, struct clock_pair now,
                           const struct gateway_lookup_answer *answer);
/* Does what is due at `now`; early and late calls are harmless. */
void gateway_handle_timeout(struct gateway *gw, struct clock_pair now);
/* Why a gateway has to end: the exit code and the reason of GATEWAY_OUT_EXIT. */
enum gateway_end {
    GATEWAY_END_ASKED,    /* a signal: 0, "shut down" */
    GATEWAY_END_TUN_LOST, /* for good: 1, "the TUN device is gone" */
    GATEWAY_END_UDP_LOST, /* for good: 1, "all UDP sockets are gone" */
    GATEWAY_END_COUNT,
};

/* Starts the orderly end: goodbye to clients, allocations given back, Close to the portal, then
 * GATEWAY_OUT_EXIT, within a second. Without UDP sockets the portal alone is told and waited for.
 * A portal that refuses the gateway for good starts the end as well. The first cause gives code and
 * reason; what is lost during the end is told all the same, so that nothing waits for it. */
void gateway_handle_shutdown(struct gateway *gw, struct clock_pair now, enum gateway_end why);
/* The reason that comes of it: static text. */
const char *gateway_end_reason(enum gateway_end why);
/* Mixes fresh entropy into the generator. A recorded input (every 60 s and after a clock gap). */
void gateway_handle_reseed(struct gateway *gw, const uint8_t seed[32]);
/* The network said (ICMP) that `remote` cannot be reached. Only a hint, anybody can forge it: if it
 * is a relay's server, that relay is probed at once, at most every 10 s. */
void gateway_handle_unreachable(struct gateway *gw, struct clock_pair now,
                                const struct sock_addr *remote);
/* Tells the addresses of this host, for config.refuse_own_addresses; the last list counts. A
 * recorded input. */
void gateway_set_own_addresses(struct gateway *gw, const struct ip_addr *addresses, size_t count);
/* Tells whether the last TUN_CONFIGURE has succeeded. A recorded input; it makes no output. */
void gateway_set_tun_up(struct gateway *gw, bool up);
/* Reports how many bytes of the last GATEWAY_OUT_STREAM_SEND were taken. */
void gateway_stream_sent(struct gateway *gw, uint32_t stream, size_t taken);

/* Takes the next output; false when there is none. Outputs stay valid until the next mutation. */
MUST_USE bool gateway_poll(struct gateway *gw, struct gateway_output *out);

/* Returns when gateway_handle_timeout() wants to be called next. Pure. */
MUST_USE struct wake gateway_poll_timeout(const struct gateway *gw);

#define GATEWAY_LOOKUP_BOUNDS_MS                                                                   \
    {                                                                                              \
        10, 100, 1000, 10000                                                                       \
    }
#define GATEWAY_LOOKUP_BOUNDS 4U

/* Counters since start. in = out + dropped-with-cause holds for packets of both directions. */
struct gateway_counters {
    uint64_t udp_in_datagrams;
    uint64_t udp_in_bytes;
    uint64_t udp_out_datagrams;
    uint64_t udp_out_bytes;
    uint64_t tun_in_packets;
    uint64_t tun_in_segments; /* of those that were not refused, cut to the tunnel's size */
    uint64_t tun_in_bytes;
    uint64_t tun_out_packets;
    uint64_t tun_out_bytes;
    uint64_t icmp_generated;
    uint64_t aead_sealed; /* messages of the data path */
    uint64_t aead_seal_batches;
    uint64_t aead_opened;
    uint64_t aead_open_batches;
    struct gateway_io_counters io;
    uint64_t portal_connects; /* attempts, each address of a race counted */
    uint64_t portal_joins;
    uint64_t portal_losses;
    uint64_t flows_missed; /* packets of flows for which there was no record free */
    uint64_t handshakes;   /* WireGuard sessions that came up */
    uint64_t connections_failed;
    uint64_t lookups_done; /* of names for clients, both families as one */
    uint64_t lookups_failed;
    uint64_t lookups_ms;                            /* all their times together */
    uint64_t lookups_within[GATEWAY_LOOKUP_BOUNDS]; /* that took no longer than each bound */
    uint64_t drops[DROP_COUNT];
    uint32_t clients;
    uint32_t connections;
    uint32_t connections_direct; /* with a path, by its kind */
    uint32_t connections_relayed;
    uint32_t relays;
    uint32_t nat_sessions;
    uint32_t lookups;
};

const struct gateway_counters *gateway_counters(struct gateway *gw);

/* What became of the portal's messages for want of memory. */
struct gateway_shortage {
    bool waits; /* the oldest is read again soon */
    bool lost;  /* some are gone, and the next init takes every right away */
};

struct gateway_shortage gateway_shortage(const struct gateway *gw);

/* The X25519 public key of this run. */
const uint8_t *gateway_public_key(const struct gateway *gw);

/* Walks all invariants and asserts them; for the simulator and the fuzzers, after every event. */
void gateway_check(const struct gateway *gw);

#endif /* GATEWAY_H */
