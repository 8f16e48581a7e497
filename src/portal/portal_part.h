/* portal_part: the objects that several of the portal's messages share, decoded strictly.
 *
 * Internal to portal_msg. Each returns false when something is missing or wrong. The entries of a
 * list are left to portal_part_check(), a few at a time; a list that passed can be walked without
 * failing. Source: spec/portal.md sections 4 and 5.1.
 */
#ifndef PORTAL_PORTAL_PART_H
#define PORTAL_PORTAL_PART_H

#include "portal/portal_msg.h"

MUST_USE bool portal_part_resource(const struct json_value *value, struct portal_resource *out,
                                   struct portal_checks *checks);
MUST_USE bool portal_part_ice(const struct json_value *value, struct portal_ice_credentials *out);
/* `keys` holds public_key and preshared_key, `addresses` holds ipv4 and ipv6. */
MUST_USE bool portal_part_keys(const struct json_value *keys, struct portal_client_info *out);
MUST_USE bool portal_part_addresses(const struct json_value *object, const char *key_v4,
                                    const char *key_v6, struct ip_addr out[2]);
/* {<name_key>, proxy_ips}; NULL (absent or null) is no domain. */
MUST_USE bool portal_part_domain(const struct json_value *value, const char *name_key,
                                 struct portal_domain *out);
MUST_USE bool portal_part_expiry(const struct json_value *object, struct portal_expiry *out);
MUST_USE bool portal_part_ref(const struct json_value *object, struct view *out);

/* Lists: the value must be an array (NULL is refused) of bounded length; its entries are added to
 * what is to be checked. */
MUST_USE bool portal_part_relays(const struct json_value *value, struct portal_list *out,
                                 struct portal_checks *checks);
MUST_USE bool portal_part_ids(const struct json_value *value, struct portal_list *out,
                              struct portal_checks *checks);
MUST_USE bool portal_part_candidates(const struct json_value *value, struct portal_list *out,
                                     struct portal_checks *checks);
MUST_USE bool portal_part_authorizations(const struct json_value *value, struct portal_list *out,
                                         struct portal_checks *checks);

/* Checks entries until all are checked or *work is spent. False: one is wrong. */
MUST_USE bool portal_part_check(struct portal_checks *checks, uint32_t *work);
/* True when all are checked. */
MUST_USE bool portal_part_is_checked(const struct portal_checks *checks);

#endif /* PORTAL_PORTAL_PART_H */
