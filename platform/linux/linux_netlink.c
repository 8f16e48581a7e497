/* The rtnetlink half of linux_tun.h: addresses, link settings, rules and routes. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h> /* before the kernel's headers */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "platform/linux/linux_addr.h"
#include "platform/linux/linux_tun.h"
#include "platform/linux/linux_udp.h"

#define MESSAGE_SIZE  8192U
#define ADDRESSES_MAX 32U
#define CHANGES_MAX   4096U /* messages taken for one look; the rest is for the next */
#define FIB_PROTOCOL  2U    /* RTPROT_KERNEL, as the reference marks its rules */

/* What makes the tunnel, each with its sentence for the operator. */
enum part {
    PART_LINK,
    PART_ADDRESS4,
    PART_ADDRESS6,
    PART_RULE4,
    PART_RULE6,
    PART_ROUTE,
    PARTS_COUNT,
};

static const char *const part_texts[PARTS_COUNT] = {
    [PART_LINK] = "the tunnel's device cannot be set up",
    [PART_ADDRESS4] = "the tunnel has no IPv4 address",
    [PART_ADDRESS6] = "the tunnel has no IPv6 address",
    [PART_RULE4] = "the IPv4 rule of the tunnel's table is missing",
    [PART_RULE6] = "the IPv6 rule of the tunnel's table is missing",
    [PART_ROUTE] = "a route to the clients is missing",
};

struct netlink {
    struct mnl_socket *socket;
    unsigned sequence;
    uint8_t *buffer;
    uint32_t lacks; /* set of 1 << enum part: what the kernel refused */
    enum err why[PARTS_COUNT];
};

struct found_address {
    uint8_t family;
    uint8_t len; /* prefix bits */
    struct ip_addr ip;
};

struct found_addresses {
    unsigned index; /* of the link */
    size_t count;
    struct found_address entries[ADDRESSES_MAX];
};

static struct nlmsghdr *start(struct netlink *nl, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *header = mnl_nlmsg_put_header(nl->buffer);
    header->nlmsg_type = type;
    header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    header->nlmsg_seq = ++nl->sequence;
    return header;
}

/* Sends a request and runs its answers through `callback`. 0, or an errno. */
static int exchange(struct netlink *nl, struct nlmsghdr *header, mnl_cb_t callback, void *data)
{
    unsigned port = mnl_socket_get_portid(nl->socket);
    if (mnl_socket_sendto(nl->socket, header, header->nlmsg_len) < 0) {
        return errno;
    }
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(nl->socket, nl->buffer, MESSAGE_SIZE);
        if (got < 0) {
            return errno;
        }
        int more = mnl_cb_run(nl->buffer, (size_t)got, nl->sequence, port, callback, data);
        if (more == MNL_CB_ERROR) {
            return errno;
        }
        if (more == MNL_CB_STOP) {
            return 0;
        }
    }
}

static int request(struct netlink *nl, struct nlmsghdr *header)
{
    header->nlmsg_flags |= NLM_F_ACK;
    return exchange(nl, header, NULL, NULL);
}

/* Notes what the kernel refused although the rest goes on. `error` is an errno, or 0. */
static void note(struct netlink *nl, int error, enum part part)
{
    if (error != 0 && error != EEXIST) {
        nl->lacks |= 1U << part;
        nl->why[part] = linux_err(error);
    }
}

/* Tells the first of a set of parts. */
static void tell_lacks(struct linux_tun *tun, const struct netlink *nl, uint32_t lacks)
{
    tun->lacks = NULL;
    for (unsigned part = 0; part < PARTS_COUNT && tun->lacks == NULL; part++) {
        if ((lacks & 1U << part) != 0) {
            tun->lacks = part_texts[part];
            tun->lacks_why = nl->why[part];
        }
    }
}

static uint8_t system_family(const struct ip_addr *ip)
{
    return ip->family == IP_V4 ? AF_INET : AF_INET6;
}

/* ---- addresses ---- */

struct address_attribute {
    const struct ifaddrmsg *message;
    struct found_addresses *found;
};

static int collect_attribute(const struct nlattr *attribute, void *data)
{
    const struct address_attribute *a = data;
    size_t size = a->message->ifa_family == AF_INET ? 4 : 16;
    if (mnl_attr_get_type(attribute) == IFA_ADDRESS &&
        mnl_attr_get_payload_len(attribute) == size && a->found->count < ADDRESSES_MAX) {
        struct found_address *entry = &a->found->entries[a->found->count++];
        entry->family = a->message->ifa_family;
        entry->len = a->message->ifa_prefixlen;
        entry->ip = ip_from_bytes(size == 4 ? IP_V4 : IP_V6, mnl_attr_get_payload(attribute));
    }
    return MNL_CB_OK;
}

static int collect_address(const struct nlmsghdr *header, void *data)
{
    struct address_attribute a = {mnl_nlmsg_get_payload(header), data};
    if (a.message->ifa_index != a.found->index) {
        return MNL_CB_OK;
    }
    return mnl_attr_parse(header, sizeof(*a.message), collect_attribute, &a);
}

static void put_ip(struct nlmsghdr *header, uint16_t type, const struct ip_addr *ip)
{
    mnl_attr_put(header, type, ip_size(ip), ip->bytes);
}

/* `flags` of NLM_F_CREATE and its like; 0 for a deletion. */
static struct nlmsghdr *address_message(struct netlink *nl, uint16_t flags, unsigned index,
                                        const struct found_address *address)
{
    uint16_t type = flags != 0 ? RTM_NEWADDR : RTM_DELADDR;
    struct nlmsghdr *header = start(nl, type, flags);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifa_family = address->family;
    message->ifa_prefixlen = address->len;
    message->ifa_index = index;
    put_ip(header, IFA_LOCAL, &address->ip);
    put_ip(header, IFA_ADDRESS, &address->ip);
    if (type == RTM_NEWADDR && address->family == AF_INET) {
        put_ip(header, IFA_BROADCAST, &address->ip);
    }
    if (type == RTM_NEWADDR && address->family == AF_INET6) {
        mnl_attr_put_u32(header, IFA_FLAGS, IFA_F_NODAD);
    }
    return header;
}

static void delete_addresses(struct netlink *nl, unsigned index)
{
    struct found_addresses found = {.index = index};
    struct nlmsghdr *header = start(nl, RTM_GETADDR, NLM_F_DUMP);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifa_family = AF_UNSPEC;
    if (exchange(nl, header, collect_address, &found) != 0) {
        return;
    }
    for (size_t i = 0; i < found.count; i++) {
        (void)request(nl, address_message(nl, 0, index, &found.entries[i]));
    }
}

/* `how` is NLM_F_REPLACE, or NLM_F_EXCL for EEXIST when it is there. */
static int add_address(struct netlink *nl, unsigned index, const struct ip_addr *ip, uint16_t how)
{
    struct found_address address = {system_family(ip), (uint8_t)(ip_size(ip) * 8), *ip};
    return request(nl, address_message(nl, NLM_F_CREATE | how, index, &address));
}

/* ---- link, rules, routes ---- */

static int set_link(struct netlink *nl, unsigned index, bool up)
{
    struct nlmsghdr *header = start(nl, RTM_NEWLINK, 0);
    struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifi_family = AF_UNSPEC;
    message->ifi_index = (int)index;
    if (up) {
        message->ifi_change = IFF_UP;
        message->ifi_flags = IFF_UP;
        return request(nl, header);
    }
    mnl_attr_put_u32(header, IFLA_MTU, LINUX_TUN_MTU);
    mnl_attr_put_u32(header, IFLA_TXQLEN, LINUX_TUN_QUEUE_LEN);
    return request(nl, header);
}

/* No link-local address: the kernel's own IPv6 chatter stays off the tunnel. May fail. */
static void disable_link_local(struct netlink *nl, unsigned index)
{
    struct nlmsghdr *header = start(nl, RTM_NEWLINK, 0);
    struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifi_family = AF_UNSPEC;
    message->ifi_index = (int)index;
    struct nlattr *families = mnl_attr_nest_start(header, IFLA_AF_SPEC);
    struct nlattr *inet6 = mnl_attr_nest_start(header, AF_INET6);
    mnl_attr_put_u8(header, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(header, inet6);
    mnl_attr_nest_end(header, families);
    (void)request(nl, header);
}

/* What is known of one rule. */
struct seen_rule {
    uint32_t mark;
    uint32_t table;
};

static int collect_rule_attribute(const struct nlattr *attribute, void *data)
{
    struct seen_rule *rule = data;
    uint16_t type = mnl_attr_get_type(attribute);
    if (mnl_attr_get_payload_len(attribute) == sizeof(uint32_t)) {
        rule->mark = type == FRA_FWMARK ? mnl_attr_get_u32(attribute) : rule->mark;
        rule->table = type == FRA_TABLE ? mnl_attr_get_u32(attribute) : rule->table;
    }
    return MNL_CB_OK;
}

static int find_rule(const struct nlmsghdr *header, void *data)
{
    bool *found = data;
    const struct fib_rule_hdr *message = mnl_nlmsg_get_payload(header);
    struct seen_rule rule = {0, 0};
    int result = mnl_attr_parse(header, sizeof(*message), collect_rule_attribute, &rule);
    *found = *found || ((message->flags & FIB_RULE_INVERT) != 0 && rule.mark == LINUX_MARK &&
                        rule.table == LINUX_TUN_TABLE);
    return result;
}

/* "not fwmark MARK lookup TABLE": everything but our own sockets looks into our table first. It
 * stays when the device goes, and the kernel takes a second one for another rule, so that the
 * NLM_F_EXCL of the reference adds one with every init. EEXIST: it is there. */
static int add_rule(struct netlink *nl, uint8_t family)
{
    bool found = false;
    struct nlmsghdr *header = start(nl, RTM_GETRULE, NLM_F_DUMP);
    struct fib_rule_hdr *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->family = family;
    int error = exchange(nl, header, find_rule, &found);
    if (error != 0 || found) {
        return error != 0 ? error : EEXIST;
    }
    header = start(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->family = family;
    message->action = FR_ACT_TO_TBL;
    message->flags = FIB_RULE_INVERT;
    mnl_attr_put_u32(header, FRA_TABLE, LINUX_TUN_TABLE);
    mnl_attr_put_u32(header, FRA_FWMARK, LINUX_MARK);
    mnl_attr_put_u8(header, FRA_PROTOCOL, FIB_PROTOCOL);
    return request(nl, header);
}

static int add_route(struct netlink *nl, unsigned index, const struct ip_prefix *prefix,
                     uint16_t how)
{
    struct nlmsghdr *header = start(nl, RTM_NEWROUTE, NLM_F_CREATE | how);
    struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->rtm_family = system_family(&prefix->ip);
    message->rtm_dst_len = prefix->len;
    message->rtm_protocol = RTPROT_STATIC;
    message->rtm_scope = RT_SCOPE_UNIVERSE;
    message->rtm_type = RTN_UNICAST;
    put_ip(header, RTA_DST, &prefix->ip);
    mnl_attr_put_u32(header, RTA_OIF, index);
    mnl_attr_put_u32(header, RTA_TABLE, LINUX_TUN_TABLE);
    return request(nl, header);
}

/* The rules and routes of the families that have their address. `how` as for add_address(). True
 * when anything of them is new. */
static bool put_ways(struct netlink *nl, unsigned index, const struct linux_tun_setup *setup,
                     bool has_v4, bool has_v6, uint16_t how)
{
    int rule4 = has_v4 ? add_rule(nl, AF_INET) : EEXIST;
    int rule6 = has_v6 ? add_rule(nl, AF_INET6) : EEXIST;
    bool any = rule4 == 0 || rule6 == 0;
    note(nl, rule4, PART_RULE4);
    note(nl, rule6, PART_RULE6);
    for (size_t i = 0; i < setup->routes_count; i++) {
        if (setup->routes[i].ip.family == IP_V4 ? has_v4 : has_v6) {
            int route = add_route(nl, index, &setup->routes[i], how);
            any = any || route == 0;
            note(nl, route, PART_ROUTE);
        }
    }
    return any;
}

static enum err configure(struct netlink *nl, unsigned index, const struct linux_tun_setup *setup)
{
    delete_addresses(nl, index);
    int link = set_link(nl, index, false);
    disable_link_local(nl, index);
    int v4 = add_address(nl, index, &setup->addresses->ipv4, NLM_F_REPLACE);
    int v6 = add_address(nl, index, &setup->addresses->ipv6, NLM_F_REPLACE);
    if (link != 0 || set_link(nl, index, true) != 0 || (v4 != 0 && v6 != 0)) {
        return ERR_IO;
    }
    note(nl, v4, PART_ADDRESS4);
    note(nl, v6, PART_ADDRESS6);
    (void)put_ways(nl, index, setup, v4 == 0, v6 == 0, NLM_F_REPLACE);
    return ERR_NONE;
}

static void close_netlink(struct netlink *nl)
{
    if (nl->socket != NULL) {
        (void)mnl_socket_close(nl->socket);
    }
    free(nl->buffer);
}

/* Opens a socket for requests and finds the device. 0, or an errno, which is noted: nothing is left
 * to close then. */
static int open_netlink(struct netlink *nl, const struct linux_tun *tun, unsigned *index)
{
    *nl = (struct netlink){.sequence = (unsigned)time(NULL), .buffer = malloc(MESSAGE_SIZE)};
    int error = nl->buffer == NULL ? ENOMEM : 0;
    if (error == 0) {
        nl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
        bool bound = nl->socket != NULL && mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) == 0;
        *index = bound ? if_nametoindex(tun->name) : 0;
        error = *index != 0 ? 0 : errno;
    }
    note(nl, error, PART_LINK);
    if (error != 0) {
        close_netlink(nl);
    }
    return error;
}

enum err linux_tun_configure(struct linux_tun *tun, const struct linux_tun_setup *setup)
{
    struct netlink nl;
    unsigned index = 0;
    enum err err = ERR_IO;
    if (open_netlink(&nl, tun, &index) == 0) {
        err = configure(&nl, index, setup);
        close_netlink(&nl);
    }
    tell_lacks(tun, &nl, nl.lacks);
    tun->done_without = nl.lacks;
    return err;
}

/* The peer ranges, spec/dataplane.md section 1.1. */
static const struct ip_prefix gateway_routes[] = {
    {{IP_V4, {100, 64}}, 11},
    {{IP_V6, {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11}}, 107},
};

static struct linux_tun_setup gateway_setup(const struct gateway_tun_config *config)
{
    return (struct linux_tun_setup){config, gateway_routes, ARRAY_COUNT(gateway_routes)};
}

/* ---- what others change ---- */

/* Routes are left out: a host that speaks BGP has thousands, and whoever takes ours away takes the
 * rule or sets the device down as well. */
static struct mnl_socket *listen_for_changes(void)
{
    const unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                            RTMGRP_IPV4_RULE | 1U << (RTNLGRP_IPV6_RULE - 1);
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket != NULL && mnl_socket_bind(socket, groups, MNL_SOCKET_AUTOPID) != 0) {
        (void)mnl_socket_close(socket);
        socket = NULL;
    }
    return socket;
}

enum err linux_tun_configure_gateway(struct linux_tun *tun, const struct gateway_tun_config *config)
{
    struct linux_tun_setup setup = gateway_setup(config);
    if (tun->changes == NULL) {
        tun->changes = listen_for_changes();
    }
    enum err err = linux_tun_configure(tun, &setup);
    tun->wanted = *config;
    tun->is_wanted = true;
    tun->is_configured = err == ERR_NONE;
    tun->is_broken = false;
    return err;
}

/* Takes what was heard; its content does not matter. */
static bool heard_changes(const struct linux_tun *tun)
{
    uint8_t part[64];
    bool any = false;
    for (unsigned i = 0; i < CHANGES_MAX; i++) {
        if (recv(mnl_socket_get_fd(tun->changes), part, sizeof(part), 0) < 0 && errno != ENOBUFS) {
            break;
        }
        any = true;
    }
    return any;
}

/* Nothing of a deleted device can be set again: whoever reads from it hears of that. */
static bool is_gone(const struct linux_tun *tun)
{
    struct pollfd device = {.fd = tun->fd};
    return poll(&device, 1, 0) == 1 && (device.revents & POLLERR) != 0;
}

static int see_link(const struct nlmsghdr *header, void *data)
{
    const struct ifinfomsg *message = mnl_nlmsg_get_payload(header);
    bool *is_up = data;
    *is_up = (message->ifi_flags & IFF_UP) != 0;
    return MNL_CB_OK;
}

/* True when the device was down; it is up then. */
static bool restore_link(struct netlink *nl, unsigned index)
{
    bool is_up = true;
    struct nlmsghdr *header = start(nl, RTM_GETLINK, NLM_F_ACK);
    struct ifinfomsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifi_family = AF_UNSPEC;
    message->ifi_index = (int)index;
    int error = exchange(nl, header, see_link, &is_up);
    bool was_down = error == 0 && !is_up;
    if (was_down) {
        error = set_link(nl, index, true);
    }
    note(nl, error, PART_LINK);
    return was_down && error == 0;
}

/* True when anything of the setup had gone and is there again. */
static bool restore(struct netlink *nl, unsigned index, const struct linux_tun_setup *setup)
{
    bool restored = restore_link(nl, index);
    int v4 = add_address(nl, index, &setup->addresses->ipv4, NLM_F_EXCL);
    int v6 = add_address(nl, index, &setup->addresses->ipv6, NLM_F_EXCL);
    note(nl, v4, PART_ADDRESS4);
    note(nl, v6, PART_ADDRESS6);
    bool has_v4 = v4 == 0 || v4 == EEXIST;
    bool has_v6 = v6 == 0 || v6 == EEXIST;
    bool ways = put_ways(nl, index, setup, has_v4, has_v6, NLM_F_EXCL);
    return restored || v4 == 0 || v6 == 0 || ways;
}

/* Looks at everything and sets again what is missing. */
static enum linux_tun_change repair(struct linux_tun *tun)
{
    struct netlink nl;
    struct linux_tun_setup setup = gateway_setup(&tun->wanted);
    unsigned index = 0;
    bool restored = false;
    bool was_broken = tun->is_broken;
    if (open_netlink(&nl, tun, &index) == 0) {
        restored = restore(&nl, index, &setup);
        close_netlink(&nl);
    }
    uint32_t lacks = nl.lacks & ~tun->done_without;
    tun->is_broken = lacks != 0;
    if (tun->is_broken) {
        tell_lacks(tun, &nl, lacks);
        return was_broken ? LINUX_TUN_AS_IT_WAS : LINUX_TUN_LACKING;
    }
    tun->done_without = nl.lacks;
    return restored || was_broken ? LINUX_TUN_SET_AGAIN : LINUX_TUN_AS_IT_WAS;
}

enum linux_tun_change linux_tun_tick(struct linux_tun *tun, struct instant now)
{
    if (!tun->is_wanted || !instant_reached(now, tun->check_at)) {
        return LINUX_TUN_AS_IT_WAS;
    }
    tun->check_at = instant_add(now, DURATION_S(LINUX_TUN_CHECK_S));
    if (!tun->is_configured) {
        const struct gateway_tun_config config = tun->wanted;
        enum err err = linux_tun_configure_gateway(tun, &config);
        return err == ERR_NONE ? LINUX_TUN_CONFIGURED : LINUX_TUN_AS_IT_WAS;
    }
    if (tun->changes == NULL) {
        return LINUX_TUN_AS_IT_WAS;
    }
    bool heard = heard_changes(tun); /* the kernel tells only once: is_broken remembers */
    bool is_due = heard || tun->is_broken;
    return is_due && !is_gone(tun) ? repair(tun) : LINUX_TUN_AS_IT_WAS;
}
