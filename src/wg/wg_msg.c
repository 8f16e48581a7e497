#include "wg/wg_msg.h"

#include <string.h>

#include "base/assert.h"

#define IPV4_HEADER_SIZE 20U
#define IPV6_HEADER_SIZE 40U

/*  0               4               8
 * +---------------+---------------+
 * | type, 3 zeros | sender index  |  1 and 2
 * | type, 3 zeros | receiver ind. |  3 and 4 (2: receiver index at 8)
 * +---------------+---------------+
 */
enum wg_type wg_msg_type(struct view datagram)
{
    if (datagram.len < 4) {
        return WG_TYPE_NONE;
    }
    switch (load_le32(datagram.at)) {
    case WG_TYPE_INITIATION:
        return datagram.len == WG_INITIATION_SIZE ? WG_TYPE_INITIATION : WG_TYPE_NONE;
    case WG_TYPE_RESPONSE:
        return datagram.len == WG_RESPONSE_SIZE ? WG_TYPE_RESPONSE : WG_TYPE_NONE;
    case WG_TYPE_COOKIE_REPLY:
        return datagram.len == WG_COOKIE_REPLY_SIZE ? WG_TYPE_COOKIE_REPLY : WG_TYPE_NONE;
    case WG_TYPE_DATA:
        return datagram.len >= WG_DATA_OVERHEAD ? WG_TYPE_DATA : WG_TYPE_NONE;
    default:
        return WG_TYPE_NONE;
    }
}

uint32_t wg_msg_receiver_index(struct view message)
{
    enum wg_type type = wg_msg_type(message);
    ASSERT(type == WG_TYPE_RESPONSE || type == WG_TYPE_COOKIE_REPLY || type == WG_TYPE_DATA);
    return load_le32(message.at + (type == WG_TYPE_RESPONSE ? 8 : 4));
}

uint32_t wg_msg_sender_index(struct view message)
{
    enum wg_type type = wg_msg_type(message);
    ASSERT(type == WG_TYPE_INITIATION || type == WG_TYPE_RESPONSE);
    return load_le32(message.at + 4);
}

static struct reader reader_behind_type(struct view message)
{
    struct reader r = reader_of(message);
    (void)reader_take(&r, 4);
    return r;
}

bool wg_msg_decode_initiation(struct view message, struct wg_msg_initiation *out)
{
    if (wg_msg_type(message) != WG_TYPE_INITIATION) {
        return false;
    }
    struct reader r = reader_behind_type(message);
    out->sender_index = reader_le32(&r);
    reader_copy(&r, out->ephemeral.bytes, sizeof(out->ephemeral.bytes));
    reader_copy(&r, out->encrypted_static, sizeof(out->encrypted_static));
    reader_copy(&r, out->encrypted_timestamp, sizeof(out->encrypted_timestamp));
    (void)reader_take(&r, WG_MACS_SIZE);
    return reader_finish(&r);
}

bool wg_msg_decode_response(struct view message, struct wg_msg_response *out)
{
    if (wg_msg_type(message) != WG_TYPE_RESPONSE) {
        return false;
    }
    struct reader r = reader_behind_type(message);
    out->sender_index = reader_le32(&r);
    out->receiver_index = reader_le32(&r);
    reader_copy(&r, out->ephemeral.bytes, sizeof(out->ephemeral.bytes));
    reader_copy(&r, out->encrypted_nothing, sizeof(out->encrypted_nothing));
    (void)reader_take(&r, WG_MACS_SIZE);
    return reader_finish(&r);
}

bool wg_msg_decode_cookie_reply(struct view message, struct wg_msg_cookie_reply *out)
{
    if (wg_msg_type(message) != WG_TYPE_COOKIE_REPLY) {
        return false;
    }
    struct reader r = reader_behind_type(message);
    out->receiver_index = reader_le32(&r);
    reader_copy(&r, out->nonce, sizeof(out->nonce));
    reader_copy(&r, out->encrypted_cookie, sizeof(out->encrypted_cookie));
    return reader_finish(&r);
}

bool wg_msg_decode_data(struct span message, struct wg_msg_data *out)
{
    if (wg_msg_type(view_of_span(message)) != WG_TYPE_DATA) {
        return false;
    }
    out->receiver_index = load_le32(message.at + 4);
    out->counter = load_le64(message.at + 8);
    out->sealed =
        (struct span){message.at + WG_DATA_HEADER_SIZE, message.len - WG_DATA_HEADER_SIZE};
    return true;
}

void wg_msg_encode_initiation(const struct wg_msg_initiation *msg, uint8_t out[WG_INITIATION_SIZE])
{
    struct writer w = writer_of((struct span){out, WG_INITIATION_SIZE});
    writer_le32(&w, WG_TYPE_INITIATION);
    writer_le32(&w, msg->sender_index);
    writer_bytes(&w, VIEW_OF(msg->ephemeral.bytes));
    writer_bytes(&w, VIEW_OF(msg->encrypted_static));
    writer_bytes(&w, VIEW_OF(msg->encrypted_timestamp));
    writer_zeros(&w, WG_MACS_SIZE);
    bool fitted = writer_finish(&w);
    ASSERT(fitted);
    ASSERT(w.used == WG_INITIATION_SIZE);
}

void wg_msg_encode_response(const struct wg_msg_response *msg, uint8_t out[WG_RESPONSE_SIZE])
{
    struct writer w = writer_of((struct span){out, WG_RESPONSE_SIZE});
    writer_le32(&w, WG_TYPE_RESPONSE);
    writer_le32(&w, msg->sender_index);
    writer_le32(&w, msg->receiver_index);
    writer_bytes(&w, VIEW_OF(msg->ephemeral.bytes));
    writer_bytes(&w, VIEW_OF(msg->encrypted_nothing));
    writer_zeros(&w, WG_MACS_SIZE);
    bool fitted = writer_finish(&w);
    ASSERT(fitted);
    ASSERT(w.used == WG_RESPONSE_SIZE);
}

void wg_msg_encode_cookie_reply(const struct wg_msg_cookie_reply *msg,
                                uint8_t out[WG_COOKIE_REPLY_SIZE])
{
    struct writer w = writer_of((struct span){out, WG_COOKIE_REPLY_SIZE});
    writer_le32(&w, WG_TYPE_COOKIE_REPLY);
    writer_le32(&w, msg->receiver_index);
    writer_bytes(&w, VIEW_OF(msg->nonce));
    writer_bytes(&w, VIEW_OF(msg->encrypted_cookie));
    bool fitted = writer_finish(&w);
    ASSERT(fitted);
    ASSERT(w.used == WG_COOKIE_REPLY_SIZE);
}

void wg_msg_encode_data_header(uint32_t receiver_index, uint64_t counter,
                               uint8_t out[WG_DATA_HEADER_SIZE])
{
    store_le32(out, WG_TYPE_DATA);
    store_le32(out + 4, receiver_index);
    store_le64(out + 8, counter);
}

static enum drop_reason cut_ipv4(struct span *plaintext)
{
    if (plaintext->len < IPV4_HEADER_SIZE) {
        return DROP_IP_MALFORMED;
    }
    size_t header_len = (size_t)(plaintext->at[0] & 0x0f) * 4;
    size_t total_len = load_be16(plaintext->at + 2);
    if (header_len < IPV4_HEADER_SIZE) {
        return DROP_IP_MALFORMED;
    }
    if (total_len < header_len || total_len > plaintext->len) {
        return DROP_IP_LENGTH;
    }
    plaintext->len = total_len;
    return DROP_NONE;
}

static enum drop_reason cut_ipv6(struct span *plaintext)
{
    if (plaintext->len < IPV6_HEADER_SIZE) {
        return DROP_IP_MALFORMED;
    }
    size_t total_len = (size_t)IPV6_HEADER_SIZE + load_be16(plaintext->at + 4);
    if (total_len > plaintext->len) {
        return DROP_IP_LENGTH;
    }
    plaintext->len = total_len;
    return DROP_NONE;
}

enum drop_reason wg_msg_cut_padding(struct span *plaintext)
{
    if (plaintext->len == 0) {
        return DROP_IP_MALFORMED;
    }
    switch (plaintext->at[0] >> 4) {
    case 4:
        return cut_ipv4(plaintext);
    case 6:
        return cut_ipv6(plaintext);
    default:
        return DROP_IP_MALFORMED;
    }
}
