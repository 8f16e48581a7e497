/* sim_relay_decode: requests to a relay, decoded as the real relay decodes them.
 *
 * Deliberately not the decoder of src/stun: the relay honours attributes behind MESSAGE-INTEGRITY,
 * tells illegal values (400) from wrong lengths (500) and must not share a misreading with the
 * gateway. Source: spec/relay.md section 2.
 * Memory: nothing is allocated; views point into the datagram.
 */
#ifndef SIM_RELAY_DECODE_H
#define SIM_RELAY_DECODE_H

#include "base/addr.h"
#include "stun/stun_msg.h"

#define SIM_RELAY_UNKNOWN_MAX 8U /* attribute numbers kept for a 420 */

/* Absent attributes: a view with `at` NULL, IP_NONE, false or 0. */
struct sim_relay_request {
    struct stun_msg header; /* method, class, txn; integrity_at */
    struct view username;
    struct view nonce;
    struct view realm;
    struct view data;
    struct sock_addr peer;
    bool has_transport;
    uint8_t transport;
    bool has_lifetime;
    uint32_t lifetime_s;
    bool has_channel;
    uint16_t channel;
    enum ip_family requested_family;
    enum ip_family additional_family;        /* 0x8000 */
    enum ip_family additional_family_old;    /* 0x8032, coturn */
    uint16_t unknown[SIM_RELAY_UNKNOWN_MAX]; /* comprehension-required and not known to STUN/TURN */
    uint32_t unknown_count;
};

enum sim_relay_decoded {
    SIM_RELAY_DECODED,
    SIM_RELAY_GARBAGE,    /* no answer */
    SIM_RELAY_BAD_VALUE,  /* header is valid: answer 400 */
    SIM_RELAY_BAD_LENGTH, /* header is valid: answer 500 */
};

MUST_USE enum sim_relay_decoded sim_relay_decode(struct view datagram,
                                                 struct sim_relay_request *out);

#endif /* SIM_RELAY_DECODE_H */
