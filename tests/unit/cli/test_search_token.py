"""`imgtag search-token`: what is in a token, and what cannot be one."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode

import pytest

from imgtag.cli.main import main

KEY = {"uid": "6062abda-a5aa-4414-ac91-ecd7944c0f8d", "key": "k", "actions": ["search"], "indexes": ["images", "more"]}
FILTER = '"site" IN ["edge-7"] AND "bucket" IN ["photos", "zoo"]'


@pytest.fixture
def sign(tmp_path, capsys):
    """Run the command with a key and a configuration; its exit code, and what it prints."""

    def run(*arguments, key=KEY, indexer="[indexer.meilisearch]"):
        (tmp_path / "key.json").write_text(key if isinstance(key, str) else json.dumps(key))
        config = tmp_path / "imgtag.toml"
        parts = f'[store.directory]\nroot = "{tmp_path}"\n[state]\ndir = "{tmp_path}/state"\n{indexer}\n'
        config.write_text(f'[site]\nname = "edge-7"\n{parts}')
        code = main(["--config", str(config), "search-token", "--key-file", str(tmp_path / "key.json"), *arguments])
        return code, *capsys.readouterr()

    return run


def test_a_token_names_its_buckets_and_its_end(sign):
    """For each index of the key, until the period is over; stdout has the token alone."""
    before = int(time.time())
    code, token, said = sign("--bucket", "Photos", "--bucket", "zoo", "--expires", "12h")
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))

    assert (0, KEY["uid"]) == (code, claims["apiKeyUid"])
    assert {"images": {"filter": FILTER}, "more": {"filter": FILTER}} == claims["searchRules"]
    assert before + 12 * 3600 <= claims["exp"] <= int(time.time()) + 12 * 3600
    assert said.startswith("finds Photos, zoo of edge-7 until ")
    assert token.count("\n") == 1


def test_a_key_with_a_pattern_is_for_the_configured_index(sign):
    """Other indexes that the pattern covers may have nothing to do with images."""
    _, token, _ = sign("--bucket", "zoo", "--site", "a", "--site", "b", key=KEY | {"indexes": ["*"]})
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))

    assert {"images": {"filter": '"site" IN ["a", "b"] AND "bucket" IN ["zoo"]'}} == claims["searchRules"]


@pytest.mark.parametrize(
    ("arguments", "more", "code", "message"),
    [
        (["--bucket", "zoo"], {"indexer": "[indexer.sqlite]"}, 78, "the indexer sqlite has no search tokens"),
        (["--bucket", "zoo"], {"key": "0123"}, 78, "key.json: this is not a key of Meilisearch"),
        (["--bucket", "zoo", "--expires", "0s"], {}, 2, "0s is not within a second and a year"),
        (["--bucket", "zoo", "--expires", "60w"], {}, 2, "60w is not within a second and a year"),
        (["--bucket", "zoo", "--expires", "soon"], {}, 2, "'soon' is no period"),
        ([], {}, 2, "Missing option '--bucket'"),
    ],
)
def test_what_is_no_token(sign, arguments, more, code, message):
    """Nothing is printed but what is wrong."""
    ended, printed, said = sign(*arguments, **more)

    assert (code, "") == (ended, printed)
    assert message in said
