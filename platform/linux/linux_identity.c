#include "platform/linux/linux_identity.h"

#include <cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/text.h"
#include "platform/linux/linux_addr.h"

#define FILE_MAX        2048U /* bytes read of a file */
#define PATH_SIZE       1024U
#define MACHINE_ID_SALT "753b38f9f96947ef8083802d5909a372" /* spec/portal.md section 10.6 */
#define OS_RELEASE      "/etc/os-release"

struct linux_identity_paths linux_identity_paths_default(void)
{
    return (struct linux_identity_paths){"/var/lib/firezone/gateway_id", "/etc/machine-id"};
}

/* Reads a whole file of at most `room` bytes. ERR_SPACE: it is longer. */
static enum err read_file(const char *path, struct span room, size_t *len)
{
    uint8_t beyond = 0;
    *len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : linux_err(errno);
    }
    enum err err = ERR_NONE;
    for (;;) {
        bool full = *len == room.len;
        ssize_t got = read(fd, full ? &beyond : room.at + *len, full ? 1 : room.len - *len);
        if (got < 0 || (got > 0 && full)) {
            err = got < 0 ? linux_err(errno) : ERR_SPACE;
        }
        if (got <= 0 || full) {
            break;
        }
        *len += (size_t)got;
    }
    (void)close(fd);
    return err;
}

/* ---- id ---- */

static void random_uuid(char out[UUID_TEXT_SIZE + 1])
{
    struct uuid uuid;
    randombytes_buf(uuid.bytes, sizeof(uuid.bytes));
    uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0fU) | 0x40U); /* version 4, RFC 4122 */
    uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3fU) | 0x80U);
    struct writer w = writer_of((struct span){(uint8_t *)out, UUID_TEXT_SIZE});
    uuid_put(&w, &uuid);
    out[UUID_TEXT_SIZE] = '\0';
}

/* Takes the id out of {"id":"..."}; false when the text is anything else. */
static bool id_of_json(struct view text, char out[LINUX_IDENTITY_ID_MAX + 1])
{
    cJSON *tree = cJSON_ParseWithLength((const char *)text.at, text.len);
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(tree, "id");
    bool found = cJSON_IsString(id) && id->valuestring[0] != '\0' &&
                 strlen(id->valuestring) <= LINUX_IDENTITY_ID_MAX;
    if (found) {
        memcpy(out, id->valuestring, strlen(id->valuestring) + 1);
    }
    cJSON_Delete(tree);
    return found;
}

static enum err id_of_text(struct view text, char out[LINUX_IDENTITY_ID_MAX + 1])
{
    if (text.len == 0) {
        return ERR_NOT_FOUND;
    }
    if (text.at[0] == '{' && id_of_json(text, out)) {
        return ERR_NONE;
    }
    if (text.len > LINUX_IDENTITY_ID_MAX || memchr(text.at, 0, text.len) != NULL) {
        return ERR_SPACE;
    }
    memcpy(out, text.at, text.len); /* verbatim, a newline included: spec/portal.md section 9.2 */
    out[text.len] = '\0';
    return ERR_NONE;
}

static void id_of_machine(struct view machine_id, char out[LINUX_IDENTITY_ID_MAX + 1])
{
    static const char salt[] = MACHINE_ID_SALT;
    crypto_auth_hmacsha256_state state;
    uint8_t digest[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_init(&state, (const uint8_t *)salt, sizeof(salt) - 1);
    crypto_auth_hmacsha256_update(&state, machine_id.at, machine_id.len);
    crypto_auth_hmacsha256_final(&state, digest);
    struct writer w = writer_of((struct span){(uint8_t *)out, LINUX_IDENTITY_ID_MAX});
    text_put_hex(&w, VIEW_OF(digest));
    out[w.used] = '\0';
}

static enum err write_all(int fd, struct view bytes)
{
    ssize_t written = write(fd, bytes.at, bytes.len);
    if (written != (ssize_t)bytes.len || fsync(fd) != 0) {
        enum err err = written >= 0 && written < (ssize_t)bytes.len ? ERR_DISK : linux_err(errno);
        (void)close(fd);
        return err;
    }
    return close(fd) == 0 ? ERR_NONE : linux_err(errno);
}

/* Writes the changed names of a directory to the disk; some file systems cannot. Without it a crash
 * of the machine may take the file back, and the next start makes another id. */
static void sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        int ignored = fsync(fd);
        (void)ignored;
        (void)close(fd);
    }
}

/* The file is there as a whole or not at all: it is written at `beside` and then renamed. */
static enum err replace_file(const char *path, const char *beside, struct view bytes)
{
    (void)unlink(beside); /* of a start that did not get far */
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0) {
        return errno == ENOENT ? ERR_NOT_FOUND : linux_err(errno);
    }
    enum err err = write_all(fd, bytes);
    if (err == ERR_NONE && rename(beside, path) != 0) {
        err = linux_err(errno);
    }
    if (err != ERR_NONE) {
        (void)unlink(beside);
    }
    return err;
}

/* Creates the directory of `path`, mode 0770, and writes {"id":"..."} there, mode 0640. */
static enum err write_id(const char *path, const char *id)
{
    static const char suffix[] = ".new";
    uint8_t room[LINUX_IDENTITY_ID_MAX + 16];
    char beside[PATH_SIZE];
    const char *slash = strrchr(path, '/');
    size_t len = strlen(path);
    if (slash == NULL || len + sizeof(suffix) > sizeof(beside)) {
        return ERR_ARGUMENT;
    }
    size_t directory_len = (size_t)(slash - path);
    memcpy(beside, path, len + 1);
    beside[directory_len] = '\0';
    (void)mkdir(beside, 0770); /* opening the file says whether it is there */
    beside[directory_len] = '/';
    memcpy(beside + len, suffix, sizeof(suffix));
    struct writer w = writer_of((struct span){room, sizeof(room)});
    writer_text(&w, "{\"id\":\"");
    writer_text(&w, id);
    writer_text(&w, "\"}");
    enum err err = replace_file(path, beside, writer_view(&w));
    if (err == ERR_NONE) {
        beside[directory_len] = '\0';
        sync_directory(beside);
    }
    return err;
}

static enum err new_id(const char *path, char out[LINUX_IDENTITY_ID_MAX + 1])
{
    char uuid[UUID_TEXT_SIZE + 1];
    uint8_t digest[crypto_hash_sha256_BYTES];
    random_uuid(uuid);
    crypto_hash_sha256(digest, (const uint8_t *)uuid, UUID_TEXT_SIZE);
    struct writer w = writer_of((struct span){(uint8_t *)out, LINUX_IDENTITY_ID_MAX});
    text_put_hex(&w, VIEW_OF(digest));
    out[w.used] = '\0';
    return write_id(path, out);
}

enum err linux_identity_id(const char *from_env, const struct linux_identity_paths *paths,
                           char out[LINUX_IDENTITY_ID_MAX + 1])
{
    uint8_t room[FILE_MAX];
    size_t len = 0;
    struct span all = {room, sizeof(room)};
    if (from_env != NULL && from_env[0] != '\0') {
        return id_of_text(view_text(from_env), out);
    }
    enum err err = read_file(paths->id_file, all, &len);
    if (err == ERR_NONE && len > 0) {
        return id_of_text((struct view){room, len}, out);
    }
    if (err != ERR_NONE && err != ERR_NOT_FOUND) {
        return err; /* the id may stand there: another one would be another gateway */
    }
    if (read_file(paths->machine_id, all, &len) == ERR_NONE && len > 0) {
        id_of_machine((struct view){room, len}, out);
        return ERR_NONE;
    }
    return new_id(paths->id_file, out);
}

/* ---- name and token ---- */

enum err linux_identity_name(const char *configured, char out[LINUX_IDENTITY_NAME_MAX + 1])
{
    if (configured != NULL) {
        size_t len = strlen(configured);
        if (len > LINUX_IDENTITY_NAME_MAX) {
            return ERR_SPACE;
        }
        memcpy(out, configured, len + 1);
        return ERR_NONE;
    }
    memset(out, 0, LINUX_IDENTITY_NAME_MAX + 1);
    if (gethostname(out, LINUX_IDENTITY_NAME_MAX) != 0 || out[0] == '\0' ||
        !text_is_utf8(view_text(out))) {
        random_uuid(out);
    }
    return ERR_NONE;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum err read_credential(const char *directory, struct span room, size_t *len)
{
    char path[PATH_SIZE];
    struct writer w = writer_of((struct span){(uint8_t *)path, sizeof(path) - 1});
    writer_text(&w, directory);
    writer_text(&w, "/FIREZONE_TOKEN");
    if (!writer_finish(&w)) {
        return ERR_SPACE;
    }
    path[w.used] = '\0';
    return read_file(path, room, len);
}

enum err linux_identity_token(const char *given, const char *directory,
                              char out[LINUX_IDENTITY_TOKEN_MAX + 1])
{
    struct span room = {(uint8_t *)out, LINUX_IDENTITY_TOKEN_MAX};
    size_t len = 0;
    enum err err = ERR_NONE;
    if (given != NULL && given[0] == '/') {
        err = read_file(given, room, &len);
    } else if (given != NULL) {
        len = strlen(given);
        err = len > room.len ? ERR_SPACE : ERR_NONE;
        memcpy(room.at, given, err == ERR_NONE ? len : 0);
    } else {
        err = read_credential(directory, room, &len);
    }
    if (err != ERR_NONE) {
        return err;
    }
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        if (!is_space(room.at[i])) {
            room.at[kept++] = room.at[i];
        }
    }
    out[kept] = '\0';
    return kept == 0 ? ERR_NOT_FOUND : ERR_NONE;
}

/* ---- user agent ---- */

/* The names under which the reference reports distributions, by ID of os-release. */
static struct view os_name(struct view id)
{
    static const struct {
        const char *id;
        const char *name;
    } names[] = {
        {"almalinux", "AlmaLinux"},
        {"alpine", "Alpine Linux"},
        {"amzn", "Amazon Linux AMI"},
        {"arch", "Arch Linux"},
        {"centos", "CentOS"},
        {"debian", "Debian"},
        {"fedora", "Fedora"},
        {"gentoo", "Gentoo Linux"},
        {"linuxmint", "Linux Mint"},
        {"nixos", "NixOS"},
        {"ol", "Oracle Linux"},
        {"opensuse", "openSUSE"},
        {"opensuse-leap", "openSUSE"},
        {"opensuse-tumbleweed", "openSUSE"},
        {"pop", "Pop!_OS"},
        {"raspbian", "Raspberry Pi OS"},
        {"rhel", "Red Hat Enterprise Linux"},
        {"rocky", "Rocky Linux"},
        {"sles", "SUSE Linux Enterprise Server"},
        {"ubuntu", "Ubuntu"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (view_equal_text(id, names[i].id)) {
            return view_text(names[i].name);
        }
    }
    return view_text("Linux");
}

/* Writes 1 to 3 dot-separated numbers as three; anything else as it is. */
static void put_version(struct writer *w, struct view version)
{
    uint64_t numbers[3] = {0, 0, 0};
    size_t count = 0;
    struct view rest = version;
    bool numeric = version.len > 0;
    while (numeric && rest.len > 0) {
        const uint8_t *dot = memchr(rest.at, '.', rest.len);
        size_t len = dot == NULL ? rest.len : (size_t)(dot - rest.at);
        bool last = dot == NULL;
        numeric = count < 3 && text_parse_u64(view_sub(rest, 0, len), &numbers[count]) &&
                  (last || len + 1 < rest.len);
        count++;
        rest = last ? VIEW_EMPTY : view_sub(rest, len + 1, rest.len - len - 1);
    }
    if (!numeric) {
        writer_bytes(w, version.len == 0 ? view_text("Unknown") : version);
        return;
    }
    text_put_u64(w, numbers[0]);
    text_put_char(w, '.');
    text_put_u64(w, numbers[1]);
    text_put_char(w, '.');
    text_put_u64(w, numbers[2]);
}

void linux_identity_agent_of(const struct linux_identity_system *system, const char *client_version,
                             char out[LINUX_IDENTITY_AGENT_MAX + 1])
{
    struct writer w = writer_of((struct span){(uint8_t *)out, LINUX_IDENTITY_AGENT_MAX});
    writer_bytes(&w, os_name(system->os_id));
    text_put_char(&w, '/');
    put_version(&w, system->os_version);
    writer_text(&w, " connlib/");
    writer_text(&w, client_version);
    bool both = system->machine.len > 0 && system->kernel.len > 0;
    if (system->machine.len > 0 || system->kernel.len > 0) {
        writer_text(&w, " (");
        writer_bytes(&w, system->machine);
        writer_text(&w, both ? "; " : "");
        writer_bytes(&w, system->kernel);
        writer_text(&w, ")");
    }
    if (!writer_finish(&w)) { /* facts of absurd length: the portal needs the version only */
        w = writer_of((struct span){(uint8_t *)out, LINUX_IDENTITY_AGENT_MAX});
        writer_text(&w, "Linux/Unknown connlib/");
        writer_text(&w, client_version);
    }
    out[w.used] = '\0';
    for (size_t i = 0; i < w.used; i++) {
        if (out[i] < 0x20 || out[i] > 0x7e) {
            out[i] = '?';
        }
    }
}

/* Finds the value of `key` in the lines KEY=value or KEY="value". */
static struct view release_value(struct view text, const char *key)
{
    size_t key_len = strlen(key);
    while (text.len > 0) {
        const uint8_t *end = memchr(text.at, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.at);
        struct view line = view_sub(text, 0, len);
        size_t next = end == NULL ? len : len + 1;
        text = view_sub(text, next, text.len - next);
        if (len <= key_len || memcmp(line.at, key, key_len) != 0 || line.at[key_len] != '=') {
            continue;
        }
        struct view value = view_sub(line, key_len + 1, len - key_len - 1);
        if (value.len >= 2 && (value.at[0] == '"' || value.at[0] == '\'')) {
            value = view_sub(value, 1, value.len - 2);
        }
        return value;
    }
    return VIEW_EMPTY;
}

void linux_identity_agent(const char *client_version, char out[LINUX_IDENTITY_AGENT_MAX + 1])
{
    uint8_t room[FILE_MAX];
    struct utsname names;
    size_t len = 0;
    enum err best_effort = read_file(OS_RELEASE, (struct span){room, sizeof(room)}, &len);
    (void)best_effort;
    if (uname(&names) != 0) {
        memset(&names, 0, sizeof(names));
    }
    struct view release = {room, len};
    struct linux_identity_system system = {
        .os_id = release_value(release, "ID"),
        .os_version = release_value(release, "VERSION_ID"),
        .machine = view_text(names.machine),
        .kernel = view_text(names.release),
    };
    linux_identity_agent_of(&system, client_version, out);
}
