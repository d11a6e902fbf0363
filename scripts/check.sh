#!/bin/sh
# Everything that needs no running system: formatting, lint, types, layers.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/ruff format --check --quiet .
.venv/bin/ruff check --quiet .
.venv/bin/mypy
# Not through a pipe, which would hide that it failed.
layers=$(.venv/bin/lint-imports --no-cache 2>&1) || { printf '%s\n' "$layers"; exit 1; }
printf '%s\n' "$layers" | tail -n 2
# A folder of Lua without luacheck is an error, not a pass. (The folder comes with the edge's program.)
lua=src/meshward/targets/nginx/lua
[ ! -d "$lua" ] || luacheck --quiet "$lua"
