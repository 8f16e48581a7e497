/* AssignedIps any number of times, overlapping, answered in any order, for records that change,
 * with lookups that fail, while flows run: against a naive model of what each request may change.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define NAMES    3U
#define PROXIES  4U /* of one name: two of each family */
#define FLOWS    12U
#define REQUESTS 4U /* under way; the rig's gateway takes as many lookups */
#define STEPS    9000U
#define SEEDS    30U

static const char *const NAME[NAMES] = {"a.corp.test", "b.corp.test", "c.corp.test"};

/* Addresses of one family; at most two. */
struct list {
    struct ip_addr ip[2];
    uint32_t count;
};

struct records {
    struct list family[2]; /* IPv4, IPv6 */
};

/* One request whose lookups are open. */
struct request {
    bool used;
    uint32_t name;
    uint32_t block;
    uint64_t order;
    size_t lookup; /* of A; that of AAAA is the next one */
    struct records found;
    bool failed[2];
    struct instant deadline;
};

/* What stands behind one proxy address. */
struct mapping {
    bool used;
    uint32_t name;
    uint64_t order;
    struct ip_addr real; /* IP_NONE: no address */
};

struct flow {
    bool used;
    uint32_t proxy;
    uint16_t port;
    struct ip_addr real;
    uint16_t outside;
};

struct cached {
    bool used;
    uint64_t order;
    struct instant until;
    struct records records;
};

struct world {
    struct rig *rig;
    struct rng rng;
    struct records now[NAMES];
    uint32_t block_of[NAMES]; /* how the client numbers its names */
    struct request requests[REQUESTS];
    struct mapping map[NAMES * PROXIES];
    struct cached cache[NAMES];
    struct flow flows[FLOWS];
    uint64_t order;
    uint16_t port;
    /* How often the interesting things happened. */
    uint32_t overtaken;
    uint32_t resets;
    uint32_t kept;
    uint32_t moved;
    uint32_t cached;
};

/* ---- the world ---- */

static struct ip_addr proxy_ip(uint32_t proxy)
{
    struct ip_addr ip = {IP_V4, {100, 96, 0, (uint8_t)(10 + proxy)}};
    if (proxy % PROXIES >= PROXIES / 2) {
        ip = (struct ip_addr){IP_V6, {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0x80}};
        ip.bytes[15] = (uint8_t)(10 + proxy);
    }
    return ip;
}

static void change_records(struct world *w, uint32_t name)
{
    for (uint32_t f = 0; f < 2; f++) {
        struct list *list = &w->now[name].family[f];
        list->count = rng_below(&w->rng, 3);
        for (uint32_t i = 0; i < list->count; i++) {
            struct ip_addr v4 = {IP_V4, {10, 3, 0, 0}};
            struct ip_addr v6 = {IP_V6, {0xfd, 0x33}};
            list->ip[i] = f == 0 ? v4 : v6;
            uint8_t *last = &list->ip[i].bytes[f == 0 ? 3 : 15];
            *last = (uint8_t)(1 + 20 * i + rng_below(&w->rng, 20)); /* ascending */
        }
    }
}

/* ---- the model ---- */

static void model_reset(struct world *w)
{
    memset(w->map, 0, sizeof(w->map));
    memset(w->flows, 0, sizeof(w->flows));
    w->resets++;
}

/* The answer of the proxy address: the i-th of its family; the other family stands in when its own
 * is empty; a family that could not be asked about changes nothing. */
static void model_map(struct world *w, const struct request *r, uint32_t proxy)
{
    struct mapping *m = &w->map[proxy];
    uint32_t family = proxy % PROXIES < PROXIES / 2 ? 0 : 1;
    uint32_t i = proxy % (PROXIES / 2);
    const struct list *own = &r->found.family[family];
    const struct list *other = &r->found.family[1 - family];
    if (m->used && m->order > r->order) {
        w->overtaken++;
        return;
    }
    struct mapping before = *m;
    m->used = true;
    m->name = r->name;
    m->order = r->order;
    if (own->count == 0 && r->failed[family] && ip_size(&before.real) != 0) {
        w->kept++;
        return;
    }
    const struct list *list = own->count > 0 ? own : other;
    m->real = list->count > 0 ? list->ip[i % list->count] : (struct ip_addr){0};
    w->moved += before.used && !ip_equal(&before.real, &m->real) ? 1 : 0;
}

/* Returns whether the client is told Active. */
static bool model_apply(struct world *w, const struct request *r)
{
    bool other = false;
    for (uint32_t p = r->block * PROXIES; p < (r->block + 1) * PROXIES; p++) {
        bool conflict = w->map[p].used && w->map[p].name != r->name;
        if (conflict && w->map[p].order > r->order) {
            return false;
        }
        other = other || conflict;
    }
    if (other) {
        model_reset(w);
    }
    for (uint32_t p = r->block * PROXIES; p < (r->block + 1) * PROXIES; p++) {
        model_map(w, r, p);
    }
    return true;
}

/* ---- what the gateway says ---- */

/* The one status that must have come since the last call. */
static void check_status(struct world *w, uint32_t name, bool active)
{
    struct rig_list *list = &w->rig->clients[0].packets;
    struct p2p_msg msg;
    struct dns_name wanted;
    assert_int_equal(list->count, 1);
    assert_int_equal(p2p_decode((struct view){list->items[0].at, list->items[0].len}, &msg),
                     DROP_NONE);
    assert_int_equal(msg.event, P2P_DOMAIN_STATUS);
    assert_true(dns_name_parse(view_text(NAME[name]), &wanted));
    assert_true(dns_name_equal(&msg.u.domain_status.domain, &wanted));
    assert_int_equal(msg.u.domain_status.active, active);
    rig_list_clear(list);
}

static void send_packet(struct world *w, uint32_t proxy, uint16_t port)
{
    uint8_t packet[128];
    struct ip_addr to = proxy_ip(proxy);
    const struct rig_client *c = &w->rig->clients[0];
    struct packet_build_ip ip = {.source = to.family == IP_V4 ? c->ipv4 : c->ipv6,
                                 .destination = to};
    struct writer out = writer_of((struct span){packet, sizeof(packet)});
    packet_build_udp(&out, &ip, (struct packet_build_ports){port, 443}, view_text("x"));
    rig_list_clear(&w->rig->tun);
    assert_true(rig_client_send(w->rig, 0, writer_view(&out)));
}

/* Reads where the packet that came out goes to. */
static void read_target(const struct world *w, struct ip_addr *real, uint16_t *port)
{
    assert_int_equal(w->rig->tun.count, 1);
    const struct rig_item *item = &w->rig->tun.items[0];
    struct packet packet = packet_of((struct span){item->at, item->len}, 0, item->len);
    struct packet_info info;
    assert_int_equal(packet_parse(&packet, &info), DROP_NONE);
    *real = info.destination;
    *port = info.source_port;
}

/* A new flow goes where the map points now. */
static void open_flow(struct world *w)
{
    uint32_t proxy = rng_below(&w->rng, NAMES * PROXIES);
    const struct mapping *m = &w->map[proxy];
    struct flow *flow = &w->flows[rng_below(&w->rng, FLOWS)];
    *flow = (struct flow){.used = true, .proxy = proxy, .port = w->port++};
    send_packet(w, proxy, flow->port);
    if (!m->used || ip_size(&m->real) == 0) {
        assert_int_equal(w->rig->tun.count, 0);
        assert_int_equal(w->rig->clients[0].packets.count, 1); /* an ICMP error */
        rig_list_clear(&w->rig->clients[0].packets);
        flow->used = false;
        return;
    }
    read_target(w, &flow->real, &flow->outside);
    assert_true(ip_equal(&flow->real, &m->real));
}

/* Open flows go on where they went. */
static void check_flows(struct world *w)
{
    for (uint32_t i = 0; i < FLOWS; i++) {
        struct ip_addr real;
        uint16_t outside = 0;
        if (w->flows[i].used) {
            send_packet(w, w->flows[i].proxy, w->flows[i].port);
            read_target(w, &real, &outside);
            assert_true(ip_equal(&real, &w->flows[i].real));
            assert_int_equal(outside, w->flows[i].outside);
        }
    }
}

/* ---- requests ---- */

static bool model_cached(const struct world *w, uint32_t name)
{
    return w->cache[name].used && instant_before(w->rig->now.boot, w->cache[name].until);
}

static struct request *free_request(struct world *w)
{
    for (uint32_t i = 0; i < REQUESTS; i++) {
        if (!w->requests[i].used) {
            return &w->requests[i];
        }
    }
    return NULL;
}

static void put_request(struct world *w, uint32_t name, uint32_t block)
{
    struct ip_addr proxies[PROXIES];
    for (uint32_t i = 0; i < PROXIES; i++) {
        proxies[i] = proxy_ip(block * PROXIES + (i + 1) % PROXIES);
    }
    rig_assign(w->rig, 0, RIG_DNS_ID, NAME[name], proxies, PROXIES);
}

static void ask(struct world *w)
{
    uint32_t name = rng_below(&w->rng, NAMES);
    struct request *slot = free_request(w);
    struct request r = {.used = true,
                        .name = name,
                        .block = w->block_of[name],
                        .order = ++w->order,
                        .found = w->now[name],
                        .failed = {rng_below(&w->rng, 5) == 0, rng_below(&w->rng, 5) == 0}};
    r.lookup = w->rig->lookups_count;
    put_request(w, name, r.block);
    r.deadline = instant_add(w->rig->now.boot, DURATION_S(GATEWAY_RESOLVE_TIMEOUT_S));
    if (slot == NULL) {
        check_status(w, name, false); /* busy; said at once */
    } else if (model_cached(w, name)) {
        r.found = w->cache[name].records;
        r.failed[0] = r.failed[1] = false;
        w->cached++;
        assert_int_equal(w->rig->lookups_count, r.lookup);
        check_status(w, name, model_apply(w, &r));
    } else {
        assert_int_equal(w->rig->lookups_count, r.lookup + 2);
        assert_int_equal(w->rig->clients[0].packets.count, 0);
        *slot = r;
    }
}

static void model_remember(struct world *w, const struct request *r, uint32_t ttl_s)
{
    struct cached *entry = &w->cache[r->name];
    bool empty = r->found.family[0].count + r->found.family[1].count == 0;
    bool failed = r->failed[0] || r->failed[1];
    if (ttl_s > 0 && !empty && !failed && (!entry->used || entry->order < r->order)) {
        *entry = (struct cached){true, r->order, instant_add(w->rig->now.boot, DURATION_S(ttl_s)),
                                 r->found};
    }
}

/* Answers one request of those under way; any of them. */
static void answer_one(struct world *w)
{
    struct request *r = &w->requests[rng_below(&w->rng, REQUESTS)];
    uint32_t ttl_s = rng_below(&w->rng, 2) == 0 ? 0 : 2;
    uint32_t first = rng_below(&w->rng, 2);
    if (!r->used) {
        return;
    }
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t f = k == 0 ? first : 1 - first;
        enum err result = r->failed[f] ? ERR_IO : ERR_NONE;
        struct list *list = &r->found.family[f];
        list->count = r->failed[f] ? 0 : list->count;
        w->rig->stops_time = true;
        rig_answer(w->rig, (r->lookup + f) % RIG_LOOKUPS_MAX, result, list->ip, list->count, ttl_s);
        w->rig->stops_time = false;
    }
    model_remember(w, r, ttl_s);
    rig_pass(w->rig, DURATION_MS(5)); /* the status is under way */
    check_status(w, r->name, model_apply(w, r));
    r->used = false;
}

/* Lets every request that is under way run into its time limit. */
static void wait_out(struct world *w)
{
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        waiting += w->requests[i].used ? 1 : 0;
        w->requests[i].used = false;
    }
    rig_pass(w->rig, DURATION_MS(10500));
    assert_int_equal(w->rig->clients[0].packets.count, waiting);
    for (uint32_t i = 0; i < waiting; i++) {
        const struct rig_item *item = &w->rig->clients[0].packets.items[i];
        struct p2p_msg msg;
        assert_int_equal(p2p_decode((struct view){item->at, item->len}, &msg), DROP_NONE);
        assert_false(msg.u.domain_status.active);
    }
    rig_list_clear(&w->rig->clients[0].packets);
}

/* ---- the walk ---- */

static void step(struct world *w)
{
    uint32_t dice = rng_below(&w->rng, 100);
    if (dice < 40) {
        ask(w);
    } else if (dice < 75) {
        answer_one(w);
    } else if (dice < 85) {
        change_records(w, rng_below(&w->rng, NAMES));
    } else if (dice < 93) {
        open_flow(w);
    } else if (dice == 98) {
        wait_out(w);
    } else { /* the client starts again and numbers its names anew */
        uint32_t a = rng_below(&w->rng, NAMES);
        uint32_t b = rng_below(&w->rng, NAMES);
        uint32_t swap = w->block_of[a];
        w->block_of[a] = w->block_of[b];
        w->block_of[b] = swap;
    }
    check_flows(w);
}

static void requests_change_what_they_should_and_cut_nothing(void **state)
{
    (void)state;
    struct world total = {0};
    for (uint8_t seed = 1; seed <= SEEDS; seed++) {
        struct world w = {.rig = rig_new(), .port = 1000};
        const uint8_t bytes[RNG_SEED_SIZE] = {seed};
        rng_init(&w.rng, bytes);
        rig_join(w.rig);
        w.rig->clients[0].is_direct = true;
        rig_connect(w.rig, 0, RIG_DNS);
        rig_forget(w.rig);
        for (uint32_t n = 0; n < NAMES; n++) {
            w.block_of[n] = n;
            change_records(&w, n);
        }
        for (uint32_t i = 0; i < STEPS / SEEDS; i++) {
            step(&w);
        }
        total.overtaken += w.overtaken;
        total.resets += w.resets;
        total.kept += w.kept;
        total.moved += w.moved;
        total.cached += w.cached;
        rig_free(w.rig);
    }
    assert_true(total.overtaken > 20);
    assert_true(total.resets > 5);
    assert_true(total.kept > 20);
    assert_true(total.moved > 100);
    assert_true(total.cached > 20);
}

static void answer_with(struct rig *rig, size_t lookup, const struct ip_addr *ip)
{
    rig_answer(rig, lookup, ERR_NONE, ip, 1, 0);
    rig_answer(rig, lookup + 1, ERR_NONE, NULL, 0, 0);
}

/* After a restart the same proxy addresses stand for other names. */
static void what_a_client_asked_before_its_restart_is_forgotten(void **state)
{
    (void)state;
    static const struct ip_addr old = {IP_V4, {10, 3, 0, 1}};
    static const struct ip_addr fresh = {IP_V4, {10, 3, 0, 2}};
    const struct x25519_private key = {{0, 77}};
    struct world w = {.rig = rig_new(), .port = 1000};
    struct ip_addr real;
    uint16_t port = 0;
    rig_join(w.rig);
    w.rig->clients[0].is_direct = true;
    rig_connect(w.rig, 0, RIG_DNS);
    put_request(&w, 0, 0);
    wg_node_init(&w.rig->clients[0].node, &key, &w.rig->now, 1000);
    rig_connect(w.rig, 0, RIG_DNS);
    rig_forget(w.rig);
    put_request(&w, 1, 0);
    assert_int_equal(w.rig->lookups_count, 4);
    answer_with(w.rig, 2, &fresh);
    check_status(&w, 1, true);
    send_packet(&w, 0, 1000);
    answer_with(w.rig, 0, &old); /* late, and for a name of the former life */
    assert_int_equal(w.rig->clients[0].packets.count, 0);
    assert_int_equal(rig_drops(w.rig, DROP_DNS_LATE), 1);
    for (uint16_t i = 1000; i < 1002; i++) { /* the open flow and a new one */
        send_packet(&w, 0, i);
        read_target(&w, &real, &port);
        assert_true(ip_equal(&real, &fresh));
    }
    rig_free(w.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_change_what_they_should_and_cut_nothing),
        cmocka_unit_test(what_a_client_asked_before_its_restart_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
