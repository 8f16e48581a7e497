#include "sim/sim_portal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "portal/http_upgrade.h"
#include "portal/portal_credentials.h"
#include "portal/ws.h"
#include "tests/support/support.h"
#include "json/json.h"

#define UNIX_S    1735689600U
#define TEXTS_MAX 64U
#define TEXT_SIZE 4096U
#define PEERS     6U
#define SECRET    "c3f1a5b2-0b43-4a1c-8d6f-3f0a6f1f6c11"

/* One peer of the portal: gateway, client or relay, over WebSocket or lines. */
struct peer {
    uint32_t stream;
    bool open;
    bool upgraded;
    bool lines;
    bool closed; /* orderly end of the stream */
    bool reset;
    uint16_t status;
    uint64_t retry_after_s;
    uint16_t close_code; /* of a Close frame; 0: none */
    struct http_head head;
    uint8_t nonce[HTTP_WS_NONCE_SIZE];
    struct ws ws;
    char texts[TEXTS_MAX][TEXT_SIZE];
    uint32_t texts_count;
    uint32_t texts_read;
};

struct fixture {
    struct sim_portal *portal;
    struct sim_policy policy;
    struct sim_outbox *out;
    struct clock_pair now;
    struct rng rng;
    uint32_t next_stream;
    struct peer peers[PEERS];
    struct sim_note notes[256];
    uint32_t notes_count;
};

enum { GATEWAY, CLIENT, RELAY, GATEWAY_2, CLIENT_2 };

static struct uuid uuid_of(const char *text)
{
    struct uuid id;
    assert_true(uuid_parse(view_text(text), &id));
    return id;
}

static struct ip_addr ip_of(const char *text)
{
    struct ip_addr ip;
    assert_true(ip_parse(view_text(text), &ip));
    return ip;
}

static void add_resource(struct fixture *f, const char *id, const char *pattern, const char *prefix,
                         const char *name)
{
    struct sim_resource *row = &f->policy.resources[f->policy.resources_count++];
    row->id = uuid_of(id);
    row->kind = pattern != NULL ? SIM_RESOURCE_DNS : SIM_RESOURCE_CIDR;
    if (pattern != NULL) {
        memcpy(row->pattern, pattern, strlen(pattern));
    } else {
        assert_true(ip_prefix_parse(view_text(prefix), &row->prefix));
    }
    memcpy(row->name, name, strlen(name));
}

static void fill_policy(struct fixture *f)
{
    struct sim_policy *p = &f->policy;
    p->gateways_count = 1;
    p->gateways[0].id = uuid_of("c0605277-15df-4fb7-82ee-e3ddedd61334");
    p->gateways[0].tunnel_v4 = ip_of("100.87.157.144");
    p->gateways[0].tunnel_v6 = ip_of("fd00:2021:1111::4:ee7d");
    memcpy(p->gateways[0].token, "gatewaytoken", 12);
    p->clients_count = 2;
    p->clients[0].id = uuid_of("bc646351-5af6-4e3a-8fe0-1fa8fcd14cbd");
    p->clients[0].tunnel_v4 = ip_of("100.95.136.180");
    p->clients[0].tunnel_v6 = ip_of("fd00:2021:1111::1:d102");
    p->clients[1].id = uuid_of("0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001");
    p->clients[1].tunnel_v4 = ip_of("100.95.136.181");
    p->clients[1].tunnel_v6 = ip_of("fd00:2021:1111::1:d103");
    p->relays_count = 1;
    p->relays[0].id = uuid_of("e0b9561a-a232-465d-8937-ef3524ffd2e4");
    p->relays[0].ipv4 = ip_of("203.0.113.10");
    p->relays[0].ipv6 = ip_of("2001:db8:113::10");
    p->relays[0].port = 3478;
    memcpy(p->relays[0].secret, SECRET, sizeof SECRET);
    p->masquerade_v4 = true;
    p->masquerade_v6 = true;
    add_resource(f, "11111111-1111-4111-8111-111111111111", "*.corp.test", NULL, "Corp");
    p->resources[0].filters_count = 4;
    p->resources[0].filters[0] = (struct sim_filter){SIM_FILTER_TCP, 80, 80};
    p->resources[0].filters[1] = (struct sim_filter){SIM_FILTER_TCP, 5201, 5210};
    p->resources[0].filters[2] = (struct sim_filter){SIM_FILTER_UDP, 0, 65535};
    p->resources[0].filters[3] = (struct sim_filter){SIM_FILTER_ICMP, 0, 65535};
    add_resource(f, "22222222-2222-4222-8222-222222222222", NULL, "10.3.0.0/24", "Net");
    add_resource(f, "33333333-3333-4333-8333-333333333333", NULL, "fd33::/64", "Net6");
}

static struct fixture *start_with(struct sim_portal_config config)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    fill_policy(f);
    uint8_t seed[32] = {3};
    rng_init(&f->rng, seed);
    config.policy = &f->policy;
    config.permit_all = true;
    f->portal = sim_portal_new(&config);
    f->out = sim_outbox_new();
    f->now = (struct clock_pair){{NS_PER_S}, UNIX_S * NS_PER_S};
    f->next_stream = GATEWAY_STREAM_ACCEPTED_BASE;
    assert_int_equal(sim_portal_client_token(f->portal, 0, "clienttoken"), ERR_NONE);
    return f;
}

static struct fixture *start(enum sim_portal_generation generation)
{
    return start_with((struct sim_portal_config){.generation = generation});
}

static void stop(struct fixture *f)
{
    sim_portal_node(f->portal).ops->check(f->portal);
    for (unsigned i = 0; i < PEERS; i++) {
        if (ws_is_live(&f->peers[i].ws)) {
            ws_free(&f->peers[i].ws);
        }
    }
    sim_outbox_free(f->out);
    sim_portal_free(f->portal);
    free(f);
}

/* ---- the peers' side ---- */

static struct peer *peer_of(struct fixture *f, uint32_t stream)
{
    for (unsigned i = 0; i < PEERS; i++) {
        if (f->peers[i].open && f->peers[i].stream == stream) {
            return &f->peers[i];
        }
    }
    return NULL;
}

static void keep_text(struct peer *peer, struct view text)
{
    assert_true(peer->texts_count < TEXTS_MAX);
    if (text.len < TEXT_SIZE) {
        memcpy(peer->texts[peer->texts_count], text.at, text.len);
    }
    peer->texts[peer->texts_count][text.len < TEXT_SIZE ? text.len : 0] = '\0';
    peer->texts_count++;
}

static void receive_websocket(struct peer *peer, struct view bytes)
{
    struct ws_event event;
    ws_feed(&peer->ws, bytes);
    while (ws_poll(&peer->ws, &event)) {
        if (event.kind == WS_TEXT) {
            keep_text(peer, event.text);
        } else {
            peer->close_code = event.failed ? 9999 : event.code;
        }
    }
}

static void receive_lines(struct peer *peer, struct view bytes)
{
    size_t from = 0;
    static char line[TEXT_SIZE];
    size_t len = strlen(line);
    for (; from < bytes.len; from++) {
        if (bytes.at[from] == '\n') {
            keep_text(peer, (struct view){(uint8_t *)line, len});
            len = 0;
        } else {
            assert_true(len + 1 < TEXT_SIZE);
            line[len++] = (char)bytes.at[from];
        }
        line[len] = '\0';
    }
}

static void receive(struct fixture *f, struct peer *peer, struct view bytes)
{
    if (peer->lines) {
        receive_lines(peer, bytes);
        return;
    }
    if (!peer->upgraded) {
        struct http_response response = {0};
        size_t used = 0;
        enum http_verdict verdict =
            http_handle_response(&peer->head, bytes, peer->nonce, UNIX_S, &used, &response);
        if (verdict == HTTP_MALFORMED) {
            peer->status = 1;
            return;
        }
        if (verdict == HTTP_MORE || peer->status != 0) {
            return;
        }
        peer->status = response.status;
        peer->retry_after_s = response.retry_after_s;
        peer->upgraded = response.upgraded;
        if (peer->upgraded) {
            assert_int_equal(ws_init(&peer->ws, WS_CLIENT, &f->rng), ERR_NONE);
        }
        bytes = view_sub(bytes, used, bytes.len - used);
    }
    if (bytes.len > 0 && peer->upgraded) {
        receive_websocket(peer, bytes);
    }
}

/* Carries the portal's outputs to the peers, byte by byte in odd pieces. */
static void carry(struct fixture *f)
{
    for (size_t i = 0; i < sim_outbox_count(f->out); i++) {
        const struct sim_out *out = sim_outbox_at(f->out, i);
        if (out->kind == SIM_OUT_NOTE) {
            assert_true(f->notes_count < 256);
            f->notes[f->notes_count++] = out->note;
            continue;
        }
        struct peer *peer = peer_of(f, out->stream);
        assert_non_null(peer);
        if (out->kind == SIM_OUT_STREAM_SEND) {
            size_t cut = out->bytes.len > 7 ? 7 : 0;
            receive(f, peer, view_sub(out->bytes, 0, cut));
            receive(f, peer, view_sub(out->bytes, cut, out->bytes.len - cut));
        } else {
            peer->closed = out->kind == SIM_OUT_STREAM_CLOSE;
            peer->reset = out->kind == SIM_OUT_STREAM_RESET;
        }
    }
    sim_outbox_clear(f->out);
}

static void feed(struct fixture *f, struct peer *peer, struct view bytes)
{
    struct gateway_stream_event event = {
        .kind = GATEWAY_STREAM_BYTES, .stream = peer->stream, .bytes = bytes};
    sim_portal_handle_stream(f->portal, f->now, &event, f->out);
    carry(f);
}

static struct peer *connect_stream(struct fixture *f, unsigned who)
{
    struct peer *peer = &f->peers[who];
    if (ws_is_live(&peer->ws)) {
        ws_free(&peer->ws);
    }
    memset(peer, 0, sizeof *peer);
    peer->open = true;
    peer->stream = f->next_stream++;
    struct gateway_stream_event event = {
        .kind = GATEWAY_STREAM_ACCEPTED,
        .stream = peer->stream,
        .listener = 443,
        .remote = sock_addr_of(ip_of("198.51.100.9"), 40000),
    };
    sim_portal_handle_stream(f->portal, f->now, &event, f->out);
    return peer;
}

static struct peer *request(struct fixture *f, unsigned who, const char *target,
                            const char *user_agent)
{
    struct peer *peer = connect_stream(f, who);
    uint8_t bytes[2048];
    struct writer w = writer_of((struct span){bytes, sizeof bytes});
    struct http_request_fields fields = {.target = view_text(target),
                                         .host = view_text("portal"),
                                         .user_agent = view_text(user_agent)};
    rng_bytes(&f->rng, fields.nonce, sizeof fields.nonce);
    memcpy(peer->nonce, fields.nonce, sizeof fields.nonce);
    http_put_upgrade_request(&w, &fields);
    struct view all = writer_view(&w);
    feed(f, peer, view_sub(all, 0, 10)); /* in two pieces */
    feed(f, peer, view_sub(all, 10, all.len - 10));
    return peer;
}

static void say(struct fixture *f, struct peer *peer, const char *text)
{
    if (peer->lines) {
        feed(f, peer, view_text(text));
        feed(f, peer, view_text("\n"));
        return;
    }
    assert_int_equal(ws_send_text(&peer->ws, view_text(text)), ERR_NONE);
    uint8_t room[4096];
    size_t len;
    while (ws_wants_drain(&peer->ws) &&
           (len = ws_drain(&peer->ws, (struct span){room, sizeof room})) > 0) {
        feed(f, peer, (struct view){room, len});
    }
}

/* The next text the peer got, NULL when there is none. */
static const char *hear(struct peer *peer)
{
    return peer->texts_read < peer->texts_count ? peer->texts[peer->texts_read++] : NULL;
}

/* The next text has to contain `part`. */
static const char *expect(struct peer *peer, const char *part)
{
    const char *text = hear(peer);
    if (text == NULL || strstr(text, part) == NULL) {
        print_error("expected %s, got %s\n", part, text == NULL ? "nothing" : text);
        fail();
    }
    return text;
}

static void expect_silence(struct peer *peer)
{
    const char *text = hear(peer);
    if (text != NULL) {
        print_error("unexpected: %s\n", text);
        fail();
    }
}

#define GATEWAY_TARGET                                                                             \
    "/gateway/websocket?token=gatewaytoken&external_id=gw-1&name=gw&public_key="                   \
    "yMnKy8zNzs%2FQ0dLT1NXW19jZ2tvc3d7f4OHi4%2BTl5uc%3D"
#define OTHER_TARGET                                                                               \
    "/gateway/websocket?token=gatewaytoken&external_id=gw-1&name=gw&public_key="                   \
    "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA%3D"
#define CLIENT_TARGET                                                                              \
    "/client/websocket?token=clienttoken&external_id=c1&name=vm&public_key="                       \
    "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA%3D"
#define AGENT       "Debian/12.0.0 connlib/1.4.2 (x86_64; 6.1.0)"
#define JOIN(topic) "{\"topic\":\"" topic "\",\"event\":\"phx_join\",\"payload\":null,\"ref\":0}"
#define CREATE(id)                                                                                 \
    "{\"topic\":\"client\",\"event\":\"create_flow\",\"payload\":{\"resource_id\":\"" id           \
    "\",\"connected_gateway_ids\":[]},\"ref\":1}"
#define RES_1 "11111111-1111-4111-8111-111111111111"
#define RES_2 "22222222-2222-4222-8222-222222222222"

/* The peer joins as a gateway, and is served. */
static void join_served(struct fixture *f, struct peer *peer)
{
    say(f, peer, JOIN("gateway"));
    expect(peer, "phx_reply");
    expect(peer, "init");
}

static struct peer *join_gateway(struct fixture *f)
{
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    assert_int_equal(peer->status, 101);
    say(f, peer, JOIN("gateway"));
    expect(peer, "{\"ref\":0,\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":{\"status\":"
                 "\"ok\",\"response\":{}}}");
    expect(peer, "\"event\":\"init\"");
    return peer;
}

static struct peer *join_client(struct fixture *f)
{
    struct peer *peer = request(f, CLIENT, CLIENT_TARGET, AGENT);
    assert_int_equal(peer->status, 101);
    say(f, peer, JOIN("client"));
    expect(peer, "\"status\":\"ok\"");
    expect(peer, "\"event\":\"init\"");
    return peer;
}

/* Copies payload.ref of an authorize_flow. */
static void copy_ref(const char *text, char out[64])
{
    const char *at = strstr(text, "\"payload\":{\"ref\":\"");
    assert_non_null(at);
    at += strlen("\"payload\":{\"ref\":\"");
    size_t len = strcspn(at, "\"");
    assert_true(len < 64);
    memcpy(out, at, len);
    out[len] = '\0';
}

static void answer_flow(struct fixture *f, struct peer *gateway, const char *authorize)
{
    char ref[64];
    char text[256];
    copy_ref(authorize, ref);
    (void)snprintf(text, sizeof text,
                   "{\"topic\":\"gateway\",\"event\":\"flow_authorized\",\"payload\":{\"ref\":\"%s"
                   "\"},\"ref\":7}",
                   ref);
    say(f, gateway, text);
}

static void establish(struct fixture *f, struct peer *gateway, struct peer *client)
{
    say(f, client, CREATE(RES_1));
    const char *authorize = expect(gateway, "\"event\":\"authorize_flow\"");
    answer_flow(f, gateway, authorize);
    expect(gateway, "{\"ref\":7,");
    expect(client, "\"event\":\"flow_created\"");
}

static void pass(struct fixture *f, uint64_t ms)
{
    f->now.boot.ns += ms * NS_PER_MS;
    f->now.unix_ns += ms * NS_PER_MS;
    if (instant_reached(f->now.boot, sim_portal_poll_timeout(f->portal).at)) {
        sim_portal_handle_timeout(f->portal, f->now, f->out);
    }
    assert_false(instant_reached(f->now.boot, sim_portal_poll_timeout(f->portal).at));
    carry(f);
}

static bool noted(const struct fixture *f, enum sim_note_kind kind)
{
    for (uint32_t i = 0; i < f->notes_count; i++) {
        if (f->notes[i].kind == kind) {
            return true;
        }
    }
    return false;
}

/* ---- the recorded sessions: same shapes, same order ---- */

/* Reduces JSON to its keys, order and kinds of values. */
static void skeleton(const char *text, char *out, size_t size)
{
    size_t used = 0;
    for (const char *at = text; *at != '\0'; at++) {
        assert_true(used + 80 < size);
        if (*at == ' ') {
            continue;
        }
        if (*at == '"') {
            size_t len = strcspn(at + 1, "\"");
            const char *end = at + 1 + len;
            bool is_key = end[1] == ':';
            if (is_key) {
                memcpy(out + used, at + 1, len);
                used += len;
            } else {
                out[used++] = 's';
            }
            at = end;
        } else if (*at >= '0' && *at <= '9') {
            at += strspn(at, "0123456789") - 1;
            out[used++] = 'n';
        } else {
            out[used++] = *at;
        }
    }
    out[used] = '\0';
}

/* head: the recording's portal said more than section 10.3 of the specification knows. */
#define REJECT_HEAD "{ref:null,topic:s,event:s,payload:{client_id:s,resource_id:s}}"

static void compare(const char *recorded, const char *ours, bool head)
{
    static char want[8192];
    static char got[8192];
    skeleton(recorded, want, sizeof want);
    skeleton(ours, got, sizeof got);
    if (head && strstr(recorded, "\"reject_access\"") != NULL) {
        memcpy(want, REJECT_HEAD, sizeof REJECT_HEAD);
    }
    assert_string_equal(got, want);
}

static void replace_ref(char *text, size_t size, const char *ref)
{
    char *at = strstr(text, "\"payload\": {\"ref\": \"");
    if (at == NULL) {
        return;
    }
    at += strlen("\"payload\": {\"ref\": \"");
    assert_int_equal(strcspn(at, "\""), strlen(ref));
    assert_true((size_t)(at - text) + strlen(ref) < size);
    memcpy(at, ref, strlen(ref));
}

struct replay {
    struct fixture *f;
    bool head;
    char ref[64];
};

/* The world's part: what the recorded portal did on its own. */
static void act(struct replay *replay, const char *message)
{
    struct fixture *f = replay->f;
    if (strstr(message, "\"resource_updated\"") != NULL) {
        struct sim_resource updated = f->policy.resources[0];
        updated.filters_count = 0;
        assert_int_equal(sim_portal_update_resource(f->portal, f->now, &updated, f->out), ERR_NONE);
        carry(f);
        expect(&f->peers[CLIENT], "resource_created_or_updated");
    } else if (strstr(message, "\"reject_access\"") != NULL) {
        assert_int_equal(sim_portal_reject(f->portal, f->now, 0, 1, f->out), ERR_NONE);
        carry(f);
    }
}

static void replay_connect(struct replay *replay, unsigned who, const char *line)
{
    struct fixture *f = replay->f;
    static char target[1024];
    const char *path = strstr(line, "\"path\": \"") + strlen("\"path\": \"");
    size_t len = strcspn(path, "\"");
    memcpy(target, path, len);
    target[len] = '\0';
    if (replay->head) {
        /* Today's peers put the token into a header, which the request writer does not know. */
        static const char *const tokens[] = {"gatewaytoken", "clienttoken", "relaytoken"};
        (void)snprintf(target + len, sizeof target - len, "&token=%s", tokens[who]);
    }
    const char *agent = strstr(line, "\"user-agent\": \"") + strlen("\"user-agent\": \"");
    static char agent_text[256];
    len = strcspn(agent, "\"");
    memcpy(agent_text, agent, len);
    agent_text[len] = '\0';
    /* The recorded client of the older session says 1.3.8 but speaks 1.4. */
    assert_int_equal(request(f, who, target, agent_text)->status, 101);
}

static void replay_line(struct replay *replay, char *line)
{
    static const char *const kinds[] = {"\"kind\": \"gateway\"", "\"kind\": \"client\"",
                                        "\"kind\": \"relay\""};
    struct fixture *f = replay->f;
    unsigned who = 0;
    while (strstr(line, kinds[who]) == NULL) {
        who++;
    }
    char *message = strstr(line, "\"msg\": ") + strlen("\"msg\": ");
    message[strlen(message) - 1] = '\0'; /* the line's own brace */
    if (strstr(line, "\"dir\": \"connect\"") != NULL) {
        replay_connect(replay, who, message);
    } else if (strstr(line, "\"dir\": \"from\"") != NULL) {
        if (strstr(message, "flow_authorized") != NULL) {
            replace_ref(message, strlen(message), replay->ref);
        }
        say(f, &f->peers[who], message);
    } else {
        act(replay, message);
        const char *ours = hear(&f->peers[who]);
        assert_non_null(ours);
        compare(message, ours, replay->head);
        if (strstr(ours, "\"authorize_flow\"") != NULL) {
            copy_ref(ours, replay->ref);
        }
    }
}

static void replay_session(const char *path, enum sim_portal_generation generation)
{
    size_t len;
    char *text = support_read_file(path, &len);
    assert_non_null(text);
    struct replay replay = {.f = start(generation), .head = generation == SIM_PORTAL_HEAD};
    if (replay.head) {
        struct sim_policy *p = &replay.f->policy;
        p->gateways[0].id = uuid_of("68988cdb-43a6-4ef8-8095-7469501a1430");
        p->clients[0].id = uuid_of("0b5e4487-c53c-4cfe-875c-2b8bd507b466");
    }
    unsigned lines = 0;
    for (char *line = text; *line != '\0'; lines++) {
        size_t size = strcspn(line, "\n");
        bool last = line[size] == '\0';
        line[size] = '\0';
        if (size > 0) {
            replay_line(&replay, line);
        }
        line += last ? size : size + 1;
    }
    assert_true(lines > 30);
    for (unsigned i = 0; i < 3; i++) {
        expect_silence(&replay.f->peers[i]); /* and nothing else was said */
    }
    assert_int_equal(sim_portal_counters(replay.f->portal)->unknown_events, 0);
    assert_int_equal(sim_portal_counters(replay.f->portal)->undeliverable, 0);
    stop(replay.f);
    free(text);
}

static void test_the_recorded_session_of_2024_has_the_same_shapes(void **state)
{
    (void)state;
    replay_session("tests/vectors/recorded/base/portal.jsonl", SIM_PORTAL_V142);
}

static void test_the_recorded_session_of_today_has_the_same_shapes(void **state)
{
    (void)state;
    replay_session("tests/vectors/recorded/head/portal.jsonl", SIM_PORTAL_HEAD);
}

/* ---- upgrade ---- */

static void test_upgrade_refusals_by_generation(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        const char *agent;
        uint16_t v142;
        uint16_t head;
    } rows[] = {
        {GATEWAY_TARGET, AGENT, 101, 101},
        {"/gateway/websocket?external_id=gw-1", AGENT, 401, 401},
        {"/gateway/websocket?token=wrong&external_id=gw-1", AGENT, 401, 401},
        {"/gateway/websocket?token=gatewaytoken&external_id=gw-1", AGENT, 422, 400},
        {GATEWAY_TARGET, "curl/8", 422, 101},
        {"/nowhere/websocket?token=gatewaytoken", AGENT, 404, 404},
        {"/client/websocket?token=nobody", AGENT, 401, 401},
        {CLIENT_TARGET, AGENT, 101, 101},
        {"/relay/websocket?token=x&port=3478", AGENT, 422, 400},
        {"/relay/websocket?token=x&ipv4=203.0.113.10&port=3478", AGENT, 101, 101},
    };
    for (unsigned head = 0; head < 2; head++) {
        for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            struct fixture *f = start(head == 0 ? SIM_PORTAL_V142 : SIM_PORTAL_HEAD);
            struct peer *peer = request(f, GATEWAY, rows[i].target, rows[i].agent);
            assert_int_equal(peer->status, head == 0 ? rows[i].v142 : rows[i].head);
            assert_int_equal(peer->closed, peer->status != 101);
            stop(f);
        }
    }
}

static void test_garbage_instead_of_http_is_answered_and_closed(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *peer = connect_stream(f, GATEWAY);
    feed(f, peer, view_text("\x16\x03\x01 hello\r\n\r\n"));
    assert_true(peer->closed);
    stop(f);
}

static void test_http_faults_count_down_and_carry_retry_after(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    struct sim_portal_faults *faults = sim_portal_faults(f->portal);
    faults->http_status = 503;
    faults->http_count = 2;
    faults->http_retry_after_s = 17;
    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
        assert_int_equal(peer->status, 503);
        assert_int_equal(peer->retry_after_s, 17);
    }
    assert_int_equal(request(f, GATEWAY, GATEWAY_TARGET, AGENT)->status, 101);
    faults->http_garbage = true;
    assert_int_equal(request(f, GATEWAY, GATEWAY_TARGET, AGENT)->status, 1);
    faults->http_garbage = false;
    faults->ignore_upgrades = true;
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    assert_int_equal(peer->status, 0);
    assert_false(peer->closed);
    stop(f);
}

static void test_head_refuses_a_second_connection_v142_serves_both(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    join_gateway(f);
    assert_int_equal(request(f, GATEWAY_2, GATEWAY_TARGET, AGENT)->status, 409);
    stop(f);
    f = start(SIM_PORTAL_V142);
    struct peer *first = join_gateway(f);
    struct peer *second = request(f, GATEWAY_2, GATEWAY_TARGET, AGENT);
    join_served(f, second);
    struct peer *client = join_client(f);
    say(f, client, CREATE(RES_1));
    expect(first, "authorize_flow");
    expect(second, "authorize_flow");
    stop(f);
}

static uint32_t noted_on(const struct fixture *f, enum sim_note_kind kind, const struct peer *peer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->notes_count; i++) {
        count += f->notes[i].kind == kind && f->notes[i].stream == peer->stream ? 1 : 0;
    }
    return count;
}

/* Of two processes with one identity each is noted by itself, and the client hears of either's own
 * key, with one pair of credentials. */
static void test_two_processes_are_told_and_noted_apart(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *first = join_gateway(f);
    struct peer *second = request(f, GATEWAY_2, OTHER_TARGET, AGENT);
    join_served(f, second);
    assert_int_equal(noted_on(f, SIM_NOTE_INIT, first), 1);
    assert_int_equal(noted_on(f, SIM_NOTE_INIT, second), 1);
    struct peer *client = join_client(f);
    say(f, client, CREATE(RES_1));
    assert_int_equal(noted_on(f, SIM_NOTE_GRANT, first), 1);
    assert_int_equal(noted_on(f, SIM_NOTE_GRANT, second), 1);
    answer_flow(f, first, expect(first, "authorize_flow"));
    const char *of_first = expect(client, "yMnKy8zNzs/Q0dLT1NXW19jZ2tvc3d7f4OHi4+Tl5uc=");
    answer_flow(f, second, expect(second, "authorize_flow"));
    const char *of_second = expect(client, "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=");
    const char *ice = "\"gateway_ice_credentials\"";
    assert_non_null(strstr(of_first, ice));
    assert_memory_equal(strstr(of_first, ice), strstr(of_second, ice), 80);
    stop(f);
}

/* Both got past the upgrade before either joined: the later one is told that its token has expired.
 */
static void test_head_sends_the_later_of_two_away(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    struct peer *first = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    struct peer *second = request(f, GATEWAY_2, OTHER_TARGET, AGENT);
    assert_int_equal(second->status, 101);
    join_served(f, first);
    say(f, second, JOIN("gateway"));
    expect(second, "phx_reply");
    expect(second, "\"event\":\"disconnect\",\"payload\":{\"reason\":\"token_expired\"}");
    assert_int_equal(noted_on(f, SIM_NOTE_SENT_AWAY, second), 1);
    assert_true(second->closed);
    expect_silence(first);
    stop(f);
}

static void test_an_invalid_token_is_401_until_it_is_valid_again(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    assert_int_equal(sim_portal_token_valid(f->portal, 0, false), ERR_NONE);
    assert_int_equal(request(f, GATEWAY, GATEWAY_TARGET, AGENT)->status, 401);
    assert_int_equal(sim_portal_token_valid(f->portal, 0, true), ERR_NONE);
    assert_int_equal(request(f, GATEWAY, GATEWAY_TARGET, AGENT)->status, 101);
    stop(f);
}

static void test_a_gateway_is_known_by_the_hash_of_its_id(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    f->policy.gateways_count = 2;
    f->policy.gateways[1] = f->policy.gateways[0];
    f->policy.gateways[1].id = uuid_of("c4d5e6f7-0819-4a2b-8c3d-4e5f60718293");
    memcpy(f->policy.gateways[0].firezone_id, "other", 6);
    memcpy(f->policy.gateways[1].firezone_id, "my-gateway", 11);
    struct peer *peer =
        request(f, GATEWAY,
                "/gateway/websocket?token=gatewaytoken&external_id="
                "6632e849d9fadd4a8ba782871514c58531c84ebe88ceafa62e18a69ec53a1048&name=x&"
                "public_key=yMnKy8zNzs%2FQ0dLT1NXW19jZ2tvc3d7f4OHi4%2BTl5uc%3D",
                AGENT);
    say(f, peer, JOIN("gateway"));
    assert_true(sim_portal_gateway_online(f->portal, 1));
    assert_false(sim_portal_gateway_online(f->portal, 0));
    stop(f);
}

/* ---- channel ---- */

static void test_heartbeats_are_answered_before_and_after_the_join(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    const char *beat = "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":12}";
    say(f, peer, beat);
    assert_string_equal(hear(peer),
                        "{\"ref\":12,\"topic\":\"phoenix\",\"event\":\"phx_reply\",\"payload\":{"
                        "\"status\":\"ok\",\"response\":{}}}");
    sim_portal_faults(f->portal)->ignore_heartbeats = true;
    say(f, peer, beat);
    expect_silence(peer);
    stop(f);
}

static void test_unjoined_messages_get_unmatched_topic(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    say(f, peer,
        "{\"topic\":\"gateway\",\"event\":\"flow_authorized\",\"payload\":{\"ref\":\"x\"},\"ref\":"
        "3}");
    expect(peer, "{\"ref\":3,\"topic\":\"gateway\",\"event\":\"phx_reply\",\"payload\":{\"status\":"
                 "\"error\",\"response\":{\"reason\":\"unmatched topic\"}}}");
    say(f, peer, "{\"topic\":\"nonsense\",\"event\":\"phx_join\",\"payload\":null,\"ref\":4}");
    expect(peer, "unmatched topic");
    stop(f);
}

static void test_unknown_events_crash_the_channel_or_are_answered(void **state)
{
    (void)state;
    const char *unknown =
        "{\"topic\":\"gateway\",\"event\":\"no_relays_please\",\"payload\":{},\"ref\":5}";
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *peer = join_gateway(f);
    say(f, peer, unknown);
    assert_string_equal(hear(peer), "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"phx_error\","
                                    "\"payload\":{}}");
    assert_true(noted(f, SIM_NOTE_VIOLATION));
    assert_false(sim_portal_gateway_online(f->portal, 0));
    assert_false(peer->closed);
    say(f, peer, unknown);
    expect(peer, "unmatched topic");
    join_served(f, peer); /* a join revives it */
    stop(f);
    f = start(SIM_PORTAL_HEAD);
    peer = join_gateway(f);
    say(f, peer, unknown);
    expect(peer, "\"reason\":\"unknown_message\"");
    say(f, peer, "{\"topic\":\"gateway\",\"event\":\"no_relays\",\"payload\":{},\"ref\":6}");
    expect(peer, "\"event\":\"relays_presence\",\"payload\":{\"disconnected_ids\":[],"
                 "\"connected\":[{\"id\"");
    stop(f);
}

static void test_bad_envelopes_end_the_socket_with_1011(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}", "[]", "x", "{\"topic\":\"gateway\",\"event\":\"phx_join\",\"payload\":null}"};
    for (unsigned i = 0; i < 4; i++) {
        struct fixture *f = start(SIM_PORTAL_V142);
        struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
        say(f, peer, texts[i]);
        assert_int_equal(peer->close_code, 1011);
        assert_true(peer->closed);
        stop(f);
    }
}

static void test_join_faults(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct sim_portal_faults *faults = sim_portal_faults(f->portal);
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    faults->ignore_joins = true;
    say(f, peer, JOIN("gateway"));
    expect_silence(peer);
    faults->ignore_joins = false;
    faults->refuse_joins = "invalid_version";
    say(f, peer, JOIN("gateway"));
    expect(peer, "\"reason\":\"invalid_version\"");
    faults->refuse_joins = NULL;
    say(f, peer, JOIN("gateway"));
    expect(peer, "\"ok\"");
    expect(peer, "init");
    say(f, peer, JOIN("gateway"));
    expect(peer, "phx_close");
    expect(peer, "\"ok\"");
    expect(peer, "init");
    stop(f);
}

static void test_silent_peers_are_closed_after_37_s(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *peer = join_gateway(f);
    pass(f, 36999);
    assert_false(peer->closed);
    say(f, peer, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":1}");
    pass(f, 36999);
    assert_false(peer->closed);
    pass(f, 1);
    assert_int_equal(peer->close_code, 1000);
    assert_true(peer->closed);
    assert_true(noted(f, SIM_NOTE_GATEWAY_LOST));
    assert_false(sim_portal_gateway_online(f->portal, 0));
    stop(f);
}

/* ---- credentials ---- */

static void test_head_relay_credentials_are_those_of_the_vector(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    say(f, peer, JOIN("gateway"));
    expect(peer, "phx_reply");
    expect(peer, "\"addr\":\"203.0.113.10:3478\",\"username\":\"2145916800:mUcFP7WPbmu09l3Z2NB82b"
                 "disRPDj3jwGcaptH5tVD8\",\"password\":\"qy/GWIXRncOX3sXpmQr6J9+izQlsRQgWxVIbWsR"
                 "Nhjg\",\"expires_at\":2145916800}");
    stop(f);
}

static void test_v142_relay_credentials_are_fresh_and_right(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    say(f, peer, JOIN("gateway"));
    expect(peer, "phx_reply");
    const char *init = expect(peer, "init");
    struct json_doc doc;
    assert_int_equal(json_parse(&doc, view_text(init)), DROP_NONE);
    const struct json_value *relays = json_get(json_get(doc.root, "payload"), "relays");
    assert_int_equal(json_count(relays), 2);
    struct view names[2];
    unsigned i = 0;
    for (const struct json_value *entry = json_first(relays); entry != NULL;
         entry = json_next(entry)) {
        struct view password;
        uint64_t expires_s;
        char right[PORTAL_TURN_PASSWORD_SIZE];
        assert_true(json_get_text(entry, "username", &names[i]));
        assert_true(json_get_text(entry, "password", &password));
        assert_true(json_get_u64(entry, "expires_at", &expires_s));
        assert_int_equal(expires_s, UNIX_S + 14 * 86400);
        assert_int_equal(names[i].len, 10 + 1 + 22);
        portal_credentials_turn_password(expires_s, view_text(SECRET), view_sub(names[i], 11, 22),
                                         right);
        assert_memory_equal(password.at, right, sizeof right);
        i++;
    }
    assert_false(view_equal(names[0], names[1]));
    json_free(&doc);
    stop(f);
}

static void test_coturn_passwords_are_hmac_sha1_of_the_user_name(void **state)
{
    (void)state;
    struct fixture *f = start_with((struct sim_portal_config){.generation = SIM_PORTAL_HEAD,
                                                              .credentials = SIM_PORTAL_COTURN});
    struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    say(f, peer, JOIN("gateway"));
    expect(peer, "phx_reply");
    /* base64(HMAC-SHA1(secret, username)) computed with another implementation. */
    const char *init = expect(peer, "\"password\":\"");
    const char *at = strstr(init, "\"password\":\"") + 12;
    assert_int_equal(strcspn(at, "\""), 28);
    assert_int_equal(at[27], '=');
    assert_memory_equal(at, "Ot0OfrZ+aLyZc/IXlZ+4KCYjH/4=", 28);
    stop(f);
}

static void test_flow_secrets_follow_the_vectors(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    f->policy.clients[0].id = uuid_of("0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001");
    f->policy.gateways[0].id = uuid_of("c4d5e6f7-0819-4a2b-8c3d-4e5f60718293");
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    say(f, client, CREATE(RES_1));
    const char *first =
        expect(gateway, "\"gateway_ice_credentials\":{\"username\":\"biq5\",\"password\":"
                        "\"dikv3r4zazktilgi4kak2a\"}");
    assert_non_null(strstr(first, "\"client_ice_credentials\":{\"username\":\"exet\",\"password\":"
                                  "\"4isq5s5b5m7g5sp3ybjcfg\"},\"expires_at\":null"));
    say(f, client, CREATE(RES_1));
    const char *second = expect(gateway, "authorize_flow");
    const char *psk = "\"preshared_key\":\"";
    assert_memory_not_equal(strstr(first, psk), strstr(second, psk), 60); /* fresh every time */
    stop(f);
}

static void test_head_preshared_keys_are_stable_and_expiry_is_a_number(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    say(f, client, CREATE(RES_1));
    const char *first = expect(gateway, "\"use_iceless\":false");
    assert_null(strstr(first, "flow_id"));
    assert_non_null(strstr(first, "\"expires_at\":1738281600"));
    say(f, client, CREATE(RES_2));
    const char *second = expect(gateway, "authorize_flow");
    const char *psk = "\"preshared_key\":\"";
    assert_memory_equal(strstr(first, psk), strstr(second, psk), 60);
    stop(f);
}

/* ---- flows ---- */

static void test_a_flow_goes_from_client_to_gateway_and_back(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    establish(f, gateway, client);
    assert_true(noted(f, SIM_NOTE_GRANT));
    say(f, client,
        "{\"topic\":\"client\",\"event\":\"broadcast_ice_candidates\",\"payload\":{\"gateway_ids\":"
        "[\"c0605277-15df-4fb7-82ee-e3ddedd61334\"],\"candidates\":[\"candidate:1\"]},\"ref\":2}");
    assert_string_equal(hear(gateway),
                        "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"ice_candidates\","
                        "\"payload\":{\"client_id\":\"bc646351-5af6-4e3a-8fe0-1fa8fcd14cbd\","
                        "\"candidates\":[\"candidate:1\"]}}");
    say(f, gateway,
        "{\"topic\":\"gateway\",\"event\":\"broadcast_invalidated_ice_candidates\",\"payload\":{"
        "\"client_ids\":[\"bc646351-5af6-4e3a-8fe0-1fa8fcd14cbd\"],\"candidates\":[\"c\"]},"
        "\"ref\":9}");
    expect(client, "\"event\":\"invalidate_ice_candidates\",\"payload\":{\"gateway_id\":");
    expect_silence(gateway); /* broadcasts are never answered */
    say(f, gateway,
        "{\"topic\":\"gateway\",\"event\":\"flow_authorized\",\"payload\":{\"ref\":\"no\"},"
        "\"ref\":10}");
    expect(gateway, "invalid_ref");
    stop(f);
}

static void test_refused_requests_say_why(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *client = join_client(f);
    say(f, client, CREATE(RES_1));
    expect(client, "\"event\":\"flow_creation_failed\",\"payload\":{\"resource_id\":\"" RES_1
                   "\",\"reason\":\"offline\"}");
    join_gateway(f);
    say(f, client, CREATE("99999999-1111-4111-8111-111111111111"));
    expect(client, "\"reason\":\"not_found\"");
    struct sim_grant grant = {.client = f->policy.clients[0].id,
                              .resource = f->policy.resources[0].id,
                              .expires_unix_s = UNIX_S + 10};
    assert_int_equal(sim_portal_grant(f->portal, f->now, &grant, f->out), ERR_NONE);
    carry(f);
    pass(f, 10000);
    say(f, client, CREATE(RES_1));
    expect(client, "\"reason\":\"forbidden\"");
    stop(f);
}

static void test_versions_gate_who_serves_whom(void **state)
{
    (void)state;
    static const struct {
        enum sim_portal_generation generation;
        const char *gateway;
        const char *client;
        const char *outcome; /* NULL: served */
    } rows[] = {
        {SIM_PORTAL_V142, "x connlib/1.4.0", "x connlib/1.4.0", NULL},
        {SIM_PORTAL_V142, "x connlib/1.3.9", "x connlib/1.4.0", "offline"},
        {SIM_PORTAL_V142, "x connlib/1.3.9", "x connlib/1.3.0", NULL},
        {SIM_PORTAL_V142, "x connlib/1.0.9", "x connlib/1.3.0", "offline"},
        {SIM_PORTAL_HEAD, "x connlib/1.5.2", "x headless-client/1.5.8", NULL},
        {SIM_PORTAL_HEAD, "x gateway/1.4.0", "x headless-client/1.5.8", NULL},
        {SIM_PORTAL_HEAD, "x gateway/1.6.1", "x headless-client/1.5.8", NULL},
        {SIM_PORTAL_HEAD, "x gateway/1.7.0", "x headless-client/1.5.8", "version_mismatch"},
        {SIM_PORTAL_HEAD, "x gateway/1.3.9", "x headless-client/1.5.8", "version_mismatch"},
        {SIM_PORTAL_HEAD, "x", "x headless-client/1.5.8", "version_mismatch"},
        {SIM_PORTAL_HEAD, "x", "x", NULL},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture *f = start(rows[i].generation);
        struct peer *gateway = request(f, GATEWAY, GATEWAY_TARGET, rows[i].gateway);
        say(f, gateway, JOIN("gateway"));
        expect(gateway, "ok");
        expect(gateway, "init");
        struct peer *client = request(f, CLIENT, CLIENT_TARGET, rows[i].client);
        say(f, client, JOIN("client"));
        expect(client, "ok");
        expect(client, "init");
        say(f, client, CREATE(RES_1));
        if (rows[i].outcome == NULL) {
            expect(gateway, "authorize_flow");
        } else {
            expect(client, rows[i].outcome);
        }
        stop(f);
    }
}

static void test_head_says_offline_after_15_s_and_ignores_late_answers(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    say(f, client, CREATE(RES_1));
    const char *authorize = expect(gateway, "authorize_flow");
    pass(f, 14999);
    expect_silence(client);
    pass(f, 1);
    expect(client, "\"reason\":\"offline\"");
    answer_flow(f, gateway, authorize);
    expect(gateway, "\"ok\"");
    expect_silence(client);
    assert_int_equal(sim_portal_counters(f->portal)->late_answers, 1);
    stop(f);
}

static void test_revocation_reaches_gateway_and_client_once(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    establish(f, gateway, client);
    establish(f, gateway, client);
    assert_int_equal(sim_portal_revoke(f->portal, f->now, 0, 0, f->out), ERR_NONE);
    carry(f);
    expect(gateway, "\"event\":\"reject_access\",\"payload\":{\"flow_id\":");
    expect_silence(gateway);
    assert_string_equal(hear(client),
                        "{\"ref\":null,\"topic\":\"client\",\"event\":\"resource_deleted\","
                        "\"payload\":\"" RES_1 "\"}");
    assert_true(noted(f, SIM_NOTE_REVOKE));
    say(f, client, CREATE(RES_1));
    expect(client, "not_found");
    struct sim_grant grant = {.client = f->policy.clients[0].id,
                              .resource = f->policy.resources[0].id};
    assert_int_equal(sim_portal_grant(f->portal, f->now, &grant, f->out), ERR_NONE);
    carry(f);
    expect(client, "resource_created_or_updated");
    establish(f, gateway, client);
    stop(f);
}

static void test_v142_forgets_flows_when_the_gateway_reconnects_head_does_not(void **state)
{
    (void)state;
    for (unsigned head = 0; head < 2; head++) {
        struct fixture *f = start(head == 0 ? SIM_PORTAL_V142 : SIM_PORTAL_HEAD);
        struct peer *gateway = join_gateway(f);
        struct peer *client = join_client(f);
        establish(f, gateway, client);
        assert_int_equal(
            sim_portal_disconnect_gateway(f->portal, f->now, 0, SIM_PORTAL_CLOSE_1012, f->out),
            ERR_NONE);
        carry(f);
        assert_int_equal(gateway->close_code, 1012);
        gateway = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
        say(f, gateway, JOIN("gateway"));
        expect(gateway, "ok");
        const char *init = expect(gateway, "init");
        const char *listed = "\"authorizations\":[{\"client_id\":\"bc646351-5af6-4e3a-8fe0-"
                             "1fa8fcd14cbd\",\"resource_id\":\"" RES_1 "\",\"expires_at\":";
        assert_int_equal(strstr(init, listed) != NULL, head == 1);
        assert_int_equal(sim_portal_reject(f->portal, f->now, 0, 0, f->out), ERR_NONE);
        carry(f);
        if (head == 1) {
            expect(gateway, "reject_access");
        }
        expect_silence(gateway);
        stop(f);
    }
}

static void test_changes_of_a_resource(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    struct sim_resource row = f->policy.resources[0];
    row.filters_count = 1;
    assert_int_equal(sim_portal_update_resource(f->portal, f->now, &row, f->out), ERR_NONE);
    carry(f);
    expect_silence(gateway); /* nobody has it there */
    expect(client, "resource_created_or_updated");
    establish(f, gateway, client);
    row.filters_count = 0;
    assert_int_equal(sim_portal_update_resource(f->portal, f->now, &row, f->out), ERR_NONE);
    carry(f);
    assert_string_equal(hear(gateway),
                        "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"resource_updated\","
                        "\"payload\":{\"id\":\"" RES_1 "\",\"type\":\"dns\",\"address\":"
                        "\"*.corp.test\",\"name\":\"Corp\",\"filters\":[]}}");
    expect(client, "resource_created_or_updated");
    memcpy(row.pattern, "*.corp2.test", 13);
    assert_int_equal(sim_portal_update_resource(f->portal, f->now, &row, f->out), ERR_NONE);
    carry(f);
    expect(gateway, "\"event\":\"reject_access\",\"payload\":{\"client_id\"");
    expect(client, "*.corp2.test");
    assert_int_equal(sim_portal_remove_resource(f->portal, f->now, 0, f->out), ERR_NONE);
    carry(f);
    expect(client, "resource_deleted");
    say(f, client, CREATE(RES_1));
    expect(client, "not_found");
    assert_int_equal(sim_portal_add_resource(f->portal, f->now, &row, f->out), ERR_NONE);
    assert_int_equal(sim_portal_add_resource(f->portal, f->now, &row, f->out), ERR_EXISTS);
    carry(f);
    expect(client, "resource_created_or_updated");
    stop(f);
}

static void test_the_flow_table_is_bounded(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    for (unsigned i = 0; i < SIM_PORTAL_FLOWS_MAX; i++) {
        say(f, client, CREATE(RES_1));
        expect(gateway, "authorize_flow");
        gateway->texts_count = 0;
        gateway->texts_read = 0;
        f->notes_count = 0;
    }
    say(f, client, CREATE(RES_1));
    expect(client, "\"reason\":\"offline\"");
    assert_int_equal(sim_portal_reject(f->portal, f->now, 0, 0, f->out), ERR_NONE);
    carry(f);
    expect(gateway, "reject_access");
    expect_silence(gateway);
    say(f, client, CREATE(RES_1));
    expect(gateway, "authorize_flow");
    stop(f);
}

static void test_old_clients_are_served(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *gateway = join_gateway(f);
    struct peer *client = join_client(f);
    say(f, client,
        "{\"topic\":\"client\",\"event\":\"prepare_connection\",\"payload\":{\"resource_id\":"
        "\"" RES_1 "\",\"connected_gateway_ids\":[]},\"ref\":4}");
    expect(client, "\"response\":{\"relays\":[{\"id\"");
    say(f, client,
        "{\"topic\":\"client\",\"event\":\"request_connection\",\"payload\":{\"resource_id\":"
        "\"" RES_1 "\",\"gateway_id\":\"c0605277-15df-4fb7-82ee-e3ddedd61334\","
        "\"client_payload\":{\"ice_parameters\":{\"username\":\"u\",\"password\":\"p\"},"
        "\"domain\":{\"name\":\"a.corp.test\",\"proxy_ips\":[\"100.96.0.1\"]}},"
        "\"client_preshared_key\":\"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\"},\"ref\":5}");
    const char *asked =
        expect(gateway, "\"payload\":{\"ice_parameters\":{\"username\":\"u\",\"password\":\"p\"},"
                        "\"domain\":{\"name\":\"a.corp.test\",\"proxy_ips\":[\"100.96.0.1\"]}},"
                        "\"peer\":{\"ipv4\":\"100.95.136.180\"");
    char ref[64];
    char text[512];
    copy_ref(asked, ref);
    (void)snprintf(text, sizeof text,
                   "{\"topic\":\"gateway\",\"event\":\"connection_ready\",\"payload\":{\"ref\":"
                   "\"%s\",\"gateway_payload\":{\"ConnectionAccepted\":{\"ice_parameters\":{"
                   "\"username\":\"gu\",\"password\":\"gp\"}}}},\"ref\":10}",
                   ref);
    say(f, gateway, text);
    expect(gateway, "{\"ref\":10,");
    expect(client, "{\"ref\":5,\"topic\":\"client\",\"event\":\"phx_reply\",\"payload\":{"
                   "\"status\":\"ok\",\"response\":{\"resource_id\":\"" RES_1 "\","
                   "\"persistent_keepalive\":25,\"gateway_public_key\":");
    say(f, client,
        "{\"topic\":\"client\",\"event\":\"reuse_connection\",\"payload\":{\"resource_id\":"
        "\"" RES_2 "\",\"gateway_id\":\"c0605277-15df-4fb7-82ee-e3ddedd61334\",\"payload\":null},"
        "\"ref\":6}");
    expect(gateway, "\"event\":\"allow_access\"");
    expect_silence(client);
    stop(f);
}

/* ---- relays ---- */

static void test_relay_presence_is_immediate_in_v142(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *gateway = join_gateway(f);
    assert_int_equal(sim_portal_remove_relay(f->portal, f->now, 0, f->out), ERR_NONE);
    carry(f);
    assert_string_equal(hear(gateway),
                        "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"relays_presence\","
                        "\"payload\":{\"disconnected_ids\":[\"e0b9561a-a232-465d-8937-"
                        "ef3524ffd2e4\"],\"connected\":[]}}");
    struct peer *relay =
        request(f, RELAY, "/relay/websocket?token=r&ipv4=203.0.113.11&port=3478", "relay/0.1.0");
    say(f, relay,
        "{\"topic\":\"relay\",\"event\":\"phx_join\",\"payload\":{\"stamp_secret\":\"abc\"},"
        "\"ref\":0}");
    expect(relay, "ok");
    expect(relay, "{\"ref\":null,\"topic\":\"relay\",\"event\":\"init\",\"payload\":{}}");
    expect(gateway, "\"disconnected_ids\":[],\"connected\":[{\"id\"");
    assert_int_equal(sim_portal_restore_relay(f->portal, f->now, 0, f->out), ERR_NONE);
    carry(f);
    expect_silence(gateway); /* it has one */
    struct gateway_stream_event gone = {.kind = GATEWAY_STREAM_CLOSED, .stream = relay->stream};
    sim_portal_handle_stream(f->portal, f->now, &gone, f->out);
    carry(f);
    expect(gateway, "\"connected\":[{\"id\":\"e0b9561a");
    stop(f);
}

static void test_relay_presence_is_debounced_in_head(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_HEAD);
    struct peer *gateway = join_gateway(f);
    assert_int_equal(sim_portal_remove_relay(f->portal, f->now, 0, f->out), ERR_NONE);
    pass(f, 999);
    expect_silence(gateway);
    assert_int_equal(sim_portal_replace_relay(f->portal, f->now, 0, "new secret", f->out),
                     ERR_NONE);
    pass(f, 999);
    expect_silence(gateway);
    pass(f, 1);
    const char *text = expect(gateway, "\"disconnected_ids\":[\"e0b9561a-a232-465d-8937-"
                                       "ef3524ffd2e4\"],\"connected\":[{\"id\"");
    assert_null(strstr(strstr(text, "connected\":["), "\"id\":\"e0b9561a")); /* a new id */
    expect_silence(gateway);
    stop(f);
}

static void test_at_most_two_relays_are_given(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    for (unsigned i = 1; i < SIM_RELAYS_MAX; i++) {
        char target[128];
        (void)snprintf(target, sizeof target,
                       "/relay/websocket?token=r&ipv4=203.0.113.%u&port=3478", 20 + i);
        struct peer *relay = request(f, RELAY, target, "relay/0.1.0");
        say(f, relay,
            "{\"topic\":\"relay\",\"event\":\"phx_join\",\"payload\":{\"stamp_secret\":\"abc\"},"
            "\"ref\":0}");
        f->peers[5] = f->peers[RELAY]; /* the connection stays */
        memset(&f->peers[RELAY], 0, sizeof f->peers[RELAY]);
        if (ws_is_live(&f->peers[5].ws)) {
            ws_free(&f->peers[5].ws);
        }
        f->peers[5].open = false;
    }
    struct peer *gateway = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    say(f, gateway, JOIN("gateway"));
    expect(gateway, "ok");
    const char *init = expect(gateway, "init");
    unsigned ids = 0;
    char last[64] = "";
    for (const char *at = init; (at = strstr(at, "{\"id\":\"")) != NULL; at += 7) {
        ids += strncmp(at, last, 43) != 0; /* two addresses of one relay stand together */
        memcpy(last, at, 43);
    }
    assert_int_equal(ids, 2);
    stop(f);
}

/* ---- misbehaviour ---- */

static void test_every_kind_of_end(void **state)
{
    (void)state;
    for (unsigned end = 0; end < SIM_PORTAL_END_COUNT; end++) {
        struct fixture *f = start(SIM_PORTAL_V142);
        struct peer *gateway = join_gateway(f);
        assert_int_equal(
            sim_portal_disconnect_gateway(f->portal, f->now, 0, (enum sim_portal_end)end, f->out),
            ERR_NONE);
        carry(f);
        static const uint16_t codes[] = {1000, 1002, 1011, 1012};
        if (end <= SIM_PORTAL_CLOSE_1012) {
            assert_int_equal(gateway->close_code, codes[end]);
        }
        if (end == SIM_PORTAL_TOKEN_EXPIRED) {
            expect(gateway, "{\"ref\":null,\"topic\":\"gateway\",\"event\":\"disconnect\","
                            "\"payload\":{\"reason\":\"token_expired\"}}");
            assert_int_equal(gateway->close_code, 1000);
        }
        if (end == SIM_PORTAL_PHX_ERROR || end == SIM_PORTAL_PHX_CLOSE) {
            expect(gateway, end == SIM_PORTAL_PHX_ERROR ? "phx_error" : "phx_close");
            say(f, gateway, JOIN("gateway"));
            expect(gateway, "ok");
        }
        if (end == SIM_PORTAL_SILENT) {
            say(f, gateway, JOIN("gateway"));
            expect_silence(gateway);
            assert_false(gateway->closed);
            pass(f, 100000);
        }
        assert_int_equal(gateway->reset, end == SIM_PORTAL_RESET);
        assert_true(noted(f, SIM_NOTE_GATEWAY_LOST));
        stop(f);
    }
}

static void test_misbehaviour_keeps_or_breaks_the_websocket_as_announced(void **state)
{
    (void)state;
    for (unsigned wrong = 0; wrong < SIM_PORTAL_WRONG_COUNT; wrong++) {
        struct fixture *f = start(SIM_PORTAL_HEAD);
        assert_int_equal(
            sim_portal_misbehave(f->portal, f->now, 0, (enum sim_portal_wrong)wrong, f->out),
            ERR_STATE);
        struct peer *gateway = join_gateway(f);
        assert_int_equal(
            sim_portal_misbehave(f->portal, f->now, 0, (enum sim_portal_wrong)wrong, f->out),
            ERR_NONE);
        assert_true(sim_outbox_count(f->out) > 0);
        carry(f);
        bool breaks = wrong == SIM_PORTAL_BROKEN_UTF8 || wrong == SIM_PORTAL_BAD_FRAME;
        assert_int_equal(gateway->close_code, breaks ? 9999 : 0);
        bool text = !breaks && wrong != SIM_PORTAL_BINARY && wrong != SIM_PORTAL_PING &&
                    wrong != SIM_PORTAL_PING_FLOOD;
        assert_int_equal(hear(gateway) != NULL, text);
        stop(f);
    }
}

static void test_faults_on_pushes(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct sim_portal_faults *faults = sim_portal_faults(f->portal);
    faults->fragment_size = 5;
    faults->fragment_pings = true;
    struct peer *gateway = join_gateway(f); /* reassembled by the peer */
    struct peer *client = join_client(f);
    faults->duplicate_pushes = true;
    faults->unknown_fields = true;
    say(f, client, CREATE(RES_1));
    const char *first = expect(gateway, "added_in_a_later_release");
    assert_string_equal(hear(gateway), first);
    faults->duplicate_pushes = false;
    faults->unknown_fields = false;
    faults->delay = DURATION_MS(300);
    f->notes_count = 0;
    say(f, client, CREATE(RES_2));
    expect_silence(gateway);
    assert_false(noted(f, SIM_NOTE_GRANT));
    pass(f, 299);
    expect_silence(gateway);
    pass(f, 1);
    expect(gateway, "authorize_flow");
    assert_true(noted(f, SIM_NOTE_GRANT)); /* not before the message itself */
    faults->delay = DURATION_ZERO;
    faults->no_relays = true;
    assert_int_equal(sim_portal_announce_relays(f->portal, f->now, 0, f->out), ERR_NONE);
    carry(f);
    expect(gateway, "\"connected\":[]");
    faults->deaf = true;
    say(f, gateway, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":1}");
    expect_silence(gateway);
    stop(f);
}

/* ---- lines ---- */

static void test_the_line_protocol_carries_the_same_messages(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    struct peer *gateway = join_gateway(f);
    struct peer *client = connect_stream(f, CLIENT_2);
    client->lines = true;
    feed(f, client,
         view_text("GET /sim-client?id=0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001 HTTP/1.1"
                   "\r\n\r\n" JOIN("client") "\n"));
    expect(client, "\"ok\"");
    expect(client, "\"event\":\"init\"");
    assert_true(sim_portal_client_online(f->portal, 1));
    say(f, client, CREATE(RES_1));
    expect(gateway, "authorize_flow");
    stop(f);
}

/* ---- policy files ---- */

#define FILE_HEAD                                                                                  \
    "{\"gateways\":[{\"id\":\"c0605277-15df-4fb7-82ee-e3ddedd61334\",\"token\":\"gatewaytoken\"}]" \
    ","                                                                                            \
    "\"clients\":[{\"id\":\"bc646351-5af6-4e3a-8fe0-1fa8fcd14cbd\",\"token\":\"clienttoken\"}],"   \
    "\"relays\":[{\"id\":\"e0b9561a-a232-465d-8937-ef3524ffd2e4\",\"ipv4\":\"203.0.113.10\","      \
    "\"secret\":\"abc\"}],"
#define FILE_NET                                                                                   \
    "{\"id\":\"" RES_2 "\",\"type\":\"cidr\",\"address\":\"10.3.0.0/24\",\"name\":\"Net\""

static enum err load(struct fixture *f, const char *text)
{
    const char *reason = NULL;
    enum err err = sim_portal_load_policy(f->portal, f->now, view_text(text), &reason, f->out);
    assert_non_null(reason);
    assert_int_equal(err == ERR_NONE, reason[0] == '\0');
    carry(f);
    return err;
}

static void test_a_policy_file_is_applied_as_a_difference(void **state)
{
    (void)state;
    struct fixture *f = start(SIM_PORTAL_V142);
    memset(&f->policy, 0, sizeof f->policy);
    sim_portal_free(f->portal);
    f->portal = sim_portal_new(&(struct sim_portal_config){.policy = &f->policy});
    assert_int_equal(load(f, FILE_HEAD "\"resources\":[" FILE_NET
                                       "}],\"grants\":[{\"client\":\"*\",\"resource\":\"*\"}]}"),
                     ERR_NONE);
    struct peer *gateway = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
    say(f, gateway, JOIN("gateway"));
    expect(gateway, "ok");
    expect(gateway, "203.0.113.10:3478");
    struct peer *client = request(f, CLIENT, CLIENT_TARGET, AGENT);
    say(f, client, JOIN("client"));
    expect(client, "ok");
    expect(client, RES_2);
    say(f, client, CREATE(RES_2));
    answer_flow(f, gateway, expect(gateway, "authorize_flow"));
    expect(gateway, "ok");
    expect(client, "flow_created");

    /* The same again says nothing. */
    assert_int_equal(load(f, FILE_HEAD "\"resources\":[" FILE_NET
                                       "}],\"grants\":[{\"client\":\"*\",\"resource\":\"*\"}]}"),
                     ERR_NONE);
    expect_silence(gateway);
    expect_silence(client);

    /* Filters, then the grant, then the resource. */
    assert_int_equal(load(f, FILE_HEAD "\"resources\":[" FILE_NET
                                       ",\"filters\":[{\"protocol\":\"icmp\"}]}],"
                                       "\"grants\":[{\"client\":\"*\",\"resource\":\"*\"}]}"),
                     ERR_NONE);
    expect(gateway, "\"event\":\"resource_updated\"");
    expect(client, "resource_created_or_updated");
    assert_int_equal(
        load(f, FILE_HEAD "\"resources\":[" FILE_NET ",\"filters\":[{\"protocol\":\"icmp\"}]}]}"),
        ERR_NONE);
    expect(gateway, "\"event\":\"reject_access\"");
    expect(client, "resource_deleted");
    say(f, client, CREATE(RES_2));
    expect(client, "not_found");

    /* The relay's secret, then the gateway's token. */
    assert_int_equal(load(f, "{\"gateways\":[{\"id\":\"c0605277-15df-4fb7-82ee-e3ddedd61334\","
                             "\"token\":\"other\"}]}"),
                     ERR_NONE);
    expect(gateway, "\"reason\":\"token_expired\"");
    expect(client, "\"reason\":\"token_expired\"");
    assert_int_equal(request(f, GATEWAY, GATEWAY_TARGET, AGENT)->status, 401);
    assert_int_equal(request(f, CLIENT, CLIENT_TARGET, AGENT)->status, 401);
    stop(f);
}

static void test_bad_policy_files_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
    } rows[] = {
        {"{", ERR_SYNTAX},
        {"[]", ERR_SYNTAX},
        {"{\"gatways\":[]}", ERR_SYNTAX},
        {"{\"gateways\":[{\"id\":\"x\",\"token\":\"t\"}]}", ERR_SYNTAX},
        {FILE_HEAD "\"resources\":[" FILE_NET ",\"filters\":[{\"protocol\":\"sctp\"}]}]}",
         ERR_ARGUMENT},
        {FILE_HEAD "\"resources\":[" FILE_NET ",\"filters\":null}]}", ERR_SYNTAX},
        {FILE_HEAD "\"resources\":[" FILE_NET ",\"filter\":[]}]}", ERR_SYNTAX},
        {FILE_HEAD "\"resources\":[{\"id\":\"" RES_2 "\",\"type\":\"cidr\",\"address\":"
                   "\"10.3.0.1/24\"}]}",
         ERR_ARGUMENT},
        {FILE_HEAD "\"resources\":[" FILE_NET "}],\"grants\":[{\"client\":\"*\",\"resource\":"
                   "\"" RES_1 "\"}]}",
         ERR_ARGUMENT},
        {FILE_HEAD "\"resources\":[" FILE_NET "}],\"grants\":[{\"client\":\"*\",\"resource\":\"*\","
                   "\"expires_at\":\"soon\"}]}",
         ERR_ARGUMENT},
        {"{\"relays\":[{\"id\":\"e0b9561a-a232-465d-8937-ef3524ffd2e4\"}]}", ERR_SYNTAX},
        {"{\"default_expiry_s\":-1}", ERR_ARGUMENT},
    };
    struct fixture *f = start(SIM_PORTAL_V142);
    struct sim_policy *before = malloc(sizeof *before);
    assert_non_null(before);
    memcpy(before, &f->policy, sizeof *before);
    struct peer *gateway = join_gateway(f);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(load(f, rows[i].text), rows[i].err);
        assert_memory_equal(before, &f->policy, sizeof *before);
        expect_silence(gateway);
    }
    free(before);
    stop(f);
}

/* ---- hostile bytes ---- */

static void test_mutated_input_never_breaks_the_portal(void **state)
{
    (void)state;
    static const char *const texts[] = {
        JOIN("gateway"), CREATE(RES_1),
        "{\"topic\":\"gateway\",\"event\":\"flow_authorized\",\"payload\":{\"ref\":\"x\"},\"ref\":"
        "1}",
        "{\"topic\":\"gateway\",\"event\":\"broadcast_ice_candidates\",\"payload\":{\"client_ids\":"
        "[\"bc646351-5af6-4e3a-8fe0-1fa8fcd14cbd\"],\"candidates\":[\"c\"]},\"ref\":1}"};
    struct fixture *f = start(SIM_PORTAL_V142);
    for (unsigned i = 0; i < 600; i++) {
        struct peer *peer = request(f, GATEWAY, GATEWAY_TARGET, AGENT);
        say(f, peer, JOIN("gateway"));
        assert_int_equal(ws_send_text(&peer->ws, view_text(texts[i % 4])), ERR_NONE);
        uint8_t room[1024];
        size_t len = ws_drain(&peer->ws, (struct span){room, sizeof room});
        for (unsigned flips = 1 + rng_below(&f->rng, 3); flips > 0; flips--) {
            room[rng_below(&f->rng, (uint32_t)len)] ^= (uint8_t)(1U << rng_below(&f->rng, 8));
        }
        feed(f, peer, (struct view){room, len});
        struct gateway_stream_event gone = {.kind = GATEWAY_STREAM_CLOSED, .stream = peer->stream};
        sim_portal_handle_stream(f->portal, f->now, &gone, f->out);
        carry(f);
        f->notes_count = 0;
    }
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_recorded_session_of_2024_has_the_same_shapes),
        cmocka_unit_test(test_the_recorded_session_of_today_has_the_same_shapes),
        cmocka_unit_test(test_upgrade_refusals_by_generation),
        cmocka_unit_test(test_garbage_instead_of_http_is_answered_and_closed),
        cmocka_unit_test(test_http_faults_count_down_and_carry_retry_after),
        cmocka_unit_test(test_head_refuses_a_second_connection_v142_serves_both),
        cmocka_unit_test(test_two_processes_are_told_and_noted_apart),
        cmocka_unit_test(test_head_sends_the_later_of_two_away),
        cmocka_unit_test(test_an_invalid_token_is_401_until_it_is_valid_again),
        cmocka_unit_test(test_a_gateway_is_known_by_the_hash_of_its_id),
        cmocka_unit_test(test_heartbeats_are_answered_before_and_after_the_join),
        cmocka_unit_test(test_unjoined_messages_get_unmatched_topic),
        cmocka_unit_test(test_unknown_events_crash_the_channel_or_are_answered),
        cmocka_unit_test(test_bad_envelopes_end_the_socket_with_1011),
        cmocka_unit_test(test_join_faults),
        cmocka_unit_test(test_silent_peers_are_closed_after_37_s),
        cmocka_unit_test(test_head_relay_credentials_are_those_of_the_vector),
        cmocka_unit_test(test_v142_relay_credentials_are_fresh_and_right),
        cmocka_unit_test(test_coturn_passwords_are_hmac_sha1_of_the_user_name),
        cmocka_unit_test(test_flow_secrets_follow_the_vectors),
        cmocka_unit_test(test_head_preshared_keys_are_stable_and_expiry_is_a_number),
        cmocka_unit_test(test_a_flow_goes_from_client_to_gateway_and_back),
        cmocka_unit_test(test_refused_requests_say_why),
        cmocka_unit_test(test_versions_gate_who_serves_whom),
        cmocka_unit_test(test_head_says_offline_after_15_s_and_ignores_late_answers),
        cmocka_unit_test(test_revocation_reaches_gateway_and_client_once),
        cmocka_unit_test(test_v142_forgets_flows_when_the_gateway_reconnects_head_does_not),
        cmocka_unit_test(test_changes_of_a_resource),
        cmocka_unit_test(test_the_flow_table_is_bounded),
        cmocka_unit_test(test_old_clients_are_served),
        cmocka_unit_test(test_relay_presence_is_immediate_in_v142),
        cmocka_unit_test(test_relay_presence_is_debounced_in_head),
        cmocka_unit_test(test_at_most_two_relays_are_given),
        cmocka_unit_test(test_every_kind_of_end),
        cmocka_unit_test(test_misbehaviour_keeps_or_breaks_the_websocket_as_announced),
        cmocka_unit_test(test_faults_on_pushes),
        cmocka_unit_test(test_the_line_protocol_carries_the_same_messages),
        cmocka_unit_test(test_a_policy_file_is_applied_as_a_difference),
        cmocka_unit_test(test_bad_policy_files_change_nothing),
        cmocka_unit_test(test_mutated_input_never_breaks_the_portal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
