#include "ice/ice_candidate.h"

#include <string.h>

#include "base/assert.h"
#include "base/siphash.h"
#include "base/text.h"

struct kind_row {
    const char *name;
    uint8_t type_preference;   /* RFC 8445 section 5.1.2.2; relay is 2 here, not 0 */
    uint16_t local_preference; /* of the first IPv6 candidate of the kind */
};

static const struct kind_row kinds[] = {
    [ICE_HOST] = {"host", 126, 65535},
    [ICE_PRFLX] = {"prflx", 110, 49151},
    [ICE_SRFLX] = {"srflx", 100, 32767},
    [ICE_RELAY] = {"relay", 2, 16383},
};

uint16_t ice_local_preference(enum ice_kind kind, enum ip_family family, bool cross_family,
                              uint32_t nth)
{
    ASSERT((size_t)kind < ARRAY_COUNT(kinds));
    uint32_t loss = (family == IP_V4 ? 1U : 0U) +
                    (cross_family ? ICE_RELAY_CROSS_FAMILY_PENALTY : 0U) +
                    2U * (nth < 65536U ? nth : 65536U);
    uint32_t start = kinds[kind].local_preference;
    return (uint16_t)(start > loss ? start - loss : 0);
}

uint32_t ice_priority(enum ice_kind kind, uint16_t local_preference)
{
    ASSERT((size_t)kind < ARRAY_COUNT(kinds));
    return (uint32_t)kinds[kind].type_preference << 24 | (uint32_t)local_preference << 8 | 255U;
}

uint32_t ice_priority_default(enum ice_kind kind, enum ip_family family)
{
    return ice_priority(kind, family == IP_V6 ? 65535 : 65534);
}

uint64_t ice_pair_priority(uint32_t controlling, uint32_t controlled)
{
    uint64_t low = controlling < controlled ? controlling : controlled;
    uint64_t high = controlling < controlled ? controlled : controlling;
    return (low << 32) + 2 * high + (controlling > controlled ? 1 : 0);
}

static struct ice_candidate candidate_of(enum ice_kind kind, const struct sock_addr *addr,
                                         const struct sock_addr *base, bool cross_family)
{
    struct ice_candidate candidate;
    memset(&candidate, 0, sizeof(candidate));
    candidate.kind = (uint8_t)kind;
    candidate.addr = *addr;
    candidate.base = *base;
    candidate.cross_family = cross_family;
    if (kind != ICE_HOST) {
        candidate.raddr.ip.family = addr->ip.family;
    }
    candidate.local_preference =
        ice_local_preference(kind, (enum ip_family)addr->ip.family, cross_family, 0);
    candidate.priority = ice_priority(kind, candidate.local_preference);
    return candidate;
}

struct ice_candidate ice_candidate_host(const struct sock_addr *addr)
{
    return candidate_of(ICE_HOST, addr, addr, false);
}

struct ice_candidate ice_candidate_srflx(const struct sock_addr *addr, const struct sock_addr *base)
{
    return candidate_of(ICE_SRFLX, addr, base, false);
}

struct ice_candidate ice_candidate_relay(const struct sock_addr *addr, enum ip_family socket_family)
{
    return candidate_of(ICE_RELAY, addr, addr, addr->ip.family != socket_family);
}

bool ice_address_is_valid(const struct ip_addr *ip)
{
    static const uint8_t broadcast[4] = {255, 255, 255, 255};
    if (ip_size(ip) == 0 || ip_is_unspecified(ip) || ip_is_multicast(ip)) {
        return false;
    }
    return ip->family == IP_V6 ||
           (!ip_is_link_local(ip) && memcmp(ip->bytes, broadcast, sizeof(broadcast)) != 0);
}

void ice_candidate_set_ufrag(struct ice_candidate *candidate, struct view ufrag)
{
    ASSERT(ufrag.len > 0);
    ASSERT(ufrag.len <= sizeof(candidate->ufrag));
    memset(candidate->ufrag, 0, sizeof(candidate->ufrag));
    memcpy(candidate->ufrag, ufrag.at, ufrag.len);
    candidate->ufrag_size = (uint8_t)ufrag.len;
}

struct view ice_candidate_ufrag(const struct ice_candidate *candidate)
{
    return (struct view){candidate->ufrag, candidate->ufrag_size};
}

bool ice_candidate_matches(const struct ice_candidate *a, const struct ice_candidate *b)
{
    return a->kind == b->kind && sock_addr_equal(&a->addr, &b->addr) &&
           sock_addr_equal(&a->raddr, &b->raddr);
}

static void hash_address(struct writer *w, const struct ip_addr *ip)
{
    writer_le64(w, ip->family == IP_V6 ? 1 : 0);
    writer_bytes(w, ip_view(ip));
}

/* The peers' foundation: SipHash-1-3 with the zero key over kind, base IP, raddr IP, transport. */
static void put_foundation(struct writer *w, const struct ice_candidate *candidate,
                           uint32_t priority)
{
    static const struct siphash_key zero_key = {0, 0};
    uint8_t head[4];
    store_le32(head, priority);
    text_put_hex(w, VIEW_OF(head));

    uint8_t bytes[8 + 2 * (8 + 16) + 8];
    struct writer hashed = writer_of((struct span){bytes, sizeof(bytes)});
    writer_le64(&hashed, candidate->kind);
    hash_address(&hashed, &candidate->base.ip);
    if (candidate->raddr.ip.family != IP_NONE) {
        hash_address(&hashed, &candidate->raddr.ip);
    }
    writer_le64(&hashed, 0); /* UDP */
    ASSERT(writer_finish(&hashed));
    text_put_hex64(w, siphash13(&zero_key, writer_view(&hashed)));
}

static void put_text(struct writer *w, const struct ice_candidate *candidate, uint32_t priority,
                     struct view ufrag)
{
    ASSERT(candidate->kind < ARRAY_COUNT(kinds));
    writer_text(w, "candidate:");
    put_foundation(w, candidate, priority);
    writer_text(w, " 1 udp ");
    text_put_u64(w, priority);
    text_put_char(w, ' ');
    ip_put(w, &candidate->addr.ip);
    text_put_char(w, ' ');
    text_put_u64(w, candidate->addr.port);
    writer_text(w, " typ ");
    writer_text(w, kinds[candidate->kind].name);
    if (candidate->raddr.ip.family != IP_NONE) {
        writer_text(w, " raddr ");
        ip_put(w, &candidate->raddr.ip);
        writer_text(w, " rport ");
        text_put_u64(w, candidate->raddr.port);
    }
    if (ufrag.len > 0) {
        writer_text(w, " ufrag ");
        writer_bytes(w, ufrag);
    }
}

void ice_candidate_put(struct writer *w, const struct ice_candidate *candidate)
{
    put_text(w, candidate, candidate->priority, ice_candidate_ufrag(candidate));
}

void ice_candidate_put_invalidation(struct writer *w, const struct ice_candidate *candidate)
{
    enum ip_family family = (enum ip_family)candidate->addr.ip.family;
    put_text(w, candidate, ice_priority_default((enum ice_kind)candidate->kind, family),
             VIEW_EMPTY);
}

/* Takes the text up to the next space and skips the spaces; empty at the end. */
static struct view take_word(struct view *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->at[len] != ' ') {
        len++;
    }
    struct view word = view_sub(*rest, 0, len);
    while (len < rest->len && rest->at[len] == ' ') {
        len++;
    }
    *rest = view_sub(*rest, len, rest->len - len);
    return word;
}

static bool parse_kind(struct view text, uint8_t *out)
{
    for (size_t kind = 0; kind < ARRAY_COUNT(kinds); kind++) {
        if (view_equal_text(text, kinds[kind].name)) {
            *out = (uint8_t)kind;
            return true;
        }
    }
    return false;
}

struct extensions {
    struct view raddr;
    struct view rport;
    struct view ufrag;
    bool broken; /* a known key has no value */
};

/* Where the value of a known key goes; NULL for unknown keys. */
static struct view *extension_of(struct extensions *found, struct view key)
{
    if (view_equal_text(key, "raddr")) {
        return &found->raddr;
    }
    if (view_equal_text(key, "rport")) {
        return &found->rport;
    }
    return view_equal_text(key, "ufrag") ? &found->ufrag : NULL;
}

/* Collects the key and value pairs behind the kind. */
static struct extensions take_extensions(struct view rest)
{
    struct extensions found = {VIEW_EMPTY, VIEW_EMPTY, VIEW_EMPTY, false};
    while (rest.len > 0) {
        struct view key = take_word(&rest);
        struct view value = take_word(&rest);
        struct view *known = extension_of(&found, key);
        if (known != NULL && known->len == 0) {
            *known = value;
            found.broken = found.broken || value.len == 0;
        }
    }
    return found;
}

static bool parse_extensions(struct view rest, struct ice_candidate *out)
{
    struct extensions found = take_extensions(rest);
    if (found.broken || (found.raddr.len == 0) != (found.rport.len == 0)) {
        return false;
    }
    if (found.raddr.len > 0 && (!ip_parse(found.raddr, &out->raddr.ip) ||
                                !text_parse_u16(found.rport, &out->raddr.port))) {
        return false;
    }
    if (found.ufrag.len == 0) {
        return true;
    }
    if (found.ufrag.len > ICE_UFRAG_SIZE_MAX) {
        return false;
    }
    ice_candidate_set_ufrag(out, found.ufrag);
    return true;
}

/* Parses foundation, component, transport and priority. */
static bool parse_head(struct view *rest, uint32_t *priority_out)
{
    static const char prefix[] = "candidate:";
    const size_t prefix_len = sizeof(prefix) - 1;
    if (rest->len < prefix_len || !view_equal_text(view_sub(*rest, 0, prefix_len), prefix)) {
        return false;
    }
    *rest = view_sub(*rest, prefix_len, rest->len - prefix_len);
    struct view foundation = take_word(rest);
    struct view component = take_word(rest);
    struct view transport = take_word(rest);
    uint64_t number;
    uint64_t priority;
    if (foundation.len == 0 || !text_parse_u64(component, &number) || number != 1 ||
        !view_equal_nocase(transport, view_text("udp")) ||
        !text_parse_u64(take_word(rest), &priority) || priority > UINT32_MAX) {
        return false;
    }
    *priority_out = (uint32_t)priority;
    return true;
}

enum drop_reason ice_candidate_parse(struct view text, struct ice_candidate *out)
{
    struct ice_candidate parsed;
    memset(&parsed, 0, sizeof(parsed));
    struct view rest = text;
    if (!parse_head(&rest, &parsed.priority) || !ip_parse(take_word(&rest), &parsed.addr.ip) ||
        !text_parse_u16(take_word(&rest), &parsed.addr.port) || parsed.addr.port == 0 ||
        !ice_address_is_valid(&parsed.addr.ip) || !view_equal_text(take_word(&rest), "typ") ||
        !parse_kind(take_word(&rest), &parsed.kind) || !parse_extensions(rest, &parsed)) {
        return DROP_ICE_CANDIDATE;
    }
    parsed.local_preference = (uint16_t)(parsed.priority >> 8);
    parsed.base = parsed.addr;
    *out = parsed;
    return DROP_NONE;
}
