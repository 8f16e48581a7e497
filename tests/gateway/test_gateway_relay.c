/* Relays and paths as the whole gateway handles them: the choice of a relay, what goes to whom,
 * what waits for a path, what ends a connection. */
#include <stdio.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "stun/channel_data.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 2}};

static struct gateway_connection *connection(struct rig *rig, size_t client)
{
    uint32_t handle = policy_client_find(rig->gw->policy, &rig->clients[client].id);
    return gateway_connection_of(rig->gw, handle);
}

static struct rig *connected(bool is_direct)
{
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_direct = is_direct;
    rig_connect(rig, 0, RIG_CIDR4);
    return rig;
}

/* Messages about `client` with this event that hold `needle`. */
static unsigned told(const struct rig *rig, size_t client, const char *event, const char *needle)
{
    unsigned count = 0;
    for (size_t i = 0; i < rig->portal.texts.count; i++) {
        const char *text = (const char *)rig->portal.texts.items[i].at;
        count += strstr(text, event) != NULL && strstr(text, needle) != NULL &&
                 strstr(text, rig->clients[client].id_text) != NULL;
    }
    return count;
}

static bool has_channel(const struct rig_relay *relay, const struct sock_addr *peer)
{
    for (size_t i = 0; i < RIG_CHANNELS; i++) {
        if (relay->is_bound[i] && sock_addr_equal(&relay->peers[i], peer)) {
            return true;
        }
    }
    return false;
}

/* ---- candidates ---- */

static void a_new_host_candidate_is_told_to_all(void **state)
{
    (void)state;
    struct rig *rig = connected(true);
    rig_connect(rig, 1, RIG_CIDR4);
    rig_forget(rig);
    rig->host = sock_addr_of(ip_v4(10, 2, 0, 9), 52625); /* the relay's answers arrive there now */
    rig_pass(rig, DURATION_S(55));
    for (size_t client = 0; client < 2; client++) {
        assert_int_equal(
            told(rig, client, "\"broadcast_ice_candidates\"", "10.2.0.9 52625 typ host"), 1);
        /* Nothing is taken back: the old address may come again. */
        assert_int_equal(told(rig, client, "\"broadcast_invalidated_ice_candidates\"", "typ host"),
                         0);
    }
    rig_free(rig);
}

static void candidate_text(char out[128], uint8_t last)
{
    (void)snprintf(out, 128, "candidate:%u 1 udp 1694498559 203.0.113.%u 4000 typ srflx", last,
                   last);
}

/* A channel shows that a candidate was taken. */
static bool is_taken(struct rig *rig, uint8_t last)
{
    char text[128];
    struct sock_addr peer = sock_addr_of(ip_v4(203, 0, 113, last), 4000);
    candidate_text(text, last);
    rig_push_candidate(rig, 0, "ice_candidates", text);
    return has_channel(&rig->relays[0], &peer);
}

static void remote_candidates_are_taken_in_every_state(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_client_start(rig, 0);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_false(connection(rig, 0)->has_path);
    assert_true(is_taken(rig, 100)); /* no path yet */
    rig_client_tell(rig, 0);
    rig_pass(rig, DURATION_S(3));
    assert_true(connection(rig, 0)->has_path);
    assert_true(is_taken(rig, 101)); /* connected */
    rig_pass(rig, DURATION_S(40));
    assert_true(connection(rig, 0)->idle);
    assert_true(is_taken(rig, 102)); /* idle, and it wakes up */
    assert_false(connection(rig, 0)->idle);
    connection(rig, 0)->disconnected_at = rig->now.boot;
    assert_true(is_taken(rig, 103)); /* within the grace */
    rig_free(rig);
}

static unsigned bound_count(const struct rig_relay *relay)
{
    unsigned count = 0;
    for (size_t i = 0; i < RIG_CHANNELS; i++) {
        count += relay->is_bound[i];
    }
    return count;
}

/* A relay has 4096 numbers, and each is taken for a quarter of an hour: one client must not use
 * them up with candidates that it makes up. */
static void a_client_gets_a_small_part_of_a_relays_channels(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.relays = 1;
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    for (unsigned i = 0; i < 1000; i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "candidate:1 1 udp %u 198.51.100.7 %u typ srflx",
                       1694498559U + i, 1000 + i);
        rig_push_candidate(rig, 0, "ice_candidates", text);
    }
    assert_in_range(bound_count(&rig->relays[0]), 10, 80);
    assert_true(rig_drops(rig, DROP_NO_CHANNEL) > 0);
    assert_true(rig_reaches_tun(rig, 0, server4, 80)); /* it works all the same ... */
    unsigned taken = bound_count(&rig->relays[0]);
    rig_connect(rig, 1, RIG_CIDR4); /* ... and so do others */
    assert_true(bound_count(&rig->relays[0]) > taken);
    assert_true(rig_reaches_tun(rig, 1, server4, 80));
    /* A new connection does not count anew; later it may have others. */
    rig->clients[0].ufrag[0] ^= 1;
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    uint8_t last = 100;
    while (is_taken(rig, last)) {
        last++;
    }
    assert_in_range(last, 100, 105);
    rig_pass(rig, DURATION_S(GATEWAY_CHANNEL_EVERY_S * 2));
    assert_true(is_taken(rig, 112));
    rig_free(rig);
}

/* ---- choice of a relay ---- */

static void set_rtt(struct rig *rig, uint32_t relay, uint64_t ms)
{
    rig->gw->relays[relay].turn.rtt = DURATION_MS(ms);
}

/* Bits: relays that come up in many choices. */
static uint32_t chosen(struct rig *rig)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < 200; i++) {
        uint32_t relay = gateway_relay_choose(rig->gw);
        assert_int_not_equal(relay, GATEWAY_NONE);
        bits |= 1U << relay;
    }
    return bits;
}

static void relays_are_chosen_by_their_round_trip(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.relays = 3;
    rig_join(rig);
    set_rtt(rig, 0, 10);
    set_rtt(rig, 1, 15);
    assert_int_equal(chosen(rig), 3); /* of two, those within one and a half of the faster */
    set_rtt(rig, 1, 16);
    assert_int_equal(chosen(rig), 1);
    set_rtt(rig, 0, 30);
    assert_int_equal(chosen(rig), 2);
    rig->gw->relays[0].turn.rtt = (struct duration){0}; /* never measured */
    assert_int_equal(chosen(rig), 2);
    rig->gw->relays[1].failed = true; /* the only one measured is gone */
    assert_int_equal(chosen(rig), 1);
    rig->gw->relays[1].failed = false;
    /* Of more, those that do not stand out: up to the median and three deviations, 2 ms at least.
     */
    for (uint32_t r = 2; r < 4; r++) {
        rig->gw->relays[r].used = true;
        rig->gw->relays[r].turn.allocated = true;
    }
    set_rtt(rig, 0, 10);
    set_rtt(rig, 1, 11);
    set_rtt(rig, 2, 17);
    set_rtt(rig, 3, 18);
    rig->gw->relays[3].failed = true;
    assert_int_equal(chosen(rig), 7); /* median 11, deviation 2: up to 17 */
    set_rtt(rig, 2, 18);
    assert_int_equal(chosen(rig), 3);
    for (uint32_t r = 2; r < 4; r++) {
        rig->gw->relays[r].used = false;
        rig->gw->relays[r].failed = false;
        rig->gw->relays[r].turn.allocated = false;
    }
    rig_free(rig);
}

/* ---- what goes to whom ---- */

static void a_relays_address_decides_what_stun_is(void **state)
{
    (void)state;
    struct rig *rig = connected(true);
    rig->keeps_wire = true;
    /* A good check of the client, caught on its way. */
    const struct rig_item *check = NULL;
    for (unsigned i = 0; i < 100 && check == NULL; i++) {
        rig->now.boot = instant_add(rig->now.boot, DURATION_MS(100));
        rig_client_timeout(rig, 0);
        for (size_t k = 0; k < rig->to_gateway.count; k++) {
            const struct rig_item *item = &rig->to_gateway.items[k];
            check = stun_is_message((struct view){item->at, item->len}) ? item : check;
        }
    }
    assert_non_null(check);
    uint8_t bytes[256];
    size_t len = check->len;
    assert_true(len <= sizeof(bytes));
    memcpy(bytes, check->at, len);
    rig_settle(rig);
    rig_forget(rig);
    rig_udp(rig, rig->host, rig->relays[0].server, (struct view){bytes, len});
    rig_settle(rig);
    assert_int_equal(rig_drops(rig, DROP_STUN_UNEXPECTED), 1); /* it belongs to the TURN client */
    assert_int_equal(rig->wire.count, 0);
    rig_udp(rig, rig->host, rig->clients[0].mapped, (struct view){bytes, len});
    rig_settle(rig);
    assert_int_equal(rig->wire.count, 1); /* answered */
    rig_free(rig);
}

static void only_a_relays_channel_data_is_unwrapped_and_only_once(void **state)
{
    (void)state;
    struct rig *rig = connected(false);
    uint8_t packet[128];
    uint8_t message[256];
    uint8_t wrapped[512];
    struct rig_client *c = &rig->clients[0];
    size_t inner = rig_put_udp(packet, &c->ipv4, &server4, 80, 32, 1);
    size_t len = rig_client_seal(rig, 0, (struct view){packet, inner}, message);
    channel_data_put_header(wrapped, CHANNEL_NUMBER_MIN, len);
    memcpy(wrapped + CHANNEL_DATA_HEADER_SIZE, message, len);
    struct view once = {wrapped, len + CHANNEL_DATA_HEADER_SIZE};
    size_t before = rig->tun.count;
    uint64_t unknown = rig_drops(rig, DROP_UDP_UNKNOWN);
    rig_stranger(rig, once);
    assert_int_equal(rig_drops(rig, DROP_UDP_UNKNOWN), unknown + 1);
    rig_relay_peer(rig, 0, c->mapped, once, 0); /* wrapped again */
    rig_settle(rig);
    assert_int_equal(rig_drops(rig, DROP_UDP_UNKNOWN), unknown + 2);
    assert_int_equal(rig->tun.count, before);
    rig_relay_peer(rig, 0, c->mapped, (struct view){message, len}, 0);
    rig_settle(rig);
    assert_int_equal(rig->tun.count, before + 1);
    rig_free(rig);
}

/* WireGuard's types are the numbers that STUN begins with: the cookie tells them apart. */
static void wireguard_from_a_relays_address_is_not_taken_for_stun(void **state)
{
    (void)state;
    struct rig *rig = connected(true);
    uint8_t message[WG_INITIATION_SIZE];
    struct rig_client *c = &rig->clients[0];
    wg_peer_initiate(&c->wg, rig->now.boot);
    size_t len = wg_peer_poll_transmit(&c->wg, rig->now.boot, &rig->rng,
                                       (struct span){message, sizeof(message)});
    assert_int_equal(len, WG_INITIATION_SIZE);
    unsigned handshakes = c->handshakes;
    rig_udp(rig, rig->host, rig->relays[0].server, VIEW_OF(message));
    rig_settle(rig);
    assert_int_equal(c->handshakes, handshakes + 1);
    rig_free(rig);
}

static void a_cookie_reply_goes_back_the_way_the_message_came(void **state)
{
    (void)state;
    for (unsigned is_direct = 0; is_direct < 2; is_direct++) {
        struct rig *rig = connected(is_direct == 1);
        struct rig_client *c = &rig->clients[0];
        uint8_t message[WG_INITIATION_SIZE];
        rig->gw->wg.limiter.limit = 0; /* under load */
        rig_forget(rig);
        rig_pass(rig, DURATION_S(2));
        wg_peer_initiate(&c->wg, rig->now.boot);
        size_t len = wg_peer_poll_transmit(&c->wg, rig->now.boot, &rig->rng,
                                           (struct span){message, sizeof(message)});
        assert_int_equal(len, WG_INITIATION_SIZE);
        rig_client_datagram(rig, 0, VIEW_OF(message));
        rig_settle(rig);
        unsigned replies = 0;
        for (size_t i = 0; i < c->datagrams.count; i++) {
            const struct rig_item *item = &c->datagrams.items[i];
            struct view bytes = {item->at, item->len};
            if (wg_msg_type(bytes) == WG_TYPE_COOKIE_REPLY) {
                replies++;
                assert_true(sock_addr_equal(&item->remote, &c->remote));
            }
        }
        assert_int_equal(replies, 1);
        assert_true(c->wg.has_cookie);
        rig_free(rig);
    }
}

/* ---- waiting for a path ---- */

static void eight_answers_wait_for_the_path_the_newest_ones(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].keeps_handshake = true;
    rig_client_start(rig, 0);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    struct gateway_connection *c = connection(rig, 0);
    for (uint8_t i = 0; i < 10; i++) {
        uint8_t message[WG_RESPONSE_SIZE] = {WG_TYPE_RESPONSE, 0, 0, 0, i};
        gateway_connection_hold(rig->gw, c, VIEW_OF(message));
    }
    assert_int_equal(c->held_count, GATEWAY_HELD_MAX);
    assert_int_equal(rig_drops(rig, DROP_WG_QUEUE), 2);
    rig_client_tell(rig, 0);
    rig_pass(rig, DURATION_S(2));
    uint8_t next = 2;
    const struct rig_list *datagrams = &rig->clients[0].datagrams;
    for (size_t i = 0; i < datagrams->count; i++) {
        struct view bytes = {datagrams->items[i].at, datagrams->items[i].len};
        if (wg_msg_type(bytes) == WG_TYPE_RESPONSE) {
            assert_int_equal(bytes.at[4], next);
            next++;
        }
    }
    assert_int_equal(next, 10);
    assert_int_equal(c->held_count, 0);
    rig_free(rig);
}

static void the_first_second_of_an_allocation_may_lose_data(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->relays[0].deaf = DURATION_S(1);
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_client_start(rig, 0);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_client_tell(rig, 0);
    rig_pass(rig, DURATION_MS(900));
    assert_false(rig->clients[0].has_path);
    rig_pass(rig, DURATION_MS(1600));
    assert_true(rig->clients[0].has_path);
    assert_int_equal(rig->relays[0].allocates, 1); /* that is no reason to allocate again */
    rig_pass(rig, DURATION_S(5));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

/* ---- ends and rest ---- */

static void an_expired_tunnel_ends_a_connection_whose_path_lives(void **state)
{
    (void)state;
    struct rig *rig = connected(true);
    wg_peer_wipe(&rig->clients[0].wg); /* only its ICE agent goes on */
    rig_pass(rig, DURATION_S(WG_EXPIRY_S - 20));
    assert_non_null(connection(rig, 0));
    enum ice_state ice = ice_agent_state(&connection(rig, 0)->ice);
    assert_true(ice == ICE_CONNECTED || ice == ICE_COMPLETED);
    assert_int_equal(rig->events_seen[EV_CONNECTION_FAILED], 0);
    rig_pass(rig, DURATION_S(25));
    assert_null(connection(rig, 0));
    assert_int_equal(rig->events_seen[EV_CONNECTION_FAILED], 1);
    rig_free(rig);
}

/* Times that the gateway is woken within `d` while nobody sends. */
static unsigned wakes(struct rig *rig, struct duration d)
{
    struct instant end = instant_add(rig->now.boot, d);
    struct instant last = {0};
    unsigned count = 0;
    while (instant_before(rig->now.boot, end)) {
        struct instant at = gateway_poll_timeout(rig->gw).at;
        count += !instant_before(end, at) && last.ns != at.ns ? 1 : 0;
        last = at;
        uint64_t step = at.ns > rig->now.boot.ns ? at.ns - rig->now.boot.ns : 1;
        step = step < NS_PER_S ? step : NS_PER_S;
        rig_pass(rig, (struct duration){step});
    }
    return count;
}

static void packets_for_a_path_whose_relay_is_gone_are_dropped_by_name(void **state)
{
    (void)state;
    struct rig *rig = connected(false);
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    rig_push_presence(rig, 0, 1);
    rig_pass(rig, DURATION_MS(100));
    assert_false(gateway_relay_is_used(rig->gw, connection(rig, 0)->relay));
    rig_forget(rig);
    assert_false(rig_reaches_client(rig, 0, server4, 80));
    assert_true(rig_drops(rig, DROP_NO_CHANNEL) > 0);
    assert_int_equal(rig->strays.count, 0); /* to nobody else either */
    rig_free(rig);
}

static void idle_clients_wake_nobody_but_for_their_checks(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        rig_connect(rig, i, RIG_CIDR4);
    }
    rig_pass(rig, DURATION_S(60));
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        assert_true(connection(rig, i)->idle);
    }
    /* In 100 s: per client 4 rounds of checks of at most 4 pairs and a keepalive or two; 10
     * heartbeats, 4 BINDINGs, a refresh. A tick each second would be 100 a client. */
    assert_in_range(wakes(rig, DURATION_S(100)), 10, RIG_CLIENTS * 20 + 20);
    rig_free(rig);
}

/* ---- requests ---- */

static void requests_to_relays_are_named_snownet_and_of_four_kinds(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->keeps_wire = true;
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    rig_pass(rig, DURATION_S(700));
    rig_shutdown(rig);
    rig_pass(rig, DURATION_S(2));
    unsigned seen[16] = {0};
    for (size_t i = 0; i < rig->wire.count; i++) {
        const struct rig_item *item = &rig->wire.items[i];
        struct view bytes = {item->at, item->len};
        struct stun_msg msg;
        if (!sock_addr_equal(&item->remote, &rig->relays[0].server) || channel_data_is(bytes)) {
            continue;
        }
        assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
        assert_int_equal(msg.class, STUN_REQUEST);
        assert_true(msg.method == STUN_BINDING || msg.method == STUN_ALLOCATE ||
                    msg.method == STUN_REFRESH || msg.method == STUN_CHANNEL_BIND);
        seen[msg.method & 15]++;
        static const uint8_t software[] = {0x80, 0x22, 0, 7, 's', 'n', 'o', 'w', 'n', 'e', 't', 0};
        bool is_named = false;
        for (size_t at = 20; at + sizeof(software) <= bytes.len && !is_named; at += 4) {
            is_named = memcmp(bytes.at + at, software, sizeof(software)) == 0;
        }
        assert_true(is_named);
    }
    assert_true(seen[STUN_BINDING] > 0 && seen[STUN_ALLOCATE] > 0 && seen[STUN_REFRESH] > 0 &&
                seen[STUN_CHANNEL_BIND] > 0);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_host_candidate_is_told_to_all),
        cmocka_unit_test(remote_candidates_are_taken_in_every_state),
        cmocka_unit_test(a_client_gets_a_small_part_of_a_relays_channels),
        cmocka_unit_test(relays_are_chosen_by_their_round_trip),
        cmocka_unit_test(a_relays_address_decides_what_stun_is),
        cmocka_unit_test(only_a_relays_channel_data_is_unwrapped_and_only_once),
        cmocka_unit_test(wireguard_from_a_relays_address_is_not_taken_for_stun),
        cmocka_unit_test(a_cookie_reply_goes_back_the_way_the_message_came),
        cmocka_unit_test(eight_answers_wait_for_the_path_the_newest_ones),
        cmocka_unit_test(the_first_second_of_an_allocation_may_lose_data),
        cmocka_unit_test(an_expired_tunnel_ends_a_connection_whose_path_lives),
        cmocka_unit_test(packets_for_a_path_whose_relay_is_gone_are_dropped_by_name),
        cmocka_unit_test(idle_clients_wake_nobody_but_for_their_checks),
        cmocka_unit_test(requests_to_relays_are_named_snownet_and_of_four_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
