/* Look-ahead: what the judgement of a batch will ask from large tables is asked for together, so
 * that the misses of many packets overlap instead of following each other. Nothing is decided here:
 * what comes out is a guess that the judgement checks, and a wrong or missing one only costs time.
 */
#include "policy/policy_hash.h"
#include "policy/policy_nat_state.h"
#include "policy/policy_state.h"

/* What is known of a packet without parsing it. Addresses are read where they stand. */
struct peek {
    const uint8_t *addresses; /* source, destination, and of a flow the ports; NULL: unknown */
    uint8_t family;           /* enum ip_family */
    uint8_t kind;             /* enum policy_nat_kind, of a flow */
    bool is_flow;             /* else no more than the addresses is known */
    bool is_nat;              /* `hash` is that of its tuple in the NAT table */
    bool is_again;            /* of the flow of the packet before */
    uint32_t place;           /* of the guess for the destination */
    uint64_t hash;
};

static struct peek peek_at(struct view packet)
{
    struct peek out = {.addresses = NULL};
    size_t header = PACKET_IPV4_HEADER_SIZE;
    uint8_t protocol = 0;
    bool whole = true;
    if (packet.len >= PACKET_IPV4_HEADER_SIZE && packet.at[0] == 0x45) {
        out.addresses = packet.at + 12;
        out.family = IP_V4;
        protocol = packet.at[9];
        whole = (load_be16(packet.at + 6) & 0x3fffU) == 0;
    } else if (packet.len >= PACKET_IPV6_HEADER_SIZE && packet.at[0] >> 4 == 6) {
        out.addresses = packet.at + 8;
        out.family = IP_V6;
        protocol = packet.at[6];
        header = PACKET_IPV6_HEADER_SIZE;
    } else {
        return out;
    }
    out.is_flow = whole && packet.len >= header + 4 &&
                  (protocol == PACKET_PROTOCOL_TCP || protocol == PACKET_PROTOCOL_UDP);
    out.kind = protocol == PACKET_PROTOCOL_TCP ? POLICY_NAT_TCP : POLICY_NAT_UDP;
    return out;
}

static const uint8_t *destination_at(const struct peek *peek)
{
    return peek->addresses + (peek->family == IP_V4 ? 4 : 16);
}

static uint16_t source_port(const struct peek *peek)
{
    return load_be16(peek->addresses + (peek->family == IP_V4 ? 8 : 32));
}

static uint16_t destination_port(const struct peek *peek)
{
    return load_be16(peek->addresses + (peek->family == IP_V4 ? 10 : 34));
}

static bool is_same_flow(const struct peek *a, const struct peek *b)
{
    return a->addresses != NULL && b->addresses != NULL && a->is_flow && b->is_flow &&
           a->family == b->family && a->kind == b->kind &&
           (a->family == IP_V4 ? memcmp(a->addresses, b->addresses, 12) == 0
                               : memcmp(a->addresses, b->addresses, 36) == 0);
}

static uint32_t guess_of(const struct map *map, uint64_t hash)
{
    uint32_t cursor = 0;
    uint32_t at = map_next(map, hash, &cursor);
    return at == MAP_NONE ? 0 : at + 1;
}

/* Where the NAT table or the cached verdict of a flow's packet stands; the hash is kept. */
static void fetch_flow(struct policy *policy, struct peek *peek, uint32_t client, bool outbound)
{
    const uint8_t *far = outbound ? destination_at(peek) : peek->addresses;
    uint16_t own_port = outbound ? source_port(peek) : destination_port(peek);
    uint16_t far_port = outbound ? destination_port(peek) : source_port(peek);
    peek->is_nat = policy_nat_owns(&policy->nat, client);
    if (peek->is_nat && outbound) {
        struct ip_addr ip = ip_from_bytes((enum ip_family)peek->family, far);
        peek->is_nat = policy_is_proxy(&ip);
    }
    if (peek->is_nat) {
        uint64_t facts = policy_nat_facts(policy_nat_owner(&policy->nat, client), own_port,
                                          (enum policy_nat_kind)peek->kind);
        peek->hash = policy_hash_at(&policy->nat.key, facts, peek->family, far);
        map_fetch(outbound ? &policy->nat.inside : &policy->nat.outside, peek->hash);
    } else if (!policy_route_fetch_grant(policy, client)) {
        struct ip_addr ip = ip_from_bytes((enum ip_family)peek->family, far);
        bool is_tcp = peek->kind == POLICY_NAT_TCP;
        struct policy_subject subject = {is_tcp ? POLICY_PROTOCOL_TCP : POLICY_PROTOCOL_UDP,
                                         far_port};
        policy_route_fetch_verdict(policy, client, &ip, subject);
    }
}

/* Reads the packets, and fetches the guesses for the addresses of those from resources. */
static void peek_all(const struct policy *policy, const struct view *packets, size_t count,
                     bool outbound, struct policy_hint *hints, struct peek *peeks)
{
    uint32_t previous = 0;
    for (size_t i = 0; i < count; i++) {
        peeks[i] = peek_at(packets[i]);
        bool is_known = peeks[i].addresses != NULL;
        uint32_t client = outbound ? hints[i].client : 0;
        hints[i] = (struct policy_hint){is_known ? client : 0, 0};
        peeks[i].is_again = i > 0 && is_same_flow(&peeks[i], &peeks[i - 1]) && client == previous;
        previous = client;
        if (is_known && !outbound && !peeks[i].is_again) {
            peeks[i].place =
                policy_address_place(policy, peeks[i].family, destination_at(&peeks[i]));
            fetch_line(&policy->address_guesses[peeks[i].place]);
        }
    }
}

static void fetch_clients(const struct policy *policy, const struct peek *peeks, size_t count,
                          bool outbound, struct policy_hint *hints)
{
    for (size_t i = 0; i < count; i++) {
        if (peeks[i].is_again) {
            hints[i].client = hints[i - 1].client;
            continue;
        }
        if (!outbound && peeks[i].addresses != NULL) {
            hints[i].client = policy->address_guesses[peeks[i].place];
        }
        if (hints[i].client != 0) {
            fetch_line(&policy->clients[hints[i].client - 1]);
        }
    }
}

/* The clients are here: a guess of one that does not have the address is put right. */
static void fetch_flows(struct policy *policy, struct peek *peeks, size_t count, bool outbound,
                        struct policy_hint *hints)
{
    for (size_t i = 0; i < count; i++) {
        if (peeks[i].is_again || hints[i].client == 0) {
            continue;
        }
        if (!outbound && !policy_client_has_at(policy, hints[i].client - 1, peeks[i].family,
                                               destination_at(&peeks[i]))) {
            struct ip_addr own =
                ip_from_bytes((enum ip_family)peeks[i].family, destination_at(&peeks[i]));
            hints[i].client = policy_client_by_ip(policy, &own) + 1;
        }
        if (peeks[i].is_flow && hints[i].client != 0) {
            fetch_flow(policy, &peeks[i], hints[i].client - 1, outbound);
        }
    }
}

/* The slots of the table are here: they say where the sessions probably are. */
static void fetch_sessions(const struct policy *policy, const struct peek *peeks, size_t count,
                           bool outbound, struct policy_hint *hints)
{
    const struct map *map = outbound ? &policy->nat.inside : &policy->nat.outside;
    for (size_t i = 0; i < count; i++) {
        if (peeks[i].is_again) {
            hints[i] = hints[i - 1];
        } else if (peeks[i].is_nat) {
            hints[i].session = guess_of(map, peeks[i].hash);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (hints[i].session != 0) {
            fetch_line(&policy->nat.sessions[hints[i].session - 1]);
        }
    }
}

void policy_look_ahead(struct policy *policy, const struct view *packets, size_t count,
                       bool outbound, struct policy_hint *hints)
{
    struct peek peeks[POLICY_AHEAD_MAX];
    ASSERT(count <= POLICY_AHEAD_MAX);
    peek_all(policy, packets, count, outbound, hints, peeks);
    fetch_clients(policy, peeks, count, outbound, hints);
    fetch_flows(policy, peeks, count, outbound, hints);
    fetch_sessions(policy, peeks, count, outbound, hints);
}
