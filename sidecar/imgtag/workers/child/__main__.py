"""Started as ``python -I -m imgtag.workers.child FD PARENT`` with an environment built from nothing."""

from __future__ import annotations

import socket
import sys

from imgtag.workers.child.channel import Channel
from imgtag.workers.child.confinement import confine
from imgtag.workers.child.serve import serve


def main(descriptor: int, parent: int) -> None:
    channel = Channel(socket.socket(fileno=descriptor))
    confine(parent)
    serve(channel)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("This is the entry point of worker processes; the sidecar starts them.")
    main(int(sys.argv[1]), int(sys.argv[2]))
