/* The way of a packet through the policy, both directions. */
#include "base/assert.h"
#include "packet/packet_icmp.h"
#include "packet/packet_nat64.h"
#include "packet/packet_rewrite.h"
#include "policy/policy_state.h"

/* One packet under judgement. */
struct passage {
    struct policy *policy;
    uint32_t index; /* of the client */
    struct policy_client *client;
    struct packet *packet;
    struct packet_info *info; /* inside the result */
    struct clock_pair now;
    struct policy_result *result;
};

/* ---- verdicts ---- */

static enum policy_action drop(struct policy_result *result, enum drop_reason reason)
{
    result->reason = reason;
    return POLICY_DROP;
}

/* Refuses with an ICMP error, as far as the limits per second permit one. */
static enum policy_action answer(struct passage *own, enum drop_reason reason,
                                 struct packet_icmp_answer what)
{
    struct policy *policy = own->policy;
    size_t size = packet_icmp_answer(own->result->buffer, own->packet, own->info, what);
    if (size == 0) {
        return drop(own->result, reason);
    }
    if (!policy_rate_allow(&own->client->icmp_rate, own->now.boot, POLICY_ICMP_PER_CLIENT_PER_S) ||
        !policy_rate_allow(&policy->icmp_rate, own->now.boot, POLICY_ICMP_PER_S)) {
        return drop(own->result, DROP_ICMP_RATE);
    }
    own->result->reason = reason;
    own->result->reply = (struct view){own->result->buffer.at, size};
    return POLICY_REPLY;
}

static enum policy_action answer_refused(struct passage *own, enum drop_reason reason,
                                         bool unreachable)
{
    struct packet_icmp_answer what = {
        unreachable ? PACKET_ANSWER_NETWORK : PACKET_ANSWER_PROHIBITED, 0};
    return answer(own, reason, what);
}

static enum policy_action forward(struct passage *own, uint32_t slot)
{
    own->result->reason = DROP_NONE;
    if (slot != POLICY_NONE) {
        own->result->resource = policy_grant_at(own->policy, own->index, slot)->id;
    }
    return POLICY_FORWARD;
}

/* ---- what filters and NAT look at ---- */

static struct policy_subject subject_of(enum packet_kind kind, uint16_t far_port)
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
static bool nat_kind_of(enum packet_kind kind, enum policy_nat_kind *out)
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

static struct ip_addr client_ip(const struct policy_client *client, uint8_t family)
{
    return family == IP_V4 ? client->ipv4 : client->ipv6;
}

/* True when the packet (each segment, for a super-packet) fits the tunnel after its translation to
 * `family`; *mtu receives what would have fitted, in bytes of the packet as it is now. */
static bool fits(const struct passage *own, uint8_t family, uint32_t *mtu)
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

static enum policy_action refuse_size(struct passage *own, uint32_t mtu)
{
    if (!own->info->dont_fragment) {
        return drop(own->result, DROP_IP_TOO_BIG);
    }
    return answer(own, DROP_IP_TOO_BIG, (struct packet_icmp_answer){PACKET_ANSWER_TOO_BIG, mtu});
}

/* ---- permission of a session ---- */

/* Judges whether a session may still carry packets to or from `far_port`. What was permitted once
 * is remembered until the client's grants change or one of them expires. */
static struct policy_route session_route(struct passage *own, uint32_t session,
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

/* ---- client to resource ---- */

/* Rewrites towards the real address of an open session. */
static enum policy_action translate_out(struct passage *own, uint32_t session, uint32_t slot)
{
    struct policy_nat *nat = &own->policy->nat;
    struct policy_nat_session *flow = &nat->sessions[session];
    struct ip_addr real = policy_nat_outside_ip(flow);
    uint16_t port = flow->outside_port;
    uint8_t flags = own->info->tcp_flags;
    if (real.family == own->info->version) {
        packet_set_destination(own->packet, own->info, &real);
    } else {
        struct packet_nat64 to = {.source = client_ip(own->client, real.family),
                                  .destination = real};
        if (ip_size(&to.source) == 0) {
            return drop(own->result, DROP_NAT_UNSUPPORTED);
        }
        enum drop_reason reason = packet_nat64(own->packet, own->info, &to);
        if (reason != DROP_NONE) {
            return drop(own->result, reason);
        }
    }
    packet_set_source_port(own->packet, own->info, port);
    policy_nat_touch(nat, session, POLICY_NAT_OUT, flags, own->now.boot);
    return forward(own, slot);
}

static enum policy_action outbound_dns(struct passage *own, struct policy_subject subject)
{
    struct policy *policy = own->policy;
    const struct packet_info *info = own->info;
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    bool translatable = nat_kind_of(info->kind, &kind);
    struct policy_nat_tuple inside = {own->index, kind, info->source_port, info->destination};
    uint32_t session = POLICY_NONE;
    struct policy_route route = {DROP_NO_RESOURCE, POLICY_NONE, false};
    struct ip_addr real = {0};
    if (translatable) {
        session = policy_nat_find_inside(&policy->nat, &inside, own->now.boot);
    }
    if (session != POLICY_NONE) {
        route = session_route(own, session, subject);
        real = policy_nat_outside_ip(&policy->nat.sessions[session]);
    } else {
        uint32_t proxy = policy_proxy_find(policy, own->index, &info->destination);
        if (proxy != POLICY_NONE) {
            route = policy_route_proxy(policy, own->index, proxy, subject, own->now);
            real = policy->proxies[proxy].real;
        }
    }
    if (route.verdict != DROP_NONE) {
        return answer_refused(own, route.verdict, route.unreachable);
    }
    if (ip_size(&real) == 0) {
        return answer_refused(own, DROP_NAT_UNMAPPED, true);
    }
    if (!translatable) {
        return drop(own->result, DROP_NAT_UNSUPPORTED);
    }
    uint32_t mtu = 0;
    if (!fits(own, real.family, &mtu)) {
        return refuse_size(own, mtu);
    }
    if (session == POLICY_NONE) {
        session = policy_nat_open(&policy->nat, &inside, &real, own->now.boot);
        if (session == POLICY_NONE) {
            return drop(own->result, DROP_NAT_EXHAUSTED);
        }
        struct policy_nat_session *flow = &policy->nat.sessions[session];
        flow->epoch = own->client->epoch;
        flow->far_port = subject.port;
        flow->grant = (uint8_t)route.slot;
    }
    return translate_out(own, session, route.slot);
}

static enum policy_action outbound_ip(struct passage *own, struct policy_subject subject)
{
    const struct packet_info *info = own->info;
    struct policy_route route =
        policy_route_ip(own->policy, own->index, &info->destination, subject, own->now);
    if (route.verdict != DROP_NONE) {
        return answer_refused(own, route.verdict, route.unreachable);
    }
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    bool begins = nat_kind_of(info->kind, &kind) &&
                  (info->kind != PACKET_TCP || (info->tcp_flags & PACKET_TCP_SYN) != 0);
    if (begins) {
        struct policy_nat_tuple outside = {own->index, kind, info->source_port, info->destination};
        policy_nat_yield(&own->policy->nat, &outside, own->now.boot);
    }
    return forward(own, route.slot);
}

static enum policy_action outbound(struct passage *own)
{
    const struct packet_info *info = own->info;
    uint32_t mtu = 0;
    if (ip_is_multicast(&info->destination)) {
        return drop(own->result, DROP_IP_MULTICAST);
    }
    struct ip_addr tunnel = client_ip(own->client, info->version);
    if (!ip_equal(&info->source, &tunnel)) {
        return answer_refused(own, DROP_SOURCE, false);
    }
    if (!fits(own, info->version, &mtu)) {
        return drop(own->result, DROP_IP_TOO_BIG);
    }
    if (policy_is_gateway(own->policy, &info->destination)) {
        return forward(own, POLICY_NONE);
    }
    if (info->kind == PACKET_ICMP_ERROR) {
        return drop(own->result, DROP_ICMP_ERROR_OUT);
    }
    if (own->client->live == 0) {
        return answer_refused(own, DROP_NO_PEER, false);
    }
    if (policy_is_tunnel(&info->destination)) {
        return answer_refused(own, DROP_HAIRPIN, false);
    }
    struct policy_subject subject = subject_of(info->kind, info->destination_port);
    if (policy_is_proxy(&info->destination)) {
        return outbound_dns(own, subject);
    }
    return outbound_ip(own, subject);
}

static void result_clear(struct policy_result *result)
{
    ASSERT(result->buffer.len >= POLICY_REPLY_SIZE_MAX);
    result->reply = VIEW_EMPTY;
    result->reason = DROP_NONE;
    result->info = (struct packet_info){0};
    result->resource = (struct uuid){{0}};
}

enum policy_action policy_outbound(struct policy *policy, uint32_t client, struct packet *packet,
                                   struct clock_pair now, struct policy_result *result)
{
    result_clear(result);
    policy->clock = now;
    struct policy_client *owner = policy_client_at(policy, client);
    if (owner == NULL) {
        return drop(result, DROP_NO_PEER);
    }
    enum drop_reason reason = packet_parse(packet, &result->info);
    if (reason != DROP_NONE) {
        return drop(result, reason);
    }
    policy->nat.guess = result->hint.session;
    struct passage own = {policy, policy_client_index(client), owner, packet, &result->info, now,
                          result};
    return outbound(&own);
}

/* ---- resource to client ---- */

/* Makes the packet look as if it came from the proxy address. */
static enum drop_reason translate_in(struct passage *own, const struct ip_addr *proxy)
{
    if (proxy->family == own->info->version) {
        packet_set_source(own->packet, own->info, proxy);
        return DROP_NONE;
    }
    struct ip_addr tunnel = client_ip(own->client, proxy->family);
    struct packet_nat64 to = {.source = *proxy,
                              .destination = tunnel,
                              .quote_source = tunnel,
                              .quote_destination = *proxy};
    if (ip_size(&tunnel) == 0) {
        return DROP_NAT_UNSUPPORTED;
    }
    return packet_nat64(own->packet, own->info, &to);
}

static enum policy_action inbound_session(struct passage *own, uint32_t session,
                                          struct policy_subject subject)
{
    struct policy_nat *nat = &own->policy->nat;
    const struct policy_nat_session *flow = &nat->sessions[session];
    struct ip_addr proxy = policy_nat_inside_ip(flow);
    uint16_t port = flow->inside_port;
    uint8_t flags = own->info->tcp_flags;
    struct policy_route route = session_route(own, session, subject);
    if (route.verdict != DROP_NONE) {
        return drop(own->result, route.verdict);
    }
    uint32_t mtu = 0;
    if (!fits(own, proxy.family, &mtu)) {
        return refuse_size(own, mtu);
    }
    enum drop_reason reason = translate_in(own, &proxy);
    if (reason != DROP_NONE) {
        return drop(own->result, reason);
    }
    packet_set_destination_port(own->packet, own->info, port);
    policy_nat_touch(nat, session, POLICY_NAT_IN, flags, own->now.boot);
    return forward(own, route.slot);
}

/* An ICMP error about a packet that went through `session`. */
static enum policy_action inbound_error_session(struct passage *own, uint32_t session,
                                                struct packet_icmp_error *error)
{
    const struct policy_nat_session *flow = &own->policy->nat.sessions[session];
    struct ip_addr proxy = policy_nat_inside_ip(flow);
    uint16_t port = flow->inside_port;
    struct policy_route route =
        session_route(own, session, subject_of(error->quote, error->quote_destination_port));
    if (route.verdict != DROP_NONE) {
        return drop(own->result, route.verdict);
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
        return drop(own->result, reason);
    }
    packet_icmp_set_quote_source_port(own->packet, own->info, error, port);
    if (own->packet->len > PACKET_INNER_MTU) {
        return drop(own->result, DROP_IP_TOO_BIG);
    }
    return forward(own, route.slot);
}

/* An error that belongs to no session: unchanged, if the client may send what it quotes. */
static enum policy_action inbound_error_direct(struct passage *own,
                                               const struct packet_icmp_error *error)
{
    struct policy_route route =
        policy_route_ip(own->policy, own->index, &error->quote_destination,
                        subject_of(error->quote, error->quote_destination_port), own->now);
    return route.verdict == DROP_NONE ? forward(own, route.slot) : drop(own->result, DROP_NO_FLOW);
}

/* `trusted`: from this gateway's own host, which is the first router on the way and the one that
 * finds dead neighbours. What it says about sessions is translated like the words of any router. */
static enum policy_action inbound_error(struct passage *own, bool trusted)
{
    struct policy *policy = own->policy;
    if (own->packet->len > PACKET_INNER_MTU) {
        return drop(own->result, DROP_IP_TOO_BIG);
    }
    struct packet_icmp_error error;
    enum drop_reason reason = packet_icmp_error_parse(own->packet, own->info, &error);
    if (reason != DROP_NONE) {
        /* No flow can be told from it; a resource that the client may reach may send it. */
        bool covered =
            trusted || policy_route_covers(policy, own->index, &own->info->source, own->now);
        return covered ? forward(own, POLICY_NONE) : drop(own->result, reason);
    }
    if (!ip_equal(&error.quote_source, &own->info->destination)) {
        return drop(own->result, DROP_NO_FLOW); /* quotes what the client cannot have sent */
    }
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    bool translatable = nat_kind_of(error.quote, &kind);
    ASSERT(translatable); /* packet_icmp_error_parse() reads no other quotes */
    struct policy_nat_tuple outside = {own->index, kind, error.quote_source_port,
                                       error.quote_destination};
    bool expired = false;
    uint32_t session = policy_nat_find_outside(&policy->nat, &outside, own->now.boot, &expired);
    if (session != POLICY_NONE) {
        return inbound_error_session(own, session, &error);
    }
    if (expired) {
        return drop(own->result, DROP_NAT_EXPIRED);
    }
    return trusted ? forward(own, POLICY_NONE) : inbound_error_direct(own, &error);
}

static enum policy_action inbound_flow(struct passage *own)
{
    struct policy *policy = own->policy;
    const struct packet_info *info = own->info;
    struct policy_subject subject = subject_of(info->kind, info->source_port);
    enum policy_nat_kind kind = POLICY_NAT_TCP;
    if (nat_kind_of(info->kind, &kind)) {
        struct policy_nat_tuple outside = {own->index, kind, info->destination_port, info->source};
        bool expired = false;
        uint32_t session = policy_nat_find_outside(&policy->nat, &outside, own->now.boot, &expired);
        if (session != POLICY_NONE) {
            return inbound_session(own, session, subject);
        }
        if (expired) {
            return drop(own->result, DROP_NAT_EXPIRED);
        }
    }
    struct policy_route route =
        policy_route_ip(policy, own->index, &info->source, subject, own->now);
    if (route.verdict != DROP_NONE) {
        return drop(own->result, route.verdict == DROP_NO_RESOURCE ? DROP_NO_FLOW : route.verdict);
    }
    uint32_t mtu = 0;
    return fits(own, info->version, &mtu) ? forward(own, route.slot) : refuse_size(own, mtu);
}

static enum policy_action inbound(struct passage *own)
{
    const struct packet_info *info = own->info;
    uint32_t mtu = 0;
    if (ip_is_multicast(&info->source)) {
        return drop(own->result, DROP_IP_MULTICAST);
    }
    if (policy_is_gateway(own->policy, &info->source)) {
        if (info->kind == PACKET_ICMP_ERROR) {
            return inbound_error(own, true);
        }
        return fits(own, info->version, &mtu) ? forward(own, POLICY_NONE) : refuse_size(own, mtu);
    }
    if (policy_is_tunnel(&info->source)) {
        return drop(own->result, DROP_HAIRPIN);
    }
    if (own->client->live == 0) {
        return drop(own->result, DROP_NO_PEER);
    }
    if (info->kind == PACKET_ICMP_ERROR) {
        return inbound_error(own, false);
    }
    if (policy_is_proxy(&info->source)) {
        return drop(own->result, DROP_NO_FLOW); /* only translations speak from there */
    }
    return inbound_flow(own);
}

static bool is_client_address(const struct policy *policy, uint32_t index, const struct ip_addr *ip)
{
    const struct policy_client *client = &policy->clients[index];
    return client->used && (ip_equal(&client->ipv4, ip) || ip_equal(&client->ipv6, ip));
}

enum policy_action policy_inbound(struct policy *policy, struct packet *packet,
                                  struct clock_pair now, uint32_t *client,
                                  struct policy_result *result)
{
    result_clear(result);
    policy->clock = now;
    *client = POLICY_CLIENT_NONE;
    enum drop_reason reason = packet_parse(packet, &result->info);
    if (reason != DROP_NONE) {
        return drop(result, reason);
    }
    policy->nat.guess = result->hint.session;
    uint32_t index = result->hint.client - 1;
    if (result->hint.client == 0 || !is_client_address(policy, index, &result->info.destination)) {
        index = policy_client_by_ip(policy, &result->info.destination);
    }
    if (index == POLICY_NONE) {
        return drop(result, DROP_TUN_NOT_CLIENT);
    }
    *client = policy_client_handle(policy, index);
    struct passage own = {policy, index, &policy->clients[index], packet, &result->info,
                          now,    result};
    return inbound(&own);
}
