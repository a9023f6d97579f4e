#!/bin/sh
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap customize hook: adds Node and OpenClaw to the sandbox base in $1. Both come through this machine's own npm configuration, none of
# which stays behind. Landlock hides /opt from an agent, so everything lies under /usr/local.
set -eu
sh "$(dirname "$0")/sandbox.sh" "$1"
prefix=$1/usr/local
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) echo "no Node build for $(uname -m)" >&2; exit 1 ;; esac
install_quietly() { npm install --global --ignore-scripts --no-audit --no-fund --loglevel=error --cache "$stage/cache" --prefix "$@"; }

install_quietly "$stage/node" "node-linux-$arch@$NODE_VERSION"
install -m 0755 "$stage/node/lib/node_modules/node-linux-$arch/bin/node" "$prefix/bin/node"
PATH=$prefix/bin:$PATH install_quietly "$prefix" "openclaw@$OPENCLAW_VERSION"

# What only a developer reads: a third of the size. OpenClaw's own docs hold the templates of a new workspace and stay.
cd "$prefix/lib/node_modules/openclaw"
find . -name '*.map' -delete
find node_modules -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -iname '*.md' -o -name .package-lock.json \) -delete

chroot "$1" /usr/local/bin/openclaw --version
