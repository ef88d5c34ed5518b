# Everything the project needs is set up by these targets; state and data lie under REMEDY_HOME.
SHELL := /bin/bash
export REMEDY_HOME ?= $(CURDIR)/.remedy
export UV_CACHE_DIR ?= $(REMEDY_HOME)/cache/uv
export UV_PROJECT_ENVIRONMENT ?= $(CURDIR)/.venv
export UV_COMPILE_BYTECODE = 1
export DO_NOT_TRACK = 1
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
UV := $(shell command -v uv || echo $(REMEDY_HOME)/uv/bin/uv)
READY := $(UV_PROJECT_ENVIRONMENT)/.ready
RUN := $(UV) run --no-sync

WORKERS := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test thorough versions check bench faults up down docs pictures lock clean
help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(UV):
	$(PYTHON) -m venv $(REMEDY_HOME)/uv
	$(REMEDY_HOME)/uv/bin/pip install --quiet --no-cache-dir uv

$(READY): pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --quiet
	@touch $(READY)

demo: $(READY) ## Break the sandbox's database under load, restore it, prove it (APPROVE=ui to approve by hand)
	$(RUN) python -m deployments.demo --approve=$(or $(APPROVE),auto)

test: $(READY) ## Run the tests against real components; of those that take long one in three
	$(RUN) pytest $(or $(ARGS),--sample $(WORKERS))

thorough: $(READY) ## Run every test (two hours); writes tests/costly.json
	$(RUN) pytest --write-seconds $(WORKERS)

versions: $(READY) ## Run the database's tests on another PostgreSQL (ARGS="13 14 16 18")
	$(RUN) python -m tests.versions $(ARGS)

check: $(READY) ## Lint, types, import contracts, docs
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python -m deployments.docs --check

pictures: $(READY) ## Take the pictures of the docs in a real browser
	$(RUN) python -m tests.e2e.pictures

docs: $(READY) ## Write the pages that are generated from the code
	$(RUN) python -m deployments.docs

bench: $(READY) ## Measure ours beside the guide's own commands
	$(RUN) python -m tests.bench $(ARGS)

faults: $(READY) ## Kill every remediation at every boundary (hours); writes docs/reliability.md
	$(RUN) python -m tests.faults $(ARGS)

up: $(READY) ## Start Prefect, the worker and the sandbox
	$(RUN) remedy up

down: $(READY) ## Stop what `up` started; data is kept
	$(RUN) remedy down

lock: | $(UV)
	$(UV) lock

clean: down ## Remove the environment; data under REMEDY_HOME stays
	rm -rf $(UV_PROJECT_ENVIRONMENT)
