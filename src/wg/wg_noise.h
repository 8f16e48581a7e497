/* wg_noise: the cryptography of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as pure functions.
 *
 * Source: spec/wireguard.md section 2; the Noise specification, revision 34. The functions know
 * neither WireGuard's headers nor its MACs: prologue, payloads and ephemeral keys are parameters,
 * so that published vectors apply. Usable by either role. On failure the state is garbage: throw it
 * away. Costs: X25519 operations, 50 us each, are named per function.
 */
#ifndef WG_WG_NOISE_H
#define WG_WG_NOISE_H

#include "crypto/aead.h"
#include "crypto/x25519.h"

#define WG_NOISE_PROLOGUE    "WireGuard v1 zx2c4 Jason@zx2c4.com"
#define WG_NOISE_STATIC_SIZE (KEY_SIZE + AEAD_TAG_SIZE)

struct wg_noise_state {
    struct key32 chaining_key;
    struct key32 hash;
};

/* The two transport keys from our point of view. */
struct wg_noise_keys {
    struct key32 send;
    struct key32 receive;
};

/* Starts a handshake towards `responder`, both roles alike. */
void wg_noise_start(struct wg_noise_state *state, struct view prologue,
                    const struct x25519_public *responder);

/* What an initiator needs to write its first message. `ephemeral` must be fresh. */
struct wg_noise_initiator {
    const struct x25519_pair *own;
    const struct x25519_public *responder;
    const struct key32 *static_static; /* DH(own, responder) */
    const struct x25519_pair *ephemeral;
};

/* Writes encrypted_static and encrypted payload (payload.len + tag); the ephemeral public key is
 * the caller's to send. One X25519. False when `responder` is of low order. */
MUST_USE bool wg_noise_write_first(struct wg_noise_state *state,
                                   const struct wg_noise_initiator *initiator, struct view payload,
                                   uint8_t encrypted_static[WG_NOISE_STATIC_SIZE],
                                   uint8_t *encrypted_payload);
/* Responder: learns the initiator's static key. One X25519. False when it does not decrypt. */
MUST_USE bool wg_noise_read_static(struct wg_noise_state *state, const struct x25519_pair *own,
                                   const struct x25519_public *ephemeral,
                                   const uint8_t encrypted_static[WG_NOISE_STATIC_SIZE],
                                   struct x25519_public *initiator);
/* Responder: opens the payload of the first message, sealed.len - tag bytes to `payload`. No
 * X25519: `static_static` = DH(own, initiator) is kept per peer. False when it does not decrypt. */
MUST_USE bool wg_noise_read_payload(struct wg_noise_state *state, const struct key32 *static_static,
                                    struct view sealed, uint8_t *payload);

/* What a responder needs to write the second message. `ephemeral` must be fresh. */
struct wg_noise_responder {
    const struct x25519_public *initiator;
    const struct x25519_public *initiator_ephemeral;
    const struct x25519_pair *ephemeral;
    const struct wg_psk *psk;
};

/* Writes the encrypted payload (payload.len + tag). Two X25519. False when a key of the initiator
 * is of low order. */
MUST_USE bool wg_noise_write_second(struct wg_noise_state *state,
                                    const struct wg_noise_responder *responder, struct view payload,
                                    uint8_t *encrypted_payload);

/* What an initiator needs to read the second message. */
struct wg_noise_answer {
    const struct x25519_private *own;
    const struct x25519_private *ephemeral;
    const struct x25519_public *responder_ephemeral;
    const struct wg_psk *psk;
};

/* Opens the payload, sealed.len - tag bytes to `payload` (NULL when none). Two X25519. False when
 * it does not decrypt or the ephemeral key is of low order. */
MUST_USE bool wg_noise_read_second(struct wg_noise_state *state,
                                   const struct wg_noise_answer *answer, struct view sealed,
                                   uint8_t *payload);

/* Derives the transport keys of the initiator, or with `is_initiator` false of the responder. */
void wg_noise_split(const struct wg_noise_state *state, bool is_initiator,
                    struct wg_noise_keys *keys);

void wg_noise_state_wipe(struct wg_noise_state *state);
void wg_noise_keys_wipe(struct wg_noise_keys *keys);

#endif /* WG_WG_NOISE_H */
