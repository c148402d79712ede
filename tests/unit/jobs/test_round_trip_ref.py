"""Where doctor's picture is put: only where the rules admit it."""

from __future__ import annotations

import re

import pytest

from imgtag.config.configuration import Config
from imgtag.config.load import load
from imgtag.errors import ConfigError
from imgtag.jobs.round_trip import choose_ref

S3 = '[store.s3]\nendpoint = "http://127.0.0.1:9000"\naccess_key = "a"\nsecret_key = "b"\n'


def rule(bucket: str, **globs: list[str]) -> str:
    lists = "".join(f"{name} = {globs!r}\n" for name, globs in globs.items())
    return f'[[rules]]\nbucket = "{bucket}"\n{lists}'


@pytest.fixture
def configured(tmp_path):
    """Load a text."""

    def configured(text: str) -> Config:
        file = tmp_path / "imgtag.toml"
        file.write_text(text)
        return load(file, env={})

    return configured


@pytest.mark.parametrize(
    ("rules", "to", "expected"),
    [
        (rule("photos"), "", "photos/NAME.jpg"),
        (rule("photos", include=["2024/zoo/**", "b/**"]), "", "photos/2024/zoo/NAME.jpg"),
        (rule("photos", include=["2024/zoo*/**", "b/*"]), "", "photos/b/NAME.jpg"),
        (rule("photos", include=["a/b-*.png"]) + rule("scans", include=["**/*.tif"]), "", "scans/NAME.tif"),
        (rule("photos", include=["**/*.JPG", "**/*.jp?g"]), "", "photos/NAME.JPG"),
        (rule("photos", include=["**/*.jpeg", "**/*.jpg"]), "", "photos/NAME.jpg"),
        (rule("photos", exclude=["*"]) + rule("scans"), "", "scans/NAME.jpg"),
        (rule("photos", exclude=["tmp/**"]), "photos/a b", "photos/a b/NAME.jpg"),
        (rule("photos") + rule("scans"), "s3://scans", "scans/NAME.jpg"),
        (rule("photos"), "photos/2024/", "photos/2024/NAME.jpg"),
    ],
)
def test_admitted(configured, rules, to, expected):
    """The folders that a rule names literally, its suffix where it asks for one, and what is asked for."""
    ref = choose_ref(configured(S3 + rules), to, ())

    assert re.fullmatch(re.escape(expected).replace("NAME", "imgtag-doctor-[0-9a-f]{8}"), str(ref))


@pytest.mark.parametrize(
    ("rules", "to", "message"),
    [
        (rule("photos", include=["img-*.jpg"]), "", "in photos/"),
        (rule("photos", include=["2024/**"]), "photos/2025", "in photos/2025/"),
        (rule("photos"), "scans", "in scans/"),
    ],
)
def test_not_admitted(configured, rules, to, message):
    """It is said where it was tried, and how another place is given."""
    with pytest.raises(ConfigError, match=f"no rule admits imgtag-doctor-.* {message}$") as error:
        choose_ref(configured(S3 + rules), to, ())

    assert "--to BUCKET/FOLDER" in error.value.hint


def test_a_folder_without_rules(configured, tmp_path):
    """The root itself; no name is given twice."""
    config = configured(f'[store.directory]\nroot = "{tmp_path}/pictures"\n')
    first, second = [choose_ref(config, "", ("pictures",)) for _ in range(2)]

    assert first.bucket == "pictures"
    assert "/" not in first.key
    assert first != second
