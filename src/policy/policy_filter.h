/* policy_filter: which protocols and destination ports one resource admits.
 *
 * Source: spec/dataplane.md section 3.2, spec/portal.md section 5.1, design section 8.4. An empty
 * list of rules admits everything, also protocols without ports; otherwise the rules are an allow
 * list. A rule of an unknown protocol and a range whose start lies behind its end match nothing but
 * keep the list non-empty. ICMP is one switch for both families and every type.
 * Memory: the owner embeds the struct; zeroed memory is the filter that admits nothing.
 */
#ifndef POLICY_FILTER_H
#define POLICY_FILTER_H

#include "base/err.h"
#include "packet/packet.h"

/* Merged ranges per protocol and resource. The portal's user interface stays far below; the bound
 * keeps a grant at a fixed size. */
#define POLICY_FILTER_RANGES_MAX 64U

enum policy_protocol {
    POLICY_PROTOCOL_UNKNOWN, /* matches nothing */
    POLICY_PROTOCOL_TCP,
    POLICY_PROTOCOL_UDP,
    POLICY_PROTOCOL_ICMP,
};

/* One entry of the portal's list. Ports count for TCP and UDP only, both ends inclusive. */
struct policy_rule {
    enum policy_protocol protocol;
    uint16_t port_first;
    uint16_t port_last;
};

struct policy_port_range {
    uint16_t first;
    uint16_t last; /* >= first */
};

/* Sorted, disjoint and not adjacent. */
struct policy_ports {
    uint32_t count;
    struct policy_port_range ranges[POLICY_FILTER_RANGES_MAX];
};

struct policy_filter {
    bool any; /* everything is admitted; the rest is empty */
    bool icmp;
    struct policy_ports tcp;
    struct policy_ports udp;
};

/* What a filter judges: one packet's protocol and the port on the resource's side (the destination
 * port outbound, the source port inbound). */
struct policy_subject {
    enum policy_protocol protocol; /* UNKNOWN: neither TCP, UDP nor ICMP, or its header is broken */
    uint16_t port;                 /* 0 for ICMP and UNKNOWN */
};

/* Builds `out` from the portal's list. ERR_FULL: more than POLICY_FILTER_RANGES_MAX merged ranges
 * of one protocol; `out` then admits nothing. */
MUST_USE enum err policy_filter_build(struct policy_filter *out, const struct policy_rule *rules,
                                      size_t rules_count);

/* True when `subject` is admitted. Pure; O(log ranges). */
MUST_USE bool policy_filter_permits(const struct policy_filter *filter,
                                    struct policy_subject subject);

MUST_USE bool policy_ports_contain(const struct policy_ports *ports, uint16_t port);

/* Asserts order and disjointness. */
void policy_filter_check(const struct policy_filter *filter);

#endif /* POLICY_FILTER_H */
