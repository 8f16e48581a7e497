/* Which output comes next, and what the portal's client has for us. */
#include "gateway/gateway_internal.h"

static void trace_portal(struct gateway *gw, enum trace_id id, const char *text, uint64_t value)
{
    struct trace_event event = {
        .event = id, .at = gw->now, .text = view_text(text), .value = value};
    trace_emit(&gw->trace, &event);
}

static void handle_portal_lost(struct gateway *gw, const struct portal_output *in)
{
    uint64_t next = in->u.lost.next_at.ns > gw->now.boot.ns
                        ? (in->u.lost.next_at.ns - gw->now.boot.ns) / NS_PER_MS
                        : 0;
    gw->portal_joined = false;
    gw->initialised = false;
    gw->counters.portal_losses++;
    trace_portal(gw, EV_PORTAL_LOST, in->u.lost.reason, next);
}

/* Works one output of the portal client off; true when it becomes an output of the gateway. */
static bool handle_portal_output(struct gateway *gw, const struct portal_output *in,
                                 struct gateway_output *out)
{
    switch (in->kind) {
    case PORTAL_OUT_LOOKUP:
        out->kind = GATEWAY_OUT_LOOKUP;
        out->u.lookup.lookup = in->u.lookup.lookup;
        out->u.lookup.name = in->u.lookup.name;
        out->u.lookup.type =
            in->u.lookup.type == PORTAL_LOOKUP_A ? GATEWAY_LOOKUP_A : GATEWAY_LOOKUP_AAAA;
        return true;
    case PORTAL_OUT_OPEN: {
        struct trace_event event = {
            .event = EV_PORTAL_CONNECTING, .at = gw->now, .remote = in->u.open.remote};
        trace_emit(&gw->trace, &event);
        gw->counters.portal_connects++;
        out->kind = GATEWAY_OUT_STREAM_OPEN;
        out->u.open.stream = in->u.open.stream;
        out->u.open.remote = in->u.open.remote;
        out->u.open.tls_name = in->u.open.tls_name;
        return true;
    }
    case PORTAL_OUT_SEND:
        out->kind = GATEWAY_OUT_STREAM_SEND;
        out->u.send.stream = in->u.send.stream;
        out->u.send.bytes = in->u.send.bytes;
        return true;
    case PORTAL_OUT_CLOSE:
        out->kind = GATEWAY_OUT_STREAM_CLOSE;
        out->u.close = in->u.close;
        return true;
    case PORTAL_OUT_MESSAGE:
        gateway_control_message(gw, in->u.message);
        return false;
    case PORTAL_OUT_REFUSED: {
        struct trace_event event = {.event = EV_PORTAL_REFUSED,
                                    .reason = in->u.refused.reason,
                                    .at = gw->now,
                                    .text = in->u.refused.event};
        gw->counters.drops[in->u.refused.reason]++;
        if (!in->u.refused.is_again) {
            trace_emit(&gw->trace, &event);
        }
        return false;
    }
    case PORTAL_OUT_JOINED:
        gw->portal_joined = true;
        gw->counters.portal_joins++;
        trace_portal(gw, EV_PORTAL_JOINED, "", 0);
        return false;
    case PORTAL_OUT_LOST:
        handle_portal_lost(gw, in);
        return false;
    case PORTAL_OUT_FATAL:
        gw->portal_joined = false;
        trace_portal(gw, EV_PORTAL_FATAL, in->u.fatal.reason, 0);
        gateway_leave(gw, in->u.fatal.exit_code, in->u.fatal.reason);
        return false;
    }
    UNREACHABLE();
}

static bool poll_portal(struct gateway *gw, struct gateway_output *out)
{
    struct portal_output in;
    while (portal_client_poll(&gw->portal, &in)) {
        if (handle_portal_output(gw, &in, out)) {
            return true;
        }
    }
    return false;
}

static bool poll_train(struct gateway *gw, struct gateway_output *out)
{
    if (gw->trains_next == gw->trains_count) {
        return false;
    }
    const struct gateway_train_record *record = &gw->trains[gw->trains_next++];
    out->kind = GATEWAY_OUT_TRAIN;
    out->u.train = record->train;
    if (record->segments == 1) {
        out->u.train.segment_size = 0;
    }
    return true;
}

static bool poll_tun(struct gateway *gw, struct gateway_output *out)
{
    if (gw->tun_next == gw->tun_count) {
        return false;
    }
    const struct gateway_tun_record *record = &gw->tun_out[gw->tun_next];
    for (uint32_t i = 0; i < record->slices; i++) {
        gw->tun_group.slices[i] = record[i].bytes;
    }
    gw->tun_next += record->slices;
    gw->tun_group.slices_count = record->slices;
    gw->tun_group.offload = record->offload;
    gw->counters.tun_out_packets += record->slices;
    gw->counters.tun_out_bytes += record->inner_bytes;
    out->kind = GATEWAY_OUT_TUN;
    out->u.tun = &gw->tun_group;
    return true;
}

static struct sock_addr listener_address(const struct gateway *gw, enum gateway_listener listener)
{
    switch (listener) {
    case GATEWAY_LISTENER_HEALTH:
        return gw->health;
    case GATEWAY_LISTENER_DNS_UDP4:
    case GATEWAY_LISTENER_DNS_TCP4:
        return sock_addr_of(gw->tun_config.ipv4, GATEWAY_DNS_PORT);
    case GATEWAY_LISTENER_DNS_UDP6:
    case GATEWAY_LISTENER_DNS_TCP6:
        return sock_addr_of(gw->tun_config.ipv6, GATEWAY_DNS_PORT);
    case GATEWAY_LISTENER_COUNT:
        break;
    }
    UNREACHABLE();
}

static bool poll_environment(struct gateway *gw, struct gateway_output *out)
{
    if (gw->tun_config_due) {
        gw->tun_config_due = false;
        struct trace_event event = {.event = EV_TUN_CONFIGURED,
                                    .at = gw->now,
                                    .remote = sock_addr_of(gw->tun_config.ipv4, 0)};
        trace_emit(&gw->trace, &event);
        out->kind = GATEWAY_OUT_TUN_CONFIGURE;
        out->u.tun_config = gw->tun_config;
        return true;
    }
    for (uint32_t i = 0; i < GATEWAY_LISTENER_COUNT; i++) {
        if ((gw->listens_due & 1U << i) != 0) {
            gw->listens_due &= ~(1U << i);
            out->kind = GATEWAY_OUT_LISTEN;
            out->u.listen.listener = (enum gateway_listener)i;
            out->u.listen.datagram =
                i == GATEWAY_LISTENER_DNS_UDP4 || i == GATEWAY_LISTENER_DNS_UDP6;
            out->u.listen.local = listener_address(gw, (enum gateway_listener)i);
            return true;
        }
    }
    return false;
}

static bool poll_exit(struct gateway *gw, struct gateway_output *out)
{
    bool relays_know = gw->relays_count == 0 || gw->is_cut_off;
    if (gw->has_left && portal_client_is_closed(&gw->portal) && relays_know) {
        gw->exit_due = true;
    }
    if (!gw->exit_due || gw->exit_told) {
        return false;
    }
    gw->exit_told = true;
    out->kind = GATEWAY_OUT_EXIT;
    out->u.exit.code = gw->exit_code;
    out->u.exit.reason = view_text(gw->exit_reason);
    return true;
}

/* Control traffic and keep-alives; most polls are for data and find none. */
static bool poll_control(struct gateway *gw, struct gateway_output *out)
{
    return (gw->dirty_relays.first != GATEWAY_NONE && gateway_relay_poll(gw, out)) ||
           (gw->dirty_connections.first != GATEWAY_NONE && gateway_connection_poll(gw, out));
}

/* Control traffic before data; but the last goodbyes leave while the allocations that may carry
 * them are still there. */
static bool poll_datagrams(struct gateway *gw, struct gateway_output *out)
{
    return gw->has_left ? poll_train(gw, out) || poll_control(gw, out)
                        : poll_control(gw, out) || poll_train(gw, out);
}

static bool poll_any(struct gateway *gw, struct gateway_output *out)
{
    /* Control traffic first, then data, then what may wait. */
    if (poll_datagrams(gw, out) || poll_tun(gw, out)) {
        return true;
    }
    if (poll_portal(gw, out)) {
        return true;
    }
    gateway_signal_flush(gw);
    /* The portal's messages and held candidates may have led to more of the above. */
    return poll_portal(gw, out) || poll_datagrams(gw, out) || poll_environment(gw, out) ||
           gateway_resolve_poll(gw, out) || gateway_dns_poll(&gw->dns, out) ||
           gateway_http_poll(&gw->http, out) || gateway_flow_poll(gw, out) || poll_exit(gw, out);
}

bool gateway_poll(struct gateway *gw, struct gateway_output *out)
{
    if (gw->is_drained || !poll_any(gw, out)) {
        gw->is_drained = true; /* until the next input: only those make outputs */
        return false;
    }
    if (out->kind == GATEWAY_OUT_TRAIN) {
        const struct gateway_train *train = &out->u.train;
        size_t step = train->segment_size;
        gw->counters.udp_out_datagrams += step == 0 ? 1 : (train->bytes.len + step - 1) / step;
        gw->counters.udp_out_bytes += train->bytes.len;
    }
    return true;
}
