#include "sim/sim_net.h"

#include <stdlib.h>
#include <string.h>

#define LAN_LATENCY_NS (200 * NS_PER_US)
#define EDGES_DEEP_MAX 4U /* layers of NAT in front of one node */

struct pipe {
    struct sim_link link;
    uint64_t ordinal;    /* packets so far: names their draws */
    bool bad;            /* two-state burst loss */
    uint64_t last_ns;    /* arrival of the latest packet in order */
    uint64_t free_at_ns; /* when a rate-limited link has sent everything */
};

struct node {
    uint32_t edge;
    struct sim_host_addresses addresses;
    struct pipe pipes[2];
    bool up;
    uint8_t blocked[SIM_NODES_MAX]; /* families that do not reach the other node */
};

struct edge {
    struct sim_nat *nat;
    uint32_t parent;
};

/* A datagram in flight; slots are reused through a free list. */
struct flight {
    uint32_t from;
    uint32_t to; /* known after the core */
    struct sock_addr source;
    struct sock_addr destination;
    uint8_t ecn;
    uint8_t *bytes;
    size_t len;
    uint32_t next_free;
};

struct sim_net {
    struct sim_sched *sched;
    struct sim_trace *trace;
    const struct sim_rng *rng;
    sim_deliver_fn *deliver;
    void *self;
    struct node nodes[SIM_NODES_MAX];
    uint32_t nodes_count;
    struct edge edges[SIM_EDGES_MAX];
    uint32_t edges_count;
    struct flight *flights;
    uint32_t flights_count;
    uint32_t free_flight;
    struct sim_net_counts counts;
};

struct sim_net *sim_net_new(struct sim_sched *sched, struct sim_trace *trace,
                            const struct sim_rng *rng, sim_deliver_fn *deliver, void *self)
{
    struct sim_net *net = calloc(1, sizeof(*net));
    ASSERT(net != NULL);
    net->sched = sched;
    net->trace = trace;
    net->rng = rng;
    net->deliver = deliver;
    net->self = self;
    net->free_flight = UINT32_MAX;
    return net;
}

void sim_net_free(struct sim_net *net)
{
    if (net == NULL) {
        return;
    }
    for (uint32_t i = 0; i < net->edges_count; i++) {
        sim_nat_free(net->edges[i].nat);
    }
    for (uint32_t i = 0; i < net->flights_count; i++) {
        free(net->flights[i].bytes);
    }
    free(net->flights);
    free(net);
}

/* ---- topology ---- */

static struct node *node_of(struct sim_net *net, uint32_t node)
{
    ASSERT(node < net->nodes_count);
    return &net->nodes[node];
}

static const struct node *node_at(const struct sim_net *net, uint32_t node)
{
    ASSERT(node < net->nodes_count);
    return &net->nodes[node];
}

uint32_t sim_net_add_edge(struct sim_net *net, const struct sim_nat_config *config, uint32_t parent)
{
    ASSERT(net->edges_count < SIM_EDGES_MAX);
    ASSERT(parent == SIM_EDGE_NONE || parent < net->edges_count);
    uint32_t index = net->edges_count++;
    net->edges[index].nat = sim_nat_new(config, net->rng, index);
    net->edges[index].parent = parent;
    return index;
}

uint32_t sim_net_add_node(struct sim_net *net, uint32_t edge, const char *name)
{
    ASSERT(net->nodes_count < SIM_NODES_MAX);
    ASSERT(edge == SIM_EDGE_NONE || edge < net->edges_count);
    uint32_t index = net->nodes_count++;
    net->nodes[index].edge = edge;
    net->nodes[index].up = true;
    sim_trace_set_name(net->trace, (uint16_t)index, name);
    return index;
}

void sim_net_set_addresses(struct sim_net *net, uint32_t node,
                           const struct sim_host_addresses *addresses)
{
    node_of(net, node)->addresses = *addresses;
}

const struct sim_host_addresses *sim_net_addresses(const struct sim_net *net, uint32_t node)
{
    return &node_at(net, node)->addresses;
}

void sim_net_move(struct sim_net *net, uint32_t node, uint32_t edge)
{
    ASSERT(edge == SIM_EDGE_NONE || edge < net->edges_count);
    node_of(net, node)->edge = edge;
}

uint32_t sim_net_edge(const struct sim_net *net, uint32_t node)
{
    return node_at(net, node)->edge;
}

void sim_net_set_link(struct sim_net *net, uint32_t node, enum sim_direction direction,
                      const struct sim_link *link)
{
    node_of(net, node)->pipes[direction].link = *link;
}

const struct sim_link *sim_net_link(const struct sim_net *net, uint32_t node,
                                    enum sim_direction direction)
{
    return &node_at(net, node)->pipes[direction].link;
}

void sim_net_set_up(struct sim_net *net, uint32_t node, bool up)
{
    node_of(net, node)->up = up;
}

void sim_net_block(struct sim_net *net, uint32_t from, uint32_t to, enum sim_families families,
                   bool blocked)
{
    ASSERT(to < net->nodes_count);
    uint8_t *mask = &node_of(net, from)->blocked[to];
    *mask = (uint8_t)(blocked ? *mask | (unsigned)families : *mask & ~(unsigned)families);
}

bool sim_net_blocked(const struct sim_net *net, uint32_t from, uint32_t to, enum ip_family family)
{
    unsigned mask = node_at(net, from)->blocked[to];
    return (mask & (family == IP_V4 ? SIM_FAMILIES_V4 : SIM_FAMILIES_V6)) != 0;
}

void sim_net_heal(struct sim_net *net)
{
    for (uint32_t i = 0; i < net->nodes_count; i++) {
        memset(net->nodes[i].blocked, 0, sizeof(net->nodes[i].blocked));
    }
}

void sim_net_reboot_edge(struct sim_net *net, uint32_t edge)
{
    ASSERT(edge < net->edges_count);
    sim_nat_reboot(net->edges[edge].nat);
}

void sim_net_change_edge(struct sim_net *net, uint32_t edge, enum sim_nat_dependence mapping,
                         enum sim_nat_dependence filtering)
{
    ASSERT(edge < net->edges_count);
    sim_nat_change(net->edges[edge].nat, mapping, filtering);
}

static bool node_has(const struct node *node, const struct ip_addr *ip)
{
    return ip_equal(&node->addresses.ipv4, ip) || ip_equal(&node->addresses.ipv6, ip);
}

static uint32_t find_in_site(const struct sim_net *net, uint32_t edge, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < net->nodes_count; i++) {
        if (net->nodes[i].edge == edge && node_has(&net->nodes[i], ip)) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* True when IPv4 hosts behind this edge keep public addresses all the way. */
static bool is_transparent_v4(const struct sim_net *net, uint32_t edge)
{
    while (edge != SIM_EDGE_NONE) {
        if (sim_nat_config(net->edges[edge].nat)->translate_v4) {
            return false;
        }
        edge = net->edges[edge].parent;
    }
    return true;
}

uint32_t sim_net_find_public(const struct sim_net *net, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < net->nodes_count; i++) {
        const struct node *node = &net->nodes[i];
        bool routed = ip->family == IP_V6 || is_transparent_v4(net, node->edge);
        if (routed && node_has(node, ip)) {
            return i;
        }
    }
    return UINT32_MAX;
}

uint64_t sim_net_latency(const struct sim_net *net, uint32_t from, uint32_t to)
{
    return node_at(net, from)->pipes[SIM_UP].link.latency_ns +
           node_at(net, to)->pipes[SIM_DOWN].link.latency_ns;
}

struct sim_place sim_net_place(const struct sim_net *net, uint32_t node)
{
    const struct node *n = node_at(net, node);
    struct sim_place place = {
        .edge = n->edge == SIM_EDGE_NONE ? NULL : sim_nat_config(net->edges[n->edge].nat),
        .site = n->edge,
        .has_v4 = n->addresses.ipv4.family != IP_NONE,
        .has_v6 = n->addresses.ipv6.family != IP_NONE,
    };
    return place;
}

const struct sim_net_counts *sim_net_counts(const struct sim_net *net)
{
    return &net->counts;
}

/* ---- datagrams in flight ---- */

/* `bytes` may belong to another flight: only the table moves when it grows. */
static uint32_t flight_new(struct sim_net *net, const struct flight *like, struct view bytes)
{
    uint32_t index = net->free_flight;
    if (index == UINT32_MAX) {
        net->flights = realloc(net->flights, (net->flights_count + 1) * sizeof(net->flights[0]));
        ASSERT(net->flights != NULL);
        index = net->flights_count++;
    } else {
        net->free_flight = net->flights[index].next_free;
    }
    struct flight *flight = &net->flights[index];
    *flight = *like;
    flight->bytes = malloc(bytes.len == 0 ? 1 : bytes.len);
    ASSERT(flight->bytes != NULL);
    flight->len = bytes.len;
    if (bytes.len > 0) {
        memcpy(flight->bytes, bytes.at, bytes.len);
    }
    return index;
}

static void flight_end(struct sim_net *net, uint32_t index)
{
    struct flight *flight = &net->flights[index];
    free(flight->bytes);
    flight->bytes = NULL;
    flight->next_free = net->free_flight;
    net->free_flight = index;
}

static void note(struct sim_net *net, uint32_t node, enum sim_kind kind,
                 const struct flight *flight, const char *cause)
{
    struct sock_addr ends[2] = {flight->source, flight->destination};
    struct view bytes = {flight->bytes, flight->len};
    sim_trace_datagram(net->trace, (uint16_t)node, kind, ends, bytes, cause);
}

static void flight_drop(struct sim_net *net, uint32_t index, uint32_t node, const char *cause)
{
    note(net, node, SIM_KIND_DROPPED, &net->flights[index], cause);
    net->counts.dropped++;
    flight_end(net, index);
}

/* ---- links ---- */

/* What a link does to one packet. */
struct fate {
    const char *drop; /* cause or NULL */
    uint64_t at_ns;
    bool duplicate;
    uint64_t duplicate_at_ns;
};

static const char *lose(struct pipe *pipe, struct sim_dice *dice, size_t len)
{
    const struct sim_link *link = &pipe->link;
    if (sim_dice_chance(dice, pipe->bad ? link->burst_leave_ppm : link->burst_enter_ppm)) {
        pipe->bad = !pipe->bad;
    }
    if (sim_dice_chance(dice, link->loss_ppm)) {
        return "loss";
    }
    bool unlucky = sim_dice_chance(dice, link->burst_loss_ppm);
    if (pipe->bad && unlucky) {
        return "burst";
    }
    return link->mtu != 0 && len > link->mtu ? "mtu" : NULL;
}

static void corrupt(struct sim_net *net, const struct sim_link *link, struct sim_dice *dice,
                    struct flight *flight)
{
    bool flip = sim_dice_chance(dice, link->flip_ppm);
    bool cut = sim_dice_chance(dice, link->truncate_ppm);
    uint64_t where = sim_dice_u64(dice);
    if (flip && flight->len > 0) {
        size_t bit = where % (flight->len * 8);
        flight->bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        net->counts.corrupted++;
    }
    if (cut && flight->len > 0) {
        flight->len -= 1 + where % flight->len;
        net->counts.corrupted++;
    }
}

/* Time at which a rate-limited link has sent the packet; UINT64_MAX: the queue is full. */
static uint64_t serialise(struct pipe *pipe, uint64_t now_ns, size_t len)
{
    const struct sim_link *link = &pipe->link;
    if (link->bytes_per_s == 0) {
        return now_ns;
    }
    uint64_t start = pipe->free_at_ns > now_ns ? pipe->free_at_ns : now_ns;
    uint64_t queued = (start - now_ns) / NS_PER_US * link->bytes_per_s / 1000000;
    if (queued > link->queue_bytes) {
        return UINT64_MAX;
    }
    pipe->free_at_ns = start + len * NS_PER_S / link->bytes_per_s;
    return pipe->free_at_ns;
}

static struct fate pass(struct sim_net *net, uint32_t node, enum sim_direction direction,
                        struct flight *flight)
{
    struct pipe *pipe = &net->nodes[node].pipes[direction];
    const struct sim_link *link = &pipe->link;
    struct sim_dice dice = sim_dice_at(
        net->rng, sim_stream_of(SIM_FAMILY_LINK, node, (uint32_t)direction), pipe->ordinal++);
    struct fate fate = {.drop = lose(pipe, &dice, flight->len)};
    if (fate.drop != NULL) {
        return fate;
    }
    corrupt(net, link, &dice, flight);
    uint64_t sent = serialise(pipe, net->sched->now_ns, flight->len);
    if (sent == UINT64_MAX) {
        fate.drop = "queue";
        return fate;
    }
    fate.at_ns = sent + link->latency_ns + sim_dice_between(&dice, 0, link->jitter_ns);
    if (sim_dice_chance(&dice, link->reorder_ppm)) {
        fate.at_ns += sim_dice_between(&dice, 0, link->reorder_delay_ns);
        net->counts.reordered++;
    } else {
        fate.at_ns = fate.at_ns < pipe->last_ns ? pipe->last_ns : fate.at_ns;
        pipe->last_ns = fate.at_ns;
    }
    fate.duplicate = sim_dice_chance(&dice, link->duplicate_ppm);
    fate.duplicate_at_ns = fate.at_ns + sim_dice_between(&dice, 0, link->duplicate_delay_ns);
    return fate;
}

/* Sends flight `index` over a link and plans `next` for its arrival. */
static void travel(struct sim_net *net, uint32_t index, uint32_t node, enum sim_direction direction,
                   sim_event_fn *next)
{
    struct fate fate = pass(net, node, direction, &net->flights[index]);
    if (fate.drop != NULL) {
        flight_drop(net, index, node, fate.drop);
        return;
    }
    sim_sched_at(net->sched, fate.at_ns, next, net, index);
    if (fate.duplicate) {
        struct flight like = net->flights[index];
        uint32_t copy = flight_new(net, &like, (struct view){like.bytes, like.len});
        net->counts.duplicated++;
        sim_sched_at(net->sched, fate.duplicate_at_ns, next, net, copy);
    }
}

/* ---- the way of one datagram ---- */

static void arrive(void *context, uint64_t value)
{
    struct sim_net *net = context;
    uint32_t index = (uint32_t)value;
    struct flight *flight = &net->flights[index];
    if (!net->nodes[flight->to].up) {
        flight_drop(net, index, flight->to, "down");
        return;
    }
    if (!node_has(&net->nodes[flight->to], &flight->destination.ip)) {
        flight_drop(net, index, flight->to, "moved");
        return;
    }
    net->counts.delivered++;
    note(net, flight->to, SIM_KIND_DELIVERED, flight, NULL);
    /* The flight table may grow during the call: work on a copy. */
    struct flight copy = *flight;
    flight->bytes = NULL;
    flight_end(net, index);
    struct sim_datagram datagram = {
        .local = copy.destination,
        .remote = copy.source,
        .bytes = {copy.bytes, copy.len},
        .ecn = copy.ecn,
    };
    net->deliver(net->self, copy.to, &datagram);
    free(copy.bytes);
}

/* Where a datagram is on its way: at which level of edges, seen from the core downwards. */
static uint32_t owner_of_outer(const struct sim_net *net, uint32_t parent, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < net->edges_count; i++) {
        const struct sim_nat_config *config = sim_nat_config(net->edges[i].nat);
        if (net->edges[i].parent == parent && config->translate_v4 &&
            ip_equal(&config->outer, ip)) {
            return i;
        }
    }
    return SIM_EDGE_NONE;
}

/* Enters site `edge` from outside: translates and descends; returns a drop cause or NULL with
 * flight->to set. */
static const char *descend(struct sim_net *net, uint32_t edge, struct flight *flight)
{
    for (uint32_t depth = 0; depth < EDGES_DEEP_MAX; depth++) {
        struct sock_addr inner;
        const char *cause = sim_nat_inbound(net->edges[edge].nat, net->sched->now_ns,
                                            &flight->source, &flight->destination, &inner);
        if (cause != NULL) {
            return cause;
        }
        flight->destination = inner;
        flight->to = find_in_site(net, edge, &inner.ip);
        if (flight->to != UINT32_MAX) {
            return NULL;
        }
        edge = owner_of_outer(net, edge, &inner.ip);
        if (edge == SIM_EDGE_NONE) {
            return "no-such-host";
        }
    }
    return "too-deep";
}

/* IPv6 and untranslated IPv4: passes the firewalls of all edges above the node, outermost first. */
static const char *enter_routed(struct sim_net *net, struct flight *flight)
{
    uint32_t above[EDGES_DEEP_MAX];
    uint32_t count = 0;
    uint32_t edge = net->nodes[flight->to].edge;
    while (edge != SIM_EDGE_NONE) {
        ASSERT(count < EDGES_DEEP_MAX);
        above[count++] = edge;
        edge = net->edges[edge].parent;
    }
    for (uint32_t i = count; i-- > 0;) {
        struct sock_addr inner;
        const char *cause = sim_nat_inbound(net->edges[above[i]].nat, net->sched->now_ns,
                                            &flight->source, &flight->destination, &inner);
        if (cause != NULL) {
            return cause;
        }
    }
    return NULL;
}

/* Leaves the sender's site through its edges. Sets *turned when an edge itself owns the
 * destination and hairpins. */
static const char *ascend(struct sim_net *net, struct flight *flight, bool *turned)
{
    uint32_t edge = net->nodes[flight->from].edge;
    *turned = false;
    while (edge != SIM_EDGE_NONE) {
        struct sim_nat *nat = net->edges[edge].nat;
        const struct sim_nat_config *config = sim_nat_config(nat);
        flight->source =
            sim_nat_outbound(nat, net->sched->now_ns, &flight->source, &flight->destination);
        if (config->translate_v4 && ip_equal(&config->outer, &flight->destination.ip)) {
            *turned = true;
            return config->hairpin ? descend(net, edge, flight) : "no-hairpin";
        }
        edge = net->edges[edge].parent;
        uint32_t sibling = owner_of_outer(net, edge, &flight->destination.ip);
        if (edge != SIM_EDGE_NONE && sibling != SIM_EDGE_NONE) {
            *turned = true;
            return descend(net, sibling, flight);
        }
    }
    return NULL;
}

static const char *route(struct sim_net *net, struct flight *flight)
{
    bool turned = false;
    const char *cause = ascend(net, flight, &turned);
    if (cause != NULL || turned) {
        return cause;
    }
    uint32_t edge = owner_of_outer(net, SIM_EDGE_NONE, &flight->destination.ip);
    if (edge != SIM_EDGE_NONE) {
        return descend(net, edge, flight);
    }
    flight->to = sim_net_find_public(net, &flight->destination.ip);
    return flight->to == UINT32_MAX ? "no-such-address" : enter_routed(net, flight);
}

static void at_core(void *context, uint64_t value)
{
    struct sim_net *net = context;
    uint32_t index = (uint32_t)value;
    struct flight *flight = &net->flights[index];
    const char *cause = route(net, flight);
    if (cause == NULL &&
        sim_net_blocked(net, flight->from, flight->to, flight->destination.ip.family)) {
        cause = "partition";
    }
    if (cause != NULL) {
        flight_drop(net, index, flight->from, cause);
        return;
    }
    travel(net, index, flight->to, SIM_DOWN, arrive);
}

enum err sim_net_send(struct sim_net *net, uint32_t node, const struct sim_datagram *datagram)
{
    const struct node *from = node_of(net, node);
    struct flight flight = {
        .from = node,
        .to = UINT32_MAX,
        .source = datagram->local,
        .destination = datagram->remote,
        .ecn = datagram->ecn,
    };
    bool v4 = datagram->remote.ip.family == IP_V4;
    if (flight.source.ip.family == IP_NONE) {
        flight.source.ip = v4 ? from->addresses.ipv4 : from->addresses.ipv6;
    }
    if (flight.source.ip.family != datagram->remote.ip.family ||
        !node_has(from, &flight.source.ip)) {
        return ERR_UNREACHABLE;
    }
    uint32_t index = flight_new(net, &flight, datagram->bytes);
    net->counts.sent++;
    note(net, node, SIM_KIND_SENT, &net->flights[index], NULL);
    uint32_t neighbour = from->edge == SIM_EDGE_NONE
                             ? UINT32_MAX
                             : find_in_site(net, from->edge, &datagram->remote.ip);
    if (neighbour != UINT32_MAX) {
        net->flights[index].to = neighbour;
        sim_sched_in(net->sched, (struct duration){LAN_LATENCY_NS}, arrive, net, index);
        return ERR_NONE;
    }
    travel(net, index, node, SIM_UP, at_core);
    return ERR_NONE;
}
