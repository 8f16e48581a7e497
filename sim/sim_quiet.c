#include "sim/sim_quiet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/siphash.h"
#include "sim/sim_seen.h"
#include "sim/sim_watch.h"
#include "sim/sim_wire.h"

#define CHECK_IDLE_NS    (25 * NS_PER_S)
#define CHECK_NS         (15 * NS_PER_S)
#define BUSY_GAP_NS      (5 * NS_PER_S) /* between two packets on a path in use */
#define CHECK_FIRST_NS   (250 * NS_PER_MS)
#define IDLE_AFTER_NS    (20 * NS_PER_S)
#define CHOSEN_NS        (62 * NS_PER_S) /* the slowest client repeats it every 60 s */
#define PAIRS_SEARCH_MAX 100U            /* without a path */
#define PAIRS_MAX        16U
#define RETRY_NS         (5 * NS_PER_S)
#define TRIES_MAX        4U
#define NO_REPLY_NS      (15 * NS_PER_S)
#define RENEW_NS         (120 * NS_PER_S)
#define PASSIVE_NS       (10 * NS_PER_S)
#define LOOKUP_NS        (10 * NS_PER_S)
#define RELAY_BINDING_NS (25 * NS_PER_S)
#define RELAY_REFRESH_NS (300 * NS_PER_S)
#define RELAY_SILENT_NS  (30 * NS_PER_S) /* until a relay that failed is tried again */
#define RELAY_REFUSED_NS (300 * NS_PER_S)
#define RELAY_DELETED_NS (2 * NS_PER_S)
#define RELAY_ATTEMPT_NS (10 * NS_PER_S)
#define FAILURES_MAX     64U
#define RELAY_UNANSWERED (250 * NS_PER_MS)
#define LATE_NS          NS_PER_S /* held outputs and timers that come late */
#define KEEPALIVE_SIZE   32U
#define TEXT_MAX         200U
#define CREDITS_MAX      64U

/* One end of a datagram and what distinguishes series of the same end. */
struct place {
    uint8_t bytes[SIM_SEEN_KEY_MAX - 2];
    size_t len;
};

/* What a gateway repeats: the checks of a pair, the requests of one kind to a server or about a
 * channel, the initiations of a tunnel. */
struct series {
    uint64_t user;     /* checks: hash of both ufrags */
    struct place path; /* checks: without the ufrags */
    uint64_t first_at; /* 0: never */
    uint64_t sent_at;  /* the same */
    uint32_t sent;
    uint32_t unanswered; /* at the end */
    bool failed;         /* the latest answer was an error */
    uint64_t chosen_at;  /* checks: the client said so last, 0: it never chose this pair */
    bool urgent;         /* checks: by a request whose check has not been sent yet */
    bool is_check;
    uint32_t gateway;
};

/* Permissions of one kind: each to be used once, until it lapses. */
struct credits {
    uint64_t until[CREDITS_MAX];
    uint32_t count;
};

struct watched {
    uint64_t woken_at;
    uint64_t lost_at;   /* an allocation; 0: never */
    uint64_t packet_at; /* last packet from the TUN device or a client */
    struct credits keepalives;
    struct credits responses;
    uint64_t failures[FAILURES_MAX]; /* of relays, the latest */
    uint32_t failures_count;
};

enum topic {
    TOPIC_SERIES,  /* number of the series, plus one */
    TOPIC_TXN,     /* number of the series that the transaction belongs to, plus one; above it
                    * how many of them had been sent */
    TOPIC_ASKED,   /* how often a request arrived that has not been answered */
    TOPIC_TRAFFIC, /* path: when it last carried a packet */
    TOPIC_BUSY,    /* path: since when packets have been leaving on it */
    TOPIC_CHECKED, /* path: when it was last checked, plus one */
};

struct sim_quiet {
    void *self;
    void (*failed)(void *self, const char *oracle, const char *text);
    struct sim_seen *seen;
    struct series *series;
    uint32_t series_count;
    uint32_t series_room;
    struct sim_watch watch;
    struct watched gateways[SIM_GATEWAYS_MAX];
    bool judging;
    uint64_t healed_at; /* 0: faults are on */
};

struct sim_quiet *sim_quiet_new(void *self,
                                void (*failed)(void *self, const char *oracle, const char *text))
{
    struct sim_quiet *quiet = calloc(1, sizeof(*quiet));
    ASSERT(quiet != NULL);
    quiet->self = self;
    quiet->failed = failed;
    quiet->seen = sim_seen_new();
    return quiet;
}

void sim_quiet_free(struct sim_quiet *quiet)
{
    if (quiet != NULL) {
        sim_seen_free(quiet->seen);
        free(quiet->series);
        free(quiet);
    }
}

void sim_quiet_gateway(struct sim_quiet *quiet, uint32_t gateway, uint16_t node)
{
    sim_watch_add(&quiet->watch, gateway, node);
    quiet->gateways[gateway] = (struct watched){0};
}

void sim_quiet_woken(struct sim_quiet *quiet, uint32_t gateway, uint64_t now_ns)
{
    quiet->gateways[gateway].woken_at = now_ns;
    quiet->gateways[gateway].packet_at = now_ns;
}

void sim_quiet_judge(struct sim_quiet *quiet, bool on)
{
    quiet->judging = on;
}

void sim_quiet_healed(struct sim_quiet *quiet, uint64_t now_ns)
{
    quiet->healed_at = now_ns;
}

void sim_quiet_relay_lost(struct sim_quiet *quiet, uint32_t gateway, uint64_t now_ns)
{
    quiet->gateways[gateway].lost_at = now_ns;
}

void sim_quiet_relay_failed(struct sim_quiet *quiet, uint32_t gateway, uint64_t now_ns)
{
    struct watched *watched = &quiet->gateways[gateway];
    watched->failures[watched->failures_count++ % FAILURES_MAX] = now_ns;
}

static bool is_within(uint64_t now, uint64_t since, uint64_t ns)
{
    return since != 0 && now - since <= ns;
}

/* ---- what is remembered ---- */

static uint64_t *number_of(struct sim_quiet *quiet, enum topic topic, uint32_t gateway,
                           struct view bytes)
{
    bool fresh = false;
    uint8_t key[SIM_SEEN_KEY_MAX];
    struct writer w = writer_of((struct span){key, sizeof(key)});
    writer_u8(&w, (uint8_t)topic);
    writer_u8(&w, (uint8_t)gateway);
    writer_bytes(&w, bytes);
    ASSERT(writer_finish(&w));
    return sim_seen_at(quiet->seen, writer_view(&w), &fresh);
}

static uint64_t hash_of(struct view bytes)
{
    const struct siphash_key key = {3, 4};
    return siphash13(&key, bytes);
}

/* Towards a relay the own address is whatever the host likes. */
static struct place place_of(const struct sock_addr *own, const struct sock_addr *peer,
                             uint16_t channel, uint64_t what)
{
    struct place place;
    uint64_t local = channel == 0 ? hash_of(VIEW_OF(own->ip.bytes)) : 0;
    struct writer w = writer_of((struct span){place.bytes, sizeof(place.bytes)});
    writer_u8(&w, (uint8_t)peer->ip.family);
    writer_bytes(&w, VIEW_OF(peer->ip.bytes));
    writer_le16(&w, peer->port);
    writer_le16(&w, channel);
    writer_le32(&w, (uint32_t)local);
    writer_le64(&w, what);
    ASSERT(writer_finish(&w));
    place.len = w.used;
    return place;
}

static struct view place_view(const struct place *place)
{
    return (struct view){place->bytes, place->len};
}

static struct series *series_of(struct sim_quiet *quiet, uint32_t gateway,
                                const struct place *place)
{
    uint64_t *number = number_of(quiet, TOPIC_SERIES, gateway, place_view(place));
    if (*number == 0) {
        if (quiet->series_count == quiet->series_room) {
            quiet->series_room = quiet->series_room == 0 ? 64 : quiet->series_room * 2;
            quiet->series = realloc(quiet->series, quiet->series_room * sizeof(quiet->series[0]));
            ASSERT(quiet->series != NULL);
        }
        *number = quiet->series_count + 1;
        quiet->series[quiet->series_count++] = (struct series){.gateway = gateway};
    }
    return &quiet->series[*number - 1];
}

/* The ufrags of a name, ours first, so that both directions agree. */
static uint64_t user_of(struct view name, bool ours_first)
{
    uint8_t text[SIM_SEEN_KEY_MAX * 2];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    const uint8_t *colon = name.len == 0 ? NULL : memchr(name.at, ':', name.len);
    if (colon == NULL || name.len > sizeof(text)) {
        return 0;
    }
    size_t left = (size_t)(colon - name.at);
    struct view a = view_sub(name, 0, left);
    struct view b = view_sub(name, left + 1, name.len - left - 1);
    writer_bytes(&w, ours_first ? a : b);
    writer_u8(&w, ':');
    writer_bytes(&w, ours_first ? b : a);
    return hash_of(writer_view(&w));
}

/* When there are too many the first to lapse makes room. */
static void grant(struct credits *credits, uint64_t until)
{
    uint32_t at = 0;
    if (credits->count < CREDITS_MAX) {
        at = credits->count++;
    } else {
        for (uint32_t i = 1; i < CREDITS_MAX; i++) {
            at = credits->until[i] < credits->until[at] ? i : at;
        }
    }
    credits->until[at] = until;
}

/* Uses the oldest that has not lapsed. */
static bool spend(struct credits *credits, uint64_t now)
{
    uint32_t kept = 0;
    bool spent = false;
    for (uint32_t i = 0; i < credits->count; i++) {
        bool valid = credits->until[i] >= now;
        if (valid && !spent) {
            spent = true;
        } else if (valid) {
            credits->until[kept++] = credits->until[i];
        }
    }
    credits->count = kept;
    return spent;
}

/* ---- verdicts ---- */

static void fail(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record,
                 const char *what, uint64_t after_ns)
{
    char text[TEXT_MAX];
    if (!quiet->judging) {
        return;
    }
    struct writer w = writer_of((struct span){(uint8_t *)text, sizeof(text) - 1});
    char line[TEXT_MAX / 2];
    int len = snprintf(line, sizeof(line), "idle gateway %u: %s, %llu ms after the one before, to ",
                       gateway, what, (unsigned long long)(after_ns / NS_PER_MS));
    writer_bytes(&w, (struct view){(const uint8_t *)line, (size_t)len});
    sock_addr_put(&w, &record->remote);
    text[w.used] = '\0';
    quiet->failed(quiet->self, "O-14", text);
}

static void count_sent(struct sim_quiet *quiet, struct series *series,
                       const struct sim_record *record, struct view transaction)
{
    series->first_at = series->sent == 0 ? record->at_ns : series->first_at;
    series->sent_at = record->at_ns;
    series->sent++;
    series->unanswered++;
    series->failed = false;
    series->urgent = false;
    if (transaction.len > 0) {
        uint64_t number = (uint64_t)(series - quiet->series) + 1 + ((uint64_t)series->sent << 32U);
        *number_of(quiet, TOPIC_TXN, series->gateway, transaction) = number;
    }
}

/* ---- checks ---- */

/* The pairs of a connection that were checked lately. */
struct pairs {
    uint32_t count;
    uint32_t fresh;  /* of these, checked for the first time: each may have taken another's place */
    uint32_t chosen; /* all: there will be no other path, so it never idles */
    bool has_path;   /* for certain */
    bool busy;       /* one of them has carried a packet */
};

static struct pairs pairs_of(struct sim_quiet *quiet, uint32_t gateway, uint64_t user, uint64_t now)
{
    struct pairs pairs = {0};
    for (uint32_t i = 0; i < quiet->series_count; i++) {
        const struct series *series = &quiet->series[i];
        if (series->is_check && series->gateway == gateway && series->user == user &&
            is_within(now, series->sent_at, CHECK_IDLE_NS + LATE_NS)) {
            uint64_t traffic = *number_of(quiet, TOPIC_TRAFFIC, gateway, place_view(&series->path));
            pairs.count++;
            pairs.fresh += is_within(now, series->first_at, CHECK_IDLE_NS + LATE_NS) ? 1 : 0;
            pairs.chosen += series->chosen_at != 0 ? 1 : 0;
            pairs.has_path = pairs.has_path || is_within(now, series->chosen_at, CHOSEN_NS);
            pairs.busy = pairs.busy || is_within(now, traffic, IDLE_AFTER_NS + LATE_NS);
        }
    }
    return pairs;
}

static uint64_t doubled(uint64_t ns, uint32_t times, uint64_t most)
{
    for (uint32_t i = 0; i < times && ns < most; i++) {
        ns *= 2;
    }
    return ns < most ? ns : most;
}

/* The least time between the latest check of this series and the next one. */
static uint64_t check_gap(const struct series *series, const struct pairs *pairs)
{
    if (!pairs->busy && pairs->has_path && pairs->chosen < pairs->count) {
        return CHECK_IDLE_NS;
    }
    uint32_t step = series->unanswered > 0 ? series->unanswered : series->sent;
    return doubled(CHECK_FIRST_NS, step - 1, CHECK_NS);
}

static void see_check(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record,
                      struct view inner, uint16_t channel, struct view name)
{
    uint64_t now = record->at_ns;
    uint64_t user = user_of(name, false);
    struct place path = place_of(&record->local, &record->remote, channel, 0);
    struct place place = place_of(&record->local, &record->remote, channel, user);
    struct series *series = series_of(quiet, gateway, &place);
    if (quiet->judging &&
        !is_within(now, quiet->gateways[gateway].woken_at, IDLE_AFTER_NS + LATE_NS)) {
        struct pairs pairs = pairs_of(quiet, gateway, user, now);
        if (series->sent > 0 && !series->urgent &&
            now - series->sent_at < SIM_LEAST(check_gap(series, &pairs))) {
            fail(quiet, gateway, record, "a check", now - series->sent_at);
        }
        /* Those that a change has ended may have been checked just before it. */
        if (pairs.count - pairs.fresh > (pairs.has_path ? PAIRS_MAX : PAIRS_SEARCH_MAX) &&
            !is_within(now, quiet->gateways[gateway].woken_at, CHECK_IDLE_NS + 2 * LATE_NS)) {
            fail(quiet, gateway, record, "a check of too many pairs", 0);
        }
    }
    series->is_check = true;
    series->user = user;
    series->path = path;
    *number_of(quiet, TOPIC_CHECKED, gateway, place_view(&path)) = now + 1;
    count_sent(quiet, series, record, wire_transaction(inner));
}

/* ---- relays ---- */

/* Whether a relay that failed is being tried again. */
static bool is_attempt(const struct watched *watched, uint64_t now)
{
    for (uint32_t i = 0; i < watched->failures_count && i < FAILURES_MAX; i++) {
        uint64_t age = now - watched->failures[i] + LATE_NS;
        if ((age >= RELAY_SILENT_NS && age - RELAY_SILENT_NS < RELAY_ATTEMPT_NS) ||
            (age >= RELAY_REFUSED_NS && age - RELAY_REFUSED_NS < RELAY_ATTEMPT_NS)) {
            return true;
        }
    }
    return false;
}

static void see_request(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record)
{
    struct view bytes = record->payload;
    uint16_t type = wire_stun_type(bytes);
    uint64_t now = record->at_ns;
    struct view number = VIEW_EMPTY;
    uint16_t channel = wire_attribute(bytes, WIRE_CHANNEL_NUMBER, &number) && number.len >= 2
                           ? load_be16(number.at)
                           : 0;
    struct place place =
        place_of(&record->local, &record->remote, channel, (uint64_t)type << 1U | 1U);
    struct series *series = series_of(quiet, gateway, &place);
    uint64_t gap = type == WIRE_BINDING ? RELAY_BINDING_NS : RELAY_REFRESH_NS;
    gap = series->unanswered > 0 ? RELAY_UNANSWERED : gap;
    const struct watched *watched = &quiet->gateways[gateway];
    if (is_attempt(watched, now)) {
        return; /* of one of several relays with this address, it may be */
    }
    /* After a new allocation it is also asked whether a deletion came later still. */
    uint64_t excused = type == WIRE_BINDING ? LATE_NS : RELAY_DELETED_NS + LATE_NS;
    /* An allocation that was lost is made once more, after a pause that grows with such losses. */
    bool is_anew = type == WIRE_ALLOCATE && watched->lost_at > series->sent_at;
    bool free = series->failed || is_anew || is_within(now, watched->woken_at, excused);
    if (series->sent > 0 && !free && now - series->sent_at < SIM_LEAST(gap)) {
        fail(quiet, gateway, record, "a request to a relay", now - series->sent_at);
    }
    count_sent(quiet, series, record, wire_transaction(bytes));
}

static void see_stun(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record,
                     struct view inner, uint16_t channel)
{
    struct view name = VIEW_EMPTY;
    uint16_t type = wire_stun_type(inner);
    if (type == WIRE_BINDING && wire_attribute(inner, WIRE_USERNAME, &name)) {
        see_check(quiet, gateway, record, inner, channel, name);
    } else if (type == WIRE_BINDING_OK || type == WIRE_BINDING_ERROR) {
        uint64_t *asked = number_of(quiet, TOPIC_ASKED, gateway, wire_transaction(inner));
        if (*asked == 0) {
            fail(quiet, gateway, record, "an answer that nobody asked for", 0);
        } else {
            (*asked)--;
        }
    } else {
        see_request(quiet, gateway, record);
    }
}

/* ---- tunnels ---- */

static struct series *tunnel_of(struct sim_quiet *quiet, uint32_t gateway, struct view index)
{
    struct sock_addr nowhere = {0};
    uint64_t id = load_le32(index.at) >> 8U; /* the lowest bits are the session's */
    struct place place = place_of(&nowhere, &nowhere, 0, id);
    return series_of(quiet, gateway, &place);
}

static void see_initiation(struct sim_quiet *quiet, uint32_t gateway,
                           const struct sim_record *record, struct view inner)
{
    struct watched *watched = &quiet->gateways[gateway];
    struct series *series = tunnel_of(quiet, gateway, view_sub(inner, 4, 4));
    uint64_t now = record->at_ns;
    bool busy = is_within(now, watched->packet_at, NO_REPLY_NS + RETRY_NS);
    bool again = series->unanswered > 0 && is_within(now, series->sent_at, RETRY_NS + LATE_NS);
    uint64_t gap = busy || series->unanswered > 0 ? NO_REPLY_NS : RENEW_NS;
    gap = again && series->unanswered < TRIES_MAX ? RETRY_NS : gap;
    if (series->sent > 0 && now - series->sent_at < SIM_LEAST(gap)) {
        fail(quiet, gateway, record, "a handshake", now - series->sent_at);
    }
    series->unanswered = again ? series->unanswered : 0;
    count_sent(quiet, series, record, VIEW_EMPTY);
}

/* A packet went through the tunnel on this path. */
static void carried(struct sim_quiet *quiet, uint32_t gateway, const struct sock_addr *own,
                    const struct sock_addr *peer, uint16_t channel, uint64_t now)
{
    struct place path = place_of(own, peer, channel, 0);
    *number_of(quiet, TOPIC_TRAFFIC, gateway, place_view(&path)) = now;
    if (*number_of(quiet, TOPIC_CHECKED, gateway, place_view(&path)) == 0) {
        quiet->gateways[gateway].woken_at = now; /* whose it is is not known */
    }
}

/* A path that packets leave on is checked. */
static void judge_busy(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record,
                       uint16_t channel)
{
    uint64_t now = record->at_ns;
    struct place path = place_of(&record->local, &record->remote, channel, 0);
    uint64_t traffic = *number_of(quiet, TOPIC_TRAFFIC, gateway, place_view(&path));
    uint64_t checked = *number_of(quiet, TOPIC_CHECKED, gateway, place_view(&path));
    uint64_t *busy = number_of(quiet, TOPIC_BUSY, gateway, place_view(&path));
    *busy = *busy == 0 || now - traffic > BUSY_GAP_NS ? now : *busy;
    uint64_t since = checked > *busy ? checked - 1 : *busy;
    since = since > quiet->healed_at ? since : quiet->healed_at;
    if (quiet->healed_at != 0 && checked != 0 &&
        now > since + CHECK_NS + CHECK_NS / 500 + LATE_NS) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof(text),
                       "gateway %u has not checked the path it uses for %llu ms", gateway,
                       (unsigned long long)((now - since) / NS_PER_MS));
        quiet->failed(quiet->self, "O-14", text);
    }
}

static void see_data(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record,
                     struct view inner, uint16_t channel)
{
    struct watched *watched = &quiet->gateways[gateway];
    if (inner.len > KEEPALIVE_SIZE) {
        judge_busy(quiet, gateway, record, channel);
        carried(quiet, gateway, &record->local, &record->remote, channel, record->at_ns);
        if (!is_within(record->at_ns, watched->packet_at, LOOKUP_NS + LATE_NS)) {
            fail(quiet, gateway, record, "a packet that nothing caused", 0);
        }
    } else if (!spend(&watched->keepalives, record->at_ns)) {
        fail(quiet, gateway, record, "a keepalive that nothing caused", 0);
    }
}

/* ---- the tap ---- */

static void see_sent(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record)
{
    uint16_t channel;
    struct view inner = wire_unwrap(record->payload, WIRE_SEND_IND, &channel);
    if (wire_is_stun(inner)) {
        see_stun(quiet, gateway, record, inner, channel);
    } else if (wire_is_wireguard(inner, WIRE_INITIATION, WIRE_INITIATION_SIZE)) {
        see_initiation(quiet, gateway, record, inner);
    } else if (wire_is_wireguard(inner, WIRE_RESPONSE, WIRE_RESPONSE_SIZE)) {
        if (!spend(&quiet->gateways[gateway].responses, record->at_ns)) {
            fail(quiet, gateway, record, "a response that nobody asked for", 0);
        }
    } else if (wire_is_wireguard(inner, WIRE_DATA, KEEPALIVE_SIZE)) {
        see_data(quiet, gateway, record, inner, channel);
    } else {
        fail(quiet, gateway, record, "something unknown", 0);
    }
}

static void see_asked(struct sim_quiet *quiet, uint32_t gateway, const struct sim_record *record,
                      struct view inner, uint16_t channel)
{
    struct view name = VIEW_EMPTY;
    struct view chosen;
    (*number_of(quiet, TOPIC_ASKED, gateway, wire_transaction(inner)))++;
    if (wire_attribute(inner, WIRE_USERNAME, &name)) {
        struct place place =
            place_of(&record->remote, &record->local, channel, user_of(name, true));
        struct series *series = series_of(quiet, gateway, &place);
        bool chooses = wire_attribute(inner, WIRE_USE_CANDIDATE, &chosen);
        /* A pair that was given up without an answer is made anew by any request. */
        series->urgent =
            series->urgent || series->unanswered > 0 || (chooses && series->chosen_at == 0);
        series->chosen_at = chooses ? record->at_ns : series->chosen_at;
    }
}

static void see_answer(struct sim_quiet *quiet, uint32_t gateway, struct view inner)
{
    uint64_t number = *number_of(quiet, TOPIC_TXN, gateway, wire_transaction(inner));
    if (number != 0) {
        struct series *series = &quiet->series[(number & UINT32_MAX) - 1];
        uint32_t later = series->sent - (uint32_t)(number >> 32U);
        series->unanswered = later < series->unanswered ? later : series->unanswered;
        series->failed = (wire_stun_type(inner) & 0x0010U) != 0;
    }
}

static void see_delivered(struct sim_quiet *quiet, uint32_t gateway,
                          const struct sim_record *record)
{
    uint16_t channel;
    struct watched *watched = &quiet->gateways[gateway];
    struct view inner = wire_unwrap(record->payload, WIRE_DATA_IND, &channel);
    uint64_t now = record->at_ns;
    if (wire_is_stun(inner)) {
        if (wire_stun_type(inner) == WIRE_BINDING) {
            see_asked(quiet, gateway, record, inner, channel);
        } else {
            see_answer(quiet, gateway, inner);
        }
    } else if (wire_is_wireguard(inner, WIRE_INITIATION, WIRE_INITIATION_SIZE)) {
        grant(&watched->responses, now + LATE_NS);
    } else if (wire_is_wireguard(inner, WIRE_RESPONSE, WIRE_RESPONSE_SIZE)) {
        tunnel_of(quiet, gateway, view_sub(inner, 8, 4))->unanswered = 0;
        grant(&watched->keepalives, now + LATE_NS);
    } else if (wire_is_wireguard(inner, WIRE_DATA, KEEPALIVE_SIZE + 1)) {
        grant(&watched->keepalives, now + PASSIVE_NS + LATE_NS);
        watched->packet_at = now;
        carried(quiet, gateway, &record->remote, &record->local, channel, now);
    }
}

void sim_quiet_see(void *self, const struct sim_record *record)
{
    struct sim_quiet *quiet = self;
    uint32_t gateway = sim_watch_find(&quiet->watch, record->node);
    if (gateway == SIM_GATEWAYS_MAX) {
        return;
    }
    if (record->kind == SIM_KIND_SENT) {
        see_sent(quiet, gateway, record);
    } else if (record->kind == SIM_KIND_DELIVERED) {
        see_delivered(quiet, gateway, record);
    } else if (record->kind == SIM_KIND_TUN_IN) {
        quiet->gateways[gateway].packet_at = record->at_ns;
    }
}
