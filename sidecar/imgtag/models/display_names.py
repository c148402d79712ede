"""How labels are displayed, by model: a file that a sidecar writes for commands that load no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from imgtag.files.writing import write_atomically

MAX_MODELS = 32
"""Models that are remembered, the most recent ones."""

LabelNames = Mapping[str, str]
"""Label -> how it is displayed; labels that are displayed as they are named are left out."""


class DisplayNames:
    """One file in the state folder; without it, labels are displayed as they are named. Blocking."""

    def __init__(self, state: Path) -> None:
        self._path = state / "names.json"

    def load(self) -> Mapping[str, LabelNames]:
        """By model id; empty where nothing is known."""
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def add(self, names: Mapping[str, LabelNames]) -> None:
        """Remember these as well. A full disk must not stop labelling, so failures are ignored."""
        known = {**{model: labels for model, labels in self.load().items() if model not in names}, **names}
        newest = dict(list(known.items())[-MAX_MODELS:])
        with suppress(OSError):
            write_atomically(self._path, json.dumps(newest, ensure_ascii=False).encode())
