# `make studio` and `make test` are all you need; `make help` lists the rest. Each makes .venv first, from
# constraints.txt; running it again costs seconds.
# The first interpreter that runs and is new enough: a name on the path may be a version manager's shim that runs nothing.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8501
WORKERS ?= 2 # processes that run tests; 0: this one alone, as for --pdb
PYTEST = $(BIN)/python -m pytest -n $(WORKERS)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: help studio test test-fast test-extras faults zoo coverage lint types docs build hooks benchmarks screenshots clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

studio: $(VENV)/studio.stamp ## open the studio on http://127.0.0.1:$(PORT)
	$(BIN)/sap studio --port $(PORT)

test: $(VENV)/test.stamp ## run every test
	$(PYTEST) $(PYTEST_ARGS)

test-fast: $(VENV)/test.stamp ## run the tests that need no browser and take no long set-up
	$(PYTEST) -m "not browser and not slow" $(PYTEST_ARGS)

# Optional packages are large and pull versions of their own, so they get an environment of their own.
test-extras: ## run the tests of the optional packages, in .venv-extras
	$(MAKE) VENV=.venv-extras .venv-extras/extras.stamp
	.venv-extras/bin/python -m pytest -m extras $(PYTEST_ARGS)

faults: $(VENV)/test.stamp ## try bad inputs and kills, and write the table in docs/reliability.md (a quarter of an hour)
	$(BIN)/python tests/faults/run.py

zoo: $(VENV)/test.stamp ## try every model and class of which the other targets take a third (minutes)
	ZOO=all $(PYTEST) tests/zoo tests/models $(PYTEST_ARGS)

coverage: $(VENV)/test.stamp ## run every test and report line and branch coverage
	$(PYTEST) --cov --cov-report=term --cov-report=html:build/coverage $(PYTEST_ARGS)

lint: $(VENV)/test.stamp ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test.stamp ## check types
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/docs.stamp ## build the documentation into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

build: $(VENV)/test.stamp ## build wheel and sdist into dist
	$(BIN)/python -m build

hooks: $(VENV)/test.stamp ## check style and types before every commit
	$(BIN)/pre-commit install

benchmarks: $(VENV)/test.stamp ## measure what recording attention costs
	$(BIN)/python benchmarks/capture.py

screenshots: $(VENV)/test.stamp ## take the pictures of the documentation again
	$(BIN)/python docs/screenshots.py

$(VENV)/python.stamp:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found '$(PYTHON)'. Install it, or run: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/studio.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

$(VENV)/test.stamp: $(VENV)/studio.stamp
	$(INSTALL) --editable '.[dev]'
	$(BIN)/pyright --version >/dev/null # its first run downloads the checker itself
	touch $@

$(VENV)/docs.stamp: $(VENV)/studio.stamp
	$(INSTALL) --editable '.[docs]'
	touch $@

$(VENV)/extras.stamp: $(VENV)/test.stamp
	$(INSTALL) --editable '.[dev,tasks,ray,quantized,figures,adapters]'
	touch $@

clean: ## remove everything that was made
	rm -rf .venv .venv-extras build dist .pytest_cache .ruff_cache .coverage .coverage.*
