/* What reaches a tunnel that should not change it: strangers' addresses, cookie replies, bad
 * neighbours in a batch. And what stays the same for the life of the process. */
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

static const struct ip_addr server = {IP_V4, {10, 3, 0, 2}};

static struct rig *connected(void)
{
    struct rig *rig = rig_new();
    rig->clients[0].is_direct = true;
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    assert_true(rig_reaches_client(rig, 0, server, 80));
    return rig;
}

/* Where a packet from the network goes to now. */
static struct sock_addr path_of(struct rig *rig)
{
    uint8_t packet[128];
    size_t len = rig_put_udp(packet, &server, &rig->clients[0].ipv4, 80, 9, 1);
    rig_list_clear(&rig->wire);
    rig->keeps_wire = true;
    rig_tun(rig, (struct view){packet, len});
    rig->keeps_wire = false;
    assert_int_equal(rig->wire.count, 1);
    return rig->wire.items[0].remote;
}

static struct sock_addr gateway_host(void)
{
    return sock_addr_of(ip_v4(10, 2, 0, 2), 52625);
}

static void data_from_elsewhere_is_taken_and_moves_no_path(void **state)
{
    (void)state;
    struct rig *rig = connected();
    struct sock_addr before = path_of(rig);
    uint8_t packet[128];
    uint8_t message[256];
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &server, 80, 9, 1);
    size_t size = rig_client_seal(rig, 0, (struct view){packet, len}, message);
    rig_forget(rig);
    rig_udp(rig, gateway_host(), sock_addr_of(ip_v4(198, 51, 100, 7), 4711),
            (struct view){message, size});
    rig_settle(rig);
    assert_int_equal(rig->tun.count, 1);
    struct sock_addr after = path_of(rig);
    assert_true(sock_addr_equal(&before, &after));
    rig_free(rig);
}

/* A cookie reply proves that somebody saw our message, and not where the client is. */
static void a_cookie_reply_from_elsewhere_moves_no_path(void **state)
{
    (void)state;
    struct rig *rig = connected();
    struct view response = VIEW_EMPTY;
    for (size_t i = 0; i < rig->clients[0].datagrams.count; i++) {
        const struct rig_item *item = &rig->clients[0].datagrams.items[i];
        if (item->len == WG_RESPONSE_SIZE && item->at[0] == WG_TYPE_RESPONSE) {
            response = (struct view){item->at, item->len};
        }
    }
    assert_int_equal(response.len, WG_RESPONSE_SIZE);
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    const uint8_t cookie[WG_COOKIE_SIZE] = {1};
    const uint8_t nonce[WG_NONCE_SIZE] = {2};
    wg_cookie_make_reply(&rig->clients[0].node.own_macs, response, cookie, nonce, reply);
    struct sock_addr before = path_of(rig);
    rig_forget(rig);
    rig_udp(rig, gateway_host(), sock_addr_of(ip_v4(198, 51, 100, 7), 4711), VIEW_OF(reply));
    rig_settle(rig);
    assert_int_equal(rig_drops_all(rig), 0); /* it was a good one */
    struct sock_addr after = path_of(rig);
    assert_true(sock_addr_equal(&before, &after));
    rig_free(rig);
}

static void datagrams_of_any_size_in_a_train_affect_no_other(void **state)
{
    (void)state;
    struct rig *rig = connected();
    static uint8_t train[65535];
    uint8_t packet[1280];
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &server, 80, 1100, 1);
    static const uint16_t SIZES[] = {1, 31, 1337, 9000, 65535};
    for (size_t i = 0; i < ARRAY_COUNT(SIZES); i++) {
        rig_forget(rig);
        memset(train, 4, sizeof(train));
        rig_client_datagram(rig, 0, (struct view){train, sizeof(train)});
        rig->to_gateway.items[rig->to_gateway.count - 1].segment_size = SIZES[i];
        size_t size = rig_client_seal(rig, 0, (struct view){packet, len}, train);
        rig_client_datagram(rig, 0, (struct view){train, size});
        rig_settle(rig);
        assert_int_equal(rig->tun.count, 1);
        assert_int_equal(rig_drops_all(rig), (sizeof(train) + SIZES[i] - 1) / SIZES[i]);
    }
    rig_free(rig);
}

/* Messages of this type and size that left the gateway, from where the client knows it, since
 * keeps_wire was set. */
static unsigned left(const struct rig *rig, uint8_t type, size_t size)
{
    struct sock_addr local = gateway_host();
    unsigned count = 0;
    for (size_t i = 0; i < rig->wire.count; i++) {
        const struct rig_item *item = &rig->wire.items[i];
        bool is_one = item->len == size && item->at[0] == type;
        assert_true(!is_one || sock_addr_equal(&item->local, &local));
        count += is_one ? 1 : 0;
    }
    return count;
}

static void a_client_that_only_sends_hears_a_keepalive_after_ten_seconds(void **state)
{
    (void)state;
    struct rig *rig = connected();
    rig_pass(rig, DURATION_S(60));
    rig->keeps_wire = true;
    assert_true(rig_reaches_tun(rig, 0, server, 80));
    rig_pass(rig, DURATION_MS(9900));
    assert_int_equal(left(rig, WG_TYPE_DATA, WG_DATA_OVERHEAD), 0);
    rig_pass(rig, DURATION_MS(200));
    assert_int_equal(left(rig, WG_TYPE_DATA, WG_DATA_OVERHEAD), 1);
    unsigned handshakes = rig->clients[0].handshakes;
    rig_pass(rig, DURATION_S(20)); /* so the client does not take the tunnel for dead */
    assert_int_equal(rig->clients[0].handshakes, handshakes);
    rig_free(rig);
}

static void packets_into_silence_make_the_gateway_begin_a_handshake(void **state)
{
    (void)state;
    struct rig *rig = connected();
    struct rig_client *c = &rig->clients[0];
    unsigned handshakes = c->handshakes;
    rig_pass(rig, DURATION_S(60));
    c->is_used = false;
    rig->keeps_wire = true;
    assert_false(rig_reaches_client(rig, 0, server, 80));
    rig_pass(rig, DURATION_MS(14900));
    assert_int_equal(left(rig, WG_TYPE_INITIATION, WG_INITIATION_SIZE), 0);
    rig_pass(rig, DURATION_MS(600)); /* it may be 333 ms late on purpose */
    assert_int_equal(left(rig, WG_TYPE_INITIATION, WG_INITIATION_SIZE), 1);
    c->is_used = true;
    rig_pass(rig, DURATION_S(6));
    assert_int_equal(c->handshakes, handshakes + 1);
    assert_true(rig_reaches_client(rig, 0, server, 80));
    rig_free(rig);
}

static void the_static_key_is_one_for_the_life_of_the_process(void **state)
{
    (void)state;
    struct rig *rig = connected();
    struct x25519_public key = rig->gw->wg.own.public_key;
    rig_connect(rig, 1, RIG_CIDR4);
    rig_portal_drop(rig);
    rig_pass(rig, DURATION_S(20));
    assert_int_equal(rig->portal.joins, 2);
    assert_memory_equal(&rig->gw->wg.own.public_key, &key, sizeof(key));
    rig_connect(rig, 2, RIG_CIDR4);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(&rig->clients[i].wg.remote, &key, sizeof(key));
        assert_true(rig_reaches_tun(rig, i, server, 80));
    }
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_from_elsewhere_is_taken_and_moves_no_path),
        cmocka_unit_test(a_cookie_reply_from_elsewhere_moves_no_path),
        cmocka_unit_test(datagrams_of_any_size_in_a_train_affect_no_other),
        cmocka_unit_test(a_client_that_only_sends_hears_a_keepalive_after_ten_seconds),
        cmocka_unit_test(packets_into_silence_make_the_gateway_begin_a_handshake),
        cmocka_unit_test(the_static_key_is_one_for_the_life_of_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
