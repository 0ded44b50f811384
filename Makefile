# `make` alone lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first that starts: a version manager can leave a `python3.11` that only prints an error.
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# The tests start the daemon a thousand times: without its bytecode, each start takes half as long again.
KEEPING_BYTECODE := env -u PYTHONDONTWRITEBYTECODE
PYTEST := $(KEEPING_BYTECODE) $(BIN)/pytest

# make run URL=…   make test T=…   make bench B=…   make check-image ENGINE=…
URL ?=
T ?=
B ?=
ENGINE ?= docker
ROOTFS ?=

##@ To use it

.PHONY: run
# The URL may hold a password, and a list of processes must not show it: it goes through the environment.
run: export SPOOLHOUSE_STORE__URL := $(or $(URL),duckdb://$(CURDIR)/var/events.db)
# Landed sample files are of no use.
run: export SPOOLHOUSE_RETENTION__MAX_BYTES ?= 32MiB
run: ASK := $(CURDIR)/$(BIN)/spoolhouse
run: OF := --project project-1 --store-url $(if $(URL),URL,duckdb://$(CURDIR)/var/events.db)
run: $(VENV)/.stamp-run ## Try it: sample events land in a DuckDB file, and more each second (URL=clickhouse://… uses a server)
	@mkdir -p var/spool
	@landed=$$(find var/spool -path '*/processed/*.jsonl' | wc -l); test $$landed -eq 0 || \
	  echo "$$landed sample files of earlier runs have landed, and are in processed/ folders below var/spool."
	@echo "An agent application writes traces, logs, metrics, scores and feedback. Ask for them in a second terminal:"
	@echo
	@echo "  $(ASK) traces $(OF)"
	@echo "  $(ASK) logs --follow $(OF)"
	@echo "  $(ASK) sql 'SELECT model, count(*) AS calls, sum(cost_estimate_usd) AS dollars FROM mastra_admin_events GROUP BY model'" \
	  "$(filter-out --project project-1,$(OF))"
	@echo
	@echo "Look at them in a browser, at the address that this prints:"
	@echo
	@echo "    $(ASK) serve $(filter-out --project project-1,$(OF))"
	@echo
	@$(BIN)/spoolhouse generate --rows 20000 --files 20 --every 1 --pid $$$$ --file-storage-path var/spool >/dev/null & \
	  exec $(BIN)/spoolhouse ingest --file-storage-path var/spool

##@ To work on it

.PHONY: test
test: $(VENV)/.stamp-dev ## The tests against a real ClickHouse, side by side (T='tests/unit -k name' chooses, one by one)
	@$(PYTEST) $(or $(T),--numprocesses=auto)

# The tests fetch it by themselves; this does so before anything is installed.
.PHONY: engine
engine:
	@$(PYTHON) -c 'from tests.engine import find_engine; find_engine(print)'

.PHONY: test-replicas
test-replicas: $(VENV)/.stamp-replicas ## The tests of replicated tables: two servers and a ZooKeeper (T='-k name' chooses)
	@$(PYTEST) tests/replicas $(T)

.PHONY: test-browser
test-browser: $(VENV)/.stamp-dev ## The tests of the page in a real browser: what people do, in clicks (T='-k name' chooses)
	@$(PYTEST) tests/browser $(T)

.PHONY: screenshots
screenshots: $(VENV)/.stamp-dev ## Take the pictures of docs/pictures anew
	@$(BIN)/python -m tests.browser.screenshots

.PHONY: faults
faults: export SPOOLHOUSE_TEST_FAULTS := long
faults: $(VENV)/.stamp-dev ## The fault suite in its long form: each fault at each place (T='-k name' chooses)
	@$(PYTEST) tests/faults --override-ini=faulthandler_timeout=7200 $(T)

.PHONY: check
check: $(VENV)/.stamp-dev ## Lint, format and types, changing nothing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/.stamp-dev ## Format, and fix what the linter can fix
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

.PHONY: check-unit
check-unit: ## Have systemd verify its unit: no warning, and an exposure under 2.0 (needs systemd 252)
	@set -o pipefail; root=$$(mktemp -d) && trap 'rm -rf "$$root"' EXIT && \
	  sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' systemd/spoolhouse.service > "$$root/spoolhouse.service" && \
	  systemd-analyze verify --recursive-errors=no "$$root/spoolhouse.service" && \
	  systemd-analyze security --offline=yes --threshold=20 --no-pager "$$root/spoolhouse.service" | tail -n 2

.PHONY: check-systemd
check-systemd: $(VENV)/.stamp-dev ## Start and stop the unit in a root with systemd (ROOTFS=…; as root, see tests/README.md)
	@test -d "$(ROOTFS)" || { echo "Name a root with systemd and Spoolhouse in it: make check-systemd ROOTFS=…" >&2; exit 1; }
	@SPOOLHOUSE_TEST_ROOTFS=$(ROOTFS) $(BIN)/pytest tests/systemd/checks.py

.PHONY: check-image
check-image: $(VENV)/.stamp-dev ## Build the container image and run it (ENGINE=podman takes another engine than docker)
	@$(ENGINE) build -t spoolhouse:test .
	@SPOOLHOUSE_TEST_CONTAINER=$(ENGINE) $(BIN)/pytest tests/image/checks.py

.PHONY: bench
bench: $(VENV)/.stamp-dev ## Measure speed and memory against a real ClickHouse (B=… are its arguments)
	@$(KEEPING_BYTECODE) $(BIN)/python -m tests.benchmarks $(B)

.PHONY: clean
clean: ## Remove .venv, var (the sample spool and its database) and caches
	rm -rf $(VENV) var build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find daemon tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Each stamp is one state of the environment, and is made anew when pyproject.toml changes. A larger state contains the
# smaller ones and stamps them too, so that nothing is installed twice. pip shows its own progress.

$(VENV)/.stamp-run: pyproject.toml | $(VENV)/.stamp-venv
	@echo "Installing Spoolhouse into $(VENV) (the first time takes a minute)."
	@$(BIN)/python -m pip install --editable '.[daemon]'
	@touch $@

$(VENV)/.stamp-embedded: pyproject.toml | $(VENV)/.stamp-venv
	@echo "Installing Spoolhouse with an embedded ClickHouse into $(VENV): about 1 GB on disk, the first time takes minutes."
	@$(BIN)/python -m pip install --editable '.[embedded]'
	@touch $(VENV)/.stamp-run $@

$(VENV)/.stamp-dev: pyproject.toml | $(VENV)/.stamp-venv
	@echo "Installing Spoolhouse with an embedded ClickHouse and the tools for its tests into $(VENV): about 1 GB on disk."
	@$(BIN)/python -m pip install --editable '.[dev,embedded]'
	@touch $(VENV)/.stamp-run $(VENV)/.stamp-embedded $@

$(VENV)/.stamp-replicas: pyproject.toml | $(VENV)/.stamp-venv
	@echo "Installing Spoolhouse with all that its tests need, Java too, into $(VENV): about 1.1 GB on disk."
	@$(BIN)/python -m pip install --editable '.[dev,embedded,replicas]'
	@touch $(VENV)/.stamp-run $(VENV)/.stamp-embedded $(VENV)/.stamp-dev $@

$(VENV)/.stamp-venv:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Spoolhouse needs Python 3.11 or newer, and '$(or $(PYTHON),python3)' is not that. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@# That of Python 3.11 needs twice the time to choose among all releases. Without a newer one it does.
	@$(BIN)/python -m pip install --quiet --upgrade pip || true
	@touch $@
