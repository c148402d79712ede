"""Frames between the sidecar and its workers: a JSON header and raw bytes, both limited in length.

Never pickle: a worker that a hostile picture has taken over must not be able to run code on the other side.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

PREFIX = struct.Struct(">II")
MAX_HEADER = 4 << 20
"""Bytes of JSON; the largest is a model of 20,000 labels."""

Header = Mapping[str, Any]
_COMPACT = json.JSONEncoder(separators=(",", ":"))


class FrameError(Exception):
    """The other side sent something that is not a frame, or closed in the middle of one."""


def encode(header: Header, body_length: int) -> bytes:
    """Prefix and header; the body goes behind them as it is."""
    text = _COMPACT.encode(header).encode()
    return PREFIX.pack(len(text), body_length) + text


def lengths(prefix: bytes, max_body: int) -> tuple[int, int]:
    """Lengths of header and body. Raises FrameError over a limit."""
    header, body = PREFIX.unpack(prefix)
    if header > MAX_HEADER or body > max_body:
        raise FrameError(f"a frame of {header} + {body} bytes is over the limit")
    return header, body


def decode_header(text: bytes) -> dict[str, Any]:
    """The header. Raises FrameError."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame's header is not JSON") from error
    if not isinstance(header, dict):
        raise FrameError("a frame's header is not a JSON object")
    return header
