"""The builder of the word table, on a WordNet of a few lines."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "wordnet"
ENTITY, ANIMAL, DOG, PUG, SHIP, WRECK = (f"n{number:08}" for number in range(1, 7))
NOUNS = f"""\
  1 WordNet 3.0 Copyright 2006 by Princeton University.
{ENTITY[1:]} 03 n 01 entity 0 001 ~ {ANIMAL[1:]} n 0000 | that which is
{ANIMAL[1:]} 03 n 02 animal 0 wild_beast 0 001 @ {ENTITY[1:]} n 0000 | it lives
{DOG[1:]} 05 n 01 dog 0 001 @ {ANIMAL[1:]} n 0000 | it barks
{PUG[1:]} 05 n 02 Pug 0 pug-dog 0 002 @ {DOG[1:]} n 0000 ~ {DOG[1:]} n 0000 | it snores
{SHIP[1:]} 06 n 01 ship 0 001 @ {ENTITY[1:]} n 0000 | it floats
{WRECK[1:]} 06 n 02 wreck 0 dog 1 002 @ {SHIP[1:]} n 0000 @ {DOG[1:]} n 0000 | it does not
"""
CATEGORIES = f"living: {ANIMAL} | what lives\nthing: wreck, {SHIP} | what does not\n"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Derive the words of a model of two classes; lists by their names."""
    monkeypatch.syspath_prepend(SCRIPT)
    lexicon, words = (importlib.import_module(name) for name in ("lexicon", "words"))

    def built(*, synsets: str = f"{PUG}\n{WRECK}\n", **lists: str):
        texts = {"categories": CATEGORIES, "ancestors": "", "dropped": "", "shown": ""}
        texts |= {"labels": "Pug\nwreck\n", "synsets": synsets}
        for name, text in {**texts, **lists}.items():
            (tmp_path / f"{name}.txt").write_text(text)
        (tmp_path / "data.noun").write_text(NOUNS)
        return words.derive(lexicon.Lexicon.read(tmp_path / "data.noun"), tmp_path, tmp_path)

    built.refusal = importlib.import_module("lists").ListError
    return built


def above(words) -> dict[str, tuple[str, ...]]:
    return {row.label: row.ancestors for row in words.classes}


def test_what_is_under_a_synset_has_its_name(build):
    """Over all parents of a class; the fewest classes come first."""
    made = build(ancestors=f"being: {ANIMAL}\nvessel: {SHIP} | ship, +boat  # the sunken ones too\n")

    assert {"pug": ("being",), "wreck": ("vessel", "being")} == above(made)
    assert [("being", ()), ("vessel", ("ship", "boat"))] == [(row.name, row.synonyms) for row in made.ancestors]


@pytest.mark.parametrize(
    ("items", "classes"),
    [
        (f"{ANIMAL}, -wreck", ("pug",)),
        (f"{SHIP}, pug", ("pug", "wreck")),
        (f"{ANIMAL}, -{DOG}, pug", ("pug",)),
        (f"{SHIP}, -{DOG}, pug", ("pug",)),
    ],
    ids=["one taken out", "a union", "the nearer counts", "as near as in is out"],
)
def test_the_nearer_of_in_and_out_counts(build, items, classes):
    """An ancestor is a union, of which parts may be taken out."""
    assert classes == build(ancestors=f"friend: {items}\n").ancestors[0].classes


def test_the_nearest_category_counts(build):
    """A class by its label is nearest of all."""
    assert ["living", "thing"] == [row.category for row in build().classes]


def test_synonyms_are_the_other_words_of_a_class(build):
    """In lower case, without the label and what is dropped."""
    assert [("pug-dog",), ("dog",)] == [row.synonyms for row in build().classes]
    assert [("pug-dog",), ()] == [row.synonyms for row in build(dropped="wreck: dog\n").classes]


def test_a_class_is_shown_by_a_name_of_its_own(build):
    """In the case in which it is written, with a qualifier where that helps; others are shown by their labels."""
    assert ["Pug-Dog (a breed)", ""] == [row.shown for row in build(shown="pug: Pug-Dog (a breed)\n").classes]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"ancestors": "dog: n99999999"}, "ancestors.txt, line 1: WordNet has no synset n99999999"),
        ({"ancestors": "dog: poodle"}, "ancestors.txt, line 1: poodle is neither a synset, as n02084071, nor a label"),
        ({"synsets": f"{PUG}\n{SHIP}\n"}, f"synsets.txt, line 2: {SHIP} is not WordNet's wreck"),
        ({"ancestors": f"dog: {DOG}\nhound: {ANIMAL}"}, "line 2: hound and dog are two names of one ancestor"),
        ({"ancestors": f"dog: {DOG}\ndog: {SHIP}"}, "line 2: dog is there twice"),
        ({"ancestors": f"pug: {DOG}"}, "line 1: pug is the label of a class: give the ancestor another name"),
        ({"ancestors": f"dog: {DOG} | cur"}, "line 1: WordNet does not call it cur; where you do, write +cur"),
        ({"ancestors": f"dog: {DOG}\nboat: {SHIP} | +dog"}, "line 2: dog is the name of an ancestor"),
        ({"ancestors": f"hull: {SHIP}, -{DOG}"}, "line 1: no class is left in hull"),
        ({"ancestors": DOG}, "line 1: write NAME: WHAT IS IN IT"),
        ({"shown": "pug: poodle"}, "shown.txt, line 1: WordNet does not call pug poodle"),
        ({"shown": "cat: poodle"}, "shown.txt, line 1: write LABEL: NAME"),
        ({"dropped": "pug: poodle"}, "dropped.txt, line 1: pug has no synonym poodle"),
        ({"categories": f"thing: {SHIP}"}, "categories.txt: pug has no category"),
        ({"categories": f"living: {DOG}\nthing: {SHIP}"}, "wreck is as near to living as to thing: name it in one"),
    ],
)
def test_what_cannot_stand_is_refused_with_its_place(build, lists, message):
    """File, line, what is wrong, and what to write."""
    with pytest.raises(build.refusal, match=re.escape(message)):
        build(**lists)


def test_a_synset_above_no_class_is_refused(build):
    """A list says nothing idle: here the class that was under it has gone."""
    with pytest.raises(build.refusal, match=f"line 1: no class is under {WRECK}"):
        build(labels="Pug\n", synsets=f"{PUG}\n", categories=f"living: {ANIMAL}\n", ancestors=f"dog: {DOG}, -{WRECK}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory: apt-get install wordnet-base, or"),
        ("", "is not the data.noun of WordNet 3.0"),
    ],
    ids=["missing", "another"],
)
def test_without_wordnet_one_line_says_so(tmp_path, content, message):
    """What is missing and how to get it; no traceback, and nothing is written."""
    file = tmp_path / "data.noun"
    if content is not None:
        file.write_text(content)
    command = [sys.executable, str(SCRIPT), "build", "--check", "--wordnet", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert f"{file}" in done.stderr
    assert message in done.stderr
