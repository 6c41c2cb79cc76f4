# The project's commands; `make` alone lists them. All but `gpu-check` set up .venv first, when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fast lint types bench gpu-check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY) ## set up .venv (PYTHON=python3.12 chooses another Python, 3.11 to 3.13)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "$(PYTHON) is not Python 3.11 to 3.13; name one, as in: make venv PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## the whole story on small rendered videos, without internet
	$(BIN)/python -m workflows demo

# Hundreds of processes import the project: what Python compiles of it is kept, whatever the environment says.
demo test test-fast: export PYTHONDONTWRITEBYTECODE =

# Most of the time goes into waiting for clusters and encoders, so that three processes, each with tests of
# other files, keep two cores busy.
test: $(READY) ## all tests
	$(BIN)/python -m pytest -q --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 40

test-fast: $(READY) ## the tests that start no cluster and train nothing
	$(BIN)/python -m pytest -q -m 'not slow'

lint: $(READY) ## ruff: rules and format; shellcheck and hadolint, where these have wheels
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(if $(wildcard $(BIN)/shellcheck),$(BIN)/shellcheck docker/slurm.sh .ci/run,@echo "shellcheck is not installed: skipped")
	$(if $(wildcard $(BIN)/hadolint),$(BIN)/hadolint docker/Dockerfile,@echo "hadolint is not installed: skipped")

types: $(READY) ## mypy
	$(BIN)/mypy

bench: $(READY) ## how fast building and loading are on this machine
	$(BIN)/python -m workflows.benchmarks

# Needs torch and the package's other dependencies in whichever Python runs it, but no .venv.
gpu-check: ## flow and training on cuda, checked; says so when there is no GPU
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m workflows.benchmarks.gpu_check

clean: ## remove .venv, the demo and caches
	rm -rf $(VENV) demo build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
