# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for `hf download`: the cache's layout, files that grow under another name, and a broken download that is gone on with.

STANDIN_BREAK ends it after so many parts of the four, unless they are there already; STANDIN_STALL has it hang there.
"""

import os
import pathlib
import sys
import time

words = sys.argv[1:]
if words[:1] != ["download"]:
    sys.exit(f"hf: {words} is not known here")
folder = pathlib.Path(os.environ["HF_HOME"], "hub", f"models--{words[1].replace('/', '--')}")
snapshot = folder / "snapshots" / words[words.index("--revision") + 1]
for directory in (folder / "blobs", snapshot):
    directory.mkdir(parents=True, exist_ok=True)
if "HF_TOKEN_PATH" in os.environ:
    print(f"token of {len(pathlib.Path(os.environ['HF_TOKEN_PATH']).read_text().strip())} characters", flush=True)
part = folder / "blobs" / "0123abcd.incomplete"
had = part.stat().st_size if part.exists() else 0
print(f"Fetching 2 files, from byte {had}", flush=True)
with part.open("ab") as stream:
    for number in range(had // 1000, 4):
        if str(number) == os.environ.get("STANDIN_STALL"):
            time.sleep(600)
        if str(number) == os.environ.get("STANDIN_BREAK") and not had:
            sys.exit("requests.exceptions.ConnectionError: Connection reset by peer")
        stream.write(b"x" * 1000)
        stream.flush()
        time.sleep(0.2)
blob = folder / "blobs" / "0123abcd"
part.rename(blob)
(snapshot / "config.json").write_text("{}")
if not (snapshot / "model.safetensors").exists():
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{blob.name}")
print(snapshot, flush=True)
