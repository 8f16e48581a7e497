#include "sim/sim_judge.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_seen.h"
#include "tests/support/support.h"

#define MAX_SIZE 2000U

/* A judge, the time of the next record, and what it said. */
struct bench {
    struct sim_judge *judge;
    struct seen_verdict verdict;
};

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    struct sim_judge_config config = {&bench->verdict, seen_failed, seen_decided};
    bench->judge = sim_judge_new(&config);
    bench->verdict.now_ns = NS_PER_S;
    sim_judge_gateway(bench->judge, 0, SEEN_NODE);
    sim_judge_stranger(bench->judge, ip_v4(51, 15, 9, 9));
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    sim_judge_free(bench->judge);
    free(bench);
    return 0;
}

static void see(struct bench *bench, enum sim_kind kind, uint8_t peer, struct view payload)
{
    struct sim_record record = seen_record(bench->verdict.now_ns, kind, peer, payload);
    sim_judge_see(bench->judge, &record);
}

static void sent(struct bench *bench, struct view payload)
{
    see(bench, SIM_KIND_SENT, 1, payload);
}

static void expect(const struct bench *bench, const char *oracle)
{
    assert_string_equal(bench->verdict.oracle, oracle);
}

/* ---- messages ---- */

static struct view initiation(uint8_t out[MAX_SIZE], uint8_t key)
{
    memset(out, 0, 148);
    out[0] = 1;
    out[8] = key;
    return (struct view){out, 148};
}

static struct view response(uint8_t out[MAX_SIZE], uint8_t own, uint8_t theirs, uint8_t key)
{
    memset(out, 0, 92);
    out[0] = 2;
    out[4] = own;
    out[8] = theirs;
    out[12] = key;
    return (struct view){out, 92};
}

static struct view data(uint8_t out[MAX_SIZE], uint8_t theirs, uint64_t counter)
{
    memset(out, 0, 64);
    out[0] = 4;
    out[4] = theirs;
    store_le64(out + 8, counter);
    return (struct view){out, 64};
}

static struct view request(uint8_t out[MAX_SIZE], uint8_t id, uint8_t content)
{
    memset(out, 0, 32);
    store_be16(out, 1);
    store_be16(out + 2, 12);
    store_be32(out + 4, UINT32_C(0x2112A442));
    out[8] = id;
    store_be16(out + 20, 0x8022);
    store_be16(out + 22, 8);
    out[24] = content;
    return (struct view){out, 32};
}

static struct view in_channel(uint8_t out[MAX_SIZE], struct view inner)
{
    store_be16(out, 0x4001);
    store_be16(out + 2, (uint16_t)inner.len);
    memcpy(out + 4, inner.at, inner.len);
    return (struct view){out, 4 + inner.len};
}

/* ---- O-08, O-09 ---- */

static void a_session_from_handshake_to_data_is_fine(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    uint8_t outer[MAX_SIZE];
    sent(bench, response(room, 1, 7, 1));
    for (uint64_t counter = 0; counter < 5; counter++) {
        sent(bench,
             counter % 2 == 0 ? data(room, 7, counter) : in_channel(outer, data(room, 7, counter)));
    }
    sent(bench, initiation(room, 2));
    see(bench, SIM_KIND_DELIVERED, 1, response(room, 9, 3, 3));
    sent(bench, data(room, 9, 0));
    sent(bench, request(room, 1, 1));
    sent(bench, request(room, 1, 1));
    expect(bench, "");
}

static void an_ephemeral_key_that_comes_back_is_noticed(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    sent(bench, initiation(room, 4));
    expect(bench, "");
    sent(bench, response(room, 1, 7, 4));
    expect(bench, "O-08");
}

static void a_counter_that_comes_back_is_noticed(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    uint8_t outer[MAX_SIZE];
    sent(bench, response(room, 1, 7, 1));
    sent(bench, data(room, 7, 0));
    sent(bench, data(room, 7, 1));
    expect(bench, "");
    sent(bench, in_channel(outer, data(room, 7, 1)));
    expect(bench, "O-08");
}

static void a_transaction_id_for_two_messages_is_noticed(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    uint8_t outer[MAX_SIZE];
    sent(bench, request(room, 1, 1));
    sent(bench, in_channel(outer, request(room, 1, 1)));
    expect(bench, "");
    sent(bench, in_channel(outer, request(room, 1, 2)));
    expect(bench, "O-08");
}

static void the_index_of_a_living_session_is_not_given_again(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    sent(bench, response(room, 1, 7, 1));
    bench->verdict.now_ns += 181 * NS_PER_S;
    sent(bench, response(room, 1, 8, 2));
    expect(bench, "");
    bench->verdict.now_ns += 100 * NS_PER_S;
    sent(bench, response(room, 1, 9, 3));
    expect(bench, "O-08");
}

static void data_without_a_handshake_is_noticed(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    sent(bench, response(room, 1, 7, 1));
    sim_judge_boot(bench->judge, 0);
    sent(bench, data(room, 7, 0));
    expect(bench, "O-09");
}

static void data_on_an_old_key_is_noticed(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    sent(bench, response(room, 1, 7, 1));
    bench->verdict.now_ns += 180 * NS_PER_S;
    sent(bench, data(room, 7, 0));
    expect(bench, "");
    bench->verdict.now_ns += 2 * NS_PER_S;
    sent(bench, data(room, 7, 1));
    expect(bench, "O-09");
}

/* ---- O-10 ---- */

static void a_stranger_gets_no_more_than_three_times_its_bytes(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE] = {0};
    see(bench, SIM_KIND_DELIVERED, 9, (struct view){room, 100});
    see(bench, SIM_KIND_SENT, 9, (struct view){room, 300});
    expect(bench, "");
    see(bench, SIM_KIND_SENT, 9, (struct view){room, 1});
    expect(bench, "O-10");
}

/* ---- O-15 ---- */

static void a_secret_of_the_portal_in_an_event_is_noticed(void **state)
{
    struct bench *bench = *state;
    see(bench, SIM_KIND_STATE, 1, view_text("EV_X password=abcdefghijkl"));
    see(bench, SIM_KIND_STREAM_EVENT, 1,
        view_text("{\"a\":1,\"password\":\"short\",\"password\":\"abcdefghijkl\",\"b\":2}"));
    see(bench, SIM_KIND_STATE, 1, view_text("EV_X short"));
    expect(bench, "");
    see(bench, SIM_KIND_STATE, 1, view_text("EV_X text=abcdefghijkl"));
    expect(bench, "O-15");
}

static void a_token_on_the_wire_is_noticed(void **state)
{
    struct bench *bench = *state;
    uint8_t room[MAX_SIZE];
    sim_judge_secret(bench->judge, view_text("token-of-the-gateway"));
    struct view message = request(room, 1, 1);
    memcpy(room + 32, "token-of-the-gateway", 20);
    store_be16(room + 2, 32);
    sent(bench, message);
    expect(bench, "");
    message.len = 52;
    room[8] = 2;
    sent(bench, message);
    expect(bench, "O-15");
}

/* ---- O-07 ---- */

static struct sim_packet opening_packet(void)
{
    return (struct sim_packet){.destination = ip_v4(172, 20, 0, 1),
                               .source_port = 4000,
                               .destination_port = 80,
                               .tcp_flags = SIM_TCP_SYN};
}

static void a_connection_to_a_name_keeps_its_address(void **state)
{
    struct bench *bench = *state;
    struct sim_packet packet = opening_packet();
    sim_judge_flow(bench->judge, 0, 1, 1, &packet);
    packet.tcp_flags = SIM_TCP_ACK;
    sim_judge_flow(bench->judge, 0, 1, 1, &packet);
    sim_judge_flows_forget(bench->judge, 0);
    packet.destination = ip_v4(172, 20, 0, 2);
    sim_judge_flow(bench->judge, 0, 1, 1, &packet);
    expect(bench, "");
    packet.destination = ip_v4(172, 20, 0, 3);
    sim_judge_flow(bench->judge, 0, 1, 1, &packet);
    expect(bench, "O-07");
}

static void a_connection_that_is_over_may_leave_an_acknowledgement(void **state)
{
    struct bench *bench = *state;
    struct sim_packet packet = opening_packet();
    sim_judge_flow(bench->judge, 0, 1, 1, &packet);
    packet.tcp_flags = SIM_TCP_FIN | SIM_TCP_ACK;
    sim_judge_flow(bench->judge, 0, 1, NS_PER_S, &packet);
    packet.tcp_flags = SIM_TCP_ACK;
    packet.destination = ip_v4(172, 20, 0, 2);
    sim_judge_flow(bench->judge, 0, 1, 6 * NS_PER_S, &packet);
    expect(bench, "");
    packet.destination = ip_v4(172, 20, 0, 3);
    sim_judge_flow(bench->judge, 0, 1, 10 * NS_PER_S, &packet);
    expect(bench, "O-07");
}

#define JUDGE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JUDGE_TEST(a_session_from_handshake_to_data_is_fine),
        JUDGE_TEST(an_ephemeral_key_that_comes_back_is_noticed),
        JUDGE_TEST(a_counter_that_comes_back_is_noticed),
        JUDGE_TEST(a_transaction_id_for_two_messages_is_noticed),
        JUDGE_TEST(the_index_of_a_living_session_is_not_given_again),
        JUDGE_TEST(data_without_a_handshake_is_noticed),
        JUDGE_TEST(data_on_an_old_key_is_noticed),
        JUDGE_TEST(a_stranger_gets_no_more_than_three_times_its_bytes),
        JUDGE_TEST(a_secret_of_the_portal_in_an_event_is_noticed),
        JUDGE_TEST(a_token_on_the_wire_is_noticed),
        JUDGE_TEST(a_connection_to_a_name_keeps_its_address),
        JUDGE_TEST(a_connection_that_is_over_may_leave_an_acknowledgement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
