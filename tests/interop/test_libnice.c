/* Our ICE agent against libnice: nomination of both kinds, both families, relays on either side.
 *
 * We (10.9.0.2, fd09::2) and libnice (10.9.1.2, fd09:1::2) meet across a router, which is also
 * where coturn stands.
 */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/interop/ice_host.h"

#define SECONDS_MAX 60U
#define AGREE_MS    6000U
#define ANSWER_MS   3000U
#define DATAGRAMS   50U

struct world {
    struct interop interop;
    int nice_ns;
    int router_ns;
    struct coturn coturn;
    struct coturn_user user;
    struct ice_host *host;
};

static int world_start(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    interop_require("turnserver");
    interop_begin(&world->interop, SECONDS_MAX);
    int router = interop_namespace(&world->interop);
    world->router_ns = router;
    world->nice_ns = interop_namespace(&world->interop);
    interop_link(world->interop.home, "10.9.0.2/24 fd09::2/64", router, "10.9.0.1/24 fd09::1/64");
    interop_link(world->nice_ns, "10.9.1.2/24 fd09:1::2/64", router, "10.9.1.1/24 fd09:1::1/64");
    interop_shell(router, "echo 1 >/proc/sys/net/ipv4/ip_forward; "
                          "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    interop_shell(world->interop.home,
                  "ip route add default via 10.9.0.1; ip -6 route add default via fd09::1");
    interop_shell(world->nice_ns,
                  "ip route add default via 10.9.1.1; ip -6 route add default via fd09:1::1");
    world->coturn = (struct coturn){.ns = router, .ip_v4 = "10.9.0.1", .ip_v6 = "fd09::1"};
    world->user = coturn_user("salt", 3600);
    coturn_start(&world->interop, &world->coturn);
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

static int host_end(void **state)
{
    struct world *world = *state;
    ice_host_free(world->host);
    world->host = NULL;
    return 0;
}

/* We as a gateway, libnice as a client, host candidates of both families. */
static struct ice_host_config config_of(const struct world *world)
{
    return (struct ice_host_config){
        .tie_breaker = 0x0123456789abcdefU,
        .local_v4 = "10.9.0.2:0",
        .local_v6 = "[fd09::2]:0",
        .nice_ns = world->nice_ns,
        .nice = {.controlling = true, .addresses = {"10.9.1.2", "fd09:1::2"}},
    };
}

static void give_nice_the_relay(const struct world *world, struct ice_host_config *config)
{
    config->nice.relay_ip = world->coturn.ip_v4;
    config->nice.relay_port = COTURN_PORT;
    config->nice.relay_user = world->user.name;
    config->nice.relay_password = world->user.password;
    config->nice.force_relay = true;
}

static void give_us_the_relay(const struct world *world, struct ice_host_config *config)
{
    config->coturn = &world->coturn;
    config->user = &world->user;
    config->relay_only = true;
}

/* Hides libnice's IPv4 address behind the router's, with ports drawn at random. */
static void raise_nat(const struct world *world)
{
    interop_shell(world->router_ns,
                  "nft add table ip nat; "
                  "nft 'add chain ip nat out { type nat hook postrouting priority 100; }'; "
                  "nft add rule ip nat out ip saddr 10.9.1.2 ip daddr 10.9.0.2 masquerade "
                  "fully-random; "
                  "nft 'add chain ip nat through { type filter hook forward priority 0; }'; "
                  "nft add rule ip nat through ip daddr 10.9.1.2 ct state new drop");
}

static int nat_end(void **state)
{
    struct world *world = *state;
    interop_shell(world->router_ns, "nft delete table ip nat");
    return host_end(state);
}

static bool has_all_data(const struct ice_host *host)
{
    return host->heard == DATAGRAMS && host->echoed == DATAGRAMS;
}

/* Connects, waits until both mean the same path, exchanges data on it. Returns the path. */
static struct ice_path connect_and_talk(struct world *world, const struct ice_host_config *config)
{
    struct ice_path path;
    char text[32];
    struct ice_host *host = ice_host_new(&world->interop, config);
    world->host = host;
    assert_true(ice_host_until(host, ice_host_agree, AGREE_MS));
    assert_true(host->nice_candidates > 0);
    assert_int_equal(host->nice_unreadable, 0);
    assert_int_equal(host->refused[DROP_STUN_INTEGRITY], 0);
    assert_int_equal(host->refused[DROP_STUN_MALFORMED], 0);
    assert_int_equal(host->refused[DROP_STUN_UNKNOWN_UFRAG], 0);
    ice_host_pass(host, 300); /* late candidates may still move the path */
    assert_true(ice_host_until(host, ice_host_agree, AGREE_MS));
    snprintf(text, sizeof(text), "send %u", DATAGRAMS);
    ice_host_tell(host, text);
    for (unsigned i = 0; i < DATAGRAMS; i++) {
        ice_host_send(host, i);
        ice_host_step(host);
    }
    assert_true(ice_host_until(host, has_all_data, ANSWER_MS));
    assert_true(ice_host_agree(host));
    assert_true(ice_agent_selected(&host->agent, &path));
    return path;
}

/* ---- tests ---- */

static void aggressive_nomination_connects(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    struct ice_path path = connect_and_talk(world, &config);
    assert_int_equal(path.local.ip.family, IP_V6); /* the better of two host pairs */
    assert_false(path.relayed);
}

static void regular_nomination_connects(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    config.nice.regular_nomination = true;
    struct ice_path path = connect_and_talk(world, &config);
    assert_false(path.relayed);
}

static void ipv4_alone_connects(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    config.nice.addresses[1] = NULL;
    struct ice_path path = connect_and_talk(world, &config);
    assert_int_equal(path.local.ip.family, IP_V4);
}

static void ipv6_alone_connects_by_regular_nomination(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    config.local_v4 = NULL;
    config.nice.regular_nomination = true;
    struct ice_path path = connect_and_talk(world, &config);
    assert_int_equal(path.local.ip.family, IP_V6);
}

static void we_may_control(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    config.controlling = true;
    config.nice.controlling = false;
    (void)connect_and_talk(world, &config);
}

/* Both start controlled. We never change our role: libnice takes the other one because its tie
 * breaker is the larger, or because our 487 makes it. */
static void a_role_conflict_is_solved_by_the_other_side(void **state)
{
    for (unsigned ours_is_larger = 0; ours_is_larger < 2; ours_is_larger++) {
        struct world *world = *state;
        struct ice_host_config config = config_of(world);
        config.nice.controlling = false;
        config.tie_breaker = ours_is_larger == 1 ? UINT64_MAX : 0;
        (void)connect_and_talk(world, &config);
        assert_true(ours_is_larger == 0 || world->host->from_controlled > 0);
        assert_int_equal(host_end(state), 0);
    }
}

static void libnice_on_a_relay_reaches_our_host(void **state)
{
    for (unsigned regular = 0; regular < 2; regular++) {
        struct world *world = *state;
        struct ice_host_config config = config_of(world);
        give_nice_the_relay(world, &config);
        config.nice.regular_nomination = regular == 1;
        struct ice_path path = connect_and_talk(world, &config);
        struct sock_addr relay = interop_address("10.9.0.1:1");
        assert_false(path.relayed);
        assert_true(ip_equal(&path.remote.ip, &relay.ip));
        assert_int_equal(host_end(state), 0);
    }
}

static void we_on_a_relay_reach_the_host_of_libnice(void **state)
{
    for (unsigned regular = 0; regular < 2; regular++) {
        struct world *world = *state;
        struct ice_host_config config = config_of(world);
        give_us_the_relay(world, &config);
        config.nice.regular_nomination = regular == 1;
        struct ice_path path = connect_and_talk(world, &config);
        assert_true(path.relayed);
        assert_int_equal(host_end(state), 0);
    }
}

static void both_on_a_relay_reach_each_other(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    give_us_the_relay(world, &config);
    give_nice_the_relay(world, &config);
    struct ice_path path = connect_and_talk(world, &config);
    assert_true(path.relayed);
}

/* Its candidates lead nowhere; we answer to the address that its checks come from. */
static void libnice_behind_a_nat_is_found_by_its_checks(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    config.nice.addresses[1] = NULL;
    raise_nat(world);
    struct ice_path path = connect_and_talk(world, &config);
    struct sock_addr router = interop_address("10.9.0.1:1");
    assert_false(path.relayed);
    assert_true(ip_equal(&path.remote.ip, &router.ip));
}

static void a_connection_stays_up(void **state)
{
    struct world *world = *state;
    struct ice_host_config config = config_of(world);
    struct ice_path before = connect_and_talk(world, &config);
    struct ice_path after;
    ice_host_pass(world->host, 5000);
    assert_true(ice_host_agree(world->host));
    assert_true(ice_agent_selected(&world->host->agent, &after));
    assert_true(sock_addr_equal(&before.remote, &after.remote));
    enum ice_state now = ice_agent_state(&world->host->agent);
    assert_true(now == ICE_CONNECTED || now == ICE_COMPLETED);
}

#define WITH_HOST(test) cmocka_unit_test_teardown(test, host_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(aggressive_nomination_connects),
        WITH_HOST(regular_nomination_connects),
        WITH_HOST(ipv4_alone_connects),
        WITH_HOST(ipv6_alone_connects_by_regular_nomination),
        WITH_HOST(we_may_control),
        WITH_HOST(a_role_conflict_is_solved_by_the_other_side),
        WITH_HOST(libnice_on_a_relay_reaches_our_host),
        WITH_HOST(we_on_a_relay_reach_the_host_of_libnice),
        WITH_HOST(both_on_a_relay_reach_each_other),
        cmocka_unit_test_teardown(libnice_behind_a_nat_is_found_by_its_checks, nat_end),
        WITH_HOST(a_connection_stays_up),
    };
    int failed = cmocka_run_group_tests_name("libnice", tests, world_start, world_end);
    if (failed != 0) {
        interop_print_logs();
    }
    return failed == 0 ? 0 : 1;
}
