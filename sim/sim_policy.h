/* sim_policy: who exists and who may do what; the facts that world, portal, client and reference
 * model share.
 *
 * The world builds one policy per run; the portal serves it, the model judges by it. Only the
 * world (through sim_portal functions) changes it. Everything is plain data with fixed bounds;
 * texts are null-terminated.
 * Source: spec/portal.md (messages), spec/simulation.md sections 8 and 10.
 */
#ifndef SIM_POLICY_H
#define SIM_POLICY_H

#include "base/addr.h"
#include "base/text.h"

#define SIM_CLIENTS_MAX   16U
#define SIM_GATEWAYS_MAX  4U
#define SIM_TWIN          (SIM_GATEWAYS_MAX / 2U) /* worlds: gateway i's second process is i + this */
#define SIM_RELAYS_MAX    4U
#define SIM_RESOURCES_MAX 32U
#define SIM_FILTERS_MAX   4U
#define SIM_NAME_MAX      80U /* characters and terminator; a relay's secret has 64 */

enum sim_filter_protocol {
    SIM_FILTER_TCP,
    SIM_FILTER_UDP,
    SIM_FILTER_ICMP,
};

/* Ports are inclusive; 0..65535 means every port and is sent without port fields. */
struct sim_filter {
    enum sim_filter_protocol protocol;
    uint16_t port_first;
    uint16_t port_last;
};

enum sim_resource_kind {
    SIM_RESOURCE_CIDR,
    SIM_RESOURCE_DNS,
    SIM_RESOURCE_INTERNET,
};

struct sim_resource {
    struct uuid id;
    enum sim_resource_kind kind;
    struct ip_prefix prefix;    /* CIDR */
    char pattern[SIM_NAME_MAX]; /* DNS: "name", "*.name", "**.name", with ? and * inside labels */
    char name[SIM_NAME_MAX];    /* display name */
    struct sim_filter filters[SIM_FILTERS_MAX];
    uint32_t filters_count; /* 0: everything is permitted */
    uint32_t gateway;       /* index into sim_policy.gateways: who serves it */
};

struct sim_client_identity {
    struct uuid id;
    struct ip_addr tunnel_v4; /* 100.64.0.0/11 */
    struct ip_addr tunnel_v6; /* fd00:2021:1111::/107 */
    uint8_t private_key[32];  /* X25519 */
    uint8_t public_key[32];
    bool head; /* speaks the rules of today's clients instead of 1.4 */
};

struct sim_gateway_identity {
    struct uuid id; /* as the portal names it */
    struct ip_addr tunnel_v4;
    struct ip_addr tunnel_v6;
    char firezone_id[SIM_NAME_MAX]; /* the id file's content; the portal sees its hash */
    char token[SIM_NAME_MAX];
    char name[SIM_NAME_MAX];
};

struct sim_relay_identity {
    struct uuid id;
    struct ip_addr ipv4; /* IP_NONE: none */
    struct ip_addr ipv6;
    uint16_t port;             /* 3478 */
    char secret[SIM_NAME_MAX]; /* shared between portal and relay: credentials derive from it
                                  (spec/relay.md) */
};

struct sim_policy {
    struct sim_client_identity clients[SIM_CLIENTS_MAX];
    uint32_t clients_count;
    struct sim_gateway_identity gateways[SIM_GATEWAYS_MAX];
    uint32_t gateways_count;
    struct sim_relay_identity relays[SIM_RELAYS_MAX];
    uint32_t relays_count;
    struct sim_resource resources[SIM_RESOURCES_MAX];
    uint32_t resources_count;
    struct ip_addr portal_v4;
    struct ip_addr portal_v6;
    char portal_host[SIM_NAME_MAX]; /* name in the gateway's API URL */
    uint64_t default_expiry_s;      /* life of a grant from its creation; 0: none */
    bool masquerade_v4;             /* init.config */
    bool masquerade_v6;
};

/* One authorization, as the portal gives it to a gateway. */
struct sim_grant {
    struct uuid client;
    struct uuid resource;
    uint32_t gateway;        /* index into sim_policy.gateways */
    uint64_t expires_unix_s; /* 0: never */
};

/* Returns the index of the entry with this id, or UINT32_MAX. */
MUST_USE uint32_t sim_policy_client(const struct sim_policy *policy, const struct uuid *id);
MUST_USE uint32_t sim_policy_resource(const struct sim_policy *policy, const struct uuid *id);

#endif /* SIM_POLICY_H */
