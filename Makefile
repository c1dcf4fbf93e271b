# make demo    train a small model, draw pictures into demo/
# make test    the default test suite
# make lint    formatting and style          make types   type check          make clean   remove demo/, builds and caches
#
# Nothing but make and Python 3.11 or newer is needed: the first call installs everything into .venv.
# Another interpreter: make PYTHON=/path/to/python. Options for pytest: make test ARGS="-k story -x".

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?=
ARGS ?=

.PHONY: demo test lint types install clean
.DEFAULT_GOAL := install

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py
	@echo "Pictures:" && find demo -name '*.png' | sort

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

# Installs again only when what is to be installed has changed. Candidates are tried by running them: the shims of
# version managers exist even where they cannot run.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c '' 2>/dev/null; then \
	    for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
	        if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	            echo "Making $(VENV) with $$("$$python" --version)" && exec "$$python" -m venv --clear $(VENV); \
	        fi; \
	    done; \
	    echo "No Python 3.11 or newer with venv found: install one, or name it: make PYTHON=/path/to/python" >&2; \
	    exit 1; \
	fi
	$(BIN)/python -m pip install --editable '.[test]' --constraint constraints.txt
	@touch $@

clean:
	rm -rf demo build dist .pytest_cache .ruff_cache .mypy_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
