"""The requests of docs/howto/meilisearch-search.md, as they stand there, have the answers that stand below them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from anyio import to_thread

from docs.pages import SITE, blocks
from imgtag.plugin.indexer import Upsert
from imgtag.types.document import document_id
from imgtag.types.folding import fold, words
from imgtag.types.ref import ObjectRef

pytestmark = pytest.mark.anyio

PAGE = SITE / "howto" / "meilisearch-search.md"
SPACE = "efficientnet-lite0@e1d24550-svd1"
ANCESTORS = {"kit fox": ("fox", "canine", "animal"), "red fox": ("fox", "canine", "animal")}
ANCESTORS |= {"wolf": ("canine", "animal"), "dog": ("animal",)}


def _document(name, labels, when, *, place=None, vector=None, synonyms=(), site="edge-7"):
    """What a sidecar indexes of an image."""
    ref = ObjectRef.parse(name)
    ancestors = tuple(dict.fromkeys(ancestor for label in labels for ancestor in ANCESTORS[label]))
    moment = datetime.fromtimestamp(when, UTC)
    title = ref.key.rpartition("/")[2].rpartition(".")[0]
    best = next(iter(labels), None)
    return {
        "id": document_id(site, ref),
        "site": site,
        "bucket": ref.bucket,
        "key": ref.key,
        "title": title,
        "prefixes": [ref.key[: place + 1] for place, letter in enumerate(ref.key) if letter == "/"],
        "words": sorted(set(words(ref.key.rpartition(".")[0]))),
        "status": "labelled" if labels else "failed",
        "when": when,
        "when_day": f"{moment:%Y-%m-%d}",
        "when_month": f"{moment:%Y-%m}",
        **({"_geo": {"lat": place[0], "lng": place[1]}} if place else {}),
        "labels": list(labels),
        "ancestors": list(ancestors),
        "terms": sorted({*synonyms, *(term for text in (*labels, *ancestors) for term in (fold(text), *words(text)))}),
        "scores": {**labels, **dict.fromkeys(ancestors, 0.9)},
        **({"top_label": best, "top_confidence": labels[best], "category": "animal"} if best else {}),
        "space": SPACE,
        "_vectors": {"img": [*vector, *[0] * (128 - len(vector))] if vector else None},
    }


HERE = [
    _document(
        "wildlife/2024/Zoo/kit fox 01.jpg",
        {"kit fox": 0.61, "red fox": 0.27},
        1719842400,
        place=(46.55, 7.95),
        vector=(100, 0),
        synonyms=("canid",),
    ),
    _document("wildlife/2024/Zoo/red fox 02.jpg", {"red fox": 0.84}, 1719838800, place=(46.51, 7.91), vector=(80, 60)),
    _document("wildlife/2023/alps/pack.jpg", {"wolf": 0.72}, 1676000000, vector=(0, 100)),
    _document("pets/rex.jpg", {"dog": 0.9}, 1719842400, place=(46.54, 7.95), vector=(100, 1)),
    _document("pets/broken.jpg", {}, 1719842400),
]
THERE = [_document("wildlife/night/0001.jpg", {"red fox": 0.93}, 1719000000, site="edge-8")]


@pytest.fixture
async def answers(server, uid, open_index, tmp_path):
    """Run the shell blocks of the page, one after the other; what each printed, and the JSON that stands below it."""
    if server.master is None:
        pytest.skip("MEILISEARCH_MASTER_KEY is not set")
    other = f"{uid}-edge-8"
    async with open_index() as here, open_index(index=other) as there:
        await here.apply([Upsert(document) for document in HERE])
        await there.apply([Upsert(document) for document in THERE])
    try:
        yield await to_thread.run_sync(_run, server, uid, tmp_path)
    finally:
        server.ask("DELETE", f"indexes/{other}")
        for file in tmp_path.glob("*_key.json"):
            key = json.loads(file.read_text())
            server.ask("DELETE", f"keys/{key.get('uid')}", key=server.master)


def _run(server, uid: str, folder: Path):
    """One shell, so that variables last; the index of the page is that of the test, and the server its own."""
    config = folder / "imgtag.toml"
    config.write_text(
        f'[site]\nname = "edge-7"\n[indexer.meilisearch]\nurl = "{server.url}"\nindex = "{uid}"\n'
        f'[store.directory]\nroot = "{folder}"\n[state]\ndir = "{folder / "state"}"\n'
    )
    script, expected = ["set -euo pipefail"], []
    for block in blocks(PAGE):
        text = re.sub(r"\bimages\b", uid, block.text)
        if block.kind == "sh":
            script.append(f"{{ {text}\n}} > {len(expected)}.out")
            expected.append(None)
        elif block.kind == "json":
            expected[-1] = json.loads(text)
    code = "\n".join(script).replace("MEILI=http://127.0.0.1:7700", f"MEILI={shlex.quote(server.url)}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "IMGTAG_CONFIG": str(config), "MASTER_KEY": server.master, "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert 0 == done.returncode, done.stderr
    printed = [(folder / f"{number}.out").read_text() for number in range(len(expected))]
    return [(json.loads(text), answer) for text, answer in zip(printed, expected, strict=True) if answer is not None]


def _shown(actual, expected):
    """The part of an answer that the page shows; lists and counts are shown whole."""
    match expected:
        case dict() if isinstance(actual, dict):
            return {
                name: actual.get(name) if name == "facetDistribution" else _shown(actual.get(name), value)
                for name, value in expected.items()
            }
        case list() if isinstance(actual, list) and len(actual) == len(expected):
            return [_shown(one, other) for one, other in zip(actual, expected, strict=True)]
        case float() if isinstance(actual, float):
            return round(actual, 4)
    return actual


async def test_every_request_has_its_answer(answers):
    """A token of the page, searches, counts, suggestions, similar images, places, and sites together."""
    assert [answer for _, answer in answers] == [_shown(actual, answer) for actual, answer in answers]
    assert 8 <= len(answers)


FILTERS = {
    "terms = fox": ["kit fox 01", "red fox 02"],
    'labels = "kit fox"': ["kit fox 01"],
    "ancestors = animal AND NOT labels = wolf": ["kit fox 01", "red fox 02", "rex"],
    '"scores.kit fox" >= 0.4': ["kit fox 01"],
    "top_confidence >= 0.6": ["kit fox 01", "pack", "red fox 02", "rex"],
    'bucket = wildlife AND prefixes = "2024/Zoo/"': ["kit fox 01", "red fox 02"],
    "when 1704067200 TO 1735689599": ["broken", "kit fox 01", "red fox 02", "rex"],
    'camera = "Canon EOS R5" AND width > 4000': [],
    "status IN [failed, refused]": ["broken"],
    "meta.license = 2": [],
}


async def test_every_filter_of_the_table(server, uid, index, fill):
    """Each row finds what it says."""
    await fill(*HERE)
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    found = {
        row: sorted(hit["title"] for hit in server.ask("POST", f"indexes/{uid}/search", {"filter": row})["hits"])
        for row in rows
    }

    assert FILTERS == found
