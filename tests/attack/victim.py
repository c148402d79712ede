"""A sidecar in miniature, attacked by its own worker: prints what succeeded as one JSON object.

Run it as the user and in the sandbox that are to be tried: ``python victim.py FOLDER [--without FEATURE ...]``. FOLDER,
which the user can write to, is filled. ``--without`` stands for a kernel that lacks Landlock, seccomp or user
namespaces; ``--without confinement`` leaves the worker as it starts, to show that the attempts are good ones.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import socket
import sys
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from PIL import Image

from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.confinement import hide_memory
from imgtag.workers.pool import WorkerPool

HERE = Path(__file__).resolve().parent
SECRET = "dont-tell-4b1d7f"
LIMITS = PictureLimits(pixels=10**6, frames=1, memory=64 << 20, seconds=60)
LAUNCHER = """\
#!{python} -I
import runpy, sys
sys.path = [{here!r}, *{path!r}]
from deny import deny
del sys.path[0]
deny({without!r})
sys.argv = sys.argv[3:]
runpy.run_module("imgtag.workers.child", run_name="__main__", alter_sys=True)
"""


def picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def prepare(folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Everything that an attacker may aim at; what is opened stays open with ``stack``."""
    folder.mkdir(exist_ok=True)
    secret_file = folder / "secret_key"
    secret_file.write_text(SECRET)
    secret_file.chmod(0o600)
    for name in ("existing", "spare"):
        (folder / name).write_text("index")
    (folder / "empty").mkdir()
    descriptor = stack.enter_context(secret_file.open()).fileno()
    unix_path, abstract = folder / "socket", f"imgtag-attack-{os.getpid()}"
    tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    for address in (str(unix_path), "\0" + abstract):
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(address)
        server.listen()
    return {
        "parent": os.getpid(),
        "secret": SECRET,
        "secret_file": str(secret_file),
        "descriptor": descriptor,
        "folder": str(folder),
        "tcp_port": tcp.getsockname()[1],
        "udp_port": udp.getsockname()[1],
        "unix_path": str(unix_path),
        "abstract": abstract,
    }


def write_launcher(launcher: Path, without: list[str]) -> Path:
    """An interpreter for workers with the modules of this process, however it found them, and without some features."""
    path = [part for part in sys.path if Path(part).resolve() != HERE]
    launcher.write_text(LAUNCHER.format(python=sys.executable, here=str(HERE), path=path, without=without))
    launcher.chmod(0o755)
    return launcher


async def attack(targets: dict[str, Any]) -> dict[str, Any]:
    """What the kernel granted, and which attempts succeeded."""
    sibling = ModelSpec(entry="imgtag.testing.classifier:SPEC")
    async with WorkerPool([sibling], 1) as other:
        settings = {"targets": json.dumps({**targets, "sibling": other.pids[0]})}
        async with WorkerPool([ModelSpec(entry=f"{HERE / 'attacker.py'}:SPEC", settings=settings)], 1) as pool:
            inference = await pool.classify(picture(), LIMITS, all_probabilities=True)
            results = np.frombuffer(inference.all_probabilities, np.float32).tolist()
            return {
                "granted": sorted(pool.confinement),
                "attempts": {label: bool(value) for label, value in zip(pool.info.labels, results, strict=True)},
            }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without", nargs="*", default=[])
    options = parser.parse_args()
    if os.environ.get("IMGTAG_SECRET") != SECRET:
        # The kernel shows the environment that a process was started with.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "IMGTAG_SECRET": SECRET})
    with ExitStack() as stack:
        targets = prepare(options.folder, stack)
        buffer = ctypes.create_string_buffer(SECRET.encode())
        targets["address"] = ctypes.addressof(buffer)
        if options.without or "PYTHONPATH" in os.environ:
            sys.executable = str(write_launcher(options.folder / "python", options.without))
        if "confinement" not in options.without:
            hide_memory()
        sys.stdout.write(json.dumps(anyio.run(attack, targets)) + "\n")


if __name__ == "__main__":
    main()
