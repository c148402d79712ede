"""The words of the bundled model, as committed."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings
from imgtag_tflite.source import BUNDLED

ROOT = Path(__file__).resolve().parents[3]
WORDNET = Path("/usr/share/wordnet/data.noun")
PAGE = (ROOT / "docs" / "reference" / "labels.md").read_text(encoding="utf-8")


def table(name: str) -> list[dict[str, str]]:
    with (BUNDLED / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def names(text: str) -> list[str]:
    return text.split(", ") if text else []


CLASSES = {row["label"]: row for row in table("words.tsv")}
ANCESTORS = {row["ancestor"]: names(row["synonyms"]) for row in table("ancestors.tsv")}
SIZES = Counter(name for row in CLASSES.values() for name in names(row["ancestors"]))


def test_the_classes_are_those_of_the_model():
    """A line for each class, in the model's order, by the name that it goes by everywhere, with its WordNet id."""
    labels = load_model(TFLiteSettings()).info.labels
    synsets = (BUNDLED / "synsets.txt").read_text(encoding="ascii").split()

    assert list(zip(labels, synsets, strict=True)) == [(row["label"], row["synset"]) for row in table("words.tsv")]


def test_every_class_has_one_of_a_few_categories():
    """Twenty words, each used, and each explained in the docs."""
    used = {row["category"] for row in CLASSES.values()}

    assert 20 == len(used)
    assert used == set(re.findall(r"^\| `([^`]+)` \| \d+ \| [a-z]", _section("categories"), re.MULTILINE))


def test_an_ancestor_is_no_label():
    """Both stand in one table of scores, and must not be taken for one another."""
    assert set() == set(ANCESTORS) & set(CLASSES)


def test_the_ancestors_of_classes_are_those_that_are_listed():
    """Between 50 and 120, each above a class; their synonyms are no names of other ancestors."""
    assert set(ANCESTORS) == set(SIZES)
    assert 50 <= len(ANCESTORS) <= 120
    assert set() == {word for synonyms in ANCESTORS.values() for word in synonyms} & set(ANCESTORS)


def test_the_nearest_ancestor_stands_first():
    """Nearer is what has fewer classes."""
    for row in CLASSES.values():
        sizes = [SIZES[name] for name in names(row["ancestors"])]
        assert sorted(sizes) == sizes, row["label"]


def test_names_are_lower_case_and_stand_once():
    """Nothing that a search would have to fold first, and no synonym that says what the label says."""
    for row in CLASSES.values():
        words = [row["label"], *names(row["synonyms"])]
        assert sorted(set(words)) == sorted(word.lower().strip() for word in words)


@pytest.mark.parametrize(
    ("label", "ancestors"),
    [
        ("golden retriever", "retriever, dog, canine, mammal, animal"),
        ("tabby", "cat, feline, mammal, animal"),
        ("hyena", "mammal, animal"),
        ("madagascar cat", "mammal, animal"),
        ("red fox", "fox, canine, mammal, animal"),
        ("tusker", "elephant, mammal, animal"),
        ("crane (bird)", "water bird, bird, animal"),
        ("crane (machine)", ""),
        ("bullfrog", "frog, amphibian (animal), animal"),
        ("amphibian", "vehicle"),
        ("ambulance", "car, vehicle"),
        ("school bus", "bus, vehicle"),
        ("airliner", "airplane, aircraft, vehicle"),
        ("schooner", "ship, boat, watercraft, vehicle"),
        ("missile", "rocket, weapon"),
        ("lumbermill", "building"),
        ("church", "place of worship, building"),
        ("apiary", ""),
        ("banana", "fruit, food"),
        ("broccoli", "vegetable, food"),
        ("espresso", "coffee, drink, food"),
        ("meat loaf", "food"),
        ("mushroom", "fungus"),
        ("daisy", "flower, plant"),
        ("alp", "mountain, landscape"),
        ("cup", "kitchenware"),
        ("maillot (tights)", "swimsuit, clothing"),
        ("running shoe", "shoe, clothing"),
        ("seat belt", ""),
        ("violin", "musical instrument"),
        ("stethoscope", "medical equipment"),
        ("laptop", "computer, electronics"),
        ("rifle", "gun, weapon"),
        ("groom", "person"),
    ],
)
def test_what_a_class_is_a_kind_of(label, ancestors):
    """By meaning, not by word: the lumbermill is no plant, the ambulance no container, the Madagascar cat no cat."""
    assert ancestors == CLASSES[label]["ancestors"]


@pytest.mark.parametrize(
    ("label", "category"),
    [
        ("golden retriever", "animal"),
        ("banana", "food"),
        ("ambulance", "vehicle"),
        ("car wheel", "vehicle"),
        ("castle", "building"),
        ("traffic light", "street"),
        ("volcano", "landscape"),
        ("crane (machine)", "tool"),
        ("bubble", "leisure"),
        ("printer", "electronics"),
    ],
)
def test_the_category_of_a_class(label, category):
    """Also where WordNet has it under a shape, a signal, or two things at once."""
    assert category == CLASSES[label]["category"]


@pytest.mark.parametrize(
    ("label", "synonym"),
    [
        ("cellular telephone", "mobile phone"),
        ("ice bear", "polar bear"),
        ("crane (bird)", "crane"),
        ("hotdog", "hot dog"),
        ("cougar", "felis concolor"),
    ],
)
def test_a_class_is_found_by_its_other_names(label, synonym):
    """They come from WordNet."""
    assert synonym in names(CLASSES[label]["synonyms"])


@pytest.mark.parametrize(("label", "name"), [("cougar", "painter"), ("skunk", "polecat"), ("ocarina", "sweet potato")])
def test_misleading_names_are_dropped(label, name):
    """What means something else today, or is another class's label, finds the wrong pictures."""
    assert name not in names(CLASSES[label]["synonyms"])


def test_an_ancestor_is_found_by_its_other_names():
    """Among them the word that a label has taken."""
    assert {"automobile", "auto"} < set(ANCESTORS["car"])
    assert ["mushroom", "toadstool"] == ANCESTORS["fungus"]


def test_the_licence_of_wordnet_is_beside_the_tables():
    """Its terms want notice, permission and disclaimer on every copy, also of what is made from it."""
    text = (BUNDLED / "LICENSE.WordNet").read_text(encoding="utf-8")

    assert "WordNet 3.0 Copyright 2006 by Princeton University." in text
    assert "Permission to use, copy, modify and distribute this software" in text
    assert 'THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS"' in text


def test_the_tables_are_small():
    """They are loaded at every start."""
    assert 150_000 > sum((BUNDLED / name).stat().st_size for name in ("words.tsv", "ancestors.tsv"))


def test_the_docs_list_every_ancestor_with_its_number_of_classes():
    """The table is that of the model."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) ?\| (\d+) \|", _section("ancestors"), re.MULTILINE)

    assert [(name, ANCESTORS[name], SIZES[name]) for name in ANCESTORS] == [
        (name, names(synonyms.strip()), int(size)) for name, synonyms, size in rows
    ]


def test_the_measured_table_knows_every_ancestor():
    """A changed list is measured again."""
    measured = PAGE.partition("## How well ancestors are found")[2]

    assert set(ANCESTORS) == set(re.findall(r"`([a-z ()]+)`", measured))


@pytest.mark.skipif(not WORDNET.exists(), reason="no WordNet: apt-get install wordnet-base")
def test_a_build_makes_what_is_committed():
    """Tables, licence and docs, byte for byte."""
    command = [sys.executable, str(ROOT / "scripts" / "wordnet"), "build", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "4 files are what a build makes\n", "") == (done.returncode, done.stdout, done.stderr)


def _section(name: str) -> str:
    return PAGE.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
