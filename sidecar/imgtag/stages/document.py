"""Object state and entries -> the document of the object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from imgtag.labels.vocabulary import EMPTY_VOCABULARY, DocumentLabels, Vocabulary
from imgtag.types.document import Document, Problem, document_id
from imgtag.types.facts import EARLIEST, LATEST, Facts, position
from imgtag.types.folding import words
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectRef, ObjectState
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

    ``user`` is its user metadata without our entries. ``vocabulary`` is that of the model at hand; it is
    asked where the labels are that model's. Fields come in a fixed order, so that the same object gives the same bytes.
    """
    known = entries.mark is not None and entries.mark.model == vocabulary.model
    told = (vocabulary if known else EMPTY_VOCABULARY).document_labels(entries)
    facts = (entries.facts or Facts()).without(gps=options.gps, exif=options.exif)
    fields = {
        **_named(site, state.ref),
        **_stored(state, facts),
        **_outcome(told, problem),
        **_pictured(state, facts),
        **_chosen(user, options.metadata),
        **_labelled(told),
        **_provenance(entries),
        **_embedded(entries),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _named(site: str, ref: ObjectRef) -> dict[str, Any]:
    path = PurePosixPath(ref.key)
    return {
        "id": document_id(site, ref),
        "site": site,
        "bucket": ref.bucket,
        "key": ref.key,
        "title": path.stem,
        "location": f"s3://{ref}",
        "prefixes": [ref.key[: place + 1] for place, char in enumerate(ref.key) if char == "/"],
        "words": sorted(set(words(ref.key.removesuffix(path.suffix)))),
    }


def _stored(state: ObjectState, facts: Facts) -> dict[str, Any]:
    modified = state.modified if facts.modified is None else facts.modified
    return {
        "type": state.content_type.partition(";")[0].strip().lower() or None,
        "size": state.size,
        "etag": state.etag,
        "modified": _second(modified),
    }


def _outcome(told: DocumentLabels, problem: Problem | None) -> dict[str, Any]:
    status = (problem and problem.status) or ("labelled" if told.labels or told.ancestors else "unlabelled")
    return {"status": status, "code": problem and problem.code, "reason": problem and problem.reason}


def _pictured(state: ObjectState, facts: Facts) -> dict[str, Any]:
    modified = state.modified if facts.modified is None else facts.modified
    when = _second(modified) if facts.taken is None else min(LATEST, max(EARLIEST, facts.taken))
    day = datetime.fromtimestamp(when, UTC).date().isoformat()
    return {
        "width": facts.width,
        "height": facts.height,
        "taken": facts.taken,
        "when": when,
        "when_day": day,
        "when_month": day[:7],
        "camera": facts.camera,
        "_geo": _place(facts),
    }


def _place(facts: Facts) -> dict[str, float | None] | None:
    if facts.lat is None or facts.lng is None:
        return None
    lat, lng = position(facts.lat, facts.lng)
    return None if lat is None else {"lat": lat, "lng": lng}


def _chosen(user: Mapping[str, str], names: Iterable[str]) -> dict[str, Any]:
    chosen = {name: user[name] for name in names if name in user}
    return {"meta": chosen or None}


def _labelled(told: DocumentLabels) -> dict[str, Any]:
    scores = {label.name: round(label.confidence, 2) for label in (*told.labels, *told.ancestors)}
    best = told.labels[0] if told.labels else None
    return {
        "labels": [label.name for label in told.labels],
        "ancestors": [label.name for label in told.ancestors] or None,
        "terms": sorted(told.terms),
        "scores": dict(sorted(scores.items())),
        "top_label": best and best.name,
        "top_confidence": best and scores[best.name],
        "category": told.category,
    }


def _provenance(entries: Entries) -> dict[str, Any]:
    mark = entries.mark
    return {"model": mark and mark.model, "rules": mark and mark.rules, "labelled": mark and mark.at}


def _embedded(entries: Entries) -> dict[str, Any]:
    """The int8 values as they are: only their direction counts. Without a mark nobody knows of which model they are."""
    mark, vector = entries.mark, entries.vec
    if mark is None or vector is None:
        return {"_vectors": {"img": None}}
    return {"space": space(mark.model, vector.projection), "_vectors": {"img": vector.numbers}}


def _second(moment: float) -> int:
    return int(min(LATEST, max(0, moment)))  # in this order a NaN becomes 0
