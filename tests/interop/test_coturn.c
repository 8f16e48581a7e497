/* Our TURN client against coturn: allocations, channels, data, nonces, refusals, restarts.
 *
 * The relay stands between us (10.9.0.2, fd09::2) and a plain UDP peer (10.9.1.2, fd09:1::2).
 */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/interop/turn_host.h"

#define SECONDS_MAX 60U
#define ANSWER_MS   4000U
#define PEERS       40U
#define PAYLOAD_MAX 1400U

struct world {
    struct interop interop;
    int peer_ns;
    struct sock_addr peer[2]; /* IPv4, IPv6 */
    int peer_fd[2];
    struct coturn coturn;
};

static int world_start(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    interop_require("turnserver");
    interop_begin(&world->interop, SECONDS_MAX);
    int relay_ns = interop_namespace(&world->interop);
    world->peer_ns = interop_namespace(&world->interop);
    interop_link(world->interop.home, "10.9.0.2/24 fd09::2/64", relay_ns, "10.9.0.1/24 fd09::1/64");
    interop_link(world->peer_ns, "10.9.1.2/24 fd09:1::2/64", relay_ns, "10.9.1.1/24 fd09:1::1/64");
    interop_shell(world->peer_ns, "ip route add default via 10.9.1.1; "
                                  "ip -6 route add default via fd09:1::1");
    world->peer[0] = interop_address("10.9.1.2:4000");
    world->peer[1] = interop_address("[fd09:1::2]:4000");
    for (size_t i = 0; i < 2U; i++) {
        world->peer_fd[i] = interop_udp(&world->interop, world->peer_ns, &world->peer[i]);
    }
    world->coturn = (struct coturn){.ns = relay_ns, .ip_v4 = "10.9.0.1", .ip_v6 = "fd09::1"};
    *state = world;
    return 0;
}

static int world_end(void **state)
{
    struct world *world = *state;
    coturn_stop(&world->coturn);
    free(world);
    return 0;
}

static int relay_start(void **state)
{
    struct world *world = *state;
    coturn_start(&world->interop, &world->coturn);
    return 0;
}

static int relay_start_stale(void **state)
{
    struct world *world = *state;
    world->coturn.stale_nonce_s = "1";
    return relay_start(state);
}

static int relay_stop(void **state)
{
    struct world *world = *state;
    coturn_stop(&world->coturn);
    world->coturn.stale_nonce_s = NULL;
    world->coturn.accounts = COTURN_SECRET;
    return 0;
}

/* ---- helpers ---- */

static struct turn_host *host_new(const struct world *world, const struct coturn_user *user)
{
    return turn_host_new(&world->interop, "10.9.0.2:0", "[fd09::2]:0", &world->coturn, user);
}

static bool is_ready(const struct turn_host *host)
{
    return turn_client_is_ready(host->client);
}

static bool has_failed(const struct turn_host *host)
{
    return host->events[TURN_EVENT_FAILED] > 0;
}

static bool has_data(const struct turn_host *host)
{
    return host->inbox_count > 0;
}

static struct turn_host *host_ready(const struct world *world)
{
    struct coturn_user user = coturn_user("salt", 3600);
    struct turn_host *host = host_new(world, &user);
    assert_true(turn_host_until(host, is_ready, ANSWER_MS));
    return host;
}

static void fill(uint8_t *bytes, size_t len, uint8_t seed)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(seed + i * 7U);
    }
}

/* Waits until the peer's socket has a datagram. */
static size_t peer_receive(struct turn_host *host, int fd, struct span room, struct sock_addr *from)
{
    size_t len = 0;
    struct instant end = instant_add(interop_now(), DURATION_MS(ANSWER_MS));
    while (!interop_receive(fd, room, from, &len)) {
        assert_true(instant_before(interop_now(), end));
        turn_host_step(host);
    }
    return len;
}

/* Asks for a channel and waits for the relay's consent. */
static void bind_channel(struct turn_host *host, const struct sock_addr *peer)
{
    unsigned before = host->successes[STUN_CHANNEL_BIND];
    struct instant end = instant_add(interop_now(), DURATION_MS(ANSWER_MS));
    turn_client_bind_channel(host->client, peer, interop_now());
    turn_host_drain(host);
    while (host->successes[STUN_CHANNEL_BIND] == before) {
        assert_true(instant_before(interop_now(), end));
        turn_host_step(host);
    }
}

/* `len` bytes to the peer and back; both sides see the addresses they should. */
static void round_trip(const struct world *world, struct turn_host *host, size_t family, size_t len)
{
    uint8_t sent[PAYLOAD_MAX];
    uint8_t room[INTEROP_DATAGRAM_MAX];
    struct sock_addr from;
    struct sock_addr relayed = turn_client_relayed(host->client, family == 0 ? IP_V4 : IP_V6);
    fill(sent, len, (uint8_t)len);
    assert_true(turn_host_send(host, &world->peer[family], (struct view){sent, len}));
    size_t got =
        peer_receive(host, world->peer_fd[family], (struct span){room, sizeof(room)}, &from);
    assert_int_equal(got, len);
    assert_memory_equal(room, sent, len);
    assert_true(sock_addr_equal(&from, &relayed));

    fill(sent, len, (uint8_t)(len + 100U));
    host->inbox_count = 0;
    interop_send(world->peer_fd[family], &from, (struct view){sent, len});
    assert_true(turn_host_until(host, has_data, ANSWER_MS));
    assert_int_equal(host->inbox[0].len, len);
    assert_memory_equal(host->inbox[0].bytes, sent, len);
    assert_true(sock_addr_equal(&host->inbox[0].peer, &world->peer[family]));
    assert_true(sock_addr_equal(&host->inbox[0].relayed, &relayed));
}

/* ---- tests ---- */

static void an_allocation_carries_data_both_ways(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    assert_int_equal(host->errors[401], 1);
    assert_int_equal(host->successes[STUN_ALLOCATE], 1);
    struct sock_addr srflx = turn_client_srflx(host->client, IP_V4);
    assert_true(sock_addr_equal(&srflx, &host->local[0]));
    bind_channel(host, &world->peer[0]);
    for (size_t len = 1; len <= PAYLOAD_MAX; len += 137U) {
        round_trip(world, host, 0, len);
    }
    turn_host_free(host);
}

static void coturn_grants_both_families_for_the_number_of_the_draft(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    assert_int_equal(turn_client_relayed(host->client, IP_V4).ip.family, IP_V4);
    assert_int_equal(turn_client_relayed(host->client, IP_V6).ip.family, IP_V6);
    for (size_t family = 0; family < 2U; family++) {
        bind_channel(host, &world->peer[family]);
        round_trip(world, host, family, 500);
    }
    turn_host_free(host);
}

static void a_client_with_ipv6_alone_allocates(void **state)
{
    const struct world *world = *state;
    struct coturn_user user = coturn_user("six", 3600);
    struct turn_host *host =
        turn_host_new(&world->interop, NULL, "[fd09::2]:0", &world->coturn, &user);
    assert_true(turn_host_until(host, is_ready, ANSWER_MS));
    assert_int_equal(turn_client_active_server(host->client).ip.family, IP_V6);
    bind_channel(host, &world->peer[1]);
    round_trip(world, host, 1, 700);
    turn_host_free(host);
}

static bool has_bound_all(const struct turn_host *host)
{
    return host->successes[STUN_CHANNEL_BIND] == PEERS;
}

static void many_channels_live_side_by_side(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    int fds[PEERS];
    struct sock_addr peers[PEERS];
    for (size_t i = 0; i < PEERS; i++) {
        peers[i] = interop_address("10.9.1.2:0");
        fds[i] = interop_udp(&world->interop, world->peer_ns, &peers[i]);
        turn_client_bind_channel(host->client, &peers[i], interop_now());
    }
    /* Data may overtake the request that makes its channel; here every one has to arrive. */
    assert_true(turn_host_until(host, has_bound_all, ANSWER_MS));
    for (size_t i = 0; i < PEERS; i++) {
        uint8_t room[INTEROP_DATAGRAM_MAX];
        struct sock_addr from;
        uint8_t mark = (uint8_t)i;
        assert_true(turn_host_send(host, &peers[i], (struct view){&mark, 1}));
        assert_int_equal(peer_receive(host, fds[i], (struct span){room, sizeof(room)}, &from), 1);
        assert_int_equal(room[0], i);
        close(fds[i]);
    }
    turn_host_free(host);
}

static bool has_dropped(const struct turn_host *host)
{
    for (size_t i = 0; i < DROP_COUNT; i++) {
        if (host->dropped[i] > 0) {
            return true;
        }
    }
    return false;
}

static void a_data_indication_from_another_port_is_refused_and_harmless(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    bind_channel(host, &world->peer[0]);
    struct sock_addr other = interop_address("10.9.1.2:4001");
    struct sock_addr relayed = turn_client_relayed(host->client, IP_V4);
    int fd = interop_udp(&world->interop, world->peer_ns, &other);
    interop_send(fd, &relayed, view_text("from a port without channel"));
    assert_true(turn_host_until(host, has_dropped, ANSWER_MS));
    assert_int_equal(host->inbox_count, 0);
    round_trip(world, host, 0, 100);
    close(fd);
    turn_host_free(host);
}

static bool has_refreshed(const struct turn_host *host)
{
    return host->successes[STUN_REFRESH] > 0;
}

static void a_refresh_keeps_the_allocation(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    bind_channel(host, &world->peer[0]);
    turn_client_refresh(host->client, interop_now());
    assert_true(turn_host_until(host, has_refreshed, ANSWER_MS));
    assert_int_equal(host->events[TURN_EVENT_LOST], 0);
    assert_int_equal(host->errors[420], 0);
    round_trip(world, host, 0, 100);
    turn_host_free(host);
}

static void a_stale_nonce_is_replaced(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    bind_channel(host, &world->peer[0]);
    turn_host_pass(host, 2200);
    turn_client_refresh(host->client, interop_now());
    assert_true(turn_host_until(host, has_refreshed, ANSWER_MS));
    assert_true(host->errors[438] > 0);
    turn_host_pass(host, 2200);
    unsigned before = host->errors[438];
    bind_channel(host, &world->peer[1]);
    assert_true(host->errors[438] > before);
    assert_int_equal(host->events[TURN_EVENT_LOST], 0);
    round_trip(world, host, 0, 100);
    round_trip(world, host, 1, 100);
    turn_host_free(host);
}

static void wrong_credentials_are_a_reason_to_fail(void **state)
{
    const struct world *world = *state;
    struct coturn_user wrong = coturn_user("salt", 3600);
    wrong.password[0] = wrong.password[0] == 'A' ? 'B' : 'A';
    struct coturn_user expired = coturn_user("salt", -60);
    const struct coturn_user *users[2] = {&wrong, &expired};
    for (size_t i = 0; i < 2U; i++) {
        struct turn_host *host = host_new(world, users[i]);
        assert_true(turn_host_until(host, has_failed, ANSWER_MS));
        assert_int_equal(turn_client_failure(host->client), TURN_FAILURE_CREDENTIALS);
        assert_int_equal(turn_client_last_error(host->client), 401);
        assert_int_equal(host->events[TURN_EVENT_READY], 0);
        turn_host_free(host);
    }
}

static void newer_credentials_do_not_end_a_working_allocation(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    bind_channel(host, &world->peer[0]);
    struct coturn_user newer = coturn_user("newer", 7200);
    struct turn_client_config config = turn_host_config(&world->coturn, &newer);
    assert_int_equal(turn_client_update(host->client, &config, interop_now()), ERR_NONE);
    assert_true(turn_host_until(host, has_refreshed, ANSWER_MS));
    turn_host_pass(host, 100);
    assert_int_equal(host->events[TURN_EVENT_LOST], 0);
    round_trip(world, host, 0, 100);
    turn_host_free(host);
}

static bool is_gone(const struct turn_host *host)
{
    return turn_client_can_be_freed(host->client);
}

static void closing_gives_the_allocation_back(void **state)
{
    const struct world *world = *state;
    struct turn_host *host = host_ready(world);
    bind_channel(host, &world->peer[0]);
    struct sock_addr relayed = turn_client_relayed(host->client, IP_V4);
    assert_false(interop_is_refused(&world->interop, world->peer_ns, &relayed));
    turn_client_close(host->client, interop_now());
    assert_true(turn_host_until(host, is_gone, ANSWER_MS));
    assert_int_equal(host->successes[STUN_REFRESH], 1);
    assert_true(host->events[TURN_EVENT_CANDIDATE_INVALID] > 0);
    /* Coturn keeps a deleted session for up to 1.5 s; then nothing listens at its address. */
    turn_host_pass(host, 2000);
    assert_true(interop_is_refused(&world->interop, world->peer_ns, &relayed));
    turn_host_free(host);
}

static bool is_ready_again(const struct turn_host *host)
{
    return host->events[TURN_EVENT_READY] > 1 && turn_client_is_ready(host->client);
}

static void a_restarted_relay_is_allocated_on_again(void **state)
{
    struct world *world = *state;
    struct turn_host *host = host_ready(world);
    bind_channel(host, &world->peer[0]);
    coturn_stop(&world->coturn);
    coturn_start(&world->interop, &world->coturn);
    turn_client_refresh(host->client, interop_now());
    assert_true(turn_host_until(host, is_ready_again, 2U * ANSWER_MS));
    assert_int_equal(host->events[TURN_EVENT_LOST], 1);
    bind_channel(host, &world->peer[0]);
    round_trip(world, host, 0, 300);
    turn_host_free(host);
}

static bool has_lost(const struct turn_host *host)
{
    return host->events[TURN_EVENT_LOST] > 0;
}

static void a_dead_relay_is_noticed_and_tried_again(void **state)
{
    struct world *world = *state;
    struct turn_host *host = host_ready(world);
    coturn_stop(&world->coturn);
    struct sock_addr server = turn_client_active_server(host->client);
    turn_client_handle_unreachable(host->client, &server, interop_now());
    assert_true(turn_host_until(host, has_lost, ANSWER_MS));
    coturn_start(&world->interop, &world->coturn);
    assert_true(turn_host_until(host, is_ready_again, 2U * ANSWER_MS));
    turn_host_free(host);
}

/* A user name and password exactly as the portal makes them, known to the relay from a table. */
static void credentials_of_the_portal_are_opaque_texts(void **state)
{
    struct world *world = *state;
    struct coturn_user user = {"1900000000:MJ4KkDtXJnUd6yyZuOgdjw",
                               "b4yf8zE3Oq0v8hYl5d5Vb1bGZb3f2vQpX1l1yqfN1mQ"};
    world->coturn.accounts = COTURN_TABLE;
    coturn_add_user(&world->coturn, &user);
    coturn_start(&world->interop, &world->coturn);
    struct turn_host *host = host_new(world, &user);
    assert_true(turn_host_until(host, is_ready, ANSWER_MS));
    bind_channel(host, &world->peer[0]);
    round_trip(world, host, 0, 60);
    turn_host_free(host);
}

/* Each test with a relay of its own. */
#define WITH_RELAY(test) cmocka_unit_test_setup_teardown(test, relay_start, relay_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RELAY(an_allocation_carries_data_both_ways),
        WITH_RELAY(coturn_grants_both_families_for_the_number_of_the_draft),
        WITH_RELAY(a_client_with_ipv6_alone_allocates),
        WITH_RELAY(many_channels_live_side_by_side),
        WITH_RELAY(a_data_indication_from_another_port_is_refused_and_harmless),
        WITH_RELAY(a_refresh_keeps_the_allocation),
        cmocka_unit_test_setup_teardown(a_stale_nonce_is_replaced, relay_start_stale, relay_stop),
        WITH_RELAY(wrong_credentials_are_a_reason_to_fail),
        WITH_RELAY(newer_credentials_do_not_end_a_working_allocation),
        WITH_RELAY(closing_gives_the_allocation_back),
        WITH_RELAY(a_restarted_relay_is_allocated_on_again),
        WITH_RELAY(a_dead_relay_is_noticed_and_tried_again),
        cmocka_unit_test_teardown(credentials_of_the_portal_are_opaque_texts, relay_stop),
    };
    int failed = cmocka_run_group_tests_name("coturn", tests, world_start, world_end);
    if (failed != 0) {
        interop_print_logs();
    }
    return failed == 0 ? 0 : 1;
}
