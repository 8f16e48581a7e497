/* sim_seen: a record of the one gateway that the judges' tests watch.
 *
 * The gateway is node SEEN_NODE at 51.15.3.21:52625, its peers are at 51.15.9.<peer>:1000.
 */
#ifndef TESTS_SIM_SEEN_H
#define TESTS_SIM_SEEN_H

#include "sim/sim_trace.h"

#define SEEN_NODE 5U

static inline struct sim_record seen_record(uint64_t now_ns, enum sim_kind kind, uint8_t peer,
                                            struct view payload)
{
    struct sock_addr own = sock_addr_of(ip_v4(51, 15, 3, 21), 52625);
    struct sock_addr other = sock_addr_of(ip_v4(51, 15, 9, peer), 1000);
    bool in = kind == SIM_KIND_DELIVERED;
    return (struct sim_record){.at_ns = now_ns,
                               .node = SEEN_NODE,
                               .kind = kind,
                               .payload = payload,
                               .local = in ? other : own,
                               .remote = in ? own : other};
}

#endif /* TESTS_SIM_SEEN_H */
