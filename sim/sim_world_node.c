#include "sim/sim_world_internal.h"

#include <stdlib.h>
#include <string.h>

struct world_node *world_node_of(struct sim_world *world, uint32_t net)
{
    if (world->portal_node.world != NULL && world->portal_node.net == net) {
        return &world->portal_node;
    }
    for (uint32_t i = 0; i < world->policy.relays_count; i++) {
        if (world->relay_nodes[i].net == net) {
            return &world->relay_nodes[i];
        }
    }
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        if (world->client_nodes[i].net == net) {
            return &world->client_nodes[i];
        }
    }
    return NULL;
}

struct clock_pair world_now(const struct sim_world *world, const struct world_node *node)
{
    return sim_clock_at(&node->clock, world->sched.now_ns);
}

/* ---- notes ---- */

static bool is_client(const struct sim_world *world, const struct world_node *node, uint32_t *index)
{
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        if (&world->client_nodes[i] == node) {
            *index = i;
            return true;
        }
    }
    return false;
}

static void defer_note(struct sim_world *world, const struct world_node *node,
                       const struct sim_note *note)
{
    uint32_t slot = 0;
    while (slot < world->pending_count && world->pending[slot].used) {
        slot++;
    }
    if (slot == world->pending_count) {
        world->pending = realloc(world->pending, (slot + 1) * sizeof(world->pending[0]));
        ASSERT(world->pending != NULL);
        world->pending_count++;
    }
    struct world_pending *pending = &world->pending[slot];
    memset(pending, 0, sizeof(*pending));
    pending->used = true;
    pending->note = *note;
    size_t len =
        note->text.len < sizeof(pending->text) - 1 ? note->text.len : sizeof(pending->text) - 1;
    if (len > 0) {
        memcpy(pending->text, note->text.at, len);
    }
    pending->note.text = VIEW_EMPTY;
    uint32_t process = note->stream == 0 ? WORLD_NOBODY : world_process(world, note->stream);
    if (process != WORLD_NOBODY) {
        pending->note.grant.gateway = process;
    }
    uint32_t stream = node->told[pending->note.grant.gateway];
    pending->unheard = stream == node->broken_stream;
    sim_stream_mark(world->streams, node->net, stream, slot);
}

static void path_note(struct sim_world *world, const struct sim_note *note)
{
    if (view_equal_text(note->text, "direct")) {
        world->report.direct_paths++;
    } else {
        world->report.relay_paths++;
    }
}

static const char *note_name(enum sim_note_kind kind)
{
    switch (kind) {
    case SIM_NOTE_GRANT:
        return "grant";
    case SIM_NOTE_GRANT_EXPIRY:
        return "grant-expiry";
    case SIM_NOTE_REVOKE:
        return "revoke";
    case SIM_NOTE_RESOURCE:
        return "resource";
    case SIM_NOTE_INIT:
        return "init";
    case SIM_NOTE_GATEWAY_JOINED:
        return "gateway-joined";
    case SIM_NOTE_SENT_AWAY:
        return "sent-away";
    case SIM_NOTE_GATEWAY_LOST:
        return "gateway-lost";
    case SIM_NOTE_CLIENT_PATH:
        return "client-path";
    case SIM_NOTE_CLIENT_UP:
        return "client-up";
    case SIM_NOTE_CLIENT_DOWN:
        return "client-down";
    case SIM_NOTE_CLIENT_GOODBYE:
        return "client-goodbye";
    case SIM_NOTE_RESOLVED:
        return "resolved";
    case SIM_NOTE_VIOLATION:
        return "violation";
    case SIM_NOTE_TEXT:
        return "text";
    default:
        UNREACHABLE();
    }
}

static void take_note(struct sim_world *world, const struct world_node *node,
                      const struct sim_note *note)
{
    uint32_t client = 0;
    uint32_t process = 0;
    sim_trace_text(world->trace, (uint16_t)node->net, SIM_KIND_NOTE,
                   "%s %.*s gateway %u client %d resource %d expires %llu", note_name(note->kind),
                   (int)note->text.len, (const char *)note->text.at, note->grant.gateway,
                   (int)sim_policy_client(&world->policy, &note->grant.client),
                   (int)sim_policy_resource(&world->policy, &note->grant.resource),
                   (unsigned long long)note->grant.expires_unix_s);
    switch (note->kind) {
    case SIM_NOTE_GRANT:
    case SIM_NOTE_GRANT_EXPIRY:
    case SIM_NOTE_REVOKE:
    case SIM_NOTE_RESOURCE:
    case SIM_NOTE_INIT:
        defer_note(world, node, note);
        break;
    case SIM_NOTE_CLIENT_PATH:
        path_note(world, note);
        break;
    case SIM_NOTE_CLIENT_GOODBYE:
        if (is_client(world, node, &client)) {
            world->gateways[note->grant.gateway].goodbyes[client] = true;
            world->gateways[note->grant.gateway + SIM_TWIN].goodbyes[client] = true;
        }
        break;
    case SIM_NOTE_RESOLVED:
        if (is_client(world, node, &client)) {
            world_app_resolved(world, client, note);
        }
        break;
    case SIM_NOTE_VIOLATION:
        world_fail(world, "O-13", "%s: %.*s", node->node.ops->kind, (int)note->text.len,
                   (const char *)note->text.at);
        break;
    case SIM_NOTE_SENT_AWAY:
        process = world_process(world, note->stream);
        if (process != WORLD_NOBODY) {
            world->gateways[process].sent_away = true;
        }
        break;
    case SIM_NOTE_GATEWAY_JOINED:
    case SIM_NOTE_GATEWAY_LOST:
    case SIM_NOTE_CLIENT_UP:
    case SIM_NOTE_CLIENT_DOWN:
    case SIM_NOTE_TEXT:
    default:
        break;
    }
}

void world_mark(void *self, uint64_t token, bool lost)
{
    struct sim_world *world = self;
    struct world_pending *pending = &world->pending[token];
    ASSERT(pending->used);
    pending->used = false;
    const struct sim_note *note = &pending->note;
    sim_trace_text(world->trace, (uint16_t)world->gateways[note->grant.gateway].net, SIM_KIND_NOTE,
                   "%s %s", note_name(note->kind), lost ? "lost" : "told");
    if (!lost) {
        sim_judge_flows_forget(world->judge, note->grant.gateway);
    }
    if (lost || (pending->unheard && note->kind != SIM_NOTE_GRANT)) {
        return;
    }
    switch (note->kind) {
    case SIM_NOTE_GRANT:
        if (strcmp(pending->text, "init") == 0) {
            if (!world->gateways[note->grant.gateway].renews) {
                sim_model_retain(world->model, &note->grant);
            }
        } else if (pending->unheard) {
            sim_model_grant_unsure(world->model, &note->grant, &note->resource);
        } else {
            sim_model_grant(world->model, &note->grant, &note->resource);
        }
        break;
    case SIM_NOTE_GRANT_EXPIRY:
        sim_model_expiry(world->model, &note->grant);
        break;
    case SIM_NOTE_REVOKE:
        sim_model_revoke(world->model, &note->grant);
        break;
    case SIM_NOTE_RESOURCE:
        sim_model_resource(world->model, note->grant.gateway, &note->resource);
        break;
    case SIM_NOTE_INIT:
        world_init_told(&world->gateways[note->grant.gateway], strcmp(pending->text, "keep") == 0);
        break;
    case SIM_NOTE_SENT_AWAY:
    case SIM_NOTE_GATEWAY_JOINED:
    case SIM_NOTE_GATEWAY_LOST:
    case SIM_NOTE_CLIENT_PATH:
    case SIM_NOTE_CLIENT_UP:
    case SIM_NOTE_CLIENT_DOWN:
    case SIM_NOTE_CLIENT_GOODBYE:
    case SIM_NOTE_RESOLVED:
    case SIM_NOTE_VIOLATION:
    case SIM_NOTE_TEXT:
    default:
        UNREACHABLE();
    }
}

/* ---- outboxes ---- */

/* A gateway that connects again has two connections for a while, and both get what is pushed. Its
 * mark follows the one that still delivers. */
static bool reached_before(const struct world_node *node, const struct sim_out *out, size_t index,
                           uint32_t stream)
{
    for (size_t i = 0; i < index; i++) {
        const struct sim_out *before = sim_outbox_at(node->outbox, i);
        if (before->kind == SIM_OUT_STREAM_SEND && view_equal(before->bytes, out->bytes) &&
            before->stream == stream &&
            !sim_stream_is_mute(node->world->streams, node->net, before->stream)) {
            return true;
        }
    }
    return false;
}

static void send_stream(struct world_node *node, const struct sim_out *out, size_t index)
{
    struct sim_world *world = node->world;
    size_t taken = 0;
    enum err err = sim_stream_send(world->streams, node->net, out->stream, out->bytes, &taken);
    if (err == ERR_NONE) {
        ASSERT(taken == out->bytes.len);
    }
    uint32_t process =
        node == &world->portal_node ? world_process(world, out->stream) : WORLD_NOBODY;
    uint32_t *told = &node->told[process == WORLD_NOBODY ? SIM_GATEWAYS_MAX : process];
    if (!sim_stream_is_mute(world->streams, node->net, out->stream) ||
        !reached_before(node, out, index, *told)) {
        *told = out->stream;
        node->last_stream = out->stream;
    }
}

static void carry_out(struct world_node *node, const struct sim_out *out, size_t index)
{
    struct sim_world *world = node->world;
    uint32_t client = 0;
    switch (out->kind) {
    case SIM_OUT_DATAGRAM:
        (void)sim_net_send(world->net, node->net, &out->datagram);
        break;
    case SIM_OUT_STREAM_OPEN:
        sim_stream_connect(world->streams, node->net, out->stream, &out->address);
        break;
    case SIM_OUT_STREAM_SEND:
        send_stream(node, out, index);
        break;
    case SIM_OUT_STREAM_CLOSE:
        sim_stream_close(world->streams, node->net, out->stream);
        break;
    case SIM_OUT_STREAM_RESET:
        sim_stream_reset(world->streams, node->net, out->stream);
        break;
    case SIM_OUT_TUN:
        if (is_client(world, node, &client)) {
            world_app_receive(world, client, out->bytes);
        }
        break;
    case SIM_OUT_NOTE:
        take_note(world, node, &out->note);
        break;
    case SIM_OUT_BIND:
    case SIM_OUT_UNBIND:
    default:
        break;
    }
}

static void wake(void *context, uint64_t value);

static void plan(struct world_node *node)
{
    struct sim_world *world = node->world;
    struct instant at = node->node.ops->poll_timeout == NULL
                            ? TIME_NEVER
                            : node->node.ops->poll_timeout(node->node.self).at;
    uint64_t at_ns = sim_clock_world(&node->clock, at);
    if (at_ns == UINT64_MAX) {
        node->wake_ns = UINT64_MAX;
        return;
    }
    at_ns = at_ns < world->sched.now_ns ? world->sched.now_ns : at_ns;
    if (at_ns == node->wake_ns) {
        return;
    }
    node->wake_ns = at_ns;
    if (at_ns > world->sched.now_ns && at_ns == node->queued_ns) {
        return; /* the event of an earlier plan is still there */
    }
    node->queued_ns = at_ns > world->sched.now_ns ? at_ns : node->queued_ns;
    sim_sched_at(&world->sched, at_ns, wake, node, 0);
}

/* What applications do in answer to an output (a TCP acknowledgement) is put behind it: the outbox
 * grows while it is carried out. */
void world_node_flush(struct world_node *node)
{
    if (node->carrying) {
        return;
    }
    node->carrying = true;
    for (size_t i = 0; i < sim_outbox_count(node->outbox); i++) {
        struct sim_out out = *sim_outbox_at(node->outbox, i);
        uint8_t copy[SIM_PACKET_MAX];
        if (out.kind == SIM_OUT_TUN && out.bytes.len <= sizeof(copy)) {
            memcpy(copy, out.bytes.at, out.bytes.len);
            out.bytes.at = copy;
        }
        carry_out(node, &out, i);
    }
    sim_outbox_clear(node->outbox);
    node->carrying = false;
    if (node->node.ops->check != NULL) {
        node->node.ops->check(node->node.self);
    }
    plan(node);
}

static void wake(void *context, uint64_t value)
{
    struct world_node *node = context;
    (void)value;
    if (node->wake_ns != node->world->sched.now_ns || !node->up) {
        return;
    }
    node->wake_ns = UINT64_MAX;
    struct clock_pair now = world_now(node->world, node);
    if (node->node.ops->handle_timeout != NULL) {
        node->node.ops->handle_timeout(node->node.self, now, node->outbox);
    }
    world_node_flush(node);
}

/* ---- inputs ---- */

void world_datagram(void *self, uint32_t net, const struct sim_datagram *datagram)
{
    struct sim_world *world = self;
    struct world_gateway *gateway = world_gateway_of(world, net);
    if (gateway != NULL) {
        struct world_capture *capture =
            &world->captures[world->captures_count++ % WORLD_CAPTURE_MAX];
        capture->gateway = gateway->index;
        capture->datagram = *datagram;
        capture->len = datagram->bytes.len < sizeof(capture->bytes) ? datagram->bytes.len : 0;
        if (capture->len > 0) {
            memcpy(capture->bytes, datagram->bytes.at, capture->len);
        }
        sim_platform_datagram(sim_gateway_platform(gateway->gateway), datagram);
        return;
    }
    struct world_node *node = world_node_of(world, net);
    if (node != NULL && node->up && node->node.ops->handle_datagram != NULL) {
        node->node.ops->handle_datagram(node->node.self, world_now(world, node), datagram,
                                        node->outbox);
        world_node_flush(node);
    }
}

void world_stream(void *self, uint32_t net, const struct gateway_stream_event *event)
{
    struct sim_world *world = self;
    struct world_gateway *gateway = world_gateway_of(world, net);
    if (gateway != NULL) {
        if (sim_gateway_is_running(gateway->gateway)) {
            sim_platform_stream(sim_gateway_platform(gateway->gateway), event);
        }
        return;
    }
    struct world_node *node = world_node_of(world, net);
    if (node != NULL && node->up && node->node.ops->handle_stream != NULL) {
        node->node.ops->handle_stream(node->node.self, world_now(world, node), event, node->outbox);
        world_node_flush(node);
    }
}

/* ---- life ---- */

void world_node_addresses(struct world_node *node)
{
    struct sim_world *world = node->world;
    if (node->node.ops->handle_addresses != NULL) {
        node->node.ops->handle_addresses(node->node.self, world_now(world, node),
                                         sim_net_addresses(world->net, node->net), node->outbox);
    }
    world_node_flush(node);
}

void world_node_start(struct sim_world *world, struct world_node *node, struct sim_node machine,
                      uint32_t net)
{
    node->world = world;
    node->node = machine;
    node->net = net;
    node->outbox = sim_outbox_new();
    node->clock = (struct sim_clock){.boot_offset_ns = WORLD_BOOT_OFFSET + net * NS_PER_S,
                                     .unix_start_ns = WORLD_UNIX_START_NS};
    node->up = true;
    node->wake_ns = UINT64_MAX;
    node->broken_stream = WORLD_NOBODY;
    world_node_addresses(node);
}

void world_node_restart(struct world_node *node)
{
    struct sim_world *world = node->world;
    if (node->node.ops->restart == NULL) {
        return;
    }
    node->boots++;
    struct sim_dice dice =
        sim_dice_of(&world->rng, sim_stream_of(SIM_FAMILY_NODE, node->net, node->boots));
    uint8_t seed[32];
    sim_dice_bytes(&dice, seed, sizeof(seed));
    sim_stream_reset_node(world->streams, node->net);
    node->node.ops->restart(node->node.self, world_now(world, node), seed);
    world_node_addresses(node);
}
