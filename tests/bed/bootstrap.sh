#!/usr/bin/env bash
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# bootstrap.sh [COMMAND...]: makes this machine able to test the collection, then runs COMMAND in that environment.
#
# Debian 12 or later, or Ubuntu 24.04 or later; as root, or as a user with sudo. Installs what is missing and starts the Docker engine if
# none answers; what is there it leaves as it is. A call that finds everything in place takes a fraction of a second.
#
#   NEMOCLAW_CACHE      downloads, images, virtual environments (default: ~/.cache/nemoclaw-fleet)
#   OPENSHELL_BIN_DIR   directory with openshell, openshell-gateway and openshell-sandbox; otherwise those on PATH are used, then those in
#                       $NEMOCLAW_CACHE/openshell/0.0.106, then the emulator in tests/emulator/bin
#   PYTHON              Python of the virtual environment, 3.11 or newer (default: python3)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
if [ "$(id -u)" != 0 ]; then
  exec sudo --preserve-env=PATH,NEMOCLAW_CACHE,OPENSHELL_BIN_DIR,PYTHON NEMOCLAW_CACHE="${NEMOCLAW_CACHE:-$HOME/.cache/nemoclaw-fleet}" "$0" "$@"
fi
export NEMOCLAW_CACHE=${NEMOCLAW_CACHE:-$HOME/.cache/nemoclaw-fleet}
export PATH=$PATH:/usr/sbin:/sbin
python=${PYTHON:-python3}
mkdir -p "$NEMOCLAW_CACHE"

say() { echo "bootstrap: $*" >&2; }
die() { say "$*"; exit 1; }

# One bootstrap at a time; the lock ends with this process, not with the command that it becomes.
exec 9>"$NEMOCLAW_CACHE/bootstrap.lock"
flock 9

# --- packages -------------------------------------------------------------------------------------------------------------------------
install_packages() {
  say "installing $*"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::http::Pipeline-Depth=0 -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update
  "${apt[@]}" install --yes --no-install-recommends "$@" >/dev/null
}
engine_answers() { docker version >/dev/null 2>&1; }

declare -A provides=([iptables]=iptables [mmdebstrap]=mmdebstrap [shellcheck]=shellcheck [ssh]=openssh-client [rsync]=rsync [git]=git [npm]=npm
  [python3]=python3 [sysctl]=procps [curl]=curl)
missing=()
for command in "${!provides[@]}"; do
  command -v "$command" >/dev/null || missing+=("${provides[$command]}")
done
engine_answers || command -v dockerd >/dev/null || missing+=(docker.io)
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
"$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
command -v docker >/dev/null || install_packages docker-cli # a package of its own since Debian 13
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  die "$python is $("$python" --version 2>&1), ansible-core 2.19 needs Python 3.11 or newer: install one and set PYTHON"

# --- virtual environment --------------------------------------------------------------------------------------------------------------
key=$({ "$python" --version; cat "$checkout"/requirements*.txt; } | sha256sum | cut -c1-12)
venv=$NEMOCLAW_CACHE/venvs/$key
if [ ! -e "$venv/.complete" ]; then
  say "making the virtual environment $venv"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$checkout/requirements-dev.txt"
  touch "$venv/.complete"
fi

# --- the collection where Ansible looks for it -------------------------------------------------------------------------------------------
collections=$NEMOCLAW_CACHE/collections/$(printf %s "$checkout" | sha256sum | cut -c1-12)
if [ "$(readlink "$collections/ansible_collections/nemoclaw/fleet" || true)" != "$checkout" ]; then
  mkdir -p "$collections/ansible_collections/nemoclaw"
  ln -sfn "$checkout" "$collections/ansible_collections/nemoclaw/fleet"
fi

# --- the kernel -----------------------------------------------------------------------------------------------------------------------
# Every systemd needs some inotify instances: at the usual 128 the thirtieth host does not boot.
raise() { [ "$(sysctl -n "$1")" -ge "$2" ] || sysctl -qw "$1=$2" || say "cannot raise $1 to $2: a large fleet may not boot"; }
raise fs.inotify.max_user_instances 8192
raise fs.inotify.max_user_watches 1048576
if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && ! mountpoint -q /sys/fs/cgroup/systemd; then
  mkdir -p /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi

# --- the Docker engine ----------------------------------------------------------------------------------------------------------------
# A killed engine leaves its pid file. While the number is in use, by whatever program or by its own zombie (which has no executable any more),
# the next engine waits for the dead one.
drop_stale_pid_file() {
  local pid
  [ -e "$1" ] && pid=$(cat "$1") || return 0
  [ "$(basename "$(readlink "/proc/$pid/exe")")" = "$2" ] || rm -f "$1"
}
if ! engine_answers; then
  if [ -n "${DOCKER_HOST:-}" ]; then
    die "DOCKER_HOST is $DOCKER_HOST, and no engine answers there: unset it or start that engine"
  elif [ -d /run/systemd/system ]; then
    say "starting docker.service"
    systemctl start docker
  else
    say "starting dockerd (log: $NEMOCLAW_CACHE/dockerd.log)"
    drop_stale_pid_file /var/run/docker.pid dockerd
    drop_stale_pid_file /var/run/docker/containerd/containerd.pid containerd
    setsid nohup dockerd >>"$NEMOCLAW_CACHE/dockerd.log" 2>&1 </dev/null 9>&- &
  fi
  for _ in $(seq 120); do engine_answers && break; sleep 0.5; done
  engine_answers || die "the Docker engine does not answer after 60 s; the end of its log: $(tail -n 3 "$NEMOCLAW_CACHE/dockerd.log" 2>/dev/null)"
fi
exec 9>&-

# --- the environment ------------------------------------------------------------------------------------------------------------------
if [ -z "${OPENSHELL_BIN_DIR:-}" ]; then
  OPENSHELL_BIN_DIR=$checkout/tests/emulator/bin
  for directory in "$(dirname "$(command -v openshell || echo /nowhere/openshell)")" "$NEMOCLAW_CACHE/openshell/0.0.106"; do
    if [ -x "$directory/openshell" ] && [ -x "$directory/openshell-gateway" ] && [ -x "$directory/openshell-sandbox" ]; then
      OPENSHELL_BIN_DIR=$directory
      break
    fi
  done
fi
export OPENSHELL_BIN_DIR
export PATH=$venv/bin:$PATH
export ANSIBLE_COLLECTIONS_PATH=$collections ANSIBLE_CONFIG=$checkout/ansible.cfg
export PYTHONPATH=$checkout:$collections PYTHONPYCACHEPREFIX=$NEMOCLAW_CACHE/pycache
unset PYTHONDONTWRITEBYTECODE # nothing is written into the checkout, and every start of Ansible would compile all of it for 1.4 CPU-s
cd "$checkout"
[ $# -gt 0 ] || { say "ready: $0 COMMAND... runs a command with the tools of $venv"; exit 0; }
exec "$@"
