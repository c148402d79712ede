"""Build and check the words of the bundled model; see README.md beside this file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import tables
from lexicon import DEBIAN, Lexicon, LexiconError
from lists import ListError
from words import derive

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUNDLE = ROOT / "plugins" / "imgtag_tflite" / "bundled"
PAGE = ROOT / "docs" / "reference" / "labels.md"


def made(lexicon: Lexicon) -> dict[Path, str]:
    """Return the text of every generated file."""
    words = derive(lexicon, BUNDLE, HERE)
    return {
        BUNDLE / "words.tsv": tables.classes(words),
        BUNDLE / "ancestors.tsv": tables.ancestors(words),
        BUNDLE / "LICENSE.WordNet": tables.licence(lexicon.licence),
        PAGE: tables.insert(PAGE.read_text(encoding="utf-8"), tables.docs(words)),
    }


def differing(files: dict[Path, str]) -> list[Path]:
    """Return the files that differ from what a build would write."""
    return [path for path, text in files.items() if not path.exists() or path.read_bytes() != text.encode()]


def build(arguments: argparse.Namespace) -> int:
    """Write the files that have changed, or only print their names."""
    files = made(Lexicon.read(arguments.wordnet))
    changed = differing(files)
    for path in changed:
        sys.stdout.write(f"{path.relative_to(ROOT)} {'is NOT what a build makes' if arguments.check else 'written'}\n")
        if not arguments.check:
            path.write_bytes(files[path].encode())
    if not changed:
        sys.stdout.write(f"{len(files)} files are what a build makes\n")
    return 1 if changed and arguments.check else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="scripts/wordnet", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("build", help="write the tables beside the model and those of the docs")
    command.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    command.add_argument(
        "--wordnet", type=Path, default=DEBIAN, metavar="FILE", help="data.noun (default: %(default)s)"
    )
    command.set_defaults(run=build)
    return top


def main() -> int:
    """Run one command; 1 where it failed."""
    arguments = parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except (LexiconError, ListError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
