#include "portal/portal_step.h"

#include "base/assert.h"

#define STATUS_UNAUTHORIZED 401U
#define STATUS_NOT_FOUND    404U

static void fail(struct portal_client *c, const char *reason)
{
    portal_step_fail(c, &(struct portal_failure){.reason = reason});
}

/* ---- addresses ---- */

static void add_address(struct portal_client *c, const struct ip_addr *ip)
{
    struct portal_slot *free_slot = NULL;
    for (uint32_t i = 0; i < PORTAL_STREAMS_MAX; i++) {
        struct portal_slot *slot = &c->slots[i];
        bool used = slot->state == PORTAL_SLOT_OPEN_DUE || slot->state == PORTAL_SLOT_OPENING;
        if (used && ip_equal(&slot->remote.ip, ip)) {
            return;
        }
        if (slot->state == PORTAL_SLOT_FREE && free_slot == NULL) {
            free_slot = slot;
        }
    }
    if (free_slot != NULL) {
        *free_slot = (struct portal_slot){
            .state = PORTAL_SLOT_OPEN_DUE,
            .stream = (*c->next_id)++,
            .remote = sock_addr_of(*ip, c->url.port),
        };
    }
}

/* What an operator can do something about, whatever else failed. */
static const char *unreached_text(enum err why)
{
    const char *text = err_text(why);
    if (why == ERR_NONE) {
        text = "the portal's name could not be resolved";
    } else if (why == ERR_TLS_CERTIFICATE) {
        text = "the portal's certificate is not accepted";
    } else if (why == ERR_TLS_NAME) {
        text = "the portal's certificate is for another name";
    } else if (why == ERR_TLS_DATE) {
        text = "the portal's certificate is not valid at the time of this clock";
    }
    return text;
}

/* What a certificate fails at says more than an address that is not there. */
static bool is_about_trust(enum err why)
{
    return why == ERR_TLS || why == ERR_TLS_CERTIFICATE || why == ERR_TLS_NAME ||
           why == ERR_TLS_DATE;
}

/* Fails the attempt once nothing is under way any more. */
static void check_exhausted(struct portal_client *c)
{
    bool busy = c->lookups[PORTAL_LOOKUP_A].open || c->lookups[PORTAL_LOOKUP_AAAA].open;
    for (uint32_t i = 0; i < PORTAL_STREAMS_MAX; i++) {
        enum portal_slot_state state = c->slots[i].state;
        busy = busy || state == PORTAL_SLOT_OPEN_DUE || state == PORTAL_SLOT_OPENING;
    }
    if (!busy) {
        fail(c, unreached_text(c->unreached));
    }
}

void portal_step_attempt(struct portal_client *c)
{
    portal_step_drop(c);
    c->state = PORTAL_CONNECT;
    c->deadline = instant_add(c->now.boot, DURATION_S(PORTAL_ATTEMPT_TIMEOUT_S));
    c->head = false;
    c->unreached = ERR_NONE;
    if (c->url.ip.family != IP_NONE) {
        add_address(c, &c->url.ip);
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(c->lookups); i++) {
        c->lookups[i] = (struct portal_lookup){
            .lookup = (*c->next_id)++, .known = true, .due = true, .open = true};
    }
}

void portal_step_drop(struct portal_client *c)
{
    for (size_t i = 0; i < ARRAY_COUNT(c->lookups); i++) {
        c->lookups[i].due = false;
        c->lookups[i].open = false;
    }
    for (uint32_t i = 0; i < PORTAL_STREAMS_MAX; i++) {
        struct portal_slot *slot = &c->slots[i];
        if (slot->state == PORTAL_SLOT_OPENING || slot->state == PORTAL_SLOT_LIVE) {
            slot->state = PORTAL_SLOT_CLOSE_DUE;
        } else if (slot->state == PORTAL_SLOT_OPEN_DUE) {
            slot->state = PORTAL_SLOT_FREE;
        }
    }
    c->has_lost = c->has_lost || c->starved || ws_is_starved(&c->ws);
    ws_release(&c->ws, &c->trash);
    if (c->reading) {
        portal_step_forget(c);
    }
    c->ended = false;
    c->starved = false;
    c->send_at = TIME_NEVER;
    c->live = PORTAL_STREAMS_MAX;
    c->http.used = 0;
    c->out_used = 0;
    c->out_sent = 0;
    c->send_offered = false;
    c->blocked = false;
    c->join_due = false;
    c->heartbeat_due = false;
}

bool portal_client_handle_lookup(struct portal_client *c, const struct portal_lookup_answer *answer,
                                 struct clock_pair now)
{
    portal_step_begin(c, now);
    for (size_t i = 0; i < ARRAY_COUNT(c->lookups); i++) {
        struct portal_lookup *lookup = &c->lookups[i];
        if (!lookup->known || lookup->lookup != answer->lookup) {
            continue;
        }
        if (!lookup->open) {
            return true;
        }
        lookup->open = false;
        lookup->due = false;
        for (uint32_t k = 0; k < answer->addresses_count; k++) {
            add_address(c, &answer->addresses[k]);
        }
        check_exhausted(c);
        return true;
    }
    return false;
}

/* ---- streams ---- */

/* The first stream that is up carries the connection, the others go. */
static void handle_opened(struct portal_client *c, uint32_t live)
{
    c->slots[live].state = PORTAL_SLOT_FREE;
    portal_step_drop(c);
    c->slots[live].state = PORTAL_SLOT_LIVE;
    c->live = live;
    c->state = PORTAL_UPGRADE;
    rng_bytes(c->rng, c->nonce, sizeof(c->nonce));

    uint8_t host_text[PORTAL_HOST_SIZE_MAX + 2U];
    struct writer host = writer_of((struct span){host_text, sizeof(host_text)});
    struct writer target = writer_of((struct span){c->scratch, sizeof(c->scratch)});
    struct writer out = writer_of((struct span){c->out, sizeof(c->out)});
    struct http_request_fields fields = {0};
    struct view token = {c->token, c->token_len};
    struct portal_login login = {
        .token = c->v2 ? VIEW_EMPTY : token,
        .firezone_id = {c->id, c->id_len},
        .name = {c->name, c->name_len},
        .public_key = c->public_key,
    };
    portal_url_put_host(&host, &c->url);
    portal_url_put_target(&target, &c->url, &login);
    fields.host = writer_view(&host);
    fields.target = writer_view(&target);
    fields.user_agent = (struct view){c->user_agent, c->user_agent_len};
    fields.token = c->v2 ? token : VIEW_EMPTY;
    for (size_t i = 0; i < sizeof(c->nonce); i++) {
        fields.nonce[i] = c->nonce[i];
    }
    http_put_upgrade_request(&out, &fields);
    ASSERT(writer_finish(&host) && writer_finish(&target) && writer_finish(&out));
    c->out_used = (uint32_t)out.used;
}

/* What a status other than 101 and 401 means to an operator. */
static const char *refusal_of(const struct http_response *response)
{
    if (response->refusal != NULL) {
        return response->refusal;
    }
    switch (response->status) {
    case 400:
    case 422:
        return "the portal does not accept the connection's parameters";
    case 402:
        return "the account's limits are exceeded";
    case 403:
        return "the portal forbids the connection";
    case 404:
        return "there is no portal at this URL";
    case 409:
        return "the portal still has another connection of this gateway";
    case 429:
    case 503:
        return "the portal asks to come back later";
    default:
        return "the portal refused the WebSocket";
    }
}

static void handle_response(struct portal_client *c, const struct http_response *response)
{
    if (response->status == STATUS_UNAUTHORIZED) {
        portal_step_die(c, "the portal refuses the token", response->status);
        return;
    }
    if (response->status == STATUS_NOT_FOUND && c->v2 && !c->v2_only) {
        c->v2 = false; /* an older portal, or one day a newer one: v1 is what all have known */
        portal_step_attempt(c);
        return;
    }
    if (!response->upgraded) {
        bool retry_after =
            response->status != 101 && response->retry_after_s != HTTP_RETRY_AFTER_NONE;
        portal_step_fail(c, &(struct portal_failure){.reason = refusal_of(response),
                                                     .status = response->status,
                                                     .has_retry_after = retry_after,
                                                     .retry_after_s = response->retry_after_s});
        return;
    }
    if (ws_init(&c->ws, WS_CLIENT, c->rng) != ERR_NONE) {
        fail(c, PORTAL_REASON_MEMORY);
        return;
    }
    portal_step_join(c);
}

static void handle_bytes(struct portal_client *c, struct view bytes)
{
    if (c->state == PORTAL_UPGRADE) {
        struct http_response response;
        size_t consumed = 0;
        uint64_t unix_s = c->now.unix_ns / NS_PER_S;
        enum http_verdict verdict =
            http_handle_response(&c->http, bytes, c->nonce, unix_s, &consumed, &response);
        if (verdict == HTTP_MORE) {
            return;
        }
        if (verdict == HTTP_MALFORMED) {
            fail(c, "the answer to the upgrade is not HTTP");
            return;
        }
        handle_response(c, &response);
        bytes = view_sub(bytes, consumed, bytes.len - consumed);
    }
    if (c->state == PORTAL_JOIN || c->state == PORTAL_JOINED) {
        ws_feed(&c->ws, bytes);
    }
}

static void handle_closed(struct portal_client *c, struct portal_slot *slot, enum err reason)
{
    bool live = slot->state == PORTAL_SLOT_LIVE;
    bool opening = slot->state == PORTAL_SLOT_OPENING;
    slot->state = PORTAL_SLOT_FREE;
    if (live && c->state == PORTAL_CLOSING) {
        c->deadline = c->now.boot; /* nothing can be sent any more */
        portal_client_handle_timeout(c, c->now);
    } else if (live && portal_step_has_unread(c)) {
        c->live = PORTAL_STREAMS_MAX;
        c->ended = true;
    } else if (live) {
        fail(c, PORTAL_REASON_BROKE);
    } else if (opening) {
        if (!is_about_trust(c->unreached)) {
            c->unreached = reason == ERR_NONE ? ERR_IO : reason;
        }
        check_exhausted(c);
    }
}

void portal_step_stream(struct portal_client *c, uint32_t slot,
                        const struct portal_stream_event *event)
{
    enum portal_slot_state state = c->slots[slot].state;
    switch (event->kind) {
    case PORTAL_STREAM_OPENED:
        if (state == PORTAL_SLOT_OPENING) {
            handle_opened(c, slot);
        }
        break;
    case PORTAL_STREAM_BYTES:
        if (state == PORTAL_SLOT_LIVE) {
            handle_bytes(c, event->bytes);
        }
        break;
    case PORTAL_STREAM_WRITABLE:
        if (state == PORTAL_SLOT_LIVE) {
            c->blocked = false;
        }
        break;
    case PORTAL_STREAM_CLOSED:
        handle_closed(c, &c->slots[slot], event->reason);
        break;
    }
}

/* ---- outputs ---- */

static bool poll_lookups(struct portal_client *c, struct portal_output *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(c->lookups); i++) {
        if (c->lookups[i].due) {
            c->lookups[i].due = false;
            out->kind = PORTAL_OUT_LOOKUP;
            out->u.lookup.lookup = c->lookups[i].lookup;
            out->u.lookup.type = i == 0 ? PORTAL_LOOKUP_A : PORTAL_LOOKUP_AAAA;
            out->u.lookup.name = portal_url_host(&c->url);
            return true;
        }
    }
    return false;
}

bool portal_step_poll_attempt(struct portal_client *c, struct portal_output *out)
{
    for (uint32_t i = 0; i < PORTAL_STREAMS_MAX; i++) {
        struct portal_slot *slot = &c->slots[i];
        if (slot->state == PORTAL_SLOT_CLOSE_DUE) {
            slot->state = PORTAL_SLOT_FREE;
            out->kind = PORTAL_OUT_CLOSE;
            out->u.close = slot->stream;
            return true;
        }
        if (slot->state == PORTAL_SLOT_OPEN_DUE) {
            slot->state = PORTAL_SLOT_OPENING;
            out->kind = PORTAL_OUT_OPEN;
            out->u.open.stream = slot->stream;
            out->u.open.remote = slot->remote;
            out->u.open.tls_name = c->url.tls ? portal_url_host(&c->url) : VIEW_EMPTY;
            return true;
        }
    }
    return poll_lookups(c, out);
}
