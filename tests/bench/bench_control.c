/* What happens seldom or to everybody: connection set-up, authorizations, revocations, idle peers,
 * memory, hostile input. Each part says its total and the longest single call into the core. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench_growth.h"

#define PEERS          10000U
#define RESOURCES      4U
#define SESSIONS       1048576U
#define IDLE_S         300U /* of simulated time */
#define AUTHORIZATIONS 65536U
#define BUSY_SESSIONS  64000U
#define NAMED_FIRST    100U
#define NAMED          1250U /* clients with a name of eight proxy addresses: 10 000 */

struct control {
    const struct bench_report *report; /* NULL: nothing is told */
    struct world *w;
};

/* Total and longest call since the last reset, under one name. */
static void tell(const struct control *k, const char *id, const char *what, uint64_t operations,
                 const char *unit)
{
    const struct world_cost *cost = &k->w->cost;
    struct bench_result result = {.id = id, .unit = unit, .count = 1};
    if (k->report == NULL) {
        world_cost_reset(k->w);
        return;
    }
    (void)snprintf(result.params, sizeof(result.params), "%s", what);
    result.median = cost->total * 10U / operations;
    bench_result(k->report, &result);
    (void)snprintf(result.params, sizeof(result.params), "%s: longest call", what);
    result.unit = "ns";
    result.median = cost->longest * 10U;
    bench_result(k->report, &result);
    printf("%-14s   (%s, one of %llu calls)\n", "", world_call_name(cost->longest_call),
           (unsigned long long)cost->calls);
    world_cost_reset(k->w);
}

static void tell_bytes(const struct control *k, const char *what, size_t bytes, uint64_t of)
{
    struct bench_result result = {.id = "C-07", .unit = "bytes", .count = 1};
    if (k->report == NULL) {
        return;
    }
    (void)snprintf(result.params, sizeof(result.params), "%s", what);
    result.median = (uint64_t)bytes * 10U / of;
    bench_result(k->report, &result);
}

static size_t grown(size_t before)
{
    size_t now = world_resident();
    return now > before ? now - before : 0;
}

/* ---- C-03, T-15: set-up ---- */

static void connect_many(struct control *k, uint32_t from, uint32_t to)
{
    char resource[WORLD_RESOURCE_MAX];
    char what[64];
    struct world *w = k->w;
    uint32_t count = to - from;
    uint64_t total = 0;
    uint64_t longest = 0;
    enum world_call call = WORLD_POLL;
    world_resource_cidr(resource, 1);
    world_cost_reset(w);
    for (uint32_t i = from; i < to; i++) {
        world_authorize(w, i, resource);
    }
    if (count == PEERS - 101) {
        struct world_cost all = w->cost;
        tell(k, "C-04", "authorize 9 899 new clients", count, "authorization");
        total = all.total;
        longest = all.longest;
        call = all.longest_call;
    }
    for (uint32_t i = from; i < to; i++) {
        world_signal(w, i);
        world_check(w, i);
    }
    for (uint32_t i = from; i < to; i++) {
        world_handshake(w, i);
        ASSERT(w->clients[i].has_session);
        world_pass(w, 1); /* the limiter of handshakes */
    }
    w->cost.total += total;
    if (longest > w->cost.longest) {
        w->cost.longest = longest;
        w->cost.longest_call = call;
    }
    (void)snprintf(what, sizeof(what), "%u clients at once", count);
    tell(k, "C-03", what, count, "connection");
    world_timeouts(w);
    tell(k, "C-03", "timers after it", count, "connection");
}

static void set_up(struct control *k)
{
    connect_many(k, 0, 1);
    connect_many(k, 1, 101);
    connect_many(k, 101, PEERS);
}

/* ---- C-06: an idle hour, measured for IDLE_S ---- */

static void idle(struct control *k)
{
    struct world *w = k->w;
    world_pass(w, 30000); /* everybody becomes idle */
    world_timeouts(w);
    world_cost_reset(w);
    for (uint32_t second = 0; second < IDLE_S; second++) {
        world_pass(w, 1000);
        world_timeouts(w);
        for (uint32_t i = second % 25; i < PEERS; i += 25) { /* a check of the client each 25 s */
            world_check(w, i);
        }
        for (uint32_t i = 0; i < PEERS; i++) {
            struct world_client *c = &w->clients[i];
            if (instant_reached(w->rig->now.boot, wg_peer_poll_timeout(&c->wg).at)) {
                wg_peer_handle_timeout(&c->wg, w->rig->now.boot, &w->rig->rng);
                world_handshake(w, i);
            }
        }
    }
    struct bench_result result = {.id = "C-06", .unit = "CPU ms/h", .count = 1};
    (void)snprintf(result.params, sizeof(result.params), "%u idle peers, %u s of it", PEERS,
                   IDLE_S);
    result.median = w->cost.total / (NS_PER_MS / 10U) * 3600U / IDLE_S;
    if (k->report != NULL) {
        bench_result(k->report, &result);
    }
    tell(k, "C-06", "idle peers, per simulated second", IDLE_S, "s");
}

/* ---- flows of DNS resources ---- */

static void open_flows(struct control *k)
{
    static const uint32_t counts[] = {1000, 10000, 100000, 1000000};
    struct world *w = k->w;
    uint32_t opened = 0;
    char what[64];
    for (uint32_t i = 0; i < WORLD_FLOW_CLIENTS; i++) {
        world_assign_names(w, i);
    }
    size_t before = world_resident();
    for (size_t step = 0; step < ARRAY_COUNT(counts); step++) {
        world_open_flows(w, opened, counts[step]);
        opened = counts[step];
        world_settle(w);
        (void)snprintf(what, sizeof(what), "per flow, %u flows", counts[step]);
        tell_bytes(k, what, grown(before), counts[step]);
    }
}

static void flows(struct control *k)
{
    struct world *w = k->w;
    size_t before = world_resident();
    open_flows(k);
    world_cost_reset(w);
    for (uint32_t step = 0; step < 21000; step++) { /* sweeps come every few ms */
        world_pass(w, 10);
        world_timeouts(w);
    }
    ASSERT(policy_stats(w->gw->policy).nat_sessions == 0);
    tell(k, "C-07", "1 000 000 flows expire, idle peers beside", 1000000, "flow");
    tell_bytes(k, "per flow, after all expired", grown(before), 1000000);
}

/* ---- C-05 ---- */

/* Answers what was asked for; `last` is the last byte of the first address. */
static void answer_lookups(struct world *w, uint8_t last)
{
    for (uint32_t n = 0; n < w->lookups_count; n++) {
        struct gateway_lookup_answer answer = {.lookup = w->lookup_ids[n], .ttl_s = 60};
        for (uint8_t a = 0; w->lookup_is_v4[n] && a < WORLD_PROXIES; a++) {
            answer.addresses[answer.addresses_count++] = ip_v4(10, 9, 1, (uint8_t)(last + a));
        }
        world_lookup(w, &answer);
    }
    w->lookups_count = 0;
}

/* One name a client, eight proxy addresses each: asked for in the tunnel, resolved, mapped,
 * answered. */
static void assign_all(struct control *k, uint8_t last, const char *what)
{
    struct world *w = k->w;
    struct p2p_assigned_ips msg = {.resource = world_resource_id(2)};
    for (uint32_t n = 0; n < WORLD_PROXIES; n++) {
        msg.proxy_ips[n] = world_proxy(n);
    }
    msg.proxy_ips_count = WORLD_PROXIES;
    for (uint32_t i = NAMED_FIRST; i < NAMED_FIRST + NAMED; i++) {
        char text[32];
        uint8_t packet[P2P_PACKET_SIZE_MAX];
        (void)snprintf(text, sizeof(text), "n%u.corp.test", i);
        bool is_name = dns_name_parse(view_text(text), &msg.domain);
        ASSERT(is_name);
        size_t len = p2p_encode_assigned_ips((struct span){packet, sizeof(packet)}, &msg);
        ASSERT(len > 0);
        world_send(w, i, (struct view){packet, len});
        world_drain(w);
        answer_lookups(w, last);
    }
    tell(k, "C-05", what, (uint64_t)NAMED * WORLD_PROXIES, "proxy address");
}

static void dns_nat(struct control *k)
{
    struct world *w = k->w;
    uint32_t before = policy_stats(w->gw->policy).proxies;
    for (uint32_t i = NAMED_FIRST; i < NAMED_FIRST + NAMED; i++) {
        world_authorize_name(w, i);
    }
    world_cost_reset(w);
    assign_all(k, 1, "names resolved and mapped, per proxy address");
    ASSERT(policy_stats(w->gw->policy).proxies == before + NAMED * WORLD_PROXIES);
    world_pass(w, 61000); /* the cached answers are too old */
    world_timeouts(w);
    world_cost_reset(w);
    assign_all(k, 20, "the same names with other answers, per proxy address");
}

/* ---- C-08 ---- */

struct hostile {
    struct world *w;
    struct gateway_datagram in[WORLD_BATCH];
    uint8_t kind;
};

static void prepare_hostile(void *self)
{
    struct hostile *h = self;
    struct world *w = h->w;
    for (uint32_t i = 0; i < WORLD_BATCH; i++) {
        uint8_t *at = w->in + i * WORLD_SLOT + GATEWAY_TUN_HEADROOM;
        size_t len = h->kind == 2 ? WG_INITIATION_SIZE : 512;
        for (size_t n = 0; n < len; n++) {
            at[n] = (uint8_t)world_draw(w, 256);
        }
        if (h->kind == 1) { /* a valid index and counter, a bad tag */
            struct world_client *c = &w->clients[world_draw(w, PEERS)];
            struct wg_seal seal;
            struct aead_item item;
            enum drop_reason reason = wg_peer_seal_begin(&c->wg, 1, w->rig->now.boot, &seal);
            ASSERT(reason == DROP_NONE);
            wg_seal_next(&seal, at, len - WG_DATA_OVERHEAD, &item);
        } else if (h->kind == 2) {
            store_le32(at, WG_TYPE_INITIATION);
        }
        h->in[i] = (struct gateway_datagram){
            .bytes = {at, len},
            .local = sock_addr_of(ip_v4(10, 2, 0, 2), 52625),
            .remote = sock_addr_of(ip_v4(198, 51, 100, (uint8_t)i), (uint16_t)(1 + i))};
    }
}

static void run_hostile(void *self)
{
    struct hostile *h = self;
    struct gateway_output out;
    gateway_handle_udp(h->w->gw, h->w->rig->now, h->in, WORLD_BATCH);
    while (gateway_poll(h->w->gw, &out)) {
    }
}

static void hostile(struct world *w, const struct bench_report *report)
{
    static const char *const names[3] = {"random bytes, 512 B", "valid index, bad tag, 512 B",
                                         "initiations with a bad mac1"};
    struct hostile inputs[3];
    struct bench_case cases[3];
    for (uint8_t i = 0; i < 3; i++) {
        inputs[i] = (struct hostile){.w = w, .kind = i};
        cases[i] = (struct bench_case){.id = "C-08",
                                       .unit = "packet",
                                       .prepare = prepare_hostile,
                                       .run = run_hostile,
                                       .self = &inputs[i],
                                       .operations = WORLD_BATCH};
        (void)snprintf(cases[i].params, sizeof(cases[i].params), "%s", names[i]);
    }
    bench_group(report, cases, 3);
}

/* ---- C-04 and the rest of T-13: what touches everybody ---- */

static void put_id(char out[UUID_TEXT_SIZE + 1], const struct uuid *id)
{
    struct writer w = writer_of((struct span){(uint8_t *)out, UUID_TEXT_SIZE + 1});
    uuid_put(&w, id);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
}

static void settle(struct control *k)
{
    world_drain(k->w);
    world_timeouts(k->w);
}

static void update_all(struct control *k)
{
    char id[UUID_TEXT_SIZE + 1];
    char payload[512];
    struct uuid uuid = world_resource_id(1);
    put_id(id, &uuid);
    (void)snprintf(payload, sizeof(payload),
                   "{\"id\":\"%s\",\"type\":\"cidr\",\"address\":\"10.3.0.0/16\",\"name\":\"n\","
                   "\"filters\":[{\"protocol\":\"tcp\"}]}",
                   id);
    world_cost_reset(k->w);
    world_push(k->w, "resource_updated", payload);
    settle(k);
    tell(k, "C-04", "resource update touching 10 000", PEERS, "client");
}

static void authorize_again(struct control *k, uint32_t number)
{
    char resource[WORLD_RESOURCE_MAX];
    world_resource_cidr(resource, number);
    world_cost_reset(k->w);
    for (uint32_t i = 0; i < PEERS; i++) {
        world_authorize(k->w, i, resource);
    }
    settle(k);
    tell(k, "C-04", "authorize 10 000 connected clients", PEERS, "authorization");
}

static void revoke_each(struct control *k)
{
    char id[UUID_TEXT_SIZE + 1];
    char client[UUID_TEXT_SIZE + 1];
    char payload[256];
    struct uuid uuid = world_resource_id(3);
    put_id(id, &uuid);
    world_cost_reset(k->w);
    for (uint32_t i = 0; i < PEERS; i++) {
        put_id(client, &k->w->clients[i].id);
        (void)snprintf(payload, sizeof(payload), "{\"client_id\":\"%s\",\"resource_id\":\"%s\"}",
                       client, id);
        world_push(k->w, "reject_access", payload);
    }
    settle(k);
    tell(k, "C-04", "revoke 10 000, one by one", PEERS, "revocation");
}

static void lose_relay(struct control *k)
{
    world_cost_reset(k->w);
    world_push(
        k->w, "relays_presence",
        "{\"disconnected_ids\":[\"aaaaaaaa-0000-4000-8000-000000000000\"],\"connected\":[]}");
    settle(k);
    tell(k, "C-04", "the only relay goes, 10 000 connections", PEERS, "connection");
}

/* init lists what is held and as many more as it may. */
static void init_again(struct control *k)
{
    char resource[UUID_TEXT_SIZE + 1];
    char client[UUID_TEXT_SIZE + 1];
    size_t room = (size_t)AUTHORIZATIONS * 160U + 8192U;
    char *payload = malloc(room);
    ASSERT(payload != NULL);
    rig_put_init(k->w->rig, payload, room);
    size_t used = strlen(payload) - 1;
    used += (size_t)snprintf(payload + used, room - used, ",\"authorizations\":[");
    for (uint32_t i = 0; i < AUTHORIZATIONS; i++) {
        struct uuid id = world_resource_id(1 + i / PEERS);
        put_id(resource, &id);
        put_id(client, &k->w->clients[i % PEERS].id);
        used += (size_t)snprintf(payload + used, room - used,
                                 "%s{\"client_id\":\"%s\",\"resource_id\":\"%s\","
                                 "\"expires_at\":1999999999}",
                                 i == 0 ? "" : ",", client, resource);
    }
    (void)snprintf(payload + used, room - used, "]}");
    world_cost_reset(k->w);
    world_push(k->w, "init", payload);
    settle(k);
    tell(k, "C-04", "init with 65 536 authorizations", AUTHORIZATIONS, "authorization");
    free(payload);
}

static void expire_all(struct control *k)
{
    world_cost_reset(k->w);
    k->w->rig->now.unix_ns = UINT64_C(2000000000) * NS_PER_S;
    world_pass(k->w, 61000);
    world_timeouts(k->w);
    tell(k, "C-04", "10 000 authorizations expire at once", PEERS, "authorization");
}

/* One client opens as many flows as it may, then loses everything. */
static void revoke_busy(struct control *k)
{
    char payload[256];
    char id[UUID_TEXT_SIZE + 1];
    char client[UUID_TEXT_SIZE + 1];
    struct world *w = k->w;
    struct uuid uuid = world_resource_id(2);
    world_assign_names(w, 7);
    for (uint32_t n = 0; n < BUSY_SESSIONS; n++) {
        world_open_flow(w, 7, n);
    }
    put_id(client, &w->clients[7].id);
    for (uint32_t number = 1; number <= 2; number++) {
        uuid = world_resource_id(number);
        put_id(id, &uuid);
        (void)snprintf(payload, sizeof(payload), "{\"client_id\":\"%s\",\"resource_id\":\"%s\"}",
                       client, id);
        world_push(w, "reject_access", payload);
    }
    world_cost_reset(w);
    uint32_t handle = policy_client_find(w->gw->policy, &w->clients[7].id);
    struct gateway_connection *c = gateway_connection_of(w->gw, handle);
    ASSERT(c != NULL);
    c->disconnected_at = w->rig->now.boot; /* the client goes away for good */
    gateway_connection_touch(w->gw, c);
    world_drain(w);
    world_pass(w, 5000);
    world_timeouts(w);
    ASSERT(policy_stats(w->gw->policy).nat_sessions == 0);
    tell(k, "C-04", "a client with 64 000 sessions goes", BUSY_SESSIONS, "session");
}

static void remove_from_all(struct control *k)
{
    char id[UUID_TEXT_SIZE + 1];
    char payload[128];
    struct uuid uuid = world_resource_id(1);
    put_id(id, &uuid);
    /* An update that cannot be read: what the resource permits now is not known. */
    (void)snprintf(payload, sizeof(payload), "{\"id\":\"%s\",\"type\":\"cidr\"}", id);
    world_cost_reset(k->w);
    world_push(k->w, "resource_updated", payload);
    settle(k);
    tell(k, "C-04", "resource of 10 000 removed, their last", PEERS, "client");
}

static void shut_down(struct control *k)
{
    struct world *w = k->w;
    world_cost_reset(w);
    gateway_handle_shutdown(w->gw, w->rig->now, GATEWAY_END_ASKED);
    world_drain(w);
    world_pass(w, 10);
    world_timeouts(w);
    tell(k, "C-04", "shutdown with 10 000 connections", PEERS, "connection");
}

/* Calls that depend on nothing but what came before: two runs make the same ones. */
static void run_steps(const struct bench_report *report)
{
    struct control k = {.report = report, .w = world_new(PEERS, RESOURCES, SESSIONS)};
    size_t before = world_resident();
    set_up(&k);
    world_settle(k.w);
    tell_bytes(&k, "per peer, 10 000 connected", grown(before), PEERS);
    dns_nat(&k);
    flows(&k);
    size_t before_idle = world_resident();
    idle(&k);
    tell_bytes(&k, "per peer, more after five idle minutes", grown(before_idle), PEERS);
    update_all(&k);
    authorize_again(&k, 3);
    revoke_each(&k);
    revoke_busy(&k);
    init_again(&k);
    expire_all(&k);
    authorize_again(&k, 1);
    remove_from_all(&k);
    authorize_again(&k, 1);
    lose_relay(&k);
    shut_down(&k);
    world_free(k.w);
}

static void rehearse_steps(void)
{
    run_steps(NULL);
}

/* As many rounds as the time allows, in a world of the same size. */
static void run_rounds(const struct bench_report *report)
{
    struct control k = {.w = world_new(PEERS, RESOURCES, SESSIONS)};
    set_up(&k);
    world_settle(k.w);
    hostile(k.w, report);
    dns_nat(&k);
    open_flows(&k);
    bench_growth(report, k.w);
    world_free(k.w);
}

void bench_control(const struct bench_report *report)
{
    if (!bench_wants_any(report, "C-01 C-03 C-04 C-05 C-06 C-07 C-08")) {
        return;
    }
    world_rehearse(rehearse_steps);
    run_steps(report);
    world_forget_rehearsal();
    run_rounds(report);
}
