/* Any bytes as a datagram: through the codecs, a node and a tunnel that waits for everything. */
#include <string.h>

#include "wg/wg_peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    struct wg_node node;
    struct wg_peer peer;
    struct wg_window windows[WG_SESSIONS_MAX];
    struct rng rng;
    struct instant now;
};

static void target_init(struct target *t)
{
    uint8_t seed[RNG_SEED_SIZE] = {1};
    struct x25519_private own = {{1, 2, 3}};
    struct x25519_private other = {{4, 5, 6}};
    struct x25519_pair remote;
    struct clock_pair start = {{NS_PER_S}, UINT64_C(1733270400) * NS_PER_S};
    memset(t, 0, sizeof(*t));
    t->now = start.boot;
    rng_init(&t->rng, seed);
    wg_node_init(&t->node, &own, &start, WG_HANDSHAKES_PER_S_DEFAULT);
    x25519_pair_of(&remote, &other);
    struct wg_peer_config config = {.remote = remote.public_key,
                                    .id = 0x00abcd,
                                    .role = WG_ROLE_CLIENT,
                                    .rekey_attempt_s = WG_ATTEMPT_S_HEAD,
                                    .windows = wg_windows_of(t->windows)};
    enum err err = wg_peer_init(&t->peer, &t->node, &config, t->now);
    ASSERT(err == ERR_NONE);
    uint8_t initiation[WG_INITIATION_SIZE];
    wg_peer_initiate(&t->peer, t->now);
    size_t len = wg_peer_poll_transmit(&t->peer, t->now, &t->rng,
                                       (struct span){initiation, sizeof(initiation)});
    ASSERT(len == WG_INITIATION_SIZE);
}

/* The same target for every input; its keys are computed once. */
static struct target *fresh_target(void)
{
    static struct target target;
    static struct target first;
    static bool is_ready;
    if (!is_ready) {
        target_init(&target);
        first = target;
        is_ready = true;
    }
    target = first; /* at the same place: the peer points to its node */
    return &target;
}

/* The MACs are beyond a fuzzer; it may ask for good ones by a flag, and so reach what lies behind.
 */
static void give_handshake(struct target *t, struct span message)
{
    struct wg_arrival arrival = {.message = view_of_span(message), .now = t->now};
    struct wg_initiation initiation;
    uint8_t out[WG_RESPONSE_SIZE];
    if (wg_msg_type(arrival.message) == WG_TYPE_INITIATION) {
        struct wg_verdict verdict =
            wg_node_receive_initiation(&t->node, &arrival, &t->rng, &initiation, out);
        if (verdict.kind == WG_VERDICT_ACCEPTED) {
            (void)!wg_peer_handle_initiation(&t->peer, &initiation, t->now, &t->rng, out);
        }
    } else if (wg_node_check_response(&t->node, &arrival, &t->rng, out).kind ==
               WG_VERDICT_ACCEPTED) {
        (void)!wg_peer_handle_response(&t->peer, arrival.message, t->now);
    }
}

static void give(struct target *t, struct span message)
{
    struct wg_open open;
    switch (wg_msg_type(view_of_span(message))) {
    case WG_TYPE_NONE:
        break;
    case WG_TYPE_INITIATION:
    case WG_TYPE_RESPONSE:
        give_handshake(t, message);
        break;
    case WG_TYPE_COOKIE_REPLY:
        (void)!wg_peer_handle_cookie_reply(&t->peer, view_of_span(message), t->now);
        break;
    case WG_TYPE_DATA:
        (void)!wg_peer_open(&t->peer, message, t->now, &open);
        break;
    }
}

static void try_codecs(struct span message)
{
    struct view view = view_of_span(message);
    struct wg_msg_initiation initiation;
    struct wg_msg_response response;
    struct wg_msg_cookie_reply cookie;
    struct wg_msg_data sealed;
    uint8_t again[WG_INITIATION_SIZE];
    if (wg_msg_decode_initiation(view, &initiation)) {
        wg_msg_encode_initiation(&initiation, again);
        ASSERT(memcmp(again, view.at, WG_INITIATION_SIZE - WG_MACS_SIZE) == 0);
    }
    if (wg_msg_decode_response(view, &response)) {
        wg_msg_encode_response(&response, again);
        ASSERT(memcmp(again, view.at, WG_RESPONSE_SIZE - WG_MACS_SIZE) == 0);
    }
    if (wg_msg_decode_cookie_reply(view, &cookie)) {
        wg_msg_encode_cookie_reply(&cookie, again);
        ASSERT(memcmp(again, view.at, WG_COOKIE_REPLY_SIZE) == 0);
    }
    (void)!wg_msg_decode_data(message, &sealed);
    struct span packet = message;
    if (wg_msg_cut_padding(&packet) == DROP_NONE) {
        ASSERT(packet.len <= message.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[2048];
    if (size == 0 || size - 1 > sizeof(bytes)) {
        return 0;
    }
    uint8_t flags = data[0];
    struct span message = {bytes, size - 1};
    memcpy(bytes, data + 1, size - 1);
    try_codecs(message);

    struct target *target = fresh_target();
    if ((flags & 1) != 0 && message.len > WG_MACS_SIZE) {
        wg_cookie_stamp(message, &target->node.own_macs, NULL);
    }
    target->node.limiter.limit = (flags & 2) != 0 ? 0 : WG_HANDSHAKES_PER_S_DEFAULT;
    give(target, message);
    wg_peer_check(&target->peer);
    ASSERT(!wg_peer_has_session(&target->peer, target->now)); /* nobody can forge a session */
    return 0;
}
