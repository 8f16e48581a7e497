#include "sim/sim_rekey.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_seen.h"
#include "tests/support/support.h"

#define OURS_ID 0x20U /* of the tunnel; the lowest byte of an index is the session's */
#define THEIRS  7U

/* The oracle, the time of the next record, and what it said. */
struct bench {
    struct sim_rekey *rekey;
    struct seen_verdict verdict;
    uint8_t slot; /* of the gateway's latest index */
};

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    struct sim_judge_config config = {&bench->verdict, seen_failed, seen_decided};
    bench->rekey = sim_rekey_new(&config);
    bench->verdict.now_ns = 100 * NS_PER_S;
    sim_rekey_gateway(bench->rekey, 0, SEEN_NODE);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    sim_rekey_free(bench->rekey);
    free(bench);
    return 0;
}

static void see(struct bench *bench, enum sim_kind kind, struct view payload)
{
    struct sim_record record = seen_record(bench->verdict.now_ns, kind, 1, payload);
    record.cause = kind == SIM_KIND_DROPPED ? SIM_CAUSE_REFUSED : NULL;
    sim_rekey_see(bench->rekey, &record);
}

static void wait_s(struct bench *bench, uint32_t seconds)
{
    bench->verdict.now_ns += seconds * NS_PER_S;
}

static uint32_t ours(const struct bench *bench)
{
    return OURS_ID << 8U | bench->slot;
}

static void initiate(struct bench *bench, enum sim_kind kind)
{
    uint8_t bytes[148] = {1};
    bench->slot++;
    store_le32(bytes + 4, ours(bench));
    see(bench, kind, VIEW_OF(bytes));
}

/* A response that the gateway sends, or one that it gets. */
static void respond(struct bench *bench, enum sim_kind kind)
{
    uint8_t bytes[92] = {2};
    bool in = kind == SIM_KIND_DELIVERED;
    bench->slot = (uint8_t)(bench->slot + (in ? 0 : 1));
    store_le32(bytes + 4, in ? THEIRS : ours(bench));
    store_le32(bytes + 8, in ? ours(bench) : THEIRS);
    see(bench, kind, VIEW_OF(bytes));
}

static void carry(struct bench *bench, enum sim_kind kind, size_t size)
{
    uint8_t bytes[64] = {4};
    store_le32(bytes + 4, kind == SIM_KIND_DELIVERED ? ours(bench) : THEIRS);
    see(bench, kind, (struct view){bytes, size});
}

static void send_data(struct bench *bench)
{
    carry(bench, SIM_KIND_SENT, 64);
}

/* Data in both directions, a packet each second. */
static void talk(struct bench *bench, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds; i++) {
        wait_s(bench, 1);
        send_data(bench);
        carry(bench, SIM_KIND_DELIVERED, 64);
    }
}

static void begin_session(struct bench *bench)
{
    initiate(bench, SIM_KIND_SENT);
    respond(bench, SIM_KIND_DELIVERED);
    carry(bench, SIM_KIND_SENT, 32);
}

static void expect(const struct bench *bench, const char *oracle)
{
    assert_string_equal(bench->verdict.oracle, oracle);
}

/* ---- renewal ---- */

static void keys_that_are_renewed_are_fine(void **state)
{
    struct bench *bench = *state;
    begin_session(bench);
    talk(bench, 120);
    begin_session(bench);
    talk(bench, 100);
    expect(bench, "");
}

static void keys_that_are_not_renewed_are_noticed(void **state)
{
    struct bench *bench = *state;
    begin_session(bench);
    talk(bench, 125);
    expect(bench, "");
    talk(bench, 5);
    expect(bench, "O-18");
}

static void the_client_renews_what_it_began(void **state)
{
    struct bench *bench = *state;
    respond(bench, SIM_KIND_SENT);
    talk(bench, 170);
    expect(bench, "");
}

static void a_try_that_the_host_refuses_counts(void **state)
{
    struct bench *bench = *state;
    begin_session(bench);
    talk(bench, 121);
    initiate(bench, SIM_KIND_DROPPED);
    talk(bench, 7);
    expect(bench, "");
}

static void a_pause_excuses(void **state)
{
    struct bench *bench = *state;
    begin_session(bench);
    talk(bench, 122);
    sim_rekey_paused(bench->rekey, 0);
    wait_s(bench, 30);
    send_data(bench);
    carry(bench, SIM_KIND_DELIVERED, 64);
    expect(bench, "");
    talk(bench, 10);
    expect(bench, "O-18");
}

/* ---- the other timers ---- */

static void handshakes_too_close_are_noticed(void **state)
{
    struct bench *bench = *state;
    initiate(bench, SIM_KIND_SENT);
    wait_s(bench, 5);
    initiate(bench, SIM_KIND_SENT);
    expect(bench, "");
    wait_s(bench, 4);
    initiate(bench, SIM_KIND_SENT);
    expect(bench, "O-18");
}

static void a_handshake_that_is_not_repeated_is_noticed(void **state)
{
    struct bench *bench = *state;
    respond(bench, SIM_KIND_SENT);
    talk(bench, 1);
    initiate(bench, SIM_KIND_SENT);
    talk(bench, 11);
    expect(bench, "");
    talk(bench, 3);
    expect(bench, "O-18");
}

static void a_session_of_the_client_ends_the_attempt(void **state)
{
    struct bench *bench = *state;
    initiate(bench, SIM_KIND_SENT);
    respond(bench, SIM_KIND_SENT);
    talk(bench, 100);
    expect(bench, "");
}

static void data_that_nothing_answers_is_noticed(void **state)
{
    struct bench *bench = *state;
    respond(bench, SIM_KIND_SENT);
    for (uint32_t i = 0; i < 21; i++) {
        wait_s(bench, 1);
        send_data(bench);
    }
    expect(bench, "");
    wait_s(bench, 3);
    send_data(bench);
    expect(bench, "O-18");
}

/* The gateway hears that its client lives, though it cannot answer. */
static void an_initiation_of_the_client_is_heard(void **state)
{
    struct bench *bench = *state;
    respond(bench, SIM_KIND_SENT);
    for (uint32_t i = 0; i < 20; i++) {
        wait_s(bench, 1);
        send_data(bench);
    }
    initiate(bench, SIM_KIND_DELIVERED);
    for (uint32_t i = 0; i < 20; i++) {
        wait_s(bench, 1);
        send_data(bench);
    }
    expect(bench, "");
    wait_s(bench, 4);
    send_data(bench);
    expect(bench, "O-18");
}

static void a_new_process_owes_nothing(void **state)
{
    struct bench *bench = *state;
    begin_session(bench);
    talk(bench, 122);
    sim_rekey_boot(bench->rekey, 0);
    talk(bench, 20);
    expect(bench, "");
}

#define REKEY_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REKEY_TEST(keys_that_are_renewed_are_fine),
        REKEY_TEST(keys_that_are_not_renewed_are_noticed),
        REKEY_TEST(the_client_renews_what_it_began),
        REKEY_TEST(a_try_that_the_host_refuses_counts),
        REKEY_TEST(a_pause_excuses),
        REKEY_TEST(handshakes_too_close_are_noticed),
        REKEY_TEST(a_handshake_that_is_not_repeated_is_noticed),
        REKEY_TEST(a_session_of_the_client_ends_the_attempt),
        REKEY_TEST(data_that_nothing_answers_is_noticed),
        REKEY_TEST(an_initiation_of_the_client_is_heard),
        REKEY_TEST(a_new_process_owes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
