#include "platform/driver_seal.h"

#include <sodium.h>

#include "base/assert.h"
#include "base/text.h"

#define STREAM_KEY  crypto_secretstream_xchacha20poly1305_KEYBYTES
#define STREAM_HEAD crypto_secretstream_xchacha20poly1305_HEADERBYTES
#define STREAM_MORE crypto_secretstream_xchacha20poly1305_ABYTES
#define SEALED_KEY  (STREAM_KEY + crypto_box_SEALBYTES)

bool driver_seal_parse_key(const char *text, uint8_t key[32])
{
    struct view view = view_text(text);
    return text_parse_hex(view, key, 32) || text_parse_base64(view, key, 32);
}

/* Opens one chunk behind what is in `out`; false when it does not open. */
static bool open_chunk(crypto_secretstream_xchacha20poly1305_state *stream, struct view cipher,
                       struct span out, size_t *len, uint8_t *tag)
{
    unsigned long long got = 0;
    if (cipher.len < STREAM_MORE || cipher.len > DRIVER_SEAL_CHUNK + STREAM_MORE) {
        return false;
    }
    ASSERT(out.len - *len >= cipher.len - STREAM_MORE);
    if (crypto_secretstream_xchacha20poly1305_pull(stream, out.at + *len, &got, tag, cipher.at,
                                                   cipher.len, NULL, 0) != 0) {
        return false;
    }
    *len += (size_t)got;
    return true;
}

enum err driver_seal_open(struct view file, const uint8_t public_key[32],
                          const uint8_t secret_key[32], struct span out, size_t *len)
{
    crypto_secretstream_xchacha20poly1305_state stream;
    uint8_t key[STREAM_KEY];
    uint8_t tag = 0;
    struct reader r = reader_of(file);
    ASSERT(out.len >= file.len);
    *len = 0;
    struct view start = reader_take(&r, sizeof(DRIVER_SEAL_HEADER) - 1);
    struct view sealed_key = reader_take(&r, SEALED_KEY);
    struct view head = reader_take(&r, STREAM_HEAD);
    if (!reader_ok(&r) || !view_equal_text(start, DRIVER_SEAL_HEADER)) {
        return ERR_SYNTAX;
    }
    if (crypto_box_seal_open(key, sealed_key.at, sealed_key.len, public_key, secret_key) != 0 ||
        crypto_secretstream_xchacha20poly1305_init_pull(&stream, head.at, key) != 0) {
        return ERR_CRYPTO;
    }
    sodium_memzero(key, sizeof(key));
    while (r.rest.len > 0 && tag != crypto_secretstream_xchacha20poly1305_TAG_FINAL) {
        struct view cipher = reader_take(&r, reader_le32(&r));
        if (!reader_ok(&r)) {
            return ERR_CLOSED;
        }
        if (!open_chunk(&stream, cipher, out, len, &tag)) {
            return ERR_CRYPTO;
        }
    }
    if (tag != crypto_secretstream_xchacha20poly1305_TAG_FINAL) {
        return ERR_CLOSED;
    }
    return r.rest.len == 0 ? ERR_NONE : ERR_SYNTAX;
}
