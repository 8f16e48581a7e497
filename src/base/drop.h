/* drop: every reason for which input from outside is refused, counted and traced.
 *
 * One table for all modules, so that a counter, a log line, a metric and a simulator record carry
 * the same name. A drop is never an error of ours and never an error of the environment.
 */
#ifndef BASE_DROP_H
#define BASE_DROP_H

#include <stdint.h>

/* name, metric label, sentence */
#define DROP_TABLE(X)                                                                              \
    X(DROP_NONE, "none", "accepted")                                                               \
    /* outer datagrams */                                                                          \
    X(DROP_UDP_EMPTY, "udp_empty", "the datagram is empty")                                        \
    X(DROP_UDP_TOO_LONG, "udp_too_long", "the datagram is longer than any peer may send")          \
    X(DROP_UDP_UNKNOWN, "udp_unknown", "the datagram is neither STUN, ChannelData nor WireGuard")  \
    X(DROP_STUN_MALFORMED, "stun_malformed", "the STUN message does not parse")                    \
    X(DROP_STUN_INTEGRITY, "stun_integrity", "MESSAGE-INTEGRITY is missing or wrong")              \
    X(DROP_STUN_FINGERPRINT, "stun_fingerprint", "FINGERPRINT is wrong")                           \
    X(DROP_STUN_UNKNOWN_TXN, "stun_unknown_txn", "no request with this transaction id is open")    \
    X(DROP_STUN_UNKNOWN_UFRAG, "stun_unknown_ufrag", "no connection has these ICE user names")     \
    X(DROP_STUN_UNEXPECTED, "stun_unexpected", "this STUN method or class is not handled here")    \
    X(DROP_STUN_SOURCE, "stun_source", "the answer came from another address than asked")          \
    X(DROP_TURN_CHANNEL, "turn_channel", "ChannelData for a channel that is not bound")            \
    X(DROP_TURN_LENGTH, "turn_length", "the ChannelData length does not fit the datagram")         \
    X(DROP_TURN_FAMILY, "turn_family", "no relayed address of the peer's family")                  \
    X(DROP_TURN_ERROR, "turn_error", "the relay refused the request")                              \
    X(DROP_ICE_ROLE, "ice_role", "USE-CANDIDATE from the controlled side")                         \
    X(DROP_ICE_DISCARDED, "ice_discarded", "a check from an invalidated candidate")                \
    X(DROP_ICE_LOCAL, "ice_local", "a check to an address that is no local candidate")             \
    X(DROP_ICE_FULL, "ice_full", "the candidate or pair table of the connection is full")          \
    X(DROP_ICE_CANDIDATE, "ice_candidate", "the candidate text does not parse or does not apply")  \
    X(DROP_WG_MALFORMED, "wg_malformed", "the WireGuard message does not parse")                   \
    X(DROP_WG_MAC1, "wg_mac1", "mac1 is wrong")                                                    \
    X(DROP_WG_LOAD, "wg_load", "too many handshakes, in all or of one address")                    \
    X(DROP_WG_HANDSHAKE, "wg_handshake", "the handshake message does not decrypt")                 \
    X(DROP_WG_UNKNOWN_KEY, "wg_unknown_key", "no peer has this static key")                        \
    X(DROP_WG_TIMESTAMP, "wg_timestamp", "the initiation is a replay or older than the last one")  \
    X(DROP_WG_UNKNOWN_INDEX, "wg_unknown_index", "no session has this receiver index")             \
    X(DROP_WG_UNEXPECTED, "wg_unexpected", "no handshake of ours waits for this message")          \
    X(DROP_WG_EXPIRED, "wg_expired", "the session is too old")                                     \
    X(DROP_WG_COUNTER, "wg_counter", "the counter is outside the window or beyond the limit")      \
    X(DROP_WG_REPLAYED, "wg_replayed", "the counter was used before")                              \
    X(DROP_WG_TAG, "wg_tag", "the packet does not decrypt")                                        \
    X(DROP_WG_COOKIE, "wg_cookie", "the cookie reply does not decrypt")                            \
    X(DROP_WG_NO_SESSION, "wg_no_session", "no session to send on")                                \
    X(DROP_WG_QUEUE, "wg_queue", "the queue of packets waiting for a session is full")             \
    X(DROP_NO_PATH, "no_path", "no path to the peer has been nominated")                           \
    X(DROP_NO_CHANNEL, "no_channel", "no channel to the peer on the relay, or not yet")            \
    /* inner packets */                                                                            \
    X(DROP_IP_MALFORMED, "ip_malformed", "the IP header is not valid")                             \
    X(DROP_IP_LENGTH, "ip_length", "the length fields disagree with the packet")                   \
    X(DROP_IP_TOO_BIG, "ip_too_big", "the packet is larger than the tunnel's MTU")                 \
    X(DROP_IP_FRAGMENT, "ip_fragment", "fragments are not forwarded")                              \
    X(DROP_IP_EXTENSION, "ip_extension",                                                           \
      "an IPv4 option or the chain of IPv6 extension headers is not acceptable")                   \
    X(DROP_IP_L4, "ip_l4", "the TCP, UDP or ICMP header is not valid")                             \
    X(DROP_IP_CHECKSUM, "ip_checksum", "a checksum is wrong")                                      \
    X(DROP_IP_MULTICAST, "ip_multicast", "multicast is not forwarded")                             \
    X(DROP_TUN_OFFLOAD, "tun_offload", "the offload header of the TUN packet is not valid")        \
    X(DROP_TUN_NOT_CLIENT, "tun_not_client", "the destination is no client's tunnel address")      \
    X(DROP_SOURCE, "source", "the source is not the client's tunnel address")                      \
    X(DROP_NO_PEER, "no_peer", "the client has no authorization left")                             \
    X(DROP_NO_RESOURCE, "no_resource", "no resource of the client covers the destination")         \
    X(DROP_FILTER, "filter", "the filters of the resource refuse the packet")                      \
    X(DROP_EXPIRED, "expired", "the authorization has expired")                                    \
    X(DROP_HAIRPIN, "hairpin", "tunnel-to-tunnel traffic is refused")                              \
    X(DROP_INTERNET_PRIVATE, "internet_private", "the Internet resource reaches no private range") \
    X(DROP_GATEWAY_PROTOCOL, "gateway_protocol",                                                   \
      "only TCP, UDP and ICMP echo reach the gateway itself")                                      \
    X(DROP_ICMP_ERROR_OUT, "icmp_error_out", "clients may not send ICMP errors")                   \
    X(DROP_ICMP_UNTRANSLATABLE, "icmp_untranslatable", "the ICMP message cannot be translated")    \
    X(DROP_NAT_UNMAPPED, "nat_unmapped", "the name has no address of this family")                 \
    X(DROP_NAT_EXHAUSTED, "nat_exhausted", "no free port or session for this flow")                \
    X(DROP_NAT_CONFLICT, "nat_conflict", "a translated connection has the ports of this flow")     \
    X(DROP_NAT_EXPIRED, "nat_expired", "the NAT session of this tuple has expired")                \
    X(DROP_NAT_UNSUPPORTED, "nat_unsupported", "this protocol cannot be translated")               \
    X(DROP_NO_FLOW, "no_flow", "no flow of the client permits this answer")                        \
    X(DROP_ICMP_RATE, "icmp_rate", "the limit of ICMP errors per second is reached")               \
    /* in-tunnel control and DNS */                                                                \
    X(DROP_P2P_MALFORMED, "p2p_malformed", "the in-tunnel control message does not parse")         \
    X(DROP_P2P_UNKNOWN, "p2p_unknown", "the in-tunnel event type is not known")                    \
    X(DROP_P2P_BUSY, "p2p_busy", "too many lookups or DNS connections")                            \
    X(DROP_DNS_MALFORMED, "dns_malformed", "the DNS message does not parse")                       \
    X(DROP_DNS_FORBIDDEN, "dns_forbidden", "the DNS answer points into a forbidden range")         \
    X(DROP_DNS_LATE, "dns_late", "the DNS answer came after its request was given up")             \
    /* portal */                                                                                   \
    X(DROP_HTTP_MALFORMED, "http_malformed", "the HTTP message does not parse")                    \
    X(DROP_WS_PROTOCOL, "ws_protocol", "the WebSocket peer broke the protocol")                    \
    X(DROP_JSON_SYNTAX, "json_syntax", "the text is not strict JSON")                              \
    X(DROP_JSON_TRUNCATED, "json_truncated", "the JSON text ends too early")                       \
    X(DROP_JSON_LIMIT, "json_limit", "the JSON text is too deep, too long or has too many values") \
    X(DROP_JSON_MEMORY, "json_memory", "no memory to read the JSON text")                          \
    X(DROP_PHX_ENVELOPE, "phx_envelope", "the Phoenix envelope is not valid")                      \
    X(DROP_PORTAL_UNKNOWN, "portal_unknown", "the portal's event is not known")                    \
    X(DROP_PORTAL_FIELD, "portal_field", "a field of the portal's message is missing or wrong")    \
    X(DROP_PORTAL_LIMIT, "portal_limit", "a table is full; the portal's request is not served")    \
    X(DROP_PORTAL_REPLY, "portal_reply", "the portal answered a message of ours with an error")    \
    X(DROP_PORTAL_REF, "portal_ref", "a reply to no request of ours")

#define DROP_ENUM(name, label, text) name,
enum drop_reason { DROP_TABLE(DROP_ENUM) DROP_COUNT };
#undef DROP_ENUM

const char *drop_label(enum drop_reason reason);
const char *drop_text(enum drop_reason reason);

#endif /* BASE_DROP_H */
