"""The record of what `imgtag setup` made, so that it can be taken back: one file of the state folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from imgtag.errors import Unavailable
from imgtag.plugin.spec import Kind


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that was made, or was about to be: for which site, by which plugin, and what takes it back."""

    site: str
    kind: Kind
    plugin: str
    what: str
    undo: Mapping[str, Any]


class SetupRecord:
    """Entries in the order of their making, whole or not at all. Blocking; raises Unavailable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """Everything that is recorded, also of other sites that have this state folder."""
        try:
            return [Entry(**each) for each in json.loads(self.path.read_bytes())["made"]]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            hint = "Move it away to begin a new one; what it records must be removed by hand then."
            raise Unavailable(f"{self.path} is no record of `imgtag setup`", hint=hint) from error

    def replace(self, old: Sequence[Entry], new: Sequence[Entry]) -> None:
        """Without the old entries, and with the new ones at the end. The file goes with its last entry."""
        kept = [entry for entry in self.entries() if entry not in old and entry not in new]
        try:
            if kept or new:
                self._write([*kept, *new])
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _write(self, entries: Sequence[Entry]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, unfinished = mkstemp(dir=self.path.parent, suffix=".new")  # of mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": 1, "made": [asdict(entry) for entry in entries]}, file, indent=1)
                file.flush()
                os.fsync(descriptor)
            Path(unfinished).replace(self.path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise

    def _unusable(self, error: OSError) -> Unavailable:
        hint = "Run it as the user whose file that is, or set `dir` under [state]: what is made is recorded there."
        return Unavailable(f"{self.path}: {error.strerror}", hint=hint)
