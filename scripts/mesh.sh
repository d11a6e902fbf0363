#!/bin/sh
# Run tests against a real control plane: build its programs once, then pytest in a network namespace of its own.
# usage: mesh.sh [PYTEST ARGUMENT...]        (of all of tests/mesh, unless the first one names something)
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
$python -m tests.mesh.programs
case "${1:-}" in "" | -*) set -- tests/mesh "$@" ;; esac
# In namespaces of its own nothing of it outlives it and no port of it is another's, whatever becomes of pytest.
map=""
[ "$(id -u)" -eq 0 ] || map="--map-root-user"
# The shell is what becomes the first process there: it takes the orphans, which Python would not.
# shellcheck disable=SC2086  # $map is empty or one word
exec unshare $map --net --pid --fork --kill-child --mount-proc \
  sh -c 'MESHWARD_MESH_NETWORK=own "$@"; exit $?' sh $python -m pytest -n 0 "$@"
