# Two commands: `make studio` and `make test`. Both make .venv first, from constraints.txt; again costs seconds.
# The first interpreter that runs and is new enough: a name on the path may be a version manager's shim that runs nothing.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
BIN := .venv/bin
PORT ?= 8501

.PHONY: studio test lint benchmarks screenshots clean

studio: .venv/studio.stamp
	$(BIN)/sap studio --port $(PORT)

test: .venv/test.stamp
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmarks: .venv/test.stamp
	$(BIN)/python benchmarks/capture.py

screenshots: .venv/test.stamp
	$(BIN)/python docs/screenshots.py

.venv/python.stamp:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found '$(PYTHON)'. Install it, or run: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

.venv/studio.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/test.stamp: .venv/studio.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
