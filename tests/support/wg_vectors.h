/* wg_vectors: reading tests/vectors/wireguard_handshake.json. */
#ifndef TESTS_WG_VECTORS_H
#define TESTS_WG_VECTORS_H

#include "tests/support/support.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"

static inline cJSON *vectors_load(void)
{
    size_t len = 0;
    char *text = support_read_file("tests/vectors/wireguard_handshake.json", &len);
    assert_non_null(text);
    cJSON *root = cJSON_Parse(text);
    free(text);
    assert_non_null(root);
    return root;
}

static inline const cJSON *vectors_member(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (item == NULL) {
        panic_at(__FILE__, __LINE__, name);
    }
    return item;
}

static inline const char *vectors_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(vectors_member(object, name));
    assert_non_null(text);
    return text;
}

static inline uint64_t vectors_number(const cJSON *object, const char *name)
{
    return (uint64_t)cJSON_GetNumberValue(vectors_member(object, name));
}

/* Decodes the hex value of `name`; returns its bytes. */
static inline size_t vectors_hex(const cJSON *object, const char *name, uint8_t *out, size_t size)
{
    return support_unhex(vectors_text(object, name), out, size);
}

/* Decodes a hex value of exactly `size` bytes. */
static inline void vectors_hex_exact(const cJSON *object, const char *name, uint8_t *out,
                                     size_t size)
{
    assert_int_equal(vectors_hex(object, name, out, size), size);
}

#endif /* TESTS_WG_VECTORS_H */
