/* fuzz_portal_client: bytes become events of the client's world; the portal's bytes are raw, or
 * framed as unmasked text so that messages are reached. Invariants are checked after every one. */
#include <stdlib.h>

#include "portal/portal_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct portal_client client;
    struct rng rng;
    struct clock_pair now;
    uint32_t next_id;
    uint32_t stream;
    uint32_t lookup;
};

static void drain(struct fuzz *f)
{
    struct portal_output out;
    while (portal_client_poll(&f->client, &out)) {
        portal_client_check(&f->client);
        if (out.kind == PORTAL_OUT_LOOKUP) {
            f->lookup = out.u.lookup.lookup;
        } else if (out.kind == PORTAL_OUT_OPEN) {
            f->stream = out.u.open.stream;
        } else if (out.kind == PORTAL_OUT_SEND) {
            (void)portal_client_stream_sent(&f->client, out.u.send.stream, out.u.send.bytes.len);
        }
    }
    portal_client_check(&f->client);
}

static void stream_event(struct fuzz *f, enum portal_stream_kind kind, struct view bytes)
{
    struct portal_stream_event event = {kind, f->stream, bytes, ERR_CLOSED};
    (void)portal_client_handle_stream(&f->client, &event, f->now);
}

/* Answers the upgrade as a portal would. */
static void answer_upgrade(struct fuzz *f)
{
    uint8_t key_text[HTTP_WS_KEY_SIZE];
    uint8_t text[256];
    struct writer key = writer_of((struct span){key_text, sizeof(key_text)});
    struct writer w = writer_of((struct span){text, sizeof(text)});
    text_put_base64(&key, VIEW_OF(f->client.nonce), true);
    http_put_upgrade_response(&w, writer_view(&key));
    stream_event(f, PORTAL_STREAM_BYTES, writer_view(&w));
}

static void framed(struct fuzz *f, struct view text)
{
    static uint8_t frame[4 + 65535]; /* one input at a time */
    struct writer w = writer_of((struct span){frame, sizeof(frame)});
    writer_u8(&w, 0x81);
    if (text.len < 126) {
        writer_u8(&w, (uint8_t)text.len);
    } else {
        writer_u8(&w, 126);
        writer_be16(&w, (uint16_t)text.len);
    }
    writer_bytes(&w, text);
    stream_event(f, PORTAL_STREAM_BYTES, writer_view(&w));
}

static void step(struct fuzz *f, uint8_t what, struct view bytes)
{
    struct ip_addr ip = ip_v4(192, 0, 2, (uint8_t)(bytes.len & 3));
    struct portal_lookup_answer answer = {f->lookup, &ip, 1};
    switch (what % 12) {
    case 0:
        (void)portal_client_handle_lookup(&f->client, &answer, f->now);
        break;
    case 1:
        stream_event(f, PORTAL_STREAM_OPENED, VIEW_EMPTY);
        break;
    case 2:
        stream_event(f, PORTAL_STREAM_BYTES, bytes);
        break;
    case 3:
        stream_event(f, PORTAL_STREAM_CLOSED, VIEW_EMPTY);
        break;
    case 4:
        f->now.boot = instant_add(f->now.boot, DURATION_MS(bytes.len * 500));
        portal_client_handle_timeout(&f->client, f->now);
        break;
    case 5:
        answer_upgrade(f);
        break;
    case 6:
        framed(f, bytes);
        break;
    case 7:
        framed(f, view_text("{\"topic\":\"gateway\",\"event\":\"phx_reply\",\"ref\":0,\"payload\":"
                            "{\"status\":\"ok\",\"response\":{}}}"));
        break;
    case 8:
        (void)!portal_client_send_flow_authorized(&f->client, bytes);
        break;
    case 9:
        (void)portal_client_reconnect(&f->client, f->now);
        break;
    case 10:
        (void)!portal_client_send_no_relays(&f->client);
        break;
    default:
        if (bytes.len == 7) {
            portal_client_close(&f->client, f->now);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {0};
    struct fuzz *f = calloc(1, sizeof(*f));
    struct reader r = reader_of((struct view){data, size});
    if (f == NULL) {
        return 0;
    }
    rng_init(&f->rng, seed);
    struct portal_client_config config = {
        .api_url = view_text("ws://portal.example"),
        .token = view_text("t"),
        .firezone_id = view_text("i"),
        .name = view_text("n"),
        .public_key = seed,
        .user_agent = view_text("connlib/1.5.2"),
        .next_id = &f->next_id,
        .rng = &f->rng,
    };
    if (portal_client_init(&f->client, &config, f->now) == ERR_NONE) {
        drain(f);
        while (reader_ok(&r) && r.rest.len > 0) {
            uint8_t what = reader_u8(&r);
            uint16_t len = r.rest.len >= 2 ? reader_be16(&r) : 0;
            size_t bounded = len < r.rest.len ? len : r.rest.len;
            step(f, what, reader_take(&r, bounded));
            drain(f);
        }
    }
    portal_client_deinit(&f->client);
    free(f);
    return 0;
}
