"""What a worker needs to load a model: the classifier and its settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from imgtag.plugin_loader import find_code


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model: the classifier's entry point, its settings, and the files that belong to the model."""

    entry: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = field(default=(), compare=False)

    @cached_property
    def key(self) -> str:
        """Identifies it in frames: equal for equal models only."""
        return json.dumps([self.entry, self.settings], sort_keys=True)

    @cached_property
    def readable(self) -> tuple[str, ...]:
        """Paths that a worker reads to load it: the classifier's code, the files, absolute paths in the settings."""
        named = (value for value in self.settings.values() if isinstance(value, str) and value.startswith(os.sep))
        return (*find_code(self.entry), *map(str, self.files), *named)

    def __hash__(self) -> int:
        return hash(self.key)
