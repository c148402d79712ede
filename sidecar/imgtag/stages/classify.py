"""Inference -> the entries that go on the object."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from imgtag.labels.open_vocabulary import OpenVocabulary, open_vocabulary
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.vocabulary import Vocabulary
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import Raw
from imgtag.types.mark import Mark, encode_digest, owner_digest
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectState
from imgtag.types.vector import Vector
from imgtag.workers.answers import Inference

MAX_VOCABULARIES = 1_000


class Vocabularies:
    """The vocabulary of each model under each policy, made once."""

    def __init__(self) -> None:
        self._cache: dict[tuple[str, str], Vocabulary] = {}

    def __call__(self, model: ModelInfo, policy: LabelPolicy) -> Vocabulary:
        """The labels that this model can give under this policy."""
        key = (model.id, policy.digest)
        if key not in self._cache:
            self._cache[key] = model.vocabulary(policy)
        return self._cache[key]

    def of_detections(self, model: str, policy: LabelPolicy) -> Vocabulary:
        """The vocabulary of a model that need not be known any more: its detections say what its labels mean."""
        key = (model, policy.digest)
        if not isinstance(self._cache.get(key), OpenVocabulary):
            self._cache[key] = open_vocabulary(model, policy)
            while len(self._cache) > MAX_VOCABULARIES:  # the names of models come from marks
                del self._cache[next(iter(self._cache))]
        return self._cache[key]


@dataclass(frozen=True, kw_only=True)
class EntryBuilder:
    """Builds entries for objects of one site; position and the rest of EXIF can be left out."""

    site: str
    gps: bool = True
    exif: bool = True

    def build(self, state: ObjectState, inference: Inference, model: ModelInfo, vocabulary: Vocabulary) -> Entries:
        """Labels, mark, facts, raw scores and vector of one image; the codec later drops what does not fit."""
        facts = replace(inference.facts, modified=int(state.modified)).without(gps=self.gps, exif=self.exif)
        mark = Mark(
            model=model.id,
            rules=vocabulary.digest,
            content=encode_digest(inference.digest),
            etag=state.etag,
            etag_after=state.etag,
            owner=owner_digest(self.site, state.ref),
            version=state.version,
            at=int(time.time()),
        )
        labels = vocabulary.labels_to_write(inference.raw)
        vec = Vector(model.projection, inference.vec) if model.projection and inference.vec else None
        return Entries(labels=labels, mark=mark, facts=facts, raw=inference.raw, vec=vec)

    def rebuild(self, state: ObjectState, entries: Entries, mark: Mark, raw: Raw, vocabulary: Vocabulary) -> Entries:
        """The entries of a labelled image with labels selected again from its kept scores."""
        mark = replace(
            mark,
            rules=vocabulary.digest,
            etag=state.etag,
            etag_after=state.etag,
            owner=owner_digest(self.site, state.ref),
            version=state.version,
            at=int(time.time()),
        )
        facts = entries.facts and entries.facts.without(gps=self.gps, exif=self.exif)
        return replace(entries, labels=vocabulary.labels_to_write(raw), mark=mark, facts=facts)
