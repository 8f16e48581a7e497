#include "tests/bench/bench_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "packet/packet_build.h"
#include "stun/channel_data.h"
#include "stun/stun_msg.h"
#include "tests/bench/bench.h"

#define STREAM_BYTES    16384U /* of one BYTES event: one TLS record, as on Linux */
#define TEXT_MAX        2048U
#define REHEARSED_MAX   8388608U /* calls */

#define SENDER_COUNTERS 100000000U

/* ---- time ---- */

/* What was called in the rehearsal and how long it took, shared with the process that held it. */
struct rehearsed {
    uint32_t took; /* ns */
    enum world_call call;
};

static struct {
    struct rehearsed *calls; /* NULL: none was held */
    size_t next;
    bool is_running; /* in this process */
} rehearsal;

void world_rehearse(void (*run)(void))
{
    int status = 0;
    size_t size = REHEARSED_MAX * sizeof(*rehearsal.calls);
    rehearsal.calls = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(rehearsal.calls != MAP_FAILED);
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        rehearsal.is_running = true;
        run();
        _exit(0);
    }
    ASSERT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* Resident from now on: later it would look like memory of the world. */
    for (size_t i = 0; i < REHEARSED_MAX; i++) {
        bench_keep(rehearsal.calls[i].took);
    }
}

void world_forget_rehearsal(void)
{
    ASSERT(munmap(rehearsal.calls, REHEARSED_MAX * sizeof(*rehearsal.calls)) == 0);
    rehearsal.calls = NULL;
    rehearsal.next = 0;
}

static uint64_t quicker(enum world_call call, uint64_t took)
{
    if (rehearsal.calls == NULL) {
        return took;
    }
    ASSERT(rehearsal.next < REHEARSED_MAX);
    struct rehearsed *earlier = &rehearsal.calls[rehearsal.next++];
    if (rehearsal.is_running) {
        *earlier = (struct rehearsed){took < UINT32_MAX ? (uint32_t)took : UINT32_MAX, call};
    }
    ASSERT(earlier->call == call);
    return took < earlier->took ? took : earlier->took;
}

static void account(struct world *w, enum world_call call, uint64_t start)
{
    uint64_t took = bench_cpu_ns() - start;
    took = took > w->overhead ? took - w->overhead : 0;
    w->cost.total += took;
    w->cost.calls++;
    took = quicker(call, took);
    if (took > w->cost.longest) {
        w->cost.longest = took;
        w->cost.longest_call = call;
    }
}

void world_cost_reset(struct world *w)
{
    memset(&w->cost, 0, sizeof(w->cost));
    w->datagrams = 0;
}

const char *world_call_name(enum world_call call)
{
    static const char *const names[WORLD_CALLS] = {"udp",     "tun",      "stream", "lookup",
                                                   "timeout", "shutdown", "poll"};
    return names[call];
}

void world_pass(struct world *w, uint64_t ms)
{
    w->rig->now.boot = instant_add(w->rig->now.boot, DURATION_MS(ms));
    w->rig->now.unix_ns += ms * NS_PER_MS;
}

/* ---- names and addresses ---- */

static struct sock_addr gateway_host(void)
{
    return sock_addr_of(ip_v4(10, 2, 0, 2), 52625);
}

static void put_ufrag(char out[8], char kind, uint32_t i)
{
    (void)snprintf(out, 8, "%c%05x", kind, i);
}

static const char gateway_password[] = "gateway-password-000000";
static const char client_password[] = "client-password-0000000";

struct uuid world_resource_id(uint32_t number)
{
    struct uuid id = {{0x22, 0, 0, 0, 0, 0, 0x40, 0, 0x80}};
    store_be32(id.bytes + 12, number);
    return id;
}

static struct uuid client_id(uint32_t i)
{
    struct uuid id = {{0xcc, 0, 0, 0, 0, 0, 0x40, 0, 0x80}};
    store_be32(id.bytes + 12, i);
    return id;
}

static void put_uuid(char *out, size_t size, const struct uuid *id)
{
    struct writer w = writer_of((struct span){(uint8_t *)out, size});
    uuid_put(&w, id);
    writer_u8(&w, 0);
    ASSERT(writer_finish(&w));
}

void world_resource_cidr(char out[WORLD_RESOURCE_MAX], uint32_t number)
{
    char id[UUID_TEXT_SIZE + 1];
    struct uuid uuid = world_resource_id(number);
    put_uuid(id, sizeof(id), &uuid);
    (void)snprintf(out, WORLD_RESOURCE_MAX,
                   "{\"id\":\"%s\",\"type\":\"cidr\",\"address\":\"10.3.0.0/16\",\"name\":\"n\","
                   "\"filters\":[]}",
                   id);
}

void world_resource_dns(char out[WORLD_RESOURCE_MAX], uint32_t number)
{
    char id[UUID_TEXT_SIZE + 1];
    struct uuid uuid = world_resource_id(number);
    put_uuid(id, sizeof(id), &uuid);
    (void)snprintf(out, WORLD_RESOURCE_MAX,
                   "{\"id\":\"%s\",\"type\":\"dns\",\"address\":\"**.corp.test\",\"name\":\"n\","
                   "\"filters\":[]}",
                   id);
}

/* ---- life ---- */

struct sock_addr world_address(uint32_t i)
{
    return sock_addr_of(ip_v4(198, 18, (uint8_t)(i >> 8), (uint8_t)i), 40000);
}

struct ip_addr world_ipv4(uint32_t i)
{
    return ip_v4(100, 65, (uint8_t)(i >> 8), (uint8_t)i);
}

static void client_init(struct world *w, uint32_t i)
{
    struct world_client *c = &w->clients[i];
    struct x25519_private key = {{7}};
    struct wg_peer_config wg = {.psk = {{1}},
                                .id = i & WG_PEER_ID_MAX,
                                .role = WG_ROLE_CLIENT,
                                .era = WG_ERA_HEAD,
                                .rekey_attempt_s = WG_ATTEMPT_S_HEAD,
                                .windows = wg_windows_of(c->windows)};
    store_be32(key.bytes + 8, i);
    c->id = client_id(i);
    c->address = world_address(i);
    c->ipv4 = world_ipv4(i);
    wg_node_init(&c->node, &key, &w->rig->now, 1000);
    memcpy(wg.remote.bytes, gateway_public_key(w->gw), KEY_SIZE);
    enum err err = wg_peer_init(&c->wg, &c->node, &wg, w->rig->now.boot);
    ASSERT(err == ERR_NONE);
}

struct world *world_new(uint32_t clients, uint32_t resources, uint32_t sessions)
{
    struct gateway_limits limits = rig_limits();
    limits.flows = 0; /* as by default: no records */
    struct world *w = calloc(1, sizeof(*w));
    ASSERT(w != NULL);
    w->overhead = bench_clock_ns();
    limits.clients = clients + 8;
    limits.resources_per_client = resources;
    limits.nat_sessions = sessions;
    limits.nat_sessions_per_client = 65536;
    limits.nat_expired_per_client = 4096;
    limits.lookups = 1024;
    limits.dns_cache = 512;
    w->rig = rig_new_with(&limits, true);
    w->rig->skips_check = true;
    w->rig->portal.is_head = true; /* losing the last relay does not end its connection */
    w->gw = w->rig->gw;
    size_t size = gateway_size(&limits);
    linux_pages_stay_small(w->rig->area, size);
    if (getenv("BENCH_SMALL_PAGES") == NULL &&
        linux_pages_open(&w->pages, w->rig->area, size, NULL) != ERR_NONE) {
        (void)fprintf(stderr, "no huge pages here: all tables are on small ones\n");
    }
    w->state = 88172645463325252U;
    w->clients = calloc(clients, sizeof(*w->clients));
    w->senders = aligned_alloc(_Alignof(struct world_sender), clients * sizeof(*w->senders));
    w->clients_count = clients;
    w->in = calloc(WORLD_BATCH, WORLD_SLOT);
    ASSERT(w->clients != NULL && w->in != NULL);
    rig_join(w->rig);
    for (uint32_t i = 0; i < clients; i++) {
        client_init(w, i);
    }
    gateway_set_tun_offload(w->gw, true, true);
    for (int aead = GATEWAY_AEAD_COUNT - 1; aead >= 0; aead--) {
        if (gateway_use_aead(w->gw, (enum gateway_aead)aead) == ERR_NONE) {
            break;
        }
    }
    return w;
}

void world_free(struct world *w)
{
    linux_pages_close(&w->pages);
    rig_free(w->rig);
    free(w->clients);
    free(w->senders);
    free(w->bulk);
    free(w->in);
    free(w);
}

/* ---- into the gateway ---- */

/* The channel that the relay has for a client. */
static uint16_t channel_of(const struct world *w, const struct sock_addr *client)
{
    const struct rig_relay *r = &w->rig->relays[0];
    for (uint32_t i = 0; i < RIG_CHANNELS; i++) {
        if (r->is_bound[i] && sock_addr_equal(&r->peers[i], client)) {
            return (uint16_t)(CHANNEL_NUMBER_MIN + i);
        }
    }
    UNREACHABLE();
}

void world_open_senders(struct world *w)
{
    for (uint32_t i = 0; i < w->clients_count; i++) {
        struct world_sender *sender = &w->senders[i];
        struct world_client *c = &w->clients[i];
        if (c->has_session) {
            enum drop_reason reason =
                wg_peer_seal_begin(&c->wg, SENDER_COUNTERS, w->rig->now.boot, &sender->seal);
            ASSERT(reason == DROP_NONE);
            memcpy(sender->key.bytes, sender->seal.key, KEY_SIZE);
            sender->seal.key = sender->key.bytes;
        }
    }
}

size_t world_wrap(const struct world *w, uint32_t i, uint8_t *at, size_t len,
                  struct sock_addr *remote)
{
    *remote = w->clients[i].address;
    if (i != WORLD_RELAYED) {
        return len;
    }
    memmove(at + CHANNEL_DATA_HEADER_SIZE, at, len);
    channel_data_put_header(at, channel_of(w, remote), len);
    *remote = w->rig->relays[0].server;
    return len + CHANNEL_DATA_HEADER_SIZE;
}

static void feed_one(struct world *w, const struct sock_addr *remote, struct view bytes)
{
    struct gateway_datagram in = {.bytes = {w->in + GATEWAY_TUN_HEADROOM, bytes.len},
                                  .local = gateway_host(),
                                  .remote = *remote};
    ASSERT(bytes.len <= WORLD_SLOT - GATEWAY_TUN_HEADROOM);
    memcpy(in.bytes.at, bytes.at, bytes.len);
    uint64_t start = bench_cpu_ns();
    gateway_handle_udp(w->gw, w->rig->now, &in, 1);
    account(w, WORLD_UDP, start);
}

/* What the portal's end has to say, record by record. */
static bool feed_portal(struct world *w)
{
    uint8_t bytes[STREAM_BYTES];
    struct rig_portal *p = &w->rig->portal;
    if (p->stream == 0 || !ws_is_live(&p->ws) || !ws_wants_drain(&p->ws)) {
        return false;
    }
    size_t len = ws_drain(&p->ws, (struct span){bytes, sizeof(bytes)});
    struct gateway_stream_event event = {
        .kind = GATEWAY_STREAM_BYTES, .stream = p->stream, .bytes = {bytes, len}};
    uint64_t start = bench_cpu_ns();
    gateway_handle_stream(w->gw, w->rig->now, &event);
    account(w, WORLD_STREAM, start);
    return len > 0;
}

/* ---- out of the gateway ---- */

/* The client sends; the datagram is fed by world_drain(). */
static void client_send(struct world *w, uint32_t i, struct view bytes)
{
    uint8_t wrapped[WORLD_SLOT];
    struct sock_addr remote;
    memcpy(wrapped, bytes.at, bytes.len);
    size_t len = world_wrap(w, i, wrapped, bytes.len, &remote);
    rig_udp(w->rig, gateway_host(), remote, (struct view){wrapped, len});
}

static void answer_check(struct world *w, uint32_t i, struct view datagram)
{
    uint8_t bytes[128];
    struct stun_msg msg;
    struct stun_writer s;
    struct sock_addr mapped = gateway_host();
    if (stun_msg_decode(datagram, &msg) != DROP_NONE || msg.class != STUN_REQUEST) {
        return;
    }
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_BINDING, STUN_SUCCESS, &msg.txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, &mapped);
    stun_put_integrity(&s, view_text(client_password));
    stun_put_fingerprint(&s);
    client_send(w, i, stun_finish(&s));
}

static void client_poll(struct world *w, uint32_t i)
{
    struct world_client *c = &w->clients[i];
    uint8_t message[WG_INITIATION_SIZE];
    size_t len;
    while ((len = wg_peer_poll_transmit(&c->wg, w->rig->now.boot, &w->rig->rng,
                                        (struct span){message, sizeof(message)})) > 0) {
        client_send(w, i, (struct view){message, len});
    }
}

static void client_handle(struct world *w, uint32_t i, struct view datagram)
{
    struct world_client *c = &w->clients[i];
    struct wg_arrival arrival = {datagram, gateway_host(), w->rig->now.boot};
    struct wg_initiation initiation;
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    switch (wg_msg_type(datagram)) {
    case WG_TYPE_RESPONSE:
        if (wg_peer_handle_response(&c->wg, datagram, w->rig->now.boot) == DROP_NONE) {
            c->has_session = true;
        }
        break;
    case WG_TYPE_INITIATION:
        if (wg_node_receive_initiation(&c->node, &arrival, &w->rig->rng, &initiation, cookie)
                    .kind == WG_VERDICT_ACCEPTED &&
            wg_peer_handle_initiation(&c->wg, &initiation, w->rig->now.boot, &w->rig->rng,
                                      response) == DROP_NONE) {
            client_send(w, i, VIEW_OF(response));
        }
        break;
    case WG_TYPE_NONE:
        answer_check(w, i, datagram);
        break;
    case WG_TYPE_DATA:
    case WG_TYPE_COOKIE_REPLY:
        break;
    }
    client_poll(w, i);
}

/* Of the relayed data only that of the relayed client goes anywhere. */
static void take_relayed(struct world *w, struct view bytes)
{
    struct channel_data data;
    if (!channel_data_is(bytes)) {
        rig_relay_handle(w->rig, 0, bytes);
    } else if (channel_data_decode(bytes, &data) == DROP_NONE &&
               sock_addr_equal(&w->rig->relays[0].peers[data.number - CHANNEL_NUMBER_MIN],
                               &w->clients[WORLD_RELAYED].address)) {
        client_handle(w, WORLD_RELAYED, view_sub(bytes, CHANNEL_DATA_HEADER_SIZE, data.length));
    }
}

static void take_train(struct world *w, const struct gateway_train *train)
{
    const uint8_t *ip = train->remote.ip.bytes;
    uint32_t i = (uint32_t)ip[2] << 8 | ip[3];
    w->bytes += train->bytes.len;
    w->datagrams++;
    if (sock_addr_equal(&train->remote, &w->rig->relays[0].server)) {
        take_relayed(w, train->bytes);
    } else if (ip[0] == 198 && ip[1] == 18 && i < w->clients_count) {
        client_handle(w, i,
                      train->segment_size == 0 ? train->bytes
                                               : view_sub(train->bytes, 0, train->segment_size));
    }
}

static void take_send(struct world *w, const struct gateway_stream_send *send)
{
    if (send->stream == w->rig->portal.stream) {
        rig_portal_bytes(w->rig, send->bytes);
        rig_list_clear(&w->rig->portal.texts);
    }
    gateway_stream_sent(w->gw, send->stream, send->bytes.len);
}

static void carry_out(struct world *w, const struct gateway_output *out)
{
    switch (out->kind) {
    case GATEWAY_OUT_TRAIN:
        take_train(w, &out->u.train);
        break;
    case GATEWAY_OUT_TUN:
        w->bytes += out->u.tun->slices_count;
        break;
    case GATEWAY_OUT_STREAM_SEND:
        take_send(w, &out->u.send);
        break;
    case GATEWAY_OUT_LOOKUP:
        if (w->lookups_count < ARRAY_COUNT(w->lookup_ids)) {
            w->lookup_is_v4[w->lookups_count] = out->u.lookup.type == GATEWAY_LOOKUP_A;
            w->lookup_ids[w->lookups_count++] = out->u.lookup.lookup;
        }
        break;
    case GATEWAY_OUT_TUN_CONFIGURE:
    case GATEWAY_OUT_STREAM_OPEN:
    case GATEWAY_OUT_STREAM_CLOSE:
    case GATEWAY_OUT_LISTEN:
    case GATEWAY_OUT_LISTENER_SEND:
    case GATEWAY_OUT_FLOW:
    case GATEWAY_OUT_EXIT:
        break;
    }
}

static void poll_all(struct world *w)
{
    struct gateway_output out;
    for (;;) {
        uint64_t start = bench_cpu_ns();
        bool more = gateway_poll(w->gw, &out);
        account(w, WORLD_POLL, start);
        if (!more) {
            return;
        }
        carry_out(w, &out);
    }
}

void world_drain(struct world *w)
{
    struct rig_list *waiting = &w->rig->to_gateway;
    poll_all(w);
    for (;;) {
        struct rig_list taken = *waiting;
        memset(waiting, 0, sizeof(*waiting));
        for (size_t i = 0; i < taken.count; i++) {
            feed_one(w, &taken.items[i].remote,
                     (struct view){taken.items[i].at, taken.items[i].len});
            poll_all(w);
        }
        bool had = taken.count > 0;
        rig_list_clear(&taken);
        if (feed_portal(w)) {
            poll_all(w);
        } else if (!had && waiting->count == 0) {
            return;
        }
    }
}

void world_lookup(struct world *w, const struct gateway_lookup_answer *answer)
{
    uint64_t start = bench_cpu_ns();
    gateway_handle_lookup(w->gw, w->rig->now, answer);
    account(w, WORLD_LOOKUP, start);
    world_drain(w);
}

void world_send(struct world *w, uint32_t i, struct view packet)
{
    uint8_t message[2048];
    struct span sealed = {message, packet.len + WG_DATA_OVERHEAD};
    memcpy(message + WG_DATA_HEADER_SIZE, packet.at, packet.len);
    enum drop_reason reason = wg_peer_seal(&w->clients[i].wg, sealed, w->rig->now.boot);
    ASSERT(reason == DROP_NONE);
    client_send(w, i, view_of_span(sealed));
}

void world_timeouts(struct world *w)
{
    for (unsigned round = 0; instant_reached(w->rig->now.boot, gateway_poll_timeout(w->gw).at);
         round++) {
        ASSERT(round < 100000);
        uint64_t start = bench_cpu_ns();
        gateway_handle_timeout(w->gw, w->rig->now);
        account(w, WORLD_TIMEOUT, start);
        world_drain(w);
    }
}

/* ---- the portal ---- */

void world_push(struct world *w, const char *event, const char *payload)
{
    size_t needed = strlen(payload) + 256;
    if (w->bulk_size < needed) {
        free(w->bulk);
        w->bulk = malloc(needed);
        w->bulk_size = needed;
        ASSERT(w->bulk != NULL);
    }
    int len = snprintf((char *)w->bulk, w->bulk_size,
                       "{\"topic\":\"gateway\",\"event\":\"%s\",\"ref\":null,\"payload\":%s}",
                       event, payload);
    ASSERT(len > 0);
    enum err err = ws_send_text(&w->rig->portal.ws, (struct view){w->bulk, (size_t)len});
    ASSERT(err == ERR_NONE);
    world_drain(w);
}

static void put_base64(char *out, size_t size, const uint8_t bytes[32])
{
    struct writer writer = writer_of((struct span){(uint8_t *)out, size});
    text_put_base64(&writer, (struct view){bytes, 32}, true);
    writer_u8(&writer, 0);
    ASSERT(writer_finish(&writer));
}

void world_authorize(struct world *w, uint32_t i, const char *resource)
{
    const struct world_client *c = &w->clients[i];
    static const uint8_t psk[KEY_SIZE] = {1};
    char payload[TEXT_MAX];
    char id[UUID_TEXT_SIZE + 1];
    char key[64];
    char psk_text[64];
    char own[8];
    char other[8];
    put_uuid(id, sizeof(id), &c->id);
    put_base64(key, sizeof(key), c->node.own.public_key.bytes);
    put_base64(psk_text, sizeof(psk_text), psk);
    put_ufrag(own, 'c', i);
    put_ufrag(other, 'g', i);
    int len = snprintf(
        payload, sizeof(payload),
        "{\"ref\":\"ref-%u\",\"resource\":%s,\"client\":{\"id\":\"%s\",\"public_key\":\"%s\","
        "\"preshared_key\":\"%s\",\"ipv4\":\"100.65.%u.%u\",\"ipv6\":\"fd00:2021:1111::%x\"},"
        "\"client_ice_credentials\":{\"username\":\"%s\",\"password\":\"%s\"},"
        "\"gateway_ice_credentials\":{\"username\":\"%s\",\"password\":\"%s\"},"
        "\"expires_at\":null}",
        i, resource, id, key, psk_text, i >> 8 & 0xffU, i & 0xffU, i + 16, own, client_password,
        other, gateway_password);
    ASSERT(len > 0 && (size_t)len < sizeof(payload));
    world_push(w, "authorize_flow", payload);
}

void world_signal(struct world *w, uint32_t i)
{
    const struct world_client *c = &w->clients[i];
    struct sock_addr host = sock_addr_of(ip_v4(192, 168, 1, 2), 52625);
    struct ice_candidate candidates[2] = {ice_candidate_host(&host),
                                          ice_candidate_srflx(&c->address, &host)};
    char texts[2][ICE_CANDIDATE_TEXT_SIZE_MAX + 1];
    char payload[TEXT_MAX];
    char id[UUID_TEXT_SIZE + 1];
    char own[8];
    put_ufrag(own, 'c', i);
    put_uuid(id, sizeof(id), &c->id);
    for (size_t k = 0; k < 2; k++) {
        struct writer out = writer_of((struct span){(uint8_t *)texts[k], sizeof(texts[k]) - 1});
        candidates[k].ufrag_size = (uint8_t)strlen(own);
        memcpy(candidates[k].ufrag, own, strlen(own));
        ice_candidate_put(&out, &candidates[k]);
        ASSERT(writer_finish(&out));
        texts[k][out.used] = 0;
    }
    (void)snprintf(payload, sizeof(payload),
                   "{\"client_id\":\"%s\",\"candidates\":[\"%s\",\"%s\"]}", id, texts[0], texts[1]);
    world_push(w, "ice_candidates", payload);
}

/* ---- clients ---- */

void world_check(struct world *w, uint32_t i)
{
    struct world_client *c = &w->clients[i];
    uint8_t bytes[ICE_TRANSMIT_SIZE_MAX];
    char own[8];
    char other[8];
    struct stun_txn txn = {{0xee}};
    struct stun_writer s;
    store_be32(txn.bytes + 4, i);
    store_be32(txn.bytes + 8, c->checks++);
    put_ufrag(own, 'c', i);
    put_ufrag(other, 'g', i);
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, STUN_BINDING, STUN_REQUEST, &txn);
    stun_put_ice_username(&s, view_text(other), view_text(own));
    stun_put_controlling(&s, 1 + i);
    stun_put_priority(&s, 1862270975);
    stun_put_use_candidate(&s);
    stun_put_integrity(&s, view_text(gateway_password));
    stun_put_fingerprint(&s);
    client_send(w, i, stun_finish(&s));
    world_drain(w);
}

void world_handshake(struct world *w, uint32_t i)
{
    wg_peer_initiate(&w->clients[i].wg, w->rig->now.boot);
    client_poll(w, i);
    world_drain(w);
}

void world_connect(struct world *w, uint32_t from, uint32_t to)
{
    char resource[WORLD_RESOURCE_MAX];
    world_resource_cidr(resource, 1);
    for (uint32_t i = from; i < to; i++) {
        world_authorize(w, i, resource);
        world_signal(w, i);
        world_check(w, i);
        world_handshake(w, i);
        ASSERT(w->clients[i].has_session);
        world_pass(w, 1); /* the limiter of handshakes */
        if (i % 64 == 63) {
            world_timeouts(w);
        }
    }
    world_timeouts(w);
}

/* ---- flows ---- */

struct ip_addr world_proxy(uint32_t n)
{
    return ip_v4(100, 96, 1, (uint8_t)(n % WORLD_PROXIES));
}

struct ip_addr world_real(uint32_t n)
{
    return ip_v4(10, 9, 0, (uint8_t)(1 + n % WORLD_PROXIES));
}

uint16_t world_port(uint32_t n)
{
    return (uint16_t)(1 + n / WORLD_PROXIES);
}

void world_authorize_name(struct world *w, uint32_t i)
{
    uint32_t handle = policy_client_find(w->gw->policy, &w->clients[i].id);
    struct policy_resource resource = {
        .id = world_resource_id(2), .kind = POLICY_KIND_DNS, .pattern = view_text("**.corp.test")};
    enum err err = policy_authorize(w->gw->policy, handle, &resource, POLICY_NEVER);
    ASSERT(err == ERR_NONE);
}

void world_assign_names(struct world *w, uint32_t i)
{
    struct dns_name name;
    struct ip_addr proxies[WORLD_PROXIES];
    struct ip_addr reals[WORLD_PROXIES];
    uint32_t refused = 0;
    uint32_t handle = policy_client_find(w->gw->policy, &w->clients[i].id);
    world_authorize_name(w, i);
    bool is_name = dns_name_parse(view_text("a.corp.test"), &name);
    ASSERT(is_name);
    for (uint32_t n = 0; n < WORLD_PROXIES; n++) {
        proxies[n] = world_proxy(n);
        reals[n] = world_real(n);
    }
    struct policy_assign request = {.resource = world_resource_id(2),
                                    .domain = &name,
                                    .proxies = proxies,
                                    .proxies_count = WORLD_PROXIES,
                                    .resolved = reals,
                                    .resolved_count = WORLD_PROXIES};
    enum policy_status status =
        policy_assign(w->gw->policy, handle, &request, w->rig->now, &refused);
    ASSERT(status == POLICY_ACTIVE);
}

void world_open_flow(struct world *w, uint32_t i, uint32_t n)
{
    uint8_t bytes[128];
    uint8_t answer[POLICY_REPLY_SIZE_MAX];
    struct policy_result result = {.buffer = {answer, sizeof(answer)}};
    uint32_t handle = policy_client_find(w->gw->policy, &w->clients[i].id);
    struct packet_build_ip ip = {.source = w->clients[i].ipv4, .destination = world_proxy(n)};
    struct writer out = writer_of((struct span){bytes + 64, 64});
    packet_build_udp(&out, &ip, (struct packet_build_ports){world_port(n), 443}, view_text("x"));
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 64, out.used);
    enum policy_action action =
        policy_outbound(w->gw->policy, handle, &packet, w->rig->now, &result);
    ASSERT(action == POLICY_FORWARD);
}

void world_open_flows(struct world *w, uint32_t from, uint32_t to)
{
    for (uint32_t f = from; f < to; f++) {
        world_open_flow(w, f % WORLD_FLOW_CLIENTS, f / WORLD_FLOW_CLIENTS);
    }
}

/* ---- chance, memory ---- */

uint32_t world_draw(struct world *w, uint32_t below)
{
    w->state ^= w->state << 13U;
    w->state ^= w->state >> 7U;
    w->state ^= w->state << 17U;
    return (uint32_t)((w->state >> 32U) * below >> 32U);
}

uint32_t world_draw_zipf(struct world *w, uint32_t below)
{
    uint32_t bits = 0;
    while ((below >> bits) > 1) {
        bits++;
    }
    uint32_t k = world_draw(w, bits + 1);
    uint32_t rank = (1U << k) - 1 + world_draw(w, 1U << k);
    return rank < below ? rank : below - 1;
}

void world_settle(struct world *w)
{
    struct clock_pair now = w->rig->now;
    uint32_t before = 0;
    w->pages.next_at = now.boot; /* the time of the last call was made up */
    do {
        before = w->pages.huge;
        for (size_t i = 0; i <= w->pages.count / LINUX_PAGES_LOOKS + 4U * WORLD_BATCH; i++) {
            now.boot = instant_add(now.boot, DURATION_S(LINUX_PAGES_REST_S));
            linux_pages_tick(&w->pages, now, true);
        }
    } while (w->pages.huge != before);
}

size_t world_resident(void)
{
    unsigned long total = 0;
    unsigned long resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &total, &resident) != 2) {
        resident = 0;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return (size_t)resident * 4096U;
}
