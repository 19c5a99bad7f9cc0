# What a user of the workbench runs. Needs git, make, and Python 3.11 or newer with venv.

PYTHON ?= python3
# Options for pip, e.g. PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA.
PIP_ARGS ?=
RECIPE ?= recipes/demo.yaml

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo test test-real lint format lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

install: $(READY) ## the virtual environment with all pinned packages

$(READY): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --no-deps $(PIP_ARGS) $$(grep -E '^torch==' requirements.lock)
	$(RUN) -m pip install --quiet $(PIP_ARGS) -r requirements.lock
	touch $@

demo: $(READY) ## the sample corpus through all four stages, without a network
	HF_HUB_OFFLINE=1 $(RUN) -m collect.ingest $(RECIPE)
	HF_HUB_OFFLINE=1 $(RUN) -m prepare $(RECIPE)
	HF_HUB_OFFLINE=1 $(RUN) -m train $(RECIPE)
	HF_HUB_OFFLINE=1 $(RUN) -m evaluate $(RECIPE)

test: $(READY) ## the test suite, without the slow tests
	HF_HUB_OFFLINE=1 $(RUN) -m pytest $(PYTEST_ARGS)

test-real: $(READY) ## the slow tests, and those on real recordings and weights
	HF_HUB_OFFLINE=1 $(RUN) -m pytest -m 'slow or real' $(PYTEST_ARGS)

lint: $(READY) ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(READY) ## put the code in order
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

lock: ## make requirements.lock anew from pyproject.toml
	$(RUN) -m piptools compile --extra dev --strip-extras --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links --no-annotate --quiet --output-file requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements.lock # the release, whichever build of it a machine takes

clean: ## remove the environment, caches and everything the stages made
	rm -rf $(VENV) work .mypy_cache .ruff_cache .pytest_cache .hypothesis
