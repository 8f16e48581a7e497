#include "gateway/gateway_internal.h"

#include <string.h>

#include "stun/channel_data.h"

/* Relays slower than the fastest by more than this are left out: with two, half as slow again; with
 * more, three deviations from the median (spec/connectivity.md section 6.3, head). */
#define RTT_DEVIATION_MIN_MS 2U
/* An older portal is left and joined again for want of a relay, but not before what it has sent is
 * read: a relay, or the end of an access that it will not tell again. */
#define REJOIN_PAUSE_MS 500U
#define RELAY_REVIVE_S  5U /* between two new lives of a relay that fails */

static uint64_t server_hash(const struct gateway *gw, const struct sock_addr *server)
{
    uint8_t bytes[19];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    writer_u8(&w, server->ip.family);
    writer_bytes(&w, (struct view){server->ip.bytes, sizeof(server->ip.bytes)});
    writer_be16(&w, server->port);
    return gateway_hash(gw, writer_view(&w));
}

uint32_t gateway_relay_next(const struct gateway *gw, const struct sock_addr *server,
                            uint32_t *cursor)
{
    uint64_t hash = server_hash(gw, server);
    for (uint32_t r = map_next(&gw->relay_by_server, hash, cursor); r != MAP_NONE;
         r = map_next(&gw->relay_by_server, hash, cursor)) {
        if (turn_client_is_server(&gw->relays[r].turn, server)) {
            return r;
        }
    }
    return GATEWAY_NONE;
}

uint32_t gateway_relay_find(const struct gateway *gw, const struct uuid *id)
{
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used && !gw->relays[r].closing && uuid_equal(&gw->relays[r].id, id)) {
            return r;
        }
    }
    return GATEWAY_NONE;
}

bool gateway_relay_is_used(const struct gateway *gw, uint32_t relay)
{
    return relay != GATEWAY_NONE && gw->relays[relay].used;
}

static void index_servers(struct gateway *gw, uint32_t relay, bool add)
{
    const struct gateway_relay *r = &gw->relays[relay];
    for (size_t i = 0; i < 2; i++) {
        if (r->turn.server[i].ip.family == IP_NONE) {
            continue;
        }
        uint64_t hash = server_hash(gw, &r->turn.server[i]);
        if (add) {
            bool stored = map_insert(&gw->relay_by_server, hash, relay);
            ASSERT(stored);
        } else {
            (void)map_remove(&gw->relay_by_server, hash, relay);
        }
    }
}

void gateway_relay_touch(struct gateway *gw, uint32_t relay)
{
    struct gateway_relay *r = &gw->relays[relay];
    if (r->dirty) {
        return;
    }
    r->dirty = true;
    r->dirty_next = GATEWAY_NONE;
    if (gw->dirty_relays.first == GATEWAY_NONE) {
        gw->dirty_relays.first = relay;
    } else {
        gw->relays[gw->dirty_relays.last].dirty_next = relay;
    }
    gw->dirty_relays.last = relay;
}

static void trace_relay(struct gateway *gw, enum trace_id event, const struct gateway_relay *r,
                        const char *text)
{
    struct trace_event e = {.event = event, .at = gw->now, .id = r->id, .text = view_text(text)};
    e.remote = turn_client_active_server(&r->turn);
    trace_emit(&gw->trace, &e);
}

static void start_job(struct gateway *gw, const struct gateway_job *job)
{
    if (gw->jobs_count == GATEWAY_JOBS_MAX || FAULT(gw->rng.fault, FAULT_JOBS_FULL)) {
        gateway_relay_run_jobs(gw); /* rare: make room by working off a slice of each now */
    }
    if (gw->jobs_count == GATEWAY_JOBS_MAX) {
        gw->counters.drops[DROP_PORTAL_LIMIT]++;
        return;
    }
    gw->jobs[(gw->jobs_first + gw->jobs_count) % GATEWAY_JOBS_MAX] = *job;
    gw->jobs_count++;
}

static struct ice_candidate to_ice(const struct turn_candidate *candidate)
{
    switch (candidate->kind) {
    case TURN_CANDIDATE_HOST:
        return ice_candidate_host(&candidate->addr);
    case TURN_CANDIDATE_SRFLX:
        return ice_candidate_srflx(&candidate->addr, &candidate->base);
    case TURN_CANDIDATE_RELAYED:
        break;
    }
    return ice_candidate_relay(&candidate->addr, candidate->server_family);
}

static void candidate_job(struct gateway *gw, uint32_t relay,
                          const struct turn_candidate *candidate, enum gateway_job_kind kind)
{
    if (!ice_address_is_valid(&candidate->addr.ip)) {
        return;
    }
    struct gateway_job job = {.kind = kind, .relay = GATEWAY_NONE, .candidate = to_ice(candidate)};
    if (candidate->kind == TURN_CANDIDATE_RELAYED) {
        job.relay = relay;
    }
    start_job(gw, &job);
}

static void start_migration(struct gateway *gw, uint32_t relay)
{
    struct gateway_job job = {.kind = GATEWAY_JOB_MIGRATE, .relay = relay};
    start_job(gw, &job);
}

static const char *failure_text(enum turn_failure failure)
{
    switch (failure) {
    case TURN_FAILURE_NONE:
        break;
    case TURN_FAILURE_TIMEOUT:
        return "no answer";
    case TURN_FAILURE_CREDENTIALS:
        return "credentials refused";
    case TURN_FAILURE_REALM:
        return "wrong realm";
    case TURN_FAILURE_PROTOCOL:
        return "protocol failure";
    }
    return "";
}

static void handle_event(struct gateway *gw, uint32_t relay, const struct turn_event *event)
{
    struct gateway_relay *r = &gw->relays[relay];
    switch (event->kind) {
    case TURN_EVENT_CANDIDATE_NEW:
        candidate_job(gw, relay, &event->candidate, GATEWAY_JOB_ADD);
        break;
    case TURN_EVENT_CANDIDATE_INVALID:
        candidate_job(gw, relay, &event->candidate, GATEWAY_JOB_INVALIDATE);
        break;
    case TURN_EVENT_READY:
        if (r->failed) {
            r->failed = false;
            start_migration(gw, GATEWAY_NONE); /* it is back: connections without a relay get it */
        }
        trace_relay(gw, EV_RELAY_READY, r, "");
        break;
    case TURN_EVENT_LOST:
        trace_relay(gw, EV_RELAY_LOST, r, "");
        break;
    case TURN_EVENT_FAILED:
        r->failed = true;
        trace_relay(gw, EV_RELAY_FAILED, r, failure_text(event->failure));
        start_migration(gw, relay);
        break;
    }
}

static bool any_usable(const struct gateway *gw)
{
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        const struct gateway_relay *relay = &gw->relays[r];
        if (relay->used && !relay->failed && !relay->closing) {
            return true;
        }
    }
    return false;
}

void gateway_relay_none_left(struct gateway *gw)
{
    if (!gw->portal_joined || any_usable(gw)) {
        return;
    }
    if (portal_client_is_head(&gw->portal)) {
        /* A full queue or a lost connection: the next init brings relays anyway. */
        (void)gateway_trace_sent(gw, portal_client_send_no_relays(&gw->portal), "no_relays");
    } else if (instant_is_never(gw->rejoin_at)) {
        gw->rejoin_at = instant_add(gw->now.boot, DURATION_MS(REJOIN_PAUSE_MS));
    }
}

void gateway_relay_rejoin(struct gateway *gw)
{
    if (!instant_reached(gw->now.boot, gw->rejoin_at)) {
        return;
    }
    gw->rejoin_at = TIME_NEVER;
    if (gw->portal_joined && !any_usable(gw)) {
        (void)portal_client_reconnect(&gw->portal, gw->now);
    }
}

void gateway_relay_events(struct gateway *gw, uint32_t relay)
{
    struct turn_event event;
    bool failed = false;
    while (turn_client_poll_event(&gw->relays[relay].turn, &event)) {
        handle_event(gw, relay, &event);
        failed = failed || event.kind == TURN_EVENT_FAILED;
    }
    gateway_relay_touch(gw, relay);
    if (failed) {
        gateway_relay_none_left(gw);
    }
    gateway_relay_run_jobs(gw);
}

static void free_relay(struct gateway *gw, uint32_t relay)
{
    struct gateway_relay *r = &gw->relays[relay];
    index_servers(gw, relay, false);
    turn_client_wipe(&r->turn);
    heap_set(&gw->timers, gw->limits.clients + relay, TIME_NEVER);
    r->used = false;
    gw->relays_count--;
}

void gateway_relay_timeout(struct gateway *gw, uint32_t relay)
{
    struct gateway_relay *r = &gw->relays[relay];
    if (!r->used) {
        return;
    }
    turn_client_handle_timeout(&r->turn, gw->now.boot);
    gateway_relay_events(gw, relay);
}

/* The portal still lists a relay that was given up: it gets a new life, as if it had been forgotten
 * meanwhile. Not more often than the pause, because the portal answers every "no relays" at once.
 */
static void revive(struct gateway *gw, struct gateway_relay *r,
                   const struct turn_client_config *config)
{
    if (!instant_reached(gw->now.boot, r->revive_at)) {
        return;
    }
    r->revive_at = instant_add(gw->now.boot, DURATION_S(RELAY_REVIVE_S));
    turn_client_wipe(&r->turn);
    enum err err = turn_client_init(&r->turn, config, &gw->rng, gw->now.boot);
    ASSERT(err == ERR_NONE); /* turn_client_update() has accepted it */
}

void gateway_relay_update(struct gateway *gw, const struct uuid *id,
                          const struct turn_client_config *config)
{
    uint32_t relay = gateway_relay_find(gw, id);
    if (relay != GATEWAY_NONE) {
        index_servers(gw, relay, false);
        struct gateway_relay *known = &gw->relays[relay];
        enum err err = turn_client_update(&known->turn, config, gw->now.boot);
        gw->counters.drops[DROP_PORTAL_FIELD] += err == ERR_NONE ? 0 : 1;
        if (err == ERR_NONE && turn_client_failure(&known->turn) != TURN_FAILURE_NONE) {
            revive(gw, known, config);
        }
        index_servers(gw, relay, true);
        if (known->failed && turn_client_failure(&known->turn) == TURN_FAILURE_NONE) {
            known->failed = false; /* new credentials or addresses: it starts again */
            start_migration(gw, GATEWAY_NONE);
        }
        gateway_relay_events(gw, relay);
        return;
    }
    for (relay = 0; relay < gw->limits.relays && gw->relays[relay].used; relay++) {
    }
    if (relay == gw->limits.relays) {
        gateway_drop(gw, DROP_PORTAL_LIMIT, NULL);
        return;
    }
    struct gateway_relay *r = &gw->relays[relay];
    if (turn_client_init(&r->turn, config, &gw->rng, gw->now.boot) != ERR_NONE) {
        gateway_drop(gw, DROP_PORTAL_FIELD, NULL);
        return;
    }
    r->used = true;
    r->failed = false;
    r->closing = false;
    r->revive_at = gw->now.boot;
    r->id = *id;
    gw->relays_count++;
    index_servers(gw, relay, true);
    trace_relay(gw, EV_RELAY_ADDED, r, "");
    gateway_relay_events(gw, relay);
    start_migration(gw, GATEWAY_NONE); /* connections without a relay get one */
    gateway_relay_run_jobs(gw);
}

bool gateway_relay_remove(struct gateway *gw, const struct uuid *id)
{
    uint32_t relay = gateway_relay_find(gw, id);
    if (relay == GATEWAY_NONE) {
        return false;
    }
    struct gateway_relay *r = &gw->relays[relay];
    trace_relay(gw, EV_RELAY_REMOVED, r, "");
    turn_client_close(&r->turn, gw->now.boot);
    r->closing = true;
    gateway_relay_events(gw, relay);
    start_migration(gw, relay);
    gateway_relay_run_jobs(gw);
    return true;
}

void gateway_relay_refresh_others(struct gateway *gw, const bool *kept)
{
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used && !gw->relays[r].closing && !kept[r]) {
            turn_client_refresh(&gw->relays[r].turn, gw->now.boot);
            gateway_relay_events(gw, r);
        }
    }
}

void gateway_relay_hurry(struct gateway *gw)
{
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used && gw->relays[r].failed && !gw->relays[r].closing) {
            turn_client_refresh(&gw->relays[r].turn, gw->now.boot);
            gateway_relay_touch(gw, r);
        }
    }
}

void gateway_relay_close_all(struct gateway *gw)
{
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used && !gw->relays[r].closing) {
            turn_client_close(&gw->relays[r].turn, gw->now.boot);
            gw->relays[r].closing = true;
            gateway_relay_events(gw, r);
        }
    }
}

/* Sorts a handful of round-trip times. */
static void sort_ns(uint64_t *values, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        for (uint32_t k = i; k > 0 && values[k - 1] > values[k]; k--) {
            uint64_t swap = values[k];
            values[k] = values[k - 1];
            values[k - 1] = swap;
        }
    }
}

#define RELAYS_CONSIDERED_MAX 64U

/* The slowest round trip that still takes part; `rtts` is sorted. */
static uint64_t rtt_limit(uint64_t *rtts, uint32_t count)
{
    uint64_t deviations[RELAYS_CONSIDERED_MAX];
    if (count <= 2) {
        return rtts[0] + rtts[0] / 2;
    }
    uint64_t median = rtts[count / 2];
    for (uint32_t i = 0; i < count; i++) {
        deviations[i] = rtts[i] > median ? rtts[i] - median : median - rtts[i];
    }
    sort_ns(deviations, count);
    uint64_t deviation = deviations[count / 2];
    uint64_t least = RTT_DEVIATION_MIN_MS * NS_PER_MS;
    return median + 3 * (deviation > least ? deviation : least);
}

uint32_t gateway_relay_choose(struct gateway *gw)
{
    uint32_t candidates[RELAYS_CONSIDERED_MAX];
    uint64_t rtts[RELAYS_CONSIDERED_MAX];
    uint32_t usable = 0;
    uint32_t measured = 0;
    for (uint32_t r = 0; r < gw->limits.relays && usable < RELAYS_CONSIDERED_MAX; r++) {
        const struct gateway_relay *relay = &gw->relays[r];
        if (!relay->used || relay->failed || relay->closing) {
            continue;
        }
        candidates[usable++] = r;
        uint64_t rtt = turn_client_rtt(&relay->turn).ns;
        if (rtt > 0 && turn_client_is_ready(&relay->turn)) {
            rtts[measured++] = rtt;
        }
    }
    if (usable == 0) {
        return GATEWAY_NONE;
    }
    if (measured > 0) {
        sort_ns(rtts, measured);
        uint64_t limit = rtt_limit(rtts, measured);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < usable; i++) {
            const struct turn_client *turn = &gw->relays[candidates[i]].turn;
            uint64_t rtt = turn_client_rtt(turn).ns;
            if (rtt > 0 && rtt <= limit && turn_client_is_ready(turn)) {
                candidates[kept++] = candidates[i];
            }
        }
        usable = kept;
    }
    ASSERT(usable > 0);
    return candidates[rng_below(&gw->rng, usable)];
}

/* ---- jobs ---- */

static void run_job_on(struct gateway *gw, const struct gateway_job *job,
                       struct gateway_connection *c)
{
    switch (job->kind) {
    case GATEWAY_JOB_ADD:
        if (job->relay == GATEWAY_NONE || job->relay == c->relay) {
            gateway_connection_offer(gw, c, &job->candidate);
        }
        break;
    case GATEWAY_JOB_INVALIDATE:
        gateway_connection_withdraw(gw, c, &job->candidate);
        break;
    case GATEWAY_JOB_MIGRATE:
        if (c->relay == job->relay) {
            (void)gateway_connection_migrate(gw, c);
        }
        break;
    }
}

void gateway_relay_run_jobs(struct gateway *gw)
{
    uint32_t looks = GATEWAY_LOOK_SLICE;
    uint32_t budget = FAULT(gw->rng.fault, FAULT_JOB_SLICE_ONE) ? 1 : GATEWAY_JOB_SLICE;
    while (gw->jobs_count > 0 && budget > 0 && looks > 0) {
        struct gateway_job *job = &gw->jobs[gw->jobs_first];
        for (; job->cursor < gw->limits.clients && budget > 0 && looks > 0 &&
               gw->connections_count > 0;
             looks--) {
            struct gateway_connection *c = &gw->connections[job->cursor++];
            if (c->used) {
                budget--;
                run_job_on(gw, job, c);
            }
        }
        if (job->cursor < gw->limits.clients && gw->connections_count > 0) {
            return; /* the rest in the next slice */
        }
        gw->jobs_first = (gw->jobs_first + 1) % GATEWAY_JOBS_MAX;
        gw->jobs_count--;
    }
}

/* ---- output ---- */

bool gateway_relay_poll(struct gateway *gw, struct gateway_output *out)
{
    while (gw->dirty_relays.first != GATEWAY_NONE) {
        uint32_t relay = gw->dirty_relays.first;
        struct gateway_relay *r = &gw->relays[relay];
        struct turn_transmit transmit;
        if (r->used && turn_client_poll_transmit(&r->turn, &transmit)) {
            *out = (struct gateway_output){.kind = GATEWAY_OUT_TRAIN};
            out->u.train.remote = transmit.remote;
            out->u.train.bytes = transmit.bytes;
            return true;
        }
        gw->dirty_relays.first = r->dirty_next;
        r->dirty = false;
        if (!r->used) {
            continue;
        }
        if (r->closing && turn_client_can_be_freed(&r->turn)) {
            free_relay(gw, relay);
            continue;
        }
        heap_set(&gw->timers, gw->limits.clients + relay, turn_client_poll_timeout(&r->turn).at);
    }
    return false;
}
