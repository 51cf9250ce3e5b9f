# Backline from a bare machine: Python 3.11 or newer, make, git and gcc are enough.
# Everything is installed into .venv, at the versions that constraints.txt pins.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3 python,\
	$(if $(shell $(name) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(name))))
UV ?= $(shell command -v uv 2>/dev/null)

BIN := .venv/bin
PINS := pyproject.toml constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check \
	-c constraints.txt --build-constraint constraints.txt
UV_INSTALL := $(UV) pip install -q --python $(BIN)/python -c constraints.txt -b constraints.txt
install = $(if $(UV),$(UV_INSTALL) $(1) || { echo "uv failed; trying pip" >&2; $(PIP_INSTALL) $(1); },\
	$(PIP_INSTALL) $(1))

# Processes that share the tests: many of these wait.
TESTERS ?= 3

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # one virtual environment, one installer at a time
.PHONY: demo test check format lint types floors house bench chaos clean help

demo: .venv/.demo ## the photo service, inline and through the queue, with its figures
	@$(BIN)/backline demo

test: .venv/.test ## all tests but the long campaigns
	@$(BIN)/pytest -n $(TESTERS) --dist worksteal

check: format lint types floors house ## format, lint, types, layers, size budgets (-k: all of them)

format: .venv/.check
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ." >&2; exit 1; }

lint: .venv/.check
	@$(BIN)/ruff check --quiet .

types: .venv/.check
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/basedpyright

floors: .venv/.check
	@$(BIN)/lint-imports --no-logo

house: .venv/.check
	@$(BIN)/pytest -q tests/test_house.py

bench: .venv/.bench ## throughput and latency, beside a peer and the limit
	@$(BIN)/python -m bench

chaos: .venv/.test ## kills, pauses, full disks: the long campaigns
	@$(BIN)/pytest -m chaos

clean: ## remove .venv and everything that was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

.venv/.ready: constraints.txt
ifeq ($(strip $(PYTHON)),)
	@echo "Backline needs Python 3.11 or newer and found none." >&2
	@echo "Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2
	@exit 1
else
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is not Python 3.11 or newer" >&2; exit 1; }
	@echo "making .venv with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv .venv || $(if $(UV),$(UV) venv -q --clear --seed --python $(PYTHON) .venv,{ \
		echo "$(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv" >&2; \
		exit 1; })
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --upgrade pip
	@touch $@
endif

.venv/.demo: .venv/.ready $(PINS)
	@$(call install,-e '.[demo]')
	@touch $@

.venv/.test: .venv/.ready $(PINS)
	@$(call install,-e . --group test)
	@touch $@

.venv/.check: .venv/.ready $(PINS)
	@$(call install,-e . --group test --group check)
	@touch $@

.venv/.bench: .venv/.ready $(PINS)
	@$(call install,-e . --group test --group bench)
	@touch $@
