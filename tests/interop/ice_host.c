/* ice_host: see ice_host.h. */
#include "tests/interop/ice_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MS 5000U
#define UFRAG     "Fz1a"
#define PASSWORD  "0123456789abcdefghijkl"

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "interop: " __VA_ARGS__);                                                  \
        fputc('\n', stderr);                                                                       \
        interop_print_logs();                                                                      \
        exit(1);                                                                                   \
    } while (0)

void ice_host_tell(const struct ice_host *host, const char *text)
{
    if (send(host->nice_fd, text, strlen(text), MSG_NOSIGNAL) < 0) {
        FAIL("libnice went away");
    }
}

/* ---- start ---- */

static void open_sockets(struct ice_host *host, const struct interop *interop,
                         const struct ice_host_config *config)
{
    const char *locals[2] = {config->local_v4, config->local_v6};
    host->fd[0] = -1;
    host->fd[1] = -1;
    if (config->coturn != NULL) {
        host->turn = turn_host_new(interop, config->local_v4, config->local_v6, config->coturn,
                                   config->user);
        memcpy(host->fd, host->turn->fd, sizeof(host->fd));
        memcpy(host->local, host->turn->local, sizeof(host->local));
        struct instant end = instant_add(interop_now(), DURATION_MS(ANSWER_MS));
        while (!turn_client_is_ready(host->turn->client)) {
            if (!instant_before(interop_now(), end)) {
                FAIL("no allocation");
            }
            turn_host_step(host->turn);
        }
        return;
    }
    for (size_t i = 0; i < 2U; i++) {
        if (locals[i] != NULL) {
            host->local[i] = interop_address(locals[i]);
            host->fd[i] = interop_udp(interop, interop->home, &host->local[i]);
        }
    }
}

static void start_nice(struct ice_host *host, const struct ice_host_config *config)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        FAIL("socketpair");
    }
    struct nice_peer_options options = config->nice;
    options.fd = pair[1];
    host->nice_fd = pair[0];
    host->nice = interop_fork(config->nice_ns, "libnice.log", nice_peer_run, &options);
    close(pair[1]);
}

static void start_agent(struct ice_host *host, bool controlling, uint64_t tie_breaker)
{
    char text[NICE_PEER_TEXT_MAX] = {0};
    char ufrag[ICE_UFRAG_SIZE_MAX + 1U];
    char password[ICE_PASSWORD_SIZE_MAX + 1U];
    if (recv(host->nice_fd, text, sizeof(text) - 1U, 0) <= 0 ||
        sscanf(text, "credentials %32s %64s", ufrag, password) != 2) {
        FAIL("libnice does not start");
    }
    struct ice_agent_config config = {
        .controlling = controlling,
        .local_ufrag = view_text(UFRAG),
        .local_password = view_text(PASSWORD),
        .remote_ufrag = view_text(ufrag),
        .remote_password = view_text(password),
        .tie_breaker = tie_breaker,
        .timing = controlling ? ICE_TIMING_CLIENT : ICE_TIMING_GATEWAY,
        .timing_idle = controlling ? ICE_TIMING_CLIENT_IDLE : ICE_TIMING_GATEWAY_IDLE,
        .txn_tag = rng_u32(&host->rng),
    };
    ice_agent_init(&host->agent, &config, ice_alone_start(&host->memory), &host->rng,
                   interop_now());
    ice_host_tell(host, "credentials " UFRAG " " PASSWORD);
}

static void add_local(struct ice_host *host, struct ice_candidate candidate)
{
    if (ice_agent_add_local(&host->agent, &candidate, interop_now()) != ERR_NONE) {
        FAIL("our own candidate is refused");
    }
    char *text = host->texts[host->texts_count++];
    struct writer w = writer_of((struct span){(uint8_t *)text, ICE_CANDIDATE_TEXT_SIZE_MAX});
    ice_candidate_put(&w, &candidate);
    text[writer_finish(&w) ? w.used : 0] = '\0';
}

static void add_locals(struct ice_host *host, bool relay_only)
{
    for (size_t i = 0; i < 2U && !relay_only; i++) {
        if (host->fd[i] >= 0) {
            add_local(host, ice_candidate_host(&host->local[i]));
        }
    }
    struct turn_candidate candidate;
    uint32_t index = 0;
    while (host->turn != NULL && turn_client_candidate(host->turn->client, &index, &candidate)) {
        if (candidate.kind == TURN_CANDIDATE_RELAYED) {
            add_local(host, ice_candidate_relay(&candidate.addr, candidate.server_family));
        }
    }
}

struct ice_host *ice_host_new(const struct interop *interop, const struct ice_host_config *config)
{
    struct ice_host *host = calloc(1, sizeof(*host));
    if (host == NULL) {
        abort();
    }
    interop_rng(&host->rng);
    open_sockets(host, interop, config);
    start_nice(host, config);
    start_agent(host, config->controlling, config->tie_breaker);
    add_locals(host, config->relay_only);
    host->tell_at = interop_now();
    return host;
}

void ice_host_free(struct ice_host *host)
{
    if (host == NULL) {
        return;
    }
    ice_agent_check(&host->agent);
    close(host->nice_fd); /* libnice ends by itself */
    interop_stop(&host->nice);
    for (size_t i = 0; i < 2U && host->turn == NULL; i++) {
        if (host->fd[i] >= 0) {
            close(host->fd[i]);
        }
    }
    turn_host_free(host->turn);
    free(host);
}

/* ---- texts of libnice ---- */

static void take_candidate(struct ice_host *host, const char *text)
{
    struct ice_candidate candidate;
    enum drop_reason reason = ice_candidate_parse(view_text(text), &candidate);
    host->nice_candidates++;
    if (reason == DROP_NONE) {
        reason = ice_agent_add_remote(&host->agent, &candidate, interop_now());
    }
    if (reason != DROP_NONE) {
        fprintf(stderr, "interop: %s: %s\n", drop_text(reason), text);
        host->nice_unreadable++;
        return;
    }
    if (host->turn != NULL) {
        turn_client_bind_channel(host->turn->client, &candidate.addr, interop_now());
    }
}

static void take_text(struct ice_host *host, const char *text)
{
    char local[64];
    char remote[64];
    if (strncmp(text, "candidate ", 10) == 0) {
        take_candidate(host, text + 10);
    } else if (strncmp(text, "state ", 6) == 0) {
        host->nice_state = atoi(text + 6);
    } else if (strncmp(text, "heard ours ", 11) == 0) {
        host->nice_heard++;
    } else if (strcmp(text, "gathered") == 0) {
        host->gathered = true;
    } else if (sscanf(text, "selected %63s %63s", local, remote) == 2) {
        host->nice_local = interop_address(local);
        host->nice_remote = interop_address(remote);
    }
}

static void take_texts(struct ice_host *host)
{
    char text[NICE_PEER_TEXT_MAX];
    ssize_t len;
    while ((len = recv(host->nice_fd, text, sizeof(text) - 1U, MSG_DONTWAIT)) > 0) {
        text[len] = '\0';
        take_text(host, text);
    }
    if (len == 0) {
        FAIL("libnice ended");
    }
}

static void tell_candidates(struct ice_host *host)
{
    if (host->texts_told <= host->texts_count && instant_reached(interop_now(), host->tell_at)) {
        bool is_end = host->texts_told == host->texts_count;
        ice_host_tell(host, is_end ? "end" : host->texts[host->texts_told]);
        host->texts_told++;
        host->tell_at = instant_add(interop_now(), DURATION_MS(ICE_HOST_TRICKLE_MS));
    }
}

/* ---- datagrams ---- */

static void count_number(const char *text, const char *prefix, bool *seen, unsigned *count)
{
    size_t len = strlen(prefix);
    unsigned long number = strtoul(text + len, NULL, 10);
    if (strncmp(text, prefix, len) == 0 && number < ICE_HOST_ECHOES && !seen[number]) {
        seen[number] = true;
        (*count)++;
    }
}

static void take_payload(struct ice_host *host, const struct sock_addr *local,
                         const struct sock_addr *from, struct view payload)
{
    struct stun_msg msg;
    if (!stun_is_message(payload)) {
        char text[64];
        snprintf(text, sizeof(text), "%.*s", (int)payload.len, (const char *)payload.at);
        count_number(text, "nice ", host->heard_number, &host->heard);
        count_number(text, "ours ", host->echoed_number, &host->echoed);
        return;
    }
    enum drop_reason reason = stun_msg_decode(payload, &msg);
    if (reason == DROP_NONE) {
        host->from_controlled += msg.class == STUN_REQUEST && msg.has_controlled ? 1U : 0U;
        reason = ice_agent_handle_message(&host->agent, local, from, payload, &msg, interop_now());
    }
    host->refused[reason]++;
}

static void take(struct ice_host *host, size_t index, const struct sock_addr *from,
                 struct view datagram)
{
    struct turn_data data;
    enum turn_input input = TURN_INPUT_NOT_MINE;
    if (host->turn != NULL) {
        input = turn_host_input(host->turn, index, from, datagram, &data);
    }
    if (input == TURN_INPUT_NOT_MINE) {
        take_payload(host, &host->local[index], from, datagram);
    } else if (input == TURN_INPUT_DATA) {
        take_payload(host, &data.relayed, &data.peer, view_sub(datagram, data.offset, data.length));
    }
}

static void send_on(struct ice_host *host, const struct ice_path *path, struct view bytes)
{
    if (path->relayed) {
        if (!turn_host_send(host->turn, &path->remote, bytes)) {
            return; /* no channel yet: lost, as on any network */
        }
    } else {
        interop_send(host->fd[path->local.ip.family == IP_V4 ? 0 : 1], &path->remote, bytes);
    }
}

void ice_host_send(struct ice_host *host, unsigned number)
{
    char text[32];
    struct ice_path path;
    int len = snprintf(text, sizeof(text), "ours %u", number);
    if (ice_agent_selected(&host->agent, &path)) {
        send_on(host, &path, (struct view){(const uint8_t *)text, (size_t)len});
    }
}

static void drain(struct ice_host *host)
{
    struct ice_transmit transmit;
    struct ice_event event;
    struct instant now = interop_now();
    if (instant_reached(now, ice_agent_poll_timeout(&host->agent).at)) {
        ice_agent_handle_timeout(&host->agent, now);
    }
    while (ice_agent_poll_transmit(&host->agent, &transmit)) {
        struct ice_path path = {transmit.local, transmit.remote, transmit.relayed};
        send_on(host, &path, transmit.bytes);
    }
    while (ice_agent_poll_event(&host->agent, &event)) {
        if (event.kind == ICE_EVENT_DISCOVERED && host->turn != NULL) {
            turn_client_bind_channel(host->turn->client, &event.source, now);
        }
    }
    if (host->turn != NULL) {
        turn_host_drain(host->turn);
    }
}

void ice_host_step(struct ice_host *host)
{
    uint8_t room[INTEROP_DATAGRAM_MAX];
    struct sock_addr from;
    size_t len = 0;
    int fds[3] = {host->fd[0], host->fd[1], host->nice_fd};
    tell_candidates(host);
    drain(host);
    interop_poll(fds, 3, ice_agent_poll_timeout(&host->agent).at);
    take_texts(host);
    for (size_t i = 0; i < 2U; i++) {
        while (host->fd[i] >= 0 &&
               interop_receive(host->fd[i], (struct span){room, sizeof(room)}, &from, &len)) {
            take(host, i, &from, (struct view){room, len});
        }
    }
    drain(host);
}

bool ice_host_until(struct ice_host *host, bool (*done)(const struct ice_host *), uint64_t ms)
{
    struct instant end = instant_add(interop_now(), DURATION_MS(ms));
    while (!done(host)) {
        if (!instant_before(interop_now(), end)) {
            return false;
        }
        ice_host_step(host);
    }
    return true;
}

void ice_host_pass(struct ice_host *host, uint64_t ms)
{
    struct instant end = instant_add(interop_now(), DURATION_MS(ms));
    while (instant_before(interop_now(), end)) {
        ice_host_step(host);
    }
}

bool ice_host_agree(const struct ice_host *host)
{
    struct ice_path path;
    return ice_agent_selected(&host->agent, &path) && host->nice_state == NICE_PEER_READY &&
           sock_addr_equal(&path.remote, &host->nice_local) &&
           sock_addr_equal(&path.local, &host->nice_remote);
}
