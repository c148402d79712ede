"""`imgtag explain` and `imgtag strip` as they are typed, on a folder that no rule includes: no model is loaded."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path

import pytest

from imgtag.cli.main import main

MARK = b"1;m=a@1;r=r;c=c;e=e;o=o;t=1700000000"


@pytest.fixture
def imgtag(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run a command; returns its exit code, and what it printed on stdout and stderr."""
    root = tmp_path / "pictures"
    (root / "a").mkdir(parents=True)
    for name in ("a/fox.jpg", "b.jpg"):
        (root / name).write_bytes(b"picture")
        os.setxattr(root / name, "user.imgtag_fox", b"0.50")
        os.setxattr(root / name, "user.imgtag-mark", MARK)
    file = tmp_path / "imgtag.toml"
    file.write_text(
        f'[store.directory]\nroot = "{root}"\n[indexer.sqlite]\n[state]\ndir = "{tmp_path / "state"}"\n'
        '[[rules]]\nbucket = "pictures"\ninclude = ["**"]\nexclude = ["a/*", "b.*"]\n'
    )

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["--config", str(file), *arguments])
        return code, *capsys.readouterr()

    return run


def test_explanations_for_people(imgtag, tmp_path):
    """The conclusion, one sentence, the labels, and where the rule is written; nothing is created."""
    code, out, _ = imgtag("explain", "s3://pictures/a/fox.jpg", "pictures/gone.jpg", "pictures")

    assert 1 == code
    first, because, labels, rule, *rest = out.splitlines()
    assert "pictures/a/fox.jpg: skipped" == first
    assert because.startswith(
        "  rules[0] excludes it: its key matches 'a/*'; labels from an earlier time are still on it"
    )
    assert "  labels    fox 0.50" == labels
    assert f"  rule      rules[0] ({tmp_path / 'imgtag.toml'}:6)" == rule
    assert ["pictures: cannot be explained", "  'pictures' is not an object: write BUCKET/KEY"] == rest[-3:-1]
    assert not (tmp_path / "state").exists()


def test_explanations_for_programs(imgtag):
    """One object a REF, in their order, each as it was written."""
    code, out, _ = imgtag("explain", "--json", "s3://pictures/b.jpg", "pictures/")

    explained, failed = map(json.loads, out.splitlines())
    assert 1 == code
    assert ["ref", "status", "mark", "labels", "rule", "because", "verified", "differs", "index"] == list(explained)
    assert ("s3://pictures/b.jpg", "skipped", "rules[0]") == tuple(explained[n] for n in ("ref", "status", "rule"))
    assert {"document": False, "differs": []} == explained["index"]
    assert {"ref": "pictures/", "error": {"code": "ref"}} == {**failed, "error": {"code": failed["error"]["code"]}}


@pytest.mark.parametrize("scopes", [["pictures"], ["pictures/a", "s3://pictures/", "pictures"]])
def test_scopes_that_overlap_are_listed_once(imgtag, scopes):
    """The wider one is listed."""
    code, out, _ = imgtag("strip", "--dry-run", "--json", *scopes)

    *objects, last = map(json.loads, out.splitlines())
    assert (0, 2, 2) == (code, last["listed"], last["stripped"])
    assert ["pictures/a/fox.jpg", "pictures/b.jpg"] == sorted(one["ref"] for one in objects)


def test_nothing_is_stripped_without_a_yes(imgtag, tmp_path, monkeypatch):
    """Without a terminal and without --yes it refuses, having said what it would do; a dry run does not ask."""
    monkeypatch.setattr("sys.stdin", StringIO())
    refused, out, err = imgtag("strip", "pictures/a/")
    planned, plan, _ = imgtag("strip", "--dry-run", "pictures/a/")

    assert (2, "") == (refused, out)
    assert "will remove what imgtag wrote on objects in pictures/a/" in err
    assert (0, "would be: 1 stripped, 0 untouched") == (planned, plan[:33])
    assert "user.imgtag-mark" in os.listxattr(tmp_path / "pictures/a/fox.jpg")


def test_what_cannot_be_listed_is_an_error(imgtag):
    """What was listed is counted all the same."""
    code, out, err = imgtag("strip", "--yes", "--json", "elsewhere", "pictures/b")

    last = json.loads(out.splitlines()[-1])
    assert (1, False, 1, 1) == (code, last["done"], last["listed"], last["stripped"])
    assert "the only bucket is pictures, not elsewhere" in err
