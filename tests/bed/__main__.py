# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the test bed: python -m tests.bed --help"""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from . import images
from .demo import demo
from .hosts import Bed, beds, drop_images
from .paths import CACHE, SSH_KEY
from .shell import CommandFailed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bed", description="Hosts for tests: containers with systemd, sshd and an own Docker engine.")
    commands = parser.add_subparsers(dest="command", required=True)
    build_images = commands.add_parser("images", help="build every image and the model server into the cache")
    build_images.add_argument("--load", action="store_true", help="also have the sandbox images in this machine's engine, under all their names")
    build_images.set_defaults(run=build)
    whole = commands.add_parser("demo", help="images, three hosts, onboarding, and once more; further arguments go to ansible-playbook")
    whole.add_argument("arguments", nargs=argparse.REMAINDER)
    whole.set_defaults(run=lambda options: demo(options.arguments))
    commands.add_parser("clean", help="remove every bed and the whole cache").set_defaults(run=clean)
    up = commands.add_parser("up", help="have N hosts running and ready")
    up.add_argument("--hosts", type=int, default=3, metavar="N", help="how many hosts, h1 to hN (default 3)")
    up.add_argument("--bare", action="store_true", help="load no sandbox images into the hosts")
    down = commands.add_parser("down", help="remove a bed: containers, volumes, network, and the host images when no other bed is left")
    down.add_argument("--keep-images", action="store_true", help="leave the host images; others may be about to start from them")
    status = commands.add_parser("status", help="list the hosts of a bed, or all beds")
    reboot = commands.add_parser("reboot", help="restart one host")
    ssh = commands.add_parser("ssh", help="log in to one host, or run a command there")
    gpus = commands.add_parser("gpus", help="give one host an nvidia-smi that answers as recorded, and an nvidia-ctk")
    for command in (up, down, status, reboot, ssh, gpus):
        command.add_argument("--name", default="demo", help="name of the bed (default demo)")
    for command in (reboot, ssh, gpus):
        command.add_argument("host", help="h1, h2 …")
    gpus.add_argument("--driver", default="", help="version of the driver, instead of the recorded one")
    ssh.add_argument("words", nargs=argparse.REMAINDER, help="command (default: a login shell)")
    for command, function in ((up, start), (down, remove), (status, show), (reboot, restart), (ssh, login), (gpus, furnish)):
        command.set_defaults(run=function)
    options = parser.parse_args()
    try:
        return options.run(options) or 0
    except CommandFailed as error:
        print(f"tests.bed: {error}", file=sys.stderr)
        return 1


def of_name(options) -> Bed:
    """The bed with as many hosts as it has now."""
    return Bed(options.name, max((int(row["name"][1:]) for row in Bed(options.name).status()), default=3))


def report(text: str) -> None:
    print(text, flush=True)


def build(options) -> None:
    images.ensure_all(report)
    for recipe in images.SANDBOX_IMAGES if options.load else ():
        images.load(recipe)


def clean(options) -> None:
    for name in beds():
        Bed(name).down()
    drop_images()
    shutil.rmtree(CACHE)


def start(options) -> None:
    Bed(options.name, options.hosts).up(report, load=() if options.bare else images.SANDBOX_IMAGES)


def remove(options) -> None:
    Bed(options.name).down()
    if not options.keep_images:
        drop_images()


def show(options) -> None:
    for name in beds():
        for row in Bed(name).status():
            print(f"{name:10} {row['name']:4} {row['address']:15} {row['state']:9} {row['image']}")


def restart(options) -> None:
    print(f"{options.host} is up again after {of_name(options)[options.host].reboot():.1f} s")


def furnish(options) -> None:
    of_name(options)[options.host].install_gpus(driver=options.driver)


def login(options) -> None:
    address = of_name(options)[options.host].address
    quiet = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
    sys.stdout.flush()
    os.execvp("ssh", ["ssh", "-i", str(SSH_KEY), *quiet, f"ops@{address}", *options.words])


if __name__ == "__main__":
    sys.exit(main())
