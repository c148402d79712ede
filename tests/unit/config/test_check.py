"""Values that are right one by one and wrong together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imgtag.config.check import check_run, require_run
from imgtag.config.configuration import Config
from imgtag.config.findings import InvalidConfig

Load = Callable[..., Config]
Findings = Callable[..., list[str]]

S3 = '[store.s3]\nendpoint = "http://h"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[labels]\nprefix = "imgtag-"',
            "imgtag.toml:2: labels.prefix: a label could be mistaken for the sidecar's own entry `imgtag-mark`",
        ),
        (
            "[pipeline]\nmax_bytes = 200\nbytes_in_flight = 100",
            "imgtag.toml:2: pipeline.max_bytes: exceeds bytes_in_flight, which is 100",
        ),
        (
            "[pipeline]\nworker_memory = 100",
            "imgtag.toml:1: pipeline.max_pixels: an image of this size does not fit into worker_memory",
        ),
        (
            "[[rules]]\nbucket = 'maps'\nlimits = { max_pixels = 200_000_000 }",
            "imgtag.toml:3: rules[0].limits.max_pixels: an image of this size does not fit into worker_memory",
        ),
        ("[pipeline]\nretry_first = 400", "imgtag.toml:2: pipeline.retry_first: exceeds retry_max"),
        ('[plugins]\ndir = "/no/such"', "imgtag.toml:2: plugins.dir: there is no folder /no/such"),
        (
            '[store.directory]\nroot = "/x"\n[writeback]\nstrategy = "copy"',
            'imgtag.toml:4: writeback.strategy: "copy" is for S3; [store.directory] supports "auto" and "none"',
        ),
        (
            '[[rules]]\nbucket = "b"\ninclude = ["/a"]',
            "imgtag.toml:3: rules[0].include: keys do not begin with `/`: remove it",
        ),
        (
            '[[rules]]\nbucket = "b"\nlimits = { max_bytes = "1 GiB" }',
            "imgtag.toml:3: rules[0].limits.max_bytes: exceeds bytes_in_flight, which is 134217728",
        ),
    ],
)
def test_combinations_without_sense(findings: Findings, text: str, expected: str) -> None:
    """Each is a finding at the key to change."""
    assert [expected] == findings(text)


@pytest.mark.parametrize(
    ("earlier", "later", "shadowed"),
    [
        ("", "", True),
        ('include = ["a/**"]', 'include = ["a/**"]', True),
        ('include = ["a/*"]', 'include = ["a/b"]', True),
        ('include = ["a/*"]', 'include = ["a/b/c"]', False),
        ('include = ["a/*"]', "", False),
        ('exclude = ["a"]', "", False),
        ('exclude = ["a"]', 'exclude = ["a", "b"]', True),
    ],
)
def test_rule_that_never_matches(load_text: Load, earlier: str, later: str, *, shadowed: bool) -> None:
    """A rule behind one that takes all of it is surely a mistake."""
    text = f'[[rules]]\nbucket = "b"\n{earlier}\n[[rules]]\nbucket = "b"\n{later}'

    if shadowed:
        with pytest.raises(
            InvalidConfig, match=r":4: rules\[1\]: unreachable: rules\[0\] already matches everything in it"
        ):
            load_text(text)
    else:
        load_text(text)


def test_run_wants_rules_and_plugins(load_text: Load) -> None:
    """What only `run` needs is not an error of the file, and the finding says what to write."""
    messages = [str(finding) for finding in check_run(load_text(S3))]

    assert 3 == len(messages)
    assert "no source is configured: write [source.directory] or [source.nats]" in messages[0]
    assert "no indexer is configured" in messages[1]
    assert 'write [[rules]] with bucket = "NAME"' in messages[2]


def test_run_is_content_with_a_folder(load_text: Load) -> None:
    """A folder needs nothing else."""
    require_run(load_text('[store.directory]\nroot = "/x"'))

    with pytest.raises(InvalidConfig):
        require_run(load_text(""))
