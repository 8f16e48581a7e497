#include "crypto/blake2s.h"

#include <blake2.h>
#include <string.h>

#include "base/assert.h"

#define HMAC_BLOCK_SIZE 64U

static_assert(BLAKE2S_OUTBYTES == BLAKE2S_SIZE, "the library's longest digest is 32 bytes");

static void absorb(blake2s_state *state, struct view bytes)
{
    if (bytes.len > 0) {
        int failed = blake2s_update(state, bytes.at, bytes.len);
        ASSERT(failed == 0);
    }
}

void blake2s_hash(struct view a, struct view b, uint8_t out[BLAKE2S_SIZE])
{
    blake2s_state state;
    int failed = blake2s_init(&state, BLAKE2S_SIZE);
    ASSERT(failed == 0);
    absorb(&state, a);
    absorb(&state, b);
    failed = blake2s_final(&state, out, BLAKE2S_SIZE);
    ASSERT(failed == 0);
    secret_wipe(&state, sizeof(state));
}

void blake2s_digest(struct view key, struct view message, struct span out)
{
    ASSERT(key.len <= BLAKE2S_KEYBYTES);
    ASSERT(out.len >= 1);
    ASSERT(out.len <= BLAKE2S_SIZE);
    blake2s_state state;
    /* The library refuses a key of no length in blake2s_init_key(). */
    int failed = key.len == 0 ? blake2s_init(&state, out.len)
                              : blake2s_init_key(&state, out.len, key.at, key.len);
    ASSERT(failed == 0);
    absorb(&state, message);
    failed = blake2s_final(&state, out.at, out.len);
    ASSERT(failed == 0);
    secret_wipe(&state, sizeof(state));
}

static void hmac_pad(struct view key, uint8_t fill, uint8_t block[HMAC_BLOCK_SIZE])
{
    memset(block, 0, HMAC_BLOCK_SIZE);
    if (key.len > HMAC_BLOCK_SIZE) { /* RFC 2104 section 2: longer keys are hashed */
        blake2s_hash(key, VIEW_EMPTY, block);
    } else if (key.len > 0) {
        memcpy(block, key.at, key.len);
    }
    for (size_t i = 0; i < HMAC_BLOCK_SIZE; i++) {
        block[i] ^= fill;
    }
}

/* RFC 2104: H(K ^ opad || H(K ^ ipad || text)). */
void blake2s_hmac(struct view key, struct view a, struct view b, uint8_t out[BLAKE2S_SIZE])
{
    uint8_t outer[HMAC_BLOCK_SIZE];
    uint8_t inner[HMAC_BLOCK_SIZE];
    hmac_pad(key, 0x5c, outer);
    hmac_pad(key, 0x36, inner);

    blake2s_state state;
    uint8_t digest[BLAKE2S_SIZE];
    int failed = blake2s_init(&state, BLAKE2S_SIZE);
    ASSERT(failed == 0);
    absorb(&state, VIEW_OF(inner));
    absorb(&state, a);
    absorb(&state, b);
    failed = blake2s_final(&state, digest, BLAKE2S_SIZE);
    ASSERT(failed == 0);
    blake2s_hash(VIEW_OF(outer), VIEW_OF(digest), out);

    secret_wipe(&state, sizeof(state));
    secret_wipe(digest, sizeof(digest));
    secret_wipe(inner, sizeof(inner));
    secret_wipe(outer, sizeof(outer));
}

/* t0 = HMAC(key, input); t(n) = HMAC(t0, t(n-1) || n). */
void blake2s_kdf(struct view key, struct view input, struct key32 *const out[], size_t count)
{
    ASSERT(count >= 1);
    ASSERT(count <= 3);
    uint8_t root[BLAKE2S_SIZE];
    blake2s_hmac(key, input, VIEW_EMPTY, root);
    struct view last = VIEW_EMPTY;
    for (size_t i = 0; i < count; i++) {
        uint8_t number = (uint8_t)(i + 1);
        blake2s_hmac(VIEW_OF(root), last, (struct view){&number, 1}, out[i]->bytes);
        last = VIEW_OF(out[i]->bytes);
    }
    secret_wipe(root, sizeof(root));
}
