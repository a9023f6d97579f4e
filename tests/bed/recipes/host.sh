#!/bin/sh
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap customize hook: makes the tree in $1 a host that boots in a container, with a login, Docker and a model server.
set -eu
root=$1
units=$root/etc/systemd/system

# This machine's own certificate authorities and pip configuration: what is fetched inside a host takes the same way out.
mkdir -p "$root/usr/local/share/ca-certificates"
find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$root/usr/local/share/ca-certificates/" \;
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/"; fi
chroot "$root" update-ca-certificates >/dev/null

chroot "$root" useradd --create-home --shell /bin/bash ops
echo 'ops ALL=(ALL) NOPASSWD:ALL' > "$root/etc/sudoers.d/ops"
cat > "$root/etc/ssh/sshd_config.d/bed.conf" <<'C'
AuthorizedKeysFile /etc/ssh/bed_authorized_keys .ssh/authorized_keys
UseDNS no
MaxStartups 200:30:400
MaxSessions 100
PrintMotd no
C
sed -i '/pam_motd/d;/pam_mail/d' "$root/etc/pam.d/sshd"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
: > "$root/etc/machine-id"
mkdir -p "$units/ssh.service.d"
cat > "$units/ssh.service.d/host-keys.conf" <<'C'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
C

chroot "$root" useradd --system --no-create-home --shell /usr/sbin/nologin llama
mkdir -p "$root/etc/llama-server"
echo 'sk-bed-tiny-agent' > "$root/etc/llama-server/api-key"
chroot "$root" chown root:llama /etc/llama-server/api-key
chmod 0640 "$root/etc/llama-server/api-key"
cat > "$units/llama-server.service" <<'C'
[Unit]
Description=Model server of the test bed
[Service]
User=llama
ExecStart=/opt/tiny-agent/llama-server --model /opt/tiny-agent/tiny-agent.gguf --alias tiny-agent --chat-template-file /opt/tiny-agent/last-user.jinja \
  --host 0.0.0.0 --port 8102 --api-key-file /etc/llama-server/api-key --ctx-size 65536 --predict 256 --parallel 1 --threads 1 --temp 0
Restart=always
[Install]
WantedBy=multi-user.target
C

cp "$(dirname "$0")/bed-ready" "$root/usr/local/sbin/bed-ready"
chroot "$root" systemctl --quiet enable ssh docker llama-server
# What needs hardware, a console or an own kernel.
chroot "$root" systemctl --quiet mask systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
  getty.target console-getty.service systemd-modules-load.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount \
  dev-mqueue.mount sys-fs-fuse-connections.mount systemd-remount-fs.service systemd-networkd-wait-online.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
chroot "$root" systemctl --quiet set-default multi-user.target
