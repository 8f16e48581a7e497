#include "tests/support/support.h"

#include <string.h>

#include "crypto/rng.h"
#include "stun/stun_auth.h"
#include "stun/stun_msg.h"

static const struct stun_txn txn = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

/* spec/connectivity.md section 8 */
static const char ice_request_hex[] =
    "000100442112a4420102030405060708090a0b0c000600096b3566643a376464"
    "67000000802900080102030405060708002400046efffeff0008001473e6a6a5"
    "562f7d3464596bf97aa6534dd6cccb6c80280004b968e099";
static const char ice_response_hex[] =
    "0101002c2112a4420102030405060708090a0b0c002000080001bd52ea12d545"
    "00080014228bac89da172cff4c37559a93e01619b2d78de480280004d6b75ea7";
static const char binding_hex[] =
    "0001000c2112a4420102030405060708090a0b0c80220007736e6f776e657400";
static const char allocate_hex[] =
    "000300582112a4420102030405060708090a0b0c001900041100000080000004"
    "0200000080220007736e6f776e65740000060011313733353638393630303a63"
    "324673644100000000140008666972657a6f6e650008001432a3d9869a5c0828"
    "1355b95bcd1178405c823d98";
static const char allocate_nonce_hex[] =
    "000300802112a4420102030405060708090a0b0c001900041100000080000004"
    "0200000080220007736e6f776e65740000060011313733353638393630303a63"
    "324673644100000000140008666972657a6f6e65001500243030303030303030"
    "2d303030302d343030302d383030302d30303030303030303030303100080014"
    "4a1e853ebc01af6fe7cc8ad7109fd80af2a10e71";
static const char channel_bind_hex[] =
    "000900842112a4420102030405060708090a0b0c001200080001ec83e721c04b"
    "000c00044000000080220007736e6f776e657400000600113137333536383936"
    "30303a63324673644100000000140008666972657a6f6e650015002430303030"
    "303030302d303030302d343030302d383030302d303030303030303030303031"
    "0008001497cbbc9355cb9d257dbeda409762e9f1730297e7";
/* spec/relay.md section 3.1 */
static const char refresh_success_hex[] = "010400202112a4420102030405060708090a0b0c000d000400000258"
                                          "0008001424c16cce400045469cf29260fcad9b3e"
                                          "f4809212";

static const char client_password[] = "sfl3nrmziix5dcaydtq4xd";
static const char nonce_text[] = "00000000-0000-4000-8000-000000000001";

static void relay_key(uint8_t key[STUN_LONG_TERM_KEY_SIZE])
{
    stun_long_term_key(view_text("1735689600:c2FsdA"), view_text("firezone"),
                       view_text("c2VjcmV0LXBhc3N3b3Jk"), key);
}

static void expect_bytes(struct view got, const char *hex)
{
    uint8_t want[512];
    size_t len = support_unhex(hex, want, sizeof(want));
    assert_int_equal(got.len, len);
    assert_memory_equal(got.at, want, len);
}

static void the_long_term_key_is_that_of_the_specification(void **state)
{
    (void)state;
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    relay_key(key);
    expect_bytes(VIEW_OF(key), "a4904b14969095afc6d3f8d737832ed7");
    stun_long_term_key(view_text("1892160000:n23JJ2wKKtt30oXi"), view_text("firezone"),
                       view_text("00hqldgk5xLeKKOB+xls9mHMVtgqzie9DulfgQwMv68"), key);
    expect_bytes(VIEW_OF(key), "e444d93976b92ec355c14337c9a9d3fb");
}

static void an_ice_request_is_encoded_and_decoded(void **state)
{
    (void)state;
    uint8_t out[256];
    struct stun_writer s;
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_BINDING, STUN_REQUEST, &txn);
    stun_put_ice_username(&s, view_text("k5fd"), view_text("7ddg"));
    stun_put_controlled(&s, UINT64_C(0x0102030405060708));
    stun_put_priority(&s, 1862270719);
    stun_put_integrity(&s, view_text(client_password));
    stun_put_fingerprint(&s);
    struct view bytes = stun_finish(&s);
    expect_bytes(bytes, ice_request_hex);

    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
    assert_int_equal(msg.method, STUN_BINDING);
    assert_int_equal(msg.class, STUN_REQUEST);
    assert_true(stun_txn_equal(&msg.txn, &txn));
    assert_true(view_equal_text(msg.username, "k5fd:7ddg"));
    assert_true(msg.has_controlled);
    assert_true(msg.controlled == UINT64_C(0x0102030405060708));
    assert_false(msg.has_controlling);
    assert_true(msg.has_priority);
    assert_int_equal(msg.priority, 1862270719);
    assert_false(msg.use_candidate);
    assert_true(stun_msg_check_integrity(bytes, &msg, view_text(client_password)));
    assert_false(stun_msg_check_integrity(bytes, &msg, view_text("swa5thzjjwfmbfcrzbylca")));
    assert_true(stun_msg_check_fingerprint(bytes, &msg));
}

static void an_ice_response_is_encoded_and_decoded(void **state)
{
    (void)state;
    uint8_t out[256];
    struct stun_writer s;
    struct sock_addr mapped = sock_addr_of(ip_v4(203, 0, 113, 7), 40000);
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_BINDING, STUN_SUCCESS, &txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, &mapped);
    stun_put_integrity(&s, view_text(client_password));
    stun_put_fingerprint(&s);
    struct view bytes = stun_finish(&s);
    expect_bytes(bytes, ice_response_hex);

    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
    assert_int_equal(msg.class, STUN_SUCCESS);
    assert_true(sock_addr_equal(&msg.mapped, &mapped));
    assert_true(stun_msg_check_integrity(bytes, &msg, view_text(client_password)));
    assert_true(stun_msg_check_fingerprint(bytes, &msg));
}

static void a_binding_request_to_a_relay_is_encoded(void **state)
{
    (void)state;
    uint8_t out[256];
    struct stun_writer s;
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_BINDING, STUN_REQUEST, &txn);
    stun_put_software(&s, view_text("snownet"));
    expect_bytes(stun_finish(&s), binding_hex);
}

static struct view encode_allocate(struct span out, bool with_nonce)
{
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    relay_key(key);
    struct stun_writer s;
    stun_start(&s, out, STUN_ALLOCATE, STUN_REQUEST, &txn);
    stun_put_requested_transport(&s, STUN_TRANSPORT_UDP);
    stun_put_family(&s, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, IP_V6);
    stun_put_software(&s, view_text("snownet"));
    stun_put_username(&s, view_text("1735689600:c2FsdA"));
    stun_put_realm(&s, view_text("firezone"));
    if (with_nonce) {
        stun_put_nonce(&s, view_text(nonce_text));
    }
    stun_put_integrity(&s, VIEW_OF(key));
    return stun_finish(&s);
}

static void allocate_requests_are_encoded_and_decoded(void **state)
{
    (void)state;
    uint8_t out[256];
    struct span span = {out, sizeof(out)};
    expect_bytes(encode_allocate(span, false), allocate_hex);
    struct view bytes = encode_allocate(span, true);
    expect_bytes(bytes, allocate_nonce_hex);

    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    relay_key(key);
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
    assert_int_equal(msg.method, STUN_ALLOCATE);
    assert_int_equal(msg.transport, 17);
    assert_int_equal(msg.additional_family, IP_V6);
    assert_int_equal(msg.additional_family_old, IP_NONE);
    assert_int_equal(msg.requested_family, IP_NONE);
    assert_true(view_equal_text(msg.software, "snownet"));
    assert_true(view_equal_text(msg.username, "1735689600:c2FsdA"));
    assert_true(view_equal_text(msg.realm, "firezone"));
    assert_true(view_equal_text(msg.nonce, nonce_text));
    assert_true(stun_msg_check_integrity(bytes, &msg, VIEW_OF(key)));
    assert_int_equal(msg.fingerprint_at, 0);
    assert_false(stun_msg_check_fingerprint(bytes, &msg));
}

static void a_channel_bind_is_encoded_and_decoded(void **state)
{
    (void)state;
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    relay_key(key);
    uint8_t out[256];
    struct stun_writer s;
    struct sock_addr peer = sock_addr_of(ip_v4(198, 51, 100, 9), 52625);
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_CHANNEL_BIND, STUN_REQUEST, &txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_PEER_ADDRESS, &peer);
    stun_put_channel_number(&s, 0x4000);
    stun_put_software(&s, view_text("snownet"));
    stun_put_username(&s, view_text("1735689600:c2FsdA"));
    stun_put_realm(&s, view_text("firezone"));
    stun_put_nonce(&s, view_text(nonce_text));
    stun_put_integrity(&s, VIEW_OF(key));
    struct view bytes = stun_finish(&s);
    expect_bytes(bytes, channel_bind_hex);
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
    assert_true(sock_addr_equal(&msg.peer, &peer));
    assert_true(msg.has_channel);
    assert_int_equal(msg.channel, 0x4000);
}

static void a_refresh_success_of_the_relay_is_verified(void **state)
{
    (void)state;
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    stun_long_term_key(view_text("1892160000:n23JJ2wKKtt30oXi"), view_text("firezone"),
                       view_text("00hqldgk5xLeKKOB+xls9mHMVtgqzie9DulfgQwMv68"), key);
    uint8_t bytes[64];
    struct view datagram = {bytes, support_unhex(refresh_success_hex, bytes, sizeof(bytes))};
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(datagram, &msg), DROP_NONE);
    assert_int_equal(msg.method, STUN_REFRESH);
    assert_int_equal(msg.class, STUN_SUCCESS);
    assert_true(msg.has_lifetime);
    assert_int_equal(msg.lifetime_s, 600);
    assert_true(stun_msg_check_integrity(datagram, &msg, VIEW_OF(key)));
}

static void every_method_and_class_survives_a_round_trip(void **state)
{
    (void)state;
    for (unsigned method = 0; method <= 0x0FFF; method++) {
        for (unsigned class = 0; class < 4; class ++) {
            uint8_t out[32];
            struct stun_writer s;
            stun_start(&s, (struct span){out, sizeof(out)}, (uint16_t)method,
                       (enum stun_class) class, &txn);
            struct view bytes = stun_finish(&s);
            struct stun_msg msg;
            assert_true(stun_is_message(bytes));
            assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
            assert_int_equal(msg.method, method);
            assert_int_equal(msg.class, class);
        }
    }
}

static void addresses_of_both_families_survive_a_round_trip(void **state)
{
    (void)state;
    uint8_t seed[RNG_SEED_SIZE] = {42};
    struct rng rng;
    rng_init(&rng, seed);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t raw[16];
        rng_bytes(&rng, raw, sizeof(raw));
        struct stun_txn id;
        rng_bytes(&rng, id.bytes, sizeof(id.bytes));
        enum ip_family family = i % 2 == 0 ? IP_V4 : IP_V6;
        struct sock_addr addr = sock_addr_of(ip_from_bytes(family, raw), (uint16_t)rng_u32(&rng));
        struct sock_addr other = sock_addr_of(ip_v4(192, 0, 2, 1), 1);
        uint8_t out[128];
        struct stun_writer s;
        stun_start(&s, (struct span){out, sizeof(out)}, STUN_ALLOCATE, STUN_SUCCESS, &id);
        stun_put_xor_address(&s, STUN_ATTR_XOR_RELAYED_ADDRESS, &addr);
        stun_put_xor_address(&s, STUN_ATTR_XOR_PEER_ADDRESS, &addr);
        stun_put_xor_address(&s, STUN_ATTR_XOR_PEER_ADDRESS, &other);
        struct view bytes = stun_finish(&s);
        struct stun_msg msg;
        assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
        assert_true(sock_addr_equal(family == IP_V4 ? &msg.relayed_v4 : &msg.relayed_v6, &addr));
        const struct sock_addr *none = family == IP_V4 ? &msg.relayed_v6 : &msg.relayed_v4;
        assert_int_equal(none->ip.family, IP_NONE);
        assert_true(sock_addr_equal(&msg.peer, &addr));
    }
}

static void errors_survive_a_round_trip(void **state)
{
    (void)state;
    for (uint16_t code = 300; code < 700; code++) {
        uint8_t out[64];
        struct stun_writer s;
        stun_start(&s, (struct span){out, sizeof(out)}, STUN_REFRESH, STUN_ERROR, &txn);
        stun_put_error(&s, code, view_text("Why not"));
        struct view bytes = stun_finish(&s);
        struct stun_msg msg;
        assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
        assert_int_equal(msg.error_code, code);
        assert_true(view_equal_text(msg.error_reason, "Why not"));
    }
}

/* ---- tolerance ---- */

static struct view finish_unsigned(struct stun_writer *s)
{
    struct view bytes = stun_finish(s);
    assert_true(bytes.len > 0);
    return bytes;
}

static void the_first_of_duplicate_attributes_counts(void **state)
{
    (void)state;
    uint8_t out[256];
    struct stun_writer s;
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_ALLOCATE, STUN_REQUEST, &txn);
    stun_put_realm(&s, view_text("one"));
    stun_put_realm(&s, view_text("two"));
    stun_put_lifetime(&s, 0);
    stun_put_lifetime(&s, 7);
    stun_put_error(&s, 401, VIEW_EMPTY);
    stun_put_error(&s, 438, VIEW_EMPTY);
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(finish_unsigned(&s), &msg), DROP_NONE);
    assert_true(view_equal_text(msg.realm, "one"));
    assert_int_equal(msg.lifetime_s, 0);
    assert_int_equal(msg.error_code, 401);
}

static void unknown_attributes_are_ignored_whatever_their_number(void **state)
{
    (void)state;
    uint8_t out[256];
    struct stun_writer s;
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_BINDING, STUN_REQUEST, &txn);
    stun_put(&s, 0x0000, VIEW_EMPTY); /* of an encoder that pads once too often */
    stun_put(&s, 0x7FFF, view_text("required to be understood"));
    stun_put(&s, 0xC057, view_text("netw"));
    stun_put_use_candidate(&s);
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(finish_unsigned(&s), &msg), DROP_NONE);
    assert_true(msg.use_candidate);
}

static void only_fingerprint_counts_behind_the_integrity(void **state)
{
    (void)state;
    uint8_t out[256];
    struct stun_writer s;
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_REFRESH, STUN_SUCCESS, &txn);
    stun_put_integrity(&s, view_text("key"));
    stun_put_lifetime(&s, 7);
    stun_put(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, view_text("bad"));
    stun_put_fingerprint(&s);
    stun_put(&s, STUN_ATTR_REALM, view_text("late"));
    struct view bytes = finish_unsigned(&s);
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(bytes, &msg), DROP_NONE);
    assert_false(msg.has_lifetime);
    assert_null(msg.realm.at);
    assert_true(stun_msg_check_integrity(bytes, &msg, view_text("key")));
    assert_true(stun_msg_check_fingerprint(bytes, &msg));
}

/* ---- refusal ---- */

static void broken_attributes_are_refused_but_the_header_is_kept(void **state)
{
    (void)state;
    static const uint8_t too_long[STUN_TEXT_MAX + 1] = {0};
    static const struct {
        uint16_t type;
        const char *hex;
    } bad[] = {
        {STUN_ATTR_XOR_MAPPED_ADDRESS, "00030001aabbccdd"},
        {STUN_ATTR_XOR_MAPPED_ADDRESS, "00020001aabbccdd"},
        {STUN_ATTR_XOR_MAPPED_ADDRESS, "0001"},
        {STUN_ATTR_XOR_RELAYED_ADDRESS, "00010001aabbccddee"},
        {STUN_ATTR_XOR_PEER_ADDRESS, ""},
        {STUN_ATTR_LIFETIME, "000000"},
        {STUN_ATTR_LIFETIME, "0000000000"},
        {STUN_ATTR_CHANNEL_NUMBER, "4000"},
        {STUN_ATTR_REQUESTED_TRANSPORT, "11"},
        {STUN_ATTR_REQUESTED_ADDRESS_FAMILY, "03000000"},
        {STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, "00000002"},
        {STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT, "02"},
        {STUN_ATTR_PRIORITY, "0000"},
        {STUN_ATTR_USE_CANDIDATE, "00"},
        {STUN_ATTR_ICE_CONTROLLED, "00000000"},
        {STUN_ATTR_ICE_CONTROLLING, "00000000000000000000"},
        {STUN_ATTR_ERROR_CODE, "000004"},
        {STUN_ATTR_ERROR_CODE, "00000201"},
        {STUN_ATTR_ERROR_CODE, "00000701"},
        {STUN_ATTR_ERROR_CODE, "00000464"},
        {STUN_ATTR_USERNAME, "ff"},
        {STUN_ATTR_REALM, "c080"},
        {STUN_ATTR_NONCE, "eda080"},
        {STUN_ATTR_MESSAGE_INTEGRITY, "00000000"},
        {STUN_ATTR_FINGERPRINT, "0000000000"},
    };
    uint8_t out[1024];
    struct stun_writer s;
    struct stun_msg msg;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t value[64];
        struct view view = {value, support_unhex(bad[i].hex, value, sizeof(value))};
        stun_start(&s, (struct span){out, sizeof(out)}, STUN_ALLOCATE, STUN_REQUEST, &txn);
        stun_put_lifetime(&s, 5);
        stun_put(&s, bad[i].type, view);
        assert_int_equal(stun_msg_decode(finish_unsigned(&s), &msg), DROP_STUN_MALFORMED);
        assert_int_equal(msg.method, STUN_ALLOCATE);
        assert_true(stun_txn_equal(&msg.txn, &txn));
        assert_false(msg.has_lifetime);
    }
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_ALLOCATE, STUN_REQUEST, &txn);
    stun_put_nonce(&s, VIEW_OF(too_long));
    assert_int_equal(stun_msg_decode(finish_unsigned(&s), &msg), DROP_STUN_MALFORMED);
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_ALLOCATE, STUN_REQUEST, &txn);
    stun_put_username(&s, (struct view){too_long, STUN_USERNAME_MAX + 1});
    assert_int_equal(stun_msg_decode(finish_unsigned(&s), &msg), DROP_STUN_MALFORMED);
    stun_start(&s, (struct span){out, sizeof(out)}, STUN_ALLOCATE, STUN_REQUEST, &txn);
    stun_put_username(&s, (struct view){too_long, STUN_USERNAME_MAX});
    assert_int_equal(stun_msg_decode(finish_unsigned(&s), &msg), DROP_NONE);
}

static void headers_that_are_not_stun_are_refused(void **state)
{
    (void)state;
    uint8_t good[64];
    size_t len = support_unhex(binding_hex, good, sizeof(good));
    struct stun_msg msg;
    for (size_t cut = 0; cut < len; cut++) {
        assert_false(stun_is_message((struct view){good, cut}));
        assert_int_equal(stun_msg_decode((struct view){good, cut}, &msg), DROP_STUN_MALFORMED);
    }
    assert_false(stun_is_message((struct view){good, len + 1}));
    for (size_t i = 4; i < 8; i++) {
        good[i] ^= 1;
        assert_false(stun_is_message((struct view){good, len}));
        good[i] ^= 1;
    }
    good[0] |= 0x40;
    assert_false(stun_is_message((struct view){good, len}));
    good[0] = 0x80;
    assert_false(stun_is_message((struct view){good, len}));
    good[0] = 0;
    assert_true(stun_is_message((struct view){good, len}));
    good[3] = 11;
    assert_false(stun_is_message((struct view){good, len - 1}));
}

static void every_flipped_bit_breaks_integrity_or_parsing(void **state)
{
    (void)state;
    uint8_t bytes[256];
    size_t len = support_unhex(ice_request_hex, bytes, sizeof(bytes));
    struct view datagram = {bytes, len};
    size_t protected = len - 8; /* up to the end of MESSAGE-INTEGRITY */
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        struct stun_msg msg;
        enum drop_reason reason = stun_msg_decode(datagram, &msg);
        bool authentic = reason == DROP_NONE &&
                         stun_msg_check_integrity(datagram, &msg, view_text(client_password));
        bool whole = reason == DROP_NONE && stun_msg_check_fingerprint(datagram, &msg);
        if (bit / 8 < protected) {
            assert_false(authentic);
        }
        assert_false(whole);
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
}

static void random_bytes_behind_a_valid_header_never_read_outside(void **state)
{
    (void)state;
    uint8_t seed[RNG_SEED_SIZE] = {7};
    struct rng rng;
    rng_init(&rng, seed);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t bytes[20 + 64];
        size_t len = 20 + rng_below(&rng, 17) * 4;
        rng_bytes(&rng, bytes, len);
        bytes[0] &= 0x3F;
        store_be16(bytes + 2, (uint16_t)(len - 20));
        store_be32(bytes + 4, STUN_COOKIE);
        for (size_t at = 20; at + 4 <= len; at += 8) { /* plausible attribute headers */
            store_be16(bytes + at, (uint16_t)rng_below(&rng, 0x30));
            store_be16(bytes + at + 2, (uint16_t)rng_below(&rng, 12));
        }
        struct stun_msg msg;
        if (stun_msg_decode((struct view){bytes, len}, &msg) == DROP_NONE) {
            assert_false(
                stun_msg_check_integrity((struct view){bytes, len}, &msg, view_text("key")));
        }
    }
}

static void a_message_that_does_not_fit_is_not_finished(void **state)
{
    (void)state;
    uint8_t out[256];
    size_t needed = encode_allocate((struct span){out, sizeof(out)}, true).len;
    for (size_t room = 0; room < needed; room++) {
        assert_int_equal(encode_allocate((struct span){out, room}, true).len, 0);
    }
    assert_int_equal(encode_allocate((struct span){out, needed}, true).len, needed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_long_term_key_is_that_of_the_specification),
        cmocka_unit_test(an_ice_request_is_encoded_and_decoded),
        cmocka_unit_test(an_ice_response_is_encoded_and_decoded),
        cmocka_unit_test(a_binding_request_to_a_relay_is_encoded),
        cmocka_unit_test(allocate_requests_are_encoded_and_decoded),
        cmocka_unit_test(a_channel_bind_is_encoded_and_decoded),
        cmocka_unit_test(a_refresh_success_of_the_relay_is_verified),
        cmocka_unit_test(every_method_and_class_survives_a_round_trip),
        cmocka_unit_test(addresses_of_both_families_survive_a_round_trip),
        cmocka_unit_test(errors_survive_a_round_trip),
        cmocka_unit_test(the_first_of_duplicate_attributes_counts),
        cmocka_unit_test(unknown_attributes_are_ignored_whatever_their_number),
        cmocka_unit_test(only_fingerprint_counts_behind_the_integrity),
        cmocka_unit_test(broken_attributes_are_refused_but_the_header_is_kept),
        cmocka_unit_test(headers_that_are_not_stun_are_refused),
        cmocka_unit_test(every_flipped_bit_breaks_integrity_or_parsing),
        cmocka_unit_test(random_bytes_behind_a_valid_header_never_read_outside),
        cmocka_unit_test(a_message_that_does_not_fit_is_not_finished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
