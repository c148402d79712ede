"""English plurals: who types `foxes` looks for `fox` too."""

from __future__ import annotations

IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "people": "person",
    "teeth": "tooth",
}
INVARIABLE = frozenset({"lens", "news", "series", "species"})
ENDINGS = (
    ("ies", ("y", "ie")),
    ("ves", ("f", "fe", "ve")),
    ("men", ("man",)),
    ("ches", ("ch", "che")),
    ("shes", ("sh", "she")),
    ("sses", ("ss",)),
    ("xes", ("x", "xe")),
    ("zes", ("z", "ze")),
    ("oes", ("o", "oe")),
    ("ses", ("s", "se")),
    ("ss", ()),
    ("us", ()),
    ("is", ()),
    ("s", ("",)),
)
SHORTEST = 4  # letters; `gas` and `his` are no plurals


def singulars(word: str) -> tuple[str, ...]:
    """Singulars that a folded word may be the plural of, likeliest first; none for most words that are no plurals."""
    if word in IRREGULAR:
        return (IRREGULAR[word],)
    if len(word) < SHORTEST or word in INVARIABLE:
        return ()
    for ending, singular in ENDINGS:
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            return tuple(stem + end for end in singular)
    return ()
