# Needs Python >= 3.10 with pip, and make. Everything is installed into .venv; `make help` lists the targets.
# Stamp files in .venv remember what was installed, so a second run installs nothing until the pins change.

PYTHON ?= python3
ARGS ?=
# Where torch comes from, e.g. https://download.pytorch.org/whl/cpu: on Linux plain pip brings CUDA. Read at first install.
TORCH_INDEX ?=
# The versions to install. Another file, e.g. of the oldest versions, is for tests with them.
CONSTRAINTS ?= constraints.txt

VENV := .venv
BIN := $(VENV)/bin
# Without build isolation the build backends, too, are the versions in $(CONSTRAINTS).
# A file at a time to each process: what its tests share is made once. Whole runs come first: at the end one would be waited for alone.
# A process's tests, and the commands they start, have one thread.
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
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

# Not --quiet: --strict counts only the warnings that are shown.
docs: $(VENV)/.installed-test  ## make the documentation in site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebook: $(VENV)/.installed-test  ## write the tour as tour.ipynb, without outputs
	$(BIN)/python -m jupytext --to notebook --output tour.ipynb docs/explanation/tour.md

format: $(VENV)/.installed-test  ## rewrite the files in the style that lint checks
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: $(VENV)/.installed-test  ## make the sdist and the wheel in dist/
	$(BIN)/python -m build --no-isolation

# One file for every supported Python. The pins that are there stay; ARGS=--upgrade takes today's versions, but torch is chosen here.
# CUDA packages are left out: each build of torch names its own. setuptools builds antlr4, which hydra-core needs, from its sdist.
lock: $(VENV)/.installed-test  ## add the missing pins to constraints.txt; ARGS=--upgrade renews them all
	$(INSTALL) uv
	printf '%s\n' torch==2.13.0 setuptools uv | $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.10 \
	    --all-extras --no-annotate --custom-compile-command 'make lock' --output-file constraints.txt $(ARGS) pyproject.toml -
	sed -i.bak -E '/^(cuda|nvidia|triton)/d' constraints.txt && rm constraints.txt.bak

clean:  ## remove .venv and what the tools left
	rm -rf $(VENV) dist site tour.ipynb .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Debian's Python lacks ensurepip unless python3-venv is installed: the second line then uses the pip that is there.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.10 is needed: make PYTHON=python3.x" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(BIN)/python install pip; }
	@touch $@

# torch alone and without dependencies: its index does not hold our pins of them; the next lines add them.
$(VENV)/.installed: $(VENV)/.created pyproject.toml $(CONSTRAINTS)
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) --no-deps torch)
	$(INSTALL) hatchling setuptools
	$(INSTALL) --no-build-isolation $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(INSTALL) --no-build-isolation -e '.[test,docs]'
	@touch $@
