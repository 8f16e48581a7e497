/* The way of a packet from a client to a resource. */
#include "packet/packet_icmp.h"
#include "packet/packet_nat64.h"
#include "packet/packet_rewrite.h"
#include "policy/policy_passage.h"

/* Rewrites towards the real address of an open session. */
static enum policy_action translate_out(struct policy_passage *own, uint32_t session, uint32_t slot)
{
    struct policy_nat *nat = &own->policy->nat;
    struct policy_nat_session *flow = &nat->sessions[session];
    struct ip_addr real = policy_nat_outside_ip(flow);
    uint16_t port = flow->outside_port;
    uint8_t flags = own->info->tcp_flags;
    if (real.family == own->info->version) {
        packet_set_destination(own->packet, own->info, &real);
    } else {
        struct packet_nat64 to = {.source = policy_client_ip(own->client, real.family),
                                  .destination = real};
        if (ip_size(&to.source) == 0) {
            return policy_passage_drop(own->result, DROP_NAT_UNSUPPORTED);
        }
        enum drop_reason reason = packet_nat64(own->packet, own->info, &to);
        if (reason != DROP_NONE) {
            return policy_passage_drop(own->result, reason);
        }
    }
    packet_set_source_port(own->packet, own->info, port);
    policy_nat_touch(nat, session, POLICY_NAT_OUT, flags, own->now.boot);
    return policy_passage_forward(own, slot);
}

static enum policy_action outbound_dns(struct policy_passage *own, struct policy_subject subject)
{
    struct policy *policy = own->policy;
    const struct packet_info *info = own->info;
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    bool translatable = policy_nat_kind_for(info->kind, &kind);
    struct policy_nat_tuple inside = {own->index, kind, info->source_port, info->destination};
    uint32_t session = POLICY_NONE;
    struct policy_route route = {DROP_NO_RESOURCE, POLICY_NONE, false};
    struct ip_addr real = {0};
    if (translatable) {
        session = policy_nat_find_inside(&policy->nat, &inside, own->now.boot);
    }
    if (session != POLICY_NONE) {
        route = policy_passage_session(own, session, subject);
        real = policy_nat_outside_ip(&policy->nat.sessions[session]);
    } else {
        uint32_t proxy = policy_proxy_find(policy, own->index, &info->destination);
        if (proxy != POLICY_NONE) {
            route = policy_route_proxy(policy, own->index, proxy, subject, own->now);
            real = policy->proxies[proxy].real;
        }
    }
    if (route.verdict != DROP_NONE) {
        return policy_passage_refuse(own, route.verdict, route.unreachable);
    }
    if (ip_size(&real) == 0) {
        return policy_passage_refuse(own, DROP_NAT_UNMAPPED, true);
    }
    if (!translatable) {
        return policy_passage_drop(own->result, DROP_NAT_UNSUPPORTED);
    }
    uint32_t mtu = 0;
    if (!policy_passage_fits(own, real.family, &mtu)) {
        return policy_passage_refuse_size(own, mtu);
    }
    if (session == POLICY_NONE) {
        session = policy_nat_open(&policy->nat, &inside, &real, own->now.boot);
        if (session == POLICY_NONE) {
            return policy_passage_drop(own->result, DROP_NAT_EXHAUSTED);
        }
        struct policy_nat_session *flow = &policy->nat.sessions[session];
        flow->epoch = own->client->epoch;
        flow->far_port = subject.port;
        flow->grant = (uint8_t)route.slot;
    }
    return translate_out(own, session, route.slot);
}

static enum policy_action outbound_ip(struct policy_passage *own, struct policy_subject subject)
{
    const struct packet_info *info = own->info;
    struct policy_route route =
        policy_route_ip(own->policy, own->index, &info->destination, subject, own->now);
    if (route.verdict != DROP_NONE) {
        return policy_passage_refuse(own, route.verdict, route.unreachable);
    }
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    bool begins = policy_nat_kind_for(info->kind, &kind) &&
                  (info->kind != PACKET_TCP || (info->tcp_flags & PACKET_TCP_SYN) != 0);
    struct policy_nat_tuple outside = {own->index, kind, info->source_port, info->destination};
    if (begins && !policy_nat_yield(&own->policy->nat, &outside, own->now.boot)) {
        return policy_passage_refuse(own, DROP_NAT_CONFLICT, false);
    }
    return policy_passage_forward(own, route.slot);
}

/* True for an error about a packet that this gateway's host has sent to this very client. Any other
 * would have the host believe something about its connections to others. */
static bool is_about_ours(const struct policy_passage *own)
{
    struct packet_icmp_error error;
    return packet_icmp_error_parse(own->packet, own->info, &error) == DROP_NONE &&
           ip_equal(&error.quote_source, &own->info->destination) &&
           ip_equal(&error.quote_destination, &own->info->source);
}

/* To the gateway's own tunnel address. Packets inside of packets do not get there: a host that
 * unpacks them would forward what is inside past the policy. */
static enum policy_action outbound_gateway(struct policy_passage *own)
{
    switch (own->info->kind) {
    case PACKET_TCP:
    case PACKET_UDP:
    case PACKET_ICMP_ECHO_REQUEST:
    case PACKET_ICMP_ECHO_REPLY:
        return policy_passage_forward(own, POLICY_NONE);
    case PACKET_ICMP_ERROR:
        return is_about_ours(own) ? policy_passage_forward(own, POLICY_NONE)
                                  : policy_passage_drop(own->result, DROP_ICMP_ERROR_OUT);
    case PACKET_ICMP_OTHER:
    case PACKET_OTHER:
        return policy_passage_refuse(own, DROP_GATEWAY_PROTOCOL, false);
    }
    UNREACHABLE();
}

static enum policy_action outbound(struct policy_passage *own)
{
    const struct packet_info *info = own->info;
    uint32_t mtu = 0;
    if (ip_is_multicast(&info->destination)) {
        return policy_passage_drop(own->result, DROP_IP_MULTICAST);
    }
    struct ip_addr tunnel = policy_client_ip(own->client, info->version);
    if (!ip_equal(&info->source, &tunnel)) {
        return policy_passage_refuse(own, DROP_SOURCE, false);
    }
    if (!policy_passage_fits(own, info->version, &mtu)) {
        return policy_passage_drop(own->result, DROP_IP_TOO_BIG);
    }
    bool to_gateway = policy_is_gateway(own->policy, &info->destination);
    if (info->kind == PACKET_ICMP_ERROR && !to_gateway) {
        return policy_passage_drop(own->result, DROP_ICMP_ERROR_OUT);
    }
    if (own->client->live == 0) {
        return policy_passage_refuse(own, DROP_NO_PEER, false);
    }
    if (to_gateway) {
        return outbound_gateway(own);
    }
    if (policy_is_tunnel(&info->destination)) {
        return policy_passage_refuse(own, DROP_HAIRPIN, false);
    }
    struct policy_subject subject = policy_subject_of(info->kind, info->destination_port);
    if (policy_is_proxy(&info->destination)) {
        return outbound_dns(own, subject);
    }
    return outbound_ip(own, subject);
}

enum policy_action policy_outbound(struct policy *policy, uint32_t client, struct packet *packet,
                                   struct clock_pair now, struct policy_result *result)
{
    policy_result_clear(result);
    policy->clock = now;
    struct policy_client *owner = policy_client_at(policy, client);
    if (owner == NULL) {
        return policy_passage_drop(result, DROP_NO_PEER);
    }
    enum drop_reason reason = packet_parse(packet, &result->info);
    if (reason != DROP_NONE) {
        return policy_passage_drop(result, reason);
    }
    policy->nat.guess = result->hint.session;
    struct policy_passage own = {
        policy, policy_client_index(client), owner, packet, &result->info, now, result};
    return outbound(&own);
}
