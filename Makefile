# Tollway. `make help` lists what there is.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
DATA   ?= data

.DEFAULT_GOAL := help
.PHONY: help up stack test check fmt types bench demo-traffic e2e vendor-check lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# An installed environment is marked by a file, so that a second run starts in seconds.
$(VENV)/.run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Tollway needs Python 3.11 or newer; set PYTHON=python3.11 (or later).")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing what Tollway runs on (once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@echo "Installing the test tools (once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

up: $(VENV)/.run ## everything on this machine, nothing but Python needed; Ctrl-C stops it
	@exec $(PY) -m deploy.up --mode embedded --data $(DATA)

stack: $(VENV)/.dev ## the production topology on this machine: PostgreSQL, Redis, Kafka, two gateway workers
	@exec $(PY) -m deploy.up --mode stack --data $(DATA)-stack

demo-traffic: $(VENV)/.run ## 10,000 real requests through a running `make up` (or DATA=data-stack), then the four totals
	@TOLLWAY_DATA_DIR=$(abspath $(DATA)) exec $(PY) -m deploy.demo.month

bench: $(VENV)/.dev ## gateway against nginx, sink, rating, freshness (needs nginx and wrk); BENCH="rating --rounds 3" for less
	@$(PY) -m tests.bench $(BENCH)

test: $(VENV)/.dev ## the whole suite with real servers
	@$(PY) -m tests.run

check: $(VENV)/.dev ## formatting, lint, types, import rules, unit and contract tests
	@$(PY) -m tests.run --fast

fmt: $(VENV)/.dev ## format the code
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

types: $(VENV)/.dev ## mypy alone
	@$(VENV)/bin/mypy .

e2e: $(VENV)/.dev ## the browser journeys alone
	@$(PY) -m pytest tests/e2e

lock: ## pin requirements from pyproject.toml (needs uv)
	uv pip compile -q pyproject.toml --generate-hashes --no-header -o requirements.txt
	uv pip compile -q pyproject.toml --group dev --generate-hashes --no-header -o requirements-dev.txt

vendor-check: $(VENV)/.dev ## the vendored browser files are what the manifest says
	@$(PY) -m pytest -q tests/unit/static/test_vendor.py

clean: ## remove the environment and the caches; data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
