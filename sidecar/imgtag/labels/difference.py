"""How the labels of two models differ for one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgtag.types.labels import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The labels of both models, and of one alone, by confidence; ``same``: whether both agree on the best label."""

    kept: tuple[str, ...]
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    same: bool


def compare_labels(current: Sequence[Label], other: Sequence[Label]) -> Difference:
    """Return what would change if the other model labelled instead; labels are compared by their identities."""
    before, after = [label.name for label in current], [label.name for label in other]
    return Difference(
        kept=tuple(name for name in before if name in after),
        lost=tuple(name for name in before if name not in after),
        gained=tuple(name for name in after if name not in before),
        same=before[:1] == after[:1],
    )
