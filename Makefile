# The commands of this repository. `make` alone lists them.
#
# Each installs what it needs first, into this directory (.venv, tests/**/node_modules, target); the Rust
# toolchain by rustup, the tests' Chromium, nginx, PostgreSQL and log receivers by apt where that may be. ENVOY=/path/to/envoy uses an Envoy 1.40 of your own.

export ENVOY
export PATH := $(PATH):$(CURDIR)/.venv/bin
DEPS := sh tests/deps.sh
CARGO ?= cargo

WASM := target/wasm32-wasip1/wasm/writ_plugin.wasm
WRIT := target/debug/writ
BUILT := WRIT_WASM=$(CURDIR)/$(WASM) WRIT_BIN=$(CURDIR)/$(WRIT)

# The Node.js installed here, before an older one of the system's: Node 20 crashes as such a test ends.
WASI_RUNNER := PATH="$(CURDIR)/.venv/bin:$$PATH" \
	CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $(CURDIR)/tests/wasi.mjs"

# cargo nextest shows tests better; cargo test is all that is needed.
TEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo nextest run || echo test)
# One test more than there are cores: they wait for other processes much of the time.
export NEXTEST_TEST_THREADS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.DEFAULT_GOAL := help
.PHONY: help deps demo test soak lint fuzz bench bench-full clean wasm

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  ONCE=1 make demo    play the demo's story and exit; ENVOY=/path/to/envoy uses your own Envoy 1.40"

deps: ## Install what demo, test and lint need
	@$(DEPS) build database idp clients lint

demo: ## Play a governed session with a real agent, server and Envoy; stays up to be tried (ONCE=1: exits)
	@$(DEPS) build idp
	@echo "==> building the filter, the token service and the demo (a few minutes the first time)"
	@$(CARGO) build --profile wasm --target wasm32-wasip1 -p writ-plugin
	@$(CARGO) build -p writ-token-service -p writ-tests --bin writ --bin writ-demo
	@$(BUILT) target/debug/writ-demo

test: ## Run every test: unit, in wasmtime and V8, end to end on a real Envoy
	@$(DEPS) build database idp clients
	@$(MAKE) --no-print-directory wasm
	@echo "==> building and running the tests (cargo $(TEST))"
	@$(BUILT) sh tests/postgres.sh $(CARGO) $(TEST) --workspace
	@echo "==> running the service's tests once more, on PostgreSQL"
	@WRIT_TEST_STORE=postgres sh tests/postgres.sh $(CARGO) $(TEST) --workspace --lib --test service --test oauth_issuer -- --skip connect::
	@echo "==> running the policy engine's tests as the filter does: in wasm, in V8"
	@$(WASI_RUNNER) $(CARGO) test --quiet --target wasm32-wasip1 -p writ-policy --features authoring \
		--test adapters --test builtins --test cases --test engine --test jwt --test undefined

soak: ## Kill and restart services, PostgreSQL and Envoys for two minutes (SOAK_SECONDS=…), then reconcile what happened with the log
	@$(DEPS) build database
	@$(MAKE) --no-print-directory wasm
	@$(CARGO) build -p writ-token-service --bin writ
	@SOAK_SECONDS=$${SOAK_SECONDS:-120} $(BUILT) $(CARGO) test -p writ-tests --test soak -- --nocapture

lint: ## Check format, lints, licences and what the filter imports
	@$(DEPS) build lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	PATH="$$PATH:$(CURDIR)/target/tools/bin" $(CARGO) deny --log-level error check licenses bans sources
	@$(MAKE) --no-print-directory wasm
	WRIT_WASM=$(CURDIR)/$(WASM) $(CARGO) test --quiet -p writ-tests --test host_imports

fuzz: ## Throw any input at each parser for 20 s (SECONDS_EACH=…); skips, and says so, without a nightly Rust
	@$(DEPS) fuzz
	@sh tests/fuzz/run.sh

bench: ## Measure the filter's cost on one Envoy worker, into target/bench/report.json (under 10 minutes)
	@$(DEPS) build database
	@$(CARGO) run --release -p writ-tests --bin writ-bench

bench-full: ## The same with more rounds and more rules
	@$(DEPS) build database
	@$(CARGO) run --release -p writ-tests --bin writ-bench -- --full

clean: ## Remove everything that was built or installed here
	rm -rf target .venv tests/clients/ts/node_modules tests/idp/node_modules

wasm: ## Build the filter: target/wasm32-wasip1/wasm/writ_plugin.wasm
	@echo "==> building the filter"
	@$(CARGO) build --profile wasm --target wasm32-wasip1 -p writ-plugin
