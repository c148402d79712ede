"""Labels and ancestors of a model, after an operator's rules."""

from __future__ import annotations

import pytest

from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.labels.vocabulary import EMPTY_VOCABULARY, Vocabulary, build_vocabulary
from imgtag.types.labels import Label, Raw
from imgtag.types.metadata import Entries

LABELS = ("beagle", "pug", "tabby", "hotdog", "spider monkey", "amphibian", "dogsled")
BEAGLE, PUG, TABBY, HOTDOG, MONKEY, AMPHIBIAN, DOGSLED = range(7)
WORDS = Taxonomy(
    classes=(
        ClassTerms(category="animal", ancestors=("hound", "dog", "animal")),
        ClassTerms(category="animal", ancestors=("dog", "animal"), synonyms=("pug-dog",)),
        ClassTerms(category="animal", ancestors=("cat", "animal"), synonyms=("tabby cat",)),
        ClassTerms(category="food", synonyms=("hot dog", "frank")),
        ClassTerms(category="animal", ancestors=("animal",)),
        ClassTerms(category="vehicle", synonyms=("amphibious vehicle",)),
        ClassTerms(category="vehicle", synonyms=("dog sled",)),
    ),
    ancestors=(
        AncestorTerms(name="animal", synonyms=("beast",)),
        AncestorTerms(name="dog", synonyms=("domestic dog",)),
        AncestorTerms(name="hound", synonyms=("hound dog",)),
        AncestorTerms(name="cat", synonyms=("house cat",)),
        AncestorTerms(name="spider"),
    ),
)
WAVERING = Raw(((BEAGLE, 0.4), (PUG, 0.3), (HOTDOG, 0.12), (TABBY, 0.05)))


def of(*rules: LabelRule, **policy: object) -> Vocabulary:
    display = tuple(label.title() for label in LABELS)
    return build_vocabulary("m@1", LABELS, display, WORDS, LabelPolicy(rules=rules, **policy))  # type: ignore[arg-type]


def rule(*labels: str, **vocabulary: object) -> LabelRule:
    return LabelRule(labels=labels, **vocabulary)  # type: ignore[arg-type]


def names(labels: tuple[Label, ...]) -> list[str]:
    return [label.name for label in labels]


def test_an_ancestor_is_as_sure_as_all_below_it() -> None:
    """The sum over the raw scores, also of classes without a label; of two equal ones the more specific is first."""
    assert of().ancestors_of(WAVERING) == (Label("animal", 0.75), Label("dog", 0.7), Label("hound", 0.4))
    assert names(of().ancestors_of(Raw(((PUG, 0.9),)))) == ["dog", "animal"]
    assert of().ancestors_of(Raw(((PUG, 0.29),))) == ()


def test_an_ancestor_is_written_where_its_labels_are_not_sure() -> None:
    """The most special that is sure itself, beside the labels and never in their place."""
    assert names(of().labels_to_write(WAVERING)) == ["beagle", "pug", "hotdog", "dog"]
    assert of().labels_to_write(WAVERING)[-1] == Label("dog", 0.7)
    assert names(of().labels_to_write(Raw(((PUG, 0.6), (BEAGLE, 0.3))))) == ["pug", "beagle", "hound"]
    assert names(of().labels_to_write(Raw(((PUG, 0.9),)))) == ["pug"]
    assert names(of(threshold=0.5).labels_to_write(Raw(((PUG, 0.4), (BEAGLE, 0.2))))) == ["dog"]


def test_a_model_without_words_has_no_ancestors() -> None:
    """It has its labels, and their single words."""
    bare = build_vocabulary("m@1", LABELS, LABELS, Taxonomy(), LabelPolicy())

    assert names(bare.labels_to_write(WAVERING)) == ["beagle", "pug", "hotdog"]
    assert bare.ancestors_of(WAVERING) == ()
    assert bare.terms("spider monkey") == {"spider monkey", "spider", "monkey"}


def test_a_renamed_label_is_found_by_its_old_name() -> None:
    """The new name is written and shown; the sum and what is above stay."""
    renamed = of(rule("pug", rename="Little Dog"))

    assert names(renamed.select_labels(WAVERING)) == ["beagle", "little dog", "hotdog"]
    assert renamed.labels["little dog"].display == "Little Dog"
    assert {"little dog", "pug", "pug-dog", "dog"} <= renamed.terms("little dog")
    assert renamed.ancestors_of(WAVERING)[1] == Label("dog", 0.7)


def test_merged_labels_are_one() -> None:
    """Their probabilities are summed; its ancestors are those that all have; one with its own name is left out."""
    merged = of(rule("beagle", "pug", merge="dog", category="pet"))

    assert merged.select_labels(WAVERING) == (Label("dog", 0.7), Label("hotdog", 0.12))
    assert merged.ancestors_of(WAVERING) == (Label("animal", 0.75), Label("hound", 0.4))
    assert merged.labels["dog"].category == "pet"
    assert merged.labels["dog"].ancestors == ("animal",)
    assert {"beagle", "pug"} <= merged.terms("dog")


def test_a_dropped_label_counts_for_its_ancestors() -> None:
    """A denied one does not, nor what is under a denied ancestor."""
    assert names(of(rule("beagle", drop=True)).select_labels(WAVERING)) == ["pug", "hotdog"]
    assert of(rule("beagle", drop=True)).ancestors_of(WAVERING)[0] == Label("animal", 0.75)
    assert of(deny=("beagle",)).ancestors_of(WAVERING) == (Label("animal", 0.35), Label("dog", 0.3))
    assert names(of(deny=("dog",)).select_labels(WAVERING)) == ["hotdog"]


def test_a_dropped_ancestor_is_not_said() -> None:
    """Neither in the document nor on the object."""
    dropped = of(rule("dog", drop=True))

    assert names(dropped.ancestors_of(WAVERING)) == ["animal", "hound"]
    assert names(dropped.labels_to_write(WAVERING))[-1] == "animal"


def test_only_what_is_allowed_counts() -> None:
    """By label, glob, or what is above."""
    assert names(of(allow=("animal",)).select_labels(WAVERING)) == ["beagle", "pug"]
    assert names(of(allow=("hot*",)).select_labels(WAVERING)) == ["hotdog"]
    assert names(of(allow=("animal",), deny=("pug",)).select_labels(WAVERING)) == ["beagle"]


def test_thresholds_of_their_own() -> None:
    """Of a label and of an ancestor; the first rule that says one decides."""
    assert names(of(rule("pug", threshold=0.5)).select_labels(WAVERING)) == ["beagle", "hotdog"]
    assert names(of(rule("tabby", threshold=0.05)).select_labels(WAVERING))[-1] == "tabby"
    assert names(of(rule("hound", threshold=0.5)).ancestors_of(WAVERING)) == ["animal", "dog"]
    rules = rule("hotdog", drop=False), rule("*dog", drop=True, threshold=0.01)
    assert "hotdog" in names(of(*rules).select_labels(WAVERING))
    assert of(*rules).labels["hotdog"].threshold == 0.01


def test_priority_decides_who_stays() -> None:
    """The first of `top_k`, whatever the order by confidence."""
    assert names(of(rule("hotdog", priority=1), top_k=2).select_labels(WAVERING)) == ["beagle", "hotdog"]
    assert [label.priority for label in of(rule("hotdog", priority=1)).select_labels(WAVERING)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "found", "not_found"),
    [
        ("hotdog", {"hotdog", "hot dog", "hot", "frank"}, {"dog"}),
        ("spider monkey", {"spider monkey", "monkey"}, {"spider"}),
        ("pug", {"pug", "pug-dog", "dog"}, set()),
        ("tabby", {"tabby cat", "cat"}, {"house"}),
        ("dogsled", {"dog sled", "sled"}, {"dog"}),
        ("hound", {"hound dog", "hound", "dog"}, set()),
        ("dog", {"domestic dog", "domestic"}, set()),
        ("unknown dog", {"unknown dog", "unknown", "dog"}, set()),
    ],
)
def test_terms_are_names_and_their_words(name: str, found: set[str], not_found: set[str]) -> None:
    """A word that is an ancestor's name only where that ancestor stands above; unknown labels as they are."""
    assert found <= of().terms(name) if name != "unknown dog" else found == of().terms(name)
    assert set() == not_found & of().terms(name)


def test_an_object_says_the_same_by_its_entries() -> None:
    """Labels are the model's own; the ancestor among the entries is none."""
    vocabulary = of()
    document_labels = vocabulary.document_labels(Entries(labels=vocabulary.labels_to_write(WAVERING), raw=WAVERING))

    assert ["beagle", "pug", "hotdog"] == names(document_labels.labels)
    assert vocabulary.ancestors_of(WAVERING) == document_labels.ancestors
    assert "animal" == document_labels.category
    assert {"beagle", "beast", "hot dog", "domestic dog"} <= document_labels.terms


def test_without_raw_the_labels_say_what_is_above() -> None:
    """The sum over them, and what is written among them."""
    entries = Entries(labels=(Label("dog", 0.7), Label("beagle", 0.4), Label("pug", 0.3)))

    assert of().document_labels(entries).ancestors == (Label("dog", 0.7), Label("animal", 0.7), Label("hound", 0.4))


def test_without_their_model_labels_stand_as_they_are() -> None:
    """Nothing is above them, and each of their words finds them."""
    entries = Entries(labels=(Label("dog", 0.7), Label("hot dog", 0.4)), raw=WAVERING)
    document_labels = EMPTY_VOCABULARY.document_labels(entries)

    assert ["dog", "hot dog"] == names(document_labels.labels)
    assert ((), None) == (document_labels.ancestors, document_labels.category)
    assert {"dog", "hot dog", "hot"} == document_labels.terms


def test_the_digest_is_that_of_policy_and_ancestors() -> None:
    """What changes neither label nor ancestor leaves marks as they are."""
    bare = build_vocabulary("m@1", LABELS, LABELS, Taxonomy(), LabelPolicy())

    assert 3 == len({of().digest, of(top_k=4).digest, bare.digest})
    assert of().digest == of().digest


def test_labels_written_by_former_rules_keep_what_is_known_of_them() -> None:
    """Until they are written again, a renamed label stands by its old name, with its category, ancestors and words."""
    document_labels = of(rule("pug", rename="little dog")).document_labels(Entries(labels=(Label("pug", 0.9),)))

    assert ["pug"] == names(document_labels.labels)
    assert (["dog", "animal"], "animal") == (names(document_labels.ancestors), document_labels.category)
    assert {"pug", "pug-dog", "dog"} <= document_labels.terms


def test_sums_are_as_exact_as_what_is_kept() -> None:
    """Six times 0.05 is 0.30."""
    labels = tuple("abcdef")
    words = Taxonomy(classes=(ClassTerms(ancestors=("letter",)),) * 6, ancestors=(AncestorTerms(name="letter"),))
    raw = Raw(tuple((number, 0.05) for number in range(6)))

    assert build_vocabulary("m", labels, labels, words, LabelPolicy()).ancestors_of(raw) == (Label("letter", 0.3),)
