#!/bin/sh
# Everything that needs no running system: formatting, lint, types, layers.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/ruff format --check --quiet .
.venv/bin/ruff check --quiet .
.venv/bin/mypy
.venv/bin/lint-imports --no-cache 2>&1 | tail -n 4
