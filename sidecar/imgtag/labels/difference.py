"""What one model says of a picture that another does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgtag.types.labels import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The labels of both, and of one alone, in order of confidence; ``same``: whether the best one is."""

    kept: tuple[str, ...]
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    same: bool


def compare(one: Sequence[Label], other: Sequence[Label]) -> Difference:
    """What would change if the other model labelled instead; labels are compared by their identities."""
    before, after = [label.name for label in one], [label.name for label in other]
    return Difference(
        kept=tuple(name for name in before if name in after),
        lost=tuple(name for name in before if name not in after),
        gained=tuple(name for name in after if name not in before),
        same=before[:1] == after[:1],
    )
