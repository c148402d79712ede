"""How labels are shown, by model: a note that a sidecar leaves for commands that load no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_MOST = 32
"""Models that are remembered, the newest."""

Shown = Mapping[str, str]
"""Label -> how it is shown; those that are shown as they are called are left out."""


class DisplayNames:
    """One file of the state folder; without it labels are shown as they are called. Blocking."""

    def __init__(self, state: Path) -> None:
        self._path = state / "names.json"

    def load(self) -> Mapping[str, Shown]:
        """By the id of the model; empty where nothing is known."""
        try:
            said = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def add(self, names: Mapping[str, Shown]) -> None:
        """Remember these, too. A disk that is full is no reason not to label."""
        known = {**{model: shown for model, shown in self.load().items() if model not in names}, **names}
        newest = dict(list(known.items())[-_MOST:])
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            unfinished = self._path.with_suffix(".new")
            unfinished.write_text(json.dumps(newest, ensure_ascii=False), encoding="utf-8")
            unfinished.replace(self._path)
