#!/bin/sh
# Run tests in one of the three ways in which an instance can be started (docs/testing.md), on a copy of this checkout.
# usage: ways.sh own|root|user [ARGUMENTS of pytest]
#   own   as root, with a Python that other users reach: each part is a user of its own
#   root  as root, with one that nobody else reaches: Python parts are root's (--allow-root-parts)
#   user  as an ordinary user: all parts are that user
# Who is not root may only ask for `user`, which then runs in place. The copy stays, for the next time.
set -eu
cd "$(dirname "$0")/.."
way=${1:-}
case $way in own | root | user) shift ;; *) sed -n 's/^# //p' "$0" >&2; exit 2 ;; esac
[ $# -gt 0 ] || set -- tests/hostile tests/hardening tests/fault

if [ "$(id -u)" -ne 0 ]; then
  [ "$way" = user ] || { echo "ways: \`$way\` needs root" >&2; exit 2; }
  exec .venv/bin/python -m pytest --way user "$@"
fi

copy=${MESHWARD_WAYS:-/var/tmp/meshward-ways}
somebody=54321 # a number that no passwd knows: an ordinary user without a name
mkdir -p "$copy"
exec 9<"$copy" && flock 9 # one run at a time: each makes the copy anew
chown 0:0 "$copy" && chmod 755 "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh |
  tar --null --no-recursion -T - -cf - | tar --no-same-owner -xf - -C "$copy"
chown -R 0:0 "$copy"
chmod -R go+rX "$copy"
sh "$copy/scripts/setup.sh" --dev
cd "$copy"
case $way in
  own) exec .venv/bin/python -m pytest --way own -p no:cacheprovider "$@" ;;
  root) chmod 700 "$copy" && exec .venv/bin/python -m pytest --way root -p no:cacheprovider "$@" ;;
  user)
    chown -R "$somebody:$somebody" "$copy"
    exec setpriv --reuid "$somebody" --regid "$somebody" --clear-groups --inh-caps=-all env HOME="$copy" \
      .venv/bin/python -m pytest --way user -p no:cacheprovider "$@"
    ;;
esac
