"""Started as ``python -I -m imgtag.workers.child FD PARENT`` with an environment built from nothing."""

from __future__ import annotations

import socket
import sys

from imgtag.errors import ImgtagError
from imgtag.workers.child.channel import Channel
from imgtag.workers.child.confinement import confine, limit_memory
from imgtag.workers.child.serve import build, hello, refusal, serve


def main(descriptor: int, parent: int) -> None:
    channel = Channel(socket.socket(fileno=descriptor))
    confine(parent)
    order = channel.receive()
    if order is None:
        return
    try:
        classifier = build(order[0])
    except ImgtagError as error:
        channel.send(refusal(error))
        return
    limit_memory(int(order[0]["memory"]))
    channel.send(hello(classifier))
    serve(channel, classifier)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("A worker starts here; it does its work only for the sidecar.")
    main(int(sys.argv[1]), int(sys.argv[2]))
