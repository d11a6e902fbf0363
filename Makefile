# Two commands do everything: `make demo` sets up and runs the whole system; `make test` sets up and passes the tests.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-mesh unit check bench docs mutate lock clean
PYTHON := .venv/bin/python
ARGS :=
# The test data that is not ours to ship; tests that need it are named as not run where this is unset.
export MESHWARD_TEST_DATA

help:            ## what there is
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 18

setup:           ## make the environment in .venv (installs nginx and its Lua module if they are missing); starts nothing
	@sh scripts/setup.sh

# The newcomer's checkout may lie below /root, where no other user reaches it: then it starts all the same, and says so.
demo: setup      ## run everything on this machine, with a real model and a demo identity provider (ARGS=--tour: show it)
	@$(PYTHON) -m meshward up --demo --allow-root-parts $(ARGS)

test: setup      ## lint, types, layers, then every test
	@sh scripts/setup.sh --dev
	@sh scripts/check.sh
	$(PYTHON) -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations 20 --require nginx,envoy $(ARGS)

test-mesh: setup ## the same decisions under a real istiod and a real API server (builds them once: Go 1.26, a quarter of an hour)
	@sh scripts/setup.sh --dev
	@sh scripts/mesh.sh $(ARGS)

check: setup     ## lint, types and layers only
	@sh scripts/setup.sh --dev
	@sh scripts/check.sh

bench: setup     ## measure what identity costs; writes bench/RESULTS.md, in about half an hour (ARGS="path --rounds 3": less)
	@sh scripts/setup.sh --dev
	$(PYTHON) -m bench $(ARGS)

docs: setup      ## remake the generated files (policy reference, schemas, what enforces what, error codes, conformance suite)
	$(PYTHON) scripts/reference.py
	$(PYTHON) scripts/codes.py
	$(PYTHON) -m tests.conformance.suite

mutate: setup    ## change the definition in one place at a time; a directed test must notice each (writes its table in docs/testing.md)
	$(PYTHON) scripts/mutate.py --write

lock:            ## remake requirements/*.txt from requirements/*.in
	sh scripts/lock.sh

clean:           ## remove the environment and caches (not .meshward)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
