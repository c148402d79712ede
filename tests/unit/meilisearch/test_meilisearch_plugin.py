"""What the plugin says and sends, without a server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from imgtag.errors import DocumentError
from imgtag.plugin.spec import PluginSpec
from imgtag_meilisearch import SPEC
from imgtag_meilisearch.batches import Entry, divide
from imgtag_meilisearch.document import decode, encode
from imgtag_meilisearch.settings import MeilisearchSettings
from unit.sqlite.documents import documents


def test_import_is_light():
    """What announces the plugin loads neither HTTP nor the package of the server."""
    program = (
        "import sys, imgtag_meilisearch; print([name for name in ('meilisearch', 'urllib3') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]" == process.stdout.strip()
    assert isinstance(SPEC, PluginSpec)
    assert "MeilisearchIndexer" == SPEC.load().__name__


def test_same_document_same_bytes():
    """Whatever the order of its fields; the server compares bytes to see what changed."""
    document = documents(1)[0]

    assert encode(document) == encode(dict(reversed(document.items())))
    assert document == decode(json.loads(encode(document)))


def test_vector_is_always_sent():
    """Null where there is none."""
    document = {name: value for name, value in documents(1)[0].items() if name != "_vectors"}

    assert {"img": None} == json.loads(encode(document))["_vectors"]


def test_vectors_as_the_server_gives_them():
    """One embedding is the vector, none is null, several stay."""
    given = {
        name: {"embeddings": value, "regenerate": False}
        for name, value in (("a", [[1, 2]]), ("b", []), ("c", [[1], [2]]))
    }

    assert {"a": [1, 2], "b": None, "c": [[1], [2]]} == decode({"_vectors": given})["_vectors"]
    assert {} == decode({"_vectors": given}, vectors=False)


def test_no_json_is_refused():
    """What cannot be written is one document's fault."""
    with pytest.raises(DocumentError, match="cannot be indexed"):
        encode({**documents(1)[0], "reason": float("inf")})


def test_payloads_keep_to_their_bounds():
    """Bytes and number; what is larger goes alone; deletions apart from documents."""
    entries = [Entry(str(number), b"x" * size) for number, size in enumerate((10, 10, 10, 100, 5, 0, 0, 0))]
    cut = divide(entries, max_bytes=25, max_entries=2)

    assert [["5", "6"], ["7"], ["0", "1"], ["2"], ["3"], ["4"]] == [payload.ids for payload in cut]
    assert ["delete"] * 2 + ["put"] * 4 == [payload.kind for payload in cut]
    assert [["0"], ["1"]] == [half.ids for half in cut[2].halves()]
    assert () == cut[3].halves()


def test_key_is_never_shown():
    """Not in the settings, however they are printed."""
    assert "s3cret" not in repr(MeilisearchSettings(api_key="s3cret"))


@pytest.mark.parametrize("wrong", [{"url": "localhost:7700"}, {"index": "a b"}, {"timeout": 0}, {"batch_bytes": 2**40}])
def test_wrong_settings(wrong):
    """What cannot work is said before anything is tried."""
    with pytest.raises(ValueError, match="MeilisearchSettings"):
        MeilisearchSettings(**wrong)


@pytest.mark.parametrize("url", ["http://user:secret@host:7700", "https://token@host"])
def test_a_url_carries_no_password(url):
    """The URL is shown in errors, in /readyz and in /status."""
    with pytest.raises(ValidationError) as caught:
        MeilisearchSettings(url=url)
    assert "use the setting api_key" in str(caught.value)
    assert "http://host:7700" == MeilisearchSettings(url="http://host:7700/").url
