/* What an answer of the relay may do to a client, one answer at a time. */
#include "tests/support/support.h"

#include <string.h>

#include "tests/support/turn_world.h"

/* A request as it left. */
struct sent {
    struct stun_msg msg; /* fields without views only */
    struct sock_addr to;
};

static struct world *ready_world(unsigned families)
{
    struct world *w = world_new(families);
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    world_forget_events(w);
    return w;
}

/* Takes the next request out of the client, without an answer. */
static struct sent take(struct world *w)
{
    struct sent sent;
    struct turn_transmit transmit;
    assert_true(turn_client_poll_transmit(w->client, &transmit));
    assert_int_equal(stun_msg_decode(transmit.bytes, &sent.msg), DROP_NONE);
    sent.to = transmit.remote;
    return sent;
}

static enum drop_reason give(struct world *w, const struct sock_addr *from, struct view answer)
{
    unsigned family = from->ip.family == IP_V6 ? 1 : 0;
    struct turn_data data;
    enum turn_input input =
        turn_client_handle_input(w->client, from, &w->local[family], answer, w->now, &data);
    assert_true(input == TURN_INPUT_HANDLED || input == TURN_INPUT_DROPPED);
    return data.reason;
}

static void start(struct stun_writer *s, struct span out, const struct sent *sent,
                  enum stun_class class)
{
    stun_start(s, out, sent->msg.method, class, &sent->msg.txn);
}

/* An unsigned challenge to `sent`. */
static enum drop_reason challenge(struct world *w, const struct sent *sent, const char *nonce)
{
    uint8_t bytes[256];
    struct stun_writer s;
    start(&s, (struct span){bytes, sizeof(bytes)}, sent, STUN_ERROR);
    stun_put_error(&s, 401, VIEW_EMPTY);
    stun_put_realm(&s, view_text("firezone"));
    stun_put_nonce(&s, view_text(nonce));
    return give(w, &sent->to, stun_finish(&s));
}

static struct turn_client_config other_credentials(const struct world *w)
{
    struct turn_client_config config = world_config(w);
    config.username = view_text("1800000000:other");
    config.password = view_text("otherpassword");
    return config;
}

static void an_answer_counts_from_the_address_that_was_asked_only(void **state)
{
    (void)state;
    struct world *w = world_new(46);
    struct sent sent = take(w);
    assert_int_equal(sent.msg.method, STUN_BINDING);
    unsigned asked = sock_addr_equal(&sent.to, &w->relay.addr[1]) ? 1 : 0;
    uint8_t bytes[64];
    struct stun_writer s;
    start(&s, (struct span){bytes, sizeof(bytes)}, &sent, STUN_SUCCESS);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, &w->relay.mapped[asked]);
    struct view answer = stun_finish(&s);
    assert_int_equal(give(w, &w->relay.addr[1 - asked], answer), DROP_STUN_SOURCE);
    assert_int_equal(turn_client_active_server(w->client).ip.family, IP_NONE);
    assert_int_equal(give(w, &w->relay.addr[asked], answer), DROP_NONE);
    struct sock_addr active = turn_client_active_server(w->client);
    assert_true(sock_addr_equal(&active, &w->relay.addr[asked]));
    world_free(w);
}

static void an_answer_of_another_method_or_without_its_field_is_refused(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    struct sent sent = take(w);
    uint8_t bytes[64];
    struct stun_writer s;
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_ALLOCATE, STUN_SUCCESS, &sent.msg.txn);
    assert_int_equal(give(w, &sent.to, stun_finish(&s)), DROP_STUN_UNEXPECTED);
    start(&s, (struct span){bytes, sizeof(bytes)}, &sent, STUN_ERROR);
    assert_int_equal(give(w, &sent.to, stun_finish(&s)), DROP_STUN_MALFORMED); /* no code */
    start(&s, (struct span){bytes, sizeof(bytes)}, &sent, STUN_SUCCESS);
    assert_int_equal(give(w, &sent.to, stun_finish(&s)), DROP_STUN_MALFORMED); /* no address */
    /* None of them answered the request. */
    start(&s, (struct span){bytes, sizeof(bytes)}, &sent, STUN_SUCCESS);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, &w->relay.mapped[0]);
    assert_int_equal(give(w, &sent.to, stun_finish(&s)), DROP_NONE);
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void an_allocation_for_no_time_is_none(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.lifetime_s = 0;
    world_settle(w);
    assert_int_equal(w->relay.allocations, 1);
    assert_false(turn_client_is_ready(w->client));
    assert_int_equal(turn_client_relayed(w->client, IP_V4).ip.family, IP_NONE);
    w->relay.lifetime_s = 600;
    world_pass(w, DURATION_S(60));
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

/* Answers the refresh that is under way with a success, signed or not by us. */
static enum drop_reason answer_refresh(struct world *w, const struct sent *sent, bool has_lifetime)
{
    uint8_t bytes[128];
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    struct stun_writer s;
    stun_long_term_key(view_text(w->relay.user), view_text("firezone"), view_text(w->relay.pass),
                       key);
    start(&s, (struct span){bytes, sizeof(bytes)}, sent, STUN_SUCCESS);
    if (has_lifetime) {
        stun_put_lifetime(&s, 0);
    }
    stun_put_integrity(&s, VIEW_OF(key));
    return give(w, &sent->to, stun_finish(&s));
}

/* No ALLOCATE of ours has the transaction id zero, however few there have been. */
static void a_success_for_no_request_ends_nothing(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    uint8_t bytes[128];
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    struct stun_txn nobody = {{0}};
    struct stun_writer s;
    struct sock_addr other = sock_addr_of(ip_v4(198, 51, 100, 9), 9);
    stun_long_term_key(view_text(w->relay.user), view_text("firezone"), view_text(w->relay.pass),
                       key);
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_ALLOCATE, STUN_SUCCESS, &nobody);
    stun_put_xor_address(&s, STUN_ATTR_XOR_RELAYED_ADDRESS, &other);
    stun_put_lifetime(&s, 600);
    stun_put_integrity(&s, VIEW_OF(key));
    assert_int_equal(give(w, &w->relay.addr[0], stun_finish(&s)), DROP_STUN_UNKNOWN_TXN);
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void a_refresh_answered_with_lifetime_zero_leads_to_a_new_allocation(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    unsigned allocates = w->relay.seen[STUN_ALLOCATE];
    turn_client_refresh(w->client, w->now);
    struct sent sent = take(w);
    assert_int_equal(sent.msg.method, STUN_REFRESH);
    w->relay.allocated = false;
    assert_int_equal(answer_refresh(w, &sent, true), DROP_NONE);
    assert_false(turn_client_is_ready(w->client));
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    assert_true(w->relay.allocated);
    assert_true(w->relay.seen[STUN_ALLOCATE] > allocates);
    world_free(w);
}

static void a_refresh_answered_without_lifetime_is_tried_again_after_ten_seconds(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    unsigned refreshes = w->relay.seen[STUN_REFRESH];
    turn_client_refresh(w->client, w->now);
    struct sent sent = take(w);
    assert_int_equal(answer_refresh(w, &sent, false), DROP_STUN_MALFORMED);
    world_pass(w, DURATION_MS(9999));
    assert_int_equal(w->relay.seen[STUN_REFRESH], refreshes);
    world_pass(w, DURATION_MS(1));
    assert_int_equal(w->relay.seen[STUN_REFRESH], refreshes + 1);
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->events_count, 0);
    world_free(w);
}

/* Two requests signed with the old password are refused; the new one has not been judged yet. */
static void a_refusal_of_the_old_password_says_nothing_about_the_new_one(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct sock_addr peer = sock_addr_of(ip_v4(192, 0, 2, 77), 4000);
    turn_client_bind_channel(w->client, &peer, w->now);
    struct sent channel = take(w);
    assert_int_equal(channel.msg.method, STUN_CHANNEL_BIND);
    struct turn_client_config config = other_credentials(w);
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    struct sent refresh = take(w);
    assert_int_equal(refresh.msg.method, STUN_REFRESH);
    assert_int_equal(challenge(w, &refresh, "n1"), DROP_NONE);
    assert_int_equal(challenge(w, &channel, "n1"), DROP_NONE);
    assert_int_equal(turn_client_failure(w->client), TURN_FAILURE_NONE);
    assert_true(turn_client_is_ready(w->client));
    w->relay.user = "1800000000:other";
    w->relay.pass = "otherpassword";
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    uint16_t number = 0;
    assert_true(turn_client_channel(w->client, &peer, w->now, &number));
    world_free(w);
}

static void a_relay_that_knows_us_by_another_name_is_told_the_new_one(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    struct turn_client_config config = other_credentials(w);
    w->relay.fail_method = STUN_REFRESH;
    w->relay.fail_code = 441;
    w->relay.fail_count = 1;
    assert_int_equal(turn_client_update(w->client, &config, w->now), ERR_NONE);
    struct sent sent = take(w);
    uint8_t bytes[256];
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    struct stun_writer s;
    stun_long_term_key(view_text(w->relay.user), view_text("firezone"), view_text(w->relay.pass),
                       key);
    start(&s, (struct span){bytes, sizeof(bytes)}, &sent, STUN_ERROR);
    stun_put_error(&s, 441, VIEW_EMPTY);
    stun_put_integrity(&s, VIEW_OF(key));
    assert_int_equal(give(w, &sent.to, stun_finish(&s)), DROP_NONE);
    w->relay.user = "1800000000:other";
    w->relay.pass = "otherpassword";
    w->relay.fail_count = 0;
    world_settle(w);
    assert_true(turn_client_is_ready(w->client));
    assert_int_equal(w->events_count, 0);
    world_free(w);
}

static void an_allocation_that_the_relay_keeps_for_another_name_is_lost(void **state)
{
    (void)state;
    struct world *w = ready_world(4);
    w->relay.fail_method = STUN_REFRESH;
    w->relay.fail_code = 441;
    w->relay.fail_count = 1;
    turn_client_refresh(w->client, w->now);
    world_settle(w);
    assert_false(turn_client_is_ready(w->client));
    assert_int_equal(turn_client_failure(w->client), TURN_FAILURE_NONE);
    w->relay.allocated = false;
    world_pass(w, DURATION_S(60));
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

/* The relay of the world lets a deletion linger for 1.2 s; asking again could revive what is gone.
 */
static void a_deletion_is_not_repeated_while_it_may_linger(void **state)
{
    (void)state;
    struct world *w = world_new(4);
    w->relay.coturn = true;
    w->relay.allocated = true;
    w->relay.allocated_for = w->relay.mapped[0];
    w->relay.expires_at = instant_add(w->now, DURATION_S(600));
    world_settle(w);
    unsigned deletions = w->relay.seen[STUN_REFRESH];
    assert_int_equal(w->relay.deletes, 1);
    world_pass(w, DURATION_MS(1200));
    assert_int_equal(w->relay.seen[STUN_REFRESH], deletions);
    world_pass(w, DURATION_S(2));
    assert_true(turn_client_is_ready(w->client));
    world_free(w);
}

static void a_mapped_address_that_no_peer_can_reach_is_no_candidate(void **state)
{
    static const struct sock_addr rows[] = {
        {{IP_V4, {169, 254, 1, 1}}, 4000},
        {{IP_V4, {255, 255, 255, 255}}, 4000},
        {{IP_V4, {0}}, 4000},
        {{IP_V4, {224, 0, 0, 1}}, 4000},
        {{IP_V4, {198, 51, 100, 1}}, 0},
        {{IP_V6, {0x20, 1, 0x0d, 0xb8, 1}}, 4000},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *w = world_new(4);
        w->relay.mapped[0] = rows[i];
        world_settle(w);
        assert_true(turn_client_is_ready(w->client));
        assert_int_equal(turn_client_srflx(w->client, IP_V4).ip.family, IP_NONE);
        assert_int_equal(turn_client_host(w->client, IP_V4).ip.family, IP_V4);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_counts_from_the_address_that_was_asked_only),
        cmocka_unit_test(an_answer_of_another_method_or_without_its_field_is_refused),
        cmocka_unit_test(a_success_for_no_request_ends_nothing),
        cmocka_unit_test(an_allocation_for_no_time_is_none),
        cmocka_unit_test(a_mapped_address_that_no_peer_can_reach_is_no_candidate),
        cmocka_unit_test(a_refresh_answered_with_lifetime_zero_leads_to_a_new_allocation),
        cmocka_unit_test(a_refresh_answered_without_lifetime_is_tried_again_after_ten_seconds),
        cmocka_unit_test(a_deletion_is_not_repeated_while_it_may_linger),
        cmocka_unit_test(a_refusal_of_the_old_password_says_nothing_about_the_new_one),
        cmocka_unit_test(a_relay_that_knows_us_by_another_name_is_told_the_new_one),
        cmocka_unit_test(an_allocation_that_the_relay_keeps_for_another_name_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
