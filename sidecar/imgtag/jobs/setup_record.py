"""The record of what `imgtag setup` created, so that it can be undone: one file in the state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imgtag.errors import Unavailable
from imgtag.files.writing import write_atomically
from imgtag.plugin.spec import Kind


@dataclass(frozen=True, kw_only=True)
class SetupEntry:
    """One thing that was created, or was about to be: for which site, by which plugin, and what undoes it."""

    site: str
    kind: Kind
    plugin: str
    what: str
    undo: Mapping[str, Any]


class SetupRecord:
    """Entries in the order of creation. Blocking; raises Unavailable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[SetupEntry]:
        """Everything that is recorded, also for other sites that share this state folder."""
        try:
            return [SetupEntry(**fields) for fields in json.loads(self.path.read_bytes())["made"]]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            hint = "Move it away to start a new one; you then have to remove what it records yourself."
            raise Unavailable(f"{self.path} is not a record of `imgtag setup`", hint=hint) from error

    def replace(self, old: Sequence[SetupEntry], new: Sequence[SetupEntry]) -> None:
        """Remove the old entries and append the new ones. The last entry takes the file with it."""
        others = [entry for entry in self.entries() if entry not in old and entry not in new]
        try:
            if others or new:
                fields = [asdict(entry) for entry in (*others, *new)]
                write_atomically(self.path, json.dumps({"version": 1, "made": fields}, indent=1).encode())
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> Unavailable:
        hint = "Run this as the file's owner, or set `dir` under [state]: what is created is recorded there."
        return Unavailable(f"{self.path}: {error.strerror}", hint=hint)
