/* The control plane of the whole core: join, init, relays, authorizations, candidates. */
#include <stdio.h>
#include <string.h>

#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

static void join_configures_the_tun_device_the_listeners_and_the_relays(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    assert_int_equal(rig->portal.joins, 1);
    assert_int_equal(rig->tun_configs, 1);
    struct ip_addr v4 = ip_v4(100, 70, 1, 2);
    struct ip_addr v6;
    assert_true(ip_parse(view_text("fd00:2021:1111::7:102"), &v6));
    assert_true(ip_equal(&rig->tun_config.ipv4, &v4));
    assert_true(ip_equal(&rig->tun_config.ipv6, &v6));
    assert_int_equal(rig->listens, 5);
    for (int i = GATEWAY_LISTENER_DNS_UDP4; i < GATEWAY_LISTENER_COUNT; i++) {
        bool is_v4 = i == GATEWAY_LISTENER_DNS_UDP4 || i == GATEWAY_LISTENER_DNS_TCP4;
        assert_true(ip_equal(&rig->listeners[i].ip, is_v4 ? &v4 : &v6));
        assert_int_equal(rig->listeners[i].port, 53535);
    }
    assert_int_equal(rig->relays[0].allocates, 1);
    assert_int_equal(rig->relays[1].allocates, 0);
    rig_free(rig);
}

static void a_client_connects_and_a_packet_reaches_the_tun_device(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(join_configures_the_tun_device_the_listeners_and_the_relays),
        cmocka_unit_test(a_client_connects_and_a_packet_reaches_the_tun_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
