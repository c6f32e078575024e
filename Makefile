# Everything that a fresh clone needs, with nothing before it. `make` alone says what there is.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
# The newest Python that works; `make PYTHON=… test` to choose another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3.14 python3; do \
	command -v $$python >/dev/null 2>&1 && $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $$python && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# With LOCKED=1 the environment is made of exactly what requirements/ says, hash by hash, as CI and the image are.
LOCKED ?=
LOCK_FLAGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

# Every test; those that do little but wait run beside the others, and are shown after them.
define both
$(BIN)/python -m pytest -m waits -p no:cacheprovider -q >$(VENV)/waits.log 2>&1 & waits=$$!; \
trap 'kill $$waits 2>/dev/null; exit 1' INT TERM; \
$(BIN)/python -m pytest -m 'not waits' $(PYTEST_ARGS); status=$$?; \
wait $$waits || status=1; cat $(VENV)/waits.log; exit $$status
endef

.PHONY: help demo test lint bench docs lock sbom clean
.DEFAULT_GOAL := help

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## run the daemon in front of an API whose tokens expire every 10 seconds, all on loopback
	@$(BIN)/reauth-proxy demo

test: $(STAMP) ## run the tests; with SLOW=1 those that take longer, too
	@echo "running $(if $(SLOW),every test,the tests) …"
	@$(if $(SLOW),$(call both),$(BIN)/python -m pytest -m 'not slow' $(PYTEST_ARGS))

lint: $(STAMP) ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(BENCH_STAMP) ## CPU time per request beside Envoy, nginx, Caddy, Go and plain aiohttp, whichever are installed
	@$(BIN)/python -m bench $(BENCH_ARGS)

docs: $(STAMP) ## write docs/commands.md anew, from --help
	@$(BIN)/python docs/generate.py

lock: $(STAMP) ## renew requirements/: the newest versions that pyproject.toml allows, for every Python and platform, with hashes
	@$(PIP) install 'uv>=0.9'
	@$(BIN)/uv pip compile $(LOCK_FLAGS) pyproject.toml --extra redis --output-file requirements/runtime.txt
	@$(BIN)/uv pip compile $(LOCK_FLAGS) --group build --output-file requirements/build.txt
	@$(BIN)/uv pip compile $(LOCK_FLAGS) pyproject.toml --extra dev --group ci --group build \
		--constraint requirements/runtime.txt --constraint requirements/build.txt --output-file requirements/dev.txt

sbom: $(STAMP) ## dist/sbom.cdx.json: what the program is made of, as CycloneDX, from the lock
	@mkdir -p dist
	@$(PIP) install 'cyclonedx-bom>=7'
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-format JSON --output-file dist/sbom.cdx.json requirements/runtime.txt

clean: ## remove the virtual environment and what the tools left
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage dist build

$(STAMP): pyproject.toml $(if $(LOCKED),requirements/dev.txt)
	@test -n "$(PYTHON)" || { echo "reauth-proxy needs Python 3.11 or newer with venv; none was found on PATH" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV) with $$($(PYTHON) --version) …"; $(PYTHON) -m venv $(VENV); }
	@echo "installing reauth-proxy and what its tests need into $(VENV) …"
	@$(if $(LOCKED),$(PIP) install --require-hashes --requirement requirements/dev.txt \
		&& $(PIP) install --no-deps --no-build-isolation --editable .,$(PIP) install --editable '.[dev]')
	@touch $@

$(BENCH_STAMP): $(STAMP) bench/requirements.txt
	@echo "installing the peers that come as Python packages …"
	@$(PIP) install --requirement bench/requirements.txt
	@touch $@
