"""Which objects are touched, and with which settings."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtag.config.configuration import Config
from imgtag.config.globs import compile_glob
from imgtag.config.policy import PolicyResolver
from imgtag.types.ref import ObjectRef

Load = Callable[..., Config]

S3 = '[store.s3]\nendpoint = "http://h"\n'
KEYS = st.text(alphabet="ab/.*[\n", max_size=8)


def matches(glob: str, key: str) -> bool:
    return bool(compile_glob(glob).fullmatch(key))


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.jpg", ["a.jpg", ".jpg"], ["a/b.jpg", "a.jpgx", "a.jpg\n", "aXjpg"]),
        ("**", ["", "a", "a/b/c"], []),
        ("**/*.jpg", ["a.jpg", "a/b/c.jpg"], ["ajpg"]),
        ("a/**", ["a/b", "a/b/c", "a/"], ["a", "b/a/c"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("a**b", ["ab", "a/x/b"], ["b"]),
        ("?.[x]", ["a.[x]"], ["/.[x]", "a.x"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    """`*` and `?` stop at a slash, `**` does not, and nothing else is special."""
    assert yes == [key for key in yes + no if matches(glob, key)]


@given(KEYS)
def test_what_has_no_star_matches_itself_only(key: str) -> None:
    """A plain key is a glob for itself."""
    plain = re.sub(r"[*?]", "", key)

    assert matches(plain, plain)
    assert not matches(plain, plain + "x")


@given(st.lists(KEYS, max_size=3), KEYS)
def test_one_star_never_crosses_a_slash(parts: list[str], key: str) -> None:
    """A match of a glob without `**` has as many slashes as the glob."""
    glob = re.sub(r"\*\*+", "*", "*".join(parts))

    if matches(glob, key):
        assert glob.count("/") == key.count("/")


@given(KEYS, KEYS)
def test_two_stars_match_more_than_one(glob: str, key: str) -> None:
    """Widening a star loses nothing."""
    single = re.sub(r"\*\*+", "*", glob)

    if matches(single, key):
        assert matches(single.replace("*", "**"), key)


def test_first_match_wins_and_the_rest_falls_back(load_text: Load) -> None:
    """A rule changes what it names; a setting given at its default counts as given."""
    config = load_text(
        S3
        + """
[labels]
top_k = 7
threshold = 0.3
mark_key = "secret"
[pipeline]
max_pixels = 1000
[[rules]]
bucket = "b"
include = ["in/**"]
exclude = ["**/raw/**"]
labels = { top_k = 5 }
limits = { max_bytes = "1 MiB" }
[[rules]]
bucket = "b"
writeback = { strategy = "none" }
"""
    )
    rules = PolicyResolver(config)

    first, second = rules(ObjectRef("b", "in/a")), rules(ObjectRef("b", "in/raw/a"))

    assert first is not None
    assert (0, 5, 0.3) == (first.rule, first.labels.top_k, first.labels.threshold)
    assert config.labels.mark_key
    assert (config.labels.mark_key.get_secret_value().encode(),) == first.codec.keys
    assert (2**20, 1000, "auto") == (first.max_bytes, first.limits.pixels, first.strategy)
    assert second is not None
    assert (1, 7, "none") == (second.rule, second.labels.top_k, second.strategy)
    assert rules(ObjectRef("other", "in/a")) is None
    assert rules(ObjectRef("b", "in/z")) is first
    assert ("b",) == config.context().buckets


def test_without_rules_a_folder_is_taken_whole_and_a_store_not_at_all(load_text: Load) -> None:
    """What no rule names is never touched, except in a folder that was named itself."""
    folder, store = load_text('[store.directory]\nroot = "/x"'), load_text(S3)
    ref = ObjectRef("x", "a")

    resolver = PolicyResolver(folder)

    assert resolver.general is resolver(ref)
    assert resolver.general.rule is None
    assert PolicyResolver(store)(ref) is None


def _reference(glob: str, key: str) -> bool:
    """Matched by the regular expression that the glob stands for."""
    token = re.compile(r"((?:(?<=/)|\A)\*\*/)|(\*\*+)|(\*)|(\?)|([^*?]+)")
    patterns = ("(?:.*/)?", ".*", "[^/]*", "[^/]")
    parts = (re.escape(m[5]) if m[5] else patterns[m.lastindex - 1] for m in token.finditer(glob))
    return re.fullmatch("".join(parts), key, re.DOTALL) is not None


@given(st.text("ab/*?", max_size=12), st.text("ab/", max_size=12))
@settings(max_examples=1000)
def test_every_glob_means_its_regular_expression(glob: str, key: str) -> None:
    """Whether it is matched by one or, with several wildcards, by an automaton."""
    assert _reference(glob, key) == bool(compile_glob(glob).fullmatch(key))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "glob", ["**/*-*-*-*.jpg", "*a*a*a*a*a*b", "**a**a**a**b", "**/**/**/a/**/b", "?*?*?*?*b", "a**/**/**b"]
)
def test_no_key_takes_long(glob: str) -> None:
    """A key of the greatest length that nearly matches: by backtracking each of these takes seconds to days."""
    for key in ("a-" * 512, "a" * 1024, "a/" * 512, "-" * 1024):
        assert not compile_glob(glob).fullmatch(f"{key}!")
