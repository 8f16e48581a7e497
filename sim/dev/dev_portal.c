/* fzdev portal: sim/sim_portal.h on a TCP port, with a policy file that may be edited at any time.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sim/dev/dev_args.h"
#include "sim/dev/dev_command.h"
#include "sim/dev/dev_log.h"
#include "sim/dev/dev_runner.h"
#include "sim/sim_portal.h"

#define POLICY_SIZE_MAX (1024U * 1024U)
#define POLICY_POLL     DURATION_MS(50)

struct dev_portal_options {
    struct dev_list listen;
    struct dev_list names;
    const char *tls_dir;
    const char *policy;
    const char *generation;
    const char *log;
    bool log_secrets;
};

struct dev_portal {
    struct dev_portal_options options;
    struct dev_loop loop;
    struct dev_runner *runner;
    struct sim_portal *portal;
    struct sim_policy policy;
    struct dev_log log;
    struct instant poll_at;
    struct timespec policy_changed;
    off_t policy_size;
    ino_t policy_inode;
};

static void log_text(struct dev_portal *self, const char *kind, const char *text)
{
    struct json_writer *w = dev_log_start(&self->log, dev_now().boot);
    if (w != NULL) {
        json_field_string(w, "event", kind);
        json_field_string(w, "text", text);
        dev_log_end(&self->log);
    }
}

static void observe(void *context, const struct sim_portal_message *message)
{
    struct dev_portal *self = context;
    struct json_writer *w = dev_log_start(&self->log, message->at.boot);
    if (w != NULL) {
        json_field_string(w, "peer", message->kind);
        json_field_uuid(w, "id", &message->id);
        json_field_string(w, "way", message->outgoing ? "out" : "in");
        dev_log_message(&self->log, "message", message->text);
        dev_log_end(&self->log);
    }
}

/* What the node says about others: a peer that breaks the protocol is worth a line. */
static void note(void *context, const struct sim_note *note)
{
    char text[256];
    if (note->kind == SIM_NOTE_VIOLATION || note->kind == SIM_NOTE_TEXT) {
        (void)snprintf(text, sizeof text, "%.*s", (int)note->text.len,
                       note->text.len == 0 ? "" : (const char *)note->text.at);
        log_text(context, note->kind == SIM_NOTE_VIOLATION ? "violation" : "note", text);
    }
}

/* ---- the policy file ---- */

static bool load_text(struct dev_portal *self, struct view text)
{
    const char *reason = "";
    enum err err = sim_portal_load_policy(self->portal, dev_now(), text, &reason,
                                          dev_runner_outbox(self->runner));
    dev_runner_carry(self->runner);
    if (err != ERR_NONE) {
        fprintf(stderr, "fzdev portal: %s: %s; the old policy stays\n", self->options.policy,
                reason);
    }
    log_text(self, err == ERR_NONE ? "policy" : "policy_refused", reason);
    return err == ERR_NONE;
}

static bool load_policy(struct dev_portal *self)
{
    uint8_t *room = malloc(POLICY_SIZE_MAX);
    FILE *file = fopen(self->options.policy, "re");
    bool loaded = false;
    if (file == NULL || room == NULL) {
        fprintf(stderr, "fzdev portal: cannot read %s: %s\n", self->options.policy,
                strerror(errno));
    } else {
        size_t got = fread(room, 1, POLICY_SIZE_MAX, file);
        loaded = got > 0 && load_text(self, (struct view){room, got});
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    free(room);
    return loaded;
}

static bool policy_changed(struct dev_portal *self)
{
    struct stat now;
    if (stat(self->options.policy, &now) != 0) {
        return false; /* an editor is between two names */
    }
    bool changed = now.st_mtim.tv_sec != self->policy_changed.tv_sec ||
                   now.st_mtim.tv_nsec != self->policy_changed.tv_nsec ||
                   now.st_size != self->policy_size || now.st_ino != self->policy_inode;
    self->policy_changed = now.st_mtim;
    self->policy_size = now.st_size;
    self->policy_inode = now.st_ino;
    return changed;
}

static struct instant poll_next(void *context)
{
    const struct dev_portal *self = context;
    return self->poll_at;
}

static void poll_fire(void *context)
{
    struct dev_portal *self = context;
    self->poll_at = instant_add(dev_now().boot, POLICY_POLL);
    if (policy_changed(self)) {
        (void)load_policy(self);
    }
}

static void hang_up(void *context)
{
    (void)load_policy(context);
}

static void end_connections(void *context)
{
    struct dev_portal *self = context;
    struct sim_outbox *out = dev_runner_outbox(self->runner);
    log_text(self, "connections_ended", "");
    for (uint32_t i = 0; i < self->policy.gateways_count; i++) {
        enum err err =
            sim_portal_disconnect_gateway(self->portal, dev_now(), i, SIM_PORTAL_CLOSE_1012, out);
        (void)err; /* nobody was connected */
    }
    for (uint32_t i = 0; i < self->policy.clients_count; i++) {
        enum err err =
            sim_portal_disconnect_client(self->portal, dev_now(), i, SIM_PORTAL_CLOSE_1012, out);
        (void)err;
    }
    dev_runner_carry(self->runner);
}

/* ---- start ---- */

static bool read_options(struct dev_portal *self, const char *const *argv, int *exit_code)
{
    struct dev_portal_options *o = &self->options;
    const struct dev_option options[] = {
        {"--listen", NULL, &o->listen, NULL, "ADDR:PORT", "where to accept; up to four times"},
        {"--policy", &o->policy, NULL, NULL, "FILE", "who may do what; read again when it changes"},
        {"--tls-dir", &o->tls_dir, NULL, NULL, "DIR", "speak TLS; ca.pem is put there"},
        {"--tls-name", NULL, &o->names, NULL, "NAME", "a name of the certificate (portal.test)"},
        {"--generation", &o->generation, NULL, NULL, "v142|head", "which portal to be (v142)"},
        {"--log", &o->log, NULL, NULL, "FILE", "every message as a JSON line"},
        {"--log-secrets", NULL, NULL, &o->log_secrets, NULL, "do not cover tokens and keys there"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    o->generation = "v142";
    if (!dev_args_read("portal", options, argv, exit_code)) {
        return false;
    }
    if (o->policy == NULL || o->listen.count == 0) {
        return dev_args_bad("portal", "required", "--policy FILE --listen ADDR:PORT");
    }
    if (strcmp(o->generation, "v142") != 0 && strcmp(o->generation, "head") != 0) {
        return dev_args_bad("portal", "no generation", o->generation);
    }
    return true;
}

static bool read_listen(const struct dev_portal_options *options, uint32_t index,
                        struct sock_addr *out)
{
    return sock_addr_parse(view_text(options->listen.at[index]), out)
               ? true
               : dev_args_bad("portal", "no ADDR:PORT", options->listen.at[index]);
}

static bool make_tls(const struct dev_portal_options *options, struct dev_tls_server **out)
{
    struct dev_tls_subjects subjects = {.names = {"localhost"}, .names_count = 1};
    *out = NULL;
    if (options->tls_dir == NULL) {
        return true;
    }
    for (uint32_t i = 0; i < options->names.count; i++) {
        subjects.names[subjects.names_count++] = options->names.at[i];
    }
    if (options->names.count == 0) {
        subjects.names[subjects.names_count++] = "portal.test";
    }
    for (uint32_t i = 0; i < options->listen.count; i++) {
        struct sock_addr local;
        if (!read_listen(options, i, &local)) {
            return false;
        }
        subjects.ips[subjects.ips_count++] = local.ip;
    }
    *out = dev_tls_server_new(options->tls_dir, &subjects);
    return *out != NULL;
}

static bool listen_all(struct dev_portal *self)
{
    for (uint32_t i = 0; i < self->options.listen.count; i++) {
        struct sock_addr local;
        if (!read_listen(&self->options, i, &local)) {
            return false;
        }
        enum err err = dev_runner_listen(self->runner, local);
        if (err != ERR_NONE) {
            return dev_args_bad("portal", err_text(err), self->options.listen.at[i]);
        }
        printf("fzdev portal: listening on %s://%s\n", self->options.tls_dir != NULL ? "wss" : "ws",
               self->options.listen.at[i]);
    }
    (void)fflush(stdout);
    return true;
}

static bool start(struct dev_portal *self, struct dev_tls_server *tls)
{
    struct sim_portal_config config = {
        .generation =
            strcmp(self->options.generation, "head") == 0 ? SIM_PORTAL_HEAD : SIM_PORTAL_V142,
        .policy = &self->policy,
    };
    dev_entropy(config.seed);
    self->portal = sim_portal_new(&config);
    sim_portal_observe(self->portal, observe, self);
    struct dev_runner_options options = {
        .node = sim_portal_node(self->portal), .tls_server = tls, .note = note, .self = self};
    self->runner = dev_runner_new(&self->loop, &options);
    if (self->runner == NULL ||
        !dev_log_open(&self->log, self->options.log, self->options.log_secrets)) {
        return false;
    }
    dev_runner_addresses(self->runner, &(struct sim_host_addresses){0});
    (void)policy_changed(self);
    if (!load_policy(self)) {
        return false;
    }
    dev_loop_timer(&self->loop, (struct dev_timer){poll_next, poll_fire, self});
    dev_loop_signal(&self->loop, (struct dev_signal){SIGHUP, hang_up, self});
    dev_loop_signal(&self->loop, (struct dev_signal){SIGUSR1, end_connections, self});
    return listen_all(self);
}

int dev_portal(const char *const *argv)
{
    struct dev_tls_server *tls = NULL;
    int exit_code = 1;
    struct dev_portal *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return 1;
    }
    if (read_options(self, argv, &exit_code)) {
        exit_code = 1;
        if (dev_loop_init(&self->loop) && make_tls(&self->options, &tls) && start(self, tls)) {
            exit_code = dev_loop_run(&self->loop);
        }
    }
    dev_runner_free(self->runner);
    sim_portal_free(self->portal);
    dev_tls_server_free(tls);
    dev_log_close(&self->log);
    free(self);
    return exit_code;
}
