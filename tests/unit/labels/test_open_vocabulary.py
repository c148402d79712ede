"""Labels that no list names in advance: each image brings its own, and the admin's rules apply to them."""

from dataclasses import replace

from imgtag.labels.open_vocabulary import open_vocabulary
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.types.detections import Box, Detection
from imgtag.types.labels import Raw
from imgtag.types.metadata import Entries

WHOLE, CORNER = Box(0.0, 0.0, 1.0, 1.0), Box(0.0, 0.0, 0.1, 0.1)
DOG = Detection(
    name="Dog",
    confidence=0.98,
    parents=("Pet", "Animal"),
    synonyms=("Hound",),
    category="Animals and Pets",
    boxes=(WHOLE, CORNER),
)
PET = Detection(name="Pet", confidence=0.97, parents=("Animal",))
ANIMAL = Detection(name="Animal", confidence=0.99, boxes=(CORNER,))
PUPPY = Detection(name="Puppy", confidence=0.6, parents=("Dog", "Pet", "Animal"))
GRASS = Detection(name="Grass", confidence=0.7, parents=("Plant",))
RAW = Raw.of_detections([DOG, PET, ANIMAL, GRASS])


def vocabulary(**policy):
    return open_vocabulary("remote@1", LabelPolicy(**policy))


def names(labels):
    return [(label.name, label.confidence) for label in labels]


def test_what_nothing_is_a_kind_of_is_a_label():
    """The others are ancestors, as sure as the model is of them or of anything below them."""
    assert names(vocabulary().select_labels(RAW)) == [("dog", 0.98), ("grass", 0.7)]
    assert names(vocabulary().ancestors_of(RAW)) == [("animal", 0.99), ("pet", 0.98), ("plant", 0.7)]


def test_a_name_is_a_label_here_and_an_ancestor_there():
    """On an image with a puppy, dog is what that is a kind of."""
    raw = Raw.of_detections([DOG, PUPPY])

    assert names(vocabulary().select_labels(raw)) == [("puppy", 0.6)]
    assert names(vocabulary().ancestors_of(raw)) == [("dog", 0.98), ("pet", 0.98), ("animal", 0.98)]


def test_confidences_do_not_add_up():
    """Two labels of one image do not exclude each other: merged, the surer one counts."""
    rule = LabelRule(labels=("dog", "grass"), merge="Lawn dog")

    assert names(vocabulary(rules=(rule,)).select_labels(RAW)) == [("lawn dog", 0.98)]


def test_rules_apply_to_names_that_no_list_has():
    """Rename, drop, thresholds and globs."""
    rules = (
        LabelRule(labels=("dog",), rename="Hund"),
        LabelRule(labels=("gr*",), drop=True),
        LabelRule(labels=("animal",), threshold=0.995),
    )
    shown = vocabulary(rules=rules)

    assert names(shown.select_labels(RAW)) == [("hund", 0.98)]
    assert names(shown.ancestors_of(RAW)) == [("pet", 0.98), ("plant", 0.7)]


def test_deny_takes_an_ancestor_and_what_is_below_it():
    """Also where the model names the ancestor itself."""
    shown = vocabulary(deny=("animal",))

    assert names(shown.select_labels(RAW)) == [("grass", 0.7)]
    assert names(shown.ancestors_of(RAW)) == [("plant", 0.7)]


def test_allow_keeps_an_ancestor_and_what_is_below_it():
    """Everything else is ignored."""
    shown = vocabulary(allow=("pet",))

    assert names(shown.select_labels(RAW)) == [("dog", 0.98)]
    assert names(shown.ancestors_of(RAW)) == [("pet", 0.98), ("animal", 0.98)]


def test_a_document_is_found_by_parents_and_synonyms():
    """And has the category of the best label."""
    entries = Entries(labels=vocabulary().labels_to_write(RAW), raw=RAW)
    shown = vocabulary().document_labels(entries)

    assert {"dog", "hound", "animal", "pet", "grass", "plant"} <= shown.terms
    assert shown.category == "animals and pets"


def test_boxes_belong_to_the_name_that_a_rule_gives():
    """Those of labels and of ancestors that the model places itself; of what is not shown there are none."""
    shown = vocabulary(rules=(LabelRule(labels=("dog",), rename="Hund"),))
    entries = Entries(labels=shown.labels_to_write(RAW), raw=RAW)

    assert shown.document_labels(entries).boxes == (("animal", CORNER), ("hund", WHOLE), ("hund", CORNER))
    dropped = vocabulary(rules=(LabelRule(labels=("dog",), drop=True), LabelRule(labels=("animal",), drop=True)))
    entries = Entries(labels=dropped.labels_to_write(RAW), raw=RAW)
    assert dropped.document_labels(entries).boxes == ()


def test_without_detections_the_labels_are_left():
    """An object may have no room for more."""
    entries = Entries(labels=vocabulary().labels_to_write(RAW))
    shown = vocabulary().document_labels(entries)

    assert [label.name for label in shown.labels] == ["dog", "grass"]
    assert shown.ancestors == ()
    assert shown.boxes == ()


def test_nothing_is_a_kind_of_itself():
    """Whatever a server says."""
    raw = Raw.of_detections([replace(DOG, parents=("dog", "Pet"))])

    assert names(vocabulary().select_labels(raw)) == [("dog", 0.98)]
    assert names(vocabulary().ancestors_of(raw)) == [("pet", 0.98)]


def test_the_digest_follows_the_policy_alone():
    """Otherwise each image would have rules of its own."""
    assert vocabulary().digest == vocabulary().digest
    assert vocabulary().digest != vocabulary(threshold=0.3).digest
