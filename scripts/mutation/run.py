"""mutmut with one more mutation: leave out a statement that only calls, awaits or raises.

Of its fork server, which runs each mutant in a child of a process that has imported the tests, three things are changed
here: files that it leaves open fail no test; first come the tests that noticed most mutants of the same function, then
the fastest, and none that is slow; and tests that have just passed while mutmut noted what they reach are not run again
before the mutants.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import libcst as cst
import libcst.matchers as m
from mutmut.__main__ import cli, show
from mutmut.mutation.mutators import mutation_operators
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.file_utils import change_cwd
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from mutmut.workers import isolation
from mutmut.workers.isolation import ForkServerRunner

LEFT_OUT = m.Raise() | m.Expr(value=m.Call() | m.Await())
LOGGED = m.Expr(value=m.Call(func=m.Attribute(value=m.Name("log"))))


def leave_out(statement: cst.BaseSmallStatement) -> Iterable[cst.Pass]:
    """Replace the statement by `pass`, unless it only logs."""
    if m.matches(statement, LEFT_OUT) and not m.matches(statement, LOGGED):
        yield cst.Pass()


class NoticingTests(PytestRunner):
    """Notes which test noticed a mutant."""

    def warm_up(self) -> None:
        super().warm_up()
        gc.freeze()  # pytest collects garbage at the end of each mutant: what is imported is none

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        if mutant_name is None:
            return super().run_tests(mutant_name=None, tests=tests)
        function = mangled_name_from_mutant_name(mutant_name)
        record = NOTICED_BY.absolute()

        class Note:
            def pytest_runtest_logreport(self, report: Any) -> None:
                if report.failed:
                    with record.open("a") as file:
                        file.write(f"{function} {report.nodeid}\n")

        with change_cwd("mutants"):
            return self.execute_pytest([*TIMEOUT, *self._pytest_args_regular_run(tests)], plugins=[Note()])


class Runner(ForkServerRunner):
    """The fork server of mutmut, faster."""

    def submit(self, mutant_name: str, tests: list[str], cpu_time_limit: int, estimated_time: float) -> None:
        lines = NOTICED_BY.read_text().splitlines() if NOTICED_BY.exists() else []
        notes = (line.split(" ", 1) for line in lines)
        function, durations = mangled_name_from_mutant_name(mutant_name), state().duration_by_test
        noticed = Counter(test for of, test in notes if of == function)
        quick = [test for test in tests if durations[test] <= MAX_SECONDS]
        ordered = sorted(quick, key=lambda test: (-noticed[test], durations[test]))
        super().submit(mutant_name, ordered, cpu_time_limit, estimated_time)

    def run_clean_tests(self, tests: Iterable[str]) -> int:  # noqa: ARG002
        return 0


def open_for_good(*args: Any) -> IO[Any]:
    """Open a file that is never closed: pytest would take the warning for a failure of the mutant's tests."""
    file: IO[Any] = open(*args)  # noqa: SIM115, PTH123
    OPENED.append(file)
    return file


NOTICED_BY = Path("noticed-by.txt")
PATIENCE = float(os.environ.get("PATIENCE", "1"))
# It ends the process: an event loop would go on after an exception.
TIMEOUT = (f"--timeout={12 * PATIENCE:g}", "--timeout-method=thread")
MAX_SECONDS = 4 * PATIENCE
"""What a test may take to be run for each mutant."""
OPENED: list[IO[Any]] = []
isolation.open = open_for_good  # type: ignore[attr-defined]
isolation.ForkServerRunner = Runner  # type: ignore[misc]
isolation.PytestRunner = NoticingTests  # type: ignore[attr-defined]
mutation_operators.append((cst.BaseSmallStatement, leave_out))  # type: ignore[attr-defined]

if __name__ == "__main__":
    if sys.argv[1] == "show":
        for name in sys.argv[2:]:
            show.main([name], standalone_mode=False)
    else:
        cli()
