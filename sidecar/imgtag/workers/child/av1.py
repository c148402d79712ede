"""The sizes that frames of AV1 have by their own headers.

https://aomediacodec.github.io/av1-spec/#obu-syntax
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEQUENCE_HEADER = 1
_BEGIN_FRAME = {3, 6, 7}
"""Frame headers, alone, with the frame, and repeated."""
_SWITCH_FRAME = 3
_CHOSEN_BY_FRAME = 2
_MAX_HEADER = 1024
"""Bytes of a unit that are read: a sequence header with 32 operating points has half of that."""
_ALIGNMENT = 128
"""Decoders round the sides of a frame up to superblocks."""


@dataclass(frozen=True)
class Frame:
    """The most pixels that a frame can have, and the bytes that each takes when it is decoded."""

    width: int
    height: int
    bytes_per_pixel: float
    has_grain: bool

    @property
    def memory(self) -> int:
        """Bytes of the decoded frame, with another one that grain is added to."""
        width, height = (-(-side // _ALIGNMENT) * _ALIGNMENT for side in (self.width, self.height))
        return int(width * height * self.bytes_per_pixel * (2 if self.has_grain else 1))


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """What a sequence header says of frames, as far as their sizes depend on it."""

    is_reduced: bool
    """It is for a still image, and its frames have no sizes of their own."""
    largest: Frame
    overriding: Frame
    """As large as a frame can be that names its own size."""
    presentation_bits: int
    screen_content: int
    integer_motion: int
    frame_id_bits: int


class FrameReader:
    """Reads frames in the order of decoding: a sequence header holds until the next one, also in other samples."""

    def __init__(self) -> None:
        self._sequence: _Sequence | None = None

    def read_units(self, data: bytes | memoryview) -> Iterator[Frame | None]:
        """For each unit of a sample the frame that it begins, shown or not; it ends where the sample is damaged."""
        place = 0
        while place < len(data) and not data[place] & 0x80:
            kind, has_extension, has_length = data[place] >> 3 & 15, data[place] >> 2 & 1, data[place] >> 1 & 1
            place += 1 + has_extension
            length = len(data) - place
            if has_length:
                length, place = _read_leb128(data, place)
            body = _Bits(data[place : place + min(length, _MAX_HEADER)])
            place += length
            frame = None
            try:
                if kind == _SEQUENCE_HEADER:
                    self._sequence = _read_sequence(body)
                elif kind in _BEGIN_FRAME and self._sequence:
                    frame = _read_frame(body, self._sequence)
            except EOFError:
                return
            yield frame


class _Bits:
    """Bits from the front. `take` raises EOFError."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int = 1) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & ((1 << count) - 1)


def _read_leb128(data: bytes | memoryview, place: int) -> tuple[int, int]:
    """A number of up to 8 bytes with its least significant ones first, and the place after it."""
    value = 0
    for number, byte in enumerate(data[place : place + 8]):
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return value, place + number + 1
    return value, place + 8


def _read_sequence(bits: _Bits) -> _Sequence:
    profile, _, is_reduced = bits.take(3), bits.take(), bits.take()
    presentation_bits = 0
    if is_reduced:
        bits.take(5)
    else:
        presentation_bits = _pass_timing(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(width_bits) + 1, bits.take(height_bits) + 1
    frame_id_bits, screen_content, integer_motion = 0, _CHOSEN_BY_FRAME, _CHOSEN_BY_FRAME
    if not is_reduced and bits.take():
        frame_id_bits = bits.take(4) + 2
        frame_id_bits += bits.take(3) + 1
    bits.take(3)  # superblocks of 128, filters within frames
    if not is_reduced:
        bits.take(4)  # tools for motion
        has_order = bits.take()
        bits.take(2 * has_order)
        screen_content = _CHOSEN_BY_FRAME if bits.take() else bits.take()
        if screen_content:
            integer_motion = _CHOSEN_BY_FRAME if bits.take() else bits.take()
        bits.take(3 * has_order)
    bits.take(3)  # filters after decoding
    bytes_per_pixel = _read_colour(bits, profile)
    has_grain = bool(bits.take())
    return _Sequence(
        is_reduced=bool(is_reduced),
        largest=Frame(width, height, bytes_per_pixel, has_grain),
        overriding=Frame(1 << width_bits, 1 << height_bits, bytes_per_pixel, has_grain),
        presentation_bits=presentation_bits,
        screen_content=screen_content,
        integer_motion=integer_motion,
        frame_id_bits=frame_id_bits,
    )


def _pass_timing(bits: _Bits) -> int:
    """Pass what comes before the size; the bits that frames have for the time when they are presented."""
    is_regular = delay_bits = presentation_bits = 0
    if bits.take():
        bits.take(64)
        is_regular = bits.take()
        if is_regular:
            zeros = 0
            while not bits.take():
                zeros += 1
            bits.take(zeros)
        if bits.take():
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5)
            presentation_bits = bits.take(5) + 1
    has_display_delay = bits.take()
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) >> 2 > 1:  # the level
            bits.take()
        if delay_bits and bits.take():
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take():
            bits.take(4)
    return 0 if is_regular else presentation_bits


def _read_colour(bits: _Bits, profile: int) -> float:
    """Bytes per pixel."""
    is_deep = bits.take()
    is_twelve = profile == 2 and is_deep and bits.take()
    depth = 2 if is_deep else 1
    is_grey = profile != 1 and bits.take()
    description = bits.take(24) if bits.take() else 0
    if is_grey:
        bits.take()
        return depth
    across = down = 0
    if description != 0x01_0D_00:  # sRGB as it is: BT.709, sRGB, identity
        bits.take()
        if profile == 0:
            across = down = 1
        elif profile == 2:
            across = bits.take() if is_twelve else 1
            down = bits.take() if is_twelve and across else 0
        if across and down:
            bits.take(2)
    bits.take()
    return depth * (1 + 2 / ((1 + across) * (1 + down)))


def _read_frame(bits: _Bits, sequence: _Sequence) -> Frame | None:
    """The frame of a frame header; None if it shows one that is there already."""
    if sequence.is_reduced:
        return sequence.largest
    if bits.take():
        return None
    kind, is_shown = bits.take(2), bits.take()
    bits.take(sequence.presentation_bits if is_shown else 1)
    if not (kind == _SWITCH_FRAME or (kind == 0 and is_shown)):
        bits.take()
    bits.take()
    uses_screen_content = bits.take() if sequence.screen_content == _CHOSEN_BY_FRAME else sequence.screen_content
    if uses_screen_content and sequence.integer_motion == _CHOSEN_BY_FRAME:
        bits.take()
    bits.take(sequence.frame_id_bits)
    names_size = kind == _SWITCH_FRAME or bits.take()
    return sequence.overriding if names_size else sequence.largest
