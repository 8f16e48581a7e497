#include "p2p/p2p.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"
#include "json/json.h"

struct recorded {
    uint8_t assigned[512];
    size_t assigned_len;
    uint8_t status[512];
    size_t status_len;
};

static size_t unhex_member(const struct json_value *item, uint8_t *out, size_t size)
{
    struct view hex;
    assert_true(json_get_text(item, "packet", &hex));
    assert_true(hex.len / 2 <= size);
    assert_true(text_parse_hex(hex, out, hex.len / 2));
    return hex.len / 2;
}

static void load(struct recorded *r)
{
    size_t len = 0;
    char *text = support_read_file("tests/vectors/recorded/base/in_tunnel.json", &len);
    struct json_doc doc;
    assert_non_null(text);
    assert_int_equal(json_parse(&doc, (struct view){(const uint8_t *)text, len}), DROP_NONE);
    const struct json_value *first = json_first(doc.root);
    r->assigned_len = unhex_member(first, r->assigned, sizeof(r->assigned));
    r->status_len = unhex_member(json_next(first), r->status, sizeof(r->status));
    json_free(&doc);
    free(text);
}

static void test_recorded_assigned_ips_decodes_and_encodes_to_the_same_bytes(void **state)
{
    struct recorded r;
    struct p2p_msg msg;
    uint8_t out[P2P_PACKET_SIZE_MAX];
    struct ip_addr first = ip_v4(100, 96, 0, 1);
    struct dns_name name;
    (void)state;
    load(&r);
    struct view packet = {r.assigned, r.assigned_len};
    assert_true(p2p_is_control(packet));
    assert_int_equal(p2p_decode(packet, &msg), DROP_NONE);
    assert_int_equal(msg.event, P2P_ASSIGNED_IPS);
    assert_int_equal(msg.u.assigned_ips.proxy_ips_count, 8);
    assert_true(ip_equal(&msg.u.assigned_ips.proxy_ips[0], &first));
    assert_true(dns_name_parse(view_text("web.corp.test"), &name));
    assert_true(dns_name_equal(&name, &msg.u.assigned_ips.domain));
    size_t len = p2p_encode_assigned_ips((struct span){out, sizeof(out)}, &msg.u.assigned_ips);
    assert_true(view_equal((struct view){out, len}, packet));
}

static void test_recorded_domain_status_decodes_and_encodes_to_the_same_bytes(void **state)
{
    struct recorded r;
    struct p2p_msg msg;
    uint8_t out[P2P_PACKET_SIZE_MAX];
    (void)state;
    load(&r);
    struct view packet = {r.status, r.status_len};
    assert_int_equal(p2p_decode(packet, &msg), DROP_NONE);
    assert_int_equal(msg.event, P2P_DOMAIN_STATUS);
    assert_true(msg.u.domain_status.active);
    size_t len = p2p_encode_domain_status((struct span){out, sizeof(out)}, &msg.u.domain_status);
    assert_true(view_equal((struct view){out, len}, packet));
    assert_int_equal(p2p_encode_domain_status((struct span){out, len - 1}, &msg.u.domain_status),
                     0);
}

static void test_the_documented_example_has_144_bytes(void **state)
{
    static const char json[] = "{\"resource\":\"7d1f2a30-0c44-4c1e-9a55-2f6f6f0b1c2d\","
                               "\"domain\":\"db.corp.example\",\"status\":\"Active\"}";
    struct p2p_domain_status msg = {.active = true};
    uint8_t out[P2P_PACKET_SIZE_MAX];
    (void)state;
    assert_true(uuid_parse(view_text("7d1f2a30-0c44-4c1e-9a55-2f6f6f0b1c2d"), &msg.resource));
    assert_true(dns_name_parse(view_text("db.corp.example"), &msg.domain));
    assert_int_equal(p2p_encode_domain_status((struct span){out, sizeof(out)}, &msg), 144);
    assert_memory_equal(out, "\x60\0\0\0\x00\x68\xff\0", 8);
    assert_memory_equal(out + 40, "\x01\0\0\0\0\0\0\0", 8);
    assert_memory_equal(out + 48, json, sizeof(json) - 1);
}

static void test_goodbye_has_no_payload(void **state)
{
    uint8_t out[P2P_HEADER_SIZE];
    struct p2p_msg msg;
    (void)state;
    assert_int_equal(p2p_encode_goodbye((struct span){out, sizeof(out) - 1}), 0);
    assert_int_equal(p2p_encode_goodbye((struct span){out, sizeof(out)}), P2P_HEADER_SIZE);
    assert_int_equal(p2p_decode(VIEW_OF(out), &msg), DROP_NONE);
    assert_int_equal(msg.event, P2P_GOODBYE);
}

/* Builds a packet of `type` around `json`. */
static struct view wrap(uint8_t *out, uint8_t type, const char *json)
{
    size_t len = strlen(json);
    memset(out, 0, P2P_HEADER_SIZE);
    out[0] = 0x60;
    store_be16(out + 4, (uint16_t)(8 + len));
    out[6] = 0xff;
    out[40] = type;
    memcpy(out + P2P_HEADER_SIZE, json, len);
    return (struct view){out, P2P_HEADER_SIZE + len};
}

#define ID "\"resource\":\"7d1f2a30-0c44-4c1e-9a55-2f6f6f0b1c2d\""

struct row {
    uint8_t type;
    enum drop_reason reason;
    const char *json;
};

static const struct row rows[] = {
    {0, DROP_NONE, "{" ID ",\"domain\":\"a.b\",\"proxy_ips\":[]}"},
    {0, DROP_NONE, " {\"proxy_ips\":[\"1.2.3.4\"],\"x\":{\"y\":1},\"domain\":\"a.b.\"," ID "} \n"},
    {0, DROP_NONE,
     "{\"resource\":\"urn:uuid:7D1F2A30-0C44-4C1E-9A55-2F6F6F0B1C2D\",\"domain\":\".\","
     "\"proxy_ips\":[]}"},
    {0, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"a..b\",\"proxy_ips\":[]}"},
    {0, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"\",\"proxy_ips\":[]}"},
    {0, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"a\",\"proxy_ips\":[\"1.2.3\"]}"},
    {0, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"a\",\"proxy_ips\":[1]}"},
    {0, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"a\",\"proxy_ips\":null}"},
    {0, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"a\"}"},
    {0, DROP_P2P_MALFORMED, "{\"domain\":\"a\",\"proxy_ips\":[]}"},
    {0, DROP_P2P_MALFORMED, "{\"resource\":\"x\",\"domain\":\"a\",\"proxy_ips\":[]}"},
    {0, DROP_P2P_MALFORMED, "{" ID "," ID ",\"domain\":\"a\",\"proxy_ips\":[]}"},
    {0, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"a\",\"proxy_ips\":[]}x"},
    {0, DROP_P2P_MALFORMED, "[]"},
    {0, DROP_P2P_MALFORMED, ""},
    {1, DROP_NONE, "{" ID ",\"domain\":\"a\",\"status\":\"Something new\"}"},
    {1, DROP_P2P_MALFORMED, "{" ID ",\"domain\":\"a\",\"status\":1}"},
    {2, DROP_NONE, "whatever"},
    {3, DROP_P2P_UNKNOWN, "{}"},
    {255, DROP_P2P_UNKNOWN, ""},
};

static void test_the_table_of_payloads(void **state)
{
    uint8_t bytes[1024];
    struct p2p_msg msg;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        enum drop_reason reason = p2p_decode(wrap(bytes, rows[i].type, rows[i].json), &msg);
        if (reason != rows[i].reason) {
            fail_msg("row %zu: %s gives %s", i, rows[i].json, drop_label(reason));
        }
    }
    assert_int_equal(p2p_decode(wrap(bytes, 1, rows[15].json), &msg), DROP_NONE);
    assert_false(msg.u.domain_status.active);
}

static void test_recognition_needs_exactly_the_four_conditions(void **state)
{
    struct recorded r;
    (void)state;
    load(&r);
    for (size_t len = 0; len < P2P_HEADER_SIZE; len++) {
        assert_false(p2p_is_control((struct view){r.status, len}));
    }
    for (size_t i = 0; i < P2P_HEADER_SIZE; i++) {
        struct recorded changed = r;
        changed.status[i] ^= 0x80;
        bool matters = i == 0 || i == 6 || (i >= 8 && i < 40);
        assert_int_equal(p2p_is_control((struct view){changed.status, changed.status_len}),
                         !matters);
    }
    store_be16(r.status + 4, 7);
    assert_false(p2p_is_control((struct view){r.status, r.status_len}));
}

static void test_every_truncation_is_refused(void **state)
{
    struct recorded r;
    struct p2p_msg msg;
    (void)state;
    load(&r);
    for (size_t len = 0; len < r.assigned_len; len++) {
        assert_int_equal(p2p_decode((struct view){r.assigned, len}, &msg), DROP_P2P_MALFORMED);
    }
    assert_int_equal(p2p_decode((struct view){r.assigned, r.assigned_len}, &msg), DROP_NONE);
}

static void test_more_proxy_addresses_than_the_bound_are_refused(void **state)
{
    uint8_t bytes[1000];
    char json[600];
    struct p2p_msg msg;
    (void)state;
    for (unsigned count = P2P_PROXY_IPS_MAX; count <= P2P_PROXY_IPS_MAX + 1; count++) {
        size_t used = strlen(strcpy(json, "{" ID ",\"domain\":\"a\",\"proxy_ips\":["));
        for (unsigned i = 0; i < count; i++) {
            used += strlen(strcpy(json + used, i == 0 ? "\"::1\"" : ",\"::1\""));
        }
        (void)strcpy(json + used, "]}");
        assert_int_equal(p2p_decode(wrap(bytes, 0, json), &msg),
                         count == P2P_PROXY_IPS_MAX ? DROP_NONE : DROP_P2P_MALFORMED);
    }
}

static void test_a_message_beyond_the_mtu_is_not_encoded(void **state)
{
    struct p2p_assigned_ips msg = {.proxy_ips_count = P2P_PROXY_IPS_MAX};
    uint8_t out[1400];
    (void)state;
    assert_true(dns_name_parse(view_text("a"), &msg.domain));
    for (unsigned i = 0; i < P2P_PROXY_IPS_MAX; i++) {
        msg.proxy_ips[i].family = IP_V6;
        memset(msg.proxy_ips[i].bytes, 0xfe, 16);
    }
    assert_int_equal(p2p_encode_assigned_ips((struct span){out, sizeof(out)}, &msg), 0);
}

static void test_flipped_bits_never_do_harm(void **state)
{
    struct recorded r;
    struct p2p_msg msg;
    uint32_t refused = 0;
    (void)state;
    load(&r);
    for (size_t bit = 0; bit < 8 * r.assigned_len; bit++) {
        r.assigned[bit / 8] ^= (uint8_t)(1U << bit % 8);
        refused += p2p_decode((struct view){r.assigned, r.assigned_len}, &msg) != DROP_NONE;
        r.assigned[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(refused > 1000 && refused < 8 * r.assigned_len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_assigned_ips_decodes_and_encodes_to_the_same_bytes),
        cmocka_unit_test(test_recorded_domain_status_decodes_and_encodes_to_the_same_bytes),
        cmocka_unit_test(test_the_documented_example_has_144_bytes),
        cmocka_unit_test(test_goodbye_has_no_payload),
        cmocka_unit_test(test_the_table_of_payloads),
        cmocka_unit_test(test_recognition_needs_exactly_the_four_conditions),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_more_proxy_addresses_than_the_bound_are_refused),
        cmocka_unit_test(test_a_message_beyond_the_mtu_is_not_encoded),
        cmocka_unit_test(test_flipped_bits_never_do_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
