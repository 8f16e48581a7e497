/* Small scenes of one gateway, its portal and one client, in every order of what the portal says.
 * Source: spec/simulation.md S-23. */
#include <stdio.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/odometer.h"
#include "tests/support/support.h"

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 2}};
static const struct ip_addr server6 = {IP_V6,
                                       {0xfd, 0x33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};

/* ---- reject_access against authorize_flow ---- */

#define RACE_STEPS 4U

enum race_step {
    RACE_AUTHORIZE_4,
    RACE_AUTHORIZE_4_BRIEFLY, /* for a second */
    RACE_REJECT_4,
    RACE_AUTHORIZE_6,
    RACE_REJECT_6,
    RACE_PASS, /* two seconds */
    RACE_KINDS,
};

struct race {
    struct rig *rig;
    bool permitted4;
    bool permitted6;
    bool is_brief;
    unsigned authorized; /* messages */
    unsigned emptied;    /* times that the last right went */
};

static void authorize_4(struct race *race, bool is_brief)
{
    char until[32] = "null";
    if (is_brief) {
        (void)snprintf(until, sizeof(until), "%llu",
                       (unsigned long long)(race->rig->now.unix_ns / NS_PER_S + 1));
    }
    race->permitted4 = true;
    race->is_brief = is_brief;
    race->authorized++;
    rig_push_authorize(race->rig, 0, RIG_CIDR4, until);
}

static void take_step(struct race *race, enum race_step step)
{
    struct rig *rig = race->rig;
    bool had_any = race->permitted4 || race->permitted6;
    switch (step) {
    case RACE_AUTHORIZE_4:
    case RACE_AUTHORIZE_4_BRIEFLY:
        authorize_4(race, step == RACE_AUTHORIZE_4_BRIEFLY);
        break;
    case RACE_REJECT_4:
        race->permitted4 = false;
        rig_push_reject(rig, 0, RIG_CIDR4_ID);
        break;
    case RACE_AUTHORIZE_6:
        race->permitted6 = true;
        race->authorized++;
        rig_push_authorize(rig, 0, RIG_CIDR6, "null");
        break;
    case RACE_REJECT_6:
        race->permitted6 = false;
        rig_push_reject(rig, 0, RIG_CIDR6_ID);
        break;
    case RACE_PASS:
        race->permitted4 = race->permitted4 && !race->is_brief;
        rig_pass(rig, DURATION_S(2));
        break;
    case RACE_KINDS:
        fail();
    }
    race->emptied += had_any && !race->permitted4 && !race->permitted6;
}

/* A packet of the client that is under way while the portal speaks. */
static void send_ahead(struct rig *rig, const struct ip_addr *destination)
{
    uint8_t packet[256];
    uint8_t message[512];
    const struct rig_client *c = &rig->clients[0];
    const struct ip_addr *source = destination->family == IP_V4 ? &c->ipv4 : &c->ipv6;
    size_t len = rig_put_udp(packet, source, destination, 7000, 32, 1);
    len = rig_client_seal(rig, 0, (struct view){packet, len}, message);
    assert_true(len > 0);
    rig_client_datagram(rig, 0, (struct view){message, len});
}

static size_t passed(const struct rig *rig, enum ip_family family)
{
    size_t count = 0;
    for (size_t i = 0; i < rig->tun.count; i++) {
        count += rig->tun.items[i].at[0] >> 4U == (family == IP_V4 ? 4 : 6);
    }
    return count;
}

static void assert_judged(size_t count, bool before, bool after)
{
    assert_in_range(count, before && after, before || after);
}

static void run_race(struct odometer *odometer)
{
    struct race race = {.rig = rig_new(), .permitted4 = true};
    struct rig *rig = race.rig;
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_forget(rig);
    for (unsigned i = 0; i < RACE_STEPS; i++) {
        bool before4 = race.permitted4;
        bool before6 = race.permitted6;
        rig_list_clear(&rig->tun);
        send_ahead(rig, &server4);
        send_ahead(rig, &server6);
        take_step(&race, (enum race_step)odometer_choose(odometer, RACE_KINDS));
        assert_judged(passed(rig, IP_V4), before4, race.permitted4);
        assert_judged(passed(rig, IP_V6), before6, race.permitted6);
        assert_int_equal(rig_reaches_tun(rig, 0, server4, 80), race.permitted4);
        assert_int_equal(rig_reaches_tun(rig, 0, server6, 80), race.permitted6);
    }
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), race.authorized);
    assert_int_equal(rig->clients[0].goodbyes, race.emptied);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    rig_free(rig);
}

static void a_right_holds_from_its_grant_to_its_end_in_every_order(void **state)
{
    (void)state;
    assert_int_equal(odometer_run(run_race), 1296); /* six kinds of four messages */
}

/* ---- a connection that is offered again ---- */

#define UPSERT_STEPS 2U
/* Of keys told in one moment the gateway tries the first, the last and the one in use, each for a
 * handshake, which the client repeats every 5 s. */
#define BURST_S DURATION_S(3 + 2 * 5)

enum upsert_kind {
    UPSERT_SAME, /* all keys as before */
    UPSERT_PSK,  /* another preshared key, as the portal of 2024 draws it */
    UPSERT_ICE,  /* and other ICE credentials: one of the two has a new key */
    UPSERT_KINDS,
};

/* What the client does about an offer: it begins anew with what it is told. */
enum upsert_heard {
    UPSERT_NOW,
    UPSERT_LATE, /* when the next one has reached the gateway */
    UPSERT_NEVER,
    UPSERT_HEARDS,
};

struct upsert {
    struct rig *rig;
    unsigned serial; /* of keys */
    bool is_alive;   /* the client's first half is in use, and the gateway's too */
    bool is_late;
    struct rig_client late; /* its keys alone count */
};

static void copy_keys(struct rig_client *to, const struct rig_client *from)
{
    to->psk = from->psk;
    memcpy(to->ufrag, from->ufrag, sizeof(to->ufrag));
    memcpy(to->password, from->password, sizeof(to->password));
    memcpy(to->gateway_ufrag, from->gateway_ufrag, sizeof(to->gateway_ufrag));
    memcpy(to->gateway_password, from->gateway_password, sizeof(to->gateway_password));
}

static void draw_keys(struct upsert *u, enum upsert_kind kind)
{
    struct rig_client *c = &u->rig->clients[0];
    u->serial++;
    if (kind != UPSERT_SAME) {
        c->psk.bytes[1] = (uint8_t)u->serial;
    }
    if (kind == UPSERT_ICE) {
        (void)snprintf(c->ufrag, sizeof(c->ufrag), "cl%02u", u->serial);
        (void)snprintf(c->gateway_ufrag, sizeof(c->gateway_ufrag), "gw%02u", u->serial);
    }
}

static void begin_anew(struct upsert *u, const struct rig_client *keys)
{
    struct rig_client *c = &u->rig->clients[0];
    struct rig_client now = *c;
    copy_keys(c, keys);
    rig_client_start(u->rig, 0);
    copy_keys(c, &now);
    u->is_alive = false;
}

static void offer(struct upsert *u, enum upsert_kind kind, enum upsert_heard heard)
{
    struct rig *rig = u->rig;
    draw_keys(u, kind);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    u->is_alive = u->is_alive && kind != UPSERT_ICE;
    if (u->is_late) {
        begin_anew(u, &u->late);
    }
    u->is_late = heard == UPSERT_LATE;
    copy_keys(&u->late, &rig->clients[0]);
    if (heard == UPSERT_NOW) {
        begin_anew(u, &rig->clients[0]);
    }
    rig_client_tell(rig, 0);
}

static void run_upsert(struct odometer *odometer)
{
    struct upsert u = {.rig = rig_new(), .is_alive = true};
    struct rig *rig = u.rig;
    uint32_t gap = odometer_choose(odometer, 2);
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    for (unsigned i = 0; i < UPSERT_STEPS; i++) {
        enum upsert_kind kind = (enum upsert_kind)odometer_choose(odometer, UPSERT_KINDS);
        offer(&u, kind, (enum upsert_heard)odometer_choose(odometer, UPSERT_HEARDS));
        assert_int_equal(gateway_counters(rig->gw)->connections, 1);
        if (u.is_alive) { /* nobody else's half was touched */
            assert_true(rig_reaches_tun(rig, 0, server4, 80));
            assert_true(rig_reaches_client(rig, 0, server4, 80));
        }
        rig_pass(rig, DURATION_S(gap));
    }
    offer(&u, (enum upsert_kind)odometer_choose(odometer, UPSERT_KINDS), UPSERT_NOW);
    rig_pass(rig, gap == 0 ? BURST_S : DURATION_S(3));
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_client(rig, 0, server4, 80));
    assert_int_equal(gateway_counters(rig->gw)->connections, 1);
    rig_free(rig);
}

static void the_last_offer_of_a_connection_works_whatever_came_before(void **state)
{
    (void)state;
    assert_int_equal(odometer_run(run_upsert),
                     2 * 81 * 3); /* gaps, two offers in nine ways, the last */
}

/* ---- the answer to the join, init and what follows ---- */

#define JOIN_STEPS 4U

enum join_step {
    JOIN_REPLY,
    JOIN_ERROR,
    JOIN_INIT,       /* relay 0; rights stay as they are */
    JOIN_INIT_EMPTY, /* relay 1, other addresses, and a list of rights without any */
    JOIN_AUTHORIZE,
    JOIN_PRESENCE, /* relay 1 comes, relay 0 goes */
    JOIN_CUT,      /* the connection breaks; the gateway opens another */
    JOIN_KINDS,
};

struct join {
    struct rig *rig;
    uint32_t relays; /* bits: those that the gateway was told of */
    bool has_right;
    const char *ipv4;
};

static const char ipv4_of_init[] = "100.70.1.2";
static const char ipv4_of_empty[] = "100.70.1.3";

static void reply(struct rig *rig, const char *payload)
{
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "{\"ref\":%llu,\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":%s}",
                   (unsigned long long)rig->portal.join_ref, payload);
    rig_push_raw(rig, text);
}

static void init(struct join *join, uint32_t relays, const char *ipv4, const char *rights)
{
    struct rig_portal *portal = &join->rig->portal;
    portal->relays = relays;
    portal->ipv4 = ipv4;
    portal->authorizations = rights;
    if (portal->stream != 0 && ws_is_live(&portal->ws)) {
        join->relays |= relays; /* one that is not listed is asked whether it is still there */
        join->ipv4 = ipv4;
        join->has_right = join->has_right && rights == NULL;
    }
    rig_push_init(join->rig);
}

static void take_join_step(struct join *join, enum join_step step)
{
    struct rig *rig = join->rig;
    bool is_heard = rig->portal.stream != 0 && ws_is_live(&rig->portal.ws);
    switch (step) {
    case JOIN_REPLY:
        reply(rig, "{\"status\":\"ok\",\"response\":{}}");
        break;
    case JOIN_ERROR:
        reply(rig, "{\"status\":\"error\",\"response\":{\"reason\":\"no\"}}");
        break;
    case JOIN_INIT:
        init(join, 1, ipv4_of_init, NULL);
        break;
    case JOIN_INIT_EMPTY:
        init(join, 2, ipv4_of_empty, "[]");
        break;
    case JOIN_AUTHORIZE:
        /* Without a relay nobody can be let in. */
        join->has_right = join->has_right || (is_heard && join->relays != 0);
        rig_push_authorize(rig, 0, RIG_CIDR4, "null");
        break;
    case JOIN_PRESENCE:
        join->relays = is_heard ? (join->relays | 2U) & ~1U : join->relays;
        rig_push_presence(rig, 2, 1);
        break;
    case JOIN_CUT:
        if (rig->portal.stream != 0) {
            rig_portal_drop(rig);
        }
        rig_pass(rig, DURATION_S(3));
        break;
    case JOIN_KINDS:
        fail();
    }
}

static bool has_right(struct rig *rig, const char *resource)
{
    struct uuid id;
    uint32_t client = policy_client_find(rig->gw->policy, &rig->clients[0].id);
    assert_true(uuid_parse(view_text(resource), &id));
    return client != POLICY_CLIENT_NONE && policy_has_resource(rig->gw->policy, client, &id);
}

static void assert_as_told(const struct join *join)
{
    struct rig *rig = join->rig;
    struct ip_addr ipv4;
    assert_int_equal(has_right(rig, RIG_CIDR4_ID), join->has_right);
    if (join->ipv4 != NULL) {
        assert_true(ip_parse(view_text(join->ipv4), &ipv4));
        assert_true(ip_equal(&rig->tun_config.ipv4, &ipv4));
    }
    for (size_t i = 0; i < RIG_RELAYS; i++) {
        assert_int_equal(rig->relays[i].is_allocated, join->relays >> i & 1U);
    }
}

static void run_join(struct odometer *odometer)
{
    struct join join = {.rig = rig_new()};
    struct rig *rig = join.rig;
    rig->portal.skips_reply = true;
    rig_settle(rig);
    assert_int_equal(rig->portal.joins, 1);
    for (unsigned i = 0; i < JOIN_STEPS; i++) {
        take_join_step(&join, (enum join_step)odometer_choose(odometer, JOIN_KINDS));
        assert_as_told(&join);
        assert_as_told(&join);
    }
    rig->portal.skips_reply = false;
    rig->portal.authorizations = NULL;
    rig->portal.relays = 1;
    rig->portal.ipv4 = ipv4_of_init;
    rig_pass(rig, DURATION_S(40)); /* the join is given up, backed off from, and made again */
    init(&join, 1, ipv4_of_init, NULL);
    rig_pass(rig, DURATION_S(2));
    assert_true(rig->gw->portal_joined);
    assert_as_told(&join);
    rig_connect(rig, 1, RIG_CIDR6);
    assert_true(rig_reaches_tun(rig, 1, server6, 80));
    assert_false(rig->exited);
    rig_free(rig);
}

static void what_the_portal_said_last_holds_in_every_order(void **state)
{
    (void)state;
    assert_int_equal(odometer_run(run_join), 2401); /* seven kinds of four events */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_portal_said_last_holds_in_every_order),
        cmocka_unit_test(the_last_offer_of_a_connection_works_whatever_came_before),
        cmocka_unit_test(a_right_holds_from_its_grant_to_its_end_in_every_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
