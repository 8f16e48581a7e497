#include "ice/ice_message.h"
#include "tests/ice/ice_world.h"

static struct sock_addr peer(uint16_t port)
{
    return sock_addr_of(ip_v4(192, 0, 2, 1), port);
}

static struct ice_agent *gateway_of(struct world *w)
{
    world_init(w, 1);
    struct ice_agent *agent = &w->nodes[1].agent;
    struct ice_candidate host = ice_candidate_host(&w->nodes[1].host);
    assert_int_equal(ice_agent_add_local(agent, &host, w->now), ERR_NONE);
    return agent;
}

/* Writes a request of the client; `ufrags` is the whole USERNAME. */
static struct view request_of(struct span out, const char *remote, const char *local,
                              const char *password)
{
    struct ice_request request = {
        .txn = {{1, 2, 3}},
        .remote_ufrag = view_text(remote),
        .local_ufrag = view_text(local),
        .remote_password = view_text(password),
        .controlling = true,
        .use_candidate = true,
        .tie_breaker = 1,
        .priority = 1862270719,
    };
    return ice_message_request(out, &request);
}

static enum drop_reason handle(struct world *w, struct view datagram, const struct sock_addr *local)
{
    struct stun_msg msg;
    struct sock_addr from = peer(7);
    if (stun_msg_decode(datagram, &msg) != DROP_NONE) {
        return DROP_STUN_MALFORMED;
    }
    return ice_agent_handle_message(&w->nodes[1].agent, local, &from, datagram, &msg, w->now);
}

static void test_forged_requests_change_nothing(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    static struct ice_agent before;
    memcpy(&before, agent, offsetof(struct ice_agent, pairs));
    uint8_t out[256];
    struct span room = {out, sizeof(out)};
    const struct sock_addr *host = &w.nodes[1].host;
    struct view forged = request_of(room, "7ddg", "k5fd", "swa5thzjjwfmbfcrzbylcb");
    assert_int_equal(handle(&w, forged, host), DROP_STUN_INTEGRITY);
    forged = request_of(room, "7ddg", "k5fe", "swa5thzjjwfmbfcrzbylca");
    assert_int_equal(handle(&w, forged, host), DROP_STUN_UNKNOWN_UFRAG);
    forged = request_of(room, "k5fd", "7ddg", "swa5thzjjwfmbfcrzbylca");
    assert_int_equal(handle(&w, forged, host), DROP_STUN_UNKNOWN_UFRAG);
    /* No flipped bit passes, except in what integrity does not cover: FINGERPRINT. */
    struct view good = request_of(room, "7ddg", "k5fd", "swa5thzjjwfmbfcrzbylca");
    for (size_t bit = 0; bit < (good.len - 8) * 8; bit++) {
        out[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        assert_int_not_equal(handle(&w, good, host), DROP_NONE);
        out[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    for (size_t len = 0; len < good.len; len++) {
        assert_int_not_equal(handle(&w, view_sub(good, 0, len), host), DROP_NONE);
    }
    /* Nor one from where no answer can go. */
    static const struct sock_addr nowhere[] = {
        {{IP_V4, {192, 0, 2, 1}}, 0}, {{IP_V4, {255, 255, 255, 255}}, 7},
        {{IP_V4, {224, 0, 0, 1}}, 7}, {{IP_V4, {0}}, 7},
        {{IP_V6, {0x20, 1}}, 7}, /* to an address of IPv4 */
    };
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(good, &msg), DROP_NONE);
    for (size_t i = 0; i < ARRAY_COUNT(nowhere); i++) {
        assert_int_equal(ice_agent_handle_message(agent, host, &nowhere[i], good, &msg, w.now),
                         DROP_ICE_LOCAL);
    }
    assert_memory_equal(&before, agent, offsetof(struct ice_agent, pairs));
    assert_int_equal(handle(&w, good, host), DROP_NONE);
    assert_int_equal(agent->pairs_count, 1);
}

static void test_names_are_matched_as_a_whole(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    static const struct {
        const char *name;
        bool ours;
    } rows[] = {{"7ddg:k5fd", true},  {"7ddg:k5f", false},  {"7ddg:k5fdx", false},
                {"7ddgk5fd", false},  {"7ddg:", false},     {"", false},
                {"k5fd:7ddg", false}, {"7ddg;k5fd", false}, {"7ddgx:k5fd", false}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct stun_msg msg;
        memset(&msg, 0, sizeof(msg));
        msg.username = view_text(rows[i].name);
        assert_int_equal(ice_agent_accepts_request(agent, &msg), rows[i].ours);
    }
}

static void test_a_check_to_no_address_of_ours_leaves_no_trace(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct sock_addr other = world_addr("10.2.0.2:9");
    struct sock_addr from = peer(7);
    assert_int_equal(world_request(&w, 1, &other, &from, true), DROP_ICE_LOCAL);
    assert_true(ice_agent_remote_is_empty(agent));
    struct ice_transmit t;
    assert_false(ice_agent_poll_transmit(agent, &t));
}

static void test_checks_from_or_to_invalidated_candidates_are_dropped(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct sock_addr from = peer(7);
    struct ice_candidate remote = ice_candidate_host(&from);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w.now), DROP_NONE);
    assert_true(ice_agent_invalidate_remote(agent, &remote, w.now));
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, true), DROP_ICE_DISCARDED);
    struct ice_candidate host = ice_candidate_host(&w.nodes[1].host);
    assert_true(ice_agent_invalidate_local(agent, &host, w.now));
    from = peer(8);
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, true), DROP_ICE_DISCARDED);
    assert_int_equal(agent->remotes_count, 1);
}

static void test_use_candidate_selects_at_once_and_is_answered(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    ice_agent_handle_timeout(agent, w.now);
    struct sock_addr from = peer(7);
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, true), DROP_NONE);
    struct ice_transmit t;
    assert_true(ice_agent_poll_transmit(agent, &t));
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(t.bytes, &msg), DROP_NONE);
    assert_int_equal(msg.class, STUN_SUCCESS);
    assert_true(sock_addr_equal(&msg.mapped, &from));
    assert_true(sock_addr_equal(&t.remote, &from));
    assert_true(ice_agent_poll_transmit(agent, &t)); /* the check back */
    assert_int_equal(stun_msg_decode(t.bytes, &msg), DROP_NONE);
    assert_int_equal(msg.class, STUN_REQUEST);
    assert_true(msg.has_controlled);
    assert_false(msg.use_candidate);
    assert_false(ice_agent_poll_transmit(agent, &t));
    struct ice_event event;
    assert_true(ice_agent_poll_event(agent, &event));
    assert_int_equal(event.kind, ICE_EVENT_DISCOVERED);
    assert_true(sock_addr_equal(&event.source, &from));
    assert_true(ice_agent_poll_event(agent, &event));
    assert_int_equal(event.kind, ICE_EVENT_SELECTED);
    assert_false(event.path.relayed);
    assert_true(sock_addr_equal(&event.path.local, &w.nodes[1].host));
    assert_true(ice_agent_poll_event(agent, &event));
    assert_int_equal(event.state, ICE_COMPLETED);
    assert_false(ice_agent_poll_event(agent, &event));
    /* The same source is discovered once. */
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, true), DROP_NONE);
    assert_false(ice_agent_poll_event(agent, &event));
}

/* The agent checks a peer that was just told; returns the transaction. */
static struct stun_txn check_of_peer(const struct world *w, struct ice_agent *agent)
{
    struct sock_addr from = peer(7);
    struct ice_candidate remote = ice_candidate_host(&from);
    struct ice_transmit t;
    struct stun_msg request;
    ice_agent_handle_timeout(agent, w->now);
    assert_int_equal(ice_agent_add_remote(agent, &remote, w->now), DROP_NONE);
    assert_true(ice_agent_poll_transmit(agent, &t));
    assert_int_equal(stun_msg_decode(t.bytes, &request), DROP_NONE);
    return request.txn;
}

static void test_answers_count_once_and_with_the_right_key(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct stun_txn txn = check_of_peer(&w, agent);
    struct sock_addr mapped = world_mapped(&w.nodes[1]);
    uint8_t out[256];
    struct span room = {out, sizeof(out)};
    const struct sock_addr *host = &w.nodes[1].host;
    struct view answer = ice_message_success(room, &txn, &mapped, view_text("wrong"));
    assert_int_equal(handle(&w, answer, host), DROP_STUN_INTEGRITY);
    answer = ice_message_role_conflict(room, &txn, view_text("sfl3nrmziix5dcaydtq4xd"));
    assert_int_equal(handle(&w, answer, host), DROP_STUN_UNEXPECTED);
    assert_int_equal(agent->pairs[0].state, ICE_PAIR_IN_PROGRESS);
    answer = ice_message_success(room, &txn, &mapped, view_text("sfl3nrmziix5dcaydtq4xd"));
    assert_int_equal(handle(&w, answer, host), DROP_NONE);
    assert_int_equal(agent->pairs[0].state, ICE_PAIR_SUCCEEDED);
    /* The address that the peer saw is remembered, neither paired nor signalled. */
    assert_int_equal(agent->locals_count, 2);
    assert_int_equal(agent->locals[1].kind, ICE_PRFLX);
    size_t cursor = 0;
    assert_non_null(ice_agent_next_local(agent, &cursor));
    assert_null(ice_agent_next_local(agent, &cursor));
    assert_int_equal(handle(&w, answer, host), DROP_STUN_UNKNOWN_TXN);
    txn.bytes[0] ^= 1; /* another connection's tag */
    answer = ice_message_success(room, &txn, &mapped, view_text("sfl3nrmziix5dcaydtq4xd"));
    assert_int_equal(handle(&w, answer, host), DROP_STUN_UNKNOWN_TXN);
    /* The srflx candidate proper takes the place of the remembered address. */
    struct ice_candidate srflx = ice_candidate_srflx(&mapped, host);
    assert_int_equal(ice_agent_add_local(agent, &srflx, w.now), ERR_NONE);
    assert_int_equal(agent->locals_count, 2);
}

/* What the peer says of our address is worth less than any address of ours, used or not. */
static void test_an_address_that_the_peer_made_up_displaces_none_of_ours(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    for (uint16_t i = 1; i < ICE_LOCAL_MAX; i++) {
        static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, 1};
        struct sock_addr addr = sock_addr_of(ip_from_bytes(IP_V6, v6), i);
        struct ice_candidate host = ice_candidate_host(&addr);
        assert_int_equal(ice_agent_add_local(agent, &host, w.now), ERR_NONE);
    }
    struct stun_txn txn = check_of_peer(&w, agent);
    uint8_t out[256];
    struct sock_addr mapped = sock_addr_of(ip_v4(198, 51, 100, 77), 9);
    struct view answer = ice_message_success((struct span){out, sizeof(out)}, &txn, &mapped,
                                             view_text("sfl3nrmziix5dcaydtq4xd"));
    assert_int_equal(handle(&w, answer, &w.nodes[1].host), DROP_NONE);
    assert_int_equal(agent->pairs[0].state, ICE_PAIR_SUCCEEDED);
    for (size_t i = 0; i < ICE_LOCAL_MAX; i++) {
        assert_int_equal(agent->locals[i].kind, ICE_HOST);
    }
}

static void test_a_peer_that_claims_our_role_is_told_487(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct ice_request request = {
        .txn = {{1, 2, 3}},
        .remote_ufrag = view_text("7ddg"),
        .local_ufrag = view_text("k5fd"),
        .remote_password = view_text("swa5thzjjwfmbfcrzbylca"),
        .controlling = false,
        .tie_breaker = UINT64_MAX,
        .priority = 1,
    };
    uint8_t out[256];
    struct view datagram = ice_message_request((struct span){out, sizeof(out)}, &request);
    assert_int_equal(handle(&w, datagram, &w.nodes[1].host), DROP_NONE);
    struct ice_transmit t;
    assert_true(ice_agent_poll_transmit(agent, &t));
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(t.bytes, &msg), DROP_NONE);
    assert_int_equal(msg.error_code, 487);
    assert_false(ice_agent_poll_transmit(agent, &t));
    assert_int_equal(agent->pairs_count, 0);
}

static void test_the_controlled_side_may_not_nominate(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 1);
    struct ice_agent *client = &w.nodes[0].agent;
    struct ice_candidate host = ice_candidate_host(&w.nodes[0].host);
    assert_int_equal(ice_agent_add_local(client, &host, w.now), ERR_NONE);
    struct sock_addr from = peer(7);
    assert_int_equal(world_request(&w, 0, &w.nodes[0].host, &from, true), DROP_ICE_ROLE);
    assert_true(ice_agent_remote_is_empty(client));
    assert_int_equal(world_request(&w, 0, &w.nodes[0].host, &from, false), DROP_NONE);
}

static void test_unanswered_replies_are_bounded(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct sock_addr from = peer(7);
    for (size_t i = 0; i < ICE_REPLIES_MAX; i++) {
        assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, false), DROP_NONE);
    }
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, false), DROP_ICE_FULL);
    struct ice_transmit t;
    for (size_t i = 0; i < ICE_REPLIES_MAX; i++) {
        assert_true(ice_agent_poll_transmit(agent, &t));
        assert_int_equal(t.bytes.at[0], 1);
    }
    assert_int_equal(world_request(&w, 1, &w.nodes[1].host, &from, false), DROP_NONE);
}

static void test_indications_and_other_methods_are_not_expected(void **state)
{
    (void)state;
    static struct world w;
    struct ice_agent *agent = gateway_of(&w);
    struct stun_msg msg;
    memset(&msg, 0, sizeof(msg));
    struct sock_addr from = peer(7);
    msg.method = STUN_BINDING;
    msg.class = STUN_INDICATION;
    assert_int_equal(
        ice_agent_handle_message(agent, &w.nodes[1].host, &from, VIEW_EMPTY, &msg, w.now),
        DROP_STUN_UNEXPECTED);
    msg.method = STUN_ALLOCATE;
    msg.class = STUN_REQUEST;
    assert_int_equal(
        ice_agent_handle_message(agent, &w.nodes[1].host, &from, VIEW_EMPTY, &msg, w.now),
        DROP_STUN_UNEXPECTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forged_requests_change_nothing),
        cmocka_unit_test(test_names_are_matched_as_a_whole),
        cmocka_unit_test(test_a_check_to_no_address_of_ours_leaves_no_trace),
        cmocka_unit_test(test_checks_from_or_to_invalidated_candidates_are_dropped),
        cmocka_unit_test(test_use_candidate_selects_at_once_and_is_answered),
        cmocka_unit_test(test_answers_count_once_and_with_the_right_key),
        cmocka_unit_test(test_an_address_that_the_peer_made_up_displaces_none_of_ours),
        cmocka_unit_test(test_a_peer_that_claims_our_role_is_told_487),
        cmocka_unit_test(test_the_controlled_side_may_not_nominate),
        cmocka_unit_test(test_unanswered_replies_are_bounded),
        cmocka_unit_test(test_indications_and_other_methods_are_not_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
