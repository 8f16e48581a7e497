#include "turn/turn_request.h"

#include "base/assert.h"

#define LADDER_SENDS_MAX 4U

/* spec/connectivity.md 3.4: first timeout 1 s, times 1.5, at most 10 s (8 s) in all. */
static const uint16_t ladder_ms[LADDER_SENDS_MAX] = {1000, 1500, 2250, 3375};
static const uint16_t probe_ms[LADDER_SENDS_MAX] = {250, 250, 500, 0};

static_assert(TURN_REQUESTS_MAX <= UINT8_MAX, "outbox entries are bytes");

static struct duration rung(const struct turn_request *request)
{
    ASSERT(request->sends >= 1 && request->sends <= LADDER_SENDS_MAX);
    const uint16_t *ms = request->is_probe ? probe_ms : ladder_ms;
    return DURATION_MS(ms[request->sends - 1U]);
}

static void queue(struct turn_client *c, uint32_t slot, struct instant now)
{
    struct turn_request *request = &c->requests[slot];
    request->sends++;
    heap_set(&c->deadlines, slot, instant_add(now, rung(request)));
    ASSERT(request->queued || c->outbox_count < TURN_REQUESTS_MAX);
    if (!request->queued) {
        request->queued = true;
        c->outbox[(c->outbox_first + c->outbox_count) % TURN_REQUESTS_MAX] = (uint8_t)slot;
        c->outbox_count++;
    }
}

void turn_request_restart(struct turn_client *c, uint32_t slot, struct instant now)
{
    struct turn_request *request = &c->requests[slot];
    ASSERT(request->used);
    rng_bytes(c->rng, request->txn.bytes, STUN_TXN_SIZE);
    /* relay.md 10.4: no credentials before there is a nonce. */
    request->is_signed = request->kind != TURN_REQUEST_BINDING && c->nonce.len > 0;
    if (request->kind == TURN_REQUEST_ALLOCATE && request->is_signed) {
        c->recent[c->recent_next] = request->txn;
        c->recent_next = (c->recent_next + 1) % TURN_RECENT_MAX;
    }
    request->credentials_generation = c->credentials_generation;
    request->sends = 0;
    request->first_sent_at = now;
    queue(c, slot, now);
}

/* A queued slot that is taken over keeps its one place in the outbox. */
static void occupy(struct turn_client *c, uint32_t slot, const struct turn_request *request,
                   struct instant now)
{
    bool queued = c->requests[slot].queued;
    c->requests[slot] = *request;
    c->requests[slot].used = true;
    c->requests[slot].queued = queued;
    turn_request_restart(c, slot, now);
}

void turn_request_start(struct turn_client *c, uint32_t slot, enum turn_request_kind kind,
                        uint8_t server, struct instant now)
{
    ASSERT(slot < TURN_SLOT_CHANNELS);
    ASSERT(server < TURN_SERVER_NONE && c->server[server].ip.family != IP_NONE);
    struct turn_request request = {.kind = (uint8_t)kind, .server = server};
    occupy(c, slot, &request, now);
}

void turn_request_make_probe(struct turn_client *c, uint32_t slot, struct instant now)
{
    struct turn_request *request = &c->requests[slot];
    ASSERT(request->used && request->sends == 1);
    request->is_probe = true;
    heap_set(&c->deadlines, slot, instant_add(now, rung(request)));
}

void turn_request_start_channel(struct turn_client *c, uint16_t channel, struct instant now)
{
    ASSERT(c->active < TURN_SERVER_NONE);
    struct turn_request request = {
        .kind = TURN_REQUEST_CHANNEL_BIND, .server = c->active, .channel = channel};
    for (uint32_t slot = TURN_SLOT_CHANNELS; slot < TURN_REQUESTS_MAX; slot++) {
        if (!c->requests[slot].used) {
            c->channel_requests++;
            occupy(c, slot, &request, now);
            return;
        }
    }
    UNREACHABLE();
}

void turn_request_end(struct turn_client *c, uint32_t slot)
{
    struct turn_request *request = &c->requests[slot];
    if (request->used && slot >= TURN_SLOT_CHANNELS) {
        c->channel_requests--;
    }
    request->used = false; /* a stale place in the outbox is skipped there */
    heap_set(&c->deadlines, slot, TIME_NEVER);
}

void turn_requests_clear(struct turn_client *c)
{
    for (uint32_t slot = 0; slot < TURN_REQUESTS_MAX; slot++) {
        turn_request_end(c, slot);
    }
    ASSERT(c->channel_requests == 0);
}

bool turn_request_has_room(const struct turn_client *c)
{
    return c->channel_requests < TURN_REQUESTS_MAX - TURN_SLOT_CHANNELS &&
           !FAULT(c->rng->fault, FAULT_TURN_NO_ROOM);
}

bool turn_requests_any(const struct turn_client *c)
{
    return c->deadlines.count > 0;
}

bool turn_request_is(const struct turn_client *c, uint32_t slot, enum turn_request_kind kind)
{
    return c->requests[slot].used && c->requests[slot].kind == kind;
}

uint32_t turn_request_find(const struct turn_client *c, const struct stun_txn *txn)
{
    for (uint32_t slot = 0; slot < TURN_REQUESTS_MAX; slot++) {
        if (c->requests[slot].used && stun_txn_equal(&c->requests[slot].txn, txn)) {
            return slot;
        }
    }
    return TURN_REQUEST_NONE;
}

uint16_t turn_request_method(const struct turn_request *request)
{
    switch ((enum turn_request_kind)request->kind) {
    case TURN_REQUEST_BINDING:
        return STUN_BINDING;
    case TURN_REQUEST_ALLOCATE:
        return STUN_ALLOCATE;
    case TURN_REQUEST_REFRESH:
    case TURN_REQUEST_DELETE:
        return STUN_REFRESH;
    case TURN_REQUEST_CHANNEL_BIND:
        return STUN_CHANNEL_BIND;
    }
    UNREACHABLE();
}

enum turn_ladder turn_request_advance(struct turn_client *c, uint32_t slot, struct instant now)
{
    struct turn_request *request = &c->requests[slot];
    ASSERT(request->used);
    unsigned sends_max = request->is_probe ? LADDER_SENDS_MAX - 1U : LADDER_SENDS_MAX;
    if (request->sends >= sends_max) {
        return TURN_LADDER_EXPIRED;
    }
    queue(c, slot, now);
    return TURN_LADDER_WAIT;
}

/* ---- encoding ---- */

static struct view text_view(const struct turn_text *text)
{
    return (struct view){text->bytes, text->len};
}

static void put_families(struct stun_writer *s, enum turn_families families)
{
    if (families == TURN_FAMILIES_BOTH) {
        /* Firezone knows the first number, coturn 4.6 only the second (relay.md 10.4). */
        stun_put_family(s, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, IP_V6);
        stun_put_family(s, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT, IP_V6);
    } else if (families == TURN_FAMILIES_V6) {
        stun_put_family(s, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, IP_V6);
    }
}

static void put_purpose(const struct turn_client *c, const struct turn_request *request,
                        struct stun_writer *s)
{
    if (request->kind == TURN_REQUEST_ALLOCATE) {
        stun_put_requested_transport(s, STUN_TRANSPORT_UDP);
        put_families(s, (enum turn_families)c->families);
    } else if (request->kind == TURN_REQUEST_CHANNEL_BIND) {
        stun_put_xor_address(s, STUN_ATTR_XOR_PEER_ADDRESS,
                             &c->channels.entries[request->channel].peer);
        stun_put_channel_number(s, (uint16_t)(CHANNEL_NUMBER_MIN + request->channel));
    }
    if (c->software.len > 0) {
        stun_put_software(s, text_view(&c->software));
    }
    if (request->kind == TURN_REQUEST_DELETE) {
        stun_put_lifetime(s, 0);
    }
}

static struct view encode(struct turn_client *c, const struct turn_request *request)
{
    struct stun_writer s;
    stun_start(&s, (struct span){c->datagram, sizeof(c->datagram)}, turn_request_method(request),
               STUN_REQUEST, &request->txn);
    put_purpose(c, request, &s);
    if (request->is_signed) {
        const struct turn_credentials *own = &c->credentials;
        stun_put_username(&s, (struct view){own->username, own->username_len});
        stun_put_realm(&s, text_view(&c->realm));
        stun_put_nonce(&s, text_view(&c->nonce));
        stun_put_integrity(&s, VIEW_OF(own->key));
    }
    struct view bytes = stun_finish(&s);
    ASSERT(bytes.len > 0);
    return bytes;
}

static struct turn_request *pop_outbox(struct turn_client *c)
{
    ASSERT(c->outbox_count > 0);
    struct turn_request *request = &c->requests[c->outbox[c->outbox_first]];
    ASSERT(request->queued);
    c->outbox_first = (c->outbox_first + 1) % TURN_REQUESTS_MAX;
    c->outbox_count--;
    request->queued = false;
    return request;
}

/* One transaction id stands for one message: what is signed anew is another transaction. */
static void renew_txn(struct turn_client *c, struct turn_request *request)
{
    if (request->sends > 1 && request->is_signed && request->challenge != c->challenge) {
        rng_bytes(c->rng, request->txn.bytes, STUN_TXN_SIZE);
    }
    request->challenge = c->challenge;
}

bool turn_request_poll(struct turn_client *c, struct turn_transmit *out)
{
    while (c->outbox_count > 0) {
        struct turn_request *request = pop_outbox(c);
        if (request->used) { /* one that ended while it waited is not sent */
            renew_txn(c, request);
            out->remote = c->server[request->server];
            out->bytes = encode(c, request);
            return true;
        }
    }
    return false;
}
