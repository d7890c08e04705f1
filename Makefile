# Everything a newcomer types. Needs make and Python 3.11 or newer, nothing else.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test dev dashboard bench check lint clean

VENV := .venv
BIN := $(VENV)/bin
# The first of these that is 3.11 or newer makes the environment; PYTHON=/path/to/python chooses another.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$p"; break; fi; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The tests' environment holds everything that running needs too.
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev

help: ## what can be typed
	@echo "make run        set up, then real market data from a source to gold; no key, no internet"
	@echo "make dev        Dagster's web interface on http://127.0.0.1:3000"
	@echo "make test       set up and run every test"
	@echo "make check      lint, types, layers, Dagster's definitions, tests with coverage: what CI runs"
	@echo "make dashboard  the ops dashboard (comes with a later version)"
	@echo "make bench      the benchmarks (come with a later version)"
	@echo "make clean      remove the environment and caches; data/ stays"

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer was not found: install it, or name it with 'make run PYTHON=/path/to/python3.11'." >&2; exit 2; fi
	@echo "Setting up $(VENV) with $(PYTHON), once ..."
	@"$(PYTHON)" -m venv "$(VENV)" || { echo "The environment could not be made: on Debian and Ubuntu install python3-venv." >&2; rm -rf "$(VENV)"; exit 2; }

$(READY): requirements.lock pyproject.toml | $(VENV)/bin/python
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps -e .
	@touch $@

$(READY_DEV): requirements-dev.lock $(READY)
	@$(PIP) install -r requirements-dev.lock
	@touch $@

setup: $(READY) ## the environment for running
setup-dev: $(READY_DEV) ## the environment for tests and checks

run: $(READY) ## the main job on the built-in data
	@$(BIN)/ops-pipeline run

dev: $(READY) ## Dagster's web interface and daemon
	@$(BIN)/dagster dev

test: $(READY_DEV) ## every test
	@$(BIN)/python -m pytest

lint: $(READY_DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint ## what CI runs
	@$(BIN)/dagster definitions validate -w workspace.yaml
	@$(BIN)/python -m pytest --cov --cov-report=term

dashboard: ## comes later
	@echo "The ops dashboard comes with a later version; until then: $(BIN)/ops-pipeline runs, show, coverage." >&2; exit 2

bench: ## comes later
	@echo "The benchmarks come with a later version." >&2; exit 2

clean: ## remove what make made; the data folder stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache htmlcov .coverage .coverage.*
