# Every target sets itself up in .venv; a second run does nothing that is already done.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml CMakeLists.txt $(wildcard csrc/*)

.PHONY: demo test lint bench bench-prepare clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/adtrie demo $(ARGS)

test: lint
	$(BIN)/python -m pytest $(ARGS)

# Every figure of speed beside other engines, half an hour on a quiet machine; the first time it is preceded by
# an hour or so of installing them and making their models (bench-prepare). ARGS="--quick" tries it out.
bench: bench-prepare
	$(BIN)/python -m benchmarks.speed $(ARGS)
	$(BIN)/python -m benchmarks.readme_table

bench-prepare: $(STAMP)
	-$(BIN)/python -m benchmarks.speed --prepare $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Editable: Python edits are live, and only these SOURCES compile the native code again.
$(STAMP): $(SOURCES)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "adtrie needs Python 3.11 or newer; run: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist
