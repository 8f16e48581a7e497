/* support: what every unit test needs: cmocka, panic_at(), hex input, files.
 *
 * Tests run from the root of the tree; test data stands in tests/vectors/.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers it needs */

/* Decodes hex text into `out`; returns bytes written. Aborts on bad hex or lack of room. */
size_t support_unhex(const char *hex, uint8_t *out, size_t size);

/* Reads a whole file, null-terminated; the caller frees. NULL when it cannot be read. */
char *support_read_file(const char *path, size_t *len);

#endif /* TESTS_SUPPORT_H */
