/* The whole transcript of tests/vectors through nodes and tunnels, byte for byte, in both roles. */
#include "tests/support/wg_vectors.h"
#include "tests/wg/wg_pair.h"

#include "base/attr.h"

struct transcript {
    const cJSON *root;
    struct pair_side initiator;
    struct pair_side responder;
    struct x25519_private initiator_ephemeral;
    struct x25519_private responder_ephemeral;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    struct instant now;
};

/* A clock that gives `timestamp` (TAI64N) at pair_at(0). */
static struct clock_pair clock_of(const uint8_t timestamp[WG_TIMESTAMP_SIZE])
{
    uint64_t seconds = load_be64(timestamp) - (UINT64_C(1) << 62) - 37;
    return (struct clock_pair){pair_at(0), seconds * NS_PER_S + load_be32(timestamp + 8)};
}

static void side_init(struct pair_side *side, const struct x25519_private *own,
                      const struct clock_pair *start, const struct wg_peer_config *config,
                      uint32_t index)
{
    wg_node_init(&side->node, own, start, WG_HANDSHAKES_PER_S_DEFAULT);
    struct wg_peer_config copy = *config;
    copy.id = index >> WG_SLOT_BITS;
    copy.rekey_attempt_s = 90;
    copy.windows = wg_windows_of(side->windows);
    assert_int_equal(wg_peer_init(&side->peer, &side->node, &copy, start->boot), ERR_NONE);
    side->peer.slot_last = (uint8_t)((index & 0xff) - 1);
}

static void transcript_init(struct transcript *t, const cJSON *handshake)
{
    const cJSON *inputs = vectors_member(handshake, "inputs");
    struct x25519_private own_i;
    struct x25519_private own_r;
    struct x25519_public public_i;
    struct x25519_public public_r;
    uint8_t timestamp[WG_TIMESTAMP_SIZE];
    struct wg_peer_config config = {.role = WG_ROLE_CLIENT};
    memset(t, 0, sizeof(*t));
    t->root = handshake;
    t->now = pair_at(0);
    vectors_hex_exact(inputs, "initiator_static_private", own_i.bytes, KEY_SIZE);
    vectors_hex_exact(inputs, "responder_static_private", own_r.bytes, KEY_SIZE);
    vectors_hex_exact(inputs, "initiator_static_public", public_i.bytes, KEY_SIZE);
    vectors_hex_exact(inputs, "responder_static_public", public_r.bytes, KEY_SIZE);
    vectors_hex_exact(inputs, "initiator_ephemeral_private", t->initiator_ephemeral.bytes,
                      KEY_SIZE);
    vectors_hex_exact(inputs, "responder_ephemeral_private", t->responder_ephemeral.bytes,
                      KEY_SIZE);
    vectors_hex_exact(inputs, "preshared_key", config.psk.bytes, KEY_SIZE);
    vectors_hex_exact(inputs, "timestamp", timestamp, WG_TIMESTAMP_SIZE);
    vectors_hex_exact(vectors_member(handshake, "initiation"), "message", t->initiation,
                      WG_INITIATION_SIZE);
    vectors_hex_exact(vectors_member(handshake, "response"), "message", t->response,
                      WG_RESPONSE_SIZE);
    struct clock_pair start = clock_of(timestamp);
    config.remote = public_r;
    side_init(&t->initiator, &own_i, &start, &config,
              (uint32_t)vectors_number(inputs, "initiator_index"));
    config.remote = public_i;
    config.role = WG_ROLE_GATEWAY;
    side_init(&t->responder, &own_r, &start, &config,
              (uint32_t)vectors_number(inputs, "responder_index"));
    assert_memory_equal(t->initiator.node.own.public_key.bytes, public_i.bytes, KEY_SIZE);
    assert_memory_equal(t->responder.node.own.public_key.bytes, public_r.bytes, KEY_SIZE);
}

/* Both messages must come out as recorded. */
static void run_handshake(struct transcript *t)
{
    uint8_t out[WG_INITIATION_SIZE];
    struct rng rng = pair_rng_scripted(t->initiator_ephemeral.bytes, KEY_SIZE);
    wg_peer_initiate(&t->initiator.peer, t->now);
    assert_int_equal(
        wg_peer_poll_transmit(&t->initiator.peer, t->now, &rng, (struct span){out, sizeof(out)}),
        WG_INITIATION_SIZE);
    assert_memory_equal(out, t->initiation, WG_INITIATION_SIZE);

    struct wg_arrival arrival = {.message = VIEW_OF(t->initiation), .now = t->now};
    struct wg_initiation initiation;
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    rng = pair_rng_scripted(t->responder_ephemeral.bytes, KEY_SIZE);
    struct wg_verdict verdict =
        wg_node_receive_initiation(&t->responder.node, &arrival, &rng, &initiation, reply);
    assert_int_equal(verdict.kind, WG_VERDICT_ACCEPTED);
    assert_true(x25519_public_equal(&initiation.remote, &t->responder.peer.remote));
    assert_int_equal(
        wg_peer_handle_initiation(&t->responder.peer, &initiation, t->now, &rng, response),
        DROP_NONE);
    assert_memory_equal(response, t->response, WG_RESPONSE_SIZE);
    assert_int_equal(wg_peer_handle_response(&t->initiator.peer, VIEW_OF(t->response), t->now),
                     DROP_NONE);
}

static void check_keys(const struct transcript *t)
{
    const cJSON *transport = vectors_member(t->root, "transport");
    struct key32 send;
    struct key32 receive;
    vectors_hex_exact(transport, "initiator_send_key", send.bytes, KEY_SIZE);
    vectors_hex_exact(transport, "initiator_recv_key", receive.bytes, KEY_SIZE);
    const struct wg_session *initiator = &t->initiator.peer.sessions[0];
    const struct wg_session *responder = &t->responder.peer.sessions[0];
    assert_memory_equal(initiator->send_key.bytes, send.bytes, KEY_SIZE);
    assert_memory_equal(initiator->receive_key.bytes, receive.bytes, KEY_SIZE);
    assert_memory_equal(responder->send_key.bytes, receive.bytes, KEY_SIZE);
    assert_memory_equal(responder->receive_key.bytes, send.bytes, KEY_SIZE);
}

static void check_packet(struct transcript *t, const cJSON *packet)
{
    uint8_t message[1344];
    uint8_t sealed[1344];
    static uint8_t delivered[1312];
    bool from_initiator = strcmp(vectors_text(packet, "from"), "initiator") == 0;
    struct pair_side *from = from_initiator ? &t->initiator : &t->responder;
    struct pair_side *to = from_initiator ? &t->responder : &t->initiator;
    size_t message_len = vectors_hex(packet, "message", message, sizeof(message));
    size_t plain_len =
        vectors_hex(packet, "plaintext", sealed + WG_DATA_HEADER_SIZE, sizeof(sealed) - 64);
    size_t delivered_len = vectors_hex(packet, "delivered_ip_packet", delivered, sizeof(delivered));

    from->peer.sessions[0].send_counter = vectors_number(packet, "counter");
    struct span out = {sealed, plain_len + WG_DATA_OVERHEAD};
    assert_int_equal(out.len, message_len);
    assert_int_equal(wg_peer_seal(&from->peer, out, t->now), DROP_NONE);
    assert_memory_equal(sealed, message, message_len);

    struct wg_open open;
    struct span in = {message, message_len};
    assert_int_equal(wg_msg_receiver_index(view_of_span(in)),
                     (uint32_t)vectors_number(packet, "receiver_index"));
    assert_int_equal(wg_peer_open(&to->peer, in, t->now, &open), DROP_NONE);
    assert_int_equal(open.is_keepalive, delivered_len == 0);
    assert_int_equal(open.plaintext.len, delivered_len);
    assert_memory_equal(open.plaintext.at, delivered, delivered_len);
}

static void test_both_transcripts_come_out_byte_for_byte(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    size_t count = 0;
    const cJSON *handshake = NULL;
    cJSON_ArrayForEach(handshake, vectors_member(root, "handshakes"))
    {
        static struct transcript t;
        transcript_init(&t, handshake);
        run_handshake(&t);
        check_keys(&t);
        const cJSON *packet = NULL;
        cJSON_ArrayForEach(packet, vectors_member(handshake, "packets"))
        {
            check_packet(&t, packet);
            count++;
        }
        wg_peer_check(&t.initiator.peer);
        wg_peer_check(&t.responder.peer);
    }
    assert_int_equal(count, 16);
    cJSON_Delete(root);
}

/* The steps' last chaining key and hash against the noise layer alone. */
static void test_chaining_keys_and_hashes_equal_the_steps(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    const cJSON *handshake = NULL;
    cJSON_ArrayForEach(handshake, vectors_member(root, "handshakes"))
    {
        static struct transcript t;
        transcript_init(&t, handshake);
        struct wg_noise_state noise;
        struct wg_msg_initiation msg;
        struct x25519_public initiator;
        uint8_t timestamp[WG_TIMESTAMP_SIZE];
        uint8_t want[KEY_SIZE];
        const cJSON *steps = vectors_member(vectors_member(handshake, "initiation"), "steps");
        assert_true(wg_msg_decode_initiation(VIEW_OF(t.initiation), &msg));
        wg_noise_start(&noise, view_text(WG_NOISE_PROLOGUE), &t.responder.node.own.public_key);
        vectors_hex_exact(cJSON_GetArrayItem(steps, 2), "h", want, KEY_SIZE);
        assert_memory_equal(noise.hash.bytes, want, KEY_SIZE);
        assert_true(wg_noise_read_static(&noise, &t.responder.node.own, &msg.ephemeral,
                                         msg.encrypted_static, &initiator));
        vectors_hex_exact(cJSON_GetArrayItem(steps, 6), "ck", want, KEY_SIZE);
        assert_memory_equal(noise.chaining_key.bytes, want, KEY_SIZE);
        vectors_hex_exact(cJSON_GetArrayItem(steps, 8), "h", want, KEY_SIZE);
        assert_memory_equal(noise.hash.bytes, want, KEY_SIZE);
        vectors_hex_exact(cJSON_GetArrayItem(steps, 9), "dh", want, KEY_SIZE);
        assert_memory_equal(t.responder.peer.static_static.bytes, want, KEY_SIZE);
        assert_true(wg_noise_read_payload(&noise, &t.responder.peer.static_static,
                                          VIEW_OF(msg.encrypted_timestamp), timestamp));
        vectors_hex_exact(cJSON_GetArrayItem(steps, 9), "ck", want, KEY_SIZE);
        assert_memory_equal(noise.chaining_key.bytes, want, KEY_SIZE);
        vectors_hex_exact(cJSON_GetArrayItem(steps, 11), "h", want, KEY_SIZE);
        assert_memory_equal(noise.hash.bytes, want, KEY_SIZE);
    }
    cJSON_Delete(root);
}

static void test_cookie_replies_and_mac2_equal_the_vectors(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    const cJSON *cookie_part = vectors_member(root, "cookie");
    static struct transcript t;
    transcript_init(&t, cJSON_GetArrayItem(vectors_member(root, "handshakes"), 0));
    struct wg_mac_keys responder;
    wg_mac_keys_of(&responder, &t.responder.node.own.public_key);
    size_t count = 0;
    const cJSON *row = NULL;
    cJSON_ArrayForEach(row, vectors_member(cookie_part, "replies"))
    {
        uint8_t cookie[WG_COOKIE_SIZE];
        uint8_t nonce[WG_NONCE_SIZE];
        uint8_t key[KEY_SIZE];
        uint8_t want[WG_COOKIE_REPLY_SIZE];
        uint8_t got[WG_COOKIE_REPLY_SIZE];
        uint8_t opened[WG_COOKIE_SIZE];
        vectors_hex_exact(row, "cookie", cookie, sizeof(cookie));
        vectors_hex_exact(row, "nonce", nonce, sizeof(nonce));
        vectors_hex_exact(row, "cookie_key", key, sizeof(key));
        vectors_hex_exact(row, "message", want, sizeof(want));
        assert_memory_equal(responder.cookie.bytes, key, sizeof(key));
        wg_cookie_make_reply(&responder, VIEW_OF(t.initiation), cookie, nonce, got);
        assert_memory_equal(got, want, sizeof(want));
        struct wg_msg_cookie_reply msg;
        assert_true(wg_msg_decode_cookie_reply(VIEW_OF(want), &msg));
        assert_true(wg_cookie_open_reply(&responder, &msg,
                                         t.initiation + WG_INITIATION_SIZE - WG_MACS_SIZE, opened));
        assert_memory_equal(opened, cookie, sizeof(cookie));
        count++;
    }
    assert_int_equal(count, 3);
    cJSON_Delete(root);
}

/* The initiator takes the first cookie reply; its next initiation carries mac2, as recorded. */
static void test_the_initiation_after_a_cookie_reply_equals_the_vector(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    const cJSON *part = vectors_member(root, "cookie");
    const cJSON *retry = vectors_member(part, "retry");
    static struct transcript t;
    transcript_init(&t, cJSON_GetArrayItem(vectors_member(root, "handshakes"), 0));
    struct wg_peer *peer = &t.initiator.peer;
    uint8_t out[WG_INITIATION_SIZE];
    uint8_t want[WG_INITIATION_SIZE];
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    uint8_t timestamp[WG_TIMESTAMP_SIZE];
    uint8_t ephemeral[KEY_SIZE];
    struct rng rng = pair_rng_scripted(t.initiator_ephemeral.bytes, KEY_SIZE);
    wg_peer_initiate(peer, t.now);
    assert_int_equal(wg_peer_poll_transmit(peer, t.now, &rng, (struct span){out, sizeof(out)}),
                     WG_INITIATION_SIZE);
    vectors_hex_exact(cJSON_GetArrayItem(vectors_member(part, "replies"), 0), "message", reply,
                      sizeof(reply));
    assert_int_equal(wg_peer_handle_cookie_reply(peer, VIEW_OF(reply), t.now), DROP_NONE);
    assert_int_equal(wg_peer_poll_transmit(peer, t.now, &rng, (struct span){out, sizeof(out)}), 0);

    vectors_hex_exact(retry, "timestamp", timestamp, sizeof(timestamp));
    vectors_hex_exact(retry, "initiator_ephemeral_private", ephemeral, sizeof(ephemeral));
    vectors_hex_exact(retry, "message", want, sizeof(want));
    uint64_t later = clock_of(timestamp).unix_ns - t.initiator.node.reference.unix_ns;
    struct instant due = instant_add(t.now, (struct duration){later + NS_PER_S});
    wg_peer_handle_timeout(peer, due, &rng);
    rng = pair_rng_scripted(ephemeral, KEY_SIZE);
    struct instant then = instant_add(t.now, (struct duration){later});
    assert_int_equal(wg_peer_poll_transmit(peer, then, &rng, (struct span){out, sizeof(out)}),
                     WG_INITIATION_SIZE);
    assert_memory_equal(out, want, sizeof(want));
    cJSON_Delete(root);
}

static void test_a_response_with_mac2_equals_the_vector(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    const cJSON *part = vectors_member(vectors_member(root, "cookie"), "response_with_mac2");
    static struct transcript t;
    transcript_init(&t, cJSON_GetArrayItem(vectors_member(root, "handshakes"), 0));
    struct wg_mac_keys initiator;
    uint8_t cookie[WG_COOKIE_SIZE];
    uint8_t want[WG_RESPONSE_SIZE];
    wg_mac_keys_of(&initiator, &t.initiator.node.own.public_key);
    vectors_hex_exact(part, "cookie", cookie, sizeof(cookie));
    vectors_hex_exact(part, "message", want, sizeof(want));
    wg_cookie_stamp((struct span){t.response, sizeof(t.response)}, &initiator, cookie);
    assert_memory_equal(t.response, want, sizeof(want));
    assert_true(wg_cookie_mac1_ok(VIEW_OF(want), &initiator));
    assert_true(wg_cookie_mac2_ok(VIEW_OF(want), cookie));
    cJSON_Delete(root);
}

static void test_time_stamps_equal_the_vectors(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    size_t count = 0;
    const cJSON *row = NULL;
    cJSON_ArrayForEach(row, vectors_member(root, "tai64n"))
    {
        struct x25519_private own = {{1}};
        uint64_t unix_ns = vectors_number(row, "unix_sec") * NS_PER_S + vectors_number(row, "nsec");
        struct clock_pair start = {pair_at(0), unix_ns};
        struct wg_node node;
        uint8_t want[WG_TIMESTAMP_SIZE];
        uint8_t got[WG_TIMESTAMP_SIZE];
        if (unix_ns == 0) {
            continue; /* below: stamps are strictly above the last, which starts at 0 */
        }
        wg_node_init(&node, &own, &start, 1);
        vectors_hex_exact(row, "boringtun", want, sizeof(want));
        wg_node_timestamp(&node, pair_at(0), got);
        assert_memory_equal(got, want, sizeof(want));
        wg_node_timestamp(&node, pair_at(0), got);
        assert_true(memcmp(got, want, sizeof(want)) > 0);
        count++;
    }
    assert_int_equal(count, 2);
    cJSON_Delete(root);
}

struct noise_vector {
    struct x25519_pair own_i;
    struct x25519_pair own_r;
    struct x25519_pair eph_i;
    struct x25519_pair eph_r;
    struct wg_psk psk;
    struct key32 static_static;
};

static void load_pair(const cJSON *part, const char *name, struct x25519_pair *pair)
{
    struct x25519_private key;
    vectors_hex_exact(part, name, key.bytes, KEY_SIZE);
    x25519_pair_of(pair, &key);
}

static void noise_vector_init(struct noise_vector *v, const cJSON *part)
{
    load_pair(part, "initiator_static_private", &v->own_i);
    load_pair(part, "responder_static_private", &v->own_r);
    load_pair(part, "initiator_ephemeral_private", &v->eph_i);
    load_pair(part, "responder_ephemeral_private", &v->eph_r);
    vectors_hex_exact(part, "preshared_key", v->psk.bytes, KEY_SIZE);
    assert_true(x25519_shared(&v->own_i.private_key, &v->own_r.public_key, &v->static_static));
}

static void noise_first(const struct noise_vector *v, const cJSON *part,
                        struct wg_noise_state *initiator, struct wg_noise_state *responder)
{
    uint8_t prologue[64];
    uint8_t payload[64];
    uint8_t want[256];
    uint8_t enc_static[WG_NOISE_STATIC_SIZE];
    uint8_t enc_payload[128];
    struct view start = {prologue, vectors_hex(part, "prologue", prologue, sizeof(prologue))};
    struct view text = {payload, vectors_hex(part, "payload1", payload, sizeof(payload))};
    size_t want_len = vectors_hex(part, "message1", want, sizeof(want));
    wg_noise_start(initiator, start, &v->own_r.public_key);
    wg_noise_start(responder, start, &v->own_r.public_key);
    struct wg_noise_initiator params = {&v->own_i, &v->own_r.public_key, &v->static_static,
                                        &v->eph_i};
    assert_true(wg_noise_write_first(initiator, &params, text, enc_static, enc_payload));
    assert_int_equal(want_len, 32 + sizeof(enc_static) + text.len + 16);
    assert_memory_equal(v->eph_i.public_key.bytes, want, 32);
    assert_memory_equal(enc_static, want + 32, sizeof(enc_static));
    assert_memory_equal(enc_payload, want + 80, text.len + 16);

    struct x25519_public who;
    uint8_t opened[64];
    assert_true(wg_noise_read_static(responder, &v->own_r, &v->eph_i.public_key, enc_static, &who));
    assert_true(x25519_public_equal(&who, &v->own_i.public_key));
    assert_true(wg_noise_read_payload(responder, &v->static_static,
                                      (struct view){enc_payload, text.len + 16}, opened));
    assert_memory_equal(opened, payload, text.len);
}

static void noise_second(const struct noise_vector *v, const cJSON *part,
                         struct wg_noise_state *initiator, struct wg_noise_state *responder)
{
    uint8_t payload[64];
    uint8_t want[256];
    uint8_t enc_payload[128];
    uint8_t opened[64];
    uint8_t hash[KEY_SIZE];
    struct view text = {payload, vectors_hex(part, "payload2", payload, sizeof(payload))};
    size_t want_len = vectors_hex(part, "message2", want, sizeof(want));
    struct wg_noise_responder params = {&v->own_i.public_key, &v->eph_i.public_key, &v->eph_r,
                                        &v->psk};
    assert_true(wg_noise_write_second(responder, &params, text, enc_payload));
    assert_int_equal(want_len, 32 + text.len + 16);
    assert_memory_equal(v->eph_r.public_key.bytes, want, 32);
    assert_memory_equal(enc_payload, want + 32, text.len + 16);
    struct wg_noise_answer answer = {&v->own_i.private_key, &v->eph_i.private_key,
                                     &v->eph_r.public_key, &v->psk};
    assert_true(wg_noise_read_second(initiator, &answer, (struct view){enc_payload, text.len + 16},
                                     opened));
    assert_memory_equal(opened, payload, text.len);
    vectors_hex_exact(part, "handshake_hash", hash, sizeof(hash));
    assert_memory_equal(initiator->hash.bytes, hash, sizeof(hash));
    assert_memory_equal(responder->hash.bytes, hash, sizeof(hash));
}

static void noise_transport(const cJSON *part, const struct wg_noise_keys *initiator,
                            const struct wg_noise_keys *responder)
{
    uint64_t counters[2] = {0, 0};
    size_t count = 0;
    const cJSON *row = NULL;
    cJSON_ArrayForEach(row, vectors_member(part, "transport"))
    {
        uint8_t payload[64];
        uint8_t want[80];
        uint8_t got[80];
        bool first = strcmp(vectors_text(row, "from"), "initiator") == 0;
        size_t len = vectors_hex(row, "payload", payload, sizeof(payload));
        vectors_hex_exact(row, "ciphertext", want, len + 16);
        const struct key32 *key = first ? &initiator->send : &responder->send;
        aead_seal(key, counters[first]++, VIEW_EMPTY, (struct view){payload, len}, got);
        assert_memory_equal(got, want, len + 16);
        count++;
    }
    assert_int_equal(count, 4);
}

static void test_the_published_noise_vector_holds(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    const cJSON *part = vectors_member(root, "noise_ikpsk2_public");
    struct noise_vector v;
    struct wg_noise_state initiator;
    struct wg_noise_state responder;
    struct wg_noise_keys keys_i;
    struct wg_noise_keys keys_r;
    uint8_t want[KEY_SIZE];
    noise_vector_init(&v, part);
    noise_first(&v, part, &initiator, &responder);
    noise_second(&v, part, &initiator, &responder);
    wg_noise_split(&initiator, true, &keys_i);
    wg_noise_split(&responder, false, &keys_r);
    vectors_hex_exact(part, "initiator_to_responder_key", want, KEY_SIZE);
    assert_memory_equal(keys_i.send.bytes, want, KEY_SIZE);
    assert_memory_equal(keys_r.receive.bytes, want, KEY_SIZE);
    vectors_hex_exact(part, "responder_to_initiator_key", want, KEY_SIZE);
    assert_memory_equal(keys_i.receive.bytes, want, KEY_SIZE);
    assert_memory_equal(keys_r.send.bytes, want, KEY_SIZE);
    noise_transport(part, &keys_i, &keys_r);
    cJSON_Delete(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_transcripts_come_out_byte_for_byte),
        cmocka_unit_test(test_chaining_keys_and_hashes_equal_the_steps),
        cmocka_unit_test(test_cookie_replies_and_mac2_equal_the_vectors),
        cmocka_unit_test(test_the_initiation_after_a_cookie_reply_equals_the_vector),
        cmocka_unit_test(test_a_response_with_mac2_equals_the_vector),
        cmocka_unit_test(test_time_stamps_equal_the_vectors),
        cmocka_unit_test(test_the_published_noise_vector_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
