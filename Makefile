# The commands worth remembering. Each makes .venv from the locked requirements when it is missing.
PYTHON ?= python3
# The CUDA build where there is an NVIDIA driver, the plain one elsewhere.
REQUIREMENTS ?= requirements/$(if $(shell command -v nvidia-smi),gpu,dev).txt
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

WORKERS := --numprocesses auto --dist loadfile --no-loadscope-reorder  # tests/conftest.py puts the longest first

.DEFAULT_GOAL := help
.PHONY: help repro test test-fast check bench bench-train bench-samples bench-score bench-posters bench-cluster presets lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: .venv/installed ## Run every DVC stage whose inputs changed
	$(BIN)/dvc repro

test: .venv/installed ## Run the tests
	$(BIN)/pytest $(WORKERS)

test-fast: .venv/installed ## Run the tests that need no training, no browser and no DVC
	$(BIN)/pytest $(WORKERS) -q --fast

check: .venv/installed ## Format, lint, types, import directions, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry --no-ansi .
	$(BIN)/python -m tests.exploring.check_site
	$(BIN)/pytest -q tests/test_house.py

bench: .venv/installed ## Measure what the README states
	$(BIN)/python -m benchmarks

bench-train: .venv/installed ## Measure training beside plain Keras
	$(BIN)/python -m benchmarks.training

bench-samples: .venv/installed ## Measure the digits of exports/ beside real, blurred, one-sided and copied ones
	$(BIN)/python -m benchmarks.samples

bench-score: .venv/installed ## Measure how well scorers of two presets and two data sets tell strange images
	$(BIN)/python -m benchmarks.scores

bench-posters: .venv/installed ## Measure large images beside the matrix rate and the bare session, and their memory
	$(BIN)/python -m benchmarks.posters

bench-cluster: .venv/installed ## Measure Ray and S3 beside the local engine, and the model of docs/scale.md
	$(BIN)/python -m benchmarks.cluster
	$(BIN)/python -m benchmarks.driver
	$(BIN)/python -m benchmarks.scale --check

presets: .venv/installed ## Run every preset, expected beside measured figures
	$(BIN)/python -m benchmarks.presets

preset-%: .venv/installed ## Run one preset: classic, plane, compact, likelihood
	$(BIN)/python -m benchmarks.presets $*

# Compiled at install: importing TensorFlow from source takes 10 s more wherever PYTHONDONTWRITEBYTECODE is set.
.venv/locked: $(REQUIREMENTS) requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --compile --require-hashes -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --compile --require-hashes --no-build-isolation -r $(REQUIREMENTS)
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q -x snippets pipeline
	@$(BIN)/python -m tests.exploring.check_site --install
	@touch $@

# uv resolves for every supported platform and Python at once; it is needed only here.
UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header --no-annotate
lock: ## Renew requirements/ (needs uv)
	$(UV_COMPILE) pyproject.toml --extra dev -o requirements/dev.txt
	$(UV_COMPILE) pyproject.toml --extra dev --extra gpu -c requirements/dev.txt -o requirements/gpu.txt
	echo setuptools | $(UV_COMPILE) - -c requirements/dev.txt -o requirements/build.txt
