"""The small language for places in an answer."""

import pytest

from imgtag.errors import Unavailable
from imgtag_http.paths import MAX_ITEMS, find_all, find_one, parse_path

ANSWER = {
    "predictions": [{"label": "dog", "score": [0.9]}, {"label": "grass", "score": [0.4]}],
    "scores": {"dog": 0.9, "kit fox": 0.4},
    "a-b_c": {"d e": 1},
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("", [ANSWER]),
        ("predictions[*].label", ["dog", "grass"]),
        ("predictions[1].score[0]", [0.4]),
        ("scores[*].@key", ["dog", "kit fox"]),
        ("scores[*].@value", [0.9, 0.4]),
        ("scores.kit fox", [0.4]),
        ("a-b_c.d e", [1]),
    ],
)
def test_a_path_names_places(path, values):
    """Keys, elements, and each of several."""
    assert find_all(ANSWER, path) == values


@pytest.mark.parametrize(
    "path", ["nothing", "predictions[2]", "predictions.label", "scores[0]", "scores.dog[*]", "@key"]
)
def test_a_place_that_is_not_there_is_the_servers_fault(path):
    """No picture is to blame."""
    with pytest.raises(Unavailable) as caught:
        find_all(ANSWER, path)

    assert caught.value.code == "invalid_answer"


def test_one_place_is_not_two():
    """A name is one text."""
    with pytest.raises(Unavailable, match="2 places"):
        find_one(ANSWER, "predictions[*].label")


@pytest.mark.parametrize(
    "path", [".a", "a..b", "a[-1]", "a[x]", "a[0", "$.a", "a[?(@.b)]", "__class__()", ".".join("abcdefghijklm")]
)
def test_what_is_no_path_is_refused(path):
    """Before anything is asked: a finding in the configuration."""
    with pytest.raises(ValueError, match="path"):
        parse_path(path)


def test_as_many_elements_as_a_server_sends_are_not_all_looked_at():
    """An image has far fewer labels."""
    assert len(find_all(list(range(10 * MAX_ITEMS)), "[*]")) == MAX_ITEMS
