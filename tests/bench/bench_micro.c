/* The parts of the data path: AEAD, checksums, cutting and coalescing, tunnel, STUN. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/aead_ipsec.h"
#include "packet/checksum.h"
#include "packet/packet_build.h"
#include "packet/packet_segment.h"
#include "stun/channel_data.h"
#include "stun/stun_msg.h"
#include "tests/bench/bench.h"
#include "tests/wg/wg_pair.h"

#define BATCH  64U
#define STRIDE 1536U

/* ---- M-01 AEAD, M-03 checksums: one buffer of 64 packets ---- */

struct buffers {
    struct aead_backend backend;
    const struct checksum_backend *sums;
    struct aead_item items[BATCH];
    size_t size;
    uint32_t burst; /* of one call, divides BATCH */
    uint32_t keys;
    uint8_t *bytes;
    uint8_t *copy;
};

static uint8_t keys[BATCH][KEY_SIZE];

static void fill(void *self)
{
    struct buffers *b = self;
    for (uint32_t i = 0; i < BATCH; i++) {
        b->items[i] = (struct aead_item){
            .key = keys[i % b->keys], .counter = i, .data = b->bytes + i * STRIDE, .len = b->size};
    }
}

static void fill_sealed(void *self)
{
    struct buffers *b = self;
    fill(self);
    aead_seal_batch(&b->backend, b->items, BATCH);
}

static void seal(void *self)
{
    struct buffers *b = self;
    aead_seal_batch(&b->backend, b->items, BATCH);
}

static void open(void *self)
{
    struct buffers *b = self;
    aead_open_batch(&b->backend, b->items, BATCH);
    ASSERT(b->items[0].ok && b->items[BATCH - 1].ok);
}

static void copy(void *self)
{
    struct buffers *b = self;
    for (uint32_t i = 0; i < BATCH; i++) {
        memcpy(b->copy + i * STRIDE, b->bytes + i * STRIDE, b->size);
    }
    bench_keep(b->copy[b->size]);
}

static void sum(void *self)
{
    struct buffers *b = self;
    uint64_t total = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        total += b->sums->sum((struct view){b->bytes + i * STRIDE, b->size});
    }
    bench_keep(total);
}

static void copy_and_sum(void *self)
{
    struct buffers *b = self;
    uint64_t total = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        total += b->sums->copy(b->copy + i * STRIDE, (struct view){b->bytes + i * STRIDE, b->size});
    }
    bench_keep(total);
}

static struct buffers *buffers_new(struct aead_backend backend, size_t size)
{
    struct buffers *b = calloc(1, sizeof(*b));
    ASSERT(b != NULL);
    b->backend = backend;
    b->size = size;
    b->burst = BATCH;
    b->keys = 1;
    b->bytes = calloc(BATCH, STRIDE);
    b->copy = calloc(BATCH, STRIDE);
    ASSERT(b->bytes != NULL && b->copy != NULL);
    return b;
}

static void buffers_free(struct buffers *b)
{
    free(b->bytes);
    free(b->copy);
    free(b);
}

/* libsodium and whatever ipsec-mb has for this processor; the managers stay until the end. */
static size_t find_backends(struct aead_backend *out)
{
    size_t count = 1;
    out[0] = aead_backend_libsodium();
    for (unsigned arch = 0; arch < AEAD_IPSEC_ARCH_COUNT; arch++) {
        struct span memory = {aligned_alloc(AEAD_IPSEC_ALIGN, aead_ipsec_size()),
                              aead_ipsec_size()};
        ASSERT(memory.at != NULL);
        memset(memory.at, 0, memory.len);
        if (aead_ipsec_init(memory, (enum aead_ipsec_arch)arch, &out[count]) == ERR_NONE) {
            count++;
        }
    }
    return count;
}

struct aead_group {
    struct bench_case cases[BENCH_CASES_MAX];
    size_t count;
};

static void add_aead(struct aead_group *group, const struct buffers *like, bool opens)
{
    struct bench_case *c = &group->cases[group->count++];
    struct buffers *own = buffers_new(like->backend, like->size);
    ASSERT(group->count <= BENCH_CASES_MAX);
    own->burst = like->burst;
    own->keys = like->keys;
    *c = (struct bench_case){.id = opens ? "M-01 open" : "M-01 seal",
                             .unit = "packet",
                             .prepare = opens ? fill_sealed : fill,
                             .run = opens ? open : seal,
                             .self = own,
                             .operations = BATCH};
    (void)snprintf(c->params, sizeof(c->params), "%s, %zu B, bursts of %u%s", like->backend.name,
                   like->size, like->burst, like->keys > 1 ? ", 64 keys" : "");
}

static void run_aead(struct aead_group *group, const struct bench_report *report)
{
    bench_group(report, group->cases, group->count);
    for (size_t i = 0; i < group->count; i++) {
        buffers_free(group->cases[i].self);
    }
    group->count = 0;
}

static void bench_aead(const struct bench_report *report)
{
    static const size_t sizes[] = {0, 16, 64, 256, 576, 1280, 1420};
    static const uint32_t bursts[] = {1, 8, 64};
    static struct aead_group group;
    struct aead_backend backends[1 + AEAD_IPSEC_ARCH_COUNT];
    size_t known = find_backends(backends);
    for (size_t i = 0; i < ARRAY_COUNT(sizes) * known * 2; i++) {
        struct buffers like = {.backend = backends[i / 2 % known],
                               .size = sizes[i / 2 / known],
                               .burst = BATCH,
                               .keys = 1};
        add_aead(&group, &like, i % 2 == 1);
    }
    run_aead(&group, report);
    for (size_t i = 0; i < ARRAY_COUNT(bursts) * 2; i++) {
        struct buffers like = {.backend = backends[known - 1],
                               .size = i % 2 == 0 ? 64 : 1280,
                               .burst = bursts[i / 2],
                               .keys = i / 2 == 2 ? BATCH : 1};
        add_aead(&group, &like, false);
        add_aead(&group, &like, true);
    }
    run_aead(&group, report);
}

/* `sums` NULL: memcpy(). */
static void add_sums(struct bench_case *cases, size_t *count, const struct checksum_backend *sums,
                     size_t size)
{
    static const struct {
        const char *id;
        void (*run)(void *self);
    } rows[] = {{"M-03 sum", sum}, {"M-03 copy+sum", copy_and_sum}, {"M-03 memcpy", copy}};
    for (size_t r = sums == NULL ? 2 : 0; r < (sums == NULL ? 3U : 2U); r++) {
        struct bench_case *c = &cases[(*count)++];
        struct buffers *own = buffers_new(aead_backend_libsodium(), size);
        own->sums = sums;
        *c = (struct bench_case){.id = rows[r].id,
                                 .unit = "packet",
                                 .run = rows[r].run,
                                 .self = own,
                                 .operations = BATCH};
        (void)snprintf(c->params, sizeof(c->params), "%zu B%s%s", size, sums == NULL ? "" : ", ",
                       sums == NULL ? "" : sums->name);
    }
}

static void bench_checksums(const struct bench_report *report)
{
    static const size_t sizes[] = {40, 1240};
    static const char *const kinds[] = {"portable", "avx2", "avx512"};
    struct bench_case cases[2 * (1 + 2 * CHECKSUM_KIND_COUNT)];
    size_t count = 0;
    for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
        add_sums(cases, &count, NULL, sizes[s]);
        for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
            const struct checksum_backend *sums = bench_sums_of(kinds[k]);
            if (sums != NULL) {
                add_sums(cases, &count, sums, sizes[s]);
            } else if (s == 0) {
                printf("M-03 %s: SKIPPED: this processor lacks the instructions\n", kinds[k]);
            }
        }
    }
    bench_group(report, cases, count);
    for (size_t i = 0; i < count; i++) {
        buffers_free(cases[i].self);
    }
}

/* ---- M-04 cutting and coalescing of 48 TCP segments ---- */

#define SEGMENTS 48U
#define PAYLOAD  1240U

struct cutting {
    uint8_t super[65536];
    uint8_t out[SEGMENTS][STRIDE];
    struct packet packet;
    struct packet_info info;
    const struct checksum_backend *sums;
};

static void cutting_init(struct cutting *cut)
{
    static const uint8_t zeros[SEGMENTS * PAYLOAD];
    struct packet_build_ip ip = {.source = ip_v4(10, 3, 0, 9), .destination = ip_v4(100, 64, 1, 1)};
    struct packet_build_tcp tcp = {.ports = {443, 5000}, .seq = 1, .flags = PACKET_TCP_ACK};
    struct writer w = writer_of((struct span){cut->super, sizeof(cut->super)});
    packet_build_tcp(&w, &ip, &tcp, (struct view){zeros, sizeof(zeros)});
    ASSERT(writer_finish(&w));
    cut->packet = packet_of((struct span){cut->super, sizeof(cut->super)}, 0, w.used);
    ASSERT(packet_parse(&cut->packet, &cut->info) == DROP_NONE);
}

static void run_cut(void *self)
{
    struct cutting *cut = self;
    struct packet_segments segments;
    struct packet_offload offload = {PACKET_GSO_TCPV4, PAYLOAD, true};
    enum drop_reason reason = packet_segments_init(&segments, &cut->packet, &cut->info, &offload);
    ASSERT(reason == DROP_NONE && segments.count == SEGMENTS);
    segments.sums = cut->sums;
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        (void)packet_segment_write(&segments, i, (struct span){cut->out[i], STRIDE});
    }
}

/* The first packet's headers are changed by the coalescing. */
static void prepare_coalesce(void *self)
{
    run_cut(self);
}

static void run_coalesce(void *self)
{
    struct cutting *cut = self;
    struct packet_group group;
    struct packet_info info;
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        struct packet packet = packet_of((struct span){cut->out[i], STRIDE}, 0, PAYLOAD + 40);
        if (i == 0) {
            ASSERT(packet_parse(&packet, &info) == DROP_NONE);
            packet_group_start(&group, &packet, &info, 64);
            group.sums = cut->sums;
        } else {
            ASSERT(packet_group_follow(&group, &packet));
        }
    }
    bench_keep(packet_group_finish(&group).gso_size);
}

static void bench_segments(const struct bench_report *report)
{
    struct cutting *cut = calloc(1, sizeof(*cut));
    ASSERT(cut != NULL);
    cutting_init(cut);
    cut->sums = report->sums;
    struct bench_case cases[] = {
        {"M-04 cut", "TCP, 48 x 1240 B", "packet", NULL, run_cut, cut, SEGMENTS},
        {"M-04 coalesce", "TCP, 48 x 1240 B", "packet", prepare_coalesce, run_coalesce, cut,
         SEGMENTS},
    };
    bench_group(report, cases, 2);
    free(cut);
}

/* ---- the tunnel, one message at a time, and STUN ---- */

struct tunnel {
    struct pair pair;
    size_t size;
    uint8_t messages[BATCH][STRIDE];
};

static void tunnel_seal(void *self)
{
    struct tunnel *t = self;
    for (uint32_t i = 0; i < BATCH; i++) {
        struct span message = {t->messages[i], t->size + WG_DATA_OVERHEAD};
        ASSERT(wg_peer_seal(&t->pair.client.peer, message, t->pair.now) == DROP_NONE);
    }
}

static void tunnel_fill(void *self)
{
    struct tunnel *t = self;
    struct packet_build_ip ip = {.source = ip_v4(100, 64, 1, 1), .destination = ip_v4(10, 3, 0, 9)};
    static const uint8_t zeros[STRIDE];
    for (uint32_t i = 0; i < BATCH; i++) {
        struct writer w =
            writer_of((struct span){t->messages[i] + WG_DATA_HEADER_SIZE, STRIDE - 64});
        packet_build_raw(&w, &ip, 17, (struct view){zeros, t->size - 20});
    }
}

static void tunnel_fill_sealed(void *self)
{
    tunnel_fill(self);
    tunnel_seal(self);
}

static void tunnel_open(void *self)
{
    struct tunnel *t = self;
    struct wg_open opened;
    for (uint32_t i = 0; i < BATCH; i++) {
        struct span message = {t->messages[i], t->size + WG_DATA_OVERHEAD};
        ASSERT(wg_peer_open(&t->pair.gateway.peer, message, t->pair.now, &opened) == DROP_NONE);
    }
}

struct stun {
    uint8_t framed[548];
    uint8_t bytes[256];
    struct view message;
};

static const char password[] = "abcdefghijklmnopqrstuv";

static void stun_decode(void *self)
{
    struct stun *s = self;
    struct stun_msg msg;
    for (uint32_t i = 0; i < BATCH; i++) {
        ASSERT(stun_msg_decode(s->message, &msg) == DROP_NONE);
    }
}

static void stun_verify(void *self)
{
    struct stun *s = self;
    struct stun_msg msg;
    for (uint32_t i = 0; i < BATCH; i++) {
        ASSERT(stun_msg_decode(s->message, &msg) == DROP_NONE);
        ASSERT(stun_msg_check_integrity(s->message, &msg, view_text(password)));
    }
}

static void stun_build(void *self)
{
    struct stun *s = self;
    for (uint32_t i = 0; i < BATCH; i++) {
        struct stun_txn txn = {{1, 2, (uint8_t)i}};
        struct stun_writer w;
        stun_start(&w, (struct span){s->bytes, sizeof(s->bytes)}, STUN_BINDING, STUN_REQUEST, &txn);
        stun_put_ice_username(&w, view_text("abcd"), view_text("efgh"));
        stun_put_controlling(&w, 77);
        stun_put_priority(&w, 1234567);
        stun_put_integrity(&w, view_text(password));
        stun_put_fingerprint(&w);
        s->message = stun_finish(&w);
    }
}

static void channel_frame(void *self)
{
    struct stun *s = self;
    struct channel_data data;
    for (uint32_t i = 0; i < BATCH; i++) {
        channel_data_put_header(s->framed, (uint16_t)(0x4000U + i), sizeof(s->framed) - 4);
        ASSERT(channel_data_decode(VIEW_OF(s->framed), &data) == DROP_NONE);
    }
    bench_keep(data.number);
}

static void bench_protocols(const struct bench_report *report)
{
    struct tunnel *t = calloc(1, sizeof(*t));
    struct stun *s = calloc(1, sizeof(*s));
    ASSERT(t != NULL && s != NULL);
    pair_init(&t->pair);
    pair_handshake(&t->pair, &t->pair.client, &t->pair.gateway);
    pair_exchange(&t->pair, &t->pair.client, &t->pair.gateway);
    t->size = 1280;
    stun_build(s);
    struct bench_case cases[] = {
        {"M-02 seal", "one message at a time, libsodium, 1280 B", "packet", tunnel_fill,
         tunnel_seal, t, BATCH},
        {"M-02 open", "one message at a time, libsodium, 1280 B", "packet", tunnel_fill_sealed,
         tunnel_open, t, BATCH},
        {"M-05 decode", "binding request", "message", NULL, stun_decode, s, BATCH},
        {"M-05 verify", "binding request, with its HMAC", "message", NULL, stun_verify, s, BATCH},
        {"M-05 build", "binding request, with its HMAC", "message", NULL, stun_build, s, BATCH},
        {"M-05 channel", "ChannelData of 548 B, written and read", "message", NULL, channel_frame,
         s, BATCH},
    };
    bench_group(report, cases, ARRAY_COUNT(cases));
    free(t);
    free(s);
}

void bench_micro(const struct bench_report *report)
{
    bench_checksums(report);
    bench_aead(report);
    bench_segments(report);
    bench_protocols(report);
}
