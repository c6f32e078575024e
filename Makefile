# Everything that a fresh clone needs, with nothing before it. `make` alone says what there is.

VENV := .venv
BIN := $(VENV)/bin
# The first of these that works makes the environment; `make PYTHON=… test` to choose another.
PYTHON ?= python3.13 python3.12 python3.11 python3.14 python3
# Only errors: what pip thinks of this machine's own settings is not ours to say.
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# What is installed is exactly what requirements/ says, each archive by its hash.
# `make LOCKED= test` installs the newest versions that pyproject.toml allows instead.
LOCKED ?= 1
SET := $(if $(filter-out 0 no,$(LOCKED)),locked,newest)
# One for the program alone, one for its tests: they say that this set, and not the other one, is installed.
DEMO_STAMP := $(VENV)/.demo-$(SET)
STAMP := $(VENV)/.test-$(SET)
BENCH_STAMP := $(VENV)/.bench
LOCK_FLAGS := --quiet --upgrade --universal --no-strip-extras --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

.PHONY: help demo test lint bench docs lock sbom clean
.DEFAULT_GOAL := help

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# An environment for the tests has everything that the demo needs.
demo: $(if $(wildcard $(STAMP)),$(STAMP),$(DEMO_STAMP)) ## run the daemon in front of an API whose tokens expire every 10 seconds, all on loopback
	@echo "starting the demo …"
	@$(BIN)/python -m reauth_proxy demo

test: $(STAMP) ## run the tests; with SLOW=1 those that take longer, too
	@echo "running $(if $(SLOW),every test,the tests) …"
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
		$(if $(SLOW),--hypothesis-profile thorough,-m 'not slow and not process') $(PYTEST_ARGS)

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
	@$(BIN)/uv pip compile $(LOCK_FLAGS) pyproject.toml --extra dev --group build --group editable \
		--constraint requirements/runtime.txt --constraint requirements/build.txt --output-file requirements/dev.txt
	@$(BIN)/uv pip compile $(LOCK_FLAGS) --group ci --constraint requirements/dev.txt --output-file requirements/ci.txt

sbom: $(STAMP) ## dist/sbom.cdx.json: what the program is made of, as CycloneDX, from the lock
	@mkdir -p dist
	@$(PIP) install --require-hashes --requirement requirements/ci.txt
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-format JSON --output-file dist/sbom.cdx.json requirements/runtime.txt

clean: ## remove the virtual environment and what the tools left
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

# Made again where its interpreter is gone, as after an update of the system's; and where that was interrupted.
ifneq ($(shell test -x $(BIN)/python && echo there),there)
.PHONY: $(VENV)/.made
endif
$(VENV)/.made:
	@for python in $(PYTHON); do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "making $(VENV) with $$($$python --version) …"; \
			$$python -m venv --clear $(VENV) && touch $@; exit; \
		fi; \
	done; \
	echo "reauth-proxy needs Python 3.11 or newer with venv; not found: $(PYTHON)" >&2; exit 1

$(VENV)/.demo-locked: requirements/runtime.txt $(VENV)/.made
	@echo "installing what reauth-proxy needs into $(VENV) …"
	@rm -f $(VENV)/.*-newest
	@$(PIP) install --require-hashes --requirement requirements/runtime.txt
	@touch $@

$(VENV)/.test-locked: pyproject.toml requirements/dev.txt $(VENV)/.made
	@echo "installing reauth-proxy and what its tests need into $(VENV) …"
	@rm -f $(VENV)/.*-newest
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.demo-newest: pyproject.toml $(VENV)/.made
	@echo "installing reauth-proxy and the newest of what it needs into $(VENV) …"
	@rm -f $(VENV)/.*-locked
	@$(PIP) install --upgrade --upgrade-strategy eager --editable .
	@touch $@

$(VENV)/.test-newest: pyproject.toml $(VENV)/.made
	@echo "installing reauth-proxy and the newest of what its tests need into $(VENV) …"
	@rm -f $(VENV)/.*-locked
	@$(PIP) install --upgrade --upgrade-strategy eager --editable '.[dev]'
	@touch $@

$(BENCH_STAMP): $(STAMP) bench/requirements.txt
	@echo "installing the peers that come as Python packages …"
	@$(PIP) install --requirement bench/requirements.txt
	@touch $@
