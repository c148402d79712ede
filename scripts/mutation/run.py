"""mutmut with one more mutation: leave out a statement that only calls, awaits or raises."""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst
import libcst.matchers as m
from mutmut.__main__ import cli
from mutmut.mutation.mutators import mutation_operators

LEFT_OUT = m.Raise() | m.Expr(value=m.Call() | m.Await())
LOGGED = m.Expr(value=m.Call(func=m.Attribute(value=m.Name("log"))))


def leave_out(statement: cst.BaseSmallStatement) -> Iterable[cst.Pass]:
    """Replace the statement by `pass`, unless it only logs."""
    if m.matches(statement, LEFT_OUT) and not m.matches(statement, LOGGED):
        yield cst.Pass()


mutation_operators.append((cst.BaseSmallStatement, leave_out))  # type: ignore[attr-defined]

if __name__ == "__main__":
    cli()
