"""How many calls were made this month, on disk, so that nothing is paid for that the budget does not allow."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from imgtag.errors import Unavailable
from imgtag.files.writing import write_atomically

BLOCK = 20
"""Calls that are counted on disk at once, before they are made. A crash counts that many too many, never too few."""


class BudgetSpent(Unavailable):
    """The month's budget is spent."""

    default_code = "budget_spent"


def current_month() -> str:
    """Such as 2026-11, in UTC."""
    return f"{datetime.now(UTC):%Y-%m}"


@dataclass
class Budget:
    """Counts calls against a month's maximum. All processes with the same state folder count together."""

    path: Path
    max_calls: int
    month: Callable[[], str] = current_month

    def __post_init__(self) -> None:
        self._lock = anyio.Lock()
        self._reserved_in = ""
        self._reserved = 0

    async def take(self, calls: int = 1) -> str:
        """Count calls that are about to be made, all or none; returns the month that they count to.

        Raises BudgetSpent; Unavailable where the disk does not take it.
        """
        async with self._lock:
            month = self.month()
            if self._reserved_in != month:
                self._reserved_in, self._reserved = month, 0
            if self._reserved < calls:
                self._reserved += await to_thread.run_sync(self._reserve, month, calls - self._reserved)
            if self._reserved < calls:
                hint = "Images wait until then, and nothing is lost. To go on now, raise `monthly_budget`."
                message = f"the {self.max_calls:,} calls of the monthly budget are made; the next month begins in UTC"
                raise BudgetSpent(message, hint=hint)
            self._reserved -= calls
            return month

    async def give_back(self, calls: int, month: str) -> None:
        """Take back calls of ``month`` that were not made, or not charged. Those of a month that is over are gone."""
        async with self._lock:
            if self._reserved_in == month:
                self._reserved += calls

    async def close(self) -> None:
        """Give back what was counted in advance."""
        async with self._lock:
            if self._reserved:
                await to_thread.run_sync(self._add, self._reserved_in, -self._reserved)
                self._reserved = 0

    async def used(self) -> int:
        """Calls of this month, as far as they are on disk."""
        month = self.month()
        return await to_thread.run_sync(lambda: _calls(_read(self.path), month))

    def _reserve(self, month: str, calls: int) -> int:
        """Count a block of calls, or at least so many if the budget has room for them."""
        with self._locked():
            state = _read(self.path)
            used = _calls(state, month)
            count = max(0, min(max(BLOCK, calls), self.max_calls - used))
            if count:
                _write(self.path, {**state, "month": month, "calls": used + count})
            return count

    def _add(self, month: str, calls: int) -> None:
        with self._locked():
            state = _read(self.path)
            if state.get("month") == month:
                _write(self.path, {**state, "calls": max(0, _calls(state, month) + calls)})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """No other process counts meanwhile. Raises Unavailable where the folder does not allow it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    """What is counted. Raises Unavailable for a damaged file: taken as empty, it would allow to pay twice."""
    try:
        state = json.loads(path.read_bytes())
        if not isinstance(state, dict) or not isinstance(state.get("calls", 0), int):
            raise ValueError  # noqa: TRY004 - as json.loads raises it
    except FileNotFoundError:
        return {}
    except ValueError as error:
        message = f"{path}, which counts this month's calls, is damaged"
        hint = "Look at the month's calls in the AWS console. Remove the file to begin at zero."
        raise Unavailable(message, hint=hint, code="budget_damaged") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    return state


def _calls(state: dict[str, Any], month: str) -> int:
    return int(state.get("calls", 0)) if state.get("month") == month else 0


def _write(path: Path, state: dict[str, Any]) -> None:
    try:
        write_atomically(path, json.dumps(state).encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> Unavailable:
    message = f"calls cannot be counted: {path}: {error.strerror}"
    return Unavailable(message, hint="No call is made that is not counted. Make the state folder writable.")
