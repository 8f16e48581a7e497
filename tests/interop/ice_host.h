/* ice_host: an ICE agent of ours on real sockets and, if wished, a relay, facing libnice. */
#ifndef TESTS_INTEROP_ICE_HOST_H
#define TESTS_INTEROP_ICE_HOST_H

#include "ice/ice_agent.h"
#include "tests/interop/nice_peer.h"
#include "tests/interop/turn_host.h"
#include "tests/support/ice_alone.h"

#define ICE_HOST_TRICKLE_MS 60U /* between two of our candidates */
#define ICE_HOST_ECHOES     64U

struct ice_host_config {
    bool controlling;
    uint64_t tie_breaker;
    const char *local_v4; /* NULL: none */
    const char *local_v6;
    const struct coturn *coturn; /* NULL: no relay */
    const struct coturn_user *user;
    bool relay_only;               /* no host candidates */
    int nice_ns;                   /* where libnice lives */
    struct nice_peer_options nice; /* without fd */
};

struct ice_host {
    struct ice_agent agent;
    struct ice_alone memory;
    struct rng rng;
    struct turn_host *turn; /* owns the sockets, when there is a relay */
    int fd[2];
    struct sock_addr local[2];

    struct interop_child nice;
    int nice_fd;
    bool gathered;
    int nice_state;
    struct sock_addr nice_local; /* what libnice selected; family IP_NONE: nothing yet */
    struct sock_addr nice_remote;
    unsigned nice_heard;      /* datagrams of ours */
    unsigned nice_candidates; /* texts of libnice */
    unsigned nice_unreadable; /* of these, refused by us */
    unsigned refused[DROP_COUNT];
    unsigned from_controlled; /* requests of libnice in the controlled role */
    unsigned heard;           /* "nice <n>" of libnice, each counted once */
    unsigned echoed;          /* our datagrams that came back, each counted once */
    bool heard_number[ICE_HOST_ECHOES];
    bool echoed_number[ICE_HOST_ECHOES];

    char texts[ICE_LOCAL_MAX][ICE_CANDIDATE_TEXT_SIZE_MAX + 1U]; /* ours, still to be told */
    size_t texts_count;
    size_t texts_told;
    struct instant tell_at;
};

struct ice_host *ice_host_new(const struct interop *interop, const struct ice_host_config *config);
/* Also ends libnice. */
void ice_host_free(struct ice_host *host);
void ice_host_step(struct ice_host *host);
MUST_USE bool ice_host_until(struct ice_host *host, bool (*done)(const struct ice_host *),
                             uint64_t ms);
void ice_host_pass(struct ice_host *host, uint64_t ms);
/* True when both sides are connected and mean the same two addresses. */
MUST_USE bool ice_host_agree(const struct ice_host *host);
/* Sends "ours <n>" on the selected path. */
void ice_host_send(struct ice_host *host, unsigned number);
/* Tells libnice; see nice_peer.h. */
void ice_host_tell(const struct ice_host *host, const char *text);

#endif /* TESTS_INTEROP_ICE_HOST_H */
