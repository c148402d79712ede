"""What the last audit found, kept in the state folder or on the source, so that running sidecars show it as metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtag.files.writing import write_atomically

FILE = "audit.json"
"""In the state folder."""


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """An audit of everything: when it ended, in seconds since 1970, and how much it found of each kind."""

    at: float
    findings: Mapping[str, int]

    def save(self, folder: Path) -> None:
        """Put it in the place of the last one. Blocking; raises OSError."""
        write_atomically(folder / FILE, json.dumps(self.as_dict()).encode())

    @classmethod
    def load(cls, folder: Path) -> AuditRecord | None:
        """The last one; None where there is none that can be read. Blocking."""
        with suppress(OSError, ValueError):
            return cls.parse(json.loads((folder / FILE).read_bytes()))
        return None

    def as_dict(self) -> dict[str, Any]:
        """For `parse`."""
        return {"at": self.at, "findings": dict(self.findings)}

    @classmethod
    def parse(cls, fields: Any) -> AuditRecord | None:
        """The record with these fields; None where they are not those of one."""
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            findings = {str(kind): int(count) for kind, count in fields["findings"].items()}
            return cls(at=float(fields["at"]), findings=findings)
        return None
