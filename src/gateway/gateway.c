#include "gateway/gateway_internal.h"

/* ---- small services ---- */

uint64_t gateway_hash(const struct gateway *gw, struct view bytes)
{
    return FAULT(gw->rng.fault, FAULT_HASH_SAME) ? 0 : siphash13(&gw->hash_key, bytes);
}

void gateway_drop(struct gateway *gw, enum drop_reason reason, const struct sock_addr *remote)
{
    struct trace_event event = {.event = EV_DROP, .reason = reason, .at = gw->now};
    gw->counters.drops[reason]++;
    if (remote != NULL) {
        event.remote = *remote;
    }
    trace_emit(&gw->trace, &event);
}

void gateway_trace_client(struct gateway *gw, enum trace_id id, const struct gateway_connection *c,
                          const char *text)
{
    struct trace_event event = {
        .event = id, .at = gw->now, .id = c->client, .text = view_text(text)};
    trace_emit(&gw->trace, &event);
}

enum err gateway_trace_sent(const struct gateway *gw, enum err err, const char *what)
{
    if (err == ERR_NONE) {
        struct trace_event event = {
            .event = EV_PORTAL_SENT, .at = gw->now, .text = view_text(what)};
        trace_emit(&gw->trace, &event);
    }
    return err;
}

void gateway_begin(struct gateway *gw, struct clock_pair now)
{
    ASSERT(gw->trains_next == gw->trains_count); /* the driver drains before it feeds */
    ASSERT(gw->tun_next == gw->tun_count);
    ASSERT(gw->seal_count == 0);
    ASSERT(gw->groups_count == 0);
    ASSERT(instant_is_reading(now.boot));
    gw->is_drained = false;
    gw->now.unix_ns = now.unix_ns;
    gw->now.boot = instant_max(gw->now.boot, now.boot);
    policy_set_now(gw->policy, gw->now);
    gw->tx_used = 0;
    gw->trains_count = 0;
    gw->trains_next = 0;
    gw->tun_count = 0;
    gw->tun_next = 0;
}

/* ---- inputs that belong to no other file ---- */

void gateway_handle_lookup(struct gateway *gw, struct clock_pair now,
                           const struct gateway_lookup_answer *answer)
{
    struct portal_lookup_answer portal = {answer->lookup, answer->addresses,
                                          answer->result == ERR_NONE ? answer->addresses_count : 0};
    gateway_begin(gw, now);
    ASSERT(answer->addresses_count <= GATEWAY_LOOKUP_ADDRESSES_MAX);
    if (!portal_client_handle_lookup(&gw->portal, &portal, gw->now) &&
        !gateway_dns_handle_answer(&gw->dns, answer)) {
        gateway_resolve_answer(gw, answer);
    }
}

static void handle_accepted(struct gateway *gw, const struct gateway_stream_event *event)
{
    bool is_dns = event->kind == GATEWAY_STREAM_ACCEPTED
                      ? event->listener != GATEWAY_LISTENER_HEALTH
                      : gateway_dns_owns(&gw->dns, event->stream);
    if (is_dns) {
        enum drop_reason reason =
            gateway_dns_handle_stream(&gw->dns, event, &gw->next_id, gw->now.boot);
        if (reason != DROP_NONE) {
            gateway_drop(gw, reason, &event->remote);
        }
        return;
    }
    struct gateway_http_facts facts = gateway_status(gw);
    gateway_http_handle(&gw->http, event, &facts, gw->now.boot);
}

void gateway_handle_stream(struct gateway *gw, struct clock_pair now,
                           const struct gateway_stream_event *event)
{
    static const enum portal_stream_kind kinds[] = {
        [GATEWAY_STREAM_OPENED] = PORTAL_STREAM_OPENED,
        [GATEWAY_STREAM_BYTES] = PORTAL_STREAM_BYTES,
        [GATEWAY_STREAM_WRITABLE] = PORTAL_STREAM_WRITABLE,
        [GATEWAY_STREAM_CLOSED] = PORTAL_STREAM_CLOSED,
    };
    gateway_begin(gw, now);
    if (event->stream >= GATEWAY_STREAM_ACCEPTED_BASE) {
        handle_accepted(gw, event);
        return;
    }
    if (event->kind == GATEWAY_STREAM_ACCEPTED || event->kind == GATEWAY_STREAM_ENDED) {
        return;
    }
    struct portal_stream_event portal = {kinds[event->kind], event->stream, event->bytes,
                                         event->reason};
    (void)portal_client_handle_stream(&gw->portal, &portal, gw->now);
}

void gateway_handle_listener(struct gateway *gw, struct clock_pair now,
                             const struct gateway_listener_datagram *datagram)
{
    gateway_begin(gw, now);
    enum drop_reason reason =
        gateway_dns_handle_datagram(&gw->dns, datagram, &gw->next_id, gw->now.boot);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &datagram->remote);
    }
}

void gateway_stream_sent(struct gateway *gw, uint32_t stream, size_t taken)
{
    gw->is_drained = false;
    if (stream >= GATEWAY_STREAM_ACCEPTED_BASE) {
        if (gateway_dns_owns(&gw->dns, stream)) {
            enum drop_reason reason =
                gateway_dns_sent(&gw->dns, stream, taken, &gw->next_id, gw->now.boot);
            if (reason != DROP_NONE) {
                gateway_drop(gw, reason, NULL);
            }
        } else {
            gateway_http_sent(&gw->http, stream, taken);
        }
    } else {
        (void)portal_client_stream_sent(&gw->portal, stream, taken);
    }
}

void gateway_handle_reseed(struct gateway *gw, const uint8_t seed[32])
{
    rng_reseed(&gw->rng, seed);
}

/* Closes a slice of the connections; after the last one, relays and portal. */
static void take_leave(struct gateway *gw)
{
    uint32_t looks = GATEWAY_LOOK_SLICE;
    uint32_t budget = GATEWAY_JOB_SLICE;
    for (; budget > 0 && looks > 0 && gw->connections_count > 0; looks--) {
        struct gateway_connection *c = &gw->connections[gw->shutdown_cursor++];
        if (c->used) {
            budget--;
            if (!gw->is_cut_off) {
                gateway_connection_goodbye(gw, c);
            }
            gateway_connection_close(gw, c, EV_CONNECTION_CLOSED, "shutting down");
        }
    }
    if (gw->connections_count == 0 && !gw->has_left) {
        gw->has_left = true;
        gateway_flow_end_all(gw);
        gateway_relay_close_all(gw);
        portal_client_close(&gw->portal, gw->now);
    }
}

void gateway_leave(struct gateway *gw, int code, const char *reason)
{
    if (gw->shutting_down) {
        return;
    }
    gw->shutting_down = true;
    gw->exit_code = code;
    gw->exit_reason = reason;
    gw->shutdown_at = instant_add(gw->now.boot, DURATION_S(GATEWAY_SHUTDOWN_S));
    take_leave(gw);
}

static const struct {
    int code;
    const char *reason;
} ends[GATEWAY_END_COUNT] = {
    [GATEWAY_END_ASKED] = {0, "shut down"},
    [GATEWAY_END_TUN_LOST] = {1, "the TUN device is gone"},
    [GATEWAY_END_UDP_LOST] = {1, "all UDP sockets are gone"},
};

const char *gateway_end_reason(enum gateway_end why)
{
    ASSERT(why < GATEWAY_END_COUNT);
    return ends[why].reason;
}

void gateway_handle_shutdown(struct gateway *gw, struct clock_pair now, enum gateway_end why)
{
    const char *reason = gateway_end_reason(why);
    struct trace_event event = {.event = EV_SHUTDOWN, .at = now};
    gateway_begin(gw, now);
    gw->tun_up = gw->tun_up && why != GATEWAY_END_TUN_LOST;
    gw->is_cut_off = gw->is_cut_off || why == GATEWAY_END_UDP_LOST;
    if (!gw->shutting_down) {
        event.text = why == GATEWAY_END_ASKED ? VIEW_EMPTY : view_text(reason);
        trace_emit(&gw->trace, &event);
        gateway_leave(gw, ends[why].code, reason);
    }
}

/* ---- time ---- */

static void run_timers(struct gateway *gw)
{
    uint32_t slice = FAULT(gw->rng.fault, FAULT_TIMERS_ONE) ? 1 : GATEWAY_TIMER_BUDGET;
    for (uint32_t budget = slice; budget > 0; budget--) {
        uint32_t record = heap_pop_due(&gw->timers, gw->now.boot);
        if (record == HEAP_NONE) {
            return;
        }
        if (record >= gw->limits.clients) {
            gateway_relay_timeout(gw, record - gw->limits.clients);
        } else {
            gateway_connection_timeout(gw, &gw->connections[record]);
        }
    }
}

void gateway_handle_timeout(struct gateway *gw, struct clock_pair now)
{
    gateway_begin(gw, now);
    portal_client_handle_timeout(&gw->portal, gw->now);
    run_timers(gw);
    gateway_relay_rejoin(gw);
    gateway_relay_run_jobs(gw);
    gateway_sweep_run(gw);
    if (gw->shutting_down) {
        take_leave(gw);
    }
    if (instant_reached(gw->now.boot, policy_poll_timeout(gw->policy).at)) {
        struct policy_ended ended;
        /* What `init` is about to extend does not end meanwhile; its packets are judged by time. */
        for (uint32_t budget = gw->control.sweep == GATEWAY_SWEEP_KEEP ? 0 : GATEWAY_JOB_SLICE;
             budget > 0 && policy_expire(gw->policy, gw->now, &ended); budget--) {
            gateway_control_ended(gw, &ended, EV_EXPIRED);
        }
        policy_handle_timeout(gw->policy, gw->now);
    }
    gateway_resolve_timeout(gw);
    gateway_flow_timeout(gw);
    gateway_dns_handle_timeout(&gw->dns, gw->now.boot);
    gateway_http_handle_timeout(&gw->http, gw->now.boot);
    if (instant_reached(gw->now.boot, gw->shutdown_at)) {
        gw->exit_due = true;
    }
}

struct wake gateway_poll_timeout(const struct gateway *gw)
{
    struct wake wake = portal_client_poll_timeout(&gw->portal);
    wake = wake_min(wake, (struct wake){heap_next(&gw->timers), "connections and relays"});
    wake = wake_min(wake, (struct wake){gw->rejoin_at, "no relay"});
    wake = wake_min(wake, policy_poll_timeout(gw->policy));
    wake = wake_min(wake, gateway_resolve_poll_timeout(gw));
    wake = wake_min(wake, gateway_flow_poll_timeout(gw));
    wake = wake_min(wake, gateway_dns_poll_timeout(&gw->dns));
    wake = wake_min(wake, gateway_http_poll_timeout(&gw->http));
    if (!gw->exit_due) {
        wake = wake_min(wake, (struct wake){gw->shutdown_at, "shutdown"});
    }
    if (gw->jobs_count > 0 || gw->control.sweep != GATEWAY_SWEEP_NONE ||
        (gw->shutting_down && !gw->has_left)) {
        wake = wake_min(wake, (struct wake){gw->now.boot, "changes for all connections"});
    }
    struct instant soon = instant_add(gw->now.boot, DURATION_MS(1));
    if (instant_before(soon, wake.at) && FAULT(gw->rng.fault, FAULT_WAKE_EARLY)) {
        wake.at = soon;
    }
    return wake;
}

struct gateway_shortage gateway_shortage(const struct gateway *gw)
{
    return (struct gateway_shortage){.waits = portal_client_is_starved(&gw->portal),
                                     .lost = portal_client_has_lost(&gw->portal)};
}

const uint8_t *gateway_public_key(const struct gateway *gw)
{
    return gw->wg.own.public_key.bytes;
}

void gateway_check(const struct gateway *gw)
{
    uint32_t used = 0;
    uint32_t relays = 0;
    uint32_t servers = 0;
    struct blocks_counts blocks = {{0}};
    policy_check(gw->policy);
    portal_client_check(&gw->portal);
    for (uint32_t i = 0; i < gw->limits.clients && used < gw->connections_count; i++) {
        const struct gateway_connection *c = &gw->connections[i];
        if (!c->used) {
            continue;
        }
        used++;
        gateway_connection_check(gw, c, &blocks);
    }
    blocks_check(&gw->ice_memory.blocks, &blocks);
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        relays += gw->relays[r].used ? 1 : 0;
        for (size_t i = 0; gw->relays[r].used && i < 2; i++) {
            servers += gw->relays[r].turn.server[i].ip.family != IP_NONE ? 1 : 0;
        }
    }
    ASSERT(used == gw->connections_count);
    ASSERT(relays == gw->relays_count);
    ASSERT(servers == gw->relay_by_server.count);
    ASSERT(gw->connection_by_ufrag.count == gw->connections_count);
    ASSERT(gw->connection_by_key.count == gw->connections_count);
    ASSERT(gw->jobs_count <= GATEWAY_JOBS_MAX);
    ASSERT(gw->portal.held == (gw->control.sweep != GATEWAY_SWEEP_NONE));
    gateway_flow_check(gw);
    gateway_dns_check(&gw->dns);
    gateway_http_check(&gw->http);
}
