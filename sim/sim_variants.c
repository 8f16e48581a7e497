/* Stream digests under every variant of what must not matter: which code seals, how many datagrams
 * or packets one call carries, which offloads the devices have (design section 8.5). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway.h"
#include "sim/sim_command.h"

#define SETTINGS_MAX 4U
#define HEAD_MAX     48U

struct setting {
    const char *option;
    uint32_t value;
};

struct variant {
    const char *name;
    enum gateway_aead aead;
    struct setting settings[SETTINGS_MAX];
};

/* The first one is what the others are compared with. Zero: no limit, no joining. */
static const struct variant variants[] = {
    {"libsodium, full batches, no offloads", GATEWAY_AEAD_LIBSODIUM, {{"tun_offload", 1}}},
    {"ipsec-mb SSE", GATEWAY_AEAD_IPSEC_SSE, {{"tun_offload", 1}}},
    {"ipsec-mb AVX2", GATEWAY_AEAD_IPSEC_AVX2, {{"tun_offload", 1}}},
    {"ipsec-mb AVX512", GATEWAY_AEAD_IPSEC_AVX512, {{"tun_offload", 1}}},
    {"batches of 1", GATEWAY_AEAD_LIBSODIUM, {{"batch_max", 1}, {"tun_offload", 1}}},
    {"batches of 3", GATEWAY_AEAD_LIBSODIUM, {{"batch_max", 3}, {"tun_offload", 1}}},
    {"offloads on", GATEWAY_AEAD_LIBSODIUM, {{"tun_offload", 4}}},
    {"trains and super-packets",
     GATEWAY_AEAD_LIBSODIUM,
     {{"train_max", 16}, {"tun_train_max", 16}, {"tun_offload", 4}}},
    {"trains in batches of 2, TCP offload only",
     GATEWAY_AEAD_LIBSODIUM,
     {{"batch_max", 2}, {"train_max", 3}, {"tun_train_max", 4}, {"tun_offload", 2}}},
};

/* What draws or counts per packet in the order in which packets of different peers leave, or per
 * call of the platform; the digests only promise what no link changes. */
static const struct setting lossless[] = {
    {"jitter_us", 0},     {"loss_ppm", 0},        {"burst_enter_ppm", 0}, {"duplicate_ppm", 0},
    {"reorder_ppm", 0},   {"flip_ppm", 0},        {"truncate_ppm", 0},    {"udp_block_ppm", 0},
    {"udp_error_ppm", 0}, {"tun_block_ppm", 0},   {"batch_max", 0},       {"train_max", 0},
    {"tun_train_max", 0}, {"group_data_only", 1}, {"icmp_ppm", 0},
};

static bool is_lossy(enum sim_action_kind kind)
{
    return kind == SIM_ACTION_link || kind == SIM_ACTION_environment || kind == SIM_ACTION_replay ||
           kind == SIM_ACTION_memory;
}

static void make_lossless(struct sim_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < ARRAY_COUNT(lossless); i++) {
        (void)sim_option_set(&list->options, lossless[i].option, lossless[i].value);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (!is_lossy(list->actions[i].kind)) {
            list->actions[kept++] = list->actions[i];
        }
    }
    list->count = kept;
}

static struct sim_options options_of(const struct sim_list *list, const struct variant *variant)
{
    struct sim_options options = list->options;
    options.aead = (uint32_t)variant->aead;
    options.fault_points = 0; /* they fire by visits, which follow the batches */
    for (size_t i = 0; i < SETTINGS_MAX && variant->settings[i].option != NULL; i++) {
        bool known =
            sim_option_set(&options, variant->settings[i].option, variant->settings[i].value);
        ASSERT(known);
    }
    return options;
}

/* ---- one run ---- */

struct outcome {
    const char *oracle;
    struct sim_trace_stream *streams;
    size_t count;
    uint64_t joined[4];
};

static void run(const struct sim_list *list, const struct variant *variant,
                const struct sim_trace_tap *tap, struct outcome *out)
{
    struct sim_list varied = *list;
    varied.options = options_of(list, variant);
    struct sim_world_config config = {
        .list = &varied, .taps = tap, .taps_count = tap == NULL ? 0 : 1};
    struct sim_world *world = sim_world_new(&config);
    sim_watch(world, list->seed);
    memset(out, 0, sizeof(*out));
    out->oracle = sim_world_run(world)->oracle;
    const struct sim_trace *trace = sim_world_trace(world);
    out->count = sim_trace_streams_count(trace);
    out->streams = calloc(out->count + 1, sizeof(out->streams[0]));
    ASSERT(out->streams != NULL);
    for (size_t i = 0; i < out->count; i++) {
        sim_trace_stream_at(trace, i, &out->streams[i]);
    }
    struct sim_report report;
    sim_world_report(world, &report);
    memcpy(out->joined, report.joined, sizeof(out->joined));
    sim_watch(NULL, 0);
    sim_world_free(world);
}

/* ---- where two runs part ---- */

/* Every datagram of one stream, shortened. */
struct shown {
    uint64_t at_ns;
    size_t len;
    uint8_t digest[SIM_DIGEST_SIZE];
    uint8_t head[HEAD_MAX];
};

struct listing {
    struct sim_trace_stream stream;
    struct shown *items;
    size_t count;
};

static void see(void *self, const struct sim_record *record)
{
    struct listing *listing = self;
    if (!sim_trace_stream_has(&listing->stream, record)) {
        return;
    }
    listing->items = realloc(listing->items, (listing->count + 1) * sizeof(listing->items[0]));
    ASSERT(listing->items != NULL);
    struct shown *item = &listing->items[listing->count++];
    memset(item, 0, sizeof(*item));
    item->at_ns = record->at_ns;
    item->len = record->payload.len;
    memcpy(item->head, record->payload.at, item->len < HEAD_MAX ? item->len : HEAD_MAX);
    ASSERT(blake2s(item->digest, record->payload.at, NULL, sizeof(item->digest), item->len, 0) ==
           0);
}

static void print_item(const char *name, const struct listing *listing, size_t index)
{
    if (index >= listing->count) {
        (void)printf("  %s: the stream ends\n", name);
        return;
    }
    const struct shown *item = &listing->items[index];
    (void)printf("  %s: at %" PRIu64 ".%06" PRIu64 " s, %zu bytes: ", name, item->at_ns / NS_PER_S,
                 item->at_ns % NS_PER_S / NS_PER_US, item->len);
    sim_print_hex(item->head, item->len < HEAD_MAX ? item->len : HEAD_MAX);
    (void)printf("\n");
}

static bool same_item(const struct listing *a, const struct listing *b, size_t index)
{
    return index < a->count && index < b->count &&
           memcmp(a->items[index].digest, b->items[index].digest, SIM_DIGEST_SIZE) == 0;
}

static void explain(const struct sim_list *list, const struct variant *variant,
                    const struct sim_trace_stream *stream)
{
    struct listing both[2] = {{.stream = *stream}, {.stream = *stream}};
    const struct variant *ways[2] = {&variants[0], variant};
    for (unsigned i = 0; i < 2; i++) {
        struct sim_trace_tap tap = {see, &both[i]};
        struct outcome outcome;
        run(list, ways[i], &tap, &outcome);
        free(outcome.streams);
    }
    size_t index = 0;
    while (same_item(&both[0], &both[1], index)) {
        index++;
    }
    uint8_t peer[IP_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){peer, sizeof(peer)});
    ip_put(&w, &stream->peer);
    (void)printf("S-11 stream differs: seed %" PRIu64 ", %s, node %u %s %.*s, datagram %zu\n",
                 list->seed, variant->name, stream->node,
                 stream->delivered ? "received from" : "sent to", (int)w.used, (const char *)peer,
                 index);
    print_item(variants[0].name, &both[0], index);
    print_item(variant->name, &both[1], index);
    free(both[0].items);
    free(both[1].items);
}

static bool same_stream(const struct sim_trace_stream *a, const struct sim_trace_stream *b)
{
    return a->node == b->node && a->delivered == b->delivered && ip_equal(&a->peer, &b->peer) &&
           a->datagrams == b->datagrams && memcmp(a->digest, b->digest, SIM_DIGEST_SIZE) == 0;
}

static bool compare(const struct sim_list *list, const struct variant *variant,
                    const struct outcome *expected, const struct outcome *got)
{
    size_t most = expected->count > got->count ? expected->count : got->count;
    for (size_t i = 0; i < most; i++) {
        const struct sim_trace_stream *a = i < expected->count ? &expected->streams[i] : NULL;
        const struct sim_trace_stream *b = i < got->count ? &got->streams[i] : NULL;
        if (a == NULL || b == NULL || !same_stream(a, b)) {
            explain(list, variant, a != NULL ? a : b);
            return false;
        }
    }
    return true;
}

/* ---- the command ---- */

static bool machine_has(enum gateway_aead aead)
{
    struct gateway_limits limits = gateway_limits_default();
    limits.clients = 1;
    limits.nat_sessions = 1;
    struct gateway_config config = {.api_url = view_text("wss://portal.sim"),
                                    .token = view_text("t"),
                                    .firezone_id = view_text("i"),
                                    .name = view_text("n"),
                                    .user_agent = view_text("u")};
    uint8_t seed[32] = {0};
    struct trace trace = {NULL, NULL};
    struct gateway *gw = NULL;
    size_t size = (gateway_size(&limits) + 63) / 64 * 64;
    void *memory = aligned_alloc(64, size);
    ASSERT(memory != NULL);
    memset(memory, 0, size);
    enum err err =
        gateway_init(memory, &limits, &config, (struct clock_pair){{1}, 1}, seed, trace, &gw);
    ASSERT(err == ERR_NONE);
    bool has = gateway_use_aead(gw, aead) == ERR_NONE;
    gateway_deinit(gw);
    free(memory);
    return has;
}

struct tally {
    uint64_t streams;
    uint64_t datagrams;
    uint64_t joined[ARRAY_COUNT(variants)][4];
};

static enum sim_exit run_seed(const struct sim_arguments *arguments, uint64_t seed,
                              const bool skipped[ARRAY_COUNT(variants)], struct tally *tally)
{
    struct sim_list list;
    struct outcome expected = {0};
    enum sim_exit code = SIM_EXIT_GOOD;
    if (!sim_load(arguments, seed, &list)) {
        return SIM_EXIT_ENVIRONMENT;
    }
    make_lossless(&list);
    for (size_t i = 0; i < ARRAY_COUNT(variants) && code == SIM_EXIT_GOOD; i++) {
        struct outcome got;
        if (skipped[i]) {
            continue;
        }
        run(&list, &variants[i], NULL, i == 0 ? &expected : &got);
        const struct outcome *out = i == 0 ? &expected : &got;
        for (unsigned k = 0; k < 4; k++) {
            tally->joined[i][k] += out->joined[k];
        }
        if (out->oracle != NULL) {
            (void)printf("%s: seed %" PRIu64 ", %s\n", out->oracle, seed, variants[i].name);
            code = SIM_EXIT_SAFETY;
        } else if (i > 0 && !compare(&list, &variants[i], &expected, &got)) {
            code = SIM_EXIT_DETERMINISM;
        }
        if (i > 0) {
            free(got.streams);
        }
    }
    tally->streams += expected.count;
    for (size_t i = 0; i < expected.count; i++) {
        tally->datagrams += expected.streams[i].datagrams;
    }
    free(expected.streams);
    sim_list_free(&list);
    (void)fflush(stdout);
    return code;
}

enum sim_exit sim_run_variants(const struct sim_arguments *arguments)
{
    bool skipped[ARRAY_COUNT(variants)] = {false};
    struct tally tally = {0};
    enum sim_exit worst = SIM_EXIT_GOOD;
    for (size_t i = 0; i < ARRAY_COUNT(variants); i++) {
        skipped[i] = !machine_has(variants[i].aead);
    }
    for (uint64_t seed = arguments->first; seed <= arguments->last; seed++) {
        enum sim_exit code = run_seed(arguments, seed, skipped, &tally);
        worst = code > worst ? code : worst;
    }
    for (size_t i = 0; i < ARRAY_COUNT(variants); i++) {
        const uint64_t *joined = tally.joined[i];
        (void)printf("%-42s %s: joined in %" PRIu64 ", out %" PRIu64 ", from the device %" PRIu64
                     ", to it %" PRIu64 "\n",
                     variants[i].name, skipped[i] ? "SKIPPED, not on this machine" : "ran",
                     joined[0], joined[1], joined[2], joined[3]);
    }
    (void)printf("seeds %" PRIu64 "..%" PRIu64 " %s: %" PRIu64 " streams, %" PRIu64 " datagrams\n",
                 arguments->first, arguments->last, worst == SIM_EXIT_GOOD ? "agree" : "failed",
                 tally.streams, tally.datagrams);
    return worst;
}
