/* What the relay refuses, and what follows. */
#include "turn/turn_refusal.h"

#include <string.h>

#include "turn/turn_state.h"

#define CHALLENGES_MAX      4U            /* 401 and 438 in a row before we believe the refusal */
#define MISMATCHES_MAX      9U            /* 437 to ALLOCATE in a row before a long pause */
#define MISMATCHES_ROUND    3U            /* of them until the next deletion */
#define MISMATCH_PAUSE_MS   UINT64_C(500) /* doubles within a round: 0.5, 1 s */
#define DELETED_PAUSE       DURATION_MS(500) /* lets copies of a deletion pass by */
#define RETRY_PAUSE_S       UINT64_C(10) /* after other refusals; doubles up to RETRY_PAUSE_S_MAX */
#define RETRY_PAUSE_S_MAX   UINT64_C(300)
#define REFRESH_RETRY_PAUSE DURATION_S(10)

/* Nothing useful came of an ALLOCATE: it is repeated after a pause that grows. */
static void retry_later(struct turn_client *c, struct instant now)
{
    uint32_t shift = c->retries < 5 ? c->retries : 5;
    uint64_t pause_s = RETRY_PAUSE_S << shift;
    pause_s = pause_s < RETRY_PAUSE_S_MAX ? pause_s : RETRY_PAUSE_S_MAX;
    c->retries++;
    c->retry_at = instant_add(now, DURATION_S(pause_s));
}

void turn_refusal_deleted(struct turn_client *c, struct instant now)
{
    if (c->closing) {
        c->closed = true;
    } else {
        c->retry_at = instant_add(now, DELETED_PAUSE);
    }
}

void turn_refusal_delete(struct turn_client *c, struct instant now)
{
    c->deleted = true;
    turn_request_start(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_DELETE, c->active, now);
}

void turn_refusal_other(struct turn_client *c, const struct turn_answer *a)
{
    struct turn_request request = *turn_answer_request(c, a);
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
static void refuse_credentials(struct turn_client *c, const struct turn_answer *a,
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
static void on_challenge(struct turn_client *c, const struct turn_answer *a)
{
    struct turn_request *request = turn_answer_request(c, a);
    const struct stun_msg *msg = &a->msg;
    bool usable = msg->nonce.len > 0 && msg->nonce.len <= TURN_TEXT_MAX &&
                  request->kind != TURN_REQUEST_BINDING;
    if (!usable || request->challenges >= CHALLENGES_MAX) {
        turn_refusal_other(c, a);
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
static void on_allocate_mismatch(struct turn_client *c, const struct turn_answer *a)
{
    turn_request_end(c, a->slot);
    c->mismatches++;
    uint32_t step = (c->mismatches - 1) % MISMATCHES_ROUND;
    if (c->mismatches > MISMATCHES_MAX) {
        c->mismatches = 0;
        retry_later(c, a->now);
    } else if (step == 0) {
        turn_refusal_delete(c, a->now);
    } else {
        uint64_t pause_ms = MISMATCH_PAUSE_MS << (step - 1);
        c->retry_at = instant_add(a->now, DURATION_MS(pause_ms));
    }
}

static void on_mismatch(struct turn_client *c, const struct turn_answer *a)
{
    struct turn_request request = *turn_answer_request(c, a);
    switch ((enum turn_request_kind)request.kind) {
    case TURN_REQUEST_BINDING:
        turn_refusal_other(c, a);
        break;
    case TURN_REQUEST_ALLOCATE:
        on_allocate_mismatch(c, a);
        break;
    case TURN_REQUEST_DELETE:
        turn_request_end(c, a->slot);
        turn_refusal_deleted(c, a->now);
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
static void on_family_refused(struct turn_client *c, const struct turn_answer *a)
{
    if (turn_answer_request(c, a)->kind != TURN_REQUEST_ALLOCATE ||
        c->families == TURN_FAMILIES_V6) {
        turn_refusal_other(c, a);
        return;
    }
    c->families++;
    turn_request_end(c, a->slot);
    turn_state_allocate(c, a->now);
}

/* 441: the relay knows our address under another user name. */
static void on_wrong_credentials(struct turn_client *c, const struct turn_answer *a)
{
    if (turn_answer_request(c, a)->kind != TURN_REQUEST_REFRESH) {
        turn_refusal_other(c, a);
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
static void on_not_understood(struct turn_client *c, const struct turn_answer *a)
{
    uint8_t kind = turn_answer_request(c, a)->kind;
    if (c->closing || (kind != TURN_REQUEST_ALLOCATE && kind != TURN_REQUEST_REFRESH)) {
        turn_refusal_other(c, a);
        return;
    }
    turn_state_fail(c, TURN_FAILURE_PROTOCOL, a->now);
}

void turn_refusal_handle(struct turn_client *c, const struct turn_answer *a)
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
        turn_refusal_other(c, a);
        break;
    }
}
