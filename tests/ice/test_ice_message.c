#include "ice/ice_message.h"

#include "tests/support/support.h"

/* Credentials and bytes of spec/connectivity.md section 8. */
#define CLIENT_PASSWORD "sfl3nrmziix5dcaydtq4xd"

static const struct stun_txn txn = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

static void test_request_of_the_gateway_is_that_of_section_8(void **state)
{
    (void)state;
    struct ice_request request = {
        .txn = txn,
        .remote_ufrag = view_text("k5fd"),
        .local_ufrag = view_text("7ddg"),
        .remote_password = view_text(CLIENT_PASSWORD),
        .tie_breaker = UINT64_C(0x0102030405060708),
        .priority = 1862270719,
    };
    uint8_t out[256];
    struct view bytes = ice_message_request((struct span){out, sizeof(out)}, &request);
    uint8_t expected[256];
    size_t len = support_unhex("000100442112a4420102030405060708090a0b0c000600096b3566643a376464"
                               "67000000802900080102030405060708002400046efffeff0008001473e6a6a5"
                               "562f7d3464596bf97aa6534dd6cccb6c80280004b968e099",
                               expected, sizeof(expected));
    assert_int_equal(bytes.len, len);
    assert_int_equal(bytes.len, 88);
    assert_memory_equal(bytes.at, expected, len);
}

static void test_response_of_the_client_is_that_of_section_8(void **state)
{
    (void)state;
    struct sock_addr mapped = sock_addr_of(ip_v4(203, 0, 113, 7), 40000);
    uint8_t out[256];
    struct view bytes = ice_message_success((struct span){out, sizeof(out)}, &txn, &mapped,
                                            view_text(CLIENT_PASSWORD));
    uint8_t expected[256];
    size_t len = support_unhex("0101002c2112a4420102030405060708090a0b0c002000080001bd52ea12d545"
                               "00080014228bac89da172cff4c37559a93e01619b2d78de480280004d6b75ea7",
                               expected, sizeof(expected));
    assert_int_equal(bytes.len, len);
    assert_memory_equal(bytes.at, expected, len);
}

static void test_nominating_request_is_four_bytes_longer_and_decodes(void **state)
{
    (void)state;
    struct ice_request request = {
        .txn = txn,
        .remote_ufrag = view_text("7ddg"),
        .local_ufrag = view_text("k5fd"),
        .remote_password = view_text("swa5thzjjwfmbfcrzbylca"),
        .controlling = true,
        .use_candidate = true,
        .tie_breaker = 9,
        .priority = 1862270719,
    };
    uint8_t out[256];
    struct view bytes = ice_message_request((struct span){out, sizeof(out)}, &request);
    assert_int_equal(bytes.len, 92);
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
    assert_true(msg.use_candidate);
    assert_true(msg.has_controlling);
    assert_false(msg.has_controlled);
    assert_true(msg.controlling == 9);
    assert_true(view_equal_text(msg.username, "7ddg:k5fd"));
    assert_true(stun_msg_check_integrity(bytes, &msg, request.remote_password));
    assert_true(stun_msg_check_fingerprint(bytes, &msg));
    assert_int_equal(ice_message_request((struct span){out, 91}, &request).len, 0);
}

static void test_role_conflict_is_a_signed_487(void **state)
{
    (void)state;
    uint8_t out[256];
    struct view bytes = ice_message_role_conflict((struct span){out, sizeof(out)}, &txn,
                                                  view_text(CLIENT_PASSWORD));
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
    assert_int_equal(msg.class, STUN_ERROR);
    assert_int_equal(msg.error_code, 487);
    assert_true(stun_txn_equal(&msg.txn, &txn));
    assert_true(stun_msg_check_integrity(bytes, &msg, view_text(CLIENT_PASSWORD)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_of_the_gateway_is_that_of_section_8),
        cmocka_unit_test(test_response_of_the_client_is_that_of_section_8),
        cmocka_unit_test(test_nominating_request_is_four_bytes_longer_and_decodes),
        cmocka_unit_test(test_role_conflict_is_a_signed_487),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
