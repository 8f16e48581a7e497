/* sim_wire: what a datagram is, for oracles: read with code that shares nothing with src/. */
#ifndef SIM_WIRE_H
#define SIM_WIRE_H

#include "base/bytes.h"

#define WIRE_INITIATION      1U /* types of WireGuard messages */
#define WIRE_RESPONSE        2U
#define WIRE_DATA            4U
#define WIRE_STUN_SIZE       20U

#define WIRE_INITIATION_SIZE 148U
#define WIRE_RESPONSE_SIZE   92U

#define WIRE_BINDING         0x0001U /* STUN types and attributes */
#define WIRE_ALLOCATE        0x0003U
#define WIRE_BINDING_OK      0x0101U
#define WIRE_BINDING_ERROR   0x0111U
#define WIRE_SEND_IND        0x0016U
#define WIRE_DATA_IND        0x0017U
#define WIRE_USERNAME        0x0006U
#define WIRE_CHANNEL_NUMBER  0x000CU
#define WIRE_DATA_VALUE      0x0013U
#define WIRE_USE_CANDIDATE   0x0025U

/* True for a message of this type: of exactly this length, data of at least this one. */
MUST_USE bool wire_is_wireguard(struct view bytes, uint8_t type, size_t len);
MUST_USE bool wire_is_stun(struct view bytes);
/* Of a message that is STUN. */
MUST_USE uint16_t wire_stun_type(struct view bytes);
MUST_USE struct view wire_transaction(struct view bytes);
/* Finds the first attribute of this type; false: none. */
MUST_USE bool wire_attribute(struct view bytes, uint16_t type, struct view *value);
/* A datagram without the wrapping of a relay, `indication` or ChannelData; *channel is its number,
 * 0 for none. */
MUST_USE struct view wire_unwrap(struct view bytes, uint16_t indication, uint16_t *channel);

#endif /* SIM_WIRE_H */
