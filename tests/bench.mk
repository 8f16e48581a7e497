# Benchmarks. First those that need neither the kernel nor rights.
BENCH := $(BUILD)/bench
BENCH_NULL := $(BUILD)/bench-null/firezone-gateway $(BUILD)/bench-null/fzdev
BENCH_LIBS := $(TEST_SUPPORT) $(LINUX_LIBS)
BENCH_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out %/null_aead.c,$(wildcard tests/bench/*.c)))
BENCH_MS ?= 2000
BENCH_JSON := $(BUILD)/bench.jsonl
COMMIT = $$(git rev-parse --short HEAD 2>/dev/null || echo none)

.PHONY: bench bench-core bench-counts bench-net soak
## make bench        everything that is measured (under 15 minutes); JSON lines in BUILD/bench.jsonl
bench:
	@rm -f $(BENCH_JSON)
	@$(MAKE) --no-print-directory bench-core bench-net

## make bench-core   ns per packet of the crypto, the parts and the whole core in memory (no rights needed, minutes)
bench-core: $(BENCH)
	@$(BENCH) --json $(BENCH_JSON) --commit "$(COMMIT)" --ms $(BENCH_MS)

## make bench-counts instructions of the core per packet and their growth, exact; fails when a bound is passed (valgrind)
bench-counts: $(BENCH)
	@tests/bench/counts.sh $(BUILD)

$(BENCH): $(BENCH_OBJECTS) $(BENCH_LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDWHOLE) -o $@ $(BENCH_OBJECTS) $(call group,$(BENCH_LIBS)) -lcmocka $(EXTERNAL)

## make bench-net    the real gateway in namespaces beside wireguard-go and plain forwarding (root, 12 minutes)
bench-net: all $(BENCH_NULL)
	@JSON=$(BENCH_JSON) COMMIT="$(COMMIT)" tests/bench/macro.sh $(BUILD)

## make soak         the real gateway under load with churn for TIME=600 seconds: growth, stalls, service (root; not in bench)
TIME ?= 600
soak: all
	@tests/bench/soak.sh $(BUILD) $(TIME)

# Both ends with a cipher that does nothing: their own cost and the kernel's.
WRAP_NULL := -Wl,--wrap=aead_seal_batch,--wrap=aead_open_batch
$(BUILD)/bench-null/firezone-gateway: $(BUILD)/obj/platform/linux/linux_main.o $(BUILD)/obj/tests/bench/null_aead.o $(LINUX_LIBS)
$(BUILD)/bench-null/fzdev: $(BUILD)/obj/sim/dev/dev_main.o $(BUILD)/obj/tests/bench/null_aead.o $(DEV_LIBS)
$(BENCH_NULL):
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDPARTS) $(WRAP_NULL) -o $@ $(filter %.o,$^) $(call group,$(filter %.a,$^)) $(EXTERNAL)
