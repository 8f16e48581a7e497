/* trace: what happened, as typed events into one sink.
 *
 * The same table serves production log lines, the simulator's digest and golden traces. A sink is a
 * function pointer and a context given at init; it must not call back into the core.
 * Levels: per-packet events TRACE, addresses and names DEBUG, state changes INFO; WARN may wake
 * someone, ERROR fails a simulated run. Secrets are never fields.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/addr.h"
#include "base/drop.h"
#include "base/text.h"
#include "base/time.h"

enum trace_level {
    TRACE_ERROR,
    TRACE_WARN,
    TRACE_INFO,
    TRACE_DEBUG,
    TRACE_TRACE,
};

/* name, level, text; which fields an event fills is said in the text */
#define TRACE_TABLE(X)                                                                             \
    X(EV_DROP, TRACE_TRACE, "dropped: reason, remote")                                             \
    X(EV_PORTAL_CONNECTING, TRACE_INFO, "connecting to the portal: remote")                        \
    X(EV_PORTAL_JOINED, TRACE_INFO, "joined the portal")                                           \
    X(EV_PORTAL_LOST, TRACE_WARN, "lost the portal: text, value = next attempt in ms")             \
    X(EV_PORTAL_FATAL, TRACE_ERROR, "the portal refuses this gateway: text")                       \
    X(EV_PORTAL_MESSAGE, TRACE_DEBUG, "message from the portal: text = event")                     \
    X(EV_PORTAL_SENT, TRACE_DEBUG, "message to the portal: text = event")                          \
    X(EV_PORTAL_REFUSED, TRACE_WARN, "message refused: reason, text")                              \
    X(EV_INIT, TRACE_INFO, "init: value = relays")                                                 \
    X(EV_RELAY_ADDED, TRACE_DEBUG, "relay added: id")                                              \
    X(EV_RELAY_REMOVED, TRACE_DEBUG, "relay removed: id")                                          \
    X(EV_RELAY_READY, TRACE_INFO, "relay allocation ready: id, remote = server")                   \
    X(EV_RELAY_LOST, TRACE_INFO, "relay allocation lost: id")                                      \
    X(EV_RELAY_FAILED, TRACE_WARN, "relay given up: id, text")                                     \
    X(EV_AUTHORIZED, TRACE_INFO, "resource authorized: id = client, id2 = resource")               \
    X(EV_REVOKED, TRACE_INFO, "resource revoked: id = client, id2 = resource")                     \
    X(EV_EXPIRED, TRACE_INFO, "authorization expired: id = client, id2 = resource")                \
    X(EV_CONNECTION_NEW, TRACE_INFO, "connection created: id = client")                            \
    X(EV_CONNECTION_PATH, TRACE_INFO, "path selected: id = client, remote, value = 1 if relayed")  \
    X(EV_CONNECTION_UP, TRACE_INFO, "tunnel up: id = client")                                      \
    X(EV_CONNECTION_FAILED, TRACE_INFO, "connection failed: id = client, text")                    \
    X(EV_CONNECTION_CLOSED, TRACE_INFO, "connection closed: id = client, text")                    \
    X(EV_CANDIDATE_LOCAL, TRACE_DEBUG, "local candidate: id = client, text")                       \
    X(EV_CANDIDATE_REMOTE, TRACE_DEBUG, "remote candidate: id = client, text")                     \
    X(EV_HANDSHAKE, TRACE_DEBUG, "WireGuard handshake done: id = client, value = index")           \
    X(EV_DNS_QUERY, TRACE_DEBUG, "resolving for a client: id = client, text = name")               \
    X(EV_DNS_DONE, TRACE_DEBUG, "resolved: id = client, text = name, value = addresses")           \
    X(EV_TUN_CONFIGURED, TRACE_INFO, "tunnel addresses set: remote = IPv4 address")                \
    X(EV_SHUTDOWN, TRACE_INFO, "shutting down: text = what was lost, if nobody asked for it")      \
    X(EV_ENVIRONMENT, TRACE_WARN, "the environment failed: text, value = err")

#define TRACE_ENUM(name, level, text) name,
enum trace_id { TRACE_TABLE(TRACE_ENUM) EV_COUNT };
#undef TRACE_ENUM

/* One event. Unused fields are zero. Views live only during the emit call. */
struct trace_event {
    enum trace_id event;
    enum drop_reason reason;
    struct clock_pair at;
    struct uuid id;
    struct uuid id2;
    struct sock_addr remote;
    struct view text;
    uint64_t value;
};

struct trace {
    void (*emit)(void *sink, const struct trace_event *event); /* NULL: nothing is recorded */
    void *sink;
};

void trace_emit(const struct trace *trace, const struct trace_event *event);
enum trace_level trace_level_of(enum trace_id event);
const char *trace_name(enum trace_id event);
/* Writes one event as `name key=value ...`; used by log sinks and golden traces. */
void trace_put(struct writer *w, const struct trace_event *event);

#endif /* BASE_TRACE_H */
