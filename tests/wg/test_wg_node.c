/* Checks before the tunnel: mac1, limiter, cookies, static key. */
#include "tests/wg/wg_pair.h"

static struct wg_verdict receive(struct pair *pair, const struct wg_arrival *arrival,
                                 uint8_t reply[WG_COOKIE_REPLY_SIZE])
{
    struct wg_initiation out;
    return wg_node_receive_initiation(&pair->gateway.node, arrival, &pair->rng, &out, reply);
}

static void test_every_flipped_bit_of_an_initiation_is_refused(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t message[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, message);
    /* mac2 is not looked at below the limit. */
    for (size_t bit = 0; bit < 8U * (WG_INITIATION_SIZE - WG_MAC_SIZE); bit++) {
        message[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        enum drop_reason reason = pair_give_initiation(&pair, &pair.gateway, message, response);
        assert_int_equal(reason, bit < 32 ? DROP_WG_MALFORMED : DROP_WG_MAC1);
        message[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, message, response), DROP_NONE);
}

/* The same with mac1 made anew, so that each field meets its own check. */
static void test_flipped_fields_under_a_good_mac1_are_refused(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t message[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, message);
    for (size_t at = 8; at < 116; at += 3) {
        uint8_t bent[WG_INITIATION_SIZE];
        memcpy(bent, message, sizeof(bent));
        bent[at] ^= 0x10;
        wg_cookie_stamp((struct span){bent, sizeof(bent)}, &pair.gateway.node.own_macs, NULL);
        assert_int_equal(pair_give_initiation(&pair, &pair.gateway, bent, response),
                         DROP_WG_HANDSHAKE);
    }
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, message, response), DROP_NONE);
}

static void test_mac1_for_another_key_is_refused(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t message[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, message);
    wg_cookie_stamp((struct span){message, sizeof(message)}, &pair.client.node.own_macs, NULL);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, message, response), DROP_WG_MAC1);
}

static void test_ephemerals_of_low_order_are_refused(void **state)
{
    (void)state;
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    static struct pair pair;
    pair_init(&pair);
    for (size_t i = 0; i < ARRAY_COUNT(points); i++) {
        uint8_t message[WG_INITIATION_SIZE] = {WG_TYPE_INITIATION};
        uint8_t response[WG_RESPONSE_SIZE];
        support_unhex(points[i], message + 8, KEY_SIZE);
        wg_cookie_stamp((struct span){message, sizeof(message)}, &pair.gateway.node.own_macs, NULL);
        assert_int_equal(pair_give_initiation(&pair, &pair.gateway, message, response),
                         DROP_WG_HANDSHAKE);
    }
}

static void test_a_remote_key_of_low_order_makes_no_tunnel(void **state)
{
    (void)state;
    struct wg_node node;
    static struct wg_peer peer;
    static struct wg_window windows[WG_SESSIONS_MAX];
    pair_node(&node, 1);
    struct wg_peer_config config = {
        .id = 1, .rekey_attempt_s = 20, .windows = wg_windows_of(windows)};
    assert_int_equal(wg_peer_init(&peer, &node, &config, pair_at(0)), ERR_CRYPTO);
    assert_true(wg_peer_is_expired(&peer));
    wg_peer_check(&peer);
}

static void test_under_load_only_a_cookie_for_the_same_address_and_port_helps(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t message[WG_INITIATION_SIZE];
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    pair_init(&pair);
    pair.gateway.node.limiter.limit = 2;
    pair_initiation(&pair, &pair.client, message);
    struct wg_arrival arrival = pair_arrival(&pair, message, sizeof(message));
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_ACCEPTED);
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_ACCEPTED);
    struct wg_verdict verdict = receive(&pair, &arrival, reply);
    assert_int_equal(verdict.kind, WG_VERDICT_COOKIE_REPLY);
    assert_int_equal(verdict.reason, DROP_WG_LOAD);

    /* The client takes the cookie, sends nothing because of it, and its next message carries mac2.
     */
    assert_int_equal(wg_peer_handle_cookie_reply(&pair.client.peer, VIEW_OF(reply), pair.now),
                     DROP_NONE);
    uint8_t none[WG_INITIATION_SIZE];
    assert_int_equal(pair_poll(&pair, &pair.client, none), 0);
    wg_cookie_stamp((struct span){message, sizeof(message)}, &pair.gateway.node.own_macs,
                    pair.client.peer.cookie);
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_ACCEPTED);
    arrival.from.port++;
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_COOKIE_REPLY);
    arrival.from.port--;
    arrival.from.ip.bytes[3]++;
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_COOKIE_REPLY);

    /* A second later there is no load any more. */
    arrival.now = instant_add(pair.now, DURATION_S(1));
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_ACCEPTED);
}

static void test_a_cookie_is_forgotten_after_two_minutes(void **state)
{
    (void)state;
    static struct pair pair;
    const uint8_t cookie[WG_COOKIE_SIZE] = {1};
    const uint8_t nonce[WG_NONCE_SIZE] = {2};
    uint8_t message[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    struct wg_peer *peer = &pair.client.peer;
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, message);
    wg_cookie_make_reply(&pair.gateway.node.own_macs, VIEW_OF(message), cookie, nonce, reply);
    assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), pair.now), DROP_NONE);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, message, response), DROP_NONE);
    assert_int_equal(pair_give_response(&pair, &pair.client, response), DROP_NONE);
    pair.now = pair_at(119999);
    wg_peer_handle_timeout(peer, pair.now, &pair.rng);
    assert_true(peer->has_cookie);
    pair.now = pair_at(120000);
    wg_peer_handle_timeout(peer, pair.now, &pair.rng);
    assert_false(peer->has_cookie);
    assert_memory_not_equal(peer->cookie, cookie, sizeof(cookie));
    assert_false(peer->expired);
    assert_true(instant_before(pair.now, wg_peer_poll_timeout(peer).at)); /* it wakes nobody */
}

/* What anybody can send who does not know our key costs the honest nothing. */
static void test_invalid_initiations_bring_no_load(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t good[WG_INITIATION_SIZE];
    uint8_t bad[WG_INITIATION_SIZE];
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    pair_init(&pair);
    pair.gateway.node.limiter.limit = 2;
    pair_initiation(&pair, &pair.client, good);
    memcpy(bad, good, sizeof(bad));
    bad[sizeof(bad) - 20] ^= 1; /* mac1 */
    struct wg_arrival arrival = pair_arrival(&pair, bad, sizeof(bad));
    for (int i = 0; i < 1000; i++) {
        arrival.message.len = sizeof(bad) - (size_t)(i % 3 == 0);
        arrival.from.port++;
        assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_DROPPED);
    }
    arrival = pair_arrival(&pair, good, sizeof(good));
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_ACCEPTED);
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_ACCEPTED);
    assert_int_equal(receive(&pair, &arrival, reply).kind, WG_VERDICT_COOKIE_REPLY);
}

/* A limiter, and a stranger's initiation with the latest cookie that it was given. */
struct load {
    struct wg_limiter limiter;
    struct wg_mac_keys keys;
    struct rng rng;
    uint8_t message[WG_INITIATION_SIZE];
};

static void load_init(struct load *load, uint32_t limit)
{
    struct x25519_public recipient = {{7}};
    *load = (struct load){.rng = pair_rng(3), .message = {WG_TYPE_INITIATION}};
    wg_mac_keys_of(&load->keys, &recipient);
    wg_limiter_init(&load->limiter, limit, pair_at(0));
}

/* The message arrives; the cookie that it is refused for is in it from then on. */
static enum wg_limiter_verdict judge(struct load *load, const struct sock_addr *from, uint64_t ms)
{
    uint8_t cookie[WG_COOKIE_SIZE];
    enum wg_limiter_verdict verdict = wg_limiter_judge(&load->limiter, VIEW_OF(load->message), from,
                                                       pair_at(ms), &load->rng, cookie);
    if (verdict == WG_LIMITER_COOKIE) {
        wg_cookie_stamp((struct span){load->message, sizeof(load->message)}, &load->keys, cookie);
    }
    return verdict;
}

static void test_a_cookie_outlives_one_change_of_the_secret_but_not_two(void **state)
{
    (void)state;
    struct load load;
    struct sock_addr from = sock_addr_of(ip_v4(10, 0, 0, 1), 5);
    load_init(&load, 0);
    assert_int_equal(judge(&load, &from, 0), WG_LIMITER_COOKIE);
    assert_int_equal(judge(&load, &from, 119999), WG_LIMITER_PASS);
    assert_int_equal(judge(&load, &from, 120000), WG_LIMITER_PASS);
    assert_int_equal(judge(&load, &from, 240000), WG_LIMITER_COOKIE);
}

static void test_after_a_long_pause_the_secret_before_is_forgotten(void **state)
{
    (void)state;
    struct load load;
    struct sock_addr from = sock_addr_of(ip_v4(10, 0, 0, 1), 5);
    load_init(&load, 0);
    assert_int_equal(judge(&load, &from, 0), WG_LIMITER_COOKIE);
    assert_int_equal(judge(&load, &from, 240000), WG_LIMITER_COOKIE);
}

/* A cookie proves an address; it is no licence to keep us busy. */
static void test_one_address_gets_only_its_share_however_many_cookies_it_has(void **state)
{
    (void)state;
    struct load load;
    struct ip_addr v6 = {IP_V6, {0x20, 0x01, 0x0d, 0xb8}};
    struct ip_addr greedy[] = {ip_v4(192, 0, 2, 1), v6};
    for (size_t g = 0; g < ARRAY_COUNT(greedy); g++) {
        uint32_t passed = 0;
        load_init(&load, 0);
        for (uint32_t i = 0; i < 4 * WG_PROVEN_PER_S; i++) { /* a port, or a host of its network */
            struct sock_addr from = sock_addr_of(greedy[g], (uint16_t)(1000 + i));
            from.ip.bytes[15] = from.ip.family == IP_V6 ? (uint8_t)i : 0;
            assert_int_equal(judge(&load, &from, 0), WG_LIMITER_COOKIE);
            enum wg_limiter_verdict verdict = judge(&load, &from, 0);
            passed += verdict == WG_LIMITER_PASS ? 1 : 0;
            assert_int_equal(verdict, i < WG_PROVEN_PER_S ? WG_LIMITER_PASS : WG_LIMITER_DROP);
        }
        assert_int_equal(passed, WG_PROVEN_PER_S);
    }
    /* Others are not concerned, and the next second is a new one. */
    struct sock_addr other = sock_addr_of(ip_v4(198, 51, 100, 9), 7);
    assert_int_equal(judge(&load, &other, 0), WG_LIMITER_COOKIE);
    assert_int_equal(judge(&load, &other, 0), WG_LIMITER_PASS);
    struct sock_addr again = sock_addr_of(v6, 3);
    assert_int_equal(judge(&load, &again, 1000), WG_LIMITER_COOKIE);
    assert_int_equal(judge(&load, &again, 1000), WG_LIMITER_PASS);
}

/* Whoever has a network of IPv6 has 65 536 addresses to prove. All together they get what costs
 * less than half a second of a core: 50 us for an initiation of a stranger. */
static void test_all_addresses_together_leave_time_for_packets(void **state)
{
    (void)state;
    struct load load;
    uint32_t passed = 0;
    load_init(&load, WG_HANDSHAKES_PER_S_DEFAULT);
    for (uint32_t i = 0; i < 100000; i++) {
        struct ip_addr v6 = {IP_V6, {0x20, 0x01, 0x0d, 0xb8, 0, 0, (uint8_t)(i >> 8), (uint8_t)i}};
        struct sock_addr from = sock_addr_of(v6, 1000);
        bool pass =
            judge(&load, &from, 0) == WG_LIMITER_PASS || judge(&load, &from, 0) == WG_LIMITER_PASS;
        passed += pass ? 1U : 0U;
    }
    assert_in_range(passed, WG_HANDSHAKES_PER_S_DEFAULT + WG_PROVEN_BUCKETS, 10000);
}

static void test_responses_pass_the_same_checks(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t message[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    pair_init(&pair);
    pair_initiation(&pair, &pair.client, message);
    assert_int_equal(pair_give_initiation(&pair, &pair.gateway, message, response), DROP_NONE);
    struct wg_node *node = &pair.client.node;
    struct wg_arrival arrival = pair_arrival(&pair, response, sizeof(response));
    assert_int_equal(wg_node_check_response(node, &arrival, &pair.rng, reply).kind,
                     WG_VERDICT_ACCEPTED);
    response[20] ^= 1;
    assert_int_equal(wg_node_check_response(node, &arrival, &pair.rng, reply).reason, DROP_WG_MAC1);
    response[20] ^= 1;
    node->limiter.limit = 0;
    assert_int_equal(wg_node_check_response(node, &arrival, &pair.rng, reply).kind,
                     WG_VERDICT_COOKIE_REPLY);
    /* The responder consumes the reply: it was bound to its response. */
    assert_int_equal(wg_peer_handle_cookie_reply(&pair.gateway.peer, VIEW_OF(reply), pair.now),
                     DROP_NONE);
    arrival.message.len--;
    assert_int_equal(wg_node_check_response(node, &arrival, &pair.rng, reply).reason,
                     DROP_WG_MALFORMED);
}

static void test_cookie_replies_that_do_not_match_are_refused(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t message[WG_INITIATION_SIZE];
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    uint8_t cookie[WG_COOKIE_SIZE] = {1};
    uint8_t nonce[WG_NONCE_SIZE] = {2};
    pair_init(&pair);
    struct wg_peer *peer = &pair.client.peer;
    memset(reply, 0, sizeof(reply));
    reply[0] = WG_TYPE_COOKIE_REPLY;
    assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), pair.now),
                     DROP_WG_UNEXPECTED);
    pair_initiation(&pair, &pair.client, message);
    const struct wg_mac_keys *keys = &pair.gateway.node.own_macs;

    message[4] ^= 1; /* wrong index */
    wg_cookie_make_reply(keys, VIEW_OF(message), cookie, nonce, reply);
    assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), pair.now),
                     DROP_WG_UNEXPECTED);
    message[4] ^= 1;
    message[116] ^= 1; /* wrong mac1 */
    wg_cookie_make_reply(keys, VIEW_OF(message), cookie, nonce, reply);
    assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), pair.now), DROP_WG_COOKIE);
    message[116] ^= 1;
    wg_cookie_make_reply(&pair.client.node.own_macs, VIEW_OF(message), cookie, nonce, reply);
    assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), pair.now), DROP_WG_COOKIE);
    wg_cookie_make_reply(keys, VIEW_OF(message), cookie, nonce, reply);
    for (size_t at = 8; at < sizeof(reply); at++) {
        reply[at] ^= 1;
        assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), pair.now),
                         DROP_WG_COOKIE);
        reply[at] ^= 1;
    }
    assert_false(peer->has_cookie);
    assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), pair.now), DROP_NONE);
    assert_memory_equal(peer->cookie, cookie, sizeof(cookie));
}

static void test_stamps_of_a_node_strictly_increase(void **state)
{
    (void)state;
    struct wg_node node;
    uint8_t last[WG_TIMESTAMP_SIZE] = {0};
    pair_node(&node, 1);
    for (uint64_t i = 0; i < 300; i++) {
        uint8_t stamp[WG_TIMESTAMP_SIZE];
        wg_node_timestamp(&node, pair_at(i / 100), stamp);
        assert_true(memcmp(stamp, last, sizeof(stamp)) > 0);
        memcpy(last, stamp, sizeof(last));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_flipped_bit_of_an_initiation_is_refused),
        cmocka_unit_test(test_flipped_fields_under_a_good_mac1_are_refused),
        cmocka_unit_test(test_mac1_for_another_key_is_refused),
        cmocka_unit_test(test_ephemerals_of_low_order_are_refused),
        cmocka_unit_test(test_a_remote_key_of_low_order_makes_no_tunnel),
        cmocka_unit_test(test_under_load_only_a_cookie_for_the_same_address_and_port_helps),
        cmocka_unit_test(test_a_cookie_is_forgotten_after_two_minutes),
        cmocka_unit_test(test_invalid_initiations_bring_no_load),
        cmocka_unit_test(test_a_cookie_outlives_one_change_of_the_secret_but_not_two),
        cmocka_unit_test(test_after_a_long_pause_the_secret_before_is_forgotten),
        cmocka_unit_test(test_one_address_gets_only_its_share_however_many_cookies_it_has),
        cmocka_unit_test(test_all_addresses_together_leave_time_for_packets),
        cmocka_unit_test(test_responses_pass_the_same_checks),
        cmocka_unit_test(test_cookie_replies_that_do_not_match_are_refused),
        cmocka_unit_test(test_stamps_of_a_node_strictly_increase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
