/* A gateway of a world runs short of memory: what fails is its own alone, what it was told and
 * could not read is judged neither way meanwhile, and holds as soon as there is memory again. */
#include "tests/support/support.h"

#include "sim/sim_malloc.h"
#include "sim/sim_world_internal.h"

#define SHORT_NS  (20 * NS_PER_S)
#define REJECT_NS (21 * NS_PER_S)
#define PROBE_MS  250U

/* Which allocations, as the action says it. */
#define TEXTS_PASS 3U /* JSON finds no memory, frames do */
#define ALL        0U

bool malloc_refuses(size_t size)
{
    return sim_memory_refuses(size);
}

static bool is_refused(size_t size)
{
    void *volatile got = malloc(size); /* a compiler may leave out what nobody sees */
    bool refused = got == NULL;
    free(got);
    return refused;
}

static void refused_are(struct sim_memory *memory, const char *pattern)
{
    for (size_t i = 0; pattern[i] != 0; i++) {
        sim_memory_enter(memory);
        bool refused = is_refused(100);
        (void)sim_memory_leave();
        assert_false(is_refused(100)); /* the world's */
        assert_int_equal(refused, pattern[i] == 'x');
    }
}

static void test_each_kind_refuses_by_order_or_size(void **state)
{
    (void)state;
    struct sim_memory memory = {0};
    refused_are(&memory, "...");
    sim_memory_begin(&memory, SIM_MEMORY_ALL, 1);
    refused_are(&memory, "xxx");
    sim_memory_begin(&memory, SIM_MEMORY_BEHIND, 2);
    refused_are(&memory, "..xx");
    sim_memory_begin(&memory, SIM_MEMORY_EACH, 3);
    refused_are(&memory, "..x..x.");
    sim_memory_begin(&memory, SIM_MEMORY_LARGE, 101);
    refused_are(&memory, "..");
    sim_memory_begin(&memory, SIM_MEMORY_LARGE, 100);
    refused_are(&memory, "xx");
    sim_memory_end(&memory);
    refused_are(&memory, "..");
    assert_int_equal(memory.refused, 3 + 2 + 2 + 2);
}

static void test_what_is_called_from_inside_may_be_the_worlds(void **state)
{
    (void)state;
    struct sim_memory memory = {0};
    sim_memory_begin(&memory, SIM_MEMORY_ALL, 1);
    sim_memory_enter(&memory);
    struct sim_memory *owner = sim_memory_leave();
    bool refused = is_refused(1);
    sim_memory_return(owner);
    bool refused_behind = is_refused(1);
    (void)sim_memory_leave();
    assert_false(refused);
    assert_true(refused_behind);
}

/* ---- in a world ---- */

static struct sim_action actions[400];

/* One client sends all the time; memory runs short, and then its right is taken. */
static struct sim_list list_of(bool head, uint32_t what, uint32_t ms)
{
    struct sim_list list = {.seed = 7, .options = sim_options_default(), .actions = actions};
    list.options.head_portal = head ? 1 : 0;
    list.options.head_clients = head ? 1 : 0;
    list.options.dns_resources = 0;
    list.options.cidr_v6 = 0;
    const struct sim_action shortage = {SHORT_NS, SIM_ACTION_memory, 0, what, 3, ms};
    const struct sim_action reject = {REJECT_NS, SIM_ACTION_reject, 0, 0, 0, 0};
    for (uint64_t at = 6 * NS_PER_S; at < 60 * NS_PER_S; at += PROBE_MS * NS_PER_MS) {
        if (at == SHORT_NS) {
            actions[list.count++] = shortage;
        } else if (at == REJECT_NS) {
            actions[list.count++] = reject;
        }
        actions[list.count++] = (struct sim_action){at, SIM_ACTION_probe, 0, 0, 4, 64};
    }
    return list;
}

struct scene {
    struct sim_list list;
    struct sim_world_config config;
    struct sim_world *world;
    size_t done;
};

static void run_to(struct scene *scene, uint64_t at_ns)
{
    for (; scene->done < scene->list.count && scene->list.actions[scene->done].at_ns < at_ns;
         scene->done++) {
        world_run_until(scene->world, scene->list.actions[scene->done].at_ns);
        world_act(scene->world, &scene->list.actions[scene->done]);
    }
    world_run_until(scene->world, at_ns);
    if (scene->world->failure.oracle != NULL) {
        fail_msg("%s: %s", scene->world->failure.oracle, scene->world->failure.text);
    }
}

static void start(struct scene *scene, bool head, uint32_t what, uint32_t ms)
{
    *scene = (struct scene){.list = list_of(head, what, ms)};
    scene->config.list = &scene->list;
    scene->world = sim_world_new(&scene->config);
}

static const struct gateway_counters *counters(const struct scene *scene)
{
    return gateway_counters(sim_gateway_core(scene->world->gateways[0].gateway));
}

static struct gateway_shortage shortage(const struct scene *scene)
{
    return gateway_shortage(sim_gateway_core(scene->world->gateways[0].gateway));
}

static void test_a_refusal_that_waited_holds_when_memory_is_back(void **state)
{
    (void)state;
    for (unsigned head = 0; head < 2; head++) {
        struct scene scene;
        start(&scene, head == 1, TEXTS_PASS, 4000);
        run_to(&scene, SHORT_NS + 3900 * NS_PER_MS);
        assert_true(shortage(&scene).waits);
        assert_true(counters(&scene)->drops[DROP_JSON_MEMORY] > 20);
        uint64_t inside = scene.world->report.probes_inside;
        assert_true(inside > 60); /* the right has not ended, and nobody calls that wrong */
        uint64_t revoked = scene.world->report.seen[EV_REVOKED];
        run_to(&scene, SHORT_NS + 4200 * NS_PER_MS);
        assert_false(shortage(&scene).waits);
        assert_int_equal(scene.world->report.seen[EV_REVOKED], revoked + 1);
        assert_int_equal(counters(&scene)->portal_losses, 0);
        run_to(&scene, 60 * NS_PER_S);
        sim_world_free(scene.world);
    }
}

static void test_a_connection_that_was_given_up_takes_every_right(void **state)
{
    (void)state;
    static const uint32_t whats[] = {TEXTS_PASS, ALL};
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(whats); i++) {
        struct scene scene;
        start(&scene, i % 2 == 1, whats[i / 2], 15000);
        run_to(&scene, SHORT_NS + 14900 * NS_PER_MS);
        assert_true(counters(&scene)->portal_losses > 0);
        assert_true(shortage(&scene).lost);
        assert_int_equal(scene.world->report.seen[EV_REVOKED], 0);
        run_to(&scene, SHORT_NS + 30 * NS_PER_S);
        assert_false(shortage(&scene).lost);
        assert_true(scene.world->report.seen[EV_REVOKED] > 0);
        run_to(&scene, 60 * NS_PER_S);
        sim_world_free(scene.world);
    }
}

static void test_service_returns(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct sim_list list = list_of(i % 2 == 1, i < 2 ? TEXTS_PASS : ALL, 15000);
        for (size_t k = 0; k < list.count; k++) {
            if (actions[k].kind == SIM_ACTION_reject) {
                actions[k].kind = SIM_ACTION_probe;
            }
        }
        struct sim_world_config config = {.list = &list};
        struct sim_world *world = sim_world_new(&config);
        const struct sim_failure *failure = sim_world_run(world);
        assert_null(failure->oracle);
        assert_true(world->report.required > 0);
        assert_int_equal(world->report.actions[SIM_ACTION_memory], 1);
        sim_world_free(world);
    }
}

static void test_a_recorded_world_has_its_memory(void **state)
{
    (void)state;
    struct sim_list list = list_of(true, ALL, 15000);
    struct sim_world_config config = {.list = &list};
    struct sim_world *world = sim_world_new(&config);
    const struct sim_action action = {0, SIM_ACTION_memory, 0, ALL, 0, 1000};
    world->config.record = "none";
    assert_false(act_memory(world, &action));
    world->config.record = NULL;
    assert_true(act_memory(world, &action));
    sim_world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_refuses_by_order_or_size),
        cmocka_unit_test(test_what_is_called_from_inside_may_be_the_worlds),
        cmocka_unit_test(test_a_refusal_that_waited_holds_when_memory_is_back),
        cmocka_unit_test(test_a_connection_that_was_given_up_takes_every_right),
        cmocka_unit_test(test_service_returns),
        cmocka_unit_test(test_a_recorded_world_has_its_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
