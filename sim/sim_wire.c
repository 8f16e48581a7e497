#include "sim/sim_wire.h"

#define STUN_MAGIC UINT32_C(0x2112A442)

bool wire_is_wireguard(struct view bytes, uint8_t type, size_t len)
{
    return bytes.len >= len && (type == WIRE_DATA || bytes.len == len) &&
           load_le32(bytes.at) == type;
}

bool wire_is_stun(struct view bytes)
{
    return bytes.len >= WIRE_STUN_SIZE && bytes.at[0] < 2 && load_be32(bytes.at + 4) == STUN_MAGIC;
}

uint16_t wire_stun_type(struct view bytes)
{
    return load_be16(bytes.at);
}

struct view wire_transaction(struct view bytes)
{
    return view_sub(bytes, 8, 12);
}

bool wire_attribute(struct view bytes, uint16_t type, struct view *value)
{
    struct reader r = reader_of(view_sub(bytes, WIRE_STUN_SIZE, bytes.len - WIRE_STUN_SIZE));
    while (r.rest.len >= 4) {
        uint16_t found = reader_be16(&r);
        uint16_t len = reader_be16(&r);
        *value = reader_take(&r, len);
        if (!reader_ok(&r)) {
            break;
        }
        if (found == type) {
            return true;
        }
        size_t padding = (4U - len % 4U) % 4U;
        (void)reader_take(&r, padding < r.rest.len ? padding : r.rest.len);
    }
    *value = VIEW_EMPTY;
    return false;
}

struct view wire_unwrap(struct view bytes, uint16_t indication, uint16_t *channel)
{
    *channel = 0;
    if (bytes.len > 4 && bytes.at[0] >= 0x40 && bytes.at[0] <= 0x4f) {
        size_t len = load_be16(bytes.at + 2);
        *channel = load_be16(bytes.at);
        return view_sub(bytes, 4, len < bytes.len - 4 ? len : bytes.len - 4);
    }
    if (wire_is_stun(bytes) && wire_stun_type(bytes) == indication) {
        struct view value = VIEW_EMPTY;
        return wire_attribute(bytes, WIRE_DATA_VALUE, &value) ? value : VIEW_EMPTY;
    }
    return bytes;
}
