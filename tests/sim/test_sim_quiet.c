#include "sim/sim_quiet.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_seen.h"
#include "tests/support/support.h"

#define MAX_SIZE 200U

/* One idle gateway, the time of the next record, and how often it was found to talk too much. */
struct bench {
    struct sim_quiet *quiet;
    uint64_t now_ns;
    uint32_t failures;
};

static void on_failed(void *self, const char *oracle, const char *text)
{
    struct bench *bench = self;
    assert_string_equal(oracle, "O-14");
    assert_true(strlen(text) > 0);
    bench->failures++;
}

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    bench->quiet = sim_quiet_new(bench, on_failed);
    bench->now_ns = 1000 * NS_PER_S;
    sim_quiet_gateway(bench->quiet, 0, SEEN_NODE);
    sim_quiet_judge(bench->quiet, true);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    sim_quiet_free(bench->quiet);
    free(bench);
    return 0;
}

static void see(struct bench *bench, enum sim_kind kind, uint8_t peer, struct view payload)
{
    struct sim_record record = seen_record(bench->now_ns, kind, peer, payload);
    sim_quiet_see(bench->quiet, &record);
}

/* After so many ms. */
static void later(struct bench *bench, uint64_t ms)
{
    bench->now_ns += ms * NS_PER_MS;
}

/* ---- messages ---- */

static struct view stun(uint8_t out[MAX_SIZE], uint16_t type, uint8_t id, const char *name,
                        bool chosen)
{
    struct writer w = writer_of((struct span){out, MAX_SIZE});
    size_t len = name == NULL ? 0 : strlen(name);
    size_t padded = (len + 3) / 4 * 4;
    writer_be16(&w, type);
    writer_be16(&w, (uint16_t)((name == NULL ? 0 : 4 + padded) + (chosen ? 4 : 0)));
    writer_be32(&w, UINT32_C(0x2112A442));
    for (unsigned i = 0; i < 12; i++) {
        writer_u8(&w, id);
    }
    if (name != NULL) {
        writer_be16(&w, 0x0006);
        writer_be16(&w, (uint16_t)len);
        writer_bytes(&w, (struct view){(const uint8_t *)name, len});
        writer_bytes(&w, (struct view){(const uint8_t *)"\0\0\0", padded - len});
    }
    if (chosen) {
        writer_be16(&w, 0x0025);
        writer_be16(&w, 0);
    }
    assert_true(writer_finish(&w));
    return writer_view(&w);
}

static struct view tunnel(uint8_t out[MAX_SIZE], uint8_t type, size_t len)
{
    memset(out, 0, MAX_SIZE);
    out[0] = type;
    out[6] = 7; /* of the index */
    return (struct view){out, len};
}

/* A check to a peer, answered or not. */
static void check(struct bench *bench, uint8_t peer, uint8_t id, bool answered)
{
    uint8_t room[MAX_SIZE];
    see(bench, SIM_KIND_SENT, peer, stun(room, 0x0001, id, "cccc:gggg", false));
    if (answered) {
        see(bench, SIM_KIND_DELIVERED, peer, stun(room, 0x0101, id, NULL, false));
    }
}

/* The client's request, which the gateway answers. */
static void asked(struct bench *bench, uint8_t peer, uint8_t id, bool chosen)
{
    uint8_t room[MAX_SIZE];
    see(bench, SIM_KIND_DELIVERED, peer, stun(room, 0x0001, id, "gggg:cccc", chosen));
    see(bench, SIM_KIND_SENT, peer, stun(room, 0x0101, id, NULL, false));
}

/* Two pairs, the first of them nominated, both checked and answered just now. */
static void connect(struct bench *bench)
{
    sim_quiet_judge(bench->quiet, false);
    for (uint8_t i = 0; i < 10; i++) {
        check(bench, 1, 100 + i, true);
        check(bench, 2, 120 + i, true);
    }
    asked(bench, 1, 140, true);
    check(bench, 1, 141, true); /* the one that answers the nomination */
    sim_quiet_judge(bench->quiet, true);
}

/* ---- tests ---- */

static void idle_pairs_are_checked_every_25_s(void **state)
{
    struct bench *bench = *state;
    connect(bench);
    later(bench, 25000);
    check(bench, 1, 1, true);
    check(bench, 2, 2, true);
    assert_int_equal(bench->failures, 0);
    later(bench, 24000);
    check(bench, 1, 3, true);
    assert_int_equal(bench->failures, 1);
}

static void traffic_allows_15_s(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    connect(bench);
    see(bench, SIM_KIND_DELIVERED, 1, tunnel(room, 4, 64));
    later(bench, 15000);
    check(bench, 1, 1, true);
    check(bench, 2, 2, true);
    assert_int_equal(bench->failures, 0);
    later(bench, 14000);
    check(bench, 1, 3, true);
    assert_int_equal(bench->failures, 1);
}

static void without_an_answer_the_gap_doubles(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    connect(bench);
    see(bench, SIM_KIND_DELIVERED, 1, tunnel(room, 4, 64));
    later(bench, 15000);
    check(bench, 1, 1, false);
    later(bench, 250);
    check(bench, 1, 2, false);
    later(bench, 500);
    check(bench, 1, 3, false);
    assert_int_equal(bench->failures, 0);
    later(bench, 500);
    check(bench, 1, 4, false);
    assert_int_equal(bench->failures, 1);
}

static void an_answer_that_comes_late_counts_for_its_check(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    connect(bench);
    see(bench, SIM_KIND_DELIVERED, 1, tunnel(room, 4, 64));
    later(bench, 15000);
    check(bench, 1, 1, false);
    later(bench, 250);
    check(bench, 1, 2, false);
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0101, 1, NULL, false));
    later(bench, 250); /* one is unanswered still */
    check(bench, 1, 3, true);
    assert_int_equal(bench->failures, 0);
    later(bench, 500);
    check(bench, 1, 4, true);
    assert_int_equal(bench->failures, 1);
}

static void only_nominated_pairs_never_idle(void **state)
{
    struct bench *bench = *state;
    connect(bench);
    asked(bench, 2, 150, true);
    check(bench, 2, 151, true);
    later(bench, 15000);
    check(bench, 1, 1, true);
    assert_int_equal(bench->failures, 0);
}

/* Each pair of `peers` for the second time. */
static void connect_and_check_all(struct bench *bench, uint8_t peers)
{
    connect(bench);
    for (uint8_t peer = 3; peer <= peers; peer++) {
        check(bench, peer, peer, true);
    }
    later(bench, 26500);
    for (uint8_t peer = 1; peer <= peers; peer++) {
        check(bench, peer, 30 + peer, true);
    }
}

static void seventeen_pairs_are_too_many(void **state)
{
    struct bench *bench = *state;
    connect_and_check_all(bench, 16);
    assert_int_equal(bench->failures, 0);
    connect_and_check_all(bench, 17);
    check(bench, 18, 60, true);
    assert_true(bench->failures > 0);
}

static void a_new_pair_may_take_the_place_of_another(void **state)
{
    struct bench *bench = *state;
    connect_and_check_all(bench, 16);
    for (uint8_t peer = 20; peer < 25; peer++) {
        check(bench, peer, 60 + peer, true);
    }
    assert_int_equal(bench->failures, 0);
}

static void pairs_that_a_change_ended_were_checked_before_it(void **state)
{
    struct bench *bench = *state;
    connect_and_check_all(bench, 19);
    bench->failures = 0;
    later(bench, 2000);
    sim_quiet_woken(bench->quiet, 0, bench->now_ns);
    later(bench, 23500);
    check(bench, 1, 30, true);
    assert_int_equal(bench->failures, 0);
}

static void each_answer_has_its_question(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    asked(bench, 1, 1, false);
    assert_int_equal(bench->failures, 0);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0101, 1, NULL, false));
    assert_int_equal(bench->failures, 1);
}

static void keepalives_have_a_cause(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    see(bench, SIM_KIND_DELIVERED, 1, tunnel(room, 4, 64));
    later(bench, 10000);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 4, 32));
    assert_int_equal(bench->failures, 0);
    see(bench, SIM_KIND_DELIVERED, 1, tunnel(room, 4, 32)); /* is none itself */
    later(bench, 10000);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 4, 32));
    assert_int_equal(bench->failures, 1);
}

static void many_packets_do_not_hide_a_handshake(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    for (unsigned i = 0; i < 200; i++) {
        see(bench, SIM_KIND_DELIVERED, 1, tunnel(room, 4, 64));
    }
    later(bench, 60000);
    see(bench, SIM_KIND_DELIVERED, 1, tunnel(room, 2, 92));
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 4, 32));
    assert_int_equal(bench->failures, 0);
}

static void packets_have_a_cause(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    see(bench, SIM_KIND_TUN_IN, 1, VIEW_EMPTY);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 4, 64));
    assert_int_equal(bench->failures, 0);
    later(bench, 12000);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 4, 64));
    assert_int_equal(bench->failures, 1);
}

static void handshakes_are_tried_four_times(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    for (unsigned i = 0; i < 4; i++) {
        see(bench, SIM_KIND_SENT, 1, tunnel(room, 1, 148));
        later(bench, 5000);
    }
    assert_int_equal(bench->failures, 0);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 1, 148));
    assert_int_equal(bench->failures, 1);
}

static void answered_handshakes_come_every_two_minutes(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    uint8_t answer[MAX_SIZE];
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 1, 148));
    (void)tunnel(answer, 2, 92);
    answer[6] = 0;
    answer[10] = 7; /* their answer names our index */
    see(bench, SIM_KIND_DELIVERED, 1, (struct view){answer, 92});
    later(bench, 120000);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 1, 148));
    assert_int_equal(bench->failures, 0);
    see(bench, SIM_KIND_DELIVERED, 1, (struct view){answer, 92});
    later(bench, 60000);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 1, 148));
    assert_int_equal(bench->failures, 1);
    see(bench, SIM_KIND_SENT, 1, tunnel(room, 2, 92)); /* nobody began one */
    assert_int_equal(bench->failures, 2);
}

static void relays_are_asked_seldom(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0001, 1, NULL, false));
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0101, 1, NULL, false));
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0004, 2, NULL, false));
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0114, 2, NULL, false));
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0004, 3, NULL, false)); /* after an error */
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0104, 3, NULL, false));
    later(bench, 25000);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0001, 4, NULL, false));
    assert_int_equal(bench->failures, 0);
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0101, 4, NULL, false));
    later(bench, 12000);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0001, 5, NULL, false));
    assert_int_equal(bench->failures, 1);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0004, 6, NULL, false));
    assert_int_equal(bench->failures, 2);
}

static void a_new_allocation_is_asked_for_once_more(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0004, 1, NULL, false)); /* a deletion */
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0104, 1, NULL, false));
    later(bench, 1000);
    sim_quiet_woken(bench->quiet, 0, bench->now_ns);
    later(bench, 2000);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0004, 2, NULL, false));
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0104, 2, NULL, false));
    assert_int_equal(bench->failures, 0);
    later(bench, 2000);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0004, 3, NULL, false));
    assert_int_equal(bench->failures, 1);
}

static void a_relay_that_failed_is_tried_again(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    sim_quiet_relay_failed(bench->quiet, 0, bench->now_ns);
    later(bench, 29500);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0001, 1, NULL, false));
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0101, 1, NULL, false));
    later(bench, 500);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0001, 2, NULL, false));
    assert_int_equal(bench->failures, 0);
    later(bench, 20000);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0001, 3, NULL, false));
    see(bench, SIM_KIND_DELIVERED, 1, stun(room, 0x0101, 3, NULL, false));
    later(bench, 2000);
    see(bench, SIM_KIND_SENT, 1, stun(room, 0x0001, 4, NULL, false));
    assert_int_equal(bench->failures, 1);
}

static void news_are_an_excuse_for_20_s(void **state)
{
    struct bench *bench = *state;
    connect(bench);
    later(bench, 1000);
    sim_quiet_woken(bench->quiet, 0, bench->now_ns);
    check(bench, 1, 1, true);
    assert_int_equal(bench->failures, 0);
    later(bench, 22000);
    check(bench, 1, 2, true);
    assert_int_equal(bench->failures, 1);
}

/* A packet leaves each second. */
static void send_packets(struct bench *bench, uint32_t seconds)
{
    uint8_t room[MAX_SIZE];
    for (uint32_t i = 0; i < seconds; i++) {
        later(bench, 1000);
        see(bench, SIM_KIND_SENT, 1, tunnel(room, 4, 100));
    }
}

static void a_path_in_use_is_checked(void **state)
{
    struct bench *bench = *state;
    sim_quiet_judge(bench->quiet, false);
    check(bench, 1, 1, true);
    send_packets(bench, 40);
    assert_int_equal(bench->failures, 0);
    sim_quiet_healed(bench->quiet, bench->now_ns);
    check(bench, 1, 2, true);
    send_packets(bench, 15);
    later(bench, 30000);
    send_packets(bench, 16);
    assert_int_equal(bench->failures, 0);
    send_packets(bench, 2);
    assert_int_equal(bench->failures, 1);
}

#define QUIET_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUIET_TEST(idle_pairs_are_checked_every_25_s),
        QUIET_TEST(traffic_allows_15_s),
        QUIET_TEST(without_an_answer_the_gap_doubles),
        QUIET_TEST(an_answer_that_comes_late_counts_for_its_check),
        QUIET_TEST(only_nominated_pairs_never_idle),
        QUIET_TEST(seventeen_pairs_are_too_many),
        QUIET_TEST(a_new_pair_may_take_the_place_of_another),
        QUIET_TEST(pairs_that_a_change_ended_were_checked_before_it),
        QUIET_TEST(each_answer_has_its_question),
        QUIET_TEST(keepalives_have_a_cause),
        QUIET_TEST(many_packets_do_not_hide_a_handshake),
        QUIET_TEST(packets_have_a_cause),
        QUIET_TEST(handshakes_are_tried_four_times),
        QUIET_TEST(answered_handshakes_come_every_two_minutes),
        QUIET_TEST(relays_are_asked_seldom),
        QUIET_TEST(a_new_allocation_is_asked_for_once_more),
        QUIET_TEST(a_relay_that_failed_is_tried_again),
        QUIET_TEST(news_are_an_excuse_for_20_s),
        QUIET_TEST(a_path_in_use_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
