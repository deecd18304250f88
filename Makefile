# Needs Python >= 3.10 with pip, and make. Installs into .venv; `make help` lists the targets.
# Stamp files in .venv record what is installed: a second run installs nothing unless the pins changed.

PYTHON ?= python3
ARGS ?=
# Package index for torch, e.g. https://download.pytorch.org/whl/cpu; on Linux, pip's default brings CUDA. Read at the first install.
TORCH_INDEX ?=
# Versions to install. Set another file to test with other versions, e.g. the oldest.
CONSTRAINTS ?= constraints.txt

VENV := .venv
BIN := $(VENV)/bin
# --dist=loadfile keeps a file's tests in one process, so its fixtures are built once. --no-loadscope-reorder starts the files
# with whole runs first; at the end, the other processes would wait for them.
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=10
# Used with --no-build-isolation, so that $(CONSTRAINTS) also fixes the versions of the build backends.
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS)

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check lint docs notebook format build lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST) | awk -F ': ' '{ printf "  %-10s %s\n", $$1, $$2 }'
	@echo "Variables: PYTHON=$(PYTHON), ARGS (passed on), TORCH_INDEX (package index for torch, see the README), CONSTRAINTS=$(CONSTRAINTS)"

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

# --quiet would hide warnings from --strict, which counts only those that are shown.
docs: $(VENV)/.installed-test  ## build the documentation in site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebook: $(VENV)/.installed-test  ## write the tour as tour.ipynb, without outputs
	$(BIN)/python -m jupytext --to notebook --output tour.ipynb docs/explanation/tour.md

format: $(VENV)/.installed-test  ## rewrite the files in the style that lint checks
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: $(VENV)/.installed-test  ## build the sdist and the wheel in dist/
	$(BIN)/python -m build --no-isolation

# Writes one file for every supported Python. Existing pins stay; ARGS=--upgrade renews them, except torch, which is set here.
# CUDA packages are removed: each build of torch requires its own. setuptools builds antlr4, which hydra-core needs, from its sdist.
lock: $(VENV)/.installed-test  ## add the missing pins to constraints.txt; ARGS=--upgrade renews them all
	$(INSTALL) uv
	printf '%s\n' torch==2.13.0 setuptools uv | $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.10 \
	    --all-extras --no-annotate --custom-compile-command 'make lock' --output-file constraints.txt $(ARGS) pyproject.toml -
	sed -i.bak -E '/^(cuda|nvidia|triton)/d' constraints.txt && rm constraints.txt.bak

clean:  ## remove .venv and the output of the tools
	rm -rf $(VENV) dist site tour.ipynb .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Debian's Python lacks ensurepip unless python3-venv is installed; the second line then uses the system's pip.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.10 is needed: make PYTHON=python3.x" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(BIN)/python install pip; }
	@touch $@

# Installs torch without its dependencies, because $(TORCH_INDEX) lacks the pinned versions; the next lines install them.
$(VENV)/.installed: $(VENV)/.created pyproject.toml $(CONSTRAINTS)
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) --no-deps torch)
	$(INSTALL) hatchling setuptools
	$(INSTALL) --no-build-isolation $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(INSTALL) --no-build-isolation -e '.[test,docs]'
	@touch $@
