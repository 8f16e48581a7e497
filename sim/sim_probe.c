#include "sim/sim_probe.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define TAG UINT64_C(0xf17e20ed00000000) /* begins every payload; the low half is the index */

struct sim_probes {
    struct sim_probe *items;
    size_t count;
    size_t capacity;
};

struct sim_probes *sim_probes_new(void)
{
    struct sim_probes *probes = calloc(1, sizeof(*probes));
    ASSERT(probes != NULL);
    return probes;
}

void sim_probes_free(struct sim_probes *probes)
{
    if (probes != NULL) {
        free(probes->items);
        free(probes);
    }
}

size_t sim_probes_count(const struct sim_probes *probes)
{
    return probes->count;
}

struct sim_probe *sim_probe_at(struct sim_probes *probes, size_t index)
{
    ASSERT(index < probes->count);
    return &probes->items[index];
}

/* Byte `at` of the payload of probe `id`, after the id itself. */
static uint8_t filler(uint64_t id, size_t at)
{
    return (uint8_t)(id * 31 + at * 7 + (at >> 8U));
}

struct sim_probe *sim_probe_new(struct sim_probes *probes, const struct sim_packet *packet,
                                size_t payload_len, struct writer *w)
{
    if (probes->count == probes->capacity) {
        probes->capacity = probes->capacity == 0 ? 256 : probes->capacity * 2;
        probes->items = realloc(probes->items, probes->capacity * sizeof(probes->items[0]));
        ASSERT(probes->items != NULL);
    }
    payload_len = payload_len < SIM_PROBE_PAYLOAD_MIN ? SIM_PROBE_PAYLOAD_MIN : payload_len;
    payload_len = payload_len > SIM_PROBE_PAYLOAD_MAX ? SIM_PROBE_PAYLOAD_MAX : payload_len;
    struct sim_probe *probe = &probes->items[probes->count];
    memset(probe, 0, sizeof(*probe));
    probe->id = TAG | probes->count++;
    probe->packet = *packet;
    probe->packet.payload = VIEW_EMPTY;
    probe->payload_len = payload_len;
    if (packet->protocol == SIM_PROTO_ICMP || packet->protocol == SIM_PROTO_ICMPV6) {
        probe->packet.icmp_type = packet->protocol == SIM_PROTO_ICMP ? 8 : 128;
        uint32_t sequence = (uint32_t)probe->id & 0xffffU;
        probe->packet.icmp_rest = (uint32_t)packet->source_port << 16U | sequence;
    }
    uint8_t payload[SIM_PROBE_PAYLOAD_MAX];
    store_be64(payload, probe->id);
    for (size_t i = SIM_PROBE_PAYLOAD_MIN; i < payload_len; i++) {
        payload[i] = filler(probe->id, i);
    }
    struct sim_packet full = probe->packet;
    full.payload = (struct view){payload, payload_len};
    sim_packet_put(w, &full);
    return probe;
}

struct sim_probe *sim_probe_of(struct sim_probes *probes, struct view payload, bool *damaged)
{
    *damaged = false;
    if (payload.len < SIM_PROBE_PAYLOAD_MIN) {
        return NULL;
    }
    uint64_t id = load_be64(payload.at);
    if ((id & UINT64_C(0xffffffff00000000)) != TAG) {
        return NULL;
    }
    *damaged = true;
    size_t index = (uint32_t)id;
    if (index >= probes->count || probes->items[index].payload_len != payload.len) {
        return NULL;
    }
    for (size_t i = SIM_PROBE_PAYLOAD_MIN; i < payload.len; i++) {
        if (payload.at[i] != filler(id, i)) {
            return NULL;
        }
    }
    *damaged = false;
    return &probes->items[index];
}

static bool is_quoted(const struct sim_packet *sent, const struct sim_packet *quoted)
{
    if (sent->protocol != quoted->protocol || !ip_equal(&sent->source, &quoted->source) ||
        !ip_equal(&sent->destination, &quoted->destination)) {
        return false;
    }
    if (sent->protocol == SIM_PROTO_UDP) {
        return sent->source_port == quoted->source_port &&
               sent->destination_port == quoted->destination_port;
    }
    return sent->icmp_rest == quoted->icmp_rest && sent->icmp_type == quoted->icmp_type;
}

struct sim_probe *sim_probe_quoted(struct sim_probes *probes, uint32_t client,
                                   const struct sim_packet *quoted)
{
    for (size_t i = probes->count; i-- > 0;) {
        struct sim_probe *probe = &probes->items[i];
        if (probe->client == client && is_quoted(&probe->packet, quoted)) {
            return probe;
        }
    }
    return NULL;
}
