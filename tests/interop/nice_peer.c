/* nice_peer: see nice_peer.h. */
#include "tests/interop/nice_peer.h"

#include <agent.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define COMPONENT 1U

struct nice_peer {
    const struct nice_peer_options *options;
    GMainLoop *loop;
    NiceAgent *agent;
    guint stream;
};

static void say(const struct nice_peer *peer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(const struct nice_peer *peer, const char *format, ...)
{
    char text[NICE_PEER_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    printf("says: %s\n", text);
    if (len > 0 && send(peer->options->fd, text, (size_t)len, MSG_NOSIGNAL) < 0) {
        g_main_loop_quit(peer->loop);
    }
}

static void put_address(const NiceAddress *address, char *out, size_t size)
{
    char ip[NICE_ADDRESS_STRING_LEN];
    nice_address_to_string(address, ip);
    if (nice_address_ip_version(address) == 6) {
        snprintf(out, size, "[%s]:%u", ip, nice_address_get_port(address));
    } else {
        snprintf(out, size, "%s:%u", ip, nice_address_get_port(address));
    }
}

/* ---- what libnice tells ---- */

static void on_candidate(NiceAgent *agent, NiceCandidate *candidate, gpointer data)
{
    gchar *text = nice_agent_generate_local_candidate_sdp(agent, candidate);
    const char *prefix = "a=";
    say(data, "candidate %s", g_str_has_prefix(text, prefix) ? text + strlen(prefix) : text);
    g_free(text);
}

static void on_gathered(NiceAgent *agent, guint stream, gpointer data)
{
    (void)agent;
    (void)stream;
    say(data, "gathered");
}

static void on_state(NiceAgent *agent, guint stream, guint component, guint state, gpointer data)
{
    (void)agent;
    (void)stream;
    (void)component;
    say(data, "state %u", state);
}

static void on_selected(NiceAgent *agent, guint stream, guint component, NiceCandidate *local,
                        NiceCandidate *remote, gpointer data)
{
    char texts[2][80];
    (void)agent;
    (void)stream;
    (void)component;
    put_address(&local->addr, texts[0], sizeof(texts[0]));
    put_address(&remote->addr, texts[1], sizeof(texts[1]));
    say(data, "selected %s %s", texts[0], texts[1]);
}

static void on_data(NiceAgent *agent, guint stream, guint component, guint len, gchar *bytes,
                    gpointer data)
{
    say(data, "heard %.*s", (int)len, bytes);
    nice_agent_send(agent, stream, component, len, bytes);
}

/* ---- what it is told ---- */

static void take_credentials(struct nice_peer *peer, const char *text)
{
    char ufrag[64];
    char password[128];
    if (sscanf(text, "%63s %127s", ufrag, password) != 2 ||
        !nice_agent_set_remote_credentials(peer->agent, peer->stream, ufrag, password) ||
        !nice_agent_gather_candidates(peer->agent, peer->stream)) {
        fprintf(stderr, "credentials refused\n");
        exit(1);
    }
}

static void take_candidate(struct nice_peer *peer, const char *text)
{
    char line[NICE_PEER_TEXT_MAX + 2U];
    snprintf(line, sizeof(line), "a=%s", text);
    NiceCandidate *candidate =
        nice_agent_parse_remote_candidate_sdp(peer->agent, peer->stream, line);
    if (candidate == NULL) {
        fprintf(stderr, "candidate refused: %s\n", line);
        exit(1);
    }
    GSList *list = g_slist_append(NULL, candidate);
    if (nice_agent_set_remote_candidates(peer->agent, peer->stream, COMPONENT, list) < 0) {
        fprintf(stderr, "candidate not added: %s\n", line);
    }
    g_slist_free_full(list, (GDestroyNotify)nice_candidate_free);
}

static void send_data(struct nice_peer *peer, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[32];
        int len = snprintf(text, sizeof(text), "nice %u", i);
        nice_agent_send(peer->agent, peer->stream, COMPONENT, (guint)len, text);
    }
}

static gboolean on_command(gint fd, GIOCondition condition, gpointer data)
{
    struct nice_peer *peer = data;
    char text[NICE_PEER_TEXT_MAX];
    (void)condition;
    ssize_t len = recv(fd, text, sizeof(text) - 1U, 0);
    if (len <= 0) {
        g_main_loop_quit(peer->loop);
        return G_SOURCE_REMOVE;
    }
    text[len] = '\0';
    printf("hears: %s\n", text);
    if (g_str_has_prefix(text, "credentials ")) {
        take_credentials(peer, text + strlen("credentials "));
    } else if (g_str_has_prefix(text, "candidate:")) {
        take_candidate(peer, text);
    } else if (g_str_has_prefix(text, "send ")) {
        send_data(peer, (unsigned)strtoul(text + strlen("send "), NULL, 10));
    } else if (strcmp(text, "end") == 0) {
        nice_agent_peer_candidate_gathering_done(peer->agent, peer->stream);
    }
    fflush(stdout);
    return G_SOURCE_CONTINUE;
}

static void add_addresses(const struct nice_peer *peer)
{
    for (size_t i = 0; i < 2U; i++) {
        NiceAddress address;
        nice_address_init(&address);
        if (peer->options->addresses[i] != NULL &&
            nice_address_set_from_string(&address, peer->options->addresses[i])) {
            nice_agent_add_local_address(peer->agent, &address);
        }
    }
}

void nice_peer_run(void *options)
{
    struct nice_peer peer = {.options = options};
    guint flags = NICE_AGENT_OPTION_ICE_TRICKLE;
    flags |= peer.options->regular_nomination ? NICE_AGENT_OPTION_REGULAR_NOMINATION : 0;
    peer.loop = g_main_loop_new(NULL, FALSE);
    peer.agent = nice_agent_new_full(NULL, NICE_COMPATIBILITY_RFC5245, (NiceAgentOption)flags);
    g_object_set(peer.agent, "upnp", FALSE, "ice-tcp", FALSE, "controlling-mode",
                 (gboolean)peer.options->controlling, "force-relay",
                 (gboolean)peer.options->force_relay, NULL);
    add_addresses(&peer);
    peer.stream = nice_agent_add_stream(peer.agent, COMPONENT);
    if (peer.options->relay_ip != NULL) {
        nice_agent_set_relay_info(peer.agent, peer.stream, COMPONENT, peer.options->relay_ip,
                                  peer.options->relay_port, peer.options->relay_user,
                                  peer.options->relay_password, NICE_RELAY_TYPE_TURN_UDP);
    }
    nice_agent_attach_recv(peer.agent, peer.stream, COMPONENT, NULL, on_data, &peer);
    g_signal_connect(peer.agent, "new-candidate-full", G_CALLBACK(on_candidate), &peer);
    g_signal_connect(peer.agent, "candidate-gathering-done", G_CALLBACK(on_gathered), &peer);
    g_signal_connect(peer.agent, "component-state-changed", G_CALLBACK(on_state), &peer);
    g_signal_connect(peer.agent, "new-selected-pair-full", G_CALLBACK(on_selected), &peer);
    gchar *ufrag = NULL;
    gchar *password = NULL;
    nice_agent_get_local_credentials(peer.agent, peer.stream, &ufrag, &password);
    say(&peer, "credentials %s %s", ufrag, password);
    g_free(ufrag);
    g_free(password);
    g_unix_fd_add(peer.options->fd, G_IO_IN, on_command, &peer);
    g_main_loop_run(peer.loop);
    g_object_unref(peer.agent);
    g_main_loop_unref(peer.loop);
}
