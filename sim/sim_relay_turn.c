#include <string.h>

#include "sim/sim_relay_internal.h"

#define LIFETIME_DEFAULT_S    600U  /* spec/relay.md section 4 */
#define LIFETIME_MAX_S        3600U /* same place */
#define LIFETIME_COTURN_MIN_S 600U  /* spec/relay.md section 10.4 */
#define BINDING_S             600U  /* spec/relay.md section 6 */
#define PERMISSION_S          300U  /* RFC 8656 section 9 */
#define LINGER_MS_MIN         1000U /* coturn after REFRESH 0 */
#define LINGER_MS_RANGE       500U
#define CHANNEL_LAST          0x4FFFU
#define CHANNEL_LAST_COTURN   0x7FFFU
#define SOFTWARE_HEAD         "firezone-relay; rev=b802021c"
#define SOFTWARE_COTURN       "Coturn-4.6.1 'Gorst'"
#define ATTR_MAPPED_ADDRESS   0x0001U
#define ATTR_OTHER_ADDRESS    0x802CU
#define ATTR_RESPONSE_ORIGIN  0x802BU

/* code, phrase; the order is that of the counters */
#define ERROR_TABLE(X)                                                                             \
    X(400, "Bad Request")                                                                          \
    X(401, "Unauthorized")                                                                         \
    X(403, "Forbidden")                                                                            \
    X(420, "Unknown attribute")                                                                    \
    X(437, "Allocation Mismatch")                                                                  \
    X(438, "Stale Nonce")                                                                          \
    X(440, "Address Family not Supported")                                                         \
    X(441, "Wrong Credentials")                                                                    \
    X(442, "Unsupported Transport Protocol")                                                       \
    X(443, "Peer Address Family Mismatch")                                                         \
    X(486, "Allocation Quota Reached")                                                             \
    X(500, "Server Error")                                                                         \
    X(508, "Insufficient Capacity")

struct error_row {
    uint16_t code;
    const char *phrase;
};

#define ERROR_ROW(code, phrase) {code, phrase},
static const struct error_row errors[SIM_RELAY_ERRORS_COUNT] = {ERROR_TABLE(ERROR_ROW)};
#undef ERROR_ROW

static uint32_t error_index(uint16_t code)
{
    for (uint32_t i = 0; i < SIM_RELAY_ERRORS_COUNT; i++) {
        if (errors[i].code == code) {
            return i;
        }
    }
    UNREACHABLE();
}

uint64_t sim_relay_errors(const struct sim_relay *relay, uint16_t code)
{
    return relay->counters.errors[error_index(code)];
}

/* ---- building answers ---- */

struct answer {
    struct stun_writer writer;
    uint8_t bytes[RELAY_ANSWER_MAX];
};

static void answer_start(struct answer *answer, const struct relay_call *call,
                         enum stun_class class)
{
    stun_start(&answer->writer, (struct span){answer->bytes, sizeof answer->bytes},
               call->request.header.method, class, &call->request.header.txn);
    if (relay_is_head(call->relay)) {
        stun_put_software(&answer->writer, view_text(SOFTWARE_HEAD));
    }
}

static void answer_send(struct answer *answer, const struct relay_call *call)
{
    struct view bytes = stun_finish(&answer->writer);
    ASSERT(bytes.len > 0);
    relay_send(call->relay, call->out,
               &(struct sim_datagram){.local = call->datagram->local,
                                      .remote = call->datagram->remote,
                                      .bytes = bytes});
}

/* Signs with the right key of the request's user name, whoever sent it, and sends. */
static void answer_send_signed(struct answer *answer, const struct relay_call *call)
{
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    uint64_t expiry_s;
    if (!relay_auth_key(call->relay, call->request.username, key, &expiry_s)) {
        call->relay->counters.dropped++; /* cannot be signed: no answer at all */
        return;
    }
    if (relay_is_coturn(call->relay)) {
        stun_put_software(&answer->writer, view_text(SOFTWARE_COTURN));
    }
    stun_put_integrity(&answer->writer, VIEW_OF(key));
    answer_send(answer, call);
}

static void put_challenge(struct answer *answer, const struct relay_call *call)
{
    uint8_t text[RELAY_NONCE_MAX];
    struct writer w = writer_of((struct span){text, sizeof text});
    relay_auth_put_nonce(call->relay, call->now.boot, &call->datagram->remote, &w);
    if (relay_is_coturn(call->relay)) {
        stun_put_nonce(&answer->writer, writer_view(&w));
        stun_put_realm(&answer->writer, view_text(RELAY_REALM));
        return;
    }
    stun_put_realm(&answer->writer, view_text(RELAY_REALM));
    stun_put_nonce(&answer->writer, writer_view(&w));
}

static void put_unknown(struct answer *answer, const struct sim_relay_request *request)
{
    uint8_t types[2 * (SIM_RELAY_UNKNOWN_MAX + 1U)];
    struct writer w = writer_of((struct span){types, sizeof types});
    for (uint32_t i = 0; i < request->unknown_count; i++) {
        writer_be16(&w, request->unknown[i]);
    }
    if (request->header.method == STUN_REFRESH && request->has_transport) {
        writer_be16(&w, STUN_ATTR_REQUESTED_TRANSPORT);
    }
    stun_put(&answer->writer, STUN_ATTR_UNKNOWN_ATTRIBUTES, writer_view(&w));
}

void relay_turn_error(struct relay_call *call, uint16_t code, bool is_signed)
{
    struct answer answer;
    answer_start(&answer, call, STUN_ERROR);
    uint32_t index = error_index(code);
    stun_put_error(&answer.writer, code, view_text(errors[index].phrase));
    if (code == 401 || code == 438) {
        put_challenge(&answer, call);
    }
    if (code == 420) {
        put_unknown(&answer, &call->request);
    }
    call->relay->counters.errors[index]++;
    if (is_signed && !call->relay->faults.unsigned_errors && call->request.username.at != NULL) {
        answer_send_signed(&answer, call);
        return;
    }
    answer_send(&answer, call);
}

/* ---- Binding ---- */

static void handle_binding(struct relay_call *call)
{
    struct answer answer;
    answer_start(&answer, call, STUN_SUCCESS);
    stun_put_xor_address(&answer.writer, STUN_ATTR_XOR_MAPPED_ADDRESS, &call->datagram->remote);
    if (relay_is_coturn(call->relay)) {
        const struct sock_addr *shown[3] = {&call->datagram->remote, &call->datagram->local,
                                            &call->datagram->local};
        const uint16_t types[3] = {ATTR_MAPPED_ADDRESS, ATTR_RESPONSE_ORIGIN, ATTR_OTHER_ADDRESS};
        for (uint32_t i = 0; i < 3; i++) {
            uint8_t value[20];
            struct writer w = writer_of((struct span){value, sizeof value});
            writer_be16(&w, shown[i]->ip.family == IP_V4 ? 1 : 2);
            writer_be16(&w, shown[i]->port);
            writer_bytes(&w, ip_view(&shown[i]->ip));
            stun_put(&answer.writer, types[i], writer_view(&w));
        }
        stun_put_software(&answer.writer, view_text(SOFTWARE_COTURN));
    }
    call->relay->counters.bindings++;
    answer_send(&answer, call);
}

/* ---- Allocate ---- */

static uint32_t effective_lifetime(const struct relay_call *call)
{
    uint32_t lifetime = call->request.has_lifetime ? call->request.lifetime_s : LIFETIME_DEFAULT_S;
    uint32_t max = call->relay->faults.lifetime_max_s;
    lifetime = lifetime > LIFETIME_MAX_S ? LIFETIME_MAX_S : lifetime;
    if (relay_is_coturn(call->relay) && lifetime > 0 && lifetime < LIFETIME_COTURN_MIN_S) {
        lifetime = LIFETIME_COTURN_MIN_S;
    }
    return max > 0 && lifetime > max ? max : lifetime;
}

struct families {
    bool v4;
    bool v6;
};

/* The table of spec/relay.md section 4. Returns 0 or the code. */
static uint16_t choose_families(const struct relay_call *call, struct families *out)
{
    const struct sim_relay *relay = call->relay;
    const struct sim_relay_request *request = &call->request;
    bool have_v4 = relay->addresses.ipv4.family == IP_V4 && relay->faults.family_only != IP_V6;
    bool have_v6 = relay->addresses.ipv6.family == IP_V6 && relay->faults.family_only != IP_V4;
    enum ip_family additional =
        relay_is_coturn(relay) ? request->additional_family_old : request->additional_family;
    if ((request->requested_family != IP_NONE && additional != IP_NONE) || additional == IP_V4) {
        return 400;
    }
    if (additional == IP_V6) {
        *out = (struct families){have_v4, have_v6};
        return have_v4 || have_v6 ? 0 : 440;
    }
    *out = request->requested_family == IP_V6 ? (struct families){false, have_v6}
                                              : (struct families){have_v4, false};
    return out->v4 || out->v6 ? 0 : 440;
}

static void answer_allocation(struct relay_call *call, const struct relay_allocation *allocation)
{
    struct answer answer;
    answer_start(&answer, call, STUN_SUCCESS);
    if (allocation->v4.ip.family != IP_NONE) {
        stun_put_xor_address(&answer.writer, STUN_ATTR_XOR_RELAYED_ADDRESS, &allocation->v4);
    }
    if (allocation->v6.ip.family != IP_NONE) {
        stun_put_xor_address(&answer.writer, STUN_ATTR_XOR_RELAYED_ADDRESS, &allocation->v6);
    }
    stun_put_xor_address(&answer.writer, STUN_ATTR_XOR_MAPPED_ADDRESS, &call->datagram->remote);
    stun_put_lifetime(&answer.writer, allocation->lifetime_s);
    answer_send_signed(&answer, call);
}

/* HEAD: a user name owns one allocation. */
static void evict_same_username(struct relay_call *call)
{
    for (uint32_t i = 0; i < SIM_RELAY_ALLOCATIONS_MAX; i++) {
        struct relay_allocation *allocation = &call->relay->allocations[i];
        if (allocation->used && view_equal_text(call->request.username, allocation->username)) {
            relay_allocation_end(call->relay, allocation, call->out);
        }
    }
}

static struct relay_allocation *make_allocation(struct relay_call *call, struct families families)
{
    struct sim_relay *relay = call->relay;
    struct relay_allocation *allocation = relay_allocation_add(relay, &call->datagram->remote);
    if (allocation == NULL) {
        return NULL;
    }
    if ((families.v4 && relay_allocation_open(relay, allocation, IP_V4, call->out) == 0) ||
        (families.v6 && relay_allocation_open(relay, allocation, IP_V6, call->out) == 0)) {
        relay_allocation_end(relay, allocation, call->out);
        return NULL;
    }
    allocation->local = call->datagram->local;
    allocation->txn = call->request.header.txn;
    allocation->lifetime_s = effective_lifetime(call);
    allocation->expires_at = instant_add(call->now.boot, DURATION_S(allocation->lifetime_s));
    allocation->ready_at = call->now.boot;
    uint64_t deaf_ms = relay->faults.deaf_max.ns / NS_PER_MS;
    if (deaf_ms > 0) {
        uint32_t draw = rng_below(&relay->rng, (uint32_t)deaf_ms);
        allocation->ready_at = instant_add(call->now.boot, DURATION_MS(draw));
    }
    struct view username = call->request.username;
    memcpy(allocation->username, username.at, username.len);
    return allocation;
}

static void handle_allocate(struct relay_call *call)
{
    struct sim_relay *relay = call->relay;
    if (relay_allocation_of(relay, &call->datagram->remote) != NULL) {
        relay_turn_error(call, 437, true);
        return;
    }
    if (relay->faults.full) {
        relay_turn_error(call, 508, true);
        return;
    }
    if (call->request.transport != STUN_TRANSPORT_UDP) {
        relay_turn_error(call, relay_is_coturn(relay) ? 442 : 400, true);
        return;
    }
    struct families families;
    uint16_t refusal = choose_families(call, &families);
    if (refusal != 0) {
        relay_turn_error(call, refusal, true);
        return;
    }
    if (relay_is_head(relay)) {
        evict_same_username(call);
    }
    const struct relay_allocation *allocation = make_allocation(call, families);
    if (allocation == NULL) {
        relay_turn_error(call, 508, true);
        return;
    }
    relay->counters.allocations++;
    answer_allocation(call, allocation);
}

/* coturn looks for the session before it looks at credentials. True when it answered. */
static bool coturn_answered_from_session(struct relay_call *call)
{
    if (!relay_is_coturn(call->relay) || call->request.header.method != STUN_ALLOCATE) {
        return false;
    }
    const struct relay_allocation *allocation =
        relay_allocation_of(call->relay, &call->datagram->remote);
    if (allocation == NULL) {
        return false;
    }
    if (!allocation->lingering && stun_txn_equal(&allocation->txn, &call->request.header.txn)) {
        answer_allocation(call, allocation);
        return true;
    }
    relay_turn_error(call, 437, false);
    return true;
}

/* ---- Refresh ---- */

static void delete_allocation(struct relay_call *call, struct relay_allocation *allocation)
{
    call->relay->counters.deletions++;
    if (!relay_is_coturn(call->relay)) {
        relay_allocation_end(call->relay, allocation, call->out);
        return;
    }
    uint32_t linger = LINGER_MS_MIN + rng_below(&call->relay->rng, LINGER_MS_RANGE);
    allocation->lingering = true;
    allocation->expires_at = instant_add(call->now.boot, DURATION_MS(linger));
}

static void handle_refresh(struct relay_call *call)
{
    struct relay_allocation *allocation = relay_allocation_of(call->relay, &call->datagram->remote);
    if (allocation == NULL) {
        relay_turn_error(call, 437, true);
        return;
    }
    uint32_t lifetime = effective_lifetime(call);
    if (lifetime == 0) {
        delete_allocation(call, allocation);
    } else {
        allocation->lingering = false; /* coturn: a refresh in the window revives it */
        allocation->expires_at = instant_add(call->now.boot, DURATION_S(lifetime));
    }
    call->relay->counters.refreshes++;
    struct answer answer;
    answer_start(&answer, call, STUN_SUCCESS);
    stun_put_lifetime(&answer.writer, lifetime);
    answer_send_signed(&answer, call);
}

/* ---- ChannelBind and CreatePermission ---- */

/* spec/relay.md section 6, the order of checks. Returns 0 or the code; *found: the entry to renew.
 */
static uint16_t check_bind(const struct relay_call *call, struct relay_allocation *allocation,
                           struct relay_channel **found)
{
    const struct sim_relay_request *request = &call->request;
    if (allocation == NULL || allocation->lingering) {
        return 437;
    }
    if (!relay_allocation_has(allocation, (enum ip_family)request->peer.ip.family)) {
        return 443;
    }
    struct relay_channel *channel = relay_channel_by_peer(call->relay, allocation, &request->peer);
    if (channel != NULL && channel->number != request->channel) {
        return 400;
    }
    *found = relay_channel_by_number(call->relay, allocation, request->channel);
    if (*found != NULL && !sock_addr_equal(&(*found)->peer, &request->peer)) {
        return 400;
    }
    return 0;
}

static void answer_plain(struct relay_call *call)
{
    struct answer answer;
    answer_start(&answer, call, STUN_SUCCESS);
    answer_send_signed(&answer, call);
}

static void handle_channel_bind(struct relay_call *call)
{
    struct sim_relay *relay = call->relay;
    struct relay_allocation *allocation = relay_allocation_of(relay, &call->datagram->remote);
    struct relay_channel *channel = NULL;
    uint16_t refusal = check_bind(call, allocation, &channel);
    if (refusal != 0) {
        relay_turn_error(call, refusal, true);
        return;
    }
    if (channel == NULL) {
        channel = relay_channel_add(relay, allocation, call->request.channel, &call->request.peer);
    }
    uint32_t life =
        relay->faults.binding_lifetime_s > 0 ? relay->faults.binding_lifetime_s : BINDING_S;
    struct instant until = instant_add(call->now.boot, DURATION_S(life));
    if (channel == NULL ||
        (relay_is_coturn(relay) &&
         !relay_permission_set(relay, allocation, &call->request.peer.ip, until))) {
        relay_turn_error(call, 508, true);
        return;
    }
    channel->bound = true;
    channel->expires_at = until;
    relay->counters.channel_binds++;
    answer_plain(call);
}

static void handle_create_permission(struct relay_call *call)
{
    struct sim_relay *relay = call->relay;
    if (!relay_is_coturn(relay)) {
        answer_plain(call); /* a no-op that always succeeds, spec/relay.md section 7 */
        return;
    }
    const struct relay_allocation *allocation = relay_allocation_of(relay, &call->datagram->remote);
    if (allocation == NULL || allocation->lingering) {
        relay_turn_error(call, 437, true);
        return;
    }
    if (call->request.peer.ip.family == IP_NONE) {
        relay_turn_error(call, 400, true);
        return;
    }
    struct instant until = instant_add(call->now.boot, DURATION_S(PERMISSION_S));
    if (!relay_permission_set(relay, allocation, &call->request.peer.ip, until)) {
        relay_turn_error(call, 508, true);
        return;
    }
    answer_plain(call);
}

/* ---- all ---- */

static bool method_is_known(uint16_t method)
{
    return method == STUN_ALLOCATE || method == STUN_REFRESH || method == STUN_CHANNEL_BIND ||
           method == STUN_CREATE_PERMISSION;
}

/* Required attributes are looked for before anybody is authenticated, spec/relay.md section 2. */
static bool has_required(const struct relay_call *call)
{
    const struct sim_relay_request *request = &call->request;
    switch (request->header.method) {
    case STUN_ALLOCATE:
        return request->has_transport;
    case STUN_CHANNEL_BIND:
        return request->has_channel && request->peer.ip.family != IP_NONE;
    default:
        return true;
    }
}

static bool channel_is_legal(const struct relay_call *call)
{
    uint16_t last = relay_is_coturn(call->relay) ? CHANNEL_LAST_COTURN : CHANNEL_LAST;
    return !call->request.has_channel ||
           (call->request.channel >= 0x4000U && call->request.channel <= last);
}

static void dispatch(struct relay_call *call)
{
    switch (call->request.header.method) {
    case STUN_ALLOCATE:
        handle_allocate(call);
        break;
    case STUN_REFRESH:
        handle_refresh(call);
        break;
    case STUN_CHANNEL_BIND:
        handle_channel_bind(call);
        break;
    case STUN_CREATE_PERMISSION:
        handle_create_permission(call);
        break;
    default:
        UNREACHABLE(); /* method_is_known() */
    }
}

void relay_turn_request(struct relay_call *call)
{
    if (call->request.header.method == STUN_BINDING) {
        handle_binding(call);
        return;
    }
    if (call->relay->faults.drop_requests) {
        call->relay->counters.dropped++;
        return;
    }
    bool coturn = relay_is_coturn(call->relay);
    if (!method_is_known(call->request.header.method) ||
        (!coturn && (!has_required(call) || !channel_is_legal(call)))) {
        relay_turn_error(call, 400, false);
        return;
    }
    if (coturn_answered_from_session(call)) {
        return;
    }
    bool is_signed;
    uint16_t refusal = relay_auth_check(call, &is_signed);
    if (refusal == 0 && coturn && (!has_required(call) || !channel_is_legal(call))) {
        refusal = 400;
    }
    if (refusal == 0 && coturn && call->request.header.method == STUN_REFRESH &&
        call->request.has_transport) {
        refusal = 420;
    }
    if (refusal != 0) {
        relay_turn_error(call, refusal, is_signed);
        return;
    }
    dispatch(call);
}
