"""What a worker needs to load a model: the classifier and its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model: the classifier's entry point and its settings."""

    entry: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Identifies it in frames: equal for equal models only."""
        return json.dumps([self.entry, self.settings], sort_keys=True)

    def __hash__(self) -> int:
        return hash(self.key)
