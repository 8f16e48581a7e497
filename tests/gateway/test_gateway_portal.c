/* The control plane of the whole core: join, init, relays, authorizations, candidates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"
#include "json/json.h"

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 2}};
static const struct ip_addr server6 = {IP_V6,
                                       {0xfd, 0x33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};

static const struct gateway_counters *counters(const struct rig *rig)
{
    return gateway_counters(rig->gw);
}

/* Place of the first text with this event, SIZE_MAX without. */
static size_t place_of(const struct rig *rig, const char *event)
{
    for (size_t i = 0; i < rig->portal.texts.count; i++) {
        if (strstr((const char *)rig->portal.texts.items[i].at, event) != NULL) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* ---- join and init ---- */

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
    assert_int_equal(rig->listeners[GATEWAY_LISTENER_HEALTH].port, 8080);
    assert_int_equal(rig->relays[0].allocates, 1);
    assert_int_equal(rig->relays[1].allocates, 0);
    rig_free(rig);
}

static void another_init_changes_the_addresses_and_keeps_everything_else(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig->portal.ipv4 = "100.70.9.9";
    rig_push_init(rig);
    struct ip_addr v4 = ip_v4(100, 70, 9, 9);
    assert_int_equal(rig->tun_configs, 2);
    assert_true(ip_equal(&rig->tun_config.ipv4, &v4));
    assert_true(ip_equal(&rig->listeners[GATEWAY_LISTENER_DNS_UDP4].ip, &v4));
    assert_int_equal(rig->listens, 9);
    assert_int_equal(rig->relays[0].allocates, 1);
    assert_int_equal(counters(rig)->connections, 1);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void a_portal_that_was_never_reached_ends_the_process(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_absent = true;
    rig_settle(rig);
    rig_pass(rig, DURATION_S(60));
    assert_true(rig->portal.opens > 2);
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 1);
    rig_free(rig);
}

static void a_portal_that_goes_away_is_tried_again(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->portal.is_absent = true;
    rig_portal_drop(rig);
    rig_pass(rig, DURATION_S(300));
    assert_int_equal(rig->portal.joins, 1);
    assert_true(rig->portal.opens > 4);
    assert_false(rig->exited);
    rig->portal.is_absent = false;
    rig_pass(rig, DURATION_S(120));
    assert_int_equal(rig->portal.joins, 2);
    assert_int_equal(rig->tun_configs, 2);
    rig_free(rig);
}

static void a_portal_that_takes_connections_and_says_nothing_is_left(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_silent = true;
    rig_settle(rig);
    rig_pass(rig, DURATION_S(60));
    assert_true(rig->portal.opens > 1);
    rig_free(rig);
}

static void heartbeats_keep_the_connection_and_their_silence_ends_it(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_pass(rig, DURATION_S(300));
    assert_int_equal(rig->portal.joins, 1);
    assert_true(rig->portal.heartbeats >= 29);
    rig->portal.is_silent = true;
    rig_pass(rig, DURATION_S(60));
    assert_true(rig->events_seen[EV_PORTAL_LOST] >= 1);
    rig_free(rig);
}

/* ---- relays ---- */

static void presence_adds_and_removes_relays(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_presence(rig, 2, 1);
    rig_pass(rig, DURATION_S(2));
    assert_int_equal(rig->relays[0].deletes, 1);
    assert_false(rig->relays[0].is_allocated);
    assert_int_equal(rig->relays[1].allocates, 1);
    assert_int_equal(counters(rig)->relays, 1);
    assert_int_equal(rig->portal.joins, 1); /* a replacement was named: nothing to ask for */
    rig_free(rig);
}

static void losing_the_last_relay_asks_the_portal_for_another(void **state)
{
    (void)state;
    for (int head = 0; head < 2; head++) {
        struct rig *rig = rig_new();
        rig->portal.is_head = head == 1;
        rig_join(rig);
        rig_push_presence(rig, 0, 1);
        rig_pass(rig, DURATION_S(1));
        assert_int_equal(rig_said(rig, "no_relays", NULL), head);
        assert_int_equal(rig->portal.joins, 2 - head);
        rig_free(rig);
    }
}

/* A host that was suspended reads all of it at once: what follows the loss of the relay counts. */
static void what_an_older_portal_said_after_the_loss_of_the_relay_is_read(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_push_presence(rig, 0, 1);
    rig_pass(rig, DURATION_MS(100));
    rig_push_reject(rig, 0, RIG_CIDR4_ID);
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    rig_push_presence(rig, 2, 0); /* another relay: no reason to leave */
    rig_pass(rig, DURATION_S(2));
    assert_int_equal(rig->portal.joins, 1);
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void an_unknown_relay_that_leaves_changes_nothing(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_presence(rig, 0, 2);
    assert_int_equal(counters(rig)->relays, 1);
    assert_int_equal(rig->relays[0].deletes, 0);
    rig_free(rig);
}

static void a_relay_that_leaves_and_joins_at_once_gets_a_new_allocation(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_presence(rig, 1, 1);
    /* The answers to both come from one address: each finds the allocation that asked. */
    assert_int_equal(rig_drops_all(rig), 0);
    assert_int_equal(rig->relays[0].allocates, 2);
    rig_pass(rig, DURATION_S(3));
    assert_int_equal(counters(rig)->relays, 1);
    assert_true(rig->relays[0].is_allocated);
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void relays_beyond_the_table_are_refused_and_counted(void **state)
{
    (void)state;
    struct gateway_limits limits = rig_limits();
    limits.relays = 1;
    struct rig *rig = rig_new_with(&limits, true);
    rig->portal.relays = 3;
    rig_join(rig);
    assert_int_equal(counters(rig)->relays, 1);
    assert_int_equal(rig_drops(rig, DROP_PORTAL_LIMIT), 1);
    assert_int_equal(rig->relays[0].allocates, 1);
    assert_int_equal(rig->relays[1].allocates, 0);
    rig_free(rig);
}

/* ---- authorizations ---- */

static void init_with_authorizations_revokes_what_it_does_not_list(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_head = true;
    rig->portal.authorizations = "[]";
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_authorize(rig, 0, RIG_CIDR6, "null");
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_tun(rig, 0, server6, 80));
    rig->portal.authorizations =
        "[{\"client_id\":\"cccccccc-0000-4000-8000-000000000000\",\"resource_id\":\"" RIG_CIDR4_ID
        "\",\"expires_at\":1999999999}]";
    rig_push_init(rig);
    assert_int_equal(rig->events_seen[EV_REVOKED], 1);
    struct uuid cidr6;
    assert_true(uuid_parse(view_text(RIG_CIDR6_ID), &cidr6));
    assert_true(uuid_equal(&rig->events_of[EV_REVOKED][0], &rig->clients[0].id));
    assert_true(uuid_equal(&rig->events_of[EV_REVOKED][1], &cidr6));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_false(rig_reaches_tun(rig, 0, server6, 80));
    assert_int_equal(counters(rig)->connections, 1);
    assert_int_equal(rig->clients[0].goodbyes, 0);
    rig->portal.authorizations = "[]";
    rig_push_init(rig);
    assert_int_equal(rig->events_seen[EV_REVOKED], 2);
    assert_int_equal(rig->clients[0].goodbyes, 1);
    assert_false(rig_reaches_tun(rig, 0, server6, 80));
    assert_int_equal(counters(rig)->connections, 1); /* old clients do not understand a goodbye */
    rig_free(rig);
}

static void init_without_authorizations_revokes_nothing(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_init(rig);
    assert_int_equal(rig->events_seen[EV_REVOKED], 0);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void reject_access_ends_one_resource_and_the_last_one_the_connection(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_authorize(rig, 0, RIG_CIDR6, "null");
    rig_push_reject(rig, 0, RIG_CIDR4_ID);
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_tun(rig, 0, server6, 80));
    assert_int_equal(rig->clients[0].goodbyes, 0);
    rig_push_reject(rig, 0, RIG_CIDR4_ID); /* portals repeat it */
    rig_push_reject(rig, 1, RIG_CIDR4_ID); /* nobody's */
    assert_int_equal(counters(rig)->connections, 1);
    rig_push_reject(rig, 0, RIG_CIDR6_ID);
    assert_int_equal(rig->clients[0].goodbyes, 1);
    assert_false(rig_reaches_tun(rig, 0, server6, 80));
    rig->clients[0].is_mute = true;
    rig_pass(rig, DURATION_S(1100)); /* its checks end: so does the connection */
    assert_int_equal(counters(rig)->connections, 0);
    assert_int_equal(counters(rig)->clients, 0);
    rig_free(rig);
}

/* A client that does not understand the goodbye goes on with its session when access comes back. */
static void access_that_comes_back_soon_finds_its_connection(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_reject(rig, 0, RIG_CIDR4_ID);
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    rig_pass(rig, DURATION_S(5));
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_int_equal(counters(rig)->connections, 1);
    rig_free(rig);
}

static void a_new_client_takes_the_place_of_one_without_access(void **state)
{
    (void)state;
    struct gateway_limits limits = rig_limits();
    limits.clients = 1;
    struct rig *rig = rig_new_with(&limits, true);
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_reject(rig, 0, RIG_CIDR4_ID);
    assert_int_equal(counters(rig)->connections, 1);
    rig_push_authorize(rig, 1, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 2);
    assert_int_equal(counters(rig)->clients, 1);
    rig_free(rig);
}

static void resource_updated_changes_the_filters(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_push(rig, "resource_updated",
             "{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"cidr\",\"address\":\"10.3.0.0/24\","
             "\"name\":\"n\",\"filters\":[{\"protocol\":\"udp\",\"port_range_start\":81,"
             "\"port_range_end\":82}]}");
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_tun(rig, 0, server4, 81));
    assert_int_equal(rig_drops(rig, DROP_FILTER), 1);
    rig_push(rig, "resource_updated", RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void resource_updated_that_cannot_be_read_removes_the_resource(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_authorize(rig, 0, RIG_CIDR6, "null");
    rig_push(rig, "resource_updated",
             "{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"cidr\",\"address\":\"10.3.0.0/24\","
             "\"name\":\"n\",\"filters\":null}");
    assert_int_equal(rig->events_seen[EV_REVOKED], 1);
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_tun(rig, 0, server6, 80));
    rig_free(rig);
}

/* Puts a resource with `count` filters: one port each, none next to another, or all alike. */
static void put_many_filters(char *out, size_t size, size_t count, bool alike)
{
    int used = snprintf(out, size,
                        "{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"cidr\",\"address\":"
                        "\"10.3.0.0/24\",\"name\":\"n\",\"filters\":[");
    for (size_t i = 0; i < count; i++) {
        const char *comma = i == 0 ? "" : ",";
        size_t port = 1000 + 2 * i;
        used += alike
                    ? snprintf(out + used, size - (size_t)used, "%s{\"protocol\":\"icmp\"}", comma)
                    : snprintf(out + used, size - (size_t)used,
                               "%s{\"protocol\":\"udp\",\"port_range_start\":%zu,"
                               "\"port_range_end\":%zu}",
                               comma, port, port);
        assert_in_range(used, 0, size - 128);
    }
    (void)snprintf(out + used, size - (size_t)used, "]}");
}

#define CIDR4_WITH(filters)                                                                        \
    "{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"cidr\",\"address\":\"10.3.0.0/24\","                  \
    "\"name\":\"n\",\"filters\":" filters "}"

/* What it narrowed is not known, so that nothing of it is left; of all else nothing is lost. */
static void an_authorization_that_cannot_be_served_ends_what_it_was_to_replace(void **state)
{
    static char many[2][8192];
    const struct {
        const char *resource;
        enum drop_reason reason;
    } rows[] = {
        {many[0], DROP_PORTAL_LIMIT}, /* ports that do not merge */
        {many[1], DROP_PORTAL_LIMIT}, /* more than are read */
        {CIDR4_WITH("null"), DROP_PORTAL_FIELD},
        {CIDR4_WITH("[{\"protocol\":\"udp\",\"port_range_start\":-1}]"), DROP_PORTAL_FIELD},
        {"{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"device_pool\"}", DROP_PORTAL_FIELD},
        {"{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"internet\"}", DROP_PORTAL_FIELD}, /* kind */
    };
    (void)state;
    put_many_filters(many[0], sizeof(many[0]), 65, false);
    put_many_filters(many[1], sizeof(many[1]), 257, true);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct rig *rig = rig_new();
        rig_join(rig);
        rig_connect(rig, 0, RIG_CIDR4);
        rig_push_authorize(rig, 0, RIG_CIDR6, "null");
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        rig_forget(rig);
        rig_push_authorize(rig, 0, rows[i].resource, "null");
        rig_pass(rig, DURATION_MS(1)); /* a long text is read in pieces */
        assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
        assert_int_equal(rig_drops(rig, rows[i].reason), 1);
        assert_int_equal(rig->events_seen[EV_REVOKED], 1);
        assert_false(rig_reaches_tun(rig, 0, server4, 80));
        assert_true(rig_reaches_tun(rig, 0, server6, 80));
        rig_push_authorize(rig, 0, RIG_CIDR4, "null");
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        rig_free(rig);
    }
}

static void an_authorization_ends_by_the_wall_clock(void **state)
{
    (void)state;
    char expires[32];
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    uint64_t now_s = rig->now.unix_ns / NS_PER_S;
    (void)snprintf(expires, sizeof(expires), "%llu", (unsigned long long)(now_s + 60));
    rig_push_authorize(rig, 0, RIG_CIDR4, expires);
    rig_pass(rig, DURATION_S(57));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_pass(rig, DURATION_S(5));
    assert_int_equal(rig->events_seen[EV_EXPIRED], 1);
    assert_int_equal(rig->clients[0].goodbyes, 1);
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void a_wall_clock_that_jumps_ahead_ends_access_at_the_next_packet(void **state)
{
    (void)state;
    char expires[32];
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    uint64_t now_s = rig->now.unix_ns / NS_PER_S;
    (void)snprintf(expires, sizeof(expires), "%llu", (unsigned long long)(now_s + 3600));
    rig_push_authorize(rig, 0, RIG_CIDR4, expires);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig->now.unix_ns += 3600 * NS_PER_S;
    assert_false(rig_reaches_tun(rig, 0, server4, 80));
    assert_int_equal(rig_drops(rig, DROP_EXPIRED), 1);
    rig->now.unix_ns -= 3600 * NS_PER_S; /* and back: it was not yet taken away */
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig->now.unix_ns += 3600 * NS_PER_S;
    rig_pass(rig, DURATION_S(61));
    assert_int_equal(rig->events_seen[EV_EXPIRED], 1);
    rig_free(rig);
}

static void the_portal_prolongs_an_authorization(void **state)
{
    (void)state;
    char text[256];
    struct rig *rig = rig_new();
    rig->portal.is_head = true;
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    unsigned long long now_s = rig->now.unix_ns / NS_PER_S;
    (void)snprintf(text, sizeof(text), "%llu", now_s + 30);
    rig_push_authorize(rig, 0, RIG_CIDR4, text);
    (void)snprintf(text, sizeof(text),
                   "{\"client_id\":\"%s\",\"resource_id\":\"" RIG_CIDR4_ID
                   "\",\"expires_at\":%llu}",
                   rig->clients[0].id_text, now_s + 300);
    rig_push(rig, "access_authorization_expiry_updated", text);
    rig_pass(rig, DURATION_S(60));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_pass(rig, DURATION_S(300));
    assert_int_equal(rig->events_seen[EV_EXPIRED], 1);
    rig_free(rig);
}

/* ---- answers ---- */

static void without_a_relay_an_older_portal_is_left_and_joined_again(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.relays = 0;
    rig_join(rig);
    rig->portal.relays = 1;
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_pass(rig, DURATION_S(1));
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
    assert_int_equal(rig_said(rig, "no_relays", NULL), 0);
    assert_int_equal(rig->portal.joins, 2);
    assert_int_equal(counters(rig)->clients, 0);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 1);
    rig_free(rig);
}

static void without_a_relay_a_newer_portal_is_told(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_head = true;
    rig->portal.relays = 0;
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_pass(rig, DURATION_S(1));
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
    assert_int_equal(rig_said(rig, "no_relays", NULL), 1);
    assert_int_equal(rig->portal.joins, 1);
    rig_push_presence(rig, 1, 0);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 1);
    rig_free(rig);
}

static void a_relay_that_was_given_up_serves_nobody(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_head = true;
    rig_join(rig);
    rig->relays[0].is_silent = true;
    rig_pass(rig, DURATION_S(60));
    assert_true(rig->events_seen[EV_RELAY_FAILED] > 0);
    assert_int_equal(rig_said(rig, "no_relays", NULL), rig->events_seen[EV_RELAY_FAILED]);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
    assert_int_equal(counters(rig)->clients, 0);
    rig->relays[0].is_silent = false;
    rig_push_init(rig); /* the portal still lists it: it gets another chance */
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 1);
    rig_free(rig);
}

static void unusable_credentials_for_a_relay_that_was_given_up_change_nothing(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig->portal.is_head = true;
    rig_join(rig);
    rig->relays[0].is_silent = true;
    rig_pass(rig, DURATION_S(60));
    rig->relays[0].is_silent = false;
    rig->relays[0].username[0] = 0;
    uint64_t drops = rig_drops(rig, DROP_PORTAL_FIELD);
    rig_push_init(rig);
    assert_int_equal(rig_drops(rig, DROP_PORTAL_FIELD), drops + 1);
    assert_int_equal(counters(rig)->relays, 1);
    (void)snprintf(rig->relays[0].username, sizeof(rig->relays[0].username), "2145916800:salt0");
    rig_pass(rig, DURATION_S(60)); /* it goes on with what it had */
    assert_int_equal(rig->relays[0].allocates, 2);
    assert_true(rig->relays[0].is_allocated);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 1);
    rig_free(rig);
}

static void the_answer_precedes_the_candidates(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    const char *text = NULL;
    assert_int_equal(rig_said(rig, "flow_authorized", &text), 1);
    assert_non_null(strstr(text, "\"payload\":{\"ref\":\"ref-0\"}"));
    rig_pass(rig, DURATION_MS(100));
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", NULL), 1);
    assert_true(place_of(rig, "flow_authorized") < place_of(rig, "broadcast_ice_candidates"));
    rig_free(rig);
}

static void candidates_wait_for_the_first_of_the_client_that_is_no_host(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_pass(rig, DURATION_MS(50));
    rig_push_candidate(rig, 0, "ice_candidates",
                       "candidate:1 1 udp 2130706431 10.1.0.2 52625 typ host");
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", NULL), 0);
    rig_push_candidate(
        rig, 0, "ice_candidates",
        "candidate:2 1 udp 1694498815 203.0.113.30 52625 typ srflx raddr 10.1.0.2 rport 52625");
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", NULL), 1);
    rig_pass(rig, DURATION_S(1));
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", NULL), 1);
    rig_free(rig);
}

static void candidates_wait_no_longer_than_a_tenth_of_a_second(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_pass(rig, DURATION_MS(99));
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", NULL), 0);
    rig_pass(rig, DURATION_MS(1));
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", NULL), 1);
    rig_free(rig);
}

static void candidates_come_in_one_message_by_descending_priority(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_pass(rig, DURATION_MS(100));
    const char *text = NULL;
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", &text), 1);
    assert_non_null(strstr(text,
                           "\"payload\":{\"client_ids\":[\"cccccccc-0000-4000-8000-000000000000\"],"
                           "\"candidates\":[\"candidate:"));
    static const enum ice_kind kinds[] = {ICE_HOST, ICE_SRFLX, ICE_RELAY};
    struct json_doc doc = {0};
    assert_int_equal(json_parse(&doc, view_text(text)), DROP_NONE);
    const struct json_value *list = json_get(json_get(doc.root, "payload"), "candidates");
    assert_int_equal(json_count(list), 3);
    uint32_t last = UINT32_MAX;
    size_t count = 0;
    for (const struct json_value *e = json_first(list); e != NULL; e = json_next(e)) {
        struct view line;
        struct ice_candidate candidate;
        assert_true(json_text(e, &line));
        assert_int_equal(ice_candidate_parse(line, &candidate), DROP_NONE);
        assert_true(candidate.priority < last);
        assert_int_equal(candidate.kind, kinds[count++]);
        assert_true(view_equal_text(ice_candidate_ufrag(&candidate), "gw00"));
        last = candidate.priority;
    }
    json_free(&doc);
    rig_free(rig);
}

static void candidates_wait_while_the_portal_is_away_and_cancelled_ones_are_never_told(void **state)
{
    (void)state;
    char port[4][32];
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(port[i], sizeof(port[i]), "203.0.113.10 %d typ relay",
                       rig->relays[0].relayed.port + (int)i);
    }
    const char *text = NULL;
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", &text), 1);
    assert_non_null(strstr(text, port[0]));
    rig_forget(rig);
    rig->portal.is_absent = true;
    rig_portal_drop(rig);
    for (size_t i = 0; i < 2; i++) {
        rig->relays[0].forgets = true;
        rig_pass(rig, DURATION_S(400));
        assert_false(rig->relays[0].forgets);
    }
    assert_int_equal(rig->portal.texts.count, 0);
    rig->portal.is_absent = false;
    rig_pass(rig, DURATION_S(120));
    assert_int_equal(rig->portal.joins, 2);
    assert_int_equal(rig_said(rig, "broadcast_ice_candidates", &text), 1);
    assert_non_null(strstr(text, port[2]));
    assert_null(strstr(text, port[1]));
    assert_int_equal(rig_said(rig, "broadcast_invalidated_ice_candidates", &text), 1);
    assert_non_null(strstr(text, port[0]));
    assert_null(strstr(text, port[1]));
    assert_true(place_of(rig, "broadcast_ice_candidates") <
                place_of(rig, "broadcast_invalidated_ice_candidates"));
    rig_free(rig);
}

static void candidates_for_nobody_and_unreadable_ones_are_counted(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push_candidate(rig, 0, "ice_candidates", "candidate:1 1 udp 1 192.0.2.1 5 typ host");
    assert_int_equal(rig_drops(rig, DROP_ICE_CANDIDATE), 1);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_push_candidate(rig, 0, "ice_candidates", "nonsense");
    assert_int_equal(rig_drops(rig, DROP_ICE_CANDIDATE), 2);
    rig_push_candidate(rig, 0, "invalidate_ice_candidates", "nonsense");
    assert_int_equal(rig_drops(rig, DROP_ICE_CANDIDATE), 3);
    rig_free(rig);
}

static void more_clients_than_the_table_holds_get_no_answer(void **state)
{
    (void)state;
    struct gateway_limits limits = rig_limits();
    limits.clients = 2;
    struct rig *rig = rig_new_with(&limits, true);
    rig_join(rig);
    for (size_t i = 0; i < 3; i++) {
        rig_push_authorize(rig, i, RIG_CIDR4, "null");
    }
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 2);
    assert_int_equal(rig_drops(rig, DROP_PORTAL_LIMIT), 1);
    assert_int_equal(counters(rig)->clients, 2);
    rig_push_reject(rig, 0, RIG_CIDR4_ID);
    rig_push_authorize(rig, 2, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 3);
    rig_free(rig);
}

static void more_resources_than_a_client_may_hold_get_no_answer(void **state)
{
    (void)state;
    char resource[256];
    struct rig *rig = rig_new();
    rig_join(rig);
    for (unsigned i = 0; i < 9; i++) {
        (void)snprintf(resource, sizeof(resource),
                       "{\"id\":\"22222222-2222-4222-8222-22222222222%u\",\"type\":\"cidr\","
                       "\"address\":\"10.%u.0.0/24\",\"name\":\"n\",\"filters\":[]}",
                       i, i);
        rig_push_authorize(rig, 0, resource, "null");
        assert_int_equal(rig_drops(rig, DROP_PORTAL_LIMIT), i < 8 ? 0 : 1);
    }
    /* An equal answer that waits is not queued twice, so only the refusal is counted here. */
    assert_int_equal(counters(rig)->connections, 1);
    rig_free(rig);
}

static void a_resource_that_cannot_be_granted_leaves_no_client_behind(void **state)
{
    (void)state;
    char name[301];
    char resource[512];
    struct rig *rig = rig_new();
    rig_join(rig);
    memset(name, 'a', 300);
    name[300] = 0;
    (void)snprintf(resource, sizeof(resource),
                   "{\"id\":\"" RIG_DNS_ID "\",\"type\":\"dns\",\"address\":\"%s\","
                   "\"name\":\"n\",\"filters\":[]}",
                   name);
    rig_push_authorize(rig, 0, resource, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
    assert_int_equal(rig_drops(rig, DROP_PORTAL_FIELD), 1);
    assert_int_equal(counters(rig)->clients, 0);
    assert_int_equal(counters(rig)->connections, 0);
    rig_free(rig);
}

static void unusable_keys_and_credentials_get_no_answer(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    struct rig_client *c = &rig->clients[0];
    struct x25519_public good = c->node.own.public_key;
    memset(&c->node.own.public_key, 0, sizeof(c->node.own.public_key)); /* of low order */
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
    assert_int_equal(rig_drops(rig, DROP_PORTAL_FIELD), 1);
    assert_int_equal(counters(rig)->clients, 0);
    c->node.own.public_key = good;
    c->gateway_ufrag[0] = 0;
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
    assert_int_equal(counters(rig)->clients, 0);
    memset(c->gateway_ufrag, 'u', 32); /* the longest that fits */
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 1);
    rig_free(rig);
}

static void push_credentials(struct rig *rig, const int lens[4])
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/+/";
    char payload[2048];
    uint8_t key[64];
    struct writer w = writer_of((struct span){key, sizeof(key)});
    text_put_base64(&w, VIEW_OF(rig->clients[0].node.own.public_key.bytes), true);
    writer_u8(&w, 0);
    (void)snprintf(payload, sizeof(payload),
                   "{\"ref\":\"r\",\"resource\":" RIG_CIDR4 ",\"client\":{\"id\":\"%s\","
                   "\"public_key\":\"%s\",\"preshared_key\":\"%s\",\"ipv4\":\"100.64.1.0\","
                   "\"ipv6\":\"fd00:2021:1111::1:0\"},\"client_ice_credentials\":{\"username\":"
                   "\"%.*s\",\"password\":\"%.*s\"},\"gateway_ice_credentials\":{\"username\":"
                   "\"%.*s\",\"password\":\"%.*s\"},\"expires_at\":null}",
                   rig->clients[0].id_text, (const char *)key, (const char *)key, lens[0], text,
                   lens[1], text, lens[2], text, lens[3], text);
    rig_push(rig, "authorize_flow", payload);
}

static void credentials_of_every_length_up_to_the_limit_are_taken(void **state)
{
    (void)state;
    static const int most[4] = {ICE_UFRAG_SIZE_MAX, ICE_PASSWORD_SIZE_MAX, ICE_UFRAG_SIZE_MAX,
                                ICE_PASSWORD_SIZE_MAX};
    struct rig *rig = rig_new();
    rig_join(rig);
    for (size_t i = 0; i < 4; i++) {
        int lens[4] = {4, 22, 4, 22};
        lens[i] = 0;
        push_credentials(rig, lens);
        lens[i] = most[i] + 1;
        push_credentials(rig, lens);
        assert_int_equal(rig_said(rig, "flow_authorized", NULL), 0);
        assert_int_equal(rig_drops_all(rig), 2);
        rig_forget(rig);
    }
    assert_int_equal(counters(rig)->connections, 0);
    push_credentials(rig, (int[4]){1, 1, 1, 1});
    push_credentials(rig, most);
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), 2);
    assert_int_equal(counters(rig)->connections, 1);
    rig_free(rig);
}

/* ---- clients before 1.4 ---- */

static void push_request_connection(struct rig *rig, const char *domain)
{
    char payload[2048];
    uint8_t key[64];
    uint8_t psk[64];
    struct writer w = writer_of((struct span){key, sizeof(key)});
    text_put_base64(&w, VIEW_OF(rig->clients[0].node.own.public_key.bytes), true);
    writer_u8(&w, 0);
    w = writer_of((struct span){psk, sizeof(psk)});
    text_put_base64(&w, VIEW_OF(rig->clients[0].psk.bytes), true);
    writer_u8(&w, 0);
    (void)snprintf(
        payload, sizeof(payload),
        "{\"ref\":\"old\",\"resource\":" RIG_DNS ",\"client\":{\"id\":\"%s\","
        "\"payload\":{\"ice_parameters\":{\"username\":\"%s\",\"password\":\"%s\"}%s},"
        "\"peer\":{\"public_key\":\"%s\",\"preshared_key\":\"%s\",\"ipv4\":\"100.64.1.0\","
        "\"ipv6\":\"fd00:2021:1111::1:0\",\"persistent_keepalive\":25}},"
        "\"expires_at\":null}",
        rig->clients[0].id_text, rig->clients[0].ufrag, rig->clients[0].password, domain,
        (const char *)key, (const char *)psk);
    rig_push(rig, "request_connection", payload);
}

/* Reads our credentials out of connection_ready. */
static void take_ready(struct rig *rig)
{
    const char *text = NULL;
    struct json_doc doc = {0};
    struct view username;
    struct view password;
    assert_int_equal(rig_said(rig, "connection_ready", &text), 1);
    assert_int_equal(json_parse(&doc, view_text(text)), DROP_NONE);
    const struct json_value *payload = json_get(doc.root, "payload");
    const struct json_value *ice = json_get(
        json_get(json_get(payload, "gateway_payload"), "ConnectionAccepted"), "ice_parameters");
    assert_true(json_get_text(ice, "username", &username));
    assert_true(json_get_text(ice, "password", &password));
    assert_int_equal(username.len, 4);
    assert_int_equal(password.len, 22);
    struct rig_client *c = &rig->clients[0];
    memset(c->gateway_ufrag, 0, sizeof(c->gateway_ufrag));
    memset(c->gateway_password, 0, sizeof(c->gateway_password));
    memcpy(c->gateway_ufrag, username.at, username.len);
    memcpy(c->gateway_password, password.at, password.len);
    json_free(&doc);
}

static void an_old_client_is_answered_with_our_credentials_and_connects(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_deaf = true;
    push_request_connection(rig, "");
    take_ready(rig);
    rig_client_start(rig, 0);
    rig->clients[0].is_deaf = false;
    rig_push_authorize(rig, 0, RIG_CIDR4, "null"); /* same credentials: all candidates again */
    rig_client_tell(rig, 0);
    rig_pass(rig, DURATION_S(3));
    assert_int_equal(rig->clients[0].handshakes, 1);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

/* The client takes the answer to its request and connects with what it says. */
static void connect_by_ready(struct rig *rig)
{
    take_ready(rig);
    rig_client_start(rig, 0);
    rig->clients[0].is_deaf = false;
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_client_tell(rig, 0);
    rig_pass(rig, DURATION_S(3));
}

/* Again from the same client: a new connection with new credentials, also for living ones. */
static void request_connection_replaces_a_living_connection(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_forget(rig);
    rig->clients[0].is_deaf = true;
    push_request_connection(rig, "");
    assert_int_equal(rig->events_seen[EV_CONNECTION_CLOSED], 1);
    assert_int_equal(rig->events_seen[EV_CONNECTION_NEW], 2);
    assert_int_equal(counters(rig)->connections, 1);
    assert_false(rig_reaches_tun(rig, 0, server4, 80)); /* the old session is gone */
    connect_by_ready(rig);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void an_old_clients_name_is_resolved_and_mapped_without_a_status(void **state)
{
    (void)state;
    static const struct ip_addr proxies[] = {{IP_V4, {100, 96, 0, 1}}, {IP_V4, {100, 96, 0, 2}}};
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_deaf = true;
    push_request_connection(rig, ",\"domain\":{\"name\":\"web.corp.test\",\"proxy_ips\":"
                                 "[\"100.96.0.1\",\"100.96.0.2\"]}");
    assert_int_equal(rig_said(rig, "connection_ready", NULL), 1);
    size_t a = rig_lookup(rig, GATEWAY_LOOKUP_A, "web.corp.test");
    size_t aaaa = rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "web.corp.test");
    assert_true(a < RIG_LOOKUPS_MAX && aaaa < RIG_LOOKUPS_MAX);
    rig_answer(rig, a, ERR_NONE, &server4, 1, 60);
    rig_answer(rig, aaaa, ERR_NONE, NULL, 0, 60);
    assert_int_equal(counters(rig)->lookups, 0);
    assert_int_equal(rig->events_seen[EV_DNS_DONE], 1);
    connect_by_ready(rig);
    assert_int_equal(rig->clients[0].packets.count, 0);
    for (size_t i = 0; i < ARRAY_COUNT(proxies); i++) {
        rig_list_clear(&rig->tun);
        assert_false(rig_reaches_tun(rig, 0, proxies[i], 80)); /* it is translated on its way */
        assert_int_equal(rig->tun.count, 1);
        assert_memory_equal(rig->tun.items[0].at + 16, server4.bytes, 4);
    }
    rig_free(rig);
}

static void allow_access_grants_without_an_answer(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_forget(rig);
    rig_push(rig, "allow_access",
             "{\"ref\":\"r\",\"client_id\":\"cccccccc-0000-4000-8000-000000000000\","
             "\"resource\":" RIG_CIDR6 ",\"expires_at\":null,\"client_ipv4\":\"100.64.1.0\","
             "\"client_ipv6\":\"fd00:2021:1111::1:0\"}");
    assert_int_equal(rig->portal.texts.count, 0);
    assert_int_equal(rig_drops_all(rig), 0); /* without a name nothing is resolved */
    assert_true(rig_reaches_tun(rig, 0, server6, 80));
    rig_free(rig);
}

/* ---- hostile and odd messages ---- */

static void messages_that_make_no_sense_are_counted_and_change_nothing(void **state)
{
    (void)state;
    static const char *texts[] = {
        "{\"topic\":\"gateway\",\"event\":\"surprise\",\"ref\":null,\"payload\":{}}",
        "{\"topic\":\"gateway\",\"event\":\"authorize_flow\",\"ref\":null,\"payload\":{}}",
        "{\"topic\":\"gateway\",\"event\":\"init\",\"ref\":null,\"payload\":null}",
        "not JSON at all",
        "[1,2,3]",
    };
    struct rig *rig = rig_new();
    rig_join(rig);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        rig_push_raw(rig, texts[i]);
        assert_int_equal(rig_drops_all(rig), i + 1);
    }
    assert_int_equal(rig->portal.joins, 1);
    assert_int_equal(rig->tun_configs, 1);
    rig_free(rig);
}

static void an_expired_token_ends_the_process(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_push(rig, "disconnect", "{\"reason\":\"token_expired\"}");
    rig_pass(rig, DURATION_S(2));
    assert_true(rig->exited);
    assert_int_equal(rig->exit_code, 1);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(join_configures_the_tun_device_the_listeners_and_the_relays),
        cmocka_unit_test(another_init_changes_the_addresses_and_keeps_everything_else),
        cmocka_unit_test(a_portal_that_was_never_reached_ends_the_process),
        cmocka_unit_test(a_portal_that_goes_away_is_tried_again),
        cmocka_unit_test(a_portal_that_takes_connections_and_says_nothing_is_left),
        cmocka_unit_test(heartbeats_keep_the_connection_and_their_silence_ends_it),
        cmocka_unit_test(presence_adds_and_removes_relays),
        cmocka_unit_test(losing_the_last_relay_asks_the_portal_for_another),
        cmocka_unit_test(what_an_older_portal_said_after_the_loss_of_the_relay_is_read),
        cmocka_unit_test(an_unknown_relay_that_leaves_changes_nothing),
        cmocka_unit_test(a_relay_that_leaves_and_joins_at_once_gets_a_new_allocation),
        cmocka_unit_test(relays_beyond_the_table_are_refused_and_counted),
        cmocka_unit_test(init_with_authorizations_revokes_what_it_does_not_list),
        cmocka_unit_test(init_without_authorizations_revokes_nothing),
        cmocka_unit_test(reject_access_ends_one_resource_and_the_last_one_the_connection),
        cmocka_unit_test(access_that_comes_back_soon_finds_its_connection),
        cmocka_unit_test(a_new_client_takes_the_place_of_one_without_access),
        cmocka_unit_test(resource_updated_changes_the_filters),
        cmocka_unit_test(resource_updated_that_cannot_be_read_removes_the_resource),
        cmocka_unit_test(an_authorization_that_cannot_be_served_ends_what_it_was_to_replace),
        cmocka_unit_test(an_authorization_ends_by_the_wall_clock),
        cmocka_unit_test(a_wall_clock_that_jumps_ahead_ends_access_at_the_next_packet),
        cmocka_unit_test(the_portal_prolongs_an_authorization),
        cmocka_unit_test(without_a_relay_an_older_portal_is_left_and_joined_again),
        cmocka_unit_test(without_a_relay_a_newer_portal_is_told),
        cmocka_unit_test(a_relay_that_was_given_up_serves_nobody),
        cmocka_unit_test(unusable_credentials_for_a_relay_that_was_given_up_change_nothing),
        cmocka_unit_test(the_answer_precedes_the_candidates),
        cmocka_unit_test(candidates_wait_for_the_first_of_the_client_that_is_no_host),
        cmocka_unit_test(candidates_wait_no_longer_than_a_tenth_of_a_second),
        cmocka_unit_test(candidates_come_in_one_message_by_descending_priority),
        cmocka_unit_test(
            candidates_wait_while_the_portal_is_away_and_cancelled_ones_are_never_told),
        cmocka_unit_test(candidates_for_nobody_and_unreadable_ones_are_counted),
        cmocka_unit_test(more_clients_than_the_table_holds_get_no_answer),
        cmocka_unit_test(more_resources_than_a_client_may_hold_get_no_answer),
        cmocka_unit_test(a_resource_that_cannot_be_granted_leaves_no_client_behind),
        cmocka_unit_test(unusable_keys_and_credentials_get_no_answer),
        cmocka_unit_test(credentials_of_every_length_up_to_the_limit_are_taken),
        cmocka_unit_test(an_old_client_is_answered_with_our_credentials_and_connects),
        cmocka_unit_test(request_connection_replaces_a_living_connection),
        cmocka_unit_test(an_old_clients_name_is_resolved_and_mapped_without_a_status),
        cmocka_unit_test(allow_access_grants_without_an_answer),
        cmocka_unit_test(messages_that_make_no_sense_are_counted_and_change_nothing),
        cmocka_unit_test(an_expired_token_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
