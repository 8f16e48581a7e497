#include "gateway/gateway_internal.h"

void gateway_signal_resize(struct gateway *gw, struct gateway_connection *c, uint32_t count)
{
    ASSERT(count <= GATEWAY_SIGNALS_MAX);
    size_t size = sizeof(c->signals[0]);
    c->signals =
        blocks_resize(&gw->ice_memory.blocks, c->signals, c->signals_count * size, count * size);
    c->signals_count = count;
}

static void drop_signal(struct gateway *gw, struct gateway_connection *c, uint32_t index)
{
    for (uint32_t i = index; i + 1 < c->signals_count; i++) {
        c->signals[i] = c->signals[i + 1];
    }
    gateway_signal_resize(gw, c, c->signals_count - 1);
}

static uint32_t find_signal(const struct gateway_connection *c,
                            const struct ice_candidate *candidate)
{
    for (uint32_t i = 0; i < c->signals_count; i++) {
        if (ice_candidate_matches(&c->signals[i].candidate, candidate)) {
            return i;
        }
    }
    return GATEWAY_NONE;
}

static void make_due(struct gateway *gw, struct gateway_connection *c)
{
    if (c->signal_due) {
        return;
    }
    uint32_t index = (uint32_t)(c - gw->connections);
    c->signal_due = true;
    c->signal_next = GATEWAY_NONE;
    if (gw->signal_connections.first == GATEWAY_NONE) {
        gw->signal_connections.first = index;
    } else {
        gw->connections[gw->signal_connections.last].signal_next = index;
    }
    gw->signal_connections.last = index;
}

static void hold(struct gateway *gw, struct gateway_connection *c,
                 const struct ice_candidate *candidate, bool removed)
{
    if (c->signals_count == GATEWAY_SIGNALS_MAX) {
        drop_signal(gw, c, 0); /* the oldest; a client that still needs it asks again */
    }
    gateway_signal_resize(gw, c, c->signals_count + 1);
    c->signals[c->signals_count - 1] = (struct gateway_signal){*candidate, removed};
    if (instant_is_never(c->offer_at)) {
        make_due(gw, c);
    }
}

void gateway_signal_release(struct gateway *gw, struct gateway_connection *c)
{
    c->offer_at = TIME_NEVER;
    if (c->signals_count > 0) {
        make_due(gw, c);
    }
}

/* Adding takes back a held removal of the same candidate (spec/portal.md section 10.5). */
void gateway_signal_add(struct gateway *gw, struct gateway_connection *c,
                        const struct ice_candidate *candidate)
{
    uint32_t at = find_signal(c, candidate);
    if (at != GATEWAY_NONE) {
        drop_signal(gw, c, at);
    }
    hold(gw, c, candidate, false);
}

/* Removing a candidate that was never told only takes the held addition back. */
void gateway_signal_remove(struct gateway *gw, struct gateway_connection *c,
                           const struct ice_candidate *candidate)
{
    uint32_t at = find_signal(c, candidate);
    if (at != GATEWAY_NONE) {
        bool was_addition = !c->signals[at].removed;
        drop_signal(gw, c, at);
        if (was_addition) {
            return;
        }
    }
    hold(gw, c, candidate, true);
}

/* Sorts by descending priority, then by order of arrival. */
static void sort_signals(struct gateway_connection *c)
{
    for (uint32_t i = 1; i < c->signals_count; i++) {
        struct gateway_signal moving = c->signals[i];
        uint32_t k = i;
        while (k > 0 && c->signals[k - 1].candidate.priority < moving.candidate.priority) {
            c->signals[k] = c->signals[k - 1];
            k--;
        }
        c->signals[k] = moving;
    }
}

/* Sends the held additions or removals of one connection in one message. */
static enum err send_kind(struct gateway *gw, struct gateway_connection *c, bool removed)
{
    struct view views[GATEWAY_SIGNALS_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < c->signals_count; i++) {
        if (c->signals[i].removed != removed) {
            continue;
        }
        struct writer w =
            writer_of((struct span){gw->signal_text[count], ICE_CANDIDATE_TEXT_SIZE_MAX});
        if (removed) {
            ice_candidate_put_invalidation(&w, &c->signals[i].candidate);
        } else {
            ice_candidate_put(&w, &c->signals[i].candidate);
        }
        ASSERT(writer_finish(&w));
        views[count++] = writer_view(&w);
    }
    if (count == 0) {
        return ERR_NONE;
    }
    enum err err = removed ? portal_client_send_invalidated(&gw->portal, &c->client, views, count)
                           : portal_client_send_candidates(&gw->portal, &c->client, views, count);
    err = gateway_trace_sent(
        gw, err, removed ? "broadcast_invalidated_ice_candidates" : "broadcast_ice_candidates");
    if (err != ERR_FULL) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < c->signals_count; i++) {
            if (c->signals[i].removed != removed) {
                c->signals[kept++] = c->signals[i];
            }
        }
        gateway_signal_resize(gw, c, kept);
    }
    return err;
}

void gateway_signal_flush(struct gateway *gw)
{
    uint32_t slice = FAULT(gw->rng.fault, FAULT_SIGNAL_SLICE_ONE) ? 1 : GATEWAY_SIGNAL_SLICE;
    for (uint32_t budget = slice;
         budget > 0 && gw->portal_joined && gw->signal_connections.first != GATEWAY_NONE;
         budget--) {
        struct gateway_connection *c = &gw->connections[gw->signal_connections.first];
        if (c->used) {
            sort_signals(c);
            if (send_kind(gw, c, false) == ERR_FULL || send_kind(gw, c, true) == ERR_FULL) {
                return; /* the queue empties as the portal reads; the rest follows then */
            }
        }
        gw->signal_connections.first = c->signal_next;
        c->signal_due = false;
    }
}
