#include "tests/support/support.h"

#include <string.h>

#include "tests/support/turn_world.h"

static struct sock_addr peer_at(uint16_t port)
{
    return sock_addr_of(ip_v4(192, 0, 2, 77), port);
}

static struct world *ready_world(unsigned families)
{
    struct world *w = world_new(families);
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    return w;
}

/* What the relay has is what the client believes. */
static void assert_agreed(const struct world *w)
{
    assert_true(turn_client_is_ready(w->client));
    assert_true(w->relay.allocated);
    assert_int_equal(turn_client_relayed(w->client, IP_V4).port, 49999 + w->relay.allocations);
}

/* ---- start ---- */

static void a_fresh_client_allocates_both_families_and_tells_its_candidates(void **state)
{
    (void)state;
    struct world *w = world_new(46);
    world_settle(w);
    const struct turn_client *c = w->client;
    assert_true(turn_client_is_ready(c));
    struct sock_addr active = turn_client_active_server(c);
    assert_true(sock_addr_equal(&active, &w->relay.addr[0]));
    assert_int_equal(w->relay.seen[STUN_BINDING], 2);
    assert_int_equal(w->relay.seen[STUN_ALLOCATE], 2);
    assert_int_equal(w->events_count, 7);
    assert_int_equal(world_count(w, TURN_EVENT_READY), 1);
    assert_int_equal(world_count(w, TURN_EVENT_CANDIDATE_NEW), 6);
    assert_int_equal(turn_client_relayed(c, IP_V4).port, 50000);
    assert_int_equal(turn_client_relayed(c, IP_V6).port, 50000);
    struct sock_addr srflx = turn_client_srflx(c, IP_V4);
    assert_true(sock_addr_equal(&srflx, &w->relay.mapped[0]));
    struct sock_addr host = turn_client_host(c, IP_V4);
    assert_true(sock_addr_equal(&host, &w->local[0]));
    assert_true(turn_client_rtt(c).ns == DURATION_MS(10).ns);
    uint32_t index = 0;
    unsigned count = 0;
    struct turn_candidate candidate;
    while (turn_client_candidate(c, &index, &candidate)) {
        count++;
    }
    assert_int_equal(count, 6);
    world_free(w);
}

static void the_first_allocate_carries_no_credentials(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    struct turn_transmit out;
    assert_true(turn_client_poll_transmit(w->client, &out));
    struct stun_writer s;
    uint8_t bytes[128];
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(out.bytes, &msg), DROP_NONE);
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_BINDING, STUN_SUCCESS, &msg.txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, &w->relay.mapped[0]);
    struct view answer = stun_finish(&s);
    struct turn_data data;
    assert_int_equal(
        turn_client_handle_input(w->client, &w->relay.addr[0], &w->local[0], answer, w->now, &data),
        TURN_INPUT_HANDLED);
    assert_true(turn_client_poll_transmit(w->client, &out));
    assert_int_equal(stun_msg_decode(out.bytes, &msg), DROP_NONE);
    assert_int_equal(msg.method, STUN_ALLOCATE);
    assert_null(msg.username.at);
    assert_null(msg.realm.at);
    assert_int_equal(msg.integrity_at, 0);
    assert_int_equal(msg.additional_family, IP_V6);
    assert_int_equal(msg.additional_family_old, IP_V6);
    /* The same answer again belongs to nothing. */
    assert_int_equal(
        turn_client_handle_input(w->client, &w->relay.addr[0], &w->local[0], answer, w->now, &data),
        TURN_INPUT_DROPPED);
    assert_int_equal(data.reason, DROP_STUN_UNKNOWN_TXN);
    world_free(w);
}

static void a_silent_relay_is_asked_four_times_and_given_up_after_8125_ms(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.silent = true;
    world_settle(w);
    static const uint16_t at_ms[] = {0, 1000, 2500, 4750};
    static const uint16_t check_ms[] = {999, 2499, 4749, 8124};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(w->requests, i + 1);
        world_pass(w, DURATION_MS(check_ms[i] - at_ms[i]));
        assert_int_equal(w->requests, i + 1);
        assert_false(turn_client_can_be_freed(w->client));
        world_pass(w, DURATION_MS(1));
    }
    assert_true(turn_client_can_be_freed(w->client));
    assert_true(turn_client_is_suspended(w->client));
    assert_int_equal(turn_client_failure(w->client), TURN_FAILURE_TIMEOUT);
    assert_int_equal(world_count(w, TURN_EVENT_FAILED), 1);
    /* Kept by its owner, it finds the relay when that comes back. */
    world_pass(w, DURATION_S(100));
    assert_int_equal(world_count(w, TURN_EVENT_FAILED), 1);
    w->relay.silent = false;
    world_pass(w, DURATION_S(40));
    assert_true(turn_client_is_ready(w->client));
    assert_false(turn_client_can_be_freed(w->client));
    world_free(w);
}

static void a_retransmission_repeats_the_bytes(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    struct turn_transmit out;
    uint8_t first[128];
    assert_true(turn_client_poll_transmit(w->client, &out));
    size_t len = out.bytes.len;
    memcpy(first, out.bytes.at, len);
    w->now = instant_add(w->now, DURATION_S(1));
    turn_client_handle_timeout(w->client, w->now);
    assert_true(turn_client_poll_transmit(w->client, &out));
    assert_int_equal(out.bytes.len, len);
    assert_memory_equal(out.bytes.at, first, len);
    assert_false(turn_client_poll_transmit(w->client, &out));
    world_free(w);
}

static void the_family_that_answers_is_used(void **state)
{
    (void)state;
    struct world *w = world_new(46);
    w->relay.mapped[0] = (struct sock_addr){0};
    world_settle(w);
    struct sock_addr active = turn_client_active_server(w->client);
    assert_true(sock_addr_equal(&active, &w->relay.addr[1]));
    world_pass(w, DURATION_S(20));
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void configurations_that_cannot_work_are_refused(void **state)
{
    (void)state;
    struct world *w = world_new(46);
    struct turn_client_config good = world_config(w);
    struct turn_client_config bad = good;
    bad.server_v4 = (struct sock_addr){0};
    bad.server_v6 = (struct sock_addr){0};
    assert_int_equal(turn_client_update(w->client, &bad, w->now), ERR_ARGUMENT);
    bad = good;
    bad.server_v4 = good.server_v6;
    assert_int_equal(turn_client_update(w->client, &bad, w->now), ERR_ARGUMENT);
    bad = good;
    bad.server_v4.port = 0;
    assert_int_equal(turn_client_update(w->client, &bad, w->now), ERR_ARGUMENT);
    static const uint8_t text[TURN_USERNAME_MAX + 1] = {0};
    bad = good;
    bad.username = VIEW_OF(text);
    assert_int_equal(turn_client_update(w->client, &bad, w->now), ERR_ARGUMENT);
    bad = good;
    bad.username = VIEW_EMPTY;
    assert_int_equal(turn_client_update(w->client, &bad, w->now), ERR_ARGUMENT);
    bad = good;
    bad.realm = (struct view){text, TURN_TEXT_MAX};
    assert_int_equal(turn_client_update(w->client, &bad, w->now), ERR_ARGUMENT);
    bad = good;
    bad.software = (struct view){text, TURN_TEXT_MAX};
    assert_int_equal(turn_client_update(w->client, &bad, w->now), ERR_ARGUMENT);
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    struct turn_client_config longest = good;
    longest.username = (struct view){text, TURN_USERNAME_MAX};
    longest.realm = (struct view){text, TURN_TEXT_MAX - 1};
    longest.software = longest.realm;
    assert_int_equal(turn_client_update(w->client, &longest, w->now), ERR_NONE);
    world_free(w);
}

/* ---- over time ---- */

static void an_allocation_lives_for_hours(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    world_forget_events(w);
    w->relay.nonce_uses_max = 3; /* 438 now and then */
    world_pass(w, DURATION_S(4 * 3600));
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->events_count, 0);
    assert_int_equal(w->relay.seen[STUN_ALLOCATE], 2);
    assert_true(w->relay.seen[STUN_REFRESH] >= 47);
    assert_true(w->relay.seen[STUN_REFRESH] <= 80);
    /* Every 25 s a BINDING, 14400 s / 25 s. */
    assert_in_range(w->relay.seen[STUN_BINDING], 550, 585);
    world_free(w);
}

static void an_allocation_lives_for_hours_through_loss(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    world_forget_events(w);
    w->relay.lose_every = 3;
    world_pass(w, DURATION_S(4 * 3600));
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->events_count, 0);
    world_free(w);
}

static void data_puts_off_the_keep_alive_but_not_for_ever(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    unsigned before = w->relay.seen[STUN_BINDING];
    for (unsigned i = 0; i < 4; i++) {
        world_pass(w, DURATION_S(10));
        turn_client_note_sent(w->client, w->now);
    }
    assert_int_equal(w->relay.seen[STUN_BINDING], before);
    for (unsigned i = 0; i < 2; i++) {
        world_pass(w, DURATION_S(10));
        turn_client_note_sent(w->client, w->now);
    }
    assert_int_equal(w->relay.seen[STUN_BINDING], before + 1);
    world_free(w);
}

static void a_changed_mapped_address_leads_to_a_new_allocation(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    world_forget_events(w);
    w->relay.mapped[0].port++;
    world_pass(w, DURATION_S(26));
    assert_true(turn_client_is_ready(w->client));
    assert_true(sock_addr_equal(&w->relay.allocated_for, &w->relay.mapped[0]));
    struct sock_addr srflx = turn_client_srflx(w->client, IP_V4);
    assert_true(sock_addr_equal(&srflx, &w->relay.mapped[0]));
    assert_true(world_count(w, TURN_EVENT_CANDIDATE_NEW) >= 1);
    /* The new server-reflexive address is told, the old one never taken back. */
    for (unsigned i = 0; i < w->events_count; i++) {
        if (w->events[i].kind == TURN_EVENT_CANDIDATE_INVALID) {
            assert_int_equal(w->events[i].candidate.kind, TURN_CANDIDATE_RELAYED);
        }
    }
    unsigned allocates = w->relay.seen[STUN_ALLOCATE];
    world_pass(w, DURATION_S(280));
    assert_int_equal(w->relay.seen[STUN_ALLOCATE], allocates);
    world_free(w);
}

static void a_relay_that_dies_is_noticed_and_found_again(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    world_forget_events(w);
    w->relay.silent = true;
    world_pass(w, DURATION_S(25 + 9));
    assert_int_equal(world_count(w, TURN_EVENT_LOST), 1);
    assert_int_equal(world_count(w, TURN_EVENT_CANDIDATE_INVALID), 2);
    assert_int_equal(world_count(w, TURN_EVENT_FAILED), 0);
    assert_int_equal(turn_client_active_server(w->client).ip.family, IP_NONE);
    w->relay.silent = false;
    relay_forget(&w->relay);
    world_pass(w, DURATION_S(5));
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(world_count(w, TURN_EVENT_READY), 1);
    world_free(w);
}

static void forced_refreshes_become_one_and_learn_changed_addresses(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    w->relay.mapped[1].port++; /* of the family that is not in use */
    unsigned refreshes = w->relay.seen[STUN_REFRESH];
    for (unsigned i = 0; i < 10; i++) { /* ten clients ask at once */
        turn_client_refresh(w->client, w->now);
    }
    world_settle(w);
    assert_int_equal(w->relay.seen[STUN_REFRESH], refreshes + 1);
    struct sock_addr srflx = turn_client_srflx(w->client, IP_V6);
    assert_true(sock_addr_equal(&srflx, &w->relay.mapped[1]));
    assert_true(turn_client_is_ready(w->client));
    /* The NAT of the family in use gave another port: a new allocation, without waiting. */
    world_forget_events(w);
    w->relay.mapped[0].port++;
    turn_client_refresh(w->client, w->now);
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(world_count(w, TURN_EVENT_LOST), 1);
    assert_int_equal(world_count(w, TURN_EVENT_READY), 1);
    world_free(w);
}

static void a_quiet_relay_is_looked_after_when_somebody_new_comes(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    unsigned requests = w->requests;
    turn_client_refresh_quiet(w->client, w->now);
    world_settle(w);
    assert_int_equal(w->requests, requests); /* it has just answered */
    world_pass(w, DURATION_S(6));
    turn_client_refresh_quiet(w->client, w->now);
    turn_client_refresh_quiet(w->client, w->now);
    world_settle(w);
    assert_int_equal(w->requests, requests + 2); /* a REFRESH and a BINDING */
    world_free(w);
}

static void a_forced_refresh_finds_a_dead_relay_within_a_second(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    w->relay.silent = true;
    turn_client_refresh(w->client, w->now);
    world_pass(w, DURATION_MS(999));
    assert_true(turn_client_is_ready(w->client));
    world_pass(w, DURATION_MS(1));
    assert_false(turn_client_is_ready(w->client));
    world_free(w);
}

static void an_icmp_error_causes_one_probe_in_ten_seconds(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    unsigned before = w->relay.seen[STUN_REFRESH];
    for (unsigned i = 0; i < 50; i++) {
        turn_client_handle_unreachable(w->client, &w->relay.addr[0], w->now);
        turn_client_handle_unreachable(w->client, &w->relay.addr[1], w->now);
        world_pass(w, DURATION_MS(100));
    }
    assert_int_equal(w->relay.seen[STUN_REFRESH], before + 1);
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void a_restarted_relay_with_the_same_secret_is_used_again_at_the_next_refresh(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    relay_forget(&w->relay);
    world_forget_events(w);
    world_pass(w, DURATION_S(301));
    assert_true(turn_client_is_ready(w->client));
    assert_true(w->relay.allocated);
    world_free(w);
}

static void expiry_without_an_answer_to_refresh_ends_the_allocation(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    world_forget_events(w);
    w->relay.fail_method = STUN_REFRESH;
    w->relay.fail_code = 500;
    w->relay.fail_count = 1000;
    world_pass(w, DURATION_S(601));
    /* Errors to REFRESH are not repeated in a storm, and the end is a new ALLOCATE. */
    assert_in_range(w->relay.seen[STUN_REFRESH], 25, 70);
    assert_true(w->relay.seen[STUN_ALLOCATE] >= 3);
    world_free(w);
}

/* ---- the table of errors ---- */

struct allocate_case {
    uint16_t code;
    bool fails;
    enum turn_failure failure;
};

static void allocate_errors_suspend_or_fail_the_client(void **state)
{
    (void)state;
    static const struct allocate_case cases[] = {
        {300, false, TURN_FAILURE_NONE},       {400, false, TURN_FAILURE_NONE},
        {401, true, TURN_FAILURE_CREDENTIALS}, {403, false, TURN_FAILURE_NONE},
        {420, true, TURN_FAILURE_PROTOCOL},    {441, false, TURN_FAILURE_NONE},
        {442, false, TURN_FAILURE_NONE},       {443, false, TURN_FAILURE_NONE},
        {486, false, TURN_FAILURE_NONE},       {500, false, TURN_FAILURE_NONE},
        {508, false, TURN_FAILURE_NONE},       {699, false, TURN_FAILURE_NONE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = world_new(4);
        w->relay.fail_method = STUN_ALLOCATE;
        w->relay.fail_code = cases[i].code;
        w->relay.fail_count = 1;
        world_settle(w);
        assert_false(turn_client_is_ready(w->client));
        assert_true(turn_client_is_suspended(w->client));
        assert_int_equal(turn_client_last_error(w->client), cases[i].code);
        assert_int_equal(turn_client_failure(w->client), cases[i].failure);
        assert_int_equal(world_count(w, TURN_EVENT_FAILED), cases[i].fails ? 1 : 0);
        world_pass(w, cases[i].fails ? DURATION_S(301) : DURATION_S(11));
        assert_true(turn_client_is_ready(w->client));
        world_free(w);
    }
}

static void errors_repeated_for_ever_do_not_become_a_storm(void **state)
{
    (void)state;
    static const uint16_t codes[] = {300, 401, 403, 420, 437, 438, 440, 441, 443, 486, 508};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct world *w = world_new(4);
        w->relay.fail_method = STUN_ALLOCATE;
        w->relay.fail_code = codes[i];
        w->relay.fail_count = UINT32_MAX;
        world_pass(w, DURATION_S(3600));
        assert_false(turn_client_is_ready(w->client));
        assert_in_range(w->relay.seen[STUN_ALLOCATE], 3, 400);
        world_free(w);
    }
}

/* Whatever refuses a refresh or a channel a few times: afterwards both sides agree again, and it
 * was no storm. */
static void errors_to_refresh_and_channel_bind_are_survived(void **state)
{
    (void)state;
    static const uint16_t codes[] = {300, 400, 401, 403, 420, 437, 438,
                                     440, 441, 443, 486, 500, 508};
    static const uint16_t methods[] = {STUN_REFRESH, STUN_CHANNEL_BIND};
    for (size_t i = 0; i < 2 * ARRAY_COUNT(codes); i++) {
        struct world *w = ready_world(4);
        struct sock_addr peer = peer_at(1);
        uint16_t number;
        w->relay.fail_method = methods[i % 2];
        w->relay.fail_code = codes[i / 2];
        w->relay.fail_count = 3;
        unsigned requests = w->requests;
        turn_client_refresh(w->client, w->now);
        for (unsigned s = 0; s < 1200; s++) { /* data for the peer every second */
            (void)!turn_client_channel(w->client, &peer, w->now, &number);
            world_pass(w, DURATION_S(1));
        }
        assert_agreed(w);
        assert_true(turn_client_channel(w->client, &peer, w->now, &number));
        assert_true(w->relay.channel_bound[number - CHANNEL_NUMBER_MIN]);
        assert_in_range(w->requests - requests, 20, 150);
        world_free(w);
    }
}

static void a_refused_family_is_left_out(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.fail_method = STUN_ALLOCATE;
    w->relay.fail_code = 440;
    w->relay.fail_count = 1;
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->relay.last.additional_family, IP_NONE);
    assert_int_equal(w->relay.last.requested_family, IP_NONE);
    world_free(w);
    w = world_new(4);
    w->relay.fail_method = STUN_ALLOCATE;
    w->relay.fail_code = 440;
    w->relay.fail_count = 2;
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->relay.last.requested_family, IP_V6);
    assert_int_equal(turn_client_relayed(w->client, IP_V4).ip.family, IP_NONE);
    world_free(w);
}

static void an_allocation_in_the_way_is_deleted_first(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.allocated = true;
    w->relay.allocated_for = w->relay.mapped[0];
    w->relay.expires_at = instant_add(w->now, DURATION_S(600));
    world_settle(w);
    assert_int_equal(w->relay.deletes, 1);
    world_pass(w, DURATION_MS(510)); /* copies of the deletion may come until then */
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->relay.deletes, 1);
    world_free(w);
}

/* A client whose first ALLOCATE met an allocation of an earlier life, settled. Requests: 0 BINDING,
 * 1 ALLOCATE, 2 ALLOCATE with credentials (437), 3 deletion, 4 ALLOCATE. */
static struct world *world_in_the_way(void)
{
    struct world *w = world_new(4);
    w->relay.allocated = true;
    w->relay.allocated_for = w->relay.mapped[0];
    w->relay.expires_at = instant_add(w->now, DURATION_S(600));
    world_settle(w);
    assert_int_equal(w->relay.deletes, 1);
    return w;
}

static void copies_of_a_deletion_find_nothing_to_delete(void **state)
{
    (void)state;
    struct world *w = world_in_the_way();
    world_pass(w, DURATION_MS(450));
    assert_false(turn_client_is_ready(w->client)); /* it lets copies pass by */
    (void)world_repeat(w, 3, false);
    world_pass(w, DURATION_MS(100));
    assert_agreed(w);
    assert_int_equal(w->requests, 5);
    world_free(w);
}

static void an_allocation_deleted_by_a_late_copy_is_missed_soon(void **state)
{
    (void)state;
    struct world *w = world_in_the_way();
    world_pass(w, DURATION_MS(600));
    assert_agreed(w);
    (void)world_repeat(w, 3, false);
    assert_false(w->relay.allocated);
    world_pass(w, DURATION_S(3));
    assert_agreed(w);
    world_free(w);
}

static void an_allocation_replaced_by_late_copies_is_replaced(void **state)
{
    (void)state;
    struct world *w = world_in_the_way();
    world_pass(w, DURATION_MS(600));
    assert_agreed(w);
    world_forget_events(w);
    (void)world_repeat(w, 3, false);
    assert_int_equal(world_repeat(w, 4, false), TURN_INPUT_HANDLED);
    assert_int_equal(w->relay.allocations, 2);
    world_pass(w, DURATION_S(1));
    assert_agreed(w);
    assert_int_equal(world_count(w, TURN_EVENT_LOST), 1);
    assert_int_equal(world_count(w, TURN_EVENT_READY), 1);
    /* Each request says so once: no copy makes a circle of it. */
    unsigned requests = w->requests;
    assert_int_equal(world_repeat(w, 4, false), TURN_INPUT_DROPPED);
    assert_int_equal(w->requests, requests);
    world_free(w);
}

static void an_allocation_made_by_a_late_copy_does_not_block_the_next(void **state)
{
    (void)state;
    for (unsigned is_lost = 0; is_lost < 2; is_lost++) {
        struct world *w = world_in_the_way();
        (void)world_repeat(w, 2, is_lost == 1); /* the refused one, now that there is room */
        assert_true(w->relay.allocated);
        world_pass(w, is_lost == 1 ? DURATION_S(3) : DURATION_S(1));
        assert_agreed(w);
        world_free(w);
    }
}

static void a_repeated_success_of_the_same_allocation_changes_nothing(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    unsigned requests = w->requests;
    w->relay.allocated = false;
    w->relay.allocations = 0; /* coturn answers a copy as it did before */
    assert_int_equal(world_repeat(w, requests - 1, false), TURN_INPUT_DROPPED);
    world_settle(w);
    assert_int_equal(w->requests, requests);
    assert_agreed(w);
    /* Nor does one that is not signed by the relay. */
    w->relay.allocated = false;
    w->relay.forge_success = true;
    assert_int_equal(world_repeat(w, requests - 1, false), TURN_INPUT_DROPPED);
    world_settle(w);
    assert_int_equal(w->requests, requests);
    world_free(w);
}

static void a_deleted_allocation_of_coturn_may_linger(void **state)
{
    (void)state;
    struct world *w = world_new(46);
    w->relay.coturn = true;
    w->relay.allocated = true;
    w->relay.allocated_for = w->relay.mapped[0];
    w->relay.expires_at = instant_add(w->now, DURATION_S(600));
    world_settle(w);
    assert_false(turn_client_is_ready(w->client));
    world_pass(w, DURATION_S(4));
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->relay.deletes, 1);
    assert_int_equal(turn_client_relayed(w->client, IP_V6).port, 50000);
    world_pass(w, DURATION_S(3600));
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void an_unsigned_437_does_not_tear_down_a_working_allocation(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    world_forget_events(w);
    w->relay.fail_method = STUN_REFRESH;
    w->relay.fail_code = 437;
    w->relay.fail_unsigned = true;
    w->relay.fail_count = 2;
    world_pass(w, DURATION_S(310));
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->events_count, 0);
    assert_int_equal(w->relay.seen[STUN_REFRESH], 3);
    world_free(w);
}

/* A relay that ends every allocation at once: the first time a restart, then a fault that must not
 * cost each client a message a round trip. */
static void a_relay_that_ends_every_allocation_is_asked_less_and_less(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct sock_addr peer = sock_addr_of(ip_v4(192, 0, 2, 1), 1000);
    unsigned before = w->relay.allocations;
    w->relay.fail_method = STUN_CHANNEL_BIND;
    w->relay.fail_code = 437;
    w->relay.fail_forgets = true;
    w->relay.fail_count = 1;
    turn_client_bind_channel(w->client, &peer, w->now);
    struct instant asked_at = w->now;
    world_settle(w);
    assert_int_equal(w->relay.allocations, before + 1); /* at once */
    assert_true(instant_since(w->now, asked_at).ns < NS_PER_S);
    assert_true(turn_client_is_ready(w->client));

    world_forget_events(w);
    w->relay.fail_count = UINT32_MAX;
    turn_client_bind_channel(w->client, &(struct sock_addr){ip_v4(192, 0, 2, 2), 1000}, w->now);
    world_pass(w, DURATION_S(60));
    assert_in_range(w->relay.allocations - before, 4, 9);
    w->relay.fail_count = 0; /* it gets well */
    world_pass(w, DURATION_S(40));
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void a_signed_437_to_refresh_leads_to_a_new_allocation(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    unsigned allocates = w->relay.seen[STUN_ALLOCATE];
    w->relay.allocated = false;
    world_pass(w, DURATION_S(301));
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->relay.seen[STUN_ALLOCATE], allocates + 1);
    world_free(w);
}

static void a_forged_success_is_dropped(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.forge_success = true;
    world_settle(w);
    assert_false(turn_client_is_ready(w->client));
    world_free(w);
}

static void another_realm_is_refused(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    struct turn_client_config config = world_config(w);
    config.realm = view_text("elsewhere");
    assert_int_equal(turn_client_init(w->client, &config, &w->rng, w->now), ERR_NONE);
    world_settle(w);
    assert_int_equal(turn_client_failure(w->client), TURN_FAILURE_REALM);
    world_free(w);
}

/* ---- credentials ---- */

static void new_credentials_do_not_end_a_working_allocation(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    world_forget_events(w);
    struct turn_client_config config = world_config(w);
    config.username = view_text("1800000000:other");
    config.password = view_text("otherpassword");
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    world_pass(w, DURATION_S(1));
    assert_int_equal(w->events_count, 0);
    assert_true(turn_client_is_ready(w->client));
    /* The relay restarts with another secret: only the new ones are good. */
    w->relay.user = "1800000000:other";
    w->relay.pass = "otherpassword";
    relay_forget(&w->relay);
    world_pass(w, DURATION_S(301));
    assert_true(turn_client_is_ready(w->client));
    assert_true(w->relay.allocated);
    assert_int_equal(turn_client_failure(w->client), TURN_FAILURE_NONE);
    world_free(w);
}

static void void_credentials_fail_until_new_ones_come(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.has_secret = false;
    world_settle(w);
    assert_int_equal(turn_client_failure(w->client), TURN_FAILURE_CREDENTIALS);
    assert_true(turn_client_can_be_freed(w->client));
    w->relay.has_secret = true;
    w->relay.user = "1800000000:other";
    struct turn_client_config config = world_config(w);
    config.username = view_text("1800000000:other");
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    assert_false(turn_client_can_be_freed(w->client));
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void a_nonce_damaged_on_the_way_is_not_kept(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.damaged_nonces = 1;
    world_settle(w);
    assert_int_equal(turn_client_failure(w->client), TURN_FAILURE_CREDENTIALS);
    struct turn_client_config config = world_config(w);
    w->relay.user = "1800000000:other";
    config.username = view_text("1800000000:other");
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void the_same_credentials_change_nothing(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    unsigned requests = w->requests;
    struct turn_client_config config = world_config(w);
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    world_settle(w);
    assert_int_equal(w->requests, requests);
    world_free(w);
}

static void another_server_address_starts_again(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    world_forget_events(w);
    w->relay.addr[0] = sock_addr_of(ip_v4(203, 0, 113, 11), 3478);
    relay_forget(&w->relay);
    struct turn_client_config config = world_config(w);
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    struct sock_addr active = turn_client_active_server(w->client);
    assert_true(sock_addr_equal(&active, &w->relay.addr[0]));
    world_free(w);
}

/* ---- shutdown ---- */

static void closing_gives_the_allocation_back(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    world_forget_events(w);
    turn_client_close(w->client, w->now);
    assert_false(turn_client_can_be_freed(w->client));
    world_settle(w);
    assert_true(turn_client_can_be_freed(w->client));
    assert_int_equal(w->relay.deletes, 1);
    assert_int_equal(world_count(w, TURN_EVENT_CANDIDATE_INVALID), 2);
    assert_true(instant_is_never(turn_client_poll_timeout(w->client).at));
    world_free(w);
}

static void no_channel_is_asked_for_at_port_0_or_while_closing(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct sock_addr nowhere = peer_at(0);
    struct sock_addr peer = peer_at(1);
    turn_client_bind_channel(w->client, &nowhere, w->now);
    world_settle(w);
    turn_client_close(w->client, w->now);
    turn_client_bind_channel(w->client, &peer, w->now);
    world_settle(w);
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], 0);
    assert_true(turn_client_can_be_freed(w->client));
    world_free(w);
}

static void a_wiped_client_holds_no_credentials(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct turn_client_config config = world_config(w);
    config.password = view_text("another password");
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    static const struct turn_credentials none;
    assert_memory_not_equal(&w->client->credentials, &none, sizeof(none));
    assert_memory_not_equal(&w->client->credentials_next, &none, sizeof(none));
    turn_client_wipe(w->client);
    assert_memory_equal(&w->client->credentials, &none, sizeof(none));
    assert_memory_equal(&w->client->credentials_next, &none, sizeof(none));
    world_free(w);
}

static void closing_waits_a_second_for_a_silent_relay(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    w->relay.silent = true;
    turn_client_close(w->client, w->now);
    world_pass(w, DURATION_MS(999));
    assert_false(turn_client_can_be_freed(w->client));
    world_pass(w, DURATION_MS(1));
    assert_true(turn_client_can_be_freed(w->client));
    world_free(w);
}

/* ---- channels ---- */

static void data_flows_through_a_channel(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    struct sock_addr peer = peer_at(1000);
    uint16_t number = 0;
    assert_false(turn_client_channel(w->client, &peer, w->now, &number)); /* asks */
    assert_true(turn_client_channel(w->client, &peer, w->now, &number));  /* in flight is good */
    assert_int_equal(number, 0x4000);
    world_settle(w);
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], 1);
    assert_true(w->relay.channel_bound[0]);
    struct turn_data data;
    assert_int_equal(world_peer_sends(w, number, &data), TURN_INPUT_DATA);
    assert_true(sock_addr_equal(&data.peer, &peer));
    struct sock_addr relayed = turn_client_relayed(w->client, IP_V4);
    assert_true(sock_addr_equal(&data.relayed, &relayed));
    assert_int_equal(data.offset, 4);
    assert_int_equal(data.length, 7);
    assert_int_equal(world_peer_sends(w, 0x4001, &data), TURN_INPUT_DROPPED);
    assert_int_equal(data.reason, DROP_TURN_CHANNEL);
    assert_int_equal(world_peer_sends(w, 0x7FFF, &data), TURN_INPUT_DROPPED);
    world_free(w);
}

static void peers_wait_for_the_allocation(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.nonce_uses_max = 1000;
    for (uint16_t i = 0; i < TURN_PENDING_MAX + 5; i++) {
        struct sock_addr peer = peer_at((uint16_t)(1000 + i));
        turn_client_bind_channel(w->client, &peer, w->now);
        turn_client_bind_channel(w->client, &peer, w->now);
    }
    world_settle(w);
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], TURN_PENDING_MAX);
    uint16_t number = 0;
    struct sock_addr oldest = peer_at(1000);
    struct sock_addr newest = peer_at(1000 + TURN_PENDING_MAX + 4);
    assert_true(turn_client_channel(w->client, &newest, w->now, &number));
    assert_false(turn_client_channel(w->client, &oldest, w->now, &number));
    world_free(w);
}

/* Several requests in flight, some lost, and a nonce for each answer: what is sent again is signed
 * with another nonce and must not claim to be the same transaction. */
static void a_request_that_is_signed_anew_is_another_transaction(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    w->relay.nonce_uses = 2;
    w->relay.nonce_uses_max = 2;
    w->relay.lose_every = 3;
    for (uint16_t i = 0; i < 6; i++) {
        struct sock_addr peer = peer_at((uint16_t)(4000 + i));
        turn_client_bind_channel(w->client, &peer, w->now);
    }
    world_pass(w, DURATION_S(20)); /* the relay checks every transaction id */
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void a_channel_with_traffic_is_refreshed_and_one_without_dies(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct sock_addr busy = peer_at(1);
    struct sock_addr idle = peer_at(2);
    turn_client_bind_channel(w->client, &busy, w->now);
    turn_client_bind_channel(w->client, &idle, w->now);
    world_settle(w);
    uint16_t number = 0;
    struct turn_data data;
    for (unsigned i = 0; i < 200; i++) {
        world_pass(w, DURATION_S(10));
        assert_int_equal(world_peer_sends(w, 0x4000, &data), TURN_INPUT_DATA);
    }
    assert_true(turn_client_channel(w->client, &busy, w->now, &number));
    assert_int_equal(number, 0x4000);
    assert_false(w->client->channels.entries[1].state == TURN_CHANNEL_BOUND);
    assert_in_range(w->relay.seen[STUN_CHANNEL_BIND], 8, 9); /* 2 and one in 300 s */
    world_free(w);
}

static void late_data_refreshes_a_channel_at_once(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct sock_addr peer = peer_at(1);
    turn_client_bind_channel(w->client, &peer, w->now);
    world_pass(w, DURATION_S(400));
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], 1);
    struct turn_data data;
    assert_int_equal(world_peer_sends(w, 0x4000, &data), TURN_INPUT_DATA);
    world_pass(w, DURATION_MS(1));
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], 2);
    world_free(w);
}

static void a_cooling_number_goes_back_to_the_same_peer_and_is_free_after_900_s(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct sock_addr peer = peer_at(1);
    uint16_t number = 0;
    turn_client_bind_channel(w->client, &peer, w->now);
    world_pass(w, DURATION_S(601));
    assert_false(turn_client_channel(w->client, &peer, w->now, &number));
    world_settle(w);
    assert_true(turn_client_channel(w->client, &peer, w->now, &number));
    assert_int_equal(number, 0x4000);
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], 2);
    world_pass(w, DURATION_S(901));
    assert_int_equal(w->client->channels.entries[0].state, TURN_CHANNEL_FREE);
    world_free(w);
}

/* A timer may come late: the number's age is judged when something is to be sent. */
static void a_number_carries_nothing_after_600_s_even_before_its_timer(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct sock_addr peer = peer_at(1);
    uint16_t number = 0;
    turn_client_bind_channel(w->client, &peer, w->now);
    world_settle(w);
    w->now = instant_add(w->client->channels.entries[0].since, TURN_CHANNEL_LIFE);
    struct instant before = {w->now.ns - 1};
    assert_true(turn_client_channel(w->client, &peer, before, &number));
    assert_false(turn_client_channel(w->client, &peer, w->now, &number));
    world_free(w);
}

static void a_refused_peer_is_not_asked_for_again_for_30_s(void **state)
{
    (void)state;
    static const uint16_t codes[] = {400, 403, 420, 440, 441, 443, 486, 500, 508};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct world *w = ready_world(4);
        struct sock_addr peer = peer_at(1);
        uint16_t number = 0;
        w->relay.fail_method = STUN_CHANNEL_BIND;
        w->relay.fail_code = codes[i];
        w->relay.fail_count = 1;
        for (unsigned n = 0; n < 29; n++) {
            assert_false(turn_client_channel(w->client, &peer, w->now, &number));
            world_pass(w, DURATION_S(1));
        }
        assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], 1);
        world_pass(w, DURATION_S(2));
        assert_false(turn_client_channel(w->client, &peer, w->now, &number));
        world_settle(w);
        assert_true(turn_client_channel(w->client, &peer, w->now, &number));
        assert_int_equal(number, 0x4001); /* the first number may still be known to the relay */
        assert_true(turn_client_is_ready(w->client));
        world_free(w);
    }
}

static void a_channel_bind_without_allocation_allocates_and_asks_again(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    w->relay.allocated = false;
    struct sock_addr peer = peer_at(1);
    turn_client_bind_channel(w->client, &peer, w->now);
    world_settle(w);
    uint16_t number = 0;
    assert_true(turn_client_is_ready(w->client));
    assert_true(turn_client_channel(w->client, &peer, w->now, &number));
    assert_true(w->relay.channel_bound[number - 0x4000]);
    world_free(w);
}

static void a_peer_of_a_family_without_relayed_address_gets_no_channel(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.v4_only = true;
    world_settle(w);
    struct sock_addr peer = w->local[0];
    static const uint8_t v6[16] = {0x20, 1};
    peer.ip = ip_from_bytes(IP_V6, v6);
    uint16_t number = 0;
    assert_false(turn_client_channel(w->client, &peer, w->now, &number));
    world_settle(w);
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], 0);
    world_free(w);
}

static void all_4096_numbers_can_be_used_and_no_more(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    uint16_t number = 0;
    for (unsigned i = 0; i < TURN_CHANNELS_MAX; i++) {
        struct sock_addr peer = peer_at((uint16_t)(i + 1));
        assert_false(turn_client_channel(w->client, &peer, w->now, &number));
        world_settle(w);
        assert_true(turn_client_channel(w->client, &peer, w->now, &number));
        assert_int_equal(number, CHANNEL_NUMBER_MIN + i);
    }
    struct sock_addr more = peer_at(5000);
    unsigned before = w->relay.seen[STUN_CHANNEL_BIND];
    assert_false(turn_client_channel(w->client, &more, w->now, &number));
    world_settle(w);
    assert_int_equal(w->relay.seen[STUN_CHANNEL_BIND], before);
    world_pass(w, DURATION_S(1000));
    assert_false(turn_client_channel(w->client, &more, w->now, &number));
    world_settle(w);
    assert_true(turn_client_channel(w->client, &more, w->now, &number));
    world_pass(w, DURATION_S(1000)); /* all are free again: as many others find one */
    for (unsigned i = 0; i < TURN_CHANNELS_MAX; i++) {
        struct sock_addr peer = peer_at((uint16_t)(i + 5001));
        turn_client_bind_channel(w->client, &peer, w->now);
        world_settle(w);
        assert_true(turn_client_channel(w->client, &peer, w->now, &number));
    }
    world_free(w);
}

/* ---- strangers ---- */

static void strangers_and_garbage_are_refused_by_name(void **state)
{
    (void)state;
    struct world *w = ready_world(46);
    struct turn_data data;
    struct sock_addr stranger = peer_at(3478);
    uint8_t bytes[64] = {0x40, 0, 0, 9};
    struct view view = {bytes, 8};
    assert_int_equal(
        turn_client_handle_input(w->client, &stranger, &w->local[0], view, w->now, &data),
        TURN_INPUT_NOT_MINE);
    assert_int_equal(
        turn_client_handle_input(w->client, &w->relay.addr[0], &w->local[0], view, w->now, &data),
        TURN_INPUT_DROPPED);
    assert_int_equal(data.reason, DROP_TURN_LENGTH);
    bytes[0] = 0x80;
    assert_int_equal(
        turn_client_handle_input(w->client, &w->relay.addr[0], &w->local[0], view, w->now, &data),
        TURN_INPUT_DROPPED);
    assert_int_equal(data.reason, DROP_STUN_MALFORMED);
    struct stun_writer s;
    struct stun_txn id = {{9}};
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_DATA, STUN_INDICATION, &id);
    assert_int_equal(turn_client_handle_input(w->client, &w->relay.addr[0], &w->local[0],
                                              stun_finish(&s), w->now, &data),
                     TURN_INPUT_DROPPED);
    assert_int_equal(data.reason, DROP_STUN_UNEXPECTED);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_client_allocates_both_families_and_tells_its_candidates),
        cmocka_unit_test(the_first_allocate_carries_no_credentials),
        cmocka_unit_test(a_silent_relay_is_asked_four_times_and_given_up_after_8125_ms),
        cmocka_unit_test(a_retransmission_repeats_the_bytes),
        cmocka_unit_test(the_family_that_answers_is_used),
        cmocka_unit_test(configurations_that_cannot_work_are_refused),
        cmocka_unit_test(an_allocation_lives_for_hours),
        cmocka_unit_test(an_allocation_lives_for_hours_through_loss),
        cmocka_unit_test(data_puts_off_the_keep_alive_but_not_for_ever),
        cmocka_unit_test(a_changed_mapped_address_leads_to_a_new_allocation),
        cmocka_unit_test(a_relay_that_dies_is_noticed_and_found_again),
        cmocka_unit_test(forced_refreshes_become_one_and_learn_changed_addresses),
        cmocka_unit_test(a_quiet_relay_is_looked_after_when_somebody_new_comes),
        cmocka_unit_test(a_forced_refresh_finds_a_dead_relay_within_a_second),
        cmocka_unit_test(an_icmp_error_causes_one_probe_in_ten_seconds),
        cmocka_unit_test(a_restarted_relay_with_the_same_secret_is_used_again_at_the_next_refresh),
        cmocka_unit_test(expiry_without_an_answer_to_refresh_ends_the_allocation),
        cmocka_unit_test(allocate_errors_suspend_or_fail_the_client),
        cmocka_unit_test(errors_repeated_for_ever_do_not_become_a_storm),
        cmocka_unit_test(errors_to_refresh_and_channel_bind_are_survived),
        cmocka_unit_test(a_refused_family_is_left_out),
        cmocka_unit_test(an_allocation_in_the_way_is_deleted_first),
        cmocka_unit_test(copies_of_a_deletion_find_nothing_to_delete),
        cmocka_unit_test(an_allocation_deleted_by_a_late_copy_is_missed_soon),
        cmocka_unit_test(an_allocation_replaced_by_late_copies_is_replaced),
        cmocka_unit_test(an_allocation_made_by_a_late_copy_does_not_block_the_next),
        cmocka_unit_test(a_repeated_success_of_the_same_allocation_changes_nothing),
        cmocka_unit_test(a_deleted_allocation_of_coturn_may_linger),
        cmocka_unit_test(an_unsigned_437_does_not_tear_down_a_working_allocation),
        cmocka_unit_test(a_relay_that_ends_every_allocation_is_asked_less_and_less),
        cmocka_unit_test(a_signed_437_to_refresh_leads_to_a_new_allocation),
        cmocka_unit_test(a_forged_success_is_dropped),
        cmocka_unit_test(another_realm_is_refused),
        cmocka_unit_test(new_credentials_do_not_end_a_working_allocation),
        cmocka_unit_test(void_credentials_fail_until_new_ones_come),
        cmocka_unit_test(a_nonce_damaged_on_the_way_is_not_kept),
        cmocka_unit_test(the_same_credentials_change_nothing),
        cmocka_unit_test(another_server_address_starts_again),
        cmocka_unit_test(closing_gives_the_allocation_back),
        cmocka_unit_test(no_channel_is_asked_for_at_port_0_or_while_closing),
        cmocka_unit_test(a_wiped_client_holds_no_credentials),
        cmocka_unit_test(closing_waits_a_second_for_a_silent_relay),
        cmocka_unit_test(data_flows_through_a_channel),
        cmocka_unit_test(peers_wait_for_the_allocation),
        cmocka_unit_test(a_request_that_is_signed_anew_is_another_transaction),
        cmocka_unit_test(a_channel_with_traffic_is_refreshed_and_one_without_dies),
        cmocka_unit_test(late_data_refreshes_a_channel_at_once),
        cmocka_unit_test(a_cooling_number_goes_back_to_the_same_peer_and_is_free_after_900_s),
        cmocka_unit_test(a_number_carries_nothing_after_600_s_even_before_its_timer),
        cmocka_unit_test(a_refused_peer_is_not_asked_for_again_for_30_s),
        cmocka_unit_test(a_channel_bind_without_allocation_allocates_and_asks_again),
        cmocka_unit_test(a_peer_of_a_family_without_relayed_address_gets_no_channel),
        cmocka_unit_test(all_4096_numbers_can_be_used_and_no_more),
        cmocka_unit_test(strangers_and_garbage_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
