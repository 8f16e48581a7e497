/* The choice of the AEAD and checksum implementations. Runs at start, not on the data path. */
#include <string.h>

#include "crypto/aead_ipsec.h"
#include "gateway/gateway_internal.h"

#define TRIAL_BATCH  64U
#define TRIAL_STRIDE (GATEWAY_DATAGRAM_MAX + AEAD_TAG_SIZE)

static_assert(TRIAL_BATCH <= GATEWAY_AEAD_BATCH, "the trial uses the items of the data path");
static_assert(TRIAL_BATCH * TRIAL_STRIDE <= GATEWAY_TX_SIZE, "and its transmit memory");

static_assert((unsigned)GATEWAY_CHECKSUM_AVX2 == (unsigned)CHECKSUM_AVX2, "one order");
static_assert((unsigned)GATEWAY_CHECKSUM_COUNT == (unsigned)CHECKSUM_KIND_COUNT, "of both");

static enum err use_ipsec(struct gateway *gw, enum aead_ipsec_arch arch)
{
    struct aead_backend backend;
    enum err err = aead_ipsec_init(gw->aead_memory, arch, &backend);
    if (err == ERR_NONE && !aead_selftest(&backend)) {
        err = ERR_CRYPTO;
    }
    if (err == ERR_NONE) {
        gw->aead = backend;
    }
    return err;
}

enum err gateway_use_aead(struct gateway *gw, enum gateway_aead aead)
{
    ASSERT(aead < GATEWAY_AEAD_COUNT);
    ASSERT(gw->seal_count == 0 && gw->open_count == 0);
    gw->aead = aead_backend_libsodium();
    switch (aead) {
    case GATEWAY_AEAD_IPSEC_SSE:
        return use_ipsec(gw, AEAD_IPSEC_SSE);
    case GATEWAY_AEAD_IPSEC_AVX2:
        return use_ipsec(gw, AEAD_IPSEC_AVX2);
    case GATEWAY_AEAD_IPSEC_AVX512:
        return use_ipsec(gw, AEAD_IPSEC_AVX512);
    case GATEWAY_AEAD_LIBSODIUM:
    case GATEWAY_AEAD_COUNT:
        break;
    }
    return ERR_NONE;
}

const char *gateway_aead_name(const struct gateway *gw)
{
    return gw->aead.name;
}

enum err gateway_use_checksum(struct gateway *gw, enum gateway_checksum checksum)
{
    ASSERT(checksum < GATEWAY_CHECKSUM_COUNT);
    const struct checksum_backend *backend = checksum_backend_of((enum checksum_kind)checksum);
    gw->sums = &checksum_portable;
    if (backend == NULL || !checksum_selftest(backend)) {
        return ERR_UNSUPPORTED;
    }
    gw->sums = backend;
    return ERR_NONE;
}

const char *gateway_checksum_name(const struct gateway *gw)
{
    return gw->sums->name;
}

bool gateway_aead_trial(struct gateway *gw, uint32_t batches, size_t bytes)
{
    static const uint8_t key[KEY_SIZE] = {1};
    bool ok = true;
    ASSERT(bytes <= GATEWAY_DATAGRAM_MAX);
    ASSERT(gw->trains_next == gw->trains_count && gw->tun_next == gw->tun_count);
    ASSERT(gw->seal_count == 0);
    for (uint32_t b = 0; b < batches; b++) {
        for (uint32_t i = 0; i < TRIAL_BATCH; i++) {
            gw->seal_items[i] = (struct aead_item){
                .key = key, .counter = i, .data = gw->tx + i * TRIAL_STRIDE, .len = bytes};
        }
        aead_seal_batch(&gw->aead, gw->seal_items, TRIAL_BATCH);
        aead_open_batch(&gw->aead, gw->seal_items, TRIAL_BATCH);
        for (uint32_t i = 0; i < TRIAL_BATCH; i++) {
            ok = ok && gw->seal_items[i].ok;
        }
    }
    return ok;
}
