/* What the relay says: answers to our requests, and data of peers. */
#include "base/assert.h"
#include "stun/channel_data.h"
#include "turn/turn_refusal.h"
#include "turn/turn_state.h"

#define DELETED_REFRESH DURATION_S(2) /* looks whether one came later still */

/* ---- successes ---- */

static enum drop_reason on_bound(struct turn_client *c, const struct turn_answer *a)
{
    uint8_t server = turn_answer_request(c, a)->server;
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

static enum drop_reason on_allocated(struct turn_client *c, const struct turn_answer *a)
{
    const struct stun_msg *msg = &a->msg;
    bool v4 = turn_address_is_usable(&msg->relayed_v4);
    bool v6 = turn_address_is_usable(&msg->relayed_v6);
    if (!msg->has_lifetime || msg->lifetime_s == 0 || (!v4 && !v6)) {
        turn_refusal_other(c, a);
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
static enum drop_reason on_late_success(struct turn_client *c, const struct turn_answer *a,
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
    turn_refusal_delete(c, a->now);
    return DROP_NONE;
}

static enum drop_reason on_refreshed(struct turn_client *c, const struct turn_answer *a)
{
    if (!a->msg.has_lifetime) {
        turn_refusal_other(c, a);
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

static enum drop_reason on_success(struct turn_client *c, const struct turn_answer *a)
{
    switch ((enum turn_request_kind)turn_answer_request(c, a)->kind) {
    case TURN_REQUEST_BINDING:
        return on_bound(c, a);
    case TURN_REQUEST_ALLOCATE:
        return on_allocated(c, a);
    case TURN_REQUEST_REFRESH:
        return on_refreshed(c, a);
    case TURN_REQUEST_DELETE:
        turn_request_end(c, a->slot);
        turn_refusal_deleted(c, a->now);
        return DROP_NONE;
    case TURN_REQUEST_CHANNEL_BIND:
        turn_channels_confirm(&c->channels, turn_answer_request(c, a)->channel, a->now);
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

static enum drop_reason check_answer(struct turn_client *c, const struct turn_answer *a,
                                     uint8_t server)
{
    const struct stun_msg *msg = &a->msg;
    const struct turn_request *request = turn_answer_request(c, a);
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

static enum drop_reason handle_stun(struct turn_client *c, struct turn_answer *a, uint8_t server)
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
    const struct turn_request *request = turn_answer_request(c, a);
    if (server == c->active) {
        c->answered_at = a->now;
    }
    if (request->sends == 1) { /* a repeated request cannot tell which copy was answered */
        c->rtt = instant_since(a->now, request->first_sent_at);
    }
    if (a->msg.class == STUN_ERROR) {
        turn_refusal_handle(c, a);
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
    struct turn_answer a = {.datagram = datagram, .local = *local, .now = now};
    data->reason = handle_stun(c, &a, server);
    return data->reason == DROP_NONE ? TURN_INPUT_HANDLED : TURN_INPUT_DROPPED;
}
