/* What the portal's messages do, beyond test_gateway_portal: details of one rule each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/gateway_internal.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"
#include "json/json.h"

#define RELAY0 "aaaaaaaa-0000-4000-8000-000000000000"

static const struct ip_addr server = {IP_V4, {10, 3, 0, 2}};

static const struct gateway_counters *counters(const struct rig *rig)
{
    return gateway_counters(rig->gw);
}

/* ---- relays ---- */

/* Two entries of one id with a stale password in front, and a `stun` entry that is no relay. */
static void adjacent_entries_with_one_id_are_one_relay_and_the_last_credentials_count(void **state)
{
    (void)state;
    char payload[2048];
    struct rig *rig = rig_new();
    rig->portal.relays = 0;
    rig_settle(rig);
    (void)snprintf(payload, sizeof(payload),
                   "{\"disconnected_ids\":[],\"connected\":["
                   "{\"id\":\"" RELAY0 "\",\"type\":\"turn\",\"addr\":\"203.0.113.10:3478\","
                   "\"username\":\"stale\",\"password\":\"stale\",\"expires_at\":2145916800},"
                   "{\"id\":\"" RELAY0 "\",\"type\":\"turn\",\"addr\":\"[2001:db8:113::10]:3478\","
                   "\"username\":\"%s\",\"password\":\"%s\",\"expires_at\":2145916800},"
                   "{\"id\":\"bbbbbbbb-0000-4000-8000-000000000000\",\"type\":\"stun\","
                   "\"addr\":\"203.0.113.11:3478\"}]}",
                   rig->relays[0].username, rig->relays[0].password);
    rig_push(rig, "relays_presence", payload);
    rig_pass(rig, DURATION_S(1));
    assert_int_equal(counters(rig)->relays, 1);
    assert_int_equal(rig->relays[0].allocates, 1);
    assert_int_equal(rig->relays[1].allocates, 0);
    struct gateway_relay *relay = &rig->gw->relays[0];
    assert_true(relay->used);
    /* Both families of the one relay are asked: the silent one ends as a stray. */
    bool asked_v6 = false;
    for (size_t i = 0; i < rig->strays.count; i++) {
        asked_v6 = asked_v6 || rig->strays.items[i].remote.ip.family == IP_V6;
    }
    assert_true(asked_v6);
    rig_free(rig);
}

/* As many relays as the limit, each with both families, named again and again. */
static void a_full_table_of_relays_may_be_listed_for_ever(void **state)
{
    (void)state;
    char entries[4096];
    char payload[4200];
    size_t used = 0;
    struct rig *rig = rig_new();
    rig_join(rig);
    for (unsigned n = 0; n < 2 * rig->limits.relays; n++) {
        used += (size_t)snprintf(
            entries + used, sizeof(entries) - used,
            "%s{\"id\":\"aaaaaaaa-0000-4000-8000-00000000000%u\",\"type\":\"turn\","
            "\"addr\":\"%s%u%s:3478\",\"username\":\"name\",\"password\":\"word\",\"expires_at\":"
            "2145916800}",
            n == 0 ? "" : ",", n / 2, n % 2 == 0 ? "203.0.113." : "[2001:db8:113::", 10 + n / 2,
            n % 2 == 0 ? "" : "]");
    }
    (void)snprintf(payload, sizeof(payload), "{\"disconnected_ids\":[],\"connected\":[%s]}",
                   entries);
    for (unsigned i = 0; i < 20; i++) {
        rig_push(rig, "relays_presence", payload);
        rig_pass(rig, DURATION_MS(1)); /* a slice takes not all of them */
    }
    assert_int_equal(counters(rig)->relays, rig->limits.relays);
    assert_int_equal(rig->gw->relay_by_server.count, 2 * rig->limits.relays);
    rig_free(rig);
}

static void relays_that_init_does_not_mention_stay_and_are_refreshed(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    unsigned refreshes = rig->relays[0].refreshes;
    rig->portal.relays = 2;
    rig_push_init(rig);
    assert_int_equal(counters(rig)->relays, 2);
    assert_int_equal(rig->relays[0].refreshes, refreshes + 1);
    assert_int_equal(rig->relays[0].deletes, 0);
    assert_int_equal(rig->relays[1].allocates, 1);
    assert_true(rig_reaches_tun(rig, 0, server, 80));
    rig_free(rig);
}

/* It gets a new life when it is named again, and is of no use until the next one. */
static void a_relay_that_refuses_our_password_stays_out_of_use(void **state)
{
    (void)state;
    static const char payload[] =
        "{\"disconnected_ids\":[],\"connected\":[{\"id\":\"aaaaaaaa-0000-4000-8000-000000000001\","
        "\"type\":\"turn\",\"addr\":\"203.0.113.11:3478\",\"username\":\"name\","
        "\"password\":\"wrong\",\"expires_at\":2145916800}]}";
    struct rig *rig = rig_new();
    rig_join(rig);
    const struct gateway_relay *refusing = &rig->gw->relays[1];
    for (unsigned i = 0; i < 4; i++) {
        rig_push(rig, "relays_presence", payload);
        rig_pass(rig, DURATION_MS(100));
        assert_true(refusing->used);
        assert_true(refusing->failed);
    }
    rig_free(rig);
}

/* A relay that forgets its allocation again and again costs a bounded number of datagrams. */
static void a_relay_that_is_redeployed_again_and_again_makes_no_busy_loop(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    for (unsigned minute = 0; minute < 60; minute++) {
        rig->relays[0].forgets = true;
        rig_pass(rig, DURATION_S(60));
    }
    assert_true(rig->relays[0].allocates >= 2);
    assert_true(rig->relays[0].is_allocated);
    /* BINDING every 25 s is 144; each new allocation costs at most ten datagrams more. */
    assert_true(counters(rig)->udp_out_datagrams < 144 + 60 * 10);
    rig_free(rig);
}

static void an_unreachable_relay_is_probed_once_in_ten_seconds(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    const struct sock_addr stranger = sock_addr_of(ip_v4(203, 0, 113, 99), 3478);
    unsigned refreshes = rig->relays[0].refreshes;
    gateway_handle_unreachable(rig->gw, rig->now, &stranger);
    rig_settle(rig);
    assert_int_equal(rig->relays[0].refreshes, refreshes);
    for (unsigned i = 0; i < 90; i++) {
        gateway_handle_unreachable(rig->gw, rig->now, &rig->relays[0].server);
        rig_settle(rig);
        rig_pass(rig, DURATION_MS(100));
    }
    assert_int_equal(rig->relays[0].refreshes, refreshes + 1);
    /* And a relay that is really gone is left within seconds, not minutes. */
    rig->relays[0].is_silent = true;
    rig_pass(rig, DURATION_S(2));
    gateway_handle_unreachable(rig->gw, rig->now, &rig->relays[0].server);
    rig_settle(rig);
    rig_pass(rig, DURATION_S(3));
    assert_true(rig->events_seen[EV_RELAY_LOST] + rig->events_seen[EV_RELAY_FAILED] >= 1);
    rig_free(rig);
}

/* ---- init ---- */

/* Everything that a join and a connected client lead to, as one text of counts. */
static void join_with_config(const char *config, uint64_t out[6])
{
    char payload[2048];
    struct rig *rig = rig_new();
    rig->portal.skips_init = true;
    rig_settle(rig);
    (void)snprintf(payload, sizeof(payload),
                   "{\"interface\":{\"ipv4\":\"100.70.1.2\",\"ipv6\":\"fd00:2021:1111::7:102\"},"
                   "\"config\":%s,\"relays\":[{\"id\":\"" RELAY0
                   "\",\"type\":\"turn\",\"addr\":\"203.0.113.10:3478\",\"username\":\"%s\","
                   "\"password\":\"%s\",\"expires_at\":2145916800}]}",
                   config, rig->relays[0].username, rig->relays[0].password);
    rig_push(rig, "init", payload);
    rig_pass(rig, DURATION_S(1));
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server, 80));
    assert_true(rig_reaches_client(rig, 0, server, 80));
    out[0] = rig->tun_configs;
    out[1] = rig->listens;
    out[2] = rig->relays[0].allocates;
    out[3] = counters(rig)->udp_out_bytes;
    out[4] = counters(rig)->tun_out_bytes;
    out[5] = rig->portal.texts.count;
    rig_free(rig);
}

static void the_config_of_init_has_no_effect(void **state)
{
    (void)state;
    uint64_t on[6];
    uint64_t off[6];
    join_with_config("{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true}", on);
    join_with_config("{\"ipv4_masquerade_enabled\":false,\"ipv6_masquerade_enabled\":false}", off);
    assert_memory_equal(on, off, sizeof(on));
    assert_int_equal(on[0], 1);
}

/* ---- candidates ---- */

static void candidates_of_one_list_are_taken_in_order_and_unreadable_ones_skipped(void **state)
{
    (void)state;
    char payload[1024];
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    (void)snprintf(payload, sizeof(payload),
                   "{\"client_id\":\"%s\",\"candidates\":["
                   "\"candidate:1 1 udp 2113937151 10.1.0.2 52625 typ host\",\"\",\"nonsense\","
                   "\"candidate:1 1 udp 1 10.1.0.2 99999 typ host\","
                   "\"candidate:2 1 udp 1677721855 203.0.113.50 52625 typ srflx raddr 0.0.0.0 "
                   "rport 0\"]}",
                   rig->clients[0].id_text);
    rig_push(rig, "ice_candidates", payload);
    assert_int_equal(rig->events_seen[EV_CANDIDATE_REMOTE], 2);
    assert_int_equal(rig_drops(rig, DROP_ICE_CANDIDATE), 3);
    /* Both are checked. */
    const struct gateway_connection *c = &rig->gw->connections[0];
    assert_true(c->used && c->signalled);
    struct sock_addr host = sock_addr_of(ip_v4(10, 1, 0, 2), 52625);
    assert_true(ice_agent_remote_is_private(&c->ice, &host));
    rig_free(rig);
}

/* ---- messages to the portal ---- */

static void error_replies_are_counted_and_change_nothing(void **state)
{
    (void)state;
    static const char *const reasons[] = {"invalid_ref", "unknown_message", "something new"};
    char text[256];
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++) {
        (void)snprintf(text, sizeof(text),
                       "{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"ref\":1,\"payload\":"
                       "{\"status\":\"error\",\"response\":{\"reason\":\"%s\"}}}",
                       reasons[i]);
        rig_push_raw(rig, text);
        assert_int_equal(rig_drops(rig, DROP_PORTAL_REPLY), i + 1);
    }
    assert_int_equal(rig->portal.joins, 1);
    assert_int_equal(rig->events_seen[EV_PORTAL_LOST], 0);
    assert_true(rig_reaches_tun(rig, 0, server, 80));
    rig_free(rig);
}

/* A whole life with a portal of either generation: no event but those that it knows. */
static void nothing_is_sent_that_a_portal_does_not_know(void **state)
{
    (void)state;
    static const char *const known[] = {"flow_authorized", "broadcast_ice_candidates",
                                        "broadcast_invalidated_ice_candidates", "no_relays"};
    for (int head = 0; head < 2; head++) {
        size_t said = 0;
        struct rig *rig = rig_new();
        rig->portal.is_head = head == 1;
        rig_join(rig);
        rig_connect(rig, 0, RIG_CIDR4);
        rig_push_presence(rig, 0, 1);
        rig_pass(rig, DURATION_S(2));
        rig_portal_drop(rig);
        rig_pass(rig, DURATION_S(30));
        rig_push_reject(rig, 0, RIG_CIDR4_ID);
        for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
            said += rig_said(rig, known[i], NULL);
        }
        assert_int_equal(said, rig->portal.texts.count);
        assert_int_equal(said, rig->events_seen[EV_PORTAL_SENT]); /* and each is in the log */
        assert_int_equal(rig_said(rig, "set_snownet_capabilities", NULL), 0);
        assert_true(said >= 3);
        assert_true(head == 1 || rig_said(rig, "no_relays", NULL) == 0);
        rig_free(rig);
    }
}

/* ---- keys ---- */

static void public_key_of(uint8_t first, uint8_t out[32])
{
    struct gateway_limits limits = rig_limits();
    struct gateway *gw = NULL;
    uint8_t seed[32] = {first};
    const struct clock_pair now = {{NS_PER_S}, RIG_UNIX_S * NS_PER_S};
    const struct gateway_config config = {.api_url = view_text("ws://portal.test"),
                                          .token = view_text("t"),
                                          .firezone_id = view_text("id"),
                                          .name = view_text("n"),
                                          .user_agent = view_text("a connlib/1.5.2"),
                                          .partition_max_s = 1};
    size_t size = gateway_size(&limits);
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0, size);
    assert_int_equal(
        gateway_init(memory, &limits, &config, now, seed, (struct trace){NULL, NULL}, &gw),
        ERR_NONE);
    memcpy(out, gateway_public_key(gw), 32);
    gateway_deinit(gw);
    free(memory);
}

static void every_seed_gives_a_key_pair_of_its_own(void **state)
{
    (void)state;
    uint8_t a[32];
    uint8_t b[32];
    uint8_t c[32];
    public_key_of(1, a);
    public_key_of(1, b);
    public_key_of(2, c);
    assert_memory_equal(a, b, 32);
    assert_memory_not_equal(a, c, 32);
}

/* ---- quiet ---- */

static unsigned spoken(const struct rig *rig)
{
    unsigned count = 0;
    for (int i = 0; i < EV_COUNT; i++) {
        count += trace_level_of((enum trace_id)i) <= TRACE_INFO ? rig->events_seen[i] : 0;
    }
    return count;
}

static void packets_served_or_refused_say_nothing_at_info(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    unsigned before = spoken(rig);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(rig_reaches_tun(rig, 0, server, 80));
        assert_true(rig_reaches_client(rig, 0, server, 80));
        assert_false(rig_reaches_tun(rig, 0, ip_v4(10, 9, 9, 9), 80));
        rig_stranger(rig, view_text("garbage"));
    }
    rig_pass(rig, DURATION_S(60));
    assert_int_equal(spoken(rig), before);
    assert_true(rig_drops_all(rig) >= 200);
    rig_free(rig);
}

/* ---- cost ---- */

/* Makes the whole pages of a table inaccessible, or gives them back. */
static void guard(const void *first, const void *end, int protection)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)first + page - 1) / page * page;
    uintptr_t to = (uintptr_t)end / page * page;
    assert_true(to > from + 4 * page);
    assert_int_equal(mprotect((void *)from, to - from, protection), 0);
}

/* All connections but the first one's. */
static void guard_others(struct rig *rig, int protection)
{
    uint32_t client = policy_client_find(rig->gw->policy, &rig->clients[0].id);
    assert_ptr_equal(gateway_connection_of(rig->gw, client), &rig->gw->connections[0]);
    guard(&rig->gw->connections[1], &rig->gw->connections[rig->limits.clients], protection);
}

static size_t poll_all(struct rig *rig)
{
    struct gateway_output out;
    size_t count = 0;
    while (gateway_poll(rig->gw, &out)) {
        count++;
    }
    return count;
}

/* A packet of one client, either way, touches nothing of the other clients: the memory of all other
 * connections may be gone while it is handled. */
static void packets_of_one_client_look_at_no_other(void **state)
{
    (void)state;
    uint8_t packet[64];
    uint8_t message[GATEWAY_UDP_HEADROOM + 256];
    uint8_t slot[GATEWAY_TUN_HEADROOM + 256];
    struct gateway_limits limits = rig_limits();
    limits.clients = 64; /* several pages of connections */
    struct rig *rig = rig_new_with(&limits, true);
    rig_join(rig);
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        rig_connect(rig, i, RIG_CIDR4);
    }
    rig_pass(rig, DURATION_S(5));
    assert_true(rig_reaches_tun(rig, 0, server, 80)); /* the connection used last is remembered */
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &server, 80, 20, 1);
    size_t size =
        rig_client_seal(rig, 0, (struct view){packet, len}, message + GATEWAY_UDP_HEADROOM);
    assert_true(size > 0);
    struct gateway_datagram datagram = {
        .bytes = {message + GATEWAY_UDP_HEADROOM, size},
        .local = sock_addr_of(ip_v4(10, 2, 0, 2), 52625),
        .remote = rig->clients[0].mapped,
    };
    size_t back =
        rig_put_udp(slot + GATEWAY_TUN_HEADROOM, &server, &rig->clients[0].ipv4, 4000, 20, 1);
    struct gateway_tun_packet in = {.bytes = {slot + GATEWAY_TUN_HEADROOM, back}};
    guard_others(rig, PROT_NONE);
    gateway_handle_udp(rig->gw, rig->now, &datagram, 1);
    size_t outward = poll_all(rig);
    gateway_handle_tun(rig->gw, rig->now, &in, 1);
    size_t inward = poll_all(rig);
    gateway_handle_timeout(rig->gw, rig->now); /* nothing is due: nothing is looked at */
    size_t timers = poll_all(rig);
    guard_others(rig, PROT_READ | PROT_WRITE);
    assert_int_equal(outward, 1);
    assert_int_equal(inward, 1);
    assert_int_equal(timers, 0);
    gateway_check(rig->gw);
    rig_free(rig);
}

/* A client that has its share of the lookups in flight and goes on asking costs no walk over all of
 * them: their memory may be gone while it is refused. */
static void a_refused_lookup_looks_at_no_other(void **state)
{
    (void)state;
    static const struct ip_addr proxies[] = {{IP_V4, {100, 96, 0, 1}}};
    struct p2p_assigned_ips msg = {.proxy_ips_count = 1, .proxy_ips = {proxies[0]}};
    uint8_t packet[P2P_PACKET_SIZE_MAX];
    uint8_t message[GATEWAY_UDP_HEADROOM + P2P_PACKET_SIZE_MAX + WG_DATA_OVERHEAD];
    struct gateway_limits limits = rig_limits();
    limits.lookups = 64;
    struct rig *rig = rig_new_with(&limits, true);
    rig_join(rig);
    rig_connect(rig, 0, RIG_DNS);
    for (unsigned i = 0; i < limits.lookups / GATEWAY_RESOLVE_SHARE; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "n%u.corp.test", i);
        rig_assign(rig, 0, RIG_DNS_ID, name, proxies, 1);
    }
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 0);
    assert_true(uuid_parse(view_text(RIG_DNS_ID), &msg.resource));
    assert_true(dns_name_parse(view_text("more.corp.test"), &msg.domain));
    size_t len = p2p_encode_assigned_ips((struct span){packet, sizeof(packet)}, &msg);
    size_t size =
        rig_client_seal(rig, 0, (struct view){packet, len}, message + GATEWAY_UDP_HEADROOM);
    struct gateway_datagram datagram = {
        .bytes = {message + GATEWAY_UDP_HEADROOM, size},
        .local = sock_addr_of(ip_v4(10, 2, 0, 2), 52625),
        .remote = rig->clients[0].mapped,
    };
    guard(&rig->gw->resolves[0], &rig->gw->resolves[limits.lookups], PROT_NONE);
    gateway_handle_udp(rig->gw, rig->now, &datagram, 1);
    size_t answers = poll_all(rig);
    guard(&rig->gw->resolves[0], &rig->gw->resolves[limits.lookups], PROT_READ | PROT_WRITE);
    assert_int_equal(answers, 1);
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 1);
    gateway_check(rig->gw);
    rig_free(rig);
}

/* ---- paths ---- */

static void a_client_whose_port_is_3478_connects_directly(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].mapped.port = 3478;
    rig->clients[0].host.port = 3478;
    rig->clients[0].is_direct = true;
    rig_connect(rig, 0, RIG_CIDR4);
    rig_pass(rig, DURATION_S(5));
    assert_int_equal(rig->clients[0].remote.port, 52625); /* not through a relay */
    assert_true(rig_reaches_tun(rig, 0, server, 80));
    assert_true(rig_reaches_client(rig, 0, server, 80));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adjacent_entries_with_one_id_are_one_relay_and_the_last_credentials_count),
        cmocka_unit_test(a_full_table_of_relays_may_be_listed_for_ever),
        cmocka_unit_test(relays_that_init_does_not_mention_stay_and_are_refreshed),
        cmocka_unit_test(a_relay_that_refuses_our_password_stays_out_of_use),
        cmocka_unit_test(a_relay_that_is_redeployed_again_and_again_makes_no_busy_loop),
        cmocka_unit_test(an_unreachable_relay_is_probed_once_in_ten_seconds),
        cmocka_unit_test(the_config_of_init_has_no_effect),
        cmocka_unit_test(candidates_of_one_list_are_taken_in_order_and_unreadable_ones_skipped),
        cmocka_unit_test(error_replies_are_counted_and_change_nothing),
        cmocka_unit_test(nothing_is_sent_that_a_portal_does_not_know),
        cmocka_unit_test(every_seed_gives_a_key_pair_of_its_own),
        cmocka_unit_test(packets_served_or_refused_say_nothing_at_info),
        cmocka_unit_test(packets_of_one_client_look_at_no_other),
        cmocka_unit_test(a_refused_lookup_looks_at_no_other),
        cmocka_unit_test(a_client_whose_port_is_3478_connects_directly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
