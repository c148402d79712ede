"""Object state and entries -> the document of the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from imgtag.labels.vocabulary import EMPTY_VOCABULARY, Vocabulary
from imgtag.types.document import Document, Problem, document_id
from imgtag.types.facts import EARLIEST, LATEST, Facts, position
from imgtag.types.folding import sound, words
from imgtag.types.image_names import split_name
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectState
from imgtag.types.vector import space


@dataclass(frozen=True, kw_only=True)
class DocumentOptions:
    """What of an object may be in its document: names of user metadata, position, the rest of EXIF."""

    metadata: tuple[str, ...] = ()
    gps: bool = True
    exif: bool = True


def build_document(
    site: str,
    state: ObjectState,
    entries: Entries,
    user: Mapping[str, str],
    options: DocumentOptions,
    problem: Problem | None = None,
    vocabulary: Vocabulary = EMPTY_VOCABULARY,
) -> Document:
    """The document of an object: a pure function of its headers and our entries.

    ``user`` is its user metadata without our entries. ``vocabulary`` is that of the model at hand; it is used only
    where that model made the labels. Fields come in a fixed order, so that the same object gives the same bytes.
    """
    ref, mark, vector = state.ref, entries.mark, entries.vec
    title, suffix = split_name(ref.key)
    labelled_by_model = mark is not None and mark.model == vocabulary.model
    shown = (vocabulary if labelled_by_model else EMPTY_VOCABULARY).document_labels(entries)
    best = shown.labels[0] if shown.labels else None
    scores = {label.name: round(label.confidence, 2) for label in (*shown.labels, *shown.ancestors)}
    facts = (entries.facts or Facts()).without(gps=options.gps, exif=options.exif)
    # In this order a NaN becomes 0.
    modified = int(min(LATEST, max(0, state.modified if facts.modified is None else facts.modified)))
    when = modified if facts.taken is None else min(LATEST, max(EARLIEST, facts.taken))
    day = datetime.fromtimestamp(when, UTC).date().isoformat()
    lat, lng = (None, None) if facts.lat is None or facts.lng is None else position(facts.lat, facts.lng)
    fields: dict[str, Any] = {
        # The object.
        "id": document_id(site, ref),
        "site": site,
        "bucket": ref.bucket,
        "key": ref.key,
        "title": title,
        "location": f"s3://{ref}",
        "prefixes": [ref.key[: index + 1] for index, char in enumerate(ref.key) if char == "/"],
        "words": sorted(set(words(ref.key.removesuffix(suffix)))),
        "type": sound(state.content_type.partition(";")[0].strip().lower()) or None,
        "size": state.size,
        "etag": state.etag,
        "modified": modified,
        "revision": state.revision,
        # What became of it.
        "status": (problem and problem.status) or ("labelled" if shown.labels or shown.ancestors else "unlabelled"),
        "code": problem and problem.code,
        "reason": problem and problem.reason,
        # The picture.
        "width": facts.width,
        "height": facts.height,
        "taken": facts.taken,
        "when": when,
        "when_day": day,
        "when_month": day[:7],
        "camera": facts.camera,
        # Null coordinates would fail the whole task of a Meilisearch, so the field is left out.
        "_geo": None if lat is None else {"lat": lat, "lng": lng},
        "meta": {name: sound(user[name]) for name in options.metadata if name in user} or None,
        # What is on it.
        "labels": [label.name for label in shown.labels],
        "ancestors": [label.name for label in shown.ancestors] or None,
        "terms": sorted(shown.terms),
        "scores": dict(sorted(scores.items())),
        "top_label": best and best.name,
        "top_confidence": best and scores[best.name],
        "category": shown.category,
        "boxes": [{"label": name, **asdict(box)} for name, box in shown.boxes] or None,
        # Where that comes from.
        "model": mark and mark.model,
        "rules": mark and mark.rules,
        "labelled": mark and mark.at,
        "space": space(mark.model, vector.projection) if mark and vector else None,
        # Always sent: a document that replaces another one without it would keep the other one's vector. The int8
        # values as they are, because only their direction counts; without a mark their model is unknown.
        "_vectors": {"img": vector.numbers if mark and vector else None},
    }
    return {name: value for name, value in fields.items() if value is not None}
