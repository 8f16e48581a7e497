#include "p2p/p2p.h"

#include <string.h>

#include "base/assert.h"
#include "json/json.h"
#include "json/json_writer.h"

/*  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +---------------------------------------------------------------+
 * |                     60 00 00 00                               |  0
 * |        8 + JSON length        |      ff       |      00       |  4
 * |                     source ::  (16 bytes)                     |  8
 * |                     destination ::  (16 bytes)                | 24
 * |     type      |               seven zero bytes                | 40
 * |                     JSON ...                                  | 48
 */
#define IPV6_HEADER_SIZE    40U
#define EVENT_HEADER_SIZE   8U
#define NEXT_HEADER_CONTROL 0xffU

#define OFFSET_LENGTH       4U
#define OFFSET_NEXT_HEADER  6U
#define OFFSET_SOURCE       8U
#define OFFSET_TYPE         40U
#define ADDRESSES_SIZE      32U

static_assert(IPV6_HEADER_SIZE + EVENT_HEADER_SIZE == P2P_HEADER_SIZE, "the two headers");

bool p2p_is_control(struct view packet)
{
    static const uint8_t unspecified[ADDRESSES_SIZE] = {0};
    if (packet.len < P2P_HEADER_SIZE || packet.at[0] >> 4 != 6) {
        return false;
    }
    return packet.at[OFFSET_NEXT_HEADER] == NEXT_HEADER_CONTROL &&
           load_be16(packet.at + OFFSET_LENGTH) >= EVENT_HEADER_SIZE &&
           memcmp(packet.at + OFFSET_SOURCE, unspecified, ADDRESSES_SIZE) == 0;
}

static bool get_domain(const struct json_value *object, struct dns_name *out)
{
    struct view text;
    return json_get_text(object, "domain", &text) && dns_name_parse(text, out);
}

static bool decode_assigned_ips(const struct json_value *root, struct p2p_assigned_ips *out)
{
    const struct json_value *ips = NULL;
    if (!json_get_uuid(root, "resource", &out->resource) || !get_domain(root, &out->domain) ||
        !json_get_array(root, "proxy_ips", &ips)) {
        return false;
    }
    out->proxy_ips_count = 0;
    for (const struct json_value *ip = json_first(ips); ip != NULL; ip = json_next(ip)) {
        if (out->proxy_ips_count == P2P_PROXY_IPS_MAX ||
            !json_ip(ip, &out->proxy_ips[out->proxy_ips_count])) {
            return false;
        }
        out->proxy_ips_count++;
    }
    return true;
}

static bool decode_domain_status(const struct json_value *root, struct p2p_domain_status *out)
{
    struct view status;
    if (!json_get_uuid(root, "resource", &out->resource) || !get_domain(root, &out->domain) ||
        !json_get_text(root, "status", &status)) {
        return false;
    }
    out->active = view_equal_text(status, "Active");
    return true;
}

static enum drop_reason decode_json(struct view text, struct p2p_msg *out)
{
    struct json_doc doc;
    enum drop_reason reason = json_parse(&doc, text);
    if (reason != DROP_NONE) {
        return reason == DROP_JSON_MEMORY ? reason : DROP_P2P_MALFORMED;
    }
    bool good = out->event == P2P_ASSIGNED_IPS
                    ? decode_assigned_ips(doc.root, &out->u.assigned_ips)
                    : decode_domain_status(doc.root, &out->u.domain_status);
    json_free(&doc);
    return good ? DROP_NONE : DROP_P2P_MALFORMED;
}

enum drop_reason p2p_decode(struct view packet, struct p2p_msg *out)
{
    if (!p2p_is_control(packet)) {
        return DROP_P2P_MALFORMED;
    }
    size_t length = load_be16(packet.at + OFFSET_LENGTH);
    if (length > packet.len - IPV6_HEADER_SIZE) {
        return DROP_P2P_MALFORMED;
    }
    struct view json = view_sub(packet, P2P_HEADER_SIZE, length - EVENT_HEADER_SIZE);
    struct p2p_msg msg = {.event = P2P_GOODBYE};
    enum drop_reason reason = DROP_NONE;
    switch (packet.at[OFFSET_TYPE]) {
    case P2P_ASSIGNED_IPS:
        msg.event = P2P_ASSIGNED_IPS;
        reason = decode_json(json, &msg);
        break;
    case P2P_DOMAIN_STATUS:
        msg.event = P2P_DOMAIN_STATUS;
        reason = decode_json(json, &msg);
        break;
    case P2P_GOODBYE:
        break;
    default:
        reason = DROP_P2P_UNKNOWN;
        break;
    }
    if (reason == DROP_NONE) {
        *out = msg;
    }
    return reason;
}

/* Bounds the room for a packet and gives the part behind the headers. */
static struct span json_room(struct span out)
{
    size_t len = out.len < P2P_PACKET_SIZE_MAX ? out.len : P2P_PACKET_SIZE_MAX;
    if (len < P2P_HEADER_SIZE) {
        return SPAN_EMPTY;
    }
    return (struct span){out.at + P2P_HEADER_SIZE, len - P2P_HEADER_SIZE};
}

/* Puts the headers in front of `json_len` bytes that stand in json_room() already. */
static size_t finish_packet(struct span out, enum p2p_event event, size_t json_len)
{
    if (out.len < P2P_HEADER_SIZE) {
        return 0;
    }
    memset(out.at, 0, P2P_HEADER_SIZE);
    out.at[0] = 0x60;
    store_be16(out.at + OFFSET_LENGTH, (uint16_t)(EVENT_HEADER_SIZE + json_len));
    out.at[OFFSET_NEXT_HEADER] = NEXT_HEADER_CONTROL;
    out.at[OFFSET_TYPE] = (uint8_t)event;
    return P2P_HEADER_SIZE + json_len;
}

static void field_domain(struct json_writer *w, const struct dns_name *domain)
{
    uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
    struct writer name = writer_of((struct span){text, sizeof(text)});
    dns_name_put(&name, domain);
    ASSERT(writer_finish(&name));
    json_field_text(w, "domain", writer_view(&name));
}

size_t p2p_encode_assigned_ips(struct span out, const struct p2p_assigned_ips *msg)
{
    ASSERT(msg->proxy_ips_count <= P2P_PROXY_IPS_MAX);
    struct json_writer w = json_writer_of(json_room(out));
    struct view json;
    json_open_object(&w);
    json_field_uuid(&w, "resource", &msg->resource);
    field_domain(&w, &msg->domain);
    json_put_key(&w, "proxy_ips");
    json_open_array(&w);
    for (uint32_t i = 0; i < msg->proxy_ips_count; i++) {
        json_put_ip(&w, &msg->proxy_ips[i]);
    }
    json_close_array(&w);
    json_close_object(&w);
    return json_writer_finish(&w, &json) ? finish_packet(out, P2P_ASSIGNED_IPS, json.len) : 0;
}

size_t p2p_encode_domain_status(struct span out, const struct p2p_domain_status *msg)
{
    struct json_writer w = json_writer_of(json_room(out));
    struct view json;
    json_open_object(&w);
    json_field_uuid(&w, "resource", &msg->resource);
    field_domain(&w, &msg->domain);
    json_field_string(&w, "status", msg->active ? "Active" : "Inactive");
    json_close_object(&w);
    return json_writer_finish(&w, &json) ? finish_packet(out, P2P_DOMAIN_STATUS, json.len) : 0;
}

size_t p2p_encode_goodbye(struct span out)
{
    return finish_packet(out, P2P_GOODBYE, 0);
}
