# `make` lists what there is to make. Python 3.11 or newer and make are all that has to be there.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 3
COVERAGE ?=
AGAIN ?=
MINUTES ?= 15
DIST ?= dist

BIN := $(VENV)/bin
# AGAIN names a file with the names of tests, a line each, to run alone; what is covered adds up.
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup $(if $(AGAIN),@$(AGAIN) $(COVERAGE:%=--cov-append))
UV := $(BIN)/uv
UV_VERSION := 0.13.9
STAMP := $(VENV)/.up-to-date

# As pip does: trust what this machine trusts.
export UV_SYSTEM_CERTS := 1

# Locks hold for every platform and Python that we support, name no host, and pin by hash.
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
IMAGE_EXTRAS := kubernetes policy scheduler telemetry sandbox cli

.DEFAULT_GOAL := help
.PHONY: help setup demo up docs test test-long servers test-real test-kcp test-docker lint types contracts lock bench soak clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## Make .venv with everything that is locked (PYTHON=python3.12 chooses another Python)

$(STAMP): requirements.lock deploy/build.lock pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Moorage needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) --version 2>&1): say which, as in make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@$(UV) pip install --quiet --no-deps --build-constraints deploy/build.lock --python $(BIN)/python --editable .
	@$(BIN)/python -m compileall -q services shared
	@touch $@

demo: setup ## See it work: real workloads placed, a cluster lost (DEMO_KEEP=1 stays up)
	@$(BIN)/moorage demo

up: setup ## NATS, the sandbox and all workers, with the demo's world, until Ctrl-C
	@$(BIN)/moorage up --world examples/world.yaml

docs: setup ## The pages of docs/ as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

test: setup lint types contracts ## Everything that has to hold: lint, types, import contracts, tests (COVERAGE=90 measures it, slower)
	$(PYTEST) $(COVERAGE:%=--cov --cov-report=term --cov-fail-under=% --hypothesis-profile=measured)

test-long: setup ## The long ones: processes killed, NATS wiped, a storm, all rules compared, five times as many generated cases
	$(PYTEST) -m '(long or hypothesis) and not servers and not kcp and not docker' --hypothesis-profile=long --timeout=600 --durations=5

servers: setup ## etcd, kube-apiserver, kube-controller-manager, Jaeger and promtool from their Go modules (half an hour, once)
	@nice -n 19 $(BIN)/python -m tests.support.servers

test-real: servers ## The conformance suite, attacks, and the pipeline with a plain Kubernetes hub, on real Kubernetes servers; traces in a real Jaeger, alerts by promtool
	MOORAGE_REQUIRE_SERVERS=1 $(PYTEST) -m servers --durations=5

test-kcp: setup ## The conformance suite and the installation on a real kcp: MOORAGE_KCP=/path/to/kcp; skipped without, and says so
	@test -n "$$MOORAGE_KCP" || echo "skipped: MOORAGE_KCP names no kcp"
	@test -z "$$MOORAGE_KCP" || $(BIN)/pytest -m kcp --numprocesses 1 --dist loadgroup --timeout=400 --durations=5

test-docker: setup ## compose.yaml, NATS and Jaeger in containers; as root on Debian it starts a Docker engine where none answers
	$(BIN)/python -m tests.support.engine $(BIN)/pytest -m docker $(if $(AGAIN),@$(AGAIN),tests/docker) --durations=5

lint: setup ## Style and common mistakes
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup ## Types, strictly
	$(BIN)/mypy

contracts: setup ## Which module may import which
	$(BIN)/lint-imports

bench: setup ## Measure this machine: bursts, latency, a wide placement, many in place, footprint, a request, the bus, rules, scheduling, the sandbox, what would be decided, events, tracing, metrics, kcp
	for each in burst pipeline wide standing footprint client bus_throughput policy scheduler sweep sandbox decide events tracing metrics schedule commands kcp; do $(BIN)/python -m tests.bench.$$each || exit 1; done

soak: setup ## MINUTES (15) of constant load with churn and a kill every 20 seconds: what stays as it is, and what grows
	$(BIN)/python -m tests.bench.soak --minutes $(MINUTES) --picture docs/pictures/soak.svg

lock: setup ## Lock the newest versions that fit, for .venv and for the image
	$(LOCK) --upgrade --all-extras --group dev --output-file requirements.lock pyproject.toml
	$(LOCK) --no-annotate $(IMAGE_EXTRAS:%=--extra %) --constraints requirements.lock \
	  --output-file deploy/requirements.lock pyproject.toml
	printf 'hatchling\neditables\n' | $(LOCK) --upgrade --no-annotate --output-file deploy/build.lock -
	printf 'cyclonedx-bom\n' | $(LOCK) --upgrade --no-annotate --output-file deploy/release.lock -

release: setup ## Wheel, sdist, the list of what the image installs (SBOM), and checksums, in DIST (dist)
	@test -z "$$(git status --porcelain)" || { echo "commit first: what is released is a commit, and this tree has changes" >&2; exit 1; }
	@rm -rf $(DIST) && mkdir -p $(DIST)
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(UV) build --quiet --build-constraints deploy/build.lock --out-dir $(DIST)
	@$(UV) venv --quiet --clear --python $(BIN)/python build/release
	@$(UV) pip sync --quiet --require-hashes --python build/release/bin/python deploy/release.lock
	@PYTHONWARNINGS=ignore build/release/bin/cyclonedx-py requirements deploy/requirements.lock --pyproject pyproject.toml \
	  --output-reproducible --output-file $(DIST)/sbom.cdx.json
	@rm -f $(DIST)/.gitignore
	@cd $(DIST) && sha256sum * > SHA256SUMS && cat SHA256SUMS

clean: ## Take away what was made here, .venv too
	rm -rf $(VENV) .moorage dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find services shared tests -name __pycache__ -type d -prune -exec rm -rf {} +
