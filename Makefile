# Every target builds the virtual environment it needs, from requirements.lock, once.

PYTHON ?=
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

COMPILE = build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-annotate --no-header

.DEFAULT_GOAL = help
# Most of a test is waiting, and each worker has servers of its own; those of the environment can only be shared.
# Files are taken in their order, the slow ones first: sorted by the number of their tests, they would come last.
WORKERS ?= $(if $(ROLLO_REDIS_URL)$(ROLLO_DATABASE_URL),0,3)

.PHONY: help demo test check chaos fuzz bench docs picture lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Servers, services and a simulated market on this machine; Ctrl-C stops them
	@$(BIN)/rollo demo $(ARGS)

test: $(INSTALLED) ## Everything a change needs, on real servers, with the coverage gate
	$(BIN)/python -m pytest -m "not bench" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered --cov-fail-under=90 $(ARGS)

check: $(INSTALLED) ## Lint, types and architecture
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

chaos: $(INSTALLED) ## Kills, pauses and restarts of everything, again and again (ARGS="--chaos-seed 7")
	$(BIN)/python -m pytest -m "chaos or long" --long --chaos-runs 30 $(ARGS)

fuzz: $(INSTALLED) ## 50,000 requests and 50,000 messages made up from the contracts (ARGS="messages --seed 7")
	@PYTHONPATH=tests $(BIN)/python -P -m fuzz $(ARGS)

bench: $(INSTALLED) ## Measure on this machine; prints a table and writes build/bench.json
	@PYTHONPATH=tests $(BIN)/python -P -m bench $(ARGS)

docs: $(INSTALLED) ## Write the references in docs/ anew, and the examples of OpenAPI, from what they are about
	$(BIN)/rollo contracts streams --out docs/events.md
	$(BIN)/rollo contracts settings --out docs/configuration.md
	$(BIN)/rollo contracts metrics --out docs/monitoring.md
	ROLLO_TEST_DOCS=write $(BIN)/python -m pytest -q -k make_docs tests/integration/test_schema.py
	ROLLO_TEST_DOCS=write $(BIN)/python -m pytest -q -k make_docs tests/contracts/test_examples.py

picture: $(INSTALLED) ## Draw docs/terminal.svg anew, from a demonstration that is run for it
	@PYTHONPATH=tests $(BIN)/python -P -m support.portrait

lock: ## Write requirements.lock anew from pyproject.toml, and from it the locks of the image
	rm -rf build/lock
	"$$(.ci/find-python $(PYTHON))" -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	$(COMPILE) --extra embedded --extra dev pyproject.toml --output-file build/lock/all
	$(COMPILE) --constraint build/lock/all --extra otel --extra sentry pyproject.toml --output-file build/lock/image
	echo hatchling | $(COMPILE) --constraint build/lock/all - --output-file build/lock/builder
	{ echo "# Written by make lock. Versions and hashes of everything, for Python 3.11 to 3.13."; \
	  cat build/lock/all; } > requirements.lock
	{ echo "# Written by make lock. Versions and hashes of what runs in the container image."; \
	  cat build/lock/image; } > deploy/requirements.lock
	{ echo "# Written by make lock. Versions and hashes of what builds the wheel in the container image."; \
	  cat build/lock/builder; } > deploy/build.lock

$(INSTALLED): requirements.lock pyproject.toml
	@[ -x $(BIN)/python ] || "$$(.ci/find-python $(PYTHON))" -m venv $(VENV)
	@echo "Installing what requirements.lock names into $(VENV); the first time takes a minute."
	@$(PIP) install -qq --require-hashes --requirement requirements.lock
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@
