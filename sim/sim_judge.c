#include "sim/sim_judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/siphash.h"
#include "sim/sim_seen.h"
#include "sim/sim_watch.h"
#include "sim/sim_wire.h"

#define SESSION_LIFE_NS (180 * NS_PER_S)
#define CLOCK_SLACK_NS  NS_PER_S /* drift of the gateway's clock over that time */
#define CLOSED_NS       (5 * NS_PER_S - 10 * NS_PER_MS) /* of a clock that runs fast */
#define SECRETS_MAX     512U
#define SECRET_MIN      10U
#define SECRET_MAX      96U
#define TEXT_MAX        200U

/* What a key of the table is about. */
enum topic {
    TOPIC_EPHEMERAL, /* of our handshakes: number unused */
    TOPIC_THEIRS,    /* ephemeral keys of responses that came in */
    TOPIC_INDEX,     /* our session indexes: when given */
    TOPIC_SESSION,   /* their session indexes: when made, plus one */
    TOPIC_COUNTER,   /* their session indexes: last counter, plus one */
    TOPIC_REQUEST,   /* transaction ids: hash of the message */
    TOPIC_FLOW,      /* client, ports: hash of the address */
    TOPIC_CLOSING,   /* the same: when its last packet went by, once a FIN has */
};

struct secret {
    uint8_t text[SECRET_MAX];
    size_t len;
};

struct watched {
    uint32_t boot;
    uint32_t flows;       /* generation: flows of earlier ones are forgotten */
    uint64_t stranger_in; /* bytes */
    uint64_t stranger_out;
};

struct sim_judge {
    struct sim_judge_config config;
    struct sim_seen *seen;
    struct sim_watch watch;
    struct watched gateways[SIM_GATEWAYS_MAX];
    struct ip_addr strangers[2];
    uint32_t strangers_count;
    struct secret secrets[SECRETS_MAX];
    uint32_t secrets_count;
    bool over; /* one failure is enough */
};

struct sim_judge *sim_judge_new(const struct sim_judge_config *config)
{
    struct sim_judge *judge = calloc(1, sizeof(*judge));
    ASSERT(judge != NULL);
    judge->config = *config;
    judge->seen = sim_seen_new();
    return judge;
}

void sim_judge_free(struct sim_judge *judge)
{
    if (judge != NULL) {
        sim_seen_free(judge->seen);
        free(judge);
    }
}

void sim_judge_gateway(struct sim_judge *judge, uint32_t gateway, uint16_t node)
{
    sim_watch_add(&judge->watch, gateway, node);
    judge->gateways[gateway] = (struct watched){0};
}

void sim_judge_stranger(struct sim_judge *judge, struct ip_addr ip)
{
    ASSERT(judge->strangers_count < ARRAY_COUNT(judge->strangers));
    judge->strangers[judge->strangers_count++] = ip;
}

void sim_judge_boot(struct sim_judge *judge, uint32_t gateway)
{
    judge->gateways[gateway].boot++;
    judge->gateways[gateway].flows++;
}

void sim_judge_flows_forget(struct sim_judge *judge, uint32_t gateway)
{
    judge->gateways[gateway].flows++;
}

static void fail(struct sim_judge *judge, const char *oracle, const char *text)
{
    if (!judge->over) {
        judge->over = true;
        judge->config.failed(judge->config.self, oracle, text);
    }
}

static uint64_t hash_of(struct view bytes)
{
    const struct siphash_key key = {1, 2};
    return siphash13(&key, bytes);
}

/* The number of (topic, owner, bytes). */
static uint64_t *number_of(struct sim_judge *judge, enum topic topic, uint64_t owner,
                           struct view bytes, bool *fresh)
{
    uint8_t key[SIM_SEEN_KEY_MAX];
    struct writer w = writer_of((struct span){key, sizeof(key)});
    writer_u8(&w, (uint8_t)topic);
    writer_le32(&w, (uint32_t)owner);
    writer_bytes(&w, bytes);
    ASSERT(writer_finish(&w));
    return sim_seen_at(judge->seen, writer_view(&w), fresh);
}

/* Sessions belong to a boot of a gateway. */
static uint64_t owner_of(const struct sim_judge *judge, uint32_t gateway)
{
    return (uint64_t)gateway << 24U | judge->gateways[gateway].boot;
}

/* ---- tunnels ---- */

static void made_session(struct sim_judge *judge, uint32_t gateway, struct view index,
                         uint64_t at_ns)
{
    bool fresh = false;
    uint64_t owner = owner_of(judge, gateway);
    *number_of(judge, TOPIC_SESSION, owner, index, &fresh) = at_ns + 1;
    *number_of(judge, TOPIC_COUNTER, owner, index, &fresh) = 0;
}

static void see_handshake(struct sim_judge *judge, uint32_t gateway, struct view bytes,
                          uint64_t at_ns)
{
    bool fresh = false;
    bool response = bytes.at[0] == WIRE_RESPONSE;
    (void)number_of(judge, TOPIC_EPHEMERAL, 0, view_sub(bytes, response ? 12 : 8, 32), &fresh);
    if (!fresh) {
        fail(judge, "O-08", "a gateway used an ephemeral key twice");
    }
    if (response) {
        uint64_t owner = owner_of(judge, gateway);
        uint64_t *given = number_of(judge, TOPIC_INDEX, owner, view_sub(bytes, 4, 4), &fresh);
        if (!fresh && at_ns - *given < SESSION_LIFE_NS) {
            fail(judge, "O-08", "a gateway gave the index of a living session again");
        }
        *given = at_ns;
        made_session(judge, gateway, view_sub(bytes, 8, 4), at_ns);
    }
}

static void see_data(struct sim_judge *judge, uint32_t gateway, struct view bytes)
{
    bool fresh = false;
    char text[TEXT_MAX];
    struct view index = view_sub(bytes, 4, 4);
    uint64_t owner = owner_of(judge, gateway);
    uint64_t counter = load_le64(bytes.at + 8);
    uint64_t now = judge->config.decided_ns(judge->config.self, gateway);
    uint64_t made = *number_of(judge, TOPIC_SESSION, owner, index, &fresh);
    if (made == 0) {
        fail(judge, "O-09", "a gateway sent data for a session that no handshake made");
        return;
    }
    if (now > made - 1 && now - (made - 1) > SESSION_LIFE_NS + CLOCK_SLACK_NS) {
        (void)snprintf(text, sizeof(text), "a gateway sent data %llu ms after the handshake",
                       (unsigned long long)((now - (made - 1)) / NS_PER_MS));
        fail(judge, "O-09", text);
    }
    uint64_t *last = number_of(judge, TOPIC_COUNTER, owner, index, &fresh);
    if (counter < *last) {
        (void)snprintf(text, sizeof(text), "counter %llu of a session after counter %llu",
                       (unsigned long long)counter, (unsigned long long)(*last - 1));
        fail(judge, "O-08", text);
    }
    *last = counter + 1;
}

/* A response to the gateway's own initiation: only a new one makes a session. */
static void see_answer(struct sim_judge *judge, uint32_t gateway, struct view bytes, uint64_t at_ns)
{
    bool fresh = false;
    (void)number_of(judge, TOPIC_THEIRS, gateway, view_sub(bytes, 12, 32), &fresh);
    if (fresh) {
        made_session(judge, gateway, view_sub(bytes, 4, 4), at_ns);
    }
}

/* ---- STUN ---- */

static void see_stun(struct sim_judge *judge, struct view bytes)
{
    bool fresh = false;
    if ((bytes.at[0] & 1U) == 0) { /* request or indication */
        uint64_t *hash = number_of(judge, TOPIC_REQUEST, 0, wire_transaction(bytes), &fresh);
        if (!fresh && *hash != hash_of(bytes)) {
            fail(judge, "O-08", "a gateway used a transaction id for two messages");
        }
        *hash = hash_of(bytes);
    }
}

/* ---- secrets ---- */

void sim_judge_secret(struct sim_judge *judge, struct view secret)
{
    if (secret.len < SECRET_MIN || secret.len > SECRET_MAX || judge->secrets_count == SECRETS_MAX) {
        return;
    }
    for (uint32_t i = 0; i < judge->secrets_count; i++) {
        if (view_equal((struct view){judge->secrets[i].text, judge->secrets[i].len}, secret)) {
            return;
        }
    }
    struct secret *kept = &judge->secrets[judge->secrets_count++];
    memcpy(kept->text, secret.at, secret.len);
    kept->len = secret.len;
}

static void search(struct sim_judge *judge, struct view bytes, const char *where)
{
    for (uint32_t i = 0; i < judge->secrets_count; i++) {
        const struct secret *secret = &judge->secrets[i];
        if (bytes.len >= secret->len &&
            memmem(bytes.at, bytes.len, secret->text, secret->len) != NULL) {
            char text[TEXT_MAX];
            (void)snprintf(text, sizeof(text), "a secret stands in %s", where);
            fail(judge, "O-15", text);
        }
    }
}

/* Learns the passwords and keys that the portal hands to a gateway. */
static void learn(struct sim_judge *judge, struct view bytes)
{
    static const char *const names[] = {"\"preshared_key\":\"", "\"password\":\""};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        size_t len = strlen(names[i]);
        struct view rest = bytes;
        const uint8_t *at = rest.len == 0 ? NULL : memmem(rest.at, rest.len, names[i], len);
        while (at != NULL) {
            rest = view_sub(rest, (size_t)(at - rest.at) + len,
                            rest.len - (size_t)(at - rest.at) - len);
            const uint8_t *end = rest.len == 0 ? NULL : memchr(rest.at, '"', rest.len);
            if (end == NULL) {
                break;
            }
            sim_judge_secret(judge, (struct view){rest.at, (size_t)(end - rest.at)});
            at = memmem(rest.at, rest.len, names[i], len);
        }
    }
}

/* ---- flows ---- */

void sim_judge_flow(struct sim_judge *judge, uint32_t gateway, uint32_t client, uint64_t now_ns,
                    const struct sim_packet *packet)
{
    uint8_t key[16];
    struct writer w = writer_of((struct span){key, sizeof(key)});
    writer_le32(&w, judge->gateways[gateway].flows);
    writer_le32(&w, client);
    writer_le16(&w, packet->source_port);
    writer_le16(&w, packet->destination_port);
    bool fresh = false;
    uint64_t *address = number_of(judge, TOPIC_FLOW, gateway, writer_view(&w), &fresh);
    uint64_t hash = hash_of(VIEW_OF(packet->destination.bytes));
    bool opens = (packet->tcp_flags & SIM_TCP_SYN) != 0;
    bool is_known = !fresh;
    bool moved = is_known && *address != hash;
    *address = hash;
    uint64_t *closing_at = number_of(judge, TOPIC_CLOSING, gateway, writer_view(&w), &fresh);
    bool is_over = *closing_at != 0 && now_ns - *closing_at > CLOSED_NS;
    if (moved && !opens && !is_over) {
        fail(judge, "O-07", "a TCP connection to a name went on to another address");
    }
    bool closes = (packet->tcp_flags & SIM_TCP_FIN) != 0 || *closing_at != 0;
    *closing_at = closes && !opens ? now_ns : 0;
}

/* ---- the tap ---- */

static bool is_stranger(const struct sim_judge *judge, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < judge->strangers_count; i++) {
        if (ip_equal(&judge->strangers[i], ip)) {
            return true;
        }
    }
    return false;
}

static void see_sent(struct sim_judge *judge, uint32_t gateway, const struct sim_record *record)
{
    struct watched *watched = &judge->gateways[gateway];
    uint16_t channel;
    struct view inner = wire_unwrap(record->payload, WIRE_SEND_IND, &channel);
    if (is_stranger(judge, &record->remote.ip)) {
        watched->stranger_out += record->payload.len;
        if (watched->stranger_out > SIM_AMPLIFICATION_MAX * watched->stranger_in) {
            fail(judge, "O-10", "a stranger got more than three times what it sent");
        }
    }
    if (wire_is_stun(record->payload)) {
        see_stun(judge, record->payload);
        search(judge, record->payload, "a STUN message of a gateway");
    }
    if (inner.at != record->payload.at && wire_is_stun(inner)) {
        see_stun(judge, inner);
    }
    if (wire_is_wireguard(inner, WIRE_INITIATION, 148) ||
        wire_is_wireguard(inner, WIRE_RESPONSE, 92)) {
        see_handshake(judge, gateway, inner, record->at_ns);
    } else if (wire_is_wireguard(inner, WIRE_DATA, 32)) {
        see_data(judge, gateway, inner);
    }
}

static void see_delivered(struct sim_judge *judge, uint32_t gateway,
                          const struct sim_record *record)
{
    uint16_t channel;
    struct view inner = wire_unwrap(record->payload, WIRE_DATA_IND, &channel);
    if (is_stranger(judge, &record->local.ip)) {
        judge->gateways[gateway].stranger_in += record->payload.len;
    }
    if (wire_is_wireguard(inner, WIRE_RESPONSE, 92)) {
        see_answer(judge, gateway, inner, record->at_ns);
    }
}

void sim_judge_see(void *self, const struct sim_record *record)
{
    struct sim_judge *judge = self;
    uint32_t gateway = sim_watch_find(&judge->watch, record->node);
    if (gateway == SIM_GATEWAYS_MAX || judge->over) {
        return;
    }
    if (record->kind == SIM_KIND_SENT) {
        see_sent(judge, gateway, record);
    } else if (record->kind == SIM_KIND_DELIVERED) {
        see_delivered(judge, gateway, record);
    } else if (record->kind == SIM_KIND_STATE) {
        search(judge, record->payload, "an event of a gateway");
    } else if (record->kind == SIM_KIND_STREAM_EVENT) {
        learn(judge, record->payload);
    }
}
