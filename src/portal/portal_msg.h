/* portal_msg: every message between portal and gateway, typed.
 *
 * Decoding is strict and fails closed: one bad field refuses the whole message, unknown keys are
 * ignored, key order never matters. Lists are checked completely while decoding and walked later.
 * Source: spec/portal.md sections 2, 4, 5, 6 and 10.3. Differs: relay entries of an unknown type
 * are skipped; an unknown filter protocol or an empty port range matches nothing and keeps the list
 * non-empty; a `resource_updated` that cannot be read but whose id can removes the resource (design
 * section 8.4).
 * Memory: a decoded message owns its JSON tree; views and lists in it live until portal_msg_free().
 */
#ifndef PORTAL_PORTAL_MSG_H
#define PORTAL_PORTAL_MSG_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/drop.h"
#include "base/text.h"
#include "json/json.h"

#define PORTAL_AUTHORIZATIONS_MAX 65536U /* entries of one init, design section 8.2 */
#define PORTAL_RELAYS_MAX         256U   /* entries of one list; portals send at most 4 */
#define PORTAL_FILTERS_MAX        1024U  /* entries of one resource */
#define PORTAL_CANDIDATES_MAX     1024U  /* entries of one message */
#define PORTAL_REF_SIZE_MAX       4096U  /* characters of an opaque ref; portals send under 1 000 */
#define PORTAL_TEXT_SIZE_MAX      1024U  /* characters of names, patterns and credentials */
#define PORTAL_CANDIDATE_SIZE_MAX 512U   /* characters of one candidate to be kept in a list */
#define PORTAL_PROXY_IPS_MAX      64U    /* of one legacy request */

enum portal_msg_kind {
    /* for the gateway */
    PORTAL_MSG_INIT,
    PORTAL_MSG_RELAYS_PRESENCE,
    PORTAL_MSG_AUTHORIZE_FLOW,
    PORTAL_MSG_REJECT_ACCESS,
    PORTAL_MSG_ICE_CANDIDATES,
    PORTAL_MSG_INVALIDATE_ICE_CANDIDATES,
    PORTAL_MSG_RESOURCE_UPDATED,
    PORTAL_MSG_RESOURCE_REMOVED, /* a resource_updated of which only the id could be read */
    PORTAL_MSG_ACCESS_REMOVED,   /* an authorization, of whose resource only the id could be read */
    PORTAL_MSG_REQUEST_CONNECTION,
    PORTAL_MSG_ALLOW_ACCESS,
    PORTAL_MSG_EXPIRY_UPDATED, /* access_authorization_expiry_updated */
    /* for the channel (portal_client) */
    PORTAL_MSG_TOKEN_EXPIRED, /* disconnect with reason token_expired */
    PORTAL_MSG_REPLY_OK,
    PORTAL_MSG_REPLY_ERROR,
    PORTAL_MSG_PHX_ERROR,
    PORTAL_MSG_PHX_CLOSE,
};

/* A list inside the tree. Copy it to walk it again. */
struct portal_list {
    const struct json_value *next;
    uint32_t count; /* entries in the text, skipped ones included */
};

enum portal_relay_type {
    PORTAL_RELAY_TURN,
    PORTAL_RELAY_STUN,
};

/* One address of one relay. Entries with equal ids follow each other. */
struct portal_relay {
    enum portal_relay_type type;
    struct uuid id;
    struct sock_addr addr;
    struct view username; /* turn only, as are the next two */
    struct view password;
    uint64_t expires_at_s;
};

enum portal_filter_protocol {
    PORTAL_FILTER_NONE, /* matches nothing: an unknown protocol or an empty range */
    PORTAL_FILTER_TCP,
    PORTAL_FILTER_UDP,
    PORTAL_FILTER_ICMP,
};

struct portal_filter {
    enum portal_filter_protocol protocol;
    uint16_t port_start; /* inclusive; 0 and 65535 for ICMP */
    uint16_t port_end;
};

enum portal_resource_type {
    PORTAL_RESOURCE_DNS,
    PORTAL_RESOURCE_CIDR,
    PORTAL_RESOURCE_INTERNET,
};

struct portal_resource {
    enum portal_resource_type type;
    struct uuid id;
    struct view pattern;        /* dns */
    struct ip_prefix prefix;    /* cidr */
    struct view name;           /* dns, cidr */
    struct portal_list filters; /* dns, cidr; empty permits everything. internet: empty */
};

struct portal_ice_credentials {
    struct view username;
    struct view password;
};

/* Unix seconds; without `is_some` access never expires. */
struct portal_expiry {
    bool is_some;
    uint64_t at_s;
};

struct portal_client_info {
    struct uuid id;
    uint8_t public_key[JSON_KEY32_SIZE];
    uint8_t preshared_key[JSON_KEY32_SIZE];
    struct ip_addr ipv4;
    struct ip_addr ipv6;
};

/* A name that an old client wants resolved together with its request. */
struct portal_domain {
    bool is_some;
    struct view name; /* presentation form, as sent */
    uint32_t proxy_ips_count;
    struct ip_addr proxy_ips[PORTAL_PROXY_IPS_MAX];
};

struct portal_authorization {
    struct uuid client;
    struct uuid resource;
    uint64_t expires_at_s;
};

struct portal_init {
    struct ip_addr ipv4;
    struct ip_addr ipv6;
    bool ipv4_masquerade;
    bool ipv6_masquerade;
    struct portal_list relays;
    bool has_authorizations; /* false: the list says nothing (older portals) */
    bool follows_loss;       /* set by portal_client: what was granted before is not sure */
    struct portal_list authorizations;
    bool has_flow_logs; /* proof of a head portal */
};

struct portal_relays_presence {
    struct portal_list disconnected_ids;
    struct portal_list connected;
};

struct portal_authorize_flow {
    struct view ref;
    struct portal_resource resource;
    struct portal_client_info client;
    struct portal_ice_credentials gateway_ice; /* our side */
    struct portal_ice_credentials client_ice;  /* the remote side */
    struct portal_expiry expires;
};

/* reject_access, and the pair of expiry_updated */
struct portal_reject_access {
    struct uuid client;
    struct uuid resource;
};

struct portal_expiry_updated {
    struct uuid client;
    struct uuid resource;
    struct portal_expiry expires;
};

struct portal_candidates {
    struct uuid client;
    struct portal_list candidates;
};

struct portal_request_connection {
    struct view ref;
    struct portal_resource resource;
    struct portal_client_info client;
    struct portal_ice_credentials client_ice;
    struct portal_domain domain;
    struct portal_expiry expires;
};

struct portal_allow_access {
    struct view ref;
    struct uuid client;
    struct ip_addr client_ipv4;
    struct ip_addr client_ipv6;
    struct portal_resource resource;
    struct portal_domain domain;
    struct portal_expiry expires;
};

struct portal_reply {
    bool on_gateway_topic;
    uint64_t ref;
    struct view reason; /* of an error */
};

/* Zeroed memory is an empty message. */
struct portal_msg {
    enum portal_msg_kind kind;
    struct json_doc doc;
    struct view event; /* the event's name; also filled when the payload is refused */
    union {
        struct portal_init init;
        struct portal_relays_presence relays_presence;
        struct portal_authorize_flow authorize_flow;
        struct portal_reject_access reject_access; /* also ACCESS_REMOVED */
        struct portal_candidates candidates;       /* both ice messages */
        struct portal_resource resource;           /* RESOURCE_UPDATED */
        struct uuid removed;                       /* RESOURCE_REMOVED */
        struct portal_request_connection request_connection;
        struct portal_allow_access allow_access;
        struct portal_expiry_updated expiry_updated;
        struct portal_reply reply; /* REPLY_*, and the topic of PHX_* */
    } u;
};

/* Decodes one text message. After DROP_NONE, DROP_PORTAL_UNKNOWN and DROP_PORTAL_FIELD `event` is
 * set; in every case portal_msg_free() or portal_msg_release() ends the message's life.
 * DROP_JSON_*: see json_parse(); DROP_PHX_ENVELOPE: no object, or topic or event are no texts;
 * DROP_PORTAL_UNKNOWN: the event is not known; DROP_PORTAL_REF: a reply without an integer ref;
 * DROP_PORTAL_FIELD: a field is missing or wrong, or a list or text is beyond its bound. */
MUST_USE enum drop_reason portal_msg_decode(struct portal_msg *msg, struct view text);
void portal_msg_free(struct portal_msg *msg);
/* As portal_msg_free(), but what the message held goes to `trash`, to be freed there. O(1). */
void portal_msg_release(struct portal_msg *msg, struct json_trash *trash);

/* ---- piece by piece: the same, with a bounded amount of work a call ---- */

#define PORTAL_CHECKS_MAX 2U /* lists of one message */

/* Entries that are still to be looked at, and what makes one good. Internal. */
struct portal_check {
    struct portal_list list;
    bool (*is_good)(const struct json_value *entry);
};

struct portal_checks {
    uint32_t count;
    uint32_t next;
    struct portal_check of[PORTAL_CHECKS_MAX];
};

/* A message being decoded; internal. */
struct portal_decoder {
    struct portal_msg *msg;
    struct json_reader json;
    bool is_decoded; /* all but the entries of lists */
    struct portal_checks checks;
};

/* Starts a message; `msg` must be empty and stay where it is until it is decoded. */
void portal_decode_begin(struct portal_decoder *d, struct portal_msg *msg);
/* Takes bytes from the front of `text` until none are left or *work is spent: see json_read(). */
void portal_decode_text(struct portal_decoder *d, struct view *text, uint32_t *work);
/* Goes on behind the last byte. True: the message is decoded or refused, *reason as
 * portal_msg_decode(); false: *work is spent. */
MUST_USE bool portal_decode_end(struct portal_decoder *d, uint32_t *work, enum drop_reason *reason);
/* The event's name of a kind, e.g. "authorize_flow"; static text. */
const char *portal_msg_kind_name(enum portal_msg_kind kind);

/* Walk lists; false at the end. Entries that are to be skipped are skipped. */
MUST_USE bool portal_relays_next(struct portal_list *list, struct portal_relay *out);
MUST_USE bool portal_ids_next(struct portal_list *list, struct uuid *out);
MUST_USE bool portal_filters_next(struct portal_list *list, struct portal_filter *out);
MUST_USE bool portal_candidates_next(struct portal_list *list, struct view *out);
MUST_USE bool portal_authorizations_next(struct portal_list *list,
                                         struct portal_authorization *out);

#endif /* PORTAL_PORTAL_MSG_H */
