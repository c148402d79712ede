"""Bytes -> what the model says, and the entries made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from imgtag.labels.policy import LabelPolicy
from imgtag.labels.vocabulary import Vocabulary
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import Raw
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectState
from imgtag.types.vector import Vector
from imgtag.workers.answers import Inference


class Vocabularies:
    """What a model says under each policy; made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Vocabulary] = {}

    def __call__(self, model: ModelInfo, policy: LabelPolicy) -> Vocabulary:
        """The vocabulary of this model and policy."""
        key = (model.id, policy.digest)
        if key not in self._made:
            self._made[key] = model.vocabulary(policy)
        return self._made[key]


@dataclass(frozen=True, kw_only=True)
class EntryBuilder:
    """Who writes entries: site, and what of a picture may be said."""

    site: str
    gps: bool = True
    exif: bool = True

    def build(self, state: ObjectState, inference: Inference, model: ModelInfo, said: Vocabulary) -> Entries:
        """Labels, mark, facts, raw and vector of one picture, before what has no room is dropped."""
        facts = replace(inference.facts, modified=int(state.modified)).without(gps=self.gps, exif=self.exif)
        mark = Mark(
            model=model.id,
            rules=said.digest,
            content=inference.content,
            etag=state.etag,
            etag_after=state.etag,
            owner=owner_digest(self.site, state.ref),
            version=state.version,
            at=int(time.time()),
        )
        labels = said.labels_to_write(inference.raw)
        vec = Vector(model.projection, inference.vec) if model.projection and inference.vec else None
        return Entries(labels=labels, mark=mark, facts=facts, raw=inference.raw, vec=vec)

    def rebuild(self, state: ObjectState, entries: Entries, mark: Mark, raw: Raw, said: Vocabulary) -> Entries:
        """The entries of a picture with labels made anew of the scores that were kept of it."""
        mark = replace(
            mark,
            rules=said.digest,
            etag=state.etag,
            etag_after=state.etag,
            owner=owner_digest(self.site, state.ref),
            version=state.version,
            at=int(time.time()),
        )
        facts = entries.facts and entries.facts.without(gps=self.gps, exif=self.exif)
        return replace(entries, labels=said.labels_to_write(raw), mark=mark, facts=facts)
