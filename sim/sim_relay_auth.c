#include <string.h>

#include "crypto/keys.h"
#include "crypto/sha256.h"
#include "sim/sim_relay_internal.h"

#define NONCE_USES_V142  100U            /* spec/relay.md section 3.2 */
#define NONCE_USES_HEAD  10000U          /* same place */
#define NONCE_LIFE       DURATION_S(600) /* coturn's default, spec/relay.md section 10.4 */
#define NONCE_COTURN_LEN 16U             /* characters */

void relay_auth_renew_secret(struct sim_relay *relay)
{
    uint8_t bytes[32];
    rng_bytes(&relay->rng, bytes, sizeof bytes);
    struct writer w =
        writer_of((struct span){(uint8_t *)relay->secret, SIM_RELAY_SECRET_SIZE - 1U});
    text_put_hex(&w, VIEW_OF(bytes));
    ASSERT(writer_finish(&w));
    relay->secret[SIM_RELAY_SECRET_SIZE - 1U] = '\0';
}

/* spec/relay.md section 3.1: exactly one colon, decimal seconds in front of it. */
static bool split_username(struct view username, uint64_t *expiry_s, struct view *salt)
{
    const uint8_t *colon = username.len == 0 ? NULL : memchr(username.at, ':', username.len);
    if (colon == NULL) {
        return false;
    }
    size_t digits = (size_t)(colon - username.at);
    *salt = view_sub(username, digits + 1, username.len - digits - 1);
    if (salt->len > 0 && memchr(salt->at, ':', salt->len) != NULL) {
        return false;
    }
    return text_parse_u64(view_sub(username, 0, digits), expiry_s);
}

bool relay_auth_key(const struct sim_relay *relay, struct view username,
                    uint8_t key[STUN_LONG_TERM_KEY_SIZE], uint64_t *expiry_s)
{
    struct view salt;
    if (!split_username(username, expiry_s, &salt)) {
        return false;
    }
    uint8_t text[32 + SIM_RELAY_SECRET_SIZE + RELAY_SALT_MAX];
    struct writer w = writer_of((struct span){text, sizeof text});
    text_put_u64(&w, *expiry_s);
    text_put_char(&w, ':');
    writer_text(&w, relay->secret);
    text_put_char(&w, ':');
    writer_bytes(&w, salt);
    ASSERT(writer_finish(&w));
    uint8_t digest[SHA256_SIZE];
    sha256(writer_view(&w), digest);
    uint8_t password[RELAY_PASSWORD_SIZE];
    struct writer p = writer_of((struct span){password, sizeof password});
    text_put_base64(&p, VIEW_OF(digest), false);
    ASSERT(writer_finish(&p));
    stun_long_term_key(username, view_text(RELAY_REALM), VIEW_OF(password), key);
    return true;
}

/* ---- nonces ---- */

static bool nonce_is_bound(const struct sim_relay *relay)
{
    return relay_is_head(relay) || relay_is_coturn(relay);
}

static uint32_t nonce_uses(const struct sim_relay *relay)
{
    if (relay->faults.nonce_uses > 0) {
        return relay->faults.nonce_uses;
    }
    if (relay_is_coturn(relay)) {
        return UINT32_MAX;
    }
    return relay_is_head(relay) ? NONCE_USES_HEAD : NONCE_USES_V142;
}

static struct relay_nonce *nonce_mint(struct sim_relay *relay, struct instant now,
                                      const struct sock_addr *client)
{
    struct relay_nonce *nonce = &relay->nonces[relay->nonces_next];
    relay->nonces_next = (relay->nonces_next + 1) % SIM_RELAY_NONCES_MAX;
    memset(nonce, 0, sizeof *nonce);
    nonce->used = true;
    nonce->client = *client;
    nonce->uses_left = nonce_uses(relay);
    nonce->expires_at = relay_is_coturn(relay) ? instant_add(now, NONCE_LIFE) : TIME_NEVER;
    rng_bytes(&relay->rng, nonce->id, sizeof nonce->id);
    if (relay_is_coturn(relay)) {
        memset(nonce->id + 8, 0, 8); /* its nonces have 16 digits */
    }
    return nonce;
}

static struct relay_nonce *nonce_of_client(struct sim_relay *relay, struct instant now,
                                           const struct sock_addr *client)
{
    for (uint32_t i = 0; i < SIM_RELAY_NONCES_MAX; i++) {
        struct relay_nonce *nonce = &relay->nonces[i];
        if (nonce->used && nonce->uses_left > 0 && sock_addr_equal(&nonce->client, client) &&
            !instant_reached(now, nonce->expires_at)) {
            return nonce;
        }
    }
    return NULL;
}

void relay_auth_put_nonce(struct sim_relay *relay, struct instant now,
                          const struct sock_addr *client, struct writer *w)
{
    struct relay_nonce *nonce = NULL;
    if (nonce_is_bound(relay)) {
        nonce = nonce_of_client(relay, now, client);
    }
    if (nonce == NULL) {
        nonce = nonce_mint(relay, now, client);
    }
    if (relay_is_coturn(relay)) {
        text_put_hex(w, (struct view){nonce->id, NONCE_COTURN_LEN / 2});
        return;
    }
    struct uuid uuid;
    memcpy(uuid.bytes, nonce->id, sizeof uuid.bytes);
    uuid_put(w, &uuid);
}

void relay_auth_forget_client(struct sim_relay *relay, const struct sock_addr *client)
{
    for (uint32_t i = 0; i < SIM_RELAY_NONCES_MAX; i++) {
        if (relay->nonces[i].used && sock_addr_equal(&relay->nonces[i].client, client)) {
            relay->nonces[i].used = false;
        }
    }
}

static bool nonce_parse(const struct sim_relay *relay, struct view text, uint8_t id[16])
{
    memset(id, 0, 16);
    if (relay_is_coturn(relay)) {
        return text.len == NONCE_COTURN_LEN && text_parse_hex(text, id, NONCE_COTURN_LEN / 2);
    }
    struct uuid uuid;
    if (!uuid_parse(text, &uuid)) {
        return false;
    }
    memcpy(id, uuid.bytes, sizeof uuid.bytes);
    return true;
}

/* Counts one use; false when the nonce is unknown, somebody else's, or used up (then it is gone).
 */
static bool nonce_use(struct sim_relay *relay, struct instant now, const uint8_t id[16],
                      const struct sock_addr *client)
{
    for (uint32_t i = 0; i < SIM_RELAY_NONCES_MAX; i++) {
        struct relay_nonce *nonce = &relay->nonces[i];
        if (!nonce->used || memcmp(nonce->id, id, 16) != 0) {
            continue;
        }
        if (nonce_is_bound(relay) && !sock_addr_equal(&nonce->client, client)) {
            return false;
        }
        if (nonce->uses_left == 0 || instant_reached(now, nonce->expires_at)) {
            nonce->used = false;
            return false;
        }
        nonce->uses_left--;
        return true;
    }
    return false;
}

/* ---- the order of checks, spec/relay.md section 3.3 ---- */

static bool credential_is_right(const struct relay_call *call)
{
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    uint64_t expiry_s;
    if (call->relay->faults.reject_credentials ||
        !relay_auth_key(call->relay, call->request.username, key, &expiry_s)) {
        return false;
    }
    if (expiry_s < call->now.unix_ns / NS_PER_S) {
        return false;
    }
    return stun_msg_check_integrity(call->datagram->bytes, &call->request.header, VIEW_OF(key));
}

static uint16_t check_firezone(struct relay_call *call)
{
    const struct sim_relay_request *request = &call->request;
    uint8_t id[16];
    if (request->header.integrity_at == 0 || request->username.at == NULL ||
        request->nonce.at == NULL || !nonce_parse(call->relay, request->nonce, id)) {
        return 401;
    }
    if (!nonce_use(call->relay, call->now.boot, id, &call->datagram->remote)) {
        return 438;
    }
    return credential_is_right(call) ? 0 : 401;
}

/* coturn: no integrity is a first attempt, integrity without the rest is a mistake. A session
 * belongs to one user name. */
static uint16_t check_coturn(struct relay_call *call, bool *is_signed)
{
    const struct sim_relay_request *request = &call->request;
    *is_signed = false;
    if (request->header.integrity_at == 0) {
        return 401;
    }
    if (request->username.at == NULL || request->nonce.at == NULL || request->realm.at == NULL) {
        return 400;
    }
    uint8_t id[16];
    if (!nonce_parse(call->relay, request->nonce, id) ||
        !nonce_use(call->relay, call->now.boot, id, &call->datagram->remote)) {
        return 438;
    }
    if (!credential_is_right(call)) {
        return 401;
    }
    *is_signed = true;
    const struct relay_allocation *allocation =
        relay_allocation_of(call->relay, &call->datagram->remote);
    if (allocation != NULL && !view_equal_text(request->username, allocation->username)) {
        return 441;
    }
    return request->unknown_count > 0 ? 420 : 0;
}

uint16_t relay_auth_check(struct relay_call *call, bool *is_signed)
{
    *is_signed = true;
    return relay_is_coturn(call->relay) ? check_coturn(call, is_signed) : check_firezone(call);
}
