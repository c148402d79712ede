"""`imgtag config check`, `show` and `example`."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgtag.cli.main import main

STORE = """
from pydantic import Field, SecretStr
from imgtag.plugin.spec import PluginSpec, Settings

class Acme(Settings):
    url: str = Field(description="Where.", examples=["http://127.0.0.1"])
    token: SecretStr | None = Field(default=None, description="Proof.")

SPEC = PluginSpec(name="acme", kind="store", summary="For tests.", settings=Acme, factory="acme_store:x")
SOURCE = PluginSpec(name="acme", kind="source", summary="For tests.", factory="acme_store:x")
INDEX = PluginSpec(name="acme", kind="indexer", summary="For tests.", factory="acme_store:x")
MODEL = PluginSpec(name="acme", kind="classifier", summary="For tests.", factory="acme_store:x")
"""
GOOD = """
[plugins]
dir = "drop-ins"
[store.acme]
url = "http://h"
[source.acme]
[indexer.acme]
[classifier.acme]
[[rules]]
bucket = "b"
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a drop-in plugin of every kind."""
    drop_ins = tmp_path / "drop-ins"
    drop_ins.mkdir(mode=0o755)
    (drop_ins / "acme_store.py").write_text(STORE)
    (drop_ins / "acme_store.py").chmod(0o644)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("acme_store", None)


def test_check_names_the_file_that_is_ok(folder: Path, capsys: Capture) -> None:
    """Exit code 0, and which file it was."""
    (folder / "imgtag.toml").write_text(GOOD)

    assert 0 == main(["config", "check"])
    assert "imgtag.toml: ok\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("pipeline", "line"),
    [
        ("", "images: up to 100 megapixels; of WebP 58.7, AVIF 88.1, HEIC 78.3, because of worker_memory\n"),
        ("max_pixels = 24_500_000", "images: up to 24.5 megapixels\n"),
    ],
)
def test_check_names_the_largest_images(folder: Path, capsys: Capture, pipeline: str, line: str) -> None:
    """Formats whose decoders need more memory than a PNG's have limits of their own."""
    (folder / "imgtag.toml").write_text(f"{GOOD}[pipeline]\n{pipeline}\n")

    assert 0 == main(["config", "check"])
    assert line in capsys.readouterr().err


def test_check_prints_findings(folder: Path, capsys: Capture) -> None:
    """Exit code 78, and a line for each finding: those that are results are on stdout."""
    (folder / "x.toml").write_text(GOOD + "labels = { top_k = 0 }\n[labels]\ntop = 1\n")

    assert 78 == main(["--config", "x.toml", "config", "check"])
    expected = (
        "x.toml:11: rules[0].labels.top_k: input should be greater than or equal to 1\n"
        "x.toml:13: labels.top: unknown setting; did you mean `top_k`?\n"
    )
    assert (expected, "") == capsys.readouterr()


def test_check_looks_at_what_run_needs(folder: Path, capsys: Capture) -> None:
    """A store without rules cannot be run."""
    (folder / "imgtag.toml").write_text(GOOD.partition("[[rules]]")[0])

    assert 78 == main(["config", "check"])
    assert "write [[rules]]" in capsys.readouterr().out


def test_check_of_a_file_that_is_not_there(capsys: Capture) -> None:
    """A finding like others."""
    assert 78 == main(["--config", "no.toml", "config", "check"])
    assert "no.toml: there is no such file\n" == capsys.readouterr().out


def test_show_masks_secrets(folder: Path, capsys: Capture) -> None:
    """The output is TOML, and may be pasted into a ticket."""
    (folder / "imgtag.toml").write_text(GOOD.replace("[source", 'token = "s3cret"\n[source'))

    assert 0 == main(["config", "show"])

    out = capsys.readouterr().out
    assert {"url": "http://h", "token": "********"} == tomllib.loads(out)["store"]["acme"]
    assert "s3cret" not in out


@pytest.mark.parametrize("small", [True, False])
def test_example_passes_check(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, *, small: bool) -> None:
    """What is printed can be saved and used, with whatever plugins there are."""
    monkeypatch.setenv("IMGTAG_PLUGINS__DIR", "drop-ins")
    assert 0 == main(["config", "example", *(["--small"] if small else [])])
    (folder / "example.toml").write_text(capsys.readouterr().out)
    monkeypatch.setenv("IMGTAG_CONFIG", "example.toml")

    code = main(["config", "show"])

    assert 0 == code


def test_check_warns_of_a_secret_that_everybody_may_read(folder: Path, capsys: Capture) -> None:
    """Naming the file and the remedy; it is no error, because in a container there is one user."""
    (folder / "token").write_text("secret")
    (folder / "token").chmod(0o644)
    (folder / "imgtag.toml").write_text(GOOD.replace('url = "http://h"', 'url = "http://h"\ntoken_file = "token"'))

    assert 0 == main(["config", "check"])
    assert (
        f"warning: {Path('token')} holds a secret, and every user may read it: chmod o-r token"
        in capsys.readouterr().err
    )
    (folder / "token").chmod(0o640)
    assert 0 == main(["config", "check"])
    assert "warning" not in capsys.readouterr().err
