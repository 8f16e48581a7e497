/* The candidates of a connection: ours, by relay, and those that the peer tells. */
#include "gateway/gateway_internal.h"

static void trace_candidate(const struct gateway *gw, enum trace_id id,
                            const struct gateway_connection *c, struct view text)
{
    struct trace_event event = {.event = id, .at = gw->now, .id = c->client, .text = text};
    trace_emit(&gw->trace, &event);
}

void gateway_connection_offer(struct gateway *gw, struct gateway_connection *c,
                              const struct ice_candidate *candidate)
{
    struct ice_candidate local = *candidate;
    uint8_t text[ICE_CANDIDATE_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    enum err err = ice_agent_add_local(&c->ice, &local, gw->now.boot);
    if (err == ERR_NONE) {
        gateway_signal_add(gw, c, &local);
        ice_candidate_put(&w, &local);
        trace_candidate(gw, EV_CANDIDATE_LOCAL, c, writer_view(&w));
    } else if (err == ERR_FULL) {
        gateway_drop(gw, DROP_ICE_FULL, NULL);
    }
    gateway_connection_touch(gw, c);
}

void gateway_connection_withdraw(struct gateway *gw, struct gateway_connection *c,
                                 const struct ice_candidate *candidate)
{
    if (ice_agent_invalidate_local(&c->ice, candidate, gw->now.boot)) {
        gateway_signal_remove(gw, c, candidate);
    }
    gateway_connection_events(gw, c);
}

/* Offers what one relay has: relayed candidates only, or the others only. */
static void offer_from(struct gateway *gw, struct gateway_connection *c, uint32_t relay,
                       bool relayed)
{
    struct turn_candidate candidate;
    uint32_t cursor = 0;
    while (turn_client_candidate(&gw->relays[relay].turn, &cursor, &candidate)) {
        bool is_relayed = candidate.kind == TURN_CANDIDATE_RELAYED;
        if (is_relayed != relayed || !ice_address_is_valid(&candidate.addr.ip)) {
            continue;
        }
        struct ice_candidate ice =
            is_relayed ? ice_candidate_relay(&candidate.addr, candidate.server_family)
            : candidate.kind == TURN_CANDIDATE_HOST
                ? ice_candidate_host(&candidate.addr)
                : ice_candidate_srflx(&candidate.addr, &candidate.base);
        gateway_connection_offer(gw, c, &ice);
    }
}

void gateway_connection_offer_relay(struct gateway *gw, struct gateway_connection *c)
{
    if (gateway_relay_is_used(gw, c->relay)) {
        offer_from(gw, c, c->relay, true);
    }
}

void gateway_connection_offer_all(struct gateway *gw, struct gateway_connection *c)
{
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used && !gw->relays[r].closing) {
            offer_from(gw, c, r, false);
        }
    }
    gateway_connection_offer_relay(gw, c);
}

void gateway_connection_offer_again(struct gateway *gw, struct gateway_connection *c)
{
    const struct ice_candidate *candidate;
    size_t cursor = 0;
    while ((candidate = ice_agent_next_local(&c->ice, &cursor)) != NULL) {
        gateway_signal_add(gw, c, candidate);
    }
}

bool gateway_connection_migrate(struct gateway *gw, struct gateway_connection *c)
{
    c->relay = gateway_relay_choose(gw);
    if (c->relay == GATEWAY_NONE) {
        return false;
    }
    gateway_connection_offer_relay(gw, c);
    gateway_connection_active(gw, c);
    return true;
}

static void bind_channel(struct gateway *gw, struct gateway_connection *c,
                         const struct sock_addr *peer)
{
    if (!gateway_connection_may_bind(gw, c, peer)) {
        gateway_drop(gw, DROP_NO_CHANNEL, peer);
        return;
    }
    turn_client_bind_channel(&gw->relays[c->relay].turn, peer, gw->now.boot);
    gateway_relay_touch(gw, c->relay);
}

void gateway_connection_add_remote(struct gateway *gw, struct gateway_connection *c,
                                   struct view text)
{
    struct ice_candidate candidate;
    enum drop_reason reason = ice_candidate_parse(text, &candidate);
    if (reason == DROP_NONE) {
        reason = ice_agent_add_remote(&c->ice, &candidate, gw->now.boot);
    }
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, NULL);
        return;
    }
    trace_candidate(gw, EV_CANDIDATE_REMOTE, c, text);
    c->signalled = true;
    if (candidate.kind != ICE_HOST) {
        if (gateway_relay_is_used(gw, c->relay)) {
            bind_channel(gw, c, &candidate.addr);
        }
        gateway_signal_release(gw, c);
    }
    struct ice_candidate guesses[ICE_OPTIMISTIC_MAX];
    (void)ice_agent_add_optimistic(&c->ice, guesses, gw->now.boot);
    gateway_connection_active(gw, c);
    ice_agent_handle_timeout(&c->ice, gw->now.boot);
    gateway_connection_events(gw, c);
}

void gateway_connection_remove_remote(struct gateway *gw, struct gateway_connection *c,
                                      struct view text)
{
    struct ice_candidate candidate;
    enum drop_reason reason = ice_candidate_parse(text, &candidate);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, NULL);
        return;
    }
    (void)ice_agent_invalidate_remote(&c->ice, &candidate, gw->now.boot);
    gateway_connection_active(gw, c);
    ice_agent_handle_timeout(&c->ice, gw->now.boot);
    gateway_connection_events(gw, c);
}
