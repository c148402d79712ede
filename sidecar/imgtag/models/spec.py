"""What a worker is told to load: a classifier and the settings of one model."""

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
        """What stands for it in frames: the same for the same model only."""
        return json.dumps([self.entry, self.settings], sort_keys=True)

    def __hash__(self) -> int:
        return hash(self.key)
