/* ICMP errors on their way to the client, and those that clients may not send. */
#include "tests/policy/policy_world.h"

/* Puts an ICMP error from `router` to `to`, quoting the first `quoted` bytes of the packet that was
 * forwarded last (kept in `lost`). */
struct lost {
    uint8_t bytes[1300];
    size_t len;
};

static struct lost keep(const struct world *w)
{
    struct lost out = {.len = w->packet.len};
    memcpy(out.bytes, packet_view(&w->packet).at, out.len);
    return out;
}

struct error {
    const char *router;
    const char *to;
    uint8_t type;
    uint8_t code;
    uint32_t rest;
    size_t quoted;
};

static void put_error(struct world *w, struct error error, const struct lost *lost)
{
    struct writer out_ =
        writer_of((struct span){w->room + WORLD_HEADROOM, WORLD_ROOM_SIZE - WORLD_HEADROOM});
    struct packet_build_ip header = {.source = ip(error.router), .destination = ip(error.to)};
    struct packet_build_icmp icmp_header = {error.type, error.code, error.rest};
    size_t len = error.quoted < lost->len ? error.quoted : lost->len;
    packet_build_icmp(&out_, &header, &icmp_header, (struct view){lost->bytes, len});
    struct view bytes = writer_view(&out_);
    assert_true(writer_finish(&out_));
    w->packet = packet_of((struct span){w->room, WORLD_ROOM_SIZE}, WORLD_HEADROOM, bytes.len);
}

static struct packet_icmp_error quote_of(const struct world *w)
{
    struct packet_icmp_error error;
    assert_int_equal(packet_icmp_error_parse(&w->packet, &w->result.info, &error), DROP_NONE);
    return error;
}

static void test_errors_map_back_to_the_flow_even_when_truncated(void **state)
{
    (void)state;
    for (const char *p = "tui"; *p != '\0'; p++) {
        struct world w;
        world_init(&w);
        grant(&w, w.alice, dns(1, "foo.com"), NULL);
        (void)assign(&w, 1, "foo.com", "100.96.0.1 100.96.0.2 fd00:2021:1111:8000::1",
                     "10.0.0.5 2001:db8::5");
        (void)out(&w, w.alice, flow(*p, ALICE_V4, "100.96.0.1", 70, 80));
        (void)out(&w, w.alice, flow(*p, ALICE_V4, "100.96.0.2", 70, 80)); /* outside 71 */
        struct lost lost = keep(&w);
        struct error error = {"203.0.113.1", ALICE_V4, 3, 1, 0, 28};
        static const uint8_t TYPES[][2] = {{3, 1}, {3, 3}, {11, 0}, {3, 4}};
        for (size_t i = 0; i < 4; i++) {
            error.type = TYPES[i][0];
            error.code = TYPES[i][1];
            error.rest = error.code == 4 ? 1200 : 0;
            put_error(&w, error, &lost);
            assert_int_equal(in_again(&w), POLICY_FORWARD);
            assert_ip(w.result.info.source, "100.96.0.2");
            struct packet_icmp_error quote = quote_of(&w);
            assert_ip(quote.quote_source, ALICE_V4);
            assert_ip(quote.quote_destination, "100.96.0.2");
            assert_int_equal(quote.quote_source_port, 70);
        }
        (void)out(&w, w.alice, flow(*p, ALICE_V6, "fd00:2021:1111:8000::1", 70, 80));
        lost = keep(&w);
        error = (struct error){"2001:db8::ff", ALICE_V6, 2, 0, 1280, 1232};
        put_error(&w, error, &lost);
        assert_int_equal(in_again(&w), POLICY_FORWARD);
        assert_ip(w.result.info.source, "fd00:2021:1111:8000::1");
        assert_int_equal(quote_of(&w).quote_source_port, 70);
        world_deinit(&w);
    }
}

static void test_errors_cross_families(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, small_limits(), (struct policy_options){.nat64_translate = true});
    world_people(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    (void)assign(&w, 1, "foo.com", "fd00:2021:1111:8000::1 fd00:2021:1111:8000::2", "10.0.0.5");
    (void)out(&w, w.alice, flow('u', ALICE_V6, "fd00:2021:1111:8000::1", 70, 80));
    (void)out(&w, w.alice, flow('u', ALICE_V6, "fd00:2021:1111:8000::2", 70, 80));
    struct lost lost = keep(&w);
    put_error(&w, (struct error){"203.0.113.1", ALICE_V4, 3, 3, 0, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_FORWARD);
    assert_ip(w.result.info.source, "fd00:2021:1111:8000::2");
    assert_ip(w.result.info.destination, ALICE_V6);
    struct packet_icmp_error quote = quote_of(&w);
    assert_ip(quote.quote_source, ALICE_V6);
    assert_ip(quote.quote_destination, "fd00:2021:1111:8000::2");
    assert_int_equal(quote.quote_source_port, 70);
    world_deinit(&w);
}

static void test_errors_about_permitted_direct_flows_pass(void **state)
{
    (void)state;
    struct world w;
    struct policy_rule to80 = tcp(80, 80);
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/24"), &to80); /* no ICMP in the filter */
    grant(&w, w.bob, cidr(2, "10.9.0.0/24"), NULL);
    (void)out(&w, w.alice, flow('t', ALICE_V4, "10.0.0.1", 5, 80));
    struct lost lost = keep(&w);
    put_error(&w, (struct error){"203.0.113.1", ALICE_V4, 11, 0, 0, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_FORWARD);
    assert_ip(w.result.info.source, "203.0.113.1"); /* unchanged */
    put_error(&w, (struct error){"203.0.113.1", BOB_V4, 11, 0, 0, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP); /* bob cannot have sent this */
    assert_int_equal(w.result.reason, DROP_NO_FLOW);
    put(&w, flow('t', BOB_V4, "10.0.0.1", 5, 80)); /* her resource, but not her packet */
    lost = keep(&w);
    put_error(&w, (struct error){"203.0.113.1", ALICE_V4, 11, 0, 0, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NO_FLOW);
    put(&w, flow('t', ALICE_V4, "192.0.2.1", 5, 80)); /* never permitted */
    lost = keep(&w);
    put_error(&w, (struct error){"203.0.113.1", ALICE_V4, 11, 0, 0, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP);
    put_error(&w, (struct error){"203.0.113.1", ALICE_V4, 5, 0, 0, 28}, &lost); /* redirect */
    assert_int_equal(in_again(&w), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_ICMP_UNTRANSLATABLE);
    world_deinit(&w);
}

/* With every place for a grant in use: all are asked, and no more. */
static void test_errors_that_quote_nothing_pass_from_resources_alone(void **state)
{
    (void)state;
    struct world w;
    struct lost lost = {.len = 0};
    world_init(&w);
    for (uint8_t n = 1; n <= small_limits().resources_per_client; n++) {
        grant(&w, w.alice, cidr(n, n == 1 ? "10.0.0.0/24" : "10.9.0.0/24"), NULL);
    }
    put_error(&w, (struct error){"10.0.0.1", ALICE_V4, 11, 0, 0, 0}, &lost);
    assert_int_equal(in_again(&w), POLICY_FORWARD);
    put_error(&w, (struct error){"10.0.1.1", ALICE_V4, 11, 0, 0, 0}, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_ICMP_UNTRANSLATABLE);
    put_error(&w, (struct error){"10.0.0.1", BOB_V4, 11, 0, 0, 0}, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP);
    world_deinit(&w);
}

static void test_errors_about_dead_or_revoked_flows_are_dropped(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    grant(&w, w.alice, cidr(2, "10.9.0.0/24"), NULL);
    (void)assign(&w, 1, "foo.com", "100.96.0.1", "10.0.0.5");
    (void)out(&w, w.alice, flow('u', ALICE_V4, "100.96.0.1", 70, 80));
    struct lost lost = keep(&w);
    struct error error = {"203.0.113.1", ALICE_V4, 3, 3, 0, 28};
    (void)revoke(&w, w.alice, 1);
    put_error(&w, error, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    put_error(&w, error, &lost);
    assert_int_equal(in_again(&w), POLICY_FORWARD);
    world_sleep(&w, 60 * NS_PER_S); /* an error neither confirms nor refreshes */
    put_error(&w, error, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_NAT_EXPIRED);
    world_deinit(&w);
}

/* The kernel of the gateway's own host speaks from the tunnel address: it is the first router, and
 * the one that finds a dead neighbour or a missing route. */
static void test_errors_of_the_gateways_host_are_translated_too(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, small_limits(), (struct policy_options){.nat64_translate = true});
    world_people(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    grant(&w, w.alice, cidr(2, "10.9.0.0/24"), NULL);
    (void)assign(&w, 1, "foo.com", "100.96.0.1 fd00:2021:1111:8000::1", "10.0.0.5");
    static const char *SOURCES[] = {ALICE_V4, ALICE_V6};
    static const char *PROXIES[] = {"100.96.0.1", "fd00:2021:1111:8000::1"};
    for (int i = 0; i < 2; i++) {
        (void)out(&w, w.alice, flow('u', SOURCES[i], PROXIES[i], 70, 80));
        struct lost lost = keep(&w);
        put_error(&w, (struct error){GW_V4, ALICE_V4, 11, 0, 0, 28}, &lost);
        assert_int_equal(in_again(&w), POLICY_FORWARD);
        assert_ip(w.result.info.source, PROXIES[i]);
        struct packet_icmp_error quote = quote_of(&w);
        assert_ip(quote.quote_source, SOURCES[i]);
        assert_ip(quote.quote_destination, PROXIES[i]);
        assert_int_equal(quote.quote_source_port, 70);
    }
    (void)out(&w, w.alice, flow('u', ALICE_V4, "10.9.0.1", 70, 80));
    struct lost lost = keep(&w);
    put_error(&w, (struct error){GW_V4, ALICE_V4, 11, 0, 0, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_FORWARD);
    assert_ip(w.result.info.source, GW_V4); /* no name stands before it: unchanged */
    (void)out(&w, w.alice, flow('u', ALICE_V4, GW_V4, 70, 9));
    lost = keep(&w);
    put_error(&w, (struct error){GW_V4, ALICE_V4, 3, 3, 0, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_FORWARD); /* about the gateway's own port */
    world_deinit(&w);
}

static void test_clients_send_no_errors(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/24"), NULL);
    put(&w, flow('u', "10.0.0.1", ALICE_V4, 80, 5));
    struct lost lost = keep(&w);
    put_error(&w, (struct error){ALICE_V4, "10.0.0.1", 3, 3, 0, 28}, &lost);
    assert_int_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_ICMP_ERROR_OUT);
    world_deinit(&w);
}

/* The gateway's host hears from a client only about what it has sent to that client. */
static void test_errors_to_the_gateway_are_about_its_own_packets(void **state)
{
    static const struct {
        const char *source;
        const char *destination;
        bool passes;
    } QUOTES[] = {
        {GW_V4, ALICE_V4, true},
        {GW_V4, BOB_V4, false},              /* to another client */
        {GW_V4, "10.0.0.1", false},          /* to a resource */
        {"192.0.2.1", ALICE_V4, false},      /* from another address of the host */
        {"192.0.2.1", "203.0.113.7", false}, /* of a connection of the host */
        {ALICE_V4, GW_V4, false},            /* the other way round */
    };
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/24"), NULL);
    for (size_t i = 0; i < ARRAY_COUNT(QUOTES); i++) {
        put(&w, flow('u', QUOTES[i].source, QUOTES[i].destination, 53535, 5));
        struct lost lost = keep(&w);
        put_error(&w, (struct error){ALICE_V4, GW_V4, 3, 4, 576, 28}, &lost);
        assert_int_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result),
                         QUOTES[i].passes ? POLICY_FORWARD : POLICY_DROP);
        assert_int_equal(w.result.reason, QUOTES[i].passes ? DROP_NONE : DROP_ICMP_ERROR_OUT);
    }
    put(&w, flow('u', GW_V6, ALICE_V6, 53535, 5));
    struct lost lost = keep(&w);
    put_error(&w, (struct error){ALICE_V6, GW_V6, 2, 0, 1280, 60}, &lost);
    assert_int_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result),
                     POLICY_FORWARD);
    put_error(&w, (struct error){ALICE_V6, GW_V6, 100, 0, 0, 60}, &lost); /* no error known */
    assert_int_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result), POLICY_DROP);
    put_error(&w, (struct error){ALICE_V6, GW_V6, 134, 0, 0, 60}, &lost); /* router advertisement */
    assert_int_equal(policy_outbound(w.policy, w.alice, &w.packet, w.now, &w.result), POLICY_REPLY);
    assert_int_equal(w.result.reason, DROP_GATEWAY_PROTOCOL);
    world_deinit(&w);
}

/* A redirect means something on its own link only. */
static void test_no_redirect_reaches_a_client(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/24"), NULL);
    put(&w, flow('u', ALICE_V4, "10.0.0.1", 5, 80));
    struct lost lost = keep(&w);
    put_error(&w, (struct error){"10.0.0.1", ALICE_V4, 5, 1, 0x0a000002, 28}, &lost);
    assert_int_equal(in_again(&w), POLICY_DROP);
    assert_int_equal(w.result.reason, DROP_ICMP_UNTRANSLATABLE);
    world_deinit(&w);
}

static void test_damaged_errors_never_crash(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, small_limits(), (struct policy_options){.nat64_translate = true});
    world_people(&w);
    grant(&w, w.alice, dns(1, "foo.com"), NULL);
    grant(&w, w.alice, cidr(2, "10.0.0.0/8"), NULL);
    (void)assign(&w, 1, "foo.com", "100.96.0.1 fd00:2021:1111:8000::1", "10.0.0.5");
    (void)out(&w, w.alice, flow('u', ALICE_V6, "fd00:2021:1111:8000::1", 70, 80));
    struct lost lost = keep(&w);
    struct error error = {"203.0.113.1", ALICE_V4, 3, 3, 0, 40};
    for (size_t quoted = 0; quoted <= lost.len; quoted++) {
        error.quoted = quoted;
        put_error(&w, error, &lost);
        assert_true(in_again(&w) == POLICY_FORWARD || w.result.reason != DROP_NONE);
    }
    error.quoted = 40;
    for (size_t bit = 0; bit < 68 * 8; bit++) {
        uint32_t client = 0;
        put_error(&w, error, &lost);
        packet_bytes(&w.packet)[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        enum policy_action action = policy_inbound(w.policy, &w.packet, w.now, &client, &w.result);
        assert_true(action == POLICY_FORWARD || w.result.reason != DROP_NONE);
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_map_back_to_the_flow_even_when_truncated),
        cmocka_unit_test(test_errors_cross_families),
        cmocka_unit_test(test_errors_about_permitted_direct_flows_pass),
        cmocka_unit_test(test_errors_that_quote_nothing_pass_from_resources_alone),
        cmocka_unit_test(test_errors_about_dead_or_revoked_flows_are_dropped),
        cmocka_unit_test(test_errors_of_the_gateways_host_are_translated_too),
        cmocka_unit_test(test_clients_send_no_errors),
        cmocka_unit_test(test_errors_to_the_gateway_are_about_its_own_packets),
        cmocka_unit_test(test_no_redirect_reaches_a_client),
        cmocka_unit_test(test_damaged_errors_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
