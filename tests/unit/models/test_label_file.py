"""Label files of every usual form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import ModelError
from imgtag.models.label_file import fit_labels, parse_labels, read_labels


@pytest.mark.parametrize(
    "content",
    [
        b"red fox\ndog\nTabby\n",
        b"\xef\xbb\xbfred fox\r\ndog\r\nTabby\r\n\r\n",
        b"0 red fox\n1 dog\n2 Tabby",
        b"1: red fox\n2: dog\n3: Tabby\n",
        b"2:Tabby\n0:red fox\n1:dog\n",
        b"0,red fox\n1,dog\n2,Tabby\n",
        b"n02119022 red fox, Vulpes vulpes\nn02084071 dog\nn02123045 Tabby\n",
    ],
    ids=["plain", "Windows", "id label", "id: label", "unordered", "id,label", "synsets"],
)
def test_forms(content: bytes) -> None:
    """Every usual form of a label file gives the same labels."""
    assert ("red fox", "dog", "Tabby") == parse_labels(content, "labels.txt")


def test_a_comma_belongs_to_the_label() -> None:
    """Only lists of synsets have synonyms; elsewhere what stands behind a comma tells classes apart."""
    peppers = ("Pepper,_bell___Bacterial_spot", "Pepper,_bell___healthy", "Corn, sweet", "rice, white")

    assert peppers == parse_labels("\n".join(peppers).encode(), "labels.txt")


def test_a_list_as_long_as_that_of_imagenet_has_synonyms() -> None:
    """As the usual files of its thousand classes, with WordNet ids or without."""
    names = [f"class {number}, synonym {number}" for number in range(1000)]

    assert "class 999" == parse_labels("\n".join(names).encode(), "labels.txt")[-1]


def test_synonyms_tell_classes_apart_that_have_one_name() -> None:
    """A first synonym that two classes have is not enough for either; the others are cut."""
    content = b"n03710637 maillot\nn03710721 maillot, tank suit\nn01440764 tench, Tinca tinca\n"

    assert ("maillot", "maillot, tank suit", "tench") == parse_labels(content, "labels.txt")


@pytest.mark.parametrize("content", [b"3 toed sloth\ndog\n", b"10 euro\n10 cents\n"])
def test_numbers_that_are_part_of_the_name(content: bytes) -> None:
    """Numbers that do not number the lines stay in the labels."""
    assert tuple(content.decode().splitlines()) == parse_labels(content, "labels.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "labels.txt is empty"),
        (b"\n\n", "labels.txt is empty"),
        (b"fox\n\ndog\n", "labels.txt, line 2 is empty"),
        (b"fox\nd\xffg\n", "labels.txt, line 2 is not UTF-8"),
        (b"fox\ndo\0g\n", "labels.txt, line 2 has control characters"),
        (b"fox\n" + b"x" * 201, "labels.txt, line 2 is longer than 200 characters"),
        (b"0 fox\n1 dog\n3 cat\n", "number 2 is missing"),
    ],
)
def test_faults(content: bytes, message: str) -> None:
    """A faulty label file is refused by name and line, with a hint."""
    with pytest.raises(ModelError, match=message) as caught:
        parse_labels(content, "labels.txt")

    assert caught.value.hint


def test_missing_file(tmp_path: Path) -> None:
    """A missing label file is named, with the setting to look at."""
    with pytest.raises(ModelError, match=r"cannot read the label file .*none\.txt") as caught:
        read_labels(tmp_path / "none.txt")

    assert "`labels` in the model's manifest" in caught.value.hint


def test_background_that_the_model_lacks() -> None:
    """A background line before the classes is left out where the model has no such class."""
    assert ("fox", "dog") == fit_labels(("background", "fox", "dog"), "labels.txt", 2)


def test_background_that_both_have() -> None:
    """A background class of the model keeps its name."""
    assert ("Background", "fox") == fit_labels(("Background", "fox"), "labels.txt", 2)


@pytest.mark.parametrize("names", [("fox",), ("fox", "dog", "cat"), ("fox", "dog", "cat", "hen")])
def test_wrong_number(names: tuple[str, ...]) -> None:
    """Too few or too many labels are refused, with both numbers."""
    with pytest.raises(ModelError, match=f"labels up to line {len(names)}, but the model has 2 classes") as caught:
        fit_labels(names, "labels.txt", 2)

    assert "2 lines" in caught.value.hint


def test_duplicates() -> None:
    """Names that agree in lower case are numbered, and never take a name that is there already."""
    assert ("crane", "Crane (3)", "crane (2)", "CRANE (4)") == fit_labels(
        ("crane", "Crane", "crane (2)", "CRANE"), "labels.txt", 4
    )


@pytest.mark.timeout(20)
def test_a_label_file_of_one_name_is_read_in_linear_time() -> None:
    """A hostile model folder must not hold the sidecar up: the square of this many takes an hour."""
    shown = fit_labels(["a"] * 200_000, "labels.txt", 200_000)

    assert ("a", "a (2)", "a (200000)") == (shown[0], shown[1], shown[-1])


@given(st.lists(st.sampled_from(["a", "A", "a (2)", "A (2)", "a (2) (2)", "b"]), min_size=1))
def test_identities_are_unique(names: list[str]) -> None:
    """Whatever the names, no two classes have the same identity, and the first of a kind keeps its name."""
    shown = fit_labels(names, "labels.txt", len(names))

    assert len(names) == len({name.lower() for name in shown})
    assert names[0] == shown[0]
