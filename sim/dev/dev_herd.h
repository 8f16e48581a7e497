/* dev_herd: very many clients and their portal in one process, to load one real gateway.
 *
 * The portal (dev_herd_portal.c) is a plain WebSocket server that authorizes whom the herd names.
 * A client (dev_herd_client.c) is as small as possible: a socket of its own, an ICE side that
 * nominates at once and answers checks, a WireGuard tunnel of src/wg, and pings into the tunnel.
 * What the measurements are is in dev_herd.c. One thread.
 */
#ifndef DEV_HERD_H
#define DEV_HERD_H

#include "base/text.h"
#include "portal/http_upgrade.h"
#include "portal/ws.h"
#include "sim/dev/dev_stream.h"
#include "wg/wg_peer.h"

#define HERD_CLIENTS_MAX 16000U
#define HERD_UFRAG_SIZE  7U

struct herd;

enum herd_state {
    HERD_NEW,
    HERD_ASKED,    /* the portal told the gateway; its answer is awaited */
    HERD_CHECKING, /* a nominating check is on its way */
    HERD_SHAKING,  /* a handshake is */
    HERD_PINGING,  /* the first packet is */
    HERD_UP,       /* it was answered */
};

struct herd_client {
    struct dev_watch watch;
    struct herd *herd;
    uint32_t number;
    enum herd_state state;
    uint16_t port;
    uint16_t pings;
    uint32_t answered; /* of the traffic */
    struct instant started_at;
    struct instant retry_at; /* NEVER: nothing is awaited */
    struct duration took;    /* from the authorization to the first answer */
    struct wg_node node;
    struct wg_peer wg;
    struct wg_window windows[WG_SESSIONS_MAX];
};

struct herd_portal {
    struct dev_listener listener;
    struct dev_stream *stream;
    struct http_head head;
    struct ws ws;
    bool is_upgraded;
    bool is_joined;
    bool has_key;
    struct x25519_public gateway_key;
};

/* Where the gateway finds a relay, and the secret that its passwords come from. */
struct herd_relay {
    struct sock_addr address;
    const char *secret;
};

struct herd {
    struct dev_loop loop;
    struct rng rng;
    struct herd_portal portal;
    struct herd_relay relay;
    struct sock_addr gateway; /* where it receives */
    struct ip_addr own;       /* of every client's socket */
    struct ip_addr target;    /* of the pings, IPv4 */
    uint32_t payload;         /* of a ping, bytes */
    struct herd_client *clients;
    uint32_t clients_max;
    uint32_t used; /* clients that were started so far */
    uint32_t up;
    bool measures;   /* answers count from now on */
    uint32_t *trips; /* round trips, µs */
    size_t trips_max;
    size_t trips_count;
};

/* ---- the portal ---- */

/* Accepts the gateway at `local`. ERR_*, as dev_listen(). */
MUST_USE enum err herd_portal_open(struct herd *herd, struct sock_addr local);
/* Tells the gateway of a client: authorization and candidate. */
void herd_portal_authorize(struct herd *herd, const struct herd_client *client);
/* Takes the authorization away again. */
void herd_portal_reject(struct herd *herd, const struct herd_client *client);
/* Names in what the portal says. */
struct uuid herd_client_id(uint32_t number);
void herd_ufrag(char out[HERD_UFRAG_SIZE], char kind, uint32_t number);
extern const char herd_gateway_password[];
extern const char herd_client_password[];
struct ip_addr herd_tunnel_ipv4(uint32_t number);

/* ---- clients ---- */

/* Makes client `number` and lets it ask for access; false: no socket. */
MUST_USE bool herd_client_start(struct herd *herd, uint32_t number);
/* The gateway has heard of it. */
void herd_client_authorized(struct herd_client *client);
/* Repeats what was not answered, and what the tunnel's timers want. */
void herd_client_tick(struct herd_client *client, struct clock_pair now);
void herd_client_ping(struct herd_client *client, struct clock_pair now);
void herd_client_end(struct herd_client *client);

#endif /* DEV_HERD_H */
