"""The vector: how a picture looks to a model, as 128 small numbers that may be compared by their cosine."""

from __future__ import annotations

import re
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from imgtag.types.packed import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH = 128
"""Numbers of a vector, int8."""

_NAME = re.compile(r"[a-z0-9._-]{1,20}")


def is_projection(name: str) -> bool:
    """Whether a projection may be called so: what is derived from it is a filter in every index."""
    return _NAME.fullmatch(name) is not None


def space(model: str, projection: str) -> str:
    """Which vectors may be compared with one another: those of one model by one projection, at any temperature."""
    return f"{model.partition('~')[0]}-{projection}"


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors of equal length, from -1 to 1; 0 where one has no length."""
    size = sqrt(sum(x * x for x in one) * sum(y * y for y in other))
    return sum(x * y for x, y in zip(one, other, strict=True)) / size if size else 0.0


@dataclass(frozen=True, slots=True)
class Vector:
    """An embedding brought down to LENGTH int8 values, and the name of the way there.

    Of which model it is says the mark beside it.
    """

    projection: str
    values: bytes

    @property
    def numbers(self) -> list[int]:
        """The values, each -128 to 127."""
        return memoryview(self.values).cast("b").tolist()

    def encode(self) -> str:
        """One line that ``decode`` reads, 186 characters or so."""
        return pack({"p": self.projection, "v": urlsafe_b64encode(self.values).decode().rstrip("=")})

    @classmethod
    def decode(cls, text: str) -> Vector | None:
        """None where ``text`` is not such a record, or has another length; or all is zero, which points nowhere."""
        fields = unpack(text) or {}
        values = decode_values(fields.get("v", ""))
        if values is None or not is_projection(fields.get("p", "")):
            return None
        return cls(fields["p"], values)


def decode_values(text: str) -> bytes | None:
    """LENGTH bytes from base64 (either alphabet, padded or not), not all of them zero; else None."""
    try:
        values = b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
    except ValueError:
        return None
    return values if len(values) == LENGTH and any(values) else None
