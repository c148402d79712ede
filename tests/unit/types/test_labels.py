"""Labels, their names, what is kept of a model's scores."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.labels.taxonomy import Taxonomy
from imgtag.labels.vocabulary import build_vocabulary
from imgtag.types.labels import RAW_CLASSES, Label, Raw, identity, label_to_name, name_to_label, parse_confidence

from . import strategies as some

TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


@given(some.identities)
@example("kit fox, vulpes macrotis")
@example("100% wool; a=b/c:d+e_f")
@example("größe 犬 🦊")
@example("\x00\x7f\r\n")
def test_any_label_comes_back_from_a_name_that_headers_can_carry(label: str) -> None:
    name = label_to_name(label)

    assert set(name) <= TOKEN
    assert name_to_label(name) == label
    assert name_to_label(name.upper().replace("+", " ")).lower() == label.lower()


@given(some.texts)
def test_the_identity_of_an_identity_is_itself(text: str) -> None:
    assert identity(identity(text)) == identity(text)


def test_escapes_are_read_whatever_their_case() -> None:
    assert name_to_label("caf%C3%A9") == name_to_label("caf%c3%a9") == "café"


def test_a_label_is_known_by_lower_case_and_single_spaces() -> None:
    assert identity("  Red\t FOX ") == "red fox"
    assert identity("cafe\N{COMBINING ACUTE ACCENT}") == "café"


@pytest.mark.parametrize(
    ("text", "confidence"),
    [("0.59", 0.59), ("1.00", 1.0), ("1", 1.0), ("0.000001", 0.000001)],
)
def test_a_confidence_is_read(text: str, confidence: float) -> None:
    assert parse_confidence(text) == confidence


@pytest.mark.parametrize(
    "text",
    ["", "0.00", "0", "1.01", "-0.5", "+0.5", " 0.5", "0.5 ", "nan", "inf", "1e-1", "0.5.5", "0,5", "²", "٠.٥", "."],
)
def test_other_texts_are_no_confidence(text: str) -> None:
    assert parse_confidence(text) is None


def test_a_number_of_many_digits_is_no_confidence() -> None:
    assert parse_confidence("9" * 5000) is None
    assert parse_confidence("1" + "0" * 400) is None


@given(some.texts)
def test_any_text_is_a_confidence_or_none(text: str) -> None:
    confidence = parse_confidence(text)
    assert confidence is None or 0 < confidence <= 1


@given(some.raws)
def test_raw_comes_back(raw: Raw) -> None:
    assert Raw.decode(raw.encode()) == raw


def test_raw_keeps_the_best_and_nothing_that_rounds_to_zero() -> None:
    raw = Raw.best((number, 1 / (number + 1) ** 3) for number in range(1000))
    assert len(raw.classes) == RAW_CLASSES
    assert raw.classes[0] == (0, 1.0)
    assert Raw.best([(3, 0.00004), (5, 0.5)]).classes == ((5, 0.5),)


@pytest.mark.parametrize(
    "text",
    ["", ",", "1", "1:", ":1", "a:b", "1:2:3", "-1:5", "1:-5", "1:10001", "1:5;2:5", "1: 5", "1:5,", "٣:٥", "1:nan"],
)
def test_what_is_no_raw_is_none(text: str) -> None:
    assert Raw.decode(text) is None


def test_a_raw_of_huge_or_many_numbers_is_none() -> None:
    assert Raw.decode("1:" + "9" * 4000) is None
    assert Raw.decode("9" * 4000 + ":1") is None
    assert Raw.decode(",".join(["1:1"] * (RAW_CLASSES + 1))) is None


@given(st.text(max_size=40))
def test_any_text_is_a_raw_or_none(text: str) -> None:
    Raw.decode(text)


def test_labels_are_the_best_above_the_threshold() -> None:
    raw = Raw(((2, 0.6), (0, 0.3), (1, 0.004)))

    def said(policy: LabelPolicy, names: tuple[str, ...] = ("fox", "dog", "cat")) -> tuple[Label, ...]:
        return build_vocabulary("m", names, names, Taxonomy(), policy).select_labels(raw)

    assert said(LabelPolicy(top_k=5, threshold=0.1)) == (Label("cat", 0.6), Label("fox", 0.3))
    assert said(LabelPolicy(top_k=1)) == (Label("cat", 0.6),)
    assert said(LabelPolicy(top_k=5, threshold=0))[2:] == ()
    assert said(LabelPolicy(), ("fox",)) == (Label("fox", 0.3),), "a class that the model does not have"


def test_each_setting_that_shapes_labels_changes_the_digest() -> None:
    fox = LabelRule(labels=("fox",), drop=True)
    policies = [
        LabelPolicy(),
        LabelPolicy(top_k=4),
        LabelPolicy(threshold=0.2),
        LabelPolicy(decimals=3),
        LabelPolicy(rules=(fox,)),
        LabelPolicy(rules=(LabelRule(labels=("fox",), threshold=0.5),)),
        LabelPolicy(allow=("fox",)),
        LabelPolicy(deny=("fox",)),
    ]
    assert len({policy.digest for policy in policies}) == len(policies)
    assert LabelPolicy().digest == LabelPolicy().digest
