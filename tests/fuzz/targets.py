"""Everything that reads bytes of strangers, each with valid inputs and with what must hold of every other input."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from random import Random
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal
from PIL import Image

from fuzz.mutation import mutate, mutate_json
from imgtag.errors import ConfigError, EventError, ModelError, QueryError, WriteRefused
from imgtag.files.dead_letters import decode_letter, encode_letter
from imgtag.flow.http_server import serve
from imgtag.models.catalogue import load_catalogue
from imgtag.models.label_file import fit_labels, parse_labels
from imgtag.models.manifest import read_manifest
from imgtag.ops.health import Health
from imgtag.ops.http import application
from imgtag.ops.metrics import Metrics
from imgtag.ops.recent_warnings import RecentWarnings
from imgtag.ops.status import Status
from imgtag.plugin import Hint, ObjectRef, Scope, hint_messages, notifications
from imgtag.query import parse as parse_query
from imgtag.types.facts import Facts
from imgtag.types.folding import sound
from imgtag.types.labels import Label, Raw, identity
from imgtag.types.mark import Mark
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.signature import Trust
from imgtag.types.vector import LENGTH, Vector
from imgtag.workers import answers, frames
from imgtag.workers.child import exif
from imgtag.workers.child.dates import parse_date
from imgtag.workers.child.describe import describe
from imgtag.workers.frames import FrameError
from imgtag_meilisearch.filters import expression
from imgtag_sqlite.database import Database
from imgtag_sqlite.filters import condition
from imgtag_tflite.model_file import read_model_file
from unit.tflite import tiny
from unit.workers import pictures

KEY = b"a key of the site, 32 bytes long"
FORGED = b"some other key, as long as it is"


@dataclass(frozen=True, kw_only=True)
class Target:
    """``read`` takes any bytes: it returns, or raises one of ``refusals``. AssertionError: a promise is broken."""

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = ()
    mutate: Callable[[bytes, Sequence[bytes], Random], bytes] = mutate


def _as_json(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def require_same(what: Hint | Scope) -> None:
    """Whatever was read can wait in a stream, and be read there by another sidecar."""
    try:
        assert hint_messages.decode(hint_messages.encode(what)) == what
    except EventError as error:
        raise AssertionError(f"{what!r} cannot be read again") from error


def events() -> Iterator[Target]:
    """A store's events, in all envelopes. Whatever is read can be sent on to another sidecar."""
    record = {
        "eventSource": "minio:s3",
        "eventTime": "2025-10-20T12:34:56.789Z",
        "eventName": "s3:ObjectCreated:Put",
        "responseElements": {"x-amz-request-id": "186F8D3C1B2A4E5F"},
        "s3": {
            "configurationId": "Config",
            "bucket": {"name": "bucket"},
            "object": {
                "key": "dir%2Fa+b.jpg",
                "eTag": "900150983cd24fb0d6963f7d28e17f72",
                "userMetadata": {"content-type": "image/jpeg", "X-Amz-Meta-Imgtag_red+fox": "0.59"},
                "versionId": "b5a3a4c5-6d4b-4a7e-a9a0-3b9f1d7c2e11",
                "sequencer": "186F8D3C1B2A4E5F",
            },
        },
    }
    removal = {**record, "eventName": "ObjectRemoved:Delete", "eventSource": "ceph:s3"}

    def read(data: bytes) -> None:
        for hint in notifications.parse(data).hints:
            require_same(hint)

    yield Target(
        seeds=_as_json(
            {"EventName": "s3:ObjectCreated:Put", "Key": "bucket/dir/a b.jpg", "Records": [record]},
            {"Records": [record, removal, {"data": record}]},
            [{**record, "s3": {**record["s3"], "configurationId": "a-global"}}],
            {"Records": removal},
            {"Service": "Amazon S3", "Event": "s3:TestEvent"},
            {"Type": "Notification", "Message": json.dumps({"Records": [record]})},
            {"specversion": "1.0", "type": "com.amazonaws.s3.ObjectCreated:Put", "data": record},
            {
                "detail-type": "Object Deleted",
                "time": "2025-10-20T12:34:56Z",
                "detail": {
                    "bucket": {"name": "bucket"},
                    "object": {"key": "dir/a b.jpg", "size": 1, "etag": "e", "version-id": "v", "sequencer": "1"},
                    "request-id": "r",
                },
            },
        ),
        read=read,
        refusals=(EventError,),
        mutate=mutate_json,
    )


def messages() -> Iterator[Target]:
    """Our own messages at a broker. Whatever is read is written and read again as the same."""
    ref = ObjectRef("bucket", "dir/a b.jpg")
    whole = Hint(ref=ref, version="v1", sequencer="1", etag="e", metadata={"a": "b"}, at=1.5, request="r", parked=True)

    def read(data: bytes) -> None:
        require_same(hint_messages.decode(data))

    yield Target(
        seeds=[hint_messages.encode(what) for what in (Hint(ref=ref), whole, Scope("bucket", "dir/"))],
        read=read,
        refusals=(EventError,),
        mutate=mutate_json,
    )


def dead_letters() -> Iterator[Target]:
    """Records of dead letters, where others may write. Whatever is read can be written again."""

    def read(data: bytes) -> None:
        try:
            record = json.loads(data)
        except (ValueError, RecursionError):
            return
        letter = decode_letter(record, "id")
        if letter is not None:
            json.dumps(encode_letter(letter)).encode()

    letter = {"bucket": "b", "key": "k", "code": "undecodable", "reason": "why", "at": 1.5}
    yield Target(seeds=_as_json(letter, {**letter, "payload": "AAEC"}), read=read, mutate=mutate_json)


def _codec(**changes: Any) -> MetadataCodec:
    return MetadataCodec(**{"keys": (KEY,), **changes})


def _entries() -> Entries:
    mark = Mark(model="m", rules="r", content="c" * 22, etag="e", etag_after="x", owner="o", at=1, version="v")
    return Entries(
        labels=(Label("red fox", 0.59), Label("kit fox", 0.1)),
        mark=mark,
        facts=Facts(width=30, height=20, taken=-5, camera="Canon EOS", lat=46.5, lng=7.25, modified=9),
        raw=Raw(((277, 0.59), (278, 0.1))),
        vec=Vector(projection="p1", values=bytes(range(LENGTH))),
    )


def metadata() -> Iterator[Target]:
    """User metadata. What is the user's stays as it is through a write; what a stranger wrote is never signed by us."""
    user = {"owner": "Ann", "imgtag_note": "mine", "x": "=?utf-8?q?=C3=A9?="}
    seeds = [
        dict(_codec(layout=layout, keys=keys).pack(_entries(), user, limit=None).metadata)
        for layout in ("names", "single")
        for keys in ((KEY,), (FORGED,), ())
    ]
    codec = _codec()
    signed = [(seed.keys() - user, codec.split(seed)[0]) for seed in seeds[::3]]

    def read(data: bytes) -> None:
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(fields, dict):
            return
        texts = {name.lower(): text for name, text in fields.items() if isinstance(text, str)}
        entries, own = codec.split(texts)
        # Whatever differs from the entries that the key signed is not believed.
        if codec.verify(entries, texts) is Trust.ALL:
            assert (texts.keys() - own, entries) in signed
        # Labels that are written come from a model, so their names are identities.
        labels = {identity(label.name): label.confidence for label in entries.labels if identity(label.name)}
        new = replace(entries, labels=tuple(starmap(Label, labels.items())), mark=_entries().mark, vec=None)
        packed = codec.pack(new, own, limit=8 << 10, overhead=2)
        again, still_own = codec.split(packed.metadata)
        assert still_own == own
        assert again == packed.entries
        assert codec.verify(again, packed.metadata) is Trust.ALL

    assert codec.verify(codec.split(seeds[0])[0], seeds[0]) is Trust.ALL
    yield Target(seeds=_as_json(*seeds), read=read, refusals=(WriteRefused,), mutate=mutate_json)


def entries() -> Iterator[Target]:
    """Mark, facts, raw scores and vector as texts. Whatever is read is written and read again as the same.

    But for halves of surrogate pairs, which are written as question marks.
    """
    whole = _entries()
    kinds: tuple[Any, ...] = (Mark, Facts, Raw, Vector)

    def read(data: bytes) -> None:
        text = data.decode(errors="surrogateescape")
        for kind in kinds:
            value = kind.decode(text)
            if value is not None:
                again = kind.decode(value.encode())
                assert again == value or sound(text) != text

    values: tuple[Any, ...] = (whole.mark, whole.facts, whole.raw, whole.vec)
    yield Target(seeds=[value.encode().encode() for value in values], read=read)


def exif_blocks() -> Iterator[Target]:
    """EXIF. A picture is described whatever its EXIF says, by facts that can be written and read."""
    gps = {1: "N", 2: (46.0, 57.0, 36.0), 3: "E", 4: (7.0, 26.0, 0.0), 16: "A"}
    texts = {"Make": "Canon", "Model": "Canon EOS R5", "Orientation": 6, "DateTime": "2024:05:06 07:08:09"}
    details = {36867: "2024:05:06 07:08:09", 36868: "1969:12:31 23:59:59"}
    seeds = [
        pictures.exif(**texts, gps=gps, details=details).tobytes(),
        pictures.exif_block([(0x010F, 2, b"Canon\0"), (0x0112, 3, b"\6\0")]),
    ]

    def read(data: bytes) -> None:
        for tags in (exif.parse_exif(data), exif.read_tiff(data)):
            assert 1 <= exif.orientation(tags) <= 8
            facts = describe(tags, {}, 30, 20)
            assert Facts.decode(facts.encode()) == facts

    yield Target(seeds=seeds, read=read)


def picture_texts() -> Iterator[Target]:
    """XMP and PNG texts, with the same promise as EXIF."""
    attributes = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
        b'<rdf:Description exif:DateTimeOriginal="2024-05-06T07:08:09+02:00"'
        b' exif:GPSLatitude="46,57.6N" exif:GPSLongitude="7,26,0E" tiff:Make="Canon" tiff:Model=\'EOS\'/></rdf:RDF>'
    )
    elements = b"<xmp:CreateDate>0099-01-01T00:00:00Z</xmp:CreateDate><tiff:Make>A &amp; B</tiff:Make>"

    def read(data: bytes) -> None:
        text = data.decode(errors="surrogateescape")
        parse_date(text)
        for info in ({"xmp": data}, {"XML:com.adobe.xmp": text}, {"Creation Time": text}):
            facts = describe(Image.Exif(), info, 30, 20)
            assert Facts.decode(facts.encode()) == facts

    dates = (b"2024:05:06 07:08:09.123+02:00", b"Mon, 06 May 2024 07:08:09 +0200", b"2024-05-06T07:08:09Z")
    yield Target(seeds=[attributes, elements, attributes.decode().encode("utf-16"), *dates], read=read)


def label_files() -> Iterator[Target]:
    """Label files of models. Names of classes are unique, whatever the file says."""

    def read(data: bytes) -> None:
        names = parse_labels(data, "labels.txt")
        displayed = fit_labels(names, "labels.txt", len(names))
        assert len({name.lower() for name in displayed}) == len(names)

    yield Target(
        seeds=[
            b"red fox\nkit fox\ncrane\ncrane\n",
            b"0: red fox\n1: kit fox\n2: crane, bird\n",
            b"n02119022 red fox, Vulpes vulpes\nn02119789 kit fox\n",
            "\ufeffétang\r\nsee\r\n".encode(),
        ],
        read=read,
        refusals=(ModelError,),
    )


def manifests() -> Iterator[Target]:
    """Manifests of models, which are TOML."""
    manifest = (
        b'summary = "birds"\nfile = "a.tflite"\nsha256 = "' + b"a" * 64 + b'"\ntemperature = 1.5\n'
        b'[input]\nmean = [127.5, 127.5, 127.5]\nstd = 127.5\ncrop = 0.875\n[output]\nprobabilities = "p"\n'
    )
    with read_from_file(read_manifest, "model.toml") as read:
        yield Target(seeds=[manifest, b'extends = "bundled"\nlabels = "own.txt"\n'], read=read, refusals=(ModelError,))


def catalogues() -> Iterator[Target]:
    """Catalogues of models, which are TOML too."""
    catalogue = (
        b'[models.a]\nsummary = "s"\nurl = "https://example.org/a"\nsha256 = "' + b"a" * 64 + b'"\n'
        b'bytes = 5\nlicence = "MIT"\n[models.a.input]\nmean = 0.0\nstd = 1.0\n'
    )
    with read_from_file(lambda path: load_catalogue(None, path), "catalogue.toml") as read:
        yield Target(seeds=[catalogue], read=read, refusals=(ConfigError,))


def model_files() -> Iterator[Target]:
    """TFLite files, as they are checked before a runtime sees them."""
    named = tiny.attach(tiny.model(metadata=tiny.metadata()), "labels.txt", tiny.LABELS)
    with read_from_file(lambda path: read_model_file(path).read_label_file(), "model.tflite") as read:
        yield Target(seeds=[tiny.model(), named], read=read, refusals=(ModelError,))


@contextmanager
def read_from_file(read: Callable[[Path], object], name: str) -> Iterator[Callable[[bytes], object]]:
    """A reader of files as a reader of bytes."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder, name)

        def read_bytes(data: bytes) -> object:
            path.write_bytes(data)
            return read(path)

        yield read_bytes


def queries() -> Iterator[Target]:
    """Queries. Whatever parses, both indexers can run: SQLite runs it here on an empty index."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        database = Database(Path(folder) / "index.sqlite")
        database.prepare()

        def run(connection: sqlite3.Connection, text: str) -> None:
            where = condition(parse_query(text).condition)
            connection.execute(f"SELECT count(*) FROM documents WHERE {where.text}", where.parameters)

        def read(data: bytes) -> None:
            text = data.decode(errors="surrogateescape")
            query = parse_query(text)
            assert expression(query.condition).encode() is not None
            database.read(lambda connection: run(connection, text))

        yield Target(
            seeds=[
                b'fox -dog "kit fox">0.4 title:"a b" kit_fox@0.4',
                b"(cat OR dog*) size>1MB width<4000 near:46.9,7.4,3km not camera:canon",
                b"after:2020 before:2021-05 on:2024-05-06 meta.owner:Ann status:failed",
                b"label:fox* bucket:pics prefix:2024/Zoo/ confidence>0.2 type:image/png",
            ],
            read=read,
            refusals=(QueryError,),
        )
        database.close()


def worker_answers() -> Iterator[Target]:
    """Frames of a worker that a picture has taken over."""
    info = {
        "name": "m",
        "digest": "0" * 64,
        "labels": ["a", "b"],
        "display": ["A", "B"],
        "size": [8, 8],
        "projection": "p1",
        "variant": "",
        "temperature": 1.0,
        "taxonomy": {
            "classes": [{"category": "animal", "ancestors": ["x"], "synonyms": []}] * 2,
            "ancestors": [{"name": "x", "synonyms": ["y"]}],
        },
    }
    scores = {"raw": "0:9000,1:100", "facts": "1;w=30;h=20", "vec": "", "decode": 0.1, "infer": 0.2}
    error = {"error": {"type": "Unreadable", "message": "too large", "hint": "", "code": "memory"}}

    def read(data: bytes) -> None:
        if len(data) >= frames.PREFIX.size:
            _refused_or(lambda: frames.lengths(data[: frames.PREFIX.size], 1 << 20))
        header = frames.decode_header(data)
        _refused_or(lambda: answers.parse_inference(header, 2, bytes(32)))
        _refused_or(lambda: answers.parse_confinement(header))
        _refused_or(lambda: answers.parse_model_info(header))
        for refusal in (answers.parse_refusal(header), answers.parse_failure(header)):
            if refusal is not None:
                assert len(refusal.message) <= answers.MAX_MESSAGE
                assert refusal.message.isprintable()

    yield Target(
        seeds=_as_json(scores, {"info": info}, error, {"confinement": []}),
        read=read,
        refusals=(FrameError,),
        mutate=mutate_json,
    )


def _refused_or(read: Callable[[], object]) -> None:
    with suppress(FrameError, ModelError):
        read()


def http() -> Iterator[Target]:
    """Requests on the port of health and metrics. Whatever comes, nothing is logged, and the next probe is answered."""
    status = Status(site="here", health=Health(), metrics=Metrics(), recent_warnings=RecentWarnings())
    probe = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    errors: list[str] = []
    logging.getLogger("uvicorn.error").addFilter(lambda record: errors.append(record.getMessage()) or False)

    with start_blocking_portal() as portal, _served(portal, status) as port:

        def ask(data: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    return b"".join(iter(lambda: connection.recv(1 << 16), b""))
                except (ConnectionResetError, BrokenPipeError):
                    return b""  # closed before all of it was read, as a server may

        def read(data: bytes) -> None:
            answer = ask(data)
            assert not answer or answer.startswith(b"HTTP/1.1 ")
            assert not answer.startswith(b"HTTP/1.1 500")
            assert not errors, errors
            assert ask(probe).startswith(b"HTTP/1.1 200")

        yield Target(
            seeds=[
                probe,
                b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n",
                b"POST /status?a=b HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\n\r\nhello",
                b"PUT /readyz HTTP/1.1\r\nHost: a.local\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ],
            read=read,
        )


@contextmanager
def _served(portal: Any, status: Status) -> Iterator[int]:
    async def run(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        await serve(application(status), "127.0.0.1:0", task_status=task_status)

    future, port = portal.start_task(run)
    try:
        yield port
    finally:
        future.cancel()


TARGETS: Mapping[str, Callable[[], Iterator[Target]]] = {
    "events": events,
    "own messages": messages,
    "dead letters": dead_letters,
    "metadata": metadata,
    "entries": entries,
    "EXIF": exif_blocks,
    "XMP, texts and dates": picture_texts,
    "label files": label_files,
    "manifests": manifests,
    "catalogues": catalogues,
    "model files": model_files,
    "queries": queries,
    "worker answers": worker_answers,
    "HTTP": http,
}
