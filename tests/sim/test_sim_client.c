#include "stun/stun_msg.h"
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

/* Runs `test` for both personalities with both portals. */
static void each(void (*test)(struct cw *w), const struct cw_options *base)
{
    for (uint32_t i = 0; i < 4; i++) {
        struct cw_options options = *base;
        options.head_client = (i & 1) != 0;
        options.head_portal = (i & 2) != 0;
        struct cw *w = cw_new(&options);
        if (w->verbose) {
            printf("---- head client %d head portal %d\n", options.head_client,
                   options.head_portal);
        }
        test(w);
        cw_free(w);
    }
}

static bool is_head(const struct cw *w)
{
    return w->policy.clients[0].head;
}

/* One ping a second; returns how many of `count` were answered. */
static uint32_t ping_for(struct cw *w, const char *to, uint32_t count)
{
    uint32_t answered = 0;
    for (uint32_t i = 0; i < count; i++) {
        w->inbox_count = 0;
        cw_ping(w, cw_ip(to), (uint16_t)(1000 + i));
        cw_run(w, 1000);
        answered += cw_ponged(w, cw_ip(to), (uint16_t)(1000 + i)) ? 1 : 0;
    }
    return answered;
}

static void relayed_then_direct(struct cw *w)
{
    w->block_direct = true;
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    assert_true(cw_status(w).relayed);
    w->block_direct = false;
    assert_int_equal(ping_for(w, "10.3.0.2", 10), 10);
    assert_false(cw_status(w).relayed);
    assert_int_equal(cw_saw(w, SIM_CLIENT_PATH_RELAY), 1);
    assert_int_equal(cw_saw(w, SIM_CLIENT_DISCONNECTED), 0);
}

static void a_relayed_path_becomes_direct_without_loss(void **state)
{
    (void)state;
    each(relayed_then_direct, &(struct cw_options){.block_direct = true});
}

static void traffic_for_minutes(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 700), 700);
    assert_true(sim_client_counters(w->client)->handshakes >= 5);
    assert_int_equal(cw_saw(w, SIM_CLIENT_DISCONNECTED), 0);
}

static void steady_traffic_survives_every_renewal(void **state)
{
    (void)state;
    each(traffic_for_minutes, &(struct cw_options){0});
    each(traffic_for_minutes, &(struct cw_options){.block_direct = true});
}

static void idle_for_minutes(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    uint64_t before = w->datagrams;
    cw_run(w, 360 * 1000);
    uint64_t per_minute = (w->datagrams - before) / 6;
    if (w->verbose) {
        printf("per minute %llu\n", (unsigned long long)per_minute);
    }
    assert_true(per_minute <= 240); /* two a second and connection, the reference's own bound */
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    cw_run(w, 3600 * 1000);
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    assert_int_equal(cw_saw(w, SIM_CLIENT_DISCONNECTED), 0);
}

static void idle_connections_are_quiet_and_wake_up(void **state)
{
    (void)state;
    each(idle_for_minutes, &(struct cw_options){0});
    each(idle_for_minutes, &(struct cw_options){.block_direct = true});
}

static uint64_t time_of(const struct cw *w, enum sim_client_event_kind kind)
{
    for (uint32_t i = 0; i < w->seen_count; i++) {
        if (w->seen[i].kind == kind) {
            return w->seen[i].at_ms;
        }
    }
    return 0;
}

static void gateway_vanishes(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    uint64_t start = w->now.boot.ns / NS_PER_MS;
    w->cut_gateway = true;
    (void)ping_for(w, "10.3.0.2", 25);
    uint64_t after = time_of(w, SIM_CLIENT_DISCONNECTED) - start;
    uint64_t least = is_head(w) ? 16500 : 9000;
    assert_true(after >= least && after <= least + 5000);
    w->cut_gateway = false;
    cw_run(w, 3000);
    assert_true(ping_for(w, "10.3.0.2", 5) >= 4);
}

static void a_dead_gateway_is_given_up_in_time_and_asked_for_again(void **state)
{
    (void)state;
    each(gateway_vanishes, &(struct cw_options){0});
}

static void client_crashes(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    static const uint8_t SEED[32] = {77};
    for (uint32_t i = 0; i < w->pipes_count; i++) {
        if (w->pipes[i].from == CW_CLIENT) {
            cw_stream(w, CW_CLIENT, w->pipes[i].id, CW_STREAM_CLOSE, VIEW_EMPTY);
        }
    }
    w->nodes[CW_CLIENT].ops->restart(w->client, w->now, SEED);
    cw_addresses(w, CW_CLIENT);
    cw_run(w, 2000);
    assert_int_equal(ping_for(w, "10.3.0.2", 10), 10);
    cw_resolve(w, "web.corp.test");
    struct ip_addr proxy = w->resolved[0];
    cw_ping(w, proxy, 9);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, proxy, 9));
}

static void a_restarted_client_is_served_again(void **state)
{
    (void)state;
    each(client_crashes, &(struct cw_options){0});
    each(client_crashes, &(struct cw_options){.block_direct = true});
}

static void client_forgets(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    sim_client_forget_gateway(w->client, w->now, &w->policy.gateways[0].id, w->out);
    cw_carry(w, CW_CLIENT);
    assert_int_equal(ping_for(w, "10.3.0.2", 10), 10);
    cw_run(w, 700 * 1000);
    assert_int_equal(ping_for(w, "10.3.0.2", 10), 10);
}

static void a_client_that_lost_its_half_gets_a_new_one(void **state)
{
    (void)state;
    each(client_forgets, &(struct cw_options){0});
    each(client_forgets, &(struct cw_options){.block_direct = true});
}

static void client_roams(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    cw_resolve(w, "web.corp.test");
    struct ip_addr proxy = w->resolved[0];
    cw_ping(w, proxy, 8);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, proxy, 8));
    w->host[CW_CLIENT] = (struct sim_host_addresses){cw_ip("198.51.100.77"), cw_ip("2001:db8::77")};
    cw_addresses(w, CW_CLIENT);
    cw_run(w, 3000);
    assert_true(sim_client_is_online(w->client));
    assert_int_equal(ping_for(w, "10.3.0.2", 10), 10);
    cw_ping(w, proxy, 9);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, proxy, 9));
}

static void roaming_reconnects_and_keeps_proxy_addresses(void **state)
{
    (void)state;
    each(client_roams, &(struct cw_options){0});
    each(client_roams, &(struct cw_options){.block_direct = true});
}

static void portal_connections_break(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    for (uint32_t i = 0; i < 3; i++) {
        enum sim_portal_end end = i == 0   ? SIM_PORTAL_FIN
                                  : i == 1 ? SIM_PORTAL_RESET
                                           : SIM_PORTAL_SILENT;
        assert_int_equal(sim_portal_disconnect_gateway(w->portal, w->now, 0, end, w->out),
                         ERR_NONE);
        assert_int_equal(sim_portal_disconnect_client(w->portal, w->now, 0, end, w->out), ERR_NONE);
        cw_carry(w, CW_PORTAL);
        assert_int_equal(ping_for(w, "10.3.0.2", 60), 60);
        assert_true(sim_client_is_online(w->client));
        assert_true(sim_portal_gateway_online(w->portal, 0));
    }
    assert_int_equal(ping_for(w, "fd33::2", 5), 5);
}

static void broken_portal_connections_are_not_noticed_by_traffic(void **state)
{
    (void)state;
    each(portal_connections_break, &(struct cw_options){0});
}

static void relay_restarts(struct cw *w)
{
    static const uint8_t SEED[32] = {66};
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    sim_relay_restart(w->relay, SEED, w->out);
    cw_carry(w, CW_RELAY);
    (void)sim_portal_replace_relay(w->portal, w->now, 0, sim_relay_secret(w->relay), w->out);
    cw_carry(w, CW_PORTAL);
    (void)ping_for(w, "10.3.0.2", 20);
    assert_int_equal(ping_for(w, "10.3.0.2", 10), 10);
}

static void a_restarted_relay_is_used_again(void **state)
{
    (void)state;
    each(relay_restarts, &(struct cw_options){.block_direct = true});
}

static void revoked(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    assert_int_equal(ping_for(w, "fd33::2", 3), 3);
    assert_int_equal(sim_portal_revoke(w->portal, w->now, 0, 0, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 0);
    assert_int_equal(ping_for(w, "fd33::2", 3), 3);
    assert_int_equal(sim_portal_revoke(w->portal, w->now, 0, 1, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    cw_run(w, 1000);
    assert_int_equal(ping_for(w, "fd33::2", 3), 0);
    /* 1.4 does not understand the goodbye: it notices the end by silence, which idle takes long. */
    cw_run(w, is_head(w) ? 0 : 300 * 1000);
    struct sim_grant grant = {.client = w->policy.clients[0].id,
                              .resource = w->policy.resources[0].id};
    assert_int_equal(sim_portal_grant(w->portal, w->now, &grant, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    cw_settle(w);
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
}

static void revoked_resources_are_unreachable_until_granted_again(void **state)
{
    (void)state;
    each(revoked, &(struct cw_options){0});
}

static void refused(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    assert_int_equal(ping_for(w, "fd33::2", 3), 3);
    uint64_t intents = sim_client_counters(w->client)->intents;
    assert_int_equal(sim_portal_reject(w->portal, w->now, 0, 0, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    (void)ping_for(w, "10.3.0.2", 3);
    uint64_t asked = sim_client_counters(w->client)->intents - intents;
    assert_int_equal(asked, w->asks_again ? 1 : 0);
    assert_int_equal(ping_for(w, "10.3.0.2", 3), w->asks_again ? 3 : 0);
    assert_int_equal(ping_for(w, "fd33::2", 3), 3);
}

static void a_right_that_the_gateway_lost_is_asked_for_again(void **state)
{
    (void)state;
    each(refused, &(struct cw_options){0});
}

static void shuts_down(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    sim_client_shutdown(w->client, w->now, w->out);
    cw_carry(w, CW_CLIENT);
    cw_run(w, 1000);
    assert_int_equal(gateway_counters(w->gateway)->connections, is_head(w) ? 0 : 1);
    assert_false(sim_client_is_online(w->client));
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 0);
}

static void goodbye_ends_the_connection_at_the_gateway(void **state)
{
    (void)state;
    each(shuts_down, &(struct cw_options){0});
}

static void gateway_shuts_down(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    w->may_exit = true;
    gateway_handle_shutdown(w->gateway, w->now, GATEWAY_END_ASKED);
    cw_gateway_drain(w);
    cw_run(w, 1000);
    assert_true(w->exited);
    assert_int_equal(sim_client_counters(w->client)->goodbyes, is_head(w) ? 1 : 0);
    assert_int_equal(cw_status(w).exists, !is_head(w));
}

static void a_gateway_that_ends_says_goodbye(void **state)
{
    (void)state;
    each(gateway_shuts_down, &(struct cw_options){0});
}

static void first_packets(struct cw *w)
{
    cw_resolve(w, "db.corp.test");
    struct ip_addr proxy = w->resolved[1];
    for (uint16_t i = 0; i < 20; i++) {
        cw_ping(w, cw_ip("10.3.0.9"), i);
        cw_ping(w, proxy, (uint16_t)(100 + i));
    }
    /* Keys that differ between two flows of one moment cost HEAD one more handshake. */
    cw_run(w, 8000);
    for (uint16_t i = 0; i < 20; i++) {
        assert_true(cw_ponged(w, cw_ip("10.3.0.9"), i));
        assert_true(cw_ponged(w, proxy, (uint16_t)(100 + i)));
    }
    assert_int_equal(sim_client_counters(w->client)->buffer_drops, 0);
}

static void the_first_packets_wait_and_arrive(void **state)
{
    (void)state;
    each(first_packets, &(struct cw_options){0});
}

static void buffers_are_bounded(void **state)
{
    (void)state;
    struct cw *w = cw_new(&(struct cw_options){0});
    sim_portal_faults(w->portal)->drop_flow_answers = true;
    for (uint16_t i = 0; i < 200; i++) {
        cw_ping(w, cw_ip("10.3.0.9"), i);
    }
    cw_run(w, 1000);
    assert_int_equal(w->inbox_count, 0);
    assert_int_equal(sim_client_counters(w->client)->buffered, 200);
    assert_int_equal(sim_client_counters(w->client)->buffer_drops, 200 - 128);
    assert_int_equal(sim_client_counters(w->client)->intents, 1);
    cw_run(w, 1100);
    cw_ping(w, cw_ip("10.3.0.9"), 200);
    assert_int_equal(sim_client_counters(w->client)->intents, 2);
    cw_free(w);
}

static void lossy(struct cw *w)
{
    w->loss_percent = 30;
    (void)ping_for(w, "10.3.0.2", 60);
    w->loss_percent = 0;
    cw_run(w, 20 * 1000);
    (void)ping_for(w, "10.3.0.2", 5);
    assert_int_equal(ping_for(w, "10.3.0.2", 20), 20);
}

static void heavy_loss_is_survived(void **state)
{
    (void)state;
    each(lossy, &(struct cw_options){0});
    each(lossy, &(struct cw_options){.block_direct = true});
}

static void every_kind_of_relay_works(void **state)
{
    (void)state;
    static const enum sim_relay_mode MODES[] = {SIM_RELAY_V142, SIM_RELAY_HEAD, SIM_RELAY_HEAD_EBPF,
                                                SIM_RELAY_COTURN};
    for (uint32_t i = 0; i < 8; i++) {
        struct cw *w = cw_new(&(struct cw_options){
            .relay = MODES[i / 2], .block_direct = true, .head_client = i % 2 == 1});
        assert_int_equal(ping_for(w, "10.3.0.2", 30), 30);
        assert_true(cw_status(w).relayed);
        cw_free(w);
    }
}

static void one_family(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
    assert_int_equal(ping_for(w, "fd33::2", 5), 5);
}

static void a_client_with_ipv6_only_is_served(void **state)
{
    (void)state;
    each(one_family, &(struct cw_options){.v6_only_client = true});
    each(one_family, &(struct cw_options){.v6_only_client = true, .block_direct = true});
}

static void relay_only(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 30), 30);
    assert_true(cw_status(w).relayed);
    assert_int_equal(w->direct_datagrams, 0);
}

static void a_client_that_wants_relays_only_stays_relayed(void **state)
{
    (void)state;
    each(relay_only, &(struct cw_options){.relay_only = true});
}

/* ---- names over the TUN device ---- */

static void ask(struct cw *w, const char *server, const char *name, uint16_t type)
{
    uint8_t room[512];
    struct writer out = writer_of((struct span){room, sizeof room});
    struct dns_question question = {.type = type, .class = DNS_CLASS_IN};
    assert_true(dns_name_parse(view_text(name), &question.name));
    dns_msg_put_query(&out, 0x1234, &question);
    struct ip_addr to = cw_ip(server);
    struct sim_packet packet = {.source = to.family == IP_V4 ? w->policy.clients[0].tunnel_v4
                                                             : w->policy.clients[0].tunnel_v6,
                                .destination = to,
                                .protocol = SIM_PROTO_UDP,
                                .source_port = 5300,
                                .destination_port = 53,
                                .payload = writer_view(&out)};
    w->inbox_count = 0;
    cw_app(w, &packet);
}

/* The only packet in the inbox: an answer from `server`. */
static struct dns_msg answer_of(const struct cw *w, const char *server)
{
    struct sim_packet packet;
    struct dns_msg msg;
    struct ip_addr from = cw_ip(server);
    assert_int_equal(w->inbox_count, 1);
    assert_null(sim_packet_read((struct view){w->inbox[0], w->inbox_len[0]}, &packet));
    assert_true(ip_equal(&packet.source, &from));
    assert_int_equal(packet.source_port, 53);
    assert_int_equal(packet.destination_port, 5300);
    assert_int_equal(dns_msg_parse(packet.payload, &msg), DROP_NONE);
    assert_int_equal(msg.id, 0x1234);
    return msg;
}

#define SENTINEL_V4 "100.100.111.1"
#define SENTINEL_V6 "fd00:2021:1111:8000:100:100:111:0"

static void names(struct cw *w)
{
    struct ip_addr addresses[8];
    bool ok = false;
    ask(w, SENTINEL_V4, "web.corp.test", DNS_TYPE_A);
    struct dns_msg msg = answer_of(w, SENTINEL_V4);
    assert_int_equal(dns_msg_addresses(&msg, addresses, 8, &ok), 4);
    struct ip_addr first = cw_ip("100.96.0.1");
    assert_true(ok && ip_equal(&addresses[0], &first));
    cw_ping(w, addresses[3], 1);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, addresses[3], 1));

    ask(w, SENTINEL_V6, "WEB.corp.test", DNS_TYPE_AAAA);
    msg = answer_of(w, SENTINEL_V6);
    assert_int_equal(dns_msg_addresses(&msg, addresses, 8, &ok), 4);
    first = cw_ip("fd00:2021:1111:8000::");
    assert_true(ok && ip_equal(&addresses[0], &first));
    cw_settle(w);

    ask(w, SENTINEL_V4, "web.corp.test", DNS_TYPE_HTTPS);
    msg = answer_of(w, SENTINEL_V4);
    assert_int_equal(dns_msg_rcode(&msg), DNS_NOERROR);
    assert_int_equal(msg.answers_count, 0);
    cw_settle(w);

    ask(w, SENTINEL_V4, "1.0.96.100.in-addr.arpa", DNS_TYPE_PTR);
    msg = answer_of(w, SENTINEL_V4);
    assert_int_equal(msg.answers_count, 1);
    cw_settle(w);

    ask(w, SENTINEL_V4, "example.com", DNS_TYPE_A);
    msg = answer_of(w, SENTINEL_V4);
    assert_int_equal(dns_msg_rcode(&msg), DNS_REFUSED);
    ask(w, SENTINEL_V4, "use-application-dns.net", DNS_TYPE_A);
    msg = answer_of(w, SENTINEL_V4);
    assert_int_equal(dns_msg_rcode(&msg), DNS_NXDOMAIN);
}

static void the_resolver_of_the_client_answers_over_the_tunnel_device(void **state)
{
    (void)state;
    each(names, &(struct cw_options){0});
}

static void services(struct cw *w)
{
    ask(w, SENTINEL_V4, "svc.corp.test", DNS_TYPE_SRV);
    cw_run(w, 2000);
    ask(w, SENTINEL_V4, "svc.corp.test", DNS_TYPE_SRV);
    uint32_t lookups = w->lookups;
    cw_run(w, 1000);
    if (!is_head(w)) {
        struct dns_msg msg = answer_of(w, SENTINEL_V4);
        assert_int_equal(dns_msg_rcode(&msg), DNS_REFUSED);
        return;
    }
    assert_true(w->lookups > lookups);
    struct dns_msg msg = answer_of(w, SENTINEL_V4);
    assert_true(dns_msg_is_response(&msg));
}

static void service_questions_of_head_go_to_the_gateway(void **state)
{
    (void)state;
    each(services, &(struct cw_options){0});
}

/* ---- what must not pass ---- */

/* The first resource, on ports 5000 to 5010. */
static void permit_udp_only(struct cw *w)
{
    struct sim_resource resource = w->policy.resources[0];
    resource.filters[0] = (struct sim_filter){SIM_FILTER_UDP, 5000, 5010};
    resource.filters_count = 1;
    assert_int_equal(sim_portal_update_resource(w->portal, w->now, &resource, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    cw_settle(w);
}

static void filtered(struct cw *w)
{
    permit_udp_only(w);
    struct sim_packet packet = {.source = w->policy.clients[0].tunnel_v4,
                                .destination = cw_ip("10.3.0.2"),
                                .protocol = SIM_PROTO_UDP,
                                .source_port = 40000,
                                .destination_port = 5005,
                                .payload = view_text("permitted")};
    cw_app(w, &packet);
    cw_run(w, 2000);
    assert_int_equal(w->inside_count, 1);
    assert_int_equal(w->inbox_count, 1);
    packet.destination_port = 5011;
    cw_app(w, &packet);
    cw_run(w, 1000);
    assert_int_equal(w->inside_count, 1);
    assert_int_equal(sim_client_counters(w->client)->refused_filter, is_head(w) ? 1 : 0);
    /* Both are told: head by its own client, 1.4 by the gateway. */
    assert_int_equal(w->inbox_count, 2);
    struct sim_packet error;
    assert_null(sim_packet_read((struct view){w->inbox[1], w->inbox_len[1]}, &error));
    assert_true(sim_packet_is_icmp_error(&error));
}

static void what_filters_refuse_is_answered_by_icmp(void **state)
{
    (void)state;
    each(filtered, &(struct cw_options){0});
}

static void foreign_sources(struct cw *w)
{
    assert_int_equal(ping_for(w, "10.3.0.2", 2), 2);
    w->inbox_count = 0;
    struct sim_packet packet = {.source = cw_ip("10.77.0.1"),
                                .destination = w->policy.clients[0].tunnel_v4,
                                .protocol = SIM_PROTO_UDP,
                                .source_port = 1,
                                .destination_port = 2,
                                .payload = view_text("nobody asked")};
    uint8_t room[64 + 256];
    struct writer out = writer_of((struct span){room + 64, sizeof room - 64});
    sim_packet_put(&out, &packet);
    assert_true(writer_finish(&out));
    struct gateway_tun_packet tun = {.bytes = {room + 64, out.used}};
    gateway_handle_tun(w->gateway, w->now, &tun, 1);
    cw_gateway_drain(w);
    cw_run(w, 100);
    assert_int_equal(w->inbox_count, 0);
    /* A source that is not the client's never leaves the gateway. */
    uint32_t inside = w->inside_count;
    struct sim_packet forged = cw_echo(w, cw_ip("10.3.0.2"), 7);
    forged.source = cw_ip("100.70.0.99");
    cw_app(w, &forged);
    cw_run(w, 100);
    assert_int_equal(w->inside_count, inside);
}

static void foreign_sources_pass_in_neither_direction(void **state)
{
    (void)state;
    each(foreign_sources, &(struct cw_options){0});
}

/* The portal takes a resource away, and of what it says only the client hears: an answer of the
 * resource that the gateway still lets through is refused by the client. */
static void answers_of_a_lost_resource(struct cw *w)
{
    uint8_t room[64 + 256];
    assert_int_equal(ping_for(w, "fd33::2", 1), 1);
    assert_int_equal(ping_for(w, "10.3.0.2", 1), 1);
    w->silent_hosts = true;
    cw_ping(w, cw_ip("10.3.0.2"), 7);
    cw_settle(w);
    assert_int_equal(sim_portal_revoke(w->portal, w->now, 0, 0, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    for (size_t i = w->head; i < w->tail; i++) {
        struct cw_item *item = &w->queue[i % CW_QUEUE_MAX];
        if (item->to == CW_GATEWAY) {
            *item = (struct cw_item){.kind = CW_LOOKUP, .to = CW_CLIENT, .bytes = item->bytes};
        }
    }
    cw_settle(w);
    w->inbox_count = 0;
    uint64_t refused = sim_client_counters(w->client)->refused_source;
    struct sim_packet reply = w->inside;
    reply.source = w->inside.destination;
    reply.destination = w->inside.source;
    reply.icmp_type = 0;
    struct writer out = writer_of((struct span){room + 64, sizeof room - 64});
    sim_packet_put(&out, &reply);
    assert_true(writer_finish(&out));
    struct gateway_tun_packet tun = {.bytes = {room + 64, out.used}};
    gateway_handle_tun(w->gateway, w->now, &tun, 1);
    cw_gateway_drain(w);
    cw_settle(w);
    assert_int_equal(w->inbox_count, 0);
    assert_int_equal(sim_client_counters(w->client)->refused_source, refused + 1);
}

static void answers_of_a_resource_that_was_lost_are_refused(void **state)
{
    (void)state;
    each(answers_of_a_lost_resource, &(struct cw_options){0});
}

static void unreachable(struct cw *w)
{
    assert_int_equal(sim_portal_revoke(w->portal, w->now, 0, 0, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    cw_settle(w);
    cw_ping(w, cw_ip("10.3.0.2"), 1);
    cw_ping(w, cw_ip("192.0.2.1"), 1);
    cw_ping(w, cw_ip("100.96.7.7"), 1);
    cw_run(w, 1000);
    assert_int_equal(sim_client_counters(w->client)->no_resource, 3);
    assert_int_equal(sim_client_counters(w->client)->intents, 0);
    assert_int_equal(w->inbox_count, 0);
}

static void packets_without_a_resource_go_nowhere(void **state)
{
    (void)state;
    each(unreachable, &(struct cw_options){0});
}

/* What an altered client sends reaches the gateway, which refuses it; once it obeys it is a client
 * again. */
static void lawless(struct cw *w)
{
    assert_int_equal(ping_for(w, "fd33::2", 1), 1);
    assert_int_equal(ping_for(w, "10.3.0.2", 1), 1);
    permit_udp_only(w);
    w->inbox_count = 0;
    uint32_t inside = w->inside_count;
    const struct sim_client_counters *counters = sim_client_counters(w->client);
    uint64_t sent = counters->sent;
    cw_ping(w, cw_ip("10.3.0.2"), 7); /* refused by a filter */
    struct sim_packet forged = cw_echo(w, cw_ip("10.3.0.2"), 8);
    forged.source = cw_ip("100.70.0.99");
    cw_app(w, &forged);
    cw_ping(w, cw_ip("192.0.2.1"), 9); /* of no resource */
    assert_int_equal(sim_portal_revoke(w->portal, w->now, 0, 0, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    cw_settle(w);
    cw_ping(w, cw_ip("10.3.0.2"), 10); /* taken away */
    cw_run(w, 100);
    assert_int_equal(counters->sent, sent + 4);
    assert_int_equal(counters->refused_filter, 0);
    assert_int_equal(w->inside_count, inside);
    for (uint32_t i = 0; i < w->inbox_count; i++) {
        struct sim_packet error;
        assert_null(sim_packet_read((struct view){w->inbox[i], w->inbox_len[i]}, &error));
        assert_true(sim_packet_is_icmp_error(&error));
    }
    assert_true(w->inbox_count >= 3);
    sim_client_obey(w->client, w->now, w->out);
    cw_carry(w, CW_CLIENT);
    uint64_t covered = counters->no_resource;
    sent = counters->sent;
    cw_ping(w, cw_ip("10.3.0.2"), 11);
    cw_settle(w);
    assert_int_equal(counters->no_resource, covered + 1);
    assert_int_equal(counters->sent, sent);
}

static void a_lawless_client_obeys_nobody_until_it_does(void **state)
{
    (void)state;
    each(lawless, &(struct cw_options){.lawless = true});
}

static void internet(struct cw *w)
{
    struct sim_resource resource = {.id = cw_uuid(0x77), .kind = SIM_RESOURCE_INTERNET};
    strcpy(resource.name, "Internet");
    assert_int_equal(sim_portal_add_resource(w->portal, w->now, &resource, w->out), ERR_NONE);
    cw_carry(w, CW_PORTAL);
    cw_settle(w);
    assert_int_equal(ping_for(w, "198.51.100.200", 2), 2);
    assert_int_equal(ping_for(w, "2606:4700::1111", 2), 2);
    assert_int_equal(ping_for(w, "192.168.1.1", 2), 0);
    assert_int_equal(ping_for(w, "10.3.0.9", 2), 2); /* the CIDR resource is longer */
}

static void the_internet_resource_takes_what_is_public(void **state)
{
    (void)state;
    each(internet, &(struct cw_options){0});
}

/* ---- keys that change with every request ---- */

static void two_flows_after_a_restart(struct cw *w)
{
    static const uint8_t SEED[32] = {78};
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    assert_int_equal(ping_for(w, "fd33::2", 3), 3);
    for (uint32_t i = 0; i < w->pipes_count; i++) {
        if (w->pipes[i].from == CW_CLIENT) {
            cw_stream(w, CW_CLIENT, w->pipes[i].id, CW_STREAM_CLOSE, VIEW_EMPTY);
        }
    }
    w->nodes[CW_CLIENT].ops->restart(w->client, w->now, SEED);
    cw_addresses(w, CW_CLIENT);
    cw_run(w, 2000);
    w->inbox_count = 0;
    cw_ping(w, cw_ip("10.3.0.2"), 1);
    cw_ping(w, cw_ip("fd33::2"), 2);
    cw_resolve(w, "web.corp.test");
    cw_ping(w, w->resolved[0], 3);
    cw_run(w, 20 * 1000);
    assert_true(cw_ponged(w, cw_ip("10.3.0.2"), 1));
    assert_true(cw_ponged(w, cw_ip("fd33::2"), 2));
    assert_true(cw_ponged(w, w->resolved[0], 3));
}

static void several_requests_at_once_after_a_restart_find_the_key(void **state)
{
    (void)state;
    each(two_flows_after_a_restart, &(struct cw_options){0});
}

/* ---- hostile input ---- */

static void hostile(struct cw *w)
{
    uint8_t bytes[256];
    struct sock_addr own = sock_addr_of(w->host[CW_CLIENT].ipv4, 52625);
    assert_int_equal(ping_for(w, "10.3.0.2", 2), 2);
    for (uint32_t i = 0; i < 3000; i++) {
        size_t len = rng_below(&w->dice, sizeof bytes);
        rng_bytes(&w->dice, bytes, sizeof bytes);
        uint32_t form = rng_below(&w->dice, 4);
        if (form == 0) {
            store_be16(bytes, 0x0101);
            store_be16(bytes + 2, (uint16_t)(len - 20));
            store_be32(bytes + 4, STUN_COOKIE);
        } else if (form == 1) {
            store_le32(bytes, 1 + rng_below(&w->dice, 4));
        }
        struct sim_datagram datagram = {
            .local = own,
            .remote = sock_addr_of(i % 2 == 0 ? w->host[CW_RELAY].ipv4 : w->host[CW_GATEWAY].ipv4,
                                   i % 2 == 0 ? 3478 : 52625),
            .bytes = {bytes, len}};
        w->nodes[CW_CLIENT].ops->handle_datagram(w->client, w->now, &datagram, w->out);
        cw_carry(w, CW_CLIENT);
        sim_client_send_ip(w->client, w->now, (struct view){bytes, len}, w->out);
        cw_carry(w, CW_CLIENT);
    }
    static const char *const LINES[] = {
        "{\"event\":\"init\"}\n",
        "{\"event\":\"flow_created\",\"payload\":{\"resource_id\":1}}\n",
        "{\"event\":\"ice_candidates\",\"payload\":{\"gateway_id\":\"x\",\"candidates\":{}}}\n",
        "not json\n",
        "{\"event\":\"relays_presence\",\"payload\":{\"connected\":[{}]}}\n",
        "{\"event\":\"resource_created_or_updated\",\"payload\":null}\n",
        "{\"event\":\"phx_reply\",\"ref\":99,\"payload\":{}}\n",
        "[]\n\n\n"};
    for (uint32_t i = 0; i < ARRAY_COUNT(LINES); i++) {
        for (uint32_t k = 0; k < w->pipes_count; k++) {
            if (w->pipes[k].from == CW_CLIENT) {
                cw_stream(w, CW_PORTAL, w->pipes[k].accepted, CW_STREAM_BYTES, view_text(LINES[i]));
            }
        }
        cw_settle(w);
    }
    assert_int_equal(ping_for(w, "10.3.0.2", 5), 5);
}

static void noise_from_everywhere_changes_nothing(void **state)
{
    (void)state;
    each(hostile, &(struct cw_options){0});
}

/* ---- the fast path ---- */

#define TRAIN_SEGMENTS 40U
#define TRAIN_STEP     100U
#define TRAIN_TAIL     7U

/* One super-packet goes out as one train and comes back as one super-packet, byte for byte. */
static void echo_super_packet(struct cw *w, const char *to)
{
    uint8_t payload[TRAIN_SEGMENTS * TRAIN_STEP + TRAIN_TAIL];
    uint8_t room[sizeof payload + 64];
    struct ip_addr ip = cw_ip(to);
    bool v4 = ip.family == IP_V4;
    for (size_t i = 0; i < sizeof payload; i++) {
        payload[i] = (uint8_t)(i * 7U + i / 256U);
    }
    struct sim_packet packet = {.source = v4 ? w->policy.clients[0].tunnel_v4
                                             : w->policy.clients[0].tunnel_v6,
                                .destination = ip,
                                .protocol = SIM_PROTO_UDP,
                                .source_port = 4000,
                                .destination_port = 5000,
                                .payload = {payload, sizeof payload}};
    struct writer out = writer_of((struct span){room, sizeof room});
    sim_packet_put(&out, &packet);
    assert_true(writer_finish(&out));
    struct gateway_tun_packet tun = {.bytes = {room, out.used},
                                     .offload = {GATEWAY_GSO_UDP, TRAIN_STEP, true}};
    uint32_t trains = w->bulk_trains;
    uint32_t groups = w->bulk_groups;
    w->inbox_count = 0;
    w->bulk_waits = true;
    assert_true(sim_client_bulk_tun(w->bulk, w->now, &tun, w->out));
    cw_bulk_flush(w);
    assert_int_equal(w->bulk_trains, trains + 1);
    cw_settle(w);
    assert_int_equal(w->bulk_kept_count, TRAIN_SEGMENTS + 1);
    cw_bulk_flush(w);
    assert_int_equal(w->bulk_groups, groups + 1);
    w->bulk_waits = false;
    assert_int_equal(w->inbox_count, TRAIN_SEGMENTS + 1);
    for (uint32_t i = 0; i <= TRAIN_SEGMENTS; i++) {
        struct sim_packet back;
        struct view part = view_sub((struct view){payload, sizeof payload}, i * TRAIN_STEP,
                                    i < TRAIN_SEGMENTS ? TRAIN_STEP : TRAIN_TAIL);
        assert_null(sim_packet_read((struct view){w->inbox[i], w->inbox_len[i]}, &back));
        assert_true(view_equal(back.payload, part));
        assert_int_equal(back.destination_port, 4000);
    }
}

static void super_packets_travel_whole(void **state)
{
    (void)state;
    cw_with_bulk = true;
    for (uint32_t i = 0; i < 8; i++) {
        struct cw_options options = {
            .head_client = (i & 1) != 0, .head_portal = (i & 2) != 0, .block_direct = (i & 4) != 0};
        struct cw *w = cw_new(&options);
        ping_everything(w);
        echo_super_packet(w, "10.3.0.2");
        echo_super_packet(w, "fd33::2");
        cw_free(w);
    }
    cw_with_bulk = false;
}

/* Between two pings nothing but the pings themselves passes the fast path, and all of them do. */
static void only_established_tunnels_take_the_fast_path(void **state)
{
    (void)state;
    cw_with_bulk = true;
    struct cw_options options = {.head_client = true};
    struct cw *w = cw_new(&options);
    cw_ping(w, cw_ip("10.3.0.2"), 1);
    assert_int_equal(w->bulk_taken, 0);
    cw_run(w, 3000);
    assert_true(cw_ponged(w, cw_ip("10.3.0.2"), 1));
    uint32_t taken = w->bulk_taken;
    assert_int_equal(ping_for(w, "10.3.0.2", 3), 3);
    assert_int_equal(w->bulk_taken, taken + 6);
    cw_resolve(w, "one.corp.test");
    cw_ping(w, w->resolved[0], 3);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, w->resolved[0], 3));
    cw_resolve(w, "two.corp.test"); /* the gateway is asked; what comes now waits for the answer */
    taken = w->bulk_taken;
    cw_ping(w, w->resolved[0], 4);
    assert_int_equal(w->bulk_taken, taken);
    cw_run(w, 1000);
    assert_true(cw_ponged(w, w->resolved[0], 4));
    taken = w->bulk_taken;
    cw_ping(w, w->resolved[0], 5);
    assert_int_equal(w->bulk_taken, taken + 1);
    sim_client_forget_gateway(w->client, w->now, &w->policy.gateways[0].id, w->out);
    cw_carry(w, CW_CLIENT);
    taken = w->bulk_taken;
    cw_ping(w, cw_ip("10.3.0.2"), 2);
    assert_int_equal(w->bulk_taken, taken);
    cw_free(w);
    cw_with_bulk = false;
}

static int set_bulk(void **state)
{
    (void)state;
    cw_with_bulk = true;
    return 0;
}

static int clear_bulk(void **state)
{
    (void)state;
    cw_with_bulk = false;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pings_reach_cidr_and_dns_resources),
        cmocka_unit_test(a_relayed_path_becomes_direct_without_loss),
        cmocka_unit_test(steady_traffic_survives_every_renewal),
        cmocka_unit_test(idle_connections_are_quiet_and_wake_up),
        cmocka_unit_test(a_dead_gateway_is_given_up_in_time_and_asked_for_again),
        cmocka_unit_test(a_restarted_client_is_served_again),
        cmocka_unit_test(a_client_that_lost_its_half_gets_a_new_one),
        cmocka_unit_test(roaming_reconnects_and_keeps_proxy_addresses),
        cmocka_unit_test(broken_portal_connections_are_not_noticed_by_traffic),
        cmocka_unit_test(a_restarted_relay_is_used_again),
        cmocka_unit_test(revoked_resources_are_unreachable_until_granted_again),
        cmocka_unit_test(a_right_that_the_gateway_lost_is_asked_for_again),
        cmocka_unit_test(goodbye_ends_the_connection_at_the_gateway),
        cmocka_unit_test(a_gateway_that_ends_says_goodbye),
        cmocka_unit_test(the_first_packets_wait_and_arrive),
        cmocka_unit_test(buffers_are_bounded),
        cmocka_unit_test(heavy_loss_is_survived),
        cmocka_unit_test(every_kind_of_relay_works),
        cmocka_unit_test(a_client_with_ipv6_only_is_served),
        cmocka_unit_test(a_client_that_wants_relays_only_stays_relayed),
        cmocka_unit_test(the_resolver_of_the_client_answers_over_the_tunnel_device),
        cmocka_unit_test(service_questions_of_head_go_to_the_gateway),
        cmocka_unit_test(what_filters_refuse_is_answered_by_icmp),
        cmocka_unit_test(foreign_sources_pass_in_neither_direction),
        cmocka_unit_test(answers_of_a_resource_that_was_lost_are_refused),
        cmocka_unit_test(packets_without_a_resource_go_nowhere),
        cmocka_unit_test(a_lawless_client_obeys_nobody_until_it_does),
        cmocka_unit_test(the_internet_resource_takes_what_is_public),
        cmocka_unit_test(several_requests_at_once_after_a_restart_find_the_key),
        cmocka_unit_test(noise_from_everywhere_changes_nothing),
    };
    const struct CMUnitTest fast[] = {
        cmocka_unit_test(super_packets_travel_whole),
        cmocka_unit_test(only_established_tunnels_take_the_fast_path),
    };
    cmocka_set_test_filter(getenv("CW_FILTER"));
    int failed = cmocka_run_group_tests(fast, NULL, NULL);
    failed += cmocka_run_group_tests(tests, NULL, NULL);
    /* Whatever the client does, it does with the fast path in front of it too. */
    return failed + cmocka_run_group_tests(tests, set_bulk, clear_bulk);
}
