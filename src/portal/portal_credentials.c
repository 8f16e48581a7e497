#include "portal/portal_credentials.h"

#include <sodium/crypto_auth_hmacsha256.h>
#include <sodium/utils.h>
#include <string.h>

#include "base/assert.h"
#include "crypto/sha256.h"

#define KEY_TEXT_SIZE    44U /* characters: base64 of 32 bytes with padding */
#define BASE32_TEXT_SIZE 52U /* characters: base32 of 32 bytes without padding */
#define PSK_SALT_SIZE    256U

static_assert(PORTAL_KEY_SIZE == SHA256_SIZE, "keys are digests");

static void put_key(struct writer *w, const uint8_t *key)
{
    text_put_base64(w, (struct view){key, PORTAL_KEY_SIZE}, true);
}

void portal_credentials_ice(const struct portal_pair *pair, struct portal_ice_pair *out)
{
    uint8_t text[2 * UUID_TEXT_SIZE + 2 * KEY_TEXT_SIZE + 3];
    uint8_t digest[SHA256_SIZE];
    uint8_t base32[BASE32_TEXT_SIZE];
    struct writer seed = writer_of((struct span){text, sizeof(text)});
    uuid_put(&seed, &pair->client);
    text_put_char(&seed, ':');
    put_key(&seed, pair->client_key);
    text_put_char(&seed, ':');
    uuid_put(&seed, &pair->gateway);
    text_put_char(&seed, ':');
    put_key(&seed, pair->gateway_key);
    ASSERT(writer_finish(&seed));
    sha256(writer_view(&seed), digest);
    struct writer slices = writer_of((struct span){base32, sizeof(base32)});
    text_put_base32(&slices, VIEW_OF(digest));
    ASSERT(writer_finish(&slices) && slices.used == BASE32_TEXT_SIZE);
    struct reader r = reader_of(VIEW_OF(base32));
    reader_copy(&r, (uint8_t *)out->client_ufrag, PORTAL_UFRAG_SIZE);
    reader_copy(&r, (uint8_t *)out->client_password, PORTAL_PASSWORD_SIZE);
    reader_copy(&r, (uint8_t *)out->gateway_ufrag, PORTAL_UFRAG_SIZE);
    reader_copy(&r, (uint8_t *)out->gateway_password, PORTAL_PASSWORD_SIZE);
    ASSERT(reader_finish(&r));
}

static void put_unpadded(const uint8_t digest[SHA256_SIZE], char out[PORTAL_TURN_PASSWORD_SIZE])
{
    struct writer w = writer_of((struct span){(uint8_t *)out, PORTAL_TURN_PASSWORD_SIZE});
    text_put_base64(&w, (struct view){digest, SHA256_SIZE}, false);
    ASSERT(writer_finish(&w) && w.used == PORTAL_TURN_PASSWORD_SIZE);
}

void portal_credentials_turn_password(uint64_t expires_at_s, struct view stamp_secret,
                                      struct view salt, char out[PORTAL_TURN_PASSWORD_SIZE])
{
    uint8_t digits[20];
    uint8_t digest[SHA256_SIZE];
    struct writer w = writer_of((struct span){digits, sizeof(digits)});
    struct sha256 sha;
    text_put_u64(&w, expires_at_s);
    sha256_start(&sha);
    sha256_update(&sha, writer_view(&w));
    sha256_update(&sha, view_text(":"));
    sha256_update(&sha, stamp_secret);
    sha256_update(&sha, view_text(":"));
    sha256_update(&sha, salt);
    sha256_finish(&sha, digest);
    put_unpadded(digest, out);
}

void portal_credentials_turn_salt(const uint8_t gateway_key[PORTAL_KEY_SIZE],
                                  char out[PORTAL_TURN_PASSWORD_SIZE])
{
    uint8_t text[KEY_TEXT_SIZE];
    uint8_t digest[SHA256_SIZE];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    put_key(&w, gateway_key);
    sha256(writer_view(&w), digest);
    put_unpadded(digest, out);
}

void portal_credentials_psk(const struct portal_pair *pair, const uint8_t *client_secret,
                            const uint8_t *gateway_secret, uint8_t out[PORTAL_KEY_SIZE])
{
    /* One iteration and one block of PBKDF2 (RFC 8018 section 5.2) is HMAC over salt || INT(1). */
    uint8_t salt_text[PSK_SALT_SIZE];
    uint8_t password[2 * PORTAL_KEY_SIZE];
    struct writer salt = writer_of((struct span){salt_text, sizeof(salt_text)});
    crypto_auth_hmacsha256_state mac;
    writer_text(&salt, "WG_PSK|C_ID:");
    uuid_put(&salt, &pair->client);
    writer_text(&salt, "|G_ID:");
    uuid_put(&salt, &pair->gateway);
    writer_text(&salt, "|C_PK:");
    put_key(&salt, pair->client_key);
    writer_text(&salt, "|G_PK:");
    put_key(&salt, pair->gateway_key);
    writer_be32(&salt, 1);
    ASSERT(writer_finish(&salt));
    memcpy(password, client_secret, PORTAL_KEY_SIZE);
    memcpy(password + PORTAL_KEY_SIZE, gateway_secret, PORTAL_KEY_SIZE);
    (void)crypto_auth_hmacsha256_init(&mac, password, sizeof(password));
    (void)crypto_auth_hmacsha256_update(&mac, salt_text, salt.used);
    (void)crypto_auth_hmacsha256_final(&mac, out);
    sodium_memzero(password, sizeof(password));
}
