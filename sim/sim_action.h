/* sim_action: what happens in a run, as plain data.
 *
 * A run is its options and a list of actions with times; the generator makes a list from a seed,
 * the runner executes a list and needs no generator. Lists are saved as JSON lines: first
 * {"format":1,"seed":N,"options":{...}}, then {"at":MS,"action":"name","a":N,"b":N,"c":N,"d":N} per
 * action (zeros may be left out). An action that makes no sense in the world (index out of range,
 * node not running) does nothing, so lists can be cut and edited freely; indexes are taken modulo
 * what exists.
 * Source: spec/simulation.md S-14, S-17.
 */
#ifndef SIM_ACTION_H
#define SIM_ACTION_H

#include <stdio.h>

#include "base/err.h"
#include "sim/sim_options.h"

/* name, weight as traffic (0: not drawn), weight as event, parameters. Those with neither are drawn
 * in sequences of their own: host_events_per_minute, twin_events_per_minute,
 * memory_events_per_minute. */
#define SIM_ACTION_TABLE(X)                                                                        \
    X(probe, 20, 0, "a client, b target, c protocol and port class, d payload bytes")              \
    X(tcp, 4, 0, "a client, b target, c port class, d bytes")                                      \
    X(resolve, 3, 0, "a client, b name")                                                           \
    X(stray, 2, 0,                                                                                 \
      "a client sends to what nobody granted: b address, c protocol or another client")            \
    X(hostile, 2, 0, "a client, b kind: spoofed source, malformed packet, ...")                    \
    X(grant, 0, 3, "a client, b resource, c life in s (0: default)")                               \
    X(revoke, 0, 3, "a client, b resource")                                                        \
    X(reject, 0, 3, "a client, b resource: the right stays, the flow goes")                        \
    X(extend, 0, 1, "a client, b resource, c life in s")                                           \
    X(filters, 0, 2, "a resource, b filter kind (option filters)")                                 \
    X(block, 0, 3, "a node, b node, c families and ways, d ms")                                    \
    X(link, 0, 3, "a node, b kind of trouble, c strength, d ms")                                   \
    X(nat_reboot, 0, 2, "a edge")                                                                  \
    X(relay_restart, 0, 1, "a relay: new secret, same address")                                    \
    X(relay_forget, 0, 1, "a relay: allocations lost; b: nonces only")                             \
    X(relay_fault, 0, 2, "a relay, b kind, d ms")                                                  \
    X(relay_leave, 0, 1, "a relay leaves presence for d ms")                                       \
    X(portal_end, 0, 3, "a gateway, b enum sim_portal_end")                                        \
    X(portal_wrong, 0, 4, "a gateway, b enum sim_portal_wrong")                                    \
    X(portal_fault, 0, 2, "b kind, d ms")                                                          \
    X(portal_stream, 0, 2, "b refuse, silent, TLS, half-open, cut; c number, d ms")                \
    X(gateway_crash, 0, 2, "a gateway is down for d ms")                                           \
    X(gateway_pause, 0, 1, "a gateway, d ms")                                                      \
    X(gateway_shutdown, 0, 1, "a gateway ends orderly and is started again after d ms")            \
    X(clock_jump, 0, 1, "a gateway, b direction, c seconds")                                       \
    X(client_roam, 0, 2, "a client gets new addresses behind a new edge b")                        \
    X(client_restart, 0, 1, "a client")                                                            \
    X(dns_change, 0, 1, "b name gets new addresses")                                               \
    X(dns_fault, 0, 2, "b name, c enum sim_dns_failure and of which family, d ms")                 \
    X(host_change, 0, 2, "a gateway, b host, c behaviour, d ms")                                   \
    X(environment, 0, 2, "a gateway, b kind, d ms")                                                \
    X(stranger, 0, 2, "a gateway gets b kind of bytes from nobody")                                \
    X(replay, 0, 2, "a gateway gets a datagram of its past again; b: from elsewhere")              \
    X(nat_change, 0, 1, "a edge reboots and is another kind b afterwards")                         \
    X(gateway_roam, 0, 1, "a gateway gets new addresses behind a new edge b")                      \
    X(gateway_family, 0, 0, "a gateway's host is without IPv4 (b even) or IPv6 for d ms")          \
    X(tun_gone, 0, 0, "a gateway's TUN device is gone for d ms")                                   \
    X(twin_start, 0, 0, "a second process with id and token of gateway a starts, edge b")          \
    X(twin_stop, 0, 0, "it ends: b even: without a word, odd: orderly")                            \
    X(memory, 0, 0, "a gateway runs short of it for d ms: b which allocations, c how many")        \
    X(udp_gone, 0, 0, "every UDP socket of a gateway's process is gone")

#define SIM_ACTION_ENUM(name, traffic, event, text) SIM_ACTION_##name,
enum sim_action_kind { SIM_ACTION_TABLE(SIM_ACTION_ENUM) SIM_ACTION_COUNT };
#undef SIM_ACTION_ENUM

struct sim_action {
    uint64_t at_ns;
    enum sim_action_kind kind;
    uint32_t a;
    uint32_t b;
    uint32_t c;
    uint32_t d;
};

struct sim_list {
    uint64_t seed;
    struct sim_options options;
    struct sim_action *actions; /* sorted by time, stable */
    size_t count;
};

/* False for traffic. */
MUST_USE bool sim_action_is_change(enum sim_action_kind kind);
const char *sim_action_name(enum sim_action_kind kind);
/* Makes the list of a seed under given options. The caller frees with sim_list_free(). */
struct sim_list sim_list_generate(uint64_t seed, const struct sim_options *options);
void sim_list_free(struct sim_list *list);
/* Writes JSON lines; options at their simplest value are left out. */
void sim_list_save(const struct sim_list *list, FILE *to);
/* ERR_SYNTAX: `*line` is the number of the first line that is wrong. */
MUST_USE enum err sim_list_load(FILE *from, struct sim_list *out, unsigned *line);

#endif /* SIM_ACTION_H */
