# `make` alone prints the targets. PYTHON chooses the interpreter that the virtual environment is made with,
# VENV its folder, ARK_HOME the node's home, PYTEST further options of pytest, KEY the key that signs the rules,
# SEED what random faults come from, SOAK_S how long a soak takes, DEPLOYMENTS how many rollouts are simulated.

PYTHON ?= python3
VENV ?= .venv
ARK_HOME ?= $(CURDIR)/.ark
PYTEST ?=
KEY ?=
SEED ?= 1
FAULT ?=
SOAK_S ?= 1800
DEPLOYMENTS ?= 10000
BIN := $(VENV)/bin
# Git keeps no modes but one bit: whoever installs or tests takes the write bits from the rules.
PROTECT := $(BIN)/python -c 'from graveyard.seal import write_protect; write_protect()'
# Asked by Debian's packages before they start a service; 101 is a no.
POLICY := /usr/sbin/policy-rc.d
# Each process of a node would compile every module anew, two thirds of its start.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help start test lint docs screenshot seal unseal services chaos soak seeds bench rollouts canaries clean

help: ## print the targets
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

start: $(VENV)/.installed ## make the environment, install, and run the demo until Ctrl-C
	@exec $(BIN)/ark-run start --demo --home "$(ARK_HOME)"

test: $(VENV)/.installed-test lint ## lint, types, layers, then every test but the long ones
	@$(PROTECT)
	@# Five on two cores: many tests wait for processes.
	$(BIN)/python -m pytest -n 5 $(PYTEST)

lint: $(VENV)/.installed-test ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-test ## write the generated tables of docs/ and the files of deployment/ anew
	$(BIN)/python -m docs.generate
	$(BIN)/python -m deployment.observability

screenshot: $(VENV)/.installed-test ## take the README's picture of the page anew, in two minutes
	ARK_SCREENSHOT=docs/page.png $(BIN)/python -m pytest tests/ark/test_page.py -k picture

seal: $(VENV)/.installed ## sign the rules in graveyard/ after a change for good; KEY names the private key
	$(BIN)/python -m ark.seal sign $(if $(KEY),--key "$(KEY)")

unseal: ## let the rules in graveyard/ be edited; `make seal` afterwards
	chmod u+w graveyard/*.py graveyard/seal.json

services: ## get what tests need from outside: Node.js, Redis, Prometheus, Alertmanager, Chromium, faketime
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
	  if ! command -v apt-get >/dev/null; then \
	    echo "make services: Node.js 18 or newer is missing, and this is no Debian: install nodejs and npm" >&2; exit 1; \
	  elif [ "$$(id -u)" != 0 ]; then \
	    echo "make services: Node.js is missing; run: sudo apt-get install nodejs npm" >&2; exit 1; \
	  fi; \
	  apt-get update -q; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends nodejs npm; \
	fi
	@if ! command -v systemd-analyze >/dev/null; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -q; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends systemd; \
	  else \
	    echo "make services: systemd-analyze is missing; without it the unit file is not tested" >&2; \
	  fi; \
	fi
	@if ! command -v redis-server >/dev/null; then \
	  if ! command -v apt-get >/dev/null; then \
	    echo "make services: redis-server is missing, and this is no Debian: install Redis 6.2 or newer" >&2; exit 1; \
	  elif [ "$$(id -u)" != 0 ]; then \
	    echo "make services: redis-server is missing; run: sudo apt-get install redis-server" >&2; exit 1; \
	  fi; \
	  apt-get update -q; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends redis-server; \
	fi
	@if ! cmp -s examples/node/package-lock.json examples/node/node_modules/.installed; then \
	  (cd examples/node && npm ci --ignore-scripts --no-audit --no-fund); \
	  cp examples/node/package-lock.json examples/node/node_modules/.installed; \
	fi
	@if [ -z "$$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null)" ]; then \
	  if ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ]; then \
	    echo "make services: libfaketime is missing, and clocks will not jump in make chaos; run: sudo apt-get install faketime" >&2; \
	  else \
	    apt-get update -q; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends faketime; \
	  fi; \
	fi
	@# Debian starts and enables what it installs. Nobody who runs tests wants a Prometheus on port 9090 for it.
	@missing=""; \
	for each in promtool:prometheus amtool:prometheus-alertmanager chromium:chromium; do \
	  command -v "$${each%%:*}" >/dev/null || missing="$$missing $${each##*:}"; \
	done; \
	if [ -n "$$missing" ] && { ! command -v apt-get || [ "$$(id -u)" != 0 ]; } >/dev/null; then \
	  echo "make services: missing, and what needs them is not tested:$$missing; on Debian root gets it by this command" >&2; \
	elif [ -n "$$missing" ]; then \
	  if [ ! -e $(POLICY) ]; then \
	    trap 'rm -f $(POLICY)' EXIT; \
	    printf '#!/bin/sh\nexit 101\n' > $(POLICY); chmod 755 $(POLICY); \
	  fi; \
	  apt-get update -q; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	  for each in $$missing; do \
	    if [ -d /run/systemd/system ] && [ -e "/lib/systemd/system/$$each.service" ]; then systemctl disable -q "$$each"; fi; \
	    if { readlink /proc/[0-9]*/exe || true; } | grep -x "/usr/bin/$$each" >/dev/null; then \
	      echo "make services: $$each was started, though nobody asked for it; run: sudo systemctl stop $$each" >&2; exit 1; \
	    fi; \
	  done; \
	fi
	@echo "services: Node.js $$(node --version), examples/node is ready, $$(redis-server --version | cut -d' ' -f1-3)"

chaos: $(VENV)/.installed-test ## every fault under load, and a table of the answers; SEED, FAULT=NAME for one
	@$(PROTECT)
	$(BIN)/python -m tests.chaos --seed $(SEED) $(if $(FAULT),--fault $(FAULT))

soak: $(VENV)/.installed-test ## random faults for SOAK_S seconds (1800), then memory and descriptors; SEED
	@$(PROTECT)
	$(BIN)/python -m tests.chaos --seed $(SEED) --soak $(SOAK_S)

seeds: $(VENV)/.installed-test ## the simulator over 250,000 more seeds, and every property over many cases, for hours
	@$(PROTECT)
	$(BIN)/python -m pytest -m soak $(PYTEST)
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile soak --timeout 0 $(PYTEST)

bench: $(VENV)/.installed-test ## measure, and print a table
	$(BIN)/python -m tests.benchmarks

rollouts: $(VENV)/.installed-test ## simulate DEPLOYMENTS healthy rollouts (10000) and faulty ones, for half an hour; SEED
	$(BIN)/python -m tests.benchmarks.rollouts --deployments $(DEPLOYMENTS) --seed $(SEED)

canaries: $(VENV)/.installed-test ## bad releases, flips of all traffic and killing on real nodes, for half an hour; SEED
	@$(PROTECT)
	$(BIN)/python -m tests.rollout --seed $(SEED)

clean: ## take away caches and build output; the environment and .ark/ stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo,releases]'
	@$(PROTECT)
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo,test]'
	@$(PROTECT)
	@touch $(VENV)/.installed $@
