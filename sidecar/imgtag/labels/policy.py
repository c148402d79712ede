"""Which classes of a model become labels."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256

from imgtag.labels.rules import LabelRule


@dataclass(frozen=True, kw_only=True)
class LabelPolicy:
    """Which classes become labels: at most ``top_k``, each with a confidence of at least ``threshold``, after rules.

    ``allow`` and ``deny`` are identities or globs of labels and of ancestors. A class that they exclude, by itself or
    by an ancestor, is ignored altogether.
    """

    top_k: int = 5
    threshold: float = 0.10
    decimals: int = 2
    rules: tuple[LabelRule, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Eight hex digits that change with any setting that shapes labels."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
