# Needs Python >= 3.10 with pip, and make. Everything is installed into .venv; `make help` lists the targets.
# Stamp files in .venv remember what was installed, so a second run installs nothing until the pins change.

PYTHON ?= python3
ARGS ?=
# Where torch comes from, e.g. https://download.pytorch.org/whl/cpu: on Linux plain pip brings CUDA. Read at first install.
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
# Without build isolation the build backends, too, are the versions in constraints.txt.
# A file at a time to each process: what its tests share is made once. Whole runs come first: at the end one would be waited for alone.
# A process's tests, and the commands they start, have one thread.
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=10
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check lint format build lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST) | awk -F ': ' '{ printf "  %-10s %s\n", $$1, $$2 }'
	@echo "Variables: PYTHON=$(PYTHON), ARGS (passed on), TORCH_INDEX (package index for torch, see the README)"

demo: $(VENV)/.installed  ## train a small model; ARGS are overrides for seq2seq.train
	$(BIN)/python -m seq2seq.train $(ARGS)

test: $(VENV)/.installed-test  ## run every test; ARGS go to pytest
	$(PYTEST) $(ARGS)

test-long: $(VENV)/.installed-test  ## run every test with the full counts
	SEQ2SEQ_LONG=1 $(PYTEST) --timeout=7200 $(ARGS)

check: lint  ## lint, then the fast tests; run it before every commit
	$(PYTEST) -m "not slow" $(ARGS)

lint: $(VENV)/.installed-test  ## style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-test  ## rewrite the files in the style that lint checks
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: $(VENV)/.installed-test  ## make the sdist and the wheel in dist/
	$(BIN)/python -m build --no-isolation

lock: $(VENV)/.installed-test  ## write constraints.txt again with today's versions; ARGS=--keep only adds what has none
	$(BIN)/python scripts/lock.py $(ARGS) 3.10 3.11

clean:  ## remove .venv and what the tools left
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Debian's Python lacks ensurepip unless python3-venv is installed: the second line then uses the pip that is there.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.10 is needed: make PYTHON=python3.x" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(BIN)/python install pip; }
	@touch $@

# torch alone and without dependencies: its index does not hold our pins of them; the next lines add them.
$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) --no-deps torch)
	$(INSTALL) hatchling setuptools
	$(INSTALL) --no-build-isolation $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(INSTALL) --no-build-isolation -e '.[test]'
	@touch $@
