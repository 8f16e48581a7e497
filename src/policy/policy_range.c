/* Address ranges with a meaning of their own: spec/dataplane.md sections 1.1 and 3.6. */
#include <string.h>

#include "policy/policy_state.h"

struct range {
    uint8_t bytes[16];
    uint8_t bits;
};

static bool in_range(const struct ip_addr *ip, const struct range *range)
{
    uint32_t whole = range->bits / 8;
    if (memcmp(ip->bytes, range->bytes, whole) != 0) {
        return false;
    }
    uint32_t rest = range->bits % 8;
    return rest == 0 || (uint8_t)((ip->bytes[whole] ^ range->bytes[whole]) >> (8 - rest)) == 0;
}

static bool in_ranges(const struct ip_addr *ip, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (in_range(ip, &ranges[i])) {
            return true;
        }
    }
    return false;
}

static const struct range TUNNEL_V4 = {{100, 64}, 11};
static const struct range PROXY_V4 = {{100, 96}, 11};
static const struct range TUNNEL_V6 = {{0xfd, 0, 0x20, 0x21, 0x11, 0x11}, 107};
static const struct range PROXY_V6 = {{0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0x80}, 107};

static const struct range PRIVATE_V4[] = {
    {{0}, 8},        /* "this network", RFC 791 */
    {{10}, 8},       /* RFC 1918 */
    {{100, 64}, 10}, /* shared address space, RFC 6598 */
    {{127}, 8},      /* loopback */
    {{169, 254}, 16}, {{172, 16}, 12}, {{192, 168}, 16}, {{224}, 4}, /* multicast */
    {{240}, 4}, /* reserved, and the limited broadcast */
};

static const struct range PRIVATE_V6[] = {
    {{0}, 128},                                              /* :: */
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128}, /* ::1 */
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96},        /* IPv4-mapped */
    {{0, 0x64, 0xff, 0x9b, 0, 1}, 48},                       /* a local NAT64, RFC 8215 */
    {{0xfc}, 7},                                             /* unique local */
    {{0xfe, 0x80}, 10},                                      /* link-local */
    {{0xff}, 8},                                             /* multicast */
};

static const struct range NAT64_V6 = {{0, 0x64, 0xff, 0x9b}, 96}; /* RFC 6052 section 2.1 */
static const struct range MAPPED_V6 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};

bool policy_is_tunnel(const struct ip_addr *ip)
{
    return ip->family == IP_V4 ? in_range(ip, &TUNNEL_V4)
                               : ip->family == IP_V6 && in_range(ip, &TUNNEL_V6);
}

bool policy_is_proxy(const struct ip_addr *ip)
{
    return ip->family == IP_V4 ? in_range(ip, &PROXY_V4)
                               : ip->family == IP_V6 && in_range(ip, &PROXY_V6);
}

/* Where a packet to `ip` would end: a translator beside us leads to the IPv4 address inside. */
static struct ip_addr behind_nat64(const struct ip_addr *ip)
{
    bool is_inside = ip->family == IP_V6 && in_range(ip, &NAT64_V6);
    return is_inside ? ip_from_bytes(IP_V4, ip->bytes + 12) : *ip;
}

bool policy_is_private(const struct ip_addr *ip)
{
    struct ip_addr end = behind_nat64(ip);
    if (end.family == IP_V4) {
        return in_ranges(&end, PRIVATE_V4, sizeof PRIVATE_V4 / sizeof PRIVATE_V4[0]);
    }
    return in_ranges(&end, PRIVATE_V6, sizeof PRIVATE_V6 / sizeof PRIVATE_V6[0]);
}

bool policy_is_forbidden_answer(const struct policy *policy, const struct ip_addr *answer)
{
    static const struct ip_addr broadcast = {IP_V4, {255, 255, 255, 255}};
    struct ip_addr end = behind_nat64(answer);
    const struct ip_addr *ip = &end;
    if (ip_size(ip) == 0 || ip_is_loopback(ip) || ip_is_unspecified(ip) || ip_is_multicast(ip) ||
        ip_is_link_local(ip) || policy_is_tunnel(ip) || policy_is_proxy(ip) ||
        ip_equal(ip, &broadcast) || (ip->family == IP_V6 && in_range(ip, &MAPPED_V6))) {
        return true;
    }
    for (uint32_t i = 0; policy->options.refuse_own_addresses && i < policy->own_count; i++) {
        if (ip_equal(ip, &policy->own[i])) {
            return true;
        }
    }
    return false;
}

bool policy_is_gateway(const struct policy *policy, const struct ip_addr *ip)
{
    return ip_size(ip) != 0 &&
           (ip_equal(ip, &policy->gateway_ipv4) || ip_equal(ip, &policy->gateway_ipv6));
}
