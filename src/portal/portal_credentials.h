/* portal_credentials: the secrets that a portal derives for its peers.
 *
 * The gateway only receives them; the simulated portal and the tests derive them.
 * Source: spec/portal.md sections 7.3, 7.4, 10.3 and 11.3; RFC 4648, RFC 8018.
 */
#ifndef PORTAL_PORTAL_CREDENTIALS_H
#define PORTAL_PORTAL_CREDENTIALS_H

#include "base/bytes.h"
#include "base/text.h"

#define PORTAL_UFRAG_SIZE         4U  /* characters */
#define PORTAL_PASSWORD_SIZE      22U /* characters */
#define PORTAL_TURN_PASSWORD_SIZE 43U /* characters: base64 of SHA-256 without padding */
#define PORTAL_KEY_SIZE           32U /* bytes */

/* The two ends of a connection as the portal knows them. Keys are PORTAL_KEY_SIZE bytes. */
struct portal_pair {
    struct uuid client;
    struct uuid gateway;
    const uint8_t *client_key;  /* X25519 public */
    const uint8_t *gateway_key; /* X25519 public */
};

/* Texts without terminator. */
struct portal_ice_pair {
    char client_ufrag[PORTAL_UFRAG_SIZE];
    char client_password[PORTAL_PASSWORD_SIZE];
    char gateway_ufrag[PORTAL_UFRAG_SIZE];
    char gateway_password[PORTAL_PASSWORD_SIZE];
};

/* Slices of base32(SHA-256("client:client_key:gateway:gateway_key")). */
void portal_credentials_ice(const struct portal_pair *pair, struct portal_ice_pair *out);

/* base64 without padding of SHA-256("<expiry>:<stamp secret>:<salt>"). */
void portal_credentials_turn_password(uint64_t expires_at_s, struct view stamp_secret,
                                      struct view salt, char out[PORTAL_TURN_PASSWORD_SIZE]);

/* Head's stable salt: base64 without padding of SHA-256(base64 of the gateway's public key). */
void portal_credentials_turn_salt(const uint8_t gateway_key[PORTAL_KEY_SIZE],
                                  char out[PORTAL_TURN_PASSWORD_SIZE]);

/* Head's deterministic preshared key; both secrets are PORTAL_KEY_SIZE bytes. */
void portal_credentials_psk(const struct portal_pair *pair, const uint8_t *client_secret,
                            const uint8_t *gateway_secret, uint8_t out[PORTAL_KEY_SIZE]);

#endif /* PORTAL_PORTAL_CREDENTIALS_H */
