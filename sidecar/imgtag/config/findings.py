"""What is wrong with a configuration, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgtag.errors import ConfigError


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: in which file (or the environment), at which key, and what."""

    source: str
    key: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class InvalidConfig(ConfigError):
    """A configuration with findings; the message has one line for each of them."""

    def __init__(self, findings: Sequence[Finding], *, hint: str | None = None) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)), hint=hint)
