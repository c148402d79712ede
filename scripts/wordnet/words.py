"""The words of each class and of each ancestor, from WordNet, the labels and the reviewed lists."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lists import ListError, groups, lines, split

from imgtag.models.label_file import fit_labels, read_labels
from imgtag.types.labels import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lexicon import Lexicon
    from lists import Group


@dataclass(frozen=True)
class Class:
    """A class of the model: its ancestors by the number of their classes, fewest first."""

    label: str
    synset: str
    category: str
    ancestors: tuple[str, ...]
    synonyms: tuple[str, ...]
    shown: str


@dataclass(frozen=True)
class Ancestor:
    """A name above classes, given by their labels."""

    name: str
    synonyms: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Taxonomy:
    """All of it; `categories` are names and what is in them."""

    classes: tuple[Class, ...]
    ancestors: tuple[Ancestor, ...]
    categories: Mapping[str, str]


def derive(lexicon: Lexicon, bundle: Path, reviewed: Path) -> Taxonomy:
    """Return the words of the model in `bundle`, by the lists in the folder `reviewed`. Raises ListError."""
    synsets = _synsets(bundle, lexicon)
    above = {label: lexicon.above(synset) for label, synset in synsets.items()}
    categories = groups(reviewed / "categories.txt", synsets)
    chosen = groups(reviewed / "ancestors.txt", synsets)
    for group in (*categories, *chosen):
        _check_synsets(group, lexicon, above)
    ancestors = _ancestors(chosen, lexicon, above)
    synonyms = _synonyms(lexicon, synsets, reviewed / "dropped.txt")
    shown = _shown(lexicon, synsets, reviewed / "shown.txt")
    classes = tuple(
        Class(
            label=label,
            synset=synset,
            category=_category(label, categories, above[label]),
            ancestors=_names_above(label, ancestors),
            synonyms=synonyms[label],
            shown=shown.get(label, ""),
        )
        for label, synset in synsets.items()
    )
    return Taxonomy(classes, ancestors, {group.name: group.remarks for group in categories})


def _synsets(bundle: Path, lexicon: Lexicon) -> dict[str, str]:
    """Return WordNet's id of each class by its label, in class order."""
    synsets = (bundle / "synsets.txt").read_text(encoding="ascii").split()
    path = bundle / "labels.txt"
    names = [identity(name) for name in fit_labels(read_labels(path), str(path), len(synsets))]
    for number, (name, synset) in enumerate(zip(names, synsets, strict=True), start=1):
        known = map(identity, lexicon.synsets[synset].words) if synset in lexicon.synsets else ()
        if name.partition(" (")[0] not in known:
            raise ListError(f"synsets.txt, line {number}: {synset} is not WordNet's {name}")
    return dict(zip(names, synsets, strict=True))


def _check_synsets(group: Group, lexicon: Lexicon, above: Mapping[str, Mapping[str, int]]) -> None:
    for synset in sorted(group.inside | group.outside):
        if synset not in lexicon.synsets:
            raise ListError(f"{group.place}: WordNet has no synset {synset}")
        if not any(synset in steps for steps in above.values()):
            raise ListError(f"{group.place}: no class is under {synset}")


def _names_above(label: str, ancestors: Sequence[Ancestor]) -> tuple[str, ...]:
    fewest_first = sorted(ancestors, key=lambda ancestor: len(ancestor.classes))
    return tuple(ancestor.name for ancestor in fewest_first if label in ancestor.classes)


def _category(label: str, categories: Sequence[Group], above: Mapping[str, int]) -> str:
    """Return the nearest category."""
    found = [(steps, group.name) for group in categories if (steps := group.steps(above)) is not None]
    if not found:
        raise ListError(f"categories.txt: {label} has no category")
    nearest = sorted(name for steps, name in found if steps == min(found)[0])
    if len(nearest) > 1:
        raise ListError(f"categories.txt: {label} is as near to {' as to '.join(nearest)}: name it in one of them")
    return nearest[0]


def _ancestors(
    chosen: Sequence[Group], lexicon: Lexicon, above: Mapping[str, Mapping[str, int]]
) -> tuple[Ancestor, ...]:
    names = {group.name for group in chosen}
    found: dict[tuple[str, ...], Ancestor] = {}
    for group in chosen:
        classes = tuple(label for label, steps in above.items() if group.steps(steps) is not None)
        if group.name in above:
            raise ListError(f"{group.place}: {group.name} is the label of a class: give the ancestor another name")
        if not classes:
            raise ListError(f"{group.place}: no class is left in {group.name}")
        if classes in found:
            raise ListError(f"{group.place}: {group.name} and {found[classes].name} are two names of one ancestor")
        found[classes] = Ancestor(group.name, _other_names(group, lexicon, names), classes)
    return tuple(found.values())


def _other_names(group: Group, lexicon: Lexicon, taken: set[str]) -> tuple[str, ...]:
    """Return the synonyms of an ancestor; those without a plus must be WordNet's."""
    known = {identity(word) for synset in group.inside for word in lexicon.synsets[synset].words}
    remarks = split(group.remarks)
    strange = next((word for word in remarks if not word.startswith("+") and word not in known), None)
    if strange is not None:
        raise ListError(f"{group.place}: WordNet does not call it {strange}; where you do, write +{strange}")
    synonyms = tuple(word.removeprefix("+") for word in remarks)
    if taken.intersection(synonyms):
        raise ListError(f"{group.place}: {min(taken.intersection(synonyms))} is the name of an ancestor")
    return synonyms


def _synonyms(lexicon: Lexicon, synsets: Mapping[str, str], path: Path) -> dict[str, tuple[str, ...]]:
    """Return the names that WordNet has for each class besides its label, without the dropped ones."""
    found = {
        label: [name for name in dict.fromkeys(map(identity, lexicon.synsets[synset].words)) if name != label]
        for label, synset in synsets.items()
    }
    for line in lines(path):
        for name in line.items:
            if name not in found.get(line.name, ()):
                raise ListError(f"{line.place}: {line.name} has no synonym {name}")
            found[line.name].remove(name)
    return {label: tuple(names) for label, names in found.items()}


def _shown(lexicon: Lexicon, synsets: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return the names by which classes are shown instead of their labels; they must be WordNet's."""
    found = {}
    for line in lines(path):
        (name,) = line.items if len(line.items) == 1 else ("",)
        if line.name not in synsets or not name:
            raise ListError(f"{line.place}: write LABEL: NAME, with the label of a class in lower case")
        if identity(name).partition(" (")[0] not in map(identity, lexicon.synsets[synsets[line.name]].words):
            raise ListError(f"{line.place}: WordNet does not call {line.name} {name}")
        found[line.name] = name
    return found


def sizes(words: Taxonomy) -> Counter[str]:
    """Return how many classes each category has."""
    return Counter(row.category for row in words.classes)
