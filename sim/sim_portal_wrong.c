#include <stdlib.h>
#include <string.h>

#include "sim/sim_portal_internal.h"

#define FRAME_TEXT       0x81U
#define FRAME_BINARY     0x82U
#define FRAME_PING       0x89U
#define FRAME_RESERVED   0xF1U
#define PINGS            200U
#define BIG_MESSAGE_SIZE 1048576U

/* One fixed text for each kind that needs nothing else. */
static const char *fixed_text(enum sim_portal_wrong wrong)
{
    switch ((int)wrong) {
    case SIM_PORTAL_UNKNOWN_EVENT:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"set_quantum_mode\","
               "\"payload\":{\"level\":[1,2,{\"x\":null}]}}";
    case SIM_PORTAL_UNKNOWN_REPLY:
        return "{\"ref\":4000000000,\"topic\":\"gateway\",\"event\":\"phx_reply\","
               "\"payload\":{\"status\":\"ok\",\"response\":{}}}";
    case SIM_PORTAL_MALFORMED_JSON:
        return "{\"ref\":null,,\"topic\":\"gateway\"}";
    case SIM_PORTAL_TRUNCATED_JSON:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"init\",\"payload\":{\"inter";
    case SIM_PORTAL_WRONG_TYPES:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"authorize_flow\",\"payload\":{"
               "\"ref\":7,\"resource\":\"x\",\"client\":[],\"expires_at\":\"soon\"}}";
    case SIM_PORTAL_HUGE_NUMBER:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"reject_access\",\"payload\":{"
               "\"client_id\":99999999999999999999999,\"resource_id\":1e300}}";
    case SIM_PORTAL_UNKNOWN_FILTER:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"resource_updated\",\"payload\":{"
               "\"id\":\"00000000-0000-4000-8000-00000000dead\",\"type\":\"cidr\","
               "\"address\":\"192.0.2.0/24\",\"name\":\"x\","
               "\"filters\":[{\"protocol\":\"sctp\"}]}}";
    case SIM_PORTAL_REJECT_UNKNOWN:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"reject_access\",\"payload\":{"
               "\"client_id\":\"00000000-0000-4000-8000-00000000dead\","
               "\"resource_id\":\"00000000-0000-4000-8000-00000000beef\"}}";
    case SIM_PORTAL_UNKNOWN_RESOURCE:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"authorize_flow\",\"payload\":{"
               "\"ref\":\"x\",\"resource\":{\"id\":\"00000000-0000-4000-8000-00000000dead\","
               "\"type\":\"device_pool\",\"name\":\"x\",\"filters\":[]},"
               "\"gateway_ice_credentials\":{\"username\":\"aaaa\",\"password\":"
               "\"aaaaaaaaaaaaaaaaaaaaaa\"},\"client\":{\"id\":"
               "\"00000000-0000-4000-8000-00000000beef\",\"public_key\":"
               "\"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\",\"preshared_key\":"
               "\"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\",\"ipv4\":\"100.66.0.9\","
               "\"ipv6\":\"fd00:2021:1111::3:9\"},\"client_ice_credentials\":{\"username\":"
               "\"bbbb\",\"password\":\"bbbbbbbbbbbbbbbbbbbbbb\"},\"expires_at\":null}}";
    case SIM_PORTAL_DISCONNECT_UNKNOWN:
        return "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"disconnect\","
               "\"payload\":{\"reason\":\"maintenance\"}}";
    default:
        return NULL;
    }
}

static void send_big(struct portal_call *call, struct portal_session *session)
{
    struct portal_push push = push_start(call->portal, "gateway", "history_of_everything");
    uint8_t *filler = malloc(BIG_MESSAGE_SIZE);
    ASSERT(filler != NULL);
    memset(filler, 'x', BIG_MESSAGE_SIZE);
    json_field_text(&push.w, "text", (struct view){filler, BIG_MESSAGE_SIZE});
    free(filler);
    session_send(call, session, push_end(call->portal, &push), true);
}

static void repeat_last(struct portal_call *call, struct portal_session *session)
{
    if (session->last_len > 0) {
        session_send(call, session, (struct view){session->last, session->last_len}, false);
    }
}

static void send_pings(struct portal_call *call, struct portal_session *session, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t payload[4];
        store_be32(payload, i);
        session_send_frame(call, session, FRAME_PING, VIEW_OF(payload));
    }
}

static void misbehave(struct portal_call *call, struct portal_session *session,
                      enum sim_portal_wrong wrong)
{
    const char *text = fixed_text(wrong);
    if (text != NULL) {
        session_send(call, session, view_text(text), false);
        return;
    }
    switch ((int)wrong) {
    case SIM_PORTAL_EMPTY_TEXT:
        session_send_frame(call, session, FRAME_TEXT, VIEW_EMPTY);
        break;
    case SIM_PORTAL_BROKEN_UTF8:
        session_send_frame(call, session, FRAME_TEXT, view_text("{\"event\":\"\xC3\x28\"}"));
        break;
    case SIM_PORTAL_BIG_MESSAGE:
        send_big(call, session);
        break;
    case SIM_PORTAL_BINARY:
        session_send_frame(call, session, FRAME_BINARY, view_text("\x01\x02\xFF"));
        break;
    case SIM_PORTAL_PING:
        send_pings(call, session, 1);
        break;
    case SIM_PORTAL_PING_FLOOD:
        send_pings(call, session, PINGS);
        break;
    case SIM_PORTAL_REPEAT_LAST:
        repeat_last(call, session);
        break;
    case SIM_PORTAL_REINIT:
        channel_send_init(call, session);
        break;
    case SIM_PORTAL_BAD_FRAME:
        session_send_frame(call, session, FRAME_RESERVED, view_text("{}"));
        break;
    default:
        UNREACHABLE();
    }
}

enum err sim_portal_misbehave(struct sim_portal *portal, struct clock_pair now, uint32_t gateway,
                              enum sim_portal_wrong wrong, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    struct portal_session *session = session_next(portal, NULL, SESSION_GATEWAY, gateway);
    ASSERT(wrong < SIM_PORTAL_WRONG_COUNT);
    if (session == NULL) {
        return ERR_STATE;
    }
    misbehave(&call, session, wrong);
    return ERR_NONE;
}

enum err sim_portal_send_text(struct sim_portal *portal, struct clock_pair now, uint32_t gateway,
                              struct view text, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    struct portal_session *session = session_next(portal, NULL, SESSION_GATEWAY, gateway);
    if (session == NULL) {
        return ERR_STATE;
    }
    if (text.len == 0) {
        session_send_frame(&call, session, FRAME_TEXT, text);
        return ERR_NONE;
    }
    session_send(&call, session, text, true);
    return ERR_NONE;
}
