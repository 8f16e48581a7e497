/* linux_identity: who this gateway is: its id, display name and user agent.
 *
 * The id: FIREZONE_ID when set and not empty; else the id file, either plain text (verbatim) or
 * JSON {"id":"..."}; else the machine id, keyed; else a new one that is written to the id file.
 * Source: spec/portal.md sections 1.1, 1.5, 9.2 and 10.6.
 */
#ifndef LINUX_IDENTITY_H
#define LINUX_IDENTITY_H

#include "base/bytes.h"
#include "base/err.h"

#define LINUX_IDENTITY_ID_MAX    512U /* bytes of an id, without terminator */
#define LINUX_IDENTITY_NAME_MAX  256U
#define LINUX_IDENTITY_AGENT_MAX 256U
#define LINUX_IDENTITY_TOKEN_MAX 4096U

struct linux_identity_paths {
    const char *id_file;    /* /var/lib/firezone/gateway_id */
    const char *machine_id; /* /etc/machine-id */
};

struct linux_identity_paths linux_identity_paths_default(void);

/* Writes the id, null-terminated. `from_env` may be NULL or empty. ERR_SPACE: it is too long;
 * ERR_IO, ERR_PERMISSION: the id file is there and cannot be read, or a new id not be written. */
MUST_USE enum err linux_identity_id(const char *from_env, const struct linux_identity_paths *paths,
                                    char out[LINUX_IDENTITY_ID_MAX + 1]);

/* Writes the display name: `configured` (which may be empty) or, when NULL, the host name, or a
 * random UUID when that is not UTF-8. ERR_SPACE: it is too long. */
MUST_USE enum err linux_identity_name(const char *configured,
                                      char out[LINUX_IDENTITY_NAME_MAX + 1]);

/* Facts that go into the user agent. */
struct linux_identity_system {
    struct view os_id;      /* ID of os-release */
    struct view os_version; /* VERSION_ID of os-release */
    struct view machine;    /* "x86_64" */
    struct view kernel;     /* "6.1.0-13-amd64" */
};

/* Writes "<OS>/<version> connlib/<client version> (<machine>; <kernel>)", printable ASCII only. */
void linux_identity_agent_of(const struct linux_identity_system *system, const char *client_version,
                             char out[LINUX_IDENTITY_AGENT_MAX + 1]);
/* The same with the facts of this system. */
void linux_identity_agent(const char *client_version, char out[LINUX_IDENTITY_AGENT_MAX + 1]);

/* Takes the token `given` (when it starts with a slash, the one in that file), or when that is NULL
 * the one in `directory`/FIREZONE_TOKEN, without the white space that copying leaves anywhere in it
 * (spec/portal.md section 10.1). ERR_NOT_FOUND: no such file, or nothing else in it; ERR_SPACE;
 * ERR_PERMISSION; ERR_IO. */
MUST_USE enum err linux_identity_token(const char *given, const char *directory,
                                       char out[LINUX_IDENTITY_TOKEN_MAX + 1]);

#endif /* LINUX_IDENTITY_H */
