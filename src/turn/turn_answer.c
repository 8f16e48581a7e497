/* What the relay says: answers to our requests, and data of peers. */
#include <string.h>

#include "base/assert.h"
#include "stun/channel_data.h"
#include "turn/turn_state.h"

#define CHALLENGES_MAX      4U            /* 401 and 438 in a row before we believe the refusal */
#define MISMATCHES_MAX      9U            /* 437 to ALLOCATE in a row before a long pause */
#define MISMATCHES_ROUND    3U            /* of them until the next deletion */
#define MISMATCH_PAUSE_MS   UINT64_C(500) /* doubles within a round: 0.5, 1 s */
#define DELETED_PAUSE       DURATION_MS(500) /* lets copies of a deletion pass by */
#define DELETED_REFRESH     DURATION_S(2)    /* looks whether one came later still */
#define RETRY_PAUSE_S       UINT64_C(10) /* after other refusals; doubles up to RETRY_PAUSE_S_MAX */
#define RETRY_PAUSE_S_MAX   UINT64_C(300)
#define REFRESH_RETRY_PAUSE DURATION_S(10)

/* One answer that belongs to one of our requests. */
struct answer {
    struct stun_msg msg;
    struct view datagram;
    struct sock_addr local;
    struct instant now;
    uint32_t slot;
};

static struct turn_request *request_of(struct turn_client *c, const struct answer *a)
{
    return &c->requests[a->slot];
}

/* ---- refusals ---- */

/* Nothing useful came of an ALLOCATE: it is repeated after a pause that grows. */
static void retry_later(struct turn_client *c, struct instant now)
{
    uint32_t shift = c->retries < 5 ? c->retries : 5;
    uint64_t pause_s = RETRY_PAUSE_S << shift;
    pause_s = pause_s < RETRY_PAUSE_S_MAX ? pause_s : RETRY_PAUSE_S_MAX;
    c->retries++;
    c->retry_at = instant_add(now, DURATION_S(pause_s));
}

static void finish_delete(struct turn_client *c, struct instant now)
{
    if (c->closing) {
        c->closed = true;
    } else {
        c->retry_at = instant_add(now, DELETED_PAUSE);
    }
}

static void delete_first(struct turn_client *c, struct instant now)
{
    c->deleted = true;
    turn_request_start(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_DELETE, c->active, now);
}

/* Any error without a meaning of its own. */
static void refuse(struct turn_client *c, const struct answer *a)
{
    struct turn_request request = *request_of(c, a);
    turn_request_end(c, a->slot);
    switch ((enum turn_request_kind)request.kind) {
    case TURN_REQUEST_BINDING:
        if (c->active == TURN_SERVER_NONE && !turn_requests_any(c)) {
            turn_state_fail(c, TURN_FAILURE_PROTOCOL, a->now);
        }
        break;
    case TURN_REQUEST_ALLOCATE:
        c->pending_count = 0;
        retry_later(c, a->now);
        break;
    case TURN_REQUEST_REFRESH:
        c->refresh_at = instant_add(a->now, REFRESH_RETRY_PAUSE);
        break;
    case TURN_REQUEST_DELETE:
        if (c->closing) {
            c->closed = true;
        } else {
            retry_later(c, a->now);
        }
        break;
    case TURN_REQUEST_CHANNEL_BIND:
        turn_channels_refuse(&c->channels, request.channel, a->now);
        turn_state_drain_pending(c, a->now);
        break;
    }
}

/* The relay does not accept who we are. */
static void refuse_credentials(struct turn_client *c, const struct answer *a,
                               enum turn_failure failure)
{
    if (c->closing) {
        turn_request_end(c, a->slot);
        c->closed = true;
        return;
    }
    c->has_credentials = false;
    /* A nonce that was damaged on its way here is answered with 401 like a wrong password. */
    c->nonce.len = 0;
    c->challenge++;
    turn_state_fail(c, failure, a->now);
}

/* 401 and 438: answer the challenge with the nonce it brings. */
static void on_challenge(struct turn_client *c, const struct answer *a)
{
    struct turn_request *request = request_of(c, a);
    const struct stun_msg *msg = &a->msg;
    bool usable = msg->nonce.len > 0 && msg->nonce.len <= TURN_TEXT_MAX &&
                  request->kind != TURN_REQUEST_BINDING;
    if (!usable || request->challenges >= CHALLENGES_MAX) {
        refuse(c, a);
        return;
    }
    struct view realm = {c->realm.bytes, c->realm.len};
    if (msg->realm.at != NULL && !view_equal(msg->realm, realm)) {
        refuse_credentials(c, a, TURN_FAILURE_REALM);
        return;
    }
    bool judged = msg->error_code == 401 && request->is_signed &&
                  request->credentials_generation == c->credentials_generation;
    if (judged && !turn_state_adopt(c)) {
        refuse_credentials(c, a, TURN_FAILURE_CREDENTIALS);
        return;
    }
    memcpy(c->nonce.bytes, msg->nonce.at, msg->nonce.len);
    c->nonce.len = msg->nonce.len;
    c->challenge++;
    request->challenges++;
    turn_request_restart(c, a->slot, a->now);
}

/* 437 to ALLOCATE: an allocation of an earlier life is in the way. Delete it; a deleted one may
 * linger for a second or two (relay.md 10.4), and deleting again could revive it, so that happens
 * only when more time has passed. */
static void on_allocate_mismatch(struct turn_client *c, const struct answer *a)
{
    turn_request_end(c, a->slot);
    c->mismatches++;
    uint32_t step = (c->mismatches - 1) % MISMATCHES_ROUND;
    if (c->mismatches > MISMATCHES_MAX) {
        c->mismatches = 0;
        retry_later(c, a->now);
    } else if (step == 0) {
        delete_first(c, a->now);
    } else {
        uint64_t pause_ms = MISMATCH_PAUSE_MS << (step - 1);
        c->retry_at = instant_add(a->now, DURATION_MS(pause_ms));
    }
}

static void on_mismatch(struct turn_client *c, const struct answer *a)
{
    struct turn_request request = *request_of(c, a);
    switch ((enum turn_request_kind)request.kind) {
    case TURN_REQUEST_BINDING:
        refuse(c, a);
        break;
    case TURN_REQUEST_ALLOCATE:
        on_allocate_mismatch(c, a);
        break;
    case TURN_REQUEST_DELETE:
        turn_request_end(c, a->slot);
        finish_delete(c, a->now);
        break;
    case TURN_REQUEST_CHANNEL_BIND:
        turn_state_push_pending(c, &c->channels.entries[request.channel].peer);
        turn_state_begin_anew(c, a->now);
        break;
    case TURN_REQUEST_REFRESH:
        turn_state_begin_anew(c, a->now);
        break;
    }
}

/* 440: asks for less, first IPv4 alone, then IPv6 alone. */
static void on_family_refused(struct turn_client *c, const struct answer *a)
{
    if (request_of(c, a)->kind != TURN_REQUEST_ALLOCATE || c->families == TURN_FAMILIES_V6) {
        refuse(c, a);
        return;
    }
    c->families++;
    turn_request_end(c, a->slot);
    turn_state_allocate(c, a->now);
}

/* 441: the relay knows our address under another user name. */
static void on_wrong_credentials(struct turn_client *c, const struct answer *a)
{
    if (request_of(c, a)->kind != TURN_REQUEST_REFRESH) {
        refuse(c, a);
        return;
    }
    if (turn_state_adopt(c)) {
        turn_request_restart(c, a->slot, a->now);
        return;
    }
    turn_state_lose(c);
    retry_later(c, a->now);
}

/* 420: the relay does not understand what we cannot leave out. */
static void on_not_understood(struct turn_client *c, const struct answer *a)
{
    uint8_t kind = request_of(c, a)->kind;
    if (c->closing || (kind != TURN_REQUEST_ALLOCATE && kind != TURN_REQUEST_REFRESH)) {
        refuse(c, a);
        return;
    }
    turn_state_fail(c, TURN_FAILURE_PROTOCOL, a->now);
}

static void on_error(struct turn_client *c, const struct answer *a)
{
    c->last_error = a->msg.error_code;
    switch (a->msg.error_code) {
    case 401:
    case 438:
        on_challenge(c, a);
        break;
    case 420:
        on_not_understood(c, a);
        break;
    case 437:
        on_mismatch(c, a);
        break;
    case 440:
        on_family_refused(c, a);
        break;
    case 441:
        on_wrong_credentials(c, a);
        break;
    default: /* 300, 400, 403, 443, 486, 500, 508 and whatever else */
        refuse(c, a);
        break;
    }
}

/* ---- successes ---- */

static enum drop_reason on_bound(struct turn_client *c, const struct answer *a)
{
    uint8_t server = request_of(c, a)->server;
    const struct sock_addr *mapped = &a->msg.mapped;
    if (mapped->ip.family == IP_NONE) {
        return DROP_STUN_MALFORMED;
    }
    turn_request_end(c, a->slot);
    bool same_family = a->local.ip.family == c->server[server].ip.family;
    if (same_family && turn_address_is_usable(&a->local)) {
        c->host[server].addr = a->local;
        c->host[server].base = a->local;
        if (mapped->ip.family == a->local.ip.family && turn_address_is_usable(mapped)) {
            c->srflx[server].addr = *mapped;
            c->srflx[server].base = a->local;
        }
    }
    if (c->active == TURN_SERVER_NONE) {
        c->active = server; /* the first answer wins */
        c->answered_at = a->now;
        c->sent_at = a->now;
        turn_state_allocate(c, a->now);
        return DROP_NONE;
    }
    /* Another mapped address than the allocation's: the relay no longer knows us by our address. */
    bool moved = server == c->active && c->allocated && c->allocated_from.ip.family != IP_NONE &&
                 !sock_addr_equal(&c->allocated_from, mapped);
    if (moved) {
        turn_state_begin_anew(c, a->now);
    }
    return DROP_NONE;
}

static enum drop_reason on_allocated(struct turn_client *c, const struct answer *a)
{
    const struct stun_msg *msg = &a->msg;
    bool v4 = turn_address_is_usable(&msg->relayed_v4);
    bool v6 = turn_address_is_usable(&msg->relayed_v6);
    if (!msg->has_lifetime || msg->lifetime_s == 0 || (!v4 && !v6)) {
        refuse(c, a);
        return DROP_STUN_MALFORMED;
    }
    turn_request_end(c, a->slot);
    c->relayed[TURN_SERVER_V4].addr = v4 ? msg->relayed_v4 : (struct sock_addr){0};
    c->relayed[TURN_SERVER_V6].addr = v6 ? msg->relayed_v6 : (struct sock_addr){0};
    for (unsigned i = 0; i < 2; i++) {
        c->relayed[i].base = c->relayed[i].addr;
    }
    c->allocated = true;
    c->allocated_at = a->now;
    c->was_ready = true;
    c->failure = TURN_FAILURE_NONE;
    c->retries = 0;
    c->mismatches = 0;
    c->allocated_from = msg->mapped.ip.family != IP_NONE ? msg->mapped : c->srflx[c->active].addr;
    turn_state_extend(c, msg->lifetime_s, a->now);
    if (c->deleted) {
        c->deleted = false;
        c->refresh_at = instant_min(c->refresh_at, instant_add(a->now, DELETED_REFRESH));
    }
    turn_state_drain_pending(c, a->now);
    return DROP_NONE;
}

static struct stun_txn *recent_allocate(struct turn_client *c, const struct stun_txn *txn)
{
    static const struct stun_txn none = {{0}};
    for (uint32_t i = 0; i < TURN_RECENT_MAX && !stun_txn_equal(txn, &none); i++) {
        if (stun_txn_equal(&c->recent[i], txn)) {
            return &c->recent[i];
        }
    }
    return NULL;
}

/* A success that no request waits for. If it is of a recent ALLOCATE and names another allocation
 * than ours, the network delivered that request late or twice, and the relay has something else
 * than we believe: begin anew, once for each request. */
static enum drop_reason on_late_success(struct turn_client *c, const struct answer *a,
                                        uint8_t server)
{
    const struct stun_msg *msg = &a->msg;
    struct stun_txn *recent = recent_allocate(c, &msg->txn);
    if (recent == NULL || msg->method != STUN_ALLOCATE || msg->class != STUN_SUCCESS ||
        server != c->active || c->closing ||
        turn_request_is(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_DELETE)) {
        return DROP_STUN_UNKNOWN_TXN;
    }
    if (!stun_msg_check_integrity(a->datagram, msg, VIEW_OF(c->credentials.key))) {
        return DROP_STUN_INTEGRITY;
    }
    if (sock_addr_equal(&msg->relayed_v4, &c->relayed[TURN_SERVER_V4].addr) &&
        sock_addr_equal(&msg->relayed_v6, &c->relayed[TURN_SERVER_V6].addr)) {
        return DROP_STUN_UNKNOWN_TXN; /* a copy of what we know */
    }
    *recent = (struct stun_txn){0};
    turn_state_lose(c);
    c->mismatches = 1;
    delete_first(c, a->now);
    return DROP_NONE;
}

static enum drop_reason on_refreshed(struct turn_client *c, const struct answer *a)
{
    if (!a->msg.has_lifetime) {
        refuse(c, a);
        return DROP_STUN_MALFORMED;
    }
    turn_request_end(c, a->slot);
    if (a->msg.lifetime_s == 0) {
        turn_state_begin_anew(c, a->now);
    } else {
        turn_state_extend(c, a->msg.lifetime_s, a->now);
    }
    return DROP_NONE;
}

static enum drop_reason on_success(struct turn_client *c, const struct answer *a)
{
    switch ((enum turn_request_kind)request_of(c, a)->kind) {
    case TURN_REQUEST_BINDING:
        return on_bound(c, a);
    case TURN_REQUEST_ALLOCATE:
        return on_allocated(c, a);
    case TURN_REQUEST_REFRESH:
        return on_refreshed(c, a);
    case TURN_REQUEST_DELETE:
        turn_request_end(c, a->slot);
        finish_delete(c, a->now);
        return DROP_NONE;
    case TURN_REQUEST_CHANNEL_BIND:
        turn_channels_confirm(&c->channels, request_of(c, a)->channel, a->now);
        turn_request_end(c, a->slot);
        turn_state_drain_pending(c, a->now);
        return DROP_NONE;
    }
    UNREACHABLE();
}

/* ---- authenticity (relay.md 10.4) ---- */

/* Successes that change state, and errors that could tear down an allocation, need a valid
 * MESSAGE-INTEGRITY. Exempt are BINDINGs; challenges, which relays send unsigned or signed with a
 * password that we do not have; 437 where there is no allocation to lose; and errors to requests
 * without credentials, which nobody can sign. All of them still need our transaction id. */
static bool needs_integrity(const struct turn_request *request, const struct stun_msg *msg)
{
    if (request->kind == TURN_REQUEST_BINDING) {
        return false;
    }
    if (msg->class == STUN_SUCCESS) {
        return true;
    }
    bool challenge = msg->error_code == 401 || msg->error_code == 438;
    bool nothing_to_lose =
        request->kind == TURN_REQUEST_ALLOCATE || request->kind == TURN_REQUEST_DELETE;
    return !challenge && !(msg->error_code == 437 && nothing_to_lose) && request->is_signed;
}

static enum drop_reason check_answer(struct turn_client *c, const struct answer *a, uint8_t server)
{
    const struct stun_msg *msg = &a->msg;
    const struct turn_request *request = request_of(c, a);
    if (request->server != server) {
        return DROP_STUN_SOURCE;
    }
    if (msg->method != turn_request_method(request)) {
        return DROP_STUN_UNEXPECTED;
    }
    if (msg->class == STUN_ERROR && msg->error_code == 0) {
        return DROP_STUN_MALFORMED;
    }
    if (needs_integrity(request, msg) &&
        !stun_msg_check_integrity(a->datagram, msg, VIEW_OF(c->credentials.key))) {
        return DROP_STUN_INTEGRITY;
    }
    return DROP_NONE;
}

static enum drop_reason handle_stun(struct turn_client *c, struct answer *a, uint8_t server)
{
    enum drop_reason reason = stun_msg_decode(a->datagram, &a->msg);
    if (reason != DROP_NONE) {
        return reason;
    }
    if (a->msg.class != STUN_SUCCESS && a->msg.class != STUN_ERROR) {
        return DROP_STUN_UNEXPECTED;
    }
    a->slot = turn_request_find(c, &a->msg.txn);
    if (a->slot == TURN_REQUEST_NONE) {
        return on_late_success(c, a, server);
    }
    reason = check_answer(c, a, server);
    if (reason != DROP_NONE) {
        return reason;
    }
    const struct turn_request *request = request_of(c, a);
    if (server == c->active) {
        c->answered_at = a->now;
    }
    if (request->sends == 1) { /* a repeated request cannot tell which copy was answered */
        c->rtt = instant_since(a->now, request->first_sent_at);
    }
    if (a->msg.class == STUN_ERROR) {
        on_error(c, a);
        return DROP_NONE;
    }
    return on_success(c, a);
}

static enum drop_reason handle_data(struct turn_client *c, struct view datagram, struct instant now,
                                    struct turn_data *data)
{
    struct channel_data header;
    enum drop_reason reason = channel_data_decode(datagram, &header);
    if (reason != DROP_NONE) {
        return reason;
    }
    const struct turn_channel *channel = turn_channels_receive(&c->channels, header.number, now);
    if (channel == NULL) {
        return DROP_TURN_CHANNEL;
    }
    data->peer = channel->peer;
    data->relayed = turn_client_relayed(c, (enum ip_family)channel->peer.ip.family);
    data->offset = CHANNEL_DATA_HEADER_SIZE;
    data->length = header.length;
    return data->relayed.ip.family == IP_NONE ? DROP_TURN_FAMILY : DROP_NONE;
}

static uint8_t server_index(const struct turn_client *c, const struct sock_addr *addr)
{
    for (uint8_t i = TURN_SERVER_V4; i <= TURN_SERVER_V6; i++) {
        if (c->server[i].ip.family != IP_NONE && sock_addr_equal(&c->server[i], addr)) {
            return i;
        }
    }
    return TURN_SERVER_NONE;
}

bool turn_client_is_server(const struct turn_client *c, const struct sock_addr *addr)
{
    return server_index(c, addr) != TURN_SERVER_NONE;
}

enum turn_input turn_client_handle_input(struct turn_client *c, const struct sock_addr *from,
                                         const struct sock_addr *local, struct view datagram,
                                         struct instant now, struct turn_data *data)
{
    *data = (struct turn_data){0};
    uint8_t server = server_index(c, from);
    if (server == TURN_SERVER_NONE) {
        return TURN_INPUT_NOT_MINE;
    }
    if (channel_data_is(datagram)) {
        data->reason =
            server == c->active ? handle_data(c, datagram, now, data) : DROP_TURN_CHANNEL;
        return data->reason == DROP_NONE ? TURN_INPUT_DATA : TURN_INPUT_DROPPED;
    }
    struct answer a = {.datagram = datagram, .local = *local, .now = now};
    data->reason = handle_stun(c, &a, server);
    return data->reason == DROP_NONE ? TURN_INPUT_HANDLED : TURN_INPUT_DROPPED;
}
