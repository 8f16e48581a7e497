/* Time lines of spec/wireguard.md sections 10 and 11, and hours of traffic over a bad network. */
#include "tests/wg/wg_pair.h"

#include <stdio.h>
#include <stdlib.h>

#define QUEUE_MAX  4096U
#define LOG_MAX    4096U
#define DATA_BYTES 20U

/* ---- a small network under a virtual clock ---- */

struct flight {
    struct instant at;
    uint64_t order;
    bool to_gateway;
    size_t len;
    uint8_t bytes[WG_INITIATION_SIZE];
};

struct entry {
    uint64_t ms; /* since the start */
    char from;   /* 'c' or 'g' */
    char what;   /* 'i'nitiation, 'r'esponse, 'k'eepalive, 'd'ata */
};

struct net {
    struct pair pair;
    struct flight queue[QUEUE_MAX];
    size_t queue_count;
    uint64_t order;
    uint32_t delay_ms;
    uint32_t jitter_ms;
    uint32_t loss_percent;
    uint32_t duplicate_percent;
    bool gateway_dead;
    uint32_t client_data_ms; /* interval, 0: none */
    uint32_t gateway_data_ms;
    bool gateway_echoes;
    struct instant client_tick_at; /* WG_ERA_BASE only */
    struct entry log[LOG_MAX];
    size_t log_count;
    size_t sent;
    size_t delivered;
    size_t refused; /* data that found no session */
    struct instant last_delivered_at;
    struct rng dice;
    uint64_t digest;
};

static struct net *net_new(enum wg_era client)
{
    struct net *net = calloc(1, sizeof(*net));
    assert_non_null(net);
    pair_init_eras(&net->pair, client, WG_ERA_OURS);
    net->delay_ms = 100;
    net->dice = pair_rng(42);
    net->client_tick_at = client == WG_ERA_BASE ? pair_at(0) : TIME_NEVER;
    return net;
}

static char kind_of(const uint8_t *bytes, size_t len)
{
    switch (bytes[0]) {
    case WG_TYPE_INITIATION:
        return 'i';
    case WG_TYPE_RESPONSE:
        return 'r';
    default:
        return len == WG_KEEPALIVE_SIZE ? 'k' : 'd';
    }
}

static void push(struct net *net, bool to_gateway, const uint8_t *bytes, size_t len)
{
    assert_true(net->queue_count < QUEUE_MAX);
    struct flight *flight = &net->queue[net->queue_count++];
    uint32_t extra = net->jitter_ms == 0 ? 0 : rng_below(&net->dice, net->jitter_ms);
    flight->at = instant_add(net->pair.now, DURATION_MS(net->delay_ms + extra));
    flight->order = net->order++;
    flight->to_gateway = to_gateway;
    flight->len = len;
    memcpy(flight->bytes, bytes, len);
}

static void net_send(struct net *net, bool to_gateway, const uint8_t *bytes, size_t len)
{
    char kind = kind_of(bytes, len);
    if (kind != 'd' && net->log_count < LOG_MAX) {
        uint64_t ms = (net->pair.now.ns - pair_at(0).ns) / NS_PER_MS;
        net->log[net->log_count++] = (struct entry){ms, to_gateway ? 'c' : 'g', kind};
    }
    for (size_t i = 0; i < len; i++) {
        net->digest = (net->digest ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    if (rng_below(&net->dice, 100) < net->loss_percent) {
        return;
    }
    push(net, to_gateway, bytes, len);
    if (rng_below(&net->dice, 100) < net->duplicate_percent) {
        push(net, to_gateway, bytes, len);
    }
}

static void drain(struct net *net, struct pair_side *side)
{
    uint8_t out[WG_INITIATION_SIZE];
    for (size_t len = pair_poll(&net->pair, side, out); len > 0;
         len = pair_poll(&net->pair, side, out)) {
        net_send(net, side == &net->pair.client, out, len);
    }
}

static void send_data(struct net *net, struct pair_side *side)
{
    uint8_t data[PAIR_DATA_SIZE];
    if (pair_seal(&net->pair, side, data) == DROP_NONE) {
        net->sent++;
        net_send(net, side == &net->pair.client, data, sizeof(data));
        return;
    }
    net->refused++;
    if (side == &net->pair.client && side->peer.era != WG_ERA_HEAD) {
        wg_peer_initiate(&side->peer, net->pair.now);
    }
}

static void deliver(struct net *net, struct flight *flight)
{
    struct pair_side *side = flight->to_gateway ? &net->pair.gateway : &net->pair.client;
    uint8_t response[WG_RESPONSE_SIZE];
    if (flight->to_gateway && net->gateway_dead) {
        return;
    }
    switch (flight->bytes[0]) {
    case WG_TYPE_INITIATION:
        if (pair_give_initiation(&net->pair, side, flight->bytes, response) == DROP_NONE) {
            net_send(net, !flight->to_gateway, response, sizeof(response));
        }
        break;
    case WG_TYPE_RESPONSE:
        (void)!pair_give_response(&net->pair, side, flight->bytes);
        break;
    default: {
        struct wg_open open;
        enum drop_reason reason = wg_peer_open(
            &side->peer, (struct span){flight->bytes, flight->len}, net->pair.now, &open);
        if (reason == DROP_NONE && !open.is_keepalive) {
            net->delivered++;
            net->last_delivered_at = net->pair.now;
            if (flight->to_gateway && net->gateway_echoes) {
                send_data(net, side);
            }
        }
        break;
    }
    }
}

static size_t earliest(const struct net *net)
{
    size_t best = 0;
    for (size_t i = 1; i < net->queue_count; i++) {
        const struct flight *a = &net->queue[i];
        const struct flight *b = &net->queue[best];
        if (a->at.ns < b->at.ns || (a->at.ns == b->at.ns && a->order < b->order)) {
            best = i;
        }
    }
    return best;
}

static void deliver_due(struct net *net)
{
    while (net->queue_count > 0) {
        size_t at = earliest(net);
        if (!instant_reached(net->pair.now, net->queue[at].at)) {
            return;
        }
        struct flight flight = net->queue[at];
        net->queue[at] = net->queue[--net->queue_count];
        deliver(net, &flight);
        drain(net, &net->pair.client);
        drain(net, &net->pair.gateway);
    }
}

static void tick(struct net *net, struct pair_side *side)
{
    struct instant now = net->pair.now;
    bool is_base = side->peer.era == WG_ERA_BASE;
    struct instant due = is_base ? net->client_tick_at : wg_peer_poll_timeout(&side->peer).at;
    if (!instant_reached(now, due)) {
        return;
    }
    wg_peer_handle_timeout(&side->peer, now, &net->pair.rng);
    if (is_base) {
        net->client_tick_at = instant_add(due, DURATION_S(1));
    } else {
        /* A timer that stays due would spin for ever. */
        assert_true(instant_before(now, wg_peer_poll_timeout(&side->peer).at));
    }
    wg_peer_check(&side->peer);
    drain(net, side);
}

/* Runs in steps of 10 ms until `end_ms`. */
static void net_run(struct net *net, uint64_t from_ms, uint64_t end_ms)
{
    for (uint64_t ms = from_ms; ms < end_ms; ms += 10) {
        net->pair.now = pair_at(ms);
        deliver_due(net);
        if (!net->gateway_dead) {
            tick(net, &net->pair.gateway);
        }
        tick(net, &net->pair.client);
        if (net->client_data_ms > 0 && ms % net->client_data_ms == 0) {
            send_data(net, &net->pair.client);
        }
        if (net->gateway_data_ms > 0 && ms % net->gateway_data_ms == 0) {
            send_data(net, &net->pair.gateway);
        }
        drain(net, &net->pair.client);
    }
}

static void net_start(struct net *net)
{
    wg_peer_initiate(&net->pair.client.peer, net->pair.now);
    drain(net, &net->pair.client);
}

static size_t count_of(const struct net *net, char from, char what)
{
    size_t count = 0;
    for (size_t i = 0; i < net->log_count; i++) {
        count += net->log[i].from == from && net->log[i].what == what;
    }
    return count;
}

/* Returns when the n-th message of the kind was sent, ms; UINT64_MAX when there were fewer. */
static uint64_t time_of(const struct net *net, char from, char what, size_t n)
{
    for (size_t i = 0; i < net->log_count; i++) {
        if (net->log[i].from == from && net->log[i].what == what && n-- == 0) {
            return net->log[i].ms;
        }
    }
    return UINT64_MAX;
}

static void assert_within(uint64_t value, uint64_t low, uint64_t high)
{
    if (value < low || value > high) {
        print_message("%llu is not in %llu..%llu\n", (unsigned long long)value,
                      (unsigned long long)low, (unsigned long long)high);
    }
    assert_true(value >= low && value <= high);
}

/* ---- time lines ---- */

static void test_an_idle_tunnel_is_silent_and_over_after_540_s(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_OURS);
    net_start(net);
    net_run(net, 0, 530000);
    assert_int_equal(net->log_count, 3); /* initiation, response, keepalive */
    assert_int_equal(time_of(net, 'g', 'r', 0), 100);
    assert_int_equal(time_of(net, 'c', 'k', 0), 200);
    assert_false(wg_peer_is_expired(&net->pair.client.peer));
    net_run(net, 530000, 541000);
    assert_true(wg_peer_is_expired(&net->pair.client.peer));
    assert_true(wg_peer_is_expired(&net->pair.gateway.peer));
    free(net);
}

static void test_traffic_both_ways_renews_every_120_s(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_OURS);
    net->client_data_ms = 1000;
    net->gateway_echoes = true;
    net_start(net);
    net_run(net, 0, 400000);
    assert_int_equal(count_of(net, 'g', 'i'), 0);
    assert_int_equal(count_of(net, 'c', 'i'), 4);
    assert_within(time_of(net, 'c', 'i', 1), 120000, 120700);
    assert_within(time_of(net, 'c', 'i', 2), 240000, 241500);
    assert_int_equal(net->refused, 1); /* at 0, before the session */
    assert_true(net->delivered >= 2 * 398);
    free(net);
}

static void test_one_way_data_is_answered_by_a_keepalive_every_10_s(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_OURS);
    net->client_data_ms = 1000;
    net_start(net);
    net_run(net, 0, 100000);
    /* The first data packet after a keepalive restarts the 10 s: every 11 s at one packet a second.
     */
    assert_within(time_of(net, 'g', 'k', 0), 11000, 11200);
    assert_within(count_of(net, 'g', 'k'), 8, 9);
    assert_int_equal(count_of(net, 'c', 'i'), 1); /* so the sender is never worried */
    free(net);
}

static void test_a_client_that_only_receives_renews_at_165_s(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_OURS);
    net->gateway_data_ms = 1000;
    net_start(net);
    net_run(net, 0, 200000);
    assert_int_equal(count_of(net, 'c', 'i'), 2);
    assert_within(time_of(net, 'c', 'i', 1), 165200, 165600);
    assert_int_equal(count_of(net, 'g', 'i'), 0);
    free(net);
}

static void test_a_vanished_peer_is_given_up_20_s_after_the_first_retry(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_OURS);
    net_start(net);
    net_run(net, 0, 5000);
    net->gateway_dead = true;
    net->client_data_ms = 1000;
    net_run(net, 5000, 60000);
    assert_within(time_of(net, 'c', 'i', 1), 20000, 20340);
    for (size_t n = 2; n <= 4; n++) {
        uint64_t gap = time_of(net, 'c', 'i', n) - time_of(net, 'c', 'i', n - 1);
        assert_within(gap, 5000, 5340);
    }
    assert_int_equal(count_of(net, 'c', 'i'), 5);
    assert_true(wg_peer_is_expired(&net->pair.client.peer));
    free(net);
}

static void test_a_gateway_whose_data_stays_unanswered_initiates_after_15_s(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_OURS);
    net_start(net);
    net_run(net, 0, 1000);
    net->loss_percent = 100;
    send_data(net, &net->pair.gateway);
    net_run(net, 1000, 16400);
    assert_within(time_of(net, 'g', 'i', 0), 15990, 16340);
    net->loss_percent = 0; /* the retry gets through */
    net_run(net, 16400, 30000);
    assert_int_equal(count_of(net, 'g', 'i'), 2);
    assert_int_equal(count_of(net, 'c', 'r'), 1);
    assert_false(wg_peer_is_expired(&net->pair.gateway.peer));
    free(net);
}

static void test_sessions_stop_sending_at_180_s_and_receiving_after_240_s(void **state)
{
    (void)state;
    static struct pair pair;
    uint8_t data[PAIR_DATA_SIZE];
    pair_init(&pair);
    pair_handshake(&pair, &pair.client, &pair.gateway);
    pair.now = pair_at(179999);
    assert_int_equal(pair_seal(&pair, &pair.gateway, data), DROP_NONE);
    pair.now = pair_at(180000);
    uint8_t late[PAIR_DATA_SIZE];
    assert_int_equal(pair_seal(&pair, &pair.gateway, late), DROP_WG_NO_SESSION);
    pair.now = pair_at(240000);
    memcpy(late, data, sizeof(late));
    assert_int_equal(pair_open(&pair, &pair.client, late), DROP_NONE);
    pair.now = pair_at(240001);
    assert_int_equal(pair_open(&pair, &pair.client, data), DROP_WG_EXPIRED);
    wg_peer_handle_timeout(&pair.client.peer, pair.now, &pair.rng);
    assert_int_equal(pair_open(&pair, &pair.client, data), DROP_WG_UNKNOWN_INDEX);
}

static void test_a_persistent_keepalive_keeps_its_own_schedule(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_OURS);
    net->pair.client.peer.persistent_keepalive_s = 25;
    net->pair.client.peer.persistent_at = pair_at(25000);
    net->client_data_ms = 1000;
    net->gateway_echoes = true;
    net_start(net);
    net_run(net, 0, 110000);
    for (size_t n = 1; n <= 4; n++) {
        assert_int_equal(time_of(net, 'c', 'k', n), 25000 * n);
    }
    free(net);
}

/* ---- clients of other versions ---- */

static void test_a_client_of_1_4_2_renews_at_120_s_and_sends_persistent_keepalives(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_BASE);
    net->pair.client.peer.persistent_keepalive_s = WG_PERSISTENT_S_BASE;
    net->pair.client.peer.persistent_at = pair_at(25000);
    net->pair.client.peer.rekey_attempt_s = WG_ATTEMPT_S_BASE;
    net->client_data_ms = 1000;
    net->gateway_echoes = true;
    net_start(net);
    net_run(net, 0, 400000);
    assert_int_equal(count_of(net, 'c', 'i'), 4);
    assert_int_equal(time_of(net, 'c', 'i', 1), 120000);
    assert_int_equal(time_of(net, 'c', 'i', 2), 240000);
    assert_int_equal(time_of(net, 'c', 'i', 3), 360000);
    assert_int_equal(time_of(net, 'c', 'k', 1), 25000);
    free(net);
}

static void test_a_client_of_1_4_2_retries_every_5_s_until_90_s(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_BASE);
    net->pair.client.peer.rekey_attempt_s = WG_ATTEMPT_S_BASE;
    net_start(net);
    net_run(net, 0, 1000);
    net->gateway_dead = true;
    net->client_data_ms = 1000;
    net_run(net, 1000, 130000);
    assert_within(time_of(net, 'c', 'i', 1), 15000, 16000);
    assert_int_equal(time_of(net, 'c', 'i', 2) - time_of(net, 'c', 'i', 1), 5000);
    assert_within(count_of(net, 'c', 'i'), 18, 20);
    assert_true(wg_peer_is_expired(&net->pair.client.peer));
    free(net);
}

static void test_an_idle_head_client_renews_when_its_session_expires(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_HEAD);
    net_start(net);
    net_run(net, 0, 560000);
    assert_int_equal(count_of(net, 'c', 'i'), 4);
    assert_within(time_of(net, 'c', 'i', 1), 180000, 180600);
    assert_within(time_of(net, 'c', 'i', 2), 360200, 361200);
    assert_int_equal(count_of(net, 'c', 'k'), 4); /* only those that confirm */
    assert_int_equal(count_of(net, 'g', 'k'), 0);
    free(net);
}

static void test_our_passive_keepalives_quiet_a_head_client_that_sends_one_way(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_HEAD);
    net->client_data_ms = 1000;
    net_start(net);
    net_run(net, 0, 100000);
    assert_int_equal(count_of(net, 'c', 'i'), 1);
    free(net);
}

static void test_a_head_client_that_receives_one_way_lets_us_renew_every_16_s(void **state)
{
    (void)state;
    struct net *net = net_new(WG_ERA_HEAD);
    net->gateway_data_ms = 1000;
    net_start(net);
    net_run(net, 0, 100000);
    assert_within(count_of(net, 'g', 'i'), 5, 6);
    assert_within(time_of(net, 'g', 'i', 0), 16000, 16400);
    assert_true(net->delivered >= 98);
    free(net);
}

/* ---- hours over a bad network ---- */

static uint64_t soak(enum wg_era era, uint8_t seed)
{
    struct net *net = net_new(era);
    net->pair.rng = pair_rng(seed);
    net->dice = pair_rng((uint8_t)(seed + 100));
    net->pair.client.peer.rekey_attempt_s = 90;
    net->pair.gateway.peer.rekey_attempt_s = 90;
    net->loss_percent = 10;
    net->duplicate_percent = 5;
    net->jitter_ms = 300;
    net->client_data_ms = 1000;
    net->gateway_data_ms = 700;
    net_start(net);
    const uint64_t hours_ms = UINT64_C(3) * 3600 * 1000;
    net_run(net, 0, hours_ms);
    assert_false(wg_peer_is_expired(&net->pair.client.peer));
    assert_false(wg_peer_is_expired(&net->pair.gateway.peer));
    /* Loss is one in ten; nothing else may be missing, and nothing comes twice. */
    assert_true(net->delivered <= net->sent);
    assert_true(net->delivered * 100 > net->sent * 88);
    assert_true(net->refused < 100);
    assert_true(net->last_delivered_at.ns + 5 * NS_PER_S > pair_at(hours_ms).ns);
    uint64_t digest = net->digest;
    free(net);
    return digest;
}

static void test_three_hours_of_loss_reordering_and_duplicates(void **state)
{
    (void)state;
    (void)soak(WG_ERA_OURS, 1);
    (void)soak(WG_ERA_HEAD, 2);
    (void)soak(WG_ERA_BASE, 3);
}

static void test_equal_seeds_give_equal_bytes(void **state)
{
    (void)state;
    uint64_t digest = soak(WG_ERA_OURS, 7);
    assert_true(digest == soak(WG_ERA_OURS, 7));
    assert_true(digest != soak(WG_ERA_OURS, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_tunnel_is_silent_and_over_after_540_s),
        cmocka_unit_test(test_traffic_both_ways_renews_every_120_s),
        cmocka_unit_test(test_one_way_data_is_answered_by_a_keepalive_every_10_s),
        cmocka_unit_test(test_a_client_that_only_receives_renews_at_165_s),
        cmocka_unit_test(test_a_vanished_peer_is_given_up_20_s_after_the_first_retry),
        cmocka_unit_test(test_a_gateway_whose_data_stays_unanswered_initiates_after_15_s),
        cmocka_unit_test(test_sessions_stop_sending_at_180_s_and_receiving_after_240_s),
        cmocka_unit_test(test_a_persistent_keepalive_keeps_its_own_schedule),
        cmocka_unit_test(test_a_client_of_1_4_2_renews_at_120_s_and_sends_persistent_keepalives),
        cmocka_unit_test(test_a_client_of_1_4_2_retries_every_5_s_until_90_s),
        cmocka_unit_test(test_an_idle_head_client_renews_when_its_session_expires),
        cmocka_unit_test(test_our_passive_keepalives_quiet_a_head_client_that_sends_one_way),
        cmocka_unit_test(test_a_head_client_that_receives_one_way_lets_us_renew_every_16_s),
        cmocka_unit_test(test_three_hours_of_loss_reordering_and_duplicates),
        cmocka_unit_test(test_equal_seeds_give_equal_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
