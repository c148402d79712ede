"""What one picture may cost."""

from __future__ import annotations

from dataclasses import dataclass

WORKER_OVERHEAD = 32 << 20
"""Bytes of a worker's memory that a picture cannot have while it is decoded: for its small copy and the classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """Pixels and frames by the picture's header, bytes of memory while it is decoded, seconds for all of it."""

    pixels: int
    frames: int
    memory: int
    seconds: float
