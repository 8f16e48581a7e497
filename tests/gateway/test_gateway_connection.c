/* The life of connections: paths, repeated authorizations, silence, idling, relays, the end. */
#include <stdio.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 2}};

static uint32_t connections(const struct rig *rig)
{
    return gateway_counters(rig->gw)->connections;
}

static struct rig *connected(void)
{
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    return rig;
}

static struct gateway_connection *connection(struct rig *rig, size_t client)
{
    uint32_t handle = policy_client_find(rig->gw->policy, &rig->clients[client].id);
    return gateway_connection_of(rig->gw, handle);
}

/* Datagrams to the address that rig_stranger() sends from. */
static size_t answers_to_the_stranger(const struct rig *rig)
{
    struct sock_addr stranger = sock_addr_of(ip_v4(192, 0, 2, 66), 4242);
    size_t count = 0;
    for (size_t i = 0; i < rig->strays.count; i++) {
        count += sock_addr_equal(&rig->strays.items[i].remote, &stranger) ? 1 : 0;
    }
    return count;
}

/* ---- paths ---- */

static void a_path_through_the_relay_carries_packets_both_ways(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(sock_addr_equal(&rig->clients[0].remote, &rig->relays[0].relayed));
    unsigned in = rig->relays[0].data_in;
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    assert_int_equal(rig->relays[0].data_in, in + 1);
    assert_int_equal(rig_drops(rig, DROP_NO_PATH), 0);
    rig_free(rig);
}

/* Channels that some relay has for this peer. */
static unsigned channels_to(const struct rig *rig, const struct sock_addr *peer)
{
    unsigned count = 0;
    for (size_t r = 0; r < RIG_RELAYS; r++) {
        for (size_t i = 0; i < RIG_CHANNELS; i++) {
            count += rig->relays[r].is_bound[i] && sock_addr_equal(&rig->relays[r].peers[i], peer);
        }
    }
    return count;
}

static void host_candidates_never_get_a_channel(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    rig_pass(rig, DURATION_S(30)); /* checks of the pair of relay and host go on */
    assert_int_equal(channels_to(rig, &rig->clients[0].host), 0);
    assert_int_equal(channels_to(rig, &rig->clients[0].mapped), 1);
    assert_true(rig_drops(rig, DROP_NO_CHANNEL) > 0);
    rig_free(rig);
}

/* What one side knows as its own address and as its reflexive one is the same address. */
static void a_client_without_nat_is_reached_through_the_relay(void **state)
{
    (void)state;
    static const char host[] = "candidate:1 1 udp 2130706175 203.0.113.50 52625 typ host";
    for (unsigned host_first = 0; host_first < 2; host_first++) {
        struct rig *rig = rig_new();
        rig_join(rig);
        rig->clients[0].is_direct = false;
        rig_client_start(rig, 0);
        rig_push_authorize(rig, 0, RIG_CIDR4, "null");
        if (host_first == 1) {
            rig_push_candidate(rig, 0, "ice_candidates", host);
        }
        rig_client_tell(rig, 0);
        if (host_first == 0) {
            rig_push_candidate(rig, 0, "ice_candidates", host);
        }
        rig_pass(rig, DURATION_S(3));
        assert_true(sock_addr_equal(&rig->clients[0].remote, &rig->relays[0].relayed));
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        assert_true(rig_reaches_client(rig, 0, server4, 80));
        rig_free(rig);
    }
}

static void a_direct_path_replaces_the_relayed_one_without_loss(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(connection(rig, 0)->path.relayed);
    rig->clients[0].is_direct = true;
    for (int i = 0; i < 50; i++) {
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        assert_true(rig_reaches_client(rig, 0, server4, 80));
        rig_pass(rig, DURATION_MS(100));
    }
    assert_false(connection(rig, 0)->path.relayed);
    assert_true(sock_addr_equal(&connection(rig, 0)->path.remote, &rig->clients[0].mapped));
    rig_free(rig);
}

static void the_tunnel_follows_the_client_to_the_path_on_which_it_begins_a_handshake(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_direct = true;
    rig_connect(rig, 0, RIG_CIDR4);
    assert_false(connection(rig, 0)->path.relayed);
    rig->clients[0].remote = rig->relays[0].relayed;
    wg_peer_initiate(&rig->clients[0].wg, rig->now.boot);
    rig_settle(rig);
    assert_int_equal(rig->clients[0].handshakes, 2);
    assert_true(connection(rig, 0)->path.relayed);
    unsigned in = rig->relays[0].data_in;
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    assert_int_equal(rig->relays[0].data_in, in + 1);
    rig_free(rig);
}

static void a_client_without_any_candidate_fails_after_ten_seconds(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_pass(rig, DURATION_MS(9900));
    assert_int_equal(connections(rig), 1);
    rig_pass(rig, DURATION_MS(200));
    assert_int_equal(connections(rig), 0);
    assert_int_equal(rig->events_seen[EV_CONNECTION_FAILED], 1);
    assert_int_equal(gateway_counters(rig->gw)->clients, 1); /* access outlives the connection */
    rig_free(rig);
}

static void one_signalled_candidate_ends_the_candidate_timeout(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_push_candidate(rig, 0, "ice_candidates",
                       "candidate:1 1 udp 2130706431 192.0.2.9 52625 typ host");
    rig_pass(rig, DURATION_S(12));
    assert_int_equal(connections(rig), 1);
    rig_free(rig);
}

static void a_connection_without_any_path_left_fails_after_two_seconds(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    const char *candidate = "candidate:1 1 udp 2130706431 192.0.2.9 52625 typ host";
    rig_push_candidate(rig, 0, "ice_candidates", candidate);
    rig_pass(rig, DURATION_S(1));
    rig_push_candidate(rig, 0, "invalidate_ice_candidates", candidate);
    rig_pass(rig, DURATION_MS(1900));
    assert_int_equal(connections(rig), 1);
    rig_pass(rig, DURATION_MS(200));
    assert_int_equal(connections(rig), 0);
    assert_int_equal(rig->events_seen[EV_CONNECTION_FAILED], 1);
    rig_free(rig);
}

static void a_path_that_returns_within_the_grace_keeps_the_connection(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    const char *candidate = "candidate:1 1 udp 2130706431 192.0.2.9 52625 typ host";
    rig_push_candidate(rig, 0, "ice_candidates", candidate);
    rig_pass(rig, DURATION_S(1));
    rig_push_candidate(rig, 0, "invalidate_ice_candidates", candidate);
    rig_pass(rig, DURATION_S(1));
    rig_push_candidate(rig, 0, "ice_candidates",
                       "candidate:1 1 udp 2130706431 192.0.2.10 52625 typ host");
    rig_pass(rig, DURATION_S(5));
    assert_int_equal(connections(rig), 1);
    rig_free(rig);
}

/* ---- authorizing again ---- */

static void equal_credentials_keep_the_tunnel_and_tell_all_candidates_again(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint32_t id24 = connection(rig, 0)->id24;
    const char *first = NULL;
    const char *second = NULL;
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", &first), 1);
    first = strstr(first, "\"payload\"");
    char copy[2048];
    (void)snprintf(copy, sizeof(copy), "%.*s", (int)(strchr(first, ']') - first), first);
    rig_forget(rig);
    unsigned handshakes = rig->clients[0].handshakes;
    rig_push_authorize(rig, 0, RIG_CIDR6, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 1);
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", &second), 1);
    assert_non_null(strstr(second, copy));
    assert_int_equal(connection(rig, 0)->id24, id24);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_int_equal(rig->clients[0].handshakes, handshakes);
    rig_free(rig);
}

static void other_credentials_replace_the_connection(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint32_t id24 = connection(rig, 0)->id24;
    (void)snprintf(rig->clients[0].gateway_password, sizeof(rig->clients[0].gateway_password),
                   "another-password");
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(connections(rig), 1);
    assert_int_not_equal(connection(rig, 0)->id24, id24);
    assert_false(rig_reaches_tun(rig, 0, server4, 80)); /* the old tunnel is gone */
    assert_true(rig_drops(rig, DROP_WG_UNKNOWN_INDEX) > 0);
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void another_key_replaces_the_connection(void **state)
{
    (void)state;
    struct rig *rig = connected();
    struct x25519_private key = {{0, 77}};
    uint32_t id24 = connection(rig, 0)->id24;
    wg_node_init(&rig->clients[0].node, &key, &rig->now, 1000);
    rig_connect(rig, 0, RIG_CIDR4);
    assert_int_equal(connections(rig), 1);
    assert_int_not_equal(connection(rig, 0)->id24, id24);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void another_psk_keeps_a_live_tunnel(void **state)
{
    (void)state;
    struct rig *rig = connected();
    unsigned handshakes = rig->clients[0].handshakes;
    for (uint8_t i = 0; i < 3; i++) {
        rig->clients[0].psk.bytes[5] = (uint8_t)(i + 1);
        rig_push_authorize(rig, 0, RIG_CIDR4, "null");
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        assert_true(rig_reaches_client(rig, 0, server4, 80));
    }
    assert_int_equal(rig->clients[0].handshakes, handshakes);
    /* Renewals of the old tunnel go on with the old one. */
    rig_pass(rig, DURATION_S(130));
    for (int i = 0; i < 200; i++) {
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        rig_pass(rig, DURATION_S(1));
    }
    assert_true(rig->clients[0].handshakes > handshakes);
    rig_free(rig);
}

static void a_client_that_lost_its_half_returns_with_the_newest_psk(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint32_t id24 = connection(rig, 0)->id24;
    rig_pass(rig, DURATION_S(1));
    rig->clients[0].psk.bytes[5] = 99;
    rig_connect(rig, 0, RIG_CIDR4); /* a new tunnel and a new agent, same credentials */
    assert_int_equal(connection(rig, 0)->id24, id24);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    rig_free(rig);
}

/* ---- idling ---- */

static void a_quiet_connection_idles_after_twenty_seconds_and_wakes_on_traffic(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_direct = false; /* a better path is possible: ICE stays connected */
    rig_connect(rig, 0, RIG_CIDR4);
    if (ice_agent_state(&connection(rig, 0)->ice) != ICE_CONNECTED) {
        rig_free(rig);
        fail_msg("the agent is expected to look for a better path");
    }
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_pass(rig, DURATION_S(19));
    assert_false(connection(rig, 0)->idle);
    rig_pass(rig, DURATION_S(2));
    assert_true(connection(rig, 0)->idle);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_false(connection(rig, 0)->idle);
    rig_pass(rig, DURATION_S(21));
    assert_true(connection(rig, 0)->idle);
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    assert_false(connection(rig, 0)->idle);
    rig_free(rig);
}

static void a_silent_connection_is_renewed_for_an_hour(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig_pass(rig, DURATION_S(3600));
    /* The client renews by itself (its agent and its tunnel are alive): nothing is ever over. */
    assert_int_equal(connections(rig), 1);
    assert_int_equal(rig->events_seen[EV_CONNECTION_FAILED], 0);
    bool reached = false;
    for (int i = 0; i < 15 && !reached; i++) { /* near its renewal a session does not send */
        reached = rig_reaches_tun(rig, 0, server4, 80);
        rig_pass(rig, DURATION_S(1));
    }
    assert_true(reached);
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    rig_free(rig);
}

/* ---- relays ---- */

static void losing_the_relay_moves_the_connection_to_another(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.relays = 3;
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    uint32_t old = connection(rig, 0)->relay;
    size_t lost = sock_addr_equal(&rig->clients[0].remote, &rig->relays[0].relayed) ? 0 : 1;
    rig_forget(rig);
    rig_push_presence(rig, 0, 1U << lost);
    assert_int_not_equal(connection(rig, 0)->relay, old);
    const char *text = NULL;
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", &text), 1);
    assert_non_null(strstr(text, lost == 0 ? "203.0.113.11 5" : "203.0.113.10 5"));
    assert_int_equal(rig_said(rig, "broadcast_invalidated_ice_candidates", &text), 1);
    assert_non_null(strstr(text, lost == 0 ? "203.0.113.10 5" : "203.0.113.11 5"));
    rig_pass(rig, DURATION_S(3));
    assert_true(sock_addr_equal(&rig->clients[0].remote, &rig->relays[1 - lost].relayed));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    assert_int_equal(connections(rig), 1);
    rig_free(rig);
}

static void a_relay_that_falls_silent_is_left_for_another(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.relays = 3;
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    size_t lost = sock_addr_equal(&rig->clients[0].remote, &rig->relays[0].relayed) ? 0 : 1;
    rig->relays[lost].is_silent = true;
    rig_pass(rig, DURATION_S(90));
    assert_true(rig->events_seen[EV_RELAY_FAILED] > 0);
    const char *text = NULL;
    assert_true(rig_said(rig, "broadcast_ice_candidates", &text) > 1);
    assert_non_null(strstr(text, lost == 0 ? "203.0.113.11 5" : "203.0.113.10 5"));
    rig_free(rig);
}

static void a_connection_without_relay_gets_the_one_that_comes_back(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig->portal.is_silent = true; /* no help from the portal */
    rig->relays[0].is_silent = true;
    for (int i = 0; i < 100; i++) {
        (void)rig_reaches_tun(rig, 0, server4, 80);
        rig_pass(rig, DURATION_S(1));
    }
    assert_true(rig->events_seen[EV_RELAY_FAILED] > 0);
    assert_int_equal(connection(rig, 0)->relay, GATEWAY_NONE);
    rig->relays[0].is_silent = false;
    rig->relays[0].forgets = true;
    rig_pass(rig, DURATION_S(90));
    assert_true(rig->relays[0].is_allocated && !rig->relays[0].forgets);
    assert_int_equal(connection(rig, 0)->relay, 0);
    rig_free(rig);
}

static void a_connection_without_relay_gets_the_first_that_joins(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig->portal.relays = 0;
    rig_push_presence(rig, 0, 1);
    assert_int_equal(connection(rig, 0)->relay, GATEWAY_NONE);
    assert_true(rig_reaches_tun(rig, 0, server4, 80)); /* directly */
    rig_push_presence(rig, 2, 0);
    assert_int_not_equal(connection(rig, 0)->relay, GATEWAY_NONE);
    rig_pass(rig, DURATION_S(1));
    const char *text = NULL;
    assert_true(rig_said(rig, "broadcast_ice_candidates", &text) > 1);
    assert_non_null(strstr(text, "203.0.113.11 50001 typ relay"));
    rig_free(rig);
}

/* Authorizes client number `n` under the name of the rig's first client. */
static void push_numbered(struct rig *rig, unsigned n)
{
    struct rig_client *c = &rig->clients[0];
    (void)snprintf(c->id_text, sizeof(c->id_text), "dddddddd-0000-4000-8000-%012u", n);
    (void)snprintf(c->gateway_ufrag, sizeof(c->gateway_ufrag), "g%u", n);
    rng_bytes(&rig->rng, c->node.own.public_key.bytes, KEY_SIZE);
    c->ipv4 = ip_v4(100, 64, (uint8_t)(2 + n / 256), (uint8_t)n);
    c->ipv6.bytes[12] = (uint8_t)(n / 256);
    c->ipv6.bytes[11] = (uint8_t)(n % 256);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
}

/* Joined, with room for so many clients and so many of them authorized. */
static struct rig *crowded(uint32_t clients, unsigned count)
{
    struct gateway_limits limits = rig_limits();
    limits.clients = clients;
    struct rig *rig = rig_new_with(&limits, true);
    rig_join(rig);
    for (unsigned n = 0; n < count; n++) {
        push_numbered(rig, n);
    }
    return rig;
}

static void the_loss_of_a_relay_reaches_hundreds_of_connections(void **state)
{
    (void)state;
    const unsigned count = 600; /* more than two slices of work, more than the portal's queue */
    struct rig *rig = crowded(1024, count);
    assert_int_equal(connections(rig), count);
    rig_pass(rig, DURATION_MS(100));
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", NULL), count);
    rig_forget(rig);
    rig_push_presence(rig, 2, 1);
    rig_pass(rig, DURATION_MS(500));
    size_t told = 0;
    for (uint32_t i = 0; i < rig->gw->limits.clients; i++) {
        const struct gateway_connection *c = &rig->gw->connections[i];
        told += c->used && c->relay == gateway_relay_choose(rig->gw) ? 1 : 0;
    }
    assert_int_equal(told, count);
    assert_int_equal(rig_said(rig, "broadcast_invalidated_ice_candidates", NULL), count);
    assert_true(rig_said(rig, "broadcast_ice_candidates", NULL) >= count);
    assert_int_equal(rig->gw->jobs_count, 0);
    rig_free(rig);
}

/* Changes for all connections that change nothing: of a relay that is nobody's. */
static void fill_jobs(struct rig *rig)
{
    const uint32_t nobodys = rig->gw->limits.relays;
    rig->gw->jobs_first = GATEWAY_JOBS_MAX - 1; /* the ring begins anywhere */
    for (rig->gw->jobs_count = 0; rig->gw->jobs_count < GATEWAY_JOBS_MAX; rig->gw->jobs_count++) {
        rig->gw->jobs[rig->gw->jobs_count] =
            (struct gateway_job){.kind = GATEWAY_JOB_MIGRATE, .relay = nobodys};
    }
}

static void a_full_ring_of_changes_makes_room_for_one_more(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.relays = 3;
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    uint32_t old = connection(rig, 0)->relay;
    fill_jobs(rig);
    rig_push_presence(rig, 0,
                      sock_addr_equal(&rig->clients[0].remote, &rig->relays[0].relayed) ? 1 : 2);
    assert_int_not_equal(connection(rig, 0)->relay, old);
    assert_int_equal(rig_drops(rig, DROP_PORTAL_LIMIT), 0);
    assert_int_equal(rig->gw->jobs_count, 0);
    rig_pass(rig, DURATION_S(3));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

/* With so many connections a slice ends no change: what finds no room is counted. */
static void changes_beyond_a_full_ring_are_counted(void **state)
{
    (void)state;
    struct rig *rig = crowded(1024, 3 * GATEWAY_JOB_SLICE);
    rig_settle(rig);
    assert_int_equal(rig->gw->jobs_count, 0);
    gateway_begin(rig->gw, rig->now);
    fill_jobs(rig);
    assert_true(gateway_relay_remove(rig->gw, &rig->gw->relays[0].id));
    assert_int_equal(rig->gw->jobs_count, GATEWAY_JOBS_MAX);
    assert_true(rig_drops(rig, DROP_PORTAL_LIMIT) > 0);
    rig_pass(rig, DURATION_S(1));
    assert_int_equal(rig->gw->jobs_count, 0);
    assert_int_equal(connections(rig), 3 * GATEWAY_JOB_SLICE);
    rig_free(rig);
}

static void revoking_a_resource_of_everybody_ends_everybody(void **state)
{
    (void)state;
    struct rig *rig = crowded(300, 300);
    assert_int_equal(connections(rig), 300);
    rig_push(rig, "resource_updated", "{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"cidr\"}");
    assert_int_equal(rig->events_seen[EV_REVOKED], GATEWAY_JOB_SLICE); /* no call takes long */
    push_numbered(rig, 1000); /* waits: it came after the end of all others */
    assert_int_equal(connections(rig), 300 - GATEWAY_JOB_SLICE);
    while (rig->events_seen[EV_REVOKED] < 300) {
        unsigned before = rig->events_seen[EV_REVOKED];
        assert_int_equal(gateway_poll_timeout(rig->gw).at.ns, rig->now.boot.ns);
        gateway_handle_timeout(rig->gw, rig->now);
        rig_settle(rig);
        assert_in_range(rig->events_seen[EV_REVOKED] - before, 1, GATEWAY_JOB_SLICE);
    }
    rig_pass(rig, DURATION_MS(1));
    assert_int_equal(connections(rig), 1);
    assert_int_equal(gateway_counters(rig->gw)->clients, 1);
    rig_free(rig);
}

static void superfluous_timeouts_and_entropy_are_harmless(void **state)
{
    (void)state;
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    struct rig *rig = connected();
    rig_forget(rig);
    for (int i = 0; i < 100; i++) {
        gateway_handle_timeout(rig->gw, rig->now);
        gateway_handle_reseed(rig->gw, seed);
        rig_settle(rig);
    }
    assert_int_equal(rig->portal.texts.count, 0);
    assert_int_equal(rig_drops_all(rig), 0);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_pass(rig, DURATION_S(400)); /* handshakes go on with the new randomness */
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

/* A run of ten minutes with everything in it; returns all that was sent. */
static struct rig *eventful_run(void)
{
    struct rig *rig = rig_new();
    rig->keeps_wire = true;
    rig->portal.relays = 3;
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    rig_connect(rig, 1, RIG_CIDR4);
    for (int i = 0; i < 20; i++) {
        (void)rig_reaches_tun(rig, 0, server4, 80);
        (void)rig_reaches_client(rig, 1, server4, 80);
        rig_pass(rig, DURATION_S(30));
    }
    rig_push_presence(rig, 0, 1);
    rig_push_reject(rig, 1, RIG_CIDR4_ID);
    rig_shutdown(rig);
    rig_pass(rig, DURATION_S(2));
    return rig;
}

static void the_same_inputs_give_the_same_bytes(void **state)
{
    (void)state;
    struct rig *a = eventful_run();
    struct rig *b = eventful_run();
    assert_true(a->exited && b->exited);
    assert_true(a->wire.count > 200);
    assert_int_equal(a->wire.count, b->wire.count);
    for (size_t i = 0; i < a->wire.count; i++) {
        const struct rig_item *x = &a->wire.items[i];
        const struct rig_item *y = &b->wire.items[i];
        assert_true(view_equal((struct view){x->at, x->len}, (struct view){y->at, y->len}));
        assert_true(sock_addr_equal(&x->remote, &y->remote));
    }
    rig_free(a);
    rig_free(b);
}

/* ---- the end ---- */

/* Two clients were told, and nothing is left of connections and allocations. */
static void check_left(struct rig *rig)
{
    assert_int_equal(rig->clients[0].goodbyes, 1);
    assert_int_equal(rig->clients[1].goodbyes, 1);
    assert_int_equal(connections(rig), 0);
    assert_int_equal(rig->relays[0].deletes, 1);
}

static void shutting_down_says_goodbye_gives_relays_back_and_ends(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig_connect(rig, 1, RIG_CIDR4);
    rig_shutdown(rig);
    check_left(rig);
    assert_int_equal(rig->portal.close_code, 1000);
    rig_pass(rig, DURATION_S(2));
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 0);
    rig_free(rig);
}

static void shutting_down_reaches_hundreds_of_connections(void **state)
{
    (void)state;
    const unsigned count = 3 * GATEWAY_JOB_SLICE;
    struct rig *rig = crowded(1024, count);
    assert_int_equal(connections(rig), count);
    rig_forget(rig);
    gateway_handle_shutdown(rig->gw, rig->now, GATEWAY_END_ASKED);
    assert_int_equal(rig->events_seen[EV_CONNECTION_CLOSED], GATEWAY_JOB_SLICE);
    push_numbered(rig, count); /* nobody is let in any more */
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
    rig_pass(rig, DURATION_MS(100));
    assert_int_equal(rig->events_seen[EV_CONNECTION_CLOSED], count);
    assert_int_equal(rig->relays[0].deletes, 1);
    assert_int_equal(rig->portal.close_code, 1000);
    rig_free(rig);
}

static void shutting_down_ends_within_a_second_when_nobody_answers(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig->portal.is_silent = true;
    rig->relays[0].is_silent = true;
    rig_shutdown(rig);
    assert_false(rig->exited);
    gateway_handle_shutdown(rig->gw, rig->now,
                            GATEWAY_END_ASKED); /* a second signal changes nothing */
    rig_settle(rig);
    rig_pass(rig, DURATION_MS(1100));
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 0);
    rig_free(rig);
}

/* The portal has no use for this gateway any more. */
static void portal_expires_token(struct rig *rig)
{
    rig_push(rig, "disconnect", "{\"reason\":\"token_expired\"}");
}

static void the_end_by_the_portal_says_goodbye_and_gives_relays_back(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig_connect(rig, 1, RIG_CIDR4);
    portal_expires_token(rig);
    assert_int_equal(rig->events_seen[EV_PORTAL_FATAL], 1);
    assert_int_equal(rig->events_seen[EV_SHUTDOWN], 0); /* nobody asked for it */
    check_left(rig);
    rig_pass(rig, DURATION_S(2));
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 1);
    rig_free(rig);
}

static void the_end_by_the_portal_reaches_hundreds_of_connections(void **state)
{
    (void)state;
    const unsigned count = 3 * GATEWAY_JOB_SLICE;
    struct rig *rig = crowded(1024, count);
    rig_forget(rig);
    portal_expires_token(rig);
    rig_pass(rig, DURATION_MS(100));
    assert_int_equal(rig->events_seen[EV_CONNECTION_CLOSED], count);
    assert_int_equal(rig->relays[0].deletes, 1);
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 1);
    rig_free(rig);
}

static void the_end_by_the_portal_takes_a_second_at_most_and_stays_an_error(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig->relays[0].is_silent = true;
    portal_expires_token(rig);
    assert_false(rig->exited);
    gateway_handle_shutdown(rig->gw, rig->now, GATEWAY_END_ASKED); /* it ends already */
    rig_settle(rig);
    rig_pass(rig, DURATION_MS(1100));
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 1);
    rig_free(rig);
}

/* As by a signal, but nobody asked for it: it stays an error. */
static void a_device_that_is_lost_says_goodbye_and_gives_relays_back(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig_connect(rig, 1, RIG_CIDR4);
    gateway_set_tun_up(rig->gw, true);
    rig_end(rig, GATEWAY_END_TUN_LOST);
    assert_int_equal(rig->events_seen[EV_SHUTDOWN], 1);
    assert_false(rig->gw->tun_up);
    check_left(rig);
    assert_int_equal(rig->portal.close_code, 1000);
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 1);
    assert_string_equal(rig->gw->exit_reason, gateway_end_reason(GATEWAY_END_TUN_LOST));
    rig_free(rig);
}

/* Relays hear nothing any more: nobody waits for their answers. */
static void without_sockets_the_portal_alone_is_told(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig->relays[0].is_silent = true;
    rig_end(rig, GATEWAY_END_UDP_LOST);
    assert_int_equal(rig->events_seen[EV_CONNECTION_CLOSED], 1);
    assert_int_equal(rig->clients[0].goodbyes, 0);
    assert_int_equal(connections(rig), 0);
    assert_int_equal(rig->portal.close_code, 1000);
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 1);
    assert_string_equal(rig->gw->exit_reason, gateway_end_reason(GATEWAY_END_UDP_LOST));
    rig_free(rig);
}

static void sockets_that_are_lost_during_the_end_make_it_shorter(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig->relays[0].is_silent = true;
    rig_end(rig, GATEWAY_END_TUN_LOST);
    assert_int_equal(rig->clients[0].goodbyes, 1);
    assert_false(rig->exited);
    rig_end(rig, GATEWAY_END_UDP_LOST);
    assert_true(rig->exited);
    assert_int_equal(rig->events_seen[EV_SHUTDOWN], 1);
    assert_string_equal(rig->gw->exit_reason, gateway_end_reason(GATEWAY_END_TUN_LOST));
    rig_free(rig);
}

/* A relay carries nothing once it has its allocation back. */
static void a_goodbye_over_a_relay_leaves_before_the_allocation_is_given_back(void **state)
{
    (void)state;
    for (unsigned way = 0; way <= GATEWAY_END_TUN_LOST + 1; way++) {
        struct rig *rig = rig_new();
        rig_join(rig);
        rig->clients[0].is_direct = false;
        rig_connect(rig, 0, RIG_CIDR4);
        assert_true(connection(rig, 0)->path.relayed);
        if (way <= GATEWAY_END_TUN_LOST) {
            rig_end(rig, (enum gateway_end)way);
        } else {
            portal_expires_token(rig);
        }
        assert_int_equal(rig->clients[0].goodbyes, 1);
        assert_int_equal(rig->relays[0].deletes, 1);
        rig_free(rig);
    }
}

/* The first cause counts: a loss stays an error whatever follows, and who was asked to stop has
 * stopped. */
static void what_follows_the_first_cause_changes_no_exit_code(void **state)
{
    static const struct {
        enum gateway_end first;
        enum gateway_end second;
        int code;
    } rows[] = {
        {GATEWAY_END_TUN_LOST, GATEWAY_END_ASKED, 1},
        {GATEWAY_END_ASKED, GATEWAY_END_TUN_LOST, 0},
        {GATEWAY_END_ASKED, GATEWAY_END_UDP_LOST, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct rig *rig = connected();
        rig->relays[0].is_silent = true;
        rig_end(rig, rows[i].first);
        assert_false(rig->exited);
        rig_end(rig, rows[i].second);
        rig_pass(rig, DURATION_MS(1100));
        assert_true(rig->exited);
        assert_int_equal(rig->exit_code, rows[i].code);
        assert_string_equal(rig->gw->exit_reason, gateway_end_reason(rows[i].first));
        rig_free(rig);
    }
}

static void a_gateway_that_never_joined_shuts_down_too(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_silent = true;
    rig_settle(rig);
    rig_shutdown(rig);
    rig_pass(rig, DURATION_S(2));
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 0);
    rig_free(rig);
}

static void put_goodbye(uint8_t packet[P2P_HEADER_SIZE])
{
    assert_int_equal(p2p_encode_goodbye((struct span){packet, P2P_HEADER_SIZE}), P2P_HEADER_SIZE);
}

static void a_goodbye_of_the_client_ends_connection_and_access(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint8_t packet[P2P_HEADER_SIZE];
    put_goodbye(packet);
    assert_true(rig_client_send(rig, 0, VIEW_OF(packet)));
    assert_int_equal(connections(rig), 0);
    assert_int_equal(gateway_counters(rig->gw)->clients, 0);
    assert_int_equal(rig->clients[0].goodbyes, 0);
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

/* An answer that waits to be sealed must not see the keys go. */
static void
a_goodbye_behind_a_refused_packet_leaves_the_answer_sealed_with_the_right_key(void **state)
{
    (void)state;
    static const struct ip_addr elsewhere = {IP_V4, {10, 9, 9, 9}};
    struct rig *rig = connected();
    uint8_t packet[256];
    uint8_t message[512];
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &elsewhere, 80, 32, 1);
    size_t size = rig_client_seal(rig, 0, (struct view){packet, len}, message);
    rig_forget(rig);
    rig_client_datagram(rig, 0, (struct view){message, size});
    put_goodbye(packet);
    size = rig_client_seal(rig, 0, (struct view){packet, P2P_HEADER_SIZE}, message);
    rig_client_datagram(rig, 0, (struct view){message, size});
    rig_settle(rig); /* both in one batch */
    assert_int_equal(connections(rig), 0);
    assert_int_equal(rig->clients[0].packets.count, 1);
    assert_int_equal(rig->clients[0].packets.items[0].at[9], PACKET_PROTOCOL_ICMP);
    rig_free(rig);
}

/* ---- telling connections apart ---- */

static void both_connect_and_are_served(struct rig *rig)
{
    rig_connect(rig, 0, RIG_CIDR4);
    rig_connect(rig, 1, RIG_CIDR4);
    for (size_t i = 0; i < 2; i++) {
        assert_true(rig_reaches_tun(rig, i, server4, 80));
        assert_true(rig_reaches_client(rig, i, server4, 80));
    }
    assert_int_equal(connections(rig), 2);
}

static void two_connections_may_share_a_local_user_name(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    (void)snprintf(rig->clients[1].gateway_ufrag, sizeof(rig->clients[1].gateway_ufrag), "gw00");
    (void)snprintf(rig->clients[1].ufrag, sizeof(rig->clients[1].ufrag), "cl00");
    both_connect_and_are_served(rig);
    assert_int_equal(rig_drops(rig, DROP_STUN_INTEGRITY), 0);
    rig_free(rig);
}

/* The portal tells what a client says its key is: a client that claims the key of another must not
 * take its handshakes. The path tells them apart. */
static void a_client_that_claims_the_key_of_another_takes_nothing_from_it(void **state)
{
    (void)state;
    for (size_t claims = 0; claims < 2; claims++) {
        struct rig *rig = rig_new();
        rig_join(rig);
        rig->clients[claims].node = rig->clients[1 - claims].node;
        both_connect_and_are_served(rig);
        rig_free(rig);
    }
}

/* A check of the client `as`, with a forged source. */
static void forge_check(struct rig *rig, size_t as, struct sock_addr source)
{
    const struct rig_client *c = &rig->clients[as];
    uint8_t bytes[256];
    struct stun_writer s;
    struct stun_txn txn = {{9, 9, 9}};
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_BINDING, STUN_REQUEST, &txn);
    stun_put_ice_username(&s, view_text(c->gateway_ufrag), view_text(c->ufrag));
    stun_put_priority(&s, 0x7effffffU);
    stun_put_use_candidate(&s);
    stun_put_controlling(&s, 1);
    stun_put_integrity(&s, view_text(c->gateway_password));
    stun_put_fingerprint(&s);
    rig_udp(rig, rig->host, source, stun_finish(&s));
}

/* Whoever forges the source of a check has been heard on the path of another; it has not answered
 * there. */
static void a_forged_source_takes_no_handshake_from_the_client_that_is_there(void **state)
{
    (void)state;
    for (unsigned is_late = 0; is_late < 2; is_late++) { /* the thief, behind the other */
        struct rig *rig = rig_new();
        const size_t thief = 0;
        const size_t victim = 1;
        rig->clients[thief].is_direct = true;
        rig->clients[victim].is_direct = true;
        rig_join(rig);
        rig->clients[thief].node = rig->clients[victim].node;
        rig->clients[victim].keeps_handshake = true;
        for (unsigned i = 0; i < 2; i++) {
            if (i == is_late) {
                rig_connect(rig, thief, RIG_CIDR4);
            } else {
                rig_client_start(rig, victim);
                rig_push_authorize(rig, victim, RIG_CIDR4, "null");
                rig_client_tell(rig, victim);
                rig_pass(rig, DURATION_S(3));
                assert_true(rig->clients[victim].has_path);
            }
        }
        forge_check(rig, thief, rig->clients[victim].mapped);
        rig_pass(rig, DURATION_MS(100));
        wg_peer_initiate(&rig->clients[victim].wg, rig->now.boot);
        rig_pass(rig, DURATION_S(5));
        assert_true(wg_peer_has_session(&rig->clients[victim].wg, rig->now.boot));
        assert_true(rig_reaches_tun(rig, victim, server4, 80));
        assert_true(rig_reaches_client(rig, victim, server4, 80));
        rig_free(rig);
    }
}

static void messages_find_their_connection_by_index_from_any_address(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig_connect(rig, 1, RIG_CIDR4);
    uint8_t packet[256];
    uint8_t message[512];
    size_t len = rig_put_udp(packet, &rig->clients[1].ipv4, &server4, 80, 32, 1);
    size_t size = rig_client_seal(rig, 1, (struct view){packet, len}, message);
    rig_stranger(rig, (struct view){message, size});
    assert_int_equal(rig->tun.count, 1);
    /* Answers go along the nominated path, never to where a packet happened to come from. */
    assert_true(rig_reaches_client(rig, 1, server4, 80));
    assert_int_equal(answers_to_the_stranger(rig), 0);
    /* One bit of the index elsewhere is nobody's. */
    size = rig_client_seal(rig, 1, (struct view){packet, len}, message);
    message[6] ^= 1;
    rig_stranger(rig, (struct view){message, size});
    assert_int_equal(rig_drops(rig, DROP_WG_UNKNOWN_INDEX), 1);
    rig_free(rig);
}

static void every_connection_has_an_id_of_its_own_over_many_generations(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    static uint8_t seen[(WG_PEER_ID_MAX + 1U) / 8U];
    memset(seen, 0, sizeof(seen));
    rig_join(rig);
    for (unsigned i = 0; i < 400; i++) {
        size_t client = i % 2;
        (void)snprintf(rig->clients[client].gateway_password, 33, "password-%u", i);
        rig_push_authorize(rig, client, RIG_CIDR4, "null");
        const struct gateway_connection *c = connection(rig, client);
        assert_non_null(c);
        assert_int_equal(seen[c->id24 / 8] >> (c->id24 % 8) & 1, 0);
        seen[c->id24 / 8] |= (uint8_t)(1U << (c->id24 % 8));
        assert_ptr_equal(gateway_connection_by_id(rig->gw, c->id24), c);
        assert_null(gateway_connection_by_id(rig->gw, c->id24 ^ 1));
        rig_forget(rig);
    }
    rig_free(rig);
}

static void handshakes_for_nobody_and_garbage_are_counted_by_name(void **state)
{
    (void)state;
    struct rig *rig = connected();
    struct wg_peer stranger;
    struct wg_window windows[WG_SESSIONS_MAX];
    struct wg_node node;
    struct x25519_private key = {{0, 99}};
    uint8_t message[WG_INITIATION_SIZE];
    struct wg_peer_config config = {.id = 5,
                                    .role = WG_ROLE_CLIENT,
                                    .era = WG_ERA_OURS,
                                    .rekey_attempt_s = 20,
                                    .windows = wg_windows_of(windows)};
    memcpy(config.remote.bytes, gateway_public_key(rig->gw), KEY_SIZE);
    wg_node_init(&node, &key, &rig->now, 1000);
    assert_int_equal(wg_peer_init(&stranger, &node, &config, rig->now.boot), ERR_NONE);
    wg_peer_initiate(&stranger, rig->now.boot);
    assert_int_equal(wg_peer_poll_transmit(&stranger, rig->now.boot, &rig->rng,
                                           (struct span){message, sizeof(message)}),
                     WG_INITIATION_SIZE);
    rig_stranger(rig, VIEW_OF(message));
    assert_int_equal(rig_drops(rig, DROP_WG_UNKNOWN_KEY), 1);
    message[130] ^= 1;
    rig_stranger(rig, VIEW_OF(message));
    assert_int_equal(rig_drops(rig, DROP_WG_MAC1), 1);
    rig_stranger(rig, VIEW_EMPTY);
    assert_int_equal(rig_drops(rig, DROP_UDP_EMPTY), 1);
    uint8_t garbage[GATEWAY_DATAGRAM_MAX + 1] = {0xff};
    rig_stranger(rig, (struct view){garbage, 100});
    assert_int_equal(rig_drops(rig, DROP_UDP_UNKNOWN), 1);
    rig_stranger(rig, VIEW_OF(garbage));
    assert_int_equal(rig_drops(rig, DROP_UDP_TOO_LONG), 1);
    assert_int_equal(answers_to_the_stranger(rig), 0); /* nothing is ever answered */
    rig_free(rig);
}

static void what_a_closed_connection_held_is_given_back(void **state)
{
    (void)state;
    struct rig *rig = connected();
    struct gateway *gw = rig->gw;
    uint8_t bytes[WG_RESPONSE_SIZE] = {2};
    struct ice_candidate candidate = ice_candidate_host(&rig->clients[0].host);
    uint32_t client = policy_client_find(gw->policy, &rig->clients[0].id);
    struct gateway_connection *c = gateway_connection_of(gw, client);
    assert_non_null(c);
    gateway_begin(gw, rig->now);
    for (uint32_t i = 0; i <= GATEWAY_HELD_MAX; i++) {
        bytes[4] = (uint8_t)i;
        gateway_connection_hold(gw, c, VIEW_OF(bytes));
    }
    gateway_signal_add(gw, c, &candidate);
    assert_int_equal(rig_drops(rig, DROP_WG_QUEUE), 1);
    assert_int_equal(c->held_count, GATEWAY_HELD_MAX);
    assert_int_equal(c->held[0].bytes[4], 1); /* the oldest went */
    assert_int_equal(c->signals_count, 1);
    gateway_check(gw);
    gateway_connection_close(gw, c, EV_CONNECTION_CLOSED, "");
    for (uint32_t i = 0; i < BLOCKS_CLASSES; i++) {
        assert_int_equal(gw->ice_memory.blocks.classes[i].used, 0);
    }
    gateway_check(gw);
    rig_free(rig);
}

static void more_messages_than_one_input_may_leave_are_dropped_and_counted(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint8_t bytes[WG_COOKIE_REPLY_SIZE] = {3};
    gateway_begin(rig->gw, rig->now);
    for (uint32_t i = 0; i < GATEWAY_TRAINS_MAX + 10; i++) {
        struct gateway_train to = {.remote =
                                       sock_addr_of(ip_v4(192, 0, 2, 66), (uint16_t)(1 + i % 2))};
        gateway_send_raw(rig->gw, &to, GATEWAY_NONE, VIEW_OF(bytes));
    }
    assert_int_equal(rig_drops(rig, DROP_WG_QUEUE), 10);
    rig_pass(rig, DURATION_S(1));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

/* Over a relay a message takes all that is asked for it. */
static void the_memory_of_one_input_is_filled_to_its_last_byte(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    uint8_t packet[P2P_HEADER_SIZE];
    size_t need = sizeof(packet) + CHANNEL_DATA_HEADER_SIZE + WG_DATA_OVERHEAD;
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    put_goodbye(packet);
    for (uint32_t missing = 0; missing < 2; missing++) {
        gateway_begin(rig->gw, rig->now);
        rig->gw->tx_used = GATEWAY_TX_SIZE - need + missing;
        gateway_seal_packet(rig->gw, connection(rig, 0), VIEW_OF(packet));
        gateway_seal_flush(rig->gw);
        assert_int_equal(rig_drops(rig, DROP_WG_QUEUE), missing);
        assert_int_equal(rig->gw->trains_count, 1 - missing);
        assert_int_equal(rig->gw->tx_used, GATEWAY_TX_SIZE - (missing == 0 ? 0 : need - 1));
        rig_settle(rig);
        assert_int_equal(rig->clients[0].goodbyes, 1);
    }
    rig_free(rig);
}

static void checks_without_the_password_change_nothing(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint8_t bytes[256];
    struct stun_writer s;
    struct stun_txn txn = {{1, 2, 3}};
    static const char *names[] = {"gw00:cl00", "gw00:xxxx", "nope:cl00", "nocolon"};
    static const enum drop_reason reasons[] = {DROP_STUN_INTEGRITY, DROP_STUN_UNKNOWN_UFRAG,
                                               DROP_STUN_UNKNOWN_UFRAG, DROP_STUN_UNKNOWN_UFRAG};
    for (size_t i = 0; i < 4; i++) {
        uint64_t before = rig_drops(rig, reasons[i]);
        stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_BINDING, STUN_REQUEST, &txn);
        stun_put_username(&s, view_text(names[i]));
        stun_put_priority(&s, 1);
        stun_put_use_candidate(&s);
        stun_put_controlling(&s, 1);
        stun_put_integrity(&s, view_text("guess"));
        stun_put_fingerprint(&s);
        rig_stranger(rig, stun_finish(&s));
        assert_int_equal(rig_drops(rig, reasons[i]), before + 1);
    }
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_BINDING, STUN_SUCCESS, &txn);
    rig_stranger(rig, stun_finish(&s));
    assert_int_equal(rig_drops(rig, DROP_STUN_UNKNOWN_TXN), 1);
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_ALLOCATE, STUN_REQUEST, &txn);
    rig_stranger(rig, stun_finish(&s));
    assert_int_equal(rig_drops(rig, DROP_STUN_UNEXPECTED), 1);
    assert_int_equal(answers_to_the_stranger(rig), 0);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

/* ---- handshakes ---- */

static void the_gateway_never_starts_the_first_handshake(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].keeps_handshake = true;
    rig_client_start(rig, 0);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_client_tell(rig, 0);
    rig_pass(rig, DURATION_S(5));
    assert_true(rig->clients[0].has_path);
    assert_false(rig_reaches_client(rig, 0, server4, 80));
    assert_int_equal(rig_drops(rig, DROP_WG_NO_SESSION), 1);
    rig_pass(rig, DURATION_S(30));
    for (size_t i = 0; i < rig->clients[0].datagrams.count; i++) {
        const struct rig_item *item = &rig->clients[0].datagrams.items[i];
        assert_int_equal(wg_msg_type((struct view){item->at, item->len}), WG_TYPE_NONE);
    }
    rig_free(rig);
}

static void a_tunnel_is_renewed_for_as_long_as_there_is_traffic(void **state)
{
    (void)state;
    struct rig *rig = connected();
    for (int i = 0; i < 700; i++) {
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        assert_true(rig_reaches_client(rig, 0, server4, 80));
        rig_pass(rig, DURATION_S(1));
    }
    assert_true(rig->clients[0].handshakes >= 5);
    assert_int_equal(rig->events_seen[EV_CONNECTION_FAILED], 0);
    rig_free(rig);
}

static void a_client_that_vanishes_is_forgotten_in_the_end(void **state)
{
    (void)state;
    struct rig *rig = connected();
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    rig->clients[0].is_mute = true;
    rig_pass(rig, DURATION_S(1200));
    assert_int_equal(connections(rig), 0);
    assert_int_equal(rig->events_seen[EV_CONNECTION_FAILED], 1);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_through_the_relay_carries_packets_both_ways),
        cmocka_unit_test(host_candidates_never_get_a_channel),
        cmocka_unit_test(a_client_without_nat_is_reached_through_the_relay),
        cmocka_unit_test(a_direct_path_replaces_the_relayed_one_without_loss),
        cmocka_unit_test(the_tunnel_follows_the_client_to_the_path_on_which_it_begins_a_handshake),
        cmocka_unit_test(a_client_without_any_candidate_fails_after_ten_seconds),
        cmocka_unit_test(one_signalled_candidate_ends_the_candidate_timeout),
        cmocka_unit_test(a_connection_without_any_path_left_fails_after_two_seconds),
        cmocka_unit_test(a_path_that_returns_within_the_grace_keeps_the_connection),
        cmocka_unit_test(equal_credentials_keep_the_tunnel_and_tell_all_candidates_again),
        cmocka_unit_test(other_credentials_replace_the_connection),
        cmocka_unit_test(another_key_replaces_the_connection),
        cmocka_unit_test(another_psk_keeps_a_live_tunnel),
        cmocka_unit_test(a_client_that_lost_its_half_returns_with_the_newest_psk),
        cmocka_unit_test(a_quiet_connection_idles_after_twenty_seconds_and_wakes_on_traffic),
        cmocka_unit_test(a_silent_connection_is_renewed_for_an_hour),
        cmocka_unit_test(losing_the_relay_moves_the_connection_to_another),
        cmocka_unit_test(a_relay_that_falls_silent_is_left_for_another),
        cmocka_unit_test(a_connection_without_relay_gets_the_one_that_comes_back),
        cmocka_unit_test(a_connection_without_relay_gets_the_first_that_joins),
        cmocka_unit_test(the_loss_of_a_relay_reaches_hundreds_of_connections),
        cmocka_unit_test(a_full_ring_of_changes_makes_room_for_one_more),
        cmocka_unit_test(changes_beyond_a_full_ring_are_counted),
        cmocka_unit_test(revoking_a_resource_of_everybody_ends_everybody),
        cmocka_unit_test(superfluous_timeouts_and_entropy_are_harmless),
        cmocka_unit_test(the_same_inputs_give_the_same_bytes),
        cmocka_unit_test(shutting_down_says_goodbye_gives_relays_back_and_ends),
        cmocka_unit_test(shutting_down_reaches_hundreds_of_connections),
        cmocka_unit_test(shutting_down_ends_within_a_second_when_nobody_answers),
        cmocka_unit_test(the_end_by_the_portal_says_goodbye_and_gives_relays_back),
        cmocka_unit_test(the_end_by_the_portal_reaches_hundreds_of_connections),
        cmocka_unit_test(the_end_by_the_portal_takes_a_second_at_most_and_stays_an_error),
        cmocka_unit_test(a_device_that_is_lost_says_goodbye_and_gives_relays_back),
        cmocka_unit_test(without_sockets_the_portal_alone_is_told),
        cmocka_unit_test(sockets_that_are_lost_during_the_end_make_it_shorter),
        cmocka_unit_test(a_goodbye_over_a_relay_leaves_before_the_allocation_is_given_back),
        cmocka_unit_test(what_follows_the_first_cause_changes_no_exit_code),
        cmocka_unit_test(a_gateway_that_never_joined_shuts_down_too),
        cmocka_unit_test(a_goodbye_of_the_client_ends_connection_and_access),
        cmocka_unit_test(
            a_goodbye_behind_a_refused_packet_leaves_the_answer_sealed_with_the_right_key),
        cmocka_unit_test(two_connections_may_share_a_local_user_name),
        cmocka_unit_test(a_client_that_claims_the_key_of_another_takes_nothing_from_it),
        cmocka_unit_test(a_forged_source_takes_no_handshake_from_the_client_that_is_there),
        cmocka_unit_test(messages_find_their_connection_by_index_from_any_address),
        cmocka_unit_test(every_connection_has_an_id_of_its_own_over_many_generations),
        cmocka_unit_test(handshakes_for_nobody_and_garbage_are_counted_by_name),
        cmocka_unit_test(what_a_closed_connection_held_is_given_back),
        cmocka_unit_test(more_messages_than_one_input_may_leave_are_dropped_and_counted),
        cmocka_unit_test(the_memory_of_one_input_is_filled_to_its_last_byte),
        cmocka_unit_test(checks_without_the_password_change_nothing),
        cmocka_unit_test(the_gateway_never_starts_the_first_handshake),
        cmocka_unit_test(a_tunnel_is_renewed_for_as_long_as_there_is_traffic),
        cmocka_unit_test(a_client_that_vanishes_is_forgotten_in_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
