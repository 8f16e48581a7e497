/* Handshakes, sessions, the pending PSK and data of one tunnel. */
#include "tests/wg/wg_pair.h"

static void test_a_handshake_lets_data_flow_both_ways(void **state)
{
    (void)state;
    static struct pair pair;
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    for (int i = 0; i < 10; i++) {
        pair_exchange(&pair, &pair.client, &pair.gateway);
        pair_exchange(&pair, &pair.gateway, &pair.client);
    }
    wg_peer_check(&pair.client.peer);
    wg_peer_check(&pair.gateway.peer);
}

static void test_the_responder_sends_nothing_before_the_first_packet(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    uint8_t data[PAIR_DATA_SIZE];
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, initiation);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    assert_false(wg_peer_has_session(&pair.gateway.peer, pair.now));
    assert_int_equal(pair_seal(&pair, &pair.gateway, data), DROP_WG_NO_SESSION);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_NONE);
    assert_int_equal(pair_seal(&pair, &pair.client, data), DROP_NONE);
    assert_int_equal(pair_open(&pair, &pair.gateway, data), DROP_NONE);
    assert_true(wg_peer_has_session(&pair.gateway.peer, pair.now));
    /* Data confirmed the session already: no keepalive follows. */
    assert_int_equal(pair_poll(&pair, &pair.client, initiation), 0);
}

static void test_on_renewal_the_responder_keeps_sending_on_the_old_session(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    uint8_t data[PAIR_DATA_SIZE];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    pair_initiation(&pair, &pair.client, initiation);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    assert_int_equal(pair_seal(&pair, &pair.gateway, data), DROP_NONE);
    assert_int_equal(load_le32(data + 4), 0x00abcd01);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_NONE);
    assert_int_equal(pair_open(&pair, &pair.client, data), DROP_NONE); /* late, on the old one */
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_int_equal(pair_seal(&pair, &pair.gateway, data), DROP_NONE);
    assert_int_equal(load_le32(data + 4), 0x00abcd02);
}

/* Each session has a window of its own: equal counters of two are two packets. */
static void test_late_packets_of_the_session_before_are_accepted_once(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t late[3][PAIR_DATA_SIZE];
    uint8_t again[PAIR_DATA_SIZE];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    for (size_t i = 0; i < ARRAY_COUNT(late); i++) {
        assert_int_equal(pair_seal(&pair, &pair.client, late[i]), DROP_NONE);
    }
    memcpy(again, late[0], sizeof(again));
    assert_int_equal(pair_open(&pair, &pair.gateway, late[2]), DROP_NONE);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_int_equal(pair_open(&pair, &pair.gateway, late[0]), DROP_NONE);
    assert_int_equal(pair_open(&pair, &pair.gateway, late[1]), DROP_NONE);
    assert_int_equal(pair_open(&pair, &pair.gateway, again), DROP_WG_REPLAYED);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    wg_peer_check(&pair.gateway.peer);
}

static void test_a_replayed_or_older_initiation_is_refused(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t first[WG_INITIATION_SIZE];
    uint8_t second[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, first);
    pair.client.peer.initiation_due = true;
    assert_int_equal(pair_poll(&pair, &pair.client, second), WG_INITIATION_SIZE);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, second, response), DROP_NONE);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, second, response),
                     DROP_WG_TIMESTAMP);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, first, response),
                     DROP_WG_TIMESTAMP);
}

static void test_an_initiation_of_another_peer_is_refused(void **state)
{
    (void)state;
    static struct pair pair;
    static struct pair_side stranger;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_node(&stranger.node, 77);
    struct wg_peer_config config = pair_config(&pair.gateway.node, 5, WG_ROLE_CLIENT);
    config.windows = wg_windows_of(stranger.windows);
    assert_int_equal(wg_peer_init(&stranger.peer, &stranger.node, &config, pair.now), ERR_NONE);
    pair_initiation(&pair, &stranger, initiation);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response),
                     DROP_WG_UNKNOWN_KEY);
}

static void test_responses_to_the_two_newest_initiations_are_accepted(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t initiations[3][WG_INITIATION_SIZE];
    uint8_t responses[3][WG_RESPONSE_SIZE];
    pair_init(&pair);
    for (size_t i = 0; i < 3; i++) {
        pair.client.peer.initiation_due = true;
        assert_int_equal(pair_poll(&pair, &pair.client, initiations[i]), WG_INITIATION_SIZE);
        assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiations[i], responses[i]),
                         DROP_NONE);
    }
    assert_int_equal(pair_give_response(&pair, &pair.client, responses[0]), DROP_WG_UNEXPECTED);
    assert_int_equal(pair_give_response(&pair, &pair.client, responses[1]), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_int_equal(pair_give_response(&pair, &pair.client, responses[2]), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    pair_exchange(&pair, &pair.gateway, &pair.client);
    assert_int_equal(pair_give_response(&pair, &pair.client, responses[2]), DROP_WG_UNEXPECTED);
}

/* The client has begun a handshake, and `response` is on its way. */
static void start_and_respond(struct pair *pair, uint8_t response[WG_RESPONSE_SIZE])
{
    uint8_t initiation[WG_INITIATION_SIZE];
    pair_init(pair);
    pair_initiation(pair, &pair->client, initiation);
    assert_int_equal(pair_give_initiation(pair, &pair->gateway, initiation, response), DROP_NONE);
}

/* What is not under way has keys of zeros, which everybody knows. */
static void test_a_response_to_nothing_is_refused_whatever_index_it_names(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t response[WG_RESPONSE_SIZE];
    start_and_respond(&pair, response);
    memset(response + 8, 0, 4);
    assert_int_equal(pair_give_response(&pair, &pair.gateway, response), DROP_WG_UNEXPECTED);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_WG_UNEXPECTED);
}

static void test_a_forged_response_does_not_spoil_the_wait(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t response[WG_RESPONSE_SIZE];
    start_and_respond(&pair, response);
    for (size_t at = 8; at < 60; at++) {
        response[at] ^= 0x20;
        enum drop_reason reason = pair_give_response(&pair, &pair.client, response);
        assert_int_equal(reason, at < 12 ? DROP_WG_UNEXPECTED : DROP_WG_HANDSHAKE);
        response[at] ^= 0x20;
    }
    uint8_t low_order[WG_RESPONSE_SIZE];
    memcpy(low_order, response, sizeof(low_order));
    memset(low_order + 12, 0, KEY_SIZE);
    assert_int_equal(pair_give_response(&pair, &pair.client, low_order), DROP_WG_HANDSHAKE);
    for (size_t len = 0; len < WG_RESPONSE_SIZE; len++) {
        assert_int_equal(
            wg_peer_handle_response(&pair.client.peer, (struct view){response, len}, pair.now),
            DROP_WG_MALFORMED);
    }
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_NONE);
}

static void test_a_gateway_never_initiates_before_the_first_session(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t out[WG_INITIATION_SIZE];
    pair_init(&pair);
    wg_peer_initiate(&pair.gateway.peer, pair.now);
    for (uint64_t s = 0; s < 530; s += 5) {
        pair.now = pair_at(s * 1000);
        wg_peer_handle_timeout(&pair.gateway.peer, pair.now, &pair.rng);
        assert_int_equal(pair_poll(&pair, &pair.gateway, out), 0);
    }
    assert_false(wg_peer_is_expired(&pair.gateway.peer));
}

static void test_both_initiating_at_once_ends_in_working_sessions(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t from_client[WG_INITIATION_SIZE];
    uint8_t from_gateway[WG_INITIATION_SIZE];
    uint8_t to_client[WG_RESPONSE_SIZE];
    uint8_t to_gateway[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    pair_initiation(&pair, &pair.client, from_client);
    pair_initiation(&pair, &pair.gateway, from_gateway);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, from_client, to_client), DROP_NONE);
    assert_int_equal(pair_give_initiation(&pair, &pair.client, from_gateway, to_gateway),
                     DROP_NONE);
    assert_int_equal(pair_give_response(&pair, &pair.client, to_client), DROP_NONE);
    assert_int_equal(pair_give_response(&pair, &pair.gateway, to_gateway), DROP_NONE);
    for (int i = 0; i < 4; i++) {
        pair_exchange(&pair, &pair.client, &pair.gateway);
        pair_exchange(&pair, &pair.gateway, &pair.client);
    }
    wg_peer_check(&pair.client.peer);
    wg_peer_check(&pair.gateway.peer);
}

static void test_a_flood_of_initiations_never_evicts_the_session_that_sends(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    for (int i = 0; i < 600; i++) { /* the low byte of the index wraps twice */
        pair.client.peer.initiation_due = true;
        assert_int_equal(pair_poll(&pair, &pair.client, initiation), WG_INITIATION_SIZE);
        assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response),
                         DROP_NONE);
        wg_peer_check(&pair.gateway.peer);
    }
    pair_exchange(&pair, &pair.gateway, &pair.client);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
}

static void test_damaged_replayed_and_unknown_data_is_refused_without_a_trace(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t data[PAIR_DATA_SIZE];
    uint8_t copy[PAIR_DATA_SIZE];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    assert_int_equal(pair_seal(&pair, &pair.client, data), DROP_NONE);
    struct instant received_at = pair.gateway.peer.received_at;
    pair.now = pair_at(1000);
    for (size_t at = 4; at < sizeof(data); at++) {
        memcpy(copy, data, sizeof(copy));
        copy[at] ^= 0x40;
        enum drop_reason reason = pair_open(&pair, &pair.gateway, copy);
        assert_true(reason == (at < 8 ? DROP_WG_UNKNOWN_INDEX : DROP_WG_TAG));
    }
    for (size_t len = 0; len < sizeof(data); len++) {
        struct wg_open open;
        memcpy(copy, data, sizeof(copy));
        enum drop_reason reason =
            wg_peer_open(&pair.gateway.peer, (struct span){copy, len}, pair.now, &open);
        assert_int_equal(reason, len < WG_DATA_OVERHEAD ? DROP_WG_MALFORMED : DROP_WG_TAG);
    }
    assert_int_equal(pair.gateway.peer.received_at.ns, received_at.ns);
    memcpy(copy, data, sizeof(copy));
    assert_int_equal(pair_open(&pair, &pair.gateway, copy), DROP_NONE);
    assert_int_equal(pair_open(&pair, &pair.gateway, data), DROP_WG_REPLAYED);
    store_le64(data + 8, UINT64_MAX);
    assert_int_equal(pair_open(&pair, &pair.gateway, data), DROP_WG_COUNTER);
}

static void test_the_same_packet_twice_in_one_batch_is_delivered_once(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t data[2][PAIR_DATA_SIZE];
    struct wg_open open[2];
    struct aead_backend backend = aead_backend_libsodium();
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    assert_int_equal(pair_seal(&pair, &pair.client, data[0]), DROP_NONE);
    memcpy(data[1], data[0], sizeof(data[1]));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(wg_peer_open_begin(&pair.gateway.peer,
                                            (struct span){data[i], PAIR_DATA_SIZE}, pair.now,
                                            &open[i]),
                         DROP_NONE);
        aead_open_batch(&backend, &open[i].item, 1);
        assert_true(open[i].item.ok);
    }
    assert_int_equal(wg_peer_open_finish(&pair.gateway.peer, &open[0], true, pair.now), DROP_NONE);
    assert_int_equal(wg_peer_open_finish(&pair.gateway.peer, &open[1], true, pair.now),
                     DROP_WG_REPLAYED);
}

static void test_a_plaintext_that_is_no_packet_is_refused_but_confirms(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    uint8_t data[PAIR_DATA_SIZE] = {0};
    struct wg_open open;
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, initiation);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_NONE);
    assert_int_equal(wg_peer_seal(&pair.client.peer, (struct span){data, sizeof(data)}, pair.now),
                     DROP_NONE);
    assert_int_equal(
        wg_peer_open(&pair.gateway.peer, (struct span){data, sizeof(data)}, pair.now, &open),
        DROP_IP_MALFORMED);
    assert_true(open.is_first);
    assert_true(wg_peer_has_session(&pair.gateway.peer, pair.now));
}

static void test_counters_of_a_batch_follow_each_other_and_end_at_the_limit(void **state)
{
    (void)state;
    static struct pair pair;
    struct wg_seal seal;
    struct aead_item item;
    uint8_t message[WG_DATA_OVERHEAD];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    struct wg_peer *peer = &pair.client.peer;
    assert_int_equal(wg_peer_seal_begin(peer, 5, pair.now, &seal), DROP_NONE);
    for (uint64_t i = 1; i <= 5; i++) { /* the keepalive was 0 */
        wg_seal_next(&seal, message, 0, &item);
        assert_int_equal(item.counter, i);
        assert_int_equal(load_le64(message + 8), i);
    }
    wg_peer_seal_finish(peer, pair.now, 0);
    peer->sessions[peer->current].send_counter = WG_COUNTER_LIMIT - 3;
    assert_int_equal(wg_peer_seal_begin(peer, 4, pair.now, &seal), DROP_WG_NO_SESSION);
    assert_int_equal(wg_peer_seal_begin(peer, 3, pair.now, &seal), DROP_NONE);
    assert_int_equal(wg_peer_seal_begin(peer, 1, pair.now, &seal), DROP_WG_NO_SESSION);
}

/* ---- pending PSK ---- */

/* The client makes its tunnel anew, with another id and perhaps another PSK. */
static void recreate_client(struct pair *pair, uint32_t id, const struct wg_psk *psk)
{
    struct wg_peer_config config = pair_config(&pair->gateway.node, id, WG_ROLE_CLIENT);
    config.psk = *psk;
    config.windows = wg_windows_of(pair->client.windows);
    pair->now = instant_add(pair->now, DURATION_S(1));
    assert_int_equal(wg_peer_init(&pair->client.peer, &pair->client.node, &config, pair->now),
                     ERR_NONE);
}

static const struct wg_psk old_psk = {{0x55}};
static const struct wg_psk new_psk = {{0x66}};

static void test_a_client_with_a_new_tunnel_is_answered_with_the_pending_psk(void **state)
{
    (void)state;
    static struct pair pair;
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    wg_peer_set_pending_psk(&pair.gateway.peer, &new_psk, pair.now);
    recreate_client(&pair, 0x00beef, &new_psk);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    assert_true(wg_psk_equal(&pair.gateway.peer.psk, &new_psk));
    assert_false(pair.gateway.peer.has_psk_pending);
    assert_false(wg_psk_equal(&pair.gateway.peer.psk_pending, &new_psk)); /* kept once */
    pair_handshake(&pair, &pair.client, &pair.gateway); /* a renewal needs it again */
    pair_exchange(&pair, &pair.gateway, &pair.client);
}

static void test_a_client_that_ignored_the_new_psk_goes_on_with_the_old_one(void **state)
{
    (void)state;
    static struct pair pair;
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    wg_peer_set_pending_psk(&pair.gateway.peer, &new_psk, pair.now);
    for (int i = 0; i < 3; i++) {
        pair_handshake(&pair, &pair.client, &pair.gateway);
        pair_exchange(&pair, &pair.gateway, &pair.client);
    }
    assert_true(wg_psk_equal(&pair.gateway.peer.psk, &old_psk));
    assert_true(pair.gateway.peer.has_psk_pending);
}

static void test_an_unconfirmed_answer_commits_nothing_and_the_old_psk_gets_its_turn(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    wg_peer_set_pending_psk(&pair.gateway.peer, &new_psk, pair.now);
    recreate_client(&pair, 0x00beef, &old_psk);
    pair_initiation(&pair, &pair.client, initiation);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_WG_HANDSHAKE);
    assert_true(wg_psk_equal(&pair.gateway.peer.psk, &old_psk));
    assert_true(wg_peer_has_session(&pair.gateway.peer, pair.now)); /* the old session stays */
    pair.client.peer.initiation_due = true;
    assert_int_equal(pair_poll(&pair, &pair.client, initiation), WG_INITIATION_SIZE);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_true(wg_psk_equal(&pair.gateway.peer.psk, &old_psk));
}

/* The client initiates; returns what it says to the answer. */
static enum drop_reason try_handshake(struct pair *pair)
{
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair->client.peer.initiation_due = true;
    assert_int_equal(pair_poll(pair, &pair->client, initiation), WG_INITIATION_SIZE);
    assert_int_equal(pair_give_initiation(pair, &pair->gateway, initiation, response), DROP_NONE);
    return pair_give_response(pair, &pair->client, response);
}

static void test_of_several_psks_told_at_once_the_first_and_the_last_are_tried(void **state)
{
    (void)state;
    static const struct wg_psk middle_psk = {{0x77}};
    static const struct wg_psk last_psk = {{0x88}};
    static struct pair pair;
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    struct wg_peer *peer = &pair.gateway.peer;
    wg_peer_set_pending_psk(peer, &middle_psk, pair.now);
    pair_exchange(&pair, &pair.client, &pair.gateway); /* the client did not take it */
    assert_true(peer->pending_is_stale);
    wg_peer_set_pending_psk(peer, &new_psk, pair.now);
    wg_peer_set_pending_psk(peer, &middle_psk, pair.now);
    wg_peer_set_pending_psk(peer, &last_psk, pair.now);
    recreate_client(&pair, 0x00beef, &new_psk);
    assert_int_equal(try_handshake(&pair), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_true(wg_psk_equal(&peer->psk, &new_psk));
    assert_true(peer->has_psk_pending && !peer->has_psk_latest);
    /* The last one was told after it and still has its turn; so has the one in use. */
    recreate_client(&pair, 0x00bee1, &last_psk);
    assert_int_equal(try_handshake(&pair), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_false(peer->has_psk_pending);
    pair.now = instant_add(pair.now, DURATION_S(WG_BURST_S));
    /* Whatever the order, three tries find each of three. */
    wg_peer_set_pending_psk(peer, &old_psk, pair.now);
    wg_peer_set_pending_psk(peer, &new_psk, pair.now);
    const struct wg_psk *psks[] = {&last_psk, &new_psk, &old_psk};
    for (uint32_t i = 0; i < 3; i++) {
        recreate_client(&pair, 0x00bf00 + i, psks[i]);
        uint32_t tries = 1;
        while (try_handshake(&pair) != DROP_NONE) {
            tries++;
            pair.now = instant_add(pair.now, DURATION_S(5));
        }
        assert_true(tries <= 3);
    }
    /* Much later the client has made another tunnel: the newest counts first. */
    wg_peer_set_pending_psk(peer, &new_psk, pair.now);
    pair.now = instant_add(pair.now, DURATION_S(WG_BURST_S));
    wg_peer_set_pending_psk(peer, &middle_psk, pair.now);
    recreate_client(&pair, 0x00bf09, &middle_psk);
    assert_int_equal(try_handshake(&pair), DROP_NONE);
    wg_peer_check(peer);
}

/* A host that was suspended reads what was asked of it meanwhile, and then the new request. */
static void test_a_psk_told_apart_from_older_ones_is_tried_first(void **state)
{
    (void)state;
    static const struct wg_psk stale_psk = {{0x77}};
    static struct pair pair;
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    struct wg_peer *peer = &pair.gateway.peer;
    wg_peer_set_pending_psk(peer, &stale_psk, pair.now);
    pair.now = instant_add(pair.now, DURATION_S(WG_BURST_APART_S));
    wg_peer_set_pending_psk(peer, &new_psk, pair.now);
    recreate_client(&pair, 0x00beef, &new_psk);
    assert_int_equal(try_handshake(&pair), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_true(wg_psk_equal(&peer->psk, &new_psk));
    assert_false(peer->has_psk_pending);
    /* To a sender that was there before, the order stays: its tunnel is the older one. */
    pair.now = instant_add(pair.now, DURATION_S(WG_BURST_S));
    wg_peer_set_pending_psk(peer, &stale_psk, pair.now);
    recreate_client(&pair, 0x00bee1, &stale_psk);
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_initiation(&pair, &pair.client, initiation);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    pair.now = instant_add(pair.now, DURATION_S(2)); /* the response is lost */
    wg_peer_set_pending_psk(peer, &old_psk, pair.now);
    assert_int_equal(try_handshake(&pair), DROP_NONE);
}

static void test_before_the_first_session_the_first_psk_is_tried_first(void **state)
{
    (void)state;
    static struct pair pair;
    pair_init(&pair);
    wg_peer_set_pending_psk(&pair.gateway.peer, &new_psk, pair.now);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    assert_true(wg_psk_equal(&pair.gateway.peer.psk, &old_psk));
    wg_peer_set_pending_psk(&pair.gateway.peer, &old_psk, pair.now);
    assert_false(pair.gateway.peer.has_psk_pending);
}

/* The first tunnel never came up, and the client asked again with another one. */
static void test_before_the_first_session_a_psk_told_apart_is_tried_first(void **state)
{
    (void)state;
    static struct pair pair;
    pair_init(&pair);
    struct wg_peer *peer = &pair.gateway.peer;
    pair.now = instant_add(pair.now, DURATION_S(9));
    wg_peer_set_pending_psk(peer, &new_psk, pair.now);
    recreate_client(&pair, 0x00beef, &new_psk);
    assert_int_equal(try_handshake(&pair), DROP_NONE);
    pair_exchange(&pair, &pair.client, &pair.gateway);
    assert_true(wg_psk_equal(&peer->psk, &new_psk));
    /* Not to a sender that was there before it was told. */
    pair_init(&pair);
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_initiation(&pair, &pair.client, initiation);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    pair.now = instant_add(pair.now, DURATION_S(2)); /* the response is lost */
    wg_peer_set_pending_psk(peer, &new_psk, pair.now);
    assert_int_equal(try_handshake(&pair), DROP_NONE);
}

static void test_a_wiped_tunnel_holds_no_key(void **state)
{
    (void)state;
    static struct pair pair;
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    struct wg_peer *peer = &pair.gateway.peer;
    uint8_t zeros[KEY_SIZE] = {0};
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair.now = pair_at(10000);
    pair_initiation(&pair, &pair.client, initiation); /* a second session, never confirmed */
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response), DROP_NONE);
    assert_memory_not_equal(peer->session_psks[1].bytes, zeros, KEY_SIZE);
    for (uint8_t i = 1; i <= 2; i++) {
        wg_peer_set_pending_psk(peer, &(struct wg_psk){{i}}, pair.now);
    }
    assert_memory_not_equal(peer->psk_pending.bytes, zeros, KEY_SIZE);
    assert_memory_not_equal(peer->psk_latest.bytes, zeros, KEY_SIZE);
    wg_peer_wipe(peer);
    wg_peer_check(peer);
    for (size_t i = 0; i < WG_SESSIONS_MAX; i++) {
        assert_memory_equal(peer->sessions[i].send_key.bytes, zeros, KEY_SIZE);
        assert_memory_equal(peer->sessions[i].receive_key.bytes, zeros, KEY_SIZE);
        assert_memory_equal(peer->session_psks[i].bytes, zeros, KEY_SIZE);
    }
    assert_memory_equal(peer->psk.bytes, zeros, KEY_SIZE);
    assert_memory_equal(peer->psk_pending.bytes, zeros, KEY_SIZE);
    assert_memory_equal(peer->psk_latest.bytes, zeros, KEY_SIZE);
    assert_memory_equal(peer->static_static.bytes, zeros, KEY_SIZE);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, initiation, response),
                     DROP_WG_EXPIRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_handshake_lets_data_flow_both_ways),
        cmocka_unit_test(test_the_responder_sends_nothing_before_the_first_packet),
        cmocka_unit_test(test_on_renewal_the_responder_keeps_sending_on_the_old_session),
        cmocka_unit_test(test_late_packets_of_the_session_before_are_accepted_once),
        cmocka_unit_test(test_a_replayed_or_older_initiation_is_refused),
        cmocka_unit_test(test_an_initiation_of_another_peer_is_refused),
        cmocka_unit_test(test_responses_to_the_two_newest_initiations_are_accepted),
        cmocka_unit_test(test_a_response_to_nothing_is_refused_whatever_index_it_names),
        cmocka_unit_test(test_a_forged_response_does_not_spoil_the_wait),
        cmocka_unit_test(test_a_gateway_never_initiates_before_the_first_session),
        cmocka_unit_test(test_both_initiating_at_once_ends_in_working_sessions),
        cmocka_unit_test(test_a_flood_of_initiations_never_evicts_the_session_that_sends),
        cmocka_unit_test(test_damaged_replayed_and_unknown_data_is_refused_without_a_trace),
        cmocka_unit_test(test_the_same_packet_twice_in_one_batch_is_delivered_once),
        cmocka_unit_test(test_a_plaintext_that_is_no_packet_is_refused_but_confirms),
        cmocka_unit_test(test_counters_of_a_batch_follow_each_other_and_end_at_the_limit),
        cmocka_unit_test(test_a_client_with_a_new_tunnel_is_answered_with_the_pending_psk),
        cmocka_unit_test(test_of_several_psks_told_at_once_the_first_and_the_last_are_tried),
        cmocka_unit_test(test_a_client_that_ignored_the_new_psk_goes_on_with_the_old_one),
        cmocka_unit_test(test_an_unconfirmed_answer_commits_nothing_and_the_old_psk_gets_its_turn),
        cmocka_unit_test(test_a_psk_told_apart_from_older_ones_is_tried_first),
        cmocka_unit_test(test_before_the_first_session_the_first_psk_is_tried_first),
        cmocka_unit_test(test_before_the_first_session_a_psk_told_apart_is_tried_first),
        cmocka_unit_test(test_a_wiped_tunnel_holds_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
