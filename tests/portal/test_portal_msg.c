#include "portal/portal_msg.h"

#include <stdlib.h>
#include <string.h>

#include "portal/portal_encode.h"
#include "portal/portal_part.h"
#include "tests/support/support.h"
#include "json/json_writer.h"

#define RELAY_ID  "5c0e8f5e-91e1-4c65-a6d0-1b2f2f9f3a01"
#define CLIENT_ID "0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001"
#define RES_ID    "1f0c7d9e-6f0a-4f4e-8a73-0d8a5b2c9e11"
#define KEY       "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define RELAY                                                                                      \
    "{\"id\":\"" RELAY_ID "\",\"type\":\"turn\",\"addr\":\"198.51.100.7:3478\",\"username\":"      \
    "\"u\",\"password\":\"p\",\"expires_at\":1735689600}"
#define RELAY6                                                                                     \
    "{\"id\":\"" RELAY_ID "\",\"type\":\"turn\",\"addr\":\"[2001:db8::7]:3478\",\"username\":"     \
    "\"u6\",\"password\":\"p6\",\"expires_at\":1735689600}"
#define INTERFACE "\"interface\":{\"ipv4\":\"100.70.1.2\",\"ipv6\":\"fd00:2021:1111::7:102\"}"
#define CONFIG    "\"config\":{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true}"
#define DNS                                                                                        \
    "{\"id\":\"" RES_ID "\",\"type\":\"dns\",\"address\":\"*.corp.example\",\"name\":\"Corp\","    \
    "\"filters\":[{\"protocol\":\"tcp\",\"port_range_start\":443,\"port_range_end\":444},"         \
    "{\"protocol\":\"icmp\"},{\"protocol\":\"udp\"}]}"
#define ICE "{\"username\":\"exet\",\"password\":\"4isq5s5b5m7g5sp3ybjcfg\"}"
#define CLIENT                                                                                     \
    "{\"id\":\"" CLIENT_ID "\",\"public_key\":\"" KEY "\",\"preshared_key\":\"" KEY                \
    "\",\"ipv4\":\"100.66.0.9\",\"ipv6\":\"fd00:2021:1111::3:9\"}"

/* Decodes an event with this payload. The message is static: tests run one after the other. */
static struct portal_msg msg;

static enum drop_reason decode(const char *event, const char *payload)
{
    static uint8_t text[8192];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    writer_text(&w, "{\"ref\":null,\"payload\":");
    writer_text(&w, payload);
    writer_text(&w, ",\"topic\":\"gateway\",\"event\":\"");
    writer_text(&w, event);
    writer_text(&w, "\"}");
    assert_true(writer_finish(&w));
    portal_msg_free(&msg);
    return portal_msg_decode(&msg, writer_view(&w));
}

static void test_init_with_two_entries_of_one_relay(void **state)
{
    struct portal_relay relay;
    (void)state;
    assert_int_equal(decode("init", "{" INTERFACE "," CONFIG ",\"relays\":[" RELAY "," RELAY6 "]}"),
                     DROP_NONE);
    assert_int_equal(msg.kind, PORTAL_MSG_INIT);
    struct portal_list list = msg.u.init.relays;
    assert_true(portal_relays_next(&list, &relay));
    assert_int_equal(relay.type, PORTAL_RELAY_TURN);
    assert_int_equal(relay.addr.port, 3478);
    assert_int_equal(relay.addr.ip.family, IP_V4);
    assert_true(view_equal_text(relay.username, "u"));
    assert_true(relay.expires_at_s == 1735689600);
    assert_true(portal_relays_next(&list, &relay));
    assert_int_equal(relay.addr.ip.family, IP_V6);
    assert_true(view_equal_text(relay.password, "p6"));
    assert_false(portal_relays_next(&list, &relay));
    assert_false(msg.u.init.has_authorizations);
    assert_false(msg.u.init.has_flow_logs);
    assert_true(msg.u.init.ipv4_masquerade);
}

static void test_head_init_has_authorizations_and_flow_logs(void **state)
{
    struct portal_authorization one;
    (void)state;
    assert_int_equal(decode("init", "{" INTERFACE "," CONFIG
                                    ",\"authorizations\":[{\"client_id\":\"" CLIENT_ID
                                    "\",\"resource_id\":\"" RES_ID "\",\"expires_at\":5}],"
                                    "\"flow_logs\":{\"api_url\":\"x\"},\"account_slug\":null}"),
                     DROP_NONE);
    assert_true(msg.u.init.has_flow_logs && msg.u.init.has_authorizations);
    struct portal_list list = msg.u.init.authorizations;
    assert_true(portal_authorizations_next(&list, &one));
    assert_true(one.expires_at_s == 5);
    assert_false(portal_authorizations_next(&list, &one));
}

static void test_unknown_relays_are_skipped_and_broken_ones_refuse(void **state)
{
    struct portal_relay relay;
    (void)state;
    assert_int_equal(decode("relays_presence", "{\"disconnected_ids\":[\"" RELAY_ID "\"],"
                                               "\"connected\":[{\"type\":\"quic\"}," RELAY
                                               ",{\"type\":\"stun\",\"id\":\"" RELAY_ID
                                               "\",\"addr\":\"1.2.3.4:5\"}]}"),
                     DROP_NONE);
    struct portal_list list = msg.u.relays_presence.connected;
    struct portal_list ids = msg.u.relays_presence.disconnected_ids;
    struct uuid id;
    assert_true(portal_ids_next(&ids, &id));
    assert_false(portal_ids_next(&ids, &id));
    assert_true(portal_relays_next(&list, &relay));
    assert_int_equal(relay.type, PORTAL_RELAY_TURN);
    assert_true(portal_relays_next(&list, &relay));
    assert_int_equal(relay.type, PORTAL_RELAY_STUN);
    assert_false(portal_relays_next(&list, &relay));
    assert_int_equal(decode("relays_presence",
                            "{\"disconnected_ids\":[],\"connected\":"
                            "[{\"type\":\"stun\",\"id\":\"" RELAY_ID "\",\"addr\":\"host:5\"}]}"),
                     DROP_PORTAL_FIELD);
    assert_int_equal(decode("relays_presence", "{\"connected\":[]}"), DROP_PORTAL_FIELD);
}

#define FLOW(resource, expires)                                                                    \
    "{\"ref\":\"opaque\",\"flow_id\":\"x\",\"resource\":" resource ",\"client\":" CLIENT           \
    ",\"client_ice_credentials\":" ICE ",\"gateway_ice_credentials\":" ICE expires "}"

static void test_authorize_flow_gives_every_field(void **state)
{
    struct portal_filter filter;
    (void)state;
    assert_int_equal(decode("create_authorization", FLOW(DNS, "")), DROP_PORTAL_FIELD);
    assert_int_equal(decode("create_authorization", FLOW(DNS, ",\"expires_at\":null")), DROP_NONE);
    assert_int_equal(msg.kind, PORTAL_MSG_AUTHORIZE_FLOW); /* by the name of /gateway/v2 */
    assert_int_equal(decode("authorize_flow", FLOW(DNS, ",\"expires_at\":1735693200")), DROP_NONE);
    const struct portal_authorize_flow *flow = &msg.u.authorize_flow;
    assert_true(view_equal_text(flow->ref, "opaque"));
    assert_int_equal(flow->resource.type, PORTAL_RESOURCE_DNS);
    assert_true(view_equal_text(flow->resource.pattern, "*.corp.example"));
    assert_int_equal(flow->client.public_key[0], 1);
    assert_int_equal(flow->client.preshared_key[31], 32);
    assert_int_equal(flow->client.ipv4.family, IP_V4);
    assert_int_equal(flow->client.ipv6.family, IP_V6);
    assert_true(view_equal_text(flow->client_ice.username, "exet"));
    assert_true(flow->expires.is_some && flow->expires.at_s == 1735693200);
    struct portal_list list = flow->resource.filters;
    assert_int_equal(list.count, 3);
    assert_true(portal_filters_next(&list, &filter));
    assert_int_equal(filter.protocol, PORTAL_FILTER_TCP);
    assert_int_equal(filter.port_start, 443);
    assert_int_equal(filter.port_end, 444);
    assert_true(portal_filters_next(&list, &filter));
    assert_int_equal(filter.protocol, PORTAL_FILTER_ICMP);
    assert_true(portal_filters_next(&list, &filter));
    assert_int_equal(filter.protocol, PORTAL_FILTER_UDP);
    assert_int_equal(filter.port_start, 0);
    assert_int_equal(filter.port_end, 65535);
    assert_false(portal_filters_next(&list, &filter));
}

#define CIDR(address, filters)                                                                     \
    "{\"type\":\"cidr\",\"id\":\"" RES_ID "\",\"address\":\"" address "\",\"name\":\"n\"" filters  \
    "}"

struct row {
    const char *event;
    enum drop_reason reason;
    const char *payload;
};

static const struct row rows[] = {
    {"authorize_flow", DROP_NONE, FLOW(DNS, ",\"expires_at\":null")},
    {"authorize_flow", DROP_PORTAL_FIELD, FLOW(DNS, "")},
    {"authorize_flow", DROP_PORTAL_FIELD, FLOW(DNS, ",\"expires_at\":1.5")},
    {"authorize_flow", DROP_PORTAL_FIELD, FLOW(DNS, ",\"expires_at\":\"5\"")},
    {"authorize_flow", DROP_NONE,
     FLOW("{\"type\":\"internet\",\"id\":\"" RES_ID "\",\"filters\":0}", ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE,
     FLOW("{\"type\":\"device_pool\",\"id\":\"" RES_ID "\"}", ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE, FLOW(CIDR("10.0.0.0/8", ",\"filters\":[]"), ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE, FLOW(CIDR("10.0.0.1/8", ",\"filters\":[]"), ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE, FLOW(CIDR("10.0.0.0", ",\"filters\":[]"), ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE, FLOW(CIDR("10.0.0.0/8", ""), ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE,
     FLOW(CIDR("10.0.0.0/8", ",\"filters\":null"), ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE,
     FLOW(CIDR("10.0.0.0/8", ",\"filters\":[{}]"), ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE,
     FLOW(CIDR("10.0.0.0/8", ",\"filters\":[{\"protocol\":\"tcp\",\"port_range_start\":null}]"),
          ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE,
     FLOW(CIDR("10.0.0.0/8", ",\"filters\":[{\"protocol\":\"tcp\",\"port_range_end\":65536}]"),
          ",\"expires_at\":5")},
    {"authorize_flow", DROP_NONE,
     FLOW("{\"type\":\"dns\",\"id\":\"" RES_ID "\",\"filters\":[]}", ",\"expires_at\":5")},
    {"authorize_flow", DROP_PORTAL_FIELD, FLOW("{\"type\":\"internet\"}", ",\"expires_at\":5")},
    {"authorize_flow", DROP_PORTAL_FIELD, "[]"},
    {"authorize_flow", DROP_PORTAL_FIELD, "null"},
    {"init", DROP_NONE, "{" INTERFACE "," CONFIG "}"},
    {"init", DROP_NONE, "{" INTERFACE "," CONFIG ",\"authorizations\":null}"},
    {"init", DROP_PORTAL_FIELD, "{" INTERFACE "}"},
    {"init", DROP_PORTAL_FIELD, "{" CONFIG "}"},
    {"init", DROP_PORTAL_FIELD, "{" INTERFACE "," CONFIG ",\"relays\":null}"},
    {"init", DROP_PORTAL_FIELD, "{" INTERFACE "," CONFIG ",\"authorizations\":[{}]}"},
    {"init", DROP_PORTAL_FIELD, "{" INTERFACE "," CONFIG ",\"authorizations\":{}}"},
    {"init", DROP_PORTAL_FIELD, "{" INTERFACE "," CONFIG ",\"relays\":[{}]}"},
    {"init", DROP_PORTAL_FIELD, "{" INTERFACE "," CONFIG ",\"relays\":[{\"type\":\"turn\"}]}"},
    {"relays_presence", DROP_NONE, "{\"disconnected_ids\":[\"" RES_ID "\"],\"connected\":[]}"},
    {"relays_presence", DROP_PORTAL_FIELD, "{\"disconnected_ids\":[\"x\"],\"connected\":[]}"},
    {"relays_presence", DROP_PORTAL_FIELD, "{\"disconnected_ids\":null,\"connected\":[]}"},
    {"reject_access", DROP_NONE,
     "{\"client_id\":\"" CLIENT_ID "\",\"resource_id\":\"" RES_ID "\",\"flow_id\":null}"},
    {"reject_access", DROP_PORTAL_FIELD, "{\"client_id\":\"" CLIENT_ID "\"}"},
    {"ice_candidates", DROP_NONE, "{\"client_id\":\"" CLIENT_ID "\",\"candidates\":[]}"},
    {"ice_candidates", DROP_PORTAL_FIELD, "{\"client_id\":\"" CLIENT_ID "\",\"candidates\":[1]}"},
    {"ice_candidates", DROP_PORTAL_FIELD, "{\"client_id\":\"" CLIENT_ID "\",\"candidates\":{}}"},
    {"invalidate_ice_candidates", DROP_NONE,
     "{\"candidates\":[\"a\"],\"client_id\":\"" CLIENT_ID "\"}"},
    {"access_authorization_expiry_updated", DROP_NONE,
     "{\"client_id\":\"" CLIENT_ID "\",\"resource_id\":\"" RES_ID "\",\"expires_at\":9}"},
    {"disconnect", DROP_NONE, "{\"reason\":\"token_expired\"}"},
    {"disconnect", DROP_PORTAL_FIELD, "{\"reason\":\"bored\"}"},
    {"phx_error", DROP_NONE, "{}"},
    {"phx_close", DROP_NONE, "{}"},
    {"create_authorization", DROP_PORTAL_FIELD, "{}"},
    {"INIT", DROP_PORTAL_UNKNOWN, "{}"},
    {"phx_reply", DROP_PORTAL_REF, "{\"status\":\"ok\",\"response\":{}}"},
    {"request_connection", DROP_NONE,
     "{\"ref\":\"r\",\"resource\":" DNS ",\"expires_at\":null,\"client\":{\"id\":\"" CLIENT_ID
     "\",\"payload\":{\"ice_parameters\":" ICE ",\"domain\":{\"name\":\"a.corp.example\","
     "\"proxy_ips\":[\"100.96.0.1\"]}},\"peer\":" CLIENT "}}"},
    {"request_connection", DROP_NONE,
     "{\"ref\":\"r\",\"resource\":" DNS ",\"expires_at\":null,\"client\":{\"id\":\"" CLIENT_ID
     "\",\"payload\":{\"ice_parameters\":" ICE ",\"domain\":null},\"peer\":" CLIENT "}}"},
    {"request_connection", DROP_PORTAL_FIELD,
     "{\"ref\":\"r\",\"resource\":" DNS ",\"expires_at\":null,\"client\":{\"id\":\"" CLIENT_ID
     "\",\"payload\":{},\"peer\":" CLIENT "}}"},
    {"allow_access", DROP_NONE,
     "{\"ref\":\"r\",\"resource\":" DNS ",\"expires_at\":7,\"client_id\":\"" CLIENT_ID
     "\",\"client_ipv4\":\"100.66.0.9\",\"client_ipv6\":\"fd00::1\",\"payload\":{\"name\":\"a\","
     "\"proxy_ips\":[]}}"},
    {"allow_access", DROP_PORTAL_FIELD,
     "{\"ref\":\"r\",\"resource\":" DNS ",\"expires_at\":7,\"client_id\":\"" CLIENT_ID
     "\",\"client_ipv4\":\"100.66.0.9\",\"client_ipv6\":\"fd00::1\",\"payload\":{\"name\":\"a\"}}"},
    {"allow_access", DROP_PORTAL_FIELD,
     "{\"ref\":\"r\",\"resource\":" DNS ",\"expires_at\":7,\"client_id\":\"" CLIENT_ID
     "\",\"client_ipv4\":\"100.66.0.9\",\"client_ipv6\":\"fd00::1\",\"payload\":{\"name\":\"a\","
     "\"proxy_ips\":[\"x\"]}}"},
    {"allow_access", DROP_PORTAL_FIELD,
     "{\"ref\":\"r\",\"resource\":" DNS ",\"expires_at\":7,\"client_id\":\"" CLIENT_ID
     "\",\"client_ipv4\":\"fd00::2\",\"client_ipv6\":\"fd00::1\"}"},
};

static void test_the_table_of_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        enum drop_reason reason = decode(rows[i].event, rows[i].payload);
        if (reason != rows[i].reason) {
            fail_msg("row %zu: %s gives %s", i, rows[i].event, drop_label(reason));
        }
        if (reason != DROP_NONE) {
            assert_true(view_equal_text(msg.event, rows[i].event));
        } else {
            assert_string_equal(portal_msg_kind_name(msg.kind), rows[i].event);
        }
    }
}

static void test_an_old_clients_request_is_read_whole(void **state)
{
    (void)state;
    assert_int_equal(
        decode("request_connection",
               "{\"ref\":\"r\",\"resource\":" DNS
               ",\"expires_at\":7,\"client\":{\"id\":\"" CLIENT_ID
               "\",\"payload\":{\"ice_parameters\":" ICE ",\"domain\":{\"name\":\"a.corp.example\","
               "\"proxy_ips\":[\"100.96.0.1\",\"fd00:2021:1111:8000::1\"]}},\"peer\":" CLIENT "}}"),
        DROP_NONE);
    const struct portal_request_connection *request = &msg.u.request_connection;
    struct ip_addr ip;
    assert_true(ip_parse(view_text("100.66.0.9"), &ip) && ip_equal(&request->client.ipv4, &ip));
    assert_true(ip_parse(view_text("fd00:2021:1111::3:9"), &ip) &&
                ip_equal(&request->client.ipv6, &ip));
    assert_true(view_equal_text(request->client_ice.username, "exet"));
    assert_true(view_equal_text(request->client_ice.password, "4isq5s5b5m7g5sp3ybjcfg"));
    assert_true(request->domain.is_some);
    assert_true(view_equal_text(request->domain.name, "a.corp.example"));
    assert_int_equal(request->domain.proxy_ips_count, 2);
    assert_true(ip_parse(view_text("100.96.0.1"), &ip) &&
                ip_equal(&request->domain.proxy_ips[0], &ip));
    assert_true(ip_parse(view_text("fd00:2021:1111:8000::1"), &ip) &&
                ip_equal(&request->domain.proxy_ips[1], &ip));
    assert_true(request->expires.is_some && request->expires.at_s == 7);
}

/* However long a list is: no call looks at more entries than its work pays for. */
static void test_lists_are_checked_a_few_entries_at_a_time(void **state)
{
    (void)state;
    char text[PORTAL_RELAYS_MAX * 40 + 2] = "[";
    for (size_t i = 0; i < PORTAL_RELAYS_MAX; i++) {
        strcat(text, i == 0 ? "\"" RELAY_ID "\"" : ",\"" RELAY_ID "\"");
    }
    strcat(text, "]");
    struct json_doc doc = {0};
    struct portal_list list;
    struct portal_checks checks = {0};
    assert_int_equal(json_parse(&doc, view_text(text)), DROP_NONE);
    assert_true(portal_part_ids(doc.root, &list, &checks));
    unsigned calls = 0;
    for (; !portal_part_is_checked(&checks); calls++) {
        uint32_t work = 1024;
        assert_true(portal_part_check(&checks, &work));
    }
    assert_in_range(calls, PORTAL_RELAYS_MAX / 16, PORTAL_RELAYS_MAX / 8);
    json_free(&doc);
}

static void test_filters_fail_closed(void **state)
{
    struct portal_filter filter;
    (void)state;
    assert_int_equal(
        decode("resource_updated",
               CIDR("10.0.0.0/8", ",\"filters\":[{\"protocol\":\"sctp\"},{\"protocol\":\"tcp\","
                                  "\"port_range_start\":2,\"port_range_end\":1}]")),
        DROP_NONE);
    assert_int_equal(msg.kind, PORTAL_MSG_RESOURCE_UPDATED);
    struct portal_list list = msg.u.resource.filters;
    assert_int_equal(list.count, 2);
    assert_true(portal_filters_next(&list, &filter));
    assert_int_equal(filter.protocol, PORTAL_FILTER_NONE);
    assert_true(portal_filters_next(&list, &filter));
    assert_int_equal(filter.protocol, PORTAL_FILTER_NONE);
}

static void test_an_unreadable_resource_update_removes_the_resource(void **state)
{
    struct uuid id;
    (void)state;
    assert_true(uuid_parse(view_text(RES_ID), &id));
    assert_int_equal(decode("resource_updated", CIDR("10.0.0.0/8", "")), DROP_NONE);
    assert_int_equal(msg.kind, PORTAL_MSG_RESOURCE_REMOVED);
    assert_true(uuid_equal(&msg.u.removed, &id));
    assert_int_equal(decode("resource_updated", "{\"id\":\"nonsense\"}"), DROP_PORTAL_FIELD);
}

/* What the client held of the resource is no longer what the portal wants. */
static void test_an_authorization_with_an_unreadable_resource_removes_the_access(void **state)
{
#define BROKEN CIDR("10.0.0.0/8", ",\"filters\":[{\"protocol\":\"tcp\"},{}]")
    static const char *const texts[][2] = {
        {"authorize_flow", FLOW(CIDR("10.0.0.0/8", ""), ",\"expires_at\":5")},
        {"create_authorization", FLOW(BROKEN, ",\"expires_at\":5")},
        {"request_connection",
         "{\"ref\":\"r\",\"resource\":" BROKEN
         ",\"expires_at\":null,\"client\":{\"id\":\"" CLIENT_ID
         "\",\"payload\":{\"ice_parameters\":" ICE ",\"domain\":null},\"peer\":" CLIENT "}}"},
        {"allow_access",
         "{\"ref\":\"r\",\"resource\":" BROKEN ",\"expires_at\":7,\"client_id\":\"" CLIENT_ID
         "\",\"client_ipv4\":\"100.66.0.9\",\"client_ipv6\":\"fd00::1\",\"payload\":null}"},
        {"allow_access", "{\"resource\":{\"id\":\"" RES_ID "\"},\"client_id\":\"" CLIENT_ID "\"}"},
    };
    struct uuid client;
    struct uuid resource;
    (void)state;
    assert_true(uuid_parse(view_text(CLIENT_ID), &client));
    assert_true(uuid_parse(view_text(RES_ID), &resource));
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        assert_int_equal(decode(texts[i][0], texts[i][1]), DROP_NONE);
        assert_int_equal(msg.kind, PORTAL_MSG_ACCESS_REMOVED);
        assert_true(uuid_equal(&msg.u.reject_access.client, &client));
        assert_true(uuid_equal(&msg.u.reject_access.resource, &resource));
    }
#undef BROKEN
}

static enum drop_reason decode_text(const char *text)
{
    portal_msg_free(&msg);
    return portal_msg_decode(&msg, view_text(text));
}

static void test_envelopes_and_replies(void **state)
{
    (void)state;
    assert_int_equal(decode_text("[]"), DROP_PHX_ENVELOPE);
    assert_int_equal(decode_text("{\"topic\":1,\"event\":\"x\"}"), DROP_PHX_ENVELOPE);
    assert_int_equal(decode_text("{\"topic\":\"gateway\"}"), DROP_PHX_ENVELOPE);
    assert_int_equal(decode_text("{\"topic\":\"gateway\","), DROP_JSON_TRUNCATED);
    assert_int_equal(decode_text("{]"), DROP_JSON_SYNTAX);
    assert_int_equal(decode_text("{\"topic\":\"phoenix\",\"event\":\"phx_reply\",\"extra\":[],"
                                 "\"ref\":6,\"payload\":{\"response\":{},\"status\":\"ok\"}}"),
                     DROP_NONE);
    assert_int_equal(msg.kind, PORTAL_MSG_REPLY_OK);
    assert_false(msg.u.reply.on_gateway_topic);
    assert_true(msg.u.reply.ref == 6);
    assert_int_equal(
        decode_text("{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"ref\":1,\"payload\":"
                    "{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}}"),
        DROP_NONE);
    assert_int_equal(msg.kind, PORTAL_MSG_REPLY_ERROR);
    assert_true(msg.u.reply.on_gateway_topic);
    assert_true(view_equal_text(msg.u.reply.reason, "unmatched topic"));
    assert_int_equal(
        decode_text("{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"ref\":\"1\",\"payload\":"
                    "{\"status\":\"ok\",\"response\":{}}}"),
        DROP_PORTAL_REF);
}

/* Cuts the value of "msg" out of a recorded line; they end with "}" of the line itself. */
static struct view message_of(char *line)
{
    char *start = strstr(line, "\"msg\": ");
    assert_non_null(start);
    start += 7;
    return (struct view){(const uint8_t *)start, strlen(start) - 1};
}

/* Writes what we would send for a recorded message of a gateway. */
static void encode_recorded(const struct json_value *root, struct json_writer *w)
{
    static uint8_t payload_bytes[8192];
    struct json_writer p = json_writer_of((struct span){payload_bytes, sizeof(payload_bytes)});
    const struct json_value *payload = json_get(root, "payload");
    enum portal_event event = PORTAL_EVENT_JOIN;
    struct view name;
    struct view text;
    uint64_t ref = 0;
    assert_true(json_get_text(root, "event", &name) && json_get_u64(root, "ref", &ref));
    if (view_equal_text(name, "flow_authorized")) {
        event = PORTAL_EVENT_FLOW_AUTHORIZED;
        assert_true(json_get_text(payload, "ref", &text));
        portal_encode_flow_authorized(&p, text);
    } else if (view_equal_text(name, "broadcast_ice_candidates")) {
        struct view candidates[16];
        struct uuid client;
        size_t count = 0;
        event = PORTAL_EVENT_CANDIDATES;
        assert_true(json_uuid(json_first(json_get(payload, "client_ids")), &client));
        for (const struct json_value *c = json_first(json_get(payload, "candidates")); c != NULL;
             c = json_next(c)) {
            assert_true(json_text(c, &candidates[count++]));
        }
        portal_encode_candidates(&p, &client, candidates, count);
    } else if (view_equal_text(name, "heartbeat")) {
        event = PORTAL_EVENT_HEARTBEAT;
        json_open_object(&p);
        json_close_object(&p);
    } else {
        assert_true(view_equal_text(name, "phx_join"));
        json_put_null(&p);
    }
    assert_true(json_writer_finish(&p, &text));
    portal_encode_envelope(w, event, text, ref);
}

/* Removes the spaces that the recorder put behind colons and commas outside of texts. */
static struct view squeeze(struct view text, uint8_t *out)
{
    size_t len = 0;
    bool inside = false;
    for (size_t i = 0; i < text.len; i++) {
        inside = text.at[i] == '"' ? !inside : inside;
        if (inside || text.at[i] != ' ') {
            out[len++] = text.at[i];
        }
    }
    return (struct view){out, len};
}

static void check_recording(const char *path, unsigned inbound_min, unsigned outbound_min)
{
    static uint8_t expected[16384];
    static uint8_t written[16384];
    size_t len = 0;
    unsigned inbound = 0;
    unsigned outbound = 0;
    char *text = support_read_file(path, &len);
    assert_non_null(text);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strstr(line, "\"kind\": \"gateway\"") == NULL || strstr(line, "\"connect\"") != NULL) {
            continue;
        }
        struct view message = message_of(line);
        if (strstr(line, "\"dir\": \"to\"") != NULL) {
            portal_msg_free(&msg);
            assert_int_equal(portal_msg_decode(&msg, message), DROP_NONE);
            inbound++;
        } else if (strstr(line, "set_snownet_capabilities") == NULL) {
            struct json_doc doc;
            struct view out;
            struct json_writer w = json_writer_of((struct span){written, sizeof(written)});
            assert_int_equal(json_parse(&doc, message), DROP_NONE);
            encode_recorded(doc.root, &w);
            assert_true(json_writer_finish(&w, &out));
            assert_true(view_equal(out, squeeze(message, expected)));
            json_free(&doc);
            outbound++;
        }
    }
    assert_true(inbound >= inbound_min && outbound >= outbound_min);
    free(text);
}

static void test_the_recorded_sessions_decode_and_encode_to_the_same_bytes(void **state)
{
    (void)state;
    check_recording("tests/vectors/recorded/base/portal.jsonl", 8, 5);
    check_recording("tests/vectors/recorded/head/portal.jsonl", 8, 5);
}

static void test_connection_ready_has_the_documented_form(void **state)
{
    uint8_t bytes[512];
    struct json_writer w = json_writer_of((struct span){bytes, sizeof(bytes)});
    struct view text;
    (void)state;
    portal_encode_connection_ready(&w, view_text("r"), view_text("u"), view_text("p"));
    assert_true(json_writer_finish(&w, &text));
    assert_true(view_equal_text(
        text, "{\"ref\":\"r\",\"gateway_payload\":{\"ConnectionAccepted\":{\"ice_parameters\":"
              "{\"username\":\"u\",\"password\":\"p\"}}}}"));
}

static void test_every_truncation_of_a_message_is_refused(void **state)
{
    static const char text[] =
        "{\"event\":\"authorize_flow\",\"topic\":\"gateway\",\"payload\":" FLOW(
            DNS, ",\"expires_at\":5") "}";
    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        portal_msg_free(&msg);
        assert_int_equal(portal_msg_decode(&msg, (struct view){(const uint8_t *)text, len}),
                         DROP_JSON_TRUNCATED);
    }
}

static int free_message(void **state)
{
    (void)state;
    portal_msg_free(&msg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_with_two_entries_of_one_relay),
        cmocka_unit_test(test_head_init_has_authorizations_and_flow_logs),
        cmocka_unit_test(test_unknown_relays_are_skipped_and_broken_ones_refuse),
        cmocka_unit_test(test_authorize_flow_gives_every_field),
        cmocka_unit_test(test_the_table_of_messages),
        cmocka_unit_test(test_an_old_clients_request_is_read_whole),
        cmocka_unit_test(test_lists_are_checked_a_few_entries_at_a_time),
        cmocka_unit_test(test_filters_fail_closed),
        cmocka_unit_test(test_an_unreadable_resource_update_removes_the_resource),
        cmocka_unit_test(test_an_authorization_with_an_unreadable_resource_removes_the_access),
        cmocka_unit_test(test_envelopes_and_replies),
        cmocka_unit_test(test_the_recorded_sessions_decode_and_encode_to_the_same_bytes),
        cmocka_unit_test(test_connection_ready_has_the_documented_form),
        cmocka_unit_test(test_every_truncation_of_a_message_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, free_message);
}
