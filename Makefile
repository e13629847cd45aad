# `make` lists what there is to make. Python 3.11 or newer and make are all that has to be there.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 3
COVERAGE ?=

BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
STAMP := $(VENV)/.up-to-date

# As pip does: trust what this machine trusts.
export UV_SYSTEM_CERTS := 1

# Locks hold for every platform and Python that we support, name no host, and pin by hash.
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
IMAGE_EXTRAS := kubernetes policy scheduler telemetry sandbox cli

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-long servers test-real lint types contracts lock bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## Make .venv with everything that is locked (PYTHON=python3.12 chooses another Python)

$(STAMP): requirements.lock deploy/build.lock pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Moorage needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) --version 2>&1): say which, as in make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@$(UV) pip install --quiet --no-deps --build-constraints deploy/build.lock --python $(BIN)/python --editable .
	@touch $@

demo: setup ## See it work: real workloads placed, a cluster lost (DEMO_KEEP=1 stays up)
	@$(BIN)/moorage demo

up: setup ## NATS, the sandbox and all workers, with the demo's world, until Ctrl-C
	@$(BIN)/moorage up --world examples/world.yaml

test: setup lint types contracts ## Everything that has to hold: lint, types, import contracts, tests (COVERAGE=90 measures it, slower)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup $(COVERAGE:%=--cov --cov-report=term --cov-fail-under=%)

test-long: setup ## The long ones: processes killed, NATS wiped, a storm, all rules compared, ten times as many generated cases
	$(BIN)/pytest -m '(long or hypothesis) and not servers' --hypothesis-profile=long --timeout=600 --numprocesses $(WORKERS) --dist loadgroup --durations=5

servers: setup ## etcd, kube-apiserver and kube-controller-manager from their Go modules (a quarter of an hour, once)
	@nice -n 19 $(BIN)/python -m tests.support.servers

test-real: servers ## The conformance suite, attacks, and the pipeline with a plain Kubernetes hub, on real Kubernetes servers
	MOORAGE_REQUIRE_SERVERS=1 $(BIN)/pytest -m servers --numprocesses $(WORKERS) --dist loadgroup --durations=5

lint: setup ## Style and common mistakes
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup ## Types, strictly
	$(BIN)/mypy

contracts: setup ## Which module may import which
	$(BIN)/lint-imports

bench: setup ## Measure this machine: bursts, latency, a wide placement, many in place, footprint, a request, the bus, rules, scheduling, the sandbox
	for each in burst pipeline wide standing footprint client bus_throughput policy scheduler sweep sandbox; do $(BIN)/python -m tests.bench.$$each || exit 1; done

lock: setup ## Lock the newest versions that fit, for .venv and for the image
	$(LOCK) --upgrade --all-extras --group dev --output-file requirements.lock pyproject.toml
	$(LOCK) --no-annotate $(IMAGE_EXTRAS:%=--extra %) --constraints requirements.lock \
	  --output-file deploy/requirements.lock pyproject.toml
	printf 'hatchling\neditables\n' | $(LOCK) --upgrade --no-annotate --output-file deploy/build.lock -

clean: ## Take away what was made here, .venv too
	rm -rf $(VENV) .moorage dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find services shared tests -name __pycache__ -type d -prune -exec rm -rf {} +
