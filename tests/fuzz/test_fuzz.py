"""Damaged inputs crash nothing, hang nothing, and take little memory. `make fuzz` tries fifty times as many."""

from __future__ import annotations

import pytest

from fuzz.process import fuzz
from fuzz.targets import TARGETS

INPUTS = 2_000
MAX_GROWTH = 64 << 20
"""Bytes. The largest input has 64 KiB; JSON of it takes at most some tens of that."""


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_read_or_refused(name: str) -> None:
    """Each input is read or refused with the error that its reader documents, within seconds and bounded memory."""
    outcome = fuzz(name, INPUTS // len(TARGETS))

    assert outcome.failed is None, f"input {outcome.failed} of {name!r}:\n{outcome.reason}"
    assert outcome.refused < outcome.inputs, "no input passed the first check"
    assert outcome.growth < MAX_GROWTH


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_are_read(name: str) -> None:
    """The damage starts from inputs that are read."""
    for target in TARGETS[name]():
        for seed in target.seeds:
            target.read(seed)
