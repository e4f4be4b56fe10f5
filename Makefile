# Every target sets up what it needs. `make` alone lists the targets.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
WORKERS ?= 2
HAS_NODE := $(if $(shell command -v node),$(shell command -v npm))
NODE_EXAMPLE := $(if $(HAS_NODE),examples/node/node_modules/.set-up)
NODE_AXE := $(if $(HAS_NODE),tests/web/node_modules/.set-up)
NODE_PEERS := $(if $(HAS_NODE),benchmarks/node/node_modules/.set-up)

.DEFAULT_GOAL := help
.PHONY: help setup demo up screenshots test test-fast mutants chaos ha model fuzz bench fill soak lint format types protos verify lock wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make the virtual environment with everything in it

$(STAMP): pyproject.toml requirements/dev.lock
	@test -n "$(PYTHON)" || { echo "headrace needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(VENV) (once; about a minute) ..."
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m virtualenv -q $(VENV) 2>/dev/null || { echo "Python has neither venv nor virtualenv: install python3-venv (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@$(BIN)/python -m pip --disable-pip-version-check install -q --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## Run the main job: a broker, two agents and a real workload, to its end
	@$(BIN)/python -m demo

up: $(STAMP) ## Start the same and stay, to look around
	@$(BIN)/python -m demo --stay

screenshots: $(STAMP) ## Make the pictures of the README anew
	@$(BIN)/python -m demo.screenshots

# Hundreds of processes are started: without bytecode each would compile everything again.
test: $(STAMP) $(NODE_EXAMPLE) $(NODE_AXE) ## Run all tests
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

# Node is optional: where its packages cannot be had, the tests of the example say so and are skipped.
examples/node/node_modules/.set-up: examples/node/package-lock.json
	@cd examples/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.set-up || echo "examples/node: npm ci failed; its tests will be skipped" >&2

# Judges the pages in a browser, where there is one.
tests/web/node_modules/.set-up: tests/web/package-lock.json
	@cd tests/web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.set-up || echo "tests/web: npm ci failed; its tests in a browser will be skipped" >&2

test-fast: $(STAMP) ## Run the tests that need no server
	$(BIN)/python -m pytest -q tests/unit tests/packaging/test_imports.py

mutants: $(STAMP) ## Take every guard away, one at a time: some test must turn red
	$(BIN)/python -m tests.mutants.run --jobs $(WORKERS)

chaos: export HEADRACE_KILLS ?= 300
chaos: export HEADRACE_JOBS ?= 50000
chaos: export HEADRACE_SEED ?= $(shell date +%s)
chaos: export HEADRACE_CHAOS ?= long
chaos: export HEADRACE_EXAMPLES ?= 20
chaos: $(STAMP) ## Break processes, connections, networks, clocks, disks and the power under load; ends with what ran and what this machine lacks
	$(BIN)/python -m pytest -q -s tests/chaos tests/property

# What a machine lacks (etcd, pgbouncer, Postgres's packages) is skipped by its name. Patroni is PyPI's: docs/high-availability.md says why.
ha: $(STAMP) .venv-ha/.set-up ## Switch over, kill and freeze the primary of a Patroni cluster under load; pgbouncer; parts of the tests on the wheel's Postgres
	HEADRACE_HA=1 HEADRACE_PATRONI=$(abspath .venv-ha) $(BIN)/python -m pytest -q -s tests/ha
	HEADRACE_POSTGRES_BIN=wheel $(BIN)/python -m pytest -q -n $(WORKERS) tests/store tests/doors tests/e2e/test_failover.py

.venv-ha/.set-up: Makefile $(STAMP)
	@$(BIN)/python -m pip --disable-pip-version-check install -q --upgrade --target .venv-ha 'patroni[etcd3]==4.1.5' 'psycopg[binary]==3.3.9'
	@touch $@

model: $(STAMP) ## Search all states of the ledger's protocol with Spin, whole and with each rule left out
	$(BIN)/python -m tests.model.check

fuzz: export HEADRACE_FUZZ_N = $(or $(N),100000)
fuzz: export HEADRACE_FUZZ_S = 0
fuzz: export HEADRACE_SEED = $(or $(SEED),$(shell date +%s))
fuzz: $(STAMP) ## Send a broker what nobody would send, N= inputs made from SEED=: messages, bytes, frames, filters, page tokens, log text
	$(BIN)/python -m pytest -q -s tests/rpc/test_fuzz.py

BENCHMARKS := flush capacity caps submit latency depth held streams overload recovery rolling forward search pages graph peers
bench: $(STAMP) .venv-peers/.set-up $(NODE_PEERS) ## Measure everything (more than an hour), one after another, and write the tables of benchmarks/README.md
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; PYTHONPATH=. $(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json; done
	PYTHONPATH=. $(BIN)/python benchmarks/report.py

soak: $(STAMP) ## Load a broker for MINUTES= and judge whether anything grows or stalls; PART=K/N with DATA_DIR= for parts
	@PYTHONPATH=. $(BIN)/python benchmarks/soak.py --minutes $(or $(MINUTES),60) --part $(or $(PART),1/1) --json benchmarks/results/soak.json \
		$(if $(DATA_DIR),--data-dir '$(DATA_DIR)') $(if $(RATE),--rate $(RATE)) $(ARGS)

fill: $(STAMP) ## Fill a database: N= jobs, WAITING= and SCHEDULED= of them, LINES= of logs, into DATA_DIR= or DATABASE_URL=; more with ARGS=
	@PYTHONPATH=. $(BIN)/python benchmarks/fill.py $(if $(DATABASE_URL),--database-url '$(DATABASE_URL)') $(if $(DATA_DIR),--data-dir '$(DATA_DIR)') \
		$(if $(N),--jobs $(N)) $(if $(WAITING),--waiting $(WAITING)) $(if $(SCHEDULED),--scheduled $(SCHEDULED)) $(if $(LINES),--lines $(LINES)) $(ARGS)

.venv-peers/.set-up: benchmarks/peers.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check install -q -r benchmarks/peers.txt
	@touch $@

# Brings a Node 22 of its own, since these queues ask for it.
benchmarks/node/node_modules/.set-up: benchmarks/node/package-lock.json
	@cd benchmarks/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.set-up || echo "benchmarks/node: npm ci failed; its queues will be left out" >&2

lint: $(STAMP) ## Check style, and the protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd protos && ../$(BIN)/buf lint

format: $(STAMP) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## Check types
	$(BIN)/mypy

protos: .venv-protos/.set-up ## Make the stubs anew
	.venv-protos/bin/python -m grpc_tools.protoc -I protos --python_out=protos --pyi_out=protos --grpc_python_out=protos protos/headrace_proto/*/*.proto

.venv-protos/.set-up: Makefile
	@$(PYTHON) -m venv .venv-protos
	@.venv-protos/bin/python -m pip --disable-pip-version-check install -q 'grpcio-tools==1.62.3' 'protobuf==4.25.8' 'setuptools<81'
	@touch $@

verify: protos ## Fail when the committed stubs are not what the protos make
	git diff --exit-code -- protos

lock: $(STAMP) ## Make the lock file anew
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --all-extras pyproject.toml requirements/build.in -o requirements/dev.lock

wheel: $(STAMP) ## Build the wheel
	$(BIN)/python -m build --no-isolation --wheel -o dist .

clean: ## Remove what was built
	rm -rf $(VENV) .venv-protos .venv-peers .venv-ha examples/node/node_modules benchmarks/node/node_modules tests/web/node_modules dist .mypy_cache .pytest_cache .ruff_cache
