"""A classifier in a worker that somebody has taken over: what it does depends on the width of the picture."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

from imgtag.plugin.classifier import ModelInfo, Scores
from imgtag.plugin.spec import PluginSpec, Settings
from imgtag.types.facts import Facts

LABELS = ("fine", "network", "file")
SIZE = (64, 64)  # so large that no picture here is made smaller


class MisdeedSettings(Settings):
    """``claim`` changes what the classifier says of itself; with ``quits`` it says nothing; ``prints`` is printed.

    Where the files ``quits_where`` or ``fails_where`` are, it ends its process, or does not load.
    """

    claim: str = ""
    quits: bool = False
    prints: str = ""
    quits_where: str = ""
    fails_where: str = ""


class Misdeeds:
    def __init__(self, settings: MisdeedSettings) -> None:
        sys.stderr.write(f"{settings.prints}\n")
        if settings.claim == "memory":
            bytearray(1 << 40)
        if settings.quits or Path(settings.quits_where or "/nowhere").exists():
            os._exit(7)
        if Path(settings.fails_where or "/nowhere").exists():
            raise RuntimeError("it is not what it was")
        size = (0,) if settings.claim == "nonsense" else SIZE
        digest = str(time.time_ns()) if settings.claim == "another" else "0" * 64
        self.info = ModelInfo(name="misdeeds", digest=digest, labels=LABELS, display=LABELS, size=size)

    def classify(self, images: list) -> list[Scores]:
        (image,) = images
        probabilities = DEEDS.get(image.size[0], _fine)()
        return [Scores(probabilities=np.array(probabilities, np.float32))]


def _fine() -> list[float]:
    return [0.9, 0.1, 0.0]


def _report() -> list[float]:
    """Whether a network and files can be reached, said in probabilities."""
    return [0.5, float(_connects()), float(_writes())]


def _connects() -> bool:
    try:
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex(("127.0.0.1", 9)) not in {101, 99, 100}  # the network is unreachable, or down
    except PermissionError:
        return False


def _writes() -> bool:
    path = Path(f"/tmp/imgtag-misdeed-{os.getpid()}")
    try:
        path.write_text("x")
    except OSError:
        return False
    path.unlink()
    return True


def _say(data: bytes) -> list[float]:
    os.write(int(sys.argv[1]), data)
    time.sleep(60)
    return _fine()


def _answer(answer: object) -> list[float]:
    text = json.dumps(answer).encode()
    return _say(struct.pack(">II", len(text), 0) + text)


def _good(**changed: object) -> dict[str, object]:
    return {"raw": "0:9000", "facts": "1;w=1", "vec": "", "digest": "ab" * 32, "decode": 0.1, "infer": 0.1, **changed}


def _fill_memory() -> list[float]:
    held = []
    while True:
        held.append(np.ones(1 << 22))


DEEDS = {
    10: _report,
    11: lambda: _say(b"\xff" * 64),
    12: lambda: _say(struct.pack(">II", 5 << 20, 0)),
    13: lambda: _say(struct.pack(">II", 2, 2 << 20) + b"{}"),
    14: lambda: _say(struct.pack(">II", 1 << 20, 0) + b"[" * (1 << 20)),
    15: lambda: _answer(_good(raw="3:9000")),
    16: lambda: _say(struct.pack(">II", 99, 0) + b'{"decode":'),
    17: lambda: _answer({"error": {"type": "ConfigError", "message": "a\nb\x1b[31m" * 999, "hint": "", "code": "A B"}}),
    18: _fill_memory,
    21: lambda: _answer(_good(content="B" * 22, facts=Facts(width=1, camera="secret " * 99).encode(), more="x" * 999)),
    19: lambda: os._exit(3),
    20: lambda: sys.exit(4),
    22: lambda: os.kill(os.getpid(), signal.SIGKILL),
}

SPEC = PluginSpec(
    name="misdeeds",
    kind="classifier",
    summary="Breaks the protocol; for tests.",
    settings=MisdeedSettings,
    factory="misdeeds:Misdeeds",
    runs="worker",
)


class Waiting:
    def __init__(self, settings: Settings) -> None:
        self.info = ModelInfo(name="waiting", digest="0" * 64, labels=LABELS, display=LABELS, size=SIZE)

    async def classify(self, images: list) -> list[Scores]:
        return []


WAITING = PluginSpec(name="waiting", kind="classifier", summary="For tests.", factory="misdeeds:Waiting", runs="worker")
