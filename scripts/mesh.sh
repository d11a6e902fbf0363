#!/bin/sh
# Run tests against a real control plane: build its programs once, then pytest in a network namespace of its own.
# usage: mesh.sh [PYTEST ARGUMENT...]        (of all of tests/mesh, unless the first one names something)
#        mesh.sh -- COMMAND [ARGUMENT...]    (another command there)
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
$python -m tests.mesh.programs
case "${1:-}" in
  --) shift ;;
  "" | -*) set -- $python -m pytest -n 0 tests/mesh "$@" ;;
  *) set -- $python -m pytest -n 0 "$@" ;;
esac
# In namespaces of its own nothing of it outlives it and no port of it is another's, whatever becomes of the command.
map="" plain=""
if [ "$(id -u)" -ne 0 ]; then
  map="--map-current-user --keep-caps" plain="setpriv --ambient-caps -all --inh-caps -all"
fi
# The shell is what becomes the first process there: it takes the orphans, which Python would not.
# shellcheck disable=SC2086  # words, or none
exec unshare $map --net --pid --fork --kill-child --mount-proc sh -c '
  "$1" -m tests.mesh.network && plain=$2 && shift 2 && MESHWARD_MESH_NETWORK=own $plain "$@"
  exit $?' sh "$python" "$plain" "$@"
