# What a user of the workbench runs. Needs git, make, and Python 3.11 or newer with venv.

PYTHON ?= python3
# Options for pip, e.g. PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA.
PIP_ARGS ?=
RECIPE ?= recipes/demo.yaml
# Label Studio does not run on every Python; where it listens.
STUDIO_PYTHON ?= $(PYTHON)
PORT ?= 8080

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
STUDIO := .label-studio/venv

.DEFAULT_GOAL := help
.PHONY: help install demo voices audit label-studio label-studio-install test test-real lint format lock clean

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

voices: $(READY) ## the network that prepare.voices compares voices with (17 MB; the package around it is not run)
	$(RUN) -m pip install --quiet --no-deps resemblyzer==0.1.4

audit: $(READY) .audit/.ready ## known vulnerabilities in the pinned packages; asks PyPI, so it needs a network
	$(RUN) -m evaluate.audit

.audit/.ready:
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet pip-audit==2.10.1
	touch $@

label-studio: $(STUDIO)/.ready ## Label Studio on this machine, in its own environment; PORT=8080
	$(PYTHON) -m collect.label.studio --port $(PORT)

label-studio-install: $(STUDIO)/.ready ## that environment alone (1 GB)

$(STUDIO)/.ready: collect/label/studio.lock
	$(STUDIO_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "Label Studio needs Python 3.10 to 3.13; name one: STUDIO_PYTHON=python3.13")'
	$(STUDIO_PYTHON) -m venv $(STUDIO)
	$(STUDIO)/bin/python -m pip install --quiet -r collect/label/studio.lock
	touch $@

test: $(READY) ## the test suite, without the slow tests; models so small are fastest on one core
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(RUN) -m pytest $(PYTEST_ARGS)

test-real: $(READY) ## the slow tests, and those on real recordings and weights
	HF_HUB_OFFLINE=1 $(RUN) -m pytest -m 'slow or real' $(PYTEST_ARGS)

lint: $(READY) ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(READY) ## put the code in order
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

lock: ## make requirements.lock from pyproject.toml; LOCK_ARGS=--upgrade takes newer releases
	$(RUN) -m piptools compile --extra dev --strip-extras --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links --no-annotate --no-header --quiet $(LOCK_ARGS) \
		--output-file requirements.lock pyproject.toml
	@# The release, whichever build of it a machine takes; and what Python 3.13 and 3.14 need beside or instead.
	sed -i '1i # Made by `make lock` with Python 3.11. Installed by `make install`.' requirements.lock
	sed -i 's/+cpu$$//; /^# The following/,$$d; s/^\(numpy\|opencv-python-headless\)==.*/& ; python_version < "3.14"/' requirements.lock
	printf '%s ; python_version >= "%s"\n' numpy==2.4.6 3.14 standard-aifc==3.13.0 3.13 standard-chunk==3.13.0 3.13 \
		standard-sunau==3.13.0 3.13 audioop-lts==0.2.2 3.13 >> requirements.lock

clean: ## remove the environment, caches and everything the stages made
	rm -rf $(VENV) .audit work .mypy_cache .ruff_cache .pytest_cache .hypothesis
