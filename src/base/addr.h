/* addr: IP addresses, socket addresses and prefixes, without system headers.
 *
 * Source: RFC 4291 section 2.2 and RFC 5952 (text form of IPv6), RFC 4632 (prefixes).
 * Scope ids and flow labels do not exist here: comparisons ignore them by construction.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <string.h>

#include "base/bytes.h"

enum ip_family {
    IP_NONE = 0,
    IP_V4 = 4,
    IP_V6 = 6,
};

/* Bytes beyond the family's size are zero, so that the struct compares and hashes as a whole. */
struct ip_addr {
    uint8_t family;    /* enum ip_family */
    uint8_t bytes[16]; /* network order; IPv4 uses the first four */
};

struct sock_addr {
    struct ip_addr ip;
    uint16_t port; /* host order */
};

struct ip_prefix {
    struct ip_addr ip; /* host bits zero */
    uint8_t len;       /* bits, 0..32 or 0..128 */
};

#define IP_TEXT_SIZE_MAX        45U /* characters */
#define SOCK_ADDR_TEXT_SIZE_MAX 53U /* "[" ip "]:" port */

struct ip_addr ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
static inline struct ip_addr ip_from_bytes(enum ip_family family, const uint8_t *bytes)
{
    struct ip_addr ip = {(uint8_t)family, {0}};
    if (family == IP_V4) {
        memcpy(ip.bytes, bytes, 4);
    } else if (family == IP_V6) {
        memcpy(ip.bytes, bytes, 16);
    }
    return ip;
}

/* 4, 16 or 0 */
static inline size_t ip_size(const struct ip_addr *ip)
{
    return ip->family == IP_V4 ? 4 : ip->family == IP_V6 ? 16 : 0;
}

struct view ip_view(const struct ip_addr *ip);
MUST_USE bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
/* Orders by family (v4 first), then numerically. */
MUST_USE int ip_compare(const struct ip_addr *a, const struct ip_addr *b);
MUST_USE bool ip_is_unspecified(const struct ip_addr *ip);
MUST_USE bool ip_is_loopback(const struct ip_addr *ip);
MUST_USE bool ip_is_multicast(const struct ip_addr *ip);
MUST_USE bool ip_is_link_local(const struct ip_addr *ip);

/* Standard notation only: no CIDR suffix, no leading zeros in IPv4 octets, no zone. */
MUST_USE bool ip_parse(struct view text, struct ip_addr *out);
void ip_put(struct writer *w, const struct ip_addr *ip); /* IPv6 in RFC 5952 form */

struct sock_addr sock_addr_of(struct ip_addr ip, uint16_t port);
MUST_USE bool sock_addr_equal(const struct sock_addr *a, const struct sock_addr *b);
/* "a.b.c.d:port" or "[v6]:port". */
MUST_USE bool sock_addr_parse(struct view text, struct sock_addr *out);
void sock_addr_put(struct writer *w, const struct sock_addr *addr);

/* "addr/len"; the length is mandatory and host bits must be zero. */
MUST_USE bool ip_prefix_parse(struct view text, struct ip_prefix *out);
void ip_prefix_put(struct writer *w, const struct ip_prefix *prefix);
/* Both of IPv6. */
MUST_USE bool ip_prefix_contains_v6(const struct ip_prefix *prefix, const struct ip_addr *ip);
MUST_USE static inline bool ip_prefix_contains(const struct ip_prefix *prefix,
                                               const struct ip_addr *ip)
{
    if (prefix->ip.family != ip->family) {
        return false;
    }
    if (ip->family != IP_V4) {
        return ip_prefix_contains_v6(prefix, ip);
    }
    uint32_t differs = load_be32(prefix->ip.bytes) ^ load_be32(ip->bytes);
    return prefix->len == 0 || differs >> (32U - prefix->len) == 0;
}
/* Returns `ip` as a host route, /32 or /128. */
struct ip_prefix ip_prefix_host(struct ip_addr ip);

#endif /* BASE_ADDR_H */
