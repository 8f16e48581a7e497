/* An agent under the control of the input: bytes become candidates, correctly signed checks and
 * answers of a peer, raw datagrams and the passing of time. Its invariants hold after each step. */
#include <string.h>

#include "ice/ice_agent.h"
#include "ice/ice_message.h"
#include "tests/support/ice_alone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UFRAG_LOCAL     "7ddg"
#define UFRAG_REMOTE    "k5fd"
#define PASSWORD_LOCAL  "swa5thzjjwfmbfcrzbylca"
#define PASSWORD_REMOTE "sfl3nrmziix5dcaydtq4xd"
#define SENT_MAX        4U

struct scene {
    struct reader input;
    struct rng rng;
    struct instant now;
    struct ice_agent agent;
    struct ice_alone memory;
    struct stun_txn sent[SENT_MAX]; /* last checks, to be answered */
    struct sock_addr sent_to[SENT_MAX];
    struct sock_addr sent_from[SENT_MAX];
    size_t sent_count;
};

static void start(struct scene *scene)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    uint8_t flags = reader_u8(&scene->input);
    rng_init(&scene->rng, seed);
    scene->now = (struct instant){NS_PER_S};
    struct ice_agent_config config = {
        .controlling = (flags & 1U) != 0,
        .local_ufrag = view_text(UFRAG_LOCAL),
        .local_password = view_text(PASSWORD_LOCAL),
        .remote_ufrag = view_text(UFRAG_REMOTE),
        .remote_password = view_text(PASSWORD_REMOTE),
        .tie_breaker = flags,
        .timing = (flags & 2U) != 0 ? ICE_TIMING_CLIENT : ICE_TIMING_GATEWAY,
        .timing_idle = (flags & 2U) != 0 ? ICE_TIMING_CLIENT_IDLE : ICE_TIMING_GATEWAY_IDLE,
        .txn_tag = 0x01020304,
    };
    ice_agent_init(&scene->agent, &config, ice_alone_start(&scene->memory), &scene->rng,
                   scene->now);
}

/* A small world, so that addresses meet again: two hosts of each family, 64 ports. */
static struct sock_addr take_addr(struct scene *scene, uint8_t net)
{
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8};
    uint8_t byte = reader_u8(&scene->input);
    struct ip_addr ip = ip_v4(10, net, 0, 1);
    if ((byte & 0x80U) != 0) {
        ip = ip_from_bytes(IP_V6, v6);
        ip.bytes[15] = net;
    }
    ip.bytes[3] = (uint8_t)(ip.bytes[3] + ((byte >> 6) & 1U));
    return sock_addr_of(ip, (uint16_t)(1 + (byte & 0x3fU)));
}

static struct ice_candidate take_candidate(struct scene *scene, uint8_t net)
{
    uint8_t kind = reader_u8(&scene->input);
    struct sock_addr addr = take_addr(scene, net);
    struct sock_addr base = (kind & 4U) != 0 ? take_addr(scene, net) : addr;
    base.ip = base.ip.family == addr.ip.family ? base.ip : addr.ip;
    switch (kind & 3U) {
    case 0:
        return ice_candidate_host(&addr);
    case 1:
        return ice_candidate_srflx(&addr, &base);
    default:
        return ice_candidate_relay(&addr, (kind & 8U) != 0 ? IP_V4 : IP_V6);
    }
}

static void drain(struct scene *scene)
{
    struct ice_transmit t;
    size_t count = 0;
    while (ice_agent_poll_transmit(&scene->agent, &t)) {
        struct stun_msg msg;
        ASSERT(stun_msg_decode(t.bytes, &msg) == DROP_NONE);
        if (msg.class == STUN_REQUEST) {
            size_t slot = scene->sent_count++ % SENT_MAX;
            scene->sent[slot] = msg.txn;
            scene->sent_to[slot] = t.remote;
            scene->sent_from[slot] = t.local;
        }
        count++;
        ASSERT(count <= ICE_PAIRS_MAX + ICE_REPLIES_MAX);
    }
    struct ice_event event;
    count = 0;
    while (ice_agent_poll_event(&scene->agent, &event)) {
        count++;
        ASSERT(count <= ICE_REMOTE_MAX + 2);
    }
    ASSERT(scene->agent.state == ICE_NEW ||
           instant_before(scene->now, ice_agent_poll_timeout(&scene->agent).at));
}

static void deliver(struct scene *scene, struct view datagram, const struct sock_addr *local,
                    const struct sock_addr *from)
{
    struct stun_msg msg;
    if (stun_msg_decode(datagram, &msg) != DROP_NONE) {
        return;
    }
    enum drop_reason reason =
        ice_agent_handle_message(&scene->agent, local, from, datagram, &msg, scene->now);
    ASSERT(reason < DROP_COUNT);
}

static void request(struct scene *scene)
{
    uint8_t flags = reader_u8(&scene->input);
    struct sock_addr local = take_addr(scene, 1);
    struct sock_addr from = take_addr(scene, 2);
    bool same_role = (flags & 1U) != 0;
    struct ice_request ask = {
        .txn = {{flags}},
        .remote_ufrag = view_text(UFRAG_LOCAL),
        .local_ufrag = view_text(UFRAG_REMOTE),
        .remote_password = view_text(PASSWORD_LOCAL),
        .controlling = scene->agent.controlling == same_role,
        .use_candidate = (flags & 2U) != 0,
        .tie_breaker = flags,
        .priority = (uint32_t)reader_u8(&scene->input) << 24,
    };
    uint8_t out[ICE_TRANSMIT_SIZE_MAX];
    struct view datagram = ice_message_request((struct span){out, sizeof(out)}, &ask);
    deliver(scene, datagram, &local, &from);
}

static void answer(struct scene *scene)
{
    uint8_t which = reader_u8(&scene->input);
    struct sock_addr mapped = take_addr(scene, which & 3U);
    if (scene->sent_count == 0) {
        return;
    }
    size_t slot = which % (scene->sent_count < SENT_MAX ? scene->sent_count : SENT_MAX);
    uint8_t out[ICE_TRANSMIT_SIZE_MAX];
    struct view datagram = ice_message_success((struct span){out, sizeof(out)}, &scene->sent[slot],
                                               &mapped, view_text(PASSWORD_REMOTE));
    deliver(scene, datagram, &scene->sent_from[slot], &scene->sent_to[slot]);
}

static void raw(struct scene *scene)
{
    struct sock_addr local = take_addr(scene, 1);
    struct sock_addr from = take_addr(scene, 2);
    struct view rest = scene->input.rest;
    deliver(scene, rest, &local, &from);
    scene->input.rest = VIEW_EMPTY;
}

static void candidates(struct scene *scene, uint8_t op)
{
    struct ice_candidate candidate = take_candidate(scene, op < 6 && (op & 1U) == 0 ? 1 : 2);
    struct ice_candidate guesses[ICE_OPTIMISTIC_MAX];
    enum err err = ERR_NONE;
    enum drop_reason reason = DROP_NONE;
    switch (op) {
    case 2:
        err = ice_agent_add_local(&scene->agent, &candidate, scene->now);
        break;
    case 3:
        reason = ice_agent_add_remote(&scene->agent, &candidate, scene->now);
        break;
    case 4:
        (void)ice_agent_invalidate_local(&scene->agent, &candidate, scene->now);
        break;
    case 5:
        (void)ice_agent_invalidate_remote(&scene->agent, &candidate, scene->now);
        break;
    default:
        (void)ice_agent_add_optimistic(&scene->agent, guesses, scene->now);
        break;
    }
    ASSERT(err == ERR_NONE || err == ERR_EXISTS || err == ERR_FULL);
    ASSERT(reason == DROP_NONE || reason == DROP_ICE_FULL);
}

static void step(struct scene *scene)
{
    uint8_t op = reader_u8(&scene->input) % 12;
    uint8_t amount;
    switch (op) {
    case 0:
    case 1:
        amount = reader_u8(&scene->input);
        scene->now = instant_add(scene->now, op == 0 ? DURATION_MS(amount) : DURATION_S(amount));
        ice_agent_handle_timeout(&scene->agent, scene->now);
        break;
    case 7:
    case 8:
        request(scene);
        break;
    case 9:
        answer(scene);
        break;
    case 10:
        ice_agent_set_idle(&scene->agent, (reader_u8(&scene->input) & 1U) != 0, scene->now);
        break;
    case 11:
        raw(scene);
        break;
    default:
        candidates(scene, op);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene; /* too large for the stack */
    memset(&scene, 0, sizeof(scene));
    scene.input = reader_of((struct view){data, size});
    start(&scene);
    for (int steps = 0; steps < 2000 && scene.input.rest.len > 0; steps++) {
        step(&scene);
        ice_agent_check(&scene.agent);
        drain(&scene);
        ice_agent_check(&scene.agent);
    }
    return 0;
}
