"""An S3 server that does not keep what it was sent: labels and reason are in the index, and writing ends."""

from __future__ import annotations

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from imgtag.plugin.spec import PluginContext
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.types.event import Hint
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef
from imgtag_s3 import SPEC
from servers.tiny_s3 import TinyS3

from .conftest import BUCKET, Bench, picture

pytestmark = pytest.mark.anyio

KEYS = [f"{number}.jpg" for number in range(5)]
LABEL, OUR_MARK = "x-amz-meta-imgtag_red+fox", f"x-amz-meta-{MARK}"


def drop_ours(headers):
    return {name: value for name, value in headers.items() if not name.startswith("x-amz-meta-imgtag")}


def drop_mark(headers):
    return {name: value for name, value in headers.items() if name != OUR_MARK}


def change_label(headers):
    return headers | {LABEL: "0.10"}


def _event(server, key, number):
    """What the server would say of the object as it now is."""
    stored = server.buckets[BUCKET][key]
    metadata = {
        name.removeprefix("x-amz-meta-"): value for name, value in stored.headers.items() if "x-amz-meta" in name
    }
    facts = {"etag": stored.etag.strip('"'), "size": len(stored.data), "request": f"{number}"}
    return Hint(ref=ObjectRef(BUCKET, key), sequencer=f"{number:016X}", metadata=metadata, **facts)


@pytest.mark.parametrize("has_events", [True, False], ids=["events", "no-events"])
@pytest.mark.parametrize(
    ("keep", "kept_writes"),
    [(drop_ours, 0), (drop_mark, 0), (change_label, 0), (drop_ours, 3)],
    ids=["ours", "mark", "label", "ours-but-for-the-first"],
)
async def test_writing_ends(tmp_path, monkeypatch, keep, kept_writes, has_events):
    """At most three writes for each picture; the bytes and the metadata of its user are as they were."""
    monkeypatch.setattr("imgtag.stages.receive.CONFIRMATION_WAIT", 0.1)
    monkeypatch.setattr("imgtag.pipeline.WATCH_PERIOD", 0.02)
    server, writes, kept = TinyS3(server="MinIO"), [], []

    def store_headers(headers):
        if "x-amz-meta-by" not in headers:  # the store is tested, in a bucket of its own
            return headers
        writes.append(headers)
        if len(kept) == kept_writes:
            return keep(headers)
        kept.append(headers)
        return headers

    def is_settled(key):
        document = bench.document(key) or {}
        return "code" in document or (document and server.buckets[BUCKET][key].headers in kept)

    async with BlockingPortal() as portal:
        with server:
            context = PluginContext(site="test", state_dir=tmp_path)
            store = SPEC.load()(SPEC.settings(**server.settings, if_match=True), context)
            async with store:
                bench = Bench(store, MemorySource(), MemoryIndexer())
                server.keep = store_headers
                for number, key in enumerate(KEYS):
                    server.put(BUCKET, key, picture("red fox") + b"#%d" % number, {"x-amz-meta-by": "me"})
                    bench.source.send(_event(server, key, number))

                def notify(method, key, query):
                    if method == "PUT" and key in KEYS and has_events:
                        portal.start_task_soon(bench.source.send, _event(server, key, 100 + len(writes)))

                server.after = notify
                stop = anyio.Event()
                with anyio.fail_after(30):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(bench.pipeline().run, stop)
                        while not all(map(is_settled, KEYS)):
                            await anyio.sleep(0.01)
                        await anyio.sleep(0.3)  # longer than until a further look, which would write
                        stop.set()

    for number, key in enumerate(KEYS):
        stored, document = server.buckets[BUCKET][key], bench.document(key)
        assert picture("red fox") + b"#%d" % number == stored.data
        assert "me" == stored.headers["x-amz-meta-by"]
        assert ["red fox"] == document["labels"]
        assert (None if stored.headers in kept else "write_limit") == document.get("code")
    assert kept_writes == len(kept)
    assert kept_writes + 3 * (len(KEYS) - kept_writes) == len(writes)
