/* sim_options: every number that shapes a simulated world, by name.
 *
 * Options are drawn from the seed (swarm testing: most faults are off in any one run, the rest are
 * strong), saved with an action list, overridden on the command line, and made simpler by
 * shrinking: the default of each is its simplest value. A world is a function of its options and
 * its action list alone.
 * Source: spec/simulation.md S-09, S-14, S-15, S-18.
 */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include "sim/sim_rng.h"

/* name, smallest, largest, default, chance in percent to be drawn at all, text */
#define SIM_OPTION_TABLE(X)                                                                        \
    X(clients, 1, 4, 1, 60, "clients")                                                             \
    X(gateways, 1, 2, 1, 20, "gateways")                                                           \
    X(relays, 0, 2, 1, 60, "relays")                                                               \
    X(head_portal, 0, 1, 0, 50, "today's portal instead of that of 2024")                          \
    X(head_clients, 0, 1, 0, 50, "today's clients instead of those of 2024")                       \
    X(relay_mode, 0, 2, 0, 50, "enum sim_relay_mode, without coturn")                              \
    X(nat64_icmp, 0, 1, 0, 20, "answer ICMP instead of translating between families")              \
    X(client_nat_0, 0, 5, 0, 60, "edge of client 0: enum sim_edge_kind")                           \
    X(client_nat_1, 0, 5, 0, 60, "edge of client 1")                                               \
    X(client_nat_2, 0, 5, 0, 60, "edge of client 2")                                               \
    X(client_nat_3, 0, 5, 0, 60, "edge of client 3")                                               \
    X(gateway_nat_0, 0, 5, 0, 60, "edge of gateway 0")                                             \
    X(gateway_nat_1, 0, 5, 0, 60, "edge of gateway 1")                                             \
    X(client_families_0, 1, 3, 3, 30, "1: IPv4, 2: IPv6, 3: both")                                 \
    X(client_families_1, 1, 3, 3, 30, "")                                                          \
    X(client_families_2, 1, 3, 3, 30, "")                                                          \
    X(client_families_3, 1, 3, 3, 30, "")                                                          \
    X(gateway_families, 1, 3, 3, 30, "")                                                           \
    X(relay_families, 1, 3, 3, 15, "")                                                             \
    X(nat_ports, 0, 2, 0, 50, "enum sim_nat_ports")                                                \
    X(nat_timeout_s, 15, 300, 120, 50, "idle life of NAT mappings")                                \
    X(nat_refresh_inbound, 0, 1, 1, 50, "inbound packets keep a mapping alive")                    \
    X(nat_hairpin, 0, 1, 0, 50, "")                                                                \
    X(relay_only, 0, 1, 0, 15, "clients and gateways never reach each other directly")             \
    X(latency_client_ms, 0, 250, 5, 70, "one way, access link")                                    \
    X(latency_gateway_ms, 0, 150, 5, 70, "")                                                       \
    X(latency_relay_ms, 0, 50, 1, 70, "")                                                          \
    X(latency_portal_ms, 0, 100, 1, 70, "")                                                        \
    X(jitter_us, 0, 20000, 0, 40, "of each link")                                                  \
    X(loss_ppm, 0, 100000, 0, 40, "of each link of clients and gateways")                          \
    X(burst_enter_ppm, 0, 2000, 0, 20, "")                                                         \
    X(duplicate_ppm, 0, 200000, 0, 40, "")                                                         \
    X(reorder_ppm, 0, 200000, 0, 40, "")                                                           \
    X(flip_ppm, 0, 50000, 0, 25, "")                                                               \
    X(truncate_ppm, 0, 50000, 0, 25, "")                                                           \
    X(segment_max, 1, 16384, 16384, 40, "bytes of one delivery of the portal's stream")            \
    X(udp_block_ppm, 0, 100000, 0, 25, "EAGAIN")                                                   \
    X(udp_error_ppm, 0, 20000, 0, 25, "")                                                          \
    X(tun_block_ppm, 0, 100000, 0, 25, "")                                                         \
    X(batch_max, 0, 8, 0, 40, "datagrams of one receive; 0: no limit")                             \
    X(train_max, 0, 16, 0, 50, "equal datagrams joined by the receiver")                           \
    X(drift_ppm, 0, 900, 0, 30, "of the gateways' boot clock")                                     \
    X(wake_delay_us, 0, 50000, 0, 30, "timers of gateways come late")                              \
    X(cidr_v4, 0, 2, 1, 60, "resources")                                                           \
    X(cidr_v6, 0, 2, 1, 60, "")                                                                    \
    X(dns_resources, 0, 3, 1, 60, "")                                                              \
    X(internet, 0, 1, 0, 40, "")                                                                   \
    X(filters, 0, 3, 0, 50, "0: none; 1: ICMP only; 2: UDP and TCP ranges; 3: mixed")              \
    X(expiry_s, 0, 600, 0, 25, "life of a grant; 0: for ever")                                     \
    X(odd_hosts, 0, 12, 0, 50, "one more host of this enum sim_host_behaviour in each network")    \
    X(dns_latency_ms, 0, 3000, 10, 40, "")                                                         \
    X(duration_s, 20, 300, 60, 80, "safety phase")                                                 \
    X(probes_per_minute, 1, 120, 30, 80, "of all clients together")                                \
    X(events_per_minute, 0, 40, 0, 70, "changes and faults")                                       \
    X(event_kinds, 0, 0xffffff, 0, 100, "bit set of enabled kinds")                                \
    X(liveness, 0, 1, 1, 0, "run the liveness phase")                                              \
    X(icmp_ppm, 0, 20000, 0, 25, "of sends: answered by an ICMP error, though it arrives")         \
    X(own_addresses, 0, 1, 0, 50, "gateways refuse answers that name their own addresses")         \
    X(aead, 0, 3, 0, 50, "enum gateway_aead, where the processor has it")                          \
    X(tun_train_max, 0, 16, 0, 40, "TCP segments of one flow read as one super-packet")            \
    X(tun_offload, 0, 4, 0, 0, "kinds of super-packets to write, plus one; 0: drawn at each boot") \
    X(group_data_only, 0, 1, 0, 0, "batch_max and train_max apply to transport data alone")        \
    X(host_events_per_minute, 0, 6, 0, 20, "changes of the gateways' own hosts")                   \
    X(sabotage, 0, 15, 0, 0, "enum sim_sabotage: a planted fault, to try an oracle")               \
    X(flow_records, 0, 32, 0, 50, "that a gateway may keep at a time; 0: it makes none")           \
    X(fault_points, 0, 0x1fffff, 0, 40, "bit set of enum fault_id: the points that are armed")     \
    X(portal_v2, 0, 1, 0, 50, "gateways try the portal's newer login first")                       \
    X(twin_events_per_minute, 0, 6, 0, 15, "starts and ends of second processes of gateways")      \
    X(memory_events_per_minute, 0, 12, 0, 15, "gateways run short of memory")                      \
    X(steady_s, 0, 900, 0, 25, "of use when all is well, in which nothing may be lost")            \
    X(failover, 0, 2, 0, 40, "relay, plus one, that falls silent when all is well")                \
    X(lawless, 0, 15, 0, 40, "bit set of clients that obey nobody until all is repaired")          \
    X(farewell, 0, 2, 0, 60, "of gateways: 0: rights go first; 1: signal; 2: no TUN device")

struct sim_options {
#define SIM_OPTION_FIELD(name, low, high, simple, chance, text) uint32_t name;
    SIM_OPTION_TABLE(SIM_OPTION_FIELD)
#undef SIM_OPTION_FIELD
};

/* Faults that no world has: each is there to show that an oracle can fail. */
enum sim_sabotage {
    SIM_SABOTAGE_NONE,
    SIM_SABOTAGE_ENTROPY,  /* every boot of a gateway draws the same entropy: O-08 */
    SIM_SABOTAGE_STRANGER, /* a stranger gets four bytes for each: O-10 */
    SIM_SABOTAGE_KEEP,     /* one client's rights are not taken away at the end: O-11 */
    SIM_SABOTAGE_CHATTER,  /* every STUN message leaves a gateway many times: O-14 */
    SIM_SABOTAGE_TOKEN,    /* the token stands in an event: O-15 */
    SIM_SABOTAGE_MUTE,     /* no keepalive leaves a gateway: L-04 */
    SIM_SABOTAGE_SHY,      /* no handshake that a gateway begins leaves it: O-18 */
};

/* What stands in front of a node. */
enum sim_edge_kind {
    SIM_EDGE_OPEN,
    SIM_EDGE_FULL_CONE,         /* endpoint-independent mapping and filtering */
    SIM_EDGE_RESTRICTED,        /* endpoint-independent mapping, address-dependent filtering */
    SIM_EDGE_PORT_RESTRICTED,   /* endpoint-independent mapping, address-and-port filtering */
    SIM_EDGE_SYMMETRIC,         /* address-and-port-dependent mapping and filtering */
    SIM_EDGE_SYMMETRIC_ADDRESS, /* address-dependent mapping, address-and-port filtering */
    SIM_EDGE_KINDS,
};

/* Every option at its simplest. */
struct sim_options sim_options_default(void);
/* Options of a seed. */
struct sim_options sim_options_draw(uint64_t seed);
MUST_USE uint32_t sim_options_count(void);
const char *sim_option_name(uint32_t index);
MUST_USE uint32_t sim_option_get(const struct sim_options *options, uint32_t index);
/* Sets one by name, clamped to its range; false: no such option. */
bool sim_option_set(struct sim_options *options, const char *name, uint64_t value);
/* The simplest value of option `index`. */
MUST_USE uint32_t sim_option_simple(uint32_t index);

#endif /* SIM_OPTIONS_H */
