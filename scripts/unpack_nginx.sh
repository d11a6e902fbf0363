#!/bin/sh
# Unpack another Debian release's nginx, with all that it needs to run here, for MESHWARD_TEST_NGINX. Installs nothing.
# usage: unpack_nginx.sh SUITE DIR        e.g. unpack_nginx.sh trixie /tmp/trixie
set -eu
suite=$1 tree=$2
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/sources.d" "$tree"
: > "$apt/status"

# The sources of this machine, of that release.
. /etc/os-release
for list in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
  [ ! -f "$list" ] || sed "s/$VERSION_CODENAME/$suite/g" "$list" > "$apt/sources.d/debian.${list##*.}"
done
cat > "$apt/apt.conf" <<END
Dir::Etc::sourcelist "-"; Dir::Etc::sourceparts "$apt/sources.d";
Dir::State "$apt"; Dir::State::lists "$apt/lists"; Dir::State::status "$apt/status"; Dir::Cache "$apt";
APT::Sandbox::User "root"; APT::Update::Post-Invoke-Success "";
END
export APT_CONFIG="$apt/apt.conf"
apt-get update -qq
cd "$apt/archives"
apt-get download -qq nginx libnginx-mod-http-lua libnginx-mod-http-ndk lua-resty-core lua-resty-lrucache \
  libluajit-5.1-2 libluajit-5.1-common libc6 libssl3t64 libpcre2-8-0 zlib1g libzstd1 libgcc-s1 libcrypt1
for package in *.deb; do dpkg-deb -x "$package" "$tree"; done
