/* sim_seen: a record of the one gateway that the judges' tests watch, and what a judge says of it.
 *
 * The gateway is node SEEN_NODE at 51.15.3.21:52625, its peers are at 51.15.9.<peer>:1000.
 */
#ifndef TESTS_SIM_SEEN_H
#define TESTS_SIM_SEEN_H

#include <string.h>

#include "sim/sim_trace.h"
#include "tests/support/support.h"

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

/* The time, and which oracle failed last; empty: none. */
struct seen_verdict {
    uint64_t now_ns;
    char oracle[8];
};

/* For struct sim_judge_config, whose `self` is the verdict. */
static inline void seen_failed(void *self, const char *oracle, const char *text)
{
    struct seen_verdict *verdict = self;
    assert_true(strlen(text) > 0);
    (void)snprintf(verdict->oracle, sizeof(verdict->oracle), "%s", oracle);
}

static inline uint64_t seen_decided(void *self, uint32_t gateway)
{
    const struct seen_verdict *verdict = self;
    assert_int_equal(gateway, 0);
    return verdict->now_ns;
}

#endif /* TESTS_SIM_SEEN_H */
