"""The words of a worker that a picture may have taken over."""

from __future__ import annotations

import ast
import json
import math
import re
from base64 import b64encode
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import ModelError, PluginError, Undecodable, Unreadable
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.plugin.classifier import ModelInfo
from imgtag.types import image_formats
from imgtag.types.facts import Facts
from imgtag.types.labels import Raw
from imgtag.workers import answers, child, frames
from imgtag.workers.frames import FrameError

DIGEST = bytes(range(32))
GOOD = {"raw": "0:9000,2:100", "facts": "1;w=30;h=20", "vec": "", "decode": 0.1, "infer": 0.2}
INFO = ModelInfo(name="m", digest="0" * 64, labels=("a", "b", "c"), display=("A", "B", "C"), size=(8, 8))
WORDS = {"type": "Unreadable", "message": "too large", "hint": "make it smaller", "code": "memory"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)


def test_an_answer_is_read() -> None:
    inference = answers.parse_inference(GOOD, 3, DIGEST)
    assert inference.raw == Raw(((0, 0.9), (2, 0.01)))
    assert inference.facts == Facts(width=30, height=20)
    assert (inference.digest, inference.decode, inference.infer) == (DIGEST, 0.1, 0.2)
    assert answers.parse_refusal(GOOD) is None


def test_the_digest_is_the_workers_where_the_sidecar_has_none() -> None:
    """What a worker says beside a digest of the sidecar's own is not looked at."""
    said = {**GOOD, "digest": "ab" * 32}
    assert answers.parse_inference(said, 3).digest == bytes.fromhex("ab" * 32)
    assert answers.parse_inference(said, 3, DIGEST).digest == DIGEST


@pytest.mark.parametrize("digest", [{}, {"digest": ""}, {"digest": "ab" * 31}, {"digest": "xy" * 32}, {"digest": 7}])
def test_a_digest_that_is_none_is_nonsense(digest: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        answers.parse_inference({**GOOD, **digest}, 3)


def test_a_model_that_sees_nothing_at_all_is_a_result() -> None:
    assert answers.parse_inference({**GOOD, "raw": ""}, 3, DIGEST).raw == Raw(())


def test_a_vector_is_read_as_its_bytes() -> None:
    values = bytes([1, 255]) * 64
    assert answers.parse_inference({**GOOD, "vec": b64encode(values).decode()}, 3, DIGEST).vec == values
    assert answers.parse_inference(GOOD, 3, DIGEST).vec is None


@pytest.mark.parametrize(
    "changed",
    [
        {"vec": "AQID"},
        {"vec": b64encode(bytes(128)).decode()},
        {"vec": "\u00e9" * 171},
        {"vec": ["A"] * 171},
        {"vec": 1},
        {"raw": "3:9000"},
        {"raw": "0:NaN"},
        {"raw": "-1:9000"},
        {"raw": "0:10001"},
        {"raw": [["0", 1]]},
        {"raw": 5},
        {"facts": ";=;"},
        {"facts": None},
        {"decode": math.nan},
        {"infer": math.inf},
        {"infer": "1"},
        {"infer": 10**400},
    ],
)
def test_an_answer_that_makes_no_sense_is_none(changed: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        answers.parse_inference({**GOOD, **changed}, 3, DIGEST)


@pytest.mark.parametrize("name", GOOD)
def test_an_answer_that_lacks_something_is_none(name: str) -> None:
    with pytest.raises(FrameError):
        answers.parse_inference({key: value for key, value in GOOD.items() if key != name}, 3, DIGEST)


@given(st.dictionaries(st.sampled_from([*GOOD, "error", "info"]), json_values))
def test_any_answer_is_read_or_refused(changed: dict[str, object]) -> None:
    whole = {**GOOD, **changed}
    for read in (lambda: answers.parse_inference(whole, 3, DIGEST), lambda: answers.parse_model_info(changed)):
        try:
            read()
        except (FrameError, ModelError):
            continue
    try:
        answers.parse_refusal(changed)
        answers.parse_failure(changed)
    except FrameError:
        pass


def test_a_refusal_keeps_its_kind_words_and_code() -> None:
    error = answers.parse_refusal({"error": WORDS})
    assert isinstance(error, Unreadable)
    assert (error.message, error.hint, error.code) == ("too large", "make it smaller", "memory")


@pytest.mark.parametrize("kind", ["ConfigError", "Unavailable", "ModelError", "QueryError", "KeyError", "", None, 5])
def test_a_picture_cannot_stop_the_sidecar(kind: object) -> None:
    error = answers.parse_refusal({"error": {**WORDS, "type": kind}})
    assert type(error) is Undecodable


@pytest.mark.parametrize("code", ["paid_1000", "worker_died", "x" * 40])
def test_a_worker_invents_no_code(code: str) -> None:
    """A metric's label is one of a few values, whatever a worker says."""
    error = answers.parse_refusal({"error": {**WORDS, "code": code}})
    assert error
    assert error.code == "unreadable"


def test_every_code_of_the_decoder_is_known() -> None:
    """A refusal keeps its code on the way to metrics and documents."""
    used = {
        keyword.value.value
        for path in (*Path(child.__file__).parent.glob("*.py"), Path(image_formats.__file__))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert used == answers.REFUSAL_CODES


@pytest.mark.parametrize("camera", ["x" * 65, "a\nb", "\u202egnp", "\x1b[2J"])
def test_a_camera_is_a_short_printable_name_or_none(camera: str) -> None:
    facts = Facts(width=1, camera=camera).encode()
    assert answers.parse_inference({**GOOD, "facts": facts}, 3, DIGEST).facts == Facts(width=1)


@pytest.mark.parametrize("granted", [["landlock", "root"], [["seccomp"]], "seccomp", None, 5])
def test_confinement_that_makes_no_sense_is_none(granted: object) -> None:
    with pytest.raises(FrameError):
        answers.parse_confinement({"confinement": granted})


def test_words_of_a_worker_are_one_printable_line() -> None:
    error = answers.parse_refusal({"error": {**WORDS, "message": "a\nb\x1b[31m\ud800" * 999, "code": "A B\n"}})
    assert error
    assert error.message.isprintable()
    assert len(error.message) == 500
    assert error.code == "unreadable"


@pytest.mark.parametrize(
    "said", ["stop", [], {}, {**WORDS, "message": 5}, {**WORDS, "code": None}, {**WORDS, "type": []}]
)
def test_a_refusal_that_makes_no_sense_is_none(said: object) -> None:
    with pytest.raises(FrameError):
        answers.parse_refusal({"error": said})


def test_a_worker_that_did_not_start_says_why() -> None:
    assert isinstance(answers.parse_failure({"error": {**WORDS, "type": "PluginError"}}), PluginError)
    assert isinstance(answers.parse_failure({"error": {**WORDS, "type": "Unreadable"}}), ModelError)
    assert answers.parse_failure({"info": {}}) is None


def test_a_model_is_read() -> None:
    assert answers.parse_model_info(json.loads(json.dumps({"info": asdict(INFO)}))) == INFO


def test_the_words_of_a_model_are_read() -> None:
    words = Taxonomy(
        classes=tuple(ClassTerms(category=None, ancestors=("letter",), synonyms=(label * 2,)) for label in INFO.labels),
        ancestors=(AncestorTerms(name="letter", synonyms=("character",)),),
    )
    assert (
        answers.parse_model_info(json.loads(json.dumps({"info": asdict(replace(INFO, taxonomy=words))}))).taxonomy
        == words
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": ["a", "b", "a"]}, "'a' is the label of more than one class"),
        ({"labels": ["a", "", "c"]}, "class 1 has no name"),
        ({"display": ["A", "B", " "]}, "class 2 has no name"),
        ({"labels": ["a", "B", "c"]}, "its label 'B' is not in lower case and single-spaced: 'b'"),
        ({"labels": ["a", "b  b", "c"]}, "its label 'b  b' is not in lower case and single-spaced: 'b b'"),
    ],
)
def test_labels_that_no_object_could_tell_apart_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(f"the labels of the model m: {message}")) as refused:
        answers.parse_model_info({"info": {**asdict(INFO), **changed}})
    assert "lower case and unique" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"classes": [], "ancestors": 5},
        {"classes": [{"category": None, "ancestors": [], "synonyms": []}], "ancestors": []},
        {"classes": [{"category": 5, "ancestors": [], "synonyms": []}] * 3, "ancestors": []},
        {"classes": [{"category": None, "ancestors": "abc", "synonyms": []}] * 3, "ancestors": []},
        {"classes": [], "ancestors": [{"name": None, "synonyms": []}]},
    ],
    ids=str,
)
def test_words_that_make_no_sense_are_none(words: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        answers.parse_model_info({"info": {**asdict(INFO), "taxonomy": words}})


@pytest.mark.parametrize(
    "changed",
    [{"size": [0, 8]}, {"size": [8]}, {"labels": ["a"]}, {"labels": [1, 2, 3]}, {"more": 1}, {"projection": "A b"}],
)
def test_a_model_that_makes_no_sense_is_none(changed: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        answers.parse_model_info({"info": {**asdict(INFO), **changed}})


@given(st.dictionaries(st.text(), json_values), st.integers(0, 2**32 - 1))
def test_a_frame_comes_back(header: dict[str, object], body: int) -> None:
    frame = frames.encode(header, body)
    length, more = frames.lengths(frame[: frames.PREFIX.size], body)
    assert more == body
    assert len(frame) == frames.PREFIX.size + length
    assert repr(frames.decode_header(frame[frames.PREFIX.size :])) == repr(header)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"5", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"])
def test_what_is_no_header_is_refused(text: bytes) -> None:
    with pytest.raises(FrameError):
        frames.decode_header(text)


def test_frames_over_a_limit_are_refused() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        frames.lengths(frames.PREFIX.pack(frames.MAX_HEADER + 1, 0), 100)
    with pytest.raises(FrameError, match="over the limit"):
        frames.lengths(frames.PREFIX.pack(1, 101), 100)
