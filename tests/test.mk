# Targets that prove things. Each step keeps its output under $(BUILD)/results.
RESULTS = $(BUILD)/results
STEP = tests/tools/step.sh $(RESULTS)
SEEDS_FIXED ?= 1..40
SEEDS_FRESH ?= 100
FRESH := $(shell date +%s)
JOBS ?= 2

.PHONY: test unit unit-run corpus sim sim-fixed sim-fresh sim-tools e2e demo interop-steps check fuzz

## make test: everything a change must pass: unit tests and vectors, simulator, fuzz corpora, interop, end to end
test:
	@tests/tools/install.sh test
	@rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	@$(STEP) build $(MAKE) --no-print-directory -k -j$(JOBS) build-tests || true
	@$(MAKE) --no-print-directory -k -j$(JOBS) unit-run corpus || true
	@$(MAKE) --no-print-directory -k sim-fixed sim-fresh sim-tools || true
	@$(MAKE) --no-print-directory -k interop-steps || true
	@$(MAKE) --no-print-directory -k e2e || true
	@touch $(RESULTS)/complete
	@tests/tools/summary.sh $(RESULTS)

.PHONY: build-tests
build-tests: all $(UNIT_TESTS) $(REPLAY_BINARIES) $(INTEROP_TESTS)

## make unit: the unit tests alone
unit: $(UNIT_TESTS)
	@rm -rf $(RESULTS)
	@$(MAKE) --no-print-directory -k -j$(JOBS) unit-run || true
	@tests/tools/summary.sh $(RESULTS)

UNIT_STEPS := $(patsubst $(BUILD)/tests/%,step-unit-%,$(UNIT_TESTS))
unit-run: $(UNIT_STEPS)
$(UNIT_STEPS): step-unit-%: $(BUILD)/tests/%
	@ASAN_OPTIONS=handle_segv=2:detect_leaks=1 $(STEP) $* $<

CORPUS_STEPS := $(patsubst $(BUILD)/fuzz/replay_%,step-corpus-%,$(REPLAY_BINARIES))
corpus: $(CORPUS_STEPS)
$(CORPUS_STEPS): step-corpus-%: $(BUILD)/fuzz/replay_%
	@$(STEP) corpus/$* $< fuzz/corpus/$*

INTEROP_STEPS := $(patsubst $(BUILD)/tests/%,step-peer-%,$(INTEROP_TESTS))
interop-steps: $(INTEROP_STEPS)
$(INTEROP_STEPS): step-peer-%: $(BUILD)/tests/%
	@$(STEP) $* $<

sim-fixed: $(BUILD)/fzsim
	@$(STEP) simulator/saved tests/tools/saved.sh $(BUILD)/fzsim
	@$(STEP) simulator/fixed-seeds $(BUILD)/fzsim --seeds $(SEEDS_FIXED) -j$(JOBS)

sim-fresh: $(BUILD)/fzsim
	@$(STEP) simulator/fresh-seeds $(BUILD)/fzsim --seeds $(FRESH)..$$(($(FRESH) + $(SEEDS_FRESH) - 1)) -j$(JOBS)

sim-tools: $(BUILD)/fzsim
	@$(STEP) simulator/streams $(BUILD)/fzsim --streams --seeds 1..6
	@$(STEP) simulator/tools tests/tools/simtools.sh $(BUILD)

## make sim SEEDS=A..B: the simulator alone
SEEDS ?= 1..1000
sim: $(BUILD)/fzsim
	$(BUILD)/fzsim --seeds $(SEEDS) -j$(JOBS)

## make demo: the real gateway in namespaces, real traffic, a table of what happened (KEEP=1 leaves it up)
demo:
	@tests/tools/install.sh demo
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@tests/e2e/demo.sh $(BUILD)

e2e: all
	@for t in tests/e2e/test_*.sh; do [ -e $$t ] && $(STEP) e2e/$$(basename $$t .sh) $$t $(BUILD) || true; done

## make check: the long gate; see docs/TESTING.md
check:
	@tests/tools/install.sh check
	@tests/tools/check.sh $(BUILD)

## make cover: line coverage of src/ by unit tests, fuzz corpora and the simulator, and the least it may be
.PHONY: cover cover-programs
cover:
	@tests/tools/install.sh test
	@tests/tools/cover.sh $(BUILD)/cover
cover-programs: $(UNIT_TESTS) $(REPLAY_BINARIES) $(BUILD)/fzsim

## make mutants: planted bugs, each of which some test must notice (MUTANTS="name name" or a number n: every n-th)
.PHONY: mutants
mutants:
	@tests/tools/install.sh test
	@tests/tools/mutants.sh $(BUILD) $(MUTANTS)

## make fuzz TIME=600 EDGES=0: every fuzz target for that many seconds, or until EDGES inputs found no new edge
TIME ?= 60
EDGES ?= 0
fuzz:
	@tests/tools/install.sh check
	@tests/tools/fuzz.sh $(BUILD) $(TIME) $(EDGES) $(TARGETS)
