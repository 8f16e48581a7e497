/* The way of a packet from a resource to a client. */
#include "packet/packet_icmp.h"
#include "packet/packet_nat64.h"
#include "packet/packet_rewrite.h"
#include "policy/policy_passage.h"

/* Makes the packet look as if it came from the proxy address. */
static enum drop_reason translate_in(struct policy_passage *own, const struct ip_addr *proxy)
{
    if (proxy->family == own->info->version) {
        packet_set_source(own->packet, own->info, proxy);
        return DROP_NONE;
    }
    struct ip_addr tunnel = policy_client_ip(own->client, proxy->family);
    struct packet_nat64 to = {.source = *proxy,
                              .destination = tunnel,
                              .quote_source = tunnel,
                              .quote_destination = *proxy};
    if (ip_size(&tunnel) == 0) {
        return DROP_NAT_UNSUPPORTED;
    }
    return packet_nat64(own->packet, own->info, &to);
}

static enum policy_action inbound_session(struct policy_passage *own, uint32_t session,
                                          struct policy_subject subject)
{
    struct policy_nat *nat = &own->policy->nat;
    const struct policy_nat_session *flow = &nat->sessions[session];
    struct ip_addr proxy = policy_nat_inside_ip(flow);
    uint16_t port = flow->inside_port;
    uint8_t flags = own->info->tcp_flags;
    struct policy_route route = policy_passage_session(own, session, subject);
    if (route.verdict != DROP_NONE) {
        return policy_passage_drop(own->result, route.verdict);
    }
    uint32_t mtu = 0;
    if (!policy_passage_fits(own, proxy.family, &mtu)) {
        return policy_passage_refuse_size(own, mtu);
    }
    enum drop_reason reason = translate_in(own, &proxy);
    if (reason != DROP_NONE) {
        return policy_passage_drop(own->result, reason);
    }
    packet_set_destination_port(own->packet, own->info, port);
    policy_nat_touch(nat, session, POLICY_NAT_IN, flags, own->now.boot);
    return policy_passage_forward(own, route.slot);
}

/* An ICMP error about a packet that went through `session`. */
static enum policy_action inbound_error_session(struct policy_passage *own, uint32_t session,
                                                struct packet_icmp_error *error)
{
    const struct policy_nat_session *flow = &own->policy->nat.sessions[session];
    struct ip_addr proxy = policy_nat_inside_ip(flow);
    uint16_t port = flow->inside_port;
    struct policy_route route = policy_passage_session(
        own, session, policy_subject_of(error->quote, error->quote_destination_port));
    if (route.verdict != DROP_NONE) {
        return policy_passage_drop(own->result, route.verdict);
    }
    bool same = proxy.family == own->info->version;
    if (same) {
        packet_icmp_set_quote_destination(own->packet, own->info, error, &proxy);
    }
    enum drop_reason reason = translate_in(own, &proxy);
    if (reason == DROP_NONE && !same) {
        reason = packet_icmp_error_parse(own->packet, own->info, error);
    }
    if (reason != DROP_NONE) {
        return policy_passage_drop(own->result, reason);
    }
    packet_icmp_set_quote_source_port(own->packet, own->info, error, port);
    if (own->packet->len > PACKET_INNER_MTU) {
        return policy_passage_drop(own->result, DROP_IP_TOO_BIG);
    }
    return policy_passage_forward(own, route.slot);
}

/* An error that belongs to no session: unchanged, if the client may send what it quotes. */
static enum policy_action inbound_error_direct(struct policy_passage *own,
                                               const struct packet_icmp_error *error)
{
    struct policy_route route =
        policy_route_ip(own->policy, own->index, &error->quote_destination,
                        policy_subject_of(error->quote, error->quote_destination_port), own->now);
    return route.verdict == DROP_NONE ? policy_passage_forward(own, route.slot)
                                      : policy_passage_drop(own->result, DROP_NO_FLOW);
}

/* `trusted`: from this gateway's own host, which is the first router on the way and the one that
 * finds dead neighbours. What it says about sessions is translated like the words of any router. */
static enum policy_action inbound_error(struct policy_passage *own, bool trusted)
{
    struct policy *policy = own->policy;
    if (own->packet->len > PACKET_INNER_MTU) {
        return policy_passage_drop(own->result, DROP_IP_TOO_BIG);
    }
    if (own->info->version == 4 && own->info->icmp_type == PACKET_ICMPV4_REDIRECT) {
        return policy_passage_drop(own->result, DROP_ICMP_UNTRANSLATABLE); /* not beyond a link */
    }
    struct packet_icmp_error error;
    enum drop_reason reason = packet_icmp_error_parse(own->packet, own->info, &error);
    if (reason != DROP_NONE) {
        /* No flow can be told from it; a resource that the client may reach may send it. */
        bool covered =
            trusted || policy_route_covers(policy, own->index, &own->info->source, own->now);
        return covered ? policy_passage_forward(own, POLICY_NONE)
                       : policy_passage_drop(own->result, reason);
    }
    if (!ip_equal(&error.quote_source, &own->info->destination)) {
        return policy_passage_drop(own->result,
                                   DROP_NO_FLOW); /* quotes what the client cannot have sent */
    }
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    bool translatable = policy_nat_kind_for(error.quote, &kind);
    ASSERT(translatable); /* packet_icmp_error_parse() reads no other quotes */
    struct policy_nat_tuple outside = {own->index, kind, error.quote_source_port,
                                       error.quote_destination};
    bool expired = false;
    uint32_t session = policy_nat_find_outside(&policy->nat, &outside, own->now.boot, &expired);
    if (session != POLICY_NONE) {
        return inbound_error_session(own, session, &error);
    }
    if (expired) {
        return policy_passage_drop(own->result, DROP_NAT_EXPIRED);
    }
    return trusted ? policy_passage_forward(own, POLICY_NONE) : inbound_error_direct(own, &error);
}

static enum policy_action inbound_flow(struct policy_passage *own)
{
    struct policy *policy = own->policy;
    const struct packet_info *info = own->info;
    struct policy_subject subject = policy_subject_of(info->kind, info->source_port);
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    if (policy_nat_kind_for(info->kind, &kind)) {
        struct policy_nat_tuple outside = {own->index, kind, info->destination_port, info->source};
        bool expired = false;
        uint32_t session = policy_nat_find_outside(&policy->nat, &outside, own->now.boot, &expired);
        if (session != POLICY_NONE) {
            return inbound_session(own, session, subject);
        }
        if (expired) {
            return policy_passage_drop(own->result, DROP_NAT_EXPIRED);
        }
    }
    struct policy_route route =
        policy_route_ip(policy, own->index, &info->source, subject, own->now);
    if (route.verdict != DROP_NONE) {
        return policy_passage_drop(own->result, route.verdict == DROP_NO_RESOURCE ? DROP_NO_FLOW
                                                                                  : route.verdict);
    }
    uint32_t mtu = 0;
    return policy_passage_fits(own, info->version, &mtu) ? policy_passage_forward(own, route.slot)
                                                         : policy_passage_refuse_size(own, mtu);
}

static enum policy_action inbound(struct policy_passage *own)
{
    const struct packet_info *info = own->info;
    uint32_t mtu = 0;
    if (ip_is_multicast(&info->source)) {
        return policy_passage_drop(own->result, DROP_IP_MULTICAST);
    }
    if (own->client->live == 0) {
        return policy_passage_drop(own->result, DROP_NO_PEER);
    }
    if (policy_is_gateway(own->policy, &info->source)) {
        if (info->kind == PACKET_ICMP_ERROR) {
            return inbound_error(own, true);
        }
        return policy_passage_fits(own, info->version, &mtu)
                   ? policy_passage_forward(own, POLICY_NONE)
                   : policy_passage_refuse_size(own, mtu);
    }
    if (policy_is_tunnel(&info->source)) {
        return policy_passage_drop(own->result, DROP_HAIRPIN);
    }
    if (info->kind == PACKET_ICMP_ERROR) {
        return inbound_error(own, false);
    }
    if (policy_is_proxy(&info->source)) {
        return policy_passage_drop(own->result,
                                   DROP_NO_FLOW); /* only translations speak from there */
    }
    return inbound_flow(own);
}

enum policy_action policy_inbound(struct policy *policy, struct packet *packet,
                                  struct clock_pair now, uint32_t *client,
                                  struct policy_result *result)
{
    policy_result_clear(result);
    policy->clock = now;
    *client = POLICY_CLIENT_NONE;
    enum drop_reason reason = packet_parse(packet, &result->info);
    if (reason != DROP_NONE) {
        return policy_passage_drop(result, reason);
    }
    policy->nat.guess = result->hint.session;
    uint32_t index = result->hint.client - 1;
    if (result->hint.client == 0 || !policy_client_has(policy, index, &result->info.destination)) {
        index = policy_client_by_ip(policy, &result->info.destination);
    }
    if (index == POLICY_NONE) {
        return policy_passage_drop(result, DROP_TUN_NOT_CLIENT);
    }
    *client = policy_client_handle(policy, index);
    struct policy_passage own = {policy, index, &policy->clients[index], packet, &result->info,
                                 now,    result};
    return inbound(&own);
}
