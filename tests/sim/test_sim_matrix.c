/* The compatibility matrix: every personality of the client, generation of the portal and kind of
 * relay, directly and relayed, over IPv4 and IPv6, connects and carries packets of both families
 * both ways. One test a combination, named by it. */
#include "tests/sim/client_world.h"

#define PERSONALITIES 2U
#define GENERATIONS   2U
#define PATHS         2U
#define FAMILIES      2U
#define MODES         4U
#define COMBINATIONS  (PERSONALITIES * GENERATIONS * PATHS * FAMILIES * MODES)
#define PINGS         4U

static const enum sim_relay_mode modes[MODES] = {SIM_RELAY_V142, SIM_RELAY_HEAD,
                                                 SIM_RELAY_HEAD_EBPF, SIM_RELAY_COTURN};
static const char *const mode_names[MODES] = {"relay v142", "relay head", "relay head strict",
                                              "relay coturn"};

struct combination {
    struct cw_options options;
    bool is_v6; /* of the way between the client and the others */
    char name[96];
};

static bool pings(struct cw *w, const char *to)
{
    uint32_t answered = 0;
    for (uint16_t i = 0; i < PINGS; i++) {
        w->inbox_count = 0;
        cw_ping(w, cw_ip(to), i);
        cw_run(w, i == 0 ? 3000 : 500);
        answered += cw_ponged(w, cw_ip(to), i) ? 1 : 0;
    }
    return answered == PINGS;
}

static void connects_and_carries_traffic(void **state)
{
    const struct combination *c = *state;
    struct cw *w = cw_new(&c->options);
    assert_true(sim_client_is_online(w->client));
    assert_true(pings(w, "10.3.0.2"));
    assert_true(pings(w, "fd33::2"));
    struct sim_client_status status = cw_status(w);
    assert_true(status.has_session);
    assert_int_equal(status.relayed, c->options.block_direct);
    assert_int_equal(w->direct_datagrams > 0 && !c->options.block_direct, !c->options.block_direct);
    assert_true(!c->options.block_direct || w->relayed_datagrams > 0);
    if (!c->options.block_direct) {
        assert_int_equal(status.remote.ip.family, c->is_v6 ? IP_V6 : IP_V4);
    }
    assert_int_equal(cw_saw(w, SIM_CLIENT_DISCONNECTED), 0);
    cw_free(w);
}

static void make(struct combination *c, uint32_t number)
{
    uint32_t mode = number % MODES;
    uint32_t rest = number / MODES;
    c->options = (struct cw_options){.relay = modes[mode],
                                     .head_client = (rest & 1) != 0,
                                     .head_portal = (rest & 2) != 0,
                                     .block_direct = (rest & 4) != 0,
                                     .v6_only_client = (rest & 8) != 0,
                                     .v4_only_client = (rest & 8) == 0};
    c->is_v6 = c->options.v6_only_client;
    (void)snprintf(c->name, sizeof(c->name), "client %s, portal %s, %s, %s, %s",
                   c->options.head_client ? "head" : "base",
                   c->options.head_portal ? "head" : "v142", mode_names[mode],
                   c->options.block_direct ? "relayed" : "direct", c->is_v6 ? "IPv6" : "IPv4");
}

int main(void)
{
    static struct combination combinations[COMBINATIONS];
    static struct CMUnitTest tests[COMBINATIONS];
    for (uint32_t i = 0; i < COMBINATIONS; i++) {
        make(&combinations[i], i);
        tests[i] = (struct CMUnitTest){.name = combinations[i].name,
                                       .test_func = connects_and_carries_traffic,
                                       .initial_state = &combinations[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
