#include "crypto/aead_ipsec.h"

#include "base/assert.h"

#if defined(__x86_64__)

#include <intel-ipsec-mb.h>
#include <sodium.h>
#include <string.h>

#define BURST_MAX  64U /* the library takes 128; 64 keep the scratch below on the stack */
#define NONCE_SIZE 12U

/* What the jobs of one burst point to. */
struct scratch {
    uint8_t nonces[BURST_MAX][NONCE_SIZE];
    uint8_t tags[BURST_MAX][AEAD_TAG_SIZE];
    IMB_JOB *jobs[BURST_MAX];
};

enum direction { SEAL, OPEN };

/* Jobs come back from the manager with the fields of their last use: all are written. */
static void fill_job(IMB_JOB *job, const struct aead_item *item, enum direction direction)
{
    job->cipher_direction = direction == SEAL ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->chain_order = direction == SEAL ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->enc_keys = item->key;
    job->dec_keys = item->key;
    job->key_len_in_bytes = KEY_SIZE;
    job->src = item->data;
    job->dst = item->data;
    job->cipher_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = item->len;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = item->len;
    job->iv_len_in_bytes = NONCE_SIZE;
    job->auth_tag_output_len_in_bytes = AEAD_TAG_SIZE;
    job->u.CHACHA20_POLY1305.aad = NULL;
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
    job->u.CHACHA20_POLY1305.ctx = NULL;
    job->sgl_state = IMB_SGL_INIT;
    job->user_data = NULL;
    job->user_data2 = NULL;
}

static void run_burst(IMB_MGR *manager, struct scratch *scratch, struct aead_item *items,
                      uint32_t count, enum direction direction)
{
    uint32_t got = IMB_GET_NEXT_BURST(manager, count, scratch->jobs);
    ASSERT(got == count);
    for (uint32_t i = 0; i < count; i++) {
        struct aead_item *item = &items[i];
        memset(scratch->nonces[i], 0, 4);
        store_le64(scratch->nonces[i] + 4, item->counter);
        fill_job(scratch->jobs[i], item, direction);
        scratch->jobs[i]->iv = scratch->nonces[i];
        /* Opening writes the computed tag here; it must not overwrite the received one. */
        scratch->jobs[i]->auth_tag_output =
            direction == SEAL ? item->data + item->len : scratch->tags[i];
    }
    uint32_t done = IMB_SUBMIT_BURST(manager, count, scratch->jobs);
    ASSERT(done == count); /* this AEAD completes inside submit, in order */
}

static void ipsec_seal(void *ctx, struct aead_item *items, size_t count)
{
    struct scratch scratch;
    for (size_t at = 0; at < count; at += BURST_MAX) {
        size_t left = count - at;
        run_burst(ctx, &scratch, items + at, (uint32_t)(left < BURST_MAX ? left : BURST_MAX), SEAL);
    }
}

static void ipsec_open(void *ctx, struct aead_item *items, size_t count)
{
    struct scratch scratch;
    for (size_t at = 0; at < count; at += BURST_MAX) {
        size_t burst = count - at < BURST_MAX ? count - at : BURST_MAX;
        run_burst(ctx, &scratch, items + at, (uint32_t)burst, OPEN);
        for (size_t i = 0; i < burst; i++) {
            struct aead_item *item = &items[at + i];
            item->ok = crypto_verify_16(scratch.tags[i], item->data + item->len) == 0;
            if (!item->ok) {
                sodium_memzero(item->data, item->len);
            }
        }
    }
    sodium_memzero(scratch.tags, sizeof(scratch.tags));
}

size_t aead_ipsec_size(void)
{
    size_t size = imb_get_mb_mgr_size();
    return (size + AEAD_IPSEC_ALIGN - 1) / AEAD_IPSEC_ALIGN * AEAD_IPSEC_ALIGN;
}

static bool has_flags(uint64_t have, uint64_t want)
{
    return (have & want) == want;
}

enum err aead_ipsec_init(struct span memory, enum aead_ipsec_arch arch, struct aead_backend *out)
{
    static const struct {
        const char *name;
        uint64_t flags;
        void (*init)(IMB_MGR *manager);
    } archs[AEAD_IPSEC_ARCH_COUNT] = {
        [AEAD_IPSEC_SSE] = {"ipsec-mb SSE", IMB_CPUFLAGS_SSE, init_mb_mgr_sse},
        [AEAD_IPSEC_AVX2] = {"ipsec-mb AVX2", IMB_CPUFLAGS_AVX2, init_mb_mgr_avx2},
        [AEAD_IPSEC_AVX512] = {"ipsec-mb AVX512", IMB_CPUFLAGS_AVX512, init_mb_mgr_avx512},
    };
    ASSERT(arch < AEAD_IPSEC_ARCH_COUNT);
    ASSERT((uintptr_t)memory.at % AEAD_IPSEC_ALIGN == 0);
    if (memory.len < aead_ipsec_size()) {
        return ERR_SPACE;
    }
    /* A forced init on a processor without the instructions ends in an illegal instruction. */
    if (!has_flags(imb_get_feature_flags(), archs[arch].flags)) {
        return ERR_UNSUPPORTED;
    }
    IMB_MGR *manager = imb_set_pointers_mb_mgr(memory.at, 0, 1);
    if (manager == NULL) {
        return ERR_UNSUPPORTED;
    }
    archs[arch].init(manager);
    if (imb_get_errno(manager) != 0 || !has_flags(manager->features, archs[arch].flags)) {
        return ERR_UNSUPPORTED;
    }
    if (!has_flags(manager->features, IMB_FEATURE_SELF_TEST_PASS)) {
        return ERR_CRYPTO;
    }
    *out = (struct aead_backend){
        .name = archs[arch].name, .seal = ipsec_seal, .open = ipsec_open, .ctx = manager};
    return ERR_NONE;
}

#else

size_t aead_ipsec_size(void)
{
    return 0;
}

enum err aead_ipsec_init(struct span memory, enum aead_ipsec_arch arch, struct aead_backend *out)
{
    (void)memory;
    (void)arch;
    (void)out;
    return ERR_UNSUPPORTED;
}

#endif
