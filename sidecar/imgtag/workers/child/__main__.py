"""Started as ``python -I -m imgtag.workers.child FD PARENT`` with an environment built from nothing."""

from __future__ import annotations

import gc
import socket
import sys

# For `serve`: what it takes long to import and starts no thread is imported while the sidecar may still be busy.
from PIL import AvifImagePlugin, JpegImagePlugin, TiffImagePlugin  # noqa: F401

from imgtag import plugin_loader  # noqa: F401
from imgtag.plugin import classifier  # noqa: F401
from imgtag.workers.child import avif, camera_raw, describe, directories, heif  # noqa: F401
from imgtag.workers.child.channel import Channel
from imgtag.workers.child.confinement import confine


def main(descriptor: int, parent: int) -> None:
    channel = Channel(socket.socket(fileno=descriptor))
    gc.freeze()  # what is imported stays: no need to look through it for garbage
    terms = channel.receive()
    if terms is None:  # there is nothing to do after all
        return
    channel.send({"confinement": confine(parent, terms[0]["readable"])})
    # Only now: NumPy and what comes with it may start threads, which Landlock would not reach.
    from imgtag.workers.child.serve import serve  # noqa: PLC0415

    serve(channel)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("This is the entry point of worker processes; the sidecar starts them.")
    main(int(sys.argv[1]), int(sys.argv[2]))
