/* Bytes become events of two tunnels: time passes, messages are sent, lost, repeated and bent. */
#include <string.h>

#include "wg/wg_peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BOX_MAX    8U /* messages under way */
#define EVENTS_MAX 256U
#define DATA_SIZE  (WG_DATA_OVERHEAD + 20U)

struct letter {
    size_t len;
    uint8_t bytes[WG_INITIATION_SIZE];
};

struct side {
    struct wg_node node;
    struct wg_peer peer;
    struct wg_window windows[WG_SESSIONS_MAX];
    struct letter inbox[BOX_MAX];
    size_t inbox_next; /* the oldest is overwritten */
};

struct world {
    struct side sides[2];
    struct rng rng;
    struct instant now;
};

static void node_init(struct side *side, uint8_t key)
{
    struct x25519_private own = {{key}};
    struct clock_pair start = {{NS_PER_S}, UINT64_C(1733270400) * NS_PER_S};
    wg_node_init(&side->node, &own, &start, 50);
}

static void peer_init(struct world *w, size_t at, uint8_t options)
{
    struct wg_peer_config config = {
        .remote = w->sides[1 - at].node.own.public_key,
        .psk = {{1}},
        .id = (uint32_t)(0x100 + at),
        .role = at == 0 ? WG_ROLE_CLIENT : WG_ROLE_GATEWAY,
        .era = at == 0 ? (enum wg_era)(options % 3) : WG_ERA_OURS,
        .persistent_keepalive_s = (options & 4) != 0 ? 25 : 0,
        .rekey_attempt_s = 20,
        .windows = wg_windows_of(w->sides[at].windows),
    };
    enum err err = wg_peer_init(&w->sides[at].peer, &w->sides[at].node, &config, w->now);
    ASSERT(err == ERR_NONE);
}

static void post(struct side *to, const uint8_t *bytes, size_t len)
{
    struct letter *letter = &to->inbox[to->inbox_next++ % BOX_MAX];
    letter->len = len;
    memcpy(letter->bytes, bytes, len);
}

static void deliver_initiation(struct world *w, struct side *side, struct side *other,
                               struct view message)
{
    struct wg_arrival arrival = {.message = message, .now = w->now};
    struct wg_initiation initiation;
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    struct wg_verdict verdict =
        wg_node_receive_initiation(&side->node, &arrival, &w->rng, &initiation, reply);
    if (verdict.kind == WG_VERDICT_COOKIE_REPLY) {
        post(other, reply, sizeof(reply));
    }
    if (verdict.kind == WG_VERDICT_ACCEPTED &&
        wg_peer_handle_initiation(&side->peer, &initiation, w->now, &w->rng, response) ==
            DROP_NONE) {
        post(other, response, sizeof(response));
    }
}

static void deliver(struct world *w, size_t at, uint8_t which, uint8_t bend)
{
    struct side *side = &w->sides[at];
    struct letter letter = side->inbox[which % BOX_MAX]; /* it stays: it may come again */
    struct span message = {letter.bytes, letter.len};
    struct wg_open open;
    if (bend != 0 && letter.len > 0) {
        letter.bytes[bend % letter.len] ^= (uint8_t)(1U << (which >> 5));
    }
    switch (wg_msg_type(view_of_span(message))) {
    case WG_TYPE_NONE:
        break;
    case WG_TYPE_INITIATION:
        deliver_initiation(w, side, &w->sides[1 - at], view_of_span(message));
        break;
    case WG_TYPE_RESPONSE:
        (void)!wg_peer_handle_response(&side->peer, view_of_span(message), w->now);
        break;
    case WG_TYPE_COOKIE_REPLY:
        (void)!wg_peer_handle_cookie_reply(&side->peer, view_of_span(message), w->now);
        break;
    case WG_TYPE_DATA:
        if (wg_peer_open(&side->peer, message, w->now, &open) == DROP_NONE) {
            ASSERT(bend == 0); /* a bent packet never opens */
        }
        break;
    }
}

static void send_data(struct world *w, size_t at)
{
    uint8_t message[DATA_SIZE] = {0};
    message[WG_DATA_HEADER_SIZE] = 0x45;
    message[WG_DATA_HEADER_SIZE + 3] = 20;
    struct span span = {message, sizeof(message)};
    if (wg_peer_seal(&w->sides[at].peer, span, w->now) == DROP_NONE) {
        post(&w->sides[1 - at], message, sizeof(message));
    }
}

static void drain(struct world *w, size_t at)
{
    uint8_t out[WG_INITIATION_SIZE];
    struct span span = {out, sizeof(out)};
    struct wg_peer *peer = &w->sides[at].peer;
    size_t count = 0;
    for (size_t len = wg_peer_poll_transmit(peer, w->now, &w->rng, span); len > 0;
         len = wg_peer_poll_transmit(peer, w->now, &w->rng, span)) {
        post(&w->sides[1 - at], out, len);
        count++;
        ASSERT(count <= 2); /* an initiation and a keepalive */
    }
}

static void pass_time(struct world *w, uint8_t amount)
{
    w->now = instant_add(w->now, DURATION_MS((uint64_t)amount * amount * 10));
    for (size_t at = 0; at < 2; at++) {
        struct wg_peer *peer = &w->sides[at].peer;
        wg_peer_handle_timeout(peer, w->now, &w->rng);
        if (peer->era != WG_ERA_BASE) {
            ASSERT(instant_before(w->now, wg_peer_poll_timeout(peer).at));
        }
    }
}

static void run_event(struct world *w, const uint8_t event[3])
{
    size_t at = event[0] & 1;
    struct wg_peer *peer = &w->sides[at].peer;
    struct wg_psk psk = {{event[1]}};
    switch ((event[0] >> 1) % 8) {
    case 0:
    case 1:
        pass_time(w, event[1]);
        break;
    case 2:
        send_data(w, at);
        break;
    case 3:
    case 4:
        deliver(w, at, event[1], 0);
        break;
    case 5:
        deliver(w, at, event[1], event[2]);
        break;
    case 6:
        wg_peer_initiate(peer, w->now);
        break;
    default:
        wg_peer_set_pending_psk(peer, &psk, w->now);
        break;
    }
    drain(w, 0);
    drain(w, 1);
    wg_peer_check(&w->sides[0].peer);
    wg_peer_check(&w->sides[1].peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;
    uint8_t seed[RNG_SEED_SIZE] = {2};
    if (size < 4) {
        return 0;
    }
    memset(&world, 0, sizeof(world));
    world.now = (struct instant){NS_PER_S};
    rng_init(&world.rng, seed);
    node_init(&world.sides[0], 1);
    node_init(&world.sides[1], 2);
    peer_init(&world, 0, data[0]);
    peer_init(&world, 1, 0);
    for (size_t i = 1, events = 0; i + 3 <= size && events < EVENTS_MAX; i += 3, events++) {
        run_event(&world, data + i);
    }
    wg_peer_wipe(&world.sides[0].peer);
    wg_peer_wipe(&world.sides[1].peer);
    return 0;
}
