# Targets are described by `make help`; what they do lives in scripts/.
.DEFAULT_GOAL := help
.PHONY: help bootstrap build llama-cuda bench test lint docs python audit peers soak fuzz sanitize clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

bench: ## the main job: sweep llama.cpp on this machine's CPU, print a table, leave a run directory
	@scripts/bench.sh $(ARGS)

test: ## format, lints, docs, all tests; what CI runs
	@scripts/test.sh

lint: ## format, lints and docs only
	@scripts/test.sh lint

bootstrap: ## install what the machine lacks (cmake, libclang, CPython...), saying so
	@scripts/bootstrap.sh

build: ## build tacho and every cell program, release profile
	@scripts/build.sh

llama-cuda: ## build llama.cpp's CUDA module for tacho-cell-llama (needs nvcc; ARGS="--arch 90-real")
	@scripts/llama-cuda.sh $(ARGS)

docs: ## build the library's documentation
	@PYO3_PYTHON=$$(scripts/bootstrap.sh --python) cargo doc --release --workspace --no-deps --locked

python: ## the Python package and the notebook: lints, types, tests; after `make build`
	@scripts/python.sh $(ARGS)

audit: ## licences, advisories and sources of all dependencies
	@scripts/audit.sh

peers: ## every engine's own benchmark beside Tacho on the same work, and one table (ARGS="--rounds 6")
	@benches/peers/all.sh $(ARGS)

soak: ## the long tests: a thousand faults, 200 kills, every disk call, fuzzing, sanitizers (ARGS="3600 kills": seconds a target, parts)
	@scripts/soak.sh $(ARGS)

fuzz: ## coverage-guided fuzzing of every reader (ARGS="3600 plan": seconds, targets); needs a nightly toolchain
	@scripts/fuzz.sh $(ARGS)

sanitize: ## Miri, AddressSanitizer, ThreadSanitizer (ARGS: parts); needs a nightly toolchain
	@scripts/sanitize.sh $(ARGS)

clean: ## remove this clone's build outputs (not the cache, not your runs)
	@cargo clean
