/* checksum_wide: the backends for processors with wide registers. Private to checksum_backend.c,
 * which others ask.
 */
#ifndef PACKET_CHECKSUM_WIDE_H
#define PACKET_CHECKSUM_WIDE_H

#include "packet/checksum_backend.h"

/* NULL where the architecture is another. */
MUST_USE const struct checksum_backend *checksum_wide_avx2(void);
MUST_USE const struct checksum_backend *checksum_wide_avx512(void);

#endif /* PACKET_CHECKSUM_WIDE_H */
