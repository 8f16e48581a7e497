/* What the recorded portals said to the real gateways is said to ours; its answers are compared
 * with those of the real ones (tests/vectors/recorded). */
#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define TEXTS_MAX 64U

struct recording {
    cJSON *lines[TEXTS_MAX]; /* of the gateway's connection */
    size_t count;
};

static struct recording load(const char *folder)
{
    struct recording recording = {{NULL}, 0};
    char path[128];
    size_t len = 0;
    (void)snprintf(path, sizeof(path), "tests/vectors/recorded/%s/portal.jsonl", folder);
    char *text = support_read_file(path, &len);
    assert_non_null(text);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        cJSON *root = cJSON_Parse(line);
        assert_non_null(root);
        const char *kind = cJSON_GetStringValue(cJSON_GetObjectItem(root, "kind"));
        const char *dir = cJSON_GetStringValue(cJSON_GetObjectItem(root, "dir"));
        if (strcmp(kind, "gateway") == 0 && strcmp(dir, "connect") != 0) {
            assert_true(recording.count < TEXTS_MAX);
            recording.lines[recording.count++] = root;
        } else {
            cJSON_Delete(root);
        }
    }
    free(text);
    assert_true(recording.count > 5);
    return recording;
}

static void forget(struct recording *recording)
{
    for (size_t i = 0; i < recording->count; i++) {
        cJSON_Delete(recording->lines[i]);
    }
}

static const cJSON *message(const struct recording *recording, size_t at, const char *dir)
{
    const cJSON *root = recording->lines[at];
    bool fits = strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(root, "dir")), dir) == 0;
    return fits ? cJSON_GetObjectItem(root, "msg") : NULL;
}

static bool is_event(const cJSON *msg, const char *event)
{
    return strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(msg, "event")), event) == 0;
}

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
        const cJSON *msg = message(recording, i, "to");
        if (msg == NULL || is_event(msg, "phx_reply")) {
            continue;
        }
        if (is_event(msg, "init")) {
            learn_relay(rig, msg);
        }
        char *text = cJSON_PrintUnformatted(msg);
        rig_push_raw(rig, text);
        cJSON_free(text);
    }
}

/* Both values have the same types, keys and order of keys, all the way down. */
static void check_shape(const cJSON *a, const cJSON *b)
{
    assert_int_equal(a->type, b->type);
    if (cJSON_IsArray(a)) {
        if (a->child != NULL && b->child != NULL) {
            check_shape(a->child, b->child);
        }
        return;
    }
    const cJSON *x = a->child;
    const cJSON *y = b->child;
    for (; x != NULL && y != NULL; x = x->next, y = y->next) {
        assert_string_equal(x->string, y->string);
        check_shape(x, y);
    }
    assert_ptr_equal(x, y); /* both ended */
}

/* The n-th message of ours with this event; NULL without. */
static cJSON *ours(const struct rig *rig, const char *event, size_t n)
{
    for (size_t i = 0; i < rig->portal.texts.count; i++) {
        cJSON *msg = cJSON_Parse((const char *)rig->portal.texts.items[i].at);
        assert_non_null(msg);
        if (is_event(msg, event) && n-- == 0) {
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
        const cJSON *msg = message(recording, i, "from");
        if (msg == NULL || is_event(msg, "phx_join") || is_event(msg, "heartbeat")) {
            continue;
        }
        bool is_answer = is_event(msg, "flow_authorized");
        assert_true(is_answer || is_event(msg, "broadcast_ice_candidates"));
        cJSON *own = ours(rig, is_answer ? "flow_authorized" : "broadcast_ice_candidates",
                          is_answer ? answers : broadcasts);
        assert_non_null(own);
        check_shape(msg, own);
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

static void check_refusals(const struct rig *rig)
{
    static const enum drop_reason reasons[] = {
        DROP_PORTAL_FIELD, DROP_PORTAL_UNKNOWN, DROP_PORTAL_LIMIT, DROP_PORTAL_REPLY,
        DROP_PORTAL_REF,   DROP_PHX_ENVELOPE,   DROP_JSON_SYNTAX,  DROP_ICE_CANDIDATE,
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        assert_int_equal(rig_drops(rig, reasons[i]), 0);
    }
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
    struct recording recording = load("base");
    replay(rig, &recording);
    compare(rig, &recording);
    check_refusals(rig);
    assert_int_equal(rig->events_seen[EV_AUTHORIZED], 3);
    assert_int_equal(rig->events_seen[EV_REVOKED], 1);
    assert_int_equal(gateway_counters(rig->gw)->connections, 1);
    assert_int_equal(rig->portal.joins, 1);
    forget(&recording);
    rig_free(rig);
}

static void the_session_with_a_newer_portal_gives_the_same_messages(void **state)
{
    (void)state;
    struct rig *rig = world(55730);
    struct recording recording = load("head");
    replay(rig, &recording);
    compare(rig, &recording);
    check_refusals(rig);
    assert_int_equal(rig->events_seen[EV_REVOKED], 1);
    forget(&recording);
    rig_free(rig);
}

/* Same addresses, same texts: foundations, priorities, order and extensions are the real ones. */
static void the_candidates_are_those_of_the_real_gateway_to_the_byte(void **state)
{
    (void)state;
    struct rig *rig = world(55730);
    struct recording recording = load("head");
    const cJSON *first = NULL;
    for (size_t i = 0; i < recording.count && first == NULL; i++) {
        const cJSON *msg = message(&recording, i, "from");
        first = msg != NULL && is_event(msg, "broadcast_ice_candidates") ? msg : NULL;
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
    forget(&recording);
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
