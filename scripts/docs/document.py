"""The fields of a document, with an example that the real code builds."""

from __future__ import annotations

import json
from collections.abc import Mapping

from forms import code, page, table

from imgtag.labels.open_vocabulary import open_vocabulary
from imgtag.labels.policy import LabelPolicy
from imgtag.stages.document import DocumentOptions, build_document
from imgtag.types.detections import Box, Detection
from imgtag.types.document import Document, Problem
from imgtag.types.facts import Facts
from imgtag.types.labels import Raw
from imgtag.types.mark import Mark, content_digest, owner_digest
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.types.vector import LENGTH, Vector
from imgtag_tflite import SPEC

_INTRO = """\
An index has one document for each object that a rule admits, not one for each version. The document depends only on
the object's headers and on what the sidecar wrote to it, so an index can be rebuilt from the store without the model.
Absent fields are left out."""

_FIELDS: Mapping[str, str] = {
    "id": "Hexadecimal SHA-256 of site NUL bucket NUL key.",
    "site": "`name` in [\\[site\\]](settings.md#site).",
    "bucket": "The bucket; for a folder, the last part of its path.",
    "key": "The key.",
    "title": "The last part of the key without its extension.",
    "location": "`s3://BUCKET/KEY`, also for a folder.",
    "prefixes": "Every folder above the object, from the top, each with its `/`.",
    "words": "The words in the key without its extension, folded: no accents, no case.",
    "type": "Content type, in lower case, without parameters.",
    "size": "Bytes.",
    "etag": "ETag, with its quotes.",
    "modified": "`Last-Modified` before the sidecar wrote to the object, in seconds since 1970.",
    "status": "`labelled`; `unlabelled` (no label was sure enough); `refused` (not read); `failed` (not decodable).",
    "code": "Why the object is refused or failed, or labelled but not written to: [codes](errors.md#codes).",
    "reason": "The same as text.",
    "width": "Pixels, as displayed.",
    "height": "Pixels, as displayed.",
    "taken": "The camera's clock, read as UTC, in seconds since 1970. `exif = false` omits it.",
    "when": "`taken`, otherwise `modified`; `after:`, `before:` and `on:` use it.",
    "when_day": "The day of `when`, for charts.",
    "when_month": "The month of `when`, for charts.",
    "camera": "Make and model. `exif = false` omits it.",
    "_geo": "Where the image was taken, in degrees. `gps = false` omits it.",
    "meta": "The object's own metadata, as selected by `metadata` in [\\[document\\]](settings.md#document).",
    "labels": "The model's labels, highest confidence first, in lower case.",
    "ancestors": "Their ancestors, highest confidence first: [labels and ancestors](labels.md).",
    "terms": "Labels, ancestors, their synonyms and single words, folded: what a bare word in a query finds.",
    "scores": "Confidence of each label and ancestor, with two decimals.",
    "top_label": "The best label.",
    "top_confidence": "Its confidence.",
    "category": "The category of the best label.",
    "boxes": "Where labels and ancestors are on the image, as shares of its width and height, if the model says so.",
    "model": "Name and digest of the model that labelled the object.",
    "rules": "Eight hexadecimal digits that change with the settings that shape labels.",
    "labelled": "When the object was labelled, in seconds since 1970.",
    "space": "Vectors can be compared if they have the same `space`.",
    "_vectors": "`img`: 128 integers, or null if there is no vector. Null must be sent: see the note below.",
}
_NOTE = """\
imgtag always sends `_vectors.img`: without it, Meilisearch fails the task of a document, or keeps the vector of the
previous image.

The `sqlite` index holds the same document. `imgtag search --json` prints it without `_vectors`, with the confidences in
`labels` and without `scores`."""


def document() -> str:
    """Return the page."""
    documents = [
        _example(),
        _example(Problem(code="too_large", reason="90,000,000 bytes are over the limit", status="refused")),
    ]
    fields = {name for document in [*documents, _remote_example()] for name in document}
    assert fields == _FIELDS.keys(), (
        f"described but not built, or built but not described: {sorted(fields ^ _FIELDS.keys())}"
    )
    shown = {**documents[0], "_vectors": {"img": [*documents[0]["_vectors"]["img"][:3], "..."]}}
    rows = [(code(name), meaning) for name, meaning in _FIELDS.items()]
    return page(
        "Document",
        _INTRO,
        table(["Field", "Meaning"], rows),
        _NOTE,
        "## Example",
        f"```json\n{json.dumps(shown, indent=2, ensure_ascii=False)}\n```",
    )


def _remote_example() -> Document:
    """Build a document of an image that a server has labelled."""
    vocabulary = open_vocabulary("remote@5f2c9a1b", LabelPolicy())
    raw = Raw.of_detections([Detection(name="Fox", confidence=0.91, boxes=(Box(0.1, 0.2, 0.5, 0.6),))])
    ref = ObjectRef("wildlife", "fox.jpg")
    state = ObjectState(ref=ref, etag='"1"', size=1, modified=0)
    mark = Mark(
        model=vocabulary.model, rules=vocabulary.digest, content=content_digest(b""), etag=state.etag,
        etag_after=state.etag, owner=owner_digest("edge-7", ref), at=0,
    )  # fmt: skip
    entries = Entries(labels=vocabulary.labels_to_write(raw), mark=mark, raw=raw)
    return build_document("edge-7", state, entries, {}, DocumentOptions(), None, vocabulary)


def _example(problem: Problem | None = None) -> Document:
    """Build a document with the sidecar's code and the vocabulary of the bundled model."""
    info = SPEC.load()(SPEC.settings()).info
    vocabulary = info.vocabulary(LabelPolicy())
    ref = ObjectRef("wildlife", "2024/Zoo/kit fox 01.jpg")
    state = ObjectState(
        ref=ref, etag='"9b2cf535f27731c974343645a3985328"', size=4812377, modified=1719850000, content_type="image/jpeg"
    )
    classes = [info.labels.index(name) for name in ("kit fox", "red fox")]
    raw = Raw(((classes[0], 0.61), (classes[1], 0.27)))
    mark = Mark(
        model=info.id, rules=vocabulary.digest, content=content_digest(b""), etag=state.etag, etag_after=state.etag,
        owner=owner_digest("edge-7", ref), at=1719846003,
    )  # fmt: skip
    facts = Facts(
        width=6000, height=4000, taken=1719842400, camera="Canon EOS R5", lat=46.55, lng=7.95, modified=1719846000
    )
    vector = Vector(info.projection, bytes(range(LENGTH)))
    entries = Entries(labels=vocabulary.labels_to_write(raw), mark=mark, facts=facts, raw=raw, vec=vector)
    return build_document(
        "edge-7", state, entries, {"license": "2"}, DocumentOptions(metadata=("license",)), problem, vocabulary
    )
