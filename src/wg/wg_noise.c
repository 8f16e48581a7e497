#include "wg/wg_noise.h"

#include <string.h>

#include "base/assert.h"
#include "crypto/blake2s.h"

#define CONSTRUCTION "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"

static_assert(sizeof(CONSTRUCTION) - 1 > BLAKE2S_SIZE, "a longer name is hashed, not padded");

static void mix_hash(struct wg_noise_state *state, struct view bytes)
{
    blake2s_hash(VIEW_OF(state->hash.bytes), bytes, state->hash.bytes);
}

/* ck = KDF1(ck, input) */
static void mix_key(struct wg_noise_state *state, struct view input)
{
    struct key32 *const outputs[] = {&state->chaining_key};
    blake2s_kdf(VIEW_OF(state->chaining_key.bytes), input, outputs, 1);
}

/* (ck, k) = KDF2(ck, input) */
static void mix_key_and_take(struct wg_noise_state *state, struct view input, struct key32 *key)
{
    struct key32 *const outputs[] = {&state->chaining_key, key};
    blake2s_kdf(VIEW_OF(state->chaining_key.bytes), input, outputs, 2);
}

/* (ck, tau, k) = KDF3(ck, psk); h = HASH(h || tau) */
static void mix_psk(struct wg_noise_state *state, const struct wg_psk *psk, struct key32 *key)
{
    struct key32 tau;
    struct key32 *const outputs[] = {&state->chaining_key, &tau, key};
    blake2s_kdf(VIEW_OF(state->chaining_key.bytes), VIEW_OF(psk->bytes), outputs, 3);
    mix_hash(state, VIEW_OF(tau.bytes));
    key32_wipe(&tau);
}

/* A token e, in either direction: h = HASH(h || e); ck = KDF1(ck, e), as psk patterns demand. */
static void mix_ephemeral(struct wg_noise_state *state, const struct x25519_public *ephemeral)
{
    mix_hash(state, VIEW_OF(ephemeral->bytes));
    mix_key(state, VIEW_OF(ephemeral->bytes));
}

static void seal_and_hash(struct wg_noise_state *state, const struct key32 *key, struct view plain,
                          uint8_t *out)
{
    aead_seal(key, 0, VIEW_OF(state->hash.bytes), plain, out);
    mix_hash(state, (struct view){out, plain.len + AEAD_TAG_SIZE});
}

static bool open_and_hash(struct wg_noise_state *state, const struct key32 *key, struct view sealed,
                          uint8_t *out)
{
    bool ok = aead_open(key, 0, VIEW_OF(state->hash.bytes), sealed, out);
    mix_hash(state, sealed);
    return ok;
}

void wg_noise_start(struct wg_noise_state *state, struct view prologue,
                    const struct x25519_public *responder)
{
    blake2s_hash(view_text(CONSTRUCTION), VIEW_EMPTY, state->chaining_key.bytes);
    state->hash = state->chaining_key;
    mix_hash(state, prologue);
    mix_hash(state, VIEW_OF(responder->bytes));
}

bool wg_noise_write_first(struct wg_noise_state *state, const struct wg_noise_initiator *initiator,
                          struct view payload, uint8_t encrypted_static[WG_NOISE_STATIC_SIZE],
                          uint8_t *encrypted_payload)
{
    struct key32 shared;
    if (!x25519_shared(&initiator->ephemeral->private_key, initiator->responder, &shared)) {
        return false;
    }
    struct key32 key;
    mix_ephemeral(state, &initiator->ephemeral->public_key);
    mix_key_and_take(state, VIEW_OF(shared.bytes), &key); /* es */
    seal_and_hash(state, &key, VIEW_OF(initiator->own->public_key.bytes), encrypted_static);
    mix_key_and_take(state, VIEW_OF(initiator->static_static->bytes), &key); /* ss */
    seal_and_hash(state, &key, payload, encrypted_payload);
    key32_wipe(&key);
    key32_wipe(&shared);
    return true;
}

bool wg_noise_read_static(struct wg_noise_state *state, const struct x25519_pair *own,
                          const struct x25519_public *ephemeral,
                          const uint8_t encrypted_static[WG_NOISE_STATIC_SIZE],
                          struct x25519_public *initiator)
{
    struct key32 shared;
    if (!x25519_shared(&own->private_key, ephemeral, &shared)) {
        return false;
    }
    struct key32 key;
    mix_ephemeral(state, ephemeral);
    mix_key_and_take(state, VIEW_OF(shared.bytes), &key); /* es */
    bool ok = open_and_hash(state, &key, (struct view){encrypted_static, WG_NOISE_STATIC_SIZE},
                            initiator->bytes);
    key32_wipe(&key);
    key32_wipe(&shared);
    return ok;
}

bool wg_noise_read_payload(struct wg_noise_state *state, const struct key32 *static_static,
                           struct view sealed, uint8_t *payload)
{
    struct key32 key;
    mix_key_and_take(state, VIEW_OF(static_static->bytes), &key); /* ss */
    bool ok = open_and_hash(state, &key, sealed, payload);
    key32_wipe(&key);
    return ok;
}

/* Tokens e, ee, se and psk of the second message, both roles alike once the two secrets are known.
 */
static void mix_second(struct wg_noise_state *state, const struct x25519_public *ephemeral,
                       const struct key32 shared[2], const struct wg_psk *psk, struct key32 *key)
{
    mix_ephemeral(state, ephemeral);
    mix_key(state, VIEW_OF(shared[0].bytes));
    mix_key(state, VIEW_OF(shared[1].bytes));
    mix_psk(state, psk, key);
}

bool wg_noise_write_second(struct wg_noise_state *state, const struct wg_noise_responder *responder,
                           struct view payload, uint8_t *encrypted_payload)
{
    const struct x25519_private *ephemeral = &responder->ephemeral->private_key;
    struct key32 shared[2];
    struct key32 key;
    bool ok = x25519_shared(ephemeral, responder->initiator_ephemeral, &shared[0]) &&
              x25519_shared(ephemeral, responder->initiator, &shared[1]);
    if (ok) {
        mix_second(state, &responder->ephemeral->public_key, shared, responder->psk, &key);
        seal_and_hash(state, &key, payload, encrypted_payload);
        key32_wipe(&key);
    }
    secret_wipe(shared, sizeof(shared));
    return ok;
}

bool wg_noise_read_second(struct wg_noise_state *state, const struct wg_noise_answer *answer,
                          struct view sealed, uint8_t *payload)
{
    struct key32 shared[2];
    struct key32 key;
    bool ok = x25519_shared(answer->ephemeral, answer->responder_ephemeral, &shared[0]) &&
              x25519_shared(answer->own, answer->responder_ephemeral, &shared[1]);
    if (ok) {
        mix_second(state, answer->responder_ephemeral, shared, answer->psk, &key);
        ok = open_and_hash(state, &key, sealed, payload);
        key32_wipe(&key);
    }
    secret_wipe(shared, sizeof(shared));
    return ok;
}

void wg_noise_split(const struct wg_noise_state *state, bool is_initiator,
                    struct wg_noise_keys *keys)
{
    struct key32 *const outputs[] = {
        is_initiator ? &keys->send : &keys->receive,
        is_initiator ? &keys->receive : &keys->send,
    };
    blake2s_kdf(VIEW_OF(state->chaining_key.bytes), VIEW_EMPTY, outputs, 2);
}

void wg_noise_state_wipe(struct wg_noise_state *state)
{
    secret_wipe(state, sizeof(*state));
}

void wg_noise_keys_wipe(struct wg_noise_keys *keys)
{
    secret_wipe(keys, sizeof(*keys));
}
