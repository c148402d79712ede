"""WordNet's nouns, as its file `data.noun` has them: https://wordnet.princeton.edu/documentation/wndb5wn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEBIAN = Path("/usr/share/wordnet/data.noun")
VERSION = "WordNet 3.0"  # ids are places in the file and differ with each version
KIND_OF = frozenset({"@", "@i"})  # hypernym, instance hypernym


class LexiconError(Exception):
    """WordNet is missing, or has another version."""


@dataclass(frozen=True, slots=True)
class Synset:
    """The words for one thing, the commonest first, and the ids of what it is a kind of."""

    words: tuple[str, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Synsets by id, as `n02084071`; the text of the licence under which they may be used."""

    synsets: Mapping[str, Synset]
    licence: str

    @classmethod
    def read(cls, path: Path = DEBIAN) -> Lexicon:
        """Read `data.noun`. Raises LexiconError where it is missing or not of this version."""
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError as error:
            hint = "apt-get install wordnet-base, or name WordNet's data.noun with --wordnet"
            raise LexiconError(f"{path}: {error.strerror}: {hint}") from error
        head = [line for line in lines if line.startswith("  ")]
        licence = "\n".join(_unnumbered(line) for line in head) + "\n"
        if VERSION not in licence:
            raise LexiconError(f"{path} is not the data.noun of {VERSION}: its ids are others")
        return cls(dict(map(_synset, lines[len(head) :])), licence)

    def above(self, synset: str) -> dict[str, int]:
        """Return the synset and all that it is a kind of, each with the least number of steps to it."""
        steps = {synset: 0}
        edge = [synset]
        while edge:
            parents = [(parent, steps[child] + 1) for child in edge for parent in self.synsets[child].parents]
            edge = [parent for parent, _ in parents if parent not in steps]
            for parent, count in parents:
                steps.setdefault(parent, count)
        return steps


def _unnumbered(line: str) -> str:
    return line.strip().partition(" ")[2].rstrip()


def _synset(line: str) -> tuple[str, Synset]:
    """Read `offset file type words (word, sense)... pointers (symbol, offset, type, source)... | meaning`."""
    offset, _, _, count, *fields = line.partition(" | ")[0].split()
    words, fields = fields[: 2 * int(count, 16) : 2], fields[2 * int(count, 16) :]
    pointers = zip(fields[1::4], fields[2::4], strict=False)
    parents = tuple(f"n{target}" for symbol, target in pointers if symbol in KIND_OF)
    return f"n{offset}", Synset(tuple(word.replace("_", " ") for word in words), parents)
