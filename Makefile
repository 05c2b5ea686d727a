# What a developer types. The environment is made by path.sh on first use.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help test quick-test test-cluster lint bench demo requirements clean

env := source ./path.sh
dev := $(env) && local/setup_env.sh requirements-dev.txt
shell_files = run.sh path.sh cmd.sh .ci/run $(wildcard local/*.sh egs/*/*/*.sh tests/cluster/*.sh)

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

test:  ## everything the tests need, and the tests
	@$(dev) && python -m pytest -q

quick-test:  ## the tests that take seconds
	@$(dev) && python -m pytest -q -m "not slow"

test-cluster:  ## a real Slurm and a real GridEngine, installed (Debian, root or sudo) and tried
	@$(dev) && tests/cluster/run.sh

lint:  ## ruff, mypy on espnet_local, shellcheck
	@$(dev) && ruff check . && ruff format --check . && python -m mypy && shellcheck -x $(shell_files)

bench:  ## what streaming costs, against the ways to do without; some two minutes
	@$(env) && python -m benchmarks.streaming

demo:  ## from nothing to a WER table
	@./run.sh

# One version a package for all of Python 3.10-3.12, so that every machine gets the same. Left out
# is pyworld: it needs Python's headers to build, and only ESPnet's speech synthesis uses it.
compile := uv pip compile --quiet --universal --python-version 3.10 --fork-strategy fewest \
	--no-header --no-annotate
wanted := grep -vE "^pyworld==|python_full_version >= '3.13'|sys_platform == '(win32|emscripten)'"

requirements:  ## pins the newest versions that pyproject.toml allows
	@$(env) && $(compile) pyproject.toml | $(wanted) > requirements.new
	@$(env) && $(compile) --extra dev --constraint requirements.new pyproject.toml \
		| $(wanted) | grep -vxFf requirements.new > requirements-dev.new
	@mv requirements.new requirements.txt
	@mv requirements-dev.new requirements-dev.txt

clean:  ## caches of the tools; never data, models or the environment
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	@find espnet_local local tests -name __pycache__ -type d -prune -exec rm -rf {} +
