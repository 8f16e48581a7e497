#include "sim/sim_rekey.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim/sim_seen.h"
#include "sim/sim_watch.h"
#include "sim/sim_wire.h"

#define RETRY_NS       (5 * NS_PER_S)
#define NO_REPLY_NS    (15 * NS_PER_S)
#define RENEW_NS       (120 * NS_PER_S)
#define LATE_NS        NS_PER_S             /* jitter of 333 ms, timers that come late */
#define LOST_NS        (RETRY_NS + LATE_NS) /* a try that found no channel of the relay */
#define KEEPALIVE_SIZE 32U
#define TEXT_MAX       200U

/* What a gateway's tunnel with one client has been doing. Times are of the world; 0: never. */
struct tunnel {
    uint64_t begun_ns;   /* the latest initiation */
    bool is_open;        /* nobody has answered that */
    uint64_t unheard_ns; /* the first data since something was heard */
    bool is_ours;        /* the latest session that the gateway began is `theirs` */
    uint32_t theirs;
    uint64_t made_ns;  /* its first message */
    uint64_t asked_ns; /* the first data at the age of renewal */
};

struct watched {
    uint32_t boot;
};

enum topic {
    TOPIC_TUNNEL, /* the gateway's id of it: number of the tunnel, plus one */
    TOPIC_THEIRS, /* their index of a session: number of the tunnel, plus one */
    TOPIC_GIVEN,  /* our index of a session that the client began: whether the client has not used
                     it yet */
};

struct sim_rekey {
    struct sim_judge_config config;
    struct sim_seen *seen;
    struct tunnel *tunnels;
    uint32_t tunnels_count;
    uint32_t tunnels_room;
    struct sim_watch watch;
    struct watched gateways[SIM_GATEWAYS_MAX];
};

struct sim_rekey *sim_rekey_new(const struct sim_judge_config *config)
{
    struct sim_rekey *rekey = calloc(1, sizeof(*rekey));
    ASSERT(rekey != NULL);
    rekey->config = *config;
    rekey->seen = sim_seen_new();
    return rekey;
}

void sim_rekey_free(struct sim_rekey *rekey)
{
    if (rekey != NULL) {
        sim_seen_free(rekey->seen);
        free(rekey->tunnels);
        free(rekey);
    }
}

void sim_rekey_gateway(struct sim_rekey *rekey, uint32_t gateway, uint16_t node)
{
    sim_watch_add(&rekey->watch, gateway, node);
    rekey->gateways[gateway] = (struct watched){0};
}

/* ---- what is remembered ---- */

static uint64_t *number_of(struct sim_rekey *rekey, enum topic topic, uint32_t gateway,
                           uint32_t index)
{
    bool fresh = false;
    uint8_t key[16];
    struct writer w = writer_of((struct span){key, sizeof(key)});
    writer_u8(&w, (uint8_t)topic);
    writer_le32(&w, gateway);
    writer_le32(&w, rekey->gateways[gateway].boot);
    writer_le32(&w, index);
    ASSERT(writer_finish(&w));
    return sim_seen_at(rekey->seen, writer_view(&w), &fresh);
}

/* The tunnel that an index of the gateway belongs to: its lowest bits are the session's. */
static struct tunnel *tunnel_of(struct sim_rekey *rekey, uint32_t gateway, uint32_t ours)
{
    uint64_t *number = number_of(rekey, TOPIC_TUNNEL, gateway, ours >> 8U);
    if (*number == 0) {
        if (rekey->tunnels_count == rekey->tunnels_room) {
            rekey->tunnels_room = rekey->tunnels_room == 0 ? 16 : rekey->tunnels_room * 2;
            rekey->tunnels =
                realloc(rekey->tunnels, rekey->tunnels_room * sizeof(rekey->tunnels[0]));
            ASSERT(rekey->tunnels != NULL);
        }
        *number = rekey->tunnels_count + 1;
        rekey->tunnels[rekey->tunnels_count++] = (struct tunnel){0};
    }
    return &rekey->tunnels[*number - 1];
}

static void remember_theirs(struct sim_rekey *rekey, uint32_t gateway, uint32_t theirs,
                            const struct tunnel *tunnel)
{
    *number_of(rekey, TOPIC_THEIRS, gateway, theirs) = (uint64_t)(tunnel - rekey->tunnels) + 1;
}

/* The gateway goes to sleep or ends: nothing that it owes is late. */
static void forgive(struct sim_rekey *rekey)
{
    for (uint32_t i = 0; i < rekey->tunnels_count; i++) {
        rekey->tunnels[i].is_open = false;
        rekey->tunnels[i].unheard_ns = 0;
        rekey->tunnels[i].asked_ns = 0;
    }
}

void sim_rekey_boot(struct sim_rekey *rekey, uint32_t gateway)
{
    rekey->gateways[gateway].boot++;
}

void sim_rekey_paused(struct sim_rekey *rekey, uint32_t gateway)
{
    (void)gateway; /* the others will owe the same again soon */
    forgive(rekey);
}

static void fail(struct sim_rekey *rekey, uint32_t gateway, const char *what, uint64_t ns)
{
    char text[TEXT_MAX];
    (void)snprintf(text, sizeof(text), "gateway %u %s (%llu ms)", gateway, what,
                   (unsigned long long)(ns / NS_PER_MS));
    rekey->config.failed(rekey->config.self, "O-18", text);
}

/* ---- what the gateway says ---- */

static void see_initiation(struct sim_rekey *rekey, uint32_t gateway, struct view bytes,
                           uint64_t now)
{
    struct tunnel *tunnel = tunnel_of(rekey, gateway, load_le32(bytes.at + 4));
    if (tunnel->begun_ns != 0 && now - tunnel->begun_ns < SIM_LEAST(RETRY_NS)) {
        fail(rekey, gateway, "began a handshake soon after another", now - tunnel->begun_ns);
    }
    tunnel->begun_ns = now;
    tunnel->is_open = true;
    tunnel->unheard_ns = 0;
    tunnel->asked_ns = 0;
}

static void see_response(struct sim_rekey *rekey, uint32_t gateway, struct view bytes)
{
    uint32_t ours = load_le32(bytes.at + 4);
    struct tunnel *tunnel = tunnel_of(rekey, gateway, ours);
    tunnel->unheard_ns = 0;
    *number_of(rekey, TOPIC_GIVEN, gateway, ours) = 1;
    remember_theirs(rekey, gateway, load_le32(bytes.at + 8), tunnel);
}

/* A message of the session that the gateway began. */
static void judge_age(struct sim_rekey *rekey, uint32_t gateway, struct tunnel *tunnel,
                      bool is_data, uint64_t now)
{
    tunnel->made_ns = tunnel->made_ns == 0 ? now : tunnel->made_ns;
    if (!is_data || now - tunnel->made_ns < SIM_MOST(RENEW_NS)) {
        return;
    }
    tunnel->asked_ns = tunnel->asked_ns == 0 ? now : tunnel->asked_ns;
    if (now - tunnel->asked_ns > LATE_NS + LOST_NS) {
        fail(rekey, gateway, "sends on and does not renew the keys of its session",
             now - tunnel->made_ns);
    }
}

static void see_data(struct sim_rekey *rekey, uint32_t gateway, struct view bytes, uint64_t now)
{
    uint32_t theirs = load_le32(bytes.at + 4);
    bool is_data = bytes.len > KEEPALIVE_SIZE;
    uint64_t number = *number_of(rekey, TOPIC_THEIRS, gateway, theirs);
    if (number == 0) {
        return; /* O-09 */
    }
    struct tunnel *tunnel = &rekey->tunnels[number - 1];
    if (tunnel->is_ours && tunnel->theirs == theirs) {
        judge_age(rekey, gateway, tunnel, is_data, now);
    }
    if (!is_data) {
        return;
    }
    if (tunnel->is_open && now - tunnel->begun_ns > SIM_MOST(RETRY_NS) + LATE_NS + LOST_NS) {
        fail(rekey, gateway, "sends on and does not repeat its handshake", now - tunnel->begun_ns);
    }
    tunnel->unheard_ns = tunnel->unheard_ns == 0 ? now : tunnel->unheard_ns;
    if (!tunnel->is_open && now - tunnel->unheard_ns > SIM_MOST(NO_REPLY_NS) + LATE_NS + LOST_NS) {
        fail(rekey, gateway, "sends on although it hears nothing", now - tunnel->unheard_ns);
    }
}

static void see_sent(struct sim_rekey *rekey, uint32_t gateway, const struct sim_record *record)
{
    uint16_t channel;
    struct view inner = wire_unwrap(record->payload, WIRE_SEND_IND, &channel);
    uint64_t now = rekey->config.decided_ns(rekey->config.self, gateway);
    if (wire_is_wireguard(inner, WIRE_INITIATION, WIRE_INITIATION_SIZE)) {
        see_initiation(rekey, gateway, inner, now);
    } else if (wire_is_wireguard(inner, WIRE_RESPONSE, WIRE_RESPONSE_SIZE)) {
        see_response(rekey, gateway, inner);
    } else if (wire_is_wireguard(inner, WIRE_DATA, KEEPALIVE_SIZE)) {
        see_data(rekey, gateway, inner, now);
    }
}

/* ---- what the gateway hears ---- */

static void heard_response(struct sim_rekey *rekey, uint32_t gateway, struct view bytes)
{
    struct tunnel *tunnel = tunnel_of(rekey, gateway, load_le32(bytes.at + 8));
    tunnel->unheard_ns = 0;
    if (tunnel->is_open) {
        tunnel->is_open = false;
        tunnel->is_ours = true;
        tunnel->theirs = load_le32(bytes.at + 4);
        tunnel->made_ns = 0;
        tunnel->asked_ns = 0;
        remember_theirs(rekey, gateway, tunnel->theirs, tunnel);
    }
}

/* The first data of a session that the client began ends what the gateway was trying. */
static void heard_data(struct sim_rekey *rekey, uint32_t gateway, struct view bytes)
{
    uint32_t ours = load_le32(bytes.at + 4);
    struct tunnel *tunnel = tunnel_of(rekey, gateway, ours);
    uint64_t *given = number_of(rekey, TOPIC_GIVEN, gateway, ours);
    tunnel->unheard_ns = 0;
    tunnel->is_open = tunnel->is_open && *given == 0;
    *given = 0;
}

/* Some client began a handshake, which proves that it lives, also when no answer can leave. Its
 * new index does not tell which client, so all are taken to be heard. */
static void heard_initiation(struct sim_rekey *rekey)
{
    for (uint32_t i = 0; i < rekey->tunnels_count; i++) {
        rekey->tunnels[i].unheard_ns = 0;
    }
}

static void see_delivered(struct sim_rekey *rekey, uint32_t gateway,
                          const struct sim_record *record)
{
    uint16_t channel;
    struct view inner = wire_unwrap(record->payload, WIRE_DATA_IND, &channel);
    if (wire_is_wireguard(inner, WIRE_INITIATION, WIRE_INITIATION_SIZE)) {
        heard_initiation(rekey);
    } else if (wire_is_wireguard(inner, WIRE_RESPONSE, WIRE_RESPONSE_SIZE)) {
        heard_response(rekey, gateway, inner);
    } else if (wire_is_wireguard(inner, WIRE_DATA, KEEPALIVE_SIZE)) {
        heard_data(rekey, gateway, inner);
    }
}

void sim_rekey_see(void *self, const struct sim_record *record)
{
    struct sim_rekey *rekey = self;
    uint32_t gateway = sim_watch_find(&rekey->watch, record->node);
    if (gateway == SIM_GATEWAYS_MAX) {
        return;
    }
    bool is_refused = record->kind == SIM_KIND_DROPPED && record->cause != NULL &&
                      view_equal_text(view_text(record->cause), SIM_CAUSE_REFUSED);
    if (record->kind == SIM_KIND_SENT || is_refused) {
        see_sent(rekey, gateway, record);
    } else if (record->kind == SIM_KIND_DELIVERED) {
        see_delivered(rekey, gateway, record);
    }
}
