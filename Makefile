# AIGQ on one machine. `make setup demo` is all a first look needs.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# pip's own settings say where wheels lie; uv does not read them, so it is told here.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
export UV_LINK_MODE ?= copy

.DEFAULT_GOAL := help
.PHONY: help setup system demo demo-full up down test test-fast lint tables bench chaos clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the virtual environment with everything in it (again only when the pins change)

$(READY): requirements.lock pyproject.toml | system
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip install --python $(BIN)/python --compile-bytecode -r requirements.lock
	$(BIN)/python -m uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

system:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed: install the Debian packages python3.11 and python3.11-venv, or set PYTHON" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "the Debian package python3.11-venv is needed: apt-get install python3.11-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then apt-get update -qq && apt-get install -y -qq libgomp1; \
	  else echo "LightGBM needs the Debian package libgomp1: sudo apt-get install libgomp1" >&2; exit 1; fi; }

demo: setup ## a first look: services up, bootstrap, days through Airflow, on a smaller market
	$(BIN)/aigq demo

demo-full: setup ## the same on the whole market, as the published figures
	$(BIN)/aigq demo --full

up: setup ## start the services and wait until they are healthy
	$(BIN)/aigq up

down: setup ## stop them all
	$(BIN)/aigq down

test: setup ## every test; those that need servers start their own
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-fast: setup ## those that need no server
	$(BIN)/python -m pytest -m "not integration" --numprocesses 2 --dist worksteal

lint: setup ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tables: setup ## docs/tables anew, from the code
	PYTHONPATH=tests $(BIN)/python tests/tables.py

bench: setup ## the benchmarks, one after the other
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

chaos: setup ## kill every stage at every point and run it again; 200 publish races; writes a report
	NO_PROXY=127.0.0.1,localhost OMP_WAIT_POLICY=PASSIVE PYTHONPATH=tests $(BIN)/python -m chaos docs/results/chaos.md

clean: ## stop the services, delete their state and all caches (the environment stays)
	@if [ -x $(BIN)/aigq ]; then $(BIN)/aigq down; fi
	rm -rf .state build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
