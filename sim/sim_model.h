/* sim_model: the reference model: who may send what where, as simply as it can be said.
 *
 * Fed by what the portal told each gateway (from the moment the gateway has the bytes) and by the
 * DNS table. A change is *pending* from delivery until the gateway has handled its input; meanwhile
 * both the old and the new rule are acceptable, afterwards only the new one: there is no other
 * tolerance. The model keeps lists and walks them; it shares nothing with src/policy.
 * Rules: a packet may leave a gateway's TUN device iff some unexpired grant of the client that owns
 * its source covers destination, protocol and port (O-01, O-02, O-03).
 * Source: spec/simulation.md section 8.1; spec/dataplane.md sections 3 and 4; design section 6.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "sim/sim_packet.h"
#include "sim/sim_policy.h"

#define SIM_MODEL_NAMES_MAX     32U
#define SIM_MODEL_ADDRESSES_MAX 64U /* real addresses that one name ever had */

struct sim_model;

/* What the model says about a packet; NULL oracle: it is fine. */
struct sim_verdict {
    const char *oracle; /* "O-01", ...; static text */
    const char *text;   /* static text */
};

#define SIM_VERDICT_GOOD ((struct sim_verdict){NULL, NULL})

MUST_USE struct sim_model *sim_model_new(const struct sim_policy *policy);
void sim_model_free(struct sim_model *model);

/* The name has (also) this real address from now on; the gateway may have it from a lookup. */
void sim_model_address(struct sim_model *model, const char *name, struct ip_addr ip);

/* The gateway has been given a grant; `resource` is its form in the message. */
void sim_model_grant(struct sim_model *model, const struct sim_grant *grant,
                     const struct sim_resource *resource);
/* The same, of a message that the gateway may never read: until the next one both rules hold. */
void sim_model_grant_unsure(struct sim_model *model, const struct sim_grant *grant,
                            const struct sim_resource *resource);
/* Only the expiry changed. */
void sim_model_expiry(struct sim_model *model, const struct sim_grant *grant);
/* reject_access. */
void sim_model_revoke(struct sim_model *model, const struct sim_grant *grant);
/* resource_updated, to one gateway. */
void sim_model_resource(struct sim_model *model, uint32_t gateway,
                        const struct sim_resource *resource);
/* init names a grant that goes on, with this expiry; it says nothing about the resource. */
void sim_model_retain(struct sim_model *model, const struct sim_grant *grant);
/* init with authorizations: whatever is not retained before sim_model_settle() is void. */
void sim_model_init(struct sim_model *model, uint32_t gateway);
/* init to a gateway that takes it for the end of all rights, whatever it lists. */
void sim_model_renew(struct sim_model *model, uint32_t gateway);
/* The gateway has handled everything that was delivered: pending changes are final. */
void sim_model_settle(struct sim_model *model, uint32_t gateway);
/* The gateway's wall clock shows this. A grant that has expired by it may be gone for good, even
 * when the clock goes back. */
void sim_model_clock(struct sim_model *model, uint32_t gateway, uint64_t unix_ns);
/* The gateway has heard the client's goodbye: what it had been granted is void. What it is being
 * told in these moments may come before or after. */
void sim_model_goodbye(struct sim_model *model, uint32_t gateway, uint32_t client);
/* The gateway's process is new: it knows nothing. */
void sim_model_forget(struct sim_model *model, uint32_t gateway);

/* Judges a packet that left the TUN device of `gateway` when its wall clock showed `unix_ns`.
 * *client: index of the client that owns the source, if the verdict is good. */
MUST_USE struct sim_verdict sim_model_judge(const struct sim_model *model, uint32_t gateway,
                                            uint64_t unix_ns, const struct sim_packet *packet,
                                            uint32_t *client);
/* What the gateway holds for a client and a resource. */
enum sim_standing {
    SIM_STANDING_NONE,  /* this boot of the gateway was never told: the client must ask */
    SIM_STANDING_GOOD,  /* a grant that outlasts `until_unix_ns` */
    SIM_STANDING_STALE, /* told once and forgotten, by a new boot or since the client said goodbye,
                           or told to another process with its identity: a client that kept its
                           connection across the restart, or asked before its goodbye was heard,
                           does not ask again by itself */
    SIM_STANDING_ENDED, /* expired, expiring before that, revoked, or changing right now: the client
                           has no way to know */
};

/* `*form`: the resource as the gateway knows it, if the standing is good. */
MUST_USE enum sim_standing sim_model_standing(const struct sim_model *model,
                                              const struct sim_grant *grant, uint64_t until_unix_ns,
                                              const struct sim_resource **form);
/* Whether the gateway may hold any right of the client that lasts beyond `unix_ns` on its wall
 * clock. */
MUST_USE bool sim_model_holds(const struct sim_model *model, uint32_t gateway, uint32_t client,
                              uint64_t unix_ns);
MUST_USE bool sim_filters_permit(const struct sim_resource *resource,
                                 const struct sim_packet *packet);
/* The glob language of DNS resources (spec/dataplane.md section 4.1), without character classes. */
MUST_USE bool sim_pattern_matches(const char *pattern, const char *name);
/* True for addresses that the Internet resource never reaches. */
MUST_USE bool sim_ip_is_private(const struct ip_addr *ip);

#endif /* SIM_MODEL_H */
