/* What the recorded portals said to the real gateways is said to ours; its answers are compared
 * with those of the real ones (tests/vectors/recorded). */
#include <stdio.h>
#include <string.h>

#include "tests/support/gateway_rig.h"
#include "tests/support/recording.h"
#include "tests/support/support.h"

/* The relay takes the credentials of the last entry, as the recorded one did. */
static void learn_relay(struct rig *rig, const cJSON *init)
{
    const cJSON *relays = cJSON_GetObjectItem(cJSON_GetObjectItem(init, "payload"), "relays");
    const cJSON *last = cJSON_GetArrayItem(relays, cJSON_GetArraySize(relays) - 1);
    struct rig_relay *r = &rig->relays[0];
    (void)snprintf(r->username, sizeof(r->username), "%s",
                   cJSON_GetStringValue(cJSON_GetObjectItem(last, "username")));
    (void)snprintf(r->password, sizeof(r->password), "%s",
                   cJSON_GetStringValue(cJSON_GetObjectItem(last, "password")));
}

/* Says everything that the recorded portal said, replies excepted: the rig's portal replies. */
static void replay(struct rig *rig, const struct recording *recording)
{
    rig->portal.skips_init = true;
    rig_settle(rig);
    for (size_t i = 0; i < recording->count; i++) {
        const cJSON *msg = recording_message(recording, i, "to");
        if (msg == NULL || recording_is_event(msg, "phx_reply")) {
            continue;
        }
        if (recording_is_event(msg, "init")) {
            learn_relay(rig, msg);
        }
        char *text = cJSON_PrintUnformatted(msg);
        rig_push_raw(rig, text);
        cJSON_free(text);
    }
}

/* The n-th message of ours with this event; NULL without. */
static cJSON *ours(const struct rig *rig, const char *event, size_t n)
{
    for (size_t i = 0; i < rig->portal.texts.count; i++) {
        cJSON *msg = cJSON_Parse((const char *)rig->portal.texts.items[i].at);
        assert_non_null(msg);
        if (recording_is_event(msg, event) && n-- == 0) {
            return msg;
        }
        cJSON_Delete(msg);
    }
    return NULL;
}

/* Every message of the real gateway has its counterpart of the same shape; answers are equal. */
static void compare(const struct rig *rig, const struct recording *recording)
{
    size_t answers = 0;
    size_t broadcasts = 0;
    for (size_t i = 0; i < recording->count; i++) {
        const cJSON *msg = recording_message(recording, i, "from");
        if (msg == NULL || recording_is_event(msg, "phx_join") ||
            recording_is_event(msg, "heartbeat")) {
            continue;
        }
        bool is_answer = recording_is_event(msg, "flow_authorized");
        assert_true(is_answer || recording_is_event(msg, "broadcast_ice_candidates"));
        cJSON *own = ours(rig, is_answer ? "flow_authorized" : "broadcast_ice_candidates",
                          is_answer ? answers : broadcasts);
        assert_non_null(own);
        recording_check_shape(msg, own);
        if (is_answer) {
            assert_true(cJSON_Compare(cJSON_GetObjectItem(msg, "payload"),
                                      cJSON_GetObjectItem(own, "payload"), true));
        } else {
            assert_true(cJSON_Compare(
                cJSON_GetObjectItem(cJSON_GetObjectItem(msg, "payload"), "client_ids"),
                cJSON_GetObjectItem(cJSON_GetObjectItem(own, "payload"), "client_ids"), true));
        }
        answers += is_answer ? 1 : 0;
        broadcasts += is_answer ? 0 : 1;
        cJSON_Delete(own);
    }
    assert_int_equal(answers, 3);
    assert_int_equal(rig_said(rig, "flow_authorized", NULL), answers);
}

static struct rig *world(uint16_t relayed_port)
{
    struct rig *rig = rig_new();
    rig->stops_time = true;
    rig->relays[0].relayed = sock_addr_of(ip_v4(203, 0, 113, 10), (uint16_t)(relayed_port - 1));
    return rig;
}

static void the_session_with_an_older_portal_gives_the_same_messages(void **state)
{
    (void)state;
    struct rig *rig = world(49324);
    struct recording recording = recording_load("base");
    replay(rig, &recording);
    compare(rig, &recording);
    recording_check_refusals(gateway_counters(rig->gw));
    assert_int_equal(rig->events_seen[EV_AUTHORIZED], 3);
    assert_int_equal(rig->events_seen[EV_REVOKED], 1);
    assert_int_equal(gateway_counters(rig->gw)->connections, 1);
    assert_int_equal(rig->portal.joins, 1);
    recording_free(&recording);
    rig_free(rig);
}

static void the_session_with_a_newer_portal_gives_the_same_messages(void **state)
{
    (void)state;
    struct rig *rig = world(55730);
    struct recording recording = recording_load("head");
    replay(rig, &recording);
    compare(rig, &recording);
    recording_check_refusals(gateway_counters(rig->gw));
    assert_int_equal(rig->events_seen[EV_REVOKED], 1);
    recording_free(&recording);
    rig_free(rig);
}

/* Same addresses, same texts: foundations, priorities, order and extensions are the real ones. */
static void the_candidates_are_those_of_the_real_gateway_to_the_byte(void **state)
{
    (void)state;
    struct rig *rig = world(55730);
    struct recording recording = recording_load("head");
    const cJSON *first = NULL;
    for (size_t i = 0; i < recording.count && first == NULL; i++) {
        const cJSON *msg = recording_message(&recording, i, "from");
        first = msg != NULL && recording_is_event(msg, "broadcast_ice_candidates") ? msg : NULL;
    }
    assert_non_null(first);
    const cJSON *list = cJSON_GetObjectItem(cJSON_GetObjectItem(first, "payload"), "candidates");
    char copy[256];
    (void)snprintf(copy, sizeof(copy), "%s",
                   cJSON_GetStringValue(cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1)));
    unsigned port = 0;
    const char *address = strstr(copy, "2001:db8:113::10 ");
    assert_non_null(address);
    assert_int_equal(sscanf(address, "2001:db8:113::10 %u", &port), 1);
    struct ip_addr v6;
    assert_true(ip_parse(view_text("2001:db8:113::10"), &v6));
    rig->relays[0].relayed6 = sock_addr_of(v6, (uint16_t)(port - 1));
    replay(rig, &recording);
    cJSON *own = ours(rig, "broadcast_ice_candidates", 0);
    assert_non_null(own);
    char *theirs_text = cJSON_PrintUnformatted(first);
    char *own_text = cJSON_PrintUnformatted(own);
    assert_string_equal(own_text, theirs_text);
    cJSON_free(theirs_text);
    cJSON_free(own_text);
    cJSON_Delete(own);
    recording_free(&recording);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_session_with_an_older_portal_gives_the_same_messages),
        cmocka_unit_test(the_session_with_a_newer_portal_gives_the_same_messages),
        cmocka_unit_test(the_candidates_are_those_of_the_real_gateway_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
