/* fuzz_portal_msg: any bytes as a message of the portal; every list of an accepted one is walked.
 */
#include "portal/portal_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct portal_msg *msg)
{
    struct portal_list list = {0};
    struct portal_relay relay;
    struct portal_filter filter;
    struct view text;
    if (msg->kind == PORTAL_MSG_INIT) {
        list = msg->u.init.relays;
        while (portal_relays_next(&list, &relay)) {
        }
    } else if (msg->kind == PORTAL_MSG_AUTHORIZE_FLOW) {
        list = msg->u.authorize_flow.resource.filters;
        while (portal_filters_next(&list, &filter)) {
        }
    } else if (msg->kind == PORTAL_MSG_ICE_CANDIDATES) {
        list = msg->u.candidates.candidates;
        while (portal_candidates_next(&list, &text)) {
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct portal_msg msg;
    if (portal_msg_decode(&msg, (struct view){data, size}) == DROP_NONE) {
        walk(&msg);
        (void)portal_msg_kind_name(msg.kind);
    }
    portal_msg_free(&msg);
    return 0;
}
