/* p2p: the control messages that client and gateway exchange inside the tunnel.
 *
 * Each is one IPv6 packet without extension headers: version, traffic class and flow label
 * 60 00 00 00, payload length, next header 255, hop limit 0, source and destination "::", then an
 * event type, seven zero bytes and UTF-8 JSON. Unreliable, without acknowledgement.
 * Source: spec/dataplane.md section 2. Differs: more than P2P_PROXY_IPS_MAX proxy addresses are
 * refused. Memory: decoding allocates inside json/ and frees before it returns; results hold
 * copies, nothing to free.
 */
#ifndef P2P_P2P_H
#define P2P_P2P_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/drop.h"
#include "base/text.h"
#include "dns/dns_name.h"

#define P2P_HEADER_SIZE     48U   /* bytes: IPv6 header and event header */
#define P2P_PACKET_SIZE_MAX 1280U /* bytes, the tunnel's MTU */
#define P2P_PROXY_IPS_MAX   64U   /* the reference sends 4 or 8 */

enum p2p_event {
    P2P_ASSIGNED_IPS = 0,  /* client to gateway */
    P2P_DOMAIN_STATUS = 1, /* gateway to client */
    P2P_GOODBYE = 2,       /* both ways, no payload */
};

struct p2p_assigned_ips {
    struct uuid resource;
    struct dns_name domain;
    uint32_t proxy_ips_count;
    struct ip_addr proxy_ips[P2P_PROXY_IPS_MAX]; /* any family, no range check */
};

struct p2p_domain_status {
    struct uuid resource;
    struct dns_name domain;
    bool active; /* every text but "Active" means inactive */
};

struct p2p_msg {
    enum p2p_event event;
    union {
        struct p2p_assigned_ips assigned_ips;
        struct p2p_domain_status domain_status;
    } u;
};

/* True for packets that are control messages and must never reach the TUN device: IPv6, next
 * header 255, source and destination "::", at least 8 bytes of payload. Everything else, short
 * packets included, is ordinary traffic. Reads `packet` only within its bounds. */
MUST_USE bool p2p_is_control(struct view packet);

/* Decodes a packet for which p2p_is_control() holds; fills *out on DROP_NONE only.
 * DROP_P2P_UNKNOWN: an event type that is not in enum p2p_event;
 * DROP_P2P_MALFORMED: not such a packet, a payload length beyond the packet, JSON that is not
 * strict, a missing, repeated or ill-typed key, a name or address that does not parse;
 * DROP_JSON_MEMORY: no memory to read the JSON. */
MUST_USE enum drop_reason p2p_decode(struct view packet, struct p2p_msg *out);

/* Encoders write one complete IPv6 packet, keys in the reference's order. Each returns its size,
 * or 0 when `out` is too small or the packet would exceed P2P_PACKET_SIZE_MAX. */
MUST_USE size_t p2p_encode_assigned_ips(struct span out, const struct p2p_assigned_ips *msg);
MUST_USE size_t p2p_encode_domain_status(struct span out, const struct p2p_domain_status *msg);
MUST_USE size_t p2p_encode_goodbye(struct span out);

#endif /* P2P_P2P_H */
