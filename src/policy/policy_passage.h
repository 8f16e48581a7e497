/* policy_passage: one packet on its way through the policy, and what both directions do with it.
 * Shared by the files of this folder only; small functions stand here because every packet runs
 * through them. */
#ifndef POLICY_PASSAGE_H
#define POLICY_PASSAGE_H

#include "base/assert.h"
#include "policy/policy_state.h"

/* One packet under judgement. */
struct policy_passage {
    struct policy *policy;
    uint32_t index; /* of the client */
    struct policy_client *client;
    struct packet *packet;
    struct packet_info *info; /* inside the result */
    struct clock_pair now;
    struct policy_result *result;
};

static inline enum policy_action policy_passage_drop(struct policy_result *result,
                                                     enum drop_reason reason)
{
    result->reason = reason;
    return POLICY_DROP;
}

static inline enum policy_action policy_passage_forward(struct policy_passage *own, uint32_t slot)
{
    own->result->reason = DROP_NONE;
    own->result->permitted_by = slot == POLICY_NONE ? 0 : slot + 1;
    return POLICY_FORWARD;
}

static inline struct policy_subject policy_subject_of(enum packet_kind kind, uint16_t far_port)
{
    switch (kind) {
    case PACKET_TCP:
        return (struct policy_subject){POLICY_PROTOCOL_TCP, far_port};
    case PACKET_UDP:
        return (struct policy_subject){POLICY_PROTOCOL_UDP, far_port};
    case PACKET_ICMP_ECHO_REQUEST:
    case PACKET_ICMP_ECHO_REPLY:
    case PACKET_ICMP_ERROR:
    case PACKET_ICMP_OTHER:
        return (struct policy_subject){POLICY_PROTOCOL_ICMP, 0};
    case PACKET_OTHER:
        return (struct policy_subject){POLICY_PROTOCOL_UNKNOWN, 0};
    }
    UNREACHABLE();
}

/* False for what has neither ports nor an echo identifier. */
static inline bool policy_nat_kind_for(enum packet_kind kind, enum policy_nat_kind *out)
{
    switch (kind) {
    case PACKET_TCP:
        *out = POLICY_NAT_TCP;
        return true;
    case PACKET_UDP:
        *out = POLICY_NAT_UDP;
        return true;
    case PACKET_ICMP_ECHO_REQUEST:
    case PACKET_ICMP_ECHO_REPLY:
        *out = POLICY_NAT_ICMP;
        return true;
    case PACKET_ICMP_ERROR:
    case PACKET_ICMP_OTHER:
    case PACKET_OTHER:
        return false;
    }
    UNREACHABLE();
}

/* True when the packet (each segment, for a super-packet) fits the tunnel after its translation to
 * `family`; *mtu receives what would have fitted, in bytes of the packet as it is now. */
static inline bool policy_passage_fits(const struct policy_passage *own, uint8_t family,
                                       uint32_t *mtu)
{
    const struct packet_info *info = own->info;
    size_t size = own->packet->len;
    if (own->result->gso_size != 0 &&
        info->payload_offset + own->result->gso_size < own->packet->len) {
        size = info->payload_offset + own->result->gso_size;
    }
    size_t after = size;
    *mtu = PACKET_INNER_MTU;
    if (info->version == IP_V4 && family == IP_V6) {
        after = size - info->l4_offset + PACKET_IPV6_HEADER_SIZE;
        *mtu = PACKET_INNER_MTU - PACKET_GROWTH_MAX;
    } else if (info->version == IP_V6 && family == IP_V4) {
        after = size - info->l4_offset + PACKET_IPV4_HEADER_SIZE;
    }
    return after <= PACKET_INNER_MTU;
}

static inline void policy_result_clear(struct policy_result *result)
{
    ASSERT(result->buffer.len >= POLICY_REPLY_SIZE_MAX);
    result->reply = VIEW_EMPTY;
    result->reason = DROP_NONE;
    result->info = (struct packet_info){0};
    result->permitted_by = 0;
}

/* Refuses with an ICMP error, as far as the limits per second permit one: of the network when
 * `unreachable`, else prohibited. */
enum policy_action policy_passage_refuse(struct policy_passage *own, enum drop_reason reason,
                                         bool unreachable);
/* Refuses what does not fit; `mtu` as policy_passage_fits() says. */
enum policy_action policy_passage_refuse_size(struct policy_passage *own, uint32_t mtu);
/* Judges whether a session may still carry packets to or from `far_port`. What was permitted once
 * is remembered until the client's grants change or one of them expires. */
MUST_USE struct policy_route policy_passage_session(struct policy_passage *own, uint32_t session,
                                                    struct policy_subject subject);

#endif /* POLICY_PASSAGE_H */
