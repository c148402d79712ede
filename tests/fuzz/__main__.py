"""Fuzzing: damaged inputs through everything that reads bytes of strangers.

PYTHONPATH=tests python -m fuzz [--inputs 100000]       all targets, as a table in Markdown
PYTHONPATH=tests python -m fuzz TARGET --only NUMBER    one input again, with its traceback
"""

from __future__ import annotations

import argparse
import math
import sys

from fuzz.process import fuzz, is_refused, make_input


def main() -> None:
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="fuzz", description="Damaged inputs for all that reads strangers' bytes.")
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together, or of the one named")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run only this input")
    options = parser.parse_args()
    if options.target is None:
        print_table(options.inputs, list(TARGETS))
        return
    if options.only is None:
        print_table(options.inputs, [options.target])
        return
    for target in TARGETS[options.target]():
        data = make_input(target, options.target, options.only)
        print(data[:2_000])
        print("refused" if is_refused(target, data) else "read")


def print_table(inputs: int, names: list[str]) -> None:
    print("| Input | Tried | Refused | Slowest | Memory grew by | Failed |\n|---|---|---|---|---|---|")
    failed = 0
    for name in names:
        outcome = fuzz(name, math.ceil(inputs / len(names)))
        failed += outcome.failed is not None
        grown = f"{outcome.growth / 2**20:.0f} MiB"
        end = "0" if outcome.failed is None else f"input {outcome.failed}: {outcome.reason.splitlines()[-1]}"
        print(
            f"| {name} | {outcome.inputs:,} | {outcome.refused:,} | {1000 * outcome.slowest:.0f} ms | {grown} | {end} |"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
