/* sim_probe: packets with unique payloads, and what became of each.
 *
 * A probe is one ICMP echo request or UDP datagram of a client's application. Its payload begins
 * with a 64-bit id and continues with bytes derived from the id, so that any observation anywhere
 * is paired with its cause whatever was translated on the way (O-04, O-05).
 * Memory: a growing array; ids are indexes with a tag.
 * Source: spec/simulation.md sections 2.6, 8.1 and 8.3.
 */
#ifndef SIM_PROBE_H
#define SIM_PROBE_H

#include "sim/sim_model.h"

#define SIM_PROBE_PAYLOAD_MIN 8U
#define SIM_PROBE_PAYLOAD_MAX 1180U /* fits the tunnel in either family after any translation */

enum sim_expect {
    SIM_EXPECT_ANY,     /* faults are on: loss is no failure */
    SIM_EXPECT_REPLY,   /* must complete a round trip */
    SIM_EXPECT_ERROR,   /* must be answered by an ICMP error */
    SIM_EXPECT_NOTHING, /* must neither pass nor be answered, except by ICMP "prohibited" */
};

struct sim_probe {
    uint64_t id;
    uint64_t sent_ns;
    uint32_t client;
    uint32_t resource; /* UINT32_MAX: none */
    uint32_t gateway;  /* that serves the resource */
    bool hostile;      /* must never leave a TUN device */
    enum sim_expect expect;
    struct sim_packet packet; /* as the client's application sent it; without payload */
    size_t payload_len;
    uint32_t seen_inside; /* times that it left a gateway's TUN device */
    uint32_t replies;     /* at the client */
    uint32_t errors;      /* ICMP errors at the client */
    uint32_t permitted;   /* answers that came to the gateway and that a grant may cover */
    uint32_t covered;     /* of these, by a grant that was there when they came */
    uint32_t refused;     /* the same that no grant covers */
};

struct sim_probes;

MUST_USE struct sim_probes *sim_probes_new(void);
void sim_probes_free(struct sim_probes *probes);
MUST_USE size_t sim_probes_count(const struct sim_probes *probes);
/* Valid until the next sim_probe_new(). */
struct sim_probe *sim_probe_at(struct sim_probes *probes, size_t index);

/* Registers a probe with `payload_len` bytes (clamped) and writes its packet. `packet` says
 * addresses, protocol and ports; for ICMP the echo id is `packet->source_port`. */
struct sim_probe *sim_probe_new(struct sim_probes *probes, const struct sim_packet *packet,
                                size_t payload_len, struct writer *w);

/* Finds the probe whose payload this is. NULL: none, or the payload is not intact; then *damaged
 * says whether it began like one. */
struct sim_probe *sim_probe_of(struct sim_probes *probes, struct view payload, bool *damaged);
/* Finds the newest probe that an ICMP error at `client` quotes. */
struct sim_probe *sim_probe_quoted(struct sim_probes *probes, uint32_t client,
                                   const struct sim_packet *quoted);

#endif /* SIM_PROBE_H */
