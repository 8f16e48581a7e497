/* fuzz_p2p: any bytes as a packet; what decodes must encode and decode to the same. */
#include "base/assert.h"
#include "p2p/p2p.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view packet = {data, size};
    struct p2p_msg msg;
    struct p2p_msg again;
    uint8_t out[P2P_PACKET_SIZE_MAX];
    struct span room = {out, sizeof(out)};
    if (p2p_decode(packet, &msg) != DROP_NONE) {
        return 0;
    }
    ASSERT(p2p_is_control(packet));
    size_t len = 0;
    if (msg.event == P2P_ASSIGNED_IPS) {
        len = p2p_encode_assigned_ips(room, &msg.u.assigned_ips);
    } else if (msg.event == P2P_DOMAIN_STATUS) {
        len = p2p_encode_domain_status(room, &msg.u.domain_status);
    } else {
        len = p2p_encode_goodbye(room);
    }
    if (len > 0) {
        ASSERT(p2p_decode((struct view){out, len}, &again) == DROP_NONE);
        ASSERT(again.event == msg.event);
    }
    return 0;
}
