#include "policy/policy_passage.h"

#include "packet/packet_icmp.h"

/* Refuses with an ICMP error, as far as the limits per second permit one. */
static enum policy_action answer(struct policy_passage *own, enum drop_reason reason,
                                 struct packet_icmp_answer what)
{
    struct policy *policy = own->policy;
    size_t size = packet_icmp_answer(own->result->buffer, own->packet, own->info, what);
    if (size == 0) {
        return policy_passage_drop(own->result, reason);
    }
    if (!policy_rate_allow(&own->client->icmp_rate, own->now.boot, POLICY_ICMP_PER_CLIENT_PER_S) ||
        !policy_rate_allow(&policy->icmp_rate, own->now.boot, POLICY_ICMP_PER_S)) {
        return policy_passage_drop(own->result, DROP_ICMP_RATE);
    }
    own->result->reason = reason;
    own->result->reply = (struct view){own->result->buffer.at, size};
    return POLICY_REPLY;
}

enum policy_action policy_passage_refuse(struct policy_passage *own, enum drop_reason reason,
                                         bool unreachable)
{
    struct packet_icmp_answer what = {
        unreachable ? PACKET_ANSWER_NETWORK : PACKET_ANSWER_PROHIBITED, 0};
    return answer(own, reason, what);
}

enum policy_action policy_passage_refuse_size(struct policy_passage *own, uint32_t mtu)
{
    if (!own->info->dont_fragment) {
        return policy_passage_drop(own->result, DROP_IP_TOO_BIG);
    }
    return answer(own, DROP_IP_TOO_BIG, (struct packet_icmp_answer){PACKET_ANSWER_TOO_BIG, mtu});
}

struct policy_route policy_passage_session(struct policy_passage *own, uint32_t session,
                                           struct policy_subject subject)
{
    struct policy *policy = own->policy;
    struct policy_nat_session *flow = &policy->nat.sessions[session];
    if (flow->epoch == own->client->epoch && flow->far_port == subject.port &&
        own->now.unix_ns < own->client->expires_min_ns) {
        return (struct policy_route){DROP_NONE, flow->grant, false};
    }
    struct ip_addr inside = policy_nat_inside_ip(flow);
    uint32_t proxy = policy_proxy_find(policy, own->index, &inside);
    if (proxy == POLICY_NONE) {
        return (struct policy_route){DROP_NO_RESOURCE, POLICY_NONE, false};
    }
    struct policy_route route = policy_route_proxy(policy, own->index, proxy, subject, own->now);
    if (route.verdict == DROP_NONE) {
        flow->epoch = own->client->epoch;
        policy_nat_set_far_port(&policy->nat, session, subject.port);
        flow->grant = (uint8_t)route.slot;
    }
    return route;
}
