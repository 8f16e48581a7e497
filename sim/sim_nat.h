/* sim_nat: the edge between a private site and the network: NAT for IPv4, firewall for IPv6.
 *
 * Behaviours are those of RFC 4787: mapping and filtering each endpoint-independent,
 * address-dependent or address-and-port-dependent; port choice; hairpinning; idle time-out with or
 * without refresh by inbound packets; a table limit (the idlest entry goes). IPv6 is never
 * rewritten, only filtered statefully. UDP only: TCP to the portal passes every edge.
 * A reboot forgets everything and shifts the ports of sequential and random choice.
 * Pure apart from its own tables; time is a parameter.
 * Source: RFC 4787 sections 4 to 6; spec/simulation.md sections 7 and 10.
 */
#ifndef SIM_NAT_H
#define SIM_NAT_H

#include "base/addr.h"
#include "sim/sim_rng.h"

enum sim_nat_dependence {
    SIM_NAT_INDEPENDENT,      /* endpoint-independent */
    SIM_NAT_ADDRESS,          /* address-dependent */
    SIM_NAT_ADDRESS_AND_PORT, /* address-and-port-dependent */
};

enum sim_nat_ports {
    SIM_NAT_PRESERVE, /* the inner port if it is free, else the next free one */
    SIM_NAT_SEQUENTIAL,
    SIM_NAT_RANDOM,
};

#define SIM_NAT_MAPPINGS_MAX    4096U
#define SIM_NAT_PERMISSIONS_MAX 64U /* remotes remembered by one mapping; the oldest goes */
#define SIM_NAT_FIRST_PORT      42000U

struct sim_nat_config {
    bool translate_v4; /* false: IPv4 passes unchanged and unfiltered */
    bool firewall_v6;  /* true: only flows that began inside come in (address and port) */
    enum sim_nat_dependence mapping;
    enum sim_nat_dependence filtering;
    enum sim_nat_ports ports;
    bool hairpin;
    bool refresh_inbound;
    uint32_t timeout_s;   /* idle life of a mapping and of a permission; RFC 4787: 15..300 */
    uint32_t table_max;   /* mappings; 0: SIM_NAT_MAPPINGS_MAX */
    struct ip_addr outer; /* the IPv4 address that the network sees */
};

struct sim_nat;

MUST_USE struct sim_nat *sim_nat_new(const struct sim_nat_config *config, const struct sim_rng *rng,
                                     uint32_t edge);
void sim_nat_free(struct sim_nat *nat);
const struct sim_nat_config *sim_nat_config(const struct sim_nat *nat);

/* A datagram leaves the site. Returns the source that the network sees. */
MUST_USE struct sock_addr sim_nat_outbound(struct sim_nat *nat, uint64_t now_ns,
                                           const struct sock_addr *source,
                                           const struct sock_addr *destination);

/* A datagram arrives for `destination` (an outer address; for IPv6 the inner host). Returns NULL
 * and the inner address in *inner, or the reason of the drop as static text. */
MUST_USE const char *sim_nat_inbound(struct sim_nat *nat, uint64_t now_ns,
                                     const struct sock_addr *source,
                                     const struct sock_addr *destination, struct sock_addr *inner);

/* Power cycle: all mappings and permissions are gone. */
void sim_nat_reboot(struct sim_nat *nat);
/* The same into another behaviour, as after an update of its software. */
void sim_nat_change(struct sim_nat *nat, enum sim_nat_dependence mapping,
                    enum sim_nat_dependence filtering);
MUST_USE size_t sim_nat_mappings(const struct sim_nat *nat, uint64_t now_ns);

/* What ICE between two places must be able to do. */
enum sim_direct {
    SIM_DIRECT_NO,      /* impossible: only a relay helps */
    SIM_DIRECT_YES,     /* possible: ICE must find it */
    SIM_DIRECT_UNKNOWN, /* depends on timing or luck; no verdict */
};

/* One side as the oracle sees it. `edge` NULL: directly on the network. `site` numbers are equal
 * exactly when both are in the same private network. */
struct sim_place {
    const struct sim_nat_config *edge;
    uint32_t site;
    bool has_v4;
    bool has_v6;
};

/* Decided from configuration alone, never from what the simulated network did. */
MUST_USE enum sim_direct sim_direct_path_possible(const struct sim_place *a,
                                                  const struct sim_place *b);

#endif /* SIM_NAT_H */
