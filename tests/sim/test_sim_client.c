#include "tests/sim/client_world.h"

static void ping_everything(struct cw *w)
{
    cw_ping(w, cw_ip("10.3.0.2"), 1);
    cw_run(w, 3000);
    assert_true(cw_ponged(w, cw_ip("10.3.0.2"), 1));
    cw_ping(w, cw_ip("fd33::2"), 2);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, cw_ip("fd33::2"), 2));
    cw_resolve(w, "web.corp.test");
    assert_int_equal(w->resolved_count, 8);
    struct ip_addr v4 = w->resolved[0];
    struct ip_addr v6 = w->resolved[4];
    cw_ping(w, v4, 3);
    cw_ping(w, v6, 4);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, v4, 3));
    assert_true(cw_ponged(w, v6, 4));
    assert_true(cw_status(w).has_session);
}

static void pings_reach_cidr_and_dns_resources(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 16; i++) {
        struct cw_options options = {.head_client = (i & 1) != 0,
                                     .head_portal = (i & 2) != 0,
                                     .block_direct = (i & 4) != 0,
                                     .websocket = (i & 8) != 0};
        struct cw *w = cw_new(&options);
        assert_true(sim_client_is_online(w->client));
        ping_everything(w);
        assert_int_equal(cw_status(w).relayed, options.block_direct);
        cw_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pings_reach_cidr_and_dns_resources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
