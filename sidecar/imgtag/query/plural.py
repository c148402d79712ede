"""English plurals: a search for `foxes` finds `fox` too."""

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
MIN_PLURAL = 4  # letters; `gas` and `his` are not plurals


def singulars(word: str) -> tuple[str, ...]:
    """The words whose plural a folded word may be, likeliest first; none for most words that are not plurals."""
    if word in IRREGULAR:
        return (IRREGULAR[word],)
    if len(word) < MIN_PLURAL or word in INVARIABLE:
        return ()
    for ending, singular in ENDINGS:
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            return tuple(stem + end for end in singular)
    return ()
