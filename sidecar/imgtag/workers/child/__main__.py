"""Started as ``python -I -m imgtag.workers.child FD PARENT [READABLE ...]`` with an environment built from nothing."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from imgtag.workers.child.channel import Channel
from imgtag.workers.child.confinement import confine


def main(descriptor: int, parent: int, readable: Sequence[str]) -> None:
    channel = Channel(socket.socket(fileno=descriptor))
    channel.send({"confinement": confine(parent, readable)})
    # Only now: NumPy and what comes with it may start threads, which Landlock would not reach.
    from imgtag.workers.child.serve import serve  # noqa: PLC0415

    serve(channel)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("This is the entry point of worker processes; the sidecar starts them.")
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
