/* Large messages of the portal are worked off in slices. At every cut between two slices: nothing
 * passes that neither the old nor the new list permits, nothing is interrupted that both permit,
 * what ends the connection or the gateway leaves nothing half done, and the outcome is that of the
 * whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define STRANGERS 1500U /* authorizations of clients that are not here */

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 2}};
static const struct ip_addr nowhere = {IP_V4, {10, 9, 0, 2}};
static struct ip_addr server6; /* set by set_up() */

/* ---- the world: client 0 holds CIDR4 and CIDR6, client 1 CIDR4 ---- */

static struct rig *set_up(const char *expires)
{
    struct rig *rig = rig_new();
    assert_true(ip_parse(view_text("fd33::2"), &server6));
    rig->portal.is_head = true;
    rig->portal.authorizations = "[]";
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_connect(rig, 1, RIG_CIDR4);
    rig_push_authorize(rig, 0, RIG_CIDR4, expires);
    rig_push_authorize(rig, 0, RIG_CIDR6, expires);
    rig_pass(rig, DURATION_MS(200));
    rig_forget(rig);
    memset(rig->events_seen, 0, sizeof(rig->events_seen));
    return rig;
}

static size_t put_entry(char *out, size_t room, const char *client, const char *resource,
                        uint64_t expires)
{
    int len =
        snprintf(out, room, "{\"client_id\":\"%s\",\"resource_id\":\"%s\",\"expires_at\":%llu},",
                 client, resource, (unsigned long long)expires);
    assert_true(len > 0 && (size_t)len < room);
    return (size_t)len;
}

/* init that lists client 0's CIDR4 as entry `at` among `strangers` others. */
static char *put_init(struct rig *rig, uint32_t strangers, uint32_t at, uint64_t expires)
{
    size_t room = 8192 + (size_t)(strangers + 1) * 200;
    char *text = malloc(room);
    char payload[8192];
    assert_non_null(text);
    rig->portal.authorizations = NULL;
    rig_put_init(rig, payload, sizeof(payload));
    rig->portal.authorizations = "[]";
    size_t used = (size_t)snprintf(text, room,
                                   "{\"topic\":\"gateway\",\"event\":\"init\",\"ref\":null,"
                                   "\"payload\":%.*s,\"authorizations\":[",
                                   (int)strlen(payload) - 1, payload);
    for (uint32_t i = 0; i <= strangers; i++) {
        char stranger[UUID_TEXT_SIZE + 1];
        (void)snprintf(stranger, sizeof(stranger), "dddddddd-0000-4000-8000-0000%08x", i);
        used += i == at ? put_entry(text + used, room - used, rig->clients[0].id_text, RIG_CIDR4_ID,
                                    expires)
                        : put_entry(text + used, room - used, stranger, RIG_CIDR4_ID, expires);
    }
    (void)snprintf(text + used - 1, room - used + 1, "]}}");
    return text;
}

/* ---- slices ---- */

static bool is_under_way(const struct rig *rig)
{
    return rig->gw->portal.reading || rig->gw->control.sweep != GATEWAY_SWEEP_NONE;
}

static void slice(struct rig *rig)
{
    gateway_handle_timeout(rig->gw, rig->now);
    rig_settle(rig);
}

static unsigned finish(struct rig *rig)
{
    unsigned slices = 0;
    for (; is_under_way(rig) || rig->gw->jobs_count > 0; slices++) {
        assert_true(slices < 10000);
        assert_true(instant_reached(rig->now.boot, gateway_poll_timeout(rig->gw).at));
        slice(rig);
    }
    return slices;
}

static bool holds(const struct rig *rig, size_t client, const char *resource)
{
    struct uuid id;
    assert_true(uuid_parse(view_text(resource), &id));
    return policy_has_resource(rig->gw->policy,
                               policy_client_find(rig->gw->policy, &rig->clients[client].id), &id);
}

/* Everything that an init changes. */
struct outcome {
    bool holds[3];
    unsigned inits;
    unsigned revoked;
    unsigned expired;
    unsigned goodbyes;
    uint64_t drops;
};

static struct outcome outcome_of(const struct rig *rig)
{
    return (struct outcome){
        .holds = {holds(rig, 0, RIG_CIDR4_ID), holds(rig, 0, RIG_CIDR6_ID),
                  holds(rig, 1, RIG_CIDR4_ID)},
        .inits = rig->events_seen[EV_INIT],
        .revoked = rig->events_seen[EV_REVOKED],
        .expired = rig->events_seen[EV_EXPIRED],
        .goodbyes = rig->clients[0].goodbyes + rig->clients[1].goodbyes,
        .drops = rig_drops_all(rig),
    };
}

static void check_outcome(struct outcome got, struct outcome whole)
{
    for (size_t i = 0; i < ARRAY_COUNT(whole.holds); i++) {
        assert_int_equal(got.holds[i], whole.holds[i]);
    }
    assert_int_equal(got.inits, whole.inits);
    assert_int_equal(got.revoked, whole.revoked);
    assert_int_equal(got.expired, whole.expired);
    assert_int_equal(got.goodbyes, whole.goodbyes);
    assert_int_equal(got.drops, whole.drops);
}

/* The same init without strangers, in one call. */
static struct outcome whole_outcome(void)
{
    struct rig *rig = set_up("null");
    char *init = put_init(rig, 0, 0, 1999999999);
    rig_push_raw(rig, init);
    assert_false(is_under_way(rig));
    struct outcome outcome = outcome_of(rig);
    assert_true(outcome.holds[0] && !outcome.holds[1] && !outcome.holds[2]);
    assert_int_equal(outcome.revoked, 2);
    free(init);
    rig_free(rig);
    return outcome;
}

/* ---- tests ---- */

static void packets_are_judged_by_either_list_at_every_cut(void **state)
{
    static const uint32_t places[] = {0, STRANGERS / 2, STRANGERS};
    struct outcome whole = whole_outcome();
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        struct rig *rig = set_up("null");
        char *init = put_init(rig, STRANGERS, places[i], 1999999999);
        bool had6 = true;
        unsigned slices = 0;
        uint64_t refused = 0;
        rig_push_raw(rig, init);
        assert_true(is_under_way(rig));
        for (; is_under_way(rig); slices++) {
            assert_true(rig_reaches_tun(rig, 0, server4, 80));
            assert_true(rig_reaches_client(rig, 0, server4, 80));
            assert_false(rig_reaches_tun(rig, 0, nowhere, 80));
            bool has6 = rig_reaches_tun(rig, 0, server6, 80);
            assert_true(had6 || !has6);
            had6 = has6;
            refused += has6 ? 1 : 2;
            slice(rig);
        }
        assert_true(slices > 10);
        struct outcome got = outcome_of(rig);
        assert_true(got.drops == refused);
        got.drops = whole.drops;
        check_outcome(got, whole);
        free(init);
        rig_free(rig);
    }
}

static void whatever_ends_the_connection_leaves_nothing_half_done(void **state)
{
    struct outcome whole = whole_outcome();
    (void)state;
    for (unsigned cut = 0, more = 1; more != 0; cut++) {
        struct rig *rig = set_up("null");
        char *init = put_init(rig, STRANGERS, STRANGERS / 2, 1999999999);
        rig_push_raw(rig, init);
        for (unsigned i = 0; i < cut; i++) {
            slice(rig);
        }
        more = is_under_way(rig) ? 1 : 0;
        rig->portal.is_absent = true;
        rig_portal_drop(rig);
        (void)finish(rig);
        check_outcome(outcome_of(rig), whole);
        assert_int_equal(rig->events_seen[EV_PORTAL_LOST], 1);
        assert_false(rig->gw->initialised);
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        rig->portal.is_absent = false; /* and the next connection works as any */
        rig->portal.authorizations = NULL;
        rig_pass(rig, DURATION_S(5));
        assert_int_equal(rig->events_seen[EV_INIT], 2);
        assert_true(rig_reaches_tun(rig, 0, server4, 80));
        free(init);
        rig_free(rig);
    }
}

static void a_message_that_did_not_come_whole_does_nothing(void **state)
{
    struct rig *rig = set_up("null");
    char *init = put_init(rig, STRANGERS, STRANGERS, 1999999999);
    (void)state;
    memcpy(strrchr(init, '1'), "x", 1); /* the last time is none */
    rig_push_raw(rig, init);
    (void)finish(rig);
    assert_true(holds(rig, 0, RIG_CIDR4_ID) && holds(rig, 0, RIG_CIDR6_ID));
    assert_true(holds(rig, 1, RIG_CIDR4_ID));
    assert_int_equal(rig->events_seen[EV_INIT], 0);
    assert_int_equal(rig_drops(rig, DROP_JSON_SYNTAX), 1);
    free(init);
    rig_free(rig);
}

/* The old time of an authorization passes while the list that extends it is being applied. */
static void what_init_extends_does_not_end_before_the_list_is_through(void **state)
{
    char expires[32];
    (void)state;
    (void)snprintf(expires, sizeof(expires), "%llu", (unsigned long long)RIG_UNIX_S + 1000);
    struct rig *rig = set_up(expires);
    char *init = put_init(rig, STRANGERS, STRANGERS, RIG_UNIX_S + 5000);
    rig_push_raw(rig, init);
    while (rig->gw->control.sweep != GATEWAY_SWEEP_KEEP) {
        slice(rig);
    }
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig->now.unix_ns = (RIG_UNIX_S + 2000) * NS_PER_S;
    assert_false(rig_reaches_tun(rig, 0, server6, 80)); /* its time is over */
    while (rig->gw->control.sweep == GATEWAY_SWEEP_KEEP) {
        assert_int_equal(rig->events_seen[EV_EXPIRED], 0);
        assert_int_equal(rig->clients[0].goodbyes, 0);
        slice(rig);
    }
    (void)finish(rig);
    slice(rig);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(holds(rig, 0, RIG_CIDR4_ID));
    assert_false(holds(rig, 0, RIG_CIDR6_ID));
    assert_int_equal(rig->events_seen[EV_EXPIRED] + rig->events_seen[EV_REVOKED], 2);
    assert_int_equal(rig->clients[0].goodbyes, 0);
    free(init);
    rig_free(rig);
}

/* Taken before the init was through, this authorization would be revoked by it. */
static void messages_behind_a_large_init_wait_for_it(void **state)
{
    struct rig *rig = set_up("null");
    char *init = put_init(rig, STRANGERS, 0, 1999999999);
    const char *last = NULL;
    (void)state;
    rig_push_raw(rig, init);
    rig_push_authorize(rig, 1, RIG_CIDR6, "null");
    assert_true(is_under_way(rig));
    assert_int_equal(rig_said(rig, "flow_authorized", &last), 0);
    (void)finish(rig);
    slice(rig);
    assert_int_equal(rig_said(rig, "flow_authorized", &last), 1);
    assert_false(holds(rig, 1, RIG_CIDR4_ID));
    assert_true(holds(rig, 1, RIG_CIDR6_ID));
    assert_true(rig_reaches_tun(rig, 1, server6, 80));
    free(init);
    rig_free(rig);
}

static void the_gateway_ends_in_the_middle_of_an_init(void **state)
{
    (void)state;
    for (unsigned cut = 0, more = 1; more != 0; cut += 3) {
        struct rig *rig = set_up("null");
        char *init = put_init(rig, STRANGERS, 0, 1999999999);
        rig_push_raw(rig, init);
        for (unsigned i = 0; i < cut; i++) {
            slice(rig);
        }
        more = is_under_way(rig) ? 1 : 0;
        rig_shutdown(rig);
        rig_pass(rig, DURATION_S(3));
        assert_true(rig->exited);
        assert_int_equal(rig->exit_code, 0);
        free(init);
        rig_free(rig);
    }
}

/* ---- other lists ---- */

static void a_crowd_of_relays_and_candidates_is_taken_to_the_last(void **state)
{
    struct rig *rig = set_up("null");
    char *text = malloc(200000);
    size_t used = 0;
    (void)state;
    assert_non_null(text);
    used = (size_t)sprintf(text, "{\"disconnected_ids\":[");
    for (unsigned i = 0; i < PORTAL_RELAYS_MAX; i++) {
        used += (size_t)sprintf(text + used, "%s\"bbbbbbbb-0000-4000-8000-00000000%04x\"",
                                i == 0 ? "" : ",", i);
    }
    used += (size_t)sprintf(text + used, "],\"connected\":[");
    for (unsigned i = 0; i < PORTAL_RELAYS_MAX; i++) {
        used += (size_t)sprintf(
            text + used,
            "%s{\"id\":\"bbbbbbbb-0000-4000-8000-00000000%04x\",\"type\":\"turn\",\"addr\":"
            "\"192.0.2.77:%u\",\"username\":\"u\",\"password\":\"p\",\"expires_at\":2145916800}",
            i == 0 ? "" : ",", i, 1000 + i);
    }
    (void)sprintf(text + used, "]}");
    char *message = malloc(220000);
    assert_non_null(message);
    (void)sprintf(
        message,
        "{\"topic\":\"gateway\",\"event\":\"relays_presence\",\"ref\":null,\"payload\":%s}", text);
    uint32_t relays = rig->gw->relays_count;
    rig_push_raw(rig, message);
    assert_true(finish(rig) > 30);
    assert_int_equal(rig->gw->relays_count, rig->limits.relays);
    assert_int_equal(rig_drops(rig, DROP_PORTAL_LIMIT),
                     PORTAL_RELAYS_MAX - (rig->limits.relays - relays));

    used = (size_t)sprintf(message,
                           "{\"topic\":\"gateway\",\"event\":\"ice_candidates\",\"ref\":null,"
                           "\"payload\":{\"client_id\":\"eeeeeeee-0000-4000-8000-000000000000\","
                           "\"candidates\":[");
    for (unsigned i = 0; i < PORTAL_CANDIDATES_MAX; i++) {
        used += (size_t)sprintf(message + used, "%s\"candidate:1 1 udp 1 192.0.2.%u 1 typ host\"",
                                i == 0 ? "" : ",", i % 256);
    }
    (void)sprintf(message + used, "]}}");
    uint64_t before = rig_drops(rig, DROP_ICE_CANDIDATE);
    rig_push_raw(rig, message);
    assert_true(finish(rig) > 10);
    assert_int_equal(rig_drops(rig, DROP_ICE_CANDIDATE) - before, PORTAL_CANDIDATES_MAX);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    free(message);
    free(text);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_are_judged_by_either_list_at_every_cut),
        cmocka_unit_test(whatever_ends_the_connection_leaves_nothing_half_done),
        cmocka_unit_test(a_message_that_did_not_come_whole_does_nothing),
        cmocka_unit_test(what_init_extends_does_not_end_before_the_list_is_through),
        cmocka_unit_test(messages_behind_a_large_init_wait_for_it),
        cmocka_unit_test(the_gateway_ends_in_the_middle_of_an_init),
        cmocka_unit_test(a_crowd_of_relays_and_candidates_is_taken_to_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
