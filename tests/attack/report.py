"""What an attack achieved, held to what is promised, and kept for the table of the threat model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from attack.attacker import ATTEMPTS, THREADS

REPORTS = "ATTACK_REPORTS"
"""A folder; where it is set, every report is kept there as ENVIRONMENT.json."""


@dataclass(frozen=True)
class Report:
    """The features that the kernel granted, and the attempts that succeeded, by name."""

    granted: frozenset[str]
    succeeded: frozenset[str]

    @classmethod
    def read(cls, output: str, environment: str) -> Self:
        """From what `victim.py` printed; kept under the name of the environment."""
        told: Mapping[str, Any] = json.loads(output.splitlines()[-1])
        names = {name.lower(): name for name in (*(name for group in ATTEMPTS.values() for name in group), THREADS)}
        assert set(names) == set(told["attempts"])
        succeeded = {names[label] for label, success in told["attempts"].items() if success}
        if REPORTS in os.environ:
            kept = {"granted": told["granted"], "succeeded": sorted(succeeded)}
            Path(os.environ[REPORTS], f"{environment}.json").write_text(json.dumps(kept))
        return cls(frozenset(told["granted"]), frozenset(succeeded))

    def require_confined(self) -> None:
        """Everything failed, but what a classifier needs."""
        assert {"landlock", "seccomp"} <= self.granted
        assert {THREADS} == self.succeeded
