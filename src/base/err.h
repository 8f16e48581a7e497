/* err: what the environment can do to us, as one enum with one sentence each.
 *
 * Our own bugs are ASSERTs and refused input is a drop reason (base/drop.h); neither is an err.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* name, sentence for the operator */
#define ERR_TABLE(X)                                                                               \
    X(ERR_NONE, "success")                                                                         \
    X(ERR_WOULD_BLOCK, "the operation would block; try again when ready")                          \
    X(ERR_FULL, "a table or pool is full")                                                         \
    X(ERR_SPACE, "the caller's buffer is too small")                                               \
    X(ERR_ARGUMENT, "a configuration value is not acceptable")                                     \
    X(ERR_SYNTAX, "the text does not follow its grammar")                                          \
    X(ERR_NOT_FOUND, "no such object")                                                             \
    X(ERR_EXISTS, "the object exists already")                                                     \
    X(ERR_NO_RELAY, "no relay is known")                                                           \
    X(ERR_STATE, "the object is in a state that does not permit this")                             \
    X(ERR_CRYPTO, "a cryptographic operation failed")                                              \
    X(ERR_MEMORY, "out of memory")                                                                 \
    X(ERR_IO, "input or output failed")                                                            \
    X(ERR_UNREACHABLE, "the network or host is unreachable")                                       \
    X(ERR_TOO_BIG, "the datagram is larger than the path permits")                                 \
    X(ERR_UNSUPPORTED, "the operation is not supported here")                                      \
    X(ERR_CLOSED, "the other side closed the connection")                                          \
    X(ERR_REFUSED, "the connection was refused")                                                   \
    X(ERR_TIMEOUT, "the operation timed out")                                                      \
    X(ERR_PERMISSION, "permission denied")                                                         \
    X(ERR_TLS, "the TLS handshake failed")                                                         \
    X(ERR_TLS_CERTIFICATE, "the certificate of the other side was not accepted")                   \
    X(ERR_NAME, "the name could not be resolved")                                                  \
    X(ERR_TLS_NAME, "the certificate of the other side is for another name")                       \
    X(ERR_TLS_DATE, "the certificate of the other side is not valid at this time")                 \
    X(ERR_DESCRIPTORS, "no file descriptor is free")                                               \
    X(ERR_DISK, "no space is left on the device")

#define ERR_ENUM(name, text) name,
enum err { ERR_TABLE(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

/* Returns the sentence for `err`; static storage. Asserts: err < ERR_COUNT. */
const char *err_text(enum err err);

/* Returns the identifier of `err` as text, e.g. "ERR_FULL"; static storage. */
const char *err_name(enum err err);

#endif /* BASE_ERR_H */
