"""What decoding an AVIF takes, by the frames within it: the container may name a smaller size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from imgtag.workers.child.av1 import Frame, FrameReader
from imgtag.workers.child.boxes import bounded, pixels, read_items, read_tracks

if TYPE_CHECKING:
    from collections.abc import Iterable

_CODED, _GRID = b"av01", b"grid"
_HELD = 10
"""Frames that a decoder of AV1 holds: eight that others refer to, the current one, and the one that is shown."""


@dataclass(frozen=True, kw_only=True)
class AvifCost:
    """What decoding takes beyond the RGB pixels.

    ``largest``: width and height of the frame with the most pixels. ``first`` and ``later``: bytes for the first
    image, and for one of an animation after it.
    """

    largest: tuple[int, int]
    first: int
    later: int


def read_avif_cost(data: bytes, size: tuple[int, int], images: int) -> AvifCost:
    """The cost of the first ``images`` of a file whose container says ``size``.

    Raises ValueError if no frame is found; Unreadable if it has too many parts.
    """
    meter = _Meter()
    joined = still = 0
    grids = list[tuple[int, int]]()
    # A still image: colours, alpha, and the tiles of a grid are held together.
    for item in read_items(data):
        if item.kind == _CODED:
            if len(item.extents) > 1:  # a decoder copies what is in pieces
                joined += sum(map(len, item.extents))
                if joined > len(data):
                    raise ValueError("its items overlap")
            still += meter.measure(item.content, item.sizes)
        elif item.kind == _GRID:
            grids += item.sizes
    tracks = animated = 0
    for track in read_tracks(data, _CODED):
        tracks += 1
        costs = [meter.measure(sample, {size}) for sample in islice(track, images)]
        animated += costs[0] if costs else 0
    if not meter.frames:
        raise ValueError("there is no frame of AV1")
    bytes_per_pixel = max(frame.bytes_per_pixel for frame in meter.frames)
    held = _HELD * max(frame.memory for frame in meter.frames) + int(pixels(size) * bytes_per_pixel)
    return AvifCost(
        largest=max(((frame.width, frame.height) for frame in meter.frames), key=pixels),
        # A file with both has its first image twice, of which one is decoded.
        first=joined + max(still + int(sum(map(pixels, grids)) * bytes_per_pixel), animated),
        later=joined + tracks * held,
    )


class _Meter:
    """Adds up what samples take, in the order of decoding."""

    def __init__(self) -> None:
        self.frames = set[Frame]()
        self._reader = FrameReader()

    def measure(self, sample: bytes | memoryview, sizes: Iterable[tuple[int, int]]) -> int:
        """Bytes that decoding takes. A frame is scaled to the size that the container says, if it has another one."""
        frames = [frame for frame in bounded(self._reader.read_units(sample)) if frame]
        self.frames.update(frames)
        held = sum(sorted((frame.memory for frame in frames), reverse=True)[:_HELD])
        scaled = sum(
            pixels(size) * max(frame.bytes_per_pixel for frame in frames)
            for size in sizes
            if any((frame.width, frame.height) != size for frame in frames)
        )
        return held + int(scaled)
