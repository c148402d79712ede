"""Which objects are touched, and with which settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtag.config.configuration import Config
from imgtag.config.globs import compile_glob
from imgtag.config.label_rules import shipped_rules
from imgtag.config.policy import ObjectPolicy, PolicyResolver
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.types.metadata import MetadataCodec
from imgtag.types.picture_limits import PictureLimits
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


@pytest.mark.parametrize(
    "glob",
    [
        "*a*a",
        "a*a*",
        "*a*b*",
        "*?*?",
        "*?a?*b",
        "a?*b?*",
        "**/**/a",
        "**/a/**/b",
        "a/**/**/b",
        "**/?/*a*",
        "a**/**b",
        "**/*",
        "*/**/?",
        "**a**",
        "?**/a",
        "**/**",
        "*a**/b?",
    ],
)
def test_several_wildcards_mean_what_one_alone_does(glob: str) -> None:
    """Over every key of up to five characters."""
    keys = ["".join(chars) for length in range(6) for chars in product("ab/", repeat=length)]

    assert [key for key in keys if _reference(glob, key)] == [key for key in keys if matches(glob, key)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "glob", ["**/*-*-*-*.jpg", "*a*a*a*a*a*b", "**a**a**a**b", "**/**/**/a/**/b", "?*?*?*?*b", "a**/**/**b"]
)
def test_no_key_takes_long(glob: str) -> None:
    """A key of the greatest length that nearly matches: by backtracking each of these takes seconds to days."""
    for key in ("a-" * 512, "a" * 1024, "a/" * 512, "-" * 1024):
        assert not compile_glob(glob).fullmatch(f"{key}!")


EVERY_SETTING = """
[labels]
top_k = 7
threshold = 0.3
decimals = 3
prefix = "ai_"
layout = "single"
keep = ["raw"]
allow = ["Red Fox", "dog*"]
deny = ["CAT"]
mark_key = "secret"
defaults = false
[writeback]
strategy = "none"
settle = 2.5
[pipeline]
max_bytes = "2 MiB"
max_pixels = 1000
max_seconds = 4
max_frames = 5
worker_memory = "264 MiB"
[[label_rules]]
label = ["Tabby", "*cat"]
rename = "house cat"
category = "Pet"
"""
EVERYTHING = ObjectPolicy(
    labels=LabelPolicy(
        top_k=7,
        threshold=0.3,
        decimals=3,
        rules=(LabelRule(labels=("tabby", "*cat"), rename="house cat", category="pet"),),
        allow=("red fox", "dog*"),
        deny=("cat",),
    ),
    codec=MetadataCodec(prefix="ai_", decimals=3, layout="single", keep=frozenset({"raw"}), keys=(b"secret",)),
    limits=PictureLimits(pixels=1000, frames=5, memory=232 << 20, seconds=4.0),
    max_bytes=2 << 20,
    strategy="none",
    settle=2.5,
)


def test_every_setting_is_in_the_policy(load_text: Load) -> None:
    """As the parts that use it take it: names as identities, memory without what a worker needs for itself."""
    resolver = PolicyResolver(load_text('[store.directory]\nroot = "/x"\n' + EVERY_SETTING))

    assert EVERYTHING == resolver.general
    assert [EVERYTHING] == list(resolver.all())


def test_a_rule_changes_what_it_names_and_nothing_else(load_text: Load) -> None:
    """Each of its parts is laid over the general one."""
    rules = """
[[rules]]
bucket = "plain"
[[rules]]
bucket = "b"
model = "birds"
shadow = "newer"
labels = { threshold = 0.4, prefix = "b_" }
writeback = { settle = 0 }
limits = { max_pixels = 7, max_seconds = 9, max_bytes = "1 MiB" }
"""
    resolver = PolicyResolver(load_text(S3 + EVERY_SETTING + rules))
    plain = replace(EVERYTHING, rule=0)
    changed = replace(
        EVERYTHING,
        labels=replace(EVERYTHING.labels, threshold=0.4),
        codec=replace(EVERYTHING.codec, prefix="b_"),
        limits=replace(EVERYTHING.limits, pixels=7, seconds=9.0),
        max_bytes=1 << 20,
        settle=0.0,
        model="birds",
        shadow="newer",
        rule=1,
    )

    assert (plain, changed) == (resolver(ObjectRef("plain", "a")), resolver(ObjectRef("b", "a")))
    assert [plain, changed] == list(resolver.all())
    assert EVERYTHING == resolver.general


def test_the_shipped_label_rules_come_after_ones_own(load_text: Load) -> None:
    """Unless they are switched off, in general or by a rule; no key means no keys."""
    own = '[[label_rules]]\nlabel = "fox"\ndrop = true\n'
    off = '[[rules]]\nbucket = "b"\nlabels = { defaults = false }\n'
    resolver = PolicyResolver(load_text(S3 + own + off))
    fox = LabelRule(labels=("fox",), drop=True)

    assert fox == resolver.general.labels.rules[0]
    assert 1 + len(shipped_rules()) == len(resolver.general.labels.rules)
    assert [(fox,)] == [policy.labels.rules for policy in resolver.all()]
    assert () == resolver.general.codec.keys


@pytest.mark.parametrize(
    ("key", "takes"),
    [("in/a.jpg", True), ("a.jpg", False), ("in/raw/a.jpg", False), ("extra", True), ("in/raw/extra", False)],
)
def test_a_rule_takes_what_one_glob_includes_and_none_excludes(load_text: Load, key: str, takes: bool) -> None:
    """Of its own bucket alone."""
    rule = '[[rules]]\nbucket = "b"\ninclude = ["in/**", "extra"]\nexclude = ["**/raw/**", "none"]\n'
    resolver = PolicyResolver(load_text(S3 + rule))

    assert takes == (resolver(ObjectRef("b", key)) is not None)
    assert resolver(ObjectRef("c", key)) is None
