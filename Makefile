# Commands of the project. A bare machine needs Python 3.11 or newer and make; the first command makes the virtual environment.
#
#   make run ARGS="--today 2010-06-30"     arguments of ops-pipeline run
#   make dev PORT=3001                     another port for the Dagster UI
#   make dashboard DASHBOARD_PORT=8502     another port for the dashboard
#   make test PYTEST_ARGS="-n 2 -k ledger" arguments of pytest
#   make bench ARGS="a c --tickers 100"    parts and sizes of the benchmarks; ARGS=--help lists them
#   make setup PYTHON=python3.12           another interpreter
#
# Every path here is relative and quoted or free of spaces, so that the folder itself may stand anywhere.

.DEFAULT_GOAL := help
.PHONY: help setup run dev test coverage dashboard crash fuzz bench docs check lock pictures clean

PYTHON ?=
ARGS ?=
PYTEST_ARGS ?=
KILLS ?= 300
CASES ?= 100000
HOST ?= 127.0.0.1
PORT ?= 3000
DASHBOARD_PORT ?= 8501

VENV := .venv
PY := $(VENV)/bin/python
# One more than there are processors: tests wait for disks, servers and each other for a quarter of their time.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# Dagster prints that "dg" supersedes each of its commands; dg needs a project layout that makes workspace.yaml ignored.
DAGSTER := $(PY) -W ignore:Function -m dagster

# The stamps carry a checksum of the folder's path: scripts of a venv hold absolute paths, so a moved folder needs a new one.
HERE := $(shell pwd -P | cksum | cut -d ' ' -f 1)
READY := $(VENV)/.ready-$(HERE)
READY_DEV := $(VENV)/.ready-dev-$(HERE)
READY_DASHBOARD := $(VENV)/.ready-dashboard-$(HERE)
READY_BENCH := $(VENV)/.ready-bench-$(HERE)

# The theme prints an advertisement for its successor otherwise.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet

help: ## list the commands
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /|/' | awk -F '|' '{ printf "  make %-10s %s\n", $$1, $$2 }'

$(READY): requirements.lock
	@if [ -n '$(PYTHON)' ]; then set -- '$(PYTHON)'; else set -- python3 python3.14 python3.13 python3.12 python3.11 python; fi; \
	for candidate do \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1; \
	  then found=$$candidate; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "No Python 3.11 to 3.14 with its venv module was found: install one (on Debian or Ubuntu: apt-get install python3 python3-venv) or name it with make PYTHON=/path/to/python3." >&2; \
	  exit 1; \
	fi; \
	echo "Setting up .venv with $$("$$found" --version), which takes a minute, once." >&2; \
	"$$found" -m venv --clear $(VENV)
	@$(PIP) install --no-deps --requirement requirements.lock
	@$(PIP) install --no-deps --editable .
	@touch $@

$(READY_DEV): requirements-dev.lock $(READY)
	@$(PIP) install --no-deps --requirement requirements-dev.lock
	@touch $@

$(READY_DASHBOARD): requirements-dashboard.lock $(READY)
	@$(PIP) install --no-deps --requirement requirements-dashboard.lock
	@touch $@

$(READY_BENCH): requirements-bench.lock $(READY)
	@$(PIP) install --no-deps --requirement requirements-bench.lock
	@touch $@

setup: $(READY_DEV) ## make the virtual environment with everything for development

run: $(READY) ## take the sample data from the source through bronze, silver and gold
	@$(VENV)/bin/ops-pipeline run $(ARGS)

dev: $(READY) ## open the Dagster UI on http://127.0.0.1:3000
	@DAGSTER_HOME="$$(pwd -P)" $(DAGSTER) dev -w workspace.yaml -h $(HOST) -p $(PORT)

test: $(READY_DEV) ## run all tests
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

check: $(READY_DEV) ## run every check and all tests, as CI does
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict ops_pipeline
	$(VENV)/bin/lint-imports
	$(DAGSTER) definitions validate -w workspace.yaml
	$(MKDOCS)
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

coverage: $(READY_DEV) ## run all tests and tell which lines they reach; what runs in processes of its own is not seen
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term $(PYTEST_ARGS)

dashboard: $(READY_DASHBOARD) ## open the dashboard on http://127.0.0.1:8501
	@$(VENV)/bin/ops-pipeline dashboard --host $(HOST) --port $(DASHBOARD_PORT)

docs: $(READY_DEV) ## build the documentation as a site, and say where it is
	@$(MKDOCS)
	@echo "build/site/index.html"

crash: $(READY_DEV) ## kill 300 runs in every way and compare what they leave, about an hour; KILLS=50 kills fewer
	@CRASH_KILLS='$(KILLS)' nice -n 10 $(PY) -m pytest -q -x -s ops_pipeline_tests/engine/test_matrix.py

fuzz: $(READY_DEV) ## stage 100,000 answers, most of them damaged, and account for every record, half an hour; CASES=5000 stages fewer
	@FUZZ_CASES='$(CASES)' nice -n 10 $(PY) -m pytest -q -x -s -n 0 ops_pipeline_tests/silver/test_fuzz.py

bench: $(READY_BENCH) ## measure the pipeline beside its alternatives, see benchmarks/README.md
	@$(PY) -m benchmarks $(ARGS)

pictures: $(READY_DEV) ## draw the README's pictures anew, from real runs
	@$(PY) docs/pictures/terminal.py
	@PYTHONPATH=. $(PY) docs/pictures/pages.py

lock: $(READY) ## pin the newest allowed versions of all dependencies anew
	@$(PY) -m venv --clear build/lock
	@build/lock/bin/python -m pip --disable-pip-version-check --quiet install uv
	@build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
	  --output-file requirements.lock pyproject.toml
	@build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
	  --extra dashboard --constraint requirements.lock --output-file requirements-dashboard.lock pyproject.toml
	@build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
	  --extra dev --constraint requirements.lock --constraint requirements-dashboard.lock --output-file requirements-dev.lock pyproject.toml
	@build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
	  --extra bench --constraint requirements.lock --output-file requirements-bench.lock pyproject.toml

clean: ## remove the virtual environment and all caches; data/ stays
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './data/*' -prune -exec rm -rf {} +
