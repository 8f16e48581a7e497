#include "base/addr.h"

#include <string.h>

#include "base/assert.h"
#include "base/text.h"

struct ip_addr ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct ip_addr){IP_V4, {a, b, c, d}};
}

struct view ip_view(const struct ip_addr *ip)
{
    return (struct view){ip->bytes, ip_size(ip)};
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

int ip_compare(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->family != b->family) {
        return a->family < b->family ? -1 : 1;
    }
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool ip_is_unspecified(const struct ip_addr *ip)
{
    static const uint8_t zero[16];
    return memcmp(ip->bytes, zero, sizeof(zero)) == 0;
}

bool ip_is_loopback(const struct ip_addr *ip)
{
    static const uint8_t v6_loopback[16] = {[15] = 1};
    return ip->family == IP_V4 ? ip->bytes[0] == 127
                               : ip->family == IP_V6 && memcmp(ip->bytes, v6_loopback, 16) == 0;
}

bool ip_is_multicast(const struct ip_addr *ip)
{
    return ip->family == IP_V4 ? (ip->bytes[0] & 0xf0U) == 0xe0
                               : ip->family == IP_V6 && ip->bytes[0] == 0xff;
}

bool ip_is_link_local(const struct ip_addr *ip)
{
    return ip->family == IP_V4
               ? ip->bytes[0] == 169 && ip->bytes[1] == 254
               : ip->family == IP_V6 && ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0U) == 0x80;
}

/* Parses "a.b.c.d" of exactly four octets without leading zeros. */
static bool parse_v4(struct view text, uint8_t out[4])
{
    size_t at = 0;
    for (int octet = 0; octet < 4; octet++) {
        if (octet > 0) {
            if (at >= text.len || text.at[at] != '.') {
                return false;
            }
            at++;
        }
        size_t start = at;
        unsigned value = 0;
        while (at < text.len && at - start < 3 && text.at[at] >= '0' && text.at[at] <= '9') {
            value = value * 10 + (unsigned)(text.at[at] - '0');
            at++;
        }
        bool leading_zero = at - start > 1 && text.at[start] == '0';
        if (at == start || leading_zero || value > 255) {
            return false;
        }
        out[octet] = (uint8_t)value;
    }
    return at == text.len;
}

/* Reads one group of 1..4 hex digits at *at. */
static bool parse_group(struct view text, size_t *at, uint16_t *out)
{
    unsigned value = 0;
    size_t start = *at;
    while (*at < text.len && *at - start < 4) {
        uint8_t c = text.at[*at];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit > 15) {
            break;
        }
        value = value << 4 | digit;
        (*at)++;
    }
    *out = (uint16_t)value;
    return *at > start;
}

struct v6_parse {
    uint16_t groups[8];
    size_t count;
    size_t gap; /* index of "::", 9 when absent */
};

/* Reads the groups of an IPv6 text form; an embedded IPv4 tail counts as two groups. */
static bool parse_v6_groups(struct view text, struct v6_parse *p)
{
    size_t at = 0;
    if (text.len >= 2 && text.at[0] == ':' && text.at[1] == ':') {
        p->gap = 0;
        at = 2;
    }
    while (at < text.len) {
        uint8_t tail[4];
        if (p->count <= 6 && parse_v4(view_sub(text, at, text.len - at), tail)) {
            p->groups[p->count++] = load_be16(tail);
            p->groups[p->count++] = load_be16(tail + 2);
            return true;
        }
        if (p->count == 8 || !parse_group(text, &at, &p->groups[p->count])) {
            return false;
        }
        p->count++;
        if (at == text.len) {
            return true;
        }
        if (text.at[at] != ':') {
            return false;
        }
        at++;
        if (at < text.len && text.at[at] == ':') {
            if (p->gap != 9) {
                return false;
            }
            p->gap = p->count;
            at++;
        } else if (at == text.len) {
            return false; /* trailing single colon */
        }
    }
    return true;
}

static bool parse_v6(struct view text, uint8_t out[16])
{
    struct v6_parse p = {.gap = 9};
    if (text.len < 2 || !parse_v6_groups(text, &p)) {
        return false;
    }
    if (p.gap == 9 ? p.count != 8 : p.count > 7) {
        return false;
    }
    size_t missing = 8 - p.count;
    for (size_t i = 0; i < 8; i++) {
        uint16_t group = 0;
        if (p.gap == 9 || i < p.gap) {
            group = p.groups[i];
        } else if (i >= p.gap + missing) {
            group = p.groups[i - missing];
        }
        store_be16(out + 2 * i, group);
    }
    return true;
}

bool ip_parse(struct view text, struct ip_addr *out)
{
    uint8_t bytes[16];
    if (parse_v4(text, bytes)) {
        *out = ip_from_bytes(IP_V4, bytes);
        return true;
    }
    if (parse_v6(text, bytes)) {
        *out = ip_from_bytes(IP_V6, bytes);
        return true;
    }
    return false;
}

static void put_v4(struct writer *w, const uint8_t *bytes)
{
    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            text_put_char(w, '.');
        }
        text_put_u64(w, bytes[i]);
    }
}

/* Finds the longest run of zero groups (at least two, the first of equals); RFC 5952 section 4.2.
 */
static void longest_zero_run(const uint8_t *bytes, size_t *start, size_t *len)
{
    *start = 8;
    *len = 1;
    for (size_t i = 0; i < 8; i++) {
        size_t run = 0;
        while (i + run < 8 && load_be16(bytes + 2 * (i + run)) == 0) {
            run++;
        }
        if (run > *len) {
            *start = i;
            *len = run;
        }
        i += run;
    }
}

void ip_put(struct writer *w, const struct ip_addr *ip)
{
    static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
    ASSERT(ip->family == IP_V4 || ip->family == IP_V6);
    if (ip->family == IP_V4) {
        put_v4(w, ip->bytes);
        return;
    }
    if (memcmp(ip->bytes, v4_mapped, sizeof(v4_mapped)) == 0) {
        writer_text(w, "::ffff:");
        put_v4(w, ip->bytes + 12);
        return;
    }
    size_t start;
    size_t len;
    longest_zero_run(ip->bytes, &start, &len);
    for (size_t i = 0; i < 8;) {
        if (i == start) {
            writer_text(w, "::");
            i += len;
            continue;
        }
        if (i > 0 && i != start + len) {
            text_put_char(w, ':');
        }
        text_put_hex64(w, load_be16(ip->bytes + 2 * i));
        i++;
    }
}

struct sock_addr sock_addr_of(struct ip_addr ip, uint16_t port)
{
    struct sock_addr addr;
    memset(&addr, 0, sizeof(addr)); /* padding too: the struct is hashed as bytes */
    addr.ip = ip;
    addr.port = port;
    return addr;
}

bool sock_addr_equal(const struct sock_addr *a, const struct sock_addr *b)
{
    return a->port == b->port && ip_equal(&a->ip, &b->ip);
}

bool sock_addr_parse(struct view text, struct sock_addr *out)
{
    size_t colon = text.len;
    while (colon > 0 && text.at[colon - 1] != ':') {
        colon--;
    }
    if (colon < 2 || text.len - colon > 5) {
        return false;
    }
    struct view host = view_sub(text, 0, colon - 1);
    bool bracketed = host.len >= 2 && host.at[0] == '[' && host.at[host.len - 1] == ']';
    if (bracketed) {
        host = view_sub(host, 1, host.len - 2);
    }
    struct ip_addr ip;
    uint16_t port;
    if (!ip_parse(host, &ip) || (ip.family == IP_V6) != bracketed ||
        !text_parse_u16(view_sub(text, colon, text.len - colon), &port)) {
        return false;
    }
    *out = sock_addr_of(ip, port);
    return true;
}

void sock_addr_put(struct writer *w, const struct sock_addr *addr)
{
    if (addr->ip.family == IP_V6) {
        text_put_char(w, '[');
    }
    ip_put(w, &addr->ip);
    writer_text(w, addr->ip.family == IP_V6 ? "]:" : ":");
    text_put_u64(w, addr->port);
}

bool ip_prefix_contains_v6(const struct ip_prefix *prefix, const struct ip_addr *ip)
{
    size_t whole = prefix->len / 8U;
    unsigned bits = prefix->len % 8U;
    if (memcmp(prefix->ip.bytes, ip->bytes, whole) != 0) {
        return false;
    }
    return bits == 0 || (prefix->ip.bytes[whole] ^ ip->bytes[whole]) >> (8U - bits) == 0;
}

bool ip_prefix_parse(struct view text, struct ip_prefix *out)
{
    size_t slash = 0;
    while (slash < text.len && text.at[slash] != '/') {
        slash++;
    }
    struct ip_prefix prefix;
    memset(&prefix, 0, sizeof(prefix));
    uint16_t len;
    if (slash == text.len || text.len - slash - 1 > 3 ||
        !ip_parse(view_sub(text, 0, slash), &prefix.ip) ||
        !text_parse_u16(view_sub(text, slash + 1, text.len - slash - 1), &len) ||
        len > ip_size(&prefix.ip) * 8) {
        return false;
    }
    prefix.len = (uint8_t)len;
    for (size_t bit = len; bit < ip_size(&prefix.ip) * 8; bit++) {
        if ((prefix.ip.bytes[bit / 8] >> (7 - bit % 8) & 1U) != 0) {
            return false;
        }
    }
    *out = prefix;
    return true;
}

void ip_prefix_put(struct writer *w, const struct ip_prefix *prefix)
{
    ip_put(w, &prefix->ip);
    text_put_char(w, '/');
    text_put_u64(w, prefix->len);
}

struct ip_prefix ip_prefix_host(struct ip_addr ip)
{
    struct ip_prefix prefix;
    memset(&prefix, 0, sizeof(prefix));
    prefix.ip = ip;
    prefix.len = (uint8_t)(ip_size(&ip) * 8);
    return prefix;
}
