/* Small scenes with every fate of their first messages: delivered, lost, delivered twice, or late,
 * which is after the next message of either side. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/odometer.h"
#include "tests/support/support.h"
#include "wg/wg_peer.h"

#define FATES      4U
#define CHOSEN_MAX 6U /* messages with a fate; the others are delivered */
#define NUMBERS    256U
#define PACKET     40U
#define ROOM       (WG_DATA_OVERHEAD + 64U)
#define RENEW_S    121U /* the sessions are due to be renewed then */
#define SETTLE_S   40U
#define JUDGED_S   5U

struct letter {
    size_t to;
    size_t len;
    uint8_t bytes[WG_INITIATION_SIZE];
};

struct side {
    struct wg_node node;
    struct wg_peer peer;
    struct wg_window windows[WG_SESSIONS_MAX];
    uint32_t sent;            /* packets, numbered from 1 */
    uint32_t opened[NUMBERS]; /* how often packet n of the other side was opened */
    uint32_t opened_count;
};

struct scene {
    struct odometer *odometer; /* NULL: everything is delivered */
    uint32_t chosen;
    struct side sides[2]; /* client, gateway */
    struct rng rng;
    struct instant now;
    struct letter late;
    bool has_late;
};

static void receive(struct scene *s, const struct letter *letter);

static void post(struct scene *s, size_t to, const uint8_t *bytes, size_t len)
{
    struct letter letter = {.to = to, .len = len};
    assert_true(len <= sizeof(letter.bytes));
    memcpy(letter.bytes, bytes, len);
    struct letter late = s->late;
    bool had_late = s->has_late;
    bool chooses = s->odometer != NULL && s->chosen < CHOSEN_MAX;
    uint32_t fate = chooses ? odometer_choose(s->odometer, FATES) : 0;
    s->chosen += chooses ? 1 : 0;
    s->has_late = fate == 3;
    s->late = letter;
    for (uint32_t times = fate == 0 ? 1 : fate == 2 ? 2 : 0; times > 0; times--) {
        receive(s, &letter);
    }
    if (had_late) {
        receive(s, &late);
    }
}

static void take_initiation(struct scene *s, const struct letter *letter)
{
    struct side *side = &s->sides[letter->to];
    struct wg_arrival arrival = {.message = {letter->bytes, letter->len}, .now = s->now};
    struct wg_initiation initiation;
    uint8_t reply[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    struct wg_verdict verdict =
        wg_node_receive_initiation(&side->node, &arrival, &s->rng, &initiation, reply);
    assert_int_equal(verdict.kind, WG_VERDICT_ACCEPTED);
    if (wg_peer_handle_initiation(&side->peer, &initiation, s->now, &s->rng, response) ==
        DROP_NONE) {
        post(s, 1 - letter->to, response, sizeof(response));
    }
}

static void take_data(struct scene *s, struct letter letter)
{
    struct side *side = &s->sides[letter.to];
    struct wg_open open;
    struct span message = {letter.bytes, letter.len};
    if (wg_peer_open(&side->peer, message, s->now, &open) != DROP_NONE ||
        open.plaintext.len < PACKET) {
        return;
    }
    uint32_t number = load_le32(open.plaintext.at + 20);
    assert_in_range(number, 1, NUMBERS - 1);
    side->opened[number]++;
    side->opened_count++;
    assert_int_equal(side->opened[number], 1); /* never twice */
}

static void drain(struct scene *s)
{
    uint8_t out[WG_INITIATION_SIZE];
    for (size_t at = 0; at < 2; at++) {
        struct span room = {out, sizeof(out)};
        size_t len;
        while ((len = wg_peer_poll_transmit(&s->sides[at].peer, s->now, &s->rng, room)) > 0) {
            post(s, 1 - at, out, len);
        }
        wg_peer_check(&s->sides[at].peer);
    }
}

static void receive(struct scene *s, const struct letter *letter)
{
    struct view bytes = {letter->bytes, letter->len};
    switch (wg_msg_type(bytes)) {
    case WG_TYPE_INITIATION:
        take_initiation(s, letter);
        break;
    case WG_TYPE_RESPONSE:
        (void)!wg_peer_handle_response(&s->sides[letter->to].peer, bytes, s->now);
        break;
    case WG_TYPE_DATA:
        take_data(s, *letter);
        break;
    case WG_TYPE_COOKIE_REPLY:
    case WG_TYPE_NONE:
        fail();
    }
    drain(s);
}

static void send_packet(struct scene *s, size_t at)
{
    uint8_t message[ROOM] = {0};
    struct side *side = &s->sides[at];
    message[WG_DATA_HEADER_SIZE] = 0x45;
    message[WG_DATA_HEADER_SIZE + 3] = PACKET;
    store_le32(message + WG_DATA_HEADER_SIZE + 20, side->sent + 1);
    struct span span = {message, WG_DATA_OVERHEAD + PACKET};
    if (wg_peer_seal(&side->peer, span, s->now) == DROP_NONE) {
        side->sent++;
        post(s, 1 - at, message, span.len);
    } else if (at == 0) {
        wg_peer_initiate(&side->peer, s->now);
    }
    drain(s);
}

static void pass(struct scene *s, uint64_t ms)
{
    s->now = instant_add(s->now, DURATION_MS(ms));
    for (size_t at = 0; at < 2; at++) {
        wg_peer_handle_timeout(&s->sides[at].peer, s->now, &s->rng);
    }
    drain(s);
}

static void set_up_scene(struct scene *s)
{
    const uint8_t seed[RNG_SEED_SIZE] = {7};
    struct clock_pair start = {{NS_PER_S}, UINT64_C(1733270400) * NS_PER_S};
    memset(s, 0, sizeof(*s));
    s->now = start.boot;
    rng_init(&s->rng, seed);
    for (size_t at = 0; at < 2; at++) {
        struct x25519_private own = {{(uint8_t)(at + 1)}};
        wg_node_init(&s->sides[at].node, &own, &start, 50);
    }
    for (size_t at = 0; at < 2; at++) {
        struct wg_peer_config config = {
            .remote = s->sides[1 - at].node.own.public_key,
            .psk = {{1}},
            .id = (uint32_t)(0x100 + at),
            .role = at == 0 ? WG_ROLE_CLIENT : WG_ROLE_GATEWAY,
            .era = at == 0 ? WG_ERA_HEAD : WG_ERA_OURS,
            .rekey_attempt_s = WG_ATTEMPT_S_HEAD,
            .windows = wg_windows_of(s->sides[at].windows),
        };
        assert_int_equal(wg_peer_init(&s->sides[at].peer, &s->sides[at].node, &config, s->now),
                         ERR_NONE);
    }
}

/* A tunnel exists, its keys are old, and both sides begin to renew them in the same moment. */
static void renew_at_once(struct scene *s, struct odometer *odometer)
{
    set_up_scene(s);
    send_packet(s, 0);
    send_packet(s, 0);
    send_packet(s, 1);
    pass(s, RENEW_S * 1000);
    s->odometer = odometer;
    wg_peer_initiate(&s->sides[0].peer, s->now);
    wg_peer_initiate(&s->sides[1].peer, s->now);
    drain(s);
    send_packet(s, 0);
    send_packet(s, 1);
    for (uint32_t i = 0; i < SETTLE_S; i++) {
        pass(s, 1000);
        send_packet(s, 0);
        send_packet(s, 1);
    }
    uint32_t before[2] = {s->sides[0].opened_count, s->sides[1].opened_count};
    for (uint32_t i = 0; i < JUDGED_S; i++) {
        pass(s, 1000);
        send_packet(s, 0);
        send_packet(s, 1);
    }
    assert_int_equal(s->sides[0].opened_count - before[0], JUDGED_S);
    assert_int_equal(s->sides[1].opened_count - before[1], JUDGED_S);
    for (size_t at = 0; at < 2; at++) {
        wg_peer_wipe(&s->sides[at].peer);
    }
}

static void simultaneous_initiations_end_in_one_tunnel(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct odometer odometer = {0};
    (void)state;
    assert_non_null(s);
    do {
        renew_at_once(s, &odometer);
    } while (odometer_next(&odometer));
    assert_int_equal(odometer.runs, 4096); /* four fates of six messages */
    free(s);
}

static void an_odometer_turns_every_wheel(void **state)
{
    struct odometer o = {0};
    uint32_t seen = 0;
    (void)state;
    do { /* 2, and after a 1 three more */
        uint32_t first = odometer_choose(&o, 2);
        uint32_t number = first == 0 ? 0 : 1 + odometer_choose(&o, 3);
        assert_int_equal(seen >> number & 1U, 0);
        seen |= 1U << number;
    } while (odometer_next(&o));
    assert_int_equal(seen, 0xf);
    assert_int_equal(o.runs, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_odometer_turns_every_wheel),
        cmocka_unit_test(simultaneous_initiations_end_in_one_tunnel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
