"""What one picture may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """Pixels and frames by the picture's header, bytes of memory while it is decoded, seconds for all of it."""

    pixels: int
    frames: int
    memory: int
    seconds: float
