#include "policy/policy_filter.h"

#include <string.h>

#include "base/assert.h"

/* Adds one range and merges what it touches. False when there is no room for another range. */
static bool ports_add(struct policy_ports *ports, struct policy_port_range range)
{
    uint32_t from = 0;
    while (from < ports->count && (uint32_t)ports->ranges[from].last + 1 < range.first) {
        from++;
    }
    uint32_t to = from;
    while (to < ports->count && ports->ranges[to].first <= (uint32_t)range.last + 1) {
        if (ports->ranges[to].first < range.first) {
            range.first = ports->ranges[to].first;
        }
        if (ports->ranges[to].last > range.last) {
            range.last = ports->ranges[to].last;
        }
        to++;
    }
    if (to == from && ports->count == POLICY_FILTER_RANGES_MAX) {
        return false;
    }
    memmove(&ports->ranges[from + 1], &ports->ranges[to],
            (ports->count - to) * sizeof ports->ranges[0]);
    ports->ranges[from] = range;
    ports->count = ports->count - (to - from) + 1;
    return true;
}

static bool filter_add(struct policy_filter *filter, const struct policy_rule *rule)
{
    struct policy_port_range range = {rule->port_first, rule->port_last};
    switch (rule->protocol) {
    case POLICY_PROTOCOL_UNKNOWN:
        return true;
    case POLICY_PROTOCOL_ICMP:
        filter->icmp = true;
        return true;
    case POLICY_PROTOCOL_TCP:
        return range.first > range.last || ports_add(&filter->tcp, range);
    case POLICY_PROTOCOL_UDP:
        return range.first > range.last || ports_add(&filter->udp, range);
    }
    UNREACHABLE();
}

enum err policy_filter_build(struct policy_filter *out, const struct policy_rule *rules,
                             size_t rules_count)
{
    memset(out, 0, sizeof *out);
    out->any = rules_count == 0;
    for (size_t i = 0; i < rules_count; i++) {
        if (!filter_add(out, &rules[i])) {
            memset(out, 0, sizeof *out);
            return ERR_FULL;
        }
    }
    return ERR_NONE;
}

bool policy_ports_contain(const struct policy_ports *ports, uint16_t port)
{
    uint32_t low = 0;
    uint32_t high = ports->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ports->ranges[middle].last < port) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < ports->count && ports->ranges[low].first <= port;
}

bool policy_filter_permits(const struct policy_filter *filter, struct policy_subject subject)
{
    if (filter->any) {
        return true;
    }
    switch (subject.protocol) {
    case POLICY_PROTOCOL_UNKNOWN:
        return false;
    case POLICY_PROTOCOL_ICMP:
        return filter->icmp;
    case POLICY_PROTOCOL_TCP:
        return policy_ports_contain(&filter->tcp, subject.port);
    case POLICY_PROTOCOL_UDP:
        return policy_ports_contain(&filter->udp, subject.port);
    }
    UNREACHABLE();
}

static void ports_check(const struct policy_ports *ports)
{
    ASSERT(ports->count <= POLICY_FILTER_RANGES_MAX);
    for (uint32_t i = 0; i < ports->count; i++) {
        ASSERT(ports->ranges[i].first <= ports->ranges[i].last);
        if (i > 0) {
            ASSERT((uint32_t)ports->ranges[i - 1].last + 1 < ports->ranges[i].first);
        }
    }
}

void policy_filter_check(const struct policy_filter *filter)
{
    ports_check(&filter->tcp);
    ports_check(&filter->udp);
    if (filter->any) {
        ASSERT(!filter->icmp);
        ASSERT(filter->tcp.count == 0);
        ASSERT(filter->udp.count == 0);
    }
}
