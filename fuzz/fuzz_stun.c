/* Any bytes as a STUN message: decoding, both checks, and building an answer from what was read. */
#include "base/assert.h"
#include "stun/stun_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view datagram = {data, size};
    struct stun_msg msg;
    enum drop_reason reason = stun_msg_decode(datagram, &msg);
    if (reason != DROP_NONE) {
        return 0;
    }
    ASSERT(stun_is_message(datagram));
    bool authentic = stun_msg_check_integrity(datagram, &msg, view_text("key"));
    bool whole = stun_msg_check_fingerprint(datagram, &msg);
    ASSERT(!authentic || msg.integrity_at != 0);
    ASSERT(!whole || msg.fingerprint_at != 0);

    uint8_t out[2048];
    struct stun_writer s;
    stun_start(&s, (struct span){out, sizeof(out)}, msg.method, msg.class, &msg.txn);
    stun_put_username(&s, msg.username);
    stun_put_nonce(&s, msg.nonce);
    if (msg.peer.ip.family != IP_NONE) {
        stun_put_xor_address(&s, STUN_ATTR_XOR_PEER_ADDRESS, &msg.peer);
    }
    stun_put_integrity(&s, view_text("key"));
    stun_put_fingerprint(&s);
    struct view bytes = stun_finish(&s);
    struct stun_msg again;
    ASSERT(bytes.len > 0);
    ASSERT(stun_msg_decode(bytes, &again) == DROP_NONE);
    ASSERT(view_equal(again.nonce, msg.nonce));
    ASSERT(sock_addr_equal(&again.peer, &msg.peer));
    ASSERT(stun_msg_check_integrity(bytes, &again, view_text("key")));
    ASSERT(stun_msg_check_fingerprint(bytes, &again));
    return 0;
}
