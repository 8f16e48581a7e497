/* A cipher that does nothing, linked into build/bench-null in place of the batch functions of
 * crypto/aead.h. Only for measuring what everything else costs; no other program can be given it.
 */
#include <string.h>

#include "crypto/aead.h"

/* The names that the linker's --wrap wants. NOLINTBEGIN(bugprone-reserved-identifier) */
void __wrap_aead_seal_batch(const struct aead_backend *backend, struct aead_item *items,
                            size_t count);
void __wrap_aead_open_batch(const struct aead_backend *backend, struct aead_item *items,
                            size_t count);

void __wrap_aead_seal_batch(const struct aead_backend *backend, struct aead_item *items,
                            size_t count)
{
    static const uint8_t tag[AEAD_TAG_SIZE];
    (void)backend;
    for (size_t i = 0; i < count; i++) {
        memcpy(items[i].data + items[i].len, tag, sizeof(tag));
    }
}

void __wrap_aead_open_batch(const struct aead_backend *backend, struct aead_item *items,
                            size_t count)
{
    (void)backend;
    for (size_t i = 0; i < count; i++) {
        items[i].ok = true;
    }
}
/* NOLINTEND(bugprone-reserved-identifier) */
