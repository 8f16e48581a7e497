#include "sim/sim_stream.h"

#include <stdlib.h>
#include <string.h>

#define LISTENERS_MAX       16U
#define SEGMENT_MAX         16384U
#define CONNECT_TIMEOUT_NS  (75 * NS_PER_S)
#define STALL_RETRY_NS      (500 * NS_PER_MS)
#define SEGMENT_JITTER_NS   (300 * NS_PER_US)
#define SEGMENT_GAP_NS      NS_PER_US /* between two segments: a fast link is not infinitely fast */
#define WHOLE_SEGMENT_PPM   700000U   /* deliveries that are not cut into smaller pieces */
#define STREAM_NODE_UNKNOWN UINT32_MAX

enum item_kind {
    ITEM_BYTES,
    ITEM_FIN,
    ITEM_MARK,
};

/* One thing on its way in one direction, in order. */
struct item {
    enum item_kind kind;
    uint64_t at_ns;
    uint64_t token;
    uint8_t *bytes;
    size_t len;
};

struct end {
    uint32_t node;
    uint32_t id;
    bool open;          /* this side still wants to hear */
    struct item *items; /* on the way to the other end: [head, count) */
    size_t head;
    size_t count;
    size_t capacity;
    size_t in_flight; /* bytes */
    uint64_t sent;    /* bytes taken so far */
    uint64_t received;
    uint64_t ordinal; /* of segments: names their draws */
    uint64_t last_ns;
    bool short_take; /* WRITABLE is owed */
    bool stalled;    /* one retry is planned for everything that is held up */
};

enum conn_state {
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_DEAD,
};

struct conn {
    enum conn_state state;
    struct end ends[2]; /* 0: who connected, 1: who accepted */
    struct sock_addr remote;
    uint16_t port;
    uint64_t started_ns;
    bool unroutable; /* the connecting node has no address of the family */
    bool hollow;     /* swallowed bytes: TCP delivers nothing after a gap */
};

struct listener {
    uint32_t node;
    uint16_t port;
};

struct sim_streams {
    struct sim_sched *sched;
    struct sim_trace *trace;
    const struct sim_rng *rng;
    struct sim_net *net;
    struct sim_stream_sink sink;
    struct conn **conns; /* never moved: events run while conns are looked at */
    uint32_t conns_count;
    uint32_t next_accepted;
    struct listener listeners[LISTENERS_MAX];
    uint32_t listeners_count;
    struct sim_stream_faults faults[SIM_NODES_MAX];
    size_t windows[SIM_NODES_MAX];
};

struct sim_streams *sim_streams_new(struct sim_sched *sched, struct sim_trace *trace,
                                    const struct sim_rng *rng, struct sim_net *net,
                                    struct sim_stream_sink sink)
{
    struct sim_streams *streams = calloc(1, sizeof(*streams));
    ASSERT(streams != NULL);
    streams->sched = sched;
    streams->trace = trace;
    streams->rng = rng;
    streams->net = net;
    streams->sink = sink;
    streams->next_accepted = GATEWAY_STREAM_ACCEPTED_BASE;
    return streams;
}

static void drop_items(struct end *end)
{
    for (size_t i = end->head; i < end->count; i++) {
        free(end->items[i].bytes);
    }
    free(end->items);
    end->items = NULL;
    end->head = 0;
    end->count = 0;
    end->capacity = 0;
    end->in_flight = 0;
}

void sim_streams_free(struct sim_streams *streams)
{
    if (streams == NULL) {
        return;
    }
    for (uint32_t i = 0; i < streams->conns_count; i++) {
        drop_items(&streams->conns[i]->ends[0]);
        drop_items(&streams->conns[i]->ends[1]);
        free(streams->conns[i]);
    }
    free(streams->conns);
    free(streams);
}

void sim_stream_listen(struct sim_streams *streams, uint32_t node, uint16_t port)
{
    ASSERT(streams->listeners_count < LISTENERS_MAX);
    streams->listeners[streams->listeners_count++] = (struct listener){node, port};
}

struct sim_stream_faults *sim_stream_faults(struct sim_streams *streams, uint32_t node)
{
    ASSERT(node < SIM_NODES_MAX);
    return &streams->faults[node];
}

void sim_stream_set_window(struct sim_streams *streams, uint32_t node, size_t bytes)
{
    ASSERT(node < SIM_NODES_MAX);
    streams->windows[node] = bytes;
}

/* ---- helpers ---- */

static void tell(struct sim_streams *streams, const struct conn *conn, unsigned side,
                 struct gateway_stream_event event)
{
    const struct end *end = &conn->ends[side];
    event.stream = end->id;
    event.remote = conn->remote;
    event.listener = conn->port;
    uint32_t number = (uint32_t)event.kind << 16U | (uint32_t)event.reason;
    sim_trace_bytes(streams->trace, (uint16_t)end->node, SIM_KIND_STREAM_EVENT, number,
                    event.bytes);
    streams->sink.event(streams->sink.self, end->node, &event);
}

/* Says CLOSED to one side if it still listens. */
static void tell_closed(struct sim_streams *streams, struct conn *conn, unsigned side,
                        enum err reason)
{
    if (conn->ends[side].open) {
        conn->ends[side].open = false;
        tell(streams, conn, side,
             (struct gateway_stream_event){.kind = GATEWAY_STREAM_CLOSED, .reason = reason});
    }
}

/* Marks that can no longer be reached. */
static void lose_items(struct sim_streams *streams, struct end *end)
{
    struct item *items = end->items;
    size_t head = end->head;
    size_t count = end->count;
    end->items = NULL;
    end->head = 0;
    end->count = 0;
    end->capacity = 0;
    end->in_flight = 0;
    for (size_t i = head; i < count; i++) {
        if (items[i].kind == ITEM_MARK) {
            streams->sink.mark(streams->sink.self, items[i].token, true);
        }
        free(items[i].bytes);
    }
    free(items);
}

static void kill(struct sim_streams *streams, struct conn *conn)
{
    conn->state = CONN_DEAD;
    lose_items(streams, &conn->ends[0]);
    lose_items(streams, &conn->ends[1]);
}

static struct conn *find(const struct sim_streams *streams, uint32_t node, uint32_t id,
                         unsigned *side)
{
    for (uint32_t i = streams->conns_count; i-- > 0;) {
        struct conn *conn = streams->conns[i];
        for (unsigned s = 0; s < 2; s++) {
            const struct end *end = &conn->ends[s];
            if (conn->state != CONN_DEAD && end->open && end->node == node && end->id == id) {
                *side = s;
                return conn;
            }
        }
    }
    return NULL;
}

static bool is_blocked(const struct sim_streams *streams, const struct conn *conn, unsigned from)
{
    return sim_net_blocked(streams->net, conn->ends[from].node, conn->ends[1 - from].node,
                           conn->remote.ip.family);
}

static uint32_t index_of(const struct sim_streams *streams, const struct conn *conn)
{
    for (uint32_t i = streams->conns_count; i-- > 0;) {
        if (streams->conns[i] == conn) {
            return i;
        }
    }
    UNREACHABLE();
}

/* ---- connecting ---- */

static void try_connect(void *context, uint64_t value);

static bool is_listening(const struct sim_streams *streams, uint32_t node, uint16_t port)
{
    for (uint32_t i = 0; i < streams->listeners_count; i++) {
        if (streams->listeners[i].node == node && streams->listeners[i].port == port) {
            return true;
        }
    }
    return false;
}

static void fail_connect(struct sim_streams *streams, struct conn *conn, enum err reason)
{
    tell_closed(streams, conn, 0, reason);
    kill(streams, conn);
}

static void establish(struct sim_streams *streams, struct conn *conn)
{
    conn->state = CONN_OPEN;
    conn->ends[1].open = true;
    conn->ends[1].id = streams->next_accepted++;
    tell(streams, conn, 1, (struct gateway_stream_event){.kind = GATEWAY_STREAM_ACCEPTED});
    if (conn->state == CONN_OPEN && conn->ends[0].open) {
        tell(streams, conn, 0, (struct gateway_stream_event){.kind = GATEWAY_STREAM_OPENED});
    }
}

static void try_connect(void *context, uint64_t value)
{
    struct sim_streams *streams = context;
    struct conn *conn = streams->conns[value];
    if (conn->state != CONN_CONNECTING) {
        return;
    }
    if (conn->unroutable) {
        fail_connect(streams, conn, ERR_UNREACHABLE);
        return;
    }
    uint32_t target = sim_net_find_public(streams->net, &conn->remote.ip);
    conn->ends[1].node = target;
    bool silent = target == STREAM_NODE_UNKNOWN || streams->faults[target].silent ||
                  is_blocked(streams, conn, 0) || is_blocked(streams, conn, 1);
    if (silent && streams->sched->now_ns - conn->started_ns >= CONNECT_TIMEOUT_NS) {
        fail_connect(streams, conn, ERR_TIMEOUT);
        return;
    }
    if (silent) {
        sim_sched_in(streams->sched, (struct duration){2 * STALL_RETRY_NS}, try_connect, streams,
                     value);
        return;
    }
    const struct sim_stream_faults *faults = &streams->faults[target];
    if (faults->refuse || !is_listening(streams, target, conn->port)) {
        fail_connect(streams, conn, ERR_REFUSED);
        return;
    }
    if (faults->tls_failure != ERR_NONE) {
        fail_connect(streams, conn, faults->tls_failure);
        return;
    }
    establish(streams, conn);
}

void sim_stream_connect(struct sim_streams *streams, uint32_t node, uint32_t id,
                        const struct sock_addr *remote)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    ASSERT(conn != NULL);
    conn->remote = *remote;
    conn->port = remote->port;
    conn->started_ns = streams->sched->now_ns;
    conn->ends[0].node = node;
    conn->ends[0].id = id;
    conn->ends[0].open = true;
    conn->ends[1].node = STREAM_NODE_UNKNOWN;
    streams->conns = realloc(streams->conns, (streams->conns_count + 1) * sizeof(struct conn *));
    ASSERT(streams->conns != NULL);
    uint32_t index = streams->conns_count++;
    streams->conns[index] = conn;
    const struct sim_host_addresses *own = sim_net_addresses(streams->net, node);
    uint8_t have = remote->ip.family == IP_V4 ? own->ipv4.family : own->ipv6.family;
    uint32_t target = sim_net_find_public(streams->net, &remote->ip);
    uint64_t trip = target == STREAM_NODE_UNKNOWN
                        ? 0
                        : 3 * sim_net_latency(streams->net, node, target); /* TCP and TLS */
    conn->unroutable = have == IP_NONE;
    sim_sched_in(streams->sched, (struct duration){trip}, try_connect, streams, index);
}

/* ---- data ---- */

static void deliver(void *context, uint64_t value);

static void push(struct sim_streams *streams, struct conn *conn, unsigned side, struct item item)
{
    struct end *end = &conn->ends[side];
    if (end->head == end->count) {
        end->head = 0;
        end->count = 0;
    }
    if (end->count == end->capacity) {
        end->capacity = end->capacity == 0 ? 8 : end->capacity * 2;
        end->items = realloc(end->items, end->capacity * sizeof(end->items[0]));
        ASSERT(end->items != NULL);
    }
    uint64_t earliest = end->last_ns + (item.kind == ITEM_MARK ? 0 : SEGMENT_GAP_NS);
    item.at_ns = item.at_ns < earliest ? earliest : item.at_ns;
    end->last_ns = item.at_ns;
    end->items[end->count++] = item;
    sim_sched_at(streams->sched, item.at_ns, deliver, streams,
                 (uint64_t)index_of(streams, conn) * 2 + side);
}

static uint64_t arrival(const struct sim_streams *streams, const struct conn *conn, unsigned side,
                        struct sim_dice *dice)
{
    uint64_t latency =
        sim_net_latency(streams->net, conn->ends[side].node, conn->ends[1 - side].node);
    uint64_t jitter = sim_dice_between(dice, 0, SEGMENT_JITTER_NS);
    return streams->sched->now_ns + latency + jitter;
}

static void push_bytes(struct sim_streams *streams, struct conn *conn, unsigned side,
                       struct view bytes)
{
    struct end *end = &conn->ends[side];
    const struct sim_stream_faults *faults = &streams->faults[conn->ends[1].node];
    size_t most = faults->segment_max == 0 ? SEGMENT_MAX : faults->segment_max;
    while (bytes.len > 0) {
        uint64_t stream = sim_stream_of(SIM_FAMILY_STREAM, index_of(streams, conn) & 0xffffU, side);
        struct sim_dice dice = sim_dice_at(streams->rng, stream, end->ordinal++);
        size_t len = bytes.len < most ? bytes.len : most;
        if (!sim_dice_chance(&dice, WHOLE_SEGMENT_PPM)) {
            len = (size_t)sim_dice_between(&dice, 1, len);
        }
        struct item item = {.kind = ITEM_BYTES, .bytes = malloc(len), .len = len};
        ASSERT(item.bytes != NULL);
        memcpy(item.bytes, bytes.at, len);
        item.at_ns = arrival(streams, conn, side, &dice);
        end->in_flight += len;
        push(streams, conn, side, item);
        bytes = view_sub(bytes, len, bytes.len - len);
    }
}

static bool is_hollow(const struct sim_streams *streams, const struct conn *conn)
{
    return conn->hollow || streams->faults[conn->ends[1].node].half_open;
}

enum err sim_stream_send(struct sim_streams *streams, uint32_t node, uint32_t id, struct view bytes,
                         size_t *taken)
{
    unsigned side = 0;
    struct conn *conn = find(streams, node, id, &side);
    *taken = 0;
    if (conn == NULL || conn->state != CONN_OPEN) {
        return ERR_CLOSED;
    }
    struct end *end = &conn->ends[side];
    size_t window = streams->windows[node];
    size_t room = window == 0 ? bytes.len : (window > end->in_flight ? window - end->in_flight : 0);
    size_t len = bytes.len < room ? bytes.len : room;
    end->short_take = len < bytes.len;
    *taken = len;
    if (len == 0) {
        return ERR_NONE;
    }
    struct view part = view_sub(bytes, 0, len);
    sim_trace_bytes(streams->trace, (uint16_t)node, SIM_KIND_STREAM_SENT, id, part);
    end->sent += len;
    conn->hollow = is_hollow(streams, conn);
    if (!conn->hollow) {
        push_bytes(streams, conn, side, part);
    }
    return ERR_NONE;
}

static bool has_item(const struct end *end)
{
    return end->count > end->head;
}

static struct item pop(struct end *end)
{
    return end->items[end->head++];
}

static void owe_writable(struct sim_streams *streams, struct conn *conn, unsigned side)
{
    struct end *end = &conn->ends[side];
    if (end->short_take && end->open && conn->state == CONN_OPEN) {
        end->short_take = false;
        tell(streams, conn, side, (struct gateway_stream_event){.kind = GATEWAY_STREAM_WRITABLE});
    }
}

static void deliver_bytes(struct sim_streams *streams, struct conn *conn, unsigned side,
                          struct item *item)
{
    struct end *to = &conn->ends[1 - side];
    conn->ends[side].in_flight -= item->len;
    to->received += item->len;
    if (to->open) {
        tell(streams, conn, 1 - side,
             (struct gateway_stream_event){.kind = GATEWAY_STREAM_BYTES,
                                           .bytes = {item->bytes, item->len}});
    }
    /* What the marks right behind these bytes stand for has been heard, whatever comes now. */
    while (has_item(&conn->ends[side]) && to->open &&
           conn->ends[side].items[conn->ends[side].head].kind == ITEM_MARK) {
        streams->sink.mark(streams->sink.self, pop(&conn->ends[side]).token, false);
    }
    uint64_t cut = streams->faults[conn->ends[1].node].cut_after;
    if (cut != 0 && to->received >= cut && conn->state == CONN_OPEN) {
        tell_closed(streams, conn, 0, ERR_IO);
        tell_closed(streams, conn, 1, ERR_IO);
        kill(streams, conn);
        return;
    }
    owe_writable(streams, conn, side);
}

static void deliver_item(struct sim_streams *streams, struct conn *conn, unsigned side,
                         struct item *item)
{
    switch (item->kind) {
    case ITEM_BYTES:
        deliver_bytes(streams, conn, side, item);
        break;
    case ITEM_FIN:
        tell_closed(streams, conn, 1 - side, ERR_CLOSED);
        if (!conn->ends[side].open) {
            kill(streams, conn);
        }
        break;
    case ITEM_MARK:
        /* Who has closed its end hears nothing of what still arrives. */
        streams->sink.mark(streams->sink.self, item->token, !conn->ends[1 - side].open);
        break;
    default:
        UNREACHABLE();
    }
}

static void retry(void *context, uint64_t value)
{
    struct sim_streams *streams = context;
    streams->conns[value / 2]->ends[value % 2].stalled = false;
    deliver(context, value);
}

static void deliver(void *context, uint64_t value)
{
    struct sim_streams *streams = context;
    struct conn *conn = streams->conns[value / 2];
    unsigned side = value % 2;
    struct end *end = &conn->ends[side];
    if (conn->state == CONN_DEAD || end->stalled || !has_item(end) ||
        end->items[end->head].at_ns > streams->sched->now_ns) {
        return;
    }
    if (is_hollow(streams, conn)) {
        conn->hollow = true;
        lose_items(streams, end);
        return;
    }
    if (is_blocked(streams, conn, side)) {
        end->stalled = true;
        sim_sched_in(streams->sched, (struct duration){STALL_RETRY_NS}, retry, streams, value);
        return;
    }
    /* After a stall several are due at once; later events of this end find nothing then. */
    while (conn->state != CONN_DEAD && has_item(end) &&
           end->items[end->head].at_ns <= streams->sched->now_ns) {
        struct item item = pop(end);
        deliver_item(streams, conn, side, &item);
        free(item.bytes);
    }
}

/* ---- ends ---- */

void sim_stream_close(struct sim_streams *streams, uint32_t node, uint32_t id)
{
    unsigned side = 0;
    struct conn *conn = find(streams, node, id, &side);
    if (conn == NULL) {
        return;
    }
    conn->ends[side].open = false;
    if (conn->state == CONN_CONNECTING) {
        kill(streams, conn);
        return;
    }
    struct end *end = &conn->ends[side];
    struct sim_dice dice = sim_dice_at(
        streams->rng, sim_stream_of(SIM_FAMILY_STREAM, index_of(streams, conn) & 0xffffU, side),
        end->ordinal++);
    push(streams, conn, side,
         (struct item){.kind = ITEM_FIN, .at_ns = arrival(streams, conn, side, &dice)});
}

/* The abort reaches the other side: value is the conn and the side that is told. */
static void reset_arrives(void *context, uint64_t value)
{
    struct sim_streams *streams = context;
    struct conn *conn = streams->conns[value / 2];
    if (conn->state != CONN_DEAD) {
        tell_closed(streams, conn, value % 2, ERR_IO);
        kill(streams, conn);
    }
}

static void abort_conn(struct sim_streams *streams, struct conn *conn, unsigned side)
{
    conn->ends[side].open = false;
    if (conn->state == CONN_CONNECTING) {
        kill(streams, conn);
        return;
    }
    lose_items(streams, &conn->ends[side]);
    bool reaches = !is_blocked(streams, conn, side) && !is_hollow(streams, conn);
    if (reaches) {
        uint64_t latency =
            sim_net_latency(streams->net, conn->ends[side].node, conn->ends[1 - side].node);
        sim_sched_in(streams->sched, (struct duration){latency}, reset_arrives, streams,
                     (uint64_t)index_of(streams, conn) * 2 + (1 - side));
    }
}

void sim_stream_reset(struct sim_streams *streams, uint32_t node, uint32_t id)
{
    unsigned side = 0;
    struct conn *conn = find(streams, node, id, &side);
    if (conn != NULL) {
        abort_conn(streams, conn, side);
    }
}

void sim_stream_reset_node(struct sim_streams *streams, uint32_t node)
{
    for (uint32_t i = 0; i < streams->conns_count; i++) {
        struct conn *conn = streams->conns[i];
        for (unsigned side = 0; side < 2; side++) {
            if (conn->state != CONN_DEAD && conn->ends[side].open &&
                conn->ends[side].node == node) {
                abort_conn(streams, conn, side);
            }
        }
    }
}

void sim_stream_orphan_node(struct sim_streams *streams, uint32_t node)
{
    for (uint32_t i = 0; i < streams->conns_count; i++) {
        struct conn *conn = streams->conns[i];
        for (unsigned side = 0; side < 2; side++) {
            if (conn->state != CONN_DEAD && conn->ends[side].node == node) {
                tell_closed(streams, conn, side, ERR_IO);
                lose_items(streams, &conn->ends[0]);
                lose_items(streams, &conn->ends[1]);
            }
        }
    }
}

uint32_t sim_stream_peer(const struct sim_streams *streams, uint32_t node, uint32_t id)
{
    unsigned side = 0;
    const struct conn *conn = find(streams, node, id, &side);
    return conn == NULL || conn->ends[1 - side].id == 0 ? UINT32_MAX : conn->ends[1 - side].node;
}

bool sim_stream_is_mute(struct sim_streams *streams, uint32_t node, uint32_t id)
{
    unsigned side = 0;
    const struct conn *conn = find(streams, node, id, &side);
    return conn == NULL || conn->state != CONN_OPEN || !conn->ends[1 - side].open ||
           is_hollow(streams, conn);
}

void sim_stream_mark(struct sim_streams *streams, uint32_t node, uint32_t id, uint64_t token)
{
    unsigned side = 0;
    struct conn *conn = find(streams, node, id, &side);
    if (sim_stream_is_mute(streams, node, id)) {
        streams->sink.mark(streams->sink.self, token, true);
        return;
    }
    push(streams, conn, side,
         (struct item){.kind = ITEM_MARK, .at_ns = conn->ends[side].last_ns, .token = token});
}
